"""Chunks of columns as rows of features, targets and a weight, and which of them belong to an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._batch_sources import Chunk
from ._rows import fill_matrix, words
from .errors import DataError
from .features import MISSING, FeatureMap, as_numbers

HOLDOUT = 3  # what random words are for; 1 and 2 are of the shuffle
MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Chosen:
    """Which rows an epoch has: those with all targets and a positive weight, of one part.

    Attributes
    ----------
    targets : tuple
        Columns.
    weight : str, int or None
        A column.
    holdout : (float, int) or None
        Fraction and seed.
    part : str or None
        "train" or "validation"; None without `holdout`.
    """

    targets: tuple[Any, ...]
    weight: Any
    holdout: tuple[float, int] | None
    part: str | None

    @property
    def columns(self) -> list[Any]:
        """The columns that it takes to tell."""
        return [*self.targets, *([] if self.weight is None else [self.weight])]

    def kept(
        self, chunk: Chunk, arrays: Sequence[Any], out: np.ndarray, first: int, maps: np.ndarray
    ) -> tuple[np.ndarray | None, int]:
        """Which rows of a chunk are in the epoch, and the values of targets and weight.

        Parameters
        ----------
        chunk : Chunk
        arrays : sequence
            Of `columns`.
        out : ndarray
            A matrix whose last columns, from number `first` on, take the values.
        first : int
        maps : ndarray of shape (k, 5)

        Returns
        -------
        (ndarray of uint8 or None, int)
            1 for the rows that are, and 0 for others, or None if all are; the number of rows without target or weight.
        """
        keep: np.ndarray | None = None
        if self.holdout is not None:
            keep = held_out(*self.holdout, chunk.first_row, chunk.rows)
            if self.part == "train":
                keep ^= 1
        if not len(arrays):
            return keep, 0
        numbers = [as_numbers(name, array) for name, array in zip(self.columns, arrays, strict=True)]
        places = np.arange(first, first + len(arrays), dtype=np.int64)
        nothing = np.full(len(arrays), np.nan), np.full(len(arrays), -1, dtype=np.int64)
        missing = fill_matrix(out, numbers, places, maps, *nothing, keep)
        values = out[:, first:]
        self._check(chunk, values, keep)
        weights = None if self.weight is None else values[:, -1]
        if (missing < 0).all() and (weights is None or (weights > 0).all()):
            return keep, 0
        good = np.ones(chunk.rows, dtype=bool)
        for column in values.T:
            good &= column == column
        if weights is not None:
            good &= weights > 0
        before = chunk.rows if keep is None else int(keep.sum())
        keep = good.view(np.uint8) if keep is None else keep & good.view(np.uint8)
        return keep, before - int(keep.sum())

    def _check(self, chunk: Chunk, values: np.ndarray, keep: np.ndarray | None) -> None:
        """Raise DataError for a target that is infinite, or a weight that is that or negative."""
        bad = np.isinf(values)
        if self.weight is not None:
            bad[:, -1] |= values[:, -1] < 0
        if not bad.any():
            return
        if keep is not None:
            bad &= keep.view(bool)[:, None]
        for j, name in enumerate(self.columns):
            found = np.flatnonzero(bad[:, j])
            if len(found):
                kind = values.dtype
                what = (
                    f"a target that is infinite in {kind}" if j < len(self.targets) else "a negative or infinite weight"
                )
                row = chunk.first_row + int(found[0])
                raise chunk.unit.error(f"holds {what}: correct it, or leave the row out", row, name)


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of chunks that hold the columns of `chosen` and then those of `features`."""

    chosen: Chosen
    features: FeatureMap
    maps: np.ndarray  # of targets and weight
    positions: Sequence[int]  # of the columns in the chunks

    @property
    def width(self) -> int:
        """Values a row: features, targets, weight."""
        return self.features.width + len(self.maps)

    def rows(self, chunk: Chunk, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None, int]:
        """All rows of a chunk, in `out` if given; which are in the epoch, and how many have no target or weight."""
        k, arrays = len(self.maps), [chunk.arrays[i] for i in self.positions]
        rows = np.empty((chunk.rows, self.width), self.features.dtype) if out is None else out
        try:
            keep, left_out = self.chosen.kept(chunk, arrays[:k], rows, self.features.width, self.maps)
            missing = self.features.fill(rows, arrays[k:], keep)
        except DataError as error:
            file = chunk.unit.file
            if file is None or error.file is not None:
                raise
            raise DataError(f"{file.path}: {error}", file=str(file.path), column=error.column) from error
        if missing is not None:
            raise chunk.unit.error(MISSING, chunk.first_row + missing[1], missing[0])
        return rows, keep, left_out


def held_out(fraction: float, seed: int, first_row: int, rows: int) -> np.ndarray:
    """1 for the rows that are for validation, by their numbers alone."""
    limit = np.uint64(min(int(fraction * 2.0**64), MASK))
    return (words(random_key(seed, HOLDOUT, 0), first_row, rows) < limit).view(np.uint8)


def random_key(seed: int, purpose: int, epoch: int) -> int:
    """The key of the random words of a seed for one purpose in one epoch."""
    of_seed = int(words(seed & MASK, purpose, 1)[0])
    return int(words(of_seed, epoch & MASK, 1)[0])
