"""Laws of exact moments: the double nearest to the truth, and the same bits whatever way the values took."""

import copy
import json
import math
import pickle
import re
import statistics
import struct
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOSTILE, SEED
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.truth import Moments, nearest, nearest_root, same_double

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread

TINY, LARGEST = 5e-324, math.ldexp(1 - 2**-53, 1024)
NORMAL = 2.0**-1022
SPECIAL = [0.0, -0.0, TINY, -TINY, 1e-310, NORMAL, -NORMAL, 1.0, 1 + 2**-52, -1.0, 1e9 + 1e-7, 1e16, LARGEST, -LARGEST]
DDOFS = (0, 1)
DIGITS = 38  # of a decimal128; longer decimals are read only where the values are as short
BLOCK = 2048  # about as many values as a kernel may take at once; sizes around it and well past it are tried
INTEGERS = {"i1": pa.int8(), "i2": pa.int16(), "i4": pa.int32(), "i8": pa.int64()} | {
    "u1": pa.uint8(),
    "u2": pa.uint16(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
}
FLOATS = {"f2": (16, pa.float16()), "f4": (32, pa.float32()), "f8": (64, pa.float64())}


def double(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


doubles = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**64 - 1).map(double).filter(math.isfinite),
    st.sampled_from(SPECIAL),
)
halves = doubles.map(lambda x: x / 2)  # a scaler refuses columns where x - mean overflows
gaps = st.sampled_from([None, math.nan])
seeds = st.integers(0, 2**32 - 1)


def lists(values, **sizes):
    return st.lists(values, min_size=1, **({"max_size": 30} | sizes))


# Inputs: arrays of every type, and what they hold as Python numbers.


@st.composite
def float_arrays(draw):
    width, dtype = FLOATS[draw(st.sampled_from(list(FLOATS)))]
    values = doubles if width == 64 else st.floats(allow_nan=False, allow_infinity=False, width=width)
    drawn = draw(lists(st.one_of(values, values, gaps)))
    return pa.array([None if v is None else np.float64(v) for v in drawn], pa.float64(), from_pandas=False).cast(dtype)


@st.composite
def integer_arrays(draw):
    name = draw(st.sampled_from(list(INTEGERS)))
    info = np.iinfo(name)
    ends = st.sampled_from([info.min, info.min + 1, info.max - 1, info.max])
    values = st.one_of(st.integers(info.min, info.max), st.integers(0, 9), ends, st.none())
    return pa.array(draw(lists(values)), INTEGERS[name])


def decimal_array(unscaled, dtype):
    """A decimal array from its unscaled integers: the only way to one whose scale exceeds its precision."""
    width = dtype.bit_width // 8
    data = b"".join((v or 0).to_bytes(width, "little", signed=True) for v in unscaled)
    valid = np.packbits([v is not None for v in unscaled], bitorder="little").tobytes()
    return pa.Array.from_buffers(dtype, len(unscaled), [pa.py_buffer(valid), pa.py_buffer(data)])


@st.composite
def decimal_arrays(draw):
    precision = draw(st.one_of(st.integers(1, DIGITS), st.just(DIGITS)))
    scale = draw(st.integers(-4, DIGITS + 4))
    end = 10**precision - 1
    values = st.one_of(st.integers(-end, end), st.sampled_from([-end, 1 - end, 0, 1, end]), st.none())
    return decimal_array(draw(lists(values)), pa.decimal128(precision, scale))


def numbers(array):
    """The values of an array, as numbers that `Moments` takes; decimals from their integers, as to_pylist rounds."""
    if isinstance(array, pa.ChunkedArray):
        return [v for chunk in array.chunks for v in numbers(chunk)]
    if isinstance(array, pa.Array) and pa.types.is_decimal(array.type):
        width, unit = array.type.bit_width // 8, Fraction(10) ** -array.type.scale
        data = memoryview(array.buffers()[1])[array.offset * width :]
        there = array.is_valid().to_pylist()
        raw = (int.from_bytes(data[i * width : (i + 1) * width], "little", signed=True) for i in range(len(array)))
        return [v * unit if ok else None for v, ok in zip(raw, there, strict=True)]
    return array.to_pylist() if isinstance(array, pa.Array) else array.tolist()


def exactly(array):
    return sn.Moments(exact=True).update(array)


def assert_nearest(found, truth, ddofs=DDOFS):
    """Zeros may have either sign; all else agrees in every bit."""
    assert found.count == truth.count
    pairs = [("mean", found.mean, truth.mean)]
    pairs += [(f"var({d})", found.var(d), truth.var(d)) for d in ddofs]
    pairs += [(f"std({d})", found.std(d), truth.std(d)) for d in ddofs]
    wrong = [f"{name} is {a!r}, not {b!r}" for name, a, b in pairs if not (a == b or same_double(a, b))]
    assert not wrong, "; ".join(wrong)


# The yardstick itself.


@given(values=lists(doubles, max_size=8))
def test_the_truth_is_that_of_the_standard_library(values):
    truth = Moments(values)
    exact = [Fraction(v) for v in values]
    assert truth.exact_mean() == statistics.mean(exact)
    assert truth.exact_var() == statistics.pvariance(exact)
    if len(values) > 1:
        assert truth.exact_var(1) == statistics.variance(exact)
    assert truth.std() == statistics.pstdev(exact)  # rounded once since Python 3.11


@given(value=doubles.map(abs))
def test_the_nearest_double_and_the_nearest_root_round_once(value):
    assert nearest(Fraction(value)) == value
    assert nearest_root(Fraction(value)) == math.sqrt(value)  # which IEEE 754 rounds correctly
    assert nearest_root(Fraction(value) ** 2) == value
    assert nearest(Fraction(LARGEST) * 2) == math.inf


# Correct rounding.


@settings(max_examples=150)
@given(array=float_arrays())
@example(array=pa.array(SPECIAL))
@example(array=pa.array([LARGEST, LARGEST, -LARGEST, TINY]))
@example(array=pa.array([LARGEST, 1.0, -LARGEST]))
@example(array=pa.array([LARGEST, -LARGEST]))
@example(array=pa.array([-TINY, 0.0, 0.0]))
@example(array=pa.array([TINY] * 3 + [2 * TINY]))
@example(array=pa.array([65504.0, -65504.0, 6e-8]).cast(pa.float16()))
def test_floats_of_any_magnitude(array):
    assert_nearest(exactly(array), Moments(numbers(array)))


@settings(max_examples=150)
@given(array=integer_arrays())
@example(array=pa.array([-(2**63)] * 3 + [2**63 - 1]))
@example(array=pa.array([2**64 - 1, 2**64 - 2, 0], pa.uint64()))
def test_integers_of_any_type(array):
    assert_nearest(exactly(array), Moments(numbers(array)))


@settings(max_examples=150)
@given(array=decimal_arrays())
@example(array=decimal_array([10**38 - 1, 1 - 10**38, 1], pa.decimal128(38, 38)))
@example(array=decimal_array([10**38 - 1, 1 - 10**38, 1, None], pa.decimal128(38, 0)))
@example(array=decimal_array([110, 220, -330], pa.decimal128(7, 2)))
def test_decimals_of_any_precision_and_scale(array):
    assert_nearest(exactly(array), Moments(numbers(array)))


@settings(max_examples=40)
@given(values=lists(st.one_of(st.integers(1 - 10**DIGITS, 10**DIGITS - 1), st.none())), scale=st.integers(0, 76))
def test_long_decimals(values, scale):
    array = decimal_array(values, pa.decimal256(76, scale))
    found = sn.fit(pa.table({"v": array}), "standard", exact=True)
    assert_nearest(found.summary_["v"], Moments(numbers(array)))


@pytest.mark.parametrize("name", ["decimal32", "decimal64"])
def test_short_decimals(name):
    make = getattr(pa, name, None)
    if make is None:
        pytest.skip("this pyarrow has no short decimals")
    array = decimal_array([999_999_999, -999_999_999, 7, None], make(9, 3))
    assert_nearest(exactly(array), Moments(numbers(array)))


@pytest.mark.parametrize("name,array", HOSTILE, ids=[name for name, _ in HOSTILE])
def test_hostile_columns(name, array):
    assert_nearest(exactly(array), Moments(numbers(array)))


@given(m=st.integers(2**52, 2**61), c=st.integers(-(2**61), 2**61), pairs=st.integers(1, 40), nudge=st.integers(-1, 1))
@example(m=2**53 + 1, c=0, pairs=1, nudge=0)
@example(m=2**53 + 3, c=2**53 + 1, pairs=7, nudge=-1)
@example(m=3 * 2**53 + 2**2, c=2**60 + 2**7, pairs=7, nudge=1)
def test_middles_between_doubles(m, c, pairs, nudge):
    """Mean c and deviation m lie in or beside the middle of two doubles."""
    values = [c - m, c + m] * pairs
    values[0] += nudge
    assert_nearest(exactly(np.array(values)), Moments(values))


@given(x=st.integers(2**52, 2**53 - 1).map(float), power=st.integers(-1000, 900), nudge=st.sampled_from([-1, 0, 1]))
def test_middles_that_the_smallest_double_decides(x, power, nudge):
    values = [math.ldexp(x, power), math.ldexp(x + 1, power), nudge * TINY, 0.0]
    assert_nearest(exactly(np.array(values)), Moments(values))


@given(array=st.one_of(float_arrays(), integer_arrays()), ddof=st.sampled_from([0.5, 1.5, 2, 3.25, 7]))
def test_any_degrees_of_freedom(array, ddof):
    assert_nearest(exactly(array), Moments(numbers(array)), [ddof])


@given(whole=integer_arrays(), real=float_arrays(), merge=st.booleans())
def test_integers_and_floats_in_one_column(whole, real, merge):
    found = exactly(whole).merge(exactly(real)) if merge else exactly(whole).update(real)
    assert_nearest(found, Moments(numbers(whole) + numbers(real)))


def bulk(kind, size, seed=SEED):
    """Many values of one kind: what fills accumulators, carries and leaves blocks half full."""
    rng = np.random.default_rng([size, seed])
    match kind:
        case "any bits":
            values = rng.integers(0, 2**64, size, np.uint64, endpoint=False).view(np.float64)
            return np.where(np.isfinite(values), values, 0.0)
        case "all positive":
            return np.abs(bulk("any bits", size, seed))
        case "the largest":
            return np.full(size, LARGEST)
        case "the smallest":
            return rng.integers(0, 2, size) * -TINY
        case "wide":
            return rng.normal(size=size) * 10.0 ** rng.integers(-160, 150, size)
        case "offset":
            return 1e9 + rng.normal(size=size) * 1e-5
        case "one exponent":
            return rng.uniform(1, 2, size)
        case "climbing":
            return np.ldexp(rng.uniform(-1, 1, size), np.sort(rng.integers(-1074, 1024, size)))
        case "falling":
            return bulk("climbing", size, seed)[::-1].copy()
        case "runs":
            powers = np.repeat(rng.integers(-1074, 1024, size // 50 + 1), rng.integers(1, 300, size // 50 + 1))
            return np.ldexp(rng.uniform(-1, 1, size), np.resize(powers, size))
        case "strays":
            strays = np.array([TINY, 1e-300, 1e-17, 1e17, 1e300, LARGEST]) * rng.choice([-1, 1], 6)
            return np.where(rng.random(size) < 1e-3, rng.choice(strays, size), rng.normal(size=size))
        case "cancelling":
            values = bulk("any bits", size // 2, seed)
            return rng.permutation(np.concatenate([values, -values, [TINY]]))
        case "float32":
            return (rng.normal(size=size) * 10.0 ** rng.integers(-44, 38, size)).astype(np.float32)
        case "float16":
            return rng.integers(0, 0x7C00, size).astype(np.uint16).view(np.float16)
        case "int64":
            return rng.integers(-(2**63), 2**63 - 1, size, endpoint=True)
        case "the smallest int64":
            return np.full(size, -(2**63))
        case "the largest uint64":
            return np.full(size, 2**64 - 1, np.uint64)
        case "decimal":
            unscaled = [int(a) * 10**19 + int(b) for a, b in rng.integers(-(10**18), 10**18, (size, 2))]
            return decimal_array([None if i % 7 == 2 else v for i, v in enumerate(unscaled)], pa.decimal128(38, 11))
        case "nulls and NaN":
            values = np.where(rng.random(size) < 0.1, np.nan, bulk("any bits", size, seed))
            return pa.array(values, mask=rng.random(size) < 0.1)
    raise AssertionError(kind)


KINDS = (
    "any bits",
    "all positive",
    "the largest",
    "the smallest",
    "wide",
    "offset",
    "one exponent",
    "climbing",
    "falling",
    "runs",
    "strays",
    "cancelling",
    "float32",
    "float16",
    "int64",
    "the smallest int64",
    "the largest uint64",
    "decimal",
    "nulls and NaN",
)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 42, 5 * BLOCK + 7])
@pytest.mark.parametrize("kind", KINDS)
def test_many_values(kind, size):
    array = bulk(kind, size)
    assert_nearest(exactly(array), Moments(numbers(array)))


FULL = 2**53 - 1  # a double of 53 ones, and of the largest squares


@pytest.mark.parametrize(
    "pattern",
    [np.ldexp(FULL * np.array([1.0, sign]), power) for power in (-1074, -600, -30, 0, 400, 971) for sign in (1, -1)]
    + [
        np.array([FULL, FULL - 1, -FULL], np.float64),
        np.array([2**24 - 1, 1 - 2**24, 2**24 - 3], np.float32),
        np.array([-(2**63), 2**63 - 1, -(2**63)]),
        np.array([2**64 - 1, 2**64 - 2], np.uint64),
        np.array([FULL * 2.0**10, FULL * 2.0**-45, FULL * 2.0**-100, FULL * 2.0**-900]),
    ],
    ids=str,
)
def test_a_million_values_of_the_most_bits(pattern):
    """So many that no part of an accumulator can hold their sum without carries."""
    times = 1_000_003
    assert_nearest(exactly(np.tile(pattern, times)), Moments(pattern.tolist(), times))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "kinds", [("wide", "offset", "strays", "one exponent"), ("float32",) * 2, ("int64",) * 3], ids=str
)
def test_columns_of_arrays(kinds, order):
    """Whole and in random chunks of rows, some of them single."""
    columns = [bulk(kind, 2 * BLOCK + 5, seed) for seed, kind in enumerate(kinds)]
    X = np.asarray(np.column_stack(columns), order=order)
    rng = np.random.default_rng(SEED)
    whole, streamed = sn.StandardScaler(exact=True, ddof=1), sn.StandardScaler(exact=True, ddof=1)
    ranges = pieces(len(X), rng, 30)
    for start, stop in ranges[:-1] + [(i, i + 1) for i in range(ranges[-1][0], len(X))]:
        streamed.partial_fit(X[start:stop])
    whole.fit(X)
    for i, values in enumerate(columns):
        assert_nearest(whole.summary_[i], Moments(values.tolist()))
    assert_same_bits(streamed, whole)


# What the variance is at its ends.


@pytest.mark.parametrize("size", [2, 3, 7, 1000, BLOCK + 1])
@pytest.mark.parametrize("value", [*SPECIAL, 0.1, 1 / 3, 1e300], ids=repr)
def test_constant_data_has_no_variance(value, size):
    found = exactly(np.full(size, value))
    assert (found.mean, found.var(0), found.var(1), found.std(0), found.std(1)) == (value, 0, 0, 0, 0)
    scaler = sn.StandardScaler(exact=True).fit(np.full((size, 1), value))
    assert (scaler.mean_[0], scaler.var_[0], scaler.scale_[0]) == (value, 0.0, 1.0)


@pytest.mark.parametrize(
    "values", [[1.7e308, -1.7e308], [LARGEST, -LARGEST, -LARGEST, LARGEST], [1e200, 0.0, 3e200]], ids=str
)
def test_a_variance_that_is_too_large_leaves_the_deviation_right(values):
    found, truth = exactly(np.array(values)), Moments(values)
    assert found.var() == math.inf
    assert math.isfinite(found.std()) and found.std() == truth.std()
    scaler = sn.StandardScaler(exact=True).fit(np.array(values)[:, None])
    assert (scaler.var_[0], scaler.scale_[0]) == (math.inf, truth.std())


@pytest.mark.parametrize("ddof", [1, 0.5, 1.9])
def test_a_deviation_that_is_too_large_is_infinite(ddof):
    found, truth = exactly(np.array([LARGEST, -LARGEST])), Moments([LARGEST, -LARGEST])
    assert (found.mean, found.std(0)) == (0.0, LARGEST)
    assert found.std(ddof) == truth.std(ddof) == math.inf


@pytest.mark.parametrize("values", [[1e-200, -1e-200, 3e-200], [TINY, 0.0], [TINY * i for i in range(1, 100)]])
def test_a_variance_that_is_too_small_leaves_the_deviation_right(values):
    found, truth = exactly(np.array(values)), Moments(values)
    assert found.var() == 0.0
    assert found.std() == truth.std()
    scaler = sn.StandardScaler(exact=True).fit(np.array(values)[:, None])
    assert scaler.scale_[0] == (truth.std() or 1.0)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("values", [[math.inf, 1.0], [1.0, -math.inf], [math.inf, -math.inf], [math.inf] * 3], ids=str)
def test_infinite_values_are_treated_as_by_default(values, exact):
    options = {"exact": True} if exact else {}
    moments = sn.Moments(**options).update(np.array([2.0, 3.0])).update(np.array(values))
    assert all(math.isnan(x) for x in (moments.mean, moments.var(), moments.std()))
    assert math.isnan(sn.Moments(**options).update(np.array([1.0])).merge(moments).mean)
    with pytest.raises(sn.DataError, match="infinite"):
        sn.StandardScaler(**options).fit(np.array(values)[:, None])
    with pytest.raises(sn.DataError, match="'v'.*infinite"):
        sn.fit(pa.table({"v": values}), "standard", **options)


@pytest.mark.parametrize("array", [np.array([]), np.array([math.nan]), pa.array([None, None], pa.float64())], ids=str)
def test_without_values_there_are_no_moments(array):
    found = exactly(array)
    assert found.count == 0
    assert all(math.isnan(x) for x in (found.mean, found.var(), found.std(), found.var(1)))
    filled = exactly(np.array([1.0, 4.0])).merge(found)
    assert (filled.count, filled.mean, filled.var()) == (2, 2.5, 2.25)


# The state.

RATIONAL = re.compile(r"(-?)0x([0-9a-f]*[13579bdf])p([+-]\d+)|0x0p\+0")


def stored(stats):
    """The state as it is stored: a column without values has no kind, which it can only learn from the next ones."""
    return stats.state() if stats.count else stats.state() | {"kind": None}


def rational(text):
    match = RATIONAL.fullmatch(text)
    assert match, f"{text} is no odd integer times a power of two"
    if match[2] is None:
        return Fraction(0)
    return int(match[1] + match[2], 16) * Fraction(2) ** int(match[3])


@given(array=st.one_of(float_arrays(), integer_arrays(), decimal_arrays()))
def test_the_state_holds_the_exact_sums(array):
    stats = sn.ColumnStats(exact=True).update(array)
    state = stats.state()
    unit = 10**array.type.scale if pa.types.is_decimal(array.type) and array.type.scale > 0 else 1
    if pa.types.is_decimal(array.type):
        unit = Fraction(10) ** array.type.scale  # the sums are those of the unscaled integers
    values = [Fraction(v) * unit for v in numbers(array) if v is not None and v == v]
    total, squares = rational(state["sum"]), rational(state["sum_squares"])
    assert (total, squares) == (sum(values), sum(v * v for v in values))
    assert len(values) * squares - total**2 >= 0
    assert not {"mean", "mean_lo", "m2", "exponent"} & set(state)
    again = sn.ColumnStats.from_state(state)
    assert stored(again) == stored(stats)
    assert_nearest(again, Moments(numbers(array)))


def test_a_file_of_the_state_tells_the_exact_sums(tmp_path):
    table = pa.table({"double": bulk("wide", 500), "long": bulk("int64", 500)})
    sn.fit(table, "standard", exact=True).save(tmp_path / "state.json")
    for column in json.loads((tmp_path / "state.json").read_text())["columns"]:
        truth = Moments(table[column["name"]].to_pylist())
        assert rational(column["sum"]) == Fraction(truth.sum, truth.unit)
        assert rational(column["sum_squares"]) == Fraction(truth.sum_squares, truth.unit**2)


# The same bits whatever the way.


def travel(scaler, rng, folder):
    """The scaler after a journey that changes nothing."""
    match rng.integers(4):
        case 0:
            return scaler
        case 1:
            return pickle.loads(pickle.dumps(scaler))
        case 2:
            return copy.deepcopy(scaler)
        case _:
            scaler.save(folder / "state.json")
            return sn.load(folder / "state.json")


def merged(scalers, rng, folder):
    """The merge of all, in a random order and tree, by any of the ways to merge, with journeys in between."""
    scalers = list(scalers)
    while len(scalers) > 1:
        first, second = (scalers.pop(rng.integers(len(scalers))) for _ in range(2))
        first, second = travel(first, rng, folder), travel(second, rng, folder)
        match rng.integers(3):
            case 0:
                one = first + second
            case 1:
                one = sn.merge([first, second])
            case _:
                one = first.merge(second)
        scalers.append(one)
    return scalers[0]


def pieces(length, rng, most):
    """Ranges between random cuts, none of them empty."""
    cuts = rng.integers(1, length, min(length - 1, int(rng.integers(most)))) if length > 1 else []
    ends = [0, *sorted({int(c) for c in cuts}), length]
    return list(zip(ends, ends[1:], strict=False))


def fitted(table, rng, folder):
    """A scaler over a table by some way through the interface."""
    match rng.integers(4):
        case 0:
            return sn.fit(table, "standard", exact=True, threads=int(rng.integers(1, 9)))
        case 1:
            scaler = sn.StandardScaler(exact=True)
            for start, stop in pieces(len(table), rng, 6):
                scaler = travel(scaler.partial_fit(table.slice(start, stop - start)), rng, folder)
            return scaler
        case 2:
            batches = [b for start, stop in pieces(len(table), rng, 6) for b in table[start:stop].to_batches()]
            return sn.fit(iter(batches), "standard", exact=True)
        case _:
            return sn.StandardScaler(exact=True).fit(table.combine_chunks())


def some_way(table, rng, folder):
    table = table.take(rng.permutation(len(table)))
    parts = [table.slice(start, stop - start) for start, stop in pieces(len(table), rng, 8)]
    return travel(merged([fitted(part, rng, folder) for part in parts], rng, folder), rng, folder)


def assert_same_bits(found, whole):
    assert found.digest() == whole.digest()
    for ours, theirs in zip(found.summary_.values(), whole.summary_.values(), strict=True):
        assert repr(stored(ours.stats)) == repr(stored(theirs.stats))
        for ddof in DDOFS:
            assert same_double(ours.var(ddof), theirs.var(ddof)) and same_double(ours.std(ddof), theirs.std(ddof))
        assert same_double(ours.mean, theirs.mean)
    for name in ("mean_", "var_", "scale_"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()


@settings(max_examples=100)
@given(values=lists(st.one_of(doubles, doubles, doubles, gaps)), seed=seeds)
@example(values=[LARGEST, LARGEST, -LARGEST, 0.0, TINY, -LARGEST, LARGEST], seed=0)
def test_any_cut_order_and_tree_gives_the_same_state(values, seed):
    """The columns' statistics themselves, which take any double."""
    rng = np.random.default_rng(seed)
    array = pa.array(values, pa.float64(), from_pandas=False)
    whole = sn.ColumnStats(exact=True).update(array)
    shuffled = array.take(pa.array(rng.permutation(len(array))))
    parts = []
    for start, stop in pieces(len(array), rng, 10):
        stats = sn.ColumnStats(exact=True)
        for first, last in pieces(stop - start, rng, 4):
            stats.update(shuffled[start + first : start + last])
        parts.append(stats)
    while len(parts) > 1:
        first, second = (parts.pop(rng.integers(len(parts))) for _ in range(2))
        parts.append(first.merge(sn.ColumnStats.from_state(second.state()) if rng.integers(2) else second))
    assert repr(stored(parts[0])) == repr(stored(whole))
    assert_nearest(whole, Moments(values))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@settings(max_examples=100)
@given(values=lists(st.one_of(halves, halves, halves, gaps)), seed=seeds)
@example(values=[0.0, -0.0], seed=1)
@example(values=[LARGEST / 2, LARGEST / 2, -LARGEST / 2, -LARGEST / 2, TINY], seed=2)
@example(values=[-0.0, -0.0, None, math.nan], seed=3)
def test_any_way_gives_the_same_bits(shelf, values, seed):
    table = pa.table({"v": pa.array(values, pa.float64(), from_pandas=False)})
    whole = sn.fit(table, "standard", exact=True)
    assert_nearest(whole.summary_["v"], Moments(values))
    assert_same_bits(some_way(table, np.random.default_rng(seed), shelf), whole)


def mixed_table(rows, seed=SEED):
    """Every family of types, nulls and NaN among them."""
    rng = np.random.default_rng([rows, seed])
    gone = rng.random(rows) < 0.1
    return pa.table(
        {
            "double": bulk("nulls and NaN", rows, seed),
            "offset": bulk("offset", rows, seed),
            "float": pa.array(bulk("float32", rows, seed), mask=gone),
            "half": bulk("float16", rows, seed),
            "long": pa.array(bulk("int64", rows, seed), mask=gone),
            "unsigned": pa.array(2**64 - 1 - rng.integers(0, 2**40, rows).astype(np.uint64), mask=gone),
            "money": bulk("decimal", rows, seed),
            "constant": np.full(rows, 0.1),
        }
    )


@settings(max_examples=25)
@given(rows=st.integers(2, 300), seed=seeds)
@example(rows=2 * BLOCK + 5, seed=4)
def test_any_way_gives_the_same_bits_for_any_type(shelf, rows, seed):
    table = mixed_table(rows)
    whole = sn.fit(table, "standard", exact=True)
    for name in table.column_names:
        assert_nearest(whole.summary_[name], Moments(numbers(table[name])))
    assert_same_bits(some_way(table, np.random.default_rng(seed), shelf), whole)


def write_in_random_groups(path, table, rng):
    size = int(rng.integers(1, len(table) + 1))
    with pq.ParquetWriter(path, table.schema, use_dictionary=bool(rng.integers(2))) as writer:
        start = 0
        while start < len(table):
            stop = start + int(rng.integers(1, size + 1))
            writer.write_table(table[start:stop])
            start = stop


@settings(max_examples=12)
@given(seed=seeds, threads=st.integers(1, 8))
def test_any_files_and_row_groups_give_the_same_bits(shelf, tmp_path_factory, seed, threads):
    rng = np.random.default_rng(seed)
    table = mixed_table(700)
    whole = sn.fit(table, "standard", exact=True)
    shuffled = table.take(rng.permutation(len(table)))
    folder = tmp_path_factory.mktemp("parts")
    paths = []
    for i, (start, stop) in enumerate(pieces(len(table), rng, 5)):
        paths.append(folder / f"{rng.integers(100):02}-{i}.parquet")
        write_in_random_groups(paths[-1], shuffled[start:stop], rng)
    options = {"exact": True, "threads": threads}
    assert_same_bits(sn.fit(folder, "standard", **options), whole)
    assert_same_bits(sn.fit([paths[i] for i in rng.permutation(len(paths))], "standard", **options), whole)
    each = [sn.fit(path, sn.StandardScaler(exact=True), threads=threads) for path in paths]
    assert_same_bits(merged(each, rng, shelf), whole)


@pytest.mark.parametrize("threads", range(1, 9))
def test_any_number_of_threads_gives_the_same_bits(tmp_path, threads):
    table = mixed_table(3 * BLOCK + 11)
    write_in_random_groups(tmp_path / "in.parquet", table, np.random.default_rng(threads))
    found = sn.fit(tmp_path / "in.parquet", "standard", exact=True, threads=threads, memory="64MB")
    assert_same_bits(found, sn.fit(table, "standard", exact=True))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "decimal"])
def test_moments_of_any_chunks_and_merges(kind):
    array, rng = bulk(kind, 2 * BLOCK + 99), np.random.default_rng(SEED)
    whole, truth = exactly(array), Moments(numbers(array))
    parts = [exactly(array[start:stop]) for start, stop in pieces(len(array), rng, 60)]
    rng.shuffle(parts)
    tree = list(parts)
    while len(tree) > 1:
        tree = [copy.deepcopy(tree[0]).merge(tree[1]), *tree[2:]] if rng.integers(2) else tree[1:] + tree[:1]
    stream = sn.Moments(exact=True)
    for start, stop in pieces(len(array), rng, 60):
        stream.update(array[start:stop])
    for found in (whole, tree[0], stream):
        assert_nearest(found, truth)


def test_a_merge_with_moments_of_the_other_mode_is_refused():
    plain, exact = sn.StandardScaler().fit([[1.0], [2.0]]), sn.StandardScaler(exact=True).fit([[1.0], [2.0]])
    for first, second in ((plain, exact), (exact, plain)):
        with pytest.raises((sn.NotMergeableError, sn.StateError)):
            first + second
    with pytest.raises((TypeError, ValueError)):
        sn.Moments(exact=True).update(np.array([1.0])).merge(sn.Moments().update(np.array([1.0])))


def test_decimals_of_money_add_up(tmp_path):
    prices = [Decimal(i * i % 10_007).scaleb(-2) for i in range(5_000)]
    table = pa.table({"price": pa.array(prices, pa.decimal128(9, 2))})
    pq.write_table(table, tmp_path / "prices.parquet", row_group_size=333)
    found = sn.fit(tmp_path / "prices.parquet", "standard", exact=True)
    assert_nearest(found.summary_["price"], Moments(prices))
    assert found.mean_[0] == float(sum(prices) / 5_000)
