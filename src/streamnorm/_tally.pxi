# Part of _core.pyx: what a description says of a column beside its statistics.

cdef class ColumnTally:
    """Zeros, whole numbers, order, skewness and distinct values of a column, in one pass.

    Nulls, NaN and infinite values are left out of all of it. The stream is cut into blocks of 2,048 rows by row
    position, as in `ColumnStats`, so that the bits are the same however the rows are split over calls of `update`.

    Notes
    -----
    Third moments are merged by Pébay's formulas (Sandia report SAND2008-6212). Values are hashed one-to-one, and up to
    1,024 hashes are kept; beyond that, 4,096 registers of HyperLogLog (Flajolet and others, AofA 2007) count them,
    and :func:`streamnorm.report.distinct.estimate` reads them. Both are functions of the set of values alone.

    Examples
    --------
    >>> import numpy as np
    >>> tally = ColumnTally().update(np.array([0.0, 2.0, np.nan, 2.0]))
    >>> tally.zero_count, tally.whole, tally.monotone, len(tally.hashes)
    (1, True, 'increasing', 2)
    """

    cdef sn_tally _tally
    cdef object _lock

    def __cinit__(self):
        self._lock = threading.Lock()
        sn_tally_init(&self._tally)

    def __dealloc__(self):
        sn_tally_release(&self._tally)

    def update(self, array):
        """Add a chunk: an ndarray of shape (n,), or an Arrow array or chunked array, of integers, floats or decimals.

        Raises
        ------
        TypeError
            If the values are not numbers.
        """
        cdef sn_array data
        cdef NumpyBuffer buffer
        cdef int type = 0
        cdef int32_t scale = 0
        cdef sn_status status = SN_OK
        cdef ArrowSchema *schema
        if hasattr(array, "__arrow_c_array__"):
            schema_capsule, array_capsule = array.__arrow_c_array__()
            schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
            if is_encoded(schema):
                return self.update(plain_arrow(array))
            arrow_type(&type, &scale, schema)
            fill_from_arrow(&data, type, scale, <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array"))
            if type == NULL_TYPE:
                return self
        elif hasattr(array, "chunks"):
            for chunk in array.chunks:
                self.update(chunk)
            return self
        else:
            array = as_numeric_ndarray(array)
            if array.ndim != 1:
                raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
            buffer = NumpyBuffer(array)
            fill_from_numpy(&data, buffer, numpy_type(array))
        with self._lock:
            with nogil:
                status = sn_tally_update(&self._tally, &data)
        check(status)
        return self

    def merge(self, ColumnTally other not None):
        """Add what `other`, another one, has seen, as if its rows came after these; it is left as it was."""
        cdef sn_status status = SN_OK
        cdef ColumnTally first = self if id(self) < id(other) else other  # one order of locking for every caller
        cdef ColumnTally second = other if first is self else self
        if other is self:
            raise ValueError("a tally merges with another one")
        with first._lock, second._lock:
            with nogil:
                status = sn_tally_merge(&self._tally, &other._tally)
        check(status)
        return self

    @property
    def zero_count(self):
        """Values that are zero."""
        return self._tally.zeros

    @property
    def whole(self):
        """Whether all values are whole numbers; True without any."""
        return bool(self._tally.whole)

    @property
    def monotone(self):
        """ "increasing" where no value is below the one before it, "decreasing" the other way round; None if neither,
        or where all are equal."""
        if self._tally.rises == self._tally.falls:
            return None
        return "increasing" if self._tally.rises else "decreasing"

    @property
    def skew(self):
        """The third standardized moment, m3 / m2**1.5; None without spread."""
        cdef double found = NAN
        with self._lock:
            found = sn_tally_skew(&self._tally)
        return None if found != found else found

    @property
    def hashes(self):
        """The hashes of the values, ascending; None if they are more than 1,024, and registers count them."""
        cdef uint64_t[::1] view
        cdef int64_t found = 0
        with self._lock:
            if self._tally.distinct.registers != NULL:
                return None
            out = np.empty(SN_DISTINCT_EXACT, np.uint64)
            view = out
            found = sn_distinct_hashes(&view[0], &self._tally.distinct)
        return np.sort(out[:found])

    @property
    def registers(self):
        """For the hashes that begin with the same 12 bits, 1 more than the longest run of zeros behind these; None while
        hashes are kept."""
        cdef uint8_t[::1] view
        with self._lock:
            if self._tally.distinct.registers == NULL:
                return None
            out = np.empty(1 << SN_DISTINCT_PRECISION, np.uint8)
            view = out
            memcpy(&view[0], self._tally.distinct.registers, 1 << SN_DISTINCT_PRECISION)
        return out

    def __repr__(self):
        found = "more than 1,024" if self._tally.distinct.registers != NULL else len(self.hashes)
        return f"<ColumnTally: {self._tally.zeros} zeros, {found} distinct values>"
