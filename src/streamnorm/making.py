"""Which scaler ``method=`` means, with the rules and the preset that are given beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .scalers import METHODS, BaseScaler, ColumnScaler
from .scalers._methods import new_scaler
from .scalers._rules import rules_of


def make_scaler(method: Any, exact: bool = False, preset: str | None = None, **rules: Any) -> BaseScaler:
    """The scaler that ``method=`` means: a name, a scaler, or a mapping of columns to methods.

    Raises
    ------
    ValueError
        If there is no such method or preset, or `exact`, a preset or rules (those that are not None) are asked of a
        scaler that was made otherwise.
    """
    rules = {name: value for name, value in rules.items() if value is not None}
    if isinstance(method, Mapping):
        method = ColumnScaler(_by_rules(method, preset, rules))
    elif isinstance(method, ColumnScaler) and (preset is not None or rules):
        rest = method.remainder
        named = _by_rules(method.transformers, preset, rules, rest)
        if isinstance(rest, str) and rest in METHODS:
            rest = _named_scaler(rest, preset, rules)
        method = ColumnScaler(named, rest)
    elif isinstance(method, BaseScaler) and (preset is not None or rules):
        asked = ", ".join([*rules, *(["preset"] if preset is not None else [])])
        raise ValueError(f"{asked} go with the name of a method: a scaler has its own, got {method!r}")
    if isinstance(method, BaseScaler):
        return method._as_exact() if exact else method
    if isinstance(method, str) and method in METHODS:
        _check_taken(rules, [method])
        return _named_scaler(method, preset, rules, exact)
    known = ", ".join(repr(name) for name in METHODS)
    raise ValueError(f"method must be one of {known}, a scaler, or a mapping of columns to those, got {method!r}")


def _named_scaler(name: str, preset: str | None, rules: Mapping[str, Any], exact: bool = False) -> BaseScaler:
    known = METHODS[name]._param_names()
    taken = {rule: value for rule, value in rules.items() if rule in known}
    scaler = new_scaler(name, exact, **rules_of(name, preset, taken))
    scaler._check_params()
    return scaler


def _by_rules(
    methods: Mapping[Any, Any], preset: str | None, rules: Mapping[str, Any], rest: Any = None
) -> dict[Any, Any]:
    """The methods of columns, of which those that are names follow the rules; scalers have their own."""
    if preset is None and not rules:
        return dict(methods)
    names = [name for name in (*methods.values(), rest) if isinstance(name, str) and name in METHODS]
    if not names:
        raise ValueError("rules and presets go with names of methods, and there is none: give each scaler its own")
    _check_taken(rules, names)
    return {
        columns: _named_scaler(name, preset, rules) if isinstance(name, str) and name in METHODS else name
        for columns, name in methods.items()
    }


def _check_taken(rules: Mapping[str, Any], names: Sequence[str]) -> None:
    for rule in rules:
        if not any(rule in METHODS[name]._param_names() for name in names):
            raise ValueError(f"{rule} is no parameter of the method {' or '.join(map(repr, names))}: leave it out")
