"""Run the implementations of ``peers``: check their answers, take time and peak memory of fresh processes."""

# Design: times that are compared come from alternating runs (a b, b a, a b, ...), and a ratio is the median
# of the ratios within a round, not the ratio of two medians. A machine's speed drifts by more than the
# differences of interest, and a drift takes both sides of a round along.

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from . import data, truth
from .peers import JOBS, QUANTILES, WRITES

HERE = Path(__file__).resolve().parent
CHECK_ROWS = 20_000

MOMENT_TOLERANCE = 1e-11  # of mean and standard deviation, relative to the larger of |mean| and std
VALUE_TOLERANCE = 1e-9  # of normalized values, which are of the order of one
FLOAT32_TOLERANCE = 2e-6  # of whatever an implementation computes from float32 in float32
RANK_TOLERANCE = (
    0.02  # of approximate quantiles, as a share of the count; the loosest peer is a small t-digest
)
TRAINED_LOSS = 0.5  # of the scaled target after two epochs, at most; 1 is what predicting the mean costs


class WrongAnswer(AssertionError):
    """An implementation's result is wrong; it must not be timed."""


class Measurement(NamedTuple):
    """One run in a process of its own: seconds without imports, and the peak of the process with them."""

    wall: float
    cpu: float
    peak_mb: float
    answer: Any


@contextmanager
def scratch() -> Iterator[str]:
    """A path for an output file beside the input files, so that both are on the same disk."""
    data.ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.ROOT, prefix=".out-") as folder:
        yield os.path.join(folder, "out.parquet")


def run(job: str, name: str, source: str) -> Measurement:
    """Do `job` with the implementation called `name` in a new process.

    Raises
    ------
    RuntimeError
        The process failed; the message is what it printed.
    """
    launcher = [sys.executable, "-I", "-S", str(HERE / "launcher.py")]
    with scratch() as target:
        command = [sys.executable, "-m", f"{HERE.name}.child", job, name, source]
        if job in WRITES:
            command.append(target)
        done = subprocess.run(launcher + command, cwd=HERE.parent, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) < 2:
        raise RuntimeError(f"{job} by {name} on {source} failed: {done.stderr.strip() or done.stdout}")
    inside, outside = json.loads(lines[-2]), json.loads(lines[-1])
    return Measurement(inside["wall"], inside["cpu"], outside["peak_mb"], inside["answer"])


def alternate(
    entries: Sequence[tuple[str, str]], source: str, rounds: int
) -> dict[tuple[str, str], list[Measurement]]:
    """Run every ``(job, implementation)`` once a round, in turning order, with the file in the page cache."""
    data.warm(source)
    taken: dict[tuple[str, str], list[Measurement]] = {entry: [] for entry in entries}
    for number in range(rounds):
        for entry in entries if number % 2 == 0 else reversed(entries):
            taken[entry].append(run(*entry, source))
    return taken


def wall_ratio(ours: list[Measurement], *theirs: list[Measurement]) -> float:
    """Median over the rounds of our wall time over the sum of theirs."""
    return median(
        mine.wall / sum(other.wall for other in others) for mine, *others in zip(ours, *theirs, strict=True)
    )


def peak_ratio(ours: list[Measurement], *theirs: list[Measurement]) -> float:
    """Median over the rounds of our peak memory over the largest of theirs."""
    return median(
        mine.peak_mb / max(other.peak_mb for other in others) for mine, *others in zip(ours, *theirs, strict=True)
    )


# Answers, on a file small enough to check every value.


@functools.cache
def _oracle_columns() -> dict[str, np.ma.MaskedArray]:
    table = pq.read_table(data.path("standard", CHECK_ROWS))
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        values = np.nan_to_num(column.to_numpy(zero_copy_only=False)).astype(np.float64)
        columns[name] = np.ma.array(values, mask=column.is_null().to_numpy(zero_copy_only=False))
    return columns


def _tolerance(name: str, tolerance: float) -> float:
    return max(tolerance, FLOAT32_TOLERANCE) if name == "single" else tolerance


def _require(close: bool, job: str, implementation: str, column: str, got, expected) -> None:
    if not close:
        raise WrongAnswer(f"{job} by {implementation}: column {column!r} is {got}, true is {expected}")


def _check_moments(name: str, answer: dict) -> None:
    bits = JOBS["fit_moments"][name].bits
    for column, values in _oracle_columns().items():
        present = values.compressed()
        mean, std = truth.moments(present)
        got_mean, got_std, got_min, got_max = answer[column]
        tolerance = 0.0 if bits else _tolerance(column, MOMENT_TOLERANCE) * max(abs(mean), std)
        expected = (mean, std, present.min(), present.max())
        close = abs(got_mean - mean) <= tolerance and abs(got_std - std) <= tolerance
        close = close and (got_min, got_max) == expected[2:]
        _require(close, "fit_moments", name, column, answer[column], expected)


def _check_extrema(name: str, answer: dict) -> None:
    for column, values in _oracle_columns().items():
        expected = (values.compressed().min(), values.compressed().max())
        # Some print float32 in the digits that tell it from other float32.
        tolerance = FLOAT32_TOLERANCE if column == "single" else 0.0
        close = all(abs(a - b) <= tolerance * abs(b) for a, b in zip(answer[column], expected, strict=True))
        _require(close, "fit_extrema", name, column, answer[column], expected)


def rank_error(ordered: np.ndarray, value: float, q: float) -> float:
    """Distance of `q` from the ranks that `value` can claim in the sorted array `ordered`, as a share."""
    low, high = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
    return max(0.0, low / len(ordered) - q, q - high / len(ordered))


def _check_quantiles(name: str, answer: dict) -> None:
    implementation = JOBS["fit_quantiles"][name]
    for column, values in _oracle_columns().items():
        ordered = np.sort(values.compressed())
        expected = np.quantile(ordered, QUANTILES)
        if implementation.bits:
            close = answer[column] == expected.tolist()
        elif implementation.exact:
            tolerance = _tolerance(column, MOMENT_TOLERANCE) * np.abs(expected)
            close = bool(np.all(np.abs(answer[column] - expected) <= tolerance))
        else:
            pairs = zip(answer[column], QUANTILES, strict=True)
            close = all(rank_error(ordered, value, q) <= RANK_TOLERANCE for value, q in pairs)
        _require(close, "fit_quantiles", name, column, answer[column], expected)


def _check_output(job: str, name: str, target: str) -> None:
    table = pq.read_table(target)
    for column, values in _oracle_columns().items():
        if job == "normalize":
            values = (values - values.mean()) / values.std()
        got = table[column].combine_chunks()
        nulls = got.is_null().to_numpy(zero_copy_only=False)
        _require(
            bool(np.all(nulls == values.mask)), job, name, column, "null elsewhere", "nulls of the input"
        )
        difference = np.abs(np.nan_to_num(got.to_numpy(zero_copy_only=False)) - values)
        close = difference.max() <= _tolerance(column, VALUE_TOLERANCE)
        _require(bool(close), job, name, column, f"off by {difference.max()}", "equal")


@functools.cache
def check(job: str, name: str) -> None:
    """Do `job` on a small file in this process and compare with the truth.

    Raises
    ------
    WrongAnswer
        A value is outside the tolerances on top of this file.
    """
    function = JOBS[job][name].function
    source = data.path("training" if job == "train" else "standard", CHECK_ROWS)
    if job in WRITES:
        with scratch() as target:
            function(source, target)
            _check_output(job, name, target)
    elif job == "scan":
        _require(function(source) == CHECK_ROWS, job, name, "all", "another number of rows", CHECK_ROWS)
    elif job == "train":
        loss = function(source)
        _require(loss is None or loss <= TRAINED_LOSS, job, name, "target", f"left with {loss}", TRAINED_LOSS)
    else:
        checks = {"fit_moments": _check_moments, "fit_extrema": _check_extrema, "fit_quantiles": _check_quantiles}
        checks[job](name, function(source))
