"""Time calls in this process that are compared with one another: in turns, over several rounds."""

# Design: a sample is as many calls as take two milliseconds, after a pause and a call that is not timed. PyTorch's
# OpenMP threads spin for a while after a parallel call, which would take a core from whoever comes next, and
# the call brings caches and sleeping threads back. Two copies of PyTorch, taken so for its own peer, came out
# within 2 % of one another where calls are short, and mostly within 5 % where they take milliseconds.
#
# On a core that another process wants, a thread that spins for its partner loses a whole slice of the scheduler's:
# PyTorch's 9 us with two threads became up to 88 ms, which flatters whoever does not wait. Rounds in which a side
# took far more than its own best are therefore left out of a ratio, and `watched` tells whether the machine was
# quiet: a comparison of several threads on one that was not is worth nothing. The option turned down is the ratio
# of the minima, which a drift between two rounds can move.

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from . import data
from .norm_peers import Call

SAMPLE_SECONDS = 2e-4 if data.QUICK else 2e-3
PAUSE_SECONDS = 2e-3
ROUNDS = 3 if data.QUICK else 15
LEAST_ROUNDS = 3 if data.QUICK else 5
BUDGET_SECONDS = 2.0  # after which a comparison has no further round, once it had the least number
DISTURBED = 1.5  # times its own best that a side may take in a round that counts
QUIET_CORES = 0.1  # that other processes may take
ATTEMPTS = 2  # at a quiet machine
LEAST_UNDISTURBED = 3  # rounds; with fewer, a ratio is that of the best times
COPY_BYTES = 4_000_000 if data.QUICK else 256_000_000

Key = TypeVar("Key", bound=Hashable)


def _sample(call: Call, number: int) -> float:
    """Seconds of one call, out of `number` of them."""
    function = call.function
    with call.around():
        time.sleep(PAUSE_SECONDS)
        function()
        start = time.perf_counter()
        for _ in range(number):
            function()
        return (time.perf_counter() - start) / number


def _number(call: Call) -> int:
    """How many calls a sample needs."""
    number = 1
    _sample(call, 1)  # what a first call does once
    while True:
        taken = _sample(call, number) * number
        if taken >= SAMPLE_SECONDS:
            return number
        number = max(2 * number, math.ceil(1.1 * number * SAMPLE_SECONDS / taken))


def alternate(
    calls: Mapping[Key, Call], rounds: int = ROUNDS, budget: float = BUDGET_SECONDS
) -> dict[Key, list[float]]:
    """Seconds per call in each round, in turning order. Those to be compared should be neighbours in `calls`."""
    numbers = {key: _number(call) for key, call in calls.items()}
    taken: dict[Key, list[float]] = {key: [] for key in calls}
    start = time.perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() - start > budget:
            break
        for key in calls if turn % 2 == 0 else reversed(calls):
            taken[key].append(_sample(calls[key], numbers[key]))
    return taken


def ratio(mine: list[float], other: list[float]) -> float:
    """Median of `mine` over `other` in the rounds that nothing disturbed."""
    most, most_other = DISTURBED * min(mine), DISTURBED * min(other)
    ratios = [a / b for a, b in zip(mine, other, strict=True) if a <= most and b <= most_other]
    return median(ratios) if len(ratios) >= LEAST_UNDISTURBED else min(mine) / min(other)


def busy_elsewhere() -> float | None:
    """Seconds of processor time that others than this process have taken since the machine started, if it tells."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _, _, *interrupts = (int(field) for field in fields[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def watched(calls: Mapping[Key, Call], threads: int) -> tuple[dict[Key, list[float]], bool]:
    """`alternate`, and whether other processes disturbed threads that had to wait for one another."""
    for _ in range(ATTEMPTS):
        start, before = time.perf_counter(), busy_elsewhere()
        taken = alternate(calls)
        if threads == 1 or before is None:
            return taken, False
        if busy_elsewhere() - before <= QUIET_CORES * (time.perf_counter() - start):
            return taken, False
    return taken, True


# Copying, which sets the pace of whatever comes from memory.


@functools.cache
def _buffers() -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(7).standard_normal(COPY_BYTES // 8)
    return source, np.ones_like(source)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def copy(threads: int) -> Call:
    """A copy from one buffer to another, both written before, by as many threads: moves ``2 * COPY_BYTES``."""
    source, target = _buffers()
    if threads == 1:
        return Call(lambda: np.copyto(target, source))
    sources, targets = (np.array_split(buffer, threads) for buffer in (source, target))
    return Call(lambda: list(_pool(threads).map(np.copyto, targets, sources)))
