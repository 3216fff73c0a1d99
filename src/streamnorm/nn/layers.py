"""Layers: the functions of ``streamnorm.nn.functional`` with parameters, statistics, and what backward needs."""

# Design: forward keeps its input by reference, and the float64 mean and rstd that it normalized by, in evaluation mode
# too: a frozen layer inside a network that is trained has a backward. Turned down: keeping the normalized values, which
# is a copy of every batch.
#
# Design: one class for inputs of any dimension, where PyTorch has 1d, 2d and 3d: the functions take any, and the states
# are the same.

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import functional as F
from ._batch_norm import BatchNorm
from ._module import check_count
from ._norm import ChannelNorm, RunningNorm, ShapeNorm

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]

BatchNorm.__module__ = __name__  # where a pickle looks for it, and the other four are


class InstanceNorm(RunningNorm):
    """Normalize each channel of each sample by its own mean and variance, as ``torch.nn.InstanceNorm1d`` to ``3d``.

    An input of two dimensions is a batch of instances, each normalized over its features.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps, momentum, channel_axis, dtype, threads
        As for :class:`BatchNorm`.
    affine : bool, default False
        Whether there are weight and bias.
    track_running_stats : bool, default False
        Whether there are running statistics, by which evaluation mode then normalizes. Not for inputs of two
        dimensions.

    Attributes
    ----------
    weight, bias, running_mean, running_var, num_batches_tracked, training
        As for :class:`BatchNorm`. As in PyTorch, num_batches_tracked stays 0; with momentum=None it counts, because the
        average needs it.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast stylization" (2016).

    Examples
    --------
    >>> InstanceNorm(2)(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        channel_axis: int = 1,
        dtype: DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, channel_axis, dtype, threads)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Normalize x, of shape (N, C, ...) if the channels are along axis 1; in `out` if that is given."""
        x = self._input(x)
        by_input = self.training or self.running_mean is None
        y, mean, rstd = F.instance_norm_forward(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            by_input,
            self.momentum,
            self.eps,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
            num_batches_tracked=self.num_batches_tracked if by_input and self.momentum is None else None,
        )
        self.__dict__["_kept"] = x, mean, rstd, by_input
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, mean, rstd, by_input = self._take_kept()
        dx, dweight, dbias = F.instance_norm_backward(
            dy,
            x,
            mean,
            rstd,
            self.weight,
            use_input_stats=by_input,
            bias=self.bias is not None,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
        )
        self._take_gradients(dweight, dbias)
        return dx


class GroupNorm(ChannelNorm):
    """Normalize groups of channels of each sample by their mean and variance, as ``torch.nn.GroupNorm``.

    Parameters
    ----------
    num_groups : int
        Divides num_channels.
    num_channels : int
        Number of channels, C.
    eps, channel_axis, dtype, threads
        As for :class:`BatchNorm`.
    affine : bool, default True
        Whether there are weight and bias.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None

    References
    ----------
    Wu and He, "Group normalization" (ECCV 2018).

    Examples
    --------
    >>> GroupNorm(1, 2)(np.array([[[1.0, 1.0], [3.0, 3.0]]])).round(3)
    array([[[-1., -1.],
            [ 1.,  1.]]])
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        channel_axis: int = 1,
        dtype: DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        super().__init__(num_channels, "num_channels", eps, channel_axis, dtype, threads)
        self.num_channels = self._channels
        self.num_groups = check_count(num_groups, "num_groups")
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_channels, {num_channels}, must be a multiple of num_groups, {num_groups}")
        self.affine = bool(affine)
        self._make_parameters((self.num_channels,), self.affine, self.affine)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Normalize x, of shape (N, C, ...) if the channels are along axis 1; in `out` if that is given."""
        x = self._input(x)
        y, mean, rstd = F.group_norm_forward(
            x,
            self.num_groups,
            self.weight,
            self.bias,
            self.eps,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
        )
        self.__dict__["_kept"] = x, mean, rstd
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, mean, rstd = self._take_kept()
        dx, dweight, dbias = F.group_norm_backward(
            dy,
            x,
            mean,
            rstd,
            self.weight,
            num_groups=self.num_groups,
            bias=self.bias is not None,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
        )
        self._take_gradients(dweight, dbias)
        return dx

    def _shown(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}{self._options()}"


class LayerNorm(ShapeNorm):
    """Normalize each sample by its mean and variance over the last dimensions, as ``torch.nn.LayerNorm``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last dimensions of the input.
    eps : float, default 1e-5
        Added to the variance.
    elementwise_affine : bool, default True
        Whether there is a weight, and with `bias` a bias, for each place in normalized_shape.
    bias : bool, default True
    dtype, threads
        As for :class:`BatchNorm`.

    Attributes
    ----------
    weight, bias : Parameter of shape normalized_shape, or None

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Examples
    --------
    >>> LayerNorm(2)(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        super().__init__(normalized_shape, eps, dtype, threads)
        self.elementwise_affine = bool(elementwise_affine)
        self._make_parameters(self.normalized_shape, self.elementwise_affine, self.elementwise_affine and bool(bias))

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Normalize x, whose last dimensions are normalized_shape; in `out` if that is given."""
        x = np.asarray(x)
        y, mean, rstd = F.layer_norm_forward(
            x, self.normalized_shape, self.weight, self.bias, self.eps, out=out, threads=self.threads
        )
        self.__dict__["_kept"] = x, mean, rstd
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, mean, rstd = self._take_kept()
        dx, dweight, dbias = F.layer_norm_backward(
            dy,
            x,
            mean,
            rstd,
            self.weight,
            normalized_shape=self.normalized_shape,
            bias=self.bias is not None,
            out=out,
            threads=self.threads,
        )
        self._take_gradients(dweight, dbias)
        return dx

    def _shown(self) -> str:
        has_bias = self.bias is not None
        affine = self.elementwise_affine
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={has_bias}{self._options()}"


class RMSNorm(ShapeNorm):
    """Divide each sample by its root mean square over the last dimensions, as ``torch.nn.RMSNorm``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last dimensions of the input.
    eps : float or None
        Added to the mean square; None: the machine epsilon of the input's type.
    elementwise_affine : bool, default True
        Whether there is a weight for each place in normalized_shape.
    dtype, threads
        As for :class:`BatchNorm`.

    Attributes
    ----------
    weight : Parameter of shape normalized_shape, or None

    References
    ----------
    Zhang and Sennrich, "Root mean square layer normalization" (NeurIPS 2019).

    Examples
    --------
    >>> RMSNorm(2)(np.array([[3.0, 3.0], [-5.0, 5.0]])).round(3)
    array([[ 1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        super().__init__(normalized_shape, eps, dtype, threads)
        self.elementwise_affine = bool(elementwise_affine)
        self._make_parameters(self.normalized_shape, self.elementwise_affine, False)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Normalize x, whose last dimensions are normalized_shape; in `out` if that is given."""
        x = np.asarray(x)
        y, rstd = F.rms_norm_forward(x, self.normalized_shape, self.weight, self.eps, out=out, threads=self.threads)
        self.__dict__["_kept"] = x, rstd
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the weight's gradient adds up."""
        x, rstd = self._take_kept()
        dx, dweight = F.rms_norm_backward(
            dy,
            x,
            rstd,
            self.weight,
            normalized_shape=self.normalized_shape,
            out=out,
            threads=self.threads,
        )
        self._take_gradients(dweight, None)
        return dx

    def _shown(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}{self._options()}"
