"""Files of our own float pages, read back by pyarrow, polars and DuckDB."""

import io
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import FLOATS, add, bits, everyone_reads, floats, read, same, write_floats

from streamnorm.parquet import (
    Compression,
    FloatChunkEncoder,
    ParquetWriter,
    Scratch,
    encode_arrow,
    page_sizes,
    read_footer,
    thrift,
)
from streamnorm.parquet import format as fmt

CODECS = ["snappy", "zstd", "gzip", "brotli", "lz4", "none"]

# -- own pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 2, 63, 64, 65, 1000])
def test_round_trip(dtype, nullable, rows, tmp_path):
    schema = pa.schema([pa.field("x", FLOATS[dtype], nullable), pa.field("y", FLOATS[dtype], nullable)])
    x = floats(dtype, rows, 0.3 if nullable else 0)
    table = pa.table([x, floats(dtype, rows, seed=1)], schema=schema)
    data = write_floats(table, row_group_size=64, encoder={"page_rows": 20})
    assert same(read(data), table)
    assert pq.read_metadata(io.BytesIO(data)).num_row_groups == -(-rows // 64)
    polars, duck = everyone_reads(data, tmp_path)
    wide = pa.float32() if dtype == "f2" else FLOATS[dtype]  # DuckDB has no float16
    for name in "xy":
        expected = bits(table[name].cast(wide))
        assert bits(duck[name].cast(wide)) == expected
        assert bits(polars[name].to_arrow().cast(wide)) == expected


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("dtype", FLOATS)
def test_sliced_bitmaps(offset, dtype):
    array = floats(dtype, 700, 0.2).slice(offset)
    table = pa.table({"x": array})
    assert same(read(write_floats(table, encoder={"page_rows": 101})), table)


@pytest.mark.parametrize("codec", CODECS)
def test_codecs(codec, tmp_path):
    table = pa.table({"x": floats("f8", 5000, 0.1), "y": floats("f4", 5000), "z": np.zeros(5000)})
    schema = pa.schema([table.schema.field(0), pa.field("y", pa.float32(), False), table.schema.field(2)])
    table = table.cast(schema)
    level = {"zstd": 3, "gzip": 2, "brotli": 4, "lz4": 5}.get(codec)
    for compression, at in ((codec, None), (codec.upper(), level)):
        data = write_floats(table, compression=compression, compression_level=at)
        assert same(read(data), table)
        name = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).compression
        assert name == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    polars, duck = everyone_reads(data, tmp_path)
    assert bits(polars["x"].to_arrow()) == bits(duck["x"]) == bits(table["x"])
    assert write_floats(table, compression=None) == write_floats(table, compression="none")


@pytest.mark.parametrize(
    "compression, level, message",
    [
        ("lzo", None, "unknown compression 'lzo'; use one of 'snappy', 'zstd'"),
        (5, None, "unknown compression"),
        ("snappy", 1, "has no levels"),
        (None, 1, "has no levels"),
        ("gzip", 10, "takes levels 1 to 9, not 10"),
        ("brotli", 12, "takes levels 0 to 11"),
        ("zstd", 23, "to 22, not 23"),
        ("lz4", 0, "takes levels 1 to 12"),
        ("zstd", True, "must be an integer"),
        ("zstd", "3", "must be an integer"),
    ],
)
def test_wrong_compression_is_refused_at_once(compression, level, message):
    for make in (
        lambda: Compression.of(compression, level),
        lambda: FloatChunkEncoder("f8", True, compression, level),
        lambda: ParquetWriter(io.BytesIO(), pa.schema([]), compression=compression, compression_level=level),
        lambda: encode_arrow(pa.field("x", pa.int8()), pa.array([1], pa.int8()), compression, level),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_chunking_does_not_show():
    whole = floats("f8", 3000, 0.1)
    parts = pa.chunked_array([whole.slice(at, 300) for at in range(0, 3000, 300)])
    data = [write_floats(pa.table({"x": x}), encoder={"page_rows": 300}) for x in (whole, parts)]
    assert data[0] == data[1]


def test_pages_can_be_written_early():
    table = pa.table({"x": floats("f8", 10_000, 0.1), "y": floats("f4", 10_000)})
    file = io.BytesIO()
    writer = ParquetWriter(file, table.schema)
    group = writer.begin_row_group(10_000)
    for name in table.column_names:
        encoder, held = writer.float_encoder(name, page_rows=500), []
        for start in range(0, 10_000, 1000):
            add(encoder, table[name].chunk(0).slice(start, 1000))
            held.append(encoder.pending_size)
            writer.append_partial(group, name, encoder.take_pages())
            assert encoder.pending_size == 0
        writer.append_pages(group, name, encoder.finish())
        assert 0 < max(held) < 10_000
    writer.close()
    assert same(read(file.getvalue()), table)
    assert file.getvalue() == write_floats(table, encoder={"page_rows": 500})


def test_no_bytes_are_kept_of_what_was_added():
    values, mask = np.arange(100.0), np.full(13, 0xFF, np.uint8)
    for codec, nullable in itertools.product(("none", "snappy"), (True, False)):
        encoder = FloatChunkEncoder("f8", nullable, codec)
        encoder.add(values, mask)
        pages = [bytes(page) for page in encoder._pages]
        values[:], mask[:] = 7, 0
        assert [bytes(page) for page in encoder.take_pages()] == pages
        values[:], mask[:] = np.arange(100), 0xFF


def test_encoders_run_in_parallel_and_share_scratch_in_turn():
    table = pa.table({str(i): floats("f8", 20_000, 0.1, i) for i in range(8)})
    expected = write_floats(table, compression="gzip")
    writer = ParquetWriter(file := io.BytesIO(), table.schema, compression="gzip")
    group, scratch = writer.begin_row_group(20_000), Scratch()

    def encode(column, **options):
        encoder = writer.float_encoder(column, **options)
        add(encoder, table.column(column).chunk(0))
        return encoder.finish()

    with ThreadPoolExecutor(4) as pool:
        chunks = list(pool.map(encode, range(4)))
    chunks += [encode(column, scratch=scratch) for column in range(4, 8)]
    assert 150_000 < scratch.size < 175_000
    for column, chunk in enumerate(chunks):
        writer.append_pages(group, column, chunk)
    writer.close()
    assert file.getvalue() == expected


# -- statistics --------------------------------------------------------------------------------------------


def statistics(values, dtype="f8", validity=None, **options):
    encoder = FloatChunkEncoder(dtype, **options)
    encoder.add(np.array(values, dtype), validity)
    return encoder.finish().metadata[12][1]


@pytest.mark.parametrize("dtype", FLOATS)
def test_statistics_follow_the_format(dtype):
    def extrema(values):
        found = statistics(values, dtype)
        if 5 not in found:
            assert not {6, 7, 8} & set(found)
            return None
        assert found[7] == found[8] == (thrift.BOOL, True)
        # as bytes, to tell zeros apart
        return found[6][1], found[5][1]

    def pair(low, high):
        return tuple(np.array(x, dtype).tobytes() for x in (low, high))

    nan = float("nan")
    assert extrema([1, -2, nan, 3]) == pair(-2, 3)
    assert extrema([nan, nan]) is None
    assert extrema([]) is None
    assert extrema([0.0]) == extrema([-0.0]) == extrema([0.0, -0.0]) == pair(-0.0, 0.0)
    assert extrema([0.0, 5]) == pair(-0.0, 5)
    assert extrema([-5, -0.0]) == pair(-5, 0.0)
    assert extrema([np.inf, nan]) == pair(np.inf, np.inf)
    assert extrema([-np.inf, 1]) == pair(-np.inf, 1)
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    assert extrema([tiny, huge]) == pair(tiny, huge)
    found = statistics([1, nan, nan, 9], dtype, np.array([0b0111], np.uint8))
    assert found[3] == (thrift.I64, 1) and found[9] == (thrift.I64, 2)
    assert statistics([1.0], dtype, statistics=False) == {3: (thrift.I64, 0), 9: (thrift.I64, 0)}


def test_pyarrow_reads_the_statistics():
    table = pa.table({"x": [1.5, None, -2.5, float("nan")], "n": pa.nulls(4, pa.float64())})
    table = table.append_column("h", pa.array(np.array([1, 2, -3, 0], "f2")))
    group = pq.read_metadata(io.BytesIO(write_floats(table))).row_group(0)
    x, n, h = (group.column(i).statistics for i in range(3))
    assert (x.min, x.max, x.null_count, x.has_min_max) == (-2.5, 1.5, 1, True)
    assert (n.has_min_max, n.null_count) == (False, 4)
    assert (h.min, h.max) == (np.array(-3, "f2").tobytes(), np.array(2, "f2").tobytes())


def test_row_groups_are_pruned_rightly(tmp_path):
    pl, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    x = np.repeat([0.0, 1.0, -1.0, np.nan, 5.0], 100)
    x[450] = -0.0
    x[20] = np.nan
    table = pa.table({"x": pa.array(x, mask=np.arange(500) % 10 == 3), "i": np.arange(500.0)})
    path = tmp_path / "t.parquet"
    path.write_bytes(write_floats(table, row_group_size=100))
    mask = np.arange(500) % 10 != 3
    for operator, keep in {
        "= 0": x == 0, "> 0.5": x > 0.5, "< 0": x < 0, ">= 5": x >= 5, "<= -1": x <= -1,
    }.items():  # fmt: skip
        expected = np.flatnonzero(keep & mask).tolist()
        # NaN is larger than everything for DuckDB and polars
        larger = np.flatnonzero((keep | (np.isnan(x) if ">" in operator else False)) & mask).tolist()
        sql, number = f"x {operator}", float(operator.split()[1])
        found = duckdb.sql(f"select i from '{path}' where {sql} order by i").fetchnumpy()["i"].tolist()
        assert found == larger, operator
        predicate = {
            "=": pl.col("x") == number, ">": pl.col("x") > number, "<": pl.col("x") < number,
            ">=": pl.col("x") >= number, "<=": pl.col("x") <= number,
        }[operator.split()[0]]  # fmt: skip
        assert pl.scan_parquet(path).filter(predicate).collect()["i"].to_list() in (larger, expected), (
            operator
        )
        op = {"=": "=="}.get(operator.split()[0], operator.split()[0])
        found = pq.read_table(path, filters=[("x", op, number)])["i"].to_pylist()
        assert found == expected, operator


# -- schema and metadata -----------------------------------------------------------------------------------


def test_schema_and_metadata_survive():
    fields = [
        pa.field("x", pa.float64(), metadata={"unit": "m", "PARQUET:field_id": "7"}),
        pa.field("y", pa.float32(), False),
    ]
    pandas = json.dumps({"index_columns": [], "columns": [{"name": "x"}]})
    schema = pa.schema(fields, metadata={"pandas": pandas, "k": "v"})
    table = pa.table([floats("f8", 10), floats("f4", 10)], schema=schema)
    data = write_floats(table, key_value_metadata={b"streamnorm": b"\x00state"})
    found = pq.ParquetFile(io.BytesIO(data))
    # pyarrow counts every key of the footer as metadata of the schema
    assert same(found.read().replace_schema_metadata(schema.metadata), table)
    assert found.metadata.metadata[b"streamnorm"] == b"\x00state"
    assert found.metadata.metadata[b"pandas"] == pandas.encode()
    assert found.metadata.created_by.startswith("streamnorm version ")
    assert read_footer(data).fields[0].elements[0][9] == (thrift.I32, 7)


def test_key_values_may_be_set_until_close():
    writer = ParquetWriter(file := io.BytesIO(), pa.schema([pa.field("x", pa.float64())]))
    group = writer.begin_row_group(1)
    encoder = writer.float_encoder("x")
    encoder.add(np.ones(1))
    writer.append_pages(group, 0, encoder.finish())
    writer.key_value_metadata[b"late"] = b"yes"
    writer.close()
    assert pq.read_metadata(file).metadata[b"late"] == b"yes"


def test_row_group_fields():
    table = pa.table({"x": floats("f8", 120, 0.1), "y": floats("f4", 120)})
    data = write_floats(table, row_group_size=40, columns=[1, 0], encoder={"page_rows": 15})
    length = int.from_bytes(data[-8:-4], "little")
    groups = thrift.decode_struct(data[-8 - length : -8])[4][1][1]
    for ordinal, group in enumerate(groups):
        assert set(group) == {1, 2, 3, 5, 6, 7}
        metas = [frame[3][1] for frame in group[1][1][1]]
        assert group[2][1] == sum(meta[6][1] for meta in metas)
        assert group[6][1] == sum(meta[7][1] for meta in metas)
        assert group[5][1] == metas[0][9][1]
        assert group[7] == (thrift.I16, ordinal)
        assert metas[1][9][1] < metas[0][9][1]  # y was written first
        for leaf, meta in enumerate(metas):
            pages = list(page_sizes(data, read_footer(data).chunk(ordinal, leaf)))
            assert len(pages) == 3 and meta[13][1][1] == [
                {1: (thrift.I32, fmt.DATA_PAGE), 2: (thrift.I32, fmt.PLAIN), 3: (thrift.I32, 3)}
            ]
            assert meta[6][1] == sum(page.header_size + page.uncompressed_size for page in pages)
            assert meta[7][1] == sum(page.header_size + page.compressed_size for page in pages)


def test_files_of_no_rows_and_no_columns(tmp_path):
    table = pa.table({"x": floats("f8", 0), "s": pa.array([], pa.string())})
    writer = ParquetWriter(file := io.BytesIO(), table.schema)
    group = writer.begin_row_group(0)
    writer.append_arrow(group, "s", table["s"])
    writer.append_pages(group, "x", writer.float_encoder("x").finish())
    writer.close()
    assert same(read(file.getvalue()), table)
    assert pq.read_metadata(file).num_row_groups == 0
    polars, duck = everyone_reads(file.getvalue(), tmp_path)
    assert polars.shape == (0, 2) and duck.num_rows == 0
    ParquetWriter(file := io.BytesIO(), pa.schema([])).close()
    assert read(file.getvalue()).num_columns == 0


def test_short_writes_are_continued():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(memoryview(data)[:1000])

    class Silent(io.BytesIO):
        def write(self, data):
            super().write(data)

    table = pa.table({"x": floats("f8", 100_000)})
    expected = write_floats(table)
    assert write_floats(table, file=Slow()) == write_floats(table, file=Silent()) == expected


# -- misuse ------------------------------------------------------------------------------------------------


def test_encoder_refuses():
    encoder = FloatChunkEncoder("f8", nullable=False)
    for values in (np.zeros(4, "f4"), np.zeros((2, 2)), np.zeros(8)[::2], np.zeros(4, ">f8")):
        with pytest.raises(ValueError, match="contiguous 1-D array of float64"):
            encoder.add(values)
    with pytest.raises(ValueError, match="length is 3"):
        encoder.add(np.zeros(4), length=3)
    with pytest.raises(ValueError, match="cannot hold nulls"):
        encoder.add(np.zeros(4), b"\x07")
    with pytest.raises(ValueError, match="bitmap of 1 bytes"):
        encoder.add(np.zeros(9), b"\xff")
    encoder.add(np.zeros(4), b"\xff")
    encoder.finish()
    with pytest.raises(RuntimeError, match="finished"):
        encoder.add(np.zeros(4))
    with pytest.raises(ValueError, match="float16, float32 or float64"):
        FloatChunkEncoder("i8")
    with pytest.raises(ValueError, match="page_rows"):
        FloatChunkEncoder("f8", page_rows=0)
    unaligned = np.frombuffer(b"x" + np.arange(4.0).tobytes(), np.uint8)[1:].view("f8")
    encoder = FloatChunkEncoder("f8", False, "none")
    encoder.add(unaligned)
    assert bytes(encoder.take_pages()[1]) == np.arange(4.0).tobytes()


def test_writer_refuses():
    schema = pa.schema(
        [pa.field("x", pa.float64()), pa.field("y", pa.float32(), False), pa.field("s", pa.string())]
    )
    writer = ParquetWriter(io.BytesIO(), schema)
    group = writer.begin_row_group(4)

    def chunk(dtype="f8", nullable=True, rows=4):
        encoder = FloatChunkEncoder(dtype, nullable)
        encoder.add(np.ones(rows, dtype))
        return encoder.finish()

    def refused(message, call, *arguments):
        with pytest.raises(RuntimeError, match=message):
            call(*arguments)

    refused("'x' has 5 rows, its row group 4", writer.append_pages, group, "x", chunk(rows=5))
    refused("not of the schema's type", writer.append_pages, group, "x", chunk("f4"))
    refused("not of the schema's type", writer.append_pages, group, "s", chunk())
    refused("definition levels", writer.append_pages, group, "y", chunk("f4"))
    refused("definition levels", writer.append_pages, group, "x", chunk(nullable=False))
    refused("3 rows of 4", writer.append_arrow, group, "s", pa.array(["a"] * 3))
    refused(
        "another schema", writer.append_arrow, group, "s", encode_arrow(schema.field(0), pa.array([1.0] * 4))
    )
    refused("schema is fixed", writer.use_source_schema, "s", [])
    refused("'x' was not written .3 chunks", writer.close)
    taken = chunk()
    taken.pages.pop()
    refused("pages are missing", writer.append_pages, group, "x", taken)
    writer = ParquetWriter(io.BytesIO(), schema)
    group = writer.begin_row_group(4)
    writer.append_partial(group, "x", [])
    for call, *arguments in (
        (writer.append_arrow, group, "s", pa.array(["a"] * 4)),
        (writer.append_partial, group, "y", []),
        (writer.begin_row_group, 1),
        (writer.close,),
    ):
        refused("column 'x' is not finished", call, *arguments)
    writer.append_pages(group, "x", chunk())
    refused("'x' was written before", writer.append_pages, group, "x", chunk())
    writer.append_arrow(group, "s", pa.array(["a"] * 4))
    refused("'s' was written before", writer.append_arrow, group, "s", pa.array(["a"] * 4))
    writer.append_pages(group, "y", chunk("f4", False))
    writer.close()
    refused("closed", writer.close)
    with pytest.raises(ValueError):
        ParquetWriter(io.BytesIO(), schema).begin_row_group(-1)
    for name in ("absent", "twice"):
        twice = pa.schema([pa.field("twice", pa.float64())] * 2)
        with pytest.raises(KeyError):
            ParquetWriter(io.BytesIO(), twice).field_index(name)
