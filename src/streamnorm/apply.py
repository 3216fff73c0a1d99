"""The transform pass: Parquet files in, one normalized Parquet file out, in bounded memory."""

# Design: each field of a span is one task. Normalized columns are read, mapped and encoded as our own pages by the
# workers; columns that pass through are copied byte by byte where row groups stay as they are, and else encoded anew
# by pyarrow, one column at a time. The caller's thread writes, in the order of the tasks, so the bytes of the output
# depend neither on threads nor on timing. Measured against pyarrow's own writer fed by a reader thread, this takes
# four fifths of the time and two thirds of the memory, and does not slow down with the size of a row group.

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .atomic import AtomicFile
from .errors import BadRow, DataError
from .parquet import thrift
from .parquet.encode import EncodedChunk, FloatChunkEncoder, PageBuffers, Scratch, encode_arrow
from .parquet.format import Compression
from .parquet.random_access import RandomAccess
from .parquet.splice import mismatch
from .parquet.writer import ParquetWriter
from .pipeline import Outlet, run_ordered
from .plan import Span
from .scalers import AffineMap
from .scalers._nested import mapped_column, mapped_type
from .scalers._paths import Place
from .scalers._select import output_type, rounded_chunk
from .scan import ProgressMeter, bad_row
from .sources import BATCH_ROWS, ParquetInput, ReaderCache, column_batches, one_line

# PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY: the encodings of strings that pyarrow reads as a dictionary
DICTIONARY_READABLE = frozenset({0, 2, 3, 4, 8})
FEW_VALUES = 1 << 16  # of a batch of lists or structs
PAGE_ROOM = 5 * BATCH_ROWS * 8  # a batch, its values, the page put together, compressed, and room that codecs ask for


@dataclass(frozen=True, slots=True)
class Transform:
    """What to do to the columns of a table.

    Attributes
    ----------
    maps : dict of str to AffineMap
        By column; all others pass through, unless `nested` has them.
    inverse : bool
    dtype : numpy.dtype or None
        Of the normalized columns; None: floats keep theirs, all else becomes float64.
    nested : dict of str to sequence of (Place, sequence of map)
        By column of structs or lists: what is mapped inside of it, and the maps of the features there.
    """

    maps: Mapping[str, AffineMap]
    inverse: bool = False
    dtype: np.dtype | None = None
    nested: Mapping[str, Sequence[tuple[Place, Sequence[Any]]]] = field(default_factory=dict)

    def out_type(self, kind: pa.DataType) -> tuple[pa.DataType, np.dtype]:
        """Arrow and NumPy type of a normalized column."""
        if self.dtype is not None:
            return pa.from_numpy_dtype(self.dtype), self.dtype
        arrow, name = output_type(kind)
        return arrow, np.dtype(name)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of the result; metadata of schema and fields stay, but for the types that pandas would restore."""
        types = {f.name: self.out_type(f.type) for f in schema if f.name in self.maps}
        return pa.schema(
            [self._field(f, types) for f in schema],
            metadata=_with_pandas_types(schema.metadata, {name: dtype.name for name, (_, dtype) in types.items()}),
        )

    def _field(self, field: pa.Field, types: Mapping[str, tuple[pa.DataType, Any]]) -> pa.Field:
        if field.name in self.nested:
            return field.with_type(self._nested_type(field.name, field.type))
        if field.name not in types:
            return field
        changed = field.with_type(types[field.name][0])
        return changed.with_nullable(True) if self.maps[field.name].blank and not self.inverse else changed

    def encode(self, name: str, array: pa.Array, encoder: FloatChunkEncoder, bench: Workbench) -> None:
        """Add the mapped values of one column's array to its chunk; the encoder keeps none of them."""
        m, dtype = self.maps[name], encoder.dtype
        numbers = m.taken(rounded_chunk(array), self.inverse)
        values = m.values(numbers, self.inverse, dtype, bench.room(len(numbers), dtype))
        encoder.add(values, numbers.buffers()[0] if numbers.null_count else None, numbers.offset)

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A whole record batch."""
        columns = [
            self._array(f.name, column) if f.name in self.maps else self.inside(f.name, column)
            for f, column in zip(batch.schema, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema(batch.schema))

    def inside(self, name: str, array: pa.Array) -> pa.Array:
        """One column's array with what is mapped inside of it; the array itself if nothing is."""
        for place, maps in self.nested.get(name, ()):
            array = mapped_column(array, place, maps, self.inverse, self.out_type)
        return array

    def _nested_type(self, name: str, kind: pa.DataType) -> pa.DataType:
        for place, _ in self.nested[name]:
            kind = mapped_type(kind, place.fields, self.out_type)
        return kind

    def _array(self, name: str, array: pa.Array) -> pa.Array:
        return self.maps[name].apply(array, self.inverse, *self.out_type(array.type))


def _with_pandas_types(metadata: dict[bytes, bytes] | None, types: Mapping[str, str]) -> dict[bytes, bytes] | None:
    """Schema metadata in which pandas' own entry says that these columns hold plain floats.

    What was an Int64 column of pandas would be cast back to integers by its reader, which fails on fractions.
    """
    try:
        found = json.loads((metadata or {})[b"pandas"])
        columns = [c for c in found["columns"] if c.get("field_name", c.get("name")) in types]
        for column in columns:
            name = types[column.get("field_name", column.get("name"))]
            column.update(pandas_type=name, numpy_type=name, metadata=None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return metadata  # there is none, or it is somebody else's use of the key
    return {**(metadata or {}), b"pandas": json.dumps(found).encode()} if columns else metadata


@dataclass(frozen=True, slots=True)
class FieldTask:
    """Top-level fields of one span: one, or neighbours that are copied."""

    span: Span
    names: tuple[str, ...]
    how: str  # "normalize", "copy" or "encode"
    first_row_group: int

    @property
    def name(self) -> str:
        """The field, where there is one."""
        return self.names[0]


class Workbench(threading.local):
    """What a worker keeps from task to task."""

    def __init__(self) -> None:
        self.readers = ReaderCache()
        self.scratch = Scratch()
        self.values = np.empty(0, np.float64)

    def room(self, rows: int, dtype: np.dtype) -> np.ndarray:
        """An array to write values into, reused."""
        if self.values.nbytes < rows * dtype.itemsize:
            self.values = np.empty(max(rows, BATCH_ROWS), np.float64)
        return self.values.view(dtype)[:rows]


class CopySource:
    """The file that chunks are copied from, one at a time: results are written in the order of the files, and a
    thousand files open at once are more than a process may have."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._source: RandomAccess | None = None

    def open(self, file: ParquetInput) -> RandomAccess:
        """The file, opened unless it is the one of last time."""
        if self._source is None or file.path != self._path:
            self.close()
            try:
                self._source, self._path = RandomAccess(file.path), file.path
            except OSError as error:
                raise file.error(f"cannot be opened ({one_line(error)})") from error
        return self._source

    def close(self) -> None:
        """Close what is open."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def __enter__(self) -> CopySource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass
class ParquetJob:
    """Writes one Parquet file from spans of one or several inputs.

    Attributes
    ----------
    files : sequence of ParquetInput
    spans : sequence of Span
    transform : Transform
    compression : Compression
        Of the chunks that are encoded; copied ones keep theirs.
    footer : dict of bytes to bytes
        Key-value metadata to add.
    """

    files: Sequence[ParquetInput]
    spans: Sequence[Span]
    transform: Transform
    compression: Compression
    footer: dict[bytes, bytes]
    memory: int
    threads: int
    bench: Workbench = field(default_factory=Workbench)
    buffers: PageBuffers = field(default_factory=PageBuffers)

    def run(self, target: AtomicFile, meter: ProgressMeter) -> int:
        """Write the file to `target` (which the caller commits) and return the number of rows."""
        schema = self._schema()
        writer = ParquetWriter(
            target, schema, key_value_metadata=self.footer, compression=self.compression
        )
        copied = self._copied([name for name in schema.names if self._passes(name)])
        for name in copied:
            footer = self.files[0].footer
            theirs = footer.fields[footer.field_index(name)]
            writer.use_source_schema(name, theirs.elements, [footer.column_order(leaf) for leaf in theirs.leaves])
        tasks = list(self._tasks(writer, schema.names, copied))
        with CopySource() as source:
            for task in run_ordered(
                tasks,
                lambda task, outlet: self._work(task, writer, outlet),
                lambda task, result: self._write(task, result, writer, source),
                threads=self.threads,
                stash=self.memory // 8,
                need=self._need,
                limit=self.memory * 5 // 8,
            ):
                self._count(task, len(schema), meter)
            writer.close()
        return sum(span.rows for span in self.spans)

    def _schema(self) -> pa.Schema:
        """Of the output."""
        return self.transform.schema(common_schema(self.files))

    def _passes(self, name: str) -> bool:
        """Whether a field of the output is one of the inputs', as it is there."""
        return name not in self.transform.maps and name not in self.transform.nested

    def _copied(self, names: Sequence[str]) -> set[str]:
        """Those of these fields that are copied."""
        return copied_fields(self.files, self.spans, names)

    def _count(self, task: FieldTask, fields: int, meter: ProgressMeter) -> None:
        """Report a task's progress."""
        meter.add(task.span.rows * len(task.names) / fields)

    def _write(self, task: Any, result: tuple[int, Any], writer: ParquetWriter, source: CopySource) -> None:
        """Append what a task has made, or copy what it stands for."""
        part, made = result
        row_group = task.first_row_group + part
        if task.how == "encode":
            writer.append_arrow(row_group, task.name, made)
        elif task.how == "copy":
            file, opened = task.span.file, source.open(task.span.file)
            for name in task.names:
                index = file.footer.field_index(name)
                writer.copy_field(row_group, name, opened, file.footer, index, task.span.row_groups[part])
        else:
            self._append(row_group, task.name, made, writer)

    def _append(self, row_group: int, name: str, made: Any, writer: ParquetWriter) -> None:
        """Append pages of our own, and of the last ones what ends the chunk."""
        if isinstance(made, EncodedChunk):
            writer.append_pages(row_group, name, made)
            self.buffers.give_back(made.pages)
        else:
            writer.append_partial(row_group, name, made)
            self.buffers.give_back(made)

    def _tasks(self, writer: ParquetWriter, names: Sequence[str], copied: set[str]) -> Iterator[FieldTask]:
        for span in self.spans:
            first = [writer.begin_row_group(rows) for rows in span.out_rows][0]
            yield from self._tasks_of(span, names, copied, first)

    def _tasks_of(self, span: Span, names: Sequence[str], copied: set[str], first: int) -> Iterator[FieldTask]:
        for copies, together in groupby(names, key=copied.__contains__):
            if copies:
                yield FieldTask(span, tuple(together), "copy", first)
                continue
            for name in together:
                yield FieldTask(span, (name,), "normalize" if name in self.transform.maps else "encode", first)

    def _need(self, task: Any) -> int:
        """Bytes that a task holds at most: what it reads at a time, and what it makes of that."""
        span = task.span
        if task.how == "copy":
            return 0
        reading = span.file.reading_need(span.row_groups, [task.name], self.memory)
        if task.how == "normalize":
            return reading + PAGE_ROOM
        footer = span.file.footer
        leaves = footer.fields[footer.field_index(task.name)].leaves
        chunks = [(group, leaf) for group in span.row_groups for leaf in leaves]
        packed = sum(footer.chunk(group, leaf).uncompressed_size for group, leaf in chunks)
        unfolded = sum(span.file.unfolded_size(group, leaf) for group, leaf in chunks)
        rows = sum(footer.row_groups[group].num_rows for group in span.row_groups)
        need = 2 * packed + 2 * unfolded * max(span.out_rows) // max(rows, 1)
        return reading + (need if self._passes(task.name) else 4 * need)  # bytes may become doubles, beside the bytes

    def _work(self, task: Any, writer: ParquetWriter, outlet: Outlet) -> None:
        if task.how == "normalize":
            self._normalize(task, writer, outlet)
        elif task.how == "encode":
            self._encode(task, writer, outlet)
        else:
            for part in range(len(task.span.out_rows)):
                outlet.push((part, None), 0)

    def _normalize(self, task: FieldTask, writer: ParquetWriter, outlet: Outlet) -> None:
        """Push the pages as they are made, and at the end of each chunk its metadata."""
        encoder: FloatChunkEncoder | None = None
        current = -1
        for part, array in self._parts(task, (), outlet):
            if part != current:
                if encoder is not None:
                    outlet.push((current, encoder.finish()), 0)
                encoder = writer.float_encoder(task.name, scratch=self.bench.scratch, buffers=self.buffers)
                current = part
            self.transform.encode(task.name, array, encoder, self.bench)
            nbytes = encoder.pending_size
            outlet.push((part, encoder.take_pages()), nbytes)
        if encoder is not None:
            outlet.push((current, encoder.finish()), 0)

    def _encode(self, task: FieldTask, writer: ParquetWriter, outlet: Outlet) -> None:
        out_field = writer.arrow_schema.field(task.name)
        # Few long strings, many times over, stay few in memory as a dictionary.
        encoded = (task.name,) if is_string(out_field.type) and reads_as_dictionary(task.span, task.name) else ()
        dictionary = self._passes(task.name) or not writer.holds_floats(task.name)
        gathered: list[pa.Array] = []
        current = 0
        rows = task.span.skip
        for part, array in self._parts(task, encoded, outlet, _gathering_rows(task)):
            if part != current:
                self._push_encoded(current, out_field, gathered, dictionary, outlet)
                gathered, current = [], part
            try:
                gathered.append(self.transform.inside(task.name, array))
            except BadRow as error:
                raise bad_row(task.span.file, task.span.row_groups, task.name, error, rows) from error
            except DataError as error:
                raise task.span.file.error(str(error), task.span.row_group_at(rows), task.name) from error
            rows += len(array)
        self._push_encoded(current, out_field, gathered, dictionary, outlet)

    def _push_encoded(
        self, part: int, out_field: pa.Field, gathered: list[pa.Array], dictionary: bool, outlet: Outlet
    ) -> None:
        column = pa.chunked_array(gathered) if gathered else pa.chunked_array([], out_field.type)
        result = encode_arrow(
            out_field.with_type(column.type), column, self.compression, dictionary=dictionary
        )
        outlet.push((part, result), result.compressed_size)

    def _parts(
        self, task: FieldTask, encoded: Sequence[str], outlet: Outlet, batch_rows: int = BATCH_ROWS
    ) -> Iterator[tuple[int, pa.Array]]:
        """The column's arrays with the number of the output row group that they belong to."""
        span, pieces = task.span, task.span.pieces()
        for (array,) in column_batches(
            span.file, self.bench.readers, span.row_groups, [task.name], batch_rows=batch_rows, encoded=encoded
        ):
            outlet.check()
            for part, start, length in pieces.cut(len(array)):
                yield part, array.slice(start, length)
            if pieces.complete:
                return
        raise too_short(span, task.name)


def too_short(span: Span, name: str) -> DataError:
    """The error of a column that ends before its rows do."""
    return span.file.error("has fewer values than the footer says: the file is damaged", span.row_groups[-1], name)


def copied_fields(files: Sequence[ParquetInput], spans: Sequence[Span], names: Sequence[str]) -> set[str]:
    """Those of these fields whose chunks can be copied as they are from every input, under the schema of the first."""
    if not spans or not all(span.keeps for span in spans):
        return set()
    footer = files[0].footer
    return {
        name
        for name in names
        if all(_can_copy(span, name, footer.fields[footer.field_index(name)].elements) for span in spans)
    }


def _can_copy(span: Span, name: str, elements: Sequence[Any]) -> bool:
    """Whether the chunks of a field mean the same under the given schema elements, and lie in the file in one piece."""
    footer = span.file.footer
    source = footer.fields[footer.field_index(name)]
    if mismatch(elements, source.elements):
        return False
    return all(footer.chunk(group, leaf).obstacle is None for group in span.row_groups for leaf in source.leaves)


def is_string(kind: pa.DataType) -> bool:
    """Whether pyarrow reads such a column as a dictionary, whatever the Arrow type that the file's writer had."""
    tests = (
        pa.types.is_string,
        pa.types.is_binary,
        pa.types.is_large_string,
        pa.types.is_large_binary,
        pa.types.is_string_view,
        pa.types.is_binary_view,
    )
    return any(test(kind) for test in tests)


def _gathering_rows(task: FieldTask) -> int:
    """Rows of a batch of a column that is gathered: of lists and structs an eighth of an output row group, as pyarrow's
    reader takes several times the size of a batch of them; not so few that batches of short rows cost more than they
    hold."""
    footer = task.span.file.footer
    field = footer.fields[footer.field_index(task.name)]
    if len(field.elements) == 1:
        return BATCH_ROWS
    values = rows = 1
    for group in task.span.row_groups:
        values += sum(footer.chunk(group, leaf).num_values for leaf in field.leaves)
        rows += footer.row_groups[group].num_rows
    few = max(64, FEW_VALUES * rows // max(values, rows))
    return min(BATCH_ROWS, max(few, max(task.span.out_rows) // 8))


def reads_as_dictionary(span: Span, name: str) -> bool:
    """Whether pyarrow can read a flat field as a dictionary; it cannot where strings are delta encoded."""
    footer = span.file.footer
    (leaf,) = footer.fields[footer.field_index(name)].leaves
    for group in span.row_groups:
        _, encodings = thrift.value_of(footer.chunk(group, leaf).metadata, 2, thrift.LIST, (thrift.I32, ()))
        if not DICTIONARY_READABLE.issuperset(encodings):
            return False
    return True


def common_schema(files: Sequence[ParquetInput]) -> pa.Schema:
    """The schema of the first file, if all have the same columns; nullable where one is.

    Raises
    ------
    DataError
        Names the first file that differs, and how; or a column name that occurs twice.
    """
    schema = files[0].schema
    for name in schema.names:
        if len(schema.get_all_field_indices(name)) > 1:
            raise files[0].error("there are two columns of this name: rename one", column=name)
    for file in files[1:]:
        for name in schema.names:
            index = file.schema.get_field_index(name)
            if index < 0:
                raise file.error(f"is missing, but {files[0].path} has it: write them to a directory", column=name)
            ours, theirs = file.schema.field(index), schema.field(name)
            if ours.type != theirs.type:
                raise file.error(
                    f"its type is {ours.type}, but {theirs.type} in {files[0].path}: write such files to a directory",
                    column=name,
                )
            if ours.nullable and not theirs.nullable:
                schema = schema.set(schema.get_field_index(name), theirs.with_nullable(True))
        extra = [name for name in file.schema.names if name not in schema.names]
        if extra:
            raise file.error(f"{files[0].path} has no such column: write them to a directory", column=extra[0])
    return schema
