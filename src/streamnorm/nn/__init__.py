"""Normalization layers, and a small network of them that trains: layers, losses, optimizers.

``streamnorm.nn.functional`` has the compiled functions, the classes here keep their parameters and statistics. They
have PyTorch's arguments, state and results over NumPy arrays, and tie in with the scalers: a :class:`BatchNorm` can be
calibrated on data larger than memory, made from a fitted scaler and turned into one; :func:`fold` makes a dense layer
take over what a normalization does.

:class:`Sequential` puts layers one after the other and trains them; the losses and optimizers have PyTorch's formulas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._folding import fold
    from ._module import Module, Parameter
    from .activations import Dropout, Flatten, ReLU, Sigmoid, Tanh
    from .convolution import Conv2D, MaxPool2D
    from .dense import Dense
    from .embedding import ColumnEmbedding, Embedding
    from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
    from .losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss, QuantileLoss, get_loss
    from .optimizers import SGD, Adam, AdamW, CosineSchedule, Optimizer, StepSchedule, get_optimizer
    from .recurrent import LSTM
    from .regressor import Regressor
    from .sequential import Sequential

__all__ = [
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "ColumnEmbedding",
    "Conv2D",
    "CosineSchedule",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "HuberLoss",
    "InstanceNorm",
    "L1Loss",
    "LSTM",
    "LayerNorm",
    "Loss",
    "MSELoss",
    "MaxPool2D",
    "Module",
    "Optimizer",
    "Parameter",
    "QuantileLoss",
    "RMSNorm",
    "ReLU",
    "Regressor",
    "SGD",
    "Sequential",
    "Sigmoid",
    "StepSchedule",
    "Tanh",
    "fold",
    "functional",
    "get_loss",
    "get_optimizer",
    "layers",
]

_NAMES_IN = {
    "_folding": ("fold",),
    "_module": ("Module", "Parameter"),
    "activations": ("Dropout", "Flatten", "ReLU", "Sigmoid", "Tanh"),
    "convolution": ("Conv2D", "MaxPool2D"),
    "dense": ("Dense",),
    "embedding": ("ColumnEmbedding", "Embedding"),
    "layers": ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"),
    "losses": (
        "BCEWithLogitsLoss",
        "CrossEntropyLoss",
        "HuberLoss",
        "L1Loss",
        "Loss",
        "MSELoss",
        "QuantileLoss",
        "get_loss",
    ),
    "optimizers": ("SGD", "Adam", "AdamW", "CosineSchedule", "Optimizer", "StepSchedule", "get_optimizer"),
    "recurrent": ("LSTM",),
    "regressor": ("Regressor",),
    "sequential": ("Sequential",),
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
