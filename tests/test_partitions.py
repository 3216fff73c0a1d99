"""Rows to Hive folders by the values of columns."""

import os
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm import partition_places
from streamnorm.errors import DataError

ROWS = 6_000
VALUES = ["A b", "ü/ö", "50%", "a=b", "x:y*?", "~-_.!'(),;@&+$#[]", "", None, "t\n", ".."]


def table(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    years, zones = rng.integers(2020, 2024, rows), rng.integers(0, 3, rows)
    return pa.table({"x": rng.normal(5, 2, rows), "year": years, "zone": pa.array([f"z{z}" for z in zones]),
                     "n": np.arange(rows)})  # fmt: skip


def layout(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def rows_of(folder):
    return ds.dataset(folder, partitioning="hive").to_table().sort_by("n")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "jsonl"])
def test_folders_hold_the_rows_that_one_file_would(tmp_path, kind):
    pq.write_table(table(), tmp_path / "a.parquet")
    out = tmp_path / "out"
    scaler = sn.normalize(tmp_path / "a.parquet", out, columns=["x"], partition_by=["year", "zone"], output_format=kind,
                          state=tmp_path / "s.json")  # fmt: skip
    wanted = [f"year={year}/zone=z{zone}/part-0.{kind}" for year in range(2020, 2024) for zone in range(3)]
    assert layout(out) == wanted
    whole = scaler.transform(table())
    read = sn.inverse(out, None, scaler).read_all().sort_by("n")
    assert set(read.schema.names) == set(whole.schema.names)
    np.testing.assert_allclose(read["x"], table()["x"], rtol=1e-12)
    assert read["year"].to_pylist() == table()["year"].to_pylist()
    assert read["zone"].to_pylist() == table()["zone"].to_pylist()
    if kind == "parquet":
        assert pq.ParquetFile(out / wanted[0]).schema_arrow.names == ["x", "n"]
        np.testing.assert_array_equal(rows_of(out)["x"], whole["x"])
        assert sn.load(out / wanted[0]).digest() == scaler.digest()


def test_names_of_folders_are_those_of_pyarrow(tmp_path):
    data = pa.table({
        "k": VALUES, "b": [True, None] * 5, "d": [date(2024, 1, 2)] * 10, "i": pa.array(range(10), pa.int16()),
        "t": [datetime(2024, 1, 2, 3, 4, 5, 6)] * 10, "x": np.arange(10.0),
    })  # fmt: skip
    keys = ["k", "b", "d", "i", "t"]
    ds.write_dataset(data, tmp_path / "theirs", format="parquet", partitioning=keys, partitioning_flavor="hive")
    sn.normalize(data, tmp_path / "ours", partition_by=keys)
    assert layout(tmp_path / "ours") == layout(tmp_path / "theirs")
    back = sn.inverse(tmp_path / "ours", None).read_all().sort_by("x")
    assert back["k"].to_pylist() == VALUES and back["i"].to_pylist() == list(range(10))


def test_a_dictionary_and_keys_of_folders_name_folders(tmp_path):
    data = table().set_column(2, "zone", table()["zone"].dictionary_encode())
    sn.normalize(data, tmp_path / "a/", partition_by="zone", columns="x")
    assert layout(tmp_path / "a") == [f"zone=z{i}/part-0.parquet" for i in range(3)]
    sn.normalize(tmp_path / "a", tmp_path / "b", "minmax", partition_by=["year", "zone"], columns="x")
    assert len(layout(tmp_path / "b")) == 12 and rows_of(tmp_path / "b").num_rows == ROWS


def test_the_same_rows_make_the_same_bytes_whatever_the_memory_and_threads(tmp_path):
    pq.write_table(table(rows=60_000), tmp_path / "a.parquet")
    found = []
    for i, options in enumerate([{}, {"threads": 1}, {"threads": 3}]):
        sn.normalize(tmp_path / "a.parquet", tmp_path / str(i), partition_by="zone", columns="x", **options)
        found.append([(tmp_path / str(i) / name).read_bytes() for name in layout(tmp_path / str(i))])
    assert found[0] == found[1] == found[2]


def test_many_folders_have_one_file_each_and_few_are_open(tmp_path, monkeypatch):
    rows = 40_000
    data = pa.table({"k": np.arange(rows) % 200, "x": np.random.default_rng(0).normal(size=rows)})
    most = 0
    write = partition_places.LocalFile.write

    def watched(self, data):
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return write(self, data)

    monkeypatch.setattr(partition_places.LocalFile, "write", watched)
    before = len(os.listdir("/proc/self/fd"))
    batches = [data.slice(start, 500) for start in range(0, rows, 500)]
    scaler = sn.fit(data, columns="x")
    assert sn.transform(batches, tmp_path / "out", scaler, partition_by="k", memory="16MB") == rows
    assert layout(tmp_path / "out") == sorted(f"k={k}/part-0.parquet" for k in range(200))
    assert most <= before + partition_places.OPEN_FILES + 8
    part = pq.ParquetFile(tmp_path / "out" / "k=7" / "part-0.parquet")
    assert part.num_row_groups > 1  # it was written to in between
    read = ds.dataset(tmp_path / "out", partitioning="hive").to_table()
    assert read.num_rows == rows
    np.testing.assert_allclose(np.sort(read["x"]), np.sort(scaler.transform(data)["x"]), rtol=0)


def test_what_fails_leaves_nothing_and_keeps_what_was_there(tmp_path):
    scaler = sn.fit(table(), columns="x")

    def batches():
        yield table().to_batches()[0]
        raise DataError("the line broke")

    with pytest.raises(DataError, match="the line broke"):
        sn.transform(batches(), tmp_path / "out", scaler, partition_by="zone")
    assert not list(tmp_path.iterdir())
    sn.transform(table(), tmp_path / "out", scaler, partition_by="zone")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in layout(tmp_path / "out")}
    with pytest.raises(FileExistsError, match="out: holds files already"):
        sn.transform(table(1), tmp_path / "out", scaler, partition_by="zone")
    with pytest.raises(DataError, match="the line broke"):
        sn.transform(batches(), tmp_path / "out", scaler, partition_by="zone", overwrite=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in layout(tmp_path / "out")} == before


def test_overwriting_replaces_the_parts_and_nothing_else(tmp_path):
    scaler, out = sn.fit(table(), columns="x"), tmp_path / "out"
    sn.transform(table(), out, scaler, partition_by="zone")
    (out / "zone=z1" / "notes.txt").write_text("kept")
    (out / f".{os.getpid() + 1}.streamnorm-tmp").mkdir()
    (out / f".{os.getpid() + 1}.streamnorm-tmp" / "lock").touch()
    sn.transform(table(), out, scaler, partition_by="year", overwrite=True, where="year > 2021")
    assert layout(out) == ["year=2022/part-0.parquet", "year=2023/part-0.parquet", "zone=z1/notes.txt"]
    assert sorted(path.name for path in out.iterdir()) == ["year=2022", "year=2023", "zone=z1"]


def test_an_interrupt_leaves_nothing(tmp_path):
    pq.write_table(table(rows=2_400_000), tmp_path / "a.parquet", row_group_size=20_000)
    sn.fit(table(), columns="x").save(tmp_path / "s.json")
    command = [sys.executable, "-m", "streamnorm", "transform", "a.parquet", "-o", "out/", "--state", "s.json",
               "--partition-by", "year,zone", "--memory", "16MB"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("out/.*/[0-9]*")) and run.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 130, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "s.json"]


@pytest.mark.parametrize(
    "keys, said",
    [
        (["x"], "'x' holds double, and folders are named by"),
        (["none"], "there is no column 'none' to partition by"),
        (["zone", "zone"], "names a column twice"),
    ],
)
def test_keys_that_cannot_be(tmp_path, keys, said):
    with pytest.raises(DataError, match=said):
        sn.transform(table(), tmp_path / "out", sn.fit(table(), columns="n"), partition_by=keys)
    assert not list(tmp_path.iterdir())


def test_sinks_and_columns_that_cannot_be(tmp_path):
    scaler = sn.fit(table(), columns="year")
    with pytest.raises(DataError, match="'year' is to be normalized, and to name folders"):
        sn.transform(table(), tmp_path / "out", scaler, partition_by="year")
    with pytest.raises(DataError, match="'year' is to be normalized, and to name folders"):
        sn.normalize(table(), tmp_path / "out", columns=["x", "year"], partition_by="year")
    with pytest.raises(DataError, match="name a directory as the sink"):
        sn.transform(table(), None, sn.fit(table(), columns="x"), partition_by="year")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is a file, and partition_by makes folders"):
        sn.normalize(table(), tmp_path / "file", partition_by="year")
    null = pa.table({"k": ["__HIVE_DEFAULT_PARTITION__", "a"], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match="which means null as the name of a folder"):
        sn.normalize(null, tmp_path / "out", partition_by="k")
    # Keys are left out of a fit that does not name its columns.
    assert list(sn.normalize(table(), tmp_path / "out", partition_by="year").summary_) == ["x", "n"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_that_cannot_name_folders_are_told_before_the_data_are_read(tmp_path, suffix, monkeypatch):
    path, out = tmp_path / f"a.{suffix}", tmp_path / "out"
    if suffix == "csv":
        pyarrow.csv.write_csv(table(), path)
    else:
        pq.write_table(table(), path)
    monkeypatch.setattr(sn.StandardScaler, "fit", None)  # which it does not come to
    with pytest.raises(DataError) as caught:
        sn.normalize(path, out, partition_by=["q"])
    assert str(caught.value) == f"{path}: there is no column 'q' to partition by: there are x, year, zone, n"
    with pytest.raises(DataError, match="column 'x' holds double, and folders are named by") as caught:
        sn.normalize(path, out, partition_by=["x"])
    assert caught.value.file == str(path) and not out.exists()
