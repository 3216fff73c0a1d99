/* The one transform: y = (x - center) / scale + offset, clipped and cast; and its inverse.
 *
 * Computed in double whatever the types, and rounded once more by the cast. NaN stays NaN. What stands under a null
 * bit is transformed like a value: the caller keeps the bitmap. Division, not multiplication by 1 / scale, so that
 * other systems that divide get the same bits.
 */
#ifndef SN_AFFINE_H
#define SN_AFFINE_H

#include "load.h"

typedef struct {
    double center, scale, offset;
    double low, high; /* clip bounds; -inf and +inf: none */
    int32_t inverse;  /* x = (y - offset) * scale + center; clip does not apply */
} sn_affine_map;

/* out: array->length contiguous values of type out_type (a float type); may be the array's own values. */
void sn_affine_array(void *out, sn_type out_type, const sn_array *array, const sn_affine_map *map);

/* Row-major matrices: element (i, j) uses map[j]. out is contiguous, n x d of out_type (SN_FLOAT32 or SN_FLOAT64). */
void sn_affine_rows_float64(double *out, const double *x, const sn_affine_map *map, double *scratch, int64_t n, int64_t d);
void sn_affine_rows_float32(float *out, const float *x, const sn_affine_map *map, double *scratch, int64_t n, int64_t d);

#endif
