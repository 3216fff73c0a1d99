"""The rows of an epoch in their order: units at random, rows through a buffer, or all of them out of memory."""

# Design: the units of the source (row groups, slices) come in a random order, and their rows then go through a buffer
# from which each row that comes in draws the one that goes out. Orders come from counters, never from a clock or a
# thread, so that an epoch is the same whatever the threads are. One background thread reads, decodes, scales and
# shuffles, ahead by a few pieces. Turned down: a permutation of all rows, which reads the file at random; and several
# reading threads, which one trainer cannot keep busy.

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ._batch_rows import Chosen, RowMaker, random_key
from ._batch_sources import BatchSource, Chunk, Unit
from ._rows import Shuffler, gather_rows, pack_rows, words
from .features import FeatureMap
from .pipeline import Cancelled

Piece = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
Rows = tuple[np.ndarray, np.ndarray]  # features; targets and weight

NUMBER_BYTES = 16  # that shuffling the number of a row takes
ORDER, BUFFER = 1, 2  # what random words are for


@dataclass
class Run:
    """One iteration over the rows of an epoch."""

    epoch: int
    source: BatchSource
    stop: threading.Event = field(default_factory=threading.Event)  # set once nobody wants more
    rows: int = 0
    left_out: int = 0


class RowMixer:
    """The part of :class:`Batches` that reads, shuffles and cuts into pieces; what it goes by is set there."""

    features: FeatureMap
    target: Any
    sample_weight: Any
    source_rows: int | None
    rows_left_out: int | None
    batch_size: int
    piece_rows: int
    buffer_rows: int
    seed: int
    shuffle: bool
    drop_last: bool
    _source: BatchSource
    _maker: RowMaker
    _chosen: Chosen
    _read_names: list[Any]
    _chunk_rows: int
    _share: tuple[int, int]
    _found_rows: int | None
    _holds: bool
    _held: tuple[np.ndarray, dict[int, tuple[int, int]], int] | None

    def _made(self, run: Run) -> Generator[Piece, None, None]:
        """The pieces, made in the thread that iterates."""
        try:
            yield from self._mix(run)
        finally:
            run.source.close()

    def _mix(self, run: Run) -> Generator[Piece, None, None]:
        waiting: Piece | None = None
        for x, rest in self._held_rows(run) if self._holds else self._flowing_rows(run):
            run.rows += len(x)
            if self.drop_last and len(x) < self.piece_rows:
                size = len(x) - len(x) % self.batch_size
                x, rest = x[:size], rest[:size]
            if waiting is not None and len(x) == 1 < self.piece_rows:
                x, rest = np.concatenate([waiting[0], x]), np.concatenate([waiting[1], rest])
            elif waiting is not None:
                yield self._piece(waiting)
            waiting = (x, rest, None) if len(x) else None
        run.source.check_unchanged()
        if self._share == (0, 1):
            self._found_rows, self.rows_left_out = run.rows, run.left_out
        if waiting is not None:
            yield self._piece(waiting)

    def _flowing_rows(self, run: Run) -> Iterator[Rows]:
        """Features and the rest of rows that go through the buffer."""
        dtype, at = self.features.dtype, 0
        shuffler = Shuffler(self.buffer_rows, self._maker.width, dtype, random_key(self.seed, BUFFER, run.epoch))
        x, rest = self._room(self._room_rows())
        room = np.empty((0, self._maker.width), dtype)
        for unit in self._units(run.epoch):
            for chunk in self._read(run, unit):
                if chunk.rows > len(room):
                    room = np.empty((chunk.rows, self._maker.width), dtype)
                rows, keep, left_out = self._maker.rows(chunk, room[: chunk.rows])
                run.left_out += left_out
                start = 0
                while start < chunk.rows:
                    at, start = shuffler.push(x, rest, at, rows, start, keep)
                    if at == len(x):
                        yield x, rest
                        x, rest = self._room(self._room_rows())
                        at = 0
        while shuffler.count:
            at = shuffler.drain(x, rest, at)
            if at == len(x):
                yield x, rest
                x, rest = self._room(self._room_rows())
                at = 0
        if at:
            yield x[:at], rest[:at]

    def _held_rows(self, run: Run) -> Iterator[Rows]:
        """The same out of rows that are all in memory, made in the first epoch: their numbers are shuffled."""
        run.source.check_unchanged()
        self._held = held = self._held or self._hold(run)
        rows, places, run.left_out = held
        numbers = np.empty((len(rows), 1))
        at = 0
        for unit in self._units(run.epoch):
            first, stop = places[unit.first_row]
            numbers[at : at + stop - first, 0].view(np.int64)[:] = np.arange(first, stop)  # moved about as they are
            at += stop - first
        shuffler = Shuffler(len(rows), 1, np.float64, random_key(self.seed, BUFFER, run.epoch))
        drawn, nothing = np.empty((self._room_rows(), 1)), np.empty((self._room_rows(), 0))
        shuffler.push(drawn, nothing, 0, numbers, 0)
        del numbers
        while shuffler.count:
            at = shuffler.drain(drawn, nothing, 0)
            x, rest = self._room(at)
            gather_rows(x, rest, rows, drawn[:at, 0].view(np.int64))
            yield x, rest

    def _hold(self, run: Run) -> tuple[np.ndarray, dict[int, tuple[int, int]], int]:
        """All rows of the part, where those of each unit are, and how many had no target."""
        rows = np.empty((self.source_rows or 0, self._maker.width), self.features.dtype)
        places, at, left_out = {}, 0, 0
        for unit in self._units(None):
            first = at
            for chunk in self._read(run, unit):
                made, keep, out = self._maker.rows(chunk, rows[at : at + chunk.rows])
                at, left_out = at + pack_rows(made, keep), left_out + out
            places[unit.first_row] = first, at
        return rows[:at], places, left_out

    def _room_rows(self) -> int:
        """Rows of a piece that can be filled at all: a batch may be larger than the source."""
        return self.piece_rows if self.source_rows is None else min(self.piece_rows, max(1, self.source_rows))

    def _room(self, rows: int) -> Rows:
        """Arrays for so many rows, which go to the caller."""
        dtype = self.features.dtype
        return np.empty((rows, self.features.width), dtype), np.empty((rows, len(self._chosen.columns)), dtype)

    def _piece(self, made: Piece) -> Piece:
        x, rest, _ = made
        assert rest is not None
        t = len(self._chosen.targets)
        weight = np.ascontiguousarray(rest[:, t]) if self.sample_weight is not None else None
        if not t:
            return x, None, weight
        y = np.ascontiguousarray(rest[:, :t])
        return x, y if isinstance(self.target, (list, tuple)) else y[:, 0], weight

    def _units(self, epoch: int | None) -> list[Unit]:
        """The units of our part in the order of an epoch; of the source for None."""
        index, share = self._share
        units = self._source.units[index::share]
        if not self.shuffle or epoch is None:
            return units
        order = np.argsort(words(random_key(self.seed, ORDER, epoch), 0, len(units)), kind="stable")
        return [units[i] for i in order]

    def _read(self, run: Run, unit: Unit) -> Iterator[Chunk]:
        encoded = [name for name in self.features.embed if self._dictionary(name)]
        for chunk in run.source.read(unit, self._read_names, encoded, self._chunk_rows):
            if run.stop.is_set():
                raise Cancelled
            yield chunk

    def _dictionary(self, name: Any) -> bool:
        """Whether a column to embed is best read as a dictionary, whose strings are hashed once."""
        assert self._source.schema is not None  # of arrays nothing is embedded
        kind = self._source.schema.field(name).type
        return pa.types.is_string(kind) or pa.types.is_binary(kind)
