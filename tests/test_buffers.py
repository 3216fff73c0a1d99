"""Arrow arrays by their buffers, and that no job over files imports what it has no use for."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children

from streamnorm.scalers._buffers import array_of, missing_rows, plain_values
from streamnorm.scalers._nested import numbers_of

VALUES = [None, 1, 2, None, 4, 5, 6, 7, None, 9, 10, None, 12, 13, 14, 15, None, 17]


@pytest.mark.parametrize("kind", [pa.int8(), pa.float16(), pa.float64(), pa.decimal128(9, 2), pa.list_(pa.int8())])
def test_nulls_of_any_slice(kind):
    values = [None if value is None else [value] for value in VALUES] if pa.types.is_list(kind) else VALUES
    if kind == pa.float16():
        values = [None if value is None else np.float16(value) for value in values]
    whole = pa.array(values, kind)
    for start in range(len(values)):
        for stop in range(start, len(values) + 1):
            found = missing_rows(whole[start:stop]).tolist()
            assert found == [value is None for value in values[start:stop]], (start, stop)


def test_arrays_of_numbers():
    mask = np.array([value is None for value in VALUES])
    values = np.array([0 if value is None else value for value in VALUES], np.int16)
    array = array_of(values, mask)
    array.validate(full=True)
    assert array.to_pylist() == VALUES and array.null_count == mask.sum()
    assert array_of(values[::2]).to_pylist() == values[::2].tolist()
    assert np.shares_memory(plain_values(array[3:]), values) and plain_values(array[3:]).tolist() == values[3:].tolist()
    assert plain_values(pa.array([True])) is None


def test_values_that_null_lists_hide():
    offsets = pa.py_buffer(np.array([0, 2, 4, 5], np.int32))
    lists = pa.Array.from_buffers(
        pa.list_(pa.int8()), 3, [pa.py_buffer(b"\x05"), offsets], children=[pa.array([1, 2, 3, 4, 5], pa.int8())]
    )
    assert lists.to_pylist() == [[1, 2], None, [5]]
    assert numbers_of(lists).to_pylist() == [1, 2, 5] and numbers_of(lists[1:]).to_pylist() == [5]


JOB = """
import sys, streamnorm as sn
sn.normalize(sys.argv[1], sys.argv[2], columns=sys.argv[3].split(), overwrite=True, infinite="null")
print(sorted({"pandas", "pyarrow.compute", "pyarrow.dataset"} & set(sys.modules)))
"""


def test_jobs_over_files_do_not_import_pandas(tmp_path):
    """35 MB, and 9 MB of compute functions."""
    pytest.importorskip("pandas")
    lists = [[1.0, 2.0], None, [3.0, None], [float("inf"), 4.0]]
    pq.write_table(pa.table({"v": lists, "w": lists, "s": [{"x": 1.5}, None, {"x": None}, {"x": 3.0}]}),
                   tmp_path / "x.parquet")  # fmt: skip
    result = children.run(JOB, tmp_path / "x.parquet", tmp_path / "y.parquet", "v w[*] s.x")
    assert (result.status, result.out) == (0, "[]\n"), result
