"""Where an output comes from: by which scaler and options, from which files, and what those came from."""

# Design: the lineage stands beside the state under a key of its own, so that a reader of either needs to know nothing
# of the other. It has no times and no folders above the inputs' own: the same inputs give the same bytes, wherever and
# whenever. A file is told by its size and the hash of its footer, as in the ledger; other formats have no footer that
# says as much, and are told by a hash of samples, as a hash of all of it would read them once more. What comes from a
# hundred thousand files is told by their number, the hash of their list, and the first and the last name.

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from . import state
from ._version import __version__
from .ledger import FOOTER_FILES, HASH_DIGITS, short_hash
from .locations import StorePath, open_binary
from .scalers import METHODS, AffineMap, BaseScaler
from .state import LINEAGE_KEY

FORMAT, VERSION = "streamnorm-lineage", 1
DEPTH = 4  # generations, that of the output included
PARENTS = 8  # different ones of a generation
PARENT_BYTES = 1 << 18  # of all of them; columns are left out first
SAMPLES, SAMPLE_BYTES = 16, 1 << 16
_TEMPORARY = ".streamnorm-tmp"


@dataclass(frozen=True)
class Origin:
    """An input of a job.

    Attributes
    ----------
    path : path or None
        None for standard input and data in memory.
    rows : int or None
        Where they are known before they are read.
    size : int or None
    footer : str or None
        The hash of a Parquet file's footer.
    metadata : mapping
        Of its schema, where its own lineage may be.
    """

    path: Path | StorePath | None
    rows: int | None = None
    size: int | None = None
    footer: str | None = None
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)


def of_parquet(file: Any) -> Origin:
    """An open Parquet file; one that a pipe was spooled to has no name."""
    footer = file.footer
    if str(file.path).endswith(_TEMPORARY):
        return Origin(None, file.num_rows, metadata=footer.key_value_metadata)
    named = footer.sha256[:HASH_DIGITS]
    return Origin(file.path, file.num_rows, footer.file_size, named, footer.key_value_metadata)


class Lineage:
    """The lineage of the outputs of one job.

    Parameters
    ----------
    scaler : scaler
        Fitted.
    undo : bool
    options : mapping
        Those that change the result, and were given.

    Attributes
    ----------
    nbytes : int
        What all outputs have of it, about.
    """

    def __init__(self, scaler: BaseScaler, undo: bool, options: Mapping[str, Any]) -> None:
        summary = scaler.summary_
        head = {
            "format": FORMAT,
            "version": VERSION,
            "streamnorm": __version__,
            "operation": "inverse" if undo else "transform",
            "digest": scaler.digest(),
            "scaler": state._encode_scaler(scaler),
            "options": {name: value for name, value in options.items() if value is not None},
            "fitted": {"rows": summary.rows, "files": summary.files.count},
            "columns": _columns(scaler),
        }
        self._begin(head)

    @classmethod
    def of_model(cls, model: Any, added: Sequence[str], options: Mapping[str, Any]) -> Self:
        """The lineage of outputs to which a fitted Regressor has added columns of predictions."""
        from .nn import _model_file

        made = cls.__new__(cls)
        targets = model.target_names_ or [None] * len(added)
        made._begin(
            {
                "format": FORMAT,
                "version": VERSION,
                "streamnorm": __version__,
                "operation": "predict",
                "digest": _model_file.digest_of(model),
                "model": {
                    "class": type(model).__name__,
                    "version": _model_file.VERSION,
                    "features": list(model.feature_names_in_),
                },
                "options": {name: value for name, value in options.items() if value is not None},
                "columns": [
                    {"name": name, "method": "predict", "target": target}
                    for name, target in zip(added, targets, strict=True)
                ],
            }
        )
        return made

    def _begin(self, head: dict[str, Any]) -> None:
        self._head = _plain(head)
        self.nbytes = len(self._head)

    def entry(self, origins: Iterable[Origin], root: str | None = None) -> dict[bytes, bytes]:
        """What goes into the metadata of an output of these inputs, whose names are those below `root`."""
        inputs, parents = _Inputs(), _Parents()
        for origin in origins:
            inputs.add(_file(origin, root))
            parents.add(origin.metadata)
        said = {**inputs.said(), **parents.said()}
        return {LINEAGE_KEY: (self._head[:-1] + ", " + _plain(said)[1:]).encode()}


def root_of(paths: Iterable[str | os.PathLike[str]]) -> str | None:
    """The folder that all of these lie in or below; None if there is none."""
    parents = {os.path.dirname(_whole_name(path)) for path in paths}
    try:
        return os.path.commonpath(parents) if parents else None
    except ValueError:
        return None


def _whole_name(path: Any) -> str:
    """The name from the root on; of a store, from its kind on."""
    if isinstance(path, StorePath):
        return os.path.normpath(f"/{path.store.scheme}/{path.key}")
    return os.path.abspath(path)


def read(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
    """The lineage in the metadata of a footer or a schema; None if there is none, or none that can be read."""
    text = (metadata or {}).get(LINEAGE_KEY)
    if text is None:
        return None
    try:
        found = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def read_file(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The lineage that a Parquet or Arrow IPC file carries; None if there is none."""
    from . import states

    if states.is_parquet(path):
        return read(states.read_footer(path).key_value_metadata)
    if states.is_arrow(path):
        return read(states.arrow_metadata(path))
    return None


def _columns(scaler: BaseScaler) -> list[dict[str, Any]]:
    methods = scaler._methods(dict.fromkeys(scaler.summary_, pa.float64()))
    names: dict[type, str] = {kind: name for name, kind in METHODS.items()}
    columns = []
    for name, m in scaler._all_maps().items():
        said: dict[str, Any] = {"name": name, "method": names.get(type(methods[name]), "normalizer")}
        if isinstance(m, AffineMap):
            said |= {key: state._encode_float(getattr(m, key)) for key in ("center", "scale", "offset")}
            if m.clip is not None:
                said["clip"] = [state._encode_float(bound) for bound in m.clip]
        else:
            said["norm"] = m.norm
        columns.append(said)
    return columns


def _file(origin: Origin, root: str | None) -> dict[str, Any]:
    if origin.path is None:
        return {"name": None, "rows": origin.rows}
    whole = _whole_name(origin.path)
    name = os.path.basename(whole) if root is None else whole[len(root) :].lstrip(os.sep)
    name = os.fsencode(name).decode("utf-8", "backslashreplace").replace(os.sep, "/")
    said: dict[str, Any] = {"name": name, "size": origin.size, "rows": origin.rows}
    if origin.footer is not None:
        return said | {"footer": origin.footer}
    said["size"] = _size_of(origin.path)
    return said | {"sample": None if said["size"] is None else sample_hash(origin.path)}


def _size_of(path: Any) -> int | None:
    """Bytes of a file; None of one that is not told by the store it lies in."""
    return path.known().size if isinstance(path, StorePath) else os.stat(path).st_size


def sample_hash(path: str | os.PathLike[str]) -> str:
    """A hash of a file's size and of evenly spaced pieces of it, the first and the last bytes among them."""
    size = _size_of(path) or 0
    hashed = hashlib.sha256(f"{size}\n".encode())
    last = max(0, size - SAMPLE_BYTES)
    with open_binary(path) as file:
        for start in sorted({last * i // (SAMPLES - 1) for i in range(SAMPLES)}):
            file.seek(start)
            hashed.update(file.read(SAMPLE_BYTES))
    return hashed.hexdigest()[:HASH_DIGITS]


class _Inputs:
    """Files one by one, as long as there are few of them: of a hundred thousand, no more is held than of a few."""

    def __init__(self) -> None:
        self._first: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._count, self._rows, self._size = 0, 0, 0
        self._hash = hashlib.sha256()

    def add(self, file: dict[str, Any]) -> None:
        if self._count <= FOOTER_FILES:
            self._first.append(file)
        self._last = file
        self._count += 1
        self._rows += file["rows"] or 0
        self._size += file.get("size") or 0
        self._hash.update(_plain(file).encode() + b"\n")

    def said(self) -> dict[str, Any]:
        if self._count <= FOOTER_FILES:
            return {"inputs": self._first}
        folded = {"count": self._count, "size": self._size, "first": self._first[0]["name"], "last": self._last["name"]}
        if self._last["rows"] is not None:  # then they are known of all: they are of one format
            folded["rows"] = self._rows
        return {"inputs": [], "folded_inputs": folded | {"digest": f"sha256:{self._hash.hexdigest()}"}}


class _Parents:
    """The lineages of the inputs, each once and cut to so many generations."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}
        self._more = 0

    def add(self, metadata: Mapping[bytes, bytes]) -> None:
        text = metadata.get(LINEAGE_KEY)
        if text is None or (key := short_hash(text)) in self._found:
            return
        parent = read(metadata)
        if parent is not None and len(self._found) < PARENTS:
            self._found[key] = _cut(parent, DEPTH - 1)
        else:
            self._more += parent is not None

    def said(self) -> dict[str, Any]:
        parents = list(self._found.values())
        if len(_plain(parents)) > PARENT_BYTES:
            parents = [_without(parent, "columns") for parent in parents]
        if len(_plain(parents)) > PARENT_BYTES:
            parents = [{key: parent.get(key) for key in ("format", "operation", "digest")} for parent in parents]
        more = {"inputs_of_other_parents": self._more} if self._more else {}
        return {"parents": parents, **more} if parents else {}


def _cut(lineage: dict[str, Any], depth: int) -> dict[str, Any]:
    parents = lineage.get("parents")
    if not isinstance(parents, list) or not all(isinstance(parent, dict) for parent in parents):
        return lineage
    if depth <= 1:
        return {**_without(lineage, "parents"), "cut": True}
    return {**lineage, "parents": [_cut(parent, depth - 1) for parent in parents]}


def _without(lineage: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in lineage.items() if name != key}


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


_MADE = {"transform": "normalized", "inverse": "restored", "predict": "predicted"}


def lines(lineage: Mapping[str, Any]) -> list[str]:
    """What people are shown of a lineage: a line for each generation."""
    found: list[str] = []
    generation: list[Any] = [lineage]
    while generation and len(found) < 2 * DEPTH:
        for one in generation[:PARENTS]:
            made = _MADE.get(str(one.get("operation")), "made")
            by = f" by streamnorm {one.get('streamnorm', '?')}" if not found else " before that"
            of_model = f" by the model {one.get('digest')}" if one.get("operation") == "predict" else ""
            found.append(f"{made}{by} from {_named_inputs(one)}{of_model}{_named_options(one)}")
        parents = [one.get("parents") for one in generation]
        generation = [p for each in parents if isinstance(each, list) for p in each if isinstance(p, dict)]
    return found


def _named_inputs(lineage: Mapping[str, Any]) -> str:
    folded, inputs = lineage.get("folded_inputs"), lineage.get("inputs")
    if isinstance(folded, dict):
        return f"{folded.get('count'):,} files, {folded.get('first')} to {folded.get('last')}"
    names = [file.get("name") for file in inputs or [] if isinstance(file, dict)]
    shown = ", ".join("a stream" if name is None else str(name) for name in names[:3]) or "inputs that are not told"
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _named_options(lineage: Mapping[str, Any]) -> str:
    options = lineage.get("options")
    named = [f"{key} {value}" for key, value in options.items()] if isinstance(options, dict) else []
    return f" ({'; '.join(named)})" if named else ""
