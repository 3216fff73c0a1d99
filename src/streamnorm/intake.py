"""Sources that are read as batches: files of every format, standard input, and data in memory, with a row filter."""

# Design: Parquet files without a filter have passes of their own (scan.py, apply.py). Everything else becomes a
# `Stream`, here: one after the other, with the Hive keys of its folders as columns at the end, without the rows that
# `where` drops, and of the columns alone that are needed.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from .apply import common_schema
from .errors import DataError
from .formats import TEXT, Found, ParquetPaths, find, is_pipe
from .inputs import open_input
from .lineage import Origin, of_parquet
from .locations import StorePath
from .memory import steady_allocator
from .read_ahead import one_ahead
from .row_filter import RowFilter, filtered, key_bounds
from .scalers._buffers import scalar_of
from .scalers._inputs import kind_of
from .sources import check_same_types, is_file_source, without_state
from .stream import Stream, open_stream
from .where import Condition


@dataclass(frozen=True)
class Intake:
    """A source that is opened as far as its schema.

    Attributes
    ----------
    schema : pyarrow.Schema
        Without a state.
    rereadable : bool
    metadata : list of (name, dict)
        Of the schemas of its files, where a state may be.
    keys : tuple of str
        Columns that are keys of Hive folders.
    """

    schema: pa.Schema
    rereadable: bool
    metadata: Sequence[tuple[str, dict[bytes, bytes]]]
    _rows: RowFilter | None
    _num_rows: int | None
    _batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    _check: Callable[[Sequence[str]], pa.Schema]
    keys: tuple[str, ...] = ()
    origins: Callable[[], list[Origin]] = lambda: [Origin(None)]
    _decoded: bool = False

    def stream(self, columns: Sequence[str] | None = None, ahead: bool = False) -> Stream:
        """The rows that pass, of these columns; None: all. With `ahead`, what has to be decoded is so on a thread.

        Raises
        ------
        DataError
            If the files differ in a column that is read.
        """
        needed = list(self.schema.names if columns is None else columns)
        read = needed + [name for name in (self._rows.names if self._rows else ()) if name not in needed]
        checked = self._check(self.schema.names if columns is None else read)
        schema = pa.schema([checked.field(name) for name in needed], metadata=self.schema.metadata)

        def batches() -> Iterator[pa.RecordBatch]:
            found = filtered(self._batches(read), self._rows, needed)
            for batch in one_ahead(found) if ahead and self._decoded else found:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

        def reader() -> pa.RecordBatchReader:
            steady_allocator()
            return pa.RecordBatchReader.from_batches(schema, batches())

        known = self.metadata[0][1] if len(self.metadata) == 1 else {}
        return Stream(reader, self.rereadable, self._num_rows if self._rows is None else None, known)


def of_files(
    found: Found,
    condition: Condition | None,
    memory: int,
    shown_keys: Collection[str] | None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Intake:
    """Files of one format, one after the other; those in folders that the filter rules out are not opened.

    Of the keys of their folders, these are shown as columns; None: all.
    """
    paths = list(found.files)
    check_typed(found.format, types)
    first = open_input(paths[0], found.format, None, memory, types)
    used = shown_keys is None or condition is not None or found.key_names & set(shown_keys)
    given = found.keys() if used else {}
    keys = {name: key for name, key in given.items() if first.schema.get_field_index(name) < 0}
    rows = None
    if condition is not None:
        own = pa.schema([*first.schema, *(pa.field(name, kind) for name, (kind, _) in keys.items())])
        rows = RowFilter(condition, own)
        paths = [path for path in paths if not rows.rules_out(_known_of(keys, path))]
    inputs = [first if path == first.path else open_input(path, found.format, first, memory) for path in paths]
    alike = inputs or [first]
    shown = {name: key for name, key in keys.items() if shown_keys is None or name in shown_keys}
    schema = _with_keys(first.schema, shown)

    def check(names: Sequence[str]) -> pa.Schema:
        inside = [name for name in names if name not in keys]
        if set(inside) >= set(first.schema.names):
            return _with_keys(common_schema(alike), keys)
        check_same_types([first, *alike], inside)
        return _with_keys(_nullable(first.schema, alike), keys)

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        inside = [name for name in names if name not in keys]
        for file in inputs:
            for batch in file.batches(inside, _inside(rows, keys)):
                yield _select(batch, names, keys, file.path)

    counts = [file.num_rows for file in inputs]
    total = None if None in counts else sum(counts)
    metadata = [(str(file.path), file.metadata) for file in alike]
    # Batches of Arrow's are as large as their writer made them, and a store's client takes the room of one.
    decoded = found.format not in ("arrow", "arrows") and not any(isinstance(path, StorePath) for path in found.files)
    origins = partial(_origins, inputs)
    return Intake(schema, True, metadata, rows, total, batches, check, tuple(shown), origins, decoded)


def _origins(files: Sequence[Any]) -> list[Origin]:
    return [*map(_origin, files)]


def _origin(file: Any) -> Origin:
    return of_parquet(file.parquet) if hasattr(file, "parquet") else Origin(file.path, metadata=file.metadata)


def _inside(rows: RowFilter | None, keys: Any) -> Any:
    """The filter as a file's own statistics can answer it: what is a key there is not known."""
    if rows is None or not set(rows.names) & set(keys):
        return rows
    return _Partly(rows, set(keys))


class _Partly:
    """A filter of which some columns are not in the file."""

    def __init__(self, rows: RowFilter, keys: set[str]) -> None:
        self._rows, self._keys = rows, keys
        self.names = [name for name in rows.names if name not in keys]

    def rules_out(self, known: Callable[[str], Any]) -> bool:
        return self._rows.rules_out(lambda name: None if name in self._keys else known(name))


def _known_of(keys: Any, path: Path) -> Callable[[str], Any]:
    return lambda name: key_bounds(keys[name][1][path]) if name in keys else None


def _with_keys(schema: pa.Schema, keys: Any) -> pa.Schema:
    for name, (kind, _) in keys.items():
        schema = schema.append(pa.field(name, kind))
    return schema


def _nullable(schema: pa.Schema, files: Sequence[Any]) -> pa.Schema:
    """The first file's schema, nullable where one is."""
    for file in files:
        for i, field in enumerate(schema):
            there = file.schema.get_field_index(field.name)
            if there >= 0 and file.schema.field(there).nullable and not field.nullable:
                schema = schema.set(i, field.with_nullable(True))
    return schema


def _select(batch: pa.RecordBatch, names: Sequence[str], keys: Any, path: Path) -> pa.RecordBatch:
    """The batch's columns in this order, with those of the keys."""
    columns, fields = [], []
    for name in names:
        if name in keys:
            kind, values = keys[name]
            columns.append(pa.repeat(scalar_of(values[path], kind), len(batch)))
            fields.append(pa.field(name, kind))
        else:
            columns.append(batch.column(name))
            fields.append(batch.schema.field(name))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def check_typed(format: str, types: Mapping[str, Any] | None) -> None:
    """Raise DataError if types are given for what has types of its own."""
    if types and format not in TEXT:
        raise DataError(f"types are for CSV and JSON lines; {format} has types of its own: leave them out")


def of_standard_input(
    format: str | None, condition: Condition | None, memory: int, types: Mapping[str, pa.DataType] | None = None
) -> Intake:
    """What comes in by standard input, once."""
    check_typed(format or "arrows", types)
    file = open_input(None, format or "arrows", None, memory, types)
    rows = None if condition is None else RowFilter(condition, file.schema)
    return Intake(
        file.schema,
        False,
        [(str(file.path), file.metadata)],
        rows,
        None,
        file.batches,
        lambda names: file.schema,
        origins=lambda: [Origin(None, metadata=file.metadata)],
    )


def of_memory(source: Any, condition: Condition) -> Intake:
    """Data in memory whose rows are filtered."""
    if kind_of(source) == "array":
        raise DataError("where speaks of columns by name, and an array's have none: give a table or a frame")
    stream = open_stream(source)
    first = stream.reader()
    rows = RowFilter(condition, first.schema)
    held = [first]  # a source that is read once has been opened by now

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in held.pop() if held else stream.reader():
            yield batch.select(list(names))

    schema = without_state(first.schema)
    return Intake(
        schema,
        stream.rereadable,
        [("data in memory", dict(first.schema.metadata or {}))],
        rows,
        None,
        batches,
        lambda names: schema,
        origins=lambda: [Origin(None, metadata=first.schema.metadata or {})],
    )


def intake_of(
    source: Any,
    format: str | None,
    condition: Condition | None,
    memory: int,
    keys: Collection[str] | None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Intake | None:
    """A source as batches, or None where the passes over Parquet files, or a scaler, read it themselves.

    Of Hive keys these are wanted as columns; None: all that there are.
    """
    if is_pipe(source):
        return of_standard_input(format, condition, memory, types)
    if not is_file_source(source):
        check_typed("data in memory", types)
        return None if condition is None else of_memory(source, condition)
    if isinstance(source, ParquetPaths) and condition is None:
        check_typed("parquet", types)
        return None
    found = find(source, "parquet" if isinstance(source, ParquetPaths) else format)
    if found.format == "parquet" and condition is None and not (
        found.key_names if keys is None else found.key_names & set(keys)
    ):
        check_typed(found.format, types)
        return None
    return of_files(found, condition, memory, keys, types)
