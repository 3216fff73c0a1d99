/* See weights.h. */
#include "weights.h"

#include <math.h>

#define LANES 16
#define STRETCH 2048

SN_CLONES static int64_t sum_stretch(double *weight, double *weight_lo, int64_t *improper, const double *w, int64_t n) {
    double hi[LANES], lo[LANES], positive[LANES], improper_lane[LANES];
    for (int j = 0; j < LANES; j++) hi[j] = lo[j] = positive[j] = improper_lane[j] = 0.0;
    for (int64_t i = 0; i < n; i += LANES) {
        int size = n - i < LANES ? (int)(n - i) : LANES;
        double each[LANES] = {0.0};
        for (int j = 0; j < size; j++) each[j] = w[i + j];
        for (int j = 0; j < LANES; j++) {
            double s = hi[j] + each[j], t = s - hi[j];
            lo[j] += (hi[j] - (s - t)) + (each[j] - t);
            hi[j] = s;
            positive[j] += each[j] > 0.0 ? 1.0 : 0.0;
            improper_lane[j] += each[j] >= 0.0 && each[j] < INFINITY ? 0.0 : 1.0;
        }
    }
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
