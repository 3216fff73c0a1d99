/* See weights.h. */
#include "weights.h"

#include <math.h>

#define LANES 32
#define STRETCH 2048

SN_INLINE void sum_lane(double *hi, double *lo, double *positive, double *improper, double weight) {
    double s = *hi + weight, t = s - *hi;
    *lo += (*hi - (s - t)) + (weight - t);
    *hi = s;
    *positive += weight > 0.0 ? 1.0 : 0.0;
    *improper += weight >= 0.0 ? (weight < INFINITY ? 0.0 : 1.0) : 1.0;
}

SN_CLONES static int64_t sum_stretch(double *weight, double *weight_lo, int64_t *improper, const double *w, int64_t n) {
    double hi[LANES], lo[LANES], positive[LANES], improper_lane[LANES];
    for (int j = 0; j < LANES; j++) hi[j] = lo[j] = positive[j] = improper_lane[j] = 0.0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) sum_lane(&hi[j], &lo[j], &positive[j], &improper_lane[j], w[i + j]);
    for (int j = 0; i + j < n; j++) sum_lane(&hi[j], &lo[j], &positive[j], &improper_lane[j], w[i + j]);
    double count = 0.0, wrong = 0.0;
    *weight = *weight_lo = 0.0;
    for (int j = 0; j < LANES; j++) {
        sn_weight_add(weight, weight_lo, hi[j], lo[j]);
        count += positive[j];
        wrong += improper_lane[j];
    }
    *improper = (int64_t)wrong;
    return (int64_t)count;
}

int64_t sn_weights_sum(double *weight, double *weight_lo, int64_t *bad, const double *w, int64_t n) {
    int64_t positive = 0, improper;
    *weight = *weight_lo = 0.0;
    *bad = n;
    for (int64_t at = 0; at < n; at += STRETCH) {
        double sum, sum_lo;
        positive += sum_stretch(&sum, &sum_lo, &improper, w + at, n - at < STRETCH ? n - at : STRETCH);
        if (improper > 0) {
            for (*bad = at; w[*bad] >= 0.0 && w[*bad] < INFINITY;) (*bad)++;
            return positive;
        }
        sn_weight_add(weight, weight_lo, sum, sum_lo);
    }
    return positive;
}

SN_CLONES int64_t sn_weights_zeros(const double *w, int64_t n) {
    double zeros[LANES], count = 0.0;
    for (int j = 0; j < LANES; j++) zeros[j] = 0.0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) zeros[j] += w[i + j] == 0.0 ? 1.0 : 0.0;
    for (int j = 0; i + j < n; j++) zeros[j] += w[i + j] == 0.0 ? 1.0 : 0.0;
    for (int j = 0; j < LANES; j++) count += zeros[j];
    return (int64_t)count;
}

SN_CLONES void sn_weights_blank(double *x, const double *w, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = w[i] == 0.0 ? NAN : x[i];
}
