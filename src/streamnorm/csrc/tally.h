/* What a description says of a column beside moments and quantiles, in one pass: zeros, whole numbers, order, distinct
 * values and skewness.
 *
 * Skewness. A block of SN_BLOCK rows has its mean and the sums of squares and cubes of the deviations from it; blocks
 * are merged by the formulas of Pébay, "Formulas for robust, one-pass parallel computation of covariances and
 * arbitrary-order statistical moments" (Sandia report SAND2008-6212). Blocks are cut by row position alone, as those of
 * column.h, so that the bits depend on the sequence of rows and of merges, not on how the rows came in.
 *
 * Nulls, NaN and infinities are in nothing that is said here.
 */
#ifndef SN_TALLY_H
#define SN_TALLY_H

#include "distinct.h"
#include "load.h"

typedef struct {
    int64_t count;
    double mean, mean_lo; /* an unevaluated pair, in units of 2^unit */
    double m2, m3;        /* sums of squares, cubes of deviations, in units of 4^unit, 8^unit */
    int32_t unit;
} sn_cubes;

typedef enum { SN_END_NONE, SN_END_FLOAT, SN_END_INTEGER, SN_END_DECIMAL } sn_end_kind;

/* A value that others may follow. */
typedef struct {
    sn_end_kind kind;
    int32_t scale;     /* of a decimal */
    double number;     /* the double nearest to it */
    sn_int128 integer; /* it, or its digits, unless it is a float */
} sn_end;

typedef struct {
    int64_t zeros;
    int32_t whole;        /* no value so far is anything but a whole number */
    int32_t rises, falls; /* no value so far is below, above the one before it */
    sn_end first, last;   /* of the values so far */
    sn_distinct distinct;
    sn_cubes cubes;  /* of closed blocks */
    int64_t pending; /* rows in `block`, less than SN_BLOCK */
    double *block;   /* owned; NULL until a chunk ends inside a block */
} sn_tally;

void sn_tally_init(sn_tally *tally);
void sn_tally_release(sn_tally *tally);
sn_status sn_tally_update(sn_tally *tally, const sn_array *array);
/* `from`, which is another one, came behind. It is left as it was; the open blocks of both end here. */
sn_status sn_tally_merge(sn_tally *into, const sn_tally *from);

/* m3 / m2^1.5, with the open block; NaN without spread. */
double sn_tally_skew(const sn_tally *tally);

#endif
