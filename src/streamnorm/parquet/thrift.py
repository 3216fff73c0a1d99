"""Thrift's compact protocol, as far as Parquet's metadata needs it: generic structs in, bytes out, and back.

The wire format is that of the "Thrift Compact protocol encoding" specification (Apache Thrift,
doc/specs/thrift-compact-protocol.md). A decoded struct is ``{field id: (type, value)}``:

======================  =============================================================
type                    value
======================  =============================================================
BOOL                    bool
BYTE, I16, I32, I64     int
DOUBLE                  float
BINARY, UUID            bytes
LIST, SET               ``(element type, list of values)``
MAP                     ``(key type, value type, list of (key, value) pairs)``
STRUCT                  dict of the same form
======================  =============================================================

# Design: structs are generic and keep their order and every field that they came with, so that metadata which
# this package does not know (a later version's statistics, say) survives a copy. Generated classes, one per
# Parquet struct, were turned down: they drop what they do not know, and most of them would only carry fields
# through.
#
# Design: the reader is compiled (``_thrift.pyx``), because a footer holds some 60 values per column chunk and
# wide files have tens of thousands of chunks. ``streamnorm.parquet.reference.decode`` is its plain twin.
# Writing is Python: it happens once per column chunk, next to whose compression it vanishes.
"""

import struct as _struct
from typing import Any

from streamnorm.parquet._thrift import (
    CORRUPT,
    DEPRECATED,
    ENCRYPTED,
    INEXACT,
    MAX_DEPTH,
    NAN_COUNT,
    NULL_COUNT,
    OF_NOTHING,
    STATISTICS,
    VERDICTS,
    ThriftError,
    chunk_statistics,
    chunk_verdicts,
    decode,
    decode_struct,
    skip_struct,
    struct_list,
)

__all__ = [
    "BINARY", "BOOL", "BYTE", "DOUBLE", "I16", "I32", "I64", "LIST", "MAP", "MAX_DEPTH", "SET", "STRUCT",
    "UUID", "CORRUPT", "DEPRECATED", "ENCRYPTED", "INEXACT", "NAN_COUNT", "NULL_COUNT", "OF_NOTHING", "STATISTICS",
    "VERDICTS", "Struct", "ThriftError", "chunk_statistics", "chunk_verdicts", "decode", "decode_struct", "encode",
    "skip_struct", "struct_list", "value_of", "varint",
]  # fmt: skip

# Wire type numbers. A boolean field carries its value in its type, 1 for true and 2 for false; as the type of
# list elements it is 2, and so here.
_TRUE = 1
BOOL = 2
BYTE = 3
I16 = 4
I32 = 5
I64 = 6
DOUBLE = 7
BINARY = 8
LIST = 9
SET = 10
MAP = 11
STRUCT = 12
UUID = 13

Struct = dict[int, tuple[int, Any]]

_INTEGER_BITS = {I16: 16, I32: 32, I64: 64}


def value_of(struct: Struct, field: int, expected: int, default: Any = None) -> Any:
    """The value of a field, ``default`` if it is absent.

    Raises
    ------
    ThriftError
        If the field is there with another type than the one expected.
    """
    found = struct.get(field)
    if found is None:
        return default
    if found[0] != expected:
        raise ThriftError(f"field {field} has Thrift type {found[0]}, expected {expected}")
    return found[1]


def encode(struct: Struct, after: int = 0) -> bytes:
    """The canonical encoding of a struct: shortest varints, short field headers where ids ascend.

    Inner structs may be given as the bytes of their encoding in place of a dict; these are taken as they are.

    Parameters
    ----------
    struct : dict
    after : int
        The number of the field that the bytes will follow, if they are the rest of a struct.

    Raises
    ------
    ThriftError
        If a value does not fit its type, or structs are nested deeper than ``MAX_DEPTH``.
    """
    out = bytearray()
    _put_struct(out, struct, 0, after)
    return bytes(out)


def varint(value: int) -> bytes:
    """A number in groups of seven bits, least significant first (ULEB128)."""
    out = bytearray()
    _put_varint(out, value)
    return bytes(out)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_integer(out: bytearray, kind: int, value: int) -> None:
    bits = _INTEGER_BITS[kind]
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ThriftError(f"{value} does not fit a signed integer of {bits} bits")
    _put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def _put_struct(out: bytearray, struct: Struct, depth: int, last: int = 0) -> None:
    if depth >= MAX_DEPTH:
        raise ThriftError(f"structs are nested deeper than {MAX_DEPTH}")
    for field, (kind, value) in struct.items():
        wire = (_TRUE if value else BOOL) if kind == BOOL else kind
        if 0 < field - last < 16:
            out.append(field - last << 4 | wire)
        else:
            out.append(wire)
            _put_integer(out, I16, field)
        last = field
        if kind != BOOL:
            _put_value(out, kind, value, depth)
    out.append(0)


def _put_value(out: bytearray, kind: int, value: Any, depth: int) -> None:
    if I16 <= kind <= I64:
        _put_integer(out, kind, value)
    elif kind == BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        if isinstance(value, bytes):
            out += value
        else:
            _put_struct(out, value, depth + 1)
    elif kind in (LIST, SET):
        element, items = value
        if depth >= MAX_DEPTH:
            raise ThriftError(f"lists are nested deeper than {MAX_DEPTH}")
        out.append(min(len(items), 15) << 4 | element)
        if len(items) >= 15:
            _put_varint(out, len(items))
        for item in items:
            _put_value(out, element, item, depth + 1)
    elif kind == BOOL:
        out.append(1 if value else 0)
    elif kind == BYTE:
        if not -128 <= value < 128:
            raise ThriftError(f"{value} does not fit a signed integer of 8 bits")
        out.append(value & 0xFF)
    elif kind == DOUBLE:
        out += _struct.pack("<d", value)
    elif kind == MAP:
        if depth >= MAX_DEPTH:
            raise ThriftError(f"maps are nested deeper than {MAX_DEPTH}")
        key_kind, value_kind, pairs = value
        _put_varint(out, len(pairs))
        if pairs:
            out.append(key_kind << 4 | value_kind)
        for key, item in pairs:
            _put_value(out, key_kind, key, depth + 1)
            _put_value(out, value_kind, item, depth + 1)
    elif kind == UUID:
        if len(value) != 16:
            raise ThriftError("a UUID has 16 bytes")
        out += value
    else:
        raise ThriftError(f"there is no Thrift type {kind}")
