"""A hash of statistics alone: equal numbers give equal digests, however they came about and are written."""

# Design: numbers are hashed by value. 2, 2.0 and Decimal("2.00") are one number, and so are 0.0 and -0.0: a column that
# was written as integers, floats or decimals of another scale has the digest of what is in it. With exact statistics
# the digest then depends on the rows alone. Turned down: the digest of the saved document, which would also change with
# parameters, paths, versions, and the order of columns.

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .rounding import SUM_EXPONENT, from_text, to_text

if TYPE_CHECKING:
    from .summary import ColumnSummary, Summary

_FORM = ("kind", "scale", "skips_infinite")  # how numbers are written, not what they are
_SUMS = {"sum": 1, "sum_squares": 2}  # powers of the values in them


def digest(summary: Summary) -> str:
    """A hash of the statistics alone: equal statistics, equal digest.

    It does not depend on parameters, versions, the files that were counted, the order of columns, or whether equal
    numbers are integers, floats or decimals. Of exact statistics, minima and maxima it does not depend on the order,
    the partition and the merges of the data either; of default moments and quantiles it does, like their last bits.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    str
        ``"sha256:"`` and 64 hexadecimal digits.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> sn.fit(pa.table({"x": [1, 2]})).digest() == sn.fit(pa.table({"x": [1.0, 2.0]})).digest()
    True
    """
    columns = [[name, _canonical_column(column)] for name, column in summary.items()]
    columns.sort(key=lambda column: str(column[0]))
    text = json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _canonical_column(summary: ColumnSummary) -> dict[str, Any]:
    state = summary.stats.state()
    decimals = _scale(state)
    column = {} if summary.quantiles is None else {"quantiles": _canonical(sorted(summary.quantiles.items()))}
    if summary.given is not None:
        column["given"] = _canonical(summary.given)
    for key, value in state.items():
        if key in _SUMS and decimals:
            power = _SUMS[key]
            exponent = power * SUM_EXPONENT
            column[key] = _decimal(from_text(value, exponent) >> -exponent, power * decimals)
        elif key in ("min", "max") and isinstance(value, str):
            column[key] = _decimal(_unscaled(value), decimals)
        elif key not in _FORM:
            column[key] = _canonical(value)
    return column


def _scale(state: Mapping[str, Any]) -> int:
    """Digits behind the point of a column of decimals."""
    if "scale" in state:
        return state["scale"]
    low = state.get("min")
    return -int(Decimal(low).as_tuple().exponent) if isinstance(low, str) else 0


def _unscaled(text: str) -> int:
    """The digits of a whole number or a decimal, as one number."""
    sign, digits, _ = Decimal(text).as_tuple()
    return (-1) ** sign * int("".join(map(str, digits)))


def _decimal(unscaled: int, scale: int) -> str:
    """unscaled / 10**scale: as a multiple of a power of two if it is one, else without zeros at its end."""
    if scale < 0:
        unscaled, scale = unscaled * 10**-scale, 0
    quotient, rest = divmod(unscaled, 5**scale)
    if rest == 0:
        return to_text(quotient, -scale)
    while unscaled % 10 == 0:
        unscaled //= 10
        scale -= 1
    return f"{unscaled}e-{scale}"


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return repr(value)
        numerator, denominator = value.as_integer_ratio()
        return to_text(numerator, 1 - denominator.bit_length())
    if isinstance(value, int):
        return to_text(value, 0)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_canonical(item) for item in value]
    return value
