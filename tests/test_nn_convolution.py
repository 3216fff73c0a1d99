"""Conv2D and MaxPool2D: slopes, PyTorch, TensorFlow's padding, states, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from support.slopes import TOLERANCE, error, slopes

from streamnorm import nn
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 29
N, H, W, C, K = 2, 5, 7, 3, 11
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def values(shape=(N, H, W, C), dtype=np.float64, seed=SEED):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# A layer, and how PyTorch makes the same one, if it can.
CASES = {
    "conv": (lambda d: nn.Conv2D(C, K, dtype=d, random_state=1), lambda t: t.Conv2d(C, K, 3)),
    "conv_unbiased": (
        lambda d: nn.Conv2D(C, K, (2, 3), bias=False, dtype=d, random_state=1),
        lambda t: t.Conv2d(C, K, (2, 3), bias=False),
    ),
    "conv_strided": (
        lambda d: nn.Conv2D(C, K, 3, (2, 3), (1, 2), dtype=d, random_state=1),
        lambda t: t.Conv2d(C, K, 3, (2, 3), (1, 2)),
    ),
    "conv_same": (
        lambda d: nn.Conv2D(C, K, (4, 3), padding="same", dtype=d, random_state=1),
        lambda t: t.Conv2d(C, K, (4, 3), padding="same"),
    ),
    "conv_same_strided": (lambda d: nn.Conv2D(C, K, (4, 3), (1, 2), "same", dtype=d, random_state=1), None),
    "pool": (lambda d: nn.MaxPool2D(), lambda t: t.MaxPool2d(2)),
    "pool_strided": (lambda d: nn.MaxPool2D((3, 2), 1, (1, 0)), lambda t: t.MaxPool2d((3, 2), 1, (1, 0))),
    "pool_same": (lambda d: nn.MaxPool2D(3, 2, "same"), None),
}
cases = pytest.mark.parametrize(("make", "theirs"), CASES.values(), ids=CASES)


@cases
def test_gradients_are_the_slopes_of_the_forward_pass(make, theirs):
    layer, x = make(np.float64), values()
    dy = values(layer(x).shape, seed=2)

    def number():
        return float((layer(x) * dy).sum())

    dx = layer.backward(dy)
    found = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    assert error(dx, slopes(number, x)) <= TOLERANCE
    for name, parameter in layer.named_parameters():
        assert error(found[name], slopes(number, parameter)) <= TOLERANCE, name


@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@cases
@kinds
def test_results_are_pytorchs(make, theirs, dtype):
    torch = pytest.importorskip("torch")
    if theirs is None:
        layer = make(dtype)
        (top, bottom), (left, right) = layer._zeros(H, W)
        pad = torch.nn.ZeroPad2d if isinstance(layer, nn.Conv2D) else lambda p: torch.nn.ConstantPad2d(p, -np.inf)
        made = (
            torch.nn.Conv2d(C, K, layer.kernel_size, layer.strides)
            if isinstance(layer, nn.Conv2D)
            else torch.nn.MaxPool2d(layer.pool_size, layer.strides)
        )
        peer = torch.nn.Sequential(pad((left, right, top, bottom)), made).double()
    else:
        layer, made = make(dtype), theirs(torch.nn)
        peer = made.double()
    state = {key: torch.from_numpy(np.array(value, np.float64)) for key, value in layer.state_dict().items()}
    if state:
        made.load_state_dict(state | {"weight": state["weight"].permute(3, 2, 0, 1)})
    x = values(dtype=dtype)
    t = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    expected = peer(t.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    dy = values(expected.shape, dtype, seed=2)
    expected.backward(torch.from_numpy(dy.astype(np.float64)))
    tolerance = FLOAT64_TOLERANCE if dtype == np.float64 else FLOAT32_TOLERANCE
    y = layer(x)
    dx = layer.backward(dy)
    assert y.dtype == dx.dtype == dtype
    assert error(y, expected.detach().numpy()) <= tolerance
    assert error(dx, t.grad.numpy()) <= tolerance
    if state:
        gradient = made.weight.grad.permute(2, 3, 1, 0)  # as the docstring says of the weight
        assert error(layer.weight.grad, gradient.numpy()) <= tolerance
        assert (layer.bias is None) == (made.bias is None)
        if layer.bias is not None:
            assert error(layer.bias.grad, made.bias.grad.numpy()) <= tolerance


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("window", range(1, 6))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_is_tensorflows(size, window, stride):
    """Its documentation: ceil(size / stride) windows; the zeros are (k - s or k - size % s), one more after."""
    layer = nn.MaxPool2D(window, stride, "same")
    (top, bottom), columns = layer._zeros(size, size)
    whole = window - stride if size % stride == 0 else window - size % stride
    assert top + bottom == max(whole, 0)
    assert bottom - top in (0, 1) and columns == (top, bottom)
    assert layer(np.ones((1, size, size, 1))).shape == (1, -(-size // stride), -(-size // stride), 1)


def test_the_first_weights_are_as_wide_as_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(SEED)
    layer, peer = nn.Conv2D(50, 80, random_state=SEED), torch.nn.Conv2d(50, 80, 3)
    bound = 1 / np.sqrt(50 * 9)
    for mine, other in ((layer.weight, peer.weight), (layer.bias, peer.bias)):
        assert np.abs(mine).max() <= bound and np.abs(mine).max() > 0.95 * bound
        assert mine.std() == pytest.approx(float(other.detach().std()), rel=0.15)
    other = nn.Conv2D(50, 80, random_state=SEED, dtype=np.float64)
    np.testing.assert_array_equal(layer.weight, other.weight.astype(np.float32))
    other.reset_parameters(SEED + 1)
    assert not np.array_equal(layer.weight, other.weight.astype(np.float32))


@cases
def test_results_go_where_they_are_wanted(make, theirs):
    layer, again, x = make(np.float64), make(np.float64), values()
    y = layer(x)
    out = np.full_like(y, 7.0)
    assert again(x, out) is out
    np.testing.assert_array_equal(out, y)
    dy, dx = values(y.shape, seed=2), np.full_like(x, 7.0)
    assert again.backward(dy, dx) is dx
    np.testing.assert_array_equal(layer.backward(dy), dx)


@cases
def test_strides_lists_and_other_types_are_taken(make, theirs):
    x = np.round(values() * 4)
    strange = [x.tolist(), np.repeat(x, 2, axis=0)[::2], np.asfortranarray(x), x.astype(">f8"), x.astype(np.int32)]
    expected = make(np.float64)(x)
    for each in strange:
        y = make(np.float64)(each)
        assert y.dtype == np.float64 and y.flags.c_contiguous
        np.testing.assert_array_equal(y, expected)


def test_types_of_results():
    x = values()
    assert nn.Conv2D(C, K)(x).dtype == np.float32
    assert nn.Conv2D(C, K, dtype=np.float64)(x.astype(np.float32)).dtype == np.float64
    assert nn.MaxPool2D()(x).dtype == np.float64
    assert nn.MaxPool2D()(x.astype(np.float16)).dtype == np.float32


@cases
@kinds
def test_empty_batches(make, theirs, dtype):
    layer = make(dtype)
    y = layer(np.empty((0, H, W, C), dtype))
    assert y.shape == (0, *layer(np.ones((1, H, W, C), dtype)).shape[1:])
    layer(np.empty((0, H, W, C), dtype))
    assert layer.backward(y).shape == (0, H, W, C)
    for parameter in layer.parameters():
        assert not parameter.grad.any()


@cases
def test_threads_do_not_change_results(make, theirs):
    x = values((9, 41, 43, C), np.float32)
    results = []
    for threads in (1, 2, 3):
        layer = make(np.float32)
        layer.threads = threads
        y = layer(x)
        results.append([y, layer.backward(y), *(parameter.grad for parameter in layer.parameters())])
    for one, two, three in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()


def test_gradients_add_up_until_they_are_forgotten():
    layer, x = nn.Conv2D(C, K, dtype=np.float64), values()
    dy = layer(x)
    layer.backward(dy)
    once = layer.weight.grad.copy(), layer.bias.grad.copy()
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, 2 * once[0])
    np.testing.assert_allclose(layer.bias.grad, 2 * once[1])
    layer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


@cases
def test_layers_are_copied_pickled_and_loaded(make, theirs):
    layer, x = make(np.float64), values()
    y = layer(x)
    loaded = make(np.float64)
    for parameter in loaded.parameters():
        parameter[...] = 0
    loaded.load_state_dict(layer.state_dict())
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert repr(again) == repr(layer)
        np.testing.assert_array_equal(again(x), y)
    with pytest.raises(ValueError, match="on data first"):
        pickle.loads(pickle.dumps(layer)).backward(y)
    if isinstance(layer, nn.Conv2D):
        assert list(layer.state_dict()) == (["weight"] if layer.bias is None else ["weight", "bias"])
        assert layer.state_dict()["weight"].shape == (*layer.kernel_size, C, K)


@cases
@kinds
def test_representations_make_the_layer_again(make, theirs, dtype):
    layer = make(dtype)
    text = repr(layer).replace("dtype=float64", "dtype='float64'")
    again = eval(f"nn.{text}")
    assert repr(again) == repr(layer)
    assert (again.strides, again.padding) == (layer.strides, layer.padding)


def test_attributes_are_pairs_but_padding_as_it_was_given():
    layer = nn.Conv2D(1, 2, 3, [2, 1], [0, 1])
    assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (2, 1), (0, 1))
    assert nn.Conv2D(1, 2, padding=np.int64(1)).padding == 1 and nn.Conv2D(1, 2).padding == "valid"
    assert nn.MaxPool2D((2, 3)).strides == (2, 3)


def test_a_network_of_images_learns():
    """Which of two corners is bright, from 8 x 8 images."""
    rng = np.random.default_rng(SEED)
    target = rng.integers(0, 2, 200)
    x = rng.normal(0, 0.3, (200, 8, 8, 1))
    x[target == 0, :3, :3] += 1
    x[target == 1, 5:, 5:] += 1
    layers = [nn.Conv2D(1, 4, random_state=1), nn.BatchNorm(4, channel_axis=-1), nn.ReLU(), nn.MaxPool2D()]
    layers += [nn.Flatten(), nn.Dense(36, 2, random_state=2)]
    network = nn.Sequential(layers).compile(nn.Adam(0.02), nn.CrossEntropyLoss())
    network.fit(x, target, epochs=15, random_state=0)
    assert (network.predict(x).argmax(axis=1) == target).mean() > 0.98


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.Conv2D(C, K)(np.ones((N, H, W, 4))), ValueError, r"\(2, 5, 7, 4\), and Conv2D\(3, 11.*, W, 3\)$"),
        (lambda: nn.Conv2D(1, K)(np.ones((N, H, W))), ValueError, r"takes \(N, H, W, 1\): .* x\[..., None\]"),
        (lambda: nn.Conv2D(C, K)(np.ones((N, 0, W, C))), ValueError, r"has shape \(2, 0, 7, 3\)"),
        (lambda: nn.Conv2D(C, K, 5)(np.ones((N, 4, 5, C))), ValueError, r"\(2, 4, 5, 3\).* images of at least 5 x 5"),
        (lambda: nn.Conv2D(C, K, 5, 1, (0, 1))(np.ones((N, 4, 5, C))), ValueError, "at least 5 x 3"),
        (lambda: nn.Conv2D(C, K)([["a"]]), TypeError, "numbers are wanted"),
        (lambda: nn.Conv2D(C, K).backward(np.ones((N, 3, 5, K))), ValueError, "call this Conv2D on data first"),
        (lambda: nn.Conv2D(0, K), ValueError, "in_channels must be at least 1"),
        (lambda: nn.Conv2D(C, 2.5), TypeError, "out_channels must be an int"),
        (lambda: nn.Conv2D(C, K, 0), ValueError, "kernel_size must be at least 1, got 0"),
        (lambda: nn.Conv2D(C, K, (1, 2, 3)), ValueError, r"kernel_size must be an int or a pair of them, got \(1, 2"),
        (lambda: nn.Conv2D(C, K, 3, (1, 0)), ValueError, r"strides must be at least 1, got \(1, 0\)"),
        (lambda: nn.Conv2D(C, K, 3, True), TypeError, "strides must be an int"),
        (lambda: nn.Conv2D(C, K, padding="full"), ValueError, "padding must be 'valid', 'same'.*'full'"),
        (lambda: nn.Conv2D(C, K, padding=-1), ValueError, "padding must be at least 0"),
        (lambda: nn.Conv2D(C, K, padding=None), TypeError, "padding must be an int"),
        (lambda: nn.Conv2D(C, K, dtype=np.float16), TypeError, "float32 or float64, got float16"),
        (lambda: nn.Conv2D(C, K, random_state="seed"), TypeError, "random_state is 'seed'"),
        (lambda: nn.Conv2D(C, K, threads=0), ValueError, "threads must be at least 1"),
        (lambda: nn.MaxPool2D(0), ValueError, "pool_size must be at least 1"),
        (lambda: nn.MaxPool2D(2, 1.5), TypeError, "strides must be an int"),
        (lambda: nn.MaxPool2D((2, 3), padding=2), ValueError, r"padding must be less than pool_size, \(2, 3\), got 2"),
        (lambda: nn.MaxPool2D(3)(np.ones((N, 2, 7, C))), ValueError, r"MaxPool2D\(.*images of at least 3 x 3"),
        (lambda: nn.MaxPool2D()(np.ones((H, W, C))), ValueError, r"takes \(N, H, W, C\)"),
        (lambda: nn.MaxPool2D().backward(np.ones((1, 1, 1, 1))), ValueError, "call this MaxPool2D on data first"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@cases
def test_a_gradient_of_another_shape_is_refused(make, theirs):
    layer = make(np.float64)
    shape = layer(values()).shape
    with pytest.raises(ValueError, match=rf"dy has shape \({shape[0]}, {shape[1]}, {shape[2]}\).*had \({shape[0]}, "):
        layer.backward(np.ones(shape[:3]))


def test_padding_that_no_memory_holds_is_refused_before_its_size_wraps():
    most = 2**31 - 1
    layer = nn.Conv2D(2**20, 1, (1, 3), strides=(1, most), padding=(0, most))
    x = np.ones((1, 1, 2, 2**20), np.float32)
    for compute in (layer, nn.Sequential([layer]).predict):
        with pytest.raises(ValueError, match="expected less padding"):
            compute(x)


def test_zeros_that_differ_by_side_are_refused_by_what_padding_is():
    with pytest.raises(TypeError, match=r"padding must be \(rows, columns\)"):
        nn.Conv2D(1, 1, padding=((0, 1), (0, 1)))


def test_channels_that_come_last_are_told_how_to_be_normalized():
    with pytest.raises(ValueError, match=r"write BatchNorm\(4, channel_axis=-1\)"):
        nn.BatchNorm(4)(np.ones((2, 3, 3, 4)))
    network = nn.Sequential([nn.Conv2D(1, 4), nn.BatchNorm(4)])
    with pytest.raises(ValueError, match=r"write BatchNorm\(4, channel_axis=-1\)"):
        network.predict(np.ones((2, 5, 5, 1)))
