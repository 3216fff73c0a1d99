/* The sketch's insides, shared by kll.c (building), kll_collapse.c (shrinking), kll_query.c (asking),
 * kll_certify.c (how far the answers can be off) and kll_bytes.c (bytes). */
#ifndef SN_KLL_STATE_H
#define SN_KLL_STATE_H

#include "kll.h"
#include "kll_sort.h"

#define SN_KLL_LN_200 5.298317366548036 /* ln(2 / delta), delta = 1 % */
#define SN_KLL_MAX_PICK 5   /* log2; smaller than a block by enough to leave pairs */
#define SN_KLL_MAX_STRIDE 5 /* log2 */
#define SN_KLL_CLASSES 32 /* weights 4^c .. 4^(c+1) are class c; 4^31 is more than int64 counts */

/* Sorted keys that stand for `total` values, each for total / size of them. */
typedef struct {
    int64_t total, size;
    int64_t *keys; /* (size,), owned */
} sn_kll_run;

/* Keys in a block of SN_KLL_ROWS * lanes, allocated as far as it is filled; owned. */
typedef struct {
    int64_t *keys;
    int64_t size, capacity;
} sn_kll_buffer;

typedef struct sn_kll_weighted sn_kll_weighted; /* kll_weighted.h */

struct sn_kll {
    double error;
    uint64_t seed, random; /* `random`: state of the generator, into which every block's contents are mixed */
    int64_t count;
    int64_t min, max;      /* keys */
    double variance;       /* sum of sub-Gaussian variance proxies of all steps, in ranks squared */
    double worst;          /* sum of the largest errors of all steps, in ranks */
    int32_t lanes;
    int32_t pick_log2;     /* of so many values in a row, one is picked before anything is sorted */
    int32_t stride_log2;   /* of so many rows of a sorted column, one is kept */
    double pair_weight[SN_KLL_CLASSES]; /* > 0: a collapse out of this class waits for its partner */
    double pair_offset[SN_KLL_CLASSES];
    sn_kll_buffer raw;     /* values, in order of arrival, weight 1 */
    sn_kll_buffer picked;  /* weight 2^pick_log2 */
    sn_kll_buffer strided; /* weight 2^(pick_log2 + stride_log2), in sorted stretches of rows */
    sn_kll_run *runs;
    int64_t run_count, run_capacity;
    sn_kll_weighted *weighted; /* owned; once values came with weights it holds all keys, and the stages above none */
};

SN_INLINE int64_t sn_kll_block(const sn_kll *kll)
{
    return (int64_t)SN_KLL_ROWS * kll->lanes;
}

SN_INLINE double sn_kll_run_weight(const sn_kll_run *run)
{
    return (double)run->total / (double)run->size;
}

/* Keys that the sketch keeps in runs after `count` values. */
int64_t sn_kll_capacity(double error, int64_t count);

/* Lanes of the blocks that a sketch works with after `count` values. */
int32_t sn_kll_lanes(double error, int64_t count);

/* The sum of proxies at which `error` just holds, (error * count)^2 / (2 ln 200). */
double sn_kll_budget(const sn_kll *kll);

uint64_t sn_kll_scramble(uint64_t x);
uint64_t sn_kll_random(sn_kll *kll);

/* Stir the generator with the contents of a block. */
void sn_kll_mix_in(sn_kll *kll, uint64_t contents);

/* Scratch of one call: starts as zeros, is allocated when first needed, freed when the call ends. */
typedef struct {
    int64_t *words;
    int64_t capacity;
    sn_keys *lists;
    int64_t list_capacity;
} sn_kll_scratch;

int64_t *sn_kll_scratch_words(sn_kll_scratch *scratch, int64_t words);
/* What a buffer holds, sorted, in the scratch; NULL: no memory. */
int64_t *sn_kll_sorted_copy(const sn_kll_buffer *buffer, sn_kll_scratch *scratch);
void sn_kll_scratch_free(sn_kll_scratch *scratch);

/* A copy of sorted keys as a further run. */
sn_status sn_kll_append_run(sn_kll *kll, const int64_t *keys, int64_t size, int64_t total);

/* Every key held, sorted, in *merged. The two allocations are the caller's to free, whatever is returned. */
sn_status sn_kll_merge_everything(const sn_kll *kll, sn_keys *merged, int64_t **sorted, int64_t **arena);

/* Ascending sums of the weights of sorted keys, the caller's to free; NULL: no memory. */
double *sn_kll_sums(const sn_keys *merged);

/* First of n ascending sums that is at least `target`; n - 1 if rounding left them all below. */
int64_t sn_kll_first_reaching(const double *sums, int64_t n, double target);

/* The answer to q in [0, 1] while every value is held, and the key of the answer afterwards. */
double sn_kll_exact_quantile(const int64_t *keys, int64_t n, double q);
int64_t sn_kll_key_at(const sn_kll *kll, const sn_keys *merged, const double *sums, double q);

/* Collapse until the runs are within the capacity, or the budget allows no more. */
sn_status sn_kll_shrink(sn_kll *kll, sn_kll_scratch *scratch);

#endif
