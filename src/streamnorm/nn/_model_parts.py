"""Layers, losses, optimizers and parameters as JSON and back: by a table of what is known, never by what a file names.

Design: a class is in the table with the arguments that make it again, so that a file can name no other class, and an
argument that a later version adds cannot slip into this version's files. Turned down: reading the signatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import state
from ..errors import StateError
from ..state_values import _check_keys, _decode_int, _encode_int, _member
from ._module import Module
from ._tensor_file import Damage, guard

_CHANNELS = ("num_features", "eps", "momentum", "affine", "track_running_stats", "channel_axis", "dtype")

# What each layer is made with. Its `threads` are the machine's and not the model's, and stay behind.
LAYERS: dict[str, tuple[str, ...]] = {
    "BatchNorm": _CHANNELS,
    "ColumnEmbedding": ("num_embeddings", "embedding_dim", "columns", "dtype"),
    "Conv2D": ("in_channels", "out_channels", "kernel_size", "strides", "padding", "bias", "dtype"),
    "Dense": ("in_features", "out_features", "bias", "dtype"),
    "Dropout": ("p",),
    "Embedding": ("num_embeddings", "embedding_dim", "dtype"),
    "Flatten": (),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine", "channel_axis", "dtype"),
    "InstanceNorm": _CHANNELS,
    "LSTM": ("input_size", "hidden_size", "return_sequences", "dtype"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine", "bias", "dtype"),
    "MaxPool2D": ("pool_size", "strides", "padding"),
    "RMSNorm": ("normalized_shape", "eps", "elementwise_affine", "dtype"),
    "ReLU": (),
    "Sigmoid": (),
    "Tanh": (),
}
_LIMITS = ("weight_decay", "clip_norm", "clip_value")
LOSSES: dict[str, tuple[str, ...]] = {
    "BCEWithLogitsLoss": (),
    "CrossEntropyLoss": (),
    "HuberLoss": ("delta",),
    "L1Loss": (),
    "MSELoss": (),
    "QuantileLoss": ("quantile",),
}
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "Adam": ("lr", "betas", "eps", *_LIMITS),
    "AdamW": ("lr", "betas", "eps", *_LIMITS),
    "SGD": ("lr", "momentum", "nesterov", *_LIMITS),
}
SCHEDULES: dict[str, tuple[str, ...]] = {
    "CosineSchedule": ("lr", "steps", "warmup", "final"),
    "StepSchedule": ("lr", "every", "factor"),
}
_PARTS = LOSSES | OPTIMIZERS | SCHEDULES

_SIZES = ("in_features", "out_features", "num_embeddings", "embedding_dim", "columns", "num_features", "num_channels",
          "normalized_shape", "in_channels", "out_channels", "kernel_size", "input_size", "hidden_size")  # fmt: skip
_WEIGHTED = ("ColumnEmbedding", "Conv2D", "Dense", "Embedding", "LSTM")
_SEEDED = (*_WEIGHTED, "Dropout")  # what draws numbers when it is made
_ADVICE = "save the arrays of state_dict() instead"


def encode_layers(layers: Iterable[Module]) -> list[dict[str, Any]]:
    """What the layers are made with.

    Raises
    ------
    StateError
        If one is none of ours.
    """
    return [_encode_layer(layer, position) for position, layer in enumerate(layers)]


def _encode_layer(layer: Any, position: int) -> dict[str, Any]:
    name = type(layer).__name__
    if type(layer) is class_of("Sequential"):
        return {"class": name, "layers": encode_layers(layer)}
    if name not in LAYERS or type(layer) is not class_of(name):
        raise StateError(
            f"layer {position} is a {name}, which a model file cannot hold, because reading one runs nobody's code: "
            f"{_ADVICE}"
        )
    arguments = {key: _argument(layer, key) for key in LAYERS[name]}
    encoded: dict[str, Any] = {"class": name, "arguments": {k: encode(v, k) for k, v in arguments.items()}}
    if name == "Dropout":
        encoded["seed"] = _encode_int(int(layer.seed))
    return encoded


def _argument(layer: Any, name: str) -> Any:
    value = getattr(layer, name)
    if name == "bias":
        return value is not None
    return np.dtype(value).name if name == "dtype" else value


def decode_layers(items: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> list[Module]:
    """Layers, with the parameters that they begin with; `arrays` are those that they will take."""
    if type(items) is not list or not all(type(item) is dict for item in items):
        raise Damage("has no list of layers")
    return [_decode_layer(item, arrays, f"{prefix}{position}.") for position, item in enumerate(items)]


def _decode_layer(item: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Module:
    name = _member(item, "class", str)
    if name == "Sequential":
        _check_keys(item, ("class", "layers"))
        layers = decode_layers(item["layers"], arrays, prefix)
        return guard(lambda: class_of(name)(layers), "has layers that make no network")
    if name not in LAYERS:
        raise Damage(f"has a layer {name[:40]!r} that this version does not know", "read it with a later streamnorm")
    _check_keys(item, ("class", "arguments", *(("seed",) if name == "Dropout" else ())))
    encoded = _member(item, "arguments", dict)
    if name == "Embedding" and "columns" in encoded:
        name = "ColumnEmbedding"  # which had the shorter name when there was no other
    _check_keys(encoded, LAYERS[name])
    arguments = {key: decode(value) for key, value in encoded.items()}
    _check_sizes(name, arguments, [array for key, array in arrays.items() if key.startswith(prefix)])
    extra = {"random_state": 0} if name in _SEEDED else {}
    layer = guard(lambda: class_of(name)(**arguments, **extra), f"has a layer {name} that cannot be made")
    if name == "Dropout":
        layer.seed = _decode_int(item["seed"], "seed")
    return layer


def _check_sizes(name: str, arguments: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Raise Damage if a layer would be larger than what the file has for it: before there is room made for it."""
    sizes = [arguments[key] for key in _SIZES if key in arguments]
    flat = [each for size in sizes for each in (size if isinstance(size, tuple) else (size,))]
    if not all(type(each) is int and each > 0 for each in flat):
        raise Damage(f"has a layer {name} of impossible sizes")
    holds = any(arguments.get(key) for key in ("affine", "elementwise_affine", "track_running_stats"))
    if flat and (holds or name in _WEIGHTED):
        largest = max((array.size for array in arrays), default=0)
        needed = _largest_array(name, arguments, flat)
        if needed > largest:
            raise Damage(f"has a layer {name} of {needed:,} values, and an array of {largest:,} for it")


def _largest_array(name: str, arguments: Mapping[str, Any], sizes: Sequence[int]) -> int:
    """Values of the largest array that a layer of these sizes is made with."""
    if name == "LSTM":
        return 4 * arguments["hidden_size"] * max(arguments["input_size"], arguments["hidden_size"])
    square = name == "Conv2D" and isinstance(arguments["kernel_size"], int)
    return math.prod(sizes) * (arguments["kernel_size"] if square else 1)


def encode(value: Any, name: str) -> Any:
    """A parameter as JSON: numbers, texts, tuples, mappings, scalers, losses, optimizers and schedules.

    Raises
    ------
    StateError
        If it is something else.
    """
    if isinstance(value, tuple | list):
        return [encode(item, name) for item in value]
    if isinstance(value, np.ndarray):
        return encode(value.tolist(), name)
    if isinstance(value, Mapping):
        return {"pairs": [[encode(part, name) for part in pair] for pair in value.items()]}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    kind = type(value).__name__
    if kind in _PARTS and type(value) is class_of(kind):
        return {"class": kind, "arguments": {key: encode(getattr(value, key), key) for key in _PARTS[kind]}}
    if hasattr(value, "_class_name") or value is None or isinstance(value, bool | str | int | float | np.generic):
        return state._encode_param(value, name)
    raise StateError(f"{name} is {value!r:.100}, which a model file cannot hold: use those of streamnorm.nn")


def decode(value: Any) -> Any:
    """What `encode` was given, with tuples for lists."""
    if isinstance(value, list):
        return tuple(map(decode, value))
    if not isinstance(value, dict):
        return value
    if "pairs" in value:
        _check_keys(value, ("pairs",))
        return guard(lambda: {k: v for k, v in map(decode, value["pairs"])}, "has a mapping that is none")
    if "arguments" not in value:
        return state._decode_scaler(value)
    _check_keys(value, ("class", "arguments"))
    name, encoded = _member(value, "class", str), _member(value, "arguments", dict)
    if name not in _PARTS:
        raise Damage(f"has a {name[:40]!r} that this version does not know", "read it with a later streamnorm")
    _check_keys(encoded, _PARTS[name])
    arguments = {key: decode(item) for key, item in encoded.items()}
    return guard(lambda: class_of(name)(**arguments), f"has a {name} that cannot be made")


def class_of(name: str) -> Any:
    """A class of streamnorm.nn that is in one of the tables, or Sequential."""
    from .. import nn

    return getattr(nn, name)
