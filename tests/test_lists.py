"""Columns of lists: one statistic over all values, or one for each position, in memory and from Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import run

import streamnorm as sn
from streamnorm.scalers._nested import with_values

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.StreamnormWarning")

N, D = 700, 5
rng = np.random.default_rng(20261123)
MATRIX = rng.normal(size=(N, D)) * np.array([1, 10, 100, 1e-3, 1]) + np.arange(D)
METHODS = ["standard", "minmax", "maxabs", "robust"]


def fixed(values: np.ndarray, kind: pa.DataType | None = None, mask=None) -> pa.Array:
    numbers = pa.array(values.reshape(-1)) if kind is None else pa.array(values.reshape(-1)).cast(kind, safe=False)
    return pa.FixedSizeListArray.from_arrays(numbers, values.shape[1], mask=None if mask is None else pa.array(mask))


def holey() -> pa.Array:
    """Lists of D numbers, some null, with nulls and NaN inside."""
    lists = [
        None if i % 9 == 4 else [None if (i + j) % 10 == 3 else row[j] for j in range(D)]
        for i, row in enumerate(MATRIX.tolist())
    ]
    lists[0] = [float("nan"), *lists[0][1:]]
    return pa.array(lists, pa.list_(pa.float64()))


KINDS = {
    "fixed": fixed(MATRIX),
    "fixed_float32": fixed(MATRIX, pa.float32()),
    "fixed_int": fixed(MATRIX, pa.int32()),
    "fixed_decimal": fixed(np.round(MATRIX, 3), pa.decimal128(20, 3)),
    "list": pa.array(MATRIX.tolist(), pa.list_(pa.float64())),
    "large_list": pa.array(MATRIX.tolist(), pa.large_list(pa.float64())),
    "holey": holey(),
    "holey_fixed": holey().cast(pa.list_(pa.float64(), D)),
    "sliced": pa.concat_arrays([holey()[:3], holey()])[3:],
}


def positions(array: pa.Array) -> pa.Table:
    """The oracle: each position a column."""
    kind = array.type.value_type
    rows = array.to_pylist()
    columns = [pa.array([None if row is None else row[j] for row in rows], kind) for j in range(D)]
    return pa.table({f"v[{j}]": column for j, column in enumerate(columns)})


def every_value(array: pa.Array) -> pa.Table:
    kind = array.type.value_type
    return pa.table({"v": pa.array([value for row in array.to_pylist() if row is not None for value in row], kind)})


def sources(array: pa.Array, folder):
    table = pa.table({"v": array, "w": np.arange(len(array)) % 3})
    pq.write_table(table, folder / "x.parquet", row_group_size=150)
    return {"memory": table, "parquet": folder / "x.parquet", "reader": table.to_reader(max_chunksize=97)}


def same(a, b) -> bool:
    return repr(a) == repr(b)  # NaN is like NaN


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", KINDS)
def test_positions_are_like_columns(name, method, tmp_path):
    array = KINDS[name]
    oracle = sn.fit(positions(array), method)
    wanted = [list(row.values()) for row in oracle.transform(positions(array)).to_pylist()]
    wanted = [None if row is None else want for row, want in zip(array.to_pylist(), wanted, strict=True)]
    kept = array.type.value_type if pa.types.is_floating(array.type.value_type) else pa.float64()
    for where, data in sources(array, tmp_path).items():
        scaler = sn.fit(data, method, columns=["v[*]"])
        assert list(scaler.summary_) == list(oracle.summary_) and scaler.n_features_in_ == D
        assert scaler.summary_.rows == N
        assert scaler.digest() == oracle.digest(), where
        if where == "reader":
            continue
        result = sn.transform(data, None, scaler).read_all()
        assert result.schema.field("v").type.value_type == kept
        assert pa.types.is_fixed_size_list(result["v"].type) == pa.types.is_fixed_size_list(array.type)
        assert same(result["v"].to_pylist(), wanted)
        result.validate(full=True)
        assert same(scaler.transform(data)["v"].to_pylist() if where == "memory" else wanted, wanted)
        back = sn.inverse(result, None, scaler).read_all()["v"].to_pylist()
        for row, values in zip(back, array.to_pylist(), strict=True):
            for x, y in zip(row or (), values or (), strict=True):
                assert (x is None) == (y is None) and (y is None or y != y or abs(x - float(y)) < 1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", KINDS)
def test_all_values_are_like_one_column(name, method, tmp_path):
    array = KINDS[name]
    oracle = sn.fit(every_value(array), method)
    wanted = iter(oracle.transform(every_value(array))["v"].to_pylist())
    wanted = [None if row is None else [next(wanted) for _ in row] for row in array.to_pylist()]
    for where, data in sources(array, tmp_path).items():
        scaler = sn.fit(data, method, columns=["v"])
        ours, theirs = scaler.summary_["v"], oracle.summary_["v"]
        assert (ours.rows, theirs.rows) == (N, len(every_value(array)))
        assert (ours.count, ours.null_count, ours.nan_count) == (theirs.count, theirs.null_count, theirs.nan_count)
        assert (ours.min, ours.max) == (theirs.min, theirs.max)
        if where == "reader":
            continue
        assert same(sn.transform(data, None, scaler).read_all()["v"].to_pylist(), wanted)


def test_lists_of_many_lengths(tmp_path):
    lists = [[1.0], None, [], [2.0, None, 6.0], [], [3.0, 3.0]] * 50
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.int8()), pa.list_(pa.list_(pa.float32()))):
        nested = kind == pa.list_(pa.list_(pa.float32()))
        array = pa.array([row if row is None or not nested else [row, [], None] for row in lists], kind)
        for data in list(sources(array, tmp_path).values())[:2]:
            scaler = sn.fit(data, columns="v")
            assert (scaler.mean_[0], scaler.summary_["v"].max, scaler.n_samples_seen_) == (3.0, 6, 250)
            sn.transform(data, tmp_path / "y.parquet", scaler, overwrite=True)
            result = pq.read_table(tmp_path / "y.parquet")["v"].to_pylist()
            flat = [row[0] if nested and row is not None else row for row in result]
            shape = [None if row is None else [value is None for value in row] for row in flat]
            assert shape == [None if row is None else [value is None for value in row] for row in lists]
            assert flat[5] == [0.0, 0.0] and flat[3][0] == pytest.approx(-1.0 / scaler.scale_[0])
            if nested:
                assert result[0][1:] == [[], None]


@pytest.mark.parametrize("method", ["standard", "robust"])
@pytest.mark.parametrize("name", ["fixed", "holey", "fixed_decimal"])
def test_exact(name, method, tmp_path):
    array = KINDS[name]
    oracle = sn.fit(positions(array), method, exact=True)
    whole = sn.fit(every_value(array), method, exact=True)
    for data in list(sources(array, tmp_path).values())[:2]:
        assert sn.fit(data, method, columns=["v[*]"], exact=True).digest() == oracle.digest()
        ours, theirs = sn.fit(data, method, columns=["v"], exact=True).summary_["v"], whole.summary_["v"]
        if method == "standard":
            assert (ours.mean, ours.var()) == (theirs.mean, theirs.var())
        else:
            assert ours.quantiles == theirs.quantiles


def test_weights(tmp_path):
    array = KINDS["holey"]
    oracle = sn.fit(positions(array).append_column("w", pa.array(np.arange(N) % 3)), sample_weight="w")
    for data in list(sources(array, tmp_path).values())[:2]:
        assert sn.fit(data, columns=["v[*]"], sample_weight="w").digest() == oracle.digest()
        with pytest.raises(sn.DataError, match=r"sample_weight weighs rows.*'v\[\*\]'"):
            sn.fit(data, columns=["v"], sample_weight="w")


@pytest.mark.parametrize("columns", ["v", "v[*]"])
def test_states_merges_and_streams(columns, tmp_path):
    table = pa.table({"v": KINDS["holey"]})
    scaler = sn.StandardScaler().fit(table, columns=columns)
    scaler.save(tmp_path / "s.json")
    loaded = sn.load(tmp_path / "s.json")
    assert loaded.digest() == scaler.digest() and loaded.summary_.rows == N
    assert same(loaded.transform(table).to_pydict(), scaler.transform(table).to_pydict())
    streamed = sn.StandardScaler()
    for start in range(0, N, 83):
        streamed.partial_fit(table.slice(start, 83), columns=columns)
    assert streamed.digest() == scaler.digest() and streamed.summary_.rows == N
    parts = [sn.StandardScaler(exact=True).fit(table.slice(i, 350), columns=columns) for i in (0, 350)]
    both = parts[0] + parts[1]
    assert both.digest() == sn.StandardScaler(exact=True).fit(table, columns=columns).digest()
    assert both.summary_.rows == N and (both - parts[1]).summary_.rows == 350
    assert [column["name"] for column in sn.inspect(tmp_path / "s.json")["columns"]] == list(scaler.summary_)


def test_a_state_in_a_file_knows_the_rows(tmp_path):
    data = sources(KINDS["list"], tmp_path)["parquet"]
    first = sn.normalize(data, tmp_path / "y.parquet", columns="v", state=tmp_path / "s.json")
    assert first.summary_.rows == N
    assert sn.fit(data, update=tmp_path / "s.json").digest() == first.digest()
    undone = sn.inverse(tmp_path / "y.parquet", None).read_all()
    np.testing.assert_allclose(np.array(undone["v"].to_pylist()), MATRIX, rtol=1e-12, atol=1e-12)


def test_dtype_of_the_output(tmp_path):
    data = sources(KINDS["fixed"], tmp_path)["parquet"]
    for columns in ("v", "v[*]"):
        scaler = sn.fit(data, columns=columns)
        sn.transform(data, tmp_path / "y.parquet", scaler, dtype="float32", overwrite=True)
        result = pq.read_table(tmp_path / "y.parquet")["v"]
        assert result.type.value_type == pa.float32()
        wanted = np.array(sn.transform(data, None, scaler).read_all()["v"].to_pylist()).astype(np.float32)
        assert np.array_equal(np.array(result.to_pylist(), np.float32), wanted)


def test_lists_of_other_lengths_are_named(tmp_path):
    lists = [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0], [7.0, 8.0, 9.0], [0.0]]
    table = pa.table({"v": pa.array(lists)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    fitted = sn.fit(table.slice(0, 4), columns="v[*]")
    for job in (
        lambda: sn.fit(tmp_path / "x.parquet", columns="v[*]"),
        lambda: sn.transform(tmp_path / "x.parquet", tmp_path / "y.parquet", fitted),
    ):
        with pytest.raises(sn.DataError, match="holds a list of 3 where 2 .* in row 0 of the row group") as error:
            job()
        assert (error.value.file, error.value.row_group) == (str(tmp_path / "x.parquet"), 2)
        assert not (tmp_path / "y.parquet").exists()
    chunked = pa.table({"v": pa.chunked_array([lists[:3], lists[3:]])})
    for job in (lambda: sn.fit(chunked, columns="v[*]"), lambda: fitted.transform(chunked)):
        with pytest.raises(sn.DataError, match=r"'v\[\*\]' holds a list of 3 where 2 .* in row 4"):
            job()


def test_what_is_refused():
    with pytest.raises(sn.DataError, match="every list is null"):
        sn.fit(pa.table({"v": pa.array([None, None], pa.list_(pa.float64()))}), columns="v[*]")
    with pytest.raises(sn.DataError, match="lists are empty"):
        sn.fit(pa.table({"v": pa.array([[]], pa.list_(pa.float64()))}), columns="v[*]")
    with pytest.raises(sn.DataError, match="no positions"):
        sn.fit(pa.table({"v": [1.0]}), columns="v[*]")
    with pytest.raises(sn.DataError, match="not numbers"):
        sn.fit(pa.table({"v": [["a"]]}), columns="v")
    with pytest.raises(sn.DataError, match="no column 'v\\[0\\]'"):
        sn.fit(pa.table({"v": [[1.0]]}), columns="v[0]")
    with pytest.raises(sn.DataError, match="rename that column"):
        sn.fit(pa.table({"v": [[1.0]], "v[0]": [1.0]}), columns="v[*]")
    with pytest.raises(sn.DataError, match="infinite"):
        sn.fit(pa.table({"v": [[1.0, np.inf]]}), columns="v")


def test_an_infinity_names_its_row_group(tmp_path):
    lists = [[1.0, 2.0]] * 5 + [[np.inf, 0.0]]
    pq.write_table(pa.table({"v": lists}), tmp_path / "x.parquet", row_group_size=2)
    for columns in ("v", "v[*]"):
        with pytest.raises(sn.DataError, match="1 infinite value") as error:
            sn.fit(tmp_path / "x.parquet", columns=columns)
        assert error.value.row_group == 2 and error.value.column == columns


def test_a_literal_name_wins():
    table = pa.table({"v[*]": [1.0, 3.0], "v": [[1.0], [2.0]]})
    assert list(sn.fit(table, columns="v[*]").summary_) == ["v[*]"]
    assert list(sn.fit(pa.table({"v[0]": [1.0, 3.0]}), columns="v[0]").summary_) == ["v[0]"]


def test_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"l": [[1.0, 2.0], [3.0, 4.0], None], "a": pl.Series([[1, 2], [3, 6], [5, 4]], dtype=pl.Array(
        pl.Int16, 2))})
    scaler = sn.ColumnScaler({"l[*]": "minmax", "a": "minmax"}).fit(frame)
    result = scaler.transform(frame)
    assert result["l"].to_list() == [[0.0, 0.0], [1.0, 1.0], None]
    assert result["a"].to_list() == [[0.0, 0.2], [0.4, 1.0], [0.8, 0.6]]
    pd = pytest.importorskip("pandas")
    vectors = pd.DataFrame({"v": [np.array([1.0, 2.0]), np.array([3.0, 6.0])], "k": ["a", "b"]})
    made = sn.MinMaxScaler().fit(vectors, columns="v[*]").transform(vectors)
    assert [list(row) for row in made["v"]] == [[0.0, 0.0], [1.0, 1.0]] and made["k"].tolist() == ["a", "b"]


def test_offsets_and_validity_are_shared():
    for array in (KINDS["holey"], KINDS["list"], pa.array([[1.0], None, []])):
        made = sn.StandardScaler().fit_transform(pa.table({"v": array}), columns="v")["v"].chunk(0)
        for ours, theirs in zip(made.buffers()[:2], array.buffers()[:2], strict=True):
            assert (ours is None and theirs is None) or ours.address == theirs.address


def test_wide_lists_stay_in_bounds(tmp_path):
    """A thousand positions are read in batches of few rows."""
    wide = fixed(rng.normal(size=(600, 1000)).astype(np.float32))
    pq.write_table(pa.table({"v": wide}), tmp_path / "x.parquet")
    scaler = sn.normalize(tmp_path / "x.parquet", tmp_path / "y.parquet", columns="v[*]", memory="20MB")
    values = np.array(pq.read_table(tmp_path / "y.parquet")["v"].combine_chunks().flatten()).reshape(600, 1000)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    assert scaler.n_features_in_ == 1000


lists_of_two = st.lists(
    st.one_of(st.none(), st.tuples(*[st.one_of(st.none(), st.integers(-50, 50))] * 2)), min_size=1, max_size=30
)


@given(lists_of_two, st.integers(0, 20), st.integers(1, 9), st.booleans(), st.booleans())
def test_slices_and_chunks(lists, start, step, fix, each):
    kind = pa.list_(pa.int64(), 2) if fix else pa.list_(pa.int64())
    part = pa.array(lists, kind).slice(start)
    chunks = pa.chunked_array([part.slice(i, step) for i in range(0, len(part), step)], kind)
    scaler = sn.StandardScaler().fit(pa.table({"v": [[1.0, -1.0], [3.0, 1.0]]}), columns="v[*]" if each else "v")
    center, scale = ([2.0, 0.0], [1.0, 1.0]) if each else ([1.0] * 2, scaler.scale_.tolist() * 2)
    result = scaler.transform(pa.table({"v": chunks}))["v"]
    result.validate(full=True)
    wanted = [
        None if row is None else [None if row[j] is None else (row[j] - center[j]) / scale[j] for j in range(2)]
        for row in lists[start:]
    ]
    assert result.to_pylist() == wanted
    present = [row for row in lists[start:] if row is not None]
    if present:
        fitted = sn.StandardScaler().fit(pa.table({"v": chunks}), columns="v[*]" if each else "v")
        counts = [column.count for column in fitted.summary_.values()]
        found = [sum(row[j] is not None for row in present) for j in range(2)]
        assert counts == (found if each else [sum(found)])


def test_values_are_put_back_into_slices():
    array = pa.array([[1, 2], None, [3], [], [4, 5, 6]])
    part = array[2:5]
    assert with_values(part, pa.array([30.0, 40.0, 50.0, 60.0])).to_pylist() == [[30.0], [], [40.0, 50.0, 60.0]]
    assert with_values(array[1:1], pa.array([], pa.float32())).to_pylist() == []


def test_directories_and_the_command_line(tmp_path):
    (tmp_path / "in").mkdir()
    for name, lists in {"a": [[1.0, 2.0], None], "b": [[3.0, 4.0]]}.items():
        pq.write_table(pa.table({"v": pa.array(lists), "id": range(len(lists))}), tmp_path / "in" / f"{name}.parquet")
    said = run("normalize", tmp_path / "in", "-o", f"{tmp_path}/out/", "--columns", "v[*]").stderr
    assert "fitting 1 of 2 columns: v[*]; passing through 1: id" in said
    assert pq.read_table(tmp_path / "out" / "b.parquet")["v"].to_pylist() == [[1.0, 1.0]]
    assert pq.read_table(tmp_path / "out" / "a.parquet")["v"].to_pylist() == [[-1.0, -1.0], None]


def test_tensors():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(3, 2, 2))
    table = pa.table({"t": tensors})
    assert sn.fit(table, columns="t[*]").mean_.tolist() == [4.0, 5.0, 6.0, 7.0]
    assert sn.MinMaxScaler().fit_transform(table, columns="t")["t"].type == pa.list_(pa.float64(), 4)


def test_normalized_lists_are_written_without_dictionaries(tmp_path):
    """Hardly a value comes twice. What passes through keeps them, as do structs that hold other types."""
    values = pa.array([[i * 0.1, i * 0.2] for i in range(1000)])
    table = pa.table({"v": values, "kept": values, "s": pa.array([{"x": i * 1.0, "t": "a"} for i in range(1000)])})
    sn.normalize(table, tmp_path / "memory.parquet", columns=["v[*]", "s.x"])
    pq.write_table(table, tmp_path / "in.parquet")
    sn.normalize(tmp_path / "in.parquet", tmp_path / "files.parquet", columns=["v[*]", "s.x"], row_group_size=500)
    for name in ("memory", "files"):
        group = pq.read_metadata(tmp_path / f"{name}.parquet").row_group(0)
        chunks = [group.column(i) for i in range(group.num_columns)]
        folded = {chunk.path_in_schema: chunk.has_dictionary_page for chunk in chunks}
        assert folded == {"v.list.element": False, "kept.list.element": True, "s.x": True, "s.t": True}
