"""Arrow IPC, CSV and JSON lines in and out: types stated once, faults with their place, states, whole outputs."""

import datetime
import decimal
import gzip
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm import inputs
from streamnorm.errors import DataError, StateError

SRC = str(Path(sn.__file__).resolve().parents[1])
RTOL = 1e-12
SUFFIXES = ["parquet", "arrow", "feather", "ipc", "arrows", "csv", "tsv", "jsonl", "ndjson",
            "csv.gz", "csv.zst", "tsv.gz", "jsonl.gz", "jsonl.zst"]  # fmt: skip
STATELESS = [suffix for suffix in SUFFIXES if suffix.split(".")[0] in ("csv", "tsv", "jsonl", "ndjson")]
ROWS = 3000


def make_table() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "x": rng.normal(1e6, 3, ROWS),
            "s": ['say "a,b"\n\tü' if k % 9 == 0 else f"s{k}" for k in range(ROWS)],
            "n": pa.array([None if k % 5 == 0 else k for k in range(ROWS)], pa.int64()),
            "b": [bool(k % 2) for k in range(ROWS)],
        }
    )


TABLE = make_table()
STATE = sn.fit(TABLE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, table=TABLE):
    """A file of this format that streamnorm has not made, but for what nobody else can make here."""
    name = str(path)
    if name.endswith(".parquet"):
        pq.write_table(table, path)
    elif name.endswith((".arrow", ".ipc", ".feather")):
        pa.feather.write_feather(table, name, compression="zstd", chunksize=700)
    elif name.endswith(".arrows"):
        with pa.OSFile(name, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    elif ".csv" in name or ".tsv" in name:
        options = pa.csv.WriteOptions(delimiter="\t" if ".tsv" in name else ",")
        with pa.output_stream(name, compression=packing(name)) as file:
            pa.csv.write_csv(table, file, options)
    else:
        with pa.output_stream(name, compression=packing(name)) as file:
            file.write("".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode())
    return path


def packing(name):
    return {"gz": "gzip", "st": "zstd"}.get(name[-2:])


def read_all(source, **options):
    scaler = sn.fit(source, "maxabs", columns="b", **options)  # divides zeros and ones by one: nothing changes
    return sn.transform(source, None, scaler, **options).read_all()


# ------------------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_source_of_any_format_gives_the_same_statistics(folder, suffix):
    path = write(folder / f"data.{suffix}")
    got = sn.fit(path)
    assert got.summary_.rows == ROWS
    np.testing.assert_allclose(got.mean_, STATE.mean_, rtol=RTOL)
    np.testing.assert_allclose(got.scale_, STATE.scale_, rtol=1e-9)
    assert type(got)().partial_fit(path).digest() == got.digest()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore")
def test_what_is_written_comes_back(folder, suffix):
    source, out, back = write(folder / "data.parquet"), folder / f"out.{suffix}", folder / f"back.{suffix}"
    scaler = sn.normalize(source, out)
    if suffix in STATELESS:
        with pytest.raises(StateError, match="carries no state.*--state"):
            sn.inverse(out, back)
    elif suffix != "parquet":
        assert sn.load(out).digest() == scaler.digest() == sn.inspect(out)["digest"]
    sn.inverse(out, back, scaler if suffix in STATELESS else None)
    restored = sn.transform(back, None, sn.fit(back, "maxabs", columns="b")).read_all()
    np.testing.assert_allclose(restored["x"], TABLE["x"], rtol=RTOL)
    assert restored["s"].to_pylist() == TABLE["s"].to_pylist()
    assert restored["n"].null_count == TABLE["n"].null_count
    np.testing.assert_allclose(restored["n"].drop_null(), TABLE["n"].drop_null(), rtol=1e-9, atol=1e-9)
    assert sn.fit(back).feature_names_in_.tolist() == ["x", "n"]


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != "parquet"])
def test_transform_reads_what_fit_reads(folder, suffix):
    path = write(folder / f"data.{suffix}")
    rows = sn.transform(path, folder / "out.parquet", STATE)
    want = sn.transform(TABLE, None, STATE).read_all()
    got = pq.read_table(folder / "out.parquet")
    assert rows == ROWS and got.schema.names == want.schema.names
    np.testing.assert_allclose(got["x"], want["x"], rtol=1e-9, atol=1e-12)


def test_floats_of_text_are_read_as_they_were(folder):
    values = [1 / 3, 1e-310, 1.7976931348623157e308, -0.0, 5e-324, 123456789.123456789, None]
    pq.write_table(pa.table({"x": values, "k": pa.array([1.0] * 7, pa.float32())}), "a.parquet")
    scaler = sn.fit("a.parquet", "maxabs", columns="k")
    for sink in ("o.csv", "o.jsonl"):
        sn.transform("a.parquet", sink, scaler)
        assert sn.transform(sink, None, scaler).read_all()["x"].to_pylist() == values


def test_not_a_number_in_text(folder):
    pq.write_table(pa.table({"x": [1.0, float("nan"), None, 3.0]}), "a.parquet")
    scaler = sn.fit("a.parquet")
    sn.transform("a.parquet", "o.csv", scaler)
    sn.transform("a.parquet", "o.jsonl", scaler)
    assert Path("o.csv").read_text().splitlines() == ['"x"', "-1", "nan", "", "1"]
    assert Path("o.jsonl").read_text().splitlines() == ['{"x":-1.0}', '{"x":null}', '{"x":null}', '{"x":1.0}']
    assert sn.fit("o.csv").summary_["x"].nan_count == 1


def test_all_kinds_of_values_as_json(folder):
    moment = datetime.datetime(2024, 1, 31, 12, 0, 1, 500)
    table = pa.table({"x": [1.0], "t": [moment], "d": [decimal.Decimal("1.50")], "l": [[1, None]], "o": [{"a": [2.5]}],
                      "c": pa.array(["u"]).dictionary_encode()})  # fmt: skip
    sn.transform(table, "o.jsonl", sn.fit(table, columns="x"))
    assert json.loads(Path("o.jsonl").read_text()) == {
        "x": 0.0, "t": "2024-01-31T12:00:01.000500", "d": "1.50", "l": [1, None], "o": {"a": [2.5]}, "c": "u"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sink", "column", "message"),
    [("o.csv", pa.array([[1]]), "CSV has no form for"), ("o.jsonl", pa.array([b"1"]), "JSON has no form for")],
)
def test_what_text_has_no_form_for(folder, sink, column, message):
    table = pa.table({"x": [1.0], "c": column})
    with pytest.raises(DataError, match=f"column 'c' .*{message}"):
        sn.transform(table, sink, sn.fit(table, columns="x"))
    assert os.listdir() == []


def test_dictionaries_pass_through_a_stream_and_become_values_in_a_file(folder):
    table = pa.table({"x": [1.0, 2.0], "c": pa.array(["u", "v"]).dictionary_encode()})
    scaler = sn.fit(table, columns="x")
    batches = [table.slice(0, 1).to_batches()[0], pa.table({"x": [3.0], "c": pa.array(["w"]).dictionary_encode()})]
    for sink, kind in (("o.arrows", table.schema.field("c").type), ("o.arrow", pa.string()), ("o.csv", pa.string())):
        sn.transform([batches[0], batches[1].to_batches()[0]], sink, scaler)
        got = sn.transform(sink, None, scaler).read_all()["c"]
        assert got.type == kind and got.to_pylist() == ["u", "w"]


# ------------------------------------------------------------------------------------------------ which files


def test_lists_globs_and_directories(folder):
    for k in range(3):
        (folder / "d" / f"part{k}").mkdir(parents=True)
        write(folder / "d" / f"part{k}" / "x.csv", TABLE.slice(k * 1000, 1000))
    for source in ("d", "d/*/x.csv", [f"d/part{k}/x.csv" for k in (2, 0, 1)]):
        np.testing.assert_allclose(sn.fit(source).mean_, STATE.mean_, rtol=RTOL)
    assert sn.transform("d", "out/", STATE) == ROWS
    assert sorted(map(str, Path("out").rglob("*.*"))) == [f"out/part{k}/x.csv" for k in range(3)]
    assert sn.transform("d", "p/", STATE, output_format="parquet") == ROWS
    assert sorted(map(str, Path("p").rglob("*.*"))) == [f"p/part{k}/x.parquet" for k in range(3)]
    np.testing.assert_allclose(sn.inverse("p", None).read_all()["x"], TABLE["x"], rtol=RTOL)
    with pytest.raises(FileExistsError, match="--overwrite"):
        sn.transform("d", "p/", STATE, output_format="parquet")
    sn.normalize("d", "p/", output_format="parquet", overwrite=True)


def test_mixed_formats_are_an_error(folder):
    write(folder / "a.csv")
    write(folder / "b.parquet")
    for source in (folder, ["a.csv", "b.parquet"], "[ab].*"):
        with pytest.raises(DataError, match=r"a.csv is csv and .*b.parquet is parquet: .* \(--input-format\)"):
            sn.fit(source)
    assert sn.fit(folder, format="csv").summary_.rows == ROWS
    assert sn.fit(folder, format="parquet").summary_.rows == ROWS


def test_format_where_the_name_does_not_tell(folder):
    os.rename(write(folder / "a.csv"), "a.txt")
    assert sn.fit("a.txt", format="csv").summary_.rows == ROWS
    with pytest.raises(DataError, match="not a Parquet file"):
        sn.fit("a.txt")
    with pytest.raises(ValueError, match="format must be one of parquet, arrow"):
        sn.fit("a.txt", format="excel")
    with pytest.raises(ValueError, match="output_format must be one of"):
        sn.transform("a.txt", "o", STATE, output_format="excel")
    sn.transform("a.txt", "o.txt", STATE, format="csv", output_format="jsonl")
    assert json.loads(Path("o.txt").read_text().splitlines()[0]).keys() == {"x", "s", "n", "b"}


def test_a_directory_without_files(folder):
    with pytest.raises(DataError, match=r"holds no \*.parquet, \*.arrow"):
        sn.fit(folder)


# ------------------------------------------------------------------------------------------------ types and faults


def test_types_are_inferred_once_and_stated(folder, caplog):
    Path("a.csv").write_text("i,f,s,t,b,e\n1,1.5,x,2024-01-01,true,\n2,NA,NA,2024-01-02,false,\n")
    Path("b.csv").write_text("f,i,s,t,b,e\n2,3,4,2024-01-03,true,now\n")
    with caplog.at_level(logging.INFO, "streamnorm"):
        table = sn.transform(["a.csv", "b.csv"], None, sn.fit(["a.csv", "b.csv"], columns="i")).read_all()
    said = [r for r in caplog.records if r.event == "types"]
    assert {r.file for r in said} == {"a.csv"}
    assert said[0].types == {"i": "int64", "f": "double", "s": "string", "t": "date32[day]", "b": "bool", "e": "string"}
    assert table["f"].to_pylist() == [1.5, None, 2.0]
    assert table["s"].to_pylist() == ["x", "NA", "4"] and table["e"].to_pylist() == ["", "", "now"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.zst"])
def test_a_value_that_does_not_fit_is_named_with_its_place(folder, suffix, monkeypatch):
    monkeypatch.setattr(inputs, "BLOCK", 1 << 12)
    write(f"a.{suffix}")
    bad = TABLE.slice(0, 2000).set_column(2, "n", pa.array([str(k) if k < 1900 else "many" for k in range(2000)]))
    names = [f"a.{suffix}", f"b.{suffix}"]
    if suffix.startswith("csv"):
        with pa.output_stream(names[1], compression=packing(suffix)) as file:
            pa.csv.write_csv(bad, file)
        line = 2 + 1900 + sum(s.count("\n") for s in bad["s"].to_pylist()[:1901])
    else:
        rows = [{**row, "n": k if k < 1900 else "many"} for k, row in enumerate(bad.to_pylist())]
        with pa.output_stream(names[1], compression=packing(suffix)) as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        line = 1901
    for job in (lambda: sn.fit(names), lambda: sn.transform(names, "out.parquet", STATE)):
        with pytest.raises(DataError) as caught:
            job()
        assert f"b.{suffix}: column 'n': line {line}: 'many' is no int64; types come from" in str(caught.value)
        assert caught.value.file == f"b.{suffix}" and caught.value.column == "n"
    assert sorted(os.listdir()) == names


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,y\n1,2\n3\n", "a.csv: line 3 cannot be read as CSV .*Expected 2 columns, got 1"),
        ("a.csv", "", "a.csv: cannot be read as CSV .*[Ee]mpty"),
        ("a.csv", "x\n", "no column to normalize"),
        ("a.jsonl", "", "a.jsonl: is empty"),
        ("a.jsonl", '{"x": 1}\n{"x": \n', "a.jsonl: .*row 1"),
        ("a.jsonl", '{"x": 1}\n' * 2000 + '{"x": \n', "a.jsonl: line 2001 is no JSON"),
        ("a.jsonl", '{"x": 1}\n' * 2000 + '{"y": 1}\n', "column 'y': line 2001 has a field that the first block"),
        ("a.jsonl", '{"x": 1}\n' * 2000 + "[1]\n", "line 2001 is no JSON object"),
        ("a.csv.gz", "x\n1\n", "cannot be read as CSV"),
        ("a.arrow", "x\n1\n", "a.arrow: cannot be read as an Arrow IPC file"),
        ("a.arrows", "x\n1\n", "a.arrows: cannot be read as an Arrow IPC stream"),
    ],
)
def test_what_cannot_be_read(folder, name, text, message, monkeypatch):
    monkeypatch.setattr(inputs, "BLOCK", 1 << 12)
    Path(name).write_text(text)
    with pytest.raises(DataError, match=message):
        sn.fit(name)


def test_bytes_that_are_no_text(folder, monkeypatch):
    monkeypatch.setattr(inputs, "BLOCK", 1 << 12)
    for lines, place in ((0, ""), (2000, "line 2002: ")):
        Path("a.csv").write_bytes(b"x,s\n" + b"1,y\n" * lines + b"1,\xe9\n")
        with pytest.raises(DataError, match=f"a.csv: column 's': {place}holds bytes that are not UTF-8"):
            sn.fit("a.csv")


def test_the_index_of_a_frame_is_no_column_for_a_scaler_that_goes_by_position(folder):
    table = pa.Table.from_pandas(TABLE.select(["x"]).slice(0, 3).to_pandas().set_index([[5, 6, 7]]))
    pq.write_table(table, "a.parquet")
    scaler = sn.fit(np.array([[1.0], [3.0]]))
    assert sn.transform("a.parquet", None, scaler, where="x > 0").read_all().schema.names == table.schema.names


def test_a_cut_file(folder):
    for name, count in (("a.arrow", 100), ("a.arrows", 100), ("a.csv.gz", 9)):
        whole = write(folder / name).read_bytes()
        Path(name).write_bytes(whole[:-count])
        with pytest.raises(DataError, match=f"{name}: cannot be read as"):
            sn.transform(name, "out.parquet", STATE)
        assert not Path("out.parquet").exists()


def test_a_packed_file_of_several_parts(folder):
    Path("a.csv.gz").write_bytes(gzip.compress(b"x\n1\n2\n") + gzip.compress(b"3\n4\n"))
    assert sn.fit("a.csv.gz").mean_ == 2.5


def test_a_byte_order_mark_is_no_part_of_a_name(folder):
    for name, text in (("a.csv", "x\n1\n"), ("a.jsonl", '{"x": 1}')):
        Path(name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert list(sn.fit(name).summary_) == ["x"]


def test_files_that_differ(folder):
    Path("a.csv").write_text("x,y\n1,2\n")
    Path("b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(DataError, match="column 'y': is missing, but a.csv has it"):
        sn.transform(["a.csv", "b.csv"], None, sn.fit("a.csv"))
    assert sn.fit(["a.csv", "b.csv"], columns="x").summary_.rows == 2


def test_an_unfinished_output_leaves_nothing(folder):
    Path("a.csv").write_text("x\n" + "1\n2\n" * 2_000_000 + "no\n")
    for sink in ("o.csv.gz", "o.arrow"):
        with pytest.raises(DataError, match="line 4000002: 'no' is no int64"):
            sn.transform("a.csv", sink, sn.fit(pa.table({"x": [1, 3]})))
        assert os.listdir() == ["a.csv"]


def test_an_existing_target_stays(folder):
    write(folder / "a.csv")
    Path("o.arrow").write_text("mine")
    for job in (sn.normalize, lambda source, sink: sn.transform(source, sink, STATE)):
        with pytest.raises(FileExistsError, match="--overwrite"):
            job("a.csv", "o.arrow")
    assert Path("o.arrow").read_text() == "mine"
    sn.normalize("a.csv", "o.arrow", overwrite=True)
    assert sn.inspect("o.arrow")["scaler"] == "StandardScaler"


def test_text_says_once_that_it_has_no_state(folder, caplog):
    for k in range(2):
        (folder / "in").mkdir(exist_ok=True)
        write(folder / "in" / f"{k}.csv")
    sn.normalize("in", "out/")
    assert [r.format for r in caplog.records if getattr(r, "event", "") == "stateless"] == ["csv"]
    caplog.clear()
    sn.normalize("in", "more/", state="s.json")
    assert not [r for r in caplog.records if getattr(r, "event", "") == "stateless"]


def test_exact_quantiles_and_weights_of_text(folder):
    write(folder / "a.csv")
    exact = sn.fit("a.csv", "robust", exact=True, columns="x")
    assert exact.center_ == sn.fit(TABLE, "robust", exact=True, columns="x").center_
    got = sn.fit("a.csv", sample_weight="n", columns="x")
    np.testing.assert_allclose(got.mean_, sn.fit(TABLE, sample_weight="n", columns="x").mean_, rtol=RTOL)


def test_an_update_counts_parquet_files_alone(folder):
    write(folder / "a.csv")
    write(folder / "a.parquet")
    with pytest.raises(DataError, match="nor other formats"):
        sn.fit("a.csv", update=sn.fit("a.parquet"))


PEAK = """
import resource, sys, streamnorm as sn
import pyarrow.csv, pyarrow.json, pyarrow.compute
sn.normalize("small" + sys.argv[1], "s.parquet", memory="64MB", threads=1, overwrite=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sn.normalize("big" + sys.argv[1], "b.parquet", memory="64MB", threads=1, overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arrows"])
def test_memory_does_not_grow_with_the_file(folder, suffix):
    table = pa.table({"x": np.arange(200_000) + 0.5, "s": ["some text that takes room"] * 200_000})
    write(f"small{suffix}", table)
    if suffix == ".arrows":
        with pa.OSFile("big.arrows", "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            for _ in range(20):
                writer.write_table(table, max_chunksize=50_000)
    else:
        part = Path(f"small{suffix}").read_bytes()
        head = part.index(b"\n") + 1 if suffix == ".csv" else 0
        Path(f"big{suffix}").write_bytes(part + part[head:] * 19)
    env = {**os.environ, "PYTHONPATH": SRC, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run([sys.executable, "-c", PEAK, suffix], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 64e6 < os.path.getsize(f"big{suffix}")
