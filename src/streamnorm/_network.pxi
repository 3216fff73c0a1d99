# Part of _nn.pyx: dense layers, activations, dropout, embeddings, losses and optimizers, each by itself.
#
# Arrays come as the kernels take them, C-contiguous and all of one type; anything else is refused, not converted, since
# the layers that call these functions have converted what a user gave them.

cdef extern from "gemm.h" nogil:
    ctypedef struct sn_gemm:
        int64_t m, n, k
        int64_t a_row, a_col, b_row, b_col, c_row
        int add
        const void *bias
        int threads

    size_t sn_gemm_workspace(const sn_gemm *g, size_t width)
    void sn_gemm_f32(float *c, const float *a, const float *b, const sn_gemm *g, void *workspace)
    void sn_gemm_f64(double *c, const double *a, const double *b, const sn_gemm *g, void *workspace)


cdef extern from "parallel.h" nogil:
    int sn_processors()


cdef extern from "network_kernels.h" nogil:
    ctypedef enum sn_loss:
        SN_LOSS_SQUARED, SN_LOSS_ABSOLUTE, SN_LOSS_HUBER, SN_LOSS_QUANTILE, SN_LOSS_BINARY, SN_LOSS_SOFTMAX

    ctypedef struct sn_sgd:
        double lr, momentum, weight_decay
        int nesterov

    ctypedef struct sn_adam:
        int64_t step
        double lr, beta1, beta2, eps, weight_decay
        int decoupled

    ctypedef struct sn_network_kernels:
        int64_t width
        void (*relu_forward)(void *y, const void *x, int64_t n) noexcept nogil
        void (*relu_backward)(void *dx, const void *dy, const void *y, int64_t n) noexcept nogil
        void (*tanh_forward)(void *y, const void *x, int64_t n) noexcept nogil
        void (*tanh_backward)(void *dx, const void *dy, const void *y, int64_t n) noexcept nogil
        void (*sigmoid_forward)(void *y, const void *x, int64_t n) noexcept nogil
        void (*sigmoid_backward)(void *dx, const void *dy, const void *y, int64_t n) noexcept nogil
        void (*dropout)(void *y, const void *x, int64_t n, double p, uint64_t key) noexcept nogil
        void (*embedding_forward)(void *y, const void *x, const void *weight, int64_t rows, int64_t d, int64_t k,
                                  int64_t buckets, int64_t dim) noexcept nogil
        void (*embedding_backward)(void *dx, void *dweight, const void *dy, const void *x, int64_t rows, int64_t d,
                                   int64_t k, int64_t buckets, int64_t dim) noexcept nogil
        int64_t (*bad_code)(const void *values, int64_t rows, int64_t count, int64_t stride,
                            int64_t limit) noexcept nogil
        void (*column_sums)(void *sums, const void *x, int64_t rows, int64_t columns) noexcept nogil
        double (*loss)(void *gradient, const void *prediction, const void *target, const void *weights, int64_t rows,
                       int64_t columns, sn_loss kind, double parameter, double factor) noexcept nogil
        double (*right)(const void *prediction, const void *target, const void *weights, int64_t rows, int64_t columns,
                        sn_loss kind) noexcept nogil
        double (*sum)(const void *x, int64_t n) noexcept nogil
        void (*sgd)(void *parameter, void *velocity, const void *gradient, int64_t n, const sn_sgd *sgd,
                    double scale) noexcept nogil
        void (*adam)(void *parameter, void *m, void *v, const void *gradient, int64_t n, const sn_adam *adam,
                     double scale) noexcept nogil
        double (*square_norm)(const void *x, int64_t n) noexcept nogil

    sn_network_kernels sn_network_float32, sn_network_float64  # const in C
    uint64_t sn_dropout_key(uint64_t seed, uint64_t step)


# ---- arguments ----


cdef int check_plain(object array, str name, object like=None) except -1:
    """Of the kernels' form, and of `like`'s type."""
    if not is_plain(array):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            found = f"of dtype {array.dtype}" if isinstance(array, np.ndarray) else f"of type {type(array).__name__}"
            raise TypeError(f"{name} is {found}; expected an ndarray of float32 or float64")
        raise ValueError(f"{name} is not C-contiguous; pass np.ascontiguousarray({name})")
    if like is not None and cnp.PyArray_TYPE(<cnp.ndarray>array) != cnp.PyArray_TYPE(<cnp.ndarray>like):
        raise TypeError(f"{name} has dtype {array.dtype}; expected {like.dtype}, as the other arrays have")
    return 0


cdef int check_shape(object array, str name, tuple shape) except -1:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return 0


cdef int check_same(object array, str name, object like) except -1:
    """Of the form, the type and the shape of `like`."""
    if same_form(array, <cnp.ndarray>like):
        return 0
    check_plain(array, name, like)
    return check_shape(array, name, like.shape)


cdef int check_written(object array, str name, object like) except -1:
    """Of the form of `like`, and writable."""
    check_same(array, name, like)
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array):
        raise ValueError(f"{name} is read-only; pass a writable array")
    return 0


cdef object result_of(object out, object shape, object like, tuple read):
    """`out`, or a new array of that shape and of `like`'s type; it shares no memory with what is read."""
    if out is None:
        return np.empty(shape, like.dtype)
    check_plain(out, "out", like)
    check_shape(out, "out", tuple(shape))
    if not out.flags.writeable:
        raise ValueError("out is read-only; pass a writable array")
    for array in read:
        if array is not None and np.may_share_memory(out, array):
            raise ValueError("out shares memory with an argument; pass an array of its own")
    return out


cdef object elementwise_result(object out, object like):
    """The same for kernels that may overwrite an array that they read."""
    if out is None:
        return new_like(<cnp.ndarray>like)
    check_written(out, "out", like)
    return out


cdef inline const sn_network_kernels *kernels_of(object array) noexcept:
    if cnp.PyArray_TYPE(<cnp.ndarray>array) == cnp.NPY_FLOAT:
        return <const sn_network_kernels *>&sn_network_float32
    return <const sn_network_kernels *>&sn_network_float64


cdef inline void *data(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


# ---- dense layers ----


cdef int check_matrix(object array, str name, object like=None) except -1:
    check_plain(array, name, like)
    if cnp.PyArray_NDIM(<cnp.ndarray>array) != 2:
        raise ValueError(f"{name} has shape {array.shape}; expected 2 dimensions")
    return 0


cdef int multiply(object c, object a, object b, sn_gemm *g, object threads) except -1:
    cdef size_t width = <size_t>cnp.PyArray_ITEMSIZE(<cnp.ndarray>c), bytes
    cdef void *to = data(c)
    cdef const void *first = data(a)
    cdef const void *second = data(b)
    cdef char *room = NULL
    cdef void *workspace = NULL
    g.threads = threads_of(threads)
    if g.threads == 0:
        g.threads = sn_processors()
    bytes = sn_gemm_workspace(g, width)
    if bytes > 0:
        room = <char *>malloc(bytes + 64)
        if room == NULL:
            raise MemoryError
        workspace = <void *>(room + 64 - <uintptr_t>room % 64)
    with nogil:
        if width == sizeof(float):
            sn_gemm_f32(<float *>to, <const float *>first, <const float *>second, g, workspace)
        else:
            sn_gemm_f64(<double *>to, <const double *>first, <const double *>second, g, workspace)
    free(room)
    return 0


def dense_forward(x, weight, bias=None, *, out=None, threads=None):
    """``y = x @ weight.T + bias``: x (N, in), weight (out, in), bias (out,) or None; y (N, out), in `out` if given."""
    cdef sn_gemm g
    check_matrix(x, "x")
    check_matrix(weight, "weight", x)
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"x has shape {x.shape}; expected {weight.shape[1]} columns, as weight has")
    if bias is not None:
        check_plain(bias, "bias", x)
        check_shape(bias, "bias", (weight.shape[0],))
    y = result_of(out, (x.shape[0], weight.shape[0]), x, (x, weight, bias))
    g.m = x.shape[0]
    g.n = g.c_row = weight.shape[0]
    g.k = g.a_row = g.b_col = x.shape[1]
    g.a_col = g.b_row = 1
    g.add = 0
    g.bias = data(bias)
    multiply(y, x, weight, &g, threads)
    return y


def dense_backward(dy, x, weight, *, bint bias=True, bint dx=True, out=None, threads=None):
    """The gradients ``(dx, dweight, dbias)`` of :func:`dense_forward`; None for dx and dbias where they are not wanted.

    `out`: a tuple of arrays or None, where to write them.
    """
    cdef sn_gemm g
    cdef int64_t N, n_in, n_out
    check_matrix(x, "x")
    check_matrix(weight, "weight", x)
    check_matrix(dy, "dy", x)
    N, n_in, n_out = x.shape[0], x.shape[1], weight.shape[0]
    check_shape(weight, "weight", (n_out, n_in))
    check_shape(dy, "dy", (N, n_out))
    dx_out, dweight_out, dbias_out = outputs_of(out, 3, True, "dx, dweight, dbias")
    read = (dy, x, weight)
    dweight = result_of(dweight_out, (n_out, n_in), x, read)
    dbias = result_of(dbias_out, (n_out,), x, read + (dweight,)) if bias else None
    g.add = 0
    g.bias = NULL
    result = None
    if dx:
        result = result_of(dx_out, (N, n_in), x, read + (dweight, dbias))
        g.m, g.n, g.k = N, n_in, n_out
        g.a_row, g.a_col, g.b_row, g.b_col, g.c_row = n_out, 1, n_in, 1, n_in
        multiply(result, dy, weight, &g, threads)
    g.m, g.n, g.k = n_out, n_in, N
    g.a_row, g.a_col, g.b_row, g.b_col, g.c_row = 1, n_out, n_in, 1, n_in
    multiply(dweight, dy, x, &g, threads)
    if bias:
        kernels_of(x).column_sums(data(dbias), data(dy), N, n_out)
    return result, dweight, dbias


# ---- activations and dropout ----


ctypedef void (*activation)(void *y, const void *x, int64_t n) noexcept nogil
ctypedef void (*activation_backward)(void *dx, const void *dy, const void *y, int64_t n) noexcept nogil


cdef object activate(object x, object out, activation single, activation twice):
    check_plain(x, "x")
    y = elementwise_result(out, x)
    cdef activation run = single if cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT else twice
    cdef void *to = data(y)
    cdef const void *values = data(x)
    cdef int64_t n = cnp.PyArray_SIZE(<cnp.ndarray>x)
    with nogil:
        run(to, values, n)
    return y


cdef object activate_back(object dy, object y, object out, activation_backward single, activation_backward twice):
    check_plain(y, "y")
    check_same(dy, "dy", y)
    dx = elementwise_result(out, y)
    cdef activation_backward run = single if cnp.PyArray_TYPE(<cnp.ndarray>y) == cnp.NPY_FLOAT else twice
    cdef void *to = data(dx)
    cdef const void *gradient = data(dy)
    cdef const void *output = data(y)
    cdef int64_t n = cnp.PyArray_SIZE(<cnp.ndarray>y)
    with nogil:
        run(to, gradient, output, n)
    return dx


def relu_forward(x, out=None):
    """``max(x, 0)``, NaN where x is; `out` may be x."""
    return activate(x, out, sn_network_float32.relu_forward, sn_network_float64.relu_forward)


def relu_backward(dy, y, out=None):
    """The gradient by x, from that by y and y itself: 0 where y is 0. `out` may be dy."""
    return activate_back(dy, y, out, sn_network_float32.relu_backward, sn_network_float64.relu_backward)


def tanh_forward(x, out=None):
    """The hyperbolic tangent, the same bits on every processor; `out` may be x."""
    return activate(x, out, sn_network_float32.tanh_forward, sn_network_float64.tanh_forward)


def tanh_backward(dy, y, out=None):
    """``dy * (1 - y**2)``; `out` may be dy."""
    return activate_back(dy, y, out, sn_network_float32.tanh_backward, sn_network_float64.tanh_backward)


def sigmoid_forward(x, out=None):
    """``1 / (1 + exp(-x))``, the same bits on every processor; `out` may be x."""
    return activate(x, out, sn_network_float32.sigmoid_forward, sn_network_float64.sigmoid_forward)


def sigmoid_backward(dy, y, out=None):
    """``dy * y * (1 - y)``; `out` may be dy."""
    return activate_back(dy, y, out, sn_network_float32.sigmoid_backward, sn_network_float64.sigmoid_backward)


cdef double share_of(object p) except? -1.0:
    cdef double value = real(p, "p")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"p is {p}; expected a number from 0 to 1")
    return value


def dropout_forward(x, p, seed, step, out=None):
    """Values of x times ``1 / (1 - p)`` or 0, as words of a generator of (seed, step) say; `out` may be x.

    Value i, in C order, is kept if word i is at least ``floor(p * 2**32)``. Words are 32 bits, two from each number of a
    SplitMix64 sequence (Steele, Lea and Flood, 2014), the lower half first: ``mix(key + (j + 1) * G)`` for j = 0, 1, ...
    with ``G = 0x9E3779B97F4A7C15`` and ``key = mix(mix(seed) + (step + 1) * G)``, all modulo 2**64.
    """
    check_plain(x, "x")
    cdef double share = share_of(p)
    cdef uint64_t key = sn_dropout_key(<uint64_t>(int(seed) & 0xFFFFFFFFFFFFFFFF), <uint64_t>(int(step) & 0xFFFFFFFFFFFFFFFF))
    y = elementwise_result(out, x)
    kernels_of(x).dropout(data(y), data(x), cnp.PyArray_SIZE(<cnp.ndarray>x), share, key)
    return y


def dropout_backward(dy, p, seed, step, out=None):
    """The gradient by x: the same values of dy are kept, and multiplied by the same."""
    return dropout_forward(dy, p, seed, step, out)


# ---- embeddings ----


cdef int check_embedding(object x, object weight) except -1:
    check_matrix(x, "x")
    check_plain(weight, "weight", x)
    if weight.ndim != 3 or weight.shape[0] > x.shape[1]:
        raise ValueError(
            f"weight has shape {weight.shape}, x has shape {x.shape}; expected (k, buckets, dim), where the last k "
            "columns of x are codes"
        )
    return check_codes(x, weight.shape[0], weight.shape[1])


cdef int check_codes(object x, int64_t k, int64_t buckets) except -1:
    """The last k columns of x, whose rows are whatever follows the first axis, are whole numbers below `buckets`."""
    cdef int64_t rows = cnp.PyArray_DIM(<cnp.ndarray>x, 0), n = product(<cnp.ndarray>x, 1, cnp.PyArray_NDIM(<cnp.ndarray>x))
    cdef const char *first = <const char *>data(x) + (n - k) * cnp.PyArray_ITEMSIZE(<cnp.ndarray>x)
    cdef int64_t bad = kernels_of(x).bad_code(first, rows, k, n, buckets)
    if bad >= 0:
        raise ValueError(
            f"row {bad} of x has codes {x.reshape(rows, n)[bad, n - k:].tolist()}; expected whole numbers from 0 to "
            f"{buckets - 1}"
        )
    return 0


def embedding_forward(x, weight, out=None):
    """Rows of tables for codes: x (N, d + k), whose last k columns are whole numbers; weight (k, buckets, dim).

    y (N, d + k * dim) has the first d columns of x and then, for each column j of codes, ``weight[j, code]``.
    """
    check_embedding(x, weight)
    k, buckets, dim = weight.shape
    d = x.shape[1] - k
    y = result_of(out, (x.shape[0], d + k * dim), x, (x, weight))
    kernels_of(x).embedding_forward(data(y), data(x), data(weight), x.shape[0], d, k, buckets, dim)
    return y


def embedding_backward(dy, x, weight, out=None):
    """The gradients ``(dx, dweight)`` of :func:`embedding_forward`; dx is 0 for codes. `out`: a tuple of arrays."""
    check_embedding(x, weight)
    k, buckets, dim = weight.shape
    d = x.shape[1] - k
    check_plain(dy, "dy", x)
    check_shape(dy, "dy", (x.shape[0], d + k * dim))
    dx_out, dweight_out = outputs_of(out, 2, True, "dx, dweight")
    dx = result_of(dx_out, x.shape, x, (dy, x, weight))
    dweight = result_of(dweight_out, weight.shape, x, (dy, x, weight, dx))
    kernels_of(x).embedding_backward(data(dx), data(dweight), data(dy), data(x), x.shape[0], d, k, buckets, dim)
    return dx, dweight


# ---- losses ----


cdef dict LOSSES = {
    "squared": SN_LOSS_SQUARED, "absolute": SN_LOSS_ABSOLUTE, "huber": SN_LOSS_HUBER, "quantile": SN_LOSS_QUANTILE,
    "binary": SN_LOSS_BINARY, "softmax": SN_LOSS_SOFTMAX,
}


cdef sn_loss loss_of(object kind) except *:
    if kind not in LOSSES:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(LOSSES)}")
    return <sn_loss><int>LOSSES[kind]


cdef object class_targets(object target, object prediction, int64_t classes):
    """Numbers of classes as floats of the prediction's type, which holds them exactly."""
    if isinstance(target, np.ndarray) and target.dtype.kind in "iu":
        target = target.astype(prediction.dtype)
    check_plain(target, "target", prediction)
    check_shape(target, "target", prediction.shape[:1])
    return check_classes(target, classes)


cdef object check_classes(object target, int64_t classes):
    cdef int64_t bad = kernels_of(target).bad_code(data(target), target.size, 1, 1, classes)
    if bad >= 0:
        raise ValueError(
            f"target {bad} is {target.reshape(-1)[bad]}; expected the number of a class, from 0 to {classes - 1}"
        )
    return target


cdef object checked_targets(sn_loss loss, object prediction, object target, object sample_weight):
    """Targets of the prediction's type, of arrays that fit each other."""
    check_plain(prediction, "prediction")
    cdef int nd = cnp.PyArray_NDIM(<cnp.ndarray>prediction)
    if nd < 1 or (loss == SN_LOSS_SOFTMAX and (nd != 2 or prediction.shape[1] == 0)):
        raise ValueError(f"prediction has shape {prediction.shape}; expected (N, ...), and (N, classes) for softmax")
    if sample_weight is not None:
        check_plain(sample_weight, "sample_weight", prediction)
        check_shape(sample_weight, "sample_weight", (prediction.shape[0],))
    if loss == SN_LOSS_SOFTMAX:
        return class_targets(target, prediction, prediction.shape[1])
    check_same(target, "target", prediction)
    return target


cdef double run_loss(
    object gradient, object kind, object prediction, object target, double parameter, object sample_weight
) except? -1.0:
    cdef sn_loss loss = loss_of(kind)
    cdef double total, elements = 1.0, factor
    target = checked_targets(loss, prediction, target, sample_weight)
    cdef int64_t rows = cnp.PyArray_DIM(<cnp.ndarray>prediction, 0)
    cdef int64_t columns = product(<cnp.ndarray>prediction, 1, cnp.PyArray_NDIM(<cnp.ndarray>prediction))
    if loss != SN_LOSS_SOFTMAX:
        elements = columns
    total = rows
    if sample_weight is not None:
        total = kernels_of(prediction).sum(data(sample_weight), rows)
    if total == 0.0 or columns == 0:
        if gradient is not None:
            gradient[...] = 0.0
        return 0.0
    factor = 1.0 / (total * elements)
    return kernels_of(prediction).loss(data(gradient), data(prediction), data(target), data(sample_weight), rows,
                                       columns, loss, parameter, factor) / elements / total


def loss_forward(kind, prediction, target, parameter=0.0, sample_weight=None):
    """The mean of a loss over all elements, summed in double; weighted by rows, and 0 if the weights sum to 0.

    kind: "squared", "absolute", "huber" (`parameter` is delta), "quantile" (q), "binary" (logits, targets from 0 to 1),
    "softmax" (logits (N, K), numbers of classes (N,)); all but softmax take a target of the prediction's shape.
    """
    return run_loss(None, kind, prediction, target, real(parameter, "parameter"), sample_weight)


def loss_backward(kind, prediction, target, parameter=0.0, sample_weight=None, out=None):
    """The gradient of :func:`loss_forward` by the prediction."""
    check_plain(prediction, "prediction")
    gradient = result_of(out, prediction.shape, prediction, (prediction, target, sample_weight))
    run_loss(gradient, kind, prediction, target, real(parameter, "parameter"), sample_weight)
    return gradient


def right_predictions(kind, prediction, target, sample_weight=None):
    """The sum of the weights of rows whose class is right, which NaN never is.

    kind: "softmax", where the first largest logit names the class; or "binary", where a logit above 0 says 1 and a target
    of at least 1/2 is 1: of several values in a row, the share that is right.
    """
    cdef sn_loss loss = loss_of(kind)
    cdef int64_t columns
    if loss not in (SN_LOSS_SOFTMAX, SN_LOSS_BINARY):
        raise ValueError(f"kind is {kind!r}; expected 'softmax' or 'binary', which have classes")
    target = checked_targets(loss, prediction, target, sample_weight)
    columns = product(<cnp.ndarray>prediction, 1, cnp.PyArray_NDIM(<cnp.ndarray>prediction))
    cdef double right = kernels_of(prediction).right(data(prediction), data(target), data(sample_weight),
                                                     cnp.PyArray_DIM(<cnp.ndarray>prediction, 0), columns, loss)
    return right if loss == SN_LOSS_SOFTMAX or columns == 0 else right / columns


# ---- optimizers ----


def sgd_step(parameter, gradient, velocity, lr, momentum=0.0, bint nesterov=False, weight_decay=0.0, scale=1.0):
    """Gradient descent, in place: ``g = gradient * scale + weight_decay * parameter``,
    ``velocity = momentum * velocity + g``, ``parameter -= lr * velocity`` (nesterov: ``lr * (g + momentum * velocity)``;
    without momentum: ``lr * g``, and velocity may be None)."""
    cdef sn_sgd sgd
    cdef void *state = NULL
    check_plain(parameter, "parameter")
    check_written(parameter, "parameter", parameter)
    check_same(gradient, "gradient", parameter)
    sgd.lr, sgd.momentum, sgd.weight_decay = real(lr, "lr"), real(momentum, "momentum"), real(weight_decay, "weight_decay")
    sgd.nesterov = nesterov
    if sgd.momentum != 0.0 and velocity is not None:
        check_written(velocity, "velocity", parameter)
        state = data(velocity)
    kernels_of(parameter).sgd(data(parameter), state, data(gradient), cnp.PyArray_SIZE(<cnp.ndarray>parameter), &sgd,
                              real(scale, "scale"))


def adam_step(
    parameter, gradient, m, v, step, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, bint decoupled=False,
    scale=1.0
):
    """A step of Adam (Kingma and Ba, 2015), or AdamW with `decoupled`, in place; `step` counts from 1."""
    cdef sn_adam adam
    check_plain(parameter, "parameter")
    check_written(parameter, "parameter", parameter)
    check_same(gradient, "gradient", parameter)
    check_written(m, "m", parameter)
    check_written(v, "v", parameter)
    adam.step = step
    if adam.step < 1:
        raise ValueError(f"step is {step}; expected at least 1, the number of this step")
    adam.lr, adam.beta1, adam.beta2 = real(lr, "lr"), real(beta1, "beta1"), real(beta2, "beta2")
    adam.eps, adam.weight_decay, adam.decoupled = real(eps, "eps"), real(weight_decay, "weight_decay"), decoupled
    kernels_of(parameter).adam(data(parameter), data(m), data(v), data(gradient),
                               cnp.PyArray_SIZE(<cnp.ndarray>parameter), &adam, real(scale, "scale"))


def square_norm(gradient):
    """The sum of squares, in double."""
    check_plain(gradient, "gradient")
    return kernels_of(gradient).square_norm(data(gradient), cnp.PyArray_SIZE(<cnp.ndarray>gradient))
