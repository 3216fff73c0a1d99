"""Rows a second that `Regressor` trains on, from Parquet beside arrays of the same values, and from less memory."""

# Design: the whole of `fit` is timed, which scales the columns and, for arrays, puts the rows in an order of their
# own; and besides that an epoch, as the time between the ends of the first and of the last one. Rows that fit into the
# shuffle buffer are read in the first epoch alone; "file_32MB" has a buffer that holds two fifths of a million rows,
# so that every epoch reads the file: that is what training on a file of any size comes to.

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from . import data
from .measure import WrongAnswer

ROWS = data.ROWS // 10
EPOCHS = 2 if data.QUICK else 4
ROUNDS = 1 if data.QUICK else 3
LOSS_SPREAD = 0.25  # by which losses of the last epoch may differ, relative: the orders of rows do


class Taken(NamedTuple):
    """Seconds of a fit, and of an epoch that is not its first."""

    fit: float
    epoch: float
    loss: float


def source(rows: int = ROWS) -> str:
    """A file of ten columns and a target, with row groups of a tenth of its rows."""
    return data.path("training", rows)


@functools.cache
def arrays(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The same values, as scikit-learn's users have them: X in float64, and y."""
    table = pq.read_table(source(rows))
    names = [name for name in table.column_names if name != data.TARGET]
    return np.column_stack([table[name].to_numpy() for name in names]), table[data.TARGET].to_numpy()


FEEDS: dict[str, Callable[[int], tuple[tuple, dict]]] = {
    "memory": lambda rows: (arrays(rows), {}),
    "file": lambda rows: ((source(rows),), {"target": data.TARGET}),
    "file_32MB": lambda rows: ((source(rows),), {"target": data.TARGET, "memory": "32MB"}),
}


def train(feed: str, threads: int | None, rows: int = ROWS) -> Taken:
    """Fit with the defaults, for `EPOCHS` epochs."""
    from streamnorm.nn import Regressor

    positional, named = FEEDS[feed](rows)
    ends: list[float] = []
    model = Regressor(epochs=EPOCHS, random_state=0)
    start = time.perf_counter()
    model.fit(*positional, **named, threads=threads, progress=lambda *_: ends.append(time.perf_counter()))
    whole = time.perf_counter() - start
    return Taken(whole, (ends[-1] - ends[0]) / (EPOCHS - 1), model.history_["loss"][-1])


def alternate(
    feeds: list[str], threads: int | None, rows: int = ROWS, rounds: int = ROUNDS
) -> dict[str, list[Taken]]:
    """Each once a round, in turning order.

    Raises
    ------
    WrongAnswer
        One was left with another loss than the first.
    """
    data.warm(source(rows))
    taken: dict[str, list[Taken]] = {feed: [] for feed in feeds}
    for number in range(rounds):
        for feed in feeds if number % 2 == 0 else reversed(feeds):
            taken[feed].append(train(feed, threads, rows))
    expected = taken[feeds[0]][0].loss
    for feed, runs in taken.items():
        if not abs(runs[0].loss - expected) <= LOSS_SPREAD * expected:
            raise WrongAnswer(f"training by {feed}: a loss of {runs[0].loss}, and {expected} by {feeds[0]}")
    return taken


def share(mine: list[Taken], memory: list[Taken], what: str) -> float:
    """Rows a second over those from memory: the median over the rounds of the ratio of times."""
    return median(getattr(b, what) / getattr(a, what) for a, b in zip(mine, memory, strict=True))


def best(runs: list[Taken], what: str) -> float:
    return min(getattr(run, what) for run in runs)


def kinds() -> Iterator[tuple[str, int]]:
    """What is timed, and over how many passes."""
    yield "fit", EPOCHS
    yield "epoch", 1
