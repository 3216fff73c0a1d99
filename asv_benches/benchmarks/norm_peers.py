"""Norm layers by name: the cells to run them on, and the calls of each implementation as its users write them.

A `Cell` is an operation on a shape, a `Problem` has the arrays of a cell, and ``IMPLEMENTATIONS[name]`` turns a
problem into `Calls`: forward, forward and backward, and for ours backward alone. ``available()`` leaves out
those whose modules are not installed, and ``missing()`` says which these are.
"""

# Design: "streamnorm" is what a user writes first, with results in new arrays, as PyTorch's are; "streamnorm_out"
# gives a buffer for every result. Calls are written out instead of being made from a list of arguments, since
# at (32, 64) the passing of arguments is a good part of what is measured. PyTorch's calls get their arguments
# from a tuple, which costs a function in Python nothing that can be seen beside its own 7 us.

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from . import data
from .measure import WrongAnswer

SEED = 7
EPS = 1e-5
MOMENTUM = 0.1
HELD_BYTES = 1 << 19  # the values of a statistic up to which a second reading finds them in cache
CACHE_BYTES = 32_000_000  # arrays that are larger together are taken to come from memory
BLOCK_VALUES = 4_000_000  # of the truth, which needs several float64 arrays of what it works on

# max|a - b| / max|b|, for values around zero. PyTorch sums float32 in float32; 7e-6 was seen.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
PEER_TOLERANCE = {"float64": 1e-12, "float32": 1e-4}


class Cell(NamedTuple):
    """An operation on a shape, channels second except for layer and RMS norm, which take the last axis."""

    op: str
    shape: tuple[int, ...]
    groups: int = 0  # of group norm

    @property
    def label(self) -> str:
        groups = f" in {self.groups}" if self.groups else ""
        return f"{self.op} {'x'.join(map(str, self.shape))}{groups}"

    @property
    def by_row(self) -> bool:
        """Whether the last axis is normalized, and has a parameter for each place."""
        return self.op in ("layer", "rms")

    @property
    def channels(self) -> int:
        return self.shape[-1 if self.by_row else 1]

    @property
    def values(self) -> int:
        return prod(self.shape)

    @property
    def held(self) -> int:
        """Values between two readings of the same one, in an order of work that keeps them as few as they can be."""
        if self.by_row:
            return self.shape[-1]
        if self.op == "batch":  # channels side by side share cache lines and are read together
            return self.values if len(self.shape) == 2 else self.values // self.channels
        return self.values // self.shape[0] // (self.groups or self.channels)


GRID = [
    Cell("batch", (32, 64)),
    Cell("batch", (4096, 256)),
    Cell("batch", (65536, 64)),
    Cell("batch", (32, 64, 56, 56)),
    Cell("layer", (32, 64)),
    Cell("layer", (4096, 1024)),
    Cell("layer", (65536, 64)),
    Cell("layer", (8, 512, 768)),
    Cell("instance", (32, 64, 56, 56)),
    Cell("instance", (8, 3, 256, 256)),
    Cell("group", (16, 64, 56, 56), 8),
    Cell("rms", (32, 64)),
    Cell("rms", (4096, 1024)),
]
MEMORY = [
    Cell("batch", (262_144, 256)),
    Cell("batch", (64, 64, 112, 112)),
    Cell("layer", (65536, 1024)),
    Cell("instance", (64, 64, 112, 112)),
]
THREADS = [1, 2]
DTYPES = ["float32", "float64"]
if data.QUICK:
    GRID = [
        Cell("batch", (32, 64)),
        Cell("batch", (4, 6, 7, 5)),
        Cell("layer", (32, 64)),
        Cell("instance", (4, 6, 7, 5)),
        Cell("group", (4, 6, 7, 5), 3),
        Cell("rms", (32, 64)),
    ]
    MEMORY = [Cell("batch", (512, 16)), Cell("layer", (64, 128))]
    THREADS, DTYPES = [2], ["float32"]
CELLS = {cell.label: cell for cell in GRID + MEMORY}
SMALL = (32, 64)


def reads(cell: Cell, dtype: str) -> int:
    """How often the input has to come through: once if what a statistic is made of stays in cache, else twice."""
    return 1 if cell.held * np.dtype(dtype).itemsize <= HELD_BYTES else 2


def moved(cell: Cell, dtype: str, direction: str) -> int:
    """Bytes that have to be read and written: y after each reading of x, dx after each of dy and x."""
    forward, backward = reads(cell, dtype) + 1, 2 * reads(cell, dtype) + 1
    arrays = {"forward": forward, "backward": backward, "both": forward + backward}
    return arrays[direction] * cell.values * np.dtype(dtype).itemsize


def from_memory(cell: Cell, dtype: str, direction: str) -> bool:
    """Whether the arrays of a call are larger than `CACHE_BYTES`, each counted once."""
    arrays = {"forward": 2, "backward": 3, "both": 4}
    return arrays[direction] * cell.values * np.dtype(dtype).itemsize > CACHE_BYTES


class Answer(NamedTuple):
    """What a layer gives; None where it has no such thing."""

    y: np.ndarray
    dx: np.ndarray
    dweight: np.ndarray
    dbias: np.ndarray | None
    running_mean: np.ndarray | None = None
    running_var: np.ndarray | None = None


class Problem:
    """The arrays of a cell: x, normal around `offset`, and the rest by their names."""

    def __init__(self, cell: Cell, dtype: str, offset: float = 0.0) -> None:
        rng = np.random.default_rng([SEED, *cell.shape])
        self.cell, self.dtype = cell, np.dtype(dtype)
        self.x, self.dy = (rng.standard_normal(cell.shape, self.dtype) for _ in range(2))
        self.x += self.dtype.type(offset)
        self.weight = (1 + 0.1 * rng.standard_normal(cell.channels)).astype(dtype)
        self.bias = rng.standard_normal(cell.channels).astype(dtype)

    def as_float64(self) -> Problem:
        """The same values in float64."""
        made = object.__new__(Problem)
        made.cell, made.dtype = self.cell, np.dtype(np.float64)
        made.x, made.dy = self.x.astype(np.float64), self.dy.astype(np.float64)
        made.weight, made.bias = self.weight.astype(np.float64), self.bias.astype(np.float64)
        return made

    def running(self) -> tuple[np.ndarray, ...]:
        """New running mean and variance, of batch norm."""
        if self.cell.op != "batch":
            return ()
        return np.zeros(self.cell.channels, self.dtype), np.ones(self.cell.channels, self.dtype)

    @cached_property
    def truth(self) -> Answer:
        """The textbook's formulas in float64."""
        return _truth(self)


def _truth(problem: Problem) -> Answer:
    cell, shape = problem.cell, problem.cell.shape
    if cell.op == "group":
        shape = (shape[0], cell.groups, shape[1] // cell.groups, *shape[2:])
    first = {"batch": 1, "group": 1, "instance": 1}.get(cell.op, len(shape) - 1)  # axis of the parameters
    last = first + 1 + (cell.op == "group")
    parameters = tuple(n if first <= axis < last else 1 for axis, n in enumerate(shape))
    axes = {
        "batch": (0, *range(2, len(shape))),
        "instance": tuple(range(2, len(shape))),
        "group": tuple(range(2, len(shape))),
    }.get(cell.op, (-1,))
    others = tuple(axis for axis in range(len(shape)) if not first <= axis < last)
    apart = 1 if cell.op == "batch" else 0  # an axis along which statistics are of each place alone
    x, dy = problem.x.reshape(shape), problem.dy.reshape(shape)
    weight, bias = (array.astype(np.float64).reshape(parameters) for array in (problem.weight, problem.bias))
    eps = np.finfo(problem.dtype).eps if cell.op == "rms" else EPS
    y, dx = np.empty(shape), np.empty(shape)
    dweight, dbias = np.zeros(parameters), np.zeros(parameters)
    mean, var = np.empty(cell.channels), np.empty(cell.channels)
    size = max(1, BLOCK_VALUES * shape[apart] // cell.values)
    for start in range(0, shape[apart], size):
        part = (slice(None),) * apart + (slice(start, start + size),)
        own = part if cell.op == "batch" else ...
        deviation = x[part].astype(np.float64)
        center = np.zeros(1)
        if cell.op != "rms":
            center = deviation.mean(axes, keepdims=True)
            deviation -= center
            rest = deviation.mean(axes, keepdims=True)  # what the first mean lost to rounding
            deviation -= rest
            center += rest
        square = np.square(deviation).mean(axes, keepdims=True)
        rstd = 1 / np.sqrt(square + eps)
        normal = np.multiply(deviation, rstd, out=deviation)
        y[part] = normal * weight[own] + (0.0 if cell.op == "rms" else bias[own])
        gradient = dy[part].astype(np.float64)
        dbias[own] += gradient.sum(others, keepdims=True)
        dweight[own] += (gradient * normal).sum(others, keepdims=True)
        gradient *= weight[own]
        inward = normal * (gradient * normal).mean(axes, keepdims=True)
        if cell.op != "rms":
            inward += gradient.mean(axes, keepdims=True)
        dx[part] = (gradient - inward) * rstd
        if cell.op == "batch":
            mean[part[1]], var[part[1]] = center.ravel(), square.ravel()
    running = ()
    if cell.op == "batch":
        count = cell.values // cell.channels
        running = MOMENTUM * mean, 1 - MOMENTUM + MOMENTUM * var * count / (count - 1)
    gradients = dweight.ravel(), None if cell.op == "rms" else dbias.ravel()
    return Answer(y.reshape(cell.shape), dx.reshape(cell.shape), *gradients, *running)


class Call(NamedTuple):
    """A function to time, and what has to be set around it."""

    function: Callable[[], object]
    around: Callable[[], AbstractContextManager] = nullcontext


class Calls(NamedTuple):
    """An implementation on a problem. The running arrays are those that its calls update."""

    forward: Call  # gives y
    both: Call  # gives dx, dweight and, except for RMS norm, dbias
    backward: Call | None = None
    running: Sequence = ()

    def directions(self) -> dict[str, Call]:
        found = {"forward": self.forward, "both": self.both, "backward": self.backward}
        return {name: call for name, call in found.items() if call}


# Ours. Each gets the functions, the problem, the threads and the buffers of y, of all that forward gives and of
# all that backward gives, which may be None, and returns forward, forward and backward, and backward.


def _batch(F, problem: Problem, threads: int, running, y, kept, gradients):
    x, dy, w, b = problem.x, problem.dy, problem.weight, problem.bias
    rm, rv = running
    _, mean, rstd = F.batch_norm_forward(x, None, None, w, b, True)

    def both():
        _, mean, rstd = F.batch_norm_forward(x, rm, rv, w, b, True, out=kept, threads=threads)
        return F.batch_norm_backward(dy, x, mean, rstd, w, out=gradients, threads=threads)

    return (
        lambda: F.batch_norm(x, rm, rv, w, b, True, out=y, threads=threads),
        both,
        lambda: F.batch_norm_backward(dy, x, mean, rstd, w, out=gradients, threads=threads),
    )


def _layer(F, problem: Problem, threads: int, running, y, kept, gradients):
    x, dy, w, b = problem.x, problem.dy, problem.weight, problem.bias
    shape = w.shape
    _, mean, rstd = F.layer_norm_forward(x, shape, w, b)

    def both():
        _, mean, rstd = F.layer_norm_forward(x, shape, w, b, out=kept, threads=threads)
        return F.layer_norm_backward(
            dy, x, mean, rstd, w, normalized_shape=shape, out=gradients, threads=threads
        )

    return (
        lambda: F.layer_norm(x, shape, w, b, out=y, threads=threads),
        both,
        lambda: F.layer_norm_backward(
            dy, x, mean, rstd, w, normalized_shape=shape, out=gradients, threads=threads
        ),
    )


def _instance(F, problem: Problem, threads: int, running, y, kept, gradients):
    x, dy, w, b = problem.x, problem.dy, problem.weight, problem.bias
    _, mean, rstd = F.instance_norm_forward(x, None, None, w, b)

    def both():
        _, mean, rstd = F.instance_norm_forward(x, None, None, w, b, out=kept, threads=threads)
        return F.instance_norm_backward(dy, x, mean, rstd, w, out=gradients, threads=threads)

    return (
        lambda: F.instance_norm(x, None, None, w, b, out=y, threads=threads),
        both,
        lambda: F.instance_norm_backward(dy, x, mean, rstd, w, out=gradients, threads=threads),
    )


def _group(F, problem: Problem, threads: int, running, y, kept, gradients):
    x, dy, w, b = problem.x, problem.dy, problem.weight, problem.bias
    groups = problem.cell.groups
    _, mean, rstd = F.group_norm_forward(x, groups, w, b)

    def both():
        _, mean, rstd = F.group_norm_forward(x, groups, w, b, out=kept, threads=threads)
        return F.group_norm_backward(dy, x, mean, rstd, w, num_groups=groups, out=gradients, threads=threads)

    return (
        lambda: F.group_norm(x, groups, w, b, out=y, threads=threads),
        both,
        lambda: F.group_norm_backward(dy, x, mean, rstd, w, num_groups=groups, out=gradients, threads=threads),
    )


def _rms(F, problem: Problem, threads: int, running, y, kept, gradients):
    x, dy, w = problem.x, problem.dy, problem.weight
    shape = w.shape
    _, rstd = F.rms_norm_forward(x, shape, w)

    def both():
        _, rstd = F.rms_norm_forward(x, shape, w, out=kept, threads=threads)
        return F.rms_norm_backward(dy, x, rstd, w, normalized_shape=shape, out=gradients, threads=threads)

    return (
        lambda: F.rms_norm(x, shape, w, out=y, threads=threads),
        both,
        lambda: F.rms_norm_backward(dy, x, rstd, w, normalized_shape=shape, out=gradients, threads=threads),
    )


_OURS = {"batch": _batch, "layer": _layer, "instance": _instance, "group": _group, "rms": _rms}


def _statistics_shape(cell: Cell) -> tuple[int, ...]:
    if cell.by_row:
        return cell.shape[:-1]
    return {"batch": cell.shape[1:2], "instance": cell.shape[:2], "group": (cell.shape[0], cell.groups)}[cell.op]


def _ours(problem: Problem, threads: int, buffers) -> Calls:
    import streamnorm.nn.functional as F

    running = problem.running()
    return Calls(*map(Call, _OURS[problem.cell.op](F, problem, threads, running, *buffers)), running=running)


def _streamnorm(problem: Problem, threads: int) -> Calls:
    return _ours(problem, threads, (None, None, None))


def _streamnorm_out(problem: Problem, threads: int) -> Calls:
    y, dx = np.ones_like(problem.x), np.ones_like(problem.x)
    dweight, dbias = np.ones_like(problem.weight), np.ones_like(problem.bias)
    mean, rstd = np.ones(_statistics_shape(problem.cell)), np.ones(_statistics_shape(problem.cell))
    if problem.cell.op == "rms":
        return _ours(problem, threads, (y, (y, rstd), (dx, dweight)))
    return _ours(problem, threads, (y, (y, mean, rstd), (dx, dweight, dbias)))


# PyTorch, and what takes its place.


@contextmanager
def _torch_mode(threads: int, gradients: bool) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        torch.set_num_threads(before)


def _tensors(functions, problem: Problem, threads: int) -> Calls:
    """Calls of functions that have the names and arguments of those in torch.nn.functional."""
    import torch

    cell = problem.cell
    x, w, b = (torch.tensor(array, requires_grad=True) for array in (problem.x, problem.weight, problem.bias))
    dy = torch.tensor(problem.dy)
    running = [torch.tensor(array) for array in problem.running()]
    arguments = {
        "batch": (x, *running, w, b, True),
        "layer": (x, tuple(w.shape), w, b),
        "instance": (x, None, None, w, b),
        "group": (x, cell.groups, w, b),
        "rms": (x, tuple(w.shape), w),
    }[cell.op]
    function = getattr(functions, f"{cell.op}_norm")

    def both():
        x.grad = w.grad = b.grad = None
        function(*arguments).backward(dy)
        return (x.grad, w.grad) if cell.op == "rms" else (x.grad, w.grad, b.grad)

    return Calls(
        Call(lambda: function(*arguments), lambda: _torch_mode(threads, gradients=False)),
        Call(both, lambda: _torch_mode(threads, gradients=True)),
        running=running,
    )


def _torch(problem: Problem, threads: int) -> Calls:
    import torch.nn.functional

    return _tensors(torch.nn.functional, problem, threads)


def _streamnorm_torch(problem: Problem, threads: int) -> Calls:
    import streamnorm.nn.torch

    return _tensors(streamnorm.nn.torch, problem, threads)


IMPLEMENTATIONS: dict[str, Callable[[Problem, int], Calls]] = {
    "streamnorm": _streamnorm,
    "streamnorm_out": _streamnorm_out,
    "torch": _torch,
    "streamnorm_torch": _streamnorm_torch,
}
# Modules without which an implementation is left out. PyTorch is in no extra of ours: which of its builds to have is
# for the user to say.
NEEDS = {"torch": ["torch"], "streamnorm_torch": ["torch", "streamnorm.nn.torch"]}


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def missing() -> dict[str, str]:
    """Implementations that are left out, and the first module that each of them lacks."""
    lacking = {name: [module for module in modules if not _found(module)] for name, modules in NEEDS.items()}
    return {name: modules[0] for name, modules in lacking.items() if modules}


def available() -> list[str]:
    return [name for name in IMPLEMENTATIONS if name not in missing()]


def answer(name: str, problem: Problem, threads: int = 1) -> Answer:
    """What the implementation called `name` gives, from new running arrays."""
    calls = IMPLEMENTATIONS[name](problem, threads)
    with calls.forward.around():
        y = np.array(calls.forward.function())
    running = [np.array(array) for array in calls.running]
    with calls.both.around():
        gradients = [np.array(array) for array in calls.both.function()]
    if len(gradients) < 3:
        gradients.append(None)
    return Answer(y, *gradients, *running)


def errors(found: Answer, true: Answer) -> dict[str, float]:
    """max|a - b| / max|b| of each of the arrays by name."""
    pairs = {name: (getattr(found, name), getattr(true, name)) for name in Answer._fields}
    return {
        name: float(np.abs(a - b).max() / np.abs(b).max()) for name, (a, b) in pairs.items() if b is not None
    }


def check(name: str, problem: Problem, threads: int = 1) -> None:
    """Compare `name` with the truth in float64.

    Raises
    ------
    WrongAnswer
        An array is off by more than `TOLERANCE`, or `PEER_TOLERANCE` if the implementation is not ours.
    """
    tolerance = (TOLERANCE if name.startswith("streamnorm") else PEER_TOLERANCE)[problem.dtype.name]
    found = answer(name, problem, threads)
    if found.y.dtype != problem.dtype or found.y.shape != problem.cell.shape:
        raise WrongAnswer(f"{problem.cell.label} by {name} is {found.y.dtype} of shape {found.y.shape}")
    for what, error in errors(found, problem.truth).items():
        if not error <= tolerance:
            raise WrongAnswer(
                f"{what} of {problem.cell.label} {problem.dtype} by {name} is off by {error:.1e} "
                f"of the largest, where {tolerance:.0e} is allowed"
            )
