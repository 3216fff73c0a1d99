"""Laws of exact moments: the same bits whatever way the values took."""

import copy
import math
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SEED
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.exactly import (
    BLOCK,
    DDOFS,
    KINDS,
    LARGEST,
    TINY,
    assert_nearest,
    bulk,
    doubles,
    exactly,
    gaps,
    halves,
    lists,
    numbers,
    seeds,
    stored,
)
from support.truth import Moments, same_double

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.errors.StreamnormWarning")  # of columns without spread


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
