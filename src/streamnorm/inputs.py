"""One file of any format, as batches from its beginning: Parquet, Arrow IPC, CSV, JSON lines."""

# Design: the types of text are inferred once, from the first block of the first file, and hold for all that follows;
# so they do not depend on what comes later, and a pass over a terabyte does not end in a column of strings. JSON lines
# are cut into blocks of whole lines here: an error then has a line. Turned down: a pass ahead that infers from
# everything (twice the time, and a pipe has no second pass).

from __future__ import annotations

import csv as text_csv
import difflib
import io
import json as text_json
import logging
import os
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from .csv_blocks import SHORT_BLOCK, PacedBlocks
from .dry_run import note_input
from .errors import DataError
from .formats import PIPE, codec_of, standard_input
from .locations import StorePath, version_found, version_of
from .row_filter import Bounds, RowFilter
from .sources import BATCH_ROWS, ParquetInput, locate_damage, one_line, without_state

logger = logging.getLogger("streamnorm")

BLOCK = 1 << 22  # bytes of text that types are inferred from, and at most parsed at a time
LONGEST_LINE = 1 << 26
NULLS = ["", "NULL", "null", "NA", "N/A", "n/a", "#N/A"]
NO_TEXT = "holds bytes that are not UTF-8: convert the file to UTF-8 first"
ADVICE = "types come from the first 4 MB of the first file: correct the value, or convert the data to Parquet first"


class Input:
    """A file, or standard input, and what is known of it before its data are read.

    Attributes
    ----------
    path : Path
    schema : pyarrow.Schema
        Without a state, which is in `metadata`.
    metadata : dict
    num_rows : int or None
    """

    num_rows: int | None = None

    def __init__(self, path: Path | None) -> None:
        self.path = Path("standard input") if path is None else path
        self.rereadable = path is not None
        self._once: Any = None
        with self._reading():
            if path is not None:
                self._version = version_found(path)
            opened = self._open()
        self.metadata = opened.schema.metadata or {}
        self.schema = without_state(opened.schema)
        if path is None:
            self._once = opened
        else:
            opened.close()

    def _open(self) -> Any:
        """Something with ``schema``, ``close`` and batches to go through."""
        raise AssertionError

    def _reading(self) -> _Reading:
        return _Reading(self)

    def error(self, message: str, row_group: int | None = None, column: str | None = None) -> DataError:
        """A DataError that says where in this file."""
        where = f": column {column!r}" if column is not None else ""
        return DataError(f"{self.path}{where}: {message}", file=str(self.path), row_group=row_group, column=column)

    def explained(self, error: Exception) -> DataError:
        """What Arrow's reader has met."""
        return self.error(f"cannot be read as {self.kind} ({one_line(error)})")

    kind = "data"

    def raw(self) -> Any:
        """The bytes, unpacked."""
        if not self.rereadable:
            return pa.PythonFile(standard_input(), "r")
        if version_of(self.path) != self._version:
            raise self.error("changed while it was read: run again once it stays as it is")
        if isinstance(self.path, StorePath):
            file = pa.PythonFile(self.path.open_ranged(), "r")
        else:
            file = pa.OSFile(os.fsencode(self.path))
        codec = codec_of(self.path)
        return file if codec is None else pa.CompressedInputStream(file, codec)

    def batches(self, columns: Sequence[str], rows: RowFilter | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of these columns."""
        del rows
        with self._reading():
            opened = self._once if self._once is not None else self._open()
        try:
            while True:
                with self._reading():
                    batch = next(opened, None)
                if batch is None:
                    break
                for start in range(0, len(batch), BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS).select(list(columns))
        finally:
            opened.close()


class _Reading:
    """Turns what goes wrong while a file is read into a DataError that names it."""

    def __init__(self, file: Input) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, DataError) or not isinstance(error, (OSError, pa.ArrowException, UnicodeError)):
            return
        raise self._file.explained(error) from error


class _Batches:
    """An iterator of batches with a schema."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], close: Any) -> None:
        self.schema, self._batches, self.close = schema, batches, close

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)


class ArrowFile(Input):
    """An Arrow IPC file (.arrow, .feather); a record batch of it is read at a time."""

    kind = "an Arrow IPC file"

    def _open(self) -> Any:
        raw = self.raw()
        reader = pa.ipc.open_file(raw)
        batches = (_sound(reader.get_batch(i)) for i in range(reader.num_record_batches))
        return _Batches(reader.schema, batches, raw.close)


class ArrowStream(Input):
    """An Arrow IPC stream (.arrows)."""

    kind = "an Arrow IPC stream"

    def _open(self) -> Any:
        raw = self.raw()
        reader = pa.ipc.open_stream(raw)
        return _Batches(reader.schema, map(_sound, reader), raw.close)


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose buffers are as long as its metadata say."""
    batch.validate()
    return batch


_CSV_FAULT = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?.* to ([^:]+): (?:invalid value '(.*)')?", re.DOTALL)


class CsvFile(Input):
    """CSV with a header line.

    Empty fields and NA are nulls, but in columns of strings, which are taken as they are.
    """

    kind = "CSV"

    def __init__(
        self,
        path: Path | None,
        delimiter: str,
        schema: pa.Schema | None,
        types: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        self._delimiter, self._given, self._types = delimiter, schema, types
        super().__init__(path)
        self.schema = _stated(self, schema)

    def _open(self) -> Any:
        from pyarrow import csv

        types = self._given if self._given is not None else getattr(self, "schema", None)
        raw, start = self.raw(), b""
        if types is None:
            start = _read(raw, 2 * BLOCK)
            types = self._given = self._infer(start)
        paced = PacedBlocks(start, raw)  # what was read is read again: a pipe cannot be turned back
        try:
            reader = csv.open_csv(
                pa.PythonFile(paced, "r"),
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
                parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=types, null_values=NULLS, strings_can_be_null=False, check_utf8=True
                ),
            )
        except BaseException:
            paced.stop()
            raise
        paced.opened()
        batches = _Batches(reader.schema, map(paced.taken, reader), paced.stop)
        weakref.finalize(batches, paced.stop)  # where nobody closes it, at the latest at the end of the process
        return batches

    def _infer(self, start: bytes) -> pa.Schema:
        from pyarrow import csv

        reader = csv.open_csv(
            pa.BufferReader(start),
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=self._types, null_values=NULLS, strings_can_be_null=False, check_utf8=True
            ),
        )
        _check_known(self, self._types, reader.schema)
        for field in reader.schema:
            if pa.types.is_binary(field.type) and field.name not in (self._types or ()):
                raise self.error(NO_TEXT, column=field.name)
        return _no_nulls(reader.schema)

    def explained(self, error: Exception) -> DataError:
        found = _CSV_FAULT.search(str(error))
        schema = self._given
        if found is None or schema is None:
            row = re.search(r"Row #(\d+): (.*)", str(error))
            if row is not None:
                return self.error(f"line {self._line(int(row[1]))} cannot be read as CSV ({row[2][:200].rstrip('.')})")
            return super().explained(error)
        header, at = self._header(), int(found[1])
        name = header[at] if at < len(header) else f"#{at + 1}"
        value = found[4] if found[4] is not None else "a value"
        where = f"line {self._line(int(found[2]))}: " if found[2] else ""
        if found[3] == "string":
            return self.error(where + NO_TEXT, column=name)
        return self.error(f"{where}{value!r} is no {found[3]}; {ADVICE}", column=name)

    def _line(self, row: int) -> int:
        """The line on which a row ends, which may hold lines of its own before it."""
        try:
            with io.TextIOWrapper(self.raw(), "utf-8", errors="replace", newline="") as text:
                reader = text_csv.reader(text, delimiter=self._delimiter)
                for _ in range(row):
                    next(reader)
                return reader.line_num
        except (OSError, StopIteration, text_csv.Error, ValueError, pa.ArrowException):
            return row

    def _header(self) -> list[str]:
        """The names in the order of this file, which may differ from that of the first."""
        if not self.rereadable or self._given is None:
            return [] if self._given is None else list(self._given.names)
        with io.TextIOWrapper(self.raw(), "utf-8-sig", errors="replace", newline="") as text:
            return next(text_csv.reader(text, delimiter=self._delimiter), [])


def _read(raw: Any, count: int) -> bytes:
    """So many bytes, or what there is."""
    parts: list[bytes] = []
    while count and (part := raw.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class JsonLines(Input):
    """JSON, an object a line."""

    kind = "JSON lines"

    def __init__(
        self, path: Path | None, schema: pa.Schema | None, types: Mapping[str, pa.DataType] | None = None
    ) -> None:
        self._given, self._types = schema, types
        super().__init__(path)
        self.schema = _stated(self, schema)

    def _open(self) -> Any:
        raw = self.raw()
        blocks = self._blocks(raw)
        first = next(blocks, None)
        if first is None:
            raise self.error("is empty")
        if self._given is None:
            own = _no_nulls(_parsed(first[1], None, self._types).schema)
            # A type that is given makes a column of one that is nowhere in the block, too.
            there = [name for name in own.names if name not in (self._types or ()) or _is_key(name, first[1])]
            _check_known(self, self._types, pa.schema([own.field(name) for name in there]))
            self._given = own

        def batches() -> Iterator[pa.RecordBatch]:
            block = first
            while block is not None:
                try:
                    yield from _parsed(block[1], self._given).to_batches()
                except pa.ArrowException as error:
                    raise self._located(*block, error) from error
                block = next(blocks, None)

        return _Batches(self._given, batches(), raw.close)

    def _blocks(self, raw: Any) -> Iterator[tuple[int, bytes]]:
        """Whole lines, with the number of the first."""
        line, rest, size = 1, b"", BLOCK
        while data := raw.read(size):
            if line == 1 and not rest:
                data = data.removeprefix(b"\xef\xbb\xbf")
            rest += data
            cut = rest.rfind(b"\n") + 1
            if cut and rest[:cut].strip():
                yield line, rest[:cut]
                size = SHORT_BLOCK  # of the first one the types were inferred
            line, rest = line + rest.count(b"\n"), rest[cut:]
            if len(rest) > LONGEST_LINE:
                raise self.error(f"line {line} is longer than {LONGEST_LINE >> 20} MB: these are no JSON lines")
        if rest.strip():
            yield line, rest

    def _located(self, line: int, block: bytes, error: Exception) -> DataError:
        """An error that names the first line that cannot be read, and the column if it is one."""
        for number, text in enumerate(block.split(b"\n"), line):
            if not text.strip():
                continue
            try:
                _parsed(text, self._given)
                continue
            except pa.ArrowException as cause:
                why = one_line(cause)
            try:
                found = text_json.loads(text)
            except ValueError:
                return self.error(f"line {number} is no JSON ({why})")
            if not isinstance(found, dict):
                return self.error(f"line {number} is no JSON object")
            return self._fault_of(number, found, error)
        return self.explained(error)

    def _fault_of(self, number: int, found: dict[str, Any], error: Exception) -> DataError:
        for name, value in found.items():
            if name not in self._given.names:
                return self.error(f"line {number} has a field that the first block has not; {ADVICE}", column=name)
            try:
                _parsed(text_json.dumps({name: value}).encode(), pa.schema([self._given.field(name)]))
            except pa.ArrowException:
                kind = self._given.field(name).type
                return self.error(f"line {number}: {str(value)[:80]!r} is no {kind}; {ADVICE}", column=name)
        return self.error(f"line {number} cannot be read ({one_line(error)})")


def _is_key(name: str, block: bytes) -> bool:
    """Whether JSON has the name, spelled one way or the other."""
    return any(text_json.dumps(name, ensure_ascii=plain).encode() in block for plain in (True, False))


def _check_known(file: Input, types: Mapping[str, Any] | None, schema: pa.Schema) -> None:
    for name in types or ():
        if name not in schema.names:
            close = difflib.get_close_matches(name, schema.names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f": there are {', '.join(schema.names[:8])}"
            raise file.error(f"types has it, and the file has no such column{hint}", column=name)


def _parsed(block: bytes, schema: pa.Schema | None, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    from pyarrow import json

    return json.read_json(
        pa.BufferReader(block),
        read_options=json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=json.ParseOptions(
            explicit_schema=schema if types is None else pa.schema(list(types.items())),
            unexpected_field_behavior="infer" if schema is None else "error",
        ),
    )


def _no_nulls(schema: pa.Schema) -> pa.Schema:
    """The schema with strings for columns that had no value to infer a type from."""
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema])


def _stated(file: Input, given: pa.Schema | None) -> pa.Schema:
    """The schema of a text file, said once where it was inferred, and checked where it holds from another file."""
    schema = file.schema
    if given is None:
        types = {field.name: str(field.type) for field in schema}
        listed = ", ".join(f"{name} {kind}" for name, kind in types.items())
        logger.info(
            "%s", f"{file.path}: types are {listed}",
            extra={"event": "types", "file": str(file.path), "types": types},
        )  # fmt: skip
    return schema


class ParquetFile:
    """A Parquet file whose rows are read through a filter, by the row groups that it does not rule out."""

    rereadable = True

    def __init__(self, path: Path, memory: int) -> None:
        self.parquet = self._file = ParquetInput(path)
        self._memory = memory
        self.path, self.schema, self.num_rows = path, self._file.schema, self._file.num_rows
        self.metadata = self._file.footer.key_value_metadata
        self.error = self._file.error

    def batches(self, columns: Sequence[str], rows: RowFilter | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, without the row groups that the filter rules out."""
        file, skipped = self._file, 0
        bounds = {} if rows is None else {name: _group_bounds(file, name) for name in rows.names}
        for number, group in enumerate(file.footer.row_groups):
            if not group.num_rows:
                continue
            if rows is not None and rows.rules_out(lambda name, n=number: bounds[name][n] if bounds[name] else None):
                skipped += 1
                continue
            yield from self._group(number, group, columns)
        file.check_unchanged()
        if skipped:
            logger.info(
                "%s", f"{self.path}: {skipped:,} of {len(file.footer.row_groups):,} row groups are ruled out",
                extra={"event": "skipped", "file": str(self.path), "row_groups": skipped},
            )  # fmt: skip

    def _group(self, number: int, group: Any, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        width = max(group.total_byte_size / group.num_rows, 8 * len(columns))
        count = max(1, min(BATCH_ROWS, int(self._memory / 64 / width)))
        run = range(number, number + 1)
        try:
            with self._file.open(run, buffer_size=self._file.buffer_size(run, len(columns))) as reader:
                for batch in reader.iter_batches(count, columns=list(columns), use_threads=False):
                    yield batch.select(list(columns))
        except (OSError, pa.ArrowException) as error:
            raise locate_damage(self._file, run, columns, error) from error


def _group_bounds(file: ParquetInput, name: str) -> list[Bounds | None] | None:
    """What the trusted statistics say of a column, by row group."""
    from .footer_fit import leaf_extrema_of
    from .parquet.statistics import decimal_of

    found = leaf_extrema_of(file, name)
    if isinstance(found, str):
        return None
    bounds: list[Bounds | None] = []
    for i in range(len(found.rows)):
        if i in found.reasons:
            bounds.append(None)
            continue
        low, high = found.low[i], found.high[i]
        if found.kind == "decimal" and found.has_values[i]:
            low, high = decimal_of(low, found.scale), decimal_of(high, found.scale)
        nans = found.kind == "float" and int(found.nan_count[i]) != 0
        bounds.append(Bounds(low, high, bool(found.null_count[i]), nans, bool(found.has_values[i])))
    return bounds


def open_input(
    path: Path | None, format: str, like: Any, memory: int, types: Mapping[str, pa.DataType] | None = None
) -> Any:
    """A file of a format, or standard input for None; `like` is the first file, whose types hold for the rest.

    Of columns of text, `types` are given, and not inferred.
    """
    file = _opened(path, format, like, memory, types)
    if format != "parquet":
        note_input(file.path, format, None, None if path is None else _size_of(path))
    return file


def _size_of(path: Path | StorePath) -> int | None:
    return path.known().size if isinstance(path, StorePath) else path.stat().st_size


def _opened(
    path: Path | None, format: str, like: Any, memory: int, types: Mapping[str, pa.DataType] | None
) -> Any:
    schema = None if like is None else like.schema
    if format == "parquet" and path is not None:
        return ParquetFile(path, memory)
    if format == "arrow" and path is not None:
        return ArrowFile(path)
    if format == "arrows":
        return ArrowStream(path)
    if format in ("csv", "tsv"):
        return CsvFile(path, "\t" if format == "tsv" else ",", schema, types)
    if format == "jsonl":
        return JsonLines(path, schema, types)
    raise DataError(f"{format} is read from its end, and a pipe has none: give a file, or an Arrow IPC stream ({PIPE})")
