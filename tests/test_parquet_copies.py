"""What passes through: chunks encoded by pyarrow, and chunks copied from files of every making."""

import datetime
import decimal
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import add, edited, everyone_reads, read, same

from streamnorm.parquet import (
    ParquetWriter,
    RandomAccess,
    encode_arrow,
    read_footer,
    thrift,
)
from streamnorm.parquet import format as fmt


def many_types(n=300):
    """Every type that pyarrow writes to Parquet, nested ones included."""
    rng = np.random.default_rng(5)

    def holes(values, type=None):
        return pa.array([None if rng.random() < 0.2 else value for value in values], type)

    utc = datetime.UTC
    when = [datetime.datetime(2020, 1, 1, tzinfo=utc) + datetime.timedelta(hours=i) for i in range(n)]
    struct = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64())), pa.field("c", pa.string(), False)])
    deep = [{"a": i, "b": [1.0] * (i % 3), "c": str(i)} for i in range(n)]
    pairs = [[(f"k{j}", j) for j in range(i % 3)] for i in range(n)]
    columns = {
        "i8": holes([i % 100 for i in range(n)], pa.int8()),
        "u64": holes(range(n), pa.uint64()),
        "bool": holes([i % 3 == 0 for i in range(n)]),
        "string": holes([f"text {i % 17}" for i in range(n)]),
        "large": holes([f"text {i}" * 5 for i in range(n)], pa.large_string()),
        "binary": holes([bytes([i % 256]) * 3 for i in range(n)], pa.binary()),
        "fixed": holes([bytes([i % 256]) * 4 for i in range(n)], pa.binary(4)),
        "decimal": holes([decimal.Decimal(i).scaleb(-2) for i in range(n)], pa.decimal128(12, 2)),
        "wide": holes([decimal.Decimal(i) for i in range(n)], pa.decimal256(50, 0)),
        "date": holes([when[i].date() for i in range(n)]),
        "time": holes([when[i].time() for i in range(n)], pa.time64("us")),
        "utc": holes(when, pa.timestamp("us", "UTC")),
        "berlin": holes(when, pa.timestamp("ms", "Europe/Berlin")),
        "nano": holes(range(n), pa.timestamp("ns")),
        "seconds": holes(range(n), pa.timestamp("s")),
        "duration": holes(range(n), pa.duration("s")),
        "dictionary": holes([f"c{i % 5}" for i in range(n)]).dictionary_encode(),
        "null": pa.nulls(n),
        "float": holes([float(i) for i in range(n)], pa.float64()),
        "list": holes([[i] * (i % 4) for i in range(n)], pa.list_(pa.int32())),
        "lists": holes([[[i], None, []] for i in range(n)], pa.large_list(pa.list_(pa.int32()))),
        "sized": holes([[1.0, 2.0] for _ in range(n)], pa.list_(pa.float32(), 2)),
        "struct": holes(deep, struct),
        "structs": holes([deep[:i % 3] for i in range(n)], pa.list_(struct)),
        "map": holes(pairs, pa.map_(pa.string(), pa.int64())),
    }  # fmt: skip
    return pa.table(columns, metadata={"about": "types"})


def copied(source, *, schema=None, reverse=False, row_groups=None):
    """Rewrite a file by copying every chunk; returns the output's bytes."""
    footer = read_footer(source)
    if schema is None:
        schema = pq.read_schema(io.BytesIO(source)) if isinstance(source, bytes) else pq.read_schema(source)
    writer = ParquetWriter(file := io.BytesIO(), schema)
    for index, field in enumerate(footer.fields):
        orders = [footer.column_order(leaf) for leaf in field.leaves]
        writer.use_source_schema(index, field.elements, orders)
    with RandomAccess(source) as access:
        groups = list(range(footer.num_row_groups)) if row_groups is None else row_groups
        outputs = [writer.begin_row_group(footer.row_groups[group].num_rows) for group in groups]
        fields = range(len(footer.fields))
        for index in reversed(fields) if reverse else fields:
            for output, group in zip(outputs, groups, strict=True):
                assert writer.copy_obstacle(index, footer, index, group) is None
                writer.copy_field(output, index, access, footer, index, group)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("codec", ["snappy", "zstd"])
def test_arrow_encoded_columns(codec, tmp_path):
    table = many_types()
    writer = ParquetWriter(file := io.BytesIO(), table.schema, compression=codec)
    groups = [writer.begin_row_group(100) for _ in range(3)]
    for name in reversed(table.column_names):
        for group in reversed(groups):
            part = table[name].slice(100 * group, 100)
            if group == 0:
                writer.append_arrow(group, name, part)
            elif group == 1:
                batches = pa.table([part], schema=pa.schema([table.schema.field(name)])).to_batches(30)
                writer.append_arrow(group, name, iter(batches))
            else:
                writer.append_arrow(group, name, encode_arrow(table.schema.field(name), part.chunk(0), codec))
    writer.close()
    expected = io.BytesIO()
    pq.write_table(table, expected, row_group_size=100, compression=codec)
    # pyarrow itself turns seconds into milliseconds, and a list's "item" into "element"
    assert same(read(file.getvalue()), read(expected.getvalue()))
    meta = pq.read_metadata(file)
    theirs = pq.read_metadata(expected)
    assert meta.schema.equals(theirs.schema)
    for group in range(3):
        for leaf in range(meta.num_columns):
            ours, other = meta.row_group(group).column(leaf), theirs.row_group(group).column(leaf)
            assert ours.statistics == other.statistics and ours.encodings == other.encodings
            assert ours.total_compressed_size == other.total_compressed_size
            assert ours.path_in_schema == other.path_in_schema
    pl = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    plain = table.drop(["wide", "duration", "null", "sized"])
    path = tmp_path / "t.parquet"
    path.write_bytes(file.getvalue())
    (other := tmp_path / "other.parquet").write_bytes(expected.getvalue())
    polars = pl.read_parquet(path, columns=plain.column_names)
    assert polars.equals(pl.read_parquet(other, columns=plain.column_names))
    duck = duckdb.sql(f"select * from '{path}'").to_arrow_table()
    assert duck.equals(duckdb.sql(f"select * from '{other}'").to_arrow_table())


def test_encode_arrow_refuses():
    field = pa.field("x", pa.int64())
    with pytest.raises(ValueError, match="has type int32, expected int64"):
        encode_arrow(field, pa.array([1], pa.int32()))
    batch = pa.record_batch({"x": [1], "y": [2]})
    with pytest.raises(ValueError, match="one column, not 2"):
        encode_arrow(field, [batch])
    assert encode_arrow(field, []).num_rows == 0


@pytest.mark.parametrize("int96", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_copies_of_pyarrow_files(int96, reverse, tmp_path):
    table = many_types().drop(["wide"])  # which polars does not read
    source = io.BytesIO()
    pq.write_table(
        table, source, row_group_size=110, use_deprecated_int96_timestamps=int96, write_page_index=True,
        data_page_size=500, write_batch_size=20, data_page_version="2.0" if reverse else "1.0",
    )  # fmt: skip
    path = tmp_path / "source.parquet"
    path.write_bytes(source.getvalue())
    data = copied(path, reverse=reverse)
    expected = pq.read_table(path)
    assert same(read(data), expected)
    ours, theirs = pq.read_metadata(io.BytesIO(data)), pq.read_metadata(path)
    assert ours.schema.equals(theirs.schema)
    for group in range(theirs.num_row_groups):
        for leaf in range(theirs.num_columns):
            ours_, theirs_ = ours.row_group(group).column(leaf), theirs.row_group(group).column(leaf)
            assert ours_.statistics == theirs_.statistics
            assert ours_.total_compressed_size == theirs_.total_compressed_size
            assert not ours_.has_offset_index and not ours_.has_column_index and theirs_.has_offset_index
    sizes = read_footer(data).chunk(0, 0).metadata
    assert {13, 16} <= set(sizes) or 16 not in read_footer(path).chunk(0, 0).metadata
    polars, duck = everyone_reads(data, tmp_path)
    pl, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    # pyarrow reads INT96 as nanoseconds of no zone, so that is the output's Arrow schema, which polars heeds
    assert polars.equals(pl.from_arrow(expected) if int96 else pl.read_parquet(path))
    assert duck.equals(duckdb.sql(f"select * from '{path}'").to_arrow_table())


def test_copies_of_polars_and_duckdb_files(tmp_path):
    pl, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    # what one of the two does not take
    dropped = [
        "large",
        "fixed",
        "wide",
        "time",
        "berlin",
        "seconds",
        "duration",
        "dictionary",
        "null",
        "sized",
        "map",
    ]
    table = many_types(5000).drop(dropped)
    polars_path, duck_path = tmp_path / "polars.parquet", tmp_path / "duck.parquet"
    pl.from_arrow(table).write_parquet(polars_path, row_group_size=2000)
    duckdb.register("t", table)
    duckdb.sql(f"copy t to '{duck_path}' (format parquet, row_group_size 2048, compression zstd)")
    for path in (polars_path, duck_path):
        data = copied(path)
        assert same(read(data), pq.ParquetFile(path).read())
        polars, duck = everyone_reads(data, tmp_path)
        assert polars.equals(pl.read_parquet(path))
        assert duck.equals(duckdb.sql(f"select * from '{path}'").to_arrow_table())


def test_bloom_filters_are_left_behind(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "bloom.parquet"
    duckdb.sql(f"copy (select (i % 10)::varchar as s from range(5000) t(i)) to '{path}' (format parquet)")
    source = read_footer(path).chunk(0, 0).metadata
    assert fmt.ColumnMetaData.BLOOM_OFFSET in source
    data = copied(path)
    assert not {fmt.ColumnMetaData.BLOOM_OFFSET, fmt.ColumnMetaData.BLOOM_LENGTH} & set(
        read_footer(data).chunk(0, 0).metadata
    )
    (out := tmp_path / "out.parquet").write_bytes(data)
    assert duckdb.sql(f"select count(*) from '{out}' where s = '3'").fetchall() == [(500,)]
    assert duckdb.sql(f"select count(*) from '{out}' where s = 'x'").fetchall() == [(0,)]


def test_copies_larger_than_the_buffer_and_of_single_row_groups(tmp_path):
    rng = np.random.default_rng(6)
    strings = pa.array(rng.integers(0, 9, 400_000)).cast("string")
    table = pa.table({"x": rng.standard_normal(400_000), "s": strings})
    path = tmp_path / "big.parquet"
    pq.write_table(table, path, row_group_size=200_000, use_dictionary=False)
    assert read_footer(path).chunk(0, 0).compressed_size > 1_000_000
    first, second = table[:200_000], table[200_000:]
    assert same(read(copied(path, row_groups=[1, 0, 1])), pa.concat_tables([second, first, second]))


def test_floats_of_our_own_beside_copies_and_arrow_columns(tmp_path):
    source = many_types().select(["string", "struct", "float", "list"])
    path = tmp_path / "in.parquet"
    pq.write_table(source, path, row_group_size=150)
    footer = read_footer(path)
    scaled = pa.compute.divide(source["float"], 2.0)
    expected = source.set_column(2, "float", scaled)
    writer = ParquetWriter(file := io.BytesIO(), expected.schema)
    writer.use_source_schema("string", footer.fields[0].elements)
    writer.use_source_schema("struct", footer.fields[1].elements)
    with open(path, "rb") as raw:
        for group in range(2):
            rows = writer.begin_row_group(150)
            rng = slice(150 * group, 150 * group + 150)
            writer.append_arrow(rows, "list", source["list"][rng])
            encoder = writer.float_encoder("float")
            for part in scaled[rng].chunks:
                add(encoder, part)
            writer.append_pages(rows, "float", encoder.finish())
            for name in ("struct", "string"):
                writer.copy_field(rows, name, raw, footer, footer.field_index(name), group)
    writer.close()
    same_again = io.BytesIO()
    pq.write_table(expected, same_again)
    assert same(read(file.getvalue()), read(same_again.getvalue()))


def test_statistics_whose_meaning_would_change_are_dropped():
    sink = io.BytesIO()
    pq.write_table(pa.table({"i": [1, 2, None], "s": ["a", "b", None]}), sink)

    def deprecated(struct):
        for frame in struct[4][1][1][0][1][1][1]:
            statistics = frame[3][1][12][1]
            statistics[1] = statistics[2] = (thrift.BINARY, b"a" * 8)

    source = edited(sink.getvalue(), deprecated)
    unordered = edited(source, lambda struct: struct.pop(7))

    def kept(data, leaf):
        return set(read_footer(data).chunk(0, leaf).metadata[12][1])

    with_order, without = copied(source), copied(unordered)
    assert {1, 2, 3, 5, 6} <= kept(with_order, 0)
    assert {3, 5, 6} <= kept(with_order, 1) and not {1, 2} & kept(with_order, 1)
    assert {1, 2, 3} <= kept(without, 0) and not {5, 6, 7, 8} & kept(without, 0)
    assert not {1, 2, 5, 6, 7, 8} & kept(without, 1) and 3 in kept(without, 1)
    assert read(without).equals(read(sink.getvalue()))


def test_dictionary_offsets_of_zero_mean_none():
    sink = io.BytesIO()
    pq.write_table(pa.table({"i": [1, 2, None]}), sink, use_dictionary=False)

    def zero(struct):
        struct[4][1][1][0][1][1][1][0][3][1][11] = (thrift.I64, 0)

    source = edited(sink.getvalue(), zero)
    data = copied(source, schema=pq.read_schema(sink))
    assert 11 not in read_footer(data).chunk(0, 0).metadata
    assert read(data).equals(read(sink.getvalue()))


def test_copies_that_cannot_be():
    table = pa.table({"i": pa.array([1, 2], pa.int32()), "l": [[1], None]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    source = sink.getvalue()
    footer = read_footer(source)

    def writer(schema):
        out = ParquetWriter(io.BytesIO(), schema)
        return out, out.begin_row_group(2)

    other = pa.schema(
        [pa.field("i", pa.int32(), False), pa.field("l", pa.list_(pa.field("item", pa.int64(), False)))]
    )
    out, group = writer(other)
    for index in range(2):
        assert "another one" in out.copy_obstacle(index, footer, index, 0)
        with pytest.raises(RuntimeError, match="cannot be copied: its Parquet type"):
            out.copy_field(group, index, source, footer, index, 0)
        with pytest.raises(RuntimeError, match="Parquet type"):
            out.copy_chunk(group, index, source, footer, 0, index)
    out, group = ParquetWriter(io.BytesIO(), table.schema), 0
    out.begin_row_group(3)
    with pytest.raises(RuntimeError, match="2 rows of 3"):
        out.copy_field(group, "i", source, footer, 0, 0)
    old = edited(source, lambda s: s.__setitem__(6, (thrift.BINARY, b"parquet-mr version 1.2.0")))
    out, group = writer(table.schema)
    assert "wrong sizes" in out.copy_obstacle("i", read_footer(old), 0, 0)
    with pytest.raises(ValueError, match="is 'l', not 'i'"):
        ParquetWriter(io.BytesIO(), table.schema).use_source_schema("i", footer.fields[1].elements)
    with pytest.raises(ValueError, match="2 column orders"):
        ParquetWriter(io.BytesIO(), table.schema).use_source_schema(
            "i", footer.fields[0].elements, [None] * 2
        )


def test_list_children_may_have_another_name():
    table = pa.table({"l": [[1, 2], None, []]})
    sink = io.BytesIO()
    pq.write_table(table, sink, use_compliant_nested_type=False)
    footer = read_footer(sink.getvalue())
    writer = ParquetWriter(file := io.BytesIO(), table.schema)
    writer.copy_field(writer.begin_row_group(3), "l", sink.getvalue(), footer, 0, 0)
    writer.close()
    assert read(file.getvalue())["l"].to_pylist() == table["l"].to_pylist()
    assert read_footer(file.getvalue()).leaves[0].name == "l.list.element"
