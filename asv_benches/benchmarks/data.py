"""The files that the benchmarks read: generated on demand, by name, and kept in ``asv_benches/data/``.

The same name and number of rows give the same values on every machine. Memory stays at a few blocks of a
million rows, except where one row group *is* the file.

Run as a script to make files ahead of time: ``python -m benchmarks.data standard wide --rows 1000000``.
"""

# Design: files are made on demand instead of being shipped (half a gigabyte each) or made by asv's
# setup_cache (which would make them again for every commit). A file appears under its name by rename, so that
# an interrupted run, or two runs at a time, leave no half-written one.

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .peers import files

DEFAULT_ROWS = 10_000_000
ROWS = int(os.environ.get("STREAMNORM_BENCH_ROWS", DEFAULT_ROWS))
QUICK = ROWS < 1_000_000
ROOT = Path(__file__).resolve().parent.parent / "data"

SEED = 20_130_101
BLOCK_ROWS = 1_000_000
NULL_SHARE = 0.05
TINY_GROUP_ROWS = 10

# Five float64, one float64 with nulls, one float32, one int64. "seconds" has the magnitude of Unix seconds,
# "uniform" is negative throughout, "lognormal" has a heavy tail, "small" falls below absolute thresholds:
# each breaks a shortcut that a faster implementation might take.
SCHEMA = pa.schema(
    [
        ("normal", pa.float64()),
        ("seconds", pa.float64()),
        ("lognormal", pa.float64()),
        ("uniform", pa.float64()),
        ("small", pa.float64()),
        ("gappy", pa.float64()),
        ("single", pa.float32()),
        ("integer", pa.int64()),
    ]
)

# The standard columns without nulls, three more, and a target that a network can learn from them.
TARGET = "target"
TRAINING_SCHEMA = pa.schema(
    [field for field in SCHEMA if field.name != "gappy"]
    + [(name, pa.float64()) for name in ("first", "second", "third", TARGET)]
)


def block(index: int, rows: int) -> pa.RecordBatch:
    """Block number `index` of the standard data, `rows` long; the same values whatever was made before."""
    rng = np.random.default_rng([SEED, index])
    gaps = rng.random(rows) < NULL_SHARE
    columns = [
        rng.standard_normal(rows),
        1.7e9 + 86_400 * rng.standard_normal(rows),
        np.exp(rng.standard_normal(rows)),
        -1000 * rng.random(rows),
        1e-13 * rng.standard_normal(rows),
        pa.array(50 + 9 * rng.standard_normal(rows), mask=gaps),
        (3 + rng.standard_normal(rows)).astype(np.float32),
        rng.integers(0, 1000, rows),
    ]
    return pa.record_batch([pa.array(column) for column in columns], schema=SCHEMA)


def _training_block(index: int, rows: int) -> pa.RecordBatch:
    """The same with three more columns and the target, and without the one that has nulls."""
    whole, rng = block(index, rows), np.random.default_rng([SEED, index, 1])
    more = list(rng.standard_normal((3, rows)))
    bent = np.abs(whole["normal"].to_numpy()) + np.log(whole["lognormal"].to_numpy()) * more[0]
    target = 40 + 20 * bent + 5 * more[1] + 2 * rng.standard_normal(rows)
    kept = [whole[name] for name in SCHEMA.names if name != "gappy"]
    return pa.record_batch([*kept, *map(pa.array, [*more, target])], schema=TRAINING_SCHEMA)


def group_rows(rows: int) -> int:
    """Rows of a row group of the standard file: a million, or a tenth of a file of less than ten million."""
    return min(BLOCK_ROWS, -(-rows // 10))


def blocks(rows: int, size: int | None = None) -> Iterator[pa.RecordBatch]:
    """The standard data in batches of `size` rows, cut from the same blocks whatever the size."""
    length = group_rows(rows)
    pending = SCHEMA.empty_table()
    size = size or length
    for index in range(-(-rows // length)):
        whole = block(index, min(length, rows - index * length))
        pending = pa.concat_tables([pending, pa.table(whole)])
        while len(pending) >= size:
            yield pending.slice(0, size).combine_chunks().to_batches()[0]
            pending = pending.slice(size)
    if len(pending):
        yield pending.combine_chunks().to_batches()[0]


def _write_standard(target: Path, rows: int) -> None:
    with pq.ParquetWriter(target, SCHEMA) as writer:
        for batch in blocks(rows):
            writer.write_batch(batch)


def _write_one_row_group(target: Path, rows: int) -> None:
    table = pa.Table.from_batches(blocks(rows), SCHEMA)
    pq.write_table(table, target, row_group_size=rows)


def _write_hundred_files(target: Path, rows: int) -> None:
    target.mkdir()
    for number, batch in enumerate(blocks(rows, -(-rows // 100))):
        pq.write_table(pa.table(batch), target / f"part-{number:03}.parquet")


def _write_duckdb(target: Path, rows: int) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")  # each thread would write row groups of its own
        connection.read_parquet(path("standard", rows)).to_parquet(
            str(target), compression="snappy", row_group_size=rows
        )


def _write_wide(target: Path, rows: int) -> None:
    columns, length = wide_shape(rows)
    rng = np.random.default_rng([SEED, columns])
    table = pa.table({f"x{number:04}": 1000 + rng.standard_normal(length) for number in range(columns)})
    pq.write_table(table, target, row_group_size=length)


def _write_thousand_row_groups(target: Path, rows: int) -> None:
    with pq.ParquetWriter(target, SCHEMA) as writer:
        for batch in blocks(rows, -(-rows // 1000)):
            writer.write_batch(batch)


def _write_tiny_row_groups(target: Path, rows: int) -> None:
    with pq.ParquetWriter(target, SCHEMA) as writer:
        for batch in blocks(tiny_rows(rows), TINY_GROUP_ROWS):
            writer.write_batch(batch)


def wide_shape(rows: int = ROWS) -> tuple[int, int]:
    """Columns and rows of the wide file: 2,000 and 20,000 for ten million rows and more, fewer below."""
    share = min(1.0, rows / DEFAULT_ROWS)
    return max(40, round(2000 * share)), max(2000, round(20_000 * share))


def tiny_rows(rows: int = ROWS) -> int:
    """Rows of the file of tiny row groups: 100,000 groups of ten for ten million rows, fewer below."""
    return min(rows, DEFAULT_ROWS) // 10


def _write_training(target: Path, rows: int) -> None:
    length = group_rows(rows)
    with pq.ParquetWriter(target, TRAINING_SCHEMA) as writer:
        for index in range(-(-rows // length)):
            writer.write_batch(_training_block(index, min(length, rows - index * length)))


VARIANTS: dict[str, Callable[[Path, int], None]] = {
    "standard": _write_standard,
    "one_row_group": _write_one_row_group,
    "hundred_files": _write_hundred_files,
    "duckdb": _write_duckdb,
    "wide": _write_wide,
    "thousand_row_groups": _write_thousand_row_groups,
    "tiny_row_groups": _write_tiny_row_groups,
}
# No shape of the standard data, and so in no benchmark of all shapes.
OTHERS: dict[str, Callable[[Path, int], None]] = {"training": _write_training}


# The files whose largest page fits into memory="128MB". DuckDB writes one page a column chunk, which is the
# floor of what a reader needs; there the documented answer is an error that says so.
SMALL_PAGES = [name for name in VARIANTS if name != "duckdb"]


def path(name: str, rows: int = ROWS) -> str:
    """Path of the file (or directory of files) called `name` for `rows` rows, made if it is not there.

    "tiny_row_groups" has `tiny_rows` of them, and "wide" has the shape of `wide_shape`.
    """
    suffix = "" if name == "hundred_files" else ".parquet"
    target = ROOT / f"{name}-{rows}{suffix}"
    if not target.exists():
        ROOT.mkdir(parents=True, exist_ok=True)
        temporary = ROOT / f".{target.name}.{os.getpid()}.tmp"
        try:
            {**VARIANTS, **OTHERS}[name](temporary, rows)
            if not target.exists():
                temporary.rename(target)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
    return str(target)


def warm(source: str) -> None:
    """Read `source` once, so that whoever is timed first does not pay for the disk."""
    buffer = bytearray(1 << 20)
    for file in files(source):
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the benchmarks' input files.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join({**VARIANTS, **OTHERS})}")
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    for name in arguments.names or ["standard"]:
        if name not in {**VARIANTS, **OTHERS}:
            parser.error(f"no file is called {name!r}; there are {', '.join({**VARIANTS, **OTHERS})}")
        made = path(name, arguments.rows)
        size = sum(os.path.getsize(file) for file in files(made))
        print(f"{made}: {size / 1e6:.0f} MB, {size / arguments.rows:.1f} bytes a row")


if __name__ == "__main__":
    main()
