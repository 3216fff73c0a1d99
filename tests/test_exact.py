"""Exact sums, kernel against twin: on the grid of the slices, off it, at the ends of the doubles, and merged."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnorm import Moments, StandardScaler, rounding
from streamnorm._core import ColumnStats
from streamnorm.reference import exact_sums

BLOCK = 2048


def sums_of(stats):
    """The sums that the state holds, as fractions."""
    state = stats.state()
    units = rounding.from_text(state["sum"], rounding.SUM_EXPONENT)
    squares = rounding.from_text(state["sum_squares"], 2 * rounding.SUM_EXPONENT)
    one = Fraction(2) ** rounding.SUM_EXPONENT
    return units * one, squares * one * one


def stats_of(values):
    return ColumnStats(exact=True).update(values)


def numbers(array):
    """What the values are, exactly."""
    items = array.to_pylist() if isinstance(array, pa.Array | pa.ChunkedArray) else np.asarray(array).tolist()
    return [item for item in items if item is not None]


def rng():
    return np.random.default_rng(11)


def test_hostile_columns_have_the_twins_sums(hostile):
    stats = stats_of(hostile)
    values = numbers(hostile)
    if stats.kind == "decimal":
        values = [int(value.scaleb(hostile.type.scale)) for value in values]
    assert sums_of(stats) == exact_sums(values)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 255, 256, 257, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77])
@pytest.mark.parametrize("spread", [0, 1, 20, 21, 22, 23, 60, 400, 1074])
def test_values_on_and_off_the_grid(rows, spread):
    """The grid reaches 74 bits below the largest magnitude: 21 powers of two below it, doubles begin to leave it."""
    values = np.ldexp(rng().uniform(-1, 1, rows), -rng().integers(0, spread + 1, rows))
    values[::5] = np.nan
    assert sums_of(stats_of(values)) == exact_sums(values.tolist())


@pytest.mark.parametrize("exponent", [-1074, -1000, -431, -430, -429, -1, 0, 53, 499, 500, 501, 1023])
def test_grids_of_every_size(exponent):
    values = np.ldexp(rng().uniform(-1, 1, BLOCK + 5), exponent)
    values[0] = np.ldexp(1.0, exponent)
    assert sums_of(stats_of(values)) == exact_sums(values.tolist())


def test_slices_at_their_widest():
    """Every slice at 2**24 units, in every lane and row, with one sign: the sums reach the bounds of the proof."""
    value = float.fromhex("0x1.ffffffp-1") + 2.0**-25 * float.fromhex("0x1.ffffffp-1")
    for x in (value, np.nextafter(1.0, 0), 1.0, -np.nextafter(1.0, 0)):
        values = np.full(BLOCK, x)
        assert sums_of(stats_of(values)) == exact_sums(values.tolist())


@pytest.mark.parametrize("type", [np.int64, np.uint64])
def test_wide_integers(type):
    info = np.iinfo(type)
    values = rng().integers(info.min, info.max, 3000, dtype=type, endpoint=True)
    values[:3] = [info.min, info.max, 2**53 + 1]
    assert sums_of(stats_of(values)) == exact_sums(values.tolist())
    whole = np.full(BLOCK, info.max, type)
    assert stats_of(whole).var() == 0.0


@pytest.mark.parametrize(("precision", "scale"), [(9, 2), (18, 7), (38, 0), (38, 38), (38, 11)])
def test_decimals_are_their_integers(precision, scale):
    largest = 10**precision - 1
    integers = [largest, -largest, 0, 1, -7, *(int(x * largest) for x in rng().uniform(-1, 1, 400)), None]
    with localcontext(Context(prec=precision)):
        values = [None if i is None else Decimal(i).scaleb(-scale) for i in integers]
    array = pa.array(values, pa.decimal128(precision, scale))
    stats = stats_of(array)
    exact = exact_sums(integers[:-1])
    assert sums_of(stats) == exact
    assert stats.mean == float(exact[0] / len(integers[:-1]) / 10**scale)


def test_infinities_are_counted_and_not_summed():
    stats = stats_of(np.array([1.0, np.inf, 3.0]))
    assert sums_of(stats) == (4, 10)
    assert math.isnan(stats.mean) and stats.infinite_count == 1


def test_many_merges_carry():
    """Merging and adding until digits would have overflowed without normalization."""
    part = stats_of(np.full(1000, -np.nextafter(2.0, 0)))
    total = ColumnStats(exact=True)
    for _ in range(300):
        total.merge(part)
    assert sums_of(total) == tuple(300 * s for s in sums_of(part))


def test_a_part_is_taken_away_exactly():
    values = rng().lognormal(5, 20, 5000)
    whole, part = stats_of(values), stats_of(values[1000:3000])
    rest = whole.copy().subtract(part)
    assert sums_of(rest) == exact_sums([*values[:1000].tolist(), *values[3000:].tolist()])
    assert rest.count == 3000
    assert sums_of(rest.merge(part)) == sums_of(whole)
    empty = whole.copy().subtract(whole)
    assert sums_of(empty) == (0, 0) and math.isnan(empty.mean)


def test_what_is_no_part_is_refused():
    whole = stats_of(np.array([1.0, 2.0, 4.0]))
    before = whole.state()
    for other in ([1.0] * 4, [5.0], [None, 1.0]):
        with pytest.raises(ValueError, match="no part"):
            whole.subtract(stats_of(pa.array(other, pa.float64())))
    with pytest.raises(ValueError, match="exact"):
        whole.subtract(ColumnStats())
    with pytest.raises(ValueError, match="kinds"):
        stats_of(np.array([1, 2])).subtract(whole)
    assert whole.state() == before


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=30), st.integers(0, 1))
def test_results_are_rounded_once(values, ddof):
    moments = Moments(exact=True).update(np.array(values))
    n = len(values)
    total, squares = exact_sums(values)
    assert moments.mean == float(total / n)
    if n <= ddof:
        assert math.isnan(moments.var(ddof)) and math.isnan(moments.std(ddof))
        return
    variance = (squares - total * total / n) / (n - ddof)
    try:
        assert moments.var(ddof) == float(variance)
    except OverflowError:
        assert moments.var(ddof) == math.inf
    std = Fraction(moments.std(ddof))
    below, above = (Fraction(float(np.nextafter(float(std), to))) for to in (0.0, np.inf))
    assert ((below + std) / 2) ** 2 <= variance or std == 0
    assert variance <= ((std + above) / 2) ** 2


def test_ddof_need_not_be_whole():
    moments = Moments(exact=True).update(np.array([1.0, 2.0, 4.0]))
    assert moments.var(0.5) == float(Fraction(14, 3) / Fraction(5, 2))
    assert math.isnan(moments.var(3))


@pytest.mark.parametrize(
    "text",
    ["", "0x0p+1", "0x2p+0", "-0x0p+0", "0x1", "1p+0", "0x1p-1089", "0x1p+99999", "0X1p+0", "0x01p+0", " 0x1p+0"],
)
def test_only_the_canonical_text_is_read(text):
    with pytest.raises(ValueError):
        rounding.from_text(text, rounding.SUM_EXPONENT)


@pytest.mark.parametrize(
    "change",
    [
        {"sum": "0x3p+5"},
        {"sum_squares": "-0x1p+0"},
        {"sum_squares": "0x1p-2"},
        {"sum": "nonsense"},
        {"sum": "0x1p+1087"},
    ],
)
def test_sums_of_no_data_are_refused(change):
    state = stats_of(np.array([1.0, 2.0])).state()
    with pytest.raises(ValueError):
        ColumnStats.from_state({**state, **change})


def test_exact_and_default_do_not_merge():
    with pytest.raises(TypeError, match="exact"):
        Moments(exact=True).merge(Moments())
    with pytest.raises(ValueError, match="statistics|exact"):
        StandardScaler(exact=True).fit([[1.0], [2.0]]) + StandardScaler().fit([[3.0]])
    with pytest.raises(ValueError, match="exact sums are moments"):
        ColumnStats(moments=False, exact=True)
