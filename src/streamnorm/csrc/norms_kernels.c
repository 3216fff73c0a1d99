/* See norms_kernels.h. The loops are written once, in norms_typed.h, and compiled for both types.
 *
 * Design: statistics are sums of doubles of differences of doubles, whatever the type. What is then done to each value
 * is arithmetic of the type, sixteen float32 to a register where there are eight doubles; that is half the time of
 * what is not limited by memory. From a float32 x is subtracted not its mean but a center, a number near the mean with
 * few digits: the difference is exact or its error has no preferred sign, so that `randn * 0.01 + 100` keeps all its
 * digits and a sum over millions of values is not off by as many times the rounding of the mean. What is left, mean -
 * center, goes into the constant of each expression. Products of gradients are summed in float32 for a few terms, and
 * those sums in double. Coefficients that a float32 cannot hold well, of data near the ends of its range, go another
 * way: the same expressions in double, value by value.
 */
#include "norms_kernels.h"

#include <math.h>
#include <string.h>

/* Eight doubles, or sixteen floats, at any address of one: one AVX-512 register, two of AVX2, four of the baseline.
 * Compilers lower them for each clone, which they do better than they find vectors in loops over lanes. */
#define WIDTH 8
typedef double doubles __attribute__((vector_size(64), aligned(8), may_alias));
typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));

#define AT(p) (*(const VECTOR *)(p))
#define DOUBLES_AT(p) (*(doubles *)(p))

/* Macros, because what a vector is when it is passed to a function differs between instruction sets. */
#define WIDEN(p)                                                                                                      \
    __extension__({                                                                                                   \
        double lanes_[WIDTH];                                                                                         \
        for (int k_ = 0; k_ < WIDTH; k_++) lanes_[k_] = (double)(p)[k_];                                              \
        *(doubles *)lanes_;                                                                                           \
    })

/* A vector of the type added to LANES doubles at p, or to a vector of doubles. */
#define ADD_TO_float(p, v)                                                                                            \
    do {                                                                                                              \
        float terms_[2 * WIDTH];                                                                                      \
        *(floats *)terms_ = (v);                                                                                      \
        DOUBLES_AT(p) += WIDEN(terms_);                                                                               \
        DOUBLES_AT((p) + WIDTH) += WIDEN(terms_ + WIDTH);                                                             \
    } while (0)
#define ADD_TO_double(p, v) (DOUBLES_AT(p) += (v))
#define ADD_UP_float(sum, v)                                                                                          \
    do {                                                                                                              \
        float terms_[2 * WIDTH];                                                                                      \
        *(floats *)terms_ = (v);                                                                                      \
        (sum) += WIDEN(terms_);                                                                                       \
        (sum) += WIDEN(terms_ + WIDTH);                                                                               \
    } while (0)
#define ADD_UP_double(sum, v) ((sum) += (v))

/* Stores into aligned memory that go past the caches. Sixteen bytes at a time, which every x86-64 has; the processor
 * puts lines together. They are not ordered with what comes after them, such as another thread's being told. */
#if defined(__SSE2__)
#include <emmintrin.h>
#define STREAM(p, v)                                                                                                  \
    do {                                                                                                              \
        VECTOR out_ = (v);                                                                                            \
        for (int k_ = 0; k_ < 4; k_++)                                                                                \
            _mm_stream_si128((__m128i *)(p) + k_, _mm_loadu_si128((const __m128i *)&out_ + k_));                      \
    } while (0)
#define STREAM_END() _mm_sfence()
#else
#define STREAM(p, v) (*(VECTOR *)(p) = (v))
#define STREAM_END() (void)0
#endif
#define STREAM_ALIGNMENT 16
#define FETCH(p) __builtin_prefetch(p)
#define FETCH_BYTES 8192

/* to[i] for all i from 0 to n, `vectors` and `value` being expressions of i for LANES of them and for one. */
#define FILL(to, n, stream, vectors, value)                                                                           \
    do {                                                                                                              \
        int64_t i = 0;                                                                                                \
        if (stream) {                                                                                                 \
            for (; i < (n) && (uintptr_t)((to) + i) % STREAM_ALIGNMENT != 0; i++) (to)[i] = (REAL)(value);            \
            for (; i + LANES <= (n); i += LANES) STREAM((to) + i, vectors);                                           \
        }                                                                                                             \
        for (; i + LANES <= (n); i += LANES) *(VECTOR *)((to) + i) = (vectors);                                       \
        for (; i < (n); i++) (to)[i] = (REAL)(value);                                                                 \
    } while (0)

/* y from hat, which is HAT of x, with a row's weight and bias where it has them. */
#define FILL_ROW(HAT)                                                                                                 \
    do {                                                                                                              \
        if (weight != NULL && bias != NULL)                                                                           \
            FILL(y, n, stream, (FETCH(x + i + ahead), HAT(AT(x + i)) * AT(weight + i) + AT(bias + i)),                \
                 HAT(x[i]) * weight[i] + bias[i]);                                                                    \
        else if (weight != NULL)                                                                                      \
            FILL(y, n, stream, (FETCH(x + i + ahead), HAT(AT(x + i)) * AT(weight + i)), HAT(x[i]) * weight[i]);       \
        else if (bias != NULL)                                                                                        \
            FILL(y, n, stream, (FETCH(x + i + ahead), HAT(AT(x + i)) + AT(bias + i)), HAT(x[i]) + bias[i]);           \
        else                                                                                                          \
            FILL(y, n, stream, (FETCH(x + i + ahead), HAT(AT(x + i))), HAT(x[i]));                                    \
    } while (0)

/* What may be left of the mean, in standard deviations: a quarter of what float32 has between two numbers near 1. */
#define NOTHING 0x1p-26

typedef double half_of_doubles __attribute__((vector_size(32)));
typedef double quarter_of_doubles __attribute__((vector_size(16)));

/* In halves, which are added as vectors. */
#define SUM(v)                                                                                                        \
    __extension__({                                                                                                   \
        doubles s_ = (v);                                                                                             \
        half_of_doubles h_ = (half_of_doubles){s_[0], s_[1], s_[2], s_[3]} +                                          \
                             (half_of_doubles){s_[4], s_[5], s_[6], s_[7]};                                           \
        quarter_of_doubles q_ = (quarter_of_doubles){h_[0], h_[1]} + (quarter_of_doubles){h_[2], h_[3]};              \
        q_[0] + q_[1];                                                                                                \
    })

#define ROWS_BYTES 16384 /* see rows_together */
#define MAX_ROWS 16
#define SHORT_ROW 4096 /* bytes; longer ones gain more by being fetched ahead than they lose by being set up */
#define ROWS_AT_ONCE 4 /* of columns, so that a sum is loaded and stored once for as many rows */
#define TERMS 4        /* that are summed in the type before the sum goes to one in double */

/* The mean, rounded to a multiple of a thousandth of the standard deviation or so; as it is where a float32 holds it,
 * so that a constant row is equal to it. Adding and subtracting 1.5 * 2^52 * p rounds to a multiple of p, a power of
 * two. */
SN_INLINE float center_float32(double mean, double rstd) {
    union {
        double value;
        uint64_t bits;
    } r = {rstd}, grid;
    grid.bits = ((uint64_t)(2 * 1023 + 42) << 52) - (r.bits & (UINT64_C(0x7ff) << 52));
    grid.bits |= UINT64_C(1) << 51;
    double rounded = (mean + grid.value) - grid.value;
    return (double)(float)mean == mean ? (float)mean : (float)rounded;
}

/* What a sum of products with x - center has too much; not where infinities make it infinite. */
#define LEFT_OVER(off, sum) (isfinite(sum) ? (off) * (sum) : 0.0)

/* Coefficients that a float32 holds with all its digits, and products of which stay in range. */
SN_INLINE int fits_float32(double c) { return (c == 0.0) | ((fabs(c) > 1e-30) & (fabs(c) < 1e30)); }

/* See sn_statistics_from_sums, which is this for several instruction sets. */
SN_INLINE int statistics_from_sums(double *restrict mean, double *restrict rstd, double *restrict variance,
                                   const double *restrict s1, const double *restrict s2, int64_t count, double n,
                                   double eps) {
    int good = 1;
    for (int64_t j = 0; j < count; j++) {
        double offset = s1[j] / n, square = s2[j] / n;
        double v = square - offset * offset;
        mean[j] += offset;
        variance[j] = v < 0.0 ? 0.0 : v;
        good &= (v * SN_CANCELLATION >= square) & (fabs(mean[j]) < (double)INFINITY);
    }
    for (int64_t j = 0; j < count; j++) rstd[j] = 1.0 / sqrt(variance[j] + eps);
    return good;
}

SN_CLONES int sn_statistics_from_sums(double *mean, double *rstd, double *variance, const double *s1, const double *s2,
                                      int64_t count, double n, double eps) {
    return statistics_from_sums(mean, rstd, variance, s1, s2, count, n, eps);
}

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(name) PASTE(name, SUFFIX)
#define ADD_TO(p, v) PASTE(ADD_TO, REAL)(p, v)
#define ADD_UP(sum, v) PASTE(ADD_UP, REAL)(sum, v)

#define REAL float
#define SUFFIX float32
#define VECTOR floats
#define LANES 16
#define CENTER(mean, rstd) center_float32(mean, rstd)
#define LESS(v, off) ((v) - (off))
#define FITS(c) fits_float32(c)
#include "norms_typed.h"
#undef REAL
#undef SUFFIX
#undef VECTOR
#undef LANES
#undef CENTER
#undef LESS
#undef FITS

#define REAL double
#define SUFFIX float64
#define VECTOR doubles
#define LANES 8
#define CENTER(mean, rstd) (mean)
#define LESS(v, off) ((void)(off), (v))
#define FITS(c) 1
#include "norms_typed.h"
