"""The rows that a comparison trains and tests on: a bounded sample of any source, in one pass."""

# Design: each row has a random word that depends on the seed and on its position in the source alone, and the rows of
# the smallest words are the sample. So every row is as likely as any other, whatever the chunks, and what is held at a
# time is at most a quarter more than the sample. Turned down: the first rows, which are no sample of sorted data, and
# reservoir sampling, whose outcome depends on a generator that is drawn from in passing.
#
# Design: how many rows memory allows is counted as for one worker, and workers that have no room are not started. So
# the sample does not depend on the number of threads.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._rows import words
from ..batch_jobs import Reading, reading_of
from ..dry_run import stop
from ..errors import DataError
from ..features import nulls
from ..formats import Found, listed
from ..intake import intake_of, of_files
from ..matching import naming
from ..memory import give_back, parse_memory, steady_allocator
from ..nn._regressor_rows import check_target, indices, input_columns, numbers
from ..scalers._inputs import kind_of
from ..scalers._select import check_columns, is_numeric_when_named
from ..stream import Stream, open_stream

SLACK = 1.25  # of the rows held while sampling, to those of the sample
SPARE_ROWS = 1 << 14  # held beyond it in any case, so that small samples are not sorted out for every batch
STRING_BYTES = 40
HASHED_ROWS = 1 << 16


@dataclass(frozen=True)
class Wanted:
    """What a comparison reads of its source.

    Attributes
    ----------
    targets : list of str
    columns, exclude : str, sequence of str, or None
    embed : list of str
        Columns of strings.
    group, time : str or None
    """

    targets: list[str]
    columns: Any
    exclude: Any
    embed: list[str]
    group: str | None
    time: str | None


@dataclass(frozen=True)
class Sample:
    """Rows in memory, in the order of the source.

    Attributes
    ----------
    table : Table
        Of the inputs and the targets.
    features : list of str
        The inputs that are numbers.
    groups, times : int64 array of shape (n,), or None
        The group of each row, from 0 on; its place in time, equal for equal times.
    source_rows, left_out : int
        Rows of the source; those among them without a target, a group or a time.
    allowed : int
        Rows that the memory has room for.
    """

    table: pa.Table
    features: list[str]
    targets: list[str]
    groups: np.ndarray | None
    times: np.ndarray | None
    source_rows: int
    left_out: int
    allowed: int
    row_bytes: int

    def __len__(self) -> int:
        return self.table.num_rows

    def target(self) -> np.ndarray:
        """float64 of shape (n, t)."""
        return np.stack([numbers(self.table.column(name)) for name in self.targets], axis=1)

    def digest(self) -> str:
        """A hash of all that is in it."""
        found = hashlib.sha256(repr([(field.name, str(field.type)) for field in self.table.schema]).encode())
        for column in self.table.columns:
            for start in range(0, len(self), HASHED_ROWS):
                part = column.slice(start, HASHED_ROWS)
                plain = is_numeric_when_named(part.type)
                found.update(numbers(part).tobytes() if plain else repr(part.to_pylist()).encode())
        for codes in (self.groups, self.times):
            found.update(b"-" if codes is None else codes.tobytes())
        return "sha256:" + found.hexdigest()


def take_sample(
    source: Any,
    wanted: Wanted,
    rows: int | None,
    seed: int,
    memory: str | int,
    where: str | None,
    format: str | None,
    types: Mapping[str, Any] | None = None,
) -> Sample:
    """Read a source once and keep at most so many of its rows.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
    wanted : Wanted
    rows : int or None
        None: as many as the memory allows.
    seed : int
        Of the choice.
    memory, where, format, types
        As for :func:`streamnorm.fit`.

    Raises
    ------
    DataError
        If a column is missing or not fit for its part, a value is infinite, or no row is left.
    """
    size = parse_memory(memory)
    steady_allocator()
    reading = reading_of(format, where, types)
    source = listed(source, reading.format)
    with _naming(source):
        stream = _opened(source, reading, size)
        schema = stream.schema
        for name in (wanted.group, wanted.time):
            if name is not None and schema.names.count(name) != 1:
                check_columns(schema, [name])  # raises
        check_target(schema, wanted.targets)
        taken = [*wanted.targets, *(name for name in (wanted.group, wanted.time) if name is not None)]
        if wanted.columns is not None:  # what is named there is an input beside its other part
            taken = wanted.targets
        features = input_columns(schema, wanted.columns, wanted.exclude, wanted.embed, taken)
    inside = [*features, *wanted.embed, *wanted.targets]
    extra = [name for name in (wanted.group, wanted.time) if name is not None]
    names = list(dict.fromkeys([*inside, *extra]))
    row_bytes = _row_bytes(schema, names, len(features))
    allowed = max(1, int(size // row_bytes))
    limit = allowed if rows is None else min(rows, allowed)
    stop()  # what follows reads the data
    batches = stream.stream(names).reader()
    needed = list(dict.fromkeys([*wanted.targets, *extra]))
    table, seen, left_out = _smallest(batches, names, needed, limit, seed)
    give_back()
    if not len(table):
        lacking = ", ".join(needed)
        raise DataError(
            "there are no rows to compare on" if not seen else f"every row lacks one of {lacking}: none is left"
        )
    groups = None if wanted.group is None else _codes(table.column(wanted.group), wanted.group)
    times = None if wanted.time is None else _ranks(table.column(wanted.time), wanted.time)
    sample = Sample(
        table.select(inside), features, wanted.targets, groups, times, seen, left_out, allowed, row_bytes
    )
    _check_finite(sample)
    return sample


def _naming(source: Any) -> AbstractContextManager[None]:
    """Add the first file of a source to errors that came from its schema alone."""
    return naming(next(iter(source.files))) if isinstance(source, Found) else nullcontext()


def _opened(source: Any, reading: Reading, memory: int) -> Any:
    """The source as an Intake, or as what has the same schema and stream."""
    if isinstance(source, Found):
        return of_files(source, reading.condition, memory, None, reading.types)
    intake = intake_of(source, reading.format, reading.condition, memory, None, reading.types)
    if intake is not None:
        return intake
    if kind_of(source) == "array":
        raise DataError("the columns of an array have no names: give a table or a frame, or the target as an array")
    return _OpenedOnce(open_stream(source))


class _OpenedOnce:
    """A stream of which the schema was looked at, and which need not be opened again for that."""

    def __init__(self, stream: Stream) -> None:
        self._first: Any = stream.reader()
        self.schema = self._first.schema

    def stream(self, names: Sequence[str]) -> _OpenedOnce:
        return self

    def reader(self) -> Any:
        return self._first


def _row_bytes(schema: pa.Schema, names: Sequence[str], features: int) -> int:
    """What a row takes in the sample, and while one model is trained on it and tested."""
    width = sum(8 if is_numeric_when_named(schema.field(name).type) else STRING_BYTES for name in names)
    training = width + 2 * 8 * features + 80  # a copy; inputs as numbers, with flags of the missing ones; orders
    return int(SLACK * width) + training


def _smallest(
    batches: Any, names: Sequence[str], needed: Sequence[str], limit: int, seed: int
) -> tuple[pa.Table, int, int]:
    """The rows with the smallest words, rows in all, and rows that lack something needed."""
    held: list[tuple[np.ndarray, np.ndarray, pa.Table]] = []  # words, positions, rows
    bound, count, seen, left_out = np.uint64(2**64 - 1), 0, 0, 0
    for batch in batches:
        table = pa.Table.from_batches([batch]).select(list(names))
        keys = words(seed, seen, len(table))
        good = np.ones(len(table), bool)
        for name in needed:
            good &= ~_missing(table.column(name))
        left_out += len(table) - int(good.sum())
        rows = np.flatnonzero(good & (keys <= bound))
        if len(rows):
            held.append((keys[rows], rows + seen, table.take(indices(rows))))
            count += len(rows)
        seen += len(table)
        if count > SLACK * limit + SPARE_ROWS:
            held, bound = _cut(held, limit)
            count = limit
    if count > limit:
        held, _ = _cut(held, limit)
    if not held:
        return pa.schema([batches.schema.field(name) for name in names]).empty_table(), seen, left_out
    return pa.concat_tables(part for _, _, part in held).combine_chunks(), seen, left_out


def _missing(column: pa.ChunkedArray) -> np.ndarray:
    """Which rows are null or NaN."""
    if is_numeric_when_named(column.type):
        return np.isnan(numbers(column))
    found = [np.zeros(len(chunk), bool) if (known := nulls(chunk)) is None else known for chunk in column.chunks]
    return np.concatenate(found) if found else np.zeros(0, bool)


def _whole(array: pa.Array) -> np.ndarray:
    """Whole numbers without nulls as int64; to_numpy would import pandas, where it is installed."""
    kind = np.dtype(str(array.type))
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)].astype(np.int64)


def _cut(held: list[tuple[np.ndarray, np.ndarray, pa.Table]], limit: int) -> tuple[list[Any], np.uint64]:
    """Those of the rows that are among the smallest, and the largest word of them."""
    keys = np.concatenate([part for part, _, _ in held])
    bound = np.partition(keys, limit - 1)[limit - 1]
    kept = []
    for part, positions, table in held:
        rows = np.flatnonzero(part <= bound)
        if len(rows):
            kept.append((part[rows], positions[rows], table.take(indices(rows))))
    return kept, bound


def _codes(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A number for each group, in the order in which they first come."""
    try:
        coded = column.combine_chunks().dictionary_encode()
    except pa.ArrowException as error:
        raise DataError(f"column {name!r} cannot tell groups ({error}): give strings or whole numbers", column=name) \
            from None  # fmt: skip
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.unify_dictionaries().combine_chunks()
    return _whole(coded.indices)


def _ranks(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """The place of each row in the order of a column, equal for equal values."""
    try:
        found = pc.rank(column.combine_chunks(), sort_keys="ascending", tiebreaker="dense")
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"column {name!r} has no order ({error}): give times or numbers", column=name) from None
    return _whole(found)


def _check_finite(sample: Sample) -> None:
    for name, values in number_columns(sample):
        if np.isinf(values).any():
            raise DataError(
                f"column {name!r} holds infinite values: leave such rows out (where) or the column (exclude)",
                column=name,
            )


def number_columns(sample: Sample) -> Iterator[tuple[str, np.ndarray]]:
    """The columns of numbers, inputs and targets, as float64."""
    for name in [*sample.features, *sample.targets]:
        yield name, numbers(sample.table.column(name))
