"""An ONNX graph that grows node by node, and the arithmetic that its parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .._version import __version__

# Design: operator set 17 and IR version 8 are of 2022: whatever runs ONNX models today runs these. Norm layers are
# spelled out in operators that all runtimes have for both types, because those with a name of their own came later, for
# float32 alone, or with a variance that cancels.
OPSET = 17
IR_VERSION = 8

_ONNX_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}
BATCH = "N"  # the name of the first dimension, which is any


class Graph:
    """Nodes and constants under names of their own; methods add a node and return the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._tensors: list[Any] = []

    def constant(self, values: Any, dtype: Any = None) -> str:
        """The name of a constant, one for equal ones."""
        array = np.asarray(values, dtype)
        key = array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = f"c{len(self._constants)}"
            self._tensors.append(numpy_helper.from_array(np.array(array, order="C"), self._constants[key]))
        return self._constants[key]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node."""
        name = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def name(self, value: str, name: str) -> None:
        """Give a value the name of an output of the model."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def cast(self, x: str, dtype: Any) -> str:
        """x as float32 or float64."""
        return self.add("Cast", x, to=_ONNX_TYPES[np.dtype(dtype)])

    def model(
        self,
        inputs: tuple[str, np.dtype, Sequence[int]],
        outputs: tuple[str, np.dtype, Sequence[int]],
        about: dict[str, str],
    ) -> ModelProto:
        """The finished model, checked; shapes are those of one sample.

        `about` is told to whoever reads the model's metadata.
        """
        from onnx import checker

        infos = [
            helper.make_tensor_value_info(name, _ONNX_TYPES[np.dtype(dtype)], [BATCH, *shape])
            for name, dtype, shape in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "streamnorm", infos[:1], infos[1:], self._tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="streamnorm",
            producer_version=__version__,
        )
        helper.set_model_props(model, about)
        checker.check_model(model, full_check=True)
        return model


def affine(graph: Graph, x: str, maps: Sequence[Any]) -> str:
    """Scalers' maps, one a column, in float64: y = (x - center) / scale + offset, clipped where they clip.

    By subtraction and division, as a scaler does: with the inverse of the scale, results would differ in the last bit.
    """
    center, scale, offset = (np.array([getattr(m, name) for m in maps]) for name in ("center", "scale", "offset"))
    if center.any():
        x = graph.add("Sub", x, graph.constant(center))
    if (scale != 1).any():
        x = graph.add("Div", x, graph.constant(scale))
    if offset.any():
        x = graph.add("Add", x, graph.constant(offset))
    if any(m.clip is not None for m in maps):
        # By comparisons, which are false for NaN: so that it stays, as Min and Max do not promise.
        bounds = np.array([(-np.inf, np.inf) if m.clip is None else m.clip for m in maps])
        low, high = graph.constant(bounds[:, 0]), graph.constant(bounds[:, 1])
        x = graph.add("Where", graph.add("Less", x, low), low, x)
        x = graph.add("Where", graph.add("Greater", x, high), high, x)
    return x


def undo(graph: Graph, y: str, maps: Sequence[Any]) -> str:
    """The inverse of `affine` without its clipping, in float64."""
    center, scale, offset = (np.array([getattr(m, name) for m in maps]) for name in ("center", "scale", "offset"))
    if offset.any():
        y = graph.add("Sub", y, graph.constant(offset))
    if (scale != 1).any():
        y = graph.add("Mul", y, graph.constant(scale))
    if center.any():
        y = graph.add("Add", y, graph.constant(center))
    return y


def standardize(graph: Graph, x: str, axes: Sequence[int], eps: float, dtype: np.dtype, *, center: bool = True) -> str:
    """(x - mean) / sqrt(var + eps) over these axes, or x / sqrt(mean square + eps); statistics are in float64."""
    wide = x if dtype == np.float64 else graph.cast(x, np.float64)
    if center:
        wide = graph.add("Sub", wide, graph.add("ReduceMean", wide, axes=list(axes), keepdims=1))
    square = graph.add("ReduceMean", graph.add("Mul", wide, wide), axes=list(axes), keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", square, graph.constant(eps, np.float64)))
    wide = graph.add("Div", wide, root)
    return wide if dtype == np.float64 else graph.cast(wide, dtype)
