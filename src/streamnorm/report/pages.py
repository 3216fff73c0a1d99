"""The report: a page that shows each column before and after scaling."""

# Design: one pass describes the data and collects what all methods need, and the scaler is made of the same statistics,
# so that a report reads the data once, whatever the method; exact quantiles alone take passes of their own.

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from .. import doubts, states
from ..atomic import check_target
from ..fitting import DEFAULT_MEMORY, fit
from ..formats import is_pipe
from ..locations import locate, placed
from ..making import make_scaler
from ..masking import masked
from ..scalers import BaseScaler, ColumnScaler
from ..scan import Progress
from ..summary import Summary
from .advise import Advice, advise
from .describe import Description
from .figures import chart, column_figures, overview
from .measuring import measure
from .page import Html, Page, _part, escape, join, required, table, tag, vega
from .rules import PASSTHROUGH

ADVISE = "advise"
_WITHOUT_SCRIPT = 200  # columns in the table for browsers without scripts
_NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")


def report(
    source: Any,
    sink: str | os.PathLike[str],
    *,
    method: Any = "advise",
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    where: str | None = None,
    format: str | None = None,
    types: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    title: str | None = None,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Description:
    """Write a page that shows each column of a source before and after scaling.

    The page is one file that needs no network: histograms and box plots, quantiles with their certificates, counts of
    nulls, NaN and outliers, warnings, the scaler of each column and the reason for it. It is drawn from a summary and
    holds no rows. Needs ``pip install 'streamnorm[report]'``.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data; or a state
        Data as for :func:`~streamnorm.fit`, of which only columns of numbers, booleans, dates and times are described.
        Of a state (a JSON file that was saved, or a fitted scaler) the page shows as much as it knows: histograms need
        quantiles, which a :class:`RobustScaler` has.
    sink : path or URI
        The HTML file.
    method : {"advise", "standard", "minmax", "maxabs", "robust"}, scaler, or mapping
        Which scaler is shown: "advise" the one that :func:`~streamnorm.advise` proposes for each column; others
        as for :func:`~streamnorm.fit`; a fitted scaler as it is, so that new data are seen as it maps them. Not for
        a state, which has its own.
    columns, exclude, where, format, types, memory, threads, progress
        As for :func:`~streamnorm.fit`.
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where `source` and `sink` lie, if they are no URIs; None: on this machine.
    title : str, optional
        Of the page; None: the name of the file, or of the first of them.
    overwrite : bool, default False
        Replace the file if there is one.

    Returns
    -------
    Description
        What the page shows.

    Raises
    ------
    StreamnormError
        If the sink exists and `overwrite` is false, or Altair or vl-convert is not installed.
    DataError
        If a file, row group or column is at fault.
    ValueError
        If a method comes with a state.

    Examples
    --------
    >>> import numpy as np, streamnorm as sn
    >>> fares = np.random.default_rng(0).lognormal(size=(1000, 1))
    >>> found = sn.report(fares, "fares.html", method="robust", overwrite=True)  # doctest: +SKIP
    >>> found.rows  # doctest: +SKIP
    1000
    """
    required("altair"), required("vl_convert")
    source, sink = placed(source, filesystem), placed(sink, filesystem)
    check_target(sink, overwrite=overwrite)
    reading: dict[str, Any] = dict(columns=columns, exclude=exclude, where=where, format=format, types=types)
    if is_state(source):
        own = not (isinstance(method, str) and method == ADVISE)
        if own or any(value is not None for value in reading.values()):
            raise ValueError("method, columns, exclude, where, format and types go with data: a state has its own")
        scaler: BaseScaler | None = source if isinstance(source, BaseScaler) else states.load_scaler(source)
        description, summary = Description.from_state(scaler), scaler.summary_
        advice = advise(description)
    else:
        description, summary = measure(
            source, **reading, filesystem=None, memory=memory, threads=threads, progress=progress
        )
        advice = advise(description)
        options = {**reading, "memory": memory, "threads": threads}
        scaler = _chosen(source, method, advice, description, summary, options)
    page = page_of(description, summary, scaler, advice, title or _title(source, description))
    page.save(sink, overwrite=overwrite)
    return description


def is_state(source: Any) -> bool:
    """Whether a source is a fitted scaler or the file of a state; a Parquet file that has one in its footer is data."""
    if isinstance(source, BaseScaler):
        return True
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    if not isinstance(source, (str, os.PathLike)) or is_pipe(source) or not locate(source).is_file():
        return False
    return states.is_state(source)


def _chosen(
    source: Any, method: Any, advice: Advice, description: Description, summary: Summary, options: dict[str, Any]
) -> BaseScaler | None:
    """The fitted scaler that a page shows; None where all columns pass through."""
    if isinstance(method, str) and method == ADVISE:
        if all(each.method == PASSTHROUGH for each in advice):
            return None
        scaler: BaseScaler = advice.scaler()
    else:
        scaler = make_scaler(method)
        if scaler.__sklearn_is_fitted__():
            return scaler
        if scaler._rereads():
            return fit(source, scaler, **options)
        scaler = type(scaler)(**scaler.get_params(deep=False))
    by_name = options["columns"] is not None or isinstance(scaler, ColumnScaler)
    names = [one.name for one in description if by_name or one.type.startswith(_NUMBERS)]
    if not names:
        return None
    chosen = list(scaler._methods(dict.fromkeys(names, pa.float64())))
    scaler._adopt(summary.part(chosen), named=summary.named)
    return scaler


def page_of(
    description: Description,
    summary: Summary,
    scaler: BaseScaler | None,
    advice: Advice,
    title: str,
) -> Page:
    """The page about columns, each with its scaler and its advice, if it has them."""
    maps = {} if scaler is None else scaler._all_maps()
    fitted = [] if scaler is None else scaler.summary_
    methods = {} if scaler is None else scaler._methods(dict.fromkeys(fitted, pa.float64()))
    columns = []
    for index, (column, advised) in enumerate(zip(description, advice, strict=True)):
        name, method = column.name, methods.get(column.name)
        found = column.warnings
        if method is not None and scaler is not None and name in fitted:
            found = tuple(doubts.doubts_of(scaler.summary_[name], method))
        texts = tuple(doubt.text for doubt in found) if method is not None else ()
        columns.append(column_figures(index, column, summary.get(name), method, maps.get(name), advised, texts))
    page = Page(title, subtitle=_subtitle(description))
    page.style(_part("columns.css"))
    page.needs_vega()
    page.data("chart", vega(chart()))
    page.data("columns", {"columns": columns})
    page.script(_part("columns.js"))
    page.add_tool(Html('<button type="button" id="print">Print</button>'))
    page.add(_tiles(description, columns), _others(description), _list(columns))
    return page


def _title(source: Any, description: Description) -> str:
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    if isinstance(source, (str, os.PathLike)):
        path = masked(os.fspath(source))
        return os.path.basename(os.path.normpath(path)) or path
    if description.files:
        return description.files[0]
    return f"{description.rows:,} rows"


def _subtitle(description: Description) -> Html:
    what = "a saved state" if description.of == "state" else "the data"
    said = f"What {what} looks like, before and after scaling."
    if not description.digest:
        return escape(said)
    short = description.digest.rpartition(":")[2][:12]
    return join(said, " Digest of the statistics ", tag("code", short), ".")


def _tiles(description: Description, columns: list[dict[str, Any]]) -> Html:
    numbers = overview(columns)
    tiles = [
        (description.rows, "row" if description.rows == 1 else "rows"),
        (numbers["columns"], "column described" if numbers["columns"] == 1 else "columns described"),
        (numbers["normalized"], "normalized"),
        (numbers["columns"] - numbers["normalized"], "pass through"),
        (numbers["warned"], "with warnings"),
    ]
    if description.file_count > 1:
        tiles.insert(1, (description.file_count, "files"))
    return tag("ul", *(tag("li", tag("b", f"{value:,}"), tag("span", text)) for value, text in tiles), class_="tiles")


def _others(description: Description) -> Html:
    if not description.others:
        return Html("")
    names = list(description.others.items())
    shown = join(*(join(tag("b", name), f" ({kind})") for name, kind in names[:12]), by=", ")
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return tag("p", "Not described, and passed through: ", shown, more, ".", class_="note")


def _options(*pairs: tuple[str, str]) -> Html:
    return join(*(tag("option", text, value=value) for value, text in pairs))


def _list(columns: list[dict[str, Any]]) -> Html:
    kinds = sorted({column["method"]["name"] for column in columns if "method" in column})
    filters = [
        ("all", "all columns"), ("warned", "with warnings"), ("normalized", "normalized"),
        ("passing", "passing through"), ("picked", "chosen to print"), *((kind, f"scaler: {kind}") for kind in kinds),
    ]  # fmt: skip
    orders = [
        ("file", "as in the source"), ("name", "by name"), ("warnings", "warnings first"),
        ("nulls", "most nulls first"), ("outliers", "most outliers first"), ("skew", "most skewed first"),
    ]  # fmt: skip
    pager = Html(
        '<nav class="pager" aria-label="Pages" hidden><button type="button">Back</button><span></span>'
        '<button type="button">On</button></nav>'
    )
    how = Html(
        '<fieldset class="switch how"><legend class="sr">Show as</legend>'
        '<label><input type="radio" name="how" value="cards" checked><span>Charts</span></label>'
        '<label><input type="radio" name="how" value="table"><span>Table</span></label></fieldset>'
    )
    bar = tag(
        "div",
        tag("label", tag("span", "Find"), Html('<input type="search" id="search" placeholder="name or type" '
            'aria-keyshortcuts="/" autocomplete="off" spellcheck="false">')),
        tag("label", "Show", tag("select", _options(*filters), id="filter")),
        tag("label", "Order", tag("select", _options(*orders), id="order")),
        how,
        tag("output", id="found", aria_live="polite"),
        class_="bar", role="search", aria_label="Columns",
    )  # fmt: skip
    heading = tag("h2", "Columns", class_="sr")
    return tag("section", heading, bar, _HOW_TO_READ, tag("div", id="list", tabindex=-1), pager, _static(columns))


def _static(columns: list[dict[str, Any]]) -> Html:
    """What a browser shows that runs no scripts."""
    keys = ("name", "type", "count", "nulls", "mean", "std", "min", "max")
    rows = [
        [*(column.get(key) for key in keys), column["method"]["text"] if "method" in column else "passes through"]
        for column in columns[:_WITHOUT_SCRIPT]
    ]
    more = f"The first {_WITHOUT_SCRIPT} columns" if len(columns) > _WITHOUT_SCRIPT else "Columns"
    head = ["column", "type", "values", "nulls", "mean", "std", "min", "max", "scaling"]
    return tag("noscript", table(head, rows, caption=more))


_HOW_TO_READ = tag(
    "details",
    tag("summary", "How to read the charts"),
    tag(
        "p",
        "The area of a bar is its share of the values. The box below reaches from the lower to the upper quartile, "
        "with the median in it; whiskers end at Tukey's fences, 1.5 times the box beyond it, or at the minimum and "
        "maximum if these come first. Outliers are the values beyond the fences.",
    ),
    tag(
        "p",
        "Before: the axis shows the bulk of the values, and the line below says how much lies beyond. After: all "
        "columns of a scaler have the same axis, from −4 to 4 or the range; the band is from −1 to 1, or the range.",
    ),
    class_="read",
)


