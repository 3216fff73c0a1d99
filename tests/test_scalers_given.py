"""Scalers made from a mean and a scale that are known already."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm import state
from streamnorm.documents import digest_of

MEAN = [10.0, -2.5, 1e17]
SCALE = [2.0, -0.1, 3.0]  # one negative, and one that beside its mean would count as constant in data


@pytest.fixture
def scaler():
    return sn.StandardScaler.from_statistics(MEAN, SCALE)


@pytest.fixture
def X():
    return np.array(MEAN) + np.array([[4.0, 1.0, 48.0], [np.nan, -1.0, -96.0]])


def test_transform_goes_by_what_was_given(scaler, X):
    np.testing.assert_array_equal(scaler.transform(X), (X - MEAN) / SCALE)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, rtol=1e-15)
    assert scaler.var_.tolist() == [4.0, 0.1 * 0.1, 9.0]
    assert scaler.n_samples_seen_ == 0 and scaler.n_features_in_ == 3


def test_it_travels(scaler, X, tmp_path):
    scaler.save(tmp_path / "state.json")
    loaded, pickled = sn.load(tmp_path / "state.json"), pickle.loads(pickle.dumps(scaler))
    for other in (loaded, pickled):
        np.testing.assert_array_equal(other.transform(X), scaler.transform(X))
        assert other.digest() == scaler.digest() and state.dumps(other) == state.dumps(scaler)
    assert scaler.digest() != sn.StandardScaler.from_statistics(MEAN, [2.0, 0.1, 3.0]).digest()
    described = sn.inspect(tmp_path / "state.json")["columns"][1]
    assert (described["count"], described["center"], described["scale"]) == (0, -2.5, -0.1)
    assert described["warnings"] == [] and "mean" not in described


def test_named_columns_are_found_in_tables_and_files(tmp_path):
    scaler = sn.StandardScaler.from_statistics([1.0, 2.0], [10.0, -4.0], columns=["b", "a"])
    table = pa.table({"id": ["x", "y"], "a": [2.0, 6.0], "b": [11.0, None]})
    wanted = {"id": ["x", "y"], "a": [0.0, -1.0], "b": [1.0, None]}
    assert scaler.transform(table).to_pydict() == wanted
    pq.write_table(table, tmp_path / "in.parquet")
    sn.transform(tmp_path / "in.parquet", tmp_path / "out.parquet", scaler)
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == wanted
    restored = tmp_path / "restored.parquet"
    sn.inverse(tmp_path / "out.parquet", restored)
    assert pq.read_table(restored).to_pydict() == table.to_pydict()
    # A reader of pages goes by the footer's minimum and maximum, which a negative scale swaps.
    footer = pq.read_metadata(tmp_path / "out.parquet").row_group(0).column(1).statistics
    assert (footer.min, footer.max) == (-1.0, 0.0)


def test_rows_cannot_be_added(scaler, X):
    fitted = sn.StandardScaler().fit(X)
    for attempt in (
        lambda: scaler.merge(fitted),
        lambda: fitted.merge(scaler),
        lambda: scaler + fitted,
        lambda: fitted + scaler,
        lambda: scaler - scaler,
        lambda: scaler.partial_fit(X),
        lambda: sn.merge([fitted, scaler]),
        lambda: fitted.summary_.merge(scaler.summary_),
    ):
        with pytest.raises(sn.NotMergeableError, match="made from given statistics.*fit one over"):
            attempt()
    assert scaler.mean_.tolist() == MEAN
    assert scaler.fit(X).summary_.rows == 2  # which starts afresh
    assert not scaler.summary_.given


def test_files_cannot_be_added(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0]}), path)
    with pytest.raises(sn.NotMergeableError, match="made from given statistics"):
        sn.fit(path, update=sn.StandardScaler.from_statistics([1.0], [2.0], columns=["a"]))


def test_there_are_no_statistics(scaler):
    column = scaler.summary_[1]
    assert column.count == 0 and column.min is None and column.given == (-2.5, -0.1)
    for ask in (lambda: column.mean, column.std, lambda: column.quantile(0.5)):
        with pytest.raises(sn.StatisticNotCollected, match="made from given statistics"):
            ask()
    assert "given mean=-2.5, scale=-0.1" in repr(scaler.summary_)


@pytest.mark.parametrize(
    ("mean", "scale", "columns", "error", "message"),
    [
        ([1.0, 2.0], [1.0], None, ValueError, r"shape \(2,\), scale \(1,\)"),
        (1.0, 1.0, None, ValueError, r"shape \(\)"),
        ([], [], None, ValueError, r"shape \(0,\)"),
        ([1.0, np.inf], [1.0, 1.0], None, ValueError, "mean is inf for column 1"),
        ([0.0, 1.0], [1.0, 0.0], None, ValueError, "scale is 0.0 for column 1"),
        ([0.0], [np.nan], None, ValueError, "scale is nan for column 0"),
        ([0.0, 1.0], [1.0, 1.0], ["a", "a"], ValueError, "2 names, each another"),
        ([0.0, 1.0], [1.0, 1.0], ["a"], ValueError, "2 names, each another"),
        ([0.0, 1.0], [1.0, 1.0], "ab", TypeError, "list of names"),
        ([0.0], [1.0], [0], TypeError, "list of names"),
    ],
)
def test_what_cannot_be_used_is_named(mean, scale, columns, error, message):
    with pytest.raises(error, match=message):
        sn.StandardScaler.from_statistics(mean, scale, columns=columns)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0], "not those of its scaler"),
        ([1.0, 0.0], "impossible mean or scale"),
        (["NaN", 1.0], "impossible mean or scale"),
        ([1, 1.0], "no float for 'given'"),
        ("x", "no 'given' of type list"),
    ],
)
def test_a_damaged_state_is_refused(scaler, given, message):
    content = json.loads(state.dumps(scaler))
    content["columns"][0]["given"] = given
    del content["digest"]
    content["digest"] = digest_of(content)
    with pytest.raises(sn.StateError, match=message):
        state.loads(json.dumps(content))


def test_other_scalers_have_no_given_statistics(scaler):
    content = json.loads(state.dumps(sn.MinMaxScaler().fit([[1.0]])))
    content["columns"] = json.loads(state.dumps(scaler))["columns"][:1]
    del content["digest"]
    content["digest"] = digest_of(content)
    with pytest.raises(sn.StateError, match="not those of its scaler"):
        state.loads(json.dumps(content))
