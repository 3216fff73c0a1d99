"""Counters of distinct values by name: columns to give them, how they are checked and timed."""

# Design: time is that of the processor, as polars takes every core that there is. What is timed starts from a column as
# it lies in memory, without nulls, and ends with the number. Ours does what a description wants besides.

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import pyarrow as pa

from .measure import WrongAnswer

SEED = 7
CHECK_ROWS = 100_003
BATCH_ROWS = 1 << 17  # that our tally is fed with at once, as the passes over a file feed it
TOLERANCE = 0.25  # DuckDB's error is the largest of these; ours is 1.6 %

KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "all": lambda rng, rows: rng.standard_normal(rows),
    "thousand": lambda rng, rows: rng.integers(0, 1000, rows) / 8,
    "ten": lambda rng, rows: rng.integers(0, 10, rows).astype(np.float64),
    "ascending": lambda rng, rows: np.sort(rng.standard_normal(rows)),
}


def column(kind: str, rows: int) -> pa.Array:
    """`rows` values of a kind out of `KINDS`."""
    return pa.array(KINDS[kind](np.random.default_rng([SEED, rows]), rows))


def _streamnorm(array: pa.Array) -> int:
    from streamnorm._core import ColumnTally
    from streamnorm.report.distinct import estimate

    tally = ColumnTally()
    for start in range(0, len(array), BATCH_ROWS):
        tally.update(array.slice(start, BATCH_ROWS))
    return estimate(tally.hashes, tally.registers)[0]


def _polars(array: pa.Array) -> int:
    import polars as pl

    return pl.Series(array).approx_n_unique()


@functools.cache
def _connection():
    import duckdb

    return duckdb.connect()  # ten milliseconds, which are not those of counting


def _duckdb(array: pa.Array) -> int:
    _connection().register("given", pa.table({"x": array}))
    return _connection().execute("select approx_count_distinct(x) from given").fetchall()[0][0]


DISTINCT: dict[str, Callable[[pa.Array], int]] = {"streamnorm": _streamnorm, "polars": _polars, "duckdb": _duckdb}
PEERS = [name for name in DISTINCT if name != "streamnorm"]


def alternate(names: Sequence[str], array: pa.Array, rounds: int) -> dict[str, list[float]]:
    """Seconds of each once a round, in turning order."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            start = time.process_time()
            DISTINCT[name](array)
            taken[name].append(time.process_time() - start)
    return taken


def ratio(mine: str, other: str, array: pa.Array, rounds: int) -> float:
    """Median over the rounds of one's time over the other's."""
    taken = alternate([mine, other], array, rounds)
    return median(a / b for a, b in zip(taken[mine], taken[other], strict=True))


@functools.cache
def check_distinct(name: str, kind: str) -> None:
    """Compare the answer of `name` with the true number; raises `WrongAnswer` if it is far off."""
    array = column(kind, CHECK_ROWS)
    found, true = DISTINCT[name](array), len(np.unique(array))
    if abs(found - true) > TOLERANCE * true:
        raise WrongAnswer(f"distinct values by {name}: {found} of {kind} values, where {true} is true")
