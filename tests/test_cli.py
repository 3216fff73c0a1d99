"""The command line: what it offers, what it writes, and what it says."""

import inspect
import io
import json
import logging
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import FARES, IN_OUT, SLOW_MACHINE, TIPS, child, fails, run, start

import streamnorm
import streamnorm as sn
from streamnorm import cli_jobs, config, engine, options
from streamnorm.cli import GROUPS, cli
from streamnorm.console import Console, one_line
from streamnorm.parquet.format import Compression
from streamnorm.scalers import METHODS

COMMANDS = sorted(cli.commands)
# Functions of the library; test_cli_export.py, test_cli_train.py, test_cli_compare.py and test_report.py look at the
# others.
JOBS = sorted({*COMMANDS} - {"compare", "export", "predict", "report", "train"})
HEAVY = ("numpy", "pyarrow", "sklearn", "pandas", "rich.console")
RTOL = 1e-12


def column(path, name):
    return pq.read_table(path)[name].to_numpy()


# ------------------------------------------------------------------------------------------------ what is offered


@pytest.mark.parametrize("name", JOBS)
def test_every_keyword_of_the_library_has_its_option_with_its_default(name):
    given_otherwise = {"source", "sink", "path", "scaler", "scalers", "progress", "a", "b", "filesystem"}
    keywords = inspect.signature(getattr(sn, name)).parameters
    known = {parameter.name: parameter for parameter in cli.commands[name].params}
    missing = set(keywords) - given_otherwise - set(known)
    assert not missing
    for keyword in set(keywords) & set(known) - {"source", "sink", "path", "a", "b"}:
        option = known[keyword]
        name = "input-format" if keyword == "format" else keyword.replace("_", "-")
        assert f"--{name}" in option.opts
        default = keywords[keyword].default
        if default is False:
            assert option.is_flag
        elif default is not None:
            assert f"[default: {default}]" in option.help


def test_every_job_of_the_library_is_a_command():
    assert list(JOBS) == ["advise", "diff", "fit", "inspect", "inverse", "merge", "normalize", "transform"]
    for name in JOBS:
        assert callable(getattr(streamnorm, name))


def test_choices_are_those_of_the_library():
    assert tuple(METHODS) == options.METHODS
    for codec in options.CODECS:
        Compression.of(codec)
    with pytest.raises(ValueError) as caught:
        Compression.of("nonsense")
    assert all(repr(codec) in str(caught.value) for codec in options.CODECS)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_command_and_option_has_help_that_ends_in_an_example_that_runs(name, folder):
    command = cli if name is None else cli.commands[name]
    shown = run(*([] if name is None else [name]), "--help").stdout
    assert command.help and all(p.help for p in command.params if isinstance(p, click.Option))
    heading, *examples = shown.rstrip().split("\n\n")[-1].splitlines()
    assert heading.strip() == "Example:" and examples
    for path in ("model.safetensors", "normalized.parquet", "stats.json"):
        if any(f"-o {path}" in example for example in examples):
            Path(path).unlink()
    for example in examples:
        program, *args = shlex.split(example)
        assert program == "streamnorm" and args[0] == (name or "normalize")
        run(*args)


def test_help_and_usage_errors_wait_for_no_array_library():
    code = (
        "import sys; from streamnorm.cli import cli\n"
        "for args in [['--help'], ['--version'], ['fit', '--bad']] + [[name, '--help'] for name in cli.commands]:\n"
        "    try: cli.main(args)\n"
        "    except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SLOW_MACHINE)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_help_of_the_program_has_each_command_once_and_its_whole_first_sentence():
    shown = run("--help").stdout
    listed = [line.split()[0] for line in shown.splitlines() if re.match(r"  [a-z]+  +[A-Z]", line)]
    assert sorted(listed) == sorted(cli.commands) and "..." not in shown.split("Normalize:")[1]
    assert "Other commands" not in shown  # none has been forgotten
    assert [name for group in GROUPS.values() for name in group] == listed


def test_options_of_one_name_mean_the_same_and_stand_in_the_same_order():
    kinds, places = {}, {}
    for name, command in cli.commands.items():
        names = [config.key_of(param) for param in command.params if isinstance(param, click.Option)]
        assert names[: len(set(names) & {"output"})] in ([], ["output"])
        shared = [key for key in names if key in cli_jobs.SHARED]
        last = names[-1] == "json" and names[-2] == "dry_run"  # the --json of a dry run
        assert shared[: len(shared) - last] == [key for key in cli_jobs.SHARED if key in shared[: len(shared) - last]]
        for param in command.params:
            key = config.key_of(param)
            kind = type(param), param.nargs, getattr(param, "is_flag", None), getattr(param, "multiple", None)
            assert kinds.setdefault(key, kind) == kind or key == "state", (name, key)  # export's argument is a state
            places.setdefault(key, []).append(name)
    assert set(cli_jobs.SHARED) <= set(places)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("streamnorm com", {"plain,compare"}),
        ("streamnorm fit --over", {"plain,--overwrite"}),
        ("streamnorm fit --no-over", {"plain,--no-overwrite"}),
        ("streamnorm export s.json --to sq", {"plain,sql"}),
    ],
)
def test_a_shell_completes(words, offered, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    Path("streamnorm.toml").write_text("this is = no TOML")  # which a shell that completes does not mind
    for name, value in {"_STREAMNORM_COMPLETE": "bash_complete", "COMP_WORDS": words,
                        "COMP_CWORD": str(len(words.split()) - 1)}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 0
    assert set(capfd.readouterr().out.splitlines()) == offered


def test_version():
    assert run("--version").stdout == f"streamnorm {sn.__version__}\n"


def test_no_command_shows_the_help_and_is_a_usage_error():
    result = run(code=2)
    assert result.stdout == "" and "Usage:" in result.stderr


# ------------------------------------------------------------------------------------------------ what is written


def test_normalize(folder):
    result = run("normalize", "trips.parquet", "-o", "out.parquet", "--state", "out.json")
    np.testing.assert_allclose(column("out.parquet", "fare"), (FARES - FARES.mean()) / FARES.std(), rtol=RTOL)
    assert column("out.parquet", "zone").tolist() == ["a", "b", "a", "c"]
    assert sn.load("out.json").digest() == sn.load("out.parquet").digest() == sn.load("stats.json").digest()
    columns, done = result.stderr.splitlines()
    assert columns == "fitting 3 of 4 columns: fare, tip, zone_id; passing through 1: zone"
    assert re.fullmatch(r"wrote 4 rows to out\.parquet, statistics to out\.json in \d+\.\d\d s", done)
    assert result.stdout == ""


def test_fit_transform_and_inverse_by_state_and_by_footer(folder):
    run(
        "fit",
        "trips.parquet",
        "-o",
        "minmax.json",
        "--method",
        "minmax",
        "--columns",
        "fare",
        "--columns",
        "tip",
    )
    result = run("transform", "trips.parquet", "-o", "out.parquet", "--state", "minmax.json", "--dtype", "float32")
    assert result.stderr.startswith("normalizing 2 of 4 columns: fare, tip; passing through 2: zone_id, zone\n")
    out = column("out.parquet", "fare")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, (FARES - 2) / 7, rtol=1e-6)
    run("inverse", "out.parquet", "-o", "a.parquet", "--dtype", "float64")
    run("inverse", "out.parquet", "-o", "b.parquet", "--state", "minmax.json", "--dtype", "float64")
    np.testing.assert_allclose(column("a.parquet", "fare"), FARES, rtol=1e-6)
    np.testing.assert_array_equal(column("a.parquet", "fare"), column("b.parquet", "fare"))


def test_merge(folder):
    result = run("merge", "monday.json", "tuesday.json", "-o", "both.json")
    assert result.stderr.startswith("merged 2 states of 4 rows into both.json in ")
    np.testing.assert_allclose(sn.load("both.json").mean_, sn.load("stats.json").mean_, rtol=RTOL)


def test_a_method_for_some_columns_and_one_for_the_rest(folder):
    run("fit", "trips.parquet", "-o", "own.json", "--method", "fare,tip=robust", "--method", "zone_id=maxabs")
    assert sn.load("own.json").transformers == {"fare": "robust", "tip": "robust", "zone_id": "maxabs"}
    run("fit", "trips.parquet", "-o", "rest.json", "--method", "fare=robust", "--method", "minmax")
    scaler = sn.load("rest.json")
    assert (scaler.transformers, scaler.remainder) == ({"fare": "robust"}, "minmax")
    assert list(scaler.summary_) == ["fare", "tip", "zone_id"]


def test_names_with_commas_quotes_and_equals_signs(tmp_path):
    source, target = tmp_path / "odd.parquet", tmp_path / "odd.json"
    names = ["a,b", "c", 'd"e', "f=g", " h"]
    pq.write_table(pa.table({name: [1.0, 2.0] for name in [*names, "other"]}), source)
    run("fit", source, "-o", target, "--columns", '"a,b",c', "--columns", 'd"e', "--columns", "f=g, h")
    assert list(sn.load(target).summary_) == names
    run("fit", source, "-o", target, "--overwrite", "--method", '"a,b",f=g=robust')
    assert sn.load(target).transformers == {"a,b": "robust", "f=g": "robust"}


def test_a_directory_gets_one_output_for_each_input(folder):
    pq.write_table(pq.read_table("trips.parquet").slice(0, 2), "more.parquet")
    result = run("normalize", "trips.parquet", "more.parquet", "-o", "out/", "-v")
    assert sorted(os.listdir("out")) == ["more.parquet", "trips.parquet"]
    assert "out/more.parquet: written" in result.stderr and "wrote 6 rows to out/" in result.stderr


def test_output_options_reach_the_file(folder):
    run("normalize", "trips.parquet", "-o", "out.parquet", "--compression", "zstd", "--compression-level", "3",
        "--row-group-size", "3", "--threads", "1", "--memory", "32MB", "--exclude", "tip")  # fmt: skip
    metadata = pq.read_metadata("out.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 1]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    np.testing.assert_array_equal(column("out.parquet", "tip"), TIPS)


# ------------------------------------------------------------------------------------------------ what is said


def test_verbose_says_which_row_groups_change_and_quiet_says_nothing(folder):
    pq.write_table(pq.read_table("trips.parquet"), "tiny.parquet", row_group_size=1)
    assert "row groups become" not in run("normalize", "tiny.parquet", "-o", "a.parquet").stderr
    said = run("normalize", "tiny.parquet", "-o", "b.parquet", "--verbose").stderr
    assert "b.parquet: 4 row groups become 1" in said and "b.parquet: written" in said
    assert run("-v", "normalize", "tiny.parquet", "-o", "c.parquet").stderr.count("\n") == said.count("\n")
    assert run("normalize", "tiny.parquet", "-o", "d.parquet", "--quiet").output == ""


def test_json_lines_have_stable_fields(folder):
    lines = run("normalize", "trips.parquet", "-o", "out.parquet", "--log-format", "json").stderr.splitlines()
    events = [json.loads(line) for line in lines]
    [columns] = [event for event in events if event["event"] == "columns"]
    done = events[-1]
    assert (columns["event"], columns["columns"], columns["passing"]) == (
        "columns",
        ["fare", "tip", "zone_id"],
        ["zone"],
    )
    assert (done["event"], done["rows"], done["target"], done["level"]) == ("job.finished", 4, "out.parquet", "info")
    assert done["seconds"] >= 0 and done["mb_per_s"] >= 0 and done["message"].startswith("wrote 4 rows")
    for line in events:
        assert line["time"].endswith("Z") and datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0


def test_json_errors_name_the_place_even_before_the_options_are_read(folder):
    lines = run(
        "fit", "trips.parquet", "-o", "x.json", "--columns", "fair", "--log-format=json", code=1
    ).stderr.splitlines()
    error = json.loads(lines[-1])
    assert (error["event"], error["level"], error["exit_code"]) == ("job.failed", "error", 1)
    assert (error["file"], error["column"]) == ("trips.parquet", "fair") and "'fare'" in error["message"]
    [line] = run("fit", "--log-format", "json", "--bad", code=2).stderr.splitlines()
    assert json.loads(line)["exit_code"] == 2


def test_json_progress_is_a_line_a_second(monkeypatch, capfd):
    clock = iter(np.arange(0.0, 100.0, 0.25).tolist())
    monkeypatch.setattr("streamnorm.console.time.monotonic", lambda: next(clock))
    console = Console(as_json=True)
    with console.progress(passes=2) as progress:
        for done in range(12):
            progress(done, 12, 100 * done)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert 2 <= len(lines) < 12
    common = {"time", "level", "event", "job", "command", "version", "message"}
    assert common | {"rows_done", "rows_total", "bytes_done", "seconds"} == set(lines[0])
    assert lines[0]["bytes_done"] == 100 * lines[0]["rows_done"] and lines[0]["rows_total"] == 12
    assert console.bytes_done == 550


def on_a_terminal(*args, width=100):
    """Run in a child whose standard streams are a terminal; its exit code, and what it showed."""
    parent, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(width)}
    process = subprocess.Popen(
        [sys.executable, "-m", "streamnorm", *map(str, args)],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment,
    )
    os.close(side)
    shown = b""
    try:
        while data := os.read(parent, 65536):
            shown += data
    except OSError:  # how Linux tells the end of a terminal
        pass
    os.close(parent)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return process.wait(timeout=SLOW_MACHINE), re.split(r"[\r\n]+", text)


def test_a_terminal_shows_progress_and_a_pipe_does_not(big, tmp_path):
    code, lines = on_a_terminal("normalize", big, "-o", tmp_path / "a.parquet")
    assert code == 0
    assert any(re.match(r"(reading|writing) .*\d%.* rows \d+ MB/s ", line) for line in lines), lines
    assert any(re.match(r"wrote 3,000,000 rows to .* in .* s \(\d+ MB/s\)", line) for line in lines)
    code, _, said = child("fit", big, "-o", tmp_path / "a.json")
    assert code == 0 and len(said.splitlines()) == 2 and "reading" not in said


def test_the_bar_counts_rows_anew_in_the_second_pass(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    with console.progress(passes=2) as progress:
        [task] = console._bar.tasks
        progress(1000, 4000, 10)
        assert (task.description, task.fields["rows"], task.percentage) == ("reading", "1,000 rows", 25)
        progress(3500, 4000, 35)
        assert (task.description, task.fields["rows"], task.percentage) == ("writing", "1,500 rows", 87.5)
    assert console.bytes_done == 17.5


def test_names_from_a_file_cannot_play_with_the_terminal(tmp_path):
    pq.write_table(pa.table({"a\x1b[31m\nb": [1.0, 2.0], "[bold]c": [1.0, 2.0]}), tmp_path / "a.parquet")
    said = run("fit", tmp_path / "a.parquet", "-o", tmp_path / "a.json").stderr
    assert r"a\x1b[31m\nb" in said and "\x1b" not in said
    shown = run("inspect", tmp_path / "a.json").stdout
    assert r"a\x1b[31m\nb" in shown and "[bold]c" in shown and "\x1b" not in shown


def test_one_line():
    assert one_line("é\n\x1b\udcff") == "é\\n\\x1b\\udcff"


def test_logging_is_left_as_it_was(folder):
    logger = logging.getLogger("streamnorm")
    before = (logger.level, logger.propagate, list(logger.handlers), signal.getsignal(signal.SIGTERM))
    run("fit", "trips.parquet", "-o", "x.json")
    assert (logger.level, logger.propagate, list(logger.handlers), signal.getsignal(signal.SIGTERM)) == before


# ------------------------------------------------------------------------------------------------ inspect


def test_inspect_prints_a_table_and_json(folder):
    table = run("inspect", "stats.json").stdout
    heading = next(line for line in table.splitlines() if line.startswith("name"))
    assert heading.split()[:4] == ["name", "count", "nulls", "NaN"]
    assert re.search(r"^fare +4 +0 +0 +2 +9 +5 ", table, re.M) and "StandardScaler(" in table
    said = json.loads(run("inspect", "normalized.parquet", "--json").stdout)
    assert [c["name"] for c in said["columns"]] == ["fare", "tip", "zone_id"]
    assert (said["columns"][0]["mean"], said["columns"][2]["max"]) == (5.0, 3)
    assert said["digest"] == sn.load("stats.json").digest()
    some = json.loads(run("inspect", "stats.json", "--json", "--columns", "tip").stdout)
    assert [c["name"] for c in some["columns"]] == ["tip"]
    assert "did you mean 'fare'" in fails(1, "inspect", "stats.json", "--columns", "fair")


def test_inspect_writes_json_that_every_reader_reads(tmp_path):
    from decimal import Decimal

    money = Decimal("12345678901234567890.12")
    table = pa.table(
        {
            "nan": [np.nan, np.nan],
            "money": [money, None],
            "big": [2**60, 1],
            "none": pa.array([None] * 2, "f8"),
        }
    )
    sn.fit(table, {("nan", "money"): "standard", "big": sn.MinMaxScaler((-1, 1)), "none": "robust"}).save(
        tmp_path / "s"
    )

    def refuse(constant):
        raise AssertionError(constant)

    said = json.loads(run("inspect", tmp_path / "s", "--json").stdout, parse_constant=refuse)
    nan, money, big, none = said["columns"]
    assert (nan["mean"], nan["min"], money["max"], big["max"]) == (
        "NaN",
        None,
        "12345678901234567890.12",
        str(2**60),
    )
    assert none["median"] == "NaN"
    assert [["nan", "money"], "standard"] in said["params"]["transformers"]["pairs"]
    run("inspect", tmp_path / "s")


def test_inspect_of_thousands_of_columns_stays_usable(tmp_path):
    sn.fit(pa.table({f"c{i}": [0.0, float(i)] for i in range(2000)})).save(tmp_path / "wide.json")
    first = run("inspect", tmp_path / "wide.json").stdout.splitlines()
    assert len(first) < 60 and first[-1] == "and 1,960 more columns: --all lists them, --columns NAME some of them"
    assert len(run("inspect", tmp_path / "wide.json", "--all").stdout.splitlines()) > 2000
    some = run("inspect", tmp_path / "wide.json", "--columns", "c1999,c3").stdout
    assert "c1999" in some and "c1998" not in some and "more columns" not in some


def test_inspect_fits_the_terminal_and_cuts_no_digits(folder):
    code, wide = on_a_terminal("inspect", "stats.json", width=200)
    assert code == 0 and not any("no room" in line for line in wide)
    code, narrow = on_a_terminal("inspect", "stats.json", width=40)
    table = [line for line in narrow if re.match(r"name|fare|tip|zone_id", line)]
    assert code == 0 and len(table) == 4 and max(map(len, table)) <= 40
    assert any(line.startswith("no room for ") and "offset" in line for line in narrow)
    assert not any("…" in line for line in narrow)


def test_output_that_nobody_takes(folder):
    for args in (["--json"], []):
        process = start("inspect", "stats.json", *args)
        process.stdout.close()
        assert process.wait(timeout=SLOW_MACHINE) == 141 and process.stderr.read() == ""
        process.stderr.close()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "streamnorm", "inspect", "stats.json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "streamnorm: standard output cannot be written (No space left on device)\n",
    )


def test_a_job_goes_on_when_nobody_reads_what_it_says(folder):
    process = start("fit", "trips.parquet", "-o", "x.json", "--log-format", "json")
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=SLOW_MACHINE) == 0 and sn.load("x.json").n_samples_seen_ == 4


# ------------------------------------------------------------------------------------------------ what goes wrong



def case_name(value):
    return " ".join(value[-2:]) if isinstance(value, tuple) else ""


COMMAND_LINE_FAULTS = [
    (("normalise", *IN_OUT), r"no such command 'normalise'.*'streamnorm --help'"),
    (("normalize", *IN_OUT, "--overwrit"), r"no such option:? '?--overwrit'?.*'streamnorm normalize --help'"),
    (("normalize", "trips.parquet"), r"missing option '--output' / '-o'"),
    (("normalize", "-o", "out.parquet"), r"missing argument 'IN\.\.\.'"),
    (("transform", *IN_OUT), r"missing option '--state'"),
    (
        ("normalize", *IN_OUT, "--memory", "3 parsecs"),
        r"'--memory': memory must be like \"256MB\".*'3 parsecs'",
    ),
    (("normalize", *IN_OUT, "--memory", "1MB"), r"'--memory': memory must be at least"),
    (("normalize", *IN_OUT, "--threads", "0"), r"'--threads': 0 is not in the range"),
    (("normalize", *IN_OUT, "--row-group-size", "x"), r"'--row-group-size': 'x'"),
    (("normalize", *IN_OUT, "--dtype", "int8"), r"'--dtype': 'int8' is not one of"),
    (
        ("normalize", *IN_OUT, "--compression-level", "3"),
        r"'--compression-level': compression 'snappy' has no levels",
    ),
    (
        ("normalize", *IN_OUT, "--compression-level", "99", "--compression", "zstd"),
        r"takes levels -?\d+ to 22, not 99",
    ),
    (
        ("normalize", *IN_OUT, "--method", "robst"),
        r"'--method': 'robst' is none of standard, minmax, maxabs, robust",
    ),
    (("normalize", *IN_OUT, "--method", "fare=robst"), r"'robst' is none of"),
    (("normalize", *IN_OUT, "--method", "minmax", "--method", "robust"), r"minmax and robust: give one"),
    (
        ("normalize", *IN_OUT, "--method", "a=minmax", "--method", "b,a=robust"),
        r"column 'a' is given two methods",
    ),
    (("normalize", *IN_OUT, "--method", "fare=minmax", "--columns", "tip"), r"add a plain METHOD"),
    (("normalize", *IN_OUT, "--columns", "fare,,tip"), r"'fare,,tip' has an empty name"),
    (("normalize", *IN_OUT, "--columns", '"fare'), r"is not a list of names"),
    (("merge", "-", "-o", "out.json"), r"'-' is no file"),
    (("normalize", "-", "trips.parquet", "-o", "out.parquet"), r"'-' is standard input, and stands alone"),
    (("normalize", *IN_OUT, "-q", "-v"), r"--verbose and --quiet contradict"),
    (
        ("fit", "trips.parquet", "-o", "trips.parquet", "--overwrite"),
        r"given as a data file and as the file for the stat",
    ),
    (
        ("normalize", *IN_OUT, "--state", "./out.parquet"),
        r"given as a data file and as the file for the statistics",
    ),
]


@pytest.mark.parametrize(("args", "message"), COMMAND_LINE_FAULTS, ids=case_name)
def test_a_fault_of_the_command_line_is_2(args, message, folder):
    assert re.search(message, fails(2, *args))
    assert not Path("out.parquet").exists()


DATA_FAULTS = [
    (("normalize", "nosuch.parquet", "-o", "out.parquet"), r"nosuch\.parquet: there is no such file$"),
    (
        ("normalize", "trip.parquet", "-o", "out.parquet"),
        r"trip\.parquet: .* did you mean 'trips\.parquet'\?",
    ),
    (("fit", "*.parkett", "-o", "out.json"), r"\*\.parkett: no file matches"),
    (("fit", "stats.json", "-o", "out.json"), r"stats\.json: not a Parquet file"),
    (("fit", "trips.parquet", "trips.parquet", "-o", "out.json"), r"given twice"),
    (("fit", "pipe", "-o", "out.json"), r"pipe: is a pipe or a device"),
    (("fit", "trips.parquet", "-o", "stats.json"), r"stats\.json: exists already; .*--overwrite"),
    (("fit", "trips.parquet", "-o", "none/out.json"), r"there is no directory none; make it first"),
    (("fit", "trips.parquet", "-o", "."), r"\.: is a directory"),
    (
        ("normalize", "trips.parquet", "-o", "normalized.parquet"),
        r"normalized\.parquet: exists already; .*--overwrite",
    ),
    (("normalize", "trips.parquet", "-o", "none/out.parquet"), r"there is no directory none; make it first"),
    (("normalize", "trips.parquet", "-o", "stats.json/"), r"stats\.json: is a file"),
    (("normalize", "trips.parquet", "-o", "pipe", "--overwrite"), r"pipe: is a device or a pipe"),
    (("normalize", *IN_OUT, "--state", "stats.json"), r"stats\.json: exists already"),
    (("normalize", *IN_OUT, "--columns", "fair"), r"there is no column 'fair': did you mean 'fare'\?"),
    (("normalize", *IN_OUT, "--columns", "zone"), r"column 'zone' holds string"),
    (("normalize", *IN_OUT, "--method", "fair=robust"), r"there is no column 'fair': did you mean 'fare'\?"),
    (("normalize", *IN_OUT, "--exclude", "fair"), r"there is no column 'fair' to exclude"),
    (
        ("transform", *IN_OUT, "--state", "nosuch.json"),
        r"nosuch\.json: cannot be read \(No such file or directory\)",
    ),
    (("transform", *IN_OUT, "--state", "trips.parquet"), r"trips\.parquet: carries no streamnorm state"),
    (("inverse", *IN_OUT), r"trips\.parquet: carries no streamnorm state: .*name a state file"),
    (
        ("merge", "monday.json", "other.json", "-o", "out.json"),
        r"other\.json: cannot be merged with those before it",
    ),
    (("inspect", "nosuch.json"), r"nosuch\.json: cannot be read"),
]


@pytest.mark.parametrize(("args", "message"), DATA_FAULTS, ids=case_name)
def test_a_fault_of_the_data_or_a_file_is_1(args, message, folder):
    sn.fit("trips.parquet", "robust").save("other.json")
    os.mkfifo("pipe")  # what --overwrite would do to a device, it does to a pipe
    before = sorted(os.listdir())
    assert re.search(message, fails(1, *args))
    assert sorted(os.listdir()) == before
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "there is not enough memory: allow less with --memory, or use fewer --threads"),
        (PermissionError(13, "Permission denied", "stats.json"), "stats.json: Permission denied"),
        (IsADirectoryError(21, "Is a directory", "x"), "x: Is a directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            KeyError("a\nb"),
            r"unexpected KeyError: 'a\nb'; run again with --verbose to see where it comes from",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_other_error_is_one_line_too(error, message, folder, monkeypatch):
    def fit(*args, **options):
        raise error

    monkeypatch.setattr(engine, "fit", fit)
    args = ("fit", "trips.parquet", "-o", "x.json")
    assert fails(1, *args) == message
    said = run(*args, "--verbose", code=1).stderr
    assert "Traceback" in said and said.splitlines()[-1].startswith("streamnorm: ")
