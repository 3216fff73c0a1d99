/* See moments.h for what is computed and from which papers.
 *
 * Design: two passes over a block that stays in L1. The first finds a value c near the mean, the second sums
 * d = x - c and d^2, so that mean = c + S1/n and m2 = S2 - S1^2/n without cancellation: c is within rounding of the
 * block's mean, whatever the data's offset. Turned down: Welford's update value by value (a division each, 5.7 ns a
 * value), and one pass with the block's first value as c (as fast, but loses digits when that value is an outlier).
 *
 * SN_LANES independent accumulators make the sums vectors of any width; their number is fixed, and so is the order in
 * which they are added up, so every processor gives the same bits.
 */
#include "moments.h"

#include <math.h>

#include "lanes.h"

SN_INLINE double min_of(double a, double b) { return a < b ? a : b; }
SN_INLINE double max_of(double a, double b) { return a > b ? a : b; }

SN_INLINE void first_pass_lane(double *sum, double *nans, double *min, double *max, double x, double shift) {
    *sum += x == x ? x - shift : 0.0;
    *nans += x == x ? 0.0 : 1.0;
    *min = x < *min ? x : *min;
    *max = x > *max ? x : *max;
}

/* Sum of x - shift, number of NaN, min and max. */
SN_CLONES static double first_pass(sn_block_extrema *extrema, const double *x, int64_t n, double shift) {
    double sum[SN_LANES], nans[SN_LANES], min[SN_LANES], max[SN_LANES];
    for (int j = 0; j < SN_LANES; j++) {
        sum[j] = nans[j] = 0.0;
        min[j] = INFINITY;
        max[j] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + SN_LANES <= n; i += SN_LANES)
        for (int j = 0; j < SN_LANES; j++) first_pass_lane(&sum[j], &nans[j], &min[j], &max[j], x[i + j], shift);
    for (int j = 0; i + j < n; j++) first_pass_lane(&sum[j], &nans[j], &min[j], &max[j], x[i + j], shift);
    for (int width = SN_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) {
            min[j] = min_of(min[j], min[j + width]);
            max[j] = max_of(max[j], max[j + width]);
        }
    extrema->min = min[0];
    extrema->max = max[0];
    extrema->nans = (int64_t)sn_sum_lanes(nans);
    return sn_sum_lanes(sum);
}

/* Sums of d = x - center and of d^2 over the values that are not NaN. The block itself is in L1 by now, so the
 * memory bus is free: ask for what most likely comes next, the block behind this one. */
SN_CLONES static void second_pass(double *s1, double *s2, const double *x, int64_t n, double center) {
    double sum[SN_LANES], square[SN_LANES];
    for (int j = 0; j < SN_LANES; j++) sum[j] = square[j] = 0.0;
    int64_t i = 0;
    for (; i + SN_LANES <= n; i += SN_LANES) {
        for (int line = 0; line < SN_LANES; line += 8)
            __builtin_prefetch((const void *)((uintptr_t)(x + i + line) + SN_BLOCK * sizeof *x));
        for (int j = 0; j < SN_LANES; j++) {
            double d = x[i + j] == x[i + j] ? x[i + j] - center : 0.0;
            sum[j] += d;
            square[j] += d * d;
        }
    }
    for (int j = 0; i + j < n; j++) {
        double d = x[i + j] == x[i + j] ? x[i + j] - center : 0.0;
        sum[j] += d;
        square[j] += d * d;
    }
    *s1 = sn_sum_lanes(sum);
    *s2 = sn_sum_lanes(square);
}

static int32_t exponent_for(double magnitude) {
    if (magnitude >= 0x1p480) return SN_EXPONENT_LARGE;
    return magnitude < 0x1p-400 ? SN_EXPONENT_SMALL : 0;
}

/* The moments of a block of finite or NaN values, `shift` being one of them, in units of 2^exponent. */
static void block_moments(sn_moments *m, const double *x, int64_t n, int64_t count, double approximate_mean) {
    double s1, s2;
    second_pass(&s1, &s2, x, n, approximate_mean);
    m->count = count;
    m->weight = (double)count;
    m->weight_lo = 0.0;
    sn_two_sum(&m->mean, &m->mean_lo, approximate_mean, s1 / (double)count);
    double excess = s1 * (s1 / (double)count);
    sn_two_sum(&m->m2, &m->m2_lo, s2, -excess);
    if (m->m2 < 0.0) m->m2 = m->m2_lo = 0.0;
}

/* Blocks with magnitudes whose squares leave the range of a double, and blocks with infinities, go through a copy. */
static void moments_of_rare_block(sn_moments *m, sn_block_extrema *extrema, const double *x, int64_t n) {
    double copy[SN_BLOCK];
    double magnitude = 0.0;
    int64_t infinities = 0, count = 0;
    for (int64_t i = 0; i < n; i++) {
        int infinite = isinf(x[i]) != 0; /* glibc's isinf has a sign */
        infinities += infinite;
        copy[i] = infinite ? NAN : x[i];
        if (copy[i] == copy[i]) {
            count++;
            magnitude = max_of(magnitude, fabs(copy[i]));
        }
    }
    extrema->infinities = infinities;
    if (m == NULL || count == 0) return;
    int32_t exponent = exponent_for(magnitude);
    double down = exponent == 0 ? 1.0 : exponent > 0 ? 0x1p-600 : 0x1p600;
    double shift = NAN;
    for (int64_t i = 0; i < n; i++) {
        copy[i] *= down;
        if (shift != shift) shift = copy[i];
    }
    sn_block_extrema unused;
    double sum = first_pass(&unused, copy, n, shift);
    sn_moments block;
    block_moments(&block, copy, n, count, shift + sum / (double)count);
    block.exponent = exponent;
    double up = exponent == 0 ? 1.0 : exponent > 0 ? 0x1p600 : 0x1p-600;
    sn_two_sum(&block.mean, &block.mean_lo, block.mean * up, block.mean_lo * up);
    sn_moments_merge(m, &block);
}

void sn_moments_update_block(sn_moments *m, sn_block_extrema *extrema, const double *x, int64_t n) {
    int64_t first = 0;
    while (first < n && x[first] != x[first]) first++;
    extrema->infinities = 0;
    double shift = first < n ? x[first] : 0.0;
    double sum = first_pass(extrema, x, n, shift);
    int64_t count = n - extrema->nans;
    if (count == 0) return;
    double magnitude = max_of(-extrema->min, extrema->max);
    magnitude = max_of(magnitude, max_of(extrema->min, -extrema->max));
    if (SN_UNLIKELY(!(magnitude < 0x1p480 && (magnitude >= 0x1p-400)))) {
        if (m != NULL || isinf(magnitude)) moments_of_rare_block(m, extrema, x, n);
        return;
    }
    if (m == NULL) return;
    sn_moments block;
    block_moments(&block, x, n, count, shift + sum / (double)count);
    block.exponent = 0;
    sn_moments_merge(m, &block);
}

void sn_moments_init(sn_moments *m) {
    m->count = 0;
    m->mean = m->mean_lo = m->m2 = m->m2_lo = 0.0;
    m->weight = m->weight_lo = 0.0;
    m->exponent = SN_EXPONENT_SMALL;
}

int32_t sn_weight_unit(double weight) {
    int exponent;
    if (weight == 0.0 || (weight >= 0x1p-100 && weight < 0x1p60)) return 0;
    frexp(weight, &exponent);
    return exponent;
}

/* m2 in units of 4^exponent 2^unit, where it was in those of 4^m->exponent and of the present weight. */
static void raise_units(sn_moments *m, int32_t exponent, int32_t unit) {
    int32_t down = 2 * (m->exponent - exponent) + (sn_weight_unit(m->weight) - unit);
    m->exponent = exponent;
    if (down == 0) return;
    m->m2 = ldexp(m->m2, down);
    m->m2_lo = ldexp(m->m2_lo, down);
}

void sn_moments_merge(sn_moments *into, const sn_moments *from) {
    if (from->count == 0) return;
    if (into->count == 0) {
        *into = *from;
        return;
    }
    sn_moments b = *from;
    int32_t exponent = into->exponent > b.exponent ? into->exponent : b.exponent;
    double weight, weight_lo;
    sn_two_sum(&weight, &weight_lo, into->weight, b.weight);
    sn_two_sum(&weight, &weight_lo, weight, weight_lo + (into->weight_lo + b.weight_lo));
    int32_t unit = sn_weight_unit(weight);
    raise_units(into, exponent, unit);
    raise_units(&b, exponent, unit);
    /* In scaled units, so that the difference of +-1.7e308 does not overflow. */
    double down = exponent == 0 ? 1.0 : exponent > 0 ? 0x1p-600 : 0x1p600;
    double up = exponent == 0 ? 1.0 : exponent > 0 ? 0x1p600 : 0x1p-600;
    double na = into->weight, nb = b.weight, n = weight;
    double delta = (b.mean * down - into->mean * down) + (b.mean_lo * down - into->mean_lo * down);
    double step = delta * (nb / n) * up;
    double hi, lo;
    sn_two_sum(&hi, &lo, into->mean, step);
    sn_two_sum(&into->mean, &into->mean_lo, hi, lo + into->mean_lo);
    if (unit != 0) na = ldexp(na, -unit);
    double between = delta * delta * (na * (nb / n));
    double carry, carry2;
    sn_two_sum(&hi, &carry, into->m2, b.m2);
    sn_two_sum(&hi, &carry2, hi, between);
    sn_two_sum(&into->m2, &into->m2_lo, hi, carry + carry2 + into->m2_lo + b.m2_lo);
    into->count += b.count;
    into->weight = weight;
    into->weight_lo = weight_lo;
}

/* The divisor of m2, in the units that it is in. */
static double degrees_of_freedom(const sn_moments *m, double ddof) {
    double n = (m->weight - ddof) + m->weight_lo;
    int32_t unit = sn_weight_unit(m->weight);
    return unit == 0 ? n : ldexp(n, -unit);
}

double sn_moments_variance(const sn_moments *m, double ddof) {
    double n = degrees_of_freedom(m, ddof);
    if (!(n > 0.0)) return NAN;
    return ldexp(m->m2 / n, 2 * m->exponent);
}

double sn_moments_std(const sn_moments *m, double ddof) {
    double n = degrees_of_freedom(m, ddof);
    if (!(n > 0.0)) return NAN;
    return ldexp(sqrt(m->m2 / n), m->exponent);
}
