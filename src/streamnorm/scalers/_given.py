"""Scalers made from two numbers a column that are known already, without data: a mean and a scale, as a rule.

Design: such a column has no statistics, not even counts, and says so: merging it is an error, and so is asking for its
minimum. Turned down: making up the moments of some data that would give the same mean and scale. A merge would then go
by a made-up count, a column with a large mean could pass for constant, and no data has a negative scale, which the
weights of a layer give.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._core import ColumnStats
from ..summary import Summary


def given_summary(mean: ArrayLike, scale: ArrayLike, columns: Sequence[str] | None) -> Summary:
    """A summary that knows nothing but these, checked: two arrays of shape (d,)."""
    pair = np.asarray(mean, dtype=np.float64), np.asarray(scale, dtype=np.float64)
    d = pair[0].size
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not d:
        raise ValueError(f"mean has shape {pair[0].shape}, scale {pair[1].shape}: give both one number for each column")
    for what, values in zip(("mean", "scale"), pair, strict=True):
        good = np.isfinite(values) & ((values != 0) | (what == "mean"))
        if not good.all():
            at = int(np.argmin(good))
            raise ValueError(f"{what} is {values[at]} for column {at}, by which nothing can be normalized")
    names: list[Any] = list(range(d)) if columns is None else list(columns)
    if columns is not None and (isinstance(columns, str) or not all(isinstance(name, str) for name in names)):
        raise TypeError(f"columns must be a list of names, got {columns!r}")
    if not len(set(names)) == len(names) == d:
        raise ValueError(f"columns must have {d} names, each another one, got {names}")
    given = dict(zip(names, zip(*(values.tolist() for values in pair), strict=True), strict=True))
    return Summary({name: ColumnStats(moments=False) for name in names}, given=given, passes=0)


def given_pairs(summary: Summary) -> np.ndarray:
    """The two given numbers of each column, as two arrays of shape (d,)."""
    return np.array([column.given for column in summary.values()], dtype=np.float64).T.copy()


def given_attributes(summary: Summary, *, with_mean: bool, with_std: bool) -> dict[str, Any]:
    """The fitted attributes of a StandardScaler."""
    mean, scale = given_pairs(summary)
    return {
        "mean_": mean if with_mean or with_std else None,
        "var_": scale * scale if with_std else None,
        "scale_": scale if with_std else None,
        "n_samples_seen_": 0,
    }
