"""The twins themselves: against NumPy, exact fractions, and their own laws."""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from conftest import as_doubles
from hypothesis import given
from hypothesis import strategies as st

from streamnorm import _core
from streamnorm.reference import BLOCK, ColumnStats, QuantileSketch, affine, affine_matrix, update_matrix

MEAN_RTOL = 1e-15  # of the largest magnitude
STD_RTOL = 1e-12

pytestmark = pytest.mark.filterwarnings("error")


def exact_moments(values):
    """Count, mean and standard deviation by fractions, rounded once (the root twice)."""
    parts = [Fraction(float(v)) for v in values]
    n = len(parts)
    mean = sum(parts) / n
    var = sum((p - mean) ** 2 for p in parts) / n
    shift = max(var.denominator.bit_length() - var.numerator.bit_length(), -4000) // 2
    root = math.sqrt(var * Fraction(4) ** shift)
    return n, float(mean), float(Fraction(root) / Fraction(2) ** shift)


def moments_bits(stats):
    return (stats.count, stats.mean, stats.mean_lo, stats.m2, stats.exponent, stats.min, stats.max)


def test_hostile_columns_have_exact_moments_and_extrema(hostile):
    stats = ColumnStats().update(hostile)
    values = as_doubles(hostile)
    values = values[~np.isnan(values)]
    assert stats.rows == len(hostile)
    assert stats.count == len(values)
    if len(values) == 0:
        assert math.isnan(stats.mean) and math.isnan(stats.var()) and stats.min is None
        return
    n, mean, std = exact_moments(values)
    assert stats.count == n
    assert abs(stats.mean - mean) <= MEAN_RTOL * np.abs(values).max()
    # A denormal has few bits: its neighbours are the best that a double can say.
    assert stats.std() == pytest.approx(std, rel=STD_RTOL, abs=2 * 5e-324 if std < 1e-300 else 0)
    assert float(stats.min) == values.min() and float(stats.max) == values.max()


def test_extrema_keep_the_kind_of_the_column():
    assert ColumnStats().update(np.array([2**60 + 1, 7])).max == 2**60 + 1
    decimals = pa.array(["0.10", "-7.25"]).cast(pa.decimal128(10, 2))
    assert str(ColumnStats().update(decimals).min) == "-7.25"
    mixed = ColumnStats().update(np.array([1, 2])).update(np.array([0.5]))
    assert (mixed.kind, mixed.min, mixed.max) == ("float", 0.5, 2.0)


@pytest.mark.parametrize("size", [1, 3, 50, BLOCK, BLOCK + 42])
def test_any_chunking_gives_the_same_bits(size):
    values = np.random.default_rng(1).lognormal(size=2 * BLOCK + 99) + 1e6
    values[::17] = np.nan
    whole, parts = ColumnStats().update(values), ColumnStats()
    for start in range(0, len(values), size) if size > 1 else range(len(values)):
        parts.update(values[start : start + size])
    assert moments_bits(parts) == moments_bits(whole)


def test_merge_agrees_with_the_whole(hostile):
    cut = len(hostile) // 3
    parts = ColumnStats().update(hostile[:cut]).merge(ColumnStats().update(hostile[cut:]))
    whole = ColumnStats().update(hostile)
    assert (parts.rows, parts.count, parts.min, parts.max) == (whole.rows, whole.count, whole.min, whole.max)
    if whole.count:
        largest = max(abs(float(whole.min)), abs(float(whole.max)))
        assert abs(parts.mean - whole.mean) <= MEAN_RTOL * largest
        assert parts.std() == pytest.approx(whole.std(), rel=STD_RTOL, abs=MEAN_RTOL * 1e-3 * largest)


def test_merging_an_empty_state_changes_nothing(hostile):
    stats = ColumnStats(sketch=QuantileSketch()).update(hostile)
    empty = ColumnStats(sketch=QuantileSketch())
    before = stats.state()
    assert str(stats.merge(empty.copy()).state()) == str(before)
    assert str(empty.merge(stats).state()) == str(before)


def test_merge_refuses_other_kernels():
    with pytest.raises(ValueError, match="same way"):
        ColumnStats(moments=False).merge(ColumnStats())


def test_state_round_trip(hostile):
    stats = ColumnStats(sketch=QuantileSketch()).update(hostile)
    again = ColumnStats.from_state(stats.state())
    assert str(again.state()) == str(stats.state())


@pytest.mark.parametrize(
    "change",
    [{"rows": 1}, {"kind": "complex"}, {"m2": -1.0}, {"min": 9.0}, {"max": None}, {"sketch": b"?"}],
    ids=str,
)
def test_from_state_refuses_contradictions(change):
    state = ColumnStats(sketch=QuantileSketch()).update(np.array([1.0, np.nan, 2.0])).state()
    with pytest.raises(ValueError):
        ColumnStats.from_state(state | change)


def test_quantiles_are_numpys():
    values = np.random.default_rng(2).normal(size=1001)
    sketch = QuantileSketch().update(values[:400]).merge(QuantileSketch().update(values[400:]))
    q = [0.0, 0.01, 0.5, 1.0]
    assert sketch.quantile(q).tolist() == np.quantile(values, q).tolist()
    assert sketch.quantile(0.5) == np.median(values)
    assert sketch.rank(np.median(values)) == 501 / 1001
    assert QuantileSketch.from_bytes(sketch.to_bytes()).quantile(0.3) == sketch.quantile(0.3)
    assert math.isnan(QuantileSketch().quantile(0.5))


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=30),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
    st.floats(-10, 10),
)
def test_affine_inverse_undoes_affine(values, center, scale, offset):
    x = np.array(values)
    y = affine(x, center, scale, offset)
    size = np.abs(x).max(initial=0) + abs(center) + abs(offset) * scale
    assert np.abs(affine(y, center, scale, offset, inverse=True) - x).max(initial=0) <= 1e-15 * 8 * size


def test_affine_clips_casts_and_writes_in_place():
    x = np.array([-9.0, 0.5, np.nan, 9.0], dtype=np.float32)
    y = affine(x, 0.0, 2.0, 0.25, clip=(0.0, 1.0), dtype=np.float32, out=x)
    assert y is x
    np.testing.assert_array_equal(y, np.array([0.0, 0.5, np.nan, 1.0], np.float32))


def test_matrix_kernels_are_the_column_kernels_side_by_side():
    X = np.random.default_rng(3).normal(size=(31, 3)).astype(np.float32)
    columns = [ColumnStats() for _ in range(3)]
    update_matrix(columns, X)
    assert [moments_bits(c) for c in columns] == [moments_bits(ColumnStats().update(x)) for x in X.T]
    center, scale, offset = np.array([0.0, 1, 2]), np.array([1.0, 2, 3]), np.zeros(3)
    Y = affine_matrix(X, center, scale, offset)
    assert Y.dtype == np.float32
    for j in range(3):
        np.testing.assert_array_equal(Y[:, j], affine(X[:, j], center[j], scale[j], dtype=np.float32))
    with pytest.raises(ValueError, match="expected 3 columns"):
        update_matrix(columns, X[:, :2])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["float16", "float32", "strided", "nulls", "chunks", "int64"])
def test_infinities_are_skipped_as_the_kernels_skip_them(kind, weighted):
    rng = np.random.default_rng(5)
    x = rng.normal(size=4999)
    x[::11], x[5::13], x[7::17] = np.inf, -np.inf, np.nan
    w = rng.integers(0, 3, len(x)).astype(float) if weighted else None
    array = {
        "strided": np.repeat(x, 2)[::2],
        "nulls": pa.array([None if i % 5 == 0 else v for i, v in enumerate(x)]),
        "chunks": pa.chunked_array([x[:100], x[100:2500], x[2500:]]),
        "int64": np.arange(len(x)),
    }
    array = array[kind] if kind in array else x.astype(kind)
    ours = _core.ColumnStats(skip_infinite=True).update(array, w)
    twin = ColumnStats(skip_infinite=True).update(array, w)
    for name in ("rows", "null_count", "nan_count", "infinite_count", "count", "left_out", "min", "max"):
        assert getattr(ours, name) == getattr(twin, name), name
    assert ours.mean == pytest.approx(twin.mean, rel=1e-12) and ours.std() == pytest.approx(twin.std(), rel=1e-12)
    assert (ours.infinite_count > 0) == (kind != "int64")
    for stats in (ours, twin):
        again = type(stats).from_state(stats.state())
        assert again.count == ours.count and again.skips_infinite and again.infinite_count == ours.infinite_count
    with pytest.raises((TypeError, ValueError)):
        ours.copy().merge(_core.ColumnStats().update(array, w))
