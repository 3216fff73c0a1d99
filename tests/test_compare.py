"""Comparisons of scalers and norm layers: what is trained on what, known answers, and what they are kept in."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children

import streamnorm as sn
from streamnorm.nn import Regressor
from streamnorm.report import _compare_runs
from streamnorm.report._compare_folds import make_folds
from streamnorm.report._compare_journal import Journal
from streamnorm.report._compare_sample import Sample, Wanted, take_sample

SEED = 19930217
MB = 10**6
IMPORTS = 80 * MB  # beyond `memory`
TRAINING = 20 * MB  # code of what reads and trains, as for the regressor itself
LIKELY = 4.5  # standard errors that a count may be off


def noisy(n=400, seed=SEED, scale=1.0):
    """Two inputs of which the second is `scale` times as large, both half of the target."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n)
    return pa.table({"a": a, "b": b * scale, "y": a + b + rng.normal(0, 0.3, n)})


def quick(**parameters):
    return Regressor(**{"hidden": 8, "epochs": 3, **parameters})


def numbers_of(found):
    """All runs but for their time."""
    return [asdict(replace(run, seconds=0.0)) for run in found.runs]


def compared(source, target="y", **options):
    return sn.compare(source, target, **{"model": quick(), "folds": 3, "seeds": 1, "norms": ["none"], **options})


# ------------------------------------------------------------------------------------------------ known answers


def test_without_a_scaler_features_of_other_sizes_lose_clearly():
    model = Regressor(hidden=16, epochs=12)
    found = sn.compare(noisy(scale=1e6), "y", scalers=["standard", "robust", "none"], norms=["none"], model=model)
    assert found.figures[-1].scaler == "none" and found.standing(found.figures[-1]) == "worse"
    assert {each.scaler for each in found.figures[:2]} == {"standard", "robust"}
    assert found.best.r2 > 0.8 > found.figures[-1].r2 + 0.3
    assert "is better than unscaled + no norm" in found.verdict
    worse = [pair for pair in found.pairs if pair.differs]
    assert len(worse) == 2 and all("unscaled + no norm" in (pair.first, pair.second) for pair in worse)


def test_one_scaler_under_two_names_is_no_different():
    found = compared(noisy(), scalers={"one": "standard", "other": sn.StandardScaler()}, folds=5, seeds=3)
    (pair,) = found.pairs
    assert (pair.difference, pair.p_adjusted, pair.differs) == (0.0, 1.0, False)
    assert found.verdict.startswith("No difference: ")
    one, other = (np.array([run.score for run in found.runs if run.scaler == name]) for name in ("one", "other"))
    assert (one == other).all() and one.std() > 0


def test_runs_that_diverge_are_counted_and_said():
    model = quick(optimizer="sgd", learning_rate=0.01)
    found = compared(noisy(scale=1e6), scalers=["standard", "none"], model=model, folds=2, seeds=2)
    by_name = {each.scaler: each for each in found.figures}
    assert (by_name["standard"].diverged, by_name["none"].diverged, by_name["none"].runs) == (0, 4, 4)
    assert "Unscaled + no norm diverged in 4 of 4 runs." in found.verdict
    assert by_name["none"].r2 == -1.0 and by_name["none"].steps is None and by_name["none"].rmse is None
    assert all(run.score == -1.0 for run in found.runs if run.diverged)
    json.loads(found.to_json())  # no NaN in it


def test_numbers_that_the_network_cannot_hold_diverge():
    found = compared(noisy(scale=1e60), scalers=["standard", "none"], folds=2)
    assert [each.diverged for each in found.figures] == [0, 2]


def test_convergence_is_in_steps_of_the_optimizer():
    found = compared(noisy(), scalers=["standard"], folds=2, model=quick(epochs=8), reach=0.5)
    for run, steps in ((run, found._steps(run)) for run in found.runs):
        first = next(i for i, loss in enumerate(run.curve) if loss <= 0.5)
        assert steps == (first + 1) * 7  # 200 rows in batches of 32
    assert compared(noisy(), scalers=["standard"], reach=1e-9).best.steps is None


def test_figures_are_those_of_the_runs():
    found = compared(noisy(), scalers=["standard", "minmax"], folds=3, seeds=2)
    y = noisy()["y"].to_numpy()
    assert found.settings["target_std"] == [pytest.approx(y.std())]
    assert found.settings["mean_loss"] == pytest.approx(1.0)  # of the scaled target
    each = found.best
    runs = [run for run in found.runs if run.scaler == each.scaler]
    scores = np.array([1 - run.error for run in runs])
    assert each.r2 == pytest.approx(scores.mean()) and each.std == pytest.approx(scores.std(ddof=1))
    assert each.worst == scores.min()
    assert each.rmse == pytest.approx(np.sqrt(np.mean([run.error for run in runs])) * y.std())
    by_seed = scores.reshape(2, 3)
    assert each.fold_spread == pytest.approx(by_seed.std(axis=1, ddof=1).mean())
    assert each.seed_spread == pytest.approx(by_seed.mean(axis=1).std(ddof=1))
    assert each.curve == pytest.approx(np.mean([run.curve for run in runs], axis=0))


def test_a_run_is_the_regressor_on_its_rows():
    table = noisy()
    found = compared(table, scalers=["robust"], norms=["batch"], folds=4)
    sample = take_sample(table, Wanted(["y"], None, None, [], None, None), None, 0, "256MB", None, None)
    train, test = make_folds(sample, 4, 0, None, None).split(0, 2)
    run = next(run for run in found.runs if run.fold == 2)
    seed = _compare_runs.seed_of(np.random.default_rng([0, 2]))
    model = quick(scaler="robust", norm="batch", random_state=seed).fit(table.take(train), target="y")
    assert model.history_["loss"] == list(run.curve)
    y = table["y"].to_numpy()
    error = ((model.predict(table.take(test)) - y[test]) ** 2).mean() / y.var()
    assert run.error == pytest.approx(error, rel=1e-12)


# ------------------------------------------------------------------------------------------------ folds


def test_nothing_of_the_rows_to_test_on_is_known_in_training():
    table, options = noisy(), dict(scalers=["standard", "minmax", "maxabs", "robust"], folds=4)
    before = compared(table, **options)
    sample = take_sample(table, Wanted(["y"], None, None, [], None, None), None, 0, "256MB", None, None)
    _, test = make_folds(sample, 4, 0, None, None).split(0, 1)
    a = table["a"].to_numpy().copy()
    a[test] = a[test] * 1000 + 5  # of a fold that is held out once
    after = compared(table.set_column(0, "a", pa.array(a)), **options)
    for old, new in zip(before.runs, after.runs, strict=True):
        assert (old.curve == new.curve) == (old.fold == 1), old.task
        assert old.error != new.error


def test_folds_at_random_hold_each_row_once_and_differ_by_seed():
    sample = take_sample(noisy(401), Wanted(["y"], None, None, [], None, None), None, 0, "256MB", None, None)
    folds = make_folds(sample, 4, 0, None, None)
    tested = [folds.split(0, fold)[1] for fold in range(4)]
    assert sorted(np.concatenate(tested)) == list(range(401)) and {len(part) for part in tested} == {100, 101}
    for fold in range(4):
        train, test = folds.split(0, fold)
        assert sorted([*train, *test]) == list(range(401))
    assert folds.repeated and list(folds.split(1, 0)[1]) != list(tested[0])


@pytest.mark.parametrize("kind", [str, int])
def test_a_group_is_tested_on_together(kind):
    rng = np.random.default_rng(SEED)
    table = noisy(500).append_column("g", pa.array([kind(g) for g in rng.integers(0, 23, 500)]))
    sample = take_sample(table, Wanted(["y"], None, None, [], "g", None), None, 0, "256MB", None, None)
    assert sample.features == ["a", "b"]
    folds = make_folds(sample, 5, 0, "g", None)
    groups = np.array(table["g"].to_pylist())
    seen = []
    for fold in range(5):
        train, test = folds.split(7, fold)
        assert not set(groups[train]) & set(groups[test]) and 60 <= len(test) <= 140
        seen += list(test)
    assert sorted(seen) == list(range(500)) and not folds.repeated
    found = compared(table, group="g", scalers=["standard"])
    assert found.settings["split"] == "group" and found.settings["features"] == ["a", "b"]
    assert compared(table, group="g", columns=["a"], scalers=["standard"]).settings["features"] == ["a"]


def test_rows_to_test_on_come_after_those_to_train_on():
    rng = np.random.default_rng(SEED)
    days = np.datetime64("2013-01-01") + rng.integers(0, 90, 600).astype("m8[D]")
    table = noisy(600).append_column("day", pa.array(days))
    sample = take_sample(table, Wanted(["y"], None, None, [], None, "day"), None, 0, "256MB", None, None)
    folds = make_folds(sample, 4, 0, None, "day")
    before = 0
    for fold in range(4):
        train, test = folds.split(3, fold)
        assert days[train].max() < days[test].min() and len(train) > before
        assert len(test) == pytest.approx(120, abs=15)
        before = len(train)
    assert len(folds.split(0, 3)[0]) + len(folds.split(0, 3)[1]) == 600
    assert compared(table, time="day", scalers=["standard"]).settings["split"] == "time"


# ------------------------------------------------------------------------------------------------ sample


def sampled(source, rows, seed=0, **options):
    wanted = Wanted(["y"], None, None, [], None, None)
    return take_sample(source, wanted, rows, seed, "256MB", options.pop("where", None), None)


def test_a_sample_depends_on_positions_and_not_on_chunks(tmp_path):
    table = noisy(70_000)
    expected = sampled(table, 1_000)
    assert len(expected) == 1_000 and expected.source_rows == 70_000
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=9_000)
    (tmp_path / "parts").mkdir()
    for i in range(4):
        pq.write_table(table.slice(i * 17_500, 17_500), tmp_path / "parts" / f"{i}.parquet", row_group_size=1_700)
    for source in (tmp_path / "one.parquet", tmp_path / "parts", pa.Table.from_batches(table.to_batches(777)),
                   table.to_reader(max_chunksize=333), table.to_pandas()):  # fmt: skip
        assert sampled(source, 1_000).digest() == expected.digest()
    assert sampled(table, 1_000, seed=1).digest() != expected.digest()
    assert sampled(table, 100_000).table.equals(table)  # in the order of the source
    less = sampled(table, 500).table["a"].to_pylist()
    assert set(less) < set(expected.table["a"].to_pylist())


def test_every_row_is_as_likely_to_be_in_a_sample():
    table = pa.table({"a": np.arange(200.0), "y": np.arange(200.0) % 7})
    draws, rows = 400, 50
    counts = np.zeros(200)
    for seed in range(draws):
        counts[sampled(table, rows, seed).table["a"].to_numpy().astype(int)] += 1
    error = np.sqrt(draws * 0.25 * 0.75)
    assert counts.sum() == draws * rows and abs(counts - draws * 0.25).max() < LIKELY * error
    assert abs(counts[:100].sum() - draws * rows / 2) < LIKELY * np.sqrt(100) * error


def test_rows_without_a_target_are_left_out_and_said():
    y = noisy()["y"].to_pylist()
    y[3], y[9] = None, float("nan")
    table = noisy().set_column(2, "y", pa.array(y))
    found = compared(table, scalers=["standard"])
    assert (found.settings["rows"], found.settings["left_out"]) == (398, 2)
    assert "2 rows lack y and are left out." in str(found).replace("\n", " ")


def test_missing_inputs_are_imputed_and_said():
    a = noisy()["a"].to_pylist()
    a[::9] = [None] * len(a[::9])
    found = compared(noisy().set_column(0, "a", pa.array(a)), scalers=["standard", "none"])
    assert found.settings["model"]["impute"] is True and "Missing values are imputed (a)." in found.settings["notes"]
    assert not any(run.diverged for run in found.runs)


def test_where_chooses_rows(tmp_path):
    pq.write_table(noisy(), tmp_path / "x.parquet")
    kept = int((noisy()["a"].to_numpy() > 0).sum())
    assert compared(tmp_path / "x.parquet", scalers=["standard"], where="a > 0").settings["rows"] == kept
    assert compared(noisy(), scalers=["standard"], where="a > 0").settings["rows"] == kept


def test_arrays_are_compared_on_too():
    table = noisy()
    X = np.column_stack([table["a"], table["b"]])
    found = sn.compare(X, table["y"].to_numpy(), scalers=["standard"], norms=["none"], model=quick(), folds=2, seeds=1)
    named = compared(table, scalers=["standard"], folds=2)
    assert [run.curve for run in found.runs] == [run.curve for run in named.runs]
    two = sn.compare(X, np.column_stack([table["y"], table["a"]]), scalers=["standard"], norms=["none"],
                     model=quick(), folds=2, seeds=1)  # fmt: skip
    assert two.settings["target"] == ["y0", "y1"] and two.best.rmse is None


def test_memory_bounds_the_sample_and_the_runs(tmp_path):
    path = tmp_path / "wide.parquet"
    rng = np.random.default_rng(SEED)
    schema = pa.schema({f"x{i}": pa.float64() for i in range(10)} | {"y": pa.float64()})
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(8):
            columns = {f"x{i}": rng.normal(size=100_000) for i in range(10)}
            writer.write_table(pa.table(columns | {"y": columns["x0"] + columns["x1"]}))
    code = """if True:
        import sys
        import streamnorm as sn
        from streamnorm.nn import Regressor
        found = sn.compare(sys.argv[1], "y", rows=None, scalers=["standard"], norms=["batch"], folds=2, seeds=1,
                           model=Regressor(epochs=1, batch_size=1024), memory="64MB", threads=2)
        print(found.settings["rows"], found.settings["notes"])"""
    result = children.measure(code, path)
    assert result.status == 0, result.err
    rows = int(result.out.split()[0])
    assert 50_000 < rows < 400_000
    assert result.peak <= 64 * MB + IMPORTS + TRAINING, f"{result.peak / MB:.0f} MB"


# ------------------------------------------------------------------------------------------------ repeatable


def test_the_same_numbers_whatever_the_threads():
    options = dict(scalers=["standard", "robust"], norms=["none", "batch"], seeds=2)
    one = compared(noisy(), threads=1, **options)
    assert numbers_of(compared(noisy(), threads=3, **options)) == numbers_of(one)
    assert numbers_of(compared(noisy(), random_state=1, **options)) != numbers_of(one)
    assert [run.seed for run in compared(noisy(), random_state=5, **options).runs[::12]] == [5, 6]


def test_a_run_does_not_depend_on_what_else_is_compared():
    alone = compared(noisy(), scalers=["robust"])
    among = compared(noisy(), scalers=["standard", "robust"], norms=["batch", "none"], seeds=2)
    both = [run for run in numbers_of(among) if (run["scaler"], run["norm"], run["seed"]) == ("robust", "none", 0)]
    assert both == numbers_of(alone)


def test_the_callers_model_is_not_changed():
    model = quick(scaler="robust", random_state=3)
    before = repr(model.get_params())
    compared(noisy().set_column(0, "a", pa.array([None, *noisy()["a"].to_pylist()[1:]])), model=model, scalers=["none"])
    assert repr(model.get_params()) == before and not hasattr(model, "network_")


def test_progress_is_told():
    told = []
    compared(noisy(), scalers=["standard"], progress=lambda *seen: told.append(seen))
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] is None and told[1][2] > 0 and told[-1][2] == 0


# ------------------------------------------------------------------------------------------------ journal


class Stop(Exception):
    pass


def stopped_after(runs, journal, **options):
    def progress(done, total, left):
        if done >= runs:
            raise Stop

    with pytest.raises(Stop):
        compared(noisy(), scalers=["standard", "minmax"], journal=journal, progress=progress, threads=1, **options)


def resumed(journal, **options):
    """The comparison, and how many runs the journal had."""
    told = []
    options = {"scalers": ["standard", "minmax"], **options}
    found = compared(noisy(), journal=journal, progress=lambda *seen: told.append(seen), **options)
    return found, told[0][0]


def test_a_comparison_goes_on_from_its_journal(tmp_path):
    journal = tmp_path / "journal"
    stopped_after(4, journal)
    found, before = resumed(journal)
    assert before == 4 and numbers_of(found) == numbers_of(resumed(tmp_path / "other")[0])
    again, before = resumed(journal)
    assert before == 6 and again.to_json() == found.to_json()  # with the times of the first


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    journal = tmp_path / "journal"
    stopped_after(3, journal)
    whole = journal.read_bytes()
    for kept, runs in ((len(whole) - 1, 2), (len(whole) - 30, 2), (whole.index(b"\n") + 9, 0), (50, 0), (3, 0), (0, 0)):
        journal.write_bytes(whole[:kept])
        assert resumed(journal)[1] == runs, kept
    journal.write_bytes(whole.replace(b'"fold":1', b'"fold":2', 1))
    found, before = resumed(journal)
    assert before < 3 and numbers_of(found) == numbers_of(resumed(tmp_path / "other")[0])


@pytest.mark.parametrize(
    "change", [{"folds": 2}, {"rows": 300}, {"model": quick(epochs=2)}, {"where": "a > 0"}, {"columns": ["a"]}]
)
def test_a_journal_of_other_data_or_options_is_not_gone_on_from(change, tmp_path):
    journal = tmp_path / "journal"
    stopped_after(3, journal)
    found, before = resumed(journal, **change)
    assert before == 0 and numbers_of(found) == numbers_of(resumed(tmp_path / "other", **change)[0])


def test_more_seeds_and_options_go_on_from_what_is_there(tmp_path):
    journal = tmp_path / "journal"
    stopped_after(3, journal)
    assert resumed(journal, seeds=2)[1] == 3
    assert resumed(journal, alpha=0.2, reach=0.5)[1] == 6


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    journal = tmp_path / "journal"
    journal.write_text("my thesis\n")
    with pytest.raises(sn.StreamnormError, match="is no journal of a comparison: move it away"):
        resumed(journal)
    assert journal.read_text() == "my thesis\n"


def test_a_journal_is_written_by_one_process_at_a_time(tmp_path):
    with Journal(tmp_path / "journal", "key", []), pytest.raises(sn.StreamnormError, match="another run is writing it"):
        Journal(tmp_path / "journal", "key", [])


# ------------------------------------------------------------------------------------------------ forms


@pytest.fixture(scope="module")
def small():
    return compared(noisy(), scalers=["standard", "none"], norms=["none", "layer"], seeds=2)


def test_the_table_has_a_row_for_each_combination(small):
    table = small.table()
    assert table.num_rows == 4 and table["r2"].to_pylist() == sorted(table["r2"].to_pylist(), reverse=True)
    assert table["standing"][0].as_py() in ("best", "highest") and table["runs"].to_pylist() == [6] * 4


def test_json_and_back(small):
    said = json.loads(small.to_json())
    assert said["verdict"] == small.verdict and len(said["runs"]) == 24 and len(said["pairs"]) == 6 + 1 + 1
    assert sn.Comparison.from_json(small.to_json()).to_json() == small.to_json()
    for text, why in (("[]", "is no comparison"), ("{", "is no comparison"), ('{"comparison": 9}', "format 9")):
        with pytest.raises(sn.StateError, match=why):
            sn.Comparison.from_json(text)


def test_what_is_not_scaled_or_normalized_is_called_the_same_everywhere(small, tmp_path):
    rows = str(small).splitlines()[3:7]
    assert sum(row.startswith("unscaled ") for row in rows) == sum(" no norm " in row for row in rows) == 2
    assert not any("none" in row for row in rows)
    pytest.importorskip("altair"), pytest.importorskip("vl_convert")
    small.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert '"unscaled"' in page and '"none"' not in page.partition('id="data-chart-1"')[2].partition("</script>")[0]
    assert "going without" not in page and ">none<" not in page


def test_a_verdict_is_made_of_sentences():
    found = compared(noisy(scale=1e6), scalers=["standard", "none"], norms=["none", "batch"], folds=3, seeds=3,
                     model=quick(optimizer="sgd", learning_rate=0.01))  # fmt: skip
    assert found.verdict[0].isupper() and not re.search(r"[.:!] [a-z]\w* \+", found.verdict)
    worse = [pair for pair in found.pairs if pair.kind == "norm" and pair.differs]
    if worse:
        assert '"no norm" is worse than batch' in found.verdict


def test_text_fits_its_width_and_says_the_verdict(small):
    from streamnorm.report.compare_text import as_text

    for width in (60, 100, 160):
        text = as_text(small, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert " ".join(small.verdict.split()) in " ".join(text.split())
    assert str(small) == as_text(small)


NASTY = "</script><img src=x onerror=alert(1)>"


def test_names_are_escaped_in_a_notebook_and_on_a_page(tmp_path):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    table = noisy().rename_columns(["a", NASTY, "<b>y"])
    found = compared(table, "<b>y", scalers={"<i>robust": "robust", "standard": "standard"})
    assert "<i>" not in found._repr_html_() and "<b>" not in found._repr_html_()
    found.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for name in (NASTY, "<i>robust", "<b>y"):
        assert name not in page
    assert "&lt;b&gt;y" in page and "<img" not in page and "&lt;i&gt;robust" in page
    assert found.verdict.replace("<", "&lt;").replace(">", "&gt;") in page


def test_a_comparison_is_saved_whole_as_json_or_a_page(small, tmp_path):
    small.save(tmp_path / "x.json")
    assert sn.Comparison.from_json((tmp_path / "x.json").read_text()).verdict == small.verdict
    with pytest.raises(sn.StreamnormError, match="exists already"):
        small.save(tmp_path / "x.json")
    small.save(tmp_path / "x.json", overwrite=True)
    with pytest.raises(ValueError, match="a comparison goes to a page"):
        small.save(tmp_path / "x.txt")


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"target": "z"}, sn.DataError, "there is no target column 'z'"),
        ({"target": None}, ValueError, "target= says what to predict"),
        ({"target": ["y", "y"]}, ValueError, "different names"),
        ({"target": [1.0, 2.0]}, ValueError, "an array goes with an array"),
        ({"scalers": []}, ValueError, "scalers is empty"),
        ({"scalers": ["zscore"]}, ValueError, "got 'zscore'"),
        ({"scalers": ["minmax", "minmax"]}, ValueError, "is there twice"),
        ({"norms": ["spectral"]}, ValueError, "got 'spectral'"),
        ({"norms": ["none", None]}, ValueError, "several different ones"),
        ({"folds": 1}, ValueError, "folds must be a whole number of at least 2"),
        ({"folds": 300}, sn.DataError, "300 folds take at least 600"),
        ({"seeds": 0}, ValueError, "seeds must be"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be"),
        ({"random_state": -1}, ValueError, "random_state must be"),
        ({"rows": 0}, ValueError, "rows must be"),
        ({"alpha": 1.0}, ValueError, "alpha must be"),
        ({"group": "a", "time": "b"}, ValueError, "one of the two"),
        ({"group": "g"}, sn.DataError, "'g'"),
        ({"group": "few"}, sn.DataError, "has 2 groups, and 3 folds"),
        ({"time": "few"}, sn.DataError, "holds 2 different times"),
        ({"target": "flat"}, sn.DataError, "has one value"),
        ({"columns": ["huge"]}, sn.DataError, "'huge' holds infinite values"),
        ({"where": "a > 99"}, sn.DataError, "there are no rows"),
        ({"model": "mlp"}, ValueError, "model must be a Regressor"),
        ({"model": quick(epochs=0)}, ValueError, "epochs"),
        ({"memory": "1kB"}, ValueError, "memory must be at least"),
    ],
)
def test_what_is_wrong_is_said(options, error, why):
    table = noisy()
    n = len(table)
    more = {"few": [0, 1] * (n // 2), "flat": [2.5] * n, "huge": [np.inf, *[1.0] * (n - 1)]}
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    with pytest.raises(error, match=why):
        compared(table, **{"columns": ["a"], **options})


def test_an_array_of_columns_without_names_needs_an_array_for_a_target():
    with pytest.raises(sn.DataError, match="the columns of an array have no names"):
        compared(np.ones((20, 2)))


def test_a_sample_is_what_it_says():
    sample = take_sample(noisy(), Wanted(["y"], None, ["b"], [], None, None), None, 0, "256MB", None, None)
    assert isinstance(sample, Sample) and sample.features == ["a"] and sample.target().shape == (400, 1)
