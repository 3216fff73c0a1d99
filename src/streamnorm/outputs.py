"""Where and how results are written: options, targets, and the transform pass over files."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import state, stream
from .apply import ParquetJob, Transform, common_schema
from .atomic import atomic_file, check_target, exists_already
from .dry_run import note_columns, note_output, stop
from .errors import DataError, StreamnormError
from .formats import PIPE, check_format, is_pipe, output_name
from .lineage import Lineage, of_parquet, root_of
from .locations import StorePath, locate
from .logs import passing, sizes
from .masking import masked
from .matching import columns_of, log_columns, matching_columns
from .memory import parse_memory
from .parquet.format import Compression
from .pipeline import resolve_threads
from .plan import describe, plan_spans
from .scalers import BaseScaler
from .scalers._paths import is_list, places_in, storage_type
from .scan import ProgressMeter
from .sources import ParquetInput, check_same_types, find_files

logger = logging.getLogger("streamnorm")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How results are written; see `transform` for the meaning of each."""

    dtype: Any
    compression: str | None
    compression_level: int | None
    row_group_size: int | None
    overwrite: bool
    memory: str | int
    threads: int | None
    format: str | None = None
    partition_by: Sequence[str] | None = None

    def checked(self) -> Output:
        """The same, validated.

        Raises
        ------
        ValueError
            Names the option that makes no sense.
        """
        check_format(self.format, "output_format")
        size = self.row_group_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"row_group_size must be a positive number of rows or None, got {size!r}")
        return Output(
            _float_dtype(self.dtype),
            Compression.of(self.compression, self.compression_level),
            size,
            self.overwrite,
            parse_memory(self.memory),
            resolve_threads(self.threads, parse_memory(self.memory)),
            self.format,
            tuple(self.partition_by or ()),
        )


@dataclass(frozen=True, slots=True)
class Output:
    dtype: np.dtype | None
    compression: Compression
    row_group_size: int | None
    overwrite: bool
    memory: int
    threads: int
    format: str | None = None
    partition_by: tuple[str, ...] = ()


def _float_dtype(dtype: Any) -> np.dtype | None:
    if dtype is None:
        return None
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result.kind != "f" or result.itemsize not in (2, 4, 8):
        raise ValueError(f"dtype must be float16, float32, float64 or None, got {dtype!r}")
    return result


def plan_targets(source: Any, sink: Any, overwrite: bool) -> dict[Path | None, list[ParquetInput]]:
    """Which inputs go to which output file.

    Raises
    ------
    DataError
        If two inputs would go to the same output.
    StreamnormError
        If an output exists and may not be replaced, or cannot be written where it is wanted.
    """
    targets = plan_paths(find_files(source), sink, overwrite)
    return {target: [ParquetInput(path) for path in paths] for target, paths in targets.items()}


def plan_paths(
    found: Mapping[Path, Path], sink: Any, overwrite: bool, kind: str | None = None
) -> dict[Path | None, list[Path]]:
    """:func:`plan_targets` by name alone; in a folder, outputs of `kind` get its suffix."""
    targets: dict[Path | None, list[Path]] = {}
    if sink is None:
        targets[None] = list(found)
    elif is_pipe(sink):
        targets[Path(PIPE)] = list(found)
    elif not is_directory(sink):
        check_target(sink, overwrite=overwrite)
        targets[locate(sink)] = list(found)
    else:
        folder = locate(sink)
        if folder.is_file():
            raise StreamnormError(f"{folder}: is a file; for a directory, choose another name")
        for path, name in found.items():
            target = folder / output_name(name, kind)
            if target in targets:
                raise DataError(f"{path}: another input goes to {target}, too; write them one by one", file=str(path))
            targets[target] = [path]
        _check_in_folder(folder, targets, overwrite)
        for target in targets:
            note_output(target)
    return targets


def _check_in_folder(folder: Any, targets: Collection[Any], overwrite: bool) -> None:
    """Check the targets in a folder, in a store by one listing of it."""
    if not isinstance(folder, StorePath):
        for target in targets:
            if target.parent.is_dir():
                check_target(target, overwrite=overwrite)
        return
    check_target(folder / "x", overwrite=True)
    if not overwrite:
        there = {path for path, _ in folder.files()} if folder.exists() else set()
        for target in targets:
            if target in there:
                raise exists_already(target)


def is_directory(sink: Any) -> bool:
    return os.fspath(sink).endswith(("/", os.sep)) or locate(sink).is_dir()


def transform_of(
    scaler: BaseScaler, undo: bool, output: Output, names: Sequence[str], schema: pa.Schema
) -> Transform:
    """What a scaler does to a table of this schema, whose features have these names."""
    maps = dict(zip(names, scaler._maps().values(), strict=True))
    flat: dict[str, Any] = {}
    nested: dict[str, list[Any]] = {}
    for place, features in places_in(schema.names, names):
        if place.fields or place.each or is_list(storage_type(schema.field(place.column).type)):
            nested.setdefault(place.column, []).append((place, [maps[feature] for feature in features]))
        else:
            flat[place.name] = maps[place.name]
    return Transform(flat, undo, output.dtype, nested)


def state_entry(scaler: BaseScaler, undo: bool) -> dict[bytes, bytes]:
    return {} if undo else {state.FOOTER_KEY: state.dump_line(scaler, scaler.summary_.files.shortened())}


def lineage_of(scaler: BaseScaler, undo: bool, output: Output, where: str | None = None) -> Lineage:
    """What outputs say of where they come from."""
    return Lineage(scaler, undo, {"dtype": None if output.dtype is None else output.dtype.name, "where": where})


def write_files(
    targets: Mapping[Path | None, Sequence[ParquetInput]],
    scaler: BaseScaler,
    undo: bool,
    output: Output,
    meter: ProgressMeter,
) -> int:
    jobs = []
    root = root_of(file.path for files in targets.values() for file in files)
    for target, files in targets.items():
        names = [matching_columns(scaler, file) for file in files][0]
        check_same_types(files, columns_of(files[0], names))
        common_schema(files)
        log_columns("undoing" if undo else "normalizing", names, files[0])
        note_columns(scaler, names, files[0].schema)
        spans = [span for file in files for span in plan_spans(file, output.memory, output.row_group_size)]
        jobs.append((target, files, spans, names))
    entry, origin = state_entry(scaler, undo), lineage_of(scaler, undo, output)
    # The sketches, their text, and its copy in the footer are held all along: thousands of columns make them large.
    held = sum(map(len, entry.values())) + origin.nbytes
    memory = max(output.memory - 3 * held, output.memory // 2)
    rows = 0
    for target, files, spans, names in jobs:
        stop()
        target.parent.mkdir(parents=True, exist_ok=True)  # of a sink that is a directory
        change = describe(spans)
        if change:
            logger.info("%s: %s", target, change, extra={"event": "row_groups", "target": str(target)})
        job = ParquetJob(
            files,
            spans,
            transform_of(scaler, undo, output, names, files[0].schema),
            output.compression,
            {**entry, **origin.entry(map(of_parquet, files), root)},
            memory,
            output.threads,
        )
        said = {"target": masked(str(target)), **sizes(files)}
        with passing("write", **said), atomic_file(target, overwrite=output.overwrite) as file:
            rows += job.run(file, meter)
            for each in files:
                if isinstance(each.path, StorePath):
                    each.check_unchanged()  # which those here were when each was opened
            file.commit()
    return rows


def files_reader(files: Sequence[ParquetInput], scaler: BaseScaler, undo: bool, output: Output) -> pa.RecordBatchReader:
    names = [matching_columns(scaler, file) for file in files][0]
    check_same_types(files, columns_of(files[0], names))
    schema = common_schema(files)
    change = transform_of(scaler, undo, output, names, schema)
    return stream.transformed_reader(schema, stream.file_batches(files, schema, output.memory), change)


def _real(path: Any) -> str:
    return str(path) if isinstance(path, StorePath) else os.path.realpath(path)


def check_state_target(
    target: Path, inputs: Mapping[Path, Path], sink: str | os.PathLike[str], kind: str | None = None
) -> None:
    """Raise StreamnormError, before the work begins, if the state cannot be saved there or would replace data."""
    if isinstance(target, StorePath):
        check_target(target, overwrite=True)
    elif target.is_dir():
        raise StreamnormError(f"{target}: is a directory; name a file for the state in it")
    elif not target.parent.is_dir():
        raise StreamnormError(f"{target}: there is no directory {target.parent} for the state; make it first")
    place = locate(sink)
    outputs = [place / output_name(name, kind) for name in inputs.values()] if is_directory(sink) else [place]
    if _real(target) in map(_real, [*inputs, *outputs]):
        raise StreamnormError(f"{target}: is to hold data, not the state; give the state a file of its own")
