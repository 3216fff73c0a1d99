"""Fitted scalers as versioned JSON, in files and in the footer of the Parquet files that they made.

The format, version 3, is one RFC 8259 object, UTF-8, with exactly these members:

``"format"``
    ``"streamnorm-state"``.
``"version"``
    3; version 2, which has no rules (``"constant" "infinite" "eps"``), and version 1, which has no ``"files"`` and no
    exact statistics either, are read as well. A reader refuses a version that it does not know.
``"streamnorm"``
    The version of the library that wrote it; for people.
``"scaler"``
    ``{"class": name, "params": {name: value}}``. A tuple is an array, a scaler inside a parameter is again
    ``{"class", "params"}``, and a mapping is ``{"pairs": [[key, value], ...]}``, because its keys may be
    arrays.
``"columns"``
    An array, in the order of the features. Each column is an object with ``"name"`` (a string, or the
    position as a number if the columns have no names), the counts ``"rows" "null_count" "nan_count"
    "infinite_count"`` (``nan_count`` is null where it is not known), ``"kind"`` (``"float"``, ``"int"``,
    ``"decimal"``, or null without values) and, as far as they were collected, ``"mean" "mean_lo" "m2"
    "exponent"`` (the mean is mean + mean_lo; m2, the sum of squared deviations, is in units of 4 to the power
    exponent), ``"sum" "sum_squares"`` in their place when they are exact (an odd hexadecimal integer times a
    power of two, as in ``"-0x1a2bp-60"``; of a decimal column, the sums of the unscaled integers), ``"min"
    "max"`` (null without values; left out beside moments where they are not known, after a subtraction or from
    another system, and then decimals have a ``"scale"``), ``"sketch"`` (base64 of its little-endian bytes) or, in
    its place, exact ``"quantiles"`` (pairs of q and value); once rows had weights, ``"weight" "weight_lo"`` (their
    sum is weight + weight_lo) and ``"left_out"``, the number of rows whose weight was zero or missing; of a column of
    lists, all of whose values have one statistic, ``"lists"``, the number of rows, and the counts are of values. Of a
    scaler that was made from given statistics, without data, a column has ``"name"`` and ``"given"`` and nothing
    else: its mean (of a MaxAbsScaler its largest magnitude, of a RobustScaler its median) and its scale.
``"files"``
    The files that were counted, if there are any: :mod:`streamnorm.ledger` says what is in it.
``"digest"``
    ``"sha256:"`` and the SHA-256, in hexadecimal, of the object without this member in canonical form: keys
    sorted, no spaces, UTF-8.

A finite float is written in the shortest form that reads back as the same double, others as the strings
``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Integers beyond 2**53 and decimals are strings of digits.

Design: JSON, never pickle: a state travels between machines, versions and people, and reading one must not
run code. The digest guards against truncation and editing, not against an attacker, who could compute it as
well.
"""

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import ColumnStats
from ._version import __version__
from .atomic import Claim, write_atomically
from .digests import digest
from .documents import canonical, check_digest, check_format, parsed
from .errors import StateError
from .ledger import Ledger
from .locations import open_binary
from .rule_names import RULES
from .state_values import (
    MAX_EXACT,
    _check_keys,
    _Damage,
    _decode_exponent,
    _decode_extremum,
    _decode_float,
    _decode_int,
    _decode_scale,
    _encode_extremum,
    _encode_float,
    _encode_int,
    _guard,
    _member,
)
from .summary import ColumnSummary, Summary

if TYPE_CHECKING:
    from .scalers import BaseScaler

__all__ = ["FOOTER_KEY", "digest", "dumps", "load", "loads", "save"]

FORMAT = "streamnorm-state"
VERSION = 3
VERSIONS = (1, 2, 3)  # that are read
FOOTER_KEY = b"streamnorm"  # where a Parquet footer carries the state, without line breaks
LINEAGE_KEY = b"streamnorm.lineage"  # and where the lineage

MAX_BYTES = 1 << 30  # 2,000 columns with their sketches take a quarter of this

_TOP = ("format", "version", "streamnorm", "scaler", "columns", "digest")
_OPTIONAL = {1: (), 2: ("files",), 3: ("files",)}  # by version
_LATER = {"exact": (2, False)} | {name: (3, default) for name, default in RULES.items()}
# Parameters that states of earlier versions lack, with the version that brought them and what was done before.
_COUNTS = ("rows", "null_count", "nan_count", "infinite_count")
_MOMENTS = ("mean", "mean_lo", "m2")
_SUMS = ("sum", "sum_squares")
_WEIGHT = ("weight", "weight_lo")
_KINDS = (None, "float", "int", "decimal")


def dumps(scaler: "BaseScaler", *, indent: int | None = None) -> str:
    """The state of a fitted scaler as JSON text.

    Parameters
    ----------
    scaler : scaler
        Fitted.
    indent : int or None
        Line breaks and this indentation for people; None for one line.

    Returns
    -------
    str

    Raises
    ------
    NotFittedError
        If it is not fitted.
    StateError
        If a parameter cannot be written as JSON.
    """
    text = dump_line(scaler).decode()
    return text if indent is None else json.dumps(json.loads(text), indent=indent, ensure_ascii=False, allow_nan=False)


def dump_line(scaler: "BaseScaler", files: Ledger | None = None) -> bytes:
    """`dumps` without line breaks, in UTF-8, made column by column: thousands of sketches are long.

    `files` takes the place of the scaler's own ledger.
    """
    scaler._check_fitted()
    files = scaler.summary_.files if files is None else files
    head = {"format": FORMAT, "version": VERSION, "streamnorm": __version__, "scaler": _encode_scaler(scaler)}
    text = bytearray(_plain(head)[:-1] + b', "columns": [')
    hashed = hashlib.sha256(b'{"columns":[')  # the canonical form has its keys in order
    for position, column in enumerate(scaler.summary_.values()):
        encoded = _encode_column(column)
        text += (b", " if position else b"") + _plain(encoded)
        hashed.update((b"," if position else b"") + canonical(encoded))
    hashed.update(b"],")
    text += b"]"
    if files:
        encoded_files = files.to_json()
        text += b', "files": ' + _plain(encoded_files)
        hashed.update(b'"files":' + canonical(encoded_files) + b",")
    hashed.update(canonical(head)[1:])
    text += b', "digest": ' + _plain(f"sha256:{hashed.hexdigest()}") + b"}"
    return bytes(text)


def save(scaler: "BaseScaler", path: str | os.PathLike[str], claim: Claim | None = None) -> None:
    """Write the state of a fitted scaler to a file: whole, or not at all.

    Parameters
    ----------
    scaler : scaler
        Fitted.
    path : path
        Replaced if it exists.
    claim : Claim or None
        Of that file, which is then replaced only if nobody has changed it since.
    """
    write_atomically(path, (dumps(scaler, indent=1) + "\n").encode(), claim)


def _plain(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _encode_column(summary: ColumnSummary) -> dict[str, Any]:
    column: dict[str, Any] = {"name": summary.name}
    if summary.given is not None:
        return column | {"given": [_encode_float(value) for value in summary.given]}
    state, quantiles = summary.stats.state(), summary.quantiles
    column |= {key: None if state[key] is None else _encode_int(state[key]) for key in _COUNTS}
    column |= {} if summary.lists is None else {"lists": _encode_int(summary.lists)}
    count = state["rows"] - state["null_count"] - (state["nan_count"] or 0) - state.get("left_out", 0)
    count -= state["infinite_count"] if summary.stats.skips_infinite else 0
    column["kind"] = state["kind"] if count else None
    if "mean" in state:
        column |= {key: _encode_float(state[key]) for key in _MOMENTS}
        column["exponent"] = int(state["exponent"])
    column |= {key: state[key] for key in _SUMS if key in state}
    column |= {key: _encode_extremum(state[key], state["kind"]) for key in ("min", "max") if key in state}
    column |= {"scale": state["scale"]} if "scale" in state else {}
    if "weight" in state:
        column |= {key: _encode_float(state[key]) for key in _WEIGHT}
        column["left_out"] = _encode_int(state["left_out"])
    if quantiles is not None:
        column["quantiles"] = [[_encode_float(q), _encode_float(value)] for q, value in sorted(quantiles.items())]
    if "sketch" in state:
        column["sketch"] = base64.b64encode(state["sketch"]).decode("ascii")
    return column


def _encode_scaler(scaler: "BaseScaler") -> dict[str, Any]:
    params = {name: _encode_param(value, name) for name, value in scaler.get_params(deep=False).items()}
    return {"class": scaler._class_name(), "params": params}


def _encode_param(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) <= MAX_EXACT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, tuple | list):
        return [_encode_param(item, name) for item in value]
    if isinstance(value, Mapping):
        return {"pairs": [[_encode_param(part, name) for part in pair] for pair in value.items()]}
    if hasattr(value, "_class_name"):
        return _encode_scaler(value)
    raise StateError(
        f"parameter {name!r} is {value!r}, which cannot be saved as JSON: use numbers, strings and tuples"
    )


def load(path: str | os.PathLike[str]) -> "BaseScaler":
    """Read a fitted scaler from a state file.

    Parameters
    ----------
    path : path
        As written by ``scaler.save(path)``.

    Returns
    -------
    scaler
        Fitted, of the class that was saved.

    Raises
    ------
    StateError
        If the file is damaged, edited, of an unknown version, or not a state.
    FileNotFoundError
        If there is no such file.
    """
    where = f"state file {os.fspath(path)!r}"
    with open_binary(path) as file:
        data = file.read(MAX_BYTES + 1)
    return loads(data, where=where)


def loads(text: str | bytes, *, where: str = "the state") -> "BaseScaler":
    """Read a fitted scaler from JSON text.

    Parameters
    ----------
    text : str or bytes
        As made by :func:`dumps`.
    where : str
        What to call it in an error.

    Returns
    -------
    scaler
        Fitted.

    Raises
    ------
    StateError
        If anything about it is not as it was written.
    """
    return restore(text, where=where)


def restore(text: str | bytes, *, where: str = "the state", into: "BaseScaler | None" = None) -> "BaseScaler":
    """:func:`loads`, into an object that exists if one is given (the way of pickle and of subclasses)."""
    try:
        content = _parse(text)
        scaler = _decode_scaler(_member(content, "scaler", dict), content["version"], into=into)
        files = Ledger()
        if "files" in content:
            listed = _member(content, "files", list)
            files = _guard(lambda: Ledger.from_json(listed), "has a list of files that is none")
        summary = _decode_columns(_member(content, "columns", list), scaler, files)
        _guard(lambda: scaler._adopt(summary, named=summary.named), "holds statistics that cannot be used")
    except _Damage as damage:
        raise StateError(f"{where} {damage}") from None
    return scaler


def _parse(text: str | bytes) -> dict[str, Any]:
    """The top-level object, with its own claims checked: format, version, members, digest."""
    if len(text) > MAX_BYTES:
        raise _Damage(f"is larger than {MAX_BYTES >> 20} MB, which no state is")
    content = parsed(text, "is not JSON that is whole and valid")
    version = check_format(content, FORMAT, VERSIONS, "is not a streamnorm state")
    _check_keys(content, _TOP, _OPTIONAL[version])
    _member(content, "streamnorm", str)
    check_digest(content)
    return content


def _decode_scaler(obj: Any, version: int | None = None, into: "BaseScaler | None" = None) -> "BaseScaler":
    """A scaler that is not fitted, from a state of this version, or, if it is None, from a model file of any age."""
    from . import scalers

    _check_keys(obj, ("class", "params"))
    name, params = _member(obj, "class", str), _member(obj, "params", dict)
    if name not in scalers.CLASSES:
        raise _Damage(f"is of a scaler {name[:40]!r} that this version does not know")
    known = scalers.CLASSES[name]._param_names()
    added = {key: default for key, (since, default) in _LATER.items() if version is None or version < since}
    later = {key: default for key, default in added.items() if key in known}
    _check_keys(params, tuple(key for key in known if key not in later), tuple(later) if version is None else ())
    values = later | {key: _decode_param(value, version) for key, value in params.items()}
    scaler = object.__new__(scalers.CLASSES[name]) if into is None else into
    scaler.__dict__.update(values)
    _guard(scaler._check_params, "has parameters that cannot be used")
    return scaler


def _decode_param(value: Any, version: int | None) -> Any:
    if isinstance(value, list):
        return tuple(_decode_param(item, version) for item in value)
    if isinstance(value, dict) and "pairs" in value:
        _check_keys(value, ("pairs",))
        return _guard(
            lambda: {k: v for k, v in (_decode_param(pair, version) for pair in value["pairs"])},
            "has a mapping that is none",
        )
    return _decode_scaler(value, version) if isinstance(value, dict) else value


def _decode_columns(columns: list[Any], scaler: "BaseScaler", files: Ledger) -> Summary:
    stats: dict[str | int, ColumnStats] = {}
    quantiles: dict[str | int, dict[float, float]] = {}
    given: dict[str | int, tuple[float, float]] = {}
    lists: dict[str | int, int] = {}
    for position, column in enumerate(columns):
        if type(column) is not dict:
            raise _Damage(f"has a column {position} that is not an object")
        name: Any = column.get("name")
        if type(name) not in (str, int) or (type(name) is int and name < 0):
            raise _Damage(f"has a column {position} without a name")
        if name in stats or type(name) is not type(columns[0].get("name")):
            raise _Damage(f"has a column name {name!r:.60} twice, or names and positions mixed")
        if "given" in column:
            stats[name], given[name] = ColumnStats(moments=False), _decode_given(column, scaler)
            continue
        stats[name] = _decode_column({key: value for key, value in column.items() if key != "lists"}, scaler)
        if "lists" in column:
            lists[name] = _decode_int(column["lists"], "lists")
            if lists[name] < 0:
                raise _Damage(f"has a negative number of lists for column {name!r:.60}")
        if "quantiles" in column:
            quantiles[name] = _decode_quantiles(column["quantiles"], scaler._exact_quantiles(name), name)
    if not stats:
        raise _Damage("has no columns")
    return Summary(stats, quantiles=quantiles, given=given, files=files, lists=lists)


def _decode_given(column: Mapping[str, Any], scaler: "BaseScaler") -> tuple[float, float]:
    _check_keys(column, ("name", "given"))
    values = _member(column, "given", list)
    if not scaler._takes_given or len(values) != 2:
        raise _Damage(f"has a column {column['name']!r:.60} whose given statistics are not those of its scaler")
    mean, scale = (_decode_float(value, "given") for value in values)
    if not (math.isfinite(mean) and math.isfinite(scale) and scale):
        raise _Damage(f"has an impossible mean or scale given for column {column['name']!r:.60}")
    return mean, scale


def _decode_quantiles(pairs: Any, wanted: Sequence[float], name: str | int) -> dict[float, float]:
    if type(pairs) is not list or not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        raise _Damage(f"has no list of pairs for the quantiles of column {name!r:.60}")
    found = {_decode_float(q, "quantiles"): _decode_float(value, "quantiles") for q, value in pairs}
    if len(found) != len(pairs) or set(found) != set(wanted):
        raise _Damage(f"has other quantiles of column {name!r:.60} than its scaler wants")
    return found


def _decode_column(column: Mapping[str, Any], scaler: "BaseScaler") -> ColumnStats:
    name = column["name"]
    model = _guard(
        lambda: scaler._new_stats(name), f"has a column {name!r:.60} that its scaler does not know"
    )
    keys = ["name", *_COUNTS, "kind"]
    if model.has_moments and not {"min", "max"} & column.keys():  # not known
        keys += ["scale"] if column.get("kind") == "decimal" else []
    else:
        keys += ["min", "max"]
    has_pairs = model.has_moments and not model.exact
    keys += _SUMS if model.exact else [*_MOMENTS, "exponent"] if has_pairs else []
    has_quantiles = bool(scaler._exact_quantiles(name))
    has_sketch = model.has_sketch and not has_quantiles
    keys += ["quantiles"] if has_quantiles else []
    keys += ["sketch"] if has_sketch else []
    keys += [*_WEIGHT, "left_out"] if "weight" in column and not (model.exact or has_quantiles) else []
    _check_keys(column, tuple(keys))
    state: dict[str, Any] = {key: _decode_int(column[key], key) for key in _COUNTS if key != "nan_count"}
    state["nan_count"] = None if column["nan_count"] is None else _decode_int(column["nan_count"], "nan_count")
    if column["kind"] not in _KINDS or min(filter(None, state.values()), default=0) < 0 or state["rows"] >= 1 << 63:
        raise _Damage(f"has impossible counts or an unknown kind in column {name!r:.60}")
    state["kind"] = column["kind"]
    state["skips_infinite"] = model.skips_infinite
    state |= {key: _member(column, key, str) for key in _SUMS if model.exact}
    if has_pairs:
        state |= {key: _decode_float(column[key], key) for key in _MOMENTS}
        state["exponent"] = _decode_exponent(column["exponent"])
    state |= {key: _decode_extremum(column[key], key, column["kind"]) for key in ("min", "max") if key in column}
    state |= {"scale": _decode_scale(column["scale"])} if "scale" in column else {}
    if "weight" in column:
        state |= {key: _decode_float(column[key], key) for key in _WEIGHT}
        state["left_out"] = _decode_int(column["left_out"], "left_out")
    if has_sketch:
        text = _member(column, "sketch", str)
        state["sketch"] = _guard(
            lambda: base64.b64decode(text, validate=True), "has a sketch that is not base64"
        )
    return _guard(lambda: ColumnStats.from_state(state), f"contradicts itself in column {name!r:.60}")
