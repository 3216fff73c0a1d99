# Part of _nn.pyx: instance and group normalization, whose statistics are of one sample.


cdef int groups_geometry(sn_norm *norm, cnp.ndarray x, int axis, int64_t groups) noexcept:
    """`axis` is the second one or the last."""
    cdef int nd = cnp.PyArray_NDIM(x)
    norm.samples = cnp.PyArray_DIM(x, 0)
    norm.channels = cnp.PyArray_DIM(x, axis)
    norm.groups = groups
    if axis == 1:
        norm.layout = SN_NORM_PLANES
        norm.positions = product(x, 2, nd)
    else:
        norm.layout = SN_NORM_COLUMNS
        norm.positions = product(x, 1, axis)
    return 0


cdef tuple sample_order(object x, int axis):
    """Samples first, the channels second or last: whichever they are nearer to in memory."""
    order = memory_order(x, 1, 0)
    if order[x.ndim - 1] == axis or x.ndim == 2:
        return order
    return (0, axis, *(other for other in order[1:] if other != axis))


cdef object groups_any(
    object x, object groups, object running_mean, object running_var, object weight, object bias, bint own,
    object momentum, object eps, object channel_axis, object out, object threads, object num_batches_tracked, bint full
):
    """Group normalization, and with groups None instance normalization of three dimensions or more.

    `own`: by the statistics of x, not by running ones.
    """
    cdef sn_norm norm
    cdef Spans spans
    cdef int axis
    cdef int64_t n, N, C, G, i, j
    cdef double *room
    cdef double *mean
    cdef double *rstd
    cdef double *variance = NULL
    cdef double weight_of_batch
    cdef cnp.npy_intp dims[2]
    cdef bint plain = is_plain(x)
    if not plain:
        x = float_array(x, "x")
    axis = axis_of(x, channel_axis, 1)
    C = x.shape[axis]
    N = x.shape[0]
    G = C if groups is None else groups_of(groups, C, x)
    y, mean_out, rstd_out = outputs_of(out, 3, full, "y, mean, rstd")
    if out is not None:
        check_output(y, "y", x.shape, x.dtype)
        check_output(mean_out, "mean", (N, G), np.float64)
        check_output(rstd_out, "rstd", (N, G), np.float64)
    weight = parameter_array(weight, "weight", x, axis, axis + 1)
    bias = parameter_array(bias, "bias", x, axis, axis + 1)
    check_running(running_mean, running_var, x, axis, not own)
    check_count(num_batches_tracked)
    weight_of_batch = momentum_of(momentum, num_batches_tracked, own and running_mean is not None)
    n = x.size // (N * G) if N * G > 0 else 0
    if groups is None and own and n == 1:
        raise ValueError(f"x has shape {x.shape}, one position per channel; expected more than one to normalize over")
    if groups is not None and n * N == 1:
        raise ValueError(f"x has shape {x.shape}, one value per group; expected more than one to normalize over")
    spans.n = 0
    note(&spans, x, False)
    note(&spans, weight, False)
    note(&spans, bias, False)
    note(&spans, y, True)
    note(&spans, mean_out, True)
    note(&spans, rstd_out, True)
    note(&spans, running_mean, own)
    note(&spans, running_var, own)
    if may_overlap(&spans):
        written = {"out": y, "out for mean": mean_out, "out for rstd": rstd_out}
        read = {"x": x, "weight": weight, "bias": bias}
        (written if own else read).update({"running_mean": running_mean, "running_var": running_var})
        refuse_overlaps(written, read)
    if not plain or (y is not None and not is_plain(y)) or (axis != 1 and axis != x.ndim - 1):
        order = sample_order(x, axis)
        results = groups_any(
            plain_array(x.transpose(order)), groups, running_mean, running_var, weight, bias, own, momentum, eps,
            order.index(axis), None, threads, num_batches_tracked, True
        )
        y = back_like(results[0], order, x, y)
        return (y, copied(results[1], mean_out), copied(results[2], rstd_out)) if full else y
    start(&norm, <cnp.ndarray>x, epsilon_of(eps), threads_of(threads))
    groups_geometry(&norm, <cnp.ndarray>x, axis, G)
    if y is None:
        y = new_like(<cnp.ndarray>x)
    dims[0] = N
    dims[1] = G
    if full:
        mean_result = mean_out if is_plain(mean_out) else new_doubles(2, dims)
        rstd_result = rstd_out if is_plain(rstd_out) else new_doubles(2, dims)
    room = room_for(2 * C + 3 * max(N * G, C))
    try:
        norm.weight = doubles(weight, room)
        norm.bias = doubles(bias, room + C)
        mean = room + 2 * C
        rstd = mean + max(N * G, C)
        if full and own:
            mean = <double *>cnp.PyArray_DATA(<cnp.ndarray>mean_result)
            rstd = <double *>cnp.PyArray_DATA(<cnp.ndarray>rstd_result)
        if own and running_mean is not None:
            variance = room + 2 * C + 2 * max(N * G, C)
        if not own:  # statistics of the channels, the same for all samples: batch normalization's
            given_statistics(mean, rstd, running_mean, running_var, norm.eps)
            norm.given = True
            norm.groups = 0
        run_forward(<cnp.ndarray>y, mean, rstd, variance, <cnp.ndarray>x, &norm)
        if not own and full:
            for i in range(N):
                for j in range(C):
                    (<double *>cnp.PyArray_DATA(<cnp.ndarray>mean_result))[i * C + j] = mean[j]
                    (<double *>cnp.PyArray_DATA(<cnp.ndarray>rstd_result))[i * C + j] = rstd[j]
        if own and num_batches_tracked is not None:
            num_batches_tracked += 1
        if variance != NULL and n > 0 and N > 0:
            # Their means over the samples, into those of the first.
            average_samples(room + 2 * C, mean, N, C)
            update_running(running_mean, room + 2 * C, weight_of_batch, 1.0)
            average_samples(room + 2 * C, variance, N, C)
            update_running(running_var, room + 2 * C, weight_of_batch, <double>n / <double>(n - 1))
    finally:
        free(room)
    if not full:
        return y
    return y, copied(mean_result, mean_out), copied(rstd_result, rstd_out)


cdef int average_samples(double *averages, const double *values, int64_t N, int64_t C) noexcept:
    """averages[j] = mean of values[:, j]; `averages` may be the first row of the values."""
    cdef int64_t i, j
    cdef double total
    for j in range(C):
        total = 0.0
        for i in range(N):
            total += values[i * C + j]
        averages[j] = total / N
    return 0


cdef int64_t groups_of(object num_groups, int64_t C, object x) except -1:
    cdef int64_t groups
    num_groups = integer(num_groups, "num_groups", "an integer")
    try:
        groups = num_groups
    except OverflowError:
        groups = 0
    if groups < 1 or C % groups != 0:
        raise ValueError(f"num_groups is {num_groups}, x has {C} channels; expected a divisor of that")
    return groups


cdef object groups_backward(
    object function, object dy, object x, object groups, object mean, object rstd, object weight, bint own,
    object bias, object channel_axis, object out, object threads, dict settings
):
    cdef sn_norm norm
    cdef int axis
    cdef int64_t C, G
    cdef bint plain = is_plain(x) and same_form(dy, <cnp.ndarray>x)
    if not plain:
        x = float_array(x, "x")
        dy = gradient_array(dy, x)
    axis = axis_of(x, channel_axis, 1)
    C = x.shape[axis]
    G = C if groups is None else groups_of(groups, C, x)
    mean = statistics_array_of_shape(mean, "mean", (x.shape[0], G))
    rstd = statistics_array_of_shape(rstd, "rstd", (x.shape[0], G))
    weight = like_parameter(weight, "weight", x, axis, axis + 1)
    bias = bias_like(bias, weight, x, axis, axis + 1)
    if not plain or (axis != 1 and axis != x.ndim - 1):
        order = sample_order(x, axis)
        return backward_general(function, dy, x, mean, rstd, weight, bias, order, out,
                                {**settings, "channel_axis": order.index(axis), "threads": threads})
    start(&norm, <cnp.ndarray>x, 0.0, threads_of(threads))
    groups_geometry(&norm, <cnp.ndarray>x, axis, G)
    norm.given = not own
    return backward(&norm, dy, x, mean, rstd, weight, bias, out, axis, axis + 1)


cdef bint is_2d(object x):
    return (cnp.PyArray_NDIM(<cnp.ndarray>x) if cnp.PyArray_Check(x) else np.ndim(x)) == 2


cdef int check_instances(object x, object running_mean, object running_var, bint own, object channel_axis) except -1:
    """What instance normalization of a (batch, features) array does not have."""
    axis_of(x, channel_axis, 1)
    if running_mean is not None or running_var is not None or not own:
        raise ValueError(
            f"x has shape {x.shape}, (batch, features), and each instance is normalized over its features; "
            "running statistics are for arrays with positions: leave them out"
        )
    if x.shape[1] == 1:
        raise ValueError(f"x has shape {x.shape}, one feature per instance; expected more than one to normalize over")
    return 0


cdef object instance_any(
    object x, object running_mean, object running_var, object weight, object bias, bint own, object momentum,
    object eps, object channel_axis, object out, object threads, object num_batches_tracked, bint full
):
    if is_2d(x):
        if not is_plain(x):
            x = float_array(x, "x")
        check_instances(x, running_mean, running_var, own, channel_axis)
        return rows_any(x, x.shape[1], weight, bias, eps, True, out, threads, full)
    return groups_any(x, None, running_mean, running_var, weight, bias, own, momentum, eps, channel_axis, out, threads,
                      num_batches_tracked, full)


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, bint use_input_stats=True, momentum=0.1, eps=1e-5,
    *, channel_axis=1, out=None, threads=None, num_batches_tracked=None
):
    """Instance normalization: each channel of each sample by its own mean and variance over the positions.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with the biased variance.

    An array of shape (batch, features) has no positions: every feature of an instance would be a single value, equal
    to its own mean, and the result zero, whatever the data. What is meant by instance normalization of such an array
    is that each *instance* is normalized, over its features, and so it is done here; this is layer normalization
    with a weight and a bias for each feature.

    Parameters
    ----------
    x : ndarray of shape (N, C, L), (N, C, H, W), ..., or (N, C)
        float16 (computed as float32), float32 or float64; any strides. All statistics are float64.
    running_mean, running_var : ndarray of shape (C,), optional
        Read where `use_input_stats` is false; otherwise updated in place, where given:
        ``running = (1 - momentum) * running + momentum * batch``, `batch` being the average over the samples of the
        mean and of the unbiased variance. Not for arrays of shape (N, C).
    weight, bias : ndarray of shape (C,), optional
        1 and 0 where not given. Float types of their own.
    use_input_stats : bool
        Whether to use the statistics of x; else the running ones.
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
        Counts the calls that use the statistics of x.

    Returns
    -------
    y : ndarray of x's shape and dtype

    Raises
    ------
    ValueError
        If shapes do not fit, an output is read-only or shares memory, or there is one value to normalize over.
        Nothing has been written then.
    TypeError
        If an array is not of a float type.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization",
    arXiv:1607.08022, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    >>> F.instance_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return instance_any(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps, channel_axis, out,
                        threads, num_batches_tracked, False)


def instance_norm_forward(
    x, running_mean=None, running_var=None, weight=None, bias=None, bint use_input_stats=True, momentum=0.1, eps=1e-5,
    *, channel_axis=1, out=None, threads=None, num_batches_tracked=None
):
    """:func:`instance_norm`, and what its backward pass needs.

    Parameters
    ----------
    x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps, channel_axis, threads
        As of :func:`instance_norm`.
    num_batches_tracked
        As of :func:`instance_norm`.
    out : ndarray or tuple (y, mean, rstd) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, rstd : ndarray of float64, shape (N, C), or (N,) for x of shape (N, C)
        ``rstd = 1 / sqrt(var + eps)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`instance_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> y, mean, rstd = F.instance_norm_forward(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    >>> mean, rstd
    (array([[ 2., 20.]]), array([[1. , 0.1]]))
    """
    return instance_any(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps, channel_axis, out,
                        threads, num_batches_tracked, True)


def instance_norm_backward(
    dy, x, mean, rstd, weight=None, *, bint use_input_stats=True, bias=None, channel_axis=1, out=None, threads=None
):
    """The gradients of :func:`instance_norm` with respect to x, weight and bias.

    Parameters
    ----------
    dy : ndarray of x's shape
        The gradient with respect to y.
    x : ndarray
        As the forward pass had it.
    mean, rstd : ndarray of float64
        As :func:`instance_norm_forward` returned them.
    weight : ndarray of shape (C,), optional
        As the forward pass had it.
    use_input_stats : bool
        Whether the forward pass used the statistics of x, which then are functions of x.
    bias : ndarray or bool, optional
        The bias of the forward pass, or whether there was one; by default there was if there is a weight.
    channel_axis, threads
        As of :func:`instance_norm`.
    out : ndarray or tuple (dx, dweight, dbias) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    dx : ndarray of x's shape and dtype
    dweight, dbias : ndarray of the parameters' shape and dtype, or None for a parameter that there was not

    Raises
    ------
    ValueError, TypeError
        As :func:`instance_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> x = np.array([[[1.0, 3.0, 8.0]]])
    >>> y, mean, rstd = F.instance_norm_forward(x)
    >>> F.instance_norm_backward(np.ones_like(x), x, mean, rstd)
    (array([[[0., 0., 0.]]]), None, None)
    """
    if is_2d(x):
        x = x if is_plain(x) else float_array(x, "x")
        check_instances(x, None, None, use_input_stats, channel_axis)
        return layer_norm_backward(dy, x, mean, rstd, weight, x.shape[1], bias=bias, out=out, threads=threads)
    return groups_backward(instance_norm_backward, dy, x, None, mean, rstd, weight, use_input_stats, bias,
                           channel_axis, out, threads, {"use_input_stats": use_input_stats})


def group_norm(
    x, num_groups, weight=None, bias=None, eps=1e-5, *, channel_axis=1, out=None, threads=None
):
    """Group normalization: the channels of a sample in groups, each by its own mean and variance.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with the biased variance.

    Parameters
    ----------
    x : ndarray of shape (N, C), (N, C, L), (N, C, H, W), ...
        float16 (computed as float32), float32 or float64; any strides. All statistics are float64.
    num_groups : int
        A divisor of C; adjacent channels make a group.
    weight, bias : ndarray of shape (C,), optional
        1 and 0 where not given. Float types of their own.
    eps : float
        Added to the variance.
    channel_axis : int
        Where the channels are; -1 or ``x.ndim - 1`` for channels-last arrays, which are not transposed.
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
    Y. Wu, K. He, "Group Normalization", ECCV 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> F.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    return groups_any(x, integer(num_groups, "num_groups", "an integer"), None, None, weight, bias, True, 0.1, eps,
                      channel_axis, out, threads, None, False)


def group_norm_forward(
    x, num_groups, weight=None, bias=None, eps=1e-5, *, channel_axis=1, out=None, threads=None
):
    """:func:`group_norm`, and what its backward pass needs.

    Parameters
    ----------
    x, num_groups, weight, bias, eps, channel_axis, threads
        As of :func:`group_norm`.
    out : ndarray or tuple (y, mean, rstd) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, rstd : ndarray of float64, shape (N, num_groups)
        ``rstd = 1 / sqrt(var + eps)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`group_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> y, mean, rstd = F.group_norm_forward(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    >>> mean, rstd
    (array([[ 2., 20.]]), array([[1. , 0.1]]))
    """
    return groups_any(x, integer(num_groups, "num_groups", "an integer"), None, None, weight, bias, True, 0.1, eps,
                      channel_axis, out, threads, None, True)


def group_norm_backward(
    dy, x, mean, rstd, weight=None, num_groups=None, *, bias=None, channel_axis=1, out=None, threads=None
):
    """The gradients of :func:`group_norm` with respect to x, weight and bias.

    Parameters
    ----------
    dy : ndarray of x's shape
        The gradient with respect to y.
    x : ndarray
        As the forward pass had it.
    mean, rstd : ndarray of float64, shape (N, num_groups)
        As :func:`group_norm_forward` returned them.
    weight : ndarray of shape (C,), optional
        As the forward pass had it.
    num_groups : int
        As the forward pass had it; where not given, as many as mean has.
    bias : ndarray or bool, optional
        The bias of the forward pass, or whether there was one; by default there was if there is a weight.
    channel_axis, threads
        As of :func:`group_norm`.
    out : ndarray or tuple (dx, dweight, dbias) of ndarray or None, optional
        Where to write the results.

    Returns
    -------
    dx : ndarray of x's shape and dtype
    dweight, dbias : ndarray of the parameters' shape and dtype, or None for a parameter that there was not

    Raises
    ------
    ValueError, TypeError
        As :func:`group_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from streamnorm.nn import functional as F
    >>> x = np.array([[1.0, 3.0, 10.0, 30.0]])
    >>> y, mean, rstd = F.group_norm_forward(x, 2)
    >>> F.group_norm_backward(np.ones_like(x), x, mean, rstd, np.ones(4), 2)[2]
    array([1., 1., 1., 1.])
    """
    if num_groups is None:
        if np.ndim(mean) != 2:
            raise ValueError(
                f"mean has shape {np.shape(mean)}; expected (N, num_groups), as the forward pass returned it"
            )
        num_groups = np.shape(mean)[1]
    return groups_backward(group_norm_backward, dy, x, num_groups, mean, rstd, weight, True, bias, channel_axis, out,
                           threads, {"num_groups": num_groups})
