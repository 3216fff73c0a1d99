/* One type's matrix product for one instruction set; gemm_vectors.h says what is defined where this is included. */
#include "gemm_vectors.h"

#define TURNED (1 * LANES) /* values of each column of b that are turned at a time, for one row of c */
#define ROW_VECTORS 8 /* where c has one row: enough sums at a time to keep the multipliers busy */

/* c = start + a b for a tile of `rows` x `vectors`; its last vectors have fewer columns where `columns` says so. */
SN_INLINE TARGET void NAME(tile)(
    T *c, int64_t c_row, const T *start, int64_t start_row, const T *a, int64_t a_row, int64_t a_col, const T *b,
    int64_t b_row, int64_t k, int64_t columns, const int rows, const int vectors) {
    VEC sum[ROWS * VECTORS]; /* not fewer than ROW_VECTORS */
    const T *of_row[ROWS];
    UNROLL
    for (int i = 0; i < rows; i++) of_row[i] = a + i * a_row;
    UNROLL
    for (int t = 0; t < rows * vectors; t++) sum[t] = (VEC){0};
    int64_t at = 0;
    for (int64_t p = 0; p < k; p++, b += b_row, at += a_col) {
        VEC right[ROW_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++) right[v] = LOAD(b + v * LANES);
        UNROLL
        for (int t = 0; t < rows * vectors; t++) {
            VEC left = SPLAT(of_row[t / vectors][at]);
            sum[t] = FMA(left, right[t % vectors], sum[t]);
        }
    }
    if (columns != vectors * LANES) {
        T sums[ROWS * VECTORS * LANES];
        UNROLL
        for (int t = 0; t < rows * vectors; t++) STORE(sums + t * LANES, sum[t]);
        NAME(finish)(c, c_row, start, start_row, sums, vectors * LANES, rows, columns);
        return;
    }
    if (start != NULL) {
        UNROLL
        for (int t = 0; t < rows * vectors; t++)
            sum[t] += LOAD(start + t / vectors * start_row + t % vectors * LANES);
    }
    UNROLL
    for (int t = 0; t < rows * vectors; t++)
        STORE(c + t / vectors * c_row + t % vectors * LANES, sum[t]);
}

/* A full tile from packed panels. */
static TARGET __attribute__((noinline)) void NAME(packed_tile)(
    T *c, int64_t c_row, const T *start, int64_t start_row, const T *a, const T *b, int64_t k, int64_t columns) {
    NAME(tile)(c, c_row, start, start_row, a, 1, ROWS, b, COLUMNS, k, columns, ROWS, VECTORS);
}

#define STRIP(rows, vectors)                                                                                       \
    for (; m >= (rows); m -= (rows), a += (rows) * a_row, c += (rows) * c_row, start += (rows) * start_row)       \
    NAME(tile)(c, c_row, started ? start : NULL, start_row, a, a_row, a_col, b, b_row, k, columns, (rows), (vectors))

/* A strip of c as wide as a panel, from a as it lies. */
#define STRIP_OF(vectors)                                                                                          \
    static TARGET void NAME(strip_##vectors)(                                                                      \
        T *c, int64_t c_row, const T *start, int64_t start_row, const T *a, int64_t a_row, int64_t a_col,          \
        const T *b, int64_t b_row, int64_t m, int64_t k, int64_t columns) {                                        \
        const int started = start != NULL;                                                                         \
        if (!started) start = c;                                                                                   \
        STRIP(STRIP_ROWS, vectors);                                                                                \
        if (STRIP_ROWS > 4) STRIP(4, vectors);                                                                     \
        STRIP(2, vectors);                                                                                         \
        STRIP(1, vectors);                                                                                         \
    }
#define STRIP_ROWS (ROWS > 8 ? 8 : ROWS)
STRIP_OF(1)
STRIP_OF(2)
#if VECTORS > 2
STRIP_OF(3)
#endif

static TARGET void NAME(strip)(
    T *c, int64_t c_row, const T *start, int64_t start_row, const T *a, int64_t a_row, int64_t a_col, const T *b,
    int64_t b_row, int64_t m, int64_t k, int64_t columns) {
    int64_t vectors = (columns + LANES - 1) / LANES;
    if (vectors == 1) NAME(strip_1)(c, c_row, start, start_row, a, a_row, a_col, b, b_row, m, k, columns);
#if VECTORS > 2
    else if (vectors == 3) NAME(strip_3)(c, c_row, start, start_row, a, a_row, a_col, b, b_row, m, k, columns);
#endif
    else NAME(strip_2)(c, c_row, start, start_row, a, a_row, a_col, b, b_row, m, k, columns);
}

/* One row of c from b's columns as they lie, each k values side by side: some are turned into rows, and while these are
 * multiplied, the processor turns the next ones. */
SN_INLINE TARGET void NAME(row_of_columns)(
    T *c, const T *start, const T *a, int64_t a_col, const T *b, int64_t b_col, int64_t k, const int vectors) {
    T turned[TURNED * ROW_VECTORS * LANES] __attribute__((aligned(64)));
    VEC sum[ROW_VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++) sum[v] = (VEC){0};
    for (int64_t p = 0; p < k; p += TURNED) {
        int64_t count = k - p < TURNED ? k - p : TURNED;
        NAME(pack)(turned, b + p, 1, b_col, count, vectors * LANES, vectors * LANES);
        for (int64_t i = 0; i < count; i++) {
            VEC left = SPLAT(a[(p + i) * a_col]);
            UNROLL
            for (int v = 0; v < vectors; v++) sum[v] = FMA(left, LOAD(turned + (i * vectors + v) * LANES), sum[v]);
        }
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        if (start != NULL) sum[v] += LOAD(start + v * LANES);
        STORE(c + v * LANES, sum[v]);
    }
}

/* As much of one row of c as there is a quicker way for than panels; returns its length. */
static TARGET int64_t NAME(row)(
    T *c, const T *start, const T *a, int64_t a_col, const T *b, int64_t b_row, int64_t b_col, int64_t n, int64_t k) {
    int64_t j = 0;
    if (b_col == 1)
        for (; j + ROW_VECTORS * LANES <= n; j += ROW_VECTORS * LANES)
            NAME(tile)(c + j, 0, start == NULL ? NULL : start + j, 0, a, 0, a_col, b + j, b_row, k,
                       ROW_VECTORS * LANES, 1, ROW_VECTORS);
    else if (b_row == 1)
        for (int vectors; j + LANES <= n; j += vectors * LANES) {
            const T *begin = start == NULL ? NULL : start + j;
            if (n - j >= 4 * LANES)
                NAME(row_of_columns)(c + j, begin, a, a_col, b + j * b_col, b_col, k, vectors = 4);
            else if (n - j >= 2 * LANES)
                NAME(row_of_columns)(c + j, begin, a, a_col, b + j * b_col, b_col, k, vectors = 2);
            else
                NAME(row_of_columns)(c + j, begin, a, a_col, b + j * b_col, b_col, k, vectors = 1);
        }
    return j;
}

/* Small products: panel by panel of b, packed where its rows are not whole vectors; a as it lies. Where b is so small
 * that c is most of what is moved, c is written row by row. */
static TARGET void NAME(by_panels)(T *c, const T *a, const T *b, const sn_gemm *g) {
    T panel[SN_GEMM_BLOCK * COLUMNS + LANES] __attribute__((aligned(64)));
    const int direct = g->b_col == 1 && g->n % LANES == 0;
    const int64_t rows = direct && g->k * g->n <= 8192 / (int64_t)sizeof(T) && g->m * g->n > 65536 / (int64_t)sizeof(T)
                             ? STRIP_ROWS
                             : g->m;
    for (int64_t p = 0; p < g->k; p += SN_GEMM_BLOCK) {
        const int64_t k = g->k - p < SN_GEMM_BLOCK ? g->k - p : SN_GEMM_BLOCK;
        const int again = p > 0 || g->add;
        const int64_t start_row = again ? g->c_row : 0;
        const T *left = a + p * g->a_col, *top = b + p * g->b_row;
        for (int64_t i = 0; i < g->m; i += rows) {
            const int64_t m = g->m - i < rows ? g->m - i : rows;
            const T *start = again ? c + i * g->c_row : g->bias;
            int64_t j = 0;
            if (g->m == 1) j = NAME(row)(c, start, left, g->a_col, top, g->b_row, g->b_col, g->n, k);
            for (; j < g->n; j += COLUMNS) {
                int64_t columns = g->n - j < COLUMNS ? g->n - j : COLUMNS, b_row = g->b_row;
                const T *right = top + j * g->b_col;
                if (g->b_col != 1 || columns % LANES != 0) {
                    b_row = (columns + LANES - 1) / LANES * LANES;
                    NAME(pack)(panel, right, g->b_row, g->b_col, k, columns, b_row);
                    right = panel;
                }
                NAME(strip)(c + i * g->c_row + j, g->c_row, start == NULL ? NULL : start + j, start_row,
                            left + i * g->a_row, g->a_row, g->a_col, right, b_row, m, k, columns);
            }
        }
    }
}

/* Large products: as Goto and van de Geijn have it, a block of b is packed for the third cache, one of a for the
 * second, and a panel of b stays in the first while the tiles of a strip are computed. */
static TARGET void NAME(by_blocks)(T *c, const T *a, const T *b, const sn_gemm *g, T *scratch) {
    T *left = scratch, *right = scratch + MC * SN_GEMM_BLOCK + 64;
    for (int64_t j0 = 0; j0 < g->n; j0 += NC) {
        int64_t n = g->n - j0 < NC ? g->n - j0 : NC;
        for (int64_t p = 0; p < g->k; p += SN_GEMM_BLOCK) {
            int64_t k = g->k - p < SN_GEMM_BLOCK ? g->k - p : SN_GEMM_BLOCK;
            for (int64_t j = 0; j < n; j += COLUMNS)
                NAME(pack)(right + j * k, b + p * g->b_row + (j0 + j) * g->b_col, g->b_row, g->b_col, k,
                           n - j < COLUMNS ? n - j : COLUMNS, COLUMNS);
            int again = p > 0 || g->add;
            for (int64_t i0 = 0; i0 < g->m; i0 += MC) {
                int64_t m = g->m - i0 < MC ? g->m - i0 : MC, whole = m / ROWS * ROWS;
                const T *rows = a + i0 * g->a_row + p * g->a_col;
                for (int64_t i = 0; i < whole; i += ROWS)
                    NAME(pack)(left + i * k, rows + i * g->a_row, g->a_col, g->a_row, k, ROWS, ROWS);
                for (int64_t j = 0; j < n; j += COLUMNS) {
                    int64_t columns = n - j < COLUMNS ? n - j : COLUMNS, start_row = again ? g->c_row : 0;
                    T *corner = c + i0 * g->c_row + j0 + j;
                    const T *start = again ? corner : g->bias != NULL ? (const T *)g->bias + j0 + j : NULL;
                    for (int64_t i = 0; i < whole; i += ROWS)
                        NAME(packed_tile)(corner + i * g->c_row, g->c_row, start == NULL ? NULL : start + i * start_row,
                                          start_row, left + i * k, right + j * k, k, columns);
                    if (whole < m)
                        NAME(strip)(corner + whole * g->c_row, g->c_row,
                                    start == NULL ? NULL : start + whole * start_row,
                                    start_row, rows + whole * g->a_row, g->a_row, g->a_col, right + j * k, COLUMNS,
                                    m - whole, k, columns);
                }
            }
        }
    }
}

static TARGET void NAME(product)(void *c, const void *a, const void *b, const sn_gemm *g, void *scratch) {
    if (scratch != NULL)
        NAME(by_blocks)(c, a, b, g, scratch);
    else
        NAME(by_panels)(c, a, b, g);
}

#undef ROW_VECTORS
#undef TURNED
#undef STRIP
#undef STRIP_OF
#undef STRIP_ROWS
