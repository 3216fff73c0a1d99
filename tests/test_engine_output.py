"""What the jobs write: what passes through, how it is laid out, who can read it, and the way back."""

import json
import tempfile
from decimal import Decimal

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import HOSTILE
from support.files import FLIGHTS, FLIGHTS_ROWS, fares, listing, numbers, passengers, sha256, side_by_side, write

import streamnorm as sn

INVERSE_RTOL = {"float64": 4e-15, "float32": 1e-6, "float16": 4e-3}  # of the column's largest magnitude
METHODS = ("standard", "minmax", "maxabs", "robust")

LAYOUTS = {
    "snappy": {},
    "zstd": {"compression": "zstd"},
    "gzip": {"compression": "gzip"},
    "brotli": {"compression": "brotli"},
    "lz4": {"compression": "lz4"},
    "plain": {"compression": "none", "use_dictionary": False},
    "pages v2": {"data_page_version": "2.0"},
    "pages v2, zstd, no dictionary": {"data_page_version": "2.0", "compression": "zstd", "use_dictionary": False},
    "small pages": {"data_page_size": 256, "write_batch_size": 16, "dictionary_pagesize_limit": 512},
    "one row group": {"row_group_size": 10**6},
    "page index and checksums": {"write_page_index": True, "write_page_checksum": True},
    "no statistics": {"write_statistics": False},
    "byte stream split": {
        "use_dictionary": False,
        "column_encoding": {"float64": "BYTE_STREAM_SPLIT", "float32": "BYTE_STREAM_SPLIT"},
    },
    "delta": {
        "use_dictionary": False,
        "column_encoding": {
            "int64": "DELTA_BINARY_PACKED",
            "string": "DELTA_BYTE_ARRAY",
            "binary": "DELTA_LENGTH_BYTE_ARRAY",
        },
    },
    "old format": {"version": "1.0", "allow_truncated_timestamps": True, "coerce_timestamps": "ms"},
}


def assert_passed_through(output, source, names):
    assert output.column_names == source.column_names
    for name in names:
        assert output.schema.field(name).equals(source.schema.field(name), check_metadata=True), name
        assert values_of(output[name]) == values_of(source[name]), name


def values_of(column):
    """Python values, NaN as its text: what equality does not tell apart, and dictionaries may differ."""
    return ["NaN" if value != value else value for value in column.to_pylist()]


def assert_normalized(output, source, scaler):
    """Every normalized column is (x - center) / scale + offset, with nulls and NaN where they were."""
    for name, center, scale, offset in affine(scaler):
        given = source[name]
        values = np.array([np.nan if x is None else float(x) for x in given.to_pylist()])
        found = output[name]
        assert found.is_null().to_pylist() == given.is_null().to_pylist(), name
        expected = ((values - center) / scale + offset).astype(found.type.to_pandas_dtype())
        ours = found.to_numpy().astype(expected.dtype)
        eps = np.finfo(expected.dtype).eps
        np.testing.assert_allclose(ours, expected, rtol=4 * eps, atol=4 * eps, err_msg=name)


def affine(scaler):
    """(column, center, scale, offset) of each column, as a user sees them."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        scaler.save(file.name)
        return [(c["name"], c["center"], c["scale"], c["offset"]) for c in sn.inspect(file.name)["columns"]]


# ------------------------------------------------------------------------------------------------ pass through


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_everything_else_passes_through_untouched(layout, tmp_path):
    source = side_by_side(passengers(700), fares(700))
    path = write(tmp_path / "in.parquet", source, **({"row_group_size": 160} | LAYOUTS[layout]))
    source = pq.read_table(path)
    scaler = sn.normalize(path, tmp_path / "out.parquet", "robust")
    output = pq.read_table(tmp_path / "out.parquet")
    assert set(scaler.feature_names_in_) == set(fares(1).column_names)
    assert_passed_through(output, source, passengers(1).column_names)
    assert_normalized(output, source, scaler)
    kept = {k: v for k, v in output.schema.metadata.items() if not k.startswith(b"streamnorm")}
    assert kept == source.schema.metadata


def test_every_job_to_memory_passes_everything_through(tmp_path):
    source = side_by_side(passengers(300), fares(300))
    scaler = sn.fit(source, "minmax")
    output = sn.transform(source, None, scaler).read_all()
    assert_passed_through(output, source, passengers(1).column_names)
    assert sn.transform(source, tmp_path / "x.parquet", scaler) == 300
    written = pq.read_table(tmp_path / "x.parquet")
    pq.write_table(source, tmp_path / "plain.parquet")
    assert_passed_through(written, pq.read_table(tmp_path / "plain.parquet"), passengers(1).column_names)
    assert_normalized(written, source, scaler)


@pytest.mark.parametrize("start,length", [(1, 500), (7, 93), (8, 8), (511, 1), (600, 0)])
def test_slices_with_an_offset(start, length, tmp_path):
    whole = side_by_side(passengers(600), fares(600))
    part = whole.slice(start, length)
    scaler = sn.fit(whole)
    sn.transform(part, tmp_path / "sliced.parquet", scaler)
    copy = pa.Table.from_pylist(part.to_pylist(), schema=part.schema)
    sn.transform(copy, tmp_path / "copied.parquet", scaler)
    sliced, copied = pq.read_table(tmp_path / "sliced.parquet"), pq.read_table(tmp_path / "copied.parquet")
    assert sliced.num_rows == length
    assert sliced.schema.equals(copied.schema, check_metadata=True)
    for name in sliced.column_names:
        assert values_of(sliced[name]) == values_of(copied[name]), name


def test_columns_named_strangely(tmp_path):
    rows = 50
    names = ["a", "a.b", "a.b.c", " a", "a ", "", "é", "e\u0301", "line\nbreak", 'quo"te', "tab\t", "🛫", "a" * 300]
    names += ["0", "*", "/"]
    columns = {name: pa.array(np.arange(rows) * (i + 1.0)) for i, name in enumerate(names)}
    columns["struct"] = pa.array([{"a": i, "b": {"a.b": i}} for i in range(rows)])
    columns["c"] = pa.array([{"d": float(i)} for i in range(rows)])
    columns["c.d"] = pa.array(np.arange(rows, dtype=np.int32))
    columns["c.list.element"] = pa.array([float(i) for i in range(rows)])
    source = pa.table(columns)
    path = write(tmp_path / "in.parquet", source, row_group_size=20)
    scaler = sn.normalize(path, tmp_path / "out.parquet")
    assert list(scaler.feature_names_in_) == [*names, "c.d", "c.list.element"]
    output = pq.read_table(tmp_path / "out.parquet")
    assert_passed_through(output, source, ["struct", "c"])
    assert_normalized(output, source, scaler)
    for i, name in enumerate(names):
        assert scaler.summary_[name].max == (rows - 1) * (i + 1.0)
    only = sn.fit(path, columns=["a.b", "line\nbreak"])
    assert list(only.feature_names_in_) == ["a.b", "line\nbreak"]
    back = sn.load(tmp_path / "out.parquet")
    assert list(back.feature_names_in_) == [*names, "c.d", "c.list.element"]


def test_a_struct_and_a_column_that_is_called_like_its_leaf(tmp_path):
    source = pa.table(
        {"a": pa.array([{"b": 1.0}, {"b": None}, None]), "a.b": pa.array([10.0, 20.0, 60.0]), "b": pa.array([1, 2, 3])}
    )
    path = write(tmp_path / "in.parquet", source)
    scaler = sn.normalize(path, tmp_path / "out.parquet")
    assert list(scaler.feature_names_in_) == ["a.b", "b"]
    assert scaler.mean_.tolist() == [30.0, 2.0]
    output = pq.read_table(tmp_path / "out.parquet")
    assert output["a"].equals(source["a"])
    with pytest.raises(sn.DataError) as caught:
        sn.fit(path, columns=["a"])
    assert caught.value.column == "a"


def test_columns_and_exclude(tmp_path):
    source = side_by_side(passengers(200), fares(200))
    path = write(tmp_path / "in.parquet", source, row_group_size=64)
    scaler = sn.normalize(path, tmp_path / "out.parquet", columns=["int8", "decimal128"])
    output = pq.read_table(tmp_path / "out.parquet")
    rest = [n for n in source.column_names if n not in ("int8", "decimal128")]
    assert_passed_through(output, pq.read_table(path), rest)
    assert output.schema.field("decimal128").type == pa.float64()
    assert_normalized(output, source, scaler)
    fewer = sn.fit(path, exclude=["int8", "full"])
    assert {"int8", "full"} == set(fares(1).column_names) - set(fewer.feature_names_in_)
    with pytest.raises(sn.DataError, match="did you mean 'int8'") as caught:
        sn.fit(path, exclude=["int_8"])
    assert caught.value.column == "int_8"


def test_bool_dictionary_and_temporal_columns_only_when_named(tmp_path):
    source = passengers(300)
    path = write(tmp_path / "in.parquet", source, row_group_size=77)
    named = ["bool", "zoned", "date", "naive_ns", "duration"]
    scaler = sn.normalize(path, tmp_path / "out.parquet", columns=named)
    output = pq.read_table(tmp_path / "out.parquet")
    assert {output.schema.field(name).type for name in named} == {pa.float64()}
    assert_passed_through(output, pq.read_table(path), [n for n in source.column_names if n not in named])
    share = pc.mean(source["bool"].cast(pa.float64())).as_py()
    assert scaler.summary_["bool"].mean == pytest.approx(share, rel=1e-14)
    days = source["date"].cast(pa.int32()).cast(pa.float64()).drop_null().to_numpy()
    assert scaler.summary_["date"].mean == pytest.approx(days.mean(), rel=1e-14)


def test_a_dictionary_of_numbers_only_when_named(tmp_path):
    # In memory alone: Parquet readers give such a column as plain numbers.
    table = pa.table({"d": pa.array([10, 20, None, 10, 40] * 9).dictionary_encode(), "x": np.arange(45.0)})
    assert list(sn.fit(table).feature_names_in_) == ["x"]
    scaler = sn.normalize(table, tmp_path / "out.parquet", "maxabs", columns=["d"])
    assert scaler.n_features_in_ == 1
    assert pq.read_table(tmp_path / "out.parquet")["d"].to_pylist() == [0.25, 0.5, None, 0.25, 1.0] * 9


def test_pandas_metadata_and_index(tmp_path):
    frame = fares(60).to_pandas().assign(s=[str(i) for i in range(60)])
    frame.index = np.arange(60) * 10
    frame.index.name = "trip"
    frame.to_parquet(tmp_path / "in.parquet")
    scaler = sn.normalize(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert "trip" not in scaler.feature_names_in_
    back = pq.read_table(tmp_path / "out.parquet").to_pandas()
    assert back.index.name == "trip" and back.index.tolist() == frame.index.tolist()
    assert back["s"].tolist() == frame["s"].tolist()
    assert list(back.columns) == list(frame.columns)
    np.testing.assert_allclose(back["full"].mean(), 0, atol=1e-12)
    frame.columns = pa_names = [f"col {i}" for i in range(frame.shape[1])]
    frame.reset_index(drop=True).to_parquet(tmp_path / "in2.parquet")
    sn.normalize(tmp_path / "in2.parquet", tmp_path / "out2.parquet")
    assert list(pq.read_table(tmp_path / "out2.parquet").to_pandas().columns) == pa_names


@pytest.mark.parametrize("as_file", [True, False])
def test_pandas_metadata_says_what_the_columns_hold_now(as_file, tmp_path):
    def entry(name, kind, extra=None):
        return {"name": name, "field_name": name, "pandas_type": kind.lower(), "numpy_type": kind, "metadata": extra}

    columns = [entry("i", "Int64"), entry("f", "Float32"), entry("d", "object", {"precision": 5}), entry("s", "str")]
    table = pa.table(
        {
            "i": pa.array([1, 2, None, 7]),
            "f": pa.array([1, 2, 3, 7], pa.float32()),
            "d": pa.array([Decimal("1.50"), None, None, Decimal("2.50")]),
            "s": list("wxyz"),
        }
    ).replace_schema_metadata({"pandas": json.dumps({"index_columns": [], "columns": columns}), "mine": "kept"})
    source = write(tmp_path / "in.parquet", table) if as_file else table
    sn.normalize(source, tmp_path / "out.parquet")
    metadata = pq.read_schema(tmp_path / "out.parquet").metadata
    assert metadata[b"mine"] == b"kept"
    assert json.loads(metadata[b"pandas"]) == {
        "index_columns": [],
        "columns": [entry("i", "float64"), entry("f", "float32"), entry("d", "float64"), entry("s", "str")],
    }


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd"}, {"row_group_size": 100}, {"use_pyarrow": True}], ids=str
)
def test_files_of_polars(options, tmp_path):
    source = fares(500).drop_columns(["float16", "decimal256"])
    others = ["string", "zoned", "date", "list", "dictionary"]
    frame = polars.from_arrow(side_by_side(source, passengers(500).select(others)))
    frame.write_parquet(tmp_path / "in.parquet", **options)
    scaler = sn.normalize(tmp_path / "in.parquet", tmp_path / "out.parquet")
    given, output = pq.read_table(tmp_path / "in.parquet"), pq.read_table(tmp_path / "out.parquet")
    assert_passed_through(output, given, others)
    assert_normalized(output, given, scaler)
    assert polars.read_parquet(tmp_path / "out.parquet")["dictionary"].to_list() == frame["dictionary"].to_list()


@pytest.mark.parametrize("options", ["", "(compression zstd, row_group_size 2048)", "(parquet_version v2)"])
def test_files_of_duckdb(options, tmp_path):
    others = ["string", "date", "list", "struct", "map"]
    source = side_by_side(fares(5000).drop_columns(["float16", "decimal256"]), passengers(5000).select(others))
    write(tmp_path / "source" / "x.parquet", source)
    target = tmp_path / "in.parquet"
    duckdb.sql(f"copy (from '{tmp_path}/source/x.parquet') to '{target}' {options.replace('(', '(format parquet, ')}")
    scaler = sn.normalize(target, tmp_path / "out.parquet", "robust")
    given, output = pq.read_table(target), pq.read_table(tmp_path / "out.parquet")
    assert_passed_through(output, given, others)
    assert_normalized(output, given, scaler)


def test_hostile_columns_as_a_file(tmp_path):
    for name, column in HOSTILE:
        array = pa.chunked_array(column if isinstance(column, pa.ChunkedArray) else [column])
        if len(array) == 0:
            continue
        folder = tmp_path / name.replace("*", "x")
        table = pa.table({"x": array, "row": [str(i) for i in range(len(array))]})
        path = write(folder / "in.parquet", table, row_group_size=61)
        for method in ("standard", "robust"):
            scaler = sn.normalize(path, folder / "out.parquet", method, columns=["x"], overwrite=True)
            expected = sn.fit(pq.read_table(path), method, columns=["x"])
            column = scaler.summary_["x"]
            assert (column.count, column.null_count, column.nan_count, column.min, column.max) == tuple(
                getattr(expected.summary_["x"], key) for key in ("count", "null_count", "nan_count", "min", "max")
            ), name
            output = pq.read_table(folder / "out.parquet")
            theirs = scaler.transform(pq.read_table(path))
            assert values_of(output["x"]) == values_of(theirs["x"]), name
            finite = output["x"].drop_null().to_numpy()
            assert not np.isinf(finite).any(), name


# ------------------------------------------------------------------------------------------------------ layout


def groups_of(path):
    meta = pq.read_metadata(path)
    return [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]


def test_row_groups_above_a_megabyte_are_kept(tmp_path):
    table = pa.table({"a": np.random.default_rng(1).normal(size=450_000)})
    path = write(tmp_path / "in.parquet", table, row_group_size=150_000)
    sn.normalize(path, tmp_path / "out.parquet")
    assert groups_of(tmp_path / "out.parquet") == [150_000] * 3


def test_large_row_groups_are_split_evenly(tmp_path):
    table = pa.table({c: np.random.default_rng(1).normal(size=400_000) for c in "abcd"})
    path = write(tmp_path / "in.parquet", table, row_group_size=400_000)
    sn.normalize(path, tmp_path / "out.parquet", memory="16MB")
    groups = groups_of(tmp_path / "out.parquet")
    assert sum(groups) == 400_000 and max(groups) * 4 * 8 <= 4e6 * 1.05 and len(groups) <= 6
    assert max(groups) - min(groups) <= len(groups)


def test_tiny_row_groups_are_joined(tmp_path):
    path = write(tmp_path / "in.parquet", numbers(20_000), row_group_size=100)
    sn.normalize(path, tmp_path / "out.parquet")
    assert len(groups_of(tmp_path / "out.parquet")) == 1
    assert pq.read_table(tmp_path / "out.parquet")["s"].equals(pq.read_table(path)["s"])


@pytest.mark.parametrize("size", [9, 70, 100, 999, 1000, 10**9])
def test_row_group_size_is_obeyed(size, tmp_path):
    path = write(tmp_path / "in.parquet", side_by_side(passengers(1000), fares(1000)), row_group_size=333)
    sn.normalize(path, tmp_path / "out.parquet", row_group_size=size)
    expected = [min(size, 1000 - at) for at in range(0, 1000, size)]
    source, output = pq.read_table(path), pq.read_table(tmp_path / "out.parquet")
    assert_passed_through(output, source, passengers(1).column_names)
    groups = groups_of(tmp_path / "out.parquet")
    assert sum(groups) == 1000 and max(groups) <= size
    if size >= 1000:
        assert groups == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float32, None])
def test_dtype_of_normalized_columns(dtype, tmp_path):
    source = fares(300)
    path = write(tmp_path / "in.parquet", source)
    scaler = sn.normalize(path, tmp_path / "out.parquet", "minmax", dtype=dtype)
    output = pq.read_table(tmp_path / "out.parquet")
    for name in source.column_names:
        own = source.schema.field(name).type if name.startswith("float") else pa.float64()
        assert output.schema.field(name).type == (pa.from_numpy_dtype(dtype) if dtype is not None else own), name
    assert_normalized(output, source, scaler)


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "brotli", "lz4", "none"])
def test_compression(codec, tmp_path):
    sn.normalize(FLIGHTS, tmp_path / "out.parquet", compression=codec, columns=["dep_delay", "distance"])
    meta = pq.read_metadata(tmp_path / "out.parquet")
    index = meta.schema.names.index("distance")
    found = meta.row_group(0).column(index).compression.lower()
    assert found == {"none": "uncompressed", "lz4": "lz4"}.get(codec, codec)
    scaler = sn.load(tmp_path / "out.parquet")
    assert_normalized(pq.read_table(tmp_path / "out.parquet"), pq.read_table(FLIGHTS), scaler)


def test_compression_level_changes_the_size_alone(tmp_path):
    for level in (1, 19):
        sn.normalize(FLIGHTS, tmp_path / f"{level}.parquet", compression="zstd", compression_level=level)
    low, high = tmp_path / "1.parquet", tmp_path / "19.parquet"
    assert high.stat().st_size < low.stat().st_size
    assert pq.read_table(low).equals(pq.read_table(high))


def test_readable_by_everybody(tmp_path):
    target = tmp_path / "out.parquet"
    scaler = sn.normalize(FLIGHTS, target, "robust")
    ours = pq.read_table(target)
    assert ours.num_rows == FLIGHTS_ROWS
    theirs = polars.read_parquet(target).to_arrow()
    relation = duckdb.sql(f"from '{target}'").to_arrow_table()
    assert relation.num_rows == FLIGHTS_ROWS
    for name in ours.column_names:
        mine = ours[name].to_pylist()
        assert theirs[name].to_pylist() == mine, name
        assert relation[name].to_pylist() == mine, name
    lazy = polars.scan_parquet(target).filter(polars.col("dep_delay") > 5).select("dep_delay").collect()
    assert lazy.height == int(pc.sum(pc.greater(ours["dep_delay"], 5)).as_py())
    ((count,),) = duckdb.sql(f"select count(*) from '{target}' where dep_delay > 5").fetchall()
    assert count == lazy.height
    assert_normalized(ours, pq.read_table(FLIGHTS), scaler)


# ------------------------------------------------------------------------------------------- state and inverse


def test_the_footer_carries_the_state(tmp_path):
    scaler = sn.normalize(FLIGHTS, tmp_path / "out.parquet", "robust", state=tmp_path / "state.json")
    from_footer, from_file = sn.load(tmp_path / "out.parquet"), sn.load(tmp_path / "state.json")
    assert from_footer.digest() == from_file.digest() == scaler.digest()
    assert sn.inspect(tmp_path / "out.parquet")["columns"] == sn.inspect(tmp_path / "state.json")["columns"]
    json.loads((tmp_path / "state.json").read_text(), parse_constant=lambda text: pytest.fail(f"not RFC 8259: {text}"))
    sn.transform(FLIGHTS, tmp_path / "again.parquet", from_footer)
    assert sha256(tmp_path / "again.parquet") == sha256(tmp_path / "out.parquet")


@pytest.mark.parametrize("method", METHODS)
def test_inverse_needs_the_footer_alone(method, tmp_path):
    source = side_by_side(passengers(800), fares(800))
    path = write(tmp_path / "in" / "x.parquet", source, row_group_size=300)
    sn.normalize(path, tmp_path / "out.parquet", method)
    assert sn.inverse(tmp_path / "out.parquet", tmp_path / "back.parquet") == 800
    back = pq.read_table(tmp_path / "back.parquet")
    assert_passed_through(back, pq.read_table(path), passengers(1).column_names)
    for name in fares(1).column_names:
        assert back[name].is_null().to_pylist() == source[name].is_null().to_pylist()
        given = np.array([np.nan if v is None else float(v) for v in source[name].to_pylist()])
        size = np.nanmax(np.abs(given))
        rtol = INVERSE_RTOL.get(name, INVERSE_RTOL["float64"])
        np.testing.assert_allclose(back[name].to_numpy().astype(float), given, rtol=0, atol=rtol * size, err_msg=name)
    with pytest.raises(sn.StateError, match="state"):
        sn.inverse(tmp_path / "back.parquet", tmp_path / "twice.parquet")
    assert not (tmp_path / "twice.parquet").exists()


def test_inverse_of_a_directory_and_to_a_reader(tmp_path):
    for i in range(3):
        write(tmp_path / "in" / f"{i}.parquet", numbers(100 + i, start=i * 1000))
    sn.normalize(tmp_path / "in", f"{tmp_path}/out/", "minmax")
    assert sn.inverse(tmp_path / "out", f"{tmp_path}/back/") == 303
    for i in range(3):
        given, back = pq.read_table(tmp_path / "in" / f"{i}.parquet"), pq.read_table(tmp_path / "back" / f"{i}.parquet")
        np.testing.assert_allclose(back["a"], given["a"], atol=1e-13)
    whole = sn.inverse(tmp_path / "out", None).read_all()
    assert whole["s"].to_pylist() == [str(i * 1000 + j) for i in range(3) for j in range(100 + i)]


def test_normalizing_again_replaces_the_state(tmp_path):
    sn.normalize(FLIGHTS, tmp_path / "1.parquet", "robust")
    second = sn.normalize(tmp_path / "1.parquet", tmp_path / "2.parquet", "minmax")
    assert sn.load(tmp_path / "2.parquet").digest() == second.digest()
    keys = [k for k in pq.read_metadata(tmp_path / "2.parquet").metadata if k.startswith(b"streamnorm")]
    assert sorted(keys) == [b"streamnorm", b"streamnorm.lineage"]
    output = pq.read_table(tmp_path / "2.parquet")
    assert pc.min_max(output["distance"]).as_py() == {"min": 0.0, "max": 1.0}
    third = sn.normalize(pq.read_table(tmp_path / "2.parquet"), tmp_path / "3.parquet", "maxabs")
    assert sn.load(tmp_path / "3.parquet").digest() == third.digest()


def test_column_scaler_over_a_file(tmp_path):
    scaler = sn.ColumnScaler({"dep_delay": "robust", ("distance", "air_time"): sn.MinMaxScaler((-1, 1))})
    assert sn.normalize(FLIGHTS, tmp_path / "out.parquet", scaler) is scaler
    source, output = pq.read_table(FLIGHTS), pq.read_table(tmp_path / "out.parquet")
    touched = ["dep_delay", "distance", "air_time"]
    assert_passed_through(output, source, [n for n in source.column_names if n not in touched])
    assert pc.min_max(output["air_time"]).as_py() == {"min": -1.0, "max": 1.0}
    sn.inverse(tmp_path / "out.parquet", tmp_path / "back.parquet")
    back = pq.read_table(tmp_path / "back.parquet")
    for name in touched:
        found = np.round(back[name].drop_null().to_numpy()).astype(int).tolist()
        assert found == source[name].drop_null().to_pylist()


def test_clip(tmp_path):
    scaler = sn.MinMaxScaler(clip=True).fit(numbers(1000).slice(0, 100).select(["a", "b"]))
    path = write(tmp_path / "in.parquet", numbers(1000))
    sn.transform(path, tmp_path / "out.parquet", scaler)
    limits = pc.min_max(pq.read_table(tmp_path / "out.parquet")["a"]).as_py()
    assert limits == {"min": 0.0, "max": 1.0}


def test_decimals_are_exact_to_the_last_bit(tmp_path):
    cents = [Decimal(i).scaleb(-2) for i in range(1, 5000)]
    path = write(tmp_path / "in.parquet", pa.table({"x": pa.array(cents, pa.decimal128(9, 2))}))
    scaler = sn.normalize(path, tmp_path / "out.parquet", "maxabs")
    assert scaler.summary_["x"].max == Decimal("49.99") and scaler.summary_["x"].min == Decimal("0.01")
    found = pq.read_table(tmp_path / "out.parquet")["x"].to_pylist()
    assert found == [float(c) / 49.99 for c in cents]


def test_integers_past_2_to_the_53rd(tmp_path):
    values = [2**63 - 1, 2**63 - 2, -(2**63), 2**53 + 1]
    path = write(tmp_path / "in.parquet", pa.table({"x": values, "u": pa.array([2**64 - 1, 0, 1, 2], pa.uint64())}))
    summary = sn.normalize(path, tmp_path / "out.parquet", "minmax").summary_
    assert (summary["x"].min, summary["x"].max, summary["u"].max) == (-(2**63), 2**63 - 1, 2**64 - 1)
    assert pc.min_max(pq.read_table(tmp_path / "out.parquet")["u"]).as_py() == {"min": 0.0, "max": 1.0}


def test_nothing_else_is_written(tmp_path):
    sn.normalize(FLIGHTS, tmp_path / "out.parquet", state=tmp_path / "s.json", memory="16MB", threads=2)
    assert sorted(listing(tmp_path)) == ["out.parquet", "s.json"]
