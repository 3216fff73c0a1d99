"""Plain twins of the compiled parts of `streamnorm.parquet`: same names, same arguments, made to be read."""

import struct as _struct
from array import array

import numpy as np

from streamnorm.parquet import thrift
from streamnorm.parquet.thrift import MAX_DEPTH, Struct, ThriftError, value_of


class PageStats:
    """Twin of ``_pages.PageStats``."""

    def __init__(self):
        self.min, self.max = np.inf, -np.inf
        self.count = self.nan_count = 0


def _bits(validity, offset: int, length: int) -> np.ndarray:
    """Arrow's validity bitmap as booleans, shape (length,)."""
    return np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[
        offset : offset + length
    ].astype(bool)


def count_valid(validity, offset: int, length: int) -> int:
    """Twin of ``_pages.count_valid``."""
    return int(_bits(validity, offset, length).sum())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _levels(bits: np.ndarray) -> bytes:
    """Definition levels of a flat column: RLE / bit-packing hybrid of bit width 1, its length in front."""
    rows = len(bits)
    if bits.all() or not bits.any():
        run = _varint(rows << 1) + bytes((int(bits.all()),))
    else:
        run = _varint(-(-rows // 8) << 1 | 1) + np.packbits(bits, bitorder="little").tobytes()
    return len(run).to_bytes(4, "little") + run


def levels_bytes(rows: int, valid: int) -> int:
    """Twin of ``_pages.levels_bytes``."""
    return len(_levels(np.arange(rows) < valid))


def pack_page(
    out,
    start: int,
    stats: PageStats,
    values,
    itemsize: int,
    validity,
    offset: int,
    rows: int,
    valid: int,
    levels,
) -> int:
    """Twin of ``_pages.pack_page``."""
    present = np.ones(rows, bool) if validity is None else _bits(validity, offset, rows)
    kept = np.frombuffer(values, f"<f{itemsize}")[present]
    stats.count += len(kept)
    stats.nan_count += int(np.isnan(kept).sum())
    numbers = kept[~np.isnan(kept)].astype(float)
    stats.min = min(stats.min, numbers.min(initial=np.inf))
    stats.max = max(stats.max, numbers.max(initial=-np.inf))
    page = (_levels(present) if levels else b"") + kept.tobytes()
    if out is not None:
        out[start : start + len(page)] = np.frombuffer(page, np.uint8)
    return len(page)


class _Reader:
    def __init__(self, data, start: int):
        self.data, self.at = bytes(data), start

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ThriftError("truncated")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if value >> 64 or shift > 63:
                raise ThriftError("integer of more than 64 bits")
            if byte < 0x80:
                return value
            shift += 7

    def integer(self, bits: int) -> int:
        raw = self.varint()
        value = raw >> 1 ^ -(raw & 1)
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise ThriftError("integer out of range")
        return value

    def size(self) -> int:
        size = self.varint()
        if size > len(self.data) - self.at:
            raise ThriftError("truncated")
        return size

    def struct(self, depth: int) -> Struct:
        if depth >= MAX_DEPTH:
            raise ThriftError("nested too deep")
        out: Struct = {}
        field = 0
        while byte := self.byte():
            delta, kind = byte >> 4, byte & 15
            field = field + delta if delta else self.integer(16)
            if field > 0x7FFF:
                raise ThriftError("field id out of range")
            if kind in (1, thrift.BOOL):
                out[field] = (thrift.BOOL, kind == 1)
            else:
                out[field] = (kind, self.value(kind, depth))
        return out

    def value(self, kind: int, depth: int):
        if kind in (thrift.LIST, thrift.SET, thrift.MAP) and depth >= MAX_DEPTH:
            raise ThriftError("nested too deep")
        match kind:
            case thrift.BOOL | 1:
                return self.byte() == 1
            case thrift.BYTE:
                return int.from_bytes(self.take(1), "little", signed=True)
            case thrift.I16 | thrift.I32 | thrift.I64:
                return self.integer({thrift.I16: 16, thrift.I32: 32, thrift.I64: 64}[kind])
            case thrift.DOUBLE:
                return _struct.unpack("<d", self.take(8))[0]
            case thrift.BINARY:
                return self.take(self.size())
            case thrift.UUID:
                return self.take(16)
            case thrift.STRUCT:
                return self.struct(depth + 1)
            case thrift.LIST | thrift.SET:
                byte = self.byte()
                size = self.size() if byte >> 4 == 15 else byte >> 4
                if size > len(self.data) - self.at:
                    raise ThriftError("truncated")
                element = byte & 15 if byte & 15 != 1 else thrift.BOOL
                return element, [self.value(element, depth + 1) for _ in range(size)]
            case thrift.MAP:
                size = self.size()
                byte = self.byte() if size else 0
                kinds = [thrift.BOOL if kind == 1 else kind for kind in (byte >> 4, byte & 15)]
                pairs = [tuple(self.value(kind, depth + 1) for kind in kinds) for _ in range(size)]
                return *kinds, pairs
        raise ThriftError("no such type")


def decode(data, start: int = 0) -> tuple[Struct, int]:
    """Twin of ``_thrift.decode``."""
    reader = _Reader(data, start)
    return reader.struct(0), reader.at


def chunk_statistics(data, starts, physical_type: int):
    """Twin of ``_thrift.chunk_statistics``."""
    rows = [_one_chunk(data, start, physical_type) for start in starts]
    flags, values, nulls, nans, low, high = (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 6
    return bytearray(flags), array("q", values), array("q", nulls), array("q", nans), low, high


def _one_chunk(data, start: int, physical_type: int):
    nothing = (-1, 0, 0, None, None)
    try:
        frame = thrift.decode_struct(data, start)
        encrypted = thrift.ENCRYPTED if 8 in frame or 9 in frame else 0
        meta = value_of(frame, 3, thrift.STRUCT, {})
        values = value_of(meta, 5, thrift.I64, -1)
        stats = value_of(meta, 12, thrift.STRUCT)
        old_max, old_min, high, low = (value_of(stats or {}, field, thrift.BINARY) for field in (1, 2, 5, 6))
        nulls, nans = (value_of(stats or {}, field, thrift.I64) for field in (3, 9))
        if not encrypted and (value_of(meta, 1, thrift.I32, -1) != physical_type or values < 0):
            raise ThriftError("another type, or no number of values")
    except ThriftError:
        return (thrift.CORRUPT, *nothing)
    flags = encrypted | (0 if stats is None else thrift.STATISTICS)
    flags |= (0 if nulls is None else thrift.NULL_COUNT) | (0 if nans is None else thrift.NAN_COUNT)
    if (thrift.BOOL, False) in [(stats or {}).get(field) for field in (7, 8)]:
        flags |= thrift.INEXACT
    if low is high is None and not old_min is old_max is None:
        flags, low, high = flags | thrift.DEPRECATED, old_min, old_max
    return flags, values, nulls or 0, nans or 0, low, high


def chunk_verdicts(chunks, rows, *, required, floats, width, bounds, old_pair, uncounted):
    """Twin of ``_thrift.chunk_verdicts``."""
    verdicts, some, counts = bytearray(), bytearray(), array("q")
    for chunk, group_rows in zip(zip(*chunks, strict=True), rows, strict=True):
        flags, values, nulls, nans, low, high = chunk
        present = group_rows - nulls
        nans = 0 if not floats else nans if flags & thrift.NAN_COUNT else -1 if present > 0 else 0
        empty, valued = group_rows == 0, present > 0 and nans != present
        old = bool(flags & thrift.DEPRECATED)
        widths = {len(bound or b"") for bound in (low, high)}
        tests = [
            ("is encrypted", flags & thrift.ENCRYPTED),
            ("has corrupt metadata", flags & thrift.CORRUPT),
            ("contradicts itself: its number of values is not that of its rows", values != group_rows),
            ("has no statistics", not empty and not flags & thrift.STATISTICS),
            ("has no number of nulls", not empty and not required and not flags & thrift.NULL_COUNT),
            ("contradicts itself: its number of nulls", not 0 <= nulls <= (0 if required else group_rows)),
            (
                "contradicts itself: its number of NaN",
                floats and flags & thrift.NAN_COUNT and not 0 <= nans <= present,
            ),
            (thrift.OF_NOTHING, present == 0 and (low is not None or high is not None)),
            ("has no minimum and maximum", valued and (low is None or high is None)),
            ("has bounds that are not exact", valued and flags & thrift.INEXACT),
            ("has statistics of the old kind", valued and old and not old_pair),
            ("has statistics of no declared order", valued and not old and not bounds),
            (
                "contradicts itself: a bound of the wrong width",
                valued and (widths != {width} if width else not 1 <= min(widths) <= max(widths) <= 64),
            ),
            ("has no number of NaN", valued and nans < 0 and not uncounted),
        ]
        reason = next((reason for reason, wrong in tests if wrong), "")
        verdicts.append(thrift.VERDICTS.index(reason))
        some.append(not reason and valued)
        counts.append(nans)
    return verdicts, some, counts
