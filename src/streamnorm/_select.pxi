# Part of _core.pyx: one pass of exact selection.

KEY_KINDS = ("double", "signed", "unsigned")


cdef class Selection:
    """Counts, and keys kept, of the values below and within intervals of keys: one pass towards exact quantiles.

    A key is a value's place in the order of its kind: of a double, its bits as a signed integer, with all but the sign
    flipped where that is set; of integers, themselves (of unsigned ones, less 2**63).

    Parameters
    ----------
    intervals : list of (low, high, atoms)
        Disjoint and ascending; low and high are inclusive. `atoms` are keys within, ascending, that occur often: they
        are counted instead of kept.
    kind : {"double", "signed", "unsigned"}
    bits : int
        Keys of an interval that are more than `capacity` are counted by these many leading bits of key - low.
    capacity : int
        Keys that an interval keeps at most.

    Notes
    -----
    After J. I. Munro and M. S. Paterson, "Selection and sorting with limited storage" (1980).
    """

    cdef sn_selection _selection
    cdef object _lock
    cdef readonly list intervals
    cdef readonly str kind
    cdef readonly int bits
    cdef readonly int64_t capacity

    def __init__(self, intervals, kind="double", int bits=13, int64_t capacity=1 << 20):
        if kind not in KEY_KINDS or not 1 <= bits <= SN_SELECT_MAX_BITS or capacity < 0:
            raise ValueError(f"no selection of kind {kind!r} with {bits} bits and room for {capacity}")
        self._lock = threading.Lock()
        self.intervals = [(int(low), int(high), tuple(atoms)) for low, high, atoms in intervals]
        self.kind, self.bits, self.capacity = kind, bits, capacity
        cdef int64_t[::1] lows = longs(one[0] for one in self.intervals)
        cdef int64_t[::1] highs = longs(one[1] for one in self.intervals)
        cdef int64_t[::1] sizes = longs(len(one[2]) for one in self.intervals)
        cdef int64_t[::1] flat = longs(atom for one in self.intervals for atom in one[2])
        for one in self.intervals:
            if one[0] > one[1]:
                raise ValueError("the low end of an interval is above its high end")
        sn_selection_release(&self._selection)
        check(sn_selection_init(&self._selection, <sn_key_kind><int>KEY_KINDS.index(kind), bits, capacity,
                                first_of(lows), first_of(highs), first_of(sizes), first_of(flat), len(self.intervals)))

    def __dealloc__(self):
        sn_selection_release(&self._selection)

    def fresh(self):
        """An empty one of the same intervals."""
        return Selection(self.intervals, self.kind, self.bits, self.capacity)

    def update(self, array):
        """Add a chunk: an ndarray of shape (n,) or an Arrow array of numbers; nulls and NaN are skipped."""
        cdef sn_array data
        cdef NumpyBuffer buffer
        cdef int type = 0
        cdef int32_t scale = 0
        cdef sn_status status
        cdef ArrowSchema *schema
        if hasattr(array, "__arrow_c_array__"):
            array = plain_arrow(array)
            schema_capsule, array_capsule = array.__arrow_c_array__()
            schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
            arrow_type(&type, &scale, schema)
            fill_from_arrow(&data, type, scale, <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array"))
            if type == NULL_TYPE:
                return self
        else:
            array = as_numeric_ndarray(array)
            buffer = NumpyBuffer(array)
            fill_from_numpy(&data, buffer, numpy_type(array))
        with self._lock:
            with nogil:
                status = sn_selection_update(&self._selection, &data)
        check(status)
        return self

    def merge(self, Selection other not None):
        """Add what `other`, of the same intervals, has seen; it is left as it was."""
        cdef sn_status status
        if other is self or (other.intervals, other.kind, other.bits) != (self.intervals, self.kind, self.bits):
            raise ValueError("selections merge with others of the same intervals")
        with self._lock:
            with nogil:
                status = sn_selection_merge(&self._selection, &other._selection)
        check(status)
        return self

    def add_below(self, int i, int64_t n):
        """Count n values as below interval i that were not looked at."""
        with self._lock:
            self._at(i).below += n

    def below(self, int i):
        """Keys below interval i."""
        return self._at(i).below

    def inside(self, int i):
        """Keys within interval i, atoms included."""
        return self._at(i).inside

    def atom_counts(self, int i):
        """How often each atom of interval i occurs: an int64 array."""
        cdef sn_interval *one = self._at(i)
        return copied(one.atom_counts, one.n_atoms)

    def keys(self, int i):
        """The keys kept of interval i in no order, atoms left out: an int64 array; None if they were too many."""
        cdef sn_interval *one = self._at(i)
        return None if one.counts != NULL else copied(one.keys, one.size)

    def counts(self, int i):
        """Where keys were too many: (counts, shift), the number of keys by (key - low) >> shift; atoms left out."""
        cdef sn_interval *one = self._at(i)
        return None if one.counts == NULL else (copied(one.counts, 1 << self.bits), one.shift)

    cdef sn_interval *_at(self, int i) except NULL:
        if not 0 <= i < self._selection.n:
            raise IndexError(f"there is no interval {i}")
        return &self._selection.intervals[i]

    def __repr__(self):
        return f"<Selection: {self._selection.n} intervals of {self.kind} keys>"


cdef longs(values):
    return np.fromiter(values, np.int64)


cdef const int64_t *first_of(int64_t[::1] values) noexcept:
    return &values[0] if values.shape[0] > 0 else NULL


cdef copied(const int64_t *values, int64_t n):
    cdef int64_t[::1] view
    out = np.empty(n, np.int64)
    if n > 0:
        view = out
        memcpy(&view[0], values, n * sizeof(int64_t))
    return out
