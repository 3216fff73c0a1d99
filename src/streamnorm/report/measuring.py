"""The pass over data that a description is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .. import doubts
from ..batch_jobs import reading_of
from ..digests import digest
from ..errors import BadRow, DataError
from ..formats import Found, find, is_pipe
from ..intake import intake_of
from ..ledger import CountedFile
from ..locations import placed
from ..matching import log_columns, naming
from ..memory import parse_memory, sketch_error
from ..pipeline import resolve_threads
from ..scalers import StandardScaler
from ..scalers._frames import Frame, parts
from ..scalers._inputs import as_matrix
from ..scalers._nested import feed
from ..scalers._paths import EACH, Place, has_lists, is_list, places_in, select_features, storage_type
from ..scalers._select import as_names, check_columns, index_columns, is_numeric_when_named, numeric_chunk, value_type
from ..scan import Progress, ProgressMeter, scan
from ..sources import ParquetInput, check_same_types, is_file_source
from ..summary import Summary, near_matches
from ..update import counted_file
from .describe import NAMED_FILES, Description, described
from .tally import Tally

Names = str | Sequence[str] | None
# Names, or what gives them for a schema.
Columns = str | Sequence[str] | Callable[[pa.Schema], Sequence[str]] | None


def measure(
    source: Any, *, columns: Columns, exclude: Names, format: str | None, **reading: Any
) -> tuple[Description, Summary]:
    """:func:`~streamnorm.report.describe.describe`, and the statistics that it is made of."""
    seen, found = observe(source, columns=columns, exclude=exclude, format=format, **reading)
    return _description(seen, found, columns, exclude)


def observe(
    source: Any,
    *,
    columns: Columns,
    exclude: Names,
    where: str | None,
    format: str | None,
    types: Mapping[str, Any] | None,
    filesystem: Any,
    memory: str | int,
    threads: int | None,
    progress: Progress | None,
) -> tuple[Seen, Found | None]:
    """What one pass over a source finds, and the files that it was over."""
    size = parse_memory(memory)
    reading = reading_of(format, where, types)
    source = placed(source, filesystem)
    files = is_file_source(source) and not is_pipe(source)
    found = find(source, reading.format) if files else None
    keys = set() if columns is None or callable(columns) else set(as_names(columns) or ())
    listed = source if found is None else found
    intake = intake_of(listed, reading.format, reading.condition, size, keys, reading.types)
    if found is not None and intake is None:
        inputs = [ParquetInput(path) for path in found.files]
        return _of_files(inputs, columns, exclude, size, resolve_threads(threads, size), progress), found
    seen = _OfBatches(columns, exclude, progress)
    if intake is None:
        seen.read(source, None)
    else:
        stream = intake.stream(_needed(intake.schema, columns, exclude))
        seen.read(stream, stream.num_rows)
        seen.schema = intake.schema
    return seen, found


class Seen:
    """Tallies by column, in the order of the source."""

    def __init__(self, columns: Columns, exclude: Names) -> None:
        self.columns, self.exclude = columns, exclude
        self.schema = pa.schema([])
        self.tallies: dict[str | int, Tally] = {}
        self.rows = 0
        self.ledger: list[CountedFile] = []
        self.lists: dict[str | int, int] = {}

    def summary(self) -> Summary:
        """The statistics."""
        stats = {name: tally.stats for name, tally in self.tallies.items()}
        return Summary(stats, files=self.ledger, lists=self.lists, source=dict.fromkeys(stats, "scan"))

    def types(self) -> dict[str | int, str]:
        """Arrow's types of the columns."""
        return {
            name: str(_type_at(self.schema, place)) for place, name in zip(self.places, self.tallies, strict=True)
        }

    @property
    def places(self) -> list[Place]:
        """Where the columns are, by name."""
        return [place for place, _ in places_in(self.schema.names, [str(name) for name in self.tallies])]


def _of_files(
    files: Sequence[ParquetInput], columns: Columns, exclude: Names, memory: int, threads: int, progress: Any
) -> Seen:
    """Parquet files, a few columns and row groups at a time, on several threads."""
    seen = Seen(columns, exclude)
    seen.schema = files[0].schema
    with naming(files[0]):
        names = chosen(seen.schema, columns, exclude)
    found = [place for place, _ in places_in(seen.schema.names, names)]
    check_same_types(files, list(dict.fromkeys(place.column for place in found)))
    seen.rows = sum(file.num_rows for file in files)
    log_columns("describing", names, files[0])
    error = sketch_error(len(names), seen.rows, memory)
    nested = {place.name: (place, [place.name]) for place in found if place.fields or _lists(seen.schema, place)}
    made = scan(
        files,
        names,
        lambda name, seed: Tally(seed, error),  # type: ignore[arg-type, return-value]
        of=len(names),
        memory=memory,
        threads=threads,
        meter=ProgressMeter(progress, files),
        nested=nested,
    )
    for file in files:
        file.check_unchanged()
    seen.tallies = {name: made[name] for name in names}  # type: ignore[misc]
    seen.lists = {name: seen.rows for name in nested if has_lists(seen.schema, nested[name][0])}
    seen.ledger = list(map(counted_file, files))
    return seen


def _lists(schema: pa.Schema, place: Place) -> bool:
    return is_list(storage_type(schema.field(place.column).type))


class _OfBatches(Seen):
    """Anything else, one batch after the other."""

    def __init__(self, columns: Columns, exclude: Names, progress: Progress | None) -> None:
        super().__init__(columns, exclude)
        self._progress = progress
        self._names: list[str] | None = None

    def read(self, source: Any, total: int | None) -> None:
        """Count all rows."""
        nbytes = 0
        for part in parts(source):
            nbytes += self._feed_frame(part) if isinstance(part, Frame) else self._feed_matrix(part)
            if self._progress is not None:
                self._progress(self.rows, total, nbytes)
        if not self.tallies:
            raise DataError("there are no rows and no columns to describe: give data with at least one column")

    def _feed_frame(self, frame: Any) -> int:
        if frame.unnamed:
            name = frame.names[0]
            self.schema = pa.schema([(str(name), frame.schema.field(0).type)])
            for chunk in frame.chunks(0, fit=True):
                self.tallies.setdefault(0, Tally()).update(numeric_chunk(chunk))
            self.rows += frame.rows
            return frame.nbytes
        if self._names is None:
            self.schema = frame.schema
            self._names = chosen(frame.schema, self.columns, self.exclude)
            self.tallies = {name: Tally() for name in self._names}
            self.lists = {place.name: 0 for place in self.places if has_lists(frame.schema, place)}
        check_columns(frame.schema, [p.column for p in self.places if not p.fields and p.name not in self.lists])
        for place in self.places:
            for chunk in frame.chunks(frame.names.index(place.column), fit=True):
                self._feed_chunk(place, chunk)
        self.rows += frame.rows
        self.lists = dict.fromkeys(self.lists, self.rows)
        return frame.nbytes

    def _feed_chunk(self, place: Place, chunk: pa.Array) -> None:
        try:
            if place.fields or place.name in self.lists:
                feed([self.tallies[place.name]], chunk, place)
            else:
                self.tallies[place.name].update(numeric_chunk(chunk))
        except BadRow as error:
            raise DataError(f"column {place.name!r}: {error}", column=place.name) from error

    def _feed_matrix(self, part: Any) -> int:
        if not (self.columns is None or callable(self.columns)) or self.exclude is not None:
            raise DataError("columns= and exclude= need named columns: pass a table or a frame, or slice the array")
        matrix = as_matrix(part, "describe")
        if not self.tallies:
            kind = pa.from_numpy_dtype(matrix.dtype)
            self.schema = pa.schema([(str(i), kind) for i in range(matrix.shape[1])])
            self.tallies = {i: Tally() for i in range(matrix.shape[1])}
        if matrix.shape[1] != len(self.tallies):
            raise DataError(f"there are {matrix.shape[1]} columns, and {len(self.tallies)} in the first array")
        for i, tally in enumerate(self.tallies.values()):
            tally.update(pa.array(np.ascontiguousarray(matrix[:, i]), from_pandas=False))
        self.rows += len(matrix)
        return matrix.nbytes


def chosen(schema: pa.Schema, columns: Columns, exclude: Names) -> list[str]:
    """The columns that are described: by default numbers, booleans, dates and times.

    Raises
    ------
    DataError
        If one is missing or holds none of these, or there is none.
    """
    if callable(columns):
        columns = columns(schema)
    if columns is not None:
        names = select_features(schema, columns, exclude)
        for name in names:
            if name.endswith(EACH) and name not in schema.names:
                raise DataError(f"positions of lists are not described one by one: name {name.removesuffix(EACH)!r}")
        return names
    left_out = set(as_names(exclude) or ())
    for name in left_out.difference(schema.names):
        raise DataError(f"there is no column {name!r} to exclude: {near_matches(name, schema.names)}", column=name)
    index = index_columns(schema)
    names = [entry.name for entry in schema if _is_plain(entry.type) and entry.name not in index | left_out]
    check_columns(schema, names)
    if not names:
        raise DataError(
            "there is no column to describe: name lists or fields in columns (--columns), or give numbers "
            f"({near_matches('', schema.names)})"
        )
    return names


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column is described without being named: text as categories is none, nor is a column of nulls."""
    return is_numeric_when_named(kind) and not pa.types.is_null(value_type(kind)) and not pa.types.is_dictionary(kind)


def _needed(schema: pa.Schema, columns: Columns, exclude: Names) -> list[str]:
    places = [place for place, _ in places_in(schema.names, chosen(schema, columns, exclude))]
    return sorted({place.column for place in places}, key=schema.get_field_index)


def _description(seen: Seen, found: Found | None, columns: Columns, exclude: Names) -> tuple[Description, Summary]:
    summary, types = seen.summary(), seen.types()
    method = StandardScaler(infinite="ignore")
    made = [
        described(summary[name], types[name], tuple(doubts.doubts_of(summary[name], method)), tally)
        for name, tally in seen.tallies.items()
    ]
    shown = {place.column for place in seen.places} | set(as_names(exclude) or ())
    others = {} if columns is not None else {one.name: str(one.type) for one in seen.schema if one.name not in shown}
    files = [] if found is None else list(found.files.values())
    description = Description(
        columns=tuple(made),
        rows=seen.rows,
        files=tuple(map(str, files[:NAMED_FILES])),
        file_count=len(files),
        others=others,
        digest=digest(summary),
    )
    return description, summary


def _type_at(schema: pa.Schema, place: Place) -> pa.DataType:
    kind = schema.field(place.column).type
    for name in place.fields:
        kind = storage_type(kind).field(name).type
    return kind
