"""Rows of numbers to unit length: matrices, and lists as Arrow lays them out."""
# Design: values, validity and offsets come as NumPy arrays, which lists of any Arrow type have for views of their
# buffers; so the kernel knows nothing of lists, and shares nothing with the statistics of the core.

import numpy as np

from streamnorm.errors import BadRow

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "unit.h" nogil:
    ctypedef enum sn_norm:
        SN_NORM_L2, SN_NORM_L1, SN_NORM_MAX

    ctypedef struct sn_rows:
        const void *offsets
        int32_t width
        int64_t size, n

    int64_t sn_unit_rows_float64(double *out, const double *x, const uint8_t *validity, int64_t bit,
                                 const sn_rows *rows, sn_norm norm)
    int64_t sn_unit_rows_float32(float *out, const float *x, const uint8_t *validity, int64_t bit,
                                 const sn_rows *rows, sn_norm norm)


__all__ = ["unit_rows"]

NORMS = {"l2": SN_NORM_L2, "l1": SN_NORM_L1, "max": SN_NORM_MAX}


def unit_rows(values, rows, norm, *, validity=None, int64_t bit=0, out=None):
    """Divide each row of values by its norm.

    Nulls and NaN count in no norm, and are NaN in the result. A row without a number, or of zeros, stays as it is.

    Parameters
    ----------
    values : ndarray of shape (n,), float32 or float64, contiguous
        All rows, one after the other.
    rows : int, or ndarray of shape (m + 1,), int32 or int64, contiguous
        How many values a row has, or where each row begins and, last, where the last one ends.
    norm : {"l2", "l1", "max"}
    validity : buffer of bytes, optional
        A bitmap with a bit for each value, least significant first, 0 where the value is null.
    bit : int, default 0
        Which bit of `validity` is that of the first value.
    out : ndarray like values, optional
        Where to write; may be `values`. What belongs to no row is left alone.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    BadRow
        If a row holds an infinity; a DataError.

    Examples
    --------
    >>> import numpy as np
    >>> unit_rows(np.array([3.0, 4.0, 0.0, -2.0]), 2, "l2")
    array([ 0.6,  0.8,  0. , -1. ])
    """
    cdef sn_rows layout
    cdef sn_norm kind
    cdef const uint8_t *bits = NULL
    cdef const uint8_t[::1] bitmap
    cdef const int32_t[::1] short_offsets
    cdef const int64_t[::1] long_offsets
    cdef const double[::1] x64
    cdef const float[::1] x32
    cdef double[::1] y64
    cdef float[::1] y32
    cdef int64_t n = len(values), bad = -1
    if norm not in NORMS:
        raise ValueError(f"norm must be 'l2', 'l1' or 'max', got {norm!r}")
    kind = NORMS[norm]
    if out is None:
        out = np.zeros(n, values.dtype)
    if out.dtype != values.dtype or out.shape != values.shape:
        raise ValueError(f"out must be a {values.dtype} array of shape {values.shape}")
    layout.offsets, layout.width, layout.size = NULL, 0, 0
    if isinstance(rows, np.ndarray):
        layout.width, layout.n = rows.dtype.itemsize, len(rows) - 1
        if len(rows) == 0 or rows[0] < 0 or rows[len(rows) - 1] > n or (np.diff(rows) < 0).any():
            raise ValueError("the offsets of rows must ascend within the values")
        if rows.dtype == np.int32:
            short_offsets = rows
            layout.offsets = &short_offsets[0]
        else:
            long_offsets = rows
            layout.offsets = &long_offsets[0]
    else:
        layout.size = rows
        if layout.size < 0 or (layout.size == 0 and n) or (layout.size and n % layout.size):
            raise ValueError(f"{n} values are no rows of {rows}")
        layout.n = n // layout.size if layout.size else 0
    if validity is not None:
        bitmap = np.frombuffer(validity, np.uint8)
        if bit < 0 or bit + n > 8 * bitmap.shape[0]:
            raise ValueError(f"{8 * bitmap.shape[0]} bits from {bit} on do not tell of {n} values")
        if n:
            bits = &bitmap[0]
    if n == 0 or layout.n == 0:
        return out
    if values.dtype == np.float32:
        x32, y32 = values, out
        with nogil:
            bad = sn_unit_rows_float32(&y32[0], &x32[0], bits, bit, &layout, kind)
    else:
        x64, y64 = values, out
        with nogil:
            bad = sn_unit_rows_float64(&y64[0], &x64[0], bits, bit, &layout, kind)
    if bad >= 0:
        raise BadRow(bad, "holds an infinity, which no length can be divided by", "set such values to null first")
    return out
