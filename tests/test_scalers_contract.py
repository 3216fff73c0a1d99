"""Scalers in scikit-learn's hands, and without scikit-learn."""

import copy
import doctest
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from conftest import SCALERS, same

import streamnorm.scalers as scalers_module
from streamnorm import errors, state, summary
from streamnorm.errors import DataError
from streamnorm.scalers import (
    ColumnScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
    select_columns,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_clone_pipeline_and_grid_search(X):
    base = pytest.importorskip("sklearn.base")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    for scaler in (*SCALERS.values(), ColumnScaler({0: MinMaxScaler()}, remainder="robust")):
        twin = base.clone(scaler)
        assert repr(twin) == repr(scaler) and twin is not scaler
        assert all(twin.get_params(False)[k] is v or k == "transformers" for k, v in twin.__dict__.items())
    pipeline = make_pipeline(RobustScaler(), MinMaxScaler(), Ridge())
    y = X[:, 0] * 2
    search = GridSearchCV(
        pipeline, {"robustscaler__with_centering": [True, False], "minmaxscaler__clip": [False]}, cv=2
    )
    search.fit(X, y)
    assert search.best_score_ > 0.9
    assert list(pipeline[:2].fit(X).get_feature_names_out(list("abcde"))) == list("abcde")
    assert "RobustScaler()" in repr(pipeline)


def test_column_transformer_and_feature_names(table):
    compose = pytest.importorskip("sklearn.compose")
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 3.0], "b": [5.0, 9.0], "s": ["x", "y"]})
    transformer = compose.ColumnTransformer([("scale", StandardScaler(), ["a", "b"])]).set_output(
        transform="pandas"
    )
    result = transformer.fit_transform(frame)
    assert list(result.columns) == ["scale__a", "scale__b"] and result["scale__b"].tolist() == [-1.0, 1.0]


def test_names_out(table):
    scaler = StandardScaler().fit(table)
    assert list(scaler.get_feature_names_out()) == ["fare", "stops", "price"]
    assert list(scaler.get_feature_names_out(table.column_names)) == table.column_names
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        scaler.get_feature_names_out(["fare"])
    plain = StandardScaler().fit([[1.0, 2.0]])
    assert list(plain.get_feature_names_out()) == ["x0", "x1"]
    assert list(plain.get_feature_names_out(["a", "b"])) == ["a", "b"]
    with pytest.raises(ValueError, match=r"number of features \(2\), got 3"):
        plain.get_feature_names_out(["a", "b", "c"])
    assert not hasattr(scaler.fit([[1.0]]), "feature_names_in_")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(library, X, table):
    module = pytest.importorskip(library)
    scaler = StandardScaler()
    assert scaler.set_output(transform=library) is scaler
    result = scaler.fit_transform(X)
    assert isinstance(result, module.DataFrame) and list(result.columns) == ["x0", "x1", "x2", "x3", "x4"]
    assert same(result.to_numpy(), StandardScaler().fit_transform(X))
    assert isinstance(scaler.fit_transform(table), module.DataFrame)
    assert isinstance(copy.deepcopy(scaler).transform(table), module.DataFrame)
    assert isinstance(scaler.set_output(transform="default").transform(table), pa.Table)
    assert isinstance(scaler.set_output(transform=None).transform(table), pa.Table)
    wide = ColumnScaler({1: "standard"}).set_output(transform=library).fit_transform(X)
    assert list(wide.columns) == ["x0", "x1", "x2", "x3", "x4"]
    with pytest.raises(ValueError, match="'default', 'pandas', 'polars'"):
        scaler.set_output(transform="numpy")


def test_scikit_learns_own_output_configuration(X):
    sklearn = pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(StandardScaler().fit_transform(X), pd.DataFrame)
    assert isinstance(StandardScaler().fit_transform(X), np.ndarray)


def test_tags_and_fittedness(scaler, X):
    pytest.importorskip("sklearn")
    from sklearn.exceptions import NotFittedError
    from sklearn.utils import get_tags
    from sklearn.utils.validation import check_is_fitted

    assert get_tags(scaler).input_tags.allow_nan and not get_tags(scaler).target_tags.required
    with pytest.raises(NotFittedError):
        check_is_fitted(scaler)
    with pytest.raises(NotFittedError) as caught:
        scaler.transform(X)
    assert errors.NotFittedError is NotFittedError and isinstance(caught.value, errors.StreamnormError)
    check_is_fitted(scaler.fit(X))


WITHOUT_SKLEARN = """
import pickle, sys
from streamnorm import errors
from streamnorm.scalers import StandardScaler
scaler = StandardScaler()
own = errors.NotFittedError
try:
    scaler.transform([[1.0]])
except own as error:
    assert type(error) is own and isinstance(error, ValueError) and isinstance(error, AttributeError)
    assert type(pickle.loads(pickle.dumps(error))) is own
scaler.fit([[1.0], [3.0]]).transform([[2.0]])
repr(scaler), scaler.get_params(), scaler.get_feature_names_out(), pickle.dumps(scaler), scaler.digest()
assert not {"sklearn", "scipy", "polars"} & set(sys.modules), set(sys.modules)
import sklearn.exceptions
assert errors.NotFittedError is sklearn.exceptions.NotFittedError
try:
    StandardScaler().transform([[1.0]])
except own as error:
    assert isinstance(error, sklearn.exceptions.NotFittedError)
    assert isinstance(pickle.loads(pickle.dumps(error)), own)
print("done")
"""


def test_scikit_learn_is_not_imported_until_it_asks():
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SKLEARN], capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_data_errors_carry_their_place():
    import pickle

    error = DataError("broken", file="a.parquet", row_group=3, column="x")
    again = pickle.loads(pickle.dumps(error))
    assert (again.file, again.row_group, again.column, str(again)) == ("a.parquet", 3, "x", "broken")
    assert isinstance(error, ValueError)


DOCUMENTED = [*scalers_module.CLASSES.values(), select_columns, summary.Summary, state]


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda thing: thing.__name__)
def test_examples_run(thing):
    names = {**vars(scalers_module), "Summary": summary.Summary, "np": np, "pa": pa}
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(thing, globs=dict(names)):
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
