/* From a typed Arrow (or strided NumPy) array to a block of doubles, nulls as NaN, with exact integer extrema. */
#ifndef SN_LOAD_H
#define SN_LOAD_H

#include "moments.h"

typedef enum {
    SN_INT8, SN_INT16, SN_INT32, SN_INT64,
    SN_UINT8, SN_UINT16, SN_UINT32, SN_UINT64,
    SN_FLOAT16, SN_FLOAT32, SN_FLOAT64,
    SN_BOOL,                                  /* one bit a value */
    SN_BOOL8,                                 /* one byte a value, as NumPy has it */
    SN_DECIMAL32, SN_DECIMAL64, SN_DECIMAL128 /* scaled integers */
} sn_type;

__extension__ typedef __int128 sn_int128;
__extension__ typedef unsigned __int128 sn_uint128;

/* One chunk of a column. Owned by the caller. */
typedef struct {
    sn_type type;
    int32_t scale;           /* decimals: the value is the integer divided by 10^scale */
    const void *values;      /* the first value; for SN_BOOL the bitmap, read from bit `offset` on */
    int64_t stride;          /* bytes from value to value; the type's width when contiguous; unused for SN_BOOL */
    const uint8_t *validity; /* bitmap, least significant bit first, 1 = valid; NULL: no nulls */
    int64_t offset;          /* bit of the first value in `validity` (and in an SN_BOOL bitmap) */
    int64_t length;
} sn_array;

/* Exact extrema where doubles are not exact: of the blocks of 64-bit integers that reach 2^53 in magnitude, and of
 * unscaled decimals; min > max while there are none. */
typedef struct {
    sn_int128 min, max;
} sn_int_extrema;

int64_t sn_type_width(sn_type type); /* bytes a value; 0 for SN_BOOL */
int sn_type_is_integer(sn_type type); /* integers, bool and decimals: the types with exact extrema */
int sn_type_is_decimal(sn_type type);

/* Writes values [start, start + n) of the array, n <= SN_BLOCK, as doubles to out, NaN where null; returns the number
 * of nulls. `extrema` is widened as said above. */
int64_t sn_load_block(double *out, sn_int_extrema *extrema, const sn_array *array, int64_t start, int64_t n);

/* The double nearest to unscaled / 10^scale. */
double sn_decimal_to_double(sn_int128 unscaled, int32_t scale);

double sn_half_to_double(uint16_t half);
uint16_t sn_double_to_half(double x); /* one rounding, to nearest even */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bitmaps are read as little-endian words"
#endif

SN_INLINE int sn_bit(const uint8_t *bitmap, int64_t offset) { return (bitmap[offset >> 3] >> (offset & 7)) & 1; }

/* 64 bits from bit `offset` of the bitmap; reads no byte that holds none of them. */
SN_INLINE uint64_t sn_bits64(const uint8_t *bitmap, int64_t offset) {
    const uint8_t *byte = bitmap + (offset >> 3);
    int shift = (int)(offset & 7);
    uint64_t word;
    __builtin_memcpy(&word, byte, 8);
    return shift == 0 ? word : (word >> shift) | ((uint64_t)byte[8] << (64 - shift));
}

#endif
