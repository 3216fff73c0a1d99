/* One type's strips for one instruction set; gemm_vectors.h says what is defined where this is included.
 *
 * A strip is c = start + a b for m rows of c and as many columns as a panel has. a comes in segments of k values of the
 * inner index each, as many as there are pointers to where one begins. Within a segment, either the rows of a are
 * `step` values apart and overlap, each k values side by side (positions of an image), or the rows are neighbours and
 * the inner index goes by `step` (values under the kernel, at one position after the other). b goes on from segment to
 * segment.
 */
#include "gemm_vectors.h"

/* The compiler is not to know that one is a multiple of the other: it would add each of 14 pointers up. */
#define HIDE(x) __asm__("" : "+r"(x))
#define AHEAD 16 /* positions that are fetched before they are wanted */

SN_INLINE TARGET void NAME(tile)(
    const strip *s, int64_t first, const int turned, const int rows, const int vectors) {
    VEC sum[ROWS * VECTORS];
    const T *b = (const T *)s->b;
    const int64_t k = s->k, b_row = s->b_row, step = s->step * (int64_t)sizeof(T);
    UNROLL
    for (int t = 0; t < rows * vectors; t++) sum[t] = (VEC){0};
    for (int64_t segment = 0; segment < s->segments; segment++) {
        const char *a = s->a[segment] + s->offset;
        a += first * (turned ? (int64_t)sizeof(T) : step);
        /* Five rows are reached from one pointer by 0, 1, 2 and 4 times a register, and by one more. */
        int64_t once = step, thrice = 3 * step;
        HIDE(once);
        HIDE(thrice);
        const char *base[3] = {a, a + 5 * step, a + 10 * step};
        for (int64_t p = 0; p < k; p++, b += b_row) {
            VEC right[VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++) right[v] = LOAD(b + v * LANES);
            UNROLL
            for (int i = 0; i < rows; i++) {
                const char *at = turned ? a + i * (int64_t)sizeof(T)
                                        : base[i / 5] + (i % 5 == 3 ? thrice : i % 5 * once);
                VEC left = SPLAT(*(const T *)at);
                UNROLL
                for (int v = 0; v < vectors; v++) sum[i * vectors + v] = FMA(left, right[v], sum[i * vectors + v]);
            }
            if (turned) { /* some values of a line, then the next one: no processor foresees that */
                __builtin_prefetch(a + AHEAD * step);
                __builtin_prefetch(a + AHEAD * step + (rows - 1) * (int64_t)sizeof(T));
                UNROLL
                for (int v = 0; v < vectors; v++) __builtin_prefetch(b + AHEAD * b_row + v * LANES);
                a += step;
            } else {
                UNROLL
                for (int i = 0; i < (rows + 4) / 5; i++) base[i] += sizeof(T);
            }
        }
    }
    T *c = (T *)s->c + first * s->c_row;
    const T *start = s->start == NULL ? NULL : (const T *)s->start + first * s->start_row;
    if (s->columns != vectors * LANES) {
        T sums[ROWS * VECTORS * LANES];
        UNROLL
        for (int t = 0; t < rows * vectors; t++) STORE(sums + t * LANES, sum[t]);
        NAME(finish)(c, s->c_row, start, s->start_row, sums, vectors * LANES, rows, s->columns);
        return;
    }
    if (start != NULL) {
        UNROLL
        for (int t = 0; t < rows * vectors; t++)
            sum[t] += LOAD(start + t / vectors * s->start_row + t % vectors * LANES);
    }
    UNROLL
    for (int t = 0; t < rows * vectors; t++) STORE(c + t / vectors * s->c_row + t % vectors * LANES, sum[t]);
}

#define TILE(rows)                                             \
    case rows:                                                 \
        NAME(tile)(s, i, turned, rows, vectors);                \
        break;

/* The rows are cut into tiles that are as equal as can be: a small one takes more time for each of its rows. */
SN_INLINE TARGET void NAME(tiles)(const strip *s, const int turned, const int vectors) {
    const int64_t count = (s->m + ROWS - 1) / ROWS;
    for (int64_t tile = 0, i = 0; tile < count; tile++) {
        int64_t rows = (s->m - i) / (count - tile);
        switch (rows) {
            TILE(1)
            TILE(2)
            TILE(3)
            TILE(4)
#if ROWS > 4
            TILE(5)
            TILE(6)
#endif
#if ROWS > 6
            TILE(7)
            TILE(8)
#endif
#if ROWS > 8
            TILE(9)
            TILE(10)
            TILE(11)
            TILE(12)
            TILE(13)
            TILE(14)
#endif
        }
        i += rows;
    }
}

#define STRIP_OF(vectors)                                                                                          \
    static TARGET __attribute__((noinline)) void NAME(across_##vectors)(const strip *s) {                          \
        NAME(tiles)(s, 0, vectors);                                                                                \
    }                                                                                                              \
    static TARGET __attribute__((noinline)) void NAME(along_##vectors)(const strip *s) {                           \
        NAME(tiles)(s, 1, vectors);                                                                                \
    }
STRIP_OF(1)
STRIP_OF(2)
#if VECTORS > 2
STRIP_OF(3)
#endif

static TARGET void NAME(across)(const strip *s) {
    int64_t vectors = (s->columns + LANES - 1) / LANES;
    if (vectors == 1) NAME(across_1)(s);
#if VECTORS > 2
    else if (vectors == 3) NAME(across_3)(s);
#endif
    else NAME(across_2)(s);
}

static TARGET void NAME(along)(const strip *s) {
    int64_t vectors = (s->columns + LANES - 1) / LANES;
    if (vectors == 1) NAME(along_1)(s);
#if VECTORS > 2
    else if (vectors == 3) NAME(along_3)(s);
#endif
    else NAME(along_2)(s);
}

/* A panel of whole vectors, as wide as the columns want it. */
static TARGET void NAME(panel)(
    void *panel, const void *source, int64_t row, int64_t column, int64_t k, int64_t columns) {
    int64_t width = (columns + LANES - 1) / LANES * LANES;
    NAME(pack)(panel, source, row, column, k, columns, width);
}

/* Sums of so many vectors' columns of x, contiguous rows of so many columns, are added to `sums`. */
SN_INLINE TARGET void NAME(add_columns)(double *sums, const T *x, int64_t rows, int64_t columns, const int vectors) {
    VEC sum[4];
    UNROLL
    for (int v = 0; v < vectors; v++) sum[v] = (VEC){0};
    for (int64_t i = 0; i < rows; i++, x += columns) {
        UNROLL
        for (int v = 0; v < vectors; v++) sum[v] += LOAD(x + v * LANES);
    }
    for (int v = 0; v < vectors; v++) {
        T values[LANES];
        STORE(values, sum[v]);
        for (int64_t l = 0; l < LANES; l++) sums[v * LANES + l] += (double)values[l];
    }
}

static TARGET void NAME(add_rows)(double *sums, const void *from, int64_t rows, int64_t columns) {
    const T *x = from;
    int64_t j = 0;
    for (; j + 4 * LANES <= columns; j += 4 * LANES) NAME(add_columns)(sums + j, x + j, rows, columns, 4);
    for (; j + LANES <= columns; j += LANES) NAME(add_columns)(sums + j, x + j, rows, columns, 1);
    for (; j < columns; j++) {
        T sum = 0;
        for (int64_t i = 0; i < rows; i++) sum += x[i * columns + j];
        sums[j] += (double)sum;
    }
}

/* The sum of `count` arrays of n values, which lie one after the other, for the values from `first` on. */
static TARGET void NAME(add_arrays)(
    void *to, const void *arrays, int64_t count, int64_t n, int64_t first, int64_t last) {
    T *sum = to;
    const T *parts = arrays;
    for (int64_t i = first; i < last; i += LANES) {
        if (last - i < LANES) {
            VEC total = LOAD_PART(parts + i, last - i);
            for (int64_t part = 1; part < count; part++) total += LOAD_PART(parts + part * n + i, last - i);
            STORE_PART(sum + i, total, last - i);
        } else {
            VEC total = LOAD(parts + i);
            for (int64_t part = 1; part < count; part++) total += LOAD(parts + part * n + i);
            STORE(sum + i, total);
        }
    }
}

static void NAME(round)(void *to, const double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) ((T *)to)[i] = (T)values[i];
}

static const kernels NAME(kernels) = {
    .width = sizeof(T),
    .lanes = LANES,
    .columns = COLUMNS,
    .across = NAME(across),
    .along = NAME(along),
    .panel = NAME(panel),
    .add_rows = NAME(add_rows),
    .add_arrays = NAME(add_arrays),
    .round = NAME(round),
};

#undef HIDE
#undef AHEAD
#undef TILE
#undef STRIP_OF
