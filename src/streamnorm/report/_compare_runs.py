"""The trainings of a comparison: what each of them is, and how they are done side by side."""

# Design: a run trains on one thread and reads nothing but the sample and its own seed, so that it ends in the same
# numbers whatever runs beside it. What differs between two options on a fold is the option alone: rows, their order and
# the initial weights have the same seed. Time is that of the processor in the thread, which other runs take no part in.

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import StreamnormError
from ..nn._regressor_network import make_scaler, seed_of
from ..nn._regressor_rows import indices
from ..nn.losses import get_loss
from ..nn.regressor import Regressor
from ._compare_folds import Folds
from ._compare_sample import Sample, number_columns

DIVERGED = 2.0  # relative squared error past which a model is of no use, however far past


@dataclass(frozen=True, slots=True)
class Task:
    """One training to be done."""

    scaler: str
    norm: str
    seed: int
    fold: int


@dataclass(frozen=True, slots=True)
class Run:
    """One training, done.

    Attributes
    ----------
    scaler, norm : str
    seed, fold : int
    train_rows, test_rows : int
    error : float or None
        The squared error over the rows to test on, divided by the variance of the target over all rows: 1 is what
        predicting the mean costs. The mean of several targets'. None if it is no finite number.
    curve : tuple of float
        The loss of training by epoch.
    diverged : bool
        Whether the loss or a prediction became NaN or infinite, or `error` is above 2.
    seconds : float
        Of the processor, for training.
    """

    scaler: str
    norm: str
    seed: int
    fold: int
    train_rows: int
    test_rows: int
    error: float | None
    curve: tuple[float, ...]
    diverged: bool
    seconds: float

    @property
    def task(self) -> Task:
        """Which one it was."""
        return Task(self.scaler, self.norm, self.seed, self.fold)

    @property
    def score(self) -> float:
        """R^2 by the variance of all rows; -1 at the least, and for what diverged."""
        return 1.0 - DIVERGED if self.diverged or self.error is None else 1.0 - self.error


class _Stopped(BaseException):
    """Another run, or a signal, has ended the job."""


class Trainer:
    """Does the runs of one comparison.

    Parameters
    ----------
    sample : Sample
    folds : Folds
    model : Regressor
        What is trained, but for its scaler and norm.
    scalers : mapping of str to scaler, str, dict or None
    """

    def __init__(self, sample: Sample, folds: Folds, model: Regressor, scalers: dict[str, Any]) -> None:
        self.sample, self.folds, self.model, self.scalers = sample, folds, model, scalers
        self._stop = threading.Event()
        goal = sample.target()
        self._variance = goal.var(axis=0)
        largest = max((float(np.nanmax(np.abs(v), initial=0.0)) for _, v in number_columns(sample)), default=0.0)
        self._overflows = largest > float(np.finfo(np.dtype(model.dtype)).max)
        self.mean_loss = _loss_of_mean(model, goal)

    def run(self, task: Task) -> Run:
        """One training and its test."""
        train, test = self.folds.split(task.seed, task.fold)
        scaler = self.scalers[task.scaler]
        norm = None if task.norm == "none" else task.norm
        # Options of one seed and fold begin with the same weights and see rows in the same order.
        seed = seed_of(np.random.default_rng([task.seed, task.fold]))
        model = Regressor(**{**self.model.get_params(deep=False), "scaler": scaler, "norm": norm, "random_state": seed})
        curve: list[float] = []

        def told(done: int, epochs: int, losses: dict[str, float]) -> None:
            if self._stop.is_set():
                raise _Stopped
            curve.append(losses["loss"])

        began, error = time.thread_time(), math.nan
        table = self.sample.table
        if not (self._overflows and scaler is None):  # the network's type does not hold such numbers: it ends in NaN
            inputs = [*self.sample.features, *_embedded(model)]
            try:
                with np.errstate(all="ignore"):
                    model.fit(
                        table.take(indices(train)),
                        target=self.sample.targets,
                        columns=inputs,
                        threads=1,
                        progress=told,
                    )
                trained = True
            except FloatingPointError:
                trained = False
            seconds = time.thread_time() - began
            if trained:
                with np.errstate(all="ignore"):
                    error = self._error(model, table.take(indices(test)))
        else:
            seconds = 0.0
        finite = math.isfinite(error)
        bad = not finite or error > DIVERGED
        return Run(task.scaler, task.norm, task.seed, task.fold, len(train), len(test), error if finite else None,
                   tuple(curve), bad, seconds)  # fmt: skip

    def _error(self, model: Any, rows: pa.Table) -> float:
        from ..nn._regressor_rows import target_values

        truth = target_values(rows, self.sample.targets)
        guess = model.predict(rows, threads=1).reshape(truth.shape)
        return float((((guess - truth) ** 2).mean(axis=0) / self._variance).mean())

    def run_all(self, tasks: Sequence[Task], threads: int) -> Iterator[Run]:
        """All of them, as they are done, which is in no particular order."""
        waiting = iter(tasks)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="streamnorm-compare")
        try:
            pending: set[Future[Run]] = {pool.submit(self.run, task) for task in islice(waiting, threads)}
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(self.run, task) for task in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def room(self, memory: int) -> int:
        """How many may go on at a time."""
        return max(1, int(memory // (self.sample.row_bytes * len(self.sample))))


def tasks_of(scalers: Sequence[str], norms: Sequence[str], seeds: Sequence[int], folds: int) -> list[Task]:
    """All trainings of a comparison, those of a seed and fold together."""
    return [
        Task(scaler, norm, seed, fold)
        for seed in seeds
        for fold in range(folds)
        for scaler in scalers
        for norm in norms
    ]


def _embedded(model: Any) -> list[str]:
    embed = model.embed
    return [] if embed is None else [embed] if isinstance(embed, str) else list(embed)


def _loss_of_mean(model: Regressor, goal: np.ndarray) -> float:
    """The loss of predicting the mean of the target, in the units that the network is trained in."""
    scaler = make_scaler(model.target_scaler)
    scaled = goal if scaler is None else scaler.fit(goal).transform(goal)
    mean = np.broadcast_to(scaled.mean(axis=0), scaled.shape)
    return float(get_loss(model.loss)(np.ascontiguousarray(mean), np.ascontiguousarray(scaled)))


def usable_threads(threads: int | None) -> int:
    """As asked for; None: one a core."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise StreamnormError(f"threads must be a positive integer or None, got {threads!r}")
    return threads
