/* See exact.h for what is kept and from which papers.
 *
 * Design: adding 53-bit numbers to a long accumulator one by one takes some 5 ns. Here a block of 2,048 values is cut
 * into three slices on a grid that its largest magnitude M < 2^e sets, by adding and subtracting 1.5 * 2^52 units
 * (Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26(6), 2005; Rump's ExtractScalar):
 *     x = a + b + c,   a in units of 2^(e-24),  b of 2^(e-49),  c of 2^(e-74),   each at most 2^24 units,
 * so that every sum below is one of small integers, and exact in a double:
 *   - a, b and c: a power of two rounded to; x - a and x - a - b are exact, being multiples of the last bit of x that
 *     are no larger than x. |x - a| is at most half a unit of a, 2^24 units of b; the same holds from b to c.
 *   - a product of two slices is at most 2^48 units, and one of SN_LANES accumulators takes in SN_RUN / SN_LANES = 32
 *     of them before it is moved into an integer: 2^53 units, which a double just holds.
 *   - the integers: SN_BLOCK / SN_RUN = 8 times 2^53 in each of 8 lanes, added up over the lanes: 2^59. Shifted to a
 *     common exponent and added to each other they stay below 2^112 (of the sum: 2^35 units times 2^50).
 * A value with bits below the grid of c (c + big - big != c) is found in the same loop. Its run of 256 rows is done
 * again on a grid of its own, what is off that grid on a further one, and the last few values go to the accumulator
 * one by one. No multiplication or addition here ever rounds, so that contraction to fused multiply-add, vector width
 * and order change no bit.
 *
 * Turned down: slices of 28 bits in integer registers (the conversion costs what it saves); one accumulator a value
 * (5 ns); Demmel and Nguyen's binned sums, reproducible but rounded.
 *
 * An accumulator digit is 32 bits in an int64: an addition moves it by less than 2^34, and the digits are normalized
 * after 2^28 additions, at the latest: 2^62 + 2^32.
 */
#include "exact.h"

#include <math.h>
#include <string.h>

#define SN_LANES 8
#define SN_RUN 256 /* rows that the doubles add up before they are moved into integers */
#define FEW 32     /* values that are added one by one, as soon as on a grid of their own */
#define MAX_ADDITIONS ((int64_t)1 << 28)

/* The grids of blocks with magnitudes outside of these leave the range in which products of slices are exact:
 * units of a product go down to 2^(2 (e - 74)), their scale up to the inverse of that, sums of them up to 2^(2 e + 5). */
#define MIN_EXPONENT (-430)
#define MAX_EXPONENT 500

typedef double vector __attribute__((vector_size(SN_LANES * sizeof(double)), aligned(8), may_alias));
typedef int64_t integers __attribute__((vector_size(SN_LANES * sizeof(int64_t))));

/* Sums over rows of slices and of products of slices, by lane, each in its own units. */
enum { A, B, C, AA, AB, AC, BB, BC, CC, SLICE_SUMS };
typedef struct {
    integers of[SLICE_SUMS];
} slice_sums;

typedef struct {
    int exponent;                /* magnitudes are below 2^exponent */
    double big;                  /* 1.5 * 2^52 units of a */
    double per_unit[SLICE_SUMS]; /* units in 1 */
} grid;

/* ---- the accumulator ---- */

void sn_exact_init(sn_exact *exact) { memset(exact, 0, sizeof *exact); }

static void normalize_digits(int64_t *digits, int n) {
    int64_t carry = 0;
    for (int i = 0; i < n - 1; i++) {
        int64_t digit = digits[i] + carry;
        digits[i] = digit & 0xffffffff;
        carry = digit >> 32;
    }
    digits[n - 1] += carry;
}

static void normalize(sn_exact *exact) {
    normalize_digits(exact->sum, SN_SUM_DIGITS);
    normalize_digits(exact->squares, SN_SQUARES_DIGITS);
    exact->additions = 1; /* what a normalized digit holds is that of one addition */
}

/* value * 2^shift, shift >= 0, where it fits: digits above the value's own get nothing, its sign is in its top part. */
SN_INLINE void add_shifted(int64_t *digits, sn_int128 value, int shift) {
    int64_t *at = digits + (shift >> 5);
    int within = shift & 31;
    uint64_t carry = 0; /* what the part below leaves for this digit */
    for (int i = 0; i < 3; i++) {
        uint64_t part = (uint64_t)((uint32_t)(value >> (32 * i))) << within;
        at[i] += (int64_t)((part & 0xffffffff) + carry);
        carry = part >> 32;
    }
    int64_t top = (int64_t)(value >> 96) * ((int64_t)1 << within);
    at[3] += (top & 0xffffffff) + (int64_t)carry;
    at[4] += top >> 32;
}

static void add_to_sum(sn_exact *exact, sn_int128 value, int exponent) {
    add_shifted(exact->sum, value, exponent - SN_SUM_EXPONENT);
}

static void add_to_squares(sn_exact *exact, sn_int128 value, int exponent) {
    add_shifted(exact->squares, value, exponent - 2 * SN_SUM_EXPONENT);
}

static void count_additions(sn_exact *exact, int64_t n) {
    exact->additions += n;
    if (exact->additions > MAX_ADDITIONS) normalize(exact);
}

static void add_digits(sn_exact *into, const sn_exact *from, int64_t sign) {
    sn_exact part = *from;
    normalize(&part);
    for (int i = 0; i < SN_SUM_DIGITS; i++) into->sum[i] += sign * part.sum[i];
    for (int i = 0; i < SN_SQUARES_DIGITS; i++) into->squares[i] += sign * part.squares[i];
    count_additions(into, 1);
}

void sn_exact_merge(sn_exact *into, const sn_exact *from) { add_digits(into, from, 1); }

void sn_exact_subtract(sn_exact *from, const sn_exact *part) { add_digits(from, part, -1); }

static void write_digits(unsigned char *out, const int64_t *digits, int n) {
    for (int i = 0; i < n; i++) {
        uint32_t digit = (uint32_t)digits[i];
        for (int byte = 0; byte < 4; byte++) out[4 * i + byte] = (unsigned char)(digit >> (8 * byte));
    }
}

void sn_exact_write(unsigned char *sum, unsigned char *squares, const sn_exact *exact) {
    sn_exact copy = *exact;
    normalize(&copy);
    write_digits(sum, copy.sum, SN_SUM_DIGITS);
    write_digits(squares, copy.squares, SN_SQUARES_DIGITS);
}

static void read_digits(int64_t *digits, const unsigned char *data, int n) {
    for (int i = 0; i < n; i++) {
        uint32_t digit = 0;
        for (int byte = 0; byte < 4; byte++) digit |= (uint32_t)data[4 * i + byte] << (8 * byte);
        digits[i] = i < n - 1 ? (int64_t)digit : (int64_t)(int32_t)digit;
    }
}

void sn_exact_read(sn_exact *exact, const unsigned char *sum, const unsigned char *squares) {
    read_digits(exact->sum, sum, SN_SUM_DIGITS);
    read_digits(exact->squares, squares, SN_SQUARES_DIGITS);
    exact->additions = 1;
}

/* ---- values one by one ---- */

SN_INLINE void add_value(sn_exact *exact, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)((bits >> 52) & 2047);
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (exponent == 0) {
        exponent = 1; /* denormals */
    } else {
        mantissa |= (uint64_t)1 << 52;
    }
    exponent -= 1075;
    add_to_sum(exact, bits >> 63 ? -(sn_int128)mantissa : (sn_int128)mantissa, exponent);
    add_to_squares(exact, (sn_int128)mantissa * mantissa, 2 * exponent);
    count_additions(exact, 1);
}

static void add_finite_values(sn_exact *exact, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i])) add_value(exact, x[i]);
}

static void add_unsigned(int64_t *digits, sn_uint128 value, int shift) {
    add_shifted(digits, (sn_int128)(uint64_t)value, shift);
    add_shifted(digits, (sn_int128)(uint64_t)(value >> 64), shift + 64);
}

static sn_int128 integer_at(const sn_array *array, int64_t i) {
    const char *at = (const char *)array->values + i * array->stride;
    int32_t narrow;
    int64_t value;
    uint64_t positive;
    sn_int128 wide;
    switch (array->type) {
    case SN_UINT64: memcpy(&positive, at, 8); return positive;
    case SN_DECIMAL32: memcpy(&narrow, at, 4); return narrow;
    case SN_DECIMAL128: memcpy(&wide, at, 16); return wide;
    default: memcpy(&value, at, 8); return value;
    }
}

void sn_exact_add_integers(sn_exact *exact, const sn_array *array, int64_t start, int64_t n) {
    /* Below 2^64 in magnitude, a block's sum is below 2^75 and its squares below 2^139: 128 bits and a carry. */
    sn_int128 sum = 0;
    sn_uint128 squares = 0;
    uint64_t carries = 0;
    for (int64_t i = start; i < start + n; i++) {
        if (array->validity != NULL && !sn_bit(array->validity, array->offset + i)) continue;
        sn_int128 value = integer_at(array, i);
        sn_uint128 magnitude = value < 0 ? -(sn_uint128)value : (sn_uint128)value;
        uint64_t low = (uint64_t)magnitude, high = (uint64_t)(magnitude >> 64);
        sn_uint128 square = (sn_uint128)low * low;
        squares += square;
        carries += squares < square;
        if (SN_LIKELY(high == 0)) {
            sum += value;
            continue;
        }
        sn_uint128 twice = (sn_uint128)low * high; /* below 2^127, as high < 2^63 */
        add_unsigned(exact->squares, twice << 1, 64 - 2 * SN_SUM_EXPONENT);
        add_unsigned(exact->squares, (sn_uint128)high * high, 128 - 2 * SN_SUM_EXPONENT);
        add_shifted(exact->sum, value, -SN_SUM_EXPONENT);
        count_additions(exact, 8);
    }
    add_shifted(exact->sum, sum, -SN_SUM_EXPONENT);
    add_unsigned(exact->squares, squares, -2 * SN_SUM_EXPONENT);
    add_shifted(exact->squares, (sn_int128)carries, 128 - 2 * SN_SUM_EXPONENT);
    count_additions(exact, 8);
}

/* ---- slices ---- */

/* 2^exponent, a normal number. */
static double power_of_two(int exponent) {
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static grid grid_of(int exponent) {
    static const int drop[SLICE_SUMS] = {24, 49, 74, 48, 73, 98, 98, 123, 148};
    grid g = {.exponent = exponent, .big = 1.5 * power_of_two(exponent - 24 + 52)};
    for (int i = 0; i < SLICE_SUMS; i++) g.per_unit[i] = power_of_two(drop[i] - (i < AA ? 1 : 2) * exponent);
    return g;
}

/* Adds the slices of `rows` values, a multiple of SN_LANES up to SN_RUN; NaN counts as 0. Does nothing, and returns 0,
 * if one of them is off the grid. */
SN_CLONES static int add_slices(slice_sums *sums, const double *x, int64_t rows, const grid *g) {
    const vector big_a = g->big - (vector){0}, big_b = big_a * 0x1p-25, big_c = big_a * 0x1p-50;
    vector of[SLICE_SUMS] = {{0}};
    integers off_grid = {0};
    for (int64_t i = 0; i < rows; i += SN_LANES) {
        /* The block is in L1 by now, so the memory bus is free: ask for what most likely comes next. */
        __builtin_prefetch((const void *)((uintptr_t)(x + i) + SN_BLOCK * sizeof *x));
        vector value;
        memcpy(&value, x + i, sizeof value);
        value = (vector)((integers)value & (value == value));
        vector a = (value + big_a) - big_a;
        vector rest = value - a;
        vector b = (rest + big_b) - big_b;
        vector c = rest - b;
        off_grid |= (c + big_c) - big_c != c;
        of[A] += a;
        of[B] += b;
        of[C] += c;
        of[AA] += a * a;
        of[AB] += a * b;
        of[AC] += a * c;
        of[BB] += b * b;
        of[BC] += b * c;
        of[CC] += c * c;
    }
    int64_t any = 0;
    for (int lane = 0; lane < SN_LANES; lane++) any |= off_grid[lane];
    if (any) return 0;
    for (int i = 0; i < SLICE_SUMS; i++)
        sums->of[i] += __builtin_convertvector(of[i] * g->per_unit[i], integers);
    return 1;
}

static void add_slice_sums(sn_exact *exact, const slice_sums *sums, const grid *g) {
    sn_int128 total[SLICE_SUMS];
    for (int i = 0; i < SLICE_SUMS; i++) {
        int64_t lanes = 0;
        for (int lane = 0; lane < SN_LANES; lane++) lanes += sums->of[i][lane];
        total[i] = lanes;
    }
    int unit = g->exponent - 74;
    add_to_sum(exact, total[A] * ((int64_t)1 << 50) + total[B] * ((int64_t)1 << 25) + total[C], unit);
    add_to_squares(exact, total[AA] * ((int64_t)1 << 24) + total[AB], 2 * unit + 76);
    add_to_squares(exact, (2 * total[AC] + total[BB]) * ((int64_t)1 << 24) + total[BC], 2 * unit + 26);
    add_to_squares(exact, total[CC], 2 * unit);
    count_additions(exact, 4);
}

static double magnitude_of(double min, double max) { return fabs(min) > fabs(max) ? fabs(min) : fabs(max); }

/* The e of the smallest 2^e above a finite magnitude. */
static int exponent_above(double magnitude) {
    int exponent;
    frexp(magnitude, &exponent);
    return exponent;
}

/* The largest magnitude of a run; NaN counts as 0. Of non-negative doubles, the bits are in the order of the values. */
SN_CLONES static double largest_of(const double *x, int64_t rows) {
    int64_t largest[SN_LANES] = {0};
    for (int64_t i = 0; i < rows; i += SN_LANES)
        for (int lane = 0; lane < SN_LANES; lane++) {
            int64_t bits;
            memcpy(&bits, &x[i + lane], sizeof bits);
            bits = x[i + lane] == x[i + lane] ? bits & INT64_MAX : 0;
            largest[lane] = bits > largest[lane] ? bits : largest[lane];
        }
    for (int lane = 1; lane < SN_LANES; lane++) largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];
    double magnitude;
    memcpy(&magnitude, &largest[0], sizeof magnitude);
    return magnitude;
}

/* Parts a run in the values that are on the grid, with 0 in place of the others, and those others; returns how many. */
SN_CLONES static int64_t part_run(double *on_grid, double *off_grid, const double *x, int64_t rows, const grid *g) {
    const double big_a = g->big, big_b = big_a * 0x1p-25, big_c = big_a * 0x1p-50;
    int64_t off[SN_RUN];
    for (int64_t i = 0; i < rows; i++) {
        double value = x[i] == x[i] ? x[i] : 0.0;
        double rest = value - ((value + big_a) - big_a);
        rest -= (rest + big_b) - big_b;
        off[i] = (rest + big_c) - big_c != rest;
        on_grid[i] = off[i] ? 0.0 : value;
    }
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) { /* without a branch, which would be guessed wrong */
        off_grid[n] = x[i];
        n += off[i];
    }
    return n;
}

/* A run with values off the grid of its block: on a grid of its own, and what is off that on one of its own, until
 * little is left. */
static void add_wide_run(sn_exact *exact, const double *x, int64_t rows) {
    double on_grid[SN_RUN], left[SN_RUN + SN_LANES];
    while (rows >= FEW) {
        int exponent = exponent_above(largest_of(x, rows));
        if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) break;
        grid g = grid_of(exponent);
        slice_sums sums = {{{0}}};
        if (add_slices(&sums, x, rows, &g)) return add_slice_sums(exact, &sums, &g);
        int64_t n = part_run(on_grid, left, x, rows, &g);
        add_slices(&sums, on_grid, rows, &g);
        add_slice_sums(exact, &sums, &g);
        for (rows = n; rows % SN_LANES != 0; rows++) left[rows] = 0.0;
        x = left;
    }
    add_finite_values(exact, x, rows);
}

void sn_exact_add_block(sn_exact *exact, const double *x, int64_t n, double min, double max) {
    if (!(min <= max)) return;
    double magnitude = magnitude_of(min, max);
    int exponent = isinf(magnitude) ? MAX_EXPONENT + 1 : exponent_above(magnitude);
    if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) return add_finite_values(exact, x, n);
    grid g = grid_of(exponent);
    slice_sums sums = {{{0}}};
    int misses = 0; /* where runs leave the block's grid again and again, it is no longer tried */
    for (int64_t i = 0; i < n; i += SN_RUN) {
        int64_t rows = n - i < SN_RUN ? n - i : SN_RUN, whole = rows - rows % SN_LANES;
        if (whole > 0 && (misses > 1 || !add_slices(&sums, x + i, whole, &g))) {
            add_wide_run(exact, x + i, whole);
            misses++;
        }
        if (whole == rows) continue;
        double last[SN_LANES] = {0};
        memcpy(last, x + i + whole, (size_t)(rows - whole) * sizeof *x);
        if (!add_slices(&sums, last, SN_LANES, &g)) add_wide_run(exact, last, SN_LANES);
    }
    add_slice_sums(exact, &sums, &g);
}

/* ---- extrema ---- */

#define SN_EXTREMA_LANES 32

SN_CLONES void sn_block_extrema_scan(sn_block_extrema *extrema, const double *x, int64_t n) {
    double min[SN_EXTREMA_LANES], max[SN_EXTREMA_LANES];
    int64_t nans[SN_EXTREMA_LANES];
    for (int j = 0; j < SN_EXTREMA_LANES; j++) {
        nans[j] = 0;
        min[j] = INFINITY;
        max[j] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + SN_EXTREMA_LANES <= n; i += SN_EXTREMA_LANES)
        for (int j = 0; j < SN_EXTREMA_LANES; j++) {
            nans[j] += x[i + j] != x[i + j];
            min[j] = x[i + j] < min[j] ? x[i + j] : min[j];
            max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
        }
    extrema->nans = extrema->infinities = 0;
    extrema->min = INFINITY;
    extrema->max = -INFINITY;
    for (; i < n; i++) {
        nans[0] += x[i] != x[i];
        min[0] = x[i] < min[0] ? x[i] : min[0];
        max[0] = x[i] > max[0] ? x[i] : max[0];
    }
    for (int j = 0; j < SN_EXTREMA_LANES; j++) {
        extrema->nans += nans[j];
        extrema->min = min[j] < extrema->min ? min[j] : extrema->min;
        extrema->max = max[j] > extrema->max ? max[j] : extrema->max;
    }
    if (isinf(magnitude_of(extrema->min, extrema->max)) && extrema->min <= extrema->max)
        for (i = 0; i < n; i++) extrema->infinities += isinf(x[i]) != 0;
}
