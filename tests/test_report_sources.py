"""What looks at data reads every source that a fit reads, and writes wherever outputs can be written."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from support.commands import fails, run

import streamnorm as sn
from streamnorm.cli_compare import _beside
from streamnorm.errors import StreamnormError
from streamnorm.report._compare_journal import check_local

fsspec = pytest.importorskip("fsspec")

RNG = np.random.default_rng(5)
TABLE = pa.table({"x": RNG.normal(size=120), "n": RNG.integers(0, 50, 120), "y": RNG.normal(size=120)})
FAST = dict(scalers=["standard"], norms=["none"], folds=2, seeds=1)
MODEL = dict(hidden=(2,), epochs=1)


def report(source, **options):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return sn.report(source, "page.html", overwrite=True, method="standard", **options).to_json()


def figures(comparison):
    said = json.loads(comparison.to_json())
    return [said["settings"]["sample"], said["settings"]["rows"]]


LOOKS = {
    "describe": lambda source, **options: sn.describe(source, **options).to_json(),
    "advise": lambda source, **options: [*map(repr, sn.advise(source, **options))],
    "diff": lambda source, **options: [*map(repr, sn.diff(sn.fit(TABLE, "robust"), source, **options))],
    "report": report,
    "compare": lambda source, **options: figures(
        sn.compare(source, "y", model=sn.nn.Regressor(**MODEL), **FAST, **options)
    ),
}


def write(path, kind):
    if kind == "parquet":
        pq.write_table(TABLE, path)
    elif kind in ("csv", "tsv"):
        pyarrow.csv.write_csv(TABLE, path, pyarrow.csv.WriteOptions(delimiter="," if kind == "csv" else "\t"))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))
    else:
        maker = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, maker(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)


def without_names(found):
    """What a look has found, but for the names of the files that it was at."""
    if isinstance(found, str):
        said = json.loads(found)
        said["files"], said["file_count"] = [], 0
        return said
    return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("look", LOOKS)
def test_every_format_of_every_place_is_read(look, kind, here, memory):
    path = here / f"d.{kind}"
    write(path, kind)
    memory.pipe(f"/s/d.{kind}", path.read_bytes())
    expected = without_names(LOOKS[look](TABLE))
    local = pyarrow.fs.SubTreeFileSystem(str(here), pyarrow.fs.LocalFileSystem())
    (here / "plain").write_bytes(path.read_bytes())
    for source, options in [
        (path, {}),
        ([str(path)], {}),
        ("plain", {"format": kind}),
        (f"memory://s/d.{kind}", {}),
        (f"memory://s/*.{kind}", {}),
        (f"s/d.{kind}", {"filesystem": memory}),
        (f"d.{kind}", {"filesystem": local}),
    ]:
        assert without_names(LOOKS[look](source, **options)) == expected, (source, options)


@pytest.mark.parametrize("look", LOOKS)
def test_types_and_conditions_are_those_of_a_fit(look, here):
    write(here / "d.csv", "csv")
    found = LOOKS[look]("d.csv", types={"n": "int16"}, where="n < 25")
    few = TABLE.filter(pa.compute.less(TABLE["n"], 25))
    narrow = few.set_column(1, "n", few["n"].cast("int16"))
    assert without_names(found) == without_names(LOOKS[look](narrow))
    with pytest.raises(StreamnormError, match="types are for CSV and JSON lines"):
        LOOKS[look](TABLE, types={"n": "int16"})
    with pytest.raises(ValueError, match="no type"):
        LOOKS[look]("d.csv", types={"n": "number"})


COMMANDS = {
    "advise": ("advise", "-", "--json"),
    "diff": ("diff", "s.json", "-", "--json"),
    "report": ("report", "-", "-o", "r.html", "--method", "standard"),
    "compare": ("compare", "-", "--target", "y", "--folds", "2", "--seeds", "1", "--epochs", "1", "--hidden", "2",
                "--scalers", "standard", "--norms", "none", "--json"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_input_is_a_source(name, here):
    if name == "report":
        pytest.importorskip("vl_convert")
    sn.fit(TABLE, "robust").save("s.json")
    write(here / "d.csv", "csv")
    asked = [*COMMANDS[name], "--input-format", "csv", "--types", "n=int16,x=float64"]
    with open("d.csv", "rb") as file:
        code = [sys.executable, "-m", "streamnorm", *asked]
        done = subprocess.run(code, stdin=file, capture_output=True, text=True)
    assert done.returncode in (0, 3 if name == "diff" else 0), done.stderr
    assert "x" in (done.stdout or (here / "r.html").read_text())


def test_standard_input_is_one_side_of_a_diff(here):
    assert "can be one of A and B, and not both" in fails(2, "diff", "-", "-")


def test_pages_and_comparisons_go_to_stores(here, memory):
    pytest.importorskip("vl_convert")
    memory.pipe("/s/a.parquet", parquet_bytes())
    sn.report("memory://s/a.parquet", "memory://s/report.html", method="standard")
    assert b"<html" in memory.cat("/s/report.html")[:200]
    sn.report("s/a.parquet", "s/other.html", method="standard", filesystem=memory)
    assert memory.exists("/s/other.html")
    with pytest.raises(FileExistsError, match="memory://.*report.html: exists already"):
        sn.report("memory://s/a.parquet", "memory://s/report.html")
    with pytest.raises(StreamnormError):
        sn.diff("memory://s/none.json", TABLE)
    found = sn.compare("memory://s/a.parquet", "y", model=sn.nn.Regressor(**MODEL), **FAST)
    found.save("memory://s/c.json")
    assert json.loads(memory.cat("/s/c.json")) == json.loads(found.to_json())
    sn.fit(TABLE, "robust").save("memory://s/state.json")
    drift = sn.diff("memory://s/state.json", "memory://s/a.parquet")
    assert (drift.of_a, drift.of_b, drift.drifted) == ("state", "data", [])
    state = sn.report("memory://s/state.json", "memory://s/state.html")
    assert state.of == "state"
    assert not [name for name in memory.find("/s") if "tmp" in name]


def parquet_bytes():
    out = io.BytesIO()
    pq.write_table(TABLE, out)
    return out.getvalue()


def test_a_journal_is_a_file_of_this_machine(memory):
    with pytest.raises(StreamnormError) as caught:
        sn.compare(TABLE, "y", journal="s3://key:hush@bucket/j", **FAST)
    assert "name a file of this machine" in str(caught.value) and "hush" not in str(caught.value)
    check_local("plain/journal")


def test_commands_write_their_pages_to_stores(here):
    pytest.importorskip("vl_convert")
    pq.write_table(TABLE, "t.parquet")
    place = f"local://{here}"
    run("diff", "t.parquet", f"{place}/t.parquet", "-o", f"{place}/diff.html")
    assert "<html" in (here / "diff.html").read_text()
    run("report", "t.parquet", "-o", f"{place}/report.html")
    asked = ["compare", "t.parquet", *COMMANDS["compare"][2:], "-o", f"{place}/compared.json"]
    run(*asked)
    assert json.loads((here / "compared.json").read_text())["runs"]
    assert not [name for name in os.listdir() if "journal" in name or "tmp" in name]
    assert "exists already" in fails(1, *asked)


def test_types_and_formats_of_a_diff_are_those_of_the_side_that_needs_them(here):
    pq.write_table(TABLE, "t.parquet")
    write(here / "d.csv", "csv")
    for source in ("d.csv", "t.parquet"):
        assert sn.diff("t.parquet", source, types={"n": "int64"} if source == "d.csv" else None).drifted == []
    assert sn.diff("d.csv", "t.parquet", types={"n": "int32"})["n"].type_a == "int32"
    with pytest.raises(StreamnormError, match="types are for CSV and JSON lines"):
        sn.diff("t.parquet", TABLE, types={"n": "int32"})
    asked = ["diff", "t.parquet", "-", "--input-format", "csv", "--types", "n=int16"]
    command = [sys.executable, "-m", "streamnorm", *asked]
    with open("d.csv", "rb") as file:
        done = subprocess.run([*command, "--json"], stdin=file, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [kind] = [column["type_b"] for column in json.loads(done.stdout)["columns"] if column["name"] == "n"]
    assert kind == "int16"


def test_a_side_that_is_missing_is_told_before_the_other_is_read(here):
    pq.write_table(TABLE, "t.parquet")
    said = fails(1, "diff", "t.parquet", "nothere.json")
    assert said == "nothere.json: there is no such file"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--target", "q"), "t.parquet: there is no target column 'q': there are 'x', 'n', 'y'"),
        (("--target", "y", "--group", "q"), "t.parquet: there is no column 'q': there are 'x', 'n', 'y'"),
        (("--target", "y", "--columns", "q"), "t.parquet: there is no column 'q': there are 'x', 'n', 'y'"),
        (("--target", "y", "--types", "n=int8"), "t.parquet: types are for CSV and JSON lines; parquet has "
         "types of its own: leave them out"),
    ],
)  # fmt: skip
def test_errors_of_a_comparison_name_the_file(args, said, here):
    pq.write_table(TABLE, "t.parquet")
    assert fails(1, "compare", "t.parquet", *args) == said


def test_what_a_library_says_of_an_archive_has_no_number_of_an_error(here):
    said = fails(1, "fit", "zip://x.csv::nothing.zip", "-o", "s.json")
    assert said.startswith("zip://x.csv::nothing.zip: cannot be reached (No such file or directory")


def test_the_journal_of_an_output_in_a_store_is_here_and_its_own(here):
    names = {_beside(f"s3://key:hush@bucket/{folder}/c.html") for folder in "ab"}
    assert len(names) == 2 and all(name.startswith(".c.html.") and os.sep not in name for name in names)
    assert not any("hush" in name for name in names) and _beside("a/c.html") == "a/.c.html.streamnorm-journal"


@pytest.mark.parametrize("name", ["report", "advise", "diff"])
def test_a_model_is_no_data_and_no_state(name, here):
    pq.write_table(TABLE, "t.parquet")
    sn.nn.Regressor(norm=None, **MODEL).fit(TABLE, target="y").save("m.safetensors")
    args = {"report": ("m.safetensors", "-o", "r.html"), "advise": ("m.safetensors",), "diff": ("t.parquet",
            "m.safetensors")}[name]  # fmt: skip
    assert "m.safetensors: is a model" in fails(1, name, *args)
