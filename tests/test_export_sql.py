"""SQL: DuckDB and SQLite run it on hostile tables; what PostgreSQL gets is read."""

import math
import sqlite3

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SCALERS, check, fitted, hostile_table, many_digits

import streamnorm as sn
from streamnorm.export import to_sql
from streamnorm.export.sql import DIALECTS, ULPS

RUN = ("duckdb", "sqlite")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def as_sqlite(value):
    """What a program would store: SQLite has no decimals, and no integers of more than 64 bits."""
    if isinstance(value, int) and value >= 2**63:
        return float(value)
    return value if value is None or isinstance(value, int | str | bytes) else float(value)


def database(dialect, table, name="trips"):
    """A connection to a new database that holds the table."""
    if dialect == "duckdb":
        connection = duckdb.connect()
        connection.register("given", table)
        connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT * FROM given")
        return connection
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE {quoted(name)} ({', '.join(map(quoted, table.column_names))})")
    rows = [tuple(map(as_sqlite, row)) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    connection.executemany(f"INSERT INTO {quoted(name)} VALUES ({', '.join('?' * table.num_columns)})", rows)
    return connection


def run(connection, query):
    """The columns of the result, by name."""
    cursor = connection.execute(query)
    names, rows = [entry[0] for entry in cursor.description], cursor.fetchall()
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def compare(dialect, table, scaler, *, inverse=False):
    mapped = scaler.inverse_transform(table) if inverse else scaler.transform(table)
    expected = mapped.select(list(scaler.summary_))
    found = run(database(dialect, table), to_sql(scaler, "trips", dialect=dialect, inverse=inverse))
    check(expected, found, ULPS, has_nan=dialect != "sqlite")


@pytest.mark.parametrize("dialect", RUN)
@pytest.mark.parametrize("name", SCALERS)
def test_the_same_doubles_as_transform(name, dialect):
    compare(dialect, hostile_table(), fitted(name))


@pytest.mark.parametrize("dialect", RUN)
@pytest.mark.parametrize("name", ["standard", "minmax_clip", "robust", "columns"])
def test_the_same_doubles_as_the_inverse(name, dialect):
    scaler = fitted(name)
    compare(dialect, scaler.transform(hostile_table()), scaler, inverse=True)


numbers = st.floats(allow_nan=False, allow_infinity=False)
COLUMN_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@pytest.mark.parametrize("dialect", RUN)
@given(
    mean=numbers,
    scale=numbers.filter(bool),
    values=st.lists(st.floats(), min_size=1, max_size=5),
    name=COLUMN_NAMES,
    inverse=st.booleans(),
)
def test_any_numbers_and_any_name(dialect, mean, scale, values, name, inverse):
    scaler = sn.StandardScaler.from_statistics([mean], [scale], columns=[name])
    compare(dialect, pa.table({name: values}), scaler, inverse=inverse)


@pytest.mark.parametrize("dialect", RUN)
@given(low=numbers, width=st.floats(1e-300, 1e300), values=st.lists(st.floats(), min_size=1, max_size=5))
def test_clipping_at_any_bounds(dialect, low, width, values):
    high = low + width
    if not (math.isfinite(high - low) and high > low):
        return
    scaler = sn.MinMaxScaler((low, high), clip=True).fit(pa.table({"x": [0.0, 3.0]}))
    compare(dialect, pa.table({"x": values}), scaler)


@pytest.mark.parametrize("scale", [0, 5, 20])
def test_decimals_of_many_digits(scale):
    table = many_digits(scale)
    compare("duckdb", table, sn.MaxAbsScaler().fit(table))


@pytest.mark.parametrize("dialect", RUN)
def test_a_view_normalizes_without_rewriting(dialect):
    table = hostile_table().append_column("id", pa.array(range(60)))
    scaler, name = fitted("standard"), 'all "trips"; --'
    connection = database(dialect, table, name)
    connection.execute(to_sql(scaler, name, dialect=dialect, view=("main", "normal; view"), passthrough="id"))
    found = run(connection, 'SELECT * FROM main."normal; view"')
    assert list(found) == ["id", *scaler.summary_]
    assert found["id"] == list(range(60))
    check(scaler.transform(table).select(list(scaler.summary_)), found, ULPS, has_nan=dialect != "sqlite")
    before = found["plain"]
    connection.execute(f'UPDATE {quoted(name)} SET "plain" = "plain" + 100')
    after = run(connection, 'SELECT "plain" FROM main."normal; view"')["plain"]
    assert min(np.subtract(after, before)) > 50


@pytest.mark.parametrize("dialect", RUN)
def test_a_missing_column_is_an_error_and_not_a_text(dialect):
    scaler = sn.StandardScaler().fit(pa.table({"fare": [1.0, 3.0]}))
    connection = database(dialect, pa.table({"tip": [1.0]}))
    with pytest.raises((duckdb.Error, sqlite3.Error), match="fare"):
        connection.execute(to_sql(scaler, "trips", dialect=dialect)).fetchall()


def test_sqlite_makes_no_zeros_of_texts():
    scaler = sn.StandardScaler().fit(pa.table({"fare": [1.0, 3.0]}))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE trips (fare)")
    connection.executemany("INSERT INTO trips VALUES (?)", [("",), ("abc",), (b"1",), (3,), (2.5,)])
    assert run(connection, to_sql(scaler, "trips", dialect="sqlite"))["fare"] == [None, None, None, 1.0, 0.5]


def test_sqlite_divides_integers_as_reals():
    scaler = sn.MaxAbsScaler().fit(pa.table({"x": pa.array([4, -2])}))
    connection = database("sqlite", pa.table({"x": [1, 3]}))
    assert run(connection, to_sql(scaler, "trips", dialect="sqlite"))["x"] == [0.25, 0.75]


def test_duckdb_reads_a_file_by_its_path(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    table = hostile_table().select(["plain", "nulls"])
    pq.write_table(table, "trips.parquet")
    scaler = sn.StandardScaler().fit(table)
    check(scaler.transform(table), run(duckdb.connect(), to_sql(scaler, "trips.parquet")), ULPS)


# ------------------------------------------------------------------------------------------------ what is written


def test_postgresql_gets_doubles_as_typed_texts():
    scaler = sn.ColumnScaler({"a": sn.MinMaxScaler((-1, 1), clip=True), 'b"': "standard"})
    scaler.fit(pa.table({"a": [0.1, 0.4], 'b"': [-1.5, -2.5]}))
    text = to_sql(scaler, ("public", "trips"), dialect="postgresql", view="normalized", passthrough=["id"])
    y = (
        '(CAST("source"."a" AS double precision) - \'0.1\'::double precision) / '
        "'0.15000000000000002'::double precision + '-1.0'::double precision"
    )
    low, high, nan = (f"'{bound}'::double precision" for bound in ("-1.0", "1.0", "NaN"))
    assert text == (
        'CREATE VIEW "normalized" AS\nSELECT\n  "source"."id" AS "id",\n'
        f"  CASE WHEN {y} < {low} THEN {low} WHEN {y} > {high} AND {y} <> {nan} THEN {high} ELSE {y} END AS \"a\",\n"
        '  (CAST("source"."b""" AS double precision) - \'-2.0\'::double precision) / '
        "'0.5'::double precision AS \"b\"\"\"\n"
        'FROM "public"."trips" AS "source"'
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_number_is_never_a_comment_and_never_a_decimal(dialect):
    scaler = sn.StandardScaler.from_statistics([-0.1], [-3.0], columns=["x"])
    text = to_sql(scaler, "t", dialect=dialect)
    assert "--" not in text
    wanted = {
        "duckdb": "(-0.1e0)",
        "sqlite": "(CAST(-3602879701896397 AS REAL) / 36028797018963968 /* -0.1 */)",
        "postgresql": "'-0.1'::double precision",
    }
    assert wanted[dialect] in text


NAMED = sn.StandardScaler().fit(pa.table({"a": [1.0, 3.0], "A": [1.0, 3.0]}))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_that_no_identifier_can_be(dialect):
    scaler = sn.StandardScaler().fit(pa.table({"a": [1.0, 3.0]}))
    for bad in ("a\0b", "\ud800"):
        with pytest.raises(ValueError, match="rename it"):
            to_sql(scaler, bad, dialect=dialect)
        with pytest.raises(ValueError, match="rename it"):
            to_sql(scaler, "t", dialect=dialect, passthrough=[bad])
    with pytest.raises(ValueError, match="'a' would come out twice"):
        to_sql(scaler, "t", dialect=dialect, passthrough="a")
    with pytest.raises(ValueError, match="parts"):
        to_sql(scaler, ("a", "b", "c", "d"), dialect=dialect)
    for bad in (None, 3, (), ("a", 1), ["a", "b"]):
        with pytest.raises(TypeError, match="table must be a name"):
            to_sql(scaler, bad, dialect=dialect)
    with pytest.raises(TypeError, match="given by its name"):
        to_sql(scaler, "t", dialect=dialect, passthrough=[3])


def test_names_that_one_dialect_cannot_have():
    for dialect in RUN:
        with pytest.raises(ValueError, match="the same as 'a'"):
            to_sql(NAMED, "t", dialect=dialect)
    assert to_sql(NAMED, "t", dialect="postgresql").count('"A"') == 2
    with pytest.raises(ValueError, match="has 64 bytes, PostgreSQL cuts names after 63"):
        to_sql(NAMED, "t", dialect="postgresql", passthrough="ß" * 32)
    for dialect in ("duckdb", "postgresql"):
        with pytest.raises(ValueError, match="'' is no name"):
            to_sql(sn.StandardScaler().fit(pa.table({"a": [1.0]})), "", dialect=dialect)


def test_what_cannot_be_exported():
    with pytest.raises(ValueError, match="dialect must be one of 'duckdb', 'sqlite', 'postgresql', got 'mysql'"):
        to_sql(NAMED, "t", dialect="mysql")
    with pytest.raises(sn.StreamnormError, match="whose columns have none"):
        to_sql(sn.StandardScaler().fit([[1.0], [2.0]]), "t")
    with pytest.raises(sn.NotFittedError):
        to_sql(sn.StandardScaler(), "t")
    with pytest.raises(TypeError, match="a dict cannot be exported"):
        to_sql({}, "t")


NESTED = pa.table(
    {
        "id": [1, 2, 3],
        "v": pa.array([[1.0, 20.0], None, [3.5, None]], pa.list_(pa.float64())),
        "f": pa.array([[0.1, 0.2], [0.5, 7.0], [3.0, -1.0]], pa.list_(pa.float64(), 2)),
        "s": [{"x": 1.5, "in": {"y z": 2}}, None, {"x": 4.0, "in": {"y z": -7}}],
        "w": [[1.0, float("nan"), None], [], None],
        "a.b": [1.0, 2.0, 4.0],
    }
)
PATHS = ["v[*]", "f[*]", "s.x", "s.in.y z", "w", "a.b"]


@pytest.mark.parametrize("scaler", [sn.StandardScaler(), sn.MinMaxScaler(clip=True)], ids=str)
def test_duckdb_looks_inside_of_columns(scaler):
    scaler.fit(NESTED, columns=PATHS)
    connection = database("duckdb", NESTED)
    found = run(connection, to_sql(scaler, "trips", columns=NESTED.schema, passthrough="id"))
    mapped = scaler.transform(NESTED).to_pylist()
    assert found["id"] == [1, 2, 3] and found["a.b"] == [row["a.b"] for row in mapped]
    for name in "vf":
        for i in (0, 1):
            assert found[f"{name}[{i}]"] == [row[name] and row[name][i] for row in mapped]
    assert found["s.x"] == [row["s"] and row["s"]["x"] for row in mapped]
    assert found["s.in.y z"] == [row["s"] and row["s"]["in"]["y z"] for row in mapped]
    nan = found["w"][0][1]
    assert math.isnan(nan) and [found["w"][0][::2], *found["w"][1:]] == [mapped[0]["w"][::2], [], None]
    back = run(connection, to_sql(scaler, "trips", columns=NESTED.column_names, inverse=True))
    assert back["v[0]"] == [row["v"] and row["v"][0] for row in scaler.inverse_transform(NESTED).to_pylist()]


def test_positions_are_told_without_the_columns_but_a_lonely_one():
    scaler = sn.StandardScaler().fit(NESTED, columns=["v[*]"])
    assert '"source"."v"[2]' in to_sql(scaler, "t") and '"source"."v"[2]' in to_sql(scaler, "t", dialect="postgresql")
    named = sn.StandardScaler().fit(pa.table({"v[1]": [1.0, 2.0]}))
    assert run(database("duckdb", pa.table({"v[1]": [1.0, 2.0]})), to_sql(named, "trips")) == {"v[1]": [-1.0, 1.0]}
    inside = sn.StandardScaler().fit(NESTED, columns=["s.in.y z"])
    assert '(("source"."s")."in")."y z"' in to_sql(inside, "t", dialect="postgresql", columns=["s"])


def test_dialects_say_where_they_cannot_look():
    for column in ("s.x", "v[*]", "w"):
        scaler = sn.StandardScaler().fit(NESTED, columns=[column])
        with pytest.raises(sn.StreamnormError, match="SQLite cannot (look|map)"):
            to_sql(scaler, "t", dialect="sqlite", columns=NESTED.schema)
    with pytest.raises(sn.StreamnormError, match="'w' holds lists, which PostgreSQL cannot map"):
        to_sql(scaler, "t", dialect="postgresql")
