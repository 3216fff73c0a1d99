"""The peak of resident memory of whole runs, each in its own process: at most `memory`, the imports and the footers.

Slow: a dozen child processes over files of up to 400 MB.
"""

import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children

import streamnorm as sn

MB = 10**6
IMPORTS = 80 * MB
PER_CHUNK = 1000  # bytes of footer for each column chunk
GROWTH = 20 * MB  # between 2 and 6 million rows: a longer run comes nearer to the bound. A tenth of the rows is 26 MB.

NORMALIZE = """
import sys, streamnorm as sn
source, target, method, memory, threads, options = sys.argv[1:]
sn.normalize(source, target, method, memory=memory, threads=int(threads), **eval(options))
"""


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path)


def peak(source, *, memory, chunks, method="standard", threads=2, code=NORMALIZE, **options):
    """Normalize in a child, check its peak against the promise, and return it."""
    target = source.parent / "out.parquet"
    result = children.measure(code, source, target, method, memory, threads, options)
    assert result.status == 0, result.err
    allowed = int(memory.removesuffix("MB")) * MB + IMPORTS + PER_CHUNK * chunks
    print(f"peak {result.peak / MB:.0f} MB of {allowed / MB:.0f} MB allowed, {result.seconds:.1f} s")
    assert result.peak <= allowed, f"peak {result.peak / MB:.1f} MB, allowed {allowed / MB:.1f} MB"
    return result.peak


def random_table(rows, columns):
    values = np.random.default_rng(rows).normal(size=rows)
    return pa.table({f"c{i}": np.roll(values, i) for i in range(columns)})


def write_random(path, rows, columns, row_group_size):
    pq.write_table(
        random_table(rows, columns), path, row_group_size=row_group_size, use_dictionary=False, compression="none"
    )
    return path


@pytest.mark.parametrize("method,threads", [("standard", 2), ("robust", 8)])
def test_memory_does_not_grow_with_one_large_row_group(method, threads, folder):
    peaks = []
    for rows in (2_000_000, 6_000_000):
        path = write_random(folder / "in.parquet", rows, 8, rows)
        peaks.append(peak(path, memory="64MB", chunks=8, method=method, threads=threads, overwrite=True))
    assert peaks[1] - peaks[0] <= GROWTH


def test_memory_does_not_grow_with_many_row_groups(folder):
    peaks = []
    for rows in (2_000_000, 6_000_000):
        path = write_random(folder / "in.parquet", rows, 8, 125_000)
        peaks.append(peak(path, memory="64MB", chunks=8 * rows // 125_000, overwrite=True))
    assert peaks[1] - peaks[0] <= GROWTH + PER_CHUNK * 8 * 32


def test_memory_of_reading_to_a_reader(folder):
    code = """
import sys, streamnorm as sn
source, target, method, memory, threads, options = sys.argv[1:]
scaler = sn.fit(source, method, memory=memory, threads=int(threads))
for batch in sn.transform(source, None, scaler, memory=memory, threads=int(threads)):
    pass
"""
    path = write_random(folder / "in.parquet", 3_000_000, 8, 3_000_000)
    peak(path, memory="64MB", chunks=8, code=code)


def test_memory_of_2000_columns(folder):
    path = write_random(folder / "in.parquet", 5_000, 2_000, 5_000)
    peak(path, memory="64MB", chunks=2_000)


def test_memory_of_2000_sketches(folder):
    """Rank errors grow until the sketches fit; their state in the output's footer, 23 MB of text, comes on top."""
    path = write_random(folder / "in.parquet", 5_000, 2_000, 5_000)
    code = NORMALIZE.replace("sn.normalize(source, target, ", "sn.fit(source, ").replace(", **eval(options)", "")
    peak(path, memory="64MB", chunks=2_000, method="robust", code=code)
    peak(path, memory="128MB", chunks=2_000, method="robust")


def test_memory_of_20000_tiny_row_groups(folder):
    path = write_random(folder / "in.parquet", 200_000, 2, 10)
    peak(path, memory="64MB", chunks=40_000)


def test_memory_of_200_files(folder):
    (folder / "in").mkdir()
    table = random_table(20_000, 8)
    for i in range(200):
        pq.write_table(table, folder / "in" / f"{i:03}.parquet", use_dictionary=False, compression="none")
    peak(folder / "in", memory="64MB", chunks=200 * 8)
    assert pq.read_metadata(folder / "out.parquet").num_rows == 200 * 20_000


@pytest.mark.parametrize("how", ["split", "joined", "kept"])
def test_memory_of_few_long_strings(how, folder):
    """4 GB once every value is written out; 60 kB in the file."""
    rows = 200_000
    words = pa.array([letter * 20_000 for letter in "abc"])
    indices = pa.array((np.arange(rows) % 3).astype(np.int32))
    table = pa.table({"s": pa.DictionaryArray.from_arrays(indices, words), "x": np.arange(rows, dtype=np.float64)})
    path = folder / "in.parquet"
    group = {"split": rows, "joined": 2_000, "kept": rows}[how]
    pq.write_table(table, path, row_group_size=group, store_schema=False)
    assert pq.read_schema(path).field("s").type == pa.string()
    chunks = 2 * rows // group
    peak(path, memory="64MB", chunks=chunks, **({"row_group_size": 30_000} if how == "split" else {}))
    lengths = duckdb.sql(f"select min(length(s)), max(length(s)), count(*) from '{folder}/out.parquet'").fetchall()
    assert lengths == [(20_000, 20_000, rows)]
    assert (folder / "out.parquet").stat().st_size < 40 * MB


@pytest.mark.parametrize("kind", [pa.large_string(), pa.large_binary(), pa.string_view(), pa.binary_view()], ids=str)
def test_memory_of_few_long_strings_of_other_types(kind, folder):
    """800 MB once every value is written out, in row groups that are joined."""
    piece = pa.table({"s": pa.array(["abc"[i % 3] * 20_000 for i in range(2_000)]), "x": np.arange(2_000.0)})
    piece = piece.set_column(0, "s", piece["s"].cast(pa.binary()).cast(kind))
    with pq.ParquetWriter(folder / "in.parquet", piece.schema) as writer:
        for _ in range(20):
            writer.write_table(piece)
    peak(folder / "in.parquet", memory="64MB", chunks=40)
    assert pq.read_metadata(folder / "out.parquet").num_row_groups == 1
    back = pq.ParquetFile(folder / "out.parquet", read_dictionary=["s"]).read()
    assert pq.read_schema(folder / "out.parquet").field("s").type == kind
    assert back["s"].combine_chunks().dictionary.to_pylist() == piece["s"][:3].to_pylist()


def test_memory_of_lists_that_the_file_has_folded(folder):
    """330 MB a row group once every value is written out; 50 kB in the file."""
    rows, values = 1 << 16, 40
    lists = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * values, np.zeros(rows * values))
    piece = pa.table({"x": np.random.default_rng(1).normal(size=rows), "l": lists})
    with pq.ParquetWriter(folder / "in.parquet", piece.schema) as writer:
        for _ in range(2):
            writer.write_table(pa.concat_tables([piece] * 16), row_group_size=16 * rows)
    peak(folder / "in.parquet", memory="64MB", chunks=4)
    found = duckdb.sql(f"select count(*), sum(len(l)), max(list_max(l)) from '{folder}/out.parquet'").fetchall()
    assert found == [(32 * rows, 32 * rows * values, 0.0)]


@pytest.mark.parametrize(
    "kind,columns,options",
    [
        ("fixed", "v", {}),
        ("list", "v[*]", {}),
        ("list", "v", {"dtype": "float64"}),
        ("nulls", "v[*]", {}),
        ("nulls", "v[*]", {"dtype": "float64"}),
        ("list", "v[*]", {"method": "robust"}),
        ("fixed", "id", {}),
    ],
)
def test_memory_of_embeddings(kind, columns, options, folder):
    """Lists of 1,536 floats, 74 MB in one row group and 74 MB in eight."""
    rows, width = 12_000, 1_536
    values = pa.array(np.random.default_rng(3).standard_normal(rows * width, dtype=np.float32))
    if kind == "fixed":
        lists = pa.FixedSizeListArray.from_arrays(values, width)
    else:
        lists = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * width, values)
    if kind == "nulls":
        lists = lists.take(pa.array(np.arange(rows), mask=np.arange(rows) % 7 == 0))
    table = pa.table({"id": np.arange(rows), "v": lists})
    for size in (rows, rows // 8):
        pq.write_table(table, folder / "in.parquet", row_group_size=size, use_dictionary=False, compression="none")
        # The state: as much as for so many columns, and their sketches.
        footer = (10_000 if "method" in options else 1000) * (width if columns == "v[*]" else 0)
        chunks = 2 * rows // size + footer // PER_CHUNK
        peak(folder / "in.parquet", memory="64MB", chunks=chunks, columns=[columns], overwrite=True, **options)
    assert pq.read_metadata(folder / "out.parquet").num_rows == rows


def test_memory_of_a_row_group_of_duckdb(folder):
    path = folder / "in.parquet"
    duckdb.sql(
        f"copy (select random() as a, random() * 7 as b, random() - 3 as c from range(3000000)) to '{path}' "
        "(format parquet, row_group_size 3000000)"
    )
    peak(path, memory="128MB", chunks=3)
    peak(path, memory="128MB", chunks=3, method="robust", threads=8, overwrite=True)


def test_a_page_beyond_the_memory_is_an_error_that_tells_its_size(folder):
    path = folder / "in.parquet"
    table = random_table(3_000_000, 2)
    pq.write_table(
        table, path, row_group_size=3_000_000, use_dictionary=False, compression="none",
        data_page_size=10**9, max_rows_per_page=10**9, write_batch_size=10**9,
    )  # fmt: skip
    with pytest.raises(sn.DataError, match="24 MB|48 MB") as caught:
        sn.normalize(path, folder / "out.parquet", memory="16MB")
    assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(path), 0, "c0")
    assert sorted(p.name for p in folder.iterdir()) == ["in.parquet"]


def test_memory_of_a_stream_that_is_spooled(folder):
    code = """
import sys, numpy as np, pyarrow as pa, streamnorm as sn
source, target, method, memory, threads, options = sys.argv[1:]
def batches():
    for k in range(150):
        x = pa.py_buffer(np.sin(np.arange(20_000.0) + k))  # pa.array of an ndarray would load pandas, 35 MB
        yield pa.record_batch({f"c{i}": pa.Array.from_buffers(pa.float64(), 20_000, [None, x]) for i in range(8)})
sn.normalize(batches(), target, method, memory=memory, threads=int(threads), spool=True)
"""
    peak(folder / "in.parquet", memory="64MB", chunks=8 * 12, code=code)
    assert pq.read_metadata(folder / "out.parquet").num_rows == 3_000_000
