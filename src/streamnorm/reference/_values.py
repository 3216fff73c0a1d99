"""What the twins take: arrays of NumPy and of Arrow, in chunks, and weights of rows."""

from typing import Any

import numpy as np
import pyarrow as pa


def _chunks(array: Any) -> list[Any]:
    """The array as a list of ndarrays and pyarrow.Arrays."""
    if isinstance(array, np.ndarray | pa.Array):
        return [array]
    if hasattr(array, "__arrow_c_array__"):
        return [pa.array(array)]
    if hasattr(array, "__arrow_c_stream__"):
        return list(pa.chunked_array(array).chunks)
    return [np.asarray(array)]


def _values(chunk: Any) -> tuple[Any, np.ndarray, str]:
    """The values that are there (an ndarray, or a list of Decimal), the mask of all rows, and the kind.

    The mask is True where the row is not null; the values are those of the rows that are not.
    """
    if isinstance(chunk, np.ndarray):
        if chunk.ndim != 1:
            raise ValueError(f"expected a one-dimensional array, got {chunk.ndim} dimensions")
        if chunk.dtype.kind not in "biuf":
            raise TypeError(f"cannot take values of type {chunk.dtype}")
        present, values, kind = np.ones(len(chunk), bool), chunk, chunk.dtype.kind
    elif pa.types.is_decimal(chunk.type):
        present = np.asarray(chunk.is_valid())
        return [value for value in chunk.to_pylist() if value is not None], present, "decimal"
    elif (
        pa.types.is_boolean(chunk.type) or pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type)
    ):
        present = np.asarray(chunk.is_valid())
        values = chunk.drop_null().to_numpy(zero_copy_only=False)
        kind = values.dtype.kind
    else:
        raise TypeError(f"cannot take values of type {chunk.type}")
    return values, present, "float" if kind == "f" else "int"


def _weights(weights: Any, n: int) -> np.ndarray:
    """One finite weight for each of n rows, 0 where it is missing."""
    if isinstance(weights, pa.Array | pa.ChunkedArray):
        weights = weights.cast(pa.float64()).to_numpy(zero_copy_only=False)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"there are {len(weights)} weights for {n} rows")
    weights = np.where(np.isnan(weights), 0.0, weights)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights are finite and not negative")
    return weights
