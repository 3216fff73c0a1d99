/* A quantile sketch: how it is built and merged.
 *
 * Source: Z. Karnin, K. Lang, E. Liberty, "Optimal quantile approximation in streams", FOCS 2016 (compactors
 * of growing weight above a sampler), and N. Ivkin, E. Liberty, K. Lang, Z. Karnin, V. Braverman, "Streaming
 * quantiles algorithms with small space and update time", 2019 (antithetic pairs of coins). The step used
 * here is more general than theirs: a sorted list of weighted keys of total weight T is replaced by a
 * systematic sample of m of them, the keys in which weight (j + u) T / m falls, j = 0 .. m - 1, with one
 * random u in [0, 1). Each then weighs W = T / m.
 *
 * What one step does to the rank of a fixed x: with F the fraction by which the weight <= x reaches into a
 * stride of W, the rank changes by W ([u < F] - F): mean zero, within an interval of length W. By Hoeffding's
 * lemma it is sub-Gaussian with variance proxy W^2 / 4, however long the list was. Steps are independent, or
 * come in antithetic pairs (u, 1 - u); the sum over a pair with W1 and W2 stays within an interval of length
 * max(W1, W2), so that the second step of a pair costs only what its W exceeds the first one's. `variance` is
 * the sum of these proxies, V, and
 *
 *     P(|rank - true rank| > sqrt(2 V ln(2 / delta)) / n) <= delta = 0.01
 *
 * by the Azuma-Hoeffding inequality. V depends on the numbers of values alone, never on values or coins, as
 * Azuma needs. A pair's second list never holds what came out of the first: a collapse out of class c gives
 * keys of a higher class, which later collapses out of c don't touch; the exception (a collapse within the
 * top class) parts all pairs.
 *
 * The stream goes through four stages, in blocks of 64 rows and some lanes, cut by position:
 *   raw      64 * lanes values. Later on (large n), of each 2^p in a row only one is picked, before any
 *            sorting. What of them is <= x need not come first, so that antithetic coins would be worth
 *            nothing; each pick has its own, and costs W^2 / 4 with W = 2^p.
 *   picked   the block is seen as columns of 64; a sorting network sorts all columns at once; then of every
 *            2^h rows of a column one is kept, with a random offset for each column and antithetic ones for
 *            its neighbour.
 *   strided  kept rows gather to a block, which is sorted (its columns are half-sorted already) to a run.
 *   runs     sorted lists. When they hold more than the capacity, the runs up to some class are merged and
 *            sampled to the next class ("collapse"), the class being chosen that is best value.
 * p and h are such that each stage's part of V stays a fixed share of the budget (error * n)^2 / (2 ln 200);
 * a collapse that would exceed the budget does not happen, and the sketch grows instead. So `error` holds by
 * construction, for any stream and any merge tree, and the capacity below is only what makes growing rare.
 *
 * Coins come from a 64-bit generator (the finalizer of splitmix64: G. Steele, D. Lea, C. Flood, OOPSLA 2014)
 * whose state takes in the contents of every block. So parts with the same seed and other data have
 * independent coins, and the same data gives the same bits.
 *
 * Values with weights take another way, through kll_weighted.c. Not done: deletion, a bound for all quantiles at
 * once.
 *
 * Design: capacity shared by all classes and filled lazily, because it needs half the memory of compactors
 * with capacities of their own at the same bound (turned down). Weights are fractions total / size, not
 * powers of two: nothing is left over when a length is odd, and the top class can shrink by less than half.
 */
#include "kll_state.h"
#include "kll_weighted.h"

#include <math.h>
#include <stdlib.h>

#define PICK_SHARE 0.4   /* of the budget, for the picking of one in 2^p */
#define STRIDE_SHARE 0.3 /* and for the striding of columns */

/* ---- coins and buffers ---- */

void sn_kll_mix_in(sn_kll *kll, uint64_t contents)
{
    kll->random = sn_kll_scramble(kll->random ^ sn_kll_scramble(contents + UINT64_C(0x9e3779b97f4a7c15)));
}

/* `count` offsets in [0, 2^log2): independent, or (`count` even) in antithetic pairs: next to r lies 2^log2 - 1 - r. */
static void draw_offsets(sn_kll *kll, uint8_t *offsets, int count, int log2, int paired)
{
    uint64_t mask = (UINT64_C(1) << log2) - 1, bits = 0;
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (paired && i % 2 == 1) {
            offsets[i] = (uint8_t)(mask - offsets[i - 1]);
            continue;
        }
        if (left < log2) {
            bits = sn_kll_random(kll);
            left = 64;
        }
        offsets[i] = (uint8_t)(bits & mask);
        bits >>= log2;
        left -= log2;
    }
}

static sn_status buffer_reserve(sn_kll_buffer *buffer, int64_t size, int64_t block)
{
    if (size <= buffer->capacity) {
        return SN_OK;
    }
    int64_t capacity = buffer->capacity * 2;
    capacity = capacity < size ? size : capacity;
    capacity = capacity > block ? block : capacity;
    int64_t *keys = realloc(buffer->keys, (size_t)capacity * sizeof *keys);
    if (!keys) {
        return SN_ERR_NOMEM;
    }
    buffer->keys = keys;
    buffer->capacity = capacity;
    return SN_OK;
}

/* Give back what an emptied or nearly empty buffer holds; a failure to shrink is none. */
static void buffer_trim(sn_kll_buffer *buffer)
{
    if (buffer->size == 0) {
        free(buffer->keys);
        *buffer = (sn_kll_buffer){NULL, 0, 0};
    } else if (buffer->capacity > 2 * buffer->size && buffer->capacity > 64) {
        int64_t *keys = realloc(buffer->keys, (size_t)buffer->size * sizeof *keys);
        if (keys) {
            buffer->keys = keys;
            buffer->capacity = buffer->size;
        }
    }
}

/* ---- stages ---- */

int64_t *sn_kll_sorted_copy(const sn_kll_buffer *buffer, sn_kll_scratch *scratch)
{
    int64_t *keys = sn_kll_scratch_words(scratch, buffer->size + sn_keys_sort_space(buffer->size));
    if (keys) {
        memcpy(keys, buffer->keys, (size_t)buffer->size * sizeof *keys);
        sn_keys_sort(keys, buffer->size, keys + buffer->size);
    }
    return keys;
}

/* What a buffer holds, sorted, as a run. */
static sn_status flush(sn_kll *kll, const sn_kll_buffer *buffer, int log2_weight, sn_kll_scratch *scratch)
{
    if (buffer->size == 0) {
        return SN_OK;
    }
    const int64_t *keys = sn_kll_sorted_copy(buffer, scratch);
    if (!keys) {
        return SN_ERR_NOMEM;
    }
    return sn_kll_append_run(kll, keys, buffer->size, buffer->size << log2_weight);
}

/* Empty the buffers between raw and the runs, because their weight or shape is about to change. */
static sn_status flush_stages(sn_kll *kll, int picked_too, sn_kll_scratch *scratch)
{
    sn_status status = flush(kll, &kll->strided, kll->pick_log2 + kll->stride_log2, scratch);
    if (status == SN_OK) {
        kll->strided.size = 0;
        if (picked_too) {
            status = flush(kll, &kll->picked, kll->pick_log2, scratch);
        }
    }
    if (status == SN_OK && picked_too) {
        kll->picked.size = 0;
    }
    return status;
}

/* The schedule at the present count; stages whose weight changes are flushed. */
static sn_status reschedule(sn_kll *kll, sn_kll_scratch *scratch)
{
    double per_value = sn_kll_budget(kll) / (double)kll->count;
    int pick = kll->pick_log2, stride = 0;
    while (pick < SN_KLL_MAX_PICK && ldexp(1.0, pick + 1) / 4 <= PICK_SHARE * per_value) {
        pick++;
    }
    while (stride < SN_KLL_MAX_STRIDE &&
           ldexp(1.0, pick + 2 * (stride + 1)) / (8 * SN_KLL_ROWS) <= STRIDE_SHARE * per_value) {
        stride++;
    }
    if (pick == kll->pick_log2 && stride == kll->stride_log2) {
        return SN_OK;
    }
    if (flush_stages(kll, pick != kll->pick_log2, scratch) != SN_OK) {
        return SN_ERR_NOMEM;
    }
    kll->pick_log2 = pick;
    kll->stride_log2 = stride;
    return SN_OK;
}

/* A full buffer, its columns sorted in stretches of `sorted` rows, becomes a run. */
static sn_status take_sorted(sn_kll *kll, sn_kll_buffer *buffer, int sorted, int log2_weight,
                             sn_kll_scratch *scratch)
{
    int64_t block = sn_kll_block(kll), *tmp = sn_kll_scratch_words(scratch, block);
    if (!tmp) {
        return SN_ERR_NOMEM;
    }
    sn_keys_sort_columns(buffer->keys, kll->lanes, sorted);
    sn_keys_merge_columns(buffer->keys, tmp, kll->lanes);
    sn_status status = sn_kll_append_run(kll, buffer->keys, block, block << log2_weight);
    buffer->size = status == SN_OK ? 0 : block;
    return status;
}

/* A full buffer of picked keys goes to the runs, or strided to the next buffer. A stage that ran out of
 * memory is left full, so each makes sure of the next one first. */
static sn_status take_block(sn_kll *kll, sn_kll_buffer *buffer, sn_kll_scratch *scratch)
{
    if (kll->stride_log2 == 0) {
        return take_sorted(kll, buffer, 1, kll->pick_log2, scratch);
    }
    int64_t block = sn_kll_block(kll);
    int lanes = kll->lanes, stride = 1 << kll->stride_log2, rows = SN_KLL_ROWS >> kll->stride_log2;
    int log2_weight = kll->pick_log2 + kll->stride_log2;
    if (kll->strided.size == block && take_sorted(kll, &kll->strided, rows, log2_weight, scratch) != SN_OK) {
        return SN_ERR_NOMEM;
    }
    if (buffer_reserve(&kll->strided, block, block) != SN_OK) {
        return SN_ERR_NOMEM;
    }
    uint8_t offsets[32];
    draw_offsets(kll, offsets, lanes, kll->stride_log2, 1);
    sn_keys_sort_columns(buffer->keys, lanes, 1);
    int64_t *out = kll->strided.keys + kll->strided.size;
    for (int r = 0; r < rows; r++) {
        for (int l = 0; l < lanes; l++) {
            out[r * lanes + l] = buffer->keys[(r * stride + offsets[l]) * lanes + l];
        }
    }
    buffer->size = 0;
    kll->strided.size += (int64_t)rows * lanes;
    double weight = ldexp(1.0, log2_weight);
    kll->variance += lanes / 2 * (weight * weight / 4);
    kll->worst += lanes * (weight - ldexp(1.0, kll->pick_log2));
    return kll->strided.size < block ? SN_OK : take_sorted(kll, &kll->strided, rows, log2_weight, scratch);
}

/* Of each 2^pick_log2 values of the raw buffer, one. */
static void pick(sn_kll *kll, int64_t picks)
{
    int64_t *out = kll->picked.keys + kll->picked.size;
    for (int64_t at = 0; at < picks;) {
        uint8_t offsets[64];
        int some = picks - at < 64 ? (int)(picks - at) : 64;
        draw_offsets(kll, offsets, some, kll->pick_log2, 0);
        for (int i = 0; i < some; i++, at++) {
            out[at] = kll->raw.keys[(at << kll->pick_log2) + offsets[i]];
        }
    }
    kll->raw.size = 0;
    kll->picked.size += picks;
    double weight = ldexp(1.0, kll->pick_log2);
    kll->variance += (double)picks * (weight * weight / 4);
    kll->worst += (double)picks * (weight - 1);
}

/* Work off a full raw buffer. */
static sn_status take_raw(sn_kll *kll, sn_kll_scratch *scratch)
{
    int64_t block = sn_kll_block(kll);
    sn_kll_mix_in(kll, sn_keys_sum(kll->raw.keys, block));
    sn_status status = reschedule(kll, scratch);
    if (status == SN_OK && kll->pick_log2 == 0) {
        status = take_block(kll, &kll->raw, scratch);
    } else if (status == SN_OK) {
        if (kll->picked.size == block) {
            status = take_block(kll, &kll->picked, scratch);
        }
        if (status == SN_OK) {
            status = buffer_reserve(&kll->picked, block, block);
        }
        if (status == SN_OK) {
            pick(kll, block >> kll->pick_log2);
            if (kll->picked.size == block) {
                status = take_block(kll, &kll->picked, scratch);
            }
        }
    }
    int32_t lanes = sn_kll_lanes(kll->error, kll->count);
    if (status == SN_OK && lanes != kll->lanes) { /* now that raw is empty */
        status = flush_stages(kll, 1, scratch);
        kll->lanes = status == SN_OK ? lanes : kll->lanes;
    }
    return status == SN_OK ? sn_kll_shrink(kll, scratch) : status;
}

/* Make room in the raw buffer for up to `wanted` values; how many there is room for, 0 without memory. */
static int64_t raw_room(sn_kll *kll, int64_t wanted, sn_kll_scratch *scratch)
{
    int64_t block = sn_kll_block(kll);
    if (kll->raw.size == block && take_raw(kll, scratch) != SN_OK) {
        return 0;
    }
    int64_t room = block - kll->raw.size < wanted ? block - kll->raw.size : wanted;
    return buffer_reserve(&kll->raw, kll->raw.size + room, block) == SN_OK ? room : 0;
}

static sn_status raw_added(sn_kll *kll, int64_t n, sn_kll_scratch *scratch)
{
    kll->raw.size += n;
    kll->count += n;
    return kll->raw.size == sn_kll_block(kll) ? take_raw(kll, scratch) : SN_OK;
}

sn_status sn_kll_update(sn_kll *kll, const double *values, int64_t n)
{
    if (kll->weighted) {
        return sn_kll_update_weighted(kll, values, NULL, n);
    }
    sn_kll_scratch scratch = {0};
    sn_status status = SN_OK;
    for (int64_t at = 0; at < n && status == SN_OK;) {
        int64_t room = raw_room(kll, n - at, &scratch);
        if (room == 0) {
            status = SN_ERR_NOMEM;
            break;
        }
        int64_t *keys = kll->raw.keys + kll->raw.size, valid = room, min, max;
        sn_keys_load(keys, &min, &max, values + at, room);
        if (SN_UNLIKELY(min < SN_KEY_NEG_INF || max > SN_KEY_POS_INF)) { /* there is a NaN */
            valid = sn_keys_load_valid(keys, &min, &max, values + at, room);
        }
        kll->min = min < kll->min ? min : kll->min;
        kll->max = max > kll->max ? max : kll->max;
        at += room;
        status = raw_added(kll, valid, &scratch);
    }
    buffer_trim(&kll->raw);
    sn_kll_scratch_free(&scratch);
    return status;
}

/* ---- merging ---- */

static sn_status merge_parts(sn_kll *into, const sn_kll *from, sn_kll_scratch *scratch)
{
    int64_t raw = from->raw.size;
    into->error = from->error > into->error ? from->error : into->error;
    into->min = from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
    double common = into->random == from->random ? 2 * sqrt(into->variance * from->variance) : 0;
    into->variance += from->variance + common;
    into->worst += from->worst;
    into->count += from->count - raw;
    sn_kll_mix_in(into, from->random);
    sn_status status = flush(into, &from->picked, from->pick_log2, scratch);
    if (status == SN_OK) {
        status = flush(into, &from->strided, from->pick_log2 + from->stride_log2, scratch);
    }
    for (int64_t i = 0; i < from->run_count && status == SN_OK; i++) {
        status = sn_kll_append_run(into, from->runs[i].keys, from->runs[i].size, from->runs[i].total);
    }
    for (int64_t at = 0; at < raw && status == SN_OK;) {
        int64_t room = raw_room(into, raw - at, scratch);
        if (room == 0) {
            return SN_ERR_NOMEM;
        }
        memcpy(into->raw.keys + into->raw.size, from->raw.keys + at, (size_t)room * sizeof(int64_t));
        at += room;
        status = raw_added(into, room, scratch);
    }
    return status == SN_OK ? sn_kll_shrink(into, scratch) : status;
}

sn_status sn_kll_merge(sn_kll *into, const sn_kll *from)
{
    if (into->weighted || from->weighted) {
        return sn_kll_merge_weighted(into, from);
    }
    if (from->count == 0) {
        return SN_OK;
    }
    int takes_over = into->count == 0 && into->error <= from->error; /* nothing and s are s, to the bit */
    /* on a copy: failure leaves `into` as it was, and `from` may be `into` */
    sn_kll *merged = sn_kll_copy(takes_over ? from : into);
    if (!merged) {
        return SN_ERR_NOMEM;
    }
    sn_kll_scratch scratch = {0};
    sn_status status = takes_over ? SN_OK : merge_parts(merged, from, &scratch);
    merged->seed = into->seed;
    sn_kll_scratch_free(&scratch);
    buffer_trim(&merged->raw);
    if (status == SN_OK) {
        sn_kll swap = *into;
        *into = *merged;
        *merged = swap;
    }
    sn_kll_free(merged);
    return status;
}

/* ---- life ---- */

sn_kll *sn_kll_new(double error, uint64_t seed)
{
    if (!(error >= SN_KLL_MIN_ERROR && error <= SN_KLL_MAX_ERROR)) {
        return NULL;
    }
    sn_kll *kll = calloc(1, sizeof *kll);
    if (kll) {
        kll->error = error;
        kll->seed = seed;
        kll->random = sn_kll_scramble(seed + UINT64_C(0x9e3779b97f4a7c15));
        kll->min = INT64_MAX;
        kll->max = INT64_MIN;
        kll->lanes = sn_kll_lanes(error, 0);
    }
    return kll;
}

void sn_kll_free(sn_kll *kll)
{
    if (kll) {
        for (int64_t i = 0; i < kll->run_count; i++) {
            free(kll->runs[i].keys);
        }
        free(kll->runs);
        free(kll->raw.keys);
        free(kll->picked.keys);
        free(kll->strided.keys);
        sn_kll_weighted_free(kll->weighted);
        free(kll);
    }
}

static int copy_buffer(sn_kll_buffer *to, const sn_kll_buffer *from)
{
    *to = (sn_kll_buffer){NULL, 0, 0};
    if (from->size > 0) {
        to->keys = malloc((size_t)from->size * sizeof *to->keys);
        if (!to->keys) {
            return 0;
        }
        memcpy(to->keys, from->keys, (size_t)from->size * sizeof *to->keys);
        to->size = to->capacity = from->size;
    }
    return 1;
}

sn_kll *sn_kll_copy(const sn_kll *kll)
{
    sn_kll *copy = malloc(sizeof *copy);
    if (!copy) {
        return NULL;
    }
    *copy = *kll;
    copy->runs = NULL;
    copy->run_count = copy->run_capacity = 0;
    copy->weighted = NULL;
    int complete = copy_buffer(&copy->raw, &kll->raw);
    complete &= copy_buffer(&copy->picked, &kll->picked);
    complete &= copy_buffer(&copy->strided, &kll->strided);
    for (int64_t i = 0; i < kll->run_count && complete; i++) {
        const sn_kll_run *run = &kll->runs[i];
        complete = sn_kll_append_run(copy, run->keys, run->size, run->total) == SN_OK;
    }
    if (kll->weighted && complete) {
        copy->weighted = sn_kll_weighted_copy(kll->weighted);
        complete = copy->weighted != NULL;
    }
    if (!complete) {
        sn_kll_free(copy);
        return NULL;
    }
    return copy;
}
