"""Normalization, forward and backward, and networks that are trained, over NumPy arrays.

The functions of normalization are those of :mod:`streamnorm.nn.functional`, which is where to import them from; those of
networks are what the layers, losses and optimizers of :mod:`streamnorm.nn` call.
"""
# Design: one fast way and one general way. An array that is C-contiguous and of float32 or float64, which nearly all
# are, goes to the kernels as it is: a call on 32 x 64 values takes less than a microsecond, and a good part of that is
# NumPy making the result. Everything else (float16, strides, byte orders, outputs of another layout) is brought into that form by
# NumPy, takes the same way and is brought back. NumPy's C API is used, not the buffer protocol as in the core, because
# here the arrays are small and many. Turned down: a Python layer for the checks, which would cost more than the work.
#
# The parts: _norms_run.pxi (settings, calls of the kernels), _norms_arrays.pxi (arguments and results),
# _norms_batch.pxi, _norms_rows.pxi (layer and RMS), _norms_groups.pxi (instance and group); _network.pxi (layers, losses
# and optimizers one by one), _convolution.pxi (layers of images), _recurrent.pxi (layers of sequences) and
# _network_plan.pxi (all of them as one). One extension, because they share one set of threads, and because a network's
# norm layers are the kernels of the functions.

import operator
import os

import numpy as np

cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from libc.math cimport NAN, sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

cnp.import_array()


cdef extern from "norms.h" nogil:
    ctypedef struct sn_norms_kernels:
        pass

    const sn_norms_kernels sn_norms_float32, sn_norms_float64

    ctypedef enum sn_status:
        SN_OK, SN_ERR_NOMEM

    ctypedef enum sn_norm_layout:
        SN_NORM_ROWS, SN_NORM_PLANES, SN_NORM_COLUMNS

    ctypedef struct sn_norm:
        const sn_norms_kernels *kernels
        sn_norm_layout layout
        int64_t samples, channels, positions, groups
        int centered, given
        const double *weight
        const double *bias
        const void *own_weight
        const void *own_bias
        double eps
        int threads
        int64_t cache_bytes

    int64_t sn_norm_statistics(const sn_norm *norm)
    int64_t sn_norm_values(const sn_norm *norm)
    sn_status sn_norm_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm)
    sn_status sn_norm_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                               const double *mean, const double *rstd, const sn_norm *norm)


cdef int64_t last_level_cache() except -1:
    """Its size in bytes as the system tells it (Linux does), otherwise that of many processors."""
    try:
        size = os.sysconf("SC_LEVEL3_CACHE_SIZE")
    except (ValueError, OSError):
        size = 0
    return size if size > 0 else 32 << 20


# Where arrays take as much as this, results are stored past the cache.
cdef int64_t STREAM_BYTES = last_level_cache() // 4 * 3


include "_norms_run.pxi"
include "_norms_arrays.pxi"
include "_norms_batch.pxi"
include "_norms_rows.pxi"
include "_norms_groups.pxi"
include "_network.pxi"
include "_convolution.pxi"
include "_recurrent.pxi"
include "_network_plan.pxi"
