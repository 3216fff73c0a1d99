"""sample_weight in scalers, jobs and commands: arrays, tables, frames, streams and files."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import SCALERS, SEED, bits, same
from support.commands import fails, run
from support.files import write

import streamnorm as sn
from streamnorm import state
from streamnorm.documents import digest_of
from streamnorm.errors import DataError, StateError
from streamnorm.listing import as_table
from streamnorm.scalers import ColumnScaler, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from streamnorm.scan import scan_units
from streamnorm.sources import ParquetInput

RTOL = 1e-12


@pytest.fixture
def weights(X):
    rng = np.random.default_rng(SEED)
    weights = rng.lognormal(size=len(X))
    weights[rng.random(len(X)) < 0.2] = 0.0
    return weights


def weighted_table(rows=5000, seed=SEED):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": [str(i) for i in range(rows)],
            "fare": pa.array(rng.lognormal(size=rows) + 100, mask=rng.random(rows) < 0.1),
            "w": pa.array(rng.pareto(1.5, rows), mask=rng.random(rows) < 0.1),
            "stops": pa.array(rng.integers(0, 9, rows), pa.int16()),
        }
    )


# ---- against scikit-learn ----


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_agrees_with_scikit_learn(X, weights, ddof):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = X.copy()
    X[::7, 0] = np.nan
    for w in (weights, np.round(weights)):
        ours, theirs = StandardScaler(ddof=ddof).fit(X, sample_weight=w), preprocessing.StandardScaler()
        theirs.fit(X, sample_weight=w)
        np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=RTOL)
        total = np.broadcast_to(theirs.n_samples_seen_, 5)
        expected = theirs.var_ * total / (total - ddof)
        varies = np.nanmin(X, axis=0) < np.nanmax(X, axis=0)  # theirs is no zero on the constant column
        np.testing.assert_allclose(ours.var_[varies], expected[varies], rtol=1e-9)
        assert (ours.var_[~varies] == 0).all()
        np.testing.assert_allclose(ours.n_samples_seen_, theirs.n_samples_seen_, rtol=1e-14)
    whole = StandardScaler().fit(X[:, 1:], sample_weight=np.full(len(X), 0.25))
    assert whole.n_samples_seen_ == len(X) / 4 and isinstance(whole.n_samples_seen_, float)


def test_a_constant_does_not_depend_on_the_size_of_the_weights():
    X = 1.0 + 1e-9 * np.arange(100.0)[:, None]
    scales = [StandardScaler().fit(X, sample_weight=np.full(100, w)).scale_[0] for w in (1.0, 2.0**50, 2.0**-50)]
    assert scales[0] == scales[1] == scales[2] != 1.0


# ---- arrays ----


def test_a_row_of_weight_zero_is_not_there(scaler, X, weights):
    X[weights == 0] = np.inf
    X[0], weights[0] = np.nan, np.nan
    kept = weights > 0
    scaler.fit(X, sample_weight=weights)
    alone = type(scaler)(**scaler.get_params()).fit(X[kept], sample_weight=weights[kept])
    for name in ("mean_", "var_", "scale_", "data_min_", "data_max_", "max_abs_", "center_"):
        if getattr(scaler, name, None) is not None:
            np.testing.assert_allclose(getattr(scaler, name), getattr(alone, name), rtol=RTOL, atol=1e-300)
    for j in range(5):
        column = scaler.summary_[j]
        assert (column.rows, column.count, column.nan_count) == (len(X), np.count_nonzero(kept), 0)
        assert column.weight == pytest.approx(weights[kept].sum(), rel=1e-15)
        assert (column.min, column.max) == (alone.summary_[j].min, alone.summary_[j].max)


def test_masked_weights_are_missing():
    weights = np.ma.masked_array([1.0, 2.0, 50.0], [False, False, True])
    scaler = StandardScaler().fit([[1.0], [4.0], [9.0]], sample_weight=weights)
    assert scaler.mean_ == [3.0] and scaler.summary_[0].left_out == 1


def test_weights_of_one(scaler, X):
    plain, ones = scaler.fit(X), type(scaler)(**scaler.get_params()).fit(X, sample_weight=np.ones(len(X)))
    if isinstance(scaler, RobustScaler):  # no interpolation with weights
        low, high = (q / 100 for q in scaler.quantile_range)
        expected = np.quantile(X, [low, 0.5, high], axis=0, weights=np.ones(len(X)), method="inverted_cdf")
        assert ones.center_ is None or np.array_equal(ones.center_, expected[1])
    else:
        np.testing.assert_allclose(ones.transform(X), plain.transform(X), rtol=1e-9, atol=RTOL)
    assert ones.summary_[0].weight == len(X)


def test_robust_quantiles_are_those_of_numpy(X, weights):
    scaler = RobustScaler().fit(X, sample_weight=weights)
    low, center, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0, weights=weights, method="inverted_cdf")
    assert np.array_equal(scaler.center_, center)
    assert np.array_equal(scaler.scale_, np.where(high == low, 1.0, high - low))


@pytest.mark.parametrize("cut", [1, 50, 300])
def test_one_stream_has_the_same_bits_however_it_is_split(scaler, X, weights, cut):
    whole = type(scaler)(**scaler.get_params()).fit(X, sample_weight=weights)
    for start in range(0, len(X), cut):
        part = slice(start, start + cut)
        scaler.partial_fit(X[part], sample_weight=weights[part])
    assert bits(scaler) == bits(whole)
    batches = type(scaler)(**scaler.get_params()).fit([X[:cut], X[cut:]], sample_weight=weights)
    assert bits(batches) == bits(whole)


def test_columns_of_different_methods(X, weights):
    scaler = ColumnScaler({0: "standard", 1: "minmax", (2, 3): "robust"}).fit(X, sample_weight=weights)
    assert scaler.summary_[0].mean == pytest.approx(np.average(X[:, 0], weights=weights), rel=RTOL)
    assert scaler.summary_[1].min == X[weights > 0, 1].min()
    assert scaler.summary_[2].quantile(0.5) == np.quantile(X[:, 2], 0.5, weights=weights, method="inverted_cdf")


def test_merging_is_fitting_both(scaler, X, weights):
    half = len(X) // 2
    a = type(scaler)(**scaler.get_params()).fit(X[:half], sample_weight=weights[:half])
    b = type(scaler)(**scaler.get_params()).fit(X[half:])
    both = scaler.fit(X, sample_weight=np.r_[weights[:half], np.ones(len(X) - half)])
    np.testing.assert_allclose((a + b).transform(X), both.transform(X), rtol=1e-9, atol=1e-9)
    assert (a + b).summary_[0].weight == pytest.approx(both.summary_[0].weight, rel=1e-15)
    assert (b + a).summary_[0].stats.weighted


def test_weighted_scalers_travel(scaler, X, weights, tmp_path):
    scaler.fit(X, sample_weight=weights)
    scaler.save(tmp_path / "state.json")
    again = sn.load(tmp_path / "state.json")
    assert bits(again) == bits(scaler) and again.digest() == scaler.digest()
    assert again.digest() != type(scaler)(**scaler.get_params()).fit(X).digest()
    column = json.loads((tmp_path / "state.json").read_text())["columns"][0]
    assert column["weight"] + column["weight_lo"] == scaler.summary_[0].weight
    assert column["left_out"] == np.count_nonzero(weights == 0)
    assert same(again.transform(X), scaler.transform(X))
    assert "weight" in sn.inspect(tmp_path / "state.json")["columns"][0]
    assert "weight" not in json.loads(state.dumps(type(scaler)().fit(X)))["columns"][0]


@pytest.mark.parametrize(
    ("member", "value"),
    [("weight", -1.0), ("weight", 0.0), ("weight", "NaN"), ("weight", 1), ("weight_lo", 5.0), ("left_out", -1)],
)
def test_states_that_contradict_themselves_are_refused(member, value):
    content = json.loads(state.dumps(StandardScaler().fit([[1.0], [2.0]], sample_weight=[1.0, 0.5])))
    content["columns"][0][member] = value
    content.pop("digest")
    content["digest"] = digest_of(content)
    with pytest.raises(StateError):
        state.loads(json.dumps(content))


def test_exact_states_have_no_weights():
    for scaler in (StandardScaler(exact=True), RobustScaler(exact=True)):
        content = json.loads(state.dumps(scaler.fit([[1.0], [2.0]])))
        content["columns"][0] |= {"weight": 2.0, "weight_lo": 0.0, "left_out": 0}
        content.pop("digest")
        content["digest"] = digest_of(content)
        with pytest.raises(StateError, match="unknown member 'weight'"):
            state.loads(json.dumps(content))


# ---- tables, frames and streams ----


def test_a_column_of_weights_is_not_normalized_unless_it_is_named():
    table = weighted_table()
    scaler = StandardScaler().fit(table, sample_weight="w")
    assert list(scaler.summary_) == ["fare", "stops"]
    values, weights = (table[name].to_numpy(zero_copy_only=False) for name in ("fare", "w"))
    kept = ~np.isnan(values) & (weights > 0)
    assert scaler.summary_["fare"].mean == pytest.approx(np.average(values[kept], weights=weights[kept]), rel=RTOL)
    assert scaler.summary_["fare"].null_count == np.count_nonzero(np.isnan(values) & (weights > 0))
    assert list(StandardScaler().fit(table, sample_weight="w", exclude=["w", "stops"]).summary_) == ["fare"]
    assert list(StandardScaler().fit(table, sample_weight="w", columns=["w", "fare"]).summary_) == ["fare", "w"]
    named = ColumnScaler({"w": "minmax"}, remainder="standard").fit(table, sample_weight="w")
    assert list(named.summary_) == ["fare", "w", "stops"]
    rest = ColumnScaler({"fare": "minmax"}, remainder="standard").fit(table, sample_weight="w")
    assert list(rest.summary_) == ["fare", "stops"]
    assert scaler.transform(table)["w"].equals(table["w"])


@pytest.mark.parametrize("kind", ["table", "batches", "chunks", "reader", "pandas", "polars", "dataset", "array"])
def test_every_kind_of_table(kind):
    table = weighted_table()
    expected = StandardScaler().fit(table, sample_weight="w")
    weight = "w"
    if kind == "batches":
        data = iter(table.to_batches(max_chunksize=777))
    elif kind == "chunks":
        data = pa.concat_tables([table.slice(0, 700), table.slice(700, 0), table.slice(700)])
    elif kind == "reader":
        data = table.to_reader(max_chunksize=999)
    elif kind == "dataset":
        data = pyarrow.dataset.dataset(table)
    elif kind == "array":
        data, weight = table, table["w"]
    elif kind in ("pandas", "polars"):
        pytest.importorskip(kind)
        import polars

        data = table.to_pandas() if kind == "pandas" else polars.from_arrow(table)
    else:
        data = table
    columns = ["fare", "stops"] if kind == "array" else None
    assert bits(StandardScaler().fit(data, sample_weight=weight, columns=columns)) == bits(expected)


def test_partial_fit_by_position_leaves_the_weights_out():
    table = weighted_table()
    matrix = np.column_stack([table["fare"].to_numpy(), table["stops"].to_numpy()])
    scaler = StandardScaler().fit(matrix).partial_fit(table, sample_weight="w")
    assert len(scaler.summary_) == 2
    assert scaler.summary_[1].weight == pytest.approx(5000 + np.nansum(table["w"].to_numpy()), rel=1e-14)


def test_series_of_weights():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X, w = np.arange(6.0).reshape(3, 2), [1.0, 0.0, 2.5]
    expected = bits(StandardScaler().fit(X, sample_weight=w))
    series = (pandas.Series(w, index=[5, 6, 7]), polars.Series(w), pa.array([1, None, 2.5]), np.array(w, "f4"), w)
    for weights in series:
        assert bits(StandardScaler().fit(X, sample_weight=weights)) == expected


# ---- refusals ----


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([1.0, -2.0, 1.0], "row 1 has -2"),
        ([1.0, 1.0, math.inf], "row 2 has inf"),
        ([1.0], "has 1 entries, and X has at least 3 rows"),
        (np.ones(4), "has 4 entries, and X has 3 rows"),
        (np.ones((3, 1)), "one dimension"),
        (["a", "b", "c"], "numbers"),
        ([1e200] * 3, "divide all of them"),
        ("w", "columns have no names"),
    ],
)
def test_what_is_refused(scaler, weights, problem):
    X = np.arange(6.0).reshape(3, 2)
    scaler.fit(X)
    before = bits(scaler)
    with pytest.raises(DataError, match=problem):
        scaler.partial_fit(X, sample_weight=weights)
    assert bits(scaler) == before
    with pytest.raises(DataError, match=problem):
        scaler.fit(X, sample_weight=weights)


def test_some_row_has_to_take_part(scaler, X):
    nothing = np.where(np.arange(len(X)) % 2, 0.0, np.nan)
    with pytest.raises(DataError, match="every weight is zero"):
        scaler.fit(X, sample_weight=nothing)
    assert not hasattr(scaler, "summary_")
    scaler.partial_fit(X, sample_weight=nothing)  # a batch of a stream
    assert np.array_equal(scaler.transform(X), X) and scaler.summary_[0].left_out == len(X)
    assert state.loads(state.dumps(scaler)).digest() == scaler.digest()
    expected = type(scaler)(**scaler.get_params()).fit(X, sample_weight=np.ones(len(X)))
    assert same(scaler.partial_fit(X).transform(X), expected.transform(X))


def test_columns_that_cannot_weigh_are_named():
    table = weighted_table(9)
    for name, problem in [("v", "there is no column 'v'"), ("id", "not numbers"), ("bad", "row 4 has -1")]:
        bad = table.append_column("bad", pa.array([1.0] * 4 + [-1.0] * 5))
        with pytest.raises(DataError, match=problem) as caught:
            StandardScaler().fit(bad.to_reader(max_chunksize=2), sample_weight=name)
        assert caught.value.column == name


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(exact=True),
        RobustScaler(exact=True),
        ColumnScaler({0: StandardScaler(exact=True)}),
        ColumnScaler({}, RobustScaler(exact=True)),
    ],
)
def test_exact_and_weights_exclude_each_other(scaler, tmp_path):
    with pytest.raises(DataError, match="exact=True"):
        scaler.fit([[1.0], [2.0]], sample_weight=[1.0, 2.0])
    path = write(tmp_path / "a.parquet", pa.table({"x": [1.0], "w": [1.0]}))
    with pytest.raises(DataError, match="exact=True"):
        sn.fit(path, "standard", exact=True, sample_weight="w")
    MinMaxScaler().fit([[1.0]], sample_weight=[1.0])
    MaxAbsScaler().fit([[1.0]], sample_weight=[1.0])


# ---- files ----


@pytest.fixture
def files(tmp_path):
    table = weighted_table(40_000)
    write(tmp_path / "in" / "a.parquet", table.slice(0, 25_000), row_group_size=3_000)
    write(tmp_path / "in" / "b.parquet", table.slice(25_000), row_group_size=7_001)
    return tmp_path / "in", table


@pytest.mark.parametrize("name", ["standard", "minmax", "maxabs", "robust"])
def test_files_are_fitted_as_tables_are(name, files, monkeypatch):
    folder, table = files
    scaler = sn.fit(folder, name, sample_weight="w")
    expected = SCALERS[name].__class__().fit(table, sample_weight="w")
    assert list(scaler.summary_) == ["fare", "stops"]
    for column in ("fare", "stops"):
        ours, theirs = scaler.summary_[column], expected.summary_[column]
        assert (ours.count, ours.null_count, ours.min, ours.max) == (
            theirs.count, theirs.null_count, theirs.min, theirs.max,
        )  # fmt: skip
        assert ours.weight == pytest.approx(theirs.weight, rel=1e-14)
        if name == "standard":
            assert ours.mean == pytest.approx(theirs.mean, rel=RTOL)
            assert ours.std() == pytest.approx(theirs.std(), rel=RTOL)
        if name == "robust":
            assert ours.rank_error <= 0.001
    alone = sn.fit(folder, name, sample_weight="w", columns=["w", "fare"])
    assert list(alone.summary_) == ["fare", "w"]
    assert bits(alone)[0] == bits(scaler)[0]


@pytest.mark.parametrize("name", ["standard", "robust"])
def test_bits_do_not_depend_on_threads_or_batches(name, files, monkeypatch):
    folder, _ = files
    monkeypatch.setattr("streamnorm.scan.MIN_UNIT_ROWS", 8_000)  # several units
    assert len(scan_units([ParquetInput(path) for path in sorted(folder.iterdir())], ["fare"], 1 << 28, 1)) > 3
    expected = bits(sn.fit(folder, name, sample_weight="w", threads=1))
    assert bits(sn.fit(folder, name, sample_weight="w", threads=3)) == expected
    monkeypatch.setattr("streamnorm.scan.BATCH_ROWS", 1_500)
    monkeypatch.setattr("streamnorm.scan.batch_rows", lambda columns, memory: 777)
    assert bits(sn.fit(folder, name, sample_weight="w", threads=2)) == expected


def test_more_files_join_in(files):
    folder, table = files
    scaler = StandardScaler().fit(folder / "a.parquet", sample_weight="w")
    scaler.partial_fit(folder / "b.parquet", sample_weight="w")
    whole = StandardScaler().fit(table, sample_weight="w")
    np.testing.assert_allclose(scaler.mean_, whole.mean_, rtol=RTOL)


def test_normalize_passes_the_weights_through(files, tmp_path):
    folder, table = files
    scaler = sn.normalize(folder, tmp_path / "out.parquet", sample_weight="w")
    assert bits(scaler) == bits(sn.fit(folder, sample_weight="w"))
    out = pq.read_table(tmp_path / "out.parquet")
    assert out["w"].equals(table["w"]) and out["id"].equals(table["id"])
    assert bits(sn.load(tmp_path / "out.parquet")) == bits(scaler)
    spooled = sn.normalize(table.to_reader(), tmp_path / "spooled.parquet", sample_weight="w", spool=True)
    assert spooled.summary_["fare"].mean == pytest.approx(scaler.summary_["fare"].mean, rel=RTOL)
    weights = table["w"].to_numpy()
    in_memory = sn.normalize(table.drop(["w"]), tmp_path / "memory.parquet", sample_weight=weights)
    assert bits(in_memory) == bits(StandardScaler().fit(table, sample_weight="w"))


def test_footers_do_not_know_rows_of_weight_zero(tmp_path):
    table = pa.table({"x": [1.0, 2.0, 50.0], "w": [1.0, 3.0, 0.0]})
    path = write(tmp_path / "a.parquet", table, write_statistics=["x"])
    plain, weighted = sn.fit(path, "minmax", columns="x"), sn.fit(path, "minmax", sample_weight="w")
    assert plain.summary_.source == {"x": "footer"} and plain.data_max_ == [50.0]
    assert weighted.summary_.source == {"x": "scan: the rows have weights"} and weighted.data_max_ == [2.0]
    both = sn.merge([weighted, plain], recount=True)
    assert both.data_max_ == [50.0] and both.summary_["x"].rows == 6
    with pytest.raises(sn.StatisticNotCollected, match="no sum of the weights"):
        _ = both.summary_["x"].weight
    assert both.digest() == state.loads(state.dumps(both)).digest()
    both.save(tmp_path / "both.json")
    said = sn.inspect(tmp_path / "both.json")
    assert said["columns"][0]["weight"] is None
    assert "-" in as_table(said, said["columns"], 0, tty=False).splitlines()[-1].split()


def test_files_take_a_name(files):
    folder, _ = files
    with pytest.raises(DataError, match="pass its name"):
        sn.fit(folder, sample_weight=np.ones(40_000))


def test_bad_weights_of_files_are_located(tmp_path):
    w = np.ones(9_000)
    w[7_005] = -3.0
    path = write(tmp_path / "a.parquet", pa.table({"x": np.arange(9_000.0), "w": w}), row_group_size=2_000)
    with pytest.raises(DataError, match=r"a.parquet: row group 3, column 'w': .*row 1005 has -3") as caught:
        sn.fit(path, sample_weight="w")
    assert (caught.value.file, caught.value.row_group, caught.value.column) == (str(path), 3, "w")
    for weight, problem in [("s", "no column 's'"), ("x", "every weight is zero")]:
        zeros = write(tmp_path / "b.parquet", pa.table({"x": np.zeros(5), "y": np.ones(5)}))
        with pytest.raises(DataError, match=problem):
            sn.fit(zeros, sample_weight=weight)
    other = write(tmp_path / "c.parquet", pa.table({"x": [1.0], "w": ["heavy"]}))
    with pytest.raises(DataError, match=r"c.parquet: its type is string|c.parquet.*'w'"):
        sn.fit([path, other], sample_weight="w")


def test_the_option(files, monkeypatch):
    from streamnorm.cli import cli

    folder, _ = files
    monkeypatch.chdir(folder.parent)
    for command in ("fit", "normalize"):
        target = f"{command}.json" if command == "fit" else f"{command}.parquet"
        result = CliRunner().invoke(cli, [command, "in", "-o", target, "--sample-weight", "w"])
        assert result.exit_code == 0, result.output
        assert bits(sn.load(target)) == bits(sn.fit(folder, sample_weight="w"))


def test_an_update_weighs_as_its_state_did(files):
    folder, table = files
    weighted = sn.fit(folder / "a.parquet", sample_weight="w")
    with pytest.raises(DataError, match="name the column of the weights again"):
        sn.fit(folder, update=weighted)
    with pytest.raises(DataError, match="has not weighed its rows"):
        sn.fit(folder, update=sn.fit(folder / "a.parquet", columns=list(weighted.summary_)), sample_weight="w")
    both = sn.fit(folder, update=weighted, sample_weight="w")
    np.testing.assert_allclose(both.mean_, sn.fit(table, sample_weight="w").mean_, rtol=RTOL)


def test_the_command_line_does_not_weigh_exact_statistics(files, tmp_path):
    options = ("-o", tmp_path / "state.json", "--exact", "--sample-weight", "w")
    assert "does not weigh rows" in fails(1, "fit", files[0], *options)
    run("fit", files[0], *options, "--method", "minmax")  # extrema are exact with weights, too
