"""The command line: how it ends when it is asked to stop, and what it leaves."""

import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import IN_OUT, SLOW_MACHINE, fails, start

from streamnorm import engine
from streamnorm.interrupt import Interrupted, interruptible

SECONDS_TO_STOP = 1.0
INTERRUPTED = "streamnorm: interrupted; nothing was written"


def stop(process, signum):
    """Send the signal; how long it took, and the last line on standard error."""
    sent = time.monotonic()
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=SLOW_MACHINE)
    return time.monotonic() - sent, stderr.splitlines()[-1]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_writing_leaves_nothing(signum, code, big, tmp_path):
    process = start("normalize", big, "-o", tmp_path / "out.parquet", "--state", tmp_path / "out.json")
    give_up = time.monotonic() + SLOW_MACHINE
    while not any(tmp_path.iterdir()) and time.monotonic() < give_up:
        time.sleep(0.001)
    assert [path.name for path in tmp_path.iterdir()] == [f".out.parquet.{process.pid}.streamnorm-tmp"]
    seconds, last = stop(process, signum)
    assert (process.returncode, last) == (code, INTERRUPTED)
    assert seconds < SECONDS_TO_STOP and not any(tmp_path.iterdir())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_fitting_leaves_nothing(signum, code, big, tmp_path):
    many = [tmp_path / f"{i}.parquet" for i in range(20)]
    for path in many:
        path.symlink_to(big)
    process = start("fit", *many, "-o", tmp_path / "out.json", "--method", "robust")
    assert process.stderr.readline().startswith("fitting 4 of 4 columns")
    seconds, last = stop(process, signum)
    assert (process.returncode, last) == (code, INTERRUPTED)
    assert seconds < SECONDS_TO_STOP and sorted(tmp_path.iterdir()) == sorted(many)


def test_an_interruption_tells_what_was_complete(folder, monkeypatch):
    write = engine.normalize

    def normalize_and_go_on(*args, **options):
        write(*args, **options)
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(engine, "normalize", normalize_and_go_on)
    assert fails(130, "normalize", *IN_OUT) == "interrupted; out.parquet was complete by then"


def test_a_signal_is_asked_for_again_if_its_exception_was_lost():
    with interruptible() as watch:
        watch.check()
        with pytest.raises(Interrupted) as lost:
            signal.raise_signal(signal.SIGTERM)
        assert lost.value.exit_code == 143
        signal.raise_signal(signal.SIGTERM)  # at once again: ignored, for the clean-up's sake
        with pytest.raises(Interrupted):
            watch.check()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("chosen,expected", [(None, "system"), ("mimalloc", "mimalloc")])
def test_the_command_keeps_to_the_allocator_that_gives_memory_back(chosen, expected, tmp_path):
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "in.parquet")
    code = (
        "import sys, atexit\n"
        "def say():\n    import pyarrow; print(pyarrow.default_memory_pool().backend_name)\n"
        "atexit.register(say)\n"
        "from streamnorm.cli import main; main()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ARROW_DEFAULT_MEMORY_POOL"}
    if chosen:
        environment["ARROW_DEFAULT_MEMORY_POOL"] = chosen
    command = [sys.executable, "-c", code, "fit", "in.parquet", "-o", "stats.json"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.split()) == (0, [expected]), ended.stderr
