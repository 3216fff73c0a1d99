"""Standard input and output: commands pipe, messages keep out of the way, and what cannot go through a pipe says so."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import streamnorm as sn

SRC = str(Path(sn.__file__).resolve().parents[1])
SLOW = 120
RTOL = 1e-12
TABLE = pa.table({"fare": np.linspace(1, 9, 1000), "zone": [f"z{i % 5}" for i in range(1000)]})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(TABLE, "trips.parquet")
    with pa.OSFile("trips.arrows", "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=100)
    sn.fit(TABLE).save("s.json")
    return tmp_path


def run(*args, stdin=b"", code=0):
    env = {**os.environ, "PYTHONPATH": SRC}
    command = [sys.executable, "-m", "streamnorm", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=SLOW)
    assert done.returncode == code, done.stderr.decode()
    return done


def shell(line, code=0):
    env = {**os.environ, "PYTHONPATH": SRC}
    line = line.replace("streamnorm", f"{sys.executable} -m streamnorm")
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, env=env, timeout=SLOW)
    assert done.returncode == code, done.stderr.decode()
    return done


def read(data):
    return pa.ipc.open_stream(data).read_all()


def test_commands_pipe(folder):
    done = shell(
        "cat trips.arrows | streamnorm transform - -o - --state s.json | streamnorm inverse - -o - --state s.json "
        "| streamnorm fit - -o again.json"
    )
    assert done.stdout == b""
    np.testing.assert_allclose(sn.load("again.json").mean_, sn.load("s.json").mean_, rtol=RTOL)


def test_the_state_goes_through_the_pipe(folder):
    normalized = run("normalize", "trips.parquet", "-o", "-").stdout
    back = read(run("inverse", "-", "-o", "-", stdin=normalized).stdout)
    np.testing.assert_allclose(back["fare"], TABLE["fare"], rtol=RTOL)
    assert back["zone"].equals(TABLE["zone"])
    assert "no state" in run("inverse", "-", "-o", "-", stdin=Path("trips.arrows").read_bytes(), code=1).stderr.decode()


def test_messages_are_on_standard_error_alone(folder):
    done = run("transform", "-", "-o", "-", "--state", "s.json", "--verbose", stdin=Path("trips.arrows").read_bytes())
    assert read(done.stdout).num_rows == 1000
    assert "wrote 1,000 rows to standard output" in done.stderr.decode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_text_through_a_pipe(folder, kind):
    text = run("transform", "trips.parquet", "-o", "-", "--output-format", kind, "--state", "s.json").stdout
    assert text.count(b"\n") == 1000 + (kind != "jsonl")
    back = run("inverse", "-", "--input-format", kind, "-o", "back.parquet", "--state", "s.json", stdin=text)
    assert back.stdout == b""
    np.testing.assert_allclose(pq.read_table("back.parquet")["fare"], TABLE["fare"], rtol=RTOL)


def test_where_in_a_pipe(folder):
    out = run("transform", "-", "-o", "-", "--state", "s.json", "--where", "zone = 'z1'",
              stdin=Path("trips.arrows").read_bytes()).stdout  # fmt: skip
    assert set(read(out)["zone"].to_pylist()) == {"z1"}


def test_normalize_reads_twice_and_so_needs_a_spool(folder):
    data = Path("trips.arrows").read_bytes()
    assert "--spool" in run("normalize", "-", "-o", "n.parquet", stdin=data, code=1).stderr.decode()
    assert not Path("n.parquet").exists()
    run("normalize", "-", "-o", "n.parquet", "--spool", stdin=data)
    assert sn.load("n.parquet").mean_ == sn.load("s.json").mean_
    for sink in ("n.arrows", "n.csv"):
        run("normalize", "-", "-o", sink, "--spool", stdin=data)
    piped = read(run("normalize", "-", "-o", "-", "--spool", stdin=data).stdout)
    np.testing.assert_allclose(np.mean(piped["fare"]), 0, atol=RTOL)
    assert sorted(p.name for p in folder.iterdir()) == [
        "n.arrows", "n.csv", "n.parquet", "s.json", "trips.arrows", "trips.parquet"
    ]  # fmt: skip


def test_exact_quantiles_of_a_pipe_need_a_spool(folder):
    data = Path("trips.arrows").read_bytes()
    args = ("fit", "-", "-o", "r.json", "--method", "robust", "--exact")
    assert "--spool" in run(*args, stdin=data, code=1).stderr.decode()
    run(*args, "--spool", stdin=data)
    assert sn.load("r.json").center_ == sn.fit(TABLE, "robust", exact=True).center_


def test_a_reader_that_has_seen_enough_ends_the_job_quietly(folder):
    big = pa.table({"fare": np.arange(2_000_000.0)})
    with pa.OSFile("big.arrows", "wb") as file, pa.ipc.new_stream(file, big.schema) as writer:
        writer.write_table(big)
    sn.fit(big).save("b.json")
    done = shell("streamnorm transform big.arrows -o - --state b.json | head -c 1000 > start", code=141)
    assert done.stderr == b"" and Path("start").stat().st_size == 1000


def test_a_pipe_that_breaks_off_is_an_error_and_leaves_nothing(folder):
    data = Path("trips.arrows").read_bytes()[:-2000]
    message = run("transform", "-", "-o", "n.parquet", "--state", "s.json", stdin=data, code=1).stderr.decode()
    assert "standard input: cannot be read as an Arrow IPC stream" in message and message.count("\n") == 1
    assert not Path("n.parquet").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("fit", "-", "-o", "x.json", "--input-format", "parquet"), "read from its end"),
        (("fit", "-", "-o", "x.json", "--input-format", "arrow"), "read from its end"),
        (("transform", "trips.parquet", "-o", "-", "--state", "s.json", "--output-format", "parquet"), "does not go"),
        (("fit", "-", "-o", "x.json"), "cannot be read as an Arrow IPC stream"),
        (("fit", "-", "-o", "x.json", "--update", "s.json"), "neither filtered rows"),
    ],
)
def test_what_does_not_go_through_a_pipe(folder, args, message):
    assert message in run(*args, code=1).stderr.decode()


def test_bytes_do_not_go_to_a_terminal(folder):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    for kind, code in (("arrows", 1), ("csv", 0)):
        done = subprocess.run(
            [sys.executable, "-m", "streamnorm", "transform", "trips.parquet", "-o", "-", "--state", "s.json",
             "--where", "fare < 1.01", "--output-format", kind],
            stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": SRC}, timeout=SLOW,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert ("is a terminal" in done.stderr.decode()) == (code == 1)
    os.close(theirs)
    os.close(ours)


def test_the_library_reads_standard_input_too(folder):
    code = "import streamnorm as sn; print(sn.fit('-').summary_.rows)"
    done = subprocess.run([sys.executable, "-c", code], input=Path("trips.arrows").read_bytes(), capture_output=True,
                          env={**os.environ, "PYTHONPATH": SRC}, timeout=SLOW)  # fmt: skip
    assert done.stdout.strip() == b"1000", done.stderr
