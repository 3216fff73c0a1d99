"""``streamnorm fit --update``: what it writes and says, what a kill leaves, and two runs at a time."""

import json
import os
import re
import shutil
import signal
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children
from support.commands import SLOW_MACHINE, fails, run, start
from support.files import listing, numbers, sha256, temporaries, write

import streamnorm as sn
from streamnorm import engine, state
from streamnorm.atomic import Claim


@pytest.fixture
def nights(tmp_path, monkeypatch):
    """A folder to work in with two days in data/, their statistics in stats.json, and a third day in data/."""
    monkeypatch.chdir(tmp_path)
    for name in ("mon", "tue"):
        day(name)
    sn.fit("data").save("stats.json")
    day("wed")
    return tmp_path


def day(name, folder="data"):
    return write(f"{folder}/{name}.parquet", numbers(100, start=sum(map(ord, name))))


def test_an_update_is_in_place(nights):
    said = run("fit", "data", "--update", "stats.json").stderr.splitlines()
    assert said[0] == "1 of the 3 files is new"
    assert said[1].startswith("fitting 2 of 3 columns: a, b;")
    assert re.fullmatch(r"added 100 rows to stats\.json \(300 in all\) in \d+\.\d\d s", said[2])
    assert (
        sn.load("stats.json").digest()
        == sn.fit("data", update=sn.fit(["data/mon.parquet", "data/tue.parquet"])).digest()
    )
    assert sorted(os.listdir()) == ["data", "stats.json"]


def test_nothing_new_leaves_the_file_alone(nights):
    run("fit", "data", "--update", "stats.json")
    before = os.stat("stats.json")
    said = run("fit", "data", "--update", "stats.json").stderr.splitlines()
    assert said[0] == "nothing is new: the 3 files were counted before"
    assert said[1].startswith("added 0 rows to stats.json (300 in all)") and len(said) == 2
    after = os.stat("stats.json")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_moved_file_is_written_down(nights):
    run("fit", "data", "--update", "stats.json")
    os.rename("data/mon.parquet", "data/monday.parquet")
    assert "mon.parquet, now data/monday.parquet" in run("fit", "data", "--update", "stats.json").stderr
    assert "monday.parquet" in Path("stats.json").read_text()
    assert "now" not in run("fit", "data", "--update", "stats.json").stderr


def test_another_target_is_written_and_the_state_stays(nights):
    before = sha256("stats.json")
    run("fit", "data", "--update", "stats.json", "-o", "new.json")
    assert sha256("stats.json") == before and sn.load("new.json").summary_.rows == 300
    assert "exists already" in fails(1, "fit", "data", "--update", "stats.json", "-o", "new.json")
    run("fit", "data", "--update", "new.json", "-o", "third.json")  # nothing is new, and it was asked for
    assert sn.load("third.json").digest() == sn.load("new.json").digest()
    run("fit", "data", "--update", "stats.json", "-o", "./stats.json")
    assert sn.load("stats.json").summary_.rows == 300


def test_links_to_the_state_stay_links(nights):
    os.rename("stats.json", "real.json")
    os.symlink("real.json", "stats.json")
    run("fit", "data", "--update", "stats.json")
    assert os.path.islink("stats.json") and sn.load("real.json").summary_.rows == 300


def test_json_lines_tell_what_was_new(nights):
    lines = [
        json.loads(line)
        for line in run("fit", "data", "--update", "stats.json", "--log-format", "json").stderr.splitlines()
    ]
    assert [(line["event"], line.get("rows")) for line in lines] == [
        ("job.started", None), ("update", None), ("columns", None), ("pass.started", 100), ("pass.finished", 100),
        ("job.finished", 100),
    ]  # fmt: skip
    assert {key: lines[1][key] for key in ("files", "new", "moved")} == {"files": 3, "new": 1, "moved": 0}


def test_files_that_are_gone_are_a_warning(nights):
    os.unlink("data/mon.parquet")
    said = run("fit", "data", "--update", "stats.json").stderr
    assert re.search(r"streamnorm: warning: a counted file is no longer there: \S+mon\.parquet; the rows stay", said)
    assert sn.load("stats.json").summary_.rows == 300


FAULTS = [
    (2, ("fit", "data"), r"missing option '--output' / '-o'"),
    (2, ("fit", "data", "-o", "x.json", "--recount"), r"--recount goes with --update"),
    (1, ("fit", "data", "--update", "none.json"), r"none\.json: cannot be read \(No such file"),
    (1, ("fit", "data", "--update", "stats.json", "-o", "none/x.json"), r"there is no directory none"),
    (1, ("fit", "data", "--update", "data"), r"data: .*directory"),
    (1, ("fit", "data", "--update", "stats.json", "--method", "robust"), r"leave the method out"),
    (1, ("fit", "data", "--update", "stats.json", "--columns", "a"), r"leave columns out"),
    (1, ("fit", "changed", "--update", "changed.json"), r"1 of the 2 files was counted before and changed since"),
    (1, ("fit", "copied", "--update", "stats.json"), r"copied/mon\.parquet is a copy of \S+/data/mon\.parquet"),
    (1, ("fit", "data", "--update", "out.parquet"), r"out\.parquet: is a Parquet file.*add -o OUT"),
    (1, ("fit", "data", "--update", "out.parquet", "-o", "x.json"), r"footer of an output"),
    (
        1,
        ("merge", "stats.json", "stats.json", "-o", "x.json"),
        r"stats\.json: cannot .* both have counted these 2 files",
    ),
    (
        1,
        ("merge", "stats.json", "out.parquet", "-o", "x.json"),
        r"out\.parquet: cannot .* both have counted these 2 files",
    ),
]


@pytest.mark.parametrize(
    ("code", "args", "message"), FAULTS, ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_what_is_refused_changes_nothing(code, args, message, nights):
    shutil.copytree("data", "changed")
    sn.fit(["changed/mon.parquet", "changed/tue.parquet"]).save("changed.json")
    pq.write_table(numbers(7), "changed/tue.parquet")
    os.unlink("changed/wed.parquet")
    os.mkdir("copied")
    shutil.copy("data/mon.parquet", "copied")
    sn.normalize("data", "out.parquet")
    before = listing(".")
    assert re.search(message, fails(code, *args))
    assert listing(".") == before


def test_recount_says_that_it_is_meant(nights):
    pq.write_table(numbers(7), "data/tue.parquet")
    run("fit", "data", "--update", "stats.json", "--recount")
    assert sn.load("stats.json").summary_.rows == 307
    run("merge", "stats.json", "stats.json", "-o", "twice.json", "--recount")
    assert sn.load("twice.json").summary_.rows == 614


def test_inspect_shows_the_files(nights):
    assert re.search(r"^2 columns of 2 files, digest sha256:", run("inspect", "stats.json").stdout, re.M)
    said = json.loads(run("inspect", "stats.json", "--json").stdout)
    assert said["file_count"] == 2
    assert said["files"][0] == sn.load("stats.json").summary_.files.at(str(nights / "data/mon.parquet"))[0]._asdict()
    sn.normalize("data", "out.parquet")
    said = json.loads(run("inspect", "out.parquet", "--json").stdout)
    assert (said["file_count"], said["files"][0]["path"]) == (3, None)
    sn.fit(pa.table({"x": [1.0, 2.0]})).save("memory.json")
    assert re.search(r"^1 columns, digest", run("inspect", "memory.json").stdout, re.M)


# ------------------------------------------------------------------------------------- kills, and two at a time

DIES = """
import os, signal, sys
setattr(os, sys.argv[1], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
from streamnorm.cli import cli
cli.main(["fit", "data", "--update", "stats.json"])
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_while_the_state_is_written_leaves_the_old_one(moment, nights):
    before = sha256("stats.json")
    assert children.run(DIES, moment).status == -signal.SIGKILL
    assert sha256("stats.json") == before and len(temporaries(".")) == 1
    run("fit", "data", "--update", "stats.json")
    assert sn.load("stats.json").summary_.rows == 300 and sorted(os.listdir()) == ["data", "stats.json"]


def test_a_state_that_another_run_is_updating_is_refused(nights):
    before = sha256("stats.json")
    with Claim("stats.json"):
        assert fails(1, "fit", "data", "--update", "stats.json") == (
            "stats.json: another run is updating it: run again when that one is done"
        )
        run("fit", "data", "--update", "stats.json", "-o", "other.json")  # reading it is free
    assert sha256("stats.json") == before
    run("fit", "data", "--update", "stats.json")


def test_a_state_that_changes_while_the_new_one_is_written_is_not_lost(nights, monkeypatch):
    fsync, other = os.fsync, sn.fit(["data/mon.parquet"])
    other.save("other.json")

    def slow_fsync(descriptor):
        fsync(descriptor)
        if os.path.exists("other.json"):
            os.replace("other.json", "stats.json")

    monkeypatch.setattr(os, "fsync", slow_fsync)
    assert "was changed by another run" in fails(1, "fit", "data", "--update", "stats.json")
    assert state.dumps(sn.load("stats.json")) == state.dumps(other) and temporaries(".") == []


@pytest.mark.parametrize("way", ["replaced", "written to", "removed"])
def test_a_state_that_was_changed_meanwhile_is_not_lost(way, nights, monkeypatch):
    fit, other = engine.fit, sn.fit(["data/mon.parquet"])

    def slow_fit(*args, **options):
        if way == "replaced":
            other.save("stats.json")
        elif way == "written to":
            Path("stats.json").write_text(state.dumps(other))
        else:
            os.unlink("stats.json")
        return fit(*args, **options)

    monkeypatch.setattr(engine, "fit", slow_fit)
    assert "stats.json: was changed by another run since this one read it" in fails(
        1, "fit", "data", "--update", "stats.json"
    )
    if way == "removed":
        assert not Path("stats.json").exists()
    else:
        assert state.dumps(sn.load("stats.json")) == state.dumps(other)


def test_two_runs_at_a_time_lose_nothing(nights):
    sn.fit(day("first", "base")).save("stats.json")
    waiting = []
    for i in range(6):
        day(f"file{i}", f"night{i}")
        waiting.append(f"night{i}")
    running = {}
    for _ in range(60):
        for name in [name for name in waiting if name not in running][: 2 - len(running)]:
            running[name] = start("fit", name, "--update", "stats.json")
        for name, process in list(running.items()):
            _, said = process.communicate(timeout=SLOW_MACHINE)
            del running[name]
            if process.returncode == 0:
                waiting.remove(name)
            else:
                assert re.search("another run is updating it|was changed by another run", said), said
        if not waiting:
            break
    scaler = sn.load("stats.json")
    assert not waiting and scaler.summary_.rows == 700 and len(scaler.summary_.files) == 7


def test_a_claim_is_on_the_file_and_not_on_its_name(nights):
    with Claim("stats.json") as first:
        first.check()
        sn.fit("data").save("stats.json")
        with pytest.raises(sn.StreamnormError, match="was changed by another run"):
            first.check()
        with Claim("stats.json") as second:  # of the new file
            second.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(sn.StreamnormError, match="none.json: cannot be read"):
            Claim("none.json")
