"""A summary as a table, one row a column, that whatever reads Arrow can take over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .errors import StatisticNotCollected

if TYPE_CHECKING:
    from .summary import ColumnSummary, Summary

_FIGURES: dict[str, tuple[pa.DataType, Callable[[ColumnSummary], Any]]] = {
    "rows": (pa.int64(), lambda column: column.rows),
    "count": (pa.int64(), lambda column: column.count),
    "null_count": (pa.int64(), lambda column: column.null_count),
    "nan_count": (pa.int64(), lambda column: column.nan_count),
    "weight": (pa.float64(), lambda column: column.weight),
    "mean": (pa.float64(), lambda column: column.mean),
    "std": (pa.float64(), lambda column: column.std()),
    "var": (pa.float64(), lambda column: column.var()),
    "min": (pa.float64(), lambda column: _float(column.min)),
    "max": (pa.float64(), lambda column: _float(column.max)),
    "q25": (pa.float64(), lambda column: _quantile(column, 0.25)),
    "median": (pa.float64(), lambda column: _quantile(column, 0.5)),
    "q75": (pa.float64(), lambda column: _quantile(column, 0.75)),
    "rank_error": (pa.float64(), lambda column: column.rank_error),
    "given_mean": (pa.float64(), lambda column: None if column.given is None else column.given[0]),
    "given_scale": (pa.float64(), lambda column: None if column.given is None else column.given[1]),
}

SCHEMA = pa.schema(
    {"column": pa.string(), **{name: kind for name, (kind, _) in _FIGURES.items()}, "source": pa.string()}
)


def summary_table(summary: Summary) -> pa.Table:
    """One row for each column of the summary; what was not collected is null.

    Minimum and maximum are float64 here, whatever the column's type: integers beyond 2**53 are rounded.
    """
    rows = [
        {"column": str(name), **{key: _known(take, column) for key, (_, take) in _FIGURES.items()}}
        | {"source": summary.source.get(name)}
        for name, column in summary.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def _known(take: Callable[[ColumnSummary], Any], column: ColumnSummary) -> Any:
    try:
        return take(column)
    except StatisticNotCollected:
        return None


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _quantile(column: ColumnSummary, q: float) -> float | None:
    return column.quantile(q) if column.has_values else None
