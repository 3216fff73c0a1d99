/* See tally.h.
 *
 * Design: values are looked at in pieces that stay in the first-level cache with what is made of them: doubles, in
 * which missing values are not finite, and patterns, in which they repeat the value before them. A repeated value
 * changes neither a set nor an order, so that no loop asks again what is missing. Integers and doubles alike are
 * compared, mixed and counted as patterns. Turned down: leaving missing values out, which moves every value behind one;
 * and a loop per type, as in load.c.
 *
 * What has been settled is not looked at again: order and whole numbers cost nothing after the first value that
 * breaks them.
 */
#include "tally.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lanes.h"

enum {
    PIECE = 512, /* values: 4 kB of doubles and as many of patterns; divides SN_BLOCK */
    LANES = 16,  /* of the sums of a block; part of the definition of the skewness's bits */
    HALF_RANGE = 256 /* cubes of numbers between 2^-257 and 2^256 neither overflow nor vanish, nor do those of one ulp */
};

SN_INLINE double sum_of(double *lane) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    return lane[0];
}

SN_INLINE int is_finite(double x) { return fabs(x) <= DBL_MAX; }

/* Number and largest magnitude of the finite values, and the sum of x - shift. */
SN_CLONES static double first_pass(int64_t *count, double *largest, const double *x, int64_t n, double shift) {
    double sum[LANES] = {0}, counts[LANES] = {0}, most[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double a = fabs(x[i + j]);
            sum[j] += a <= DBL_MAX ? x[i + j] - shift : 0.0;
            counts[j] += a <= DBL_MAX ? 1.0 : 0.0;
            a = a <= DBL_MAX ? a : 0.0;
            most[j] = a > most[j] ? a : most[j];
        }
    for (int j = 0; i + j < n; j++) {
        double a = fabs(x[i + j]);
        if (!(a <= DBL_MAX)) continue;
        sum[j] += x[i + j] - shift;
        counts[j] += 1.0;
        most[j] = a > most[j] ? a : most[j];
    }
    for (int j = 1; j < LANES; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
    *largest = most[0];
    *count = (int64_t)sum_of(counts);
    return sum_of(sum);
}

/* Sums of d = x - center, of its squares and of its cubes. */
SN_CLONES static void second_pass(double *s1, double *s2, double *s3, const double *x, int64_t n, double center) {
    double sum[LANES] = {0}, square[LANES] = {0}, cube[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double d = fabs(x[i + j]) <= DBL_MAX ? x[i + j] - center : 0.0;
            double dd = d * d;
            sum[j] += d;
            square[j] += dd;
            cube[j] += dd * d;
        }
    for (int j = 0; i + j < n; j++) {
        double d = is_finite(x[i + j]) ? x[i + j] - center : 0.0;
        double dd = d * d;
        sum[j] += d;
        square[j] += dd;
        cube[j] += dd * d;
    }
    *s1 = sum_of(sum);
    *s2 = sum_of(square);
    *s3 = sum_of(cube);
}

/* The same figures in larger units. */
static sn_cubes in_units(const sn_cubes *cubes, int32_t unit) {
    sn_cubes c = *cubes;
    int32_t by = c.unit - unit;
    if (by == 0) return c;
    c.mean = ldexp(c.mean, by);
    c.mean_lo = ldexp(c.mean_lo, by);
    c.m2 = ldexp(c.m2, 2 * by);
    c.m3 = ldexp(c.m3, 3 * by);
    c.unit = unit;
    return c;
}

static void merge_cubes(sn_cubes *into, const sn_cubes *from) {
    if (from->count == 0) return;
    if (into->count == 0) {
        *into = *from;
        return;
    }
    int32_t unit = into->unit > from->unit ? into->unit : from->unit;
    sn_cubes a = in_units(into, unit), b = in_units(from, unit);
    double na = (double)a.count, nb = (double)b.count, n = na + nb;
    double delta = (b.mean - a.mean) + (b.mean_lo - a.mean_lo);
    double hi, lo;
    sn_two_sum(&hi, &lo, a.mean, delta * (nb / n));
    sn_two_sum(&into->mean, &into->mean_lo, hi, lo + a.mean_lo);
    into->m2 = a.m2 + b.m2 + delta * delta * (na / n) * nb;
    into->m3 = a.m3 + b.m3 + delta * delta * delta * (na / n) * nb * ((na - nb) / n) +
               3.0 * delta * ((na / n) * b.m2 - (nb / n) * a.m2);
    into->count += b.count;
    into->unit = unit;
}

/* Merges a block of n <= SN_BLOCK rows into c. */
static void add_block(sn_cubes *c, const double *x, int64_t n) {
    double scaled[SN_BLOCK], largest;
    int64_t first = 0;
    sn_cubes b = {0};
    while (first < n && !is_finite(x[first])) first++;
    if (first == n) return;
    double shift = x[first], sum = first_pass(&b.count, &largest, x, n, shift);
    if (largest == 0.0) {
        b.unit = DBL_MIN_EXP - DBL_MANT_DIG; /* the least: zeros have no size that others would have to be brought to */
        merge_cubes(c, &b);
        return;
    }
    int exponent;
    frexp(largest, &exponent);
    if (abs(exponent) > HALF_RANGE) {
        b.unit = exponent;
        for (int64_t i = 0; i < n; i++) scaled[i] = ldexp(x[i], -exponent);
        x = scaled;
        shift = x[first];
        sum = first_pass(&b.count, &largest, x, n, shift);
    }
    double count = (double)b.count, center = shift + sum / count, s1, s2, s3;
    second_pass(&s1, &s2, &s3, x, n, center);
    double rest = s1 / count;
    sn_two_sum(&b.mean, &b.mean_lo, center, rest);
    b.m2 = s2 - s1 * rest;
    b.m2 = b.m2 > 0.0 ? b.m2 : 0.0;
    b.m3 = s3 - rest * (3.0 * s2 - 2.0 * s1 * rest);
    merge_cubes(c, &b);
}

static sn_cubes all_cubes(const sn_tally *tally) {
    sn_cubes cubes = tally->cubes;
    if (tally->pending > 0) add_block(&cubes, tally->block, tally->pending);
    return cubes;
}

double sn_tally_skew(const sn_tally *tally) {
    sn_cubes c = all_cubes(tally);
    if (!(c.m2 > 0.0)) return NAN;
    return sqrt((double)c.count) * c.m3 / (c.m2 * sqrt(c.m2));
}

/* The patterns of doubles, which make one of both zeros; returns the number of finite values. */
SN_CLONES static int64_t patterns_of_floats(uint64_t *p, int64_t *zeros, const double *x, int64_t n) {
    int64_t finite = 0, found = 0;
    for (int64_t i = 0; i < n; i++) {
        double plain = x[i] + 0.0;
        memcpy(p + i, &plain, sizeof plain);
        found += x[i] == 0.0;
        finite += fabs(x[i]) <= DBL_MAX;
    }
    *zeros = found;
    return finite;
}

/* Those of integers that are less than 2^51 in magnitude, by their doubles: the last bits of 1.5 * 2^52 + x are x. */
SN_CLONES static int64_t patterns_of_small(uint64_t *p, int64_t *zeros, const double *x, int64_t n) {
    int64_t finite = 0, found = 0;
    for (int64_t i = 0; i < n; i++) {
        const double big = 0x1.8p52;
        double sum = big + x[i];
        uint64_t bits, none;
        memcpy(&bits, &sum, sizeof bits);
        memcpy(&none, &big, sizeof none);
        p[i] = bits - none;
        found += x[i] == 0.0;
        finite += x[i] == x[i];
    }
    *zeros = found;
    return finite;
}

static int64_t patterns_of_wide(uint64_t *p, int64_t *zeros, const sn_array *array, int64_t start, const double *x,
                                int64_t n) {
    const char *values = (const char *)array->values + start * array->stride;
    if (array->stride == (int64_t)sizeof *p) memcpy(p, values, (size_t)n * sizeof *p);
    else
        for (int64_t i = 0; i < n; i++) memcpy(p + i, values + i * array->stride, sizeof *p);
    int64_t present = 0, found = 0;
    for (int64_t i = 0; i < n; i++) {
        found += x[i] == 0.0;
        present += x[i] == x[i];
    }
    *zeros = found;
    return present;
}

/* Missing values repeat the one before them. */
static void repeat_into_gaps(uint64_t *p, const double *x, uint64_t before, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t there = -(uint64_t)is_finite(x[i]); /* without a branch, which would go either way */
        before = (p[i] & there) | (before & ~there);
        p[i] = before;
    }
}

/* Where the order is of no interest any more: all of them repeat the same one. */
SN_CLONES static void fill_gaps(uint64_t *p, const double *x, uint64_t with, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = fabs(x[i]) <= DBL_MAX ? p[i] : with;
}

/* Missing values become others, one of which there is. */
static void close_gaps(uint64_t *p, const double *x, int ordered, int64_t n) {
    int64_t first = 0;
    while (!is_finite(x[first])) first++;
    if (ordered) repeat_into_gaps(p, x, p[first], n);
    else fill_gaps(p, x, p[first], n);
}

/* Doubles from 2^52 on are whole; below, adding 2^52 rounds to whole numbers. */
SN_CLONES static int all_whole(const double *x, int64_t n) {
    int64_t broken = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = fabs(x[i]);
        broken |= (a < 0x1p52) & ((a + 0x1p52) - 0x1p52 != a);
    }
    return broken == 0;
}

/* Patterns as integers in the order of the values. */
SN_CLONES static void order_of(int64_t *keys, const uint64_t *p, sn_type type, int64_t n) {
    if (!sn_type_is_integer(type))
        for (int64_t i = 0; i < n; i++) keys[i] = (int64_t)(p[i] ^ (uint64_t)((int64_t)p[i] >> 63) >> 1);
    else if (type == SN_UINT64)
        for (int64_t i = 0; i < n; i++) keys[i] = (int64_t)(p[i] ^ (uint64_t)1 << 63);
    else
        memcpy(keys, p, (size_t)n * sizeof *keys);
}

SN_CLONES static void steps_of(int32_t *up, int32_t *down, const int64_t *keys, int64_t n) {
    int64_t ups = 0, downs = 0;
    for (int64_t i = 1; i < n; i++) {
        ups |= keys[i] > keys[i - 1];
        downs |= keys[i] < keys[i - 1];
    }
    *up = ups != 0;
    *down = downs != 0;
}

static int compare(const sn_end *a, const sn_end *b) {
    if (a->kind == b->kind && a->scale == b->scale && a->kind != SN_END_FLOAT)
        return (a->integer > b->integer) - (a->integer < b->integer);
    return (a->number > b->number) - (a->number < b->number);
}

/* Goes on with values of which the first and the last, and the steps between them, are known. */
static void follow(sn_tally *tally, const sn_end *first, const sn_end *last, int32_t up, int32_t down) {
    if (tally->last.kind == SN_END_NONE) {
        tally->first = *first;
    } else {
        int step = compare(first, &tally->last);
        up |= step > 0;
        down |= step < 0;
    }
    tally->rises &= !down;
    tally->falls &= !up;
    tally->last = *last;
}

static sn_end end_of(uint64_t p, sn_type type) {
    sn_end end = {.kind = SN_END_INTEGER, .scale = 0};
    if (!sn_type_is_integer(type)) {
        end.kind = SN_END_FLOAT;
        memcpy(&end.number, &p, sizeof p);
        return end;
    }
    end.integer = type == SN_UINT64 ? (sn_int128)p : (sn_int128)(int64_t)p;
    end.number = (double)end.integer;
    return end;
}

static sn_int128 digits_at(const sn_array *array, int64_t i) {
    const char *at = (const char *)array->values + i * array->stride;
    sn_int128 wide;
    int64_t middle;
    int32_t narrow;
    switch (array->type) {
    case SN_DECIMAL128: memcpy(&wide, at, sizeof wide); return wide;
    case SN_DECIMAL64: memcpy(&middle, at, sizeof middle); return middle;
    default: memcpy(&narrow, at, sizeof narrow); return narrow;
    }
}

/* 10^scale, or 0 if it has more digits than a decimal. */
static sn_int128 units_of(int32_t scale) {
    sn_int128 units = 1;
    if (scale > 37) return 0;
    for (int32_t i = 0; i < scale; i++) units *= 10;
    return units;
}

static int is_whole(sn_int128 digits, sn_int128 units) {
    if (units == 0) return digits == 0;
    int64_t low = (int64_t)digits, short_units = (int64_t)units;
    if (low == digits && short_units == units) return low % short_units == 0; /* a tenth of the time */
    return digits % units == 0;
}

/* Decimals are counted by their digits, of which 64 bits are a pattern of their own and more are mixed. */
static int64_t look_at_decimals(sn_tally *tally, uint64_t *p, const sn_array *array, int64_t start, const double *x,
                                int64_t n) {
    int64_t present = 0;
    sn_end first = {.kind = SN_END_NONE}, end = {.kind = SN_END_DECIMAL, .scale = array->scale}, last = end;
    int32_t up = 0, down = 0;
    sn_int128 units = units_of(array->scale);
    for (int64_t i = 0; i < n; i++) {
        if (x[i] != x[i]) continue;
        sn_int128 digits = digits_at(array, start + i);
        int64_t low = (int64_t)digits, high = (int64_t)(digits >> 64);
        p[i] = (uint64_t)low;
        if (high != low >> 63) p[i] ^= sn_mixed((uint64_t)high);
        tally->zeros += digits == 0;
        if (tally->whole) tally->whole = is_whole(digits, units);
        end.integer = digits;
        end.number = x[i];
        if (present == 0) first = end;
        else up |= digits > last.integer, down |= digits < last.integer;
        last = end;
        present++;
    }
    if (present > 0) follow(tally, &first, &last, up, down);
    return present;
}

/* Everything but the cubes; x is rows [start, start + n) of the array as doubles. */
static sn_status look_at(sn_tally *tally, const sn_array *array, int64_t start, const double *x, int64_t n) {
    _Alignas(64) uint64_t p[PIECE];
    _Alignas(64) int64_t keys[PIECE];
    int64_t zeros = 0, present;
    sn_type type = array->type;
    int decimal = sn_type_is_decimal(type), wide = type == SN_INT64 || type == SN_UINT64;
    if (decimal) present = look_at_decimals(tally, p, array, start, x, n);
    else if (wide) present = patterns_of_wide(p, &zeros, array, start, x, n);
    else if (sn_type_is_integer(type)) present = patterns_of_small(p, &zeros, x, n);
    else present = patterns_of_floats(p, &zeros, x, n);
    if (present == 0) return SN_OK;
    tally->zeros += zeros;
    int ordered = tally->rises || tally->falls;
    if (present < n) close_gaps(p, x, ordered, n);
    if (!decimal) {
        if (tally->whole && !sn_type_is_integer(type)) tally->whole = all_whole(x, n);
        int32_t up = 0, down = 0;
        if (ordered) {
            order_of(keys, p, type, n);
            steps_of(&up, &down, keys, n);
        }
        sn_end first = end_of(p[0], type), last = end_of(p[n - 1], type);
        follow(tally, &first, &last, up, down);
    }
    return sn_distinct_update(&tally->distinct, p, n);
}

void sn_tally_init(sn_tally *tally) {
    memset(tally, 0, sizeof *tally);
    tally->whole = tally->rises = tally->falls = 1;
}

void sn_tally_release(sn_tally *tally) {
    sn_distinct_release(&tally->distinct);
    free(tally->block);
    sn_tally_init(tally);
}

sn_status sn_tally_update(sn_tally *tally, const sn_array *array) {
    int in_place = array->type == SN_FLOAT64 && array->validity == NULL && array->stride == sizeof(double) &&
                   (uintptr_t)array->values % sizeof(double) == 0;
    sn_int_extrema unused = {0, 0};
    _Alignas(64) double loaded[SN_BLOCK];
    int64_t i = 0, n = array->length;
    while (i < n) {
        int64_t take = SN_BLOCK - tally->pending < n - i ? SN_BLOCK - tally->pending : n - i;
        const double *x = loaded;
        if (take == SN_BLOCK && in_place) {
            x = (const double *)array->values + i;
        } else if (take == SN_BLOCK) {
            sn_load_block(loaded, &unused, array, i, take);
        } else {
            if (tally->block == NULL) tally->block = malloc(SN_BLOCK * sizeof(double));
            if (tally->block == NULL) return SN_ERR_NOMEM;
            sn_load_block(tally->block + tally->pending, &unused, array, i, take);
            x = tally->block + tally->pending;
        }
        for (int64_t j = 0; j < take; j += PIECE) {
            sn_status status = look_at(tally, array, i + j, x + j, take - j < PIECE ? take - j : PIECE);
            if (status != SN_OK) return status;
        }
        if (take == SN_BLOCK) {
            add_block(&tally->cubes, x, SN_BLOCK);
        } else {
            tally->pending += take;
            if (tally->pending == SN_BLOCK) {
                add_block(&tally->cubes, tally->block, SN_BLOCK);
                tally->pending = 0;
            }
        }
        i += take;
    }
    return SN_OK;
}

sn_status sn_tally_merge(sn_tally *into, const sn_tally *from) {
    sn_status status = sn_distinct_merge(&into->distinct, &from->distinct);
    if (status != SN_OK) return status;
    into->cubes = all_cubes(into);
    into->pending = 0;
    sn_cubes behind = all_cubes(from);
    merge_cubes(&into->cubes, &behind);
    into->zeros += from->zeros;
    into->whole &= from->whole;
    if (from->last.kind != SN_END_NONE) follow(into, &from->first, &from->last, !from->falls, !from->rises);
    return SN_OK;
}
