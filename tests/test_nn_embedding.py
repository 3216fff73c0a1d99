"""Embeddings of codes of any shape: slopes, PyTorch, states, what is refused, and older files."""

import copy
import pathlib
import pickle

import numpy as np
import pyarrow as pa
import pytest
from support.slopes import TOLERANCE, error, slopes

import streamnorm as sn
from streamnorm import nn

SEED = 13
N, T, BUCKETS, DIM = 5, 7, 11, 3  # distinct primes
DATA = pathlib.Path(__file__).parent / "data"
# What the network in model-v1-embed.safetensors said of these rows before it was saved, and by how much another
# processor's rounding may differ.
OLD_ROWS = {"count": [0.0, 3.0, 8.0, 5.0, 1.0], "zone": ["p", "q", None, "s", "never seen"]}
OLD_PREDICTIONS = [11.264711216213021, 12.169091938950347, 12.428983850695955, 12.70302579762383, 12.310230063638043]
OLD_TOLERANCE = 1e-5


def codes(*shape, dtype=np.int64):
    return np.random.default_rng(SEED).integers(0, BUCKETS, shape).astype(dtype)


def layer_of(dtype=np.float64):
    return nn.Embedding(BUCKETS, DIM, dtype=dtype, random_state=1)


@pytest.mark.parametrize("shape", [(N,), (N, T), (N, T, 2), (0, T), (N, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_and_gradients_are_pytorchs(shape, dtype):
    torch = pytest.importorskip("torch")
    layer, x = layer_of(dtype), codes(*shape)
    peer = torch.nn.Embedding(BUCKETS, DIM).double()
    peer.load_state_dict({key: torch.from_numpy(value.astype(np.float64)) for key, value in layer.state_dict().items()})
    expected = peer(torch.from_numpy(x))
    y = layer(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected.detach().numpy())
    dy = np.round(np.random.default_rng(2).normal(size=y.shape) * 8).astype(dtype)  # whose sums are exact
    expected.backward(torch.from_numpy(dy.astype(np.float64)))
    dx = layer.backward(dy)
    assert dx.shape == shape and dx.dtype == dtype and not dx.any()
    np.testing.assert_array_equal(layer.weight.grad, peer.weight.grad.numpy())


def test_gradients_are_slopes():
    layer, x = layer_of(), codes(N, T)
    dy = np.random.default_rng(2).normal(size=(N, T, DIM))

    def number():
        return float((layer(x) * dy).sum())

    number()
    layer.backward(dy)
    assert error(layer.weight.grad, slopes(number, layer.weight)) <= TOLERANCE


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.float16, np.float32, np.float64, ">i4"])
def test_codes_of_any_type_are_taken(dtype):
    layer, x = layer_of(), codes(N, T)
    np.testing.assert_array_equal(layer(x.astype(dtype)), layer(x))
    np.testing.assert_array_equal(layer(np.asfortranarray(x)), layer(x))
    np.testing.assert_array_equal(layer(x.tolist()), np.asarray(layer.weight)[x])


def test_results_go_where_they_are_wanted():
    layer, x = layer_of(), codes(N, T)
    y, out = layer(x), np.full((N, T, DIM), 9.0)
    assert layer(x, out) is out
    np.testing.assert_array_equal(out, y)
    dx = np.full((N, T), 9.0)
    assert layer.backward(y, dx) is dx and not dx.any()


def test_gradients_add_up_over_codes_and_calls():
    layer = layer_of()
    dy = np.ones((3, DIM))
    for _ in range(2):
        layer(np.array([4, 4, 2]))
        layer.backward(dy)
    expected = np.zeros((BUCKETS, DIM))
    expected[4], expected[2] = 4.0, 2.0
    np.testing.assert_array_equal(layer.weight.grad, expected)


def test_the_last_code_that_float32_tells_apart():
    layer = nn.Embedding(1 << 24, 1)
    layer.weight[-1] = 5.0
    assert layer(np.array([(1 << 24) - 1])) == 5.0
    with pytest.raises(ValueError, match="16777217 at"):
        layer(np.array([(1 << 24) + 1]))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: layer_of()(np.array([[0, 1], [2, BUCKETS]])), ValueError, r"code 11 at \(1, 1\), and.*from 0 to 10"),
        (lambda: layer_of()(np.array([0, -1])), ValueError, r"code -1 at \(1,\)"),
        (lambda: layer_of()(np.array([1, 2**63], np.uint64)), ValueError, "at"),
        (lambda: layer_of()([0.5]), ValueError, r"code 0.5 at \(0,\)"),
        (lambda: layer_of(np.float32)([1.0, 0.99999999999]), ValueError, r"code 0.99999999999 at \(1,\)"),
        (lambda: layer_of()([np.nan]), ValueError, "code nan"),
        (lambda: layer_of()([np.inf]), ValueError, "code inf"),
        (lambda: layer_of()(3), ValueError, r"shape \(\), and Embedding\(11, 3, dtype=float64\) takes \(N, ...\)"),
        (lambda: layer_of()([["a"]]), TypeError, "numbers are wanted"),
        (lambda: layer_of().backward(np.ones((N, DIM))), ValueError, "call this Embedding on data first"),
        (lambda: nn.Embedding(0, 1), ValueError, "num_embeddings must be at least 1"),
        (lambda: nn.Embedding(1, 1.5), TypeError, "embedding_dim must be an int"),
        (lambda: nn.Embedding(2**24 + 1, 1), ValueError, "float32 tells codes apart"),
        (lambda: nn.Embedding(1, 1, dtype=np.float16), TypeError, "float32 or float64, got float16"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_gradient_of_another_shape_is_refused():
    layer = layer_of()
    layer(codes(N, T))
    with pytest.raises(ValueError, match=r"dy has shape \(5, 3\), and the last output had \(5, 7, 3\)"):
        layer.backward(np.ones((N, DIM)))


def test_states_pickles_and_representations():
    layer = layer_of()
    layer(codes(N))
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(again(codes(N, T)), layer(codes(N, T)))
    other = nn.Embedding(BUCKETS, DIM, random_state=2)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.weight, layer.weight.astype(np.float32))
    assert repr(layer) == "Embedding(11, 3, dtype=float64)" and repr(other) == "Embedding(11, 3)"
    np.testing.assert_array_equal(nn.Embedding(9, 2, random_state=3).weight, nn.Embedding(9, 2, random_state=3).weight)
    assert nn.Embedding(1000, 8, random_state=0).weight.std() == pytest.approx(1.0, rel=0.05)


def test_a_network_learns_what_codes_mean():
    x = np.arange(BUCKETS).repeat(8)[:, None]
    layers = [nn.Embedding(BUCKETS, DIM, random_state=0), nn.Flatten(), nn.Dense(DIM, 1, random_state=1)]
    network = nn.Sequential(layers).compile(nn.Adam(0.1))
    network.fit(x, np.sin(x), epochs=60, batch_size=16, random_state=0)
    every = np.arange(BUCKETS)[:, None]
    assert np.abs(network.predict(every) - np.sin(every)).max() < 0.05


# ---------------------------------------------------------------- model files


def test_both_embeddings_come_back_from_a_file(tmp_path):
    for first in (nn.Embedding(BUCKETS, DIM, random_state=0), nn.ColumnEmbedding(BUCKETS, DIM, 1, random_state=0)):
        network = nn.Sequential([first, nn.Dense(DIM, 1, random_state=1)])
        path = tmp_path / type(first).__name__
        network.save(path)
        assert f'"{type(first).__name__}'.encode() in path.read_bytes().replace(b"\\", b"")
        found = sn.load(path)
        assert repr(found) == repr(network)
        x = codes(N, 1) if isinstance(first, nn.ColumnEmbedding) else codes(N)
        assert found(x).tobytes() == network(x).tobytes()


def test_a_file_from_before_column_embeddings_had_their_name(tmp_path):
    old = DATA / "model-v1-embed.safetensors"
    assert b"ColumnEmbedding" not in old.read_bytes()
    model, rows = sn.load(old), pa.table(OLD_ROWS)
    assert type(model.network_[0]) is nn.ColumnEmbedding
    assert model.network_[0].weight.shape == (1, 6, 2)
    np.testing.assert_allclose(model.predict(rows), OLD_PREDICTIONS, rtol=OLD_TOLERANCE)
    model.save(tmp_path / "new")
    assert b"ColumnEmbedding" in (tmp_path / "new").read_bytes()
    assert sn.load(tmp_path / "new").predict(rows).tobytes() == model.predict(rows).tobytes()
