"""The compiled max pooling against its twin, slopes and PyTorch, and what it refuses."""

import itertools

import numpy as np
import pytest
from support.slopes import TOLERANCE, error, slopes

from streamnorm import _nn as kernels
from streamnorm.reference import convolution as twins
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 23
LIMITS = {np.float32: FLOAT32_TOLERANCE, np.float64: FLOAT64_TOLERANCE}
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])
NONE = ((0, 0), (0, 0))


def few_values(shape, dtype, seed=SEED):
    """Of which many are equal, and some are not numbers."""
    rng = np.random.default_rng(seed)
    hostile = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.0]
    return rng.choice(np.array(hostile, dtype), shape, p=[0.02, 0.02, 0.06, 0.1, 0.1, 0.2, 0.4, 0.1])


def check_like_twins(x, pool_size, strides, padding=NONE, threads=1):
    about = {"pool_size": pool_size, "strides": strides, "padding": padding}
    y, places = kernels.max_pool2d_forward(x, threads=threads, **about)
    wanted_y, wanted_places = twins.max_pool2d_forward(x, **about)
    case = f"{x.shape} {about}"
    assert y.dtype == x.dtype and places.dtype == np.int32
    np.testing.assert_array_equal(y, wanted_y, err_msg=case)
    np.testing.assert_array_equal(places, wanted_places, err_msg=case)
    alone, nothing = kernels.max_pool2d_forward(x, keep=False, **about)
    assert nothing is None and alone.tobytes() == y.tobytes()
    dy = np.random.default_rng(SEED).standard_normal(y.shape).astype(x.dtype)
    dx = kernels.max_pool2d_backward(dy, places, x.shape, threads=threads)
    assert dx.dtype == x.dtype
    assert error(dx, twins.max_pool2d_backward(dy, places, x.shape)) <= LIMITS[x.dtype.type], case


@kinds
@pytest.mark.parametrize("strides", list(itertools.product((1, 2, 3), repeat=2)), ids=str)
def test_windows_and_paddings_of_all_kinds_are_their_twins(strides, dtype):
    x = few_values((2, 5, 7, 3), dtype)
    for pool_size in itertools.product((1, 2, 3, 5), repeat=2):
        most = tuple(n - 1 for n in pool_size)
        for padding in (NONE, ((most[0] // 2,) * 2, (most[1] // 2,) * 2), ((0, most[0]), (most[1], 0))):
            check_like_twins(x, pool_size, strides, padding)


@kinds
@pytest.mark.parametrize("channels", [1, 2, 7, 15, 16, 17, 31, 32, 67])
def test_channels_of_any_number_are_their_twins(channels, dtype):
    check_like_twins(few_values((3, 7, 5, channels), dtype), (2, 2), (2, 2))
    check_like_twins(few_values((2, 5, 7, channels), dtype), (3, 2), (2, 1), ((1, 1), (0, 1)))


@kinds
def test_unusual_sizes_are_their_twins(dtype):
    check_like_twins(few_values((1, 1, 1, 1), dtype), (1, 1), (1, 1))
    check_like_twins(few_values((3, 5, 7, 3), dtype), (5, 7), (5, 7))  # the window is as large as the image
    check_like_twins(few_values((3, 1, 2, 3), dtype), (3, 3), (2, 2), ((1, 1), (1, 1)))  # and larger
    check_like_twins(few_values((2, 6, 8, 3), dtype), (2, 2), (5, 4))  # positions under no window
    check_like_twins(few_values((0, 5, 7, 3), dtype), (2, 2), (2, 2))
    check_like_twins(np.full((2, 4, 6, 19), -np.inf, dtype), (2, 2), (2, 2))
    check_like_twins(np.full((2, 4, 6, 19), np.nan, dtype), (2, 2), (2, 2))


def test_gradients_are_slopes():
    x = np.random.default_rng(SEED).permutation(2 * 5 * 7 * 3).reshape(2, 5, 7, 3) * 0.1
    about = {"pool_size": (3, 2), "strides": (2, 1), "padding": ((1, 1), (0, 1))}
    y, places = kernels.max_pool2d_forward(x, **about)
    dy = np.random.default_rng(SEED).standard_normal(y.shape)

    def number():
        return float((kernels.max_pool2d_forward(x, **about)[0] * dy).sum())

    assert error(kernels.max_pool2d_backward(dy, places, x.shape), slopes(number, x)) <= TOLERANCE


@kinds
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("pool_size", [(2, 2), (3, 3), (4, 2)], ids=str)
def test_results_are_pytorchs_bit_for_bit(pool_size, strides, padding, dtype):
    torch = pytest.importorskip("torch")
    for x in (few_values((2, 9, 7, 19), dtype), np.random.default_rng(SEED).standard_normal((2, 9, 7, 19), dtype)):
        y, places = kernels.max_pool2d_forward(
            x, pool_size=pool_size, strides=strides, padding=((padding, padding),) * 2
        )
        tx = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).requires_grad_()
        ty, tplaces = torch.nn.functional.max_pool2d(tx, pool_size, strides, padding, return_indices=True)
        np.testing.assert_array_equal(y, ty.detach().numpy().transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(places, tplaces.numpy().transpose(0, 2, 3, 1))
        dy = np.random.default_rng(SEED).integers(-8, 9, y.shape).astype(dtype)  # sums are exact
        ty.backward(torch.from_numpy(np.ascontiguousarray(dy.transpose(0, 3, 1, 2))))
        dx = kernels.max_pool2d_backward(dy, places, x.shape)
        np.testing.assert_array_equal(dx, tx.grad.numpy().transpose(0, 2, 3, 1))


@kinds
def test_threads_give_the_same_bits(dtype):
    x = np.random.default_rng(SEED).standard_normal((7, 61, 67, 19)).astype(dtype)
    about = {"pool_size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}
    y, places = kernels.max_pool2d_forward(x, threads=1, **about)
    dx = kernels.max_pool2d_backward(y, places, x.shape, threads=1)
    for threads in (2, 3, 4, None):
        again, where = kernels.max_pool2d_forward(x, threads=threads, **about)
        assert again.tobytes() == y.tobytes() and where.tobytes() == places.tobytes()
        assert kernels.max_pool2d_backward(y, places, x.shape, threads=threads).tobytes() == dx.tobytes()


@kinds
def test_results_go_where_they_are_wanted(dtype):
    x = few_values((2, 4, 6, 3), dtype)
    y, places = kernels.max_pool2d_forward(x, pool_size=(2, 2), strides=(2, 2))
    out = np.full_like(y, 7.0)
    assert kernels.max_pool2d_forward(x, pool_size=(2, 2), strides=(2, 2), out=out)[0] is out
    np.testing.assert_array_equal(out, y)
    dx = np.full_like(x, 7.0)
    assert kernels.max_pool2d_backward(out, places, x.shape, out=dx) is dx
    np.testing.assert_array_equal(dx, kernels.max_pool2d_backward(y, places, x.shape))


X, Y, PLACES = np.ones((2, 4, 6, 3)), np.ones((2, 2, 3, 3)), np.zeros((2, 2, 3, 3), np.int32)
READ_ONLY = np.ones((2, 2, 3, 3))
READ_ONLY.flags.writeable = False


def forward(x=X, pool_size=(2, 2), strides=(2, 2), **more):
    return kernels.max_pool2d_forward(x, pool_size=pool_size, strides=strides, **more)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: forward(X[0]), ValueError, r"x has shape \(4, 6, 3\); expected 4 dimensions"),
        (lambda: forward(X.astype(int)), TypeError, "x is of dtype int64"),
        (lambda: forward(X[:, ::2]), ValueError, "x is not C-contiguous"),
        (lambda: forward(X[..., :0].copy()), ValueError, "at least one row, column and channel"),
        (lambda: forward(pool_size=2), TypeError, "pool_size is 2; expected a pair"),
        (lambda: forward(pool_size=(0, 2)), ValueError, r"pool_size is \(0, 2\)"),
        (lambda: forward(strides=(1, True)), TypeError, "strides is True"),
        (lambda: forward(pool_size=(5, 2)), ValueError, "4 x 6 with its padding; expected at least the window's 5 x 2"),
        (lambda: forward(padding=((0, 2), (0, 0))), ValueError, "expected less than pool_size"),
        (lambda: forward(out=READ_ONLY), ValueError, "out is read-only"),
        (lambda: forward(out=np.ones((2, 2, 3, 2))), ValueError, r"expected \(2, 2, 3, 3\)"),
        (lambda: forward(out=X.reshape(-1)[:36].reshape(Y.shape)), ValueError, "shares memory"),
        (lambda: forward(threads=0), ValueError, "threads is 0"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES.astype(int), X.shape), TypeError, "int32"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES[:1], X.shape), ValueError, "places' array has shape"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES, (2, 4, 6)), ValueError, "expected 4 sizes"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES, (2, 4, 6, 4)), ValueError, "samples and channels of dy"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES + np.int32(24), X.shape), ValueError, "positions outside"),
        (lambda: kernels.max_pool2d_backward(Y, PLACES - np.int32(1), X.shape), ValueError, "positions outside"),
        (lambda: kernels.max_pool2d_backward(X, np.zeros(X.shape, np.int32), X.shape, out=X), ValueError, "shares"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
