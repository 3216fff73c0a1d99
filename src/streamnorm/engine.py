"""The jobs: fit, transform, inverse and normalize, from any source to any sink, and what is read back from them."""

# Design: a job over Parquet files runs in passes of its own (scan.py, apply.py), which know row groups and columns; a
# job over anything else is a stream of record batches, fitted by the scaler and written row group by row group
# (stream.py). Both end in the same pages and the same footer. Errors that the metadata can show (a missing column, a
# target that exists) come before the first value is read.

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import doubts, stream
from .apply import common_schema
from .batch_jobs import (
    Reading,
    check_sinks,
    files_of,
    keys_named,
    reading_of,
    state_of,
    state_of_intake,
    transform_batches,
)
from .errors import DataError, StateError
from .fitting import DEFAULT_MEMORY, Columns, Types, fit, fit_files
from .formats import find, is_pipe, listed, sink_format
from .intake import intake_of
from .ledger import Ledger
from .locations import locate, placed
from .logs import logged, passing
from .making import make_scaler
from .outputs import (
    Output,
    OutputOptions,
    check_state_target,
    files_reader,
    is_directory,
    plan_targets,
    write_files,
)
from .partitions import check_keys_of, without_keys
from .row_filter import check_weights
from .scalers import BaseScaler
from .scalers._select import as_names
from .scan import Progress, ProgressMeter
from .sinks import say_stateless
from .sources import is_file_source

__all__ = ["fit", "inverse", "normalize", "transform"]


@logged("transform")
def transform(
    source: Any,
    sink: str | os.PathLike[str] | None,
    scaler: BaseScaler,
    *,
    dtype: Any = None,
    compression: str | None = "snappy",
    compression_level: int | None = None,
    row_group_size: int | None = None,
    overwrite: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
    format: str | None = None,
    output_format: str | None = None,
    where: str | None = None,
    types: Types = None,
    partition_by: Columns = None,
    filesystem: Any = None,
) -> int | pa.RecordBatchReader:
    """Apply a fitted scaler to a source and write the result.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        As for `fit`.
    sink : path, URI or None
        A file: all inputs go into it, in sorted order of their paths. An existing directory, or a path that ends in a
        slash: one output per input, by relative name. "-": standard output. None: nothing is written.
    scaler : scaler
        Fitted. Columns are matched by name; all others pass through untouched.
    dtype : {"float16", "float32", "float64"} or None
        Of the normalized columns; None: floats keep their type, all else becomes float64.
    compression : {"snappy", "zstd", "gzip", "brotli", "lz4", "none"}
        Of what is encoded anew. Column chunks that pass through as they are keep theirs.
    compression_level : int, optional
    row_group_size : int, optional
        Rows a row group; None: the input's row groups, split evenly where one is larger than a quarter of `memory`
        once decoded, and joined where consecutive ones are below 1 MB.
    overwrite : bool, default False
        Whether an existing target may be replaced.
    memory, threads, progress, format, where, types
        As for `fit`. Rows that `where` drops are not written.
    output_format : {"parquet", "arrow", "arrows", "csv", "tsv", "jsonl"} or None
        Of the outputs. None: by the name of the sink, Parquet if that does not tell; in a directory that of the input;
        for standard output "arrows".
    partition_by : str, sequence of str, or None
        Columns by whose values rows go to folders of the sink, a directory: ``year=2024/month=7/part-0.parquet``. The
        columns leave the files; a null is ``__HIVE_DEFAULT_PARTITION__``. With `overwrite`, parts of an earlier run
        that this one does not write are removed.
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where `source` and `sink` lie, if they are no URIs; None: on this machine.

    Returns
    -------
    int or pyarrow.RecordBatchReader
        Rows written; a reader of the normalized data if `sink` is None.

    Raises
    ------
    DataError
        If a file, row group or column is at fault. No partial output stays.
    FileExistsError
        If the target exists.
    """
    options = OutputOptions(
        dtype, compression, compression_level, row_group_size, overwrite, memory, threads, output_format,
        as_names(partition_by),
    )  # fmt: skip
    scaler._check_fitted()
    source, sink = placed(source, filesystem), placed(sink, filesystem)
    return _run(source, sink, scaler, False, options.checked(), reading_of(format, where, types), progress)


@logged("inverse")
def inverse(
    source: Any,
    sink: str | os.PathLike[str] | None,
    scaler: BaseScaler | None = None,
    *,
    dtype: Any = None,
    compression: str | None = "snappy",
    compression_level: int | None = None,
    row_group_size: int | None = None,
    overwrite: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
    format: str | None = None,
    output_format: str | None = None,
    where: str | None = None,
    types: Types = None,
    partition_by: Columns = None,
    filesystem: Any = None,
) -> int | pa.RecordBatchReader:
    """Undo `transform`, up to rounding and clipping.

    Parameters
    ----------
    source, sink, dtype, compression, compression_level, row_group_size, overwrite, memory, threads, progress
        As for `transform`.
    scaler : scaler or None
        None: the state that the source itself carries, Parquet in its footer and Arrow IPC in its schema.
    format, output_format, where, types, partition_by, filesystem
        As for `transform`; `where` sees the values before they are restored.

    Returns
    -------
    int or pyarrow.RecordBatchReader
        As for `transform`.

    Raises
    ------
    StateError
        If `scaler` is None and the source carries no state, or its files carry different ones.
    """
    options = OutputOptions(
        dtype, compression, compression_level, row_group_size, overwrite, memory, threads, output_format,
        as_names(partition_by),
    )  # fmt: skip
    checked = options.checked()
    reading = reading_of(format, where, types)
    source, sink = placed(source, filesystem), placed(sink, filesystem)
    if scaler is None:
        if is_pipe(source):
            source = intake_of(source, format, reading.condition, checked.memory, None, reading.types)
            scaler = state_of_intake(source)
        elif is_file_source(source):
            source = find(source, format)
            scaler = state_of(source, format)
        else:
            raise StateError("data in memory carries no state: pass the scaler")
    scaler._check_fitted()
    return _run(source, sink, scaler, True, checked, reading, progress)


def _run(
    source: Any, sink: Any, scaler: BaseScaler, undo: bool, output: Output, reading: Reading, progress: Progress | None
) -> int | pa.RecordBatchReader:
    source = listed(source, reading.format)
    done = transform_batches(source, sink, scaler, undo, output, reading, progress)
    if done is not None:
        return done
    targets = plan_targets(source, sink, output.overwrite)
    files = [file for group in targets.values() for file in group]
    if sink is None:
        return files_reader(files, scaler, undo, output)
    return write_files(targets, scaler, undo, output, ProgressMeter(progress, files))


@logged("normalize")
def normalize(
    source: Any,
    sink: str | os.PathLike[str] | None,
    method: Any = "standard",
    *,
    sample_weight: Any = None,
    columns: Columns = None,
    exclude: Columns = None,
    exact: bool = False,
    dtype: Any = None,
    compression: str | None = "snappy",
    compression_level: int | None = None,
    row_group_size: int | None = None,
    overwrite: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
    state: str | os.PathLike[str] | None = None,
    spool: bool = False,
    preset: str | None = None,
    constant: str | None = None,
    infinite: str | None = None,
    ddof: int | None = None,
    eps: float | None = None,
    format: str | None = None,
    output_format: str | None = None,
    where: str | None = None,
    types: Types = None,
    partition_by: Columns = None,
    filesystem: Any = None,
) -> BaseScaler:
    """Fit a scaler on a source, and write the source normalized by it.

    Parameters
    ----------
    source, method, sample_weight, columns, exclude, exact, memory, threads, progress
        As for `fit`; the pass that writes counts in `progress`, too.
    preset, constant, infinite, ddof, eps
        As for `fit`.
    sink, dtype, compression, compression_level, row_group_size, overwrite
        As for `transform`.
    state : path, optional
        Also save the fitted state there. Parquet and Arrow IPC carry it in any case, CSV and JSON lines never.
    spool : bool, default False
        Keep a source that can be read only once in a temporary file beside the sink.
    format, output_format, where, types, partition_by
        As for `transform`; rows that `where` drops are neither fitted nor written, and columns of `partition_by` are
        not normalized.
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where `source`, `sink` and `state` lie, if they are no URIs; None: on this machine.

    Returns
    -------
    scaler
        Fitted.

    Raises
    ------
    DataError
        If a file, row group or column is at fault, or the source can be read only once and `spool` is false. No
        partial output stays.
    FileExistsError
        If the target exists.

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, streamnorm as sn, tempfile, os
    >>> folder = tempfile.mkdtemp()
    >>> trips, normalized = os.path.join(folder, "trips.parquet"), os.path.join(folder, "normalized.parquet")
    >>> pq.write_table(pa.table({"fare": [2.0, 4.0, 9.0], "zone": ["a", "b", "a"]}), trips)
    >>> scaler = sn.normalize(trips, normalized, method="minmax")
    >>> pq.read_table(normalized)["fare"].to_pylist()
    [0.0, 0.2857142857142857, 1.0]
    """
    scaler = make_scaler(method, exact, preset, constant=constant, infinite=infinite, ddof=ddof, eps=eps)
    if sink is None:
        raise ValueError("normalize writes a file: name the sink, or use fit and transform")
    output = OutputOptions(
        dtype, compression, compression_level, row_group_size, overwrite, memory, threads, output_format,
        as_names(partition_by),
    ).checked()  # fmt: skip
    reading = reading_of(format, where, types)
    source, sink, state = (placed(each, filesystem) for each in (source, sink, state))
    source = listed(source, format)
    check_keys_of(source, output.partition_by, output.memory, reading.types)
    exclude = without_keys(scaler, source, columns, exclude, output.partition_by)
    if state is not None:
        check_state_target(locate(state), files_of(source, format), sink, output_format)
    fitting = dict(sample_weight=sample_weight, columns=columns, exclude=exclude, memory=memory, threads=threads)
    if is_file_source(source) and not is_pipe(source):
        if _is_parquet_job(source, sink, output, reading, keys_named(scaler, columns, sample_weight)):
            _normalize_files(source, sink, scaler, sample_weight, columns, exclude, output, progress)
        else:
            check_sinks(source, sink, output, reading)
            fit(source, scaler, format=format, where=where, types=types, progress=progress, **fitting)
            _run(source, sink, scaler, False, output, reading, progress)
    else:
        check_sinks((), sink, output, reading)
        intake = intake_of(source, format, reading.condition, output.memory, None, reading.types)
        data = stream.open_stream(source) if intake is None else intake.stream()
        check_weights(sample_weight if where is not None else None)
        if not data.rereadable and not spool:
            raise DataError(
                "the source can be read only once, and normalize reads twice: pass spool=True (--spool) to keep it in "
                "a temporary file, or give a file or a table"
            )
        with stream.spooled(data, sink, output.memory) if not data.rereadable else stream.as_is(data) as kept:
            plain = not is_pipe(sink) and not output.partition_by
            if isinstance(kept, Path) and plain and sink_format(sink, output_format) == "parquet":
                _normalize_files(
                    kept, sink, scaler, sample_weight, columns, exclude, output, progress, temporary=True
                )
            else:
                with passing("fit"):
                    scaler.fit(kept, **fitting)
                if isinstance(kept, Path):
                    scaler.summary_.files = Ledger()
                _run(kept, sink, scaler, False, output, Reading(where=where), progress)
    if not is_pipe(sink) and (is_directory(sink) or output.partition_by):
        kind = find(source, format).format if is_file_source(source) and not is_pipe(source) else "parquet"
        say_stateless(output_format or kind, saved=state is not None)
    else:
        say_stateless(sink_format(sink, output_format), saved=state is not None)
    if state is not None:
        scaler.save(state)
    return scaler


def _is_parquet_job(source: Any, sink: Any, output: Output, reading: Reading, named: set[str]) -> bool:
    """Whether a job has Parquet files in and out, row by row, and no keys of folders among its columns."""
    if reading.condition is not None or output.partition_by:
        return False
    found = find(source, reading.format)
    if not is_pipe(sink) and is_directory(sink):
        return found.format == (output.format or found.format) == "parquet" and not named & found.key_names
    return found.format == sink_format(sink, output.format) == "parquet" and not found.key_names


def _normalize_files(
    source: Any,
    sink: Any,
    scaler: BaseScaler,
    sample_weight: Any,
    columns: Columns,
    exclude: Columns,
    output: Output,
    progress: Progress | None,
    temporary: bool = False,
) -> None:
    targets = plan_targets(source, sink, output.overwrite)
    files = [file for group in targets.values() for file in group]
    for group in targets.values():
        common_schema(group)
    meter = ProgressMeter(progress, files, passes=2)
    fit_files(scaler, files, True, sample_weight, columns, exclude, output.memory, output.threads, meter)
    scaler._check_done()
    if temporary:
        scaler.summary_.files = Ledger()
    doubts.tell(scaler)
    write_files(targets, scaler, False, output, meter)
