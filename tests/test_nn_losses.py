"""Losses: slopes, PyTorch, scikit-learn's pinball, weights, shapes, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.slopes import TOLERANCE, error, slopes

from streamnorm import nn
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 5
N, K = 11, 3

LOSSES = [
    nn.MSELoss(),
    nn.L1Loss(),
    nn.HuberLoss(),
    nn.HuberLoss(0.3),
    nn.QuantileLoss(),
    nn.QuantileLoss(0.9),
    nn.BCEWithLogitsLoss(),
    nn.CrossEntropyLoss(),
]
losses = pytest.mark.parametrize("loss", LOSSES, ids=repr)
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def pair(loss, dtype=np.float64, shape=(N, K)):
    """A prediction and a target of the loss."""
    rng = np.random.default_rng(SEED)
    prediction = (rng.normal(size=shape) * 2).astype(dtype)
    if isinstance(loss, nn.CrossEntropyLoss):
        return prediction, rng.integers(0, shape[1], shape[0])
    target = rng.uniform(0, 1, shape) if isinstance(loss, nn.BCEWithLogitsLoss) else rng.normal(size=shape)
    return prediction, target.astype(dtype)


def weights(dtype=np.float64):
    found = np.random.default_rng(SEED + 1).uniform(0, 2, N).astype(dtype)
    found[3] = 0
    return found


@pytest.mark.parametrize("weighted", [False, True])
@losses
def test_the_gradient_is_the_slope(loss, weighted):
    prediction, target = pair(loss)
    weight = weights() if weighted else None
    found = loss.gradient(prediction, target, weight)
    assert error(found, slopes(lambda: loss(prediction, target, weight), prediction)) <= TOLERANCE


def of_torch(torch, loss, prediction, target):
    """The loss of each element, or row, in PyTorch."""
    F = torch.nn.functional
    if isinstance(loss, nn.QuantileLoss):
        d = target - prediction
        return torch.maximum(loss.quantile * d, (loss.quantile - 1) * d)
    return {
        "squared": lambda: F.mse_loss(prediction, target, reduction="none"),
        "absolute": lambda: F.l1_loss(prediction, target, reduction="none"),
        "huber": lambda: F.huber_loss(prediction, target, reduction="none", delta=loss.parameter),
        "binary": lambda: F.binary_cross_entropy_with_logits(prediction, target, reduction="none"),
        "softmax": lambda: F.cross_entropy(prediction, target, reduction="none"),
    }[loss.kind]()


@pytest.mark.parametrize("weighted", [False, True])
@losses
@kinds
def test_values_and_gradients_are_pytorchs(loss, weighted, dtype):
    torch = pytest.importorskip("torch")
    prediction, target = pair(loss, dtype)
    t = torch.from_numpy(prediction.astype(np.float64)).requires_grad_()
    wide = target if target.dtype == np.int64 else target.astype(np.float64)
    each = of_torch(torch, loss, t, torch.from_numpy(wide))
    weight = weights(dtype) if weighted else None
    if weight is None:
        expected = each.mean()
    else:
        w = torch.from_numpy(weight.astype(np.float64))
        expected = (each.reshape(N, -1).mean(1) * w).sum() / w.sum()
    expected.backward()
    tolerance = FLOAT64_TOLERANCE if dtype == np.float64 else FLOAT32_TOLERANCE
    assert loss(prediction, target, weight) == pytest.approx(
        expected.item(), rel=FLOAT64_TOLERANCE * 10 ** (6 * (dtype == np.float32))
    )
    gradient = loss.gradient(prediction, target, weight)
    assert gradient.dtype == dtype
    assert error(gradient, t.grad.numpy()) <= tolerance


@losses
def test_extreme_predictions_are_pytorchs(loss):
    torch = pytest.importorskip("torch")
    edges = np.array([0.0, -0.0, 1e-300, 700.0, -700.0, 1e4, -1e4, 1e150, -1e150])
    if isinstance(loss, nn.CrossEntropyLoss):
        prediction = np.stack([edges, np.zeros_like(edges), edges[::-1]], axis=1)
        target = np.arange(len(edges)) % 3
    else:
        prediction, target = edges, np.zeros_like(edges)
    t = torch.from_numpy(prediction.copy()).requires_grad_()
    expected = of_torch(torch, loss, t, torch.from_numpy(target))
    expected.sum().backward()
    for row in range(len(edges)):
        at = slice(row, row + 1)
        assert loss(prediction[at], target[at]) == pytest.approx(expected[row].item(), rel=1e-12)
    if not isinstance(loss, nn.QuantileLoss):  # whose maximum of two equal ones PyTorch gives to both
        gradient = loss.gradient(prediction, target) * (len(edges))
        np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-12, atol=1e-300)


def test_the_pinball_loss_is_scikit_learns_and_least_at_the_quantile():
    metrics = pytest.importorskip("sklearn.metrics")
    y = np.random.default_rng(SEED).lognormal(size=501)
    for q in (0.1, 0.5, 0.95):
        loss = nn.QuantileLoss(q)
        at = np.quantile(y, q)
        assert loss(np.full(501, at), y) == pytest.approx(
            metrics.mean_pinball_loss(y, np.full(501, at), alpha=q), rel=1e-12
        )
        around = [loss(np.full(501, at + d), y) for d in (-0.05, 0.0, 0.05)]
        assert min(around) == around[1]


@losses
def test_where_nothing_is_wrong_there_is_no_slope(loss):
    if isinstance(loss, nn.BCEWithLogitsLoss | nn.CrossEntropyLoss):
        prediction = np.array([[800.0, -800.0]])
        target = np.array([[1.0, 0.0]]) if isinstance(loss, nn.BCEWithLogitsLoss) else np.array([0])
    else:
        prediction = target = np.array([[1.5, -2.0]])
    assert loss(prediction, target) == 0
    assert not loss.gradient(prediction, target).any()


@losses
def test_nan_stays_nan(loss):
    prediction, target = pair(loss)
    prediction[2, 1] = np.nan
    assert np.isnan(loss(prediction, target))
    assert np.isnan(loss.gradient(prediction, target)[2, 1])


# ---------------------------------------------------------------- weights and shapes


@losses
def test_whole_weights_are_rows_that_are_there_so_often(loss):
    prediction, target = pair(loss)
    times = np.arange(N) % 3
    repeated = loss(np.repeat(prediction, times, 0), np.repeat(target, times, 0))
    assert loss(prediction, target, times) == pytest.approx(repeated, rel=1e-12)
    assert loss(prediction, target, np.full(N, 0.3)) == pytest.approx(loss(prediction, target), rel=1e-12)


@losses
def test_rows_without_weight_count_for_nothing(loss):
    prediction, target = pair(loss)
    nothing = np.zeros(N)
    assert loss(prediction, target, nothing) == 0
    assert not loss.gradient(prediction, target, nothing).any()
    first = np.eye(N)[0]
    assert loss(prediction, target, first) == pytest.approx(loss(prediction[:1], target[:1]), rel=1e-12)


@given(order=st.permutations(range(N)), kind=st.sampled_from(LOSSES))
def test_the_order_of_rows_does_not_matter(order, kind):
    prediction, target = pair(kind)
    order = np.array(order)
    assert kind(prediction[order], target[order]) == pytest.approx(kind(prediction, target), rel=1e-12)
    np.testing.assert_array_equal(
        kind.gradient(prediction[order], target[order]), kind.gradient(prediction, target)[order]
    )


def test_a_column_matches_a_vector_and_nothing_else_matches():
    loss = nn.MSELoss()
    column, vector = np.arange(3.0)[:, None], np.array([1.0, 1.0, 1.0])
    assert loss(column, vector) == loss(vector, column) == pytest.approx(2 / 3)
    assert loss.gradient(column, vector).shape == (3, 1) and loss.gradient(vector, column).shape == (3,)
    for shape in [(3, 2), (1, 3), (4,), (3, 1, 1), ()]:
        with pytest.raises(ValueError, match=r"targets have shape .* and predictions have shape \(3, 1\)"):
            loss(column, np.ones(shape))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], [2]), ValueError, "class in row 0 is 2.*from 0 to 1"),
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], [-1]), ValueError, "class in row 0 is -1"),
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], [0.5]), ValueError, "class in row 0 is 0.5"),
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], [np.nan]), ValueError, "class in row 0 is nan"),
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], [[0.0, 1.0, 0.0]]), ValueError, "one class a row"),
        (lambda: nn.CrossEntropyLoss()([0.0, 0.0], [0, 1]), ValueError, r"takes logits \(N, K\)"),
        (lambda: nn.CrossEntropyLoss()([[0.0, 0.0]], ["cat"]), TypeError, "classes must be whole numbers"),
        (lambda: nn.BCEWithLogitsLoss()([[0.0], [0.0]], [1, 2]), ValueError, "target in row 1 is 2: .* takes 0 to 1"),
        (lambda: nn.BCEWithLogitsLoss()([[0.0]], [np.nan]), ValueError, "target in row 0 is nan"),
        (lambda: nn.MSELoss()([0.0], ["1"]), TypeError, "targets must be numbers"),
        (lambda: nn.MSELoss()(np.ones((0, 1)), np.ones(0)), ValueError, "at least one row"),
        (lambda: nn.MSELoss()([0.0], [0.0], [1.0, 2.0]), ValueError, r"sample_weight has shape \(2,\), and \(1,\)"),
        (lambda: nn.MSELoss()([0.0], [0.0], [-1.0]), ValueError, "sample_weight is -1.0 in row 0"),
        (lambda: nn.MSELoss()([0.0], [0.0], [np.nan]), ValueError, "sample_weight is nan"),
        (lambda: nn.MSELoss()([0.0], [0.0], [1e-310]), ValueError, "1e-310 in row 0: weights are 0 or from 3e-151"),
        (lambda: nn.MSELoss()([0.0], [0.0], [1e200]), ValueError, r"1e\+200 in row 0: .* to 3e\+150 in float64"),
        (lambda: nn.MSELoss()(np.float32([0]), [0.0], [1e39]), ValueError, r"1e\+39 in row 0: .* to 3e\+38 in float32"),
        (lambda: nn.MSELoss()([0.0, 0.0], [0.0, 0.0], [3e150] * 2), ValueError, "sums to more than 3e"),
        (lambda: nn.Loss()([0.0], [0.0]), TypeError, "Loss is no loss that there are kernels for"),
        (lambda: nn.HuberLoss(0), ValueError, "delta must be greater than 0"),
        (lambda: nn.QuantileLoss(1), ValueError, "quantile must be between 0 and 1"),
        (lambda: nn.get_loss("hubert"), ValueError, "did you mean 'huber'"),
        (lambda: nn.get_loss("Cross-Entropy"), ValueError, "did you mean 'cross_entropy'"),
        (lambda: nn.get_loss("zzz"), ValueError, "one of mean_squared_error, mse, .* is wanted$"),
        (lambda: nn.get_loss(nn.MSELoss), TypeError, r"write MSELoss\(\)"),
        (lambda: nn.get_loss(None), TypeError, "a name or a Loss"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_names_make_losses():
    made = {"mean_squared_error": nn.MSELoss, "mse": nn.MSELoss, "mae": nn.L1Loss, "mean_absolute_error": nn.L1Loss}
    made |= {"huber": nn.HuberLoss, "quantile": nn.QuantileLoss, "pinball": nn.QuantileLoss}
    made |= {"binary_cross_entropy": nn.BCEWithLogitsLoss, "cross_entropy": nn.CrossEntropyLoss}
    for name, wanted in (made | {"softmax_cross_entropy": nn.CrossEntropyLoss}).items():
        assert type(nn.get_loss(name)) is wanted
    given = nn.HuberLoss(2.0)
    assert nn.get_loss(given) is given
