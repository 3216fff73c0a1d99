"""The jobs: fit, transform, inverse and normalize, from any source to any sink, and what is read back from them."""

# Design: a job over Parquet files runs in passes of its own (scan.py, apply.py), which know row groups and columns; a
# job over anything else is a stream of record batches, fitted by the scaler and written row group by row group
# (stream.py). Both end in the same pages and the same footer. Errors that the metadata can show (a missing column, a
# target that exists) come before the first value is read.

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import state, stream
from .apply import ParquetJob, Transform, common_schema
from .atomic import AtomicFile, check_target
from .errors import DataError, NotMergeableError, StateError, StreamnormError
from .memory import parse_memory, sketch_error
from .parquet.footer import read_footer
from .parquet.format import Compression
from .pipeline import resolve_threads
from .plan import describe, describe_columns, plan_spans
from .scalers import METHODS, AffineMap, BaseScaler, ColumnScaler
from .scalers._select import as_names, check_columns
from .scan import Progress, ProgressMeter, scan
from .sources import ParquetInput, check_same_types, find_files, is_file_source
from .summary import ColumnSummary, Summary

logger = logging.getLogger("streamnorm")

Columns = str | Sequence[str] | None
DEFAULT_MEMORY = "256MB"


# ------------------------------------------------------------------------------------------------ fit


def make_scaler(method: Any) -> BaseScaler:
    """The scaler that ``method=`` means: a name, a scaler, or a mapping of columns to methods.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if isinstance(method, BaseScaler):
        return method
    if isinstance(method, Mapping):
        return ColumnScaler(dict(method))
    if method in METHODS:
        return METHODS[method]()
    known = ", ".join(repr(name) for name in METHODS)
    raise ValueError(f"method must be one of {known}, a scaler, or a mapping of columns to those, got {method!r}")


def fit(
    source: Any,
    method: Any = "standard",
    *,
    columns: Columns = None,
    exclude: Columns = None,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BaseScaler:
    """Compute normalization statistics of a source in one pass.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        Parquet files, or anything that a scaler's ``fit`` takes.
    method : {"standard", "minmax", "maxabs", "robust"}, scaler, or mapping
        A mapping gives a column, or a tuple of columns, a method of its own.
    columns, exclude : str, sequence of str, or None
        Which columns; None: every integer, float and decimal column.
    memory : str or int, default "256MB"
        Bound of buffers and sketches.
    threads : int or None
        Worker threads; None: one a core. The result does not depend on it.
    progress : callable, optional
        Called with rows done, rows in all (or None) and bytes done.

    Returns
    -------
    scaler
        Fitted; the very object if `method` is a scaler.

    Raises
    ------
    DataError
        If a file, row group or column is at fault, which the error names.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> scaler = sn.fit(pa.table({"fare": [2.0, 4.0, 9.0]}), "minmax")
    >>> scaler.data_max_
    array([9.])
    """
    if isinstance(source, (list, tuple)) and not source:
        find_files(source)  # raises
    return make_scaler(method).fit(
        source, columns=columns, exclude=exclude, memory=memory, threads=threads, progress=progress
    )


def fit_into(
    scaler: BaseScaler,
    X: Any,
    *,
    reset: bool,
    columns: Columns,
    exclude: Columns,
    memory: str | int,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """The part of a scaler's ``fit`` and ``partial_fit`` that reads files and datasets."""
    if not is_file_source(X):
        reader = stream.dataset_reader(X)
        options = dict(columns=columns, exclude=exclude, memory=memory, threads=threads, progress=progress)
        (scaler.fit if reset else scaler.partial_fit)(reader, **options)
        return
    files = open_files(X)
    meter = ProgressMeter(progress, files)
    size = parse_memory(memory)
    _fit_files(scaler, files, reset, columns, exclude, size, resolve_threads(threads, size), meter)


def open_files(source: Any) -> list[ParquetInput]:
    """The Parquet files of a source, opened as far as their footers."""
    return [ParquetInput(path) for path in find_files(source)]


def _fit_files(
    scaler: BaseScaler,
    files: Sequence[ParquetInput],
    reset: bool,
    columns: Columns,
    exclude: Columns,
    memory: int,
    threads: int,
    meter: ProgressMeter,
) -> None:
    scaler._check_params()
    names = _columns_to_fit(scaler, files, reset, columns, exclude)
    if not any(file.num_rows for file in files):
        raise files[0].error("holds no rows, and a fit needs at least one")
    _log_columns("fitting", names, files[0])
    new_stats = partial(scaler._new_stats, error=sketch_error(len(names), sum(file.num_rows for file in files), memory))
    found = Summary(scan(files, names, new_stats, memory=memory, threads=threads, meter=meter))
    if reset:
        scaler._adopt(found, named=True)
    else:
        summary = scaler.summary_.copy()
        summary.merge(found)
        scaler._adopt(summary, named=True)


def _columns_to_fit(
    scaler: BaseScaler, files: Sequence[ParquetInput], reset: bool, columns: Columns, exclude: Columns
) -> list[str]:
    first = files[0]
    with _naming(first):
        names = scaler._plan(first.schema, columns, exclude) if reset else matching_columns(scaler, first)
    wanted = as_names(columns)
    if not reset and wanted is not None and set(wanted) != set(names):
        raise DataError(f"this scaler was fitted on the columns {names}: use the same ones, or fit anew")
    check_same_types(files, names)
    return names


class _naming:
    """Adds the file to a DataError that came from its schema alone."""

    def __init__(self, file: ParquetInput) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DataError) and error.file is None:
            raise DataError(f"{self._file.path}: {error}", file=str(self._file.path), column=error.column) from None


def matching_columns(scaler: BaseScaler, file: ParquetInput) -> list[str]:
    """The columns of a file that a fitted scaler speaks of, in the scaler's order."""
    with _naming(file):
        return columns_in(scaler, file.schema)


def columns_in(scaler: BaseScaler, schema: pa.Schema) -> list[str]:
    """The columns of a schema that a fitted scaler speaks of: by name, or by position if it was fitted on an array.

    Raises
    ------
    DataError
        If one is missing or not numeric, or their number is another.
    """
    if scaler.summary_.named:
        names = list(scaler.summary_)
        check_columns(schema, names)
        return names
    names = scaler._plan(schema)
    if len(names) != len(scaler.summary_):
        raise DataError(
            f"there are {len(names)} numeric columns, and the scaler was fitted on an array of {len(scaler.summary_)}"
        )
    return names


def _log_columns(doing: str, names: Sequence[str], file: ParquetInput) -> None:
    """Say which columns a pass works on and which it leaves alone."""
    chosen = set(names)
    passing = [name for name in file.schema.names if name not in chosen]
    logger.info(
        "%s",
        describe_columns(doing, names, passing),
        extra={"event": "columns", "columns": list(names), "passing": passing},
    )


# ------------------------------------------------------------------------------------------------ transform


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How results are written; see `transform` for the meaning of each."""

    dtype: Any = None
    compression: str | None = "snappy"
    compression_level: int | None = None
    row_group_size: int | None = None
    overwrite: bool = False
    memory: str | int = DEFAULT_MEMORY
    threads: int | None = None

    def checked(self) -> _Output:
        """The same, validated.

        Raises
        ------
        ValueError
            Names the option that makes no sense.
        """
        size = self.row_group_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"row_group_size must be a positive number of rows or None, got {size!r}")
        return _Output(
            _float_dtype(self.dtype),
            Compression.of(self.compression, self.compression_level),
            size,
            self.overwrite,
            parse_memory(self.memory),
            resolve_threads(self.threads, parse_memory(self.memory)),
        )


@dataclass(frozen=True, slots=True)
class _Output:
    dtype: np.dtype | None
    compression: Compression
    row_group_size: int | None
    overwrite: bool
    memory: int
    threads: int


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
) -> int | pa.RecordBatchReader:
    """Apply a fitted scaler to a source and write the result.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        As for `fit`.
    sink : path or None
        A file: all inputs go into it, in sorted order of their paths. An existing directory, or a path that ends in a
        slash: one output per input, by relative name. None: nothing is written.
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
    memory, threads, progress
        As for `fit`.

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
    options = OutputOptions(dtype, compression, compression_level, row_group_size, overwrite, memory, threads)
    scaler._check_fitted()
    return _run(source, sink, scaler, False, options.checked(), progress)


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
) -> int | pa.RecordBatchReader:
    """Undo `transform`, up to rounding and clipping.

    Parameters
    ----------
    source, sink, dtype, compression, compression_level, row_group_size, overwrite, memory, threads, progress
        As for `transform`.
    scaler : scaler or None
        None: the state in the source's own footer.

    Returns
    -------
    int or pyarrow.RecordBatchReader
        As for `transform`.

    Raises
    ------
    StateError
        If `scaler` is None and the source carries no state, or its files carry different ones.
    """
    options = OutputOptions(dtype, compression, compression_level, row_group_size, overwrite, memory, threads)
    checked = options.checked()
    if scaler is None:
        scaler = _scaler_of_source(source)
    scaler._check_fitted()
    return _run(source, sink, scaler, True, checked, progress)


def _scaler_of_source(source: Any) -> BaseScaler:
    if not is_file_source(source):
        raise StateError("data in memory carries no state: pass the scaler")
    scalers = {path: load(path) for path in find_files(source)}
    first, *others = scalers
    for path in others:
        if state.dumps(scalers[path]) != state.dumps(scalers[first]):
            raise StateError(
                f"{path}: was normalized differently than {first}: undo them one by one, or pass the scaler (--state)"
            )
    return scalers[first]


def _run(
    source: Any, sink: Any, scaler: BaseScaler, undo: bool, output: _Output, progress: Progress | None
) -> int | pa.RecordBatchReader:
    if not is_file_source(source):
        return _run_stream(stream.open_stream(source), sink, scaler, undo, output, progress)
    targets = plan_targets(source, sink, output.overwrite)
    files = [file for group in targets.values() for file in group]
    if sink is None:
        return _reader(files, scaler, undo, output)
    return _write_files(targets, scaler, undo, output, ProgressMeter(progress, files))


def _run_stream(
    source: stream.Stream, sink: Any, scaler: BaseScaler, undo: bool, output: _Output, progress: Progress | None
) -> int | pa.RecordBatchReader:
    def transform_for(schema: pa.Schema) -> Transform:
        return _transform_of(scaler, undo, output, columns_in(scaler, schema))

    return stream.run(source, sink, transform_for, _state_entry(scaler, undo), output, progress)


def plan_targets(source: Any, sink: Any, overwrite: bool) -> dict[Path | None, list[ParquetInput]]:
    """Which inputs go to which output file.

    Raises
    ------
    DataError
        If two inputs would go to the same output.
    StreamnormError
        If an output exists and may not be replaced, or cannot be written where it is wanted.
    """
    found = find_files(source)
    targets: dict[Path | None, list[ParquetInput]] = {}
    if sink is None:
        targets[None] = [ParquetInput(path) for path in found]
    elif not _is_directory(sink):
        check_target(sink, overwrite=overwrite)
        targets[Path(sink)] = [ParquetInput(path) for path in found]
    else:
        if Path(sink).is_file():
            raise StreamnormError(f"{Path(sink)}: is a file; for a directory, choose another name")
        for path, name in found.items():
            target = Path(sink) / name
            if target in targets:
                raise DataError(f"{path}: another input goes to {target}, too; write them one by one", file=str(path))
            targets[target] = [ParquetInput(path)]
        for target in targets:
            if target.parent.is_dir():
                check_target(target, overwrite=overwrite)
    return targets


def _is_directory(sink: Any) -> bool:
    return os.fspath(sink).endswith(("/", os.sep)) or Path(sink).is_dir()


def _transform_of(scaler: BaseScaler, undo: bool, output: _Output, names: Sequence[str]) -> Transform:
    return Transform(dict(zip(names, scaler._maps().values(), strict=True)), undo, output.dtype)


def _state_entry(scaler: BaseScaler, undo: bool) -> dict[bytes, bytes]:
    return {} if undo else {state.FOOTER_KEY: state.dump_line(scaler)}


def _write_files(
    targets: Mapping[Path | None, Sequence[ParquetInput]],
    scaler: BaseScaler,
    undo: bool,
    output: _Output,
    meter: ProgressMeter,
) -> int:
    jobs = []
    for target, files in targets.items():
        names = [matching_columns(scaler, file) for file in files][0]
        check_same_types(files, names)
        common_schema(files)
        _log_columns("undoing" if undo else "normalizing", names, files[0])
        spans = [span for file in files for span in plan_spans(file, output.memory, output.row_group_size)]
        jobs.append((target, files, spans, names))
    entry = _state_entry(scaler, undo)
    # The sketches, their text, and its copy in the footer are held all along: thousands of columns make them large.
    memory = max(output.memory - 3 * sum(map(len, entry.values())), output.memory // 2)
    rows = 0
    for target, files, spans, names in jobs:
        target.parent.mkdir(parents=True, exist_ok=True)  # of a sink that is a directory
        change = describe(spans)
        if change:
            logger.info("%s: %s", target, change, extra={"event": "row_groups", "target": str(target)})
        job = ParquetJob(
            files,
            spans,
            _transform_of(scaler, undo, output, names),
            output.compression,
            entry,
            memory,
            output.threads,
        )
        with AtomicFile(target, overwrite=output.overwrite) as file:
            rows += job.run(file, meter)
            file.commit()
    return rows


def _reader(files: Sequence[ParquetInput], scaler: BaseScaler, undo: bool, output: _Output) -> pa.RecordBatchReader:
    names = [matching_columns(scaler, file) for file in files][0]
    check_same_types(files, names)
    change = _transform_of(scaler, undo, output, names)
    schema = common_schema(files)
    return stream.transformed_reader(schema, stream.file_batches(files, schema, output.memory), change)


# ------------------------------------------------------------------------------------------------ normalize


def normalize(
    source: Any,
    sink: str | os.PathLike[str] | None,
    method: Any = "standard",
    *,
    columns: Columns = None,
    exclude: Columns = None,
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
) -> BaseScaler:
    """Fit a scaler on a source, and write the source normalized by it.

    Parameters
    ----------
    source, method, columns, exclude, memory, threads, progress
        As for `fit`. Rows count twice in `progress`, once for each pass.
    sink, dtype, compression, compression_level, row_group_size, overwrite
        As for `transform`.
    state : path, optional
        Also save the fitted state there. The footer of the output carries it in any case.
    spool : bool, default False
        Keep a source that can be read only once in a temporary file beside the sink.

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
    scaler = make_scaler(method)
    if sink is None:
        raise ValueError("normalize writes a file: name the sink, or use fit and transform")
    output = OutputOptions(
        dtype, compression, compression_level, row_group_size, overwrite, memory, threads
    ).checked()
    if state is not None:
        _check_state_target(Path(state), find_files(source) if is_file_source(source) else {}, sink)
    if is_file_source(source):
        _normalize_files(source, sink, scaler, columns, exclude, output, progress)
    else:
        data = stream.open_stream(source)
        if not data.rereadable and not spool:
            raise DataError(
                "the source can be read only once, and normalize reads twice: pass spool=True to keep it in a "
                "temporary file, or give a file or a table"
            )
        with stream.spooled(data, sink, output.memory) if not data.rereadable else stream.as_is(data) as kept:
            if isinstance(kept, Path):
                _normalize_files(kept, sink, scaler, columns, exclude, output, progress)
            else:
                scaler.fit(kept.reader(), columns=columns, exclude=exclude)
                _run_stream(kept, sink, scaler, False, output, progress)
    if state is not None:
        scaler.save(state)
    return scaler


def _check_state_target(target: Path, inputs: Mapping[Path, Path], sink: str | os.PathLike[str]) -> None:
    """Raise StreamnormError, before the work begins, if the state cannot be saved there or would replace data."""
    if target.is_dir():
        raise StreamnormError(f"{target}: is a directory; name a file for the state in it")
    if not target.parent.is_dir():
        raise StreamnormError(f"{target}: there is no directory {target.parent} for the state; make it first")
    outputs = [Path(sink) / name for name in inputs.values()] if _is_directory(sink) else [Path(sink)]
    if os.path.realpath(target) in map(os.path.realpath, [*inputs, *outputs]):
        raise StreamnormError(f"{target}: is to hold data, not the state; give the state a file of its own")


def _normalize_files(
    source: Any,
    sink: Any,
    scaler: BaseScaler,
    columns: Columns,
    exclude: Columns,
    output: _Output,
    progress: Progress | None,
) -> None:
    targets = plan_targets(source, sink, output.overwrite)
    files = [file for group in targets.values() for file in group]
    for group in targets.values():
        common_schema(group)
    meter = ProgressMeter(progress, files, passes=2)
    _fit_files(scaler, files, True, columns, exclude, output.memory, output.threads, meter)
    _write_files(targets, scaler, False, output, meter)


# ------------------------------------------------------------------------------------------------ states


def load(path: str | os.PathLike[str]) -> BaseScaler:
    """Read a fitted scaler from a state file, or from the footer of a Parquet file that streamnorm wrote.

    Raises
    ------
    StateError
        If there is no state, or it is damaged.
    DataError
        If there is no such file.
    """
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read ({error.strerror})", file=os.fspath(path)) from error
    if magic != b"PAR1":
        return state.load(path)
    text = read_footer(path).key_value_metadata.get(state.FOOTER_KEY)
    if text is None:
        raise StateError(
            f"{os.fspath(path)}: carries no streamnorm state: give a file that has one, or name a state file"
        )
    return state.loads(text, where=f"the footer of {os.fspath(path)!r}")


def merge(scalers: Iterable[BaseScaler | str | os.PathLike[str]]) -> BaseScaler:
    """A new scaler that has seen what all of these have.

    Parameters
    ----------
    scalers : iterable of scalers or paths
        Paths are those of state files, or of Parquet files with a state in the footer.

    Raises
    ------
    NotMergeableError
        If two of them cannot be merged.
    ValueError
        If there is none.

    Examples
    --------
    >>> import streamnorm as sn
    >>> sn.merge([sn.fit([[0.0]]), sn.fit([[2.0], [4.0]])]).mean_
    array([2.])
    """
    merged: BaseScaler | None = None
    for item in scalers:
        scaler = item if isinstance(item, BaseScaler) else load(item)
        if merged is None:
            merged = type(scaler)(**scaler.get_params(deep=False))
        try:
            merged.merge(scaler)
        except NotMergeableError as error:
            if isinstance(item, BaseScaler):
                raise
            message = f"{os.fspath(item)}: cannot be merged with those before it: {error}"
            raise NotMergeableError(message) from None
    if merged is None:
        raise ValueError("there is nothing to merge")
    return merged


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a state file, or the state in a Parquet file's footer, says.

    Returns
    -------
    dict
        ``path scaler params digest`` and ``columns``: a list of dicts with ``name``, ``count``, ``null_count``,
        ``nan_count``, the statistics that were collected, and the affine map's ``center``, ``scale`` and ``offset``.

    Raises
    ------
    StateError
        If there is no state, or it is damaged.
    """
    scaler = load(path)
    maps = scaler._maps()
    return {
        "path": os.fspath(path),
        "scaler": type(scaler).__name__,
        "params": scaler.get_params(deep=False),
        "digest": scaler.digest(),
        "columns": [_describe_column(scaler.summary_[name], maps[name]) for name in scaler.summary_],
    }


def _describe_column(column: ColumnSummary, m: AffineMap) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": column.name,
        "count": column.count,
        "null_count": column.null_count,
        "nan_count": column.nan_count,
        "min": column.min,
        "max": column.max,
    }
    if column.stats.has_moments:
        said |= {"mean": column.mean, "std": column.std()}
    if column.stats.sketch is not None:
        quartiles = column.quantile([0.25, 0.5, 0.75])
        said |= dict(zip(("q25", "median", "q75"), map(float, quartiles), strict=True))
        said["rank_error"] = column.rank_error
    return said | {"center": m.center, "scale": m.scale, "offset": m.offset}
