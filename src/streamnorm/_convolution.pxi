# Part of _nn.pyx: convolution and max pooling of images, NHWC. What arrays are taken is as in _network.pxi.

cdef extern from "conv.h" nogil:
    ctypedef struct sn_conv:
        int64_t samples, height, width, channels
        int64_t filters, kernel_height, kernel_width
        int64_t stride_height, stride_width
        int64_t top, bottom, left, right
        int threads

    int64_t sn_conv_out_height(const sn_conv *c)
    int64_t sn_conv_out_width(const sn_conv *c)
    size_t sn_conv_workspace(const sn_conv *c, size_t width, int backward)
    void sn_conv_forward_f32(float *y, const float *x, const float *weight, const float *bias, const sn_conv *c,
                             void *workspace)
    void sn_conv_forward_f64(double *y, const double *x, const double *weight, const double *bias, const sn_conv *c,
                             void *workspace)
    void sn_conv_backward_f32(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                              const float *weight, const sn_conv *c, void *workspace)
    void sn_conv_backward_f64(double *dx, double *dweight, double *dbias, const double *dy, const double *x,
                              const double *weight, const sn_conv *c, void *workspace)


cdef extern from "pool.h" nogil:
    ctypedef struct sn_pool:
        int64_t samples, height, width, channels
        int64_t pool_height, pool_width, stride_height, stride_width
        int64_t top, bottom, left, right
        int threads

    int64_t sn_pool_out_height(const sn_pool *p)
    int64_t sn_pool_out_width(const sn_pool *p)
    void sn_pool_forward_f32(float *y, int32_t *origin, const float *x, const sn_pool *p)
    void sn_pool_forward_f64(double *y, int32_t *origin, const double *x, const sn_pool *p)
    void sn_pool_backward_f32(float *dx, const float *dy, const int32_t *origin, const sn_pool *p)
    void sn_pool_backward_f64(double *dx, const double *dy, const int32_t *origin, const sn_pool *p)


# ---- arguments ----


cdef int64_t MOST_POSITIONS = (<int64_t>1 << 31) - 1  # of an image: their numbers are int32


cdef int check_images(object array, str name, object like=None) except -1:
    check_plain(array, name, like)
    if cnp.PyArray_NDIM(<cnp.ndarray>array) != 4:
        raise ValueError(f"{name} has shape {array.shape}; expected 4 dimensions")
    return 0


cdef int pair_of(object pair, str name, int64_t smallest, int64_t *first, int64_t *second) except -1:
    """Two whole numbers, each at least `smallest`."""
    cdef str wanted = f"a pair of integers from {smallest} to {MOST_POSITIONS}"
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{name} is {shown(pair)}; expected {wanted}")
    for each in pair:
        if not smallest <= integer(each, name, wanted) <= MOST_POSITIONS:
            raise ValueError(f"{name} is {shown(pair)}; expected {wanted}")
    first[0], second[0] = pair[0], pair[1]
    return 0


cdef int padding_of(object padding, int64_t *top, int64_t *bottom, int64_t *left, int64_t *right) except -1:
    if not isinstance(padding, (tuple, list)) or len(padding) != 2:
        raise TypeError(f"padding is {shown(padding)}; expected ((top, bottom), (left, right))")
    pair_of(padding[0], "padding", 0, top, bottom)
    return pair_of(padding[1], "padding", 0, left, right)


cdef int threads_or_all(object threads) except -1:
    cdef int count = threads_of(threads)
    return sn_processors() if count == 0 else count


cdef int check_image_size(object x, int64_t height, int64_t width, int64_t window_height, int64_t window_width,
                          str what) except -1:
    """That there is an image of x, and that a window is not larger than it is with what is around it."""
    if x.shape[1] < 1 or x.shape[2] < 1 or x.shape[3] < 1:
        raise ValueError(f"x has shape {x.shape}; expected images of at least one row, column and channel")
    if window_height > height or window_width > width:
        raise ValueError(
            f"x has shape {x.shape}, {height} x {width} with its padding; expected at least the {what}'s "
            f"{window_height} x {window_width}"
        )
    return 0


cdef int conv_of(sn_conv *c, object x, object weight, object strides, object padding, object threads) except -1:
    check_images(x, "x")
    check_images(weight, "weight", x)
    if weight.size == 0:
        raise ValueError(f"weight has shape {weight.shape}; expected at least 1 along each axis")
    if x.shape[3] != weight.shape[2]:
        raise ValueError(f"x has shape {x.shape}; expected {weight.shape[2]} channels, as weight has {weight.shape}")
    c.samples, c.height, c.width, c.channels = x.shape
    c.kernel_height, c.kernel_width, _, c.filters = weight.shape
    pair_of(strides, "strides", 1, &c.stride_height, &c.stride_width)
    padding_of(padding, &c.top, &c.bottom, &c.left, &c.right)
    check_image_size(
        x, c.height + c.top + c.bottom, c.width + c.left + c.right, c.kernel_height, c.kernel_width, "kernel"
    )
    check_room(c)
    c.threads = threads_or_all(threads)
    return 0


# Values of the rows that a task holds; times the bytes of a value, tasks and chunks their number stays below 2^63.
cdef object MOST_ROOM = 1 << 36


cdef int check_room(const sn_conv *c) except -1:
    """That the sizes of the workspace can be computed, whatever zeros are asked for."""
    wide = <object>c.left + <object>c.width + <object>c.right
    if wide * max(<object>c.channels, <object>c.filters) * <object>c.kernel_height ** 2 > MOST_ROOM:
        raise ValueError(
            f"with its padding an image is {wide} positions wide, of {c.channels} channels, under a kernel of "
            f"{c.kernel_height} rows and {c.filters} filters, which no memory holds; expected less padding"
        )
    return 0


cdef void *workspace_of(size_t bytes, char **room) except NULL:
    """So many bytes from a multiple of 64 on, in memory that is to be freed by `room`."""
    room[0] = <char *>malloc(bytes + 64)
    if room[0] == NULL:
        raise MemoryError(f"no memory for {bytes} bytes of scratch: take smaller batches")
    return <void *>(room[0] + 64 - <uintptr_t>room[0] % 64)


# ---- convolution ----


def conv2d_forward(x, weight, bias=None, *, strides=(1, 1), padding=((0, 0), (0, 0)), out=None, threads=None):
    """x (N, H, W, C) under a weight (KH, KW, C, O) at every stride, plus bias (O,): y (N, OH, OW, O), maybe in `out`.

    `padding`: zeros before and after the rows, and the columns, of each image.
    """
    cdef sn_conv c
    cdef char *room = NULL
    conv_of(&c, x, weight, strides, padding, threads)
    if bias is not None:
        check_plain(bias, "bias", x)
        check_shape(bias, "bias", (weight.shape[3],))
    shape = (x.shape[0], sn_conv_out_height(&c), sn_conv_out_width(&c), weight.shape[3])
    y = result_of(out, shape, x, (x, weight, bias))
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT
    cdef void *workspace = workspace_of(sn_conv_workspace(&c, 4 if single else 8, False), &room)
    cdef void *to = data(y)
    cdef const void *values = data(x)
    cdef const void *weights = data(weight)
    cdef const void *biases = data(bias)
    with nogil:
        if single:
            sn_conv_forward_f32(<float *>to, <const float *>values, <const float *>weights, <const float *>biases, &c,
                                workspace)
        else:
            sn_conv_forward_f64(<double *>to, <const double *>values, <const double *>weights, <const double *>biases,
                                &c, workspace)
    free(room)
    return y


def conv2d_backward(
    dy, x, weight, *, strides=(1, 1), padding=((0, 0), (0, 0)), bint bias=True, bint dx=True, out=None, threads=None
):
    """The gradients ``(dx, dweight, dbias)`` of :func:`conv2d_forward`; dx and dbias are None where not wanted.

    `out`: a tuple of arrays or None, where to write them.
    """
    cdef sn_conv c
    cdef char *room = NULL
    conv_of(&c, x, weight, strides, padding, threads)
    check_images(dy, "dy", x)
    check_shape(dy, "dy", (x.shape[0], sn_conv_out_height(&c), sn_conv_out_width(&c), weight.shape[3]))
    dx_out, dweight_out, dbias_out = outputs_of(out, 3, True, "dx, dweight, dbias")
    read = (dy, x, weight)
    dweight = result_of(dweight_out, weight.shape, x, read)
    dbias = result_of(dbias_out, weight.shape[3:], x, read + (dweight,)) if bias else None
    result = result_of(dx_out, x.shape, x, read + (dweight, dbias)) if dx else None
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT
    cdef void *workspace = workspace_of(sn_conv_workspace(&c, 4 if single else 8, True), &room)
    cdef void *to = data(result)
    cdef void *to_weight = data(dweight)
    cdef void *to_bias = data(dbias)
    cdef const void *gradient = data(dy)
    cdef const void *values = data(x)
    cdef const void *weights = data(weight)
    with nogil:
        if single:
            sn_conv_backward_f32(<float *>to, <float *>to_weight, <float *>to_bias, <const float *>gradient,
                                 <const float *>values, <const float *>weights, &c, workspace)
        else:
            sn_conv_backward_f64(<double *>to, <double *>to_weight, <double *>to_bias, <const double *>gradient,
                                 <const double *>values, <const double *>weights, &c, workspace)
    free(room)
    return result, dweight, dbias


# ---- pooling ----


cdef int pool_of(sn_pool *p, object shape, object pool_size, object strides, object padding, object threads) except -1:
    p.samples, p.height, p.width, p.channels = shape
    pair_of(pool_size, "pool_size", 1, &p.pool_height, &p.pool_width)
    pair_of(strides, "strides", 1, &p.stride_height, &p.stride_width)
    padding_of(padding, &p.top, &p.bottom, &p.left, &p.right)
    if max(p.top, p.bottom) >= p.pool_height or max(p.left, p.right) >= p.pool_width:
        raise ValueError(f"padding is {padding}; expected less than pool_size on each side, which is {pool_size}")
    p.threads = threads_or_all(threads)
    return 0


def max_pool2d_forward(
    x, *, pool_size, strides, padding=((0, 0), (0, 0)), bint keep=True, out=None, threads=None
):
    """``(y, from)``: the largest value of every window of x (N, H, W, C), in `out` if given, and where it was.

    `from`, int32 of the shape of y, counts the positions of an image; with keep=False it is None.
    """
    cdef sn_pool p
    check_images(x, "x")
    pool_of(&p, x.shape, pool_size, strides, padding, threads)
    check_image_size(
        x, p.height + p.top + p.bottom, p.width + p.left + p.right, p.pool_height, p.pool_width, "window"
    )
    if p.height * p.width > MOST_POSITIONS:
        raise ValueError(f"x has shape {x.shape}; expected images of less than 2**31 positions")
    shape = (x.shape[0], sn_pool_out_height(&p), sn_pool_out_width(&p), x.shape[3])
    y = result_of(out, shape, x, (x,))
    places = np.empty(shape, np.int32) if keep else None
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT
    cdef void *to = data(y)
    cdef int32_t *origin = <int32_t *>data(places)
    cdef const void *values = data(x)
    with nogil:
        if single:
            sn_pool_forward_f32(<float *>to, origin, <const float *>values, &p)
        else:
            sn_pool_forward_f64(<double *>to, origin, <const double *>values, &p)
    return y, places


def max_pool2d_backward(dy, places, shape, *, out=None, threads=None):
    """The gradient of x, which had that shape, from that of y; `places` as :func:`max_pool2d_forward` returned it."""
    cdef sn_pool p
    check_images(dy, "dy")
    if not isinstance(places, np.ndarray) or places.dtype != np.int32 or not cnp.PyArray_ISCARRAY_RO(places):
        raise TypeError("the places are not the C-contiguous int32 array that max_pool2d_forward returns")
    check_shape(places, "the places' array", dy.shape)
    shape = tuple(shape)
    if len(shape) != 4 or shape[0] != dy.shape[0] or shape[3] != dy.shape[3]:
        raise ValueError(f"shape is {shape}; expected 4 sizes, with the samples and channels of dy {dy.shape}")
    # Where a value came from is known: all that the sizes of windows are for is how many there are.
    p.samples, p.height, p.width, p.channels = shape
    p.top = p.bottom = p.left = p.right = 0
    p.stride_height = p.stride_width = 1
    p.pool_height = p.height - <int64_t>dy.shape[1] + 1
    p.pool_width = p.width - <int64_t>dy.shape[2] + 1
    p.threads = threads_or_all(threads)
    if places.size > 0 and (places.min() < 0 or places.max() >= p.height * p.width):
        raise ValueError(f"the places' array has positions outside of images of shape {shape[1:3]}")
    dx = result_of(out, shape, dy, (dy, places))
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>dy) == cnp.NPY_FLOAT
    cdef void *to = data(dx)
    cdef const int32_t *origin = <const int32_t *>data(places)
    cdef const void *gradient = data(dy)
    with nogil:
        if single:
            sn_pool_backward_f32(<float *>to, <const float *>gradient, origin, &p)
        else:
            sn_pool_backward_f64(<double *>to, <const double *>gradient, origin, &p)
    return dx
