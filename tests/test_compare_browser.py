"""The page of a comparison in a headless Chromium: it draws, sorts, loads nothing and runs nothing of the data's."""

import numpy as np
import pyarrow as pa
import pytest
from support.browser import Tab, chromium

import streamnorm as sn
from streamnorm.nn import Regressor

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

HOSTILE = "</script><img src=x onerror=window.hacked=1>"
SEED = 4


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(size=(2, 200))
    table = pa.table({HOSTILE: a, "b": b, f"y{HOSTILE}": a + b})
    found = sn.compare(table, f"y{HOSTILE}", scalers={HOSTILE: "standard", "plain": "robust"}, folds=2, seeds=2,
                       norms=["none", "batch"], model=Regressor(4, epochs=4))  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "compared.html"
    found.save(path)
    return path


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
def test_the_page_draws_and_runs_nothing_of_the_datas(browser, path, options):
    with Tab(browser, path, **options) as tab:
        tab.page.evaluate("streamnorm.drawAll()")
        tab.page.wait_for_selector("figure:last-of-type svg")
        assert tab.page.locator("figure.chart svg").count() == 3  # two of curves, one of scores
        assert tab.page.evaluate("document.querySelectorAll('figure.chart svg path').length") > 20
        assert tab.page.evaluate("window.hacked") is None
        assert tab.faults == [] and tab.requests == [path.as_uri()]
        wide = tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0


def test_tables_sort_and_say_what_they_are(browser, path):
    with Tab(browser, path) as tab:
        table = tab.page.locator("table").first
        values = "[...document.querySelector('table').tBodies[0].rows].map(row => Number(row.cells[2].dataset.value))"
        before = tab.page.evaluate(values)
        table.get_by_role("button", name="R²").click()
        assert tab.page.evaluate(values) == sorted(before) and before == sorted(before, reverse=True)
        assert tab.page.get_by_role("region", name="Verdict").inner_text().strip()
        assert tab.page.locator("[role=img]:not([aria-label])").count() == 0
        assert tab.page.evaluate("[...document.querySelectorAll('table')].every(table => table.caption)")


def test_a_curve_is_named_once_and_a_title_stands_above_its_chart(browser, path):
    with Tab(browser, path) as tab:
        tab.page.evaluate("streamnorm.drawAll()")
        tab.page.wait_for_selector("figure:last-of-type svg")
        assert tab.page.locator(".curves svg").first.locator("text", has_text="plain").count() == 1
        assert tab.page.locator(".curves h3").all_inner_texts() == ["No norm layer", "Batch norm"]
        top = "selector => document.querySelector(selector).getBoundingClientRect()"
        assert tab.page.evaluate(top, ".curves h3")["bottom"] <= tab.page.evaluate(top, ".curves svg")["top"]


def test_headings_and_notes_keep_their_distance(browser, path):
    with Tab(browser, path) as tab:
        box = "selector => document.querySelector(selector).getBoundingClientRect()"
        card, heading = (tab.page.evaluate(box, which) for which in (".card", ".card h2"))
        header = tab.page.evaluate(box, ".sub")
        assert heading["top"] - card["top"] < 30 and card["top"] - header["bottom"] >= 12
        note = "document.querySelector('.scroll + .note').getBoundingClientRect().top"
        table = "document.querySelector('.scroll:has(+ .note)').getBoundingClientRect().bottom"
        assert tab.page.evaluate(f"{note} - {table}") >= 8
        apart = """[...document.querySelectorAll('.scroll + .scroll')].map(each =>
                   each.getBoundingClientRect().top - each.previousElementSibling.getBoundingClientRect().bottom)"""
        assert all(distance >= 16 for distance in tab.page.evaluate(apart))


def test_a_name_of_400_characters_leaves_the_figures_of_a_table_in_sight(browser, tmp_path):
    names = ["long" * 100, "fare"]
    a, b = (pa.table([np.arange(9.0) + shift, np.arange(9.0)], names=names) for shift in (0, 9))
    (tmp_path / "drift.html").write_text(sn.diff(a, b).to_html())
    with Tab(browser, tmp_path / "drift.html", viewport={"width": 1200, "height": 800}) as tab:
        right = tab.page.evaluate("document.querySelector('tbody tr').lastElementChild.getBoundingClientRect().right")
        assert right <= 1200
