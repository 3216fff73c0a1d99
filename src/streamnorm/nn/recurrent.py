"""Layers that go through sequences: long short-term memory."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _nn as kernels
from ._inputs import as_type, check_wide_dtype, generator_of, into
from ._module import Module, Parameter, accumulate, check_count

__all__ = ["LSTM"]


class LSTM(Module):
    """A layer of long short-term memory (Hochreiter and Schmidhuber, 1997), as ``torch.nn.LSTM`` with batch_first.

    With the four parts of ``weight_ih @ x + weight_hh @ h + bias`` at each step, i, f and o by the logistic function
    and g by tanh, ``c = f * c + i * g`` and ``h = o * tanh(c)``; h and c begin as zeros.

    Parameters
    ----------
    input_size : int
        Values of each step of the input.
    hidden_size : int
        Values of h, which is the output.
    return_sequences : bool, default False
        Whether the output is h at every step, or at the last one alone.
    dtype : float32 or float64
        Of the parameters, and of the output: other inputs are cast.
    random_state : int, numpy.random.Generator or None
        What the first weights are drawn from. A generator goes on from layer to layer.
    threads : int or None
        At most so many; None: as many as pay. They share samples, and the results are the same for any number.

    Attributes
    ----------
    weight_ih : Parameter of shape (4 * hidden_size, input_size)
    weight_hh : Parameter of shape (4 * hidden_size, hidden_size)
    bias : Parameter of shape (4 * hidden_size,)
        The gates are in PyTorch's order: i, f, g, o.

    Notes
    -----
    PyTorch has two biases, which it adds: ``bias`` is ``bias_ih_l0 + bias_hh_l0``, beside ``weight_ih_l0`` and
    ``weight_hh_l0``. Weights begin uniform between -1 and 1 over the root of hidden_size, and the bias as the sum of
    two such numbers, as PyTorch's.

    What forward keeps for backward is overwritten by it, and in evaluation mode nothing is kept but the input: after
    either of them, backward goes forward once more.

    Examples
    --------
    >>> layer = LSTM(2, 3, return_sequences=True, random_state=0)
    >>> x = np.zeros((5, 7, 2))
    >>> layer(x).shape
    (5, 7, 3)
    >>> LSTM(2, 3, random_state=0)(x).shape
    (5, 3)
    """

    weight_ih: Parameter
    weight_hh: Parameter
    bias: Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        return_sequences: bool = False,
        *,
        dtype: DTypeLike = np.float32,
        random_state: Any = None,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.input_size = check_count(input_size, "input_size")
        self.hidden_size = check_count(hidden_size, "hidden_size")
        if not isinstance(return_sequences, bool | np.bool_):
            raise TypeError(f"return_sequences must be True or False, got {return_sequences!r}")
        self.return_sequences = bool(return_sequences)
        self.dtype = check_wide_dtype(dtype)
        self.threads = None if threads is None else check_count(threads, "threads")
        gates = 4 * self.hidden_size
        self.register_parameter("weight_ih", Parameter(np.zeros((gates, self.input_size), self.dtype)))
        self.register_parameter("weight_hh", Parameter(np.zeros((gates, self.hidden_size), self.dtype)))
        self.register_parameter("bias", Parameter(np.zeros(gates, self.dtype)))
        self.reset_parameters(random_state)

    def reset_parameters(self, random_state: Any = None) -> None:
        """Draw weights and bias anew."""
        rng = generator_of(random_state)
        bound = 1 / math.sqrt(self.hidden_size)
        self.weight_ih[...] = rng.uniform(-bound, bound, self.weight_ih.shape)
        self.weight_hh[...] = rng.uniform(-bound, bound, self.weight_hh.shape)
        self.bias[...] = rng.uniform(-bound, bound, (2, *self.bias.shape)).sum(axis=0)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Sequences x, of shape (N, T, input_size), as (N, T, hidden_size), or (N, hidden_size) of the last step.

        The result is in `out` if that is given.
        """
        x = as_type(x, self.dtype)
        if x.ndim != 3 or x.shape[2] != self.input_size or x.shape[1] == 0:
            hint = " with at least one step" if x.ndim == 3 and x.shape[1] == 0 else ""
            hint = ": series of one value are x[..., None]" if x.ndim == 2 else hint
            raise ValueError(f"x has shape {x.shape}, and {self!r} takes (N, T, {self.input_size}){hint}")
        keep: bool | np.ndarray = self.training
        held = self.__dict__.pop("_kept", None)  # taken away: a call on another thread makes its own
        if self.training and held is not None and held[0].shape == x.shape and held[1] is not None:
            keep = held[1]  # the memory of the last batch serves for this one
        y, kept = self._run(x, out, keep)
        self.__dict__["_kept"] = (x, kept, y.shape, kept is not None)
        return y

    def _run(self, x: np.ndarray, out: np.ndarray | None, keep: Any) -> tuple[np.ndarray, np.ndarray | None]:
        weights = self.weight_ih, self.weight_hh, self.bias
        sequences = self.return_sequences
        return kernels.lstm_forward(x, *weights, sequences=sequences, keep=keep, out=out, threads=self.threads)

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, kept, shape, unused = self._take_kept()
        dy = as_type(dy, self.dtype)
        if dy.shape != shape:
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {shape}")
        if not unused:
            _, kept = self._run(x, None, True if kept is None else kept)
        assert kept is not None
        dx, dweight_ih, dweight_hh, dbias = kernels.lstm_backward(
            dy, kept, x, self.weight_ih, self.weight_hh, sequences=self.return_sequences, threads=self.threads
        )
        assert dx is not None
        self.__dict__["_kept"] = (x, kept, shape, False)
        accumulate(self.weight_ih, dweight_ih)
        accumulate(self.weight_hh, dweight_hh)
        accumulate(self.bias, dbias)
        return into(out, dx)

    def _shown(self) -> str:
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"{self.input_size}, {self.hidden_size}, return_sequences={self.return_sequences}{kind}"
