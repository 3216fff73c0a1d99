"""Advice on data whose right answer is known."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import fails, run

import streamnorm as sn
from streamnorm.cells import width_of
from streamnorm.report.advise import rules_table
from streamnorm.report.rules import OF_SKEWNESS, OF_TAILS, RULES

ROWS = 20_000
GUIDE = Path(__file__).parent.parent / "docs" / "advise.md"


def columns():
    rng = np.random.default_rng(11)
    normal = rng.normal(50, 5, ROWS)
    dirty = np.where(rng.random(ROWS) < 0.05, normal * 20, normal)
    sparse = np.where(rng.random(ROWS) < 0.9, 0.0, rng.exponential(3, ROWS))
    one_far = normal.copy()
    one_far[7] = 1e6
    spike = np.where(rng.random(ROWS) < 0.8, 10.0, rng.uniform(0, 10, ROWS))
    return {
        "normal": (normal, "rest", "standard"),
        "uniform": (rng.uniform(-3, 3, ROWS), "bounded", "minmax"),
        "shade": (pa.array(rng.integers(0, 256, ROWS), pa.uint8()), "pixels", "minmax"),
        "lognormal": (rng.lognormal(0, 1, ROWS), "outliers", "robust"),
        "cauchy": (rng.standard_cauchy(ROWS), "outliers", "robust"),
        "dirty": (dirty, "outliers", "robust"),
        "one_far": (one_far, "far", "robust"),
        "skewed": (rng.beta(0.4, 1, ROWS), "skewed", "robust"),
        "sparse": (sparse, "sparse", "maxabs"),
        "spike": (spike, "spike", "standard"),
        "constant": (np.full(ROWS, 3.7), "constant", "passthrough"),
        "nothing": (pa.nulls(ROWS, pa.float64()), "empty", "passthrough"),
        "row": (np.arange(ROWS), "clock", "passthrough"),
        "shuffled": (rng.permutation(ROWS) + 10**6, "key", "passthrough"),
        "hashed": (rng.integers(-(2**62), 2**62, ROWS), "key", "passthrough"),
        "zone_id": (rng.integers(1, 265, ROWS), "name", "passthrough"),
        "PULocationID": (rng.integers(1, 265, ROWS), "name", "passthrough"),
        "when": (pa.array(np.cumsum(rng.integers(1, 9, ROWS)), pa.timestamp("us")), "time", "passthrough"),
        "clock": (pa.array(rng.integers(0, 86_400, ROWS).astype(np.int32), pa.time32("s")), "time", "passthrough"),
        "took": (pa.array(rng.integers(0, 10**6, ROWS), pa.duration("s")), "bounded", "minmax"),
        "unix": (rng.integers(1_357_000_000, 1_388_000_000, ROWS), "clock", "passthrough"),
        "seconds": (1.6e9 + np.cumsum(rng.random(ROWS)), "clock", "passthrough"),
        "since": (pa.array([7] * ROWS, pa.timestamp("us")), "time", "passthrough"),
        "span": (rng.uniform(-1, 1, ROWS) * 1.7e308, "span", "passthrough"),
        "flag": (rng.integers(0, 2, ROWS), "flag", "passthrough"),
        "truth": (rng.random(ROWS) < 0.3, "flag", "passthrough"),
        "pair": (rng.choice([-4.0, 9.0], ROWS), "pair", "minmax"),
        "weekday": (rng.integers(0, 7, ROWS), "codes", "passthrough"),
    }


@pytest.fixture(scope="module")
def cases():
    return columns()


@pytest.fixture(scope="module")
def advice(cases):
    return sn.advise(pa.table({name: values for name, (values, _, _) in cases.items()}))


@pytest.mark.parametrize("name", list(columns()))
def test_the_right_scaler_for_the_right_reason(advice, cases, name):
    _, rule, method = cases[name]
    assert (advice[name].rule, advice[name].method) == (rule, method)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rows", [300, 5000])
def test_normal_data_is_standardized_and_uniform_data_is_bounded_whatever_the_draw(seed, rows):
    rng = np.random.default_rng(seed)
    advice = sn.advise(pa.table({"normal": rng.normal(size=rows), "uniform": rng.uniform(size=rows)}))
    assert [column.method for column in advice] == ["standard", "minmax"]


def test_every_rule_but_none_else_is_tried(cases):
    assert {rule for _, rule, _ in cases.values()} == {rule.name for rule in RULES}


@pytest.mark.parametrize("rows", [50, 100, 300])
def test_keys_of_few_rows_are_keys(rows):
    draws = [np.random.default_rng(seed).integers(0, 2**60, rows) for seed in range(20)]
    rules = [sn.advise(pa.table({"x": draw}))["x"].rule for draw in draws]
    assert rules.count("key") >= 18


def test_chance_is_two_standard_errors_of_the_figures():
    rng = np.random.default_rng(0)
    normal = [sn.describe(rng.normal(size=(1000, 1)))[0].quantile_skew for _ in range(200)]
    uniform = [sn.describe(rng.random((1000, 1)))[0].tail_weight for _ in range(200)]
    assert np.std(normal) * math.sqrt(1000) == pytest.approx(OF_SKEWNESS, rel=0.15)
    assert np.std(uniform) * math.sqrt(1000) == pytest.approx(OF_TAILS, rel=0.15)


def test_columns_that_no_scaler_takes_do_not_stop_the_others():
    rng = np.random.default_rng(5)
    table = pa.table({"x": rng.normal(size=100), "wide": [-1.7e308, 1.7e308] * 50, "inf": np.full(100, np.inf)})
    advice = sn.advise(table)
    assert [column.method for column in advice] == ["standard", "passthrough", "passthrough"]
    assert advice["inf"].reason == "no finite value in any row" and advice["inf"].remarks == ("100 infinite values",)
    assert advice.scaler().fit(table).transform(table)["wide"].to_pylist() == table["wide"].to_pylist()


@pytest.mark.parametrize("code, share", [(-999.0, 0.01), (-99.0, 0.1), (-9999.0, 0.3), (99999.0, 0.05)])
def test_codes_for_missing_values_are_remarked(code, share):
    rng = np.random.default_rng(6)
    x = rng.normal(5, 5, 2000)
    x[rng.random(2000) < share] = code
    assert any("code for missing" in remark for remark in sn.advise(pa.table({"x": x}))["x"].remarks)
    plain = sn.advise(pa.table({"a": np.linspace(-999, 1000, 2000), "b": rng.integers(0, 100, 2000)}))
    assert not any("code for missing" in remark for column in plain for remark in column.remarks)


def test_a_few_values_are_said_to_be_few():
    assert sn.advise(pa.table({"x": [1.0, 2.0, 3.5]}))["x"].remarks[0].startswith("only 3 values: too few")


def test_ends_have_the_digits_that_tell_them_apart():
    x = 1.6e9 + np.random.default_rng(7).random(500) * 1000
    assert re.match(r"ends in bounds, 1600000\d+\S* to 1600000[89]\d+", sn.advise(pa.table({"x": x}))["x"].reason)


def test_a_reason_has_its_figure(advice):
    assert "12," not in advice["sparse"].reason and re.match(r"(89|90)\.\d % zeros", advice["sparse"].reason)
    assert re.match(r"7\.\d % of the values beyond Tukey's fences", advice["lognormal"].reason)
    assert "interquartile ranges" in advice["one_far"].reason or "standard deviation" in advice["one_far"].reason
    assert "from 2013-01-01 to 2013-12-25" in advice["unix"].reason
    assert advice["weekday"].reason.startswith("7 whole numbers, 0 to 6")


def test_remarks_tell_of_logarithms_missing_values_and_infinities():
    rng = np.random.default_rng(2)
    x = rng.lognormal(0, 1, 1000)
    x[::3] = np.nan
    y = rng.normal(size=1000)
    y[5] = -np.inf
    advice = sn.advise(pa.table({"x": x, "y": y, "z": np.sort(y[6:]).tolist() + [9.0] * 6}))
    assert any("logarithm" in remark for remark in advice["x"].remarks)
    assert any(remark.startswith("33.4 % null or NaN") for remark in advice["x"].remarks)
    assert any("1 infinite value:" in remark for remark in advice["y"].remarks)
    assert any("increasing row by row" in remark for remark in advice["z"].remarks)


def test_the_proposed_scaler_fits_and_ignores_infinities():
    rng = np.random.default_rng(2)
    y = rng.normal(size=1000)
    y[5] = -np.inf
    table = pa.table({"y": y, "z": rng.normal(size=1000), "s": ["a"] * 1000})
    scaler = sn.advise(table).scaler().fit(table)
    out = scaler.transform(table)
    assert out["y"][5].as_py() == -np.inf
    assert np.std(out["z"].to_numpy()) == pytest.approx(1)


def test_nothing_to_scale_is_an_error():
    with pytest.raises(sn.DataError, match="all columns pass through"):
        sn.advise(pa.table({"x": [1, 1, 1]})).scaler()


def test_arrays_are_advised_by_position():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=500), rng.uniform(size=500), np.ones(500)])
    advice = sn.advise(X)
    assert [column.method for column in advice] == ["standard", "minmax", "passthrough"]
    assert advice.scaler().fit(X).transform(X)[:, 2].tolist() == [1.0] * 500


def test_columns_alike_are_intensities_together():
    rng = np.random.default_rng(4)
    images = {f"pixel_{i}": rng.integers(0, 1 + 2 * (i + 1), 1000) for i in range(16)}
    assert {column.rule for column in sn.advise(pa.table(images)).columns[2:]} == {"pixels"}
    alone = sn.advise(pa.table({"pixel_15": images["pixel_15"]}))
    assert alone["pixel_15"].rule != "pixels"


def test_a_state_is_advised_by_what_it_knows():
    rng = np.random.default_rng(5)
    table = pa.table({"x": rng.standard_cauchy(5000), "y": rng.normal(size=5000)})
    assert [column.method for column in sn.advise(sn.fit(table, "robust"))] == ["robust", "standard"]
    assert sn.advise(sn.fit(table))["x"].reason == "no quantiles are known that speak against it"
    assert sn.advise(sn.describe(table)).columns == sn.advise(table).columns


def test_the_file_of_a_state_is_advised_on_the_command_line(folder):
    said = run("advise", "stats.json").stdout
    assert said == sn.advise("stats.json").table() + "\n"
    assert "give the data" in fails(2, "advise", "stats.json", "--apply", "proposed.json")
    assert "go with data" in fails(2, "advise", "stats.json", "--columns", "fare")
    with pytest.raises(ValueError, match="go with data"):
        sn.advise("stats.json", columns=["fare"])


def test_html_escapes_names():
    page = sn.advise(pa.table({"</td><img onerror=x>": [1.0, 2.0, 4.0]}))._repr_html_()
    assert "<img" not in page and "&lt;img" in page


def test_json_and_table_say_the_same(advice):
    said = json.loads(advice.to_json())
    assert [column["name"] for column in said["columns"]] == [column.name for column in advice]
    lines = [line for line in advice.table().splitlines() if not line.startswith(" ")]
    assert len(lines) == len(advice)
    for line, column in zip(lines, said["columns"], strict=True):
        assert line.split()[:2] == [column["name"], column["method"]]


def test_the_guide_has_the_rules():
    assert rules_table() in GUIDE.read_text()


def test_the_command_line(folder):
    shown = run("advise", "trips.parquet", "--apply", "proposed.json")
    assert "fare" in shown.stdout
    scaler = sn.load("proposed.json")
    advice = sn.advise("trips.parquet")
    assert list(scaler.summary_) == [column.name for column in advice if column.method != "passthrough"]
    said = json.loads(run("advise", "trips.parquet", "--json").stdout)
    assert said == json.loads(advice.to_json())
    assert "proposed.json" in fails(1, "advise", "trips.parquet", "--apply", "proposed.json")
    run("advise", "trips.parquet", "--apply", "proposed.json", "--overwrite")


def test_the_command_line_refuses_before_it_reads(folder):
    assert "--apply" in fails(2, "advise", "trips.parquet", "--overwrite")
    assert "read only once" in fails(2, "advise", "-", "--apply", "x.json")
    assert "data file" in fails(2, "advise", "trips.parquet", "--apply", "trips.parquet")
    pq.write_table(pa.table({"x": [1, 1]}), "flat.parquet")
    assert "all columns pass through" in fails(1, "advise", "flat.parquet", "--apply", "flat.json")
    assert not Path("flat.json").exists()


def test_the_table_fits_a_terminal_whatever_the_names():
    rng = np.random.default_rng(0)
    names = ["\u65e5\u672c\u8a9e", "long_" * 80, "", "fare"]
    advice = sn.advise(pa.table([rng.exponential(size=300) for _ in names], names=names))
    narrow = advice.table(60).splitlines()
    assert max(map(width_of, narrow)) <= 60 and any(line.startswith("(no name)") for line in narrow)
    assert len({width_of(line[: line.index("robust")]) for line in narrow if "robust" in line}) == 1
    assert max(map(width_of, advice.table().splitlines())) < 200


def test_names_that_a_locale_has_no_characters_for_are_spelled_out(tmp_path):
    pq.write_table(pa.table({"\u65e5": [1.0, 2.0, 5.0]}), tmp_path / "a.parquet")
    ascii_alone = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for names in (["advise", "a.parquet"], ["diff", "a.parquet", "a.parquet"]):
        command = [sys.executable, "-m", "streamnorm", *names]
        done = subprocess.run(command, cwd=tmp_path, env=ascii_alone, capture_output=True, text=True)
        assert done.returncode == 0 and "\\u65e5" in done.stdout, done.stderr
