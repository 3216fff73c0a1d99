"""Batches as a PyTorch dataset: each row once with any number of workers, and another order in each epoch."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

ROWS = 120_000
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "t.parquet"
    table = pa.table({"id": np.arange(ROWS), "x": np.ones(ROWS), "y": np.arange(ROWS) / 2})
    pq.write_table(table, path, row_group_size=20_000)
    return path


def order(loader):
    return torch.cat([X[:, 0] for X, _ in loader]).long().tolist()


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_each_row_comes_once_and_epochs_differ(workers, path):
    for persistent in (False, True) if workers else (False,):
        dataset = sn.batches(path, None, 4096, target="y").to_torch()
        loader = DataLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=persistent)
        epochs = [order(loader) for _ in range(2)]
        for epoch in epochs:
            assert sorted(epoch) == list(range(ROWS))
        assert epochs[0] != epochs[1]
        dataset.set_epoch(0)
        assert order(loader) == epochs[0]


def test_a_stream_comes_from_one_worker():
    parts = [np.arange(start, start + 50.0)[:, None] for start in range(0, 500, 50)]
    loader = DataLoader(sn.batches(parts, None, 16).to_torch(), batch_size=None, num_workers=2)
    assert sorted(torch.cat(list(loader))[:, 0].tolist()) == list(range(500))


def test_tensors_share_memory_with_the_arrays(path):
    batches = sn.batches(path, None, 64, target="y", threads=1)
    seen = []
    original = batches.pieces

    def pieces():
        for piece in original():
            seen.append(piece)
            yield piece

    batches.pieces = pieces
    X, y = next(iter(batches.to_torch()))
    assert X.data_ptr() == seen[0][0].ctypes.data and y.data_ptr() == seen[0][1].ctypes.data
    assert X.shape == (64, 2) and y.shape == (64,) and X.dtype == torch.float32


def test_parts_for_validation_stay_apart_in_workers(path):
    def rows(part, workers):
        dataset = sn.batches(path, None, 4096, target="y", holdout=(0.1, 4), part=part).to_torch()
        return set(order(DataLoader(dataset, batch_size=None, num_workers=workers)))

    assert rows("train", 2) == rows("train", 0)
    assert rows("validation", 2) == set(range(ROWS)) - rows("train", 2)


def test_a_dataset_travels_to_spawned_workers(path):
    dataset = sn.batches(path, "standard", 4096, target="y").to_torch()
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    ys = torch.cat([y for _, y in loader])
    assert sorted((ys * 2).long().tolist()) == list(range(ROWS))
