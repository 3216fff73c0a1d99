"""The four scalers of one column: from its statistics to a center and a scale.

Design: constancy is judged relative to the column's own size, as _elementary.py says of ranges. For the variance the
bound is scikit-learn's, n * eps * var + (n * mean * eps)**2, after Chan, Golub and LeVeque (1983); it is compared here
as standard deviations, because squares overflow beyond 1e154 and vanish below 1e-154.

A column without a single value (all null or NaN) has NaN statistics and the identity as its map.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._core import ColumnStats
from .._sketch import QuantileSketch
from ..memory import NARROWING_ERROR, RANK_ERROR
from ..summary import ColumnSummary, Summary
from ._elementary import _array, _ElementaryScaler, _is_constant_range, _require_bool, _require_pair
from ._given import given_attributes, given_pairs, given_summary
from ._rules import EPS, check_rules, lacks_spread, settled


class StandardScaler(_ElementaryScaler):
    """Subtract the mean and divide by the standard deviation: z = (x - mean) / std.

    Parameters
    ----------
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.
    with_mean, with_std : bool, default=True
        Whether to center, and whether to scale.
    ddof : int, default=0
        The denominator of the variance is n - ddof. scikit-learn and NumPy have 0, pandas and SQL have 1.
    exact : bool, default=False
        Whether mean, variance and standard deviation are the doubles nearest to the true values, and so the same
        bits for any chunking, order of rows, number of threads and merges. Such scalers can also be subtracted: ``a -
        b`` is what a has seen without b. They take no sample_weight.
    constant : {"relative", "sklearn", "zero", "error", "floor", "add", "replace"}, default="relative"
        What is done about a column without spread. "relative": it is centered and divided by 1, where it is constant
        relative to its own size. "sklearn": the same, by scikit-learn's own test. "zero": where the spread is 0, it
        becomes 0 (in :class:`MinMaxScaler` the middle of the range), as in Spark. "error": it is an error of `fit`
        and `transform`, though not of a first batch. "floor": no column is divided by less than `eps`, as in Keras.
        "add": `eps` is added to every spread, as in LeRobot. "replace": `eps` stands for a spread of 0.
    infinite : {"error", "null", "ignore"}, default="error"
        What is done about infinite values. "error": `fit` raises, and `transform` passes them through. "null": they
        are left out of the fit, like nulls, and become null (NaN in arrays) in the output. "ignore": they are left
        out of the fit and pass through.
    eps : float or None
        Of the three rules that have one.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,), or None
        None if with_mean and with_std are both False. NaN for a column without values.
    var_ : ndarray of shape (n_features,), or None
        None if with_std is False.
    scale_ : ndarray of shape (n_features,), or None
        The square root of the variance, and 1 where the column is constant: where
        var <= n * eps * var + (n * mean * eps)**2, as in scikit-learn. Infinite where constant="zero" makes 0 of it.
    n_samples_seen_ : int, or ndarray of shape (n_features,)
        Number of values; an array where nulls or NaN make it differ between columns. With sample_weight the sum of
        their weights, a float. 0 after :meth:`from_statistics`.
    n_features_in_ : int
        Number of normalized columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have any.
    summary_ : Summary
        All statistics, by column.

    Notes
    -----
    Moments are kept by Welford's method in blocks, merged by the formulas of Chan, Golub and LeVeque,
    "Algorithms for computing the sample variance" (The American Statistician 37(3), 1983). With ``exact=True`` the
    sums of x and x^2 are kept without rounding, after Kulisch, Computer Arithmetic and Validity (2008).

    Examples
    --------
    >>> import numpy as np
    >>> scaler = StandardScaler().fit(np.array([[0.0], [2.0], [4.0], [np.nan]]))
    >>> scaler.mean_, scaler.var_.round(3)
    (array([2.]), array([2.667]))
    >>> scaler.transform([[2.0], [np.nan]])
    array([[ 0.],
           [nan]])
    >>> merged = StandardScaler().fit([[0.0]]) + StandardScaler().fit([[2.0], [4.0]])
    >>> merged.mean_, merged.n_samples_seen_
    (array([2.]), 3)
    """

    _takes_given = True

    mean_: np.ndarray | None
    var_: np.ndarray | None
    scale_: np.ndarray | None
    n_samples_seen_: int | np.ndarray

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        ddof: int = 0,
        exact: bool = False,
        constant: str = "relative",
        infinite: str = "error",
        eps: float | None = None,
    ) -> None:
        self.constant = constant
        self.infinite = infinite
        self.eps = eps
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.ddof = ddof
        self.exact = exact

    def _check_params(self) -> None:
        _require_bool(self, "copy", "with_mean", "with_std", "exact")
        check_rules(self)
        if not isinstance(self.ddof, Integral) or isinstance(self.ddof, bool) or self.ddof < 0:
            raise ValueError(
                "The 'ddof' parameter of StandardScaler must be an int in the range [0, inf). Got "
                f"{self.ddof!r} instead."
            )

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return self._stats(moments=True, exact=bool(self.exact))

    @classmethod
    def from_statistics(
        cls, mean: ArrayLike, scale: ArrayLike, *, columns: Sequence[str] | None = None
    ) -> Self:
        """A fitted scaler from means and scales that are known already.

        Parameters
        ----------
        mean : array-like of shape (n_features,)
            What is subtracted.
        scale : array-like of shape (n_features,)
            What is divided by: standard deviations, or any numbers but 0. No column counts as constant.
        columns : sequence of str, optional
            Names of the columns; without them, arrays are matched by position.

        Returns
        -------
        StandardScaler
            It transforms, saves and loads like any other. It has seen no rows: ``n_samples_seen_`` is 0,
            ``summary_`` has no statistics, and ``merge``, ``+``, ``-`` and ``partial_fit`` raise NotMergeableError.

        Raises
        ------
        ValueError
            If the shapes differ, a number is not finite, a scale is 0, or names do not fit.

        Examples
        --------
        >>> scaler = StandardScaler.from_statistics([10.0], [2.0], columns=["fare"])
        >>> scaler.transform([[14.0]]), scaler.feature_names_in_
        (array([[2.]]), array(['fare'], dtype=object))
        """
        summary = given_summary(mean, scale, columns)
        scaler = cls()
        scaler._adopt(summary, named=summary.named)
        return scaler

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        if summary.given:
            return given_attributes(summary, with_mean=self.with_mean, with_std=self.with_std)
        columns = list(summary.values())
        fitted: dict[str, Any] = {"mean_": None, "var_": None, "scale_": None}
        if self.with_mean or self.with_std:
            fitted["mean_"] = _array([column.mean for column in columns])
        if self.with_std:
            fitted["var_"] = _array([column.var(int(self.ddof)) for column in columns])
            fitted["scale_"] = self._settled(columns, fitted["var_"], fitted["mean_"])
        if any(column.stats.weighted for column in columns):
            counts = np.array([column.weight for column in columns])
        else:
            counts = np.array([column.count for column in columns], dtype=np.int64)
        fitted["n_samples_seen_"] = counts[0].item() if (counts == counts[0]).all() else counts
        return fitted

    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        center = self.mean_ if self.with_mean and self.mean_ is not None else self._zeros()
        scale = self.scale_ if self.with_std and self.scale_ is not None else self._ones()
        return center, scale, self._zeros(), None

    def _settled(self, columns: Sequence[ColumnSummary], var: np.ndarray, mean: np.ndarray) -> np.ndarray:
        theirs = self.constant == "sklearn"
        std = np.sqrt(var) if theirs else _array([column.std(int(self.ddof)) for column in columns])
        return settled(
            self,
            std,
            np.array([column.has_values for column in columns]),
            relative=np.array([_has_constant_variance(column) for column in columns]),
            sklearn=_is_constant_for_sklearn(var, mean, np.array([column.weight for column in columns])),
        )

    def _is_constant(self, column: ColumnSummary) -> bool:
        var, mean, weight = (np.array([v]) for v in (column.var(int(self.ddof)), column.mean, column.weight))
        return self.with_std and lacks_spread(
            self,
            column.std(int(self.ddof)),
            relative=_has_constant_variance(column),
            sklearn=bool(_is_constant_for_sklearn(var, mean, weight)[0]),
        )


def _has_constant_variance(column: ColumnSummary) -> bool:
    """scikit-learn's test, var <= n eps var + (n mean eps)**2, in square roots; True without values.

    n is the number of values, with weights too, where scikit-learn takes their sum: rounding errors come from
    operations, and multiplying all weights by a constant must not make a column constant.
    """
    n, std = column.count, column.std()
    rest = 1.0 - n * EPS
    return not (rest > 0 and std * math.sqrt(rest) > n * EPS * abs(column.mean))


def _is_constant_for_sklearn(var: np.ndarray, mean: np.ndarray, n: np.ndarray) -> np.ndarray:
    """scikit-learn's test as it stands there, in squares, which overflow and vanish."""
    with np.errstate(all="ignore"):
        return var <= n * EPS * var + (n * mean * EPS) ** 2


class MinMaxScaler(_ElementaryScaler):
    """Move the range of each column to a given one: y = (x - min) / (max - min) * (hi - lo) + lo.

    Parameters
    ----------
    feature_range : (lo, hi), default=(0, 1)
        The range wanted.
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.
    clip : bool, default=False
        Whether ``transform`` keeps values that fit has not seen within feature_range.
    constant, infinite, eps : str, str, float or None
        The rules for columns without spread and for infinite values, as for :class:`StandardScaler`.

    Attributes
    ----------
    data_min_, data_max_, data_range_ : ndarray of shape (n_features,)
        NaN for a column without values.
    scale_, min_ : ndarray of shape (n_features,)
        The map in scikit-learn's terms, y = x * scale_ + min_. A column whose range is below 10 units in the
        last place of its larger end is constant: it is moved to lo and not stretched.
    n_samples_seen_ : int
        Number of rows.
    n_features_in_, feature_names_in_, summary_
        As for :class:`StandardScaler`.

    Examples
    --------
    >>> scaler = MinMaxScaler((-1, 1)).fit([[2.0], [3.0], [6.0]])
    >>> scaler.transform([[2.0], [4.0], [6.0]]).ravel()
    array([-1.,  0.,  1.])
    >>> scaler.inverse_transform([[0.5]])
    array([[5.]])
    """

    _extrema_suffice = True
    _ZERO = "set to the middle of the range"

    data_min_: np.ndarray
    data_max_: np.ndarray
    data_range_: np.ndarray
    scale_: np.ndarray
    min_: np.ndarray
    n_samples_seen_: int

    def __init__(
        self,
        feature_range: tuple[float, float] = (0, 1),
        *,
        copy: bool = True,
        clip: bool = False,
        constant: str = "relative",
        infinite: str = "error",
        eps: float | None = None,
    ) -> None:
        self.constant = constant
        self.infinite = infinite
        self.eps = eps
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip

    def _check_params(self) -> None:
        _require_bool(self, "copy", "clip")
        check_rules(self)
        low, high = _require_pair(self, "feature_range")
        if low >= high or math.isinf(high - low):
            raise ValueError(
                f"Minimum of desired feature range must be smaller than maximum. Got {self.feature_range}."
            )

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return self._stats(moments=False)

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        low, high = _require_pair(self, "feature_range")
        data_min = _array([column.min for column in summary.values()])
        data_max = _array([column.max for column in summary.values()])
        scale = (high - low) / self._divisor(data_min, data_max)
        empty = np.isnan(data_min) & (self.constant != "sklearn")
        offset = np.where(scale == 0, (low + high) / 2, low)
        return {
            "data_min_": data_min,
            "data_max_": data_max,
            "data_range_": data_max - data_min,
            "scale_": np.where(empty, 1.0, scale),
            "min_": np.where(empty, 0.0, offset - data_min * scale),
            "n_samples_seen_": summary.rows,
        }

    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float] | None]:
        # Not x * scale_ + min_: that loses the digits that a large minimum has in common with x.
        low, high = _require_pair(self, "feature_range")
        scale = self._divisor(self.data_min_, self.data_max_) / (high - low)
        scale[scale == 0] = 1.0 / (high - low)  # a range of denormals stretched beyond 2**1074
        offset = np.where(np.isinf(scale), (low + high) / 2, low)
        return self.data_min_, scale, offset, (low, high) if self.clip else None

    def _divisor(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # refused later
            spread = high - low
        relative = _is_constant_range(low, high)
        return settled(self, spread, ~np.isnan(low), relative=relative, sklearn=spread < 10 * EPS)

    def _is_constant(self, column: ColumnSummary) -> bool:
        low, high = _array([column.min, column.max])
        spread = float(high) - float(low)
        return lacks_spread(
            self, spread, relative=bool(_is_constant_range(low, high)), sklearn=spread < 10 * EPS
        )


class MaxAbsScaler(_ElementaryScaler):
    """Divide by the largest magnitude, which keeps zeros and signs: y = x / max(abs(x)).

    Parameters
    ----------
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.
    clip : bool, default=False
        Whether ``transform`` keeps values that fit has not seen within [-1, 1].
    constant, infinite, eps : str, str, float or None
        The rules for columns without spread and for infinite values, as for :class:`StandardScaler`.

    Attributes
    ----------
    max_abs_ : ndarray of shape (n_features,)
        NaN for a column without values.
    scale_ : ndarray of shape (n_features,)
        max_abs_, and 1 where that is 0 or NaN.
    n_samples_seen_ : int
        Number of rows.
    n_features_in_, feature_names_in_, summary_
        As for :class:`StandardScaler`.

    Examples
    --------
    >>> MaxAbsScaler().fit_transform([[-4.0, 0.0], [2.0, 0.0]])
    array([[-1. ,  0. ],
           [ 0.5,  0. ]])
    """

    _extrema_suffice = True
    _ZERO = "left as it is"

    _takes_given = True

    max_abs_: np.ndarray
    scale_: np.ndarray
    n_samples_seen_: int

    def __init__(
        self,
        *,
        copy: bool = True,
        clip: bool = False,
        constant: str = "relative",
        infinite: str = "error",
        eps: float | None = None,
    ) -> None:
        self.constant = constant
        self.infinite = infinite
        self.eps = eps
        self.copy = copy
        self.clip = clip

    def _check_params(self) -> None:
        _require_bool(self, "copy", "clip")
        check_rules(self)

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return self._stats(moments=False)

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        if summary.given:
            max_abs, scale = given_pairs(summary)
            return {"max_abs_": max_abs, "scale_": scale, "n_samples_seen_": 0}
        low = _array([column.min for column in summary.values()])
        high = _array([column.max for column in summary.values()])
        max_abs = np.maximum(np.abs(low), np.abs(high))
        known, nothing = ~np.isnan(max_abs), max_abs == 0
        scale = settled(self, max_abs, known, relative=nothing, sklearn=max_abs < 10 * EPS)
        scale[np.isinf(scale) & nothing] = 1.0  # x / 1, which is 0 where it was fitted, as in Spark
        return {"max_abs_": max_abs, "scale_": scale, "n_samples_seen_": summary.rows}

    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float] | None]:
        return self._zeros(), self.scale_, self._zeros(), (-1.0, 1.0) if self.clip else None

    def _is_constant(self, column: ColumnSummary) -> bool:
        largest = float(np.abs(_array([column.min, column.max])).max())  # any other constant becomes 1 or -1
        return lacks_spread(self, largest, relative=largest == 0, sklearn=largest < 10 * EPS)


class RobustScaler(_ElementaryScaler):
    """Subtract the median and divide by a range of quantiles: y = (x - median) / (q_hi - q_lo).

    Parameters
    ----------
    with_centering, with_scaling : bool, default=True
        Whether to center, and whether to scale.
    quantile_range : (q_lo, q_hi), default=(25.0, 75.0)
        In percent.
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.
    unit_variance : bool, default=False
        Whether to divide the scale by the same range of the normal distribution, so that normal data gets
        variance 1.
    exact : bool, default=False
        Whether the quantiles are those of all values, in NumPy's linear interpolation to the last bit, instead of a
        sketch's. This takes further passes over the data, as a rule one and never more than five, in bounded memory;
        so the data must be readable again, and ``partial_fit``, ``merge`` and ``+`` raise NotMergeableError. No
        sample_weight is taken.
    constant, infinite, eps : str, str, float or None
        The rules for columns without spread and for infinite values, as for :class:`StandardScaler`.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,), or None
        The median; NaN for a column without values, None if with_centering is False.
    scale_ : ndarray of shape (n_features,), or None
        The range of quantiles; 1 (before unit_variance) where it is below 10 units in the last place of its
        larger end. None if with_scaling is False.
    n_samples_seen_ : int
        Number of rows.
    n_features_in_, feature_names_in_, summary_
        As for :class:`StandardScaler`. ``summary_[column].rank_error`` bounds the error of a quantile's rank, and
        ``summary_[column].certificate(q)`` says more closely what is sure about one.

    Notes
    -----
    Quantiles come from a mergeable sketch, after Karnin, Lang and Liberty, "Optimal quantile approximation in
    streams" (FOCS 2016). While it holds every value they are NumPy's linear ones exactly; with sample_weight,
    NumPy's weighted ones (method "inverted_cdf"). With ``exact=True`` the sketch only narrows where the passes that
    follow have to look, after Munro and Paterson, "Selection and sorting with limited storage" (1980); integers beyond
    2**53 are told apart, and interpolation that would overflow is correctly rounded. ``summary_.passes`` says how many
    passes it took, the first one included.

    Examples
    --------
    >>> scaler = RobustScaler().fit([[1.0], [2.0], [3.0], [4.0], [1000.0]])
    >>> scaler.center_, scaler.scale_
    (array([3.]), array([2.]))
    >>> scaler.transform([[5.0]])
    array([[1.]])
    """

    _takes_given = True

    center_: np.ndarray | None
    scale_: np.ndarray | None
    n_samples_seen_: int

    def __init__(
        self,
        *,
        with_centering: bool = True,
        with_scaling: bool = True,
        quantile_range: tuple[float, float] = (25.0, 75.0),
        copy: bool = True,
        unit_variance: bool = False,
        exact: bool = False,
        constant: str = "relative",
        infinite: str = "error",
        eps: float | None = None,
    ) -> None:
        self.constant = constant
        self.infinite = infinite
        self.eps = eps
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.quantile_range = quantile_range
        self.copy = copy
        self.unit_variance = unit_variance
        self.exact = exact

    def _check_params(self) -> None:
        _require_bool(self, "with_centering", "with_scaling", "copy", "unit_variance", "exact")
        check_rules(self)
        low, high = _require_pair(self, "quantile_range")
        if not 0 <= low <= high <= 100:
            raise ValueError(f"Invalid quantile range: {self.quantile_range}")
        if self.unit_variance and not 0 < low < high < 100:
            raise ValueError(
                "unit_variance needs a quantile range within (0, 100), because the normal "
                "distribution has no "
                f"end: got {self.quantile_range}"
            )

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        if self.exact:
            error = max(error, NARROWING_ERROR)
        return self._stats(QuantileSketch(error, seed), moments=False)

    def _quantiles(self) -> tuple[float, float, float]:
        low, high = _require_pair(self, "quantile_range")
        return low / 100.0, 0.5, high / 100.0

    def _exact_quantiles(self, name: str | int) -> tuple[float, ...]:
        return self._quantiles() if self.exact else ()

    def _rereads(self) -> bool:
        return bool(self.exact)

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        if summary.given:
            center, scale = given_pairs(summary)
            kept = {"center_": center if self.with_centering else None, "scale_": scale if self.with_scaling else None}
            return {**kept, "n_samples_seen_": 0}
        wanted = self._quantiles()
        low, _, high = wanted
        quantiles = np.array([column.quantile(wanted) for column in summary.values()]).T
        fitted: dict[str, Any] = {"center_": None, "scale_": None, "n_samples_seen_": summary.rows}
        if self.with_centering:
            fitted["center_"] = quantiles[1].copy()
        if self.with_scaling:
            spread = quantiles[2] - quantiles[0]
            scale = settled(
                self,
                spread,
                np.array([column.has_values for column in summary.values()]),
                relative=_is_constant_range(quantiles[0], quantiles[2]),
                sklearn=spread < 10 * EPS,
            )
            if self.unit_variance:
                scale /= NormalDist().inv_cdf(high) - NormalDist().inv_cdf(low)
            fitted["scale_"] = scale
        return fitted

    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        center = self.center_ if self.with_centering and self.center_ is not None else self._zeros()
        scale = self.scale_ if self.with_scaling and self.scale_ is not None else self._ones()
        return center, scale, self._zeros(), None

    def _is_constant(self, column: ColumnSummary) -> bool:
        low, _, high = self._quantiles()
        ends = column.quantile([low, high])
        spread = float(ends[1]) - float(ends[0])
        relative = bool(_is_constant_range(*ends))
        return self.with_scaling and lacks_spread(self, spread, relative=relative, sklearn=spread < 10 * EPS)


def new_scaler(method: str, exact: bool = False, **params: Any) -> _ElementaryScaler:
    """The scaler of a method's name. Extrema are always exact, so that their scalers have no such parameter."""
    scaler = METHODS[method]
    params |= {"exact": True} if exact and "exact" in scaler._param_names() else {}
    return scaler(**params)


METHODS: dict[str, type[_ElementaryScaler]] = {
    "standard": StandardScaler,
    "minmax": MinMaxScaler,
    "maxabs": MaxAbsScaler,
    "robust": RobustScaler,
}
