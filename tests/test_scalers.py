"""Scalers: scikit-learn's results and contract, our laws, every kind of input, and what is refused."""

import copy
import doctest
import itertools
import pathlib
import subprocess
import sys
import types
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from conftest import HOSTILE, SEED, as_doubles
from hypothesis import given
from hypothesis import strategies as st

import streamnorm.scalers as scalers_module
from streamnorm import errors, state, summary
from streamnorm.errors import DataError, NotMergeableError
from streamnorm.scalers import (
    AffineMap,
    ColumnScaler,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
    select_columns,
)

SKLEARN_RTOL = 1e-12  # agreement with scikit-learn's four scalers
MERGE_RTOL = 1e-12  # moments of merged parts against those of the whole
INVERSE_ULPS = 8  # rounding errors of three operations there and three back

SCALERS = {
    "standard": StandardScaler(),
    "standard_ddof": StandardScaler(ddof=1),
    "standard_center": StandardScaler(with_std=False),
    "standard_scale": StandardScaler(with_mean=False),
    "minmax": MinMaxScaler(),
    "minmax_range": MinMaxScaler((-3, 5.5)),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust_unit": RobustScaler(quantile_range=(10.0, 80.0), unit_variance=True),
    "robust_scale": RobustScaler(with_centering=False),
}

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture(params=list(SCALERS))
def scaler(request):
    return copy.deepcopy(SCALERS[request.param])


@pytest.fixture
def X():
    rng = np.random.default_rng(SEED)
    X = rng.lognormal(size=(997, 5)) * [1, 1e-13, 1e6, 3, 1] + [0, 0, 1e9, -50, 7]
    X[:, 4] = 2.5
    return X


@pytest.fixture
def table():
    return pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "fare": [1.0, 2.0, None, 6.0],
            "late": [True, False, None, True],
            "stops": pa.array([3, 1, 2, None], pa.int16()),
            "price": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("5.50")], pa.decimal128(7, 2)),
            "day": pa.array([0, 1, 2, 3], pa.date32()),
            "grade": pa.array([10, 20, 10, None]).dictionary_encode(),
        }
    )


def bits(scaler):
    return [repr(column.stats.state()) for column in scaler.summary_.values()]


def same(a, b):
    """Equal values, NaN to NaN, for arrays and tables."""
    if isinstance(a, pa.Table | pa.RecordBatch):
        return a.schema.equals(b.schema, check_metadata=True) and repr(a.to_pydict()) == repr(b.to_pydict())
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


# Agreement with scikit-learn


def sklearn_twin(scaler):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    params = {k: v for k, v in scaler.get_params().items() if k != "ddof"}
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


# Kinds of input


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", "u2", "i8", "u8", "?", "O", "g"])
def test_types_of_arrays(dtype, scaler):
    X = np.array([[0, 1], [1, 0], [1, 1], [0, 1]]).astype(dtype)
    Y = scaler.fit_transform(X)
    floats = {"f2": np.float16, "f4": np.float32, ">f4": np.float32}
    assert Y.dtype == floats.get(dtype, np.float64)
    expected = copy.deepcopy(scaler).fit_transform(X.astype(float))
    np.testing.assert_allclose(Y.astype(float), expected, rtol=2e-3 if dtype == "f2" else 1e-6)
    assert scaler.inverse_transform(Y).dtype == Y.dtype
    assert scaler.transform(X.tolist()).tolist() == pytest.approx(expected)


def test_layouts_of_arrays(scaler, X):
    expected = copy.deepcopy(scaler).fit_transform(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)
    for layout in (np.asfortranarray(X), X[::-1][::-1], wide[::2, ::3], frozen):
        fresh = copy.deepcopy(scaler)
        assert same(fresh.fit(layout).transform(layout), expected)
        assert same(fresh.transform(layout, copy=False), expected) or layout is frozen
        fresh.inverse_transform(expected[:0])


def test_copy_false_writes_in_place_where_it_can(scaler, X):
    scaler.fit(X)
    expected = scaler.transform(X)
    mine = X.copy()
    assert scaler.transform(mine, copy=False) is mine and same(mine, expected)
    assert scaler.set_params(copy=False).inverse_transform(mine) is mine
    integers = np.arange(10).reshape(2, 5)
    scaler.transform(integers)
    assert integers.tolist() == np.arange(10).reshape(2, 5).tolist()
    frozen = X.copy()
    frozen.flags.writeable = False
    assert same(scaler.transform(frozen), expected)


def test_masked_arrays_are_missing_where_masked():
    X = np.ma.array([[1.0], [99.0], [3.0]], mask=[[0], [1], [0]])
    assert StandardScaler().fit(X).mean_ == [2.0]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], r"Expected 2D array, got 1D array instead:\narray=\[1. 2.\].\nReshape your data"),
        (3.0, "Expected 2D array, got scalar array"),
        (None, "Expected 2D array, got scalar array"),
        (np.zeros((2, 2, 2)), "Found array with dim 3"),
        (np.zeros((3, 0)), r"Found array with 0 feature\(s\)"),
        (np.zeros((0, 3)), r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\)"),
        ([[1j]], "Complex data not supported"),
        (np.array([["a"]]), "could not convert string to float"),
        (np.array([["1.5", 2.0]], dtype=object), "could not convert string to float: '1.5'"),
        (np.array([[{}]], dtype=object), "objects must hold numbers"),
        (np.array([["2013-01-01"]], dtype="M8[D]"), r"datetime64\[D\] is not numeric"),
        ([[1.0], [2.0, 3.0]], "cannot make a two-dimensional array of a list"),
        ([[1.0], [np.inf]], "column 0 holds 1 infinite values: set them to null or filter them out first"),
        ([], "Expected 2D array"),
        (iter([]), "no rows and no columns"),
        (pa.array([1.0]), "Expected 2D array, got a single column"),
        (pa.table({"x": pa.array([], pa.float64())}), "no rows to fit"),
        (pa.table({"x": ["a"]}), "no column to normalize"),
    ],
)
def test_what_cannot_be_fitted_says_so(X, message, scaler):
    with pytest.raises(DataError, match=message):
        scaler.fit(X)
    assert not scaler.__sklearn_is_fitted__()


def test_sparse_input_is_refused_as_by_scikit_learn():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        StandardScaler().fit(sparse.csr_array(np.eye(3)))


def test_sample_weight_is_refused():
    with pytest.raises(ValueError, match="does not weigh samples"):
        StandardScaler().fit([[1.0]], sample_weight=[1.0])


def test_another_number_of_features_is_refused(scaler, X):
    scaler.fit(X)
    message = f"X has 3 features, but {type(scaler).__name__} is expecting 5 features as input"
    for method in (scaler.transform, scaler.inverse_transform, scaler.partial_fit):
        with pytest.raises(DataError, match=message):
            method(X[:, :3])


def test_a_failed_partial_fit_leaves_the_scaler_as_it_was(scaler, X):
    scaler.fit(X)
    before, attributes = bits(scaler), repr(scaler.__dict__.keys())
    X[500, 2] = np.inf
    with pytest.raises(DataError, match="column 2"):
        scaler.partial_fit(X)
    with pytest.raises(DataError):
        scaler.fit(iter([X[:10], X]))
    assert bits(scaler) == before and repr(scaler.__dict__.keys()) == attributes
    assert same(scaler.partial_fit(X[:9]).transform(X[:9]), scaler.transform(X[:9]))


def test_infinities_pass_through_transform(scaler, X):
    scaler.fit(X)
    Y = scaler.transform([[np.inf, -np.inf, np.nan, 0, 0]])
    assert Y[0, 0] == np.inf and Y[0, 1] == -np.inf and np.isnan(Y[0, 2])


def test_used_before_fit(scaler, X, table):
    for call in (scaler.transform, scaler.inverse_transform):
        for data in (X, table):
            with pytest.raises(errors.NotFittedError, match="is not fitted yet. Call 'fit'"):
                call(data)
    for call in (scaler.digest, scaler.get_feature_names_out, lambda: scaler.save("never"), scaler._maps):
        with pytest.raises(errors.NotFittedError):
            call()


# Tables


def test_the_columns_of_a_table(table):
    scaler = StandardScaler().fit(table)
    assert list(scaler.feature_names_in_) == ["fare", "stops", "price"]
    assert list(scaler.summary_) == ["fare", "stops", "price"] and scaler.n_features_in_ == 3
    assert list(StandardScaler().fit(table, exclude="stops").summary_) == ["fare", "price"]
    named = StandardScaler().fit(table, columns=["grade", "late", "day", "fare"])
    assert list(named.summary_) == ["fare", "late", "day", "grade"]
    assert named.mean_ == pytest.approx([3.0, 2 / 3, 1.5, 40 / 3])
    result = named.transform(table)
    assert result.schema.types[1:3] == [pa.float64()] * 2 and result["day"].null_count == 0
    assert result["grade"].to_pylist()[3] is None
    assert named.inverse_transform(result)["grade"].to_pylist()[:3] == pytest.approx([10, 20, 10])


def test_a_table_keeps_its_order_its_metadata_and_what_is_not_normalized(table):
    fields = [f.with_metadata({"unit": f.name}) for f in table.schema]
    table = table.cast(pa.schema(fields, metadata={"made": "here"}))
    scaler = MinMaxScaler().fit(table)
    result = scaler.transform(table)
    assert result.column_names == table.column_names and result.schema.metadata == {b"made": b"here"}
    assert [f.metadata for f in result.schema] == [f.metadata for f in table.schema]
    for name in ("id", "late", "day", "grade"):
        assert result[name].equals(table[name])
    assert result["fare"].to_pylist() == [0.0, 0.2, None, 1.0]
    assert result["price"].to_pylist() == pytest.approx([0.0, 0.25, None, 1.0])
    assert result.schema.field("stops").type == pa.float64()
    batch = table.combine_chunks().to_batches()[0]
    assert isinstance(scaler.transform(batch), pa.RecordBatch)
    assert same(pa.Table.from_batches([scaler.transform(batch)]), result)


def test_floats_keep_their_type_in_tables():
    table = pa.table(
        {str(t): pa.array([1, 2, 4]).cast(t) for t in (pa.float16(), pa.float32(), pa.float64())}
    )
    scaler = StandardScaler().fit(table)
    result = scaler.transform(table)
    assert result.schema.types == table.schema.types
    assert scaler.inverse_transform(result).schema.types == table.schema.types


def test_names_match_in_any_order_and_more_columns_pass(table):
    scaler = StandardScaler().fit(table)
    shuffled = table.select(["price", "id", "stops", "fare"]).append_column("new", pa.array([1.0] * 4))
    result = scaler.transform(shuffled)
    assert result.column_names == ["price", "id", "stops", "fare", "new"]
    expected = scaler.transform(table)
    for name in ("price", "stops", "fare"):
        assert result[name].equals(expected[name])
    assert result["new"].to_pylist() == [1.0] * 4


def test_named_and_unnamed_meet_by_position():
    X = np.array([[1.0, 10.0], [3.0, 30.0]])
    table = pa.table({"a": X[:, 0], "b": X[:, 1]})
    named, plain = StandardScaler().fit(table), StandardScaler().fit(X)
    assert same(named.transform(X), plain.transform(X))
    assert same(plain.transform(table), named.transform(table))
    assert list(named.partial_fit(X).summary_) == ["a", "b"]
    assert plain.partial_fit(table).n_samples_seen_ == 4
    with pytest.raises(DataError, match="X has 1 features"):
        plain.transform(table.select(["a"]))


def test_sliced_and_chunked_tables(hostile, scaler):
    column = pa.array(np.ascontiguousarray(hostile)) if isinstance(hostile, np.ndarray) else hostile
    if len(column) < 20:
        return
    table = pa.table({"x": column, "i": range(len(column))})
    scaler.fit(table, columns=["x", "i"])
    expected = scaler.transform(table)
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3, 10), table.slice(13)])
    assert same(scaler.transform(pieces), expected)
    assert same(scaler.transform(table.slice(5, 9)), expected.slice(5, 9))
    assert same(scaler.transform(table.slice(0, 0)), expected.slice(0, 0))
    no_chunks = pa.Table.from_batches([], schema=table.schema)
    assert scaler.transform(no_chunks).schema == expected.schema


def test_streams_and_iterators(table):
    scaler = StandardScaler().fit(table)
    expected = scaler.transform(table)
    reader = scaler.transform(table.to_reader(max_chunksize=3))
    assert isinstance(reader, pa.RecordBatchReader) and same(reader.read_all(), expected)

    class Exporter:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    assert same(scaler.transform(Exporter()), expected)
    assert bits(StandardScaler().fit(Exporter())) == bits(scaler)
    batches = table.to_batches(max_chunksize=1)
    assert same(pa.Table.from_batches(scaler.transform(iter(batches))), expected)
    assert isinstance(scaler.transform(batches), list)
    assert same(StandardScaler().fit_transform(table.to_reader()), expected)
    assert same(pa.Table.from_batches(StandardScaler().fit_transform(iter(batches))), expected)


def test_an_array_that_is_no_table_is_refused():
    class Exporter:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.chunked_array([[1.0]]).__arrow_c_stream__(requested_schema)

    with pytest.raises(DataError, match="table with named columns"):
        StandardScaler().fit(Exporter())


def test_iterators_of_arrays(X):
    assert bits(StandardScaler().fit(iter([X[:100], X[100:]]))) == bits(StandardScaler().fit(X))
    assert bits(StandardScaler().fit([X[:100], X[100:]])) == bits(StandardScaler().fit(X))


def test_progress_counts_rows_and_bytes(table, X):
    calls = []
    StandardScaler().fit(iter(table.to_batches(max_chunksize=3)), progress=lambda *a: calls.append(a))
    assert [c[:2] for c in calls] == [(3, None), (4, None)] and calls[1][2] > calls[0][2] > 0
    StandardScaler().fit(X, progress=lambda *a: calls.append(a))
    assert calls[-1] == (len(X), len(X), X.nbytes)


@pytest.mark.parametrize(
    ("options", "message", "column"),
    [
        ({"columns": "fair"}, "no column 'fair': did you mean 'fare'", "fair"),
        ({"columns": ["fare", "id"]}, "column 'id' holds string, not numbers", "id"),
        ({"exclude": "stop"}, "no column 'stop' to exclude: did you mean 'stops'", "stop"),
        ({"columns": "fare", "exclude": "fare"}, "no column to normalize", None),
    ],
)
def test_columns_that_cannot_be_chosen(table, options, message, column):
    with pytest.raises(DataError, match=message) as caught:
        StandardScaler().fit(table, **options)
    assert caught.value.column == column


def test_a_column_that_is_missing_or_changed_later(table):
    scaler = StandardScaler().fit(table)
    with pytest.raises(DataError, match="no column 'fare'"):
        scaler.transform(table.drop_columns(["fare"]))
    text = table.set_column(1, "fare", pa.array(["1", "2", "3", "4"]))
    for method in (scaler.transform, scaler.partial_fit):
        with pytest.raises(DataError, match="column 'fare' holds string"):
            method(text)
    mills = table.set_column(4, "price", table["price"].cast(pa.decimal128(9, 4)))
    with pytest.raises(DataError, match="column 'price' changed its type"):
        scaler.partial_fit(mills)
    huge = pa.table({"x": pa.array(["1" * 50]).cast(pa.decimal256(60, 2))})
    with pytest.raises(DataError, match="more than 38 digits"):
        scaler.fit(huge)
    twice = pa.Table.from_arrays([table["fare"]] * 2, names=["fare", "fare"])
    with pytest.raises(DataError, match="2 columns 'fare'"):
        StandardScaler().fit(twice)
    with pytest.raises(DataError, match="fitted on the columns"):
        scaler.partial_fit(table, columns=["fare", "day"])
    with pytest.raises(DataError, match="need named columns"):
        StandardScaler().fit([[1.0]], columns="a")


def test_select_columns_leaves_a_pandas_index_alone():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"fare": [1.0, 2.0]}, index=pd.Index([7, 8], name="key"))
    table = pa.Table.from_pandas(frame)
    assert table.column_names == ["fare", "key"] and select_columns(table.schema) == ["fare"]
    with pytest.raises(DataError, match="column 'key' is the index of a pandas frame"):
        select_columns(table.schema, ["key"])
    odd = table.schema.with_metadata({"pandas": "not json"})
    assert select_columns(odd) == ["fare", "key"]


@pytest.mark.parametrize(
    "kind",
    [
        *(
            pa.timestamp("us", "UTC"),
            pa.date64(),
            pa.time32("s"),
            pa.time64("ns"),
            pa.duration("ms"),
            pa.uint64(),
        ),
        *(
            pa.decimal256(50, 3),
            pa.decimal128(30, 3),
            pa.decimal64(12, 2),
            pa.decimal32(7, 1),
            pa.dictionary(pa.int8(), pa.float32()),
            pa.run_end_encoded(pa.int32(), pa.int64()),
        ),
    ],
    ids=str,
)
def test_types_that_are_numbers_underneath(kind):
    value = kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind
    steps = [0, 86_400_000, None, 3 * 86_400_000] if kind == pa.date64() else [0, 1, None, 3]
    if pa.types.is_temporal(value) or value == pa.float32():
        width = {pa.time32("s"): pa.int32(), pa.float32(): pa.float32()}.get(value, pa.int64())
        column = pa.array(steps, width).cast(value)
    else:
        column = pa.array(steps, pa.int8()).cast(value)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_encode()
    elif pa.types.is_run_end_encoded(kind):
        column = pa.compute.run_end_encode(column)
    table = pa.table({"x": column})
    result = MinMaxScaler().fit(table, columns="x").transform(table)
    assert result["x"].to_pylist() == pytest.approx([0.0, 1 / 3, None, 1.0])


# Data frames


def test_pandas_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "fare": np.array([1.0, np.nan, 3.0]),
            "small": np.array([1, 2, 4], np.float32),
            "stops": [1, 2, 3],
            "maybe": pd.array([1, None, 3], dtype="Int64"),
            "arrow": pd.array([2, None, 4], dtype=pd.ArrowDtype(pa.int32())),
            "mixed": [object(), 1, "x"],
        },
        index=[10, 20, 30],
    )
    scaler = StandardScaler().fit(frame)
    assert list(scaler.feature_names_in_) == ["fare", "small", "stops", "maybe", "arrow"]
    assert (scaler.summary_["fare"].null_count, scaler.summary_["maybe"].null_count) == (1, 1)
    before = frame.copy()
    result = scaler.transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert isinstance(result, pd.DataFrame) and list(result.index) == [10, 20, 30]
    assert list(result.columns) == list(frame.columns)
    assert [str(result.dtypes[c]) for c in ("fare", "small", "stops", "maybe", "arrow")] == (
        ["float64", "float32", "float64", "Float64", "double[pyarrow]"]
    )
    assert repr(result["fare"].tolist()) == "[-1.0, nan, 1.0]"
    assert result["maybe"].isna().tolist() == result["arrow"].isna().tolist() == [False, True, False]
    back = scaler.inverse_transform(result)
    assert back["arrow"].tolist()[::2] == [2.0, 4.0] and back["mixed"].tolist() == frame["mixed"].tolist()
    assert bits(StandardScaler().fit(pa.Table.from_pandas(frame.drop(columns="mixed")))) == bits(scaler)
    with pytest.raises(DataError, match="a single column"):
        scaler.fit(frame["fare"])


def test_polars_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {"id": ["a", "b", "c"], "fare": [1.0, None, 3.0], "stops": [1, 2, 3], "late": [True, False, None]}
    )
    frame = pl.concat([frame, frame], rechunk=False)
    scaler = StandardScaler().fit(frame)
    assert list(scaler.feature_names_in_) == ["fare", "stops"]
    result = scaler.transform(frame)
    assert isinstance(result, pl.DataFrame) and result.columns == frame.columns
    assert (
        result["fare"].to_list() == [-1.0, None, 1.0] * 2
        and result["late"].to_list() == frame["late"].to_list()
    )
    assert scaler.inverse_transform(result)["stops"].to_list() == pytest.approx([1, 2, 3] * 2)
    assert bits(StandardScaler().fit(frame.to_arrow())) == bits(scaler)
    assert isinstance(scaler.transform(frame.head(0)), pl.DataFrame)


def test_duckdb_relations():
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("select i::double as x, i::varchar as s from range(5) t(i)")
    scaler = StandardScaler().fit(relation)
    assert scaler.mean_ == [2.0] and list(scaler.summary_) == ["x"]


# ColumnScaler


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


# scikit-learn's contract


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


# What scikit-learn's own checks may find: samples are not weighed, and odd objects are a DataError.
NOT_OURS = {"check_dtype_object", "check_all_zero_sample_weights_error"}


@pytest.mark.parametrize("name", ["standard", "minmax", "maxabs", "robust"])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(name):
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(copy.deepcopy(SCALERS[name]), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert len(results) > 40
    assert {check for check in failed - NOT_OURS if not check.startswith("check_sample_weight")} == set()


@pytest.mark.parametrize("X", ["a.parquet", ["a.parquet", "b.parquet"], pathlib.Path("folder")])
def test_files_go_to_the_engine(X, monkeypatch):
    calls = []
    engine = types.SimpleNamespace(fit_into=lambda *args, **options: calls.append((args, options)))
    monkeypatch.setitem(sys.modules, "streamnorm.engine", engine)
    monkeypatch.setattr("streamnorm.engine", engine, raising=False)
    scaler = StandardScaler()
    assert scaler.fit(X, columns="fare", memory="64MB", threads=2) is scaler
    scaler.partial_fit(X)
    options = {"columns": "fare", "exclude": None, "memory": "64MB", "threads": 2, "progress": None}
    assert calls[0] == ((scaler, X), {"reset": True, **options})
    assert calls[1][1]["memory"] == "256MB"
    with pytest.raises(DataError, match="for files use streamnorm.fit"):
        scaler.fit([[1.0]]).transform(X)


def test_frames_with_columns_that_arrow_does_not_know():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"thing": pl.Series([object(), object()], dtype=pl.Object), "fare": [1.0, 3.0]})
    result = StandardScaler().fit_transform(frame)
    assert result["fare"].to_list() == [-1.0, 1.0] and result["thing"].to_list() == frame["thing"].to_list()
