"""Epochs: feed a runner, watch the losses, stop early, keep the best."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ._module import Module

Piece = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]
Progress = Callable[[int, int, dict[str, float]], Any]


def train(
    runner: Any,
    epochs: int,
    feed: Callable[[int], Iterable[Piece]],
    batch_size: int | None,
    *,
    validation: Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]] | None = None,
    patience: int | None = None,
    tol: float = 0.0,
    restore_best: Module | None = None,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    """Train for some epochs.

    Parameters
    ----------
    runner : Plan or Steps
    epochs : int
    feed : callable
        ``feed(epoch)``, from 0, yields pieces (x, y, order or None, sample_weight or None), as ``runner.train`` takes
        them: one for arrays, many for a stream. Batches do not reach from one piece into the next.
    batch_size : int or None
        None: each piece is a batch.
    validation : callable or None
        ``validation()`` yields pieces (x, y, sample_weight or None), as ``runner.evaluate`` takes them.
    patience : int or None
        Stop once so many epochs in a row have not brought the loss (that of the validation, if there is one) more than
        `tol` below the lowest one so far; None: never.
    tol : float
    restore_best : Module or None
        The network, to leave it in the state that it had after the epoch with the lowest loss; None: as it ends.
        The lowest loss is that of the validation; without one the option does nothing, as the loss of training is
        one of networks that change from batch to batch.
    progress : callable or None
        Called as ``progress(epochs_done, epochs, losses)`` after each epoch, with a dict of "loss" and what else there
        is in the history.

    Returns
    -------
    dict of str to list of float
        "loss", the mean over the batches of an epoch, each before its step; "accuracy", if the runner counts it, the
        same way; and "val_loss" and "val_accuracy" if there is a validation.

    Raises
    ------
    FloatingPointError
        If a loss is NaN or infinite.
    ValueError
        If the feed is empty, or all weights are 0.
    """
    history: dict[str, list[float]] = {"loss": []}
    if validation is not None:
        history["val_loss"] = []
    best, waited, kept = math.inf, 0, None
    lowest = math.inf
    for epoch in range(epochs):
        sums: list[float] = []
        for x, y, order, sample_weight in feed(epoch):
            part = runner.train(x, y, len(x) if batch_size is None else batch_size, order, sample_weight)
            _check(part[0], "loss", epoch, runner)
            sums = _added(sums, part)
        losses = _means(sums, "train")
        if validation is not None:
            losses |= {f"val_{name}": value for name, value in evaluate(runner, validation()).items()}
            _check(losses["val_loss"], "val_loss", epoch, runner)
        for name, value in losses.items():
            history.setdefault(name, []).append(value)
        watched = losses.get("val_loss", losses["loss"])
        if restore_best is not None and validation is not None and watched < lowest:
            lowest, kept = watched, restore_best.state_dict()
        waited = 0 if watched < best - tol else waited + 1
        best = min(best, watched)
        if progress is not None:
            progress(epoch + 1, epochs, losses)
        if patience is not None and waited >= patience:
            break
    if kept is not None and restore_best is not None:
        restore_best.load_state_dict(kept)
    return history


def evaluate(runner: Any, pieces: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> dict[str, float]:
    """The mean "loss" over pieces (x, y, sample_weight or None), and the "accuracy" if the runner counts it."""
    sums: list[float] = []
    for x, y, sample_weight in pieces:
        sums = _added(sums, runner.evaluate(x, y, sample_weight))
    return _means(sums, "evaluate")


def _added(sums: list[float], part: tuple[float, ...]) -> list[float]:
    return [total + each for total, each in zip(sums or [0.0] * len(part), part, strict=True)]


def _means(sums: list[float], verb: str) -> dict[str, float]:
    """Of what runners return: the sum of losses, that of weights, and perhaps of the weights of what is right."""
    if not sums or sums[1] == 0:
        raise ValueError(f"there are no rows to {verb} on, or the weights of all of them are 0")
    total, weight, *right = sums
    means = {"loss": total / weight}
    if right:
        means["accuracy"] = right[0] / weight
    return means


def _check(value: float, name: str, epoch: int, runner: Any) -> None:
    if math.isfinite(value):
        return
    optimizer = getattr(runner, "optimizer", None)
    rate = f" than {optimizer.lr_at(max(0, optimizer.steps - 1)):g}" if optimizer is not None else ""
    clip = "" if optimizer is not None and optimizer.clip_norm else ", or limit gradients with clip_norm=1.0"
    raise FloatingPointError(
        f"the {name} became {value} in epoch {epoch + 1}, and so have the parameters: take a lower learning rate{rate}"
        f"{clip}; scale inputs and targets, if they are not scaled"
    )
