/* See select.h.
 *
 * Design: almost all values are outside of the intervals, so a block of keys is first counted against both ends of
 * each, by loops that are vectors; only where some are inside, these are flagged, and the flags gathered into words
 * of 64 bits whose set bits are walked. Turned down: looking at stretches of 16 that have any (1 ns a value and
 * interval, spent on branches that are guessed wrong), branch-free collecting of every value, and a binary search over
 * all ends (4 ns a value).
 */
#include "select.h"

#include <stdlib.h>
#include <string.h>

#include "kll_sort.h"

#define SN_FIRST_ROOM 256

static void interval_release(sn_interval *interval) {
    free(interval->atoms);
    free(interval->atom_counts);
    free(interval->keys);
    free(interval->counts);
}

sn_status sn_selection_init(sn_selection *selection, sn_key_kind kind, int bits, int64_t capacity, const int64_t *low,
                            const int64_t *high, const int64_t *n_atoms, const int64_t *atoms, int64_t n) {
    memset(selection, 0, sizeof *selection);
    selection->kind = kind;
    selection->bits = bits;
    selection->capacity = capacity;
    selection->intervals = calloc((size_t)(n > 0 ? n : 1), sizeof *selection->intervals);
    if (selection->intervals == NULL) return SN_ERR_NOMEM;
    selection->n = n;
    for (int64_t i = 0; i < n; i++) {
        sn_interval *interval = &selection->intervals[i];
        interval->low = low[i];
        interval->high = high[i];
        uint64_t width = (uint64_t)high[i] - (uint64_t)low[i];
        while (width >> interval->shift >> bits != 0) interval->shift++;
        interval->n_atoms = n_atoms[i];
        if (n_atoms[i] == 0) continue;
        interval->atoms = malloc((size_t)n_atoms[i] * sizeof *atoms);
        interval->atom_counts = calloc((size_t)n_atoms[i], sizeof *atoms);
        if (interval->atoms == NULL || interval->atom_counts == NULL) return SN_ERR_NOMEM;
        memcpy(interval->atoms, atoms, (size_t)n_atoms[i] * sizeof *atoms);
        atoms += n_atoms[i];
    }
    return SN_OK;
}

void sn_selection_release(sn_selection *selection) {
    for (int64_t i = 0; i < selection->n; i++) interval_release(&selection->intervals[i]);
    free(selection->intervals);
    selection->intervals = NULL;
    selection->n = 0;
}

/* ---- keys ---- */

SN_CLONES static void keys_of_doubles(int64_t *keys, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        int64_t key = sn_key_from_double(x[i]);
        keys[i] = x[i] == x[i] ? key : SN_KEY_PAD; /* above every interval */
    }
}

/* Keys of rows that are integers beyond 2^53 in part; nulls, which have no key of their own, are left out. */
static int64_t keys_of_integers(int64_t *keys, const double *x, const sn_array *array, int64_t start, int64_t n,
                                sn_key_kind kind) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] != x[i]) continue;
        int64_t value;
        if (array->type == SN_INT64 || array->type == SN_UINT64)
            memcpy(&value, (const char *)array->values + (start + i) * array->stride, sizeof value);
        else
            value = (int64_t)x[i];
        keys[kept++] = kind == SN_KEYS_UNSIGNED ? (int64_t)((uint64_t)value ^ ((uint64_t)1 << 63)) : value;
    }
    return kept;
}

/* ---- what is inside ---- */

static int64_t find_atom(const sn_interval *interval, int64_t key) {
    int64_t lo = 0, hi = interval->n_atoms;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (interval->atoms[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < interval->n_atoms && interval->atoms[lo] == key ? lo : -1;
}

static void count_key(sn_interval *interval, int64_t key) {
    interval->counts[((uint64_t)key - (uint64_t)interval->low) >> interval->shift]++;
}

/* From keeping to counting. */
static sn_status start_counting(sn_interval *interval, int bits) {
    interval->counts = calloc((size_t)1 << bits, sizeof *interval->counts);
    if (interval->counts == NULL) return SN_ERR_NOMEM;
    for (int64_t i = 0; i < interval->size; i++) count_key(interval, interval->keys[i]);
    free(interval->keys);
    interval->keys = NULL;
    interval->size = interval->room = 0;
    return SN_OK;
}

/* Room for `more` keys, or counts in their place. */
static sn_status make_room(sn_interval *interval, int64_t more, int64_t capacity, int bits) {
    if (interval->counts != NULL || interval->size + more <= interval->room) return SN_OK;
    if (interval->size + more > capacity) return start_counting(interval, bits);
    int64_t room = interval->room + interval->room / 2 + SN_FIRST_ROOM;
    if (room < interval->size + more) room = interval->size + more;
    if (room > capacity) room = capacity;
    int64_t *keys = realloc(interval->keys, (size_t)room * sizeof *keys);
    if (keys == NULL) return SN_ERR_NOMEM;
    interval->keys = keys;
    interval->room = room;
    return SN_OK;
}

/* Room was made for it. */
static void take_key(sn_interval *interval, int64_t key) {
    int64_t atom = interval->n_atoms > 0 ? find_atom(interval, key) : -1;
    if (atom >= 0)
        interval->atom_counts[atom]++;
    else if (interval->counts != NULL)
        count_key(interval, key);
    else
        interval->keys[interval->size++] = key;
}

SN_CLONES static void count_against(int64_t *below, int64_t *up_to, const int64_t *keys, int64_t n, int64_t low,
                                    int64_t high) {
    int64_t less = 0, at_most = 0;
    for (int64_t i = 0; i < n; i++) {
        less += keys[i] < low;
        at_most += keys[i] <= high;
    }
    *below = less;
    *up_to = at_most;
}

/* inside[i] = 1 where the key is within. */
SN_CLONES static void flag_inside(uint8_t *inside, const int64_t *keys, int64_t n, int64_t low, int64_t high) {
    const uint64_t width = (uint64_t)high - (uint64_t)low;
    for (int64_t i = 0; i < n; i++) inside[i] = (uint64_t)keys[i] - (uint64_t)low <= width;
}

SN_INLINE uint64_t first_byte_lowest(uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

/* Takes the keys of the block that are inside; room for them was made. */
static void take_inside(sn_interval *interval, const int64_t *keys, int64_t n) {
    _Alignas(8) uint8_t inside[SN_BLOCK + 64] = {0};
    flag_inside(inside, keys, n, interval->low, interval->high);
    for (int64_t i = 0; i < n; i += 64) {
        uint64_t mask = 0;
        for (int byte = 0; byte < 8; byte++) {
            uint64_t flags;
            memcpy(&flags, inside + i + 8 * byte, 8);
            mask |= (first_byte_lowest(flags) * 0x0102040810204080u >> 56) << (8 * byte); /* 8 bytes to 8 bits */
        }
        for (; mask != 0; mask &= mask - 1) take_key(interval, keys[i + __builtin_ctzll(mask)]);
    }
}

static sn_status add_keys(sn_selection *selection, const int64_t *keys, int64_t n) {
    for (int64_t j = 0; j < selection->n; j++) {
        sn_interval *interval = &selection->intervals[j];
        int64_t below, up_to;
        count_against(&below, &up_to, keys, n, interval->low, interval->high);
        interval->below += below;
        interval->inside += up_to - below;
        if (up_to == below || interval->low == interval->high) continue;
        sn_status status = make_room(interval, up_to - below, selection->capacity, selection->bits);
        if (status != SN_OK) return status;
        take_inside(interval, keys, n);
    }
    return SN_OK;
}

sn_status sn_selection_update(sn_selection *selection, const sn_array *array) {
    _Alignas(64) double loaded[SN_BLOCK];
    _Alignas(64) int64_t keys[SN_BLOCK];
    sn_int_extrema unused = {0, 0};
    for (int64_t start = 0; start < array->length; start += SN_BLOCK) {
        int64_t n = array->length - start < SN_BLOCK ? array->length - start : SN_BLOCK;
        sn_load_block(loaded, &unused, array, start, n);
        if (selection->kind == SN_KEYS_DOUBLE)
            keys_of_doubles(keys, loaded, n);
        else
            n = keys_of_integers(keys, loaded, array, start, n, selection->kind);
        sn_status status = add_keys(selection, keys, n);
        if (status != SN_OK) return status;
    }
    return SN_OK;
}

/* ---- merging ---- */

static sn_status merge_interval(sn_interval *into, const sn_interval *from, int64_t capacity, int bits) {
    into->below += from->below;
    into->inside += from->inside;
    for (int64_t i = 0; i < into->n_atoms; i++) into->atom_counts[i] += from->atom_counts[i];
    if (from->counts != NULL) {
        if (into->counts == NULL) {
            sn_status status = start_counting(into, bits);
            if (status != SN_OK) return status;
        }
        for (int64_t i = 0; i < (int64_t)1 << bits; i++) into->counts[i] += from->counts[i];
        return SN_OK;
    }
    if (from->size == 0) return SN_OK;
    sn_status status = make_room(into, from->size, capacity, bits);
    if (status != SN_OK) return status;
    if (into->counts != NULL) {
        for (int64_t i = 0; i < from->size; i++) count_key(into, from->keys[i]);
        return SN_OK;
    }
    memcpy(into->keys + into->size, from->keys, (size_t)from->size * sizeof *into->keys);
    into->size += from->size;
    return SN_OK;
}

sn_status sn_selection_merge(sn_selection *into, const sn_selection *from) {
    for (int64_t i = 0; i < into->n; i++) {
        sn_status status =
            merge_interval(&into->intervals[i], &from->intervals[i], into->capacity, into->bits);
        if (status != SN_OK) return status;
    }
    return SN_OK;
}
