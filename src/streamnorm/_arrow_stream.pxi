# Part of _core.pyx: columns in chunks.

cdef class ArrowStream:
    """The arrays of a column that comes by the C stream interface, one after the other."""

    cdef object capsule
    cdef ArrowArrayStream *stream
    cdef ArrowArray held
    cdef int type  # not set where the arrays are encoded
    cdef int32_t scale
    cdef bint encoded

    def __cinit__(self, obj):
        cdef ArrowSchema schema
        self.held.release = NULL
        self.capsule = obj.__arrow_c_stream__()
        self.stream = <ArrowArrayStream *>PyCapsule_GetPointer(self.capsule, b"arrow_array_stream")
        if self.stream.get_schema(self.stream, &schema) != 0:
            raise ValueError(f"the Arrow stream has no schema: {stream_error(self.stream)}")
        try:
            self.encoded = is_encoded(&schema)
            if not self.encoded:
                arrow_type(&self.type, &self.scale, &schema)
        finally:
            if schema.release != NULL:
                schema.release(&schema)

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        if self.held.release != NULL:
            self.held.release(&self.held)
            self.held.release = NULL

    cdef bint next(self, sn_array *out) except -1:
        """Point `out` at the next array, which lasts until the one after it; False at the end."""
        cdef int code
        self.release()
        with nogil:
            code = self.stream.get_next(self.stream, &self.held)
        if code != 0:
            self.held.release = NULL
            raise ValueError(f"the Arrow stream broke off: {stream_error(self.stream)}")
        if self.held.release == NULL:
            return False
        fill_from_arrow(out, self.type, self.scale, &self.held)
        return True
