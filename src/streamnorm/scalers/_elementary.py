"""What the four scalers of one column share: checks of parameters, maps from arrays, rules.

Design: constancy is judged relative to the column's own size (promise: data of size 1e-13 is scaled). A range is
constant below ULPS units in the last place of its largest end. Other rules go by name, in _rules.py.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np

from .._core import ColumnStats
from .._sketch import QuantileSketch
from ..errors import NotMergeableError
from ..summary import ColumnSummary
from ._base import BaseScaler
from ._rules import fate, refuse_constant
from ._transform import AffineMap

ULPS = 10


def _require_bool(scaler: BaseScaler, *names: str) -> None:
    for name in names:
        value = getattr(scaler, name)
        if not isinstance(value, bool | np.bool_):
            raise ValueError(
                f"The {name!r} parameter of {type(scaler).__name__} must be an instance of 'bool' or "
                "an instance of "
                f"'numpy.bool'. Got {value!r} instead."
            )


def _require_pair(scaler: BaseScaler, name: str) -> tuple[float, float]:
    value = getattr(scaler, name)
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(end, Real) and math.isfinite(end) for end in value):
        raise ValueError(
            f"The {name!r} parameter of {type(scaler).__name__} must be a tuple of two finite numbers. "
            f"Got {value!r} instead."
        )
    return float(value[0]), float(value[1])


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _is_constant_range(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where low and high, shape (d,), are closer than ULPS units in the last place, or NaN."""
    largest = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(over="ignore", invalid="ignore"):  # a range beyond doubles is not constant, and refused later
        unit = np.where(np.isfinite(np.spacing(largest)), np.spacing(largest), largest - np.nextafter(largest, 0.0))
        return ~(high - low >= ULPS * unit)


def _is_known(column: ColumnSummary) -> bool:
    """Whether there is anything to make a map of."""
    return column.has_values or column.given is not None


class _ElementaryScaler(BaseScaler):
    """One map per column from three arrays of shape (d,) and one clip."""

    constant: str
    infinite: str
    eps: float | None
    _ZERO = "set to 0"  # what constant="zero" makes of a column without spread

    def _as_exact(self) -> Self:
        if not getattr(self, "exact", True):
            raise ValueError(f"this scaler is not exact: make it with {type(self).__name__}(exact=True)")
        return self

    @abstractmethod
    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float] | None]:
        """Center, scale and offset, each of shape (d,), and clip, from the fitted attributes."""

    @abstractmethod
    def _is_constant(self, column: ColumnSummary) -> bool:
        """Whether a column that has values varies too little to be scaled by this method."""

    def _all_maps(self) -> dict[str | int, AffineMap]:
        self._check_fitted()
        center, scale, offset, clip = self._affine()
        blank, all_of_them = self.infinite == "null", self.constant == "sklearn"
        return {
            name: AffineMap(float(c), float(s), float(o), clip, blank)
            if all_of_them or _is_known(column)
            else AffineMap(clip=clip, blank=blank)
            for (name, column), c, s, o in zip(self.summary_.items(), center, scale, offset, strict=True)
        }

    def _check_spread(self) -> None:
        if self.constant != "error":
            return
        for name, column in self.summary_.items():
            if column.has_values and self._is_constant(column):
                raise refuse_constant(name)

    def _fate(self) -> str:
        return fate(self)

    def _stats(self, sketch: QuantileSketch | None = None, **kernels: bool) -> ColumnStats:
        return ColumnStats(extrema=True, sketch=sketch, skip_infinite=self.infinite != "error", **kernels)

    def _rules(self) -> tuple[str, str, float | None]:
        return self.constant, self.infinite, self.eps

    def _check_mergeable(self, other: Any) -> None:
        for name, ours, theirs in zip(("constant", "infinite", "eps"), self._rules(), other._rules(), strict=True):
            if ours != theirs:
                raise NotMergeableError(
                    f"the two {type(self).__name__}s go by different rules, {name}={ours!r} and {name}={theirs!r}: fit "
                    "both by the same"
                )

    def _zeros(self) -> np.ndarray:
        return np.zeros(self.n_features_in_)

    def _ones(self) -> np.ndarray:
        return np.ones(self.n_features_in_)
