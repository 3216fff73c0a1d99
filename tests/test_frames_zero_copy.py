"""Nothing is copied on the way: kernels read the frame's own buffers, and what passes through shares them."""

import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest

from streamnorm.scalers import StandardScaler, _base, _transform

ROWS = 10_000
LARGE_ROWS = 2_000_000
QUERY_ROWS = 20_000_000
COLUMNS = 4
SLACK = 1.6  # columns that a transform may take beyond its result


def address_of(array) -> int:
    """Where the first value that a kernel reads lies."""
    if isinstance(array, np.ndarray):
        return array.ctypes.data
    return array.buffers()[1].address + array.offset * array.type.bit_width // 8


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The addresses that the kernels read from."""
    seen: list[int] = []
    affine, affine_matrix, update = _transform.affine, _transform.affine_matrix, _base._update

    def watched_affine(x, *arguments, **options):
        seen.extend(map(address_of, x.chunks if isinstance(x, pa.ChunkedArray) else [x]))
        return affine(x, *arguments, **options)

    def watched_matrix(X, *arguments, **options):
        seen.append(address_of(X))
        return affine_matrix(X, *arguments, **options)

    def watched_update(columns, chunk, *rest):
        seen.append(address_of(chunk))
        return update(columns, chunk, *rest)

    monkeypatch.setattr(_transform, "affine", watched_affine)
    monkeypatch.setattr(_transform, "affine_matrix", watched_matrix)
    monkeypatch.setattr(_base, "_update", watched_update)
    return seen


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "fare": rng.standard_normal(ROWS),
        "stops": rng.integers(0, 9, ROWS),
        "small": rng.standard_normal(ROWS).astype(np.float32),
        "key": rng.integers(0, 99, ROWS).astype(np.int32),
    }


NAMES = ["fare", "stops", "small"]


def check(read: list[int], frame, addresses: list[int]):
    """Fit and transform read these addresses, and no others; the transformed frame."""
    scaler = StandardScaler()
    scaler.fit(frame, columns=NAMES)
    assert read == addresses
    read.clear()
    result = scaler.transform(frame)
    assert read == addresses
    return result


def test_pyarrow(read):
    whole = pa.table(values())
    whole = whole.set_column(0, "fare", pa.array(values()["fare"], mask=np.arange(ROWS) % 7 == 0))
    for table in (whole, pa.concat_tables([whole, whole.slice(16, 1000)]), whole.slice(8)):
        read.clear()
        addresses = [address_of(chunk) for name in NAMES for chunk in table[name].chunks]
        result = check(read, table, addresses)
        kept = [address_of(chunk) for chunk in table["key"].chunks]
        assert [address_of(chunk) for chunk in result["key"].chunks] == kept
        bits = [(chunk.buffers()[0].address + chunk.offset // 8) for chunk in table["fare"].chunks]
        assert [chunk.buffers()[0].address for chunk in result["fare"].chunks] == bits
    read.clear()
    batch = whole.to_batches()[0]
    result = check(read, batch, [address_of(batch[name]) for name in NAMES])
    assert address_of(result["key"]) == address_of(batch["key"])


def polars_addresses(series) -> list[int]:
    return [chunk.to_numpy().ctypes.data for chunk in series.get_chunks()]


def test_polars(read):
    pl = pytest.importorskip("polars")
    one = pl.DataFrame(values())
    for frame in (one, pl.concat([one, one.slice(3, 500)], rechunk=False)):
        read.clear()
        result = check(read, frame, [at for name in NAMES for at in polars_addresses(frame[name])])
        assert polars_addresses(result["key"]) == polars_addresses(frame["key"])
        assert result["fare"].n_chunks() == frame["fare"].n_chunks()


def test_what_the_kernel_wrote_is_what_the_frame_holds(monkeypatch):
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    written = []
    affine = _transform.affine

    def watched(x, *arguments, **options):
        made = affine(x, *arguments, **options)
        lengths = [len(chunk) for chunk in x.chunks] if isinstance(x, pa.ChunkedArray) else [len(x)]
        written.extend(made[sum(lengths[:i]) :].ctypes.data for i in range(len(lengths)))
        return made

    monkeypatch.setattr(_transform, "affine", watched)
    scaler = StandardScaler().fit(pa.table(values()), columns=NAMES)
    one = pl.DataFrame(values())
    result = scaler.transform(pl.concat([one, one.head(700)], rechunk=False))
    assert [at for name in NAMES for at in polars_addresses(result[name])] == written
    for frame in (pd.DataFrame(values()), pd.DataFrame(values()).convert_dtypes(dtype_backend="pyarrow")):
        written.clear()
        result = scaler.transform(frame)
        assert [pandas_address(result[name]) for name in NAMES] == written
    written.clear()
    nullable = pd.DataFrame(values()).convert_dtypes()
    result = scaler.transform(nullable)
    assert [result[name].array._data.ctypes.data for name in NAMES] == written
    written.clear()
    table = scaler.transform(pa.table(values()))
    assert [address_of(table[name].chunk(0)) for name in NAMES] == written


def pandas_address(series) -> int:
    if type(series.dtype).__name__ == "ArrowDtype":
        return address_of(pa.chunked_array(series).chunk(0))
    return series.to_numpy().ctypes.data


@pytest.mark.parametrize("backend", ["numpy", "pyarrow"])
def test_pandas(read, backend):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(values())
    if backend == "pyarrow":
        frame = pd.DataFrame({k: pd.arrays.ArrowExtensionArray(pa.chunked_array([v])) for k, v in values().items()})
    result = check(read, frame, [pandas_address(frame[name]) for name in NAMES])
    assert pandas_address(result["key"]) == pandas_address(frame["key"])
    result.loc[0, "fare"] = 17.0  # as any frame, without a word to the one it was made from
    assert result.loc[0, "fare"] == 17.0 and frame.loc[0, "fare"] != 17.0


def test_pandas_columns_stay_independent():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(values())
    before = frame.copy()
    result = StandardScaler().fit(frame, columns=NAMES).transform(frame)
    result.loc[1, "key"] = -1
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_and_torch(read, order):
    X = np.array(np.random.default_rng(2).standard_normal((ROWS, 3)), order=order)
    addresses = [X.ctypes.data] if order == "C" else [X[:, j].ctypes.data for j in range(3)]
    scaler = StandardScaler().fit(X)
    result = scaler.transform(X)
    assert read == addresses and result.flags.c_contiguous == (order == "C")
    torch = pytest.importorskip("torch")
    read.clear()
    tensor = torch.from_numpy(X)
    result = scaler.fit(tensor).transform(tensor)
    assert read == addresses and result.stride() == tensor.stride()
    read.clear()
    mine = X.copy(order="K")
    torch_mine = torch.from_numpy(mine)
    assert scaler.transform(torch_mine, copy=False) is torch_mine
    assert (mine == result.numpy()).all()


def test_duckdb(read):
    """The batches that DuckDB streams are read where they lie."""
    duckdb = pytest.importorskip("duckdb")
    from streamnorm.scalers import _queries

    handed = []
    reader = _queries.reader

    def watched(relation):
        source = reader(relation)

        def batches():
            for batch in source:
                handed.extend(address_of(column) for column in batch.columns)
                yield batch

        return pa.RecordBatchReader.from_batches(source.schema, batches())

    _queries.reader, before = watched, reader
    try:
        StandardScaler().fit(duckdb.from_arrow(pa.table(values())), columns=NAMES)
    finally:
        _queries.reader = before
    assert read == handed and len(read) >= len(NAMES)


# Peak memory, in a process of its own

CHILD = """
import sys
import numpy as np, pyarrow as pa
from streamnorm.scalers import StandardScaler
kind = sys.argv[1]
rows, columns = {rows}, {columns}
data = {{f"c{{j}}": np.random.default_rng(j).standard_normal(rows) for j in range(columns)}}
if kind == "polars":
    import polars as pl
    frame = pl.DataFrame(data)
elif kind == "pandas":
    import pandas as pd
    frame = pd.DataFrame(data, copy=False)
elif kind == "pyarrow":
    frame = pa.table(data)
elif kind == "numpy":
    frame = np.stack(list(data.values()), axis=1)
elif kind == "torch":
    import torch
    frame = torch.from_numpy(np.stack(list(data.values()), axis=1))
del data
StandardScaler().fit(frame[:8]).transform(frame[:8])
def peak():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])
open("/proc/self/clear_refs", "w").write("5")
start = peak()[0]
scaler = StandardScaler().fit(frame)
fitted = peak()[1]
open("/proc/self/clear_refs", "w").write("5")
result = scaler.transform(frame)
print((fitted - start) * 1024, (peak()[1] - start) * 1024)
"""
QUERY = """
import sys
from streamnorm.scalers import StandardScaler
if sys.argv[1] == "duckdb":
    import duckdb
    duckdb.sql("set threads=2")
    query = lambda rows: duckdb.sql(f"select i::double as x, (i % 7)::double as y from range({{rows}}) t(i)")
else:
    import polars as pl
    def query(rows):
        lazy = pl.scan_parquet(sys.argv[2])
        return lazy.head(rows).with_columns(y=pl.col("x") + 1)
def peak():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])
StandardScaler().fit(query(500_000))
open("/proc/self/clear_refs", "w").write("5")
start = peak()[0]
StandardScaler().fit(query({rows}))
print((peak()[1] - start) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are reset through /proc")
@pytest.mark.parametrize("kind", ["polars", "pandas", "pyarrow", "numpy", "torch"])
def test_peak_memory(kind):
    if kind not in ("pyarrow", "numpy"):
        pytest.importorskip(kind)
    code = textwrap.dedent(CHILD).format(rows=LARGE_ROWS, columns=COLUMNS)
    run = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True)
    fitted, transformed = map(int, run.stdout.split())
    column = 8 * LARGE_ROWS
    assert fitted < column, f"fit took {fitted / column:.2f} columns"
    assert transformed < (COLUMNS + SLACK) * column, f"transform took {transformed / column:.2f} columns"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are reset through /proc")
@pytest.mark.parametrize("kind", ["duckdb", "polars"])
def test_a_fit_of_a_query_holds_a_part_of_its_result(kind, tmp_path):
    pytest.importorskip(kind)
    path = tmp_path / "x.parquet"
    if kind == "polars":
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"x": np.arange(float(QUERY_ROWS))}), path, row_group_size=250_000)
    code = QUERY.format(rows=QUERY_ROWS)
    run = subprocess.run([sys.executable, "-c", code, kind, str(path)], capture_output=True, text=True, check=True)
    taken = int(run.stdout)
    assert taken < 2 * 8 * QUERY_ROWS / 4, f"the fit took {taken / 1e6:.0f} MB"
