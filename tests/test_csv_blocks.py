"""CSV read in paced blocks: the same rows whatever lies at their ends, and little read ahead."""

import csv
import io
import random
import time

import pyarrow as pa
import pytest
from support import children

from streamnorm import csv_blocks
from streamnorm.inputs import BLOCK, CsvFile

MB = 1 << 20
WORDS = ["x", '"', '""', ",", "\n", "\r\n", 'a "b" c', "é"]


def text_of(rows):
    file = io.StringIO()
    csv.writer(file).writerows([["a", "b"], *rows])
    return file.getvalue().encode()


def read(path, data, names=("a", "b")):
    path.write_bytes(data)
    batches = CsvFile(path, ",", None).batches(list(names))
    return [list(row.values()) for batch in batches for row in batch.to_pylist()]


def rows_of(kind):
    rng = random.Random(7)
    if kind == "quoted":
        return [[i, "".join(rng.choices(WORDS, k=rng.randrange(12))) + "z"] for i in range(100_000)]
    filling = {"long": "y", "long with newlines": "y\n", "long with quotes": '"\n'}[kind]
    most = (BLOCK - 1000) // (len(filling) + filling.count('"'))
    return [[i, filling * rng.randrange(most) + "z"] for i in range(6)]


@pytest.mark.parametrize("kind", ["quoted", "long", "long with newlines", "long with quotes"])
def test_rows_are_whole_whatever_the_block(kind, tmp_path):
    rows = rows_of(kind)
    assert read(tmp_path / "a.csv", text_of(rows)) == rows


def test_a_quote_in_the_midst_of_a_value_means_nothing(tmp_path):
    rows = [[i, ('5" pipe' if i == 3 else "w") + "k" * 30] for i in range(100_000)]
    assert read(tmp_path / "a.csv", ("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows)).encode()) == rows


def test_blocks_of_empty_lines(tmp_path):
    for before, between in [(9 * MB, 0), (0, 9 * MB), (9 * MB, 9 * MB)]:
        data = b"a,b\n" + b"\n" * before + b"1,x\n" + b"\n" * between + b"3,y\n"
        rows = read(tmp_path / "a.csv", data)
        assert [[int(a), b] for a, b in rows] == [[1, "x"], [3, "y"]]


def test_few_blocks_are_read_ahead(tmp_path, monkeypatch):
    given = []

    class Counted(csv_blocks.PacedBlocks):
        def read(self, count):
            given.append(super().read(count))
            return given[-1]

    monkeypatch.setattr("streamnorm.inputs.PacedBlocks", Counted)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1.25,2.5\n" * (3 * MB))
    file = CsvFile(path, ",", None)
    given.clear()
    taken = 0
    for batch in file.batches(["a"]):
        taken += len(batch) * 9
        time.sleep(0.01)  # time enough to read the whole file
        assert sum(map(len, given)) <= taken + (csv_blocks.BLOCKS_AHEAD + 1) * csv_blocks.SHORT_BLOCK
    assert sum(map(len, given)) == 27 * MB + 4


def test_a_process_ends_while_a_reader_is_open(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1.25,2.5\n" * MB)
    code = """
import sys
from pathlib import Path
from streamnorm.inputs import CsvFile
batches = CsvFile(Path(sys.argv[1]), ",", None).batches(["a"])
print(next(batches).num_columns)
"""
    done = children.run(code, path)
    assert (done.status, done.out, done.err) == (0, "1\n", "")


def test_a_fault_ends_the_reader(tmp_path):
    data = b"a,b\n" + b"1.25,2.5\n" * MB + b"1.5,oops\n" + b"1.25,2.5\n" * MB
    with pytest.raises(ValueError, match=rf"line {MB + 2}: 'oops' is no double") as caught:
        read(tmp_path / "a.csv", data)
    assert caught.value.column == "b"


def test_an_error_of_the_file_comes_out():
    class Broken:
        closed = False

        def read(self, count):
            raise OSError("the disk is gone")

        def close(self):
            self.closed = True

    broken = Broken()
    blocks = csv_blocks.PacedBlocks(b"a\n", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        pa.csv.open_csv(pa.PythonFile(blocks, "r")).read_all()
    blocks.stop()
    assert broken.closed
