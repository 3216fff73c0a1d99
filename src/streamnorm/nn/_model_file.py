"""Model files: one file, readable by others, with everything that a model is made of, and nothing that runs.

The format, version 1, is safetensors (see :mod:`streamnorm.nn._tensor_file`). Arrays are under PyTorch's names, with a
prefix: ``network.0.weight`` is ``0.weight`` in the ``state_dict`` of the network, ``optimizer.0.m`` is what the
optimizer keeps of the first parameter. The text under ``streamnorm`` in the header's metadata is one RFC 8259 object
with

``"format"``, ``"version"``, ``"streamnorm"``
    ``"streamnorm-model"``, 1, and the version of the library that wrote it.
``"kind"``
    ``"sequential"`` or ``"regressor"``.
``"layers"``
    An array; each is ``{"class": name, "arguments": {name: value}}``, that of a dropout with its ``"seed"``, and a
    network inside a network is ``{"class": "Sequential", "layers": [...]}``.
``"training"``
    Whether the network is in training mode.
``"optimizer"``, ``"loss"``
    ``{"class", "arguments"}``, or null before ``compile``.
``"metrics"``
    Names of what is counted beside the loss; left out if there are none.
``"regressor"``
    For a regressor alone: its ``"params"``, the states of ``"scaler"`` and ``"target_scaler"`` (the object of a state
    file, or null), of ``"features"`` (that of a :class:`~streamnorm.features.FeatureMap`), ``"feature_names"``,
    ``"target_names"``, ``"history"``, and numbers that training goes on from.
``"digest"``
    ``"sha256:"`` and the SHA-256 of the object without this member in canonical form, and of the arrays.

Numbers are written as in a state file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..documents import canonical, check_digest, check_format, parsed
from ..errors import StateError
from ..state_values import _check_keys, _Damage, _member, _one_line
from . import _tensor_file as tensors
from ._model_parts import LOSSES, OPTIMIZERS, decode, decode_layers, encode, encode_layers
from ._tensor_file import Damage, guard

if TYPE_CHECKING:
    from .sequential import Sequential

FORMAT = "streamnorm-model"
VERSION = 1
KINDS = ("sequential", "regressor")

_TOP = ("format", "version", "streamnorm", "kind", "layers", "training", "optimizer", "loss", "digest")


def save(model: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model to a file, whole or not at all.

    Parameters
    ----------
    model : Regressor or Sequential
        A Regressor is fitted.
    path : path
    overwrite : bool, default False
        Whether an existing file is replaced: a model is hours of work, where a state is a pass over the data.

    Raises
    ------
    StateError
        If a layer, or a parameter of the regressor, is none of ours.
    NotFittedError
        If a regressor is not fitted.
    FileExistsError
        If the file exists and may not be replaced.
    """
    from ..atomic import atomic_file

    data = dumps(model)
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(data)
        file.commit()


save_regressor = save


def dumps(model: Any) -> bytes:
    """The bytes of a model file: the same for the same model."""
    content, arrays = _encode(model)
    return tensors.to_bytes(arrays, json.dumps(content, ensure_ascii=False, allow_nan=False))


def digest_of(model: Any) -> str:
    """The digest that the file of a model has, if this version of streamnorm writes it."""
    digest: str = _encode(model)[0]["digest"]
    return digest


def _encode(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description of a model, with its digest, and its arrays."""
    from .sequential import Sequential

    if isinstance(model, Sequential):
        content, arrays = _encode_network(model)
        content["kind"] = "sequential"
    else:
        from ._regressor_file import encode_regressor

        content, arrays = _encode_network(model.network_)
        content |= {"kind": "regressor", "regressor": encode_regressor(model)}
    content = {"format": FORMAT, "version": VERSION, "streamnorm": __version__, **content}
    content["digest"] = _digest(content, arrays)
    return content, arrays


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that :func:`save` wrote.

    Raises
    ------
    StateError
        If the file is damaged, edited, of an unknown version, or no model. Nothing in it is run.
    DataError
        If there is no such file.
    """
    try:
        arrays, text = tensors.read(path)
        return _decode(_parse(text, arrays), arrays)
    except _Damage as damage:
        raise tensors.damaged(path, damage) from None


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file holds, for people; the model is read and checked for it.

    Returns
    -------
    dict
        ``path kind streamnorm layers parameters optimizer loss``; of a regressor also ``params features targets
        history epochs``. ``layers`` is a list of texts, ``parameters`` the number of trained values.
    """
    model = load(path)
    content = json.loads(tensors.read_text(path)[0])
    network = model if content["kind"] == "sequential" else model.network_
    said: dict[str, Any] = {
        "path": os.fspath(path),
        "kind": content["kind"],
        "streamnorm": content["streamnorm"],
        "layers": [repr(layer) for layer in network],
        "parameters": sum(parameter.size for parameter in network.parameters()),
        "digest": content["digest"],
    }
    if content["kind"] == "regressor":
        from ._regressor_file import describe_regressor

        said |= describe_regressor(model)
    return said


def _digest(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    hashed = hashlib.sha256(canonical(content))
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        hashed.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return f"sha256:{hashed.hexdigest()}"


def _parse(text: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The object of the header, with its own claims checked."""
    content = parsed(text, "has a description that is not valid JSON", Damage)
    check_format(content, FORMAT, (VERSION,), "has a description that is not one of a model", Damage)
    if content.get("kind") not in KINDS:
        raise Damage(f"is of a kind {content.get('kind')!r:.40} that this version does not know")
    _check_keys(content, (*_TOP, "regressor") if content["kind"] == "regressor" else _TOP, ("metrics",))
    check_digest(content, lambda rest: _digest(rest, arrays), Damage)
    return content


def _encode_network(network: Sequential) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    optimizer = network.optimizer
    content = {
        "layers": encode_layers(network),
        "training": bool(network.training),
        "optimizer": _encode_known(optimizer, OPTIMIZERS, "optimizer"),
        "loss": _encode_known(network.loss, LOSSES, "loss"),
    }
    if network.metrics:
        content["metrics"] = list(network.metrics)
    arrays = {f"network.{name}": array for name, array in network.state_dict().items()}
    if optimizer is not None:
        arrays |= {f"optimizer.{name}": array for name, array in optimizer.state_dict().items()}
    return content, arrays


def _encode_known(part: Any, known: Mapping[str, Any], what: str) -> Any:
    if part is not None and type(part).__name__ not in known:
        raise StateError(f"the {what} is {part!r:.100}, which a model file cannot hold: use one of {', '.join(known)}")
    return encode(part, what)


def _decode(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    from .sequential import Sequential

    own = {name.removeprefix("network."): array for name, array in arrays.items() if name.startswith("network.")}
    kept = {name.removeprefix("optimizer."): array for name, array in arrays.items() if name.startswith("optimizer.")}
    if len(own) + len(kept) != len(arrays):
        raise Damage("has arrays that belong to nothing")
    layers = decode_layers(content["layers"], own, "")
    network = guard(lambda: Sequential(layers), "has layers that make no network")
    _check_types(network, own)
    _guard_state(lambda: network.load_state_dict(own))
    network.train(_member(content, "training", bool))
    optimizer, loss = decode(content["optimizer"]), decode(content["loss"])
    if optimizer is None and kept or optimizer is not None and type(optimizer).__name__ not in OPTIMIZERS:
        raise Damage("has the state of an optimizer, and no optimizer")
    if loss is not None and type(loss).__name__ not in LOSSES:
        raise Damage("has a loss that is none")
    if (optimizer is None) != (loss is None) or "metrics" in content and loss is None:
        raise Damage("has an optimizer and no loss, or a loss and no optimizer")
    if optimizer is not None:
        optimizer.bind(network.parameters())
        _guard_state(lambda: optimizer.load_state_dict(kept))
        metrics, problem = content.get("metrics", []), "has a loss, an optimizer or metrics that cannot be used"
        guard(lambda: network.compile(optimizer, loss, metrics=metrics), problem)
    if content["kind"] == "regressor":
        from ._regressor_file import decode_regressor

        return decode_regressor(_member(content, "regressor", dict), network)
    return network


def _guard_state(action: Any) -> None:
    try:
        guard(action, "has arrays that do not fit its layers")
    except StateError as error:
        raise Damage(f"has arrays that do not fit: {_one_line(error)}") from None


def _check_types(network: Sequential, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise Damage if an array is of another type than the layer's, which a cast would hide."""
    for name, array in network._own_state(""):
        if name not in arrays:
            raise Damage(f"lacks the array 'network.{name}'")
        if arrays[name].dtype != array.dtype:
            raise Damage(f"has an array 'network.{name}' of {arrays[name].dtype}, and {array.dtype} is wanted")
