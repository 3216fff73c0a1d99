/* Included by norms_typed.h: the loops over columns, for one type. */

/* How many values ahead to fetch: the rows that are next, or where these are short, those a while off. */
SN_INLINE int64_t NAME(ahead)(int64_t stride, int64_t rows) {
    int64_t ahead = rows * stride;
    while (ahead * (int64_t)sizeof(REAL) < FETCH_BYTES) ahead += rows * stride;
    return ahead;
}

#define FETCH_ROWS(x, j)                                                                                              \
    (FETCH((x) + (j) + ahead), FETCH((x) + (j) + stride + ahead), FETCH((x) + (j) + 2 * stride + ahead),              \
     FETCH((x) + (j) + 3 * stride + ahead))

SN_CLONES static void NAME(columns_stats)(double *restrict s1, double *restrict s2, const void *in,
                                          const double *restrict shift, int64_t rows, int64_t columns, int64_t stride,
                                          int64_t rest) {
    const REAL *x = in;
    int64_t i = 0, ahead = NAME(ahead)(stride, ROWS_AT_ONCE);
    for (; i + ROWS_AT_ONCE <= rows; i += ROWS_AT_ONCE, x += ROWS_AT_ONCE * stride) {
        const REAL *x0 = x, *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        int64_t j = 0;
        for (; j + WIDTH <= columns; j += WIDTH) {
            FETCH_ROWS(x, j);
            doubles c = DOUBLES_AT(shift + j);
            doubles d0 = WIDEN(x0 + j) - c, d1 = WIDEN(x1 + j) - c, d2 = WIDEN(x2 + j) - c, d3 = WIDEN(x3 + j) - c;
            DOUBLES_AT(s1 + j) += (d0 + d1) + (d2 + d3);
            DOUBLES_AT(s2 + j) += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
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

/* Parameters of columns in the type; false if one of them does not fit it. */
SN_INLINE int NAME(fit)(REAL *to, const double *from, int64_t n) {
    int fit = 1;
    for (int64_t j = 0; j < n; j++) {
        fit &= FITS(from[j]);
        to[j] = (REAL)from[j];
    }
    return fit;
}

SN_INLINE int NAME(find_centers)(REAL *center, const double *mean, const double *rstd, int64_t n) {
    int fit = 1;
    for (int64_t j = 0; j < n; j++) {
        fit &= FITS(mean[j]) & FITS(rstd[j]);
        center[j] = CENTER(mean[j], rstd[j]);
    }
    return fit;
}

/* What is left of the mean, in the constant. */
SN_INLINE int NAME(fit_constants)(REAL *to, const double *constant, const double *mean, const REAL *center,
                                  const double *factor, int64_t n) {
    int fit = 1;
    for (int64_t j = 0; j < n; j++) {
        fit &= FITS(constant[j]);
        to[j] = (REAL)(constant[j] - (mean[j] - center[j]) * factor[j]);
    }
    return fit;
}

SN_CLONES static void NAME(columns_normalize)(void *restrict out, const void *restrict in, const double *restrict mean,
                                              const double *restrict rstd, const double *restrict scale,
                                              const double *restrict bias, int64_t rows, int64_t columns,
                                              int64_t stride, int64_t rest, int flags) {
    REAL *restrict y = out;
    const REAL *restrict x = in;
    REAL center[SN_COLUMNS], s[SN_COLUMNS], b[SN_COLUMNS];
    int fit = NAME(find_centers)(center, mean, rstd, columns) & NAME(fit)(s, scale, columns) &
              NAME(fit_constants)(b, bias, mean, center, scale, columns);
    int64_t ahead = NAME(ahead)(stride, 1);
    for (int64_t row = 0; row <= rows; row++, x += stride, y += stride) {
        int64_t n = row < rows ? columns : rest;
        if (SN_LIKELY(fit))
            FILL(y, n, flags & SN_STREAM, (FETCH(x + i + ahead), (AT(x + i) - AT(center + i)) * AT(s + i) + AT(b + i)),
                 (x[i] - center[i]) * s[i] + b[i]);
        else
            for (int64_t j = 0; j < n; j++) y[j] = (REAL)(((double)x[j] - mean[j]) * scale[j] + bias[j]);
    }
    if (flags & SN_STREAM) STREAM_END();
}

SN_CLONES static void NAME(columns_products)(double *restrict sum_dy, double *restrict sum_dy_x, const void *gradient,
                                             const void *in, const double *restrict mean, const double *restrict rstd,
                                             int64_t rows, int64_t columns, int64_t stride, int64_t rest, int flags) {
    const REAL *dy = gradient, *x = in;
    REAL center[SN_COLUMNS];
    int fit = NAME(find_centers)(center, mean, rstd, columns) && !(flags & SN_IN_DOUBLE);
    int64_t i = 0, ahead = NAME(ahead)(stride, ROWS_AT_ONCE), vectors = fit ? columns / LANES * LANES : 0;
    for (; i + ROWS_AT_ONCE <= rows; i += ROWS_AT_ONCE, x += ROWS_AT_ONCE * stride, dy += ROWS_AT_ONCE * stride) {
        const REAL *x0 = x, *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        const REAL *y0 = dy, *y1 = dy + stride, *y2 = y1 + stride, *y3 = y2 + stride;
        int64_t j = 0;
        for (; j < vectors; j += LANES) {
            FETCH_ROWS(x, j);
            FETCH_ROWS(dy, j);
            VECTOR g0 = AT(y0 + j), g1 = AT(y1 + j), g2 = AT(y2 + j), g3 = AT(y3 + j), c = AT(center + j);
            ADD_TO(sum_dy + j, (g0 + g1) + (g2 + g3));
            ADD_TO(sum_dy_x + j, (g0 * (AT(x0 + j) - c) + g1 * (AT(x1 + j) - c)) +
                                     (g2 * (AT(x2 + j) - c) + g3 * (AT(x3 + j) - c)));
        }
        for (; j < columns; j++) {
            double g0 = y0[j], g1 = y1[j], g2 = y2[j], g3 = y3[j], m = mean[j];
            sum_dy[j] += (g0 + g1) + (g2 + g3);
            sum_dy_x[j] += (g0 * ((double)x0[j] - m) + g1 * ((double)x1[j] - m)) +
                           (g2 * ((double)x2[j] - m) + g3 * ((double)x3[j] - m));
        }
    }
    for (int64_t j = 0; j < vectors; j++) sum_dy_x[j] -= LEFT_OVER(mean[j] - center[j], sum_dy[j]);
    for (; i <= rows; i++, x += stride, dy += stride)
        for (int64_t j = 0; j < (i < rows ? columns : rest); j++) {
            double g = dy[j];
            sum_dy[j] += g;
            sum_dy_x[j] += g * ((double)x[j] - mean[j]);
        }
}

SN_CLONES static void NAME(columns_gradient)(void *restrict out, const void *restrict gradient, const void *restrict in,
                                             const double *restrict mean, const double *restrict rstd,
                                             const double *restrict by_dy, const double *restrict by_x,
                                             const double *restrict constant, int64_t rows, int64_t columns,
                                             int64_t stride, int64_t rest, int flags) {
    REAL *restrict dx = out;
    const REAL *restrict dy = gradient, *restrict x = in;
    REAL center[SN_COLUMNS], a[SN_COLUMNS], b[SN_COLUMNS], c[SN_COLUMNS];
    int fit = NAME(find_centers)(center, mean, rstd, columns) & NAME(fit)(a, by_dy, columns) &
              NAME(fit)(b, by_x, columns) & NAME(fit_constants)(c, constant, mean, center, by_x, columns) &
              !(flags & SN_IN_DOUBLE);
    int64_t ahead = NAME(ahead)(stride, 1);
    for (int64_t row = 0; row <= rows; row++, x += stride, dy += stride, dx += stride) {
        int64_t n = row < rows ? columns : rest;
        if (SN_LIKELY(fit))
            FILL(dx, n, flags & SN_STREAM,
                 (FETCH(dy + i + ahead), FETCH(x + i + ahead),
                  AT(dy + i) * AT(a + i) + ((AT(x + i) - AT(center + i)) * AT(b + i) + AT(c + i))),
                 dy[i] * a[i] + ((x[i] - center[i]) * b[i] + c[i]));
        else
            for (int64_t j = 0; j < n; j++)
                dx[j] = (REAL)((double)dy[j] * by_dy[j] + (((double)x[j] - mean[j]) * by_x[j] + constant[j]));
    }
    if (flags & SN_STREAM) STREAM_END();
}

#undef FETCH_ROWS
