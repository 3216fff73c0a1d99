"""Scalers as scikit-learn's, with all that a fit would have given them, and scikit-learn's as ours."""

# Design: a ColumnTransformer has fitted attributes that are private and change from version to version. So it is fitted
# by scikit-learn itself, on rows of zeros, and the scalers inside then get their statistics. Turned down: a pickle.
#
# What comes from scikit-learn keeps as many statistics as it had: StandardScaler's moments and MinMaxScaler's extrema
# are all that their fits go on from. A median and a range of quantiles are not, nor is a largest magnitude without its
# sign: such columns have given statistics, and say so where more is asked of them.

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core import ColumnStats
from ..errors import DataError, StreamnormError, not_fitted_error
from ..scalers import BaseScaler, ColumnScaler, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from ..scalers._given import given_summary
from ..summary import Summary
from ._affine import mapped_columns, refuse_constants, required

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

ULPS = 0  # of float64, between `transform` and scikit-learn's, of all scalers but MinMaxScaler
# scikit-learn computes x * scale_ + min_, which loses the digits that x and a large minimum have in common: the
# difference is at most so many eps times (abs(x) + abs(data_min_)) * scale_ + abs(feature_range[0]).
MINMAX_EPS = 4
SCALE_RTOL = 1e-15  # of the scale_ of an imported StandardScaler, whose variance goes through a sum of squares

EPS = float(np.finfo(np.float64).eps)

_ATTRIBUTES = {
    "StandardScaler": ("mean_", "var_", "scale_", "n_samples_seen_"),
    "MinMaxScaler": ("data_min_", "data_max_", "data_range_", "scale_", "min_", "n_samples_seen_"),
    "MaxAbsScaler": ("max_abs_", "scale_", "n_samples_seen_"),
    "RobustScaler": ("center_", "scale_"),
}
_NOT_THERE = ("ddof", "exact", "constant", "infinite", "eps")  # parameters that scikit-learn has not


def to_sklearn(scaler: Any) -> BaseEstimator:
    """A scaler as scikit-learn's estimator, fitted.

    Parameters
    ----------
    scaler : scaler
        Fitted.

    Returns
    -------
    estimator
        Of the same name, with all fitted attributes, so that ``transform`` and ``inverse_transform`` agree: to the
        bit in float64 (``ULPS`` is 0), but for MinMaxScaler, whose arithmetic in scikit-learn is another
        (``MINMAX_EPS``). For a ColumnScaler a ColumnTransformer, which takes a frame of at least the normalized columns
        (or an array up to the last one), gives them in the order of the scaler, and has no inverse.

    Raises
    ------
    StreamnormError
        If scikit-learn is missing, or pandas for a ColumnScaler of named columns; or if its MaxAbsScaler cannot clip.

    Examples
    --------
    >>> import streamnorm as sn
    >>> estimator = to_sklearn(sn.StandardScaler().fit([[1.0], [4.0]]))
    >>> estimator, estimator.transform([[1.0], [2.5]]).tolist()
    (StandardScaler(), [[-1.0], [0.0]])
    """
    refuse_constants(mapped_columns(scaler), "scikit-learn")
    required("sklearn", "scikit-learn")
    if isinstance(scaler, ColumnScaler):
        return _column_transformer(scaler)
    estimator = _unfitted(scaler)
    for name, value in _fitted_attributes(scaler).items():
        setattr(estimator, name, value)
    return estimator


def _unfitted(scaler: BaseScaler) -> Any:
    name, params = _class_and_params(scaler)
    try:
        return getattr(required("sklearn.preprocessing", "scikit-learn"), name)(**params)
    except TypeError:  # a parameter that came later than this version
        raise StreamnormError(f"this version of scikit-learn has no {name}(clip=True): use a newer one") from None


def _class_and_params(scaler: BaseScaler) -> tuple[str, dict[str, Any]]:
    name, params = scaler._class_name(), scaler.get_params(deep=False)
    params = {key: value for key, value in params.items() if key not in _NOT_THERE}
    if name == "MaxAbsScaler" and not params["clip"]:
        del params["clip"]
    for key in {"feature_range", "quantile_range"} & params.keys():
        params[key] = tuple(params[key])
    return name, params


def _fitted_attributes(scaler: BaseScaler) -> dict[str, Any]:
    found = {name: getattr(scaler, name) for name in _ATTRIBUTES[scaler._class_name()]}
    found["n_features_in_"] = scaler.n_features_in_
    if scaler._class_name() == "StandardScaler":
        found["n_samples_seen_"] = np.asarray(found["n_samples_seen_"])[()]  # it asks the number for its shape
    if scaler.summary_.named:
        found["feature_names_in_"] = scaler.feature_names_in_
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _column_transformer(scaler: ColumnScaler) -> Any:
    compose = required("sklearn.compose", "scikit-learn")
    owners = {name: owner for owner in scaler.transformers_.values() for name in owner.summary_}
    named = scaler.summary_.named
    places: list[Any] = list(scaler.summary_) if named else list(range(max(scaler.summary_) + 1))
    steps: list[tuple[str, Any, list[Any]]] = []
    parts: dict[str, Any] = {}
    for _, run in groupby(places, key=lambda name: id(owners.get(name))):
        names = list(run)
        key, owner = f"{len(steps)}", owners.get(names[0])
        if owner is not None:
            parts[key] = type(owner)(**owner.get_params(deep=False))
            parts[key]._adopt(owner.summary_.part(names), named=named)
        steps.append((key, "passthrough" if owner is None else _unfitted(owner), names))
    zeros: Any = np.zeros((2, len(places)))
    if named:
        zeros = required("pandas", "pandas").DataFrame(zeros, columns=places)
    transformer = compose.ColumnTransformer(steps, verbose_feature_names_out=False).fit(zeros)
    for key, part in parts.items():
        fitted = transformer.named_transformers_[key]
        for name, value in _fitted_attributes(part).items():
            setattr(fitted, name, value)
    return transformer


def sklearn_source(scaler: Any) -> str:
    """Python source that builds :func:`to_sklearn`'s estimator, without a pickle: ``scaler``.

    Raises
    ------
    StreamnormError
        For a ColumnScaler.
    """
    mapped_columns(scaler)
    if isinstance(scaler, ColumnScaler):
        raise StreamnormError(
            "a ColumnScaler has no source for scikit-learn: use streamnorm.export.to_sklearn, which makes a "
            "ColumnTransformer of it"
        )
    name, params = _class_and_params(scaler)
    shown = ", ".join(f"{key}={value!r}" for key, value in params.items())
    lines = [f"scaler = {name}({shown})"]
    for key, value in _fitted_attributes(scaler).items():
        if isinstance(value, np.ndarray):
            kind = ", dtype=object" if value.dtype == object else ""
            lines.append(f"scaler.{key} = np.array({value.tolist()!r}{kind})")
        elif isinstance(value, np.generic):
            lines.append(f"scaler.{key} = np.{value.dtype}({value.item()!r})")
        else:
            lines.append(f"scaler.{key} = {value!r}")
    head = '"""A fitted scaler for scikit-learn: scaler.transform(X)."""\n\nfrom math import inf, nan  # noqa: F401\n\n'
    return f"{head}import numpy as np\nfrom sklearn.preprocessing import {name}\n\n" + "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ from scikit-learn


def from_sklearn(estimator: Any) -> BaseScaler:
    """A fitted scaler from scikit-learn's.

    Parameters
    ----------
    estimator : StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler
        Of scikit-learn, fitted.

    Returns
    -------
    scaler
        It transforms, inverts, saves and loads like any other. A StandardScaler has its mean and variance, and a
        MinMaxScaler its minimum and maximum, so that ``partial_fit`` and ``merge`` go on from there; the other
        statistics raise StatisticNotCollected. Fitted on weights, or without its variance, a StandardScaler cannot go
        on, and neither can MaxAbsScaler and RobustScaler: these raise NotMergeableError.

    Raises
    ------
    TypeError
        If it is something else.
    NotFittedError
        If it is not fitted.
    DataError
        If scikit-learn left a column of a MinMaxScaler unscaled that this one would scale.

    Notes
    -----
    scikit-learn does not tell how many rows it saw beside the values: each column counts as having had as many rows as
    the one with the most values. Nor does it tell weights from counts, so that weights with whole sums pass for counts.
    Its mean is rounded to one double, and what goes on from there starts with that. The scale_ of a StandardScaler
    agrees to ``SCALE_RTOL``, that of the others to the bit.

    Examples
    --------
    >>> from sklearn import preprocessing
    >>> scaler = from_sklearn(preprocessing.StandardScaler().fit([[1.0], [4.0]]))
    >>> scaler.partial_fit([[7.0]]).mean_
    array([4.])
    """
    preprocessing = required("sklearn.preprocessing", "scikit-learn")
    for name, convert in _IMPORTS.items():
        if isinstance(estimator, getattr(preprocessing, name)):
            if not hasattr(estimator, "n_features_in_"):
                raise not_fitted_error(f"this {name} is not fitted yet: call its fit first")
            return convert(estimator)
    names = ", ".join(_IMPORTS)
    raise TypeError(f"a {type(estimator).__name__} cannot be imported: give one of scikit-learn's {names}")


def _names(estimator: Any) -> list[Any]:
    names = getattr(estimator, "feature_names_in_", None)
    return list(range(estimator.n_features_in_)) if names is None else [str(name) for name in names]


def _given(scaler: Any, estimator: Any, first: Any, scale: Any) -> Any:
    """A scaler that knows two numbers a column; a column without values has NaN, and the identity here."""
    d, names = estimator.n_features_in_, _names(estimator)
    first = np.zeros(d) if first is None else np.asarray(first, np.float64)
    scale = np.ones(d) if scale is None else np.asarray(scale, np.float64)
    empty = np.isnan(first) | np.isnan(scale)
    columns = None if isinstance(names[0], int) else names
    summary = given_summary(np.where(empty, 0.0, first), np.where(empty, 1.0, scale), columns)
    scaler._adopt(summary, named=summary.named)
    return scaler


def _from_standard(estimator: Any) -> StandardScaler:
    params = {"copy": estimator.copy, "with_mean": estimator.with_mean, "with_std": estimator.with_std}
    scaler, seen = StandardScaler(**params), np.asarray(estimator.n_samples_seen_, np.float64)
    if estimator.mean_ is not None and estimator.var_ is not None and (seen == np.floor(seen)).all():
        names = _names(estimator)
        counts = [int(count) for count in np.broadcast_to(seen, len(names))]
        stats = [
            moments_of(count, max(counts), float(mean), float(var))
            for count, mean, var in zip(counts, estimator.mean_, estimator.var_, strict=True)
        ]
        if max(counts) > 0:
            scaler._adopt(Summary(dict(zip(names, stats, strict=True))), named=isinstance(names[0], str))
            mine, theirs = np.asarray(scaler.scale_), np.asarray(estimator.scale_, np.float64)
            if np.allclose(mine, np.where(np.isnan(theirs), mine, theirs), rtol=SCALE_RTOL, atol=0):
                return scaler
    # Weights, no variance, or another opinion of which columns are constant.
    return _given(StandardScaler(**params), estimator, estimator.mean_, estimator.scale_)


def moments_of(
    count: int, rows: int, mean: float, var: float, extrema: tuple[float, float] | None = None
) -> ColumnStats:
    """The statistics of a column of floats of which these are known; without values, if count is 0."""
    state: dict[str, Any] = {"rows": rows, "null_count": 0, "nan_count": rows - count, "infinite_count": 0}
    if count == 0:
        nothing = {"kind": None, "min": None, "max": None, "mean": 0.0, "mean_lo": 0.0, "m2": 0.0, "exponent": 0}
        return ColumnStats.from_state(state | nothing)
    exponent = 0 if var == 0 or 1e-200 < var < 1e200 else int(math.copysign(600, math.log(var)))
    m2 = math.ldexp(var, -2 * exponent) * count
    state |= {"kind": "float", "mean": mean, "mean_lo": 0.0, "m2": m2, "exponent": exponent}
    return ColumnStats.from_state(state if extrema is None else state | {"min": extrema[0], "max": extrema[1]})


def extrema_of(rows: int, low: float, high: float) -> ColumnStats:
    """The statistics of a column of floats of which these are known, but not how many of its rows were NaN."""
    if math.isnan(low):
        return ColumnStats.from_extrema(rows, 0, "float", None, None, nan_count=rows)
    return ColumnStats.from_extrema(rows, 0, "float", low, high, nan_count=None)


def _from_minmax(estimator: Any) -> MinMaxScaler:
    names, rows = _names(estimator), int(estimator.n_samples_seen_)
    bounds = zip(estimator.data_min_.tolist(), estimator.data_max_.tolist(), strict=True)
    stats = [extrema_of(rows, low, high) for low, high in bounds]
    rtol = 4 * float(np.finfo(estimator.scale_.dtype).eps)

    def made(constant: str) -> MinMaxScaler:
        params = {"copy": estimator.copy, "clip": estimator.clip, "constant": constant}
        scaler = MinMaxScaler(tuple(estimator.feature_range), **params)
        scaler._adopt(Summary(dict(zip(names, stats, strict=True))), named=isinstance(names[0], str))
        return scaler

    def differs(scaler: MinMaxScaler) -> list[Any]:
        scales = zip(names, scaler.scale_, estimator.scale_, strict=True)
        return [name for name, mine, theirs in scales
                if not (np.isnan(theirs) or math.isclose(mine, theirs, rel_tol=rtol))]  # fmt: skip

    scaler = made("relative")
    if differs(scaler):  # of a range that is small beside 1, which their rule takes for none
        scaler = made("sklearn")
    wrong = differs(scaler)
    if wrong:
        message = f"column {wrong[0]!r} has a scale_ that does not follow from its range: fit anew"
        raise DataError(message, column=wrong[0])
    return scaler


def _from_maxabs(estimator: Any) -> MaxAbsScaler:
    scaler = MaxAbsScaler(copy=estimator.copy, clip=getattr(estimator, "clip", False))
    return _given(scaler, estimator, estimator.max_abs_, estimator.scale_)


def _from_robust(estimator: Any) -> RobustScaler:
    names = ("with_centering", "with_scaling", "copy", "unit_variance")
    params = {name: getattr(estimator, name) for name in names}
    scaler = RobustScaler(quantile_range=tuple(estimator.quantile_range), **params)
    return _given(scaler, estimator, estimator.center_, estimator.scale_)


_IMPORTS = {
    "StandardScaler": _from_standard,
    "MinMaxScaler": _from_minmax,
    "MaxAbsScaler": _from_maxabs,
    "RobustScaler": _from_robust,
}
