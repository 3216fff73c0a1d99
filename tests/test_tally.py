"""The kernel of descriptions against its twin, and its laws: any chunks, any merges, any type."""

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from streamnorm import _core, reference
from streamnorm.report.distinct import EXACT, STANDARD_ERROR, estimate

SKEW_TOLERANCE = 1e-9  # relative to 1 or the skewness, between two orders of summing cubes
SIGMAS = 4  # standard errors that an estimate of distinct values may be off
BLOCK = 2048
BOTH = [_core.ColumnTally, reference.ColumnTally]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
DECIMALS = [pa.decimal32(7, 2), pa.decimal64(15, 2), pa.decimal128(38, 2), pa.decimal128(38, 38), pa.decimal128(9, -2)]

pytestmark = pytest.mark.filterwarnings("error")


def settled(tally):
    """All that is integers and comparisons."""
    hashes, registers = tally.hashes, tally.registers
    return (
        tally.zero_count,
        tally.whole,
        tally.monotone,
        None if hashes is None else hashes.tolist(),
        None if registers is None else registers.tolist(),
    )


def bits(tally):
    return (*settled(tally), repr(tally.skew))


def pieces(array, size):
    if isinstance(array, pa.ChunkedArray):
        return [piece for chunk in array.chunks for piece in pieces(chunk, size)]
    return [array[start : start + size] for start in range(0, len(array), size)]


def check(array):
    """Kernel and twin agree; the kernel gives the same bits for other chunks, and for merges all but the last ones."""
    kernel, twin = _core.ColumnTally().update(array), reference.ColumnTally().update(array)
    assert settled(kernel) == settled(twin)
    assert (kernel.skew is None) == (twin.skew is None)
    if twin.skew is not None:
        assert kernel.skew == pytest.approx(twin.skew, rel=SKEW_TOLERANCE, abs=SKEW_TOLERANCE)
    for size in (1, 7, 50, 513, len(array) + 42):
        if size > 1 or len(array) < 2000:
            apart, merged = _core.ColumnTally(), _core.ColumnTally()
            for piece in pieces(array, size):
                apart.update(piece)
                merged.merge(_core.ColumnTally().update(piece))
            assert bits(apart) == bits(kernel), size
            assert settled(merged) == settled(kernel), size
            if twin.skew is not None:
                assert merged.skew == pytest.approx(twin.skew, rel=SKEW_TOLERANCE, abs=SKEW_TOLERANCE)
    return kernel


def test_hostile_columns(hostile):
    check(hostile)


def floats(rng, n):
    """Values of every kind that there is, in every neighbourhood."""
    odd = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1.5, 2.0**52, 2.0**53 + 2, -(2.0**51) - 0.5]
    return np.where(rng.random(n) < 0.3, rng.choice(odd, n), rng.normal(size=n).round(rng.integers(0, 3)))


@pytest.mark.parametrize("kind", FLOATS, ids=str)
@pytest.mark.parametrize("nulls", [0, 0.2, 0.98])
@pytest.mark.parametrize("offset", [0, 3, 8, 64])
def test_floats_of_any_width_with_gaps_and_offsets(kind, nulls, offset):
    rng = np.random.default_rng([len(str(kind)), round(100 * nulls), offset])
    n = 5000
    with np.errstate(over="ignore"):
        values = floats(rng, n).astype(kind.to_pandas_dtype())
    array = pa.array(values, kind, mask=rng.random(n) < nulls, from_pandas=False)
    tally = check(array.slice(offset, n - offset - 5))
    assert tally.zero_count > 0


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
@pytest.mark.parametrize("nulls", [0, 0.3])
def test_integers_of_any_width_to_their_ends(kind, nulls):
    info = np.iinfo(kind.to_pandas_dtype())
    rng = np.random.default_rng([info.bits, info.min < 0, round(100 * nulls)])
    ends = np.array([info.min, info.max, info.min + 1, info.max - 1, 0, 1], info.dtype)
    drawn = rng.integers(info.min, info.max, 5001, info.dtype, endpoint=True)
    values = np.where(rng.random(5001) < 0.4, rng.choice(ends, 5001), drawn)
    tally = check(pa.array(values, kind, mask=rng.random(5001) < nulls).slice(5))
    assert tally.whole and tally.zero_count > 0
    rising = check(pa.array(np.sort(values), kind, mask=rng.random(5001) < nulls).slice(3))
    assert rising.monotone == "increasing"
    assert check(pa.array(np.sort(values)[::-1], kind)).monotone == "decreasing"


@pytest.mark.parametrize("kind", DECIMALS, ids=str)
def test_decimals_of_any_width(kind):
    rng = np.random.default_rng(kind.precision)
    digits = rng.integers(-(10**6), 10**6, 700).tolist()
    if kind.precision == 38:
        digits = [d * 10**31 + i % 3 if i % 2 else d for i, d in enumerate(digits)]
    digits += [0, 0, 100, -100]
    values = [None if i % 5 == 2 else Decimal((int(d < 0), tuple(map(int, str(abs(d)))), -kind.scale)) for i, d in
              enumerate(digits)]
    tally = check(pa.array(values, kind).slice(3))
    assert tally.whole == (kind.scale <= 0)
    ordered = sorted(value for value in values if value is not None)
    assert check(pa.array(ordered, kind)).monotone == "increasing"
    assert check(pa.array([Decimal("3.00") if kind.scale == 2 else None, None], kind)).whole


@pytest.mark.parametrize("wide", [2**53, 2**62, -(2**53), -(2**63) + 9])
def test_steps_between_neighbours_that_doubles_do_not_tell_apart(wide):
    assert check(pa.array([wide, wide, wide + 1], pa.int64())).monotone == "increasing"
    assert check(pa.array([wide + 1, None, wide], pa.int64())).monotone == "decreasing"
    assert check(pa.array([wide, wide + 1, wide], pa.int64())).monotone is None
    assert len(check(pa.array([wide, wide + 1, wide + 2], pa.int64())).hashes) == 3


@pytest.mark.parametrize("at", [1, 511, 512, 513, 2047, 2048, 2049, 2999])
def test_one_step_back_is_seen_wherever_it_is(at):
    values = np.arange(3000.0)
    assert check(values).monotone == "increasing"
    values[at] = values[at - 1] - 1
    assert check(values).monotone is None
    gappy = pa.array([value for value in values.tolist() for value in (None, value, math.nan)], from_pandas=False)
    assert check(gappy).monotone is None


def test_order_of_negative_numbers():
    values = np.sort(np.random.default_rng(4).normal(size=3000))
    assert check(values).monotone == "increasing"
    assert check(values[::-1]).monotone == "decreasing"


@pytest.mark.parametrize("at", [0, 511, 512, 2048, 2999])
def test_one_broken_number_is_seen_wherever_it_is(at):
    values = np.arange(3000.0) * 2**30
    assert check(values).whole
    values[at] += 2.0**-10
    assert not check(values).whole


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("number", [1, EXACT - 1, EXACT, EXACT + 1, 10_000, 200_000])
def test_distinct_values_are_exact_while_few_and_close_after_that(implementation, number):
    rng = np.random.default_rng(number)
    values = rng.permutation(np.repeat(np.arange(number, dtype=np.uint64) * np.uint64(0x10001), 2))
    tally = implementation().update(values)
    found, error = estimate(tally.hashes, tally.registers)
    if number <= EXACT:
        assert (found, error) == (number, 0.0)
    else:
        assert error == STANDARD_ERROR
        assert abs(found / number - 1) <= SIGMAS * error
    cut = number // 3
    apart = implementation().update(values[cut:]).merge(implementation().update(values[:cut]))
    assert settled(apart)[3:] == settled(tally)[3:]


def test_registers_are_those_of_the_twin():
    values = np.random.default_rng(0).normal(size=50_000)
    assert settled(check(values))[3] is None


def unmixed(h):
    """The number whose hash is h: SplitMix64's last step, backwards."""
    def unshifted(x, by):
        y = x
        for _ in range(64 // by + 1):
            y = x ^ y >> by
        return y

    ends = 1 << 64
    h = unshifted(h, 31) * pow(0x94D049BB133111EB, -1, ends) % ends
    h = unshifted(h, 27) * pow(0xBF58476D1CE4E5B9, -1, ends) % ends
    return (unshifted(h, 30) - 0x9E3779B97F4A7C15) % ends


def test_hashes_that_mark_empty_slots_and_end_in_zeros():
    zero, first = unmixed(0), [unmixed(k << 52) for k in range(1200)]
    few = check(np.array([zero, 5, zero, *first[:9]], np.uint64))
    assert few.hashes[0] == 0 and len(few.hashes) == 10
    late = check(np.array([5] * 600 + [zero], np.uint64))
    assert late.hashes[0] == 0 and len(late.hashes) == 2
    for order in (first, first[::-1]):  # the hash 0 comes first, and as the 1,025th
        assert len(check(np.array(order[:EXACT] * 2, np.uint64)).hashes) == EXACT
        many = check(np.array(order, np.uint64))
        assert many.registers[0] == 53 and (many.registers > 0).sum() == 1200
    last_ones = [unmixed(k << 40 | 77) for k in range(900)]  # which all belong in one slot
    assert len(check(np.array(last_ones, np.uint64)).hashes) == 900


@pytest.mark.parametrize("implementation", BOTH)
def test_both_zeros_are_one_value_and_nan_is_none(implementation):
    tally = implementation().update(np.array([0.0, -0.0, math.nan, math.inf]))
    assert (len(tally.hashes), tally.zero_count, tally.whole, tally.monotone) == (1, 2, True, None)


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("size", [1.0, 1e150, 1e307, 1e-300, 1e-160])
def test_skew_at_the_ends_of_the_range(implementation, size):
    x = np.array([0.0, 0.0, 0.0, 1.0]) * size
    for cuts in ((1, 3), (0, 4), (2, 2)):
        tally = implementation()
        for part in np.split(x, cuts):
            tally.merge(implementation().update(part))
        assert tally.skew == pytest.approx(2 / math.sqrt(3), rel=1e-12)


@pytest.mark.parametrize("order", [1, -1])
def test_skew_of_sizes_that_differ_by_the_range_of_doubles(order):
    sizes = [1e-310, 1e-100, 1.0, 1e100, 1e305][::order]
    x = np.concatenate([np.random.default_rng(i).normal(size=3000) * size for i, size in enumerate(sizes)])
    check(x)


@pytest.mark.parametrize("offset", [1e9, -1e12])
def test_skew_far_from_zero(offset):
    noise = np.random.default_rng(2).exponential(size=100_000).round(3)  # multiples of what doubles have out there
    values = offset + np.round(noise * 1024) / 1024
    d = np.round(noise * 1024) / 1024
    d = d - d.mean()
    found = _core.ColumnTally().update(values).skew
    assert found == pytest.approx((d**3).mean() / (d**2).mean() ** 1.5, rel=SKEW_TOLERANCE)


def test_constants_have_no_skewness():
    for value in (3.7, 1e300, 1e-320, 0.0):
        assert check(np.full(5000, value)).skew is None
    assert check(pa.array([None] * 100, pa.float64())).skew is None


def test_types_may_change_along_a_stream():
    tallies = [kind().update(np.array([1, 2])).update(np.array([2.5, 3.0])).update(np.array([4])) for kind in BOTH]
    assert settled(tallies[0]) == settled(tallies[1])
    assert (tallies[0].monotone, tallies[0].whole) == ("increasing", False)
    encoded = pa.array([3.0, 3.0, 1.0]).dictionary_encode()
    assert bits(_core.ColumnTally().update(encoded)) == bits(_core.ColumnTally().update(np.array([3.0, 3.0, 1.0])))
    assert _core.ColumnTally().update(pa.nulls(3)).update(pa.array([True, False])).zero_count == 1


def test_what_is_no_column_is_refused():
    tally = _core.ColumnTally()
    with pytest.raises(TypeError):
        tally.update(pa.array(["a"]))
    with pytest.raises(ValueError, match="one dimension"):
        tally.update(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="another one"):
        tally.merge(tally)
    assert repr(tally) == "<ColumnTally: 0 zeros, 0 distinct values>"


def test_merging_leaves_the_other_one_as_it_was():
    values = np.random.default_rng(1).normal(size=3000)
    part = _core.ColumnTally().update(values[BLOCK - 1 :])
    before = bits(part)
    whole = _core.ColumnTally().update(values[: BLOCK - 1]).merge(part).merge(_core.ColumnTally())
    assert bits(part) == before
    assert settled(whole) == settled(_core.ColumnTally().update(values))
