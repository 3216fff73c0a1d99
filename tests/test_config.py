"""Settings from a file and from the environment, for every command and option there is."""

import json
import re

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.commands import fails, run

import streamnorm as sn
from streamnorm import config
from streamnorm.cli import cli

EVERY = [(name, param) for name in sorted(cli.commands) for param in config.settable(cli.commands[name])]


@pytest.fixture
def trips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = {"fare": [2.0, 4.0, 9.0], "tip": [1, 2, 5], "a,b": [1.0, 2.0, 4.0], "zone": ["a", "b", "a"]}
    pq.write_table(pa.table(table), "trips.parquet")
    return tmp_path


def settings(text, name="streamnorm.toml"):
    with open(name, "w") as file:
        file.write(text)


def parsed(name, args=(), env=None):
    """What a command would be called with: values, and where they come from."""
    given = config.given_to(name, cli.commands, args, env or {})
    command = cli.commands[name]
    quiet = {param.name: param.callback for param in command.params}
    try:
        for param in command.params:
            param.callback = None
        ctx = command.make_context(name, list(args), default_map=given.values, resilient_parsing=True)
    finally:
        for param in command.params:
            param.callback = quiet[param.name]
    return ctx.params, given


def example_of(param):
    """A value of an option: as TOML, as text of the environment, and as click makes of both."""
    if getattr(param, "is_flag", False):
        return "true", "true", True
    if isinstance(param.type, click.Choice):
        choice = param.type.choices[-1]
        value = (choice,) if param.multiple else choice
        return json.dumps(choice), choice, value
    if isinstance(param.type, click.types.IntParamType):
        return "7", "7", 7
    if isinstance(param.type, click.types.FloatParamType):
        return "0.5", "0.5", 0.5
    if param.nargs == -1 or getattr(param, "multiple", False):
        return '["x y"]', "'x y'" if not config._are_names(param) else "x y", ("x y",)
    return '"x y"', "x y", "x y"


@pytest.mark.parametrize(("name", "param"), EVERY, ids=[f"{name}-{config.key_of(param)}" for name, param in EVERY])
def test_every_option_of_every_command_is_set_from_file_and_environment(name, param, trips, monkeypatch):
    key, (toml, text, value) = config.key_of(param), example_of(param)
    monkeypatch.setattr(param, "expose_value", True)
    every = key.upper()
    one = f"{name}_{key}".upper().replace("-", "_")
    settings(f"{key} = {toml}\n")
    params, given = parsed(name)
    assert params[param.name] == value and given.origins[param.name] == f"streamnorm.toml, at the top, {key}"
    settings(f"[{name}]\n{key.replace('_', '-')} = {toml}\n")
    params, given = parsed(name)
    assert params[param.name] == value and f"table [{name}]" in given.origins[param.name]
    settings("")
    params, given = parsed(name, env={f"STREAMNORM_{every}": text})
    assert params[param.name] == value and given.origins[param.name] == f"STREAMNORM_{every}"
    params, given = parsed(name, env={f"STREAMNORM_{one}": text, f"STREAMNORM_{every}": "nonsense"})
    assert params[param.name] == value and given.origins[param.name] == f"STREAMNORM_{one}"


FLAGS = [(name, param) for name, param in EVERY if getattr(param, "is_flag", False)]


@pytest.mark.parametrize(("name", "param"), FLAGS, ids=[f"{name}-{config.key_of(param)}" for name, param in FLAGS])
def test_every_flag_that_a_file_turns_on_is_turned_off_on_the_command_line(name, param, trips, monkeypatch):
    key = config.key_of(param)
    off = f"--no-{key.replace('_', '-')}"
    monkeypatch.setattr(param, "expose_value", True)
    settings(f"{key} = true\n[{name}]\n{key} = true\n")
    env = {f"STREAMNORM_{key.upper()}": "true"}
    assert parsed(name, env=env)[0][param.name] is True
    assert parsed(name, [off], env)[0][param.name] is False
    shown = run(name, "--help").stdout
    assert f"--{key.replace('_', '-')}" in shown
    assert set(re.findall(r"--no-[a-z-]+", shown)) == {"--no-overwrite"}  # in the sentence about all


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("THREADS", "many", "invalid value for '--threads': 'many' is no whole number, from STREAMNORM_THREADS"),
        ("OVERWRITE", "perhaps", "invalid value for '--overwrite': 'perhaps' is neither true nor false, from "
         "STREAMNORM_OVERWRITE"),
        ("EPS", "x", "invalid value for '--eps': 'x' is no number, from STREAMNORM_EPS"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_one_is_told_in_words_of_ours(variable, value, said, trips, monkeypatch):
    monkeypatch.setenv(f"STREAMNORM_{variable}", value)
    assert fails(2, "fit", "trips.parquet", "-o", "s.json") == f"{said} (see 'streamnorm fit --help')"


def test_flags_that_are_turned_off(trips, monkeypatch):
    settings('overwrite = true\nexact = true\nquiet = true\njson = true\ndry_run = true\ninverse = true\n')
    both = ("trips.parquet", "-o", "o.parquet", "--no-dry-run")
    assert run("normalize", *both).stderr == ""
    assert "wrote 3 rows" in run("normalize", *both, "--no-quiet").stderr
    assert run("--no-quiet", "normalize", *both).stderr == ""  # the settings are those of the command
    assert "exists already" in fails(1, "normalize", *both, "--no-overwrite")
    assert run("normalize", *both[:-1]).stdout.startswith('{\n  "dry_run": true')
    assert run("normalize", *both[:-1], "--no-json").stdout.startswith("dry run of normalize")
    assert sn.load("o.parquet").get_params()["exact"] is True
    run("fit", "trips.parquet", "-o", "s.json", "--no-exact", "--no-dry-run")
    assert sn.load("s.json").get_params()["exact"] is False
    assert "does not go with" in fails(2, "export", "s.json", "--to", "sklearn", "--no-dry-run")
    run("export", "s.json", "--to", "sklearn", "--no-inverse", "--no-dry-run")
    assert run("--quiet", "fit", "trips.parquet", "-o", "s.json", "--no-dry-run", "--no-quiet").stderr


def test_no_two_parameters_of_a_command_have_one_key():
    for name, command in cli.commands.items():
        keys = [config.key_of(param) for param in config.settable(command)]
        assert len(keys) == len(set(keys)), name


def test_the_nearer_place_wins(trips):
    settings('memory = "1MB"\n[fit]\nmemory = "2MB"\n')
    chosen = {}
    for env in ({}, {"STREAMNORM_MEMORY": "3MB"}, {"STREAMNORM_MEMORY": "3MB", "STREAMNORM_FIT_MEMORY": "4MB"}):
        chosen[len(env)] = parsed("fit", env=env)[0]["memory"]
    assert chosen == {0: "2MB", 1: "3MB", 2: "4MB"}
    assert parsed("fit", ["--memory", "5MB"], {"STREAMNORM_FIT_MEMORY": "4MB"})[0]["memory"] == "5MB"
    assert parsed("normalize")[0]["memory"] == "1MB"
    assert parsed("fit", env={"STREAMNORM_MEMORY": ""})[0]["memory"] == "2MB"  # empty: not set


def test_a_job_that_a_file_says_alone(trips):
    settings('overwrite = true\n[normalize]\ninputs = ["*.parquet"]\noutput = "clean/"\nexclude = ["a,b"]\n'
             '[normalize.method]\nfare = "robust"\n"*" = "minmax"\n')  # fmt: skip
    run("normalize")
    scaler = sn.load("clean/trips.parquet")
    assert list(scaler.summary_) == ["fare", "tip"]
    assert scaler.get_params(deep=False)["transformers"] == {"fare": "robust"}
    assert scaler.get_params(deep=False)["remainder"] == "minmax"
    settings('[normalize.method]\n"a,b" = "minmax"\n')
    run("normalize", "trips.parquet", "-o", "one.parquet")
    assert list(sn.load("one.parquet").summary_) == ["a,b"]


def test_a_file_is_named_by_option_or_environment_and_replaces_the_one_in_the_folder(trips, monkeypatch):
    settings("this is no TOML")
    settings('[fit]\noutput = "named.json"\n', "other.toml")
    run("fit", "trips.parquet", "--config", "other.toml")
    run("--config=other.toml", "fit", "trips.parquet", "--overwrite")
    monkeypatch.setenv("STREAMNORM_CONFIG", "other.toml")
    run("fit", "trips.parquet", "--overwrite")
    assert sn.load("named.json").summary_.rows == 3
    assert "is no TOML" in fails(2, "fit", "trips.parquet", "--config", "streamnorm.toml")
    assert "cannot be read (No such file" in fails(2, "fit", "trips.parquet", "--config", "none.toml")
    monkeypatch.delenv("STREAMNORM_CONFIG")
    assert run("fit", "--help").stdout  # whatever the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread = 1", "streamnorm.toml: at the top, key 'thread' is that of no command; did you mean 'threads'?"),
        ("[normalise]\nmemory = '1MB'", "table 'normalise' is that of no command; did you mean 'normalize'?"),
        ("[fit]\nexcat = true", "streamnorm.toml: table [fit] has no key 'excat'; did you mean 'exact'?"),
        ("[merge]\nhidden = '3'", "table [merge] has no key 'hidden'; it is one of "),
        ("[defaults]\nmemory = '1MB'", "at the top, table 'defaults' is that of no command (see"),
        ("fit = 3", "fit is a command: give it a table, [fit]"),
        ("row-group-size = 1\nrow_group_size = 2", "has 'row-group-size' and 'row_group_size', which are one key"),
        ("[fit]\nthreads = '2'", "table [fit], key 'threads' must be a whole number, and is a string"),
        ("[fit]\nthreads = true", "key 'threads' must be a whole number, and is a truth value"),
        ("[fit]\nexact = 1", "key 'exact' must be true or false, and is a whole number"),
        ("[fit]\nwhere = 5", "key 'where' must be a string, and is a whole number"),
        ("[fit]\ncolumns = [1]", "key 'columns' must be a string or a list of strings"),
        ("[fit]\nmemory = 1979-05-27", "key 'memory' must be a string, and is a date or a time"),
        ("[fit.method]\nfare = 3", "key 'method', 'fare' must be a string, and is a whole number"),
        ("[fit]\nmethod = 'sigmoid'", "from streamnorm.toml, table [fit], method"),
        ("[fit]\nthreads = 0", "0 is not in the range x>=1, from streamnorm.toml, table [fit], threads"),
        ("[fit]\nconfig = 'x'", "table [fit] has no key 'config'"),
        ("[fit]\nexact = ", "streamnorm.toml: is no TOML"),
    ],
)
def test_a_fault_of_the_file_is_one_sentence_and_exit_code_2(text, message, trips):
    settings(text)
    assert message in fails(2, "fit", "trips.parquet", "-o", "x.json")


def test_sizes_and_widths_may_be_numbers(trips):
    settings("memory = 64000000\n[train]\nhidden = [8, 4]\n")
    assert parsed("fit")[0]["memory"] == "64000000"
    assert parsed("train")[0]["hidden"] == "8,4"
    settings("[train]\nhidden = 8\n")
    assert parsed("train")[0]["hidden"] == "8"


def test_values_of_the_environment(trips, monkeypatch):
    monkeypatch.setenv("STREAMNORM_FIT_INPUTS", "'trips.parquet'")
    monkeypatch.setenv("STREAMNORM_FIT_METHOD", "standard fare=robust")
    monkeypatch.setenv("STREAMNORM_COLUMNS", 'fare,"a,b"')
    monkeypatch.setenv("STREAMNORM_OVERWRITE", "yes")
    monkeypatch.setenv("STREAMNORM_THREDS", "1")
    said = run("fit", "-o", "x.json").stderr
    assert list(sn.load("x.json").summary_) == ["fare", "a,b"]
    assert "STREAMNORM_THREDS is that of no option; did you mean STREAMNORM_THREADS?" in said
    monkeypatch.delenv("STREAMNORM_THREDS")
    run("fit", "-o", "x.json")  # overwritten
    monkeypatch.setenv("STREAMNORM_OVERWRITE", "perhaps")
    assert "from STREAMNORM_OVERWRITE" in fails(2, "fit", "-o", "x.json")
    monkeypatch.setenv("STREAMNORM_OVERWRITE", "0")
    assert "exists" in fails(1, "fit", "-o", "x.json")
    monkeypatch.setenv("STREAMNORM_FIT_METHOD", "'")
    assert "STREAMNORM_FIT_METHOD cannot be taken apart" in fails(2, "fit", "-o", "y.json")


def test_the_form_of_errors_can_come_from_the_environment(trips):
    result = CliRunner(env={"STREAMNORM_LOG_FORMAT": "json"}).invoke(cli, ["fit", "--bad"])
    assert json.loads(result.stderr)["exit_code"] == 2
    settings("log-format = 'json'\n")
    assert json.loads(run("fit", "trips.parquet", code=2).stderr.splitlines()[-1])["event"] == "job.failed"
