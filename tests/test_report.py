"""Reports: what their pages hold, and how the command line makes them."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import fails, run

import streamnorm as sn
from streamnorm.cli import cli
from streamnorm.errors import StreamnormError

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

DRAWN_RTOL = 1e-6  # figures of a page have seven digits
ROWS = 20_000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    return pa.table(
        {
            "normal": rng.normal(10, 2, ROWS),
            "skewed": pa.array(rng.lognormal(0, 1.2, ROWS), mask=rng.random(ROWS) < 0.1),
            "level": rng.uniform(0, 255, ROWS),
            "flag": rng.integers(0, 2, ROWS),
            "constant": np.full(ROWS, 7.0),
            "when": pa.array(np.arange(ROWS) * 1_000_000, pa.timestamp("us")),
            "text": ["a"] * ROWS,
        }
    )


def columns_of(path) -> dict:
    """The data of a page, by column."""
    island = re.search('id="data-columns">(.*?)</script>', Path(path).read_text(encoding="utf-8"))[1]
    return {column["name"]: column for column in json.loads(island)["columns"]}


def mapped(column, x):
    m = column["method"]
    return (x - m["center"]) / m["scale"] + m["offset"]


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
def test_a_page_shows_the_scaler_that_a_fit_gives(data, tmp_path, method):
    found = sn.report(data, tmp_path / "r.html", method=method)
    assert found.rows == ROWS and "text" in found.others
    columns = columns_of(tmp_path / "r.html")
    scaler = sn.fit(data, method)
    table = pa.table({name: data[name].combine_chunks().drop_null()[:5] for name in scaler.summary_})
    after = scaler.transform(table)
    assert [name for name, column in columns.items() if "method" in column] == list(scaler.summary_)
    for name in scaler.summary_:
        column = columns[name]
        assert column["method"]["name"] == method
        for x, y in zip(table[name].to_pylist(), after[name].to_pylist(), strict=True):
            assert mapped(column, x) == pytest.approx(y, rel=1e-12, abs=1e-12)
        assert sum(column["histogram"]["counts"]) == column["count"] == ROWS - data[name].null_count


def test_quantiles_come_with_intervals_that_hold(data, tmp_path):
    sn.report(data, tmp_path / "r.html")
    values = np.sort(data["level"].to_numpy())
    for each in columns_of(tmp_path / "r.html")["level"]["quantiles"]:
        true = np.quantile(values, each["q"])
        slack = DRAWN_RTOL * abs(true)
        assert each["valueLow"] - slack <= true <= each["valueHigh"] + slack
        assert each["low"] <= each["q"] + DRAWN_RTOL and each["q"] <= each["high"] + DRAWN_RTOL


def test_advice_is_followed_and_told(data, tmp_path):
    sn.report(data, tmp_path / "r.html")
    columns = columns_of(tmp_path / "r.html")
    advice = sn.report  # the function has a package of the same name
    from streamnorm.report.advise import advise

    assert callable(advice)
    for each in advise(data):
        column = columns[each.name]
        assert column.get("method", {}).get("name", "passthrough") == each.method
        assert column["advice"]["reason"] == each.reason
    assert columns["skewed"]["method"]["name"] == "robust" and "method" not in columns["flag"]
    assert columns["skewed"]["nulls"] == data["skewed"].null_count


def test_warnings_are_those_of_the_method(data, tmp_path):
    sn.report(data, tmp_path / "r.html", method="robust")
    columns = columns_of(tmp_path / "r.html")
    assert "the only value is 7.0" in columns["constant"]["warnings"][0] and columns["normal"]["warnings"] == []


def test_dates_are_written_as_dates(data, tmp_path):
    sn.report(data, tmp_path / "r.html")
    when = columns_of(tmp_path / "r.html")["when"]
    assert (when["min"], when["max"], when["unit"]) == ("1970-01-01 00:00", "1970-01-01 05:33", 1e-3)


def test_a_state_is_shown_as_far_as_it_knows(data, tmp_path):
    for method in ("robust", "standard"):
        scaler = sn.fit(data, method)
        scaler.save(tmp_path / "state.json")
        sn.report(tmp_path / "state.json", tmp_path / "file.html")
        sn.report(scaler, tmp_path / "object.html", title="state.json")
        columns = columns_of(tmp_path / "file.html")
        assert columns == columns_of(tmp_path / "object.html")
        assert ("histogram" in columns["level"]) == (method == "robust")
        assert columns["level"]["method"]["scale"] == scaler._all_maps()["level"].scale
        for path in tmp_path.iterdir():
            path.unlink()
    scaler.save(tmp_path / "state.json")
    for wrong in ({"method": "robust"}, {"columns": ["level"]}, {"where": "level > 1"}):
        with pytest.raises(ValueError, match="go with data"):
            sn.report(tmp_path / "state.json", tmp_path / "file.html", **wrong)


def test_a_fitted_scaler_is_shown_on_new_data(data, tmp_path):
    old = sn.fit(data, "minmax", columns=["level"])
    new = pa.table({"level": data["level"].to_numpy() * 3})
    sn.report(new, tmp_path / "r.html", method=old)
    column = columns_of(tmp_path / "r.html")["level"]
    assert mapped(column, column["max"]) == pytest.approx(3, rel=1e-2) and column["method"]["axis"] == [-0.06, 1.06]


def test_exact_quantiles_take_their_passes(data, tmp_path):
    sn.report(data, tmp_path / "r.html", method=sn.RobustScaler(exact=True), columns=["skewed"])
    exact = sn.fit(data, "robust", columns=["skewed"], exact=True)
    assert columns_of(tmp_path / "r.html")["skewed"]["method"]["center"] == exact.center_[0]


def test_hostile_columns_are_drawn_or_say_why_not(tmp_path):
    table = pa.table(
        {
            "huge": [-1.7e308, 1.0, 1.7e308],
            "tiny": [5e-324, 1e-310, 2e-310],
            "wide": pa.array([2**63 - 1, 2**62, -(2**63)]),
            "none": pa.array([None, None, None], pa.float64()),
            "nan": [float("nan")] * 3,
            "infinite": [float("inf"), 1.0, 2.0],
            "": [1.0, 2.0, 3.0],
            "close": [1e15, 1e15 + 0.125, 1e15 + 0.25],
        }
    )
    sn.report(table, tmp_path / "r.html")
    columns = columns_of(tmp_path / "r.html")
    assert list(columns) == table.column_names and columns["none"]["count"] == 0 == columns["nan"]["count"]
    assert "histogram" not in columns["huge"]  # it is wider than a double
    assert len(set(columns["close"]["histogram"]["edges"])) == len(columns["close"]["histogram"]["edges"])


def test_a_file_without_rows_is_reported(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "empty.parquet")
    sn.report(tmp_path / "empty.parquet", tmp_path / "r.html")
    assert columns_of(tmp_path / "r.html")["x"]["count"] == 0


def test_an_array_has_columns_by_position(tmp_path):
    sn.report(np.arange(12.0).reshape(6, 2), tmp_path / "r.html", method="standard")
    assert list(columns_of(tmp_path / "r.html")) == ["0", "1"]


def test_the_function_shows_its_signature_and_never_replaces_a_file_unasked(data, tmp_path):
    assert list(inspect.signature(sn.report).parameters)[:3] == ["source", "sink", "method"]
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(StreamnormError, match="exists already"):
        sn.report(data, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "mine"


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(data, "data.parquet")
    return tmp_path


def test_every_keyword_has_its_option():
    keywords = set(inspect.signature(sn.report).parameters) - {"progress", "filesystem"}
    options = {parameter.name for parameter in cli.commands["report"].params}
    assert keywords <= options
    help_text = next(p.help for p in cli.commands["report"].params if p.name == "method")
    assert "[default: advise]" in help_text


def test_the_command_writes_what_the_library_does(folder):
    said = run("report", "data.parquet", "-o", "a.html").stderr
    assert "described 20,000 rows in a.html" in said
    sn.report("data.parquet", "b.html")
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    run("report", "data.parquet", "-o", "c.html", "--method", "minmax", "--threads", "1", "--title", "<Mine>")
    assert "&lt;Mine&gt;" in Path("c.html").read_text() and columns_of("c.html")["normal"]["method"]["name"] == "minmax"
    run("report", "data.parquet", "-o", "d.html", "--method", "skewed=robust", "--exclude", "level", "--quiet")
    assert [name for name, c in columns_of("d.html").items() if "method" in c] == ["skewed"]
    assert "level" not in columns_of("d.html")


def test_the_command_takes_states(folder):
    run("fit", "data.parquet", "-o", "s.json", "--method", "robust", "--columns", "level")
    run("report", "s.json", "-o", "state.html")
    run("report", "data.parquet", "--state", "s.json", "-o", "both.html")
    assert list(columns_of("state.html")) == ["level"] and "method" in columns_of("both.html")["level"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["data.parquet"], 2, "missing option '--output'"),
        (["data.parquet", "-o", "x.html", "--method", "best"], 2, "'best' is none of"),
        (["data.parquet", "-o", "x.html", "--method", "robust", "--state", "s.json"], 2, "--state has its own"),
        (["s.json", "-o", "x.html", "--method", "robust"], 2, "--method goes with data"),
        (["s.json", "-o", "x.html", "--input-format", "csv"], 2, "--input-format goes with data"),
        (["data.parquet", "-o", "data.parquet"], 2, "file for the page"),
        (["gone.parquet", "-o", "x.html"], 1, "gone.parquet"),
        (["data.parquet", "-o", "s.json"], 1, "exists already"),
        (["data.parquet", "-o", "x.html", "--columns", "text"], 1, "text"),
        (["data.parquet", "-o", "nowhere/x.html"], 1, "nowhere"),
    ],
)
def test_faults_are_one_sentence(args, code, message, folder):
    sn.fit("data.parquet", columns=["level"]).save("s.json")
    before = sorted(path.name for path in folder.iterdir())
    assert message in fails(code, "report", *args)
    assert sorted(path.name for path in folder.iterdir()) == before
