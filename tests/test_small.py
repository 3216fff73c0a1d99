"""Small pictures: histograms in a terminal and in a notebook."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from support.commands import run

import streamnorm as sn
from streamnorm.report.small import ASCII, BLOCKS, CELLS, SHOWN, blocks, heights, shapes, writes_blocks
from streamnorm.summary import Summary

HEIGHT_ATOL = 0.02  # of a sketch with a rank error of 0.001 and 16 bins


@pytest.fixture(scope="module")
def scaler():
    rng = np.random.default_rng(1)
    columns = {"normal": rng.normal(size=50_000), "level": rng.uniform(size=50_000), "die": rng.integers(1, 7, 50_000)}
    return sn.fit(pa.table(columns), "robust")


def test_heights_are_those_of_the_distribution(scaler):
    assert np.allclose(heights(scaler.summary_["level"], CELLS), 1, atol=4 * HEIGHT_ATOL)
    die = heights(scaler.summary_["die"], CELLS)
    assert len(die) == 6 and min(die) > 0.95
    normal = heights(scaler.summary_["normal"], CELLS)
    middle = int(np.argmax(normal))
    assert CELLS // 2 - 2 <= middle <= CELLS // 2 + 1 and normal[0] < 0.02 and normal[-1] < 0.02
    assert all(b - a > -0.1 for a, b in zip(normal[:middle], normal[1:middle], strict=False))


def test_the_wide_bins_of_tails_do_not_look_like_crowds():
    values = np.concatenate([np.linspace(0, 1, 900), np.linspace(1, 1e6, 100)])
    shape = heights(sn.RobustScaler().fit(values[:, None]).summary_[0], CELLS)
    assert 0 < shape[-1] < 0.01


def test_a_last_bin_of_fewer_whole_numbers_does_not_stand_out():
    shape = heights(sn.RobustScaler().fit(np.repeat(np.arange(0, 361, 10), 20)[:, None]).summary_[0], CELLS)
    assert min(shape[:-1]) > 0.6 and shape[-1] <= 1


@pytest.mark.parametrize(
    "values",
    [[None, None], [float("nan")], [-1.7e308, 1.7e308], [5e-324, 1e-323], [1e15, 1e15 + 0.125], [3.0], [0.0, -0.0]],
)
def test_hostile_columns_have_a_picture_or_none(values):
    column = sn.fit(pa.table({"x": pa.array(values, pa.float64()), "y": [1.0] * len(values)}), "robust").summary_["x"]
    shape = heights(column, CELLS)
    assert shape is None or (max(shape) == 1 and min(shape) >= 0)


def test_blocks_rise_with_heights():
    rising = [i / 8 for i in range(9)]
    assert blocks(rising) == " " + BLOCKS and blocks(rising, unicode=False) == " " + ASCII
    assert ASCII.isascii() and len(ASCII) == len(BLOCKS)


@pytest.mark.parametrize(
    ("encoding", "terminal", "can"),
    [("utf-8", "xterm", True), ("utf-8", None, True), ("cp437", None, False), ("ascii", "xterm", False),
     (None, None, False), ("utf-8", "dumb", False), ("utf-8", "linux", False), ("nonsense", None, False)],
)  # fmt: skip
def test_ascii_is_for_terminals_that_cannot_do_better(encoding, terminal, can):
    assert writes_blocks(encoding, terminal) == can


def test_inspect_draws_what_it_has_quantiles_of(scaler, tmp_path):
    scaler.save(tmp_path / "s.json")
    said = run("inspect", tmp_path / "s.json").stdout
    line = next(line for line in said.splitlines() if line.startswith("die"))
    assert re.search(r"die +[▇█]{6} ", line) and "shape" in said
    assert "shape" not in json.loads(run("inspect", tmp_path / "s.json", "--json").stdout)["columns"][0]
    sn.fit(pa.table({"x": [1.0, 2.0]})).save(tmp_path / "plain.json")
    assert "shape" not in run("inspect", tmp_path / "plain.json").stdout


def test_inspect_keeps_to_ascii_and_to_the_width(scaler, tmp_path):
    import subprocess
    import sys

    scaler.save(tmp_path / "s.json")
    path = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": path}
    command = [sys.executable, "-m", "streamnorm", "inspect", str(tmp_path / "s.json")]
    said = subprocess.run(command, env=env, capture_output=True, check=True).stdout
    assert said.isascii() and b"######" in said
    from streamnorm import listing, states

    found, summary = states.inspected(tmp_path / "s.json")
    drawn = shapes(summary, summary)
    cells = {"name": list(summary), "shape": drawn, "count": ["50,000"] * 3, "mean": ["0.123456"] * 3}
    for width in range(10, 60):
        chosen, _ = listing._fitting(cells, width)
        assert ("shape" in chosen) == (width >= len("normal  50,000  0.123456  ") + CELLS)
    narrow = listing.as_table(found, found["columns"], 0, tty=False, shapes=drawn)
    assert drawn[0] in narrow


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        assert not any(key.startswith("on") for key, _ in attributes)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", ["</script><img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "' onclick='x"])
def test_a_notebook_shows_a_summary_escaped_and_without_script(name):
    html = sn.fit(pa.table({name: [1.0, 2.0, None]}), "robust").summary_._repr_html_()
    parsed = Parsed(html)
    assert set(parsed.names) <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "path"}
    assert name in parsed.text and parsed.names.count("svg") == 1
    assert "3 rows, 1 column" in parsed.text


def test_a_notebook_shows_the_first_of_thousands_of_columns():
    wide = sn.fit(pa.table({f"c{i}": [0.0, float(i)] for i in range(3000)})).summary_
    html = wide._repr_html_()
    assert html.count("<tr>") == SHOWN + 1 and f"the first {SHOWN} are shown" in html and len(html) < 100_000
    assert "shape" not in html and "median" not in html  # a StandardScaler has no quantiles


def test_a_notebook_shows_empty_and_unnamed_summaries():
    assert "0 rows, 0 columns" in Summary()._repr_html_()
    assert '<th scope="row">1</th>' in sn.MinMaxScaler().fit([[1, 2], [3, 4]]).summary_._repr_html_()


def test_a_long_name_leaves_room_for_figures_when_inspected(tmp_path, monkeypatch):
    from streamnorm import listing

    table = pa.table([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]], names=["long_" * 80, ""])
    sn.fit(table, "robust").save(tmp_path / "s.json")
    said = sn.inspect(tmp_path / "s.json")
    monkeypatch.setenv("COLUMNS", "60")
    for tty in (True, False):
        lines = listing.as_table(said, said["columns"], 0, tty=tty).splitlines()
        assert any(line.startswith("(no name) ") and " 3 " in line for line in lines)
        assert any(line.startswith("long_") and "…" in line and " 3 " in line for line in lines)
