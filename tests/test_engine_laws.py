"""Laws of fits over parts: whatever the cut and the tree of merges, the whole's statistics come out."""

import math

import numpy as np
import pyarrow as pa
import pytest
from conftest import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from support.files import write

import streamnorm as sn

MOMENTS_RTOL = 1e-12
METHODS = ("standard", "minmax", "maxabs", "robust")

finite = st.floats(-1e100, 1e100).map(lambda x: 0.0 if abs(x) < 1e-100 else x)
value = st.one_of(finite, st.sampled_from([0.0, -0.0, 1.0, 1e9, 1e9 + 1]), st.just(math.nan), st.none())
parts = st.lists(st.lists(value, max_size=40), min_size=1, max_size=8).filter(any)
seeds = st.integers(0, 2**32 - 1)


def column(values):
    return pa.table({"v": pa.array(values, pa.float64(), from_pandas=False)})


def merged(scalers, seed):
    """The merge of all, in an order and a tree that the seed chooses, by any of the three ways to merge."""
    rng = np.random.default_rng(seed)
    scalers = list(scalers)
    while len(scalers) > 1:
        i, j = rng.choice(len(scalers), 2, replace=False)
        way = rng.integers(3)
        first, second = scalers[i], scalers[j]
        if way == 0:
            one = first + second
        elif way == 1:
            one = sn.merge([first, second])
        else:
            one = first.merge(second)
        scalers = [s for k, s in enumerate(scalers) if k not in (i, j)] + [one]
    return scalers[0]


def assert_same(found, whole, method, values):
    ours, theirs = found.summary_["v"], whole.summary_["v"]
    assert (ours.count, ours.null_count, ours.nan_count) == (theirs.count, theirs.null_count, theirs.nan_count)
    if method in ("minmax", "maxabs", "standard"):
        assert (ours.min, ours.max) == (theirs.min, theirs.max)
    there = np.array([v for v in values if v is not None and not math.isnan(v)])
    if method == "standard" and len(there):
        size = np.abs(there).max()
        assert abs(ours.mean - theirs.mean) <= MOMENTS_RTOL * size
        assert ours.var() == pytest.approx(theirs.var(), rel=MOMENTS_RTOL, abs=(MOMENTS_RTOL * size) ** 2)
        exact = math.fsum(there) / len(there)
        assert abs(ours.mean - exact) <= MOMENTS_RTOL * size
    if method == "robust" and len(there):
        assert_quantiles(ours, there)


def assert_quantiles(summary, there):
    there = np.sort(there)
    slack = summary.rank_error + 1 / len(there)
    for q in (0.0, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0):
        found = summary.quantile(q)
        below, up_to = np.searchsorted(there, found, "left"), np.searchsorted(there, found, "right")
        assert below / len(there) - slack <= q <= up_to / len(there) + slack
    if summary.rank_error == 0:
        np.testing.assert_allclose(summary.quantile(0.5), np.quantile(there, 0.5), rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40)
@given(parts=parts, seed=seeds)
def test_any_merge_tree_gives_the_whole(method, parts, seed):
    everything = [v for part in parts for v in part]
    whole = sn.fit(column(everything), method)
    found = merged([sn.fit(column(part), method) for part in parts if part], seed)
    assert_same(found, whole, method, everything)
    if method != "standard":
        assert found.scale_.tolist() == whole.scale_.tolist()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(parts=parts)
def test_a_stream_has_the_bits_of_the_whole(method, parts):
    everything = [v for part in parts for v in part]
    whole = sn.fit(column(everything), method)
    stream = sn.fit((b for part in parts for b in column(part).to_batches()), method)
    assert stream.digest() == whole.digest()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(a=st.lists(value, min_size=1, max_size=30), b=st.lists(value, min_size=1, max_size=30))
def test_a_sum_leaves_its_terms_alone(method, a, b):
    first, second = sn.fit(column(a), method), sn.fit(column(b), method)
    before = first.digest(), second.digest()
    both = first + second
    assert (first.digest(), second.digest()) == before
    assert both.summary_["v"].count == first.summary_["v"].count + second.summary_["v"].count


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name,array", HOSTILE, ids=[name for name, _ in HOSTILE])
def test_hostile_columns_merge(name, array, method):
    table = pa.table({"v": array if isinstance(array, pa.ChunkedArray) else pa.array(array)})
    if not len(table):
        pytest.skip("holds no rows")
    cuts = sorted({0, 1, len(table) // 3, len(table) // 2, len(table)})
    pieces = [table.slice(a, b - a) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
    whole = sn.fit(table, method, columns=["v"])
    for seed in range(3):
        found = merged([sn.fit(piece, method, columns=["v"]) for piece in pieces], seed)
        ours, theirs = found.summary_["v"], whole.summary_["v"]
        assert (ours.count, ours.null_count, ours.nan_count) == (theirs.count, theirs.null_count, theirs.nan_count)
        assert (ours.min, ours.max) == (theirs.min, theirs.max)
        if method == "standard" and ours.count:
            size = max(abs(float(ours.min)), abs(float(ours.max)))
            assert abs(ours.mean - theirs.mean) <= MOMENTS_RTOL * size
            assert ours.std() == pytest.approx(theirs.std(), rel=MOMENTS_RTOL, abs=1e-300)
        np.testing.assert_allclose(found.scale_, whole.scale_, rtol=MOMENTS_RTOL)


def test_files_of_large_parts_merge_within_the_rank_error(tmp_path):
    rng = np.random.default_rng(20130101)
    arrays = [rng.lognormal(i, 1, 30_000 + 7 * i) for i in range(6)]
    paths = [write(tmp_path / f"{i}.parquet", pa.table({"v": a}), row_group_size=9_000) for i, a in enumerate(arrays)]
    there = np.concatenate(arrays)
    states = []
    for i, path in enumerate(paths):
        sn.fit(path, "robust", threads=1 + i).save(tmp_path / f"{i}.json")
        states.append(tmp_path / f"{i}.json")
    for scaler in (sn.merge(states), sn.merge(states[::-1]), sn.fit(tmp_path, "robust")):
        summary = scaler.summary_["v"]
        assert 0 < summary.rank_error <= 0.001
        assert summary.count == len(there)
        assert_quantiles(summary, there)


def test_the_lessons_of_others():
    median = sn.merge([sn.fit(np.array([[i], [i + 1.0]]), "robust") for i in range(0, 12, 2)])
    assert median.center_.tolist() == [5.5]
    heavy = np.random.default_rng(4).pareto(1.1, 40_000)
    tail = sn.merge([sn.fit(part.reshape(-1, 1), "robust") for part in np.split(heavy, 400)]).summary_[0]
    rank = (heavy < tail.quantile(0.99)).mean()
    assert abs(rank - 0.99) <= tail.rank_error + 1e-4
    seconds = 1_700_000_000 + np.arange(100_000.0)
    assert sn.fit(seconds.reshape(-1, 1)).var_[0] == pytest.approx((100_000**2 - 1) / 12, rel=1e-13)
    small = sn.fit((np.arange(100.0) * 1e-13).reshape(-1, 1))
    assert small.scale_[0] == pytest.approx(np.arange(100.0).std() * 1e-13, rel=1e-12)
    shifted = sn.fit(np.array([[1e9 + x] for x in (4.0, 7.0, 13.0, 16.0)]))
    assert shifted.var_[0] == 22.5
