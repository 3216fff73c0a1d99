"""Tables of all makers behind one face: names, types, chunks of a column, and the same table with columns
replaced.

Design: columns are taken one at a time, as Arrow arrays, and what is not normalized is never looked at, so
that a frame with columns that Arrow cannot express passes through. Turned down: converting the whole frame to
a table.

pandas says "missing" with NaN, and its own conversion to Arrow makes nulls of them. Fit follows it, so that a
frame and the Parquet file written from it have the same summary; in transform NaN comes back as NaN.

What the kernel wrote is what the new frame holds: pandas gets the very buffer, writable, and polars the chunks as
they are. Turned down: each library's own way from Arrow, which copies (polars where there are several chunks).
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import DataError
from . import _queries, _tensors
from ._inputs import is_frame, kind_of, unwrapped

_OPAQUE = pa.binary()  # stands for what Arrow cannot express, and is not numeric


class ArrowFrame:
    """A pyarrow Table or RecordBatch."""

    unnamed = False  # whether its column is known by position alone

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

    unnamed = False

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
        series = sys.modules["pandas"].Series
        for i, (kind, chunks) in columns.items():
            values = _like(self.data.iloc[:, i].dtype, pa.chunked_array(chunks, kind))
            new.isetitem(i, series(values, index=new.index, copy=False))  # an array alone would be copied
        return new


def _like(dtype: Any, column: pa.ChunkedArray) -> Any:
    """Floats as pandas holds them where the column was of this type: NumPy, nullable, or Arrow."""
    arrays = sys.modules["pandas"].arrays
    if type(dtype).__name__ == "ArrowDtype":
        return arrays.ArrowExtensionArray(column)
    if not pa.types.is_floating(column.type):  # lists, structs
        return np.array(column.to_numpy())
    values = _writable(column)
    nullable = not isinstance(dtype, np.dtype) and hasattr(dtype, "numpy_dtype")
    if column.null_count:
        mask = np.asarray(column.is_null())
        values[mask] = 0 if nullable else np.nan
    elif nullable:
        mask = np.zeros(len(values), np.bool_)
    return arrays.FloatingArray(values, mask) if nullable else values


def _writable(column: pa.ChunkedArray) -> np.ndarray:
    """Floats that were just computed, nulls or not, as an array that may be written to: the buffer itself."""
    kind = column.type.to_pandas_dtype()
    pieces = []
    for chunk in column.chunks:
        _, values = chunk.buffers()
        pieces.append(np.frombuffer(values, kind)[chunk.offset : chunk.offset + len(chunk)])
    if len(pieces) == 1 and pieces[0].flags.writeable:
        return pieces[0]
    return np.concatenate([np.empty(0, kind), *pieces])


class PolarsFrame:
    """A polars DataFrame."""

    unnamed = False

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
        series = sys.modules["polars"].Series
        return self.data.with_columns(
            series(values=ArrowStream(pa.chunked_array(chunks, kind))).alias(self.names[i])
            for i, (kind, chunks) in columns.items()
        )


class ArrowStream:
    """A column that says nothing but the C stream interface, which polars reads faster than what it knows."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._column.__arrow_c_stream__(requested_schema)


class RecordsFrame:
    """A structured array of NumPy, whose fields are columns; fields lie among each other, so each is copied."""

    unnamed = False

    def __init__(self, data: np.ndarray) -> None:
        if data.ndim != 1:
            raise DataError(f"a structured array must have one dimension, its rows, and this one has {data.ndim}")
        self.data = data
        self.rows = len(data)
        self.names: list[str] = list(data.dtype.names or ())

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, self._type(i)) for i, name in enumerate(self.names)])

    def _type(self, i: int) -> pa.DataType:
        field = self.data.dtype[i]
        numeric = field.kind in "biufmM" and not field.shape
        return pa.from_numpy_dtype(field.newbyteorder("=")) if numeric and field.itemsize <= 8 else _OPAQUE

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def chunks(self, i: int, *, fit: bool) -> list[pa.Array]:
        field = self.data[self.names[i]]
        if self._type(i) == _OPAQUE:
            return [pa.array(field.tolist())]
        return [pa.array(np.ascontiguousarray(field, field.dtype.newbyteorder("=")))]

    def replace(self, columns: Mapping[int, tuple[pa.DataType, list[pa.Array]]], nullable: Collection[int] = ()) -> Any:
        types = [self.data.dtype[i] for i in range(len(self.names))]
        for i, (kind, _) in columns.items():
            types[i] = np.dtype(kind.to_pandas_dtype())
        new = np.empty(self.rows, list(zip(self.names, types, strict=True)))
        for i, name in enumerate(self.names):
            if i in columns:
                new[name] = pa.chunked_array(columns[i][1], columns[i][0]).to_numpy()
            else:
                new[name] = self.data[name]
        return new.view(type(self.data))


class ColumnFrame:
    """One column by itself, a Series or an Arrow array, as a table; unnamed, it is matched by position."""

    def __init__(self, data: Any) -> None:
        name = getattr(data, "name", None)
        self.unnamed = name is None or name == ""
        self.data = data
        known = "x0" if self.unnamed else str(name)
        self._inner: ArrowFrame | PandasFrame | PolarsFrame
        if is_frame(data, "pandas", "Series"):
            self._inner = PandasFrame(data.to_frame(known))
        elif is_frame(data, "polars", "Series"):
            self._inner = PolarsFrame(data.to_frame(known))
        else:
            self.data = _arrow_column(data)
            self._inner = ArrowFrame(pa.table({known: self.data}))
        self.rows, self.names = self._inner.rows, self._inner.names

    @property
    def schema(self) -> pa.Schema:
        return self._inner.schema

    @property
    def nbytes(self) -> int:
        return self._inner.nbytes

    def chunks(self, i: int, *, fit: bool) -> list[pa.Array]:
        return self._inner.chunks(i, fit=fit)

    def replace(self, columns: Mapping[int, tuple[pa.DataType, list[pa.Array]]], nullable: Collection[int] = ()) -> Any:
        new = self._inner.replace(columns, nullable)
        if isinstance(self._inner, PandasFrame):
            return new.iloc[:, 0].rename(self.data.name)
        if isinstance(self._inner, PolarsFrame):
            return new.to_series(0).alias(self.data.name)
        column = new.column(0)
        return column.chunk(0) if isinstance(self.data, pa.Array) else column


def _arrow_column(data: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return data
    return pa.chunked_array(data) if hasattr(data, "__arrow_c_stream__") else pa.array(data)


Frame = ArrowFrame | PandasFrame | PolarsFrame | RecordsFrame | ColumnFrame


def as_frame(X: Any) -> Frame:
    """One table, or one column, in its wrapper."""
    if kind_of(X) == "column":
        return ColumnFrame(X)
    if is_frame(X, "pandas"):
        return PandasFrame(X)
    if isinstance(X, np.ndarray):
        return RecordsFrame(X)
    return PolarsFrame(X) if is_frame(X, "polars") else ArrowFrame(X)


def as_reader(X: Any) -> pa.RecordBatchReader:
    """Anything that speaks the Arrow C interface, as a stream of batches."""
    if isinstance(X, pa.RecordBatchReader):
        return X
    if type(X).__module__ == "streamnorm.stream":
        return X.reader()  # not by the C interface, where an error would lose its type
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
    if kind in ("table", "column"):
        yield as_frame(X)
    elif kind == "stream":
        yield from map(ArrowFrame, as_reader(X))
    elif kind == "query":
        yield from map(as_frame, _queries.batches(X))
    elif kind == "batches":
        yield from _parts_of_all(X)
    elif kind == "wrapped":
        yield from parts(unwrapped(X))
    elif kind == "tensor":
        yield _tensors.as_ndarray(X, fit=True)
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


def arrow_of(X: Any) -> tuple[Any, Callable[[], pa.RecordBatchReader] | None]:
    """What a job over record batches takes instead of X, and how to read it where it is a query.

    Queries, columns by themselves, structured arrays, tensors and wrapped frames become tables, arrays or readers;
    anything else stays what it is.
    """
    kind = kind_of(X)
    if kind == "wrapped":
        return arrow_of(unwrapped(X))
    if kind == "query":
        return X, lambda: _queries.reader(X)
    if kind == "tensor":
        return _tensors.as_ndarray(X, fit=False), None
    if kind == "column" or (kind == "table" and isinstance(X, np.ndarray)):
        frame = as_frame(X)
        columns = [pa.chunked_array(frame.chunks(i, fit=True)) for i in range(len(frame.names))]
        return pa.table(columns, names=frame.names), None
    return X, None
