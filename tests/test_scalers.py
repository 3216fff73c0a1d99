"""Scalers: scikit-learn's results, constant and extreme columns, our laws, parameters."""

import copy
import itertools

import numpy as np
import pyarrow as pa
import pytest
from conftest import HOSTILE, SCALERS, as_doubles, bits, same
from hypothesis import given
from hypothesis import strategies as st

from streamnorm.errors import DataError, NotMergeableError
from streamnorm.scalers import (
    AffineMap,
    ColumnScaler,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

SKLEARN_RTOL = 1e-12  # agreement with scikit-learn's four scalers
MERGE_RTOL = 1e-12  # moments of merged parts against those of the whole
INVERSE_ULPS = 8  # rounding errors of three operations there and three back

OURS = ("ddof", "exact", "constant", "infinite", "eps")  # parameters that scikit-learn does not have

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


# Agreement with scikit-learn


def sklearn_twin(scaler):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    params = {k: v for k, v in scaler.get_params().items() if k not in OURS}
    return getattr(preprocessing, type(scaler).__name__)(**params)


ATTRIBUTES = [
    *(
        "mean_",
        "var_",
        "scale_",
        "n_samples_seen_",
        "data_min_",
        "data_max_",
        "data_range_",
        "min_",
        "max_abs_",
    ),
    *("center_", "n_features_in_"),
]


@pytest.mark.parametrize("name", [name for name in SCALERS if name != "standard_ddof"])
@pytest.mark.parametrize("hole", [None, np.nan])
def test_attributes_and_results_are_scikit_learns(name, hole, X):
    X = X[:, [0, 2, 3, 4]]
    if hole is not None:
        X[::7, 1] = hole
    mine = copy.deepcopy(SCALERS[name]).fit(X)
    theirs = sklearn_twin(mine).fit(X)
    for attribute in ATTRIBUTES:
        if not hasattr(theirs, attribute):
            continue
        expected, got = getattr(theirs, attribute), getattr(mine, attribute)
        if expected is None:
            assert got is None, attribute
        else:
            assert np.shape(got) == np.shape(expected), attribute
            np.testing.assert_allclose(got, expected, rtol=SKLEARN_RTOL, atol=1e-15, err_msg=attribute)
    Y, expected = mine.transform(X), theirs.transform(X)
    rounding = (
        8 * np.finfo(float).eps * np.nanmax(np.abs(X), axis=0) / [m.scale for m in mine._maps().values()]
    )
    assert (np.abs(Y - expected) <= SKLEARN_RTOL * np.abs(expected) + rounding)[~np.isnan(X)].all()
    assert (np.isnan(Y) == np.isnan(X)).all() and (np.isnan(expected) == np.isnan(X)).all()
    np.testing.assert_allclose(mine.inverse_transform(Y), X, rtol=SKLEARN_RTOL)


# scikit-learn overflows, underflows, or tests constancy absolutely on these; our own laws cover them.
BEYOND_SKLEARN = {
    "size_1e-13",
    "size_1e-200",
    "size_1e300",
    "plus_minus_1e308",
    "denormals",
    "arrow_empty",
    "arrow_all_null",
}


@pytest.mark.parametrize("name", ["standard", "minmax", "maxabs", "robust"])
@pytest.mark.parametrize("case", [case for case, _ in HOSTILE if case not in BEYOND_SKLEARN])
def test_hostile_columns_agree_with_scikit_learn(name, case):
    values = as_doubles(dict(HOSTILE)[case])[:, None]
    mine = copy.deepcopy(SCALERS[name]).fit(values)
    theirs = sklearn_twin(mine).fit(values)
    center = {"standard": "mean_", "minmax": "data_min_", "maxabs": "max_abs_", "robust": "center_"}[name]
    size = np.nanmax(np.abs(values))
    np.testing.assert_allclose(getattr(mine, center), getattr(theirs, center), rtol=SKLEARN_RTOL)
    np.testing.assert_allclose(mine.scale_, theirs.scale_, rtol=SKLEARN_RTOL)
    rounding = 8 * np.finfo(float).eps * size / (1 / theirs.scale_ if name == "minmax" else theirs.scale_)
    expected = theirs.transform(values)
    np.testing.assert_allclose(mine.transform(values), expected, rtol=SKLEARN_RTOL, atol=float(rounding[0]))


@pytest.mark.parametrize("ddof", [0, 1, 2])
def test_ddof_is_numpys(ddof, X):
    scaler = StandardScaler(ddof=ddof).fit(X)
    np.testing.assert_allclose(scaler.var_, X.var(axis=0, ddof=ddof), rtol=1e-12, atol=1e-28)


def test_counts_differ_where_values_are_missing():
    scaler = StandardScaler().fit([[1.0, 2.0], [np.nan, 4.0]])
    assert scaler.n_samples_seen_.tolist() == [1, 2]
    assert MinMaxScaler().fit([[1.0, 2.0], [np.nan, 4.0]]).n_samples_seen_ == 2


# Constant, tiny, huge and empty columns


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e-13, 1.0, 1e150, 1e300])
def test_a_column_of_any_size_is_scaled(size, scaler):
    values = np.array([[-1.0], [0.5], [2.0], [3.0]])
    plain = copy.deepcopy(scaler).fit_transform(values)
    if type(scaler) is StandardScaler and not scaler.with_std:
        plain *= size
    np.testing.assert_allclose(scaler.fit_transform(values * size), plain, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e9, 1e-300, 1e300, 0.1])
def test_a_constant_column_is_centered_and_not_scaled(value):
    values = np.full((1001, 1), value)
    for scaler in (StandardScaler(), MinMaxScaler(), RobustScaler()):
        scaler.fit(values)
        assert (scaler.transform(values) == 0).all() and scaler.scale_ == [1.0]
        assert scaler.transform([[value + 8 * max(abs(value), 1)]])[0, 0] == pytest.approx(
            8 * max(abs(value), 1)
        )


def test_constancy_is_relative_to_the_size():
    step = np.spacing(1e6)
    for scaler in (MinMaxScaler(), RobustScaler(quantile_range=(0.0, 100.0))):
        assert scaler.fit([[1e6], [1e6 + 9 * step]]).scale_ == [1.0]
        assert scaler.fit([[1e6], [1e6 + 10 * step]]).scale_ != [1.0]
    noise = 1e9 + np.array([[0.0], [1.2e-7]] * 500)  # one unit in the last place: rounding, not data
    assert StandardScaler().fit(noise).scale_ == [1.0]
    assert StandardScaler().fit(1e9 + np.array([[0.0], [1.0]] * 500)).scale_ == [0.5]


def test_an_outlier_does_not_make_a_column_constant():
    values = np.linspace(0, 1e-9, 101)[:, None]
    values[-1] = 1e12
    assert RobustScaler().fit(values).scale_[0] == pytest.approx(5e-10)


def test_one_row_is_constant_for_any_ddof():
    scaler = StandardScaler(ddof=1).fit([[5.0]])
    assert np.isnan(scaler.var_[0]) and scaler.scale_ == [1.0] and scaler.transform([[5.0]]) == [[0.0]]


@pytest.mark.parametrize("missing", [np.nan, None])
def test_a_column_without_values_has_the_identity(missing, scaler):
    table = pa.table(
        {"full": [1.0, 2.0, 4.0], "none": pa.array([missing] * 3, pa.float64(), from_pandas=False)}
    )
    scaler.fit(table)
    assert scaler._maps()["none"] == AffineMap()
    assert scaler.summary_["none"].count == 0
    assert repr(scaler.transform(table)["none"].to_pylist()) == repr(table["none"].to_pylist())
    assert scaler.transform(pa.table({"full": [1.0], "none": [7.5]}))["none"].to_pylist() == [7.5]


@pytest.mark.parametrize("scaler", [MinMaxScaler(), RobustScaler(), StandardScaler()])
def test_a_span_beyond_doubles_names_the_column(scaler):
    values = pa.table({"x": [-1.7e308] * 3 + [1.7e308] + [-1.7e308] * 6})
    with pytest.raises(DataError, match="column 'x' spans more") as caught:
        scaler.fit(values)
    assert caught.value.column == "x" and not scaler.__sklearn_is_fitted__()


# Laws


@pytest.mark.parametrize("size", [1, 2, 50, 997, 1039])
def test_any_chunking_gives_the_same_bits(scaler, X, size):
    X[::13, 1] = np.nan
    whole = copy.deepcopy(scaler).fit(X)
    for start in range(0, len(X), size):
        scaler.partial_fit(X[start : start + size])
    assert bits(scaler) == bits(whole) and scaler.digest() == whole.digest()
    assert same(scaler.transform(X), whole.transform(X))


def test_any_chunking_of_tables_gives_the_same_bits(scaler, X):
    table = pa.table({str(j): X[:, j] for j in range(5)})
    whole = copy.deepcopy(scaler).fit(table)
    batches = table.to_batches(max_chunksize=61)
    assert bits(scaler.fit(iter(batches))) == bits(whole)
    assert bits(scaler.fit(pa.RecordBatchReader.from_batches(table.schema, batches))) == bits(whole)
    assert bits(scaler.fit(pa.Table.from_batches(batches))) == bits(whole)
    assert [repr(s) for s in bits(scaler.fit(X))] == [repr(s) for s in bits(whole)]


def test_a_long_stream_gives_the_same_bits():
    X = np.random.default_rng(5).normal(size=(20_011, 2)) + [1e9, 0]
    whole, parts = StandardScaler().fit(X), StandardScaler()
    for start in range(0, len(X), 777):
        parts.partial_fit(X[start : start + 777])
    assert bits(parts) == bits(whole)


@pytest.mark.parametrize(
    "case", [case for case, values in HOSTILE if len(values) > 3 and case != "arrow_all_null"]
)
@pytest.mark.parametrize("name", ["standard", "minmax", "maxabs", "robust"])
def test_merge_is_the_fit_of_the_union(name, case):
    values = dict(HOSTILE)[case]
    if isinstance(values, np.ndarray):
        values = pa.array(np.ascontiguousarray(values))
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    cuts = [0, 2, 2 + len(values) // 3, len(values)]
    parts = [pa.table({"x": values[start:stop]}) for start, stop in itertools.pairwise(cuts)]
    whole = copy.deepcopy(SCALERS[name]).fit(pa.table({"x": values}))
    a, b, c = (fitted(copy.deepcopy(SCALERS[name]), part) for part in parts)
    for merged in ((a + b) + c, a + (b + c)):
        one, other = merged.summary_["x"], whole.summary_["x"]
        assert (one.rows, one.count, one.null_count, one.nan_count) == (
            *(other.rows, other.count, other.null_count, other.nan_count),
        )
        assert (one.min, one.max) == (other.min, other.max)
        if name == "standard":
            size = max(abs(float(other.min)), abs(float(other.max)))
            assert one.mean == pytest.approx(other.mean, rel=MERGE_RTOL, abs=1e-15 * size)
            assert one.std() == pytest.approx(other.std(), rel=MERGE_RTOL, abs=1e-18 * size)
        if name == "robust" and other.rank_error == 0:
            assert one.quantile([0.1, 0.5]).tolist() == other.quantile([0.1, 0.5]).tolist()


def fitted(scaler, part):
    return scaler.partial_fit(part) if part.num_rows else scaler


def test_add_leaves_both_alone_and_merge_does_not(scaler, X):
    a, b = copy.deepcopy(scaler).fit(X[:300]), copy.deepcopy(scaler).fit(X[300:])
    before = a.digest(), b.digest()
    c = a + b
    assert (a.digest(), b.digest()) == before and c.digest() not in before
    assert a.merge(b) is a and a.digest() == c.digest()
    assert repr(c) == repr(scaler)


def test_merging_what_has_seen_nothing_changes_nothing(scaler, X):
    full = copy.deepcopy(scaler).fit(X)
    before = bits(full)
    assert bits(full.merge(copy.deepcopy(scaler))) == before
    assert bits(copy.deepcopy(scaler).merge(full)) == before
    assert bits(full.partial_fit(X[:0])) == before
    assert not (copy.deepcopy(scaler) + copy.deepcopy(scaler)).__sklearn_is_fitted__()


def test_a_scaler_merges_with_itself(X):
    scaler = StandardScaler().fit(X)
    assert scaler.merge(scaler).n_samples_seen_ == 2 * len(X)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (StandardScaler().fit([[1.0]]), MinMaxScaler().fit([[1.0]]), "not with a MinMaxScaler"),
        (MaxAbsScaler().fit([[1.0]]), MinMaxScaler().fit([[1.0]]), "not with a MinMaxScaler"),
        (StandardScaler().fit([[1.0]]), 3, "not with a int"),
        (StandardScaler().fit([[1.0]]), StandardScaler().fit([[1.0, 2.0]]), "only in the other: 1"),
    ],
)
def test_what_does_not_merge_says_so(a, b, message):
    before = a.digest()
    with pytest.raises(NotMergeableError, match=message):
        a.merge(b)
    assert a.digest() == before


def test_adding_a_number_is_a_type_error():
    with pytest.raises(TypeError):
        StandardScaler() + 3


@given(
    st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 2), min_size=1, max_size=40),
    st.sampled_from(sorted(SCALERS)),
)
def test_inverse_undoes_transform(rows, name):
    X = np.array(rows)
    scaler = copy.deepcopy(SCALERS[name]).fit(X)
    back = scaler.inverse_transform(scaler.transform(X))
    # The map's own numbers may be larger than the data: the range of a unit moved by lo, 5.5 here at most.
    size = np.abs(X).max(axis=0) + 8 * np.abs([m.scale for m in scaler._maps().values()])
    assert (np.abs(back - X) <= INVERSE_ULPS * np.finfo(float).eps * size).all()


def test_hostile_columns_come_back(hostile, scaler):
    column = pa.array(np.ascontiguousarray(hostile)) if isinstance(hostile, np.ndarray) else hostile
    table = pa.table({"x": column})
    if len(column) == 0:
        with pytest.raises(DataError, match="no rows"):
            scaler.fit(table)
        return
    scaler.fit(table, columns="x")
    there = scaler.transform(table)
    back = as_doubles(scaler.inverse_transform(there)["x"])
    values = as_doubles(column)
    assert there["x"].null_count == table["x"].null_count
    assert (np.isnan(back) == np.isnan(values)).all()
    m = scaler._maps()["x"]
    eps = np.finfo(there.schema.field("x").type.to_pandas_dtype()).eps
    parts = [np.nanmax(np.abs(values), initial=0) / 8, abs(m.center) / 8, abs(m.offset) * (m.scale / 8)]
    size = sum(parts) + 1e-323  # in eighths, which do not overflow
    assert np.nanmax(np.abs(back / 8 - values / 8), initial=0) <= INVERSE_ULPS * eps * 2 * size


# Parameters


@pytest.mark.parametrize(
    ("scaler", "message"),
    [
        (
            StandardScaler(with_mean=1),
            "The 'with_mean' parameter of StandardScaler must be an instance of 'bool'",
        ),
        (StandardScaler(ddof=-1), "'ddof' parameter of StandardScaler must be an int"),
        (StandardScaler(ddof=0.5), "'ddof' parameter of StandardScaler must be an int"),
        (MinMaxScaler((1, 1)), "Minimum of desired feature range must be smaller than maximum"),
        (MinMaxScaler((0, np.inf)), "two finite numbers"),
        (MinMaxScaler(3), "two finite numbers"),
        (MaxAbsScaler(clip="yes"), "'clip' parameter of MaxAbsScaler"),
        (RobustScaler(quantile_range=(75, 25)), r"Invalid quantile range: \(75, 25\)"),
        (RobustScaler(quantile_range=(-1, 25)), "Invalid quantile range"),
        (RobustScaler(quantile_range=(0, 100), unit_variance=True), "unit_variance needs"),
        (RobustScaler(quantile_range=(50, 50), unit_variance=True), "unit_variance needs"),
    ],
)
def test_parameters_are_checked_in_fit(scaler, message):
    with pytest.raises(ValueError, match=message):
        scaler.fit([[1.0], [2.0]])
    with pytest.raises(ValueError, match=message):
        scaler.merge(type(scaler)().fit([[1.0], [2.0]]))


def test_parameters_by_name():
    scaler = RobustScaler(quantile_range=(10, 90))
    assert scaler.get_params() == {
        **{"with_centering": True, "with_scaling": True, "quantile_range": (10, 90), "copy": True},
        "unit_variance": False,
        "exact": False,
        **{"constant": "relative", "infinite": "error", "eps": None},
    }
    assert (
        scaler.set_params(copy=False) is scaler
        and repr(scaler) == "RobustScaler(quantile_range=(10, 90), copy=False)"
    )
    assert repr(StandardScaler()) == "StandardScaler()"
    assert repr(ColumnScaler({"a": "robust"})) == "ColumnScaler(transformers={'a': 'robust'})"
    with pytest.raises(ValueError, match="Invalid parameter 'std' for estimator StandardScaler()"):
        StandardScaler().set_params(std=1)


def test_clip_keeps_new_values_within_range():
    scaler = MinMaxScaler((1, 3), clip=True).fit([[0.0], [1.0]])
    assert scaler.transform([[-9.0], [0.5], [9.0], [np.nan]]).ravel().tolist()[:3] == [1.0, 2.0, 3.0]
    assert MaxAbsScaler(clip=True).fit([[-2.0], [1.0]]).transform([[-5.0], [9.0]]).ravel().tolist() == [
        -1.0,
        1.0,
    ]
