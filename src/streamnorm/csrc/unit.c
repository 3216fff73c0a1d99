/* See unit.h. y = x / norm(x), row by row; a row of zeros stays as it is, nulls and NaN count in no norm.
 *
 * Sums are kept in double, in LANES lanes. With n values, a norm's relative error is at most (n / LANES + LANES + 2)
 * units of 2^-53, and a result's one unit of its type more; below the smallest normal number, one denormal unit.
 *
 * Squares of doubles overflow beyond 2^511 and lose digits below 2^-511. A row whose largest magnitude is outside of
 * [2^-480, 2^480] is multiplied by a power of two first, which is exact but for values that would vanish beside the
 * largest (as in Blue, "A portable Fortran program to find the Euclidean norm of a vector", 1978, but by row: the
 * largest magnitude is known from the pass that looks for infinities). Squares of floats need none of this in double.
 *
 * Does not take integers: the caller makes doubles of them.
 */
#include "unit.h"

#include <math.h>
#include <string.h>

enum { LANES = 8 };

SN_INLINE int64_t row_start(const sn_rows *rows, int64_t i) {
    if (rows->offsets == NULL) return i * rows->size;
    return rows->width == 4 ? ((const int32_t *)rows->offsets)[i] : ((const int64_t *)rows->offsets)[i];
}

#define DEFINE_UNIT_ROWS(name, real)                                                                                  \
    /* The largest magnitude, 0 without a number. What is null was made NaN before, which all loops pass over. */    \
    SN_CLONES static double largest_##name(const real *x, int64_t n) {                                                \
        double largest[LANES] = {0};                                                                                  \
        int64_t i = 0;                                                                                                \
        for (; i + LANES <= n; i += LANES)                                                                            \
            for (int k = 0; k < LANES; k++) {                                                                         \
                double a = fabs((double)x[i + k]);                                                                    \
                largest[k] = a > largest[k] ? a : largest[k]; /* comparisons with NaN are false */                    \
            }                                                                                                         \
        for (; i < n; i++) {                                                                                          \
            double a = fabs((double)x[i]);                                                                            \
            largest[0] = a > largest[0] ? a : largest[0];                                                             \
        }                                                                                                             \
        for (int k = 1; k < LANES; k++) largest[0] = largest[k] > largest[0] ? largest[k] : largest[0];               \
        return largest[0];                                                                                            \
    }                                                                                                                 \
    SN_CLONES static double sum_##name(const real *x, double up, double more, int squares, int64_t n) {               \
        double sum[LANES] = {0};                                                                                      \
        int64_t i = 0;                                                                                                \
        for (; i + LANES <= n; i += LANES)                                                                            \
            for (int k = 0; k < LANES; k++) {                                                                         \
                double a = fabs((double)x[i + k] * up * more);                                                        \
                a = a == a ? a : 0.0;                                                                                 \
                sum[k] += squares ? a * a : a;                                                                        \
            }                                                                                                         \
        for (; i < n; i++) {                                                                                          \
            double a = fabs((double)x[i] * up * more);                                                                \
            a = a == a ? a : 0.0;                                                                                     \
            sum[0] += squares ? a * a : a;                                                                            \
        }                                                                                                             \
        for (int k = 1; k < LANES; k++) sum[0] += sum[k];                                                             \
        return sum[0];                                                                                                \
    }                                                                                                                 \
    SN_CLONES static void divide_##name(real *out, const real *x, double up, double more, double norm, int64_t n) {   \
        for (int64_t i = 0; i < n; i++) out[i] = (real)((double)x[i] * up * more / norm);                             \
    }                                                                                                                 \
    int64_t sn_unit_rows_##name(real *out, const real *x, const uint8_t *validity, int64_t bit, const sn_rows *rows,  \
                                sn_norm norm) {                                                                       \
        for (int64_t i = 0; i < rows->n; i++) {                                                                       \
            int64_t start = row_start(rows, i), n = row_start(rows, i + 1) - start;                                   \
            const real *row = x + start;                                                                              \
            real *to = out + start;                                                                                   \
            if (validity != NULL) {                                                                                   \
                for (int64_t j = 0; j < n; j++) to[j] = sn_bit(validity, bit + start + j) ? row[j] : (real)NAN;       \
                row = to;                                                                                             \
            }                                                                                                         \
            double largest = largest_##name(row, n), length = largest, up = 1.0, more = 1.0;                          \
            if (largest == INFINITY) return i;                                                                        \
            if (largest == 0.0) {                                                                                     \
                if (row != to) memmove(to, row, (size_t)n * sizeof(real));                                            \
                continue;                                                                                             \
            }                                                                                                         \
            if (norm != SN_NORM_MAX) {                                                                                \
                if (largest > 0x1p480 || largest < 0x1p-480) {                                                        \
                    int exponent = -ilogb(largest); /* up to 1074: one power of two would overflow */                 \
                    up = ldexp(1.0, exponent / 2);                                                                    \
                    more = ldexp(1.0, exponent - exponent / 2);                                                       \
                }                                                                                                     \
                length = sum_##name(row, up, more, norm == SN_NORM_L2, n);                                            \
                if (norm == SN_NORM_L2) length = sqrt(length);                                                        \
            }                                                                                                         \
            divide_##name(to, row, up, more, length, n);                                                              \
        }                                                                                                             \
        return -1;                                                                                                    \
    }

DEFINE_UNIT_ROWS(float64, double)
DEFINE_UNIT_ROWS(float32, float)
