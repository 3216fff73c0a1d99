"""Binding of the page kernels (``csrc/pages.c``): checks sizes, releases the GIL, loops nowhere.

``streamnorm.parquet.reference`` has the NumPy twins, under the same names.
"""

# cython: boundscheck=False, wraparound=False

from libc.stdint cimport int64_t, uint8_t, uint16_t, uintptr_t

cdef extern from "pages.h" nogil:
    ctypedef struct sn_page_stats:
        double min
        double max
        int64_t count
        int64_t nan_count
    void sn_page_stats_init(sn_page_stats *)
    int64_t sn_bits_count(const uint8_t *, int64_t, int64_t)
    int64_t sn_page_levels_bytes(int64_t, int64_t)
    void sn_page_levels_pack(uint8_t *, const uint8_t *, int64_t, int64_t, int64_t)
    void sn_page_pack_8(double *, sn_page_stats *, const double *, const uint8_t *, int64_t, int64_t)
    void sn_page_pack_4(float *, sn_page_stats *, const float *, const uint8_t *, int64_t, int64_t)
    void sn_page_pack_2(uint16_t *, sn_page_stats *, const uint16_t *, const uint8_t *, int64_t, int64_t)


cdef const uint8_t *bitmap(const uint8_t[::1] validity, int64_t offset, int64_t length) except? NULL:
    if offset < 0 or length < 0 or offset > 8 * validity.shape[0] - length:
        size = validity.shape[0]
        raise ValueError(f"a validity bitmap of {size} bytes has no bits {offset} to {offset + length}")
    return &validity[0] if validity.shape[0] else NULL


cdef class PageStats:
    """Running minimum, maximum and counts of the values packed so far; NaN is counted and left out."""

    cdef sn_page_stats c

    def __cinit__(self):
        sn_page_stats_init(&self.c)

    @property
    def min(self):
        """Smallest value that is not NaN; +inf if there is none. Either sign may stand for zero."""
        return self.c.min

    @property
    def max(self):
        """Largest value that is not NaN; -inf if there is none. Either sign may stand for zero."""
        return self.c.max

    @property
    def count(self):
        """Values, NaN among them, without nulls."""
        return self.c.count

    @property
    def nan_count(self):
        """Values that are NaN."""
        return self.c.nan_count


def count_valid(const uint8_t[::1] validity not None, int64_t offset, int64_t length):
    """Set bits among ``length`` from ``offset`` on."""
    cdef const uint8_t *bits = bitmap(validity, offset, length)
    cdef int64_t count
    with nogil:
        count = sn_bits_count(bits, offset, length)
    return count


def levels_bytes(int64_t rows, int64_t valid):
    """Size of the definition levels of ``rows`` rows, ``valid`` of them not null, length included."""
    return sn_page_levels_bytes(rows, valid)


def pack_page(uint8_t[::1] out, Py_ssize_t start, PageStats stats not None,
              const uint8_t[::1] values not None, int itemsize,
              const uint8_t[::1] validity, int64_t offset, int64_t rows, int64_t valid, bint levels):
    """Write a page body: definition levels, then the values that are not null.

    Parameters
    ----------
    out : writable bytes-like, or None
        Receives the page; None only adds the values to the statistics, and wants ``validity`` to be None.
    start : int
        Where the page begins in ``out``. The values behind the levels must come to lie at a multiple of
        ``itemsize`` in memory, and one slot more than they need must be there.
    stats : PageStats
    values : bytes-like, shape (rows * itemsize,)
        Aligned to ``itemsize``.
    validity : bytes-like, or None
        Arrow's bitmap; None if no row is null.
    offset : int
        The bit of ``validity`` that belongs to the first value.
    valid : int
        Number of rows that are not null (`count_valid`).
    levels : bool
        False for a required column: values alone.

    Returns
    -------
    int
        Size of the page in bytes.
    """
    cdef const uint8_t *bits = NULL
    cdef uint8_t *page = NULL
    cdef void *target = NULL
    cdef const void *source
    cdef int64_t head
    if itemsize != 8 and itemsize != 4 and itemsize != 2:
        raise ValueError(f"no page kernel for values of {itemsize} bytes")
    if rows < 1 or values.shape[0] != rows * itemsize or not 0 <= valid <= rows:
        raise ValueError("the values do not match the number of rows")
    if validity is not None:
        bits = bitmap(validity, offset, rows)
    elif valid != rows:
        raise ValueError("rows are null, but there is no validity bitmap")
    source = &values[0]
    head = sn_page_levels_bytes(rows, valid) if levels else 0
    if out is None:
        if bits != NULL:
            raise ValueError("a page with nulls needs a buffer")
    else:
        if start < 0 or out.shape[0] - start < head + (valid + 1) * itemsize:
            raise ValueError("the page does not fit its buffer")
        page = &out[start]
        target = page + head
    if <uintptr_t>source % itemsize or <uintptr_t>target % itemsize:
        raise ValueError("values are not aligned")
    # The kernel trusts this count with the buffer's end.
    if bits != NULL and sn_bits_count(bits, offset, rows) != valid:
        raise ValueError(f"the validity bitmap does not have {valid} bits set")
    if valid == rows:
        bits = NULL
    with nogil:
        if levels and page != NULL:
            sn_page_levels_pack(page, bits, offset, rows, valid)
        if valid:
            if itemsize == 8:
                sn_page_pack_8(<double *>target, &stats.c, <const double *>source, bits, offset, rows)
            elif itemsize == 4:
                sn_page_pack_4(<float *>target, &stats.c, <const float *>source, bits, offset, rows)
            else:
                sn_page_pack_2(<uint16_t *>target, &stats.c, <const uint16_t *>source, bits, offset, rows)
    return head + valid * itemsize
