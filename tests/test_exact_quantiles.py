"""Exact quantiles: NumPy's linear ones to the last bit, whatever the data."""

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from conftest import HOSTILE, SEED
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.quantiles import (
    KINDS,
    LARGEST,
    RANGES,
    TINY,
    adversarial,
    assert_quantiles,
    between,
    file_of,
    numbers,
    position,
    quantile,
    robust,
)
from support.truth import same_double

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread


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


@settings(max_examples=100)
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


@pytest.mark.parametrize("quantile_range", [*RANGES, (12.5, 62.5)], ids=str)
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
    assert_quantiles(robust(table, data.draw(st.sampled_from(RANGES))), "v", values)


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
