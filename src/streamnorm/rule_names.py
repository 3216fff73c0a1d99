"""The names of rules and presets, which the command line needs without the rest of the library.

:mod:`streamnorm.scalers._rules` says what they mean.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

CONSTANT = ("relative", "sklearn", "zero", "error", "floor", "add", "replace")
INFINITE = ("error", "null", "ignore")
WITH_EPS = ("floor", "add", "replace")
RULES = MappingProxyType({"constant": "relative", "infinite": "error", "eps": None})  # the parameters and defaults

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "sklearn": {method: {"constant": "sklearn"} for method in ("standard", "minmax", "maxabs", "robust")},
    "spark": {
        "standard": {"with_mean": False, "ddof": 1, "constant": "zero"},
        "minmax": {"constant": "zero"},
        "maxabs": {"constant": "zero"},
    },
    "keras": {"standard": {"constant": "floor", "eps": 1e-7}},
    "lerobot": {
        "standard": {"constant": "add", "eps": 1e-8},
        "minmax": {"feature_range": (-1, 1), "constant": "replace", "eps": 1e-8},
    },
}
