"""Rules by name: what is done about columns without spread and about infinite values, here and in other systems.

Design: a rule ends in the scale that a column is divided by, so that every kernel, state and export knows it already.
An infinite scale makes 0 of any finite value, which is Spark's constant column, and the inverse, which multiplies by
0 in its place, gives back the center. Turned down: a flag beside the map that every place which applies one has to
know of, and to forget.

Design: a preset is a bundle of parameters, no parameter itself: what is saved says what is done, and goes on doing it
when the system that it was named after changes its mind.

What the systems do was read in their sources: scikit-learn 1.9.1, ``sklearn/preprocessing/_data.py``
(``_is_constant_feature``, ``_handle_zeros_in_scale``); Apache Spark,
``mllib/src/main/scala/org/apache/spark/ml/feature/MinMaxScaler.scala`` at 01e0309, and ``StandardScaler`` and
``MaxAbsScaler`` as run in 4.3.0; Keras,
``keras/src/layers/preprocessing/normalization.py`` at 0349fba, as run in 3.15.1; LeRobot,
``src/lerobot/processor/normalize_processor.py`` at 06364ce.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from ..errors import DataError
from ..rule_names import CONSTANT, INFINITE, PRESETS, WITH_EPS

EPS = float(np.finfo(np.float64).eps)


def check_rules(scaler: Any) -> None:
    """Raise ValueError if a rule of a scaler is none, or `eps` does not go with it."""
    for name, known in (("constant", CONSTANT), ("infinite", INFINITE)):
        value = getattr(scaler, name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(
                f"The {name!r} parameter of {type(scaler).__name__} must be one of {', '.join(map(repr, known))}. "
                f"Got {value!r} instead."
            )
    if scaler.constant not in WITH_EPS:
        if scaler.eps is not None:
            raise ValueError(
                f"eps goes with constant={', '.join(map(repr, WITH_EPS))}, and constant is {scaler.constant!r}: leave "
                "eps out"
            )
    elif not isinstance(scaler.eps, Real) or isinstance(scaler.eps, bool) or not 0 < scaler.eps < math.inf:
        raise ValueError(f"constant={scaler.constant!r} needs a positive number eps, got {scaler.eps!r}")


def settled(
    scaler: Any, spread: np.ndarray, known: np.ndarray, *, relative: np.ndarray, sklearn: np.ndarray
) -> np.ndarray:
    """What columns are divided by, after the scaler's rule for those without spread.

    Parameters
    ----------
    scaler : scaler
        Its `constant` and `eps` count.
    spread : ndarray of shape (d,)
        The standard deviation, the range, or what else the method divides by.
    known : ndarray of bool, shape (d,)
        Where there are values. Others get 1, or NaN by scikit-learn's rule.
    relative, sklearn : ndarray of bool, shape (d,)
        Where our own test and scikit-learn's find no spread.
    """
    rule = scaler.constant
    if rule in ("relative", "error"):
        return np.where(relative | np.isnan(spread), 1.0, spread)
    if rule == "sklearn":
        return np.where(sklearn | (np.isnan(spread) & known), 1.0, spread)
    spread = np.where(np.isnan(spread), 0.0, spread)
    if rule == "zero":
        scale = np.where(spread == 0, math.inf, spread)
    elif rule == "floor":
        scale = np.maximum(spread, scaler.eps)
    elif rule == "add":
        scale = spread + scaler.eps
    else:
        scale = np.where(spread == 0, scaler.eps, spread)
    return np.where(known, scale, 1.0)


def lacks_spread(scaler: Any, spread: float, *, relative: bool, sklearn: bool) -> bool:
    """Whether one column with values has no spread by the scaler's rule."""
    if scaler.constant == "sklearn":
        return sklearn
    return relative if scaler.constant in ("relative", "error") else not spread > 0


def fate(scaler: Any) -> str:
    """What becomes of a column without spread, as the end of a sentence."""
    if scaler.constant == "zero":
        return scaler._ZERO
    if scaler.constant in WITH_EPS:
        return f"centered and divided by eps={scaler.eps:g}"
    return "centered and not scaled"


def refuse_constant(name: Any) -> DataError:
    """The error of constant="error"."""
    return DataError(
        f"column {name!r} has no spread to scale by, which constant='error' does not allow: leave it out, or choose "
        "another rule",
        column=name,
    )


def rules_of(method: str, preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a preset and the rules given beside it, which come first, mean for a method's name.

    Raises
    ------
    ValueError
        If there is no such preset, or that system has no such method.
    """
    if preset is None:
        return dict(given)
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(map(repr, PRESETS))}, got {preset!r}")
    if method not in PRESETS[preset]:
        known = ", ".join(map(repr, PRESETS[preset]))
        raise ValueError(f"preset {preset!r} has the methods {known}, and no {method!r} that could be reproduced")
    return {**PRESETS[preset][method], **given}
