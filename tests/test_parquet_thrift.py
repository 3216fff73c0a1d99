"""Thrift's compact protocol: known bytes, both readers against each other, hostile input."""

import io
import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamnorm.parquet import reference, thrift
from streamnorm.parquet.thrift import (
    BINARY,
    BOOL,
    BYTE,
    DOUBLE,
    I16,
    I32,
    I64,
    LIST,
    MAP,
    MAX_DEPTH,
    SET,
    STRUCT,
    UUID,
    ThriftError,
)

EVERYTHING = {
    1: (BOOL, True),
    2: (BOOL, False),
    3: (BYTE, -128),
    4: (I16, -32768),
    5: (I32, 2**31 - 1),
    6: (I64, -(2**63)),
    7: (DOUBLE, -0.0),
    8: (BINARY, b"\x00\xff" * 100),
    9: (LIST, (BOOL, [True, False])),
    30: (SET, (I64, list(range(20)))),
    31: (MAP, (BINARY, BOOL, [(b"k", True), (b"", False)])),
    32: (MAP, (0, 0, [])),
    33: (UUID, bytes(range(16))),
    20: (STRUCT, {1: (STRUCT, {}), 300: (LIST, (STRUCT, [{}, {5: (DOUBLE, math.inf)}]))}),
    -7: (LIST, (LIST, [(BYTE, [1, 2]), (BINARY, [])])),
}


def footer_of(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    data = sink.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.fixture(scope="module")
def footer():
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "a": rng.standard_normal(60),
            "b": pa.array([{"x": i, "y": [str(i)]} for i in range(60)]),
            "t": pa.array(range(60), pa.timestamp("us", "UTC")),
        },
        metadata={"key": "value"},
    )
    return footer_of(table, row_group_size=20, sorting_columns=[pq.SortingColumn(0)])


@pytest.mark.parametrize(
    "struct, data",
    [
        ({}, "00"),
        ({1: (I32, 1)}, "150200"),
        ({1: (I32, -1)}, "150100"),
        ({1: (I64, 50399)}, "16be930600"),  # the specification's 50399, zigzag: 100798
        ({16: (BOOL, True)}, "012000"),  # a step of 16: long form
        ({15: (BOOL, False)}, "f200"),
        ({2: (BINARY, b"hi")}, "2802686900"),
        ({1: (LIST, (I32, [0] * 15))}, "19f50f" + "00" * 15 + "00"),
        ({1: (LIST, (BOOL, [True, False]))}, "1922010000"),
        ({1: (DOUBLE, 1.0)}, "17000000000000f03f00"),
    ],
)
def test_known_bytes(struct, data):
    assert thrift.encode(struct).hex() == data
    assert thrift.decode(bytes.fromhex(data)) == (struct, len(data) // 2)


def test_every_type_survives_and_both_readers_agree():
    data = thrift.encode(EVERYTHING)
    back, end = thrift.decode(b"xyz" + data + b"tail", 3)
    assert back == EVERYTHING and list(back) == list(EVERYTHING)
    assert math.copysign(1, back[7][1]) == -1
    assert end == 3 + len(data) == thrift.skip_struct(b"xyz" + data, 3)
    assert reference.decode(data) == (back, len(data))


def test_boolean_elements_may_be_0_or_2_for_false():
    for header in ("1931", "1932"):  # and their type may be that of either
        struct = thrift.decode_struct(bytes.fromhex(header + "01000200"))
        assert struct == {1: (LIST, (BOOL, [True, False, False]))}


def test_real_footers_come_back_byte_for_byte(footer):
    struct, end = thrift.decode(footer)
    assert end == len(footer)
    assert thrift.encode(struct) == footer
    assert reference.decode(footer) == (struct, end)


def test_struct_list_splits_a_struct(footer):
    struct, _ = thrift.decode(footer)
    rest, starts, end = thrift.struct_list(footer, 0, 4)
    assert end == len(footer) and rest == {n: v for n, v in struct.items() if n != 4}
    assert [thrift.decode_struct(footer, at) for at in starts] == struct[4][1][1]
    assert thrift.struct_list(footer, 0, 99) == (struct, None, end)
    with pytest.raises(ThriftError, match="not a list of structs"):
        thrift.struct_list(bytes.fromhex("1925020400"), 0, 1)


def test_encoded_structs_are_spliced():
    inner = {1: (I32, 7), 2: (LIST, (STRUCT, [{}]))}
    done = thrift.encode(inner)
    assert thrift.encode({3: (LIST, (STRUCT, [inner, inner]))}) == thrift.encode(
        {3: (LIST, (STRUCT, [done, done]))}
    )


def test_every_truncation_is_an_error(footer):
    for data in (footer, thrift.encode(EVERYTHING)):
        for end in range(len(data)):
            for read in (thrift.decode, thrift.skip_struct, reference.decode):
                with pytest.raises(ThriftError):
                    read(data[:end])


def outcome(read, data):
    try:
        return read(data)
    except ThriftError:
        return None


def test_flipped_bits_never_do_more_than_raise(footer):
    rng = np.random.default_rng(2)
    for _ in range(1000):
        data = bytearray(footer)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(8)
        found = outcome(thrift.decode, data)
        # repr, because a flipped bit may make a NaN
        assert repr(found) == repr(outcome(reference.decode, data))
        assert outcome(thrift.skip_struct, data) == (found and found[1])
        if found:
            again = thrift.encode(found[0])
            assert repr(thrift.decode_struct(again)) == repr(found[0])


@pytest.mark.parametrize(
    "data",
    [
        "18ffffffff07",  # binary of 2 GB
        "18ffffffffffffffffff01",  # of 2**64 - 1 bytes
        "19fcffffffff07",  # list of 2**31 structs
        "1bffffffff0788",  # map of as many pairs
        "1920",  # elements of type 0
        "1e00",  # field of type 14
        "16ffffffffffffffffff02",  # 65 bits
        "16ffffffffffffffffffff01",  # 11 bytes
        "15ffffffffffff01",  # an i32 of 49 bits
    ],
)
def test_hostile_input_is_refused_without_taking_memory(data):
    data = bytes.fromhex(data) + bytes(4)
    for read in (thrift.decode, thrift.skip_struct):
        tracemalloc.start()
        with pytest.raises(ThriftError):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


def test_depth_is_limited():
    deep = {}
    for _ in range(MAX_DEPTH - 1):
        deep = {1: (STRUCT, deep)}
    data = thrift.encode(deep)
    assert thrift.decode_struct(data) == deep
    with pytest.raises(ThriftError, match="nested deeper"):
        thrift.encode({1: (STRUCT, deep)})
    for data in (b"\x1c" * 100_000, b"\x19" * 100_000, b"\x1b\x01\xbb" + b"\x01\xbb" * 100_000):
        for read in (thrift.decode, thrift.skip_struct, reference.decode):
            with pytest.raises(ThriftError):
                read(data)


@pytest.mark.parametrize("struct", [{1: (I32, 2**31)}, {1: (BYTE, 128)}, {1: (I16, -32769)}, {1: (14, 0)},
                                    {1: (UUID, b"")}, {40_000: (I32, 0)}])  # fmt: skip
def test_what_does_not_fit_is_not_written(struct):
    with pytest.raises(ThriftError):
        thrift.encode(struct)


def test_value_of_checks_the_type():
    assert thrift.value_of({1: (I32, 5)}, 1, I32) == 5
    assert thrift.value_of({}, 1, I32, "absent") == "absent"
    with pytest.raises(ThriftError, match="field 1"):
        thrift.value_of({1: (BINARY, b"")}, 1, I32)


def test_a_start_outside_of_the_data_is_refused():
    for start in (-1, 2):
        with pytest.raises(ThriftError, match="outside"):
            thrift.decode(b"\0", start)
