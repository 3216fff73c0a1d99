"""The quantile sketch: exact while small, within its bound afterwards, the same bits however it is fed."""

import copy
import pickle
import struct
import threading

import numpy as np
import pyarrow as pa
import pytest
from support.streams import STREAMS, merge_balanced, merge_left, merge_through_bytes, split

from streamnorm._sketch import QuantileSketch
from streamnorm.errors import StateError

EXACT_UP_TO = 4096  # values that a sketch of error 0.001 holds at the least
FAILURE_RATE = 0.01  # of a single query, over seeds: what `rank_error` promises
RANKS = np.linspace(0, 1, 101)


def quantile_errors(sketch, values):
    """Distance in rank of each answer from the ranks that the answer truly has, for RANKS."""
    ordered = np.sort(values)
    answers = sketch.quantile(RANKS)
    below = np.searchsorted(ordered, answers, side="left") / len(values)
    upto = np.searchsorted(ordered, answers, side="right") / len(values)
    return np.maximum(0, np.maximum(below - RANKS, RANKS - upto))


def rank_errors(sketch, values):
    ordered = np.sort(values)
    points = np.quantile(ordered, RANKS, method="inverted_cdf")
    truth = np.searchsorted(ordered, points, side="right") / len(values)
    return np.abs(sketch.rank(points) - truth)


def assert_within_bound(sketches, values, label):
    """Over sketches of several seeds, failures are as rare as promised, and the worst case never fails."""
    failures = total = 0
    for sketch in sketches:
        assert sketch.count == len(values), label
        assert sketch.quantile(0) == values.min() and sketch.quantile(1) == values.max(), label
        for errors in (quantile_errors(sketch, values), rank_errors(sketch, values)):
            rounding = 2 / len(values)  # a rank between two values counts for either
            failures += np.count_nonzero(errors > sketch.rank_error + rounding)
            total += len(errors)
            assert errors.max() <= sketch.rank_error_worst + rounding, label
    assert failures <= FAILURE_RATE * total, f"{label}: {failures} of {total} queries beyond rank_error"


# ---- exact while small ----


@pytest.mark.parametrize("n", [1, 2, 3, 10, 63, 64, 65, 1000, 2047, 2048, 2049, EXACT_UP_TO])
@pytest.mark.parametrize("stream", ["sorted", "random", "heavy duplicates", "lognormal", "denormal"])
def test_small_is_numpy_bit_for_bit(n, stream):
    rng = np.random.default_rng(n)
    values = STREAMS[stream](rng, n)
    q = np.concatenate([RANKS, rng.random(50), [0.1 + 0.2, 1 - 1e-16, 5e-324]])
    sketch = QuantileSketch().update(values)
    assert sketch.rank_error == sketch.rank_error_worst == 0
    assert sketch.quantile(q).tobytes() == np.quantile(values, q).tobytes(), (n, stream)
    assert [sketch.quantile(x) for x in q] == [np.quantile(values, x) for x in q]
    points = np.concatenate([values[:20], values[:20] + 0.5])
    truth = [np.count_nonzero(values <= x) / n for x in points]
    assert sketch.rank(points).tolist() == truth


def test_a_difference_that_overflows_is_interpolated_all_the_same():
    sketch = QuantileSketch().update([-1.5e308, 1.5e308])
    assert sketch.quantile([0, 0.25, 0.5, 1]).tolist() == [-1.5e308, -0.75e308, 0.0, 1.5e308]


def test_infinities_and_zeros_are_values():
    sketch = QuantileSketch().update([np.inf, -np.inf, 0.0, -0.0, np.inf])
    assert sketch.quantile([0, 0.25, 0.5, 0.75, 1]).tolist() == [-np.inf, 0.0, 0.0, np.inf, np.inf]
    assert sketch.rank([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf]).tolist() == [0.2, 0.2, 0.6, 0.6, 0.6, 1.0]
    assert (sketch.min, sketch.max) == (-np.inf, np.inf)


def test_nan_and_null_are_skipped():
    nans = np.array([np.nan, 1.0, -np.nan, 2.0, np.nan])
    nulls = pa.array([None, 1, None, 2, None])
    expected = QuantileSketch().update([1.0, 2.0]).to_bytes()
    chunked = pa.chunked_array([nulls[:2], nulls[2:]])
    for values in (nans, nulls, nulls[1:], chunked, nans.astype("f4"), nans.reshape(1, 5), [1, 2]):
        assert QuantileSketch().update(values).to_bytes() == expected


def test_empty():
    sketch = QuantileSketch().update([]).update([np.nan])
    assert sketch.count == 0 and sketch.rank_error == 0
    assert np.isnan([sketch.quantile(0.5), sketch.rank(1.0), sketch.min, sketch.max]).all()
    assert np.isnan(sketch.quantile([0, 1])).all() and sketch.quantile([]).shape == (0,)
    assert QuantileSketch.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()


# ---- the bound ----


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("error", "n"), [(0.001, 100_000), (0.02, 100_000)])
def test_bound_holds(stream, error, n):
    rng = np.random.default_rng(1)
    values = STREAMS[stream](rng, n)
    sketches = [QuantileSketch(error, seed).update(values) for seed in range(4)]
    assert all(0 < sketch.rank_error <= error for sketch in sketches)
    assert_within_bound(sketches, values, stream)


@pytest.mark.parametrize(("error", "n"), [(0.001, 50_000), (0.01, 400_000), (0.1, 400_000)])
def test_bound_is_neither_broken_nor_silly(error, n):
    values = np.random.default_rng(2).normal(size=n)
    truth = np.count_nonzero(values <= 0.3) / n
    sketches = [QuantileSketch(error, seed).update(values) for seed in range(300)]
    observed = np.quantile([abs(sketch.rank(0.3) - truth) for sketch in sketches], 1 - FAILURE_RATE)
    bound = sketches[0].rank_error
    assert bound / 10 <= observed <= bound, (error, observed, bound)
    # Every step has mean zero, so the mean over seeds is nearer the truth than one sketch.
    assert abs(np.mean([sketch.rank(0.3) for sketch in sketches]) - truth) <= observed / 3


@pytest.mark.parametrize("error", [0.5, 0.05, 0.004, 0.0039, 0.001, 0.0002])
def test_error_is_kept_and_memory_bounded_at_every_length(error):
    values = np.random.default_rng(3).random(65_536)
    sketch = QuantileSketch(error)
    for _ in range(24):
        sketch.update(values)
        assert sketch.rank_error <= error
        # 4.2 keys of 8 bytes for 1 / error, some more for each doubling, a few blocks, and half as much again
        assert sketch.nbytes <= 60 / error + 80_000, sketch


def test_small_sketches_are_small():
    assert QuantileSketch().update(1.0).nbytes < 1_500
    assert QuantileSketch().update(np.arange(1000.0)).nbytes < 10_000
    assert QuantileSketch().update(np.random.default_rng(4).random(20_000)).nbytes < 45_000


# ---- the same bits ----


@pytest.mark.parametrize("lengths", [[1], [2, 3, 5], [50], [2047], [2048], [2049, 1], [7, 0, 30_011]])
@pytest.mark.parametrize(("error", "n"), [(0.001, 20_042), (0.05, 20_042), (0.3, 20_042)])
def test_chunking_does_not_matter(error, n, lengths):
    rng = np.random.default_rng(5)
    values = rng.normal(size=n)
    values[rng.random(n) < 0.2] = np.nan
    whole = QuantileSketch(error, 6).update(values)
    cut = QuantileSketch(error, 6)
    for piece in split(values, lengths):
        cut.update(piece).update(piece[:0])
    assert cut.to_bytes() == whole.to_bytes()
    assert cut.rank_error > 0


def test_nan_takes_no_position():
    rng = np.random.default_rng(7)
    values = rng.normal(size=30_000)
    holes = np.insert(values, rng.integers(0, 30_000, 5_000), np.nan)
    assert QuantileSketch(0.02).update(holes).to_bytes() == QuantileSketch(0.02).update(values).to_bytes()


def test_seeds_differ():
    values = np.random.default_rng(8).normal(size=100_000)
    states = {QuantileSketch(0.01, seed).update(values).quantile(0.5) for seed in range(5)}
    assert len(states) > 1


def test_copies_go_on_alike_and_apart():
    values = np.random.default_rng(9).normal(size=60_000)
    sketch = QuantileSketch(0.02, 3).update(values)
    before = sketch.to_bytes()
    copies = [
        sketch.copy(),
        copy.copy(sketch),
        copy.deepcopy(sketch),
        pickle.loads(pickle.dumps(sketch)),
        QuantileSketch.from_bytes(before),
        QuantileSketch.from_bytes(memoryview(bytearray(before))),
    ]
    after = {twin.update(values[:12_345]).to_bytes() for twin in copies}
    assert sketch.to_bytes() == before
    assert after == {sketch.update(values[:12_345]).to_bytes()} != {before}


def test_two_threads_lose_nothing():
    values = np.random.default_rng(10).normal(size=5_000)
    sketch, part = QuantileSketch(0.01), QuantileSketch(0.01).update(values)

    def feed():
        for _ in range(40):
            sketch.update(values).merge(part)
            sketch.quantile(0.5)

    threads = [threading.Thread(target=feed) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sketch.count == 2 * 40 * 10_000
    assert QuantileSketch.from_bytes(sketch.to_bytes()).count == sketch.count


# ---- merging ----


@pytest.mark.parametrize("tree", [merge_left, merge_balanced, merge_through_bytes])
@pytest.mark.parametrize("stream", ["sorted", "random", "zoom in", "heavy duplicates", "infinities"])
@pytest.mark.parametrize("error", [0.001, 0.02])
def test_bound_survives_merging(tree, stream, error):
    rng = np.random.default_rng(11)
    values = STREAMS[stream](rng, 150_000)
    lengths = [30_000, 17, 2048, 5_001]
    sketches = []
    for seed in range(2):
        # The parts share a seed, as partitions in practice do; their contents keep their coins apart.
        parts = [QuantileSketch(error, seed).update(piece) for piece in split(values, lengths)]
        states = [part.to_bytes() for part in parts]
        sketches.append(tree(parts))
        assert [part.to_bytes() for part in parts] == states
        assert 0 < sketches[-1].rank_error <= error
        assert sketches[-1].nbytes <= 60 / error + 80_000
    assert_within_bound(sketches, values, (tree.__name__, stream))
    again = tree([QuantileSketch(error, 1).update(piece) for piece in split(values, lengths)])
    assert again.to_bytes() == sketches[-1].to_bytes()


def test_merging_nothing_changes_nothing():
    values = np.random.default_rng(12).normal(size=50_000)
    sketch = QuantileSketch(0.01).update(values)
    before = sketch.to_bytes()
    assert sketch.merge(QuantileSketch(0.3, 5)).to_bytes() == before
    assert QuantileSketch(0.01).merge(sketch).to_bytes() == before
    assert QuantileSketch(0.001).merge(sketch).to_bytes() == before
    assert QuantileSketch(0.02).merge(sketch).error == 0.02


def test_small_parts_merge_exactly():
    values = np.random.default_rng(13).normal(size=3_000)
    merged = merge_left([QuantileSketch().update(piece) for piece in split(values, [1, 100, 333])])
    assert merged.rank_error == 0
    assert merged.quantile(RANKS).tobytes() == np.quantile(values, RANKS).tobytes()


def test_the_larger_error_is_kept():
    values = np.random.default_rng(14).normal(size=80_000)
    for into, part in [(0.001, 0.02), (0.02, 0.001)]:
        sketches = []
        for seed in range(8):
            first = QuantileSketch(into, seed).update(values[:40_000])
            second = QuantileSketch(part, seed).update(values[40_000:])
            sketches.append(first.merge(second).update(values))
            assert sketches[-1].error == 0.02 and sketches[-1].rank_error <= 0.02
        assert_within_bound(sketches, np.concatenate([values, values]), (into, part))


def test_a_sketch_and_its_copy_err_alike():
    values = np.random.default_rng(15).normal(size=60_000)
    sketch = QuantileSketch(0.01).update(values)
    alone = sketch.rank_error
    assert sketch.merge(sketch).count == 120_000
    assert sketch.rank_error >= 0.999 * alone  # independent parts would come to alone / sqrt(2)


# ---- bytes ----


def scramble(x):
    mask = 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def reseal(words):
    """Bytes of these words with the checksum that makes them pass for a state."""
    total = len(words) - 1
    for i, word in enumerate(words[:-1]):
        total = (scramble(total ^ word) + i) & (2**64 - 1)
    return struct.pack(f"<{len(words)}Q", *words[:-1], total)


@pytest.fixture(scope="module")
def state():
    """Every kind of part is in it: raw and picked and strided keys, runs, a pair that waits."""
    rng = np.random.default_rng(16)
    return QuantileSketch(0.05, 1).update(rng.normal(size=30_001)).to_bytes()


def test_truncated_states_are_refused(state):
    for size in range(len(state)):
        with pytest.raises(StateError, match="no quantile sketch"):
            QuantileSketch.from_bytes(state[:size])
    with pytest.raises(StateError):
        QuantileSketch.from_bytes(state + bytes(8))


def test_edited_states_are_refused(state):
    rng = np.random.default_rng(17)
    for _ in range(3_000):
        edited = bytearray(state)
        edited[rng.integers(len(state))] ^= 1 << rng.integers(8)
        with pytest.raises(ValueError):
            QuantileSketch.from_bytes(bytes(edited))


def test_unknown_versions_are_refused(state):
    words = list(struct.unpack(f"<{len(state) // 8}Q", state))
    assert reseal(words) == state
    words[0] += 1 << 32
    with pytest.raises(StateError, match="later version"):
        QuantileSketch.from_bytes(reseal(words))


def test_forged_states_are_refused_or_harmless(state):
    """With a checksum that fits: what contradicts itself is refused, and nothing crashes a later call."""
    words = list(struct.unpack(f"<{len(state) // 8}Q", state))
    rng = np.random.default_rng(18)
    nasty = [0, 1, 2**63, 2**64 - 1, 2**60, 2**31, 0x7FF0000000000000, 0x7FF8000000000000, 0xFFF0000000000000]
    refused = 0
    for field in [*range(1, 60), *rng.integers(60, len(words) - 1, 200)]:
        for value in nasty:
            forged = list(words)
            forged[field] = value
            try:
                sketch = QuantileSketch.from_bytes(reseal(forged))
            except ValueError:
                refused += 1
                continue
            sketch.update(np.arange(3_000.0)).merge(sketch.copy()).quantile(RANKS)
    assert refused > 1_000
    for field in (1, 4, 9, 10, 11, 12, 13, 14, 15, 16):  # error, count, lanes, stages, sizes
        with pytest.raises(StateError):
            QuantileSketch.from_bytes(reseal([*words[:field], 2**63, *words[field + 1 :]]))


# ---- arguments ----


@pytest.mark.parametrize("error", [0, -0.1, 1e-7, 0.6, np.nan, np.inf])
def test_bad_error(error):
    with pytest.raises(ValueError, match="error must lie between"):
        QuantileSketch(error)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match="seed"):
        QuantileSketch(seed=seed)
    assert QuantileSketch(seed=2**64 - 1).seed == 2**64 - 1


@pytest.mark.parametrize("n", [0, 5, 20_000])
@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, [0.5, 2.0]])
def test_bad_ranks(n, q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        QuantileSketch(0.01).update(np.arange(float(n))).quantile(q)


def test_shapes_and_scalars():
    sketch = QuantileSketch(0.1, 7).update(np.arange(10))
    assert isinstance(sketch.quantile(0.5), float) and isinstance(sketch.rank(3), float)
    assert sketch.quantile(np.full((2, 3), 0.5)).shape == sketch.rank(np.zeros((2, 3))).shape == (2, 3)
    assert repr(sketch) == "QuantileSketch(error=0.1, seed=7, count=10, rank_error=0)"
    with pytest.raises(TypeError):
        sketch.merge(None)
    with pytest.raises(TypeError, match="numbers"):
        sketch.update(np.array(["2020-01-01"], dtype="M8[D]"))
