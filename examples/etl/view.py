"""A view in DuckDB that normalizes when it is read, and rewrites nothing: ``python view.py trips.parquet t.duckdb``.

The view holds the numbers of the fit and computes with them, in the order of the scaler, so that what it shows are the
very doubles of ``transform``. A new fit is a new view under the same name, in one transaction: who reads sees the old
one or the new one.
"""

from __future__ import annotations

import sys
from typing import Any

import duckdb
import pyarrow.parquet as pq

import streamnorm as sn
from streamnorm.export import to_sql


def create_view(file: str, connection: Any, view: str = "normalized", method: str = "robust") -> sn.ColumnScaler:
    """Fit a Parquet file, and make the view of it: all columns, those of numbers normalized."""
    schema = pq.read_schema(file)
    scaler = sn.fit(file, method)
    normalized = set(map(str, scaler.feature_names_in_))
    others = [name for name in schema.names if name not in normalized]
    statement = to_sql(scaler, file, view=view, passthrough=others, columns=schema)
    connection.execute("BEGIN")
    connection.execute(f'DROP VIEW IF EXISTS "{view}"')
    connection.execute(statement)
    connection.execute("COMMIT")
    return scaler


if __name__ == "__main__":
    with duckdb.connect(sys.argv[2]) as database:
        create_view(sys.argv[1], database)
        print(database.sql("SUMMARIZE normalized").project("column_name, min, max, avg, null_percentage"))
