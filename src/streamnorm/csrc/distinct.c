/* See distinct.h.
 *
 * Design: hashes first, for a piece of values at once, in a loop that compilers turn into vectors. Then, while a table
 * counts, those that it has in the bucket where they belong are dropped without a branch, as only chance tells which
 * slot a hash is in; the few others are looked for one by one. With registers there is one comparison a value, which
 * almost never goes the other way. Turned down: dropping first what is below all registers, which gains a twentieth.
 */
#include "distinct.h"

#include <stdlib.h>

enum { BUCKET = 4, FIRST_SLOTS = 64, REGISTERS = 1 << SN_DISTINCT_PRECISION };

SN_CLONES static void mix_all(uint64_t *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = sn_mixed(p[i]);
}

/* The run of zeros comes from the bits behind those that choose the register; the bit that is set ends it in any case. */
SN_CLONES static void raise_registers(uint8_t *registers, const uint64_t *hashes, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = hashes[i];
        uint64_t rest = h << SN_DISTINCT_PRECISION | (uint64_t)1 << (SN_DISTINCT_PRECISION - 1);
        uint8_t run = (uint8_t)(__builtin_clzll(rest) + 1);
        uint8_t *its = registers + (h >> (64 - SN_DISTINCT_PRECISION));
        if (SN_UNLIKELY(run > *its)) *its = run;
    }
}

/* A hash belongs in one of BUCKET slots; where others have taken them all, in the next one that is free. */
SN_INLINE uint64_t bucket_of(uint64_t h, int64_t slots) { return h & (uint64_t)(slots - BUCKET); }

/* Where a hash is in the table, or the empty slot where it belongs. */
SN_INLINE uint64_t *slot_of(uint64_t *table, int64_t slots, uint64_t h) {
    uint64_t last = (uint64_t)slots - 1, at = bucket_of(h, slots);
    while (table[at] != h && table[at] != 0) at = (at + 1) & last;
    return table + at;
}

/* Moves to the front the hashes that are not in their bucket; returns their number. */
SN_CLONES static int64_t not_in_bucket(uint64_t *hashes, const uint64_t *table, int64_t slots, int64_t n) {
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = hashes[i];
        const uint64_t *bucket = table + bucket_of(h, slots);
        int there = 0;
        for (int k = 0; k < BUCKET; k++) there |= bucket[k] == h;
        hashes[left] = h;
        left += !there | (h == 0); /* which looks like an empty slot */
    }
    return left;
}

static sn_status make_room(sn_distinct *d) {
    int64_t slots = d->slots == 0 ? FIRST_SLOTS : 2 * d->slots;
    uint64_t *table = calloc((size_t)slots, sizeof *table);
    if (table == NULL) return SN_ERR_NOMEM;
    for (int64_t i = 0; i < d->slots; i++)
        if (d->table[i] != 0) *slot_of(table, slots, d->table[i]) = d->table[i];
    free(d->table);
    d->table = table;
    d->slots = slots;
    return SN_OK;
}

static sn_status make_registers(sn_distinct *d) {
    d->registers = calloc(REGISTERS, 1);
    if (d->registers == NULL) return SN_ERR_NOMEM;
    for (int64_t i = 0; i < d->slots; i++)
        if (d->table[i] != 0) raise_registers(d->registers, d->table + i, 1);
    const uint64_t zero = 0;
    if (d->has_zero) raise_registers(d->registers, &zero, 1);
    free(d->table);
    d->table = NULL;
    d->slots = d->known = d->has_zero = 0;
    return SN_OK;
}

/* Memory is asked for six times in the life of a table, and once for registers. */
static sn_status count_hashes(sn_distinct *d, const uint64_t *hashes, int64_t n) {
    int64_t i = 0;
    for (; i < n && d->registers == NULL; i++) {
        uint64_t h = hashes[i];
        if (SN_UNLIKELY(d->slots < 2 * (d->known + 1)) && d->slots < 2 * SN_DISTINCT_EXACT) {
            sn_status status = make_room(d);
            if (status != SN_OK) return status;
        }
        if (SN_UNLIKELY(h == 0)) {
            if (d->has_zero) continue;
        } else {
            uint64_t *slot = slot_of(d->table, d->slots, h);
            if (SN_LIKELY(*slot == h)) continue;
            if (d->known + d->has_zero < SN_DISTINCT_EXACT) *slot = h;
        }
        if (d->known + d->has_zero == SN_DISTINCT_EXACT) { /* one more than a table holds */
            sn_status status = make_registers(d);
            if (status != SN_OK) return status;
            break;
        }
        if (h == 0) d->has_zero = 1;
        else d->known++;
    }
    if (i < n) raise_registers(d->registers, hashes + i, n - i);
    return SN_OK;
}

sn_status sn_distinct_merge(sn_distinct *into, const sn_distinct *from) {
    const uint64_t zero = 0;
    sn_status status = SN_OK;
    if (from->registers != NULL) {
        if (into->registers == NULL) status = make_registers(into);
        if (status != SN_OK) return status;
        for (int64_t i = 0; i < REGISTERS; i++)
            if (from->registers[i] > into->registers[i]) into->registers[i] = from->registers[i];
        return SN_OK;
    }
    for (int64_t i = 0; i < from->slots && status == SN_OK; i++)
        if (from->table[i] != 0) status = count_hashes(into, from->table + i, 1);
    if (status == SN_OK && from->has_zero) status = count_hashes(into, &zero, 1);
    return status;
}

int64_t sn_distinct_hashes(uint64_t *out, const sn_distinct *distinct) {
    int64_t n = 0;
    if (distinct->has_zero) out[n++] = 0;
    for (int64_t i = 0; i < distinct->slots; i++)
        if (distinct->table[i] != 0) out[n++] = distinct->table[i];
    return n;
}

sn_status sn_distinct_update(sn_distinct *distinct, uint64_t *patterns, int64_t n) {
    mix_all(patterns, n);
    if (distinct->registers == NULL && distinct->slots > 0)
        n = not_in_bucket(patterns, distinct->table, distinct->slots, n);
    return count_hashes(distinct, patterns, n);
}

void sn_distinct_release(sn_distinct *distinct) {
    free(distinct->table);
    free(distinct->registers);
    *distinct = (sn_distinct){0};
}
