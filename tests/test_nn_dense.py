"""Dense layers, embeddings, activations, dropout and Flatten: slopes, PyTorch, states, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from support.slopes import TOLERANCE, error, slopes

from streamnorm import nn
from streamnorm.reference import network as twins
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 11
N, D, K = 5, 7, 3  # distinct primes
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def values(shape, dtype=np.float64, seed=SEED):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def coded(dtype=np.float64):
    """Rows whose last two columns are codes."""
    x = values((N, 4), dtype)
    x[:, 2:] = np.random.default_rng(SEED).integers(0, K, (N, 2))
    return x


# A layer, the shape of its input, and how PyTorch makes the same one.
CASES = {
    "dense": (lambda d: nn.Dense(D, K, dtype=d, random_state=1), (N, D), lambda t: t.Linear(D, K)),
    "dense_unbiased": (
        lambda d: nn.Dense(D, K, bias=False, dtype=d, random_state=1),
        (N, D),
        lambda t: t.Linear(D, K, bias=False),
    ),
    "dense_wide": (lambda d: nn.Dense(67, 131, dtype=d, random_state=1), (37, 67), lambda t: t.Linear(67, 131)),
    "relu": (lambda d: nn.ReLU(), (N, D), lambda t: t.ReLU()),
    "relu_3d": (lambda d: nn.ReLU(), (N, D, K), lambda t: t.ReLU()),
    "tanh": (lambda d: nn.Tanh(), (N, D), lambda t: t.Tanh()),
    "sigmoid": (lambda d: nn.Sigmoid(), (N, D, K), lambda t: t.Sigmoid()),
    "flatten": (lambda d: nn.Flatten(), (N, K, 2, D), lambda t: t.Flatten()),
    "dropout_0": (lambda d: nn.Dropout(0.0), (N, D), lambda t: t.Dropout(0.0)),
    "dropout_1": (lambda d: nn.Dropout(1.0), (N, D), lambda t: t.Dropout(1.0)),
}
cases = pytest.mark.parametrize(("make", "shape", "theirs"), CASES.values(), ids=CASES)


# ---------------------------------------------------------------- slopes


def gradients_are_slopes(layer, x, dy, moved=None):
    """Gradients of the layer by x, or by a part of it that may be moved, and by its parameters."""

    def number():
        return float((layer(x) * dy).sum())

    number()
    layer.zero_grad()
    dx = layer.backward(dy)
    found = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    part = x if moved is None else x[:, moved]
    assert error(dx if moved is None else dx[:, moved], slopes(number, part)) <= TOLERANCE
    for name, parameter in layer.named_parameters():
        assert error(found[name], slopes(number, parameter)) <= TOLERANCE, name


@cases
def test_gradients_are_the_slopes_of_the_forward_pass(make, shape, theirs):
    layer, x = make(np.float64), values(shape)
    gradients_are_slopes(layer, x, values(layer(x).shape, seed=2))


def test_gradients_of_an_embedding_are_slopes():
    layer, x = nn.ColumnEmbedding(K, 2, columns=2, dtype=np.float64, random_state=1), coded()
    dy = values((N, 6), seed=2)
    gradients_are_slopes(layer, x, dy, slice(0, 2))
    layer(x)
    assert not layer.backward(dy)[:, 2:].any()


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_dropout_are_slopes(training):
    layer, x, dy = nn.Dropout(0.4, random_state=3).train(training), values((N, D)), values((N, D), seed=2)

    def number():
        layer.num_steps = 4
        return float((layer(x) * dy).sum())

    number()
    dx = layer.backward(dy)
    assert error(dx, slopes(number, x)) <= TOLERANCE
    assert (dx == 0).any() == training


# ---------------------------------------------------------------- against PyTorch and the twins


@cases
@kinds
def test_forward_and_gradients_are_pytorchs(make, shape, theirs, dtype):
    torch = pytest.importorskip("torch")
    layer, x = make(dtype), values(shape, dtype)
    peer = theirs(torch.nn).double()
    state = layer.state_dict()
    state.pop("num_steps", None)
    peer.load_state_dict({key: torch.from_numpy(value.astype(np.float64)) for key, value in state.items()})
    t = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    expected = peer(t)
    dy = values(expected.shape, dtype, seed=2)
    expected.backward(torch.from_numpy(dy.astype(np.float64)))
    tolerance = FLOAT64_TOLERANCE if dtype == np.float64 else FLOAT32_TOLERANCE
    y = layer(x)
    dx = layer.backward(dy)
    assert y.dtype == dx.dtype == dtype and dx.shape == x.shape
    assert error(y, expected.detach().numpy()) <= tolerance
    assert error(dx, t.grad.numpy()) <= tolerance
    for name, parameter in layer.named_parameters():
        assert error(parameter.grad, dict(peer.named_parameters())[name].grad.numpy()) <= tolerance, name


def test_an_embedding_is_pytorchs_beside_columns_that_pass():
    torch = pytest.importorskip("torch")
    layer, x = nn.ColumnEmbedding(K, 2, columns=2, dtype=np.float64, random_state=1), coded()
    dy = values((N, 6), seed=2)
    tables = [torch.from_numpy(np.array(table)).requires_grad_() for table in layer.weight]
    t = torch.from_numpy(x[:, :2].copy()).requires_grad_()
    codes = torch.from_numpy(x[:, 2:].astype(np.int64))
    looked_up = [torch.nn.functional.embedding(codes[:, j], tables[j]) for j in range(2)]
    expected = torch.cat([t, *looked_up], dim=1)
    expected.backward(torch.from_numpy(dy))
    np.testing.assert_array_equal(layer(x), expected.detach().numpy())
    np.testing.assert_array_equal(layer.backward(dy)[:, :2], t.grad.numpy())
    for j in range(2):
        assert error(layer.weight.grad[j], tables[j].grad.numpy()) <= FLOAT64_TOLERANCE


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Tanh(), nn.Sigmoid()], ids=repr)
@kinds
def test_activations_of_hostile_values(layer, dtype):
    torch = pytest.importorskip("torch")
    tiny, big = np.finfo(dtype).tiny, np.finfo(dtype).max
    x = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, big, -big, tiny, -tiny, 1e-20, -20.0, 20.0, -90.0, 90.0], dtype)
    t = torch.from_numpy(x.copy()).requires_grad_()
    expected = getattr(torch, type(layer).__name__.lower())(t)
    tolerance = FLOAT64_TOLERANCE if dtype == np.float64 else FLOAT32_TOLERANCE
    np.testing.assert_allclose(layer(x), expected.detach().numpy(), rtol=tolerance, atol=np.finfo(dtype).tiny)
    expected.sum().backward()
    found = layer.backward(np.ones_like(x))
    np.testing.assert_allclose(found, t.grad.numpy(), rtol=0, atol=tolerance)


def test_the_first_weights_are_as_wide_as_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(SEED)
    layer, peer = nn.Dense(400, 300, random_state=SEED), torch.nn.Linear(400, 300)
    for mine, other in ((layer.weight, peer.weight), (layer.bias, peer.bias)):
        bound = 1 / np.sqrt(400)
        assert np.abs(mine).max() <= bound and np.abs(mine).max() > 0.98 * bound
        assert mine.std() == pytest.approx(float(other.detach().std()), rel=0.08)
    assert nn.ColumnEmbedding(1000, 8, random_state=0).weight.std() == pytest.approx(1.0, rel=0.05)


# ---------------------------------------------------------------- dropout


def test_dropout_drops_by_the_documented_generator():
    def mix(z):  # in Python's integers, apart from the twin
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    golden, seed, step, p = 0x9E3779B97F4A7C15, 2**62 + 12345, 17, 0.3
    key = mix((mix(seed) + (step + 1) * golden) % 2**64)
    pairs = [mix((key + (j + 1) * golden) % 2**64) for j in range(500)]
    words = [word for pair in pairs for word in (pair % 2**32, pair >> 32)][:999]
    kept = np.array(words) >= int(p * 2**32)
    np.testing.assert_array_equal(twins.dropout_mask(999, p, seed, step), kept)
    layer = nn.Dropout(p)
    layer.seed, layer.num_steps = seed, step
    np.testing.assert_array_equal(layer(np.ones((27, 37))) != 0, kept.reshape(27, 37))
    assert layer.num_steps == step + 1
    layer.num_steps = -3  # counts go round, as in a plan
    with np.errstate(over="ignore"):
        wanted = twins.dropout_mask(12, p, seed, 2**64 - 3)
    np.testing.assert_array_equal(layer(np.ones(12)) != 0, wanted)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_and_the_mean(p):
    x = np.ones((1000, 200))
    layer = nn.Dropout(p, random_state=1)
    first, second = layer(x), layer(x)
    for y in (first, second):
        kept = (y != 0).mean()
        assert abs(kept - (1 - p)) < 5 * np.sqrt(p * (1 - p) / x.size)
        assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
    both = ((first != 0) & (second != 0)).mean()  # steps are independent, and so are neighbours
    assert abs(both - (1 - p) ** 2) < 0.01
    neighbours = ((first[:, :-1] != 0) & (first[:, 1:] != 0)).mean()
    assert abs(neighbours - (1 - p) ** 2) < 0.01


def test_dropout_drops_the_same_from_the_same_state():
    x = values((N, D))
    one, other = nn.Dropout(random_state=5), nn.Dropout(random_state=5)
    assert one.seed == other.seed and nn.Dropout().seed != nn.Dropout().seed
    np.testing.assert_array_equal(one(x), other(x))
    copied, pickled = copy.deepcopy(one), pickle.loads(pickle.dumps(one))
    loaded = nn.Dropout(random_state=5)
    loaded.load_state_dict(one.state_dict())
    following = one(x)
    for again in (copied, pickled, loaded):
        assert again.num_steps == 1
        np.testing.assert_array_equal(again(x), following)
    assert not np.array_equal(one(x), following)
    loaded.load_state_dict({})  # PyTorch's dropout has no state
    with pytest.raises(TypeError, match="seed must be an int"):
        one.seed = 1.5


def test_dropout_in_evaluation_is_nothing():
    layer, x = nn.Dropout(0.9).eval(), values((N, D))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    out = np.empty_like(x)
    assert layer(x, out) is out and layer.backward(x, out) is out
    assert layer.num_steps == 0


# ---------------------------------------------------------------- arrays in and out


@cases
def test_results_go_where_they_are_wanted(make, shape, theirs):
    layer, again, x = make(np.float64), make(np.float64), values(shape)
    again.load_state_dict(layer.state_dict())
    if isinstance(layer, nn.Dropout):
        again.seed = layer.seed
    y = layer(x)
    out = np.full_like(y, 7.0)
    assert again(x, out) is out
    np.testing.assert_array_equal(out, y)
    dy = values(y.shape, seed=2)
    dx = np.full(shape, 7.0)
    assert again.backward(dy, dx) is dx
    np.testing.assert_array_equal(layer.backward(dy), dx)


@cases
def test_strides_lists_and_other_types_are_taken(make, shape, theirs):
    x = np.round(values(shape) * 4)
    strange = [x.tolist(), np.repeat(x, 2, axis=0)[::2], np.asfortranarray(x), x.astype(">f8"), x.astype(np.int32)]
    expected = None
    for each in [x, *strange]:
        layer = make(np.float64)
        if isinstance(layer, nn.Dropout):
            layer.seed = 0
        y = layer(each)
        expected = y if expected is None else expected
        assert y.dtype == np.float64 and y.flags.c_contiguous
        np.testing.assert_array_equal(y, expected)


def test_types_of_results():
    x = values((N, D))
    assert nn.Dense(D, K)(x).dtype == np.float32
    assert nn.Dense(D, K, dtype=np.float64)(x.astype(np.float32)).dtype == np.float64
    for layer in (nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Dropout(), nn.Flatten()):
        assert layer(x).dtype == np.float64
        assert layer(x.astype(np.float32)).dtype == layer(x.astype(np.float16)).dtype == np.float32


def test_empty_batches():
    for dtype in (np.float32, np.float64):
        layer = nn.Dense(D, K, dtype=dtype)
        assert layer(np.empty((0, D))).shape == (0, K)
        assert layer.backward(np.empty((0, K))).shape == (0, D)
        assert not layer.weight.grad.any() and not layer.bias.grad.any()
        for each in (nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Dropout()):
            assert each(np.empty((0, D), dtype)).shape == (0, D)
        assert nn.Flatten()(np.empty((0, 2, 3))).shape == (0, 6)


def test_gradients_add_up_until_they_are_forgotten():
    layer, x, dy = nn.Dense(D, K, dtype=np.float64), values((N, D)), values((N, K), seed=2)
    layer(x)
    layer.backward(dy)
    once = layer.weight.grad.copy(), layer.bias.grad.copy()
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, 2 * once[0])
    np.testing.assert_allclose(layer.bias.grad, 2 * once[1])
    layer.zero_grad()
    assert layer.weight.grad is None


def test_seeds_repeat_and_types_begin_alike():
    one, other = nn.Dense(D, K, random_state=4), nn.Dense(D, K, random_state=4, dtype=np.float64)
    np.testing.assert_array_equal(one.weight, other.weight.astype(np.float32))
    rng = np.random.default_rng(4)
    first, second = nn.Dense(D, K, random_state=rng), nn.Dense(D, K, random_state=rng)
    np.testing.assert_array_equal(first.weight, one.weight)
    assert not np.array_equal(first.weight, second.weight)
    second.reset_parameters(4)
    np.testing.assert_array_equal(second.bias, one.bias)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.Dense(D, K)(np.ones((N, 4))), ValueError, r"\(5, 4\), and Dense\(7, 3.*takes \(N, 7\)"),
        (lambda: nn.Dense(D, K)(np.ones((N, 2, D))), ValueError, "Flatten before it"),
        (lambda: nn.Dense(D, K)([["a"] * D]), TypeError, "numbers are wanted"),
        (lambda: nn.Dense(D, K).backward(np.ones((N, K))), ValueError, "call this Dense on data first"),
        (lambda: nn.Dense(0, K), ValueError, "in_features must be at least 1"),
        (lambda: nn.Dense(D, 2.5), TypeError, "out_features must be an int"),
        (lambda: nn.Dense(D, K, dtype=np.float16), TypeError, "float32 or float64, got float16"),
        (lambda: nn.Dense(D, K, random_state="seed"), TypeError, "random_state is 'seed'"),
        (lambda: nn.Dense(D, K, random_state=-1), ValueError, "random_state is -1"),
        (lambda: nn.Dense(D, K, threads=0), ValueError, "threads must be at least 1"),
        (lambda: nn.Dropout(1.5), ValueError, "p must be from 0 to 1"),
        (lambda: nn.ColumnEmbedding(K, 2)(np.array([[0.5, 3.0]])), ValueError, "code 3 in row 0, column 1.*0 to 2"),
        (lambda: nn.ColumnEmbedding(K, 2)(np.array([[0.0], [-1.0]])), ValueError, "code -1 in row 1, column 0"),
        (lambda: nn.ColumnEmbedding(K, 2)(np.array([[0.5]])), ValueError, "code 0.5"),
        (lambda: nn.ColumnEmbedding(K, 2)(np.array([[np.nan]])), ValueError, "code nan"),
        (lambda: nn.ColumnEmbedding(K, 2, columns=3)(np.ones((2, 2))), ValueError, r"takes \(N, 3 or more\)"),
        (lambda: nn.ColumnEmbedding(2**24 + 1, 1), ValueError, "float32 tells codes apart"),
        (lambda: nn.Flatten()(1.0), ValueError, "samples along a first axis"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    "layer",
    [nn.Dense(D, K), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.ColumnEmbedding(K, 2)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_gradient_of_another_shape_is_refused(layer):
    y = layer(np.ones((N, D)))
    with pytest.raises(ValueError, match=rf"dy has shape \(5, {y.shape[1] + 1}\).*\(5, {y.shape[1]}\)"):
        layer.backward(np.ones((N, y.shape[1] + 1)))


def test_representations_make_the_layer_again():
    for layer in (nn.Dense(3, 2, bias=False, dtype=np.float64), nn.ReLU(), nn.Dropout(0.25), nn.ColumnEmbedding(5, 2)):
        text = repr(layer).replace("dtype=float64", "dtype='float64'")
        assert repr(eval(f"nn.{text}")) == repr(layer)
