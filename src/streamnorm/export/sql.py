"""Scalers as SQL: a query, or a view, that normalizes rows where they lie."""

# Design: columns are always written as "source"."name", in double quotes and qualified. SQLite takes a quoted name
# that is no column for a text, and computes with it; a qualified one is an error. Numbers are written so that each
# dialect reads the very double: DuckDB takes 0.1 for a decimal and 0.1e0 for a double; PostgreSQL has texts with a
# type; SQLite rounds texts of numbers by an algorithm of its own, so that what has more than 15 digits is made of
# integers and powers of two, which are exact. Clipping is by comparisons, which keep nulls; DuckDB and PostgreSQL
# hold NaN for larger than any number, which the kernel does not.

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import StreamnormError
from ..scalers._paths import EACH, each_of, place_of
from ._affine import MappedColumn, named_columns

ULPS = 0  # of float64, between the query's results and those of `transform`, in all three dialects

Name = str | tuple[str, ...]

_SOURCE = '"source"'
_ITEM = '"item"'
_SAFE_DIGITS = 15  # that any reader of decimals gets right where the number is a double
_POWER = 62  # of two, within SQLite's integers


def to_sql(
    scaler: Any,
    table: Name,
    *,
    dialect: str = "duckdb",
    view: Name | None = None,
    passthrough: str | Sequence[str] | None = None,
    inverse: bool = False,
    columns: Iterable[str] | None = None,
) -> str:
    """A query that normalizes the rows of a table, or a view that does.

    Parameters
    ----------
    scaler : scaler
        Fitted on named columns.
    table : str or tuple of str
        The table; with its schema (and catalog) as a tuple, ``("main", "trips")``. DuckDB also takes a file's path.
    dialect : {"duckdb", "sqlite", "postgresql"}
        The system that runs it.
    view : str, tuple of str or None
        Create a view of this name, which normalizes when it is read and stores nothing.
    passthrough : str, sequence of str or None
        Columns that come out as they are, before the normalized ones. None: no others.
    inverse : bool, default False
        Undo the normalization instead, except for clipping.
    columns : iterable of str or None
        The names of all columns of the table, or its ``pyarrow.Schema``: what the scaler names and is none of them
        lies inside of one, such as ``"pos.x"`` in a struct. None: every name is that of a column, but for positions
        of lists, ``"v[0]"`` and so on up to the last one.

    Returns
    -------
    str
        One statement, without a semicolon.

    Raises
    ------
    ValueError
        If a name cannot be an identifier of the dialect, a column would come out twice, or there is no such dialect.
    StreamnormError
        If the scaler's columns have no names, or one is a list or lies inside of a column, and the dialect has no way
        to say so: SQLite for both, PostgreSQL for lists under one statistic.

    Notes
    -----
    The results are doubles, and the same as those of ``transform`` for the same doubles (``ULPS`` is 0); those of a
    float32 column are not rounded to float32. Nulls stay null, and NaN stays NaN; SQLite has no NaN and shows null.
    Columns of dates, times and, in PostgreSQL, booleans have to be made numbers first. In SQLite a text or a blob in a
    column becomes null, and not 0. Where a result would overflow, or vanish, PostgreSQL raises an error.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import streamnorm as sn
    >>> scaler = sn.StandardScaler().fit(pa.table({"fare": [1.0, 4.0]}))
    >>> print(to_sql(scaler, "trips", view="normalized", passthrough="id"))
    CREATE VIEW "normalized" AS
    SELECT
      "source"."id" AS "id",
      (CAST("source"."fare" AS DOUBLE) - 2.5e0) / 1.5e0 AS "fare"
    FROM "trips" AS "source"
    """
    if dialect not in _DIALECTS:
        raise ValueError(f"dialect must be one of {', '.join(map(repr, _DIALECTS))}, got {dialect!r}")
    spoken = _DIALECTS[dialect]
    features = named_columns(scaler, "SQL")
    known = _own_columns(columns, [column.name for column in features])
    kept = [passthrough] if isinstance(passthrough, str) else list(passthrough or ())
    _check_unique([*kept, *(column.name for column in features)], spoken)
    lines = [f"  {_SOURCE}.{spoken.quote(name)} AS {spoken.quote(name)}" for name in kept]
    for column in features:
        x = _value(column.name, known, spoken)
        if scaler.summary_[column.name].lists is None:
            y = mapped(column, x, spoken, inverse)
        elif spoken.each is None:
            raise StreamnormError(f"column {column.name!r} holds lists, which {spoken.title} cannot map: leave it out")
        else:
            y = spoken.each(x, mapped(column, _ITEM, spoken, inverse))
        lines.append(f"  {y} AS {spoken.quote(column.name)}")
    query = "SELECT\n" + ",\n".join(lines) + f"\nFROM {spoken.quote_path(table, 'table')} AS {_SOURCE}"
    return query if view is None else f"CREATE VIEW {spoken.quote_path(view, 'view')} AS\n{query}"


def _own_columns(columns: Iterable[str] | None, names: Sequence[str]) -> set[str]:
    """Those of the names that are columns, for all that is known."""
    if columns is not None:
        return set(getattr(columns, "names", columns))
    known = set(names)
    for name in names:
        place = each_of(name)
        # A scaler has all positions of a list or none, so that a lonely "v[0]" is a column that is called so.
        if place is not None and name == f"{place.removesuffix(EACH)}[0]":
            run = itertools.takewhile(known.__contains__, (f"{name[:-3]}[{i}]" for i in itertools.count()))
            known -= set(run)
    return known


def _value(name: str, known: set[str], spoken: Dialect) -> str:
    """A column, or what lies inside of one."""
    if name in known:
        return f"{_SOURCE}.{spoken.quote(name)}"
    asked = each_of(name)
    place = place_of(asked or name, known)
    if spoken.field is None:
        raise StreamnormError(
            f"{name!r} lies inside of column {place.column!r}, where {spoken.title} cannot look: leave it out, or make "
            "it a column of its own"
        )
    x = f"{_SOURCE}.{spoken.quote(place.column)}"
    for field in place.fields:
        x = spoken.field(x, spoken.quote(field))
    return x if asked is None else f"{x}[{int(name[len(asked) - 2 : -1]) + 1}]"


def mapped(column: MappedColumn, x: str, spoken: Dialect, inverse: bool) -> str:
    """The map of a column over what `x` says, or its inverse, as an expression."""
    y = spoken.double(x, column.kind)
    bare = True  # whether y needs no parentheses as the left operand of what follows
    for operator, number in column.steps(inverse):
        y = f"{y if bare or operator in '+-' else f'({y})'} {operator} {spoken.number(number)}"
        bare = operator in "*/"
    clip = column.clip(inverse)
    return y if clip is None else spoken.clip(y, *map(spoken.number, clip))


def _check_unique(names: Sequence[str], spoken: Dialect) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a column is given by its name, got {name!r}")
        key = name if spoken.case_sensitive else _lower(name)
        if key in seen:
            same = "" if seen[key] == name else f", which is the same as {seen[key]!r} to {spoken.title}"
            raise ValueError(f"column {name!r} would come out twice{same}: rename it, or leave it out of passthrough")
        seen[key] = name


def _lower(name: str) -> str:
    """In lower case as far as ASCII goes, which is how names are compared."""
    return "".join(c.lower() if c.isascii() else c for c in name)


@dataclass(frozen=True)
class Dialect:
    """How one system writes names, numbers and the few expressions that a map needs."""

    title: str
    case_sensitive: bool
    max_parts: int  # of a table's name
    max_bytes: int | None  # of an identifier
    takes_empty: bool
    double: Callable[[str, str | None], str]
    number: Callable[[float], str]
    clip: Callable[[str, str, str], str]
    field: Callable[[str, str], str] | None = None  # of a struct; None: no way to look inside of columns
    each: Callable[[str, str], str] | None = None  # of a list, by what becomes of `item`

    def quote(self, name: str) -> str:
        """An identifier in quotes; ValueError if it cannot be one."""
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{name!r} is not valid Unicode, and no name in {self.title}: rename it") from None
        if "\0" in name or not (name or self.takes_empty):
            raise ValueError(f"{name!r} is no name in {self.title}: rename it")
        if self.max_bytes is not None and size > self.max_bytes:
            raise ValueError(f"{name!r} has {size} bytes, {self.title} cuts names after {self.max_bytes}: rename it")
        return '"' + name.replace('"', '""') + '"'

    def quote_path(self, name: Name, what: str) -> str:
        """A table's name, or a tuple of schema and name."""
        parts = (name,) if isinstance(name, str) else name
        if not isinstance(parts, tuple) or not parts or not all(isinstance(part, str) for part in parts):
            raise TypeError(f"{what} must be a name, or a tuple of a schema and a name, got {name!r}")
        if len(parts) > self.max_parts:
            raise ValueError(f"{what} has {len(parts)} parts, and {self.title} takes up to {self.max_parts}: {name!r}")
        return ".".join(map(self.quote, parts))


# ------------------------------------------------------------------------------------------------ DuckDB


def _duckdb_double(x: str, kind: str | None) -> str:
    # Its own cast of decimals with many digits is off by a bit now and then; that of texts is not.
    return f"CAST(CAST({x} AS VARCHAR) AS DOUBLE)" if kind == "decimal" else f"CAST({x} AS DOUBLE)"


def _duckdb_number(value: float) -> str:
    text = repr(value)
    return _signed(text if "e" in text else text.removesuffix(".0") + "e0")


def _duckdb_clip(y: str, low: str, high: str) -> str:
    return f"CASE WHEN {y} < {low} THEN {low} WHEN {y} > {high} AND NOT isnan({y}) THEN {high} ELSE {y} END"


def _duckdb_field(x: str, field: str) -> str:
    return f"{x}.{field}"


def _duckdb_each(x: str, mapped: str) -> str:
    return f"[{mapped} FOR {_ITEM} IN {x}]"


# ------------------------------------------------------------------------------------------------ PostgreSQL


def _postgresql_field(x: str, field: str) -> str:
    return f"({x}).{field}"



def _postgresql_double(x: str, kind: str | None) -> str:
    return f"CAST({x} AS double precision)"


def _postgresql_number(value: float) -> str:
    return f"'{value!r}'::double precision"


def _postgresql_clip(y: str, low: str, high: str) -> str:
    nan = "'NaN'::double precision"
    return f"CASE WHEN {y} < {low} THEN {low} WHEN {y} > {high} AND {y} <> {nan} THEN {high} ELSE {y} END"


# ------------------------------------------------------------------------------------------------ SQLite


def _sqlite_double(x: str, kind: str | None) -> str:
    return f"CASE WHEN typeof({x}) IN ('integer', 'real') THEN CAST({x} AS REAL) END"


def _sqlite_number(value: float) -> str:
    """The double in digits if it has few, else as an integer times or over powers of two, each exact."""
    exact = Decimal(value)
    _, digits, exponent = exact.as_tuple()
    if len(digits) <= _SAFE_DIGITS and isinstance(exponent, int) and -22 <= exponent <= 0:
        return _signed(f"{exact:f}" if exponent else f"{exact:f}.0")
    mantissa, power = math.frexp(value)
    whole, power = int(math.ldexp(mantissa, 53)), power - 53
    zeros = (whole & -whole).bit_length() - 1
    whole, power = whole >> zeros, power + zeros
    operator = "*" if power > 0 else "/"
    factors = [2 ** min(_POWER, abs(power) - done) for done in range(0, abs(power), _POWER)]
    text = f"CAST({whole} AS REAL)" + "".join(f" {operator} {factor}" for factor in factors)
    return f"({text} /* {value!r} */)"


def _sqlite_clip(y: str, low: str, high: str) -> str:
    return f"min(max({y}, {low}), {high})"  # of two numbers, and null if one of them is


def _signed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text  # two minus signs begin a comment


DUCKDB = Dialect(
    "DuckDB", False, 3, None, False, _duckdb_double, _duckdb_number, _duckdb_clip, _duckdb_field, _duckdb_each
)
_DIALECTS = {
    "duckdb": DUCKDB,
    "sqlite": Dialect("SQLite", False, 2, None, True, _sqlite_double, _sqlite_number, _sqlite_clip),
    "postgresql": Dialect(
        "PostgreSQL", True, 3, 63, False, _postgresql_double, _postgresql_number, _postgresql_clip, _postgresql_field
    ),
}
DIALECTS = tuple(_DIALECTS)
