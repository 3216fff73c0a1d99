"""Statistics in footers: what they prove of every type, whose are trusted, and what contradicts itself."""

import io
import itertools
import random
import struct
from array import array
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import edited

from streamnorm.errors import DataError
from streamnorm.parquet import reference, thrift
from streamnorm.parquet.footer import parse_footer
from streamnorm.parquet.statistics import RowGroupExtrema, leaf_extrema, row_group_extrema
from streamnorm.parquet.thrift import BINARY, BOOL, I32, I64, STRUCT
from streamnorm.scalers._select import numeric_chunk

MR, CPP, RUST, DUCK, POLARS, OURS = (
    b"parquet-mr version 1.12.3 (build f8dced182c4c1fbdec6ccb3185537b5a01e6ed6b)",
    b"parquet-cpp-arrow version 17.0.0",
    b"parquet-rs version 53.0.0",
    b"DuckDB version v1.3.2 (build 0b83e5d2f6)",
    b"Polars (python) version 2.1.0 (build 7f902bd3ff)",
    b"streamnorm version 0.1.0",
)
FUZZ_ROUNDS = 3000
SEED = 20130101


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def prove(data, column=0):
    """What the footer proves of a column, whose type is the one that pyarrow reads."""
    footer = parse_footer(data, "f.parquet")
    kind = pq.read_schema(io.BytesIO(data)).field(footer.fields[column].name).type
    return row_group_extrema(footer, footer.fields[column].first_leaf, kind)


def changed(data, statistics=None, *, meta=None, frame=None, footer=None, element=None, row_group=0, column=0):
    """A file with other statistics in one column chunk; None removes a field, or all of them."""

    def put(target, values):
        for number, value in (values or {}).items():
            if value is None:
                target.pop(number, None)
            else:
                target[number] = value

    def change(top):
        chunk = top[4][1][1][row_group][1][1][1][column]
        put(chunk[3][1][12][1], statistics)
        put(chunk[3][1], meta)
        put(chunk, frame)
        put(top[2][1][1][1 + column], element)
        put(top, footer)

    return edited(data, change)


def double(x):
    return (BINARY, struct.pack("<d", x))


def long(x):
    return (BINARY, struct.pack("<q", x))


FLOATS = parquet(pa.table({"x": pa.array([1.5, None, -2.0, float("nan"), 3.0])}), row_group_size=3)
LONGS = parquet(pa.table({"x": pa.array([7, None, -2, 3])}), row_group_size=4)
ORDERS = 7
CREATED_BY = 6


def written_by(data, name, **changes):
    return changed(data, footer={CREATED_BY: None if name is None else (BINARY, name), **changes})


# ------------------------------------------------------------------------------------------------ types


def spread(low, high, *others):
    return [low, *others, None, high]


INTEGERS = [
    (getattr(pa, f"{sign}int{bits}")(), spread(*ends, 1))
    for bits in (8, 16, 32, 64)
    for sign, ends in (("", (-(1 << bits - 1), (1 << bits - 1) - 1)), ("u", (0, (1 << bits) - 1)))
]
OF_EVERY_TYPE = [
    *INTEGERS,
    (pa.uint64(), [2**63 + 5, 2**63 + 7]),
    (pa.float16(), [np.float16(x) for x in (-65504.0, 2.0**-24, 65504.0)]),
    (pa.float32(), spread(-3.4028234663852886e38, 3.4028234663852886e38, 1.401298464324817e-45)),
    (pa.float64(), spread(-1.7976931348623157e308, 1.7976931348623157e308, 5e-324)),
    (pa.bool_(), spread(False, True)),
    (pa.bool_(), [True, None]),
    (pa.date32(), spread(-719162, 2932896, 0)),
    (pa.time32("ms"), spread(0, 86_399_999)),
    (pa.time64("us"), spread(0, 86_399_999_999)),
    (pa.time64("ns"), spread(0, 86_399_999_999_999)),
    *((pa.timestamp(unit, zone), spread(-(10**15), 10**15)) for unit in ("ms", "us", "ns") for zone in (None, "UTC")),
    *((pa.duration(unit), spread(-5, 10**12)) for unit in ("s", "ms", "us", "ns")),
    *(
        (pa.decimal128(digits, 2), spread(*(Decimal(f"{s}{'9' * (digits - 2)}.99") for s in "-+"), Decimal("-0.01")))
        for digits in (3, 9, 10, 18, 19, 38)
    ),
    (pa.decimal128(5, 0), spread(Decimal(-128), Decimal(127), Decimal(-1))),
    (pa.decimal256(60, 3), spread(Decimal("-1234567890.123"), Decimal("99999999999999999999999999999999999.999"))),
]


def plain(value):
    """A value as the statistics have it: booleans and times are integers."""
    if isinstance(value, Decimal):
        return value
    return float(value) if isinstance(value, float | np.floating) else int(value)


STORED = [(kind, values, False) for kind, values in OF_EVERY_TYPE]
STORED += [
    (kind, values, True)
    for kind, values in OF_EVERY_TYPE
    if pa.types.is_decimal128(kind) and kind.precision <= 18  # as integers of 32 or 64 bits
]


@pytest.mark.parametrize(("kind", "values", "as_integer"), STORED, ids=[f"{c[0]}-{c[2]}" for c in STORED])
def test_extrema_of_every_type(kind, values, as_integer):
    column = pa.array(values, kind)
    data = parquet(pa.table({"x": column}), row_group_size=2, store_decimal_as_integer=as_integer)
    found = prove(data)
    assert len(found) == -(-len(values) // 2)
    for group, start in zip(found, range(0, len(values), 2), strict=True):
        part = values[start : start + 2]
        present = [plain(value) for value in part if value is not None]
        nans = None if pa.types.is_floating(kind) else 0
        expected = (len(part), part.count(None), nans, min(present, default=None), max(present, default=None))
        assert group == RowGroupExtrema(*expected), (kind, start)
        assert type(group.min) is type(expected[3])


@pytest.mark.parametrize(
    ("kind", "version"),
    [(pa.uint32(), "1.0"), (pa.date64(), "2.6"), (pa.timestamp("s"), "2.6"), (pa.int64(), "2.6")],
    ids=str,
)
def test_a_type_that_is_stored_as_another_is_read_by_its_own_rules_or_not_at_all(kind, version):
    data = parquet(pa.table({"x": pa.array([86_400_000, 172_800_000], kind)}), version=version)
    (found,) = prove(data)
    if isinstance(found, str):
        assert "in a way whose statistics are not known" in found
    else:
        read = numeric_chunk(pq.read_table(io.BytesIO(data))["x"].combine_chunks())
        assert [found.min, found.max] == read.to_pylist()


def test_nested_columns_and_dictionaries_are_left_alone():
    data = parquet(pa.table({"s": [{"a": 1}], "l": [[1, 2]]}))
    assert prove(data, 0) == prove(data, 1) == ["nests the column"]
    assert "in a way" in row_group_extrema(parse_footer(LONGS), 0, pa.dictionary(pa.int32(), pa.int64()))[0]


def test_empty_row_groups_and_columns_without_values():
    table = pa.table({"x": pa.array([None, None], pa.float64()), "y": pa.array([None, 4], pa.int8())})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        for rows in (table, table.slice(0, 0), table.slice(0, 1)):
            writer.write_table(rows)
    assert prove(sink.getvalue(), 0) == [(2, 2, 0, None, None), (0, 0, 0, None, None), (1, 1, 0, None, None)]
    assert prove(sink.getvalue(), 1) == [(2, 1, 0, 4, 4), (0, 0, 0, None, None), (1, 1, 0, None, None)]


def test_zeros_of_either_sign():
    (found,) = prove(parquet(pa.table({"x": [0.0, -0.0]})))
    assert (found.min, found.max) == (0.0, 0.0)


def test_required_columns_have_no_nulls():
    schema = pa.schema([pa.field("x", pa.int32(), nullable=False)])
    data = parquet(pa.table({"x": pa.array([1, 2], pa.int32())}, schema=schema))
    assert prove(changed(data, {3: None})) == [(2, 0, 0, 1, 2)]
    assert "number of nulls" in prove(changed(data, {3: (I64, 1)}))[0]


# ------------------------------------------------------------------------------------------------ writers


def write_duckdb(table, path, **options):
    pytest.importorskip("duckdb").from_arrow(table).to_parquet(str(path), **options)


def write_polars(table, path, **options):
    polars = pytest.importorskip("polars")
    polars.from_arrow(table).write_parquet(path, **options)


def write_arrow(table, path, **options):
    pq.write_table(table, path, **options)


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (write_arrow, dict(row_group_size=3000, data_page_size=500, write_batch_size=50)),
        (write_duckdb, dict(row_group_size=2048)),
        (write_polars, dict(row_group_size=3000, data_page_size=500)),
    ],
    ids=["arrow", "duckdb", "polars"],
)
def test_writers_at_hand_are_right_over_many_pages(write, options, tmp_path):
    """What a writer merges out of its pages, where values of one page would be NaN, null or of the other sign."""
    rng = np.random.default_rng(SEED)
    n, found_some = 10_000, set()
    for round_ in range(4):
        floats = rng.standard_normal(n)
        for _ in range(6):
            start = rng.integers(n)
            floats[start : start + rng.integers(1, 900)] = np.nan
        if round_ == 3:
            floats = rng.standard_normal(n)
        gaps = rng.random(n) < rng.random()
        decimals = [Decimal(int(i)) for i in rng.integers(-(10**6), 10**6, n)]
        table = pa.table(
            {
                "f8": pa.array(floats),
                "f4": pa.array(floats.astype(np.float32), mask=gaps),
                "i8": pa.array(rng.integers(-(2**63), 2**63 - 1, n), mask=gaps),
                "i1": pa.array(rng.integers(-128, 127, n).astype(np.int8)),
                "u8": pa.array(rng.integers(0, 2**64 - 1, n, np.uint64) >> np.uint64(round_ % 2)),
                "u4": pa.array((rng.permutation(2**20)[:n] * 4099 % 2**32).astype(np.uint32)),
                "wide": pa.array(decimals, pa.decimal128(30, 0)),
                "narrow": pa.array(decimals, pa.decimal128(12, 0)),
                "flag": pa.array(rng.random(n) < 0.5),
                "day": pa.array(rng.integers(-1000, 1000, n).astype(np.int32)).cast(pa.date32()),
                "time": pa.array(rng.integers(-1000, 1000, n)).cast(pa.timestamp("us")),
            }
        )
        path = tmp_path / "t.parquet"
        write(table, path, **options)
        data, file = path.read_bytes(), pq.ParquetFile(path)
        for at, name in enumerate(file.schema_arrow.names):
            for group, found in enumerate(prove(data, at)):
                if isinstance(found, str):
                    assert found in ("has no minimum and maximum", "has a NaN for a bound"), name
                    continue
                column = file.read_row_group(group, [name])[name]
                kind = column.type
                if pa.types.is_temporal(kind):
                    column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
                values = [v for v in column.to_pylist() if v is not None and v == v]
                assert (found.min, found.max) == (min(values), max(values)), (name, group)
                assert found.null_count == column.null_count and found.rows == len(column)
                found_some.add(name)
    assert found_some == set(table.column_names)


def order(footer_field):
    return {ORDERS: footer_field}


@pytest.mark.parametrize("data", [FLOATS, LONGS], ids=["floats", "integers"])
@pytest.mark.parametrize("writer", [MR, CPP, RUST, DUCK, POLARS])
def test_trusted_writers(data, writer):
    assert all(isinstance(found, RowGroupExtrema) for found in prove(written_by(data, writer)))


UNTRUSTED = [
    None, b"", b"parquet-mr", b"parquet-mr (build 32c46643845ea8a705c35d4ec8fc654cc8ff816d)",
    b"parquet-mr version 1.10.0-SNAPSHOT (build 1)", b"parquet-mr version 1.9.0", b"parquet-cpp version 1.5.1-SNAPSHOT",
    b"parquet-cpp-arrow version 1.0.0", b"parquet-rs version 4.0.0", b"parquet-rs version 49.0.0", b"DuckDB",
    b"DuckDB version v1.1.3 (build 1)", b"Polars", b"Polars (python) version 2.0.0", b"streamnorm version 0.1.0",
    b"impala version 4.0.0 (build 1)", b"fastparquet-python version 2024.11.0 (build 0)", b"cudf", b"hyparquet",
    b"github.com/parquet-go/parquet-go version 0.25.0(build 1)", b"ClickHouse v25.6.1", b"Arrow2 - Native Rust",
    b"parquet-mr-trino version n/a (build n/a)", b"a version 99.0.0 parquet-mr version 1.12.3", b"\xff\xfe",
    b"parquet-mr version 99999999999999999999.1.1", b"parquet-mr version 1.12",
]  # fmt: skip


@pytest.mark.parametrize("writer", UNTRUSTED, ids=repr)
def test_untrusted_writers(writer):
    for found in prove(written_by(FLOATS, writer)):
        assert isinstance(found, str), "one more way than the file has would be trusted"
    if writer is None or b"parquet-mr" not in writer:
        assert all(isinstance(found, str) for found in prove(written_by(LONGS, writer)))


def test_what_a_version_was_wrong_about_is_not_trusted_before():
    wide = parquet(pa.table({"x": pa.array([Decimal(-1), Decimal(1)], pa.decimal128(20, 0))}))
    half = parquet(pa.table({"x": pa.array([np.float16(1)])}))
    assert "not trusted" in prove(written_by(wide, b"parquet-cpp-arrow version 3.0.0"))[0]
    assert prove(written_by(wide, b"parquet-cpp-arrow version 4.0.0")) == [(2, 0, 0, -1, 1)]
    assert prove(written_by(half, MR)) == ["has no number of NaN"]
    assert prove(written_by(half, CPP)) == [(1, 0, None, 1.0, 1.0)]
    numbers = changed(wide, meta={1: (I32, 6)}, element={1: (I32, 6), 2: None})  # the same, of variable length
    assert "not trusted" in prove(numbers)[0]
    assert prove(written_by(numbers, MR)) == [(2, 0, 0, -1, 1)]
    padded = changed(numbers, {5: (BINARY, bytes(64) + b"\1")}, footer={CREATED_BY: (BINARY, MR)})
    assert "wrong width" in prove(padded)[0]


def test_files_that_were_put_together_from_others_are_not_trusted():
    pairs = (12, [{1: (BINARY, b"original.created.by"), 2: (BINARY, b"parquet-cpp version 1.3")}])
    data = changed(LONGS, footer={CREATED_BY: (BINARY, MR), 5: (9, pairs)})
    assert "files of others" in prove(data)[0]


def test_a_count_of_nan_vouches_for_the_bounds():
    with_count = changed(FLOATS, {9: (I64, 0)})
    with_count = changed(with_count, {9: (I64, 1)}, row_group=1)
    expected = [(3, 1, 0, -2.0, 1.5), (2, 0, 1, 3.0, 3.0)]
    assert prove(with_count) == expected
    assert prove(written_by(with_count, OURS)) == expected
    assert isinstance(prove(written_by(with_count, b"nobody"))[0], str)
    total = changed(with_count, footer=order((9, (12, [{2: (STRUCT, {})}]))))
    assert prove(total) == expected
    all_nan = changed(total, {9: (I64, 2), 5: double(float("nan")), 6: double(float("nan"))}, row_group=1)
    assert prove(all_nan)[1] == (2, 0, 2, None, None)
    without = {9: (I64, 2), 5: None, 6: None, 1: None, 2: None}
    assert prove(changed(total, without, row_group=1))[1] == (2, 0, 2, None, None)


@pytest.mark.parametrize("writer", [MR, CPP, RUST, POLARS, OURS])
def test_undeclared_orders(writer):
    for data in (FLOATS, LONGS):
        found = prove(changed(data, footer={ORDERS: None, CREATED_BY: (BINARY, writer)}))
        assert all(isinstance(one, str) for one in found)


def test_duckdb_meant_the_order_before_it_declared_it():
    for data in (FLOATS, LONGS):
        found = prove(changed(data, footer={ORDERS: None, CREATED_BY: (BINARY, DUCK)}))
        assert all(isinstance(one, RowGroupExtrema) for one in found)
    unsigned = parquet(pa.table({"x": pa.array([1], pa.uint64())}))
    assert "no order" in prove(changed(unsigned, footer={ORDERS: None, CREATED_BY: (BINARY, DUCK)}))[0]


def test_an_order_that_is_not_known_is_none():
    orders = (9, (12, [{7: (STRUCT, {})}]))
    assert "not trusted" in prove(changed(LONGS, footer=order(orders)))[0]
    assert "not trusted" in prove(changed(LONGS, footer=order((9, (12, [{2: (STRUCT, {})}])))))[0]  # one of floats


def test_the_old_pair():
    old = {5: None, 6: None, 1: long(7), 2: long(-2)}
    for writer, trusted in ((b"parquet-mr version 1.8.1 (build 1)", True), (MR, True), (CPP, False), (RUST, False)):
        (found,) = prove(changed(written_by(LONGS, writer), old))
        assert (found == (4, 1, 0, -2, 7)) is trusted, writer
        assert trusted or found == "has statistics of the old kind"
    unsigned = parquet(pa.table({"x": pa.array([7, None, 2, 3], pa.uint64())}))
    assert isinstance(prove(changed(written_by(unsigned, b"parquet-mr version 1.8.1"), old))[0], str)
    floats = {5: None, 6: None, 1: double(1.5), 2: double(-2.0)}
    assert isinstance(prove(changed(written_by(FLOATS, b"parquet-mr version 1.8.1"), floats))[0], str)


# ------------------------------------------------------------------------------------------------ contradictions

UNSIGNED = parquet(pa.table({"x": pa.array([1, 200], pa.uint8())}))
BYTES = parquet(pa.table({"x": pa.array([-1, 100], pa.int8())}))
DECIMALS = parquet(pa.table({"x": pa.array([Decimal("-9.99"), Decimal("9.99")], pa.decimal128(3, 2))}))
FLAGS = parquet(pa.table({"x": [True, False]}))
EMPTY = parquet(pa.table({"x": pa.array([None, None], pa.int64())}))

BOUNDS = {1: None, 2: None}
CONTRADICTIONS = {
    "no statistics": (LONGS, {}, dict(meta={12: None}), "has no statistics"),
    "no bounds": (LONGS, {1: None, 2: None, 5: None, 6: None}, {}, "has no minimum and maximum"),
    "no minimum": (LONGS, {**BOUNDS, 6: None}, {}, "has no minimum and maximum"),
    "no null count": (LONGS, {3: None}, {}, "has no number of nulls"),
    "negative null count": (LONGS, {3: (I64, -1)}, {}, "number of nulls"),
    "too many nulls": (LONGS, {3: (I64, 5)}, {}, "number of nulls"),
    "huge null count": (LONGS, {3: (I64, 2**62)}, {}, "number of nulls"),
    "nulls alone": (LONGS, {3: (I64, 4)}, {}, "of no values"),
    "values of no rows": (EMPTY, {5: long(1)}, {}, "of no values"),
    "not exact above": (LONGS, {7: (BOOL, False)}, {}, "not exact"),
    "not exact below": (LONGS, {8: (BOOL, False)}, {}, "not exact"),
    "swapped": (LONGS, {5: long(-2), 6: long(7)}, {}, "a minimum above the maximum"),
    "swapped floats": (FLOATS, {5: double(-2.0), 6: double(1.5)}, {}, "a minimum above the maximum"),
    "narrow": (LONGS, {5: (BINARY, b"\1\0\0\0")}, {}, "wrong width"),
    "wide": (LONGS, {5: (BINARY, b"\1" + bytes(8))}, {}, "wrong width"),
    "no bytes": (LONGS, {6: (BINARY, b"")}, {}, "wrong width"),
    "narrow float": (FLOATS, {5: (BINARY, struct.pack("<f", 1.5))}, {}, "wrong width"),
    "int8 of 300": (BYTES, {5: (BINARY, struct.pack("<i", 300))}, {}, "beyond its type"),
    "int8 of -129": (BYTES, {6: (BINARY, struct.pack("<i", -129))}, {}, "beyond its type"),
    "uint8 of 256": (UNSIGNED, {5: (BINARY, struct.pack("<i", 256))}, {}, "beyond its type"),
    "uint8 of -1": (UNSIGNED, {5: (BINARY, struct.pack("<i", -1))}, {}, "beyond its type"),
    "bool of 2": (FLAGS, {5: (BINARY, b"\2")}, {}, "beyond its type"),
    "decimal of too many digits": (DECIMALS, {5: (BINARY, (1000).to_bytes(2, "big"))}, {}, "beyond its type"),
    "decimal below": (DECIMALS, {6: (BINARY, (-1000).to_bytes(2, "big", signed=True))}, {}, "beyond its type"),
    "decimal too wide": (DECIMALS, {5: (BINARY, bytes(100) + b"\1")}, {}, "wrong width"),
    "NaN above": (FLOATS, {5: double(float("nan"))}, {}, "a NaN for a bound"),
    "NaN below": (FLOATS, {6: double(float("nan"))}, {}, "a NaN for a bound"),
    "infinity": (FLOATS, {5: double(float("inf"))}, {}, "an infinite bound"),
    "negative NaN count": (FLOATS, {9: (I64, -1)}, {}, "number of NaN"),
    "very negative NaN count": (FLOATS, {9: (I64, -7)}, {}, "number of NaN"),
    "too many NaN": (FLOATS, {9: (I64, 3)}, {}, "number of NaN"),
    "bounds of NaN alone": (FLOATS, {9: (I64, 2)}, {}, "of no values"),
    "other rows": (LONGS, {}, dict(meta={5: (I64, 5)}), "not that of its rows"),
    "negative values": (LONGS, {}, dict(meta={5: (I64, -4)}), "corrupt metadata"),
    "other type": (LONGS, {}, dict(meta={1: (I32, 1)}), "corrupt metadata"),
    "no metadata": (LONGS, {}, dict(frame={3: None}), "corrupt metadata"),
    "a bound that is a number": (LONGS, {5: (I64, 7)}, {}, "corrupt metadata"),
    "a count that is bytes": (LONGS, {3: (BINARY, b"4")}, {}, "corrupt metadata"),
    "statistics that are a number": (LONGS, {}, dict(meta={12: (I32, 1)}), "corrupt metadata"),
    "encrypted": (LONGS, {}, dict(frame={8: (STRUCT, {})}), "is encrypted"),
    "encrypted metadata": (LONGS, {}, dict(frame={3: None, 9: (BINARY, b"?")}), "is encrypted"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_and_gaps_are_named(case):
    data, statistics, more, reason = CONTRADICTIONS[case]
    assert isinstance(prove(data)[0], RowGroupExtrema)
    found = prove(changed(data, statistics, **more))
    assert isinstance(found[0], str) and reason in found[0], found[0]
    assert all(isinstance(other, RowGroupExtrema) for other in found[1:])


def test_rows_that_do_not_add_up():
    assert prove(changed(LONGS, footer={3: (I64, 5)})) == ["says that it has 5 rows, and its row groups 4"]


def test_a_schema_that_says_two_things():
    footer = parse_footer(changed(UNSIGNED, element={6: (I32, 15)}))  # INT_8 beside an unsigned logical type
    assert "in a way" in row_group_extrema(footer, 0, pa.uint8())[0]
    footer = parse_footer(changed(UNSIGNED, element={10: (STRUCT, {10: (BINARY, b"")})}))
    assert "corrupt schema" in row_group_extrema(footer, 0, pa.uint8())[0]
    assert "in a way" in row_group_extrema(parse_footer(LONGS), 0, pa.timestamp("us"))[0]
    assert "in a way" in row_group_extrema(parse_footer(LONGS), 0, pa.decimal128(5, 2))[0]


# ------------------------------------------------------------------------------------------------ the reader


def frames(footer):
    return array("I", [chunks[0] for chunks in footer._chunks])


def test_the_reader_agrees_with_its_twin():
    for data in [FLOATS, LONGS, DECIMALS, EMPTY, *(changed(d, s, **more) for d, s, more, _ in CONTRADICTIONS.values())]:
        footer = parse_footer(data)
        kind = footer.leaves[0].element[1][1]
        ours, theirs = footer.chunk_statistics(0), reference.chunk_statistics(footer._data, frames(footer), kind)
        assert ours == theirs


def test_verdicts_agree_with_their_twin():
    rng, n, seen = random.Random(SEED), 1000, set()
    counts, sizes = (-1, 0, 0, 1, 2, 3), (None, None, 0, 2, 8, 8, 8, 8, 65)
    names = ("required", "floats", "bounds", "old_pair", "uncounted")
    for width, *switches in itertools.product((0, 8), *[(False, True)] * len(names)):
        rules = {**dict(zip(names, switches, strict=True)), "width": width}
        flags = bytearray(rng.choice((0, 4, 12, 12, 28)) | rng.choice((0, 0, 0, 0, 1, 2, 32, 64)) for _ in range(n))
        rows, values, nulls, nans = (array("q", rng.choices(counts[start:], k=n)) for start in (1, 0, 0, 0))
        values = array("q", [row if rng.random() < 0.9 else other for row, other in zip(rows, values, strict=True)])
        low, high = ([None if size is None else bytes(size) for size in rng.choices(sizes, k=n)] for _ in range(2))
        chunks = flags, values, nulls, nans, low, high
        ours, theirs = (module.chunk_verdicts(chunks, rows, **rules) for module in (thrift, reference))
        assert ours == theirs, rules
        seen |= set(ours[0])
    assert seen == set(range(len(thrift.VERDICTS)))
    with pytest.raises(ValueError, match="differ in length"):
        thrift.chunk_verdicts(chunks, rows[1:], **rules)


def mutations(data, rounds, seed=SEED):
    """The bytes with bits flipped, bytes replaced, or cut off."""
    rng = random.Random(seed)
    for round_ in range(rounds):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(broken))
            broken[at] = broken[at] ^ 1 << rng.randrange(8) if round_ % 2 else rng.randrange(256)
        yield bytes(broken[: rng.randrange(len(broken))] if round_ % 5 == 0 else broken)


def test_no_bytes_take_the_reader_down():
    footer = parse_footer(FLOATS)
    start = frames(footer)[0]
    chunk = footer._data[start : thrift.skip_struct(footer._data, start)]
    corrupt = 0
    for broken in mutations(chunk, FUZZ_ROUNDS):
        ours = thrift.chunk_statistics(broken, array("I", [0]), 5)
        corrupt += ours[0][0] == thrift.CORRUPT
        if ours[0][0] != thrift.CORRUPT:  # which it also says where a struct comes twice
            assert ours == reference.chunk_statistics(broken, array("I", [0]), 5), broken.hex()
    assert 0 < corrupt < FUZZ_ROUNDS
    assert thrift.chunk_statistics(b"", array("I", [0, 1, 2**32 - 1]), 5)[0] == bytes([thrift.CORRUPT] * 3)


def test_mutated_footers_give_an_error_or_a_sound_result():
    table = pa.table(
        {
            "f": pa.array([1.5, None, -2.0]),
            "i": pa.array([1, -5, None], pa.int8()),
            "u": pa.array([2**63, 1, 2], pa.uint64()),
            "d": pa.array([Decimal("1.25"), None, Decimal("-3")], pa.decimal128(20, 2)),
            "h": pa.array([np.float16(1), None, np.float16(2)]),
            "t": pa.array([1, 2, 3], pa.timestamp("us")),
            "b": pa.array([True, None, False]),
        }
    )
    data, failed, proved, refused = parquet(table, row_group_size=2), 0, 0, 0
    length = int.from_bytes(data[-8:-4], "little")
    for broken in mutations(data[-8 - length : -8], FUZZ_ROUNDS):
        try:
            footer = parse_footer(b"PAR1" + broken + len(broken).to_bytes(4, "little") + b"PAR1")
        except DataError:
            failed += 1
            continue
        for leaf in range(min(len(footer.leaves), len(table.schema))):
            for found in row_group_extrema(footer, leaf, table.schema.types[leaf]):
                refused += isinstance(found, str)
                if isinstance(found, RowGroupExtrema):
                    proved += 1
                    assert 0 <= found.null_count <= found.rows
                    assert found.min is None or (found.min <= found.max and np.isfinite(float(found.min)))
    assert failed > 100 and proved > 1000 and refused > 100


def test_hostile_statistics_of_hostile_types():
    """Any field of the statistics with any value of any type."""
    rng = random.Random(SEED)
    values = [
        (I64, -(2**63)), (I64, 2**63 - 1), (I64, 0), (I32, -1), (BOOL, False), (BOOL, True), (BINARY, b""), long(-1),
        (BINARY, b"\xff" * 8), (BINARY, bytes(70_000)), (BINARY, b"\x80"), double(float("inf")), double(float("nan")),
        (STRUCT, {}), (9, (8, [b"x"])), (7, 1.5), (3, 5), None,
    ]  # fmt: skip
    for data in (FLOATS, LONGS, UNSIGNED, DECIMALS, FLAGS):
        for _ in range(200):
            statistics = {rng.randint(1, 10): rng.choice(values) for _ in range(rng.randint(1, 6))}
            for found in prove(changed(data, statistics)):
                if isinstance(found, RowGroupExtrema):
                    assert 0 <= found.null_count <= found.rows
                    assert found.min is None or found.min <= found.max


def test_thousands_of_row_groups_are_read_in_arrays():
    data = parquet(pa.table({"x": np.arange(3000.0)}), row_group_size=1)
    found = leaf_extrema(parse_footer(data), 0, pa.float64())
    assert found.low == found.high == list(map(float, range(3000))) and not found.reasons
