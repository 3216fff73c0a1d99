"""Models and scalers as ONNX, which other runtimes and languages run."""

# Design: the input is what the user has, unscaled, and the output what `predict` or `transform` gives: a model whose
# scaling is somewhere else is a model that is used wrongly. Scaling is in float64, before anything becomes float32,
# which would put a time in seconds on a grid of two minutes.

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StreamnormError
from ..scalers import BaseScaler

if TYPE_CHECKING:
    from onnx import ModelProto

ULPS = 0  # of float64, between a scaler's export run on a CPU and `transform`

INPUT = "X"
FLOATS = (np.float32, np.float64)


def to_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    dtype: Any = None,
    sample_shape: Sequence[int] | None = None,
) -> ModelProto:
    """Write a fitted model or scaler as ONNX, scaling included.

    Parameters
    ----------
    model : Regressor, Sequential or scaler
        Fitted. A Sequential is exported in evaluation mode, whatever mode it is in. Layers must be those of
        ``streamnorm.nn`` themselves.
    path : path or None
        A file to write, whole or not at all; replaced if it exists. None: only the return value.
    dtype : float32, float64 or None
        Of the input ``X``. None: float64, and for a Sequential the type of its parameters.
    sample_shape : sequence of int or None
        For a Sequential whose first layers do not tell, as those of images and series do not: the shape of one sample,
        without the batch.

    Returns
    -------
    onnx.ModelProto
        It has one input and one output, whose first dimension, the batch, is any; it needs operator set 17.

        ====================  ====================================  =====================================
        model                 input ``X``                           output
        ====================  ====================================  =====================================
        Regressor             (N, d): raw features, in the order    ``prediction``: float64, as `predict`
                              of ``feature_names_in_``              gives it: (N,), or (N, t)
        Sequential            (N, ...)                              ``prediction``, in the type that the
                                                                    network computes in
        scaler                (N, d): the normalized columns        ``transformed``: (N, d), as X
        ====================  ====================================  =====================================

        Columns of strings that a Regressor embeds are the last ones of X, as codes, which are whole numbers:
        ``model.features_`` has the hash that makes them. Missing values are NaN; a Regressor without ``impute``
        answers NaN to them instead of raising. The names of features and targets are in the metadata.

    Raises
    ------
    StreamnormError
        If the package onnx is missing, or a layer has no form in ONNX.
    NotFittedError
        If it is not fitted.
    ValueError
        If `dtype` is another type, or the layers do not tell the shape of a sample.

    Examples
    --------
    >>> import streamnorm as sn
    >>> from streamnorm.export import to_onnx
    >>> model = to_onnx(sn.StandardScaler().fit([[1.0], [3.0]]))
    >>> [node.op_type for node in model.graph.node]
    ['Sub', 'Identity']
    """
    kind = None if dtype is None else np.dtype(dtype)
    if kind is not None and kind not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    _require_onnx()
    made = _exporter(model)(model, kind, sample_shape)
    if path is not None:
        from ..atomic import write_atomically

        write_atomically(path, made.SerializeToString())
    return made


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise StreamnormError("the export needs the package onnx: install streamnorm[onnx]") from None


def _exporter(model: Any) -> Any:
    if isinstance(model, BaseScaler):
        return _of_scaler
    from .. import nn

    if isinstance(model, nn.Sequential):
        return _of_sequential
    if hasattr(model, "network_") or isinstance(model, getattr(nn, "Regressor", ())):
        return _of_regressor
    raise TypeError(f"a {type(model).__name__} cannot be exported: give a Regressor, a Sequential or a fitted scaler")


def _of_scaler(scaler: BaseScaler, dtype: np.dtype | None, sample_shape: Sequence[int] | None) -> ModelProto:
    from ._graph import Graph, affine

    graph, kind = Graph(), np.dtype(np.float64) if dtype is None else dtype
    maps = list(scaler._plain_maps().values())
    wide = INPUT if kind == np.float64 else graph.cast(INPUT, np.float64)
    y = affine(graph, wide, maps)
    graph.name(y if kind == np.float64 else graph.cast(y, kind), "transformed")
    shape = (len(maps),)
    about = {"features": json.dumps(list(scaler.summary_))}
    return graph.model((INPUT, kind, shape), ("transformed", kind, shape), about)


def _of_sequential(network: Any, dtype: np.dtype | None, sample_shape: Sequence[int] | None) -> ModelProto:
    from ._graph import Graph
    from ._layers import Values, emit
    from ._layers import sample_shape as shape_of

    graph, layers = Graph(), list(network)
    computed = _computed_in(network)
    kind = computed if dtype is None else dtype
    shape = shape_of(layers) if sample_shape is None else tuple(map(int, sample_shape))
    values = Values(graph, INPUT if kind == computed else graph.cast(INPUT, computed), shape, computed)
    emit(layers, values)
    graph.name(values.name, "prediction")
    return graph.model((INPUT, kind, shape), ("prediction", computed, values.shape), {})


def _computed_in(network: Any) -> np.dtype:
    """float64 if all parameters are, else float32."""
    kinds = {parameter.dtype for parameter in network.parameters()}
    return np.dtype(np.float64 if kinds == {np.dtype(np.float64)} else np.float32)


def _of_regressor(model: Any, dtype: np.dtype | None, sample_shape: Sequence[int] | None) -> ModelProto:
    from ._graph import Graph, undo
    from ._layers import Values, emit

    model._check_fitted()
    graph, kind, features = Graph(), np.dtype(np.float64) if dtype is None else dtype, model.features_
    shape = (len(features.names),)
    inputs = _network_inputs(graph, INPUT if kind == np.float64 else graph.cast(INPUT, np.float64), features)
    values = Values(graph, inputs, (features.width,), features.dtype)
    emit(list(model.network_), values)
    y = values.name if values.dtype == np.float64 else graph.cast(values.name, np.float64)
    if model.target_scaler_ is not None:
        y = undo(graph, y, list(model.target_scaler_._plain_maps().values()))
    outputs: tuple[int, ...] = (model.n_outputs_,)
    if model.n_outputs_ == 1:
        y, outputs = graph.add("Reshape", y, graph.constant([-1], np.int64)), ()
    graph.name(y, "prediction")
    about = {"features": json.dumps(list(features.names)), "targets": json.dumps(model.target_names_)}
    return graph.model((INPUT, kind, shape), ("prediction", np.dtype(np.float64), outputs), about)


def _network_inputs(graph: Any, x: str, features: Any) -> str:
    """What `FeatureMap.matrix` makes of float64 rows: scaled numbers, indicators of missing ones, codes."""
    from ._graph import affine

    def columns(start: int, stop: int) -> str:
        return graph.add("Slice", x, *(graph.constant([at], np.int64) for at in (start, stop, 1)))

    numeric = len(features.columns)
    parts = []
    if numeric:
        raw = columns(0, numeric) if features.embed else x
        scaled = affine(graph, raw, [features.maps[name] for name in features.columns])
        if features.impute:
            missing = graph.add("IsNaN", raw)
            fills = graph.constant([features._scaled_fill(name) for name in features.columns], np.float64)
            scaled = graph.add("Where", missing, fills, scaled)
        parts.append(graph.cast(scaled, features.dtype))
        if features.indicators:
            places = [features.columns.index(name) for name in features.indicators]
            flags = graph.add("Gather", missing, graph.constant(places, np.int64), axis=1)
            parts.append(graph.cast(flags, features.dtype))
    if features.embed:
        parts.append(graph.cast(columns(numeric, numeric + len(features.embed)), features.dtype))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
