# Part of _nn.pyx: from arguments to what the kernels take, and back.

cdef tuple FLOAT_TYPES = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


cdef inline bint is_plain(object array) noexcept:
    """Whether the kernels take it as it is: C-contiguous, aligned, of float32 or float64 in native byte order."""
    if not cnp.PyArray_Check(array) or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array):
        return False
    cdef int type = cnp.PyArray_TYPE(<cnp.ndarray>array)
    return type == cnp.NPY_FLOAT or type == cnp.NPY_DOUBLE


cdef inline bint is_plain_double(object array) noexcept:
    return is_plain(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == cnp.NPY_DOUBLE


cdef inline bint has_dims(cnp.ndarray array, cnp.ndarray x, int first, int last) noexcept:
    """Whether the dimensions of `array` are the axes [first, last) of x."""
    cdef int i
    if cnp.PyArray_NDIM(array) != last - first:
        return False
    for i in range(last - first):
        if cnp.PyArray_DIM(array, i) != cnp.PyArray_DIM(x, first + i):
            return False
    return True


cdef object float_array(object array, str name):
    """`array` as an ndarray of a float type that has kernels, of whatever strides and byte order."""
    array = np.asarray(array)
    if array.dtype.newbyteorder("=") not in FLOAT_TYPES:
        raise TypeError(
            f"{name} has dtype {array.dtype}; expected float16, float32 or float64, "
            f"as {name}.astype(np.float32) makes it"
        )
    return array


cdef object plain_array(object array, object dtype=None):
    """A C-contiguous, aligned array of float32 or float64 with the values of `array`, itself where it is one."""
    if dtype is None:
        dtype = np.float64 if array.dtype.newbyteorder("=") == np.float64 else np.float32
    return np.require(array, dtype, ["C", "A"])


# ---- parameters: one value per channel, or per position of a row ----


cdef object like_parameter(object array, str name, object x, int first, int last):
    """`array` as an ndarray whose dimensions are those axes of x, or None."""
    if array is None:
        return None
    if not is_plain(array):
        array = float_array(array, name)
    if not has_dims(<cnp.ndarray>array, <cnp.ndarray>x, first, last):
        shape = x.shape[first:last]
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}, as x has shape {x.shape}")
    return array


cdef object parameter_array(object array, str name, object x, int first, int last):
    """The same as a plain array, itself where it is one."""
    array = like_parameter(array, name, x, first, last)
    return array if array is None or is_plain(array) else plain_array(array)


cdef const double *doubles(object array, double *room) noexcept:
    """The values of a plain array as doubles: its own, or converted into `room`. NULL for None."""
    cdef const float *values
    cdef cnp.npy_intp i, n
    if array is None:
        return NULL
    if cnp.PyArray_TYPE(<cnp.ndarray>array) == cnp.NPY_DOUBLE:
        return <const double *>cnp.PyArray_DATA(<cnp.ndarray>array)
    values = <const float *>cnp.PyArray_DATA(<cnp.ndarray>array)
    n = cnp.PyArray_SIZE(<cnp.ndarray>array)
    for i in range(n):
        room[i] = values[i]
    return room


cdef const void *own_values(object array, cnp.ndarray x) noexcept:
    """The values of a plain array that has x's type, else NULL."""
    if array is None or cnp.PyArray_TYPE(<cnp.ndarray>array) != cnp.PyArray_TYPE(x):
        return NULL
    return cnp.PyArray_DATA(<cnp.ndarray>array)


cdef object statistics_array(object array, str name, object x, int first, int last):
    """mean or rstd as the backward pass gets it, with those axes of x, as a plain array of float64."""
    if is_plain_double(array) and has_dims(<cnp.ndarray>array, <cnp.ndarray>x, first, last):
        return array
    return statistics_array_of_shape(array, name, x.shape[first:last])


cdef object statistics_array_of_shape(object array, str name, tuple shape):
    if is_plain_double(array) and array.shape == shape:
        return array
    array = float_array(array, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}, as the forward pass returned it")
    return plain_array(array, np.float64)


cdef enum:
    FEW_DOUBLES = 512  # that a call has at hand without asking for memory


cdef double *room_for(int64_t n) except NULL:
    """n doubles to work with; the caller frees them."""
    cdef double *room = <double *>malloc(<size_t>(n + 1) * sizeof(double))
    if room == NULL:
        raise MemoryError
    return room


# ---- outputs ----


cdef tuple outputs_of(object out, int n, bint full, str names):
    """`out` as a tuple of n arrays or None. Those that compute one array alone take one alone."""
    if out is None:
        return (None,) * n
    if not isinstance(out, tuple):
        return (out,) + (None,) * (n - 1)
    if not full or len(out) != n:
        raise ValueError(f"out is a tuple of {len(out)}; expected an array{f' or a tuple ({names})' if full else ''}")
    return out


cdef int check_output(object out, str name, object shape, object dtype) except -1:
    if out is None:
        return 0
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out for {name} is of type {type(out).__name__}; expected an ndarray")
    if dtype is None:  # which would equal float64
        raise ValueError(f"out for {name} is an array, but without {name[1:]} there is no {name}; pass None")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out for {name} is {out.dtype} of shape {out.shape}; expected {dtype} of shape {shape}")
    if not out.flags.writeable:
        raise ValueError(f"out for {name} is read-only; pass a writable array")
    return 0


cdef int check_statistics_output(object out, str name, object x, int first, int last) except -1:
    """`out` for mean or rstd, whose dimensions are those axes of x."""
    if out is None or (is_plain_double(out) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
                       and has_dims(<cnp.ndarray>out, <cnp.ndarray>x, first, last)):
        return 0
    return check_output(out, name, x.shape[first:last], np.float64)


cdef int extent(cnp.ndarray array, uintptr_t *start, uintptr_t *end) noexcept:
    cdef int i
    cdef cnp.npy_intp n, stride
    start[0] = <uintptr_t>cnp.PyArray_DATA(array)
    end[0] = start[0] + cnp.PyArray_ITEMSIZE(array)
    for i in range(cnp.PyArray_NDIM(array)):
        n = cnp.PyArray_DIM(array, i)
        stride = cnp.PyArray_STRIDE(array, i)
        if n == 0:
            end[0] = start[0]
            return 0
        if stride < 0:
            start[0] += (n - 1) * stride
        else:
            end[0] += (n - 1) * stride
    return 0


cdef struct Spans:
    int n
    uintptr_t start[16]
    uintptr_t end[16]
    bint written[16]


cdef inline void note(Spans *spans, object array, bint written) noexcept:
    """The bytes of an array are read, or written, by a call."""
    if array is None:
        return
    extent(<cnp.ndarray>array, &spans.start[spans.n], &spans.end[spans.n])
    spans.written[spans.n] = written
    spans.n += 1


cdef bint may_overlap(const Spans *spans) noexcept:
    """Whether something that is written may share memory with anything else."""
    cdef int i, j
    for i in range(spans.n):
        for j in range(i):
            if (spans.written[i] or spans.written[j]) and (
                spans.start[i] < spans.end[j] and spans.start[j] < spans.end[i]
            ):
                return True
    return False


cdef int refuse_overlaps(dict written, dict read) except -1:
    """Say which of the arrays, by name, share memory with one that is written, if any really do."""
    cdef list seen = [(name, array) for name, array in read.items() if array is not None]
    for name, array in written.items():
        if array is None:
            continue
        for other_name, other in seen:
            if np.shares_memory(array, other):
                raise ValueError(f"{name} shares memory with {other_name}; pass an array of its own")
        seen.append((name, array))
    return 0


cdef inline object new_like(cnp.ndarray x):
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)


cdef inline object new_doubles(int nd, cnp.npy_intp *dims):
    return cnp.PyArray_EMPTY(nd, dims, cnp.NPY_DOUBLE, 0)


cdef int round_into(object out, object values) except -1:
    """The values in the type of `out`, where what is too large is infinite; the kernels do not warn of it either."""
    if out.dtype == values.dtype:
        out[...] = values
        return 0
    with np.errstate(all="ignore"):
        out[...] = values
    return 0


cdef object parameter_gradient(const double *values, object like, object out):
    """The values as an array of the shape and type of the parameter, in `out` if there is one."""
    cdef cnp.ndarray result
    cdef cnp.npy_intp i, n
    cdef float *singles
    if not is_plain(like) or (out is not None and not is_plain(out)):
        if out is None:
            out = np.empty(like.shape, like.dtype)
        if out.size > 0:
            round_into(out, np.asarray(<double[:like.size]>values).reshape(like.shape))
        return out
    result = new_like(<cnp.ndarray>like) if out is None else out
    n = cnp.PyArray_SIZE(result)
    if cnp.PyArray_TYPE(result) == cnp.NPY_DOUBLE:
        for i in range(n):
            (<double *>cnp.PyArray_DATA(result))[i] = values[i]
    else:
        singles = <float *>cnp.PyArray_DATA(result)
        for i in range(n):
            singles[i] = <float>values[i]
    return result


cdef object copied(object result, object out):
    """`out` with the result in it, if there is an `out`."""
    if out is None or out is result:
        return result
    round_into(out, result)
    return out


# ---- the backward pass ----


cdef bint same_form(object a, cnp.ndarray x) noexcept:
    """Plain, and of the shape and type of x."""
    if not is_plain(a) or cnp.PyArray_TYPE(<cnp.ndarray>a) != cnp.PyArray_TYPE(x):
        return False
    return has_dims(<cnp.ndarray>a, x, 0, cnp.PyArray_NDIM(x))


cdef object gradient_array(object dy, object x):
    dy = float_array(dy, "dy")
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}; expected {x.shape}, as x has")
    return dy


cdef object bias_like(object bias, object weight, object x, int first, int last):
    """An array of the shape and type that dbias has, or None where there was no bias."""
    if bias is None:
        return weight
    if not isinstance(bias, bool):
        return like_parameter(bias, "bias", x, first, last)
    if bias is True:
        return np.empty(x.shape[first:last], x.dtype) if weight is None else weight
    return None


cdef object backward(
    const sn_norm *settings, object dy, object x, object mean, object rstd, object weight, object bias_form, object out,
    int first, int last
):
    """dx, dweight and dbias; dy and x are plain, the dimensions of weight and bias_form are those axes of x."""
    cdef sn_norm norm = settings[0]
    cdef Spans spans
    cdef double few[FEW_DOUBLES]
    cdef double *room = few
    cdef double *sums
    cdef int64_t n = product(<cnp.ndarray>x, first, last)
    cdef object plain_weight = weight, dx = None, dweight_out = None, dbias_out = None
    if weight is not None and not is_plain(weight):
        plain_weight = plain_array(weight)
    if out is not None:
        dx, dweight_out, dbias_out = outputs_of(out, 3, True, "dx, dweight, dbias")
        if not same_form(dx, <cnp.ndarray>x) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>dx):
            check_output(dx, "dx", x.shape, x.dtype)
        shape = x.shape[first:last]
        if dweight_out is not None:
            check_output(dweight_out, "dweight", shape, None if weight is None else weight.dtype)
        if dbias_out is not None:
            check_output(dbias_out, "dbias", shape, None if bias_form is None else bias_form.dtype)
        spans.n = 0
        note(&spans, dx, True)
        note(&spans, dweight_out, True)
        note(&spans, dbias_out, True)
        note(&spans, dy, False)
        note(&spans, x, False)
        note(&spans, mean, False)
        note(&spans, rstd, False)
        note(&spans, weight, False)
        if may_overlap(&spans):
            refuse_overlaps(
                {"out": dx, "out for dweight": dweight_out, "out for dbias": dbias_out},
                {"dy": dy, "x": x, "mean": mean, "rstd": rstd, "weight": weight},
            )
    to = dx if is_plain(dx) else new_like(<cnp.ndarray>x)
    if 3 * n > FEW_DOUBLES:
        room = room_for(3 * n)
    try:
        sums = room + n
        if norm.layout == SN_NORM_ROWS:
            norm.own_weight = own_values(plain_weight, <cnp.ndarray>x)
        if norm.own_weight == NULL:
            norm.weight = doubles(plain_weight, room)
        run_backward(
            <cnp.ndarray>to, sums if weight is not None else NULL, sums + n if bias_form is not None else NULL,
            <cnp.ndarray>dy, <cnp.ndarray>x, <cnp.ndarray>mean, <cnp.ndarray>rstd, &norm, n
        )
        dweight = None if weight is None else parameter_gradient(sums, weight, dweight_out)
        dbias = None if bias_form is None else parameter_gradient(sums + n, bias_form, dbias_out)
    finally:
        if room != few:
            free(room)
    return copied(to, dx), dweight, dbias


# ---- the general way ----


cdef tuple memory_order(object x, int kept_first, int kept_last):
    """The axes of x from the outermost in memory to the innermost, but for the first and last few, which stay."""
    middle = sorted(range(kept_first, x.ndim - kept_last), key=lambda axis: -abs(x.strides[axis]))
    return (*range(kept_first), *middle, *range(x.ndim - kept_last, x.ndim))


cdef bint same_strides(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether arrays of one shape have their values in the same places, from their first ones on."""
    cdef int i
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) > 1 and cnp.PyArray_STRIDE(a, i) != cnp.PyArray_STRIDE(b, i):
            return False
    return True


cdef object back(object array, tuple order):
    """Undo `transpose(order)`."""
    return array.transpose(np.argsort(order))


cdef object back_like(object array, tuple order, object x, object out):
    """Undo `transpose(order)`, into `out` if there is one, else with the type and the order in memory of x."""
    array = back(array, order)
    if out is None:
        out = np.empty_like(x, subok=False)
        if array.dtype == out.dtype and same_strides(<cnp.ndarray>array, <cnp.ndarray>out):
            return array
    return copied(array, out)


cdef object rounded(object array, object dtype):
    """A plain array of that type with the values of `array`, of which those that are too large are infinite."""
    with np.errstate(all="ignore"):
        return plain_array(array, dtype)


cdef tuple backward_general(
    object function, object dy, object x, object mean, object rstd, object weight, object bias_form, tuple order,
    object out, dict settings
):
    """The gradients of arrays that the kernels do not take as they are, by `function` of arrays that they take."""
    dx, dweight, dbias = outputs_of(out, 3, True, "dx, dweight, dbias")
    check_output(dx, "dx", x.shape, x.dtype)
    refuse_overlaps(
        {"out": dx, "out for dweight": dweight, "out for dbias": dbias},
        {"dy": dy, "x": x, "mean": mean, "rstd": rstd, "weight": weight},
    )
    plain = plain_array(x.transpose(order))
    plain_dx, dweight, dbias = function(
        rounded(dy.transpose(order), plain.dtype), plain, mean, rstd, weight,
        bias=False if bias_form is None else bias_form,
        out=None if dweight is None and dbias is None else (None, dweight, dbias), **settings
    )
    return back_like(plain_dx, order, x, dx), dweight, dbias
