/* Included by network_kernels.c with REAL defined: layers and optimizers for one type. */

/* y[i] = VALUE of x, which is x[i]. */
#define ELEMENTWISE(name, VALUE)                                                                                      \
    SN_CLONES static void NAME(name)(void *to, const void *from, int64_t n) {                                         \
        REAL *y = to;                                                                                                 \
        const REAL *values = from;                                                                                    \
        INDEPENDENT                                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            REAL x = values[i];                                                                                       \
            y[i] = (VALUE);                                                                                           \
        }                                                                                                             \
    }

/* dx[i] = VALUE of dy and y. */
#define ELEMENTWISE_BACKWARD(name, VALUE)                                                                             \
    SN_CLONES static void NAME(name)(void *to, const void *gradients, const void *outputs, int64_t n) {               \
        REAL *dx = to;                                                                                                \
        const REAL *dys = gradients, *ys = outputs;                                                                   \
        INDEPENDENT                                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            REAL dy = dys[i], y = ys[i];                                                                              \
            dx[i] = (VALUE);                                                                                          \
        }                                                                                                             \
    }

ELEMENTWISE(relu_forward, x <= 0 ? (REAL)0 : x)
ELEMENTWISE_BACKWARD(relu_backward, y <= 0 ? (REAL)0 : dy)
ELEMENTWISE(tanh_forward, NAME(tanh_of)(x))
ELEMENTWISE_BACKWARD(tanh_backward, dy * ((REAL)1 - y * y))
ELEMENTWISE(sigmoid_forward, NAME(sigmoid_of)(x))
ELEMENTWISE_BACKWARD(sigmoid_backward, dy * (y * ((REAL)1 - y)))

#undef ELEMENTWISE
#undef ELEMENTWISE_BACKWARD

SN_CLONES static void NAME(dropout)(void *to, const void *from, int64_t n, double p, uint64_t key) {
    REAL *y = to;
    const REAL *x = from;
    if (!(p < 1.0)) {
        memset(y, 0, (size_t)n * sizeof(REAL));
        return;
    }
    uint32_t least = (uint32_t)(p * 0x1p32);
    REAL scale = (REAL)(1.0 / (1.0 - p));
    for (int64_t first = 0; first < n; first += WORDS) { /* by blocks: mixing and choosing are vectors by themselves */
        uint64_t pairs[WORDS / 2];
        uint32_t words[WORDS];
        int64_t count = n - first < WORDS ? n - first : WORDS;
        for (int64_t j = 0; j < WORDS / 2; j++)
            pairs[j] = sn_mix(key + ((uint64_t)(first / 2 + j) + 1) * SN_GOLDEN);
        lower_halves_first(words, pairs);
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) {
            REAL scaled = x[first + i] * scale;
            y[first + i] = words[i] >= least ? scaled : (REAL)0;
        }
    }
}

/* ---- embeddings ---- */

static void NAME(embedding_forward)(void *to, const void *from, const void *table, int64_t rows, int64_t d, int64_t k,
                                    int64_t buckets, int64_t dim) {
    REAL *y = to;
    const REAL *x = from, *weight = table;
    for (int64_t i = 0; i < rows; i++, x += d + k, y += d + k * dim) {
        memcpy(y, x, (size_t)d * sizeof(REAL));
        for (int64_t j = 0; j < k; j++)
            memcpy(y + d + j * dim, weight + (j * buckets + (int64_t)x[d + j]) * dim, (size_t)dim * sizeof(REAL));
    }
}

static void NAME(embedding_backward)(void *dx_out, void *dweight_out, const void *gradient, const void *from,
                                     int64_t rows, int64_t d, int64_t k, int64_t buckets, int64_t dim) {
    REAL *dx = dx_out, *dweight = dweight_out;
    const REAL *dy = gradient, *x = from;
    memset(dweight, 0, (size_t)(k * buckets * dim) * sizeof(REAL));
    for (int64_t i = 0; i < rows; i++, x += d + k, dy += d + k * dim) {
        if (dx != NULL) {
            memcpy(dx, dy, (size_t)d * sizeof(REAL));
            memset(dx + d, 0, (size_t)k * sizeof(REAL));
            dx += d + k;
        }
        for (int64_t j = 0; j < k; j++) {
            REAL *restrict sum = dweight + (j * buckets + (int64_t)x[d + j]) * dim;
            const REAL *restrict term = dy + d + j * dim;
            for (int64_t e = 0; e < dim; e++) sum[e] += term[e];
        }
    }
}

static int64_t NAME(bad_code)(const void *from, int64_t rows, int64_t count, int64_t stride, int64_t limit) {
    const REAL *values = from;
    for (int64_t i = 0; i < rows; i++, values += stride)
        for (int64_t j = 0; j < count; j++) {
            double code = (double)values[j];
            if (!(code >= 0.0 && code < (double)limit) || code != (double)(int64_t)code) return i;
        }
    return -1;
}

/* ---- sums ---- */

#define SUM_COLUMNS 128 /* at a time, whose sums stay in the first-level cache */

SN_CLONES static void NAME(column_sums)(void *to, const void *from, int64_t rows, int64_t columns) {
    REAL *restrict sums = to;
    const REAL *restrict x = from;
    for (int64_t first = 0; first < columns; first += SUM_COLUMNS) {
        int64_t n = columns - first < SUM_COLUMNS ? columns - first : SUM_COLUMNS, i = 0;
        double total[SUM_COLUMNS];
        memset(total, 0, (size_t)n * sizeof *total);
        for (; i + 4 <= rows; i += 4) {
            const REAL *a = x + i * columns + first, *b = a + columns, *c = b + columns, *d = c + columns;
            for (int64_t j = 0; j < n; j++) total[j] += (double)((a[j] + b[j]) + (c[j] + d[j]));
        }
        for (; i < rows; i++)
            for (int64_t j = 0; j < n; j++) total[j] += (double)x[i * columns + first + j];
        for (int64_t j = 0; j < n; j++) sums[first + j] = (REAL)total[j];
    }
}

SN_CLONES static double NAME(sum)(const void *from, int64_t n) {
    const REAL *x = from;
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lanes[k] += (double)x[i + k];
    for (int k = 0; i < n; i++, k++) lanes[k] += (double)x[i];
    return sum_of_lanes(lanes);
}

SN_CLONES static double NAME(square_norm)(const void *from, int64_t n) {
    const REAL *x = from;
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lanes[k] += (double)x[i + k] * (double)x[i + k];
    for (int k = 0; i < n; i++, k++) lanes[k] += (double)x[i] * (double)x[i];
    return sum_of_lanes(lanes);
}

SN_CLONES static void NAME(clip)(void *values, int64_t n, double most) {
    REAL *x = values, c = (REAL)most;
    for (int64_t i = 0; i < n; i++) x[i] = x[i] > c ? c : x[i] < -c ? -c : x[i];
}

/* ---- optimizers ---- */

SN_CLONES static void NAME(sgd)(void *parameter, void *velocity, const void *gradient, int64_t n, const sn_sgd *sgd,
                                double gradient_scale) {
    REAL *restrict p = parameter, *restrict v = velocity;
    const REAL *restrict g = gradient;
    REAL lr = (REAL)sgd->lr, momentum = (REAL)sgd->momentum, decay = (REAL)sgd->weight_decay;
    REAL scale = (REAL)gradient_scale;
    if (v == NULL)
        for (int64_t i = 0; i < n; i++) p[i] -= lr * (g[i] * scale + decay * p[i]);
    else if (sgd->nesterov)
        for (int64_t i = 0; i < n; i++) {
            REAL d = g[i] * scale + decay * p[i];
            v[i] = momentum * v[i] + d;
            p[i] -= lr * (d + momentum * v[i]);
        }
    else
        for (int64_t i = 0; i < n; i++) {
            v[i] = momentum * v[i] + (g[i] * scale + decay * p[i]);
            p[i] -= lr * v[i];
        }
}

SN_CLONES static void NAME(adam)(void *parameter, void *first, void *second, const void *gradient, int64_t n,
                                 const sn_adam *adam, double gradient_scale) {
    REAL *restrict p = parameter, *restrict m = first, *restrict v = second;
    const REAL *restrict g = gradient;
    double correction1 = 1.0 - power(adam->beta1, adam->step), correction2 = 1.0 - power(adam->beta2, adam->step);
    REAL scale = (REAL)gradient_scale, eps = (REAL)adam->eps;
    REAL rest1 = (REAL)(1.0 - adam->beta1), beta2 = (REAL)adam->beta2, rest2 = (REAL)(1.0 - adam->beta2);
    REAL step = (REAL)(adam->lr / correction1), per_root = (REAL)(1.0 / sqrt(correction2));
    /* What weight decay adds to the gradient, and by what it multiplies the parameter. */
    REAL added = adam->decoupled ? (REAL)0 : (REAL)adam->weight_decay;
    REAL kept = adam->decoupled ? (REAL)(1.0 - adam->lr * adam->weight_decay) : (REAL)1;
    for (int64_t i = 0; i < n; i++) {
        REAL d = g[i] * scale + added * p[i];
        REAL mean = m[i] + (d - m[i]) * rest1;
        REAL square = beta2 * v[i] + rest2 * (d * d);
        m[i] = mean;
        v[i] = square;
        p[i] = kept * p[i] - step * (mean / (SQRT(square) * per_root + eps));
    }
}

const sn_network_kernels NAME(sn_network) = {
    .width = sizeof(REAL),
    .relu_forward = NAME(relu_forward),
    .relu_backward = NAME(relu_backward),
    .tanh_forward = NAME(tanh_forward),
    .tanh_backward = NAME(tanh_backward),
    .sigmoid_forward = NAME(sigmoid_forward),
    .sigmoid_backward = NAME(sigmoid_backward),
    .dropout = NAME(dropout),
    .embedding_forward = NAME(embedding_forward),
    .embedding_backward = NAME(embedding_backward),
    .bad_code = NAME(bad_code),
    .lstm_cell = NAME(lstm_cell),
    .lstm_cell_backward = NAME(lstm_cell_backward),
    .transpose = NAME(transpose),
    .column_sums = NAME(column_sums),
    .loss = NAME(loss),
    .right = NAME(right),
    .sum = NAME(sum),
    .sgd = NAME(sgd),
    .adam = NAME(adam),
    .square_norm = NAME(square_norm),
    .clip = NAME(clip),
};

#undef SUM_COLUMNS
