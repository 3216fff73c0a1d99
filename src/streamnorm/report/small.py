"""Small pictures of columns: in a terminal, of block characters; in a notebook, a table with bars and no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import StatisticNotCollected
from .page import Html, number, table
from .shape import histogram

if TYPE_CHECKING:
    from ..summary import ColumnSummary, Summary

CELLS = 16  # of a histogram in a terminal
BARS = 24  # of one in a notebook
SHOWN = 200  # columns of a notebook's table
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"
_WIDTH, _HEIGHT = 120, 24


def heights(column: ColumnSummary, bins: int) -> list[float] | None:
    """The histogram of a column as heights from 0 to 1; None without quantiles or without values.

    A bin's area is its share, so that the wide bins of the tails do not look like crowds.

    Examples
    --------
    >>> import streamnorm as sn
    >>> heights(sn.RobustScaler().fit([[1], [2], [2], [4]]).summary_[0], 8)
    [0.5, 1.0, 0.0, 0.5]
    """
    stats = column.stats
    if not stats.has_sketch or not stats.has_extrema or not column.has_values:
        return None
    if not math.isfinite(float(stats.max) - float(stats.min)):
        return None
    found = histogram(stats.sketch, float(stats.min), float(stats.max), whole=stats.kind == "int", bins=bins)
    if found is None:
        return None
    widths = [high - low for low, high in zip(found.edges, found.edges[1:], strict=False)]
    step = sorted(widths)[len(widths) // 2]  # the last bin of whole numbers may be narrower, and is no crowd for that
    if not step > 0:
        return None
    densities = [count * (step / max(width, step)) for count, width in zip(found.counts, widths, strict=True)]
    most = max(densities)
    return [density / most for density in densities] if most else None


def blocks(shape: Sequence[float], *, unicode: bool = True) -> str:
    """Heights as characters; those above 0 are seen.

    Examples
    --------
    >>> blocks([0, 0.01, 0.5, 1])
    ' ▁▄█'
    >>> blocks([0, 0.01, 0.5, 1], unicode=False)
    ' _-#'
    """
    marks = BLOCKS if unicode else ASCII
    return "".join(" " if height <= 0 else marks[max(0, math.ceil(height * len(marks)) - 1)] for height in shape)


def shapes(summary: Summary, names: Iterable[str | int], *, unicode: bool = True) -> list[str]:
    """A line of blocks for each of these columns, empty where there is no histogram."""
    found = []
    for name in names:
        shape = heights(summary[name], CELLS)
        found.append("" if shape is None else blocks(shape, unicode=unicode))
    return found


def writes_blocks(encoding: str | None, terminal: str | None) -> bool:
    """Whether a stream of that encoding, on a terminal of that name, can show block characters."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return terminal not in ("dumb", "linux")  # whose fonts have only some of them


def bars(shape: Sequence[float]) -> Html:
    """Heights as a picture of one path, in the colour of the text."""
    step = _WIDTH / len(shape)
    path = ""
    for j, height in enumerate(shape):
        if height > 0:
            top = _HEIGHT - max(1.0, (_HEIGHT - 1) * height)
            path += f"M{j * step:.1f} {_HEIGHT}V{top:.1f}H{(j + 1) * step - 0.5:.1f}V{_HEIGHT}Z"
    return Html(
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f'<path d="{path}" fill="currentColor" opacity="0.65"/></svg>'
    )


_FIGURES: dict[str, Callable[[ColumnSummary], Any]] = {
    "values": lambda column: column.count,
    "nulls": lambda column: column.null_count,
    "NaN": lambda column: column.nan_count,
    "mean": lambda column: column.mean,
    "std": lambda column: column.std(),
    "min": lambda column: column.min,
    "median": lambda column: column.quantile(0.5),
    "max": lambda column: column.max,
}


def summary_html(summary: Summary) -> str:
    """A summary as a table for notebooks: static, escaped, of the first columns where there are very many.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> html = summary_html(sn.fit(pa.table({"<b>": [1.0, 2.0]}), "robust").summary_)
    >>> "&lt;b&gt;" in html, "<b>" in html, "<svg" in html, "<script" in html
    (True, False, True, False)
    """
    columns = list(summary.values())[:SHOWN]
    figures = {what: [_known(take, column) for column in columns] for what, take in _FIGURES.items()}
    kept = {what: values for what, values in figures.items() if any(value is not None for value in values)}
    found = [heights(column, BARS) for column in columns]
    pictures = [None if shape is None else bars(shape) for shape in found]
    head: list[object] = ["column"]
    if any(picture is not None for picture in pictures):
        head.append("shape")
    rows = []
    for i, column in enumerate(columns):
        row: list[object] = [str(column.name)]
        if len(head) > 1:
            row.append(pictures[i] or "")
        rows.append(row + [values[i] for values in kept.values()])
    hidden = len(summary) - len(columns)
    more = f"; the first {SHOWN} are shown" if hidden > 0 else ""
    caption = f"{number(summary.rows)} rows, {number(len(summary))} column{'' if len(summary) == 1 else 's'}{more}"
    return table([*head, *kept], rows, caption=caption)


def _known(take: Callable[[ColumnSummary], Any], column: ColumnSummary) -> Any:
    try:
        return take(column)
    except StatisticNotCollected:
        return None
