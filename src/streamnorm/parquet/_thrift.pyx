"""Reader of Thrift's compact protocol: bytes -> generic structs, bounds-checked. ``thrift.py`` describes
both.

Nothing is allocated on the word of the input: a list is grown element by element, and a count beyond the
bytes that are left (every element takes at least one) is refused before the first. Depth is limited, and
counts structs, lists and maps alike.
"""

# cython: boundscheck=False, wraparound=False

from array import array

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

MAX_DEPTH = 32
cdef int DEPTH = 32

cdef enum:
    TRUE = 1
    BOOL = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    MAP = 11
    STRUCT = 12
    UUID = 13


class ThriftError(ValueError):
    """Bytes that are not Thrift's compact protocol, or a struct that cannot be written in it."""


cdef struct Reader:
    const uint8_t *data
    Py_ssize_t pos
    Py_ssize_t end


cdef object truncated(Reader *r):
    return ThriftError(f"Thrift data ends in the middle of a value, at byte {r.end}")


cdef int read_byte(Reader *r) except -1:
    if r.pos >= r.end:
        raise truncated(r)
    r.pos += 1
    return r.data[r.pos - 1]


cdef int read_varint(Reader *r, uint64_t *out) except -1:
    cdef uint64_t value = 0
    cdef int shift = 0, byte
    while True:
        if r.pos >= r.end:
            raise truncated(r)
        byte = r.data[r.pos]
        r.pos += 1
        if shift == 63 and byte > 1:
            raise ThriftError(f"integer of more than 64 bits at byte {r.pos}")
        value |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            out[0] = value
            return 0
        shift += 7


cdef int read_integer(Reader *r, int kind, int64_t *out) except -1:
    cdef uint64_t raw = 0
    cdef int64_t value
    read_varint(r, &raw)
    value = <int64_t>((raw >> 1) ^ (~(raw & 1) + 1))
    cdef int64_t limit = 0x7FFF if kind == I16 else 0x7FFFFFFF
    if kind != I64 and not -limit - 1 <= value <= limit:
        raise ThriftError(f"{value} at byte {r.pos} does not fit its integer type")
    out[0] = value
    return 0


cdef Py_ssize_t read_count(Reader *r) except -1:
    """A length or a number of elements, each of which takes at least one byte of what is left."""
    cdef uint64_t size = 0
    read_varint(r, &size)
    if size > <uint64_t>(r.end - r.pos):
        raise truncated(r)
    return <Py_ssize_t>size


cdef Py_ssize_t read_list_header(Reader *r, int *element) except -1:
    cdef int byte = read_byte(r)
    cdef Py_ssize_t size = byte >> 4
    element[0] = byte & 0x0F
    if element[0] == TRUE:
        element[0] = BOOL
    if size == 15:
        return read_count(r)
    if size > r.end - r.pos:
        raise truncated(r)
    return size


cdef int read_field(Reader *r, int *kind, int64_t *field) except -1:
    """Read a field's header; 0 at the end of the struct, else 1."""
    cdef int byte = read_byte(r)
    if byte == 0:
        return 0
    kind[0] = byte & 0x0F
    if byte >> 4:
        field[0] += byte >> 4
        if field[0] > 0x7FFF:
            raise ThriftError(f"field id out of range at byte {r.pos}")
    else:
        read_integer(r, I16, field)
    return 1


cdef int check_depth(int depth, Reader *r) except -1:
    if depth >= DEPTH:
        raise ThriftError(f"Thrift data is nested deeper than {DEPTH} at byte {r.pos}")
    return 0


cdef object no_type(int kind, Reader *r):
    return ThriftError(f"there is no Thrift type {kind} (byte {r.pos})")


cdef dict get_struct(Reader *r, int depth):
    cdef dict out = {}
    cdef int kind = 0
    cdef int64_t field = 0
    check_depth(depth, r)
    while read_field(r, &kind, &field):
        if kind == TRUE or kind == BOOL:
            out[field] = (BOOL, kind == TRUE)
        else:
            out[field] = (kind, get_value(r, kind, depth))
    return out


cdef object get_value(Reader *r, int kind, int depth):
    cdef int64_t integer = 0
    cdef Py_ssize_t size, i
    cdef int element = 0, other = 0
    cdef double number = 0
    cdef list items
    if kind == I16 or kind == I32 or kind == I64:
        read_integer(r, kind, &integer)
        return integer
    if kind == BINARY:
        size = read_count(r)
        r.pos += size
        return PyBytes_FromStringAndSize(<const char *>r.data + r.pos - size, size)
    if kind == STRUCT:
        return get_struct(r, depth + 1)
    if kind == LIST or kind == SET:
        check_depth(depth, r)
        size = read_list_header(r, &element)
        items = []
        for i in range(size):
            items.append(get_value(r, element, depth + 1))
        return element, items
    if kind == BOOL:
        return read_byte(r) == 1
    if kind == BYTE:
        element = read_byte(r)
        return element - 256 if element > 127 else element
    if kind == DOUBLE:
        if r.end - r.pos < 8:
            raise truncated(r)
        memcpy(&number, r.data + r.pos, 8)
        r.pos += 8
        return number
    if kind == MAP:
        check_depth(depth, r)
        size = read_count(r)
        items = []
        if size:
            element = read_byte(r)
            element, other = element >> 4, element & 0x0F
            element = BOOL if element == TRUE else element
            other = BOOL if other == TRUE else other
        for i in range(size):
            items.append((get_value(r, element, depth + 1), get_value(r, other, depth + 1)))
        return element, other, items
    if kind == UUID:
        if r.end - r.pos < 16:
            raise truncated(r)
        r.pos += 16
        return PyBytes_FromStringAndSize(<const char *>r.data + r.pos - 16, 16)
    raise no_type(kind, r)


cdef int pass_struct(Reader *r, int depth) except -1:
    cdef int kind = 0
    cdef int64_t field = 0
    check_depth(depth, r)
    while read_field(r, &kind, &field):
        if kind != TRUE and kind != BOOL:
            pass_value(r, kind, depth)
    return 0


cdef int pass_value(Reader *r, int kind, int depth) except -1:
    cdef int64_t integer = 0
    cdef Py_ssize_t size, i
    cdef int element = 0, other
    if kind == I16 or kind == I32 or kind == I64:
        read_integer(r, kind, &integer)
    elif kind == BINARY:
        size = read_count(r)
        r.pos += size
    elif kind == STRUCT:
        pass_struct(r, depth + 1)
    elif kind == LIST or kind == SET:
        check_depth(depth, r)
        size = read_list_header(r, &element)
        for i in range(size):
            pass_value(r, element, depth + 1)
    elif kind == BOOL or kind == BYTE:
        read_byte(r)
    elif kind == DOUBLE or kind == UUID:
        size = 8 if kind == DOUBLE else 16
        if r.end - r.pos < size:
            raise truncated(r)
        r.pos += size
    elif kind == MAP:
        check_depth(depth, r)
        size = read_count(r)
        element = read_byte(r) if size else 0
        element, other = element >> 4, element & 0x0F
        for i in range(size):
            pass_value(r, BOOL if element == TRUE else element, depth + 1)
            pass_value(r, BOOL if other == TRUE else other, depth + 1)
    else:
        raise no_type(kind, r)
    return 0


cdef Reader reader(const uint8_t[::1] data, Py_ssize_t start) except *:
    cdef Reader r
    if not 0 <= start <= data.shape[0]:
        raise ThriftError(f"byte {start} is outside of the data ({data.shape[0]} bytes)")
    r.data = &data[0] if data.shape[0] else NULL
    r.pos = start
    r.end = data.shape[0]
    return r


def decode(const uint8_t[::1] data not None, Py_ssize_t start=0):
    """Decode the struct that begins at a byte; returns it and the position after it."""
    cdef Reader r = reader(data, start)
    struct = get_struct(&r, 0)
    return struct, r.pos


def decode_struct(const uint8_t[::1] data not None, Py_ssize_t start=0):
    """Decode the struct that begins at a byte."""
    cdef Reader r = reader(data, start)
    return get_struct(&r, 0)


def skip_struct(const uint8_t[::1] data not None, Py_ssize_t start=0):
    """The position after the struct that begins at a byte, which is checked but not built."""
    cdef Reader r = reader(data, start)
    pass_struct(&r, 0)
    return r.pos


def struct_list(const uint8_t[::1] data not None, Py_ssize_t start, Py_ssize_t field):
    """Split a struct: its other fields decoded, and where each element of one list of structs begins.

    Parameters
    ----------
    data : bytes-like
    start : int
        Where the struct begins.
    field : int
        The field with the list of structs, whose elements are checked but not built.

    Returns
    -------
    struct : dict
        The struct without that field.
    starts : list of int, or None
        Where the list's elements begin; None if the field is absent.
    end : int
        The position after the struct.
    """
    cdef Reader r = reader(data, start)
    cdef dict out = {}
    cdef list starts = None
    cdef int kind = 0, element = 0
    cdef int64_t number = 0
    cdef Py_ssize_t size, i
    while read_field(&r, &kind, &number):
        if number == field and kind == LIST:
            size = read_list_header(&r, &element)
            if element != STRUCT and size:
                raise ThriftError(f"field {field} is not a list of structs")
            starts = []
            for i in range(size):
                starts.append(r.pos)
                pass_struct(&r, 1)
        elif kind == TRUE or kind == BOOL:
            out[number] = (BOOL, kind == TRUE)
        else:
            out[number] = (kind, get_value(&r, kind, 0))
    return out, starts, r.pos


include "_statistics.pxi"
