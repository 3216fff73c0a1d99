"""Layers as ONNX nodes, in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import StreamnormError
from . import _windows
from ._graph import Graph, standardize

Shape = tuple[int, ...]  # of one sample, without the first dimension


class Values:
    """What flows from layer to layer: the name of a value, the shape of a sample, and the type that is computed in."""

    def __init__(self, graph: Graph, name: str, shape: Shape, dtype: np.dtype) -> None:
        self.graph, self.name, self.shape, self.dtype = graph, name, shape, dtype

    def add(self, operator: str, *constants: Any, **attributes: Any) -> None:
        """Put the value through an operator, beside constants of its type."""
        self.name = self.graph.add(
            operator, self.name, *(self.graph.constant(each, self.dtype) for each in constants), **attributes
        )

    def reshape(self, shape: Shape) -> None:
        """Give samples another shape."""
        self.name = self.graph.add("Reshape", self.name, self.graph.constant([-1, *shape], np.int64))
        self.shape = shape

    def axis(self, axis: int) -> int:
        """An axis of the batch, counted from the front."""
        return axis % (len(self.shape) + 1)

    def along(self, values: Any, axis: int) -> np.ndarray:
        """Values of channels, of a shape that is broadcast along this axis."""
        shape = [1] * (len(self.shape) + 1)
        shape[axis] = -1
        return np.asarray(values).reshape(shape)

    def scale_and_shift(self, weight: Any, bias: Any, axis: int | None = None) -> None:
        """A layer's parameters, where it has them; of channels along `axis`, else of the last dimensions."""
        for operator, values in (("Mul", weight), ("Add", bias)):
            if values is not None:
                self.add(operator, values if axis is None else self.along(values, axis))


def _by_running(layer: Any, values: Values) -> None:
    axis = values.axis(layer.channel_axis)
    rstd = 1 / np.sqrt(np.asarray(layer.running_var, np.float64) + layer.eps)
    factor = rstd if layer.weight is None else rstd * np.asarray(layer.weight, np.float64)
    values.add("Sub", values.along(layer.running_mean, axis))
    values.scale_and_shift(factor, layer.bias, axis)


def _by_batch(layer: Any, values: Values, axes: Sequence[int], axis: int) -> None:
    values.name = standardize(values.graph, values.name, axes, layer.eps, values.dtype)
    values.scale_and_shift(layer.weight, layer.bias, axis)


def _batch_norm(layer: Any, values: Values) -> None:
    if layer.running_mean is not None:
        _by_running(layer, values)
        return
    axis = values.axis(layer.channel_axis)
    _by_batch(layer, values, [each for each in range(len(values.shape) + 1) if each != axis], axis)


def _instance_norm(layer: Any, values: Values) -> None:
    if layer.running_mean is not None:
        _by_running(layer, values)
        return
    axis = values.axis(layer.channel_axis)
    axes = [1] if len(values.shape) == 1 else [each for each in range(1, len(values.shape) + 1) if each != axis]
    _by_batch(layer, values, axes, axis)


def _group_norm(layer: Any, values: Values) -> None:
    axis, shape, ndim = values.axis(layer.channel_axis), values.shape, len(values.shape) + 1
    if axis != 1:
        values.name = values.graph.add(
            "Transpose", values.name, perm=[0, axis, *(each for each in range(1, ndim) if each != axis)]
        )
    inner = (shape[axis - 1], *(size for i, size in enumerate(shape, 1) if i != axis))
    values.reshape((layer.num_groups, math.prod(shape) // layer.num_groups))
    values.name = standardize(values.graph, values.name, [2], layer.eps, values.dtype)
    values.reshape(inner)
    values.scale_and_shift(layer.weight, layer.bias, 1)
    if axis != 1:
        back = [0, *range(2, axis + 1), 1, *range(axis + 1, ndim)]
        values.name, values.shape = values.graph.add("Transpose", values.name, perm=back), shape


def _layer_norm(layer: Any, values: Values) -> None:
    axes = range(-len(layer.normalized_shape), 0)
    values.name = standardize(values.graph, values.name, axes, layer.eps, values.dtype)
    values.scale_and_shift(layer.weight, layer.bias)


def _rms_norm(layer: Any, values: Values) -> None:
    axes = range(-len(layer.normalized_shape), 0)
    eps = float(np.finfo(values.dtype).eps) if layer.eps is None else layer.eps
    values.name = standardize(values.graph, values.name, axes, eps, values.dtype, center=False)
    values.scale_and_shift(layer.weight, None)


def _dense(layer: Any, values: Values) -> None:
    values.add("MatMul", np.asarray(layer.weight).T)
    if layer.bias is not None:
        values.add("Add", layer.bias)
    values.shape = (*values.shape[:-1], layer.weight.shape[0])


def _column_embedding(layer: Any, values: Values) -> None:
    graph = values.graph
    columns, buckets, dim = layer.weight.shape
    rest = values.shape[0] - columns
    rows = np.asarray(layer.weight).reshape(columns * buckets, dim)
    codes = graph.add("Slice", values.name, *(graph.constant([at], np.int64) for at in (rest, rest + columns, 1)))
    codes = graph.add("Cast", codes, to=7)  # int64
    codes = graph.add("Add", codes, graph.constant(np.arange(columns) * buckets, np.int64))
    found = graph.add("Gather", graph.constant(rows, values.dtype), codes, axis=0)
    found = graph.add("Reshape", found, graph.constant([-1, columns * dim], np.int64))
    if rest:
        kept = graph.add("Slice", values.name, *(graph.constant([at], np.int64) for at in (0, rest, 1)))
        found = graph.add("Concat", kept, found, axis=1)
    values.name, values.shape = found, (rest + columns * dim,)


def _flatten(layer: Any, values: Values) -> None:
    values.name, values.shape = values.graph.add("Flatten", values.name, axis=1), (math.prod(values.shape),)


def _plain(operator: str) -> Callable[[Any, Values], None]:
    return lambda layer, values: values.add(operator)


_EMITTERS: dict[str, Callable[[Any, Values], None]] = {
    "BatchNorm": _batch_norm,
    "ColumnEmbedding": _column_embedding,
    "Conv2D": _windows.convolution,
    "Dense": _dense,
    "Dropout": lambda layer, values: None,  # which drops nothing in evaluation mode
    "Embedding": _windows.embedding,
    "Flatten": _flatten,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "LSTM": _windows.lstm,
    "LayerNorm": _layer_norm,
    "MaxPool2D": _windows.pooling,
    "RMSNorm": _rms_norm,
    "ReLU": _plain("Relu"),
    "Sigmoid": _plain("Sigmoid"),
    "Tanh": _plain("Tanh"),
}


def emit(layers: Sequence[Any], values: Values) -> None:
    """Put values through layers.

    Raises
    ------
    StreamnormError
        If a layer is none of ours.
    """
    from .. import nn

    for position, layer in enumerate(layers):
        name = type(layer).__name__
        if type(layer) is nn.Sequential:
            emit(list(layer), values)
            continue
        if name not in _EMITTERS or type(layer) is not getattr(nn, name, None):
            raise StreamnormError(
                f"layer {position} is a {name}, which has no form in ONNX: only the layers of streamnorm.nn themselves "
                f"do ({', '.join(_EMITTERS)})"
            )
        _EMITTERS[name](layer, values)


def sample_shape(layers: Sequence[Any]) -> Shape:
    """What one sample looks like, going by the first layer that says so.

    Raises
    ------
    ValueError
        If none does before the shape changes.
    """
    for layer in layers:
        name = type(layer).__name__
        if name == "Sequential":
            return sample_shape(list(layer))
        if name == "Dense":
            return (layer.in_features,)
        if name in ("LayerNorm", "RMSNorm") and len(layer.normalized_shape) == 1:
            return layer.normalized_shape
        if name in ("BatchNorm", "InstanceNorm"):
            return (layer.num_features,)
        if name not in ("ReLU", "Tanh", "Sigmoid", "Dropout"):
            break
    raise ValueError("the layers do not say what their input looks like: pass sample_shape, such as (10,)")
