"""Frames, columns and queries of all makers: the same kind comes back, with the same values."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import bits, same

import streamnorm as sn
from streamnorm.errors import DataError
from streamnorm.scalers import ColumnScaler, MinMaxScaler, RobustScaler, StandardScaler

ROWS = 300_000  # several batches of a query


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(3)
    fare = pa.array(rng.lognormal(size=ROWS), mask=rng.random(ROWS) < 0.05)
    return pa.table(
        {
            "fare": fare,
            "stops": rng.integers(0, 9, ROWS),
            "small": rng.standard_normal(ROWS).astype(np.float32),
            'odd "name"': rng.standard_normal(ROWS),
            "id": pa.array(["a", "b", "c"] * (ROWS // 3)),
        }
    )


@pytest.fixture(scope="module")
def fitted(table) -> StandardScaler:
    return StandardScaler().fit(table)


def arrow(data) -> pa.Table:
    return pa.RecordBatchReader.from_stream(data).read_all()


def check_same(got: pa.ChunkedArray, expected: pa.ChunkedArray) -> None:
    """The same bits where there are values, and nulls in the same places."""
    assert got.type == expected.type and got.is_null().equals(expected.is_null())
    one, other = (column.drop_null().to_numpy() for column in (got, expected))
    if one.dtype.kind == "f":
        missing = np.isnan(one)
        assert (missing == np.isnan(other)).all()
        one, other = one[~missing], other[~missing]
    assert one.tobytes() == other.tobytes() if one.dtype.kind != "O" else one.tolist() == other.tolist()


class Exporter:
    """What offers the Arrow stream capsule and nothing else."""

    def __init__(self, data):
        self._data = data

    def __arrow_c_stream__(self, requested_schema=None):
        return self._data.__arrow_c_stream__(requested_schema)


class ArrayExporter:
    """What offers the Arrow array capsule and nothing else."""

    def __init__(self, data):
        self._data = data

    def __arrow_c_array__(self, requested_schema=None):
        return self._data.__arrow_c_array__(requested_schema)


class WithSchema(Exporter):
    """What says what is in its stream before it is read."""

    def __arrow_c_schema__(self):
        return self._data.type.__arrow_c_schema__()


# Lazy frames


def test_a_lazy_frame_is_fitted_as_its_result(table, fitted):
    pl = pytest.importorskip("polars")
    lazy = pl.from_arrow(table).lazy()
    assert bits(StandardScaler().fit(lazy)) == bits(fitted)
    assert bits(sn.fit(lazy)) == bits(fitted)
    assert bits(StandardScaler().fit([lazy.head(1000), lazy.slice(1000)])) == bits(fitted)
    assert list(StandardScaler().fit(lazy, exclude="stops").summary_) == ["fare", "small", 'odd "name"']
    exact = RobustScaler(exact=True)
    assert same(exact.fit(lazy).center_, RobustScaler(exact=True).fit(table).center_)
    weighted = StandardScaler().fit(lazy, columns="fare", sample_weight="stops")
    assert bits(weighted) == bits(StandardScaler().fit(table, columns="fare", sample_weight="stops"))
    twice = StandardScaler().fit(lazy).partial_fit(lazy)
    assert twice.summary_.rows == 2 * ROWS
    with pytest.raises(DataError, match="no column 'fair': did you mean 'fare'"):
        StandardScaler().fit(lazy, columns="fair")


def test_a_lazy_frame_comes_back_lazy(table, fitted):
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(table)
    lazy = frame.lazy()
    expected = fitted.transform(frame)
    result = fitted.transform(lazy)
    assert isinstance(result, pl.LazyFrame) and result.collect_schema() == expected.schema
    assert result.collect().equals(expected) and result.collect(engine="streaming").equals(expected)
    assert fitted.inverse_transform(result).collect().equals(fitted.inverse_transform(expected))
    chosen = result.filter(pl.col("id") == "b").select("stops")
    assert chosen.collect().equals(expected.filter(pl.col("id") == "b").select("stops"))
    assert sn.transform(lazy, None, fitted).read_all().column("stops").equals(
        sn.transform(table, None, fitted).read_all().column("stops")
    )
    with pytest.raises(DataError, match="no column 'fare'"):
        fitted.transform(lazy.drop("fare"))


def test_a_lazy_frame_runs_only_what_is_asked_for(table, fitted):
    pl = pytest.importorskip("polars")
    seen = []

    def watch(series):
        seen.append(series.name)
        return series

    lazy = pl.from_arrow(table).lazy()
    lazy = lazy.with_columns(
        pl.col(name).map_batches(watch, return_dtype=kind, is_elementwise=True)
        for name, kind in lazy.collect_schema().items()
    )
    result = fitted.transform(lazy)
    assert seen == []
    assert result.select("stops").collect().height == ROWS and set(seen) == {"stops"}
    seen.clear()
    StandardScaler().fit(lazy, columns=["fare", "small"])
    assert set(seen) == {"fare", "small"}


# DuckDB


def test_a_relation_is_fitted_and_comes_back_as_one(table, fitted):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.from_arrow(table)
    assert bits(StandardScaler().fit(relation)) == bits(fitted) == bits(StandardScaler().fit(relation))
    assert bits(sn.fit(relation, columns="fare", exclude=None)) == bits(sn.fit(table, columns="fare"))
    result = fitted.transform(relation)
    assert isinstance(result, duckdb.DuckDBPyRelation) and result.columns == table.column_names
    expected = fitted.transform(table)
    made = result.to_arrow_table()
    assert made.schema.types == expected.schema.types
    for name in table.column_names:
        check_same(made[name], expected[name])
    back = fitted.inverse_transform(result).to_arrow_table()
    for name in ("fare", "small"):
        check_same(back[name], fitted.inverse_transform(expected)[name])
    check_same(sn.transform(relation, None, fitted).read_all()["fare"], made["fare"])


def test_a_relation_clips_as_the_kernel_does():
    duckdb = pytest.importorskip("duckdb")
    values = [-1.0, 0.0, 2.0, float("nan"), None, float("inf"), float("-inf"), 0.3]
    table = pa.table({"x": pa.array(values)})
    scaler = MinMaxScaler((-1.0, 2.5), clip=True).fit(pa.table({"x": [0.1, 1.7]}))
    result = scaler.transform(duckdb.from_arrow(table)).to_arrow_table()
    check_same(result["x"], scaler.transform(table)["x"])


def test_a_relation_whose_column_becomes_a_constant():
    duckdb = pytest.importorskip("duckdb")
    table = pa.table({"x": [5.0, -1.0, float("inf"), float("nan"), None]})
    scaler = StandardScaler(constant="zero").fit(pa.table({"x": [5.0, 5.0]}))
    result = scaler.transform(duckdb.from_arrow(table))
    assert isinstance(result, duckdb.DuckDBPyRelation)
    check_same(result.to_arrow_table()["x"], scaler.transform(table)["x"])
    back = scaler.inverse_transform(result).to_arrow_table()
    check_same(back["x"], scaler.inverse_transform(scaler.transform(table))["x"])


def test_unit_rows_of_a_relation_come_back_as_a_reader():
    duckdb = pytest.importorskip("duckdb")
    table = pa.table({"x": [3.0, 0.0], "y": [4.0, 2.0]})
    result = sn.Normalizer().fit(table).transform(duckdb.from_arrow(table))
    assert result.read_all().to_pydict() == {"x": [0.6, 0.0], "y": [0.8, 1.0]}


def test_a_relation_with_decimals_and_booleans():
    duckdb = pytest.importorskip("duckdb")
    prices = pa.array([f"{i * 7919}.{i % 100:02}" for i in range(1, 500)]).cast(pa.decimal128(20, 2))
    table = pa.table({"price": prices, "late": pa.array([i % 3 == 0 for i in range(1, 500)])})
    scaler = StandardScaler().fit(table, columns=["price", "late"])
    result = scaler.transform(duckdb.from_arrow(table)).to_arrow_table()
    for name in table.column_names:
        check_same(result[name], scaler.transform(table)[name])


def test_the_names_of_columns_are_no_methods():
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("select i::double as num_rows, i::double as read, i::double as name from range(5) t(i)")
    seen = []
    scaler = StandardScaler().fit(relation, progress=lambda *done: seen.append(done))
    assert list(scaler.summary_) == ["num_rows", "read", "name"] and [done[:2] for done in seen] == [(5, None)]
    assert isinstance(scaler.transform(relation), duckdb.DuckDBPyRelation)


def test_a_relation_of_dates_comes_back_as_a_reader():
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("select date '2020-01-01' + i::int as day, i::double as x from range(10) t(i)")
    scaler = StandardScaler().fit(relation, columns="day")
    result = scaler.transform(relation)
    assert isinstance(result, pa.RecordBatchReader)
    assert result.read_all()["day"].to_pylist()[0] == pytest.approx(-4.5 / np.std(np.arange(10)))


# Datasets and scanners


def test_datasets_and_scanners(table, fitted, tmp_path):
    dataset = ds.dataset(table)
    expected = fitted.transform(table)
    assert bits(StandardScaler().fit(dataset)) == bits(fitted) == bits(sn.fit(dataset))
    scanner = dataset.scanner(columns=["fare", "stops"], filter=ds.field("id") == "b")
    scaler = StandardScaler().fit(scanner)
    kept = table.filter(ds.field("id") == "b").select(["fare", "stops"])
    assert bits(scaler) == bits(StandardScaler().fit(kept))
    for source, wanted in ((dataset, expected), (scanner, scaler.transform(kept))):
        made = (fitted if source is dataset else scaler).transform(source)
        assert isinstance(made, pa.RecordBatchReader) and same(made.read_all(), wanted)
    sn.normalize(scanner, tmp_path / "out.parquet")
    assert same(RobustScaler(exact=True).fit(scanner).center_, RobustScaler(exact=True).fit(kept).center_)


def test_a_scanner_of_batches_that_are_gone_says_so(table):
    scanner = ds.Scanner.from_batches(table.to_reader())
    with pytest.raises(DataError, match="can be read only once"):
        RobustScaler(exact=True).fit(scanner)


def test_a_fit_of_a_dataset_reads_the_columns_that_it_needs(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, 3.0], "wide": ["a", "b"]}), path)
    raw = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    raw[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(raw)  # whoever reads the second column fails
    assert StandardScaler().fit(ds.dataset(path)).mean_ == [2.0]


# One column


def test_a_column_comes_back_as_one():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {
        "array": pa.array([1.0, None, 3.0]),
        "chunked": pa.chunked_array([[1.0, None], [3.0]]),
        "polars": pl.Series("fare", [1, None, 3]),
        "nameless": pl.Series([1.0, None, 3.0]),
        "pandas": pd.Series([1.0, np.nan, 3.0], index=[7, 8, 9], name="fare"),
        "nullable": pd.Series([1, None, 3], dtype="Int64"),
    }
    for name, column in columns.items():
        scaler = StandardScaler().fit(column)
        result = scaler.transform(column)
        assert type(result) is type(column), name
        if name in ("pandas", "nullable"):
            result_values = pa.array(result, from_pandas=True).to_pylist()
        else:
            result_values = result.to_pylist() if name in ("array", "chunked") else result.to_list()
        assert result_values == [-1.0, None, 1.0], name
        assert hasattr(scaler, "feature_names_in_") == (name in ("polars", "pandas")), name
        back = scaler.inverse_transform(result)
        assert type(back) is type(column)
        assert scaler.partial_fit(column).n_samples_seen_ == 4
    result = StandardScaler().fit_transform(columns["pandas"])
    assert list(result.index) == [7, 8, 9] and result.name == "fare"
    assert StandardScaler().fit_transform(columns["polars"]).name == "fare"


def test_a_column_is_matched_by_name_if_it_has_one_and_else_by_position():
    pl = pytest.importorskip("polars")
    scaler = StandardScaler().fit(pa.table({"fare": [1.0, 3.0]}))
    assert scaler.transform(pa.array([5.0])).to_pylist() == [3.0]
    assert scaler.transform(pl.Series("fare", [5.0])).to_list() == [3.0]
    with pytest.raises(DataError, match="no column 'fare'"):
        scaler.transform(pl.Series("price", [5.0]))
    two = StandardScaler().fit([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(DataError, match="X has 1 features"):
        two.transform(pa.array([5.0]))
    assert ColumnScaler({0: "minmax"}).fit_transform(pa.array([1.0, 3.0])).to_pylist() == [0.0, 1.0]
    with pytest.raises(DataError, match="this one has no name"):
        StandardScaler().fit(pa.array([1.0]), columns="fare")


# The capsules alone


def test_what_offers_only_a_capsule(table, fitted):
    batch = table.combine_chunks().to_batches()[0]
    for data in (Exporter(table), ArrayExporter(batch)):
        assert bits(StandardScaler().fit(data)) == bits(fitted) == bits(sn.fit(data))
        result = fitted.transform(data)
        assert isinstance(result, pa.Table) and same(result.combine_chunks(), fitted.transform(table).combine_chunks())
        assert sn.transform(data, None, fitted).read_all().num_rows == ROWS
    column = WithSchema(pa.chunked_array([[1.0], [3.0]]))
    assert StandardScaler().fit_transform(column).to_pylist() == [-1.0, 1.0]


# narwhals


def test_wrapped_frames_come_back_wrapped(table, fitted):
    nw, pl, pd = map(pytest.importorskip, ("narwhals", "polars", "pandas"))
    frame = pl.from_arrow(table)
    for native in (frame, frame.lazy(), table, pd.DataFrame({name: [1.0, 2.0] for name in fitted.summary_})):
        wrapped = nw.from_native(native)
        result = fitted.transform(wrapped)
        assert type(result) is type(wrapped) and type(result.to_native()) is type(native)
        assert bits(StandardScaler().fit(wrapped)) == bits(StandardScaler().fit(native))
    series = nw.from_native(frame["stops"], series_only=True)
    result = StandardScaler().fit_transform(series)
    assert isinstance(result, nw.Series) and result.mean() == pytest.approx(0.0)
    assert sn.transform(nw.from_native(frame), None, fitted).read_all().num_rows == ROWS


def test_the_version_of_the_wrapper_stays():
    pytest.importorskip("narwhals")
    import narwhals.stable.v1 as v1

    wrapped = v1.from_native(pa.table({"x": [1.0, 3.0]}))
    assert type(StandardScaler().fit_transform(wrapped)) is type(wrapped)


@pytest.mark.filterwarnings("ignore:Dask support is moving:FutureWarning")  # of narwhals
def test_frames_of_dask_stay_lazy(tmp_path):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(
        {"fare": np.where(np.arange(1000) % 7, np.sin(np.arange(1000)), np.nan), "n": np.arange(1000) % 9},
        index=2 * np.arange(1000),
    ).assign(zone=list("wxyz") * 250)
    lazy = dd.from_pandas(frame, npartitions=5)
    scaler = RobustScaler().fit(lazy)
    assert bits(scaler) == bits(RobustScaler().fit(frame)) and list(scaler.summary_) == ["fare", "n"]
    result = scaler.transform(lazy)
    assert type(result) is type(lazy) and result.npartitions == 5
    expected = scaler.transform(frame)
    made = result.compute(scheduler="processes", num_workers=1)  # the function travels to another process
    pd.testing.assert_frame_equal(made, expected.assign(zone=made["zone"]), check_exact=True)
    assert made["zone"].tolist() == frame["zone"].tolist() and result.dtypes.to_dict() == made.dtypes.to_dict()
    back = scaler.inverse_transform(result).compute(scheduler="sync")
    np.testing.assert_allclose(back["fare"], frame["fare"], atol=1e-15)
    sn.normalize(lazy, tmp_path / "out.parquet", "robust")
    written = pq.read_table(tmp_path / "out.parquet")["fare"].to_numpy()
    np.testing.assert_array_equal(written, expected["fare"])
    wrapped = pytest.importorskip("narwhals").from_native(lazy)
    assert bits(RobustScaler().fit(wrapped)) == bits(scaler) and type(scaler.transform(wrapped)) is type(wrapped)


def test_frames_of_libraries_that_are_seldom_there(monkeypatch):
    """Modin's come back as Modin's, a table of Ibis is read as a stream of Arrow's."""
    monkeypatch.setenv("MODIN_ENGINE", "python")
    columns = {"fare": [1.0, 2.0, 3.0], "zone": ["x", "y", "z"]}
    wanted = bits(StandardScaler().fit(pa.table(columns)))
    modin = pytest.importorskip("modin.pandas", reason="Modin is tried where it is installed")
    frame = modin.DataFrame(columns)
    scaler = StandardScaler().fit(frame)
    result = scaler.transform(frame)
    assert bits(scaler) == wanted and type(result) is modin.DataFrame
    assert result["fare"].mean() == 0 and result["zone"].tolist() == columns["zone"]
    series = scaler.transform(frame)["fare"]
    assert type(StandardScaler().fit_transform(series)) is modin.Series


def test_tables_of_ibis():
    ibis = pytest.importorskip("ibis", reason="Ibis is tried where it is installed")
    pytest.importorskip("pyarrow_hotfix", reason="Ibis is tried where it is installed with all that it needs")
    table = ibis.memtable({"fare": [1.0, 2.0, 3.0], "zone": ["x", "y", "z"]})
    scaler = StandardScaler().fit(table)
    result = scaler.transform(table)
    assert isinstance(result, pa.Table) and result["fare"].to_pylist() == [-math.sqrt(1.5), 0.0, math.sqrt(1.5)]
    assert result["zone"].to_pylist() == ["x", "y", "z"]
    assert sn.fit(table, "robust", exact=True).center_.tolist() == [2.0]


# Structured arrays


def test_structured_arrays_have_columns_by_field_name():
    rows = np.array(
        [(1, 2.0, "a", [1, 2]), (3, 5.0, "b", [3, 4])],
        dtype=[("stops", "i4"), ("fare", ">f4"), ("id", "U3"), ("pair", "f8", 2)],
    )
    scaler = StandardScaler().fit(rows)
    assert list(scaler.feature_names_in_) == ["stops", "fare"]
    result = scaler.transform(rows)
    assert result.dtype == [("stops", "f8"), ("fare", "f4"), ("id", "U3"), ("pair", "f8", 2)]
    assert result["fare"].tolist() == [-1.0, 1.0] and result["stops"].tolist() == [-1.0, 1.0]
    assert result["id"].tolist() == ["a", "b"] and result["pair"].tolist() == [[1, 2], [3, 4]]
    assert isinstance(scaler.transform(rows.view(np.recarray)), np.recarray)
    assert scaler.inverse_transform(result)["fare"].tolist() == [2.0, 5.0]
    assert bits(StandardScaler().fit([rows[:1], rows[1:]])) == bits(scaler)
    assert sn.transform(rows[["stops", "fare"]], None, scaler).read_all()["stops"].to_pylist() == [-1.0, 1.0]
    missing = np.array([(np.nan,), (2.0,)], dtype=[("x", "f8")])
    assert StandardScaler().fit(missing).summary_["x"].nan_count == 1
    with pytest.raises(DataError, match="must have one dimension"):
        scaler.fit(rows.reshape(1, 2))


# Results for others


def test_a_summary_is_a_table_to_others(table, fitted):
    pl, pd, duckdb = map(pytest.importorskip, ("polars", "pandas", "duckdb"))
    summary = fitted.summary_
    made = arrow(summary)
    assert made["column"].to_pylist() == ["fare", "stops", "small", 'odd "name"']
    row = {name: made[name][0].as_py() for name in made.column_names}
    fare = summary["fare"]
    assert row["count"] == fare.count and row["null_count"] == fare.null_count and row["rows"] == ROWS
    assert (row["mean"], row["std"], row["var"]) == (fare.mean, fare.std(), fare.var())
    assert (row["min"], row["max"], row["weight"]) == (fare.min, fare.max, fare.weight)
    assert row["median"] is None and row["source"] == "data"
    rows = pl.from_arrow(summary)  # a Series of structs, or in older versions a frame
    assert (rows.struct.unnest() if isinstance(rows, pl.Series) else rows).equals(pl.from_arrow(made))
    assert duckdb.sql("select max(mean) from summary").fetchall() == [(max(made["mean"].to_pylist()),)]
    if hasattr(pd.DataFrame, "from_arrow"):  # since pandas 3
        assert len(pd.DataFrame.from_arrow(summary)) == 4
    assert pa.schema(summary) == made.schema  # from the capsule


def test_a_summary_shows_what_was_collected(table):
    made = arrow(RobustScaler(exact=True).fit(table, columns="fare").summary_)
    values = table["fare"].drop_null().to_numpy()
    assert made["median"][0].as_py() == np.quantile(values, 0.5) and made["q25"][0].as_py() == np.quantile(values, 0.25)
    assert made["rank_error"][0].as_py() == 0.0
    made = arrow(MinMaxScaler().fit([[1, 2], [3, 4]]).summary_)
    assert made["column"].to_pylist() == ["0", "1"] and made["max"].to_pylist() == [3.0, 4.0]
    assert made["mean"].to_pylist() == [None, None]
    given = StandardScaler.from_statistics([1.0], [2.0])
    assert arrow(given.summary_)["given_mean"].to_pylist() == [1.0]


def test_results_speak_arrow(table, fitted):
    for source in (table, table.to_reader(), ds.dataset(table)):
        assert hasattr(fitted.transform(source), "__arrow_c_stream__")
        assert hasattr(sn.transform(table, None, fitted), "__arrow_c_stream__")


def test_batches_and_networks_take_queries_too():
    pl = pytest.importorskip("polars")
    X = np.random.default_rng(0).standard_normal((500, 2))
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "y": X.sum(axis=1)})
    expected = sn.nn.Regressor(random_state=0).fit(table, target="y").predict(table)
    for source in (ds.dataset(table), pl.from_arrow(table).lazy()):
        assert same(sn.nn.Regressor(random_state=0).fit(source, target="y").predict(source), expected)
        assert sum(len(batch) for batch in sn.batches(source, batch_size=128)) == 500
