/* Moments of a block of values with weights: what moments.h computes, with sums of weights in place of counts.
 *
 * Computes, for values x_i with weights w_i > 0, W = sum w_i as a pair, the mean sum w_i x_i / W and
 * m2 = sum w_i (x_i - mean)^2, by two passes over a block that stays in L1; blocks and states merge by
 * sn_moments_merge.
 *
 * Source: D. H. D. West (1979), "Updating mean and variance estimates: an improved method", for weights in Welford's
 * update; Chan, Golub, LeVeque (1979) for the merge and the two passes (see moments.h), which hold for weights as they
 * do for counts. Sums of weights are compensated after Knuth's two-sum (TAOCP vol. 2, 4.2.2).
 *
 * Weights scale: with all of them multiplied by a power of two, mean and variance have the same bits, as long as no
 * weight leaves the range of normal doubles.
 */
#ifndef SN_WEIGHTED_MOMENTS_H
#define SN_WEIGHTED_MOMENTS_H

#include "moments.h"
#include "weights.h"

/* Merges the values of x, n <= SN_BLOCK, that are not NaN into m (NULL: extrema and weights alone), and says what was
 * in them; *weight and *weight_lo become the sum of their weights, infinite values' included. Where x[i] is no NaN,
 * w[i] is positive and finite; the sum is at most SN_MAX_WEIGHT. */
void sn_moments_update_block_weighted(sn_moments *m, sn_block_extrema *extrema, double *weight, double *weight_lo,
                                      const double *x, const double *w, int64_t n);

#endif
