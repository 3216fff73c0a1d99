"""Every type of numbers that Arrow has, from memory and from Parquet, against Python's own numbers; and what passes."""

import datetime as dt
import statistics
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.StreamnormWarning")

RTOL = 1e-14  # of statistics and results in doubles
METHODS = ["standard", "minmax", "maxabs", "robust"]
IN_MEMORY_ONLY = ("run_end", "negative_scale")  # Parquet has no such types


def _cases() -> dict[str, tuple[pa.Array, list]]:
    """An array of each type, and its values as Python's numbers."""
    cases = {}
    small = [3, 1, None, 120, 7, 7]
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        cases[str(kind)] = pa.array(small, kind), small
    big = [2**64 - 1, 2**64 - 3, None, 2**63 + 5, 2**53 + 1]
    cases["uint64_past_2**53"] = pa.array(big, pa.uint64()), big
    negative = [-(2**63), None, 2**53 + 1, 2**63 - 1]
    cases["int64_ends"] = pa.array(negative, pa.int64()), negative
    for name, dtype in (("float16", np.float16), ("float32", np.float32), ("float64", np.float64)):
        values = np.array([0.1, -2.5, 3.25, 1e-7, 60000.0]).astype(dtype)
        cases[name] = pa.array(values), values.astype(np.float64).tolist()
    money = [Decimal("1.25"), None, Decimal("-3.50"), Decimal("999.99")]
    for kind in (pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(60, 2)):
        cases[str(kind)] = pa.array(money, kind), money
    full = [Decimal("9" * 38), None, Decimal("-" + "9" * 37 + "7"), Decimal(1)]
    cases["decimal128_full"] = pa.array(full, pa.decimal128(38, 0)), full
    hundreds = [Decimal(1200), None, Decimal(-3500), Decimal(100)]
    cases["decimal_negative_scale"] = pa.array(hundreds, pa.decimal128(5, -2)), hundreds
    ticks = [10**9, None, 10**9 + 5, -7]
    for unit in ("ms", "us", "ns"):
        cases[f"timestamp_{unit}"] = pa.array(ticks, pa.timestamp(unit)), ticks
        cases[f"timestamp_{unit}_zone"] = pa.array(ticks, pa.timestamp(unit, "Europe/Berlin")), ticks
        cases[f"duration_{unit}"] = pa.array(ticks, pa.duration(unit)), ticks
    cases["duration_s"] = pa.array(ticks, pa.duration("s")), ticks
    days = [19000, None, -5, 0]
    cases["date32"] = pa.array(days, pa.date32()), days
    times = {"time32_ms": pa.time32("ms"), "time64_us": pa.time64("us"), "time64_ns": pa.time64("ns")}
    for name, kind in times.items():
        cases[name] = pa.array([1, None, 86_399, 5], kind), [1, None, 86_399, 5]
    cases["bool"] = pa.array([True, None, False, True]), [1, None, 0, 1]
    folded = [1.5, 2.5, None, 1.5]
    cases["dictionary"] = pa.array(folded).dictionary_encode(), folded
    indices = pa.array([0, 1, None, 2, 0], pa.int8())
    with_null = pa.DictionaryArray.from_arrays(indices, pa.array([7, None, 9]))
    cases["dictionary_run_end_null_inside"] = with_null, [7, None, None, 9, 7]
    cases["dictionary_decimal"] = pa.array(money).dictionary_encode(), money
    runs = [1.0, 1.0, None, 4.0, 4.0, 4.0]
    cases["run_end"] = pc.run_end_encode(pa.array(runs)), runs
    cases["run_end_int"] = pc.run_end_encode(pa.array([1, 1, None, 4])), [1, 1, None, 4]
    return cases


CASES = _cases()
STORED = [name for name in CASES if not any(word in name for word in IN_MEMORY_ONLY)]


def source(name: str, where: str, folder) -> object:
    table = pa.table({"x": CASES[name][0], "n": np.arange(len(CASES[name][0]))})
    if where == "memory":
        return table
    pq.write_table(table, folder / "x.parquet", row_group_size=2)
    return folder / "x.parquet"


PLACES = [(name, "memory") for name in CASES] + [(name, "parquet") for name in STORED]


@pytest.mark.parametrize(("name", "where"), PLACES)
def test_statistics_are_those_of_pythons_numbers(name, where, tmp_path):
    values = [value for value in CASES[name][1] if value is not None]
    for exact in (False, True):
        scaler = sn.fit(source(name, where, tmp_path), columns=["x"], exact=exact)
        column = scaler.summary_["x"]
        assert (column.count, column.null_count) == (len(values), len(CASES[name][1]) - len(values))
        assert (column.min, column.max) == (min(values), max(values))
        mean = sum(map(Fraction, values)) / len(values)
        variance = sum((Fraction(value) - mean) ** 2 for value in values) / len(values)
        assert column.var() == pytest.approx(float(variance), rel=RTOL)
        spread = max(abs(float(value)) for value in values)
        assert abs(column.mean - float(mean)) <= spread * RTOL
        if exact:
            assert column.mean == float(mean) and column.var() == float(variance)
    robust = sn.fit(source(name, where, tmp_path), "robust", columns=["x"])
    assert robust.summary_["x"].quantile(0.5) == pytest.approx(float(statistics.median(values)), rel=RTOL)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "where"), PLACES)
def test_transform_and_back(name, where, method, tmp_path):
    data = source(name, where, tmp_path)
    scaler = sn.fit(data, method, columns=["x"])
    if where == "memory":
        result, back = scaler.transform(data), scaler.inverse_transform(scaler.transform(data))
    else:
        sn.transform(data, tmp_path / "y.parquet", scaler)
        sn.inverse(tmp_path / "y.parquet", tmp_path / "z.parquet")
        result, back = pq.read_table(tmp_path / "y.parquet"), pq.read_table(tmp_path / "z.parquet")
    kind = CASES[name][0].type
    kept = kind if pa.types.is_floating(kind) else pa.float64()
    assert result.schema.field("x").type == back.schema.field("x").type == kept
    numbers = [None if value is None else float(value) for value in CASES[name][1]]
    spread = max(abs(value) for value in numbers if value is not None)
    tolerance = {pa.float16(): 2e-3, pa.float32(): 1e-6}.get(kept, RTOL)
    plain = pa.table({"x": pa.array(numbers, pa.float64())})
    wanted = scaler.transform(plain)["x"].to_pylist()
    for got, want in zip(result["x"].to_pylist(), wanted, strict=True):
        assert (got is None) == (want is None)
        assert got is None or got == pytest.approx(want, rel=tolerance, abs=tolerance)
    for got, number in zip(back["x"].to_pylist(), numbers, strict=True):
        assert (got is None) == (number is None)
        assert got is None or abs(got - number) <= spread * tolerance


@pytest.mark.parametrize("name", CASES)
def test_states_travel(name, tmp_path):
    for method, exact in (("standard", False), ("standard", True), ("robust", False), ("minmax", False)):
        table = source(name, "memory", tmp_path)
        scaler = sn.fit(table, method, columns=["x"], exact=exact)
        scaler.save(tmp_path / "s.json")
        loaded = sn.load(tmp_path / "s.json")
        assert loaded.digest() == scaler.digest() and (scaler + loaded).n_samples_seen_ is not None
        assert loaded.summary_["x"].min == scaler.summary_["x"].min
        rest = scaler + loaded - loaded if exact else None
        if rest is not None:
            rest.save(tmp_path / "r.json")
            assert sn.load(tmp_path / "r.json").summary_["x"].mean == scaler.summary_["x"].mean


def test_what_is_only_normalized_when_named():
    table = pa.table({"n": [1], "t": [dt.datetime(2020, 1, 1)], "b": [True], "v": [[1.0]], "s": [{"x": 1.0}]})
    assert sn.fit(table).feature_names_in_.tolist() == ["n"]


@pytest.mark.parametrize("where", ["memory", "parquet"])
def test_decimals_beyond_all_kernels(where, tmp_path):
    small, huge = [Decimal("1.5"), Decimal("2.5")], [Decimal("9" * 60 + ".25"), None, Decimal("1e59")]
    scaler = sn.fit(pa.table({"x": pa.array(small, pa.decimal256(76, 2))}))
    table = pa.table({"x": pa.array(huge, pa.decimal256(76, 2))})
    data = table
    if where == "parquet":
        data = tmp_path / "x.parquet"
        early = pa.table({"x": pa.array(small, pa.decimal256(76, 2))})
        pq.write_table(pa.concat_tables([early, table]), data, row_group_size=2)
    with pytest.raises(sn.DataError, match="more than 38 digits, .* cast the column to float64") as caught:
        sn.fit(data)
    assert caught.value.column == "x"
    if where == "parquet":
        assert (caught.value.file, caught.value.row_group) == (str(data), 1)
    result = sn.transform(data, None, scaler).read_all()["x"].to_pylist()[-3:]
    assert result == [None if value is None else (float(value) - 2.0) / 0.5 for value in huge]


def test_seconds_as_parquet_has_them(tmp_path):
    """Parquet has no seconds: what comes back is in milliseconds, and so are the statistics."""
    pq.write_table(pa.table({"t": pa.array([1, 3], pa.timestamp("s"))}), tmp_path / "t.parquet")
    assert sn.fit(tmp_path / "t.parquet", columns="t").summary_["t"].max == 3000


def test_decimals_inside_of_lists_beyond_all_kernels(tmp_path):
    huge = pa.array([[Decimal(1)], [Decimal("9" * 60)]], pa.list_(pa.decimal256(76, 2)))
    pq.write_table(pa.table({"v": huge}), tmp_path / "v.parquet", row_group_size=1)
    for data in (tmp_path / "v.parquet", pa.table({"v": huge})):
        with pytest.raises(sn.DataError, match="column 'v'.*more than 38 digits") as caught:
            sn.fit(data, columns="v")
        assert caught.value.row_group == (None if isinstance(data, pa.Table) else 1)


@pytest.mark.parametrize("kind", [pa.list_view(pa.float32()), pa.large_list_view(pa.float32())], ids=str)
def test_views_of_lists_become_lists(kind, tmp_path):
    """In any order, some more than once, some null that hide values; the last one is there, too."""
    values = pa.array([0.0, 1, 2, 3, 4, None], pa.float32())
    arrays = pa.ListViewArray if pa.types.is_list_view(kind) else pa.LargeListViewArray
    mask = pa.array([False, True, False, False, False])
    views = arrays.from_arrays([4, 0, 2, 1, 3], [2, 3, 2, 1, 0], values, type=kind, mask=mask)
    lists = views.to_pylist()
    assert lists == [[4.0, None], None, [2.0, 3.0], [1.0], []]
    pq.write_table(pa.table({"v": lists}, schema=pa.schema({"v": kind})), tmp_path / "v.parquet", row_group_size=2)
    for data in (pa.table({"v": views}), tmp_path / "v.parquet"):
        scaler = sn.fit(data, "minmax", columns="v")
        assert (scaler.data_min_.item(), scaler.data_max_.item()) == (1.0, 4.0)
        assert scaler.summary_["v"].null_count == 1
        result = sn.transform(data, None, scaler).read_all()
        is_list = pa.types.is_list if pa.types.is_list_view(kind) else pa.types.is_large_list
        assert is_list(result["v"].type) and result["v"].type.value_type == pa.float32()
        third, two_thirds = float(np.float32(1 / 3)), float(np.float32(2 / 3))
        assert result["v"].to_pylist() == [[1.0, None], None, [third, two_thirds], [0.0], []]
    last_two = sn.StandardScaler().fit(pa.table({"v": views[2:4]}), columns="v")
    assert last_two.mean_.item() == 2.0
    pairs = pa.table({"v": pa.array([[1.0, 2.0], [3.0, 6.0]], kind)})
    assert sn.StandardScaler().fit_transform(pairs, columns="v[*]")["v"].to_pylist() == [[-1.0, -1.0], [1.0, 1.0]]


STRANGE = {
    "list_view": pa.array([[1.0, 2.0], None, [3.0]], pa.list_view(pa.float64())),
    "large_list_view": pa.array([[1.0, 2.0], None, [3.0]], pa.large_list_view(pa.float64())),
    "map": pa.array([[("a", 1.0)], None, [("b", 2.0), ("c", None)]], pa.map_(pa.string(), pa.float64())),
    "binary_view": pa.array([b"a", None, b"c" * 50], pa.binary_view()),
    "string_view": pa.array(["a", None, "c" * 50], pa.string_view()),
}


@pytest.mark.parametrize("name", STRANGE)
def test_views_and_maps_pass_through(name, tmp_path):
    table = pa.table({"x": [1.0, 3.0, 2.0], name: STRANGE[name], "s": pa.StructArray.from_arrays(
        [STRANGE[name], pa.array([1.0, 2.0, None])], ["in", "y"])})  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet")
    before = pq.read_schema(tmp_path / "x.parquet")
    for source, options in (("x.parquet", {}), ("x.parquet", {"row_group_size": 2}), (table, {})):
        source = tmp_path / source if isinstance(source, str) else source
        sn.normalize(source, tmp_path / "y.parquet", columns=["x", "s.y"], overwrite=True, **options)
        after = pq.read_table(tmp_path / "y.parquet")
        assert after.schema.types == before.types
        assert after[name].to_pylist() == STRANGE[name].to_pylist()
        assert [row["in"] for row in after["s"].to_pylist()] == STRANGE[name].to_pylist()
        assert [row["y"] for row in after["s"].to_pylist()] == [-1.0, 1.0, None]
    if "list" not in name:
        for column in (name, "s.in", name + "[*]"):
            with pytest.raises(sn.DataError, match="keys differ from row to row" if name == "map" else "not numbers"):
                sn.fit(tmp_path / "x.parquet", columns=[column])


# ------------------------------------------------------------------ what passes through


class Celsius(pa.ExtensionType):
    """A type of somebody else's."""

    def __init__(self):
        super().__init__(pa.float32(), "tests.celsius")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


@pytest.fixture
def registered():
    pa.register_extension_type(Celsius())
    yield Celsius()
    pa.unregister_extension_type("tests.celsius")


def strangers(registered) -> pa.Table:
    """One column that is normalized, and one of each kind that is not."""
    ordered = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), ["low", "high"], ordered=True)
    storage = pa.array([1.5, None, 2.5], pa.float32())
    columns = {
        "x": pa.array([1.0, 2.0, None]),
        "ordered": ordered,
        "celsius": pa.ExtensionArray.from_storage(registered, storage),
        "when": pa.array([1, None, 3], pa.timestamp("us", "Asia/Tokyo")),
        "binary": pa.array([b"a", b"\0", None]),
        "large": pa.array(["a", None, "c"], pa.large_string()),
        "list": pa.array([[1], [], None], pa.list_(pa.field("item", pa.int8(), metadata={"in": "side"}))),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
        "sure": pa.array([1, 2, 3], pa.int64()),
        "flag": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
    }
    fields = [
        pa.field(name, array.type, nullable=name != "sure", metadata={"unit": f"of {name}"})
        for name, array in columns.items()
    ]
    schema = pa.schema(fields, metadata={"owner": "tests", "pandas": '{"columns": [], "index_columns": []}'})
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def check_passed(result: pa.Schema, before: pa.Schema) -> None:
    for field in before:
        assert result.field(field.name).equals(field, check_metadata=True), field.name
    for key, value in (before.metadata or {}).items():
        assert result.metadata[key] == value


def test_a_table_keeps_what_it_does_not_normalize(registered):
    table = strangers(registered)
    scaler = sn.StandardScaler().fit(table, columns="x")
    for data in (table, table.to_batches()[0], table.to_reader()):
        result = scaler.transform(data)
        result = result.read_all() if isinstance(result, pa.RecordBatchReader) else result
        check_passed(result.schema, table.schema)
        for name in table.column_names[1:]:
            assert result.column(name).to_pylist() == table.column(name).to_pylist()
    assert scaler.transform(table).column("ordered").type.ordered
    assert scaler.transform(table).column("large").chunk(0).buffers()[2].address == table["large"].chunk(0).buffers()[
        2].address


def test_parquet_keeps_what_it_does_not_normalize(registered, tmp_path):
    pq.write_table(strangers(registered), tmp_path / "x.parquet")
    before = pq.read_table(tmp_path / "x.parquet")
    for row_group_size in (None, 2):  # copied, and encoded anew
        sn.normalize(
            tmp_path / "x.parquet", tmp_path / "y.parquet", columns="x", row_group_size=row_group_size, overwrite=True
        )
        after = pq.read_table(tmp_path / "y.parquet")
        check_passed(after.schema, before.schema)
        for name in before.column_names[1:]:
            assert after[name].to_pylist() == before[name].to_pylist(), name
    assert after.schema.field("sure").nullable is False and after.schema.field("ordered").type.ordered


def test_an_extension_of_numbers_is_normalized_when_named(registered):
    table = strangers(registered)
    result = sn.StandardScaler().fit_transform(table, columns="celsius")
    assert result["celsius"].to_pylist() == [-1.0, None, 1.0]
    assert result.schema.field("celsius").metadata == {b"unit": b"of celsius"}


def test_polars_keeps_what_it_does_not_normalize():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "x": [1.0, 3.0, None],
            "e": pl.Series(["b", None, "a"], dtype=pl.Enum(["a", "b"])),
            "c": pl.Series(["u", "v", None], dtype=pl.Categorical),
            "d": [dt.date(2020, 1, 1), None, dt.date(1969, 1, 1)],
            "l": [[1], [], None],
            "s": [{"a": 1}, {"a": None}, None],
            "i": pl.Series([1, 2, 3], dtype=pl.Int8),
        }
    )
    result = sn.StandardScaler().fit(frame, columns="x").transform(frame)
    assert result.drop("x").equals(frame.drop("x")) and result.schema == frame.schema
    assert result["x"].to_list() == [-1.0, 1.0, None]


def test_pandas_keeps_what_it_does_not_normalize():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "x": [1.0, 3.0],
            "c": pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True),
            "t": pd.to_datetime(["2020-01-01", None]).tz_localize("Asia/Tokyo"),
            "n": pd.array([1, None], dtype="Int16"),
            "o": [{"any": "thing"}, object],
        },
        index=pd.Index([7, 9], name="key"),
    )
    frame.attrs["owner"] = "tests"
    result = sn.StandardScaler().fit(frame, columns="x").transform(frame)
    pd.testing.assert_frame_equal(result.drop(columns="x"), frame.drop(columns="x"))
    assert result["x"].tolist() == [-1.0, 1.0] and result.attrs == frame.attrs
