"""Scalers as PyTorch modules, for the first and the last layer of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ._affine import mapped_columns, refuse_constants

ULPS = 0  # of float64, between the results of a float64 module on a CPU and those of `transform`
FLOAT32_EPS = 3  # see `to_torch`


class ColumnScaling(torch.nn.Module):
    """(x - center) / scale + offset, then clipped, column by column; tensors are (..., d)."""

    center: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self,
        center: Sequence[float],
        scale: Sequence[float],
        offset: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        values = {"center": center, "scale": scale, "offset": offset, "low": low, "high": high}
        for name, numbers in values.items():
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float64).to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize; the result has the module's type."""
        y = (x.to(self.center.dtype) - self.center) / self.scale + self.offset
        return torch.clamp(y, self.low, self.high)  # NaN stays

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Undo `forward`, except for clipping."""
        return (y.to(self.center.dtype) - self.offset) * self.scale + self.center


ColumnScaling.__module__ = __name__


def to_torch(scaler: Any, dtype: torch.dtype = torch.float64) -> ColumnScaling:
    """A scaler as a ``torch.nn.Module``.

    Parameters
    ----------
    scaler : scaler
        Fitted.
    dtype : torch.dtype, default torch.float64
        Of the buffers, the arithmetic and the result. float64 gives the very doubles of ``transform`` (``ULPS`` is 0,
        on a CPU). float32 rounds x and the center before it subtracts them, which a column whose mean is large beside
        its standard deviation pays with digits: the error is at most ``FLOAT32_EPS`` eps of float32 times
        (abs(x) + abs(center)) / abs(scale) + abs(y).

    Returns
    -------
    ColumnScaling
        With the buffers ``center scale offset low high``, each of shape (d,), in its ``state_dict``; ``forward`` and
        ``inverse`` take tensors of shape (..., d) whose last dimension is the scaler's columns in their order.

    Raises
    ------
    TypeError
        If it is no scaler, or `dtype` is not a floating type.

    Examples
    --------
    >>> import streamnorm as sn
    >>> module = to_torch(sn.StandardScaler().fit([[1.0], [4.0]]))
    >>> module(torch.tensor([[1.0], [2.5]])).tolist()
    [[-1.0], [0.0]]
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating type of torch, got {dtype!r}")
    return ColumnScaling(**_buffers(scaler), dtype=dtype)


def _buffers(scaler: Any) -> dict[str, list[float]]:
    columns = mapped_columns(scaler)
    refuse_constants(columns, "a module")
    maps = [column.map for column in columns]
    bounds = [(-np.inf, np.inf) if m.clip is None else m.clip for m in maps]
    found = {key: [float(getattr(m, key)) for m in maps] for key in ("center", "scale", "offset")}
    return found | {"low": [float(low) for low, _ in bounds], "high": [float(high) for _, high in bounds]}


def torch_source(scaler: Any) -> str:
    """Python source of the module, which needs torch alone: the class, and ``scaling``."""
    import inspect

    head = '"""Normalization for PyTorch: scaling(x), scaling.inverse(y)."""\n\n'
    head += "from collections.abc import Sequence\nfrom math import inf\n\nimport torch\n\n\n"
    values = "".join(f"    {name}={numbers!r},\n" for name, numbers in _buffers(scaler).items())
    return f"{head}{inspect.getsource(ColumnScaling)}\n\nscaling = ColumnScaling(\n{values})\n"
