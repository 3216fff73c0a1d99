"""Expressions of polars (eager, lazy) and Arrow (scans) give the doubles of `transform`, and so does their source."""

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SCALERS, check, fitted, hostile_table, many_digits

import streamnorm as sn
from streamnorm.export import polars, pyarrow, to_polars, to_pyarrow


def compare_polars(table, scaler, expected, inverse):
    frame = pl.from_arrow(table)
    found = frame.with_columns(to_polars(scaler, inverse=inverse))
    assert found.columns == frame.columns
    check(expected, found.to_dict(as_series=False), polars.ULPS)
    lazy = frame.lazy().select(to_polars(scaler, inverse=inverse)).collect()
    assert all(lazy[name].equals(found[name], null_equal=True) for name in lazy.columns)
    scope = {}
    exec(polars.polars_source(scaler, inverse=inverse), scope)
    assert frame.select(scope["columns"]).equals(lazy)


def compare_pyarrow(table, scaler, expected, inverse):
    found = ds.dataset(table).to_table(columns=to_pyarrow(scaler, inverse=inverse))
    assert found.schema.types == [pa.float64()] * len(scaler.summary_)
    check(expected, found.to_pydict(), pyarrow.ULPS)
    scope = {}
    exec(pyarrow.pyarrow_source(scaler, inverse=inverse), scope)
    again = ds.dataset(table).to_table(columns=scope["columns"])
    check(found, again.to_pydict(), 0)


KINDS = {"polars": compare_polars, "pyarrow": compare_pyarrow}
each_kind = pytest.mark.parametrize("kind", KINDS)


def compare(kind, table, scaler, *, inverse=False):
    mapped = scaler.inverse_transform(table) if inverse else scaler.transform(table)
    KINDS[kind](table, scaler, mapped.select(list(scaler.summary_)), inverse)


@each_kind
@pytest.mark.parametrize("name", SCALERS)
def test_the_same_doubles_as_transform(kind, name):
    compare(kind, hostile_table(), fitted(name))


@each_kind
@pytest.mark.parametrize("name", ["standard", "minmax_clip", "robust", "columns"])
def test_the_same_doubles_as_the_inverse(kind, name):
    scaler = fitted(name)
    compare(kind, scaler.transform(hostile_table()), scaler, inverse=True)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@each_kind
@given(mean=numbers, scale=numbers.filter(bool), values=st.lists(st.none() | st.floats(), min_size=1, max_size=5))
def test_any_numbers(kind, mean, scale, values):
    scaler = sn.StandardScaler.from_statistics([mean], [scale], columns=["x"])
    compare(kind, pa.table({"x": pa.array(values, pa.float64())}), scaler)


@each_kind
@pytest.mark.parametrize("scale", [0, 5, 20])
def test_decimals_of_many_digits(kind, scale):
    table = many_digits(scale)
    compare(kind, table, sn.MaxAbsScaler().fit(table))


@each_kind
def test_clipping_keeps_nan_and_brings_infinity_in(kind):
    scaler = sn.MinMaxScaler(clip=True).fit(pa.table({"x": [0.0, 2.0]}))
    compare(kind, pa.table({"x": [float("nan"), float("inf"), -float("inf"), None, 1.0]}), scaler)


def test_a_scan_of_files_keeps_other_columns(tmp_path):
    table = hostile_table().append_column("id", pa.array(range(60)))
    pq.write_table(table, tmp_path / "trips.parquet")
    scaler = sn.RobustScaler().fit(table, columns="plain")
    found = ds.dataset(tmp_path).to_table(columns={"id": pc.field("id"), **to_pyarrow(scaler)})
    assert found["id"].to_pylist() == list(range(60))
    check(scaler.transform(table).select(["plain"]), found.to_pydict(), pyarrow.ULPS)


@pytest.mark.parametrize(("export", "title"), [(to_polars, "polars"), (to_pyarrow, "Arrow")])
def test_positions_have_no_expressions(export, title):
    with pytest.raises(sn.StreamnormError, match=f"{title} finds columns by name"):
        export(sn.StandardScaler().fit([[1.0], [2.0]]))
