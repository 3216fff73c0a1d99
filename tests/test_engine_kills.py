"""Runs that end in the middle: killed, interrupted, or beside another run to the same target."""

import fcntl
import hashlib
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
from support import children
from support.files import listing, numbers, sha256, temporaries, write

import streamnorm as sn
from streamnorm.atomic import remove_stale

ROWS = 3_000_000
INTERRUPT_SECONDS = 1.5  # from the signal to the exception, on a busy machine


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A file of 96 MB, and the bytes of its normalized form."""
    folder = tmp_path_factory.mktemp("big")
    rng = np.random.default_rng(1)
    table = pa.table({c: rng.normal(size=ROWS) for c in "wxyz"})
    path = write(folder / "in.parquet", table, row_group_size=300_000, use_dictionary=False, compression="none")
    sn.normalize(path, folder / "expected.parquet", threads=2)
    yield path, sha256(folder / "expected.parquet")
    shutil.rmtree(folder)


NORMALIZE = """
import os, signal, sys, streamnorm as sn
source, target, moment = sys.argv[1:]
def progress(done, total, size):
    if done >= float(moment) * total:
        os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sn.normalize(source, target, threads=2, overwrite=True, progress=progress if float(moment) < 9 else None)
print("done", flush=True)
"""


def check_after_a_kill(folder, target, old, expected):
    """The target is what it was (or, from a kill after the last step, all of the new one); the next run clears up."""
    found = sha256(target) if target.exists() else None
    assert found in (old, expected)
    stale = temporaries(folder)
    assert len(stale) <= 1
    assert all(name.startswith(f"{folder}/.out.parquet.") and name.endswith(".streamnorm-tmp") for name in stale)
    assert set(listing(folder)) <= {"out.parquet", *(name.rpartition("/")[2] for name in stale)}
    return bool(stale), found


@pytest.mark.parametrize(
    "moment,before", [(0.02, "old"), (0.45, "absent"), (0.55, "absent"), (0.8, "old"), (0.95, "absent"), (1.0, "old")]
)
def test_killed_at_a_moment_of_its_progress(moment, before, big, tmp_path):
    """Slow: each case takes two runs over 3 million rows."""
    source, expected = big
    target = tmp_path / "out.parquet"
    old = None
    if before == "old":
        sn.normalize(numbers(100), target)
        old = sha256(target)
    result = children.run(NORMALIZE, source, target, moment)
    assert result.status == -signal.SIGKILL, result.err
    stale, found = check_after_a_kill(tmp_path, target, old, expected)
    assert found == old
    if moment > 0.5:
        assert stale
    sn.normalize(source, target, overwrite=before == "old", threads=2)
    assert listing(tmp_path) == {"out.parquet": expected}


@pytest.fixture(scope="module")
def seconds(big, tmp_path_factory):
    """How long a child takes from its call of normalize to the end."""
    folder = tmp_path_factory.mktemp("timing")
    child = children.start(NORMALIZE, big[0], folder / "out.parquet", 9)
    child.stdout.readline()
    began = time.monotonic()
    out, err = child.communicate(timeout=children.TIME_LIMIT)
    assert "done" in out, err
    shutil.rmtree(folder)
    return time.monotonic() - began


@pytest.mark.parametrize("moment", [0.1, 0.4, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_killed_at_a_moment_by_the_clock(moment, big, seconds, tmp_path):
    source, expected = big
    target = tmp_path / "out.parquet"
    target.write_text("old")
    child = children.start(NORMALIZE, source, target, 9)
    child.stdout.readline()
    time.sleep(moment * seconds)
    child.kill()
    child.communicate(timeout=children.TIME_LIMIT)
    check_after_a_kill(tmp_path, target, hashlib.sha256(b"old").hexdigest(), expected)
    few = write(tmp_path.parent / f"few{moment}.parquet", numbers(10))
    sn.normalize(few, target, overwrite=True)
    assert sorted(listing(tmp_path)) == ["out.parquet"]


HALT = """
import sys, streamnorm as sn
source, target = sys.argv[1:]
halted = False
def progress(done, total, size):
    global halted
    if not halted and done >= 0.7 * total:
        halted = True
        print("halted", flush=True)
        sys.stdin.readline()
sn.normalize(source, target, threads=2, overwrite=True, progress=progress)
"""


def test_a_live_run_is_left_alone_by_another(tmp_path):
    table = numbers(400_000)
    source = write(tmp_path / "in.parquet", table, row_group_size=20_000)
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "out.parquet"
    child = children.start(HALT, source, target, stdin=True)
    assert child.stdout.readline() == "halted\n"
    (live,) = temporaries(folder)
    sn.normalize(source, target, "minmax")
    assert temporaries(folder) == [live]
    assert isinstance(sn.load(target), sn.MinMaxScaler)
    _, err = child.communicate("go on\n", timeout=children.TIME_LIMIT)
    assert child.returncode == 0, err
    assert isinstance(sn.load(target), sn.StandardScaler)
    assert sorted(listing(folder)) == ["out.parquet"]


def test_a_file_that_is_cleared_away_before_it_is_locked(monkeypatch, tmp_path):
    """Another run may find the temporary file between its creation and its lock, and take it for a stale one."""
    lock, cleared = fcntl.flock, []

    def clear_then_lock(file, operation):
        if not cleared:
            cleared.extend(temporaries(tmp_path))
            remove_stale(tmp_path / "out.parquet")
            assert len(cleared) == 1 and temporaries(tmp_path) == []
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", clear_then_lock)
    sn.normalize(numbers(100), tmp_path / "out.parquet")
    assert cleared and sorted(listing(tmp_path)) == ["out.parquet"]


INTERRUPT = """
import os, signal, sys, threading, time, streamnorm as sn
source, target, method = sys.argv[1:]
folder = os.path.dirname(target)
whole = 1e9
for _ in range(2):
    began = time.monotonic()
    sn.normalize(source, target, method, threads=2)
    whole = min(whole, time.monotonic() - began)
    os.remove(target)
for part in (0.1, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85):
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(part * whole, send)
    try:
        try:
            timer.start()
            sn.normalize(source, target, method, threads=2)
        finally:
            ended = time.monotonic()
            timer.join()
        print("finished", 0, len(os.listdir(folder)) - 1, threading.active_count())
        os.remove(target)
    except KeyboardInterrupt:
        print("interrupted" if ended > sent[0] else "finished", ended - sent[0],
              sum("streamnorm-tmp" in name for name in os.listdir(folder)), threading.active_count())
        if os.path.exists(target):
            os.remove(target)
"""


@pytest.mark.parametrize("method", ["standard", "robust"])
def test_an_interrupt_ends_the_run_at_once(method, big, tmp_path):
    """Slow: nine runs over 3 million rows."""
    source, _ = big
    result = children.run(INTERRUPT, source, tmp_path / "out.parquet", method)
    assert result.status == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert len(lines) == 7, result.err
    assert sum(word == "interrupted" for word, *_ in lines) >= 3, lines
    for _word, late, left, threads in lines:
        assert float(late) <= INTERRUPT_SECONDS and int(left) == 0 and int(threads) == 1, lines
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("job", ["fit", "spool"])
def test_an_interrupt_elsewhere(job, big, tmp_path):
    source, _ = big
    code = {
        "fit": "sn.fit(sys.argv[1], 'robust', threads=2)",
        "spool": "sn.normalize(pq.ParquetFile(sys.argv[1]).iter_batches(), sys.argv[2], spool=True, threads=2)",
    }[job]
    code = f"import sys, streamnorm as sn, pyarrow.parquet as pq\nprint('ready', flush=True)\nwhile True: {code}"
    child = children.start(code, source, tmp_path / "out.parquet")
    child.stdout.readline()
    time.sleep(0.15)
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = child.communicate(timeout=children.TIME_LIMIT)
    assert time.monotonic() - began <= INTERRUPT_SECONDS
    assert child.returncode == -signal.SIGINT and "KeyboardInterrupt" in err, err
    assert "Exception ignored" not in err
    assert listing(tmp_path) == {}
