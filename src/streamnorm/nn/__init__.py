"""Normalization layers: batch, layer, instance, group and RMS normalization, forward and backward.

``streamnorm.nn.functional`` has the compiled functions, the classes here keep their parameters and statistics. They
have PyTorch's arguments, state and results over NumPy arrays, and tie in with the scalers: a :class:`BatchNorm` can be
calibrated on data larger than memory, made from a fitted scaler and turned into one; :func:`fold` makes a dense layer
take over what a normalization does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._folding import fold
    from ._module import Module, Parameter
    from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Module",
    "Parameter",
    "RMSNorm",
    "fold",
    "functional",
    "layers",
]

_NAMES_IN = {
    "_folding": ("fold",),
    "_module": ("Module", "Parameter"),
    "layers": ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"),
}
_HOME_OF = {name: module for module, names in _NAMES_IN.items() for name in names}
_MODULES = ("functional", "layers")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
