"""Optimizers: how parameters follow their gradients; and schedules of the learning rate."""

# Design: an optimizer does not hold the parameters, it is given them with every step, and keeps the arrays that belong
# to them in their order. So a network and its optimizer are copied and saved as two plain things. It remembers which
# parameters it was bound to, because the moments of one network would mislead another.
#
# Design: a step's first number is 0 for schedules, which are functions of the steps done, and 1 in Adam's correction,
# as in the paper.

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _nn as kernels
from ..errors import StateError
from ._module import Parameter, check_count, check_int, check_real
from .losses import known

__all__ = ["SGD", "Adam", "AdamW", "CosineSchedule", "Optimizer", "StepSchedule", "get_optimizer"]

CLIP_EPS = 1e-6  # added to the norm that a gradient's is divided by, as torch.nn.utils.clip_grad_norm_ has it


class Optimizer:
    """The base of optimizers. One of your own overrides :meth:`_arrays_for` and :meth:`_update`.

    Parameters
    ----------
    lr : float or callable
        The learning rate, or a function of the number of steps done, such as :class:`CosineSchedule`.
    weight_decay : float
        How much of a parameter is taken off, times the learning rate.
    clip_norm : float or None
        The most that the norm of all gradients together may be; larger ones are scaled down.
    clip_value : float or None
        The most that each value of a gradient may be, in magnitude; done before clip_norm.

    Attributes
    ----------
    steps : int
        How many were done.
    state : list of tuple of ndarray
        The arrays that belong to each parameter, in their order; empty before :meth:`bind`.
    """

    names: tuple[str, ...] = ()  # of the arrays of a parameter, in the state

    def __init__(
        self,
        lr: float | Callable[[int], float],
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.lr = lr if callable(lr) else check_real(lr, "lr", math.inf)
        self.weight_decay = check_real(weight_decay, "weight_decay", math.inf)
        self.clip_norm = _limit(clip_norm, "clip_norm")
        self.clip_value = _limit(clip_value, "clip_value")
        self.steps = 0
        self.state: list[tuple[np.ndarray, ...]] = []
        self._bound: list[Parameter] | None = None

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if not callable(self.lr):
            return self.lr
        lr = float(self.lr(step))
        if not 0 <= lr < math.inf:
            raise ValueError(f"the schedule {self.lr!r} gives {lr} for step {step}: learning rates are finite, from 0")
        return lr

    def _arrays_for(self, parameter: Parameter) -> tuple[np.ndarray, ...]:
        """The arrays that belong to a parameter, as they are before the first step; one for each of `names`."""
        return tuple(np.zeros(parameter.shape, parameter.dtype) for _ in self.names)

    def _update(self, parameter: Parameter, gradient: np.ndarray, arrays: tuple[np.ndarray, ...], lr: float,
                scale: float) -> None:  # fmt: skip
        """Change the parameter and its arrays in place, by the gradient times scale; `steps` counts this step."""
        raise TypeError(f"{type(self).__name__} does not say how to update a parameter")

    def bind(self, parameters: Iterable[Parameter]) -> None:
        """Make the arrays that belong to the parameters; those that are there, or were loaded, stay.

        Raises
        ------
        ValueError
            If it was bound to others before.
        StateError
            If a state was loaded that is one of other parameters.
        """
        parameters = list(parameters)
        if self._bound is not None:
            if len(parameters) != len(self._bound) or any(
                a is not b for a, b in zip(parameters, self._bound, strict=True)
            ):
                raise ValueError(
                    f"this {type(self).__name__} trains another network, whose moments it keeps: make one for each; "
                    "if a layer was replaced, compile once more"
                )
            return
        if self.names and (self.state or self.steps):
            shapes = [tuple(array.shape for array in arrays) for arrays in self.state]
            wanted = [(parameter.shape,) * len(self.names) for parameter in parameters]
            if shapes != wanted:
                raise StateError(
                    f"the state that this {type(self).__name__} has loaded is one of other parameters: it has arrays "
                    f"of shapes {shapes}, and {wanted} are wanted"
                )
            self.state = [
                tuple(np.ascontiguousarray(array, parameter.dtype) for array in arrays)
                for arrays, parameter in zip(self.state, parameters, strict=True)
            ]
        else:
            self.state = [self._arrays_for(parameter) for parameter in parameters]
        self._bound = parameters

    def step(self, parameters: Sequence[Parameter]) -> None:
        """Change each parameter by its gradient, in place; one without a gradient stays what it is.

        With clip_value, gradients are changed in place as well.
        """
        if self._bound is None:
            self.bind(parameters)
        gradients = [parameter.grad for parameter in parameters]
        if len(gradients) != len(self.state):
            raise ValueError(f"there are {len(gradients)} parameters, and this optimizer is bound to {len(self.state)}")
        scale = self._clip(gradient for gradient in gradients if gradient is not None)
        lr = self.lr_at(self.steps)
        self.steps += 1
        for parameter, gradient, arrays in zip(parameters, gradients, self.state, strict=True):
            if gradient is not None:
                self._update(parameter, gradient, arrays, lr, scale)

    def _clip(self, gradients: Iterable[np.ndarray]) -> float:
        """Limit the values of gradients, and return the factor that limits their norm."""
        if self.clip_value is None and self.clip_norm is None:
            return 1.0
        total = 0.0
        for gradient in gradients:
            if self.clip_value is not None:
                np.clip(gradient, -self.clip_value, self.clip_value, out=gradient)
            if self.clip_norm is not None:
                total += kernels.square_norm(gradient)
        return 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (math.sqrt(total) + CLIP_EPS))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the arrays, under the number of their parameter and their name, and "steps"."""
        state = {"steps": np.array(self.steps, np.int64)}
        for i, arrays in enumerate(self.state):
            state |= {f"{i}.{name}": np.array(array) for name, array in zip(self.names, arrays, strict=True)}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`; nothing is changed if it does not fit.

        Raises
        ------
        StateError
            If keys are missing or unknown, or a shape is another one.
        """
        numbers = {number for number in (str(key).partition(".")[0] for key in state) if re.fullmatch("[0-9]+", number)}
        wanted = ["steps", *(f"{i}.{name}" for i in range(len(numbers)) for name in self.names)]
        wrong = sorted(map(str, set(wanted) ^ set(state)))
        if wrong:
            raise StateError(f"the state does not fit {type(self).__name__}: see {', '.join(wrong)}")
        steps, arrays = np.asarray(state["steps"]), []
        if steps.shape != () or steps.dtype.kind not in "iu" or steps < 0:
            raise StateError(f"the state does not fit {type(self).__name__}: steps is {state['steps']!r}")
        for i in range(len(numbers)):
            arrays.append(tuple(np.array(state[f"{i}.{name}"]) for name in self.names))
            for name, array in zip(self.names, arrays[-1], strict=True):
                if array.dtype.kind not in "biuf":
                    raise StateError(f"the state does not fit {type(self).__name__}: {i}.{name} is of {array.dtype}")
        if self._bound is not None and self.names:
            found = [tuple(array.shape for array in each) for each in arrays]
            held = [tuple(array.shape for array in each) for each in self.state]
            if found != held:
                raise StateError(f"the state has arrays of shapes {found}, and {held} are wanted")
            for mine, loaded in zip(self.state, arrays, strict=True):
                for array, values in zip(mine, loaded, strict=True):
                    array[...] = values
        elif self.names:
            self.state = arrays
        self.steps = int(steps)

    def _shown(self) -> str:
        shown = [f", {name}={getattr(self, name):g}" for name in ("weight_decay",) if getattr(self, name)]
        shown += [f", {name}={getattr(self, name):g}" for name in ("clip_norm", "clip_value") if getattr(self, name)]
        return "".join(shown)

    def __repr__(self) -> str:
        lr = repr(self.lr) if callable(self.lr) else f"{self.lr:g}"
        return f"{type(self).__name__}(lr={lr}{self._shown()})"


def _limit(value: Any, name: str) -> float | None:
    """A number greater than 0, or None."""
    if value is None:
        return None
    number = check_real(value, name, math.inf)
    if number == 0:
        raise ValueError(f"{name} must be greater than 0, or None for no limit")
    return number


class SGD(Optimizer):
    """Gradient descent, with momentum if that is wanted, as ``torch.optim.SGD``.

    Parameters
    ----------
    lr : float or callable, default 0.01
        See :class:`Optimizer`, also for weight_decay, clip_norm and clip_value.
    momentum : float, default 0.0
        From 0 to 1: what is kept of the velocity.
    nesterov : bool, default False
        Look a step ahead; needs momentum.
    weight_decay : float, default 0.0
        Added to the gradient, times the parameter.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning" (2013).

    Examples
    --------
    >>> from streamnorm.nn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> weight.grad = np.array([1.0, -1.0])
    >>> SGD(0.5).step([weight])
    >>> weight
    Parameter([0.5, 2.5])
    """

    def __init__(
        self,
        lr: float | Callable[[int], float] = 0.01,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        self.momentum = check_real(momentum, "momentum", 1.0)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the velocity: give a momentum with it")
        self.names = ("velocity",) if self.momentum else ()

    def _update(self, parameter: Parameter, gradient: np.ndarray, arrays: tuple[np.ndarray, ...], lr: float,
                scale: float) -> None:  # fmt: skip
        velocity = arrays[0] if arrays else None
        kernels.sgd_step(parameter, gradient, velocity, lr, self.momentum, self.nesterov, self.weight_decay, scale)

    def _shown(self) -> str:
        momentum = f", momentum={self.momentum:g}" if self.momentum else ""
        return momentum + (", nesterov=True" if self.nesterov else "") + super()._shown()


class Adam(Optimizer):
    """Steps by the mean of gradients over the root of their mean square, as ``torch.optim.Adam``.

    Parameters
    ----------
    lr : float or callable, default 1e-3
        See :class:`Optimizer`, also for weight_decay, clip_norm and clip_value.
    betas : tuple of float, default (0.9, 0.999)
        What is kept of the two means, each from 0 to less than 1.
    eps : float, default 1e-8
        Added to the root.
    weight_decay : float, default 0.0
        Added to the gradient, times the parameter.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015).

    Examples
    --------
    >>> from streamnorm.nn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> weight.grad = np.array([1.0, -1.0])
    >>> Adam(0.5).step([weight])
    >>> weight.round(6)
    array([0.5, 2.5])
    """

    decoupled = False
    names = ("m", "v")

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas must be two numbers, got {betas!r}")
        self.betas = check_real(betas[0], "betas[0]", 1.0), check_real(betas[1], "betas[1]", 1.0)
        if 1.0 in self.betas:
            raise ValueError(f"betas must be less than 1, got {betas!r}")
        self.eps = check_real(eps, "eps", math.inf)

    def _update(self, parameter: Parameter, gradient: np.ndarray, arrays: tuple[np.ndarray, ...], lr: float,
                scale: float) -> None:  # fmt: skip
        m, v = arrays
        kernels.adam_step(parameter, gradient, m, v, self.steps, lr, *self.betas, self.eps, self.weight_decay,
                          self.decoupled, scale)  # fmt: skip

    def _shown(self) -> str:
        betas = f", betas={self.betas}" if self.betas != (0.9, 0.999) else ""
        return betas + (f", eps={self.eps:g}" if self.eps != 1e-8 else "") + super()._shown()


class AdamW(Adam):
    """Adam whose weight decay goes to the parameters and not by way of the gradient, as ``torch.optim.AdamW``.

    Parameters
    ----------
    lr, betas, eps, clip_norm, clip_value
        As for :class:`Adam`.
    weight_decay : float, default 0.01
        A step first multiplies a parameter by 1 - lr * weight_decay.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).

    Examples
    --------
    >>> AdamW(clip_norm=1.0)
    AdamW(lr=0.001, weight_decay=0.01, clip_norm=1)
    """

    decoupled = True

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value)


class CosineSchedule:
    """A learning rate that rises in a line, then falls along half a cosine, and stays.

    Parameters
    ----------
    lr : float
        The highest.
    steps : int
        How many there are, those of the warmup included; an epoch has as many as it has batches.
    warmup : int, default 0
        In how many steps it rises: step i of them has lr * (i + 1) / warmup.
    final : float, default 0.0
        What it falls to.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017).

    Examples
    --------
    >>> schedule = CosineSchedule(1.0, 10, warmup=2)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 6, 10, 20)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> None:
        self.lr = check_real(lr, "lr", math.inf)
        self.steps = check_count(steps, "steps")
        self.warmup = check_int(warmup, "warmup")
        self.final = check_real(final, "final", math.inf)
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup must be from 0 to less than steps, {steps}, got {warmup}")

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * done)) / 2

    def __repr__(self) -> str:
        return f"CosineSchedule({self.lr:g}, {self.steps}, warmup={self.warmup}, final={self.final:g})"


class StepSchedule:
    """A learning rate that is multiplied by a factor every so many steps.

    Parameters
    ----------
    lr : float
        The first.
    every : int
        In steps, which are batches.
    factor : float, default 0.1

    Examples
    --------
    >>> schedule = StepSchedule(1.0, every=100, factor=0.5)
    >>> [schedule(step) for step in (0, 99, 100, 200)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, lr: float, every: int, factor: float = 0.1) -> None:
        self.lr = check_real(lr, "lr", math.inf)
        self.every = check_count(every, "every")
        self.factor = check_real(factor, "factor", math.inf)

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr * self.factor ** (step // self.every)

    def __repr__(self) -> str:
        return f"StepSchedule({self.lr:g}, {self.every}, factor={self.factor:g})"


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def get_optimizer(optimizer: str | Optimizer, lr: float | Callable[[int], float] | None = None) -> Optimizer:
    """An optimizer from its name, or the optimizer that is given.

    Parameters
    ----------
    optimizer : "adam", "adamw", "sgd" or Optimizer
    lr : float, callable or None
        Of one that is made by name; None: its default. An Optimizer keeps its own.

    Returns
    -------
    Optimizer

    Examples
    --------
    >>> get_optimizer("sgd", lr=0.1)
    SGD(lr=0.1)
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        made = OPTIMIZERS[known(optimizer, OPTIMIZERS, "optimizer")]
        return made() if lr is None else made(lr)
    hint = f": write {optimizer.__name__}()" if isinstance(optimizer, type) and issubclass(optimizer, Optimizer) else ""
    raise TypeError(f"optimizer must be a name or an Optimizer, got {optimizer!r}{hint}")
