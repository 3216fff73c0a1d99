# cython: language_level=3, boundscheck=False, wraparound=False
"""Statistics and the map of streamnorm called from Cython, without the global lock and without a header to look for."""
from libc.stdint cimport int64_t

from streamnorm._core cimport ColumnStats, affine_float64, column_update_float64


def standardized(const double[::1] values, int64_t block=4096):
    """Mean and standard deviation of an array that is fed block by block, and the array standardized by them."""
    cdef ColumnStats stats = ColumnStats()
    cdef int64_t n = values.shape[0], start = 0, length
    cdef int status = 0
    cdef double center, scale
    from array import array
    cdef double[::1] out = array("d", bytes(8 * n))
    if n == 0:
        raise ValueError("there are no values")
    with nogil:  # other threads go on meanwhile
        while start < n and status == 0:
            length = min(block, n - start)
            status = column_update_float64(stats, &values[start], NULL, 0, length)
            start += length
    if status:
        raise MemoryError
    center, scale = stats.mean, stats.std()
    with nogil:
        affine_float64(&out[0], &values[0], n, center, scale, 0.0)
    return center, scale, out
