"""The layers: their state, their modes, and that forward and backward go to the functions as PyTorch has it."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import streamnorm as sn
from streamnorm import nn
from streamnorm.nn import functional as F

SEED = 7
ATOL32 = 2e-6  # outputs of float32 against PyTorch's, of size 1
ATOL64 = 1e-12
GRADIENT_ATOL32 = 2e-5  # sums over a batch in float32, in PyTorch
DIFFERENCE_RTOL = 1e-7  # fourth-order central differences in float64
N, C, L = 5, 6, 7


def data(shape, dtype=np.float64, seed=SEED):
    return (np.random.default_rng(seed).normal(size=shape) * 2 + 1).astype(dtype)


def fill(layer, seed=SEED):
    """Give the layer other parameters and statistics than its first ones."""
    rng = np.random.default_rng(seed)
    for _, array in layer.named_parameters():
        array[...] = rng.normal(size=array.shape)
    for name, array in layer.named_buffers():
        if name != "num_batches_tracked":
            array[...] = rng.uniform(0.5, 2.0, size=array.shape)
    return layer


# A layer, the shape of its input, and how PyTorch makes the same one.
CASES = {
    "batch": (lambda **k: nn.BatchNorm(C, **k), (N, C), lambda t: t.BatchNorm1d(C)),
    "batch_3d": (lambda **k: nn.BatchNorm(C, 1e-3, 0.3, **k), (N, C, L), lambda t: t.BatchNorm1d(C, 1e-3, 0.3)),
    "batch_4d": (lambda **k: nn.BatchNorm(C, **k), (N, C, 2, 3), lambda t: t.BatchNorm2d(C)),
    "batch_cumulative": (
        lambda **k: nn.BatchNorm(C, momentum=None, **k),
        (N, C),
        lambda t: t.BatchNorm1d(C, momentum=None),
    ),
    "batch_plain": (lambda **k: nn.BatchNorm(C, affine=False, **k), (N, C), lambda t: t.BatchNorm1d(C, affine=False)),
    "batch_untracked": (
        lambda **k: nn.BatchNorm(C, track_running_stats=False, **k),
        (N, C),
        lambda t: t.BatchNorm1d(C, track_running_stats=False),
    ),
    "layer": (lambda **k: nn.LayerNorm(L, **k), (N, C, L), lambda t: t.LayerNorm(L)),
    "layer_2": (lambda **k: nn.LayerNorm((C, L), 1e-3, **k), (N, C, L), lambda t: t.LayerNorm((C, L), 1e-3)),
    "layer_biasless": (lambda **k: nn.LayerNorm([L], bias=False, **k), (N, L), lambda t: t.LayerNorm(L, bias=False)),
    "layer_plain": (
        lambda **k: nn.LayerNorm(L, elementwise_affine=False, **k),
        (N, L),
        lambda t: t.LayerNorm(L, elementwise_affine=False),
    ),
    "instance": (lambda **k: nn.InstanceNorm(C, **k), (N, C, L), lambda t: t.InstanceNorm1d(C)),
    "instance_all": (
        lambda **k: nn.InstanceNorm(C, affine=True, track_running_stats=True, **k),
        (N, C, L),
        lambda t: t.InstanceNorm1d(C, affine=True, track_running_stats=True),
    ),
    "group": (lambda **k: nn.GroupNorm(3, C, **k), (N, C, L), lambda t: t.GroupNorm(3, C)),
    "group_plain": (
        lambda **k: nn.GroupNorm(2, C, affine=False, **k),
        (N, C),
        lambda t: t.GroupNorm(2, C, affine=False),
    ),
    "rms": (lambda **k: nn.RMSNorm(L, **k), (N, L), lambda t: t.RMSNorm(L)),
    "rms_2": (lambda **k: nn.RMSNorm((C, L), 1e-2, **k), (N, C, L), lambda t: t.RMSNorm((C, L), 1e-2)),
    "rms_plain": (
        lambda **k: nn.RMSNorm(L, elementwise_affine=False, **k),
        (N, L),
        lambda t: t.RMSNorm(L, elementwise_affine=False),
    ),
}
cases = pytest.mark.parametrize(("make", "shape", "theirs"), CASES.values(), ids=CASES)
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# ---------------------------------------------------------------- against PyTorch


def same_pair(torch, make, theirs, dtype):
    layer = fill(make(dtype=dtype))
    peer = theirs(torch.nn).to(torch.float32 if dtype == np.float32 else torch.float64)
    peer.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in layer.state_dict().items()})
    return layer, peer


def assert_same_state(layer, peer, atol):
    mine, other = layer.state_dict(), peer.state_dict()
    assert list(mine) == list(other)
    for key, value in other.items():
        assert mine[key].shape == tuple(value.shape) and mine[key].dtype == value.numpy().dtype
        np.testing.assert_allclose(mine[key], value.numpy(), rtol=0, atol=atol, err_msg=key)


@cases
@kinds
def test_training_and_evaluation_are_pytorchs(make, shape, theirs, dtype):
    torch = pytest.importorskip("torch")
    layer, peer = same_pair(torch, make, theirs, dtype)
    atol = ATOL32 if dtype == np.float32 else ATOL64
    loose = GRADIENT_ATOL32 if dtype == np.float32 else ATOL64
    for step, training in enumerate([True, True, False, True, False]):
        layer.train(training)
        peer.train(training)
        x, dy = data(shape, dtype, step), data(shape, dtype, step + 100)
        t = torch.from_numpy(x.copy()).requires_grad_()
        expected = peer(t)
        expected.backward(torch.from_numpy(dy))
        y = layer(x)
        assert y.dtype == dtype and y.shape == shape
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=atol * 10, err_msg=f"step {step}")
        dx = layer.backward(dy)
        np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=loose, err_msg=f"step {step}")
        assert_same_state(layer, peer, atol)
        ours = dict(layer.named_parameters())
        for name, parameter in peer.named_parameters():  # gradients add up in both
            np.testing.assert_allclose(ours[name].grad, parameter.grad.numpy(), rtol=0, atol=loose, err_msg=name)
        assert set(ours) == {name for name, _ in peer.named_parameters()}


@cases
def test_states_go_to_pytorch_and_back(make, shape, theirs):
    torch = pytest.importorskip("torch")
    layer, peer = same_pair(torch, make, theirs, np.float32)
    peer(torch.from_numpy(data(shape, np.float32)))
    for state in (peer.state_dict(), {key: np.asarray(value) for key, value in peer.state_dict().items()}):
        new = make()
        assert new.load_state_dict(state) == ([], [])
        assert_same_state(new, peer, 0)
    wide = make(dtype=np.float64)
    wide.load_state_dict(dict(peer.named_parameters()) | dict(peer.named_buffers()))  # tensors that are trained
    for key, value in wide.state_dict().items():
        assert value.dtype == (np.int64 if key == "num_batches_tracked" else np.float64)
        np.testing.assert_array_equal(value, peer.state_dict()[key].numpy())


@cases
def test_representations_are_pytorchs(make, shape, theirs):
    torch = pytest.importorskip("torch")
    ours, other = repr(make()), repr(theirs(torch.nn))
    kind = ours.partition("(")[0]
    expected = kind + "(" + other.partition("(")[2]
    if kind != "LayerNorm":  # later versions of PyTorch say which of the others have a bias
        expected = expected.replace(", bias=True", "").replace(", bias=False", "")
    assert ours == expected


# ---------------------------------------------------------------- without PyTorch


def test_batch_norm_by_hand():
    norm = nn.BatchNorm(2, eps=0.0, momentum=0.5, dtype=np.float64)
    norm.weight, norm.bias = [1.0, 2.0], [0.0, 1.0]
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    assert norm(x).tolist() == [[-1.0, -1.0], [1.0, 3.0]]
    assert norm.running_mean.tolist() == [1.0, 10.0]
    assert norm.running_var.tolist() == [1.5, 100.5]  # of 2 and 200, unbiased
    assert norm.num_batches_tracked.shape == () and norm.num_batches_tracked.dtype == np.int64
    assert norm.num_batches_tracked == 1
    norm.eval()
    norm.running_mean, norm.running_var = [1.0, 10.0], [4.0, 100.0]
    assert norm(x).tolist() == [[0.0, 1.0], [1.0, 5.0]]
    assert norm.num_batches_tracked == 1
    assert norm.backward(np.ones((2, 2))).tolist() == [[0.5, 0.2], [0.5, 0.2]]  # a frozen layer has a backward
    assert norm.weight.grad.tolist() == [1.0, 2.0] and norm.bias.grad.tolist() == [2.0, 2.0]


def test_a_cumulative_average_is_that_of_the_batches():
    norm = nn.BatchNorm(1, momentum=None, dtype=np.float64)
    for batch in ([[1.0], [3.0]], [[5.0], [7.0]], [[0.0], [6.0]]):
        norm(np.array(batch))
    assert norm.running_mean == pytest.approx((2 + 6 + 3) / 3)
    assert norm.running_var == pytest.approx((2 + 2 + 18) / 3)
    assert norm.num_batches_tracked == 3
    instances = nn.InstanceNorm(1, momentum=None, track_running_stats=True, dtype=np.float64)
    for sample in ([[[1.0, 3.0]]], [[[5.0, 7.0]]]):
        instances(np.array(sample))
    assert instances.running_mean == pytest.approx(4) and instances.num_batches_tracked == 2


def test_without_running_statistics_evaluation_goes_by_the_batch():
    norm = nn.BatchNorm(C, track_running_stats=False)
    x = data((N, C))
    np.testing.assert_array_equal(norm(x), norm.eval()(x))
    assert norm.running_mean is None and list(norm.state_dict()) == ["weight", "bias"]
    norm.reset_running_stats()


def test_a_state_of_literal_arrays_loads():
    norm = nn.BatchNorm(2, dtype=np.float64)
    state = {
        "weight": np.array([1.5, -2.0], np.float32),
        "bias": [0.25, 0.5],
        "running_mean": np.array([3, 4]),
        "running_var": np.array([0.1, 9.0], np.float32),
        "num_batches_tracked": np.array(12),
    }
    assert norm.load_state_dict(state) == ([], [])
    assert norm.weight.tolist() == [1.5, -2.0] and norm.weight.dtype == np.float64
    assert norm.running_var.tolist() == [float(np.float32(0.1)), 9.0]
    assert norm.running_mean.tolist() == [3.0, 4.0] and norm.num_batches_tracked == 12
    del state["num_batches_tracked"]  # which states of old versions of PyTorch lack
    assert norm.load_state_dict(state) == ([], []) and norm.num_batches_tracked == 12


def test_a_state_is_a_copy():
    norm = nn.BatchNorm(2)
    state = norm.state_dict()
    assert all(type(value) is np.ndarray for value in state.values())
    norm(data((N, 2)))
    norm.weight[...] = 9
    assert state["running_mean"].tolist() == [0.0, 0.0] and state["num_batches_tracked"] == 0
    assert state["weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("weight"), "it lacks weight"),
        (lambda s: s.update(scale=1, shift=2), "it has the unexpected scale, shift"),
        (lambda s: (s.pop("bias"), s.pop("weight")), "it lacks weight, bias"),
        (lambda s: s.update(bias=np.ones(3)), r"bias has shape \(3,\), and \(2,\) is wanted"),
        (lambda s: s.update(bias=["a", "b"]), "bias is an array of <U1, and float32 is wanted"),
        (lambda s: s.update(num_batches_tracked=2.5), "num_batches_tracked is an array of float64, and int64"),
        (lambda s: s.update(running_var=[1.0, 1e300]), "running_var has values beyond float32"),
        (lambda s: s.update(weight=np.ones(2) * 1j), "weight is an array of complex128"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(edit, message):
    norm = fill(nn.BatchNorm(2))
    before = norm.state_dict()
    state = {key: value + 1 for key, value in before.items()}
    edit(state)
    with pytest.raises(sn.StateError, match=f"does not fit this BatchNorm: .*{message}"):
        norm.load_state_dict(state)
    for key, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_not_strict_takes_what_fits():
    norm = nn.BatchNorm(2)
    found = norm.load_state_dict({"weight": [2.0, 3.0], "gamma": 1}, strict=False)
    assert found.missing_keys == ["bias", "running_mean", "running_var"] and found.unexpected_keys == ["gamma"]
    assert norm.weight.tolist() == [2.0, 3.0]
    with pytest.raises(sn.StateError, match="shape"):
        norm.load_state_dict({"weight": [2.0]}, strict=False)


@cases
def test_gradients_match_central_differences(make, shape, theirs):
    layer = fill(make(dtype=np.float64))
    if getattr(layer, "momentum", None) is not None:
        layer.momentum = 0.0  # differences call forward many times
    x, dy = data(shape), data(shape, seed=SEED + 1)
    layer(x)
    dx = layer.backward(dy)
    gradients = [(x, dx), *((parameter, parameter.grad) for parameter in layer.parameters())]
    h = 1e-3
    for array, gradient in gradients:
        flat = np.asarray(array).reshape(-1)
        for i in range(0, flat.size, max(1, flat.size // 5)):
            held, total = flat[i], 0.0
            for step, factor in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                flat[i] = held + step * h
                total += factor * float((layer(x) * dy).sum())
            flat[i] = held
            assert total / (12 * h) == pytest.approx(gradient.reshape(-1)[i], rel=DIFFERENCE_RTOL, abs=1e-8)


@cases
def test_gradients_add_up_until_they_are_forgotten(make, shape, theirs):
    layer = fill(make())
    x, dy = data(shape), data(shape, seed=3)
    with pytest.raises(ValueError, match="call this .*Norm on data first"):
        layer.backward(dy)
    layer(x)
    first = layer.backward(dy)
    once = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    np.testing.assert_array_equal(layer.backward(dy), first)
    for name, parameter in layer.named_parameters():
        np.testing.assert_array_equal(parameter.grad, 2 * once[name])
        assert parameter.grad.dtype == parameter.dtype == np.float32
    layer.zero_grad()
    assert all(parameter.grad is None for parameter in layer.parameters())


@cases
def test_out_is_written_into(make, shape, theirs):
    layer = fill(make())
    x, y, dx = data(shape), np.empty(shape), np.empty(shape)
    expected = copy.deepcopy(layer)(x)
    assert layer(x, out=y) is y
    np.testing.assert_array_equal(y, expected)
    expected = copy.deepcopy(layer)
    expected(x)
    assert layer.backward(y, out=dx) is dx
    np.testing.assert_array_equal(dx, expected.backward(y))


@cases
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_whole_and_leave_what_forward_kept(make, shape, theirs, duplicate):
    layer = fill(make(dtype=np.float64)).eval()
    x = data(shape)
    y = layer(x)
    layer.backward(x)
    new = duplicate(layer)
    assert repr(new) == repr(layer) and new.training is False and type(new) is type(layer)
    for (name, mine), (_, other) in zip(layer.named_parameters(), new.named_parameters(), strict=True):
        assert type(other) is nn.Parameter and not np.shares_memory(mine, other), name
        np.testing.assert_array_equal(mine.grad, other.grad)
        assert not np.shares_memory(mine.grad, other.grad)
    with pytest.raises(ValueError, match="on data first"):
        new.backward(x)
    np.testing.assert_array_equal(new(x), y)
    assert new._kept[0] is x  # by reference
    for parameter in new.parameters():
        parameter[...] = 0
    np.testing.assert_array_equal(layer(x), y)


def test_channels_may_be_elsewhere():
    x = data((N, 4, 3, C))
    for make in (
        lambda axis: nn.BatchNorm(C, channel_axis=axis),
        lambda axis: nn.InstanceNorm(C, affine=True, channel_axis=axis),
        lambda axis: nn.GroupNorm(2, C, channel_axis=axis),
    ):
        last, second = fill(make(-1)), fill(make(1))
        np.testing.assert_allclose(last(x), np.moveaxis(second(np.moveaxis(x, -1, 1)), 1, -1), rtol=1e-12, atol=1e-12)
        assert "channel_axis=-1" in repr(last)
        with pytest.raises(ValueError, match=r"shape \(5, 4, 3, 6\), and 6 channels along axis 1"):
            second(x)


def test_calls_are_those_of_the_functions():
    x = data((N, C), np.float32)
    norm = fill(nn.BatchNorm(C))
    same = [np.array(array) for array in (norm.running_mean, norm.running_var)]
    expected = F.batch_norm(x, *same, norm.weight, norm.bias, True)
    np.testing.assert_array_equal(norm(x), expected)
    np.testing.assert_array_equal(norm.running_var, same[1])
    expected = F.rms_norm(x, (C,))
    np.testing.assert_array_equal(nn.RMSNorm(C)(x), expected)


# ---------------------------------------------------------------- parameters, modes and arguments


def test_assigning_copies_into_the_parameter():
    norm = nn.BatchNorm(2)
    weight, values = norm.weight, np.array([3.0, 4.0])
    norm.weight = values
    assert norm.weight is weight and weight.tolist() == [3.0, 4.0] and weight.dtype == np.float32
    values[0] = 9
    assert weight[0] == 3
    norm.weight -= 1
    norm.weight *= np.float64(2)
    assert norm.weight is weight and weight.tolist() == [4.0, 6.0]
    norm.num_batches_tracked = 5
    assert norm.state_dict()["num_batches_tracked"] == 5
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), and \(2,\) is wanted"):
        norm.weight = np.ones(3)
    with pytest.raises(ValueError, match="made without weight"):
        nn.BatchNorm(2, affine=False).weight = np.ones(2)
    norm.reset_parameters()
    norm.running_mean = [1, 2]
    norm.reset_running_stats()
    assert norm.weight.tolist() == [1.0, 1.0] and norm.running_mean.tolist() == [0.0, 0.0]
    assert norm.num_batches_tracked == 0


def test_a_parameter_is_an_array_with_a_gradient():
    parameter = nn.Parameter([1.0, 2.0])
    parameter.grad = np.ones(2)
    for result in (parameter + 1, np.exp(parameter), 2 * parameter, np.asarray(parameter)):
        assert type(result) is np.ndarray
    assert parameter[:1].grad is None and float(parameter.sum()) == 3.0
    assert np.shares_memory(np.asarray(parameter), parameter)
    for other in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(other) is nn.Parameter and other.grad.tolist() == [1.0, 1.0] and other.tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter([1, 2])


class Pair(nn.Module):
    """Two layers, one after the other, as a user may write it."""

    def __init__(self):
        super().__init__()
        self.first = nn.LayerNorm(C)
        self.second = nn.BatchNorm(C)
        self.gain = nn.Parameter(np.ones(1))

    def forward(self, x, out=None):
        return self.second(self.first(x), out)

    def backward(self, dy, out=None):
        return self.first.backward(self.second.backward(dy), out)


def test_modules_may_hold_modules():
    pair = Pair()
    assert [name for name, _ in pair.named_parameters()] == [
        "gain",
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
    ]
    assert list(pair.state_dict())[-1] == "second.num_batches_tracked"
    y = pair(data((N, C)))
    assert y.shape == (N, C) and pair.backward(y).shape == (N, C)
    new = Pair()
    new.load_state_dict(pair.state_dict())
    np.testing.assert_array_equal(new.second.running_mean, pair.second.running_mean)
    with pytest.raises(sn.StateError, match="it lacks first.weight; it has the unexpected first.scale"):
        new.load_state_dict({key.replace("first.weight", "first.scale"): v for key, v in pair.state_dict().items()})
    assert not pair.eval().second.training and pair.train().first.training
    pair.zero_grad()
    assert all(parameter.grad is None for parameter in pair.parameters())
    assert repr(pair).splitlines()[1] == "  (first): LayerNorm((6,), eps=1e-05, elementwise_affine=True, bias=True)"
    with pytest.raises(TypeError, match="abstract"):
        nn.Module()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.BatchNorm(0), ValueError, "num_features must be at least 1, got 0"),
        (lambda: nn.BatchNorm(2.0), TypeError, "num_features must be an int, got 2.0"),
        (lambda: nn.BatchNorm(True), TypeError, "num_features must be an int"),
        (lambda: nn.BatchNorm(2, eps=-1.0), ValueError, "eps must be from 0"),
        (lambda: nn.BatchNorm(2, eps=math.nan), ValueError, "eps must be from 0"),
        (lambda: nn.BatchNorm(2, momentum=1.5), ValueError, "momentum must be from 0 to 1"),
        (lambda: nn.BatchNorm(2, momentum="a"), TypeError, "momentum must be a number"),
        (lambda: nn.BatchNorm(2, dtype=np.int32), TypeError, "float16, float32 or float64, got int32"),
        (lambda: nn.BatchNorm(2, threads=0), ValueError, "threads must be at least 1"),
        (lambda: nn.BatchNorm(2, channel_axis=1.0), TypeError, "channel_axis must be an int"),
        (lambda: nn.GroupNorm(4, 6), ValueError, "num_channels, 6, must be a multiple of num_groups, 4"),
        (lambda: nn.LayerNorm(()), ValueError, "normalized_shape"),
        (lambda: nn.LayerNorm((2, -1)), ValueError, "normalized_shape must be at least 1"),
        (lambda: nn.RMSNorm("a"), TypeError, "normalized_shape must be an int"),
        (lambda: nn.BatchNorm(2).train("yes"), TypeError, "mode must be True or False"),
        (lambda: nn.BatchNorm(2)(np.ones((1, 2))), ValueError, "value"),
        (lambda: nn.BatchNorm(2)(np.ones((2, 3))), ValueError, "2 channels along axis 1"),
        (lambda: nn.BatchNorm(2)(np.ones(2)), ValueError, r"shape \(2,\)"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_module_is_imported_when_it_is_used():
    code = (
        "import sys, streamnorm as sn\n"
        "assert 'streamnorm.nn' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert sn.nn.BatchNorm(2).num_features == 2 and 'pyarrow' not in sys.modules\n"
        "assert set(sn.nn.__all__) <= set(dir(sn.nn)) and all(getattr(sn.nn, name) for name in sn.nn.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = nn.Nonsense
