"""Tensors of PyTorch, and whatever else hands over its memory by DLPack, as arrays and back, without copies.

Design: a transform refuses a tensor that requires a gradient, as the kernel would cut the graph without a word; a fit
takes it, since statistics have none. bfloat16, which NumPy has no type for, goes by way of float32, with a copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DataError

_HOST = (1, 3, 11, 13)  # kinds of devices of DLPack whose memory the processor reads: CPU, pinned, managed


def is_tensor(X: Any) -> bool:
    """Whether X is a tensor of PyTorch, or of another library that NumPy knows by DLPack alone."""
    return _is_torch(X) or (
        hasattr(X, "__dlpack__")
        and hasattr(X, "__dlpack_device__")
        and not (hasattr(X, "__array__") or hasattr(X, "__array_interface__") or isinstance(X, np.ndarray))
    )


def _is_torch(X: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, getattr(torch, "Tensor", ()))


def as_ndarray(X: Any, *, fit: bool) -> np.ndarray:
    """The tensor's memory as an array.

    Raises
    ------
    DataError
        If it lies on another device, requires a gradient outside of a fit, or is not dense.
    """
    if not _is_torch(X):
        return _from_dlpack(X)
    if X.device.type != "cpu":
        raise _elsewhere(str(X.device))
    if X.requires_grad and not fit:
        raise DataError(
            "this tensor requires a gradient, which transform does not pass on: give X.detach(), or make the scaler "
            "a layer by streamnorm.nn.BatchNorm.from_scaler"
        )
    if str(X.layout) != "torch.strided":
        raise DataError(f"a tensor of layout {X.layout} is not dense: give X.to_dense()")
    X = X.detach().resolve_conj().resolve_neg()
    return (X.float() if X.dtype == sys.modules["torch"].bfloat16 else X).numpy()


def _from_dlpack(X: Any) -> np.ndarray:
    device, number = X.__dlpack_device__()
    if int(device) not in _HOST:
        raise _elsewhere(f"device {int(device)}:{number} of DLPack")
    try:
        return np.from_dlpack(X)
    except (BufferError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot take over the memory of a {type(X).__name__}: {error}") from None


def _elsewhere(device: str) -> DataError:
    return DataError(f"X is on {device}, and the kernels run on the CPU: move it there first, by X.cpu()")


def mapped(X: Any, apply: Callable[[Any], np.ndarray], copy: bool) -> Any:
    """What `apply` makes of the tensor's memory, as a tensor of its kind; X itself where it was written into."""
    array = as_ndarray(X, fit=False)
    result = apply(array)
    if _is_torch(X):
        torch = sys.modules["torch"]
        if not copy and result is array and X.dtype != torch.bfloat16:
            return X
        made = torch.from_numpy(result)
        return made.to(torch.bfloat16) if X.dtype == torch.bfloat16 else made
    namespace = getattr(X, "__array_namespace__", None)
    return result if namespace is None else namespace().from_dlpack(result)
