"""Batches where it is easy to go wrong: iterators side by side, odd arguments, huge batches, shares of shares."""

import gc
import multiprocessing
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm._ahead import ahead
from streamnorm._batch_mixing import Run
from streamnorm._rows import gather_rows, pack_rows
from streamnorm.errors import DataError
from streamnorm.features import FeatureMap, bucket_numbers
from streamnorm.reference import batches as twins

SEED = 20130101
ROWS = 120_000
LONG = {"row_group_size": ROWS, "use_dictionary": False, "data_page_size": 1 << 12}  # read page by page
SLOW_READ = 0.2  # seconds


@pytest.fixture
def table():
    return pa.table({"id": np.arange(ROWS), "a": np.arange(ROWS) * 0.5, "y": np.arange(ROWS) % 7 * 1.0})


@pytest.fixture
def path(table, tmp_path):
    pq.write_table(table, tmp_path / "t.parquet", **LONG)
    return tmp_path / "t.parquet"


def ids(batches):
    return [int(row[0]) for X in batches for row in (X[0] if isinstance(X, tuple) else X)]


# ------------------------------------------------------------------ iterators side by side

@pytest.mark.parametrize("threads", [1, None])
def test_iterators_of_one_thread_do_not_close_each_others_files(threads, path, table, tmp_path):
    pq.write_table(table, tmp_path / "u.parquet", **LONG)
    batches = sn.batches([path, tmp_path / "u.parquet"], None, 1000, False, threads=threads, memory="16MB")
    one, other = iter(batches), iter(batches)
    first = [next(one) for _ in range(ROWS // 1000 + 20)]
    second = [next(other) for _ in range(5)]
    assert ids(first + list(one)) == ids(second + list(other)) == 2 * list(range(ROWS))


def test_breaking_off_inside_another_loop_leaves_that_alone(path):
    batches = sn.batches(path, None, 1000, False, threads=1, memory="16MB")
    seen = []
    for X in batches:
        seen.append(X)
        for _ in batches:
            break
    assert ids(seen) == list(range(ROWS))


def test_shares_can_be_shared_out_again(table, tmp_path):
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=1000)
    batches = sn.batches(tmp_path / "s.parquet", None, 64)
    machines = [batches.share(rank, 2) for rank in range(2)]
    found = [ids(machine.share(k, 3)) for machine in machines for k in range(3)]
    assert sorted(sum(found, [])) == list(range(ROWS))
    assert sorted(ids(machines[1])) == sorted(sum(found[3:], []))


# ------------------------------------------------------------------ the background thread

def test_closing_does_not_wait_for_a_thread_that_waits_for_room():
    made = ahead((i for i in range(100)), threading.Event())
    assert next(made) == 0
    time.sleep(0.05)  # the queue is full by now
    begun = time.perf_counter()
    made.close()
    assert time.perf_counter() - begun < 0.05


def test_closing_breaks_off_what_is_being_read(path, monkeypatch):
    batches = sn.batches(path, None, 64)
    batches._chunk_rows = 1024
    read, chunks = type(batches)._read, []

    def slowly(self, run, unit):
        for chunk in read(self, run, unit):
            chunks.append(chunk.rows)
            time.sleep(SLOW_READ / 10)
            yield chunk

    monkeypatch.setattr(type(batches), "_read", slowly)
    pieces = batches.pieces()
    taker = threading.Thread(target=lambda: next(pieces, None), daemon=True)
    taker.start()
    deadline = time.monotonic() + 10
    while not chunks and time.monotonic() < deadline:
        time.sleep(0.001)
    pieces.gi_frame.f_locals["stop"].set()  # what closing it does, which a generator that runs does not allow
    for thread in [t for t in threading.enumerate() if t.name == "streamnorm-ahead"]:
        thread.join(10 * SLOW_READ)
        assert not thread.is_alive()
    assert sum(chunks) < ROWS // 2


def test_a_cycle_collected_by_the_thread_itself_does_not_hold_it_up():
    ended = threading.Event()

    def items():
        yield 0
        time.sleep(0.05)
        gc.collect()  # finds the iterator that nobody holds but itself
        ended.set()
        yield 1

    made = ahead(items(), threading.Event())
    next(made)
    cycle = [made]
    cycle.append(cycle)
    gc.disable()
    try:
        begun = time.perf_counter()
        del made, cycle
        assert ended.wait(10)
        assert time.perf_counter() - begun < 0.8
    finally:
        gc.enable()


# ------------------------------------------------------------------ strings

@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", None])
def test_strings_are_embedded_however_they_are_encoded(encoding, tmp_path):
    rows = pa.table({"a": np.arange(1000.0), "s": [f"k{i % 7}" for i in range(1000)]})
    options = {} if encoding is None else {"use_dictionary": False, "column_encoding": {"s": encoding}}
    pq.write_table(rows, tmp_path / "s.parquet", **options)
    features = FeatureMap(None, ["a"], embed="s")
    [X] = sn.batches(tmp_path / "s.parquet", features, 1000, False)
    np.testing.assert_array_equal(X, features.matrix(rows))


@pytest.mark.parametrize(("distinct", "folded"), [(50, True), (ROWS, False)])
def test_only_pages_of_indices_are_read_as_dictionaries(distinct, folded, tmp_path):
    rows = pa.table({"s": [f"a rather long string {i % distinct}" for i in range(ROWS)]})
    pq.write_table(rows, tmp_path / "s.parquet", row_group_size=ROWS)
    batches = sn.batches(tmp_path / "s.parquet", FeatureMap(None, [], embed="s"))
    [unit] = batches._source.units
    chunk = next(batches._read(Run(0, batches._source.session()), unit))
    assert pa.types.is_dictionary(chunk.arrays[0].type) == folded


# ------------------------------------------------------------------ arguments

@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"seed": "3"}, "seed must be an integer, got '3'"),
        ({"batch_size": 2.0}, "batch_size must be a positive integer, got 2.0"),
        ({"holdout": 0.5}, "a fraction and a seed"),
        ({"holdout": (0.5,)}, "a fraction and a seed"),
        ({"holdout": ("a", 1)}, "a fraction between 0 and 1, got 'a'"),
        ({"holdout": (float("nan"), 1)}, "a fraction between 0 and 1, got nan"),
        ({"holdout": (0.5, 1.5)}, "the seed of holdout must be an integer"),
        ({"target": "y", "target_scaler": "standard"}, "target_scaler must be a fitted scaler"),
        ({"dtype": "nonsense"}, "dtype must be float32 or float64"),
        ({"dtype": None}, "dtype must be float32 or float64"),
        ({"target": 1.0}, "a column has a name or a position, got 1.0"),
    ],
)
def test_odd_arguments_are_named(options, message, table):
    with pytest.raises(ValueError, match=message):
        sn.batches(table, None, **options)


@pytest.mark.parametrize("options", [{"columns": [0]}, {"target": 0}, {"exclude": 0}])
def test_named_columns_have_no_positions(options, table):
    with pytest.raises(DataError, match="there is no column 0"):
        sn.batches(table, None, **options)


def test_columns_of_arrays_have_whole_positions():
    with pytest.raises(DataError, match=r"there is no column 1\.0"):
        sn.batches(np.ones((5, 3)), None, columns=[1.0])


def test_a_batch_may_be_far_larger_than_the_source(path):
    for options in ({}, {"shuffle": False}):
        [X] = sn.batches(path, None, 10**12, **options)
        assert sorted(X[:, 0]) == list(range(ROWS))
        assert X.base is None or X.base.nbytes <= X.nbytes
        assert list(sn.batches(path, None, 10**12, drop_last=True, **options)) == []


def test_a_target_beyond_float32_says_so():
    with pytest.raises(DataError, match="infinite in float32"):
        list(sn.batches(np.array([[1.0, 1e300]]), None, target=1))
    [(X, y)] = sn.batches(np.array([[1.0, 1e300]]), None, target=1, dtype="float64")
    assert y.tolist() == [1e300]


def test_a_scaler_of_the_features_goes_by_what_is_left_of_an_array():
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(100, 4)) * [1, 10, 100, 1000] + 5
    scaler = sn.StandardScaler().fit(rows[:, 1:])
    [(X, y)] = sn.batches(rows, scaler, 100, False, target=0, dtype="float64")
    np.testing.assert_array_equal(X, scaler.transform(rows[:, 1:]))
    np.testing.assert_array_equal(y, rows[:, 0])


# ------------------------------------------------------------------ kernels and hashes

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_packing_has_the_bits_of_its_twin(share, dtype):
    rng = np.random.default_rng(SEED)
    for n in (0, 1, 1000):
        rows = rng.normal(size=(n, 3)).astype(dtype)
        twin, keep = rows.copy(), (rng.random(n) < share).astype(np.uint8)
        count = pack_rows(rows, keep)
        assert count == twins.pack_rows(twin, keep)
        np.testing.assert_array_equal(rows[:count], twin[:count])
        assert pack_rows(rows) == n


@pytest.mark.parametrize("d", [0, 1, 3])
@pytest.mark.parametrize("n", [0, 1, 31, 33, 500])
def test_gathering_has_the_bits_of_its_twin(d, n):
    rng = np.random.default_rng(SEED)
    rows, order = rng.normal(size=(70, 3)).astype(np.float32), rng.integers(0, 70, n)
    pairs = [(np.empty((n, d), np.float32), np.empty((n, 3 - d), np.float32)) for _ in range(2)]
    gather_rows(*pairs[0], rows, order)
    twins.gather_rows(*pairs[1], rows, order)
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gathering_refuses_rows_that_are_not_there():
    rows, x, y = np.zeros((5, 3), np.float32), np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)
    for row in (-1, 5):
        with pytest.raises(ValueError, match="none of them"):
            gather_rows(x, y, rows, np.array([row]))
    with pytest.raises(ValueError, match="2 rows"):
        gather_rows(x, y, rows, np.array([0, 1]))


def test_bytes_that_are_no_text_have_buckets_in_every_layout():
    values = [b"\xff\xfe", b"ab", None]
    expected = bucket_numbers(pa.array(values, pa.binary()), 1000).tolist()
    assert bucket_numbers(pa.array(values, pa.binary(2)), 1000).tolist() == expected
    assert bucket_numbers(pa.array(values, pa.large_binary()), 1000).tolist() == expected
    if hasattr(pa, "binary_view"):
        assert bucket_numbers(pa.array(values, pa.binary_view()), 1000).tolist() == expected


@pytest.mark.parametrize("buckets", [1, 0, -5, 10.5, True, 1 << 24, "9"])
def test_numbers_of_buckets_that_cannot_be_are_refused(buckets):
    with pytest.raises(ValueError, match="buckets must be a whole number"):
        bucket_numbers(pa.array(["a"]), buckets)
    with pytest.raises(ValueError, match="buckets must be a whole number"):
        FeatureMap(None, ["a"], buckets=buckets)


@pytest.mark.parametrize("values", [["a"], pa.chunked_array([["a"]]), pa.array([1.5]), pa.array([[1]])])
def test_what_has_no_buckets_is_refused(values):
    with pytest.raises(TypeError, match=r"pyarrow\.Array|have buckets"):
        bucket_numbers(values, 10)


# ------------------------------------------------------------------ other processes

@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind_read_each_row_once(method, table, tmp_path):
    torch = pytest.importorskip("torch")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    pq.write_table(table, tmp_path / "w.parquet", row_group_size=5000)
    batches = sn.batches(tmp_path / "w.parquet", None, 512)
    iterator = iter(batches)
    next(iterator)  # its thread is at work while workers begin
    loader = torch.utils.data.DataLoader(
        batches.to_torch(), batch_size=None, num_workers=1, multiprocessing_context=method, persistent_workers=True
    )
    first, second = ids(loader), ids(loader)
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second
    assert len(ids(iterator)) == ROWS - 512


INSIDE = {"v": [[1.0, 2.0], [3.0, 4.0]], "s": [{"x": 1.0}, {"x": 2.0}], "y": [1.0, 2.0]}


@pytest.mark.parametrize("name", ["s.x", "v[0]", "v[*]"])
@pytest.mark.parametrize("where", ["memory", "parquet"])
def test_paths_into_columns_are_refused_by_what_they_are(name, where, tmp_path):
    source = pa.table(INSIDE)
    scaler = sn.fit(source, columns=["v[*]" if name[0] == "v" else name])
    if where == "parquet":
        pq.write_table(source, tmp_path / "x.parquet")
        source = tmp_path / "x.parquet"
    for ask in (
        lambda: sn.batches(source, columns=[name]),
        lambda: sn.batches(source, scaler),
        lambda: sn.nn.Regressor(epochs=1).fit(source, target="y", columns=[name]),
    ):
        with pytest.raises(sn.DataError, match=f"lies inside of column '{name[0]}'.*column of its own"):
            ask()
