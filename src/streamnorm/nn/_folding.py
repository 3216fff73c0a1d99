"""Scalers, batch normalization and dense layers as one affine map: from each to the others."""

# Design: a layer made from a scaler has eps=0 and the square of the scale as its variance, because the square root of a
# square is the number itself in IEEE arithmetic: the scale comes back to the last bit. Where the square would overflow
# or vanish, the weight takes a power of two out of it, and the sign of a negative scale. Turned down: running_var=1 and
# the inverse of the scale as the weight, which rounds, and hides the variance from whoever looks for it.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..scalers import BaseScaler, ColumnScaler, StandardScaler
from ._batch_norm import BatchNorm
from ._module import Module, check_dtype

MAX_SCALE = 2.0**500  # its square, and that of its inverse, are normal numbers


class _Maps(NamedTuple):
    """The affine maps of d columns: three arrays of shape (d,)."""

    center: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


def layer_of(
    cls: type[BatchNorm], scaler: BaseScaler, dtype: DTypeLike, channel_axis: int, threads: int | None
) -> Any:
    """`BatchNorm.from_scaler`."""
    maps, kind = _of_scaler(scaler), check_dtype(dtype)
    most = min(MAX_SCALE, float(np.sqrt(np.finfo(kind).max)) / 2)
    size = np.abs(maps.scale)
    mantissa, exponent = np.frexp(size)
    moderate = (size <= most) & (size >= 1 / most)
    std = np.where(moderate, size, mantissa)
    with np.errstate(over="ignore"):
        weight = np.copysign(np.ldexp(1.0, np.where(moderate, 0, -exponent)), maps.scale)
    _check_channels(np.isfinite(weight), "from_scaler", "a scale so small that its inverse is beyond float64")
    affine = bool(maps.offset.any() or (weight != 1).any())
    layer = cls(len(std), eps=0.0, affine=affine, channel_axis=channel_axis, dtype=kind, threads=threads)
    values = {"running_mean": maps.center, "running_var": std * std}
    if affine:
        values |= {"weight": weight, "bias": maps.offset}
    layer.load_state_dict(values, strict=False)
    return layer.eval()


def scaler_of(layer: BatchNorm, columns: Sequence[str] | None) -> StandardScaler:
    """`BatchNorm.to_scaler`."""
    mean, std, weight, bias = _of_layer(layer, "to_scaler")
    _check_channels(weight != 0, "to_scaler", "the weight 0, which no scale does")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scale = std / weight
        return StandardScaler.from_statistics(mean - bias * scale, scale, columns=columns)


def fold(norm: BatchNorm | BaseScaler, weight: ArrayLike, bias: ArrayLike | None = None) -> tuple[Any, Any]:
    """Weight and bias of a dense layer that does what a normalization and a dense layer after it do.

    ``norm(x) @ weight.T + bias`` (``norm.transform(x)`` for a scaler) equals ``x @ W.T + b`` up to rounding. Where the
    mean of a column is large beside its standard deviation, the normalization takes it away before it can round
    anything, and the folded bias takes it away after: there float32 loses digits.

    Parameters
    ----------
    norm : BatchNorm or scaler
        A layer in evaluation mode with running statistics, or a fitted scaler without clip.
    weight : array-like of float16, float32 or float64, shape (out_features, in_features)
        Of the dense layer, as in ``torch.nn.Linear``.
    bias : array-like of shape (out_features,), or None
        None: zeros.

    Returns
    -------
    weight, bias : ndarray
        New, of the type of `weight`; computed in float64.

    Raises
    ------
    TypeError
        If `norm` is something else, such as a layer whose statistics are those of each instance.
    ValueError
        If the layer is in training mode or has no running statistics, the scaler clips, shapes do not fit, or the
        result is beyond its type.
    NotFittedError
        If the scaler is not fitted.

    Examples
    --------
    >>> import streamnorm as sn
    >>> scaler = sn.StandardScaler().fit([[1.0], [3.0]])
    >>> fold(scaler, np.array([[2.0]]), [0.5])
    (array([[2.]]), array([-3.5]))
    """
    if isinstance(norm, BatchNorm):
        if norm.training and norm.running_mean is not None:
            raise ValueError(
                "this BatchNorm is in training mode, where it normalizes by each batch: call eval() on it, then fold"
            )
        center, std, slope, offset = _of_layer(norm, "fold")
        slope = slope / std
    elif isinstance(norm, BaseScaler):
        center, scale, offset = _of_scaler(norm)
        with np.errstate(over="ignore"):
            slope = 1.0 / scale
    elif isinstance(norm, Module):
        raise TypeError(
            f"{type(norm).__name__} cannot be folded, because what it does depends on each instance: keep it as a layer"
        )
    else:
        raise TypeError(f"norm must be a BatchNorm or a fitted scaler, got {type(norm).__name__}")
    dense = _dense(weight, len(center))
    shift = np.zeros(len(dense)) if bias is None else _bias(bias, len(dense))
    with np.errstate(over="ignore", invalid="ignore"):
        folded = dense.astype(np.float64) * slope
        added = shift + dense.astype(np.float64) @ offset - folded @ center
        results = folded.astype(dense.dtype), added.astype(dense.dtype)
    if not all(np.isfinite(result).all() for result in results):
        raise ValueError(f"the folded weight and bias are beyond {dense.dtype}: fold a weight of a wider type")
    return results


def _dense(weight: ArrayLike, features: int) -> np.ndarray:
    array = np.asarray(weight)
    check_dtype(array.dtype)
    if array.ndim != 2 or array.shape[1] != features:
        raise ValueError(f"weight has shape {array.shape}, and (out_features, {features}) is wanted")
    if not np.isfinite(array).all():
        raise ValueError("weight holds NaN or infinity")
    return array


def _bias(bias: ArrayLike, features: int) -> np.ndarray:
    array = np.asarray(bias, dtype=np.float64)
    if array.shape != (features,):
        raise ValueError(f"bias has shape {array.shape}, and ({features},) is wanted")
    if not np.isfinite(array).all():
        raise ValueError("bias holds NaN or infinity")
    return array


def _of_scaler(scaler: BaseScaler) -> _Maps:
    if not isinstance(scaler, BaseScaler):
        raise TypeError(f"a fitted scaler of streamnorm is wanted, got {type(scaler).__name__}")
    maps = scaler._plain_maps()
    if any(m.clip is not None for m in maps.values()):
        raise ValueError(f"this {type(scaler).__name__} clips, which no affine map does: make it with clip=False")
    if isinstance(scaler, ColumnScaler) and not scaler.summary_.named and list(maps) != list(range(len(maps))):
        raise ValueError(
            f"this ColumnScaler normalizes the columns {list(maps)} of an array and passes others through: fit one "
            "that gives each column a method"
        )
    return _Maps(*(np.array([getattr(m, key) for m in maps.values()]) for key in ("center", "scale", "offset")))


def _of_layer(layer: BatchNorm, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation, weight and bias in float64: y = (x - mean) / std * weight + bias in evaluation mode."""
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError(
            f"{what} takes running statistics, and this BatchNorm normalizes by each batch: make it with "
            "track_running_stats=True"
        )
    mean, var = (np.array(each, np.float64) for each in (layer.running_mean, layer.running_var))
    weight = np.ones(len(mean)) if layer.weight is None else np.array(layer.weight, np.float64)
    bias = np.zeros(len(mean)) if layer.bias is None else np.array(layer.bias, np.float64)
    _check_channels(np.isfinite(mean) & np.isfinite(weight) & np.isfinite(bias), what, "a value that is not finite")
    with np.errstate(invalid="ignore"):
        std = np.sqrt(var + float(layer.eps or 0.0))
    _check_channels(np.isfinite(std) & (std > 0), what, "running_var + eps that is not positive and finite")
    return mean, std, weight, bias


def _check_channels(good: np.ndarray, what: str, problem: str) -> None:
    if not good.all():
        raise ValueError(f"{what}: channel {int(np.argmin(good))} has {problem}")
