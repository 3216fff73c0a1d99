/* Sums of weights, as unevaluated pairs of doubles: all but exact, so that they hardly depend on the order.
 *
 * Source: two-sum, Knuth, TAOCP vol. 2, 4.2.2. A pair (hi, lo) is hi + lo, with |lo| at most half an ulp of hi.
 */
#ifndef SN_WEIGHTS_H
#define SN_WEIGHTS_H

#include "sn_common.h"

SN_INLINE void sn_weight_add(double *hi, double *lo, double b, double b_lo) {
    double s = *hi + b, t = s - *hi;
    double rest = ((*hi - (s - t)) + (b - t)) + (*lo + b_lo);
    *hi = s + rest;
    *lo = rest - (*hi - s);
}

/* Sum and number of the positive weights among n; *bad becomes the first index at which a weight is negative, infinite
 * or NaN, and n if there is none. The sum is undefined if there is one, or if it overflows. */
int64_t sn_weights_sum(double *weight, double *weight_lo, int64_t *bad, const double *w, int64_t n);

/* How many of n weights are zero. */
int64_t sn_weights_zeros(const double *w, int64_t n);

/* x[i] = NaN where w[i] is zero, i < n. */
void sn_weights_blank(double *x, const double *w, int64_t n);

#endif
