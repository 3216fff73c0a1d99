"""Mean, variance and standard deviation from exact sums, each rounded once, and the exact sums as text.

# Design: Python's integers have no bounds and divide with correct rounding (``int.__truediv__``), so the one rounding
# that a result may have is theirs. It costs some 20 microseconds a column, once. Turned down: ``fractions.Fraction``,
# whose greatest common divisors of 4,000-bit numbers take a hundred times as long.

An exact sum is ``units * 2**exponent``, where exponent is `SUM_EXPONENT` for sums of values and twice that for sums of
squares; of decimals, it is the sum of the unscaled integers, to be divided by ``10**scale``.
"""

from __future__ import annotations

import math
import re

SUM_EXPONENT = -1088  # SN_SUM_EXPONENT of csrc/exact.h
MAX_BITS = 4288  # of the digits there, without the one for the sign

_TEXT = re.compile(r"(-?)0x([0-9a-f]{1,1200})p([+-]\d{1,5})", re.ASCII)
_GUARD_BITS = 64  # of a square root's integer part, beyond which only "is there more" matters


def mean(units: int, count: int, scale: int = 0) -> float:
    """The double nearest to ``units * 2**SUM_EXPONENT / 10**scale / count``; NaN without values.

    Examples
    --------
    >>> mean(3 << -SUM_EXPONENT, 2)
    1.5
    """
    if count <= 0:
        return math.nan
    over, under = _power_of_ten(scale)
    return (units * under) / ((count * over) << -SUM_EXPONENT)


def variance(units: int, squares: int, count: int, ddof: float = 0, scale: int = 0) -> float:
    """The double nearest to the variance with divisor ``count - ddof``; NaN where that is not positive.

    Infinite where the variance is beyond a double.

    Examples
    --------
    >>> one = 1 << -SUM_EXPONENT
    >>> variance(3 * one, 5 * one**2, 2)
    0.25
    """
    if not count > ddof:
        return math.nan
    return _divide(*_variance_ratio(units, squares, count, ddof, scale))


def standard_deviation(units: int, squares: int, count: int, ddof: float = 0, scale: int = 0) -> float:
    """The double nearest to the square root of the exact variance, which may be finite where that is not.

    Examples
    --------
    >>> one = 1 << -SUM_EXPONENT
    >>> standard_deviation(3 * one, 5 * one**2, 2)
    0.5
    """
    if not count > ddof:
        return math.nan
    numerator, denominator = _variance_ratio(units, squares, count, ddof, scale)
    if numerator == 0:
        return 0.0
    # An even shift that leaves the quotient 2 * _GUARD_BITS bits, and its root half of them.
    shift = 2 * ((2 * _GUARD_BITS + denominator.bit_length() - numerator.bit_length()) // 2 + 1)
    quotient, rest = divmod(numerator << max(shift, 0), denominator << max(-shift, 0))
    root = math.isqrt(quotient)
    sticky = rest != 0 or root * root != quotient  # a half bit for all that follows, so that no tie is a false one
    doubled, shift = 2 * root + sticky, shift // 2 + 1
    return _divide(doubled << max(-shift, 0), 1 << max(shift, 0))


def _variance_ratio(units: int, squares: int, count: int, ddof: float, scale: int) -> tuple[int, int]:
    """(n Q - S^2) / (n (n - ddof)), as numerator and denominator."""
    taken, parts = float(ddof).as_integer_ratio()
    over, under = _power_of_ten(2 * scale)
    numerator = (count * squares - units * units) * parts * under
    denominator = count * (count * parts - taken) * over
    return numerator, denominator << (-2 * SUM_EXPONENT)


def _power_of_ten(exponent: int) -> tuple[int, int]:
    """10**exponent, as numerator and denominator."""
    return 10 ** max(exponent, 0), 10 ** max(-exponent, 0)


def _divide(numerator: int, denominator: int) -> float:
    """The double nearest to the quotient of positive integers, which may be infinite."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf


def to_text(units: int, exponent: int) -> str:
    """``units * 2**exponent`` as an odd hexadecimal integer and a power of two.

    Examples
    --------
    >>> to_text(-24, -5)
    '-0x3p-2'
    >>> to_text(0, -5)
    '0x0p+0'
    """
    if units == 0:
        return "0x0p+0"
    zeros = (units & -units).bit_length() - 1
    return f"{units >> zeros:#x}p{exponent + zeros:+d}"


def from_text(text: str, exponent: int) -> int:
    """The inverse of `to_text`.

    Raises
    ------
    ValueError
        If the text is none that `to_text` writes.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no exact sum")
    units, power = int(match[1] + match[2], 16), int(match[3])
    fits = power >= exponent and units.bit_length() + power - exponent <= min(-2 * exponent, MAX_BITS)
    if not fits or to_text(units << (power - exponent), exponent) != text:
        raise ValueError(f"{text[:40]!r} is no exact sum")
    return units << (power - exponent)
