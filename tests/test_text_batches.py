"""Batches of texts as codes."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm._text_batches import TextBatches

ROWS = 5_000


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    said = [None if i % 50 == 7 else " ".join(f"w{int(j)}" for j in rng.zipf(1.5, i % 9) % 60) for i in range(ROWS)]
    mood = [None if i % 11 == 3 else ("down", "level", "up")[i % 3] for i in range(ROWS)]
    value = np.where(np.arange(ROWS) % 13 == 5, np.nan, np.arange(ROWS) / 8)
    return pa.table({"said": said, "mood": mood, "value": value, "good": np.arange(ROWS) % 2 == 0})


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.parquet"
    pq.write_table(table, path, row_group_size=700)
    return path


@pytest.fixture(scope="module")
def vocabulary(table):
    return sn.Vocabulary(max_tokens=40).fit(table, "said")


def rows_of(batches):
    parts = list(batches)
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def expected(vocabulary, table, length=6):
    x = vocabulary.transform(table["said"], length)
    y = table["value"].to_numpy()
    return x[~np.isnan(y)], y[~np.isnan(y)].astype(np.float32)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("threads", [1, None])
def test_an_epoch_has_every_row_once(vocabulary, table, path, shuffle, threads):
    x, y = expected(vocabulary, table)
    for source in (table, path, str(path), table.to_pandas()):
        batches = vocabulary.batches(source, "said", "value", 6, 64, shuffle, seed=3, threads=threads)
        found, targets = rows_of(batches)
        assert (found.dtype, targets.dtype) == (np.int32, np.float32)
        order = np.argsort(targets, kind="stable")
        assert np.array_equal(targets[order], y)
        assert np.array_equal(found[order], x)
        assert np.array_equal(order, np.arange(len(y))) == (not shuffle)
        assert len(batches) == -(-len(y) // 64)


def test_epochs_differ_and_can_be_repeated(vocabulary, path):
    batches = vocabulary.batches(path, "said", "value", length=5, seed=1)
    first, second = rows_of(batches), rows_of(batches)
    assert not np.array_equal(first[1], second[1])
    batches.set_epoch(0)
    for one, other in zip(first, rows_of(batches), strict=True):
        assert np.array_equal(one, other)
    other = rows_of(vocabulary.batches(path, "said", "value", length=5, seed=2))
    assert not np.array_equal(first[1], other[1])


def test_small_memory_streams_the_same_rows(vocabulary, table, path):
    batches = vocabulary.batches(path, "said", "value", length=800, memory="16MB")
    assert not batches._holds
    found, targets = rows_of(batches)
    x, y = expected(vocabulary, table)
    order = np.argsort(targets)
    assert np.array_equal(targets[order], y)
    assert np.array_equal(found[order][:, -6:], x)


def test_strings_are_classes(vocabulary, table, path):
    batches = vocabulary.batches(path, "said", "mood", 4, shuffle=False)
    assert batches.classes == ["down", "level", "up"]
    found, y = rows_of(batches)
    names = np.array(table["mood"].to_pylist(), object)
    kept = np.array([name is not None for name in names])
    assert y.dtype == np.int64
    assert [batches.classes[i] for i in y] == names[kept].tolist()
    assert np.array_equal(found, vocabulary.transform(table["said"], 4)[kept])
    assert batches.rows_left_out == (~kept).sum()
    encoded = table.set_column(1, "mood", table["mood"].dictionary_encode())
    assert np.array_equal(rows_of(vocabulary.batches(encoded, "said", "mood", 4, shuffle=False))[1], y)
    turned = vocabulary.batches(path, "said", "mood", 4, shuffle=False, classes=["up", "level", "down"])
    assert np.array_equal(rows_of(turned)[1], 2 - y)
    with pytest.raises(sn.DataError, match="holds 'level', which is none of the classes") as caught:
        rows_of(vocabulary.batches(path, "said", "mood", classes=["up", "down"], shuffle=False))
    assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(path), 0, "mood")


def test_truth_values_are_numbers(vocabulary, table):
    _, y = rows_of(vocabulary.batches(table, "said", "good", 2, shuffle=False))
    assert y.tolist() == table["good"].to_pylist()


def test_without_targets(vocabulary, table):
    batches = vocabulary.batches(table, "said", length=3, shuffle=False, batch_size=999)
    found = list(batches)
    assert isinstance(found[0], np.ndarray)
    assert np.array_equal(np.concatenate(found), vocabulary.transform(table["said"], 3))
    assert isinstance(batches, TextBatches)


def test_texts_and_targets_in_memory(vocabulary):
    x, y = rows_of(vocabulary.batches(["w1 w2", None, "w3"], target=[1.5, 2.0, 3.0], length=2, shuffle=False))
    assert np.array_equal(x, vocabulary.transform(["w1 w2", "", "w3"], 2))
    assert y.tolist() == [1.5, 2.0, 3.0]
    named = vocabulary.batches(np.array(["w1", "w2"]), target=np.array(["b", "a"]), length=2, shuffle=False)
    assert named.classes == ["a", "b"]
    assert rows_of(named)[1].tolist() == [1, 0]
    with pytest.raises(sn.DataError, match="2 texts and 1 targets"):
        vocabulary.batches(["a", "b"], target=[1])


@pytest.mark.parametrize("shuffle", [True, False])
def test_no_batch_has_a_single_row_if_it_can_be_helped(vocabulary, shuffle):
    for rows, size, sizes in ((5, 2, [2, 3]), (4, 2, [2, 2]), (1, 2, [1]), (3, 1, [1, 1, 1]), (3, 2, [3]), (0, 2, [])):
        batches = vocabulary.batches(["w1"] * rows, None, None, 3, size, shuffle)
        assert [len(x) for x in batches] == sizes
        assert len(batches) == len(sizes)


def test_several_columns_and_a_column_that_is_text_and_target(table):
    vocabulary = sn.Vocabulary().fit(table, ["mood", "said"])
    options = {"length": 3, "shuffle": False, "padding": "post", "truncating": "post"}
    both = vocabulary.batches(table, ["mood", "said"], "mood", **options)
    x, y = rows_of(both)
    assert [vocabulary.tokens_[code] for code in x[:, 0]] == [both.classes[i] for i in y]


def test_validation_rows_are_the_other_rows(vocabulary, table, path):
    parts = [
        rows_of(vocabulary.batches(path, "said", "value", 2, holdout=(0.2, 5), part=part))[1]
        for part in ("train", "validation")
    ]
    assert 0.15 < len(parts[1]) / (len(parts[0]) + len(parts[1])) < 0.25
    assert np.array_equal(np.sort(np.concatenate(parts)), expected(vocabulary, table)[1])


def test_errors_name_file_row_group_and_column(vocabulary, tmp_path):
    rows = [b"good"] * 2500 + [b"b\xe9d"]
    bad = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": rows, "y": np.arange(2501.0)}), bad, row_group_size=1000)
    for threads in (1, 2):
        with pytest.raises(sn.DataError, match="row group 2, column 't'") as caught:
            rows_of(vocabulary.batches(bad, "t", "y", length=2, threads=threads))
        assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(bad), 2, "t")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text": "nope"}, sn.DataError, "there is no column 'nope'"),
        ({"text": "value"}, sn.DataError, "column 'value' is double"),
        ({"text": []}, ValueError, "text is empty"),
        ({"text": "said", "target": "nope"}, sn.DataError, "no single column 'nope'"),
        ({"text": "said", "target": [1.0]}, ValueError, "name of a column"),
        ({"text": "said", "target": "value", "classes": ["a"]}, ValueError, "target of strings"),
        ({"text": "said", "classes": ["a"]}, ValueError, "classes are those of a target"),
        ({"text": "said", "target": "mood", "classes": ["a", "a"]}, ValueError, "different strings"),
        ({"text": "said", "length": 0}, ValueError, "length"),
        ({"text": "said", "batch_size": 0}, ValueError, "batch_size"),
        ({}, sn.DataError, "name the column"),
    ],
)
def test_arguments_are_checked(vocabulary, table, options, error, message):
    with pytest.raises(error, match=message):
        vocabulary.batches(table, **options)


def test_readers_are_read_once(vocabulary, table):
    batches = vocabulary.batches(table.to_reader(), "said", "value", length=2)
    assert len(rows_of(batches)[1]) == len(expected(vocabulary, table)[1])
    with pytest.raises(sn.DataError, match="only once"):
        list(batches)
    with pytest.raises(sn.DataError, match="classes="):
        vocabulary.batches(table.to_reader(), "said", "mood")


def test_they_travel_to_other_processes(vocabulary, path):
    batches = vocabulary.batches(path, ["said"], "mood", length=3, seed=4)
    first = rows_of(batches)
    again = pickle.loads(pickle.dumps(batches))
    again.set_epoch(0)
    for one, other in zip(first, rows_of(again), strict=True):
        assert np.array_equal(one, other)
    assert pickle.loads(pickle.dumps(vocabulary)).digest() == vocabulary.digest()


def test_a_loader_of_pytorch_takes_them(vocabulary, path):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(
        vocabulary.batches(path, "said", "mood", length=3, seed=4).to_torch(), batch_size=None
    )
    x, y = next(iter(loader))
    assert (x.dtype, y.dtype) == (torch.int32, torch.int64)
    assert x.shape == (32, 3)
