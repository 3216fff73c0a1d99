"""What a report knows of each column, as the data of its page."""

# Design: a column is some forty bars, nine quantiles and a few figures, 2 kB of JSON, from which the page draws when
# the column comes into sight; a thousand columns are 2 MB. What is "after" is not drawn from data, either: the scaler
# is an affine map, which the page applies to edges and quantiles. Turned down: pictures that are made here, which would
# be 15 kB a column, twice.
#
# Design: before, the axis shows the bulk (as the histogram's bins do), and says how much lies beyond; after, all
# columns of a method have the same axis, so that what a method does to a column can be seen: values that an outlier
# squeezes into one corner of [0, 1] stand there.

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..console import one_line
from ..errors import StatisticNotCollected
from ..scalers import AffineMap, BaseScaler
from .page import number
from .shape import QUANTILES

if TYPE_CHECKING:
    from ..summary import ColumnSummary
    from .advise import ColumnAdvice
    from .describe import ColumnDescription

KINDS = {
    "StandardScaler": "standard", "MinMaxScaler": "minmax", "MaxAbsScaler": "maxabs", "RobustScaler": "robust",
}  # fmt: skip
REACH = 4.0  # of the axis after scaling by a spread: +-4 standard deviations or interquartile ranges
MARGIN = 0.06  # beside a range
_DIGITS = 7  # of what is drawn and shown
_PARAMETERS = {"feature_range", "quantile_range", "clip", "ddof", "constant", "infinite", "exact", "unit_variance"}
_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}  # in milliseconds
_DAYS = {"date32[day]": 86_400_000.0, "date64[ms]": 1.0}


def column_figures(
    index: int,
    column: ColumnDescription,
    summary: ColumnSummary | None,
    method: BaseScaler | None,
    m: Any,
    advice: ColumnAdvice | None = None,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The data of one column, for columns.js; what is not known is left out."""
    unit = milliseconds(column.type)
    found: dict[str, Any] = {
        "index": index,
        "name": one_line(column.name),
        "type": one_line(column.type or "unknown"),
        "count": column.count,
        "nulls": column.null_count,
        "nan": column.nan_count,
        "infinite": column.infinite_count,
        "zeros": column.zero_count,
        "outliers": column.outlier_count,
        "outliersError": column.outlier_error,
        "distinct": column.distinct,
        "distinctError": column.distinct_error,
        "mean": None if unit else rounded(column.mean),
        "std": None if unit else rounded(column.std),
        "min": shown(column.min, column.type),
        "max": shown(column.max, column.type),
        "skew": rounded(column.skew, 4),
        "tails": rounded(column.tail_weight, 3),
        "rankError": rounded(column.rank_error, 3),
        "unit": unit or None,
        "quantiles": _quantiles(column, summary),
        "histogram": _histogram(column),
        "method": _method(method, m),
        "advice": None if advice is None else _advice(advice, warnings),
    }
    found = {key: value for key, value in found.items() if value is not None}
    return found | {"warnings": [one_line(text) for text in warnings]}


def milliseconds(kind: str) -> float:
    """How long a unit of a date or time stamp is; 0 for other types."""
    if kind.startswith("timestamp["):
        return _UNITS.get(kind.removeprefix("timestamp[").split(",")[0].rstrip("]"), 0.0)
    return _DAYS.get(kind, 0.0)


def shown(value: Any, kind: str) -> Any:
    """A minimum or maximum: a number of JSON where that holds it, else text; dates and times as such."""
    unit = milliseconds(kind)
    if unit and value is not None:
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=float(value) * unit)
        except (OverflowError, ValueError):
            return number(value)
        return f"{moment:%Y-%m-%d}" if kind.startswith("date") else f"{moment:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, (int, Decimal)):
        return value if isinstance(value, int) and abs(value) < 10**6 else number(value)
    return value


def rounded(value: Any, digits: int = _DIGITS) -> float | None:
    """With so many digits; None for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = float(value)
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value


def _quantiles(column: ColumnDescription, summary: ColumnSummary | None) -> list[dict[str, Any]] | None:
    """Quantiles with the intervals that they are sure to lie in."""
    if summary is None:
        return [{"q": q, "value": value} for q, value in sorted(column.quantiles.items())] or None
    known = sorted(summary.quantiles) if summary.quantiles is not None else list(QUANTILES)
    try:
        certificates = summary.certificate(known)
    except StatisticNotCollected:
        return None
    found = []
    for each in certificates:
        if math.isnan(each.value):
            return None
        # The value whole: the median less the center of the scaler is 0, and not what rounding leaves of it.
        entry: dict[str, Any] = {"q": each.q, "value": each.value, "exact": each.exact}
        if not each.exact:
            entry |= {"low": rounded(each.low, 5), "high": rounded(each.high, 5)}
            entry |= {"valueLow": rounded(each.value_low), "valueHigh": rounded(each.value_high)}
        else:
            entry["low"] = entry["high"] = each.q
        found.append(entry)
    return found


def _histogram(column: ColumnDescription) -> dict[str, Any] | None:
    histogram = column.histogram
    if histogram is None or not all(map(math.isfinite, histogram.edges)) or not _spread(histogram.edges):
        return None
    return {
        "edges": [_edge(edge, histogram.edges) for edge in histogram.edges],
        "counts": list(histogram.counts),
        "error": histogram.counts_error,
        "tails": list(histogram.tails),
        "ends": [float(column.min), float(column.max)],
    }


def _spread(edges: tuple[float, ...]) -> bool:
    return math.isfinite(edges[-1] - edges[0])


def _edge(edge: float, edges: tuple[float, ...]) -> float:
    """With as many digits as tell the narrowest bins apart."""
    narrow = min(b - a for a, b in zip(edges, edges[1:], strict=False))
    size = max(abs(edges[0]), abs(edges[-1]))
    digits = _DIGITS if not narrow > 0 else max(_DIGITS, min(17, 4 + math.ceil(math.log10(size / narrow))))
    return float(f"{edge:.{digits}g}")


def _method(method: BaseScaler | None, m: Any) -> dict[str, Any] | None:
    """The scaler of a column, the map that it came to, and the axis and the band that it is shown on."""
    if method is None or not isinstance(m, AffineMap):
        return None
    kind = KINDS.get(type(method).__name__, type(method).__name__)
    parameters = {
        name: value
        for name, value in method.get_params(deep=False).items()
        if name in _PARAMETERS and value != _default(method, name)
    }
    low, high, band = _axis(kind, method)
    text = f"{_less('x', m.center)} / {number(m.scale)}"
    if m.offset:
        text = _less(text, -m.offset)
    if m.clip is not None:
        text += f", clipped to [{number(m.clip[0])}, {number(m.clip[1])}]"
    if parameters:
        text += "; " + ", ".join(f"{name}={value}" for name, value in parameters.items())
    return {
        "name": kind, "text": one_line(text), "center": m.center, "scale": m.scale, "offset": m.offset,
        "clip": m.clip, "axis": [low, high], "band": band,
    }  # fmt: skip


def _less(what: str, by: float) -> str:
    """A difference, without a double sign."""
    if not by:
        return what
    text = f"{what} + {number(-by)}" if by < 0 else f"{what} − {number(by)}"
    return f"({text})" if what == "x" else text


def _advice(advice: ColumnAdvice, warnings: tuple[str, ...]) -> dict[str, Any]:
    """What is advised; a remark that is a warning of the fit, too, is said there alone."""
    found = {"method": advice.method, "rule": advice.rule, "reason": one_line(advice.reason)}
    remarks = [one_line(remark) for remark in advice.remarks if remark not in warnings]
    return found | ({"remarks": remarks} if remarks else {})


def _default(method: BaseScaler, name: str) -> Any:
    return getattr(type(method)(), name, None)


def _axis(kind: str, method: Any) -> tuple[float, float, list[float]]:
    if kind == "minmax":
        low, high = map(float, method.feature_range)
        room = MARGIN * (high - low)
        return low - room, high + room, [low, high]
    if kind == "maxabs":
        return -1 - MARGIN, 1 + MARGIN, [-1.0, 1.0]
    return -REACH, REACH, [-1.0, 1.0]


def chart() -> dict[str, Any]:
    """The one chart that shows any column, as a specification of Vega-Lite's: bars, a box, and a band behind them.

    Its data and its parameters (``low`` and ``high``, the ends of the axis, ``color``, and ``unit``, the milliseconds
    of a unit of time, or 0) are given to it by the page.
    """
    from .page import required

    alt = required("altair")
    params = [
        alt.param(name=name, value=value) for name, value in (("low", 0), ("high", 1), ("color", "gray"), ("unit", 0))
    ]
    label = (
        "unit ? utcFormat(datum.value * unit, '%Y-%m-%d') : "
        "abs(datum.value) >= 1e6 || (datum.value && abs(datum.value) < 1e-4) ? "
        "replace(replace(format(datum.value, '.4~e'), '+', ''), '-', '−') : "
        "abs(datum.value) < 1e4 ? replace(datum.label, ',', '') : datum.label"
    )
    axis = alt.Axis(title=None, grid=True, gridOpacity=0.6, tickCount=6, labelExpr=label, labelOverlap=True)
    scale = alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=False, zero=False, clamp=False)
    heights = alt.Scale(domain=[-0.36, 1.03], nice=False, zero=False)

    def x(name: str) -> Any:
        return alt.X(f"{name}:Q", scale=scale, axis=axis)

    def y(name_or_value: Any) -> Any:
        field = {"field": name_or_value} if isinstance(name_or_value, str) else {"datum": name_or_value}
        return alt.Y(**field, type="quantitative", scale=heights, axis=None)

    def layer(data: str, mark: str, *, tooltip: bool = False, **style: Any) -> Any:
        made = getattr(alt.Chart(alt.NamedData(name=data)), f"mark_{mark}")
        return made(clip=True, tooltip={"expr": "datum.tip"} if tooltip else None, **style)

    color = {"expr": "color"}
    chart = alt.layer(
        layer("band", "rect", fill="var(--line)", opacity=0.55).encode(x=x("from"), x2="to"),
        layer("bars", "rect", fill=color, opacity=0.9).encode(
            x=x("from"), x2="to", y=y("height"), y2=alt.Y2Datum(0), tooltip=alt.Tooltip("tip:N")
        ),
        layer("box", "rule", stroke="var(--ink)", strokeWidth=1.2).encode(x=x("low"), x2="high", y=y(-0.2)),
        layer("box", "rect", fill="var(--surface)", stroke="var(--ink)", strokeWidth=1.2).encode(
            x=x("q1"), x2="q3", y=y(-0.11), y2=alt.Y2Datum(-0.29)
        ),
        layer("box", "rule", stroke=color, strokeWidth=3).encode(x=x("median"), y=y(-0.11), y2=alt.Y2Datum(-0.29)),
    )
    return chart.properties(width=400, height=130).add_params(*params).to_dict(validate=True)


def overview(columns: Mapping[Any, dict[str, Any]] | list[dict[str, Any]]) -> dict[str, int]:
    """Numbers for the head of a page."""
    each = list(columns.values()) if isinstance(columns, Mapping) else columns
    return {
        "columns": len(each),
        "normalized": sum("method" in column for column in each),
        "warned": sum(bool(column["warnings"]) for column in each),
    }
