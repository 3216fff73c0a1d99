"""The command compare: what it prints and writes, how it goes on after a kill, and what it refuses."""

import inspect
import json
import os
import re
import signal
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import SLOW_MACHINE, child, fails, run, start

import streamnorm as sn
from streamnorm import cli_compare
from streamnorm.cli import cli
from streamnorm.nn import Regressor
from streamnorm.report import compare as library

SEED = 20130909
COMPARE = ("compare", "rides.parquet", "--target", "fare")
QUICK = (*COMPARE, "--scalers", "standard,none", "--norms", "none", "--folds", 2, "--seeds", 1, "--epochs", 2,
         "--hidden", "4")  # fmt: skip
SCHEMA = Path(__file__).parents[1] / "docs" / "log-line.schema.json"
JOURNAL = ".out.json.streamnorm-journal"


@pytest.fixture
def rides(tmp_path, monkeypatch):
    """A folder with a file of rides: two inputs of other sizes, a driver, a day, and a target."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(SEED)
    n = 300
    distance = rng.exponential(5, n)
    table = pa.table(
        {
            "distance": distance,
            "income": rng.normal(5e4, 1e4, n),
            "driver": pa.array([f"driver {i % 12}" for i in range(n)]),
            "day": np.datetime64("2013-01-01") + np.arange(n).astype("m8[D]"),
            "fare": 2.5 + 3 * distance + rng.normal(0, 1, n),
        }
    )
    pq.write_table(table, "rides.parquet")
    return tmp_path


def numbers_of(text):
    return [{**each, "seconds": 0} for each in json.loads(text)["runs"]]


# ------------------------------------------------------------------------------------------------ options


def test_options_are_the_keywords_of_the_library_with_its_defaults():
    known = {parameter.name: parameter for parameter in cli.commands["compare"].params}
    keywords = inspect.signature(sn.compare).parameters
    otherwise = {"model", "random_state", "journal", "progress", "filesystem"}
    assert set(keywords) - otherwise <= set(known)
    own = {"sink", "seed", "as_json"} | {parameter.name for parameter in cli.commands["train"].params}
    assert set(known) - set(keywords) - own == set()
    assert set(cli_compare.OF_THE_MODEL) <= set(known)
    for name in ("folds", "seeds", "alpha"):
        assert f"[default: {keywords[name].default}]" in known[name].help
    assert "[default: 100_000]" in known["rows"].help and keywords["rows"].default == 100_000
    assert "[default: all five]" in known["scalers"].help and len(keywords["scalers"].default) == 5
    assert f"[default: {','.join(keywords['norms'].default)}]" in known["norms"].help
    assert set(cli_compare.OF_THE_MODEL) <= set(inspect.signature(Regressor).parameters)
    assert set(cli_compare.NORMS) == set(library.ALL_NORMS)
    assert all(p.help for p in cli.commands["compare"].params if isinstance(p, click.Option))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scalers", "zscore"), "'zscore' is none of standard, minmax, maxabs, robust, none"),
        (("--norms", "batch,batch"), "has a name twice"),
        (("--folds", "1"), "1 is not in the range"),
        (("--rows", "many"), "is no number of rows such as 1_000_000, nor all"),
        (("--rows", "0"), "is no number of rows"),
        (("-o", "out.txt"), "is neither a page (.html) nor JSON (.json)"),
        (("-o", "rides.parquet"), "is neither a page"),
        (("--group", "driver", "--time", "day"), "folds go by --group or by --time: give one of the two"),
        (("--alpha", "1"), "1"),
        (("--batch-size", "1"), "batch_size=1 leaves batch normalization nothing to normalize by"),
    ],
)
def test_what_the_command_line_alone_shows_to_be_wrong_is_a_usage_error(arguments, said, rides):
    assert said in fails(2, *COMPARE, *arguments)
    assert os.listdir() == ["rides.parquet"]


def test_a_target_is_wanted(rides):
    assert "missing option '--target'" in fails(2, "compare", "rides.parquet")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--group", "zone"), "'zone'"),
        (("--columns", "driver"), "holds strings: learn a vector for each (--embed), or leave the column out"),
        (("--where", "fare > 1e9"), "there are no rows to compare on"),
        (("--memory", "16MB", "--input-format", "csv"), "rides.parquet"),
    ],
)
def test_what_a_look_at_the_data_shows_to_be_wrong_is_a_fault(arguments, said, rides):
    assert said in fails(1, *QUICK, *arguments, "-o", "out.json")
    assert os.listdir() == ["rides.parquet"]


# ------------------------------------------------------------------------------------------------ results


def test_the_table_and_the_verdict_are_printed(rides):
    result = run(*QUICK)
    head, _, names, *rows = result.stdout.splitlines()
    assert head == "Predicting fare from 2 columns of 300 rows: 2 folds at random for 1 seed, 4 trainings."
    assert names.split()[:3] == ["scaler", "norm", "R²"] and names.endswith("against the best")
    assert re.match(r"standard +no norm +-?[01]\.\d{4} ", rows[0]) and rows[1].startswith("unscaled  no norm")
    assert "too few folds" in result.stdout.replace("\n", " ")
    assert re.fullmatch(r"compared 2 combinations in 4 trainings in [\d.]+ s", result.stderr.splitlines()[-1])
    assert os.listdir() == ["rides.parquet"]


def test_the_command_is_the_library(rides):
    run(*QUICK, "--threads", 1, "-o", "out.json", "--seed", 7, "--group", "driver", "--rows", "2_00")
    model = Regressor(hidden=4, epochs=2)
    found = sn.compare("rides.parquet", "fare", scalers=["standard", "none"], norms=["none"], folds=2, seeds=1,
                       model=model, random_state=7, group="driver", rows=200)  # fmt: skip
    assert numbers_of(Path("out.json").read_text()) == numbers_of(found.to_json())
    assert found.settings["rows"] == 200


def test_json_goes_to_standard_output(rides):
    result = run(*QUICK, "--json", "-q", "--rows", "all", "--time", "day")
    said = json.loads(result.stdout)
    assert said["settings"]["split"] == "time" and said["best"] in ("standard + no norm", "unscaled + no norm")
    assert result.stderr == ""


def test_a_page_is_written(rides):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    run(*QUICK, "-o", "page.html")
    page = Path("page.html").read_text()
    assert page.startswith("<!doctype html>") and "Verdict" in page and "Convergence" in page
    assert sorted(os.listdir()) == ["page.html", "rides.parquet"]
    assert "exists already" in fails(1, *QUICK, "-o", "page.html")


def test_a_page_needs_its_libraries_before_the_work_begins(rides, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "altair", None)
    assert "pip install 'streamnorm[report]'" in fails(1, *QUICK, "-o", "page.html")
    assert os.listdir() == ["rides.parquet"]


def test_json_lines_tell_of_each_training(rides):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    result = run(*QUICK, "--log-format", "json")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema)
    told = [line for line in lines if line["event"] == "training"]
    assert [line["runs"] for line in told] == [0, 1, 2, 3, 4] and told[-1]["seconds_left"] == 0
    (done,) = (line for line in lines if "verdict" in line)
    assert done["runs"] == 4 and done["verdict"].startswith("No difference")


def test_a_dry_run_trains_nothing_and_leaves_nothing(rides, monkeypatch):
    monkeypatch.setattr(library, "Trainer", None)
    result = run(*QUICK, "-o", "out.json", "--dry-run")
    assert "rides.parquet: 300 rows" in result.stdout and "writes out.json" in result.stdout
    assert "'zone'" in fails(1, *QUICK, "-o", "out.json", "--dry-run", "--group", "zone")
    assert os.listdir() == ["rides.parquet"]


# ------------------------------------------------------------------------------------------------ going on


LONG = (*COMPARE, "--scalers", "standard,minmax", "--norms", "none,batch", "--folds", 3, "--seeds", 2, "--epochs", 60,
        "--threads", 2, "--batch-size", 4, "-o", "out.json")  # fmt: skip


def until_some_are_done(process):
    """Wait until the journal has a few runs."""
    end = time.monotonic() + SLOW_MACHINE
    while time.monotonic() < end and process.poll() is None:
        if os.path.exists(JOURNAL) and Path(JOURNAL).read_text().count("\n") >= 4:
            return
        time.sleep(0.01)
    raise AssertionError(f"the command was done too early, or never got there: {process.communicate()}")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on(signum, rides):
    process = start(*LONG)
    until_some_are_done(process)
    process.send_signal(signum)
    _, said = process.communicate(timeout=SLOW_MACHINE)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
    if signum != signal.SIGKILL:
        assert re.search(rf"\d+ trainings are kept in {re.escape(JOURNAL)}: the same command goes on from there", said)
        assert said.splitlines()[-1].startswith("streamnorm: interrupted; nothing was written")
    assert sorted(os.listdir()) == [JOURNAL, "rides.parquet"]
    code, _, said = child(*LONG)
    assert code == 0, said
    before = int(re.search(r"(\d+) of 24 trainings were done before: going on", said)[1])
    assert 3 <= before < 24
    assert sorted(os.listdir()) == ["out.json", "rides.parquet"]
    again = run(*LONG, "--overwrite", "--json").stdout
    assert numbers_of(Path("out.json").read_text()) == numbers_of(again)


def test_durations_are_for_people():
    assert [cli_compare._duration(s) for s in (4.2, 89, 200, 5500)] == ["4 s", "89 s", "3 min", "1 h 32 min"]
