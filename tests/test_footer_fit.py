"""The fit from footers: the very scaler that a scan gives, no page read, and what a footer does not know left open."""

import json
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import edited
from support import children
from support.commands import run as command
from test_parquet_statistics import OF_EVERY_TYPE, changed, double, parquet

import streamnorm as sn
from streamnorm import footer_fit
from streamnorm._core import ColumnStats
from streamnorm.errors import DataError, NotMergeableError, StatisticNotCollected
from streamnorm.listing import as_table
from streamnorm.parquet.thrift import I64
from streamnorm.sources import ParquetInput
from streamnorm.summary import Summary

METHODS = ("minmax", "maxabs")
FUZZ_ROUNDS = 1500
SEED = 20130101


def floats(n=600):
    rng = np.random.default_rng(SEED)
    values = rng.standard_normal(n) * np.exp(3 * rng.standard_normal(n))
    values[rng.random(n) < 0.1] = np.nan
    return pa.array(values, mask=rng.random(n) < 0.1)


TABLE = pa.table(
    {
        "fare": floats(),
        "single": floats().cast(pa.float32()),
        "stops": pa.array([None if i % 7 == 3 else i % 100 - 50 for i in range(600)], pa.int8()),
        "big": pa.array([2**64 - 1 - i for i in range(600)], pa.uint64()),
        "price": pa.array([Decimal(i).scaleb(-2) for i in range(-300, 300)], pa.decimal128(9, 2)),
        "void": pa.array([None] * 600, pa.float64()),
        "blank": pa.array([None] * 600, pa.int32()),
    }
)
KNOWN = ("stops", "big", "price", "void", "blank")  # of these a footer tells the number of values


def write(path, table=TABLE, **options):
    pq.write_table(table, path, **{"row_group_size": 100, **options})
    return path


def maps(scaler):
    return repr(scaler._maps())


def scanned(path, *args, **options):
    """What a scan gives: the footers prove nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footer_fit, "leaf_extrema", lambda *_: "proves nothing")
        scaler = sn.fit(path, *args, **options)
    assert "footer" not in scaler.summary_.source.values()
    return scaler


def assert_same(ours, theirs):
    """Bit for bit, but for the number of NaN where it is open."""
    assert maps(ours) == maps(theirs)
    for (name, a), b in zip(ours.summary_.items(), theirs.summary_.values(), strict=True):
        known, expected = a.stats.state(), b.stats.state()
        if known["nan_count"] is None:
            expected["nan_count"] = None
        assert repr(known) == repr(expected), name
    for key in ("data_min_", "data_max_", "data_range_", "max_abs_", "scale_", "min_", "n_samples_seen_"):
        np.testing.assert_array_equal(getattr(ours, key, 0), getattr(theirs, key, 0), strict=True)


# ------------------------------------------------------------------------------------------------ against a scan


@pytest.mark.parametrize("method", [*METHODS, sn.MinMaxScaler((-2, 5), clip=True)], ids=str)
def test_equals_a_scan(method, tmp_path):
    path = write(tmp_path / "t.parquet")
    scaler = sn.fit(path, method)
    assert set(scaler.summary_.source.values()) == {"footer"} and scaler.summary_.passes == 0
    other = scanned(path, type(scaler)(**scaler.get_params()))
    assert other.summary_.passes == sn.merge([scaler, other], recount=True).summary_.passes == 1
    assert sn.merge([scaler, scaler], recount=True).summary_.passes == 0
    assert_same(scaler, other)
    assert scaler.n_samples_seen_ == 600
    for name in KNOWN:
        assert scaler.summary_[name].count == other.summary_[name].count
        assert scaler.summary_[name].nan_count == 0


@pytest.mark.parametrize(("kind", "values"), OF_EVERY_TYPE, ids=[str(case[0]) for case in OF_EVERY_TYPE])
def test_equals_a_scan_in_every_type(kind, values, tmp_path):
    if kind == pa.float64():
        values = [value and value / 4 for value in values]  # a range beyond doubles is refused
    path = write(tmp_path / "t.parquet", pa.table({"x": pa.array(values, kind)}), row_group_size=2)
    for method in METHODS:
        scaler = sn.fit(path, method, columns="x")
        assert scaler.summary_.source == {"x": "footer"}
        assert_same(scaler, scanned(path, method, columns="x"))


def test_hostile_columns(hostile, tmp_path):
    column = hostile if isinstance(hostile, pa.Array | pa.ChunkedArray) else pa.array(hostile)
    path = write(tmp_path / "t.parquet", pa.table({"x": column}), row_group_size=97)
    if len(column) == 0:
        with pytest.raises(DataError, match="no rows"):
            sn.fit(path, "minmax")
        return
    for method in METHODS:
        assert_same(sn.fit(path, method, columns="x"), scanned(path, method, columns="x"))


def test_several_files_and_empty_row_groups(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.parquet", TABLE.slice(200 * number, 200))
    write(tmp_path / "3.parquet", TABLE.slice(0, 0))
    scaler = sn.fit(tmp_path, "minmax")
    assert set(scaler.summary_.source.values()) == {"footer"}
    assert_same(scaler, scanned(tmp_path, "minmax"))
    assert maps(scaler) == maps(sn.fit(TABLE, "minmax"))


def test_a_file_of_another_decimal_scale_is_refused_as_before(tmp_path):
    write(tmp_path / "a.parquet", pa.table({"x": pa.array([Decimal("1.5")], pa.decimal128(9, 1))}))
    write(tmp_path / "b.parquet", pa.table({"x": pa.array([Decimal("1.50")], pa.decimal128(9, 2))}))
    with pytest.raises(DataError, match="its type is"):
        sn.fit(tmp_path, "minmax")


@pytest.mark.parametrize("writer", ["duckdb", "polars"])
def test_files_of_other_writers(writer, tmp_path):
    library = pytest.importorskip(writer)
    path, table = tmp_path / "t.parquet", TABLE.drop(["void"])
    if writer == "duckdb":
        library.from_arrow(table).to_parquet(str(path))
    else:
        library.from_arrow(table).write_parquet(path)
    for method in METHODS:
        scaler = sn.fit(path, method)
        assert_same(scaler, scanned(path, method))
        assert {scaler.summary_.source[name] for name in ("stops", "big", "price", "blank")} == {"footer"}


def test_what_we_normalized_ourselves(tmp_path):
    sn.normalize(write(tmp_path / "t.parquet"), tmp_path / "n.parquet", columns=["fare", "stops"])
    scaler = sn.fit(tmp_path / "n.parquet", "minmax", columns=["fare", "stops", "big"])
    source = scaler.summary_.source
    assert source["fare"] == source["stops"] == "footer" and source["big"].startswith("scan: n.parquet was written by")
    other = scanned(tmp_path / "n.parquet", "minmax", columns=["fare", "stops", "big"])
    assert_same(scaler, other)
    assert scaler.summary_["fare"].count == other.summary_["fare"].count  # its writer counted NaN
    assert scaler.digest() == other.digest()


# ------------------------------------------------------------------------------------------------ what is read


def without_pages(path, target):
    """The file with zeros in place of all its pages."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-4], "little")
    data[4 : -8 - length] = bytes(len(data) - 12 - length)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("method", METHODS)
def test_no_page_is_read(method, tmp_path):
    path = write(tmp_path / "t.parquet")
    broken = without_pages(path, tmp_path / "broken.parquet")
    assert maps(sn.fit(broken, method)) == maps(sn.fit(path, method))
    with pytest.raises(DataError, match="cannot be read"):
        sn.fit(broken, "standard")


def test_only_the_columns_that_need_it_are_read(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet")
    read = columns_read(monkeypatch)
    scaler = sn.fit(path, {"fare": "standard", "stops": "minmax", "big": "robust", "price": "maxabs"})
    assert read == {"fare", "big"}
    assert scaler.summary_.source == {"fare": "scan", "stops": "footer", "big": "scan", "price": "footer"}
    other = scanned(path, {"fare": "standard", "stops": "minmax", "big": "robust", "price": "maxabs"})
    assert_same(scaler, other)
    assert scaler.transformers_["stops"].summary_.source == {"stops": "footer"}


def columns_read(monkeypatch):
    """A set that gathers the names of columns whose pages are read."""
    from streamnorm import scan

    read, original = set(), scan.column_batches

    def column_batches(file, readers, row_groups, columns, **options):
        read.update(columns)
        return original(file, readers, row_groups, columns, **options)

    monkeypatch.setattr(scan, "column_batches", column_batches)
    return read


@pytest.mark.parametrize("method", ["standard", "robust"])
def test_other_methods_scan(method, tmp_path):
    scaler = sn.fit(write(tmp_path / "t.parquet"), method)
    assert set(scaler.summary_.source.values()) == {"scan"}


@pytest.mark.parametrize("statistics", [False, ["stops", "big"]])
def test_columns_without_statistics_are_scanned(statistics, tmp_path):
    path = write(tmp_path / "t.parquet", write_statistics=statistics)
    scaler = sn.fit(path, "minmax")
    some = set(statistics or ())
    for name, source in scaler.summary_.source.items():
        assert source == ("footer" if name in some else "scan: t.parquet row group 0 has no statistics")
    assert_same(scaler, scanned(path, "minmax"))
    fare = scaler.summary_["fare"]
    assert fare.count == 600 - TABLE["fare"].null_count - fare.nan_count > 0


def test_one_row_group_of_one_file_is_enough_for_a_scan(tmp_path):
    write(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(changed(data, {3: (I64, -1)}, row_group=4, column=2))
    scaler = sn.fit(tmp_path, "minmax")
    source = scaler.summary_.source
    assert source.pop("stops") == "scan: b.parquet row group 4 contradicts itself: its number of nulls"
    assert set(source.values()) == {"footer"}
    assert_same(scaler, scanned(tmp_path, "minmax"))


def test_a_column_that_only_arrow_knows_is_scanned(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet")
    monkeypatch.setattr("streamnorm.parquet.footer.Footer._positions", {})
    assert sn.fit(path, "minmax", columns="fare").summary_.source["fare"].startswith("scan: t.parquet has another name")


def test_rows_beyond_counting(tmp_path):
    most = (I64, 2**63 - 1)

    def claim(top):
        group = top[4][1][1][0]
        top[3] = group[3] = group[1][1][1][0][3][1][5] = most

    data = edited(parquet(pa.table({"x": [1, 2]})), claim)
    for name in "ab":
        (tmp_path / f"{name}.parquet").write_bytes(data)
    files = [ParquetInput(tmp_path / f"{name}.parquet") for name in "ab"]
    stats, _ = footer_fit.stats_from_footers(sn.MinMaxScaler(), files[:1], ["x"])
    assert stats["x"].rows == most[1]
    stats, source = footer_fit.stats_from_footers(sn.MinMaxScaler(), files, ["x"])
    assert not stats and source["x"].endswith("more rows than there can be")


def test_bounds_that_lie_are_caught_where_it_shows(tmp_path):
    path = tmp_path / "t.parquet"
    lie = {5: double(-1.0), 6: double(1.0)}
    path.write_bytes(changed(parquet(pa.table({"x": [1.0, 5.0]})), lie))
    scaler = sn.fit(path, "minmax")
    assert scaler.summary_.source["x"].endswith("contradicts itself: a minimum above the maximum")
    assert (scaler.data_min_[0], scaler.data_max_[0]) == (1.0, 5.0)


def test_infinity_is_an_error_that_names_the_row_group(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"x": [1.0, 2.0, float("inf"), 3.0]}), row_group_size=2)
    with pytest.raises(DataError, match="row group 1, column 'x': holds 1 infinite value") as caught:
        sn.fit(path, "minmax")
    assert (caught.value.row_group, caught.value.column) == (1, "x")


def test_a_range_beyond_doubles_is_refused_as_before(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"x": [-1.7e308, 1.7e308]}))
    with pytest.raises(DataError, match="spans more than a float64"):
        sn.fit(path, "minmax")


def test_named_booleans_and_dates(tmp_path):
    table = pa.table({"late": [True, None, False], "day": [date(1970, 1, 3), date(1969, 12, 31), None]})
    path = write(tmp_path / "t.parquet", table)
    scaler = sn.fit(path, "minmax", columns=["late", "day"])
    assert scaler.summary_.source == {"late": "footer", "day": "footer"}
    assert (scaler.summary_["late"].max, scaler.summary_["day"].min, scaler.summary_["day"].max) == (1, -1, 2)
    assert_same(scaler, scanned(path, "minmax", columns=["late", "day"]))


def test_normalize_uses_it_too(tmp_path):
    path = write(tmp_path / "t.parquet")
    calls = []
    scaler = sn.normalize(path, tmp_path / "out.parquet", "minmax", progress=lambda *done: calls.append(done))
    assert set(scaler.summary_.source.values()) == {"footer"}
    expected = scaler.transform(TABLE)["fare"].to_pylist()
    assert repr(pq.read_table(tmp_path / "out.parquet")["fare"].to_pylist()) == repr(expected)
    assert calls[0][:2] == (600, 1200) and calls[0][2] == 0  # rows that took no reading
    assert calls[-1][:2] == (1200, 1200)


# ------------------------------------------------------------------------------------------------ what is not known


def test_the_number_of_nan_is_not_made_up(tmp_path):
    scaler = sn.fit(write(tmp_path / "t.parquet"), "minmax")
    fare, stops = scaler.summary_["fare"], scaler.summary_["stops"]
    for ask in ("count", "nan_count"):
        with pytest.raises(StatisticNotCollected, match="'fare'.*footer.*StandardScaler"):
            getattr(fare, ask)
        assert getattr(fare.stats, ask) is None
    assert fare.null_count == TABLE["fare"].null_count and fare.rows == 600
    assert stops.count == 600 - TABLE["stops"].null_count
    assert "count=?" in repr(fare) and "nan_count=?" in repr(fare) and "?" not in repr(stops)
    assert "NaN not counted" in repr(fare.stats)


def test_states_keep_what_is_not_known(tmp_path):
    scaler = sn.fit(write(tmp_path / "t.parquet"), "minmax")
    scaler.save(tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["columns"][0]["nan_count"] is None
    again = sn.load(tmp_path / "s.json")
    assert maps(again) == maps(scaler)
    assert again.digest() == scaler.digest() and again.summary_.source == {}
    assert again.summary_["fare"].stats.count is None
    said = sn.inspect(tmp_path / "s.json")
    assert (said["columns"][0]["count"], said["columns"][0]["nan_count"]) == (None, None)
    assert said["columns"][2]["count"] == scaler.summary_["stops"].count
    assert " - " in as_table(said, said["columns"], 0, tty=False)


def test_inspect_of_a_footer_fit_on_the_command_line(folder):
    command("fit", "trips.parquet", "-o", "f.json", "--method", "minmax")
    assert " - " in command("inspect", "f.json").stdout
    assert json.loads(command("inspect", "f.json", "--json").stdout)["columns"][0]["count"] is None


def test_unknown_and_known_make_unknown(tmp_path):
    path = write(tmp_path / "t.parquet")
    from_footer, from_data = sn.fit(path, "minmax"), sn.fit(TABLE, "minmax")
    for merged in (from_footer + from_data, from_data + from_footer, sn.fit(path, "minmax").partial_fit(TABLE)):
        assert merged.summary_["fare"].stats.count is None
        assert merged.summary_["fare"].null_count == 2 * TABLE["fare"].null_count
        assert merged.summary_["stops"].count == 2 * from_data.summary_["stops"].count
        assert maps(merged) == maps(from_data) and merged.n_samples_seen_ == 1200
    with pytest.raises(NotMergeableError):
        from_footer.merge(sn.fit(TABLE, "standard"))


def test_column_stats_from_extrema():
    make = ColumnStats.from_extrema
    stats = make(10, 2, "float", -0.0, 3.0, nan_count=None)
    assert (stats.min, stats.max, stats.count, stats.has_moments) == (0.0, 3.0, None, False)
    again = ColumnStats.from_state(stats.state())
    assert again.state() == stats.state() == stats.copy().state()
    fed = stats.copy().update(np.array([7.5, np.nan]))
    assert (fed.max, fed.rows, fed.count, fed.nan_count) == (7.5, 12, None, None)
    exact = make(3, 0, "int", 2**63 - 1, 2**64 - 1)
    assert (exact.min, exact.max, exact.count, exact.nan_count) == (2**63 - 1, 2**64 - 1, 3, 0)
    cents = make(2, 0, "decimal", Decimal("1.5"), Decimal("2.25"), scale=2)
    assert (str(cents.min), str(cents.max)) == ("1.50", "2.25")
    nothing = make(4, 4, "decimal", None, None, scale=3)
    assert (nothing.min, nothing.kind, nothing.count) == (None, "decimal", 0)
    for wrong in (
        dict(kind="float", min=2.0, max=1.0),
        dict(kind="float", min=None, max=None),
        dict(kind="float", min=1.0, max=float("inf")),
        dict(kind="float", min=float("nan"), max=1.0),
        dict(kind="int", min=1, max=2, nan_count=None),
        dict(kind="int", min=1, max=2, nan_count=1),
        dict(kind="decimal", min=Decimal("1.555"), max=Decimal("2"), scale=2),
        dict(kind="none", min=1, max=2),
        dict(kind="float", min=1.0, max=1.0, null_count=4),
        dict(kind="float", min=1.0, max=1.0, null_count=-1),
        dict(kind="float", min=None, max=None, null_count=3, nan_count=None),
    ):
        with pytest.raises(ValueError):
            make(**{"rows": 3, "null_count": 0, **wrong})


@pytest.mark.parametrize("more", [{"sketch": b""}, dict(mean=1.0, mean_lo=0.0, m2=0.0, exponent=0)])
def test_moments_and_sketches_count_nan(more):
    state = ColumnStats.from_extrema(3, 0, "float", 1.0, 2.0, nan_count=None).state()
    if "sketch" in more:
        more = {"sketch": sn.QuantileSketch().update(np.array([1.0, 2.0])).to_bytes()}
    with pytest.raises(ValueError):
        ColumnStats.from_state(state | more)


def test_the_twin_does_not_make_it_up_either():
    from streamnorm.reference import ColumnStats as Twin

    for cls in (ColumnStats, Twin):
        part = cls.from_extrema(10, 2, "float", -1.0, 3.0, nan_count=None)
        part.merge(cls(moments=False).update(np.array([5.0, np.nan])))
        state = part.state()
        assert (state["rows"], state["null_count"], state["nan_count"], part.count) == (12, 2, None, None)
        assert (state["min"], state["max"]) == (-1.0, 5.0)
        assert cls.from_state(state).state() == state


# ------------------------------------------------------------------------------------------------ where it came from


def test_sources_of_data_in_memory():
    assert sn.fit(TABLE, "minmax").summary_.source["fare"] == "data"
    assert sn.fit(np.array([[1.0, 2.0]])).summary_.source == {0: "data", 1: "data"}
    assert sn.fit(TABLE.to_reader(), "maxabs").summary_.source["big"] == "data"


def test_sources_are_joined(tmp_path):
    good = sn.fit(write(tmp_path / "good.parquet"), "minmax", columns="fare")
    bad = sn.fit(write(tmp_path / "bad.parquet", write_statistics=False), "minmax", columns="fare")
    data = sn.fit(TABLE, "minmax", columns="fare")
    why = "scan: bad.parquet row group 0 has no statistics"
    assert sn.merge([good, good], recount=True).summary_.source == {"fare": "footer"}
    assert (good + bad).summary_.source == {"fare": f"footer; {why}"}
    assert sn.merge([good, bad, data, bad], recount=True).summary_.source == {"fare": f"footer; {why}; data"}
    assert good.summary_.copy().source == {"fare": "footer"} and good.summary_.source == {"fare": "footer"}
    assert good.partial_fit(TABLE).summary_.source == {"fare": "footer; data"}
    data.save(tmp_path / "s.json")
    assert (sn.load(tmp_path / "s.json") + bad).summary_.source == {"fare": f"state; {why}"}
    assert (sn.load(tmp_path / "s.json") + sn.load(tmp_path / "s.json")).summary_.source == {}
    assert Summary().merge(bad.summary_).source == {"fare": why}


def test_a_reason_with_a_semicolon_stays_one(tmp_path):
    path = write(tmp_path / "a; b.parquet", write_statistics=False)
    scaler = sn.fit(path, "minmax", columns="fare")
    assert (scaler + sn.fit(TABLE, "minmax", columns="fare")).summary_.source["fare"].count(";") == 1


def test_verbose_says_what_came_from_the_footer(folder):
    text = command("fit", "trips.parquet", "-o", "v.json", "--method", "minmax", "--verbose").stderr
    assert "from the footers: fare, tip, zone_id\n" in text
    assert "footers" not in command("fit", "trips.parquet", "-o", "w.json", "--method", "minmax").stderr
    assert "footers" not in command("fit", "trips.parquet", "-o", "x.json", "--verbose").stderr
    pq.write_table(pq.read_table("trips.parquet"), "bare.parquet", write_statistics=["fare"])
    text = command("fit", "bare.parquet", "-o", "y.json", "--method", "minmax", "--verbose").stderr
    assert "from the footers: fare; scanned: tip (bare.parquet row group 0 has no statistics), zone_id (" in text
    line = command("fit", "bare.parquet", "-o", "z.json", "--method", "minmax", "--verbose", "--log-format=json").stderr
    events = [json.loads(one) for one in line.splitlines()]
    (said,) = [one for one in events if one["event"] == "statistics"]
    assert said["source"]["fare"] == "footer" and said["source"]["tip"].startswith("scan: bare.parquet")


# ------------------------------------------------------------------------------------------------ hostile files

FUZZ = """
import random, sys
from pathlib import Path

import streamnorm as sn
from streamnorm.errors import StreamnormError

path, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = path.read_bytes()
start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
rng, failed, fitted = random.Random(seed), 0, 0
for round_ in range(rounds):
    broken = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(start, len(data) - 8)
        broken[at] = broken[at] ^ 1 << rng.randrange(8) if round_ % 2 else rng.randrange(256)
    if round_ % 10 == 0:  # cut the footer, with its length told rightly
        cut = rng.randrange(start, len(data) - 8)
        broken[cut:] = (cut - start).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(broken)
    try:
        sn.fit(path, ("minmax", "maxabs")[round_ % 2], threads=1)
        fitted += 1
    except StreamnormError:
        failed += 1
print(fitted, failed)
"""


def test_no_mutated_footer_takes_the_process_down(tmp_path):
    table = pa.table({name: TABLE[name].slice(0, 40) for name in ("fare", "stops", "big", "price", "blank")})
    path = write(tmp_path / "t.parquet", table, row_group_size=20)
    result = children.run(FUZZ, path, FUZZ_ROUNDS, SEED)
    assert result.status == 0, result.err[-2000:]
    fitted, failed = map(int, result.out.split())
    assert fitted > 100 and failed > 100 and fitted + failed == FUZZ_ROUNDS


def test_a_column_name_that_is_no_text_is_an_error(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(write(tmp_path / "s.parquet", pa.table({"fare": [1.0]})).read_bytes().replace(b"fare", b"f\xffre"))
    with pytest.raises(DataError, match="not UTF-8"):
        sn.fit(path, "minmax")
