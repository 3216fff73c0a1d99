"""Normalization statistics over data larger than memory: streaming, mergeable, repeatable.

``fit`` computes them, ``transform`` and ``inverse`` apply and undo them, ``normalize`` does the whole job from file to
file in bounded memory. The scalers have scikit-learn's parameters and results.
"""

from ._core import ColumnStats
from ._sketch import QuantileSketch
from ._version import __version__
from .engine import fit, inspect, inverse, load, merge, normalize, transform
from .errors import (
    DataError,
    NotMergeableError,
    StateError,
    StatisticNotCollected,
    StreamnormError,
)
from .kernels import Extrema, Moments
from .scalers import ColumnScaler, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from .summary import ColumnSummary, Summary

__all__ = [
    "ColumnScaler",
    "ColumnStats",
    "ColumnSummary",
    "DataError",
    "Extrema",
    "MaxAbsScaler",
    "MinMaxScaler",
    "Moments",
    "NotFittedError",
    "NotMergeableError",
    "QuantileSketch",
    "RobustScaler",
    "StandardScaler",
    "StateError",
    "StatisticNotCollected",
    "StreamnormError",
    "Summary",
    "__version__",
    "fit",
    "inspect",
    "inverse",
    "load",
    "merge",
    "normalize",
    "transform",
]


def __getattr__(name: str) -> object:
    # scikit-learn's class once scikit-learn is loaded, so it cannot be bound here for good.
    if name == "NotFittedError":
        from . import errors

        return errors.NotFittedError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
