"""The regressor on tables, frames and files: columns by name, missing values, strings, streams, errors."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import children

from streamnorm.errors import DataError
from streamnorm.nn import Regressor

ROWS = 3000
AS_GOOD = 0.02  # difference of R^2 between a table in memory and the same rows in files
FLOOR = 60 * 10**6  # bytes that reading and training take at least, besides `memory`
MEMORY = 40 * 10**6


def make_table(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    a, b, w = rng.normal(size=rows) * 1e6, rng.integers(0, 50, rows), rng.uniform(0.5, 2, rows)
    word = rng.choice(["red", "green", "blue"], rows)
    y = a / 1e6 + (b - 25) ** 2 / 300 + np.select([word == "red", word == "green"], [0.7, -0.7], 0.0)
    return pa.table(
        {
            "word": word,
            "b": b,
            "y": 1e4 * y,
            "a": a,
            "w": w,
            "z": y,
            "day": pa.array(b.astype(np.int32), pa.int32()).cast(pa.date32()),
        }
    )


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture
def folder(tmp_path, table):
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / f"part-{i}.parquet", row_group_size=300)
    return tmp_path


def model(**parameters):
    return Regressor(**{"epochs": 6, "random_state": 0, **parameters})


OPTIONS = {"target": "y", "columns": ["a", "b"]}


# ---------------------------------------------------------------- kinds of tables


def test_kinds_of_tables_are_one(table):
    import pandas as pd
    import polars as pl

    expected = model().fit(table, **OPTIONS)
    frame = table.to_pandas()
    kinds = [frame, pl.from_arrow(table), table.to_batches(max_chunksize=700), pa.record_batch(frame)]
    kinds += [table.to_reader(), iter(table.to_batches())]
    for kind in kinds:
        assert np.array_equal(model().fit(kind, **OPTIONS).predict(table), expected.predict(table)), type(kind)
    for kind in kinds[:4]:
        assert np.array_equal(expected.predict(kind), expected.predict(table))
    X = np.column_stack([table["b"].to_numpy(), table["a"].to_numpy()]).astype(float)
    for goal in (frame["y"], table["y"], list(frame["y"]), pl.Series(frame["y"]), frame[["y"]]):
        apart = model().fit(table.select(["b", "a"]), goal)
        assert np.array_equal(apart.predict(table), expected.predict(table)) and apart.target_names_ is None
    unnamed = model().fit(X.tolist(), frame["y"].tolist())
    assert np.array_equal(unnamed.predict(X), expected.predict(table)) and not hasattr(unnamed, "feature_names_in_")
    assert np.array_equal(unnamed.predict(table.select(["b", "a"])), expected.predict(X))
    assert np.array_equal(unnamed.predict(pd.DataFrame(X)), expected.predict(X))


def test_names(table):
    fitted = model().fit(table, target="y", exclude=["w", "z"])
    assert list(fitted.feature_names_in_) == ["b", "a"] and fitted.n_features_in_ == 2
    assert fitted.target_names_ == ["y"] and fitted.n_outputs_ == 1
    assert list(model(epochs=1).fit(table, target="z").feature_names_in_) == ["b", "y", "a", "w"]
    assert list(model(epochs=1).fit(table, target="z", sample_weight="w").feature_names_in_) == ["b", "y", "a"]
    assert list(model(epochs=1).fit(table, target="z", columns=["day", "z", "a"]).feature_names_in_) == ["a", "day"]
    assert np.array_equal(fitted.predict(table.select(["a", "word", "b"])), fitted.predict(table))
    with pytest.raises(DataError, match="there is no column 'b': there are 'a'"):
        fitted.predict(table.select(["a"]))
    both = model().fit(table, target=["y", "z"], exclude="w")
    assert both.predict(table).shape == (ROWS, 2) and both.target_names_ == ["y", "z"]
    assert both.score(table) > 0.5
    again = fitted.fit(table, target="y")
    assert list(again.feature_names_in_) == ["b", "a", "w", "z"]
    again.fit(np.ones((5, 2)) * np.arange(5)[:, None], np.arange(5))
    assert not hasattr(again, "feature_names_in_") and again.target_names_ is None


def test_strings_are_embedded(table):
    plain = model(epochs=15).fit(table, **OPTIONS).score(table)
    fitted = model(epochs=15, embed=["word"], buckets=50, embedding_dim=3).fit(table, **OPTIONS)
    assert plain < 0.85 and fitted.score(table) > 0.95
    assert list(fitted.feature_names_in_) == ["b", "a", "word"] and fitted.n_features_in_ == 3
    odd = table.slice(0, 3).set_column(0, "word", pa.array(["violet", None, "red"]))
    assert np.isfinite(fitted.predict(odd)).all()
    alone = model(embed="word").fit(table.select(["word", "y"]), target="y")
    assert alone.scaler_ is None and 0.1 < alone.score(table) < 0.4
    with pytest.raises(DataError, match="there is no column 'colour'"):
        model(embed="colour").fit(table, target="y")


def test_missing_inputs_are_imputed_and_flagged(table):
    rng = np.random.default_rng(3)
    gone = rng.random(ROWS) < 0.3
    y = np.where(gone, 5.0, table["z"].to_numpy())
    holes = table.set_column(3, "a", pa.array(table["a"].to_numpy(), mask=gone)).set_column(2, "y", pa.array(y))
    with pytest.raises(DataError, match=r"column 'a' has a missing value \(null or NaN\): impute"):
        model().fit(holes, **OPTIONS)
    for scaler in ("standard", "robust", None):
        fitted = model(epochs=12, impute=True, scaler=scaler and {"a": scaler, "b": "standard"} or {"a": "standard"})
        fitted.fit(holes, **OPTIONS)
        inputs = fitted.features_.matrix(holes)
        assert inputs.shape == (ROWS, 3) and np.array_equal(inputs[:, 2], gone)
        assert abs(fitted.predict(holes)[gone] - 5.0).mean() < 1.0
    array = np.column_stack([np.where(gone, np.nan, 1.0), rng.normal(size=ROWS)])
    assert model(impute=True, scaler=None).fit(array, y).n_features_in_ == 2
    with pytest.raises(DataError, match="NaN"):
        model().fit(array, y)


def test_rows_without_a_target_are_left_out(table):
    y = table["y"].to_numpy().copy()
    y[::3] = np.nan
    nulls = pa.array(y, mask=np.arange(ROWS) % 5 == 1)
    some = table.set_column(2, "y", nulls)
    kept = table.filter(pa.array(~(np.isnan(y) | (np.arange(ROWS) % 5 == 1))))
    assert np.array_equal(model().fit(some, **OPTIONS).predict(table), model().fit(kept, **OPTIONS).predict(table))
    hole = pa.array(table["a"].to_numpy(), mask=np.arange(ROWS) % 3 == 0)  # where there is no target either
    holes = some.set_column(3, "a", hole)
    assert np.array_equal(model().fit(holes, **OPTIONS).predict(table), model().fit(kept, **OPTIONS).predict(table))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("options", [{}, {"embed": "word"}, {"early_stopping": True}, {"impute": True}], ids=str)
def test_files_are_as_good_as_tables(options, folder, table):
    fitted = model(epochs=12, **options).fit(folder, **OPTIONS)
    expected = model(epochs=12, **options).fit(table, **OPTIONS)
    assert abs(fitted.score(table) - expected.score(table)) < AS_GOOD
    assert np.array_equal(fitted.predict(folder), fitted.predict(table))
    assert np.isclose(fitted.score(folder), fitted.score(table), rtol=1e-12)
    assert list(fitted.feature_names_in_) == list(expected.feature_names_in_)
    again = model(epochs=12, **options).fit(str(folder / "*.parquet"), **OPTIONS, threads=1)
    assert np.array_equal(again.predict(table), fitted.predict(table)) and again.history_ == fitted.history_


@pytest.mark.parametrize("rows", [3000, 2945])  # 2945 = 92 * 32 + 1
def test_files_in_their_order_give_the_bits_of_a_table(rows, table, tmp_path):
    path = tmp_path / "all.parquet"
    pq.write_table(table.slice(0, rows), path, row_group_size=500)
    for options in ({}, {"scaler": "robust", "target_scaler": "minmax"}, {"scaler": None}):
        fitted = model(shuffle=False, epochs=2, **options).fit(path, **OPTIONS)
        expected = model(shuffle=False, epochs=2, **options).fit(table.slice(0, rows), **OPTIONS)
        assert fitted.history_ == expected.history_
        assert np.array_equal(fitted.predict(table), expected.predict(table))


def test_files_with_weights_and_missing_targets(folder, table, tmp_path):
    y = table["y"].to_numpy().copy()
    y[::4] = np.nan
    weight = np.where(np.arange(ROWS) % 3 == 0, 0.0, table["w"].to_numpy())
    some = table.set_column(2, "y", pa.array(y)).set_column(4, "w", pa.array(weight))
    path = tmp_path / "weighted.parquet"
    pq.write_table(some, path)
    for shuffle in (False, True):
        from_file = model(shuffle=shuffle, epochs=10).fit(path, **OPTIONS, sample_weight="w")
        in_memory = model(shuffle=shuffle, epochs=10).fit(some, **OPTIONS, sample_weight="w")
        assert abs(from_file.score(table) - in_memory.score(table)) < AS_GOOD
        assert np.isclose(from_file.scaler_.mean_[1], in_memory.scaler_.mean_[1], rtol=1e-12)
    assert np.isclose(from_file.score(path, sample_weight="w"), in_memory.score(some, sample_weight="w"), atol=AS_GOOD)


def test_scalers_see_the_training_rows_of_files_alone(folder):
    fitted = model(epochs=1, early_stopping=True, validation_fraction=0.4).fit(folder, **OPTIONS)
    assert 1500 < fitted.scaler_.n_samples_seen_ == fitted.target_scaler_.n_samples_seen_ < 2100
    assert len(fitted.history_["val_loss"]) == 1


def test_partial_fit_and_warm_start_over_files(folder, table):
    files = sorted(folder.glob("*.parquet"))
    fitted = model()
    for path in files * 3:
        fitted.partial_fit(path, **OPTIONS)
    assert fitted.n_iter_ == 9 and fitted.scaler_.n_samples_seen_ == 1000
    assert fitted.score(table) > 0.3
    rate = {"learning_rate": lambda step: 3e-3}
    whole = model(epochs=3, **rate).fit(folder, **OPTIONS)
    parts = model(epochs=1, warm_start=True, **rate).fit(folder, **OPTIONS)
    parts.set_params(epochs=2).fit(folder, **OPTIONS)
    assert np.array_equal(whole.predict(table), parts.predict(table))
    unnamed = model(epochs=1).fit(np.column_stack([table["b"], table["a"]]), table["y"])
    unnamed.partial_fit(folder, **OPTIONS)
    assert np.isfinite(unnamed.predict(table.select(["b", "a"]))).all()


STREAMED = """
import resource, sys
from streamnorm.nn import Regressor
import streamnorm.nn._regressor_files

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
start = peak()
model = Regressor((16,), epochs=2, early_stopping=True, random_state=0, batch_size=4096)
model.fit(sys.argv[1], target="c0", memory=int(sys.argv[2]))
print(model.n_iter_, peak() - start)
"""


def test_memory_is_bounded(tmp_path):
    path = tmp_path / "large.parquet"
    rng = np.random.default_rng(0)
    schema = pa.schema([(f"c{j}", pa.float64()) for j in range(6)])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(20):
            writer.write_table(pa.table([rng.normal(size=150_000) for _ in schema], schema=schema))
    assert path.stat().st_size > 1.4 * (FLOOR + MEMORY)
    result = children.run(STREAMED, path, MEMORY)
    assert result.status == 0, result.err
    epochs, grown = map(int, result.out.split())
    assert epochs == 2 and grown <= FLOOR + MEMORY, f"{grown / 1e6:.0f} MB"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize(
    "options,message",
    [
        ({}, "requires y to be passed, but the target y is None"),
        ({"target": "wrd"}, "there is no target column 'wrd': did you mean 'word'"),
        ({"target": []}, "one name or several different"),
        ({"target": ["y", "y"]}, "one name or several different"),
        ({"target": "word"}, "the target 'word' holds string, not numbers"),
        ({"target": "y", "columns": ["q"]}, "there is no column 'q'"),
        ({"target": "y", "columns": "word"}, "column 'word' holds strings: learn a vector"),
        ({"target": "y", "exclude": ["a", "b", "w", "z"]}, "no column of numbers to learn from"),
        ({"target": "y", "sample_weight": "v"}, "there is no column 'v'"),
        ({"target": "y", "sample_weight": "word"}, "column 'word' holds string, not"),
        ({"target": "y", "y": np.ones(ROWS)}, "both y and target|files come with their target"),
        ({"y": "y"}, "to name a column of X, give target='y'"),
    ],
)
def test_errors_are_one_sentence(options, message, in_files, table, folder):
    options = dict(options)
    y = options.pop("y", None)
    with pytest.raises(DataError, match=message) as caught:
        model().fit(folder if in_files else table, y, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize(
    "column,values,message",
    [
        ("y", np.full(ROWS, np.nan), r"every row lacks its target \(y\)"),
        ("y", np.where(np.arange(ROWS) == 2500, np.inf, 1.0), "'y'.*infini"),
        ("a", np.where(np.arange(ROWS) == 2500, -np.inf, 1.0), "'a'.*infini"),
        ("a", np.where(np.arange(ROWS) == 2500, np.nan, 1.0), "'a'.*has a missing value"),
        ("w", np.zeros(ROWS), "weight.*zero or missing|lacks its target.*or its weight"),
        ("w", np.where(np.arange(ROWS) == 2500, -1.0, 1.0), "negative or infinite"),
    ],
)
def test_bad_values(column, values, message, in_files, table, tmp_path):
    bad = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    path = tmp_path / "bad.parquet"
    pq.write_table(bad, path, row_group_size=1000)
    weight = {"sample_weight": "w"} if column == "w" else {}
    with pytest.raises(DataError, match=message) as caught:
        model().fit(path if in_files else bad, **OPTIONS, **weight)
    assert "\n" not in str(caught.value)
    if column == "a":
        good = model(epochs=1).fit(table, **OPTIONS)
        with pytest.raises(DataError, match=message):
            good.predict(path if in_files else bad)


def test_what_arrays_and_files_cannot_do(table, folder):
    X = np.ones((5, 2))
    for options in ({"target": "y"}, {"columns": ["a"]}, {"exclude": "a"}):
        with pytest.raises(DataError, match="need named columns|both y and target"):
            model().fit(X, None if "target" in options else np.ones(5), **options)
    with pytest.raises(DataError, match="need named columns"):
        model(embed="word").fit(X, np.ones(5))
    with pytest.raises(DataError, match="files come with their target"):
        model().fit(folder, np.ones(ROWS))
    with pytest.raises(DataError, match="weights of rows in files are a column"):
        model().fit(folder, target="y", sample_weight=np.ones(ROWS))
    with pytest.raises(DataError, match="there is no such file"):
        model().fit(folder / "none.parquet", target="y")
    with pytest.raises(DataError, match="tables and arrays mixed"):
        model().fit([table, X], target="y")
    fitted = model(epochs=1).fit(table, **OPTIONS)
    with pytest.raises(DataError, match="X has 3 features, but Regressor is expecting 2"):
        fitted.predict(np.ones((4, 3)))
    with pytest.raises(DataError, match="no row|every row"):
        fitted.score(table.slice(0, 0))
