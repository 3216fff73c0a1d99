"""The twins of the maps that scale and restore values, one column at a time or a matrix at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._values import _chunks, _values

__all__ = ["affine", "affine_matrix"]


def affine(
    array: Any,
    center: float,
    scale: float,
    offset: float = 0.0,
    *,
    clip: tuple[float, float] | None = None,
    inverse: bool = False,
    dtype: Any = np.float64,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """y = (x - center) / scale + offset, clipped, cast; inverse: x = (y - offset) * scale + center.

    Computed in double and cast once. What stands where the input is null is unspecified (NaN here).

    Parameters
    ----------
    array : array, shape (n,)
        An ndarray, or Arrow data, in one chunk unless `out` is given.
    center, scale, offset : float
        The map.
    clip : (float, float) or None
        Bounds of y; not used by the inverse.
    inverse : bool
        Undo the map.
    dtype : dtype
        Type of the result: float16, float32 or float64.
    out : ndarray, shape (n,), or None
        Where to write; may be the input.

    Returns
    -------
    ndarray, shape (n,)
    """
    chunks = _chunks(array)
    if out is not None and len(chunks) != 1:
        at = 0
        for chunk in chunks:
            affine(chunk, center, scale, offset, clip=clip, inverse=inverse, dtype=dtype, out=out[at : at + len(chunk)])
            at += len(chunk)
        return out
    [chunk] = chunks
    present_values, present, _ = _values(chunk)
    x = np.full(len(present), np.nan)
    x[present] = np.asarray(present_values, dtype=np.float64)
    with np.errstate(all="ignore"):
        y = (x - offset) * scale + center if inverse else (x - center) / scale + offset
        if clip is not None and not inverse:
            y = np.clip(y, *clip)
        y = y.astype(dtype)
    if out is None:
        return y
    out[...] = y
    return out


def affine_matrix(
    X: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    *,
    clip: Sequence[tuple[float, float] | None] | None = None,
    inverse: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """:func:`affine` with a map per column: X has shape (n, d), the parts of the map d entries.

    The result has the type of X if that is a floating one, and float64 if not.
    """
    if out is None:
        out = np.empty(X.shape, X.dtype if X.dtype.kind == "f" else np.float64)
    clips = [None] * X.shape[1] if clip is None else clip
    for j, bounds in enumerate(clips):
        out[:, j] = affine(
            X[:, j], center[j], scale[j], offset[j], clip=bounds, inverse=inverse, dtype=out.dtype
        )
    return out
