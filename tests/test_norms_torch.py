"""The compiled normalization layers, and their twins, against PyTorch's autograd in double precision."""

import numpy as np
import pytest
from support.norms import ULPS, Layer, error, run, scale_of_dx, values_for

import streamnorm.nn.functional as F
from streamnorm.reference import norms as twins
from streamnorm.reference.norms import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

torch = pytest.importorskip("torch")
nn = torch.nn.functional

MODULES = {"compiled": F, "twin": twins}

LAYERS = [
    Layer("batch_norm", (41, 12)),
    Layer("batch_norm", (41, 12), own=False),
    Layer("instance_norm", (41, 12)),
    Layer("group_norm", (41, 12), groups=3),
    Layer("layer_norm", (41, 12)),
    Layer("rms_norm", (41, 12)),
    Layer("layer_norm", (1000,)),
    Layer("rms_norm", (1000,)),
    Layer("batch_norm", (1024, 65)),
    Layer("layer_norm", (300, 257)),
    Layer("rms_norm", (300, 257)),
]
for _shape in [(5, 6, 33), (3, 6, 9, 7), (2, 6, 3, 4, 5)]:
    for _own in (True, False):
        LAYERS += [Layer(op, _shape, own=_own) for op in ("batch_norm", "instance_norm")]
    LAYERS += [Layer("group_norm", _shape, groups=g) for g in (1, 2, 6)]
    LAYERS += [Layer(op, _shape, axes=k) for op in ("layer_norm", "rms_norm") for k in range(1, len(_shape))]
for _shape in [(5, 33, 6), (3, 9, 7, 6), (2, 3, 4, 5, 6)]:
    for _own in (True, False):
        LAYERS += [Layer(op, _shape, own=_own, channel_axis=-1) for op in ("batch_norm", "instance_norm")]
    LAYERS += [Layer("group_norm", _shape, groups=g, channel_axis=-1) for g in (1, 2, 6)]


def tensor(array, leaf=False):
    return None if array is None else torch.tensor(array.astype(np.float64), requires_grad=leaf)


def autograd(layer, v, eps=None):
    """All that torch computes for a layer in double precision, under our names."""
    x, weight, bias = (tensor(array, leaf=True) for array in (v.x, v.weight, v.bias))
    mean, var = (tensor(array) for array in (v.running_mean, v.running_var))
    eps = {} if eps is None else {"eps": eps}
    # Contiguous, because torch's group norm of channels that are last has the variance from sums of squares.
    at = x if layer.trailing else x.movedim(layer.channel_axis, 1).contiguous()
    if layer.op == "batch_norm":
        y = nn.batch_norm(at, mean, var, weight, bias, layer.own, **eps)
    elif layer.op == "instance_norm" and len(layer.shape) == 2:
        # An instance that is a row is normalized over its features, which is what layer_norm does.
        y = nn.layer_norm(at, layer.parameter, weight, bias, **eps)
    elif layer.op == "instance_norm":
        y = nn.instance_norm(at, mean, var, weight, bias, layer.own, **eps)
    elif layer.op == "group_norm":
        y = nn.group_norm(at, layer.groups, weight, bias, **eps)
    elif layer.op == "layer_norm":
        y = nn.layer_norm(at, layer.parameter, weight, bias, **eps)
    else:
        y = nn.rms_norm(at, layer.parameter, weight, float(np.finfo(v.x.dtype).eps) if not eps else eps["eps"])
    y = y if layer.trailing else y.movedim(1, layer.channel_axis)
    (y * tensor(v.dy)).sum().backward()
    found = {"y": y.detach(), "dx": x.grad, "running_mean": mean, "running_var": var}
    found |= {name: None if p is None else p.grad for name, p in (("dweight", weight), ("dbias", bias))}
    return {name: value.numpy() for name, value in found.items() if value is not None}


def assert_like_torch(layer, v, tolerance, eps=None):
    right = autograd(layer, v, eps)
    for who, module in MODULES.items():
        found = run(module, layer, v, eps=eps)
        assert right.keys() == found.keys() - {"mean", "rstd"}, who
        for name, expected in right.items():
            off = error(found[name], expected, scale_of_dx(layer, v, found["rstd"]) if name == "dx" else None)
            assert off <= tolerance, f"{who}: {name} is off by {off:.2g}, more than {tolerance:.2g}"


# Offset, scale, condition, with weight and bias or without. Means near 100 beside deviations of 0.01 leave 1e4 ulp to a
# deviation: two right answers may differ by that much.
DATA = pytest.mark.parametrize(
    ("offset", "scale", "condition", "affine"),
    [(0.0, 1.0, 0.0, True), (0.0, 1.0, 0.0, False), (100.0, 1.0, 0.0, True), (100.0, 0.01, 1e4, True)],
    ids=["normal", "plain", "offset", "offset and close together"],
)


@DATA
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_double_precision(layer, offset, scale, condition, affine):
    v = values_for(layer, np.float64, offset=offset, scale=scale, affine=affine)
    assert_like_torch(layer, v, max(FLOAT64_TOLERANCE, ULPS * condition))


@DATA
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_single_precision_values(layer, offset, scale, condition, affine):
    # The values are exact in both; we compute in double and round once.
    v = values_for(layer, np.float32, offset=offset, scale=scale, affine=affine)
    assert_like_torch(layer, v, FLOAT32_TOLERANCE)


@pytest.mark.parametrize("eps", [1e-12, 1e-3, 10.0])
@pytest.mark.parametrize("layer", LAYERS[:6] + LAYERS[11:22], ids=str)
def test_eps(layer, eps):
    assert_like_torch(layer, values_for(layer), FLOAT64_TOLERANCE, eps)


# None is a cumulative average; torch's instance norm takes it for 0.
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("op", ["batch_norm", "instance_norm"])
def test_a_module_in_training_and_the_count_of_its_batches(op, momentum):
    classes = {"batch_norm": torch.nn.BatchNorm1d, "instance_norm": torch.nn.InstanceNorm1d}
    theirs = classes[op](6, momentum=momentum, track_running_stats=True, affine=True).double()
    mean, var, tracked = np.zeros(6), np.ones(6), np.zeros((), np.int64)
    for seed in range(4):
        x = values_for(Layer(op, (5, 6, 7)), seed=seed, offset=3.0).x
        right = theirs(torch.tensor(x)).detach().numpy()
        function = getattr(F, op)
        training = {"training": True} if op == "batch_norm" else {}
        y = function(x, mean, var, **training, momentum=momentum, num_batches_tracked=tracked)
        assert error(y, right) <= FLOAT64_TOLERANCE
        if op == "batch_norm" or momentum is not None:
            assert error(mean, theirs.running_mean.numpy()) <= FLOAT64_TOLERANCE
            assert error(var, theirs.running_var.numpy()) <= FLOAT64_TOLERANCE
    if op == "batch_norm":  # torch's instance norm does not count its batches
        assert tracked == theirs.num_batches_tracked.item() == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["x", "dy"])
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if len(layer.shape) == 3] + LAYERS[:6], ids=str)
def test_nan_and_infinity(layer, place, bad):
    for at in (0, 7):
        v = values_for(layer)
        getattr(v, place).flat[at] = bad
        right = autograd(layer, v)
        for who, module in MODULES.items():
            found = run(module, layer, v)
            for name, expected in right.items():
                case, finite = (who, name, at), np.isfinite(expected)
                assert np.array_equal(np.isfinite(found[name]), finite), case
                if not name.startswith("running"):
                    assert error(found[name][finite], expected[finite]) <= 10 * FLOAT64_TOLERANCE, case
            assert np.array_equal(np.isnan(found["y"]), np.isnan(right["y"])), (who, at)


def test_empty_batches():
    for shape in [(0, 6), (0, 6, 5), (2, 6, 0)]:
        axes = len(shape) - 1
        layers = [Layer("batch_norm", shape), Layer("batch_norm", shape, own=False)]
        layers += [Layer("layer_norm", shape, axes=axes), Layer("rms_norm", shape, axes=axes)]
        layers += [Layer("group_norm", shape, groups=2)] if shape[0] == 0 else []  # else torch's dweight is NaN
        layers += [Layer("instance_norm", shape)] if shape[0] and len(shape) > 2 else []
        for layer in layers:
            assert_like_torch(layer, values_for(layer), 0.0)
