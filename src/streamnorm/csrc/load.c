/* See load.h. Each conversion is exact or rounded once; what stands under a null bit is never looked at.
 *
 * Design: one L1-sized block of doubles is the common currency of all kernels, so that eleven types times four
 * statistics are eleven loaders and four kernels. Turned down: kernels instantiated per type, which would save the
 * store and load of a block that never leaves L1 and cost a binary ten times the size.
 */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t sn_type_width(sn_type type) {
    switch (type) {
    case SN_INT8: case SN_UINT8: case SN_BOOL8: return 1;
    case SN_INT16: case SN_UINT16: case SN_FLOAT16: return 2;
    case SN_INT32: case SN_UINT32: case SN_FLOAT32: case SN_DECIMAL32: return 4;
    case SN_INT64: case SN_UINT64: case SN_FLOAT64: case SN_DECIMAL64: return 8;
    case SN_DECIMAL128: return 16;
    case SN_BOOL: return 0;
    }
    return 0;
}

int sn_type_is_decimal(sn_type type) {
    return type == SN_DECIMAL32 || type == SN_DECIMAL64 || type == SN_DECIMAL128;
}

int sn_type_is_integer(sn_type type) {
    return !(type == SN_FLOAT16 || type == SN_FLOAT32 || type == SN_FLOAT64);
}

double sn_half_to_double(uint16_t half) {
    int exponent = (half >> 10) & 31;
    int fraction = half & 1023;
    double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? fraction * 0x1p-24
                                       : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

uint16_t sn_double_to_half(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    uint16_t sign = (uint16_t)((bits >> 48) & 0x8000);
    if (x != x) return sign | 0x7e00;
    double magnitude = fabs(x);
    if (magnitude >= 65520.0) return sign | 0x7c00; /* half way between the largest half and the next power of two */
    /* Adding 2^52 times the unit in the last place rounds to that place, ties to even; below 2^-14 it is 2^-24. */
    int exponent = magnitude < 0x1p-14 ? -14 : ilogb(magnitude);
    double unit = ldexp(1.0, exponent - 10);
    double big = 0x1p52 * unit;
    double rounded = (magnitude + big) - big;
    uint32_t units = (uint32_t)(rounded / unit);
    if (exponent == -14) return sign | (uint16_t)units; /* subnormals, and 1024 units are the first normal */
    return sign | (uint16_t)(((uint32_t)(exponent + 15) << 10) + (units - 1024));
}

double sn_decimal_to_double(sn_int128 unscaled, int32_t scale) {
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const sn_int128 exact = (sn_int128)1 << 53;
    if (unscaled >= -exact && unscaled <= exact && scale >= -22 && scale <= 22) /* both operands exact: one rounding */
        return scale >= 0 ? (double)unscaled / power[scale] : (double)unscaled * power[-scale];
    /* "<digits>e<-scale>" has no decimal point, so strtod reads it alike in every locale, and rounds once. */
    char text[64], digits[48];
    int n = 0;
    sn_uint128 rest = unscaled < 0 ? -(sn_uint128)unscaled : (sn_uint128)unscaled;
    do digits[n++] = (char)('0' + (int)(rest % 10)); while ((rest /= 10) != 0);
    int m = 0;
    if (unscaled < 0) text[m++] = '-';
    while (n > 0) text[m++] = digits[--n];
    snprintf(text + m, sizeof text - (size_t)m, "e%d", -scale);
    return strtod(text, NULL);
}

/* Copies n strided values of `width` bytes to a contiguous buffer. */
static void gather(void *out, const char *values, int64_t stride, int64_t width, int64_t n) {
    char *to = out;
    switch (width) {
    case 8: for (int64_t i = 0; i < n; i++) memcpy(to + 8 * i, values + i * stride, 8); break;
    case 4: for (int64_t i = 0; i < n; i++) memcpy(to + 4 * i, values + i * stride, 4); break;
    case 2: for (int64_t i = 0; i < n; i++) memcpy(to + 2 * i, values + i * stride, 2); break;
    case 1: for (int64_t i = 0; i < n; i++) to[i] = values[i * stride]; break;
    default: for (int64_t i = 0; i < n; i++) memcpy(to + width * i, values + i * stride, (size_t)width);
    }
}

/* NaN where the bit is 0: all bits set are a NaN, so `or` with bit - 1 does it. The index is as wide as the word, or
 * the compiler finds no vector shift. */
SN_INLINE void mask_64(double *out, const double *x, uint64_t word) {
    for (uint64_t j = 0; j < 64; j++) {
        uint64_t value;
        memcpy(&value, x + j, sizeof value);
        value |= ((word >> j) & 1) - 1;
        memcpy(out + j, &value, sizeof value);
    }
}

/* out = x with NaN where null; out may be x. Returns the number of nulls. */
SN_CLONES static int64_t mask_nulls(double *out, const double *x, const uint8_t *validity, int64_t offset, int64_t n) {
    int64_t valid = 0, i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t word = sn_bits64(validity, offset + i);
        valid += __builtin_popcountll(word);
        mask_64(out + i, x + i, word);
    }
    for (; i < n; i++) {
        int bit = sn_bit(validity, offset + i);
        valid += bit;
        out[i] = bit ? x[i] : NAN;
    }
    return n - valid;
}

#define DEFINE_LOADER(name, type)                                                                                     \
    SN_CLONES static void load_##name(double *out, const type *x, int64_t n) {                                        \
        for (int64_t i = 0; i < n; i++) out[i] = (double)x[i];                                                        \
    }

DEFINE_LOADER(int8, int8_t)
DEFINE_LOADER(int16, int16_t)
DEFINE_LOADER(int32, int32_t)
DEFINE_LOADER(uint8, uint8_t)
DEFINE_LOADER(uint16, uint16_t)
DEFINE_LOADER(uint32, uint32_t)
DEFINE_LOADER(float32, float)

/* 64-bit integers whose doubles may be rounded also widen the exact extrema, value by value: such data is rare. */
#define DEFINE_WIDE_LOADER(name, type, magnitude)                                                                     \
    SN_CLONES static void load_##name(double *out, sn_int_extrema *extrema, const type *x, const uint8_t *validity,   \
                                      int64_t offset, int64_t n) {                                                    \
        uint64_t high = 0;                                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            out[i] = (double)x[i];                                                                                    \
            high |= (uint64_t)(magnitude);                                                                            \
        }                                                                                                             \
        if (SN_LIKELY(high >> 53 == 0)) return;                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            if (validity != NULL && !sn_bit(validity, offset + i)) continue;                                          \
            if (x[i] < extrema->min) extrema->min = x[i];                                                             \
            if (x[i] > extrema->max) extrema->max = x[i];                                                             \
        }                                                                                                             \
    }

/* Not the cheaper x ^ (x >> 63), which is -x - 1: it leaves out -2^53, where -2^53 - 1 rounds to as well. */
DEFINE_WIDE_LOADER(int64, int64_t, ((uint64_t)x[i] ^ (uint64_t)(x[i] >> 63)) - (uint64_t)(x[i] >> 63))
DEFINE_WIDE_LOADER(uint64, uint64_t, x[i])

static void load_decimal(double *out, sn_int_extrema *extrema, const sn_array *array, const char *values, int64_t width,
                         int64_t bit, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (array->validity != NULL && !sn_bit(array->validity, bit + i)) {
            out[i] = NAN;
            continue;
        }
        sn_int128 unscaled = 0;
        if (width == 16) {
            memcpy(&unscaled, values + 16 * i, 16);
        } else if (width == 8) {
            int64_t v;
            memcpy(&v, values + 8 * i, 8);
            unscaled = v;
        } else {
            int32_t v;
            memcpy(&v, values + 4 * i, 4);
            unscaled = v;
        }
        out[i] = sn_decimal_to_double(unscaled, array->scale);
        if (unscaled < extrema->min) extrema->min = unscaled;
        if (unscaled > extrema->max) extrema->max = unscaled;
    }
}

int64_t sn_load_block(double *out, sn_int_extrema *extrema, const sn_array *array, int64_t start, int64_t n) {
    _Alignas(64) char contiguous[SN_BLOCK * sizeof(double)];
    int64_t width = sn_type_width(array->type), bit = array->offset + start;
    const uint8_t *validity = array->validity;
    const char *values = (const char *)array->values;
    if (array->type != SN_BOOL) {
        values += start * array->stride;
        if (array->stride != width || (uintptr_t)values % (uintptr_t)(width < 8 ? width : 8) != 0) {
            /* Strided and unaligned arrays are NumPy's, whose types are no wider than a double. */
            gather(contiguous, values, array->stride, width, n);
            values = contiguous;
        }
    }
    switch (array->type) {
    case SN_INT8: load_int8(out, (const int8_t *)values, n); break;
    case SN_INT16: load_int16(out, (const int16_t *)values, n); break;
    case SN_INT32: load_int32(out, (const int32_t *)values, n); break;
    case SN_INT64: load_int64(out, extrema, (const int64_t *)values, validity, bit, n); break;
    case SN_UINT8: case SN_BOOL8: load_uint8(out, (const uint8_t *)values, n); break;
    case SN_UINT16: load_uint16(out, (const uint16_t *)values, n); break;
    case SN_UINT32: load_uint32(out, (const uint32_t *)values, n); break;
    case SN_UINT64: load_uint64(out, extrema, (const uint64_t *)values, validity, bit, n); break;
    case SN_FLOAT16:
        for (int64_t i = 0; i < n; i++) out[i] = sn_half_to_double(((const uint16_t *)values)[i]);
        break;
    case SN_FLOAT32: load_float32(out, (const float *)values, n); break;
    case SN_FLOAT64:
        if (validity != NULL) return mask_nulls(out, (const double *)values, validity, bit, n);
        memcpy(out, values, (size_t)n * sizeof(double));
        break;
    case SN_BOOL: {
        uint8_t *bytes = (uint8_t *)contiguous;
        for (int64_t i = 0; i < n; i++) bytes[i] = (uint8_t)sn_bit((const uint8_t *)array->values, bit + i);
        load_uint8(out, bytes, n);
        break;
    }
    case SN_DECIMAL32: case SN_DECIMAL64: case SN_DECIMAL128:
        load_decimal(out, extrema, array, values, width, bit, n);
        break;
    }
    return validity == NULL ? 0 : mask_nulls(out, out, validity, bit, n);
}
