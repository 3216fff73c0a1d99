"""The compiled convolution against its twin, slopes and PyTorch, at every instruction set, and what it refuses."""

import itertools
import sys

import numpy as np
import pytest
from support import conv, gemm
from support.slopes import TOLERANCE, error, slopes

from streamnorm import _nn as kernels
from streamnorm.reference import convolution as twins
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 19
LIMITS = {np.float32: FLOAT32_TOLERANCE, np.float64: FLOAT64_TOLERANCE}
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])
NONE = ((0, 0), (0, 0))


def same(size, kernel, strides):
    """TensorFlow's padding: the odd zero goes after."""
    needed = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    return tuple((zeros // 2, zeros - zeros // 2) for zeros in needed)


def problem(shape, filters, kernel, strides=(1, 1), padding=NONE, dtype=np.float64, seed=SEED):
    """x, weight, bias and dy."""
    rng = np.random.default_rng(seed)
    out = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(shape[1:3], padding, kernel, strides, strict=True)]
    shapes = shape, (*kernel, shape[3], filters), (filters,), (shape[0], *out, filters)
    return [rng.standard_normal(each).astype(dtype) for each in shapes]


def check_like_twins(shape, filters, kernel, strides=(1, 1), padding=NONE, dtype=np.float64, threads=1):
    x, weight, bias, dy = problem(shape, filters, kernel, strides, padding, dtype)
    about = {"strides": strides, "padding": padding}
    case = f"{shape} {filters} {kernel} {about} {threads} threads"
    limit = LIMITS[dtype]
    for b in (bias, None):
        y = kernels.conv2d_forward(x, weight, b, threads=threads, **about)
        assert y.dtype == dtype
        assert error(y, twins.conv2d_forward(x, weight, b, **about)) <= limit, case
    found = kernels.conv2d_backward(dy, x, weight, threads=threads, **about)
    wanted = twins.conv2d_backward(dy, x, weight, **about)
    for name, one, other in zip(("dx", "dweight", "dbias"), found, wanted, strict=True):
        assert one.dtype == dtype
        assert error(one, other) <= limit, f"{name} of {case}"
    some = kernels.conv2d_backward(dy, x, weight, threads=threads, bias=False, dx=False, **about)
    assert some[0] is None and some[2] is None
    np.testing.assert_array_equal(some[1], found[1])


# ---------------------------------------------------------------- twins


@kinds
@pytest.mark.parametrize("strides", list(itertools.product((1, 2, 3), repeat=2)), ids=str)
def test_kernels_and_paddings_of_all_kinds_are_their_twins(strides, dtype):
    for kernel in itertools.product((1, 2, 3, 4, 5), repeat=2):
        for size in ((7, 11), (6, 8)):
            for padding in (NONE, same(size, kernel, strides), ((1, 1), (2, 2)), ((0, 3), (2, 0))):
                check_like_twins((2, *size, 3), 5, kernel, strides, padding, dtype)


@kinds
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16, 17, 31])
@pytest.mark.parametrize("filters", [1, 3, 8, 16, 23, 32, 37, 67])
def test_channels_and_filters_of_any_number_are_their_twins(channels, filters, dtype):
    check_like_twins((3, 7, 5, channels), filters, (3, 2), dtype=dtype)
    check_like_twins((2, 5, 7, channels), filters, (3, 3), (2, 1), ((1, 1), (1, 1)), dtype=dtype)


@kinds
@pytest.mark.parametrize("width", range(1, 48))
def test_rows_of_any_length_are_their_twins(width, dtype):
    check_like_twins((1, 2, width, 2), 3, (2, 1), dtype=dtype)
    check_like_twins((1, 3, width, 1), 35, (3, 3), padding=((1, 1), (1, 1)), dtype=dtype)


@kinds
@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "strides", "padding"),
    [
        ((1, 1, 1, 1), 1, (1, 1), (1, 1), NONE),
        ((1, 5, 7, 3), 11, (5, 7), (1, 1), NONE),  # the kernel is as large as the image
        ((1, 5, 7, 3), 11, (5, 7), (3, 2), NONE),
        ((3, 1, 1, 2), 5, (3, 5), (1, 1), ((1, 1), (2, 2))),  # and larger
        ((2, 3, 2, 3), 5, (2, 2), (1, 1), ((7, 5), (6, 4))),  # outputs over zeros alone
        ((2, 3, 2, 3), 5, (1, 1), (3, 4), ((7, 5), (6, 4))),
        ((2, 13, 17, 3), 5, (2, 2), (5, 7), NONE),  # positions of x that no kernel is over
        ((300, 1, 1, 3), 7, (1, 1), (1, 1), NONE),
        ((150, 1, 2, 3), 7, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((40, 2, 3, 3), 7, (2, 2), (2, 2), ((0, 1), (1, 1))),
        ((2, 3, 331, 2), 3, (2, 3), (1, 2), ((1, 0), (1, 1))),
        ((1, 4, 1201, 1), 1, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((2, 5, 4, 521), 33, (3, 3), (1, 1), ((1, 1), (1, 1))),  # sums in several chains
        ((3, 9, 8, 3), 1031, (3, 3), (2, 2), ((1, 0), (1, 0))),
        ((37, 11, 13, 7), 19, (3, 3), (1, 1), NONE),
        ((8, 29, 31, 5), 17, (3, 3), (1, 1), ((1, 1), (1, 1))),
    ],
    ids=str,
)
def test_unusual_sizes_are_their_twins(shape, filters, kernel, strides, padding, dtype):
    check_like_twins(shape, filters, kernel, strides, padding, dtype)
    check_like_twins(shape, filters, kernel, strides, padding, dtype, threads=3)


@kinds
def test_no_samples(dtype):
    x, weight, bias, dy = problem((0, 5, 7, 3), 4, (3, 3), dtype=dtype)
    assert kernels.conv2d_forward(x, weight, bias).shape == (0, 3, 5, 4)
    dx, dweight, dbias = kernels.conv2d_backward(dy, x, weight)
    assert dx.shape == x.shape
    assert not dweight.any() and not dbias.any()


# ---------------------------------------------------------------- slopes and PyTorch


@pytest.mark.parametrize("padding", [NONE, ((1, 2), (0, 1))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)], ids=str)
def test_gradients_are_slopes(strides, padding):
    x, weight, bias, dy = problem((2, 5, 7, 3), 2, (3, 2), strides, padding)

    def number():
        return float((kernels.conv2d_forward(x, weight, bias, strides=strides, padding=padding) * dy).sum())

    found = kernels.conv2d_backward(dy, x, weight, strides=strides, padding=padding)
    for gradient, array in zip(found, (x, weight, bias), strict=True):
        assert error(gradient, slopes(number, array)) <= TOLERANCE


@kinds
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3), (3, 2)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 4), (1, 2)], ids=str)
def test_results_are_pytorchs(kernel, strides, padding, dtype):
    torch = pytest.importorskip("torch")
    both = ((padding, padding),) * 2
    x, weight, bias, dy = problem((3, 11, 13, 7), 17, kernel, strides, both, dtype)
    tx, tweight, tbias = (torch.from_numpy(each.astype(np.float64)).requires_grad_() for each in (x, weight, bias))
    ty = torch.nn.functional.conv2d(
        tx.permute(0, 3, 1, 2), tweight.permute(3, 2, 0, 1), tbias, stride=strides, padding=padding
    ).permute(0, 2, 3, 1)
    ty.backward(torch.from_numpy(dy.astype(np.float64)))
    y = kernels.conv2d_forward(x, weight, bias, strides=strides, padding=both)
    assert error(y, ty.detach().numpy()) <= LIMITS[dtype]
    found = kernels.conv2d_backward(dy, x, weight, strides=strides, padding=both)
    for one, other in zip(found, (tx, tweight, tbias), strict=True):
        assert error(one, other.grad.numpy()) <= LIMITS[dtype]


# ---------------------------------------------------------------- threads, NaN and arrays


@kinds
@pytest.mark.parametrize("padding", [NONE, ((1, 1), (1, 1))], ids=str)
@pytest.mark.parametrize("shape", [(1, 61, 67, 5), (37, 17, 19, 3), (5, 31, 29, 7)], ids=str)
def test_threads_give_the_same_bits(shape, padding, dtype):
    x, weight, bias, dy = problem(shape, 37, (3, 3), (1, 1), padding, dtype)
    one = kernels.conv2d_forward(x, weight, bias, padding=padding, threads=1)
    gradients = kernels.conv2d_backward(dy, x, weight, padding=padding, threads=1)
    for threads in (2, 3, 4, None):
        again = kernels.conv2d_forward(x, weight, bias, padding=padding, threads=threads)
        assert again.tobytes() == one.tobytes()
        for a, b in zip(
            kernels.conv2d_backward(dy, x, weight, padding=padding, threads=threads), gradients, strict=True
        ):
            assert a.tobytes() == b.tobytes()


@pytest.mark.skipif(
    sys.platform == "win32" or not gemm.CSRC.exists() or conv.library() is None,
    reason="no C compiler, or no source, to build the kernels from",
)
@kinds
@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "strides", "padding"),
    [
        ((2, 5, 7, 3), 11, (3, 3), (1, 1), NONE),
        ((3, 6, 41, 5), 32, (3, 2), (1, 1), ((1, 0), (0, 1))),
        ((3, 7, 9, 4), 37, (4, 3), (2, 3), ((2, 1), (1, 1))),
        ((20, 5, 4, 17), 16, (2, 2), (1, 2), NONE),
        ((2, 5, 6, 1), 1, (5, 6), (1, 1), NONE),
        ((2, 4, 3, 401), 7, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((2, 9, 11, 64), 67, (3, 3), (1, 1), NONE),
    ],
    ids=str,
)
def test_instruction_sets_give_the_same_bits_and_touch_nothing_else(shape, filters, kernel, strides, padding, dtype):
    x, weight, bias, dy = problem(shape, filters, kernel, strides, padding, dtype)
    about = {"strides": strides, "padding": padding}
    wanted = twins.conv2d_forward(x, weight, bias, **about), *twins.conv2d_backward(dy, x, weight, **about)
    by_fusing = {}
    for level in gemm.levels():
        for at_end, threads in ((True, 1), (False, 1), (True, 3)):
            more = {"level": level, "at_end": at_end, "threads": threads}
            y = conv.forward(x, weight, bias, strides, padding, **more)
            found = y, *conv.backward(dy, x, weight, strides, padding, **more)
            first = by_fusing.setdefault(gemm.is_fused(level), found)
            for one, other, right in zip(found, first, wanted, strict=True):
                assert one.tobytes() == other.tobytes(), more
                assert error(one, right) <= LIMITS[dtype], more


@kinds
def test_a_sample_does_not_depend_on_the_others(dtype):
    x, weight, bias, dy = problem((23, 9, 8, 3), 21, (3, 3), dtype=dtype)
    y, (dx, _, _) = kernels.conv2d_forward(x, weight, bias), kernels.conv2d_backward(dy, x, weight)
    for some in (slice(0, 1), slice(5, 8), slice(22, 23)):
        assert kernels.conv2d_forward(x[some], weight, bias).tobytes() == y[some].tobytes()
        assert kernels.conv2d_backward(dy[some], x[some], weight)[0].tobytes() == dx[some].tobytes()


@kinds
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", [NONE, ((1, 1), (1, 1))], ids=str)
def test_nan_and_infinities_go_where_they_belong_and_no_further(padding, bad, dtype):
    for filters in (3, 16, 40):
        x, weight, bias, dy = problem((3, 8, 9, 4), filters, (3, 3), (1, 1), padding, dtype)
        x[1, 3, 4, 2] = bad
        found = kernels.conv2d_forward(x, weight, bias, padding=padding)
        wanted = twins.conv2d_forward(x, weight, bias, padding=padding)
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
        assert np.isfinite(found).any() and not np.isfinite(found).all()
        for wrong in (x, dy):
            x[...], dy[...] = (np.where(np.isfinite(each), each, 1.0) for each in (x, dy))
            wrong[1, 3, 4, 2] = bad
            gradients = zip(
                kernels.conv2d_backward(dy, x, weight, padding=padding),
                twins.conv2d_backward(dy, x, weight, padding=padding),
                strict=True,
            )
            for one, other in gradients:
                np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))


@kinds
def test_results_go_where_they_are_wanted(dtype):
    x, weight, bias, dy = problem((3, 8, 9, 4), 5, (3, 3), dtype=dtype)
    y, gradients = kernels.conv2d_forward(x, weight, bias), kernels.conv2d_backward(dy, x, weight)
    out = np.full_like(y, 7.0)
    assert kernels.conv2d_forward(x, weight, bias, out=out) is out
    np.testing.assert_array_equal(out, y)
    outs = tuple(np.full_like(each, 7.0) for each in gradients)
    for one, wanted, other in zip(kernels.conv2d_backward(dy, x, weight, out=outs), outs, gradients, strict=True):
        assert one is wanted
        np.testing.assert_array_equal(one, other)
    dx, dweight, dbias = kernels.conv2d_backward(dy, x, weight, out=(None, outs[1], None))
    assert dweight is outs[1] and dx is not outs[0] and dbias is not outs[2]


X, W = np.ones((2, 5, 6, 3)), np.ones((3, 3, 3, 4))
READ_ONLY = np.ones((2, 3, 4, 4))
READ_ONLY.flags.writeable = False
BIG = np.ones(2 * 5 * 6 * 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: kernels.conv2d_forward(X[0], W), ValueError, r"x has shape \(5, 6, 3\); expected 4 dimensions"),
        (lambda: kernels.conv2d_forward(X, W[0]), ValueError, r"weight has shape \(3, 3, 4\); expected 4 dimensions"),
        (lambda: kernels.conv2d_forward(X, W[:, :, :2].copy()), ValueError, "expected 2 channels"),
        (lambda: kernels.conv2d_forward(X, W[:, :, :, :0].copy()), ValueError, "at least 1 along each axis"),
        (lambda: kernels.conv2d_forward(X[:, :0].copy(), W), ValueError, "at least one row, column and channel"),
        (lambda: kernels.conv2d_forward(X, W.astype(np.float32)), TypeError, "weight has dtype float32"),
        (lambda: kernels.conv2d_forward(X.astype(int), W), TypeError, "x is of dtype int64"),
        (lambda: kernels.conv2d_forward(X[:, :, ::2], W), ValueError, "x is not C-contiguous"),
        (lambda: kernels.conv2d_forward(X, W, np.ones(3)), ValueError, r"bias has shape \(3,\); expected \(4,\)"),
        (lambda: kernels.conv2d_forward(X[:, :2].copy(), W), ValueError, "2 x 6 with its padding; expected at least"),
        (lambda: kernels.conv2d_forward(X, W, strides=2), TypeError, "strides is 2; expected a pair"),
        (lambda: kernels.conv2d_forward(X, W, strides=(1, 0)), ValueError, r"strides is \(1, 0\); expected a pair"),
        (lambda: kernels.conv2d_forward(X, W, strides=(1, 1.5)), TypeError, "strides is 1.5; expected a pair"),
        (lambda: kernels.conv2d_forward(X, W, strides=(1, 2**40)), ValueError, "strides"),
        (lambda: kernels.conv2d_forward(X, W, padding=1), TypeError, r"padding is 1; expected \(\(top"),
        (lambda: kernels.conv2d_forward(X, W, padding=((0, 0), (0, -1))), ValueError, "padding is"),
        (lambda: kernels.conv2d_forward(X, W, threads=0), ValueError, "threads is 0"),
        (lambda: kernels.conv2d_forward(X, W, out=np.ones((2, 3, 4, 3))), ValueError, r"expected \(2, 3, 4, 4\)"),
        (lambda: kernels.conv2d_forward(X, W, out=READ_ONLY), ValueError, "out is read-only"),
        (
            lambda: kernels.conv2d_forward(BIG.reshape(X.shape), W, out=BIG[: READ_ONLY.size].reshape(READ_ONLY.shape)),
            ValueError,
            "shares memory",
        ),
        (lambda: kernels.conv2d_backward(np.ones((2, 3, 4, 5)), X, W), ValueError, r"dy has shape.*\(2, 3, 4, 4\)"),
        (lambda: kernels.conv2d_backward(READ_ONLY, X, W, out=(X, None, None)), ValueError, "shares memory"),
        (lambda: kernels.conv2d_backward(READ_ONLY, X, W, out=(None, W, None)), ValueError, "shares memory"),
        (
            lambda: kernels.conv2d_backward(READ_ONLY, X, W, out=(None, BIG[:108].reshape(W.shape), BIG[107:111])),
            ValueError,
            "shares memory",
        ),
        (lambda: kernels.conv2d_backward(READ_ONLY, X, W, out=(X, W)), ValueError, "tuple of 2"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
