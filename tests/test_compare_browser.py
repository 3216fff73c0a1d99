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
