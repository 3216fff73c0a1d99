# Part of _nn.pyx: a network with its loss and its optimizer, run as one list of operations.
#
# streamnorm.nn._plan describes the layers and checks what a user may get wrong; here pointers are taken out of arrays.

from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc
from libc.string cimport memset

cdef extern from "network.h" nogil:
    ctypedef enum sn_layer_kind:
        SN_LAYER_DENSE, SN_LAYER_RELU, SN_LAYER_TANH, SN_LAYER_SIGMOID, SN_LAYER_DROPOUT, SN_LAYER_EMBEDDING
        SN_LAYER_NORM, SN_LAYER_CONV, SN_LAYER_POOL, SN_LAYER_LSTM

    ctypedef struct sn_parameter:
        void *values
        void *gradient
        void *state[2]
        int64_t size

    ctypedef struct sn_layer:
        sn_layer_kind kind
        int64_t n_in "in"
        int64_t out
        sn_parameter *weight
        sn_parameter *bias
        sn_parameter *weight_hh
        int threads
        sn_conv conv
        sn_pool pool
        sn_lstm lstm
        double p
        uint64_t seed
        int64_t *steps
        int64_t positions, values, columns, buckets, dim
        sn_norm norm
        int positions_by_rows
        void *running_mean
        void *running_var
        int64_t *count
        double momentum
        int cumulative

    ctypedef enum sn_optimizer_kind:
        SN_OPTIMIZER_SGD, SN_OPTIMIZER_ADAM

    ctypedef struct sn_optimizer:
        sn_optimizer_kind kind
        sn_sgd sgd
        sn_adam adam
        double clip_norm, clip_value

    ctypedef struct sn_network:
        const sn_network_kernels *kernels
        int64_t n_layers, n_parameters
        sn_layer *layers
        sn_parameter *parameters
        int64_t n_in "in"
        int64_t out
        sn_loss loss
        double loss_parameter
        int64_t targets
        int accuracy
        sn_optimizer optimizer
        int64_t rows

    ctypedef struct sn_sums:
        double loss, weight, right

    ctypedef struct sn_epoch:
        const void *x
        const void *targets
        const void *weights
        const int64_t *order
        int64_t samples, batch
        const double *rates
        int64_t n_batches, next
        sn_sums sums

    sn_status sn_network_reserve(sn_network *network, int64_t rows)
    void sn_network_free(sn_network *network)
    int64_t sn_epoch_batches(int64_t samples, int64_t batch)
    sn_status sn_network_train(sn_network *network, sn_epoch *epoch, int64_t nanoseconds)
    sn_status sn_network_forward(sn_network *network, void *out, const void *x, int64_t samples)
    sn_status sn_network_evaluate(sn_network *network, sn_sums *sums, const void *x, const void *targets,
                                  const void *weights, int64_t samples)


cdef int64_t SLICE_NANOSECONDS = 50_000_000  # of training between two looks at signals

cdef dict LAYERS = {
    "dense": SN_LAYER_DENSE, "relu": SN_LAYER_RELU, "tanh": SN_LAYER_TANH, "sigmoid": SN_LAYER_SIGMOID,
    "dropout": SN_LAYER_DROPOUT, "embedding": SN_LAYER_EMBEDDING, "norm": SN_LAYER_NORM, "conv": SN_LAYER_CONV,
    "pool": SN_LAYER_POOL, "lstm": SN_LAYER_LSTM,
}
cdef tuple KEEP_SHAPES = (SN_LAYER_RELU, SN_LAYER_TANH, SN_LAYER_SIGMOID, SN_LAYER_DROPOUT, SN_LAYER_NORM)
# Values of a sample in a layer, and times the rows of a batch: sizes in bytes of all that is made of them are int64.
cdef object MOST_VALUES = 1 << 40
cdef dict LAYOUTS = {"rows": SN_NORM_ROWS, "planes": SN_NORM_PLANES, "columns": SN_NORM_COLUMNS}


cdef int sizes_of(tuple sizes, str what) except -1:
    for size in sizes:
        if not 1 <= size <= MOST_VALUES:
            raise ValueError(f"{what} has sizes {sizes}; expected each from 1 to {MOST_VALUES}")
    return 0


cdef class Network:
    """Layers, as dicts describe them, over the arrays that they hold; see :mod:`streamnorm.nn._plan`.

    One call at a time: the caller sees to it.
    """

    cdef sn_network network
    cdef list held  # the arrays that pointers point to
    cdef list trained  # gradients and states of the optimizer
    cdef object like  # an array of the network's type
    cdef object widest  # values of a sample that a layer makes on its way, at most
    cdef readonly int64_t batches_done  # of the last call of train

    def __cinit__(self):
        memset(&self.network, 0, sizeof(sn_network))

    def __init__(self, dtype, list layers, list parameters, int64_t n_in, int64_t n_out):
        cdef int64_t i
        cdef sn_network *network = &self.network
        if network.layers != NULL:
            raise TypeError("a Network is initialized once")
        self.like = np.empty(0, dtype)
        check_plain(self.like, "an array of dtype")
        self.held, self.trained, self.widest = [], [], max(1, n_in, n_out)
        network.kernels = kernels_of(self.like)
        network.n_in, network.out = n_in, n_out
        network.layers = <sn_layer *>calloc(len(layers) + 1, sizeof(sn_layer))
        network.parameters = <sn_parameter *>calloc(len(parameters) + 1, sizeof(sn_parameter))
        if network.layers == NULL or network.parameters == NULL:
            raise MemoryError
        for i, parameter in enumerate(parameters):
            network.parameters[i].values = self.pointer(parameter, "a parameter")
            network.parameters[i].size = parameter.size
        network.n_parameters = len(parameters)
        values = n_in
        for i, layer in enumerate(layers):
            self.describe(&network.layers[i], layer, len(parameters))
            if layer["n_in"] != values:
                raise ValueError(f"layer {i} takes {layer['n_in']} values, and there are {values}")
            values = layer["n_out"]
        if values != n_out:
            raise ValueError(f"the layers make {values} values; expected {n_out}")
        network.n_layers = len(layers)

    def __dealloc__(self):
        sn_network_free(&self.network)
        free(self.network.layers)
        free(self.network.parameters)

    cdef void *pointer(self, object array, str name) except? NULL:
        """Of a writable array of the network's type, which is held."""
        if array is None:
            return NULL
        check_plain(array, name, self.like)
        if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array):
            raise ValueError(f"{name} is read-only, and training changes it: pass a writable array")
        self.held.append(array)
        return data(array)

    cdef int64_t *counter(self, object array) except? NULL:
        if array is None:
            return NULL
        if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.size != 1:
            raise TypeError("a count of batches is no int64 ndarray of one element")
        if not array.flags.writeable or not array.flags.aligned:
            raise ValueError("a count of batches is read-only, and training changes it")
        self.held.append(array)
        return <int64_t *>data(array)

    cdef int describe(self, sn_layer *layer, dict about, int64_t n_parameters) except -1:
        cdef int64_t index
        layer.kind = <sn_layer_kind><int>LAYERS[about["kind"]]
        if not 0 <= about["n_in"] <= MOST_VALUES or not 0 <= about["n_out"] <= MOST_VALUES:
            raise ValueError(f"a layer makes {about['n_out']} values of {about['n_in']}; expected at most {MOST_VALUES}")
        layer.n_in, layer.out, layer.positions = about["n_in"], about["n_out"], 1
        self.widest = max(self.widest, layer.n_in, layer.out)
        layer.threads = threads_of(about.get("threads")) or sn_processors()
        for name in ("weight", "bias", "weight_hh"):
            if about.get(name) is None:
                continue
            index = about[name]
            if not 0 <= index < n_parameters:
                raise IndexError(f"{name} is parameter {index} of {n_parameters}")
            if name == "weight":
                layer.weight = &self.network.parameters[index]
            elif name == "bias":
                layer.bias = &self.network.parameters[index]
            else:
                layer.weight_hh = &self.network.parameters[index]
        if layer.weight == NULL and layer.kind in (SN_LAYER_DENSE, SN_LAYER_EMBEDDING, SN_LAYER_CONV, SN_LAYER_LSTM):
            raise ValueError(f"a layer of kind {about['kind']!r} has no weight")
        if layer.kind == SN_LAYER_DENSE:
            self.expect(layer.weight, about["n_in"] * about["n_out"])
            self.expect(layer.bias, layer.out)
        elif layer.kind == SN_LAYER_DROPOUT:
            layer.p, layer.seed, layer.steps = share_of(about["p"]), about["seed"], self.counter(about["steps"])
        elif layer.kind == SN_LAYER_EMBEDDING:
            self.describe_embedding(layer, about)
        elif layer.kind == SN_LAYER_NORM:
            self.describe_norm(layer, about)
        elif layer.kind == SN_LAYER_CONV:
            self.describe_conv(layer, about)
        elif layer.kind == SN_LAYER_POOL:
            self.describe_pool(layer, about)
        elif layer.kind == SN_LAYER_LSTM:
            self.describe_lstm(layer, about)
        if layer.kind in KEEP_SHAPES and layer.n_in != layer.out:
            raise ValueError(f"a layer that keeps shapes makes {layer.out} values of {layer.n_in}")
        return 0

    cdef int describe_embedding(self, sn_layer *layer, dict about) except -1:
        """`positions` rows in a sample, whose last columns are codes."""
        columns, buckets, dim = about["tables"]
        positions, values = about["positions"], about["n_in"] // max(1, about["positions"]) - columns
        if min(positions, columns, buckets, dim) < 1 or values < 0:
            raise ValueError(f"an embedding has {positions} rows with {columns} columns of codes in a sample")
        self.expect(layer.weight, columns * buckets * dim)
        if layer != self.network.layers:
            raise ValueError("an embedding is not the first layer, and only codes of the input are checked")
        if layer.n_in != positions * (values + columns) or layer.out != positions * (values + columns * dim):
            raise ValueError(f"an embedding makes {layer.out} values of {layer.n_in}")
        layer.positions, layer.values, layer.columns = positions, values, columns
        layer.buckets, layer.dim = buckets, dim
        return 0

    cdef int describe_conv(self, sn_layer *layer, dict about) except -1:
        cdef sn_conv *conv = &layer.conv
        height, width, channels = about["image"]
        kernel_height, kernel_width, inside, filters = about["kernel"]
        sizes_of((height, width, channels), "an image")
        sizes_of((kernel_height, kernel_width, inside, filters), "a kernel")
        if inside != channels:
            raise ValueError(f"a kernel has {inside} channels, and an image has {channels}")
        conv.height, conv.width, conv.channels = height, width, channels
        conv.kernel_height, conv.kernel_width, conv.filters = kernel_height, kernel_width, filters
        pair_of(about["strides"], "strides", 1, &conv.stride_height, &conv.stride_width)
        padding_of(about["padding"], &conv.top, &conv.bottom, &conv.left, &conv.right)
        conv.threads = layer.threads
        if kernel_height > height + conv.top + conv.bottom or kernel_width > width + conv.left + conv.right:
            raise ValueError(f"a kernel of {kernel_height} x {kernel_width} is larger than its image")
        check_room(conv)
        positions = <object>sn_conv_out_height(conv) * <object>sn_conv_out_width(conv)
        if layer.n_in != height * width * channels or layer.out != positions * filters:
            raise ValueError(f"a convolution makes {layer.out} values of {layer.n_in}")
        size = kernel_height * kernel_width * channels * filters
        self.expect(layer.weight, size)
        self.expect(layer.bias, filters)
        self.widest = max(self.widest, positions * kernel_height * kernel_width * max(channels, filters))
        return 0

    cdef int describe_pool(self, sn_layer *layer, dict about) except -1:
        cdef sn_pool *pool = &layer.pool
        height, width, channels = about["image"]
        sizes_of((height, width, channels), "an image")
        pool_of(pool, (1, height, width, channels), about["pool_size"], about["strides"], about["padding"],
                about.get("threads"))
        if height * width > MOST_POSITIONS:
            raise ValueError(f"an image has {height} x {width} positions; expected less than 2**31")
        if pool.pool_height > height + pool.top + pool.bottom or pool.pool_width > width + pool.left + pool.right:
            raise ValueError(f"a window of {pool.pool_height} x {pool.pool_width} is larger than its image")
        positions = <object>sn_pool_out_height(pool) * <object>sn_pool_out_width(pool)
        if layer.n_in != height * width * channels or layer.out != positions * channels:
            raise ValueError(f"a pooling makes {layer.out} values of {layer.n_in}")
        return 0

    cdef int describe_lstm(self, sn_layer *layer, dict about) except -1:
        cdef sn_lstm *lstm = &layer.lstm
        steps, n_in = about["series"]
        hidden, sequences = about["hidden"], about["sequences"]
        sizes_of((steps, n_in, hidden), "a series")
        lstm.steps, lstm.n_in, lstm.hidden, lstm.sequences = steps, n_in, hidden, sequences
        lstm.threads = layer.threads
        if layer.n_in != steps * n_in or layer.out != (steps if sequences else 1) * hidden:
            raise ValueError(f"an LSTM makes {layer.out} values of {layer.n_in}")
        if layer.weight_hh == NULL or layer.bias == NULL:
            raise ValueError("an LSTM lacks its second weight or its bias")
        self.expect(layer.weight, 4 * hidden * n_in)
        self.expect(layer.weight_hh, 4 * hidden * hidden)
        self.expect(layer.bias, 4 * hidden)
        self.widest = max(self.widest, 8 * steps * max(n_in, hidden))  # gates, cells and outputs of each step
        return 0

    cdef int expect(self, const sn_parameter *parameter, object size) except -1:
        if parameter != NULL and parameter.size != size:
            raise ValueError(f"a parameter has {parameter.size} values, and its layer takes {size}")
        return 0

    cdef int describe_norm(self, sn_layer *layer, dict about) except -1:
        cdef sn_norm *norm = &layer.norm
        start(norm, <cnp.ndarray>self.like, epsilon_of(about["eps"]), threads_of(about.get("threads")))
        norm.layout = <sn_norm_layout><int>LAYOUTS[about["layout"]]
        norm.samples, norm.channels, norm.positions = about["samples"], about["channels"], about["positions"]
        norm.groups = about["groups"]
        norm.centered = about["centered"]
        layer.positions_by_rows = about["positions_by_rows"]
        cdef int64_t n = norm.positions if norm.layout == SN_NORM_ROWS else norm.channels
        if norm.samples * norm.channels * norm.positions != layer.n_in:
            raise ValueError(f"a normalization is described for other samples than of {layer.n_in} values")
        self.expect(layer.weight, n)
        self.expect(layer.bias, n)
        layer.running_mean = self.pointer(about["running_mean"], "running_mean")
        layer.running_var = self.pointer(about["running_var"], "running_var")
        for array in (about["running_mean"], about["running_var"]):
            if array is not None and array.shape != (n,):
                raise ValueError(f"running statistics have shape {array.shape}, and ({n},) is wanted")
        layer.count = self.counter(about["count"])
        layer.cumulative = about["momentum"] is None
        layer.momentum = 0.0 if layer.cumulative else about["momentum"]
        return 0

    def reserve(self, int64_t rows):
        """Buffers for batches of so many rows, if there are none."""
        if rows <= self.network.rows:
            return
        if rows > MOST_VALUES // self.widest:
            raise MemoryError(f"no memory for batches of {rows} rows of {self.widest} values")
        if sn_network_reserve(&self.network, rows) != SN_OK:
            sn_network_free(&self.network)
            raise MemoryError(f"no memory for the buffers of batches of {rows} rows")

    def set_loss(self, kind, double parameter, int64_t targets, bint accuracy=False):
        """What is made small, how many values a row of targets has, and whether what is right is counted."""
        self.network.loss = loss_of(kind)
        self.network.loss_parameter = parameter
        if targets != (1 if self.network.loss == SN_LOSS_SOFTMAX else self.network.out):
            raise ValueError(f"a row of targets has {targets} values, and predictions have {self.network.out}")
        if accuracy and self.network.loss not in (SN_LOSS_SOFTMAX, SN_LOSS_BINARY):
            raise ValueError(f"a loss of {kind!r} has no classes; expected 'softmax' or 'binary'")
        self.network.targets, self.network.accuracy = targets, accuracy

    cdef tuple told(self, const sn_sums *sums):
        if self.network.accuracy:
            return sums.loss, sums.weight, sums.right
        return sums.loss, sums.weight

    def set_optimizer(self, dict about, list gradients, list states):
        """What follows the gradients: settings, an array for the gradient of each parameter, its states."""
        cdef sn_optimizer *optimizer = &self.network.optimizer
        cdef sn_parameter *parameter
        cdef int64_t i, k
        if len(gradients) != self.network.n_parameters or len(states) != self.network.n_parameters:
            raise ValueError(f"gradients and states are of other than {self.network.n_parameters} parameters")
        optimizer.clip_norm, optimizer.clip_value = about["clip_norm"] or 0.0, about["clip_value"] or 0.0
        if about["kind"] == "adam":
            optimizer.kind = SN_OPTIMIZER_ADAM
            optimizer.adam.beta1, optimizer.adam.beta2 = about["betas"]
            optimizer.adam.eps, optimizer.adam.weight_decay = about["eps"], about["weight_decay"]
            optimizer.adam.decoupled, optimizer.adam.step = about["decoupled"], about["steps"]
        else:
            optimizer.kind = SN_OPTIMIZER_SGD
            optimizer.sgd.momentum, optimizer.sgd.weight_decay = about["momentum"], about["weight_decay"]
            optimizer.sgd.nesterov = about["nesterov"]
        needed = 2 if optimizer.kind == SN_OPTIMIZER_ADAM else 1 if optimizer.sgd.momentum != 0.0 else 0
        for i in range(self.network.n_parameters):
            parameter = &self.network.parameters[i]
            if len(states[i]) < needed:
                raise ValueError(f"the optimizer has {len(states[i])} arrays for a parameter, and {needed} are wanted")
            for array in (gradients[i], *states[i][:needed]):
                check_plain(array, "an array of the optimizer", self.like)
                if array.size != parameter.size or not array.flags.writeable:
                    raise ValueError("an array of the optimizer is read-only or of another size than its parameter")
        self.trained = [gradients, states]
        for i in range(self.network.n_parameters):
            parameter = &self.network.parameters[i]
            parameter.gradient = data(gradients[i])
            for k in range(2):
                parameter.state[k] = data(states[i][k]) if k < needed else NULL

    cdef int check_first(self, object x) except -1:
        """Codes of the first layer."""
        cdef sn_layer *layer = self.network.layers
        cdef int64_t rows = cnp.PyArray_DIM(<cnp.ndarray>x, 0) * layer.positions, bad
        if layer.positions == 1:
            return check_codes(x, layer.columns, layer.buckets)
        cdef int64_t width = layer.values + layer.columns
        cdef const char *first = <const char *>data(x) + layer.values * self.network.kernels.width
        bad = self.network.kernels.bad_code(first, rows, layer.columns, width, layer.buckets)
        if bad >= 0:
            raise ValueError(
                f"row {bad // layer.positions} of x has codes {x.reshape(rows, width)[bad, layer.values:].tolist()} at "
                f"position {bad % layer.positions}; expected whole numbers from 0 to {layer.buckets - 1}"
            )
        return 0

    cdef int64_t check_rows(self, object x, object targets, object weights) except -1:
        """Sizes and types of arrays whose rows are samples; how many there are."""
        cdef int64_t rows
        check_plain(x, "x", self.like)
        if cnp.PyArray_NDIM(<cnp.ndarray>x) < 1:
            raise ValueError("x has shape (); expected (N, ...)")
        rows = cnp.PyArray_DIM(<cnp.ndarray>x, 0)
        if product(<cnp.ndarray>x, 1, cnp.PyArray_NDIM(<cnp.ndarray>x)) != self.network.n_in:
            raise ValueError(f"x has shape {x.shape}; expected rows of {self.network.n_in} values")
        if self.network.n_layers > 0 and self.network.layers[0].kind == SN_LAYER_EMBEDDING:
            self.check_first(x)
        if targets is not None:
            check_plain(targets, "y", self.like)
            if targets.shape[0] != rows or targets.size != rows * self.network.targets:
                raise ValueError(
                    f"y has shape {targets.shape}, x has shape {x.shape}; expected {self.network.targets} values for "
                    "each row"
                )
            if self.network.loss == SN_LOSS_SOFTMAX:
                check_classes(targets, self.network.out)
        if weights is not None:
            check_plain(weights, "sample_weight", self.like)
            check_shape(weights, "sample_weight", (rows,))
        return rows

    def train(self, x, targets, weights, order, rates, int64_t batch):
        """A step for each batch of rows of x, as `order` lists them; the weighted sum of losses, the sum of weights and,
        if that is counted, of the weights of rows that are right."""
        cdef sn_network *network = &self.network
        cdef sn_epoch epoch
        cdef sn_status status = SN_OK
        cdef int64_t rows, i, least = 0, most = -1
        self.batches_done = 0
        if targets is None or batch < 1 or network.targets == 0:
            raise ValueError("training takes targets, a loss and batches of at least one row")
        for i in range(network.n_parameters):
            if network.parameters[i].gradient == NULL:
                raise ValueError("training takes an optimizer")
        rows = self.check_rows(x, targets, weights)
        memset(&epoch, 0, sizeof(sn_epoch))
        epoch.x, epoch.targets, epoch.weights = data(x), data(targets), data(weights)
        epoch.samples, epoch.batch = rows, batch
        if order is not None:
            if not isinstance(order, np.ndarray) or order.dtype != np.int64 or order.ndim != 1 \
                    or not order.flags.c_contiguous or not order.flags.aligned:
                raise TypeError("order is no C-contiguous array of int64 in one dimension")
            epoch.order, epoch.samples = <const int64_t *>data(order), order.shape[0]
            for i in range(epoch.samples):
                least = min(least, epoch.order[i])
                most = max(most, epoch.order[i])
            if least < 0 or most >= rows:
                raise IndexError(f"order has {least if least < 0 else most}, and x has {rows} rows")
        epoch.n_batches = sn_epoch_batches(epoch.samples, batch)
        check_plain(rates, "rates", rates)
        if rates.dtype != np.float64 or rates.shape[0] != epoch.n_batches:
            raise ValueError(f"there are {rates.shape[0]} rates of {rates.dtype} for {epoch.n_batches} batches")
        epoch.rates = <const double *>data(rates)
        self.reserve(min(epoch.samples, batch + 1))
        try:
            while epoch.next < epoch.n_batches:
                with nogil:
                    status = sn_network_train(network, &epoch, SLICE_NANOSECONDS)
                if status != SN_OK:
                    raise MemoryError
                PyErr_CheckSignals()
        finally:
            self.batches_done = epoch.next
        return self.told(&epoch.sums)

    def forward(self, x, out, int64_t chunk):
        """What the network makes of x in evaluation mode, in `out`, so many rows at a time."""
        cdef sn_network *network = &self.network
        cdef sn_status status = SN_OK
        cdef int64_t width = network.kernels.width, first = 0, n, rows = self.check_rows(x, None, None)
        check_plain(out, "out", self.like)
        if out.size != rows * network.out or not out.flags.writeable:
            raise ValueError(f"out has shape {out.shape} or is read-only; expected {rows} rows of {network.out} values")
        if rows > 0 and np.may_share_memory(out, x):
            raise ValueError("out shares memory with x; pass an array of its own")
        if chunk < 1:
            raise ValueError(f"rows are taken {chunk} at a time; expected at least 1")
        cdef const char *values = <const char *>data(x)
        cdef char *to = <char *>data(out)
        self.reserve(min(chunk, rows))
        while first < rows:
            n = min(chunk, rows - first)
            with nogil:
                status = sn_network_forward(network, to + first * network.out * width,
                                            values + first * network.n_in * width, n)
            if status != SN_OK:
                raise MemoryError
            first += n
            PyErr_CheckSignals()
        return out

    def evaluate(self, x, targets, weights, int64_t chunk):
        """What `train` returns, in evaluation mode."""
        cdef sn_network *network = &self.network
        cdef sn_status status = SN_OK
        cdef int64_t width = network.kernels.width, first = 0, n, rows
        cdef sn_sums sums
        memset(&sums, 0, sizeof(sn_sums))
        if targets is None or network.targets == 0 or chunk < 1:
            raise ValueError("evaluation takes targets, a loss and at least one row at a time")
        rows = self.check_rows(x, targets, weights)
        cdef const char *values = <const char *>data(x)
        cdef const char *wanted = <const char *>data(targets)
        cdef const char *weighted = <const char *>data(weights)
        self.reserve(min(chunk, rows))
        while first < rows:
            n = min(chunk, rows - first)
            with nogil:
                status = sn_network_evaluate(
                    network, &sums, values + first * network.n_in * width, wanted + first * network.targets * width,
                    weighted, n
                )
            if status != SN_OK:
                raise MemoryError
            first += n
            if weighted != NULL:
                weighted += n * width
            PyErr_CheckSignals()
        return self.told(&sums)
