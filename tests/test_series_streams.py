"""The batches of windows: their orders, sizes and counts, threads, and memory that does not grow with the rows."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm.errors import DataError

SEED = 20130101
MEMORY, BOUND = "64MB", 64 * 10**6 + 80 * 10**6  # of imports, beyond what `memory` says
ROWS, COLUMNS, LENGTH, STRIDE = 8_000_000, 4, 48, 16


def made(rows=1000, *, blocks=None, **options):
    """Windows of whole numbers, which say which window each is."""
    windows = sn.Windows(np.arange(float(rows)), **{"length": 5, "scaler": None, "split": 0.8} | options)
    if blocks:
        for stream in (windows.train, windows.validation):
            stream._maker.capacity, stream._maker.whole = blocks, False
    return windows


def firsts(batches):
    return np.concatenate([x[:, 0, 0] for x, _ in batches])


@pytest.mark.parametrize("blocks", [None, 128])
def test_every_window_comes_once_an_epoch_in_another_order(blocks):
    train = made(blocks=blocks).train
    epochs = [firsts(train) for _ in range(3)]
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), np.arange(795))
        assert not (np.diff(order) == 1).any() or np.mean(np.diff(order) == 1) < 0.05
    assert not (epochs[0] == epochs[1]).all() and not (epochs[1] == epochs[2]).all()
    again = made(blocks=blocks).train
    again.set_epoch(2)
    np.testing.assert_array_equal(firsts(again), epochs[2])
    assert again.epoch == 3
    assert not (firsts(made(blocks=blocks, seed=1).train) == epochs[0]).all()


@pytest.mark.parametrize("blocks", [None, 128])
def test_x_and_y_belong_together(blocks):
    for part in ("train", "validation"):
        for x, y in getattr(made(blocks=blocks, horizon=7), part):
            np.testing.assert_array_equal(x[:, :, 0] - x[:, :1, 0], np.tile(np.arange(5), (len(x), 1)))
            np.testing.assert_array_equal(y, x[:, 0, 0] + 11)


def test_orders_are_equally_likely():
    """Each of few windows comes first about equally often: the largest of these deviations has a chance of 1e-6."""
    train = made(12, split=None, seed=SEED).train
    first = np.array([next(iter(train))[0][0, 0, 0] for _ in range(4000)])
    counts = np.bincount(first.astype(int), minlength=7)
    expected = 4000 / 7
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 40, counts


def test_without_shuffle_and_in_validation_windows_come_in_order():
    plain = made(shuffle=False)
    np.testing.assert_array_equal(firsts(plain.train), np.arange(795))
    np.testing.assert_array_equal(firsts(plain.train), np.arange(795))
    np.testing.assert_array_equal(firsts(made().validation), np.arange(800, 995))


@pytest.mark.parametrize("blocks", [None, 40, 128])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 32, 397, 794, 795, 796, 5000])
def test_no_batch_has_a_single_window(batch_size, blocks):
    train = made(batch_size=batch_size, blocks=blocks).train
    sizes = [len(x) for x, _ in train]
    assert sum(sizes) == 795 and len(sizes) == len(train)
    assert all(size == batch_size for size in sizes[:-1])
    assert batch_size == 1 or sizes[-1] != 1
    assert sizes[-1] <= batch_size + 1


def test_a_single_window_is_a_batch():
    train = made(6, split=None, batch_size=4).train
    assert [len(x) for x, _ in train] == [1] and len(train) == 1


def test_len_is_known_after_an_epoch_of_what_does_not_fit():
    train = made(blocks=100, threads=1).train
    with pytest.raises(TypeError, match="known after the first epoch"):
        len(train)
    assert train.num_windows is None and train.skipped is None
    for _ in zip(range(3), train):  # noqa: B905
        pass
    assert train.num_windows is None
    assert len(list(train)) == len(train) == 25
    assert train.num_windows == 795 and train.skipped == 0


@pytest.mark.parametrize("blocks", [None, 77])
def test_threads_change_nothing(blocks):
    one, other = made(blocks=blocks, threads=1).train, made(blocks=blocks).train
    for (x, y), (other_x, other_y) in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_iterators_go_on_side_by_side():
    train = made(blocks=100).train
    want = [list(train), list(train)]
    train.set_epoch(0)
    pairs = list(zip(train, train, strict=True))
    for j in range(2):
        for pair, (x, y) in zip(pairs, want[j], strict=True):
            np.testing.assert_array_equal(pair[j][0], x)
            np.testing.assert_array_equal(pair[j][1], y)


def test_an_iterator_that_is_left_ends_its_thread():
    before = threading.active_count()
    for _ in range(5):
        for _ in made(5000, blocks=100).train:
            break
    assert threading.active_count() <= before + 1


def test_a_later_batch_leaves_an_earlier_one_alone():
    train = made(5000, blocks=300).train
    kept = [(x, y, x.copy(), y.copy()) for x, y in train]
    for x, y, x_then, y_then in kept:
        np.testing.assert_array_equal(x, x_then)
        np.testing.assert_array_equal(y, y_then)


def test_windows_can_be_pickled(tmp_path):
    pq.write_table(pa.table({"a": np.arange(500.0)}), tmp_path / "t.parquet")
    windows = sn.Windows(tmp_path / "t.parquet", length=5)
    list(windows.train)
    other = pickle.loads(pickle.dumps(windows))
    for (x, y), (other_x, other_y) in zip(windows.train, other.train, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_a_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.arange(500.0)}), path)
    windows = sn.Windows(path, length=5)
    list(windows.train)
    pq.write_table(pa.table({"a": np.arange(400.0)}), path)
    with pytest.raises(DataError, match="changed while it was read"):
        list(windows.train)


def test_too_many_groups_for_the_memory_is_said():
    groups = np.tile(np.arange(50), 20)
    table = pa.table({"g": groups, "a": np.arange(1000.0)})
    windows = sn.Windows(table, "a", group="g", length=8, scaler=None)
    windows.train._maker.capacity, windows.train._maker.whole = 300, False
    with pytest.raises(DataError, match="put the rows of each group together"):
        list(windows.train)
    together = sn.Windows(table.sort_by("g"), "a", group="g", length=8, scaler=None)
    together.train._maker.capacity, together.train._maker.whole = 300, False
    assert sum(len(x) for x, _ in together.train) == 50 * 8


def test_a_longer_window_holds_no_more_rows():
    rows = [
        sn.Windows(np.zeros((100, 4)), length=length, target=0, memory="16MB").train._maker.capacity
        for length in (2, 90)
    ]
    assert rows[0] == rows[1]


def test_batches_train_a_network():
    rng = np.random.default_rng(SEED)
    signal = np.sin(np.arange(3000) / 8) + 0.05 * rng.normal(size=3000)
    windows = sn.Windows(signal, length=16, seed=SEED)
    model = sn.nn.Sequential([sn.nn.Dense(16, 16, random_state=0), sn.nn.ReLU(), sn.nn.Dense(16, 1, random_state=1)])
    model.compile("adam", "mse")
    x, y = windows.train.arrays()
    model.fit(x[:, :, 0], y[:, None], epochs=5)
    x, y = windows.validation.arrays()
    error = windows.inverse_target(model.predict(x[:, :, 0])[:, 0]) - windows.inverse_target(y)
    assert np.sqrt(np.mean(error**2)) < 0.15


CHILD = f"""
import sys
import numpy as np
import streamnorm as sn

windows = sn.Windows(sys.argv[1], length={LENGTH}, stride={STRIDE}, target="c0", memory="{MEMORY}", batch_size=256,
                     **eval(sys.argv[2]))
total = 0.0
for part in (windows.train, windows.validation):
    assert not part._maker.whole
    for x, y in part:
        total += float(x[:, 0, 0].sum()) + float(y.sum())
assert windows.train.num_windows + windows.validation.num_windows > 450_000
assert np.isfinite(total)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("grouped", [False, True], ids=["one series", "groups"])
def test_memory_is_bounded_whatever_the_number_of_rows(grouped, tmp_path):
    """256 MB of values, and 6 GB of windows with a stride of 1, in a small file."""
    path = tmp_path / "t.parquet"
    rows = 1 << 16
    schema = pa.schema([*((f"c{j}", pa.float64()) for j in range(COLUMNS)), ("g", pa.int8())])
    values = np.sin(np.arange(rows) / 50).round(2)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(0, ROWS, rows):
            columns = [values + j for j in range(COLUMNS)]
            writer.write_table(pa.table([*columns, np.arange(rows, dtype=np.int8) % 3], schema=schema))
    assert path.stat().st_size < 40e6
    columns = [f"c{j}" for j in range(COLUMNS)]
    options = {"columns": columns} | ({"group": "g"} if grouped else {})
    env = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, env.get("PYTHONPATH", "").split(os.pathsep))))
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), repr(options)], capture_output=True, text=True, env=env
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= BOUND, f"{int(run.stdout) / 1e6:.0f} MB"
