"""The epochs of a regressor: its network, compiled, over its material."""

# Design: a learning rate that is a number falls over the epochs of a fit along half a cosine, as after Loshchilov and
# Hutter, "SGDR: Stochastic gradient descent with warm restarts" (ICLR 2017), and each warm start begins one anew: at a
# constant rate a network with batch normalization does not settle, and the rate has to be a tenth as large. A schedule
# is followed as it is, step by step. Turned down: a constant rate, with which training twice is the same as training
# longer.

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._regressor_network import Recipe
from ._regressor_scaling import Material, Piece
from ._regressor_settling import Settling, settling_epochs
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


def train_network(run: Run, material: Material, recipe: Recipe, *, settles: bool) -> None:
    """Train for the recipe's epochs, or until the validation share says that it is enough.

    If it `settles`, a learning rate that is a number falls meanwhile, and the last epochs of a network with batch
    normalization are trained by its running statistics.
    """
    optimizer: Any = run.network.optimizer
    rate = None if callable(optimizer.lr) or not settles else optimizer.lr
    last = 0 if rate is None else settling_epochs(run.network, recipe.epochs)
    first = recipe.epochs - last
    try:
        found = _train(run, run.network, material, recipe, range(first), rate)
        if last and len(found["loss"]) == first:
            best = min(found.get("val_loss", [math.inf]))
            before = run.network.state_dict()
            settling = Settling(run.network)
            fresh = copy.copy(optimizer)
            fresh.state, fresh.steps, fresh._bound = [], 0, None
            settling.folded.compile(fresh, recipe.loss, threads=run.network.threads)
            more = _train(run, settling.folded, material, recipe, range(first, recipe.epochs), rate)
            if min(more.get("val_loss", [-math.inf])) < best:
                settling.unfold()
            else:
                run.network.load_state_dict(before)
            found = {name: values + more[name] for name, values in found.items()}
    finally:
        if rate is not None:
            optimizer.lr = rate
    run.done += len(found["loss"])
    for name in {**run.history, **found}:
        run.history[name] = run.history.get(name, []) + found.get(name, [])
    run.network.eval()


def _train(
    run: Run, network: Sequential, material: Material, recipe: Recipe, epochs: range, rate: float | None
) -> dict[str, list[float]]:
    """Train one network for some of the epochs, from a rate that falls over all of them, if there is one."""
    runner = network.runner((material.scaling.features.width,), recipe.batch_size)
    held, progress = material.held, run.progress

    def feed(epoch: int) -> Iterable[Piece]:
        epoch += epochs.start
        if rate is not None and network.optimizer is not None:
            network.optimizer.lr = rate * (1 + math.cos(math.pi * (epoch + 0.5) / recipe.epochs)) / 2
        return material.feed(run.done + epoch)

    def validation() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        assert held is not None
        for x, y, _, weight in held():
            yield x, y, weight

    def tell(done: int, total: int, losses: dict[str, float]) -> None:
        if progress is not None:
            progress(epochs.start + done, recipe.epochs, losses)

    return train(
        runner,
        len(epochs),
        feed,
        recipe.batch_size,
        validation=None if held is None else validation,
        patience=None if held is None else recipe.patience,
        tol=recipe.tol,
        restore_best=None if held is None else network,
        progress=tell,
    )
