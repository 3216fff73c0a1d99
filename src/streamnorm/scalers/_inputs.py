"""What was passed as X: which kind of thing it is, and arrays made fit for the kernels."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import DataError

_ONE_DIMENSION = (
    "Expected 2D array, got {what} instead:\narray={value}.\nReshape your data either using "
    "array.reshape(-1, 1) if "
    "your data has a single feature or array.reshape(1, -1) if it contains a single sample."
)


class NotNumbersError(DataError, TypeError):
    """Objects that no number can be made of, which scikit-learn's callers expect as a TypeError."""


def is_frame(X: Any, library: str) -> bool:
    """Whether X is a data frame of this library, which is not imported to find out."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, getattr(module, "DataFrame", ()))


def kind_of(X: Any) -> str:
    """How to read X.

    Returns
    -------
    str
        "array": ndarray or what NumPy makes one of. "table": one table, batch or data frame. "stream": speaks
        the Arrow C stream or array interface. "batches": an iterator or list of tables or arrays. "files":
        the rest, paths and datasets, for the engine.
    """
    _refuse(X)
    if isinstance(X, np.ndarray):
        return "array"
    if isinstance(X, pa.Table | pa.RecordBatch) or is_frame(X, "pandas") or is_frame(X, "polars"):
        return "table"
    if isinstance(X, str | os.PathLike) or _is_dataset(X) or hasattr(X, "read"):
        return "files"
    if hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__"):
        return "stream"
    if isinstance(X, list | tuple):
        return _kind_of_list(X)
    if isinstance(X, Iterator) and not hasattr(X, "__array__"):
        return "batches"
    return "array"


def is_rereadable(X: Any) -> bool:
    """Whether data in memory can be gone through more than once."""
    kind = kind_of(X)
    if kind == "batches":
        return isinstance(X, list | tuple) and all(map(is_rereadable, X))
    if kind == "stream":
        from ..stream import open_stream

        return open_stream(X).rereadable
    return True


def _refuse(X: Any) -> None:
    """Raise for what looks like data and is not a table."""
    module = type(X).__module__
    if module.startswith("scipy.sparse"):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert "
            "to a dense "
            "numpy array."
        )
    if isinstance(X, pa.Array | pa.ChunkedArray) or (
        type(X).__name__ == "Series" and module.partition(".")[0] in ("pandas", "polars")
    ):
        raise DataError(_ONE_DIMENSION.format(what="a single column", value=_short(X)))
    if type(X).__name__ == "LazyFrame" and module.partition(".")[0] == "polars":
        raise DataError("a polars LazyFrame is a query, not its result: give X.collect(), or the files that it scans")


def _kind_of_list(X: Any) -> str:
    if not X:
        return "array"
    first = X[0]
    if isinstance(first, str | os.PathLike):
        return "files"
    if isinstance(first, np.ndarray):
        return "batches" if first.ndim == 2 else "array"
    if isinstance(first, list | tuple | int | float):
        return "array"
    return "array" if kind_of(first) in ("array", "batches") else "batches"


def _is_dataset(X: Any) -> bool:
    return type(X).__module__ in ("pyarrow._dataset", "pyarrow.dataset")


def _short(X: Any) -> str:
    text = str(X)
    return text if len(text) <= 200 else text[:200] + "..."


def as_matrix(X: Any, scaler: str) -> np.ndarray:
    """X as an array of shape (n, d) of a type that the kernels take: integers, or native floats up to 64
    bits.

    Parameters
    ----------
    X : array-like
        Not copied if its type is fit already.
    scaler : str
        The scaler's name, for messages.

    Raises
    ------
    DataError
        If it is not two-dimensional, has no columns, or holds something other than real numbers.
    """
    array = _as_array(X)
    kind = array.dtype.kind
    if kind == "c":
        raise DataError(f"Complex data not supported\n{_short(array)}\n")
    if kind == "O":
        array = _from_objects(array)
    elif kind not in "biuf":
        what = "could not convert string to float" if kind in "SUT" else f"{array.dtype} is not numeric"
        raise DataError(f"{what}: {scaler} takes numbers, leave such columns out or convert them first")
    _check_shape(array, scaler)
    if kind == "b":
        return array.view(np.uint8)
    if array.dtype.itemsize > 8 or not array.dtype.isnative:
        return array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="))
    return array


def _as_array(X: Any) -> np.ndarray:
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan)
    try:
        return np.asarray(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot make a two-dimensional array of a {type(X).__name__}: {error}") from None


def _from_objects(array: np.ndarray) -> np.ndarray:
    for value in array.flat:
        if isinstance(value, str | bytes):
            raise DataError(f"could not convert string to float: {value!r}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        kind = NotNumbersError if isinstance(error, TypeError) else DataError
        raise kind(f"an array of objects must hold numbers alone: {error}") from None


def _check_shape(array: np.ndarray, scaler: str) -> None:
    if array.ndim < 2:
        what = "scalar array" if array.ndim == 0 else "1D array"
        raise DataError(_ONE_DIMENSION.format(what=what, value=_short(array)))
    if array.ndim > 2:
        raise DataError(f"Found array with dim {array.ndim}. {scaler} expected <= 2.")
    if array.shape[1] == 0:
        raise DataError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required by "
            f"{scaler}."
        )
