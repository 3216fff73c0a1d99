"""Arrow's expressions give the doubles of `transform`, in scans of data sets and as source."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SCALERS, check, fitted, hostile_table, many_digits

import streamnorm as sn
from streamnorm.export import to_pyarrow
from streamnorm.export.pyarrow import ULPS, pyarrow_source


def compare(table, scaler, *, inverse=False):
    mapped = scaler.inverse_transform(table) if inverse else scaler.transform(table)
    expected = mapped.select(list(scaler.summary_))
    found = ds.dataset(table).to_table(columns=to_pyarrow(scaler, inverse=inverse))
    assert found.schema.types == [pa.float64()] * len(scaler.summary_)
    check(expected, found.to_pydict(), ULPS)
    scope = {}
    exec(pyarrow_source(scaler, inverse=inverse), scope)
    again = ds.dataset(table).to_table(columns=scope["columns"])
    check(found, again.to_pydict(), 0)


@pytest.mark.parametrize("name", SCALERS)
def test_the_same_doubles_as_transform(name):
    compare(hostile_table(), fitted(name))


@pytest.mark.parametrize("name", ["standard", "minmax_clip", "robust", "columns"])
def test_the_same_doubles_as_the_inverse(name):
    scaler = fitted(name)
    compare(scaler.transform(hostile_table()), scaler, inverse=True)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(mean=numbers, scale=numbers.filter(bool), values=st.lists(st.none() | st.floats(), min_size=1, max_size=5))
def test_any_numbers(mean, scale, values):
    scaler = sn.StandardScaler.from_statistics([mean], [scale], columns=["x"])
    compare(pa.table({"x": pa.array(values, pa.float64())}), scaler)


@pytest.mark.parametrize("scale", [0, 5, 20])
def test_decimals_of_many_digits(scale):
    table = many_digits(scale)
    compare(table, sn.MaxAbsScaler().fit(table))


def test_clipping_keeps_nan_and_brings_infinity_in():
    scaler = sn.MinMaxScaler(clip=True).fit(pa.table({"x": [0.0, 2.0]}))
    compare(pa.table({"x": [float("nan"), float("inf"), -float("inf"), None, 1.0]}), scaler)


def test_a_scan_of_files_keeps_other_columns(tmp_path):
    table = hostile_table().append_column("id", pa.array(range(60)))
    pq.write_table(table, tmp_path / "trips.parquet")
    scaler = sn.RobustScaler().fit(table, columns="plain")
    found = ds.dataset(tmp_path).to_table(columns={"id": pc.field("id"), **to_pyarrow(scaler)})
    assert found["id"].to_pylist() == list(range(60))
    check(scaler.transform(table).select(["plain"]), found.to_pydict(), ULPS)


def test_positions_have_no_expressions():
    with pytest.raises(sn.StreamnormError, match="Arrow finds columns by name"):
        to_pyarrow(sn.StandardScaler().fit([[1.0], [2.0]]))
