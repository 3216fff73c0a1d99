# Part of _nn.pyx: layers that go through sequences, by the functions of lstm.h. Arrays are as in _network.pxi.

cdef extern from "lstm.h" nogil:
    ctypedef struct sn_lstm:
        int64_t samples, steps
        int64_t n_in "in"
        int64_t hidden
        int sequences, threads

    size_t sn_lstm_kept(const sn_lstm *lstm, size_t width)
    size_t sn_lstm_workspace(const sn_lstm *lstm, size_t width, int backward)
    void sn_lstm_forward_f32(float *y, void *kept, const float *x, const float *weight_ih, const float *weight_hh,
                             const float *bias, const sn_lstm *lstm, void *workspace)
    void sn_lstm_forward_f64(double *y, void *kept, const double *x, const double *weight_ih, const double *weight_hh,
                             const double *bias, const sn_lstm *lstm, void *workspace)
    void sn_lstm_backward_f32(float *dx, float *dweight_ih, float *dweight_hh, float *dbias, const float *dy,
                              void *kept, const float *x, const float *weight_ih, const float *weight_hh,
                              const sn_lstm *lstm, void *workspace)
    void sn_lstm_backward_f64(double *dx, double *dweight_ih, double *dweight_hh, double *dbias, const double *dy,
                              void *kept, const double *x, const double *weight_ih, const double *weight_hh,
                              const sn_lstm *lstm, void *workspace)


cdef tuple describe_lstm(
    sn_lstm *lstm, object x, object weight_ih, object weight_hh, bint sequences, object threads
):
    """Checks x and the weights, fills the description, and returns the shape of y."""
    check_plain(x, "x")
    check_plain(weight_ih, "weight_ih", x)
    check_plain(weight_hh, "weight_hh", x)
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] == 0:
        raise ValueError(f"x has shape {x.shape}; expected (N, T, F), of at least one step and one value")
    if weight_hh.ndim != 2 or weight_hh.shape[1] == 0 or weight_hh.shape[0] != 4 * weight_hh.shape[1]:
        raise ValueError(f"weight_hh has shape {weight_hh.shape}; expected (4 * H, H)")
    lstm.samples, lstm.steps, lstm.n_in = x.shape
    lstm.hidden = weight_hh.shape[1]
    check_shape(weight_ih, "weight_ih", (4 * lstm.hidden, lstm.n_in))
    lstm.sequences = sequences
    lstm.threads = threads_of(threads)
    if lstm.threads == 0:
        lstm.threads = sn_processors()
    if sequences:
        return lstm.samples, lstm.steps, lstm.hidden
    return lstm.samples, lstm.hidden


cdef object lines(size_t bytes):
    """Bytes that begin where a line of the cache does."""
    room = np.empty(bytes + 64, np.uint8)
    cdef size_t first = 64 - <uintptr_t>data(room) % 64
    return room[first : first + bytes]


cdef int check_kept(object kept, size_t bytes) except -1:
    if (
        not isinstance(kept, np.ndarray) or kept.dtype != np.uint8 or kept.shape != (bytes,)
        or not kept.flags.c_contiguous or not kept.flags.writeable or (bytes > 0 and <uintptr_t>data(kept) % 64 != 0)
    ):
        raise ValueError(f"kept is not the {bytes} bytes that lstm_forward has kept for arrays of these shapes")
    return 0


def lstm_forward(x, weight_ih, weight_hh, bias, *, bint sequences, keep=True, out=None, threads=None):
    """A layer of long short-term memory: ``(y, kept)`` for x (N, T, F), y (N, T, H) or, of the last step, (N, H).

    weight_ih (4 * H, F), weight_hh (4 * H, H), bias (4 * H,), with the gates in PyTorch's order i, f, g, o. `kept` is
    what :func:`lstm_backward` wants; None with ``keep=False``, and what is given as `keep` if that is the `kept` of
    an earlier call for the same shapes, whose memory then serves again.
    """
    cdef sn_lstm lstm
    shape = describe_lstm(&lstm, x, weight_ih, weight_hh, sequences, threads)
    check_plain(bias, "bias", x)
    check_shape(bias, "bias", (4 * lstm.hidden,))
    read = (x, weight_ih, weight_hh, bias)
    y = result_of(out, shape, x, read)
    cdef size_t width = <size_t>cnp.PyArray_ITEMSIZE(<cnp.ndarray>x), bytes = sn_lstm_kept(&lstm, width)
    kept = keep
    if keep is True:
        kept = lines(bytes)
    elif keep is False:
        kept = None
    else:
        check_kept(kept, bytes)
        for array in (*read, y):
            if np.may_share_memory(kept, array):
                raise ValueError("kept shares memory with another argument; pass what lstm_forward has returned")
    workspace = lines(sn_lstm_workspace(&lstm, width, 0))
    cdef void *to = data(y)
    cdef void *room = data(kept)
    cdef void *scratch = data(workspace)
    cdef const void *from_x = data(x)
    cdef const void *ih = data(weight_ih)
    cdef const void *hh = data(weight_hh)
    cdef const void *b = data(bias)
    with nogil:
        if width == sizeof(float):
            sn_lstm_forward_f32(<float *>to, room, <const float *>from_x, <const float *>ih, <const float *>hh,
                                <const float *>b, &lstm, scratch)
        else:
            sn_lstm_forward_f64(<double *>to, room, <const double *>from_x, <const double *>ih, <const double *>hh,
                                <const double *>b, &lstm, scratch)
    return y, kept


def lstm_backward(
    dy, kept, x, weight_ih, weight_hh, *, bint sequences, bint dx=True, out=None, threads=None
):
    """The gradients ``(dx, dweight_ih, dweight_hh, dbias)`` of :func:`lstm_forward`; None for dx if it is not wanted.

    `kept` is overwritten, and serves once. `out`: a tuple of arrays or None, where to write the gradients.
    """
    cdef sn_lstm lstm
    shape = describe_lstm(&lstm, x, weight_ih, weight_hh, sequences, threads)
    check_plain(dy, "dy", x)
    check_shape(dy, "dy", shape)
    cdef size_t width = <size_t>cnp.PyArray_ITEMSIZE(<cnp.ndarray>x)
    check_kept(kept, sn_lstm_kept(&lstm, width))
    dx_out, ih_out, hh_out, bias_out = outputs_of(out, 4, True, "dx, dweight_ih, dweight_hh, dbias")
    read = (dy, kept, x, weight_ih, weight_hh)
    dweight_ih = result_of(ih_out, weight_ih.shape, x, read)
    dweight_hh = result_of(hh_out, weight_hh.shape, x, read + (dweight_ih,))
    dbias = result_of(bias_out, (4 * lstm.hidden,), x, read + (dweight_ih, dweight_hh))
    result = result_of(dx_out, x.shape, x, read + (dweight_ih, dweight_hh, dbias)) if dx else None
    workspace = lines(sn_lstm_workspace(&lstm, width, 1))
    cdef void *to = data(result)
    cdef void *to_ih = data(dweight_ih)
    cdef void *to_hh = data(dweight_hh)
    cdef void *to_bias = data(dbias)
    cdef void *room = data(kept)
    cdef void *scratch = data(workspace)
    cdef const void *gradient = data(dy)
    cdef const void *from_x = data(x)
    cdef const void *ih = data(weight_ih)
    cdef const void *hh = data(weight_hh)
    with nogil:
        if width == sizeof(float):
            sn_lstm_backward_f32(<float *>to, <float *>to_ih, <float *>to_hh, <float *>to_bias, <const float *>gradient,
                                 room, <const float *>from_x, <const float *>ih, <const float *>hh, &lstm, scratch)
        else:
            sn_lstm_backward_f64(<double *>to, <double *>to_ih, <double *>to_hh, <double *>to_bias,
                                 <const double *>gradient, room, <const double *>from_x, <const double *>ih,
                                 <const double *>hh, &lstm, scratch)
    return result, dweight_ih, dweight_hh, dbias
