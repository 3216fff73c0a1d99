"""Blocks of consecutive rows of series, and where in them windows begin."""

# Design: what waits to be trained on is rows, not windows: a row is in as many windows as these have rows, so that a
# buffer of windows would hold a source of any size `length` times. A block holds as many rows as fit, those of each
# group together, so that a window is one stretch of memory; and in front of them the last rows of the block before,
# which windows reach back to. Blocks are cut by the number of rows alone, so that how a source is chunked, and how
# fast it is read, changes nothing. Turned down: a window as rows of several blocks, which takes a search for each row.

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._batch_sources import BatchSource
from ._rows import fill_matrix
from ._series_rows import Labelled, SeriesRows, runs
from .errors import DataError
from .features import FeatureMap, as_numbers
from .pipeline import Cancelled


@dataclass(frozen=True)
class Shape:
    """What a window is: rows of inputs, steps to the target, rows from one window to the next."""

    length: int
    horizon: int
    stride: int

    @property
    def span(self) -> int:
        """Rows that it reaches over, the target's included."""
        return self.length + self.horizon


@dataclass
class Block:
    """Rows in memory and the windows in them.

    Attributes
    ----------
    x : ndarray of float32, shape (rows, features)
    y : ndarray of float32, shape (rows, targets)
    starts : ndarray of int64, shape (windows,)
        The first row of each, in the order in which their targets stand in the source.
    skipped : int
        Windows that lack a value.
    """

    x: np.ndarray
    y: np.ndarray
    starts: np.ndarray
    skipped: int


@dataclass
class Run:
    """One iteration over a part."""

    epoch: int
    source: BatchSource
    stop: threading.Event = field(default_factory=threading.Event)  # set once nobody wants more
    skipped: int = 0
    windows: int = 0


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of features and targets, as the windows have them."""

    features: FeatureMap
    targets: Sequence[Any]
    maps: np.ndarray  # of the targets

    @property
    def names(self) -> list[Any]:
        """The columns to read, each once."""
        return list(dict.fromkeys([*self.features.columns, *self.targets]))

    def fill(self, x: np.ndarray, y: np.ndarray, rows: Labelled) -> np.ndarray:
        """Write rows; says which have all inputs (first column) and all targets (second).

        Raises
        ------
        DataError
            If a value is infinite.
        """
        arrays = dict(zip(self.names, rows.chunk.arrays, strict=True))
        part = rows.at
        if isinstance(part, slice):
            arrays = {name: _cut(array, part) for name, array in arrays.items()}
            to_x, to_y = x, y
        else:
            to_x = np.empty((rows.chunk.rows, x.shape[1]), x.dtype)
            to_y = np.empty((rows.chunk.rows, y.shape[1]), y.dtype)
        self.features.fill(to_x, [arrays[name] for name in self.features.columns])
        numbers = [as_numbers(name, arrays[name]) for name in self.targets]
        count = len(numbers)
        places, none = np.arange(count, dtype=np.int64), np.full(count, -1, dtype=np.int64)
        fill_matrix(to_y, numbers, places, self.maps, np.full(count, np.nan), none)
        if not isinstance(part, slice):
            x[:], y[:] = to_x[part], to_y[part]
        good = np.ones((len(x), 2), bool)
        for j, (matrix, names) in enumerate(((x, self.features.columns), (y, self.targets))):
            if not np.isfinite(matrix).all():
                good[:, j] = np.isfinite(matrix).all(axis=1)
                self._check(matrix, names, rows)
        return good

    def _check(self, matrix: np.ndarray, names: Sequence[Any], rows: Labelled) -> None:
        bad = np.argwhere(np.isinf(matrix))
        if len(bad):
            at, j = (int(i) for i in bad[0])
            row = rows.chunk.first_row + int(rows.at.start + at if isinstance(rows.at, slice) else rows.at[at])
            raise rows.chunk.unit.error(
                f"holds a value that is infinite in {matrix.dtype} in row {row:,}: correct it, or set it to null",
                row,
                names[j],
            )


def _cut(array: Any, part: slice) -> Any:
    return array[part] if isinstance(array, np.ndarray) else array.slice(part.start, part.stop - part.start)


class BlockMaker:
    """Makes the blocks of a part.

    Parameters
    ----------
    rows : SeriesRows
    maker : RowMaker
    shape : Shape
    part : {"train", "validation"}
    memory : int
        Bytes that a block may take while it is made.

    Attributes
    ----------
    capacity : int
        Rows of a block.
    whole : bool
        Whether the part is a single block.
    """

    def __init__(self, rows: SeriesRows, maker: RowMaker, shape: Shape, part: str, memory: int) -> None:
        self.rows, self.maker, self.shape, self.part = rows, maker, shape, part
        self.grouped, self.timed = rows.group is not None, rows.max_step is not None
        values = 4 * (maker.features.width + len(maker.targets)) + 2
        # Sorting by groups makes the rows once more. A window takes its number, and that again to be drawn by.
        of_row = values * (1 + self.grouped) + 32 * self.grouped + 16 * self.timed + 9
        self.capacity = max(1, memory // (of_row + -(-40 // shape.stride)))
        self.whole = rows.rows_of(part) <= self.capacity

    def blocks(self, run: Run) -> Iterator[Block]:
        """The blocks; the caller lets go of each before it asks for the next."""
        seen = np.zeros(len(self.rows.sizes), np.int64)
        left = self.rows.rows_of(self.part)
        room = _Room(self, _nothing_carried(self), left)
        for found in self.rows.labelled(self.part, self.maker.names, timed=self.timed, source=run.source, seen=seen):
            if run.stop.is_set():
                raise Cancelled
            rows: Labelled | None = found
            while rows is not None:
                rest = room.take(rows)
                left -= rows.rows - (0 if rest is None else rest.rows)
                rows = rest
                if room.full and left:
                    over = seen >= self.rows.ends_of(self.part)
                    if rows is not None and rows.codes is not None:
                        over[rows.codes] = False
                    block, carried = room.finish(over)
                    del room
                    yield block
                    del block
                    room = _Room(self, carried, left)
                elif room.full and rows is not None:
                    raise DataError("the source is not what it was: it has more rows now than it had before")
        run.source.check_unchanged()
        yield room.finish(None)[0]


@dataclass
class Carried:
    """The rows that windows of the next block may begin in.

    `places` are theirs in their segments: stretches of rows of a group without a gap, where windows begin every
    `stride` rows.
    """

    x: np.ndarray
    y: np.ndarray
    good: np.ndarray
    places: np.ndarray
    codes: np.ndarray | None
    times: np.ndarray | None


def _nothing_carried(maker: BlockMaker) -> Carried:
    return Carried(
        np.empty((0, maker.maker.features.width), np.float32),
        np.empty((0, len(maker.maker.targets)), np.float32),
        np.empty((0, 2), bool),
        np.empty(0, np.int64),
        np.empty(0, np.int64) if maker.grouped else None,
        None,
    )


class _Room:
    """Rows that come in until they make a block, behind what is carried on from the one before."""

    def __init__(self, maker: BlockMaker, carried: Carried, left: int) -> None:
        self._maker, self._before = maker, len(carried.x)
        rows = min(maker.capacity - self._before, left)
        if rows < left and rows <= maker.capacity // 4:
            whose = " of all groups that have more rows to come" if maker.grouped else ""
            raise DataError(
                f"windows over {maker.shape.span:,} rows{whose} take more than memory= allows: allow more, make them "
                "shorter, or put the rows of each group together"
            )
        self._x, self._y, self._good = (_longer(old, rows) for old in (carried.x, carried.y, carried.good))
        self._places = carried.places
        self._codes = [] if carried.codes is None else [carried.codes]
        self._times = [] if carried.times is None else [carried.times]
        self._at, self._stop = self._before, self._before + rows

    @property
    def full(self) -> bool:
        return self._at == self._stop

    def take(self, rows: Labelled) -> Labelled | None:
        """Take rows in; returns those for which there is no room."""
        count = min(rows.rows, self._stop - self._at)
        rest = None
        if count < rows.rows:
            rows, rest = _part(rows, slice(0, count)), _part(rows, slice(count, rows.rows))
        here = slice(self._at, self._at + count)
        self._good[here] = self._maker.maker.fill(self._x[here], self._y[here], rows)
        if rows.codes is not None:
            self._codes.append(rows.codes)
        if rows.times is not None:
            self._times.append(rows.times)
        self._at += count
        return rest

    def finish(self, over: np.ndarray | None) -> tuple[Block, Carried]:
        """What has come as a block, and what to carry on; `over`: groups that have no more rows, None for all."""
        n, shape = self._at, self._maker.shape
        x, y, good = self._x[:n], self._y[:n], self._good[:n]
        del self._x, self._y, self._good
        codes = np.concatenate(self._codes) if self._codes else None
        times = np.concatenate(self._times) if self._times else None
        order, begins, _ = runs(codes, n)
        if order is not None:
            x, y, good = x[order], y[order], good[order]
            codes = None if codes is None else codes[order]
            times = None if times is None else times[order]
        ends = np.append(begins[1:], n)[: len(begins)]  # of groups
        if times is not None:
            assert self._maker.rows.max_step is not None
            with np.errstate(over="ignore"):
                gaps = np.flatnonzero(times[1:] - times[:-1] > self._maker.rows.max_step) + 1
            begins = np.union1d(begins, gaps)
        stops = np.append(begins[1:], n)[: len(begins)]
        number = begins if order is None else order[begins]  # as the rows came
        places = np.zeros(len(begins), np.int64)
        places[number < self._before] = self._places[number[number < self._before]]
        starts = _grid(begins + -places % shape.stride, stops - shape.span, shape.stride)
        whole = _whole(starts, good, shape)
        skipped = 0 if whole is None else len(starts) - int(np.count_nonzero(whole))
        starts = starts if whole is None else starts[whole]
        if codes is not None:
            last = starts + (shape.span - 1)
            starts = starts[np.argsort(last if order is None else order[last], kind="stable")]
        block = Block(x, y, starts, skipped)
        if over is None:
            return block, _nothing_carried(self._maker)
        final = np.searchsorted(stops, ends)  # the last segment of each group
        if codes is not None:
            final = final[~over[codes[begins[final]]]]
        first = np.maximum(begins[final], stops[final] - (shape.span - 1))
        rows = _grid(first, stops[final] - 1, 1)
        so_far = np.repeat(places[final] - begins[final], stops[final] - first) + rows
        return block, Carried(
            x[rows],
            y[rows],
            good[rows],
            so_far,
            None if codes is None else codes[rows],
            None if times is None else times[rows],
        )


def _longer(old: np.ndarray, rows: int) -> np.ndarray:
    """These rows, and behind them room for so many more."""
    new = np.empty((len(old) + rows, old.shape[1]), old.dtype)
    new[: len(old)] = old
    return new


def _part(rows: Labelled, part: slice) -> Labelled:
    at: Any = rows.at
    at = slice(at.start + part.start, at.start + part.stop) if isinstance(at, slice) else at[part]
    codes, times = (None if values is None else values[part] for values in (rows.codes, rows.times))
    return Labelled(rows.chunk, at, part.stop - part.start, codes, times)


def _grid(first: np.ndarray, last: np.ndarray, step: int) -> np.ndarray:
    """first[0], first[0] + step, ... up to last[0], then the same of first[1] and last[1], and so on."""
    counts = np.maximum((last - first) // step + 1, 0)
    if len(counts) == 1:
        return np.arange(first[0], first[0] + counts[0] * step, step)
    before = np.cumsum(counts) - counts
    return np.repeat(first - before * step, counts) + np.arange(counts.sum()) * step


def _whole(starts: np.ndarray, good: np.ndarray, shape: Shape) -> np.ndarray | None:
    """Which windows lack no value; None if all do not."""
    if good.all():
        return None
    lacking = np.append(np.zeros(1, np.int32), np.cumsum(~good[:, 0], dtype=np.int32))
    return (lacking[starts + shape.length] == lacking[starts]) & good[starts + (shape.span - 1), 1]
