"""What jobs log: lines of JSON on the command line, and records of Python's logging."""

import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from support.commands import SLOW_MACHINE, run, start

import streamnorm as sn
from streamnorm import logs

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "log-line.schema.json").read_text())


@pytest.fixture
def trips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table({"fare": [2.0, 4.0, 9.0], "tip": [1, 2, 5], "zone": ["a", "b", "a"]})
    pq.write_table(table, "trips.parquet")
    pc.write_csv(table, "trips.csv")
    return tmp_path


def lines_of(*args, code=0):
    jsonschema = pytest.importorskip("jsonschema")
    result = run(*args, "--log-format", "json", code=code)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    assert len({line["job"] for line in lines}) == 1
    assert [line["event"] for line in lines].count("job.finished") == (code == 0)
    assert [line["event"] for line in lines].count("job.failed") == (code != 0)
    return lines


JOBS = {
    "normalize": ("normalize", "trips.parquet", "-o", "o.parquet"),
    "normalize csv": ("normalize", "trips.csv", "-o", "o.csv"),
    "exact": ("fit", "trips.parquet", "-o", "o.json", "--method", "robust", "--exact"),
    "transform": ("transform", "trips.csv", "-o", "o.jsonl", "--state", "s.json"),
    "inverse": ("inverse", "n.parquet", "-o", "o.parquet"),
    "merge": ("merge", "s.json", "-o", "o.json"),
    "inspect": ("inspect", "s.json"),
    "export": ("export", "s.json", "--to", "sql", "--table", "t"),
    "train": ("train", "trips.parquet", "--target", "tip", "-o", "m.safetensors", "--epochs", "1", "--norm", "none"),
}


@pytest.mark.parametrize("job", JOBS)
def test_every_line_of_every_command_keeps_to_the_schema(job, trips):
    run("fit", "trips.parquet", "-o", "s.json")
    run("normalize", "trips.parquet", "-o", "n.parquet")
    lines = lines_of(*JOBS[job], "--job-id", "nightly-7")
    assert lines[0]["event"] == "job.started" and lines[-1]["event"] == "job.finished"
    assert {line["job"] for line in lines} == {"nightly-7"} and {line["command"] for line in lines} == {JOBS[job][0]}
    assert {line["version"] for line in lines} == {sn.__version__}
    assert lines[0]["inputs"] and lines[0]["outputs"] == lines[-1]["outputs"]


def test_passes_and_the_digest_are_logged(trips):
    lines = lines_of("normalize", "trips.parquet", "-o", "o.parquet", "--method", "robust")
    passes = [(line["event"], line["pass"]) for line in lines if line["event"].startswith("pass.")]
    assert passes == [("pass.started", "fit"), ("pass.finished", "fit"),
                      ("pass.started", "write"), ("pass.finished", "write")]  # fmt: skip
    assert lines[-1]["digest"] == sn.load("o.parquet").digest() and lines[-1]["rows"] == 3
    fit = next(line for line in lines if line["event"] == "pass.finished")
    assert (fit["files"], fit["rows"], fit["bytes"]) == (1, 3, Path("trips.parquet").stat().st_size)
    exact = [line["pass"] for line in lines_of(*JOBS["exact"]) if line["event"] == "pass.finished"]
    assert exact in (["fit"], ["fit", "refine"])


def test_a_failure_names_the_place_in_fields(trips):
    table = pa.table({"fare": np.array([1.0, np.inf])})
    pq.write_table(table, "bad.parquet")
    lines = lines_of("normalize", "bad.parquet", "-o", "o.parquet", code=1)
    last = lines[-1]
    assert (last["event"], last["file"], last["row_group"], last["column"]) == (
        "job.failed", "bad.parquet", 0, "fare",
    )  # fmt: skip
    assert last["exit_code"] == 1 and "fare" in last["error"] and last["level"] == "error"
    assert lines_of("normalize", "trips.parquet", code=2)[-1]["exit_code"] == 2


def test_levels(trips):
    normalize = ("normalize", "trips.parquet", "-o", "o.csv", "--overwrite")
    assert run(*normalize, "--log-level", "error").stderr == ""
    [line] = run(*normalize, "--log-level", "warning").stderr.splitlines()
    assert "csv carries no state" in line
    assert "pass write" in run(*normalize, "--log-level", "debug").stderr
    assert "pass write" not in run(*normalize, "--log-level", "info").stderr
    assert "contradict" in run(*normalize, "--verbose", "--log-level", "warning", code=2).stderr
    assert "exists" in run(*normalize[:4], "--log-level", "error", code=1).stderr


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def kept():
    handler = Kept()
    logs.LOGGER.addHandler(handler)
    before = logs.LOGGER.level
    logs.LOGGER.setLevel(logging.INFO)
    yield handler.records
    logs.LOGGER.removeHandler(handler)
    logs.LOGGER.setLevel(before)


def test_python_logging_gets_the_same_fields(trips, kept):
    scaler = sn.normalize("trips.parquet", "o.parquet")
    events = [record.event for record in kept]
    assert events[0] == "job.started" and events[-1] == "job.finished" and "columns" in events
    assert events.count("job.started") == 1
    first, last = kept[0], kept[-1]
    assert (first.inputs, first.outputs, first.command) == (["trips.parquet"], ["o.parquet"], "normalize")
    assert (last.digest, last.rows, last.version, last.job) == (scaler.digest(), 3, sn.__version__, first.job)
    kept.clear()
    sn.fit(pa.table({"x": [1.0, 2.0]}))
    assert [record.event for record in kept] == ["job.started", "job.finished"]
    assert kept[0].inputs == ["<Table>"]
    kept.clear()
    with pytest.raises(sn.DataError):
        sn.fit("trips.parquet", columns="fair")
    assert (kept[-1].event, kept[-1].levelname, kept[-1].column) == ("job.failed", "ERROR", "fair")


def test_passwords_in_addresses_are_not_logged():
    assert logs.places(["s3://key:secret@bucket/a", "b"])["inputs"] == ["s3://***@bucket/a", "b"]
    many = logs.places([f"{i}.parquet" for i in range(100_000)])
    assert len(many["inputs"]) == logs.SHOWN and many["input_count"] == 100_000


def test_without_a_handler_the_library_is_silent(trips):
    code = (
        "import streamnorm as sn; sn.normalize('trips.parquet', 'o.parquet')\n"
        "try: sn.fit('none.parquet')\nexcept sn.DataError: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_the_id_of_the_job_comes_from_the_environment(trips, monkeypatch):
    monkeypatch.setenv("STREAMNORM_JOB_ID", "run-12")
    assert lines_of(*JOBS["normalize"])[0]["job"] == "run-12"
    monkeypatch.delenv("STREAMNORM_JOB_ID")
    ids = {lines_of("inspect", "o.parquet")[0]["job"] for _ in range(2)}
    assert len(ids) == 2


def test_the_fields_of_the_guide_are_those_of_the_schema():
    text = (Path(__file__).parents[1] / "docs" / "jobs.md").read_text()
    section = text[text.index("## Logs") : text.index("## Where an output")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(SCHEMA["properties"])
    for event in ("job.started", "job.finished", "job.failed", "pass.started", "pass.finished", "progress"):
        assert f"`{event}`" in section


def test_an_interruption_is_a_failure_with_its_exit_code(trips):
    rows = np.random.default_rng(0).normal(size=2_000_000)
    pq.write_table(pa.table({f"x{j}": rows for j in range(8)}), "large.parquet", compression="none")
    args = ["normalize", "large.parquet", "-o", "o.parquet", "--log-format", "json", "--threads", "1"]
    with start(*args) as process:
        first = json.loads(process.stderr.readline())
        next(line for line in process.stderr if json.loads(line)["event"] == "pass.started")
        process.send_signal(signal.SIGINT)
        last = json.loads(process.stderr.read().splitlines()[-1])
        assert process.wait(SLOW_MACHINE) == 130
    assert first["event"] == "job.started" and (last["event"], last["exit_code"]) == ("job.failed", 130)
    assert last["error"] == "interrupted; nothing was written" and last["job"] == first["job"]
    assert not Path("o.parquet").exists()
