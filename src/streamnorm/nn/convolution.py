"""Layers of images: convolution, and the largest value of each window.

Images are NHWC: samples, rows, columns, channels. An image's channels lie side by side, as Pillow and TensorFlow have
them; PyTorch's images are ``x.permute(0, 2, 3, 1)`` here.
"""

# Design: "same" is TensorFlow's, whose zeros depend on the size of the image: with strides, the last window is to end
# at or after the image's end, and of an odd number of zeros one more comes after. Padding by numbers is PyTorch's.
# Turned down: PyTorch's "same", which is no other, but which there is without strides alone.

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _nn as kernels
from ._inputs import as_floats, as_type, check_wide_dtype, draw_uniform, into
from ._module import Module, Parameter, accumulate, check_count, check_int

__all__ = ["Conv2D", "MaxPool2D"]

Pair = tuple[int, int]
PADDINGS = ("valid", "same")


class _Windowed(Module):
    """What layers with a window that goes over images share."""

    strides: Pair
    padding: str | int | Pair

    @abstractmethod
    def _window(self) -> Pair:
        """Its rows and columns."""

    def _zeros(self, height: int, width: int) -> tuple[Pair, Pair]:
        """Rows above and below images of a size, and columns left and right of them."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if not isinstance(self.padding, str):
            rows, columns = (self.padding, self.padding) if isinstance(self.padding, int) else self.padding
            return (rows, rows), (columns, columns)
        both = []
        for size, window, stride in zip((height, width), self._window(), self.strides, strict=True):
            zeros = max((-(-size // stride) - 1) * stride + window - size, 0)
            both.append((zeros // 2, zeros - zeros // 2))
        return both[0], both[1]

    def _zeros_of(self, x: np.ndarray, channels: int | None) -> tuple[Pair, Pair]:
        """The same for images that are looked at first."""
        if x.ndim != 4 or (channels is not None and x.shape[3] != channels) or 0 in x.shape[1:]:
            hint = ": images of one channel are x[..., None]" if x.ndim == 3 else ""
            wanted = "C" if channels is None else channels
            raise ValueError(f"x has shape {x.shape}, and {self!r} takes (N, H, W, {wanted}){hint}")
        _, height, width, _ = x.shape
        (top, bottom), (left, right) = zeros = self._zeros(height, width)
        least = self._window()
        if height + top + bottom < least[0] or width + left + right < least[1]:
            raise ValueError(
                f"x has shape {x.shape}, and {self!r} takes images of at least {max(1, least[0] - top - bottom)} x "
                f"{max(1, least[1] - left - right)}"
            )
        return zeros

    def _out_shape(self, height: int, width: int) -> Pair:
        """Rows and columns of the output for images of a size."""
        both = zip((height, width), self._zeros(height, width), self._window(), self.strides, strict=True)
        rows, columns = ((size + sum(zeros) - window) // stride + 1 for size, zeros, window, stride in both)
        return rows, columns


class Conv2D(_Windowed):
    """A convolution of images, as ``torch.nn.Conv2d`` and Keras' ``Conv2D`` have it: sums of what is under a kernel.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input, and of the output.
    kernel_size : int or pair of int, default 3
        Rows and columns of the kernel.
    strides : int or pair of int, default 1
        Rows and columns from one position of the kernel to the next one.
    padding : "valid", "same", int or pair of int, default "valid"
        Zeros around each image. "valid": none. "same": as many as give ceil(rows / stride) rows of output, and columns
        alike, as TensorFlow does it: where the number is odd, one more comes after the image. Numbers: so many rows
        above and below, and columns left and right, as PyTorch.
    bias : bool, default True
        Whether there is a bias.
    dtype : float32 or float64
        Of the parameters, and of the output: other inputs are cast.
    random_state : int, numpy.random.Generator or None
        What the first weights are drawn from. A generator goes on from layer to layer.
    threads : int or None
        At most so many; None: as many as pay. The results do not depend on it.

    Attributes
    ----------
    weight : Parameter of shape (kernel_height, kernel_width, in_channels, out_channels)
        As in Keras. PyTorch's is brought into this form by ``weight.permute(2, 3, 1, 0)``.
    bias : Parameter of shape (out_channels,), or None
    kernel_size, strides : pair of int
    padding : str, int or pair of int
        As it was given.

    Notes
    -----
    Weights and biases begin uniform between -1 and 1 over the root of in_channels times the kernel's size, as
    PyTorch's; the numbers are those of NumPy's generator. float32 and float64 layers begin alike, but for the rounding.

    Examples
    --------
    >>> layer = Conv2D(1, 1, kernel_size=2)
    >>> layer.weight, layer.bias = [[[[1.0]], [[-1.0]]], [[[0.0]], [[0.0]]]], [0.5]
    >>> image = np.array([[1.0, 4.0, 9.0], [0.0, 0.0, 0.0]])
    >>> layer(image[None, :, :, None])[0, :, :, 0]
    array([[-2.5, -4.5]], dtype=float32)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        strides: int | Pair = 1,
        padding: str | int | Pair = "valid",
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        random_state: Any = None,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = check_count(in_channels, "in_channels")
        self.out_channels = check_count(out_channels, "out_channels")
        self.kernel_size = check_pair(kernel_size, "kernel_size")
        self.strides = check_pair(strides, "strides")
        self.padding = check_padding(padding)
        self.dtype = check_wide_dtype(dtype)
        self.threads = None if threads is None else check_count(threads, "threads")
        shape = (*self.kernel_size, self.in_channels, self.out_channels)
        self.register_parameter("weight", Parameter(np.zeros(shape, self.dtype)))
        self.register_parameter("bias", Parameter(np.zeros(self.out_channels, self.dtype)) if bias else None)
        self.reset_parameters(random_state)

    def reset_parameters(self, random_state: Any = None) -> None:
        """Draw weights and biases anew."""
        draw_uniform((self.weight, self.bias), math.prod(self.weight.shape[:3]), random_state)

    def _window(self) -> Pair:
        return self.kernel_size

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Images x (N, H, W, in_channels) as (N, rows, columns, out_channels); in `out` if that is given."""
        x = as_type(x, self.dtype)
        zeros = self._zeros_of(x, self.in_channels)
        about: dict[str, Any] = {"strides": self.strides, "padding": zeros, "threads": self.threads}
        y = kernels.conv2d_forward(x, self.weight, self.bias, out=out, **about)
        self.__dict__["_kept"] = (x, about)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, about = self._take_kept()
        dy = as_type(dy, self.dtype)
        shape = (len(x), *self._out_shape(*x.shape[1:3]), self.out_channels)
        if dy.shape != shape:
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {shape}")
        dx, dweight, dbias = kernels.conv2d_backward(dy, x, self.weight, bias=self.bias is not None, **about)
        assert dx is not None
        accumulate(self.weight, dweight)
        accumulate(self.bias, dbias)
        return into(out, dx)

    def _shown(self) -> str:
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, strides={self.strides}, "
            f"padding={self.padding!r}, bias={self.bias is not None}{kind}"
        )


class MaxPool2D(_Windowed):
    """The largest value of each window of an image, channel by channel.

    Parameters
    ----------
    pool_size : int or pair of int, default 2
        Rows and columns of a window.
    strides : int, pair of int or None, default None
        Rows and columns from one window to the next one; None: as many as a window has.
    padding : "valid", "same", int or pair of int, default "valid"
        Around each image, as for :class:`Conv2D`; numbers must be less than those of pool_size. Positions outside of
        the image count as less than any value.

    Attributes
    ----------
    pool_size, strides : pair of int
    padding : str, int or pair of int
        As it was given.

    Notes
    -----
    The rules of ``torch.nn.MaxPool2d``: a window with NaN has NaN, and of equal values the first one gets the gradient.
    The output is of the type of the input, float32 or float64.

    Examples
    --------
    >>> layer = MaxPool2D(2)
    >>> image = np.array([[1.0, 4.0, 9.0, 2.0], [3.0, 5.0, 0.0, 2.0]])
    >>> layer(image[None, :, :, None])[0, :, :, 0]
    array([[5., 9.]])
    >>> layer.backward(np.ones((1, 1, 2, 1)))[0, :, :, 0]
    array([[0., 0., 1., 0.],
           [0., 1., 0., 0.]])
    """

    def __init__(
        self,
        pool_size: int | Pair = 2,
        strides: int | Pair | None = None,
        padding: str | int | Pair = "valid",
    ) -> None:
        super().__init__()
        self.pool_size = check_pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else check_pair(strides, "strides")
        self.padding = check_padding(padding)
        (rows, _), (columns, _) = self._zeros(1, 1) if padding != "same" else ((0, 0), (0, 0))
        if rows >= self.pool_size[0] or columns >= self.pool_size[1]:
            raise ValueError(f"padding must be less than pool_size, {self.pool_size}, got {padding!r}")

    def _window(self) -> Pair:
        return self.pool_size

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Images x (N, H, W, C) as (N, rows, columns, C); in `out` if that is given."""
        x = as_floats(x)
        zeros = self._zeros_of(x, None)
        y, places = kernels.max_pool2d_forward(
            x, pool_size=self.pool_size, strides=self.strides, padding=zeros, out=out
        )
        self.__dict__["_kept"] = (places, x.shape, x.dtype)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output."""
        places, shape, dtype = self._take_kept()
        dy = as_type(dy, dtype)
        if dy.shape != places.shape:
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {places.shape}")
        return kernels.max_pool2d_backward(dy, places, shape, out=out)

    def _shown(self) -> str:
        return f"{self.pool_size}, strides={self.strides}, padding={self.padding!r}"


def check_pair(value: Any, name: str, least: int = 1) -> Pair:
    """A whole number of rows and one of columns, or one for both."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name} must be an int or a pair of them, got {value!r}")
    rows, columns = (check_int(each, name) for each in both)
    if min(rows, columns) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return rows, columns


def check_padding(padding: Any) -> str | int | Pair:
    """As it was given: a word, a number or a pair of them."""
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ValueError(f"padding must be 'valid', 'same', an int or a pair of them, got {padding!r}")
        return padding
    if isinstance(padding, tuple | list) and any(isinstance(each, tuple | list) for each in padding):
        raise TypeError(f"padding must be (rows, columns), so many zeros on both sides, got {padding!r}")
    pair = check_pair(padding, "padding", 0)
    return pair if isinstance(padding, tuple | list) else pair[0]
