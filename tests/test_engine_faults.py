"""Bad input: each fault gives one clear error or the right result, and leaves the target's folder as it was."""

import os
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children
from support.faults import JOBS, METHODS, fails
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
    write,
)

import streamnorm as sn

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


@pytest.mark.parametrize("column", ["string", "binary", "struct", "map", "fixed"])
def test_a_named_column_that_is_not_numeric(column, tmp_path, out):
    path = write(tmp_path / "x.parquet", passengers(30))
    job = partial(sn.normalize, path, out / "x.parquet", columns=[column])
    text = fails(sn.DataError, job, file=path, column=column)
    assert "numbers" in text or "numeric" in text or (column == "map" and "keys differ from row to row" in text)
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
            if scaler.summary_.source["v"] != "footer":  # footers do not tell NaN from other values
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
    contents = {"x.dat": b"a,b\n1,2\n" * 10, "x.zip": b"PK\x03\x04" * 40, "x.txt": b"PAR1 but only at the start"}
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


@pytest.mark.parametrize("how", ["replaced", "written", "removed"])
@pytest.mark.parametrize("method", ["robust", "standard"])
def test_a_file_that_changes_between_passes(tmp_path, how, method):
    """With equal layouts no page betrays that the second pass reads other numbers than the first."""
    path, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for target, offset in ((path, 0.0), (other, 0.5)):
        table = pa.table({"x": np.random.default_rng(1).permutation(60_000) + offset})
        pq.write_table(table, target, compression=None, use_dictionary=False, write_statistics=False)

    def change(done, total, seen):
        if done < 60_000 or not other.exists():
            return
        if how == "replaced":
            os.replace(other, path)
        elif how == "written":
            path.write_bytes(other.read_bytes())
            os.utime(path, ns=(1, 1))  # clocks of file systems are coarse
            other.unlink()
        else:
            path.unlink()
            other.unlink()

    expected = "went away while it was read" if how == "removed" else "changed while it was read"
    with pytest.raises(sn.DataError, match=f"a.parquet: {expected}"):
        sn.normalize(path, tmp_path / "out.parquet", method, exact=True, progress=change)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_path_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.parquet")
    path.write_bytes(write(tmp_path / "a.parquet", pa.table({"x": [1.0, 2.0, 6.0]})).read_bytes())
    scaler = sn.normalize(path, tmp_path / "out.parquet", state=tmp_path / "state.json")
    assert scaler.mean_ == [3.0]
    assert sn.load(tmp_path / "state.json").summary_.files == scaler.summary_.files
