"""What one pass over a column collects for its description, beside the statistics that scalers have."""

# Design: a tally stands where a scan expects the statistics of a column: it is fed chunk by chunk, and units of work
# are merged in the order of the rows, so that figures do not depend on threads.

from __future__ import annotations

from typing import Self

import pyarrow as pa

from .._core import ColumnStats, ColumnTally
from .._sketch import QuantileSketch
from .distinct import estimate


class Tally:
    """The statistics of one column, and what else its description says.

    Attributes
    ----------
    stats : ColumnStats
        Moments, extrema and a sketch; infinite values are counted and left out.
    seen : ColumnTally
        Zeros, whole numbers, order, skewness, and hashes of the values.
    """

    skips_infinite = True

    def __init__(self, seed: int = 0, error: float = 0.001) -> None:
        self.stats = ColumnStats(sketch=QuantileSketch(error, seed), skip_infinite=True)
        self.seen = ColumnTally()

    @property
    def infinite_count(self) -> int:
        return self.stats.infinite_count

    def update(self, chunk: pa.Array, weights: None = None) -> Self:
        """Count a chunk of integers, floats or decimals."""
        self.stats.update(chunk)
        self.seen.update(chunk)
        return self

    def merge(self, other: Tally) -> Self:
        """Go on with what came behind."""
        self.stats.merge(other.stats)
        self.seen.merge(other.seen)
        return self

    def distinct(self) -> tuple[int, float]:
        """The number of distinct values, and its relative standard error; 0 where it is exact."""
        return estimate(self.seen.hashes, self.seen.registers)
