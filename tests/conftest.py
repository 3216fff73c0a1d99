"""What all tests share: the hostile inputs, in one list, and hypothesis' settings (no luck, no clock)."""

import copy
import signal
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from support.commands import FARES, TIPS

import streamnorm as sn
from streamnorm.scalers import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

settings.register_profile("streamnorm", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("streamnorm")

SEED = 20130101


@pytest.fixture(autouse=True)
def _interruptible() -> None:
    """Let the processes that a test starts be interrupted, which those of a shell's job in the background are not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _slice(array: pa.Array, start: int, stop: int) -> pa.Array:
    """A slice whose offset is not a multiple of 8, as bitmaps do not like it."""
    return array[start:stop]


def _hostile() -> list[tuple[str, Any]]:
    rng = np.random.default_rng(SEED)
    normal = rng.normal(size=1009)
    nulls = [None if i % 7 == 3 else float(x) for i, x in enumerate(normal)]
    with_nan = np.where(np.arange(1009) % 5 == 1, np.nan, normal)
    return [
        ("normal", normal),
        ("all_negative", -np.abs(normal) - 1.0),
        ("constant", np.full(127, 3.7)),
        ("constant_zero", np.zeros(127)),
        ("one_row", np.array([42.5])),
        ("two_rows", np.array([1.0, 2.0])),
        ("offset_1e9", normal + 1e9),
        ("offset_1e15", np.round(normal * 100) + 1e15),
        ("size_1e-13", normal * 1e-13),
        ("size_1e-200", normal * 1e-200),
        ("size_1e300", normal * 1e300),
        ("plus_minus_1e308", np.where(np.arange(101) % 2 == 0, 8e307, -8e307)),
        ("denormals", np.arange(1, 500) * 5e-324),
        ("nan", with_nan),
        ("heavy_tail", np.exp(3 * normal)),
        ("ties", np.round(normal)),
        ("float16", normal.astype(np.float16)),
        ("float32", (normal * 100).astype(np.float32)),
        ("bool", normal > 0),
        ("int8", rng.integers(-128, 128, 503).astype(np.int8)),
        ("uint64_past_2**53", np.uint64(2**63) + rng.integers(0, 10**6, 307).astype(np.uint64)),
        ("int64_past_2**53", 2**60 + rng.integers(0, 10**15, 307)),
        ("strided", np.repeat(normal, 2)[::2]),
        ("reversed", normal[::-1]),
        ("arrow_nulls", pa.array(nulls)),
        ("arrow_nan_and_nulls", pa.array([None if i % 7 == 3 else x for i, x in enumerate(with_nan)])),
        ("arrow_slice", _slice(pa.array(nulls), 13, 989)),
        ("arrow_all_null", pa.array([None] * 37, pa.float64())),
        ("arrow_empty", pa.array([], pa.float64())),
        ("arrow_int_nulls", _slice(pa.array([None if i % 3 == 0 else i * i for i in range(301)]), 5, 290)),
        ("arrow_float16", pa.array(normal.astype(np.float16))),
        ("arrow_decimal", pa.array([Decimal(i).scaleb(-2) if i % 11 else None for i in range(-200, 307)])),
        ("arrow_null_chunk", pa.chunked_array([nulls[:50], [None] * 20, [], nulls[50:90]], pa.float64())),
    ]


HOSTILE: list[tuple[str, Any]] = _hostile()


@pytest.fixture(params=[array for _, array in HOSTILE], ids=[name for name, _ in HOSTILE])
def hostile(request: pytest.FixtureRequest) -> Any:
    """One hostile column: a one-dimensional ndarray, pyarrow.Array or ChunkedArray, without infinities."""
    return request.param


def as_doubles(array: Any) -> np.ndarray:
    """A hostile column as float64 with NaN where there is no value: what other libraries can take."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64)
    return np.array([np.nan if v is None else float(v) for v in array.to_pylist()], dtype=np.float64)


SCALERS = {
    "standard": StandardScaler(),
    "standard_ddof": StandardScaler(ddof=1),
    "standard_center": StandardScaler(with_std=False),
    "standard_scale": StandardScaler(with_mean=False),
    "minmax": MinMaxScaler(),
    "minmax_range": MinMaxScaler((-3, 5.5)),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust_unit": RobustScaler(quantile_range=(10.0, 80.0), unit_variance=True),
    "robust_scale": RobustScaler(with_centering=False),
}


@pytest.fixture(params=list(SCALERS))
def scaler(request):
    return copy.deepcopy(SCALERS[request.param])


@pytest.fixture
def X():
    rng = np.random.default_rng(SEED)
    X = rng.lognormal(size=(997, 5)) * [1, 1e-13, 1e6, 3, 1] + [0, 0, 1e9, -50, 7]
    X[:, 4] = 2.5
    return X


@pytest.fixture
def table():
    return pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "fare": [1.0, 2.0, None, 6.0],
            "late": [True, False, None, True],
            "stops": pa.array([3, 1, 2, None], pa.int16()),
            "price": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("5.50")], pa.decimal128(7, 2)),
            "day": pa.array([0, 1, 2, 3], pa.date32()),
            "grade": pa.array([10, 20, 10, None]).dictionary_encode(),
        }
    )


def bits(scaler):
    return [repr(column.stats.state()) for column in scaler.summary_.values()]


def same(a, b):
    """Equal values, NaN to NaN, for arrays and tables."""
    if isinstance(a, pa.Table | pa.RecordBatch):
        return a.schema.equals(b.schema, check_metadata=True) and repr(a.to_pydict()) == repr(b.to_pydict())
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


@pytest.fixture
def out(tmp_path):
    """An empty folder for targets."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with what the examples of the help texts speak of."""
    monkeypatch.chdir(tmp_path)
    trips = pa.table({"fare": FARES, "tip": TIPS, "zone_id": [1, 2, 1, 3], "zone": ["a", "b", "a", "c"]})
    pq.write_table(trips, "trips.parquet")
    sn.fit("trips.parquet").save("stats.json")
    sn.fit(trips.slice(0, 2)).save("monday.json")
    sn.fit(trips.slice(2)).save("tuesday.json")
    pq.write_table(trips, "normalized.parquet")
    sn.normalize("trips.parquet", "normalized.parquet", overwrite=True)
    sn.nn.Regressor(4, epochs=1, random_state=0).fit("trips.parquet", target="tip").save("model.safetensors")
    return tmp_path


@pytest.fixture(scope="session")
def big(tmp_path_factory):
    """A file that takes more than a second to normalize."""
    path = tmp_path_factory.mktemp("big") / "big.parquet"
    values = np.random.default_rng(7).normal(size=3_000_000)
    columns = {name: np.roll(values, shift) for shift, name in enumerate("abcd")}
    pq.write_table(pa.table(columns), path, row_group_size=1_000_000, use_dictionary=False, compression="none")
    return path
