/* Included by norms_kernels.c with REAL and its vectors defined: every loop of norms_kernels.h for one type.
 *
 * The number of accumulators and the order in which they are added up are fixed, so that every processor gives the
 * same bits.
 */

static double NAME(sum)(const void *x, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)((const REAL *)x)[i];
    return sum;
}

static double NAME(value)(const void *x) { return *(const REAL *)x; }

static void NAME(narrow)(void *to, const double *from, int64_t n) {
    for (int64_t i = 0; i < n; i++) ((REAL *)to)[i] = (REAL)from[i];
}

SN_INLINE void NAME(stats_of)(double *s1, double *s2, const REAL *x, int64_t n, double shift, int centered,
                               int shifted) {
    doubles sum[2] = {{0}}, square[2] = {{0}};
    int64_t i = 0;
#define ADD(k, v)                                                                                                     \
    do {                                                                                                              \
        doubles d = (v);                                                                                              \
        if (shifted) d -= shift;                                                                                      \
        if (centered) sum[k] += d;                                                                                    \
        square[k] += d * d;                                                                                           \
    } while (0)
    for (; i + 2 * WIDTH <= n; i += 2 * WIDTH)
        for (int k = 0; k < 2; k++) ADD(k, WIDEN(x + i + k * WIDTH));
    for (; i + WIDTH <= n; i += WIDTH) ADD(0, WIDEN(x + i));
#undef ADD
    sum[0] += sum[1];
    square[0] += square[1];
    *s1 = centered ? SUM(sum[0]) : 0.0;
    *s2 = SUM(square[0]);
    for (; i < n; i++) {
        double d = shifted ? (double)x[i] - shift : (double)x[i];
        if (centered) *s1 += d;
        *s2 += d * d;
    }
}

SN_CLONES static void NAME(stats)(double *s1, double *s2, const void *x, int64_t n, double shift) {
    NAME(stats_of)(s1, s2, x, n, shift, 1, 1);
}

/* ---- runs ---- */

SN_CLONES static void NAME(normalize)(void *restrict out, const void *restrict in, int64_t n, double mean, double rstd,
                                      double scale, double bias, int stream) {
    REAL *restrict y = out;
    const REAL *restrict x = in;
    if (SN_UNLIKELY(!FITS(mean) || !FITS(rstd) || !FITS(scale) || !FITS(bias))) {
        for (int64_t i = 0; i < n; i++) y[i] = (REAL)(((double)x[i] - mean) * scale + bias);
        return;
    }
    REAL center = CENTER(mean, rstd), s = (REAL)scale, b = (REAL)(bias - (mean - center) * scale);
    FILL(y, n, stream, (AT(x + i) - center) * s + b, (x[i] - center) * s + b);
    if (stream) STREAM_END();
}

SN_CLONES static void NAME(products)(double *sum_dy, double *sum_dy_x, const void *gradient, const void *in, int64_t n,
                                     double mean, double rstd) {
    const REAL *dy = gradient, *x = in;
    doubles sum = {0}, product = {0};
    int64_t i = 0;
    double off = 0.0;
    if (SN_LIKELY(FITS(mean) && FITS(rstd))) {
        REAL center = CENTER(mean, rstd);
        off = mean - center;
        for (; i + TERMS * LANES <= n; i += TERMS * LANES) {
            VECTOR g[TERMS], p[TERMS];
            for (int k = 0; k < TERMS; k++) {
                g[k] = AT(dy + i + k * LANES);
                p[k] = g[k] * (AT(x + i + k * LANES) - center);
            }
            ADD_UP(sum, (g[0] + g[1]) + (g[2] + g[3]));
            ADD_UP(product, (p[0] + p[1]) + (p[2] + p[3]));
        }
    }
    *sum_dy = SUM(sum);
    *sum_dy_x = SUM(product) - LEFT_OVER(off, *sum_dy);
    if (SN_UNLIKELY(!isfinite(*sum_dy) || !isfinite(*sum_dy_x))) { /* too large for the type, maybe not for a double */
        *sum_dy = *sum_dy_x = 0.0;
        i = 0;
    }
    for (; i < n; i++) {
        *sum_dy += (double)dy[i];
        *sum_dy_x += (double)dy[i] * ((double)x[i] - mean);
    }
}

SN_CLONES static void NAME(gradient)(void *restrict out, const void *restrict gradient, const void *restrict in,
                                     int64_t n, double mean, double rstd, double by_dy, double by_x, double constant,
                                     int stream) {
    REAL *restrict dx = out;
    const REAL *restrict dy = gradient, *restrict x = in;
    if (SN_UNLIKELY(!FITS(mean) || !FITS(rstd) || !FITS(by_dy) || !FITS(by_x) || !FITS(constant))) {
        for (int64_t i = 0; i < n; i++)
            dx[i] = (REAL)((double)dy[i] * by_dy + (((double)x[i] - mean) * by_x + constant));
        return;
    }
    REAL center = CENTER(mean, rstd), a = (REAL)by_dy, b = (REAL)by_x, c = (REAL)(constant - (mean - center) * by_x);
    FILL(dx, n, stream, AT(dy + i) * a + ((AT(x + i) - center) * b + c), dy[i] * a + ((x[i] - center) * b + c));
    if (stream) STREAM_END();
}

/* ---- rows ---- */

/* The statistics of a row once more, if its first value was no good as a shift or it has values that are not finite;
 * `square` is the mean of the squares of its values' differences from that one. */
static __attribute__((noinline)) void NAME(row_again)(double *mean, double *rstd, double *variance, const REAL *x,
                                                      int64_t n, double square, double eps) {
    double s1, s2, offset;
    if (*variance * SN_CANCELLATION >= square && isfinite(*mean)) return;
    NAME(stats)(&s1, &s2, x, n, *mean);
    sn_variance(variance, &offset, s1, s2, (double)n);
    *mean += offset;
    if (!isfinite(*mean)) *mean = NAME(sum)(x, n) / (double)n; /* an infinity stays one, as the sum of the values is */
    *rstd = 1.0 / sqrt(*variance + eps);
}

static __attribute__((noinline)) void NAME(normalize_row_in_double)(REAL *y, const REAL *x, const REAL *weight,
                                                                    const REAL *bias, int64_t n, double mean,
                                                                    double rstd) {
    for (int64_t i = 0; i < n; i++) {
        double hat = ((double)x[i] - mean) * rstd;
        if (weight != NULL) hat *= weight[i];
        if (bias != NULL) hat += bias[i];
        y[i] = (REAL)hat;
    }
}

SN_INLINE void NAME(normalize_row)(REAL *restrict y, const REAL *restrict x, const REAL *restrict weight,
                                   const REAL *restrict bias, int64_t n, double mean, double rstd, int stream,
                                   int64_t ahead) {
    if (SN_UNLIKELY(!FITS(mean) || !FITS(rstd))) {
        NAME(normalize_row_in_double)(y, x, weight, bias, n, mean, rstd);
        return;
    }
    REAL r = (REAL)rstd, center = (REAL)mean;
    double rest = (mean - center) * rstd;
#define HAT(v) (((v) - center) * r)
    if (fabs(rest) < NOTHING)
        FILL_ROW(HAT);
    else {
        center = CENTER(mean, rstd);
        REAL off = (REAL)((mean - center) * rstd);
#undef HAT
#define HAT(v) LESS(((v) - center) * r, off)
        FILL_ROW(HAT);
    }
#undef HAT
}

/* Short rows that normalize_row would all take the first way, with the same parameters or none, in fewer instructions:
 * to set a row up takes as many as its values. False, and nothing is done, if there is another among them. */
SN_INLINE int NAME(normalize_rows)(REAL *restrict y, const REAL *restrict x, const REAL *restrict weight,
                                   const REAL *restrict bias, int64_t n, int64_t rows, const double *mean,
                                   const double *rstd) {
    REAL less[MAX_ROWS], scale[MAX_ROWS];
    int plain = 1;
    for (int64_t k = 0; k < rows; k++) {
        less[k] = -(REAL)mean[k];
        scale[k] = (REAL)rstd[k];
        plain &= FITS(mean[k]) & FITS(rstd[k]) & (fabs((mean[k] + less[k]) * rstd[k]) < NOTHING);
    }
    if (SN_UNLIKELY(!plain)) return 0;
#define ROWS(OF)                                                                                                      \
    for (int64_t k = 0; k < rows; k++, x += n, y += n) {                                                              \
        int64_t i = 0;                                                                                                \
        for (; i + 4 * LANES <= n; i += 4 * LANES)                                                                    \
            for (int64_t j = i; j < i + 4 * LANES; j += LANES)                                                        \
                *(VECTOR *)(y + j) = OF((AT(x + j) + less[k]) * scale[k], AT, j);                                     \
        for (; i + LANES <= n; i += LANES) *(VECTOR *)(y + i) = OF((AT(x + i) + less[k]) * scale[k], AT, i);          \
        for (; i < n; i++) y[i] = OF((x[i] + less[k]) * scale[k], *, i);                                              \
    }
#define AFFINE(hat, at, i) ((hat)*at(weight + i) + at(bias + i))
#define WEIGHTED(hat, at, i) ((hat)*at(weight + i))
#define SHIFTED(hat, at, i) ((hat) + at(bias + i))
#define BARE(hat, at, i) (hat)
    if (weight != NULL && bias != NULL) ROWS(AFFINE)
    else if (weight != NULL) ROWS(WEIGHTED)
    else if (bias != NULL) ROWS(SHIFTED)
    else ROWS(BARE)
#undef ROWS
#undef AFFINE
#undef WEIGHTED
#undef SHIFTED
#undef BARE
    return 1;
}

/* What to subtract from a row's values before they are summed: nothing, unless two of them say that they are far from
 * zero for how far they are apart. */
SN_INLINE double NAME(shift_of)(const REAL *x, int64_t n) {
    double first = x[0], other = x[n / 2];
    return fabs(first) <= 32.0 * fabs(first - other) ? 0.0 : first;
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
    const REAL *weight = spec->weight, *bias = spec->bias;
    int64_t n = spec->length;
    double eps = spec->eps, values = (double)n;
    double mean[MAX_ROWS], variance[MAX_ROWS], rstd[MAX_ROWS], s1[MAX_ROWS], s2[MAX_ROWS];
    while (count > 0) {
        int64_t rows = NAME(rows_together)(n, count, 1);
        int short_rows = n * (int64_t)sizeof(REAL) <= SHORT_ROW;
        for (int64_t k = 0; k < rows; k++) {
            mean[k] = !centered ? 0.0 : short_rows ? NAME(shift_of)(x + k * n, n) : (double)x[k * n];
            if (mean[k] == 0.0)
                NAME(stats_of)(&s1[k], &s2[k], x + k * n, n, 0.0, centered, 0);
            else
                NAME(stats_of)(&s1[k], &s2[k], x + k * n, n, mean[k], centered, 1);
        }
        if (centered) {
            if (SN_UNLIKELY(!statistics_from_sums(mean, rstd, variance, s1, s2, rows, values, eps)))
                for (int64_t k = 0; k < rows; k++)
                    NAME(row_again)(&mean[k], &rstd[k], &variance[k], x + k * n, n, s2[k] / values, eps);
        } else {
            for (int64_t k = 0; k < rows; k++) {
                variance[k] = s2[k] / values;
                rstd[k] = 1.0 / sqrt(variance[k] + eps);
            }
        }
        int done = short_rows && !spec->stream && spec->periods == 1 &&
                   NAME(normalize_rows)(y, x, weight, bias, n, rows, mean, rstd);
        for (int64_t k = done ? rows : 0; k < rows; k++) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            NAME(normalize_row)(y + k * n, x + k * n, weight == NULL ? NULL : weight + at,
                                bias == NULL ? NULL : bias + at, n, mean[k], rstd[k], spec->stream,
                                count > rows ? rows * n : 0);
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
 * parameters' gradients are loaded and stored once for both. From value `i` on in double. */
SN_INLINE void NAME(row_products)(double *sum_g, double *sum_g_x, double *restrict dweight, double *restrict dbias,
                                  const REAL *restrict dy, const REAL *restrict x, const REAL *restrict weight,
                                  int64_t n, const double *mean, const double *rstd, int centered, int weighted,
                                  int adding, int rows) {
    doubles sum[2] = {{0}}, product[2] = {{0}};
    double off_of[2] = {0};
    int64_t i = 0;
    int fits = n >= SN_FEW && FITS(mean[0]) && FITS(rstd[0]) && FITS(mean[rows - 1]) && FITS(rstd[rows - 1]);
    if (SN_LIKELY(fits)) {
        REAL center[2], scale[2], off[2]; /* hat = (x - center) * scale - off; the sums take that into account after */
        for (int r = 0; r < rows; r++) {
            center[r] = centered ? CENTER(mean[r], rstd[r]) : 0;
            scale[r] = (REAL)rstd[r];
            off_of[r] = (mean[r] - center[r]) * rstd[r];
            off[r] = (REAL)off_of[r];
        }
        while (i + LANES <= n) {
            VECTOR sums[2] = {{0}}, products[2] = {{0}};
            int64_t end = i + TERMS * LANES <= n ? i + TERMS * LANES : n;
            for (; i + LANES <= end; i += LANES) {
                VECTOR to_weight = {0}, to_bias = {0};
                for (int r = 0; r < rows; r++) {
                    VECTOR gradient = AT(dy + r * n + i), hat = AT(x + r * n + i), g = gradient;
                    if (centered) hat -= center[r];
                    hat *= scale[r];
                    if (weighted) g *= AT(weight + i);
                    if (centered) sums[r] += g;
                    products[r] += g * hat;
                    if (adding && centered) to_weight += gradient * LESS(hat, off[r]);
                    if (adding && !centered) to_weight += gradient * hat;
                    if (adding && centered) to_bias += gradient;
                }
                if (adding) ADD_TO(dweight + i, to_weight);
                if (adding && centered) ADD_TO(dbias + i, to_bias);
            }
            for (int r = 0; r < rows; r++) {
                if (centered) ADD_UP(sum[r], sums[r]);
                ADD_UP(product[r], products[r]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        sum_g[r] = centered ? SUM(sum[r]) : 0.0;
        sum_g_x[r] = SUM(product[r]) - LEFT_OVER(off_of[r], sum_g[r]);
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

/* Sums of g and of g * hat once more, where in the type they are not finite. */
static __attribute__((noinline)) void NAME(row_products_in_double)(double *sum_g, double *sum_g_x, const REAL *dy,
                                                                   const REAL *x, const REAL *weight, int64_t n,
                                                                   double mean, double rstd, int centered) {
    *sum_g = *sum_g_x = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double g = weight == NULL ? (double)dy[i] : (double)dy[i] * weight[i];
        if (centered) *sum_g += g;
        *sum_g_x += g * (((double)x[i] - mean) * rstd);
    }
}

static __attribute__((noinline)) void NAME(row_gradient_in_double)(REAL *dx, const REAL *dy, const REAL *x,
                                                                   const REAL *weight, int64_t n, double mean,
                                                                   double rstd, double by_x, double constant) {
    for (int64_t i = 0; i < n; i++) {
        double g = weight == NULL ? (double)dy[i] : (double)dy[i] * weight[i];
        dx[i] = (REAL)(g * rstd + (((double)x[i] - mean) * by_x + constant));
    }
}

SN_INLINE void NAME(row_gradient)(REAL *restrict dx, const REAL *restrict dy, const REAL *restrict x,
                                  const REAL *restrict weight, int64_t n, double mean, double rstd, double by_x,
                                  double constant, int weighted, int stream, int64_t ahead) {
    if (SN_UNLIKELY(n < SN_FEW || !FITS(mean) || !FITS(rstd) || !FITS(by_x) || !FITS(constant))) {
        NAME(row_gradient_in_double)(dx, dy, x, weight, n, mean, rstd, by_x, constant);
        return;
    }
    REAL center = CENTER(mean, rstd), a = (REAL)rstd, b = (REAL)by_x, c = (REAL)(constant - (mean - center) * by_x);
    if (weighted)
        FILL(dx, n, stream,
             (FETCH(dy + i + ahead), FETCH(x + i + ahead),
              AT(dy + i) * AT(weight + i) * a + ((AT(x + i) - center) * b + c)),
             dy[i] * weight[i] * a + ((x[i] - center) * b + c));
    else
        FILL(dx, n, stream,
             (FETCH(dy + i + ahead), FETCH(x + i + ahead), AT(dy + i) * a + ((AT(x + i) - center) * b + c)),
             dy[i] * a + ((x[i] - center) * b + c));
}

/* Of constant statistics: x has no part in it, not even where it is infinite. */
static void NAME(row_gradient_given)(REAL *dx, const REAL *dy, const REAL *weight, int64_t n, double rstd) {
    for (int64_t i = 0; i < n; i++) dx[i] = (REAL)((weight == NULL ? dy[i] : (double)dy[i] * weight[i]) * rstd);
}

SN_INLINE void NAME(rows_backward_of)(REAL *dx, double *dweight, double *dbias, const REAL *dy, const REAL *x,
                                      const sn_rows_spec *spec, int64_t first, int64_t count, int centered,
                                      int weighted, int adding) {
    const REAL *weight = spec->weight;
    int64_t n = spec->length;
    double zeros[MAX_ROWS] = {0}, sum_g[MAX_ROWS], sum_g_x[MAX_ROWS];
    while (count > 0) {
        int64_t rows = NAME(rows_together)(n, count, 2), step = 1;
        const double *mean = centered ? spec->mean + first : zeros, *rstd = spec->rstd + first;
#define PRODUCTS(rows)                                                                                                \
    NAME(row_products)                                                                                                \
    (sum_g + k, sum_g_x + k, adding ? dweight + at : NULL, adding ? dbias + at : NULL, dy + k * n, x + k * n,         \
     weighted ? weight + at : NULL, n, mean + k, rstd + k, centered, weighted, adding, rows)
        for (int64_t k = 0; k < rows; k += step) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            /* A row that is for doubles must not take its neighbour with it, whose bits are its own. */
            step = spec->periods == 1 && k + 2 <= rows &&
                           (FITS(mean[k]) && FITS(rstd[k])) == (FITS(mean[k + 1]) && FITS(rstd[k + 1]))
                       ? 2
                       : 1;
            if (step == 2)
                PRODUCTS(2);
            else
                PRODUCTS(1);
        }
#undef PRODUCTS
        for (int64_t k = 0; k < rows; k++) {
            int64_t at = spec->periods == 1 ? 0 : (first + k) % spec->periods * n;
            const REAL *of_row = weighted ? weight + at : NULL;
            if (spec->given) {
                NAME(row_gradient_given)(dx + k * n, dy + k * n, of_row, n, rstd[k]);
                continue;
            }
            int large = !isfinite(sum_g[k]) || !isfinite(sum_g_x[k]);
            if (SN_UNLIKELY(large))
                NAME(row_products_in_double)(&sum_g[k], &sum_g_x[k], dy + k * n, x + k * n, of_row, n, mean[k], rstd[k],
                                             centered);
            double by_x = -rstd[k] * rstd[k] * (sum_g_x[k] / (double)n), constant = -rstd[k] * (sum_g[k] / (double)n);
            if (SN_UNLIKELY(large))
                NAME(row_gradient_in_double)(dx + k * n, dy + k * n, x + k * n, of_row, n, mean[k], rstd[k], by_x,
                                             constant);
            else
                NAME(row_gradient)(dx + k * n, dy + k * n, x + k * n, of_row, n, mean[k], rstd[k], by_x, constant,
                                   weighted, spec->stream, count > rows ? rows * n : 0);
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

#include "norms_columns_typed.h"

const sn_norms_kernels NAME(sn_norms) = {
    .width = sizeof(REAL),
    .value = NAME(value),
    .narrow = NAME(narrow),
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
