"""Mean and standard deviation as nobody's arithmetic can move them: in integers, rounded once at the end."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np

DOUBLE_BITS = 53
ROOT_BITS = 128  # of a square root, of which a double keeps 53: rounding twice is a matter of one in 10**22


def moments(values: np.ndarray) -> tuple[float, float]:
    """The doubles nearest to the mean and the population's standard deviation of finite `values`.

    Takes a microsecond a value: for checks, not for comparisons of speed.
    """
    fraction, exponent = np.frexp(np.asarray(values, np.float64))
    lowest = int(exponent.min())
    mantissas = np.ldexp(fraction, DOUBLE_BITS).astype(np.int64).tolist()
    units = [mantissa << shift for mantissa, shift in zip(mantissas, (exponent - lowest).tolist(), strict=True)]
    unit = Fraction(2) ** (lowest - DOUBLE_BITS)
    return nearest(len(units), sum(units), sum(value * value for value in units), unit)


def nearest(count: int, total: int, squares: int, unit: Fraction, offset: int = 0) -> tuple[float, float]:
    """The same of `count` integers with these sums, each times `unit` plus `offset`."""
    variance = unit * unit * Fraction(count * squares - total * total, count * count)
    above, below = variance.as_integer_ratio()
    shift = max(0, ROOT_BITS + (below.bit_length() - above.bit_length()) // 2)
    root = Fraction(isqrt((above << 2 * shift) // below), 1 << shift)
    return float(offset + unit * Fraction(total, count)), float(root)
