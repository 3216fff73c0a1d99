"""Drift against closed forms, and over every pair of data and states."""

import json
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children
from support.commands import fails, run

import streamnorm as sn
from streamnorm.cells import width_of
from streamnorm.report import drift as drift_module
from streamnorm.report import measuring
from streamnorm.report.drift import MAX_KS, MAX_PSI, MAX_SHIFT
from streamnorm.report.measures import kolmogorov_smirnov, population_stability_index

ROWS = 200_000
GRID_ERROR = 2e-3  # of a distance that is looked at on 1,024 quantiles of each side, and of a sample of that size
NORMAL = NormalDist()


def quantiles_of(distribution, n=ROWS):
    """A sample without chance: the quantiles at the middles of n equal steps, shuffled."""
    values = np.array([distribution.inv_cdf((i + 0.5) / n) for i in range(n)])
    return np.random.default_rng(0).permutation(values)


@pytest.fixture(scope="module")
def normal():
    return quantiles_of(NORMAL)


def psi_of_normals(shift):
    """Over the deciles of the first, in closed form."""
    edges = [-math.inf, *(NORMAL.inv_cdf(k / 10) for k in range(1, 10)), math.inf]
    shares = [NORMAL.cdf(high - shift) - NORMAL.cdf(low - shift) for low, high in zip(edges, edges[1:], strict=False)]
    return sum((q - 0.1) * math.log(q / 0.1) for q in shares)


def test_a_normal_column_that_moved_by_one_standard_deviation(normal):
    drift = sn.diff(pa.table({"x": normal}), pa.table({"x": normal + 1}))["x"]
    true = 2 * NORMAL.cdf(0.5) - 1
    assert round(true, 4) == 0.3829
    assert drift.ks == pytest.approx(true, abs=GRID_ERROR)
    assert drift.ks_low <= true <= drift.ks_high and drift.ks_high - drift.ks_low < 0.02
    assert drift.psi == pytest.approx(psi_of_normals(1), rel=0.02)
    assert drift.shift == pytest.approx(1, abs=1e-4) and drift.ratio == pytest.approx(1)
    assert drift.crossed == ("psi", "ks", "shift")


def test_the_thresholds_agree_on_a_normal_column():
    # The move at which the index, before it is cut into deciles, is its threshold: the squared distance of the means.
    move = math.sqrt(MAX_PSI)
    assert pytest.approx(move, abs=0.01) == MAX_SHIFT
    assert 2 * NORMAL.cdf(move / 2) - 1 == pytest.approx(MAX_KS, abs=0.01)


def test_a_column_that_spread_keeps_its_center(normal):
    drift = sn.diff(pa.table({"x": normal}), pa.table({"x": 3 * normal}))["x"]
    assert drift.shift == pytest.approx(0, abs=1e-9) and drift.ratio == pytest.approx(3)
    # The densities cross where 3 exp(-x^2 / 2) = exp(-x^2 / 18).
    x = math.sqrt(2 * math.log(3) / (1 - 1 / 9))
    true = NORMAL.cdf(x) - NORMAL.cdf(x / 3)
    assert drift.ks == pytest.approx(true, abs=GRID_ERROR)
    assert "psi" in drift.crossed and "shift" not in drift.crossed


def test_the_interval_holds_the_true_distance_of_what_was_sketched():
    missed = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=30_000), rng.normal(0.1, 1.1, size=20_000)
        both = np.sort(np.concatenate([x, y]))
        true = np.abs(
            np.searchsorted(np.sort(x), both, "right") / len(x) - np.searchsorted(np.sort(y), both, "right") / len(y)
        ).max()
        _, low, high = kolmogorov_smirnov(
            sn.QuantileSketch(0.005, seed).update(x), sn.QuantileSketch(0.005, seed + 99).update(y)
        )
        missed += not low <= true <= high
    assert missed == 0


def test_small_samples_are_compared_exactly():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 50, 700).astype(float), rng.integers(5, 60, 300).astype(float)
    both = np.unique(np.concatenate([x, y]))
    true = max(abs((x <= value).mean() - (y <= value).mean()) for value in both)
    found = kolmogorov_smirnov(sn.QuantileSketch().update(x), sn.QuantileSketch().update(y))
    assert found == pytest.approx((true, true, true), abs=1e-12)


def test_a_wide_interval_crosses_nothing_by_itself(normal):
    """A distance above the threshold whose lower end is below it."""
    coarse = [sn.QuantileSketch(0.03, seed) for seed in (1, 2)]
    coarse[0].update(normal)
    coarse[1].update(normal + 0.48)
    distance, low, _ = kolmogorov_smirnov(*coarse)
    assert distance > MAX_KS > low


def test_the_lower_end_decides(normal):
    a, b = pa.table({"x": normal}), pa.table({"x": normal + 0.3})
    found = sn.diff(a, b)["x"]
    assert found.ks_low < found.ks < found.ks_high
    assert "ks" not in sn.diff(a, b, max_ks=(found.ks_low + found.ks) / 2)["x"].crossed
    assert "ks" in sn.diff(a, b, max_ks=found.ks_low - 1e-6)["x"].crossed


def test_two_sides_of_data_share_the_memory(monkeypatch, sides):
    given = []

    def observe(*args, memory, **options):
        given.append(memory)
        return measuring.observe(*args, memory=memory, **options)

    monkeypatch.setattr(drift_module, "observe", observe)
    sn.diff(sides / "a.parquet", sides / "b.parquet", memory="64MB")
    sn.diff(sides / "a.json", sides / "b.parquet", memory="64MB")
    assert given == [32 * 10**6, 32 * 10**6, "64MB"]


def test_the_index_knows_ties_and_empty_bins():
    a, b = sn.QuantileSketch().update([0.0] * 90 + [1.0] * 10), sn.QuantileSketch().update([0.0] * 50 + [2.0] * 50)
    # Deciles of a are 0, ..., 0, 0.1 (between two values): bins up to 0, up to that, and above.
    edges = np.unique(a.quantile(np.arange(1, 10) / 10))
    p, q = (
        (np.array([(np.array(values) <= edge).sum() for edge in [*edges, math.inf]]), len(values))
        for values in ([0.0] * 90 + [1.0] * 10, [0.0] * 50 + [2.0] * 50)
    )
    bins = [np.diff(np.append(0, counts))[[0, 2]] for counts, _ in (p, q)]  # the one between is empty on both sides
    shares = [(counts + 0.5) / (n + 1) for counts, (_, n) in zip(bins, (p, q), strict=True)]
    true = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert population_stability_index(a, b) == pytest.approx(true)
    far = sn.QuantileSketch().update([100.0] * 50)
    assert math.isfinite(population_stability_index(a, far))
    assert population_stability_index(a, sn.QuantileSketch()) is None


def test_nulls_types_added_and_removed_columns():
    a = pa.table({"n": [1.0, 2.0, 3.0, 4.0], "t": [1, 2, 3, 4], "gone": [1, 2, 3, 4], "ok": [1, 2, 3, 4]})
    b = pa.table({"n": [1.0, None, 3.0, 4.0], "t": [1.0, 2.0, 3.0, 4.0], "ok": [1, 2, 3, 4], "new": [1, 2, 3, 4]})
    drift = sn.diff(a, b)
    assert [column.name for column in drift] == ["n", "t", "gone", "ok", "new"]
    assert (drift["n"].nulls_a, drift["n"].nulls_b) == (0, 0.25) and "nulls" in drift["n"].crossed
    assert drift["t"].crossed == ("type",) and (drift["t"].type_a, drift["t"].type_b) == ("int64", "double")
    assert drift["gone"].crossed == ("removed",)
    assert drift["new"].status == "added" and drift["new"].crossed == ()
    assert drift["ok"].crossed == ()
    assert [column.name for column in sn.diff(a, b, max_nulls=0.3).drifted] == ["t", "gone"]


@pytest.fixture(scope="module")
def sides(tmp_path_factory, normal):
    folder = tmp_path_factory.mktemp("sides")
    for name, x in (("a", normal[:20_000]), ("b", normal[:20_000] + 1)):
        table = pa.table({"x": x, "y": normal[:20_000], "s": ["s"] * 20_000})
        pq.write_table(table, folder / f"{name}.parquet")
        sn.fit(table, "robust").save(folder / f"{name}.robust.json")
        sn.fit(table).save(folder / f"{name}.json")
        sn.fit(table, sn.RobustScaler(exact=True)).save(folder / f"{name}.exact.json")
        sn.fit(table, "minmax").save(folder / f"{name}.minmax.json")
        sn.normalize(table, folder / f"{name}.normalized.parquet", "robust")
    return folder


@pytest.mark.parametrize("a", ["a.parquet", "a.robust.json", "a.normalized.parquet"])
@pytest.mark.parametrize("b", ["b.parquet", "b.robust.json", "b.normalized.parquet"])
def test_data_and_states_in_every_pair(sides, a, b):
    drift = sn.diff(sides / a, sides / b)
    assert [column.name for column in drift] == ["x", "y"]
    assert drift["x"].crossed == ("psi", "ks", "shift") and drift["y"].crossed == ()
    assert drift["x"].by == ("mean and std" if a == "a.parquet" and b == "b.parquet" else "median and quartiles")
    assert drift["x"].shift == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("state", "by"), [("json", "mean and std"), ("exact.json", "median and quartiles"), ("minmax.json", "range")]
)
def test_states_without_sketches_are_compared_by_what_they_know(sides, state, by):
    drift = sn.diff(sides / f"a.{state}", sides / "b.parquet")
    assert drift["x"].by == by and drift["x"].psi is None and drift["x"].ks is None
    assert "shift" in drift["x"].crossed if by != "range" else drift["x"].shift > 0
    assert "without PSI and KS" in drift.table()


def test_a_state_of_some_columns_says_nothing_of_the_others(sides):
    scaler = sn.fit(sides / "a.parquet", columns=["y"])
    assert [column.name for column in sn.diff(scaler, sides / "b.parquet")] == ["y"]
    gone = sn.diff(sn.fit(sides / "a.parquet"), pq.read_table(sides / "b.parquet", columns=["y"]))
    assert gone["x"].crossed == ("removed",)
    with pytest.raises(sn.DataError, match="none of the columns"):
        sn.diff(scaler, pa.table({"z": [1.0]}))


def test_arrays_go_by_position(normal):
    X = np.column_stack([normal[:1000], normal[1000:2000]])
    drift = sn.diff(sn.fit(X), X + [0, 2])
    assert [column.name for column in drift.drifted] == [1]


def test_the_same_data_in_another_order_has_not_drifted(sides):
    table = pq.read_table(sides / "a.parquet")
    drift = sn.diff(sides / "a.parquet", table.take(np.random.default_rng(1).permutation(len(table))))
    assert not drift.drifted and drift["x"].psi < 1e-3 and drift["x"].ks_low == 0


def test_columns_without_values_and_without_spread():
    a = pa.table({"c": [5.0] * 9, "n": pa.nulls(9, pa.float64()), "x": [1.0] * 9})
    b = pa.table({"c": [6.0] * 9, "n": pa.nulls(9, pa.float64()), "x": [1.0] * 9})
    drift = sn.diff(a, b)
    assert drift["c"].shift == math.inf and "shift" in drift["c"].crossed
    assert drift["n"].crossed == () and drift["n"].psi is None
    assert drift["x"].crossed == () and drift["x"].ratio == 1
    json.loads(drift.to_json(), parse_constant=lambda name: pytest.fail(name))


def test_limits_are_checked():
    with pytest.raises(ValueError, match="max_psi"):
        sn.diff(pa.table({"x": [1]}), pa.table({"x": [1]}), max_psi=-1)


def test_the_page_escapes_names_and_says_the_same():
    name = "</script><img src=x onerror=alert(1)>"
    drift = sn.diff(pa.table({name: [1.0, 2.0]}), pa.table({name: [11.0, 12.0]}))
    for page in (drift.to_html(), drift._repr_html_()):
        assert "<img" not in page and "&lt;img" in page
    assert "://" not in drift.to_html()
    assert drift.to_html() == drift.to_html()


def test_the_command_line(folder, sides):
    same = run("diff", "trips.parquet", "stats.json")
    assert same.stdout.splitlines()[0].endswith("0 of 3 columns have drifted")
    a, b = sides / "a.parquet", sides / "b.robust.json"
    shown = run("diff", a, b, "-o", "drift.html", code=3)
    assert shown.stdout.splitlines()[2].startswith("x ") and shown.stdout.splitlines()[2].endswith("PSI, KS, shift")
    assert "has drifted" in Path("drift.html").read_text()
    said = json.loads(run("diff", a, b, "--json", code=3).stdout)
    assert said["drifted"] == ["x"]
    limits = ("--max-psi", 9, "--max-ks", 1, "--max-shift", "inf")
    assert json.loads(run("diff", a, b, "--json", *limits).stdout)["drifted"] == []
    run("diff", a, b, "--exclude", "x")
    assert "drift.html" in fails(1, "diff", a, b, "-o", "drift.html")
    run("diff", a, b, "-o", "drift.html", "--overwrite", code=3)
    assert "no such file" in fails(1, "diff", a, "nowhere.json")
    fails(2, "diff", a, b, "--max-psi", -1)
    assert "data file" in fails(2, "diff", a, b, "-o", a)


@pytest.mark.parametrize("few", [1, 7, 30])
def test_a_constant_that_stays_has_not_drifted_however_few_rows_there_are(few):
    a = pa.table({"c": [3.14] * 500, "stars": [1, 2, 3, 4, 5] * 100})
    drift = sn.diff(a, pa.table({"c": [3.14] * 5 * few, "stars": [1, 2, 3, 4, 5] * few}))
    assert drift["c"].psi == 0 and drift["c"].crossed == ()
    assert drift["stars"].crossed == ()


@pytest.mark.parametrize("seed, n, m", [(9, 2158, 981), (34, 2158, 981), (56, 390, 1163), (1, 4300, 4201)])
def test_the_distance_of_samples_that_are_held_whole_is_exact(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = np.exp(3 * rng.normal(size=n)), 1.1 * np.exp(3 * rng.normal(size=m))
    at = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (a, b)]
    true = np.abs(below[0] - below[1]).max()
    sketches = [sn.QuantileSketch().update(values) for values in (a, b)]
    assert [sketch.rank_error for sketch in sketches] == [0, 0]
    assert kolmogorov_smirnov(*sketches) == pytest.approx((true, true, true), abs=1e-12)


@pytest.mark.parametrize("n", [200, 207, 1000, 3777])
def test_a_sample_that_is_held_whole_has_no_distance_from_itself(n):
    x = np.random.default_rng(n).normal(size=n)
    assert kolmogorov_smirnov(sn.QuantileSketch().update(x), sn.QuantileSketch().update(x)) == (0, 0, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_without_values_is_drift(turned):
    full, empty = pa.table({"x": [1.0, 2.0, 3.0]}), pa.table({"x": pa.array([], pa.float64())})
    drift = sn.diff(*((empty, full) if turned else (full, empty)))
    assert drift["x"].crossed == ("empty",) and "no values" in drift.table()
    given = sn.StandardScaler.from_statistics([2.0], [1.0], columns=["x"])  # of values that nobody counted
    assert sn.diff(given, full)["x"].count_a is None and "empty" not in sn.diff(given, full)["x"].crossed


def test_so_few_values_that_chance_makes_a_drift_are_said():
    rng = np.random.default_rng(0)
    few = sn.diff(pa.table({"x": rng.normal(size=30)}), pa.table({"x": rng.normal(size=60)}))
    assert "column 'x' has so few values (30 and 60) that chance alone makes a PSI of about 0.45" in few.table()
    assert "chance alone" in few.to_html()
    many = sn.diff(pa.table({"x": rng.normal(size=3000)}), pa.table({"x": rng.normal(size=3000)}))
    assert "chance" not in many.table()


def test_the_index_of_two_samples_of_one_source_is_what_chance_makes_of_it():
    rng = np.random.default_rng(0)
    found = [
        population_stability_index(*(sn.QuantileSketch().update(rng.normal(size=n)) for n in (300, 200)))
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(9 * (1 / 300 + 1 / 200), rel=0.15)


NAMES = ["\u65e5\u672c\u8a9e", "long_" * 80, "", "fare"]


def test_the_table_fits_a_terminal_whatever_the_names():
    rng = np.random.default_rng(0)
    data = pa.table([rng.normal(size=90) for _ in NAMES], names=NAMES)
    drift = sn.diff(data, data)
    narrow = drift.table(60).splitlines()
    assert max(map(width_of, narrow)) <= 60
    assert "no room for KS from, to, ratio" in " ".join(narrow)
    assert any(line.startswith("(no name)") for line in narrow)
    places = {width_of(line[: line.index("0.000")]) for line in narrow if "0.000" in line}
    assert len(places) == 1  # figures stand below each other
    assert max(map(width_of, drift.table().splitlines()[1:])) < 160


def test_a_figure_that_is_as_good_as_zero_has_no_sign():
    x = np.random.default_rng(0).normal(size=500)
    table = sn.diff(pa.table({"x": x}), pa.table({"x": x - 1e-9})).table()
    assert "-0.000" not in table and " 0.000" in table


WIDE = 2000
MB = 10**6
PER_CHUNK = 1000  # bytes of footer for each column chunk
IMPORTS, VEGA = 80 * MB, 200 * MB  # the latter where a page with charts is made: docs/report.md
DIFF = "import sys, streamnorm as sn; sn.diff(sys.argv[1], sys.argv[1], memory='64MB')"
REPORT = "import sys, streamnorm as sn; sn.report(sys.argv[1], sys.argv[1] + '.html', memory='64MB')"


@pytest.mark.parametrize("code, more", [(DIFF, 0), (REPORT, VEGA)])
def test_two_thousand_columns_stay_within_memory(code, more, tmp_path):
    if more:
        pytest.importorskip("altair"), pytest.importorskip("vl_convert")
    x = np.random.default_rng(0).normal(size=8000)
    table = pa.table({f"c{i}": np.roll(x, i) for i in range(WIDE)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2000, use_dictionary=False)
    result = children.measure(code, tmp_path / "in.parquet")
    assert result.status == 0, result.err
    assert result.peak <= 64 * MB + IMPORTS + more + PER_CHUNK * WIDE * 4


def test_what_a_side_is_called_has_no_secrets(monkeypatch):
    uri = "s3://key:secret@bucket/a.parquet?region=eu-west-1"
    table = pa.table({"x": [1.0, 2.0, 9.0]})
    real = drift_module.observe
    monkeypatch.setattr(drift_module, "observe", lambda source, **options: real(table, **options))
    for asked in ("listed", "_state_of"):  # a store, which is not there
        monkeypatch.setattr(drift_module, asked, lambda source, given: None)
    drift = sn.diff(uri, table)
    for text in (drift.table(), drift.to_html(), drift.to_json(), repr(drift)):
        assert "secret" not in text and "bucket/a.parquet" in text
