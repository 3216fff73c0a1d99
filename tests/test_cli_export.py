"""``streamnorm export``: what each target gets, where it goes, and what is refused."""

import json
import os
import sqlite3

import duckdb
import numpy as np
import onnx
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.commands import fails, run
from support.files import temporaries

import streamnorm as sn
from streamnorm import cli_export, export
from streamnorm.export import sql, to_lerobot, to_onnx, to_sql

TABLE = pa.table({"id": [1, 2, 3], 'a "b", c': [1.0, 2.0, 4.5], "fare": [10.0, None, 12.0]})
NAMES = TABLE.column_names[1:]


@pytest.fixture
def scaler(tmp_path, monkeypatch):
    """What stats.json in the folder to work in holds, beside trips.parquet."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(TABLE, "trips.parquet")
    scaler = sn.MinMaxScaler(clip=True).fit(TABLE, columns=NAMES)
    scaler.save("stats.json")
    return scaler


def test_choices_are_those_of_the_library():
    assert {f"to_{target}" for target in cli_export.TARGETS} == {name for name in export.__all__ if name[:3] == "to_"}
    assert cli_export.DIALECTS == sql.DIALECTS


def test_sql_goes_to_standard_output_and_runs(scaler):
    out = run("export", "stats.json", "--to", "sql", "--table", "trips", "--passthrough", "id").stdout
    assert out == to_sql(scaler, "trips", passthrough="id") + ";\n"
    connection = duckdb.connect()
    connection.register("trips", TABLE)
    assert connection.execute(out).fetchall() == [(1, 0.0, 0.0), (2, (2 - 1) / 3.5, None), (3, 1.0, 1.0)]


def test_a_view_in_a_file(scaler):
    where = ["--dialect", "sqlite", "--table", 'main."my.trips"', "--view", "normalized", "--inverse", "-o", "view.sql"]
    assert run("export", "stats.json", "--to", "sql", *where).stdout == ""
    with open("view.sql") as file:
        script = file.read()
    expected = to_sql(scaler, ("main", "my.trips"), dialect="sqlite", view="normalized", inverse=True)
    assert script == expected + ";\n"
    connection = sqlite3.connect(":memory:")
    connection.execute('CREATE TABLE "my.trips" ("a ""b"", c", fare)')
    connection.execute('INSERT INTO "my.trips" VALUES (1, 0.5)')
    connection.executescript(script)
    assert connection.execute("SELECT * FROM normalized").fetchall() == [(4.5, 11.0)]


def test_python_sources_run(scaler):
    expected = scaler.transform(TABLE).select(NAMES)

    def defined(target, *options):
        scope = {}
        exec(run("export", "stats.json", "--to", target, *options).stdout, scope)
        return scope

    assert pl.from_arrow(TABLE).select(defined("polars")["columns"]).equals(pl.from_arrow(expected))
    found = ds.dataset(TABLE).to_table(columns=defined("pyarrow")["columns"])
    assert found.equals(expected)
    back = ds.dataset(expected).to_table(columns=defined("pyarrow", "--inverse")["columns"])
    assert back.equals(scaler.inverse_transform(expected))
    x = np.array([[1.0, 10.0], [9.0, 11.0]])
    estimator = defined("sklearn")["scaler"]
    estimator.__dict__.pop("feature_names_in_")
    np.testing.assert_allclose(estimator.transform(x), scaler.transform(x), rtol=1e-15)


def test_a_module_for_torch(scaler):
    torch = pytest.importorskip("torch")
    scope = {}
    exec(run("export", "stats.json", "--to", "torch").stdout, scope)
    x = np.array([[1.0, 10.0], [9.0, 11.0]])
    np.testing.assert_array_equal(scope["scaling"](torch.from_numpy(x)), scaler.transform(x))


def test_onnx_is_a_file(scaler):
    run("export", "stats.json", "--to", "onnx", "-o", "scaler.onnx")
    assert onnx.load("scaler.onnx") == to_onnx(scaler)


def test_lerobot_keeps_the_other_features_of_a_file(scaler):
    state = sn.StandardScaler().fit([[1.0, 2.0], [3.0, 5.0]])
    state.save("state.json")
    assert json.loads(run("export", "state.json", "--to", "lerobot").stdout) == to_lerobot(state)
    with open("lerobot.json", "w") as file:
        json.dump({"action": {"mean": [0.0]}}, file)
    run("export", "state.json", "--to", "lerobot", "--feature", "speed", "-o", "lerobot.json", "--overwrite")
    with open("lerobot.json") as file:
        assert json.load(file) == {"action": {"mean": [0.0]}, **to_lerobot(state, feature="speed")}


def test_the_state_may_be_in_a_footer(scaler):
    run("transform", "trips.parquet", "-o", "normalized.parquet", "--state", "stats.json")
    from_state = run("export", "stats.json", "--to", "sql", "--table", "t").stdout
    assert run("export", "normalized.parquet", "--to", "sql", "--table", "t").stdout == from_state


USAGE = {
    "--dialect does not go with --to polars": ("--to", "polars", "--dialect", "sqlite"),
    "--inverse does not go with --to onnx": ("--to", "onnx", "--inverse", "-o", "x.onnx"),
    "--feature does not go with --to sql": ("--to", "sql", "--table", "t", "--feature", "x"),
    "--to sql needs --table": ("--to", "sql"),
    "add -o OUT": ("--to", "onnx"),
    "is not one of": ("--to", "excel"),
    "has an empty part": ("--to", "sql", "--table", "a..b"),
    "missing option": (),
}


@pytest.mark.parametrize("message", USAGE)
def test_command_lines_that_say_two_things(scaler, message):
    assert message in fails(2, "export", "stats.json", *USAGE[message])


def test_what_a_file_is_at_fault_for(scaler):
    query = ["--to", "sql", "--table", "t"]
    assert "none.json: cannot be read" in fails(1, "export", "none.json", *query)
    assert "carries no streamnorm state" in fails(1, "export", "trips.parquet", *query)
    sn.StandardScaler().fit([[1.0], [2.0]]).save("array.json")
    assert "whose columns have none" in fails(1, "export", "array.json", *query)
    assert "would come out twice" in fails(1, "export", "stats.json", *query, "--passthrough", "fare")
    sn.ColumnScaler({"fare": "standard"}).fit(TABLE).save("columns.json")
    assert "use streamnorm.export.to_sklearn" in fails(1, "export", "columns.json", "--to", "sklearn")


def test_a_file_is_replaced_when_asked_and_whole(scaler):
    query = ["export", "stats.json", "--to", "sql", "--table", "t", "-o", "out.sql"]
    run(*query)
    before = os.stat("out.sql")
    assert "out.sql" in fails(1, *query)
    assert os.stat("out.sql").st_mtime_ns == before.st_mtime_ns
    run(*query, "--overwrite")
    assert fails(2, *query[:-1], "stats.json", "--overwrite")
    assert sn.load("stats.json").digest() == scaler.digest() and not temporaries(".")
