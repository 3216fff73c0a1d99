"""The twins of ``streamnorm.nn.functional``: normalization layers, forward and backward, as the textbook says.

Each layer splits its input into groups, a channel, a sample or a part of one, and normalizes each group by its own
mean and biased variance: S. Ioffe and C. Szegedy, "Batch normalization" (2015); J. L. Ba, J. R. Kiros and
G. E. Hinton, "Layer normalization" (2016); D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance normalization" (2016);
Y. Wu and K. He, "Group normalization" (2018); B. Zhang and R. Sennrich, "Root mean square layer normalization"
(2019), which leaves the mean alone.

With xhat the normalized values and g = dy * weight, the gradients are the same for all of them::

    dx = rstd * (g - mean(g) - xhat * mean(g * xhat))       means over a group; rms_norm has no mean(g)
    dx = rstd * g                                           where the statistics are given and not x's own
    dweight = sum(dy * xhat)                                over what shares the weight
    dbias = sum(dy)

Everything is float64 until the result is cast once. Arguments are taken to be right, and there is no ``out`` and no
``threads``: the compiled functions refuse what is wrong. What an empty batch means is decided as PyTorch does:
the output is empty, gradients of parameters are 0, running statistics stay as they were; a group of no values has
mean 0 and rstd NaN.

Design: a layer is no more than a way to lay values out in rows, one row a group, and each formula is written once.
Rows are contiguous because NumPy then sums them pairwise, with errors that grow as log n; the option turned down,
reductions over several axes of the array as it is, adds one by one and is off by n ulp.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["FLOAT32_TOLERANCE", "FLOAT64_TOLERANCE", "batch_norm", "batch_norm_backward", "batch_norm_forward",
           "group_norm", "group_norm_backward", "group_norm_forward", "instance_norm", "instance_norm_backward",
           "instance_norm_forward", "layer_norm", "layer_norm_backward", "layer_norm_forward", "rms_norm",
           "rms_norm_backward", "rms_norm_forward"]  # fmt: skip

# How far the compiled functions may be from these, and both from autograd in double precision: the largest
# difference over the largest magnitude.
FLOAT64_TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 2e-6


class _Layout:
    """Where the groups of an array are, and which of its axes a parameter has.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    order : sequence of int
        Its axes, such that the values of a group follow each other once they are in this order.
    groups : int
        How many groups there are.
    axes : sequence of int
        The axes that weight and bias have.
    """

    def __init__(self, shape: tuple[int, ...], order: Sequence[int], groups: int, axes: Sequence[int]) -> None:
        self.shape, self.order, self.groups, self.axes = shape, tuple(order), groups, tuple(axes)

    def rows(self, array: np.ndarray) -> np.ndarray:
        """The values in double, shape (groups, values of a group)."""
        n = math.prod(self.shape) // self.groups if self.groups else 0
        values = array.astype(np.float64).transpose(self.order)
        return np.ascontiguousarray(values).reshape(self.groups, n)

    def array(self, rows: np.ndarray) -> np.ndarray:
        """What was rows, in the shape of the array."""
        return rows.reshape([self.shape[axis] for axis in self.order]).transpose(np.argsort(self.order))

    def spread(self, parameter: np.ndarray) -> np.ndarray:
        """Rows of the parameter that belongs to each value."""
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(self.shape)]
        return self.rows(np.broadcast_to(np.asarray(parameter).reshape(shape), self.shape))

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """Sums over all values that share a parameter, in the shape of the parameter."""
        others = [axis for axis in range(len(self.shape)) if axis not in self.axes]
        shape = [self.shape[axis] for axis in self.axes]
        terms = np.ascontiguousarray(self.array(rows).transpose(*self.axes, *others))
        each = math.prod(self.shape[axis] for axis in others)
        return terms.reshape(math.prod(shape), each).sum(axis=1).reshape(shape)


def _channels(shape: tuple[int, ...], channel_axis: int) -> _Layout:
    """A group is all values of a channel."""
    c = channel_axis % len(shape)
    return _Layout(shape, [c, *(axis for axis in range(len(shape)) if axis != c)], shape[c], [c])


def _parts(shape: tuple[int, ...], channel_axis: int, num_groups: int) -> _Layout:
    """A group is what a sample has of some neighbouring channels."""
    c = channel_axis % len(shape)
    order = [0, c, *(axis for axis in range(1, len(shape)) if axis != c)]
    return _Layout(shape, order, shape[0] * num_groups, [c])


def _instances(shape: tuple[int, ...], channel_axis: int) -> _Layout:
    """A group is a channel of a sample; of samples that are rows of features, the row."""
    return _parts(shape, channel_axis, 1 if len(shape) == 2 else shape[channel_axis])


def _trailing(shape: tuple[int, ...], normalized_shape: int | Sequence[int]) -> _Layout:
    """A group is all that the last axes hold."""
    k = len(np.atleast_1d(np.asarray(normalized_shape)))
    axes = range(len(shape) - k, len(shape))
    return _Layout(shape, range(len(shape)), math.prod(shape[:-k]), axes)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each row, shape (groups,)."""
    if rows.shape[1] == 0:
        return np.zeros(len(rows)), np.full(len(rows), np.nan)
    mean = rows.mean(axis=1)
    rest = (rows - mean[:, None]).mean(axis=1)  # what rounding took from the mean: all of it, where values are equal
    mean = np.where(np.isfinite(rest), mean + rest, mean)
    return mean, ((rows - mean[:, None]) ** 2).mean(axis=1)


def _scaled(layout: _Layout, x: np.ndarray, xhat: np.ndarray, weight: Any, bias: Any) -> np.ndarray:
    """Normalized rows times weight plus bias, in x's shape, dtype and order of memory."""
    y = xhat if weight is None else xhat * layout.spread(weight)
    y = y if bias is None else y + layout.spread(bias)
    return _like(x, layout.array(y))


def _like(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    result = np.empty_like(x)
    result[...] = values
    return result


def _gradients(
    layout: _Layout,
    dy: Any,
    x: np.ndarray,
    mean: Any,
    rstd: Any,
    weight: Any,
    bias: Any,
    own: bool,
    center: bool = True,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """dx, dweight and dbias; `own` says whether the statistics are those of x."""
    with np.errstate(all="ignore"):
        dy, rstd = layout.rows(np.asarray(dy)), np.asarray(rstd, dtype=np.float64).reshape(-1, 1)
        xhat = (layout.rows(x) - np.asarray(mean, dtype=np.float64).reshape(-1, 1)) * rstd
        g = dy if weight is None else dy * layout.spread(weight)
        dx = g
        if own and g.shape[1]:
            dx = dx - g.mean(axis=1, keepdims=True) if center else dx
            dx = dx - xhat * (g * xhat).mean(axis=1, keepdims=True)
        given = next((p.dtype for p in (weight, bias) if isinstance(p, np.ndarray)), x.dtype)
        has_bias = weight is not None if bias is None else bias is not False
        dweight = None if weight is None else layout.sums(dy * xhat).astype(given)
        dbias = layout.sums(dy).astype(given) if has_bias else None
        return _like(x, layout.array(dx * rstd)), dweight, dbias


def _given(running_mean: Any, running_var: Any, eps: float, times: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and rstd from running statistics, each repeated so many times."""
    mean, var = (np.asarray(running, dtype=np.float64) for running in (running_mean, running_var))
    return np.tile(mean, times), np.tile(1 / np.sqrt(var + eps), times)


def _follow(
    running_mean: Any, running_var: Any, mean: Any, var: Any, n: int, momentum: Any, num_batches_tracked: Any
) -> None:
    """Update running statistics in place with those of a batch, shape (times, channels), of n values each."""
    if num_batches_tracked is not None:
        num_batches_tracked += 1
    if running_mean is None or n * len(mean) == 0:
        return
    momentum = 1 / np.float64(num_batches_tracked).item() if momentum is None else momentum
    for running, batch in ((running_mean, mean), (running_var, var * (n / (n - 1)))):
        running[...] = (1 - momentum) * running.astype(np.float64) + momentum * batch.mean(axis=0)


def batch_norm_forward(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    num_batches_tracked: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalize each channel over the batch: y, and mean and rstd of shape (C,)."""
    x = np.asarray(x)
    layout = _channels(x.shape, channel_axis)
    with np.errstate(all="ignore"):
        rows = layout.rows(x)
        if training:
            mean, var = _moments(rows)
            n = rows.shape[1]
            _follow(running_mean, running_var, mean[None], var[None], n, momentum, num_batches_tracked)
            rstd = 1 / np.sqrt(var + eps)
        else:
            mean, rstd = _given(running_mean, running_var, eps)
        y = _scaled(layout, x, (rows - mean[:, None]) * rstd[:, None], weight, bias)
    return y, mean, rstd


def batch_norm(x: Any, *args: Any, **options: Any) -> np.ndarray:
    """The first of :func:`batch_norm_forward`'s results."""
    return batch_norm_forward(x, *args, **options)[0]


def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    *,
    training: bool = True,
    bias: Any = None,
    channel_axis: int = 1,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of :func:`batch_norm`."""
    x = np.asarray(x)
    return _gradients(_channels(x.shape, channel_axis), dy, x, mean, rstd, weight, bias, training)


def _own_forward(layout: _Layout, x: np.ndarray, weight: Any, bias: Any, eps: float, shape: tuple[int, ...]) -> Any:
    """y, mean and rstd of layers that always normalize a group by its own statistics."""
    with np.errstate(all="ignore"):
        rows = layout.rows(x)
        mean, var = _moments(rows)
        rstd = 1 / np.sqrt(var + eps)
        y = _scaled(layout, x, (rows - mean[:, None]) * rstd[:, None], weight, bias)
    return y, mean.reshape(shape), rstd.reshape(shape)


def layer_norm_forward(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalize over the last axes: y, and mean and rstd of the shape of the other axes."""
    x = np.asarray(x)
    layout = _trailing(x.shape, normalized_shape)
    return _own_forward(layout, x, weight, bias, eps, x.shape[: -len(layout.axes)])


def layer_norm(x: Any, *args: Any, **options: Any) -> np.ndarray:
    """The first of :func:`layer_norm_forward`'s results."""
    return layer_norm_forward(x, *args, **options)[0]


def layer_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    normalized_shape: int | Sequence[int] | None = None,
    *,
    bias: Any = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of :func:`layer_norm`."""
    x = np.asarray(x)
    normalized_shape = x.shape[np.ndim(mean) :] if normalized_shape is None else normalized_shape
    return _gradients(_trailing(x.shape, normalized_shape), dy, x, mean, rstd, weight, bias, True)


def instance_norm_forward(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    num_batches_tracked: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalize each channel of each sample: y, and mean and rstd of shape (N, C).

    Samples that are rows, x of shape (N, C), are normalized over their features; mean and rstd then have shape (N,).
    """
    x = np.asarray(x)
    layout = _instances(x.shape, channel_axis)
    shape = x.shape[:1] if x.ndim == 2 else (x.shape[0], x.shape[channel_axis])
    with np.errstate(all="ignore"):
        rows = layout.rows(x)
        if use_input_stats:
            mean, var = _moments(rows)
            each = [statistic.reshape(shape) for statistic in (mean, var)]
            _follow(running_mean, running_var, *each, rows.shape[1], momentum, num_batches_tracked)
            rstd = 1 / np.sqrt(var + eps)
        else:
            mean, rstd = _given(running_mean, running_var, eps, times=len(x))
        y = _scaled(layout, x, (rows - mean[:, None]) * rstd[:, None], weight, bias)
    return y, mean.reshape(shape), rstd.reshape(shape)


def instance_norm(x: Any, *args: Any, **options: Any) -> np.ndarray:
    """The first of :func:`instance_norm_forward`'s results."""
    return instance_norm_forward(x, *args, **options)[0]


def instance_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    *,
    use_input_stats: bool = True,
    bias: Any = None,
    channel_axis: int = 1,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of :func:`instance_norm`."""
    x = np.asarray(x)
    return _gradients(_instances(x.shape, channel_axis), dy, x, mean, rstd, weight, bias, use_input_stats)


def group_norm_forward(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *, channel_axis: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalize groups of channels of each sample: y, and mean and rstd of shape (N, G)."""
    x = np.asarray(x)
    layout = _parts(x.shape, channel_axis, num_groups)
    return _own_forward(layout, x, weight, bias, eps, (len(x), num_groups))


def group_norm(x: Any, *args: Any, **options: Any) -> np.ndarray:
    """The first of :func:`group_norm_forward`'s results."""
    return group_norm_forward(x, *args, **options)[0]


def group_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    num_groups: int | None = None,
    *,
    bias: Any = None,
    channel_axis: int = 1,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of :func:`group_norm`."""
    x = np.asarray(x)
    num_groups = np.shape(mean)[1] if num_groups is None else num_groups
    return _gradients(_parts(x.shape, channel_axis, num_groups), dy, x, mean, rstd, weight, bias, True)


def rms_norm_forward(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide by the root of the mean square over the last axes: y, and rstd of the shape of the other axes."""
    x = np.asarray(x)
    layout = _trailing(x.shape, normalized_shape)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    with np.errstate(all="ignore"):
        rows = layout.rows(x)
        mean_square = (rows**2).mean(axis=1) if rows.shape[1] else np.full(len(rows), np.nan)
        rstd = 1 / np.sqrt(mean_square + eps)
        y = _scaled(layout, x, rows * rstd[:, None], weight, None)
    return y, rstd.reshape(x.shape[: -len(layout.axes)])


def rms_norm(x: Any, *args: Any, **options: Any) -> np.ndarray:
    """The first of :func:`rms_norm_forward`'s results."""
    return rms_norm_forward(x, *args, **options)[0]


def rms_norm_backward(
    dy: Any, x: Any, rstd: Any, weight: Any = None, normalized_shape: int | Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Gradients of :func:`rms_norm`."""
    x = np.asarray(x)
    normalized_shape = x.shape[np.ndim(rstd) :] if normalized_shape is None else normalized_shape
    layout = _trailing(x.shape, normalized_shape)
    return _gradients(layout, dy, x, np.zeros(rstd.shape), rstd, weight, False, True, center=False)[:2]
