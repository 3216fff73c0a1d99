"""The twin of the kernel that brings rows to unit length."""

from typing import Any

import numpy as np

from ..errors import BadRow

__all__ = ["unit_rows"]


def unit_rows(
    values: np.ndarray,
    rows: int | np.ndarray,
    norm: str,
    *,
    validity: Any = None,
    bit: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Divide each row of values by its norm; nulls and NaN count in none, and are NaN in the result.

    Parameters
    ----------
    values : ndarray, shape (n,), float32 or float64
        All rows, one after the other.
    rows : int, or ndarray, shape (m + 1,)
        How many values a row has, or where each begins and the last one ends.
    norm : {"l2", "l1", "max"}
    validity : buffer of bytes or None
        A bitmap, a bit for each value from bit `bit` on, least significant first.
    out : ndarray, shape (n,), or None
        Where to write; what belongs to no row is left alone.

    Returns
    -------
    ndarray, shape (n,)
    """
    n = len(values)
    out = np.zeros(n, values.dtype) if out is None else out
    x = values.copy()
    if validity is not None:
        bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[bit : bit + n]
        x[bits == 0] = np.nan
    ends = np.arange(0, n + 1, rows) if isinstance(rows, int) and rows else np.asarray(rows).reshape(-1)
    for i in range(len(ends) - 1):
        row = x[ends[i] : ends[i + 1]].astype(np.longdouble)  # which has no trouble with squares of doubles
        there = row[~np.isnan(row)]
        if np.isinf(there).any():
            raise BadRow(i, "holds an infinity", "set such values to null first")
        size = np.abs(there)
        length = {"l2": np.sqrt(np.sum(size * size)), "l1": np.sum(size), "max": np.max(size, initial=0)}[norm]
        out[ends[i] : ends[i + 1]] = row / length if length else row
    return out
