/* Rows of numbers to unit length, by the l2, the l1 or the maximum norm. See unit.c. */
#ifndef SN_UNIT_H
#define SN_UNIT_H

#include "load.h"

typedef enum { SN_NORM_L2, SN_NORM_L1, SN_NORM_MAX } sn_norm;

/* Where rows lie in an array of values. Owned by the caller. */
typedef struct {
    const void *offsets; /* n + 1 of them, ascending: where each row begins, and where the last one ends; NULL: by size */
    int32_t width;       /* of an offset: 4 or 8 bytes */
    int64_t size;        /* values a row, where there are no offsets */
    int64_t n;
} sn_rows;

/* `validity` is of the values (NULL: all are there), from bit `bit` on. `out` has the values' positions; what no row
 * holds is left alone, and what is null or NaN comes out as NaN. It may be `x`. Returns -1, or the first row that holds
 * an infinity, which nothing can bring to unit length; rows behind it are not written. */
int64_t sn_unit_rows_float64(double *out, const double *x, const uint8_t *validity, int64_t bit, const sn_rows *rows,
                             sn_norm norm);
int64_t sn_unit_rows_float32(float *out, const float *x, const uint8_t *validity, int64_t bit, const sn_rows *rows,
                             sn_norm norm);

#endif
