"""Training of small networks by name: one step of each implementation as its users write it, and its error on data.

A `Network` is inputs, hidden width and batch size of ``Dense, BatchNorm, ReLU`` twice and ``Dense`` to one output,
trained by Adam on the squared error; a `Problem` has its rows and initial weights. ``STEPPERS[name]`` turns a problem
into a `Call` of one epoch, and ``check`` compares the losses of the first steps with NumPy's in float64.
``REGRESSORS[name]`` fits the rows of a `Split` and predicts others. ``available()`` leaves out those whose modules are
not installed, and ``missing()`` says which these are.
"""

# Design: each has its best case. Ours gathers the rows of an epoch in a new order, as `fit` does; PyTorch gets batches
# that are already cut from a tensor, and no DataLoader; scikit-learn has no batch normalization, so that its step is of
# a smaller network, and its rows are float32. The error on data is another matter: there everyone shuffles.
#
# Design: the errors compare what users get. Ours is `Regressor` with its defaults, whose learning rate falls along half
# a cosine from 1e-2; PyTorch's loop and scikit-learn have Adam's common 1e-3, as their tutorials do. "torch_cosine" has
# our schedule, which tells what the schedule does from what the library does.

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from math import cos, pi, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import data
from .measure import WrongAnswer
from .norm_peers import Call

SEED = 11
RATE, BETAS, ADAM_EPS = 1e-3, (0.9, 0.999), 1e-8
NORM_EPS = 1e-5
CHECK_STEPS = 8
LOSS_TOLERANCE = 1e-5  # of the loss of each of the first steps, relative; float32 against float64
LEARNT = 0.9  # of its first loss, at most what an implementation without batch norm is left with
LEARNT_EPOCHS = 20

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
TEST_SHARE = 0.25
SEEDS = range(1 if data.QUICK else 5)
MOST_ROWS = 2000 if data.QUICK else None  # of a dataset


class Network(NamedTuple):
    """Inputs, width of the two hidden layers, rows of a batch, and how many steps an epoch is made of."""

    inputs: int
    hidden: int
    batch: int
    steps: int

    @property
    def label(self) -> str:
        return f"{self.inputs}-{self.hidden}-{self.hidden}-1, batch {self.batch}"


SMALL, LARGE = Network(10, 64, 32, 8 if data.QUICK else 512), Network(128, 512, 1024, 1 if data.QUICK else 8)
NETWORKS = {network.label: network for network in (SMALL, LARGE)}


class Problem:
    """Rows, a target that a network can learn from them, and initial weights under the names of their layers."""

    def __init__(self, network: Network, steps: int | None = None) -> None:
        rng = np.random.default_rng([SEED, *network[:3]])
        rows = network.batch * (steps or network.steps)
        self.network = network
        self.x = rng.standard_normal((rows, network.inputs), np.float32)
        self.y = np.tanh(self.x[:, 0]) + self.x[:, 1] * self.x[:, 2] / 2
        self.y += rng.standard_normal(rows, np.float32) / 10
        self.initial: dict[str, np.ndarray] = {}
        for place, (fan_in, fan_out) in zip((0, 3, 6), self.widths, strict=True):
            bound = 1 / sqrt(fan_in)
            self.initial[f"{place}.weight"] = rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32)
            self.initial[f"{place}.bias"] = rng.uniform(-bound, bound, fan_out).astype(np.float32)

    @property
    def widths(self) -> list[tuple[int, int]]:
        inputs, hidden = self.network[:2]
        return [(inputs, hidden), (hidden, hidden), (hidden, 1)]

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.x), self.network.batch):
            yield self.x[start : start + self.network.batch], self.y[start : start + self.network.batch]

    @cached_property
    def truth(self) -> list[float]:
        """The loss before each step, by the textbook's formulas in float64."""
        return _true_losses(self)


def _true_losses(problem: Problem) -> list[float]:
    value = {name: array.astype(np.float64) for name, array in problem.initial.items()}
    for place in (1, 4):
        value[f"{place}.weight"], value[f"{place}.bias"] = (
            np.ones(problem.network.hidden),
            np.zeros(problem.network.hidden),
        )
    first = {name: np.zeros_like(array) for name, array in value.items()}
    second = {name: np.zeros_like(array) for name, array in value.items()}
    losses = []
    for step, (x, y) in enumerate(problem.batches(), 1):
        loss, gradient = _loss_and_gradient(value, x.astype(np.float64), y.astype(np.float64))
        losses.append(loss)
        for name, slope in gradient.items():
            first[name] += (1 - BETAS[0]) * (slope - first[name])
            second[name] += (1 - BETAS[1]) * (slope**2 - second[name])
            size = np.sqrt(second[name] / (1 - BETAS[1] ** step)) + ADAM_EPS
            value[name] -= RATE / (1 - BETAS[0] ** step) * first[name] / size
    return losses


def _loss_and_gradient(
    value: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    kept, inward = [], x
    for place in (0, 3):
        z = inward @ value[f"{place}.weight"].T + value[f"{place}.bias"]
        rstd = 1 / np.sqrt(z.var(0) + NORM_EPS)
        normal = (z - z.mean(0)) * rstd
        after = np.maximum(normal * value[f"{place + 1}.weight"] + value[f"{place + 1}.bias"], 0)
        kept.append((inward, rstd, normal, after))
        inward = after
    residual = (inward @ value["6.weight"].T + value["6.bias"])[:, 0] - y
    dy = (2 / len(y) * residual)[:, None]
    gradient = {"6.weight": dy.T @ inward, "6.bias": dy.sum(0)}
    dx = dy @ value["6.weight"]
    for place, (inward, rstd, normal, after) in zip((3, 0), reversed(kept), strict=True):
        dz = dx * (after > 0)
        gradient[f"{place + 1}.weight"], gradient[f"{place + 1}.bias"] = (dz * normal).sum(0), dz.sum(0)
        dz = dz * value[f"{place + 1}.weight"]
        dz = rstd * (dz - dz.mean(0) - normal * (dz * normal).mean(0))
        gradient[f"{place}.weight"], gradient[f"{place}.bias"] = dz.T @ inward, dz.sum(0)
        dx = dz @ value[f"{place}.weight"]
    return float(np.mean(residual**2)), gradient


# One epoch of each: a function of the problem and the threads that gives the call, and one that gives the losses.


class Stepper(NamedTuple):
    """How to train a problem for an epoch, and the losses before its first steps in the order of the rows."""

    epoch: Callable[[Problem, int], Call]
    losses: Callable[[Problem, int], list[float]]
    modules: tuple[str, ...] = ()


def _our_network(problem: Problem, threads: int | None):
    from streamnorm import nn

    layers: list = []
    for fan_in, fan_out in problem.widths:
        layers += [nn.Dense(fan_in, fan_out), nn.BatchNorm(fan_out), nn.ReLU()]
    network = nn.Sequential(layers[:-2])
    network.load_state_dict({**network.state_dict(), **problem.initial})
    return network.compile("adam", "mse", threads=threads)


def _our_epoch(problem: Problem, threads: int | None) -> Call:
    network, batch = _our_network(problem, threads), problem.network.batch
    return Call(lambda: network.fit(problem.x, problem.y, epochs=1, batch_size=batch, random_state=SEED))


def _our_losses(problem: Problem, threads: int | None) -> list[float]:
    network = _our_network(problem, threads)
    return [
        network.fit(x, y, epochs=1, batch_size=len(x), shuffle=False)["loss"][0] for x, y in problem.batches()
    ]


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_network(widths: list[tuple[int, int]]):
    from torch import nn

    layers: list = []
    for fan_in, fan_out in widths:
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


def torch_step(network: Any, measure: Any, optimizer: Any) -> Callable:
    """A function that trains PyTorch's network on one batch and returns the loss."""

    def step(x, y):
        optimizer.zero_grad()
        loss = measure(network(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _torch_training(problem: Problem, fused: bool):
    """A function that trains on one batch and returns the loss, and the batches."""
    import torch

    network = torch_network(problem.widths)
    tensors = {name: torch.tensor(array) for name, array in problem.initial.items()}
    network.load_state_dict(tensors, strict=False)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=fused)
    measure = torch.nn.MSELoss()
    batches = [(torch.tensor(x), torch.tensor(y)[:, None]) for x, y in problem.batches()]
    return torch_step(network, measure, optimizer), batches


def _torch_stepper(fused: bool) -> Stepper:
    def epoch(problem: Problem, threads: int) -> Call:
        step, batches = _torch_training(problem, fused)

        def all_steps():
            for x, y in batches:
                step(x, y)

        return Call(all_steps, lambda: torch_threads(threads))

    def losses(problem: Problem, threads: int) -> list[float]:
        step, batches = _torch_training(problem, fused)
        with torch_threads(threads):
            return [step(x, y).item() for x, y in batches]

    return Stepper(epoch, losses, ("torch",))


def _sklearn_network(problem: Problem):
    from sklearn.neural_network import MLPRegressor

    hidden, batch = problem.network[1:3]
    return MLPRegressor(
        hidden_layer_sizes=(hidden, hidden), batch_size=batch, learning_rate_init=RATE, random_state=SEED
    )


def _limits(threads: int):
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


def _sklearn_epoch(problem: Problem, threads: int) -> Call:
    network = _sklearn_network(problem)
    return Call(lambda: network.partial_fit(problem.x, problem.y), lambda: _limits(threads))


def _sklearn_losses(problem: Problem, threads: int) -> list[float]:
    """The losses of some epochs: without batch norm there is nothing to compare them with but one another."""
    network = _sklearn_network(problem)
    with _limits(threads):
        for _ in range(LEARNT_EPOCHS):
            network.partial_fit(problem.x, problem.y)
    return list(network.loss_curve_)


STEPPERS: dict[str, Stepper] = {
    "streamnorm": Stepper(_our_epoch, _our_losses),
    "streamnorm_default": Stepper(lambda p, _: _our_epoch(p, None), lambda p, _: _our_losses(p, None)),
    "torch": _torch_stepper(fused=True),
    "torch_unfused": _torch_stepper(fused=False),
    "sklearn": Stepper(_sklearn_epoch, _sklearn_losses, ("sklearn", "threadpoolctl")),
}
WITHOUT_NORM = ("sklearn",)


def lacking(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def missing() -> dict[str, str]:
    """Implementations that are left out, and the first module that each of them lacks."""
    tables = {name: each.modules for table in (STEPPERS, REGRESSORS) for name, each in table.items()}
    return {name: lacking(modules)[0] for name, modules in tables.items() if lacking(modules)}


def available(table: dict) -> list[str]:
    return [name for name in table if name not in missing()]


def check(name: str, network: Network, threads: int = 1) -> None:
    """Compare the losses of the first steps with the truth; without batch norm, see that the network learns.

    Raises
    ------
    WrongAnswer
        A loss is off by more than `LOSS_TOLERANCE`, or not below `LEARNT` of the first.
    """
    problem = Problem(network, CHECK_STEPS)
    found = STEPPERS[name].losses(problem, threads)
    if name in WITHOUT_NORM:
        if not found[-1] <= LEARNT * found[0]:
            raise WrongAnswer(f"{network.label} by {name} went from a loss of {found[0]} to {found[-1]}")
        return
    for step, (loss, true) in enumerate(zip(found, problem.truth, strict=True)):
        if not abs(loss - true) <= LOSS_TOLERANCE * true:
            raise WrongAnswer(f"{network.label} by {name}: loss {loss} before step {step}, where {true} is right")


# Errors on data that was not trained on.


class Dataset(NamedTuple):
    """A file of examples/data, its target, and columns that are no inputs although they are numbers."""

    file: str
    target: str
    exclude: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.file} {self.target}"


# wind_gust is missing in four rows of five, which would go with it.
DATASETS = {
    dataset.label: dataset
    for dataset in (Dataset("flights", "arr_delay"), Dataset("weather", "temp", ("wind_gust",)))
}


class Split(NamedTuple):
    """Rows to train on and rows to predict: float64, none of them with a missing value."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def split(dataset: Dataset, seed: int) -> Split:
    """The numeric columns of the rows that miss none of them, parted by chance."""
    table = pq.read_table(EXAMPLES / f"{dataset.file}.parquet")
    numbers = [field.name for field in table.schema if _is_number(field.type) and field.name not in dataset.exclude]
    table = table.select(numbers).drop_null()
    values = np.column_stack([table[name].cast(pa.float64()).to_numpy() for name in numbers])
    values = values[np.random.default_rng([SEED, seed]).permutation(len(values))[:MOST_ROWS]]
    target = numbers.index(dataset.target)
    x, y = np.delete(values, target, 1), values[:, target]
    held = int(TEST_SHARE * len(y))
    return Split(x[held:], y[held:], x[:held], y[:held])


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


class Settings(NamedTuple):
    """What all have in common; ours by default."""

    epochs: int
    batch: int
    rate: float


def settings() -> Settings:
    from streamnorm.nn import Regressor

    ours = Regressor()
    return Settings(2 if data.QUICK else ours.epochs, ours.batch_size, ours.learning_rate)


def _our_predictions(part: Split, seed: int, **options) -> np.ndarray:
    from streamnorm.nn import Regressor

    model = Regressor((64, 64), epochs=settings().epochs, random_state=seed, **options)
    return model.fit(part.x, part.y).predict(part.test_x)


def _sklearn_predictions(part: Split, seed: int, scaled_target: bool) -> np.ndarray:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPRegressor(
        hidden_layer_sizes=(64, 64), batch_size=settings().batch, max_iter=settings().epochs, random_state=seed
    )
    model = make_pipeline(StandardScaler(), network)
    if scaled_target:
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    with warnings.catch_warnings(), _limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as the others have, no more
        return model.fit(part.x, part.y).predict(part.test_x)


def _torch_predictions(part: Split, seed: int, cosine: bool) -> np.ndarray:
    import torch

    epochs, batch, rate = settings()
    mean, std = part.x.mean(0), part.x.std(0)
    std[std == 0] = 1.0
    goal_mean, goal_std = part.y.mean(), part.y.std()
    x = torch.tensor((part.x - mean) / std, dtype=torch.float32)
    y = torch.tensor((part.y - goal_mean) / goal_std, dtype=torch.float32)[:, None]
    generator = torch.manual_seed(seed)
    network = torch_network([(x.shape[1], 64), (64, 64), (64, 1)])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate if cosine else RATE, fused=True)
    total, schedule = epochs * -(-len(x) // batch), None
    if cosine:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + cos(pi * step / total)) / 2)
    measure = torch.nn.MSELoss()
    with torch_threads(1):
        network.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator).split(batch):
                if len(rows) < 2:  # batch normalization has no variance of one row
                    continue
                optimizer.zero_grad()
                measure(network(x[rows]), y[rows]).backward()
                optimizer.step()
                if schedule:
                    schedule.step()
        network.eval()
        with torch.no_grad():
            found = network(torch.tensor((part.test_x - mean) / std, dtype=torch.float32))
    return found[:, 0].numpy().astype(np.float64) * goal_std + goal_mean


class Predictor(NamedTuple):
    """Fits a split with a seed and predicts its test rows."""

    predict: Callable[[Split, int], np.ndarray]
    modules: tuple[str, ...] = ()


REGRESSORS: dict[str, Predictor] = {
    "streamnorm": Predictor(_our_predictions),
    "streamnorm_layer": Predictor(lambda part, seed: _our_predictions(part, seed, norm="layer")),
    "torch": Predictor(lambda part, seed: _torch_predictions(part, seed, cosine=False), ("torch",)),
    "torch_cosine": Predictor(lambda part, seed: _torch_predictions(part, seed, cosine=True), ("torch",)),
    "sklearn": Predictor(
        lambda part, seed: _sklearn_predictions(part, seed, scaled_target=False), ("sklearn", "threadpoolctl")
    ),
    "sklearn_target": Predictor(
        lambda part, seed: _sklearn_predictions(part, seed, scaled_target=True), ("sklearn", "threadpoolctl")
    ),
}


def rmse(name: str, dataset: Dataset, seed: int) -> float:
    """Root mean squared error of predictions of rows that were not trained on, in the target's units."""
    part = split(dataset, seed)
    return float(np.sqrt(np.mean((REGRESSORS[name].predict(part, seed) - part.test_y) ** 2)))
