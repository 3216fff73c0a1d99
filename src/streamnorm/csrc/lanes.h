/* What the passes over a block of moments.c and weighted_moments.c share: lanes, and sums that keep their rounding.
 *
 * The number of lanes and the order in which they are added up are fixed, so that every processor gives the same bits.
 * Two-sum: Knuth, TAOCP vol. 2, 4.2.2.
 */
#ifndef SN_LANES_H
#define SN_LANES_H

#include "sn_common.h"

#define SN_LANES 32

/* hi + lo == a + b, hi being the rounded sum. */
SN_INLINE void sn_two_sum(double *hi, double *lo, double a, double b) {
    double s = a + b;
    double t = s - a;
    *lo = (a - (s - t)) + (b - t);
    *hi = s;
}

/* The sum of SN_LANES numbers, which are used up. */
SN_INLINE double sn_sum_lanes(double *lane) {
    for (int width = SN_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    return lane[0];
}

#endif
