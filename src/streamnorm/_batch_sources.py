"""What batches are made of: any source, cut into units that can be read in any order, where it can be cut at all."""

# Design: a unit is a run of row groups of a file, or a slice of a table or an array; units are what a shuffle puts in
# order and what workers share. A source that only flows is one unit. Each row has a number, its position in the source
# in file order, which depends on nothing else. Turned down: units smaller than a row group, by skipping pages: pyarrow
# decodes all that comes before.

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .errors import DataError
from .scalers._frames import arrow_of, as_frame, as_reader
from .scalers._inputs import as_matrix, is_rereadable, kind_of
from .scan import runs_of_row_groups
from .sources import ParquetInput, ReaderCache, check_same_types, column_batches, find_files, is_file_source
from .stream import open_stream

UNIT_ROWS = 1 << 16  # of data in memory
RUN_ROWS = 1 << 14  # row groups are joined until they have as many
CHUNK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are read in their order; `rows` is None where nobody knows."""

    first_row: int
    rows: int | None
    file: ParquetInput | None = None
    row_groups: range = range(0)
    file_row: int = 0  # of the file, where the unit begins

    def error(self, message: str, row: int, column: Any) -> DataError:
        """An error about the row of this number; `message` speaks of the column."""
        if self.file is None:
            return DataError(f"column {column!r} {message}", column=column)
        group, start = self.row_groups.start, self.first_row
        while group + 1 < self.row_groups.stop and row >= start + self.file.footer.row_groups[group].num_rows:
            start += self.file.footer.row_groups[group].num_rows
            group += 1
        return self.file.error(message, group, column)


class Chunk(NamedTuple):
    """Rows as they come: an array for each column asked for."""

    unit: Unit
    first_row: int
    rows: int
    arrays: list[Any]


class BatchSource(ABC):
    """A source of rows.

    Attributes
    ----------
    schema : pyarrow.Schema or None
        None where columns have no names; then they are called 0 to `width` - 1.
    width : int
    num_rows : int or None
    rereadable : bool
    keeps : bool
        Whether reading it takes so long that rows which fit in memory are best kept there.
    units : list of Unit
    """

    schema: pa.Schema | None = None
    width = 0
    num_rows: int | None = None
    rereadable = True
    keeps = False
    units: list[Unit]

    @abstractmethod
    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        """The columns of a unit, at most about `rows` rows at a time; those in `encoded` may come as dictionaries."""

    def check(self, names: Sequence[Any]) -> None:  # noqa: B027
        """Raise DataError if the parts of the source do not agree on these columns."""

    def reading_need(self, names: Sequence[Any], memory: int) -> int:
        """Bytes that reading takes at most, besides the chunk that comes out."""
        return 0

    def row_bytes(self, names: Sequence[Any]) -> int:
        """Bytes of a row of these columns as they are read, about."""
        return 8 * len(names)

    def check_unchanged(self) -> None:  # noqa: B027
        """Raise DataError if the source is not what it was."""

    def session(self) -> BatchSource:
        """The source for one iterator, which may go on beside others in the same thread."""
        return self

    def close(self) -> None:  # noqa: B027
        """Let go of what this session has opened in the calling thread."""


def open_source(source: Any) -> BatchSource:
    """Whatever a fit takes, as rows for batches."""
    if isinstance(source, BatchSource):
        return source
    if isinstance(source, (list, tuple)) and not source:
        find_files(source)  # raises
    source, _ = arrow_of(source)  # of columns, tensors and the like
    kind = kind_of(source)
    if is_file_source(source):
        return FileSource([ParquetInput(path) for path in find_files(source)])
    if kind == "array":
        return ArraySource(as_matrix(source, "batches"))
    if kind == "table":
        return TableSource(source)
    return StreamSource(source)


class FileSource(BatchSource):
    """Parquet files."""

    keeps = True

    def __init__(self, files: Sequence[ParquetInput]) -> None:
        self.files = list(files)
        self.schema = files[0].schema
        self.width = len(self.schema)
        self.num_rows = sum(file.num_rows for file in files)
        self.units = []
        first = 0
        for file in files:
            file_row = 0
            for groups, rows in runs_of_row_groups(file, RUN_ROWS):
                if rows:
                    self.units.append(Unit(first + file_row, rows, file, groups, file_row))
                file_row += rows
            first += file_row
        self._readers = ReaderCache()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": None}

    def session(self) -> FileSource:
        mine = copy.copy(self)
        mine._readers = ReaderCache()
        return mine

    def close(self) -> None:
        self._readers.close()

    def check(self, names: Sequence[Any]) -> None:
        check_same_types(self.files, names)

    def reading_need(self, names: Sequence[Any], memory: int) -> int:
        return max((_reading_need(unit, names, memory) for unit in self.units), default=0)

    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        at = unit.first_row
        assert unit.file is not None
        if not names:
            yield from _empty_chunks(unit, rows)
            return
        folded = [name for name in encoded if _is_folded(unit, name)]
        for arrays in column_batches(unit.file, self._readers, unit.row_groups, names, batch_rows=rows, encoded=folded):
            yield Chunk(unit, at, len(arrays[0]), arrays)
            at += len(arrays[0])
        if at - unit.first_row != unit.rows:
            raise unit.file.error(
                f"has {at - unit.first_row:,} rows where its footer says {unit.rows:,}: the file is damaged",
                unit.row_groups.start,
            )

    def check_unchanged(self) -> None:
        for file in self.files:
            file.check_unchanged()


def _reading_need(unit: Unit, names: Sequence[Any], memory: int) -> int:
    """By the pages, unless one is so large that the chunks must do: what they say is an upper bound."""
    assert unit.file is not None
    try:
        return unit.file.reading_need(unit.row_groups, names, memory // 8)
    except DataError:
        return unit.file.reading_need(unit.row_groups, names, memory)


def _is_folded(unit: Unit, name: str) -> bool:
    """Whether all pages of a flat column hold dictionary indices.

    Else pyarrow makes a dictionary of what it reads, which grows with the row group, or cannot (delta encodings).
    """
    assert unit.file is not None
    footer = unit.file.footer
    (leaf,) = footer.fields[footer.field_index(name)].leaves
    return all(footer.chunk(group, leaf).holds_only_indices for group in unit.row_groups)


def _empty_chunks(unit: Unit, rows: int) -> Iterator[Chunk]:
    assert unit.rows is not None
    for start in range(0, unit.rows, rows):
        yield Chunk(unit, unit.first_row + start, min(rows, unit.rows - start), [])


def _slices(rows: int) -> list[Unit]:
    return [Unit(start, min(UNIT_ROWS, rows - start)) for start in range(0, rows, UNIT_ROWS)]


class TableSource(BatchSource):
    """A pyarrow Table or RecordBatch, or a data frame."""

    def __init__(self, data: Any) -> None:
        self.frame = as_frame(data)
        self.schema = self.frame.schema
        self.width = len(self.schema)
        self.num_rows = self.frame.rows
        self.units = _slices(self.frame.rows)
        self._columns: dict[str, pa.ChunkedArray] = {}

    def _column(self, name: str) -> pa.ChunkedArray:
        """As Arrow has it; kept, because a frame's may have to be made."""
        if name not in self._columns:
            index = self.frame.names.index(name)
            chunks = self.frame.chunks(index, fit=False)
            self._columns[name] = pa.chunked_array(chunks, None if chunks else self.frame.schema.field(index).type)
        return self._columns[name]

    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        if not names:
            yield from _empty_chunks(unit, rows)
            return
        table = pa.table([self._column(name) for name in names], names=list(map(str, range(len(names)))))
        at = unit.first_row
        for batch in table.slice(at, unit.rows).to_batches(max_chunksize=rows):
            yield Chunk(unit, at, len(batch), batch.columns)
            at += len(batch)


class ArraySource(BatchSource):
    """A two-dimensional array."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.num_rows, self.width = matrix.shape
        self.units = _slices(len(matrix))

    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        assert unit.rows is not None
        stop = unit.first_row + unit.rows
        for at in range(unit.first_row, stop, rows):
            part = self.matrix[at : min(at + rows, stop)]
            yield Chunk(unit, at, len(part), [part[:, name] for name in names])


class StreamSource(BatchSource):
    """Batches one after another: a reader, a dataset, an iterator or list of tables or arrays."""

    def __init__(self, source: Any) -> None:
        kind = kind_of(source)
        self.source, self.kind = source, kind
        if kind in ("files", "query") or (kind == "stream" and not isinstance(source, pa.RecordBatchReader)):
            stream = open_stream(source)
            self.rereadable, self.num_rows, self._open = stream.rereadable, stream.num_rows, stream.reader
        elif kind == "stream":
            self.rereadable, self._open = False, lambda: as_reader(source)
        else:
            self.rereadable, self._open = is_rereadable(source), lambda: iter(source)
        self._started = False
        self._pending: Iterator[Any] | None = self._parts()
        first = next(self._pending, None)
        if first is None and self.kind == "batches":
            raise DataError("the source holds no batches")
        self._pending = self._pending if first is None else chain([first], self._pending)
        if isinstance(first, ArraySource):
            self.width = first.width
        else:
            schema: Any = self._schema if first is None else first.schema
            self.schema, self.width = schema, len(schema)
        self.units = [Unit(0, self.num_rows)]

    def _parts(self) -> Iterator[BatchSource]:
        opened = self._open()
        if self.kind != "batches":
            self._schema = opened.schema
            yield from (TableSource(batch) for batch in opened)
            return
        for part in opened:
            inner = open_source(part)
            if isinstance(inner, StreamSource):
                yield from inner._take()
            else:
                yield inner

    def _take(self) -> Iterator[BatchSource]:
        """The parts from the beginning, as often as the source allows."""
        parts, self._pending = self._pending, None
        if parts is None:
            if not self.rereadable:
                raise DataError(
                    f"this {type(self.source).__name__} can be read only once, and was: give files, a table, a list of "
                    "batches, or make new batches of a new one"
                )
            parts = self._parts()
        yield from parts

    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        at = 0
        types = None if self.schema is None else [self.schema.field(name).type for name in names]
        for part in self._take():
            self._check_part(part, names, types)
            for piece in part.units:
                for chunk in part.read(piece, names, encoded, rows):
                    yield Chunk(unit, at, chunk.rows, chunk.arrays)
                    at += chunk.rows

    def _check_part(self, part: BatchSource, names: Sequence[Any], types: list[pa.DataType] | None) -> None:
        if (part.schema is None) != (types is None) or (types is None and part.width != self.width):
            raise DataError("the source's batches differ: all of them are tables, or arrays with as many columns")
        if types is None or part.schema is None:
            return
        for name, kind in zip(names, types, strict=True):
            index = part.schema.get_field_index(name)
            if index < 0:
                raise DataError(f"the source's batches differ: one has no column {name!r}", column=name)
            if part.schema.field(index).type != kind:
                raise DataError(
                    f"the source's batches differ: column {name!r} is {kind} in the first and "
                    f"{part.schema.field(index).type} in another one; make them alike",
                    column=name,
                )
