# Part of _nn.pyx: layer and RMS normalization.


cdef int trailing_axes(object x, object normalized_shape) except -1:
    """How many axes at the end of x have that shape."""
    cdef int n, i, nd = cnp.PyArray_NDIM(<cnp.ndarray>x)
    cdef tuple shape
    # What is nearly always passed, without an object made.
    if PyTuple_CheckExact(normalized_shape):
        n = len(<tuple>normalized_shape)
        for i in range(n):
            length = (<tuple>normalized_shape)[i]
            if n > nd or not PyLong_CheckExact(length) or length != cnp.PyArray_DIM(<cnp.ndarray>x, nd - n + i):
                break
        else:
            if n > 0:
                return n
    elif PyLong_CheckExact(normalized_shape) and nd > 0 and normalized_shape == cnp.PyArray_DIM(<cnp.ndarray>x, nd - 1):
        return 1
    if PyLong_CheckExact(normalized_shape):
        shape = (normalized_shape,)
    elif isinstance(normalized_shape, (tuple, list)):
        shape = tuple(normalized_shape)
        for length in shape:
            if not PyLong_CheckExact(length):
                integer(length, "normalized_shape", "an integer or a tuple of integers")
    else:
        shape = (integer(normalized_shape, "normalized_shape", "an integer or a tuple of integers"),)
    n = len(shape)
    if n == 0 or n > x.ndim or x.shape[x.ndim - n:] != shape:
        raise ValueError(f"normalized_shape is {shape}, x has shape {x.shape}; expected the last dimensions of x")
    return n


cdef int rows_geometry(sn_norm *norm, cnp.ndarray x, int n_axes) noexcept:
    cdef int nd = cnp.PyArray_NDIM(x)
    norm.layout = SN_NORM_ROWS
    norm.samples = product(x, 0, nd - n_axes)
    norm.positions = product(x, nd - n_axes, nd)
    return 0


cdef object rows_any(
    object x, object normalized_shape, object weight, object bias, object eps, bint centered, object out,
    object threads, bint full
):
    cdef sn_norm norm
    cdef Spans spans
    cdef int n_axes, nd
    cdef int64_t rows, parameters
    cdef double few[FEW_DOUBLES]
    cdef double *room = few
    cdef double *mean = NULL
    cdef double *rstd = NULL
    cdef object y = None, mean_out = None, rstd_out = None
    cdef bint plain = is_plain(x)
    if not plain:
        x = float_array(x, "x")
    n_axes = trailing_axes(x, normalized_shape)
    nd = cnp.PyArray_NDIM(<cnp.ndarray>x)
    if eps is None:
        eps = np.finfo(x.dtype).eps
    if out is not None:
        if centered:
            y, mean_out, rstd_out = outputs_of(out, 3, full, "y, mean, rstd")
        else:
            y, rstd_out = outputs_of(out, 2, full, "y, rstd")
        if not same_form(y, <cnp.ndarray>x) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>y):
            check_output(y, "y", x.shape, x.dtype)
        check_statistics_output(mean_out, "mean", x, 0, nd - n_axes)
        check_statistics_output(rstd_out, "rstd", x, 0, nd - n_axes)
    weight = parameter_array(weight, "weight", x, nd - n_axes, nd)
    bias = parameter_array(bias, "bias", x, nd - n_axes, nd)
    if out is not None:
        spans.n = 0
        note(&spans, x, False)
        note(&spans, weight, False)
        note(&spans, bias, False)
        note(&spans, y, True)
        note(&spans, mean_out, True)
        note(&spans, rstd_out, True)
        if may_overlap(&spans):
            refuse_overlaps({"out": y, "out for mean": mean_out, "out for rstd": rstd_out},
                            {"x": x, "weight": weight, "bias": bias})
    if not plain or (y is not None and not is_plain(y)):
        order = memory_order(x, 0, n_axes)
        return rows_general(x, normalized_shape, weight, bias, eps, centered, y, mean_out, rstd_out, order, n_axes,
                            threads, full)
    start(&norm, <cnp.ndarray>x, epsilon_of(eps), threads_of(threads))
    norm.centered = centered
    rows_geometry(&norm, <cnp.ndarray>x, n_axes)
    rows = norm.samples
    parameters = norm.positions
    if y is None:
        y = new_like(<cnp.ndarray>x)
    if full:
        rstd_result = rstd_out if is_plain(rstd_out) else new_doubles(nd - n_axes, cnp.PyArray_DIMS(<cnp.ndarray>x))
        rstd = <double *>cnp.PyArray_DATA(<cnp.ndarray>rstd_result)
        if centered:
            mean_result = mean_out if is_plain(mean_out) else new_doubles(nd - n_axes, cnp.PyArray_DIMS(<cnp.ndarray>x))
            mean = <double *>cnp.PyArray_DATA(<cnp.ndarray>mean_result)
    if 2 * (parameters + rows) > FEW_DOUBLES:
        room = room_for(2 * (parameters + rows))
    try:
        norm.own_weight = own_values(weight, <cnp.ndarray>x)
        norm.own_bias = own_values(bias, <cnp.ndarray>x)
        if norm.own_weight == NULL:
            norm.weight = doubles(weight, room)
        if norm.own_bias == NULL:
            norm.bias = doubles(bias, room + parameters)
        if not full:
            mean = room + 2 * parameters
            rstd = mean + rows
        run_forward(<cnp.ndarray>y, mean, rstd, NULL, <cnp.ndarray>x, &norm)
    finally:
        if room != few:
            free(room)
    if not full:
        return y
    if centered:
        return y, copied(mean_result, mean_out), copied(rstd_result, rstd_out)
    return y, copied(rstd_result, rstd_out)


cdef object rows_general(
    object x, object normalized_shape, object weight, object bias, object eps, bint centered, object y_out,
    object mean_out, object rstd_out, tuple order, int n_axes, object threads, bint full
):
    outer = order[:x.ndim - n_axes]
    results = rows_any(plain_array(x.transpose(order)), normalized_shape, weight, bias, eps, centered, None, threads,
                       True)
    y = back_like(results[0], order, x, y_out)
    if not full:
        return y
    rstd = copied(np.ascontiguousarray(back(results[len(results) - 1], outer)).reshape(x.shape[:len(outer)]), rstd_out)
    if not centered:
        return y, rstd
    mean = np.ascontiguousarray(back(results[1], outer)).reshape(x.shape[:len(outer)])
    return y, copied(mean, mean_out), rstd


cdef object rows_backward(
    object function, object dy, object x, object mean, object rstd, object weight, object normalized_shape, object bias,
    object out, object threads
):
    cdef sn_norm norm
    cdef int n_axes, outer
    cdef bint centered = mean is not None, plain = is_plain(x) and same_form(dy, <cnp.ndarray>x)
    if not plain:
        x = float_array(x, "x")
        dy = gradient_array(dy, x)
    n_axes = trailing_axes(x, normalized_shape)
    outer = cnp.PyArray_NDIM(<cnp.ndarray>x) - n_axes
    if centered:
        mean = statistics_array(mean, "mean", x, 0, outer)
    rstd = statistics_array(rstd, "rstd", x, 0, outer)
    weight = like_parameter(weight, "weight", x, outer, outer + n_axes)
    bias = bias_like(bias, weight, x, outer, outer + n_axes)
    if not plain:
        order = memory_order(x, 0, n_axes)
        return backward_general(
            function, dy, x, None if mean is None else mean.transpose(order[:outer]), rstd.transpose(order[:outer]),
            weight, bias, order, out, {"normalized_shape": normalized_shape, "threads": threads},
        )
    start(&norm, <cnp.ndarray>x, 0.0, threads_of(threads))
    norm.centered = centered
    rows_geometry(&norm, <cnp.ndarray>x, n_axes)
    return backward(&norm, dy, x, mean, rstd, weight, bias, out, outer, outer + n_axes)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5, *, out=None, threads=None):
    """Layer normalization: each sample by its own mean and variance over the last dimensions.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with the biased variance.

    Parameters
    ----------
    x : ndarray of shape (..., *normalized_shape)
        float16 (computed as float32), float32 or float64; any strides. All statistics are float64.
    normalized_shape : int or tuple of int
        The last dimensions of x, over which statistics are taken.
    weight, bias : ndarray of shape normalized_shape, optional
        1 and 0 where not given. Float types of their own.
    eps : float
        Added to the variance.
    out : ndarray of x's shape and dtype, optional
        Where to write y. It may not share memory with another argument.
    threads : int, optional
        At most so many; by default all processors, for arrays large enough to gain by it. The results are the same.

    Returns
    -------
    y : ndarray of x's shape and dtype

    Raises
    ------
    ValueError
        If shapes do not fit, or an output is read-only or shares memory. Nothing has been written then.
    TypeError
        If an array is not of a float type.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv:1607.06450, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return rows_any(x, normalized_shape, weight, bias, eps, True, out, threads, False)


def layer_norm_forward(x, normalized_shape, weight=None, bias=None, eps=1e-5, *, out=None, threads=None):
    """:func:`layer_norm`, and what its backward pass needs.

    Parameters
    ----------
    x, normalized_shape, weight, bias, eps, threads
        As of :func:`layer_norm`.
    out : ndarray or tuple (y, mean, rstd) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, rstd : ndarray of float64
        Of x's shape without the last dimensions; ``rstd = 1 / sqrt(var + eps)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`layer_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> y, mean, rstd = F.layer_norm_forward(np.array([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0.0)
    >>> mean, rstd
    (array([ 2., 20.]), array([1. , 0.1]))
    """
    return rows_any(x, normalized_shape, weight, bias, eps, True, out, threads, True)


def layer_norm_backward(
    dy, x, mean, rstd, weight=None, normalized_shape=None, *, bias=None, out=None, threads=None
):
    """The gradients of :func:`layer_norm` with respect to x, weight and bias.

    Parameters
    ----------
    dy : ndarray of x's shape
        The gradient with respect to y.
    x : ndarray
        As the forward pass had it.
    mean, rstd : ndarray of float64
        As :func:`layer_norm_forward` returned them.
    weight : ndarray of shape normalized_shape, optional
        As the forward pass had it.
    normalized_shape : int or tuple of int
        As the forward pass had it; where not given, the dimensions of x that mean does not have.
    bias : ndarray or bool, optional
        The bias of the forward pass, or whether there was one; by default there was if there is a weight.
    out : ndarray or tuple (dx, dweight, dbias) of ndarray or None, optional
        Where to write the results.
    threads
        As of :func:`layer_norm`.

    Returns
    -------
    dx : ndarray of x's shape and dtype
    dweight, dbias : ndarray of the parameters' shape and dtype, or None for a parameter that there was not

    Raises
    ------
    ValueError, TypeError
        As :func:`layer_norm`.

    Notes
    -----
    With n values to a row, ``hat = (x - mean) * rstd`` and ``g = dy * weight``,
    ``dx = rstd * (g - sum(g) / n - hat * sum(g * hat) / n)``.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> x = np.array([[1.0, 3.0, 8.0], [10.0, 30.0, 20.0]])
    >>> y, mean, rstd = F.layer_norm_forward(x, 3, weight=np.ones(3))
    >>> dx, dweight, dbias = F.layer_norm_backward(y, x, mean, rstd, np.ones(3), normalized_shape=3)
    >>> np.allclose(dx, 0.0, atol=1e-5), dbias.round(3)
    (True, array([-2.244,  0.885,  1.359]))
    """
    if mean is None:  # which to rows_backward means RMS normalization
        raise TypeError("mean is None; expected the array that layer_norm_forward returned")
    return rows_backward(layer_norm_backward, dy, x, mean, rstd, weight, shape_without(x, mean, normalized_shape), bias,
                         out, threads)


cdef object shape_without(object x, object statistics, object normalized_shape):
    if normalized_shape is not None:
        return normalized_shape
    return np.shape(x)[np.ndim(statistics):]


def rms_norm(x, normalized_shape, weight=None, eps=None, *, out=None, threads=None):
    """RMS normalization: each sample divided by the root of the mean of its squares over the last dimensions.

    ``y = x / sqrt(mean(x**2) + eps) * weight``.

    Parameters
    ----------
    x : ndarray of shape (..., *normalized_shape)
        float16 (computed as float32), float32 or float64; any strides. All statistics are float64.
    normalized_shape : int or tuple of int
        The last dimensions of x, over which the mean is taken.
    weight : ndarray of shape normalized_shape, optional
        1 where not given. A float type of its own.
    eps : float, optional
        Added to the mean of the squares; by default the machine epsilon of x's dtype.
    out : ndarray of x's shape and dtype, optional
        Where to write y. It may not share memory with another argument.
    threads : int, optional
        At most so many; by default all processors, for arrays large enough to gain by it. The results are the same.

    Returns
    -------
    y : ndarray of x's shape and dtype

    Raises
    ------
    ValueError
        If shapes do not fit, or an output is read-only or shares memory. Nothing has been written then.
    TypeError
        If an array is not of a float type.

    References
    ----------
    B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.rms_norm(np.array([[1.0, 7.0], [-2.0, 2.0]]), 2, eps=0.0)
    array([[ 0.2,  1.4],
           [-1. ,  1. ]])
    """
    return rows_any(x, normalized_shape, weight, None, eps, False, out, threads, False)


def rms_norm_forward(x, normalized_shape, weight=None, eps=None, *, out=None, threads=None):
    """:func:`rms_norm`, and what its backward pass needs.

    Parameters
    ----------
    x, normalized_shape, weight, eps, threads
        As of :func:`rms_norm`.
    out : ndarray or tuple (y, rstd) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    y : ndarray of x's shape and dtype
    rstd : ndarray of float64
        Of x's shape without the last dimensions: ``1 / sqrt(mean(x**2) + eps)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`rms_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.rms_norm_forward(np.array([[1.0, 7.0], [-2.0, 2.0]]), 2, eps=0.0)[1]
    array([0.2, 0.5])
    """
    return rows_any(x, normalized_shape, weight, None, eps, False, out, threads, True)


def rms_norm_backward(dy, x, rstd, weight=None, normalized_shape=None, *, out=None, threads=None):
    """The gradients of :func:`rms_norm` with respect to x and weight.

    Parameters
    ----------
    dy : ndarray of x's shape
        The gradient with respect to y.
    x : ndarray
        As the forward pass had it.
    rstd : ndarray of float64
        As :func:`rms_norm_forward` returned it.
    weight : ndarray of shape normalized_shape, optional
        As the forward pass had it.
    normalized_shape : int or tuple of int
        As the forward pass had it; where not given, the dimensions of x that rstd does not have.
    out : ndarray or tuple (dx, dweight) of ndarray or None, optional
        Where to write the results.
    threads
        As of :func:`rms_norm`.

    Returns
    -------
    dx : ndarray of x's shape and dtype
    dweight : ndarray of the weight's shape and dtype, or None where there was none

    Raises
    ------
    ValueError, TypeError
        As :func:`rms_norm`.

    Notes
    -----
    With n values to a row, ``hat = x * rstd`` and ``g = dy * weight``, ``dx = rstd * (g - hat * sum(g * hat) / n)``.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> x = np.array([[1.0, 7.0]])
    >>> y, rstd = F.rms_norm_forward(x, 2, eps=0.0)
    >>> F.rms_norm_backward(np.array([[1.0, 0.0]]), x, rstd, normalized_shape=2)
    (array([[ 0.196, -0.028]]), None)
    """
    if out is not None:
        out = (*outputs_of(out, 2, True, "dx, dweight"), None)
    dx, dweight, _ = _rms_backward(dy, x, None, rstd, weight, shape_without(x, rstd, normalized_shape), bias=False,
                                  out=out, threads=threads)
    return dx, dweight


def _rms_backward(dy, x, mean, rstd, weight=None, normalized_shape=None, *, bias=None, out=None, threads=None):
    """RMS normalization's backward pass with the arguments of layer normalization's; mean is None."""
    return rows_backward(_rms_backward, dy, x, None, rstd, weight, normalized_shape, bias, out, threads)
