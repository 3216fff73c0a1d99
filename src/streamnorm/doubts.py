"""Doubts: what a fit has found that its user should know before trusting the result, as Python warnings."""

# Design: doubts are computed from the statistics when they are asked for, so that `inspect` shows those of any state,
# and the state does not carry texts. A fit tells them once, one warning for each kind, which names the columns;
# loading and merging tell nothing. `partial_fit` tells what is new and what more data cannot heal: that a column is
# constant or empty *so far* is no news while a stream goes on. Turned down: telling it from the first batch on (every
# column is constant in a batch of one row).
#
# Design: the doubt about the mean's size is not about the standard deviation. The kernels keep the mean and the sum of
# squares as pairs of doubles and square deviations from a center within rounding of the mean; measured against
# rational arithmetic, for normal, drifting and two-valued data and for single outliers, fitted at once, merged value
# by value, and merged and saved in 300 parts, the relative error of std stays below 1e-15 for |mean| / std from 1e0 to
# 1e16 (test_doubts.py holds it to 1e-14 up to 1e15). What suffers is the normalized value: the center is one double,
# off by up to half a unit in its last place, and so every (x - center) / std is off by up to 2^-53 |mean| / std. The
# threshold is where that passes 2^-24, the rounding error of a float32 of size 1: at |mean| / std = 2^29, 5e8. Exact
# arithmetic in the fit would change nothing; a constant taken away before the data became doubles would. Turned down:
# a threshold on std's error, which would never be crossed.

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from .errors import StreamnormWarning
from .memory import RANK_ERROR
from .summary import ColumnSummary

MAX_MEAN_TO_STD = 2.0**29
NAMED = 5  # columns that a warning names
_PACKAGE = os.path.join(os.path.dirname(__file__), "")

# What is said of each kind; {0} is what only one column has to say.
_TEXTS = {
    "no-values": "no value in any row, only null or NaN{0}; left as it is, there being nothing to normalize by",
    "constant": "no spread to scale by{0}; centered and not scaled",
    "digits": "more digits than a double holds{0}; values are rounded before they are normalized",
    "mean": "a mean that is large beside the standard deviation{0}; normalized values have fewer digits than a float32 "
    "unless a constant is subtracted before the data is stored",
    "rank-error": f"quantiles with a rank error above {RANK_ERROR}{{0}}, because the sketches of many columns share a "
    "quarter of the memory allowed; with more memory they are better",
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing to know about one column.

    Attributes
    ----------
    code : {"no-values", "constant", "digits", "mean", "rank-error"}
    text : str
        A clause that can follow the column's name and a colon.
    """

    code: str
    text: str


def doubts_of(column: ColumnSummary, method: Any, *, so_far: bool = False) -> list[Doubt]:
    """What is doubtful about a column that is normalized by a method.

    Parameters
    ----------
    column : ColumnSummary
    method : StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler
        Need not be fitted.
    so_far : bool, default False
        Leave out what more data can heal.

    Examples
    --------
    >>> import streamnorm as sn
    >>> scaler = sn.MinMaxScaler().fit([[2.0], [2.5]])
    >>> doubts_of(scaler.summary_[0], scaler)
    []
    >>> [doubt] = doubts_of(scaler.fit([[2**53 + 2], [7]]).summary_[0], scaler)
    >>> doubt.code
    'digits'
    """
    if not column.has_values:
        details: list[tuple[str, str | None]] = [("no-values", "" if column.rows and not so_far else None)]
    else:
        constant = None if so_far else _constant(column, method)
        details = [
            ("constant", constant),
            ("digits", _digits(column)),
            ("mean", None if constant is not None else _mean(column, method)),
            ("rank-error", _rank_error(column)),
        ]
    found = [Doubt(code, _TEXTS[code].format(detail)) for code, detail in details if detail is not None]
    return [_with_fate(doubt, method) if doubt.code == "constant" else doubt for doubt in found]


def _with_fate(doubt: Doubt, method: Any) -> Doubt:
    """A doubt about the spread that ends in what the method's rule makes of such a column."""
    return Doubt(doubt.code, f"{doubt.text.rpartition('; ')[0]}; {method._fate()}")


def _constant(column: ColumnSummary, method: Any) -> str | None:
    if not method._is_constant(column):
        if column.stats.has_moments and getattr(method, "with_std", False) and math.isnan(column.var(method.ddof)):
            what = "sum of the weights" if column.stats.weighted else "number of values"
            return f" (the {what}, {column.weight:g}, is not above ddof={method.ddof})"
        return None
    if column.stats.has_extrema and column.min == column.max:
        return f" (the only value is {column.min})"
    if column.stats.has_moments:
        return f" (a standard deviation of {column.std():.3g} beside a mean of {column.mean:.6g} counts as rounding)"
    if hasattr(method, "quantile_range"):
        low, high = method.quantile_range
        values = column.quantile([low / 100, high / 100])
        return f" (its quantiles at {low:g} % and {high:g} % are {values[0]:.6g} and {values[1]:.6g})"
    return f" (the range from {column.min} to {column.max} counts as rounding)"


def _digits(column: ColumnSummary) -> str | None:
    if not column.stats.has_extrema or column.stats.kind not in ("int", "decimal"):
        return None
    largest = max(column.min, column.max, key=abs)
    units = abs(largest)
    if isinstance(largest, Decimal):
        units = int("".join(map(str, largest.as_tuple().digits)))
    if units <= 2**53:
        return None
    return f" ({largest} is beyond 2**53{' in its last digit' if isinstance(largest, Decimal) else ''})"


def _mean(column: ColumnSummary, method: Any) -> str | None:
    if not column.stats.has_moments or not getattr(method, "with_mean", False):
        return None
    mean, std = abs(column.mean), column.std()
    if not std > 0 or mean / std <= MAX_MEAN_TO_STD:
        return None
    apart = math.ulp(mean) / std
    return f" ({mean / std:.1g} times as large; doubles of its size are {apart:.1g} standard deviations apart)"


def _rank_error(column: ColumnSummary) -> str | None:
    sketch = column.stats.sketch
    return f" ({sketch.error:g})" if sketch is not None and sketch.error > RANK_ERROR else None


def doubts(scaler: Any, *, so_far: bool = False) -> dict[str | int, list[Doubt]]:
    """The doubts about each column of a fitted scaler, which may be a ColumnScaler."""
    methods = scaler._methods(dict.fromkeys(scaler.summary_, pa.float64()))
    return {name: doubts_of(column, methods[name], so_far=so_far) for name, column in scaler.summary_.items()}


def grouped(found: Mapping[Any, Sequence[Doubt]]) -> list[StreamnormWarning]:
    """One warning for each kind of doubt, which names the columns."""
    return [_warning(code, found) for code in _TEXTS if any(doubt.code == code for doubt in chain(*found.values()))]


def _warning(code: str, found: Mapping[Any, Sequence[Doubt]]) -> StreamnormWarning:
    texts = {name: doubt.text for name, its in found.items() for doubt in its if doubt.code == code}
    same = len(set(texts.values())) == 1
    text = next(iter(texts.values())) if same else _TEXTS[code].format("")
    fates = {each.rpartition("; ")[2] for each in texts.values()}
    if code == "constant" and not same:
        text = f"{text.rpartition('; ')[0]}; {fates.pop() if len(fates) == 1 else 'each by its own rule'}"
    return StreamnormWarning(f"{_columns(list(texts))}: {text}", code=code, columns=list(texts))


def _columns(names: list[Any]) -> str:
    shown = ", ".join(map(repr, names[:NAMED]))
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"column{'' if len(names) == 1 else 's'} {shown}{more}"


def tell(scaler: Any) -> None:
    """Warn of the doubts about a scaler that has just been fitted, at the line that called into this package."""
    _warn(doubts(scaler))


def tell_what_is_new(scaler: Any, before: Any) -> None:
    """Warn of what is doubtful for good and was not so before, the summary of that time, or None."""
    found = doubts(scaler, so_far=True)
    if before is not None and any(found.values()):
        methods = scaler._methods(dict.fromkeys(before, pa.float64()))
        known = {(name, doubt.code) for name in before for doubt in doubts_of(before[name], methods[name], so_far=True)}
        found = {name: [doubt for doubt in its if (name, doubt.code) not in known] for name, its in found.items()}
    _warn(found)


def _warn(found: Mapping[Any, Sequence[Doubt]]) -> None:
    for warning in grouped(found):
        warnings.warn(warning, stacklevel=level_of_the_caller())


def level_of_the_caller() -> int:
    """The `stacklevel` of a warning for whoever called this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
