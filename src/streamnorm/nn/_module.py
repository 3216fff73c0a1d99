"""What all layers share: parameters with gradients, buffers, modes, and a state that loads whole or not at all.

Design: parameters, buffers and layers inside a layer are ordinary attributes, found by name in one tuple a kind, so
that reading one in ``forward`` costs what any attribute does. Turned down: dictionaries behind ``__getattr__``, as
PyTorch has them, which cost more than a small batch's normalization.

Design: assigning to a parameter or a buffer copies into the array that is there. An optimizer that holds the parameter
goes on with it, and shape and type stay what the layer was made with.
"""

import copy
import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import StateError

FLOATS = (np.float16, np.float32, np.float64)
_changes = itertools.count(1)
COUNTERS = ("num_batches_tracked", "num_steps")  # what a state may be without: older ones and PyTorch's are


class Parameter(np.ndarray):
    """An array that is trained: an ndarray with a gradient.

    Parameters
    ----------
    values : array-like of float16, float32 or float64
        Copied.

    Attributes
    ----------
    grad : ndarray or None
        What ``backward`` has added up since the last ``zero_grad``, of the parameter's shape and type; None before.

    Examples
    --------
    >>> weight = Parameter(np.ones(2))
    >>> weight -= 0.5
    >>> weight, weight * 2
    (Parameter([0.5, 0.5]), array([1., 1.]))
    """

    grad: np.ndarray | None

    def __new__(cls, values: ArrayLike) -> Self:
        array = np.array(values)
        if array.dtype not in FLOATS:
            raise TypeError(f"a parameter holds float16, float32 or float64, not {array.dtype}")
        return array.view(cls)

    def __array_finalize__(self, obj: Any) -> None:
        self.grad = None  # what is cut out of a parameter is no parameter of any layer

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        plain = [each.view(np.ndarray) if isinstance(each, Parameter) else each for each in inputs]
        if out is not None:
            kwargs["out"] = tuple(each.view(np.ndarray) if isinstance(each, Parameter) else each for each in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        return out[0] if out is not None and len(out) == 1 else result  # so that `weight -= step` stays a parameter

    def __reduce__(self) -> Any:
        made: Any = super().__reduce__()
        return made[0], made[1], (made[2], self.grad)

    def __setstate__(self, state: Any) -> None:
        state, self.grad = state
        super().__setstate__(state)

    def __deepcopy__(self, memo: dict[int, Any] | None, /) -> "Parameter":
        new = type(self)(self)
        new.grad = copy.deepcopy(self.grad, memo)
        return new


class LoadedKeys(NamedTuple):
    """What a state and a layer did not have in common."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(ABC):
    """The base of layers.

    A child sets parameters (:class:`Parameter`, or None with :meth:`register_parameter`), buffers
    (:meth:`register_buffer`) and layers in its ``__init__``, and defines ``forward`` and ``backward``. What forward
    keeps for backward goes to ``self.__dict__["_kept"]`` and is not copied or pickled with the layer.

    Attributes
    ----------
    training : bool
        Whether the layer is in training mode, as it is when it is made.
    """

    training: bool = True
    _parameters: tuple[str, ...] = ()
    _buffers: tuple[str, ...] = ()
    _modules: tuple[str, ...] = ()
    _kept: tuple[Any, ...] | None = None
    _changed: int = 0  # a number that no other change of any layer has

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._parameters or name in self._buffers:
            self._copy_into(name, value)
            return
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._note("_modules", name)
        self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        self.__dict__["_changed"] = next(_changes)

    def _note(self, kind: str, name: str) -> None:
        """Add the name to one of the tuples; one that is there keeps its place, which is that of its call."""
        names = self.__dict__.get(kind, ())
        if name not in names:
            self.__dict__[kind] = (*names, name)

    def _copy_into(self, name: str, value: Any) -> None:
        held = self.__dict__[name]
        if value is held:  # what `layer.weight -= step` ends with
            return
        if held is None:
            raise ValueError(f"this {type(self).__name__} was made without {name}: make one that has it")
        held[...] = _as_values(value, held, name)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """Add a parameter; None for one that this layer could have and has not."""
        self._note("_parameters", name)
        self._set(name, value)

    def register_buffer(self, name: str, value: np.ndarray | None) -> None:
        """Add an array that belongs to the state and is not trained; None for one that this layer has not."""
        self._note("_buffers", name)
        self._set(name, value)

    @abstractmethod
    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """What the layer makes of x, in `out` if that is given."""

    @abstractmethod
    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the input of the last forward, from that of its output; parameters' gradients add up."""

    def __call__(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """:meth:`forward`."""
        return self.forward(x, out)

    def _take_kept(self) -> tuple[Any, ...]:
        if self._kept is None:
            raise ValueError(f"backward uses what forward has kept: call this {type(self).__name__} on data first")
        return self._kept

    def _version(self) -> tuple[int, ...]:
        """What changes when an attribute is set, here or in a layer inside; values of arrays are none."""
        return (self._changed, *(each for _, child in self.children() for each in child._version()))

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """The layers that this one is made of, by name."""
        for name in self._modules:
            yield name, self.__dict__[name]

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """The parameters, those of layers inside included, with their names in the state."""
        for name in self._parameters:
            if self.__dict__[name] is not None:
                yield prefix + name, self.__dict__[name]
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, those of layers inside included."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
        """The buffers, those of layers inside included, with their names in the state."""
        for name in self._buffers:
            if self.__dict__[name] is not None:
                yield prefix + name, self.__dict__[name]
        for name, child in self.children():
            yield from child.named_buffers(f"{prefix}{name}.")

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Put the layer, and those inside, in training mode, or with False in evaluation mode."""
        if not isinstance(mode, bool | np.bool_):
            raise TypeError(f"mode must be True or False, got {mode!r}")
        self.training = bool(mode)
        for _, child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Put the layer, and those inside, in evaluation mode."""
        return self.train(False)

    def _own_state(self, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
        """Parameters and buffers in PyTorch's order, layer by layer."""
        for name in (*self._parameters, *self._buffers):
            if self.__dict__[name] is not None:
                yield prefix + name, self.__dict__[name]
        for name, child in self.children():
            yield from child._own_state(f"{prefix}{name}.")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of parameters and buffers, under PyTorch's keys."""
        return {name: np.array(array) for name, array in self._own_state("")}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> LoadedKeys:
        """Take parameters and buffers from a state; nothing is changed if it does not fit.

        Parameters
        ----------
        state : mapping of str to array-like
            As from :meth:`state_dict`, or PyTorch's with its tensors or arrays of them. Values are cast to this
            layer's types. A ``num_batches_tracked`` or ``num_steps`` that is not there, as in old states, stays what it
            is.
        strict : bool, default True
            Whether all keys must be there, and no others.

        Returns
        -------
        LoadedKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        StateError
            If the keys are others and `strict` is true, or a value has another shape or no number of its type.
        """
        own = dict(self._own_state(""))
        missing = [key for key in own if key not in state and key.rpartition(".")[2] not in COUNTERS]
        unexpected = [key for key in state if key not in own]
        problems = []
        if strict and missing:
            problems.append("it lacks " + ", ".join(missing))
        if strict and unexpected:
            problems.append("it has the unexpected " + ", ".join(map(str, unexpected)))
        loaded = {}
        for key in own:
            if key in state:
                try:
                    loaded[key] = _as_values(state[key], own[key], key)
                except (TypeError, ValueError) as error:
                    problems.append(str(error))
        if problems:
            raise StateError(f"the state does not fit this {type(self).__name__}: {'; '.join(problems)}")
        for key, values in loaded.items():
            own[key][...] = values
        return LoadedKeys(missing, unexpected)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None, "_locks": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["_changed"] = next(_changes)  # the number in the state may be of another process

    def _shown(self) -> str:
        """The arguments in the representation."""
        return ""

    def __repr__(self) -> str:
        inside = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        shown = self._shown() if not inside else "\n  " + "\n  ".join(inside) + "\n"
        return f"{type(self).__name__}({shown})"


def _as_values(value: ArrayLike, held: np.ndarray, name: str) -> np.ndarray:
    """The value as an array of the shape and type of the array that it goes into."""
    if hasattr(value, "detach"):  # a tensor that is trained does not make an array of itself
        value = value.detach()
    array = np.asarray(value)
    if array.shape != held.shape:
        raise ValueError(f"{name} has shape {array.shape}, and {held.shape} is wanted")
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, held.dtype, "same_kind"):
        raise TypeError(f"{name} is an array of {array.dtype}, and {held.dtype} is wanted")
    try:
        with np.errstate(over="raise"):
            return array.astype(held.dtype)
    except FloatingPointError:
        raise ValueError(f"{name} has values beyond {held.dtype}") from None


def check_dtype(dtype: DTypeLike) -> np.dtype:
    """The type of a layer's parameters, which must be one of three."""
    found = np.dtype(dtype)
    if found not in FLOATS:
        raise TypeError(f"dtype must be float16, float32 or float64, got {found}")
    return found


def accumulate(parameter: Parameter | None, gradient: np.ndarray | None) -> None:
    """Add a gradient, which is ours to keep, to what the parameter has."""
    if parameter is None or gradient is None:
        return
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


def parameter_of(has: bool, make: Callable[..., np.ndarray], shape: Any, dtype: np.dtype) -> Parameter | None:
    """A parameter filled by ``numpy.ones`` or ``numpy.zeros``; None if the layer is without it."""
    return Parameter(make(shape, dtype)) if has else None


def check_count(value: Any, name: str) -> int:
    """A whole number of at least 1."""
    number = check_int(value, name)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def check_int(value: Any, name: str) -> int:
    """A whole number, which True is not."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return operator.index(value)


def check_real(value: Any, name: str, most: float) -> float:
    """A finite number from 0 to `most`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if number == math.inf:
        raise ValueError(f"{name} must be finite, got {value!r}")
    if not 0 <= number <= most:
        raise ValueError(f"{name} must be from 0 to {most:g}, got {value!r}")
    return number
