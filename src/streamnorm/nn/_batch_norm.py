"""Batch normalization as a layer, and its ties to the scalers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import functional as F
from ._norm import RunningNorm

if TYPE_CHECKING:
    from ..scalers import BaseScaler, StandardScaler

Progress = Callable[[int, int | None, int], None]


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

    def calibrate(
        self,
        source: Any,
        *,
        columns: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        exact: bool = False,
        memory: str | int = "256MB",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Set the running statistics to the mean and the unbiased variance of a whole source, in one pass over it.

        Nulls and NaN are left out, column by column, as in a scaler's ``fit``; an infinity is an error. The mode of the
        layer, training or evaluation, stays what it is. If the call fails, nothing is changed.

        ``num_batches_tracked`` becomes the number of rows (of samples, for arrays of more than two dimensions), as if
        each had been a batch: with ``momentum=None``, training that follows refines the statistics and does not drown
        them in its first batch. With a number as momentum it makes no difference.

        Parameters
        ----------
        source : data
            Whatever ``streamnorm.fit`` takes: Parquet files of any size, tables, frames, two-dimensional arrays,
            iterators of batches. Its numeric columns, in its own order, are the channels. Also arrays of other
            dimensions, with channels along ``channel_axis``, and iterators and lists of arrays.
        columns, exclude : str, sequence of str, or None
            Of a source with named columns: which ones, and which not.
        exact : bool, default False
            Whether mean and variance are correctly rounded (to float64, before the cast to the layer's type), whatever
            the order of the rows.
        memory : str or int, default "256MB"
            Bound of buffers while files are read.
        threads : int or None
            Threads that read files; None: one a core. The result does not depend on it.
        progress : callable or None
            Called with rows done, rows in all (or None) and bytes done.

        Returns
        -------
        BatchNorm
            Itself.

        Raises
        ------
        DataError
            If there are not ``num_features`` columns, one has fewer than two values, or its statistics are beyond the
            layer's type; and as ``streamnorm.fit`` does.
        ValueError
            If the layer has no running statistics.

        Examples
        --------
        >>> norm = BatchNorm(1, dtype=np.float64).calibrate(np.array([[1.0], [2.0], [6.0]]))
        >>> norm.running_mean, norm.running_var
        (array([3.]), array([7.]))
        """
        from ._calibrate import statistics_of

        if self.running_mean is None:
            raise ValueError("calibrate sets running statistics: make the layer with track_running_stats=True")
        mean, var, count = statistics_of(
            source,
            self.num_features,
            self.channel_axis,
            self.dtype,
            exact=exact,
            columns=columns,
            exclude=exclude,
            memory=memory,
            threads=threads,
            progress=progress,
        )
        self.running_mean, self.running_var, self.num_batches_tracked = mean, var, np.array(count)
        return self

    @classmethod
    def from_scaler(
        cls,
        scaler: BaseScaler,
        *,
        dtype: DTypeLike = np.float64,
        channel_axis: int = 1,
        threads: int | None = None,
    ) -> Self:
        """A layer in evaluation mode that does what a fitted scaler does.

        Parameters
        ----------
        scaler : StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler or ColumnScaler
            Fitted, in whatever way, and without clip. The channels are its normalized columns, in their order.
        dtype : float16, float32 or float64, default float64
            With float64, outputs agree with ``scaler.transform`` to 1e-12, relatively. With float32 the statistics are
            rounded to it.
        channel_axis, threads
            As for the class.

        Returns
        -------
        BatchNorm
            With eps=0, running_mean the center and running_var the square of the scale; with weight and bias only
            where the map needs them, as that of a MinMaxScaler to another range than from 0 does.

        Raises
        ------
        ValueError
            If the scaler clips, or passes columns of arrays through.
        NotFittedError
            If it is not fitted.

        Examples
        --------
        >>> import streamnorm as sn
        >>> scaler = sn.StandardScaler().fit([[1.0], [3.0]])
        >>> BatchNorm.from_scaler(scaler)(np.array([[5.0]]))
        array([[3.]])
        """
        from ._folding import layer_of

        return layer_of(cls, scaler, dtype, channel_axis, threads)

    def to_scaler(self, *, columns: Sequence[str] | None = None) -> StandardScaler:
        """A fitted StandardScaler that does what this layer does in evaluation mode.

        Weight and bias become part of the scaler's ``mean_`` and ``scale_``, which are the data's no longer then, and
        with a bias the mean is rounded once more. The scaler transforms, saves and loads like any; having counted no
        rows, it refuses ``merge`` and ``partial_fit``, also after :meth:`calibrate`: running statistics do not say how
        many values each column had.

        Parameters
        ----------
        columns : sequence of str, optional
            Names of the channels, so that the scaler finds them in tables.

        Returns
        -------
        StandardScaler
            ``StandardScaler.from_statistics`` of ``mean_ = running_mean - bias * scale_`` and
            ``scale_ = sqrt(running_var + eps) / weight``. A layer made from a StandardScaler gives its mean and scale
            back.

        Raises
        ------
        ValueError
            If there are no running statistics, a weight is 0, or a scale is 0 or not finite.

        Examples
        --------
        >>> norm = BatchNorm(1, eps=0.0, dtype=np.float64)
        >>> norm.running_mean, norm.running_var, norm.bias = [5.0], [4.0], [1.0]
        >>> scaler = norm.to_scaler()
        >>> scaler.mean_, scaler.scale_, scaler.transform([[9.0]])
        (array([3.]), array([2.]), array([[3.]]))
        """
        from ._folding import scaler_of

        return scaler_of(self, columns)
