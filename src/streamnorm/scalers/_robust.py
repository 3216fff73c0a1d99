"""The scaler by quantiles."""

from statistics import NormalDist
from typing import Any

import numpy as np

from .._core import ColumnStats
from .._sketch import QuantileSketch
from ..memory import NARROWING_ERROR, RANK_ERROR
from ..summary import ColumnSummary, Summary
from ._elementary import _ElementaryScaler, _is_constant_range, _require_bool, _require_pair
from ._given import given_pairs
from ._rules import EPS, check_rules, lacks_spread, settled


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
