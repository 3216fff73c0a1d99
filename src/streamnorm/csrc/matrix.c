/* See matrix.h.
 *
 * Design: rows are made in blocks whose part of the matrix stays in L1, one column after another: values are loaded
 * and mapped side by side in vectors, and only the last step, the store, goes from row to row. Turned down: whole
 * columns at a time, whose strided stores miss every cache, and a transposition in registers, which would save a
 * nanosecond a value where decoding takes five.
 */
#include "matrix.h"

#include <math.h>
#include <string.h>

#define ROWS 512 /* of a block: 512 x 12 floats are 24 kB */
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define DRAWS 32 /* places drawn and fetched ahead: the buffer is far larger than any cache */

__extension__ typedef unsigned __int128 sn_product;

SN_INLINE uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

SN_CLONES void sn_words(uint64_t *out, uint64_t key, uint64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = mix(key + (first + (uint64_t)i + 1) * GOLDEN);
}

#define DEFINE_HASH(bits)                                                                                             \
    void sn_hash_strings_##bits(uint64_t *out, const int##bits##_t *offsets, const uint8_t *bytes,                    \
                                const uint8_t *validity, int64_t offset, int64_t n) {                                 \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            if (validity != NULL && !sn_bit(validity, offset + i)) {                                                  \
                out[i] = 0;                                                                                           \
                continue;                                                                                             \
            }                                                                                                         \
            uint64_t h = UINT64_C(0xcbf29ce484222325);                                                                \
            for (int64_t j = offsets[offset + i]; j < offsets[offset + i + 1]; j++)                                   \
                h = (h ^ bytes[j]) * UINT64_C(0x100000001b3);                                                         \
            out[i] = mix(h);                                                                                          \
        }                                                                                                             \
    }

DEFINE_HASH(32)
DEFINE_HASH(64)

/* y = map(x), rounded once; returns the number of x that are NaN. */
#define DEFINE_MAP(name, real)                                                                                        \
    SN_CLONES static int64_t map_##name(real *restrict y, const double *restrict x, const sn_matrix_column *column,   \
                                        int64_t n) {                                                                  \
        double center = column->center, scale = column->scale, offset = column->offset;                               \
        double low = column->low, high = column->high, fill = column->fill;                                           \
        int64_t missing = 0;                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            double value = (x[i] - center) / scale + offset;                                                          \
            value = value < low ? low : value;                                                                        \
            value = value > high ? high : value;                                                                      \
            missing += x[i] != x[i];                                                                                  \
            y[i] = (real)(x[i] != x[i] ? fill : value);                                                               \
        }                                                                                                             \
        return missing;                                                                                               \
    }

DEFINE_MAP(float32, float)
DEFINE_MAP(float64, double)

static int64_t first_missing(const double *x, const uint8_t *keep, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != x[i] && (keep == NULL || keep[i])) return i;
    return -1;
}

#define DEFINE_FILL(name, real)                                                                                       \
    void sn_matrix_fill_##name(real *out, int64_t *first, const sn_array *arrays, const sn_matrix_column *columns,    \
                               const uint8_t *keep, int64_t n, int64_t k, int64_t width) {                            \
        _Alignas(64) double x[ROWS];                                                                                  \
        _Alignas(64) real y[ROWS];                                                                                    \
        sn_int_extrema unused = {0, 0};                                                                               \
        for (int64_t j = 0; j < k; j++) first[j] = -1;                                                                \
        for (int64_t start = 0; start < n; start += ROWS) {                                                           \
            int64_t m = n - start < ROWS ? n - start : ROWS;                                                          \
            for (int64_t j = 0; j < k; j++) {                                                                         \
                sn_load_block(x, &unused, &arrays[j], start, m);                                                      \
                int64_t missing = map_##name(y, x, &columns[j], m);                                                   \
                real *to = out + start * width + columns[j].place;                                                    \
                for (int64_t i = 0; i < m; i++) to[i * width] = y[i];                                                 \
                if (columns[j].flag >= 0) {                                                                           \
                    to = out + start * width + columns[j].flag;                                                       \
                    for (int64_t i = 0; i < m; i++) to[i * width] = (real)(x[i] != x[i]);                             \
                }                                                                                                     \
                if (missing && first[j] < 0) {                                                                        \
                    int64_t found = first_missing(x, keep == NULL ? NULL : keep + start, m);                          \
                    if (found >= 0) first[j] = start + found;                                                         \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

DEFINE_FILL(float32, float)
DEFINE_FILL(float64, double)

SN_INLINE int64_t place_of(uint64_t word, int64_t count) {
    return (int64_t)(((sn_product)word * (uint64_t)count) >> 64);
}

/* The next places, whose rows are on their way into the cache when they are needed. */
typedef struct {
    int64_t place[DRAWS];
    int next;
} draws;

SN_INLINE void draw_ahead(draws *d, const sn_shuffler *s) {
    uint64_t word[DRAWS];
    sn_words(word, s->key, s->drawn, DRAWS);
    for (int i = 0; i < DRAWS; i++) {
        d->place[i] = place_of(word[i], s->count);
        const char *row = s->rows + d->place[i] * s->width;
        for (int64_t b = 0; b < s->width && b < 512; b += 64) __builtin_prefetch(row + b, 1);
        __builtin_prefetch(row + s->width - 1, 1);
    }
    d->next = 0;
}

SN_INLINE void give(char *x, char *y, const char *row, int64_t x_width, int64_t y_width) {
    if (x_width) memcpy(x, row, (size_t)x_width); /* either may be NULL where it has no columns */
    if (y_width) memcpy(y, row + x_width, (size_t)y_width);
}

int64_t sn_shuffler_push(char *x, char *y, int64_t *taken, sn_shuffler *s, const char *rows, const uint8_t *keep,
                         int64_t x_width, int64_t room, int64_t n) {
    int64_t width = s->width, y_width = width - x_width, given = 0, i = 0;
    draws d = {{0}, DRAWS};
    for (; i < n && given < room; i++) {
        const char *row = rows + i * width;
        if (keep != NULL && !keep[i]) continue;
        if (s->count < s->capacity) {
            memcpy(s->rows + s->count * width, row, (size_t)width);
            s->count++;
            continue;
        }
        if (s->capacity == 0) {
            give(x + given * x_width, y + given * y_width, row, x_width, y_width);
        } else {
            if (d.next == DRAWS) draw_ahead(&d, s);
            char *held = s->rows + d.place[d.next++] * width;
            s->drawn++;
            give(x + given * x_width, y + given * y_width, held, x_width, y_width);
            memcpy(held, row, (size_t)width);
        }
        given++;
    }
    *taken = i;
    return given;
}

int64_t sn_shuffler_drain(char *x, char *y, sn_shuffler *s, int64_t x_width, int64_t room) {
    int64_t width = s->width, y_width = width - x_width, given = 0;
    while (given < room && s->count > 0) {
        uint64_t word[DRAWS];
        int64_t m = room - given < s->count ? room - given : s->count;
        if (m > DRAWS) m = DRAWS;
        sn_words(word, s->key, s->drawn, m);
        for (int64_t i = 0; i < m; i++) {
            const char *row = s->rows + place_of(word[i], s->count - i) * width;
            __builtin_prefetch(row, 1);
            __builtin_prefetch(row + width - 1, 1);
        }
        for (int64_t i = 0; i < m; i++, given++) {
            char *held = s->rows + place_of(word[i], s->count) * width;
            give(x + given * x_width, y + given * y_width, held, x_width, y_width);
            s->count--;
            if (held != s->rows + s->count * width) memcpy(held, s->rows + s->count * width, (size_t)width);
        }
        s->drawn += (uint64_t)m;
    }
    return given;
}

int64_t sn_rows_pack(char *rows, const uint8_t *keep, int64_t width, int64_t n) {
    int64_t at = 0, i = 0;
    while (i < n) {
        while (i < n && !keep[i]) i++;
        int64_t first = i;
        while (i < n && keep[i]) i++;
        if (first != at && i != first) memmove(rows + at * width, rows + first * width, (size_t)((i - first) * width));
        at += i - first;
    }
    return at;
}

void sn_rows_gather(char *x, char *y, const char *rows, const int64_t *order, int64_t width, int64_t x_width,
                    int64_t n) {
    int64_t y_width = width - x_width;
    for (int64_t i = 0; i < n; i++) {
        if (i + DRAWS < n) {
            const char *row = rows + order[i + DRAWS] * width;
            for (int64_t b = 0; b < width && b < 512; b += 64) __builtin_prefetch(row + b);
            __builtin_prefetch(row + width - 1);
        }
        give(x + i * x_width, y + i * y_width, rows + order[i] * width, x_width, y_width);
    }
}

void sn_windows_gather(char *x, const char *rows, const int64_t *starts, int64_t width, int64_t size, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (i + DRAWS < n) {  /* the rest of it the processor fetches by itself */
            const char *next = rows + starts[i + DRAWS] * width;
            for (int64_t b = 0; b < size && b < 512; b += 64) __builtin_prefetch(next + b);
        }
        memcpy(x + i * size, rows + starts[i] * width, (size_t)size);
    }
}
