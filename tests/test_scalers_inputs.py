"""Scalers: every kind of input, and what is refused."""

import copy
import pathlib
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
from conftest import bits, same

from streamnorm import errors
from streamnorm.errors import DataError
from streamnorm.scalers import (
    MinMaxScaler,
    StandardScaler,
    select_columns,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


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
        (pa.array(["a"]), "column 'x0' holds string, not numbers"),
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


@pytest.mark.parametrize("X", ["a.parquet", ["a.parquet", "b.parquet"], pathlib.Path("folder")])
def test_files_go_to_the_job_that_fits(X, monkeypatch):
    calls = []

    def fit_into(scaler, X, **options):
        calls.append(((scaler, X), options))
        scaler._fit([[1.0]], None, reset=options["reset"], columns=None, exclude=None, progress=None)

    fitting = types.SimpleNamespace(fit_into=fit_into)
    monkeypatch.setitem(sys.modules, "streamnorm.fitting", fitting)
    monkeypatch.setattr("streamnorm.fitting", fitting, raising=False)
    scaler = StandardScaler()
    assert scaler.fit(X, columns="fare", sample_weight="w", memory="64MB", threads=2) is scaler
    scaler.partial_fit(X)
    options = {"columns": "fare", "exclude": None, "memory": "64MB", "threads": 2, "progress": None}
    options["sample_weight"] = "w"
    assert calls[0] == ((scaler, X), {"reset": True, **options})
    assert calls[1][1]["memory"] == "256MB"
    with pytest.raises(DataError, match="for files use streamnorm.fit"):
        scaler.fit([[1.0]]).transform(X)


def test_frames_with_columns_that_arrow_does_not_know():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"thing": pl.Series([object(), object()], dtype=pl.Object), "fare": [1.0, 3.0]})
    result = StandardScaler().fit_transform(frame)
    assert result["fare"].to_list() == [-1.0, 1.0] and result["thing"].to_list() == frame["thing"].to_list()
