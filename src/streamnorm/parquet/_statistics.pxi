# Part of _thrift.pyx: the statistics of column chunks, read and judged.

# What `chunk_statistics` says of a chunk, bit by bit.
cdef enum:
    ENCRYPTED_BIT = 1
    CORRUPT_BIT = 2
    STATISTICS_BIT = 4
    NULL_COUNT_BIT = 8
    NAN_COUNT_BIT = 16
    INEXACT_BIT = 32
    DEPRECATED_BIT = 64

ENCRYPTED, CORRUPT, STATISTICS = ENCRYPTED_BIT, CORRUPT_BIT, STATISTICS_BIT
NULL_COUNT, NAN_COUNT, INEXACT, DEPRECATED = NULL_COUNT_BIT, NAN_COUNT_BIT, INEXACT_BIT, DEPRECATED_BIT


cdef struct Span:
    Py_ssize_t start
    Py_ssize_t size  # -1: absent


cdef struct Chunk:
    int flags
    int64_t physical_type, num_values, nulls, nans
    Span old_max, old_min, max, min


cdef int read_span(Reader *r, int kind, Span *span) except -1:
    if kind != BINARY:
        raise ThriftError(f"a bound has Thrift type {kind}, expected {BINARY}")
    span.size = read_count(r)
    span.start = r.pos
    r.pos += span.size
    return 0


cdef int read_long(Reader *r, int kind, int expected, int64_t *out) except -1:
    if kind != expected:
        raise ThriftError(f"a number has Thrift type {kind}, expected {expected}")
    return read_integer(r, kind, out)


cdef int read_statistics(Reader *r, Chunk *chunk) except -1:
    """The struct Statistics of parquet.thrift."""
    cdef int kind = 0
    cdef int64_t field = 0
    chunk.flags |= STATISTICS_BIT
    while read_field(r, &kind, &field):
        if field == 1:
            read_span(r, kind, &chunk.old_max)
        elif field == 2:
            read_span(r, kind, &chunk.old_min)
        elif field == 3:
            read_long(r, kind, I64, &chunk.nulls)
            chunk.flags |= NULL_COUNT_BIT
        elif field == 5:
            read_span(r, kind, &chunk.max)
        elif field == 6:
            read_span(r, kind, &chunk.min)
        elif field == 9:
            read_long(r, kind, I64, &chunk.nans)
            chunk.flags |= NAN_COUNT_BIT
        elif kind == TRUE or kind == BOOL:
            if kind == BOOL and (field == 7 or field == 8):
                chunk.flags |= INEXACT_BIT
        else:
            pass_value(r, kind, 2)
    return 0


cdef int read_column_metadata(Reader *r, Chunk *chunk) except -1:
    """The struct ColumnMetaData, as far as its type, its number of values and its statistics."""
    cdef int kind = 0
    cdef int64_t field = 0
    while read_field(r, &kind, &field):
        if field == 1:
            read_long(r, kind, I32, &chunk.physical_type)
        elif field == 5:
            read_long(r, kind, I64, &chunk.num_values)
        elif field == 12:
            if kind != STRUCT or chunk.flags & STATISTICS_BIT:
                raise ThriftError("the statistics are no struct, or there are two")
            read_statistics(r, chunk)
        elif kind != TRUE and kind != BOOL:
            pass_value(r, kind, 1)
    return 0


cdef int read_chunk(Reader *r, Chunk *chunk) except -1:
    """The struct ColumnChunk."""
    cdef int kind = 0
    cdef int64_t field = 0
    while read_field(r, &kind, &field):
        if field == 3:
            if kind != STRUCT or chunk.physical_type >= 0:
                raise ThriftError("the metadata are no struct, or there are two")
            read_column_metadata(r, chunk)
            continue
        if field == 8 or field == 9:
            chunk.flags |= ENCRYPTED_BIT
        if kind != TRUE and kind != BOOL:
            pass_value(r, kind, 0)
    return 0


cdef object bytes_at(Reader *r, Span *span):
    if span.size < 0:
        return None
    return PyBytes_FromStringAndSize(<const char *>r.data + span.start, span.size)


def chunk_statistics(const uint8_t[::1] data not None, const uint32_t[::1] starts not None, int physical_type):
    """The statistics of one column, from the ColumnChunk structs of all row groups.

    Parameters
    ----------
    data : bytes-like
        The footer.
    starts : array of unsigned 32-bit integers, shape (n,)
        Where the structs begin.
    physical_type : int
        The column's; a chunk of another one is corrupt.

    Returns
    -------
    flags : bytearray of length n
        ENCRYPTED; CORRUPT (then nothing else is said of the chunk); STATISTICS, NULL_COUNT and NAN_COUNT where the
        file has them; INEXACT where it says that a bound is not a value; DEPRECATED where the bounds are of the old
        pair.
    num_values, null_count, nan_count : array of 64-bit integers, shape (n,)
    low, high : list of bytes or None
        The bounds as they are in the file.
    """
    cdef Py_ssize_t n = starts.shape[0], i
    cdef Reader r
    cdef Chunk chunk
    flags = bytearray(n)
    counts = [array("q", bytes(8 * n)) for _ in range(3)]
    cdef uint8_t[::1] flag = flags
    cdef int64_t[::1] values = counts[0], nulls = counts[1], nans = counts[2]
    cdef list low = [], high = []
    for i in range(n):
        chunk.flags = 0
        chunk.physical_type = chunk.num_values = -1
        chunk.nulls = chunk.nans = 0
        chunk.old_max.size = chunk.old_min.size = chunk.max.size = chunk.min.size = -1
        try:
            r = reader(data, starts[i])
            read_chunk(&r, &chunk)
            if not chunk.flags & ENCRYPTED_BIT and (chunk.physical_type != physical_type or chunk.num_values < 0):
                chunk.flags = CORRUPT_BIT
        except ThriftError:
            chunk.flags = CORRUPT_BIT
        if chunk.flags & CORRUPT_BIT:
            chunk.num_values, chunk.nulls, chunk.nans = -1, 0, 0
            chunk.old_max.size = chunk.old_min.size = chunk.max.size = chunk.min.size = -1
        if chunk.max.size < 0 and chunk.min.size < 0 and (chunk.old_max.size >= 0 or chunk.old_min.size >= 0):
            chunk.flags |= DEPRECATED_BIT
            chunk.max, chunk.min = chunk.old_max, chunk.old_min
        flag[i] = chunk.flags
        values[i], nulls[i], nans[i] = chunk.num_values, chunk.nulls, chunk.nans
        low.append(bytes_at(&r, &chunk.min))
        high.append(bytes_at(&r, &chunk.max))
    return flags, counts[0], counts[1], counts[2], low, high


# Why nothing is known of a chunk, by the verdict of `chunk_verdicts`: the end of a sentence.
cdef enum:
    FINE, IS_ENCRYPTED, IS_CORRUPT, OTHER_ROWS, NO_STATISTICS, NO_NULL_COUNT, ODD_NULL_COUNT, ODD_NAN_COUNT
    NO_BOUNDS, BOUNDS_OF_NOTHING, NOT_EXACT, OLD_KIND, NO_ORDER, ODD_WIDTH, NO_NAN_COUNT

VERDICTS = (
    "",
    "is encrypted",
    "has corrupt metadata",
    "contradicts itself: its number of values is not that of its rows",
    "has no statistics",
    "has no number of nulls",
    "contradicts itself: its number of nulls",
    "contradicts itself: its number of NaN",
    "has no minimum and maximum",
    "contradicts itself: a minimum or maximum of no values",
    "has bounds that are not exact",
    "has statistics of the old kind",
    "has statistics of no declared order",
    "contradicts itself: a bound of the wrong width",
    "has no number of NaN",
)

OF_NOTHING = VERDICTS[BOUNDS_OF_NOTHING]


cdef struct Rules:
    bint required, floats, bounds, old_pair, uncounted
    Py_ssize_t width


cdef int verdict_on(int flags, int64_t rows, int64_t values, int64_t nulls, int64_t nans, Py_ssize_t low,
                    Py_ssize_t high, const Rules *rules) noexcept:
    """`low` and `high` are the sizes of the bounds, -1 where there is none."""
    if flags & ENCRYPTED_BIT:
        return IS_ENCRYPTED
    if flags & CORRUPT_BIT:
        return IS_CORRUPT
    if values != rows:
        return OTHER_ROWS
    if rows and not flags & STATISTICS_BIT:
        return NO_STATISTICS
    if rows and not flags & NULL_COUNT_BIT and not rules.required:
        return NO_NULL_COUNT
    if nulls < 0 or nulls > rows or (rules.required and nulls):
        return ODD_NULL_COUNT
    cdef bint counted = rules.floats and flags & NAN_COUNT_BIT
    if counted and (nans < 0 or nans > rows - nulls):
        return ODD_NAN_COUNT
    if nulls == rows:
        return BOUNDS_OF_NOTHING if low >= 0 or high >= 0 else FINE
    if counted and nans == rows - nulls:
        return FINE  # whether there are bounds, and NaN, the caller sees
    if low < 0 or high < 0:
        return NO_BOUNDS
    if flags & INEXACT_BIT:
        return NOT_EXACT
    if flags & DEPRECATED_BIT and not rules.old_pair:
        return OLD_KIND
    if not flags & DEPRECATED_BIT and not rules.bounds:
        return NO_ORDER
    # A decimal of 38 digits takes 16 bytes; more are allowed where the width is free, as they may be padding.
    if (low != rules.width or high != rules.width) if rules.width else not (0 < low <= 64 and 0 < high <= 64):
        return ODD_WIDTH
    return FINE if counted or not rules.floats or rules.uncounted else NO_NAN_COUNT


def chunk_verdicts(chunks, const int64_t[::1] rows not None, *, bint required, bint floats, Py_ssize_t width,
                   bint bounds, bint old_pair, bint uncounted):
    """What is wrong with the statistics of each chunk, but for the values of the bounds.

    Parameters
    ----------
    chunks : tuple
        As `chunk_statistics` gives them.
    rows : array of 64-bit integers, shape (n,)
        Of the row groups.
    required : bool
        Whether the column cannot have nulls.
    floats : bool
        Whether it can have NaN.
    width : int
        Of a bound in bytes; 0 where it is free.
    bounds, old_pair, uncounted : bool
        Whether bounds are taken from the new pair, from the deprecated one, and of floats without a count of NaN.

    Returns
    -------
    verdicts : bytearray of length n
        Indices of VERDICTS; 0 where nothing is wrong.
    some : bytearray of length n
        1 where nothing is wrong and there are values, neither null nor NaN, for the bounds to bound.
    nan_count : array of 64-bit integers, shape (n,)
        -1 where it is unknown.
    """
    cdef const uint8_t[::1] flags = chunks[0]
    cdef const int64_t[::1] values = chunks[1], nulls = chunks[2], nans = chunks[3]
    cdef list low = chunks[4], high = chunks[5]
    cdef Py_ssize_t n = rows.shape[0], i
    cdef Rules rules
    rules.required, rules.floats, rules.width = required, floats, width
    rules.bounds, rules.old_pair, rules.uncounted = bounds, old_pair, uncounted
    if not (flags.shape[0] == values.shape[0] == nulls.shape[0] == nans.shape[0] == len(low) == len(high) == n):
        raise ValueError("the arrays differ in length")
    out, some, counts = bytearray(n), bytearray(n), array("q", bytes(8 * n))
    cdef uint8_t[::1] verdict = out, has_values = some
    cdef int64_t[::1] count = counts
    cdef bytes bound
    cdef Py_ssize_t low_size, high_size
    for i in range(n):
        bound = low[i]
        low_size = -1 if bound is None else len(bound)
        bound = high[i]
        high_size = -1 if bound is None else len(bound)
        verdict[i] = verdict_on(flags[i], rows[i], values[i], nulls[i], nans[i], low_size, high_size, &rules)
        if floats:
            count[i] = nans[i] if flags[i] & NAN_COUNT_BIT else -1 if nulls[i] < rows[i] else 0
        has_values[i] = verdict[i] == FINE and nulls[i] < rows[i] and (not floats or count[i] < rows[i] - nulls[i])
    return out, some, counts
