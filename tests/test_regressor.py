"""The regressor on data in memory: what it learns, repeats and refuses."""

import copy
import pickle

import numpy as np
import pyarrow as pa
import pytest
from support import children

import streamnorm as sn
from streamnorm import nn
from streamnorm.errors import DataError
from streamnorm.nn import Regressor
from streamnorm.nn._regressor_network import groups_of, read_recipe, seed_of
from streamnorm.nn._regressor_rows import Source, read_rows
from streamnorm.nn._regressor_scaling import split_rows
from streamnorm.nn._regressor_settling import Settling

GOOD = 0.95  # R^2 that a smooth target of 600 rows is to be learned to
WEIGHTED = 1e-6  # relative difference between weights and repeated rows, the order of float32 sums being the same
TOO_FEW = "n_samples=1 to train on, and batch normalization needs at least 2"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(600, 4))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3]


@pytest.fixture(scope="module")
def table(data):
    X, y = data
    columns = {name: X[:, j] for j, name in enumerate("abcd")}
    return pa.table({**columns, "y": y, "word": np.array(["red", "green"])[(X[:, 0] > 0).astype(int)]})


def fitted(data, **parameters):
    return Regressor(**{"epochs": 3, "random_state": 0, **parameters}).fit(*data)


def same(one, other, X):
    return np.array_equal(one.predict(X), other.predict(X)) and one.history_ == other.history_


# ---------------------------------------------------------------- what is learned


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group", "rms", None])
def test_every_norm_learns(norm, data):
    model = fitted(data, norm=norm, epochs=30)
    assert model.score(*data) > GOOD
    assert model.history_["loss"][-1] < model.history_["loss"][0] / 4


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_activations(activation, data):
    assert fitted(data, activation=activation, epochs=30).score(*data) > 0.8


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", nn.SGD(0.05, 0.9, clip_norm=1.0), nn.AdamW(3e-3)])
def test_optimizers(optimizer, data):
    assert fitted(data, optimizer=optimizer, epochs=30).score(*data) > 0.8


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber", nn.HuberLoss(0.5), "mse"])
def test_losses(loss, data):
    assert fitted(data, loss=loss, epochs=30).score(*data) > 0.9


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_quantile_loss_leaves_that_share_below(share):
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (4000, 1))
    y = X[:, 0] + rng.normal(size=4000)
    model = Regressor((16,), loss=nn.QuantileLoss(share), epochs=12, random_state=0).fit(X, y)
    assert abs(np.mean(y < model.predict(X)) - share) < 0.05
    assert Regressor(loss="quantile", epochs=1, random_state=0).fit(X, y).history_["loss"][0] > 0


def test_target_units_of_any_size(data):
    X, y = data
    plain = fitted(data).predict(X)
    for scale in (2.0**30, 2.0**-30):
        model = fitted((X, y * scale))
        assert np.array_equal(model.predict(X), plain * scale)
        assert model.history_ == fitted(data).history_
    shifted = fitted((X, y + 1e9))
    assert shifted.score(X, y + 1e9) > 0.8 and shifted.predict(X).dtype == np.float64


def test_inputs_with_many_digits():
    seconds = 1.7e9 + np.random.default_rng(2).uniform(0, 60, size=(800, 1))  # float32 has steps of 128 seconds here
    y = np.abs(seconds[:, 0] - 1.7e9 - 30)
    model = Regressor(epochs=20, random_state=0).fit(seconds, y)
    assert model.score(seconds, y) > 0.98
    assert model.score(pa.table({"x": seconds[:, 0]}), y) == model.score(seconds, y)
    line = Regressor((), epochs=100, random_state=0).fit(seconds, seconds[:, 0])
    assert line.score(seconds, seconds[:, 0]) > 0.999  # predictions are float64


def test_constant_columns_and_targets(data):
    X, y = data
    flat = np.column_stack([X, np.full(len(X), 7.0)])
    assert Regressor(epochs=20, random_state=0).fit(flat, y).score(flat, y) > 0.8
    for constant in (0.0, 5.0, 1e12):
        model = fitted((X, np.full(len(X), constant)))
        assert np.abs(model.predict(X) - constant).max() <= 0.5
        assert model.score(X, np.full(len(X), constant)) in (0.0, 1.0)


def test_several_targets(data):
    X, y = data
    Y = np.column_stack([y, 1e6 * y + 3, -y])
    model = Regressor(epochs=30, random_state=0).fit(X, Y)
    assert model.predict(X).shape == Y.shape and model.n_outputs_ == 3
    assert model.score(X, Y) > GOOD
    column = fitted((X, y[:, None]))
    assert column.predict(X).shape == (len(X),)  # one target is one number, however it was given
    assert same(column, fitted(data), X)


@pytest.mark.parametrize("scaler", ["standard", "minmax", "maxabs", "robust", None, sn.StandardScaler(ddof=1)])
def test_scalers(scaler, data):
    model = fitted(data, scaler=scaler, target_scaler=scaler, epochs=15)
    assert model.score(*data) > 0.8
    assert (model.scaler_ is None) == (scaler is None)
    assert model.scaler_ is not scaler or scaler is None
    assert not isinstance(scaler, sn.StandardScaler) or not scaler.__sklearn_is_fitted__()


def test_a_scaler_for_each_column(table, data):
    model = Regressor(scaler={"a": "robust", "b": sn.MinMaxScaler()}, epochs=15, random_state=0).fit(table, target="y")
    assert model.score(table) > 0.8
    assert sorted(model.scaler_.transformers_) == ["a", "b", "remainder"]
    inputs = model.features_.matrix(table)
    assert inputs[:, 1].min() == 0.0 and inputs[:, 1].max() == 1.0
    assert np.array_equal(inputs[:, 2], table["c"].to_numpy().astype(np.float32))
    by_place = Regressor(scaler={0: "minmax"}, target_scaler={0: "minmax"}, epochs=1, random_state=0).fit(*data)
    assert by_place.features_.matrix(data[0])[:, 0].max() == 1.0


def test_double_precision(data):
    model = fitted(data, dtype="float64", epochs=20)
    assert model.network_.dtype == np.float64 and model.score(*data) > 0.9


def test_dropout_and_linear_models(data):
    X, y = data
    assert fitted(data, dropout=0.1, epochs=30).score(*data) > 0.7
    model = Regressor((), epochs=100, random_state=0).fit(X, X @ [1.0, -2.0, 0.5, 3.0])
    assert model.score(X, X @ [1.0, -2.0, 0.5, 3.0]) > 0.999 and len(model.network_) == 1
    assert Regressor(7, epochs=1).fit(X, y).network_[0].out_features == 7


@pytest.mark.parametrize("width,groups", [(64, 8), (12, 6), (7, 1), (1, 1), (2, 1), (15, 5)])
def test_groups(width, groups):
    assert groups_of(width) == groups


# ---------------------------------------------------------------- the same bits


def test_seeds_repeat(data):
    X, y = data
    first = fitted(data)
    assert same(first, fitted(data), X)
    assert not same(first, fitted(data, random_state=1), X)
    for make in (np.random.RandomState, np.random.default_rng):
        assert same(fitted(data, random_state=make(5)), fitted(data, random_state=make(5)), X)
    assert not same(fitted(data, random_state=None), fitted(data, random_state=None), X)
    for bad in (-1, 2**63, "0", 1.0, True):
        with pytest.raises(ValueError, match="random_state"):
            seed_of(bad)


@pytest.mark.parametrize("parameters", [{}, {"norm": None, "hidden": (128, 64), "batch_size": 128, "dropout": 0.2}])
def test_threads_do_not_matter(parameters, data):
    X, y = data
    models = [Regressor(epochs=2, random_state=0, **parameters).fit(X, y, threads=n) for n in (1, 2, 5, None)]
    assert all(same(models[0], model, X) for model in models)


IN_ANOTHER_PROCESS = """
import numpy as np
from streamnorm.nn import Regressor
rng = np.random.default_rng(1)
X = rng.normal(size=(600, 4))
y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3]
print(Regressor(epochs=3, random_state=0, early_stopping=True, dropout=0.1).fit(X, y).predict(X).tobytes().hex())
"""


def test_another_process_repeats(data):
    result = children.run(IN_ANOTHER_PROCESS)
    assert result.status == 0, result.err
    assert result.out.strip() == fitted(data, early_stopping=True, dropout=0.1).predict(data[0]).tobytes().hex()


def test_order_of_rows_does_not_matter(data, table):
    X, y = data
    order = np.random.default_rng(9).permutation(len(X))
    assert same(fitted(data, early_stopping=True), fitted((X[order], y[order]), early_stopping=True), X)
    model = Regressor(epochs=2, random_state=0, embed="word").fit(table, target="y")
    again = Regressor(epochs=2, random_state=0, embed="word").fit(table.take(order), target="y")
    assert same(model, again, table)
    kept = fitted(data, shuffle=False)
    assert not same(kept, fitted((X[order], y[order]), shuffle=False), X)


def test_predictions_do_not_depend_on_their_batch(data):
    X, y = data
    model = fitted(data, hidden=(33, 17))
    whole = model.predict(X)
    for rows in (1, 2, 31, 599):
        assert np.array_equal(np.concatenate([model.predict(X[i : i + rows]) for i in range(0, 600, rows)]), whole)
    many = np.tile(X, (200, 1))  # more rows than are scaled at once
    assert np.array_equal(model.predict(many), np.tile(whole, 200))


@pytest.mark.parametrize("model", [{}, {"optimizer": "sgd"}, {"norm": "rms", "dropout": 0.3}])
def test_warm_start_goes_on_as_if_never_stopped(model, data):
    X, y = data
    model = {"random_state": 0, "learning_rate": nn.StepSchedule(1e-2, 20, 0.5), **model}
    whole = Regressor(epochs=6, **model).fit(X, y)
    parts = Regressor(epochs=2, warm_start=True, **model).fit(X, y)
    network = parts.network_
    parts.set_params(epochs=4).fit(X, y)
    assert same(whole, parts, X) and parts.n_iter_ == 6
    assert network is not parts.network_
    cold = Regressor(epochs=2, **model).fit(X, y).fit(X, y)
    assert cold.n_iter_ == 2 and len(cold.history_["loss"]) == 2


def test_warm_start_keeps_structure_and_takes_a_new_rate(data):
    X, y = data
    model = fitted(data, warm_start=True)
    before = model.predict(X)
    with pytest.raises(ValueError, match="set them back, or fit anew"):
        model.set_params(hidden=(8,)).fit(X, y)
    with pytest.raises(DataError, match="expecting 4 features"):
        model.set_params(hidden=(64, 64)).fit(X[:, :3], y)
    with pytest.raises(DataError, match="2 targets"):
        model.fit(X, np.column_stack([y, y]))
    assert np.array_equal(model.predict(X), before) and model.n_iter_ == 3
    model.set_params(learning_rate=1e-12, epochs=1).fit(X, y)
    assert np.abs(model.predict(X) - before).max() < 1.0  # batch norm's statistics have moved, and nothing else
    assert model.network_.optimizer.lr == 1e-12


def test_a_rate_falls_over_a_fit_and_not_over_partial_fits(data):
    rates = []

    class Watched(nn.SGD):
        def step(self, parameters):
            rates.append(self.lr)
            super().step(parameters)

    model = Regressor(optimizer=Watched(0.1), epochs=4, batch_size=600, random_state=0).fit(*data)
    assert np.allclose(rates, 0.05 * (1 + np.cos(np.pi * np.array([1, 3, 5, 7]) / 8)))
    assert model.network_.optimizer.lr == 0.1
    model.partial_fit(*data)
    assert rates[-1] == 0.1


def test_partial_fit(data):
    X, y = data
    model = Regressor(random_state=0)
    for start in range(0, 600, 100):
        assert model.partial_fit(X[start : start + 100], y[start : start + 100]) is model
    assert model.n_iter_ == 6 and len(model.history_["loss"]) == 6
    assert np.allclose(model.scaler_.mean_, X[:100].mean(axis=0))  # of the first call alone
    flat = {"random_state": 0, "learning_rate": lambda step: 0.01}
    one_pass = Regressor(epochs=1, **flat).fit(X, y)
    assert same(Regressor(random_state=0, epochs=9, early_stopping=True).partial_fit(X, y), one_pass, X)
    with pytest.raises(DataError, match="X has 3 features, but Regressor is expecting 4"):
        model.partial_fit(X[:, :3], y)


def test_copies_and_pickles(data):
    X, y = data
    model = fitted(data, warm_start=True)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same(model, twin, X)
        assert same(copy.deepcopy(model).fit(X, y), twin.fit(X, y), X)  # the optimizer's state travels too


def test_a_fit_that_fails_changes_nothing(data):
    X, y = data
    model = fitted(data)
    before = dict(model.__dict__)
    bad = X.copy()
    bad[5, 2] = np.nan
    with pytest.raises(DataError):
        model.fit(bad, y)
    with pytest.raises(DataError):
        model.partial_fit(bad, y)

    def stop(done, epochs, losses):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y, progress=stop)
    assert model.__dict__ == before and same(model, fitted(data), X)


# ---------------------------------------------------------------- the last epochs


@pytest.mark.parametrize("bias", [False, True])
def test_folding_and_unfolding(bias, data):
    rng = np.random.default_rng(11)
    dense, norm = nn.Dense(4, 9, bias, dtype=np.float64, random_state=1), nn.BatchNorm(9, dtype=np.float64)
    norm.running_mean, norm.running_var = rng.normal(size=9), rng.uniform(0.1, 4, 9)
    norm.weight, norm.bias = rng.normal(size=9), rng.normal(size=9)
    norm.weight[3] = 0.0
    last = nn.Dense(9, 1, dtype=np.float64, random_state=2)
    network = nn.Sequential([dense, norm, nn.ReLU(), last]).eval()
    before = network.predict(data[0])
    settling = Settling(network)
    assert len(settling.folded) == 3 and settling.folded[2] is last
    assert np.allclose(settling.folded.predict(data[0]), before, rtol=0, atol=1e-5)  # channel 3 has a scale after all
    settling.folded[0].weight += 0.1 * rng.normal(size=(9, 4))
    settling.folded[0].bias += 0.1
    settling.unfold()
    assert np.allclose(network.predict(data[0]), settling.folded.predict(data[0]), rtol=0, atol=1e-9)
    assert not np.allclose(network.predict(data[0]), before, atol=1e-2)


def test_last_epochs_leave_running_statistics_alone(data):
    steady = fitted(data, epochs=10, learning_rate=lambda step: 1e-2)
    model = fitted(data, epochs=10)
    assert model.score(*data) > steady.score(*data)
    assert int(model.network_[1].num_batches_tracked) == 7 * 19 and int(steady.network_[1].num_batches_tracked) == 190
    assert model.n_iter_ == 10 and len(model.history_["loss"]) == 10
    assert model.history_["loss"][-1] < 0.6 * model.history_["loss"][6]
    assert fitted(data, epochs=10, norm="layer").network_[1].__class__ is nn.LayerNorm
    again = fitted(data, epochs=10, warm_start=True).fit(*data)
    assert again.n_iter_ == 20 and again.score(*data) > model.score(*data) - 0.01


@pytest.mark.parametrize("rows,seed,last", [(600, 0, False), (120, 2, True), (60, 2, False)])
def test_last_epochs_with_early_stopping(rows, seed, last, data):
    X, y = data[0][:rows], data[1][:rows] + 3 * np.random.default_rng(4).normal(size=600)[:rows]
    model = Regressor((64,), epochs=20, early_stopping=True, n_iter_no_change=20, random_state=seed)
    progress = []
    model.fit(X, y, progress=lambda done, epochs, losses: progress.append((done, epochs)))
    assert progress == [(i + 1, 20) for i in range(20)]
    losses = model.history_["val_loss"]
    assert len(losses) == 20
    assert (np.argmin(losses) >= 14) == last  # whether the best epoch was one of the last six
    given = read_rows(Source(X, y, None, None, None, None, "1MB", None), (), "Regressor")
    _, held = split_rows(given.order(by_value=True), read_recipe(model), seed)
    error = np.mean((model.predict(X[held]) - y[held]) ** 2) / model.target_scaler_.var_[0]
    assert np.isclose(error, min(losses), rtol=1e-4)


# ---------------------------------------------------------------- early stopping and progress


def test_early_stopping_keeps_the_best_epoch(data):
    X, y = data
    noisy = y + 2 * np.random.default_rng(4).normal(size=len(y))
    options = {
        "early_stopping": True,
        "validation_fraction": 0.2,
        "random_state": 0,
        "learning_rate": lambda step: 1e-2,
    }
    model = Regressor((128, 128), epochs=60, n_iter_no_change=4, **options).fit(X, noisy)
    losses = model.history_["val_loss"]
    assert len(losses) == len(model.history_["loss"]) == model.n_iter_ < 60
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    until = Regressor((128, 128), epochs=best + 1, n_iter_no_change=99, **options).fit(X, noisy)
    assert np.array_equal(model.predict(X), until.predict(X))
    assert "val_loss" not in fitted(data).history_


def test_tol_and_n_iter_no_change(data):
    model = fitted(data, early_stopping=True, tol=10.0, n_iter_no_change=2, epochs=20)
    assert model.n_iter_ == 3  # the first epoch improves on nothing, two more do not by 10
    assert fitted(data, early_stopping=True, tol=0.0, epochs=4, n_iter_no_change=50).n_iter_ == 4


def test_scalers_see_no_row_that_is_held_out():
    X = np.zeros((100, 1))
    X[:, 0] = np.arange(100)
    model = Regressor(epochs=1, early_stopping=True, validation_fraction=0.3, random_state=0).fit(X, X[:, 0])
    assert model.scaler_.n_samples_seen_ == model.target_scaler_.n_samples_seen_ == 70
    assert model.scaler_.mean_ == model.target_scaler_.mean_ != X.mean()
    other = Regressor(epochs=1, early_stopping=True, validation_fraction=0.3, random_state=1).fit(X, X[:, 0])
    assert other.scaler_.mean_ != model.scaler_.mean_


def test_progress(data):
    seen = []
    model = Regressor(epochs=3, early_stopping=True, random_state=0)
    model.fit(*data, progress=lambda done, epochs, losses: seen.append((done, epochs, losses)))
    assert [(done, epochs) for done, epochs, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [losses["val_loss"] for _, _, losses in seen] == model.history_["val_loss"]


# ---------------------------------------------------------------- weights


def test_whole_weights_are_repeated_rows(data):
    X, y = data
    weight = np.random.default_rng(5).integers(0, 4, len(y))
    weighted = Regressor(epochs=3, random_state=0, early_stopping=True).fit(X, y, sample_weight=weight)
    repeated = Regressor(epochs=3, random_state=0, early_stopping=True).fit(
        np.repeat(X, weight, 0), np.repeat(y, weight)
    )
    assert same(weighted, repeated, X)


def test_rows_of_weight_zero_take_no_part(data):
    X, y = data
    bad = np.vstack([X, np.full((5, 4), np.nan), np.full((5, 4), np.inf)])
    goal = np.concatenate([y, np.full(10, 1e30)])
    for weight in (1.0, 0.37):
        weights = np.concatenate([np.full(len(y), weight), np.zeros(5), np.full(5, np.nan)])
        model = Regressor(epochs=2, random_state=0).fit(bad, goal, sample_weight=weights)
        plain = Regressor(epochs=2, random_state=0).fit(X, y, sample_weight=np.full(len(y), weight))
        assert same(model, plain, X)


def test_other_weights_multiply_the_loss(data):
    X, y = data
    weight = np.random.default_rng(6).uniform(0.1, 2.0, len(y))
    one = Regressor(epochs=5, random_state=0, norm=None).fit(X, y, sample_weight=weight)
    other = Regressor(epochs=5, random_state=0, norm=None).fit(X, y, sample_weight=weight * 64.0)
    assert np.allclose(one.predict(X), other.predict(X), rtol=0, atol=1e-4)
    assert np.isclose(one.scaler_.mean_[0], np.average(X[:, 0], weights=weight))
    pulled = np.where(X[:, 0] > 0, 1.5, 1e-6)
    far = Regressor(epochs=20, random_state=0).fit(X, np.where(X[:, 0] > 0, 1.0, 50.0), sample_weight=pulled)
    assert abs(np.median(far.predict(X[X[:, 0] > 0.1])) - 1.0) < 0.5
    full = X[:24], y[:24]  # one batch, no batch norm: half the weight and twice the rows are the same gradient
    half = Regressor(epochs=20, random_state=0, norm=None, dtype="float64")
    double = np.repeat(full[0], 2, 0)[:31], np.repeat(full[1], 2)[:31]
    weights = np.full(24, 1.5)
    weights[15:] = 0.75  # rows 0 to 14 twice, 15 once
    weights[16:] = 1e-300
    a = copy.deepcopy(half).fit(*full, sample_weight=weights).predict(X)
    b = copy.deepcopy(half).fit(*double).predict(X)
    assert np.allclose(a, b, rtol=WEIGHTED)


@pytest.mark.parametrize(
    "weights,message",
    [
        (np.zeros(600), "every weight is zero or missing"),
        (np.ones(599), "give one weight for each"),
        (np.ones((600, 2)), "give one weight for each"),
        (-np.ones(600), "negative or infinite"),
        (np.full(600, np.inf), "negative or infinite"),
        (["a"] * 600, "cannot weigh rows"),
        ("w", "an array's columns have no names"),
    ],
)
def test_wrong_weights(weights, message, data):
    with pytest.raises(DataError, match=message):
        Regressor(epochs=1).fit(*data, sample_weight=weights)


# ---------------------------------------------------------------- few rows


@pytest.mark.parametrize("rows", [2, 3, 31, 32, 33, 65])
def test_last_batches(rows, data):
    X, y = data
    model = Regressor(epochs=2, random_state=0).fit(X[:rows], y[:rows])
    assert np.isfinite(model.predict(X)).all()
    assert model.network_.optimizer.steps == 2 * max(1, (rows + 30) // 32)


def test_one_row(data):
    X, y = data
    with pytest.raises(DataError, match=TOO_FEW):
        Regressor(epochs=1).fit(X[:1], y[:1])
    with pytest.raises(DataError, match="batch normalization needs at least 2"):
        Regressor(epochs=1, early_stopping=True).fit(X[:2], y[:2])
    with pytest.raises(DataError, match="early_stopping=True holds rows out"):
        Regressor(epochs=1, early_stopping=True, norm=None).fit(X[:1], y[:1])
    for parameters in ({"norm": "layer"}, {"norm": None}, {"hidden": ()}):
        assert np.isfinite(Regressor(epochs=2, **parameters).fit(X[:1], y[:1]).predict(X)).all()
    with pytest.raises(ValueError, match="batch_size=1 leaves batch normalization nothing"):
        Regressor(batch_size=1).fit(X, y)
    assert Regressor(batch_size=1, norm="layer", epochs=1).fit(X[:50], y[:50]).network_.optimizer.steps == 50


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden": (0,)},
        {"hidden": (8, 2.5)},
        {"hidden": "64"},
        {"norm": "l2"},
        {"norm": []},
        {"activation": None},
        {"activation": "gelu"},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"scaler": "zscore"},
        {"scaler": {}},
        {"target_scaler": 3},
        {"loss": "binary_cross_entropy"},
        {"loss": "softmax_cross_entropy"},
        {"loss": "hinge"},
        {"loss": 2},
        {"optimizer": "lbfgs"},
        {"optimizer": None},
        {"learning_rate": 0.0},
        {"learning_rate": "fast"},
        {"epochs": 0},
        {"epochs": 2.0},
        {"batch_size": True},
        {"early_stopping": "yes"},
        {"validation_fraction": 1.0},
        {"validation_fraction": 0},
        {"n_iter_no_change": 0},
        {"tol": -1e-3},
        {"tol": float("nan")},
        {"shuffle": None},
        {"impute": 1},
        {"embed": [3]},
        {"embed": ["a", "a"]},
        {"buckets": 1},
        {"embedding_dim": 0},
        {"warm_start": None},
        {"dtype": "float16"},
        {"dtype": "double-ish"},
        {"random_state": "seed"},
    ],
    ids=str,
)
def test_wrong_parameters_are_named(parameters, data):
    [name] = parameters
    with pytest.raises(ValueError, match=name):
        Regressor(**parameters).fit(*data)


def test_what_was_passed_stays_as_it_was(data):
    optimizer, loss = nn.Adam(3e-3), nn.HuberLoss(2.0)
    scaler = sn.MinMaxScaler()
    model = Regressor(optimizer=optimizer, loss=loss, scaler=scaler, epochs=2, random_state=0).fit(*data)
    assert model.optimizer is optimizer and optimizer.steps == 0 and not optimizer.state
    assert not scaler.__sklearn_is_fitted__()
    assert same(model, copy.deepcopy(model).fit(*data), data[0])
    schedule = Regressor(learning_rate=nn.CosineSchedule(1e-2, 100), epochs=2, random_state=0).fit(*data)
    assert schedule.network_.optimizer.lr_at(0) == 1e-2


def test_nested_parameters():
    model = Regressor(scaler=sn.StandardScaler())
    assert model.get_params()["scaler__ddof"] == 0 and "scaler__ddof" not in model.get_params(deep=False)
    assert model.set_params(scaler__ddof=1, epochs=4).scaler.ddof == 1 and model.epochs == 4
    for name in ("target_scaler__ddof", "depth", "scaler__depth"):
        with pytest.raises(ValueError, match="Invalid parameter"):
            model.set_params(**{name: 1})
    assert repr(Regressor((8,), norm=None)) == "Regressor(hidden=(8,), norm=None)"
