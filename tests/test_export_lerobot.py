"""LeRobot's stats.json: what is written has its form, and what is read goes on."""

import json

import numpy as np
import pytest

import streamnorm as sn
from streamnorm.export import from_lerobot, to_lerobot
from streamnorm.export.lerobot import QUANTILES, RTOL

SEED = 20240501
X = np.random.default_rng(SEED).normal(size=(500, 3)) * [1, 1e-4, 50] + [0, 2, 1e4]


def test_a_standard_scaler_has_all_that_aggregation_needs(tmp_path):
    path = tmp_path / "stats.json"
    found = to_lerobot(sn.StandardScaler(ddof=1).fit(X), path, feature="action")
    assert json.loads(path.read_text()) == found
    assert list(found["action"]) == ["mean", "std", "min", "max", "count"]
    np.testing.assert_allclose(found["action"]["mean"], X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["action"]["std"], X.std(axis=0), rtol=1e-12)
    assert found["action"]["min"] == X.min(axis=0).tolist()
    assert found["action"]["count"] == [500]


def test_a_robust_scaler_has_quantiles():
    found = to_lerobot(sn.RobustScaler().fit(X))["observation.state"]
    assert found.keys() == {"min", "max", "count", *QUANTILES}
    np.testing.assert_allclose(found["q90"], np.quantile(X, 0.9, axis=0))


def test_other_features_of_the_file_stay(tmp_path):
    path = tmp_path / "stats.json"
    image = {"mean": [[[0.5]], [[0.5]], [[0.5]]], "count": [100]}
    path.write_text(json.dumps({"observation.images.top": image, "action": {"mean": [0.0]}, "odd": {"std": [np.nan]}}))
    to_lerobot(sn.MinMaxScaler().fit(X), path, feature="action")
    written = json.loads(path.read_text())
    assert written["observation.images.top"] == image
    assert np.isnan(written["odd"]["std"][0])
    assert written["action"].keys() == {"min", "max", "count"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["stats.json"]


def test_what_the_form_cannot_say():
    with pytest.raises(sn.StreamnormError, match="from 1 to 2 values"):
        to_lerobot(sn.StandardScaler().fit([[1.0, 2.0], [3.0, np.nan]]))
    with pytest.raises(sn.StreamnormError, match="column 1 has no values"):
        to_lerobot(sn.StandardScaler().fit([[1.0, np.nan], [3.0, np.nan]]))
    with pytest.raises(sn.StreamnormError, match="none of these pairs"):
        to_lerobot(sn.StandardScaler.from_statistics([1.0], [-2.0]))
    with pytest.raises(sn.NotFittedError):
        to_lerobot(sn.StandardScaler())


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_there_and_back_and_on(tmp_path, method):
    path = tmp_path / "stats.json"
    to_lerobot(sn.StandardScaler().fit(X[:300]), path, feature="action")
    scaler = from_lerobot(path, "action", method=method)
    whole = (sn.StandardScaler() if method == "standard" else sn.MinMaxScaler((-1, 1))).fit(X)
    first = type(whole)(**whole.get_params()).fit(X[:300])
    np.testing.assert_allclose(scaler.transform(X), first.transform(X), rtol=10 * RTOL, atol=RTOL)
    scaler.save(tmp_path / "state.json")
    rest = type(first)(**first.get_params()).fit(X[300:])
    for grown in (sn.load(tmp_path / "state.json") + rest, scaler.partial_fit(X[300:])):
        assert grown.n_samples_seen_ == 500
        np.testing.assert_allclose(grown.scale_, whole.scale_, rtol=1e-12)
        assert grown.summary_[2].max == X[:, 2].max()


def test_images_have_one_number_a_channel():
    stats = {"cam": {"mean": [[[0.4]], [[0.5]], [[0.6]]], "std": np.full((3, 1, 1), 0.5), "count": np.array([9])}}
    scaler = from_lerobot(stats, "cam")
    np.testing.assert_array_equal(scaler.mean_, [0.4, 0.5, 0.6])
    with pytest.raises(sn.StatisticNotCollected):
        _ = scaler.summary_[0].min


def test_given_statistics_have_no_count():
    found = to_lerobot(sn.StandardScaler.from_statistics([1.0], [2.0]), feature="a")
    assert found == {"a": {"mean": [1.0], "std": [2.0]}}


def test_without_a_count_nothing_is_added():
    scaler = from_lerobot({"a": {"mean": [1.0, 2.0], "std": [2.0, 0.0]}}, "a")
    assert scaler.transform([[3.0, 3.0]]).tolist() == [[1.0, 1.0]]
    with pytest.raises(sn.NotMergeableError):
        scaler.partial_fit([[3.0, 3.0]])


BAD = {
    "there is no feature 'a': did you mean 'aa'": {"aa": {}},
    "has no 'std'": {"a": {"mean": [1.0]}},
    "different lengths": {"a": {"mean": [1.0, 2.0], "std": [1.0]}},
    "negative": {"a": {"mean": [1.0], "std": [-1.0]}},
    "beyond any data": {"a": {"mean": [1.0], "std": [1e200]}},
    "no list of numbers": {"a": {"mean": ["x"], "std": [1.0]}},
    "not finite": {"a": {"mean": [float("nan")], "std": [1.0]}},
    "count of": {"a": {"mean": [1.0], "std": [1.0], "count": [0]}},
    "above its max": {"a": {"mean": [1.0], "std": [1.0], "count": [3], "min": [2.0], "max": [1.0]}},
    "is not an object of statistics": {"a": 3},
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_statistics(message):
    with pytest.raises(sn.DataError, match=message):
        from_lerobot(BAD[message], "a")


def test_what_is_no_file(tmp_path):
    with pytest.raises(sn.DataError, match="none.json: cannot be read"):
        from_lerobot(tmp_path / "none.json", "a")
    for text in ("{", "[]", "[" * 100_000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(sn.DataError, match="bad.json: is not"):
            from_lerobot(tmp_path / "bad.json", "a")
        with pytest.raises(sn.DataError, match="bad.json: is not"):
            to_lerobot(sn.StandardScaler().fit(X), tmp_path / "bad.json")
        assert (tmp_path / "bad.json").read_text() == text
    with pytest.raises(ValueError, match="method must be"):
        from_lerobot({}, "a", method="robust")
    with pytest.raises(sn.DataError, match="has no 'count'"):
        from_lerobot({"a": {"min": [0.0], "max": [1.0]}}, "a", method="minmax")
