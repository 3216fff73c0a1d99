"""Normalization statistics over data larger than memory: streaming, mergeable, repeatable.

``fit`` computes them, ``transform`` and ``inverse`` apply and undo them, ``normalize`` does the whole job
from file to file in bounded memory. The scalers have scikit-learn's parameters and results.
"""

# Design: names are imported when they are first used, so that `streamnorm --help` and a program that needs a
# part do not wait for NumPy and Arrow (0.2 s). Type checkers and editors read the ordinary imports below.
# Turned down: a command line in a package of its own, which people would have to find.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import export as export
    from . import nn as nn
    from ._batches import Batches, batches
    from ._core import ColumnStats
    from ._sketch import QuantileSketch
    from .engine import fit, inverse, normalize, transform
    from .errors import (
        DataError,
        NotFittedError,
        NotMergeableError,
        StateError,
        StatisticNotCollected,
        StreamnormError,
        StreamnormWarning,
    )
    from .images import ImageFolder
    from .kernels import Extrema, Moments
    from .report.advise import Advice, advise
    from .report.compare import compare
    from .report.comparison import Comparison
    from .report.describe import ColumnDescription, Description, describe
    from .report.drift import Drift, diff
    from .report.pages import report
    from .scalers import ColumnScaler, MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
    from .series import Windows
    from .states import inspect, load, merge
    from .summary import ColumnSummary, Summary
    from .text import Vocabulary

__all__ = [
    "Advice",
    "Batches",
    "ColumnDescription",
    "ColumnScaler",
    "ColumnStats",
    "ColumnSummary",
    "Comparison",
    "DataError",
    "Description",
    "Drift",
    "Extrema",
    "ImageFolder",
    "MaxAbsScaler",
    "MinMaxScaler",
    "Moments",
    "Normalizer",
    "NotFittedError",
    "NotMergeableError",
    "QuantileSketch",
    "RobustScaler",
    "StandardScaler",
    "StateError",
    "StatisticNotCollected",
    "StreamnormError",
    "StreamnormWarning",
    "Summary",
    "Vocabulary",
    "Windows",
    "__version__",
    "advise",
    "batches",
    "compare",
    "describe",
    "diff",
    "fit",
    "inspect",
    "inverse",
    "load",
    "merge",
    "normalize",
    "report",
    "transform",
]

_NAMES_IN = {
    "_batches": ("Batches", "batches"),
    "_core": ("ColumnStats",),
    "_sketch": ("QuantileSketch",),
    "engine": ("fit", "inverse", "normalize", "transform"),
    "errors": (
        "DataError",
        "NotFittedError",
        "NotMergeableError",
        "StateError",
        "StatisticNotCollected",
        "StreamnormError",
        "StreamnormWarning",
    ),
    "images": ("ImageFolder",),
    "kernels": ("Extrema", "Moments"),
    "report.compare": ("compare",),
    "report.comparison": ("Comparison",),
    "report.advise": ("Advice", "advise"),
    "report.describe": ("ColumnDescription", "Description", "describe"),
    "report.drift": ("Drift", "diff"),
    "scalers": ("ColumnScaler", "MaxAbsScaler", "MinMaxScaler", "Normalizer", "RobustScaler", "StandardScaler"),
    "series": ("Windows",),
    "states": ("inspect", "load", "merge"),
    "summary": ("ColumnSummary", "Summary"),
    "text": ("Vocabulary",),
}
_HOME_OF = {name: module for module, names in _NAMES_IN.items() for name in names}
_MODULES = ("errors", "export", "features", "nn", "reference", "report", "scalers", "series", "state", "summary")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    if name != "NotFittedError":  # which class that is may change when scikit-learn is imported
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
