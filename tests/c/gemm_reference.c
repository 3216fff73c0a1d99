/* What gemm.h says of each element, one at a time. `fused`: as processors with fused multiply-add compute it. */
#include "gemm.h"

#include <math.h>

static float fma_f32(float x, float y, float z) { return fmaf(x, y, z); }
static double fma_f64(double x, double y, double z) { return fma(x, y, z); }

#define TYPED(T, type)                                                                                     \
    void reference_##type(T *c, const T *a, const T *b, const sn_gemm *g, int fused) {                     \
        for (int64_t i = 0; i < g->m; i++)                                                                 \
            for (int64_t j = 0; j < g->n; j++) {                                                           \
                T *element = &c[i * g->c_row + j];                                                         \
                int is_there = g->add || g->bias != NULL;                                                  \
                if (!g->add) *element = g->bias != NULL ? ((const T *)g->bias)[j] : 0;                     \
                for (int64_t block = 0; block < g->k; block += SN_GEMM_BLOCK) {                            \
                    T sum = 0;                                                                             \
                    for (int64_t p = block; p < g->k && p < block + SN_GEMM_BLOCK; p++) {                  \
                        T x = a[i * g->a_row + p * g->a_col], y = b[p * g->b_row + j * g->b_col];          \
                        sum = fused ? fma_##type(x, y, sum) : sum + x * y;                                 \
                    }                                                                                      \
                    *element = is_there || block > 0 ? *element + sum : sum;                               \
                }                                                                                          \
            }                                                                                              \
    }

TYPED(float, f32)
TYPED(double, f64)
