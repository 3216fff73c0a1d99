"""scikit-learn's objects and ours give the same numbers, both ways, and what came from there goes on where it can."""

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from support.exports import FITTED, SCALERS, fitted, hostile_table

import streamnorm as sn
from streamnorm.export import from_sklearn, to_sklearn
from streamnorm.export.sklearn import EPS, MINMAX_EPS, SCALE_RTOL, ULPS, sklearn_source

SEED = 20071002
SUMS_RTOL = 1e-13  # of moments that went on from scikit-learn's, beside those of all rows at once
PLAIN = [name for name in SCALERS if name != "columns"]


def frame():
    """The hostile table as scikit-learn takes it: float64, missing values NaN."""
    table = hostile_table()
    values = {name: table[name].to_pylist() for name in table.column_names}
    columns = {name: [np.nan if v is None else float(v) for v in column] for name, column in values.items()}
    return pd.DataFrame(columns, dtype=np.float64)


def fit(name):
    return SCALERS[name]().fit(frame()[:FITTED])


def agree(scaler, estimator, x, *, inverse=False):
    """Within the bound of the scaler's kind; scikit-learn gives infinities where the range is denormal."""
    values = x.to_numpy() if hasattr(x, "to_numpy") else x
    if inverse:
        mine, theirs = np.asarray(scaler.inverse_transform(x)), np.asarray(estimator.inverse_transform(values))
    else:
        mine, theirs = np.asarray(scaler.transform(x)), np.asarray(estimator.transform(x))
    assert mine.shape == theirs.shape
    if not isinstance(scaler, sn.MinMaxScaler):
        np.testing.assert_array_max_ulp(theirs, mine, maxulp=ULPS)
        return
    low, high = scaler.feature_range
    scale = np.abs(scaler.scale_)
    size = np.abs(scaler.data_min_) + np.abs(low / scale)
    unit = size + np.abs(mine) if inverse else (np.abs(values) + np.abs(scaler.data_min_)) * scale + abs(low)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(mine) & np.isfinite(scale)
        assert (np.isnan(mine) == np.isnan(theirs))[:, np.isfinite(scale)].all()
        assert np.all(np.abs(theirs - mine)[known] <= MINMAX_EPS * EPS * unit[known])


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:X has feature names")
def test_the_estimator_agrees(name):
    scaler, x = fit(name), frame()
    estimator = to_sklearn(scaler)
    agree(scaler, estimator, x)
    agree(scaler, estimator, scaler.transform(x), inverse=True)
    assert list(estimator.feature_names_in_) == list(x.columns)
    assert list(estimator.get_feature_names_out()) == list(x.columns)
    scope = {}
    exec(sklearn_source(scaler), scope)
    assert scope["scaler"].get_params() == estimator.get_params()
    np.testing.assert_array_equal(scope["scaler"].transform(x), estimator.transform(x))


@pytest.mark.parametrize("name", ["standard", "minmax", "minmax_clip", "maxabs", "robust", "robust_unit"])
def test_all_fitted_attributes_are_there(name):
    x = np.random.default_rng(SEED).normal(size=(50, 3))
    scaler = SCALERS[name]().fit(x)
    estimator = to_sklearn(scaler)
    genuine = type(estimator)(**estimator.get_params()).fit(x)
    assert vars(estimator).keys() == vars(genuine).keys()
    for key, value in vars(genuine).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(estimator, key), value, rtol=1e-14, atol=1e-15)
        else:
            assert getattr(estimator, key) == value
    estimator.mean_ = estimator.scale_ = None  # its own arrays
    agree(scaler, genuine, x) if name.startswith("minmax") else scaler.transform(x)


def test_partial_fit_goes_on_there():
    x = np.random.default_rng(SEED).normal(size=(50, 3)) + 5
    estimator = to_sklearn(sn.StandardScaler().fit(x[:20])).partial_fit(x[20:])
    np.testing.assert_allclose(estimator.var_, x.var(axis=0), rtol=SUMS_RTOL)
    assert estimator.n_samples_seen_ == 50


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_column_scaler_becomes_a_column_transformer():
    x, scaler = frame(), fit("columns")
    transformer = to_sklearn(scaler)
    assert isinstance(transformer, ColumnTransformer)
    extra = x.assign(name="a")[["name", *reversed(x.columns)]]  # matched by name
    found = transformer.transform(extra)
    assert list(transformer.get_feature_names_out()) == list(scaler.summary_)
    expected = scaler.transform(x)[list(scaler.summary_)].to_numpy()
    minmax = [list(scaler.summary_).index(name) for name in ("plain", "select", "constant")]
    others = [j for j in range(expected.shape[1]) if j not in minmax]
    np.testing.assert_array_max_ulp(found[:, others], expected[:, others], maxulp=ULPS)
    np.testing.assert_allclose(found[:, minmax], expected[:, minmax], rtol=0, atol=MINMAX_EPS * EPS * 10)


def test_a_column_scaler_of_positions_keeps_the_others_in_their_place():
    x = np.random.default_rng(SEED).normal(size=(50, 4))
    scaler = sn.ColumnScaler({0: "robust", (1, 3): "standard"}).fit(x)
    np.testing.assert_array_max_ulp(to_sklearn(scaler).transform(x), scaler.transform(x), maxulp=ULPS)


# ------------------------------------------------------------------------------------------------ from scikit-learn


THEIRS = {
    "standard": preprocessing.StandardScaler(),
    "center": preprocessing.StandardScaler(with_std=False),
    "scale": preprocessing.StandardScaler(with_mean=False),
    "neither": preprocessing.StandardScaler(with_mean=False, with_std=False),
    "minmax": preprocessing.MinMaxScaler((-2, 3)),
    "minmax_clip": preprocessing.MinMaxScaler(clip=True),
    "maxabs": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(quantile_range=(10, 70)),
    "robust_unit": preprocessing.RobustScaler(unit_variance=True),
    "robust_scale": preprocessing.RobustScaler(with_centering=False),
}


def hostile_rows():
    """An array that scikit-learn scales as we do: tiny ranges and denormals are constant to it."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(60, 6)) * [1, 3, 1, 1e200, 1e-9, 0] + [0, 1e9, 1e15, 0, 0, 0.1]
    x[3, 0] = x[7, 0] = x[9, 1] = np.nan
    return x


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("named", [False, True])
def test_what_is_imported_agrees_and_travels(name, named, tmp_path):
    rows = hostile_rows()
    x = pd.DataFrame(rows, columns=list("abcdef")) if named else rows
    if name.startswith(("standard", "scale")):
        x = x.drop(columns="d") if named else np.delete(x, 3, axis=1)  # its variance overflows there
    estimator = THEIRS[name].fit(x)
    scaler = from_sklearn(estimator)
    scaler.save(tmp_path / "state.json")
    for mine in (scaler, sn.load(tmp_path / "state.json"), from_sklearn(to_sklearn(scaler))):
        assert type(mine).__name__ == type(estimator).__name__
        assert hasattr(mine, "feature_names_in_") == named
        if name.startswith("minmax"):
            agree(mine, estimator, x)
        else:
            found, expected = np.asarray(mine.transform(x)), np.asarray(estimator.transform(x))
            np.testing.assert_allclose(found, expected, rtol=2 * SCALE_RTOL)
            back = np.asarray(mine.inverse_transform(found))
            np.testing.assert_allclose(back, estimator.inverse_transform(expected), rtol=4 * SCALE_RTOL)
    sn.inspect(tmp_path / "state.json")


def test_a_standard_scaler_goes_on_from_there():
    x = hostile_rows()[:, [0, 1, 2, 4]]
    scaler = from_sklearn(preprocessing.StandardScaler().fit(x[:30]))
    other = from_sklearn(preprocessing.StandardScaler().fit(x[30:]))
    whole = sn.StandardScaler().fit(x)
    for grown in (scaler + other, scaler + sn.StandardScaler().fit(x[30:]), scaler.partial_fit(x[30:])):
        np.testing.assert_array_equal(grown.n_samples_seen_, whole.n_samples_seen_)
        np.testing.assert_allclose(grown.mean_, whole.mean_, rtol=SUMS_RTOL)
        np.testing.assert_allclose(grown.var_[[0, 3]], whole.var_[[0, 3]], rtol=SUMS_RTOL)
        lost = EPS * whole.mean_[1] * whole.scale_[1]  # scikit-learn's mean is rounded, by more beside an offset
        np.testing.assert_allclose(grown.var_[1], whole.var_[1], rtol=0, atol=lost)
        with pytest.raises(sn.StatisticNotCollected, match="no minimum of column 0"):
            _ = grown.summary_[0].min
        assert grown.summary_[0].nan_count == 2
    with pytest.raises(sn.StatisticNotCollected, match="quantiles"):
        scaler.summary_[0].quantile(0.5)


def test_a_minmax_scaler_goes_on_from_there():
    x = hostile_rows()[:, [0, 1, 2, 4]]
    scaler = from_sklearn(preprocessing.MinMaxScaler().fit(x[:30])).partial_fit(x[30:])
    whole = sn.MinMaxScaler().fit(x)
    np.testing.assert_array_equal(scaler.scale_, whole.scale_)
    np.testing.assert_array_equal(scaler.transform(x), whole.transform(x))
    assert scaler.n_samples_seen_ == 60
    with pytest.raises(sn.StatisticNotCollected, match="no mean"):
        _ = scaler.summary_[0].mean


@pytest.mark.parametrize("name", ["maxabs", "robust", "center"])
def test_what_does_not_suffice_says_so(name):
    x = hostile_rows()[:, :2]
    scaler = from_sklearn(THEIRS[name].fit(x))
    with pytest.raises(sn.NotMergeableError, match="given statistics"):
        scaler.partial_fit(x)
    with pytest.raises(sn.NotMergeableError, match="given statistics"):
        scaler.merge(scaler)
    with pytest.raises(sn.StatisticNotCollected):
        _ = scaler.summary_[0].mean


def test_weights_cannot_go_on():
    x = hostile_rows()[:, :1]
    estimator = preprocessing.StandardScaler().fit(x, sample_weight=np.linspace(0.5, 2, 60))
    scaler = from_sklearn(estimator)
    np.testing.assert_array_equal(scaler.transform(x), estimator.transform(x))
    with pytest.raises(sn.NotMergeableError):
        scaler.partial_fit(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_column_without_values():
    x = np.array([[1.0, np.nan], [3.0, np.nan]])
    for estimator in THEIRS.values():
        scaler = from_sklearn(estimator.fit(x))
        np.testing.assert_allclose(scaler.transform(x), estimator.transform(x))


def test_a_range_that_scikit_learn_takes_for_none_is_imported_by_its_rule():
    theirs = preprocessing.MinMaxScaler().fit([[1e-20, 0.0], [2e-20, 4.0]])
    ours = from_sklearn(theirs)
    assert ours.constant == "sklearn"
    assert ours.scale_.tolist() == theirs.scale_.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("constant", ["zero", "relative"])
def test_columns_that_become_a_constant_are_refused(constant):
    scaler = sn.StandardScaler(constant=constant).fit([[1.0, 3.0], [2.0, 3.0]])
    if constant == "relative":
        assert to_sklearn(scaler).scale_.tolist() == scaler.scale_.tolist()
        return
    with pytest.raises(sn.StreamnormError, match="column 1 becomes a constant by the rule of the scaler, which scikit"):
        to_sklearn(scaler)


def test_what_cannot_be_imported():
    with pytest.raises(TypeError, match="a Normalizer cannot be imported"):
        from_sklearn(preprocessing.Normalizer())
    with pytest.raises(sn.NotFittedError):
        from_sklearn(preprocessing.StandardScaler())
    edited = preprocessing.MinMaxScaler().fit([[1.0], [2.0]])
    edited.scale_ = edited.scale_ * 2
    with pytest.raises(sn.DataError, match="column 0 has a scale_ that does not follow from its range"):
        from_sklearn(edited)
    with pytest.raises(sn.StreamnormError, match="use streamnorm.export.to_sklearn"):
        sklearn_source(fitted("columns"))
