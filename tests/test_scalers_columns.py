"""ColumnScaler: a method for each column."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import bits, same

from streamnorm import errors, state
from streamnorm.errors import DataError, NotMergeableError
from streamnorm.scalers import (
    ColumnScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_each_column_by_its_own_method(table):
    scaler = ColumnScaler(
        {"fare": "robust", ("stops", "price"): MinMaxScaler((0, 10), clip=True), "late": "standard"}
    )
    scaler.fit(table)
    assert list(scaler.summary_) == ["fare", "late", "stops", "price"] == list(scaler.feature_names_in_)
    result = scaler.transform(table)
    for names, own in (
        (["fare"], RobustScaler()),
        (["stops", "price"], MinMaxScaler((0, 10), clip=True)),
        (["late"], StandardScaler()),
    ):
        expected = own.fit(table, columns=names).transform(table)
        for name in names:
            assert result[name].equals(expected[name])
    assert result["id"].equals(table["id"]) and result["day"].equals(table["day"])
    assert type(scaler.transformers_["fare"]) is RobustScaler and scaler.transformers_["fare"].center_ == [
        2.0
    ]
    assert scaler.transformers_["stops", "price"].data_max_ == pytest.approx([3.0, 5.5])
    assert scaler.inverse_transform(result)["stops"].to_pylist() == [3.0, 1.0, 2.0, None]
    with pytest.raises(errors.StatisticNotCollected):
        _ = scaler.summary_["fare"].mean


def test_the_remainder(table):
    scaler = ColumnScaler({"fare": "minmax"}, remainder="maxabs").fit(table, exclude="stops")
    assert list(scaler.summary_) == ["fare", "price"] and list(scaler.transformers_) == ["fare", "remainder"]
    only = ColumnScaler({"fare": "minmax"}, remainder="maxabs").fit(table.select(["fare", "id"]))
    assert list(only.summary_) == ["fare"] and list(only.transformers_) == ["fare"]


def test_column_scaler_over_arrays(X):
    scaler = ColumnScaler({0: "standard", (2, 3): "minmax"})
    Y = scaler.fit_transform(X)
    assert same(Y[:, [1, 4]], X[:, [1, 4]]) and same(Y[:, 0], StandardScaler().fit_transform(X)[:, 0])
    np.testing.assert_allclose(scaler.inverse_transform(Y), X, rtol=1e-12)
    assert list(scaler.summary_) == [0, 2, 3]
    assert same(state.loads(state.dumps(scaler)).transform(X), Y)
    with pytest.raises(DataError, match="X has 2 features, but ColumnScaler is expecting 4"):
        scaler.transform(X[:, :2])
    with pytest.raises(DataError, match="fitted on positions"):
        scaler.transform(pa.table({"a": [1.0]}))
    with pytest.raises(DataError, match="fitted on named columns"):
        ColumnScaler({"a": "standard"}).fit(pa.table({"a": [1.0]})).transform([[1.0]])


def test_column_scaler_streams_and_merges(table):
    make = lambda: ColumnScaler({"fare": "robust", "stops": "standard"}, remainder=MinMaxScaler())  # noqa: E731
    whole = make().fit(table)
    parts = make()
    for batch in table.to_batches(max_chunksize=1):
        parts.partial_fit(batch)
    assert bits(parts) == bits(whole)
    merged = make().fit(table.slice(0, 2)) + make().fit(table.slice(2))
    assert merged.transform(table)["fare"].equals(whole.transform(table)["fare"])
    with pytest.raises(NotMergeableError, match="column 'price' has different methods"):
        whole.merge(ColumnScaler({"fare": "robust", "stops": "standard"}, "maxabs").fit(table))
    with pytest.raises(NotMergeableError, match="column 'price' has different methods"):
        ColumnScaler({"fare": "robust", "stops": "standard"}).fit(table).merge(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"fare": "zscore"},), "must be one of 'standard', 'minmax', 'maxabs', 'robust', or a scaler"),
        (({"fare": ColumnScaler({})},), "a scaler of one column"),
        (({"fare": "robust", ("fare", "stops"): "minmax"},), "column 'fare' is given two methods"),
        (({1.5: "robust"},), "by its name or its position"),
        (({"fare": MinMaxScaler((1, 0))},), "Minimum of desired feature range"),
        ((["fare"],), "transformers must map"),
        (({}, "drop"), "must be one of"),
        (({"fair": "robust"},), "did you mean 'fare'"),
        (({"id": "robust"},), "column 'id' holds string"),
        (({},), "no column to normalize"),
    ],
)
def test_column_scalers_that_make_no_sense(arguments, message, table):
    with pytest.raises(ValueError, match=message):
        ColumnScaler(*arguments).fit(table)


def test_a_column_cannot_be_excluded_and_have_a_method(table):
    with pytest.raises(DataError, match="decide for one"):
        ColumnScaler({"fare": "robust"}).fit(table, exclude=["fare"])


def test_nested_parameters():
    scaler = ColumnScaler({"fare": MinMaxScaler()}, remainder=RobustScaler())
    assert scaler.get_params()["fare__clip"] is False
    scaler.set_params(fare__feature_range=(0, 9), remainder__unit_variance=True)
    assert scaler.transformers["fare"].feature_range == (0, 9) and scaler.remainder.unit_variance
    with pytest.raises(ValueError, match="Invalid parameter 'fare__nothing__x'"):
        scaler.set_params(fare__nothing__x=1)
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        scaler.set_params(fare__nothing=1)


@pytest.mark.parametrize("remainder", ["passthrough", "maxabs"])
def test_a_column_may_be_called_remainder(remainder):
    table = pa.table({"remainder": [1.0, 2.0, 5.0], "fare": [4.0, 5.0, 8.0]})
    scaler = ColumnScaler({"remainder": "minmax"}, remainder=remainder).fit(table)
    out = scaler.transform(table)
    assert out["remainder"].to_pylist() == [0.0, 0.25, 1.0]
    assert out["fare"].to_pylist() == [4.0, 5.0, 8.0] if remainder == "passthrough" else [0.5, 0.625, 1.0]
    assert state.loads(state.dumps(scaler)).digest() == scaler.digest()
