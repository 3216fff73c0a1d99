/* Sorting and merging of order-preserving keys: the inner loops of the quantile sketch.
 *
 * A float64 is handled as a *key*, the signed integer with the same order: the bits, with all but the sign
 * flipped where the sign is set. The map is its own inverse, -0.0 sorts just below +0.0, and integer
 * comparison makes a total order without a word about NaN, whose keys lie outside [SN_KEY_NEG_INF,
 * SN_KEY_POS_INF].
 */
#ifndef SN_KLL_SORT_H
#define SN_KLL_SORT_H

#include <string.h>

#include "sn_common.h"

#define SN_KLL_ROWS 64 /* values that the network sorts in one column */
#define SN_KEY_POS_INF INT64_C(0x7ff0000000000000)
#define SN_KEY_NEG_INF (-SN_KEY_POS_INF - 1)
#define SN_KEY_PAD INT64_MAX /* sorts behind every number */

SN_INLINE int64_t sn_key_from_bits(int64_t bits)
{
    return bits ^ ((bits >> 63) & INT64_MAX);
}

SN_INLINE int64_t sn_key_from_double(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return sn_key_from_bits(bits);
}

SN_INLINE double sn_key_to_double(int64_t key)
{
    double x;
    key = sn_key_from_bits(key);
    memcpy(&x, &key, sizeof x);
    return x;
}

/* A sorted list of weighted keys. `weights` is NULL where every key has weight `weight`. Borrowed pointers.
 */
typedef struct {
    const int64_t *keys;
    const double *weights;
    double weight;
    int64_t size;
} sn_keys;

/* keys[i] of values[i] for i < n, and their extremes, NaN included; n >= 1. */
void sn_keys_load(int64_t *keys, int64_t *min, int64_t *max, const double *values, int64_t n);

/* Keys of those values that are not NaN, in order, and their extremes if there are any; returns how many. */
int64_t sn_keys_load_valid(int64_t *keys, int64_t *min, int64_t *max, const double *values, int64_t n);

/* Sum of n keys, modulo 2^64. */
uint64_t sn_keys_sum(const int64_t *keys, int64_t n);

/* Sort each column of keys (SN_KLL_ROWS, lanes); aligned stretches of `sorted` rows are in order already. */
void sn_keys_sort_columns(int64_t *keys, int lanes, int sorted);

/* Columns of (SN_KLL_ROWS, lanes), each in order, to one sorted list, in `keys`; `tmp` is as large. */
void sn_keys_merge_columns(int64_t *keys, int64_t *tmp, int lanes);

/* Sort any n keys; `tmp` holds sn_keys_sort_space(n) keys. */
void sn_keys_sort(int64_t *keys, int64_t n, int64_t *tmp);
int64_t sn_keys_sort_space(int64_t n);

/* out (na + nb) from two sorted lists; stable. */
void sn_keys_merge(int64_t *out, const int64_t *a, int64_t na, const int64_t *b, int64_t nb);

/* Merge `count` lists, at least one, smallest first. `lists` has room for 2 * count and is used up; `arena`
 * has the 8-byte words that sn_keys_merge_space said, which is called first and orders the lists. The result
 * lies in the arena, or is the only list given. */
int64_t sn_keys_merge_space(sn_keys *lists, int64_t count);
sn_keys sn_keys_merge_all(sn_keys *lists, int64_t count, int64_t *arena);

/* Systematic sample: out[j] is the key in which weight (j + u) * total / n falls, for j < n and 0 <= u < 1.
 */
void sn_keys_sample(int64_t *out, int64_t n, double u, double total, const sn_keys *from);

#endif
