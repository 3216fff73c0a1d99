"""Pages in a headless Chromium: nothing is loaded or run from data, all of it can be used, read and printed."""

import re
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.browser import Tab, chromium

import streamnorm as sn
from streamnorm.report.page import Page, section, table

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

MANY = 1000
OPENS_IN = 2.0  # seconds, with its first charts drawn: best of three
MOST_BYTES = 5_000_000
PIXEL = 1.5  # to which a bar is as high as its count, or what is left of a bin that is cut
TEXT_CONTRAST, GRAPHIC_CONTRAST = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11
HOSTILE = [
    "</script><img src=x onerror=\"window.hacked=1\">",
    "<svg onload=window.hacked=2>",
    "\"><script>window.hacked=3</script>",
    "' onmouseover='window.hacked=4",
    "${window.hacked=5}",
    "<!--",
    "javascript:window.hacked=6",
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    rng = np.random.default_rng(2)
    data = {f"c{i:02d}": rng.normal(i, 1 + i, 2000) for i in range(30)}
    data["tail"] = pa.array(rng.lognormal(0, 2, 2000), mask=rng.random(2000) < 0.2)
    data["same"] = np.full(2000, 3.0)
    path = tmp_path_factory.mktemp("page") / "report.html"
    sn.report(pa.table(data), path, method="robust")
    return path


@pytest.fixture(scope="module")
def many_path(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("many") / "many.html"
    columns = {f"feature_{i:04d}": rng.lognormal(i % 7, 1, 1500) for i in range(MANY)}
    sn.report(pa.table(columns), path)
    return path


def test_names_values_and_files_run_nothing(browser, tmp_path):
    name = "a<img src=x onerror=window.hacked=7>&amp;.parquet"
    data = pa.table({text: [1.0, 2.0, 9.0] for text in HOSTILE})
    data = data.replace_schema_metadata({HOSTILE[0]: HOSTILE[2]})
    pq.write_table(data, tmp_path / name)
    sn.report(tmp_path / name, tmp_path / "r.html", method="minmax")
    with Tab(browser, tmp_path / "r.html") as tab:
        tab.page.wait_for_selector(".plot svg")
        tab.page.check("input[value=table]", force=True)
        tab.page.check("input[value=cards]", force=True)
        for summary in tab.page.query_selector_all("details summary"):
            summary.click()
        assert tab.page.inner_text("h1") == name
        assert [each.inner_text() for each in tab.page.query_selector_all("article h3")] == HOSTILE
        assert tab.page.query_selector_all("img, main script, main svg[onload]") == []
        assert tab.page.evaluate("window.hacked") is None and tab.faults == []


def test_what_gets_into_a_page_as_markup_still_runs_nothing(browser, tmp_path):
    from streamnorm.report.page import Html

    page = Page("x")
    page.add(Html("<img src='data:,' onerror='window.hacked=1'><script>window.hacked=2</script>"))
    page.save(tmp_path / "x.html")
    with Tab(browser, tmp_path / "x.html") as tab:
        tab.page.wait_for_timeout(100)
        assert tab.page.evaluate("window.hacked") is None
        assert all("Content Security Policy" in fault for fault in tab.faults) and len(tab.faults) == 2


def test_a_page_asks_for_nothing(browser, page_path):
    with Tab(browser, page_path, offline=True) as tab:
        tab.page.wait_for_selector(".plot svg")
        assert tab.requests == [page_path.resolve().as_uri()] and tab.faults == []


def test_charts_are_drawn_for_what_is_in_sight_alone(browser, page_path):
    with Tab(browser, page_path) as tab:
        tab.page.wait_for_selector(".plot svg")
        drawn, there = (len(tab.page.query_selector_all(what)) for what in (".plot svg", ".plot"))
        assert there == 40 and 4 <= drawn <= 12
        tab.page.mouse.wheel(0, 100_000)
        tab.page.wait_for_function("document.querySelectorAll('article:last-child .plot svg').length === 2")
        bars = tab.page.query_selector_all("article:first-child figure.before svg .mark-rect path")
        assert len(bars) > 10


def test_a_thousand_columns_are_small_and_open_at_once(browser, many_path):
    assert many_path.stat().st_size < MOST_BYTES
    took = []
    for _ in range(3):
        started = time.monotonic()
        with Tab(browser, many_path) as tab:
            tab.page.wait_for_selector(".plot svg")
            took.append(time.monotonic() - started)
    assert min(took) < OPENS_IN, took


def test_search_order_filters_and_pages(browser, many_path):
    with Tab(browser, many_path) as tab:
        page = tab.page

        def names():
            return [each.inner_text() for each in page.query_selector_all("article h3")]

        assert names() == [f"feature_{i:04d}" for i in range(20)]
        page.click(".pager button:last-child")
        assert names()[0] == "feature_0020" and page.inner_text(".pager span") == "page 2 of 50"
        page.fill("#search", "_0042")
        assert names() == ["feature_0042"] and page.inner_text("#found") == "1 of 1,000 columns"
        assert not page.is_visible(".pager")
        page.fill("#search", "nothing like it")
        assert "No column is like that." in page.inner_text("#list")
        page.fill("#search", "")
        page.select_option("#order", "outliers")
        data = {column["name"]: column for column in page.evaluate("window.streamnorm.data('columns').columns")}
        shares = [data[name]["outliers"] / data[name]["count"] for name in names()]
        assert shares == sorted(shares, reverse=True) and shares[0] == max(
            each["outliers"] / each["count"] for each in data.values()
        )
        page.check("input[value=table]", force=True)
        assert len(page.query_selector_all("#list tbody tr")) == 100
        page.click("#list tbody tr:nth-child(57) a")
        wanted = page.evaluate("document.activeElement.textContent")
        assert wanted in names()
        assert tab.faults == []


def test_tables_behind_the_charts_say_what_is_drawn(browser, page_path):
    with Tab(browser, page_path) as tab:
        page = tab.page
        page.fill("#search", "tail")
        page.click("details.bins summary")
        page.click("details.quantiles summary")
        cells = page.eval_on_selector_all(
            "details.bins tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        [column] = [c for c in page.evaluate("window.streamnorm.data('columns').columns") if c["name"] == "tail"]
        assert sum(int(row[2].replace(",", "")) for row in cells) == column["count"]
        quantiles = page.inner_text("details.quantiles")
        assert "median" in quantiles and ("each interval at 99 % confidence" in quantiles or "exact" in quantiles)
        label = page.get_attribute("figure.after .plot", "aria-label")
        assert label.startswith("Histogram and box plot of tail after scaling")
        assert "the median is 0. Not shown: " in label


def test_the_bars_are_as_high_as_the_counts(browser, tmp_path):
    angle = np.repeat(np.arange(0, 361, 10), np.arange(37) + 5)
    sn.report(pa.table({"angle": angle}), tmp_path / "r.html")
    with Tab(browser, tmp_path / "r.html") as tab:
        tab.page.wait_for_selector(".plot svg")
        boxes = tab.page.evaluate(
            """() => [...document.querySelectorAll('article:first-child figure.before svg [fill="var(--c1)"]')]
            .filter(bar => !bar.getAttribute('stroke')).map(bar => bar.getBoundingClientRect())
            .map(({x, width, height}) => [x, width, height])"""
        )
        column = tab.page.evaluate("window.streamnorm.data('columns').columns[0]")
        counts = column["histogram"]["counts"]
        highest = max(height for _, _, height in boxes)
        assert len(boxes) == sum(count > 0 for count in counts)
        for (_, _, height), count in zip(sorted(boxes), [c for c in counts if c], strict=True):
            assert height / highest == pytest.approx(count / max(counts), abs=PIXEL / highest)


def test_the_smallest_numbers_have_bars_and_types_their_room(browser, tmp_path):
    tiny = np.random.default_rng(4).integers(1, 50, 500) * 5e-324
    wide = {f"c{i}": pa.array(np.arange(500) * 10**12 + i, pa.int64()).cast(pa.decimal128(38, 2)) for i in range(3)}
    sn.report(pa.table({"tiny": tiny, **wide}), tmp_path / "r.html", method="minmax")
    with Tab(browser, tmp_path / "r.html", viewport={"width": 1000, "height": 900}) as tab:
        tab.page.wait_for_selector(".plot svg")
        bars = "article:first-child figure.before svg [fill='var(--c1)']"
        assert tab.page.locator(bars).count() > 20 and tab.faults == []
        tab.page.get_by_text("Table", exact=True).click()
        assert tab.page.locator("td.kind").first.evaluate("cell => cell.getBoundingClientRect().height") < 60


def test_what_is_warned_of_is_said_once(tmp_path):
    big = pa.table({"x": pa.array([2**63 + 7 * i for i in range(60)], pa.uint64())})
    sn.report(big, tmp_path / "r.html", method="minmax")
    assert (tmp_path / "r.html").read_text().count("more digits than a double holds") == 1


def test_all_is_labelled_and_reached_by_the_keyboard(browser, page_path):
    with Tab(browser, page_path) as tab:
        page = tab.page
        page.wait_for_selector(".plot svg")
        assert page.evaluate("document.documentElement.lang") == "en" and len(page.query_selector_all("h1")) == 1
        labels = page.eval_on_selector_all("figure .plot", "all => all.map(each => each.getAttribute('aria-label'))")
        assert len(set(labels)) == len(labels) == 40
        assert all(label.startswith("Histogram and box plot of ") for label in labels)
        unlabelled = page.evaluate(
            """() => [...document.querySelectorAll('input, select, button, [role=img], [role=region], nav, article')]
            .filter(node => !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby')
                || node.labels?.[0]?.textContent.trim() || node.textContent.trim())).map(node => node.outerHTML)"""
        )
        assert unlabelled == []
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(16):
            page.keyboard.press("Tab")
            found = "(({id, name, type, tagName}) => id || name || type || tagName)(document.activeElement)"
            reached.add(page.evaluate(found))
            ring = page.evaluate(
                """() => { const node = document.activeElement, at = node.matches('.switch input')
                ? node.nextElementSibling : node; return getComputedStyle(at).outlineStyle; }"""
            )
            assert ring != "none"
        assert {"print", "theme", "search", "filter", "order", "how", "checkbox"} <= reached
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"
        assert all(page.evaluate("[...document.querySelectorAll('table')].map(each => Boolean(each.caption))"))
        assert page.get_attribute("#found", "aria-live") == "polite"


def _luminance(color):
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a, b):
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(browser, page_path, scheme):
    with Tab(browser, page_path, color_scheme=scheme) as tab:
        color = tab.page.evaluate(
            """() => { const probe = document.body.appendChild(document.createElement('i')); const found = {};
            for (const name of ['bg', 'surface', 'sunken', 'ink', 'muted', 'accent', 'warn', 'warn-bg', 'bad', 'bad-bg',
                'edge', 'focus', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6']) {
                probe.style.color = `var(--${name})`; found[name] = getComputedStyle(probe).color; }
            return found; }"""
        )
        for text in ("ink", "muted", "accent"):
            for ground in ("bg", "surface", "sunken"):
                assert _contrast(color[text], color[ground]) >= TEXT_CONTRAST, (text, ground)
        assert _contrast(color["warn"], color["warn-bg"]) >= TEXT_CONTRAST
        assert _contrast(color["bad"], color["bad-bg"]) >= TEXT_CONTRAST
        for mark in ("c1", "c2", "c3", "c4", "c5", "c6", "edge", "focus"):
            assert _contrast(color[mark], color["surface"]) >= GRAPHIC_CONTRAST, mark
        assert (_luminance(color["bg"]) > 0.5) == (scheme == "light")


def test_the_switch_turns_the_page_and_its_charts(browser, page_path):
    fill = "getComputedStyle(document.querySelector('figure.before .plot svg [fill^=\"var(--c1\"]')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    with Tab(browser, page_path, color_scheme="light") as tab:
        tab.page.wait_for_selector(".plot svg")
        light = tab.page.evaluate(fill), tab.page.evaluate(ground)
        tab.page.check("input[value=dark]", force=True)
        dark = tab.page.evaluate(fill), tab.page.evaluate(ground)
        assert light[0] != dark[0] and _luminance(dark[1]) < 0.1 < _luminance(light[1])
        tab.page.check("input[value=auto]", force=True)
        assert (tab.page.evaluate(fill), tab.page.evaluate(ground)) == light


def test_without_scripts_there_is_a_table(browser, page_path):
    with Tab(browser, page_path, java_script_enabled=False) as tab:
        rows = tab.page.query_selector_all("noscript tbody tr")
        assert len(rows) == 32 and "tail" in rows[30].inner_text()


def test_nothing_moves_for_those_who_ask_for_that(browser, page_path):
    moving = "[...document.querySelectorAll('*')].filter(n => getComputedStyle(n).transitionDuration !== '0s').length"
    with Tab(browser, page_path, reduced_motion="reduce") as tab:
        assert tab.page.evaluate(moving) == 0
        assert tab.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_a_narrow_screen_needs_no_scrolling_sideways(browser, page_path):
    with Tab(browser, page_path, viewport={"width": 360, "height": 700}) as tab:
        tab.page.wait_for_selector(".plot svg")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_paper_gets_what_was_chosen_with_all_charts(browser, page_path):
    with Tab(browser, page_path, color_scheme="dark") as tab:
        page = tab.page
        print_now = "dispatchEvent(new Event('beforeprint'))"
        page.evaluate(print_now)
        assert len(page.query_selector_all("article")) == 32 and len(page.query_selector_all(".plot svg")) == 64
        page.emulate_media(media="print")
        assert _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9
        assert not page.is_visible("#search") and not page.is_visible(".tools")
        assert all(page.evaluate("[...document.querySelectorAll('details.quantiles')].map(each => each.open)"))
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert len(page.query_selector_all("article")) == 20
        page.check("article:nth-child(2) input")
        page.check("article:nth-child(5) input")
        assert page.inner_text("#found").endswith("2 to print")
        page.evaluate(print_now)
        assert [each.inner_text() for each in page.query_selector_all("article h3")] == ["c01", "c04"]
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_sortable_table_sorts_numbers_as_numbers(browser, tmp_path):
    page = Page("x")
    rows = [["b", 10.0], ["a", 9.0], ["c", None], ["d", -1e6]]
    page.add(section("x", table(["name", "n"], rows, caption="c", sortable=True)))
    page.save(tmp_path / "x.html")
    with Tab(browser, tmp_path / "x.html") as tab:
        order = "[...document.querySelectorAll('tbody th')].map(each => each.textContent).join('')"
        tab.page.click("th:nth-child(2) button")
        assert tab.page.evaluate(order) == "dabc"
        assert tab.page.get_attribute("th:nth-child(2)", "aria-sort") == "ascending"
        tab.page.click("th:nth-child(2) button")
        assert tab.page.evaluate(order) == "badc"
        tab.page.click("th:nth-child(1) button")
        assert tab.page.evaluate(order) == "abcd"


def test_a_chart_of_altairs_is_drawn_in_the_colours_of_the_page(browser, tmp_path):
    import altair as alt

    values = [{"step": i, "loss": 1 / (i + k), "norm": f"norm {k}"} for i in range(5) for k in (1, 2)]
    chart = alt.Chart(alt.Data(values=values)).mark_line().encode(x="step:Q", y="loss:Q", color="norm:N")
    page = Page("x")
    page.add(page.chart(chart.properties(width="container", height=200), label="Loss by step"))
    page.save(tmp_path / "x.html")
    with Tab(browser, tmp_path / "x.html") as tab:
        tab.page.wait_for_selector(".plot svg")
        stroke = "all => all.map(each => each.getAttribute('stroke'))"
        strokes = tab.page.eval_on_selector_all(".mark-line path", stroke)
        assert strokes == ["var(--c1)", "var(--c2)"] and tab.faults == []
        assert tab.page.evaluate("document.querySelector('.plot svg').getBoundingClientRect().width") > 900
