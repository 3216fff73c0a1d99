/* Streaming count, mean and sum of squared deviations, with the extrema of the same pass.
 *
 * Computes, for the finite values seen so far, the count n, the mean as an unevaluated pair (mean + mean_lo) and
 * m2 = sum (x - mean)^2, itself a pair and in units of 4^exponent.
 *
 * Source of the method: Welford (1962), "Note on a method for calculating corrected sums of squares and products";
 * Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances": two
 * parts with (n, mean, m2) merge by
 *     delta = mean_b - mean_a,  mean = mean_a + delta n_b / n,  m2 = m2_a + m2_b + delta^2 n_a n_b / n.
 * One value, one block and one state go through the same merge. Two-sum: Knuth, TAOCP vol. 2, 4.2.2.
 *
 * Invariants
 *   - count == 0 implies mean == mean_lo == m2 == 0 and exponent == SN_EXPONENT_SMALL (which merges into any other).
 *   - |mean_lo| <= ulp(mean) / 2.
 *   - exponent is one of SN_EXPONENT_SMALL, 0, SN_EXPONENT_LARGE; it grows with the largest magnitude and never
 *     falls, so that (x - mean)^2 neither overflows nor underflows for any finite double.
 *   - m2 is also in units of 2^sn_weight_unit(weight), which is 2^0 for all but outlandish weights and for all counts.
 *
 * Values may have weights (weighted_moments.h); n in the formulas is then the sum of the weights, as in D. H. D. West
 * (1979), "Updating mean and variance estimates: an improved method". Without weights, `weight` equals `count`.
 *
 * It does not handle NaN policy or typed input: column.c turns Arrow arrays into blocks of doubles first.
 */
#ifndef SN_MOMENTS_H
#define SN_MOMENTS_H

#include "sn_common.h"

/* Rows a block holds: 16 kB of doubles, read twice from L1. Part of the definition of the result's bits. */
#define SN_BLOCK 2048

/* Magnitudes from 2^480 on are scaled by 2^-600 and those below 2^-400 by 2^600 before they are squared: with
 * |x| < 2^480 and n < 2^60, n (2x)^2 < 2^1022; with |x| >= 2^-400, a deviation of one ulp squared is >= 2^-906. */
#define SN_EXPONENT_LARGE 600
#define SN_EXPONENT_SMALL (-600)

typedef struct {
    int64_t count;
    double mean, mean_lo;
    double m2, m2_lo;
    int32_t exponent;
    double weight, weight_lo; /* sum of the weights, which are 1 unless given; weight_lo is 0 then */
} sn_moments;

/* The power of two in whose units m2 is, given the sum of the weights. W (2x)^2 < 2^1022 for W < 2^60 and |x| < 2^480;
 * from W = 2^-100 on, the square of one ulp, 2^-906, times W is no denormal. */
int32_t sn_weight_unit(double weight);

typedef struct {
    int64_t nans;       /* values of the block that are NaN (nulls come in as NaN, too) */
    int64_t infinities; /* values that are +inf or -inf: in the extrema, not in the moments */
    double min, max;    /* +inf, -inf when the block has no value */
} sn_block_extrema;

void sn_moments_init(sn_moments *m);
void sn_moments_merge(sn_moments *into, const sn_moments *from);

/* Merges the n <= SN_BLOCK values of x into m (which may be NULL: extrema alone) and says what was in them. */
void sn_moments_update_block(sn_moments *m, sn_block_extrema *extrema, const double *x, int64_t n);

double sn_moments_variance(const sn_moments *m, double ddof); /* NaN when count <= ddof; may be inf */
double sn_moments_std(const sn_moments *m, double ddof);      /* does not overflow where the variance does */

#endif
