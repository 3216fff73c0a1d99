"""The job that fits: statistics of files, pass by pass, and of whatever else a scaler takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from . import doubts, stream
from ._core import ColumnStats
from .batch_jobs import (
    fitting_stream,
    keys_named,
    only_parquet,
    reading_of,
)
from .dry_run import note_columns, stop
from .errors import DataError
from .footer_fit import stats_from_footers
from .formats import ParquetPaths, listed
from .intake import intake_of
from .ledger import Ledger
from .locations import placed
from .logs import logged, passing, sizes
from .making import make_scaler
from .matching import log_columns, log_sources, matching_columns, naming
from .memory import TIGHT, parse_memory, sketch_error
from .pipeline import resolve_threads
from .quantiles import refined
from .refine import refine
from .scalers import BaseScaler
from .scalers._inputs import is_rereadable, kind_of
from .scalers._nested import leaf
from .scalers._paths import Place, check_whole_lists, expanded, has_lists, is_list, places_in, storage_type
from .scalers._select import as_names
from .scan import Progress, ProgressMeter, ScanUnit, place_batches, scan
from .sources import ParquetInput, ReaderCache, check_same_types, find_files, is_file_source
from .states import load_scaler
from .summary import Summary
from .update import check_same_wishes, check_uncounted, counted_file, updated

Columns = str | Sequence[str] | None
Types = Mapping[str, Any] | None
DEFAULT_MEMORY = "256MB"


@logged("fit")
def fit(
    source: Any,
    method: Any = None,
    *,
    sample_weight: Any = None,
    columns: Columns = None,
    exclude: Columns = None,
    exact: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
    spool: bool = False,
    update: BaseScaler | str | os.PathLike[str] | None = None,
    recount: bool = False,
    preset: str | None = None,
    constant: str | None = None,
    infinite: str | None = None,
    ddof: int | None = None,
    eps: float | None = None,
    format: str | None = None,
    where: str | None = None,
    types: Types = None,
    filesystem: Any = None,
) -> BaseScaler:
    """Compute normalization statistics of a source.

    Parameters
    ----------
    source : path, URI, list of those, glob, directory, or data
        Files of one format, on this machine or in a store (``s3://bucket/trips/*.parquet``), or anything that a
        scaler's ``fit`` takes. "-" is standard input.
    method : {"standard", "minmax", "maxabs", "robust"}, scaler, or mapping
        A mapping gives a column, or a tuple of columns, a method of its own. None: "standard", or that of `update`.
    sample_weight : str, array-like of shape (n_rows,), or None
        The column that holds the weights of the rows, which is then not normalized unless `columns` names it; for
        data in memory also the weights themselves. As for a scaler's ``fit``.
    columns, exclude : str, sequence of str, or None
        Which columns; None: every integer, float and decimal column.
    exact : bool, default False
        Make the methods that are given by name exact: moments correctly rounded, quantiles without error (see
        :class:`StandardScaler` and :class:`RobustScaler`, whose own parameter it is). Minima and maxima always are.
    memory : str or int, default "256MB"
        Bound of buffers and sketches, and of what exact quantiles keep.
    threads : int or None
        Worker threads; None: one a core. The result does not depend on it.
    progress : callable, optional
        Called with rows done, rows in all (or None) and bytes done. Rows of files count once for each pass, and rows in
        all grow when exact quantiles need another one.
    spool : bool, default False
        Keep a source that can be read only once in a temporary file where exact quantiles need it again.
    update : scaler or path, optional
        A fitted scaler, or the file that one was saved to: only the files of the source that it has not counted are
        read, and the result has seen both. Neither the scaler nor the file is changed. Columns and method are those of
        the state; `sample_weight` is to be given again. Of files that it has counted the footers are read, to know
        them by; one of the same size and footer as a counted file that is gone is taken for that one, moved.
    recount : bool, default False
        With `update`: count files that have changed since they were counted, as they are now and beside what was
        counted, and copies of counted files.
    preset : {"sklearn", "spark", "keras", "lerobot"} or None
        Do as that system does: a bundle of parameters for methods that are given by name. What is given beside it
        comes first.
    constant, infinite, ddof, eps : str, str, int, float, or None
        The parameters of these names (see :class:`StandardScaler`) of the methods that are given by name.
    format : {"parquet", "arrow", "arrows", "csv", "tsv", "jsonl"} or None
        Of the files: Parquet, Arrow IPC file or stream, CSV with commas or tabs and a header line, an object of JSON a
        line. None: by their names; for standard input "arrows".
    where : str or None
        Which rows: a condition such as ``"distance > 500 and zone in ('a', 'b')"``, as after SQL's WHERE. Row groups of
        Parquet files and folders of a Hive layout that it rules out are not read.
    types : mapping of str to str or pyarrow.DataType, or None
        Of columns of CSV and JSON lines, such as ``{"zone": "string", "fare": "float32"}``; those of the others are
        inferred from the first 4 MB.
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where the files lie, if they are no URIs; None: on this machine.

    Returns
    -------
    scaler
        Fitted; the very object if `method` is a scaler, a new one with `update`, and for a :class:`ColumnScaler` with
        `exact`.

    Warns
    -----
    StreamnormWarning
        As a scaler's ``fit``; with `update`, also of counted files that are no longer there.

    Raises
    ------
    DataError
        If a file, row group or column is at fault, which the error names; with `update`, if a file has changed since
        it was counted, is a copy of a counted one, or what is asked for beside `update` is not what the state has. If
        the source can be read only once, and exact quantiles need it again, unless `spool` is true.
    NotMergeableError
        If the state to update does not know which files it has counted, or cannot be added to.
    ValueError
        If an argument is out of its domain, `exact` is asked for with a scaler that is not, or comes with weights, or
        rules come with a scaler, which has its own.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> scaler = sn.fit(pa.table({"fare": [2.0, 4.0, 9.0]}), "minmax")
    >>> scaler.data_max_
    array([9.])
    """
    if isinstance(source, (list, tuple)) and not source:
        find_files(source)  # raises
    rules = dict(preset=preset, constant=constant, infinite=infinite, ddof=ddof, eps=eps)
    reading = reading_of(format, where, types)
    source = placed(source, filesystem)
    if update is not None:
        if where is not None or not only_parquet(source, format):
            raise DataError(
                "update tells new Parquet files from counted ones, and neither filtered rows (where) nor other "
                "formats or pipes are counted by file: fit what is new by itself, and merge"
            )
        if method is None and any(value is not None for value in rules.values()):
            raise ValueError("update goes by the rules of the state: leave them out, or name the method, too")
        wanted = None if method is None else make_scaler(method, exact, **rules)
        size = parse_memory(memory)
        workers = resolve_threads(threads, size)

        def fit_new(scaler: BaseScaler, files: Sequence[ParquetInput]) -> None:
            fit_files(
                scaler, files, False, sample_weight, None, None, size, workers, ProgressMeter(progress, files)
            )

        old = update if isinstance(update, BaseScaler) else load_scaler(placed(update, filesystem))
        check_same_wishes(old, wanted, method, columns, exclude, exact, sample_weight)
        scaler = updated(source, old, fit_new, recount=recount)
        doubts.tell_what_is_new(scaler, old.summary_)
        return scaler
    if recount:
        raise ValueError("recount goes with update: without a state to update, nothing was counted before")
    scaler = make_scaler("standard" if method is None else method, exact, **rules)
    options: dict[str, Any] = dict(columns=columns, exclude=exclude, memory=memory, threads=threads, progress=progress)
    options["sample_weight"] = sample_weight
    scaler._check_params()
    size = parse_memory(memory)
    named = keys_named(scaler, columns, sample_weight)
    source = source if isinstance(source, ParquetPaths) else listed(source, format)
    intake = intake_of(source, reading.format, reading.condition, size, named, reading.types)
    if intake is not None:
        ahead = resolve_threads(threads, size) > 1
        source = fitting_stream(scaler, intake, sample_weight, columns, exclude, reset=True, ahead=ahead)
        options["exclude"] = None  # what is left out is not read
    elif is_file_source(source):
        source = ParquetPaths(find_files(source))
    if not (spool and scaler._rereads()) or is_file_source(source) or is_rereadable(source):
        with passing("fit") if intake is not None else nullcontext():
            return scaler.fit(source, **options)
    with (
        TemporaryDirectory(prefix="streamnorm-") as folder,
        stream.spooled(stream.open_stream(source), Path(folder) / "source", parse_memory(memory)) as kept,
    ):
        scaler.fit(kept, **options)
        scaler.summary_.files = Ledger()  # what was spooled is nowhere to be found again
        return scaler


def fit_into(
    scaler: BaseScaler,
    X: Any,
    *,
    reset: bool,
    sample_weight: Any,
    columns: Columns,
    exclude: Columns,
    memory: str | int,
    threads: int | None,
    progress: Progress | None,
    recount: bool = False,
    format: str | None = None,
    where: str | None = None,
    types: Types = None,
    filesystem: Any = None,
) -> None:
    """The part of a scaler's ``fit`` and ``partial_fit`` that reads files and datasets, and filters rows."""
    asked = reading_of(format, where, types)
    if not isinstance(X, ParquetPaths):
        X = listed(placed(X, filesystem), format)
    named = keys_named(scaler, columns, sample_weight)
    intake = intake_of(X, asked.format, asked.condition, parse_memory(memory), named, asked.types)
    if intake is None and kind_of(X) != "files" and not is_file_source(X):
        scaler._fit(
            X, sample_weight, reset=reset, columns=columns, exclude=exclude, progress=progress, memory=memory,
            threads=threads,
        )  # fmt: skip
        return
    if intake is not None or not is_file_source(X):
        if intake is None:
            source = stream.open_stream(X)
        else:
            ahead = resolve_threads(threads, parse_memory(memory)) > 1
            source = fitting_stream(scaler, intake, sample_weight, columns, exclude, reset=reset, ahead=ahead)
            exclude = None
        reading = dict(memory=memory, threads=threads, progress=progress)
        scaler._fit(source, sample_weight, reset=reset, columns=columns, exclude=exclude, **reading)
        return
    files = open_files(X)
    if not reset and not recount:
        check_uncounted(scaler.summary_.files, files)
    meter = ProgressMeter(progress, files)
    size = parse_memory(memory)
    fit_files(scaler, files, reset, sample_weight, columns, exclude, size, resolve_threads(threads, size), meter)


def open_files(source: Any) -> list[ParquetInput]:
    """The Parquet files of a source, opened as far as their footers."""
    return [ParquetInput(path) for path in find_files(source)]


def fit_files(
    scaler: BaseScaler,
    files: Sequence[ParquetInput],
    reset: bool,
    weight: Any,
    columns: Columns,
    exclude: Columns,
    memory: int,
    threads: int,
    meter: ProgressMeter,
) -> None:
    """Fit a scaler on Parquet files, anew or beside what it has seen."""
    scaler._check_params()
    _check_weight(scaler, weight)
    names = _columns_to_fit(scaler, files, reset, weight, columns, exclude)
    if not any(file.num_rows for file in files):
        raise files[0].error("holds no rows, and a fit needs at least one")
    log_columns("fitting", names, files[0])
    rows = sum(file.num_rows for file in files)
    if scaler._takes_lists:
        with naming(files[0]):
            check_whole_lists(files[0].schema, names)
    stats, source = stats_from_footers(scaler, files, names, weight)
    log_sources(source)
    places = places_in(files[0].schema.names, names)
    scanned = [(place, its) for place, its in places if its[0] not in stats]
    nested = {place.name: (place, its) for place, its in scanned if _is_nested(files[0], place)}
    rest = [place.name for place, _ in scanned]
    if rest:
        sketches = len(names) * (1 if weight is None else 2)  # one that holds weights takes up to twice the memory
        error = sketch_error(sketches, rows, memory)
        # No more units than rows were read before, so that no sketch has the seed of one that it is merged with.
        first_seed = 0 if reset else scaler.summary_.rows

        def new_stats(name: str, seed: int) -> ColumnStats:
            return scaler._new_stats(name, first_seed + seed, error)

        reading: dict[str, Any] = dict(weight=weight, memory=memory, threads=threads, meter=meter)
        with passing("fit", **sizes(files)):
            stats |= scan(files, rest, new_stats, of=len(places), nested=nested, **reading)
    else:
        meter.skip(rows)
    lists = {name: rows for name in names if name in nested and has_lists(files[0].schema, nested[name][0])}
    found = Summary({name: stats.pop(name) for name in names}, source=source, passes=1 if rest else 0, lists=lists)
    if scaler._rereads():
        read = partial(_refine, files, found, memory=memory, threads=threads, meter=meter, nested=nested)
        found = refined(found, scaler._exact_quantiles, read, memory=memory // 3, threads=threads)
    for file in files:
        file.check_unchanged()
    found.files = Ledger(map(counted_file, files))
    if reset:
        scaler._adopt(found, named=True)
    else:
        summary = scaler.summary_.copy()
        summary.absorb(found, recount=True)  # the files were checked by those who know where they are
        scaler._adopt(summary, named=True)


def _refine(files: Sequence[ParquetInput], *args: Any, **options: Any) -> None:
    with passing("refine", **sizes(files)):
        refine(files, *args, **options)


def _check_weight(scaler: BaseScaler, weight: Any) -> None:
    if weight is None:
        return
    scaler._check_weighable()
    if not isinstance(weight, str):
        raise DataError("files take the weights of their rows from a column: pass its name as sample_weight")


def _columns_to_fit(
    scaler: BaseScaler,
    files: Sequence[ParquetInput],
    reset: bool,
    weight: str | None,
    columns: Columns,
    exclude: Columns,
) -> list[str]:
    first = files[0]
    with naming(first):
        if reset:
            names = scaler._plan_weighted(first.schema, columns, exclude, weight)
            note_columns(scaler, names, first.schema)
            names = expanded(first.schema, names, partial(_arrays_at, files))
        else:
            names = matching_columns(scaler, first, weight)
            note_columns(scaler, names, first.schema)
    wanted = as_names(columns)
    places = [place for place, _ in places_in(first.schema.names, names)]
    asked = [place.name for place in places]
    if not reset and wanted is not None and set(wanted) != set(asked):
        raise DataError(f"this scaler was fitted on the columns {asked}: use the same ones, or fit anew")
    read = list(dict.fromkeys(place.column for place in places))
    check_same_types(files, read if weight is None else [*read, weight])
    return names


def _arrays_at(files: Sequence[ParquetInput], place: Place) -> Iterator[pa.Array]:
    """What lies at a place of files, in small batches."""
    stop()
    readers, nested = ReaderCache(), {place.name: (place, ())}
    try:
        for file in files:
            for group in range(len(file.footer.row_groups)):
                unit = ScanUnit(file, range(group, group + 1), 0, (place.name,), 0)
                for (array,) in place_batches(unit, readers, nested, TIGHT):
                    yield leaf(array, place.fields)
    finally:
        readers.close()


def _is_nested(file: ParquetInput, place: Place) -> bool:
    """Whether values are inside of structs or lists."""
    return bool(place.fields) or place.each or is_list(storage_type(file.schema.field(place.column).type))
