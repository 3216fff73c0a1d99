"""The bases of the normalization layers: their parameters, running statistics and checked arguments."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ._module import Module, Parameter, accumulate, check_count, check_dtype, check_int, check_real, parameter_of


class Norm(Module):
    """What normalization layers share: type, threads, and parameters of ones and zeros."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, eps: float | None, dtype: DTypeLike, threads: int | None) -> None:
        super().__init__()
        self.eps = None if eps is None else check_real(eps, "eps", math.inf)
        self.dtype = check_dtype(dtype)
        self.threads = None if threads is None else check_count(threads, "threads")

    def _make_parameters(self, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
        self.register_parameter("weight", parameter_of(weight, np.ones, shape, self.dtype))
        self.register_parameter("bias", parameter_of(bias, np.zeros, shape, self.dtype))

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            self.weight[...] = 1
        if self.bias is not None:
            self.bias[...] = 0

    def _take_gradients(self, dweight: np.ndarray | None, dbias: np.ndarray | None) -> None:
        accumulate(self.weight, dweight)
        accumulate(self.bias, dbias)

    def _options(self) -> str:
        """What differs from the defaults among the arguments that PyTorch has not."""
        shown = []
        axis = getattr(self, "channel_axis", 1)
        if axis != 1:
            shown.append(f", channel_axis={axis}")
        if self.dtype != np.float32:
            shown.append(f", dtype={self.dtype}")
        return "".join(shown)


class ChannelNorm(Norm):
    """A layer whose parameters belong to channels, along one axis of the input."""

    def __init__(
        self, channels: Any, name: str, eps: float, channel_axis: int, dtype: DTypeLike, threads: int | None
    ) -> None:
        super().__init__(eps, dtype, threads)
        self._channels = check_count(channels, name)
        self.channel_axis = check_int(channel_axis, "channel_axis")

    def _input(self, x: ArrayLike) -> np.ndarray:
        array = np.asarray(x)
        axis = self.channel_axis
        if not -array.ndim <= axis < array.ndim or array.shape[axis] != self._channels:
            wanted = wanted_channels(self, self._channels, array.shape)
            raise ValueError(f"x has shape {array.shape}, and {wanted}")
        return array


def wanted_channels(layer: Any, channels: int, shape: tuple[int, ...]) -> str:
    """The end of an error about channels, with what most likely is meant; `shape` ends as that of x does."""
    wanted = f"{channels} channels along axis {layer.channel_axis} are wanted"
    if layer.channel_axis == 1 and len(shape) > 1 and shape[-1] == channels:
        wanted += f": for channels that come last write {type(layer).__name__}({channels}, channel_axis=-1)"
    return wanted


class RunningNorm(ChannelNorm):
    """A layer that may keep running statistics of its channels."""

    running_mean: np.ndarray | None
    running_var: np.ndarray | None
    num_batches_tracked: np.ndarray | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        channel_axis: int,
        dtype: DTypeLike,
        threads: int | None,
    ) -> None:
        super().__init__(num_features, "num_features", eps, channel_axis, dtype, threads)
        self.num_features = self._channels
        self.momentum = None if momentum is None else check_real(momentum, "momentum", 1.0)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        self._make_parameters((self.num_features,), self.affine, self.affine)
        has = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(self.num_features, self.dtype) if has else None)
        self.register_buffer("running_var", np.ones(self.num_features, self.dtype) if has else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if has else None)

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.running_mean is not None:
            self.running_mean, self.running_var, self.num_batches_tracked = (
                np.zeros_like(self.running_mean),
                np.ones_like(self.running_var),
                np.zeros((), np.int64),
            )

    def _shown(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}{self._options()}"
        )


class ShapeNorm(Norm):
    """A layer that normalizes over the last dimensions of its input."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None, dtype: DTypeLike, threads: int | None
    ) -> None:
        super().__init__(eps, dtype, threads)
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        self.normalized_shape = tuple(check_count(size, "normalized_shape") for size in sizes)
        if not self.normalized_shape:
            raise ValueError("normalized_shape must have at least one dimension")
