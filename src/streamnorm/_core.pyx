"""The compiled core: Arrow and NumPy arrays in, nogil C kernels, Python objects out."""
# Design: this file checks arguments, finds buffers and releases the GIL once a chunk; every loop over values is C in
# csrc/. Arrow data comes in through the C data interface (any producer, no copy, nothing to link), NumPy arrays
# through the buffer protocol (so that numpy's headers are not needed to build). Turned down: pyarrow's Cython API,
# which would tie a wheel to one pyarrow version.
#
# Each ColumnStats has a lock of its own, because the GIL is not held while it is updated, and on a free-threaded
# build not at all.

import threading
from decimal import Decimal

import numpy as np

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.errno cimport EINTR, errno
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset, strcmp, strerror
from posix.unistd cimport write

from streamnorm._sketch cimport QuantileSketch, sn_kll


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


cdef extern from "column.h" nogil:
    ctypedef enum sn_status:
        SN_OK, SN_ERR_NOMEM, SN_ERR_INVALID, SN_ERR_CORRUPT, SN_ERR_INCOMPATIBLE

    ctypedef enum sn_kind:
        SN_KIND_NONE, SN_KIND_FLOAT, SN_KIND_INTEGER, SN_KIND_DECIMAL

    ctypedef struct sn_moments:
        int64_t count
        double mean, mean_lo, m2, m2_lo
        int32_t exponent

    # The struct itself is declared in _core.pxd without its fields; these accessors stand in for them.
    ctypedef struct column_fields "sn_column":
        int64_t rows, nulls, no_value, infinities
        sn_moments moments
        double min, max
        sn_int_extrema integer
        sn_kind kind
        int32_t scale
        int32_t has_moments
        int64_t pending
        double *block
        sn_kll *sketch

    void sn_column_init(column_fields *column, int has_moments, sn_kll *sketch)
    void sn_column_release(column_fields *column)
    sn_status sn_column_copy(column_fields *to, const column_fields *source)
    sn_status sn_column_update(column_fields *column, const sn_array *array)
    void sn_column_update_nulls(column_fields *column, int64_t n)
    sn_status sn_column_merge(column_fields *into, const column_fields *source)
    void sn_column_close(column_fields *column)
    sn_status sn_column_update_matrix(column_fields **columns, const sn_array *first, int64_t column_stride,
                                      int64_t n_columns)
    int sn_column_integer_extrema(const column_fields *column, int64_t *high, uint64_t *low)
    void sn_column_set_integer_extrema(column_fields *column, const int64_t *high, const uint64_t *low)
    double sn_moments_variance(const sn_moments *m, double ddof)
    double sn_moments_std(const sn_moments *m, double ddof)


cdef extern from "affine.h" nogil:
    ctypedef struct sn_affine_map:
        double center, scale, offset, low, high
        int32_t inverse

    void sn_affine_array(void *out, sn_type out_type, const sn_array *array, const sn_affine_map *map)
    void sn_affine_rows_float64(double *out, const double *x, const sn_affine_map *map, double *scratch, int64_t n,
                                int64_t d)
    void sn_affine_rows_float32(float *out, const float *x, const sn_affine_map *map, double *scratch, int64_t n,
                                int64_t d)


cdef enum:
    WRITE_BYTES = 1 << 18

__all__ = ["ColumnStats", "affine", "affine_matrix", "update_matrix"]

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
    raise ValueError("invalid argument to a streamnorm kernel")


# ------------------------------------------------------------------ from Python objects to sn_array

ARROW_TYPES = {
    b"b": SN_BOOL, b"c": SN_INT8, b"C": SN_UINT8, b"s": SN_INT16, b"S": SN_UINT16, b"i": SN_INT32, b"I": SN_UINT32,
    b"l": SN_INT64, b"L": SN_UINT64, b"e": SN_FLOAT16, b"f": SN_FLOAT32, b"g": SN_FLOAT64,
    b"tdD": SN_INT32, b"tts": SN_INT32, b"ttm": SN_INT32, b"tdm": SN_INT64, b"ttu": SN_INT64, b"ttn": SN_INT64,
    b"tDs": SN_INT64, b"tDm": SN_INT64, b"tDu": SN_INT64, b"tDn": SN_INT64,
}
NUMPY_TYPES = {
    np.dtype(name): type
    for name, type in {
        "i1": SN_INT8, "i2": SN_INT16, "i4": SN_INT32, "i8": SN_INT64, "u1": SN_UINT8, "u2": SN_UINT16,
        "u4": SN_UINT32, "u8": SN_UINT64, "f2": SN_FLOAT16, "f4": SN_FLOAT32, "f8": SN_FLOAT64, "b1": SN_BOOL8,
    }.items()
}
DECIMAL_TYPES = {"32": SN_DECIMAL32, "64": SN_DECIMAL64, "128": SN_DECIMAL128}
NULL_TYPE = -1


cdef int arrow_type(int *type, int32_t *scale, const ArrowSchema *schema) except -1:
    """The kernel's type for an Arrow format string (docs: Arrow C data interface, "Data type description")."""
    cdef bytes name = schema.format
    scale[0] = 0
    if name == b"n":
        type[0] = NULL_TYPE
        return 0
    if name.startswith(b"ts"):
        type[0] = SN_INT64
        return 0
    if name.startswith(b"d:"):
        precision, digits, *width = name[2:].decode().split(",")
        bits = width[0] if width else "128"
        if bits not in DECIMAL_TYPES:
            raise TypeError(f"decimals of {bits} bits have no kernel; cast the column to decimal128")
        type[0] = DECIMAL_TYPES[bits]
        scale[0] = int(digits)
        return 0
    if name not in ARROW_TYPES:
        raise TypeError(f"expected a numeric Arrow array, got one of format {name.decode()!r}")
    type[0] = ARROW_TYPES[name]
    return 0


cdef int fill_from_arrow(sn_array *out, int type, int32_t scale, const ArrowArray *array) except -1:
    """Point `out` at the array's buffers; nothing is copied, so the ArrowArray must outlive it."""
    cdef int64_t width
    memset(out, 0, sizeof(sn_array))
    out.length = array.length
    if type == NULL_TYPE:
        return 0
    if array.n_buffers != 2:
        raise ValueError(f"a numeric Arrow array has 2 buffers, this one {array.n_buffers}")
    out.type = <sn_type>type
    out.scale = scale
    out.offset = array.offset
    width = sn_type_width(out.type)
    out.stride = width
    out.values = <const char *>array.buffers[1] + array.offset * width
    if array.null_count != 0:
        out.validity = <const uint8_t *>array.buffers[0]
    return 0


cdef class NumpyBuffer:
    """Holds the buffer of an ndarray while a kernel reads it."""

    cdef Py_buffer view
    cdef bint held
    cdef object array

    def __cinit__(self, array, bint writable=False):
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        self.array = array

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


def as_numeric_ndarray(array):
    """`array` as an ndarray of a type with a kernel; a copy only where NumPy's type has none."""
    array = np.asarray(array)
    if array.dtype in NUMPY_TYPES:
        return array
    if not array.dtype.isnative:
        return as_numeric_ndarray(array.astype(array.dtype.newbyteorder("=")))
    if array.dtype.kind in "mM":
        return array.view(np.int64)
    if array.dtype.kind in "fO":  # long double, and objects that are numbers
        return array.astype(np.float64)
    raise TypeError(f"expected numbers, got an array of dtype {array.dtype}")


cdef sn_type numpy_type(array) except *:
    return NUMPY_TYPES[array.dtype]


cdef int fill_from_numpy(sn_array *out, NumpyBuffer buffer, sn_type type) except -1:
    memset(out, 0, sizeof(sn_array))
    out.type = type
    out.values = buffer.view.buf
    out.stride = buffer.view.strides[0] if buffer.view.shape[0] > 1 else sn_type_width(type)
    out.length = buffer.view.shape[0]
    return 0


def plain_arrow(obj):
    """`obj` with a dictionary or run-end encoding undone; other objects as they are."""
    import pyarrow as pa

    if not isinstance(obj, (pa.Array, pa.ChunkedArray)):
        obj = pa.chunked_array(obj) if hasattr(obj, "__arrow_c_stream__") else pa.array(obj)
    if pa.types.is_dictionary(obj.type) or pa.types.is_run_end_encoded(obj.type):
        return obj.cast(obj.type.value_type)
    return obj


cdef bint is_encoded(const ArrowSchema *schema):
    return schema.dictionary != NULL or strcmp(schema.format, b"+r") == 0


# ------------------------------------------------------------------ statistics of one column

cdef column_fields *fields_of(ColumnStats self) noexcept:
    return <column_fields *>self._column


cdef int update_array(ColumnStats self, const sn_array *array, bint null_type) except -1:
    cdef sn_status status = SN_OK
    with self._lock:
        if null_type:
            sn_column_update_nulls(fields_of(self), array.length)
        else:
            with nogil:
                status = sn_column_update(<column_fields *>self._column, array)
    return check(status)


cdef int update_arrow_array(ColumnStats self, obj) except -1:
    cdef int type = 0
    cdef int32_t scale = 0
    cdef sn_array array
    schema_capsule, array_capsule = obj.__arrow_c_array__()
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
    cdef ArrowArray *data = <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array")
    if is_encoded(schema):
        return update_arrow_array(self, plain_arrow(obj))
    arrow_type(&type, &scale, schema)
    fill_from_arrow(&array, type, scale, data)
    return update_array(self, &array, type == NULL_TYPE)


cdef int update_arrow_stream(ColumnStats self, obj) except -1:
    cdef int type = 0, code
    cdef int32_t scale = 0
    cdef sn_array array
    cdef ArrowSchema schema
    cdef ArrowArray data
    capsule = obj.__arrow_c_stream__()
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, b"arrow_array_stream")
    if stream.get_schema(stream, &schema) != 0:
        raise ValueError(f"the Arrow stream has no schema: {stream_error(stream)}")
    try:
        if is_encoded(&schema):
            return update_arrow_stream(self, plain_arrow(obj))
        arrow_type(&type, &scale, &schema)
    finally:
        if schema.release != NULL:
            schema.release(&schema)
    while True:
        with nogil:
            code = stream.get_next(stream, &data)
        if code != 0:
            raise ValueError(f"the Arrow stream broke off: {stream_error(stream)}")
        if data.release == NULL:
            return 0
        try:
            fill_from_arrow(&array, type, scale, &data)
            update_array(self, &array, type == NULL_TYPE)
        finally:
            data.release(&data)


cdef column_fields closed(ColumnStats self):
    """The fields with the open block counted in; borrows the block and leaves the sketch out."""
    cdef column_fields fields
    with self._lock:
        fields = fields_of(self)[0]
        fields.sketch = NULL
        sn_column_close(&fields)
    return fields


cdef tuple exact_extrema(ColumnStats self, const column_fields *c):
    cdef int64_t high[2]
    cdef uint64_t low[2]
    if not sn_column_integer_extrema(c, high, low):
        return None, None
    return (<object>high[0] << 64) | low[0], (<object>high[1] << 64) | low[1]


cdef tuple extrema_of(ColumnStats self):
    cdef column_fields c = closed(self)
    if c.rows == c.no_value:
        return None, None
    if c.kind == SN_KIND_FLOAT:
        return c.min + 0.0, c.max + 0.0  # -0.0 and 0.0 are one value; which came first must not show
    low, high = exact_extrema(self, &c)
    if c.kind == SN_KIND_DECIMAL:
        return scaled_decimal(low, c.scale), scaled_decimal(high, c.scale)
    return low, high


cdef class ColumnStats:
    """Streaming statistics of one column: counts, moments, extrema and, on request, quantiles.

    Parameters
    ----------
    moments : bool, default True
        Collect mean and variance.
    extrema : bool, default True
        Report ``min`` and ``max`` (they cost nothing beside the rest).
    sketch : QuantileSketch, optional
        An empty sketch; the column feeds a copy of it.

    Notes
    -----
    Nulls and NaN are counted and skipped. The stream is cut into blocks of 2,048 rows by row position, so the bits
    of every statistic are the same however the rows are split over calls of `update`. Moments follow Chan, Golub and
    LeVeque (1979), with the mean kept as an unevaluated pair.

    Examples
    --------
    >>> import numpy as np
    >>> stats = ColumnStats().update(np.array([1.0, 2.0, np.nan, 4.0]))
    >>> stats.count, stats.nan_count, stats.mean, stats.max
    (3, 1, 2.3333333333333335, 4.0)
    """

    def __cinit__(self):
        self._lock = threading.Lock()
        self._column = <sn_column *>malloc(sizeof(column_fields))
        if self._column == NULL:
            raise MemoryError
        sn_column_init(<column_fields *>self._column, True, NULL)

    def __init__(self, *, bint moments=True, bint extrema=True, QuantileSketch sketch=None):
        cdef sn_kll *own = NULL
        if sketch is not None:
            own = sn_kll_copy(sketch._kll)
            if own == NULL:
                raise MemoryError
        sn_column_release(<column_fields *>self._column)
        sn_column_init(<column_fields *>self._column, moments, own)

    def __dealloc__(self):
        if self._column != NULL:
            sn_column_release(<column_fields *>self._column)
            free(self._column)

    # -------------------------------------------------------------- feeding

    def update(self, array):
        """Add a chunk.

        Parameters
        ----------
        array : ndarray of shape (n,), Arrow array or Arrow stream of arrays
            Integers, floats, bool, decimals, or temporal values (as their integers).

        Returns
        -------
        ColumnStats
            Itself.

        Raises
        ------
        TypeError
            If the values are not numbers, or decimals of another scale than before.
        """
        cdef sn_array data
        cdef NumpyBuffer buffer
        if not isinstance(array, np.ndarray):
            if hasattr(array, "__arrow_c_array__"):
                update_arrow_array(self, array)
                return self
            if hasattr(array, "__arrow_c_stream__"):
                update_arrow_stream(self, array)
                return self
        array = as_numeric_ndarray(array)
        if array.ndim != 1:
            raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
        buffer = NumpyBuffer(array)
        fill_from_numpy(&data, buffer, numpy_type(array))
        update_array(self, &data, False)
        return self

    def merge(self, ColumnStats other not None):
        """Add what `other` has seen, as if its rows came after these; `other` is left as it was.

        Raises
        ------
        TypeError
            If the two did not collect the same statistics, or decimals of different scale.
        """
        cdef ColumnStats part = other.copy()  # its own lock is not held together with ours
        cdef sn_status status
        with self._lock:
            with nogil:
                status = sn_column_merge(<column_fields *>self._column, <column_fields *>part._column)
        check(status)
        return self

    def copy(self):
        """An independent copy."""
        cdef ColumnStats other = ColumnStats.__new__(ColumnStats)
        cdef column_fields copied
        with self._lock:
            check(sn_column_copy(&copied, fields_of(self)))
        sn_column_release(fields_of(other))
        fields_of(other)[0] = copied
        return other

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return ColumnStats.from_state, (self.state(),)

    # -------------------------------------------------------------- reading

    @property
    def has_moments(self):
        """Whether mean and variance are collected."""
        return bool(fields_of(self).has_moments)

    @property
    def has_extrema(self):
        """Whether min and max are known (always)."""
        return True

    @property
    def sketch(self):
        """A copy of the quantile sketch, or None."""
        cdef QuantileSketch sketch
        cdef sn_kll *copied
        with self._lock:
            if fields_of(self).sketch == NULL:
                return None
            copied = sn_kll_copy(fields_of(self).sketch)
        if copied == NULL:
            raise MemoryError
        return QuantileSketch._wrap(copied)

    @property
    def rows(self):
        """All rows seen."""
        return fields_of(self).rows

    @property
    def null_count(self):
        """Rows that are null."""
        return fields_of(self).nulls

    @property
    def nan_count(self):
        """Values that are NaN."""
        cdef column_fields c = closed(self)
        return c.no_value - c.nulls

    @property
    def count(self):
        """Values that are neither null nor NaN."""
        cdef column_fields c = closed(self)
        return c.rows - c.no_value

    @property
    def infinite_count(self):
        """Values that are infinite: in min and max, not in the moments' sums."""
        return closed(self).infinities

    @property
    def kind(self):
        """``"float"``, ``"int"`` or ``"decimal"``; None before any data."""
        return KINDS[fields_of(self).kind]

    @property
    def mean(self):
        """The mean, rounded; NaN without values or with infinite ones."""
        cdef column_fields c = closed(self)
        return c.moments.mean if c.moments.count > 0 and c.infinities == 0 else NAN

    @property
    def mean_lo(self):
        """What `mean` lacks of the mean: the two are an unevaluated pair."""
        return closed(self).moments.mean_lo

    @property
    def m2(self):
        """Sum of squared deviations from the mean, in units of 4**exponent."""
        cdef column_fields c = closed(self)
        return c.moments.m2 if c.infinities == 0 else NAN

    @property
    def exponent(self):
        """See `m2`; 0 unless magnitudes reach 2**480 or all stay below 2**-400."""
        cdef column_fields c = closed(self)
        return c.moments.exponent if c.moments.count > 0 else 0

    def var(self, double ddof=0):
        """Variance with divisor ``count - ddof``; NaN where that is not positive."""
        cdef column_fields c = closed(self)
        return sn_moments_variance(&c.moments, ddof) if c.infinities == 0 else NAN

    def std(self, double ddof=0):
        """Standard deviation; finite also where the variance overflows."""
        cdef column_fields c = closed(self)
        return sn_moments_std(&c.moments, ddof) if c.infinities == 0 else NAN

    @property
    def min(self):
        """Smallest value: float, int or Decimal after the column's kind; None without values."""
        return extrema_of(self)[0]

    @property
    def max(self):
        """Largest value: float, int or Decimal after the column's kind; None without values."""
        return extrema_of(self)[1]

    # -------------------------------------------------------------- state

    def state(self):
        """The statistics as plain Python values; `from_state` takes them back.

        Returns
        -------
        dict
            ``rows null_count nan_count infinite_count kind min max``, with ``mean mean_lo m2 exponent`` when moments
            are collected and ``sketch`` (bytes) when quantiles are. Integer and decimal extrema are strings of digits.
            The open block is closed in it.
        """
        cdef column_fields c = closed(self)
        low, high = extrema_of(self)
        state = {
            "rows": c.rows,
            "null_count": c.nulls,
            "nan_count": c.no_value - c.nulls,
            "infinite_count": c.infinities,
            "kind": KINDS[c.kind],
            "min": low if c.kind == SN_KIND_FLOAT or low is None else str(low),
            "max": high if c.kind == SN_KIND_FLOAT or high is None else str(high),
        }
        if c.kind == SN_KIND_DECIMAL:
            if low is not None:
                state["min"], state["max"] = f"{low:f}", f"{high:f}"  # as many digits as the type has
        if c.has_moments:
            state["mean"] = c.moments.mean
            state["mean_lo"] = c.moments.mean_lo
            state["m2"] = c.moments.m2
            state["exponent"] = c.moments.exponent if c.moments.count > 0 else 0
        sketch = self.sketch
        if sketch is not None:
            state["sketch"] = sketch.to_bytes()
        return state

    @classmethod
    def from_state(cls, state):
        """Rebuild from `state`.

        Raises
        ------
        ValueError
            If the values contradict each other.
        """
        cdef ColumnStats stats
        cdef column_fields *c
        cdef int64_t high[2]
        cdef uint64_t low[2]
        sketch = QuantileSketch.from_bytes(state["sketch"]) if "sketch" in state else None
        stats = cls(moments="mean" in state, sketch=sketch)
        c = fields_of(stats)
        if state["kind"] not in KINDS:
            raise ValueError(f"unknown kind of column {state['kind']!r}")
        c.kind = <sn_kind><int>KINDS.index(state["kind"])
        c.rows, c.nulls, c.infinities = state["rows"], state["null_count"], state["infinite_count"]
        c.no_value = c.nulls + <int64_t>state["nan_count"]
        count = c.rows - c.no_value
        if min(c.rows, c.nulls, c.no_value - c.nulls, c.infinities, count) < 0 or c.infinities > count:
            raise ValueError("counts contradict each other")
        if sketch is not None and sketch.count != count:
            raise ValueError("the sketch holds another number of values than the column")
        if (state["min"] is None) != (count == 0) or (state["max"] is None) != (count == 0):
            raise ValueError("min and max contradict the count")
        if count > 0 and c.kind == SN_KIND_NONE:
            raise ValueError("a column with values has a kind")
        if count == 0:
            c.kind = SN_KIND_NONE  # nothing is known that could contradict other data
        elif c.kind == SN_KIND_DECIMAL:
            c.scale = len(state["min"].partition(".")[2])
        if count > 0:
            if c.kind == SN_KIND_FLOAT:
                c.min, c.max = state["min"], state["max"]
            else:
                bounds = [Decimal(state["min"]), Decimal(state["max"])]
                c.min, c.max = float(bounds[0]), float(bounds[1])
                for i in range(2):
                    exact = unscaled_int(bounds[i], c.scale)
                    if not -(1 << 127) <= exact < 1 << 127:
                        raise ValueError("min or max does not fit 128 bits")
                    high[i] = exact >> 64
                    low[i] = exact & 0xFFFFFFFFFFFFFFFF
                sn_column_set_integer_extrema(c, high, low)
                if bounds[0] > bounds[1]:
                    raise ValueError("min is larger than max")
            if not c.min <= c.max:
                raise ValueError("min is larger than max")
        if c.has_moments and count > c.infinities:
            c.moments.count = count - c.infinities
            c.moments.mean, c.moments.mean_lo = state["mean"], state["mean_lo"]
            c.moments.m2 = state["m2"]
            c.moments.exponent = state["exponent"]
            if state["exponent"] not in (-600, 0, 600):
                raise ValueError("unknown exponent of the sum of squares")
            finite = np.isfinite([c.moments.mean, c.moments.mean_lo, c.moments.m2]).all()
            if not finite or c.moments.m2 < 0 or c.moments.mean + c.moments.mean_lo != c.moments.mean:
                raise ValueError("the moments are not those of any data")
        return stats

    def __repr__(self):
        return f"<ColumnStats: {self.count} values, {self.null_count} null, {self.nan_count} NaN>"


cdef stream_error(ArrowArrayStream *stream):
    cdef const char *text = stream.get_last_error(stream)
    return text.decode("utf-8", "replace") if text != NULL else "no reason given"


def scaled_decimal(unscaled, scale):
    """unscaled / 10**scale, exactly (arithmetic of the decimal module would round to its context)."""
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def unscaled_int(value, scale):
    """The inverse of `scaled_decimal`; ValueError where digits would be lost."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent + scale < 0 or exponent + scale > 80:
        raise ValueError(f"{value} is no decimal with {scale} digits behind the point")
    unscaled = int("".join(map(str, digits))) * 10 ** (exponent + scale)
    return -unscaled if sign else unscaled


def update_matrix(columns, X):
    """Feed column j of a 2-D array to ``columns[j]``, cache block by cache block, without the GIL.

    Parameters
    ----------
    columns : list of ColumnStats, one a column, all different
    X : ndarray of shape (n_rows, n_columns)
    """
    cdef sn_array first
    cdef NumpyBuffer buffer
    cdef int64_t d = len(columns), j, stride
    cdef sn_status status
    cdef column_fields **pointers
    X = as_numeric_ndarray(X)
    if X.ndim != 2 or X.shape[1] != d:
        raise ValueError(f"expected an array of shape (n, {d}), got {X.shape}")
    if len(set(map(id, columns))) != d:
        raise ValueError("each column needs a ColumnStats of its own")
    if d == 0 or X.shape[0] == 0:
        return
    buffer = NumpyBuffer(X)
    fill_from_numpy(&first, buffer, numpy_type(X))
    stride = buffer.view.strides[1]
    pointers = <column_fields **>calloc(d, sizeof(column_fields *))
    if pointers == NULL:
        raise MemoryError
    ordered = sorted(columns, key=id)  # one order of locking for every caller
    for column in ordered:
        (<ColumnStats?>column)._lock.acquire()
    try:
        for j in range(d):
            pointers[j] = fields_of(<ColumnStats>columns[j])
        with nogil:
            status = sn_column_update_matrix(pointers, &first, stride, d)
        check(status)
    finally:
        for column in ordered:
            (<ColumnStats>column)._lock.release()
        free(pointers)


# ------------------------------------------------------------------ the affine transform

cdef sn_affine_map affine_map(double center, double scale, double offset, clip, bint inverse) except *:
    cdef sn_affine_map map
    map.center, map.scale, map.inverse = center, scale, inverse
    # x + -0.0 and x - 0.0 are x for every x, -0.0 included; x + 0.0 is not.
    map.offset = offset if offset != 0.0 else (0.0 if inverse else -0.0)
    map.low, map.high = (-INFINITY, INFINITY) if clip is None else clip
    return map


def affine(array, double center, double scale, double offset=0.0, *, clip=None, bint inverse=False, dtype=np.float64,
           out=None):
    """``(x - center) / scale + offset``, computed in double precision, then clipped and cast.

    Parameters
    ----------
    array : ndarray of shape (n,) or Arrow array
        Values under nulls come out unspecified: the validity bitmap stays the caller's.
    center, scale, offset : float
    clip : (float, float), optional
        Bounds of the result. NaN passes.
    inverse : bool, default False
        Compute ``(y - offset) * scale + center`` instead; `clip` does not apply.
    dtype : numpy float dtype, default float64
    out : ndarray of shape (n,), contiguous, of `dtype`, optional
        Where to write; may be `array` itself.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> affine(np.array([1.0, 2.0, 3.0]), center=2.0, scale=2.0)
    array([-0.5,  0. ,  0.5])
    """
    cdef sn_array data
    cdef NumpyBuffer buffer, target
    cdef int type = 0
    cdef int32_t scale_digits = 0
    cdef sn_affine_map map = affine_map(center, scale, offset, clip, inverse)
    cdef sn_type out_type
    cdef ArrowSchema *schema
    cdef ArrowArray *arrow
    if not isinstance(array, np.ndarray) and hasattr(array, "__arrow_c_array__"):
        schema_capsule, array_capsule = array.__arrow_c_array__()
        schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
        arrow = <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array")
        if is_encoded(schema):
            return affine(plain_arrow(array), center, scale, offset, clip=clip, inverse=inverse, dtype=dtype, out=out)
        arrow_type(&type, &scale_digits, schema)
        if type == NULL_TYPE:
            return np.full(arrow.length, np.nan, dtype) if out is None else out
        fill_from_arrow(&data, type, scale_digits, arrow)
    else:
        array = as_numeric_ndarray(array)
        if array.ndim != 1:
            raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
        buffer = NumpyBuffer(array)
        fill_from_numpy(&data, buffer, numpy_type(array))
    dtype = np.dtype(dtype)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise TypeError(f"the result is float16, float32 or float64, not {dtype}")
    if out is None:
        out = np.empty(data.length, dtype)
    elif out.dtype != dtype or out.shape != (data.length,) or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of shape ({data.length},)")
    target = NumpyBuffer(out, writable=True)
    out_type = numpy_type(out)
    with nogil:
        sn_affine_array(target.view.buf, out_type, &data, &map)
    return out


def affine_matrix(X, center, scale, offset, *, clip=None, bint inverse=False, out=None):
    """`affine` for each column of a matrix.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    center, scale, offset : array-like of shape (d,)
    clip : sequence of (float, float) or None, of length d, optional
        Bounds for each column.
    inverse : bool, default False
    out : ndarray of shape (n, d), C-contiguous, optional
        May be `X` itself.

    Returns
    -------
    ndarray of shape (n, d)
        Of X's dtype when that is a float, else float64.
    """
    cdef NumpyBuffer source, target
    cdef int64_t n, d, j
    cdef sn_affine_map *maps
    cdef double *scratch
    X = as_numeric_ndarray(X)
    if X.ndim != 2:
        raise ValueError(f"expected an array of two dimensions, got shape {X.shape}")
    n, d = X.shape
    center, scale, offset = (np.asarray(a, np.float64) for a in (center, scale, offset))
    if not center.shape == scale.shape == offset.shape == (d,):
        raise ValueError(f"center, scale and offset need the shape ({d},)")
    dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
    if out is None:
        out = np.empty((n, d), dtype)
    elif out.dtype != dtype or out.shape != (n, d) or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous {dtype} array of shape ({n}, {d})")
    if n == 0 or d == 0:
        return out
    clips = [None] * d if clip is None else list(clip)
    if X.dtype != dtype or not X.flags.c_contiguous or dtype.itemsize == 2:
        for j in range(d):
            out[:, j] = affine(X[:, j], center[j], scale[j], offset[j], clip=clips[j], inverse=inverse, dtype=dtype)
        return out
    source, target = NumpyBuffer(X), NumpyBuffer(out, writable=True)
    maps = <sn_affine_map *>malloc(d * sizeof(sn_affine_map))
    scratch = <double *>malloc(5 * d * sizeof(double))
    try:
        if maps == NULL or scratch == NULL:
            raise MemoryError
        for j in range(d):
            maps[j] = affine_map(center[j], scale[j], offset[j], clips[j], inverse)
        with nogil:
            if source.view.itemsize == 8:
                sn_affine_rows_float64(<double *>target.view.buf, <const double *>source.view.buf, maps, scratch, n, d)
            else:
                sn_affine_rows_float32(<float *>target.view.buf, <const float *>source.view.buf, maps, scratch, n, d)
    finally:
        free(maps)
        free(scratch)
    return out


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
