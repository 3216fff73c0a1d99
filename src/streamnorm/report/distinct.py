"""The number of distinct values of a stream: counted while they are few, estimated after that, in bounded memory."""

# Design: every value goes through a mixing function that is one-to-one on 64 bits, so that a set of up to EXACT hashes
# is a set of values, and its size is exact. Beyond that, 2**PRECISION registers keep the longest runs of leading zeros
# (Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog", AofA 2007), and the estimate is Ertl's ("New cardinality
# estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), which needs no table of corrections between few
# and many values. Both states are functions of the set of values alone: order, chunks and threads do not matter.
# Turned down: hashes of Python objects, at 100 ns a value, and a sort of each batch, at 45 ns a value.

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

EXACT = 1024  # values that are counted one by one
PRECISION = 12
STANDARD_ERROR = 1.04 / math.sqrt(1 << PRECISION)
_SLICE = 8192
_SLOTS = 12  # bits of the table in which most values that were seen before are found at once
_TOP = np.uint64(64 - _SLOTS)
_ALPHA = 1 / (2 * math.log(2))


def mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well mixed 64-bit numbers, one for each: the last step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    h = bits + np.uint64(0x9E3779B97F4A7C15)
    part = h >> np.uint64(30)
    np.bitwise_xor(h, part, out=h)
    np.multiply(h, np.uint64(0xBF58476D1CE4E5B9), out=h)
    np.right_shift(h, np.uint64(27), out=part)
    np.bitwise_xor(h, part, out=h)
    np.multiply(h, np.uint64(0x94D049BB133111EB), out=h)
    np.right_shift(h, np.uint64(31), out=part)
    np.bitwise_xor(h, part, out=h)
    return h


class DistinctCounter:
    """Counts distinct 64-bit patterns.

    Examples
    --------
    >>> DistinctCounter().update(np.array([7, 7, 8], np.uint64)).estimate()
    (2, 0.0)
    """

    def __init__(self) -> None:
        self._known: NDArray[np.uint64] | None = np.empty(0, np.uint64)  # sorted hashes; None: the registers count
        self._registers: NDArray[np.uint8] | None = None

    def update(self, bits: NDArray[np.uint64]) -> Self:
        """Count patterns."""
        start = 0
        if self._known is not None:
            slots = np.zeros(1 << _SLOTS, np.uint64)
            slots[self._known >> _TOP] = self._known
            while self._known is not None and start < len(bits):
                step = _SLICE if start else 2 * EXACT  # mostly different values are known as such by the first ones
                hashes = mixed(bits[start : start + step])
                unseen = hashes[slots[hashes >> _TOP] != hashes]  # or their place in the table is another's
                if len(unseen):
                    slots[unseen >> _TOP] = unseen
                    self._unite(unseen)
                start += step
        if start < len(bits):
            self._register(mixed(bits[start:]))
        return self

    def _unite(self, hashes: NDArray[np.uint64]) -> None:
        assert self._known is not None
        if not len(hashes):
            return
        both = np.sort(np.concatenate([self._known, hashes]))  # np.union1d takes ten times as long
        self._known = both[np.append(True, both[1:] != both[:-1])]
        if len(self._known) > EXACT:
            self._forget()

    def _forget(self) -> None:
        """Go on with registers."""
        assert self._known is not None
        known, self._known = self._known, None
        self._register(known)

    def _register(self, hashes: NDArray[np.uint64]) -> None:
        if self._registers is None:
            self._registers = np.zeros(1 << PRECISION, np.uint8)
        rest = hashes << np.uint64(PRECISION)
        lowest = int(self._registers.min())
        if lowest:  # most values can change nothing any more
            chosen = np.flatnonzero(rest < np.uint64(1 << (64 - lowest)))
            hashes, rest = hashes[chosen], rest[chosen]
        _, exponents = np.frexp(rest.astype(np.float64))
        runs = np.minimum(65 - exponents, 65 - PRECISION).astype(np.uint8)
        np.maximum.at(self._registers, hashes >> np.uint64(64 - PRECISION), runs)

    def merge(self, other: DistinctCounter) -> Self:
        """Count what another one has counted, too."""
        if other._known is not None:
            if self._known is not None:
                self._unite(other._known)
            else:
                self._register(other._known)
        elif other._registers is not None:
            if self._known is not None:
                self._forget()
            assert self._registers is not None
            np.maximum(self._registers, other._registers, out=self._registers)
        return self

    def estimate(self) -> tuple[int, float]:
        """The number of distinct values, and its relative standard error; 0 where it is exact."""
        if self._known is not None:
            return len(self._known), 0.0
        assert self._registers is not None
        m, q = 1 << PRECISION, 64 - PRECISION
        counts = np.bincount(self._registers, minlength=q + 2)[: q + 2].tolist()
        z = m * _tau(1 - counts[q + 1] / m)
        for k in range(q, 0, -1):
            z = 0.5 * (z + counts[k])
        z += m * _sigma(counts[0] / m)
        return round(_ALPHA * m * m / z), STANDARD_ERROR


def _sigma(x: float) -> float:
    """x + sum of x**(2**k) * 2**(k - 1)."""
    if x == 1:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    """(1 - x - sum of (1 - x**(2**-k))**2 * 2**-k) / 3."""
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3
