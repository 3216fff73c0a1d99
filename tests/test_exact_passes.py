"""Exact quantiles of any source, in how many passes and in what memory, and the whole job with them."""

import copy
import math
import pickle
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SEED, same
from support import children
from support.files import FLIGHTS
from support.quantiles import (
    MOST_PASSES,
    RANGES,
    adversarial,
    assert_quantiles,
    file_of,
    quantile,
    robust,
)
from support.truth import Moments, same_double

import streamnorm as sn
from streamnorm.sources import ParquetInput

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread

USUAL_PASSES = 2
MB = 10**6
IMPORTS = 80 * MB
PER_CHUNK = 1000  # bytes of footer for each column chunk


# Any source.


def variety(rows=2_501):
    rng = np.random.default_rng([SEED, rows])
    gone = rng.random(rows) < 0.1
    return pa.table(
        {
            "random": pa.array(np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows)), mask=gone),
            "sorted": np.sort(rng.lognormal(size=rows)),
            "two": np.where(rng.random(rows) < 0.5, 0.3, 0.1),
            "ulps": 1.0 + rng.integers(0, 9, rows) * 2.0**-52,
            "small": pa.array(rng.normal(size=rows).astype(np.float32), mask=gone),
            "whole": pa.array(rng.integers(-50, 50, rows), mask=gone),
            "long": pa.array(rng.integers(2**62, 2**62 + 10**6, rows)),
        }
    )


@pytest.fixture(scope="module")
def table():
    return variety()


@pytest.fixture(scope="module")
def reference(table):
    """Checked column by column; every other source has to agree with its bits."""
    found = robust(table)
    for i, name in enumerate(table.column_names):
        assert_quantiles(found, name, table[name].to_pylist(), i)
    return found


def assert_same(found, reference):
    assert found.center_.tobytes() == reference.center_.tobytes()
    assert found.scale_.tobytes() == reference.scale_.tobytes()
    assert found.digest() == reference.digest()
    assert 1 <= found.summary_.passes <= MOST_PASSES


@pytest.mark.parametrize("size", [1, 7, 100, 999, 1000])
def test_row_groups_of_any_size(size, table, reference, tmp_path):
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=size)
    for threads in (1, 3):
        assert_same(robust(tmp_path / "in.parquet", threads=threads), reference)


@pytest.mark.parametrize("statistics", [True, False, ["sorted", "random"]], ids=str)
@pytest.mark.parametrize("version", ["1.0", "2.6"])
def test_row_groups_with_and_without_bounds(statistics, version, table, reference, tmp_path):
    """Rows in the order of one column, and among them row groups without any value."""
    shuffled = table.take(np.random.default_rng(2).permutation(len(table))).sort_by("sorted")
    nothing = pa.table({name: pa.nulls(50, table.schema.field(name).type) for name in table.column_names})
    path = tmp_path / "in.parquet"
    with pq.ParquetWriter(path, table.schema, write_statistics=statistics, version=version) as writer:
        for start in range(0, len(table), 100):
            writer.write_table(shuffled.slice(start, 100))
            if start % 300 == 0:
                writer.write_table(nothing)
    found = robust(path, threads=2)
    assert found.center_.tobytes() == reference.center_.tobytes()
    assert found.scale_.tobytes() == reference.scale_.tobytes()
    assert [c.count for c in found.summary_.values()] == [c.count for c in reference.summary_.values()]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u1", "u8", "decimal"])
def test_row_groups_of_ordered_values(dtype, tmp_path):
    """Bounds that touch: both zeros, NaN and ties at the edges of row groups, and in the middle of the ranks."""
    rng = np.random.default_rng(SEED)
    if dtype == "decimal":
        values = sorted(int(c) for c in rng.integers(-300, 300, 1201))
        array = pa.array([Decimal(c).scaleb(-2) for c in values], pa.decimal128(9, 2))
        values = [c / 100 for c in values]
    else:
        whole = np.sort(rng.integers(-9, 10, 1201)).clip(0 if dtype.startswith("u") else -9)
        doubles = np.where((whole == 0) & (rng.random(1201) < 0.5), -0.0, whole)
        doubles[rng.random(1201) < 0.05] = np.nan
        array = pa.array(doubles.astype(dtype) if dtype.startswith("f") else whole.astype(dtype))
        values = array.to_pylist()
    for size in (1, 10, 100, 600):
        path = file_of(tmp_path, array, size)
        for quantile_range in RANGES:
            found = robust(path, quantile_range)
            for q in (quantile_range[0] / 100, 0.5, quantile_range[1] / 100):
                assert found.summary_["v"].quantile(q) == quantile([float(v) for v in values], q)


@pytest.mark.parametrize("writer", ["polars", "duckdb"])
@pytest.mark.parametrize("order", ["as they come", "sorted"])
def test_files_of_other_writers(writer, order, tmp_path):
    """Whose bounds may count NaN or not."""
    module = pytest.importorskip(writer)
    rng = np.random.default_rng(SEED)
    values = np.round(rng.normal(size=20_000), 2)
    values = np.sort(values) if order == "sorted" else values
    values[rng.random(len(values)) < 0.01] = np.nan
    table = pa.table({"v": pa.array(values, mask=rng.random(len(values)) < 0.01)})
    path = tmp_path / "in.parquet"
    if writer == "polars":
        module.from_arrow(table).write_parquet(path, row_group_size=1_500)
    else:
        module.sql(f"copy (select * from \"table\") to '{path}' (format parquet, row_group_size 2048)")
    assert pq.read_metadata(path).num_row_groups > 5
    assert_quantiles(robust(path, (0.1, 99.9)), "v", table["v"].to_pylist())


def test_several_files_and_a_directory(table, reference, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    cuts = [0, 1, 800, 801, 2_000, len(table)]
    paths = [folder / f"{i}.parquet" for i in range(len(cuts) - 1)]
    for path, start, stop in zip(paths, cuts, cuts[1:], strict=False):
        pq.write_table(table[start:stop], path, row_group_size=130)
    assert_same(robust(folder), reference)
    assert_same(robust(paths), reference)
    assert_same(robust(paths[::-1]), reference)
    assert_same(robust(str(folder / "*.parquet")), reference)


def test_tables_batches_and_lists_of_batches(table, reference):
    batches = table.to_batches(max_chunksize=111)
    assert_same(robust(pa.Table.from_batches(batches)), reference)
    assert_same(robust(batches), reference)
    assert_same(robust(table.combine_chunks().to_batches()[0]), reference)
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    assert_same(robust(shuffled), reference)
    assert_same(sn.RobustScaler(exact=True).fit(table), reference)
    assert_same(sn.fit(table, "robust", exact=True), reference)


def test_datasets(table, reference, tmp_path):
    dataset = pytest.importorskip("pyarrow.dataset")
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    assert_same(robust(dataset.dataset(tmp_path)), reference)


def test_polars_frames(table, reference):
    polars = pytest.importorskip("polars")
    assert_same(robust(polars.from_arrow(table)), reference)


def test_pandas_frames():
    pandas = pytest.importorskip("pandas")
    values = adversarial("random")
    found = robust(pandas.DataFrame({"v": values}))
    assert_quantiles(found, "v", values.tolist())


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(order):
    columns = [adversarial(kind, 777) for kind in ("random", "heavy duplicates", "every ulp")]
    found = robust(np.asarray(np.column_stack(columns), order=order))
    for i, values in enumerate(columns):
        assert_quantiles(found, i, values.tolist(), i)


@pytest.mark.parametrize("quantile_range", [(25.0, 75.0), (0.1, 99.9)], ids=str)
def test_flights(quantile_range):
    flights = pq.read_table(FLIGHTS)
    found = robust(FLIGHTS, quantile_range)
    assert list(found.summary_) == [f.name for f in flights.schema if pa.types.is_integer(f.type)]
    for i, name in enumerate(found.summary_):
        assert_quantiles(found, name, flights[name].to_pylist(), i)
    assert found.summary_.passes <= USUAL_PASSES


# Passes and memory.


def test_two_passes_do_for_ordinary_data(tmp_path):
    values = np.random.default_rng(SEED).lognormal(size=300_000)
    found = robust(file_of(tmp_path, values, 50_000))
    assert_quantiles(found, "v", values.tolist())
    assert found.summary_.passes <= USUAL_PASSES


@pytest.mark.parametrize("memory", ["16MB", "64MB", "1GB"])
def test_the_memory_allowed_does_not_change_a_bit(memory, tmp_path):
    columns = {kind: adversarial(kind, 60_000) for kind in ("random", "every ulp", "any bits", "heavy duplicates")}
    columns |= {f"random {i}": np.roll(columns["random"], i) * i for i in range(1, 13)}
    write_columns(tmp_path / "in.parquet", columns, 7_000)
    found = robust(tmp_path / "in.parquet", (0.1, 99.9), memory=memory)
    for i, (name, values) in enumerate(columns.items()):
        assert_quantiles(found, name, values.tolist(), i)


FIT = """
import sys, streamnorm as sn
path, state, memory, low, high = sys.argv[1:]
scaler = sn.fit(path, sn.RobustScaler(quantile_range=(float(low), float(high)), exact=True), memory=memory, threads=2)
scaler.save(state)
print(scaler.summary_.passes)
"""


def fit_in_a_child(folder, memory, quantile_range):
    """Fit the folder's file in a child; the scaler it saved, its passes, and a check of its peak."""
    path = folder / "in.parquet"
    result = children.measure(FIT, path, folder / "state.json", memory, *quantile_range)
    assert result.status == 0, result.err
    meta = pq.read_metadata(path)
    allowed = int(memory.removesuffix("MB")) * MB + IMPORTS + PER_CHUNK * meta.num_columns * meta.num_row_groups
    print(f"peak {result.peak / MB:.0f} of {allowed / MB:.0f} MB, {result.out.strip()} passes, {result.seconds:.1f} s")
    assert result.peak <= allowed, f"peak {result.peak / MB:.1f} MB, allowed {allowed / MB:.1f} MB"
    assert 1 <= int(result.out) <= MOST_PASSES
    return sn.load(folder / "state.json")


def write_columns(path, columns, row_group_size):
    table = pa.table(columns)
    pq.write_table(table, path, row_group_size=row_group_size, use_dictionary=False, compression="none")


@pytest.mark.parametrize("row_group_size,memory", [(50_000, "16MB"), (1_200_000, "16MB"), (1_200_000, "64MB")])
def test_memory_of_data_that_is_larger(row_group_size, memory, tmp_path):
    """67 MB of values; each column is another adversary of a method that narrows a range."""
    rows = 1_200_000
    kinds = ("random", "sorted", "heavy duplicates", "a few ulps", "every ulp", "all exponents", "any bits")
    columns = {kind: adversarial(kind, rows) for kind in kinds}
    write_columns(tmp_path / "in.parquet", columns, row_group_size)
    found = fit_in_a_child(tmp_path, memory, (0.1, 99.9))
    for i, (name, values) in enumerate(columns.items()):
        right = np.nanquantile(values, np.array([0.1 / 100, 0.5, 99.9 / 100]), method="linear")
        assert [found.summary_[name].quantile(q) for q in (0.1 / 100, 0.5, 99.9 / 100)] == right.tolist()
        assert found.center_[i] == right[1]
    (tmp_path / "in.parquet").unlink()


@pytest.mark.parametrize("memory", ["16MB", "64MB"])
def test_memory_of_many_columns(memory, tmp_path):
    rng = np.random.default_rng(SEED)
    columns = {f"c{i}": rng.normal(size=10_000) * 10.0 ** (i % 20) for i in range(400)}
    write_columns(tmp_path / "in.parquet", columns, 5_000)
    found = fit_in_a_child(tmp_path, memory, (25.0, 75.0))
    right = np.quantile(np.column_stack(list(columns.values())), np.array([0.25, 0.5, 0.75]), axis=0)
    assert found.center_.tolist() == right[1].tolist()
    assert found.scale_.tolist() == (right[2] - right[0]).tolist()


# Sources that can be read only once.


def once(table):
    return (batch for batch in table.to_batches(max_chunksize=100))


@pytest.mark.parametrize("make", [once, pa.Table.to_reader], ids=["generator", "reader"])
def test_a_stream_cannot_be_read_twice(make, table, reference, tmp_path):
    with pytest.raises(sn.DataError, match="read only once.*spool=True"):
        sn.fit(make(table), "robust", exact=True)
    with pytest.raises(sn.DataError, match="read only once"):
        sn.RobustScaler(exact=True).fit(make(table))
    with pytest.raises(sn.DataError, match="read only once.*spool=True"):
        sn.normalize(make(table), tmp_path / "out.parquet", "robust", exact=True)
    assert list(tmp_path.iterdir()) == []
    assert_same(sn.fit(make(table), "robust", exact=True, spool=True), reference)
    found = sn.normalize(make(table), tmp_path / "out.parquet", "robust", exact=True, spool=True)
    assert_same(found, reference)
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_a_stream_of_floats_needs_one_pass_for_exact_moments(table):
    found = sn.fit(once(table), "standard", exact=True)
    assert found.digest() == sn.fit(table, "standard", exact=True).digest()


# What cannot be done.


def test_no_merge_and_no_stream_of_parts(table, reference):
    other = robust(table.slice(0, 100))
    for attempt in (
        lambda: reference + other,
        lambda: copy.deepcopy(reference).merge(other),
        lambda: sn.merge([reference, other]),
        lambda: sn.RobustScaler(exact=True).partial_fit(table),
        lambda: copy.deepcopy(reference).partial_fit(table),
        lambda: reference + sn.fit(table, "robust"),
        lambda: sn.fit(table, "robust") + reference,
    ):
        before = reference.digest()
        with pytest.raises(sn.NotMergeableError) as raised:
            attempt()
        assert "at once" in str(raised.value)
        assert reference.digest() == before


def test_other_quantiles_were_not_collected(reference):
    with pytest.raises(sn.StatisticNotCollected):
        reference.summary_["random"].quantile(0.123)


@pytest.mark.parametrize("rows", [3_000, 3_001, 5_000])
def test_a_file_that_changes_between_passes_is_an_error(rows, tmp_path, monkeypatch):
    """Or else the ranks of one state of the data would be looked up in another, where the clock does not tell."""
    monkeypatch.setattr(ParquetInput, "check_unchanged", lambda self: None)
    path = file_of(tmp_path, adversarial("random"), 100)
    other = file_of(tmp_path, adversarial("random", rows, 1) + 7.0, 100, "other.parquet")

    def swap(rows_done, *_):
        if rows_done >= 3_001 and other.exists():
            other.replace(path)

    reason = "changed while it was read" if rows == 3_001 else "in.parquet: row group .* column 'v'"
    with pytest.raises(sn.DataError, match=reason):
        robust(path, threads=1, progress=swap)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_values_are_an_error(value, tmp_path):
    path = file_of(tmp_path, [1.0, value, 2.0])
    with pytest.raises(sn.DataError, match="'v'.*infinite"):
        robust(path)


def test_a_column_without_values_is_as_by_default(tmp_path):
    path = file_of(tmp_path, pa.array([None, math.nan, None], pa.float64(), from_pandas=False))
    found, default = robust(path), sn.fit(path, "robust")
    assert same_double(found.center_[0], default.center_[0]) and found.scale_[0] == default.scale_[0]


# The state, other scalers beside, and the whole job.


def test_a_saved_state_keeps_the_bits(table, reference, tmp_path):
    reference.save(tmp_path / "state.json")
    for found in (sn.load(tmp_path / "state.json"), pickle.loads(pickle.dumps(reference)), copy.deepcopy(reference)):
        assert_same(found, reference)
        for name in table.column_names:
            for q in (0.25, 0.5, 0.75):
                assert same_double(found.summary_[name].quantile(q), reference.summary_[name].quantile(q))
        with pytest.raises(sn.NotMergeableError):
            found.merge(reference)
        assert same(found.transform(table), reference.transform(table))
        found.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "state.json").read_bytes()


def test_columns_of_exact_and_other_methods(table, reference, tmp_path):
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=200)
    methods = {
        ("random", "ulps", "long"): sn.RobustScaler(exact=True),
        "sorted": "standard",
        "two": "minmax",
        "small": "robust",
        "whole": sn.StandardScaler(exact=True),
    }
    found = sn.fit(tmp_path / "in.parquet", methods)
    for name in ("random", "ulps", "long"):
        summary, right = found.summary_[name], reference.summary_[name]
        assert [summary.quantile(q) for q in (0.25, 0.5, 0.75)] == [right.quantile(q) for q in (0.25, 0.5, 0.75)]
    whole = Moments(table["whole"].to_pylist())
    assert (found.summary_["whole"].mean, found.summary_["whole"].std()) == (whole.mean, whole.std())
    assert found.summary_["sorted"].mean == sn.fit(tmp_path / "in.parquet", "standard").summary_["sorted"].mean
    assert found.summary_["small"].quantile(0.5) == sn.fit(table, "robust").summary_["small"].quantile(0.5)
    found.save(tmp_path / "state.json")
    assert same(sn.load(tmp_path / "state.json").transform(table), found.transform(table))
    with pytest.raises(sn.NotMergeableError):
        found + found


def test_exact_reaches_every_method_of_a_mapping(table, reference):
    found = sn.fit(table, {"random": "robust", "sorted": "standard", "two": "minmax"}, exact=True)
    right = Moments(table["sorted"].to_pylist())
    assert found.summary_["random"].quantile(0.75) == reference.summary_["random"].quantile(0.75)
    assert (found.summary_["sorted"].mean, found.summary_["sorted"].var(1)) == (right.mean, right.var(1))


@pytest.mark.parametrize("row_group_size", [100, 10_000])
def test_the_whole_job(row_group_size, table, reference, tmp_path):
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, row_group_size=row_group_size)
    found = sn.normalize(source, target, "robust", exact=True, threads=2, memory="32MB", state=tmp_path / "state.json")
    assert_same(found, reference)
    assert_same(sn.load(target), reference)
    assert_same(sn.load(tmp_path / "state.json"), reference)
    written = pq.read_table(target)
    for i, name in enumerate(table.column_names):
        values = np.array([math.nan if v is None else v for v in table[name].to_pylist()], np.float64)
        right = (values - reference.center_[i]) / reference.scale_[i]
        got = np.array([math.nan if v is None else v for v in written[name].to_pylist()])
        if name == "small":
            right = right.astype(np.float32).astype(np.float64)
        assert np.array_equal(got, right, equal_nan=True)
        assert written[name].null_count == table[name].null_count
