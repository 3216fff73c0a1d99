/* A quantile sketch of values with weights: how it is built and merged. What shrinks it is in
 * kll_weighted_collapse.c.
 *
 * The rank of x is the part of the total weight W that lies on values <= x. Pairs (key, weight) gather in a block; a
 * full block is sorted by key and split into lists by class, floor(log4(weight)), each pair with its own weight: up
 * to here nothing is lost. When the lists hold more keys than the capacity, those up to some class c are merged and
 * replaced by a systematic sample (see kll.c): their total weight T is cut into m strides of S = T / m, and of each the
 * key at which j S + u S falls is kept, with weight S, all with one random u.
 *
 * What that does to the rank of a fixed x, whatever the weights: let A be the weight in the list of keys <= x, and
 * A = (k + F) S with a whole k and 0 <= F < 1. Samples j = 0 .. k - 1 lie below A, sample k does if u < F, and no
 * others do. They weigh (k + [u < F]) S, so A changes by S ([u < F] - F): by zero on average, and within an interval of
 * length S. A pair that is heavier than S is no exception; it is taken floor(w / S) or ceil(w / S) times. By
 * Hoeffding's lemma the step is sub-Gaussian with variance proxy S^2 / 4, and moves no rank by more than S. The sums
 * over all steps, `variance` and `worst`, give the bounds of kll.c with W in place of the count.
 *
 * Azuma and Hoeffding need strides that do not depend on the coins. They don't: which pairs are read follows from
 * their classes, thus from the weights as they came in and the numbers m before, and T is the sum of their weights.
 * Collapses out of one class come in antithetic pairs, u and 1 - u, as in kll.c and with the same exception.
 *
 * Heavy pairs stay exact by themselves: a collapse up to class c does not touch classes above it, and the class that is
 * best value is hardly ever the one of a few heavy pairs. `error` holds by construction: a step that would take
 * `variance` beyond the budget (error W)^2 / (2 ln 200) is not taken, and the sketch grows.
 *
 * Sums of weights are rounded, in lists as in prefix sums of lists. Ranks are off by at most some 1e-12 by that, which
 * the bounds leave out. Values that come without weights have weight 1, those of stages and runs before the first
 * weights what they stood for.
 *
 * Source: kll.c for sketch, steps and bound. Keeping heavy items apart from those that are sampled is the idea of
 * E. Cohen, N. Duffield, H. Kaplan, C. Lund, M. Thorup, "Stream sampling for variance-optimal estimation of subset
 * sums", SODA 2009.
 *
 * Design: a structure of its own beside the stages of the unweighted sketch, which are fast because every key of a
 * block weighs the same. Turned down: integer weights in the runs of the latter, which would round what was given and
 * make quantiles differ from NumPy's while all is held.
 */
#include "kll_weighted.h"

#include "weights.h"

#include <math.h>
#include <stdlib.h>

/* ---- the block ---- */

/* Sort n pairs by key, stably; `keys_tmp` and `weights_tmp` are as large. */
static void merge_sort(int64_t *keys, double *weights, int64_t n, int64_t *keys_tmp, double *weights_tmp)
{
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t at = 0; at + run < n; at += 2 * run) {
            int64_t i = at, j = at + run, k = at, i_end = j, j_end = at + 2 * run < n ? at + 2 * run : n;
            if (keys[j - 1] <= keys[j]) {
                continue;
            }
            memcpy(keys_tmp + at, keys + at, (size_t)run * sizeof *keys);
            memcpy(weights_tmp + at, weights + at, (size_t)run * sizeof *weights);
            while (i < i_end) {
                int from_right = j < j_end && keys[j] < keys_tmp[i];
                keys[k] = from_right ? keys[j] : keys_tmp[i];
                weights[k++] = from_right ? weights[j] : weights_tmp[i];
                j += from_right;
                i += !from_right;
            }
        }
    }
}

/* The block's pairs, sorted by key, in out_keys and out_weights; `tmp` has 2 * size words and what sorting needs.
 *
 * The network sorts keys alone. So the lowest bits of each make room for its place in the block, by which the pair is
 * found; pairs that differ in these bits alone are put in order afterwards. */
static void sort_block(int64_t *out_keys, double *out_weights, const sn_kll_weighted *block, int64_t *tmp)
{
    const int64_t low = SN_KLL_WEIGHTED_BLOCK - 1;
    int64_t n = block->size, *places = tmp, *keys_tmp = tmp + n;
    double *weights_tmp = (double *)(void *)(keys_tmp + n);
    for (int64_t i = 0; i < n; i++) {
        places[i] = (block->keys[i] & ~low) | i;
    }
    sn_keys_sort(places, n, keys_tmp);
    for (int64_t i = 0; i < n; i++) {
        out_keys[i] = block->keys[places[i] & low];
        out_weights[i] = block->weights[places[i] & low];
    }
    for (int64_t i = 1; i < n; i++) {
        if (out_keys[i - 1] <= out_keys[i]) {
            continue;
        }
        int64_t start = i - 1, end = i + 1;
        while (start > 0 && ((places[start - 1] ^ places[i]) & ~low) == 0) {
            start--;
        }
        while (end < n && ((places[end] ^ places[i]) & ~low) == 0) {
            end++;
        }
        merge_sort(out_keys + start, out_weights + start, end - start, keys_tmp, weights_tmp);
        i = end;
    }
}

static int64_t sort_words(int64_t n)
{
    int64_t space = sn_keys_sort_space(n);
    return n + (space > 2 * n ? space : 2 * n);
}

static int same_weights(const double *weights, int64_t n)
{
    int64_t i = 1;
    while (i < n && weights[i] == weights[0]) {
        i++;
    }
    return i >= n;
}

/* Sorted pairs as one list for each class; `tmp` has 2 * n words. */
static sn_status append_by_class(sn_kll_weighted *weighted, const int64_t *keys, const double *weights, int64_t n,
                                 int64_t *tmp)
{
    int32_t start[SN_KLL_WEIGHT_CLASSES + 1] = {0};
    int64_t *sorted = tmp, at = 0;
    double *sorted_weights = (double *)(void *)(tmp + n);
    for (int64_t i = 0; i < n; i++) {
        start[sn_kll_weight_class(weights[i]) - SN_KLL_CLASS_MIN + 1]++;
    }
    for (int c = 0; c < SN_KLL_WEIGHT_CLASSES; c++) {
        start[c + 1] += start[c];
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t to = start[sn_kll_weight_class(weights[i]) - SN_KLL_CLASS_MIN]++;
        sorted[to] = keys[i];
        sorted_weights[to] = weights[i];
    }
    int64_t before = weighted->count;
    for (int c = 0; c < SN_KLL_WEIGHT_CLASSES; c++) { /* start[c] is now where class c ends */
        int64_t size = start[c] - at;
        if (size > 0) {
            int same = same_weights(sorted_weights + at, size);
            sn_status status = sn_kll_append_list(weighted, sorted + at, same ? NULL : sorted_weights + at,
                                                  sorted_weights[at], size);
            if (status != SN_OK) {
                while (weighted->count > before) {
                    sn_kll_free_list(&weighted->lists[--weighted->count]);
                }
                return status;
            }
            at += size;
        }
    }
    return SN_OK;
}

static uint64_t contents(const sn_kll_weighted *block)
{
    uint64_t sum = sn_keys_sum(block->keys, block->size), bits;
    for (int64_t i = 0; i < block->size; i++) {
        memcpy(&bits, &block->weights[i], sizeof bits);
        sum += bits * UINT64_C(0x9e3779b97f4a7c15);
    }
    return sum;
}

/* ---- update ---- */

static sn_status take_block(sn_kll *kll, sn_kll_scratch *scratch)
{
    sn_kll_weighted *weighted = kll->weighted;
    int64_t n = weighted->size, *words = sn_kll_scratch_words(scratch, 2 * n + sort_words(n));
    if (!words) {
        return SN_ERR_NOMEM;
    }
    int64_t *keys = words, *tmp = words + 2 * n;
    double *weights = (double *)(void *)(words + n);
    sort_block(keys, weights, weighted, tmp);
    sn_status status = append_by_class(weighted, keys, weights, n, tmp);
    if (status != SN_OK) {
        return status;
    }
    sn_kll_mix_in(kll, contents(weighted));
    double sum, sum_lo;
    int64_t bad;
    int32_t unit = sn_kll_variance_unit(weighted);
    sn_weights_sum(&sum, &sum_lo, &bad, weighted->weights, n);
    sn_weight_add(&weighted->weight, &weighted->weight_lo, sum, sum_lo);
    kll->variance = sn_kll_in_unit(kll->variance, unit, sn_kll_variance_unit(weighted));
    weighted->size = 0;
    return sn_kll_shrink_weighted(kll, scratch);
}

static sn_status block_reserve(sn_kll_weighted *weighted, int64_t size)
{
    if (size <= weighted->capacity) {
        return SN_OK;
    }
    int64_t capacity = 2 * weighted->capacity > size ? 2 * weighted->capacity : size;
    capacity = capacity > SN_KLL_WEIGHTED_BLOCK ? SN_KLL_WEIGHTED_BLOCK : capacity;
    int64_t *keys = realloc(weighted->keys, (size_t)capacity * sizeof *keys);
    weighted->keys = keys ? keys : weighted->keys;
    double *weights = realloc(weighted->weights, (size_t)capacity * sizeof *weights);
    weighted->weights = weights ? weights : weighted->weights;
    if (!keys || !weights) {
        return SN_ERR_NOMEM;
    }
    weighted->capacity = capacity;
    return SN_OK;
}

/* Room in the block for up to `wanted` pairs; 0 without memory. */
static int64_t block_room(sn_kll *kll, int64_t wanted, sn_kll_scratch *scratch)
{
    sn_kll_weighted *weighted = kll->weighted;
    if (weighted->size == SN_KLL_WEIGHTED_BLOCK && take_block(kll, scratch) != SN_OK) {
        return 0;
    }
    int64_t room = SN_KLL_WEIGHTED_BLOCK - weighted->size;
    room = room < wanted ? room : wanted;
    return block_reserve(weighted, weighted->size + room) == SN_OK ? room : 0;
}

static sn_status take_if_full(sn_kll *kll, sn_kll_scratch *scratch)
{
    return kll->weighted->size == SN_KLL_WEIGHTED_BLOCK ? take_block(kll, scratch) : SN_OK;
}

/* n pairs into the block, which has room for them: those that are no NaN and weigh something. */
static void load_pairs(sn_kll *kll, const double *values, const double *weights, int64_t n)
{
    sn_kll_weighted *weighted = kll->weighted;
    int64_t m = weighted->size, min = kll->min, max = kll->max;
    for (int64_t i = 0; i < n; i++) {
        int64_t key = sn_key_from_double(values[i]);
        double weight = weights ? weights[i] : 1;
        int valid = (key >= SN_KEY_NEG_INF) & (key <= SN_KEY_POS_INF) & (weight > 0);
        weighted->keys[m] = key; /* overwritten by the next one unless it counts */
        weighted->weights[m] = weight;
        m += valid;
        min = valid && key < min ? key : min;
        max = valid && key > max ? key : max;
    }
    kll->min = min;
    kll->max = max;
    kll->count += m - weighted->size;
    weighted->size = m;
}

static sn_status start(sn_kll *kll, sn_kll_scratch *scratch);

sn_status sn_kll_update_weighted(sn_kll *kll, const double *values, const double *weights, int64_t n)
{
    sn_kll_scratch scratch = {0};
    sn_status status = kll->weighted ? SN_OK : start(kll, &scratch);
    for (int64_t at = 0; at < n && status == SN_OK;) {
        int64_t room = block_room(kll, n - at, &scratch);
        if (room == 0) {
            status = SN_ERR_NOMEM;
            break;
        }
        load_pairs(kll, values + at, weights ? weights + at : NULL, room);
        at += room;
        status = take_if_full(kll, &scratch);
    }
    sn_kll_scratch_free(&scratch);
    return status;
}

/* ---- from unweighted to weighted, and merging ---- */

/* What a buffer of the unweighted stages holds, sorted, as a list. */
static sn_status append_buffer(sn_kll_weighted *weighted, const sn_kll_buffer *buffer, int log2_weight,
                               sn_kll_scratch *scratch)
{
    if (buffer->size == 0) {
        return SN_OK;
    }
    const int64_t *keys = sn_kll_sorted_copy(buffer, scratch);
    if (!keys) {
        return SN_ERR_NOMEM;
    }
    return sn_kll_append_list(weighted, keys, NULL, ldexp(1.0, log2_weight), buffer->size);
}

static sn_status fill_from_stages(sn_kll_weighted *weighted, const sn_kll *kll, sn_kll_scratch *scratch)
{
    weighted->weight = (double)(kll->count - kll->raw.size);
    sn_status status = block_reserve(weighted, kll->raw.size);
    if (status != SN_OK) {
        return status;
    }
    for (int64_t i = 0; i < kll->raw.size; i++) {
        weighted->keys[i] = kll->raw.keys[i];
        weighted->weights[i] = 1;
    }
    weighted->size = kll->raw.size;
    status = append_buffer(weighted, &kll->picked, kll->pick_log2, scratch);
    if (status == SN_OK) {
        status = append_buffer(weighted, &kll->strided, kll->pick_log2 + kll->stride_log2, scratch);
    }
    for (int64_t i = 0; i < kll->run_count && status == SN_OK; i++) {
        const sn_kll_run *run = &kll->runs[i];
        status = sn_kll_append_list(weighted, run->keys, NULL, sn_kll_run_weight(run), run->size);
    }
    return status;
}

/* Move all that the stages of an unweighted sketch hold to a weighted part. Unchanged if there is no memory. */
static sn_status start(sn_kll *kll, sn_kll_scratch *scratch)
{
    sn_kll_weighted *weighted = calloc(1, sizeof *weighted);
    if (!weighted || fill_from_stages(weighted, kll, scratch) != SN_OK) {
        sn_kll_weighted_free(weighted);
        return SN_ERR_NOMEM;
    }
    kll->weighted = weighted;
    for (int64_t i = 0; i < kll->run_count; i++) {
        free(kll->runs[i].keys);
    }
    free(kll->runs);
    free(kll->raw.keys);
    free(kll->picked.keys);
    free(kll->strided.keys);
    kll->raw = kll->picked = kll->strided = (sn_kll_buffer){NULL, 0, 0};
    kll->runs = NULL;
    kll->run_count = kll->run_capacity = 0;
    kll->pick_log2 = kll->stride_log2 = 0;
    memset(kll->pair_weight, 0, sizeof kll->pair_weight);
    memset(kll->pair_offset, 0, sizeof kll->pair_offset);
    return take_if_full(kll, scratch);
}

static sn_status merge_parts(sn_kll *into, const sn_kll *from, sn_kll_scratch *scratch)
{
    sn_kll_weighted *weighted = into->weighted;
    const sn_kll_weighted *part = from->weighted;
    into->error = from->error > into->error ? from->error : into->error;
    into->min = from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
    into->worst += from->worst;
    into->count += from->count;
    int32_t unit = sn_kll_variance_unit(weighted);
    sn_weight_add(&weighted->weight, &weighted->weight_lo, part->weight, part->weight_lo);
    double mine = sn_kll_in_unit(into->variance, unit, sn_kll_variance_unit(weighted));
    double theirs = sn_kll_in_unit(from->variance, sn_kll_variance_unit(part), sn_kll_variance_unit(weighted));
    into->variance = mine + theirs + (into->random == from->random ? 2 * sqrt(mine) * sqrt(theirs) : 0);
    sn_kll_mix_in(into, from->random);
    sn_status status = SN_OK;
    for (int64_t i = 0; i < part->count && status == SN_OK; i++) {
        const sn_kll_list *list = &part->lists[i];
        status = sn_kll_append_list(weighted, list->keys, list->weights, list->weight, list->size);
    }
    for (int64_t at = 0; at < part->size && status == SN_OK;) {
        int64_t room = block_room(into, part->size - at, scratch);
        if (room == 0) {
            return SN_ERR_NOMEM;
        }
        memcpy(weighted->keys + weighted->size, part->keys + at, (size_t)room * sizeof *part->keys);
        memcpy(weighted->weights + weighted->size, part->weights + at, (size_t)room * sizeof *part->weights);
        weighted->size += room;
        at += room;
        status = take_if_full(into, scratch);
    }
    return status == SN_OK ? sn_kll_shrink_weighted(into, scratch) : status;
}

sn_status sn_kll_merge_weighted(sn_kll *into, const sn_kll *from)
{
    if (!(sn_kll_weight(into) + sn_kll_weight(from) <= SN_MAX_WEIGHT)) {
        return SN_ERR_WEIGHTS;
    }
    /* nothing and s are s, to the bit */
    int takes_over = into->count == 0 && from->count > 0 && into->error <= from->error;
    sn_kll *merged = sn_kll_copy(takes_over ? from : into), *part = sn_kll_copy(from);
    sn_kll_scratch scratch = {0};
    sn_status status = merged && part ? SN_OK : SN_ERR_NOMEM;
    if (status == SN_OK && !merged->weighted) {
        status = start(merged, &scratch);
    }
    if (status == SN_OK && !part->weighted) {
        status = start(part, &scratch);
    }
    if (status == SN_OK && !takes_over && from->count > 0) {
        status = merge_parts(merged, part, &scratch);
    }
    sn_kll_scratch_free(&scratch);
    if (status == SN_OK) {
        merged->seed = into->seed;
        sn_kll swap = *into;
        *into = *merged;
        *merged = swap;
    }
    if (merged) {
        sn_kll_free(merged);
    }
    if (part) {
        sn_kll_free(part);
    }
    return status;
}

/* ---- life ---- */

void sn_kll_weighted_free(sn_kll_weighted *weighted)
{
    if (weighted) {
        for (int64_t i = 0; i < weighted->count; i++) {
            sn_kll_free_list(&weighted->lists[i]);
        }
        free(weighted->lists);
        free(weighted->keys);
        free(weighted->weights);
        free(weighted);
    }
}

sn_kll_weighted *sn_kll_weighted_copy(const sn_kll_weighted *weighted)
{
    sn_kll_weighted *copy = malloc(sizeof *copy);
    if (!copy) {
        return NULL;
    }
    *copy = *weighted;
    copy->lists = NULL;
    copy->count = copy->list_capacity = 0;
    copy->capacity = weighted->size;
    copy->keys = sn_kll_copy_words(weighted->keys, weighted->size);
    copy->weights = sn_kll_copy_words(weighted->weights, weighted->size);
    int complete = copy->keys && copy->weights && sn_kll_reserve_lists(copy, weighted->count) == SN_OK;
    for (int64_t i = 0; i < weighted->count && complete; i++) {
        const sn_kll_list *list = &weighted->lists[i];
        complete = sn_kll_append_list(copy, list->keys, list->weights, list->weight, list->size) == SN_OK;
    }
    if (!complete) {
        sn_kll_weighted_free(copy);
        return NULL;
    }
    return copy;
}
