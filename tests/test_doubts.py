"""What a fit warns of: what is true, once, at the user's line; and what it has no reason to warn of."""

import json
import math
import os
import re
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from support.commands import run

import streamnorm as sn
from streamnorm._core import ColumnStats
from streamnorm.doubts import MAX_MEAN_TO_STD, Doubt, doubts, doubts_of, grouped
from streamnorm.listing import as_table
from streamnorm.summary import Summary

STD_ERROR = 1e-14  # relative, of the default kernels, whatever the mean
ROWS = 1009
CONSTANT = np.full(ROWS, 3.5)
NORMAL = np.random.default_rng(1).normal(size=ROWS)

# A table with every doubt, and columns that give no reason for any.
TABLE = pa.table(
    {
        "fine": NORMAL,
        "small": NORMAL * 1e-13,
        "offset": NORMAL + 1e6,
        "count": np.arange(ROWS),
        "price": pa.array([Decimal(i).scaleb(-2) for i in range(ROWS)]),
        "none": pa.array([None] * ROWS, pa.float64()),
        "same": CONSTANT,
        "id": 2**60 + np.arange(ROWS) * 10**12,
        "far": NORMAL + 1e10,
    }
)
EXPECTED = {"no-values": ["none"], "constant": ["same"], "digits": ["id"], "mean": ["far"]}


def told(job, *args, **options):
    """What a job warns of, by code, in order; and where."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job(*args, **options)
    found = [each for each in caught if issubclass(each.category, sn.StreamnormWarning)]
    assert len(found) == len({each.message.code for each in found}), "a kind of doubt was told twice"
    return {each.message.code: each.message.columns for each in found}, found


def codes(column, method=None):
    scaler = method or sn.StandardScaler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler.fit(pa.table({"x": column}))
    return [doubt.code for doubt in doubts(scaler)["x"]]


# ---- what is doubtful ----


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
def test_ordinary_data_is_beyond_doubt(method):
    plain = TABLE.select(["fine", "small", "offset", "count", "price"])
    assert told(sn.fit, plain, method) == ({}, [])


def test_each_kind_is_told_once_with_all_its_columns():
    by_code, found = told(sn.fit, TABLE)
    assert by_code == EXPECTED
    texts = {each.message.code: str(each.message) for each in found}
    assert texts["no-values"].startswith("column 'none': no value in any row")
    assert "the only value is 3.5" in texts["constant"] and "centered and not scaled" in texts["constant"]
    assert f"{max(TABLE['id'].to_pylist())} is beyond 2**53" in texts["digits"]
    assert "1e+10 times as large" in texts["mean"] and "subtracted" in texts["mean"]


def test_many_columns_are_one_warning_that_names_some():
    X = np.ones((3, 1200))
    _, [warning] = told(sn.StandardScaler().fit, X)
    assert str(warning.message).startswith("columns 0, 1, 2, 3, 4 and 1,195 more: no spread")
    assert warning.message.columns == list(range(1200))
    assert "the only value is 1" in str(warning.message)  # true of all of them
    X[:, 7] = 2
    _, [warning] = told(sn.StandardScaler().fit, X)
    assert "the only value" not in str(warning.message)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2**53, 1]), []),
        (pa.array([2**53 + 1, 1]), ["digits"]),
        (pa.array([-(2**53) - 1, 1]), ["digits"]),
        (pa.array([2**63, 1], pa.uint64()), ["digits"]),
        (pa.array([float(2**60), 1.0]), []),  # a double is what it is
        (pa.array([Decimal("90071992547409.92"), Decimal("0.00")]), []),
        (pa.array([Decimal("90071992547409.93"), Decimal("0.00")]), ["digits"]),
    ],
)
def test_whole_numbers_that_doubles_do_not_hold(values, expected):
    for method in (sn.MinMaxScaler(), sn.MaxAbsScaler(), sn.StandardScaler()):
        assert codes(values, method) == expected


def test_constant_is_what_the_scaler_does_not_scale_by():
    """For each method, a column is called constant if and only if its scale is the stand-in 1."""
    columns = {
        "same": CONSTANT,
        "zero": np.zeros(ROWS),
        "ulp": 1.0 + np.arange(ROWS) % 2 * 2.0**-52,
        "rare": np.where(np.arange(ROWS) < 9, 4.0, 0.0),
        "tiny": NORMAL * 1e-200,
    }
    expected = {
        "standard": ["same", "zero", "ulp"],
        "minmax": ["same", "zero", "ulp"],
        "maxabs": ["zero"],
        "robust": ["same", "zero", "ulp", "rare"],
    }
    for method, names in expected.items():
        scaler = sn.fit(pa.table(columns), method)
        called = [name for name, its in doubts(scaler).items() if any(doubt.code == "constant" for doubt in its)]
        assert called == names, method
        assert [name for name, m in scaler._maps().items() if m.scale == 1] == names, method
    assert codes(CONSTANT, sn.StandardScaler(with_std=False)) == []
    assert codes(CONSTANT, sn.RobustScaler(with_scaling=False)) == []


def test_the_text_of_a_constant_says_why():
    def text(values, scaler):
        return doubts(scaler.fit(pa.table({"x": values})))["x"][0].text

    assert "quantiles at 25 % and 75 % are 0 and 0" in text(np.where(np.arange(99) < 9, 1.0, 0.0), sn.RobustScaler())
    assert "beside a mean of 1 counts as rounding" in text(1.0 + np.arange(99) % 2 * 2.0**-52, sn.StandardScaler())
    assert "the range from 1.0 to 1.0000000000000002" in text(1.0 + np.arange(99) % 2 * 2.0**-52, sn.MinMaxScaler())


def test_columns_without_values():
    assert codes(pa.array([None, None], pa.int64())) == ["no-values"]
    assert codes(np.full(5, np.nan)) == ["no-values"]
    assert codes(pa.array([None, math.nan])) == ["no-values"]
    assert doubts_of(Summary({"x": ColumnStats()})["x"], sn.StandardScaler()) == []  # no rows, no doubt


# ---- the mean beside the standard deviation ----


def exact_std_error(values, std):
    """Relative error of a standard deviation, by rational arithmetic."""
    numbers = [Fraction(float(value)) for value in values]
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    return abs(float((Fraction(std) ** 2 - variance) / (2 * variance)))


@pytest.mark.parametrize("exponent", range(0, 16, 3))
def test_std_is_accurate_however_large_the_mean(exponent):
    """Why the warning does not speak of the standard deviation."""
    rng = np.random.default_rng(exponent)
    shapes = [rng.normal(size=3000), np.linspace(-2, 2, 3000), rng.choice([-1.0, 1.0], 3000)]
    for values in (shape + 1.2345 * 10.0**exponent for shape in shapes):
        saved = ColumnStats()
        for part in np.array_split(values, 50):
            saved = ColumnStats.from_state(saved.merge(ColumnStats().update(part)).state())
        for stats in (ColumnStats().update(values), saved):
            assert exact_std_error(values, stats.std()) <= STD_ERROR


def test_the_mean_is_told_of_where_normalized_values_suffer():
    """Up to the threshold they are as good as a float32 is, and some way beyond it they are not."""
    rng = np.random.default_rng(2)
    for ratio, expected in [(0.9 * MAX_MEAN_TO_STD, []), (1.1 * MAX_MEAN_TO_STD, ["mean"])]:
        assert codes(rng.normal(size=100) + ratio) == expected
    for ratio, suffers in [(MAX_MEAN_TO_STD, False), (100 * MAX_MEAN_TO_STD, True)]:
        worst = 0.0
        for _ in range(20):
            values = rng.normal(size=100) + ratio
            scaler = sn.StandardScaler().fit(values[:, None])
            normalized = scaler.transform(values[:, None])[:, 0]
            mean = sum(map(Fraction, values)) / len(values)
            exact = [float((Fraction(value) - mean) / Fraction(scaler.scale_[0])) for value in values]
            worst = max(worst, np.abs(normalized - exact).max())
        assert bool(worst > 2.0**-24) is suffers, (ratio, worst)
    assert codes(NORMAL + 1e10, sn.StandardScaler(with_mean=False)) == []


# ---- how it is told ----


JOBS = {
    "table": lambda path, out: sn.StandardScaler().fit(TABLE),
    "files": lambda path, out: sn.StandardScaler().fit(str(path)),
    "sn.fit": lambda path, out: sn.fit(path),
    "sn.fit of a table": lambda path, out: sn.fit(TABLE),
    "dataset": lambda path, out: sn.fit(pyarrow.dataset.dataset(path)),
    "reader": lambda path, out: sn.fit(TABLE.to_reader()),
    "columns": lambda path, out: sn.fit(TABLE, dict.fromkeys(TABLE.column_names, "standard")),
    "fit_transform": lambda path, out: sn.StandardScaler().fit_transform(TABLE),
    "normalize": lambda path, out: sn.normalize(path, out),
    "normalize a table": lambda path, out: sn.normalize(TABLE, out),
    "normalize a reader": lambda path, out: sn.normalize(TABLE.to_reader(), out, spool=True),
}


@pytest.mark.parametrize("name", JOBS)
def test_every_job_tells_once_at_the_line_of_its_caller(name, tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(TABLE, path, row_group_size=300)
    by_code, found = told(JOBS[name], path, tmp_path / "out.parquet")
    assert by_code == EXPECTED
    assert {(each.filename, each.lineno) for each in found} == {(__file__, JOBS[name].__code__.co_firstlineno)}


def test_loading_merging_and_applying_tell_nothing(tmp_path):
    path, scaler = tmp_path / "state.json", sn.fit(TABLE)

    def job():
        scaler.save(path)
        loaded = sn.load(path)
        sn.merge([path, loaded])
        (loaded + scaler).transform(TABLE)
        sn.transform(TABLE, tmp_path / "out.parquet", loaded)
        sn.inspect(path)

    assert told(job) == ({}, [])


def test_partial_fit_tells_what_is_new_and_cannot_heal():
    scaler = sn.MinMaxScaler()
    first = pa.table({"a": [1], "b": pa.array([None], pa.int64())})
    second = pa.table({"a": [2**53 + 1], "b": [5]})
    assert told(scaler.partial_fit, first) == ({}, [])  # constant and empty so far, which is no news
    assert [doubt.code for doubt in doubts(scaler)["b"]] == ["no-values"]
    assert told(scaler.partial_fit, second)[0] == {"digits": ["a"]}
    assert told(scaler.partial_fit, second) == ({}, [])
    third = second.set_column(1, "b", pa.array([-(2**60)]))
    assert told(scaler.partial_fit, third)[0] == {"digits": ["b"]}
    assert told(scaler.fit, second)[0] == {"constant": ["a", "b"], "digits": ["a"]}


def test_a_warning_that_is_made_an_error_leaves_the_scaler_as_it_was():
    scaler = sn.StandardScaler().fit([[1.0], [3.0]])
    new = sn.StandardScaler()
    with warnings.catch_warnings():
        warnings.simplefilter("error", sn.StreamnormWarning)
        with pytest.raises(sn.StreamnormWarning, match="no spread"):
            scaler.fit([[5.0], [5.0]])
        with pytest.raises(sn.StreamnormWarning):
            new.fit([[5.0], [5.0]])
    assert scaler.mean_ == [2.0] and not new.__sklearn_is_fitted__()


def test_grouped_texts():
    own = Doubt("digits", "more (7)"), Doubt("digits", "more (8)")
    assert [str(each) for each in grouped({"a": [own[0]]})] == ["column 'a': more (7)"]
    [both] = grouped({"a": [own[0]], "b": [own[1]], "c": []})
    assert str(both).startswith("columns 'a', 'b': more digits than a double holds; values")
    assert (both.code, both.columns) == ("digits", ["a", "b"]) and grouped({"a": []}) == []


# ---- rank errors that had to be larger ----


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "wide.parquet"
    column = np.random.default_rng(3).normal(size=20_001)
    pq.write_table(pa.table({f"c{j}": np.roll(column, j) for j in range(120)}), path)
    return path


def test_a_rank_error_that_memory_made_larger_is_told(wide, tmp_path):
    by_code, [warning] = told(sn.fit, wide, "robust", memory="20MB")
    assert by_code == {"rank-error": [f"c{j}" for j in range(120)]}
    assert "a rank error above 0.001 (0.004)" in str(warning.message) and "memory" in str(warning.message)
    assert told(sn.fit, wide, "robust") == ({}, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sn.fit(wide, "robust", memory="20MB").save(tmp_path / "wide.json")
    c3 = sn.inspect(tmp_path / "wide.json")["columns"][3]
    assert c3["sketch_error"] == 0.004 and c3["rank_error"] <= 0.004
    assert [doubt["code"] for doubt in c3["warnings"]] == ["rank-error"]
    low, high = (c3["certificates"][1][end] for end in ("low", "high"))
    assert 0.002 < high - low <= 0.0081


# ---- inspect and the command line ----


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    pq.write_table(TABLE, "doubtful.parquet")
    pq.write_table(pa.table({"fare": rng.lognormal(size=30_000), "stops": rng.integers(0, 3, 30_000)}), "fine.parquet")


def test_inspect_has_certificates_and_warnings(files):
    sn.fit("fine.parquet", {"fare": sn.RobustScaler(quantile_range=(10, 90)), "stops": "standard"}).save("state.json")
    fare, stops = sn.inspect("state.json")["columns"]
    assert [each["q"] for each in fare["certificates"]] == [0.1, 0.25, 0.5, 0.75, 0.9]
    median = fare["certificates"][2]
    assert set(median) == {"q", "value", "low", "high", "value_low", "value_high", "confidence", "exact"}
    assert median["value"] == fare["median"] and median["low"] < 0.5 < median["high"]
    assert fare["sketch_error"] == 0.001 and fare["warnings"] == stops["warnings"] == []
    assert "certificates" not in stops
    sn.fit("doubtful.parquet").save("doubtful.json")
    by_name = {column["name"]: column["warnings"] for column in sn.inspect("doubtful.json")["columns"]}
    assert [doubt["code"] for doubt in by_name["id"]] == ["digits"] and by_name["fine"] == []


def test_inspect_of_exact_quantiles(files):
    method = {"fare": sn.RobustScaler(quantile_range=(10, 90), exact=True), "stops": sn.RobustScaler(exact=True)}
    assert told(sn.fit, "fine.parquet", method) == ({}, [])
    sn.fit("fine.parquet", method).save("state.json")
    fare, stops = sn.inspect("state.json")["columns"]
    assert [each["q"] for each in fare["certificates"]] == [0.1, 0.5, 0.9]
    assert all(each["exact"] and each["low"] == each["high"] == each["q"] for each in fare["certificates"])
    assert fare["certificates"][0]["value"] == fare["q10"] == np.quantile(pq.read_table("fine.parquet")["fare"], 0.1)
    assert (stops["q25"], stops["median"], stops["q75"]) == (0, 1, 2) and "sketch_error" not in stops
    assert "the quantiles of all columns are exact" in run("inspect", "state.json").stdout
    doubtful = sn.fit(TABLE.select(["same", "none"]), "robust", exact=True)
    assert {name: [doubt.code for doubt in its] for name, its in doubts(doubtful).items()} == {
        "same": ["constant"],
        "none": ["no-values"],
    }


def test_the_table_shows_certificates_and_warnings(files):
    run("fit", "fine.parquet", "-o", "state.json", "--method", "robust")
    shown = run("inspect", "state.json").stdout
    median = next(line for line in shown.splitlines() if line.strip().startswith("median"))
    value, low, _, high, value_low, _, value_high = map(lambda x: x if x == "to" else float(x), median.split()[1:])
    certificate = sn.load("state.json").summary_["fare"].certificate(0.5)
    assert 0.499 <= low <= certificate.low < certificate.high <= high <= 0.501
    assert (value, value_low, value_high) == pytest.approx(
        (certificate.value, certificate.value_low, certificate.value_high), rel=1e-5
    )
    assert "each at 99 % confidence" in shown and "the quantiles of stops are exact" in shown
    assert "warning" not in shown
    run("fit", "doubtful.parquet", "-o", "doubtful.json", "--method", "robust")
    shown = run("inspect", "doubtful.json").stdout
    assert "the quantiles of all columns are exact" in shown
    assert "\nwarning: column 'none': no value" in shown and shown.count("warning: ") == 3
    assert "warning: column 'id'" in run("inspect", "doubtful.json", "--columns", "fine,id").stdout
    assert "warning" not in run("inspect", "doubtful.json", "--columns", "fine").stdout


def test_certificates_fit_the_terminal(files, monkeypatch):
    sn.fit("fine.parquet", "robust").save("state.json")
    said = sn.inspect("state.json")
    for width, room, no_room in [(70, ["ranks", "values"], []), (50, ["ranks"], ["values"]), (30, [], ["ranks"])]:
        monkeypatch.setenv("COLUMNS", str(width))
        lines = re.sub(r"\x1b\[[0-9;]*m", "", as_table(said, said["columns"], 0, tty=True)).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("name  quantile"))
        table = lines[start : start + 4]
        assert table[2].split()[0] == "median" and max(map(len, table)) <= width and "…" not in "".join(table)
        assert table[0].split() == ["name", "quantile", "value", *room]
        assert lines[-1].startswith("no room for ") and all(f" {key}" in lines[-1] for key in no_room)


def test_a_command_says_each_warning_once(files):
    for args in (["fit", "-o", "a.json"], ["normalize", "-o", "a.parquet"], ["normalize", "-o", "b.parquet", "-q"]):
        said = run(args[0], "doubtful.parquet", *args[1:]).stderr
        assert said.count("streamnorm: warning: ") == 4 and said.count("'none'") == 1
    lines = run("fit", "doubtful.parquet", "-o", "c.json", "--log-format", "json").stderr.splitlines()
    found = [line for line in map(json.loads, lines) if line["event"] == "warning"]
    assert {line["code"]: line["columns"] for line in found} == EXPECTED
    assert {line["level"] for line in found} == {"warning"}


@pytest.mark.parametrize("choice", ["ignore", "error", "default"])
def test_a_command_does_not_depend_on_pythons_filters(choice, files):
    done = subprocess.run(
        [sys.executable, "-m", "streamnorm", "fit", "doubtful.parquet", "-o", "a.json"],
        env={**os.environ, "PYTHONWARNINGS": f"{choice}::UserWarning"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr.count("warning: ") == 4


@pytest.mark.parametrize("weights, what", [([0.2, 0.3, 0.5], "sum of the weights, 1,"), (None, "number of values, 3,")])
def test_a_denominator_that_ddof_leaves_nothing_of(weights, what):
    """Weights that sum to one are common, and ddof=1 takes all of them."""
    ddof = 1 if weights else 3
    with pytest.warns(sn.StreamnormWarning, match=f"no spread to scale by .*{what}") as told:
        scaler = sn.StandardScaler(ddof=ddof).fit([[1.0], [4.0], [9.0]], sample_weight=weights)
    assert [warning.message.code for warning in told] == ["constant"] and scaler.scale_ == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sn.StandardScaler(ddof=ddof - 1).fit([[1.0], [4.0], [9.0]], sample_weight=weights)
