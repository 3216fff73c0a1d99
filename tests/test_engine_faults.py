"""What goes wrong: each fault gives one clear error or the right result, and leaves the target's folder as it was."""

import errno
import os
import re
import shutil
import stat
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children
from support.files import (
    FLIGHTS,
    column_chunk,
    damage,
    damaged_footers,
    listing,
    numbers,
    pages_of,
    passengers,
    side_by_side,
    temporaries,
    write,
)

import streamnorm as sn

METHODS = ("standard", "minmax", "maxabs", "robust")
JOBS = {
    "fit": lambda source, target: sn.fit(source),
    "normalize": lambda source, target: sn.normalize(source, target),
    "transform": lambda source, target: sn.transform(source, target, sn.fit(numbers(10))),
    "to a reader": lambda source, target: sn.transform(source, None, sn.fit(numbers(10))).read_all(),
}


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def fails(kind, call, *, file=None, row_group=None, column=None, match=None):
    """The one error of a call: its class, the place that it names in attributes and in words."""
    with pytest.raises(kind, match=match) as caught:
        call()
    error = caught.value
    assert isinstance(error, sn.StreamnormError)
    text = str(error)
    assert "\n" not in text and 20 < len(text) < 400, text
    assert not re.search(r"<.* object at|Traceback|None", text), text
    if isinstance(error, sn.DataError):
        assert error.file == (None if file is None else str(file)), text
        assert error.row_group == row_group, text
        assert error.column == column, text
    if file is not None:
        assert str(file) in text
    if row_group is not None:
        assert f"row group {row_group}" in text
    if column is not None:
        assert repr(column) in text
    return text


# ---------------------------------------------------------------------------------------------- damaged files

CHECK_FOOTERS = """
import sys, os, streamnorm as sn
folder, target = sys.argv[1:]
scaler = sn.load(os.path.join(folder, "state.json"))
for name in sorted(os.listdir(folder)):
    if not name.endswith(".parquet"):
        continue
    path = os.path.join(folder, name)
    def write(): sn.normalize(path, target, overwrite=True)
    def read(): sn.transform(path, None, scaler).read_all()
    for job in write, read:
        print(name, flush=True)
        try:
            job()
        except sn.StreamnormError as error:
            if path not in str(error) or chr(10) in str(error):
                print("BAD MESSAGE", error)
        except MemoryError as error:
            print("MEMORY", error)
        except Exception as error:
            print("BAD ERROR", type(error).__name__, error)
        if os.listdir(os.path.dirname(target)) not in ([], [os.path.basename(target)]):
            print("LEFT", os.listdir(os.path.dirname(target)))
print("END")
"""


@pytest.mark.parametrize("kind", ["numbers", "passengers"])
def test_a_damaged_footer_is_an_error_and_no_crash(kind, tmp_path, out):
    table = numbers(300) if kind == "numbers" else side_by_side(passengers(60), numbers(60))
    good = write(tmp_path / "good.parquet", table, row_group_size=100)
    broken = tmp_path / "broken"
    broken.mkdir()
    sn.fit(good).save(broken / "state.json")
    names = {}
    for i, (name, data) in enumerate(damaged_footers(good.read_bytes())):
        names[f"{i:03}.parquet"] = name
        (broken / f"{i:03}.parquet").write_bytes(data)
    result = children.run(CHECK_FOOTERS, broken, out / "x.parquet")
    lines = result.out.splitlines()
    assert result.status == 0, f"status {result.status} at {names.get(lines[-1])}: {result.err}"
    bad = [(names[lines[i - 1]], line) for i, line in enumerate(lines[:-1]) if line not in names]
    assert bad == []
    assert lines[-1] == "END" and len(lines) == 2 * len(names) + 1


def test_cut_footers_are_reported_as_such(tmp_path, out):
    good = write(tmp_path / "good.parquet", numbers(300)).read_bytes()
    path = tmp_path / "x.parquet"
    for length in [1, 3, 4, 7, 8, 11, 12, 100, len(good) // 2, len(good) - 1]:
        path.write_bytes(good[:length])
        for job in JOBS.values():
            fails(sn.DataError, lambda job=job: job(path, out / "x.parquet"), file=path)
    assert listing(out) == {}


@pytest.mark.parametrize("column", ["a", "b", "s"])
@pytest.mark.parametrize("how", ["header", "body", "zeros", "cut"])
def test_a_damaged_page_names_row_group_and_column(how, column, tmp_path, out):
    path = write(tmp_path / "x.parquet", numbers(1000), row_group_size=250, compression="snappy", use_dictionary=False)
    scaler = sn.fit(path)
    start, header, body = pages_of(path, 2, column)[0]
    if how == "header":
        damage(path, start, b"\xff" * header)
    elif how == "body":
        damage(path, start + header, b"\xff" * 10)
    elif how == "zeros":
        begin, size = column_chunk(path, 2, column)
        damage(path, begin, bytes(size))
    else:
        damage(path, start + header, bytes(body))
    place = {"file": path, "row_group": 2, "column": column}
    if column != "s":
        fails(sn.DataError, lambda: sn.fit(path), **place)
    for size in (None, 100, 10**6):  # copied, split, joined
        if column == "s" and size is None and how in ("body", "cut"):
            continue  # copied as it is, unread: whoever reads the copy finds the same damage
        fails(
            sn.DataError, lambda size=size: sn.transform(path, out / "y.parquet", scaler, row_group_size=size), **place
        )
    fails(sn.DataError, lambda: sn.transform(path, None, scaler).read_all(), **place)
    assert listing(out) == {}


def test_a_damaged_page_among_large_row_groups(tmp_path, out):
    rng = np.random.default_rng(5)
    table = pa.table({c: rng.normal(size=600_000) for c in "xyz"})
    path = write(tmp_path / "x.parquet", table, row_group_size=200_000, use_dictionary=False)
    start, header, _ = pages_of(path, 1, "y")[-1]
    damage(path, start + header, b"\xff" * 40)
    for threads in (1, 2, 8):
        fails(
            sn.DataError,
            lambda threads=threads: sn.normalize(path, out / "y.parquet", threads=threads),
            file=path, row_group=1, column="y",
        )  # fmt: skip
    assert listing(out) == {}


def test_a_file_that_is_cut_while_its_footer_is_not(tmp_path, out):
    """Pages beyond the end: as in a file whose middle was lost in a transfer."""
    path = write(tmp_path / "x.parquet", numbers(1000), row_group_size=250)
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[:2000] + data[-length:])
    text = fails_anywhere(lambda: sn.normalize(path, out / "y.parquet"))
    assert str(path) in text
    assert listing(out) == {}


def fails_anywhere(call):
    with pytest.raises(sn.DataError) as caught:
        call()
    return str(caught.value)


# --------------------------------------------------------------------------------------- files that do not match


@pytest.mark.parametrize("job", ["fit", "normalize"])
def test_a_file_without_one_of_the_columns(job, tmp_path, out):
    write(tmp_path / "in" / "1.parquet", numbers(100))
    second = write(tmp_path / "in" / "2.parquet", numbers(100).drop_columns(["b"]))
    fails(sn.DataError, lambda: JOBS[job](tmp_path / "in", out / "x.parquet"), file=second, column="b")
    assert listing(out) == {}


@pytest.mark.parametrize("job", ["fit", "normalize"])
@pytest.mark.parametrize("other", [pa.string(), pa.float32(), pa.int32()])
def test_a_file_with_another_type(other, job, tmp_path, out):
    table = numbers(100)
    write(tmp_path / "in" / "1.parquet", table)
    second = write(tmp_path / "in" / "2.parquet", table.set_column(1, "b", table["b"].cast(other)))
    text = fails(sn.DataError, lambda: JOBS[job](tmp_path / "in", out / "x.parquet"), file=second, column="b")
    assert str(other) in text and "int64" in text and "1.parquet" in text
    assert listing(out) == {}


def test_passengers_that_differ_matter_for_one_output_alone(tmp_path, out):
    table = numbers(100)
    write(tmp_path / "in" / "1.parquet", table)
    second = write(tmp_path / "in" / "2.parquet", table.drop_columns(["s"]))
    text = fails(sn.DataError, lambda: sn.normalize(tmp_path / "in", out / "x.parquet"), file=second, column="s")
    assert "directory" in text
    assert listing(out) == {}
    sn.normalize(tmp_path / "in", out)
    assert pq.read_schema(out / "2.parquet").names == ["a", "b"]


def test_another_order_of_columns_is_fine(tmp_path, out):
    table = numbers(100)
    write(tmp_path / "in" / "1.parquet", table)
    write(tmp_path / "in" / "2.parquet", table.select(["s", "b", "a"]))
    sn.normalize(tmp_path / "in", out / "x.parquet")
    found = pq.read_table(out / "x.parquet")
    assert found.column_names == ["a", "b", "s"]
    assert found.slice(0, 100).equals(found.slice(100, 100))


@pytest.mark.parametrize("job", list(JOBS)[1:])
def test_two_columns_of_one_name(job, tmp_path, out):
    table = numbers(100)
    path = write(tmp_path / "x.parquet", table.append_column("a", table["b"]))
    fails(sn.DataError, lambda: JOBS[job](path, out / "x.parquet"), file=path, column="a", match="(two|2) columns")
    assert listing(out) == {}


# ------------------------------------------------------------------------------------------- columns as named


def test_a_missing_column_suggests_another(tmp_path, out):
    for name, hint in [("arr_dellay", "did you mean 'arr_delay'"), ("Distance", "distance"), ("xyzzy", "'year'")]:
        job = partial(sn.normalize, FLIGHTS, out / "x.parquet", columns=[name])
        text = fails(sn.DataError, job, file=FLIGHTS, column=name)
        assert hint in text
    scaler = sn.fit(pa.table({"dep_delay": [1.0], "speed": [2.0]}))
    fails(sn.DataError, lambda: sn.transform(FLIGHTS, out / "x.parquet", scaler), file=FLIGHTS, column="speed")
    assert listing(out) == {}


@pytest.mark.parametrize("column", ["string", "binary", "list", "struct", "map", "fixed"])
def test_a_named_column_that_is_not_numeric(column, tmp_path, out):
    path = write(tmp_path / "x.parquet", passengers(30))
    job = partial(sn.normalize, path, out / "x.parquet", columns=[column])
    text = fails(sn.DataError, job, file=path, column=column)
    assert "numbers" in text or "numeric" in text
    assert listing(out) == {}


def test_a_column_scaler_with_a_missing_column(out):
    scaler = sn.ColumnScaler({"dep_delay": "robust", "speed": "standard"})
    fails(sn.DataError, lambda: sn.normalize(FLIGHTS, out / "x.parquet", scaler), file=FLIGHTS, column="speed")
    assert listing(out) == {}


# ---------------------------------------------------------------------------------------------- hostile values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_an_infinite_value_names_row_group_and_column(infinity, method, tmp_path, out):
    values = np.random.default_rng(3).normal(size=1000)
    values[[730, 999]] = infinity
    path = write(tmp_path / "x.parquet", numbers(1000).append_column("v", pa.array(values)), row_group_size=100)
    for job in (lambda: sn.fit(path, method), lambda: sn.normalize(path, out / "x.parquet", method)):
        text = fails(sn.DataError, job, file=path, row_group=7, column="v")
        assert "infinite" in text and "null" in text
    second = write(tmp_path / "y.parquet", numbers(1000).append_column("v", pa.array(np.zeros(1000))))
    fails(sn.DataError, lambda: sn.fit([second, path], method), file=path, row_group=7, column="v")
    fails(sn.DataError, lambda: sn.fit(pq.read_table(path), method), column="v", match="infinite")
    assert listing(out) == {}
    assert sn.fit(path, method, exclude=["v"]).n_features_in_ == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int32(), pa.decimal128(9, 2), pa.uint64()])
def test_an_all_null_column_stays_null(kind, method, tmp_path, out):
    table = numbers(500).append_column("v", pa.nulls(500, kind))
    path = write(tmp_path / "x.parquet", table, row_group_size=100)
    scaler = sn.normalize(path, out / "x.parquet", method)
    found = pq.read_table(out / "x.parquet")
    assert found["v"].null_count == 500
    column = scaler.summary_["v"]
    assert (column.count, column.null_count, column.nan_count) == (0, 500, 0)
    assert sn.load(out / "x.parquet").digest() == scaler.digest()
    expected = sn.fit(path, method, exclude=["v"]).transform(table.drop_columns(["v"]))
    np.testing.assert_array_equal(found["a"], expected["a"])


@pytest.mark.parametrize("method", METHODS)
def test_a_column_of_nan_alone_stays_nan(method, tmp_path, out):
    table = numbers(500).append_column("v", pa.array(np.full(500, np.nan)))
    path = write(tmp_path / "x.parquet", table, row_group_size=100)
    scaler = sn.normalize(path, out / "x.parquet", method)
    found = pq.read_table(out / "x.parquet")["v"]
    assert found.null_count == 0 and np.isnan(found.to_numpy()).all()
    assert (scaler.summary_["v"].count, scaler.summary_["v"].nan_count) == (0, 500)
    assert sn.load(out / "x.parquet").digest() == scaler.digest()


@pytest.mark.parametrize("method", METHODS)
def test_nulls_and_nan_in_mid_stream_change_nothing(method, tmp_path, out):
    values = np.random.default_rng(11).normal(100, 7, 300)
    for gap in ([None] * 100, [float("nan")] * 100):
        column = pa.array([*values[:150], *gap, *values[150:]], pa.float64(), from_pandas=False)
        table = pa.table({"v": column})
        path = write(tmp_path / "x.parquet", table, row_group_size=50)
        expected = sn.fit(pa.table({"v": values}), method)
        stream = sn.fit(iter(table.to_batches(max_chunksize=50)), method)
        for scaler in (sn.fit(path, method), stream, sn.normalize(path, out / "x.parquet", method, overwrite=True)):
            np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-14)
            assert scaler.summary_["v"].count == 300
            assert scaler.summary_["v"].min == values.min() and scaler.summary_["v"].max == values.max()
        assert pq.read_table(out / "x.parquet")["v"].null_count == column.null_count


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_are_centred_and_not_scaled(method, tmp_path, out):
    table = pa.table({"c": [3.7] * 200, "zero": [0.0] * 200, "n": [7] * 200, "small": list(np.arange(200) * 1e-13)})
    path = write(tmp_path / "x.parquet", table, row_group_size=64)
    scaler = sn.normalize(path, out / "x.parquet", method)
    found = pq.read_table(out / "x.parquet")
    constant = 1.0 if method == "maxabs" else 0.0
    assert set(found["c"].to_pylist()) == {constant} and set(found["n"].to_pylist()) == {constant}
    assert set(found["zero"].to_pylist()) == {0.0}
    assert np.ptp(found["small"].to_numpy()) >= 0.99
    assert scaler.summary_["c"].min == scaler.summary_["c"].max == 3.7
    sn.inverse(out / "x.parquet", out / "back.parquet")
    assert set(pq.read_table(out / "back.parquet")["c"].to_pylist()) == {3.7}


@pytest.mark.parametrize("method", METHODS)
def test_one_row(method, tmp_path, out):
    path = write(tmp_path / "x.parquet", pa.table({"v": [5.0], "w": pa.array([None], pa.float64()), "s": ["x"]}))
    sn.normalize(path, out / "x.parquet", method)
    row = pq.read_table(out / "x.parquet").to_pylist()
    assert row == [{"v": 1.0 if method == "maxabs" else 0.0, "w": None, "s": "x"}]


@pytest.mark.parametrize("method", METHODS)
def test_huge_values(method, tmp_path, out):
    values = np.where(np.arange(1000) % 2, 8e307, -8e307)
    path = write(tmp_path / "x.parquet", pa.table({"v": values}), row_group_size=100)
    sn.normalize(path, out / "x.parquet", method)
    found = pq.read_table(out / "x.parquet")["v"].to_numpy()
    assert np.isfinite(found).all() and np.abs(found).max() <= 1.0 + 4e-16
    sn.inverse(out / "x.parquet", out / "back.parquet")
    np.testing.assert_allclose(pq.read_table(out / "back.parquet")["v"], values, rtol=1e-14)


# ------------------------------------------------------------------------------------------------- empty files


@pytest.mark.parametrize("job", list(JOBS))
def test_an_empty_file(job, tmp_path, out):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"")
    fails(sn.DataError, lambda: JOBS[job](path, out / "x.parquet"), file=path, match="0 bytes")
    assert listing(out) == {}


def without_rows(folder, kind):
    path = folder / "none.parquet"
    if kind == "zero rows":
        return write(path, numbers(1).slice(0, 0))
    folder.mkdir(exist_ok=True)
    pq.ParquetWriter(path, numbers(1).schema).close()
    return path


@pytest.mark.parametrize("kind", ["zero rows", "zero row groups"])
def test_no_rows(kind, tmp_path, out):
    path = without_rows(tmp_path / "in", kind)
    fails(sn.DataError, lambda: sn.fit(path), file=path, match="no rows")
    fails(sn.DataError, lambda: sn.normalize(path, out / "x.parquet"), file=path, match="no rows")
    assert listing(out) == {}
    scaler = sn.fit(numbers(10))
    assert sn.transform(path, out / "x.parquet", scaler) == 0
    found = pq.read_table(out / "x.parquet")
    assert found.num_rows == 0 and found.schema.names == ["a", "b", "s"]
    assert found.schema.field("b").type == pa.float64()
    assert sn.transform(path, None, scaler).read_all().num_rows == 0
    assert sn.load(out / "x.parquet").digest() == scaler.digest()


@pytest.mark.parametrize("kind", ["zero rows", "zero row groups"])
def test_no_rows_among_other_files(kind, tmp_path, out):
    without_rows(tmp_path / "in", kind)
    write(tmp_path / "in" / "a.parquet", numbers(100))
    write(tmp_path / "in" / "z.parquet", numbers(100, start=100))
    scaler = sn.normalize(tmp_path / "in", out / "x.parquet")
    assert scaler.n_samples_seen_ == 200
    assert pq.read_table(out / "x.parquet")["s"].to_pylist() == [str(i) for i in range(200)]


@pytest.mark.parametrize("job", list(JOBS)[:2])
@pytest.mark.parametrize("table", [pa.table({}), pa.table({"s": ["a", "b"]})], ids=["no columns", "no numbers"])
def test_nothing_to_normalize(table, job, tmp_path, out):
    path = write(tmp_path / "x.parquet", table)
    fails(sn.DataError, lambda: JOBS[job](path, out / "x.parquet"), file=path, match="no column to normalize")
    assert listing(out) == {}


@pytest.mark.parametrize("job", list(JOBS))
def test_sources_that_are_not_there(job, tmp_path, out):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no data")
    write(tmp_path / "trips.parquet", numbers(3))
    missing = tmp_path / "trip.parquet"
    text = fails(sn.DataError, lambda: JOBS[job](missing, out / "x.parquet"), file=missing)
    assert "trips.parquet" in text
    for source, match in [(tmp_path / "empty", "no .*parquet"), (f"{tmp_path}/*.pq", "no file")]:
        fails(sn.DataError, lambda source=source: JOBS[job](source, out / "x.parquet"), file=source, match=match)
    fails(sn.DataError, lambda: JOBS[job]([], out / "x.parquet"), match="nothing to read")
    assert listing(out) == {}


def test_not_parquet(tmp_path, out):
    contents = {"x.csv": b"a,b\n1,2\n" * 10, "x.zip": b"PK\x03\x04" * 40, "x.txt": b"PAR1 but only at the start"}
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        words = "truncated" if name == "x.txt" else "not a Parquet file"
        fails(sn.DataError, lambda path=path: sn.normalize(path, out / "x.parquet"), file=path, match=words)
    assert listing(out) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path, out):
    path = write(tmp_path / "x.parquet", numbers(10))
    path.chmod(0)
    fails(sn.DataError, lambda: sn.normalize(path, out / "x.parquet"), file=path, match="denied")


# ------------------------------------------------------------------------------------------------------ targets


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "in" / "x.parquet", numbers(1000), row_group_size=100)


def test_an_existing_target_needs_overwrite(source, out):
    target = out / "x.parquet"
    target.write_text("mine")
    before = listing(out)
    scaler = sn.fit(source)
    for given in (source, pq.read_table(source)):
        for job in (
            lambda given=given: sn.normalize(given, target),
            lambda given=given: sn.transform(given, target, scaler),
            lambda given=given: sn.inverse(given, target, scaler),
        ):
            with pytest.raises(FileExistsError) as caught:
                job()
            assert isinstance(caught.value, sn.StreamnormError)
            assert str(target) in str(caught.value) and "overwrite" in str(caught.value)
            assert listing(out) == before
    target.chmod(0o640)
    sn.normalize(source, target, overwrite=True)
    assert pq.read_metadata(target).num_rows == 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(listing(out)) == ["x.parquet"]


def test_an_existing_target_among_several(tmp_path, out):
    for i in range(3):
        write(tmp_path / "in" / f"{i}.parquet", numbers(100, start=i))
    (out / "2.parquet").write_text("mine")
    before = listing(out)
    with pytest.raises(FileExistsError, match=re.escape(str(out / "2.parquet"))):
        sn.normalize(tmp_path / "in", out)
    assert listing(out) == before
    assert sn.normalize(tmp_path / "in", out, overwrite=True).n_samples_seen_ == 300


def test_a_failed_overwrite_keeps_the_old_file(source, out):
    good = sn.normalize(source, out / "x.parquet")
    before = listing(out)
    start, size = column_chunk(source, 9, "b")
    damage(source, start, b"\xff" * size)
    job = partial(sn.normalize, source, out / "x.parquet", overwrite=True)
    fails(sn.DataError, job, file=source, row_group=9, column="b")
    assert listing(out) == before
    assert sn.load(out / "x.parquet").digest() == good.digest()


def test_the_source_as_target(source, tmp_path):
    expected = sn.fit(source).transform(pq.read_table(source))
    with pytest.raises(FileExistsError):
        sn.normalize(source, source)
    sn.normalize(source, source, overwrite=True)
    assert pq.read_table(source)["a"].to_pylist() == expected["a"].to_pylist()
    assert pq.read_table(source)["s"].to_pylist() == expected["s"].to_pylist()
    assert temporaries(tmp_path) == []
    folder = source.parent
    shutil.copy(source, folder / "y.parquet")
    sn.normalize(folder, folder, "minmax", overwrite=True)
    assert sorted(listing(folder)) == ["x.parquet", "y.parquet"]
    for name in ("x.parquet", "y.parquet"):
        assert isinstance(sn.load(folder / name), sn.MinMaxScaler)


def test_a_link_as_target_stays_a_link(source, out):
    (out / "real.parquet").write_text("old")
    (out / "link.parquet").symlink_to("real.parquet")
    sn.normalize(source, out / "link.parquet", overwrite=True)
    assert (out / "link.parquet").is_symlink()
    assert pq.read_metadata(out / "real.parquet").num_rows == 1000


def test_a_directory_as_target(source, out):
    (out / "there").mkdir()
    sn.normalize(source, out / "there")
    assert sorted(listing(out)) == ["there", "there/x.parquet"]
    fails(sn.StreamnormError, lambda: sn.normalize(pq.read_table(source), out / "there"), match="directory")
    (out / "there" / "x.parquet").unlink()
    (out / "there" / "x.parquet").mkdir()
    before = listing(out)
    fails(sn.StreamnormError, lambda: sn.normalize(source, out / "there", overwrite=True), match="directory")
    assert listing(out) == before


@pytest.mark.parametrize("kind", ["file", "table"])
def test_a_missing_folder(kind, source, out):
    target = out / "no" / "such" / "x.parquet"
    given = source if kind == "file" else pq.read_table(source)
    text = fails(sn.StreamnormError, lambda: sn.normalize(given, target))
    assert str(target) in text
    assert listing(out) == {}


def test_a_file_where_a_folder_should_be(source, out):
    (out / "file").write_text("mine")
    before = listing(out)
    for target in (out / "file" / "x.parquet", f"{out}/file/"):
        text = fails(sn.StreamnormError, lambda target=target: sn.normalize(source, target))
        assert "file" in text
    assert listing(out) == before


READ_ONLY = """
import os, sys, streamnorm as sn
source, target = sys.argv[1:]
sn.fit(source)  # import everything while the interpreter's files can be read
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    sn.normalize(source, target)
except sn.StreamnormError as error:
    print(error)
"""


def open_up(path):
    """Let a user without rights reach a path of pytest's private folder."""
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)


def test_a_read_only_folder(source, out):
    open_up(source)
    out.chmod(0o555)
    result = children.run(READ_ONLY, source, out / "x.parquet")
    out.chmod(0o755)
    assert result.status == 0, result.err
    assert str(out / "x.parquet") in result.out and os.strerror(errno.EACCES) in result.out
    assert listing(out) == {}


FULL_DISK = """
import resource, signal, sys, streamnorm as sn
source, target, limit, spool = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
if spool == "spool":
    import pyarrow.parquet as pq
    source = iter(pq.read_table(source).to_batches())
try:
    sn.normalize(source, target, spool=True, overwrite=True)
except sn.StreamnormError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 4, 1000, 100_000])
@pytest.mark.parametrize("spool", ["direct", "spool"])
def test_a_full_disk(limit, spool, tmp_path, out):
    table = pa.table({"v": np.random.default_rng(2).normal(size=50_000)})
    path = write(tmp_path / "x.parquet", table)
    (out / "y.parquet").write_text("old")
    before = listing(out)
    result = children.run(FULL_DISK, path, out / "y.parquet", limit, spool)
    assert result.status == 0, result.err
    assert str(out / "y.parquet") in result.out and len(result.out.splitlines()) == 1, result.out
    assert os.strerror(errno.EFBIG) in result.out
    assert listing(out) == before


@pytest.mark.parametrize(
    "other,words",
    [({"a": [1, 2]}, "'a' is double in the first and int64"), ({"b": [1.0]}, "columns a, another one b")],
    ids=["type", "name"],
)
def test_batches_that_differ(other, words, out):
    scaler = sn.fit(pa.table({"a": [1.0, 2.0]}))
    with pytest.raises(sn.DataError, match=words):
        sn.transform([pa.record_batch({"a": [1.0, 2.0]}), pa.record_batch(other)], out / "y.parquet", scaler)
    assert listing(out) == {}


MANY_FILES = """
import resource, sys, streamnorm as sn
source, target, limit = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
sn.normalize(source, target)
"""


def test_more_files_than_may_be_open(tmp_path, out):
    for i in range(80):
        write(tmp_path / f"many/{i:03}.parquet", numbers(10, start=10 * i))
    result = children.run(MANY_FILES, tmp_path / "many", out / "y.parquet", 64)
    assert result.status == 0, result.err
    assert pq.read_table(out / "y.parquet")["s"].to_pylist() == [str(i) for i in range(800)]


HELD_AFTER_ERRORS = """
import gc, os, sys, pyarrow as pa, streamnorm as sn
source, target = sys.argv[1:]
gc.disable()
held = []
for _ in range(3):
    try:
        sn.normalize(source, target)
    except sn.DataError as error:
        pass
    held.append((len(os.listdir("/proc/self/fd")), pa.total_allocated_bytes()))
print(len(set(held)), held)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files")
def test_an_error_leaves_neither_memory_nor_open_files(tmp_path, out):
    values = np.random.default_rng(3).normal(size=400_000)
    values[-1] = np.inf
    path = write(tmp_path / "x.parquet", pa.table({"a": values, "b": values}), row_group_size=50_000)
    result = children.run(HELD_AFTER_ERRORS, path, out / "y.parquet")
    assert result.status == 0, result.err
    assert result.out.startswith("1 [") and result.out.endswith(" 0)]\n"), result.out


def test_the_state_where_it_cannot_go(source, out):
    before = listing(source.parent)
    for state in (out / "no" / "s.json", out / "x.parquet", source, out):
        job = partial(sn.normalize, source, out / "x.parquet", state=state)
        fails(sn.StreamnormError, job, match="state")
        assert listing(out) == {}
    assert listing(out) == {}
    assert listing(source.parent) == before


# ------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    "options,word",
    [
        ({"method": "standart"}, "standard"),
        ({"memory": "12 parsecs"}, "256MB"),
        ({"memory": 0}, "at least"),
        ({"memory": -5}, "memory"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"dtype": "int8"}, "float32"),
        ({"compression": "rar"}, "zstd"),
        ({"compression": "zstd", "compression_level": 1000}, "22"),
        ({"compression": "snappy", "compression_level": 3}, "level"),
        ({"row_group_size": 0}, "row_group_size"),
        ({"row_group_size": 2.5}, "row_group_size"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(options, word, source, out):
    with pytest.raises(ValueError, match=word):
        sn.normalize(source, out / "x.parquet", **options)
    assert listing(out) == {}


def test_states_that_are_not_there(source, out):
    for path in (source, out / "none.json"):
        for job in (lambda path=path: sn.load(path), lambda path=path: sn.inspect(path)):
            text = fails(sn.DataError if "none" in str(path) else sn.StateError, job, file=path)
            assert str(path) in text
    fails(sn.StateError, lambda: sn.inverse(source, out / "x.parquet"), match="state")
    fails(sn.StateError, lambda: sn.inverse(pq.read_table(source), out / "x.parquet"), match="state")
    with pytest.raises(ValueError, match="not fitted"):
        sn.transform(source, out / "x.parquet", sn.StandardScaler())
    with pytest.raises(sn.NotMergeableError):
        sn.merge([sn.fit(source), sn.fit(source, "minmax")])
    assert listing(out) == {}
