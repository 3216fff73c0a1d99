"""Values that normalization layers are not made for: constants, NaN, infinity, none at all, one, huge and tiny ones."""

import numpy as np
import pytest
from support.norms import Layer, assert_agree, run, values_for

import streamnorm.nn.functional as F
from streamnorm.reference import norms as twins

DTYPES = [np.float16, np.float32, np.float64]
OWN = [
    Layer("batch_norm", (67, 6)),
    Layer("batch_norm", (5, 6, 11)),
    Layer("batch_norm", (5, 11, 6), channel_axis=2),
    Layer("instance_norm", (7, 37)),
    Layer("instance_norm", (5, 6, 11)),
    Layer("instance_norm", (5, 11, 6), channel_axis=2),
    Layer("group_norm", (5, 6, 11), groups=3),
    Layer("group_norm", (5, 11, 6), groups=3, channel_axis=2),
    Layer("layer_norm", (7, 37)),
    Layer("layer_norm", (5, 6, 11), axes=2),
    Layer("rms_norm", (7, 37)),
    Layer("rms_norm", (5, 6, 11), axes=2),
]
GIVEN = [Layer("batch_norm", (5, 6, 11), own=False), Layer("instance_norm", (5, 6, 11), own=False)]
CENTERED = [layer for layer in OWN if layer.op != "rms_norm"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", CENTERED, ids=str)
def test_constants_become_exactly_the_bias(layer, dtype):
    for constant in (0.0, -0.0, 1.0, 3.7, -1 / 3, 0.1, 1e4 + 0.3, 6e4, 6e-8):
        v = values_for(layer, dtype)
        v.x = np.full(layer.shape, constant, dtype)
        found = run(F, layer, v, eps=1e-5)
        assert np.array_equal(found["mean"], np.full(layer.statistics, v.x.flat[0]))
        assert np.array_equal(found["rstd"], np.full(layer.statistics, 1 / np.sqrt(1e-5)))
        shape = [1] * len(layer.shape)
        for axis in range(len(layer.shape))[-layer.axes :] if layer.trailing else [layer.channel_axis]:
            shape[axis] = layer.shape[axis]
        bias = np.broadcast_to(v.bias.reshape(shape), layer.shape)
        assert np.array_equal(found["y"], bias), constant
        assert not found["dweight"].any()
        v.weight = v.bias = None
        assert not run(F, layer, v)["y"].any(), constant


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_constants(dtype):
    x = np.full((3, 40009), 0.1, dtype)
    for y in (
        F.layer_norm(x, 40009),
        F.instance_norm(x),
        F.group_norm(x.reshape(1, 3, -1), 3),
        F.batch_norm(x.reshape(1, 3, -1), training=True),
        F.batch_norm(np.ascontiguousarray(x.T), training=True),
    ):
        assert not y.any()


@pytest.mark.parametrize("layer", OWN, ids=str)
def test_constant_gradients_of_one_group_beside_others(layer):
    v = values_for(layer)
    v.dy = np.ones(layer.shape)
    v.weight = None
    right = run(twins, layer, v)
    found = run(F, layer, v)
    if layer.op == "rms_norm":
        assert_agree(layer, v, found, right)
    else:
        # The sum over a normalized group does not change with x.
        assert np.abs(found["dx"]).max() <= 1e-14 * np.max(found["rstd"])


def same_places(found, right, name):
    """NaN where NaN is right, and the right values elsewhere."""
    assert np.array_equal(np.isnan(found), np.isnan(right)), name
    tolerance = {"f2": 1e-2, "f4": 1e-5, "f8": 1e-10}[right.dtype.str[1:]]
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", OWN + GIVEN, ids=str)
def test_nan_and_infinity_stay_in_their_group(layer, bad, dtype):
    v = values_for(layer, dtype)
    places = [(0,) * len(layer.shape), tuple(n - 1 for n in layer.shape), tuple(n // 2 for n in layer.shape)]
    for place in places:
        v.x = values_for(layer, dtype).x
        v.x[place] = bad
        found, right = run(F, layer, v), run(twins, layer, v)
        for name in right:
            if name not in ("mean", "running_mean", "running_var"):
                same_places(found[name], right[name], name)
        for name in {"mean", "running_mean", "running_var"} & right.keys():  # inf or NaN is the mean of an infinity
            assert np.array_equal(np.isfinite(found[name]), np.isfinite(right[name])), name
            if np.isnan(bad):
                assert np.array_equal(np.isnan(found[name]), np.isnan(right[name])), name


@pytest.mark.parametrize("layer", CENTERED, ids=str)
def test_infinities_of_both_signs(layer):
    v = values_for(layer, np.float32)
    v.x.flat[0], v.x.flat[1] = np.inf, -np.inf
    found, right = run(F, layer, v), run(twins, layer, v)
    for name in ("y", "rstd", "dx", "dweight", "dbias"):
        same_places(found[name], right[name], name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layer", OWN + GIVEN, ids=str)
def test_nan_and_infinity_in_gradients(layer, bad):
    v = values_for(layer, np.float32)
    v.dy.flat[v.dy.size // 3] = bad
    found, right = run(F, layer, v), run(twins, layer, v)
    for name in right:
        same_places(found[name], right[name], name)


@pytest.mark.parametrize("layer", OWN + GIVEN, ids=str)
def test_nan_in_parameters(layer):
    for name in ("weight", "bias"):
        v = values_for(layer, np.float32)
        if getattr(v, name) is not None:
            getattr(v, name).flat[1] = np.nan
            found, right = run(F, layer, v), run(twins, layer, v)
            for result in right:
                same_places(found[result], right[result], f"{result}, {name}")


EMPTY = [(0, 6), (0, 6, 5), (3, 6, 0), (0, 6, 0), (0, 6, 2, 3), (2, 6, 0, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_empty_batches(shape, dtype):
    k = len(shape) - 1
    layers = [Layer("batch_norm", shape), Layer("batch_norm", shape, own=False), Layer("instance_norm", shape)]
    layers += [Layer("instance_norm", shape, own=False)] if k > 1 else []
    layers += [Layer("group_norm", shape, groups=g) for g in (1, 2, 6)]
    layers += [Layer(op, shape, axes=axes) for op in ("layer_norm", "rms_norm") for axes in {1, k}]
    for layer in layers:
        v = values_for(layer, dtype)
        found, right = run(F, layer, v), run(twins, layer, v)
        assert found.keys() == right.keys()
        for name, expected in right.items():
            assert found[name].dtype == expected.dtype and np.array_equal(found[name], expected, equal_nan=True), name
        assert found["y"].shape == found["dx"].shape == shape
        assert not found["dweight"].any() and not found.get("dbias", np.zeros(1)).any()
        if layer.follows:
            assert np.array_equal(found["running_mean"], v.running_mean)
            assert np.array_equal(found["running_var"], v.running_var)


def test_no_channels():
    for y in (F.batch_norm(np.zeros((4, 0)), training=True), F.batch_norm(np.zeros((4, 0)), np.ones(0), np.ones(0))):
        assert y.shape == (4, 0)
    assert F.instance_norm(np.zeros((4, 0, 3))).shape == (4, 0, 3)


def test_one_value_per_channel_in_training_is_refused():
    mean, var, tracked = np.zeros(3), np.ones(3), np.zeros((), np.int64)
    for shape in [(1, 3), (1, 3, 1), (1, 3, 1, 1)]:
        with pytest.raises(ValueError, match="one value|more than one|more than 1"):
            F.batch_norm(np.ones(shape), mean, var, training=True, num_batches_tracked=tracked)
        assert F.batch_norm(np.ones(shape), mean, var).shape == shape
    for shape in [(1, 3, 1), (4, 3, 1), (4, 3, 1, 1)]:
        with pytest.raises(ValueError, match="one value|more than one|more than 1"):
            F.instance_norm(np.ones(shape), mean, var, num_batches_tracked=tracked)
        assert F.instance_norm(np.ones(shape), mean, var, use_input_stats=False).shape == shape
    with pytest.raises(ValueError, match="more than one"):  # a row of one feature is an instance of one value
        F.instance_norm(np.ones((4, 1)))
    assert not mean.any() and (var == 1).all() and tracked == 0


def test_groups_of_one_value_are_zero():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    assert not F.layer_norm(x[..., None], 1).any()
    assert not F.group_norm(x, 3).any()
    assert np.allclose(F.rms_norm(x[..., None], 1, eps=0.0), 1.0, rtol=1e-15)


@pytest.mark.parametrize("layer", OWN, ids=str)
def test_the_largest_and_the_smallest_values(layer):
    # Squares of floats and halves neither overflow nor vanish in double.
    for dtype, sizes in [(np.float16, (6e4, 6e-5)), (np.float32, (3e38, 1e-38, 1e-44)), (np.float64, (1e150, 1e-150))]:
        for size in sizes:
            v = values_for(layer, dtype, affine=False)
            v.x = (np.clip(v.x.astype(np.float64), -1, 1) * size).astype(dtype)
            found, right = run(F, layer, v, eps=0.0), run(twins, layer, v, eps=0.0)
            for name in ("y", "rstd"):
                assert np.isfinite(right["y"]).all()
                np.testing.assert_allclose(found[name], right[name], rtol=2e-3 if dtype == np.float16 else 2e-6)


def test_halves_that_overflow_are_infinite():
    x = np.array([[1.0, 2.0, 3.0, -6.0]], np.float16)
    with np.errstate(all="raise"):
        y = F.layer_norm(x, 4, np.full(4, 6e4, np.float32))
    assert np.array_equal(np.isinf(y), [[False, False, False, True]]) and y[0, 3] == -np.inf


def test_results_that_overflow_their_dtype_are_infinite_without_a_warning():
    x = np.array([[1e-3, 2e-3], [3e-3, -6e-3]], np.float16)
    half, large = np.ones(2, np.float16), np.full((2, 2), 6e4, np.float16)
    with np.errstate(all="raise"):
        y, mean, rstd = F.batch_norm_forward(x, training=True, weight=half, eps=1e-12)
        dx, dweight, dbias = F.batch_norm_backward(large, x, mean, rstd, half, training=False)
        assert np.isinf(dx).all() and dweight.dtype == np.float16 and np.isinf(dbias).all()
        running_mean, running_var = np.zeros(2, np.float16), np.ones(2, np.float16)
        F.batch_norm(np.array([[1e4, 1.0], [-1e4, 2.0]]), running_mean, running_var, training=True, momentum=1.0)
        assert np.isinf(running_var[0]) and running_var[1] == 0.5
        # A gradient in double precision for an x in single has x's precision.
        dx, _, _ = F.layer_norm_backward(
            np.full((1, 2), 1e300), x[:1].astype(np.float32), [0.0], [1.0], bias=False, normalized_shape=2
        )
    assert dx.dtype == np.float32 and not np.isfinite(dx).any()


def test_near_constants_far_from_zero():
    # randn * 0.01 + 100 in single precision: one pass in single precision finds a variance of 0.
    x = (np.random.default_rng(0).normal(size=(4, 4096)) * 0.01 + 100).astype(np.float32)
    _, mean, rstd = F.layer_norm_forward(x, 4096)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(wide.var(axis=1) + 1e-5), rtol=1e-11)
    np.testing.assert_allclose(mean, wide.mean(axis=1), rtol=1e-14)


def normal(rows, scale, seed):
    return (np.random.default_rng(seed).standard_normal((rows, 160)) * scale).astype(np.float32)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "batch_norm", "batch_norm planes"])
def test_products_of_gradients_beyond_the_range_of_float32(op):
    x, dy = normal(64, 1e12, 3), normal(64, 1e30, 4)
    layer = Layer(op.split()[0], x.shape)
    if op.endswith("planes"):
        x, dy = x.reshape(4, 16, 160), dy.reshape(4, 16, 160)
        layer = Layer("batch_norm", x.shape)
    v = values_for(layer, np.float32)
    v.x, v.dy = x, dy
    if layer.trailing:
        v.weight = np.full(160, 1e15, np.float32)
    found, right = run(F, layer, v), run(twins, layer, v)
    assert np.isfinite(found["dx"]).all()
    assert np.allclose(found["dx"], right["dx"], rtol=1e-5, atol=1e-5 * np.abs(right["dx"]).max())


@pytest.mark.parametrize("neighbour", [1e36, np.nan])
def test_gradients_of_a_row_do_not_depend_on_its_neighbour(neighbour):
    x, dy = normal(2, 1.0, 3), normal(2, 1.0, 4)
    alone = F.layer_norm_backward(dy[:1], x[:1], *F.layer_norm_forward(x[:1], 160)[1:], normalized_shape=160)[0]
    x[1] *= np.float32(neighbour)
    both = F.layer_norm_backward(dy, x, *F.layer_norm_forward(x, 160)[1:], normalized_shape=160)[0]
    assert both[:1].tobytes() == alone.tobytes()
