"""LeRobot's statistics of a data set: the file meta/stats.json.

The form, of LeRobot's data sets of version 3.0 (``lerobot/datasets/io_utils.py``, ``load_stats`` and ``write_stats``,
and ``compute_stats.py``, in github.com/huggingface/lerobot): one JSON object, feature by feature, of lists of d numbers
``mean std min max`` and, since 2025, ``q01 q10 q50 q90 q99``, with ``count`` as a list of one number. A reader takes
what is there, and each mode of normalization says what it lacks: MEAN_STD needs mean and std, MIN_MAX min and max,
QUANTILES q01 and q99. LeRobot divides by std + 1e-8.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import DataError, StatisticNotCollected, StreamnormError
from ..scalers import MinMaxScaler, StandardScaler
from ..scalers._given import given_pairs, given_summary
from ..summary import ColumnSummary, Summary
from ._affine import mapped_columns
from .sklearn import extrema_of, moments_of

RTOL = 1e-15  # of a std that went there and back

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_PAIRS = (("mean", "std"), ("min", "max"), ("q01", "q99"))  # what the modes of normalization need

_STATISTICS: dict[str, Callable[[ColumnSummary], float]] = {
    "mean": lambda column: column.mean,
    "std": lambda column: column.std(),
    "min": lambda column: column.min,
    "max": lambda column: column.max,
    **{key: partial(ColumnSummary.quantile, q=q) for key, q in QUANTILES.items()},
}


def to_lerobot(
    scaler: Any, path: str | os.PathLike[str] | None = None, *, feature: str = "observation.state"
) -> dict[str, dict[str, list[float]]]:
    """The statistics of a scaler in the form of LeRobot's stats.json.

    Parameters
    ----------
    scaler : scaler
        Fitted; its columns are the elements of the feature, in their order.
    path : path or None
        The file to write, whole or not at all. If it exists, its other features stay as they are.
    feature : str
        Name of the feature.

    Returns
    -------
    dict
        ``{feature: {"mean": [...], ...}}``, with what the scaler has collected of all columns: of a StandardScaler
        mean, std, min and max, of MinMaxScaler and MaxAbsScaler min and max, of a RobustScaler also the quantiles. The
        std divides by n. ``count`` is left out where it is not known. LeRobot's tools that join data sets want mean,
        std, min, max and count, which a StandardScaler has.

    Raises
    ------
    StreamnormError
        If there is not one pair of statistics that LeRobot could normalize by, a column has no values, or columns have
        different numbers of values, which the form cannot say.
    DataError
        If the file at `path` is not of the form.

    Examples
    --------
    >>> import streamnorm as sn
    >>> to_lerobot(sn.StandardScaler().fit([[1.0, 0.0], [4.0, 2.0]]), feature="action")
    {'action': {'mean': [2.5, 1.0], 'std': [1.5, 1.0], 'min': [1.0, 0.0], 'max': [4.0, 2.0], 'count': [2]}}
    """
    mapped_columns(scaler)
    found = {feature: _statistics(scaler)}
    if path is not None:
        from ..atomic import write_atomically

        others = _read(path) if os.path.exists(path) else {}
        write_atomically(path, (json.dumps(others | found, indent=4) + "\n").encode())
    return found


def _statistics(scaler: Any) -> dict[str, list[Any]]:
    columns = list(scaler.summary_.values())
    if scaler.summary_.given:
        return _given_statistics(scaler)
    found: dict[str, list[Any]] = {}
    for key, statistic in _STATISTICS.items():
        try:
            values = [statistic(column) for column in columns]
        except StatisticNotCollected:
            continue
        for column, value in zip(columns, values, strict=True):
            if value is None or not math.isfinite(value):
                raise StreamnormError(f"column {column.name!r} has no values, and so no {key}: leave it out of the fit")
        found[key] = [float(value) for value in values]
    if not any(found.keys() >= set(pair) for pair in _PAIRS):
        raise _no_pair(scaler)
    counts = {column.stats.count for column in columns}  # None where unknown
    if None in counts:
        return found
    if len(counts) > 1:
        raise StreamnormError(
            f"the columns have from {min(counts)} to {max(counts)} values, and LeRobot has one count for all: drop the "
            "rows with nulls or NaN"
        )
    return found | {"count": [int(counts.pop())]}


def _no_pair(scaler: Any) -> StreamnormError:
    return StreamnormError(
        f"LeRobot normalizes by mean and std, by min and max, or by quantiles, and this {type(scaler).__name__} has "
        "collected none of these pairs: fit a StandardScaler over the data"
    )


def _given_statistics(scaler: Any) -> dict[str, list[Any]]:
    """Of a scaler that was made from given statistics: mean and std, if that is what they were."""
    mean, scale = given_pairs(scaler.summary_)
    if not isinstance(scaler, StandardScaler) or not (scaler.with_mean and scaler.with_std and (scale > 0).all()):
        raise _no_pair(scaler)
    return {"mean": mean.tolist(), "std": scale.tolist()}


def from_lerobot(
    source: str | os.PathLike[str] | Mapping[str, Any], feature: str, *, method: str = "standard"
) -> StandardScaler | MinMaxScaler:
    """A fitted scaler from LeRobot's statistics of a feature.

    Parameters
    ----------
    source : path or dict
        The file stats.json, or what is in it (arrays may stand for lists).
    feature : str
        Name of the feature, such as "observation.state" or "action".
    method : {"standard", "minmax"}
        By mean and std, as LeRobot's MEAN_STD but without its 1e-8, or by min and max to [-1, 1], as MIN_MAX.

    Returns
    -------
    StandardScaler or MinMaxScaler
        Its columns are positions, 0 to d - 1. With a count, which "minmax" needs, ``partial_fit`` and ``merge`` go on
        from there; without, they raise NotMergeableError. What the file does not say raises StatisticNotCollected.

    Raises
    ------
    DataError
        If there is no such feature, or not what the method needs of it.

    Examples
    --------
    >>> stats = {"action": {"mean": [2.5], "std": [1.5], "count": [2]}}
    >>> from_lerobot(stats, "action").transform([[4.0]])
    array([[1.]])
    """
    if method not in ("standard", "minmax"):
        raise ValueError(f"method must be 'standard' or 'minmax', got {method!r}")
    where = "the statistics" if isinstance(source, Mapping) else os.fspath(source)
    stats: Any = source if isinstance(source, Mapping) else _read(source)
    if feature not in stats:
        from ..summary import near_matches

        raise DataError(f"{where}: there is no feature {feature!r}: {near_matches(feature, stats)}")
    found = stats[feature]
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: feature {feature!r} is not an object of statistics: give LeRobot's stats.json")
    where = f"{where}: feature {feature!r}"
    needed = ("mean", "std") if method == "standard" else ("min", "max")
    known = {key: _vector(found[key], where, key) for key in ("mean", "std", "min", "max") if key in found}
    for key in needed:
        if key not in known:
            raise DataError(f"{where} has no {key!r}, which method={method!r} needs: compute the statistics anew")
    sizes = {len(values) for values in known.values()}
    if len(sizes) > 1:
        raise DataError(f"{where} has statistics of different lengths {sorted(sizes)}: compute them anew")
    count = _count(found, where)
    if any(value < 0 or not _has_square(value) for value in known.get("std", ())):
        raise DataError(f"{where} has a std that is negative or beyond any data: compute the statistics anew")
    ends = list(zip(known["min"], known["max"], strict=True)) if known.keys() >= {"min", "max"} else None
    if ends is not None and any(low > high for low, high in ends):
        raise DataError(f"{where} has a min above its max: compute the statistics anew")
    scaler = StandardScaler() if method == "standard" else MinMaxScaler((-1, 1))
    if method == "minmax":
        assert ends is not None
        if count is None:
            raise DataError(f"{where} has no 'count', which method='minmax' needs: compute the statistics anew")
        columns = [extrema_of(count, low, high) for low, high in ends]
    elif count is None:
        std = [value or 1.0 for value in known["std"]]
        summary = given_summary(known["mean"], std, None)
        scaler._adopt(summary, named=False)
        return scaler
    else:
        extrema = dict(enumerate(ends or ()))
        pairs = enumerate(zip(known["mean"], known["std"], strict=True))
        columns = [moments_of(count, count, mean, std * std, extrema.get(i)) for i, (mean, std) in pairs]
    scaler._adopt(Summary(dict(enumerate(columns))), named=False)
    return scaler


def _has_square(value: float) -> bool:
    """Whether the square of a double is one, and not 0."""
    return value == 0 or 0 < value * value < math.inf


def _count(found: Mapping[str, Any], where: str) -> int | None:
    if "count" not in found:
        return None
    [*counts] = _vector(found["count"], where, "count")
    if len(counts) != 1 or counts[0] < 1 or counts[0] != int(counts[0]):
        raise DataError(f"{where} has a count of {counts}, where one whole number is wanted: compute it anew")
    return int(counts[0])


def _vector(values: Any, where: str, key: str) -> list[float]:
    """One number for each element, finite; images have theirs as (3, 1, 1)."""
    try:
        array = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise DataError(f"{where} has no list of numbers as its {key!r}: give LeRobot's stats.json") from None
    if not array.size or not np.isfinite(array).all():
        raise DataError(f"{where} has a {key!r} that is empty or not finite: compute the statistics anew")
    return array.tolist()


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})", file=str(name)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: is not JSON ({error}): give LeRobot's stats.json", file=str(name)) from None
    if not isinstance(content, dict):
        raise DataError(f"{name}: is not an object of features: give LeRobot's stats.json", file=str(name))
    return content
