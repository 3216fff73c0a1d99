"""Weights of rows: kernels against NumPy and their twins, certificates on hostile weights, and merge trees."""

import contextlib
import math
import pickle
import struct
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from conftest import SEED, as_doubles
from hypothesis import given
from hypothesis import strategies as st
from test_sketch import FAILURE_RATE, RANKS, reseal, split

from streamnorm import Extrema, Moments, reference
from streamnorm._core import ColumnStats, update_matrix
from streamnorm._sketch import QuantileSketch, Weights
from streamnorm.errors import DataError, StateError

BLOCK = 2048
MEAN_RTOL = 4e-16  # of the largest magnitude
STD_RTOL = 1e-12  # of a weighted standard deviation, and what "equal" means for weights 1 and repeated rows
EXACT_UP_TO = 4095  # weighted values that a sketch of error 0.001 holds at the least
ROUNDING = 1e-12  # of a rank: sums of weights are rounded


def weights_like(array, seed=SEED):
    """Positive weights of all sizes, some zero, some missing."""
    rng = np.random.default_rng(seed)
    weights = rng.pareto(1.2, len(array)) + 0.01
    weights[rng.random(len(array)) < 0.2] = 0.0
    weights[rng.random(len(array)) < 0.1] = np.nan
    return weights


WEIGHTS = {
    "ones": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.random(n),
    "integers": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "pareto": lambda rng, n: rng.pareto(1.1, n),
    "heavy pareto": lambda rng, n: rng.pareto(0.4, n),
    "lognormal": lambda rng, n: np.exp(3 * rng.normal(size=n)),
    "one huge first": lambda rng, n: np.r_[1e9, np.ones(n - 1)],
    "one huge last": lambda rng, n: np.r_[np.ones(n - 1), 1e9],
    "one of half": lambda rng, n: np.r_[np.ones(n // 2), n / 2, np.ones(n - n // 2 - 1)],
    "rising": lambda rng, n: np.exp(np.arange(n) * (300 / n)),
    "falling": lambda rng, n: np.exp(-np.arange(n) * (300 / n)),
    "denormal": lambda rng, n: rng.integers(0, 1000, n) * 5e-324,
    "denormal and not": lambda rng, n: np.where(rng.random(n) < 0.5, 1e-310, rng.random(n)),
    "large": lambda rng, n: rng.random(n) * 1e145,
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.random(n)),
}


# ---- moments ----


def test_statistics_are_those_of_the_twin(hostile):
    weights = weights_like(hostile)
    ours, twin = ColumnStats().update(hostile, weights), reference.ColumnStats().update(hostile, weights)
    for name in ("rows", "null_count", "nan_count", "count", "left_out", "min", "max", "infinite_count"):
        assert getattr(ours, name) == getattr(twin, name), name
    assert ours.weighted == twin.weighted and ours.weight == pytest.approx(twin.weight, rel=1e-15)
    if twin.count == 0:
        assert math.isnan(ours.mean) and ours.weight == 0
        return
    largest = max(abs(float(twin.min)), abs(float(twin.max)))
    assert abs(ours.mean - twin.mean) <= 2 * MEAN_RTOL * largest
    for ddof in (0, 0.5):
        least = 1e-15 * largest if ours.std(ddof) < 1e-15 * largest else 5e-324
        assert ours.std(ddof) == pytest.approx(twin.std(ddof), rel=STD_RTOL, abs=least, nan_ok=True)


def test_the_twin_agrees_with_numpy(hostile):
    weights = np.nan_to_num(weights_like(hostile))
    values = as_doubles(hostile)
    kept = ~np.isnan(values) & (weights > 0)
    twin = reference.ColumnStats(sketch=reference.QuantileSketch()).update(hostile, weights)
    assert twin.count == np.count_nonzero(kept)
    if not kept.any() or np.abs(values[kept]).max() > 1e150:
        return
    mean = np.average(values[kept], weights=weights[kept])
    assert twin.mean == pytest.approx(mean, rel=1e-14, abs=1e-15 * np.abs(values[kept]).max())
    deviations = values[kept] - twin.mean
    var = np.average(deviations**2, weights=weights[kept])
    assert twin.var() == pytest.approx(var, rel=1e-11, abs=1e-30 * np.square(values[kept]).max())
    expected = np.quantile(values[kept], RANKS, weights=weights[kept], method="inverted_cdf")
    assert twin.sketch.quantile(RANKS).tolist() == expected.tolist()


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_moments_with_all_sorts_of_weights(name, offset):
    rng = np.random.default_rng(SEED)
    n = 3 * BLOCK + 77
    values, weights = rng.lognormal(size=n) + offset, WEIGHTS[name](rng, n)
    stats = ColumnStats().update(values, weights)
    exact = [Fraction(w) for w in weights]
    total = sum(exact)
    mean = sum(w * Fraction(v) for w, v in zip(exact, values, strict=True)) / total
    var = sum(w * (Fraction(v) - mean) ** 2 for w, v in zip(exact, values, strict=True)) / total
    assert stats.weight == float(total)
    assert abs(stats.mean - float(mean)) <= MEAN_RTOL * np.abs(values).max()
    noise = (1e-16 * offset) ** 2  # of the variance: values about 1e9 are 1e-7 apart
    assert stats.var() == pytest.approx(float(var), rel=STD_RTOL, abs=noise)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e-320])
@pytest.mark.parametrize("heaviness", [1e-300, 1.0, 1e140])
def test_moments_at_both_ends_of_the_doubles(scale, heaviness):
    rng = np.random.default_rng(SEED)
    values, weights = rng.normal(size=5000) + 3, rng.random(5000)
    scaled = np.ldexp(values, round(math.log2(scale)))
    plain, stats = ColumnStats().update(values, weights), ColumnStats().update(scaled, weights * heaviness)
    unit = math.ldexp(1.0, round(math.log2(scale)))
    rtol = 1e-3 if scale < 1e-310 else STD_RTOL  # denormals have few bits
    assert stats.mean / unit == pytest.approx(plain.mean, rel=rtol)
    assert stats.std() / unit == pytest.approx(plain.std(), rel=rtol)


def test_powers_of_two_do_not_change_a_bit():
    rng = np.random.default_rng(SEED)
    values, weights = rng.lognormal(size=9000), rng.random(9000)
    plain = ColumnStats().update(values, weights)
    for power in (-90, 7, 40):
        other = ColumnStats().update(values, np.ldexp(weights, power))
        assert (other.mean, other.mean_lo, other.var()) == (plain.mean, plain.mean_lo, plain.var())


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 5)), max_size=60), st.integers(0, 3))
def test_whole_weights_are_repeated_rows(rows, ddof):
    values, weights = np.array(rows).reshape(-1, 2).T
    weighted = ColumnStats().update(values, weights)
    repeated = ColumnStats().update(np.repeat(values, weights.astype(int)))
    assert weighted.weight == repeated.weight == repeated.count
    assert (weighted.min, weighted.max) == (repeated.min, repeated.max)
    if repeated.count:
        largest = max(abs(repeated.min), abs(repeated.max))
        assert weighted.mean == pytest.approx(repeated.mean, rel=STD_RTOL, abs=MEAN_RTOL * largest)
        floor = 4e-16 * largest
        assert weighted.std(ddof) == pytest.approx(repeated.std(ddof), rel=STD_RTOL, abs=floor, nan_ok=True)


def test_weights_of_one_are_no_weights(hostile):
    plain, ones = ColumnStats().update(hostile), ColumnStats().update(hostile, np.ones(len(hostile)))
    assert ones.left_out == 0 and ones.weight == ones.count == plain.weight
    for name in ("rows", "null_count", "nan_count", "count", "min", "max"):
        assert getattr(ones, name) == getattr(plain, name), name
    largest = max(abs(float(plain.min)), abs(float(plain.max))) if plain.count else 1.0
    assert ones.mean == pytest.approx(plain.mean, rel=STD_RTOL, abs=MEAN_RTOL * largest, nan_ok=True)
    assert ones.std() == pytest.approx(plain.std(), rel=STD_RTOL, abs=5e-324, nan_ok=True)


@pytest.mark.parametrize("size", [1, 7, 50, BLOCK - 1, BLOCK, BLOCK + 42, 6000])
@pytest.mark.parametrize("moments", [True, False])
def test_any_chunking_gives_the_same_bits(size, moments):
    rng = np.random.default_rng(SEED)
    values = rng.lognormal(size=3 * BLOCK + 99) + 1e6
    values[::17] = np.nan
    array = pa.array(values, mask=rng.random(len(values)) < 0.1)
    weights = weights_like(array)
    whole = ColumnStats(moments=moments, sketch=QuantileSketch(0.01)).update(array, weights)
    parts = ColumnStats(moments=moments, sketch=QuantileSketch(0.01))
    for start in range(0, len(array), size):
        parts.update(array[start : start + size], weights[start : start + size])
    assert repr(parts.state()) == repr(whole.state())
    assert pickle.loads(pickle.dumps(whole)).state() == whole.state()
    again = ColumnStats.from_state(whole.state()).update(array, weights)
    assert again.weight == whole.update(array, weights).weight and again.left_out == whole.left_out


def test_rows_before_the_first_weights_weigh_one():
    rng = np.random.default_rng(SEED)
    values, weights = rng.normal(size=5000), rng.random(5000)
    at = 2500  # in the middle of a block
    stats = ColumnStats(sketch=QuantileSketch()).update(values[:at]).update(values[at:], weights[at:])
    ones = np.r_[np.ones(at), weights[at:]]
    expected = ColumnStats(sketch=QuantileSketch()).update(values, ones)
    assert stats.mean == pytest.approx(expected.mean, rel=1e-14) and stats.weight == expected.weight
    assert stats.sketch.quantile(RANKS).tolist() == expected.sketch.quantile(RANKS).tolist()
    after = stats.update(values)  # without weights again
    assert after.weight == pytest.approx(expected.weight + 5000, rel=1e-15)


@pytest.mark.parametrize("dtype", ["i1", "i8", "u8", "f2", "f4", "f8", "?"])
@pytest.mark.parametrize("offset", [0, 3, 8, 65])
def test_rows_of_weight_zero_are_not_looked_at(dtype, offset):
    rng = np.random.default_rng(SEED)
    values = rng.integers(0, 2 if dtype == "?" else 100, 5000).astype(dtype)
    array = pa.array(values, mask=rng.random(5000) < 0.3).slice(offset, 4500)
    weights = rng.integers(0, 3, 4500)
    kept = array.filter(pa.array(weights > 0))
    stats, without = ColumnStats().update(array, weights), ColumnStats().update(kept)
    assert (stats.rows, stats.left_out) == (4500, np.count_nonzero(weights == 0))
    for name in ("count", "null_count", "nan_count", "min", "max", "kind"):
        assert getattr(stats, name) == getattr(without, name), name


def test_what_a_zero_hides():
    wide = np.array([2**63 - 1, 5, 2**60 + 1, -(2**63)])
    stats = ColumnStats().update(wide, [0, 1, 1, np.nan])
    assert (stats.min, stats.max, stats.count, stats.left_out) == (5, 2**60 + 1, 2, 2)
    hidden = ColumnStats(sketch=QuantileSketch()).update(np.array([np.inf, np.nan, 2.0]), [0, 0, 1])
    assert (hidden.infinite_count, hidden.nan_count, hidden.mean, hidden.sketch.max) == (0, 0, 2.0, 2.0)
    nulls = ColumnStats().update(pa.nulls(4), [0, 1, 2, 0])
    assert (nulls.null_count, nulls.left_out, nulls.count) == (2, 2, 0)
    with_sketch = ColumnStats(sketch=QuantileSketch()).update(pa.nulls(2), [0, 1])
    assert with_sketch.sketch.weighted and ColumnStats.from_state(with_sketch.state()).state() == with_sketch.state()
    infinite = ColumnStats().update(np.array([1.0, np.inf]), [3.0, 0.5])
    assert (infinite.infinite_count, infinite.weight) == (1, 3.5) and math.isnan(infinite.mean)


def test_matrices_and_kernels():
    rng = np.random.default_rng(SEED)
    X, weights = rng.normal(size=(5000, 3)), weights_like(np.empty(5000))
    columns = [ColumnStats() for _ in range(3)]
    update_matrix(columns, X, weights)
    for j, column in enumerate(columns):
        assert column.state() == ColumnStats().update(np.ascontiguousarray(X[:, j]), weights).state()
    moments = Moments().update(X[:, 0], weights)
    extrema = Extrema().update(X[:, 0], pa.array(weights, from_pandas=True))
    assert (moments.mean, moments.weight) == (columns[0].mean, columns[0].weight)
    assert (extrema.min, extrema.max) == (columns[0].min, columns[0].max)
    with pytest.raises(ValueError, match="weigh the same"):
        Moments(exact=True).update(X[:, 0], weights)
    with pytest.raises(ValueError, match="weigh the same"):
        update_matrix([ColumnStats(exact=True)], X[:, :1], weights)
    chunked = pa.chunked_array([X[:10, 0], X[10:10, 0], X[10:, 0]])
    assert ColumnStats().update(chunked, weights).state() == columns[0].state()


@pytest.mark.parametrize("merge_first", [0, 1, 2])
def test_merge_trees_agree(merge_first):
    rng = np.random.default_rng(SEED)
    values, weights = rng.lognormal(size=20_000) + 1e5, weights_like(np.empty(20_000))
    parts = [ColumnStats() for _ in range(4)]
    for part, v, w in zip(parts, np.array_split(values, 4), np.array_split(weights, 4), strict=True):
        part.update(v, w)
    whole = ColumnStats().update(values, weights)
    pair = parts.pop(merge_first).merge(parts.pop(merge_first))
    merged = ColumnStats().merge(parts[0]).merge(pair).merge(parts[1])
    assert merged.weight == whole.weight and merged.left_out == whole.left_out
    assert merged.mean == pytest.approx(whole.mean, rel=1e-15)
    assert merged.var() == pytest.approx(whole.var(), rel=STD_RTOL)
    before = merged.state()
    assert merged.merge(ColumnStats()).state() == before
    plain = ColumnStats().update(values)
    assert plain.copy().merge(merged).weight == pytest.approx(20_000 + merged.weight, rel=1e-15)
    assert plain.merge(merged).mean == pytest.approx(merged.merge(ColumnStats().update(values)).mean, rel=1e-15)


# ---- what is no weight ----


@pytest.mark.parametrize("bad", [-1.0, -5e-324, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 3000])
def test_negative_and_infinite_weights_are_refused(bad, at):
    values, weights = np.arange(4000.0), np.ones(4000)
    weights[at] = bad
    stats, sketch = ColumnStats(), QuantileSketch()
    for refuse in (
        lambda: stats.update(values, weights),
        lambda: sketch.update(values, weights),
        lambda: update_matrix([stats], values[:, None], weights),
        lambda: Weights(weights),
    ):
        with pytest.raises(DataError, match=f"row {at} has {bad:g}"):
            refuse()
    assert stats.rows == sketch.count == 0 and not stats.weighted and not sketch.weighted


def test_sums_near_overflow_are_refused():
    values = np.arange(3.0)
    for weights in ([1e308] * 3, [2e150, 2e150, 0], [0, 0, 1.7e308]):
        for taker in (ColumnStats(), QuantileSketch()):
            with pytest.raises(DataError, match="divide all of them"):
                taker.update(values, weights)
    for kind in (ColumnStats, QuantileSketch):
        half = kind().update(values, [2e150, 0, 0])
        with pytest.raises(DataError, match="divide all of them"):
            half.copy().update(values, [2e150, 0, 0])
        with pytest.raises(DataError, match="divide all of them"):
            half.merge(half.copy())
        assert half.weight == 2e150


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([1.0], "1 weights for 3"),
        (np.ones((3, 1)), "one dimension"),
        (["a", "b", "c"], "numbers"),
        (2.0, "one dimension"),
    ],
)
def test_other_things_are_no_weights(weights, problem):
    for taker in (ColumnStats(), QuantileSketch()):
        with pytest.raises((TypeError, ValueError), match=problem):
            taker.update(np.arange(3.0), weights)


def test_weights_of_many_kinds():
    expected = ColumnStats().update(np.arange(4.0), [1.0, 0.0, 2.0, 0.0]).state()
    kinds = [
        pa.array([1, 0, 2, None]),
        pa.chunked_array([[1.0], [0.0, 2.0, None]]),
        pa.array([Decimal(1), Decimal(0), Decimal(2), None], pa.decimal128(9, 2)),
        np.array([1, 0, 2, 0], "u1"),
        np.array([1, 0, 2, np.nan], "f2")[::1],
        [1, 0, 2, None],
        Weights([1, 0, 2, 0]),
        Weights([9, 1, 0, 2, 0])[1:],
    ]
    for weights in kinds:
        if isinstance(weights, list):
            weights = np.array(weights, dtype=object)
        assert ColumnStats().update(np.arange(4.0), weights).state() == expected


# ---- the sketch while it holds everything ----


@pytest.mark.parametrize("n", [1, 2, 3, 10, 500, BLOCK - 1, BLOCK, BLOCK + 1, EXACT_UP_TO])
@pytest.mark.parametrize("name", ["ones", "uniform", "integers", "pareto", "heavy pareto", "one of half", "rising"])
def test_small_is_numpy_bit_for_bit(n, name):
    rng = np.random.default_rng(n)
    values = rng.normal(size=n)
    weights = np.maximum(WEIGHTS[name](rng, n), np.arange(n) == 0)  # not all zero
    q = np.concatenate([RANKS[:-1], rng.random(50), [0.1 + 0.2, 5e-324]])
    sketch = QuantileSketch().update(values, weights)
    assert sketch.rank_error == sketch.rank_error_worst == 0
    expected = np.quantile(values, q, weights=weights, method="inverted_cdf")
    assert sketch.quantile(q).tobytes() == expected.tobytes()
    assert sketch.quantile(1) == values[weights > 0].max() and sketch.quantile(0) == values[weights > 0].min()
    twin = reference.QuantileSketch().update(values, weights)
    points = np.concatenate([values[:20], values[:20] + 0.5])
    np.testing.assert_allclose(sketch.rank(points), twin.rank(points), rtol=0, atol=ROUNDING)


def test_ties_and_neighbours_are_in_order():
    """Values that differ in the last bits alone, and many that do not differ at all."""
    rng = np.random.default_rng(SEED)
    for values in (1 + rng.integers(0, 3000, 3000) * 2.0**-52, rng.integers(0, 3, 3000) * 1.0, np.full(3000, 2.5)):
        weights = rng.integers(1, 9, len(values))
        expected = np.quantile(values, RANKS, weights=weights, method="inverted_cdf")
        assert QuantileSketch().update(values, weights).quantile(RANKS).tolist() == expected.tolist()


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(0, 5)), min_size=1, max_size=60))
def test_whole_weights_have_the_quantiles_of_repeated_values(rows):
    values, weights = zip(*rows, strict=True)
    repeated = np.repeat(values, weights)
    sketch = QuantileSketch().update(values, weights)
    assert sketch.count == np.count_nonzero(weights)
    if len(repeated):
        between = RANKS[:-1] + 1e-5  # no multiple of 1 / n, where NumPy's two ways round differently
        ours, theirs = sketch.quantile(between), np.quantile(repeated, between, method="inverted_cdf")
        assert ours.tolist() == theirs.tolist()


# ---- its bound ----


def true_ranks(values, weights, points):
    order = np.argsort(values, kind="stable")
    upto = np.concatenate([[0.0], np.cumsum(weights[order])])
    return upto[np.searchsorted(values[order], points, side="right")] / upto[-1]


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(("error", "n"), [(0.001, 60_000), (0.02, 60_000)])
def test_bound_holds(name, error, n):
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=n), WEIGHTS[name](rng, n)
    points = np.quantile(values, RANKS)
    truth = true_ranks(values, weights, points)
    failures = 0
    for seed in range(4):
        sketch = QuantileSketch(error, seed).update(values, weights)
        assert sketch.rank_error <= error and (sketch.rank_error > 0 or sketch.count < 3 * BLOCK)
        # What holds everything takes 16 bytes a pair; a few blocks, and half as much again, as without weights.
        assert sketch.nbytes <= 2 * (60 / error + 80_000)
        errors = np.abs(sketch.rank(points) - truth)
        assert errors.max() <= sketch.rank_error_worst + ROUNDING
        failures += np.count_nonzero(errors > sketch.rank_error + ROUNDING)
        answers = sketch.quantile(RANKS)
        heaviest = 2 * weights.max() / weights.sum()  # the rank of a heavy value is a wide step
        assert (np.abs(true_ranks(values, weights, answers) - RANKS) <= 3 * sketch.rank_error + heaviest).all()
        kept = values[weights > 0]
        assert (answers[0], answers[-1]) == (kept.min(), kept.max())
    assert failures <= max(1, 4 * len(RANKS) * FAILURE_RATE)


@pytest.mark.parametrize("name", ["ones", "pareto", "one of half", "denormal"])
@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_intervals_hold_the_truth(name, confidence):
    rng = np.random.default_rng(4)
    values, weights = rng.normal(size=40_000), WEIGHTS[name](rng, 40_000)
    q = np.linspace(0, 1, 51)
    truth = np.quantile(values, q, weights=weights, method="inverted_cdf")
    missed = 0
    for seed in range(4):
        sketch = QuantileSketch(0.02, seed).update(values, weights)
        low, high = sketch.value_interval(q, confidence)
        missed += np.count_nonzero((truth < low) | (truth > high))
        answers = sketch.quantile(q)
        rank_low, rank_high = sketch.rank_interval(q, confidence)
        upto = true_ranks(values, weights, answers)
        below = true_ranks(values, weights, np.nextafter(answers, -np.inf))
        missed += np.count_nonzero((upto < rank_low - ROUNDING) | (below > rank_high + ROUNDING))
        assert (rank_low <= q).all() and (q <= rank_high).all() and (low <= high).all()
    assert missed <= 8 * len(q) * (1 - confidence)
    small = QuantileSketch().update(values[:50], weights[:50])
    assert small.value_interval(q)[0].tolist() == small.value_interval(q)[1].tolist() == small.quantile(q).tolist()


@pytest.mark.parametrize("name", ["ones", "uniform", "pareto", "one of half"])
def test_bound_is_neither_broken_nor_silly(name):
    rng = np.random.default_rng(2)
    values, weights = rng.normal(size=30_000), WEIGHTS[name](rng, 30_000)
    truth = true_ranks(values, weights, 0.3)
    sketches = [QuantileSketch(0.02, seed).update(values, weights) for seed in range(300)]
    observed = np.quantile([abs(sketch.rank(0.3) - truth) for sketch in sketches], 1 - FAILURE_RATE)
    bound = sketches[0].rank_error
    assert bound / 10 <= observed <= bound
    assert abs(np.mean([sketch.rank(0.3) for sketch in sketches]) - truth) <= observed / 3
    assert {sketch.rank_error for sketch in sketches} == {bound}  # it does not depend on the coins


def test_a_heavy_value_stays_exact():
    rng = np.random.default_rng(3)
    values, weights = rng.normal(size=100_000), np.ones(100_000)
    weights[31_000] = 1e7
    sketch = QuantileSketch(0.01).update(values, weights)
    assert sketch.quantile([0.1, 0.5, 0.9]).tolist() == [values[31_000]] * 3
    assert sketch.rank_error <= 1e-3


@pytest.mark.parametrize("lengths", [[1], [2, 3, 5], [BLOCK - 1], [BLOCK], [BLOCK + 1, 1], [7, 0, 30_011]])
def test_chunking_does_not_matter(lengths):
    rng = np.random.default_rng(5)
    values = rng.normal(size=20_042)
    values[rng.random(20_042) < 0.2] = np.nan
    weights = weights_like(values)
    whole, cut = QuantileSketch(0.05, 6).update(values, weights), QuantileSketch(0.05, 6)
    for piece, heavy in zip(split(values, lengths), split(weights, lengths), strict=True):
        cut.update(piece, heavy).update(piece[:0], heavy[:0])
    assert cut.to_bytes() == whole.to_bytes() and cut.rank_error > 0


@pytest.mark.parametrize("plain_parts", [False, True])
@pytest.mark.parametrize("name", ["uniform", "pareto", "one of half", "denormal and not"])
def test_bound_survives_merging(name, plain_parts):
    """Balanced and lopsided trees, through bytes; with `plain_parts`, every other part has no weights."""
    rng = np.random.default_rng(11)
    n, points = 60_000, np.linspace(-2, 2, 41)
    values, weights = rng.normal(size=n), WEIGHTS[name](rng, n)
    lengths = [9_000, 17, BLOCK, 5_001]
    failures = 0
    for seed in range(3):
        parts, at = [], 0
        for i, piece in enumerate(split(values, lengths)):
            heavy = slice(at, at + len(piece))
            at += len(piece)
            if plain_parts and i % 2:
                weights[heavy] = 1.0
                parts.append(QuantileSketch(0.02, seed).update(piece))
            else:
                parts.append(QuantileSketch(0.02, seed).update(piece, weights[heavy]))
        truth = true_ranks(values, weights, points)
        tree = [part.copy() for part in parts]
        while len(tree) > 1:
            tree = [a.merge(b) for a, b in zip(tree[::2], tree[1::2], strict=False)] + tree[len(tree) // 2 * 2 :]
        chain = parts[-1].copy()
        for part in parts[:-1]:
            chain = QuantileSketch.from_bytes(chain.to_bytes()).merge(QuantileSketch.from_bytes(part.to_bytes()))
        for merged in (tree[0], chain):
            assert merged.count == np.count_nonzero(weights) and merged.weighted
            assert merged.weight == pytest.approx(weights.sum(), rel=1e-13)
            assert 0 < merged.rank_error <= 0.02
            errors = np.abs(merged.rank(points) - truth)
            assert errors.max() <= merged.rank_error_worst + ROUNDING
            failures += np.count_nonzero(errors > merged.rank_error + ROUNDING)
    assert failures <= max(1, 6 * len(points) * FAILURE_RATE)


def test_merging_nothing_changes_nothing():
    values = np.random.default_rng(12).normal(size=50_000)
    sketch = QuantileSketch(0.01).update(values, np.abs(values))
    before = sketch.to_bytes()
    assert sketch.merge(QuantileSketch(0.3, 5)).to_bytes() == before
    assert QuantileSketch(0.01).merge(sketch).to_bytes() == before
    empty = QuantileSketch().update([1.0], [0.0])
    assert empty.weighted and empty.count == 0 and math.isnan(empty.quantile(0.5))
    assert empty.merge(QuantileSketch().update([1.0, 2.0])).weighted
    assert QuantileSketch().update([1.0, 2.0]).merge(QuantileSketch().update([1.0], [0.0])).quantile(0.5) == 1.0


def test_a_sketch_and_its_copy_err_alike():
    values = np.random.default_rng(15).normal(size=60_000)
    sketch = QuantileSketch(0.01).update(values, np.ones(60_000))
    alone = sketch.rank_error
    assert sketch.merge(sketch).count == 120_000
    assert sketch.rank_error >= 0.999 * alone


def test_large_unweighted_sketches_become_weighted():
    rng = np.random.default_rng(16)
    values = rng.normal(size=400_000)
    before = QuantileSketch(0.01).update(values)
    after = before.copy().update(values[:10], np.ones(10))
    points = np.linspace(-2, 2, 41)
    assert np.abs(after.rank(points) - before.rank(points)).max() <= 1e-4 + before.rank_error_worst
    assert after.rank_error <= 0.01 and after.count == 400_010 == after.weight
    assert not before.weighted and after.weighted


# ---- bytes ----


@pytest.fixture(scope="module")
def state():
    """Everything is in it: a block, lists with one weight and with many, a collapse that waits."""
    rng = np.random.default_rng(16)
    sketch = QuantileSketch(0.05, 1).update(rng.normal(size=9_001), rng.pareto(1.0, 9_001))
    words = list(struct.unpack(f"<{len(sketch.to_bytes()) // 8}Q", sketch.to_bytes()))
    assert words[0] >> 32 == 2 and words[11] > 0 and words[12] > 0 and words[13] > 1
    return sketch.to_bytes()


def test_unweighted_sketches_keep_their_bytes():
    assert QuantileSketch().update([1.0]).to_bytes()[4:8] == bytes([1, 0, 0, 0])


def test_states_go_on_with_the_same_bits(state):
    rng = np.random.default_rng(17)
    values, weights = rng.normal(size=12_345), rng.random(12_345)
    copies = [QuantileSketch.from_bytes(state) for _ in range(2)]
    copies.append(pickle.loads(pickle.dumps(copies[0])))
    assert len({copy.update(values, weights).to_bytes() for copy in copies}) == 1
    assert len({copy.merge(copy.copy()).to_bytes() for copy in copies}) == 1


def test_truncated_and_edited_states_are_refused(state):
    rng = np.random.default_rng(18)
    for size in range(0, len(state), 7):
        with pytest.raises(StateError, match="no quantile sketch"):
            QuantileSketch.from_bytes(state[:size])
    for _ in range(1_000):
        edited = bytearray(state)
        edited[rng.integers(len(state))] ^= 1 << rng.integers(8)
        with pytest.raises(StateError):
            QuantileSketch.from_bytes(bytes(edited))


def test_forged_states_are_refused_or_harmless(state):
    """With a checksum that fits: what contradicts itself is refused, and nothing crashes a later call."""
    words = list(struct.unpack(f"<{len(state) // 8}Q", state))
    assert reseal(words) == state
    rng = np.random.default_rng(19)
    nasty = [0, 1, 2**63, 2**64 - 1, 2**60, 2**31, 0x7FF0000000000000, 0x7FF8000000000000, 0xFFF0000000000000]
    refused = 0
    for field in [*range(1, 60), *rng.integers(60, len(words) - 1, 150)]:
        for value in nasty:
            forged = list(words)
            forged[field] = value
            try:
                sketch = QuantileSketch.from_bytes(reseal(forged))
            except StateError:
                refused += 1
                continue
            with contextlib.suppress(DataError):  # a forged sum of weights near the limit
                sketch.update(np.arange(3_000.0), np.ones(3_000)).merge(sketch.copy()).quantile(RANKS)
    assert refused > 1_000
