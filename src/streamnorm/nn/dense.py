"""Dense layers."""

# Design: a layer computes in the type of its weights, float32 or float64, and x is cast to it; the normalizations,
# which take their weights as they are, keep the type of x. Turned down: products of mixed types, for which there are
# no kernels, and of which one type or the other is rounded in any case.

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _nn as kernels
from ._inputs import as_type, check_wide_dtype, draw_uniform, into
from ._module import Module, Parameter, accumulate, check_count

__all__ = ["Dense"]


class Dense(Module):
    """A dense layer, ``y = x @ weight.T + bias``, as ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
        Values in a row of the input, and of the output.
    bias : bool, default True
        Whether there is a bias.
    dtype : float32 or float64
        Of the parameters, and of the output: other inputs are cast.
    random_state : int, numpy.random.Generator or None
        What the first weights are drawn from. A generator goes on from layer to layer.
    threads : int or None
        At most so many; None: as many as pay.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None

    Notes
    -----
    Weights and biases begin uniform between -1 and 1 over the root of in_features, as PyTorch's; the numbers are those
    of NumPy's generator. float32 and float64 layers begin alike, but for the rounding.

    Examples
    --------
    >>> layer = Dense(2, 1, random_state=0)
    >>> layer.weight, layer.bias = [[2.0, -1.0]], [0.5]
    >>> layer(np.array([[1.0, 3.0], [2.0, 0.0]]))
    array([[-0.5],
           [ 4.5]], dtype=float32)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        random_state: Any = None,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.out_features = check_count(out_features, "out_features")
        self.dtype = check_wide_dtype(dtype)
        self.threads = None if threads is None else check_count(threads, "threads")
        self.register_parameter("weight", Parameter(np.zeros((self.out_features, self.in_features), self.dtype)))
        self.register_parameter("bias", Parameter(np.zeros(self.out_features, self.dtype)) if bias else None)
        self.reset_parameters(random_state)

    def reset_parameters(self, random_state: Any = None) -> None:
        """Draw weights and biases anew."""
        draw_uniform((self.weight, self.bias), self.in_features, random_state)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Rows x, of shape (N, in_features), as rows of shape (N, out_features); in `out` if that is given."""
        x = as_type(x, self.dtype)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            hint = ": put a Flatten before it, or take the last step of a sequence" if x.ndim > 2 else ""
            raise ValueError(f"x has shape {x.shape}, and {self!r} takes (N, {self.in_features}){hint}")
        y = kernels.dense_forward(x, self.weight, self.bias, out=out, threads=self.threads)
        self.__dict__["_kept"] = (x,)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        (x,) = self._take_kept()
        dy = as_type(dy, self.dtype)
        if dy.shape != (len(x), self.out_features):
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {(len(x), self.out_features)}")
        has_bias = self.bias is not None
        dx, dweight, dbias = kernels.dense_backward(dy, x, self.weight, bias=has_bias, threads=self.threads)
        assert dx is not None
        accumulate(self.weight, dweight)
        accumulate(self.bias, dbias)
        return into(out, dx)

    def _shown(self) -> str:
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}{kind}"
