"""Tables of four makers behind one face: names, types, chunks of a column, and the same table with columns
replaced.

Design: columns are taken one at a time, as Arrow arrays, and what is not normalized is never looked at, so
that a frame with columns that Arrow cannot express passes through. Turned down: converting the whole frame to
a table.

pandas says "missing" with NaN, and its own conversion to Arrow makes nulls of them. Fit follows it, so that a
frame and the Parquet file written from it have the same summary; in transform NaN comes back as NaN.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import DataError
from ._inputs import is_frame, kind_of

_OPAQUE = pa.binary()  # stands for what Arrow cannot express, and is not numeric


class ArrowFrame:
    """A pyarrow Table or RecordBatch."""

    def __init__(self, data: pa.Table | pa.RecordBatch) -> None:
        self.data = data
        self.rows: int = data.num_rows
        self.names: list[str] = data.schema.names  # which makes a list of them each time

    @property
    def schema(self) -> pa.Schema:
        return self.data.schema

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def chunks(self, i: int, *, fit: bool) -> list[pa.Array]:
        """Column i as Arrow arrays; in fit, NaN that mean "missing" are nulls."""
        column = self.data.column(i)
        return column.chunks if isinstance(column, pa.ChunkedArray) else [column]

    def replace(self, columns: Mapping[int, tuple[pa.DataType, list[pa.Array]]], nullable: Collection[int] = ()) -> Any:
        """The same kind of table, new, with these columns in place of its own."""
        schema = replaced_schema(self.schema, {i: kind for i, (kind, _) in columns.items()}, nullable)
        arrays: list[Any] = list(self.data.columns)
        for i, (kind, chunks) in columns.items():
            arrays[i] = pa.chunked_array(chunks, kind) if isinstance(self.data, pa.Table) else chunks[0]
        if not arrays:
            return self.data
        return type(self.data).from_arrays(arrays, schema=schema)


def replaced_schema(schema: pa.Schema, types: Mapping[int, pa.DataType], nullable: Collection[int] = ()) -> pa.Schema:
    """The schema with these types; names, order, nullability but of the fields named, and all metadata stay."""
    for i, kind in types.items():
        field = schema.field(i).with_type(kind)
        schema = schema.set(i, field.with_nullable(True) if i in nullable else field)
    return schema


class PandasFrame:
    """A pandas DataFrame."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.rows = len(data)
        self.names = [str(name) for name in data.columns]

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, self._type(i)) for i, name in enumerate(self.names)])

    def _type(self, i: int) -> pa.DataType:
        try:
            chunks = self.chunks(i, fit=False)
        except (pa.ArrowException, TypeError, ValueError):
            return _OPAQUE
        return chunks[0].type

    @property
    def nbytes(self) -> int:
        return int(self.data.memory_usage(index=False).sum())

    def chunks(self, i: int, *, fit: bool) -> list[pa.Array]:
        column = self.data.iloc[:, i]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
            array = pa.array(column.to_numpy(), from_pandas=fit)
        else:
            array = pa.array(column, from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            return array.chunks or [pa.array([], array.type)]
        return [array]

    def replace(self, columns: Mapping[int, tuple[pa.DataType, list[pa.Array]]], nullable: Collection[int] = ()) -> Any:
        new = self.data.copy(deep=False)
        for i, (kind, chunks) in columns.items():
            new.isetitem(i, _like(self.data.iloc[:, i].dtype, pa.chunked_array(chunks, kind)))
        return new


def _like(dtype: Any, column: pa.ChunkedArray) -> Any:
    """Floats as pandas holds them where the column was of this type: NumPy, nullable, or Arrow."""
    arrays = sys.modules["pandas"].arrays
    if type(dtype).__name__ == "ArrowDtype":
        return arrays.ArrowExtensionArray(column)
    mask = np.asarray(column.is_null())
    values = np.array(column.to_numpy())
    if not isinstance(dtype, np.dtype) and hasattr(dtype, "numpy_dtype"):
        values[mask] = 0
        return arrays.FloatingArray(values, mask)
    return values


class PolarsFrame:
    """A polars DataFrame."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.rows = data.height
        self.names = list(data.columns)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, self._type(i)) for i, name in enumerate(self.names)])

    def _type(self, i: int) -> pa.DataType:
        try:
            return pa.chunked_array(self.data.to_series(i).head(0)).type
        except Exception:  # polars has errors of its own, not imported here
            return _OPAQUE

    @property
    def nbytes(self) -> int:
        return int(self.data.estimated_size())

    def chunks(self, i: int, *, fit: bool) -> list[pa.Array]:
        column = pa.chunked_array(self.data.to_series(i))
        return column.chunks or [pa.array([], column.type)]

    def replace(self, columns: Mapping[int, tuple[pa.DataType, list[pa.Array]]], nullable: Collection[int] = ()) -> Any:
        from_arrow = sys.modules["polars"].from_arrow
        return self.data.with_columns(
            from_arrow(pa.chunked_array(chunks, kind)).alias(self.names[i])
            for i, (kind, chunks) in columns.items()
        )


Frame = ArrowFrame | PandasFrame | PolarsFrame


def as_frame(X: Any) -> Frame:
    """One table in its wrapper."""
    if is_frame(X, "pandas"):
        return PandasFrame(X)
    return PolarsFrame(X) if is_frame(X, "polars") else ArrowFrame(X)


def as_reader(X: Any) -> pa.RecordBatchReader:
    """Anything that speaks the Arrow C interface, as a stream of batches."""
    if isinstance(X, pa.RecordBatchReader):
        return X
    try:
        if hasattr(X, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(X)
        batch = pa.record_batch(X)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise DataError(f"{type(X).__name__} does not hold a table with named columns: {error}") from None
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def parts(X: Any) -> Iterator[Any]:
    """The tables and arrays that X is made of: frames, and whatever else :func:`kind_of` calls an array."""
    kind = kind_of(X)
    if kind == "table":
        yield as_frame(X)
    elif kind == "stream":
        yield from map(ArrowFrame, as_reader(X))
    elif kind == "batches":
        yield from _parts_of_all(X)
    elif kind == "array":
        yield X
    else:
        raise DataError(
            f"expected a table or an array in memory, got {type(X).__name__}: for files use streamnorm.fit, "
            f"streamnorm.transform or streamnorm.normalize"
        )


def _parts_of_all(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        yield from parts(batch)
