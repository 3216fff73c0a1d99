"""What was fitted here, for other systems to run: :func:`to_onnx`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .onnx import to_onnx

__all__ = ["to_onnx"]


def __getattr__(name: str) -> Any:
    if name != "to_onnx":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .onnx import to_onnx

    globals()[name] = to_onnx
    return to_onnx


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
