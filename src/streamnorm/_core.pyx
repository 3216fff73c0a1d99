"""The compiled core: Arrow and NumPy arrays in, nogil C kernels, Python objects out."""
# Design: this file checks arguments, finds buffers and releases the GIL once a chunk; every loop over values is C in
# csrc/. Arrow data comes in through the C data interface (any producer, no copy, nothing to link), NumPy arrays
# through the buffer protocol (so that numpy's headers are not needed to build). Turned down: pyarrow's Cython API,
# which would tie a wheel to one pyarrow version.
#
# Each ColumnStats has a lock of its own, because the GIL is not held while it is updated, and on a free-threaded
# build not at all.

import operator
import threading
from decimal import Decimal

import numpy as np

from streamnorm.errors import DataError

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.errno cimport EINTR, errno
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strcmp, strerror
from posix.unistd cimport write

from streamnorm import rounding
from streamnorm._sketch cimport QuantileSketch, Weights, sn_kll


cdef extern from "arrow_abi.h":
    struct ArrowSchema:
        const char *format
        int64_t n_children
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept

    struct ArrowArray:
        int64_t length, null_count, offset, n_buffers
        const void **buffers
        void (*release)(ArrowArray *) noexcept

    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept nogil
        const char *(*get_last_error)(ArrowArrayStream *) noexcept


cdef extern from "load.h" nogil:
    ctypedef enum sn_type:
        SN_INT8, SN_INT16, SN_INT32, SN_INT64, SN_UINT8, SN_UINT16, SN_UINT32, SN_UINT64
        SN_FLOAT16, SN_FLOAT32, SN_FLOAT64, SN_BOOL, SN_BOOL8, SN_DECIMAL32, SN_DECIMAL64, SN_DECIMAL128

    ctypedef struct sn_array:
        sn_type type
        int32_t scale
        const void *values
        int64_t stride
        const uint8_t *validity
        int64_t offset, length

    ctypedef struct sn_int_extrema:
        pass

    int64_t sn_type_width(sn_type type)


cdef extern from "kll.h" nogil:
    sn_kll *sn_kll_copy(const sn_kll *kll)
    void sn_kll_free(sn_kll *kll)


cdef extern from "column.h" nogil:
    double SN_MAX_WEIGHT

    ctypedef enum sn_status:
        SN_OK, SN_ERR_NOMEM, SN_ERR_INVALID, SN_ERR_CORRUPT, SN_ERR_INCOMPATIBLE, SN_ERR_WEIGHTS

    ctypedef enum sn_kind:
        SN_KIND_NONE, SN_KIND_FLOAT, SN_KIND_INTEGER, SN_KIND_DECIMAL

    ctypedef struct sn_moments:
        int64_t count
        double mean, mean_lo, m2, m2_lo
        int32_t exponent
        double weight, weight_lo

    ctypedef struct sn_column_weights:
        int32_t used
        int64_t left_out
        double weight, weight_lo

    ctypedef struct sn_exact:
        pass

    cdef enum:
        SN_SUM_DIGITS, SN_SQUARES_DIGITS

    void sn_exact_write(unsigned char *sum, unsigned char *squares, const sn_exact *exact)
    void sn_exact_read(sn_exact *exact, const unsigned char *sum, const unsigned char *squares)
    void sn_exact_subtract(sn_exact *source, const sn_exact *part)

    # The struct itself is declared in _core.pxd without its fields; these accessors stand in for them.
    ctypedef struct column_fields "sn_column":
        int64_t rows, nulls, no_value, infinities
        int32_t skips_infinities
        int32_t nans_unknown
        sn_moments moments
        double min, max
        sn_int_extrema integer
        int32_t extrema_unknown
        sn_kind kind
        int32_t scale
        int32_t has_moments
        int64_t pending
        double *block
        sn_kll *sketch
        sn_exact *exact
        sn_column_weights weights

    void sn_column_init(column_fields *column, int has_moments, sn_kll *sketch)
    sn_status sn_column_make_exact(column_fields *column)
    void sn_column_release(column_fields *column)
    sn_status sn_column_copy(column_fields *to, const column_fields *source)
    sn_status sn_column_update(column_fields *column, const sn_array *array)
    void sn_column_update_nulls(column_fields *column, int64_t n)
    sn_status sn_column_merge(column_fields *into, const column_fields *source)
    void sn_column_close(column_fields *column)
    sn_status sn_column_update_matrix(column_fields **columns, const sn_array *first, int64_t column_stride,
                                      int64_t n_columns)
    sn_status sn_column_update_weighted(column_fields *column, const sn_array *array, const double *weights,
                                        double total)
    sn_status sn_column_update_nulls_weighted(column_fields *column, const double *weights, int64_t n)
    sn_status sn_column_update_matrix_weighted(column_fields **columns, const sn_array *first, int64_t column_stride,
                                               int64_t n_columns, const double *weights, double total)
    double sn_column_weight(const column_fields *column)
    int sn_column_integer_extrema(const column_fields *column, int64_t *high, uint64_t *low)
    void sn_column_set_integer_extrema(column_fields *column, const int64_t *high, const uint64_t *low)
    double sn_moments_variance(const sn_moments *m, double ddof)
    double sn_moments_std(const sn_moments *m, double ddof)


cdef extern from "select.h" nogil:
    enum:
        SN_SELECT_MAX_BITS

    ctypedef enum sn_key_kind:
        SN_KEYS_DOUBLE, SN_KEYS_SIGNED, SN_KEYS_UNSIGNED

    ctypedef struct sn_interval:
        int64_t low, high, below, inside
        int64_t n_atoms
        int64_t *atoms
        int64_t *atom_counts
        int64_t size
        int64_t *keys
        int64_t *counts
        int shift

    ctypedef struct sn_selection:
        int64_t n
        sn_interval *intervals

    sn_status sn_selection_init(sn_selection *selection, sn_key_kind kind, int bits, int64_t capacity,
                                const int64_t *low, const int64_t *high, const int64_t *n_atoms, const int64_t *atoms,
                                int64_t n)
    void sn_selection_release(sn_selection *selection)
    sn_status sn_selection_update(sn_selection *selection, const sn_array *array)
    sn_status sn_selection_merge(sn_selection *into, const sn_selection *source)


cdef extern from "affine.h" nogil:
    ctypedef struct sn_affine_map:
        double center, scale, offset, low, high
        int32_t inverse

    void sn_affine_array(void *out, sn_type out_type, const sn_array *array, const sn_affine_map *map)
    void sn_affine_rows_float64(double *out, const double *x, const sn_affine_map *map, double *scratch, int64_t n,
                                int64_t d)
    void sn_affine_rows_float32(float *out, const float *x, const sn_affine_map *map, double *scratch, int64_t n,
                                int64_t d)


cdef extern from "tally.h" nogil:
    enum:
        SN_DISTINCT_EXACT, SN_DISTINCT_PRECISION

    ctypedef struct sn_distinct:
        int64_t known
        int32_t has_zero
        uint8_t *registers

    ctypedef struct sn_tally:
        int64_t zeros
        int32_t whole, rises, falls
        sn_distinct distinct

    void sn_tally_init(sn_tally *tally)
    void sn_tally_release(sn_tally *tally)
    sn_status sn_tally_update(sn_tally *tally, const sn_array *array)
    sn_status sn_tally_merge(sn_tally *into, const sn_tally *source)
    double sn_tally_skew(const sn_tally *tally)
    int64_t sn_distinct_hashes(uint64_t *out, const sn_distinct *distinct)


cdef enum:
    WRITE_BYTES = 1 << 18

__all__ = ["ColumnStats", "ColumnTally", "Selection", "affine", "affine_matrix", "update_matrix"]

KINDS = (None, "float", "int", "decimal")


cdef int check(sn_status status) except -1:
    if status == SN_OK:
        return 0
    if status == SN_ERR_NOMEM:
        raise MemoryError("out of memory in a streamnorm kernel")
    if status == SN_ERR_INCOMPATIBLE:
        raise TypeError(
            "these values do not mix with what the column holds: decimals join only decimals of the same scale, and "
            "two columns merge only when the same statistics were collected"
        )
    if status == SN_ERR_WEIGHTS:
        raise DataError("the weights sum to more than 3e150: divide all of them by a constant")
    raise ValueError("invalid argument to a streamnorm kernel")


include "_arrays.pxi"
include "_arrow_stream.pxi"
include "_stats.pxi"
include "_affine.pxi"
include "_select.pxi"
include "_tally.pxi"


# ------------------------------------------------------------------ files

def write_all(int descriptor, const uint8_t[::1] data not None):
    """Write all of `data` to a file, in pieces, without the GIL.

    Parameters
    ----------
    descriptor : int
    data : bytes-like

    Returns
    -------
    int
        Bytes written, which is fewer than ``len(data)`` only if a signal came: call again with the rest.

    Raises
    ------
    OSError
        As ``os.write`` does.
    """
    # Calls of a megabyte and more sporadically take several times as long on ext4 (measured on Linux 6.18), and
    # returning to Python between pieces means to queue for the GIL each time.
    cdef Py_ssize_t size = data.shape[0], done = 0, step = 1
    cdef int code = 0
    if size == 0:
        return 0
    with nogil:
        while done < size:
            step = write(descriptor, &data[done], min(size - done, <Py_ssize_t>WRITE_BYTES))
            if step < 0:
                code = errno
                break
            done += step
    if step < 0 and code != EINTR:
        raise OSError(code, strerror(code).decode("utf-8", "replace"))
    return done


# ------------------------------------------------------------------ for other Cython code (see _core.pxd)

cdef inline int update_plain(ColumnStats column, sn_type type, const void *values, int64_t width,
                             const uint8_t *validity, int64_t offset, int64_t length) noexcept nogil:
    cdef sn_array array
    array.type, array.scale, array.values, array.stride = type, 0, values, width
    array.validity, array.offset, array.length = validity, offset, length
    return sn_column_update(<column_fields *>column._column, &array)


cdef int column_update_float64(ColumnStats column, const double *values, const uint8_t *validity, int64_t offset,
                               int64_t length) noexcept nogil:
    return update_plain(column, SN_FLOAT64, values, 8, validity, offset, length)


cdef int column_update_float32(ColumnStats column, const float *values, const uint8_t *validity, int64_t offset,
                               int64_t length) noexcept nogil:
    return update_plain(column, SN_FLOAT32, values, 4, validity, offset, length)


cdef int column_update_int64(ColumnStats column, const int64_t *values, const uint8_t *validity, int64_t offset,
                             int64_t length) noexcept nogil:
    return update_plain(column, SN_INT64, values, 8, validity, offset, length)


cdef inline void affine_plain(void *out, sn_type type, const void *x, int64_t width, int64_t length, double center,
                              double scale, double offset) noexcept nogil:
    cdef sn_array array
    cdef sn_affine_map map
    array.type, array.scale, array.values, array.stride = type, 0, x, width
    array.validity, array.offset, array.length = NULL, 0, length
    map.center, map.scale, map.offset = center, scale, offset
    map.low, map.high, map.inverse = -INFINITY, INFINITY, 0
    sn_affine_array(out, type, &array, &map)


cdef void affine_float64(double *out, const double *x, int64_t length, double center, double scale,
                         double offset) noexcept nogil:
    affine_plain(out, SN_FLOAT64, x, 8, length, center, scale, offset)


cdef void affine_float32(float *out, const float *x, int64_t length, double center, double scale,
                         double offset) noexcept nogil:
    affine_plain(out, SN_FLOAT32, x, 4, length, center, scale, offset)
