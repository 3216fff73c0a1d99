"""Queries, which give rows when they are run: frames that are lazy, relations, pyarrow Datasets and Scanners.

Design: a fit asks for the columns that it needs, and runs the query in batches. A transform runs nothing: a LazyFrame
comes back with an expression a column, which polars may push other work past and run in its streaming engine; a frame
of Dask with a function for each partition; a DuckDB relation with a projection in SQL, which computes the very same
doubles. Turned down for DuckDB: a relation over a reader of our batches, which could be run only once, and not while
its connection runs the query that feeds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..errors import DataError
from . import _dask

BATCH_ROWS = 131_072
SCAN: dict[str, Any] = dict(batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1)  # the defaults hold 0.7 GB


def is_query(X: Any) -> bool:
    """Whether X is one, without importing a library to find out."""
    return _is_lazy(X) or _is_relation(X) or _is_scan(X) or _dask.is_dask(X)


def _is_lazy(X: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, getattr(polars, "LazyFrame", ()))


def _is_relation(X: Any) -> bool:
    return type(X).__name__ == "DuckDBPyRelation"


def _is_scan(X: Any) -> bool:
    return type(X).__module__ in ("pyarrow._dataset", "pyarrow.dataset")


def _is_scanner(X: Any) -> bool:
    return hasattr(X, "projected_schema")


def schema_of(X: Any) -> pa.Schema:
    """The columns that a query gives."""
    if _is_lazy(X):
        empty = sys.modules["polars"].DataFrame(schema=X.collect_schema())
        return pa.schema([(name, _polars_type(empty.get_column(name))) for name in empty.columns])
    if _is_relation(X):
        return _relation_reader(X.limit(0)).schema
    if _dask.is_dask(X):
        return _dask.schema_of(X)
    return X.projected_schema if _is_scanner(X) else X.schema


def _polars_type(column: Any) -> pa.DataType:
    try:
        return pa.chunked_array(column).type
    except Exception:  # polars has errors of its own, not imported here
        return pa.binary()  # stands for what Arrow cannot express, and is not numeric


def projected(X: Any, names: Sequence[str]) -> Any:
    """The query for these columns alone; a Scanner's were chosen when it was made."""
    if _is_lazy(X):
        return X.select(list(names))
    if _is_relation(X):
        from ..export.sql import DUCKDB

        return X.project(", ".join(map(DUCKDB.quote, names)))
    if _dask.is_dask(X):
        return X[list(names)]
    return X if _is_scanner(X) else X.scanner(columns=list(names), **SCAN)


def columns_of(schema: pa.Schema, features: Sequence[str]) -> list[str]:
    """The columns of a table that hold these features, which may lie inside of them (``position.x``)."""
    return [name for name in schema.names if any(_lies_in(feature, name, schema) for feature in features)]


def _lies_in(feature: str, column: str, schema: pa.Schema) -> bool:
    return feature == column or (feature not in schema.names and feature.startswith((f"{column}.", f"{column}[")))


def batches(X: Any) -> Iterator[Any]:
    """The rows, as tables of some library: no more of them at a time than the query's own engine holds."""
    if _dask.is_dask(X):
        return _dask.partitions(X)
    if not _is_lazy(X):
        return _read(X)
    if hasattr(X, "collect_batches"):
        return iter(X.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, lazy=True, engine="streaming"))
    return iter([X.collect(engine="streaming")])


def _read(X: Any) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader(X)
    except pa.ArrowInvalid as error:
        if "already scanned" not in str(error):
            raise
        raise DataError(
            "this Scanner was made from batches that can be read only once: give the batches again, or a table"
        ) from None


def reader(X: Any) -> pa.RecordBatchReader:
    """The rows as record batches, from the beginning."""
    if _is_relation(X):
        return _relation_reader(X)
    if _dask.is_dask(X):
        return _dask.reader(X)
    if _is_scanner(X):
        return X.to_reader()
    if _is_lazy(X):
        schema = schema_of(X)
        tables = (frame.to_arrow(compat_level=_newest()) for frame in batches(X))
        pieces = (batch for table in tables for batch in table.cast(schema).to_batches())
        return pa.RecordBatchReader.from_batches(schema, pieces)
    return X.scanner(**SCAN).to_reader()


def _newest() -> Any:
    """Views of strings as they are, as the capsule of a Series has them."""
    return sys.modules["polars"].CompatLevel.newest()


def _relation_reader(X: Any) -> pa.RecordBatchReader:
    """A relation run anew, its result streamed; the relation's own stream would hold all of it."""
    fresh = X.project("*")
    run = getattr(fresh, "to_arrow_reader", None) or fresh.fetch_record_batch
    return run(BATCH_ROWS)


Mapped = Callable[[Any, list[str]], Any]


def mapped(X: Any, schema: pa.Schema, maps: Mapping[str, Any], mapped: Mapped, inverse: bool) -> Any:
    """The query with these columns normalized; None where it cannot be put as one.

    ``mapped(frame, features)`` does it to a frame of the columns that hold these features.
    """
    if _is_lazy(X):
        return _mapped_lazily(X, schema, list(maps), mapped)
    if _dask.is_dask(X):
        return _dask.mapped(X, lambda frame: mapped(frame, list(maps)))
    return _mapped_in_sql(X, schema, maps, inverse) if _is_relation(X) else None


def _mapped_lazily(X: Any, schema: pa.Schema, names: Sequence[str], mapped: Mapped) -> Any:
    polars = sys.modules["polars"]
    types = X.collect_schema()
    expressions = []
    for column in columns_of(schema, names):
        features = [name for name in names if _lies_in(name, column, schema)]

        def change(series: Any, column: str = column, features: list[str] = features) -> Any:
            return mapped(series.to_frame(column), features).to_series(0)

        kind = change(polars.Series(column, [], dtype=types[column])).dtype
        expressions.append(polars.col(column).map_batches(change, return_dtype=kind, is_elementwise=True))
    return X.with_columns(expressions)


def _mapped_in_sql(X: Any, schema: pa.Schema, maps: Mapping[str, Any], inverse: bool) -> Any:
    from ..export._affine import AffineMap, MappedColumn
    from ..export.sql import DUCKDB, mapped

    if not set(maps) <= set(schema.names):
        return None
    expressions = []
    for field in schema:
        name = DUCKDB.quote(field.name)
        if field.name in maps:
            m = maps[field.name]
            if not _is_number(field.type) or m.blank or not isinstance(m, AffineMap):
                return None
            kind = "decimal" if pa.types.is_decimal(field.type) else None
            y = mapped(MappedColumn(field.name, kind, m), name, DUCKDB, inverse)
            expressions.append(f"CAST({y} AS FLOAT) AS {name}" if field.type == pa.float32() else f"{y} AS {name}")
        else:
            expressions.append(name)
    return X.project(", ".join(expressions))


def _is_number(kind: pa.DataType) -> bool:
    of = pa.types
    return of.is_integer(kind) or of.is_floating(kind) or of.is_boolean(kind) or of.is_decimal(kind)
