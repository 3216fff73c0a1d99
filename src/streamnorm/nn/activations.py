"""Layers without weights: activations, dropout, and the one that lays out arrays as rows."""

# Design: activations keep their output for the backward pass and not their input: the slopes of all three are short in
# y, and y is the next layer's input, which that keeps in any case. Turned down: keeping x, a second array a layer.

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _nn as kernels
from ._inputs import as_floats, as_type, seed_of
from ._module import Module, check_int, check_real

__all__ = ["Dropout", "Flatten", "ReLU", "Sigmoid", "Tanh"]


class Activation(Module):
    """A function of each value, whose slope is told from its output."""

    _forward: Any = None
    _backward: Any = None

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The function of each value of x, of any shape; in `out` if that is given, which may be x."""
        y = type(self)._forward(as_floats(x), out=out)
        self.__dict__["_kept"] = (y,)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output."""
        (y,) = self._take_kept()
        return type(self)._backward(same_shape(as_type(dy, y.dtype), y.shape), y, out=out)


def same_shape(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient, if it has the shape of the output that it belongs to."""
    if dy.shape != shape:
        raise ValueError(f"dy has shape {dy.shape}, and the last output had {shape}")
    return dy


class ReLU(Activation):
    """``max(x, 0)``, as ``torch.nn.ReLU``: NaN stays NaN, and the slope at 0 is 0.

    Examples
    --------
    >>> ReLU()(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """

    _forward = staticmethod(kernels.relu_forward)
    _backward = staticmethod(kernels.relu_backward)


class Tanh(Activation):
    """The hyperbolic tangent, as ``torch.nn.Tanh``.

    Examples
    --------
    >>> Tanh()(np.array([-1.0, 0.0, 20.0])).round(3)
    array([-0.762,  0.   ,  1.   ])
    """

    _forward = staticmethod(kernels.tanh_forward)
    _backward = staticmethod(kernels.tanh_backward)


class Sigmoid(Activation):
    """The logistic function, ``1 / (1 + exp(-x))``, as ``torch.nn.Sigmoid``.

    For a network that says probabilities, train one that ends without it by :class:`BCEWithLogitsLoss`, which stays
    accurate where this is within rounding of 0 or 1.

    Examples
    --------
    >>> Sigmoid()(np.array([-1.0, 0.0, 20.0])).round(3)
    array([0.269, 0.5  , 1.   ])
    """

    _forward = staticmethod(kernels.sigmoid_forward)
    _backward = staticmethod(kernels.sigmoid_backward)


class Dropout(Module):
    """In training, set each value to 0 with probability p and divide the others by 1 - p, as ``torch.nn.Dropout``.

    Parameters
    ----------
    p : float, default 0.5
        Probability of a value to be dropped, from 0 to 1.
    random_state : int, numpy.random.Generator or None
        What the seed is drawn from.

    Attributes
    ----------
    seed : int
        With num_steps it says what is dropped; the generator is in :func:`streamnorm.reference.network.dropout_mask`.
    num_steps : ndarray of int64, shape ()
        How many batches were seen in training. It is in the state, so that training that goes on after it was saved
        drops what it would have dropped; a state without it, as PyTorch's, loads as well.

    Notes
    -----
    Which values are dropped depends on the seed, the number of the step and the place of the value in the batch alone.
    No mask is kept: backward asks the generator again.

    Examples
    --------
    >>> layer = Dropout(0.5, random_state=0)
    >>> sorted(set(layer(np.ones(100)).tolist()))
    [0.0, 2.0]
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """

    seed: int
    num_steps: np.ndarray

    def __init__(self, p: float = 0.5, *, random_state: Any = None) -> None:
        super().__init__()
        self.p = check_real(p, "p", 1.0)
        self.seed = seed_of(random_state)
        self.register_buffer("num_steps", np.zeros((), np.int64))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, check_int(value, name) % 2**64 if name == "seed" else value)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """x with values dropped in training, x as it is in evaluation; in `out` if that is given."""
        x = as_floats(x)
        if not self.training:
            self.__dict__["_kept"] = None, x.shape, x.dtype
            return x if out is None else _into(out, x)
        step = int(self.num_steps)
        self.num_steps += 1
        self.__dict__["_kept"] = step, x.shape, x.dtype
        return kernels.dropout_forward(x, self.p, self.seed, step, out=out)

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output."""
        step, shape, dtype = self._take_kept()
        dy = same_shape(as_type(dy, dtype), shape)
        if step is None:
            return dy if out is None else _into(out, dy)
        return kernels.dropout_backward(dy, self.p, self.seed, step, out=out)

    def _shown(self) -> str:
        return f"{self.p:g}"


class Flatten(Module):
    """Arrays of any shape (N, ...) as rows (N, values), as ``torch.nn.Flatten``.

    Examples
    --------
    >>> Flatten()(np.zeros((4, 3, 2, 2))).shape
    (4, 12)
    """

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """x as rows; a view of it if that can be, or in `out` if that is given."""
        x = as_floats(x)
        if x.ndim < 1:
            raise ValueError("x has shape (), and samples along a first axis are wanted")
        y = x.reshape(len(x), -1) if x.size else x.reshape(len(x), int(np.prod(x.shape[1:])))
        self.__dict__["_kept"] = x.shape, y.shape, y.dtype
        return y if out is None else _into(out, y)

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output."""
        shape, rows, dtype = self._take_kept()
        dx = same_shape(as_type(dy, dtype), rows).reshape(shape)
        return dx if out is None else _into(out, dx)


def _into(out: np.ndarray, values: np.ndarray) -> np.ndarray:
    out[...] = values
    return out
