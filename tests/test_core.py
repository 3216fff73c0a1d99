"""The compiled kernels against their NumPy twins, on hostile columns, in any chunking, and from many threads."""

import decimal
import math
import os
import threading
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from conftest import SEED, as_doubles
from hypothesis import given
from hypothesis import strategies as st

from streamnorm import _core, reference
from streamnorm._core import ColumnStats, affine, affine_matrix, update_matrix, write_all
from streamnorm._sketch import QuantileSketch

BLOCK = 2048
MEAN_RTOL = 4e-16  # of the largest magnitude: the twin and the kernel round differently, by an ulp or two
STD_RTOL = 1e-14

DTYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?"]


def chunks(array, size):
    return [array[start : start + size] for start in range(0, max(len(array), 1), size)]


def assert_like_twin(stats, twin):
    for name in ("rows", "null_count", "nan_count", "count", "min", "max", "infinite_count"):
        assert getattr(stats, name) == getattr(twin, name), name
    assert twin.count == 0 or stats.kind == twin.kind
    if twin.count == 0:
        assert math.isnan(stats.mean) and math.isnan(stats.var())
        return
    largest = max(abs(float(twin.min)), abs(float(twin.max)))
    assert abs(stats.mean - twin.mean) <= MEAN_RTOL * largest
    for ddof in (0, 1):
        assert stats.std(ddof) == pytest.approx(twin.std(ddof), rel=STD_RTOL, abs=5e-324, nan_ok=True)


def test_statistics_are_those_of_the_twin(hostile):
    assert_like_twin(ColumnStats().update(hostile), reference.ColumnStats().update(hostile))


@pytest.mark.parametrize("size", [1, 2, 50, BLOCK - 1, BLOCK, BLOCK + 42])
def test_any_chunking_gives_the_same_bits(hostile, size):
    whole = ColumnStats(sketch=QuantileSketch()).update(hostile)
    parts = ColumnStats(sketch=QuantileSketch())
    for part in chunks(hostile, size):
        parts.update(part)
    assert repr(parts.state()) == repr(whole.state())


@pytest.mark.parametrize("size", [7, 50, 1000, BLOCK, BLOCK + 42, 6000])
def test_any_chunking_of_many_blocks_gives_the_same_bits(size):
    rng = np.random.default_rng(SEED)
    values = rng.lognormal(size=3 * BLOCK + 99) + 1e6
    values[::17] = np.nan
    array = pa.array(values, mask=rng.random(len(values)) < 0.1)
    whole = ColumnStats(sketch=QuantileSketch()).update(array)
    parts = ColumnStats(sketch=QuantileSketch())
    for part in chunks(array, size):
        parts.update(part)
    assert repr(parts.state()) == repr(whole.state())
    assert_like_twin(whole, reference.ColumnStats().update(array))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 7, 8, 63, 64, 65])
def test_sliced_arrow_arrays_of_every_type(dtype, offset):
    rng = np.random.default_rng(SEED)
    values = rng.integers(0, 2 if dtype == "?" else 100, 700).astype(dtype)
    array = pa.array(values, mask=rng.random(700) < 0.3).slice(offset, 600)
    stats = ColumnStats().update(array)
    kept = as_doubles(array)
    kept = kept[~np.isnan(kept)]
    assert (stats.count, stats.null_count) == (len(kept), array.null_count)
    assert (float(stats.min), float(stats.max)) == (kept.min(), kept.max())
    assert stats.mean == pytest.approx(kept.mean(), rel=1e-14)
    assert stats.var() == pytest.approx(kept.var(), rel=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_unaligned_and_swapped_arrays(dtype):
    plain = np.random.default_rng(SEED).integers(0, 2, 3 * BLOCK).astype(dtype)
    expected = ColumnStats().update(plain[::-3].copy()).state()
    assert ColumnStats().update(plain[::-3]).state() == expected
    packed = np.zeros(len(plain), np.dtype([("pad", "u1"), ("x", plain.dtype)]))
    packed["x"] = plain
    assert ColumnStats().update(packed["x"][::-3]).state() == expected
    assert ColumnStats().update(plain[::-3].astype(plain.dtype.newbyteorder(">"))).state() == expected


def test_what_stands_under_a_null_does_not_count():
    values = np.array([1.0, np.inf, np.nan, 3.0])
    array = pa.Array.from_buffers(pa.float64(), 4, [pa.py_buffer(bytes([0b1001])), pa.py_buffer(values)])
    stats = ColumnStats().update(array)
    assert (stats.count, stats.null_count, stats.nan_count, stats.infinite_count, stats.mean) == (2, 2, 0, 0, 2.0)
    wide = np.array([5, 2**63 - 1, 7, -(2**63)])
    array = pa.Array.from_buffers(pa.int64(), 4, [pa.py_buffer(bytes([0b0101])), pa.py_buffer(wide)])
    stats = ColumnStats().update(array)
    assert (stats.min, stats.max) == (5, 7)


@pytest.mark.parametrize(
    "values",
    [
        [2**53 + 1, 2**53 + 3],
        [-(2**63), 2**63 - 1],
        [-(2**53) - 1, 0],
        [-(2**53), 0],
        [-(2**53)] * BLOCK + [-(2**53) - 1],
        [2**62 + 1, None, 5],
    ],
    ids=lambda values: f"{values[0]}..{values[-1]}",
)
def test_integers_past_2_53_keep_their_exact_extrema(values):
    kept = [v for v in values if v is not None]
    stats = ColumnStats().update(pa.array(values, pa.int64()))
    assert (stats.min, stats.max) == (min(kept), max(kept))
    assert ColumnStats.from_state(stats.state()).state() == stats.state()
    other = ColumnStats().update(np.array([2**60 + 7]))
    assert other.merge(stats).max == max(2**60 + 7, *kept)


def test_unsigned_integers_past_2_63():
    stats = ColumnStats().update(np.array([2**64 - 1, 2**63 + 1], np.uint64))
    assert (stats.min, stats.max) == (2**63 + 1, 2**64 - 1)


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38))
def test_decimals_are_rounded_once(unscaled, scale):
    value = decimal.Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))
    array = pa.array([value], pa.decimal128(38, scale))
    stats = ColumnStats().update(array)
    assert stats.mean == float(Fraction(unscaled, 10**scale))
    assert stats.min == value and stats.max == value
    assert ColumnStats.from_state(stats.state()).min == value


def test_decimals_of_two_scales_do_not_mix():
    money = ColumnStats().update(pa.array([decimal.Decimal("1.10")]))
    for other in (pa.array([decimal.Decimal("1.100")]), np.array([1.0])):
        with pytest.raises(TypeError, match="do not mix"):
            money.update(other)
    assert money.count == 1 and money.min == decimal.Decimal("1.10")


@pytest.mark.parametrize(
    "kind", [pa.date32(), pa.date64(), pa.timestamp("us", "UTC"), pa.duration("s"), pa.time64("ns")], ids=str
)
def test_temporal_values_count_as_their_integers(kind):
    storage = pa.int32() if kind.bit_width == 32 else pa.int64()
    numbers = pa.array([0, None, 86_400_000], storage)
    assert ColumnStats().update(numbers.view(kind)).state() == ColumnStats().update(numbers).state()


def test_encoded_arrays_are_decoded():
    plain = pa.array([1.5, 2.5, None, 1.5])
    expected = ColumnStats().update(plain).state()
    assert ColumnStats().update(plain.dictionary_encode()).state() == expected
    assert ColumnStats().update(pa.chunked_array([plain.dictionary_encode()])).state() == expected
    ends = pa.RunEndEncodedArray.from_arrays([2, 3], [7, 9])
    assert ColumnStats().update(ends).state() == ColumnStats().update(pa.array([7, 7, 9])).state()


@pytest.mark.parametrize("values", [pa.array(["a"]), pa.array([[1]]), np.array(["a"]), np.array([1j]), np.ones((2, 2))])
def test_other_values_are_refused(values):
    with pytest.raises((TypeError, ValueError)):
        ColumnStats().update(values)


def test_infinities_are_counted_and_kept_out_of_the_sums():
    stats = ColumnStats().update(np.array([1.0, np.inf, -np.inf, 2.0, np.nan]))
    assert (stats.count, stats.infinite_count, stats.min, stats.max) == (4, 2, -math.inf, math.inf)
    assert math.isnan(stats.mean) and math.isnan(stats.std())
    assert ColumnStats.from_state(stats.state()).infinite_count == 2


@pytest.mark.parametrize("scale", [1e308, 1e160, 1e-160, 1e-310])
def test_magnitudes_at_the_ends_of_the_range(scale):
    values = np.array([1.0, 0.25, 0.5, 1.0]) * scale
    stats = ColumnStats().update(values)
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / 4
    var = sum((v - mean) ** 2 for v in exact) / 4
    assert stats.mean == pytest.approx(float(mean), rel=1e-15, abs=5e-324)
    rtol = Fraction(1, 10**14 if scale > 1e-300 else 10**12)  # a denormal has fewer bits
    assert abs(Fraction(stats.std()) ** 2 - var) <= rtol * var
    merged = ColumnStats().update(values[:1])
    for value in values[1:]:
        merged.merge(ColumnStats().update(np.array([value])))
    assert merged.std() == pytest.approx(stats.std(), rel=1e-14, abs=5e-324)


def test_a_merge_is_the_union(hostile):
    cut = len(hostile) // 3
    parts = ColumnStats().update(hostile[:cut]).merge(ColumnStats().update(hostile[cut:]))
    assert_like_twin(parts, reference.ColumnStats().update(hostile))
    before = repr(parts.state())
    assert repr(parts.merge(ColumnStats()).state()) == before
    assert repr(ColumnStats().merge(parts).state()) == before


def test_a_merge_wants_the_same_statistics():
    with pytest.raises(TypeError, match="same statistics"):
        ColumnStats().merge(ColumnStats(moments=False))
    with pytest.raises(TypeError, match="same statistics"):
        ColumnStats().merge(ColumnStats(sketch=QuantileSketch()))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 1}, {"rows": -1}, {"nan_count": 9}, {"kind": "complex"}, {"kind": None}, {"m2": -1.0},
        {"m2": math.nan},
        {"min": 9.0}, {"max": None}, {"mean_lo": 1.0}, {"exponent": 3}, {"infinite_count": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_that_contradicts_itself_is_refused(change):
    state = ColumnStats().update(np.array([1.0, np.nan, 2.0])).state()
    with pytest.raises(ValueError):
        ColumnStats.from_state(state | change)


def test_threads_may_share_a_column():
    x = np.random.default_rng(SEED).normal(size=20_000)
    stats = ColumnStats(sketch=QuantileSketch())
    threads = [threading.Thread(target=lambda: [stats.update(x) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats.count == stats.sketch.count == 80 * len(x)
    assert stats.mean == pytest.approx(x.mean(), abs=1e-12)
    assert stats.std() == pytest.approx(x.std(), rel=1e-12)


@pytest.mark.parametrize("out", ["f2", "f4", "f8"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inverse", [False, True])
def test_affine_is_that_of_the_twin(dtype, out, inverse):
    x = np.random.default_rng(SEED).integers(0, 2 if dtype == "?" else 90, BLOCK + 99).astype(dtype)
    for array in (x, x[::-2], pa.array(x).slice(13)):
        for clip in (None, (-0.5, 4.0)):
            arguments = dict(clip=clip, inverse=inverse, dtype=out)
            got = affine(array, 3.5, 7.0, 0.25, **arguments)
            np.testing.assert_array_equal(got, reference.affine(array, 3.5, 7.0, 0.25, **arguments), strict=True)


@pytest.mark.parametrize("out", ["f2", "f4", "f8"])
@pytest.mark.parametrize("kind", ["i1", "i8", "f2", "f4", "f8", "?", "decimal", "dictionary", "null"])
def test_affine_of_a_column_in_chunks_is_that_of_the_twin(kind, out):
    values = pa.array([None if i % 7 == 3 else i % 2 for i in range(1, 400)], pa.int8())
    if kind == "null":
        column = pa.nulls(len(values))
    elif kind == "dictionary":
        column = values.dictionary_encode()
    else:
        column = values.cast(pa.decimal128(9, 2) if kind == "decimal" else pa.from_numpy_dtype(kind))
    chunked = pa.chunked_array([column[:100], column[100:100], column[101:109], column[109:]])
    present = np.asarray(chunked.is_valid()) | (kind == "null")
    for arguments in (dict(clip=(-0.5, 0.01)), dict(inverse=True)):
        room, expected = np.zeros(len(chunked), out), np.zeros(len(chunked), out)
        assert affine(chunked, 3.5, 7.0, 0.25, dtype=out, out=room, **arguments) is room
        plain = chunked.cast(pa.int8()) if kind in ("dictionary", "null") else chunked
        reference.affine(plain, 3.5, 7.0, 0.25, dtype=out, out=expected, **arguments)
        np.testing.assert_array_equal(room[present], expected[present], strict=True)
        assert room.any()  # it was written to


def test_affine_of_chunks_wants_room_for_all_of_them():
    chunked = pa.chunked_array([[1.0, 2.0], [3.0]])
    for rows in (2, 4):
        with pytest.raises(ValueError, match=f"out has room for {rows} values"):
            affine(chunked, 0.0, 1.0, out=np.empty(rows))
    for out in (np.empty(3, np.float32), np.empty((3, 1)), np.empty(6)[::2]):
        with pytest.raises(ValueError, match="contiguous float64 array of one dimension"):
            affine(chunked, 0.0, 1.0, out=out)


def test_affine_keeps_nan_infinity_and_signed_zero():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0])
    for inverse in (False, True):
        y = affine(x, 0.0, 1.0, inverse=inverse)
        np.testing.assert_array_equal(y, x)
        assert np.signbit(y).tolist() == np.signbit(x).tolist()
    assert np.isnan(affine(x, 0.0, 1.0, clip=(-1.0, 1.0))[0])


def test_halves_are_rounded_to_nearest_even():
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    numbers = ~np.isnan(every)
    np.testing.assert_array_equal(affine(every, 0, 1, dtype="f2")[numbers], every[numbers])
    x = np.random.default_rng(SEED).normal(size=9999) * 10.0 ** np.random.default_rng(1).integers(-9, 6, 9999)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(affine(x, 0, 1, dtype="f2"), x.astype(np.float16))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_are_columns_side_by_side(dtype, order):
    X = np.asarray(np.random.default_rng(SEED).integers(-50, 50, (BLOCK + 33, 3)), dtype, order=order)
    columns = [ColumnStats() for _ in range(3)]
    update_matrix(columns, X)
    assert [c.state() for c in columns] == [ColumnStats().update(x).state() for x in X.T]
    center, scale, clip = np.array([0.0, 1, 2]), np.array([1.0, 2, 3]), [None, (-1.0, 1.0), None]
    for inverse in (False, True):
        Y = affine_matrix(X, center, scale, np.zeros(3), clip=clip, inverse=inverse)
        assert Y.dtype == (X.dtype if X.dtype.kind == "f" else np.float64)
        for j in range(3):
            expected = affine(X[:, j], center[j], scale[j], clip=clip[j], inverse=inverse, dtype=Y.dtype)
            np.testing.assert_array_equal(Y[:, j], expected)


def test_matrix_arguments_are_checked():
    columns = [ColumnStats(), ColumnStats()]
    with pytest.raises(ValueError, match="of its own"):
        update_matrix([columns[0], columns[0]], np.ones((3, 2)))
    with pytest.raises(ValueError, match="shape"):
        update_matrix(columns, np.ones((3, 3)))
    with pytest.raises(TypeError):
        update_matrix([columns[0], None], np.ones((3, 2)))
    update_matrix(columns, np.ones((3, 2)))  # no lock was left behind
    assert columns[0].count == 3


def test_write_all_writes_all(tmp_path):
    data = os.urandom(700_001)
    with open(tmp_path / "x", "wb", buffering=0) as file:
        assert write_all(file.fileno(), data) == len(data)
        assert write_all(file.fileno(), b"") == 0
    assert (tmp_path / "x").read_bytes() == data
    with open(tmp_path / "x", "rb") as file, pytest.raises(OSError, match="(?i)bad file descriptor"):
        write_all(file.fileno(), data)


def test_twins_have_the_kernels_arguments():
    for name in ("affine", "affine_matrix", "update_matrix"):
        assert hasattr(reference, name) and hasattr(_core, name)
    for name in ("update", "merge", "copy", "state", "from_state", "var", "std"):
        assert hasattr(reference.ColumnStats, name) and hasattr(ColumnStats, name)
