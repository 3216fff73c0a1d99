"""What one pass over a column collects for its description, beside the statistics that scalers have."""

# Design: a tally stands where a scan expects the statistics of a column: it is fed chunk by chunk, and units of work
# are merged in the order of the rows, so that figures do not depend on threads. Everything but the third moment is
# made of integers and comparisons. NumPy's passes over a chunk that is in the cache take 1 to 3 ns a value each.

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .._core import ColumnStats
from .._sketch import QuantileSketch
from .distinct import DistinctCounter

_SMALLEST = -1074  # exponent of the smallest double
BLOCK = 1 << 17  # values that are looked at together: a megabyte


class Tally:
    """The statistics of one column, and what else its description says.

    Attributes
    ----------
    stats : ColumnStats
        Moments, extrema and a sketch; infinite values are counted and left out.
    distinct : DistinctCounter
    zero_count : int
    whole : bool
        Whether all values so far are whole numbers.
    """

    skips_infinite = True

    def __init__(self, seed: int = 0, error: float = 0.001) -> None:
        self.stats = ColumnStats(sketch=QuantileSketch(error, seed), skip_infinite=True)
        self.distinct = DistinctCounter()
        self.zero_count = 0
        self.whole = True
        self.third = ThirdMoment()
        self._ends: tuple[Any, Any] | None = None  # first and last value
        self._rises = self._falls = True  # no value is below, above the one before it

    @property
    def infinite_count(self) -> int:
        return self.stats.infinite_count

    def update(self, chunk: pa.Array, weights: None = None) -> Self:
        """Count a chunk of integers, floats or decimals."""
        self.stats.update(chunk)
        numbers, whole = finite_numbers(chunk)
        for start in range(0, len(numbers), BLOCK):
            self._look_at(numbers[start : start + BLOCK], whole)
        return self

    def _look_at(self, values: NDArray[Any], whole: bool | None) -> None:
        self.zero_count += len(values) - int(np.count_nonzero(values))
        if self.whole:
            self.whole = bool((values == np.rint(values)).all()) if whole is None else whole
        self._follow(values[0], values[-1], values)
        self.third.update(values)
        self.distinct.update(bit_patterns(values))

    def _follow(self, first: Any, last: Any, values: NDArray[Any] | None, *, rises: bool = True, falls: bool = True):
        """Go on with values in the order of the rows, or with what is known of their order."""
        if self._ends is not None:
            rises, falls = rises and first >= self._ends[1], falls and first <= self._ends[1]
        self._rises, self._falls = self._rises and rises, self._falls and falls
        if values is not None and len(values) > 1:
            if self._rises:
                self._rises = bool((values[1:] >= values[:-1]).all())
            if self._falls:
                self._falls = bool((values[1:] <= values[:-1]).all())
        self._ends = (first if self._ends is None else self._ends[0], last)

    def merge(self, other: Tally) -> Self:
        """Go on with what came behind."""
        self.stats.merge(other.stats)
        self.distinct.merge(other.distinct)
        self.zero_count += other.zero_count
        self.whole &= other.whole
        self.third.merge(other.third)
        if other._ends is not None:
            self._follow(*other._ends, None, rises=other._rises, falls=other._falls)
        return self

    @property
    def monotone(self) -> str | None:
        """ "increasing" where no value is below the one before it, "decreasing" the other way round."""
        if self._ends is None or self._rises == self._falls:
            return None
        return "increasing" if self._rises else "decreasing"


class ThirdMoment:
    """Sums of squares and cubes of the deviations from the mean, of which the skewness is made.

    Merged by the formulas of Pébay, "Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments" (Sandia report SAND2008-6212). Sums are kept in units of a power of two, so
    that no cube overflows or vanishes.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._unit = 0  # exponent
        self._m2 = self._m3 = 0.0

    def update(self, values: NDArray[Any]) -> None:
        """Count finite values."""
        found = ThirdMoment()
        numbers = values.astype(np.float64, copy=False)
        largest = max(abs(float(numbers.min())), abs(float(numbers.max())))
        found.count = len(numbers)
        found._unit = math.frexp(largest)[1] if largest else _SMALLEST
        if abs(found._unit) > 300:  # as doubles of ordinary size
            numbers = np.ldexp(numbers, -found._unit)
            found._mean = math.ldexp(float(numbers.mean()), found._unit)
            deviations = numbers - numbers.mean()
        else:
            found._mean = float(numbers.mean())
            deviations = np.ldexp(1.0, -found._unit) * (numbers - found._mean)
        squares = deviations * deviations
        found._m2 = float(squares.sum())
        squares *= deviations
        found._m3 = float(squares.sum())
        self.merge(found)

    def merge(self, other: ThirdMoment) -> None:
        """Add what another one has seen."""
        if not self.count or not other.count:
            if other.count:
                self.__dict__.update(other.__dict__)
            return
        unit = max(self._unit, other._unit)
        a, b = self._in(unit), other._in(unit)
        n_a, n_b = self.count, other.count
        n = n_a + n_b
        delta = math.ldexp(other._mean, -unit) - math.ldexp(self._mean, -unit)
        self._m3 = (
            a[1] + b[1] + delta**3 * (n_a / n) * n_b * ((n_a - n_b) / n) + 3 * delta * (n_a * b[0] - n_b * a[0]) / n
        )
        self._m2 = a[0] + b[0] + delta * delta * (n_a / n) * n_b
        self._mean += math.ldexp(delta * (n_b / n), unit)
        self.count, self._unit = n, unit

    def _in(self, unit: int) -> tuple[float, float]:
        by = self._unit - unit
        return math.ldexp(self._m2, 2 * by), math.ldexp(self._m3, 3 * by)

    @property
    def skew(self) -> float | None:
        """The third standardized moment, m3 / m2**1.5; None without spread."""
        if not self._m2 > 0:
            return None
        return math.sqrt(self.count) * self._m3 / self._m2**1.5


def finite_numbers(chunk: pa.Array) -> tuple[NDArray[Any], bool | None]:
    """The finite values of a chunk, integers or floats, and whether all are whole; None if that is to be seen."""
    kind = chunk.type
    if pa.types.is_decimal(kind):
        return _of_decimals(chunk)
    values = _buffer(chunk, np.dtype(kind.to_pandas_dtype()))
    if chunk.null_count:
        values = values[_validity(chunk)]
    if pa.types.is_integer(kind):
        return values, True
    finite = np.isfinite(values)
    return (values if finite.all() else values[finite]), None


def _buffer(chunk: pa.Array, dtype: np.dtype) -> NDArray[Any]:
    data = chunk.buffers()[1]
    return np.frombuffer(data if data is not None else b"", dtype)[chunk.offset : chunk.offset + len(chunk)]


def _validity(chunk: pa.Array) -> NDArray[np.bool_]:
    bits = np.frombuffer(chunk.buffers()[0], np.uint8)
    return np.unpackbits(bits, bitorder="little")[chunk.offset : chunk.offset + len(chunk)].view(np.bool_)


def _of_decimals(chunk: pa.Array) -> tuple[NDArray[Any], bool | None]:
    if chunk.type.bit_width == 128:
        pairs = _buffer(chunk, np.dtype((np.int64, 2)))
        if chunk.null_count:
            pairs = pairs[_validity(chunk)]
        low, high = pairs[:, 0], pairs[:, 1]
        scale = chunk.type.scale
        if 0 <= scale <= 18 and bool((high == low >> 63).all()):
            return low / 10.0**scale, bool((low % 10**scale == 0).all())
    numbers = [float(value) for value in chunk.to_pylist() if value is not None]
    return np.array(numbers, np.float64), None


def bit_patterns(values: NDArray[Any]) -> NDArray[np.uint64]:
    """64 bits for each number, the same for equal numbers of one type."""
    if values.dtype.kind == "f":
        return (values.astype(np.float64, copy=False) + 0.0).view(np.uint64)  # no negative zero
    if values.dtype == np.uint64:
        return values
    return values.astype(np.int64, copy=False).view(np.uint64)
