/* See weighted_moments.h for what is computed and from which papers.
 *
 * Design: the passes of moments.c, with their lanes, each value times its weight. The sum of the weights is kept as a
 * pair in every lane, which makes it exact in all but contrived cases, so that a thousand weights of 0.1 and any merge
 * of them agree; it has a pass of its own because its chains of additions are longer than what the others wait for.
 * Turned down: one kernel for both, which would read a second array of ones where there are no weights.
 */
#include "weighted_moments.h"

#include <math.h>

#include "lanes.h"

SN_INLINE void first_pass_lane(double *sum, double *nans, double *min, double *max, double x, double w, double shift) {
    *sum += x == x ? w * (x - shift) : 0.0;
    *nans += x == x ? 0.0 : 1.0;
    *min = x < *min ? x : *min;
    *max = x > *max ? x : *max;
}

/* Sum of w (x - shift), number of NaN, min and max. */
SN_CLONES static double first_pass(sn_block_extrema *extrema, const double *x, const double *w, int64_t n,
                                   double shift) {
    double sum[SN_LANES], nans[SN_LANES], min[SN_LANES], max[SN_LANES];
    for (int j = 0; j < SN_LANES; j++) {
        sum[j] = nans[j] = 0.0;
        min[j] = INFINITY;
        max[j] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + SN_LANES <= n; i += SN_LANES)
        for (int j = 0; j < SN_LANES; j++)
            first_pass_lane(&sum[j], &nans[j], &min[j], &max[j], x[i + j], w[i + j], shift);
    for (int j = 0; i + j < n; j++)
        first_pass_lane(&sum[j], &nans[j], &min[j], &max[j], x[i + j], w[i + j], shift);
    for (int j = 1; j < SN_LANES; j++) {
        min[0] = min[j] < min[0] ? min[j] : min[0];
        max[0] = max[j] > max[0] ? max[j] : max[0];
    }
    extrema->min = min[0];
    extrema->max = max[0];
    extrema->nans = (int64_t)sn_sum_lanes(nans);
    return sn_sum_lanes(sum);
}

SN_INLINE void weight_lane(double *hi, double *lo, double x, double w) {
    double weight = x == x ? w : 0.0, low;
    sn_two_sum(hi, &low, *hi, weight);
    *lo += low;
}

/* Sum of the weights of the values that are not NaN. */
SN_CLONES static void weight_pass(double *weight, double *weight_lo, const double *x, const double *w, int64_t n) {
    double hi[SN_LANES], lo[SN_LANES];
    for (int j = 0; j < SN_LANES; j++) hi[j] = lo[j] = 0.0;
    int64_t i = 0;
    for (; i + SN_LANES <= n; i += SN_LANES)
        for (int j = 0; j < SN_LANES; j++) weight_lane(&hi[j], &lo[j], x[i + j], w[i + j]);
    for (int j = 0; i + j < n; j++) weight_lane(&hi[j], &lo[j], x[i + j], w[i + j]);
    *weight = *weight_lo = 0.0;
    for (int j = 0; j < SN_LANES; j++) sn_weight_add(weight, weight_lo, hi[j], lo[j]);
}

/* Sums of w d and w d^2 over the values that are not NaN, d = x - center. */
SN_CLONES static void second_pass(double *s1, double *s2, const double *x, const double *w, int64_t n, double center) {
    double sum[SN_LANES], square[SN_LANES];
    for (int j = 0; j < SN_LANES; j++) sum[j] = square[j] = 0.0;
    int64_t i = 0;
    for (; i + SN_LANES <= n; i += SN_LANES)
        for (int j = 0; j < SN_LANES; j++) {
            double d = x[i + j] == x[i + j] ? x[i + j] - center : 0.0, part = w[i + j] * d;
            sum[j] += part;
            square[j] += part * d;
        }
    for (int j = 0; i + j < n; j++) {
        double d = x[i + j] == x[i + j] ? x[i + j] - center : 0.0, part = w[i + j] * d;
        sum[j] += part;
        square[j] += part * d;
    }
    *s1 = sn_sum_lanes(sum);
    *s2 = sn_sum_lanes(square);
}

/* The moments of a block of finite or NaN values about a value near their mean, in units of 2^exponent. */
static void block_moments(sn_moments *m, const double *x, const double *w, int64_t n, double center) {
    double s1, s2;
    second_pass(&s1, &s2, x, w, n, center);
    sn_two_sum(&m->mean, &m->mean_lo, center, s1 / m->weight);
    sn_two_sum(&m->m2, &m->m2_lo, s2, -(s1 * (s1 / m->weight)));
    if (m->m2 < 0.0) m->m2 = m->m2_lo = 0.0;
}

SN_INLINE int ordinary(double magnitude, double weight) {
    return magnitude < 0x1p480 && magnitude >= 0x1p-400 && sn_weight_unit(weight) == 0;
}

static double magnitude_of(double min, double max) {
    double low = fabs(min), high = fabs(max);
    return low > high ? low : high;
}

/* Blocks with magnitudes or weights that leave the comfortable range, and blocks with infinities, go through copies in
 * units that suit them. */
static void moments_of_rare_block(sn_moments *m, sn_block_extrema *extrema, const double *x, const double *w,
                                  int64_t n) {
    double values[SN_BLOCK], weights[SN_BLOCK];
    double magnitude = 0.0, weight = 0.0, weight_lo = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        int infinite = isinf(x[i]) != 0;
        extrema->infinities += infinite;
        values[i] = infinite ? NAN : x[i];
        weights[i] = w[i];
        if (values[i] == values[i]) {
            count++;
            magnitude = fabs(x[i]) > magnitude ? fabs(x[i]) : magnitude;
            sn_weight_add(&weight, &weight_lo, w[i], 0.0);
        }
    }
    if (m == NULL || count == 0) return;
    int32_t unit = sn_weight_unit(weight);
    int32_t exponent = magnitude >= 0x1p480 ? SN_EXPONENT_LARGE : magnitude < 0x1p-400 ? SN_EXPONENT_SMALL : 0;
    double shift = NAN;
    for (int64_t i = 0; i < n; i++) {
        values[i] = ldexp(values[i], -exponent);
        weights[i] = ldexp(weights[i], -unit);
        if (shift != shift) shift = values[i];
    }
    sn_block_extrema unused;
    sn_moments block;
    double sum = first_pass(&unused, values, weights, n, shift);
    weight_pass(&block.weight, &block.weight_lo, values, weights, n);
    block_moments(&block, values, weights, n, shift + sum / block.weight);
    block.count = count;
    block.exponent = exponent;
    block.weight = weight;
    block.weight_lo = weight_lo;
    sn_two_sum(&block.mean, &block.mean_lo, ldexp(block.mean, exponent), ldexp(block.mean_lo, exponent));
    sn_moments_merge(m, &block);
}

void sn_moments_update_block_weighted(sn_moments *m, sn_block_extrema *extrema, double *weight, double *weight_lo,
                                      const double *x, const double *w, int64_t n) {
    int64_t first = 0;
    while (first < n && x[first] != x[first]) first++;
    double shift = first < n ? x[first] : 0.0;
    double sum = first_pass(extrema, x, w, n, shift);
    weight_pass(weight, weight_lo, x, w, n);
    extrema->infinities = 0;
    if (extrema->nans == n) return;
    double magnitude = magnitude_of(extrema->min, extrema->max);
    if (SN_UNLIKELY(!ordinary(magnitude, *weight))) {
        if (m != NULL || isinf(magnitude)) moments_of_rare_block(m, extrema, x, w, n);
        return;
    }
    if (m == NULL) return;
    sn_moments block;
    block.count = n - extrema->nans;
    block.weight = *weight;
    block.weight_lo = *weight_lo;
    block_moments(&block, x, w, n, shift + sum / *weight);
    block.exponent = 0;
    sn_moments_merge(m, &block);
}
