"""The regressor in scikit-learn's hands, and without scikit-learn."""

import doctest
import warnings

import numpy as np
import pytest
from support import children

from streamnorm import nn
from streamnorm.nn import Regressor, regressor


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 4))
    return X, X[:, 0] - 2 * X[:, 1] + 0.1 * rng.normal(size=300)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"norm": None}, {"norm": "rms", "dtype": "float64"}, {"impute": True}, {"scaler": "robust"}],
    ids=str,
)
def test_scikit_learns_own_checks(parameters):
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(Regressor(**parameters), on_skip=None)
    assert len(results) > 40
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= {"check_array_api_input"}


def test_pipelines_and_searches(data):
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_regressor
    from sklearn.ensemble import BaggingRegressor
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    X, y = data
    model = Regressor((16,), epochs=20, random_state=0)
    assert is_regressor(model)
    scores = cross_val_score(make_pipeline(PolynomialFeatures(2), model), X, y, cv=3)
    assert scores.min() > 0.9
    assert np.array_equal(scores, cross_val_score(make_pipeline(PolynomialFeatures(2), model), X, y, cv=3, n_jobs=2))
    search = GridSearchCV(model, {"norm": ["batch", None], "hidden": [(8,), (16, 8)], "scaler": ["robust"]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.8 and search.predict(X).shape == (300,)
    assert clone(search.best_estimator_).get_params()["scaler"] == "robust"
    twin = clone(Regressor(scaler={"a": "robust"}, optimizer=nn.SGD(0.1), loss=nn.QuantileLoss(0.9), hidden=[3]))
    assert twin.optimizer.lr == 0.1 and twin.loss.parameter == 0.9
    assert MultiOutputRegressor(model).fit(X, np.column_stack([y, -y])).predict(X).shape == (300, 2)
    assert BaggingRegressor(model, n_estimators=2, random_state=0).fit(X, y).score(X, y) > 0.8


def test_score_is_scikit_learns(data):
    metrics = pytest.importorskip("sklearn.metrics")
    X, y = data
    model = Regressor(epochs=2, random_state=0).fit(X, y)
    weight = np.random.default_rng(2).uniform(0, 3, len(y))
    assert np.isclose(model.score(X, y), metrics.r2_score(y, model.predict(X)))
    expected = metrics.r2_score(y, model.predict(X), sample_weight=weight)
    assert np.isclose(model.score(X, y, sample_weight=weight), expected)
    Y = np.column_stack([y, 100 * y**2])
    both = Regressor(epochs=2, random_state=0).fit(X, Y)
    assert np.isclose(both.score(X, Y), metrics.r2_score(Y, both.predict(X)))


def test_not_fitted(data):
    from streamnorm.errors import NotFittedError

    for use in (lambda: Regressor().predict(data[0]), lambda: Regressor().score(*data), lambda: Regressor().save("x")):
        with pytest.raises(NotFittedError, match="Call 'fit'"):
            use()


WITHOUT_SKLEARN = """
import sys, numpy as np
from streamnorm.nn import Regressor
X = np.random.default_rng(0).normal(size=(50, 2))
model = Regressor(epochs=2, random_state=0).fit(X, X[:, 0])
model.predict(X), model.score(X, X[:, 0]), repr(model), model.get_params()
assert not {"sklearn", "scipy", "pandas", "polars", "torch"} & set(sys.modules), sorted(sys.modules)
print("done")
"""


def test_scikit_learn_is_not_imported():
    result = children.run(WITHOUT_SKLEARN)
    assert result.out == "done\n", result.err


def test_examples_run():
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(Regressor, globs=vars(regressor) | {"np": np}):
        runner.run(example)
    assert runner.summarize(verbose=False) == (0, runner.tries) and runner.tries
