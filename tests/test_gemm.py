"""The C matrix product: an element's bits are those of a plain loop, for any shape, strides, processor and threads."""

import ctypes
import sys
import threading

import numpy as np
import pytest
from support import gemm

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not gemm.CSRC.exists() or gemm.library() is None,
    reason="no C compiler, or no source, to build the product from",
)

DTYPES = [np.float32, np.float64]
FORMS = ["rows", "columns", "padded", "spread"]
# A sum of up to BLOCK products rounds once for each of them, and blocks are added up; the first is exact.
ROUNDINGS = gemm.BLOCK + 2


def matrix(rng, rows, columns, form, dtype):
    """Random values in one of the ways that a matrix may lie in memory."""
    if form == "rows":
        return rng.standard_normal((rows, columns)).astype(dtype)
    if form == "columns":
        return rng.standard_normal((columns, rows)).astype(dtype).T
    if form == "padded":
        return rng.standard_normal((rows + 1, columns + 3)).astype(dtype)[1:, 2:-1]
    return rng.standard_normal((rows, 2 * columns + 1)).astype(dtype)[:, 1::2]


def check_like_reference(c, a, b, bias, add, threads=(1,)):
    """All of `c`'s buffer, its margins too, are bit for bit what the plain loop leaves, at each level."""
    for level in gemm.levels():
        expected = c.copy()
        gemm.reference(expected[:, : b.shape[1]], a, b, bias, add=add, fused=gemm.is_fused(level))
        for count in threads:
            got = c.copy()
            gemm.multiply(got[:, : b.shape[1]], a, b, bias, add=add, threads=count, level=level)
            np.testing.assert_array_equal(got, expected, err_msg=f"level {level}, {count} threads")
            # Zeros' signs, too; not NaN's, which depends on the order of an addition's operands.
            np.testing.assert_array_equal(np.signbit(got) & ~np.isnan(got), np.signbit(expected) & ~np.isnan(got))


def check_random(rng, m, n, k, dtype, threads=(1,)):
    a, b = (matrix(rng, *shape, rng.choice(FORMS), dtype) for shape in ((m, k), (k, n)))
    c = rng.standard_normal((m, n + int(rng.integers(3)))).astype(dtype)
    add = bool(rng.integers(2))
    bias = None if add or rng.integers(2) else rng.standard_normal(n).astype(dtype)
    check_like_reference(c, a, b, bias, add, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(4))
def test_small_products_have_the_bits_of_a_plain_loop(seed, dtype):
    rng = np.random.default_rng(seed)
    for _ in range(150):
        check_random(rng, *rng.integers(0, 71, 3), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 5, 31, 64, 257, 331])
def test_rows_columns_and_long_sums_have_the_bits_of_a_plain_loop(size, dtype):
    rng = np.random.default_rng(size)
    for long in (1, 127, 255, 256, 257, 613):
        for shape in ((1, size, long), (size, 1, long), (3, size, long), (1, long, size), (size, long, 1)):
            check_random(rng, *shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, n, k", [(257, 263, 131), (61, 1103, 149), (541, 67, 277), (33, 17, 16411), (2, 1201, 2003)]
)
def test_large_products_have_the_bits_of_a_plain_loop_for_any_threads(m, n, k, dtype):
    rng = np.random.default_rng(m)
    for _ in range(3):
        check_random(rng, m, n, k, dtype, threads=(1, 2, 3, 5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m, n, k", [(32, 64, 64), (67, 71, 509), (211, 223, 1009)])
def test_error_is_within_the_bound_of_the_sums(m, n, k, dtype):
    rng = np.random.default_rng(k)
    a, b = (matrix(rng, *shape, "rows", dtype) for shape in ((m, k), (k, n)))
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    c = np.empty((m, n), dtype)
    for level in gemm.levels():
        gemm.multiply(c, a, b, level=level)
        assert (np.abs(c - exact) <= (ROUNDINGS + k / gemm.BLOCK) * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_infinities_zeros_and_denormals_go_the_way_of_the_plain_loop(dtype):
    rng = np.random.default_rng(5)
    tiny = np.finfo(dtype).smallest_subnormal
    hostile = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, np.finfo(dtype).max, 1.0, -3.0], dtype)
    for m, n, k in ((13, 37, 11), (1, 40, 9), (40, 1, 9), (64, 64, 3), (211, 203, 197)):
        a, b = (rng.choice(hostile, shape, p=[0.01] * 3 + [0.97 / 7] * 7) for shape in ((m, k), (k, n)))
        check_like_reference(np.zeros((m, n), dtype), a, b, None, False)
        check_like_reference(rng.choice(hostile, (m, n)), a.T.copy().T, b.T.copy().T, None, True)
    zeros = np.zeros((4, 4), dtype)
    c = np.zeros((4, 4), dtype)
    gemm.multiply(c, zeros, np.full((4, 4), np.inf, dtype))
    assert np.isnan(c).all()  # no zero was skipped


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("at_end", [False, True])
def test_nothing_outside_the_matrices_is_touched(at_end, dtype):
    rng = np.random.default_rng(7)
    sizes = [*rng.integers(1, 40, (60, 3)), (1, 37, 300), (45, 1, 67), (9, 20, 260), (222, 233, 201)]
    for m, n, k in sizes:
        for a_turned, b_turned in ((0, 0), (0, 1), (1, 0), (1, 1)):
            a = gemm.guarded(rng.standard_normal((k, m) if a_turned else (m, k)).astype(dtype), at_end=at_end)
            b = gemm.guarded(rng.standard_normal((n, k) if b_turned else (k, n)).astype(dtype), at_end=at_end)
            a, b = a.T if a_turned else a, b.T if b_turned else b
            bias = gemm.guarded(rng.standard_normal(n).astype(dtype), at_end=at_end)
            c = gemm.guarded(np.zeros((m, n), dtype), at_end=at_end)
            shape = gemm.shape_of(c, a, b, bias, threads=2)
            size = gemm.library().sn_gemm_workspace(ctypes.byref(shape), c.itemsize)
            assert size % 64 == 0
            workspace = gemm.guarded(np.zeros(size, np.uint8), at_end=at_end)
            for level in gemm.levels():
                gemm.multiply(c, a, b, bias, threads=2, level=level, workspace=workspace)
                expected = np.empty_like(c)
                gemm.reference(expected, a, b, bias, fused=gemm.is_fused(level))
                np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_the_product_does_not_depend_on_the_other_rows(dtype):
    rng = np.random.default_rng(11)
    a, b = (matrix(rng, *shape, form, dtype) for shape, form in (((300, 290), "rows"), ((290, 181), "columns")))
    whole = np.empty((300, 181), dtype)
    gemm.multiply(whole, a, b)
    for rows in (slice(0, 1), slice(17, 19), slice(250, 290)):
        some = np.empty_like(whole[rows])
        gemm.multiply(some, a[rows], b)
        np.testing.assert_array_equal(some, whole[rows])


def test_small_products_want_no_workspace_and_large_ones_no_more_than_some_megabytes_a_thread():
    for m, n, k in ((0, 5, 5), (32, 64, 64), (64, 64, 64), (1, 4096, 64)):
        shape = gemm.Shape(m, n, k, threads=4)
        assert gemm.library().sn_gemm_workspace(ctypes.byref(shape), 4) == 0
    shape = gemm.Shape(10**6, 10**4, 10**4, threads=3)
    assert 0 < gemm.library().sn_gemm_workspace(ctypes.byref(shape), 8) < 3 * 2 * 2**20


def test_the_library_chooses_the_widest_level_also_for_several_first_callers():
    rng = np.random.default_rng(13)
    a, b = (matrix(rng, 130, 130, "rows", np.float32) for _ in range(2))
    results = [np.empty((130, 130), np.float32) for _ in range(4)]
    callers = [threading.Thread(target=gemm.multiply, args=(c, a, b), kwargs={"threads": 2}) for c in results]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    expected = np.empty_like(results[0])
    gemm.multiply(expected, a, b, level=max(gemm.levels()))
    for c in results:
        np.testing.assert_array_equal(c, expected)
