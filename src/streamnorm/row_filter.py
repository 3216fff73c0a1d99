"""Row filters at work: a parsed condition bound to a schema, the mask of a batch, and what bounds rule out."""

# Design: the logic is SQL's, of three values: a comparison with null is null, and null is not true, so that the row is
# dropped. NaN compares as IEEE 754 has it: only != is true of it. A literal is cast to the type of its column, once:
# numbers without rounding, so that 2.5 means the right thing to integers and 300 to an int8. The same tree is asked
# what it can be, true, false or null, given bounds of its columns; that alone decides which row groups and folders
# are read. Turned down: pyarrow.dataset, which does the like and costs 115 MB to import.

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import numpy as np
import pyarrow as pa

from .errors import DataError
from .scalers._buffers import scalar_of
from .scalers._select import value_type
from .summary import near_matches
from .where import Both, Column, Compare, Condition, IsIn, IsNull, IsTrue, Node, Not, Value

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
LONGEST_CHAIN = 16  # of `in` as comparisons; longer lists go by hash
_FUNCTIONS = {"=": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of a column in some rows.

    Attributes
    ----------
    low, high : Any
        Of its values beside nulls and NaN; None if there is none.
    nulls, nans : bool
        Whether there may be some.
    values : bool
        Whether there may be others.
    """

    low: Any
    high: Any
    nulls: bool
    nans: bool
    values: bool


Known = Callable[[str], "Bounds | None"]


@dataclass(frozen=True, slots=True)
class _Can:
    """Which of its two values a condition can take for some row; null is never asked for."""

    true: bool
    false: bool


_ANYTHING = _Can(True, True)


class RowFilter:
    """A condition on the rows of a schema.

    Parameters
    ----------
    condition : Condition
    schema : pyarrow.Schema

    Raises
    ------
    DataError
        If a column is not there, or cannot be compared with what it is compared with.
    """

    def __init__(self, condition: Condition, schema: pa.Schema) -> None:
        self.condition = condition
        self._types: dict[str, pa.DataType] = {}
        for column in condition.columns:
            found = schema.get_all_field_indices(column.name)
            if len(found) != 1:
                why = f"there are {len(found)} columns" if found else "there is no column"
                hint = "give them different names" if found else near_matches(column.name, schema.names)
                raise condition.error(f"{why} {column.name!r}: {hint}", column.at, column.name)
            self._types[column.name] = value_type(schema.field(found[0]).type)
        self._literals: dict[tuple[str, Value], _Literal] = {}
        self._bind(condition.root)

    @property
    def names(self) -> list[str]:
        """The columns that it needs."""
        return self.condition.names

    def rows_of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows for which the condition is true."""
        import pyarrow.compute  # noqa: F401  9 MB, which other jobs do without

        columns = {name: _comparable(batch.column(batch.schema.get_field_index(name))) for name in self.names}
        mask = self._mask(self.condition.root, columns)
        return pa.RecordBatch.from_arrays([_taken(column, mask) for column in batch.columns], schema=batch.schema)

    def rules_out(self, known: Known) -> bool:
        """Whether what is known of the columns says that no row can pass."""
        return not self._can(self.condition.root, known).true

    # ------------------------------------------------------------------------------------------------ types

    def _bind(self, node: Node) -> None:
        if isinstance(node, Both):
            for part in node.parts:
                self._bind(part)
        elif isinstance(node, Not):
            self._bind(node.part)
        elif isinstance(node, IsTrue):
            if not pa.types.is_boolean(self._types[node.column.name]):
                kind = self._types[node.column.name]
                what = f"column {node.column.name!r} holds {kind}, and stands alone only if it holds true and false"
                raise self.condition.error(f"{what}: compare it with something", node.column.at, node.column.name)
        elif isinstance(node, IsIn):
            for value in node.values:
                self._bind_literal(node.column, "=", value)
        elif isinstance(node, Compare) and isinstance(node.right, Value):
            self._bind_literal(node.left, node.op, node.right)
        elif isinstance(node, Compare):
            self._check_alike(node.left, node.right)

    def _bind_literal(self, column: Column, op: str, value: Value) -> None:
        kind = self._types[column.name]
        why = _mismatch(kind, value.value)
        if why is None:
            try:
                self._literals[column.name, value] = _Literal(kind, value.value)
            except (pa.ArrowException, ValueError, OverflowError, InvalidOperation):
                why = f"{value.value!r} is no {kind}"
                if pa.types.is_temporal(kind):
                    why += ", which is written as in '2024-01-31' or '2024-01-31 12:00:00'"
        if why is None and pa.types.is_boolean(kind) and op not in ("=", "!="):
            why = "true and false have no order: use = or !="
        if why is not None:
            raise self.condition.error(f"column {column.name!r} holds {kind}: {why}", value.at, column.name)

    def _check_alike(self, left: Column, right: Column) -> None:
        ours, theirs = self._types[left.name], self._types[right.name]
        if _family(ours) != _family(theirs) or _family(ours) == "other":
            what = f"columns {left.name!r} ({ours}) and {right.name!r} ({theirs}) cannot be compared"
            raise self.condition.error(f"{what}: cast one first", left.at, left.name)

    # ------------------------------------------------------------------------------------------------ masks

    def _mask(self, node: Node, columns: Mapping[str, pa.Array]) -> pa.Array:
        import pyarrow.compute as pc

        if isinstance(node, Both):
            join = pc.and_kleene if node.op == "and" else pc.or_kleene
            mask = self._mask(node.parts[0], columns)
            for part in node.parts[1:]:
                mask = join(mask, self._mask(part, columns))
            return mask
        if isinstance(node, Not):
            return pc.invert(self._mask(node.part, columns))
        if isinstance(node, IsNull):
            return columns[node.column.name].is_null()
        if isinstance(node, IsTrue):
            return columns[node.column.name]
        if isinstance(node, IsIn):
            return self._in(node, columns[node.column.name])
        array = columns[node.left.name]
        if isinstance(node.right, Value):
            return self._literals[node.left.name, node.right].compare(array, node.op)
        try:
            return getattr(pc, _FUNCTIONS[node.op])(array, columns[node.right.name])
        except pa.ArrowException as error:
            what = f"columns {node.left.name!r} and {node.right.name!r} cannot be compared ({error})"
            raise self.condition.error(what, node.left.at, node.left.name) from None

    def _in(self, node: IsIn, array: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        literals = [self._literals[node.column.name, value] for value in node.values]
        if len(literals) > LONGEST_CHAIN and not pa.types.is_floating(array.type):
            values = [pa.repeat(each.scalar.cast(array.type), 1) for each in literals if each.scalar is not None]
            found = pc.is_in(array, value_set=pa.concat_arrays([pa.nulls(0, array.type), *values]))
            return pc.if_else(array.is_valid(), found, scalar_of(None, pa.bool_()))
        mask = literals[0].compare(array, "=")
        for each in literals[1:]:
            mask = pc.or_kleene(mask, each.compare(array, "="))
        return mask

    # ------------------------------------------------------------------------------------------------ bounds

    def _can(self, node: Node, known: Known) -> _Can:
        if isinstance(node, Both):
            parts = [self._can(part, known) for part in node.parts]
            if node.op == "and":
                return _Can(all(part.true for part in parts), any(part.false for part in parts))
            return _Can(any(part.true for part in parts), all(part.false for part in parts))
        if isinstance(node, Not):
            part = self._can(node.part, known)
            return _Can(part.false, part.true)
        if isinstance(node, Compare):
            bounds = known(node.left.name)
            if bounds is None or isinstance(node.right, Column):
                return _ANYTHING
            return self._literals[node.left.name, node.right].can(bounds, node.op)
        bounds = known(node.column.name)
        if bounds is None:
            return _ANYTHING
        if isinstance(node, IsNull):
            return _Can(bounds.nulls, bounds.values or bounds.nans)
        if isinstance(node, IsTrue):
            return _Can(bounds.values and bool(bounds.high), bounds.values and not bounds.low)
        each = [self._literals[node.column.name, value].can(bounds, "=") for value in node.values]
        return _Can(any(can.true for can in each), all(can.false for can in each))


class _Literal:
    """A literal in the type of its column.

    A number that the type does not hold lies between two that it does, or beyond all: `below` and `above`.
    """

    def __init__(self, kind: pa.DataType, value: Any) -> None:
        self.scalar: pa.Scalar | None = None
        self._below: pa.Scalar | None = None
        self._above: pa.Scalar | None = None
        if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            self._place(kind, Decimal(value))
        elif pa.types.is_float16(kind):
            self.scalar = scalar_of(float(value), pa.float64())
        elif pa.types.is_floating(kind):
            self.scalar = scalar_of(float(value), kind)
        elif pa.types.is_temporal(kind):
            self.scalar = _moment(kind, value)
        else:
            self.scalar = scalar_of(value, _plain(kind))

    def _place(self, kind: pa.DataType, value: Decimal) -> None:
        scale = kind.scale if pa.types.is_decimal(kind) else 0
        low, high = _reach(kind)
        with localcontext() as context:
            context.prec = 1000
            # A literal of an enormous exponent would be spelled out in full: it is beyond all numbers or next to zero.
            value = max(min(value, Decimal(10) ** 90), -(Decimal(10) ** 90))
            unscaled = value.scaleb(scale)
            if value and value.adjusted() < -90:
                unscaled = Decimal("0.5").copy_sign(value)
            below, above = math.floor(unscaled), math.ceil(unscaled)

        def scalar(number: int) -> pa.Scalar | None:
            if not low <= number <= high:
                return None
            if scale or pa.types.is_decimal(kind):
                with localcontext() as context:
                    context.prec = 100
                    return scalar_of(Decimal(number).scaleb(-scale), kind)
            return scalar_of(number, kind)

        if below == above:
            self.scalar = scalar(below)
        # Beyond the type's reach, the nearest that it holds is on the other side.
        self._below = scalar(min(below, high))
        self._above = scalar(max(above, low))

    def _as_test(self, op: str) -> tuple[str, pa.Scalar] | bool:
        """The comparison that means the same; or what it is for all values."""
        if self.scalar is not None:
            return op, self.scalar
        if op in ("=", "!="):
            return op == "!="
        if op in ("<", "<="):
            return ("<=", self._below) if self._below is not None else False
        return (">=", self._above) if self._above is not None else False

    def compare(self, array: pa.Array, op: str) -> pa.Array:
        """The mask of ``array op literal``."""
        import pyarrow.compute as pc

        test = self._as_test(op)
        if isinstance(test, bool):
            return pc.if_else(array.is_valid(), scalar_of(test, pa.bool_()), scalar_of(None, pa.bool_()))
        return getattr(pc, _FUNCTIONS[test[0]])(array, test[1])

    def can(self, bounds: Bounds, op: str) -> _Can:
        """What ``column op literal`` can be within bounds."""
        if bounds.nans:  # of which only != is true
            inner = self.can(Bounds(bounds.low, bounds.high, bounds.nulls, False, bounds.values), op)
            return _Can(inner.true or op == "!=", inner.false or op != "!=")
        if not bounds.values:
            return _Can(False, False)
        test = self._as_test(op)
        if isinstance(test, bool):
            return _Can(test, not test)
        op, value, low, high = test[0], _stored(test[1]), bounds.low, bounds.high
        if op == "=":
            return _Can(low <= value <= high, not low == value == high)
        if op == "!=":
            return _Can(not low == value == high, low <= value <= high)
        if op == "<":
            return _Can(low < value, high >= value)
        if op == "<=":
            return _Can(low <= value, high > value)
        if op == ">":
            return _Can(high > value, low <= value)
        return _Can(high >= value, low < value)


def _stored(scalar: pa.Scalar) -> Any:
    """A scalar as footers tell bounds: dates and times as the integers that they are stored as."""
    if pa.types.is_date32(scalar.type) or pa.types.is_time32(scalar.type):
        return scalar.cast(pa.int32()).as_py()
    if pa.types.is_temporal(scalar.type):
        return scalar.cast(pa.int64()).as_py()
    return scalar.as_py()


def _reach(kind: pa.DataType) -> tuple[int, int]:
    """The smallest and the largest unscaled number of a type."""
    if pa.types.is_decimal(kind):
        return 1 - 10**kind.precision, 10**kind.precision - 1
    if pa.types.is_unsigned_integer(kind):
        return 0, (1 << kind.bit_width) - 1
    return -(1 << (kind.bit_width - 1)), (1 << (kind.bit_width - 1)) - 1


def _moment(kind: pa.DataType, text: str) -> pa.Scalar:
    """A date or time; where the column has a time zone and the text none, it is UTC."""
    if pa.types.is_time(kind):
        time = datetime.time.fromisoformat(text.strip())
        micros = ((time.hour * 60 + time.minute) * 60 + time.second) * 10**6 + time.microsecond
        number = micros * _PER_SECOND[kind.unit] // 10**6
        return scalar_of(number, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    scalar = scalar_of(text.strip(), pa.string())
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return scalar.cast(kind)
    try:
        return scalar.cast(kind)
    except pa.ArrowInvalid:
        return scalar.cast(pa.timestamp(kind.unit)).cast(pa.timestamp(kind.unit, "UTC")).cast(kind)


def _family(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if _is_text(kind):
        return "string"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "time" if pa.types.is_temporal(kind) else "other"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _mismatch(kind: pa.DataType, value: Any) -> str | None:
    family = _family(kind)
    if family == "other":
        return "only is null and is not null can be asked of it"
    if isinstance(value, bool):
        return None if family == "boolean" else "true and false are no such values"
    if isinstance(value, str):
        return None if family in ("string", "time") else "compare it with a number or the like, not with a string"
    if family == "number":
        return None
    return "compare it with true or false" if family == "boolean" else "compare it with a string in single quotes"


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _comparable(array: pa.Array) -> pa.Array:
    """The same values in a type that Arrow compares."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _comparable(array.storage)
    if pa.types.is_dictionary(kind):
        return _comparable(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return _comparable(pc.run_end_decode(array))
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    return array.cast(pa.float64()) if pa.types.is_float16(kind) else array


def _taken(column: pa.Array, mask: pa.Array) -> pa.Array:
    """The values where the mask is true."""
    try:
        return column.filter(mask)
    except pa.ArrowNotImplementedError:  # of views, in some versions; runs of rows can always be joined
        passes = np.concatenate(([False], mask.fill_null(False).to_numpy(zero_copy_only=False), [False]))
        edges = np.flatnonzero(passes[1:] != passes[:-1]).reshape(-1, 2)
        return pa.concat_arrays([column.slice(0, 0), *(column.slice(start, stop - start) for start, stop in edges)])


def filtered(batches: Any, rows: RowFilter | None, columns: Sequence[str] | None = None) -> Any:
    """Batches without the rows that the filter drops, and of these columns alone."""
    for batch in batches:
        if rows is not None:
            batch = rows.rows_of(batch)
        yield batch if columns is None else batch.select(list(columns))


def key_bounds(value: Any) -> Bounds:
    """Of a column that has the same value in all rows."""
    return Bounds(value, value, value is None, False, value is not None)


def check_weights(sample_weight: Any) -> None:
    """Raise DataError where weights come apart from the rows that a filter drops."""
    if sample_weight is not None and not isinstance(sample_weight, str):
        raise DataError("where drops rows, and sample_weight stands apart from them: pass the name of a column")
