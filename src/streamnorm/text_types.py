"""Types that are given by hand for columns of CSV and JSON lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_DECIMAL = re.compile(r"decimal(?:128)?\((\d+), ?(-?\d+)\)")


def types_of(given: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """Arrow's types by their names.

    Raises
    ------
    ValueError
        If there is no such type.
    """
    return {column: type_of(column, kind) for column, kind in given.items()}


def type_of(column: str, kind: Any) -> pa.DataType:
    """The type of this name for a column, such as "float32", "int64", "string", "timestamp[ms]", "decimal(10, 2)"."""
    if isinstance(kind, pa.DataType):
        return kind
    found = _DECIMAL.fullmatch(kind) if isinstance(kind, str) else None
    try:
        return pa.type_for_alias(kind) if found is None else pa.decimal128(int(found[1]), int(found[2]))
    except (ValueError, TypeError, pa.ArrowException):
        raise ValueError(
            f"types: {kind!r}, given for column {column!r}, is no type: use Arrow's names, such as float32, int64, "
            "string, bool, date32, timestamp[ms] or decimal(10, 2)"
        ) from None

