"""Certificates: what is sure about a quantile, in ranks and in values."""

# Design: a certificate is made when it is asked for, from what the sketch's state keeps (the sum of the variance
# proxies of its random steps, and that of their largest errors), which add up in merges; it is nothing to be stored.
# Turned down: one number for all quantiles, such as `rank_error`, which cannot say that the minimum, the maximum and
# frequent values are known better.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.99  # unless another one is asked for


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quantile, and how far off it can be.

    Attributes
    ----------
    q : float
        The rank asked for, from 0 to 1.
    value : float
        The answer; NaN without values.
    low, high : float
        ``low <= q <= high``: the ranks of `value`, from the fraction of values below it to the fraction that it is
        at least, meet this interval.
    value_low, value_high : float
        The true quantile of all values, interpolated or not, lies between these; so does `value`.
    confidence : float
        Each of the two intervals, by itself, fails with a probability of at most 1 - confidence over the seeds of
        the sketch; at 1, never.
    exact : bool
        Whether the rank of `value` is `q` without any doubt; then ``low == high == q``.
    """

    q: float
    value: float
    low: float
    high: float
    value_low: float
    value_high: float
    confidence: float
    exact: bool


def exactly(q: float, value: float, confidence: float = CONFIDENCE) -> Certificate:
    """Of a quantile that was found among all values; NaN without any."""
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence must be above 0 and at most 1, not {confidence!r}")
    rank = value if math.isnan(value) else q
    return Certificate(q, value, rank, rank, value, value, confidence, rank == q)


def certify(sketch: Any, q: Sequence[float], confidence: float = CONFIDENCE) -> list[Certificate]:
    """What a :class:`~streamnorm.QuantileSketch` is sure of, for each q.

    Examples
    --------
    >>> from streamnorm import QuantileSketch
    >>> [median] = certify(QuantileSketch().update([1.0, 2.0, 6.0]), [0.5])
    >>> median.value, median.low, median.high, median.exact
    (2.0, 0.5, 0.5, True)
    """
    found = zip(q, *(column.tolist() for column in sketch._certify(q, confidence)), strict=True)
    return [
        Certificate(rank, value, low, high, value_low, value_high, confidence, low == high)
        for rank, value, low, high, value_low, value_high in found
    ]
