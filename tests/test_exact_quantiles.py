"""Exact quantiles: NumPy's linear ones to the last bit, whatever the data, its source and its row groups."""

import copy
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOSTILE, SEED, same
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import children
from support.files import FLIGHTS
from support.truth import Moments, nearest, same_double

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread

MOST_PASSES, USUAL_PASSES = 6, 2
RANGES = [(25.0, 75.0), (0.0, 100.0), (10.0, 90.0), (50.0, 50.0), (0.1, 99.9)]
TINY, LARGEST = 5e-324, math.ldexp(1 - 2**-53, 1024)
WHOLE = 2**53  # integers up to here are doubles
MB = 10**6
IMPORTS = 80 * MB
PER_CHUNK = 1000  # bytes of footer for each column chunk


# What is right.


def position(count, q):
    """NumPy's place of a quantile among sorted values: an index, and how far from it to the next."""
    place = (count - 1) * q
    return math.floor(place), place - math.floor(place)


def between(a, b, t):
    """The double nearest to what lies at t between a and b."""
    return nearest(Fraction(a) + (Fraction(b) - Fraction(a)) * Fraction(t))


def quantile(values, q):
    """The quantile of numbers (None and NaN are left out) that is promised.

    NumPy's of the doubles; the correctly rounded one where that overflows, or where integers are no doubles.
    """
    there = [v for v in values if v is not None and v == v]
    if not there:
        return math.nan
    at, t = position(len(there), q)
    if all(isinstance(v, int) for v in there) and max(abs(v) for v in there) > WHOLE:
        there.sort()
        return between(there[at], there[min(at + 1, len(there) - 1)], t)
    doubles = np.sort(np.array(there, dtype=np.float64))
    a, b = doubles[at], doubles[min(at + 1, len(there) - 1)]
    with np.errstate(over="ignore"):
        if np.isinf(b - a):
            return between(a, b, t)
    return float(np.nanquantile(doubles, np.array(q), method="linear"))


def numbers(array):
    if isinstance(array, pa.Array | pa.ChunkedArray):
        return array.to_pylist()
    return array.tolist()


def assert_quantiles(scaler, column, values, index=0):
    """All that a fitted robust scaler says of one column against what is right."""
    low, high = (bound / 100 for bound in scaler.quantile_range)
    summary = scaler.summary_[column]
    for q in (low, 0.5, high):
        found, right = summary.quantile(q), quantile(values, q)
        assert found == right or same_double(found, right), f"quantile {q} is {found!r}, not {right!r}"
    there = [v for v in values if v is not None and v == v]
    assert summary.count == len(there)
    assert summary.rank_error == 0
    if there:
        assert (summary.min, summary.max) == (min(there), max(there))
    center, scale = scaler.center_[index], scaler.scale_[index]
    lower, middle, upper = (quantile(values, q) for q in (low, 0.5, high))
    assert center == middle or same_double(center, middle)
    if upper - lower >= 64 * math.ulp(max(abs(lower), abs(upper))):  # clearly not constant
        assert scale == upper - lower
    if there and lower == upper:
        assert scale == 1.0
    assert 1 <= scaler.summary_.passes <= MOST_PASSES


def robust(source, quantile_range=(25.0, 75.0), **options):
    return sn.fit(source, sn.RobustScaler(quantile_range=quantile_range, exact=True), **options)


def file_of(folder, array, row_group_size=1000, name="in.parquet"):
    array = array if isinstance(array, pa.Array | pa.ChunkedArray) else pa.array(array, from_pandas=False)
    pq.write_table(pa.table({"v": array}), folder / name, row_group_size=row_group_size)
    return folder / name


@pytest.mark.parametrize("q", [0.0, 0.1, 0.25, 0.5, 0.75, 0.999, 1.0])
def test_the_yardstick_is_numpy_where_numpy_can(q):
    rng = np.random.default_rng(SEED)
    for size in range(1, 40):
        values = rng.normal(size=size)
        at, t = position(size, q)
        a, b = np.sort(values)[[at, min(at + 1, size - 1)]]
        assert quantile(values.tolist(), q) == np.quantile(values, np.array(q))
        assert quantile(values.tolist(), q) == pytest.approx(between(a, b, t), rel=1e-14)
    assert quantile([-LARGEST, LARGEST], 0.5) == 0.0
    assert quantile([2**60 + 1, 2**60 + 3], 0.5) == 2.0**60


# Any data.


def adversarial(kind, size=3001, seed=SEED):
    rng = np.random.default_rng([size, seed])
    normal = rng.normal(size=size)
    match kind:
        case "random":
            return normal
        case "sorted":
            return np.sort(normal)
        case "reversed":
            return np.sort(normal)[::-1].copy()
        case "organ pipes":
            return np.concatenate([np.sort(normal)[::2], np.sort(normal)[1::2][::-1]])
        case "constant":
            return np.full(size, 0.1)
        case "heavy duplicates":
            return np.round(normal)
        case "one in a thousand differs":
            return np.where(rng.random(size) < 0.001, normal, 7.0)
        case "a few ulps":
            return np.nextafter(1.0, 2.0) + rng.integers(0, 5, size) * 2.0**-52
        case "every ulp":
            return (np.float64(1e9).view(np.int64) + rng.permutation(size)).view(np.float64)
        case "ulps around zero":
            return rng.permutation(size).astype(np.uint64).view(np.float64) * rng.choice([-1.0, 1.0], size)
        case "all exponents":
            return np.ldexp(rng.choice([-1.0, 1.0], size), rng.integers(-1074, 1020, size))
        case "any bits":
            values = rng.integers(0, 2**64, size, np.uint64).view(np.float64)
            return np.where(np.isfinite(values), values, 0.0) / 4
        case "denormals":
            return rng.integers(-(2**51), 2**51, size) * TINY
        case "one far away":
            return np.where(np.arange(size) == size // 2, LARGEST / 4, normal)
        case "halves apart":
            return np.where(np.arange(size) % 2 == 0, normal - 1e300, normal + 1e300)
        case "a geometric ladder":
            return rng.permutation(np.cumprod(np.full(size, 1 + 2.0**-8)))
    raise AssertionError(kind)


KINDS = (
    "random",
    "sorted",
    "reversed",
    "organ pipes",
    "constant",
    "heavy duplicates",
    "one in a thousand differs",
    "a few ulps",
    "every ulp",
    "ulps around zero",
    "all exponents",
    "any bits",
    "denormals",
    "one far away",
    "halves apart",
    "a geometric ladder",
)


@pytest.mark.parametrize("quantile_range", RANGES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_data(kind, quantile_range):
    values = adversarial(kind)
    assert_quantiles(robust(values[:, None], quantile_range), 0, values.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_data_in_a_file(kind, tmp_path):
    values = adversarial(kind, 20_011)
    found = robust(file_of(tmp_path, values, 977), (0.1, 99.9), memory="16MB")
    assert_quantiles(found, "v", values.tolist())


@pytest.mark.parametrize("low", [0, 24, 25, 26, 49, 50, 51, 74, 75, 76, 100, 101])
def test_two_values_in_every_proportion_around_a_quantile(low, tmp_path):
    """Of 101 values the quantiles fall on numbers 25, 50 and 75, and with one more between two."""
    for extra in (0, 1, 2):
        values = np.array([0.1] * low + [0.7] * (101 - low + extra))
        np.random.default_rng(low).shuffle(values)
        assert_quantiles(robust(values[:, None]), 0, values.tolist())
        assert_quantiles(robust(file_of(tmp_path, values, 10)), "v", values.tolist())


adversaries = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 8).map(lambda k: 1.0 + k * 2.0**-52),
    st.sampled_from([0.0, -0.0, TINY, -TINY, LARGEST, -LARGEST, 1.79e308, -1.79e308, 1.0]),
)


@settings(max_examples=150)
@given(
    values=st.lists(st.one_of(adversaries, st.sampled_from([None, math.nan])), min_size=1, max_size=40),
    quantile_range=st.one_of(
        st.sampled_from(RANGES), st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda pair: tuple(sorted(pair)))
    ),
)
@example(values=[-1.79e308, 1.79e308], quantile_range=(25.0, 75.0))
@example(values=[-LARGEST, LARGEST], quantile_range=(25.0, 75.0))
@example(values=[-LARGEST, LARGEST, None, math.nan], quantile_range=(33.3, 66.6))
@example(values=[-LARGEST, 1.0, LARGEST], quantile_range=(49.9, 50.1))
@example(values=[None, math.nan], quantile_range=(25.0, 75.0))
def test_floats_of_any_size(values, quantile_range):
    table = pa.table({"v": pa.array(values, pa.float64(), from_pandas=False)})
    lower, middle, upper = (quantile(values, q) for q in (quantile_range[0] / 100, 0.5, quantile_range[1] / 100))
    spans = [upper - lower, *(v - middle for v in values if v is not None)]
    if any(map(math.isinf, spans)):  # so would (x - center) / scale be
        with pytest.raises(sn.DataError, match="spans more than a float64 can hold"):
            robust(table, quantile_range)
    else:
        assert_quantiles(robust(table, quantile_range), "v", values)


@pytest.mark.parametrize(
    "values",
    [[-1.79e308, 1.79e308], [-LARGEST, LARGEST], [-LARGEST] * 2 + [LARGEST / 2] * 2, [-LARGEST, LARGEST / 2]],
)
@pytest.mark.parametrize("quantile_range", [(50.0, 50.0), (45.0, 55.0), (40.0, 60.0)], ids=str)
def test_an_interpolation_that_numpy_overflows_is_correctly_rounded(values, quantile_range):
    with np.errstate(all="ignore"):
        assert not math.isfinite(np.quantile(np.array(values), np.array(0.5)))
    found = robust(np.array(values)[:, None], quantile_range)
    assert math.isfinite(found.center_[0])
    assert_quantiles(found, 0, values)


@pytest.mark.parametrize("quantile_range", RANGES, ids=str)
def test_zeros_of_either_sign_do_not_depend_on_their_order(quantile_range):
    for count in range(2, 12):
        zeros = np.where(np.arange(count) % 3 == 0, -0.0, 0.0)
        rng = np.random.default_rng(count)
        first = robust(zeros[:, None], quantile_range)
        assert_quantiles(first, 0, zeros.tolist())
        for _ in range(5):
            other = robust(rng.permutation(zeros)[:, None], quantile_range)
            assert other.center_.tobytes() == first.center_.tobytes()
            assert other.digest() == first.digest()


# Any type.


@pytest.mark.parametrize("quantile_range", RANGES, ids=str)
@pytest.mark.parametrize("name", ["f2", "f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_types(name, quantile_range, tmp_path):
    rng = np.random.default_rng(SEED)
    values = (rng.normal(size=2003) * 40 + 128 * name.startswith("u")).clip(-100, 100 + 128 * name.startswith("u"))
    values = values.astype(name)
    array = pa.array(values, mask=rng.random(len(values)) < 0.1)
    right = [None if v is None else v if isinstance(v, int) else float(v) for v in array.to_pylist()]
    assert_quantiles(robust(file_of(tmp_path, array, 100), quantile_range), "v", right)
    assert_quantiles(robust(values[:, None], quantile_range), 0, values.tolist())


@pytest.mark.parametrize("quantile_range", [(25.0, 75.0), (0.0, 100.0), (50.0, 50.0), (12.5, 62.5)], ids=str)
@pytest.mark.parametrize(
    "start,step,dtype",
    [
        (2**53 - 3, 1, pa.int64()),
        (2**62 + 1, 2**11 + 3, pa.int64()),
        (-(2**63), 12_345, pa.int64()),
        (2**63 - 2_000_001, 997, pa.int64()),
        (2**63 - 50_000, 101, pa.uint64()),
        (2**64 - 2_000_001, 997, pa.uint64()),
        (-(2**62), 2**54 + 1, pa.int64()),
    ],
    ids=str,
)
def test_integers_that_are_no_doubles(start, step, dtype, quantile_range, tmp_path):
    """Interpolated between integers, and rounded once."""
    for count in (2, 3, 4, 5, 101, 102, 103, 104):
        values = [start + i * step for i in range(count)]
        np.random.default_rng(count).shuffle(values)
        array = pa.array(values, dtype)
        assert_quantiles(robust(pa.table({"v": array}), quantile_range), "v", values)
        assert_quantiles(robust(file_of(tmp_path, array, 7), quantile_range), "v", values)


@settings(max_examples=80)
@given(data=st.data(), unsigned=st.booleans())
def test_integers_of_any_size(data, unsigned):
    low, high = (0, 2**64 - 1) if unsigned else (-(2**63), 2**63 - 1)
    near = data.draw(st.integers(low + 3, high - 3))
    some = st.one_of(st.integers(low, high), st.integers(near - 3, near + 3), st.none(), st.sampled_from([low, high]))
    values = data.draw(st.lists(some, min_size=1, max_size=30))
    table = pa.table({"v": pa.array(values, pa.uint64() if unsigned else pa.int64())})
    assert_quantiles(robust(table, data.draw(st.sampled_from([(25.0, 75.0), (0.0, 100.0), (50.0, 50.0)]))), "v", values)


@pytest.mark.parametrize("quantile_range", RANGES, ids=str)
@pytest.mark.parametrize("dtype", [pa.decimal128(9, 2), pa.decimal128(38, 2), pa.decimal256(50, 7)], ids=str)
def test_decimals_are_those_of_their_doubles(dtype, quantile_range, tmp_path):
    rng = np.random.default_rng(SEED)
    cents = rng.integers(-(10**8), 10**8, 1501)
    values = [None if i % 9 == 4 else Decimal(int(c)).scaleb(-2) for i, c in enumerate(cents)]
    array = pa.array(values, dtype)
    found = robust(file_of(tmp_path, array, 333), quantile_range)
    low, high = (bound / 100 for bound in quantile_range)
    doubles = [math.nan if v is None else float(v) for v in values]
    for q in (low, 0.5, high):
        assert found.summary_["v"].quantile(q) == np.nanquantile(doubles, np.array(q), method="linear")
    there = [v for v in values if v is not None]
    assert (found.summary_["v"].min, found.summary_["v"].max) == (min(there), max(there))


@pytest.mark.parametrize("name,array", HOSTILE, ids=[name for name, _ in HOSTILE])
def test_hostile_columns(name, array, tmp_path):
    if not len(array) or (isinstance(array, np.ndarray) and array.dtype == bool):
        pytest.skip("no file of numbers")
    values = [float(v) if isinstance(v, Decimal) else v for v in numbers(array)]
    path = file_of(tmp_path, pa.array(array) if isinstance(array, np.ndarray) else array, 100)
    found = robust(path)
    for q in (0.25, 0.5, 0.75):
        assert same_double(found.summary_["v"].quantile(q), quantile(values, q))
    default = sn.fit(path, "robust")
    if "past_2**53" not in name:
        assert default.summary_["v"].rank_error == 0  # so small that the sketch holds every value
        assert found.center_.tobytes() == default.center_.tobytes()
        assert found.scale_.tobytes() == default.scale_.tobytes()


@pytest.mark.parametrize(
    "options", [{"unit_variance": True}, {"with_centering": False}, {"with_scaling": False}], ids=str
)
def test_the_other_options_mean_what_they_mean_by_default(options):
    values = adversarial("random", 501)[:, None]
    ours, theirs = sn.RobustScaler(**options, exact=True).fit(values), sn.RobustScaler(**options).fit(values)
    assert np.array_equal(ours.transform(values), theirs.transform(values))
    assert np.array_equal(ours.inverse_transform(values), theirs.inverse_transform(values))


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


@pytest.mark.parametrize("memory", ["16MB", "64MB"])
@pytest.mark.parametrize("row_group_size", [50_000, 1_500_000])
def test_memory_of_data_that_is_larger(row_group_size, memory, tmp_path):
    """84 MB of values; each column is another adversary of a method that narrows a range."""
    rows = 1_500_000
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
def test_a_file_that_changes_between_passes_is_an_error(rows, tmp_path):
    """Or else the ranks of one state of the data would be looked up in another."""
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
