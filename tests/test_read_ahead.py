"""One batch ahead on a thread: the same batches, two at a time, and no thread that stays."""

import contextvars
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm.read_ahead import one_ahead


class Counted:
    """A generator that notes how many batches it has begun, where, and that it was closed."""

    def __init__(self, count, fails_at=None):
        self.begun, self.closed, self.threads = 0, False, set()
        self._count, self._fails_at = count, fails_at

    def batches(self):
        try:
            for i in range(self._count):
                self.threads.add(threading.get_ident())
                self.begun = i + 1
                if i == self._fails_at:
                    raise OSError("the disk is gone")
                yield i
        finally:
            self.closed = True


def test_all_batches_come_in_their_order():
    source = Counted(100)
    assert list(one_ahead(source.batches())) == list(range(100))
    assert source.closed and len(source.threads) == 1 and threading.get_ident() not in source.threads
    assert list(one_ahead(iter(()))) == []


def test_no_more_than_one_is_made_ahead():
    source = Counted(20)
    for i in one_ahead(source.batches()):
        time.sleep(0.002)
        assert source.begun <= i + 2


def test_an_error_comes_after_what_was_whole():
    source, got = Counted(10, fails_at=3), []
    with pytest.raises(OSError, match="the disk is gone"):
        for i in one_ahead(source.batches()):
            got.append(i)
    assert got == [0, 1, 2] and source.closed


def test_a_consumer_that_leaves_ends_the_thread():
    before, source = threading.active_count(), Counted(10)
    ahead = one_ahead(source.batches())
    assert next(ahead) == 0
    ahead.close()
    assert source.closed and threading.active_count() == before


def test_the_thread_has_the_context_of_the_caller():
    name = contextvars.ContextVar("name", default="nobody")
    name.set("caller")
    assert list(one_ahead(name.get() for _ in range(2))) == ["caller", "caller"]


def test_fits_have_the_same_bits_with_one_thread_and_several(tmp_path):
    x = np.random.default_rng(2).normal(size=100_000)
    table = pa.table({"x": x, "k": np.arange(100_000) % 7})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30_000)
    pa.csv.write_csv(table, tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        fits = [sn.fit(tmp_path / name, "robust", where="k < 5", threads=threads, memory="64MB") for threads in (1, 4)]
        assert fits[0].digest() == fits[1].digest()
        summary = fits[0].summary_["x"]
        assert summary.count == (table["k"].to_numpy() < 5).sum()
    assert not [thread for thread in threading.enumerate() if "run" in thread.name]
