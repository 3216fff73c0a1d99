"""What was fitted here, for other systems to run, and what was fitted there, for this one.

Names are imported when they are first used, so that none of these systems is loaded before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lerobot import from_lerobot, to_lerobot
    from .onnx import to_onnx
    from .polars import to_polars
    from .pyarrow import to_pyarrow
    from .sklearn import from_sklearn, to_sklearn
    from .sql import to_sql
    from .torch import to_torch

__all__ = [
    "from_lerobot",
    "from_sklearn",
    "to_lerobot",
    "to_onnx",
    "to_polars",
    "to_pyarrow",
    "to_sklearn",
    "to_sql",
    "to_torch",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{name.partition('_')[2]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
