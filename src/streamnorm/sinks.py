"""Results in other formats than Parquet, and through standard output."""

# Design: batches are written as they come. A state fits into the schema's metadata of Arrow IPC; text has no place for
# it, which is said once. JSON lines are put together here, a batch at a time: pyarrow has no writer of them.

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pyarrow as pa

from .errors import DataError, StreamnormError
from .formats import TEXT, check_no_terminal, codec_of, is_pipe
from .scalers._select import value_type

logger = logging.getLogger("streamnorm")

JSON_ROWS = 4096


class PipeClosed(StreamnormError, BrokenPipeError):
    """Whoever read standard output has seen enough."""


class StandardOutput:
    """The bytes of standard output, as a file to write to."""

    closed = False

    def __init__(self, kind: str) -> None:
        if sys.stdout is None:
            raise StreamnormError("standard output is closed")
        check_no_terminal(sys.stdout, kind)
        self._file = sys.stdout.buffer

    def write(self, data: Any) -> int:
        """Write all of it."""
        try:
            self._file.write(data)
        except BrokenPipeError:
            raise PipeClosed("standard output was closed by its reader") from None
        except OSError as error:
            raise StreamnormError(f"standard output cannot be written ({error.strerror})") from error
        return len(memoryview(data).cast("B"))

    def flush(self) -> None:
        """Hand over what is buffered."""
        try:
            self._file.flush()
        except BrokenPipeError:
            raise PipeClosed("standard output was closed by its reader") from None
        except OSError as error:
            raise StreamnormError(f"standard output cannot be written ({error.strerror})") from error


class _Kept:
    """A file to write to that stays open whatever writes to it."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        """Write all of it."""
        self._file.write(data)
        return len(memoryview(data).cast("B"))

    def flush(self) -> None:
        """Nothing: the end does so."""

    def close(self) -> None:
        """Nothing: it is not ours."""


@contextmanager
def batch_writer(file: Any, sink: Any, kind: str, schema: pa.Schema, entry: dict[bytes, bytes]) -> Iterator[Any]:
    """What batches of the schema are written by: an object with ``write(batch)``.

    Parameters
    ----------
    file : object with ``write``
    sink : path
        Its name says how text is packed.
    kind : str
        The format.
    entry : dict
        The state, for the schema's metadata.
    """
    raw = pa.PythonFile(_Kept(file), "w")
    codec = None if is_pipe(sink) or kind not in TEXT else codec_of(sink)
    out = raw if codec is None else pa.CompressedOutputStream(raw, codec)
    with _writer(out, kind, schema.with_metadata({**(schema.metadata or {}), **entry} or None)) as writer:
        yield writer
    if codec is not None:
        out.close()
    file.flush()


def _writer(out: Any, kind: str, schema: pa.Schema) -> Any:
    if kind == "arrows":
        return _Whole(pa.ipc.new_stream(out, schema))
    if kind == "arrow":
        return _Plain(pa.ipc.new_file(out, plain_schema(schema)), plain_schema(schema))
    if kind == "jsonl":
        _check_json(schema)
        return _JsonWriter(out)
    from pyarrow import csv

    plain = plain_schema(schema).remove_metadata()
    for field in plain:
        if pa.types.is_nested(field.type):
            raise DataError(
                f"column {field.name!r} holds {field.type}, which CSV has no form for: write jsonl, Arrow or Parquet",
                column=field.name,
            )
    options = csv.WriteOptions(delimiter="\t" if kind == "tsv" else ",")
    return _Plain(csv.CSVWriter(out, plain, write_options=options), plain)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with the values of dictionaries, which would differ from batch to batch, and of run ends."""
    return pa.schema(
        [f.with_type(value_type(f.type)) if _is_folded(f.type) else f for f in schema], metadata=schema.metadata
    )


def _is_folded(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)


class _Whole:
    """A writer that marks the end only of what is whole: a pipe may have read the rest by then."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        self._writer.write(batch)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._writer.close()


class _Plain(_Whole):
    """A writer of batches without dictionaries."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        super().__init__(writer)
        self._schema = schema

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        pairs = zip(batch.columns, self._schema, strict=True)
        columns = [column.cast(field.type) if _is_folded(column.type) else column for column, field in pairs]
        self._writer.write(pa.RecordBatch.from_arrays(columns, schema=self._schema))


class _JsonWriter:
    """An object a line: dates and times as ISO 8601, decimals as strings, NaN and infinities as null."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        for start in range(0, len(batch), JSON_ROWS):
            rows = batch.slice(start, JSON_ROWS).to_pylist()
            lines = [json.dumps(_jsonable(row), ensure_ascii=False, separators=(",", ":")) for row in rows]
            self._out.write(("\n".join(lines) + "\n").encode())

    def __enter__(self) -> _JsonWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {name: _jsonable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _check_json(schema: pa.Schema) -> None:
    for field in schema:
        kind = value_type(field.type)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            raise DataError(
                f"column {field.name!r} holds {kind}, which JSON has no form for: write Arrow or Parquet",
                column=field.name,
            )


def say_stateless(kind: str, saved: bool) -> None:
    """Say once that text carries no state."""
    if kind in TEXT and not saved:
        logger.warning(
            "%s",
            f"{kind} carries no state: keep the statistics in a file (--state), or inverse cannot undo this",
            extra={"event": "stateless", "format": kind},
        )
