"""Jobs over anything that is not a set of Parquet files: tables, frames, readers, datasets, iterators, arrays."""

# Design: batches are gathered until they make an output row group, whose columns are then encoded side by side and
# written in order. So memory is bounded by one row group, which is at most a quarter of `memory`. What can be read only
# once is told apart before anything is read.

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .apply import Transform, Workbench
from .atomic import SPOOL, AtomicFile, atomic_file
from .errors import DataError
from .formats import is_pipe, sink_format
from .locations import StorePath, locate
from .logs import passing, place
from .memory import give_back
from .parquet.encode import encode_arrow
from .parquet.writer import ParquetWriter
from .pipeline import Outlet, run_ordered
from .scalers._frames import arrow_of
from .scalers._select import check_columns
from .sinks import StandardOutput, batch_writer
from .sources import BATCH_ROWS, ParquetInput, locate_damage, without_state

if TYPE_CHECKING:
    from .outputs import Output
    from .scan import Progress

ROW_GROUP_ROWS = 1 << 20
FEW_ROWS = 1 << 14


@dataclass(frozen=True)
class Stream:
    """A source of record batches: ``reader()`` starts at the beginning as often as `rereadable` allows.

    Its `metadata` is what the source's schema has, as far as that is known before it is read: where a lineage may be.
    """

    reader: Callable[[], pa.RecordBatchReader]
    rereadable: bool
    num_rows: int | None = None
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The batches from the beginning."""
        return self.reader().__arrow_c_stream__(requested_schema)


def open_stream(source: Any) -> Stream:
    """Anything but files as a stream.

    Raises
    ------
    TypeError
        If it is nothing that Arrow or NumPy understands.
    """
    if isinstance(source, Stream):
        return source
    metadata = _metadata_of(source)
    if isinstance(source, pa.RecordBatchReader):
        return Stream(lambda: source, False, metadata=metadata)
    source, reader = arrow_of(source)
    if reader is not None:
        return Stream(reader, True, metadata=metadata)
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pa.Table):
        return Stream(source.to_reader, True, source.num_rows, metadata)
    if isinstance(source, np.ndarray):
        return Stream(lambda: _matrix_table(source).to_reader(), True, len(source))
    if _is_pandas(source):
        table = pa.Table.from_pandas(source)
        return Stream(table.to_reader, True, len(source))
    if hasattr(source, "__arrow_c_stream__"):
        # A frame starts afresh each time; a reader of another library hands over its one stream.
        return Stream(lambda: pa.RecordBatchReader.from_stream(source), hasattr(source, "__len__"))
    if hasattr(source, "__arrow_c_array__"):
        return open_stream(pa.record_batch(source))
    if hasattr(source, "__iter__"):
        return Stream(lambda: _reader_of_parts(source), isinstance(source, (list, tuple)), metadata=metadata)
    raise TypeError(f"cannot read a {type(source).__name__}: give paths, Arrow data, a data frame or arrays")


def _metadata_of(source: Any) -> Mapping[bytes, bytes]:
    """What the schema of Arrow's own data has, or that of the first of its batches."""
    if isinstance(source, (list, tuple)) and source:
        source = source[0]
    if not type(source).__module__.startswith("pyarrow"):  # others work out their schema when they are asked for it
        return {}
    schema = getattr(source, "schema", None)
    return (schema.metadata or {}) if isinstance(schema, pa.Schema) else {}


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns")


def _matrix_table(matrix: np.ndarray) -> pa.Table:
    if matrix.ndim != 2:
        raise DataError(f"expected an array of two dimensions, got shape {matrix.shape}")
    return pa.table({f"x{j}": np.ascontiguousarray(matrix[:, j]) for j in range(matrix.shape[1])})


def _reader_of_parts(parts: Any) -> pa.RecordBatchReader:
    pieces = (batch for part in parts for batch in open_stream(part).reader())
    first = next(pieces, None)
    if first is None:
        raise DataError("the source holds no batches")

    def batches() -> Iterator[pa.RecordBatch]:
        yield first
        for piece in pieces:
            if not piece.schema.equals(first.schema):
                raise DataError(f"the source's batches differ: {_difference(first.schema, piece.schema)}")
            yield piece

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def _difference(first: pa.Schema, other: pa.Schema) -> str:
    if first.names != other.names:
        return f"the first has the columns {', '.join(first.names)}, another one {', '.join(other.names)}"
    ours, theirs = next((a, b) for a, b in zip(first, other, strict=True) if not a.equals(b))
    kinds = [f"{field.type}{'' if field.nullable else ' not null'}" for field in (ours, theirs)]
    return f"column {ours.name!r} is {kinds[0]} in the first and {kinds[1]} in another one; make them alike"


def match_columns(schema: pa.Schema, transform: Transform) -> None:
    """Raise DataError unless the schema has the columns that are to be transformed."""
    if len(set(schema.names)) != len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise DataError(f"there are two columns {twice!r}: rename one", column=twice)
    check_columns(schema, list(transform.maps))


def transformed_reader(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], transform: Transform
) -> pa.RecordBatchReader:
    """A reader of the transformed batches."""
    match_columns(schema, transform)
    schema = without_state(schema)
    out = transform.schema(schema)
    return pa.RecordBatchReader.from_batches(
        out, (pa.RecordBatch.from_arrays(transform.batch(batch).columns, schema=out) for batch in batches)
    )


def file_batches(files: Sequence[ParquetInput], schema: pa.Schema, memory: int) -> Iterator[pa.RecordBatch]:
    """All columns of Parquet files, in batches that take at most a sixteenth of `memory`, going by the footers."""
    for file in files:
        total = sum(group.total_byte_size for group in file.footer.row_groups)
        rows = max(1, min(131_072, int(memory / 16 / max(total / max(file.num_rows, 1), 8 * len(schema)))))
        for group in range(len(file.footer.row_groups)):
            row_group = range(group, group + 1)
            try:
                with file.open(row_group) as reader:
                    for batch in reader.iter_batches(rows, use_threads=False):
                        yield batch.select(schema.names)
            except (OSError, pa.ArrowException) as error:
                raise locate_damage(file, row_group, schema.names, error) from error


def run(
    source: Stream,
    sink: Any,
    transform_for: Callable[[pa.Schema], Transform],
    footer: dict[bytes, bytes],
    output: Output,
    progress: Progress | None,
) -> int | pa.RecordBatchReader:
    """Transform a stream, by what `transform_for` makes of its schema, into a file, standard output or a reader."""
    reader = source.reader()
    transform = transform_for(reader.schema)
    if sink is None:
        return transformed_reader(reader.schema, reader, transform)
    kind = sink_format(sink, output.format)
    if is_pipe(sink):
        match_columns(reader.schema, transform)
        with passing("write", target="-"):
            out = StandardOutput(kind)
            return _write_batches(reader, source.num_rows, out, sink, kind, transform, footer, progress)
    if os.fspath(sink).endswith("/") or locate(sink).is_dir():
        raise DataError(f"{os.fspath(sink)}: is a directory, and data in memory has no file name: name a file")
    match_columns(reader.schema, transform)
    with passing("write", target=place(sink)), atomic_file(sink, overwrite=output.overwrite) as file:
        if kind == "parquet":
            rows = _write(reader, source.num_rows, file, transform, footer, output, progress)
        else:
            rows = _write_batches(reader, source.num_rows, file, sink, kind, transform, footer, progress)
        file.commit()
    return rows


def _write_batches(
    reader: pa.RecordBatchReader,
    total: int | None,
    file: Any,
    sink: Any,
    kind: str,
    transform: Transform,
    footer: dict[bytes, bytes],
    progress: Progress | None,
) -> int:
    """Write in another format than Parquet."""
    rows = nbytes = 0
    schema = transform.schema(without_state(reader.schema))
    with batch_writer(file, sink, kind, schema, footer) as writer:
        for whole in reader:
            for start in range(0, len(whole), BATCH_ROWS):
                batch = whole.slice(start, BATCH_ROWS)
                writer.write(pa.RecordBatch.from_arrays(transform.batch(batch).columns, schema=schema))
                rows, nbytes = rows + len(batch), nbytes + batch.nbytes
                if progress is not None:
                    progress(rows, total, nbytes)
    return rows


def _write(
    reader: pa.RecordBatchReader,
    total: int | None,
    file: AtomicFile,
    transform: Transform,
    footer: dict[bytes, bytes],
    output: Output,
    progress: Progress | None,
) -> int:
    schema = transform.schema(without_state(reader.schema))
    writer = ParquetWriter(file, schema, key_value_metadata=footer, compression=output.compression)
    bench = Workbench()
    rows = 0
    for table in gathered(reader, output.row_group_size, output.memory // 4):
        write_row_group(writer, bench, transform, table, output.threads)
        rows += table.num_rows
        del table  # or it would be there until the next one is whole
        if progress is not None:
            progress(rows, total, writer.position)
    writer.close()
    return rows


def write_row_group(
    writer: ParquetWriter, bench: Workbench, transform: Transform, table: pa.Table, threads: int
) -> None:
    """Transform a table and write it as a row group, its columns side by side."""
    names, group = writer.arrow_schema.names, writer.begin_row_group(table.num_rows)

    def work(name: str, outlet: Outlet) -> None:
        outlet.push(encode_column(writer, bench, transform, table, name), 0)

    def consume(name: str, made: Any) -> None:
        (writer.append_pages if name in transform.maps else writer.append_arrow)(group, name, made)

    if table.num_rows < FEW_ROWS:  # threads would take longer to start
        for name in names:
            consume(name, encode_column(writer, bench, transform, table, name))
        return
    for _ in run_ordered(names, work, consume, threads=threads):
        pass


def encode_column(writer: ParquetWriter, bench: Workbench, transform: Transform, table: pa.Table, name: str) -> Any:
    field = writer.arrow_schema.field(name)
    if name not in transform.maps:
        column = table.column(name)
        if name in transform.nested:
            column = pa.chunked_array([transform.inside(name, chunk) for chunk in column.chunks], field.type)
        dictionary = name not in transform.nested or not writer.holds_floats(name)
        return encode_arrow(field, column, writer.compression, dictionary=dictionary)
    encoder = writer.float_encoder(name, scratch=bench.scratch)
    for chunk in table.column(name).chunks:
        for start in range(0, len(chunk), BATCH_ROWS):
            transform.encode(name, chunk.slice(start, BATCH_ROWS), encoder, bench)
    return encoder.finish()


def gathered(reader: pa.RecordBatchReader, rows: int | None, most_bytes: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows (the last may be shorter); by default of about a million, or of `most_bytes`."""
    limit = rows or ROW_GROUP_ROWS
    waiting: list[pa.RecordBatch] = []
    held = nbytes = 0
    for batch in reader:
        while len(batch):
            width = max(1, batch.nbytes // len(batch))
            fits = limit - held if rows else min(limit - held, max(1, (most_bytes - nbytes) // width))
            piece, batch = batch.slice(0, fits), batch.slice(fits)
            waiting.append(piece)
            held, nbytes = held + len(piece), nbytes + piece.nbytes
            if held >= limit or (not rows and nbytes >= most_bytes - width):
                yield pa.Table.from_batches(waiting, reader.schema)
                waiting, held, nbytes = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting, reader.schema)


@contextmanager
def as_is(source: Stream) -> Iterator[Stream]:
    """The stream itself, where a spool would be used otherwise."""
    yield source


@contextmanager
def spooled(source: Stream, sink: Any, memory: int) -> Iterator[Path]:
    """The stream in a temporary Parquet file beside the sink, which is removed at the end."""
    if is_pipe(sink) or isinstance(locate(sink), StorePath):
        beside = Path(tempfile.gettempdir(), "streamnorm")
    else:
        beside = Path(os.fspath(locate(sink)).rstrip("/"))
    with AtomicFile(beside.with_name(beside.name + SPOOL), overwrite=True) as file:
        _spool(source.reader(), file, memory // 16)
        give_back()
        yield file.path


def _spool(reader: pa.RecordBatchReader, file: AtomicFile, most_bytes: int) -> None:
    """Write it all, `most_bytes` a row group, of which the writer holds several copies.

    A function of its own, so that nothing of it is held while the spool is read.
    """
    with pq.ParquetWriter(pa.PythonFile(file, "w"), reader.schema, use_dictionary=False) as writer:
        for table in gathered(reader, None, most_bytes):
            writer.write_table(table)
