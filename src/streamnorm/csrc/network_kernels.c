/* See network_kernels.h. The loops are written once, in network_typed.h and network_losses_typed.h, and compiled for
 * both types; compilers make vectors of them.
 */
#include "network_kernels.h"

#include <math.h>
#include <string.h>

/* Iterations do not depend on each other, even where the result overwrites its input. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

#define LANES 8 /* that sums in double go to in turn */

SN_INLINE double sum_of_lanes(const double *lane) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Values of two vectors by their indexes in both, as in gemm.c. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (NAME(indexes)){__VA_ARGS__})
#endif

#define WORDS 256 /* of a generator, at a time */

SN_INLINE void lower_halves_first(uint32_t *words, const uint64_t *pairs) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(words, pairs, WORDS * sizeof *words);
#else
    for (int j = 0; j < WORDS / 2; j++) {
        words[2 * j] = (uint32_t)pairs[j];
        words[2 * j + 1] = (uint32_t)(pairs[j] >> 32);
    }
#endif
}

/* base^n by squaring, the same everywhere, which pow is not. */
SN_INLINE double power(double base, int64_t n) {
    double result = 1.0;
    for (; n > 0; n >>= 1, base *= base)
        if (n & 1) result *= base;
    return result;
}

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(name) PASTE(name, SUFFIX)

#define REAL double
#define SUFFIX float64
#define UINT uint64_t
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define EXP_LEAST (-746.0)
#define TANH_MOST 40.0
#define FABS(x) __builtin_fabs(x)
#define COPYSIGN(x, y) __builtin_copysign(x, y)
#define SQRT(x) __builtin_sqrt(x)
#define TURNED 2 /* values of 16 bytes, which every processor's vectors have */
#define INTERLEAVE_LOW(x, y) SHUFFLE(x, y, 0, 2)
#define INTERLEAVE_HIGH(x, y) SHUFFLE(x, y, 1, 3)
/* 1/2! + r/3! + r^2/4! + ... + r^11/13! */
#define EXP_POLYNOMIAL(r)                                                                                             \
    (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720 + r * (1.0 / 5040 +                     \
     r * (1.0 / 40320 + r * (1.0 / 362880 + r * (1.0 / 3628800 + r * (1.0 / 39916800 +                                \
     r * (1.0 / 479001600 + r * (1.0 / 6227020800.0))))))))))))
#include "network_math.h"
#include "network_losses.h"
#include "network_losses_typed.h"
#include "lstm_typed.h"
#include "network_typed.h"
#undef REAL
#undef SUFFIX
#undef UINT
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LEAST
#undef TANH_MOST
#undef FABS
#undef COPYSIGN
#undef SQRT
#undef TURNED
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
#undef EXP_POLYNOMIAL

#define REAL float
#define SUFFIX float32
#define UINT uint32_t
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define LN2_HIGH 0x1.63p-1f
#define LN2_LOW (-0x1.bd0106p-13f)
#define EXP_LEAST (-104.0f)
#define TANH_MOST 20.0f
#define FABS(x) __builtin_fabsf(x)
#define COPYSIGN(x, y) __builtin_copysignf(x, y)
#define SQRT(x) __builtin_sqrtf(x)
#define TURNED 4
#define INTERLEAVE_LOW(x, y) SHUFFLE(x, y, 0, 4, 1, 5)
#define INTERLEAVE_HIGH(x, y) SHUFFLE(x, y, 2, 6, 3, 7)
/* 1/2! + r/3! + ... + r^5/7! */
#define EXP_POLYNOMIAL(r)                                                                                             \
    (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040))))))
#include "network_math.h"
#include "network_losses_typed.h"
#include "lstm_typed.h"
#include "network_typed.h"
