/* What the products of one type for one instruction set are made of: vectors, panels, and tiles' edges. The files that
 * gemm_levels.h includes begin with it, with these defined:
 *
 *     T, NAME(x)       the type, and the names of what is defined here
 *     TARGET           attribute that allows the instruction set
 *     LANES            values of a vector
 *     ROWS, VECTORS    the largest tile of c that the registers hold: ROWS rows of VECTORS vectors
 *     SPLAT(x)         a vector of one value, as a list
 *     LOW, HIGH        the indexes by which SHUFFLE interleaves the lower and the upper halves of two vectors
 *     FMA(x, y, z)     x * y + z
 *     MC, NC           rows of a and columns of b that are packed at a time
 *
 * A panel is k values of each of so many rows of a (or columns of b), those of one k side by side.
 */
typedef T NAME(vec) __attribute__((vector_size(LANES * sizeof(T)), may_alias));
typedef T NAME(loose) __attribute__((vector_size(LANES * sizeof(T)), may_alias, aligned(sizeof(T))));
typedef __typeof__(__builtin_choose_expr(sizeof(T) == 4, (int32_t)0, (int64_t)0)) NAME(index);
typedef NAME(index) NAME(indexes) __attribute__((vector_size(LANES * sizeof(T))));

#define VEC NAME(vec)
#define LOAD(p) NAME(load)(p)
#define STORE(p, v) (*(NAME(loose) *)(p) = (v))
#define COLUMNS (VECTORS * LANES)

SN_INLINE TARGET VEC NAME(load)(const T *p) { return *(const NAME(loose) *)p; }

#if !defined(LOAD_PART)
#define LOAD_PART NAME(load_part)
#define STORE_PART NAME(store_part)

/* The first `count` values of a vector, fewer than LANES; the others are zero, and nothing of them is read. */
SN_INLINE TARGET VEC NAME(load_part)(const T *p, int64_t count) {
    T values[LANES] = {0};
    for (int64_t i = 0; i < count; i++) values[i] = p[i];
    return LOAD(values);
}

SN_INLINE TARGET void NAME(store_part)(T *p, VEC v, int64_t count) {
    T values[LANES];
    STORE(values, v);
    for (int64_t i = 0; i < count; i++) p[i] = values[i];
}
#endif

/* Rows that are LANES values long become columns: interleaving the first half of the vectors with the second one
 * moves each value as a perfect shuffle does, and log2(LANES) of them exchange the two indexes. */
SN_INLINE TARGET void NAME(transpose)(VEC *v) {
    VEC w[LANES];
    UNROLL
    for (int step = 1; step < LANES; step *= 2) {
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            w[2 * i] = SHUFFLE(v[i], v[i + LANES / 2], LOW);
            w[2 * i + 1] = SHUFFLE(v[i], v[i + LANES / 2], HIGH);
        }
        UNROLL
        for (int i = 0; i < LANES; i++) v[i] = w[i];
    }
}

/* Packs a panel of `width` columns (`columns` of them there, the others zero), `step` from column to column of the
 * source and `row` from k to k. A vector that reaches over the width is overwritten by what follows it, so that up to
 * LANES values behind the panel are written. */
static TARGET void NAME(pack)(
    T *restrict panel, const T *source, int64_t row, int64_t step, int64_t k, int64_t columns, int64_t width) {
    int64_t p = 0;
    if (step == 1) {
        for (; p < k; p++, panel += width, source += row)
            for (int64_t j = (width - 1) / LANES * LANES; j >= 0; j -= LANES)
                STORE(panel + j, columns - j >= LANES ? LOAD(source + j)
                                 : columns > j        ? LOAD_PART(source + j, columns - j)
                                                      : (VEC){0});
        return;
    }
    if (row == 1)
        for (; p + LANES <= k; p += LANES, panel += LANES * width, source += LANES)
            for (int64_t j = (width - 1) / LANES * LANES; j >= 0; j -= LANES) {
                VEC v[LANES];
                if (columns - j >= LANES) {
                    UNROLL
                    for (int i = 0; i < LANES; i++) v[i] = LOAD(source + (j + i) * step);
                } else {
                    UNROLL
                    for (int i = 0; i < LANES; i++) v[i] = j + i < columns ? LOAD(source + (j + i) * step) : (VEC){0};
                }
                NAME(transpose)(v);
                UNROLL
                for (int i = 0; i < LANES; i++) STORE(panel + i * width + j, v[i]);
            }
    for (; p < k; p++, panel += width, source += row)
        for (int64_t j = 0; j < width; j++) panel[j] = j < columns ? source[j * step] : 0;
}

/* c = start + sums for a tile that ends within a vector; `sums` has `width` values to a row. */
static TARGET __attribute__((noinline)) void NAME(finish)(
    T *c, int64_t c_row, const T *start, int64_t start_row, const T *sums, int64_t width, int64_t rows,
    int64_t columns) {
    for (int64_t i = 0; i < rows; i++, c += c_row, sums += width) {
        for (int64_t j = 0; j < columns; j += LANES) {
            VEC whole = LOAD(sums + j);
            if (columns - j >= LANES) {
                if (start != NULL) whole += LOAD(start + i * start_row + j);
                STORE(c + j, whole);
            } else {
                if (start != NULL) whole += LOAD_PART(start + i * start_row + j, columns - j);
                STORE_PART(c + j, whole, columns - j);
            }
        }
    }
}
