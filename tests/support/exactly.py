"""Values that are hard to add up, and the check that moments of them are the doubles nearest to the truth."""

import math
import struct
from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

import streamnorm as sn

from .files import SEED
from .truth import same_double

TINY, LARGEST = 5e-324, math.ldexp(1 - 2**-53, 1024)
NORMAL = 2.0**-1022
SPECIAL = [0.0, -0.0, TINY, -TINY, 1e-310, NORMAL, -NORMAL, 1.0, 1 + 2**-52, -1.0, 1e9 + 1e-7, 1e16, LARGEST, -LARGEST]
DDOFS = (0, 1)
DIGITS = 38  # of a decimal128; longer decimals are read only where the values are as short
BLOCK = 2048  # about as many values as a kernel may take at once; sizes around it and well past it are tried
INTEGERS = {"i1": pa.int8(), "i2": pa.int16(), "i4": pa.int32(), "i8": pa.int64()} | {
    "u1": pa.uint8(),
    "u2": pa.uint16(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
}
FLOATS = {"f2": (16, pa.float16()), "f4": (32, pa.float32()), "f8": (64, pa.float64())}


def double(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


doubles = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**64 - 1).map(double).filter(math.isfinite),
    st.sampled_from(SPECIAL),
)
halves = doubles.map(lambda x: x / 2)  # a scaler refuses columns where x - mean overflows
gaps = st.sampled_from([None, math.nan])
seeds = st.integers(0, 2**32 - 1)


def lists(values, **sizes):
    return st.lists(values, min_size=1, **({"max_size": 30} | sizes))


def decimal_array(unscaled, dtype):
    """A decimal array from its unscaled integers: the only way to one whose scale exceeds its precision."""
    width = dtype.bit_width // 8
    data = b"".join((v or 0).to_bytes(width, "little", signed=True) for v in unscaled)
    valid = np.packbits([v is not None for v in unscaled], bitorder="little").tobytes()
    return pa.Array.from_buffers(dtype, len(unscaled), [pa.py_buffer(valid), pa.py_buffer(data)])


def numbers(array):
    """The values of an array, as numbers that `Moments` takes; decimals from their integers, as to_pylist rounds."""
    if isinstance(array, pa.ChunkedArray):
        return [v for chunk in array.chunks for v in numbers(chunk)]
    if isinstance(array, pa.Array) and pa.types.is_decimal(array.type):
        width, unit = array.type.bit_width // 8, Fraction(10) ** -array.type.scale
        data = memoryview(array.buffers()[1])[array.offset * width :]
        there = array.is_valid().to_pylist()
        raw = (int.from_bytes(data[i * width : (i + 1) * width], "little", signed=True) for i in range(len(array)))
        return [v * unit if ok else None for v, ok in zip(raw, there, strict=True)]
    return array.to_pylist() if isinstance(array, pa.Array) else array.tolist()


def exactly(array):
    return sn.Moments(exact=True).update(array)


def assert_nearest(found, truth, ddofs=DDOFS):
    """Zeros may have either sign; all else agrees in every bit."""
    assert found.count == truth.count
    pairs = [("mean", found.mean, truth.mean)]
    pairs += [(f"var({d})", found.var(d), truth.var(d)) for d in ddofs]
    pairs += [(f"std({d})", found.std(d), truth.std(d)) for d in ddofs]
    wrong = [f"{name} is {a!r}, not {b!r}" for name, a, b in pairs if not (a == b or same_double(a, b))]
    assert not wrong, "; ".join(wrong)


def stored(stats):
    """The state as it is stored: a column without values has no kind, which it can only learn from the next ones."""
    return stats.state() if stats.count else stats.state() | {"kind": None}


def bulk(kind, size, seed=SEED):
    """Many values of one kind: what fills accumulators, carries and leaves blocks half full."""
    rng = np.random.default_rng([size, seed])
    match kind:
        case "any bits":
            values = rng.integers(0, 2**64, size, np.uint64, endpoint=False).view(np.float64)
            return np.where(np.isfinite(values), values, 0.0)
        case "all positive":
            return np.abs(bulk("any bits", size, seed))
        case "the largest":
            return np.full(size, LARGEST)
        case "the smallest":
            return rng.integers(0, 2, size) * -TINY
        case "wide":
            return rng.normal(size=size) * 10.0 ** rng.integers(-160, 150, size)
        case "offset":
            return 1e9 + rng.normal(size=size) * 1e-5
        case "one exponent":
            return rng.uniform(1, 2, size)
        case "climbing":
            return np.ldexp(rng.uniform(-1, 1, size), np.sort(rng.integers(-1074, 1024, size)))
        case "falling":
            return bulk("climbing", size, seed)[::-1].copy()
        case "runs":
            powers = np.repeat(rng.integers(-1074, 1024, size // 50 + 1), rng.integers(1, 300, size // 50 + 1))
            return np.ldexp(rng.uniform(-1, 1, size), np.resize(powers, size))
        case "strays":
            strays = np.array([TINY, 1e-300, 1e-17, 1e17, 1e300, LARGEST]) * rng.choice([-1, 1], 6)
            return np.where(rng.random(size) < 1e-3, rng.choice(strays, size), rng.normal(size=size))
        case "cancelling":
            values = bulk("any bits", size // 2, seed)
            return rng.permutation(np.concatenate([values, -values, [TINY]]))
        case "float32":
            return (rng.normal(size=size) * 10.0 ** rng.integers(-44, 38, size)).astype(np.float32)
        case "float16":
            return rng.integers(0, 0x7C00, size).astype(np.uint16).view(np.float16)
        case "int64":
            return rng.integers(-(2**63), 2**63 - 1, size, endpoint=True)
        case "the smallest int64":
            return np.full(size, -(2**63))
        case "the largest uint64":
            return np.full(size, 2**64 - 1, np.uint64)
        case "decimal":
            unscaled = [int(a) * 10**19 + int(b) for a, b in rng.integers(-(10**18), 10**18, (size, 2))]
            return decimal_array([None if i % 7 == 2 else v for i, v in enumerate(unscaled)], pa.decimal128(38, 11))
        case "nulls and NaN":
            values = np.where(rng.random(size) < 0.1, np.nan, bulk("any bits", size, seed))
            return pa.array(values, mask=rng.random(size) < 0.1)
    raise AssertionError(kind)


KINDS = (
    "any bits",
    "all positive",
    "the largest",
    "the smallest",
    "wide",
    "offset",
    "one exponent",
    "climbing",
    "falling",
    "runs",
    "strays",
    "cancelling",
    "float32",
    "float16",
    "int64",
    "the smallest int64",
    "the largest uint64",
    "decimal",
    "nulls and NaN",
)
