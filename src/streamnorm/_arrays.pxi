# Part of _core.pyx: from Python objects (ndarrays, Arrow arrays) to the kernels' sn_array, without copies.

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
        obj = pa.array(obj) if hasattr(obj, "__arrow_c_array__") else pa.chunked_array(obj)
    if pa.types.is_run_end_encoded(obj.type):
        import pyarrow.compute as pc

        return pc.run_end_decode(obj)
    if pa.types.is_dictionary(obj.type):
        return obj.cast(obj.type.value_type)
    return obj


cdef bint is_encoded(const ArrowSchema *schema):
    return schema.dictionary != NULL or strcmp(schema.format, b"+r") == 0
