"""What is read back from fitted states: load, merge, inspect."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from . import doubts, state
from .errors import DataError, NotMergeableError, StateError
from .locations import open_arrow, open_binary, placed
from .parquet import format as fmt
from .parquet.footer import read_footer
from .scalers import AffineMap, BaseScaler
from .stores import explained
from .summary import ColumnSummary, Summary

ARROW_FILE, ARROW_STREAM = b"ARROW1\0\0", b"\xff\xff\xff\xff"  # with which IPC files and streams begin


def load(path: str | os.PathLike[str], *, filesystem: Any = None) -> Any:
    """Read a fitted scaler from a state file or from the footer of a Parquet file that streamnorm wrote, a model, or a
    vocabulary.

    The state in a footer does not say where the files lie that it has counted.

    Parameters
    ----------
    path : path or URI
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where the path lies, if it is no URI; None: on this machine.

    Returns
    -------
    scaler, Regressor, Sequential or Vocabulary
        What was saved: of a model file, which ``save`` of a Regressor or a Sequential wrote, the model.

    Raises
    ------
    StateError
        If there is no state, or it is damaged, of an unknown version, or not what it says.
    DataError
        If there is no such file.
    """
    path = placed(path, filesystem)
    if looks_like_model(path):
        from .nn import _model_file

        return _model_file.load(path)
    if looks_like_vocabulary(path):
        from . import _text_state

        return _text_state.load(path)
    return load_scaler(path)


def load_scaler(path: str | os.PathLike[str]) -> BaseScaler:
    """:func:`load` where nothing but a scaler will do.

    Raises
    ------
    StateError
        If there is no state, or it is damaged, or it is that of a model.
    DataError
        If there is no such file.
    """
    path = placed(path)
    if looks_like_model(path):
        raise StateError(f"{os.fspath(path)}: is a model, and a scaler's state is wanted here: use predict")
    if looks_like_vocabulary(path):
        raise StateError(f"{os.fspath(path)}: is a vocabulary, and a scaler's state is wanted here: use sn.load")
    if is_arrow(path):
        return _load_arrow(path)
    if not is_parquet(path):
        return state.load(path)
    text = read_footer(path).key_value_metadata.get(state.FOOTER_KEY)
    if text is None:
        raise StateError(
            f"{os.fspath(path)}: carries no streamnorm state: give a file that has one, or name a state file"
        )
    return state.loads(text, where=f"the footer of {os.fspath(path)!r}")


def looks_like_model(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as safetensors do, with the length of a header, whose last byte is 0 as no text's is.

    Raises
    ------
    DataError
        If there is no such file.
    """
    start = _first_bytes(path, 8)
    return len(start) == 8 and start[-1] == 0 and start[:4] != fmt.MAGIC and not _starts_arrow(start)


def is_arrow(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as Arrow IPC files or streams do."""
    return _starts_arrow(_first_bytes(path, 8))


def _starts_arrow(start: bytes) -> bool:
    return start.startswith((ARROW_FILE, ARROW_STREAM))


def arrow_metadata(path: str | os.PathLike[str]) -> dict[bytes, bytes]:
    """The metadata of the schema of an Arrow IPC file or stream.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        with open_arrow(path) as file:
            is_file = _first_bytes(path, 8).startswith(ARROW_FILE)
            reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            return reader.schema.metadata or {}
    except (OSError, pa.ArrowException) as error:
        message = f"{os.fspath(path)}: cannot be read as Arrow IPC ({str(error).splitlines()[0]})"
        raise DataError(message, file=os.fspath(path)) from error


def _load_arrow(path: str | os.PathLike[str]) -> BaseScaler:
    text = arrow_metadata(path).get(state.FOOTER_KEY)
    if text is None:
        raise StateError(
            f"{os.fspath(path)}: carries no streamnorm state: give a file that has one, or name a state file"
        )
    return state.loads(text, where=f"the schema of {os.fspath(path)!r}")


def looks_like_vocabulary(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a saved vocabulary.

    Raises
    ------
    DataError
        If there is no such file.
    """
    return b'"streamnorm-vocabulary"' in _first_bytes(path, 200)


def is_state(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as the JSON of a state does.

    Raises
    ------
    DataError
        If there is no such file.
    """
    return b'"streamnorm-state"' in _first_bytes(path, 200)


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like Parquet.

    Raises
    ------
    DataError
        If there is no such file.
    """
    return _first_bytes(path, 4) == fmt.MAGIC


def _first_bytes(path: str | os.PathLike[str], count: int) -> bytes:
    try:
        with open_binary(path) as file:
            return file.read(count)
    except OSError as error:
        why = error.strerror or explained(error)
        raise DataError(f"{os.fspath(path)}: cannot be read ({why})", file=os.fspath(path)) from error


def merge(scalers: Iterable[BaseScaler | str | os.PathLike[str]], *, recount: bool = False) -> BaseScaler:
    """A new scaler that has seen what all of these have.

    Parameters
    ----------
    scalers : iterable of scalers or paths
        Paths are those of state files, or of Parquet files with a state in the footer.
    recount : bool, default False
        Count files again that more than one of them has counted.

    Raises
    ------
    NotMergeableError
        If two of them cannot be merged, or have counted the same file.
    ValueError
        If there is none.

    Examples
    --------
    >>> import streamnorm as sn
    >>> sn.merge([sn.fit([[0.0]]), sn.fit([[2.0], [4.0]])]).mean_
    array([2.])
    """
    merged: BaseScaler | None = None
    total = Summary()
    for item in scalers:
        scaler = item if isinstance(item, BaseScaler) else load_scaler(item)
        if merged is None:
            merged = type(scaler)(**scaler.get_params(deep=False))
        try:
            if merged._merges_with(scaler):
                total.absorb(scaler.summary_, recount=recount)
        except NotMergeableError as error:
            if isinstance(item, BaseScaler):
                raise
            message = f"{os.fspath(item)}: cannot be merged with those before it: {error}"
            raise NotMergeableError(message) from None
    if merged is None:
        raise ValueError("there is nothing to merge")
    if total:
        merged._adopt(total, named=total.named)
    return merged


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a state file, or the state in a Parquet file's footer, says; or a model file.

    Returns
    -------
    dict
        ``path scaler params digest`` and ``columns``: a list of dicts with ``name``, ``count``, ``null_count``,
        ``nan_count``, the statistics that were collected, and the affine map's ``center``, ``scale`` and ``offset``
        (of a Normalizer, its ``norm``);
        ``file_count``, the number of files that were counted, and ``files``: a list of dicts with ``path`` (None in
        the footer of an output), ``size``, ``footer`` and ``rows``, without files of which the number alone is known;
        ``lineage``, what an output says of where it comes from (docs/jobs.md), or None; an output that has a lineage
        and no state, such as a restored one, has no ``columns``, and its ``scaler`` and ``digest`` are None;
        ``warnings``, a list of dicts with ``code`` and ``text``, as a fit would tell them; and where there are
        quantiles, ``certificates`` of them at 99 %, dicts as :class:`~streamnorm.certificates.Certificate`, and
        ``sketch_error``, the rank error that the sketch was made for.
        ``count``, ``nan_count`` and ``weight`` are None where a footer did not tell them. Of a model: ``path kind
        streamnorm layers parameters digest``, and of a Regressor ``params features embedded imputed targets epochs
        history``.

    Raises
    ------
    StateError
        If there is no state, or it is damaged.
    """
    return inspected(path)[0]


def inspected(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Summary]:
    """What :func:`inspect` says, and the statistics, of which a model has none."""
    path = placed(path)
    if looks_like_model(path):
        from .nn import _model_file

        return _model_file.describe(path), Summary()
    from . import lineage

    metadata = _schema_metadata(path)
    if metadata is not None and state.FOOTER_KEY not in metadata and (said := lineage.read(metadata)) is not None:
        without: dict[str, Any] = {"scaler": None, "params": {}, "digest": None}
        without |= {"lineage": said, "file_count": 0, "files": [], "columns": []}
        return {"path": os.fspath(path), **without}, Summary()
    scaler = load_scaler(path)
    maps, found = scaler._all_maps(), doubts.doubts(scaler)
    methods = scaler._methods(dict.fromkeys(scaler.summary_, pa.float64()))
    said = {
        "path": os.fspath(path),
        "scaler": type(scaler).__name__,
        "params": scaler.get_params(deep=False),
        "digest": scaler.digest(),
        "lineage": lineage.read(metadata),
        "file_count": scaler.summary_.files.count,
        "files": [{**file._asdict(), "path": file.path or None} for file in scaler.summary_.files],
        "columns": [
            _describe_column(scaler.summary_[name], maps[name])
            | _certified(scaler.summary_[name], methods[name])
            | {"warnings": [asdict(doubt) for doubt in found[name]]}
            for name in scaler.summary_
        ],
    }
    return said, scaler.summary_


def _schema_metadata(path: str | os.PathLike[str]) -> dict[bytes, bytes] | None:
    """Where a Parquet or Arrow IPC file has its state and its lineage; None of other files."""
    if is_parquet(path):
        return read_footer(path).key_value_metadata
    return arrow_metadata(path) if is_arrow(path) else None


def _describe_column(column: ColumnSummary, m: AffineMap) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": column.name,
        "count": column.stats.count,
        "null_count": column.null_count,
        "nan_count": column.stats.nan_count,
    }
    if column.stats.infinite_count:
        said["infinite_count"] = column.stats.infinite_count
    if column.stats.has_extrema:
        said |= {"min": column.min, "max": column.max}
    if column.stats.weighted:
        said["weight"] = column.stats.weight
    if column.stats.has_moments:
        said |= {"mean": column.mean, "std": column.std()}
    if column.quantiles is not None:
        said |= {"median" if q == 0.5 else f"q{100 * q:g}": value for q, value in sorted(column.quantiles.items())}
    elif column.stats.has_sketch:
        quartiles = column.quantile([0.25, 0.5, 0.75])
        said |= dict(zip(("q25", "median", "q75"), map(float, quartiles), strict=True))
        said["rank_error"] = column.rank_error
    if not isinstance(m, AffineMap):
        return said | {"norm": m.norm}
    return said | {"center": m.center, "scale": m.scale, "offset": m.offset}


def _certified(column: ColumnSummary, method: BaseScaler) -> dict[str, Any]:
    """The certificates of the quartiles and of the quantiles that the method scales by, or of those that are known."""
    if column.quantiles is not None:
        return {"certificates": [asdict(each) for each in column.certificate(sorted(column.quantiles))]}
    if not column.stats.has_sketch:
        return {}
    ends = [end / 100 for end in getattr(method, "quantile_range", ())]
    certificates = column.certificate(sorted({0.25, 0.5, 0.75, *ends}))
    return {"sketch_error": column.stats.sketch.error, "certificates": [asdict(each) for each in certificates]}
