"""Layers of long short-term memory: slopes, PyTorch, networks, states, and what is refused."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.slopes import TOLERANCE, error, slopes

from streamnorm import nn
from streamnorm.reference.network import FLOAT64_TOLERANCE

SEED = 19
N, T, F, H = 5, 7, 3, 11  # distinct primes
both = pytest.mark.parametrize("sequences", [True, False])


def values(shape, dtype=np.float64, seed=SEED):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def layer_of(sequences=True, dtype=np.float64, **options):
    return nn.LSTM(F, H, sequences, dtype=dtype, random_state=1, **options)


@both
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_the_slopes_of_the_forward_pass(sequences, training):
    layer, x = nn.LSTM(2, 3, sequences, dtype=np.float64, random_state=1).train(training), values((3, 5, 2))
    dy = values(layer(x).shape, seed=2)

    def number():
        return float((layer(x) * dy).sum())

    number()
    layer.zero_grad()
    dx = layer.backward(dy)
    found = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    assert list(found) == ["weight_ih", "weight_hh", "bias"]
    assert error(dx, slopes(number, x)) <= TOLERANCE
    for name, parameter in layer.named_parameters():
        assert error(found[name], slopes(number, parameter)) <= TOLERANCE, name


@both
def test_a_network_with_pytorchs_weights_is_pytorchs(sequences):
    torch = pytest.importorskip("torch")
    embedding, last = nn.Embedding(13, F, dtype=np.float64), nn.LSTM(H, 5, sequences, dtype=np.float64)
    layers = embedding, layer_of(), last
    x = np.random.default_rng(SEED).integers(0, 13, (N, T))
    first, second = torch.nn.LSTM(F, H, batch_first=True).double(), torch.nn.LSTM(H, 5, batch_first=True).double()
    table = torch.from_numpy(np.array(layers[0].weight)).requires_grad_()
    for layer, peer in zip(layers[1:], (first, second), strict=True):  # as the docstring says
        layer.weight_ih, layer.weight_hh = peer.weight_ih_l0, peer.weight_hh_l0
        layer.bias = (peer.bias_ih_l0 + peer.bias_hh_l0).detach()
    network = nn.Sequential(layers)
    y = network(x)
    expected = second(first(torch.nn.functional.embedding(torch.from_numpy(x), table))[0])[0]
    expected = expected if sequences else expected[:, -1]
    assert error(y, expected.detach().numpy()) <= FLOAT64_TOLERANCE
    dy = values(y.shape, seed=2)
    network.backward(dy)
    expected.backward(torch.from_numpy(dy))
    assert error(layers[0].weight.grad, table.grad.numpy()) <= FLOAT64_TOLERANCE
    for layer, peer in zip(layers[1:], (first, second), strict=True):
        assert error(layer.weight_ih.grad, peer.weight_ih_l0.grad.numpy()) <= FLOAT64_TOLERANCE
        assert error(layer.weight_hh.grad, peer.weight_hh_l0.grad.numpy()) <= FLOAT64_TOLERANCE
        assert error(layer.bias.grad, peer.bias_ih_l0.grad.numpy()) <= FLOAT64_TOLERANCE


def test_the_first_weights_are_as_wide_as_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(SEED)
    layer, peer = nn.LSTM(50, 100, random_state=SEED), torch.nn.LSTM(50, 100)
    bias = peer.bias_ih_l0 + peer.bias_hh_l0
    for mine, other in ((layer.weight_ih, peer.weight_ih_l0), (layer.weight_hh, peer.weight_hh_l0), (layer.bias, bias)):
        assert mine.shape == tuple(other.shape)
        assert mine.std() == pytest.approx(float(other.detach().std()), rel=0.1)
    assert np.abs(layer.weight_ih).max() <= 0.1 and np.abs(layer.bias).max() <= 0.2


def test_backward_may_come_twice_and_in_evaluation():
    """What forward has kept is overwritten; then it goes forward once more."""
    layer, x, dy = layer_of(), values((N, T, F)), values((N, T, H), seed=2)
    layer(x)
    first = layer.backward(dy)
    once = [parameter.grad.copy() for parameter in layer.parameters()]
    np.testing.assert_array_equal(layer.backward(dy), first)
    for parameter, before in zip(layer.parameters(), once, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * before, rtol=1e-14)
    layer.zero_grad()
    layer.eval()(x)
    np.testing.assert_array_equal(layer.backward(dy), first)
    for parameter, before in zip(layer.parameters(), once, strict=True):
        np.testing.assert_array_equal(parameter.grad, before)


def test_batches_of_other_sizes_follow_each_other():
    layer = layer_of(False)
    for n, t in ((N, T), (N, T), (2, T), (N, 3), (0, T), (1, 1), (N, T)):
        x, fresh = values((n, t, F)), layer_of(False)
        dy = values((n, H), seed=2)
        np.testing.assert_array_equal(layer(x), fresh(x))
        layer.zero_grad()
        np.testing.assert_array_equal(layer.backward(dy), fresh.backward(dy))
        np.testing.assert_array_equal(layer.weight_hh.grad, fresh.weight_hh.grad)


@both
def test_results_go_where_they_are_wanted(sequences):
    layer, x = layer_of(sequences), values((N, T, F))
    y = layer(x)
    out = np.full_like(y, 9.0)
    assert layer(x, out) is out
    np.testing.assert_array_equal(out, y)
    dx = layer.backward(y)
    into = np.full_like(x, 9.0)
    assert layer.backward(y, into) is into
    np.testing.assert_array_equal(into, dx)


def test_strides_lists_and_other_types_are_taken():
    layer, x = layer_of(), np.round(values((N, T, F)) * 4)
    y = layer(x)
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    for each in (x.tolist(), np.asfortranarray(x), x.astype(">f8"), x.astype(np.int32), strided):
        np.testing.assert_array_equal(layer(each), y)
    assert nn.LSTM(F, H)(x).dtype == np.float32


def test_threads_do_not_change_results():
    x = values((97, T, F), np.float32)
    one, many = layer_of(dtype=np.float32, threads=1), layer_of(dtype=np.float32, threads=3)
    np.testing.assert_array_equal(one(x), many(x))
    np.testing.assert_array_equal(one.backward(one(x)), many.backward(many(x)))


def test_states_pickles_and_representations():
    layer, x = layer_of(), values((N, T, F))
    layer(x)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again._kept is None
        np.testing.assert_array_equal(again(x), layer(x))
    other = nn.LSTM(F, H, True, random_state=2)
    other.load_state_dict(layer.state_dict())
    assert list(layer.state_dict()) == ["weight_ih", "weight_hh", "bias"]
    np.testing.assert_array_equal(other.weight_hh, layer.weight_hh.astype(np.float32))
    for each in (layer, other, nn.LSTM(2, 3)):
        assert repr(eval(f"nn.{each!r}".replace("dtype=float64", "dtype='float64'"))) == repr(each)
    assert repr(layer) == "LSTM(3, 11, return_sequences=True, dtype=float64)"
    rng = np.random.default_rng(4)
    one, two = nn.LSTM(F, H, random_state=rng), nn.LSTM(F, H, random_state=4)
    np.testing.assert_array_equal(one.weight_hh, two.weight_hh)
    assert not np.array_equal(nn.LSTM(F, H, random_state=rng).weight_hh, two.weight_hh)
    two.reset_parameters(5)
    assert not np.array_equal(one.bias, two.bias)


def test_a_network_learns_what_came_first():
    """The sign of a series' first value, at its end."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(256, 5, 1)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.float32)
    layers = [nn.LSTM(1, 8, True, random_state=0), nn.LayerNorm(8), nn.LSTM(8, 8, random_state=1)]
    network = nn.Sequential([*layers, nn.Dense(8, 1, random_state=2)]).compile(nn.Adam(0.03), nn.BCEWithLogitsLoss())
    network.fit(x, y, epochs=25, batch_size=32, random_state=0)
    assert ((network.predict(x) > 0) == (y > 0.5)).mean() > 0.95


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: layer_of()(np.ones((N, F))), ValueError, r"\(5, 3\), and LSTM\(3, 11, .*takes \(N, T, 3\)"),
        (lambda: layer_of()(np.ones((N, T, 4))), ValueError, r"takes \(N, T, 3\)"),
        (lambda: layer_of()(np.ones((N, 0, F))), ValueError, "at least one step"),
        (lambda: layer_of()([[["a"] * F]]), TypeError, "numbers are wanted"),
        (lambda: layer_of().backward(np.ones((N, H))), ValueError, "call this LSTM on data first"),
        (lambda: nn.LSTM(0, H), ValueError, "input_size must be at least 1"),
        (lambda: nn.LSTM(F, 2.5), TypeError, "hidden_size must be an int"),
        (lambda: nn.LSTM(F, H, 1), TypeError, "return_sequences must be True or False"),
        (lambda: nn.LSTM(F, H, dtype=np.float16), TypeError, "float32 or float64, got float16"),
        (lambda: nn.LSTM(F, H, threads=0), ValueError, "threads must be at least 1"),
        (lambda: nn.LSTM(F, H, random_state="seed"), TypeError, "random_state is 'seed'"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@both
def test_a_gradient_of_another_shape_is_refused(sequences):
    layer = layer_of(sequences)
    y = layer(values((N, T, F)))
    with pytest.raises(ValueError, match=rf"dy has shape \(5, 2\).*\({', '.join(map(str, y.shape))}\)"):
        layer.backward(np.ones((N, 2)))


def test_calls_on_several_threads_do_not_share_what_they_keep():
    layer = nn.LSTM(8, 32, True, random_state=0)
    x = np.random.default_rng(0).standard_normal((64, 20, 8), np.float32)
    right = layer(x).copy()

    def wrong(_):
        return sum(not np.array_equal(layer(x), right) for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(wrong, range(4))) == 0
