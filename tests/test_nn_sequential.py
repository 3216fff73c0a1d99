"""Networks: what they learn, that training repeats and goes on, PyTorch's steps, and what is refused."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.networks import SEED, bits, problem, small
from support.slopes import error, slopes

import streamnorm as sn
from streamnorm import nn
from streamnorm.nn._steps import Steps, cuts
from streamnorm.nn._training import train

ATOL64 = 1e-10  # parameters of size 1 after many steps, each of which feeds its rounding to the next
DEEP_TOLERANCE = 3e-8  # of differences through three normalizations, whose fifth derivatives are large
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# ---------------------------------------------------------------- forward and backward


def test_gradients_are_slopes_through_all_layers():
    network = nn.Sequential(
        [
            nn.GroupNorm(1, 2, dtype=np.float64),
            nn.Flatten(),
            nn.Dense(10, 7, dtype=np.float64, random_state=0),
            nn.BatchNorm(7, dtype=np.float64, track_running_stats=False),
            nn.Tanh(),
            nn.Dense(7, 3, dtype=np.float64, random_state=1),
            nn.LayerNorm(3, dtype=np.float64),
            nn.Sigmoid(),
        ]
    )
    rng = np.random.default_rng(SEED)
    x, target, loss = rng.normal(size=(11, 2, 5)), rng.normal(size=(11, 3)), nn.MSELoss()

    def number():
        return loss(network(x), target)

    number()
    dx = network.backward(loss.gradient(network(x), target))
    found = {name: parameter.grad.copy() for name, parameter in network.named_parameters()}
    assert error(dx, slopes(number, x)) <= DEEP_TOLERANCE
    for name, parameter in network.named_parameters():
        if name in ("0.bias", "2.bias"):  # a shift of all rows, which the normalization after it takes out
            assert np.abs(found[name]).max() < DEEP_TOLERANCE
        else:
            assert error(found[name], slopes(number, parameter)) <= DEEP_TOLERANCE, name


def test_results_go_where_they_are_wanted():
    network, x = small(), problem()[0]
    y = network(x)
    out, dx = np.empty_like(y), np.empty_like(x)
    assert network(x, out) is out and network.backward(np.ones_like(y), dx) is dx
    np.testing.assert_array_equal(out, y)


def test_a_network_is_a_list_of_layers_and_a_layer():
    network = small()
    assert len(network) == 6 and network[0] is next(iter(network)) and network[-1].out_features == 1
    assert list(network.state_dict())[:3] == ["0.weight", "0.bias", "1.weight"]
    assert repr(network).splitlines()[1] == "  (0): Dense(7, 13, bias=True, dtype=float64)"
    outer = nn.Sequential([network, nn.ReLU()])
    assert list(outer.state_dict())[0] == "0.0.weight"
    X, y = problem()
    flat = nn.Sequential([*copy.deepcopy(network), nn.ReLU()])
    for each in (outer, flat):
        each.compile("sgd").fit(X, y, epochs=2, random_state=0)
    assert list(bits(outer).values()) == list(bits(flat).values())


# ---------------------------------------------------------------- against PyTorch

# Adam's eps is larger than its default: the gradient of a bias that a normalization takes out is rounding alone, which
# a small eps makes steps of.
OPTIMIZERS = {
    "sgd": (lambda: nn.SGD(0.05), lambda o, p: o.SGD(p, 0.05), {}),
    "nesterov": (
        lambda: nn.SGD(0.02, 0.9, nesterov=True, weight_decay=1e-3),
        lambda o, p: o.SGD(p, 0.02, 0.9, nesterov=True, weight_decay=1e-3),
        {},
    ),
    "adam": (lambda: nn.Adam(0.01, eps=1e-4), lambda o, p: o.Adam(p, 0.01, eps=1e-4), {}),
    "adamw": (
        lambda: nn.AdamW(0.01, eps=1e-4, clip_norm=0.5),
        lambda o, p: o.AdamW(p, 0.01, eps=1e-4),
        {"clip": 0.5},
    ),
}


def peer_of(torch, network):
    """The same network in PyTorch."""
    t = torch.nn
    made = {
        nn.Dense: lambda n: t.Linear(n.in_features, n.out_features, bias=n.bias is not None),
        nn.BatchNorm: lambda n: t.BatchNorm1d(n.num_features),
        nn.ReLU: lambda n: t.ReLU(),
        nn.Tanh: lambda n: t.Tanh(),
        nn.Dropout: lambda n: t.Dropout(n.p),
    }
    peer = t.Sequential(*(made[type(layer)](layer) for layer in network)).double()
    state = {k: torch.from_numpy(np.array(v)) for k, v in network.state_dict().items() if "num_steps" not in k}
    peer.load_state_dict(state)
    return peer


@pytest.mark.parametrize(("mine", "theirs", "clip"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_epochs_are_pytorchs(mine, theirs, clip):
    torch = pytest.importorskip("torch")
    X, y = problem(96)
    network = small()
    peer = peer_of(torch, network)
    optimizer = theirs(torch.optim, peer.parameters())
    history = network.compile(mine(), "huber").fit(X, y, epochs=5, batch_size=32, shuffle=False)
    loss = torch.nn.HuberLoss()
    for epoch in range(5):
        seen = []
        for start in range(0, 96, 32):
            x, target = torch.from_numpy(X[start : start + 32]), torch.from_numpy(y[start : start + 32, None])
            optimizer.zero_grad()
            value = loss(peer(x), target)
            value.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(peer.parameters(), clip["clip"])
            optimizer.step()
            seen.append(value.item())
        assert history["loss"][epoch] == pytest.approx(np.mean(seen), rel=ATOL64)
    for key, value in peer.state_dict().items():
        np.testing.assert_allclose(network.state_dict()[key], value.numpy(), rtol=0, atol=ATOL64, err_msg=key)
    with torch.no_grad():
        np.testing.assert_allclose(network.predict(X), peer.eval()(torch.from_numpy(X)).numpy(), atol=ATOL64)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_state_of_pytorch_loads_and_predicts_the_same(dropout):
    torch = pytest.importorskip("torch")
    torch.manual_seed(SEED)
    network = small(np.float32, dropout=dropout, seed=99)
    peer = peer_of(torch, small(np.float64, dropout=dropout)).float()
    X = problem()[0].astype(np.float32)
    peer(torch.from_numpy(X))
    assert network.load_state_dict(peer.state_dict()) == (["5.num_steps"] * 0, [])
    with torch.no_grad():
        expected = peer.eval()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(network.predict(X), expected, rtol=0, atol=2e-6)


# ---------------------------------------------------------------- what is learned


@kinds
def test_a_line_is_found(dtype):
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(400, 3))
    y = X @ [2.0, -1.0, 0.5] + 3.0
    network = nn.Sequential([nn.Dense(3, 1, dtype=dtype, random_state=0)]).compile(nn.SGD(0.1), "mse")
    history = network.fit(X, y, epochs=40, random_state=0)
    np.testing.assert_allclose(network[0].weight, [[2.0, -1.0, 0.5]], atol=1e-4)
    np.testing.assert_allclose(network[0].bias, [3.0], atol=1e-4)
    assert history["loss"][-1] < 1e-8 and network.evaluate(X, y) < 1e-8


@pytest.mark.parametrize("outputs", [1, 2], ids=["binary", "softmax"])
def test_exclusive_or_is_learned(outputs):
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([0, 1, 1, 0])
    loss = "binary_cross_entropy" if outputs == 1 else "cross_entropy"
    network = nn.Sequential([nn.Dense(2, 8, random_state=3), nn.Tanh(), nn.Dense(8, outputs, random_state=4)])
    history = network.compile(nn.Adam(0.05), loss).fit(X, y, epochs=300, batch_size=4, random_state=0)
    logits = network.predict(X)
    found = (logits[:, 0] > 0) if outputs == 1 else logits.argmax(1)
    assert found.tolist() == y.tolist() and history["loss"][-1] < 0.05


def test_classes_are_told_apart():
    rng = np.random.default_rng(SEED)
    centers = np.array([[0.0, 3.0], [3.0, 0.0], [-3.0, -3.0], [5.0, 5.0]])
    y = rng.integers(0, 4, 600)
    X = centers[y] + rng.normal(size=(600, 2))
    network = nn.Sequential(
        [nn.Dense(2, 16, random_state=0), nn.BatchNorm(16), nn.ReLU(), nn.Dense(16, 4, random_state=1)]
    )
    history = network.compile("adam", "cross_entropy").fit(X, y, epochs=40, validation_split=0.2, random_state=0)
    assert (network.predict(X[480:]).argmax(1) == y[480:]).mean() > 0.92
    assert history["val_loss"][-1] < 0.3


def test_several_targets_are_learned_together():
    X, y = problem(500)
    both = np.stack([y, X[:, 4]], axis=1)
    network = small(outputs=2)
    network.compile(nn.Adam(0.01), "mse").fit(X, both, epochs=60, random_state=0)
    assert network.predict(X).shape == both.shape and network.evaluate(X, both) < 0.1


def test_images_are_learned_through_flatten():
    rng = np.random.default_rng(SEED)
    images = rng.normal(size=(300, 2, 5, 3)) * [[[10.0]], [[0.1]]] + 4
    y = (images[:, 1, 2, 1] - 4) * 10
    network = nn.Sequential([nn.BatchNorm(2), nn.Flatten(), nn.Dense(30, 1, random_state=0)])
    history = network.compile(nn.Adam(0.05), "mse").fit(images, y, epochs=60, random_state=0)
    assert history["loss"][-1] < 0.02 and network.predict(images).shape == (300, 1)
    np.testing.assert_allclose(network[0].running_mean, images.mean((0, 2, 3)), rtol=0.1)


def test_quantiles_are_learned():
    rng = np.random.default_rng(SEED)
    y = rng.exponential(size=4000)
    for q in (0.1, 0.9):
        network = nn.Sequential([nn.Dense(1, 1, dtype=np.float64, random_state=0)])
        network.compile(nn.Adam(nn.CosineSchedule(0.05, 20 * 125)), nn.QuantileLoss(q))
        network.fit(np.zeros((4000, 1)), y, epochs=20, random_state=0)
        assert float(network.predict([[0.0]])[0, 0]) == pytest.approx(np.quantile(y, q), abs=0.03)


def test_codes_are_learned():
    rng = np.random.default_rng(SEED)
    code = rng.integers(0, 20, 600)
    X = np.stack([rng.normal(size=600), code], axis=1)
    y = X[:, 0] + rng.normal(size=20)[code]
    network = nn.Sequential([nn.ColumnEmbedding(20, 4, random_state=0), nn.Dense(5, 1, random_state=1)])
    network.compile(nn.Adam(0.05), "mse").fit(X, y, epochs=30, random_state=0)
    assert network.evaluate(X, y) < 1e-3


# ---------------------------------------------------------------- rows: batches, shares, weights


@pytest.mark.parametrize("rows", [1, 2, 3, 31, 32, 33, 34, 63, 64, 65, 66])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_batches_cover_all_rows_and_none_has_one(rows, batch_size):
    batches = list(cuts(rows, batch_size))
    sizes = [stop - start for start, stop in batches]
    assert batches[0][0] == 0 and batches[-1][1] == rows
    assert all(a[1] == b[0] for a, b in zip(batches, batches[1:], strict=False))
    assert set(sizes[:-1]) <= {batch_size} and 1 <= sizes[-1] <= batch_size + 1
    assert batch_size == 1 or rows == 1 or min(sizes) > 1


def test_a_last_row_trains_with_the_batch_before():
    X, y = problem(65)
    network = small().compile("adam")
    network.fit(X, y, epochs=2, batch_size=32)
    assert network[1].num_batches_tracked == network.optimizer.steps == 4


def test_the_last_share_is_held_out():
    X, y = problem(100)
    split, given, alone = small(), small(), small()
    history = split.compile().fit(X, y, 3, validation_split=0.2, random_state=0)
    other = given.compile().fit(X[:80], y[:80], 3, validation_data=(X[80:], y[80:]), random_state=0)
    without = alone.compile().fit(X[:80], y[:80], 3, random_state=0)
    assert history == other and bits(split) == bits(given) == bits(alone)
    assert history["val_loss"][-1] == pytest.approx(split.evaluate(X[80:], y[80:]), rel=1e-12)
    assert without == {"loss": history["loss"]}


def test_the_loss_of_an_epoch_is_the_mean_before_its_steps():
    X, y = problem(70)
    network = small(norm=False).compile(nn.SGD(0.0))
    (value,) = network.fit(X, y, batch_size=32)["loss"]
    assert value == pytest.approx(network.evaluate(X, y), rel=1e-12)
    weight = np.random.default_rng(0).uniform(0, 2, 70)
    (value,) = network.fit(X, y, batch_size=32, sample_weight=weight)["loss"]
    assert value == pytest.approx(network.evaluate(X, y, weight), rel=1e-12)
    assert value == pytest.approx(nn.MSELoss()(network.predict(X), y, weight), rel=1e-12)


def test_weights_of_rows_go_with_them():
    X, y = problem(90)
    weight = np.random.default_rng(0).integers(0, 3, 90)
    wrong = np.where(weight == 0, 1e6, y)  # what has no weight teaches nothing
    found = []
    for targets in (y, wrong):
        network = small(norm=False).compile("adam")
        network.fit(X, targets, 3, sample_weight=weight, random_state=0)
        found.append(bits(network))
    assert found[0] == found[1]
    plain = small(norm=False).compile("adam")
    plain.fit(X, y, 3, random_state=0)
    assert bits(plain) != found[0]


@given(order=st.permutations(range(23)), batch_size=st.integers(1, 30))
def test_predictions_go_with_their_rows(order, batch_size):
    network, X = small(dropout=0.5), problem(23)[0]
    order = np.array(order)
    np.testing.assert_allclose(
        network.predict(X[order], batch_size=batch_size), network.predict(X)[order], rtol=1e-12, atol=1e-12
    )


def test_prediction_is_evaluation_and_leaves_modes_and_statistics():
    network, X = small(dropout=0.5), problem()[0]
    network[1].eval()
    before = bits(network)
    y = network.predict(X)
    np.testing.assert_array_equal(network.predict(X), y)
    assert bits(network) == before and network.training and not network[1].training and network[2].training
    network.compile().fit(X, y)
    assert not network[1].training and network[2].training
    assert network.predict(X[:0]).shape == (0, 1) and network.predict(X[:1]).shape == (1, 1)
    assert network.predict(X.tolist()).dtype == np.float64


def test_fit_keeps_no_rows():
    X, y = problem(64)
    network = small().compile()
    network.fit(X, y, shuffle=False)
    network.predict(X)
    assert all(layer._kept is None for layer in network)


# ---------------------------------------------------------------- repeating, going on


def trained(dtype=np.float32, epochs=3, **options):
    network = small(dtype, dropout=0.2).compile(nn.Adam(0.01, clip_norm=1.0))
    return network, network.fit(*problem(), epochs=epochs, random_state=0, **options)


@kinds
def test_training_repeats_bit_for_bit(dtype):
    (one, history), (other, again) = trained(dtype), trained(dtype)
    assert bits(one) == bits(other) and history == again
    different = small(dtype, dropout=0.2).compile(nn.Adam(0.01, clip_norm=1.0))
    different.fit(*problem(), epochs=3, random_state=1)
    assert bits(different) != bits(one)


def test_the_number_of_threads_changes_nothing():
    found = []
    for threads in (1, 2, None):
        network = small(np.float32).compile("adam", threads=threads)
        network.fit(*problem(2000), epochs=1, batch_size=500, random_state=0)
        found.append(bits(network))
        assert network[0].threads is None
    assert found[0] == found[1] == found[2]


def test_a_second_fit_goes_on():
    X, y = problem()
    rng = np.random.default_rng(0)
    straight = small(dropout=0.2).compile(nn.Adam(nn.StepSchedule(0.01, 5)))
    whole = straight.fit(X, y, epochs=4, random_state=rng)
    rng = np.random.default_rng(0)
    halves = small(dropout=0.2).compile(nn.Adam(nn.StepSchedule(0.01, 5)))
    parts = [halves.fit(X, y, epochs=2, random_state=rng)["loss"] for _ in range(2)]
    assert whole["loss"] == parts[0] + parts[1] and bits(straight) == bits(halves)
    assert halves.optimizer.steps == 4 * len(list(cuts(len(X), 32)))
    halves.compile(halves.optimizer, "mae")
    assert halves.optimizer.steps > 0
    halves.compile("adam")
    assert halves.optimizer.steps == 0


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies_go_on_alike(how):
    network, _ = trained()
    twin = how(network)
    assert bits(twin) == bits(network)
    X, y = problem()
    for each in (network, twin):
        each.fit(X, y, epochs=2, random_state=5)
    assert bits(twin) == bits(network)
    network.fit(X, y, random_state=6)
    assert bits(twin) != bits(network)


def test_layers_of_ones_own_are_trained():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = nn.Parameter(np.ones((), np.float64))

        def forward(self, x, out=None):
            self.__dict__["_kept"] = (x,)
            return x * self.factor

        def backward(self, dy, out=None):
            (x,) = self._take_kept()
            gradient = np.asarray((dy * x).sum())
            self.factor.grad = gradient if self.factor.grad is None else self.factor.grad + gradient
            return dy * self.factor

    class Squares(nn.Loss):
        def __call__(self, prediction, target, sample_weight=None):
            return float(((prediction - target) ** 2).mean())

        def gradient(self, prediction, target, sample_weight=None):
            return 2 * (prediction - target) / prediction.size

    class Descent(nn.Optimizer):
        def _update(self, parameter, gradient, arrays, lr, scale):
            parameter -= lr * scale * gradient

    network = nn.Sequential([Scale()]).compile(Descent(0.1), Squares())
    x = np.random.default_rng(0).normal(size=(200, 1))
    network.fit(x, 3 * x, epochs=20, random_state=0)
    assert float(network[0].factor) == pytest.approx(3.0, abs=1e-6)
    assert type(network.runner((1,), 32)) is Steps


def test_a_network_that_goes_another_way_is_trained_its_way():
    class Residual(nn.Sequential):
        def forward(self, x, out=None):
            return x + super().forward(x)

        def backward(self, dy, out=None):
            return dy + super().backward(dy)

    X, _ = problem()
    y = X[:, 1] - 2 * np.tanh(X[:, 0])
    inside = Residual([nn.Dense(7, 7, dtype=np.float64, random_state=0), nn.Tanh()])
    outer = nn.Sequential([inside, nn.Dense(7, 1, dtype=np.float64, random_state=1)])
    assert type(outer.runner((7,), 32)) is type(inside.runner((7,), 32)) is Steps
    np.testing.assert_allclose(inside.predict(X), X + np.tanh(inside[0](X)), rtol=0, atol=1e-14)
    inside.compile(nn.Adam(0.01)).fit(X, np.roll(X, 1, axis=1), epochs=1)
    history = outer.compile(nn.Adam(0.01)).fit(X, y, epochs=60, random_state=0)
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    with pytest.raises(ValueError, match=r"X has shape .* layer 0, Residual, gets rows of shape \(3,\)"):
        inside.fit(X[:, :3], y)


def test_progress_is_told_and_may_stop():
    calls = []
    _, history = trained(progress=lambda *call: calls.append(call), validation_split=0.1)
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]
    assert [call[2]["val_loss"] for call in calls] == history["val_loss"]

    class Enough(Exception):
        pass

    def stop(done, epochs, losses):
        raise Enough

    with pytest.raises(Enough):
        trained(progress=stop)


class Told:
    """A runner whose losses are given."""

    def __init__(self, losses, network):
        self.losses, self.network, self.epoch, self.optimizer = losses, network, -1, None

    def train(self, x, y, batch_size, order, sample_weight):
        self.epoch += 1
        self.network[0].bias[...] = self.epoch
        return 5.0, 5.0

    def evaluate(self, x, y, sample_weight):
        return 2 * self.losses[self.epoch], 2.0


@pytest.mark.parametrize(
    ("losses", "patience", "tol", "epochs", "best"),
    [
        ([3.0, 2.0, 1.0, 0.5], 1, 0.0, 4, 3),
        ([3.0, 2.0, 2.5, 2.4, 0.1], 2, 0.0, 4, 1),
        ([3.0, 2.0, 2.5, 1.0, 1.1, 1.2, 0.0], 2, 0.0, 6, 3),
        ([3.0, 2.99, 2.98, 2.97], 2, 0.1, 3, 2),
        ([3.0, 4.0, 5.0], None, 0.0, 3, 0),
    ],
)
def test_training_stops_and_the_best_is_kept(losses, patience, tol, epochs, best):
    network = nn.Sequential([nn.Dense(1, 1)])
    piece = np.ones((2, 1)), np.ones((2, 1)), None
    history = train(
        Told(losses, network),
        len(losses),
        lambda epoch: [(*piece, None)],
        32,
        validation=lambda: [piece],
        patience=patience,
        tol=tol,
        restore_best=network,
    )
    assert history == {"loss": [1.0] * epochs, "val_loss": losses[:epochs]}
    assert network[0].bias == best


def test_many_pieces_are_one_epoch():
    X, y = problem(96)
    whole, pieces = (small().compile() for _ in range(2))
    history = whole.fit(X, y, epochs=3, shuffle=False)
    runner = pieces.runner((7,), 32)
    parts = [(X[:64], y[:64, None], None, None), (X[64:], y[64:, None], None, None)]
    assert train(runner, 3, lambda epoch: parts, 32)["loss"] == pytest.approx(history["loss"], rel=1e-14)
    assert bits(whole) == bits(pieces)
    with pytest.raises(ValueError, match="no rows to train on"):
        train(runner, 1, lambda epoch: [], 32)


# ---------------------------------------------------------------- what is refused


def test_fit_comes_after_compile():
    for call in ("fit", "evaluate"):
        with pytest.raises(ValueError, match="call compile first"):
            getattr(small(), call)(*problem())


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda n, X, y: n.compile("adm"), ValueError, "did you mean 'adam'"),
        (lambda n, X, y: n.compile("adam", "mean_square_error"), ValueError, "did you mean 'mean_squared_error'"),
        (lambda n, X, y: n.compile(threads=0), ValueError, "threads must be at least 1"),
        (lambda n, X, y: n.fit(X[:, :5], y), ValueError, r"X has shape \(50, 5\).*layer 0, Dense.*\(5,\).*\(N, 7\)"),
        (lambda n, X, y: n.predict(X[:, :5]), ValueError, r"X has shape \(50, 5\).*layer 0"),
        (lambda n, X, y: n.fit(X, y[:40]), ValueError, r"X has shape \(50, 7\) and y has shape \(40,\): rows differ"),
        (lambda n, X, y: n.fit(X, np.ones((50, 2))), ValueError, r"targets have shape \(50, 2\), .*\(50, 1\): .*last"),
        (lambda n, X, y: n.fit(X[:, 0], y), ValueError, r"X has shape \(50,\), and \(N, ...\)"),
        (lambda n, X, y: n.fit(X[:0], y[:0]), ValueError, "at least one row"),
        (lambda n, X, y: n.fit(X, y, epochs=0), ValueError, "epochs must be at least 1"),
        (lambda n, X, y: n.fit(X, y, batch_size=2.5), TypeError, "batch_size must be an int"),
        (lambda n, X, y: n.fit(X, y, validation_split=1.0), ValueError, "leaves none to train on"),
        (lambda n, X, y: n.fit(X, y, validation_split=1e-20), ValueError, "leaves none"),
        (lambda n, X, y: n.fit(X, y, validation_data=X), TypeError, "validation_data must be"),
        (lambda n, X, y: n.fit(X, y, validation_data=(X[:, :2], y)), ValueError, "validation X has shape"),
        (lambda n, X, y: n.fit(X, y, sample_weight=y[:3]), ValueError, r"sample_weight has shape \(3,\)"),
        (lambda n, X, y: n.fit(X, y, sample_weight=0 * y), ValueError, "weights of all rows of X are 0"),
        (lambda n, X, y: n.compile(nn.AdamW()).fit(X, y, sample_weight=0 * y), ValueError, "weights of all rows of X"),
        (lambda n, X, y: n.fit(X, y, random_state="x"), TypeError, "random_state is 'x'"),
        (lambda n, X, y: n.fit(X.astype(str), y), TypeError, "numbers are wanted"),
        (lambda n, X, y: n.fit(X, y.astype(str)), TypeError, "targets must be numbers"),
        (lambda n, X, y: n.compile(loss="cross_entropy").fit(X, y.astype(int)), ValueError, "from 0 to 0"),
        (lambda n, X, y: nn.Sequential([]), ValueError, "at least one layer"),
        (lambda n, X, y: nn.Sequential(nn.ReLU()), TypeError, "layers must be a list"),
        (lambda n, X, y: nn.Sequential([nn.ReLU]), TypeError, r"layer 0 .* write ReLU\(...\)"),
        (lambda n, X, y: nn.Sequential([n[0], n[0]]), ValueError, "layer 1 is layer 0 once more"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_trained(call, kind, message):
    network = small().compile()
    before = bits(network)
    with pytest.raises(kind, match=message):
        call(network, *problem(50))
    assert bits(network) == before


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (np.inf, "an infinite value"), (-np.inf, "an infinite value")]
)
def test_values_that_are_no_numbers_are_placed(value, said):
    X, y = problem(50)
    for network in (small().compile(), small(np.float32).compile()):
        before = bits(network)
        worse, target = X.copy(), y.copy()
        worse[17, 3] = worse[30, 1] = target[9] = value
        with pytest.raises(sn.DataError, match=f"X has {said} in row 17, column 3") as info:
            network.fit(worse, y)
        assert info.value.column == 3
        with pytest.raises(sn.DataError, match=f"y has {said} in row 9"):
            network.fit(X, target)
        with pytest.raises(sn.DataError, match="validation X has"):
            network.fit(X, y, validation_data=(worse, y))
        assert bits(network) == before
    images = np.zeros((4, 2, 3))
    images[2, 1, 0] = value
    network = nn.Sequential([nn.Flatten(), nn.Dense(6, 1)]).compile()
    with pytest.raises(sn.DataError, match=r"in row 2, position \(1, 0\)"):
        network.fit(images, np.zeros(4))


def test_masked_values_are_refused():
    X, y = problem(50)
    hidden = np.ma.array(X, mask=X > 2)
    for call in (
        lambda n: n.fit(hidden, y),
        lambda n: n.fit(X, np.ma.array(y, mask=y > 0)),
        lambda n: n.predict(hidden),
    ):
        with pytest.raises(sn.DataError, match="has masked values"):
            call(small().compile())
    small().compile().fit(np.ma.array(X), y)


def test_a_value_beyond_float32_is_placed():
    X, y = problem(50)
    X[4, 2] = 1e300
    with pytest.raises(sn.DataError, match="X has an infinite value in row 4, column 2"):
        small(np.float32).compile().fit(X, y)
    with pytest.raises(sn.DataError, match="y has an infinite value in row 4"):
        small(np.float32).compile().fit(problem(50)[0], X[:, 2])


@pytest.mark.parametrize("options", [{}, {"validation_split": 0.2}])
def test_a_loss_that_grows_without_end_says_what_helps(options):
    network = small(norm=False).compile(nn.SGD(1e4))
    with pytest.raises(FloatingPointError, match="in epoch .*lower learning rate than 10000, or .*clip_norm"):
        network.fit(*problem(), epochs=20, random_state=0, **options)


def test_pyarrow_is_not_wanted_and_layers_come_one_by_one():
    code = (
        "import sys, streamnorm as sn\n"
        "assert 'streamnorm.nn' not in sys.modules\n"
        "sn.nn.Dense(2, 1)\n"
        "assert 'streamnorm.nn.sequential' not in sys.modules\n"
        "sn.nn.Sequential([sn.nn.ReLU()]).predict([[1.0]])\n"
        "assert 'pyarrow' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there():
    for name in nn.__all__:
        assert getattr(nn, name) is not None and name in dir(nn)


def test_the_loss_is_finite_where_float32_squares_are_not():
    X, y = problem(50)
    network = small(np.float32, norm=False).compile(nn.SGD(0.0))
    (value,) = network.fit(X, y * 1e25)["loss"]
    assert math.isfinite(value) and value > 1e49
