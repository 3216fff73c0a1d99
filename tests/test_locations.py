"""Files of stores: found, read by ranges, written whole or not at all, and named without their secrets."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from support import children

import streamnorm as sn
from streamnorm import locations, partition_places, partitions, s3_upload
from streamnorm.errors import DataError, StreamnormError
from streamnorm.globs import pattern_of
from streamnorm.locations import ArrowStore, StorePath, locate
from streamnorm.masking import masked
from streamnorm.ranged import FIRST_WINDOW, LAST_WINDOW, RangedFile

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

KEYS = dict(AWS_ACCESS_KEY_ID="AKIATEST", AWS_SECRET_ACCESS_KEY="hush/hush+hush", AWS_DEFAULT_REGION="us-east-1")
ROWS = 3_000
MB = 10**6
CLIENT = 25 * MB  # what Arrow's client of S3 takes, and the parts that are on their way


@pytest.fixture(scope="module")
def server():
    """An S3 server of this process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """A client, with an empty bucket "data"."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    for one in client.list_objects_v2(Bucket="data").get("Contents", []):
        client.delete_object(Bucket="data", Key=one["Key"])
    client.delete_bucket(Bucket="data")


def table(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    zones = ["a", "b", "c"] * (rows // 3)
    return pa.table({"x": rng.normal(5, 2, rows), "n": rng.integers(0, 99, rows), "zone": zones})


def parquet(data, **options):
    out = io.BytesIO()
    pq.write_table(data, out, **options)
    return out.getvalue()


def put(client, key, data):
    client.put_object(Bucket="data", Key=key, Body=data if isinstance(data, bytes) else parquet(data))


def keys(client):
    return [one["Key"] for one in client.list_objects_v2(Bucket="data").get("Contents", [])]


def uploads(client):
    return client.list_multipart_uploads(Bucket="data").get("Uploads", [])


def body(client, key):
    return client.get_object(Bucket="data", Key=key)["Body"].read()


# ------------------------------------------------------------------------------------------------ what there is


def test_a_store_gives_the_bits_that_files_give(s3, tmp_path):
    put(s3, "in/a.parquet", table(1))
    pq.write_table(table(1), tmp_path / "a.parquet")
    far = sn.normalize("s3://data/in/a.parquet", "s3://data/out/b.parquet", "robust", state="s3://data/s.json")
    near = sn.normalize(tmp_path / "a.parquet", tmp_path / "b.parquet", "robust")
    assert far.digest() == near.digest() == sn.load("s3://data/s.json").digest()
    # The footers differ in the ledger alone, which has no path there.
    assert body(s3, "out/b.parquet") == (tmp_path / "b.parquet").read_bytes()
    sn.inverse("s3://data/out/b.parquet", tmp_path / "c.parquet")
    np.testing.assert_allclose(pq.read_table(tmp_path / "c.parquet")["x"], table(1)["x"], rtol=1e-12)
    assert sn.inspect("s3://data/out/b.parquet")["digest"] == far.digest()


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows", "csv", "csv.gz", "tsv", "jsonl", "jsonl.zst"])
def test_every_format_goes_through_a_store(s3, tmp_path, suffix):
    put(s3, "a.parquet", table())
    scaler = sn.normalize("s3://data/a.parquet", f"s3://data/b.{suffix}", "minmax", state="s3://data/s.json")
    back = sn.inverse(f"s3://data/b.{suffix}", None, scaler).read_all()
    np.testing.assert_allclose(back["x"], table()["x"], rtol=1e-9)
    assert back["zone"].to_pylist() == table()["zone"].to_pylist()


def test_text_in_a_store_leaves_a_lineage(s3):
    data = b"x\n1.5\n2.5\n"
    s3.put_object(Bucket="data", Key="a.csv", Body=data)
    sn.normalize("s3://data/a.csv", "s3://data/b.parquet")
    (said,) = sn.inspect("s3://data/b.parquet")["lineage"]["inputs"]
    assert (said["name"], said["size"]) == ("a.csv", len(data))


def test_folders_patterns_and_lists(s3):
    for i, key in enumerate(["t/y=1/a.parquet", "t/y=2/b.parquet", "t/c.txt", "t/_tmp/d.parquet", "u.parquet"]):
        put(s3, key, table(i))
    rows = {
        "s3://data/t/": 2, "s3://data/t": 2, "s3://data/t/*/*.parquet": 3, "s3://data/t/y=?/*.parquet": 2,
        "s3://data/**/*.parquet": 4, "s3://data/u.parquet": 1, "s3://data/*.parquet": 1,
    }  # fmt: skip
    for source, files in rows.items():
        assert sn.fit(source).summary_.rows == files * ROWS, source
    assert sn.fit(["s3://data/u.parquet", "s3://data/t/y=1/a.parquet"]).summary_.rows == 2 * ROWS


def test_a_hive_layout_keeps_its_folders_and_a_filter_passes_over_them(s3, monkeypatch):
    for year in (2023, 2024):
        put(s3, f"t/year={year}/city=A%20b/part-0.parquet", table(year))
    sn.normalize("s3://data/t", "s3://data/out/")
    assert [key for key in keys(s3) if key.startswith("out/")] == [
        f"out/year={year}/city=A%20b/part-0.parquet" for year in (2023, 2024)
    ]
    read = sn.transform("s3://data/t", None, sn.fit("s3://data/t"), where="year = 2024 and city = 'A b'").read_all()
    assert len(read) == ROWS and set(read["year"].to_pylist()) == {2024}
    np.testing.assert_allclose(sn.fit("s3://data/t", where="year = 2024").mean_[0], table(2024)["x"].to_numpy().mean())


def test_partitions_in_a_store(s3):
    put(s3, "a.parquet", table())
    sn.normalize("s3://data/a.parquet", "s3://data/out", partition_by="zone")
    assert [key for key in keys(s3) if key != "a.parquet"] == [f"out/zone={zone}/part-0.parquet" for zone in "abc"]
    with pytest.raises(FileExistsError, match=r"s3://data/out: holds files already"):
        sn.normalize("s3://data/a.parquet", "s3://data/out", partition_by="zone")
    sn.normalize("s3://data/a.parquet", "s3://data/out", partition_by="zone", where="zone != 'b'", overwrite=True)
    assert [key for key in keys(s3) if key != "a.parquet"] == [f"out/zone={zone}/part-0.parquet" for zone in "ac"]


def test_partitions_of_a_job_that_fails_leave_nothing(s3, monkeypatch):
    rows = table()

    def batches():
        yield rows.to_batches()[0]
        raise DataError("the line broke")

    monkeypatch.setattr(partitions, "ROW_GROUP_ROWS", 500)  # so that there is something to give up
    monkeypatch.setattr(partition_places.StorePlace, "finish", once_and_fail(partition_places.StorePlace.finish))
    with pytest.raises(DataError, match="the line broke"):
        sn.transform(batches(), "s3://data/out/", sn.fit(rows), partition_by="zone")
    with pytest.raises(StreamnormError, match="no room"):
        sn.transform(rows, "s3://data/out/", sn.fit(rows), partition_by="zone")
    assert not keys(s3) and not uploads(s3)


def once_and_fail(function):
    """The function, which fails from the second call on."""
    calls = []

    def failing(*args):
        calls.append(args)
        if len(calls) > 1:
            raise StreamnormError("no room")
        return function(*args)

    return failing


# ------------------------------------------------------------------------------------------------ what is read


class Counted:
    """Counts the requests of each kind that go to a store."""

    def __init__(self, monkeypatch):
        self.read = self.reads = self.opened = self.asked = self.listed = 0
        own = {name: getattr(ArrowStore, name) for name in ("open", "info", "listing")}

        def opened(store, key):
            self.opened += 1
            return pa.PythonFile(CountedFile(self, own["open"](store, key)), "r")

        def asked(store, key):
            self.asked += 1
            return own["info"](store, key)

        def listed(store, key, recursive):
            self.listed += 1
            return own["listing"](store, key, recursive)

        for name, function in {"open": opened, "info": asked, "listing": listed}.items():
            monkeypatch.setattr(ArrowStore, name, function)


class CountedFile(io.RawIOBase):
    def __init__(self, counts, file):
        self.counts, self.file = counts, file

    def read(self, count=-1):
        data = self.file.read(count)
        self.counts.read += len(data)
        self.counts.reads += 1
        return data

    def seek(self, offset, whence=0):
        return self.file.seek(offset, whence)

    def tell(self):
        return self.file.tell()

    def seekable(self):
        return True

    def readable(self):
        return True


def test_columns_and_row_groups_that_are_not_needed_are_not_read(s3, monkeypatch):
    rng = np.random.default_rng(0)
    wide = pa.table({f"c{i}": rng.normal(size=40_000) + (np.arange(40_000) // 10_000) for i in range(10)}
                    | {"k": np.arange(40_000)})  # fmt: skip
    data = parquet(wide, row_group_size=10_000, compression="none", use_dictionary=False)
    put(s3, "a.parquet", data)
    counts = Counted(monkeypatch)
    sn.fit("s3://data/a.parquet", columns="c3")
    assert counts.read < len(data) / 11 + 2 * FIRST_WINDOW
    counts.read = 0
    scaler = sn.fit("s3://data/a.parquet", columns="c3", where="k < 5000")
    assert scaler.summary_.rows == 5000
    assert counts.read < 2 * len(data) / 11 / 4 + 2 * FIRST_WINDOW


def test_a_large_chunk_of_small_pages_takes_few_requests(s3, monkeypatch):
    values = pa.table({"x": np.random.default_rng(0).normal(size=1_000_000)})
    data = parquet(values, compression="none", use_dictionary=False, data_page_size=1 << 16)
    put(s3, "a.parquet", data)
    counts = Counted(monkeypatch)
    sn.fit("s3://data/a.parquet", memory="16MB")
    assert counts.reads <= len(data) / LAST_WINDOW + 12 and counts.read < 1.1 * len(data)


def test_a_folder_is_listed_once(s3, monkeypatch):
    for i in range(5):
        put(s3, f"t/{i}.parquet", table(i))
    counts = Counted(monkeypatch)
    sn.fit("s3://data/t/")
    assert counts.listed == 1
    assert counts.asked <= 1 + 5  # the folder, and each file once more at the end
    counts.listed = 0
    sn.normalize("s3://data/t/", "s3://data/out/", "robust")
    assert counts.listed <= 2  # what is read, and what is in the way


NORMALIZE = "import sys, streamnorm as sn; sn.normalize(*sys.argv[1:], memory='32MB', threads=2)"


def test_memory_is_bounded(s3):
    values = np.random.default_rng(0).normal(size=2_500_000)
    data = parquet(pa.table({f"c{i}": values for i in range(4)}), compression="none", use_dictionary=False,
                   row_group_size=2_500_000)  # fmt: skip
    assert len(data) > 75 * MB
    put(s3, "a.parquet", data)
    done = children.measure(NORMALIZE, "s3://data/a.parquet", "s3://data/b.parquet", "robust")
    assert done.status == 0, done.err
    assert done.peak <= (32 + 80) * MB + CLIENT
    assert s3.head_object(Bucket="data", Key="b.parquet")["ContentLength"] > 75 * MB


def test_a_file_that_changes_is_noticed(s3):
    put(s3, "a.parquet", table(0))

    def progress(*_):
        put(s3, "a.parquet", table(1, 2 * ROWS))

    with pytest.raises(DataError, match=r"s3://data/a.parquet: changed while it was read"):
        sn.fit("s3://data/a.parquet", progress=progress)


def test_a_window_grows_on_the_way_and_begins_anew_after_a_jump():
    data = np.random.default_rng(0).bytes(20_000_000)
    asked = []

    class Far(io.BytesIO):
        def read(self, count=-1):
            asked.append(count)
            return super().read(count)

    file = RangedFile(Far(data), len(data))
    assert file.read_at(len(data) - 8, 8) == data[-8:] and file.read_at(len(data) - 9000, 8000) == data[-9000:-1000]
    assert asked == [FIRST_WINDOW]
    asked.clear()
    file.seek(0)
    assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    assert len(asked) < 30 and max(asked) == LAST_WINDOW
    asked.clear()
    for offset in (0, 7_000_000, 3_000_000):
        assert file.read_at(offset, 10) == data[offset : offset + 10]
    assert asked == [FIRST_WINDOW] * 3
    assert file.read_at(len(data) - 3, 10) == data[-3:] and file.read_at(len(data) + 5, 1) == b""


# ------------------------------------------------------------------------------------------------ what is written


def large(rows=800_000):
    """Enough for several parts."""
    values = np.random.default_rng(0).normal(size=rows)
    return pa.table({f"c{i}": values for i in range(3)})


def damaged(data):
    """A file whose last pages cannot be read."""
    group = pq.read_metadata(io.BytesIO(data)).num_row_groups - 1
    at = pq.read_metadata(io.BytesIO(data)).row_group(group).column(2).data_page_offset
    return data[:at] + bytes(99) + data[at + 99 :]


def test_an_upload_in_parts(s3, tmp_path):
    data = large()
    put(s3, "a.parquet", parquet(data, row_group_size=100_000))
    scaler = sn.fit(data)
    sn.transform("s3://data/a.parquet", "s3://data/b.parquet", scaler)
    assert s3.head_object(Bucket="data", Key="b.parquet")["ETag"].strip('"').endswith("-4")
    np.testing.assert_array_equal(pq.read_table(io.BytesIO(body(s3, "b.parquet")))["c1"], scaler.transform(data)["c1"])
    assert not uploads(s3)


def test_an_upload_that_fails_leaves_nothing_and_keeps_what_was_there(s3, monkeypatch):
    put(s3, "a.parquet", damaged(parquet(large(), row_group_size=100_000)))
    put(s3, "b.parquet", b"old")
    begun = []
    begin = s3_upload.MultipartUpload._begin
    monkeypatch.setattr(s3_upload.MultipartUpload, "_begin", lambda self: begun.append(begin(self)) or begun[-1])
    with pytest.raises(DataError, match="row group 7.*the file is damaged"):
        sn.transform("s3://data/a.parquet", "s3://data/b.parquet", sn.fit(large().slice(0, 9)), overwrite=True)
    assert begun and not uploads(s3)
    assert body(s3, "b.parquet") == b"old" and keys(s3) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("fails", ["_put_part", "commit"])
def test_a_store_that_fails_is_told_and_left_clean(s3, monkeypatch, fails):
    put(s3, "a.parquet", parquet(large(), row_group_size=100_000))
    ask = s3_upload.MultipartUpload._ask

    def failing(self, method, query, body=b""):
        if ("partNumber" in query) if fails == "_put_part" else (method == "POST" and "uploadId" in query):
            raise OSError("S3 answers 500: https://x:sesame@host/ is down")
        return ask(self, method, query, body)

    monkeypatch.setattr(s3_upload.MultipartUpload, "_ask", failing)
    with pytest.raises(StreamnormError, match=r"s3://data/b.parquet: cannot be written \(S3 answers 500") as caught:
        sn.transform("s3://data/a.parquet", "s3://data/b.parquet", sn.fit("s3://data/a.parquet"))
    assert "sesame" not in str(caught.value)
    assert not uploads(s3) and keys(s3) == ["a.parquet"]


@pytest.mark.parametrize("where", ["arrow", "s3fs"])
def test_without_credentials_of_our_own_others_upload(s3, server, monkeypatch, where):
    put(s3, "a.parquet", damaged(parquet(large(), row_group_size=100_000)))
    if where == "arrow":
        monkeypatch.setattr(s3_upload, "access_of", lambda filesystem: None)
        filesystem = None
    else:
        filesystem = s3fs.S3FileSystem(endpoint_url=server, skip_instance_cache=True)
    scaler = sn.fit(large().slice(0, 9))
    with pytest.raises(DataError, match="row group 7.*the file is damaged"):
        sn.transform("s3://data/a.parquet", "s3://data/b.parquet", scaler, filesystem=filesystem)
    assert keys(s3) == ["a.parquet"] and not uploads(s3)
    put(s3, "a.parquet", large(700_000))
    sn.transform("s3://data/a.parquet", "s3://data/b.parquet", scaler, filesystem=filesystem)
    assert keys(s3) == ["a.parquet", "b.parquet"] and not uploads(s3)
    assert pq.read_metadata(io.BytesIO(body(s3, "b.parquet"))).num_rows == 700_000


def test_an_interrupt_leaves_nothing(s3, tmp_path):
    put(s3, "a.parquet", parquet(large(3_000_000), row_group_size=50_000))
    sn.fit(large().slice(0, 9)).save(tmp_path / "s.json")
    command = [sys.executable, "-m", "streamnorm", "transform", "s3://data/a.parquet", "-o", "s3://data/b.parquet",
               "--state", str(tmp_path / "s.json"), "--memory", "32MB", "--threads", "1"]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        until = time.monotonic() + 60
        while not uploads(s3) and run.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        assert uploads(s3)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
    assert run.returncode == 130 and "nothing was written" in said
    assert not uploads(s3) and keys(s3) == ["a.parquet"]


def test_targets_are_checked_before_the_work(s3):
    put(s3, "a.parquet", table())
    put(s3, "out/a.parquet", b"old")
    with pytest.raises(FileExistsError, match=r"s3://data/out/a.parquet: exists already"):
        sn.normalize("s3://data/a.parquet", "s3://data/out/a.parquet")
    with pytest.raises(FileExistsError, match=r"s3://data/out/a.parquet: exists already"):
        sn.normalize("s3://data/a.parquet", "s3://data/out/")
    with pytest.raises(StreamnormError, match=r"there is no bucket s3://nowhere"):
        sn.normalize("s3://data/a.parquet", "s3://nowhere/a.parquet")
    with pytest.raises(StreamnormError, match=r"is to hold data, not the state"):
        sn.normalize("s3://data/a.parquet", "s3://data/new.parquet", state="s3://data/new.parquet")
    with pytest.raises(DataError, match=r"s3://data/b.parquet: there is no such file"):
        sn.fit("s3://data/b.parquet")
    with pytest.raises(DataError, match=r"s3://data/\*.csv: no file matches"):
        sn.fit("s3://data/*.csv")
    with pytest.raises(StreamnormError, match="read, not written"):
        sn.fit(table()).save("http://127.0.0.1:9/x.json")


def test_an_update_reads_what_is_new_and_keeps_its_state_in_the_store(s3):
    put(s3, "t/a.parquet", table(1))
    sn.fit("s3://data/t/").save("s3://data/s.json")
    put(s3, "t/b.parquet", table(2))
    both = sn.fit("s3://data/t/", update="s3://data/s.json")
    assert both.summary_.rows == 2 * ROWS and both.digest() == sn.merge([sn.fit(table(1)), sn.fit(table(2))]).digest()
    assert [file.path for file in both.summary_.files] == ["s3://data/t/a.parquet", "s3://data/t/b.parquet"]
    put(s3, "t/a.parquet", table(3))
    with pytest.raises(DataError, match=r"changed since: s3://data/t/a.parquet"):
        sn.fit("s3://data/t/", update="s3://data/s.json")


def test_the_command_line(s3, tmp_path):
    put(s3, "t/a.parquet", table(1))

    def run(*args, code=0):
        done = subprocess.run([sys.executable, "-m", "streamnorm", *args], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stderr + done.stdout

    run("normalize", "s3://data/t/", "-o", "s3://data/out/", "--state", "s3://data/s.json")
    assert "exists already" in run("normalize", "s3://data/t/", "-o", "s3://data/out/", code=1)
    run("fit", "s3://data/t/", "--update", "s3://data/s.json")
    run("transform", "s3://data/t/*.parquet", "-o", f"{tmp_path}/x.parquet", "--state", "s3://data/s.json")
    run("export", "s3://data/s.json", "--to", "sql", "--table", "t", "-o", "s3://data/s.sql")
    assert b"SELECT" in body(s3, "s.sql")
    assert json.loads(run("inspect", "s3://data/s.json", "--json"))["path"] == "s3://data/s.json"
    said = run("fit", "s3://AKIA:hushhush@data/none.parquet", "-o", "s3://AKIA:hushhush@data/x.json", code=1)
    assert "hushhush" not in said and "none.parquet: there is no such file" in said
    said = run("export", "s3://data/s.json", "--to", "sql", "--table", "t", "-o", "s3://A:hushhush@data/t.sql",
               "--log-format", "json")  # fmt: skip
    assert "hushhush" not in said and "s3://***@data" in said


# ------------------------------------------------------------------------------------------------ other stores


def test_file_systems_that_are_given(s3, server, tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    put(s3, "a.parquet", table())
    wanted = sn.fit(table()).digest()
    near = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    arrow = pyarrow.fs.S3FileSystem(access_key="k", secret_key="s", endpoint_override=server, region="us-east-1")
    spec = s3fs.S3FileSystem(endpoint_url=server, skip_instance_cache=True)
    for filesystem, root in ((near, ""), (arrow, "data/"), (spec, "data/"), (spec, "s3://data/")):
        assert sn.StandardScaler().fit(f"{root}a.parquet", filesystem=filesystem).digest() == wanted
        scaler = sn.normalize(f"{root}a.parquet", f"{root}b.parquet", filesystem=filesystem, overwrite=True,
                              state=f"{root}s.json")  # fmt: skip
        assert sn.load(f"{root}s.json", filesystem=filesystem).digest() == scaler.digest() == wanted
        assert sn.inverse(f"{root}b.parquet", None, filesystem=filesystem).read_all().num_rows == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "s.json"]
    with pytest.raises(TypeError, match="filesystem must be one of pyarrow.fs or fsspec, got a str"):
        sn.fit("a.parquet", filesystem="s3")


def test_memory_and_archives_and_a_chain(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/locations/t/a.parquet", parquet(table()))
    wanted = sn.fit(table()).digest()
    assert sn.normalize("memory://locations/t/*.parquet", "memory://locations/out/").digest() == wanted
    assert memory.ls("/locations/out", detail=False) == ["/locations/out/a.parquet"]
    with pytest.raises(FileExistsError):
        sn.normalize("memory://locations/t", "memory://locations/out/")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("in/a.parquet", parquet(table()))
        archive.writestr("b.csv", "a,b\n1,2\n3,5\n")
    assert sn.fit(f"zip://in/a.parquet::file://{tmp_path}/z.zip").digest() == wanted
    assert sn.fit(f"zip://b.csv::{tmp_path}/z.zip").mean_.tolist() == [2.0, 3.5]
    pq.write_table(table(), tmp_path / "a b.parquet")
    assert sn.fit(f"file://{tmp_path}/a%20b.parquet").digest() == wanted
    memory.rm("/locations", recursive=True)


def test_models_are_kept_in_stores():
    pytest.importorskip("fsspec")
    model = sn.nn.Regressor(hidden=(4,), epochs=1, random_state=0).fit(np.arange(40.0).reshape(20, 2), np.arange(20.0))
    model.save("memory://models/m.safetensors")
    again = sn.load("memory://models/m.safetensors")
    np.testing.assert_array_equal(again.predict(np.ones((3, 2))), model.predict(np.ones((3, 2))))
    assert sn.inspect("memory://models/m.safetensors")["kind"] == "regressor"
    with pytest.raises(FileExistsError):
        model.save("memory://models/m.safetensors")


def test_the_web(tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,5\n")
    pq.write_table(table(), tmp_path / "a.parquet")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        assert sn.fit(f"{root}/a.csv").mean_.tolist() == [2.0, 3.5]
        assert sn.fit(f"{root}/a.csv?token=hush").mean_.tolist() == [2.0, 3.5]
        with pytest.raises(DataError) as caught:
            sn.fit(f"{root}/b.csv?token=hush")
        assert "no such file" in str(caught.value) and "hush" not in str(caught.value)
        server.shutdown()


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "text, shown",
    [
        ("s3://key:secret@bucket/a", "s3://***@bucket/a"),
        ("s3://key:se/cr+et@bucket/a", "s3://***@bucket/a"),
        ("https://h/a?X-Amz-Signature=abc&x=1", "https://h/a?X-Amz-Signature=***&x=1"),
        ("https://h/a?token=a:b: no such file", "https://h/a?token=***: no such file"),
        ("abfs://c@h/a?sv=1&sig=ab%2B&se=2", "abfs://c@h/a?sv=1&sig=***&se=2"),
        ("cannot reach 's3://k:v@b/a' (s3://k:v@b)", "cannot reach 's3://***@b/a' (s3://***@b)"),
        ("gs://anonymous@bucket/a", "gs://anonymous@bucket/a"),
        ("s3://bucket/k:v@x/month=1", "s3://bucket/k:v@x/month=1"),
        ("column 'key=1'", "column 'key=1'"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert masked(text) == shown


def test_the_signature_is_that_of_the_specification():
    # The example "GET Bucket Lifecycle" of the Amazon S3 API reference.
    access = s3_upload.Access("https", "s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE",
                              "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", False, "")  # fmt: skip
    moment = datetime(2013, 5, 24, tzinfo=UTC)
    headers = s3_upload.signed(access, "GET", "examplebucket.s3.amazonaws.com", "/", "lifecycle=", b"", moment)
    assert headers["authorization"].endswith("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
    assert "wJalr" not in repr(access)


def test_paths_of_stores_and_of_this_machine_side_by_side(tmp_path):
    store = ArrowStore(pyarrow.fs.LocalFileSystem(), "s3")
    paths = [StorePath(store, "b/z"), tmp_path, StorePath(store, "b/a/c"), StorePath(store, "b/a")]
    assert [str(path) for path in sorted(paths)] == [str(tmp_path), "s3://b/a", "s3://b/a/c", "s3://b/z"]
    path = StorePath(store, "b/a/c.csv.gz")
    assert (path.name, str(path.parent), str(path.with_name("d")), str(path.parent / "e/f")) == (
        "c.csv.gz", "s3://b/a", "s3://b/a/d", "s3://b/a/e/f"
    )  # fmt: skip
    assert str(locate("a/b")) == "a/b"
    assert str(locate(f"file://{tmp_path}/a%20b")) == f"{tmp_path}/a b"
    assert locations.placed(["a", "b"]) == ["a", "b"] and locations.placed("-") == "-"
    assert pattern_of("a/**/*.csv").fullmatch("a/b/c/d.csv") and not pattern_of("a/*.csv").fullmatch("a/b/d.csv")


def test_a_scheme_that_nobody_knows():
    with pytest.raises(DataError, match=r"nosuch://x/a.parquet: cannot be reached"):
        sn.fit("nosuch://x/a.parquet")
    with pytest.raises(DataError, match=r"s3:///: names no bucket"):
        sn.fit("s3:///")
