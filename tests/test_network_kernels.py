"""The compiled layers, losses and optimizers against their twins, longer numbers and PyTorch's formulas."""

import math

import numpy as np
import pytest

from streamnorm import _nn as kernels
from streamnorm.reference import network as twins

TYPES = (np.float32, np.float64)
TOLERANCE = {np.float32: twins.FLOAT32_TOLERANCE, np.float64: twins.FLOAT64_TOLERANCE}
MOST_ULP = {np.float32: 2.0, np.float64: 2.5}  # of tanh and the logistic function, anywhere
HOSTILE = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 88.0, -88.0, 104.0, -104.0, 1e-8, 0.5]
KINDS = [("squared", 0.0), ("absolute", 0.0), ("huber", 0.7), ("quantile", 0.8), ("binary", 0.0), ("softmax", 0.0)]


def close(found, wanted, dtype, what, factor=1.0):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, what
    size = max(1e-300, np.abs(wanted).max(initial=0.0))
    assert np.abs(found - wanted).max(initial=0.0) <= factor * TOLERANCE[dtype] * size, what


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (32, 10, 64), (33, 7, 5), (2, 130, 129), (0, 3, 2), (5, 1, 300)])
def test_dense_layers_are_their_twins(dtype, shape):
    n, n_in, n_out = shape
    rng = np.random.default_rng(sum(shape))
    x, weight = rng.standard_normal((n, n_in)).astype(dtype), rng.standard_normal((n_out, n_in)).astype(dtype)
    bias, dy = rng.standard_normal(n_out).astype(dtype), rng.standard_normal((n, n_out)).astype(dtype)
    for b in (bias, None):
        y = kernels.dense_forward(x, weight, b)
        close(y, twins.dense_forward(x, weight, b), dtype, shape)
        out = np.empty_like(y)
        assert kernels.dense_forward(x, weight, b, out=out, threads=2) is out
        assert out.tobytes() == y.tobytes()
    for found, wanted in zip(kernels.dense_backward(dy, x, weight), twins.dense_backward(dy, x, weight), strict=True):
        close(found, wanted, dtype, shape, 2.0)
    dx, _, dbias = kernels.dense_backward(dy, x, weight, bias=False, dx=False)
    assert dx is None
    assert dbias is None


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_functions_are_right_to_the_last_digits(dtype, name):
    rng = np.random.default_rng(5)
    spread = [rng.uniform(-a, a, 4000) for a in (1e-6, 0.5, 3.0, 20.0, 110.0, 800.0)]
    x = np.concatenate([*spread, HOSTILE, np.geomspace(1e-37, 1.0, 500)]).astype(dtype)
    wide = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(wide))
        exact = np.tanh(wide) if name == "tanh" else np.where(wide < 0, small, np.longdouble(1)) / (1 + small)
    found = getattr(kernels, f"{name}_forward")(x)
    assert np.array_equal(np.isnan(found), np.isnan(x))
    assert np.array_equal(np.signbit(found), np.signbit(x) if name == "tanh" else np.zeros(len(x), bool) | np.isnan(x)
                          & np.signbit(found))  # fmt: skip
    keep = ~np.isnan(x)
    ulp = np.spacing(np.maximum(np.abs(exact[keep]).astype(dtype), np.finfo(dtype).tiny)).astype(np.longdouble)
    error = np.abs(found[keep].astype(np.longdouble) - exact[keep]) / ulp
    assert error.max() <= MOST_ULP[dtype], (x[keep][error.argmax()], float(error.max()))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_activations_are_their_twins_and_work_in_place(dtype, name):
    rng = np.random.default_rng(7)
    forward, backward = getattr(kernels, f"{name}_forward"), getattr(kernels, f"{name}_backward")
    for n in (0, 1, 15, 16, 17, 1000):
        x, dy = rng.standard_normal((2, n)).astype(dtype)
        x[: min(n, len(HOSTILE))] = HOSTILE[: min(n, len(HOSTILE))]
        y = forward(x)
        wanted = getattr(twins, f"{name}_forward")(x)
        assert np.array_equal(np.isnan(y), np.isnan(wanted))
        close(np.where(np.isinf(wanted), 0, np.nan_to_num(y)), np.where(np.isinf(wanted), 0, np.nan_to_num(wanted)),
              dtype, n)  # fmt: skip
        dx = backward(dy, y)
        close(np.nan_to_num(dx), np.nan_to_num(getattr(twins, f"{name}_backward")(dy, y)), dtype, n)
        again = dy.copy()
        assert backward(again, y, again) is again
        assert again.tobytes() == dx.tobytes()
        again = x.copy()
        assert forward(again, out=again).tobytes() == y.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_dropout_has_the_bits_of_its_twin(dtype, p):
    for n, seed, step in ((0, 0, 0), (1, 1, 2), (1001, 2**63 + 5, 10**12), (4096, 17, 3)):
        x = np.random.default_rng(n).standard_normal(n).astype(dtype)
        assert kernels.dropout_forward(x, p, seed, step).tobytes() == twins.dropout_forward(x, p, seed, step).tobytes()
        dx = kernels.dropout_backward(x, p, seed, step)
        assert dx.tobytes() == kernels.dropout_forward(x, p, seed, step).tobytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_embeddings_are_their_twins(dtype):
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((2, 5, 3)).astype(dtype)
    x = np.concatenate([rng.standard_normal((11, 4)), rng.integers(0, 5, (11, 2))], axis=1).astype(dtype)
    assert kernels.embedding_forward(x, weight).tobytes() == twins.embedding_forward(x, weight).tobytes()
    dy = rng.standard_normal((11, 10)).astype(dtype)
    for found, wanted in zip(kernels.embedding_backward(dy, x, weight), twins.embedding_backward(dy, x, weight),
                             strict=True):  # fmt: skip
        close(found, wanted, dtype, "embedding")
    for code in (-1.0, 5.0, 0.5, np.nan, np.inf):
        bad = x.copy()
        bad[7, 5] = code
        with pytest.raises(ValueError, match="row 7 of x"):
            kernels.embedding_forward(bad, weight)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("kind", "parameter"), KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (32, 1), (100, 7), (300, 2)])
def test_losses_are_their_twins(dtype, kind, parameter, shape):
    rng = np.random.default_rng(shape[0])
    prediction = (4 * rng.standard_normal(shape)).astype(dtype)
    target = rng.standard_normal(shape).astype(dtype)
    if kind == "binary":
        target = rng.integers(0, 2, shape).astype(dtype)
    elif kind == "softmax":
        target = rng.integers(0, shape[1], shape[0])
    else:
        target[0] = prediction[0]
    for weight in (None, rng.uniform(0, 2, shape[0]).astype(dtype), np.zeros(shape[0], dtype)):
        args = kind, prediction, target, parameter, weight
        assert math.isclose(kernels.loss_forward(*args), twins.loss_forward(*args), rel_tol=1e-13, abs_tol=1e-15)
        gradient = kernels.loss_backward(*args)
        close(gradient, twins.loss_backward(*args), dtype, (kind, shape))
        if weight is None and dtype is np.float64 and kind != "softmax":
            h = 1e-6
            up, down = prediction.copy(), prediction.copy()
            up[-1, -1] += h
            down[-1, -1] -= h
            slope = (kernels.loss_forward(kind, up, target, parameter)
                     - kernels.loss_forward(kind, down, target, parameter)) / (2 * h)  # fmt: skip
            at_kink = kind in ("absolute", "quantile") and shape[0] == 1
            assert at_kink or math.isclose(slope, gradient[-1, -1], rel_tol=1e-5, abs_tol=1e-8)


def test_losses_of_large_logits_are_finite_and_nan_travels():
    for kind, target in (("binary", np.array([[1.0, 0.0]])), ("softmax", np.array([1]))):
        assert kernels.loss_forward(kind, np.array([[1e5, -1e5]]), target) < 3e5
        assert np.isfinite(kernels.loss_backward(kind, np.array([[1e5, -1e5]]), target)).all()
        assert math.isnan(kernels.loss_forward(kind, np.array([[np.nan, 1.0]]), target))
    for kind, parameter in KINDS[:4]:
        assert math.isnan(kernels.loss_forward(kind, np.array([np.nan, 1.0]), np.ones(2), parameter))
        assert np.isnan(kernels.loss_backward(kind, np.array([np.nan, 1.0]), np.ones(2), parameter)[0])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("settings", [(0.0, False, 0.0), (0.9, False, 0.1), (0.9, True, 0.0)])
def test_sgd_is_its_twin(dtype, settings):
    rng = np.random.default_rng(11)
    p, v = rng.standard_normal((2, 1003)).astype(dtype)
    twin_p, twin_v = p.copy(), v.copy()
    for scale in (1.0, 0.25):
        g = rng.standard_normal(1003).astype(dtype)
        kernels.sgd_step(p, g, v, 0.1, *settings, scale)
        twins.sgd_step(twin_p, g, twin_v, 0.1, *settings, scale)
    close(p, twin_p, dtype, settings)
    close(v, twin_v, dtype, settings)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("decay", [(0.0, False), (0.1, False), (0.1, True)])
def test_adam_is_its_twin(dtype, decay):
    rng = np.random.default_rng(13)
    p = rng.standard_normal(1003).astype(dtype)
    m, v = np.zeros((2, 1003), dtype)
    arrays, twin = (p, m, v), tuple(array.copy() for array in (p, m, v))
    for step in (1, 2, 3, 1000):
        g = rng.standard_normal(1003).astype(dtype)
        kernels.adam_step(p, g, m, v, step, 0.01, 0.9, 0.999, 1e-8, *decay, 0.5)
        twins.adam_step(twin[0], g, twin[1], twin[2], step, 0.01, 0.9, 0.999, 1e-8, *decay, 0.5)
    for found, wanted in zip(arrays, twin, strict=True):
        close(found, wanted, dtype, decay)


@pytest.mark.parametrize("dtype", TYPES)
def test_square_norm_is_summed_in_double(dtype):
    x = np.full(1001, 1e30, dtype)
    assert math.isclose(kernels.square_norm(x), 1001 * float(x[0]) ** 2, rel_tol=1e-13)
    assert kernels.square_norm(np.empty(0, dtype)) == 0.0


def test_what_is_no_plain_array_is_refused():
    x, weight = np.ones((4, 3), np.float32), np.ones((2, 3), np.float32)
    readonly = np.ones((4, 2), np.float32)
    readonly.flags.writeable = False
    with pytest.raises(ValueError, match="not C-contiguous"):
        kernels.dense_forward(np.ones((3, 4), np.float32).T, weight)
    with pytest.raises(TypeError, match="expected float32"):
        kernels.dense_forward(x, weight.astype(np.float64))
    with pytest.raises(TypeError, match="int64"):
        kernels.relu_forward(np.ones(3, np.int64))
    with pytest.raises(ValueError, match="3 columns"):
        kernels.dense_forward(np.ones((4, 5), np.float32), weight)
    with pytest.raises(ValueError, match="read-only"):
        kernels.dense_forward(x, weight, out=readonly)
    with pytest.raises(ValueError, match="shares memory"):
        kernels.dense_forward(x, np.ones((3, 3), np.float32), out=x)
    with pytest.raises(ValueError, match="read-only"):
        kernels.sgd_step(readonly, readonly, None, 0.1)
    with pytest.raises(ValueError, match="kind is 'cubic'"):
        kernels.loss_forward("cubic", x, x)
    with pytest.raises(ValueError, match="number of a class"):
        kernels.loss_forward("softmax", x, np.array([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="p is 1.5"):
        kernels.dropout_forward(x, 1.5, 0, 0)
    with pytest.raises(ValueError, match="step is 0"):
        kernels.adam_step(x, x, x, x, 0, 0.1)
    assert kernels.dense_forward(readonly, np.ones((1, 2), np.float32)).tolist() == [[2.0]] * 4
