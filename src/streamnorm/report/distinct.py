"""The number of distinct values of a stream, from what its tally keeps: exact while they are few, estimated after."""

# Design: every value goes through a mixing function that is one-to-one on 64 bits, so that a set of up to EXACT hashes
# is a set of values, and its size is exact. Beyond that, 2**PRECISION registers keep the longest runs of leading zeros
# (Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog", AofA 2007), and the estimate is Ertl's ("New cardinality
# estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), which needs no table of corrections between few
# and many values. Both states are functions of the set of values alone: order, chunks and threads do not matter.
# Turned down: hashes of Python objects, at 100 ns a value, and a sort of each batch, at 45 ns a value.

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

EXACT = 1024  # values that are counted one by one
PRECISION = 12
STANDARD_ERROR = 1.04 / math.sqrt(1 << PRECISION)
_ALPHA = 1 / (2 * math.log(2))


def estimate(hashes: NDArray[np.uint64] | None, registers: NDArray[np.uint8] | None) -> tuple[int, float]:
    """The number of distinct values, and its relative standard error; 0 where it is exact.

    Parameters
    ----------
    hashes : ndarray or None
        All that there are, of a stream that had no more than EXACT.
    registers : ndarray of shape (2**PRECISION,), or None
        Of another one: for the hashes that begin with the register's number, 1 more than the longest run of zeros
        behind it; 0 without any.

    Examples
    --------
    >>> from streamnorm._core import ColumnTally
    >>> tally = ColumnTally().update(np.array([7, 7, 8]))
    >>> estimate(tally.hashes, tally.registers)
    (2, 0.0)
    """
    if hashes is not None:
        return len(hashes), 0.0
    assert registers is not None
    m, q = 1 << PRECISION, 64 - PRECISION
    counts = np.bincount(registers, minlength=q + 2)[: q + 2].tolist()
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
