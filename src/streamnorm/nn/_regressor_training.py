"""The epochs of a regressor: its network, compiled, over its material."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._regressor_network import Recipe
from ._regressor_scaling import Material
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


def train_network(run: Run, material: Material, recipe: Recipe) -> None:
    """Train for the recipe's epochs, or until the validation share says that it is enough."""
    runner = run.network.runner((material.scaling.features.width,), recipe.batch_size)
    held = material.held

    def validation() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        assert held is not None
        for x, y, _, weight in held():
            yield x, y, weight

    found = train(
        runner,
        recipe.epochs,
        lambda epoch: material.feed(run.done + epoch),
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
