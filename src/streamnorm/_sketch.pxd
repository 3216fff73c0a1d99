"""What other Cython code may cimport: the quantile sketch, and the calls into it that hold no GIL.

No header of ours is needed to compile against this file.
"""
# Design: the C functions of kll.h are not declared here, because a module that is linked elsewhere has no way
# to them. What is here reaches it through Cython's table of exported functions, without a header to look for.

from libc.stdint cimport int64_t


cdef extern from *:
    """
    typedef struct sn_kll sn_kll;
    """
    ctypedef struct sn_kll


cdef class QuantileSketch:
    cdef sn_kll *_kll  # owned, never NULL
    cdef object _lock

    @staticmethod
    cdef QuantileSketch _wrap(sn_kll *kll)  # takes over `kll`; NULL raises MemoryError


# Checked weights of rows; `data` is NULL if there are none.
cdef class Weights:
    cdef readonly object values
    cdef readonly double total
    cdef readonly int64_t positive
    cdef int64_t size
    cdef const double *data


# NaN is skipped. Returns 0, or a nonzero status when memory ran out. The caller sees to it that no other thread
# uses `sketch` meanwhile.
cdef int sketch_update_float64(QuantileSketch sketch, const double *values, int64_t length) noexcept nogil

# out[i] is the value at rank q[i]; out is not q. Returns 0, or a nonzero status when a rank is outside 0 to 1 or
# memory ran out.
cdef int sketch_quantiles(QuantileSketch sketch, double *out, const double *q, int64_t length) noexcept nogil
