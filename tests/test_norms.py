"""The compiled normalization layers against their twins in NumPy: every layout, size, dtype and order of memory."""

import inspect

import numpy as np
import pytest
from support.norms import Layer, assert_agree, backward, error, forward, run, values_for

import streamnorm.nn.functional as F
from streamnorm.reference import exact_sums
from streamnorm.reference import norms as twins
from streamnorm.reference.norms import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SHAPES = [(7, 6), (5, 6, 11), (3, 6, 5, 7), (2, 6, 3, 4, 5)]
DTYPES = [np.float16, np.float32, np.float64]


def layers_of(shape: tuple[int, ...], channel_axis: int = 1) -> list[Layer]:
    """All that can be done with an array of this shape; channels are a multiple of 6, or there is one group."""
    groups = 3 if shape[channel_axis] % 6 == 0 else 1
    at = {"channel_axis": channel_axis}
    layers = [Layer("batch_norm", shape, **at), Layer("batch_norm", shape, own=False, **at)]
    layers += [Layer("instance_norm", shape, **at), Layer("group_norm", shape, groups=groups, **at)]
    layers += [Layer("instance_norm", shape, own=False, **at)] if len(shape) > 2 else []
    if channel_axis == 1:
        layers += [Layer(op, shape, axes=k) for op in ("layer_norm", "rms_norm") for k in {1, len(shape) - 1}]
    return layers


EVERY = [layer for shape in SHAPES for layer in layers_of(shape)]
EVERY += [layer for shape in SHAPES[1:] for layer in layers_of(shape[:1] + shape[2:] + shape[1:2], -1)]
BLOCK4 = layers_of((3, 6, 5, 7))


def assert_like_twin(layer, v, *, condition=0.0, **options):
    found = run(F, layer, v, **options)
    assert_agree(layer, v, found, run(twins, layer, v), condition=condition)
    return found


def test_there_is_a_twin_of_every_function():
    ops = ("batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm")
    names = {op + suffix for op in ops for suffix in ("", "_forward", "_backward")}
    assert names == {name for name in twins.__all__ if not name.endswith("TOLERANCE")}
    for name in names:
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (F, twins))
        if name in ops:  # whose twins pass everything on
            theirs = inspect.signature(getattr(F, f"{name}_forward")).parameters
        described = [
            [(p.name, p.default, p.kind) for p in parameters.values() if p.name not in ("out", "threads")]
            for parameters in (ours, theirs)
        ]
        assert described[0] == described[1], name


@pytest.mark.parametrize("layer", [layer for layer in BLOCK4 if layer.trailing or layer.op == "group_norm"], ids=str)
def test_the_backward_pass_can_tell_from_the_statistics_what_was_normalized(layer):
    v = values_for(layer)
    for module in (F, twins):
        right = run(module, layer, v)
        statistics = [right[name] for name in ("mean", "rstd") if name in right]
        found = getattr(module, f"{layer.op}_backward")(v.dy, v.x, *statistics, v.weight)
        for gradient, name in zip(found, ("dx", "dweight", "dbias"), strict=False):
            assert np.array_equal(gradient, right[name]), (module.__name__, name)


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", EVERY, ids=str)
def test_agrees_with_the_twin(layer, dtype, affine):
    assert_like_twin(layer, values_for(layer, dtype, affine=affine))


@pytest.mark.parametrize("layer", EVERY, ids=str)
def test_the_short_functions_give_the_first_result(layer):
    v = values_for(layer, np.float32)
    y = run(F, layer, v)["y"]
    arguments = {"weight": v.weight, "bias": v.bias, **layer.options}
    if layer.op == "rms_norm":
        del arguments["bias"]
    if layer.follows:
        arguments |= {"running_mean": v.running_mean, "running_var": v.running_var}
    found = getattr(F, layer.op)(v.x, **arguments)
    assert isinstance(found, np.ndarray) and np.array_equal(found, y)


# Around the widths of vectors and the edges of blocks, as the length of a row and as the number of columns.
SIZES = [1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 1000, 4099]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_sizes_around_the_edges_of_blocks(n, dtype):
    layers = [Layer("batch_norm", (max(n, 2), 3)), Layer("batch_norm", (5, n)), Layer("batch_norm", (3, 2, n))]
    layers += [Layer("batch_norm", (n, 2, 3)), Layer("batch_norm", (2, n, 3)), Layer("batch_norm", (5, n), own=False)]
    layers += [Layer("layer_norm", (3, n)), Layer("layer_norm", (n, 3)), Layer("rms_norm", (3, n))]
    layers += [Layer("rms_norm", (n, 5)), Layer("layer_norm", (2, 3, n), axes=2)]
    layers += [Layer("group_norm", (2, 6, n), groups=g) for g in (1, 2, 3)]
    layers += [Layer("group_norm", (2, 2 * n, 3), groups=g) for g in (2, n)]
    layers += [Layer("group_norm", (2, n, 6), groups=3, channel_axis=2), Layer("batch_norm", (2, n, 6), channel_axis=2)]
    if n > 1:
        layers += [Layer("instance_norm", (2, 3, n)), Layer("instance_norm", (3, n)), Layer("instance_norm", (n, 3, 2))]
        layers += [Layer("instance_norm", (2, n, 6), channel_axis=2), Layer("instance_norm", (2, 3, n), own=False)]
    for layer in layers:
        assert_like_twin(layer, values_for(layer, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "layer",
    [
        Layer("batch_norm", (2, 3, 70001)),
        Layer("batch_norm", (70001, 3)),
        Layer("batch_norm", (3, 4099)),
        Layer("batch_norm", (2, 70001), own=False),
        Layer("batch_norm", (2, 9001, 3)),
        Layer("instance_norm", (2, 3, 70001)),
        Layer("instance_norm", (2, 70001, 3), channel_axis=2),
        Layer("group_norm", (2, 6, 30011), groups=2),
        Layer("layer_norm", (2, 70001)),
        Layer("layer_norm", (40009, 5)),
        Layer("rms_norm", (2, 70001)),
        Layer("rms_norm", (40009, 5)),
    ],
    ids=str,
)
def test_long_channels_and_many_of_them(layer, dtype):
    assert_like_twin(layer, values_for(layer, dtype, offset=3.0))


def views(array):
    """The same values in other orders of memory."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    tall = np.zeros((3 * array.shape[0], *array.shape[1:]), array.dtype)
    tall[::3] = array
    padded = np.zeros((*array.shape[:-1], array.shape[-1] + 3), array.dtype)
    padded[..., 1:-2] = array
    raw = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    return {
        "transposed": np.asfortranarray(array),
        "channels_last": np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1),
        "negative": np.flip(np.flip(array).copy()),
        "every second": wide[..., ::2],
        "every third row": tall[::3],
        "rows with gaps": padded[..., 1:-2],
        "byte-swapped": array.astype(array.dtype.newbyteorder()),
        "unaligned": unaligned,
        "read-only": read_only(array),
    }


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", EVERY, ids=str)
def test_any_strides_and_byte_order(layer, dtype):
    v = values_for(layer, dtype)
    right = run(twins, layer, v)
    xs, dys = views(v.x), views(v.dy)
    for name in xs:
        v.x = xs[name]
        for v.dy in (dys[name], dys["channels_last"], dys["negative"]):
            assert_agree(layer, v, run(F, layer, v), right)


@pytest.mark.parametrize("layer", EVERY, ids=str)
def test_the_order_of_memory_is_kept(layer):
    v = values_for(layer, np.float32)
    xs = views(v.x)
    for name in ("transposed", "channels_last", "every second", "rows with gaps", "negative"):
        v.x = xs[name]
        found = run(F, layer, v)
        like = np.empty_like(v.x)
        assert found["y"].strides == found["dx"].strides == like.strides, name


@pytest.mark.parametrize("layer", BLOCK4, ids=str)
def test_gradients_that_are_one_value_repeated(layer):
    v = values_for(layer)
    for shape in ((1,) * 4, (3, 1, 1, 1), (1, 6, 1, 1), (1, 1, 5, 7)):
        v.dy = np.broadcast_to(np.random.default_rng(3).normal(size=shape), layer.shape)
        assert 0 in v.dy.strides
        found, right = run(F, layer, v), run(twins, layer, v)
        # Where a whole group has one gradient, dx and dweight are 0 but for rounding: the bar is that of their terms.
        terms = np.abs(v.dy).max() * max(1.0, np.abs(v.weight).max()) * max(1.0, right["rstd"].max())
        for name, expected in right.items():
            assert error(found[name], expected, max(terms, np.abs(expected).max())) <= FLOAT64_TOLERANCE, name


@pytest.mark.parametrize("layer", [layer for layer in BLOCK4 if not layer.trailing], ids=str)
def test_channels_last_by_view_and_by_axis(layer):
    v = values_for(layer, np.float32)
    right = run(twins, layer, v)
    last = lambda array: np.ascontiguousarray(np.moveaxis(array, 1, -1))  # noqa: E731
    by_view = values_for(layer, np.float32)
    by_view.x, by_view.dy = (np.moveaxis(last(array), -1, 1) for array in (v.x, v.dy))
    assert_agree(layer, v, run(F, layer, by_view), right)
    moved = Layer(layer.op, last(v.x).shape, own=layer.own, groups=layer.groups, channel_axis=-1)
    by_axis = values_for(layer, np.float32)
    by_axis.x, by_axis.dy = last(v.x), last(v.dy)
    found = run(F, moved, by_axis)
    for name in ("y", "dx"):
        found[name] = np.moveaxis(found[name], -1, 1)
    assert_agree(layer, v, found, right)


@pytest.mark.parametrize("layer", BLOCK4, ids=str)
def test_parameters_of_any_dtype_and_stride(layer):
    for dtype in (np.float16, np.float32):
        for parameter_dtype in DTYPES:
            v = values_for(layer, dtype, parameter_dtype=parameter_dtype)
            found = assert_like_twin(layer, v)
            assert found["dweight"].dtype == parameter_dtype
            assert found["y"].dtype == found["dx"].dtype == dtype
            right = run(twins, layer, v)
            for name in ("weight", "bias"):
                if getattr(v, name) is not None:
                    setattr(v, name, np.repeat(getattr(v, name), 2, axis=-1)[..., ::2])
            assert_agree(layer, v, run(F, layer, v), right)


@pytest.mark.parametrize("op", ["batch_norm", "instance_norm"])
def test_running_statistics_of_any_dtype_and_stride(op):
    layer = Layer(op, (5, 6, 7))
    v = values_for(layer, np.float32)
    for mean_dtype, var_dtype in [("f4", "f8"), ("f2", "f4"), (">f8", "<f4")]:
        results = []
        for module in (F, twins):
            mean = np.repeat(v.running_mean.astype(mean_dtype), 3)[::3]
            var = np.repeat(v.running_var.astype(var_dtype), 2)[::-2]
            assert mean.dtype == mean_dtype and var.strides[0] < 0
            forward(module, layer, v, running_mean=mean, running_var=var)
            results.append((mean, var))
        for found, right in zip(*results, strict=True):
            assert error(found, right) <= (2.0**-10 if found.dtype == np.float16 else FLOAT32_TOLERANCE)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-3, 2.5])
@pytest.mark.parametrize("layer", BLOCK4, ids=str)
def test_eps(layer, eps):
    v = values_for(layer)
    assert_agree(layer, v, run(F, layer, v, eps=eps), run(twins, layer, v, eps=eps))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_eps_of_rms_norm_is_that_of_the_dtype(dtype):
    x = np.full((2, 5), 1e-3, dtype)
    eps = float(np.finfo(dtype).eps)
    _, rstd = F.rms_norm_forward(x, 5)
    assert error(rstd, np.full(2, 1 / np.sqrt(np.float64(x[0, 0]) ** 2 + eps))) <= FLOAT64_TOLERANCE


@pytest.mark.parametrize("op", ["batch_norm", "instance_norm"])
def test_momentum_and_the_count_of_batches(op):
    layer = Layer(op, (5, 6, 7))
    modules = {}
    for module in (F, twins):
        v = values_for(layer)
        tracked = np.zeros((), np.int64)
        states = []
        for seed, momentum in enumerate([0.1, 1.0, 0.0, None, 0.3, None]):
            v.x = values_for(layer, seed=seed).x
            forward(module, layer, v, momentum=momentum, num_batches_tracked=tracked)
            states.append([v.running_mean.copy(), v.running_var.copy()])
            assert tracked == seed + 1
        modules[module] = states
    assert error(modules[F], modules[twins]) <= FLOAT64_TOLERANCE


def test_a_cumulative_average_is_the_mean_over_batches():
    batches = np.random.default_rng(0).normal(2, 3, (4, 50, 3))
    mean, var, tracked = np.full(3, 77.0), np.full(3, 55.0), np.zeros(1, np.int64)
    for batch in batches:
        F.batch_norm(batch, mean, var, training=True, momentum=None, num_batches_tracked=tracked)
    assert tracked == [4]
    assert error(mean, batches.mean(axis=(0, 1))) <= FLOAT64_TOLERANCE
    assert error(var, batches.var(axis=1, ddof=1).mean(axis=0)) <= FLOAT64_TOLERANCE


@pytest.mark.parametrize("own", [True, False])
def test_batches_are_counted_in_training_alone(own):
    tracked = np.array(7, np.int64)
    F.batch_norm(np.ones((4, 3)), np.zeros(3), np.ones(3), training=own, num_batches_tracked=tracked)
    assert tracked == (8 if own else 7)


def test_running_statistics_are_left_alone_by_inference():
    layer = Layer("batch_norm", (5, 6), own=False)
    v = values_for(layer)
    v.running_mean, v.running_var = read_only(v.running_mean), read_only(v.running_var)
    _, mean, rstd = forward(F, layer, v)
    assert np.array_equal(mean, v.running_mean)
    assert error(rstd, 1 / np.sqrt(v.running_var + 1e-5)) <= FLOAT64_TOLERANCE


@pytest.mark.parametrize("layer", [layer for layer in BLOCK4 if layer.op != "rms_norm"], ids=str)
def test_which_gradients_there_are(layer):
    v = values_for(layer)
    statistics = forward(F, layer, v)[1:]
    right = run(twins, layer, v)
    weight, bias = v.weight, v.bias
    for v.weight, given, gradients in [
        (weight, None, (True, True)),
        (weight, bias, (True, True)),
        (weight, True, (True, True)),
        (weight, False, (True, False)),
        (None, None, (False, False)),
        (None, False, (False, False)),
        (None, True, (False, True)),
        (None, bias, (False, True)),
    ]:
        _, dweight, dbias = backward(F, layer, v, statistics, bias=given)
        assert (dweight is not None, dbias is not None) == gradients
        if dweight is not None:
            assert error(dweight, right["dweight"]) <= FLOAT64_TOLERANCE
        if dbias is not None:
            assert error(dbias, right["dbias"]) <= FLOAT64_TOLERANCE


def test_sequences_are_taken_and_positions_are_fixed():
    x = [[1.0, 2.0, 4.0], [3.0, 5.0, -1.0]]
    v = values_for(Layer("layer_norm", (2, 3)))
    y, mean, rstd = F.layer_norm_forward(x, 3, [1.0, 2.0, 3.0], [0.0, 0.5, 1.0], 1e-3)
    right = twins.layer_norm(x, 3, np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.5, 1.0]), 1e-3)
    assert error(y, right) <= FLOAT64_TOLERANCE
    for ours, right in zip(
        F.layer_norm_backward(v.dy, x, mean, rstd, v.weight, (3,)),
        twins.layer_norm_backward(v.dy, x, mean, rstd, v.weight, (3,)),
        strict=True,
    ):
        assert error(ours, right) <= FLOAT64_TOLERANCE
    mean, var = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    positional = F.batch_norm(x, mean, var, None, None, False, 0.1, 1e-5)
    assert error(positional, (np.array(x) - mean) / np.sqrt(var + 1e-5)) <= FLOAT64_TOLERANCE
    assert np.array_equal(F.group_norm(x, 3), np.zeros((2, 3)))
    normalized = F.group_norm(x, 1, channel_axis=-1)
    assert np.array_equal(normalized, F.layer_norm(x, [3]))


def test_what_is_given_is_not_written():
    for layer in BLOCK4:
        v = values_for(layer)
        v.x, v.dy, v.weight = read_only(v.x), read_only(v.dy), read_only(v.weight)
        copies = [array.copy() for array in (v.x, v.dy, v.weight)]
        run(F, layer, v)
        assert all(np.array_equal(a, b) for a, b in zip((v.x, v.dy, v.weight), copies, strict=True))


# Exact moments: values whose first ones are unlike the rest.


def unlike(n):
    rng = np.random.default_rng(5)
    normal = rng.normal(size=n)
    return {
        "sorted": np.sort(normal),
        "outlier first": np.concatenate([[1e8], normal[1:]]),
        "outliers first": np.concatenate([np.full(64, 1e6), normal[64:]]),
        "step": np.where(np.arange(n) < n // 2, -1e4, 1e4) + normal,
        "step at the end": np.where(np.arange(n) < n - 3, 1e-3 * normal, 1e5),
        "zeros first": np.where(np.arange(n) < 40, 0.0, 1e4 + normal),
        "offset": 1e4 + normal,
        "rising": np.linspace(1000, 2000, n) + 1e-3 * normal,
    }


@pytest.mark.parametrize("n", [999, 40009])
@pytest.mark.parametrize("name", unlike(100))
def test_variance_of_values_whose_first_are_unlike_the_rest(name, n):
    row = unlike(n)[name].astype(np.float32)
    total, squares = exact_sums(row.astype(np.float64))
    mean, var = total / n, squares / n - (total / n) ** 2
    right = 1 / np.sqrt(float(var) + 1e-5)
    rms = 1 / np.sqrt(float(squares / n) + 1e-5)
    rows, columns = np.stack([row, row]), np.stack([row] * 5, axis=1)
    cases = [F.layer_norm_forward(rows, n)[1:], F.batch_norm_forward(columns, training=True)[1:]]
    cases += [F.batch_norm_forward(rows.reshape(1, 2, n), training=True)[1:]]
    cases += [F.instance_norm_forward(rows.reshape(1, 2, n))[1:], F.instance_norm_forward(rows)[1:]]
    cases += [F.group_norm_forward(columns.reshape(1, n, 5), 5, channel_axis=2)[1:]]
    for found_mean, found in cases:
        assert error(found, np.full(found.shape, right)) <= FLOAT64_TOLERANCE
        assert np.abs(found_mean - float(mean)).max() <= FLOAT64_TOLERANCE * np.abs(row).max()
    found = F.rms_norm_forward(rows, n, eps=1e-5)[1]
    assert error(found, np.full(found.shape, rms)) <= FLOAT64_TOLERANCE
