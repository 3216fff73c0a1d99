"""Batch normalization as a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import functional as F
from ._norm import RunningNorm


class BatchNorm(RunningNorm):
    """Normalize each channel by its mean and variance over the batch, as ``torch.nn.BatchNorm1d`` to ``3d``.

    In training mode the statistics are those of the batch, and the running ones follow them; in evaluation mode they
    are the running ones, and those of the batch without ``track_running_stats``.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Weight of a new batch in the running statistics; None: the plain average of all batches.
    affine : bool, default True
        Whether there are weight and bias.
    track_running_stats : bool, default True
        Whether there are running statistics.
    channel_axis : int, default 1
        The axis of the channels in the input.
    dtype : float16, float32 or float64, default float32
        Of parameters and running statistics; outputs have the type of the input.
    threads : int or None
        Most threads that a call uses; None: all cores where it pays.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None
    running_mean, running_var : ndarray of shape (C,), or None
        The variance is the unbiased one.
    num_batches_tracked : ndarray of shape (), int64, or None
    training : bool

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift"
    (ICML 2015).

    Examples
    --------
    >>> norm = BatchNorm(2)
    >>> norm(np.array([[1.0, 10.0], [3.0, 30.0]])).round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> norm.running_mean
    array([0.2, 2. ], dtype=float32)
    >>> dx = norm.backward(np.ones((2, 2)))
    >>> norm.bias.grad
    array([2., 2.], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        channel_axis: int = 1,
        dtype: DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, channel_axis, dtype, threads)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Normalize x, of shape (N, C, ...) if the channels are along axis 1; in `out` if that is given."""
        x = self._input(x)
        by_batch = self.training or self.running_mean is None
        y, mean, rstd = F.batch_norm_forward(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            by_batch,
            self.momentum,
            self.eps,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
            num_batches_tracked=self.num_batches_tracked if by_batch else None,
        )
        self.__dict__["_kept"] = x, mean, rstd, by_batch
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        x, mean, rstd, by_batch = self._take_kept()
        dx, dweight, dbias = F.batch_norm_backward(
            dy,
            x,
            mean,
            rstd,
            self.weight,
            training=by_batch,
            bias=self.bias is not None,
            channel_axis=self.channel_axis,
            out=out,
            threads=self.threads,
        )
        self._take_gradients(dweight, dbias)
        return dx
