/* Questions to a quantile sketch: quantiles, ranks, bounds, sizes; see kll.h. */
#include "kll_state.h"
#include "kll_weighted.h"

#include <math.h>
#include <stdlib.h>

double sn_kll_error(const sn_kll *kll)
{
    return kll->error;
}

uint64_t sn_kll_seed(const sn_kll *kll)
{
    return kll->seed;
}

int64_t sn_kll_count(const sn_kll *kll)
{
    return kll->count;
}

int sn_kll_is_weighted(const sn_kll *kll)
{
    return kll->weighted != NULL;
}

double sn_kll_weight(const sn_kll *kll)
{
    return kll->weighted ? sn_kll_weighted_sum(kll->weighted) : (double)kll->count;
}

double sn_kll_min(const sn_kll *kll)
{
    return kll->count > 0 ? sn_key_to_double(kll->min) : NAN;
}

double sn_kll_max(const sn_kll *kll)
{
    return kll->count > 0 ? sn_key_to_double(kll->max) : NAN;
}

double sn_kll_rank_error_worst(const sn_kll *kll)
{
    return kll->count > 0 ? fmin(1, kll->worst / sn_kll_weight(kll)) : 0;
}

double sn_kll_rank_error(const sn_kll *kll)
{
    if (kll->count == 0) {
        return 0;
    }
    double bound = sqrt(2 * SN_KLL_LN_200 * kll->variance) / sn_kll_weight(kll);
    if (kll->weighted) {
        bound = ldexp(bound, -sn_kll_variance_unit(kll->weighted));
    }
    return fmin(bound, sn_kll_rank_error_worst(kll));
}

size_t sn_kll_nbytes(const sn_kll *kll)
{
    int64_t keys = kll->raw.capacity + kll->picked.capacity + kll->strided.capacity;
    for (int64_t i = 0; i < kll->run_count; i++) {
        keys += kll->runs[i].size;
    }
    size_t weighted = kll->weighted ? sn_kll_weighted_nbytes(kll->weighted) : 0;
    return sizeof *kll + (size_t)kll->run_capacity * sizeof *kll->runs + (size_t)keys * sizeof(int64_t) + weighted;
}

/* ---- quantiles ---- */

/* NumPy's interpolation (numpy.lib._function_base_impl._lerp), step by step, so that the bits agree. Where b
 * - a overflows or is not a number, NumPy's answer is none either, and the nearest sensible one is given. */
static double interpolate(double a, double b, double t)
{
    double difference = b - a;
    if (SN_UNLIKELY(!isfinite(difference))) {
        if (a == b || t == 0) {
            return a;
        }
        if (isinf(a) && isinf(b)) {
            return t < 0.5 ? a : b;
        }
        return a * (1 - t) + b * t;
    }
    return t >= 0.5 ? b - difference * (1 - t) : a + difference * t;
}

double sn_kll_exact_quantile(const int64_t *keys, int64_t n, double q)
{
    double at = (double)(n - 1) * q, below = floor(at);
    if (at >= (double)(n - 1)) {
        return interpolate(sn_key_to_double(keys[n - 1]), sn_key_to_double(keys[n - 1]), 1);
    }
    int64_t i = (int64_t)below;
    return interpolate(sn_key_to_double(keys[i]), sn_key_to_double(keys[i + 1]), at - below);
}

int64_t sn_kll_first_reaching(const double *sums, int64_t n, double target)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (sums[mid] >= target) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

/* Sorted copy of a buffer, in front of `space`, as one more list. */
static int64_t *list_buffer(sn_keys *list, const sn_kll_buffer *buffer, double weight, int64_t *space)
{
    if (buffer->size > 0) {
        memcpy(space, buffer->keys, (size_t)buffer->size * sizeof *space);
        sn_keys_sort(space, buffer->size, space + buffer->size);
    }
    *list = (sn_keys){space, NULL, weight, buffer->size};
    return space + buffer->size;
}

sn_status sn_kll_merge_everything(const sn_kll *kll, sn_keys *merged, int64_t **sorted, int64_t **arena)
{
    if (kll->weighted) {
        return sn_kll_weighted_merge_everything(kll->weighted, merged, sorted, arena);
    }
    int64_t buffered = kll->raw.size + kll->picked.size + kll->strided.size, count = 0;
    sn_keys *lists = malloc((size_t)(2 * (kll->run_count + 3)) * sizeof *lists);
    *arena = NULL;
    *sorted = malloc((size_t)(buffered + sn_keys_sort_space(buffered)) * sizeof **sorted);
    if (lists && *sorted) {
        const sn_kll_buffer *buffers[] = {&kll->raw, &kll->picked, &kll->strided};
        int log2_weights[] = {0, kll->pick_log2, kll->pick_log2 + kll->stride_log2};
        int64_t *space = *sorted;
        for (int i = 0; i < 3; i++) {
            space = list_buffer(&lists[count], buffers[i], ldexp(1.0, log2_weights[i]), space);
            count += buffers[i]->size > 0;
        }
        for (int64_t i = 0; i < kll->run_count; i++) {
            const sn_kll_run *run = &kll->runs[i];
            lists[count++] = (sn_keys){run->keys, NULL, sn_kll_run_weight(run), run->size};
        }
        *arena = malloc((size_t)(sn_keys_merge_space(lists, count) + 1) * sizeof **arena);
        if (*arena) {
            *merged = sn_keys_merge_all(lists, count, *arena);
        }
    }
    free(lists);
    return *arena ? SN_OK : SN_ERR_NOMEM;
}

double *sn_kll_sums(const sn_keys *merged)
{
    double *sums = malloc((size_t)merged->size * sizeof *sums), sum = 0;
    for (int64_t i = 0; sums && i < merged->size; i++) {
        sum += merged->weights ? merged->weights[i] : merged->weight;
        sums[i] = sum;
    }
    return sums;
}

int64_t sn_kll_key_at(const sn_kll *kll, const sn_keys *merged, const double *sums, double q)
{
    if (q == 0) {
        return kll->min;
    }
    if (kll->weighted && q < 1) {
        return merged->keys[sn_kll_first_part_reaching(sums, merged->size, q)];
    }
    return q == 1 ? kll->max : merged->keys[sn_kll_first_reaching(sums, merged->size, q * (double)kll->count)];
}

static sn_status sampled_quantiles(const sn_kll *kll, double *out, const double *q, int64_t nq,
                                   const sn_keys *merged)
{
    double *sums = sn_kll_sums(merged);
    if (!sums) {
        return SN_ERR_NOMEM;
    }
    for (int64_t i = 0; i < nq; i++) {
        out[i] = sn_key_to_double(sn_kll_key_at(kll, merged, sums, q[i]));
    }
    free(sums);
    return SN_OK;
}

sn_status sn_kll_quantiles(const sn_kll *kll, double *out, const double *q, int64_t nq)
{
    for (int64_t i = 0; i < nq; i++) {
        if (!(q[i] >= 0 && q[i] <= 1)) {
            return SN_ERR_INVALID;
        }
        out[i] = NAN;
    }
    if (kll->count == 0 || nq == 0) {
        return SN_OK;
    }
    sn_keys merged = {0};
    int64_t *sorted, *arena;
    sn_status status = sn_kll_merge_everything(kll, &merged, &sorted, &arena);
    if (status == SN_OK && kll->worst == 0 && !kll->weighted) {
        for (int64_t i = 0; i < nq; i++) {
            out[i] = sn_kll_exact_quantile(merged.keys, merged.size, q[i]);
        }
    } else if (status == SN_OK) {
        status = sampled_quantiles(kll, out, q, nq, &merged);
    }
    free(sorted);
    free(arena);
    return status;
}

/* ---- rank ---- */

static int64_t count_at_most(const int64_t *sorted, int64_t n, int64_t key)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (sorted[mid] <= key) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static double buffer_at_most(const sn_kll_buffer *buffer, int64_t key)
{
    int64_t count = 0;
    for (int64_t i = 0; i < buffer->size; i++) {
        count += buffer->keys[i] <= key;
    }
    return (double)count;
}

double sn_kll_rank(const sn_kll *kll, double x)
{
    if (kll->count == 0 || isnan(x)) {
        return NAN;
    }
    int64_t key = sn_key_from_double(x + 0.0); /* -0.0 + 0.0 is +0.0, which both zeros are at most */
    if (key >= kll->max) {
        return 1;
    }
    if (key < kll->min) {
        return 0;
    }
    if (kll->weighted) {
        return fmin(1, sn_kll_weighted_at_most(kll->weighted, key) / sn_kll_weight(kll));
    }
    double weight = buffer_at_most(&kll->raw, key);
    weight += ldexp(buffer_at_most(&kll->picked, key), kll->pick_log2);
    weight += ldexp(buffer_at_most(&kll->strided, key), kll->pick_log2 + kll->stride_log2);
    for (int64_t i = 0; i < kll->run_count; i++) {
        const sn_kll_run *run = &kll->runs[i];
        weight += (double)count_at_most(run->keys, run->size, key) * sn_kll_run_weight(run);
    }
    return fmin(1, weight / (double)kll->count);
}
