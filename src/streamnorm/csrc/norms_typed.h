/* Included by norms_kernels.c with REAL and NAME defined: every loop of norms_kernels.h for one type.
 *
 * The number of accumulators and the order in which they are added up are fixed, so that every processor gives the
 * same bits.
 */

SN_INLINE void NAME(stats_of)(double *s1, double *s2, const REAL *x, int64_t n, double shift, int centered) {
    vector sum[4] = {{0}}, square[4] = {{0}};
    int64_t i = 0;
#define ADD(k, v)                                                                                                     \
    do {                                                                                                              \
        vector d = (v) - shift;                                                                                       \
        if (centered) sum[k] += d;                                                                                    \
        square[k] += d * d;                                                                                           \
    } while (0)
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH)
        for (int k = 0; k < 4; k++) ADD(k, WIDEN(x + i + k * WIDTH));
    for (; i + WIDTH <= n; i += WIDTH) ADD(0, WIDEN(x + i));
#undef ADD
    sum[0] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    square[0] = (square[0] + square[2]) + (square[1] + square[3]);
    *s1 = centered ? SUM(sum[0]) : 0.0;
    *s2 = SUM(square[0]);
    for (; i < n; i++) {
        double d = (double)x[i] - shift;
        if (centered) *s1 += d;
        *s2 += d * d;
    }
}

SN_CLONES static void NAME(stats)(double *s1, double *s2, const void *x, int64_t n, double shift) {
    NAME(stats_of)(s1, s2, x, n, shift, 1);
}

static double NAME(sum)(const void *x, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)((const REAL *)x)[i];
    return sum;
}

static double NAME(value)(const void *x) { return *(const REAL *)x; }

SN_CLONES static void NAME(normalize)(void *restrict out, const void *restrict in, int64_t n, double mean, double scale,
                                      double bias, int stream) {
    REAL *restrict y = out;
    const REAL *restrict x = in;
    FILL(y, n, stream, (WIDEN(x + i) - mean) * scale + bias, ((double)x[i] - mean) * scale + bias);
    if (stream) STREAM_END();
}

SN_CLONES static void NAME(products)(double *sum_dy, double *sum_dy_x, const void *gradient, const void *in, int64_t n,
                                     double mean) {
    const REAL *dy = gradient, *x = in;
    vector sum[4] = {{0}}, product[4] = {{0}};
    int64_t i = 0;
#define ADD(k, at)                                                                                                    \
    do {                                                                                                              \
        vector g = WIDEN(dy + (at));                                                                                  \
        sum[k] += g;                                                                                                  \
        product[k] += g * (WIDEN(x + (at)) - mean);                                                                   \
    } while (0)
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH)
        for (int k = 0; k < 4; k++) ADD(k, i + k * WIDTH);
    for (; i + WIDTH <= n; i += WIDTH) ADD(0, i);
#undef ADD
    sum[0] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    product[0] = (product[0] + product[2]) + (product[1] + product[3]);
    *sum_dy = SUM(sum[0]);
    *sum_dy_x = SUM(product[0]);
    for (; i < n; i++) {
        *sum_dy += (double)dy[i];
        *sum_dy_x += (double)dy[i] * ((double)x[i] - mean);
    }
}

SN_CLONES static void NAME(gradient)(void *restrict out, const void *restrict gradient, const void *restrict in,
                                     int64_t n, double mean, double by_dy, double by_x, double constant, int stream) {
    REAL *restrict dx = out;
    const REAL *restrict dy = gradient, *restrict x = in;
    FILL(dx, n, stream, WIDEN(dy + i) * by_dy + ((WIDEN(x + i) - mean) * by_x + constant),
         (double)dy[i] * by_dy + (((double)x[i] - mean) * by_x + constant));
    if (stream) STREAM_END();
}

/* ---- rows ---- */

/* The statistics of a row whose first value was no good as a shift, or that has values that are not finite. */
static __attribute__((noinline)) void NAME(row_again)(double *mean, double *variance, const REAL *x, int64_t n,
                                                      double shift) {
    double s1, s2, offset;
    NAME(stats)(&s1, &s2, x, n, shift);
    sn_variance(variance, &offset, s1, s2, (double)n);
    *mean = shift + offset;
    if (!isfinite(*mean)) *mean = NAME(sum)(x, n) / (double)n; /* an infinity stays one, as the sum of the values is */
}

SN_INLINE void NAME(normalize_row)(REAL *restrict y, const REAL *restrict x, const double *restrict weight,
                                   const double *restrict bias, int64_t n, double mean, double rstd, int stream) {
#define HAT(v) (((v) - mean) * rstd)
    if (weight != NULL && bias != NULL)
        FILL(y, n, stream, HAT(WIDEN(x + i)) * AT(weight + i) + AT(bias + i), HAT((double)x[i]) * weight[i] + bias[i]);
    else if (weight != NULL)
        FILL(y, n, stream, HAT(WIDEN(x + i)) * AT(weight + i), HAT((double)x[i]) * weight[i]);
    else if (bias != NULL)
        FILL(y, n, stream, HAT(WIDEN(x + i)) + AT(bias + i), HAT((double)x[i]) + bias[i]);
    else
        FILL(y, n, stream, HAT(WIDEN(x + i)), HAT((double)x[i]));
#undef HAT
}

/* Rows that are taken together, of arrays that are read: they stay in the first-level cache between two passes. A row's
 * second pass needs its first one's roots and quotients, and would wait for them; so the first pass goes over all of
 * them before the second one does. */
SN_INLINE int64_t NAME(rows_together)(int64_t n, int64_t count, int64_t arrays) {
    int64_t rows = ROWS_BYTES / (n * arrays * (int64_t)sizeof(REAL));
    if (rows > MAX_ROWS) rows = MAX_ROWS;
    if (rows > count) rows = count;
    return rows < 1 ? 1 : rows;
}

SN_INLINE void NAME(rows_forward_of)(REAL *y, const REAL *x, const sn_rows_spec *spec, int64_t first, int64_t count,
                                     int centered) {
    int64_t n = spec->length;
    double eps = spec->eps, per_value = (double)n;
    double mean[MAX_ROWS], variance[MAX_ROWS], rstd[MAX_ROWS], s1[MAX_ROWS], s2[MAX_ROWS];
    while (count > 0) {
        int64_t rows = NAME(rows_together)(n, count, 1);
        for (int64_t k = 0; k < rows; k++) {
            mean[k] = centered ? (double)x[k * n] : 0.0;
            NAME(stats_of)(&s1[k], &s2[k], x + k * n, n, mean[k], centered);
        }
        for (int64_t k = 0; k < rows; k++) {
            if (centered) {
                double offset;
                int good = sn_variance(&variance[k], &offset, s1[k], s2[k], per_value);
                mean[k] += offset;
                if (SN_UNLIKELY(!good)) NAME(row_again)(&mean[k], &variance[k], x + k * n, n, mean[k]);
            } else {
                variance[k] = s2[k] / per_value;
            }
        }
        for (int64_t k = 0; k < rows; k++) rstd[k] = 1.0 / sqrt(variance[k] + eps);
        for (int64_t k = 0; k < rows; k++) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            NAME(normalize_row)(y + k * n, x + k * n, spec->weight == NULL ? NULL : spec->weight + at,
                                spec->bias == NULL ? NULL : spec->bias + at, n, mean[k], rstd[k], spec->stream);
        }
        size_t bytes = (size_t)rows * sizeof(double);
        if (centered) memcpy(spec->mean + first, mean, bytes);
        memcpy(spec->rstd + first, rstd, bytes);
        if (spec->variance != NULL) memcpy(spec->variance + first, variance, bytes);
        first += rows;
        count -= rows;
        x += rows * n;
        y += rows * n;
    }
}

SN_CLONES static void NAME(rows_forward)(void *y, const void *x, const sn_rows_spec *spec, int64_t first,
                                         int64_t count) {
    if (spec->mean != NULL)
        NAME(rows_forward_of)(y, x, spec, first, count, 1);
    else
        NAME(rows_forward_of)(y, x, spec, first, count, 0);
    if (spec->stream) STREAM_END();
}

/* Sums of g and of g * hat for one row or two, which follow each other and have the same parameters: those of the
 * parameters' gradients are loaded and stored once for both. */
SN_INLINE void NAME(row_products)(double *sum_g, double *sum_g_x, double *restrict dweight, double *restrict dbias,
                                  const REAL *restrict dy, const REAL *restrict x, const double *restrict weight,
                                  int64_t n, const double *mean, const double *rstd, int centered, int weighted,
                                  int adding, int rows) {
    vector sum[2] = {{0}}, product[2] = {{0}};
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vector to_weight = {0}, to_bias = {0};
        for (int r = 0; r < rows; r++) {
            vector gradient = WIDEN(dy + r * n + i), hat = WIDEN(x + r * n + i), g = gradient;
            if (centered) hat -= mean[r];
            hat *= rstd[r];
            if (weighted) g *= AT(weight + i);
            if (centered) sum[r] += g;
            product[r] += g * hat;
            if (adding) to_weight += gradient * hat;
            if (adding && centered) to_bias += gradient;
        }
        if (adding) INTO(dweight + i) += to_weight;
        if (adding && centered) INTO(dbias + i) += to_bias;
    }
    for (int r = 0; r < rows; r++) {
        sum_g[r] = centered ? SUM(sum[r]) : 0.0;
        sum_g_x[r] = SUM(product[r]);
    }
    for (; i < n; i++)
        for (int r = 0; r < rows; r++) {
            double gradient = dy[r * n + i], hat = (double)x[r * n + i];
            hat = (centered ? hat - mean[r] : hat) * rstd[r];
            double g = weighted ? gradient * weight[i] : gradient;
            if (centered) sum_g[r] += g;
            sum_g_x[r] += g * hat;
            if (adding) dweight[i] += gradient * hat;
            if (adding && centered) dbias[i] += gradient;
        }
}

SN_INLINE void NAME(row_gradient)(REAL *restrict dx, const REAL *restrict dy, const REAL *restrict x,
                                  const double *restrict weight, int64_t n, double mean, double rstd, double by_x,
                                  double constant, int weighted, int stream) {
    if (weighted)
        FILL(dx, n, stream, WIDEN(dy + i) * AT(weight + i) * rstd + ((WIDEN(x + i) - mean) * by_x + constant),
             (double)dy[i] * weight[i] * rstd + (((double)x[i] - mean) * by_x + constant));
    else
        FILL(dx, n, stream, WIDEN(dy + i) * rstd + ((WIDEN(x + i) - mean) * by_x + constant),
             (double)dy[i] * rstd + (((double)x[i] - mean) * by_x + constant));
}

SN_INLINE void NAME(rows_backward_of)(REAL *dx, double *dweight, double *dbias, const REAL *dy, const REAL *x,
                                      const sn_rows_spec *spec, int64_t first, int64_t count, int centered,
                                      int weighted, int adding) {
    int64_t n = spec->length;
    double zeros[MAX_ROWS] = {0}, sum_g[MAX_ROWS], sum_g_x[MAX_ROWS];
    while (count > 0) {
        int64_t rows = NAME(rows_together)(n, count, 2), step = 1;
        const double *mean = centered ? spec->mean + first : zeros, *rstd = spec->rstd + first;
#define PRODUCTS(rows)                                                                                                \
    NAME(row_products)                                                                                                \
    (sum_g + k, sum_g_x + k, adding ? dweight + at : NULL, adding ? dbias + at : NULL, dy + k * n, x + k * n,         \
     weighted ? spec->weight + at : NULL, n, mean + k, rstd + k, centered, weighted, adding, rows)
        for (int64_t k = 0; k < rows; k += step) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            step = spec->periods == 1 && k + 2 <= rows ? 2 : 1;
            if (step == 2)
                PRODUCTS(2);
            else
                PRODUCTS(1);
        }
#undef PRODUCTS
        for (int64_t k = 0; k < rows; k++) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            double by_x = spec->given ? 0.0 : -rstd[k] * rstd[k] * (sum_g_x[k] / (double)n);
            double constant = spec->given ? 0.0 : -rstd[k] * (sum_g[k] / (double)n);
            NAME(row_gradient)(dx + k * n, dy + k * n, x + k * n, weighted ? spec->weight + at : NULL, n, mean[k],
                               rstd[k], by_x, constant, weighted, spec->stream);
        }
        first += rows;
        count -= rows;
        x += rows * n;
        dy += rows * n;
        dx += rows * n;
    }
}

SN_CLONES static void NAME(rows_backward)(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                                          const sn_rows_spec *spec, int64_t first, int64_t count) {
#define CASE(centered, weighted, adding)                                                                              \
    NAME(rows_backward_of)(dx, dweight, dbias, dy, x, spec, first, count, centered, weighted, adding)
    int weighted = spec->weight != NULL, adding = dweight != NULL;
    if (spec->mean != NULL) {
        if (weighted && adding) CASE(1, 1, 1);
        else if (weighted) CASE(1, 1, 0);
        else if (adding) CASE(1, 0, 1);
        else CASE(1, 0, 0);
    } else {
        if (weighted && adding) CASE(0, 1, 1);
        else if (weighted) CASE(0, 1, 0);
        else if (adding) CASE(0, 0, 1);
        else CASE(0, 0, 0);
    }
    if (spec->stream) STREAM_END();
#undef CASE
}

/* ---- columns ---- */

#define ROWS_AT_ONCE 4 /* so that a sum is loaded and stored once for as many rows */

SN_CLONES static void NAME(columns_stats)(double *restrict s1, double *restrict s2, const void *in,
                                          const double *restrict shift, int64_t rows, int64_t columns, int64_t stride,
                                          int64_t rest) {
    const REAL *x = in;
    int64_t i = 0;
    for (; i + ROWS_AT_ONCE <= rows; i += ROWS_AT_ONCE, x += ROWS_AT_ONCE * stride) {
        const REAL *x0 = x, *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        int64_t j = 0;
        for (; j + WIDTH <= columns; j += WIDTH) {
            vector c = AT(shift + j);
            vector d0 = WIDEN(x0 + j) - c, d1 = WIDEN(x1 + j) - c, d2 = WIDEN(x2 + j) - c, d3 = WIDEN(x3 + j) - c;
            INTO(s1 + j) += (d0 + d1) + (d2 + d3);
            INTO(s2 + j) += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
        for (; j < columns; j++) {
            double c = shift[j];
            double d0 = (double)x0[j] - c, d1 = (double)x1[j] - c, d2 = (double)x2[j] - c, d3 = (double)x3[j] - c;
            s1[j] += (d0 + d1) + (d2 + d3);
            s2[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    }
    for (; i <= rows; i++, x += stride)
        for (int64_t j = 0; j < (i < rows ? columns : rest); j++) {
            double d = (double)x[j] - shift[j];
            s1[j] += d;
            s2[j] += d * d;
        }
}

SN_CLONES static void NAME(columns_normalize)(void *restrict out, const void *restrict in, const double *restrict mean,
                                              const double *restrict scale, const double *restrict bias, int64_t rows,
                                              int64_t columns, int64_t stride, int64_t rest, int stream) {
    REAL *restrict y = out;
    const REAL *restrict x = in;
    for (int64_t row = 0; row <= rows; row++, x += stride, y += stride)
        FILL(y, row < rows ? columns : rest, stream, (WIDEN(x + i) - AT(mean + i)) * AT(scale + i) + AT(bias + i),
             ((double)x[i] - mean[i]) * scale[i] + bias[i]);
    if (stream) STREAM_END();
}

SN_CLONES static void NAME(columns_products)(double *restrict sum_dy, double *restrict sum_dy_x, const void *gradient,
                                             const void *in, const double *restrict mean, int64_t rows,
                                             int64_t columns, int64_t stride, int64_t rest) {
    const REAL *dy = gradient, *x = in;
    int64_t i = 0;
    for (; i + ROWS_AT_ONCE <= rows; i += ROWS_AT_ONCE, x += ROWS_AT_ONCE * stride, dy += ROWS_AT_ONCE * stride) {
        const REAL *x0 = x, *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        const REAL *y0 = dy, *y1 = dy + stride, *y2 = y1 + stride, *y3 = y2 + stride;
        int64_t j = 0;
        for (; j + WIDTH <= columns; j += WIDTH) {
            vector g0 = WIDEN(y0 + j), g1 = WIDEN(y1 + j), g2 = WIDEN(y2 + j), g3 = WIDEN(y3 + j), m = AT(mean + j);
            INTO(sum_dy + j) += (g0 + g1) + (g2 + g3);
            INTO(sum_dy_x + j) += (g0 * (WIDEN(x0 + j) - m) + g1 * (WIDEN(x1 + j) - m)) +
                                  (g2 * (WIDEN(x2 + j) - m) + g3 * (WIDEN(x3 + j) - m));
        }
        for (; j < columns; j++) {
            double g0 = y0[j], g1 = y1[j], g2 = y2[j], g3 = y3[j], m = mean[j];
            sum_dy[j] += (g0 + g1) + (g2 + g3);
            sum_dy_x[j] += (g0 * ((double)x0[j] - m) + g1 * ((double)x1[j] - m)) +
                           (g2 * ((double)x2[j] - m) + g3 * ((double)x3[j] - m));
        }
    }
    for (; i <= rows; i++, x += stride, dy += stride)
        for (int64_t j = 0; j < (i < rows ? columns : rest); j++) {
            double g = dy[j];
            sum_dy[j] += g;
            sum_dy_x[j] += g * ((double)x[j] - mean[j]);
        }
}

SN_CLONES static void NAME(columns_gradient)(void *restrict out, const void *restrict gradient, const void *restrict in,
                                             const double *restrict mean, const double *restrict by_dy,
                                             const double *restrict by_x, const double *restrict constant,
                                             int64_t rows, int64_t columns, int64_t stride, int64_t rest, int stream) {
    REAL *restrict dx = out;
    const REAL *restrict dy = gradient, *restrict x = in;
    for (int64_t row = 0; row <= rows; row++, x += stride, dy += stride, dx += stride)
        FILL(dx, row < rows ? columns : rest, stream,
             WIDEN(dy + i) * AT(by_dy + i) + ((WIDEN(x + i) - AT(mean + i)) * AT(by_x + i) + AT(constant + i)),
             (double)dy[i] * by_dy[i] + (((double)x[i] - mean[i]) * by_x[i] + constant[i]));
    if (stream) STREAM_END();
}

#undef ROWS_AT_ONCE

const sn_norms_kernels NAME(sn_norms) = {
    .width = sizeof(REAL),
    .value = NAME(value),
    .stats = NAME(stats),
    .sum = NAME(sum),
    .normalize = NAME(normalize),
    .products = NAME(products),
    .gradient = NAME(gradient),
    .rows_forward = NAME(rows_forward),
    .rows_backward = NAME(rows_backward),
    .columns_stats = NAME(columns_stats),
    .columns_normalize = NAME(columns_normalize),
    .columns_products = NAME(columns_products),
    .columns_gradient = NAME(columns_gradient),
};
