"""Parts of a page that is one file: escaped text, tables, charts, data islands, a theme for light, dark and paper.

A page is put together from markup, and saved whole:

>>> page = Page("Fares <by zone>", subtitle="10 rows")
>>> page.add(section("Figures", table(["zone", "fare"], [["a & b", 2.5], ["c", None]], caption="Mean fare")))
>>> html = page.render()
>>> "Fares &lt;by zone&gt;" in html and "a &amp; b" in html and "http:" not in html
True

A chart of Altair's becomes a figure that is drawn when it comes into sight, with a table behind it::

    page.add(page.chart(chart, label="Loss by epoch: batch norm ends lowest", figures=table(...)))
    page.save("compare.html", overwrite=True)

What is not :class:`Html` is escaped wherever it goes in.
"""

# Design: a page loads nothing: styles, scripts, Vega and the data lie in it. A policy in its head (Content-Security-
# Policy) lets run only the scripts whose hashes it names, so that a name which got past the escaping could still not
# run anything. All text is escaped by type: `Html` is markup, everything else is text, and there is no flag to forget.
# Turned down: `chart.save(inline=True)` for each chart, 0.9 MB a time; its Vega-Lite is compiled here, once, and the
# page carries only the runtime, 0.6 MB. Turned down: Vega's interpreter in place of 'unsafe-eval', which the bundle
# does not have; what it evaluates is the specification, which holds no text of the data's.
#
# Design: charts take their colours from the page's CSS variables (`var(--c1)` in the SVG), so that the switch of the
# theme, and paper, need no second drawing.

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from .._version import __version__
from ..console import one_line
from ..errors import StreamnormError

__all__ = ["Html", "Page", "escape", "island", "join", "number", "section", "table", "tag"]

EXTRA = "report"  # that brings Altair and vl-convert
DIGITS = 6  # of figures in tables
GROUPED = 10_000  # from where on digits stand in groups: a year does not


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Text as markup, in elements and in quoted attributes; control characters and the like are spelled out.

    Examples
    --------
    >>> escape("</script><b>")
    '&lt;/script&gt;&lt;b&gt;'
    >>> escape(Html("<b>known</b>"))
    '<b>known</b>'
    """
    return value if isinstance(value, Html) else Html(html.escape(one_line(value), quote=True))


def join(*parts: object, by: str = "") -> Html:
    """Parts one after the other; those that are not markup are escaped."""
    return Html(by.join(escape(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element; ``class_`` is class, ``data_x`` is data-x, None leaves an attribute out, True gives it no value.

    Examples
    --------
    >>> tag("p", "a < b", class_="note", hidden=True, id=None)
    '<p class="note" hidden>a &lt; b</p>'
    """
    given = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        given += f" {word}" if value is True else f' {word}="{escape(value)}"'
    return Html(f"<{name}{given}>{join(*content)}</{name}>")


def section(title: str, *content: object, id: str | None = None) -> Html:
    """A part of a page under a heading."""
    return tag("section", tag("h2", title), *content, id=id)


def number(value: object, digits: int = DIGITS) -> str:
    """A figure for people: integers in groups of three digits, floats with `digits` digits, unknown ones as a dash.

    Examples
    --------
    >>> number(1234567), number(0.1 + 0.2), number(-2.5e-7), number(None), number(2013), number(123456.5)
    ('1,234,567', '0.3', '−2.5e−7', '–', '2013', '123,456')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        as_float = getattr(value, "item", None)
        return number(as_float(), digits) if as_float is not None else one_line(value)
    if isinstance(value, int):
        return (f"{value:,}" if abs(value) >= GROUPED else str(value)).replace("-", "−")
    if isinstance(value, Decimal):
        return f"{value:,f}".replace("-", "−")
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    size = abs(value)
    if value == 0 or 1e-4 <= size < 10.0**digits or (size < 1e15 and value == math.floor(value)):
        places = digits if value == 0 else max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:,.{places}f}" if size >= GROUPED else f"{value:.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text.replace("-", "−")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: object,
    sortable: bool = False,
    row_heads: bool = True,
    class_: str = "",
) -> Html:
    """A table that says to a screen reader what its heads are; numbers stand to the right.

    Parameters
    ----------
    head : sequence
        Heads of the columns.
    rows : iterable of sequences
        Cells: :class:`Html` as it is, numbers by :func:`number`, other things as text; None is a dash.
    caption : object
        What the table shows.
    sortable : bool, default False
        Whether a click on a head sorts by it.
    row_heads : bool, default True
        Whether the first cell of a row is its head.

    Examples
    --------
    >>> print(table(["zone", "fare"], [["a<b", 2.5]], caption="Fares"))
    ... # doctest: +NORMALIZE_WHITESPACE
    <div class="scroll" role="region" tabindex="0" aria-label="Fares"><table><caption>Fares</caption>
    <thead><tr><th scope="col">zone</th><th scope="col" class="n">fare</th></tr></thead>
    <tbody><tr><th scope="row">a&lt;b</th><td class="n">2.5</td></tr></tbody></table></div>
    """
    body = [list(row) for row in rows]
    numeric = [
        any(_is_number(row[j]) for row in body) and all(row[j] is None or _is_number(row[j]) for row in body)
        for j in range(len(head))
    ]
    heads = [
        tag("th", tag("button", text, type="button") if sortable else text, scope="col", class_="n" if n else None)
        for text, n in zip(head, numeric, strict=True)
    ]
    lines = []
    for row in body:
        cells = zip(row, numeric, strict=True)
        lines.append(tag("tr", *(_cell(cell, n, row_heads and j == 0, sortable) for j, (cell, n) in enumerate(cells))))
    parts = [tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", join(*lines, by="\n"))]
    kind = " ".join(filter(None, [class_, "sortable" if sortable else ""])) or None
    label = "table" if isinstance(caption, Html) else caption
    whole = tag("table", join(*parts, by="\n"), class_=kind)
    return tag("div", whole, class_="scroll", role="region", tabindex=0, aria_label=label)


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float, Decimal)) and not isinstance(cell, bool)


def _cell(cell: object, numeric: bool, is_head: bool, sortable: bool) -> Html:
    shown = number(cell) if numeric or cell is None else cell
    value = repr(float(cell)) if sortable and _is_number(cell) else None  # type: ignore[arg-type]
    if is_head:
        return tag("th", shown, scope="row", data_value=value)
    return tag("td", shown, class_="n" if numeric else None, data_value=value)


def island(name: str, value: Any) -> Html:
    """Data for scripts, as JSON that no text in it can end; a script reads it by ``streamnorm.data(name)``.

    NaN is null, infinities are the strings "Infinity" and "-Infinity", what JSON does not know is text.

    Examples
    --------
    >>> island("columns", ["</script>", float("nan")])
    '<script type="application/json" id="data-columns">["\\\\u003c/script\\\\u003e",null]</script>'
    """
    text = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="data-{escape(name)}">{text}</script>')


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if hasattr(value, "tolist"):  # of NumPy
        return _plain(value.tolist())
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return str(value)


def required(name: str) -> Any:
    """A module of the extra that charts need.

    Raises
    ------
    StreamnormError
        If it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise StreamnormError(
            f"pages with charts need {name.replace('_', '-')}: pip install 'streamnorm[{EXTRA}]'"
        ) from None


# What charts look like unless they say otherwise.
THEME: dict[str, Any] = {
    "background": None,
    "padding": 4,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "mark": {"color": "var(--c1)"},
    "line": {"strokeWidth": 2},
    "rule": {"color": "var(--muted)"},
    "text": {"color": "var(--ink)"},
    "axis": {
        "domainColor": "var(--edge)", "gridColor": "var(--line)", "tickColor": "var(--edge)",
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "titleFontWeight": "normal",
        "labelFontSize": 11, "titleFontSize": 12,
    },
    "legend": {
        "labelColor": "var(--ink)", "titleColor": "var(--muted)", "titleFontWeight": "normal", "labelFontSize": 12,
    },
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--muted)"},
    "title": {"color": "var(--ink)", "subtitleColor": "var(--muted)"},
    "range": {"category": [f"var(--c{i})" for i in range(1, 7)]},
}  # fmt: skip


def vega(chart: Any) -> dict[str, Any]:
    """A chart of Altair's, or a specification of Vega-Lite's, compiled to Vega, in the colours of the page."""
    altair, convert = required("altair"), required("vl_convert")
    spec = copy.deepcopy(chart) if isinstance(chart, dict) else chart.to_dict()
    spec["config"] = _merged(THEME, {key: value for key, value in spec.get("config", {}).items() if key != "view"})
    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    known = convert.get_vegalite_versions()  # ascending; Altair may be ahead of it
    return convert.vegalite_to_vega(spec, vl_version=version if version in known else known[-1])


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


@cache
def _runtime() -> str:
    """Vega's runtime as one script, without a name of its own but ``vega``.

    vl-convert holds the libraries under the addresses that they were taken from, and loads nothing; its ready-made
    name ``vega`` stands for a default export, which Vega 6 does not have.
    """
    convert = required("vl_convert")
    address = f"https://cdn.jsdelivr.net/npm/vega@{convert.get_vega_version()}/+esm"
    bundle = convert.javascript_bundle(f'import {{ View, parse }} from "{address}"; window.vega = {{ View, parse }};')
    bundle = bundle.replace("\r", "\\r").replace("\0", "\\0")
    return "/* Vega, BSD 3-Clause, https://vega.github.io/vega */(()=>{" + _unclosed(bundle) + "})();"


def _unclosed(script: str) -> str:
    """A script in which nothing ends the element that it stands in."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


class Page:
    """A page that is one file and needs nothing else.

    Parameters
    ----------
    title : str
        Of the page, and its first heading.
    subtitle : object
        A line below it.

    Examples
    --------
    >>> page = Page("Drift")
    >>> page.add(tag("p", "nothing <new>"))
    >>> "nothing &lt;new&gt;" in page.render()
    True
    """

    def __init__(self, title: str, *, subtitle: object = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._parts: list[Html] = []
        self._tools: list[Html] = []
        self._islands: dict[str, Html] = {}
        self._scripts: list[str] = []
        self._styles: list[str] = [_part("page.css")]
        self._charts = 0
        self._draws = False

    def add(self, *parts: object) -> None:
        """Append to the page; what is not markup is escaped."""
        self._parts.append(join(*parts))

    def add_tool(self, part: Html) -> None:
        """Append to the head of the page, beside the switch of the theme."""
        self._tools.append(part)

    def data(self, name: str, value: Any) -> None:
        """Data for scripts, under a name of letters and dashes: see :func:`island`."""
        self._islands[name] = island(name, value)

    def script(self, text: str) -> None:
        """A script of the page's own, which runs after those of the parts; never with text of the data's."""
        self._scripts.append(text)

    def style(self, text: str) -> None:
        """Styles of the page's own."""
        self._styles.append(text)

    def needs_vega(self) -> None:
        """Bring the runtime for scripts that draw by ``streamnorm.view``; page.chart does so itself."""
        self._draws = True

    def chart(self, chart: Any, *, label: str, caption: object = None, figures: Html | None = None) -> Html:
        """A figure that is drawn when it comes into sight, and before printing.

        Parameters
        ----------
        chart : altair.Chart or dict
            Or a specification of Vega-Lite's. ``width="container"`` fills the figure. Colours are best left to the
            theme, or named ``var(--c1)`` to ``var(--c6)``, ``var(--muted)``, ``var(--ink)``.
        label : str
            What it shows, in a sentence, for those who do not see it.
        caption : object
            A line below it.
        figures : Html, optional
            A table of what is drawn, which opens below it.

        Returns
        -------
        Html
            To be given to :meth:`add`.
        """
        self._charts += 1
        name = f"chart-{self._charts}"
        self.data(name, vega(chart))
        self.needs_vega()
        parts: list[object] = [tag("div", class_="plot", role="img", aria_label=label)]
        if caption is not None:
            parts.append(tag("figcaption", caption))
        if figures is not None:
            parts.append(tag("details", tag("summary", "The figures as a table"), figures))
        return tag("figure", *parts, class_="chart", data_chart=name)

    def render(self) -> str:
        """The page as text; the same for the same parts."""
        scripts = [*([_runtime()] if self._draws else []), _unclosed(_part("page.js")), *map(_unclosed, self._scripts)]
        hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
        evaluates = " 'unsafe-eval'" if self._draws else ""
        policy = (
            f"default-src 'none'; script-src {hashes}{evaluates}; "
            "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
        )
        head = [
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta name="generator" content="streamnorm {__version__}">',
            tag("title", self.title),
            *(f"<style>{style}</style>" for style in self._styles),
        ]
        top = tag(
            "header",
            tag("div", tag("h1", self.title), tag("p", self.subtitle, class_="sub") if self.subtitle else ""),
            tag("div", *self._tools, _SWITCH, class_="tools"),
            class_="top",
        )
        foot = tag("footer", f"Made by streamnorm {__version__}. This page is one file and loads nothing.")
        body = [
            '<a class="skip" href="#main">To the content</a>',
            top,
            tag("noscript", tag("p", "Charts, search and sorting need JavaScript.", class_="note")),
            tag("main", *self._parts, id="main", tabindex=-1),
            foot,
            *self._islands.values(),
            *(f"<script>{script}</script>" for script in scripts),
        ]
        lines = ['<!doctype html>\n<html lang="en">\n<head>', *head, "</head>\n<body>", *body, "</body>\n</html>\n"]
        return "\n".join(lines)

    def save(self, sink: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the page, whole or not at all.

        Raises
        ------
        StreamnormError
            If the file exists and `overwrite` is false, or cannot be written.
        """
        from ..atomic import atomic_file

        with atomic_file(sink, overwrite=overwrite) as file:
            file.write(self.render().encode("utf-8"))
            file.commit()


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


_SWITCH = Html(
    '<fieldset class="switch" hidden><legend class="sr">Colours</legend>'
    + "".join(
        f'<label><input type="radio" name="theme" value="{value}"><span>{text}</span></label>'
        for value, text in (("auto", "Auto"), ("light", "Light"), ("dark", "Dark"))
    )
    + "</fieldset>"
)
