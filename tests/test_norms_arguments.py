"""What normalization layers refuse, in words that name the argument and before anything is written; and `out`."""

import numpy as np
import pytest
from support.norms import Layer, Values, backward, error, forward, run, values_for

import streamnorm.nn.functional as F
from streamnorm.reference import norms as twins
from streamnorm.reference.norms import FLOAT32_TOLERANCE

LAYERS = [
    Layer("batch_norm", (4, 6, 5)),
    Layer("instance_norm", (4, 6, 5)),
    Layer("group_norm", (4, 6, 5), groups=3),
    Layer("layer_norm", (4, 6, 5), axes=2),
    Layer("rms_norm", (4, 6, 5), axes=2),
]
BATCH, INSTANCE, GROUP, LAYER, RMS = LAYERS
GIVEN = [Layer("batch_norm", (4, 6, 5), own=False), Layer("instance_norm", (4, 6, 5), own=False)]

FORWARD = {layer.op: ("y", "rstd") if layer.op == "rms_norm" else ("y", "mean", "rstd") for layer in LAYERS}
BACKWARD = {layer.op: ("dx", "dweight", "dbias")[: 2 if layer.op == "rms_norm" else 3] for layer in LAYERS}


def shape_of(layer: Layer, name: str) -> tuple[int, ...]:
    if name in ("y", "dx"):
        return layer.shape
    return layer.statistics if name in ("mean", "rstd") else layer.parameter


def outs(layer: Layer, names: tuple[str, ...], dtype: type) -> list[np.ndarray]:
    """Arrays for all results, full of sevens."""
    return [np.full(shape_of(layer, n), 7.0, np.float64 if n in ("mean", "rstd") else dtype) for n in names]


def refuse(kind, words, call, *written):
    """The call is refused with these words in the message, and arrays are left as they are."""
    before = [np.array(array, copy=True) for array in written]
    with pytest.raises(kind, match=words) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    for array, copy in zip(written, before, strict=True):
        assert array.tobytes() == copy.tobytes()


def all_written(layer: Layer, v: Values, *more: np.ndarray) -> list[np.ndarray]:
    return [array for array in (v.x, v.dy, v.weight, v.bias, v.running_mean, v.running_var, *more) if array is not None]


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
@pytest.mark.parametrize("dtype", ["i4", "u1", "bool", "c8", "g", "O", "M8[s]", "U3"])
def test_other_dtypes(layer, dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is double here")
    for name in ("x", "weight", "bias", "running_mean", "running_var"):
        v = values_for(layer)
        if getattr(v, name) is None:
            continue
        setattr(v, name, np.ones(getattr(v, name).shape).astype(dtype))
        rest = Values(v.x, v.dy, v.weight, v.bias, v.running_mean, v.running_var)
        refuse(TypeError, rf"\b{name}\b", lambda v=v: forward(F, layer, v), *all_written(layer, rest))
    for name in ("x", "dy", "weight"):
        v = values_for(layer)
        statistics = forward(F, layer, v)[1:]
        setattr(v, name, np.ones(getattr(v, name).shape).astype(dtype))
        refuse(TypeError, rf"\b{name}\b", lambda v=v, s=statistics: backward(F, layer, v, s))


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_wrong_shapes(layer):
    v = values_for(layer)
    statistics = forward(F, layer, v)[1:]
    for name in ("weight", "bias", "running_mean", "running_var"):
        right = getattr(v, name)
        if right is None:
            continue
        for wrong in (np.ones(1), np.ones(right.size + 1), right[None], np.ones(()), np.ones(0), right.ravel()[:-1]):
            if wrong.shape == right.shape:
                continue
            setattr(v, name, wrong)
            refuse(ValueError, rf"\b{name}\b", lambda: forward(F, layer, v), *all_written(layer, v))
        setattr(v, name, right)
    for name in ("dy", "weight"):
        right = getattr(v, name)
        for wrong in (right[None], right[..., :-1], right[..., :1], np.ones(())):
            setattr(v, name, wrong)
            refuse(ValueError, rf"\b{name}\b", lambda: backward(F, layer, v, statistics))
        setattr(v, name, right)
    names = FORWARD[layer.op][1:]
    for i, name in enumerate(names):
        other = [*statistics[:i], None, *statistics[i + 1 :]]
        refuse(TypeError, rf"\b{name}\b", lambda other=other: backward(F, layer, v, other))
        for wrong in (statistics[i][None], statistics[i][:-1], np.ones(())):
            other = [*statistics[:i], wrong, *statistics[i + 1 :]]
            refuse(ValueError, rf"\b{name}\b", lambda other=other: backward(F, layer, v, other))


@pytest.mark.parametrize("layer", [LAYER, RMS], ids=str)
def test_normalized_shape(layer):
    v = values_for(layer, affine=False)
    call = getattr(F, layer.op)
    for wrong in (7, (5, 6), (4, 6), (1, 4, 6, 5), (), (0,), (-5,), [5, 5]):
        refuse(ValueError, r"\bnormalized_shape\b", lambda wrong=wrong: call(v.x, wrong))
    for wrong in (5.0, "5", (6, 5.0), (6, "5"), None, True, np.array([6, 5])):
        refuse(TypeError, r"\bnormalized_shape\b", lambda wrong=wrong: call(v.x, wrong))
    for right in (5, (5,), [5], np.int64(5), (np.int32(6), 5), (4, 6, 5)):
        assert call(v.x, right).shape == v.x.shape
    refuse(ValueError, r"\bx\b|normalized_shape", lambda: call(np.float64(3.0), 1))


def test_num_groups():
    x = np.ones((4, 6, 5))
    for wrong in (0, -1, 4, 5, 7, 12):
        refuse(ValueError, r"\bnum_groups\b", lambda wrong=wrong: F.group_norm(x, wrong))
        if wrong > 0:
            many = np.ones((4, wrong))
            refuse(
                ValueError,
                r"\bnum_groups\b",
                lambda wrong=wrong, many=many: F.group_norm_backward(x, x, many, many, num_groups=wrong),
            )
    refuse(ValueError, r"\bnum_groups\b", lambda: F.group_norm(x, 10**30))
    for wrong in (2.0, "2", None, (2,), True, np.ones(2, int)):
        for call in (F.group_norm, F.group_norm_forward):
            refuse(TypeError, r"\bnum_groups\b", lambda wrong=wrong, call=call: call(x, wrong))
        if wrong is not None:  # of the backward pass, which has it from mean
            refuse(TypeError, r"\bnum_groups\b", lambda wrong=wrong: F.group_norm_backward(x, x, x, x, None, wrong))
    assert np.array_equal(F.group_norm(x, np.int64(3)), np.zeros(x.shape))


@pytest.mark.parametrize("layer", [BATCH, INSTANCE, GROUP], ids=str)
def test_channel_axis(layer):
    v = values_for(layer, affine=False)
    statistics = forward(F, layer, v)[1:]
    v.running_mean = v.running_var = None
    for wrong in (3, -4, 100, -(10**30)):
        refuse(ValueError, r"\bchannel_axis\b", lambda wrong=wrong: forward(F, layer, v, channel_axis=wrong))
        refuse(
            ValueError, r"\bchannel_axis\b", lambda wrong=wrong: backward(F, layer, v, statistics, channel_axis=wrong)
        )
    for wrong in (1.0, "1", None, True, np.ones(2, int)):
        refuse(TypeError, r"\bchannel_axis\b", lambda wrong=wrong: forward(F, layer, v, channel_axis=wrong))
        refuse(
            TypeError, r"\bchannel_axis\b", lambda wrong=wrong: backward(F, layer, v, statistics, channel_axis=wrong)
        )
    assert np.array_equal(forward(F, layer, v, channel_axis=np.int8(1))[0], forward(F, layer, v)[0])
    if layer is not BATCH:  # samples are along the first axis
        refuse(ValueError, r"\bchannel_axis\b", lambda: forward(F, layer, v, channel_axis=0))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_eps_momentum_and_threads(layer):
    v = values_for(layer)
    statistics = forward(F, layer, v)[1:]
    for wrong in ("1e-5", [1e-5], 1j):
        refuse(TypeError, r"\beps\b", lambda wrong=wrong: forward(F, layer, v, eps=wrong), *all_written(layer, v))
    for wrong in (-1e-5, np.nan, 10**400):
        refuse(ValueError, r"\beps\b", lambda wrong=wrong: forward(F, layer, v, eps=wrong), *all_written(layer, v))
    for kind, wrong in ((ValueError, 0), (ValueError, -1), (TypeError, 1.5), (TypeError, "2")):
        refuse(kind, r"\bthreads\b", lambda wrong=wrong: forward(F, layer, v, threads=wrong), *all_written(layer, v))
        refuse(kind, r"\bthreads\b", lambda wrong=wrong: backward(F, layer, v, statistics, threads=wrong))
    if layer.follows:
        refuse(TypeError, r"\bmomentum\b", lambda: forward(F, layer, v, momentum="0.1"), *all_written(layer, v))
        refuse(ValueError, "num_batches_tracked", lambda: forward(F, layer, v, momentum=None), *all_written(layer, v))


def test_dimensions_of_x():
    for call in (F.instance_norm, lambda x: F.group_norm(x, 1)):
        for x in (np.float64(1.0), np.ones(3)):
            refuse(ValueError, r"\bx\b|\bchannel_axis\b", lambda x=x, call=call: call(x))
    refuse(ValueError, r"\bx\b|\bchannel_axis\b", lambda: F.batch_norm(np.float64(1.0), training=True))


@pytest.mark.parametrize("op", ["batch_norm", "instance_norm"])
def test_running_statistics(op):
    layer = Layer(op, (4, 6, 5))
    given = Layer(op, (4, 6, 5), own=False)
    v = values_for(layer)
    mean, var = v.running_mean, v.running_var
    for pair in ((mean, None), (None, var)):
        v.running_mean, v.running_var = pair
        refuse(ValueError, r"running_(mean|var)", lambda: forward(F, layer, v), *all_written(layer, v))
        refuse(ValueError, r"running_(mean|var)", lambda: forward(F, given, v), *all_written(layer, v))
    v.running_mean = v.running_var = None
    refuse(ValueError, r"running_(mean|var)", lambda: forward(F, given, v))
    v.running_mean, v.running_var = mean, var
    for name in ("running_mean", "running_var"):
        fixed = getattr(v, name).copy()
        fixed.flags.writeable = False
        for wrong in (fixed, fixed.tolist()):  # a list cannot be updated
            kinds = (TypeError, ValueError)
            refuse(kinds, rf"\b{name}\b", lambda n=name, w=wrong: forward(F, layer, v, **{n: w}), mean, var)
    tracked = np.zeros((), np.int64)
    for kind, wrong in [
        (TypeError, np.zeros(())),
        (TypeError, np.zeros((), np.int32)),
        (TypeError, 3),
        (ValueError, np.zeros(2, np.int64)),
        (ValueError, np.zeros(0, np.int64)),
        (ValueError, np.broadcast_to(tracked, (1,))),
    ]:
        refuse(kind, "num_batches_tracked", lambda w=wrong: forward(F, layer, v, num_batches_tracked=w), mean, var)
    refuse(ValueError, "running", lambda: forward(F, layer, v, running_var=mean), *all_written(layer, v))
    both = np.ones(9)
    refuse(ValueError, "running", lambda: forward(F, layer, v, running_mean=both[:6], running_var=both[3:]), both)
    refuse(ValueError, "running", lambda: forward(F, layer, v, running_mean=v.x[0, :, 0]), v.x, var)
    refuse(ValueError, "running|weight", lambda: forward(F, layer, v, running_mean=v.weight), v.weight, var)
    # What is only read may be shared.
    assert np.array_equal(forward(F, given, v, running_mean=var)[1].ravel()[:6], var)


def test_running_statistics_of_instances_that_are_rows_are_refused():
    x, mean, var = np.random.default_rng(0).normal(size=(4, 6)), np.zeros(6), np.ones(6)
    refuse(ValueError, "running", lambda: F.instance_norm(x, mean, var), mean, var)
    refuse(ValueError, "running|use_input_stats", lambda: F.instance_norm(x, mean, var, use_input_stats=False))
    refuse(ValueError, "running|use_input_stats", lambda: F.instance_norm(x, use_input_stats=False))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_out_is_filled_and_returned(layer, dtype):
    v = values_for(layer, dtype)
    right = run(F, layer, v)
    statistics = forward(F, layer, values_for(layer, dtype))[1:]
    for names, call in [
        (FORWARD[layer.op], lambda out: forward(F, layer, values_for(layer, dtype), out=out)),
        (BACKWARD[layer.op], lambda out: backward(F, layer, v, statistics, out=out)),
    ]:
        results = outs(layer, names, dtype)
        found = call(tuple(results))
        assert all(a is b for a, b in zip(found, results, strict=True))
        assert all(np.array_equal(a, right[name]) for a, name in zip(found, names, strict=True))
        for i in range(len(names)):  # some of them, and the first alone
            results = [o if j == i else None for j, o in enumerate(outs(layer, names, dtype))]
            found = call(tuple(results))
            assert found[i] is results[i] and all(type(array) is np.ndarray for array in found)
            assert all(np.array_equal(a, right[name]) for a, name in zip(found, names, strict=True))
        first = outs(layer, names, dtype)[0]
        assert call(first)[0] is first and np.array_equal(first, right[names[0]])
        # Any strides; what lies between is left alone.
        wide = np.full((*layer.shape[:-1], 2 * layer.shape[-1]), 7.0, dtype)
        call(wide[..., ::-2])
        assert np.array_equal(wide[..., ::-2], right[names[0]]) and (wide[..., ::2] == 7).all()
        last = np.moveaxis(np.empty((4, 5, 6), dtype), -1, 1)
        assert call(last)[0] is last and np.array_equal(last, right[names[0]])


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_out_of_the_short_functions(layer):
    v = values_for(layer, np.float32)
    arguments = {"weight": v.weight, **layer.options}
    if layer.follows:
        arguments |= {"running_mean": v.running_mean.copy(), "running_var": v.running_var.copy()}
    out = np.empty(layer.shape, np.float32)
    assert getattr(F, layer.op)(v.x, **arguments, out=out) is out
    v.bias = None
    assert error(out, run(twins, layer, v)["y"]) <= FLOAT32_TOLERANCE
    for wrong in ((out, out, out, out), out[None], out[0], [out]):
        kinds = (TypeError, ValueError)
        refuse(kinds, r"\bout\b", lambda wrong=wrong: getattr(F, layer.op)(v.x, **arguments, out=wrong), out)


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_out_of_the_wrong_kind(layer):
    v = values_for(layer, np.float32)
    statistics = forward(F, layer, values_for(layer, np.float32))[1:]
    for names, call in [
        (FORWARD[layer.op], lambda out: forward(F, layer, v, out=out)),
        (BACKWARD[layer.op], lambda out: backward(F, layer, v, statistics, out=out)),
    ]:
        for i, name in enumerate(names):
            right = outs(layer, names, np.float32)
            fixed = right[i].copy()
            fixed.flags.writeable = False
            other = np.float64 if right[i].dtype == np.float32 else np.float32
            wrongs = [right[i][None], np.full(right[i].size + 1, 7.0, right[i].dtype), np.full((), 7.0, right[i].dtype)]
            wrongs += [right[i].astype(other), right[i].astype(np.int32), fixed]
            for wrong in wrongs:
                results = tuple(wrong if j == i else o for j, o in enumerate(right))
                refuse(
                    ValueError,
                    rf"\bout\b|\b{name}\b",
                    lambda results=results, call=call: call(results),
                    *all_written(layer, v, *results),
                )
            results = tuple([7.0] if j == i else o for j, o in enumerate(right))
            rest = [o for j, o in enumerate(right) if j != i]
            refuse(TypeError, r"\bout\b", lambda r=results, call=call: call(r), *all_written(layer, v, *rest))
        right = tuple(outs(layer, names, np.float32))
        for wrong in (right[:-1], (*right, None), ()):
            refuse(ValueError, r"\bout\b", lambda w=wrong, call=call: call(w), *all_written(layer, v, *right))


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_outputs_that_share_memory_with_anything_are_refused(layer):
    n, names = int(np.prod(layer.shape)), FORWARD[layer.op]
    buffer = np.random.default_rng(0).normal(size=2 * n)
    v = values_for(layer)
    v.x = buffer[:n].reshape(layer.shape)
    shifted = [buffer[start : start + n].reshape(layer.shape) for start in (1, 3, n - 1)]
    for out in (v.x, v.x[::-1], v.x.view(), *shifted):
        refuse(ValueError, r"\bout\b", lambda out=out: forward(F, layer, v, out=out), *all_written(layer, v, buffer))
    out = np.full(layer.shape, 7.0)
    for name in ("weight", "bias", "running_mean", "running_var"):
        there = getattr(v, name)
        if there is not None:
            setattr(v, name, out.ravel()[: there.size].reshape(there.shape))
            refuse(ValueError, r"\bout\b", lambda: forward(F, layer, v, out=out), *all_written(layer, v, out))
            setattr(v, name, there)
    size = int(np.prod(layer.statistics))
    inside = out.ravel()[-size:].reshape(layer.statistics)
    rstd = np.full(layer.statistics, 7.0)
    rest = [None] * (len(names) - 2)
    overlapping = [(out, *rest, inside), (None, *rest, inside_of(v.x, rstd))]
    overlapping += [(None, rstd, rstd), (out, inside, None)] if rest else []
    overlapping += [(None, *rest, v.running_var)] if layer.follows and rstd.ndim == 1 else []
    for several in overlapping:
        written = all_written(layer, v, out, rstd, buffer)
        refuse(ValueError, r"\bout\b", lambda several=several: forward(F, layer, v, out=several), *written)


def inside_of(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A view of the array's first values, in the shape of the other."""
    return array.reshape(-1)[: like.size].reshape(like.shape)


@pytest.mark.parametrize("layer", LAYERS + GIVEN, ids=str)
def test_gradients_that_share_memory_with_anything_are_refused(layer):
    v = values_for(layer)
    statistics = list(forward(F, layer, values_for(layer))[1:])
    names = BACKWARD[layer.op]
    rest = [None] * (len(names) - 2)
    overlapping = [
        (v.dy, None, *rest),
        (v.x, None, *rest),
        (v.dy[::-1], None, *rest),
        (None, v.weight, *rest),
        (None, inside_of(v.x, v.weight), *rest),
        (None, inside_of(v.dy, v.weight), *rest),
    ]
    dx = np.full(layer.shape, 7.0)
    overlapping.append((dx, inside_of(dx, v.weight), *rest))
    if rest:
        dweight = np.full(layer.parameter, 7.0)
        overlapping += [(None, dweight, dweight), (dx, None, inside_of(dx, v.weight)), (None, None, v.weight)]
    for out in overlapping:
        arrays = [array for array in out if array is not None]
        refuse(
            ValueError,
            rf"\b(out|{'|'.join(names)})\b",
            lambda out=out: backward(F, layer, v, statistics, out=out),
            *all_written(layer, v, *arrays, *statistics),
        )
    for i, statistic in enumerate(statistics):
        lying = [inside_of(dx, statistic) if j == i else s for j, s in enumerate(statistics)]
        refuse(ValueError, r"\bout\b|\bdx\b", lambda lying=lying: backward(F, layer, v, lying, out=dx), dx)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_neighbours_in_one_buffer_do_not_share_memory(layer):
    v = values_for(layer)
    right = run(F, layer, v)
    buffer = np.full((4, 6, 10), 7.0)
    buffer[..., :5] = v.x
    v.x = buffer[..., :5]
    found = forward(F, layer, v, out=buffer[..., 5:])
    assert np.array_equal(found[0], right["y"]) and np.array_equal(buffer[..., 5:], right["y"])


@pytest.mark.parametrize("layer", [BATCH, INSTANCE], ids=str)
def test_the_batch_is_not_counted_by_a_call_that_is_refused(layer):
    v, tracked = values_for(layer), np.array(5, np.int64)
    refuse(
        ValueError,
        r"\bout\b",
        lambda: forward(F, layer, v, out=v.x, num_batches_tracked=tracked),
        tracked,
        *all_written(layer, v),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_outs_of_gradients_that_are_not_there(layer, dtype):
    v = values_for(layer, dtype, affine=False)
    v.running_mean = v.running_var = None
    statistics = forward(F, layer, v)[1:]
    names = BACKWARD[layer.op]
    dx, *rest = outs(layer, names, dtype)
    for name, array in zip(names[1:], rest, strict=True):
        out = (dx, *(array if other is array else None for other in rest))
        refuse(ValueError, rf"\b{name}\b", lambda out=out: backward(F, layer, v, statistics, out=out), dx, array)


def test_unknown_and_missing_arguments():
    x = np.ones((4, 6))
    for call in (lambda: F.batch_norm(), lambda: F.layer_norm(x), lambda: F.group_norm(x), lambda: F.rms_norm(x)):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="epsilon"):
        F.layer_norm(x, 6, epsilon=1e-5)
    with pytest.raises(TypeError):
        F.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, 1)  # channel_axis is a keyword


def test_threads_far_out_of_range():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="threads is -"):
        F.layer_norm(x, 3, threads=-(10**30))
    assert F.layer_norm(x, 3, threads=10**30).shape == x.shape
