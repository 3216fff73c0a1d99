"""Rows to folders by their values: a Hive layout, such as ``year=2024/month=7/part-0.parquet``."""

# Design: rows are held by folder until there are many, and then the folder that holds most of them becomes a row group
# of its file. On this machine all files are made in one hidden folder beside them, of which few are open at a time, and
# are renamed into their places when all of them are whole: each folder has one file, however the rows lie. In a store
# an upload cannot be set aside without what it has not sent yet, so where there are more folders than the memory has
# room for uploads, the one that was written to longest ago is completed, and later rows of its folder make another
# part; if the job fails, what it completed is removed. Turned down: sorting the rows by folder first, which would write
# all of them twice.

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from .apply import Transform, Workbench
from .dry_run import note_output
from .errors import DataError
from .formats import BY_SUFFIX, NULL_KEY, Found, is_pipe
from .inputs import open_input
from .locations import StorePath, locate
from .logs import passing
from .masking import masked
from .matching import naming
from .parquet.writer import ParquetWriter
from .partition_places import LocalPlace, StorePlace, check_folder
from .scalers._buffers import array_of, plain_values
from .scalers._select import as_names, value_type
from .sinks import batch_writer
from .sources import BATCH_ROWS, without_state
from .stream import ROW_GROUP_ROWS, Stream, match_columns, write_row_group

PER_COLUMN = 256  # bytes that a column of a small batch takes beside its values
_IN_NAMES = re.compile(r"[%/=\x00-\x1f]")


def without_keys(scaler: Any, source: Any, columns: Any, exclude: Any, keys: Sequence[str]) -> Any:
    """`exclude` with the columns that become folders.

    Raises
    ------
    DataError
        If one of them is to be normalized as well.
    """
    named = {name for name in scaler._named(columns) if isinstance(name, str)}
    for name in keys:
        if name in named:
            raise DataError(f"column {name!r} is to be normalized, and to name folders (partition_by)", column=name)
    inside = [name for name in keys if name not in getattr(source, "key_names", ())]  # of folders, none is fitted
    return [*(as_names(exclude) or ()), *inside] if inside and columns is None else exclude


def folder_of(names: Sequence[str], values: Sequence[str | None]) -> str:
    """The relative folder of some values."""
    return "/".join(_folder(name, value) for name, value in zip(names, values, strict=True))


def _folder(name: str, value: str | None) -> str:
    if value == NULL_KEY:
        raise DataError(f"column {name!r} holds {NULL_KEY!r}, which means null as the name of a folder", column=name)
    plain = _IN_NAMES.sub(lambda found: quote(found[0], safe=""), name)
    return f"{plain}={NULL_KEY if value is None else quote(value, safe='')}"


def check_keys_of(source: Any, keys: Sequence[str], memory: int, types: Any) -> None:
    """:func:`check_keys` of files before any of their data is read; keys of folders can become folders as they are."""
    if not keys or not isinstance(source, Found):
        return
    first = next(iter(source.files))
    with naming(first):
        schema = open_input(first, source.format, None, memory, types).schema
        check_keys(schema, [name for name in keys if name not in source.key_names])


def check_keys(schema: pa.Schema, keys: Sequence[str]) -> None:
    """Raise DataError unless these columns can become folders."""
    for name in keys:
        at = schema.get_field_index(name)
        if at < 0:
            raise DataError(f"there is no column {name!r} to partition by: there are {', '.join(schema.names[:8])}",
                            column=name)  # fmt: skip
        kind = value_type(schema.field(at).type)
        plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
        if not (plain or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise DataError(
                f"column {name!r} holds {kind}, and folders are named by whole numbers, strings, dates, times or "
                "booleans: partition by another column",
                column=name,
            )
    if len(set(keys)) != len(keys):
        raise DataError(f"partition_by names a column twice: {', '.join(keys)}")
    if len(keys) == len(schema):
        raise DataError("partition_by names every column, so that the files would hold none")


def split(batch: pa.RecordBatch, keys: Sequence[str]) -> Iterator[tuple[tuple[str | None, ...], pa.RecordBatch]]:
    """The rows of a batch by the values of its keys, without them, in their order."""
    codes = np.zeros(len(batch), np.int64)
    texts = []
    for name in keys:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        encoded = column.cast(pa.string()).dictionary_encode(null_encoding="encode")
        texts.append(encoded)
        codes = codes * len(encoded.dictionary) + plain_values(encoded.indices)
        codes = np.unique(codes, return_inverse=True)[1]
    rest = batch.select([name for name in batch.schema.names if name not in keys])
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(batch)], strict=True):
        rows = order[start:stop]
        values = tuple(text[int(rows[0])].as_py() for text in texts)
        yield values, rest.take(array_of(rows))


class _Part:
    """The rows of one folder, and the file that they go to."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.batches: list[pa.RecordBatch] = []
        self.nbytes = self.rows = self.number = 0
        self.file: Any = None
        self.writer: Any = None
        self.scope: contextlib.ExitStack | None = None

    def add(self, batch: pa.RecordBatch) -> int:
        """Hold rows; returns what they take."""
        size = batch.nbytes + PER_COLUMN * batch.num_columns
        self.batches.append(batch)
        self.nbytes, self.rows = self.nbytes + size, self.rows + len(batch)
        return size

    def pop(self, schema: pa.Schema) -> pa.Table:
        """The rows, no longer held."""
        table = pa.Table.from_batches(self.batches, schema).combine_chunks()  # few rows at a time make small pages
        self.batches, self.nbytes, self.rows = [], 0, 0
        return table


class Partitions:
    """Writes transformed rows to folders; leaving the ``with`` block without `commit` leaves nothing behind.

    Parameters
    ----------
    root : Path or StorePath
    schema : pyarrow.Schema
        Of the source, with the keys.
    transform : Transform
        Of its columns without the keys.
    footer : mapping
        Key-value metadata of each file.
    output : Output
    kind : str
        The format.
    """

    def __init__(
        self, root: Any, schema: pa.Schema, transform: Transform, footer: Mapping[bytes, bytes], output: Any, kind: str
    ) -> None:
        self._keys = output.partition_by
        self._inner = without_state(pa.schema([f for f in schema if f.name not in self._keys], schema.metadata))
        self._transform, self._footer, self._output, self._kind = transform, dict(footer), output, kind
        self._suffix = next(suffix for suffix, name in BY_SUFFIX.items() if name == kind)
        self._parts: dict[tuple[str | None, ...], _Part] = {}
        self._open: OrderedDict[str, _Part] = OrderedDict()
        self._held = 0
        self._bench = Workbench()
        self._limit = output.row_group_size or ROW_GROUP_ROWS
        self._place = (StorePlace if isinstance(root, StorePath) else LocalPlace)(root, output)

    def __enter__(self) -> Partitions:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts.values():
            part.file = part.writer = None
            part.scope = None
        self._place.discard()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        for values, rows in split(batch, self._keys):
            part = self._parts.get(values)
            if part is None:
                part = self._parts[values] = _Part(folder_of(self._keys, values))
            self._held += part.add(rows)
            if part.rows >= self._limit:
                self._flush(part)
        if self._held > self._output.memory // 8:
            for part in sorted(self._parts.values(), key=lambda part: -part.nbytes):
                if self._held <= self._output.memory // 16:
                    break
                self._flush(part)

    def _flush(self, part: _Part) -> None:
        """Write the rows that a folder holds."""
        if not part.batches:
            return
        self._held -= part.nbytes
        table = part.pop(self._inner)
        if part.writer is None:
            self._begin(part)
        self._open[part.folder] = part
        self._open.move_to_end(part.folder)
        for start in range(0, len(table), self._limit):
            self._write_rows(part, table.slice(start, self._limit))
        while len(self._open) > self._place.most_open:
            _, oldest = self._open.popitem(last=False)
            if not self._place.set_aside(oldest.file):
                self._finish(oldest)

    def _begin(self, part: _Part) -> None:
        schema = self._transform.schema(self._inner)
        name = f"{part.folder}/part-{part.number}{self._suffix}"
        part.file = self._place.create(name)
        part.scope = contextlib.ExitStack()
        if self._kind == "parquet":
            compression = self._output.compression
            part.writer = ParquetWriter(part.file, schema, key_value_metadata=self._footer, compression=compression)
        else:
            made = batch_writer(part.file, name, self._kind, schema, self._footer)
            part.writer = part.scope.enter_context(made)

    def _write_rows(self, part: _Part, table: pa.Table) -> None:
        if self._kind != "parquet":
            schema = self._transform.schema(self._inner)
            for batch in table.to_batches(BATCH_ROWS):
                done = self._transform.batch(batch)
                part.writer.write(pa.RecordBatch.from_arrays(done.columns, schema=schema))
            return
        write_row_group(part.writer, self._bench, self._transform, table, self._output.threads)

    def _finish(self, part: _Part) -> None:
        """End a file; rows that come later make another."""
        if part.writer is None:
            return
        if self._kind == "parquet":
            part.writer.close()
        if part.scope is not None:
            part.scope.close()
        self._place.finish(part.file)
        part.writer = part.file = part.scope = None
        part.number += 1

    def commit(self) -> None:
        """Write what is held, and make the files visible."""
        for part in self._parts.values():
            self._flush(part)
            self._finish(part)  # one by one: the next needs its room
            self._open.pop(part.folder, None)
        self._place.commit()


def write_partitions(
    source: Stream,
    sink: Any,
    transform_for: Callable[[pa.Schema], Transform],
    footer: Mapping[bytes, bytes],
    output: Any,
    kind: str,
    progress: Any,
) -> int:
    """Transform a stream into folders; returns the number of rows.

    Raises
    ------
    DataError
        If a column cannot name folders.
    TargetExists
        If the folder holds files and they must not be replaced.
    """
    keys = output.partition_by
    if sink is None or is_pipe(sink):
        raise DataError("partition_by makes folders: name a directory as the sink")
    root = locate(sink)
    reader = source.reader()
    check_keys(reader.schema, keys)
    inner = pa.schema([field for field in reader.schema if field.name not in keys], reader.schema.metadata)
    transform = transform_for(inner)
    match_columns(inner, transform)
    rows = nbytes = 0
    check_folder(root, output.overwrite)
    note_output(root)
    with (
        passing("write", target=masked(os.fsdecode(os.fspath(root)))),
        Partitions(root, reader.schema, transform, footer, output, kind) as parts,
    ):
        for whole in reader:
            for start in range(0, len(whole), BATCH_ROWS):
                batch = whole.slice(start, BATCH_ROWS)
                parts.write(batch)
                rows, nbytes = rows + len(batch), nbytes + batch.nbytes
                if progress is not None:
                    progress(rows, source.num_rows, nbytes)
        parts.commit()
    return rows
