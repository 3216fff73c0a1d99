"""Parquet files that the engine's tests read: real ones, rich ones and damaged ones."""

import datetime
import hashlib
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamnorm.parquet import thrift

FLIGHTS = Path(__file__).parents[2] / "examples" / "data" / "flights.parquet"
FLIGHTS_ROWS = 59_096
SEED = 20130101


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def listing(folder):
    """Every name in a folder, hidden ones included, with the bytes of the files: what a failed run must not change."""
    folder = Path(folder)
    return {str(p.relative_to(folder)): sha256(p) if p.is_file() else None for p in folder.rglob("*")}


def temporaries(folder):
    return sorted(str(p) for p in Path(folder).rglob("*") if "streamnorm-tmp" in p.name)


def numbers(rows=1000, *, seed=SEED, start=0):
    """Two columns of numbers and one of strings; the string is the number of the row."""
    rng = np.random.default_rng([seed, start])
    return pa.table(
        {
            "a": rng.normal(5.0, 3.0, rows),
            "b": rng.integers(-1000, 1000, rows),
            "s": [str(start + i) for i in range(rows)],
        }
    )


def write(path, table, **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def passengers(rows, seed=SEED):
    """Columns of every kind that no scaler touches unasked, with nulls, each with metadata of its own."""
    rng = np.random.default_rng([seed, rows])
    gone = rng.random(rows) < 0.15

    def some(values):
        return [None if g else v for g, v in zip(gone, values, strict=True)]

    day = datetime.date(2013, 1, 1)
    moment = datetime.datetime(2013, 1, 1, 5, 17, 3, 123456, tzinfo=datetime.UTC)
    lists = [[] if i % 5 == 0 else [None if i % 7 == 3 else i, i + 1] for i in range(rows)]
    columns = {
        "string": pa.array(some([f"flight {i} ✈" for i in range(rows)])),
        "large_string": pa.array(some([f"long {i}" for i in range(rows)]), pa.large_string()),
        "binary": pa.array(some([bytes([i % 256]) * (i % 9) for i in range(rows)])),
        "large_binary": pa.array(some([b"\x00" * (i % 3) for i in range(rows)]), pa.large_binary()),
        "fixed": pa.array(some([i.to_bytes(4, "little") for i in range(rows)]), pa.binary(4)),
        "bool": pa.array(some([i % 3 == 0 for i in range(rows)])),
        "zoned": pa.array(
            some([moment + datetime.timedelta(hours=i) for i in range(rows)]), pa.timestamp("us", "America/New_York")
        ),
        "naive_ns": pa.array(some(range(rows)), pa.int64()).cast(pa.timestamp("ns")),
        "date": pa.array(some([day + datetime.timedelta(days=i) for i in range(rows)]), pa.date32()),
        "time": pa.array(some([datetime.time(i % 24, i % 60) for i in range(rows)]), pa.time64("us")),
        "duration": pa.array(some(range(rows)), pa.duration("us")),
        "list": pa.array(some(lists), pa.list_(pa.int64())),
        "list_of_structs": pa.array(
            some([[{"x": i * 1.5, "y": None}] * (i % 3) for i in range(rows)]),
            pa.list_(pa.struct([("x", pa.float64()), ("y", pa.string())])),
        ),
        "struct": pa.array(
            some([{"n": i, "deep": {"v": None if i % 4 == 0 else i / 7}} for i in range(rows)]),
            pa.struct([("n", pa.int32()), ("deep", pa.struct([("v", pa.float64())]))]),
        ),
        "map": pa.array(some([[("k", i), ("l", None)] for i in range(rows)]), pa.map_(pa.string(), pa.int64())),
        "dictionary": pa.array(some([("JFK", "LGA", "EWR")[i % 3] for i in range(rows)])).dictionary_encode(),
        "nothing": pa.nulls(rows),
    }
    fields = [
        pa.field(name, array.type, metadata={b"unit": name.encode(), b"bytes": b"\xc3\xa9"})
        for name, array in columns.items()
    ]
    schema = pa.schema(fields, metadata={b"owner": b"tests", b"empty": b""})
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def fares(rows, seed=SEED):
    """Columns of every kind that is normalized unasked, with nulls and (the floats) NaN."""
    rng = np.random.default_rng([seed, rows, 1])
    gone = rng.random(rows) < 0.1
    value = rng.lognormal(3, 1, rows)
    value[rng.random(rows) < 0.05] = np.nan
    whole = rng.integers(0, 100, rows)
    cents = [None if g else Decimal(int(c)).scaleb(-2) for g, c in zip(gone, whole * 7, strict=True)]
    return pa.table(
        {
            "float64": pa.array(value, mask=gone),
            "float32": pa.array(value.astype(np.float32), mask=gone),
            "float16": pa.array(np.minimum(value, 500).astype(np.float16), mask=gone),
            "full": pa.array(rng.normal(size=rows)),
            **{
                name: pa.array(whole.astype(name), mask=gone)
                for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
            },
            "decimal128": pa.array(cents, pa.decimal128(12, 2)),
            "decimal256": pa.array(cents, pa.decimal256(40, 2)),
        }
    )


def side_by_side(*tables):
    """One table of all columns, with the first one's schema metadata."""
    columns = [column for table in tables for column in table.columns]
    fields = [field for table in tables for field in table.schema]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=tables[0].schema.metadata))


def column_chunk(path, row_group, column):
    """(start, length) of the bytes of a flat column's chunk in one row group."""
    meta = pq.read_metadata(path)
    index = meta.schema.names.index(column)
    chunk = meta.row_group(row_group).column(index)
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    return start, chunk.total_compressed_size


def damage(path, offset, new):
    """Overwrite bytes of a file in place."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(new)


def with_footer(data, footer):
    """The file's bytes with another footer."""
    length = int.from_bytes(data[-8:-4], "little")
    return data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def damaged_footers(data):
    """(name, bytes) of files whose footer is broken in one way each; flips use fixed seeds."""
    length = int.from_bytes(data[-8:-4], "little")
    begin = len(data) - 8 - length
    footer = data[begin:-8]
    yield from ((f"cut to {n} bytes", data[:n]) for n in (1, 3, 4, 7, 8, 11, 12, 13, 100, begin))
    steps = np.linspace(begin + 1, len(data) - 1, 24).astype(int)
    yield from ((f"cut to {n} bytes", data[:n]) for n in steps)
    for n in range(0, length, max(1, length // 40)):
        yield f"footer cut to {n} bytes", with_footer(data, footer[:n])
    yield "footer of zeros", with_footer(data, bytes(length))
    yield "footer of ones", with_footer(data, b"\xff" * length)
    yield "wrong magic at the end", data[:-4] + b"PAR2"
    yield "encrypted footer's magic", data[:-4] + b"PARE"
    yield "wrong magic at the start", b"PK\x03\x04" + data[4:]
    for claim in (0, 1, length - 1, length + 1, len(data), 2**31 - 1, 2**32 - 1):
        yield f"footer length {claim}", data[:-8] + claim.to_bytes(4, "little") + b"PAR1"
    for seed in range(60):
        rng = np.random.default_rng([SEED, seed])
        broken = bytearray(footer)
        for at in rng.integers(0, length, 1 + seed % 4):
            broken[at] ^= 1 << int(rng.integers(8))
        yield f"bits flipped under seed {seed}", with_footer(data, bytes(broken))


def pages_of(path, row_group, column):
    """[(start, header length, body length)] of the pages of a chunk: where damage can be done precisely."""
    start, size = column_chunk(path, row_group, column)
    data = Path(path).read_bytes()
    pages, at = [], start
    while at < start + size:
        header, end = thrift.decode(data, at)
        length = header[3][1]
        pages.append((at, end - at, length))
        at = end + length
    return pages
