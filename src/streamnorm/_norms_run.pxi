# Part of _nn.pyx: settings as the kernels take them, and the calls of the kernels.


cdef str shown(object value):
    """The value where that is short, or else its type."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"of type {type(value).__name__}"


cdef object integer(object value, str name, str expected):
    """What is an integer to Python, but not a bool."""
    if PyLong_CheckExact(value):
        return value
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} is {shown(value)}; expected {expected}")


cdef double real(object value, str name) except? -1.0:
    if PyFloat_CheckExact(value):
        return PyFloat_AS_DOUBLE(value)
    try:
        return value
    except TypeError:
        raise TypeError(f"{name} is {shown(value)}; expected a real number") from None
    except OverflowError:
        raise ValueError(f"{name} is an integer beyond the range of floats; expected a real number") from None


cdef int MANY_THREADS = 1 << 20  # more are as good as this


cdef int threads_of(object threads) except -1:
    """0 for None: as many as pay."""
    cdef long value
    if threads is None:
        return 0
    if PyLong_CheckExact(threads):
        value = threads if 0 < threads <= MANY_THREADS else 0
        if value >= 1:
            return <int>value
    threads = integer(threads, "threads", "an integer of at least 1, or None for all processors")
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1, or None for all processors")
    return min(threads, MANY_THREADS)


cdef double epsilon_of(object eps) except? -1.0:
    cdef double value = real(eps, "eps")
    if not value >= 0.0:
        raise ValueError(f"eps is {eps}; expected zero or a positive number")
    return value


cdef int axis_of(object x, object channel_axis, int first) except -1:
    """The axis as a number from `first` to x.ndim - 1."""
    cdef int nd = cnp.PyArray_NDIM(<cnp.ndarray>x), axis
    if nd < 2:
        raise ValueError(f"x has shape {x.shape}; expected at least 2 dimensions, samples and channels")
    if not PyLong_CheckExact(channel_axis):
        channel_axis = integer(channel_axis, "channel_axis", "an integer")
    try:
        axis = channel_axis
    except OverflowError:
        axis = nd
    if axis < 0:
        axis += nd
    if axis < first or axis >= nd:
        raise ValueError(
            f"channel_axis is {channel_axis}, x has shape {x.shape}; expected an axis from {first} to {nd - 1}"
        )
    return axis


cdef int64_t product(cnp.ndarray x, int first, int last) noexcept:
    """How many values the axes [first, last) span."""
    cdef int64_t n = 1
    cdef int i
    for i in range(first, last):
        n *= cnp.PyArray_DIM(x, i)
    return n


cdef int start(sn_norm *norm, cnp.ndarray x, double eps, int threads) noexcept:
    norm.kernels = &sn_norms_float32 if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT else &sn_norms_float64
    norm.channels = norm.positions = norm.samples = 1
    norm.groups = 0
    norm.centered = 1
    norm.given = 0
    norm.weight = norm.bias = NULL
    norm.own_weight = norm.own_bias = NULL
    norm.eps = eps
    norm.threads = threads
    norm.cache_bytes = STREAM_BYTES
    return 0


# Values that take about a microsecond: letting go of the GIL and taking it again would be a tenth of that.
cdef int64_t SHORT_CALL = 4096


cdef int run_forward(
    cnp.ndarray y, double *mean, double *rstd, double *variance, cnp.ndarray x, const sn_norm *norm
) except -1:
    cdef sn_status status
    cdef void *to = cnp.PyArray_DATA(y)
    cdef const void *values = cnp.PyArray_DATA(x)
    cdef int64_t i
    if cnp.PyArray_SIZE(x) == 0:  # the mean and the variance of nothing
        if not norm.given:
            for i in range(sn_norm_statistics(norm)):
                if mean != NULL:  # rms_norm has none
                    mean[i] = 0.0
                rstd[i] = NAN
                if variance != NULL:
                    variance[i] = NAN
        return 0
    if cnp.PyArray_SIZE(x) <= SHORT_CALL:
        status = sn_norm_forward(to, mean, rstd, variance, values, norm)
    else:
        with nogil:
            status = sn_norm_forward(to, mean, rstd, variance, values, norm)
    if status != SN_OK:
        raise MemoryError
    return 0


cdef int run_backward(
    cnp.ndarray dx, double *dweight, double *dbias, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray mean, cnp.ndarray rstd,
    const sn_norm *norm, int64_t n_parameters
) except -1:
    cdef sn_status status
    cdef void *to = cnp.PyArray_DATA(dx)
    cdef const void *gradient = cnp.PyArray_DATA(dy)
    cdef const void *values = cnp.PyArray_DATA(x)
    cdef const double *means = NULL
    cdef const double *rstds = <const double *>cnp.PyArray_DATA(rstd)
    cdef int64_t i
    if mean is not None:
        means = <const double *>cnp.PyArray_DATA(mean)
    if cnp.PyArray_SIZE(x) == 0:
        for i in range(n_parameters):
            if dweight != NULL:
                dweight[i] = 0.0
            if dbias != NULL:
                dbias[i] = 0.0
        return 0
    if cnp.PyArray_SIZE(x) <= SHORT_CALL:
        status = sn_norm_backward(to, dweight, dbias, gradient, values, means, rstds, norm)
    else:
        with nogil:
            status = sn_norm_backward(to, dweight, dbias, gradient, values, means, rstds, norm)
    if status != SN_OK:
        raise MemoryError
    return 0
