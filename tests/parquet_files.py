"""What the tests of Parquet output share: hostile tables, ways to write them, exact comparison."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamnorm.parquet import (
    ParquetWriter,
    thrift,
)

FLOATS = {"f2": pa.float16(), "f4": pa.float32(), "f8": pa.float64()}


def floats(dtype, n, nulls=0.0, seed=0):
    """An Arrow array with NaN, both zeros and infinities among its values."""
    rng = np.random.default_rng([n, seed])
    values = rng.standard_normal(n).astype(dtype)
    at = rng.random(n) < 0.05
    values[at] = rng.choice(np.array([np.nan, 0.0, -0.0, np.inf, -np.inf], dtype), at.sum())
    return pa.array(values, mask=rng.random(n) < nulls) if nulls else pa.array(values)


def add(encoder, array):
    """Feed an Arrow array, sliced or not, as the engine does: values, bitmap, the bitmap's offset."""
    dtype = array.type.to_pandas_dtype()
    values = np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]
    encoder.add(values, array.buffers()[0], array.offset, len(array))


def write_floats(table, *, row_group_size=None, columns=None, file=None, encoder=None, **options):
    """Write a table of flat floats, column by column over all row groups; returns the file's bytes."""
    file = io.BytesIO() if file is None else file
    writer = ParquetWriter(file, table.schema, **options)
    size = row_group_size or max(len(table), 1)
    starts = range(0, len(table), size)
    groups = [writer.begin_row_group(min(size, len(table) - start)) for start in starts]
    for column in columns if columns is not None else range(table.num_columns):
        for group, start in zip(groups, starts, strict=True):
            enc = writer.float_encoder(column, **(encoder or {}))
            for part in table.column(column).slice(start, size).chunks:
                add(enc, part)
            writer.append_pages(group, column, enc.finish())
    assert writer.close() == file.tell()
    return file.getvalue() if isinstance(file, io.BytesIO) else None


def bits(column):
    """Values of a float column as integers, nulls as None: equality that tells zeros and NaN apart."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}[array.type]
    return array.view(width).to_pylist()


def same(a, b):
    """Whether two tables are equal, schema, metadata and every bit of floats included."""
    assert a.schema.equals(b.schema, check_metadata=True)
    for name, left, right in zip(a.column_names, a.columns, b.columns, strict=True):
        if pa.types.is_floating(left.type):
            assert bits(left) == bits(right), name
        else:
            assert left.equals(right), name
    return True


def read(data):
    with pq.ParquetFile(io.BytesIO(data)) as file:
        return file.read()


def everyone_reads(data, tmp_path):
    """polars' and DuckDB's tables of the file."""
    pl = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "out.parquet"
    path.write_bytes(data)
    return pl.read_parquet(path), duckdb.sql(f"select * from read_parquet('{path}')").to_arrow_table()


def edited(source, change):
    """A file whose footer was changed."""
    length = int.from_bytes(source[-8:-4], "little")
    struct = thrift.decode_struct(source[-8 - length : -8])
    change(struct)
    footer = thrift.encode(struct)
    return source[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
