"""One file of arrays and a text: safetensors, read with suspicion.

The file is eight bytes with the length of a header (little-endian), the header, which is JSON, and the arrays' values
one after the other. The header has the type, shape and place of each array, and under ``__metadata__`` texts by name;
ours is under ``streamnorm``.

Design: the format's own package writes the bytes and takes them apart; before it does, everything that a header claims
is checked here, more narrowly than the format asks for (types that no model of ours has, bytes that belong to no array,
a key that occurs twice), so that a damaged file is told from a good one in our words. Turned down: pickle and
``numpy.savez`` with objects, which run what is in the file.
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..documents import parsed
from ..errors import DataError, StateError
from ..locations import open_binary
from ..state_values import _Damage, _guard, _one_line
from ..stores import explained

KEY = "streamnorm"  # of our text in the header's metadata
MAX_HEADER = 100_000_000  # bytes; the format's own limit
ADVICE = "train again and save it anew, or use an intact copy"

_LENGTH = 8  # bytes of the header's length
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
_METADATA = "__metadata__"


class Damage(_Damage):
    """What is wrong with a model file, as the middle of a sentence."""

    def __init__(self, problem: str, advice: str = ADVICE) -> None:
        super().__init__(problem, advice)


def guard(action: Callable[[], Any], problem: str) -> Any:
    """Run code that may stumble over nonsense, and say so in our words."""
    return _guard(action, problem, Damage)


def to_bytes(arrays: Mapping[str, np.ndarray], text: str) -> bytes:
    """The whole file: the same bytes for the same arrays and text."""
    from safetensors.numpy import save

    return save({name: np.array(array, order="C") for name, array in arrays.items()}, {KEY: text})


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a file, and our text.

    Raises
    ------
    DataError
        If there is no such file.
    Damage
        If anything about it is not as it was written.
    """
    with _opened(path) as file:
        data = file.read()
    return from_bytes(data)


def from_bytes(data: bytes) -> tuple[dict[str, np.ndarray], str]:
    """What :func:`to_bytes` was given.

    Raises
    ------
    Damage
        If anything about it is not as it was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    text = _check(data)
    try:
        return load(data), text
    except SafetensorError as error:
        raise Damage(f"is not a safetensors file ({_one_line(error)})") from None


def read_text(path: str | os.PathLike[str]) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Our text, and the arrays' shapes, without reading the arrays; errors as those of :func:`read`."""
    with _opened(path) as file:
        start = file.read(_LENGTH)
        size = file.seek(0, os.SEEK_END)
        file.seek(_LENGTH)
        header = _parse(start + file.read(_header_length(start, size)))
    text = _text(header)
    _check_places(header, size - _LENGTH - _header_length(start, size))
    return text, {name: tuple(entry["shape"]) for name, entry in header.items() if name != _METADATA}


def damaged(path: str | os.PathLike[str], damage: _Damage) -> StateError:
    """The error to raise, which names the file."""
    return StateError(f"model file {os.fspath(path)!r} {damage}")


def _opened(path: str | os.PathLike[str]) -> Any:
    try:
        return open_binary(path)
    except OSError as error:
        why = error.strerror or explained(error)
        raise DataError(f"{os.fspath(path)}: cannot be read ({why})", file=os.fspath(path)) from error


def _header_length(data: bytes, size: int) -> int:
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or length > MAX_HEADER:
        raise Damage("does not begin with the length of a header")
    if _LENGTH + length > size:
        raise Damage(f"ends within its header, after {size:,} of at least {_LENGTH + length:,} bytes")
    return length


def _parse(data: bytes) -> dict[str, Any]:
    header = parsed(data[_LENGTH:], "has a header that is not valid JSON", Damage)
    if type(header) is not dict:
        raise Damage("has a header that is no JSON object")
    return header


def _text(header: dict[str, Any]) -> str:
    metadata = header.get(_METADATA)
    if type(metadata) is not dict or type(metadata.get(KEY)) is not str:
        raise Damage(
            "is a safetensors file without streamnorm's description of a model",
            "load one that streamnorm saved, or read the arrays with the package safetensors",
        )
    return metadata[KEY]


def _check(data: bytes) -> str:
    length = _header_length(data, len(data))
    header = _parse(data[: _LENGTH + length])
    text = _text(header)
    _check_places(header, len(data) - _LENGTH - length)
    return text


def _check_places(header: dict[str, Any], size: int) -> None:
    """Raise Damage unless the arrays, in some order, fill these many bytes one after the other."""
    places = sorted(_place(name, entry) for name, entry in header.items() if name != _METADATA)
    end = 0
    for start, stop, name in places:
        if start != end:
            raise Damage(f"has bytes that belong to two arrays or to none before {name!r:.60}")
        end = stop
    if end > size:
        raise Damage(f"is cut short: its arrays take {end:,} bytes, and {size:,} are there")
    if end < size:
        raise Damage(f"has {size - end:,} bytes after its arrays")


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Damage(f"has an array {name!r:.60} that is not described by type, shape and place")
    if type(entry["dtype"]) is not str or entry["dtype"] not in _TYPES:
        raise Damage(f"has an array {name!r:.60} of a type {entry['dtype']!r:.20} that no model has")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise Damage(f"has an array {name!r:.60} of an impossible shape or place")
    nbytes = guard(lambda: math.prod(shape) * np.dtype(_TYPES[entry["dtype"]]).itemsize, "has an impossible shape")
    if offsets[1] - offsets[0] != nbytes:
        raise Damage(f"has an array {name!r:.60} whose shape and size contradict each other")
    return offsets[0], offsets[1], name


def _are_sizes(values: Any) -> bool:
    return type(values) is list and all(type(value) is int and 0 <= value < 1 << 62 for value in values)
