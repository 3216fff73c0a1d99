"""What scikit-learn's meta-estimators do with our scalers: weights that are routed, callbacks, pipelines, frames."""

import copy
import pickle

import numpy as np
import pyarrow as pa
import pytest
from conftest import same

import streamnorm as sn

sklearn = pytest.importorskip("sklearn", minversion="1.4")

from sklearn.base import clone  # noqa: E402
from sklearn.compose import ColumnTransformer, make_column_selector  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.utils.metadata_routing import get_routing_for_object  # noqa: E402

SCALERS = [sn.StandardScaler(), sn.MinMaxScaler(), sn.MaxAbsScaler(), sn.RobustScaler(), sn.ColumnScaler({}, "robust")]
RTOL = 1e-12  # a round trip, relative to the largest value


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def weights(X):
    return np.random.default_rng(3).integers(0, 4, len(X)).astype(float)


def requested(scaler, method):
    return getattr(get_routing_for_object(scaler), method).requests


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_requests_are_kept_by_clones_copies_and_pickles(scaler, routing, X):
    scaler = clone(scaler)
    assert requested(scaler, "fit") == requested(scaler, "partial_fit") == {"sample_weight": None}
    assert scaler.set_fit_request(sample_weight=True) is scaler
    scaler.set_partial_fit_request(sample_weight="rows")
    scaler.set_fit_request()
    fitted = clone(scaler).fit(X)
    for twin in (scaler, clone(scaler), copy.deepcopy(scaler), fitted, pickle.loads(pickle.dumps(fitted))):
        assert requested(twin, "fit") == {"sample_weight": True}
        assert requested(twin, "partial_fit") == {"sample_weight": "rows"}
    assert requested(clone(SCALERS[0]), "fit") == {"sample_weight": None}


def test_what_has_no_partial_fit_requests_nothing_for_it(routing):
    assert requested(sn.RobustScaler(exact=True), "partial_fit") == {}
    assert requested(sn.RobustScaler(exact=True), "fit") == {"sample_weight": None}


def test_a_request_needs_routing():
    with pytest.raises(RuntimeError, match="enable_metadata_routing=True"):
        sn.StandardScaler().set_fit_request(sample_weight=True)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_pipeline_routes_weights(wanted, routing, X, weights):
    scaler = sn.StandardScaler().set_fit_request(sample_weight=wanted)
    pipeline = Pipeline([("scale", scaler), ("ridge", Ridge().set_fit_request(sample_weight=True))])
    pipeline.fit(X, X[:, 0], sample_weight=weights)
    alone = sn.StandardScaler().fit(X, sample_weight=weights if wanted else None)
    assert pipeline["scale"].digest() == alone.digest()


def test_weights_that_nobody_asked_about_are_an_error(routing, X, weights):
    pipeline = Pipeline([("scale", sn.StandardScaler()), ("ridge", Ridge().set_fit_request(sample_weight=True))])
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        pipeline.fit(X, X[:, 0], sample_weight=weights)


def test_a_search_over_a_pipeline_routes_weights_and_sets_parameters(routing, X, weights):
    pipeline = Pipeline(
        [
            ("columns", sn.ColumnScaler({0: sn.MinMaxScaler()}, "robust").set_fit_request(sample_weight=True)),
            ("ridge", Ridge().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)),
        ]
    )
    search = GridSearchCV(pipeline, {"columns__remainder": ["standard", "robust"], "ridge__alpha": [0.1]}, cv=2)
    search.fit(X, X[:, 0], sample_weight=weights)
    assert search.best_score_ > 0.9
    assert search.best_estimator_["columns"].summary_[1].stats.weighted


def test_whether_there_is_a_partial_fit_is_told_truly(X):
    exact = sn.RobustScaler(exact=True)
    assert not hasattr(exact, "partial_fit") and hasattr(sn.RobustScaler(), "partial_fit")
    assert not hasattr(sn.ColumnScaler({0: exact}), "partial_fit")
    assert hasattr(sn.ColumnScaler({0: "robust"}), "partial_fit") and hasattr(sn.ColumnScaler(None), "partial_fit")
    with pytest.raises(sn.NotMergeableError, match="fit over all sources at once") as caught:
        exact.partial_fit(X)
    assert isinstance(caught.value, AttributeError)


class Watcher:
    """A callback of scikit-learn's protocol that notes what it hears."""

    def __init__(self):
        self.heard = []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append("begin")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator, metadata):
        self.heard.append(("end", fitted_estimator.n_features_in_, metadata))

    def teardown(self, estimator, context):
        self.heard.append("teardown")


def test_callbacks_hear_of_a_fit_and_of_one_that_fails(X):
    pytest.importorskip("sklearn.callback")
    watcher = Watcher()
    scaler = sn.MinMaxScaler().set_callbacks(watcher)
    scaler.fit(X)
    assert watcher.heard == ["setup", "begin", ("end", 5, {"sample_weight": None}), "teardown"]
    watcher.heard.clear()
    with pytest.raises(sn.DataError):
        scaler.partial_fit(X[:, :2])
    assert watcher.heard == ["setup", "begin", "teardown"]
    assert scaler.n_features_in_ == 5 and "_callback_fit_ctx" not in vars(scaler)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_transformer_with_frames(library, X):
    if library == "polars":
        pytest.importorskip("sklearn", minversion="1.6")  # 1.4 looks for pandas' index in a polars frame
    module = pytest.importorskip(library)
    frame = module.DataFrame({f"c{j}": X[:, j] for j in range(5)} | {"s": ["x", "y", "z"] * 332 + ["x"]})
    transformer = ColumnTransformer(
        [("robust", sn.RobustScaler(), ["c0", "c1"]), ("rest", sn.StandardScaler(), ["c2", "c3", "c4"])]
    ).set_output(transform=library)
    result = transformer.fit_transform(frame)
    assert isinstance(result, module.DataFrame)
    assert list(result.columns) == ["robust__c0", "robust__c1", "rest__c2", "rest__c3", "rest__c4"]
    assert same(np.asarray(result["robust__c1"]), sn.RobustScaler().fit_transform(X[:, :2])[:, 1])


def test_column_selector_of_pandas(X):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": X[:, 0], "s": "x"})
    transformer = ColumnTransformer([("scale", sn.MinMaxScaler(), make_column_selector(dtype_include="number"))])
    assert transformer.fit_transform(frame).shape == (len(X), 1)


def restored(result, X, j):
    np.testing.assert_allclose(np.asarray(result, float), X[:, j], rtol=0, atol=RTOL * np.abs(X[:, j]).max())


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_column_scaler_undoes_frames(kind, X):
    data = {f"c{j}": X[:, j] for j in range(5)} | {"s": ["x"] * len(X)}
    frame = pa.table(data) if kind == "arrow" else pytest.importorskip(kind).DataFrame(data)
    scaler = sn.ColumnScaler({"c0": "robust", ("c1", "c2"): sn.MinMaxScaler((-1, 1))}, remainder="standard")
    back = scaler.inverse_transform(scaler.fit_transform(frame))
    assert type(back) is type(frame)
    for j in range(5):
        restored(back[f"c{j}"], X, j)
    assert list(back["s"])[0] == "x" or back["s"][0].as_py() == "x"


def test_a_column_scaler_undoes_arrays(X):
    scaler = sn.ColumnScaler({3: "maxabs", (0, 2): "robust"}, remainder="standard")
    back = scaler.inverse_transform(scaler.fit_transform(X))
    for j in range(5):
        restored(back[:, j], X, j)


def test_a_position_is_no_column_of_a_table():
    with pytest.raises(sn.DataError, match="0 is none: give the column's name"):
        sn.ColumnScaler({0: "minmax"}).fit(pa.table({"a": [1.0]}))
