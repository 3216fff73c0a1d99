"""Jobs over what is read as batches: which of them there are, the fit of one, and what is written of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import state, stream
from .atomic import check_target
from .dry_run import note_columns, stop
from .errors import DataError, StateError
from .formats import TEXT, Found, check_format, find, format_by_name, is_pipe, sink_format
from .intake import Intake, check_typed, intake_of, of_files
from .ledger import Ledger
from .lineage import Origin, root_of
from .matching import columns_in
from .outputs import Output, is_directory, lineage_of, plan_paths, state_entry, transform_of
from .partition_places import check_folder
from .partitions import write_partitions
from .plan import describe_columns
from .row_filter import check_weights
from .scalers import BaseScaler
from .scalers._paths import places_in
from .scalers._select import as_names
from .scan import Progress
from .sinks import StandardOutput
from .sources import is_file_source
from .states import load_scaler
from .text_types import types_of
from .where import Condition, parse

logger = logging.getLogger("streamnorm")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is read.

    Attributes
    ----------
    format : str or None
        Of its files; None: by their names.
    condition : Condition or None
        Which rows.
    where : str or None
        The text of it, which stays where rows have passed it before.
    types : mapping of str to pyarrow.DataType, or None
        Of columns of text.
    """

    format: str | None = None
    condition: Condition | None = None
    where: str | None = None
    types: Mapping[str, pa.DataType] | None = None


def reading_of(format: str | None, where: str | None, types: Mapping[str, Any] | None = None) -> Reading:
    """What these arguments of a job say.

    Raises
    ------
    ValueError
        If there is no such format or type, or the condition is none.
    """
    check_format(format)
    return Reading(format, None if where is None else parse(where), where, None if types is None else types_of(types))


def fitting_stream(
    scaler: BaseScaler, intake: Intake, weight: Any, columns: Any, exclude: Any, *, reset: bool, ahead: bool
) -> stream.Stream:
    """The columns of a source that a fit needs, and no others; `ahead` of the fit on a thread of its own."""
    check_weights(weight)
    schema = intake.schema
    names = scaler._plan_weighted(schema, columns, exclude, weight) if reset else columns_in(scaler, schema)
    extra = [] if weight is None or weight in names else [weight]
    _log("fitting", names, schema)
    note_columns(scaler, names, schema)
    columns = {place.column for place, _ in places_in(schema.names, names)}
    return intake.stream(sorted([*columns, *extra], key=schema.get_field_index), ahead)


def keys_named(scaler: BaseScaler, columns: Any, weight: Any) -> set[str]:
    """What a fit names, of which Hive keys may be some."""
    named = {name for name in scaler._named(columns) if isinstance(name, str)}
    return named | set(as_names(weight) or () if isinstance(weight, str) else ())


def _log(doing: str, names: Collection[str], schema: pa.Schema) -> None:
    passing = [name for name in schema.names if name not in set(names)]
    logger.info(
        "%s",
        describe_columns(doing, list(names), passing),
        extra={"event": "columns", "columns": list(names), "passing": passing},
    )


def state_of(source: Any, format: str | None) -> BaseScaler:
    """The scaler whose state all files of a source carry.

    Raises
    ------
    StateError
        If they carry none, or different ones.
    """
    found = find(source, format)
    if found.format in TEXT:
        raise StateError(f"{next(iter(found.files))}: {found.format} carries no state: pass the scaler (--state)")
    scalers = {path: load_scaler(path) for path in found.files}
    first, *others = scalers
    for path in others:
        if state.dump_line(scalers[path], Ledger()) != state.dump_line(scalers[first], Ledger()):
            raise StateError(
                f"{path}: was normalized differently than {first}: undo them one by one, or pass the scaler (--state)"
            )
    return scalers[first]


def state_of_intake(intake: Intake) -> BaseScaler:
    """The scaler whose state came in by standard input."""
    for name, metadata in intake.metadata:
        if state.FOOTER_KEY in metadata:
            return state.loads(metadata[state.FOOTER_KEY], where=name)
    raise StateError("standard input carries no state: pass the scaler (--state)")


def transform_batches(
    source: Any,
    sink: Any,
    scaler: BaseScaler,
    undo: bool,
    output: Output,
    reading: Reading,
    progress: Progress | None,
) -> int | pa.RecordBatchReader | None:
    """Transform a source as batches; None if it is Parquet in and out, which has passes of its own.

    An `Intake` that is open already is a source, too.
    """
    if output.partition_by:
        return _partition(source, sink, scaler, undo, output, reading, progress)
    if isinstance(source, Intake):
        return _write_one(source, sink, scaler, undo, output, reading, progress)
    if is_pipe(source) or not is_file_source(source):
        intake = intake_of(source, reading.format, reading.condition, output.memory, None, reading.types)
        data = stream.open_stream(source) if intake is None else intake
        return _write_one(data, sink, scaler, undo, output, reading, progress)
    found = find(source, reading.format)
    folder = sink is not None and not is_pipe(sink) and is_directory(sink)
    kind = _kind(found, sink, output, folder)
    keys = () if folder else found.key_names
    check_typed(found.format, reading.types)
    if found.format == kind == "parquet" and reading.condition is None and not keys:
        return None
    targets = plan_paths(found.files, sink, output.overwrite, kind)
    intakes = [
        (target, of_files(found.only(paths), reading.condition, output.memory, () if folder else None, reading.types))
        for target, paths in targets.items()
    ]
    for _, intake in intakes:
        _transform_for(scaler, undo, output, intake)(intake.stream().reader().schema)  # what is wrong shows here
    if sink is None:
        return _write_one(intakes[0][1], None, scaler, undo, output, reading, progress)
    done, root = _Sum(progress, intakes), root_of(found.files)
    rows = 0
    for target, intake in intakes:
        stop()
        if folder and target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        where = "-" if is_pipe(sink) else target
        one = replace(output, format=kind)
        rows += _write_one(intake, where, scaler, undo, one, reading, done.next(), root)
    return rows


def _partition(
    source: Any, sink: Any, scaler: BaseScaler, undo: bool, output: Output, reading: Reading, progress: Progress | None
) -> int:
    """Write to folders by the values of columns, which keys of the source's folders may be, too."""
    kind = output.format or "parquet"
    for name in output.partition_by:
        if name in scaler.summary_:
            raise DataError(f"column {name!r} is to be normalized, and to name folders (partition_by)", column=name)
    if isinstance(source, Intake):
        intake: Any = source
    elif is_file_source(source) and not is_pipe(source):
        found = find(source, reading.format)
        kind = output.format or found.format
        intake = of_files(found, reading.condition, output.memory, None, reading.types)
    else:
        intake = intake_of(source, reading.format, reading.condition, output.memory, None, reading.types)
        intake = stream.open_stream(source) if intake is None else intake
    data = intake.stream() if isinstance(intake, Intake) else intake
    transform_for = _transform_for(scaler, undo, output, intake)
    entry = {} if kind in TEXT else _entry(intake, scaler, undo, output, reading, None)
    return write_partitions(data, sink, transform_for, entry, output, kind, progress)


def _kind(found: Found, sink: Any, output: Output, folder: bool) -> str:
    """The format of the outputs; that of a reader is as good as Parquet's."""
    if folder:
        return output.format or found.format
    return "parquet" if sink is None else sink_format(sink, output.format)


class _Sum:
    """Progress over several outputs."""

    def __init__(self, progress: Progress | None, intakes: Any) -> None:
        counts = [intake.stream().num_rows for _, intake in intakes]
        self._progress, self._total = progress, None if None in counts else sum(counts)
        self._rows = self._bytes = self._base_rows = self._base_bytes = 0

    def next(self) -> Progress | None:
        """For the next output."""
        self._base_rows, self._base_bytes = self._rows, self._bytes
        return None if self._progress is None else self._add

    def _add(self, rows: int, total: int | None, nbytes: int) -> None:
        self._rows, self._bytes = self._base_rows + rows, self._base_bytes + nbytes
        if self._progress is not None:
            self._progress(self._rows, self._total, self._bytes)


def _transform_for(scaler: BaseScaler, undo: bool, output: Output, source: Any) -> Any:
    keys: Collection[str] = getattr(source, "keys", ())

    def transform_for(schema: pa.Schema) -> Any:
        shown = [field for field in schema if field.name not in keys or field.name in scaler.summary_]
        own = pa.schema(shown, metadata=schema.metadata)
        names = columns_in(scaler, own)
        note_columns(scaler, names, schema)
        return transform_of(scaler, undo, output, names, schema)

    return transform_for


def _write_one(
    source: Any,
    sink: Any,
    scaler: BaseScaler,
    undo: bool,
    output: Output,
    reading: Reading,
    progress: Any,
    root: str | None = None,
) -> Any:
    data = source.stream() if isinstance(source, Intake) else source
    transform_for = _transform_for(scaler, undo, output, source)
    stateless = sink is None or sink_format(sink, output.format) in TEXT
    entry = {} if stateless else _entry(source, scaler, undo, output, reading, root)
    return stream.run(data, sink, transform_for, entry, output, progress)


def _entry(
    source: Any, scaler: BaseScaler, undo: bool, output: Output, reading: Reading, root: str | None
) -> dict[bytes, bytes]:
    """State and lineage, for formats that have room for them."""
    held = isinstance(source, Intake)
    origins = source.origins() if held else [Origin(None, source.num_rows, metadata=source.metadata)]
    lineage = lineage_of(scaler, undo, output, reading.where)
    return {**state_entry(scaler, undo), **lineage.entry(origins, root)}


def only_parquet(source: Any, format: str | None) -> bool:
    """Whether the files of a source, which need not all be there, are Parquet by name or by `format`."""
    if is_pipe(source):
        return False
    if format is not None or not is_file_source(source):
        return format in (None, "parquet")
    items = source if isinstance(source, (list, tuple)) else [source]
    return all(format_by_name(item) in (None, "parquet") for item in items)


def files_of(source: Any, format: str | None) -> Mapping[Path, Path]:
    """The files of a source; none of standard input or data in memory."""
    return find(source, format).files if is_file_source(source) and not is_pipe(source) else {}


def check_sinks(source: Any, sink: Any, output: Output, reading: Reading) -> None:
    """What can be known about the sink before a fit begins.

    Raises
    ------
    DataError, StreamnormError
        If it cannot be written, or exists and may not be replaced.
    """
    if output.partition_by:
        if is_pipe(sink):
            raise DataError("partition_by makes folders: name a directory as the sink")
        check_folder(sink, output.overwrite)
        return
    if is_pipe(sink):
        StandardOutput(sink_format(sink, output.format))
    elif source and is_directory(sink):
        found = find(source, reading.format)
        plan_paths(found.files, sink, output.overwrite, output.format or found.format)
    elif is_directory(sink):
        raise DataError(f"{sink}: is a directory, and data in memory has no file name: name a file")
    else:
        check_target(sink, overwrite=output.overwrite)
