"""The shape of a column, from its quantiles: histogram, tails, skewness, outliers."""

# Design: everything here is computed from a sketch's ranks and quantiles, so that a description of a saved state has it
# as well, and each count is as sure as the sketch: a count between two ranks is off by two rank errors at most. Rank
# errors hold for one query at 99 %.
#
# Design: bins are of equal width between the ends of Tukey's far-out fences (three interquartile ranges beyond the
# quartiles), and the first and the last one reach to the minimum and the maximum. With equal bins from end to end one
# value that is far out would leave a single bar; with logarithmic ones no two columns would be read alike. Columns of
# few whole numbers have a bin for each.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 40
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
TUKEY, FAR_OUT = 1.5, 3.0  # interquartile ranges: Tukey, Exploratory Data Analysis (1977), section 2E
NORMAL_TAILS = 3.4489  # (q99 - q01) / (q75 - q25) of a normal distribution
NORMAL_QUARTILES = 1.3490  # q75 - q25 of one, in standard deviations
_MEDCOUPLE_POINTS = 101


@dataclass(frozen=True)
class Histogram:
    """Counts between edges.

    Attributes
    ----------
    edges : tuple of float
        Ascending, one more than counts: from the minimum to the maximum, or half a step beyond where bins are centered
        on whole numbers.
    counts : tuple of int
        Of the values above one edge and up to the next, the first bin with its lower edge. They sum to the count.
    counts_error : int
        By how much one of them can be off: two rank errors, each at 99 % confidence; 0 where they are exact.
    tails : (bool, bool)
        Whether the first, the last bin is a wider one, that reaches to the minimum, the maximum.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    counts_error: int
    tails: tuple[bool, bool]


def histogram(sketch: Any, low: float, high: float, *, whole: bool = False, bins: int = BINS) -> Histogram | None:
    """The histogram of a sketch's values, which reach from `low` to `high`; None without values.

    Examples
    --------
    >>> from streamnorm import QuantileSketch
    >>> histogram(QuantileSketch().update([1, 2, 2, 3]), 1, 3, whole=True).counts
    (1, 2, 1)
    """
    count = sketch.count
    if not count:
        return None
    edges, tails = _edges(sketch, float(low), float(high), whole, bins)
    below = np.rint(np.clip(sketch.rank(edges), 0.0, 1.0) * count).astype(np.int64)
    below[0], below[-1] = 0, count
    counts = np.diff(np.maximum.accumulate(below))
    error = math.ceil(2 * sketch.rank_error * count)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), error, tails)


def _edges(
    sketch: Any, low: float, high: float, whole: bool, bins: int
) -> tuple[NDArray[np.float64], tuple[bool, bool]]:
    if low == high:
        half = max(0.5, 4 * math.ulp(low)) if whole else max(abs(low) / 2, math.ulp(0.0)) or 0.5
        return np.array([low - half, low + half]), (False, False)
    if whole and high - low < bins and abs(low) + abs(high) < 2.0**50:
        return np.arange(low - 0.5, high + 1), (False, False)
    q1, q3 = (float(q) for q in sketch.quantile(np.array([0.25, 0.75])))
    reach = FAR_OUT * (q3 - q1)
    inner_low, inner_high = max(low, q1 - reach), min(high, q3 + reach)
    if not reach > 0 or not math.isfinite(reach) or not inner_low < inner_high:
        inner_low, inner_high = low, high
    tails = inner_low > low, inner_high < high
    if whole and abs(low) + abs(high) < 2.0**50:
        # Bins of as many whole numbers each, which others would hold by turns one more and one less.
        first, last = math.ceil(inner_low) - 0.5, math.floor(inner_high) + 0.5
        inner = np.arange(first, last, math.ceil((last - first) / (bins - sum(tails))))
        before, behind = [low - 0.5] if tails[0] else [], [high + 0.5] if tails[1] else []
        return np.concatenate([before, inner, [last], behind]), tails
    steps = np.linspace(0.0, 1.0, bins + 1 - sum(tails))
    inner = inner_low * (1 - steps) + inner_high * steps  # no difference that could overflow
    inner[0], inner[-1] = inner_low, inner_high
    return np.unique(np.concatenate([[low], inner, [high]])), tails


def bowley(quantiles: dict[float, float]) -> float | None:
    """Bowley's skewness, ((q75 - q50) - (q50 - q25)) / (q75 - q25), from -1 to 1; None where q75 is q25.

    A. L. Bowley, Elements of Statistics (1920). It looks at the middle half alone, so no outlier moves it.
    """
    q1, q2, q3 = (quantiles.get(q) for q in (0.25, 0.5, 0.75))
    if q1 is None or q2 is None or q3 is None or not q3 / 2 - q1 / 2 > 0:
        return None
    return (q3 / 2 - q2 / 2 - (q2 / 2 - q1 / 2)) / (q3 / 2 - q1 / 2)


def tail_weight(quantiles: dict[float, float]) -> float | None:
    """(q99 - q01) / (q75 - q25), divided by what a normal distribution has; None where q75 is q25.

    After E. L. Crow and M. M. Siddiqui, "Robust estimation of location" (JASA 62, 1967). 1: as a normal distribution;
    0.57: uniform; 1.6: Laplace; 9.2: Cauchy.
    """
    q01, q1, q3, q99 = (quantiles.get(q) for q in (0.01, 0.25, 0.75, 0.99))
    if q01 is None or q1 is None or q3 is None or q99 is None or not q3 / 2 - q1 / 2 > 0:
        return None
    return (q99 / 2 - q01 / 2) / (q3 / 2 - q1 / 2) / NORMAL_TAILS


def medcouple(values: Sequence[float] | NDArray[Any]) -> float | None:
    """The medcouple, a robust skewness from -1 to 1; None without values.

    The median of ((b - m) - (m - a)) / (b - a) over all a <= m <= b, m the median: G. Brys, M. Hubert and A. Struyf,
    "A robust measure of skewness" (JCGS 13, 2004). Quadratic in time: meant for a hundred quantiles.

    Examples
    --------
    >>> medcouple([-1, 0, 1]), medcouple([-1, 0, 8]) > 0
    (0.0, True)
    """
    x = np.sort(np.asarray(values, np.float64))
    if not len(x):
        return None
    x = x / max(1.0, float(np.abs(x).max()))  # so that no difference overflows
    m = float(np.median(x))
    low, high = (x[x <= m] - m)[:, None], (x[x >= m] - m)[None, :]
    apart = high - low
    with np.errstate(invalid="ignore", divide="ignore"):
        h = (high + low) / apart
    # Where both are the median: the sign of their places in the two lists, as the authors have it.
    ties = int((x == m).sum())
    if ties:
        i, j = np.indices((ties, ties))
        h[len(low) - ties :, :ties] = np.sign(j - (ties - 1 - i))
    return float(np.median(h))


@dataclass(frozen=True)
class Outliers:
    """How many values lie beyond fences.

    Attributes
    ----------
    low, high : float
        The fences.
    count, count_error : int
        Values beyond them, and by how much that can be off.
    """

    low: float
    high: float
    count: int
    count_error: int


def tukey_outliers(sketch: Any) -> Outliers | None:
    """Values more than 1.5 interquartile ranges beyond the quartiles (Tukey 1977); None without values.

    The error is that of the fences, which come from two quantiles, and that of the ranks at them.
    """
    if not sketch.count:
        return None
    q1, q3 = (float(q) for q in sketch.quantile(np.array([0.25, 0.75])))
    lows, highs = ([float(end) for end in ends] for ends in sketch.value_interval(np.array([0.25, 0.75])))
    fences = q1 - TUKEY * (q3 - q1), q3 + TUKEY * (q3 - q1)
    found = _beyond(sketch, *fences)
    # The nearest and the farthest pair of fences that the quartiles' intervals allow.
    near = _beyond(sketch, highs[0] - TUKEY * (lows[1] - highs[0]), lows[1] + TUKEY * (lows[1] - highs[0]))
    far = _beyond(sketch, lows[0] - TUKEY * (highs[1] - lows[0]), highs[1] + TUKEY * (highs[1] - lows[0]))
    ranks = 2 * sketch.rank_error
    share = max(near - found, found - far, 0.0)
    error = math.ceil((share + ranks) * sketch.count) if sketch.rank_error else 0
    return Outliers(*fences, round(found * sketch.count), error)


def adjusted_outliers(sketch: Any) -> tuple[float, Outliers] | None:
    """The medcouple of a sketch's quantiles, and the values beyond the fences of a boxplot that allows for skewness.

    [q25 - 1.5 exp(-4 M) iqr, q75 + 1.5 exp(3 M) iqr] for a medcouple M >= 0, and mirrored for M < 0: M. Hubert and
    E. Vandervieren, "An adjusted boxplot for skewed distributions" (CSDA 52, 2008).
    """
    if not sketch.count:
        return None
    points = sketch.quantile((np.arange(_MEDCOUPLE_POINTS) + 0.5) / _MEDCOUPLE_POINTS)
    m = medcouple(points)
    assert m is not None
    q1, q3 = (float(q) for q in sketch.quantile(np.array([0.25, 0.75])))
    left, right = (-4.0, 3.0) if m >= 0 else (-3.0, 4.0)
    fences = q1 - TUKEY * math.exp(left * m) * (q3 - q1), q3 + TUKEY * math.exp(right * m) * (q3 - q1)
    found = _beyond(sketch, *fences)
    return m, Outliers(*fences, round(found * sketch.count), math.ceil(2 * sketch.rank_error * sketch.count))


def _beyond(sketch: Any, low: float, high: float) -> float:
    """The share of values below `low` or above `high`."""
    if math.isnan(low) or math.isnan(high):
        return 0.0
    below = float(sketch.rank(np.nextafter(low, -math.inf)))
    return below + 1.0 - float(sketch.rank(high))


def quantiles_of(quantile: Callable[[Any], Any], fractions: Sequence[float] = QUANTILES) -> dict[float, float]:
    """The values at these fractions."""
    return dict(zip(fractions, (float(value) for value in quantile(np.array(fractions))), strict=True))
