# Part of _core.pyx: the statistics of one column.

cdef column_fields *fields_of(ColumnStats self) noexcept:
    return <column_fields *>self._column


cdef int update_array(ColumnStats self, const sn_array *array, bint null_type, Weights weights=None,
                      int64_t at=0) except -1:
    """Add rows, whose weights start at row `at` of `weights` if there are any."""
    cdef sn_status status = SN_OK
    cdef const double *w = NULL
    cdef double total = 0
    if weights is not None:
        if array.length > weights.size - at:
            raise ValueError(f"there are {weights.size} weights for {at + array.length} or more rows")
        if array.length == 0:
            return 0
        w, total = weights.data + at, weights.total
    with self._lock:
        if w != NULL:
            with nogil:
                if null_type:
                    status = sn_column_update_nulls_weighted(<column_fields *>self._column, w, array.length)
                else:
                    status = sn_column_update_weighted(<column_fields *>self._column, array, w, total)
        elif null_type:
            sn_column_update_nulls(fields_of(self), array.length)
        else:
            with nogil:
                status = sn_column_update(<column_fields *>self._column, array)
    return check(status)


cdef int64_t update_arrow_array(ColumnStats self, obj, Weights weights) except -1:
    """Returns the number of rows."""
    cdef int type = 0
    cdef int32_t scale = 0
    cdef sn_array array
    schema_capsule, array_capsule = obj.__arrow_c_array__()
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
    cdef ArrowArray *data = <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array")
    if is_encoded(schema):
        return update_arrow_array(self, plain_arrow(obj), weights)
    arrow_type(&type, &scale, schema)
    fill_from_arrow(&array, type, scale, data)
    update_array(self, &array, type == NULL_TYPE, weights)
    return array.length


cdef int64_t update_arrow_stream(ColumnStats self, obj, Weights weights) except -1:
    """Returns the number of rows."""
    cdef int64_t rows = 0
    cdef sn_array array
    cdef ArrowStream stream = ArrowStream(obj)
    if stream.encoded:
        return update_arrow_stream(self, plain_arrow(obj), weights)
    while stream.next(&array):
        update_array(self, &array, stream.type == NULL_TYPE, weights, rows)
        rows += array.length
    return rows


def check_length(weights, rows):
    if len(weights) != rows:
        raise ValueError(f"there are {len(weights)} weights for {rows} rows")


cdef column_fields closed(ColumnStats self):
    """The fields with the open block counted in; borrows the block and leaves the sketch out."""
    cdef column_fields fields
    with self._lock:
        fields = fields_of(self)[0]
        fields.sketch = NULL
        sn_column_close(&fields)
    return fields


cdef tuple exact_sums(ColumnStats self):
    """Sum and sum of squares, in units of 2**SUM_EXPONENT and of its square."""
    with self._lock:
        return sums_of(fields_of(self))


cdef tuple sums_of(const column_fields *c):
    cdef unsigned char total[4 * SN_SUM_DIGITS]
    cdef unsigned char squares[4 * SN_SQUARES_DIGITS]
    sn_exact_write(total, squares, c.exact)
    return (int.from_bytes(total[:sizeof(total)], "little", signed=True),
            int.from_bytes(squares[:sizeof(squares)], "little", signed=True))


cdef int set_exact_sums(column_fields *c, object units, object squares) except -1:
    cdef bytes total = units.to_bytes(4 * SN_SUM_DIGITS, "little", signed=True)
    cdef bytes total_squares = squares.to_bytes(4 * SN_SQUARES_DIGITS, "little", signed=True)
    sn_exact_read(c.exact, total, total_squares)
    return 0


cdef int64_t infinite_values(const column_fields *c) noexcept:
    """The infinities that count as values."""
    return 0 if c.skips_infinities else c.infinities


cdef int64_t nans_of(const column_fields *c) noexcept:
    return c.no_value - c.nulls - c.weights.left_out - (c.infinities if c.skips_infinities else 0)


cdef tuple exact_terms(ColumnStats self, const column_fields *c):
    """What `rounding` asks for: sum, sum of squares, number of summands, scale."""
    return (*exact_sums(self), c.rows - c.no_value - infinite_values(c), c.scale if c.kind == SN_KIND_DECIMAL else 0)


cdef tuple exact_extrema(ColumnStats self, const column_fields *c):
    cdef int64_t high[2]
    cdef uint64_t low[2]
    if not sn_column_integer_extrema(c, high, low):
        return None, None
    return (<object>high[0] << 64) | low[0], (<object>high[1] << 64) | low[1]


cdef tuple extrema_of(ColumnStats self):
    cdef column_fields c = closed(self)
    if c.rows == c.no_value or c.extrema_unknown:
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
    exact : bool, default False
        Collect mean and variance from exact sums, rounded once.
    skip_infinite : bool, default False
        Leave infinite values out, as if they were NaN; they count in `infinite_count` alone.

    Notes
    -----
    Nulls and NaN are counted and skipped. The stream is cut into blocks of 2,048 rows by row position, so the bits
    of every statistic are the same however the rows are split over calls of `update`. Moments follow Chan, Golub and
    LeVeque (1979), with the mean kept as an unevaluated pair. Exact sums are those of Kulisch's long accumulator
    (Computer Arithmetic and Validity, 2008), whose bits do not depend on the order of the rows either.

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

    def __init__(self, *, bint moments=True, bint extrema=True, QuantileSketch sketch=None, bint exact=False,
                 bint skip_infinite=False):
        cdef sn_kll *own = NULL
        if exact and not moments:
            raise ValueError("exact sums are moments: leave out one of exact=True and moments=False")
        if sketch is not None:
            own = sn_kll_copy(sketch._kll)
            if own == NULL:
                raise MemoryError
        sn_column_release(<column_fields *>self._column)
        sn_column_init(<column_fields *>self._column, moments, own)
        fields_of(self).skips_infinities = skip_infinite
        if exact:
            check(sn_column_make_exact(<column_fields *>self._column))

    def __dealloc__(self):
        if self._column != NULL:
            sn_column_release(<column_fields *>self._column)
            free(self._column)

    # -------------------------------------------------------------- feeding

    def update(self, array, weights=None):
        """Add a chunk.

        Parameters
        ----------
        array : ndarray of shape (n,), Arrow array or Arrow stream of arrays
            Integers, floats, bool, decimals, or temporal values (as their integers).
        weights : Weights, ndarray or Arrow array of shape (n,), optional
            How much each row counts. One whose weight is zero or missing (null or NaN) is left out: it counts in
            `rows` and nowhere else. Rows that come without weights have weight 1.

        Returns
        -------
        ColumnStats
            Itself.

        Raises
        ------
        TypeError
            If the values are not numbers, or decimals of another scale than before.
        DataError
            If a weight is negative or infinite, or their sum is beyond 3e150.
        """
        cdef sn_array data
        cdef NumpyBuffer buffer
        cdef int64_t rows = -1
        cdef Weights checked = weights if weights is None or isinstance(weights, Weights) else Weights(weights)
        if checked is not None and self.exact:
            raise ValueError("exact sums are those of values that all weigh the same: leave out weights or exact=True")
        if checked is not None and hasattr(array, "__len__"):
            check_length(checked, len(array))
        if not isinstance(array, np.ndarray):
            if hasattr(array, "__arrow_c_array__"):
                rows = update_arrow_array(self, array, checked)
            elif hasattr(array, "__arrow_c_stream__"):
                rows = update_arrow_stream(self, array, checked)
            if rows >= 0:
                if checked is not None:
                    check_length(checked, rows)
                return self
        array = as_numeric_ndarray(array)
        if array.ndim != 1:
            raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
        buffer = NumpyBuffer(array)
        fill_from_numpy(&data, buffer, numpy_type(array))
        update_array(self, &data, False, checked)
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

    def subtract(self, ColumnStats other not None):
        """Take out what `other` has seen, as if these rows had never come; `other` is left as it was.

        Counts and exact sums are those of the other rows then. What the smallest and the largest of their values is
        cannot be known: `has_extrema` is False if `other` had values, and `min` and `max` are None.

        Raises
        ------
        ValueError
            If one of them does not collect exact sums, or they show that `other` is no part of this.

        Examples
        --------
        >>> whole = ColumnStats(exact=True).update(np.array([0.1, 1e300, 0.2]))
        >>> rest = whole.subtract(ColumnStats(exact=True).update(np.array([1e300])))
        >>> rest.count, rest.mean == (0.1 + 0.2) / 2, rest.has_extrema
        (2, True, False)
        """
        cdef ColumnStats part = other.copy()  # its own lock is not held together with ours
        cdef column_fields *c = fields_of(self)
        cdef column_fields *p = fields_of(part)
        cdef column_fields none
        cdef int64_t values = p.rows - p.no_value, count
        if c.exact == NULL or p.exact == NULL or c.sketch != NULL or p.sketch != NULL:
            raise ValueError("only counts and exact sums can be subtracted")
        with self._lock:
            same_kind = c.kind == p.kind and c.scale == p.scale
            if values and not same_kind and not (c.kind == SN_KIND_FLOAT and p.kind == SN_KIND_INTEGER):
                raise ValueError("it is no part: its values and those of the whole are of different kinds")
            count = c.rows - c.no_value - values
            if c.skips_infinities != p.skips_infinities:
                raise ValueError("it is no part: one leaves infinite values out, and the other does not")
            skipped = c.infinities - p.infinities if c.skips_infinities else 0
            nans = (c.no_value - c.nulls) - (p.no_value - p.nulls) - skipped
            if min(c.rows - p.rows, c.nulls - p.nulls, nans, c.infinities - p.infinities, count) < 0:
                raise ValueError("it is no part: it has counted more than the whole")
            if values and not (c.extrema_unknown or p.extrema_unknown) and (p.min < c.min or p.max > c.max):
                raise ValueError("it is no part: it has values that the whole has not")
            units, squares = map(operator.sub, sums_of(c), sums_of(p))
            summands = count - (infinite_values(c) - infinite_values(p))
            spread = summands * squares - units * units  # the variance times n^2
            if spread < 0 or (spread and summands == 1) or (squares and not summands):
                raise ValueError("it is no part: its sums are not those of some of the values of the whole")
            sn_exact_subtract(c.exact, p.exact)
            c.rows -= p.rows
            c.nulls -= p.nulls
            c.no_value -= p.no_value
            c.infinities -= p.infinities
            if values:
                c.extrema_unknown = True
            if count == 0:
                sn_column_init(&none, False, NULL)
                c.min, c.max, c.integer, c.kind, c.extrema_unknown = none.min, none.max, none.integer, none.kind, False
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

    def without_sketch(self):
        """A copy that has no quantiles."""
        cdef ColumnStats other = self.copy()
        cdef column_fields *c = fields_of(other)
        if c.sketch != NULL:
            sn_kll_free(c.sketch)
            c.sketch = NULL
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
        return bool(fields_of(self).has_moments) or self.exact

    @property
    def exact(self):
        """Whether mean and variance come from exact sums."""
        return fields_of(self).exact != NULL

    @property
    def has_extrema(self):
        """Whether min and max are known: not when values were taken out by `subtract`."""
        return not fields_of(self).extrema_unknown

    @property
    def has_sketch(self):
        """Whether quantiles are collected."""
        return fields_of(self).sketch != NULL

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
        """Values that are NaN; None if a part came from `from_extrema` without their number."""
        cdef column_fields c = closed(self)
        return None if c.nans_unknown else nans_of(&c)

    @property
    def left_out(self):
        """Rows whose weight is zero or missing; they count in `rows` and nowhere else."""
        return fields_of(self).weights.left_out

    @property
    def weighted(self):
        """Whether rows came with weights."""
        return bool(fields_of(self).weights.used)

    @property
    def weight(self):
        """Sum of the weights of the values, which are 1 unless given; None while `nan_count` is."""
        cdef column_fields c = closed(self)
        return None if c.nans_unknown else sn_column_weight(&c)

    @property
    def count(self):
        """Values that are neither null nor NaN (nor left out by their weight); None while `nan_count` is."""
        cdef column_fields c = closed(self)
        return None if c.nans_unknown else c.rows - c.no_value

    @property
    def infinite_count(self):
        """Values that are infinite: in min and max, not in the moments' sums; nowhere else if they are skipped."""
        return closed(self).infinities

    @property
    def skips_infinite(self):
        """Whether infinite values are left out."""
        return bool(fields_of(self).skips_infinities)

    @property
    def kind(self):
        """``"float"``, ``"int"`` or ``"decimal"``; None before any data."""
        return KINDS[fields_of(self).kind]

    @property
    def mean(self):
        """The mean, rounded; NaN without values or with infinite ones."""
        cdef column_fields c = closed(self)
        if infinite_values(&c) > 0:
            return NAN
        if c.exact != NULL:
            units, _, count, scale = exact_terms(self, &c)
            return rounding.mean(units, count, scale)
        return c.moments.mean if c.moments.count > 0 else NAN

    @property
    def mean_lo(self):
        """What `mean` lacks of the mean: the two are an unevaluated pair; NaN with exact sums."""
        cdef column_fields c = closed(self)
        return c.moments.mean_lo if c.exact == NULL else NAN

    @property
    def m2(self):
        """Sum of squared deviations from the mean, in units of 4**exponent; NaN with exact sums."""
        cdef column_fields c = closed(self)
        return c.moments.m2 if infinite_values(&c) == 0 and c.exact == NULL else NAN

    @property
    def exponent(self):
        """See `m2`; 0 unless magnitudes reach 2**480 or all stay below 2**-400."""
        cdef column_fields c = closed(self)
        return c.moments.exponent if c.moments.count > 0 else 0

    def var(self, double ddof=0):
        """Variance with divisor ``count - ddof``; NaN where that is not positive."""
        cdef column_fields c = closed(self)
        if c.exact != NULL and infinite_values(&c) == 0:
            units, squares, count, scale = exact_terms(self, &c)
            return rounding.variance(units, squares, count, ddof, scale)
        return sn_moments_variance(&c.moments, ddof) if infinite_values(&c) == 0 else NAN

    def std(self, double ddof=0):
        """Standard deviation; finite also where the variance overflows."""
        cdef column_fields c = closed(self)
        if c.exact != NULL and infinite_values(&c) == 0:
            units, squares, count, scale = exact_terms(self, &c)
            return rounding.standard_deviation(units, squares, count, ddof, scale)
        return sn_moments_std(&c.moments, ddof) if infinite_values(&c) == 0 else NAN

    @property
    def min(self):
        """Smallest value: float, int or Decimal after the column's kind; None without values, or if not known."""
        return extrema_of(self)[0]

    @property
    def max(self):
        """Largest value: float, int or Decimal after the column's kind; None without values, or if not known."""
        return extrema_of(self)[1]

    # -------------------------------------------------------------- state

    def state(self):
        """The statistics as plain Python values; `from_state` takes them back.

        Returns
        -------
        dict
            ``rows null_count nan_count infinite_count kind min max``, with ``mean mean_lo m2 exponent`` when moments
            are collected (``sum sum_squares``, as text, when they are exact) and ``sketch`` (bytes) when quantiles are;
            ``weight weight_lo left_out`` once there were weights, whose sum is the pair ``weight + weight_lo``. Integer
            and decimal extrema are strings of digits; extrema that are not known are left out, and then decimals have a
            ``scale``. ``nan_count`` is None where it is not known. The open block is closed in it.
        """
        cdef column_fields c = closed(self)
        low, high = extrema_of(self)
        state = {
            "rows": c.rows,
            "null_count": c.nulls,
            "nan_count": None if c.nans_unknown else nans_of(&c),
            "infinite_count": c.infinities,
            "kind": KINDS[c.kind],
            "min": low if c.kind == SN_KIND_FLOAT or low is None else str(low),
            "max": high if c.kind == SN_KIND_FLOAT or high is None else str(high),
        }
        if c.skips_infinities:
            state["skips_infinite"] = True
        if c.extrema_unknown:
            del state["min"], state["max"]
            if c.kind == SN_KIND_DECIMAL:
                state["scale"] = c.scale
        if c.kind == SN_KIND_DECIMAL:
            if low is not None and c.scale >= 0:  # a negative scale shows in the exponent, as in 12E+2
                state["min"], state["max"] = f"{low:f}", f"{high:f}"  # as many digits as the type has
        if c.has_moments:
            state["mean"] = c.moments.mean
            state["mean_lo"] = c.moments.mean_lo
            state["m2"] = c.moments.m2
            state["exponent"] = c.moments.exponent if c.moments.count > 0 else 0
        if c.exact != NULL:
            units, squares = exact_sums(self)
            state["sum"] = rounding.to_text(units, rounding.SUM_EXPONENT)
            state["sum_squares"] = rounding.to_text(squares, 2 * rounding.SUM_EXPONENT)
        if c.weights.used:
            state["weight"], state["weight_lo"] = c.weights.weight, c.weights.weight_lo
            state["left_out"] = c.weights.left_out
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
        has_sums = "sum" in state
        skips = bool(state.get("skips_infinite", False))
        stats = cls(moments=has_sums or "mean" in state, sketch=sketch, exact=has_sums, skip_infinite=skips)
        c = fields_of(stats)
        if state["kind"] not in KINDS:
            raise ValueError(f"unknown kind of column {state['kind']!r}")
        c.kind = <sn_kind><int>KINDS.index(state["kind"])
        c.rows, c.nulls, c.infinities = state["rows"], state["null_count"], state["infinite_count"]
        c.nans_unknown = state["nan_count"] is None
        c.weights.left_out = state.get("left_out", 0)
        nans = 0 if c.nans_unknown else state["nan_count"]
        c.no_value = c.nulls + <int64_t>nans + c.weights.left_out + (c.infinities if skips else 0)
        count = c.rows - c.no_value
        plain = not c.has_moments and not has_sums and sketch is None
        if c.nans_unknown and (count == 0 or c.kind != SN_KIND_FLOAT or not plain):
            raise ValueError("the number of NaN is unknown only beside the extrema of floats")
        if min(c.rows, c.nulls, nans, c.weights.left_out, c.infinities, count) < 0 or infinite_values(c) > count:
            raise ValueError("counts contradict each other")
        set_weight(c, state, count)
        if sketch is not None and (sketch.count != count or sketch.weighted != c.weights.used):
            raise ValueError("the sketch holds other values than the column")
        c.extrema_unknown = "min" not in state
        if c.extrema_unknown:
            if count == 0 or not (has_sums or c.has_moments) or sketch is not None:
                raise ValueError("min and max are unknown only beside the moments of some values")
        elif (state["min"] is None) != (count == 0) or (state["max"] is None) != (count == 0):
            raise ValueError("min and max contradict the count")
        if count > 0 and c.kind == SN_KIND_NONE:
            raise ValueError("a column with values has a kind")
        if count == 0:
            c.kind = SN_KIND_NONE  # nothing is known that could contradict other data
        elif c.kind == SN_KIND_DECIMAL:
            c.scale = state["scale"] if c.extrema_unknown else digits_behind_point(state["min"])
        if count > 0 and not c.extrema_unknown:
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
        if has_sums:
            units = rounding.from_text(state["sum"], rounding.SUM_EXPONENT)
            squares = rounding.from_text(state["sum_squares"], 2 * rounding.SUM_EXPONENT)
            summands = count - infinite_values(c)
            if squares < 0 or summands * squares < units * units or (units and not summands):
                raise ValueError("the exact sums are not those of any data")
            set_exact_sums(c, units, squares)
        if c.has_moments and count > infinite_values(c):
            c.moments.count = count - infinite_values(c)
            c.moments.weight, c.moments.weight_lo = c.weights.weight, c.weights.weight_lo
            if not c.weights.used:
                c.moments.weight = c.moments.count
            c.moments.mean, c.moments.mean_lo = state["mean"], state["mean_lo"]
            c.moments.m2 = state["m2"]
            c.moments.exponent = state["exponent"]
            if state["exponent"] not in (-600, 0, 600):
                raise ValueError("unknown exponent of the sum of squares")
            finite = np.isfinite([c.moments.mean, c.moments.mean_lo, c.moments.m2]).all()
            if not finite or c.moments.m2 < 0 or c.moments.mean + c.moments.mean_lo != c.moments.mean:
                raise ValueError("the moments are not those of any data")
        return stats

    @classmethod
    def from_extrema(cls, int64_t rows, int64_t null_count, kind, min, max, *, nan_count=0, int32_t scale=0,
                     bint skip_infinite=False):
        """Statistics without moments of rows of which no more than this is known.

        Parameters
        ----------
        rows, null_count : int
        kind : {"float", "int", "decimal"}
        min, max : float, int, Decimal or None
            Of the values, both finite; None if there is none.
        nan_count : int or None
            None: unknown, and `count` with it; only for floats that have a value.
        scale : int, default 0
            Of decimals: the digits behind the point.
        skip_infinite : bool, default False
            As of the class; there were no infinite values.

        Raises
        ------
        ValueError
            If the values contradict each other.

        Examples
        --------
        >>> stats = ColumnStats.from_extrema(10, 2, "float", -1.0, 3.0, nan_count=None)
        >>> stats.max, stats.null_count, stats.count
        (3.0, 2, None)
        """
        cdef ColumnStats stats
        cdef column_fields *c
        state = {
            "rows": rows, "null_count": null_count, "nan_count": nan_count, "infinite_count": 0, "kind": kind,
            "min": min, "max": max, "skips_infinite": skip_infinite,
        }
        if kind not in KINDS[1:]:
            raise ValueError(f"unknown kind of column {kind!r}")
        if kind == "float" and not all(bound is None or np.isfinite(bound) for bound in (min, max)):
            raise ValueError("the extrema of floats have to be finite")
        if kind != "float" and nan_count != 0:
            raise ValueError(f"a column of kind {kind!r} has no NaN")
        for name in ("min", "max"):
            if kind == "int" and state[name] is not None:
                state[name] = str(state[name])
            elif kind == "decimal" and state[name] is not None:
                state[name] = f"{scaled_decimal(unscaled_int(state[name], scale), scale):f}"
        stats = cls.from_state(state)
        c = fields_of(stats)
        c.kind = <sn_kind><int>KINDS.index(kind)  # also without values, as rows that were read leave it
        c.scale = scale if kind == "decimal" else 0
        return stats

    def __repr__(self):
        if fields_of(self).nans_unknown:
            return f"<ColumnStats: {self.rows} rows, {self.null_count} null, NaN not counted>"
        return f"<ColumnStats: {self.count} values, {self.null_count} null, {self.nan_count} NaN>"


cdef int set_weight(column_fields *c, state, int64_t count) except -1:
    c.weights.used = "weight" in state
    if not c.weights.used:
        return 0
    if c.exact != NULL:
        raise ValueError("exact sums are those of values that all weigh the same")
    c.weights.weight, c.weights.weight_lo = state["weight"], state["weight_lo"]
    if not 0 <= c.weights.weight <= SN_MAX_WEIGHT or (c.weights.weight > 0) != (count > 0):
        raise ValueError("the sum of the weights contradicts the count")
    if not c.weights.weight + c.weights.weight_lo == c.weights.weight:
        raise ValueError("the sum of the weights is no pair of doubles")
    return 0


cdef stream_error(ArrowArrayStream *stream):
    cdef const char *text = stream.get_last_error(stream)
    return text.decode("utf-8", "replace") if text != NULL else "no reason given"


def scaled_decimal(unscaled, scale):
    """unscaled / 10**scale, exactly (arithmetic of the decimal module would round to its context)."""
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def digits_behind_point(text):
    """The scale of a decimal, by the digits that it is written with."""
    exponent = Decimal(text).as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{text} is no number")
    return -exponent


def unscaled_int(value, scale):
    """The inverse of `scaled_decimal`; ValueError where digits would be lost."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent + scale < 0 or exponent + scale > 80:
        raise ValueError(f"{value} is no decimal with {scale} digits behind the point")
    unscaled = int("".join(map(str, digits))) * 10 ** (exponent + scale)
    return -unscaled if sign else unscaled


def update_matrix(columns, X, weights=None):
    """Feed column j of a 2-D array to ``columns[j]``, cache block by cache block, without the GIL.

    Parameters
    ----------
    columns : list of ColumnStats, one a column, all different
    X : ndarray of shape (n_rows, n_columns)
    weights : Weights, ndarray or Arrow array of shape (n_rows,), optional
        As for `ColumnStats.update`.
    """
    cdef sn_array first
    cdef NumpyBuffer buffer
    cdef int64_t d = len(columns), j, stride
    cdef sn_status status
    cdef column_fields **pointers
    cdef Weights checked = weights if weights is None or isinstance(weights, Weights) else Weights(weights)
    X = as_numeric_ndarray(X)
    if X.ndim != 2 or X.shape[1] != d:
        raise ValueError(f"expected an array of shape (n, {d}), got {X.shape}")
    for column in columns:
        if not isinstance(column, ColumnStats):
            raise TypeError(f"expected a ColumnStats for each column, got {type(column).__name__}")
    if len(set(map(id, columns))) != d:
        raise ValueError("each column needs a ColumnStats of its own")
    if checked is not None:
        check_length(checked, X.shape[0])
        if any(column.exact for column in columns):
            raise ValueError("exact sums are those of values that all weigh the same: leave out weights or exact=True")
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
        (<ColumnStats>column)._lock.acquire()
    try:
        for j in range(d):
            pointers[j] = fields_of(<ColumnStats>columns[j])
        with nogil:
            if checked is None:
                status = sn_column_update_matrix(pointers, &first, stride, d)
            else:
                status = sn_column_update_matrix_weighted(pointers, &first, stride, d, checked.data, checked.total)
        check(status)
    finally:
        for column in ordered:
            (<ColumnStats>column)._lock.release()
        free(pointers)
