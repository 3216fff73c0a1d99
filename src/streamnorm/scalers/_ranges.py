"""The scalers by extrema: the range of a column, and its largest magnitude."""

import math
from typing import Any

import numpy as np

from .._core import ColumnStats
from ..memory import RANK_ERROR
from ..summary import ColumnSummary, Summary
from ._elementary import _array, _ElementaryScaler, _is_constant_range, _require_bool, _require_pair
from ._given import given_pairs
from ._rules import EPS, check_rules, lacks_spread, settled


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
