"""Batches for training: each row once an epoch, the same bits whatever the threads, in bounded memory."""

import gc
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm._batch_rows import held_out
from streamnorm._rows import Shuffler, fill_matrix, words
from streamnorm.errors import DataError
from streamnorm.features import FeatureMap
from streamnorm.reference import batches as twins

SEED = 20130101
ROWS = 1009
BATCH_SIZES = [1, 2, 7, ROWS, ROWS + 42]
MEMORY_FLOOR = 80 * 10**6  # of imports, beyond what `memory` says


def make_table(rows=ROWS, seed=SEED):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "fare": rng.lognormal(size=rows) * 10,
            "stops": pa.array(rng.integers(0, 9, rows), pa.int16()),
            "zone": rng.choice(["a", "b", "c"], rows),
            "late": rng.normal(size=rows).astype(np.float32),
        }
    )


@pytest.fixture
def table():
    return make_table()


def numbers(table):
    return table.select(["id", "fare", "stops", "late"])


def as_matrix(table):
    return np.column_stack([column.to_numpy() for column in numbers(table).columns])


def parts_of(table):
    return [table.slice(0, 400), table.slice(400, 1), table.slice(401, 0), table.slice(401)]


def write(table, path, **options):
    pq.write_table(table, path, **options)
    return path


def files_of(table, folder):
    write(table.slice(0, 500), folder / "a.parquet", row_group_size=130)
    write(table.slice(500), folder / "b.parquet", row_group_size=300)
    return folder


def dataset_of(table, folder):
    import pyarrow.dataset as ds

    return ds.dataset(write(table, folder / "d.parquet", row_group_size=200))


SOURCES = {
    "file": lambda t, folder: str(write(t, folder / "t.parquet", row_group_size=100)),
    "folder": lambda t, folder: files_of(t, folder),
    "glob": lambda t, folder: f"{files_of(t, folder)}/*.parquet",
    "paths": lambda t, folder: sorted(files_of(t, folder).iterdir()),
    "table": lambda t, folder: t,
    "chunked": lambda t, folder: pa.concat_tables(parts_of(t)),
    "record batch": lambda t, folder: t.combine_chunks().to_batches()[0],
    "pandas": lambda t, folder: t.to_pandas(),
    "polars": lambda t, folder: pytest.importorskip("polars").from_arrow(t),
    "dataset": dataset_of,
    "list of tables": lambda t, folder: parts_of(t),
    "array": lambda t, folder: as_matrix(t),
    "list of arrays": lambda t, folder: [as_matrix(part) for part in parts_of(t)],
}
ONE_SHOT = {
    "reader": lambda t: t.to_reader(max_chunksize=100),
    "iterator": lambda t: iter(parts_of(t)),
    "arrays": lambda t: (as_matrix(part) for part in parts_of(t)),
}


def ids(batches):
    """The first column of all batches: the numbers of the rows."""
    return [int(row[0]) for X in batches for row in (X[0] if isinstance(X, tuple) else X)]


def epoch(batches):
    """An epoch as one matrix, targets behind the features."""
    return np.concatenate([np.column_stack(b) if isinstance(b, tuple) else b for b in batches])


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_row_comes_once_in_each_epoch(kind, shuffle, table, tmp_path):
    source = SOURCES[kind](table, tmp_path)
    for size in BATCH_SIZES:
        batches = sn.batches(source, None, size, shuffle, SEED)
        for _ in range(2):
            got = list(batches)
            assert [len(X) for X in got[:-1]] == [size] * (len(got) - 1)
            assert all(X.flags.c_contiguous and X.dtype == np.float32 for X in got)
            assert sorted(ids(got)) == list(range(ROWS))
            assert (ids(got) == list(range(ROWS))) is not shuffle
            assert batches.num_rows == ROWS and len(batches) == len(got)


@pytest.mark.parametrize("kind", ONE_SHOT)
@pytest.mark.parametrize("shuffle", [True, False])
def test_one_shot_sources_come_once_and_say_so(kind, shuffle, table):
    batches = sn.batches(ONE_SHOT[kind](table), None, 7, shuffle)
    assert sorted(ids(batches)) == list(range(ROWS))
    with pytest.raises(DataError, match="can be read only once, and was"):
        list(batches)
    with pytest.raises(DataError, match="fitting a scaler reads it first"):
        sn.batches(ONE_SHOT[kind](table), "standard")


def test_drop_last_leaves_out_what_does_not_fill_a_batch(table):
    batches = sn.batches(table, None, 100, drop_last=True)
    assert [len(X) for X in batches] == [100] * 10 and len(batches) == 10
    assert list(sn.batches(table, None, ROWS + 1, drop_last=True)) == []


def test_same_seed_same_bits_whatever_the_threads(table, tmp_path):
    path = SOURCES["file"](table, tmp_path)
    first = epoch(sn.batches(path, "standard", 7, seed=5, target="late"))
    for threads in (None, 1, 2, 5):
        assert same_bits(first, epoch(sn.batches(path, "standard", 7, seed=5, target="late", threads=threads)))
    assert same_bits(first, epoch(sn.batches(path, "standard", 64, seed=5, target="late")))
    assert not same_bits(first, epoch(sn.batches(path, "standard", 7, seed=6, target="late")))


def test_epochs_differ_and_can_be_chosen(table):
    batches = sn.batches(table, None, 7, seed=5)
    epochs = [ids(batches) for _ in range(3)]
    assert all(a != b for a, b in pairwise(epochs)) and batches.epoch == 3
    batches.set_epoch(1)
    assert ids(batches) == epochs[1]
    again = sn.batches(table, None, 7, seed=5)
    again.set_epoch(2)
    assert ids(again) == epochs[2]


@pytest.mark.parametrize("options", [{}, {"holdout": (0.2, 1)}, {"drop_last": True}])
def test_rows_that_are_kept_come_in_the_order_of_those_that_are_read_again(options, tmp_path):
    table = make_table(20_000)
    y = pa.array([None if i % 10 == 3 else float(i) for i in range(len(table))])
    path = write(table.append_column("y", y), tmp_path / "t.parquet", row_group_size=1500)
    kept, read = (sn.batches(path, None, 64, seed=1, target="y", **options) for _ in range(2))
    assert kept._holds
    read._holds = False
    for _ in range(3):
        assert same_bits(epoch(kept), epoch(read))
        assert (kept.num_rows, kept.rows_left_out) == (read.num_rows, read.rows_left_out)
    assert kept._held is not None and read._held is None


def test_rows_that_are_kept_do_not_hide_a_change(tmp_path):
    path = write(make_table(40_000), tmp_path / "t.parquet")
    batches = sn.batches(path, None)
    list(batches)
    time.sleep(0.01)
    write(make_table(40_000, seed=1), path)
    with pytest.raises(DataError, match="changed while it was read"):
        next(iter(batches))


def test_a_large_source_has_the_same_bits_on_any_thread_through_a_buffer_that_it_overflows(tmp_path):
    path = write(make_table(20_000), tmp_path / "t.parquet", row_group_size=1500)
    made = [sn.batches(path, None, 64, seed=1, threads=threads) for threads in (1, None)]
    for batches in made:
        batches.buffer_rows, batches.piece_rows, batches._chunk_rows = 3000, 128, 1024
        batches._holds = False
    assert same_bits(epoch(made[0]), epoch(made[1]))
    made[0]._chunk_rows, made[0].piece_rows = 500, 640
    made[0].set_epoch(0), made[1].set_epoch(0)
    one = epoch(made[0])
    assert same_bits(one, epoch(made[1]))  # the order follows from the buffer alone
    assert sorted(one[:, 0].astype(int)) == list(range(20_000))


# ------------------------------------------------------------------ values

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["file", "table", "pandas", "polars", "list of tables"])
def test_scaled_values_are_those_of_transform(kind, dtype, table, scaler, tmp_path):
    columns = ["fare", "stops", "id"]
    scaler.fit(table, columns=columns)
    source = SOURCES[kind](table, tmp_path)
    batches = sn.batches(source, scaler, 100, shuffle=False, dtype=dtype, target="late")
    expected = scaler.transform(table)
    X = np.column_stack([expected[name].to_numpy() for name in batches.columns]).astype(dtype)
    assert sorted(batches.columns) == sorted(columns)
    got, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert same_bits(got, np.ascontiguousarray(X))
    assert same_bits(y, table["late"].to_numpy().astype(dtype))


def test_every_column_that_a_fit_takes_has_the_values_of_transform(hostile, tmp_path):
    table = pa.table({"a": hostile if len(hostile) else pa.array([1.5, None])})
    scaler = sn.StandardScaler().fit(table, columns="a")
    features = FeatureMap(scaler, keep_missing=True, dtype=np.float64)
    got = epoch(sn.batches(table, features, 100, False, dtype=np.float64))[:, 0]
    # One rounding, as streamnorm.transform(..., dtype=) has it, not first to the type of the column.
    reader = sn.transform(table, None, scaler, dtype="float64")
    expected = reader.read_all()["a"].to_numpy()
    np.testing.assert_array_equal(got, expected)


def test_decimals_booleans_dates_and_dictionaries_are_numbers_when_named(tmp_path):
    table = pa.table(
        {
            "price": pa.array(["1.10", "2.20", "-5.50"]).cast(pa.decimal128(7, 2)),
            "late": [True, False, True],
            "day": pa.array([0, 1, 20000], pa.date32()),
            "grade": pa.array([10, 20, 10]).dictionary_encode(),
            "half": pa.array(np.array([1, 2, 3.5], np.float16)),
            "at": pa.array([0, 10**12, 5], pa.timestamp("us")),
        }
    )
    expected = [[1.10, 1, 0, 10, 1, 0], [2.20, 0, 1, 20, 2, 10**12], [-5.50, 1, 20000, 10, 3.5, 5]]
    for source in (table, write(table, tmp_path / "t.parquet")):
        batches = sn.batches(source, None, 3, False, columns=table.column_names, dtype=np.float64)
        assert next(iter(batches)).tolist() == expected
    assert sn.batches(table, None).columns == ["price", "half"]


def test_nested_and_odd_columns_are_refused(tmp_path):
    table = pa.table({"a": [1.0], "list": [[1]], "name": ["x"]})
    for source in (table, write(table, tmp_path / "t.parquet")):
        for name in ("list", "name"):
            with pytest.raises(DataError, match=name):
                sn.batches(source, None, columns=["a", name])
            with pytest.raises(DataError, match=name):
                sn.batches(source, None, target=name)
        with pytest.raises(DataError, match="did you mean|there are"):
            sn.batches(source, None, target="aa")


def test_columns_and_exclude_choose_the_features(table):
    assert sn.batches(table, None).columns == ["id", "fare", "stops", "late"]
    assert sn.batches(table, None, exclude="id", target="late").columns == ["fare", "stops"]
    assert sn.batches(table, None, columns=["stops", "fare"]).columns == ["stops", "fare"]
    assert sn.batches(as_matrix(table), None, target=3, columns=[2, 0]).columns == ["2", "0"]
    with pytest.raises(ValueError, match="decide for one"):
        sn.batches(table, None, columns=["fare"], target="fare")
    scaler = sn.StandardScaler().fit(table)
    assert sn.batches(table, scaler, target="late").columns == ["id", "fare", "stops"]


def test_a_scaler_fitted_on_an_array_goes_by_position(table):
    X = as_matrix(table)
    expected = sn.StandardScaler().fit_transform(X)
    for source in (X, numbers(table)):
        scaler = sn.StandardScaler().fit(X)
        assert same_bits(epoch(sn.batches(source, scaler, 50, False)), expected.astype(np.float32))
    named = sn.StandardScaler().fit(numbers(table))
    assert same_bits(epoch(sn.batches(X, named, 50, False)), expected.astype(np.float32))
    for source, target in ((X, 0), (numbers(table), "id"), ([X[:10], X[10:]], 0)):
        rest = epoch(sn.batches(source, "standard", 50, False, target=target))
        assert same_bits(np.ascontiguousarray(rest[:, :3]), expected[:, 1:].astype(np.float32))


@pytest.mark.parametrize("kind", ["file", "table", "list of tables", "array"])
@pytest.mark.parametrize("method", ["standard", "robust", "minmax", sn.StandardScaler(exact=True)])
def test_a_method_is_fitted_on_the_rows_that_are_trained_on(kind, method, table, tmp_path):
    source = SOURCES[kind](numbers(table), tmp_path)
    target = 3 if kind == "array" else "late"
    batches = sn.batches(source, method, 100, False, target=target, holdout=(0.3, 1))
    raw = epoch(sn.batches(source, None, 100, False, target=target, holdout=(0.3, 1), dtype=np.float64))
    fitted = sn.fit(raw[:, :3], "standard" if isinstance(method, sn.StandardScaler) else method)
    expected = fitted.transform(np.ascontiguousarray(raw[:, :3]))
    np.testing.assert_allclose(epoch(batches)[:, :3], expected, rtol=1e-6, atol=1e-6)
    assert batches.scaler.n_samples_seen_ == len(raw) < ROWS


# ------------------------------------------------------------------ targets, weights, missing values

def test_targets_keep_their_shape_and_may_be_scaled(table):
    X, y = next(iter(sn.batches(table, None, 5, target="late")))
    assert X.shape == (5, 3) and y.shape == (5,)
    X, y = next(iter(sn.batches(table, None, 5, target=["late", "fare"], shuffle=False)))
    assert X.shape == (5, 2) and y.shape == (5, 2) and y[0, 1] == np.float32(table["fare"][0].as_py())
    assert y.flags.c_contiguous
    scaler = sn.StandardScaler().fit(table, columns=["fare"])
    _, y = next(iter(sn.batches(table, None, ROWS, False, target="fare", target_scaler=scaler)))
    assert same_bits(y, scaler.transform(table)["fare"].to_numpy().astype(np.float32))


@pytest.mark.parametrize("kind", ["file", "table", "list of tables"])
def test_rows_without_a_target_or_weight_are_left_out_and_counted(kind, tmp_path):
    n = 600
    y = pa.array([None if i % 10 == 3 else float("nan") if i % 10 == 4 else float(i) for i in range(n)])
    weight = pa.array([0.0 if i % 10 == 5 else None if i % 10 == 6 else 2.0 for i in range(n)])
    # Features are missing where the target is: that is no error.
    x = pa.array([None if i % 10 == 3 else float(i) for i in range(n)])
    source = SOURCES[kind](pa.table({"x": x, "y": y, "w": weight}), tmp_path)
    batches = sn.batches(source, "standard", 32, target="y", sample_weight="w", seed=1)
    assert batches.num_rows is None
    with pytest.raises(TypeError, match="after the first epoch"):
        len(batches)
    pieces = list(batches.pieces())
    got = np.concatenate([y for _, y, _ in pieces])
    assert sorted(got) == [i for i in range(n) if i % 10 not in (3, 4, 5, 6)]
    assert {float(w) for _, _, weights in pieces for w in weights} == {2.0}
    assert (batches.num_rows, batches.rows_left_out) == (360, 240)
    assert len(batches) == 12
    assert batches.scaler.summary_["x"].count == 360


@pytest.mark.parametrize("bad", [None, float("nan")])
def test_a_missing_value_names_file_row_group_and_column(bad, tmp_path):
    values = [float(i) for i in range(400)]
    values[250] = bad
    table = pa.table({"a": range(400), "b": pa.array(values)})
    path = write(table, tmp_path / "t.parquet", row_group_size=100)
    for threads in (1, None):
        with pytest.raises(DataError, match=r"row group 2, column 'b': has a missing value") as caught:
            list(sn.batches(path, None, threads=threads))
        assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(path), 2, "b")
    with pytest.raises(DataError, match="column 'b' has a missing value") as caught:
        list(sn.batches(table, None))
    assert caught.value.column == "b"
    scaler = sn.fit(table)
    [X] = sn.batches(path, FeatureMap(scaler, impute=True), 400, False)
    assert X.shape == (400, 3) and X[250, 1] == 0 and X[:, 2].sum() == X[250, 2] == 1
    [X] = sn.batches(path, FeatureMap(scaler, keep_missing=True), 400, False)
    assert np.isnan(X[250, 1]) and np.isnan(X).sum() == 1


def test_targets_and_weights_that_cannot_be_used_are_named(tmp_path):
    table = pa.table({"a": range(300), "y": [float(i) for i in range(299)] + [np.inf], "w": [1.0] * 150 + [-1.0] * 150})
    path = write(table, tmp_path / "t.parquet", row_group_size=100)
    with pytest.raises(DataError, match="row group 2, column 'y'.*infinite"):
        list(sn.batches(path, None, target="y", columns="a"))
    with pytest.raises(DataError, match="row group 1, column 'w'.*negative"):
        list(sn.batches(path, None, sample_weight="w", columns="a"))


# ------------------------------------------------------------------ holdout

@pytest.mark.parametrize("kind", ["file", "folder", "table", "array", "list of tables"])
def test_parts_are_disjoint_complete_and_the_same_in_every_epoch(kind, table, tmp_path):
    source = SOURCES[kind](table, tmp_path)

    def part(name, **options):
        return sn.batches(source, None, 16, holdout=(0.25, 3), part=name, **options)

    train, validation = part("train"), part("validation")
    first = [sorted(ids(train)), sorted(ids(validation))]
    assert sorted(first[0] + first[1]) == list(range(ROWS)) and not set(first[0]) & set(first[1])
    assert [sorted(ids(train)), sorted(ids(validation))] == first
    other = part("validation", shuffle=False, seed=8, threads=1, memory="16MB")
    assert ids(other) == first[1]
    assert 0.2 * ROWS < len(first[1]) < 0.3 * ROWS and validation.num_rows == len(first[1])
    assert first[1] == np.flatnonzero(held_out(0.25, 3, 0, ROWS)).tolist()
    assert ids(sn.batches(source, None, 16, False, holdout=(0.25, 4), part="validation")) != first[1]


def test_a_share_of_the_rows_is_held_out():
    n = 200_000
    for fraction in (0.001, 0.1, 0.5, 0.999):
        held = held_out(fraction, 0, 10**12, n)
        assert abs(held.mean() - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / n)


# ------------------------------------------------------------------ mixing and memory

def test_a_sorted_file_is_mixed_well(tmp_path):
    """Positions in and out are hardly related, and a batch has rows of many row groups, though the buffer is small."""
    rows, groups = 400_000, 20
    path = write(pa.table({"id": np.arange(rows)}), tmp_path / "t.parquet", row_group_size=rows // groups)
    batches = sn.batches(path, None, 32, seed=2)
    batches.buffer_rows, batches._holds = rows // 5, False
    order = np.array(ids(batches))
    assert sorted(order) == list(range(rows))
    related = np.corrcoef(order, np.arange(rows))[0, 1]
    distinct = np.mean([len(np.unique(order[i : i + 32] // (rows // groups))) for i in range(0, rows - 31, 320)])
    assert abs(related) < 0.3
    assert distinct > 5
    neighbours = np.mean(np.abs(np.diff(order)) < 10)
    assert neighbours < 0.01
    whole = sn.batches(path, None, 32, seed=2)
    order = np.array(ids(whole))
    assert abs(np.corrcoef(order, np.arange(rows))[0, 1]) < 5 / np.sqrt(rows)
    expected = groups * (1 - (1 - 1 / groups) ** 32)
    distinct = np.mean([len(np.unique(order[i : i + 32] // (rows // groups))) for i in range(0, rows - 31, 320)])
    assert abs(distinct - expected) < 0.1


def test_every_order_of_a_small_source_is_as_likely():
    counts = {}
    batches = sn.batches(np.arange(4.0)[:, None], None, 4, threads=1)
    for _ in range(2400):
        order = tuple(ids(batches))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < 50  # 23 degrees of freedom: 0.1 % of samples are above 49.7


PEAK = """
import resource, sys, streamnorm as sn, numpy as np
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
scaler = sn.load(sys.argv[2])
sn.batches(np.zeros((10, 2)), None).pieces().__next__()
start = peak()
batches = sn.batches(sys.argv[1], scaler, 32, target="x0", memory=int(sys.argv[3]))
rows = sum(len(x) for x, _, _ in batches.pieces())
print(rows, peak() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_memory_is_bounded(tmp_path):
    rows, memory = 1_000_000, 32 * 10**6
    rng = np.random.default_rng(SEED)
    table = pa.table({f"x{i}": rng.normal(size=rows) for i in range(8)})
    path = write(table, tmp_path / "t.parquet", row_group_size=rows, use_dictionary=False)
    sn.StandardScaler().fit(table).save(tmp_path / "s.json")
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(tmp_path / "s.json"), str(memory)],
        capture_output=True,
        text=True,
        check=True,
    )
    made, grown = map(int, run.stdout.split())
    assert made == rows
    assert grown <= memory + MEMORY_FLOOR, f"{grown / 1e6:.0f} MB"


# ------------------------------------------------------------------ threads and trouble

def workers():
    return [thread for thread in threading.enumerate() if thread.name == "streamnorm-ahead"]


def test_closing_an_iterator_early_leaves_no_thread(table, tmp_path):
    path = SOURCES["file"](table, tmp_path)
    batches = sn.batches(path, None, 2)
    batches.piece_rows = 2  # so that the thread waits for room
    iterator = iter(batches)
    next(iterator)
    assert len(workers()) == 1
    iterator.close()
    assert not workers()
    for _ in batches:
        break
    gc.collect()
    assert not workers()
    assert sorted(ids(batches)) == list(range(ROWS))


def test_two_iterators_side_by_side_do_not_disturb_each_other(table, tmp_path):
    batches = sn.batches(SOURCES["file"](table, tmp_path), None, 8)
    one, other = iter(batches), iter(batches)
    pairs = list(zip(one, other, strict=True))
    for k in range(2):
        assert sorted(ids(pair[k] for pair in pairs)) == list(range(ROWS))


def test_a_damaged_row_group_is_named(tmp_path):
    table = pa.table({"a": np.arange(50_000.0), "b": np.arange(50_000.0)})
    path = write(table, tmp_path / "t.parquet", row_group_size=20_000, use_dictionary=False, compression="snappy")
    chunk = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    for threads in (1, None):
        batches = sn.batches(path, None, threads=threads, shuffle=False)
        with pytest.raises(DataError, match="row group 1, column 'b'") as caught:
            list(batches)
        assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(path), 1, "b")
        assert not workers()


def test_a_source_that_changes_is_noticed(table, tmp_path):
    path = tmp_path / "t.parquet"
    write(make_table(40_000), path, row_group_size=20_000)
    for threads in (1, None):
        batches = sn.batches(path, None, 16, shuffle=False, threads=threads)
        iterator = iter(batches)
        next(iterator)
        time.sleep(0.01)
        write(make_table(40_000, seed=1), path, row_group_size=20_000)
        with pytest.raises(DataError, match="changed while it was read"):
            list(iterator), list(batches)
    batches = sn.batches(path, None)
    path.unlink()
    with pytest.raises(DataError, match="went away|no such file|cannot"):
        list(batches)


def test_files_that_differ_and_parts_that_differ_are_named(tmp_path):
    write(pa.table({"a": [1.0]}), tmp_path / "a.parquet")
    write(pa.table({"a": [1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="its type is int64"):
        sn.batches(tmp_path, None)
    parts = [pa.table({"a": [1.0]}), pa.table({"b": [1.0]})]
    with pytest.raises(DataError, match="batches differ: one has no column 'a'"):
        list(sn.batches(parts, None))
    with pytest.raises(DataError, match="batches differ"):
        list(sn.batches([np.zeros((2, 2)), np.zeros((2, 3))], None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"memory": "1MB"}, "memory"),
        ({"dtype": "int32"}, "float32 or float64"),
        ({"holdout": (1.5, 0)}, "between 0 and 1"),
        ({"part": "train"}, "goes with holdout"),
        ({"part": "test", "holdout": (0.5, 0)}, "'train' or 'validation'"),
        ({"scaler": "zscore"}, "method must be one of"),
    ],
)
def test_wrong_arguments_are_named(options, message, table):
    with pytest.raises(ValueError, match=message):
        sn.batches(table, **options)


def test_empty_sources_have_no_batches(table, tmp_path):
    empty = table.slice(0, 0)
    for source in (empty, write(empty, tmp_path / "t.parquet"), [empty], empty.to_reader()):
        assert list(sn.batches(source, None)) == []
    with pytest.raises(DataError, match="no batches"):
        sn.batches(iter(()), None)


@pytest.mark.parametrize("target", [None, "late"])
def test_pieces_are_whole_batches_and_never_end_in_a_single_row(target, table):
    for rows in (1, 2, 64, 65, 128, 129, 257, 300):
        for shuffle in (True, False):
            batches = sn.batches(table.slice(0, rows), None, 32, shuffle, target=target)
            batches.piece_rows = 64
            pieces = list(batches.pieces())
            lengths = [len(x) for x, _, _ in pieces]
            assert sum(lengths) == rows and all(length % 32 == 0 for length in lengths[:-1])
            assert rows == 1 or lengths[-1] > 1
            assert sorted(int(x[0]) for X, _, _ in pieces for x in X) == list(range(rows))


def test_arrays_are_the_callers_to_keep(table):
    kept = list(sn.batches(table, None, 8))
    copies = [X.copy() for X in kept]
    list(sn.batches(table, None, 8, seed=1))
    assert all(map(same_bits, kept, copies))
    assert all(X.flags.writeable for X in kept)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_for_itself_and_may_not_go_on_with_an_iterator(table, tmp_path):
    batches = sn.batches(SOURCES["file"](table, tmp_path), None, 8)
    iterator = iter(batches)
    next(iterator)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                next(iterator), next(iterator)
                for _ in iterator:
                    pass
            except sn.StreamnormError as error:
                code = 0 if "another process" in str(error) else 2
            if code == 0 and sorted(ids(batches)) != list(range(ROWS)):
                code = 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(len(X) for X in iterator) == ROWS - 8


# ------------------------------------------------------------------ kernels and their twins

# SplitMix64 with the seed 1234567, as published with its reference implementation.
SPLITMIX = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_random_words_are_those_of_splitmix64():
    assert words(1234567, 0, 5).tolist() == SPLITMIX == twins.words(1234567, 0, 5).tolist()
    assert words(1234567, 3, 2).tolist() == SPLITMIX[3:]
    assert len(words(0, 0, 0)) == 0
    assert words(2**64 - 1, 2**40, 100).tolist() == twins.words(2**64 - 1, 2**40, 100).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_matrix_kernel_has_the_bits_of_its_twin(hostile, dtype):
    chunks = hostile.chunks if isinstance(hostile, pa.ChunkedArray) else [hostile]
    maps = np.array([[0.0, 1.0, 0.0, -np.inf, np.inf], [1.5, 3.0, -2.0, -1.0, 1.0]])
    for array in chunks:
        keep = (np.arange(len(array)) % 3 > 0).astype(np.uint8)
        arguments = [array, array], np.array([2, 0]), maps, np.array([np.nan, 7.0]), np.array([-1, 3])
        out, twin = (np.full((len(array), 5), -9, dtype) for _ in range(2))
        first = fill_matrix(out, *arguments, keep)
        assert first.tolist() == twins.fill_matrix(twin, *arguments, keep).tolist()
        np.testing.assert_array_equal(out, twin)
        assert (out[:, [1, 4]] == -9).all()


@pytest.mark.parametrize("capacity", [0, 1, 2, 10, 64, 1000])
@pytest.mark.parametrize("d", [1, 3])
def test_the_shuffle_buffer_has_the_bits_of_its_twin(capacity, d):
    rng = np.random.default_rng(SEED)
    pair = [cls(capacity, 3, np.float32, 99) for cls in (Shuffler, twins.Shuffler)]
    results = []
    for shuffler in pair:
        rng = np.random.default_rng(SEED)
        x, y, at = np.zeros((500, d), np.float32), np.zeros((500, 3 - d), np.float32), 0
        for piece in range(4):
            rows = (np.arange(300, dtype=np.float32).reshape(100, 3)) + 300 * piece
            keep = (rng.random(100) < 0.8).astype(np.uint8) if piece % 2 else None
            at, start = shuffler.push(x, y, at, rows, 0, keep)
            assert start == 100
        at = shuffler.drain(x, y, at)
        assert shuffler.count == 0
        results.append((x, y, at))
    assert results[0][2] == results[1][2]
    assert same_bits(results[0][0], results[1][0]) and same_bits(results[0][1], results[1][1])


def test_the_kernels_refuse_what_does_not_fit():
    out, one = np.zeros((3, 2), np.float32), np.zeros(1)
    plain = np.array([[0.0, 1, 0, -np.inf, np.inf]])
    none = np.array([-1])
    with pytest.raises(ValueError, match="3 rows"):
        fill_matrix(out, [np.zeros(4)], np.array([0]), plain, one, none)
    with pytest.raises(ValueError, match="none of them"):
        fill_matrix(out, [np.zeros(3)], np.array([2]), plain, one, none)
    shuffler = Shuffler(4, 2, np.float32, 0)
    with pytest.raises(ValueError, match="C-contiguous"):
        shuffler.push(out, np.zeros((3, 0), np.float32), 0, np.zeros((3, 2)), 0)
