"""Bad targets and options: one clear error, and the folder is left as it was."""

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
from support.faults import fails
from support.files import (
    column_chunk,
    damage,
    listing,
    numbers,
    temporaries,
    write,
)

import streamnorm as sn


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
