"""Descriptions against what NumPy and SciPy's formulas say of the same data."""

import json
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support import children

import streamnorm as sn
from streamnorm.report import shape
from streamnorm.report.describe import Description, describe

ROWS = 300_000
SKEW_TOLERANCE = 1e-10  # relative to 1, of sums of 300,000 cubes in doubles


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    normal = rng.normal(10, 2, ROWS)
    with_gaps = np.where(rng.random(ROWS) < 0.1, np.nan, rng.lognormal(0, 1, ROWS))
    nulls = rng.random(ROWS) < 0.2
    return pa.table(
        {
            "normal": normal,
            "gaps": pa.array(with_gaps, from_pandas=False),
            "codes": pa.array(rng.integers(0, 7, ROWS), pa.int16(), mask=nulls),
            "time": pa.array(np.cumsum(rng.integers(0, 3, ROWS)), pa.timestamp("ms")),
            "falling": np.sort(rng.normal(size=ROWS))[::-1].astype(np.float32),
            "flag": rng.random(ROWS) < 0.5,
            "zone": ["a"] * ROWS,
        }
    )


@pytest.fixture(scope="module")
def files(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    half = ROWS // 3
    pq.write_table(table.slice(0, half), folder / "a.parquet", row_group_size=20_000)
    pq.write_table(table.slice(half), folder / "b.parquet", row_group_size=50_001)
    return folder


@pytest.fixture(scope="module")
def found(files):
    return describe(files)


def test_figures_are_those_of_numpy(found, table):
    x = table["normal"].to_numpy()
    normal = found["normal"]
    assert (normal.type, normal.count, normal.null_count, normal.nan_count) == ("double", ROWS, 0, 0)
    assert normal.mean == pytest.approx(x.mean(), rel=1e-14)
    assert normal.std == pytest.approx(x.std(), rel=1e-13)
    assert (normal.min, normal.max) == (x.min(), x.max())
    d = x - x.mean()
    assert normal.skew == pytest.approx((d**3).mean() / (d**2).mean() ** 1.5, abs=SKEW_TOLERANCE)
    for q, value in normal.quantiles.items():
        assert abs((x <= value).mean() - q) <= normal.rank_error
    assert normal.whole is False and normal.monotone is None and normal.constant is False
    assert normal.zero_count == 0


def test_missing_values_are_counted_and_left_out(found, table):
    gaps = table["gaps"].to_numpy()
    kept = gaps[~np.isnan(gaps)]
    assert (found["gaps"].count, found["gaps"].nan_count) == (len(kept), len(gaps) - len(kept))
    d = kept - kept.mean()
    assert found["gaps"].skew == pytest.approx((d**3).mean() / (d**2).mean() ** 1.5, rel=SKEW_TOLERANCE)
    codes = found["codes"]
    assert codes.null_count == table["codes"].null_count
    assert codes.zero_count == sum(value == 0 for value in table["codes"].to_pylist() if value is not None)
    assert (codes.distinct, codes.distinct_error, codes.whole) == (7, 0.0, True)
    assert codes.rows == ROWS


def test_order_is_that_of_the_rows_over_row_groups_and_files(found):
    assert found["time"].monotone == "increasing"
    assert found["falling"].monotone == "decreasing"
    assert found["codes"].monotone is None


def test_one_step_back_at_the_border_of_two_files_is_seen(tmp_path):
    pq.write_table(pa.table({"x": [1, 2, 5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [4, 6]}), tmp_path / "b.parquet")
    assert describe(tmp_path)["x"].monotone is None
    assert describe(tmp_path / "a.parquet")["x"].monotone == "increasing"


def test_numbers_flags_and_times_are_described_and_the_rest_is_named(found):
    assert [column.name for column in found] == ["normal", "gaps", "codes", "time", "falling", "flag"]
    assert found.others == {"zone": "string"}
    assert found["flag"].distinct == 2
    assert found.rows == ROWS and found.files == ("a.parquet", "b.parquet") and found.file_count == 2


def test_the_same_bits_for_any_number_of_threads(files, found):
    for threads in (1, 3):
        assert describe(files, threads=threads) == found


def test_histogram_counts_sum_up_and_keep_their_bound(found, table):
    for name in ("normal", "gaps", "codes", "time", "falling"):
        column = found[name]
        kept = table[name].cast(pa.int64()) if name == "time" else table[name]
        x = np.array([v for v in kept.to_pylist() if v is not None], float)
        x = x[~np.isnan(x)]
        h = column.histogram
        assert sum(h.counts) == column.count == len(x)
        assert h.edges[0] <= x.min() and h.edges[-1] >= x.max()
        assert list(h.edges) == sorted(set(h.edges))
        true = np.diff(np.concatenate([[0], [(x <= edge).sum() for edge in h.edges[1:]]]))
        assert np.abs(true - h.counts).max() <= h.counts_error


def test_histogram_of_few_whole_numbers_has_a_bin_for_each(found):
    assert found["codes"].histogram.edges == tuple(k - 0.5 for k in range(8))


def test_histogram_of_many_whole_numbers_has_as_many_in_each_bin():
    h = describe(pa.table({"x": np.repeat(np.arange(1000), 3)}))["x"].histogram
    assert set(h.counts[:-1]) == {75}
    assert sum(h.counts) == 3000


def test_outliers_beyond_the_fences_and_their_bound(found, table):
    x = table["normal"].to_numpy()
    q1, q3 = np.quantile(x, [0.25, 0.75])
    true = int(((x < q1 - 1.5 * (q3 - q1)) | (x > q3 + 1.5 * (q3 - q1))).sum())
    assert abs(found["normal"].outlier_count - true) <= found["normal"].outlier_error < ROWS // 100


def test_shape_of_known_distributions():
    n = (np.arange(100_000) + 0.5) / 100_000
    from statistics import NormalDist

    normal = np.array([NormalDist().inv_cdf(p) for p in n[::10]])
    cauchy = np.tan(np.pi * (n - 0.5))
    found = describe(pa.table({"uniform": n[::10], "normal": normal, "cauchy": cauchy[::10], "exp": -np.log(n[::10])}))
    assert found["uniform"].tail_weight == pytest.approx(0.98 / 0.5 / shape.NORMAL_TAILS, rel=1e-3)
    assert found["normal"].tail_weight == pytest.approx(1, rel=1e-3)
    assert found["cauchy"].tail_weight == pytest.approx(9.226, rel=1e-2)
    assert found["exp"].quantile_skew == pytest.approx(math.log(4 / 3) / math.log(3), rel=1e-2)  # closed form
    assert abs(found["normal"].quantile_skew) < 1e-3
    # Half of an exponential's values beyond Tukey's upper fence are expected ones for the adjusted boxplot.
    assert found["exp"].adjusted_outlier_count < found["exp"].outlier_count / 2
    assert 0.25 < found["exp"].medcouple < 0.4


def test_kinds_of_values():
    found = describe(
        pa.table(
            {
                "money": pa.array([Decimal("1.50"), Decimal("-2.00"), None], pa.decimal128(10, 2)),
                "whole": pa.array([Decimal("1.00"), Decimal("-2.00"), None], pa.decimal128(10, 2)),
                "big": pa.array([2**53 + 1, 2**53, -1]),
                "wide": pa.array([2**64 - 1, 0, 1], pa.uint64()),
                "odd": [1.0, math.inf, math.nan],
                "none": pa.array([None, None, None], pa.float64()),
                "seven": [7, 7, 7],
            }
        )
    )
    assert (found["money"].min, found["money"].whole, found["money"].zero_count) == (Decimal("-2.00"), False, 0)
    assert found["whole"].whole
    assert found["big"].max == 2**53 + 1 and found["big"].distinct == 3
    assert found["wide"].max == 2**64 - 1
    odd = found["odd"]
    assert (odd.count, odd.infinite_count, odd.nan_count, odd.rows) == (1, 1, 1, 3)
    none = found["none"]
    assert (none.count, none.histogram, none.mean, none.distinct) == (0, None, None, None)
    assert [doubt.code for doubt in none.warnings] == ["no-values"]
    assert found["seven"].constant and found["seven"].histogram.counts == (3,)
    assert Description.from_json(found.to_json()) == found


def test_json_is_strict_and_comes_back_equal(found):
    text = found.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert Description.from_json(text) == found
    with pytest.raises(ValueError, match="no description"):
        Description.from_json("{}")


def test_a_state_knows_less(files, found):
    robust = Description.from_state(sn.fit(files, "robust", columns=["normal", "codes"]))
    assert robust["normal"].quantiles.keys() == found["normal"].quantiles.keys()
    assert robust["normal"].mean is None and robust["normal"].distinct is None and robust["normal"].skew is None
    assert robust["normal"].outlier_count is not None and sum(robust["normal"].histogram.counts) == ROWS
    assert robust.of == "state" and robust.rows == ROWS and robust.file_count == 2
    standard = Description.from_state(sn.fit(files, columns=["normal"]))
    assert standard["normal"].mean == found["normal"].mean
    assert standard["normal"].quantiles == {} and standard["normal"].histogram is None
    exact = Description.from_state(sn.fit(files, sn.RobustScaler(exact=True), columns=["normal"]))
    assert list(exact["normal"].quantiles) == [0.25, 0.5, 0.75] and exact["normal"].rank_error == 0
    given = Description.from_state(sn.StandardScaler.from_statistics([1.0], [2.0], columns=["x"]))
    assert (given["x"].mean, given["x"].std, given["x"].count) == (1.0, 2.0, None)
    for each in (robust, standard, exact, given):
        assert Description.from_json(each.to_json()) == each


def test_sources_of_every_kind(tmp_path, table):
    small = table.select(["normal", "codes"]).slice(0, 1000)
    pa.csv.write_csv(small, tmp_path / "x.csv")
    wanted = describe(small)
    for source in (small.to_batches(100), small.to_reader(), small.to_pandas(), tmp_path / "x.csv"):
        assert describe(source)["normal"].quantiles == wanted["normal"].quantiles
        assert describe(small)["codes"].null_count == wanted["codes"].null_count
    part = describe(small, where="codes = 3")
    assert part["codes"].constant and part.rows == part["codes"].count
    matrix = describe(small["normal"].to_numpy().reshape(-1, 2))
    assert [column.name for column in matrix] == [0, 1]


def test_lists_and_fields_when_named(tmp_path):
    data = pa.table({"v": [[1.0, 2.0], [3.0], None], "s": [{"x": 1}, {"x": 2}, None], "y": [1, 2, 3]})
    pq.write_table(data, tmp_path / "x.parquet")
    for source in (data, tmp_path / "x.parquet"):
        found = describe(source, columns=["v", "s.x", "y"])
        assert (found["v"].count, found["v"].max, found["s.x"].max, found["s.x"].null_count) == (3, 3.0, 2, 1)
        assert found.rows == 3
        with pytest.raises(sn.DataError, match=r"name 'v'"):
            describe(source, columns="v[*]")


def test_columns_are_chosen_and_missing_ones_named(table):
    assert [column.name for column in describe(table, exclude=["flag", "time"])][-1] == "falling"
    assert [column.name for column in describe(table, columns="codes")] == ["codes"]
    with pytest.raises(sn.DataError, match="'norml'.*'normal'"):
        describe(table, columns="norml")
    with pytest.raises(sn.DataError, match="no column to describe"):
        describe(table.select(["zone"]))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_ends_of_the_range_of_doubles():
    rng = np.random.default_rng(3)
    ends = np.where(rng.random(5000) < 0.5, 1.7e308, -1.7e308)
    normal = rng.normal(size=5000)
    found = describe(pa.table({"huge": normal * 1e307, "tiny": normal * 1e-310, "ends": ends}))
    assert found["huge"].tail_weight == pytest.approx(1, abs=0.1) == found["tiny"].tail_weight
    assert sum(found["ends"].histogram.counts) == 5000 and found["ends"].distinct == 2
    assert found["huge"].quantile_skew == pytest.approx(0, abs=0.1)


def test_slices_and_their_nulls_are_those_of_the_rows_in_sight():
    x = pa.array([1.0, None, 3.0, None, 5.0, 7.0, None, 9.0, None], pa.float64())
    halves = [None if value is None else Decimal(value) / 2 for value in x.to_pylist()]
    d = pa.array(halves, pa.decimal128(9, 1))
    found = describe(pa.table({"x": x, "d": d}).slice(4, 4))
    for name in "xd":
        column = found[name]
        assert (column.count, column.null_count, column.distinct, column.monotone) == (3, 1, 3, "increasing")
    assert not found["d"].whole and describe(pa.table({"d": d}).slice(8, 1))["d"].count == 0


WIDE_COLUMNS, WIDE_MEMORY, IMPORTS = 1000, 32, 80  # MB; as tests/test_engine_memory.py


def test_memory_of_many_columns(tmp_path):
    values = np.random.default_rng(0).normal(size=5000)
    table = pa.table({f"c{i}": np.roll(values, i) for i in range(WIDE_COLUMNS)})
    pq.write_table(table, tmp_path / "wide.parquet", use_dictionary=False)
    code = "import sys, streamnorm as sn; {}(*sys.argv[2:], memory=sys.argv[1])"
    for call, sides in (("sn.advise", 1), ("sn.diff", 2)):
        result = children.measure(code.format(call), f"{WIDE_MEMORY}MB", *[tmp_path / "wide.parquet"] * sides)
        assert result.status == 0, result.err
        assert result.peak <= (WIDE_MEMORY + IMPORTS + WIDE_COLUMNS / 1000) * 1e6, (call, result.peak / 1e6)
