"""Exact quantiles: the selecting kernel against its twin, and the search with little memory and wrong sketches."""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import as_doubles
from hypothesis import given
from hypothesis import strategies as st

import streamnorm as sn
from streamnorm import fitting, refine
from streamnorm._core import ColumnStats, Selection
from streamnorm._sketch import QuantileSketch
from streamnorm.errors import DataError, NotMergeableError, StatisticNotCollected
from streamnorm.quantiles import MAX_PASSES, RankSearch, exact_quantiles, interpolate, key_of, value_of
from streamnorm.reference import keys_of, selected

QUARTILES = (0.25, 0.5, 0.75)


def rng():
    return np.random.default_rng(5)


def ends(values, *qs):
    return [int(key) for key in np.quantile(keys_of(values), qs, method="lower")]


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 2048, 2049, 5000])
@pytest.mark.parametrize("capacity", [0, 10, 10_000])
def test_the_kernel_selects_what_its_twin_does(rows, capacity):
    values = rng().normal(size=rows)
    values[::6] = np.nan
    values[::7] = -np.nan  # whose bits are below those of every number
    values[:1] = 0.0
    low, high = ends(values, 0.3, 0.6)
    selection = (
        Selection([(low, high, ())], "double", 10, capacity).update(values[: rows // 2]).update(values[rows // 2 :])
    )
    below, inside = selected(values, low, high)
    assert (selection.below(0), selection.inside(0)) == (below, len(inside))
    if low == high:
        return
    if len(inside) <= capacity:
        assert np.sort(selection.keys(0)).tolist() == inside.tolist()
        return
    counts, shift = selection.counts(0)
    assert selection.keys(0) is None
    assert counts.tolist() == np.bincount((inside - low) >> shift, minlength=1 << 10).tolist()


def test_hostile_columns_select_what_the_twin_does(hostile):
    values = as_doubles(hostile)
    if np.isnan(values).all():
        return
    low, high = ends(values, 0.2, 0.9)
    selection = Selection([(low, high, ())])
    for chunk in hostile.chunks if isinstance(hostile, pa.ChunkedArray) else [hostile]:
        selection.update(chunk)
    below, inside = selected(values, low, high)
    assert (selection.below(0), selection.inside(0)) == (below, len(inside))
    assert low == high or np.sort(selection.keys(0)).tolist() == inside.tolist()


def test_atoms_are_counted_and_not_kept():
    values = rng().integers(0, 5, 4000) / 4.0
    atoms = (key_of(0.5), key_of(0.75))
    selection = Selection([(key_of(0.25), key_of(1.0), atoms)]).update(values)
    assert selection.atom_counts(0).tolist() == [(values == 0.5).sum(), (values == 0.75).sum()]
    assert len(selection.keys(0)) == (values == 0.25).sum() + (values == 1.0).sum()


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.integers(0, 3000), st.integers(1, 12))
def test_merging_in_any_order_gives_the_same(sizes, capacity, bits):
    values = rng().normal(size=sum(sizes))
    low, high = ends(values, 0.1, 0.8)
    whole = Selection([(low, high, ())], "double", bits, capacity).update(values)
    parts = [whole.fresh().update(part) for part in np.split(values, np.cumsum(sizes)[:-1])]
    merged = whole.fresh()
    for part in parts[::-1]:
        merged.merge(part)
    assert (merged.below(0), merged.inside(0)) == (whole.below(0), whole.inside(0))
    if whole.keys(0) is None:
        assert merged.counts(0)[0].tolist() == whole.counts(0)[0].tolist()
    else:
        assert np.sort(merged.keys(0)).tolist() == np.sort(whole.keys(0)).tolist()


def test_selections_of_other_intervals_do_not_merge():
    one = Selection([(0, 5, ())])
    with pytest.raises(ValueError, match="same intervals"):
        one.merge(Selection([(0, 6, ())]))
    with pytest.raises(ValueError, match="same intervals"):
        one.merge(one)
    with pytest.raises(ValueError, match="above"):
        Selection([(3, 2, ())])


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_keys_are_in_the_order_of_the_doubles(a, b):
    assert value_of(key_of(a)) == a and math.copysign(1, value_of(key_of(a))) == math.copysign(1, a)
    if a < b:
        assert key_of(a) < key_of(b)


# ------------------------------------------------------------------ the search


def stats_of(values, sketched=None, error=0.008):
    """Statistics of the values whose sketch has seen other ones, if given: a sketch that is wrong."""
    if sketched is None:
        return ColumnStats(moments=False, sketch=QuantileSketch(error)).update(values)
    state = ColumnStats(moments=False, sketch=QuantileSketch(error)).update(values).state()
    state["sketch"] = QuantileSketch(error).update(sketched).to_bytes()
    return ColumnStats.from_state(state)


def search(values, quantiles=QUARTILES, *, memory=1 << 24, sketched=None):
    def read(selections):
        selections["x"].update(values)

    found, passes = exact_quantiles(
        {"x": RankSearch(stats_of(values, sketched), quantiles)}, read, memory=memory, threads=1
    )
    return found["x"], passes


def numpy_result(values, quantiles):
    with np.errstate(all="ignore"):
        return np.nanquantile(np.asarray(values, np.float64), np.array(quantiles), method="linear")


STREAMS = {
    "lognormal": lambda r, n: r.lognormal(size=n),
    "sorted": lambda r, n: np.sort(r.normal(size=n)),
    "two_values": lambda r, n: r.integers(0, 2, n) * 1.0,
    "one_odd": lambda r, n: np.where(np.arange(n) == n // 2, 1.0, 0.0),
    "duplicates": lambda r, n: r.integers(-20, 20, n) / 8.0,
    "spike": lambda r, n: np.where(r.random(n) < 0.4, 0.0, r.normal(size=n)),
    "all_exponents": lambda r, n: np.ldexp(r.uniform(-1, 1, n), r.integers(-1070, 1000, n)),
    "neighbours": lambda r, n: 1.0 + r.integers(0, n, n) * 2.0**-52,
    "denormals": lambda r, n: r.integers(-n, n, n) * 5e-324,
    "clustered": lambda r, n: np.where(r.random(n) < 0.5, 1.0, 2.0) + r.integers(0, 1 << 20, n) * 2.0**-50,
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("quantiles", [QUARTILES, (0.0, 0.5, 1.0), (0.001, 0.5, 0.999), (0.5,)])
def test_two_passes_find_numpys_bits(stream, quantiles):
    values = STREAMS[stream](rng(), 60_000)
    found, passes = search(values, quantiles)
    assert np.array(list(found.values())).tobytes() == numpy_result(values, quantiles).tobytes()
    assert passes <= 2


@pytest.mark.parametrize("stream", STREAMS)
def test_without_memory_it_takes_more_passes_and_never_too_many(stream):
    values = STREAMS[stream](rng(), 60_000)
    found, passes = search(values, memory=10)
    assert np.array(list(found.values())).tobytes() == numpy_result(values, QUARTILES).tobytes()
    assert passes <= MAX_PASSES


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("side", [-1e300, 1e300])
def test_a_wrong_sketch_costs_passes_and_not_the_result(stream, side):
    """Sketches that put every quantile at one end of the data, and no memory."""
    values = STREAMS[stream](rng(), 20_000)
    end = values.min() if side < 0 else values.max()
    found, passes = search(values, memory=10, sketched=np.full(len(values), end))
    assert np.array(list(found.values())).tobytes() == numpy_result(values, QUARTILES).tobytes()
    assert passes <= MAX_PASSES


def test_memory_that_is_short_is_seen_in_the_passes():
    values = STREAMS["all_exponents"](rng(), 60_000)
    assert search(values, memory=10)[1] > 2


@pytest.mark.parametrize("shift", [0, 2**60, -(2**61)])
def test_integers_past_2_53_are_told_apart(shift):
    values = np.array([1, 3, 4, 10, 13, 200], np.int64) + shift
    found, _ = search(values, QUARTILES)
    for q in QUARTILES:
        at = Fraction(5) * Fraction(q)
        below = int(at)
        exact = int(values[below]) + (int(values[below + 1]) - int(values[below])) * (at - below)
        assert found[q] == float(exact)


def test_unsigned_integers_past_2_63():
    values = np.array([0, 2**64 - 1, 2**63, 2**63 + 3, 2**63 + 1025], np.uint64)
    found, _ = search(values, (0.5, 0.75))
    assert found == {0.5: float(2**63 + 3), 0.75: float(2**63 + 1025)}


def test_data_that_changes_between_passes_is_an_error():
    values = rng().normal(size=20_000)

    def read(selections):
        selections["x"].update(values + 100.0)

    with pytest.raises(DataError, match="changed while it was read"):
        exact_quantiles({"x": RankSearch(stats_of(values), QUARTILES)}, read, memory=1 << 20, threads=1)


@given(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1)
)
def test_interpolation_is_numpys_or_correctly_rounded(a, b, t):
    a, b = sorted((a, b))
    if math.isinf(b - a):
        assert interpolate(a, b, t) == float(Fraction(a) + (Fraction(b) - Fraction(a)) * Fraction(t))
    else:
        assert interpolate(a, b, 0.5) == np.quantile(np.array([a, b]), 0.5)


def test_many_ranks_share_intervals():
    values = rng().normal(size=50_000)
    quantiles = tuple(np.linspace(0, 1, 101))
    found, passes = search(values, quantiles)
    assert np.array(list(found.values())).tobytes() == numpy_result(values, quantiles).tobytes()
    assert passes <= 2
    search_again = RankSearch(stats_of(values), quantiles)
    intervals = search_again.selection(5, 1000).intervals
    assert all(a[1] < b[0] for a, b in zip(intervals, intervals[1:], strict=False))


# ------------------------------------------------------------------ the scaler


def test_what_is_not_known_says_so():
    scaler = sn.RobustScaler(exact=True, quantile_range=(10, 90)).fit(rng().normal(size=(500, 1)))
    column = scaler.summary_[0]
    assert column.rank_error == 0.0
    assert column.quantile(0) == column.min and column.quantile([0.1, 1.0]).shape == (2,)
    with pytest.raises(StatisticNotCollected, match="quantile_range"):
        column.quantile(0.25)


def test_an_empty_column_has_no_quantiles():
    table = pa.table({"a": pa.array([None, None], pa.float64()), "b": [1.0, 2.0]})
    scaler = sn.RobustScaler(exact=True).fit(table)
    assert math.isnan(scaler.center_[0]) and scaler.center_[1] == 1.5


@pytest.mark.parametrize("join", ["partial_fit", "merge", "add", "column_scaler"])
def test_no_part_can_be_added(join):
    X = np.arange(10.0).reshape(-1, 1)
    a, b = sn.RobustScaler(exact=True).fit(X), sn.RobustScaler(exact=True).fit(X)
    with pytest.raises(NotMergeableError, match="fit over all sources at once"):
        if join == "partial_fit":
            sn.RobustScaler(exact=True).partial_fit(X)
        elif join == "merge":
            a.merge(b)
        elif join == "add":
            a + b
        else:
            mixed = [sn.ColumnScaler({0: sn.RobustScaler(exact=True)}).fit(X) for _ in range(2)]
            mixed[0].merge(mixed[1])


def test_a_stream_that_is_read_once_is_refused_or_spooled(tmp_path):
    table = pa.table({"x": rng().normal(size=3000)})
    with pytest.raises(DataError, match="spool=True"):
        sn.fit(table.to_reader(), "robust", exact=True)
    with pytest.raises(DataError, match="only once"):
        sn.RobustScaler(exact=True).fit(batch for batch in table.to_batches())
    spooled = sn.fit(table.to_reader(), "robust", exact=True, spool=True)
    assert spooled.center_ == sn.fit(table, "robust", exact=True).center_ == np.median(table["x"].to_numpy())
    sn.normalize(table.to_reader(), tmp_path / "out.parquet", "robust", exact=True, spool=True)


def test_exact_asked_of_a_scaler_made_otherwise_is_refused():
    with pytest.raises(ValueError, match=r"RobustScaler\(exact=True\)"):
        sn.fit([[1.0]], sn.RobustScaler(), exact=True)
    mixed = sn.fit(np.ones((3, 2)), {0: "robust", 1: "minmax"}, exact=True)
    assert mixed.transformers[0].exact


def test_the_state_keeps_the_quantiles(tmp_path):
    scaler = sn.RobustScaler(exact=True, quantile_range=(5, 90)).fit(rng().normal(size=(5000, 3)))
    scaler.save(tmp_path / "state.json")
    loaded = sn.load(tmp_path / "state.json")
    assert loaded.center_.tobytes() == scaler.center_.tobytes() and loaded.scale_.tobytes() == scaler.scale_.tobytes()
    assert loaded.digest() == scaler.digest()
    assert loaded.summary_[1].quantile(0.9) == scaler.summary_[1].quantile(0.9)


# ------------------------------------------------------------------ files


@pytest.fixture
def files(tmp_path):
    """Three files in row groups of odd sizes, with nulls, NaN, integers and a decimal; and their columns."""
    r = rng()
    n = 30_000
    table = pa.table(
        {
            "heavy": r.lognormal(0, 3, n),
            "gaps": pa.array(r.normal(size=n), mask=r.random(n) < 0.2),
            "nan": np.where(r.random(n) < 0.1, np.nan, r.normal(size=n)),
            "delay": r.integers(-30, 600, n),
            "wide": r.integers(-(2**62), 2**62, n),
            "price": pa.array(r.integers(0, 10**6, n)).cast(pa.decimal128(20, 0)),
        }
    )
    for i, (start, rows) in enumerate([(0, 11_000), (11_000, 1), (11_001, 18_999)]):
        pq.write_table(table.slice(start, rows), tmp_path / f"{i}.parquet", row_group_size=997)
    return tmp_path, table


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("memory", ["16MB", "256MB"])
def test_files_give_numpys_bits_on_any_threads(files, threads, memory):
    folder, table = files
    scaler = sn.fit(folder, "robust", exact=True, threads=threads, memory=memory)
    assert scaler.summary_.passes == 2
    for name in table.column_names:
        column = table[name].drop_null().cast(pa.float64()) if name != "wide" else table[name]
        values = column.to_numpy()
        if name == "wide":
            kept = np.sort(values)
            at = (len(kept) - 1) * 0.25
            a, b = int(kept[int(at)]), int(kept[int(at) + 1])
            assert scaler.summary_[name].quantile(0.25) == float(a + (b - a) * Fraction(at - int(at)))
        else:
            assert scaler.summary_[name].quantile(QUARTILES).tobytes() == numpy_result(values, QUARTILES).tobytes()


def test_only_the_columns_that_need_it_are_read_again(files, monkeypatch):
    folder, _ = files
    read = []

    def refine(files, summary, selections, **options):
        read.append(sorted(selections))
        return real(files, summary, selections, **options)

    real = fitting.refine
    monkeypatch.setattr(fitting, "refine", refine)
    methods = {"heavy": sn.RobustScaler(exact=True), "gaps": "robust", "nan": "standard", "delay": "minmax"}
    scaler = sn.fit(folder, methods)
    assert read == [["heavy"]]
    assert scaler.summary_["gaps"].rank_error > 0 == scaler.summary_["heavy"].rank_error


def test_progress_counts_every_pass(files):
    calls = []
    sn.fit(files[0], "robust", exact=True, progress=lambda *said: calls.append(said))
    assert [rows for rows, _, _ in calls] == sorted(rows for rows, _, _ in calls)
    assert calls[-1][:2] == (60_000, 60_000)


@pytest.fixture
def sorted_file(tmp_path):
    """Ten row groups of 5,000 rows: rising floats and integers (with zeros and nulls), one column with a NaN."""
    n = 50_000
    rising = np.arange(n) - n // 2
    with_nan = rising / 8.0
    with_nan[7] = np.nan
    columns = {"float": rising / 8.0, "int": pa.array(rising, mask=np.arange(n) % 9 == 0), "nan": with_nan}
    pq.write_table(pa.table(columns), tmp_path / "sorted.parquet", row_group_size=5000)
    return tmp_path / "sorted.parquet"


def read_again(monkeypatch):
    """Which row groups the further passes read, by column."""
    read = {}

    def column_batches(file, readers, row_groups, columns, **options):
        for name in columns:
            read.setdefault(name, []).extend(row_groups)
        return real(file, readers, row_groups, columns, **options)

    real = refine.column_batches
    monkeypatch.setattr(refine, "column_batches", column_batches)
    return read


def test_row_groups_that_cannot_hold_the_answer_are_not_read(sorted_file, monkeypatch):
    read = read_again(monkeypatch)
    scaler = sn.fit(sorted_file, "robust", exact=True)
    for name, column in pq.read_table(sorted_file).to_pydict().items():
        values = np.array([np.nan if value is None else value for value in column])
        assert scaler.summary_[name].quantile(QUARTILES).tobytes() == numpy_result(values, QUARTILES).tobytes()
    # The quartiles are in row groups 2, 4 or 5, and 7; a footer does not say how many NaN there are.
    assert set(read["float"]) < {1, 2, 3, 4, 5, 6, 7, 8} and set(read["int"]) < {1, 2, 3, 4, 5, 6, 7, 8}
    assert read["nan"] == list(range(10))


@pytest.mark.parametrize("change", ["max", "count"])
def test_bounds_that_the_first_pass_contradicts_are_not_used(sorted_file, monkeypatch, change):
    def file_extrema(file, column):
        found = real(file, column)
        if change == "max":
            found.high[9] += 1
        else:
            found.null_count[3] += 1
        return found

    real = refine.file_extrema
    monkeypatch.setattr(refine, "file_extrema", file_extrema)
    read = read_again(monkeypatch)
    scaler = sn.fit(sorted_file, "robust", exact=True, columns="float")
    assert scaler.center_ == [-0.0625]
    assert read["float"] == list(range(10))
