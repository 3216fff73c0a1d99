/* Included by network_kernels.c with REAL defined: losses, their derivatives, and what predictions get right. */

#define LOSS_BLOCK 256

/* loss[j] and slope[j] of block values, by one expression of d = p - t or of p and t for each kind. */
#define EACH(LOSS, SLOPE)                                                                                             \
    for (int64_t j = 0; j < n; j++) {                                                                                 \
        double p = (double)prediction[j], t = (double)target[j], d = p - t;                                           \
        (void)d;                                                                                                      \
        loss[j] = (LOSS);                                                                                             \
        slope[j] = (SLOPE);                                                                                           \
    }                                                                                                                 \
    break

SN_INLINE void NAME(loss_block)(double *restrict loss, double *restrict slope, const REAL *restrict prediction,
                                const REAL *restrict target, int64_t n, sn_loss kind, double c) {
    switch (kind) {
    case SN_LOSS_SQUARED: EACH(d * d, 2.0 * d);
    case SN_LOSS_ABSOLUTE: EACH(__builtin_fabs(d), d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : d);
    case SN_LOSS_HUBER:
        EACH(__builtin_fabs(d) <= c ? 0.5 * d * d : c * (__builtin_fabs(d) - 0.5 * c), d > c ? c : d < -c ? -c : d);
    case SN_LOSS_QUANTILE: EACH(d < 0.0 ? c * -d : (1.0 - c) * d, d > 0.0 ? 1.0 - c : d < 0.0 ? -c : d);
    default:
        EACH((p < 0.0 ? 0.0 : p) - p * t + log1p_of_fraction(exp_of_negative_float64(-__builtin_fabs(p))),
             sigmoid_of_float64(p) - t);
    }
}

#undef EACH

SN_INLINE double NAME(softmax)(REAL *gradient, const REAL *prediction, const REAL *target, const REAL *weights,
                               int64_t rows, int64_t columns, double factor) {
    double total = 0.0;
    for (int64_t i = 0; i < rows; i++, prediction += columns) {
        double most = prediction[0], sum = 0.0, weight = weights == NULL ? 1.0 : (double)weights[i];
        int64_t class = (int64_t)target[i];
        for (int64_t j = 1; j < columns; j++) most = prediction[j] > most ? (double)prediction[j] : most;
        for (int64_t j = 0; j < columns; j++) sum += exp_of_negative_float64((double)prediction[j] - most);
        total += weight * (log_of_sum(sum) + (most - (double)prediction[class]));
        if (gradient == NULL) continue;
        double by = weight * factor, per_sum = 1.0 / sum;
        for (int64_t j = 0; j < columns; j++) {
            double share = exp_of_negative_float64((double)prediction[j] - most) * per_sum;
            gradient[j] = (REAL)((share - (j == class ? 1.0 : 0.0)) * by);
        }
        gradient += columns;
    }
    return total;
}

SN_CLONES static double NAME(loss)(void *to, const void *predictions, const void *targets, const void *row_weights,
                                   int64_t rows, int64_t columns, sn_loss kind, double parameter, double factor) {
    REAL *gradient = to;
    const REAL *prediction = predictions, *target = targets, *weights = row_weights;
    if (kind == SN_LOSS_SOFTMAX)
        return NAME(softmax)(gradient, prediction, target, weights, rows, columns, factor);
    double lanes[LANES] = {0}, loss[LOSS_BLOCK], slope[LOSS_BLOCK], weight[LOSS_BLOCK];
    int64_t row = 0, column = 0;
    for (int64_t at = 0; at < rows * columns; at += LOSS_BLOCK) {
        int64_t n = rows * columns - at < LOSS_BLOCK ? rows * columns - at : LOSS_BLOCK, j = 0;
        NAME(loss_block)(loss, slope, prediction + at, target + at, n, kind, parameter);
        if (weights != NULL) {
            for (int64_t e = 0; e < n; e++) {
                weight[e] = (double)weights[row];
                if (++column == columns) {
                    column = 0;
                    row++;
                }
            }
            for (int64_t e = 0; e < n; e++) loss[e] *= weight[e];
            for (int64_t e = 0; e < n; e++) slope[e] *= weight[e];
        }
        for (; j + LANES <= n; j += LANES)
            for (int k = 0; k < LANES; k++) lanes[k] += loss[j + k];
        for (int k = 0; j < n; j++, k++) lanes[k] += loss[j];
        if (gradient != NULL)
            for (int64_t e = 0; e < n; e++) gradient[at + e] = (REAL)(slope[e] * factor);
    }
    return sum_of_lanes(lanes);
}

SN_INLINE int NAME(is_class)(const REAL *prediction, int64_t class, int64_t columns) {
    int is = 1;
    for (int64_t j = 0; j < class; j++) is &= prediction[j] < prediction[class];
    for (int64_t j = class; j < columns; j++) is &= prediction[j] <= prediction[class];
    return is;
}

static double NAME(right)(const void *predictions, const void *targets, const void *row_weights, int64_t rows,
                          int64_t columns, sn_loss kind) {
    const REAL *prediction = predictions, *target = targets, *weights = row_weights;
    double total = 0.0;
    for (int64_t i = 0; i < rows; i++, prediction += columns) {
        int64_t right = 0;
        if (kind == SN_LOSS_SOFTMAX)
            right = NAME(is_class)(prediction, (int64_t)target[i], columns);
        else
            for (int64_t j = 0; j < columns; j++)
                right += target[i * columns + j] >= (REAL)0.5 ? prediction[j] > 0 : prediction[j] <= 0;
        total += (weights == NULL ? 1.0 : (double)weights[i]) * (double)right;
    }
    return total;
}

#undef LOSS_BLOCK
