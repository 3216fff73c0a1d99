/* The body of a Parquet data page of one flat float column: definition levels, values without the null slots,
 * and the minimum and maximum on the way.
 *
 * Levels are Parquet's "RLE / bit-packing hybrid" of bit width 1 (parquet-format, Encodings.md), one run: a
 * page without nulls, or of nothing else, is one run-length run; any other is one bit-packed run, whose bits
 * are Arrow's validity bitmap as it is, shifted to a byte boundary, with zeros behind the last row.
 *
 * Values go through in blocks that stay in the first-level cache: a block is compacted to where the page has
 * it and then read there for its extrema, so memory is read once and written once.
 *
 * Not here: compression, page headers, zero's sign and the other rules of Parquet's statistics (encode.py).
 */
#include "pages.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 1024 /* values between two looks at the extrema: 8 kB of doubles, a quarter of a small L1 */
};

void sn_page_stats_init(sn_page_stats *stats)
{
    stats->min = INFINITY;
    stats->max = -INFINITY;
    stats->count = 0;
    stats->nan_count = 0;
}

/* The next n <= 64 bits, the first in the lowest place, zeros above. */
SN_INLINE uint64_t bits_load(const uint8_t *bits, int64_t at, int n)
{
    const uint8_t *p = bits + (at >> 3);
    const int shift = (int)(at & 7);
    const int bytes = (shift + n + 7) >> 3;
    uint64_t word = 0;
    if (SN_LIKELY(bytes >= 8)) {
        memcpy(&word, p, 8);
        word >>= shift;
        if (bytes == 9)
            word |= (uint64_t)p[8] << (64 - shift);
    } else {
        for (int i = 0; i < bytes; i++)
            word |= (uint64_t)p[i] << (8 * i);
        word >>= shift;
    }
    return n < 64 ? word & ((UINT64_C(1) << n) - 1) : word;
}

SN_INLINE int min_int(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

SN_CLONES int64_t sn_bits_count(const uint8_t *bits, int64_t bit_offset, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += 64)
        count += __builtin_popcountll(bits_load(bits, bit_offset + i, min_int(n - i, 64)));
    return count;
}

SN_INLINE int varint_put(uint8_t *out, uint64_t value)
{
    int n = 0;
    for (; value > 0x7F; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

SN_INLINE uint64_t run_header(int64_t n, int64_t valid)
{
    if (valid == n || valid == 0)
        return (uint64_t)n << 1;
    return (uint64_t)((n + 7) >> 3) << 1 | 1;
}

int64_t sn_page_levels_bytes(int64_t n, int64_t valid)
{
    uint8_t header[10];
    const int bytes = varint_put(header, run_header(n, valid));
    return 4 + bytes + (valid == n || valid == 0 ? 1 : (n + 7) >> 3);
}

SN_CLONES void sn_page_levels_pack(uint8_t *out, const uint8_t *bits, int64_t bit_offset, int64_t n,
                                   int64_t valid)
{
    uint32_t length = (uint32_t)(sn_page_levels_bytes(n, valid) - 4);
    for (int i = 0; i < 4; i++)
        *out++ = (uint8_t)(length >> (8 * i));
    out += varint_put(out, run_header(n, valid));
    if (valid == n || valid == 0) {
        *out = valid != 0;
        return;
    }
    int64_t i = 0;
    for (; i + 64 <= n; i += 64, out += 8) {
        const uint64_t word = bits_load(bits, bit_offset + i, 64);
        memcpy(out, &word, 8);
    }
    if (i < n) {
        uint64_t word = bits_load(bits, bit_offset + i, (int)(n - i));
        for (; i < n; i += 8, word >>= 8)
            *out++ = (uint8_t)word;
    }
}

/* Extrema of a block of at most BLOCK values. A comparison with NaN is false, so NaN never enters a lane.
 *
 * Design: vectors by the compiler's extension, because GCC 12 unrolls a plain loop over 16 lanes before it looks
 * for vectors and then finds none (ten times slower). A comparison gives -1 where it is true. */
typedef double f64_lanes __attribute__((vector_size(64)));
typedef int64_t i64_lanes __attribute__((vector_size(64)));
typedef float f32_lanes __attribute__((vector_size(64)));
typedef int32_t i32_lanes __attribute__((vector_size(64)));

#define DEFINE_EXTREMA(NAME, T, V, I)                                                       \
    SN_INLINE void NAME(sn_page_stats *stats, const T *values, int n)                       \
    {                                                                                       \
        enum { WIDTH = sizeof(V) / sizeof(T) };                                             \
        T low = (T)INFINITY, high = (T)-INFINITY;                                           \
        V lo[2], hi[2];                                                                     \
        I nans[2] = {{0}};                                                                  \
        int64_t nan_count = 0;                                                              \
        int i = 0;                                                                          \
        for (int k = 0; k < 2; k++) {                                                       \
            lo[k] = (V){0} + low;                                                           \
            hi[k] = (V){0} + high;                                                          \
        }                                                                                   \
        for (; i + 2 * WIDTH <= n; i += 2 * WIDTH)                                          \
            for (int k = 0; k < 2; k++) {                                                   \
                V v;                                                                        \
                memcpy(&v, values + i + k * WIDTH, sizeof v);                               \
                const I less = v < lo[k], more = v > hi[k];                                 \
                lo[k] = (V)(((I)v & less) | ((I)lo[k] & ~less));                            \
                hi[k] = (V)(((I)v & more) | ((I)hi[k] & ~more));                            \
                nans[k] -= v != v;                                                          \
            }                                                                               \
        for (; i < n; i++) {                                                                \
            const T v = values[i];                                                          \
            low = v < low ? v : low;                                                        \
            high = v > high ? v : high;                                                     \
            nan_count += v != v;                                                            \
        }                                                                                   \
        for (int k = 0; k < 2; k++)                                                         \
            for (int l = 0; l < WIDTH; l++) {                                               \
                low = lo[k][l] < low ? lo[k][l] : low;                                      \
                high = hi[k][l] > high ? hi[k][l] : high;                                   \
                nan_count += nans[k][l];                                                    \
            }                                                                               \
        stats->min = low < stats->min ? low : stats->min;                                   \
        stats->max = high > stats->max ? high : stats->max;                                 \
        stats->nan_count += nan_count;                                                      \
        stats->count += n;                                                                  \
    }

DEFINE_EXTREMA(extrema_8, double, f64_lanes, i64_lanes)
DEFINE_EXTREMA(extrema_4, float, f32_lanes, i32_lanes)

/* binary16 bits <-> integers in the order of the values (-0 just below +0): negative ones have their
 * magnitude flipped. The map is its own inverse. */
SN_INLINE int16_t half_key(uint16_t bits)
{
    return (int16_t)(bits ^ (uint16_t)((uint16_t)((int16_t)bits >> 15) & 0x7FFF));
}

static double half_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = INFINITY;
    else if (exponent)
        magnitude = ldexp(1024 + fraction, exponent - 25);
    else
        magnitude = ldexp(fraction, -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

SN_INLINE void extrema_2(sn_page_stats *stats, const uint16_t *values, int n)
{
    const int16_t top = 0x7C00, bottom = half_key(0xFC00);
    int16_t lo = top, hi = bottom;
    int nans = 0;
    for (int i = 0; i < n; i++) {
        const int nan = (values[i] & 0x7FFF) > 0x7C00;
        const int16_t low = nan ? top : half_key(values[i]), high = nan ? bottom : half_key(values[i]);
        lo = low < lo ? low : lo;
        hi = high > hi ? high : hi;
        nans += nan;
    }
    const double min = half_value((uint16_t)half_key((uint16_t)lo));
    const double max = half_value((uint16_t)half_key((uint16_t)hi));
    stats->min = min < stats->min ? min : stats->min;
    stats->max = max > stats->max ? max : stats->max;
    stats->nan_count += nans;
    stats->count += n;
}

/* Append the values whose bit is set. Without branches on the bits: every value is stored, and the next one
 * overwrites it unless its bit was set, so out needs a slot behind the last valid one. */
#define DEFINE_PACK(NAME, T, EXTREMA)                                                                 \
    SN_CLONES void NAME(T *out, sn_page_stats *stats, const T *values, const uint8_t *bits,           \
                        int64_t bit_offset, int64_t n)                                                \
    {                                                                                                 \
        for (int64_t i = 0; i < n; i += BLOCK) {                                                      \
            const int rows = min_int(n - i, BLOCK);                                                   \
            const T *in = values + i;                                                                 \
            if (!out) {                                                                               \
                EXTREMA(stats, in, rows);                                                             \
                continue;                                                                             \
            }                                                                                         \
            int kept = 0;                                                                             \
            if (!bits) {                                                                              \
                memcpy(out, in, (size_t)rows * sizeof(T));                                            \
                kept = rows;                                                                          \
            }                                                                                         \
            for (int j = 0; bits && j < rows; j += 64) {                                              \
                const int width = min_int(rows - j, 64);                                              \
                uint64_t word = bits_load(bits, bit_offset + i + j, width);                           \
                if (word == UINT64_MAX) {                                                             \
                    memcpy(out + kept, in + j, 64 * sizeof(T));                                       \
                    kept += 64;                                                                       \
                } else if (word) {                                                                    \
                    for (int b = 0; b < width; b++, word >>= 1) {                                     \
                        out[kept] = in[j + b];                                                        \
                        kept += (int)(word & 1);                                                      \
                    }                                                                                 \
                }                                                                                     \
            }                                                                                         \
            EXTREMA(stats, out, kept);                                                                \
            out += kept;                                                                              \
        }                                                                                             \
    }

DEFINE_PACK(sn_page_pack_8, double, extrema_8)
DEFINE_PACK(sn_page_pack_4, float, extrema_4)
DEFINE_PACK(sn_page_pack_2, uint16_t, extrema_2)
