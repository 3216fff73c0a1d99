/* The number of distinct values of a stream, as far as it can be told in bounded memory.
 *
 * Each value has a pattern of 64 bits, the same for equal values of one kind, and patterns go through a mixing function
 * that is one-to-one (the last step of SplitMix64: Steele, Lea and Flood, OOPSLA 2014). Up to SN_DISTINCT_EXACT hashes
 * are kept in a table, whose size is their number. Beyond that, 2^SN_DISTINCT_PRECISION registers keep the longest run
 * of leading zeros, plus one, among the hashes whose first bits are a register's number (Flajolet, Fusy, Gandouet and
 * Meunier, "HyperLogLog", AofA 2007). Both are functions of the set of values alone, whatever their order, chunks and
 * merges. What number the registers stand for is left to the caller.
 */
#ifndef SN_DISTINCT_H
#define SN_DISTINCT_H

#include "sn_common.h"

#define SN_DISTINCT_EXACT 1024
#define SN_DISTINCT_PRECISION 12

typedef struct {
    int64_t known;      /* hashes in the table, the hash 0 left out */
    int64_t slots;      /* a power of two, at least twice as many; 0: no table yet */
    int32_t has_zero;   /* the hash 0, which marks an empty slot, was there */
    uint64_t *table;    /* owned; a hash is found by its last bits, then slot after slot */
    uint8_t *registers; /* owned; NULL while the table counts */
} sn_distinct;

/* All zero bytes are an empty one. */
void sn_distinct_release(sn_distinct *distinct);
sn_status sn_distinct_update(sn_distinct *distinct, uint64_t *patterns, int64_t n); /* which are used up */
sn_status sn_distinct_merge(sn_distinct *into, const sn_distinct *from);            /* from another one */

/* The hashes in the table, in no order; returns their number. */
int64_t sn_distinct_hashes(uint64_t *out, const sn_distinct *distinct);

SN_INLINE uint64_t sn_mixed(uint64_t bits) {
    uint64_t h = bits + 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

#endif
