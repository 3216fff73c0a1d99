"""What statistics truly are, in exact arithmetic, and the doubles nearest to them."""

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

import numpy as np

Number = float | int | Decimal | Fraction | np.generic

GUARD_BITS = 128  # of a square root's two bounds; a double has 53


def fractions(values: Iterable[Number | None]) -> list[Fraction]:
    """The values that are there, neither None nor NaN, as fractions."""
    plain = (v.item() if isinstance(v, np.generic) else v for v in values)
    return [Fraction(v) for v in plain if v is not None and v == v]


def nearest(x: Fraction) -> float:
    """The double nearest to x, ties to even; infinite where x is too large for one."""
    try:
        return x.numerator / x.denominator  # Python divides integers with one rounding, denormals included
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def root(x: Fraction) -> tuple[Fraction, Fraction]:
    """The square root between two fractions, which are equal if it is one of them."""
    shift = max(0, GUARD_BITS - (x.numerator.bit_length() - x.denominator.bit_length()) // 2 + 1)
    scaled = x.numerator << 2 * shift
    whole = math.isqrt(scaled // x.denominator)
    exact = whole * whole * x.denominator == scaled
    return Fraction(whole, 1 << shift), Fraction(whole if exact else whole + 1, 1 << shift)


def nearest_root(x: Fraction) -> float:
    """The double nearest to the square root of x."""
    # No double and no middle of two has so many bits as to lie between the fractions, so that the point halfway
    # rounds as the root does.
    below, above = root(x)
    return nearest((below + above) / 2)


class Moments:
    """Count, mean, variance and standard deviation as fractions, and as the doubles nearest to them.

    Each value counts `times` times. Variance and standard deviation of fewer values than `ddof` + 1 are NaN.
    """

    def __init__(self, values: Iterable[Number | None], times: int = 1) -> None:
        numbers = fractions(values)
        self.count = len(numbers) * times
        self.unit = math.lcm(*(x.denominator for x in numbers))
        whole = [x.numerator * (self.unit // x.denominator) for x in numbers]
        self.sum, self.sum_squares = sum(whole) * times, sum(x * x for x in whole) * times

    def exact_mean(self) -> Fraction:
        return Fraction(self.sum, self.count * self.unit)

    def exact_var(self, ddof: Number = 0) -> Fraction:
        above = self.count * self.sum_squares - self.sum**2
        return Fraction(above, self.count * self.unit**2) / (self.count - Fraction(ddof))

    @property
    def mean(self) -> float:
        return nearest(self.exact_mean()) if self.count else math.nan

    def var(self, ddof: Number = 0) -> float:
        return nearest(self.exact_var(ddof)) if self.count > ddof else math.nan

    def std(self, ddof: Number = 0) -> float:
        return nearest_root(self.exact_var(ddof)) if self.count > ddof else math.nan


def log_relative_error(found: float, truth: Fraction, cap: float) -> float:
    """The number of decimal digits that are right, at most `cap`."""
    if not math.isfinite(found):
        return 0.0
    error = abs(Fraction(found) - truth)
    if truth:
        error /= abs(truth)
    return cap if error == 0 else min(cap, -math.log10(error))


def same_double(a: float, b: float) -> bool:
    """Whether two floats have the same bits; NaN is NaN."""
    return a == b and math.copysign(1, a) == math.copysign(1, b) or (a != a and b != b)
