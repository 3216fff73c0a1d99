"""Exact moments are the doubles nearest to the truth, for every type of number and any magnitude."""

import json
import math
import re
import statistics
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOSTILE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.exactly import (
    BLOCK,
    DIGITS,
    FLOATS,
    INTEGERS,
    KINDS,
    LARGEST,
    SPECIAL,
    TINY,
    assert_nearest,
    bulk,
    decimal_array,
    doubles,
    exactly,
    gaps,
    lists,
    numbers,
    stored,
)
from support.truth import Moments, nearest, nearest_root

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread


# Inputs: arrays of every type.


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


@st.composite
def decimal_arrays(draw):
    precision = draw(st.one_of(st.integers(1, DIGITS), st.just(DIGITS)))
    scale = draw(st.integers(-4, DIGITS + 4))
    end = 10**precision - 1
    values = st.one_of(st.integers(-end, end), st.sampled_from([-end, 1 - end, 0, 1, end]), st.none())
    return decimal_array(draw(lists(values)), pa.decimal128(precision, scale))


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


def test_decimals_of_money_add_up(tmp_path):
    prices = [Decimal(i * i % 10_007).scaleb(-2) for i in range(5_000)]
    table = pa.table({"price": pa.array(prices, pa.decimal128(9, 2))})
    pq.write_table(table, tmp_path / "prices.parquet", row_group_size=333)
    found = sn.fit(tmp_path / "prices.parquet", "standard", exact=True)
    assert_nearest(found.summary_["price"], Moments(prices))
    assert found.mean_[0] == float(sum(prices) / 5_000)


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
