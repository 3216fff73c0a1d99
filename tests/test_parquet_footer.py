"""Footers and page headers: what is read of sound files, and one clear error for every other."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import edited

from streamnorm.errors import DataError
from streamnorm.parquet import RandomAccess, largest_page, page_sizes, read_footer, thrift
from streamnorm.parquet import format as fmt
from streamnorm.parquet.footer import parse_footer, parse_schema
from streamnorm.parquet.thrift import BINARY, I32, I64, LIST, STRUCT, ThriftError

ROWS = 500


def table():
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "x": rng.standard_normal(ROWS),
            "nest": pa.array([{"a": i, "b": [str(i), None]} if i % 5 else None for i in range(ROWS)]),
            "s": pa.array([f"value {i % 9}" for i in range(ROWS)]),
        },
        metadata={"made by": "a test"},
    )


@pytest.fixture(scope="module")
def data():
    sink = io.BytesIO()
    pq.write_table(table(), sink, row_group_size=200, data_page_size=400, write_batch_size=50)
    return sink.getvalue()


def chunk_frame(struct, row_group=0, leaf=0):
    """The ColumnChunk struct in a decoded footer."""
    return struct[4][1][1][row_group][1][1][1][leaf]


def test_footer_of_a_pyarrow_file(data):
    footer, theirs = parse_footer(data), pq.read_metadata(io.BytesIO(data))
    assert footer.num_rows == ROWS and [group.num_rows for group in footer.row_groups] == [200, 200, 100]
    assert [leaf.name for leaf in footer.leaves] == ["x", "nest.a", "nest.b.list.element", "s"]
    assert [(f.name, f.first_leaf, f.num_leaves) for f in footer.fields] == [
        ("x", 0, 1),
        ("nest", 1, 2),
        ("s", 3, 1),
    ]
    assert [(leaf.max_definition_level, leaf.max_repetition_level) for leaf in footer.leaves] == [
        (theirs.schema.column(i).max_definition_level, theirs.schema.column(i).max_repetition_level)
        for i in range(4)
    ]
    assert footer.created_by == theirs.created_by
    assert footer.key_value_metadata == theirs.metadata
    assert footer.field_index("s") == 2
    with pytest.raises(KeyError):
        footer.field_index("absent")
    for group in range(3):
        for leaf in range(4):
            chunk, other = footer.chunk(group, leaf), theirs.row_group(group).column(leaf)
            assert chunk.start == (other.dictionary_page_offset or other.data_page_offset)
            assert chunk.compressed_size == other.total_compressed_size
            assert chunk.uncompressed_size == other.total_uncompressed_size
            assert chunk.num_values == other.num_values
            assert chunk.obstacle is None


def test_pages_are_walked(data):
    footer = parse_footer(data)
    for leaf in range(4):
        chunk = footer.chunk(0, leaf)
        pages = list(page_sizes(data, chunk))
        assert len(pages) >= 2
        assert sum(page.header_size + page.compressed_size for page in pages) == chunk.compressed_size
        assert sum(page.header_size + page.uncompressed_size for page in pages) == chunk.uncompressed_size
        largest = largest_page(data, chunk)
        assert largest in pages
        assert all(
            page.compressed_size + page.uncompressed_size
            <= largest.compressed_size + largest.uncompressed_size
            for page in pages
        )
        kinds = {page.kind for page in pages}
        assert kinds == {fmt.DICTIONARY_PAGE, fmt.DATA_PAGE}


def test_a_page_header_longer_than_the_first_look(data):
    statistics = {5: (BINARY, b"z" * 5000)}
    header = {1: (I32, 1), 2: (I32, 0), 3: (I32, 3), 4: (I32, 3), 5: (STRUCT, statistics)}
    encoded = thrift.encode({1: (I32, 0), 2: (I32, 3), 3: (I32, 3), 5: (STRUCT, header)})
    file = b"PAR1" + encoded + b"abc"
    chunk = replace(parse_footer(data).chunk(0, 0), start=4, compressed_size=len(file) - 4)
    (page,) = page_sizes(file, chunk)
    assert (page.header_size, page.compressed_size) == (len(encoded), 3)


def test_a_chunk_without_pages_has_no_largest_page(data):
    chunk = replace(parse_footer(data).chunk(0, 0), compressed_size=0)
    assert largest_page(data, chunk) is None


@pytest.mark.parametrize(
    "how", ["path", "file", "unbuffered", "bytesio", "arrow file", "arrow buffer", "memoryview"]
)
def test_every_kind_of_source(data, tmp_path, how):
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    source = {
        "path": Path,
        "file": lambda path: path.open("rb"),
        "unbuffered": lambda path: path.open("rb", buffering=0),
        "bytesio": lambda path: io.BytesIO(data),
        "arrow file": lambda path: pa.OSFile(str(path)),
        "arrow buffer": lambda path: pa.py_buffer(data),
        "memoryview": lambda path: memoryview(data),
    }[how](path)
    with RandomAccess(source) as file:
        assert file.size == len(data)
        footer = read_footer(file)
        assert footer.num_rows == ROWS
        assert file.read_at(4, 10) == data[4:14]
        assert sum(1 for _ in page_sizes(file, footer.chunk(0, 0))) > 2
        for offset, size in ((-1, 2), (0, len(data) + 1), (len(data), 1), (0, -1)):
            with pytest.raises(DataError, match="beyond its end"):
                file.read_at(offset, size)
    if how == "path":
        assert footer.file == str(path)
    if hasattr(source, "close"):
        source.close()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a Parquet file"),
        (b"PAR", "not a Parquet file"),
        (b"a,b\n1,2\n" * 9, "not a Parquet file"),
        (b"PAR1", "truncated"),
        (b"PAR1PAR1", "truncated"),
        (b"PAR1" + bytes(100), "truncated"),
        (b"PAR1" + b"\xff\xff\xff\xffPAR1", "truncated or corrupt"),
        (b"PAR1" + b"\x01\0\0\0PAR1", "truncated or corrupt"),
        (b"PAR1" + b"\0\0\0\0PAR1", "corrupt"),
        (b"PARE" + bytes(20) + b"PARE", "encrypted footer"),
        (b"PARE" + bytes(20), "encrypted footer"),
    ],
)
def test_what_is_not_parquet(tmp_path, content, message):
    path = tmp_path / "odd.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_footer(path)
    assert caught.value.file == str(path) and "odd.parquet" in str(caught.value)


def test_every_truncation_is_a_data_error(data):
    for end in range(len(data)):
        with pytest.raises(DataError):
            parse_footer(data[:end])
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    for end in range(len(footer)):
        with pytest.raises(DataError):
            parse_footer(b"PAR1" + footer[:end] + end.to_bytes(4, "little") + b"PAR1")


def visit(data):
    footer = parse_footer(data)
    for group in range(footer.num_row_groups):
        for leaf in range(len(footer.leaves)):
            chunk = footer.chunk(group, leaf)
            for _ in page_sizes(data, chunk):
                pass


def test_flipped_bits_are_data_errors_or_harmless(data):
    rng = np.random.default_rng(4)
    length = int.from_bytes(data[-8:-4], "little")
    failed = 0
    for round_ in range(1500):
        broken = bytearray(data)
        low = 4 if round_ % 3 == 0 else len(data) - length - 12
        for at in rng.integers(low, len(data), rng.integers(1, 4)):
            broken[at] ^= 1 << rng.integers(8)
        try:
            visit(bytes(broken))
        except DataError:
            failed += 1
    assert failed > 300


def error_of(data, group=0, leaf=0):
    with pytest.raises(DataError) as caught:
        list(page_sizes(data, parse_footer(data, "f.parquet").chunk(group, leaf)))
    assert (caught.value.file, caught.value.row_group) == ("f.parquet", group)
    return caught.value


def test_errors_of_a_chunk_name_it(data):
    def meta(number, value):
        def change(struct):
            chunk_frame(struct, 1, 2)[3][1][number] = value

        return edited(data, change)

    for number in (5, 6, 7):
        error = error_of(meta(number, (I64, -1)), 1, 2)
        assert error.column == "nest.b.list.element" and "row group 1" in str(error)
        error_of(meta(number, (I32, 5)), 1, 2)
    for number, value in ((7, 1 << 40), (9, len(data)), (9, 2**63 - 1)):
        assert "not in the file" in str(
            error_of(edited(data, lambda s, n=number, v=value: move(s, n, v)), 1, 2)
        )


def test_pages_that_reach_too_far(data):
    chunk = parse_footer(data, "f.parquet").chunk(0, 0)
    for size in (chunk.compressed_size - 1, chunk.compressed_size // 2, 9, 1):
        with pytest.raises(DataError, match="f.parquet: row group 0, column 'x': the page .*is corrupt"):
            list(page_sizes(data, replace(chunk, compressed_size=size)))
    for sizes in ((-1, 5), (5, -1), (0, 2**31 - 1)):
        header = thrift.encode({1: (I32, 0), 2: (I32, sizes[0]), 3: (I32, sizes[1])})
        with pytest.raises(DataError, match="the page at byte 4 is corrupt: it claims"):
            list(
                page_sizes(
                    b"PAR1" + header + bytes(9), replace(chunk, start=4, compressed_size=len(header) + 9)
                )
            )
    header = thrift.encode({1: (I64, 0)})
    with pytest.raises(DataError, match="page header at byte 4 is corrupt"):
        list(page_sizes(b"PAR1" + header, replace(chunk, start=4, compressed_size=len(header))))


def move(struct, number, value):
    meta = chunk_frame(struct, 1, 2)[3][1]
    meta.pop(11, None)
    meta[number] = (I64, value)


def test_encrypted_columns_are_refused(data):
    def encrypt(struct):
        chunk_frame(struct)[8] = (STRUCT, {1: (STRUCT, {})})

    assert "encrypted columns" in str(error_of(edited(data, encrypt)))

    def hide(struct):
        frame = chunk_frame(struct)
        del frame[3]
        frame[9] = (BINARY, b"secret")

    assert "encrypted columns" in str(error_of(edited(data, hide)))
    assert "there is none" in str(error_of(edited(data, lambda struct: chunk_frame(struct).pop(3))))


def test_obstacles_to_copying(data):
    elsewhere = edited(data, lambda s: chunk_frame(s).__setitem__(1, (BINARY, b"other.parquet")))
    assert parse_footer(elsewhere).chunk(0, 0).obstacle == "its data is in another file"
    assert parse_footer(elsewhere).chunk(0, 1).obstacle is None
    for version, short in (("1.2.8", True), ("1.2.9", False), ("1.10.0-SNAPSHOT", False), ("1.2", True)):
        name = f"parquet-mr version {version} (build abc)".encode()
        old = edited(data, lambda s, name=name: s.__setitem__(6, (BINARY, name)))
        assert ("wrong sizes" in (parse_footer(old).chunk(0, 0).obstacle or "")) == short, version


def test_corrupt_footers(data):
    def corrupt(change):
        with pytest.raises(DataError, match="corrupt"):
            parse_footer(edited(data, change))

    corrupt(lambda s: s.__setitem__(2, (LIST, (STRUCT, []))))  # no schema
    corrupt(lambda s: s[2][1][1].pop())  # too few elements
    corrupt(lambda s: s[2][1][1].append({1: (I32, 1), 4: (BINARY, b"z")}))  # too many
    corrupt(lambda s: s[4][1][1][0][1][1][1].pop())  # too few columns
    corrupt(lambda s: s[4][1][1][0].__setitem__(3, (I64, -5)))  # rows below zero
    corrupt(lambda s: s[2][1][1][1].__setitem__(4, (I32, 5)))  # a name that is a number
    corrupt(lambda s: s.__setitem__(2, (LIST, (I32, [1, 2]))))


def test_schemas_nested_too_deep_are_refused():
    deep = [{5: (I32, 1), 4: (BINARY, b"g")}] * 10_000 + [{1: (I32, 1), 4: (BINARY, b"x")}]
    with pytest.raises(ThriftError, match="nested too deep"):
        parse_schema(deep)
    with pytest.raises(ThriftError):
        parse_schema([{5: (I32, 2**31 - 1)}, {5: (I32, -1), 4: (BINARY, b"g")}])


def test_empty_groups_have_no_leaves():
    leaf = {1: (I32, 1), 3: (I32, 1), 4: (BINARY, b"x")}
    empty = {5: (I32, 0), 3: (I32, 1), 4: (BINARY, b"e")}
    fields, leaves = parse_schema([{5: (I32, 2)}, empty, leaf])
    assert [(f.name, f.num_leaves) for f in fields] == [("e", 0), ("x", 1)]
    assert [leaf.name for leaf in leaves] == ["x"]


def test_the_index_is_small():
    names = [f"c{i}" for i in range(50)]
    sink = io.BytesIO()
    pq.write_table(pa.table({name: np.arange(40.0) for name in names}), sink, row_group_size=1)
    footer = parse_footer(sink.getvalue())
    length = int.from_bytes(sink.getvalue()[-8:-4], "little")
    assert footer.nbytes - length < 8 * 40 * 50
