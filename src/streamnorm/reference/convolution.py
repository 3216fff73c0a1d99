"""The twins of convolution and max pooling of images, NHWC.

As in ``streamnorm.reference.network``: float64 until a result is cast once, arguments taken to be right, no ``threads``
and no ``out``. Every output is computed from the definition, position by position; sizes are ``(height, width)``,
padding is ``((top, bottom), (left, right))``.
"""

from typing import Any

import numpy as np

__all__ = ["conv2d_backward", "conv2d_forward", "max_pool2d_backward", "max_pool2d_forward"]

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))


def _padded(x: Any, padding: Padding, value: float = 0.0) -> np.ndarray:
    wide = np.asarray(x, dtype=np.float64)
    return np.pad(wide, ((0, 0), *padding, (0, 0)), constant_values=value)


def _positions(padded: np.ndarray, size: Pair, strides: Pair) -> list[tuple[int, int, slice, slice]]:
    """Row and column of each output, and the rows and columns of the padded images that its window is over."""
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(padded.shape[1:3], size, strides, strict=True))
    return [
        (i, j, slice(i * strides[0], i * strides[0] + size[0]), slice(j * strides[1], j * strides[1] + size[1]))
        for i in range(rows)
        for j in range(columns)
    ]


def conv2d_forward(
    x: Any, weight: Any, bias: Any = None, *, strides: Pair = (1, 1), padding: Padding = NO_PADDING
) -> np.ndarray:
    """x (N, H, W, C) under weight (KH, KW, C, O) at every stride, plus bias (O,): y (N, OH, OW, O).

    ``y[n, i, j, o] = bias[o] + sum(padded[n, i * sh + k, j * sw + l, c] * weight[k, l, c, o])`` over k, l and c: a
    cross-correlation, as in all networks of that name (Y. LeCun and others, "Gradient-based learning applied to
    document recognition", 1998).
    """
    padded, kernel = _padded(x, padding), np.asarray(weight, dtype=np.float64)
    places = _positions(padded, kernel.shape[:2], strides)
    y = np.empty((len(padded), places[-1][0] + 1, places[-1][1] + 1, kernel.shape[3]))
    with np.errstate(all="ignore"):
        for i, j, rows, columns in places:
            y[:, i, j] = np.tensordot(padded[:, rows, columns], kernel, axes=3)
        if bias is not None:
            y += np.asarray(bias, dtype=np.float64)
        return y.astype(np.asarray(x).dtype)


def conv2d_backward(
    dy: Any, x: Any, weight: Any, *, strides: Pair = (1, 1), padding: Padding = NO_PADDING, bias: bool = True,
    dx: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:  # fmt: skip
    """The gradients (dx, dweight, dbias); None for what is not wanted: each output gives back to what it came from."""
    padded, kernel, gradient = _padded(x, padding), np.asarray(weight, np.float64), np.asarray(dy, np.float64)
    dpadded, dweight = np.zeros(padded.shape), np.zeros(kernel.shape)
    dtype, (_, height, width, _) = np.asarray(x).dtype, np.shape(x)
    with np.errstate(all="ignore"):
        for i, j, rows, columns in _positions(padded, kernel.shape[:2], strides):
            dpadded[:, rows, columns] += np.tensordot(gradient[:, i, j], kernel, axes=(1, 3))
            dweight += np.tensordot(padded[:, rows, columns], gradient[:, i, j], axes=(0, 0))
        (top, _), (left, _) = padding
        return (
            dpadded[:, top : top + height, left : left + width].astype(dtype) if dx else None,
            dweight.astype(dtype),
            gradient.sum(axis=(0, 1, 2)).astype(dtype) if bias else None,
        )


def max_pool2d_forward(
    x: Any, *, pool_size: Pair, strides: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """The largest value of each window of x (N, H, W, C), and from which position ``h * W + w`` it was taken.

    NaN is larger than any number, and the last NaN of a window is taken; of equal numbers it is the first. Positions
    outside of the image are not looked at: a window that is over nothing else is not meant.
    """
    x = np.asarray(x)
    n, height, width, channels = x.shape
    (top, _), (left, _) = padding
    padded = _padded(x, padding, -np.inf)
    places = _positions(padded, pool_size, strides)
    y = np.empty((n, places[-1][0] + 1, places[-1][1] + 1, channels), x.dtype)
    taken = np.empty(y.shape, np.int32)
    for i, j, rows, columns in places:
        inside = [
            (h, w)
            for h in range(max(rows.start - top, 0), min(rows.stop - top, height))
            for w in range(max(columns.start - left, 0), min(columns.stop - left, width))
        ]
        for at in np.ndindex(n, channels):
            best = inside[0]
            for place in inside[1:]:
                value = x[at[0], *place, at[1]]
                if np.isnan(value) or value > x[at[0], *best, at[1]]:
                    best = place
            y[at[0], i, j, at[1]] = x[at[0], *best, at[1]]
            taken[at[0], i, j, at[1]] = best[0] * width + best[1]
    return y, taken


def max_pool2d_backward(dy: Any, places: Any, shape: tuple[int, int, int, int]) -> np.ndarray:
    """dx of that shape: each value of dy is added where the value of y was taken from."""
    dy = np.asarray(dy)
    n, height, width, channels = shape
    dx = np.zeros((n, height * width, channels))
    for at in np.ndindex(dy.shape):
        dx[at[0], places[at], at[3]] += dy[at]
    return dx.reshape(shape).astype(dy.dtype)
