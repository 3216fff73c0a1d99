/* One column's stream: counts, moments, extrema, and the feed of a quantile sketch.
 *
 * The stream is cut into blocks of SN_BLOCK rows by row position alone: an open block waits in `block` until it is
 * full, wherever chunks end. So the bits of every statistic depend on the sequence of rows and of merges, not on how
 * the rows came in. Merging closes the open blocks of both sides.
 */
#ifndef SN_COLUMN_H
#define SN_COLUMN_H

#include "exact.h"
#include "kll.h"
#include "load.h"

typedef enum { SN_KIND_NONE, SN_KIND_FLOAT, SN_KIND_INTEGER, SN_KIND_DECIMAL } sn_kind;

/* What a column keeps once rows came with weights; all rows before them have weight 1. */
typedef struct {
    int32_t used;
    int64_t left_out;         /* rows whose weight is 0, which count in `rows` and nowhere else */
    double weight, weight_lo; /* sum of the weights of the values in closed blocks, as a pair */
    double *block;            /* of the rows in the open block; owned */
} sn_column_weights;

typedef struct sn_column {
    int64_t rows, nulls;
    int64_t no_value;       /* nulls, NaN and rows left out in closed blocks */
    int32_t nans_unknown;   /* extrema came without a count of NaN: no_value may be less than there are */
    int64_t infinities;     /* in closed blocks; among no_value, and of the open block as well, if they are skipped */
    int32_t skips_infinities; /* infinities are made NaN as they come in, which no statistic sees */
    sn_moments moments;     /* of closed blocks; finite values only */
    double min, max;        /* of closed blocks, as doubles */
    sn_int_extrema integer; /* exact where min and max may be rounded, see load.h */
    int32_t extrema_unknown; /* rows were taken out: min, max and integer may be of values that are gone */
    sn_kind kind;           /* of what was seen: integers turn into floats when both were */
    int32_t scale;          /* decimals: digits behind the point */
    int32_t has_moments;
    int64_t pending;        /* rows in `block`, less than SN_BLOCK */
    double *block;          /* owned; NULL until a chunk ends inside a block */
    sn_kll *sketch;         /* owned; NULL: no quantiles */
    sn_exact *exact;        /* owned; NULL: no exact sums. Instead of `moments`, and cut into blocks anyhow */
    sn_column_weights weights;
} sn_column;

void sn_column_init(sn_column *column, int has_moments, sn_kll *sketch);
sn_status sn_column_make_exact(sn_column *column); /* of a new one: collects exact sums */
void sn_column_release(sn_column *column);
sn_status sn_column_copy(sn_column *to, const sn_column *from); /* `to` is not initialized before */
sn_status sn_column_update(sn_column *column, const sn_array *array);
/* SN_ERR_INCOMPATIBLE: kinds that do not mix (a decimal with another scale), or different statistics. */
sn_status sn_column_merge(sn_column *into, const sn_column *from);
/* Closes the open block, so that moments, min, max and no_value speak of every row. */
void sn_column_close(sn_column *column);

/* Makes NaN of the infinities among n values and returns their number. */
int64_t sn_blank_infinities(double *x, int64_t n);

/* n rows of a type that is always null. */
void sn_column_update_nulls(sn_column *column, int64_t n);

/* Integer and decimal extrema, [0] the min and [1] the max, as halves of 128 bits; returns 0 when there are none. */
int sn_column_integer_extrema(const sn_column *column, int64_t *high, uint64_t *low);
void sn_column_set_integer_extrema(sn_column *column, const int64_t *high, const uint64_t *low);

/* Column j of the matrix goes to columns[j]; rows in cache-sized blocks. `first` describes column 0; the columns lie
 * `column_stride` bytes apart. */
sn_status sn_column_update_matrix(sn_column *const *columns, const sn_array *first, int64_t column_stride,
                                  int64_t n_columns);

/* The same with weights, one for each row: zero leaves the row out as if it were not there. They were checked to be
 * finite and not negative, and `total` is their sum. SN_ERR_WEIGHTS: with it, the column's weights sum to more than
 * SN_MAX_WEIGHT; nothing is taken then. */
sn_status sn_column_update_weighted(sn_column *column, const sn_array *array, const double *weights, double total);
sn_status sn_column_update_matrix_weighted(sn_column *const *columns, const sn_array *first, int64_t column_stride,
                                           int64_t n_columns, const double *weights, double total);
sn_status sn_column_update_nulls_weighted(sn_column *column, const double *weights, int64_t n);

/* Sum of the weights of the values in closed blocks, which is their number where no weights were given. */
double sn_column_weight(const sn_column *column);

/* Shared by column.c and column_weighted.c: the kind of the array's values, and what a column with weights does in
 * place of the function of that name, or for it. */
sn_status sn_column_make_room(sn_column *column, const sn_array *array);
sn_status sn_column_copy_weights(sn_column *to, const sn_column *from);
sn_status sn_column_update_by_ones(sn_column *column, const sn_array *array);
void sn_column_close_weighted(sn_column *column);
sn_status sn_column_merge_weights(sn_column *into, const sn_column *from); /* both closed, counts not yet added */

#endif
