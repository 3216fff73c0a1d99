"""polars expressions give the doubles of `transform`, eagerly, lazily, and as source."""

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SCALERS, check, fitted, hostile_table, many_digits

import streamnorm as sn
from streamnorm.export import to_polars
from streamnorm.export.polars import ULPS, polars_source


def compare(table, scaler, *, inverse=False):
    mapped = scaler.inverse_transform(table) if inverse else scaler.transform(table)
    expected = mapped.select(list(scaler.summary_))
    frame = pl.from_arrow(table)
    found = frame.with_columns(to_polars(scaler, inverse=inverse))
    assert found.columns == frame.columns
    check(expected, found.to_dict(as_series=False), ULPS)
    lazy = frame.lazy().select(to_polars(scaler, inverse=inverse)).collect()
    assert all(lazy[name].equals(found[name], null_equal=True) for name in lazy.columns)
    scope = {}
    exec(polars_source(scaler, inverse=inverse), scope)
    assert frame.select(scope["columns"]).equals(lazy)


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


def test_positions_have_no_expressions():
    with pytest.raises(sn.StreamnormError, match="polars finds columns by name"):
        to_polars(sn.StandardScaler().fit([[1.0], [2.0]]))
