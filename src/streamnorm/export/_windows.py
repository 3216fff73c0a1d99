"""Layers of images, words and series as ONNX nodes."""

# Design: of float32, convolutions and LSTM are the operators of that name. onnxruntime has none of them for float64,
# where a convolution is a product of matrices for each place in the kernel, and an LSTM is written out step by step:
# more nodes, but they run. Turned down: float32 in the midst of a float64 network.

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._layers import Values


def embedding(layer: Any, values: Values) -> None:
    """Rows of the table for codes."""
    graph = values.graph
    codes = graph.add("Cast", values.name, to=7)  # int64
    values.name = graph.add("Gather", graph.constant(layer.weight, values.dtype), codes, axis=0)
    values.shape = (*values.shape, layer.embedding_dim)


def _image(layer: Any, values: Values, channels: int | None) -> tuple[list[int], tuple[int, int]]:
    """Zeros as ONNX counts them, all before and then all after, and rows and columns of the output."""
    if len(values.shape) != 3 or channels not in (None, values.shape[2]):
        wanted = "C" if channels is None else channels
        raise ValueError(f"{layer!r} gets samples of shape {values.shape}, and (H, W, {wanted}) is wanted")
    (top, bottom), (left, right) = layer._zeros(*values.shape[:2])
    rows, columns = layer._out_shape(*values.shape[:2])
    if rows < 1 or columns < 1:
        raise ValueError(f"{layer!r} gets samples of shape {values.shape}, which its window is larger than")
    return [top, left, bottom, right], (rows, columns)


def convolution(layer: Any, values: Values) -> None:
    """Conv2D."""
    zeros, (rows, columns) = _image(layer, values, layer.in_channels)
    graph, weight = values.graph, np.asarray(layer.weight)
    if values.dtype == np.float32:
        x = graph.add("Transpose", values.name, perm=[0, 3, 1, 2])
        turned = [graph.constant(weight.transpose(3, 2, 0, 1), values.dtype)]
        turned += [] if layer.bias is None else [graph.constant(layer.bias, values.dtype)]
        y = graph.add("Conv", x, *turned, strides=list(layer.strides), pads=zeros)
        y = graph.add("Transpose", y, perm=[0, 2, 3, 1])
    else:
        y = _products(layer, values, zeros, (rows, columns))
        if layer.bias is not None:
            y = graph.add("Add", y, graph.constant(layer.bias, values.dtype))
    values.name, values.shape = y, (rows, columns, layer.out_channels)


def _products(layer: Any, values: Values, zeros: list[int], size: tuple[int, int]) -> str:
    """The sum over places in the kernel of what is under them times their weights."""
    graph, x = values.graph, values.name
    if any(zeros):
        top, left, bottom, right = zeros
        x = graph.add("Pad", x, graph.constant([0, top, left, 0, 0, bottom, right, 0], np.int64))
    step, axes = graph.constant(layer.strides, np.int64), graph.constant([1, 2], np.int64)
    total = ""
    for place in np.ndindex(*layer.kernel_size):
        stop = [at + stride * (n - 1) + 1 for at, stride, n in zip(place, layer.strides, size, strict=True)]
        under = graph.add("Slice", x, graph.constant(place, np.int64), graph.constant(stop, np.int64), axes, step)
        product = graph.add("MatMul", under, graph.constant(layer.weight[place], values.dtype))
        total = graph.add("Add", total, product) if total else product
    return total


def pooling(layer: Any, values: Values) -> None:
    """MaxPool2D."""
    zeros, (rows, columns) = _image(layer, values, None)
    x = values.graph.add("Transpose", values.name, perm=[0, 3, 1, 2])
    y = values.graph.add("MaxPool", x, kernel_shape=list(layer.pool_size), strides=list(layer.strides), pads=zeros)
    values.name = values.graph.add("Transpose", y, perm=[0, 2, 3, 1])
    values.shape = (rows, columns, values.shape[2])


def lstm(layer: Any, values: Values) -> None:
    """LSTM."""
    if len(values.shape) != 2 or values.shape[1] != layer.input_size or not math.prod(values.shape):
        raise ValueError(f"{layer!r} gets samples of shape {values.shape}, and (T, {layer.input_size}) is wanted")
    steps, hidden = values.shape[0], layer.hidden_size
    values.name = (_operator if values.dtype == np.float32 else _steps)(layer, values)
    values.shape = (steps, hidden) if layer.return_sequences else (hidden,)


def _operator(layer: Any, values: Values) -> str:
    """The operator LSTM, whose gates are in the order i, o, f, g, and which has two biases."""
    graph, hidden = values.graph, layer.hidden_size

    def gates(array: Any) -> np.ndarray:
        i, f, g, o = np.split(np.asarray(array), 4)
        return np.concatenate([i, o, f, g])

    bias = np.concatenate([gates(layer.bias), np.zeros(4 * hidden)])
    arrays = gates(layer.weight_ih), gates(layer.weight_hh), bias
    x = graph.add("Transpose", values.name, perm=[1, 0, 2])
    y = graph.add("LSTM", x, *(graph.constant(array[None], values.dtype) for array in arrays), hidden_size=hidden)
    y = graph.add("Squeeze", y, graph.constant([1], np.int64))  # of directions: (T, N, H)
    if layer.return_sequences:
        return graph.add("Transpose", y, perm=[1, 0, 2])
    return graph.add("Gather", y, graph.constant(values.shape[0] - 1, np.int64), axis=0)


def _steps(layer: Any, values: Values) -> str:
    """The formulas of LSTM, step by step."""
    graph, dtype, hidden = values.graph, values.dtype, layer.hidden_size
    inner = graph.constant(np.asarray(layer.weight_hh).T, dtype)
    whole = graph.add("MatMul", values.name, graph.constant(np.asarray(layer.weight_ih).T, dtype))
    whole = graph.add("Add", whole, graph.constant(layer.bias, dtype))
    parts, place = graph.constant([-1, 4, hidden], np.int64), graph.constant([-1, 1, hidden], np.int64)
    h = c = ""
    outputs = []
    for step in range(values.shape[0]):
        z = graph.add("Gather", whole, graph.constant(step, np.int64), axis=1)
        if h:
            z = graph.add("Add", z, graph.add("MatMul", h, inner))
        z = graph.add("Reshape", z, parts)
        i, f, g, o = (graph.add("Gather", z, graph.constant(k, np.int64), axis=1) for k in range(4))
        added = graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g))
        c = graph.add("Add", graph.add("Mul", graph.add("Sigmoid", f), c), added) if c else added
        h = graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", c))
        if layer.return_sequences:
            outputs.append(graph.add("Reshape", h, place))
    return graph.add("Concat", *outputs, axis=1) if outputs else h
