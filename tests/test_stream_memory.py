"""The peak of resident memory of jobs that read batches: row filters, folders by value, and other formats than Parquet.

Each in its own process, against the promise itself: `memory`, 80 MB of imports, and the footers.
"""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support import children

MB = 10**6
ALLOWED = 64 * MB + 80 * MB
PER_CHUNK = 1000
ROWS, COLUMNS = 1_200_000, 8
TEXT_ROWS = {"csv": 500_000, "jsonl": 300_000}  # 75 MB

NORMALIZE = """
import sys, streamnorm as sn
source, target, options = sys.argv[1:]
sn.normalize(source, target, memory="64MB", threads=2, overwrite=True, **eval(options))
"""
FIT = """
import sys, streamnorm as sn
source, target, options = sys.argv[1:]
sn.fit(source, memory="64MB", threads=2, **eval(options))
assert "pandas" not in sys.modules
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same columns as a file of each format; a key that changes slowly, and one that changes with each row."""
    folder = tmp_path_factory.mktemp("data")
    values = np.random.default_rng(5).normal(size=ROWS)
    keys = {"slow": np.arange(ROWS) // 1000 % 12, "quick": np.arange(ROWS) * 7919 % 12}
    table = pa.table({f"c{i}": np.roll(values, i) for i in range(COLUMNS)} | keys)
    for name, rows in {"one": ROWS, "many": ROWS // 12}.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    pa.csv.write_csv(table.slice(0, TEXT_ROWS["csv"]), folder / "in.csv")
    with open(folder / "in.jsonl", "w") as file:
        for batch in table.slice(0, TEXT_ROWS["jsonl"]).to_batches(10_000):
            file.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    for name, begin in {"arrow": pa.ipc.new_file, "arrows": pa.ipc.new_stream}.items():
        with begin(folder / f"in.{name}", table.schema) as writer:
            writer.write_table(table, max_chunksize=100_000)
    yield folder
    shutil.rmtree(folder)


def check_peak(code, source, target, **options):
    result = children.measure(code, source, target, options)
    assert result.status == 0, result.err
    allowed = ALLOWED + PER_CHUNK * 12 * (COLUMNS + 2)
    print(f"peak {result.peak / MB:.0f} MB of {allowed / MB:.0f} MB allowed, {result.seconds:.1f} s")
    assert result.peak <= allowed, f"peak {result.peak / MB:.1f} MB, allowed {allowed / MB:.1f} MB"


@pytest.mark.parametrize("source", ["one", "many"])
def test_memory_of_filtered_rows(source, data, tmp_path):
    check_peak(NORMALIZE, data / f"{source}.parquet", tmp_path / "out.parquet", where="c0 > -1 and quick < 11")
    written = pq.read_metadata(tmp_path / "out.parquet")
    assert ROWS // 2 < written.num_rows < ROWS


@pytest.mark.parametrize("key", ["slow", "quick"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_of_folders_by_value(kind, key, data, tmp_path):
    check_peak(NORMALIZE, data / "one.parquet", f"{tmp_path}/out/", partition_by=key, output_format=kind)
    assert len(list((tmp_path / "out").iterdir())) == 12


@pytest.mark.parametrize("source", ["csv", "jsonl", "arrow", "arrows"])
def test_memory_of_a_fit_of_other_formats(source, data, tmp_path):
    check_peak(FIT, data / f"in.{source}", "", where="c0 < 1 and quick in (1, 2, 3, 4)")


@pytest.mark.parametrize(
    "source,sink",
    [
        ("in.csv", "out.parquet"),
        ("in.csv", "out.csv"),
        ("in.jsonl", "out.parquet"),
        ("in.arrow", "out.arrow"),
        ("in.arrow", "out.parquet"),
        ("in.arrows", "out.parquet"),
        ("one.parquet", "out.arrow"),
        ("one.parquet", "out.csv"),
    ],
)
def test_memory_of_other_formats(source, sink, data, tmp_path):
    check_peak(NORMALIZE, data / source, tmp_path / sink)
    assert (tmp_path / sink).stat().st_size > 10 * MB
