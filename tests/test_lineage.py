"""Where outputs come from: what their footers say of scaler, options and inputs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from support.commands import fails, run

import streamnorm as sn
from streamnorm import lineage, listing
from streamnorm.lineage import DEPTH, PARENTS, Lineage, Origin
from streamnorm.parquet.footer import read_footer
from streamnorm.state import FOOTER_KEY, LINEAGE_KEY

TABLE = pa.table({"fare": [2.0, 4.0, 9.0], "tip": [1, 2, 5], "zone": ["a", "b", "a"]})


@pytest.fixture
def trips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(TABLE, "trips.parquet")
    return tmp_path


def test_an_output_says_where_it_comes_from(trips):
    scaler = sn.normalize("trips.parquet", "o.parquet", {"fare": "robust", "tip": "minmax"}, dtype="float32")
    said = lineage.read_file("o.parquet")
    assert (said["format"], said["version"], said["streamnorm"]) == ("streamnorm-lineage", 1, sn.__version__)
    assert (said["digest"], said["operation"], said["options"]) == (scaler.digest(), "transform", {"dtype": "float32"})
    assert said["fitted"] == {"rows": 3, "files": 1}
    footer = read_footer(Path("trips.parquet"))
    [file] = said["inputs"]
    assert file == {"name": "trips.parquet", "size": footer.file_size, "rows": 3, "footer": footer.sha256[:32]}
    assert [(c["name"], c["method"], c["center"], c["scale"], c["offset"]) for c in said["columns"]] == [
        ("fare", "robust", 4.0, 3.5, 0.0),
        ("tip", "minmax", 1.0, 4.0, 0.0),
    ]
    assert sn.inspect("o.parquet")["lineage"] == said
    text = run("inspect", "o.parquet").stdout
    assert f"normalized by streamnorm {sn.__version__} from trips.parquet (dtype float32)" in text
    assert json.loads(run("inspect", "o.parquet", "--json").stdout)["lineage"] == said
    scaler.save("s.json")
    assert sn.inspect("s.json")["lineage"] is None


def test_it_has_no_time_and_no_folder(trips):
    os.makedirs("elsewhere/deep/year=2020")
    shutil.copy("trips.parquet", "elsewhere/deep/year=2020/trips.parquet")
    sn.normalize("trips.parquet", "a.parquet")
    sn.normalize(trips / "elsewhere" / "deep" / "year=2020" / "trips.parquet", "elsewhere/b.parquet")
    assert Path("a.parquet").read_bytes() == Path("elsewhere/b.parquet").read_bytes()
    assert str(trips).encode() not in Path("a.parquet").read_bytes()
    sn.fit("trips.parquet").save("s.json")
    sn.transform("trips.parquet", "c.parquet", sn.load("s.json"))
    assert Path("a.parquet").read_bytes() == Path("c.parquet").read_bytes()


def test_names_are_those_below_the_folder_that_has_all_inputs(trips):
    for month in (1, 2):
        os.makedirs(f"in/month={month}")
        pq.write_table(TABLE, f"in/month={month}/part.parquet")
    sn.normalize("in", "out/")
    names = [lineage.read_file(f"out/month={m}/part.parquet")["inputs"][0]["name"] for m in (1, 2)]
    assert names == ["month=1/part.parquet", "month=2/part.parquet"]
    sn.normalize("in", "one.parquet")
    assert [file["name"] for file in lineage.read_file("one.parquet")["inputs"]] == names


def test_a_chain_is_kept_to_so_many_generations(trips):
    source = "trips.parquet"
    for i in range(DEPTH + 2):
        sn.normalize(source, f"{i}.parquet", "minmax")
        source = f"{i}.parquet"
    depth, one = 0, lineage.read_file(source)
    while one:
        assert [file["name"] for file in one["inputs"]] == [f"{DEPTH - depth}.parquet"]
        depth, last = depth + 1, one
        [one] = one.get("parents", [None])
    assert depth == DEPTH and last["cut"] is True
    text = run("inspect", source).stdout
    assert "normalized before that from" in text
    sn.inverse(source, "back.parquet")
    restored = lineage.read_file("back.parquet")
    assert restored["operation"] == "inverse" and restored["parents"][0]["operation"] == "transform"
    keys = [key for key in pq.read_metadata("back.parquet").metadata if key.startswith(b"streamnorm")]
    assert keys == [LINEAGE_KEY]


def test_readers_and_restored_files_do_not_pass_on_what_inputs_carried(trips):
    scaler = sn.normalize("trips.parquet", "o.arrow")
    table = pa.ipc.open_file("o.arrow").read_all()
    assert LINEAGE_KEY in table.schema.metadata
    for source in ("o.arrow", table):
        for found in (sn.transform(source, None, scaler), sn.inverse(source, None, scaler)):
            assert LINEAGE_KEY not in (found.schema.metadata or {})


def test_parents_are_kept_once_and_are_few(trips):
    for i in range(PARENTS + 2):
        pq.write_table(pa.table({"fare": [1.0, float(i + 2)]}), f"{i:02}.parquet")
        sn.normalize(f"{i:02}.parquet", f"n/{i:02}.parquet" if os.makedirs("n", exist_ok=True) is None else "")
    shutil.copy("n/00.parquet", "n/copy.parquet")
    sn.normalize("n", "all.parquet")
    said = lineage.read_file("all.parquet")
    assert len(said["parents"]) == PARENTS and said["inputs_of_other_parents"] == 2
    assert len({parent["inputs"][0]["name"] for parent in said["parents"]}) == PARENTS


@pytest.mark.parametrize("broken", [b"{", b"[" * 100_000, b"3", b'{"format": "other"}', b"\xff"])
def test_a_broken_lineage_of_an_input_is_left_out(broken, trips):
    pq.write_table(TABLE.replace_schema_metadata({LINEAGE_KEY: broken}), "odd.parquet")
    sn.normalize("odd.parquet", "o.parquet")
    assert "parents" not in lineage.read_file("o.parquet")
    strange = {"format": "streamnorm-lineage", "parents": [3], "inputs": {"a": 1}, "options": 7, "scale": float("nan")}
    pq.write_table(TABLE.replace_schema_metadata({LINEAGE_KEY: json.dumps(strange).encode()}), "odd.parquet")
    sn.normalize("odd.parquet", "o.parquet", overwrite=True)
    assert lineage.read_file("o.parquet")["parents"] == [strange | {"scale": "NaN"}]
    assert "inputs that are not told" in "".join(lineage.lines(lineage.read_file("o.parquet")))
    assert listing.as_json(sn.inspect("o.parquet"))


def test_other_formats(trips):
    pc.write_csv(TABLE, "trips.csv")
    scaler = sn.normalize("trips.csv", "o.arrow", where="fare > 2")
    said = lineage.read_file("o.arrow")
    [file] = said["inputs"]
    assert file["name"] == "trips.csv" and file["size"] == Path("trips.csv").stat().st_size and file["rows"] is None
    assert file["sample"] == lineage.sample_hash("trips.csv") and said["options"] == {"where": "fare > 2"}
    sn.transform(TABLE, "t.parquet", scaler)
    assert lineage.read_file("t.parquet")["inputs"] == [{"name": None, "rows": 3}]
    sn.transform("o.arrow", "again.parquet", scaler)
    assert lineage.read_file("again.parquet")["parents"] == [said]
    sn.normalize("trips.parquet", "f.parquet", where="fare > 2")
    [file] = lineage.read_file("f.parquet")["inputs"]
    assert file["footer"] == read_footer(Path("trips.parquet")).sha256[:32] and file["rows"] == 3


def test_what_came_through_a_pipe_has_no_name(trips):
    with pa.ipc.new_stream("trips.arrows", TABLE.schema) as writer:
        writer.write_table(TABLE)
    for name in ("a.parquet", "b.parquet"):
        with open("trips.arrows", "rb") as pipe:
            command = [sys.executable, "-m", "streamnorm", "normalize", "-", "-o", name, "--spool"]
            subprocess.run(command, stdin=pipe, check=True, capture_output=True)
        assert [file["name"] for file in lineage.read_file(name)["inputs"]] == [None]
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes()


def test_a_sample_tells_files_apart(tmp_path):
    data = np.random.default_rng(0).bytes(lineage.SAMPLES * lineage.SAMPLE_BYTES * 3)
    paths = [tmp_path / name for name in "abcde"]
    changed = [data, data, data[:-1], b"x" + data[1:], data[:-1] + b"x"]
    for path, text in zip(paths, changed, strict=True):
        path.write_bytes(text)
    hashes = [lineage.sample_hash(path) for path in paths]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 4
    (tmp_path / "empty").write_bytes(b"")
    assert len(lineage.sample_hash(tmp_path / "empty")) == 32


def test_a_hundred_thousand_inputs_are_told_by_their_number():
    scaler = sn.fit(pa.table({"fare": [1.0, 2.0]}))
    told = Lineage(scaler, False, {})
    root = "/data"

    def entry(change=None):
        files = ((f"/data/{i:06}.parquet", 10 if i != change else 11) for i in range(100_000))
        return told.entry((Origin(Path(name), rows, 100, "5e" * 16) for name, rows in files), root)[LINEAGE_KEY]

    text = entry()
    folded = json.loads(text)["folded_inputs"]
    assert (folded["count"], folded["rows"], folded["size"]) == (100_000, 1_000_000, 10_000_000)
    assert (folded["first"], folded["last"]) == ("000000.parquet", "099999.parquet") and len(text) < 2000
    assert json.loads(entry(change=70_000))["folded_inputs"]["digest"] != folded["digest"]
    assert lineage.lines(json.loads(text))[0].endswith("from 100,000 files, 000000.parquet to 099999.parquet")


def test_names_in_a_lineage_cannot_play_with_the_terminal(trips):
    os.rename("trips.parquet", "a\x1b[31m.parquet")
    sn.normalize("a\x1b[31m.parquet", "o.parquet")
    assert "\x1b" not in run("inspect", "o.parquet").stdout


def test_predictions_say_by_which_model_and_from_which_files(trips):
    model = sn.nn.Regressor(hidden=(2,), norm=None, epochs=1, random_state=0).fit("trips.parquet", target="tip")
    model.save("m.safetensors")
    os.makedirs("in")
    for i in range(2):
        sn.normalize("trips.parquet", f"in/{i}.parquet", columns="tip")
    predict = ("predict", "m.safetensors", "in", "-o", "out/", "--missing", "null")
    run(*predict)
    said = lineage.read_file("out/1.parquet")
    assert (said["operation"], said["streamnorm"]) == ("predict", sn.__version__)
    assert said["digest"] == sn.inspect("m.safetensors")["digest"]
    assert said["model"] == {"class": "Regressor", "version": 1, "features": ["fare"]}
    assert said["columns"] == [{"name": "prediction", "method": "predict", "target": "tip"}]
    footer = read_footer(Path("in/1.parquet"))
    [file] = said["inputs"]
    assert file == {"name": "1.parquet", "size": footer.file_size, "rows": 3, "footer": footer.sha256[:32]}
    assert said["parents"] == [lineage.read_file("in/1.parquet")] and said["options"] == {"missing": "null"}
    text = run("inspect", "out/1.parquet").stdout
    assert "predicted by streamnorm" in text and f"from 1.parquet by the model {said['digest']}" in text
    before = Path("out/1.parquet").read_bytes()
    run(*predict, "--overwrite")
    assert Path("out/1.parquet").read_bytes() == before
    assert pq.read_table("out/1.parquet").column_names == ["fare", "tip", "zone", "prediction"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_an_output_without_statistics_shows_its_lineage(suffix, trips):
    sn.normalize("trips.parquet", "n.parquet", "minmax")
    sn.inverse("n.parquet", f"r.{suffix}")
    said = sn.inspect(f"r.{suffix}")
    assert said["lineage"]["operation"] == "inverse"
    assert (said["scaler"], said["digest"], said["columns"]) == (None, None, [])
    text = run("inspect", f"r.{suffix}").stdout.splitlines()
    assert text[0] == f"r.{suffix}: carries no statistics"
    assert text[1].startswith("restored by streamnorm") and text[2].startswith("normalized before that")
    assert json.loads(run("inspect", f"r.{suffix}", "--json").stdout)["lineage"] == said["lineage"]
    assert "no columns to show: leave --columns out" in fails(1, "inspect", f"r.{suffix}", "--columns", "fare")
    with pytest.raises(sn.StateError, match="carries no streamnorm state"):
        sn.load(f"r.{suffix}")
    assert "carries no streamnorm state" in fails(1, "inspect", "trips.parquet")
    damaged = pq.read_table("n.parquet").replace_schema_metadata({FOOTER_KEY: b"{", LINEAGE_KEY: b'{"format": 1}'})
    pq.write_table(damaged, "damaged.parquet")
    assert "damaged.parquet" in fails(1, "inspect", "damaged.parquet")


def test_data_in_memory_pass_on_what_they_carry(trips):
    scaler = sn.normalize("trips.parquet", "o.arrow")
    parent = lineage.read_file("o.arrow")
    table = pa.ipc.open_file("o.arrow").read_all()
    for source in (table, table.to_reader(), table.to_batches()[0], table.to_batches()):
        sn.transform(source, "t.parquet", scaler, overwrite=True)
        assert lineage.read_file("t.parquet")["parents"] == [parent]
    for options in ({}, {"where": "tip < 9"}, {"spool": True}):
        sn.normalize(table.to_reader() if "spool" in options else table, "t.arrow", overwrite=True, **options)
        assert lineage.read_file("t.arrow")["parents"] == [parent]
    sn.transform(TABLE, "t.arrow", scaler, overwrite=True)
    assert "parents" not in lineage.read_file("t.arrow")


def test_text_in_a_store_is_told_by_a_sample_like_any(trips):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    pc.write_csv(TABLE, "trips.csv")
    memory.pipe("/lineage/deep/trips.csv", Path("trips.csv").read_bytes())
    sn.normalize("trips.csv", "a.arrow")
    sn.normalize("memory://lineage/deep/trips.csv", "b.arrow")
    assert Path("a.arrow").read_bytes() == Path("b.arrow").read_bytes()
    memory.pipe("/lineage/other.csv", Path("trips.csv").read_bytes())
    sn.normalize("memory://lineage/**/*.csv", "c.arrow")
    names = [file["name"] for file in lineage.read_file("c.arrow")["inputs"]]
    assert sorted(names) == ["deep/trips.csv", "other.csv"]
    memory.rm("/lineage", recursive=True)
