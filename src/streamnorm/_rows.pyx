"""Rows for training: columns to a matrix, random words, string hashes and the shuffle buffer of ``csrc/matrix.h``, and
pixels to floats, of ``csrc/pixels.h``."""
# Design: a module of its own, so that a fit does not load what only training needs; the twins in
# streamnorm.reference.batches have the docstrings of record and the same bits.

import threading

import numpy as np

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strcmp


cdef extern from "arrow_abi.h":
    struct ArrowSchema:
        const char *format
        ArrowSchema *dictionary

    struct ArrowArray:
        int64_t length, null_count, offset, n_buffers
        const void **buffers


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

    int64_t sn_type_width(sn_type type)


cdef extern from "matrix.h" nogil:
    ctypedef struct sn_matrix_column:
        double center, scale, offset, low, high, fill
        int64_t place, flag

    ctypedef struct sn_shuffler:
        char *rows
        int64_t width, capacity, count
        uint64_t key, drawn

    void sn_matrix_fill_float32(float *out, int64_t *first, const sn_array *arrays, const sn_matrix_column *columns,
                                const uint8_t *keep, int64_t n, int64_t k, int64_t width)
    void sn_matrix_fill_float64(double *out, int64_t *first, const sn_array *arrays, const sn_matrix_column *columns,
                                const uint8_t *keep, int64_t n, int64_t k, int64_t width)
    void sn_words(uint64_t *out, uint64_t key, uint64_t first, int64_t n)
    void sn_hash_strings_32(uint64_t *out, const int32_t *offsets, const uint8_t *data, const uint8_t *validity,
                            int64_t offset, int64_t n)
    void sn_hash_strings_64(uint64_t *out, const int64_t *offsets, const uint8_t *data, const uint8_t *validity,
                            int64_t offset, int64_t n)
    int64_t sn_shuffler_push(char *x, char *y, int64_t *taken, sn_shuffler *shuffler, const char *rows,
                             const uint8_t *keep, int64_t x_width, int64_t room, int64_t n)
    int64_t sn_shuffler_drain(char *x, char *y, sn_shuffler *shuffler, int64_t x_width, int64_t room)
    int64_t sn_rows_pack(char *rows, const uint8_t *keep, int64_t width, int64_t n)
    void sn_rows_gather(char *x, char *y, const char *rows, const int64_t *order, int64_t width, int64_t x_width,
                        int64_t n)
    void sn_windows_gather(char *x, const char *rows, const int64_t *starts, int64_t width, int64_t size, int64_t n)

cdef extern from "pixels.h" nogil:
    void sn_pixels_map_float32(float *out, const uint8_t *pixels, const float *table, int64_t n, int64_t channels)


__all__ = [
    "Shuffler", "fill_matrix", "gather_rows", "gather_windows", "hash_strings", "map_pixels", "pack_rows", "words"
]

include "_arrays.pxi"

cdef int64_t SMALL = 1 << 14  # pixels' values: 10 us, less than it takes to give the interpreter away and get it back


def words(uint64_t key, uint64_t first, int64_t n):
    """Words number `first`, `first` + 1, ... of a key; see the twin."""
    out = np.empty(n, np.uint64)
    cdef uint64_t[::1] view = out
    if n > 0:
        with nogil:
            sn_words(&view[0], key, first, n)
    return out


def hash_strings(array):
    """A 64-bit hash of each string of an Arrow array; 0 for a null; see the twin."""
    cdef ArrowSchema *schema
    cdef ArrowArray *arrow
    cdef uint64_t[::1] view
    cdef const uint8_t *validity
    cdef bint wide
    cdef int64_t n
    schema_capsule, array_capsule = array.__arrow_c_array__()
    schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
    arrow = <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array")
    name = <bytes>schema.format
    if name not in (b"u", b"z", b"U", b"Z") or schema.dictionary != NULL or arrow.n_buffers != 3:
        raise TypeError(f"expected an Arrow array of strings, got one of format {name.decode()!r}")
    wide = name in (b"U", b"Z")
    n = arrow.length
    out = np.zeros(n, np.uint64)
    view = out
    if n == 0:
        return out
    validity = <const uint8_t *>arrow.buffers[0] if arrow.null_count != 0 else NULL
    with nogil:
        if wide:
            sn_hash_strings_64(&view[0], <const int64_t *>arrow.buffers[1], <const uint8_t *>arrow.buffers[2],
                               validity, arrow.offset, n)
        else:
            sn_hash_strings_32(&view[0], <const int32_t *>arrow.buffers[1], <const uint8_t *>arrow.buffers[2],
                               validity, arrow.offset, n)
    return out


cdef int point_at(sn_array *out, object array, list held) except -1:
    """Fill in where the values of one column are; what keeps them there goes to `held`."""
    cdef int type = 0
    cdef int32_t digits = 0
    cdef ArrowSchema *schema
    cdef NumpyBuffer buffer
    if not isinstance(array, np.ndarray) and hasattr(array, "__arrow_c_array__"):
        capsules = array.__arrow_c_array__()
        held.append(capsules)
        schema = <ArrowSchema *>PyCapsule_GetPointer(capsules[0], b"arrow_schema")
        arrow_type(&type, &digits, schema)
        if type == NULL_TYPE or is_encoded(schema):
            raise TypeError("expected plain numbers")
        return fill_from_arrow(out, type, digits, <ArrowArray *>PyCapsule_GetPointer(capsules[1], b"arrow_array"))
    array = as_numeric_ndarray(array)
    if array.ndim != 1:
        raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
    buffer = NumpyBuffer(array)
    held.append(buffer)
    return fill_from_numpy(out, buffer, numpy_type(array))


cdef const uint8_t *kept(object keep, int64_t n, list held) except? NULL:
    """The bytes that say which of n rows are kept; NULL for None."""
    cdef const uint8_t[::1] view
    if keep is None or n == 0:
        return NULL
    view = keep
    if view.shape[0] != n:
        raise ValueError(f"keep must have {n} values, got {view.shape[0]}")
    held.append(keep)
    return &view[0]


def fill_matrix(out, arrays, places, maps, fills, flags, keep=None):
    """Write columns, each through its affine map, into the columns of a row-major matrix; see the twin."""
    cdef int64_t n, width, k = len(arrays), j
    cdef list held = []
    cdef const uint8_t *wanted
    cdef const double[:, ::1] map_rows = maps
    cdef const double[::1] fill = fills
    cdef const int64_t[::1] place = places, flag = flags
    cdef float[:, ::1] single
    cdef double[:, ::1] double_
    cdef sn_array *columns
    cdef sn_matrix_column *targets
    n, width = out.shape
    first = np.full(k, -1, np.int64)
    cdef int64_t[::1] found = first
    if not (len(fills) == len(places) == len(flags) == len(maps) == k):
        raise ValueError(f"there are {k} arrays, and as many maps, fills, places and flags are needed")
    if map_rows.shape[1] != 5:
        raise ValueError("a map has five parts")
    if out.dtype == np.float32:
        single = out
    else:
        double_ = out
    wanted = kept(keep, n, held)
    if n == 0 or k == 0:
        return first
    columns = <sn_array *>calloc(k, sizeof(sn_array))
    targets = <sn_matrix_column *>calloc(k, sizeof(sn_matrix_column))
    try:
        if columns == NULL or targets == NULL:
            raise MemoryError
        for j in range(k):
            point_at(&columns[j], arrays[j], held)
            if columns[j].length != n:
                raise ValueError(f"array {j} has {columns[j].length} values for {n} rows")
            if not (0 <= place[j] < width and -1 <= flag[j] < width):
                raise ValueError(f"there are {width} columns, and {place[j]} or {flag[j]} is none of them")
            targets[j].center = map_rows[j, 0] if map_rows[j, 0] != 0.0 else 0.0
            targets[j].scale = map_rows[j, 1]
            targets[j].offset = map_rows[j, 2] if map_rows[j, 2] != 0.0 else -0.0  # x + -0.0 is x for every x
            targets[j].low, targets[j].high = map_rows[j, 3], map_rows[j, 4]
            targets[j].fill, targets[j].place, targets[j].flag = fill[j], place[j], flag[j]
        if out.dtype == np.float32:
            with nogil:
                sn_matrix_fill_float32(&single[0, 0], &found[0], columns, targets, wanted, n, k, width)
        else:
            with nogil:
                sn_matrix_fill_float64(&double_[0, 0], &found[0], columns, targets, wanted, n, k, width)
    finally:
        free(columns)
        free(targets)
    return first


cdef char *start_of(object array, int64_t width, object dtype, list held) except? NULL:
    """The first byte of a C-contiguous matrix of so many columns; NULL if it is empty."""
    if array.ndim != 2 or array.shape[1] != width or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"expected a C-contiguous {dtype} matrix of {width} columns")
    buffer = NumpyBuffer(array)
    held.append(buffer)
    return <char *>(<NumpyBuffer>buffer).view.buf if array.size else NULL


def pack_rows(rows, keep=None):
    """Move the rows that are kept to the front, and say how many there are; see the twin."""
    cdef list held = []
    cdef int64_t n = rows.shape[0], width = rows.shape[1] * rows.itemsize, kept_rows
    cdef char *start = start_of(rows, rows.shape[1], rows.dtype, held)
    cdef const uint8_t *wanted = kept(keep, n, held)
    if wanted == NULL or start == NULL:
        return n if keep is None else int(np.count_nonzero(keep))
    with nogil:
        kept_rows = sn_rows_pack(start, wanted, width, n)
    return kept_rows


def gather_rows(x, y, rows, order):
    """Copy the rows of these numbers, their first columns to x and the others to y; see the twin."""
    cdef list held = []
    cdef int64_t d = x.shape[1], width = rows.shape[1], count = rows.shape[0], n = len(order), i, size = rows.itemsize
    cdef const int64_t[::1] numbers = order
    cdef char *to_x = start_of(x, d, rows.dtype, held)
    cdef char *to_y = start_of(y, width - d, rows.dtype, held)
    cdef char *source = start_of(rows, width, rows.dtype, held)
    if x.shape[0] != n or y.shape[0] != n:
        raise ValueError(f"x and y must have {n} rows, got {x.shape[0]} and {y.shape[0]}")
    if n == 0:
        return
    for i in range(n):
        if not 0 <= numbers[i] < count:
            raise ValueError(f"there are {count} rows, and {numbers[i]} is none of them")
    with nogil:
        sn_rows_gather(to_x, to_y, source, &numbers[0], width * size, d * size, n)


def map_pixels(out, pixels, table):
    """Look each value of an image up in its channel's table; see the twin."""
    cdef const float[:, ::1] rows = table
    cdef const uint8_t[::1] source = memoryview(pixels).cast("B")
    cdef int64_t channels = rows.shape[0], n
    if rows.shape[1] != 256 or channels == 0:
        raise ValueError(f"table has 256 values a channel, got shape {table.shape}")
    if out.ndim == 0 or out.shape[out.ndim - 1] != channels or out.size != source.shape[0]:
        raise ValueError(f"out of shape {out.shape} is not for {source.shape[0]} values of {channels} channels")
    if not out.flags.c_contiguous:
        raise ValueError("out must be contiguous")
    cdef float[::1] to = out.reshape(-1)
    n = source.shape[0] // channels
    if n * channels > SMALL:
        with nogil:
            sn_pixels_map_float32(&to[0], &source[0], &rows[0, 0], n, channels)
    elif n > 0:
        sn_pixels_map_float32(&to[0], &source[0], &rows[0, 0], n, channels)


def gather_windows(x, rows, starts):
    """Copy the windows of consecutive rows that begin with the rows of these numbers; see the twin."""
    cdef list held = []
    cdef int64_t n = len(starts), d = rows.shape[1], count = rows.shape[0], length, width, i
    cdef const int64_t[::1] numbers = starts
    cdef char *to_x
    cdef char *source = start_of(rows, d, rows.dtype, held)
    if x.ndim != 3 or x.shape[0] != n or x.shape[2] != d:
        raise ValueError(f"x must have shape ({n}, length, {d}), got {x.shape}")
    length, width = x.shape[1], d * rows.itemsize
    if not x.flags.c_contiguous:
        raise ValueError("x must be C-contiguous")
    to_x = start_of(x.reshape(n, length * d), length * d, rows.dtype, held)
    for i in range(n):
        if not 0 <= numbers[i] <= count - length:
            raise ValueError(f"there are {count} rows, and no window of {length} begins with number {numbers[i]}")
    if to_x == NULL:
        return
    with nogil:
        sn_windows_gather(to_x, source, &numbers[0], width, length * width, n)


cdef class Shuffler:
    """A buffer of rows that gives them out in another order; see the twin."""

    cdef sn_shuffler state
    cdef object _rows, _dtype, _lock
    cdef int64_t _width, _itemsize

    def __init__(self, int64_t capacity, int64_t width, dtype, uint64_t key):
        if capacity < 0 or width < 1:
            raise ValueError("capacity is at least 0, and width 1")
        self._dtype = np.dtype(dtype)
        self._itemsize, self._width = self._dtype.itemsize, width
        self._rows = np.empty((capacity, width), self._dtype)
        held = []
        self._lock = threading.Lock()
        self.state.rows = start_of(self._rows, width, self._dtype, held)
        self.state.width, self.state.capacity, self.state.count = width * self._itemsize, capacity, 0
        self.state.key, self.state.drawn = key, 0

    @property
    def count(self):
        """Rows that it holds."""
        return self.state.count

    def push(self, x, y, int64_t at, rows, int64_t start, keep=None):
        """Take rows in from `start` on, and give rows out to x and y from row `at` on; see the twin."""
        cdef list held = []
        cdef int64_t d = x.shape[1], taken = 0, room = x.shape[0] - at, n = rows.shape[0] - start, given
        cdef char *to_x
        cdef char *to_y
        cdef char *source
        cdef const uint8_t *wanted
        self._check(x, y, at)
        if not 0 <= start <= rows.shape[0]:
            raise ValueError(f"there is no row {start}")
        to_x = start_of(x, d, self._dtype, held)
        to_y = start_of(y, self._width - d, self._dtype, held)
        source = start_of(rows, self._width, self._dtype, held)
        wanted = kept(keep, rows.shape[0], held)
        if n == 0:
            return at, start
        if wanted != NULL:
            wanted += start
        with self._lock, nogil:
            given = sn_shuffler_push(
                to_x + at * d * self._itemsize, to_y + at * (self._width - d) * self._itemsize, &taken, &self.state,
                source + start * self.state.width, wanted, d * self._itemsize, room, n
            )
        return at + given, start + taken

    def drain(self, x, y, int64_t at):
        """Give out what is left, until x is full; see the twin."""
        cdef list held = []
        cdef int64_t d = x.shape[1], room = x.shape[0] - at, given
        cdef char *to_x
        cdef char *to_y
        self._check(x, y, at)
        to_x = start_of(x, d, self._dtype, held)
        to_y = start_of(y, self._width - d, self._dtype, held)
        with self._lock, nogil:
            given = sn_shuffler_drain(
                to_x + at * d * self._itemsize, to_y + at * (self._width - d) * self._itemsize, &self.state,
                d * self._itemsize, room
            )
        return at + given

    cdef int _check(self, x, y, int64_t at) except -1:
        if x.shape[0] != y.shape[0] or not 0 <= at <= x.shape[0]:
            raise ValueError("x and y have as many rows, and `at` is one of them")
        return 0
