"""Arrow arrays and NumPy ones of each other's buffers, and scalars.

Design: by pyarrow's own ``to_numpy``, ``np.asarray``, ``pa.array`` and ``pa.scalar``, pandas is imported wherever it is
installed (to ask whether they were given a Series), 38 MB that no job over files asks for, and by ``is_null`` the
compute functions, 8 MB. What is done here for each batch reads the buffers, and is no slower.
"""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa


def missing_rows(array: pa.Array) -> np.ndarray:
    """Where an array with a validity bitmap of its own is null, as booleans."""
    bitmap = array.buffers()[0] if array.null_count else None
    if bitmap is None:
        return np.zeros(len(array), bool)
    first, rest = divmod(array.offset, 8)
    held = np.frombuffer(bitmap, np.uint8)[first : first + (rest + len(array) + 7) // 8]
    return np.unpackbits(held, bitorder="little")[rest : rest + len(array)] == 0


def array_of(values: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """Numbers as an Arrow array that shares them, null where `missing` says so."""
    bitmap = None if missing is None else packed(~missing)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(np.ascontiguousarray(values))])


def packed(flags: np.ndarray) -> pa.Buffer:
    """Booleans as bits."""
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def plain_values(array: pa.Array) -> np.ndarray | None:
    """Integers and floats as NumPy has them, without a copy; None for others."""
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return None
    buffer = array.buffers()[1] or b""
    return np.frombuffer(buffer, array.type.to_pandas_dtype())[array.offset : array.offset + len(array)]


def scalar_of(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A null, truth value, number or string as a scalar of a type that has such values.

    Raises
    ------
    pyarrow.ArrowException
        If the type has no such value.
    """
    if value is None:
        return pa.nulls(1, kind)[0]
    if isinstance(value, bool):
        return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(bytes([value]))])[0]
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return array_of(np.array([value], f"f{kind.bit_width // 8}"))[0]
    if isinstance(value, (int, Decimal)):
        value = f"{value:f}" if isinstance(value, Decimal) else str(value)
    data = value.encode()
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    text = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(data)])[0]
    return text if kind == pa.string() else text.cast(kind)
