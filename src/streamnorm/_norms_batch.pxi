# Part of _nn.pyx: batch normalization.


cdef int batch_geometry(sn_norm *norm, cnp.ndarray x, int axis) noexcept:
    norm.layout = SN_NORM_PLANES
    norm.samples = product(x, 0, axis)
    norm.channels = cnp.PyArray_DIM(x, axis)
    norm.positions = product(x, axis + 1, cnp.PyArray_NDIM(x))
    if norm.positions == 1:
        norm.layout = SN_NORM_COLUMNS
        norm.positions = norm.samples
        norm.samples = 1
    return 0


cdef int check_running(object running_mean, object running_var, object x, int axis, bint needed) except -1:
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"{missing} is None; expected both running_mean and running_var, or neither")
    if running_mean is None:
        if needed:
            raise ValueError("running_mean and running_var are None; expected both where statistics are not x's own")
        return 0
    for name, array in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is of type {type(array).__name__}; expected an ndarray")
        float_array(array, name)
        if array.shape != x.shape[axis:axis + 1]:
            raise ValueError(
                f"{name} has shape {array.shape}; expected {x.shape[axis:axis + 1]}, as x has shape {x.shape}"
            )
        if not needed and not array.flags.writeable:
            raise ValueError(f"{name} is read-only; pass a writable array, which training updates")
    return 0


cdef inline bint is_running_plain(object array, cnp.ndarray x, int axis, bint training) noexcept:
    return (is_plain(array) and cnp.PyArray_NDIM(<cnp.ndarray>array) == 1
            and cnp.PyArray_DIM(<cnp.ndarray>array, 0) == cnp.PyArray_DIM(x, axis)
            and (not training or cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array)))


cdef int check_count(object num_batches_tracked) except -1:
    if num_batches_tracked is None:
        return 0
    if not isinstance(num_batches_tracked, np.ndarray) or num_batches_tracked.dtype != np.int64:
        raise TypeError("num_batches_tracked is no int64 ndarray; expected one element, as of np.zeros((), np.int64)")
    if num_batches_tracked.size != 1 or not num_batches_tracked.flags.writeable:
        raise ValueError("num_batches_tracked is read-only or not of one element; pass np.zeros((), np.int64)")
    return 0


cdef double momentum_of(object momentum, object num_batches_tracked, bint tracking) except? -1.0:
    """The weight of this batch; nothing is counted yet."""
    if momentum is not None:
        return real(momentum, "momentum")
    if num_batches_tracked is None:
        if tracking:
            raise ValueError(
                "momentum is None without num_batches_tracked; a cumulative average counts its batches there, "
                "pass num_batches_tracked=np.zeros((), np.int64) or a momentum"
            )
        return 0.0
    return 1.0 / (<object>num_batches_tracked.item() + 1)


cdef int update_running(object running, const double *batch, double momentum, double factor) except -1:
    """running = (1 - momentum) * running + momentum * factor * batch, in doubles, rounded once."""
    cdef cnp.npy_intp i, n
    cdef float *singles
    cdef double *values
    if not is_plain(running):
        if running.size > 0:
            with np.errstate(all="ignore"):
                running[...] = (1.0 - momentum) * running.astype(np.float64) + momentum * factor * np.asarray(
                    <double[:running.size]>batch
                )
        return 0
    n = cnp.PyArray_SIZE(<cnp.ndarray>running)
    if cnp.PyArray_TYPE(<cnp.ndarray>running) == cnp.NPY_FLOAT:
        singles = <float *>cnp.PyArray_DATA(<cnp.ndarray>running)
        for i in range(n):
            singles[i] = <float>((1.0 - momentum) * singles[i] + momentum * factor * batch[i])
    else:
        values = <double *>cnp.PyArray_DATA(<cnp.ndarray>running)
        for i in range(n):
            values[i] = (1.0 - momentum) * values[i] + momentum * factor * batch[i]
    return 0


cdef int given_statistics(double *mean, double *rstd, object running_mean, object running_var, double eps) except -1:
    """mean and 1 / sqrt(var + eps) from the running statistics, as doubles."""
    cdef cnp.npy_intp i, n
    cdef object means = running_mean if is_plain(running_mean) else plain_array(running_mean)
    cdef object variances = running_var if is_plain(running_var) else plain_array(running_var)
    n = cnp.PyArray_SIZE(<cnp.ndarray>means)
    cdef const double *from_mean = doubles(means, mean)
    cdef const double *from_var = doubles(variances, rstd)
    for i in range(n):
        mean[i] = from_mean[i]
        rstd[i] = 1.0 / sqrt(from_var[i] + eps)
    return 0


cdef object batch_any(
    object x, object running_mean, object running_var, object weight, object bias, bint training, object momentum,
    object eps, object channel_axis, object out, object threads, object num_batches_tracked, bint full
):
    cdef sn_norm norm
    cdef Spans spans
    cdef int axis
    cdef int64_t n, C
    cdef double *room
    cdef double *mean
    cdef double *rstd
    cdef double *variance = NULL
    cdef cnp.npy_intp dims[1]
    cdef double weight_of_batch
    cdef object y = None, mean_out = None, rstd_out = None
    if not is_plain(x):
        return batch_general(x, running_mean, running_var, weight, bias, training, momentum, eps, channel_axis, out,
                             threads, num_batches_tracked, full)
    axis = axis_of(x, channel_axis, 0)
    start(&norm, <cnp.ndarray>x, epsilon_of(eps), threads_of(threads))
    batch_geometry(&norm, <cnp.ndarray>x, axis)
    C = norm.channels
    weight = parameter_array(weight, "weight", x, axis, axis + 1)
    bias = parameter_array(bias, "bias", x, axis, axis + 1)
    if not (is_running_plain(running_mean, <cnp.ndarray>x, axis, training)
            and is_running_plain(running_var, <cnp.ndarray>x, axis, training)):
        check_running(running_mean, running_var, x, axis, not training)
    check_count(num_batches_tracked)
    norm.given = not training
    n = sn_norm_values(&norm)
    if training and n == 1 and C > 0:
        raise ValueError(f"x has shape {x.shape}, one value per channel; expected more than one in training")
    weight_of_batch = momentum_of(momentum, num_batches_tracked, training and running_mean is not None)
    spans.n = 0
    note(&spans, x, False)
    if out is not None:
        y, mean_out, rstd_out = outputs_of(out, 3, full, "y, mean, rstd")
        if not same_form(y, <cnp.ndarray>x) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>y):
            check_output(y, "y", x.shape, x.dtype)
        check_statistics_output(mean_out, "mean", x, axis, axis + 1)
        check_statistics_output(rstd_out, "rstd", x, axis, axis + 1)
        note(&spans, y, True)
        note(&spans, mean_out, True)
        note(&spans, rstd_out, True)
    note(&spans, weight, False)
    note(&spans, bias, False)
    note(&spans, running_mean, training)
    note(&spans, running_var, training)
    if may_overlap(&spans):
        written = {"out": y, "out for mean": mean_out, "out for rstd": rstd_out}
        read = {"x": x, "weight": weight, "bias": bias}
        (written if training else read).update({"running_mean": running_mean, "running_var": running_var})
        refuse_overlaps(written, read)
    if y is not None and not is_plain(y):
        return batch_general(x, running_mean, running_var, weight, bias, training, momentum, eps, channel_axis, out,
                             threads, num_batches_tracked, full)
    if y is None:
        y = new_like(<cnp.ndarray>x)
    dims[0] = C
    if full:
        mean_result = mean_out if is_plain(mean_out) else new_doubles(1, dims)
        rstd_result = rstd_out if is_plain(rstd_out) else new_doubles(1, dims)
    room = room_for(5 * C)
    try:
        norm.weight = doubles(weight, room)
        norm.bias = doubles(bias, room + C)
        if full:
            mean = <double *>cnp.PyArray_DATA(<cnp.ndarray>mean_result)
            rstd = <double *>cnp.PyArray_DATA(<cnp.ndarray>rstd_result)
        else:
            mean = room + 2 * C
            rstd = room + 3 * C
        if not training:
            given_statistics(mean, rstd, running_mean, running_var, norm.eps)
        elif running_mean is not None:
            variance = room + 4 * C
        run_forward(<cnp.ndarray>y, mean, rstd, variance, <cnp.ndarray>x, &norm)
        if training and num_batches_tracked is not None:
            num_batches_tracked += 1
        if variance != NULL and n > 0:
            update_running(running_mean, mean, weight_of_batch, 1.0)
            update_running(running_var, variance, weight_of_batch, <double>n / <double>(n - 1))
    finally:
        free(room)
    if not full:
        return y
    return y, copied(mean_result, mean_out), copied(rstd_result, rstd_out)


cdef object batch_general(
    object x, object running_mean, object running_var, object weight, object bias, bint training, object momentum,
    object eps, object channel_axis, object out, object threads, object num_batches_tracked, bint full
):
    x = float_array(x, "x")
    axis = axis_of(x, channel_axis, 0)
    y, mean_out, rstd_out = outputs_of(out, 3, full, "y, mean, rstd")
    check_output(y, "y", x.shape, x.dtype)
    if training:
        check_running(running_mean, running_var, x, axis, False)
    refuse_overlaps(
        {"out": y, "out for mean": mean_out, "out for rstd": rstd_out,
         "running_mean": running_mean if training else None, "running_var": running_var if training else None},
        {"x": x, "weight": weight, "bias": bias},
    )
    order = memory_order(x, 0, 0)
    plain, mean, rstd = batch_any(
        plain_array(x.transpose(order)), running_mean, running_var, weight, bias, training, momentum, eps,
        order.index(axis), None if mean_out is None and rstd_out is None else (None, mean_out, rstd_out), threads,
        num_batches_tracked, True
    )
    y = back_like(plain, order, x, y)
    return (y, mean, rstd) if full else y


def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, bint training=False, momentum=0.1, eps=1e-5, *,
    channel_axis=1, out=None, threads=None, num_batches_tracked=None
):
    """Batch normalization: each channel by its mean and variance over all samples and positions.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. In training, mean and (biased) variance are those of x, and
    the running statistics move towards them; otherwise they are the running statistics.

    Parameters
    ----------
    x : ndarray of shape (N, C), (N, C, L), (N, C, H, W), ...
        float16 (computed as float32), float32 or float64; any strides. All statistics are float64.
    running_mean, running_var : ndarray of shape (C,), optional
        Read where `training` is false. In training updated in place, where given:
        ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance of the batch.
    weight, bias : ndarray of shape (C,), optional
        1 and 0 where not given. Float types of their own.
    training : bool
        Whether to use the statistics of x.
    momentum : float or None
        None: the running statistics are the averages over all batches, which `num_batches_tracked` counts.
    eps : float
        Added to the variance.
    channel_axis : int
        Where the channels are; -1 or ``x.ndim - 1`` for channels-last arrays, which are not transposed.
    out : ndarray of x's shape and dtype, optional
        Where to write y. It may not share memory with another argument.
    threads : int, optional
        At most so many; by default all processors, for arrays large enough to gain by it. The results are the same.
    num_batches_tracked : ndarray of int64 with one element, optional
        Counts the calls in training.

    Returns
    -------
    y : ndarray of x's shape and dtype

    Raises
    ------
    ValueError
        If shapes do not fit, an output is read-only or shares memory, or a channel has one value in training.
        Nothing has been written then.
    TypeError
        If an array is not of a float type.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]), training=True, eps=0.0)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    return batch_any(x, running_mean, running_var, weight, bias, training, momentum, eps, channel_axis, out, threads,
                     num_batches_tracked, False)


def batch_norm_forward(
    x, running_mean=None, running_var=None, weight=None, bias=None, bint training=False, momentum=0.1, eps=1e-5, *,
    channel_axis=1, out=None, threads=None, num_batches_tracked=None
):
    """:func:`batch_norm`, and what its backward pass needs.

    Parameters
    ----------
    x, running_mean, running_var, weight, bias, training, momentum, eps, channel_axis, threads, num_batches_tracked
        As of :func:`batch_norm`.
    out : ndarray or tuple (y, mean, rstd) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, rstd : ndarray of float64, shape (C,)
        Of x in training, the running ones otherwise; ``rstd = 1 / sqrt(var + eps)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`batch_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> y, mean, rstd = F.batch_norm_forward(np.array([[1.0, 10.0], [3.0, 30.0]]), training=True, eps=0.0)
    >>> mean, rstd
    (array([ 2., 20.]), array([1. , 0.1]))
    """
    return batch_any(x, running_mean, running_var, weight, bias, training, momentum, eps, channel_axis, out, threads,
                     num_batches_tracked, True)


def batch_norm_backward(
    dy, x, mean, rstd, weight=None, *, bint training=True, bias=None, channel_axis=1, out=None, threads=None
):
    """The gradients of :func:`batch_norm` with respect to x, weight and bias.

    Parameters
    ----------
    dy : ndarray of x's shape
        The gradient with respect to y.
    x : ndarray
        As the forward pass had it.
    mean, rstd : ndarray of float64, shape (C,)
        As :func:`batch_norm_forward` returned them.
    weight : ndarray of shape (C,), optional
        As the forward pass had it.
    training : bool
        Whether the forward pass used the statistics of x, which then are functions of x.
    bias : ndarray or bool, optional
        The bias of the forward pass, or whether there was one; by default there was if there is a weight.
    channel_axis, threads
        As of :func:`batch_norm`.
    out : ndarray or tuple (dx, dweight, dbias) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    dx : ndarray of x's shape and dtype
    dweight, dbias : ndarray of the parameters' shape and dtype, or None for a parameter that there was not

    Raises
    ------
    ValueError, TypeError
        As :func:`batch_norm`.

    Notes
    -----
    With n values to a channel, ``d = x - mean`` and ``g = dy * weight``, in training
    ``dx = rstd * (g - sum(g) / n - d * rstd**2 * sum(g * d) / n)``, otherwise ``dx = rstd * g``.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 80.0]])
    >>> y, mean, rstd = F.batch_norm_forward(x, weight=np.ones(2), training=True)
    >>> dx, dweight, dbias = F.batch_norm_backward(y, x, mean, rstd, np.ones(2))
    >>> np.allclose(dx, 0.0, atol=1e-5), dweight.round(3), dbias.round(3)
    (True, array([3., 3.]), array([0., 0.]))
    """
    cdef sn_norm norm
    cdef int axis
    cdef bint plain = is_plain(x) and same_form(dy, <cnp.ndarray>x)
    if not plain:
        x = float_array(x, "x")
        dy = gradient_array(dy, x)
    axis = axis_of(x, channel_axis, 0)
    mean = statistics_array(mean, "mean", x, axis, axis + 1)
    rstd = statistics_array(rstd, "rstd", x, axis, axis + 1)
    weight = like_parameter(weight, "weight", x, axis, axis + 1)
    bias = bias_like(bias, weight, x, axis, axis + 1)
    if not plain:
        order = memory_order(x, 0, 0)
        return backward_general(batch_norm_backward, dy, x, mean, rstd, weight, bias, order, out,
                                {"training": training, "channel_axis": order.index(axis), "threads": threads})
    start(&norm, <cnp.ndarray>x, 0.0, threads_of(threads))
    batch_geometry(&norm, <cnp.ndarray>x, axis)
    norm.given = not training
    return backward(&norm, dy, x, mean, rstd, weight, bias, out, axis, axis + 1)
