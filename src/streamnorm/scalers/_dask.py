"""Dask's data frames: partitions of pandas, computed one after the other, and mapped lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa


def is_dask(X: Any) -> bool:
    """Whether X is such a frame, without importing Dask to find out."""
    return type(X).__name__ == "DataFrame" and type(X).__module__.startswith("dask.dataframe")


def schema_of(X: Any) -> pa.Schema:
    """The columns that its partitions have, as far as Dask knows beforehand; objects are not numeric."""
    types = {name: X._meta[name] for name in X.columns}
    return pa.schema([(name, pa.binary() if c.dtype == object else pa.array(c).type) for name, c in types.items()])


def partitions(X: Any) -> Iterator[Any]:
    """Frames of pandas, of which one is held."""
    for i in range(X.npartitions):
        yield X.partitions[i].compute()


def reader(X: Any) -> pa.RecordBatchReader:
    """The rows as record batches, whose types are those of the first partition."""
    tables = (pa.Table.from_pandas(part, preserve_index=False) for part in partitions(X))
    first = next(tables)
    schema = first.schema.remove_metadata()
    batches = (batch for table in chain([first], tables) for batch in table.cast(schema).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)


def mapped(X: Any, change: Callable[[Any], Any]) -> Any:
    """The frame with a function of pandas' frames to be called for each partition."""
    return X.map_partitions(change, meta=change(X._meta))
