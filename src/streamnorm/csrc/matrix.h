/* Rows for training: columns to a row-major matrix, random words, string hashes, and the shuffle buffer.
 *
 * Random words are those of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"),
 * word i of a key being mix(key + (i + 1) golden): a counter, so that a word depends on its number alone. The string
 * hash is FNV-1a (Fowler, Noll, Vo) and then mix, because the high bits of FNV-1a of short strings are poor.
 */
#ifndef SN_MATRIX_H
#define SN_MATRIX_H

#include "load.h"

/* One column on its way into a matrix: y = (x - center) / scale + offset, clipped; `fill` where x is null or NaN. */
typedef struct {
    double center, scale, offset, low, high;
    double fill;
    int64_t place; /* the column of the matrix */
    int64_t flag;  /* the column that is 1 where x is missing and else 0; -1: none */
} sn_matrix_column;

/* out: n x width, row-major; columns that are nobody's place or flag stay. first: k row numbers, the first row without
 * a value among those that `keep` does not hold 0 for (NULL: all), or -1. All arrays have n rows. */
void sn_matrix_fill_float32(float *out, int64_t *first, const sn_array *arrays, const sn_matrix_column *columns,
                            const uint8_t *keep, int64_t n, int64_t k, int64_t width);
void sn_matrix_fill_float64(double *out, int64_t *first, const sn_array *arrays, const sn_matrix_column *columns,
                            const uint8_t *keep, int64_t n, int64_t k, int64_t width);

/* Words first, first + 1, ... of a key. */
void sn_words(uint64_t *out, uint64_t key, uint64_t first, int64_t n);

/* Hashes of strings [offset, offset + n) with Arrow's offsets of 32 or 64 bits; 0 for a null. */
void sn_hash_strings_32(uint64_t *out, const int32_t *offsets, const uint8_t *bytes, const uint8_t *validity,
                        int64_t offset, int64_t n);
void sn_hash_strings_64(uint64_t *out, const int64_t *offsets, const uint8_t *bytes, const uint8_t *validity,
                        int64_t offset, int64_t n);

/* A buffer of rows of `width` bytes. While it is not full, rows come in and none goes out; then each row that comes in
 * takes the place of one drawn at random. Draw i is place word(i) * count >> 64.
 *
 * Invariants: 0 <= count <= capacity; rows [0, count) are held; `drawn` words of `key` have been used. */
typedef struct {
    char *rows; /* capacity x width bytes, the caller's */
    int64_t width, capacity, count;
    uint64_t key, drawn;
} sn_shuffler;

/* Takes in the first of n rows that `keep` does not hold 0 for (NULL: all), until `room` rows have gone out. The first
 * x_width bytes of a row go to x, the others to y. Returns how many went out; *taken: how many of the n were dealt
 * with. */
int64_t sn_shuffler_push(char *x, char *y, int64_t *taken, sn_shuffler *shuffler, const char *rows,
                         const uint8_t *keep, int64_t x_width, int64_t room, int64_t n);

/* Gives out what is left, in random order, up to `room` rows; returns how many. */
int64_t sn_shuffler_drain(char *x, char *y, sn_shuffler *shuffler, int64_t x_width, int64_t room);

/* Moves the rows that `keep` does not hold 0 for to the front; returns how many there are. */
int64_t sn_rows_pack(char *rows, const uint8_t *keep, int64_t width, int64_t n);

/* Rows order[0], ..., order[n - 1] of a matrix: the first x_width bytes of each go to x, the others to y. */
void sn_rows_gather(char *x, char *y, const char *rows, const int64_t *order, int64_t width, int64_t x_width,
                    int64_t n);

/* Stretches of `size` bytes that begin with the rows starts[0], ..., starts[n - 1] of `width` bytes, one after another
 * in x. They may overlap in `rows`, not in x. */
void sn_windows_gather(char *x, const char *rows, const int64_t *starts, int64_t width, int64_t size, int64_t n);

#endif
