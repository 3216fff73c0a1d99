/* See affine.h. Contiguous doubles and floats go straight from input to output; every other type by a block in L1. */
#include "affine.h"

#include <math.h>

SN_INLINE double clip(double y, double low, double high) {
    y = y < low ? low : y; /* comparisons with NaN are false: NaN passes */
    return y > high ? high : y;
}

SN_INLINE int clips(const sn_affine_map *map) { return map->low > -INFINITY || map->high < INFINITY; }

#define DEFINE_AFFINE(name, out_t, in_t)                                                                              \
    SN_CLONES static void affine_##name(out_t *out, const in_t *x, const sn_affine_map *map, int64_t n) {             \
        double center = map->center, scale = map->scale, offset = map->offset, low = map->low, high = map->high;      \
        if (map->inverse)                                                                                             \
            for (int64_t i = 0; i < n; i++) out[i] = (out_t)(((double)x[i] - offset) * scale + center);               \
        else if (clips(map))                                                                                          \
            for (int64_t i = 0; i < n; i++)                                                                           \
                out[i] = (out_t)clip(((double)x[i] - center) / scale + offset, low, high);                            \
        else                                                                                                          \
            for (int64_t i = 0; i < n; i++) out[i] = (out_t)(((double)x[i] - center) / scale + offset);               \
    }

DEFINE_AFFINE(float64_float64, double, double)
DEFINE_AFFINE(float32_float32, float, float)
DEFINE_AFFINE(float32_float64, float, double)

void sn_affine_array(void *out, sn_type out_type, const sn_array *array, const sn_affine_map *map) {
    int64_t n = array->length, width = sn_type_width(array->type);
    int contiguous = array->type != SN_BOOL && array->stride == width && (uintptr_t)array->values % (uintptr_t)width == 0;
    if (contiguous && array->type == SN_FLOAT64 && out_type == SN_FLOAT64) {
        affine_float64_float64(out, array->values, map, n);
        return;
    }
    if (contiguous && array->type == SN_FLOAT32 && out_type == SN_FLOAT32) {
        affine_float32_float32(out, array->values, map, n);
        return;
    }
    _Alignas(64) double block[SN_BLOCK];
    sn_array values = *array;
    values.validity = NULL;
    if (array->type != SN_BOOL) values.offset = 0;
    sn_int_extrema unused = {0, 0};
    for (int64_t i = 0; i < n; i += SN_BLOCK) {
        int64_t m = n - i < SN_BLOCK ? n - i : SN_BLOCK;
        sn_load_block(block, &unused, &values, i, m);
        if (out_type == SN_FLOAT64) {
            affine_float64_float64((double *)out + i, block, map, m);
        } else if (out_type == SN_FLOAT32) {
            affine_float32_float64((float *)out + i, block, map, m);
        } else {
            affine_float64_float64(block, block, map, m);
            for (int64_t k = 0; k < m; k++) ((uint16_t *)out)[i + k] = sn_double_to_half(block[k]);
        }
    }
}

/* scratch: 5 d doubles, the maps' parameters laid out for vector loads. */
SN_INLINE void spread_maps(double *scratch, const sn_affine_map *map, int64_t d) {
    for (int64_t j = 0; j < d; j++) {
        scratch[j] = map[j].center;
        scratch[d + j] = map[j].scale;
        scratch[2 * d + j] = map[j].offset;
        scratch[3 * d + j] = map[j].low;
        scratch[4 * d + j] = map[j].high;
    }
}

#define DEFINE_AFFINE_ROWS(name, real)                                                                                \
    SN_CLONES void sn_affine_rows_##name(real *out, const real *x, const sn_affine_map *map, double *scratch,         \
                                         int64_t n, int64_t d) {                                                      \
        spread_maps(scratch, map, d);                                                                                 \
        const double *center = scratch, *scale = scratch + d, *offset = scratch + 2 * d;                              \
        const double *low = scratch + 3 * d, *high = scratch + 4 * d;                                                 \
        int inverse = d > 0 && map[0].inverse;                                                                        \
        for (int64_t i = 0; i < n; i++, x += d, out += d) {                                                           \
            if (inverse)                                                                                              \
                for (int64_t j = 0; j < d; j++) out[j] = (real)(((double)x[j] - offset[j]) * scale[j] + center[j]);   \
            else                                                                                                      \
                for (int64_t j = 0; j < d; j++)                                                                       \
                    out[j] = (real)clip(((double)x[j] - center[j]) / scale[j] + offset[j], low[j], high[j]);          \
        }                                                                                                             \
    }

DEFINE_AFFINE_ROWS(float64, double)
DEFINE_AFFINE_ROWS(float32, float)
