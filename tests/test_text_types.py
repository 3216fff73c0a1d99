"""Types of columns of text that are given by hand, and what scalers' own fit takes of a job's arguments."""

import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm.cli import cli
from streamnorm.errors import DataError

TYPES = {"a": "float32", "code": "string", "price": "decimal(10, 2)", "day": "date32"}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "t.csv").write_text("a,code,price,day,b\n1,007,1.10,2024-01-02,3\n2,008,2.20,2024-01-03,5\n")
    (tmp_path / "t.jsonl").write_text(
        '{"a":1,"code":"007","price":"1.10","day":"2024-01-02","b":3}\n'
        '{"a":2,"code":"008","price":"2.20","day":"2024-01-03","b":5}\n'
    )
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_types_that_are_given_hold(text, suffix):
    types = TYPES if suffix == "csv" else {**TYPES, "day": "string"}
    out = text / "o.parquet"
    scaler = sn.normalize(text / f"t.{suffix}", out, types=types)
    assert list(scaler.summary_) == ["a", "price", "b"]
    assert scaler.summary_["price"].min == decimal.Decimal("1.10")
    read = pq.read_table(out)
    assert read.schema.field("a").type == pa.float32() and read["code"].to_pylist() == ["007", "008"]
    assert sn.fit(text / f"t.{suffix}", types={"b": pa.int8()}).summary_["b"].min == 3


def test_a_type_decides_where_the_first_block_does_not(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,1\n" * 1_200_000 + "1,2.5\n")
    with pytest.raises(DataError, match=r"'b': line 1200002: '2.5' is no int64"):
        sn.fit(tmp_path / "t.csv")
    assert sn.fit(tmp_path / "t.csv", types={"b": "float64"}).summary_["b"].max == 2.5


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_types_that_cannot_be(text, suffix):
    with pytest.raises(DataError, match=r"column 'cod': types has it, .* did you mean 'code'"):
        sn.fit(text / f"t.{suffix}", types={"cod": "string"})
    with pytest.raises(ValueError, match="'strng', given for column 'code', is no type"):
        sn.fit(text / f"t.{suffix}", types={"code": "strng"})
    with pytest.raises(DataError, match="no float|cannot be read"):
        sn.fit(text / f"t.{suffix}", types={"day": "float32"})


def test_types_are_for_text(tmp_path):
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", pa.table({"a": [1.0]})):
        with pytest.raises(DataError, match="types are for CSV and JSON lines"):
            sn.fit(source, types={"a": "float32"})


def test_the_option(text, capsys):
    def run(*types, code):
        with pytest.raises(SystemExit) as ended:
            cli.main(["fit", str(text / "t.csv"), "-o", str(text / "s.json"), "--types", *types])
        assert ended.value.code == code
        return capsys.readouterr().err

    assert "'a' is not NAME=TYPE" in run("a", code=2)
    assert "column 'a' is given two types" in run("a=int8,a=int16", code=2)
    assert "'nil', given for column 'a', is no type" in run("a=nil", code=2)
    run("price=decimal(10, 2),code=string", code=0)
    assert list(sn.load(text / "s.json").summary_) == ["a", "price", "b"]


# ------------------------------------------------------------------------------------------------ scalers' own fit


def test_scalers_take_where_format_and_types(text):
    data = pa.table({"x": np.arange(10.0), "zone": ["a", "b"] * 5})
    wanted = sn.StandardScaler().fit(data.filter(pa.compute.equal(data["zone"], "a"))).digest()
    pq.write_table(data, text / "x.parquet")
    pq.write_table(data, text / "x.data")
    for source in (data, text / "x.parquet", str(text / "x.parquet")):
        assert sn.StandardScaler().fit(source, where="zone = 'a'").digest() == wanted
    assert sn.StandardScaler().fit(text / "x.data", where="zone = 'a'", format="parquet").digest() == wanted
    parts = sn.StandardScaler()
    for half in ("x < 5", "x >= 5"):
        parts.partial_fit(data, where=f"zone = 'a' and {half}")
    np.testing.assert_allclose(parts.mean_, [4.0])
    assert parts.summary_.rows == 5
    (text / "t.csv").rename(text / "t.txt")
    assert list(sn.MinMaxScaler().fit(text / "t.txt", format="csv", types=TYPES).summary_) == ["a", "price", "b"]
    with pytest.raises(DataError, match="where speaks of columns by name"):
        sn.StandardScaler().fit(np.ones((3, 2)), where="a > 1")
    with pytest.raises(ValueError, match="format must be one of"):
        sn.StandardScaler().fit(text / "x.data", format="excel")


def test_arguments_of_files_do_not_change_the_fit_of_an_array():
    matrix = np.random.default_rng(0).normal(size=(50, 3))
    assert sn.StandardScaler().fit(matrix, format="csv").digest() == sn.StandardScaler().fit(matrix).digest()
