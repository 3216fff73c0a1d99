"""The twin of the kernel that tells what a description says of a column beside its statistics.

Design: a pass over the chunk for each question. Everything but the skewness is made of integers and comparisons, and
has to be the kernel's; for the skewness, which has to be close, every value is kept.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ._values import _chunks, _values

__all__ = ["ColumnTally"]

_EXACT = 1024  # hashes that are kept
_PRECISION = 12  # bits of a register's number
_HIGH = (1 << 64) - 1


class ColumnTally:
    """Zeros, whole numbers, order, skewness and distinct values of a column."""

    def __init__(self) -> None:
        self.zero_count = 0
        self.whole = True
        self.hashes: NDArray[np.uint64] | None = np.empty(0, np.uint64)
        self.registers: NDArray[np.uint8] | None = None
        self._values = np.empty(0)
        self._ends: tuple[Any, Any] | None = None  # first and last value
        self._rises = self._falls = True  # no value is below, above the one before it

    def update(self, array: Any) -> Self:
        for chunk in _chunks(array):
            present, _, kind = _values(chunk)
            if kind == "decimal":
                self._look_at_decimals(present)
                continue
            values = np.asarray(present)
            if kind == "float":
                values = values[np.isfinite(values)]
                self.whole = self.whole and bool((values == np.rint(values)).all())
            if len(values):
                self.zero_count += len(values) - int(np.count_nonzero(values))
                rises, falls = bool((values[1:] >= values[:-1]).all()), bool((values[1:] <= values[:-1]).all())
                self._follow(values[0].item(), values[-1].item(), rises, falls)
                self._values = np.append(self._values, values.astype(np.float64))
                self._count(_mixed(_patterns(values)))
        return self

    def _look_at_decimals(self, values: list[Any]) -> None:
        patterns = []
        for value in values:
            self.zero_count += value == 0
            self.whole = self.whole and value == int(value)
            self._follow(value, value, True, True)
            sign, digits, _ = value.as_tuple()
            number = int("".join(map(str, digits))) * (-1 if sign else 1)
            low, high = number & _HIGH, number >> 64 & _HIGH
            if high != (_HIGH if low >> 63 else 0):
                low ^= int(_mixed(np.array([high], np.uint64))[0])
            patterns.append(low)
        if values:
            self._values = np.append(self._values, np.array(values, np.float64))
            self._count(_mixed(np.array(patterns, np.uint64)))

    def _follow(self, first: Any, last: Any, rises: bool, falls: bool) -> None:
        """Go on with values that are known by their ends and their order."""
        if self._ends is not None:
            rises, falls = rises and first >= self._ends[1], falls and first <= self._ends[1]
        self._rises, self._falls = self._rises and rises, self._falls and falls
        self._ends = (first if self._ends is None else self._ends[0], last)

    def _count(self, hashes: NDArray[np.uint64]) -> None:
        if self.hashes is not None:
            hashes = np.unique(np.concatenate([self.hashes, hashes]))
            self.hashes = hashes
            if len(hashes) <= _EXACT:
                return
            self.hashes, self.registers = None, np.zeros(1 << _PRECISION, np.uint8)
        assert self.registers is not None
        rest = hashes << np.uint64(_PRECISION)
        runs = [65 - (each.bit_length() or _PRECISION) for each in rest.tolist()]
        np.maximum.at(self.registers, hashes >> np.uint64(64 - _PRECISION), np.array(runs, np.uint8))

    def merge(self, other: ColumnTally) -> Self:
        self.zero_count += other.zero_count
        self.whole &= other.whole
        self._values = np.append(self._values, other._values)
        if other._ends is not None:
            self._follow(*other._ends, other._rises, other._falls)
        if other.hashes is not None:
            self._count(other.hashes)
        else:
            if self.hashes is not None:
                hashes, self.hashes, self.registers = self.hashes, None, np.zeros(1 << _PRECISION, np.uint8)
                self._count(hashes)
            assert self.registers is not None and other.registers is not None
            self.registers = np.maximum(self.registers, other.registers)
        return self

    @property
    def monotone(self) -> str | None:
        if self._rises == self._falls:
            return None
        return "increasing" if self._rises else "decreasing"

    @property
    def skew(self) -> float | None:
        return _skew(self._values)


def _skew(x: NDArray[np.float64]) -> float | None:
    """m3 / m2**1.5 of finite values, whose sums are rounded once; None without spread."""
    if not x.any():
        return None
    scaled = np.ldexp(x, -math.frexp(float(np.abs(x).max()))[1])
    n = len(x)
    mean = math.fsum(scaled) / n
    deviations = (scaled - mean) - math.fsum(scaled - mean) / n
    m2, m3 = math.fsum(deviations**2), math.fsum(deviations**3)
    return math.sqrt(n) * m3 / m2**1.5 if m2 > 0 else None


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well mixed 64-bit numbers, one for each: the last step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    h = bits + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ h >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ h >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return h ^ h >> np.uint64(31)


def _patterns(values: NDArray[Any]) -> NDArray[np.uint64]:
    """64 bits for each number, the same for equal numbers of one kind."""
    if values.dtype.kind == "f":
        return (values.astype(np.float64) + 0.0).view(np.uint64)  # no negative zero
    if values.dtype == np.uint64:
        return values
    return values.astype(np.int64).view(np.uint64)
