"""The jobs on real flights: scikit-learn's numbers, the same bits every time, and what each kind of source gives."""

import shutil
from fractions import Fraction

import numpy as np
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from support.files import FLIGHTS, FLIGHTS_ROWS, listing, numbers, sha256, temporaries, write

import streamnorm as sn

RTOL = 1e-12  # statistics and transformed values against scikit-learn, relative to the larger of the value and 1
VARIANCE_RTOL = 4e-15  # ours against the exact variance of integers
RANK_ERROR = 0.001  # what a quantile sketch promises by default

METHODS = ("standard", "minmax", "maxabs", "robust")
PEERS = {"standard": "StandardScaler", "minmax": "MinMaxScaler", "maxabs": "MaxAbsScaler", "robust": "RobustScaler"}
ATTRIBUTES = {
    "standard": ("mean_", "var_", "scale_"),
    "minmax": ("data_min_", "data_max_", "data_range_", "scale_", "min_"),
    "maxabs": ("max_abs_", "scale_"),
}


@pytest.fixture(scope="module")
def flights():
    return pq.read_table(FLIGHTS)


def as_matrix(table, names):
    return np.column_stack([table[name].cast(pa.float64()).to_numpy() for name in names])


def close(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    excess = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1.0)
    assert np.nanmax(excess, initial=0.0) <= RTOL


def test_example_file_is_what_its_readme_says(flights):
    meta = pq.read_metadata(FLIGHTS)
    assert (meta.num_rows, meta.num_row_groups, meta.num_columns) == (FLIGHTS_ROWS, 6, 19)
    assert flights.schema.field("time_hour").type == pa.timestamp("ms", "UTC")
    assert flights["arr_delay"].null_count > 0
    assert FLIGHTS.stat().st_size < 1_000_000


# ------------------------------------------------------------------------------------- against scikit-learn


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs"])
def test_agrees_with_scikit_learn(method, flights, tmp_path):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = sn.normalize(FLIGHTS, tmp_path / "out.parquet", method)
    names = list(scaler.feature_names_in_)
    assert names == [f.name for f in flights.schema if pa.types.is_integer(f.type)]
    X = as_matrix(flights, names)
    peer = getattr(preprocessing, PEERS[method])().fit(X)
    for attribute in ATTRIBUTES[method]:
        if attribute != "var_":  # scikit-learn's own error is larger; the next test has the exact variance
            close(getattr(scaler, attribute), getattr(peer, attribute))
    np.testing.assert_array_equal(scaler.n_samples_seen_, peer.n_samples_seen_)
    assert scaler.n_features_in_ == len(names)
    close(as_matrix(pq.read_table(tmp_path / "out.parquet"), names), peer.transform(X))


def test_variance_is_closer_to_the_exact_one_than_scikit_learn(flights):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = sn.fit(FLIGHTS)
    names = list(scaler.feature_names_in_)
    peer = preprocessing.StandardScaler().fit(as_matrix(flights, names))
    for name, ours, theirs in zip(names, scaler.var_, peer.var_, strict=True):
        values = flights[name].drop_null().to_pylist()
        n, total = len(values), sum(values)
        exact = float(Fraction(n * sum(x * x for x in values) - total * total, n * n))
        assert abs(ours - exact) <= VARIANCE_RTOL * exact, name
        assert abs(ours - theirs) <= RTOL * exact + abs(theirs - exact), name


def test_robust_agrees_with_scikit_learn_within_the_rank_error(flights, tmp_path):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = sn.normalize(FLIGHTS, tmp_path / "out.parquet", "robust")
    names = list(scaler.feature_names_in_)
    X = as_matrix(flights, names)
    for j, name in enumerate(names):
        values = np.sort(X[~np.isnan(X[:, j]), j])
        column = scaler.summary_[name]
        assert column.rank_error <= RANK_ERROR
        for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
            found = column.quantile(q)
            below = np.searchsorted(values, found, "left") / len(values)
            up_to = np.searchsorted(values, found, "right") / len(values)
            slack = column.rank_error + 1 / len(values)
            assert below - slack <= q <= up_to + slack, (name, q)
    peer = preprocessing.RobustScaler()
    peer.center_, peer.scale_ = scaler.center_, scaler.scale_
    peer.n_features_in_ = len(names)
    close(as_matrix(pq.read_table(tmp_path / "out.parquet"), names), peer.transform(X))


def test_robust_is_scikit_learn_exactly_while_the_sketch_holds_every_value(flights):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    names = ["dep_delay", "arr_delay", "air_time", "distance"]
    few = flights.select(names).slice(20_000, 997)
    scaler = sn.fit(few, "robust")
    assert scaler.summary_["dep_delay"].rank_error == 0
    peer = preprocessing.RobustScaler().fit(as_matrix(few, names))
    close(scaler.center_, peer.center_)
    close(scaler.scale_, peer.scale_)


def test_summary_says_what_was_seen(flights):
    scaler = sn.fit(FLIGHTS, "robust")
    delay = flights["dep_delay"]
    column = scaler.summary_["dep_delay"]
    assert (column.count, column.null_count, column.nan_count) == (len(delay) - delay.null_count, delay.null_count, 0)
    there = delay.drop_null().to_pylist()
    assert (column.min, column.max) == (min(there), max(there))
    assert type(column.min) is int
    with pytest.raises(sn.StatisticNotCollected, match="quantile"):
        sn.fit(FLIGHTS, "standard").summary_["dep_delay"].quantile(0.5)


# ---------------------------------------------------------------------------------------------- the same bits

MIXED = {
    "dep_delay": "robust",
    ("hour", "minute"): "minmax",
    "distance": "maxabs",
    "arr_delay": "standard",
    "air_time": sn.RobustScaler(quantile_range=(5.0, 95.0)),
}


@pytest.mark.parametrize("method", [*METHODS, MIXED], ids=[*METHODS, "mixed"])
def test_same_bits_for_any_number_of_threads(method, tmp_path):
    seen = set()
    for run, threads in enumerate([1, 2, 5, 8, 2, None]):
        target = tmp_path / f"{run}.parquet"
        scaler = sn.normalize(FLIGHTS, target, method, threads=threads, state=tmp_path / f"{run}.json")
        seen.add((scaler.digest(), sha256(target), sha256(tmp_path / f"{run}.json")))
    assert len(seen) == 1


@pytest.mark.parametrize("method", METHODS)
def test_same_statistics_for_any_memory(method):
    digests = {sn.fit(FLIGHTS, method, memory=memory).digest() for memory in ("16MB", "64MB", 256_000_000, "1GB")}
    assert len(digests) == 1


@pytest.mark.parametrize("method", METHODS)
def test_same_statistics_for_any_split_of_a_stream(method, flights):
    few = flights.select(["dep_delay", "arr_delay", "distance"]).slice(0, 20_011)
    rng = np.random.default_rng(20130101)
    cuts = [[], [1], [20_010], [4096], list(range(0, 20_011, 997)), sorted(rng.integers(0, 20_011, 60).tolist())]
    digests = set()
    for cut in cuts:
        edges = [0, *cut, len(few)]
        parts = [few.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]
        scaler = type(sn.fit(few.slice(0, 1), method))()
        for part in filter(len, parts):
            scaler.partial_fit(part)
        digests.add(scaler.digest())
        digests.add(sn.fit((b for part in parts for b in part.to_batches()), method).digest())
        digests.add(sn.fit(pa.concat_tables(parts), method).digest())
    assert len(digests) == 1


def test_partial_fit_takes_files_too(tmp_path, flights):
    halves = [write(tmp_path / f"{i}.parquet", flights.slice(i * 30_000, 30_000)) for i in range(2)]
    scaler = sn.MinMaxScaler()
    for half in halves:
        scaler.partial_fit(half)
    assert scaler.digest() == sn.fit(halves, "minmax").digest()


# ------------------------------------------------------------------------------------- many files as one source


@pytest.fixture
def month_files(tmp_path):
    """Three files in nested folders, and things beside them that are no data."""
    names = ["jan/1.parquet", "jan/2.parquet", "feb.parquet"]
    for i, name in enumerate(names):
        write(tmp_path / "in" / name, numbers(500 + i, start=1000 * i), row_group_size=200)
    (tmp_path / "in" / "README.txt").write_text("not data")
    (tmp_path / "in" / "_SUCCESS").write_text("")
    return tmp_path / "in"


def test_files_are_read_in_sorted_order(month_files, tmp_path):
    paths = sorted(month_files.rglob("*.parquet"))
    sources = {
        "directory": month_files,
        "directory as text": f"{month_files}/",
        "glob": f"{month_files}/**/*.parquet",
        "list": paths,
        "list backwards": [str(p) for p in reversed(paths)],
    }
    digests, outputs = set(), set()
    for name, source in sources.items():
        target = tmp_path / f"{name}.parquet"
        scaler = sn.normalize(source, target, "robust")
        digests.add(scaler.digest())
        outputs.add(sha256(target))
    assert len(digests) == len(outputs) == 1
    whole = pa.concat_tables([pq.read_table(p) for p in paths])
    assert pq.read_table(target)["s"].to_pylist() == whole["s"].to_pylist()
    np.testing.assert_allclose(scaler.center_, sn.fit(whole, "robust").center_, rtol=RTOL)


def test_one_output_per_input_in_a_directory(month_files, tmp_path):
    target = tmp_path / "out"
    scaler = sn.normalize(month_files, f"{target}/")
    assert sorted(listing(target)) == ["feb.parquet", "jan", "jan/1.parquet", "jan/2.parquet"]
    for name in ("feb.parquet", "jan/1.parquet", "jan/2.parquet"):
        source, output = pq.read_table(month_files / name), pq.read_table(target / name)
        assert output["s"].equals(source["s"])
        close(output["a"], (source["a"].to_numpy() - scaler.mean_[0]) / scaler.scale_[0])
        assert sn.load(target / name).digest() == scaler.digest()
    existing = tmp_path / "existing"
    existing.mkdir()
    sn.normalize(month_files, existing)
    assert listing(existing) == listing(target)


def test_a_glob_takes_what_it_matches(month_files, tmp_path):
    only = sn.fit(f"{month_files}/jan/*.parquet")
    assert only.n_samples_seen_ == 500 + 501
    assert sn.fit(f"{month_files}/*.parquet").n_samples_seen_ == 502
    assert sn.fit(month_files / "feb.parquet").n_samples_seen_ == 502
    strange = write(tmp_path / "a[1]*?.parquet", numbers(7))
    assert sn.fit(strange).n_samples_seen_ == 7


def test_files_match_by_name_in_any_order(tmp_path):
    table = numbers(300)
    write(tmp_path / "1.parquet", table)
    other = numbers(200, start=300).select(["s", "b", "a"]).append_column("extra", pa.array(np.arange(200.0)))
    write(tmp_path / "2.parquet", other)
    scaler = sn.fit(tmp_path, columns=["a", "b"])
    both = pa.concat_tables([table, other.select(table.column_names)])
    expected = sn.fit(both, columns=["a", "b"])
    np.testing.assert_allclose(scaler.mean_, expected.mean_, rtol=RTOL)
    sn.transform(tmp_path, f"{tmp_path}/out/", scaler)
    out = pq.read_table(tmp_path / "out" / "2.parquet")
    assert out.column_names == ["s", "b", "a", "extra"]
    assert out["extra"].equals(other["extra"])
    np.testing.assert_allclose(out["a"], (other["a"].to_numpy() - scaler.mean_[0]) / scaler.scale_[0], rtol=1e-9)


# ------------------------------------------------------------------------------------------ sources in memory


def make_sources(table, folder):
    """name -> (fresh source, whether it can be read twice)."""
    import duckdb

    path = write(folder / "source" / "part.parquet", table, row_group_size=300)
    batches = table.to_batches(max_chunksize=170)
    return {
        "Table": (table, True),
        "RecordBatch": (table.combine_chunks().to_batches()[0], True),
        "Dataset": (pa.dataset.dataset(str(folder / "source")), True),
        "pandas": (table.to_pandas(), True),
        "polars": (polars.from_arrow(table), True),
        "list of batches": (batches, True),
        "RecordBatchReader": (pa.RecordBatchReader.from_batches(table.schema, batches), False),
        "DuckDB relation": (duckdb.sql(f"select * from '{path}'"), False),
        "iterator of batches": (iter(batches), False),
        "generator of batches": ((b for b in batches), False),
    }


SOURCES = [
    "Table", "RecordBatch", "Dataset", "pandas", "polars", "list of batches", "RecordBatchReader", "DuckDB relation",
    "iterator of batches", "generator of batches",
]  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_in_memory(kind, tmp_path):
    table = numbers(1000)
    source, again = make_sources(table, tmp_path)[kind]
    expected = sn.normalize(table, tmp_path / "expected.parquet", "robust")
    out = tmp_path / "out"
    out.mkdir()
    if not again and kind != "DuckDB relation":
        with pytest.raises(sn.DataError, match="spool=True"):
            sn.normalize(source, out / "x.parquet", "robust")
        assert listing(out) == {}
        source, _ = make_sources(table, tmp_path)[kind]
    scaler = sn.normalize(source, out / "x.parquet", "robust", spool=not again)
    assert scaler.digest() == expected.digest()
    assert sorted(listing(out)) == ["x.parquet"]
    found, right = pq.read_table(out / "x.parquet"), pq.read_table(tmp_path / "expected.parquet")
    assert found.column_names == ["a", "b", "s"]
    for name in found.column_names:
        assert found[name].to_pylist() == right[name].to_pylist()


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_in_memory_to_a_reader(kind, tmp_path):
    table = numbers(1000)
    source, _ = make_sources(table, tmp_path)[kind]
    scaler = sn.fit(table)
    reader = sn.transform(source, None, scaler)
    assert isinstance(reader, pa.RecordBatchReader)
    found = reader.read_all()
    assert found["a"].to_pylist() == scaler.transform(table)["a"].to_pylist()
    assert found["s"].to_pylist() == table["s"].to_pylist()


def test_a_reader_that_nobody_finishes_leaves_nothing(tmp_path):
    write(tmp_path / "x.parquet", numbers(5000), row_group_size=100)
    before = listing(tmp_path)
    reader = sn.transform(tmp_path / "x.parquet", None, sn.fit(tmp_path / "x.parquet"))
    assert reader.read_next_batch().num_rows > 0
    reader.close()
    del reader
    assert listing(tmp_path) == before


def test_normalize_to_a_reader(tmp_path):
    path = write(tmp_path / "x.parquet", numbers(1000), row_group_size=100)
    result = sn.normalize(path, tmp_path / "out.parquet")
    reader = sn.transform(path, None, result)
    assert reader.read_all()["a"].to_pylist() == pq.read_table(tmp_path / "out.parquet")["a"].to_pylist()


def test_spool_leaves_nothing_behind_when_the_source_breaks(tmp_path):
    def broken():
        yield from numbers(500).to_batches(max_chunksize=100)
        raise OSError("the connection was lost")

    with pytest.raises(OSError, match="the connection was lost"):
        sn.normalize(broken(), tmp_path / "x.parquet", spool=True)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_ndarrays(dtype, tmp_path):
    X = (np.random.default_rng(7).normal(size=(1000, 3)) * 50).astype(dtype)
    scaler = sn.fit(X)
    np.testing.assert_allclose(scaler.mean_, X.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert list(scaler.summary_) == [0, 1, 2]
    rows = sn.transform(X, tmp_path / "x.parquet", scaler)
    found = pq.read_table(tmp_path / "x.parquet")
    assert rows == found.num_rows == 1000
    assert found.num_columns == 3
    ours = np.column_stack([c.to_numpy() for c in found.columns])
    np.testing.assert_array_equal(ours, scaler.transform(X).astype(ours.dtype))


def test_scaler_of_an_array_on_a_file_and_back(tmp_path):
    table = numbers(1000).select(["a", "b"])
    path = write(tmp_path / "x.parquet", table)
    X = as_matrix(table, ["a", "b"])
    positional, named = sn.fit(X), sn.fit(path)
    assert sn.transform(path, tmp_path / "out.parquet", positional) == 1000
    out = pq.read_table(tmp_path / "out.parquet")
    close(as_matrix(out, ["a", "b"]), positional.transform(X))
    close(named.transform(X), positional.transform(X))
    three = write(tmp_path / "three.parquet", numbers(10).append_column("c", pa.array(np.zeros(10))))
    with pytest.raises(sn.DataError, match="2"):
        sn.transform(three, tmp_path / "no.parquet", positional)
    assert not (tmp_path / "no.parquet").exists()


def test_progress_counts_up_to_the_end(tmp_path):
    calls = []
    sn.normalize(FLIGHTS, tmp_path / "x.parquet", progress=lambda *args: calls.append(args))
    rows, totals, sizes = zip(*calls, strict=True)
    assert list(rows) == sorted(rows) and list(sizes) == sorted(sizes)
    assert set(totals) == {2 * FLIGHTS_ROWS} and rows[-1] == 2 * FLIGHTS_ROWS


def test_an_exception_in_progress_ends_the_run_and_leaves_nothing(tmp_path):
    class Enough(Exception):
        pass

    def stop(done, total, size):
        if total and done > total * 0.6:
            raise Enough

    with pytest.raises(Enough):
        sn.normalize(FLIGHTS, tmp_path / "x.parquet", progress=stop)
    assert listing(tmp_path) == {}


def test_source_is_never_changed(tmp_path):
    shutil.copy(FLIGHTS, tmp_path / "in.parquet")
    before = sha256(tmp_path / "in.parquet")
    sn.normalize(tmp_path / "in.parquet", tmp_path / "out.parquet", "robust")
    assert sha256(tmp_path / "in.parquet") == before
    assert temporaries(tmp_path) == []
