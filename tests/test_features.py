"""Feature maps: scaled numbers, imputed values with their indicators, and strings hashed the same everywhere."""

import json
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import streamnorm as sn
from streamnorm._rows import hash_strings
from streamnorm.errors import DataError, StateError
from streamnorm.features import FeatureMap, bucket_numbers
from streamnorm.reference import batches as twins

# FNV-1a of "", "a" and "foobar" as its authors publish them, before the finalizer.
FNV = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}
# Buckets of a thousand, fixed for ever: models that were saved hold weights for them.
BUCKETS = {"JFK": 378, "LGA": 173, "": 957, "é": 138, "N14228": 462}


@pytest.fixture
def table():
    return pa.table(
        {
            "fare": [2.0, None, 4.0, float("nan")],
            "stops": pa.array([1, 2, 3, 4], pa.int8()),
            "zone": ["a", None, "b", "a"],
        }
    )


def test_the_hash_is_fnv_1a_with_a_finalizer():
    assert hash_strings(pa.array(list(FNV))).tolist() == [twins.mix(h) for h in FNV.values()]


def test_buckets_never_change():
    found = bucket_numbers(pa.array(list(BUCKETS)), 1000)
    assert dict(zip(BUCKETS, found.tolist(), strict=True)) == BUCKETS


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int8(), pa.string())]
)
def test_a_string_has_one_bucket_whatever_its_type(kind):
    values = ["JFK", None, "", "LGA", "JFK", "ü" * 100]
    plain = pa.array(values)
    expected = bucket_numbers(plain, 50).tolist()
    array = plain.cast(pa.binary()).cast(kind) if "binary" in str(kind) else plain.cast(kind)
    assert bucket_numbers(array, 50).tolist() == expected
    assert bucket_numbers(array.slice(2), 50).tolist() == expected[2:]
    assert expected[1] == 0 and min(expected[:1] + expected[2:]) > 0
    if not pa.types.is_dictionary(kind):
        assert hash_strings(array).tolist() == twins.hash_strings(array).tolist()


def test_numbers_and_booleans_are_hashed_as_they_are_written():
    assert bucket_numbers(pa.array([12, None]), 99).tolist() == bucket_numbers(pa.array(["12", None]), 99).tolist()
    assert bucket_numbers(pa.array([True]), 99) == bucket_numbers(pa.array(["true"]), 99)
    nulls = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([None, "x"]))
    assert bucket_numbers(nulls, 99).tolist() == [0, bucket_numbers(pa.array(["x"]), 99)[0], 0]
    assert bucket_numbers(pa.array([None, None]), 99).tolist() == [0, 0]
    empty = pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), pa.array([], pa.string()))
    assert bucket_numbers(empty, 99).tolist() == [0]


def test_buckets_are_the_same_in_another_process():
    code = "import pyarrow as pa, streamnorm.features as f; print(f.bucket_numbers(pa.array(['x', 'yz']), 7))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **extra}
        ).stdout
        for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert runs == {f"{bucket_numbers(pa.array(['x', 'yz']), 7)}\n"}


def test_many_strings_fill_all_buckets_evenly():
    buckets, n = 101, 100_000
    counts = np.bincount(bucket_numbers(pa.array([f"N{i}" for i in range(n)]), buckets), minlength=buckets)
    assert counts[0] == 0 and len(counts) == buckets
    expected = n / (buckets - 1)
    chi_square = ((counts[1:] - expected) ** 2 / expected).sum()
    assert chi_square < 160  # 99 degrees of freedom: 0.01 % of samples are above


def test_numbers_indicators_and_buckets_lie_side_by_side(table):
    scaler = sn.StandardScaler().fit(table)
    features = FeatureMap(scaler, impute=True, embed="zone", buckets=30)
    assert features.feature_names == ["fare", "stops", "fare is missing", "zone"]
    X = features.matrix(table)
    a, b = bucket_numbers(pa.array(["a", "b"]), 30)
    assert X.dtype == np.float32 and X.flags.c_contiguous
    assert X[:, 0].tolist() == [-1, 0, 1, 0] and X[:, 2].tolist() == [0, 1, 0, 1]
    assert X[:, 3].tolist() == [a, 0, b, a]
    np.testing.assert_array_equal(X[:, 1], scaler.transform(table)["stops"].to_numpy().astype(np.float32))


@pytest.mark.parametrize(
    ("scaler", "center"),
    [
        (sn.StandardScaler(), 3.0),
        (sn.StandardScaler(with_mean=False), 3.0),
        (sn.RobustScaler(), 2.0),
        (sn.RobustScaler(with_centering=False, exact=True, quantile_range=(25.0, 50.0)), 2.0),
        (sn.MinMaxScaler((-1, 1)), 4.0),
        (sn.MaxAbsScaler(), 4.0),
    ],
)
def test_missing_values_become_the_center(scaler, center):
    table = pa.table({"x": [1.0, 2.0, 2.0, None, 3.0, 7.0]})
    center_of = sn.fit(table, scaler).transform(pa.table({"x": [center]}))["x"][0].as_py()
    X = FeatureMap(scaler, impute=True, dtype=np.float64).matrix(table)
    assert X[3].tolist() == [pytest.approx(center_of, abs=1e-15), 1.0]


def test_columns_of_decimals_nulls_and_given_statistics_have_a_center():
    prices = pa.table({"p": pa.array([Decimal("1.00"), None, Decimal("3.00")])})
    X = FeatureMap(sn.MinMaxScaler().fit(prices), impute=True).matrix(prices)
    assert X.tolist() == [[0, 0], [0.5, 1], [1, 0]]
    nothing = pa.table({"x": pa.array([None, None], pa.float64()), "z": [1.0, 2.0]})
    X = FeatureMap(sn.StandardScaler().fit(nothing), impute=True).matrix(nothing)
    assert X.tolist() == [[0, -1, 1], [0, 1, 1]]
    given = sn.StandardScaler.from_statistics([5.0], [2.0], columns=["x"])
    assert FeatureMap(given, impute=True).matrix(pa.table({"x": [7.0, None]})).tolist() == [[1], [0]]


def test_a_missing_value_is_an_error_unless_asked_for(table):
    scaler = sn.StandardScaler().fit(table)
    with pytest.raises(DataError, match="column 'fare' has a missing value") as caught:
        FeatureMap(scaler).matrix(table)
    assert caught.value.column == "fare"
    kept = FeatureMap(scaler, keep_missing=True).matrix(table)
    assert np.isnan(kept[[1, 3], 0]).all() and np.isnan(kept).sum() == 2
    later = pa.table({"fare": [1.0], "stops": pa.array([None], pa.int8())})  # complete when it was fitted
    assert FeatureMap(scaler, impute=True).matrix(later)[0, 1] == 0


@pytest.mark.parametrize("kind", ["batch", "chunked", "pandas", "polars", "shuffled", "array"])
def test_tables_of_all_kinds_give_the_same_rows(kind):
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=50), "b": rng.integers(0, 9, 50), "more": ["x"] * 50})
    features = FeatureMap(sn.StandardScaler().fit(table))
    made = {
        "batch": lambda: table.to_batches()[0],
        "chunked": lambda: pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)]),
        "pandas": lambda: table.to_pandas(),
        "polars": lambda: pytest.importorskip("polars").from_arrow(table),
        "shuffled": lambda: table.select(["more", "b", "a"]),
        "array": lambda: np.column_stack([table["a"], table["b"]]),
    }[kind]()
    out = np.empty((50, 2), np.float32)
    assert features.matrix(made, out) is out
    assert out.tobytes() == features.matrix(table).tobytes()
    assert features.matrix(table.slice(0, 0)).shape == (0, 2)


def test_what_cannot_be_taken_is_refused(table):
    scaler = sn.StandardScaler().fit(table)
    with pytest.raises(DataError, match="did you mean|there are"):
        FeatureMap(scaler).matrix(table.drop_columns(["stops"]))
    with pytest.raises(DataError, match="2 features"):
        FeatureMap(scaler).matrix(np.zeros((2, 3)))
    with pytest.raises(DataError, match="holds list"):
        FeatureMap(scaler, embed="zone").matrix(table.set_column(2, "zone", pa.array([[1]] * 4)))
    with pytest.raises(DataError, match="no strings to embed"):
        FeatureMap(scaler, embed="zone").matrix(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="taken once"):
        FeatureMap(scaler, ["fare"], embed="fare")
    with pytest.raises(ValueError, match="impute needs"):
        FeatureMap(scaler, ["fare", "zone"], impute=True)
    with pytest.raises(ValueError, match="buckets"):
        FeatureMap(scaler, buckets=1)
    with pytest.raises(ValueError, match="name the columns"):
        FeatureMap()
    with pytest.raises(ValueError, match="C-contiguous"):
        FeatureMap(scaler).matrix(table, np.empty((4, 9), np.float32))


def test_the_state_travels_as_json(table):
    features = FeatureMap(
        sn.MinMaxScaler(clip=True).fit(table), impute=True, embed="zone", buckets=77, dtype=np.float64
    )
    again = FeatureMap.from_json(features.to_json())
    assert again.to_dict() == features.to_dict() == json.loads(features.to_json())
    assert again.feature_names == features.feature_names and again.dtype == np.float64
    assert again.matrix(table).tobytes() == features.matrix(table).tobytes()
    beyond = pa.table({"fare": [-100.0, 100.0], "stops": [1, 2], "zone": ["q", "r"]})
    assert again.matrix(beyond)[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "x"},
        {"columns": [{"name": "a"}]},
        {"buckets": 0},
        {"dtype": "int8"},
        {"embed": ["fare"]},
    ],
)
def test_a_state_that_is_none_is_refused(change, table):
    state = FeatureMap(sn.StandardScaler().fit(table)).to_dict()
    with pytest.raises(StateError):
        FeatureMap.from_dict(state | change)
    with pytest.raises(StateError):
        FeatureMap.from_dict({key: state[key] for key in state if key not in change})
    with pytest.raises(StateError):
        FeatureMap.from_json("{")
