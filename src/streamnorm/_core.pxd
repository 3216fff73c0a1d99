# cython: language_level=3
"""What other Cython code may cimport: the column accumulator and kernels that hold no GIL.

No header of ours is needed to compile against this file; ``tests/test_cimport.py`` builds a module that uses it.
"""
from libc.stdint cimport int64_t, uint8_t

cdef extern from *:
    """
    typedef struct sn_column sn_column;
    """
    ctypedef struct sn_column

cdef class ColumnStats:
    cdef sn_column *_column
    cdef object _lock

# `validity` is an Arrow bitmap (NULL: no nulls) read from bit `offset` on. Returns 0, or a nonzero status when memory
# ran out or the column holds decimals. The caller sees to it that no other thread uses `column` meanwhile.
cdef int column_update_float64(ColumnStats column, const double *values, const uint8_t *validity, int64_t offset,
                               int64_t length) noexcept nogil
cdef int column_update_float32(ColumnStats column, const float *values, const uint8_t *validity, int64_t offset,
                               int64_t length) noexcept nogil
cdef int column_update_int64(ColumnStats column, const int64_t *values, const uint8_t *validity, int64_t offset,
                             int64_t length) noexcept nogil

# out[i] = (x[i] - center) / scale + offset; out may be x.
cdef void affine_float64(double *out, const double *x, int64_t length, double center, double scale,
                         double offset) noexcept nogil
cdef void affine_float32(float *out, const float *x, int64_t length, double center, double scale,
                         double offset) noexcept nogil
