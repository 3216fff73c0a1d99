"""Parts of pages: escaping, islands, tables, figures; what a browser makes of them is in test_report_browser.py."""

import json
import math
import re
from decimal import Decimal
from html.parser import HTMLParser

import numpy as np
import pytest

from streamnorm.errors import StreamnormError
from streamnorm.report import page as parts
from streamnorm.report.page import Html, Page, escape, island, join, number, section, table, tag

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>",
    "\" onmouseover=\"alert(1)",
    "' autofocus onfocus='alert(1)",
    "&lt;b&gt;",
    "line\nbreak\0\x1b[31m",
    "\u202egnp.exe",
    "\ud800",
    "\u2028",
]


class Elements(HTMLParser):
    """The names of all elements, the attributes of each, and the text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.names, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.attributes.append(dict(attributes))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text_wherever_it_goes_in(text):
    page = Page(text, subtitle=text)
    page.add(section(text, table([text, "n"], [[text, 1.5], [text, None]], caption=text, sortable=True)))
    page.add(tag("p", text, title=text), text, join(text, text))
    page.data("x", {text: [text]})
    rendered = page.render()
    rendered.encode("utf-8")
    found, plain = Elements(rendered), Elements(_clean_page().render())
    assert sorted(found.names) == sorted(plain.names)
    allowed = {key for attributes in plain.attributes for key in attributes}
    assert {key for attributes in found.attributes for key in attributes} <= allowed
    assert not re.search("[\0\x1b\u202e\u2028]", rendered)


def _clean_page():
    page = Page("t", subtitle="t")
    page.add(section("t", table(["t", "n"], [["t", 1.5], ["t", None]], caption="t", sortable=True)))
    page.add(tag("p", "t", title="t"), "t", join("t", "t"))
    page.data("x", {"t": ["t"]})
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_an_island_is_json_that_ends_where_it_ends(text):
    html = island("x", {"name": text})
    body = html.removeprefix('<script type="application/json" id="data-x">').removesuffix("</script>")
    assert not set("<>&") & set(body) and body.isascii()
    assert json.loads(body) == {"name": text}


def test_an_island_holds_what_json_does_not():
    values = {"a": math.nan, "b": [math.inf, -math.inf], "c": np.array([1, 2]), "d": np.float64(1.5), 5: Decimal("1.1")}
    body = re.sub("<[^>]*>", "", island("x", values))
    assert json.loads(body) == {"a": None, "b": ["Infinity", "-Infinity"], "c": [1, 2], "d": 1.5, "5": "1.1"}


def test_markup_is_not_escaped_twice():
    assert escape(tag("b", "a & b")) == "<b>a &amp; b</b>"
    assert tag("p", tag("i", "<")) == "<p><i>&lt;</i></p>"
    assert join("<", Html("<br>"), by="|") == "&lt;|<br>"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (12345, "12,345"), (-5, "−5"), (1e15, "1e15"), (123456789.0, "123,456,789"),
     (1 / 3, "0.333333"), (1e-5, "1e−5"), (-1234567.8, "−1.23457e6"), (99999.96, "100,000"), (math.inf, "∞"),
     (math.nan, "NaN"), (True, "True"),
     (np.int64(20_000), "20,000"), (np.float32(0.5), "0.5"), (Decimal("-1234567.10"), "−1,234,567.10"),
     (10**30, f"{10**30:,}"), (5e-324, "4.94066e−324"), (1.7e308, "1.7e308"), ("a\nb", "a\\nb")],
)  # fmt: skip
def test_figures_are_written_for_people(value, text):
    assert number(value).replace("−0", "0") == text


def test_numbers_stand_right_and_sort_by_value():
    html = table(["name", "n", "mixed"], [["a", 12345, "x"], ["b", None, 3]], caption="c", sortable=True)
    assert html.count('class="n"') == 3 and 'data-value="12345.0"' in html and "<td>3" not in html
    assert '<td data-value="3.0">3</td>' in html and html.count('scope="col"') == 3 and html.count('scope="row"') == 2


def test_a_page_is_the_same_for_the_same_parts():
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    assert _with_chart().render() == _with_chart().render()


def _with_chart():
    spec = {"mark": "line", "data": {"values": [{"x": 1, "y": 2}, {"x": 2, "y": 3}]},
            "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
            "config": {"axis": {"labelFontSize": 9}}}  # fmt: skip
    page = Page("A chart")
    page.add(page.chart(spec, label="A line", caption="falls", figures=table(["x", "y"], [[1, 2]], caption="line")))
    return page


def test_a_chart_has_a_label_a_table_and_the_colours_of_the_page():
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    rendered = _with_chart().render()
    assert 'role="img" aria-label="A line"' in rendered and "<caption>line</caption>" in rendered
    compiled = json.loads(re.search('id="data-chart-1">(.*?)</script>', rendered)[1])
    assert compiled["config"]["axis"]["labelFontSize"] == 9
    assert compiled["config"]["axis"]["labelColor"] == "var(--muted)"
    assert "'unsafe-eval'" in rendered and "'unsafe-eval'" not in Page("none").render()


def test_an_altair_that_is_ahead_of_the_compiler_is_compiled_by_the_newest_that_it_knows(monkeypatch):
    altair = pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    monkeypatch.setattr(altair, "SCHEMA_VERSION", "v99.9.0")
    assert parts.vega({"mark": "bar", "data": {"values": []}})["marks"]


def test_only_scripts_of_the_page_may_run():
    page = Page("x")
    page.script("window.mine = '</script>';")
    rendered = page.render()
    policy = re.search('Content-Security-Policy" content="([^"]*)"', rendered)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-inline'; img" in policy
    scripts = re.findall("<script>(.*?)</script>", rendered, re.DOTALL)
    assert len(scripts) == 2 and scripts[1] == "window.mine = '<\\/script>';"
    for script in scripts:
        assert f"'sha256-{parts._digest(script)}'" in policy


def test_a_missing_library_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(StreamnormError, match=r"need vl-convert: pip install 'streamnorm\[report\]'"):
        parts.required("vl_convert")


def test_a_page_is_saved_whole_or_not_at_all(tmp_path):
    page = Page("x")
    page.save(tmp_path / "x.html")
    with pytest.raises(StreamnormError, match="exists already"):
        page.save(tmp_path / "x.html")
    page.save(tmp_path / "x.html", overwrite=True)
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == page.render()
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]
