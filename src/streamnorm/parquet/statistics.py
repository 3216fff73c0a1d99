"""What the statistics in a footer prove: the exact extrema of a flat column of numbers, row group by row group.

# Design: a minimum in a footer is a claim of whoever wrote the file, and writers have been wrong in ways that no
# reader can see: pages merged in another order than values were compared in, NaN that hid the values behind it. So a
# bound is taken only from a writer whose code, from some version on, is known to compare this kind of column rightly;
# `_WRITERS` is that list. What would show by itself is checked in any case: bounds in the wrong order, of the wrong
# width, beyond the type, counts that do not add up. Turned down: trust in every writer that declares an order (several
# declared it and merged decimals or unsigned numbers as bytes), and a list of bad writers (who is not on it is not
# thereby good).
#
# Design: the chunks of a column are read and checked together, as arrays, because a footer of a thousand row groups is
# to be read in a few milliseconds. Our own bounds-checked reader does it: pyarrow's ends the process on some corrupt
# files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import compress
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from streamnorm.parquet import format as fmt
from streamnorm.parquet import thrift
from streamnorm.parquet.footer import Footer, Leaf
from streamnorm.parquet.format import SchemaElement
from streamnorm.parquet.thrift import BYTE, I32, STRUCT, Struct, ThriftError, value_of

__all__ = ["LeafExtrema", "RowGroupExtrema", "decimal_of", "leaf_extrema", "row_group_extrema"]

# How a kind of column has to be compared, as far as writers differ in it.
SIGNED, UNSIGNED, FLOAT, HALF, FIXED_DECIMAL, BYTES_DECIMAL = range(6)

Kind = Literal["float", "int", "decimal"]
Version = tuple[int, int, int, int]
_NEVER: Version = (1 << 30, 0, 0, 0)


class _Writer(NamedTuple):
    """From which version on a writer is right, by what has to be compared."""

    signed: Version = _NEVER
    unsigned: Version = _NEVER
    floats: Version = _NEVER  # NaN left out of the bounds, or no bounds where there is one
    half: Version = _NEVER
    fixed_decimals: Version = _NEVER
    bytes_decimals: Version = _NEVER
    nan_count: Version = _NEVER  # with it, bounds of floats are of the other values (parquet.thrift, TYPE_ORDER)
    undeclared: Version = _NEVER  # right for signed types and floats also where it declares no order
    old_pair: Version = _NEVER  # right for signed types in the deprecated min and max, too


def _since(*version: int) -> Version:
    major, minor, patch = (*version, 0, 0)[:3]
    return major, minor, patch, 0


# The name in created_by, and what is known of it:
# - Arrow C++: NaN is skipped since 0.16 (PARQUET-1225, PARQUET-1766), and the name is new in 2.0. Decimals were
#   compared as signed characters up to 3 (PARQUET-1655, apache/arrow#42906). Half floats came with 15, NaN skipped.
# - parquet-java, "parquet-mr": an order is declared since 1.10 (PARQUET-1025, PARQUET-686), where a NaN is the maximum
#   or keeps bounds away (PARQUET-1246); half floats were wrong into 1.17 (apache/parquet-java#3407). The old pair was
#   right for signed types before.
# - arrow-rs, "parquet-rs": NaN is skipped since 4.1 (apache/arrow-rs#256), other errors went by 18 (#2022) and by a
#   rewrite in 50 (#5183); decimals of variable length are wrong (#10860, #11073).
# - DuckDB: no bounds where there is a NaN, since before it wrote a version; it declares its order since 2.0 and meant
#   the same before.
# - polars: page bounds were merged as signed numbers or bytes, and after a NaN the later pages alone counted
#   (pola-rs/polars#7842, #16766, #29347). It writes a version since 2.1, whose files bear every test of ours.
# - Ourselves: floats that were normalized carry nan_count. Column chunks that passed through kept what another writer
#   said, who is no longer known.
_WRITERS = {
    "parquet-cpp-arrow": _Writer(_since(2), _since(2), _since(2), _since(15), _since(4), nan_count=_since(2)),
    "parquet-mr": _Writer(
        _since(1, 10), _since(1, 10), _since(1, 10), _NEVER, _since(1, 10), _since(1, 10), _since(1, 10),
        old_pair=_since(1, 8),
    ),  # fmt: skip
    "parquet-rs": _Writer(_since(50), _since(50), _since(50), _since(50), _since(50), nan_count=_since(50)),
    "DuckDB": _Writer(
        _since(1, 2), _since(1, 2), _since(1, 2), _NEVER, _since(1, 2), nan_count=_since(1, 2), undeclared=_since(1, 2)
    ),
    "Polars": _Writer(_since(2, 1), _since(2, 1), _since(2, 1), _NEVER, _since(2, 1), nan_count=_since(2, 1)),
    "streamnorm": _Writer(nan_count=_since(0, 1)),
}
_CREATED_BY = re.compile(r"(parquet-cpp-arrow|parquet-mr|parquet-rs|DuckDB|Polars|streamnorm)(?: \(\w+\))? version "
                         r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-?)")  # fmt: skip
_REWRITTEN = b"original.created.by"  # parquet-java's rewriter keeps the statistics of the files that it joins


class RowGroupExtrema(NamedTuple):
    """What a footer proves of one column of one row group.

    Attributes
    ----------
    rows, null_count : int
    nan_count : int or None
        None: unknown; only for floats that have a value.
    min, max : float, int, Decimal or None
        Exact; of what is neither null nor NaN. None if there is no such value. Booleans are 0 and 1, dates and times
        the integers that they are stored as.
    """

    rows: int
    null_count: int
    nan_count: int | None
    min: float | int | Decimal | None
    max: float | int | Decimal | None


@dataclass(frozen=True, slots=True)
class LeafExtrema:
    """What a footer proves of one column, by row group; arrays and lists have a place for each.

    Attributes
    ----------
    kind : {"float", "int", "decimal"}
    scale : int
        Of decimals: digits behind the point.
    rows, null_count, nan_count : ndarray of int64, shape (n,)
        nan_count is -1 where it is unknown.
    has_values : ndarray of bool, shape (n,)
        Whether a value is left beside nulls and NaN.
    low, high : list of float or int, of length n
        The bounds, of decimals their unscaled integers. Meaningless without values, or with a reason.
    reasons : dict of int to str
        Row groups of which nothing is proved, and why not, as the end of a sentence.
    """

    kind: Kind
    scale: int
    rows: np.ndarray
    null_count: np.ndarray
    nan_count: np.ndarray
    has_values: np.ndarray
    low: list[Any]
    high: list[Any]
    reasons: dict[int, str]


def row_group_extrema(footer: Footer, leaf: int, arrow_type: pa.DataType) -> list[RowGroupExtrema | str]:
    """The exact extrema of a column in each row group, or why the footer does not prove them.

    Parameters
    ----------
    footer : Footer
    leaf : int
        The column: an index of ``footer.leaves``.
    arrow_type : pyarrow.DataType
        What it is read as.

    Returns
    -------
    list of RowGroupExtrema or str
        One a row group; the reasons are short, such as "has no statistics".
    """
    found = leaf_extrema(footer, leaf, arrow_type)
    if isinstance(found, str):
        return [found] * footer.num_row_groups
    low, high = found.low, found.high
    if found.kind == "decimal":
        low, high = ([decimal_of(bound, found.scale) for bound in bounds] for bounds in (low, high))
    counts = zip(found.rows.tolist(), found.null_count.tolist(), found.nan_count.tolist(), strict=True)
    out: list[RowGroupExtrema | str] = [
        RowGroupExtrema(rows, nulls, None if nans < 0 else nans, a if some else None, b if some else None)
        for (rows, nulls, nans), some, a, b in zip(counts, found.has_values.tolist(), low, high, strict=True)
    ]
    for group, reason in found.reasons.items():
        out[group] = reason
    return out


def leaf_extrema(footer: Footer, leaf: int, arrow_type: pa.DataType) -> LeafExtrema | str:
    """As `row_group_extrema`, in arrays; a str if the reason is one of the whole file."""
    column = footer.leaves[leaf]
    if len(column.path) != 1 or column.max_repetition_level:
        return "nests the column"
    try:
        layout = _layout(column, arrow_type)
    except ThriftError as error:
        return f"has a corrupt schema ({error})"
    if isinstance(layout, str):
        return layout
    rows, total = np.frombuffer(footer.group_rows, np.int64), sum(footer.group_rows)
    if total != footer.num_rows:
        return f"says that it has {footer.num_rows} rows, and its row groups {total}"
    trust = _trust(footer, leaf, layout)
    if isinstance(trust, str):
        return trust
    return _Column(footer, leaf, column, layout, trust, rows).result()


# ------------------------------------------------------------------ types


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the bounds of a type are stored, and what they may be."""

    kind: Kind
    comparison: int
    width: int | None  # bytes; None: at least one
    dtype: str | None  # None: a big-endian integer of any width
    limits: tuple[int, int] = (0, 0)  # of what is not a float
    scale: int = 0


def _integers(bits: int, signed: bool) -> _Layout:
    """Integers of 8 to 64 bits; up to 32 they are stored in 32."""
    width = 8 if bits == 64 else 4
    limits = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return _Layout("int", SIGNED if signed else UNSIGNED, width, f"<{'i' if signed else 'u'}{width}", limits)


_INT32, _INT64 = _integers(32, True), _integers(64, True)
_HALF = _Layout("float", HALF, 2, "<f2")

# Arrow's type: Parquet's physical type, the logical types that mean it (None: none at all), and the layout.
_TYPES: dict[pa.DataType, tuple[int, tuple[Any, ...], _Layout]] = {
    pa.float16(): (fmt.FIXED_LEN_BYTE_ARRAY, (("float16",),), _HALF),
    pa.float32(): (fmt.FLOAT, (None,), _Layout("float", FLOAT, 4, "<f4")),
    pa.float64(): (fmt.DOUBLE, (None,), _Layout("float", FLOAT, 8, "<f8")),
    pa.bool_(): (fmt.BOOLEAN, (None,), _Layout("int", SIGNED, 1, "u1", (0, 1))),
    pa.date32(): (fmt.INT32, (("date",),), _INT32),
    pa.time32("ms"): (fmt.INT32, (("time", "ms"),), _INT32),
    pa.time64("us"): (fmt.INT64, (("time", "us"),), _INT64),
    pa.time64("ns"): (fmt.INT64, (("time", "ns"),), _INT64),
}
for _bits in (8, 16, 32, 64):
    _physical = fmt.INT64 if _bits == 64 else fmt.INT32
    _bare = (None,) if _bits >= 32 else ()
    for _arrow, _signed in ((f"int{_bits}", True), (f"uint{_bits}", False)):
        _means = (("int", _bits, _signed), *(_bare if _signed else ()))
        _TYPES[getattr(pa, _arrow)()] = (_physical, _means, _integers(_bits, _signed))
for _unit in ("s", "ms", "us", "ns"):
    _TYPES[pa.duration(_unit)] = (fmt.INT64, (None, ("int", 64, True)), _INT64)


def _layout(column: Leaf, arrow_type: pa.DataType) -> _Layout | str:
    physical = value_of(column.element, SchemaElement.TYPE, I32, -1)
    logical = _logical_type(column.element)
    odd = f"stores {arrow_type} in a way whose statistics are not known"
    if pa.types.is_decimal(arrow_type):
        if logical != ("decimal", arrow_type.precision, arrow_type.scale):
            return odd
        return _decimals(column, physical, arrow_type) or odd
    if pa.types.is_timestamp(arrow_type):
        return _INT64 if physical == fmt.INT64 and logical == ("timestamp", arrow_type.unit) else odd
    expected, meanings, layout = _TYPES.get(arrow_type, (-1, (), _INT64))
    if physical != expected or logical not in meanings:
        return odd
    if layout is _HALF and value_of(column.element, SchemaElement.TYPE_LENGTH, I32, -1) != 2:
        return odd
    return layout


def _decimals(column: Leaf, physical: int, arrow_type: pa.DataType) -> _Layout | None:
    # More than 38 digits cannot be summarized, and a scan says so.
    most = 10 ** min(arrow_type.precision, 38) - 1
    limits, scale = (-most, most), arrow_type.scale
    if physical == fmt.INT32 or physical == fmt.INT64:
        width = 4 if physical == fmt.INT32 else 8
        return _Layout("decimal", SIGNED, width, f"<i{width}", limits, scale)
    if physical == fmt.FIXED_LEN_BYTE_ARRAY:
        width = value_of(column.element, SchemaElement.TYPE_LENGTH, I32, -1)
        return _Layout("decimal", FIXED_DECIMAL, width, None, limits, scale) if width > 0 else None
    if physical == fmt.BYTE_ARRAY:
        return _Layout("decimal", BYTES_DECIMAL, None, None, limits, scale)
    return None


_UNITS = {1: "ms", 2: "us", 3: "ns"}
_CONVERTED: dict[int, Any] = {
    6: ("date",), 7: ("time", "ms"), 8: ("time", "us"), 9: ("timestamp", "ms"), 10: ("timestamp", "us"),
    **{11 + i: ("int", 8 << i, False) for i in range(4)}, **{15 + i: ("int", 8 << i, True) for i in range(4)},
}  # fmt: skip


def _logical_type(element: Struct) -> tuple[Any, ...] | None:
    """What the schema says that the values mean; None if it says nothing, ("other", ...) where that does not matter."""
    new = value_of(element, SchemaElement.LOGICAL_TYPE, STRUCT)
    old = value_of(element, SchemaElement.CONVERTED_TYPE, I32)
    said = []
    if old is not None:
        decimal = (value_of(element, SchemaElement.PRECISION, I32), value_of(element, SchemaElement.SCALE, I32, 0))
        said.append(("decimal", *decimal) if old == 5 else _CONVERTED.get(old, ("other", old)))
    if new is not None:
        said.append(_new_logical_type(new))
    if len(said) == 2 and said[0] != said[1]:
        return ("other", *said)
    return said[0] if said else None


def _new_logical_type(union: Struct) -> tuple[Any, ...]:
    """The union LogicalType of parquet.thrift."""
    if len(union) != 1:
        return ("other", *union)
    ((number, (kind, value)),) = union.items()
    if kind != STRUCT:
        raise ThriftError(f"logical type {number} is not a struct")
    if number == 5:
        return ("decimal", value_of(value, 2, I32), value_of(value, 1, I32))
    if number == 6:
        return ("date",)
    if number in (7, 8):
        unit = value_of(value, 2, STRUCT, {})
        return ("time" if number == 7 else "timestamp", _UNITS.get(next(iter(unit), 0)))
    if number == 10:
        return ("int", value_of(value, 1, BYTE), value_of(value, 2, thrift.BOOL))
    return ("float16",) if number == 15 else ("other", number)


# ------------------------------------------------------------------ writers


class _Trust(NamedTuple):
    """Which bounds of a column are taken."""

    bounds: bool  # min_value and max_value
    old_pair: bool  # the deprecated min and max
    floats: bool  # without a count of NaN


def _trust(footer: Footer, leaf: int, layout: _Layout) -> _Trust | str:
    created_by = footer.created_by or ""
    found = _CREATED_BY.match(created_by)
    if found is None:
        return f"was written by {_short(created_by)}, whose statistics are not trusted"
    name, major, minor, patch, dash = found.groups()
    version: Version = (int(major), int(minor), int(patch), -1 if dash else 0)  # 1.10.0-SNAPSHOT comes before 1.10.0
    since = _WRITERS[name]
    is_float = layout.kind == "float"
    if _REWRITTEN in footer.key_value_metadata:
        return f"was put together by {_short(created_by)} from files of others"
    order = footer.column_order(leaf)
    right = version >= since[layout.comparison]
    if is_float:
        # The new count of NaN vouches for the bounds as well.
        bounds = order in (fmt.TYPE_ORDER, fmt.TOTAL_ORDER) and (right or version >= since.nan_count)
    else:
        bounds = order == fmt.TYPE_ORDER and right
    bounds |= order is None and right and layout.comparison in (SIGNED, FLOAT) and version >= since.undeclared
    old_pair = layout.comparison == SIGNED and version >= since.old_pair
    if not bounds and not old_pair:
        if right and order is None:
            return "declares no order of its statistics"
        return f"was written by {_short(created_by)}, whose statistics of such a column are not trusted"
    return _Trust(bounds, old_pair, right)


def _short(created_by: str) -> str:
    return repr(created_by if len(created_by) <= 40 else created_by[:37] + "...") if created_by else "nobody knows whom"


# ------------------------------------------------------------------ values

_EXACT = Context(prec=100)  # more digits than a decimal has


class _Column:
    """The chunks of one column, checked together; what `reasons` names is proved of none."""

    def __init__(
        self, footer: Footer, leaf: int, column: Leaf, layout: _Layout, trust: _Trust, rows: np.ndarray
    ) -> None:
        chunks = footer.chunk_statistics(leaf)
        verdicts, some, nans = thrift.chunk_verdicts(
            chunks,
            rows,
            required=column.max_definition_level == 0,
            floats=layout.kind == "float",
            width=layout.width or 0,
            bounds=trust.bounds,
            old_pair=trust.old_pair,
            uncounted=trust.floats,
        )
        self.layout, self.rows = layout, rows
        self.bounds = chunks[4:]
        self.nulls, self.nans = np.frombuffer(chunks[2], np.int64), np.frombuffer(nans, np.int64)
        self.some = np.frombuffer(some, np.bool_)
        self.reasons: dict[int, str] = {}
        if any(verdicts):
            self.reasons = {group: thrift.VERDICTS[verdict] for group, verdict in enumerate(verdicts) if verdict}

    def result(self) -> LeafExtrema:
        if self.layout.kind == "float":
            self.check_nan_alone()
        groups = np.flatnonzero(self.some)
        low, high = (self.decoded(list(compress(bounds, self.some.tolist()))) for bounds in self.bounds)
        self.check_values(groups, low, high)
        return LeafExtrema(
            self.layout.kind,
            self.layout.scale,
            self.rows,
            self.nulls,
            self.nans,
            self.some,
            self.spread(groups, low),
            self.spread(groups, high),
            self.reasons,
        )

    def check_nan_alone(self) -> None:
        """Row groups of NaN alone have no bounds, or, in IEEE 754's order, NaN for them."""
        for group in np.flatnonzero(~self.some & (self.nulls < self.rows)).tolist():
            if group not in self.reasons and not all(_is_nan(bounds[group], self.layout) for bounds in self.bounds):
                self.reasons[group] = thrift.OF_NOTHING

    def decoded(self, bounds: list[bytes]) -> Any:
        """The bounds as numbers."""
        if self.layout.dtype is None:
            return [int.from_bytes(bound, "big", signed=True) for bound in bounds]
        numbers = np.frombuffer(b"".join(bounds), self.layout.dtype)
        return numbers.astype(np.float64) if self.layout.kind == "float" else numbers

    def check_values(self, groups: np.ndarray, low: Any, high: Any) -> None:
        if self.layout.dtype is None:
            low, high = np.array(low, dtype=object), np.array(high, dtype=object)
        if self.layout.kind == "float":
            if (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
                return
            self.refuse(groups, low > high, "contradicts itself: a minimum above the maximum")
            self.refuse(groups, np.isinf(low) | np.isinf(high), "has an infinite bound")
            self.refuse(groups, np.isnan(low) | np.isnan(high), "has a NaN for a bound")
            return
        least, most = self.layout.limits
        self.refuse(groups, (low < least) | (high > most), "contradicts itself: a bound beyond its type")
        self.refuse(groups, low > high, "contradicts itself: a minimum above the maximum")

    def refuse(self, groups: np.ndarray, where: np.ndarray, reason: str) -> None:
        """Give the row groups in this mask a reason, in place of one that they have."""
        if where.any():
            self.reasons.update(dict.fromkeys(groups[where.astype(bool)].tolist(), reason))

    def spread(self, groups: np.ndarray, numbers: Any) -> list[Any]:
        """A list with a place for each row group."""
        plain = numbers if isinstance(numbers, list) else numbers.tolist()
        if len(plain) == len(self.rows):
            return plain
        out = [0] * len(self.rows)
        for group, number in zip(groups.tolist(), plain, strict=True):
            out[group] = number
        return out


def decimal_of(unscaled: int, scale: int) -> Decimal:
    """unscaled / 10**scale, exactly."""
    return Decimal(unscaled).scaleb(-scale, _EXACT)


def _is_nan(bound: bytes | None, layout: _Layout) -> bool:
    return bound is None or (len(bound) == layout.width and bool(np.isnan(np.frombuffer(bound, layout.dtype)[0])))
