"""Fresh Python processes: for what may crash, must be killed, or is measured."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import streamnorm

SOURCES = str(Path(streamnorm.__file__).parents[1])
TESTS = str(Path(__file__).parents[1])
TIME_LIMIT = 100.0  # seconds; a child that takes longer hangs


def environment():
    path = os.pathsep.join([SOURCES, TESTS])
    return os.environ | {"PYTHONPATH": path, "ARROW_DEFAULT_MEMORY_POOL": "system"}


@dataclass
class Result:
    status: int  # exit code; minus the signal's number if one ended it
    out: str
    err: str
    peak: int  # bytes of resident memory, at most
    seconds: float


def start(code, *arguments, stdin=False):
    """Start ``python -c code arguments``; its output, and if asked for its input, are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code, *arguments):
    """Run ``python -c code arguments`` to its end; output small enough for a pipe's buffer."""
    began = time.monotonic()
    child = start(code, *arguments)
    usage = wait(child, TIME_LIMIT)
    with child.stdout, child.stderr:
        out, err = child.stdout.read(), child.stderr.read()
    return Result(child.returncode, out, err, usage.ru_maxrss * 1024, time.monotonic() - began)


def wait(child, seconds):
    """Wait for a child and return what it used; one that does not end is killed, and the test fails."""
    deadline = time.monotonic() + seconds
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return usage
        if time.monotonic() > deadline:
            os.kill(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            child.returncode = -signal.SIGKILL
            raise AssertionError(f"the child did not end within {seconds} s")
        time.sleep(0.005)


# A process that is started from a large one counts that one's memory as its own peak, until it is replaced. So a
# small process stands between the tests and what they measure.
LAUNCHER = """
import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
print("PEAK", usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status))
"""


def measure(code, *arguments):
    """Run ``python -c code arguments`` and find the peak of its resident memory, its own alone."""
    began = time.monotonic()
    child = start(LAUNCHER, code, *arguments)
    try:
        out, err = child.communicate(timeout=TIME_LIMIT)
    finally:
        child.kill()
    out, _, last = out.rpartition("PEAK ")
    peak, status = map(int, last.split())
    return Result(status, out, err, peak, time.monotonic() - began)
