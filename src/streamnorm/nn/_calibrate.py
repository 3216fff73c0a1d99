"""The statistics of whole sources for a layer: mean and unbiased variance of each channel, from the statistics engine.

Design: the fit is that of a StandardScaler, so that files, tables, frames and iterators are read in bounded memory, and
repeatably, by the code that does so already. Arrays of other than two dimensions are cut into matrices of a row for
each place and a column for each channel, and come in as a stream of those. Turned down: feeding batches to forward
with momentum=None, whose average of the batches' variances is not the variance of the source.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .. import engine
from ..errors import DataError
from ..scalers import StandardScaler
from ..scalers._base import Columns

BLOCK_VALUES = 1 << 20  # of an array, rearranged at a time


class _ChannelStatistics(StandardScaler):
    """A StandardScaler for as many columns as there are channels, which it finds out before anything is read."""

    _channels: int

    @classmethod
    def of(cls, channels: int, exact: bool) -> Self:
        scaler = cls(with_std=False, exact=exact)  # whose constant columns are nothing to warn of: eps takes care
        scaler._channels = channels
        return scaler

    def _plan(self, schema: pa.Schema, columns: Columns = None, exclude: Columns = None) -> list[str]:
        names = super()._plan(schema, columns, exclude)
        if len(names) != self._channels:
            shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise DataError(
                f"the source has {len(names)} columns to calibrate on ({shown}), and num_features is {self._channels}: "
                "choose as many with columns= or exclude="
            )
        return names

    def _plan_array(self, d: int) -> list[int]:
        if d != self._channels:
            raise DataError(f"the source is an array of {d} columns, and num_features is {self._channels}")
        return super()._plan_array(d)


def statistics_of(
    source: Any, channels: int, channel_axis: int, dtype: np.dtype, *, exact: bool, **reading: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and unbiased variance of each channel, of the given type, and the number of rows or samples.

    Raises
    ------
    DataError
        As ``BatchNorm.calibrate``.
    """
    if not isinstance(exact, bool | np.bool_):
        raise TypeError(f"exact must be True or False, got {exact!r}")
    scaler = _ChannelStatistics.of(channels, bool(exact))
    if _is_array(source) and (source.ndim != 2 or channel_axis not in (1, -1)):
        source = iter([source])
    samples = None
    if _is_batches(source):
        samples = _Samples(source, channels, channel_axis)
        source = iter(samples)
    summary = engine.fit(source, scaler, **reading).summary_
    for name, column in summary.items():
        if column.count < 2:
            raise DataError(
                f"column {name!r} has {column.count} {'value' if column.count == 1 else 'values'} that are neither "
                "null nor NaN, and a variance takes two: leave the column out, or calibrate on more data",
                column=name,
            )
    mean = np.array([column.mean for column in summary.values()])
    var = np.array([column.var(1) for column in summary.values()])
    with np.errstate(over="ignore"):
        mean, var = mean.astype(dtype), var.astype(dtype)
    beyond = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(var)))
    if beyond.size:
        name = list(summary)[beyond[0]]
        raise DataError(
            f"column {name!r} has a mean of {summary[name].mean:.6g} and a standard deviation of "
            f"{summary[name].std(1):.6g}, beyond what running statistics of {dtype} hold: "
            + ("divide it by a constant first" if dtype == np.float64 else "make the layer with dtype=numpy.float64"),
            column=name,
        )
    return mean, var, summary.rows if samples is None or samples.count is None else samples.count


def _is_array(item: Any) -> bool:
    """Whether it is an array or a tensor, and no data frame, whose columns have types of their own."""
    return hasattr(item, "__array__") and hasattr(item, "ndim") and hasattr(item, "dtype")


def _is_batches(source: Any) -> bool:
    """Whether it is an iterator, or a list of arrays, whose arrays are to be looked at one by one."""
    if isinstance(source, list | tuple):
        return bool(source) and all(_is_array(item) and item.ndim >= 2 for item in source)
    return isinstance(source, Iterator) and not hasattr(source, "__arrow_c_stream__") and not hasattr(source, "read")


class _Samples:
    """The batches of a source; arrays among them as matrices with a column for each channel.

    Attributes
    ----------
    count : int or None
        Number of samples so far: the sizes of the arrays' first axis that is not the channels'. None without arrays.
    """

    def __init__(self, batches: Any, channels: int, channel_axis: int) -> None:
        self.batches, self.channels, self.channel_axis = batches, channels, channel_axis
        self.count: int | None = None

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if _is_array(batch):
                yield from self._matrices(_as_array(batch))
            else:
                yield batch

    def _matrices(self, array: np.ndarray) -> Iterator[np.ndarray]:
        axis = self.channel_axis
        if not -array.ndim <= axis < array.ndim or array.ndim < 2 or array.shape[axis] != self.channels:
            raise DataError(
                f"the source has an array of shape {array.shape}, and num_features, {self.channels}, along axis {axis} "
                "is wanted"
            )
        by_sample = np.moveaxis(array, axis, -1)
        self.count = (self.count or 0) + len(by_sample)
        if array.ndim == 2:
            yield by_sample
            return
        size = max(1, by_sample[:1].size)
        for start in range(0, len(by_sample), max(1, BLOCK_VALUES // size)):
            yield by_sample[start : start + max(1, BLOCK_VALUES // size)].reshape(-1, self.channels)


def _as_array(batch: Any) -> np.ndarray:
    if isinstance(batch, np.ma.MaskedArray):
        return batch  # the scaler knows what a mask means
    return np.asarray(batch.detach() if hasattr(batch, "detach") else batch)
