"""Which rows are trained on and which are tested on: at random, by group, or in order of time."""

# Design: folds at random are dealt anew for every seed, so that each repetition is a cross-validation of its own. Those
# by group or by time stay what they are, as few groups, and one order, leave little to deal: there the seeds repeat the
# training alone, and a test counts folds and not runs.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..nn._regressor_network import generator
from ._compare_sample import Sample

FOLDS = 17  # what a seed is used for here


@dataclass(frozen=True)
class Folds:
    """The folds of a sample.

    Attributes
    ----------
    kind : {"random", "group", "time"}
    folds : int
    """

    kind: str
    folds: int
    _blocks: np.ndarray | None  # the fold of each row; for time, the block, of which the first is never tested on
    _rows: int

    def split(self, seed: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """The positions of the rows to train on, and of those to test on."""
        blocks = self._dealt(seed) if self._blocks is None else self._blocks
        if self.kind == "time":
            return np.flatnonzero(blocks <= fold), np.flatnonzero(blocks == fold + 1)
        return np.flatnonzero(blocks != fold), np.flatnonzero(blocks == fold)

    def _dealt(self, seed: int) -> np.ndarray:
        dealt = np.empty(self._rows, np.int32)
        dealt[generator(seed, FOLDS).permutation(self._rows)] = np.arange(self._rows) % self.folds
        return dealt

    @property
    def repeated(self) -> bool:
        """Whether each seed has folds of its own."""
        return self._blocks is None


def make_folds(sample: Sample, folds: int, seed: int, group: str | None, time: str | None) -> Folds:
    """Deal out a sample.

    Raises
    ------
    DataError
        If there are too few rows, groups or times.
    """
    rows = len(sample)
    if rows < 2 * folds:
        raise DataError(f"there are {rows} rows, and {folds} folds take at least {2 * folds}: give more rows")
    if sample.groups is not None:
        return Folds("group", folds, _by_group(sample.groups, folds, seed, group), rows)
    if sample.times is not None:
        return Folds("time", folds, _by_time(sample.times, folds, time), rows)
    return Folds("random", folds, None, rows)


def _by_group(codes: np.ndarray, folds: int, seed: int, name: str | None) -> np.ndarray:
    """The largest group first, each into the fold that has the fewest rows; by chance among groups of a size."""
    sizes = np.bincount(codes)
    if len(sizes) < folds:
        raise DataError(
            f"column {name!r} has {len(sizes)} groups, and {folds} folds take as many: use fewer folds", column=name
        )
    chance = generator(seed, FOLDS).permutation(len(sizes))
    filled, fold_of = np.zeros(folds, np.int64), np.empty(len(sizes), np.int32)
    for group in np.lexsort((chance, -sizes)):
        fold = int(np.argmin(filled))
        fold_of[group], filled[fold] = fold, filled[fold] + sizes[group]
    return fold_of[codes]


def _by_time(ranks: np.ndarray, folds: int, name: str | None) -> np.ndarray:
    """Blocks of about as many rows, one after the other; rows of the same time are in one of them."""
    counts = np.cumsum(np.bincount(ranks - 1))  # rows up to each time
    wanted = np.arange(1, folds + 1) * len(ranks) / (folds + 1)
    cuts = np.searchsorted(counts, wanted)  # the last time of each block
    if len(counts) <= folds or len(np.unique(cuts)) < folds or cuts[-1] >= len(counts) - 1:
        raise DataError(
            f"column {name!r} holds {len(counts)} different times, which do not part into {folds + 1} blocks of about "
            "the same size: use fewer folds",
            column=name,
        )
    return np.searchsorted(cuts, ranks - 1).astype(np.int32)
