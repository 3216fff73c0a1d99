"""What was passed as X: which kind of thing it is, and arrays made fit for the kernels."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import DataError
from ._queries import is_query
from ._tensors import is_tensor

_ONE_DIMENSION = (
    "Expected 2D array, got {what} instead:\narray={value}.\nReshape your data either using "
    "array.reshape(-1, 1) if "
    "your data has a single feature or array.reshape(1, -1) if it contains a single sample."
)


class NotNumbersError(DataError, TypeError):
    """Objects that no number can be made of, which scikit-learn's callers expect as a TypeError."""


def is_frame(X: Any, library: str, kind: str = "DataFrame") -> bool:
    """Whether X is a data frame of this library, or another `kind` of thing, without importing it to find out."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, getattr(module, kind, ()))


def _is_wrapped(X: Any) -> bool:
    """Whether X is a frame or a series of narwhals', around one of another library, or of Modin's, around pandas'."""
    return _is_modin(X) or any(is_frame(X, "narwhals", kind) for kind in ("DataFrame", "LazyFrame", "Series"))


def unwrapped(X: Any) -> Any:
    """What narwhals or Modin wraps."""
    return X.modin.to_pandas() if _is_modin(X) else X.to_native()


def _is_modin(X: Any) -> bool:
    return any(is_frame(X, "modin.pandas", kind) for kind in ("DataFrame", "Series"))


def wrapped_like(X: Any, result: Any) -> Any:
    """The result as X is: in a wrapper of narwhals', of the same version of its interface, or in Modin's."""
    if _is_modin(X):
        home = sys.modules["modin.pandas"]
        return getattr(home, type(result).__name__)(result)
    home = sys.modules[type(X).__module__]
    wrap = getattr(home, "from_native", None) or sys.modules["narwhals"].from_native
    return wrap(result, allow_series=True, pass_through=True)


def _is_column(X: Any) -> bool:
    """Whether X is one column by itself: a Series, an Arrow array, or what says by its schema that it is one."""
    if isinstance(X, pa.Array | pa.ChunkedArray) or is_frame(X, "pandas", "Series") or is_frame(X, "polars", "Series"):
        return True
    if not (hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")) or isinstance(X, pa.RecordBatchReader):
        return False
    # DuckDB relations and pyarrow's own have none, or hold tables in any case.
    return hasattr(X, "__arrow_c_schema__") and not pa.types.is_struct(_type_of(X))


def _type_of(X: Any) -> pa.DataType:
    """The type that an exporter says its values have; that of a struct for a table."""
    try:
        return pa.DataType._import_from_c_capsule(X.__arrow_c_schema__())
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        return pa.struct([])


def kind_of(X: Any) -> str:
    """How to read X.

    Returns
    -------
    str
        "array": ndarray or what NumPy makes one of. "tensor": an array that DLPack hands over. "table": one
        table, batch, data frame or structured array. "column": one column by itself. "stream": speaks the Arrow C
        stream or array interface. "query": what gives rows when it is run, lazily. "batches": an iterator or list
        of tables or arrays. "wrapped": any of these, wrapped by narwhals or Modin. "files": the rest, paths, for the
        engine.
    """
    _refuse(X)
    if isinstance(X, np.ndarray):
        return "array" if X.dtype.names is None or isinstance(X, np.ma.MaskedArray) else "table"
    if isinstance(X, pa.Table | pa.RecordBatch) or is_frame(X, "pandas") or is_frame(X, "polars"):
        return "table"
    if is_query(X):
        return "query"
    if isinstance(X, str | os.PathLike) or hasattr(X, "read"):
        return "files"
    if _is_wrapped(X):
        return "wrapped"
    if is_tensor(X):
        return "tensor"
    if _is_column(X):
        return "column"
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
    return is_rereadable(unwrapped(X)) if kind == "wrapped" else True


def _refuse(X: Any) -> None:
    """Raise for what looks like data and is not a table."""
    if type(X).__module__.startswith("scipy.sparse"):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert "
            "to a dense "
            "numpy array."
        )


def _kind_of_list(X: Any) -> str:
    if not X:
        return "array"
    first = X[0]
    if isinstance(first, str | os.PathLike):
        return "files"
    if isinstance(first, np.ndarray) or is_tensor(first):
        return "batches" if first.ndim == 2 or getattr(first.dtype, "names", None) else "array"
    if isinstance(first, list | tuple | int | float):
        return "array"
    return "array" if kind_of(first) in ("array", "batches") else "batches"


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
