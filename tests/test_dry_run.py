"""--dry-run: it says what a run would do, refuses what that would refuse, and changes nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.commands import run

import streamnorm as sn
from streamnorm import dry_run
from streamnorm.cli import cli
from streamnorm.cli_dry_run import SHOWN

TABLE = pa.table({"fare": [2.0, 4.0, 9.0], "tip": [1, 2, 5], "zone": ["a", "b", "a"], "v": [[1.0, 2.0]] * 3})
WRITERS = sorted(name for name, c in cli.commands.items() if any("--output" in param.opts for param in c.params))


@pytest.fixture
def trips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(TABLE.drop_columns("v"), "trips.parquet", row_group_size=2)
    pq.write_table(TABLE.drop_columns("v"), "more.parquet")
    pc.write_csv(TABLE.drop_columns("v"), "trips.csv")
    run("fit", "trips.parquet", "-o", "s.json", "--columns", "fare,tip")
    run("normalize", "trips.parquet", "-o", "n.parquet")
    run("train", "trips.parquet", "--target", "tip", "-o", "m.safetensors", "--epochs", "1", "--norm", "none")
    return tmp_path


JOBS = {
    "normalize": ("trips.parquet", "-o", "o.parquet", "--state", "o.json"),
    "normalize csv": ("trips.csv", "-o", "o.csv"),
    "normalize to folder": ("trips.parquet", "more.parquet", "-o", "new/deep/"),
    "normalize minmax": ("trips.parquet", "-o", "o.parquet", "--method", "minmax"),
    "normalize over": ("trips.parquet", "-o", "n.parquet", "--overwrite"),
    "normalize csv to folder": ("trips.csv", "-o", "new/"),
    "normalize where": ("trips.parquet", "-o", "o.parquet", "--where", "fare > 2"),
    "fit": ("trips.parquet", "-o", "o.json"),
    "fit minmax": ("trips.parquet", "-o", "o.json", "--method", "minmax"),
    "fit exact": ("trips.parquet", "-o", "o.json", "--method", "robust", "--exact"),
    "fit update": ("*s.parquet", "more.parquet", "--update", "s.json"),
    "fit nothing new": ("trips.parquet", "--update", "s.json"),
    "transform": ("trips.parquet", "-o", "o.parquet", "--state", "s.json"),
    "transform csv": ("trips.csv", "-o", "o.jsonl", "--state", "s.json"),
    "transform to folder": ("trips.parquet", "more.parquet", "-o", "new/deep/", "--state", "s.json"),
    "transform csv to folder": ("trips.csv", "-o", "new/deep/", "--state", "s.json"),
    "predict to folder": ("m.safetensors", "trips.parquet", "-o", "new/deep/"),
    "inverse": ("n.parquet", "-o", "o.parquet"),
    "merge": ("s.json", "-o", "o.json"),
    "export": ("s.json", "--to", "sql", "--table", "t", "-o", "o.sql"),
    "export shown": ("s.json", "--to", "sql", "--table", "t"),
    "export onnx": ("s.json", "--to", "onnx", "-o", "o.onnx"),
    "export lerobot": ("s.json", "--to", "lerobot", "-o", "o.json"),
    "train": ("trips.parquet", "--target", "tip", "-o", "o.safetensors"),
    "predict": ("m.safetensors", "trips.parquet", "-o", "o.parquet"),
}


def listing(folder="."):
    """All that there is, but for when it was read."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        about = path.lstat()
        data = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path)] = (about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns, data)
    return found, os.stat(folder).st_mtime_ns


def plan(*args):
    return json.loads(run(*args, "--dry-run", "--json").stdout)


def test_every_command_that_writes_has_it():
    assert {job.split()[0] for job in JOBS} >= set(WRITERS) & {"normalize", "fit", "transform", "inverse", "merge",
                                                               "export", "train", "predict"}  # fmt: skip
    for name in WRITERS:
        assert any("--dry-run" in param.opts for param in cli.commands[name].params), name


@pytest.mark.parametrize("job", JOBS)
def test_it_changes_nothing_and_says_what_the_run_then_writes(job, trips):
    if job == "export onnx":
        pytest.importorskip("onnx")
    args = (job.split()[0], *JOBS[job])
    before = listing()
    said = plan(*args)
    assert run(*args, "--dry-run").stdout.startswith(f"dry run of {args[0]}: nothing is written\n")
    run(*args, "--dry-run", "--log-format", "json", "--quiet")
    assert listing() == before
    run(*args)
    after = listing()[0]
    changed = {path for path in after if after[path] != before[0].get(path) and Path(path).is_file()}
    promised = {os.path.normpath(item["path"]) for item in said["outputs"] if item["path"] != "-"}
    assert changed == (set() if job == "fit nothing new" else promised)
    for item in said["outputs"]:
        assert item["exists"] == (os.path.normpath(item["path"]) in before[0])


REFUSED = [
    ("normalize", "trips.parquet", "-o", "n.parquet"),
    ("normalize", "none.parquet", "-o", "o.parquet"),
    ("normalize", "trips.parquet", "-o", "none/o.parquet"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--columns", "fair"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--state", "none/s.json"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--where", "fare >"),
    ("normalize", "trips.parquet", "trips.csv", "-o", "o.parquet"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--method", "fair=robust"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--threads", "0"),
    ("normalize", "trips.parquet", "-o", "o.parquet", "--eps", "3"),
    ("fit", "trips.parquet"),
    ("fit", "trips.parquet", "-o", "s.json"),
    ("fit", "trips.parquet", "-o", "o.json", "--recount"),
    ("fit", "trips.csv", "--update", "s.json"),
    ("transform", "trips.parquet", "-o", "o.parquet", "--state", "trips.parquet"),
    ("transform", "trips.parquet", "-o", "o.parquet", "--state", "none.json"),
    ("inverse", "trips.parquet", "-o", "o.parquet"),
    ("merge", "s.json", "s.json", "-o", "o.json"),
    ("export", "s.json", "--to", "onnx"),
    ("train", "trips.parquet", "--target", "tap", "-o", "o.safetensors"),
    ("train", "trips.parquet", "--target", "tip", "-o", "m.safetensors"),
    ("predict", "s.json", "trips.parquet", "-o", "o.parquet"),
]


@pytest.mark.parametrize("args", REFUSED, ids=" ".join)
def test_it_refuses_what_the_run_refuses_in_the_same_words(args, trips):
    before = listing()
    wet = CliRunner().invoke(cli, list(args))
    assert wet.exit_code in (1, 2) and listing() == before
    dry = run(*args, "--dry-run", code=wet.exit_code)
    assert dry.stdout == "" and listing() == before
    assert wet.stderr.splitlines()[-1] == dry.stderr.splitlines()[-1]


def test_what_it_says_of_inputs_columns_and_options(trips):
    Path("streamnorm.toml").write_text("memory = '64MB'\n[normalize]\nexclude = ['tip']\n")
    said = plan("normalize", "trips.parquet", "more.parquet", "-o", "o.parquet", "--method", "robust", "--threads", 1)
    sizes = [Path(name).stat().st_size for name in ("more.parquet", "trips.parquet")]
    assert said["command"] == "normalize" and said["dry_run"] is True and said["config"] == "streamnorm.toml"
    assert said["inputs"]["files"] == [
        {"path": "more.parquet", "format": "parquet", "rows": 3, "bytes": sizes[0], "row_groups": 1},
        {"path": "trips.parquet", "format": "parquet", "rows": 3, "bytes": sizes[1], "row_groups": 2},
    ]
    totals = {key: said["inputs"][key] for key in ("count", "format", "rows", "bytes", "row_groups")}
    assert totals == {"count": 2, "format": "parquet", "rows": 6, "bytes": sum(sizes), "row_groups": 3}
    assert [(c["name"], c["method"], c["passes_because"]) for c in said["columns"]] == [
        ("fare", "robust", None), ("tip", None, "it is excluded"), ("zone", None, "string is no number"),
    ]  # fmt: skip
    assert said["outputs"] == [{"path": "o.parquet", "exists": False, "action": "create"}]
    assert (said["memory"], said["threads"]) == (64_000_000, 1)
    assert said["options"]["memory"] == {"value": "64MB", "from": "streamnorm.toml, at the top, memory"}
    assert said["options"]["exclude"]["from"] == "streamnorm.toml, table [normalize], exclude"
    assert said["options"]["method"]["from"] == "the command line"
    text = run("normalize", "trips.parquet", "-o", "n.parquet", "--overwrite", "--dry-run").stdout
    assert "reads 1 file of parquet: 3 rows, 2 row groups" in text
    assert "writes n.parquet (there is one, which is replaced)" in text
    assert "--exclude is from streamnorm.toml, table [normalize], exclude" in text


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--columns", "fare"), "--columns does not name it"),
        (("--sample-weight", "tip"), "it holds the weights"),
        (("--method", "fare=robust"), "no method is for it"),
    ],
)
def test_why_a_column_passes_through(args, why, trips):
    said = plan("normalize", "trips.parquet", "-o", "o.parquet", *args)
    assert said["columns"][1] == {"name": "tip", "type": "int64", "method": None, "passes_because": why}


def test_dates_and_lists(trips):
    table = pa.table({"x": [1.0], "on": pa.array([1], pa.date32()), "flag": [True], "v": [[1.0, 2.0]]})
    pq.write_table(table, "kinds.parquet")
    said = {c["name"]: c["passes_because"] for c in plan("fit", "kinds.parquet", "-o", "o.json")["columns"]}
    assert said["on"] == "date32[day] is normalized only when --columns names it"
    assert said["flag"] == "bool is normalized only when --columns names it" and said["v"].endswith("is no number")
    said = {c["name"]: c["method"] for c in plan("fit", "kinds.parquet", "-o", "o.json", "--columns", "v")["columns"]}
    assert said == {"x": None, "on": None, "flag": None, "v": "standard"}


def test_no_data_is_read(trips):
    data = bytearray(Path("trips.parquet").read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4 : len(data) - footer] = bytes(len(data) - footer - 4)
    Path("holes.parquet").write_bytes(data)
    assert plan("normalize", "holes.parquet", "-o", "o.parquet")["inputs"]["rows"] == 3
    run("normalize", "holes.parquet", "-o", "o.parquet", code=1)


def test_many_files_are_cut_for_people_alone(trips):
    os.mkdir("many")
    for i in range(SHOWN + 3):
        shutil.copy("trips.parquet", f"many/{i:02}.parquet")
    args = ("normalize", "many", "-o", "out/")
    assert len(plan(*args)["inputs"]["files"]) == len(plan(*args)["outputs"]) == SHOWN + 3
    text = run(*args, "--dry-run").stdout
    assert text.count("and 3 more files") == 2 and "many/22.parquet" not in text


def test_standard_input_is_read_as_far_as_its_schema(trips):
    with pa.ipc.new_stream("trips.arrows", TABLE.schema) as writer:
        writer.write_table(TABLE)
    with open("trips.arrows", "rb") as pipe:
        command = [sys.executable, "-m", "streamnorm", "normalize", "-", "-o", "o.parquet", "--spool", "--dry-run"]
        before = listing()
        done = subprocess.run(command, stdin=pipe, capture_output=True, text=True, check=True)
    assert listing() == before and "standard input" in done.stdout and "writes o.parquet\n" in done.stdout


def test_json_goes_with_it(trips):
    assert "--json goes with --dry-run" in run("fit", "trips.parquet", "-o", "o.json", "--json", code=2).stderr
    assert json.loads(run("fit", "--json", "trips.parquet", "-o", "o.json", "--dry-run").stdout)


@pytest.mark.parametrize(
    "change",
    [
        lambda: open("journal", "w"),  # noqa: SIM115
        lambda: os.open("journal", os.O_CREAT | os.O_WRONLY),
        lambda: os.mkdir("new"),
        lambda: os.makedirs("new/deep"),
        lambda: os.rename("trips.csv", "x.csv"),
        lambda: os.unlink("trips.csv"),
        lambda: Path("trips.csv").write_text("x"),
    ],
)
def test_what_knows_nothing_of_it_is_stopped_before_it_changes_a_folder_of_outputs(change, trips):
    before, reached = listing(), []
    with dry_run.planning():
        dry_run.note_output("o.html")
        dry_run.note_output("new/deep/o.html")
        assert Path("trips.csv").read_text() and os.listdir(".")
        reached.append("reading")
        change()
        reached.append("changed")
    assert reached == ["reading"] and listing() == before
    with open("journal", "w"):
        pass  # outside of it, all is as ever


def in_a_thread(work):
    worker = Thread(target=work)
    worker.start()
    worker.join()


def in_a_pool(work):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: work(), range(4)))


def in_a_thread_of_a_thread(work):
    in_a_thread(lambda: in_a_pool(work))


@pytest.mark.parametrize("way", [in_a_thread, in_a_pool, in_a_thread_of_a_thread])
def test_threads_that_are_started_in_a_dry_run_belong_to_it(way, trips, capfd):
    before, reached = listing(), []

    def write():
        reached.append("reading")
        with open("journal", "a"):
            reached.append("writing")

    def work():
        reached.append("reading")
        dry_run.stop()
        reached.append("working")

    for task in (write, work):
        with dry_run.planning() as plan:
            dry_run.note_output("o.html")
            way(task)
            {}["what the thread was to bring"]
        assert plan.stopped and listing() == before and set(reached) == {"reading"}
    assert capfd.readouterr().err == ""
    way(write)
    assert "writing" in reached and os.path.exists("journal")


def test_what_goes_wrong_before_the_work_is_told_in_a_dry_run(trips):
    with pytest.raises(KeyError), dry_run.planning():
        in_a_thread(lambda: None)
        raise KeyError


def test_jobs_of_other_threads_go_on_during_a_dry_run(trips):
    begin, done = Event(), Event()

    def job():
        begin.wait(9)
        with open("o.txt", "w"):
            sn.normalize("trips.parquet", "o.parquet")
        done.set()

    other = Thread(target=job)
    other.start()
    with dry_run.planning():
        dry_run.note_output("o.txt")
        begin.set()
        assert done.wait(9)
        dry_run.stop()
    other.join()
    assert os.path.exists("o.parquet")


def test_a_job_after_a_dry_run_runs(trips):
    with dry_run.planning() as found:
        sn.normalize("trips.parquet", "o.parquet")
    assert not os.path.exists("o.parquet") and list(found.outputs) == ["o.parquet"]
    sn.normalize("trips.parquet", "o.parquet")
    assert os.path.exists("o.parquet")
