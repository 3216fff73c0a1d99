"""How far two columns are apart: population stability index, Kolmogorov-Smirnov distance, shift and ratio of scales."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..summary import ColumnSummary
from .shape import NORMAL_QUARTILES

SMOOTHING = 0.5  # values that each bin is given beforehand
CONFIDENCE = 0.99
_GRID = 1024


def population_stability_index(a: Any, b: Any) -> float | None:
    """The PSI of two sketches, over the bins between the deciles of the first; None without values.

    The sum over the bins of (q - p) ln(q / p), with p and q the shares of a bin: N. Siddiqi, Credit Risk Scorecards
    (2006); B. Yurdakul, Statistical Properties of Population Stability Index (2018). Equal deciles make one bin. Each
    bin is given half a value beforehand, so that an empty one has a logarithm: p = (count + 1/2) / (n + bins / 2).
    Bins that are empty on both sides, as between equal deciles, are none: half a value there would be a larger share
    of the smaller side, and so look like a change.

    Examples
    --------
    >>> from streamnorm import QuantileSketch
    >>> a, b = QuantileSketch().update(range(100)), QuantileSketch().update(range(50, 150))
    >>> population_stability_index(a, a), population_stability_index(a, b) > 1
    (0.0, True)
    """
    if not a.count or not b.count:
        return None
    edges = np.unique(a.quantile(np.arange(1, 10) / 10))
    counts = np.array([_counts(sketch, edges) for sketch in (a, b)])
    counts = counts[:, counts.max(axis=0) > 0] + SMOOTHING
    p, q = counts / counts.sum(axis=1, keepdims=True)
    return float(((q - p) * np.log(q / p)).sum())


def _counts(sketch: Any, edges: np.ndarray) -> np.ndarray:
    shares = np.diff(np.concatenate([[0.0], sketch.rank(edges), [1.0]]))
    return np.maximum(shares, 0.0) * sketch.count


def kolmogorov_smirnov(a: Any, b: Any) -> tuple[float, float, float] | None:
    """The largest distance of two distribution functions by their sketches, and the interval that it lies in.

    The interval holds with a confidence of 99 %: each sketch's rank error, at a confidence that leaves 1 % for all
    points together, is taken away below and added above. Between two neighbouring points both functions only rise,
    which bounds their distance there.

    Returns
    -------
    (distance, low, high) or None
        None without values.

    Examples
    --------
    >>> from streamnorm import QuantileSketch
    >>> a, b = QuantileSketch().update(range(100)), QuantileSketch().update(range(50, 150))
    >>> kolmogorov_smirnov(a, b)
    (0.5, 0.5, 0.5)
    """
    if not a.count or not b.count:
        return None
    grid = np.unique(np.concatenate([_points(a), _points(b)]))
    ahead = np.nextafter(grid, -math.inf)
    at_a, at_b, before_a, before_b = a.rank(grid), b.rank(grid), a.rank(ahead), b.rank(ahead)
    distance = float(max(np.abs(at_a - at_b).max(), np.abs(before_a - before_b).max()))
    between = max((before_a[1:] - at_b[:-1]).max(initial=0.0), (before_b[1:] - at_a[:-1]).max(initial=0.0))
    error = _error(a, len(grid)) + _error(b, len(grid))
    return distance, max(0.0, distance - error), min(1.0, max(distance, float(between)) + error)


def _points(sketch: Any) -> np.ndarray:
    """Where to look: the values of a sketch that holds them whole, else quantiles."""
    if sketch.rank_error != 0 or sketch.count < 2:
        return sketch.quantile(np.linspace(0.0, 1.0, _GRID if sketch.rank_error else 2))
    steps = np.arange(sketch.count)
    ranks = steps / (sketch.count - 1)
    found = sketch.quantile(ranks)
    # A rank that rounding moved off a value makes a quantile between two of them: the value is beside it.
    missed = np.flatnonzero(ranks * (sketch.count - 1) != steps)
    low = sketch.quantile(np.maximum(ranks[missed] * (1 - 1e-15), 0.0))
    high = sketch.quantile(np.minimum(ranks[missed] * (1 + 1e-15), 1.0))
    below = sketch.rank(high)
    high = np.where(sketch.rank(low) >= below, low, high)
    while True:
        middle = low / 2 + high / 2
        inside = (low < middle) & (middle < high)
        if not inside.any():
            found[missed] = high
            return found
        reached = sketch.rank(middle) >= below
        high, low = np.where(inside & reached, middle, high), np.where(inside & ~reached, middle, low)


def _error(sketch: Any, points: int) -> float:
    """The rank error of a sketch for so many points together."""
    if sketch.rank_error == 0:
        return 0.0
    at = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    # Two points beside each other are asked for each, and two sketches share what may fail.
    low, high = sketch.rank_interval(at, 1 - (1 - CONFIDENCE) / (4 * points))
    return float(max((at - low).max(), (high - at).max()))


def shift_and_ratio(a: ColumnSummary, b: ColumnSummary) -> tuple[float, float | None, str] | None:
    """How far the center has moved, in units of the first scale; the ratio of the scales; and what both are.

    Means and standard deviations where both know them; else medians and interquartile ranges, or extrema. None where
    the two know nothing in common.
    """
    for name, ends in (("mean and std", _moments), ("median and quartiles", _quartiles), ("range", _range)):
        found = ends(a), ends(b)
        if found[0] is not None and found[1] is not None:
            (center_a, scale_a), (center_b, scale_b) = found
            return _ratio(center_b - center_a, scale_a), _scales(scale_a, scale_b), name
    return None


def _ratio(distance: float, scale: float) -> float:
    if distance == 0:
        return 0.0
    return math.copysign(math.inf, distance) if scale == 0 else distance / scale


def _scales(a: float, b: float) -> float | None:
    if a == 0:
        return 1.0 if b == 0 else None
    return b / a


def _moments(column: ColumnSummary) -> tuple[float, float] | None:
    if column.given is not None:
        return column.given
    return (column.mean, column.std()) if column.stats.has_moments and column.has_values else None


def _quartiles(column: ColumnSummary) -> tuple[float, float] | None:
    if column.given is not None or not column.has_values:
        return None
    if column.quantiles is not None:
        if any(q not in column.quantiles for q in (0.25, 0.5, 0.75)):
            return None
    elif not column.stats.has_sketch:
        return None
    low, middle, high = (float(value) for value in column.quantile([0.25, 0.5, 0.75]))
    return middle, (high - low) / NORMAL_QUARTILES


def _range(column: ColumnSummary) -> tuple[float, float] | None:
    if column.given is not None or not column.stats.has_extrema or not column.has_values:
        return None
    low, high = float(column.min), float(column.max)
    return low / 2 + high / 2, high - low
