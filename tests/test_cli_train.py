"""The commands train and predict: what they write, what they say, and what they refuse."""

import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.children import measure
from support.commands import SLOW_MACHINE, fails, run, start

import streamnorm as sn
from streamnorm import cli_train, predictions, training_progress
from streamnorm.cli import cli
from streamnorm.nn import Regressor
from streamnorm.nn.losses import LOSSES

SEED = 20130909
SUMMARY = r"trained 3 epochs on (\d+) rows of (\d+) columns? in [\d.]+ s \([\d,]+ rows/s\): loss [\d.]+; wrote (.*)"
SECONDS_TO_STOP = 3.0
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))}
SLACK = 80 << 20  # bytes beyond --memory: what imports and the allocator take


@pytest.fixture
def taxis(tmp_path, monkeypatch):
    """A folder with a file to learn from: two numbers, one with nulls, a string, two targets, one with a null."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(SEED)
    n = 600
    distance, hour = rng.exponential(5, n), rng.integers(0, 24, n)
    table = pa.table(
        {
            "id": [f"ride {i}" for i in range(n)],
            "distance": distance,
            "hour": pa.array([None if i % 50 == 7 else int(h) for i, h in enumerate(hour)]),
            "zone": pa.array([None if i % 90 == 0 else "abc"[i % 3] for i in range(n)]),
            "fare": pa.array([None if i == 3 else 2.5 + 3 * x for i, x in enumerate(distance)]),
            "tip": 0.1 * distance + 1,
        }
    )
    pq.write_table(table, "rides.parquet", row_group_size=250)
    return tmp_path


def row_groups(path):
    groups = pq.ParquetFile(path).metadata
    return [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]


TRAIN = ("train", "rides.parquet", "--target", "fare", "--exclude", "tip,hour", "-o", "m.safetensors", "--epochs", 3)


# ------------------------------------------------------------------------------------------------ options


def test_options_are_the_keywords_of_the_regressor_with_its_defaults():
    known = {parameter.name: parameter for parameter in cli.commands["train"].params if parameter.expose_value}
    own = {"source", "sink", "target", "overwrite", "quantile", "seed", "embed", "columns", "exclude", "sample_weight",
           "memory", "threads"}  # fmt: skip
    keywords = inspect.signature(Regressor).parameters
    for name in set(known) - own:
        default = keywords[name].default
        assert f"--{name.replace('_', '-')}" in known[name].opts
        if default is False:
            assert known[name].is_flag
        else:
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            assert f"[default: {shown}]" in known[name].help, name
    fit = inspect.signature(Regressor.fit).parameters
    assert set(cli_train.FIT_OPTIONS) == set(fit) - {"self", "X", "y", "progress"}
    assert set(cli_train.FIT_OPTIONS) < set(known)


def test_choices_are_those_of_the_library():
    for loss in cli_train.LOSSES:
        assert loss in LOSSES
    for name, choices in [("norm", cli_train.NORMS), ("activation", cli_train.ACTIVATIONS),
                          ("scaler", cli_train.SCALERS), ("optimizer", cli_train.OPTIMIZERS)]:  # fmt: skip
        for choice in choices:
            model = Regressor(2, epochs=1, **{name: None if choice == "none" else choice})
            model.fit(np.arange(8.0).reshape(4, 2), np.arange(4.0))


def test_predict_has_the_keywords_of_its_function():
    known = {parameter.name: parameter for parameter in cli.commands["predict"].params}
    keywords = inspect.signature(predictions.predict).parameters
    assert set(keywords) - {"progress"} <= set(known)
    for name in set(keywords) - {"source", "sink", "model", "progress", "threads"}:
        default = keywords[name].default
        if default not in (None, False):
            assert f"[default: {default}]" in known[name].help, name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hidden", "64,x"), "is not a list of widths such as 64,64"),
        (("--hidden", "0"), "is not a list of widths"),
        (("--loss", "huber", "--quantile", "0.9"), "--quantile goes with --loss quantile"),
        (("--quantile", "1.5"), "1.5 is not in the range"),
        (("--norm", "spectral"), "'spectral' is not one of"),
        (("--epochs", "0"), "0 is not in the range"),
        (("--memory", "1kB"), "memory must be at least"),
    ],
)
def test_what_the_command_line_alone_shows_to_be_wrong_is_a_usage_error(arguments, said, taxis):
    assert said in fails(2, *TRAIN, *arguments)


def test_a_target_is_wanted(taxis):
    assert "missing option '--target'" in fails(2, "train", "rides.parquet", "-o", "m.safetensors")


# ------------------------------------------------------------------------------------------------ train


def test_train_writes_a_model_that_knows_everything(taxis):
    result = run(*TRAIN, "--hidden", "8,4", "--norm", "none", "--target-scaler", "robust", "--learning-rate", "0.01")
    model = sn.load("m.safetensors")
    assert model.get_params()["hidden"] == (8, 4) and model.norm is None and model.learning_rate == 0.01
    assert isinstance(model.target_scaler_, sn.RobustScaler)
    assert list(model.feature_names_in_) == ["distance"] and model.target_names_ == ["fare"]
    assert len(model.history_["loss"]) == model.n_iter_ == 3
    assert result.stdout == ""
    columns, *curve, done = result.stderr.splitlines()
    assert columns == "learning fare from 1 column: distance; not from 4: id, hour, zone, tip"
    assert re.fullmatch(SUMMARY, done).groups() == ("599", "1", "m.safetensors")
    assert len(curve) == 13 and all(line.isascii() and len(line) <= 80 for line in curve)


def test_the_command_is_the_library(taxis):
    run(*TRAIN)
    model = Regressor(epochs=3, random_state=0)
    model.fit("rides.parquet", target="fare", exclude=["tip", "hour"]).save("own.safetensors")
    assert (taxis / "own.safetensors").read_bytes() == (taxis / "m.safetensors").read_bytes()
    run(*TRAIN, "--threads", "1", "--overwrite")
    assert (taxis / "own.safetensors").read_bytes() == (taxis / "m.safetensors").read_bytes()
    run(*TRAIN, "--seed", "1", "--overwrite")
    assert (taxis / "own.safetensors").read_bytes() != (taxis / "m.safetensors").read_bytes()


def test_all_options_together(taxis):
    run("train", "rides.parquet", "--target", "fare,tip", "-o", "m.safetensors", "--epochs", 4, "--impute",
        "--embed", "zone", "--columns", "distance,hour", "--quantile", "0.9", "--early-stopping",
        "--validation-fraction", "0.2", "--n-iter-no-change", "2", "--batch-size", "16", "--optimizer", "sgd",
        "--activation", "tanh", "--dropout", "0.1", "--scaler", "minmax", "--norm", "layer")  # fmt: skip
    model = sn.load("m.safetensors")
    assert model.target_names_ == ["fare", "tip"] and model.loss.quantile == 0.9
    assert list(model.feature_names_in_) == ["distance", "hour", "zone"]
    assert set(model.history_) == {"loss", "val_loss"}
    result = run("predict", "m.safetensors", "rides.parquet", "-o", "out.parquet")
    assert pq.read_schema("out.parquet").names[-2:] == ["prediction_fare", "prediction_tip"]
    assert "predicting fare, tip from 3 columns: distance, hour, zone" in result.stderr


def test_json_has_an_event_for_each_epoch_and_no_curve(taxis):
    lines = run(*TRAIN, "--log-format", "json").stderr.splitlines()
    events = [json.loads(line) for line in lines]
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [(event["epoch"], event["epochs"]) for event in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert [event["loss"] for event in epochs] == sn.load("m.safetensors").history_["loss"]
    assert {"columns", "epoch", "job.finished"} <= {event["event"] for event in events} and "curve" not in str(events)
    done = events[-1]
    assert (done["event"], done["rows"], done["features"], done["target"]) == ("job.finished", 599, 1, "m.safetensors")


def test_quiet_says_nothing_and_verbose_an_epoch_a_line(taxis):
    assert run(*TRAIN, "--quiet").stderr == ""
    said = run(*TRAIN, "--verbose", "--overwrite").stderr
    assert re.findall(r"^epoch (\d) of 3: loss [\d.e-]+$", said, re.MULTILINE) == ["1", "2", "3"]


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_a_bar_and_a_curve_of_its_width(no_color, taxis):
    main, side = pty.openpty()
    env = {**ENVIRONMENT, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}
    env |= {"NO_COLOR": "1"} if no_color else {}
    command = [sys.executable, "-m", "streamnorm", *map(str, TRAIN)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=side, env=env)
    os.close(side)
    said = b""
    try:
        while chunk := os.read(main, 4096):
            said += chunk
    except OSError:
        pass  # the other end is closed
    assert process.wait(timeout=SLOW_MACHINE) == 0
    text = said.decode()
    assert "training" in text and "3/3" in text and "loss" in text
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    curve = [line for line in plain.replace("\r", "\n").splitlines() if "|" in line]
    assert curve and max(map(len, curve)) <= 80
    assert any(0x2800 <= ord(c) < 0x2900 for c in text) is not no_color


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "fares"), "rides.parquet: there is no target column 'fares': .*fare"),
        (("--target", "zone"), "zone"),
        (("--columns", "distanc"), "rides.parquet: there is no column 'distanc'"),
        (("--exclude", "distance,hour,tip"), "no column of numbers to learn from.*--embed"),
        (("--embed", "zones"), "there is no column 'zones'"),
        (("--columns", "hour"), "rides.parquet: row group 0, column 'hour'.*missing value.*\\(--impute\\).*--exclude"),
        (("--columns", "zone"), "column 'zone' holds strings: learn a vector for each \\(--embed\\)"),
        (("--columns", "distance", "--learning-rate", "1e30", "--norm", "none"), "^the loss.*lower --learning-rate"),
    ],
)
def test_what_the_data_is_not_fit_for_is_one_sentence(arguments, said, taxis):
    base = ["train", "rides.parquet", "-o", "m.safetensors"]
    base += [] if "--target" in arguments else ["--target", "fare"]
    assert re.search(said, fails(1, *base, *arguments))
    assert not (taxis / "m.safetensors").exists()


def test_a_target_that_is_there_is_refused_before_the_work(taxis, monkeypatch):
    (taxis / "m.safetensors").write_text("precious")
    monkeypatch.setattr(Regressor, "fit", lambda *_, **__: pytest.fail("began to work"))
    assert "exists already" in fails(1, *TRAIN)
    assert "given as a data file" in fails(2, *TRAIN[:-4], "-o", "rides.parquet", "--overwrite")
    assert "there is no directory" in fails(1, *TRAIN[:-4], "-o", "no/m.safetensors")
    assert (taxis / "m.safetensors").read_text() == "precious"


def test_a_file_that_appears_during_the_work_is_not_replaced(taxis, monkeypatch):
    fit = Regressor.fit

    def fit_while_others_write(self, *args, **options):
        (taxis / "m.safetensors").write_text("precious")
        return fit(self, *args, **options)

    monkeypatch.setattr(Regressor, "fit", fit_while_others_write)
    assert "exists already" in fails(1, *TRAIN)
    assert (taxis / "m.safetensors").read_text() == "precious"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(signum, code, taxis, tmp_path):
    there = sorted(tmp_path.iterdir())
    process = start(*TRAIN[:-1], 100_000, "--verbose", cwd=tmp_path, env=ENVIRONMENT)
    while not process.stderr.readline().startswith("epoch 2 of"):
        assert process.poll() is None
    sent = time.monotonic()
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=SLOW_MACHINE)
    assert process.returncode == code
    assert stderr.splitlines()[-1] == "streamnorm: interrupted; nothing was written"
    assert time.monotonic() - sent < SECONDS_TO_STOP and sorted(tmp_path.iterdir()) == there


def test_what_a_fancy_stream_is(monkeypatch):
    class Stream:
        encoding = "UTF-8"

        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert training_progress.fancy(Stream()) and not training_progress.fancy(None)
    monkeypatch.setenv("TERM", "dumb")
    assert not training_progress.fancy(Stream())


# ------------------------------------------------------------------------------------------------ predict


@pytest.fixture
def model(taxis):
    run(*TRAIN)
    return sn.load("m.safetensors")


def test_predict_keeps_all_columns_and_adds_one(model):
    result = run("predict", "m.safetensors", "rides.parquet", "-o", "out.parquet")
    before, after = pq.read_table("rides.parquet"), pq.read_table("out.parquet")
    assert after.drop_columns("prediction").equals(before)
    assert after.schema.field("prediction").type == pa.float64()
    np.testing.assert_array_equal(after["prediction"].to_numpy(), model.predict(before))
    columns, done = result.stderr.splitlines()
    assert columns == "predicting fare from 1 column: distance; not from 5: id, hour, zone, fare, tip"
    assert re.fullmatch(r"wrote 600 rows to out\.parquet in \d+\.\d\d s", done)


def test_predict_loads_no_library_that_it_does_not_need(model):
    code = (
        "import sys; from streamnorm.cli import cli\n"
        "try: cli.main(['predict', 'm.safetensors', 'rides.parquet', '-o', 'out.parquet'])\n"
        "except SystemExit as end: print(end.code, [m for m in ('pandas', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "0 []\n", done.stderr


def test_predict_from_several_files_to_one_and_to_a_folder(model, taxis):
    table = pq.read_table("rides.parquet")
    (taxis / "in").mkdir()
    pq.write_table(table.slice(0, 100), "in/a.parquet")
    pq.write_table(table.slice(100).drop_columns("fare").select(["tip", "distance"]), "in/b.parquet")
    run("predict", "m.safetensors", "in", "-o", "out/")
    assert pq.read_table("out/b.parquet").column_names == ["tip", "distance", "prediction"]
    found = [pq.read_table(f"out/{name}.parquet")["prediction"].to_numpy() for name in "ab"]
    np.testing.assert_array_equal(np.concatenate(found), model.predict(table))
    pq.write_table(table.slice(100), "in/b.parquet")
    run("predict", "m.safetensors", "in/*.parquet", "-o", "one.parquet", "--name", "guess", "--row-group-size", 200)
    np.testing.assert_array_equal(pq.read_table("one.parquet")["guess"].to_numpy(), np.concatenate(found))
    assert row_groups("one.parquet") == [100, 200, 200, 100]  # cut file by file, as by transform


def test_predict_refuses(model, taxis):
    said = fails(1, "predict", "m.safetensors", "rides.parquet", "-o", "rides.parquet")
    assert "exists already" in said
    pq.write_table(pq.read_table("rides.parquet").drop_columns("distance"), "narrow.parquet")
    said = fails(1, "predict", "m.safetensors", "narrow.parquet", "-o", "out.parquet")
    assert said == "narrow.parquet: column 'distance': there is no such column, and the model was trained on it"
    run("predict", "m.safetensors", "rides.parquet", "-o", "once.parquet")
    said = fails(1, "predict", "m.safetensors", "once.parquet", "-o", "out.parquet")
    assert said.startswith("once.parquet: column 'prediction': there is a column of this name already")
    assert "--name" in said
    run("predict", "m.safetensors", "once.parquet", "-o", "twice.parquet", "--name", "again")
    sn.fit("rides.parquet").save("stats.json")
    assert "is no model" in fails(1, "predict", "stats.json", "rides.parquet", "-o", "out.parquet")
    sn.nn.Sequential([sn.nn.Dense(1, 1)]).save("net.safetensors")
    assert "without scalers" in fails(1, "predict", "net.safetensors", "rides.parquet", "-o", "out.parquet")
    assert "m.safetensors: is a model" in fails(
        1, "transform", "rides.parquet", "-o", "out.parquet", "--state", "m.safetensors"
    )
    assert not (taxis / "out.parquet").exists()


def test_a_missing_value_is_an_error_that_says_where_and_what_to_do(model, taxis):
    table = pq.read_table("rides.parquet")
    holes = pa.array([None if i == 444 else x for i, x in enumerate(table["distance"].to_pylist())])
    pq.write_table(table.set_column(1, "distance", holes), "holes.parquet", row_group_size=250)
    said = fails(1, "predict", "m.safetensors", "holes.parquet", "-o", "out.parquet")
    assert said.startswith("holes.parquet: row group 1, column 'distance': has a missing value")
    assert "--impute" in said and not (taxis / "out.parquet").exists()


def test_a_damaged_model_is_named(model, taxis):
    data = (taxis / "m.safetensors").read_bytes()
    (taxis / "m.safetensors").write_bytes(data[:-5])
    assert "model file 'm.safetensors' is cut short" in fails(
        1, "predict", "m.safetensors", "rides.parquet", "-o", "out.parquet"
    )


def test_predictions_of_a_large_file_take_bounded_memory(big, tmp_path):
    table = pa.table({name: pq.read_table(big, columns=[name])[name].slice(0, 50_000) for name in "abcd"})
    Regressor(8, epochs=1, random_state=0).fit(table, target="a").save(tmp_path / "m.safetensors")
    code = "import sys; from streamnorm.cli import main; sys.argv[0] = 'streamnorm'; main()"
    base = measure(code, "predict", "--help").peak
    out = tmp_path / "out.parquet"
    done = measure(code, "predict", tmp_path / "m.safetensors", big, "-o", out, "--memory", "64MB", "--threads", 2)
    assert done.status == 0, done.err
    assert pq.ParquetFile(out).metadata.num_rows == 3_000_000
    floor = 116 << 20  # of imports
    assert done.peak < max(base, floor) + 64e6 + SLACK, f"{done.peak / 1e6:.0f} MB"


# ------------------------------------------------------------------------------------------------ inspect


def test_inspect_says_what_a_model_is(model, taxis):
    said = run("inspect", "m.safetensors").stdout
    assert "m.safetensors: a regressor of 7 layers, 4," in said
    assert re.search(r"^predicts +fare$", said, re.MULTILINE) and re.search(r"^from +distance$", said, re.MULTILINE)
    assert re.search(r"^loss +[\d.]+ at first, [\d.]+ at last", said, re.MULTILINE)
    assert "  1  BatchNorm(64" in said
    found = json.loads(run("inspect", "m.safetensors", "--json").stdout)
    assert found["features"] == ["distance"] and found["targets"] == ["fare"]
    assert found["history"] == model.history_ and found["kind"] == "regressor"
    assert found["parameters"] == sum(p.size for p in model.network_.parameters())
    assert "has no columns" in fails(2, "inspect", "m.safetensors", "--all")


def test_inspect_of_a_network(taxis):
    sn.nn.Sequential([sn.nn.Dense(2, 3), sn.nn.Tanh()]).save("net.safetensors")
    assert "net.safetensors: a network of 2 layers, 9 parameters" in run("inspect", "net.safetensors").stdout


def test_every_option_says_something():
    for name in ("train", "predict"):
        assert all(p.help for p in cli.commands[name].params if isinstance(p, click.Option))
