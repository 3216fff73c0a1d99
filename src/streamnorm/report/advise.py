"""Advice: which scaler follows from what the data says about each column."""

from __future__ import annotations

import html
import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..cells import NARROWEST, name_cell, padded, width_of
from ..console import one_line
from ..errors import DataError
from ..fitting import DEFAULT_MEMORY
from ..locations import placed
from ..scalers import ColumnScaler
from ..scalers._methods import new_scaler
from .describe import ColumnDescription, Description, describe
from .rules import MIN_ROWS, PASSTHROUGH, RULES, Look, looks, percent, short

if TYPE_CHECKING:
    from ..scan import Progress

MANY_MISSING = 0.2
LISTED = 1000  # columns that a notebook shows
_CODES = {-(10**digits - 1) for digits in range(2, 10)}  # -99, -999, ...; and with the other sign at the upper end
CODE_GAP = 5.0  # times the distance from the median to the other end of the bulk: beyond that it is no part of it
LOGARITHM = 0.5  # times the skewness that is left in the logarithms' quartiles


@dataclass(frozen=True)
class ColumnAdvice:
    """What to do about one column.

    Attributes
    ----------
    name : str or int
    method : str
        "standard", "minmax", "maxabs", "robust" or "passthrough".
    rule : str
        The name of the rule that decided.
    reason : str
        What speaks for it, with the figure.
    remarks : tuple of str
        What else to know.
    source : str
        Where the rule comes from.
    """

    name: str | int
    method: str
    rule: str
    reason: str
    remarks: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Advice:
    """Advice about the columns of a source.

    Attributes
    ----------
    columns : tuple of ColumnAdvice
        In the order of the source.
    description : Description
        What it follows from.
    """

    columns: tuple[ColumnAdvice, ...]
    description: Description

    def __getitem__(self, name: str | int) -> ColumnAdvice:
        self.description[name]  # raises
        return next(column for column in self.columns if column.name == name)

    def __iter__(self) -> Iterator[ColumnAdvice]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def scaler(self) -> ColumnScaler:
        """The scaler that is proposed, not fitted: a method for each column that is normalized.

        Columns with infinite values have the rule ``infinite="ignore"``: without one, a fit refuses them.

        Raises
        ------
        DataError
            If all columns pass through.
        """
        groups: dict[tuple[str, bool], list[Any]] = {}
        for column in self.columns:
            if column.method != PASSTHROUGH:
                infinite = bool(self.description[column.name].infinite_count)
                groups.setdefault((column.method, infinite), []).append(column.name)
        if not groups:
            raise DataError("all columns pass through by this advice: there is nothing to scale")
        methods = {
            names[0] if len(names) == 1 else tuple(names): new_scaler(method, infinite="ignore") if infinite else method
            for (method, infinite), names in groups.items()
        }
        return ColumnScaler(methods)

    def table(self, width: int | None = None) -> str:
        """A line for each column: name, method, reason; what else to know below it.

        Parameters
        ----------
        width : int, optional
            Of the terminal: names are cut to a third of it, and lines go on below. None: one line each.
        """
        rows = [(name_cell(column.name, width), column.method) for column in self.columns]
        widths = [max((width_of(row[i]) for row in rows), default=0) for i in (0, 1)]
        room = None if width is None else max(NARROWEST, width - sum(widths) - 4)
        lines = []
        for (name, method), column in zip(rows, self.columns, strict=True):
            said = [one_line(column.reason), *(f"- {one_line(remark)}" for remark in column.remarks)]
            texts = [line for text in said for line in ([text] if room is None else textwrap.wrap(text, room))]
            lines.append(f"{padded(name, widths[0])}  {method:{widths[1]}}  {texts[0]}")
            lines += [f"{'':{sum(widths) + 4}}{text}" for text in texts[1:]]
        if self.description.others:
            names = ", ".join(name_cell(name, width) for name in list(self.description.others)[:8])
            more = len(self.description.others) - 8
            last = f"not numbers, so they pass through: {names}" + (f" and {more:,} more" if more > 0 else "")
            lines += [last] if width is None else textwrap.wrap(last, width)
        return "\n".join(lines)

    def to_json(self) -> str:
        """As RFC 8259 JSON: ``rows files digest columns others``."""
        description = self.description
        said = {
            "rows": description.rows,
            "files": list(description.files),
            "file_count": description.file_count,
            "digest": description.digest,
            "columns": [asdict(column) for column in self.columns],
            "others": description.others,
        }
        return json.dumps(said, indent=2, allow_nan=False)

    def __repr__(self) -> str:
        return f"Advice on {len(self)} columns\n{self.table()}"

    def _repr_html_(self) -> str:
        rows = []
        for column in self.columns[:LISTED]:
            remarks = "".join(f"<br><small>{html.escape(remark)}</small>" for remark in column.remarks)
            cells = f"<th scope='row'>{html.escape(str(column.name))}</th><td>{html.escape(column.method)}</td>"
            rows.append(f"<tr>{cells}<td style='text-align:left'>{html.escape(column.reason)}{remarks}</td></tr>")
        hidden = len(self) - LISTED
        note = f"<p>and {hidden:,} more columns</p>" if hidden > 0 else ""
        head = "<tr><th scope='col'>column</th><th scope='col'>method</th><th scope='col'>reason</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{note}"


def advise(
    source: Any,
    *,
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    where: str | None = None,
    format: str | None = None,
    types: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Advice:
    """What the data says about each column, and which scaler follows.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        As for :func:`~streamnorm.fit`; read once. Or what is known already: a :class:`Description`, or a fitted
        scaler or the file that it was saved to, whose state knows less.
    columns, exclude, where, format, types, filesystem, memory, threads, progress
        As for :func:`~streamnorm.describe`.

    Returns
    -------
    Advice
        ``columns``, with a method, the rule and the reason of each; ``scaler()``, the scaler that is proposed.

    Raises
    ------
    DataError
        If a file, row group or column is at fault, or there is no column to describe.

    Notes
    -----
    The rules, in their order, and where each comes from, are :data:`streamnorm.report.rules.RULES`; docs/advise.md has
    them as a table.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> data = pa.table({"age": [float(i % 61) for i in range(999)], "flag": [i % 2 for i in range(999)]})
    >>> advice = sn.advise(data)
    >>> print(advice.table())
    age   minmax       ends in bounds, 0 to 60, with tails 0.56 (normal: 1)
    flag  passthrough  a flag: 0 and 1 already, 1 in 49.9 % of the values
    >>> advice.scaler().fit(data).transform(data)["age"][60].as_py()
    1.0
    """
    if isinstance(source, Description):
        description = source
        return Advice(tuple(map(_column_advice, looks(description.columns))), description)
    from .pages import is_state

    source = placed(source, filesystem)
    reading: dict[str, Any] = dict(columns=columns, exclude=exclude, where=where, format=format, types=types)
    if is_state(source):
        if any(value is not None for value in reading.values()):
            raise ValueError("columns, exclude, where, format and types go with data: a state has its own")
        description = Description.from_state(source[0] if isinstance(source, list) else source)
    else:
        description = describe(source, **reading, memory=memory, threads=threads, progress=progress)
    return Advice(tuple(map(_column_advice, looks(description.columns))), description)


def _column_advice(look: Look) -> ColumnAdvice:
    for rule in RULES:
        reason = rule.reason(look)
        if reason is not None:
            remarks = tuple(_remarks(look, rule.method, rule.name))
            return ColumnAdvice(look.column.name, rule.method, rule.name, reason, remarks, rule.source)
    raise AssertionError("the last rule holds for all")


def _remarks(look: Look, method: str, rule: str) -> Iterator[str]:
    """What else to know of a column that is normalized by a method."""
    column = look.column
    missing = (column.null_count or 0) + (column.nan_count or 0)
    if column.count and column.rows and missing >= MANY_MISSING * column.rows:
        yield f"{percent(missing / column.rows)} null or NaN, which stay so: impute them, or add a flag"
    if column.infinite_count:
        count = f"{column.infinite_count:,} infinite value{'s' if column.infinite_count > 1 else ''}"
        yield count if method == PASSTHROUGH else f'{count}: a fit needs infinite="ignore" or "null"'
    code = _missing_code(column)
    if code is not None:
        yield f"{short(code)}, far from all else, is often a code for missing values: make it null first"
    if method == PASSTHROUGH:
        return
    if column.count is not None and column.count < MIN_ROWS:
        yield f"only {column.count:,} value{'s' if column.count > 1 else ''}: too few to tell what the column is like"
    adjusted, outliers = column.adjusted_outlier_count, column.outlier_count
    if rule == "outliers" and adjusted is not None and outliers and adjusted < outliers / 2:
        left = percent(look.share(adjusted))
        yield f"skewness more than single values: {left} beyond fences that allow for it (medcouple)"
    if rule in ("outliers", "far", "skewed") and _is_lognormal(column):
        yield "its logarithm is closer to symmetric, and scaling alone keeps the skewness"
    if column.monotone and (column.count or 0) >= MIN_ROWS and rule != "pair":
        yield f"{column.monotone} row by row: sorted by it, or a clock, whose next rows lie outside of any range"
    for doubt in column.warnings:
        if doubt.code in ("digits", "mean", "rank-error"):
            yield doubt.text


def _missing_code(column: ColumnDescription) -> Any:
    """The minimum or maximum, if it is one of the numbers that stand for "missing" and far from the bulk."""
    q = column.quantiles
    if any(at not in q for at in (0.05, 0.5, 0.95)) or column.min is None or column.distinct in (None, 1, 2):
        return None
    if column.min in _CODES and q[0.5] - float(column.min) > CODE_GAP * (q[0.95] - q[0.5]) > 0:
        return column.min
    if -column.max in _CODES and float(column.max) - q[0.5] > CODE_GAP * (q[0.5] - q[0.05]) > 0:
        return column.max
    return None


def _is_lognormal(column: ColumnDescription) -> bool:
    """Whether the quartiles' logarithms are less skewed by half, of a column of positive numbers."""
    q, skew = column.quantiles, column.quantile_skew
    if skew is None or column.min is None or column.min <= 0:
        return False
    low, middle, high = (math.log(q[at]) for at in (0.25, 0.5, 0.75))
    return low < high and abs(((high - middle) - (middle - low)) / (high - low)) < LOGARITHM * abs(skew)


def rules_table() -> str:
    """The rules as a table in Markdown, in their order."""
    rows = [f"| {rule.name} | {rule.when} | {rule.method} | {rule.source} |" for rule in RULES]
    return "\n".join(["| Rule | Holds for | Proposes | Source |", "|---|---|---|---|", *rows])
