"""Scalars that are made without pandas: as pyarrow makes them."""

from decimal import Decimal

import pyarrow as pa
import pytest
from support import children

from streamnorm.scalers._buffers import scalar_of

CASES = [
    (1, pa.int8()), (-5, pa.int64()), (2**64 - 1, pa.uint64()), (3, pa.int32()),
    (Decimal("1.50"), pa.decimal128(10, 2)), (Decimal("1E+3"), pa.decimal128(10, 0)),
    (Decimal("-7"), pa.decimal32(5, 1)),
    (Decimal(10) ** 60, pa.decimal256(76, 2)), (Decimal("0.001"), pa.decimal64(10, 3)),
    (1.5, pa.float32()), (0.1, pa.float32()), (1e300, pa.float32()), (5e-324, pa.float64()),
    (-float("inf"), pa.float64()),
    (True, pa.bool_()), (False, pa.bool_()), (None, pa.bool_()), (None, pa.string()),
    ("é\0x", pa.string()), ("", pa.string()), ("x", pa.large_string()),
]  # fmt: skip


@pytest.mark.parametrize("value,kind", CASES, ids=str)
def test_scalars_are_those_of_pyarrow(value, kind):
    made = scalar_of(value, kind)
    assert made.type == kind and made.equals(pa.scalar(value, kind))


def test_a_number_beyond_the_type_is_an_error():
    with pytest.raises(pa.ArrowInvalid):
        scalar_of(300, pa.int8())


def test_pandas_is_not_imported():
    code = """
import datetime, sys
from decimal import Decimal
import pyarrow as pa
from streamnorm.row_filter import RowFilter
from streamnorm.where import parse
schema = pa.schema({"x": pa.float64(), "i": pa.int32(), "s": pa.string(), "t": pa.timestamp("us"), "d": pa.date32(),
                    "n": pa.decimal128(10, 2), "c": pa.time64("us")})
numbers = ", ".join(map(str, range(20)))
condition = f"x > 1.5 and i in ({numbers}) and s != 'a' and n = 2.5"
condition += " and t < '2024-01-31' and d > '2024-01-31' and c > '12:00'"
batch = pa.RecordBatch.from_arrays([pa.nulls(3, field.type) for field in schema], schema=schema)
assert len(RowFilter(parse(condition), schema).rows_of(batch)) == 0
print("pandas" in sys.modules)
"""
    done = children.run(code)
    assert (done.status, done.out, done.err) == (0, "False\n", "")
