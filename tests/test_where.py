"""Row filters: the grammar, SQL's logic of three values, and what is not read because a filter rules it out."""

import datetime
import decimal
import logging
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamnorm as sn
from streamnorm.errors import DataError, NotMergeableError
from streamnorm.row_filter import RowFilter
from streamnorm.where import parse

ROWS = 600
GROUP = 50
RTOL = 1e-12


def make_table() -> pa.Table:
    rng = np.random.default_rng(7)
    numbers = np.sort(rng.integers(-100, 100, ROWS))
    start = datetime.datetime(2024, 1, 1)
    return pa.table(
        {
            "i": pa.array([None if k % 13 == 0 else int(n) for k, n in enumerate(numbers)], pa.int8()),
            "u": pa.array(rng.integers(0, 9, ROWS), pa.uint64()),
            "f": pa.array([None if k % 17 == 0 else float(x) for k, x in enumerate(rng.normal(0, 50, ROWS))]),
            "h": pa.array(np.round(rng.normal(0, 50, ROWS), 1), pa.float32()),
            "d": pa.array([decimal.Decimal(int(n)) / 4 for n in numbers], pa.decimal128(9, 2)),
            "s": pa.array([None if k % 11 == 0 else "abcde"[k % 5] for k in range(ROWS)]),
            "b": pa.array([None if k % 7 == 0 else bool(k % 3) for k in range(ROWS)]),
            "t": pa.array([start + datetime.timedelta(hours=k) for k in range(ROWS)], pa.timestamp("us")),
            "day": pa.array([datetime.date(2024, 1, 1) + datetime.timedelta(days=k // 20) for k in range(ROWS)]),
            "row": pa.array(range(ROWS), pa.int32()),
        }
    )


TABLE = make_table()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("where") / "rows.parquet"
    pq.write_table(TABLE, path, row_group_size=GROUP)
    return path


def kept(source, where):
    scaler = sn.fit(TABLE, columns="row")
    return sn.inverse(source, None, scaler, where=where).read_all().drop_columns("row").num_rows


def rows_of(table, where):
    rows = RowFilter(parse(where), table.schema)
    return [n for batch in table.to_batches() for n in rows.rows_of(batch)["row"].to_pylist()]


def duck(where):
    with duckdb.connect() as connection:
        connection.register("data", TABLE)
        found = connection.sql(f'select "row" from data where {where} order by "row"')
        return [n for (n,) in found.fetchall()]


# ------------------------------------------------------------------------------------------------ against DuckDB

comparison = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="])
numeric = st.sampled_from(["i", "u", "f", "d", '"row"'])
number = st.one_of(
    st.integers(-200, 200).map(str),
    st.decimals(-120, 120, places=2).map(str),
    st.sampled_from(["300", "-129", "0.5", "-0.0", "1e3"]),
)
letter = st.sampled_from(["'a'", "'c'", "'zz'", "''", "'it''s'"])
moment = st.sampled_from(["'2024-01-05'", "'2024-01-10 12:30:00'", "'2020-01-01'", "'2030-01-01 00:00:00'"])
date = st.sampled_from(["'2024-01-05'", "'2024-01-20'", "'2020-01-01'"])
simple = st.one_of(
    st.tuples(numeric, comparison, number).map(" ".join),
    st.tuples(number, comparison, numeric).map(" ".join),
    st.tuples(st.sampled_from(["i", '"row"', "f"]), comparison, st.sampled_from(["f", "i"])).map(" ".join),
    st.tuples(numeric, number, number).map(lambda x: f"{x[0]} between {x[1]} and {x[2]}"),
    st.tuples(numeric, st.lists(number, min_size=1, max_size=20)).map(lambda x: f"{x[0]} not in ({', '.join(x[1])})"),
    st.tuples(st.just("s"), comparison, letter).map(" ".join),
    st.lists(letter, min_size=1, max_size=20).map(lambda x: f"s in ({', '.join(x)})"),
    st.tuples(st.just("t"), comparison, moment).map(" ".join),
    st.tuples(st.just('"day"'), comparison, date).map(" ".join),
    st.tuples(st.sampled_from(["i", "s", "b", "f", "t"]), st.sampled_from(["is null", "is not null"])).map(" ".join),
    st.sampled_from(["b", "b = true", "b != false", "not b"]),
)
condition = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "OR"]), inner).map(lambda x: f"({x[0]}) {x[1]} {x[2]}"),
        inner.map(lambda x: f"not ({x})"),
    ),
    max_leaves=6,
)


@given(condition)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rows_are_those_of_duckdb_and_of_a_filter_that_skips_nothing(path, where):
    expected = duck(where)
    assert rows_of(TABLE, where) == expected
    scaler = sn.fit(TABLE, columns="row")
    got = sn.transform(path, None, scaler, where=where).read_all()["row"]
    assert len(got) == len(expected)
    back = np.rint(np.asarray(got) * scaler.scale_[0] + scaler.mean_[0]).astype(int).tolist()
    assert back == expected


@pytest.mark.parametrize(
    "where",
    ["u > 18446744073709551615", "u < 18446744073709551616", "u >= -1", "i != 2.5", "d > 0.001", "d < 1e50",
     "f > -1e-300", "not (i > 1e1000000)", "h = 1.5", "'b' < s", "s > 'b' and not s > 'b'", "i in (1, 2.5, 400)"],
)  # fmt: skip
def test_literals_that_a_type_does_not_hold(where, path):
    got = rows_of(TABLE, where)
    column = where.replace("'b' < s", "s > 'b'").replace("1e1000000", "1e100")
    assert got == duck(column.replace("18446744073709551616", "1e20"))
    assert kept(path, where) == len(got)


def test_not_a_number_is_unlike_everything():
    table = pa.table({"x": [1.0, float("nan"), None, 5.0], "row": [0, 1, 2, 3]})
    assert rows_of(table, "x > 2") == [3]
    assert rows_of(table, "x != 1") == [1, 3]
    assert rows_of(table, "not x > 2") == [0, 1]
    assert rows_of(table, "x is not null") == [0, 1, 3]


def test_row_groups_with_nan_are_not_skipped_where_nan_passes(tmp_path):
    path = tmp_path / "nan.parquet"
    pq.write_table(pa.table({"x": [5.0, float("nan"), 5.0], "row": [0.0, 1.0, 2.0]}), path)
    assert sn.fit(path, where="x != 5", columns="row").summary_.rows == 1
    assert sn.fit(path, where="not x = 5", columns="row").summary_.rows == 1


@pytest.mark.parametrize(
    ("kind", "values", "where", "expected"),
    [
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b", None], "x = 'b'", [1]),
        (pa.large_string(), ["a", "b", None], "x in ('a')", [0]),
        (pa.string_view(), ["a", "b", None], "x > 'a'", [1]),
        (pa.float16(), [np.float16(1), np.float16(2), None], "x > 1.5", [1]),
        (pa.decimal256(40, 1), [decimal.Decimal("1.5"), decimal.Decimal(2), None], "x > 1.75", [1]),
        (pa.timestamp("s", "UTC"), [0, 86400, None], "x >= '1970-01-02'", [1]),
        (pa.timestamp("s", "UTC"), [0, 86400, None], "x < '1970-01-02T01:00:00+02:00'", [0]),
        (pa.time32("s"), [0, 3600, None], "x = '01:00:00'", [1]),
        (pa.list_(pa.int8()), [[1], [2], None], "x is null", [2]),
        (pa.list_view(pa.int8()), [[1], [2], None], "x is not null", [0, 1]),
    ],
)
def test_types(kind, values, where, expected):
    table = pa.table({"x": pa.array(values, kind), "row": [0, 1, 2]})
    assert rows_of(table, where) == expected


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "where is empty"),
        ("i >", "at its end: expected the name of a column or a literal"),
        ("i > 5 and", "at its end"),
        ("(i > 5", "expected a closing parenthesis"),
        ("i > 5)", r"position 6 .*expected and, or, or the end"),
        ("i = null", "write 'is null'"),
        ("i ~ 5", r"position 3 \('~ 5'\)"),
        ("s = 'a", "the string does not end"),
        ('"s = 5', "the name does not end"),
        ("ii > 5", "there is no column 'ii': did you mean 'i'"),
        ("5 > 6", "compares two literals"),
        ("s > 5", "holds string: compare it with a string in single quotes"),
        ("i > 'a'", "column 'i' holds int8: compare it with a number"),
        ("i > true", "true and false are no such values"),
        ("b > true", "have no order"),
        ("t > 'yesterday'", r"'yesterday' is no timestamp\[us\], which is written as in '2024-01-31'"),
        ("i", "stands alone only if it holds true and false"),
        ("i between 1 or 2", "expected and"),
        ("i in 5", "expected a list in parentheses"),
        ("i in ()", "expected a number"),
        ("s = i", r"columns 's' \(string\) and 'i' \(int8\) cannot be compared"),
        ("(" * 60 + "i > 5" + ")" * 60, "nested more than 50 deep"),
        ("__import__('os')", "expected a comparison"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(where, message):
    with pytest.raises(DataError, match=message):
        sn.fit(TABLE, where=where, columns="row")


def test_long_conditions_need_no_deep_stack():
    assert rows_of(TABLE, " or ".join(f"row = {n}" for n in range(5000))) == list(range(ROWS))
    assert rows_of(TABLE, "not " * 4001 + "row > 3") == [0, 1, 2, 3]


def test_names_in_double_quotes():
    table = pa.table({'a "b" c': [1, 2], "in": [3, 4], "row": [0, 1]})
    assert rows_of(table, '"a ""b"" c" > 1 and "in" = 4') == [1]


def test_where_must_be_a_string():
    with pytest.raises(TypeError, match="must be a str"):
        sn.fit(TABLE, where=5)


# ------------------------------------------------------------------------------------------------ in jobs


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
def test_a_fit_sees_the_rows_that_pass_alone(path, method):
    want = sn.fit(TABLE.filter(pa.compute.field("row") >= 333), method, columns=["f", "i"])
    for threads in (1, 3):
        got = sn.fit(path, method, where="row >= 333", columns=["f", "i"], threads=threads)
        assert got.summary_.rows == ROWS - 333
        assert got.digest() == want.digest()
    assert sn.fit(TABLE, method, where="row >= 333", columns=["f", "i"]).digest() == want.digest()


def test_minima_do_not_come_from_the_footer_then(path):
    assert sn.fit(path, "minmax", where="row > 100 and row < 104", columns="row").data_min_.tolist() == [101]


def test_exact_and_weighted(path):
    some = TABLE.filter(pa.compute.field("row") < 200)
    want = sn.fit(some, "robust", columns="f", exact=True)
    got = sn.fit(path, "robust", where="row < 200", columns="f", exact=True)
    assert got.center_ == want.center_ and got.scale_ == want.scale_
    weighted = sn.fit(path, where="row < 200", columns="f", sample_weight="u")
    np.testing.assert_allclose(weighted.mean_, sn.fit(some, columns="f", sample_weight="u").mean_, rtol=RTOL)
    with pytest.raises(DataError, match="pass the name of a column"):
        sn.fit(TABLE, where="row < 200", columns="f", sample_weight=np.ones(ROWS))


def test_rows_that_do_not_pass_are_not_written(path, tmp_path):
    scaler = sn.normalize(path, tmp_path / "n.parquet", where="row >= 550", columns="f")
    assert scaler.summary_.rows == 50
    out = pq.read_table(tmp_path / "n.parquet")
    assert out["row"].to_pylist() == list(range(550, 600))
    assert sn.transform(path, tmp_path / "t.parquet", scaler, where="row < 10") == 10
    assert sn.inverse(tmp_path / "n.parquet", tmp_path / "i.parquet", where="row = 551") == 1
    np.testing.assert_allclose(
        pq.read_table(tmp_path / "i.parquet")["f"].to_numpy(), [TABLE["f"][551].as_py()], rtol=1e-9
    )


def test_no_row_passes(path, tmp_path):
    with pytest.raises(DataError, match="no rows"):
        sn.fit(path, where="row > 5000")
    assert sn.transform(path, tmp_path / "t.parquet", sn.fit(path), where="row > 5000") == 0
    assert pq.read_table(tmp_path / "t.parquet").schema.names == TABLE.schema.names


def damage(path, target, groups, column):
    """The file with the pages of a column overwritten in some row groups."""
    data = bytearray(path.read_bytes())
    footer = pq.read_metadata(path)
    for group in groups:
        chunk = footer.row_group(group).column(footer.schema.names.index(column))
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("where", "read"),
    [
        ("row < 120", {0, 1, 2}),
        ("not row >= 120", {0, 1, 2}),
        ("row = 75 or row in (301, 302)", {1, 6}),
        ("t >= '2024-01-25'", {11}),
        ("\"day\" = '2024-01-01'", {0}),
        ("row between 50 and 99 and f > 0", {1}),
        ("row < 100 and (row > 60 or row is null)", {1}),
    ],
)
def test_row_groups_that_the_statistics_rule_out_are_not_read(path, tmp_path, where, read, caplog):
    groups = set(range(ROWS // GROUP))
    hurt = damage(path, tmp_path / "hurt.parquet", groups - read, "f")
    with caplog.at_level(logging.INFO, "streamnorm"):
        got = sn.fit(hurt, where=where, columns="f")
    assert got.digest() == sn.fit(TABLE, where=where, columns="f").digest()
    assert [r.row_groups for r in caplog.records if r.event == "skipped"] == [len(groups - read)]
    hurt = damage(path, tmp_path / "hurt.parquet", {min(read)}, "f")
    with pytest.raises(DataError, match=f"row group {min(read)}, column 'f': cannot be read"):
        sn.fit(hurt, where=where, columns="f")


def test_columns_that_nothing_needs_are_not_read(path, tmp_path):
    hurt = damage(path, tmp_path / "hurt.parquet", range(ROWS // GROUP), "s")
    assert sn.fit(hurt, where="u > 4", columns="f").summary_.rows == sum(n > 4 for n in TABLE["u"].to_pylist())
    with pytest.raises(DataError, match="column 's'"):
        sn.fit(hurt, where="s = 'a'", columns="f")


def test_a_state_of_filtered_rows_is_not_updated(path, tmp_path):
    scaler = sn.fit(path, where="row < 100", columns="f")
    with pytest.raises(NotMergeableError, match="filtered by where"):
        sn.fit(path, update=scaler)
    with pytest.raises(DataError, match="neither filtered rows"):
        sn.fit(path, update=sn.fit(path, columns="f"), where="row < 100")
    two = sn.merge([scaler, sn.fit(path, where="row >= 100", columns="f")])
    np.testing.assert_allclose(two.mean_, sn.fit(path, columns="f").mean_, rtol=RTOL)


def test_no_large_library_is_loaded_for_it(path):
    code = (
        "import sys, streamnorm as sn; sn.fit(sys.argv[1], where='row < 70', columns='f');"
        "assert 'pyarrow.dataset' not in sys.modules and 'pyarrow.acero' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(sn.__file__).resolve().parents[1])}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=env)


def test_arrays_have_no_names():
    with pytest.raises(DataError, match="an array's have none"):
        sn.fit(np.ones((3, 2)), where="x0 > 1")


def test_sources_in_memory_that_are_read_once(tmp_path):
    reader = TABLE.to_reader(max_chunksize=64)
    assert sn.fit(reader, where="row < 70", columns="f").summary_.rows == 70
    batches = iter(TABLE.to_batches(max_chunksize=64))
    assert sn.transform(batches, tmp_path / "o.parquet", sn.fit(TABLE, columns="f"), where="row < 70") == 70
    with pytest.raises(DataError, match="--spool"):
        sn.normalize(TABLE.to_reader(), tmp_path / "p.parquet", where="row < 70", columns="f")
    spooled = sn.normalize(TABLE.to_reader(), tmp_path / "p.parquet", where="row < 70", columns="f", spool=True)
    assert spooled.summary_.rows == 70 and pq.read_metadata(tmp_path / "p.parquet").num_rows == 70
