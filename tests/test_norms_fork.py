"""Threads that outlive a call: children of a process that forks while another thread has them, and many callers."""

import os
import platform
import sys
import threading

import numpy as np
import pytest
from support import children

from streamnorm.nn import functional as F

ROWS, COLUMNS = 4096, 128  # enough for four threads
CHILDREN = 12
SECONDS = 60  # a child that hangs is killed after
WAKINGS = 16  # of threads in a call that wants one of 63, at most; its caller sleeps too


def values() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((ROWS, COLUMNS)).astype(np.float32)


def normalized(x: np.ndarray, threads: int) -> bytes:
    return F.layer_norm(x, COLUMNS, threads=threads).tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_another_thread_computes():
    x = values()
    right = normalized(x, 1)
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            normalized(x, 4)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        for _ in range(CHILDREN):
            child = os.fork()
            if child == 0:
                import signal

                signal.alarm(SECONDS)
                os._exit(0 if all(normalized(x, 4) == right for _ in range(3)) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_many_callers_at_once_get_the_same_bits():
    x = values()
    right = normalized(x, 1)
    wrong = []

    def compute(threads):
        for _ in range(40):
            if normalized(x, threads) != right:
                wrong.append(threads)

    callers = [threading.Thread(target=compute, args=(threads,)) for threads in (2, 3, 4, 8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_threads_sleep_and_wake_again():
    x = values()
    right = normalized(x, 1)
    for pause in (0.0, 0.001, 0.05, 0.5):  # awake for a fifth of a millisecond
        threading.Event().wait(pause)
        assert normalized(x, 4) == right


MANY_THEN_FEW = """
import resource, time
import numpy as np
import streamnorm.nn.functional as F

x = np.ones((1 << 16, 128), np.float32)
F.layer_norm(x, 128, threads=64)
x, calls = x[:4096], 50

def slept():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

time.sleep(0.1)
before = slept()
for _ in range(calls):
    time.sleep(0.002)
    F.layer_norm(x, 128, threads=2)
print((slept() - before) / calls)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_threads_that_a_call_does_not_want_stay_asleep():
    result = children.run(MANY_THEN_FEW)
    assert result.status == 0, result.err
    assert float(result.out) < WAKINGS, "each sleeping thread wakes for each call"


ROUNDING = """
import ctypes
import numpy as np
import streamnorm.nn.functional as F

x = np.random.default_rng(0).standard_normal((4096, 128)).astype(np.float32)
nearest = F.layer_norm(x, 128, threads=4).tobytes()  # the threads are there
assert ctypes.CDLL(None).fesetround(UPWARD) == 0
right = F.layer_norm(x, 128, threads=1).tobytes()
assert right != nearest
assert all(F.layer_norm(x, 128, threads=4).tobytes() == right for _ in range(20))
"""
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}  # FE_UPWARD


@pytest.mark.skipif(platform.machine() not in UPWARD or sys.platform == "win32", reason="unknown way to round")
def test_threads_round_as_the_caller_does():
    result = children.run(ROUNDING.replace("UPWARD", str(UPWARD[platform.machine()])))
    assert result.status == 0, result.err
