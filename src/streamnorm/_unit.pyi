from typing import Any, Literal

import numpy as np

__all__ = ["unit_rows"]

NORMS: dict[str, int]

def unit_rows(
    values: np.ndarray,
    rows: int | np.ndarray,
    norm: Literal["l2", "l1", "max"],
    *,
    validity: Any = None,
    bit: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
