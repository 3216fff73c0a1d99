/* Exact sums of x and x^2 of a stream: the state from which mean and variance are rounded once, correctly.
 *
 * Both sums are fixed-point integers wide enough for any double: `sum` in units of 2^SN_SUM_EXPONENT and `squares` in
 * units of its square, in digits of 32 bits that are kept in 64 (carries are put off). An integer has no rounding, so
 * the bits of the state depend on the multiset of values alone: not on their order, on chunks, threads or merges.
 *
 * Source of the method: the long accumulator of Kulisch (Computer Arithmetic and Validity, 2008, ch. 8), with put-off
 * carries as in Collange, Defour, Graillat and Iakymchuk, "Numerical reproducibility for the parallel reduction on
 * multi- and many-core architectures" (Parallel Computing 49, 2015). What makes it fast is in exact.c.
 *
 * Decimals enter as their unscaled integers; the caller knows the scale.
 */
#ifndef SN_EXACT_H
#define SN_EXACT_H

#include "load.h"

/* Doubles are multiples of 2^-1074 below 2^1024, and there are fewer than 2^63: |sum| < 2^1087, squares < 2^2111.
 * Unscaled decimals are below 2^127. So 2176 and 4288 bits hold either sum, and the sign has a digit of its own. */
#define SN_SUM_EXPONENT (-1088)
#define SN_SUM_DIGITS 69
#define SN_SQUARES_DIGITS 135

typedef struct {
    int64_t additions; /* since the digits were normalized; each moves a digit by less than 2^34 */
    int64_t sum[SN_SUM_DIGITS];
    int64_t squares[SN_SQUARES_DIGITS];
} sn_exact;

void sn_exact_init(sn_exact *exact);

/* Adds the finite values of a block, n <= SN_BLOCK; NaN and infinities are passed over. `min` and `max` are those of
 * the finite values (of all: then at least one value is infinite). */
void sn_exact_add_block(sn_exact *exact, const double *x, int64_t n, double min, double max);

/* Adds values [start, start + n) of an array of integers or decimals, which doubles may not hold. */
void sn_exact_add_integers(sn_exact *exact, const sn_array *array, int64_t start, int64_t n);

void sn_exact_merge(sn_exact *into, const sn_exact *from);
void sn_exact_subtract(sn_exact *from, const sn_exact *part);

/* Two's complement, little-endian, 4 bytes a digit. Reading takes what writing gives. */
void sn_exact_write(unsigned char *sum, unsigned char *squares, const sn_exact *exact);
void sn_exact_read(sn_exact *exact, const unsigned char *sum, const unsigned char *squares);

/* Number of NaN, and extrema (+inf, -inf without values), of n <= SN_BLOCK values. */
void sn_block_extrema_scan(sn_block_extrema *extrema, const double *x, int64_t n);

#endif
