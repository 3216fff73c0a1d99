"""What a model file says of a regressor beside its network: parameters, scalers, names and history."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .. import state
from ..errors import StateError, StreamnormWarning
from ..features import FeatureMap
from ..state_values import _check_keys, _decode_float, _decode_int, _encode_float, _encode_int, _member, _one_line
from ._model_parts import decode, encode
from ._tensor_file import Damage, guard

_KEYS = (
    "params", "scaler", "target_scaler", "features", "named", "target_names", "outputs", "history", "epochs", "seed",
    "structure",
)  # fmt: skip


def encode_regressor(model: Any) -> dict[str, Any]:
    """What a fitted regressor is, without its network and optimizer.

    Raises
    ------
    StateError
        If a parameter is none that a file can hold.

    Warns
    -----
    StreamnormWarning
        If ``random_state`` is a generator: it is left out, and None is saved in its place. The seed that was drawn
        from it is saved, so that training that goes on is what it would have been.
    """
    params = model.get_params(deep=False)
    drawn = params.pop("random_state")
    if not (drawn is None or isinstance(drawn, Integral)):
        text = f"random_state is a {type(drawn).__name__}, which is not saved: the loaded model has None in its place"
        warnings.warn(StreamnormWarning(text, code="random_state"), stacklevel=4)
        drawn = None
    return {
        "params": {name: encode(value, name) for name, value in params.items()}
        | {"random_state": None if drawn is None else _encode_int(int(drawn))},
        "scaler": _state_of(model.scaler_),
        "target_scaler": _state_of(model.target_scaler_),
        "features": model.features_.to_dict(),
        "named": hasattr(model, "feature_names_in_"),
        "target_names": None if model.target_names_ is None else list(map(str, model.target_names_)),
        "outputs": int(model.n_outputs_),
        "history": {name: list(map(_encode_float, values)) for name, values in model.history_.items()},
        "epochs": int(model.n_iter_),
        "seed": _encode_int(int(model._seed)),
        "structure": encode(model._structure, "structure"),
    }


def _state_of(scaler: Any) -> Any:
    """The object of a scaler's state file; where its files lie is nobody's business who gets the model."""
    return None if scaler is None else json.loads(state.dump_line(scaler, scaler.summary_.files.shortened()))


def decode_regressor(said: Mapping[str, Any], network: Any) -> Any:
    """The regressor that :func:`encode_regressor` was given.

    Raises
    ------
    Damage
        If anything about it cannot be.
    """
    from .regressor import Regressor

    _check_keys(said, _KEYS)
    encoded = dict(_member(said, "params", dict))
    _check_keys(encoded, tuple(Regressor._param_names()))
    drawn = encoded.pop("random_state")
    params = {name: decode(value) for name, value in encoded.items()}
    params["random_state"] = None if drawn is None else _decode_int(drawn, "random_state")
    model = guard(lambda: Regressor(**params), "has parameters of a regressor that make none")
    guard(lambda: _check_params(model), "has parameters of a regressor that cannot be used")
    features = _features(_member(said, "features", dict))
    outputs, names = _member(said, "outputs", int), said["target_names"]
    if names is not None and not (
        type(names) is list and len(names) == outputs and all(type(name) is str for name in names)
    ):
        raise Damage("has names of targets that are none")
    model.network_, model.n_iter_ = network, _member(said, "epochs", int)
    model.history_ = _history(_member(said, "history", dict))
    model.features_, model.n_features_in_ = features, len(features.names)
    model.scaler_, model.target_scaler_ = _scaler(said["scaler"]), _scaler(said["target_scaler"])
    model.n_outputs_, model.target_names_ = outputs, names
    if _member(said, "named", bool):
        model.feature_names_in_ = np.array(features.names, dtype=object)
    model._seed, model._structure = _decode_int(said["seed"], "seed"), decode(said["structure"])
    if model.n_iter_ < 0 or not 0 <= model._seed < 1 << 63 or not isinstance(model._structure, tuple):
        raise Damage("has an impossible number of epochs, seed or structure")
    guard(lambda: _try(model), "has a network that does not fit its features and targets")
    return model


def _check_params(model: Any) -> None:
    from ._regressor_network import read_recipe

    read_recipe(model)


def _try(model: Any) -> None:
    """Raise ValueError unless the network takes the features and gives the targets."""
    rows = np.zeros((2, model.features_.width), model.features_.dtype)
    found = model.network_.predict(rows).shape
    if found != (2, model.n_outputs_):
        raise ValueError(f"its outputs have shape {found}, for 2 rows and {model.n_outputs_} targets")
    if model.target_scaler_ is not None and len(model.target_scaler_.summary_) != model.n_outputs_:
        raise ValueError(f"its target scaler has {len(model.target_scaler_.summary_)} columns")


def _features(encoded: Mapping[str, Any]) -> FeatureMap:
    try:
        return FeatureMap.from_dict(encoded)
    except StateError as error:
        raise Damage(f"has a feature map that cannot be used ({_one_line(error)})") from None


def _scaler(encoded: Any) -> Any:
    if encoded is None:
        return None
    try:
        return state.loads(json.dumps(encoded, ensure_ascii=False, allow_nan=False))
    except StateError as error:
        raise Damage(f"has a scaler that cannot be used ({_one_line(error)})") from None


def _history(encoded: Mapping[str, Any]) -> dict[str, list[float]]:
    if not all(type(values) is list for values in encoded.values()):
        raise Damage("has a history of losses that is none")
    return {name: [_decode_float(value, name) for value in values] for name, values in encoded.items()}


def describe_regressor(model: Any) -> dict[str, Any]:
    """What `inspect` says of a regressor, beside its layers."""
    names = [str(name) for name in model.features_.names]
    return {
        "params": model.get_params(deep=False),
        "features": names,
        "embedded": [str(name) for name in model.features_.embed],
        "imputed": bool(model.features_.impute),
        "targets": model.target_names_,
        "epochs": model.n_iter_,
        "history": model.history_,
    }
