"""Predictions beside the columns of Parquet files: what is copied, what is added, what is refused, in what memory."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.children import environment, measure
from support.commands import fails, run

import streamnorm as sn
from streamnorm.nn import Regressor
from streamnorm.plan import kept_spans
from streamnorm.predictions import predict
from streamnorm.sources import ParquetInput

SEED = 20260722
SLACK = 80 * 10**6  # bytes beyond memory= that imports take
ROWS = 5000


def numbers(rows=ROWS):
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(size=rows), rng.integers(-5, 5, rows)
    return pa.table({"a": a, "b": b, "s": [f"name {i % 7}" for i in range(rows)], "y": a * 2 + b, "z": a - b})


@pytest.fixture(scope="module")
def table():
    return numbers()


@pytest.fixture(scope="module")
def model(table):
    return Regressor(8, epochs=2, random_state=0).fit(table, target="y", columns=["a", "b"])


@pytest.fixture(scope="module")
def strict(table):
    """Of two targets."""
    return Regressor(8, epochs=1, random_state=0).fit(table, target=["y", "z"], columns=["a", "b"])


def chunks(path):
    """The bytes of each column chunk, by row group and name."""
    data, found = path.read_bytes(), {}
    about = pq.ParquetFile(path).metadata
    for group in range(about.num_row_groups):
        for column in range(about.num_columns):
            chunk = about.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            found[group, chunk.path_in_schema] = data[start : start + chunk.total_compressed_size]
    return found


def write_groups(path, table, sizes, **options):
    """A file whose row groups have these numbers of rows, zero included."""
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        at = 0
        for size in sizes:
            writer.write_table(table.slice(at, size))
            at += size


def rows_of_groups(path):
    about = pq.ParquetFile(path).metadata
    return [about.row_group(i).num_rows for i in range(about.num_row_groups)]


# ------------------------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize("sizes", [[ROWS], [1, 2, 3000, 1, 1996], [100] * 50], ids=["one", "uneven", "many"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_chunks_of_other_columns_are_copied_byte_by_byte(sizes, compression, table, model, tmp_path):
    source, sink = tmp_path / "in.parquet", tmp_path / "out.parquet"
    write_groups(source, table, sizes, compression=compression)
    assert predict(source, sink, model) == (ROWS, 0)
    before, after = chunks(source), chunks(sink)
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == {(group, "prediction") for group in range(len(sizes))}
    assert rows_of_groups(sink) == sizes
    found = pq.read_table(sink)
    assert found.column_names == [*table.column_names, "prediction"]
    assert found.drop_columns("prediction").equals(table)
    np.testing.assert_array_equal(found["prediction"].to_numpy(), model.predict(table))


def test_row_groups_without_rows_are_left_out(table, model, tmp_path):
    source, sink = tmp_path / "in.parquet", tmp_path / "out.parquet"
    write_groups(source, table.slice(0, 300), [0, 100, 0, 0, 150, 50, 0])
    assert [(span.row_groups, span.out_rows) for span in kept_spans(ParquetInput(source))] == [
        (range(1, 2), (100,)),
        (range(4, 6), (150, 50)),
    ]
    assert predict(source, sink, model) == (300, 0)
    assert rows_of_groups(sink) == [100, 150, 50]
    np.testing.assert_array_equal(pq.read_table(sink)["prediction"], model.predict(table.slice(0, 300)))


def test_a_file_without_rows_gets_the_column(table, model, tmp_path):
    pq.write_table(table.slice(0, 0), tmp_path / "in.parquet")
    assert predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model) == (0, 0)
    assert pq.read_table(tmp_path / "out.parquet").schema.field("prediction").type == pa.float64()


def test_what_pandas_left_in_the_schema_stays(table, model, tmp_path):
    frame = table.to_pandas().set_index("s")
    frame["b"] = frame["b"].astype("Int8")
    frame.to_parquet(tmp_path / "in.parquet")
    predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model)
    found = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(found.drop(columns="prediction"), frame)
    before, after = (pq.read_schema(tmp_path / f"{name}.parquet").metadata for name in ("in", "out"))
    assert after[b"pandas"] == before[b"pandas"]


@pytest.mark.parametrize("size", [None, 777])
def test_bytes_depend_neither_on_threads_nor_on_memory(size, table, strict, tmp_path):
    write_groups(tmp_path / "in.parquet", table, [1000] * 4 + [50] * 20)
    found = []
    for threads, memory in [(1, "256MB"), (4, "256MB"), (3, "64MB"), (1, "16MB")]:
        sink = tmp_path / f"{threads}-{memory}.parquet"
        predict(tmp_path / "in.parquet", sink, strict, threads=threads, memory=memory, row_group_size=size)
        found.append(sink.read_bytes())
    assert found[0] == found[1] and found[0] == found[2] and found[0] == found[3]


def test_row_groups_are_cut_where_that_is_asked_for(table, strict, tmp_path):
    write_groups(tmp_path / "in.parquet", table, [700] * 7 + [100])
    predict(tmp_path / "in.parquet", tmp_path / "out.parquet", strict, row_group_size=999)
    assert rows_of_groups(tmp_path / "out.parquet") == [999] * 5 + [5]
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    expected = strict.predict(table)
    np.testing.assert_array_equal(found["prediction_y"], expected[:, 0])
    np.testing.assert_array_equal(found["prediction_z"], expected[:, 1])


def test_files_that_store_a_column_in_two_ways_are_encoded_anew(table, model, tmp_path):
    required = pa.schema([field.with_nullable(field.name != "a") for field in table.schema])
    (tmp_path / "in").mkdir()
    pq.write_table(table.slice(0, 2000), tmp_path / "in/1.parquet", row_group_size=500)
    pq.write_table(table.slice(2000).cast(required), tmp_path / "in/2.parquet")
    assert predict(tmp_path / "in", tmp_path / "out.parquet", model) == (ROWS, 0)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.drop_columns("prediction").equals(table)
    np.testing.assert_array_equal(found["prediction"], model.predict(table))
    assert rows_of_groups(tmp_path / "out.parquet") == [2000, 3000]  # tiny ones are joined, as by transform


def test_several_targets_of_a_long_row_group_are_predicted_one_after_the_other(table, strict, tmp_path):
    long = pa.concat_tables([table.select(["a", "b"])] * 60).combine_chunks()  # 300,000 rows: 2.4 MB a target
    a = long["a"].to_numpy().copy()
    a[:10] = np.nan
    pq.write_table(long.set_column(0, "a", pa.array(a)), tmp_path / "in.parquet", row_group_size=len(long))
    done = []
    written = predict(
        tmp_path / "in.parquet", tmp_path / "out.parquet", strict, memory="16MB", missing="null",
        progress=lambda rows, of, nbytes: done.append(rows),
    )  # fmt: skip
    assert written == (len(long), 10)
    assert done == sorted(done) and done[-1] == len(long)
    assert predict(tmp_path / "in.parquet", tmp_path / "once.parquet", strict, missing="null") == written
    found = pq.read_table(tmp_path / "out.parquet", columns=["prediction_y", "prediction_z"])
    assert found.equals(pq.read_table(tmp_path / "once.parquet", columns=found.column_names))
    expected = strict.predict(long)
    for column, values in zip(found.columns, expected.T, strict=True):
        assert np.flatnonzero(column.is_null()).tolist() == list(range(10))
        np.testing.assert_array_equal(column.to_numpy()[10:], values[10:])


@pytest.mark.parametrize("dictionary", [True, False])
def test_strings_are_embedded_however_they_are_stored(dictionary, table, tmp_path):
    holes = pa.array([None if i % 11 == 0 else x for i, x in enumerate(table["s"].to_pylist())])
    table = table.set_column(2, "s", holes)
    model = Regressor(4, epochs=1, embed=["s"], buckets=50, random_state=0).fit(table, target="y", columns=["a"])
    write_groups(tmp_path / "in.parquet", table, [300] * 16 + [200], use_dictionary=dictionary)
    predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model)
    np.testing.assert_array_equal(pq.read_table(tmp_path / "out.parquet")["prediction"], model.predict(table))


def test_strings_need_no_pandas(tmp_path):
    table = numbers(200)
    names = pa.array([None if i % 5 == 0 else x for i, x in enumerate(table["s"].to_pylist())])
    pq.write_table(table.set_column(2, "s", names), tmp_path / "in.parquet")
    code = (
        "import sys, streamnorm as sn\n"
        "from streamnorm.nn import Regressor; from streamnorm.predictions import predict\n"
        "m = Regressor(4, epochs=1, embed='s', early_stopping=True).fit('in.parquet', target='y', columns=['a'])\n"
        "print(predict('in.parquet', 'out.parquet', m, missing='null').rows, 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "200 False\n", done.stderr


# ------------------------------------------------------------------------------------------------ missing inputs


@pytest.fixture
def holes(table, tmp_path):
    """A file with 50 row groups of 100 rows; a is null in row 1234, NaN in 4321, b null in 2345, and y in all three."""
    a, b, y = (table[name].to_pylist() for name in "aby")
    a[1234], a[4321], b[2345] = None, float("nan"), None
    for row in (1234, 2345, 4321):
        y[row] = None
    changed = pa.table({"a": a, "b": b, "y": y})
    pq.write_table(changed, tmp_path / "holes.parquet", row_group_size=100)
    return tmp_path / "holes.parquet"


@pytest.mark.parametrize("size", [None, 64])
def test_rows_that_lack_an_input_can_be_predicted_as_null(size, holes, table, tmp_path):
    model = Regressor(8, epochs=1, random_state=0).fit(str(holes), target="y")  # those rows are left out of training
    with pytest.raises(sn.DataError, match=r"row group 12, column 'a': has a missing value .*--missing null.*--impute"):
        predict(holes, tmp_path / "out.parquet", model, row_group_size=size)
    assert not (tmp_path / "out.parquet").exists()
    written = predict(holes, tmp_path / "out.parquet", model, missing="null", row_group_size=size)
    assert written == (ROWS, 3)
    found = pq.read_table(tmp_path / "out.parquet")["prediction"]
    assert np.flatnonzero(found.is_null()).tolist() == [1234, 2345, 4321]
    expected = model.predict(table)
    kept = np.setdiff1d(np.arange(ROWS), [1234, 2345, 4321])
    np.testing.assert_array_equal(found.to_numpy()[kept], expected[kept])
    counts = pq.ParquetFile(tmp_path / "out.parquet").metadata
    last = [counts.row_group(i).column(3).statistics for i in range(counts.num_row_groups)]
    assert sum(each.null_count for each in last) == 3


def test_two_targets_are_null_together_and_count_once(holes, strict, tmp_path):
    assert predict(holes, tmp_path / "out.parquet", strict, missing="null") == (ROWS, 3)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["prediction_y"].null_count == found["prediction_z"].null_count == 3


def test_rows_that_all_lack_an_input(table, model, tmp_path):
    pq.write_table(table.set_column(0, "a", pa.nulls(ROWS, pa.float64())), tmp_path / "in.parquet")
    assert predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model, missing="null") == (ROWS, ROWS)
    assert pq.read_table(tmp_path / "out.parquet")["prediction"].null_count == ROWS


def test_a_model_that_imputes_predicts_every_row(holes, tmp_path):
    model = Regressor(8, epochs=1, impute=True, random_state=0).fit(str(holes), target="y")
    for missing in ("error", "null"):
        assert predict(holes, tmp_path / f"{missing}.parquet", model, missing=missing) == (ROWS, 0)


def test_the_command_says_how_many_rows_have_no_prediction(holes, model, tmp_path):
    path, out = tmp_path / "m.safetensors", tmp_path / "out.parquet"
    model.save(path)
    assert "(--missing null)" in fails(1, "predict", path, holes, "-o", out)
    said = run("predict", path, holes, "-o", out, "--missing", "null").stderr.splitlines()[-1]
    assert said.startswith(f"wrote 5,000 rows to {out}, 3 without a prediction, as they lack an input in ")
    assert "is not one of 'error', 'null'" in fails(2, "predict", path, holes, "-o", out, "--missing", "nan")
    with pytest.raises(ValueError, match="missing must be 'error' or 'null', got 'nan'"):
        predict(holes, out, model, missing="nan", overwrite=True)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("missing", ["error", "null"])
def test_infinity_is_an_error_that_says_where(missing, table, model, tmp_path):
    a = table["a"].to_numpy().copy()
    a[3456] = np.inf
    if missing == "null":
        a[:500] = np.nan
    pq.write_table(table.set_column(0, "a", pa.array(a)), tmp_path / "in.parquet", row_group_size=100)
    with pytest.raises(sn.DataError, match=r"in.parquet: row group 34, column 'a': contains infinity") as caught:
        predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model, missing=missing)
    assert (caught.value.row_group, caught.value.column) == (34, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]


def test_a_column_of_another_kind_is_refused_before_the_work(table, model, tmp_path):
    pq.write_table(table.set_column(1, "b", table["s"]), tmp_path / "in.parquet")
    with pytest.raises(sn.DataError, match=r"in.parquet: column 'b' holds string, not numbers"):
        predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model)
    pq.write_table(table.drop_columns("b"), tmp_path / "narrow.parquet")
    with pytest.raises(sn.DataError, match=r"narrow.parquet: column 'b': there is no such column"):
        predict(tmp_path / "narrow.parquet", tmp_path / "out.parquet", model)


def test_damage_is_named(table, model, tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(table, source, row_group_size=1000, compression="snappy", use_dictionary=False)
    chunk = pq.ParquetFile(source).metadata.row_group(3).column(0)
    data = bytearray(source.read_bytes())
    data[chunk.data_page_offset + 40 : chunk.data_page_offset + 400] = b"\xff" * 360
    data[chunk.data_page_offset : chunk.data_page_offset + 4] = b"\xff" * 4
    source.write_bytes(data)
    with pytest.raises(sn.DataError, match=r"in.parquet: row group 3, column 'a': cannot be read"):
        predict(source, tmp_path / "out.parquet", model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]


def test_an_interrupt_leaves_nothing_and_the_old_file(table, model, tmp_path):
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1000)
    (tmp_path / "out.parquet").write_text("precious")

    def interrupt(rows, of, nbytes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "in.parquet", tmp_path / "out.parquet", model, overwrite=True, progress=interrupt)
    assert (tmp_path / "out.parquet").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


# ------------------------------------------------------------------------------------------------ memory

PREDICT = """
import sys, streamnorm as sn
from streamnorm.predictions import predict
model, source, sink, memory = sys.argv[1:]
predict(source, sink, sn.load(model), memory=memory, threads=2)
"""
FIT = """
import sys
from streamnorm.nn import Regressor
Regressor(8, epochs=1, batch_size=1024, norm=None).fit(sys.argv[1], target="c0", memory=sys.argv[2], threads=2)
"""


def long_file(path):
    """One row group of 1.2 million rows, 58 MB."""
    values = np.random.default_rng(SEED).normal(size=1_200_000)
    columns = {f"c{j}": np.roll(values, j) for j in range(6)}
    pq.write_table(pa.table(columns), path, row_group_size=len(values), use_dictionary=False, compression="none")


def wide_file(path):
    """20 columns of few different values, two row groups."""
    rng = np.random.default_rng(SEED)
    columns = {f"c{j}": np.round(rng.normal(size=500_000), 2) for j in range(20)}
    pq.write_table(pa.table(columns), path, row_group_size=250_000)


def text_file(path):
    """Strings of 1,000 letters, all different, beside numbers."""
    rows = 60_000
    text = np.random.default_rng(SEED).bytes(500 * rows).hex()
    strings = [text[i * 1000 : (i + 1) * 1000] for i in range(rows)]
    table = pa.table({"c0": np.arange(float(rows)), "c1": np.ones(rows), "s": strings})
    pq.write_table(table, path, row_group_size=rows)


@pytest.mark.parametrize(
    ("make", "options"),
    [(long_file, {}), (wide_file, {}), (text_file, {}), (text_file, {"embed": "s"})],
    ids=["long", "wide", "text", "embedded text"],
)
def test_memory_does_not_grow_with_row_groups_or_strings(make, options, tmp_path):
    make(tmp_path / "in.parquet")
    few = next(pq.ParquetFile(tmp_path / "in.parquet").iter_batches(1000))
    model = Regressor(8, epochs=1, random_state=0, **options).fit(few, target="c0")
    model.save(tmp_path / "m.safetensors")
    done = measure(PREDICT, tmp_path / "m.safetensors", tmp_path / "in.parquet", tmp_path / "out.parquet", "64MB")
    assert done.status == 0, done.err
    assert done.peak <= 64e6 + SLACK, f"{done.peak / 1e6:.0f} MB"


def test_training_from_many_columns_takes_bounded_memory(tmp_path):
    wide_file(tmp_path / "in.parquet")
    done = measure(FIT, tmp_path / "in.parquet", "64MB")
    assert done.status == 0, done.err
    assert done.peak <= 64e6 + SLACK, f"{done.peak / 1e6:.0f} MB"
