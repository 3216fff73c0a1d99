/* One pass of exact selection: what lies below, and what within, intervals that are known to hold wanted ranks.
 *
 * Values are handled as order-preserving 64-bit keys: of a double, the key of kll_sort.h; of integers beyond 2^53, the
 * integer itself (of unsigned ones, less 2^63). For each interval the pass counts the keys below it and either keeps
 * those within or, when they are more than `capacity`, counts them by the leading bits of their distance from its low
 * end. Counts are integers and kept keys a multiset: the outcome is the same for any order, chunking and merging.
 *
 * Source of the method: Munro and Paterson, "Selection and sorting with limited storage" (Theoretical Computer Science
 * 12, 1980): passes that narrow an interval around the wanted rank.
 */
#ifndef SN_SELECT_H
#define SN_SELECT_H

#include "load.h"

#define SN_SELECT_MAX_BITS 16

typedef struct {
    int64_t low, high;      /* keys, inclusive; low == high keeps nothing and only counts */
    int64_t below, inside;  /* keys seen */
    int64_t n_atoms;
    int64_t *atoms;         /* (n_atoms,) ascending keys within that occur often and are counted, not kept; owned */
    int64_t *atom_counts;   /* (n_atoms,), owned */
    int64_t size, room;
    int64_t *keys;          /* those kept, in any order; NULL before the first and after they were too many; owned */
    int64_t *counts;        /* (1 << bits,) of keys by (key - low) >> shift; NULL until then; owned */
    int shift;
} sn_interval;

typedef enum { SN_KEYS_DOUBLE, SN_KEYS_SIGNED, SN_KEYS_UNSIGNED } sn_key_kind;

typedef struct {
    sn_key_kind kind;
    int bits;          /* of a count's index */
    int64_t capacity;  /* keys that an interval may keep */
    int64_t n;
    sn_interval *intervals; /* (n,) disjoint, ascending; owned */
} sn_selection;

/* The intervals' low, high, n_atoms and atoms are taken over from the arguments by copy; `atoms` has them all in turn. */
sn_status sn_selection_init(sn_selection *selection, sn_key_kind kind, int bits, int64_t capacity, const int64_t *low,
                            const int64_t *high, const int64_t *n_atoms, const int64_t *atoms, int64_t n);
void sn_selection_release(sn_selection *selection);

/* NaN and nulls are skipped. After SN_ERR_NOMEM the selection is of no more use. */
sn_status sn_selection_update(sn_selection *selection, const sn_array *array);

/* Both were made with the same arguments; `from` is left alone. */
sn_status sn_selection_merge(sn_selection *into, const sn_selection *from);

#endif
