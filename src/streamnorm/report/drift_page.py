"""What a drift looks like: a table for the terminal, and a page."""

# Design: the terminal and the page show the same cells, those that are past a threshold first. The page needs neither
# Altair nor a script of its own: eight figures a column are read better as a table than as a picture.

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from ..cells import name_cell, padded, width_of
from ..console import one_line
from .page import Html, Page, section, table, tag

if TYPE_CHECKING:
    from .drift import ColumnDrift, Drift

CHANCE_BINS = 9  # one less than bins: PSI of two samples of one source is 9 (1/n + 1/m) on average (Yurdakul 2018)
SHOWN = 200  # columns that have not drifted, in text
WORDS = {"psi": "PSI", "ks": "KS", "shift": "shift", "nulls": "nulls", "removed": "removed", "type": "type",
         "empty": "no values"}  # fmt: skip
HEAD = ("column", "PSI", "KS", "KS from", "to", "shift", "ratio", "nulls before", "after", "past")
# Where there is no room.
LEFT_OUT_FIRST = (("KS from", "to"), ("ratio",), ("nulls before", "after"), ("shift",), ("KS",), ("PSI",))
EXPLAINED = (
    ("PSI", "population stability index over the deciles of the first, with half a value added to each bin"),
    ("KS", "the largest distance of the two distribution functions, and the interval that it lies in at 99 %"),
    ("shift", "how far the center has moved, in units of the first one's scale"),
    ("ratio", "the second scale over the first"),
    ("nulls", "the share of nulls and NaN"),
)


def ordered(drift: Drift) -> list[ColumnDrift]:
    """Those that have drifted first."""
    return [*drift.drifted, *(column for column in drift.columns if not column.crossed)]


def cells(column: ColumnDrift) -> list[str]:
    """The figures of a column as text, by `HEAD`."""
    past = ", ".join(WORDS[name] for name in column.crossed)
    if column.status == "added":
        past = "added"
    elif column.status == "type":
        past = past.replace("type", f"type: {column.type_a} to {column.type_b}")
    return [
        one_line(column.name),
        *map(_figure, (column.psi, column.ks, column.ks_low, column.ks_high, column.shift, column.ratio)),
        *map(_share, (column.nulls_a, column.nulls_b)),
        one_line(past),
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) < 1000:
        return f"{value:.3f}".replace("-0.000", "0.000")
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def heading(drift: Drift) -> str:
    """What was compared, and the outcome."""
    count, all_of_them = len(drift.drifted), len(drift.columns)
    outcome = f"{count:,} of {all_of_them:,} columns {'has' if count == 1 else 'have'} drifted"
    a, b = (
        f"{name} ({of}, {rows:,} row{'' if rows == 1 else 's'})"
        for name, of, rows in ((drift.a, drift.of_a, drift.rows_a), (drift.b, drift.of_b, drift.rows_b))
    )
    return one_line(f"{a} and {b}: {outcome}")


def limits(drift: Drift) -> str:
    """The thresholds."""
    said = ", ".join(f"{WORDS[name]} {limit:g}" for name, limit in drift.limits.items())
    return f"thresholds: {said}; KS counts by the lower end of its interval"


def unknown(drift: Drift) -> str | None:
    """Why some columns have no PSI and KS."""
    without = [column for column in drift.columns if column.status == "both" and column.psi is None]
    if not without or "state" not in (drift.of_a, drift.of_b):
        return None
    return (
        f"{len(without):,} column{'' if len(without) == 1 else 's'} without PSI and KS: a state has no sketch of them; "
        "fit with method robust to have one, or give the data"
    )


def few(drift: Drift) -> str | None:
    """Which columns have so few values that their PSI may be chance, and how large that makes it."""
    found = [
        (CHANCE_BINS * (1 / column.count_a + 1 / column.count_b), column)
        for column in drift.columns
        if column.psi is not None and column.count_a and column.count_b
    ]
    found = [(psi, column) for psi, column in found if psi > drift.limits["psi"] / 2]
    if not found:
        return None
    psi, column = max(found, key=lambda each: each[0])
    counts = f"{column.count_a:,} and {column.count_b:,}"
    one = len(found) == 1
    which = f"column {column.name!r} has" if one else f"{len(found):,} columns have"
    return one_line(
        f"{which} so few values ({counts}{'' if one else ' at the fewest'}) that chance alone makes a PSI of "
        f"{'' if one else 'up to '}about {psi:.2g}: compare more rows"
    )


def notes(drift: Drift) -> list[str]:
    """What to know about the figures."""
    return [note for note in (unknown(drift), few(drift)) if note]


def as_text(drift: Drift, width: int | None = None) -> str:
    """The table for a terminal of that width, or for whoever reads all of it."""
    columns = ordered(drift)
    shown = columns[: len(drift.drifted) + SHOWN]
    rows = [list(HEAD), *([name_cell(column.name, width), *cells(column)[1:]] for column in shown)]
    widths = [max(width_of(row[i]) for row in rows) for i in range(len(HEAD))]
    last = len(HEAD) - 1
    kept = list(range(len(HEAD)))
    for heads in LEFT_OUT_FIRST:
        if width is not None and sum(widths[i] + 2 for i in kept) - 2 > width:
            kept = [i for i in kept if HEAD[i] not in heads]
    lines = [heading(drift)]
    for row in rows:
        line = [padded(row[i], widths[i], right=0 < i < last) for i in kept]
        lines.append("  ".join(line).rstrip())
    below = []
    if len(columns) > len(shown):
        below.append(f"and {len(columns) - len(shown):,} more columns that have not drifted")
    below.append(limits(drift))
    below += notes(drift)
    left_out = [HEAD[i] for i in range(len(HEAD)) if i not in kept]
    if left_out:
        below.append(f"no room for {', '.join(left_out)}: a wider terminal, a pipe or --json has them")
    if width is not None:
        below = [line for text in below for line in textwrap.wrap(text, width)]
        lines[:1] = textwrap.wrap(lines[0], width)
    return "\n".join([*lines, *below])


def as_table(drift: Drift, caption: str | None = None) -> Html:
    """The table as markup."""
    heads = [f"{name}, %" if name in ("nulls before", "after") else name for name in HEAD]
    return table(heads, map(_row, ordered(drift)), caption=caption or heading(drift), sortable=True)


def _row(column: ColumnDrift) -> list[object]:
    text = cells(column)
    figures = (column.psi, column.ks, column.ks_low, column.ks_high, column.shift, column.ratio)
    shares = [None if share is None else 100 * share for share in (column.nulls_a, column.nulls_b)]
    numbers = [None if value is None else round(value, 4) for value in (*figures, *shares)]
    return [text[0], *numbers, tag("strong", text[-1]) if column.crossed else text[-1]]


def as_page(drift: Drift) -> str:
    """One page that needs nothing else."""
    page = Page("Drift", subtitle=heading(drift))
    page.add(section("Columns", as_table(drift, "Those past a threshold first"), tag("p", limits(drift))))
    page.add(*(tag("p", note) for note in notes(drift)))
    page.add(section("What the figures are", table(["figure", "meaning"], EXPLAINED, caption="Figures")))
    return page.render()
