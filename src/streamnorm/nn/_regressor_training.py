"""The epochs of a regressor: its network, compiled, over its material."""

# Design: a learning rate that is a number falls over the epochs of a fit along half a cosine, as after Loshchilov and
# Hutter, "SGDR: Stochastic gradient descent with warm restarts" (ICLR 2017), each warm start beginning one anew. A batch
# of 32 rows says little about mean and variance, and at a constant rate the network never settles: on hourly weather
# (26,000 rows, ten epochs) the error with batch normalization is half as large with the cosine. A schedule is taken as
# it is, step by step. Turned down: a constant rate, with which training again is the same as training longer.

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._regressor_network import Recipe
from ._regressor_scaling import Material, Piece
from ._training import train
from .sequential import Sequential

Progress = Callable[[int, int, dict[str, float]], Any]


@dataclass(slots=True)
class Run:
    """A network on its way.

    Attributes
    ----------
    network : Sequential
        Compiled.
    history : dict of str to list of float
    done : int
        Epochs, those of earlier fits included.
    progress : callable or None
    """

    network: Sequential
    history: dict[str, list[float]]
    done: int
    progress: Progress | None


def train_network(run: Run, material: Material, recipe: Recipe, decay: bool = True) -> None:
    """Train for the recipe's epochs, or until the validation share says that it is enough."""
    runner = run.network.runner((material.scaling.features.width,), recipe.batch_size)
    held = material.held

    optimizer = run.network.optimizer
    rate = None if optimizer is None or callable(optimizer.lr) else optimizer.lr

    def feed(epoch: int) -> Iterable[Piece]:
        if optimizer is not None and rate is not None and decay:
            optimizer.lr = rate * (1 + math.cos(math.pi * (epoch + 0.5) / recipe.epochs)) / 2
        return material.feed(run.done + epoch)

    def validation() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        assert held is not None
        for x, y, _, weight in held():
            yield x, y, weight

    found = train(
        runner,
        recipe.epochs,
        feed,
        recipe.batch_size,
        validation=None if held is None else validation,
        patience=None if held is None else recipe.patience,
        tol=recipe.tol,
        restore_best=None if held is None else run.network,
        progress=run.progress,
    )
    run.done += len(found["loss"])
    for name in {**run.history, **found}:
        run.history[name] = run.history.get(name, []) + found.get(name, [])
    run.network.eval()
