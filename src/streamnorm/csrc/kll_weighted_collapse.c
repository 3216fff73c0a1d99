/* The upper part of a quantile sketch of values with weights: lists, what they may hold, and the collapse that keeps
 * them within it; see kll_weighted.c.
 */
#include "kll_weighted.h"

#include "weights.h"

#include <math.h>
#include <stdlib.h>

#define KEPT_WITHIN 0.6     /* of what a collapse within a class reads, so much is kept */
#define COLLAPSE_USEFUL 0.1 /* these two as in kll_collapse.c */
#define COLLAPSE_LEAST 0.5
#define TOP_SHARE 8         /* the top class, for the schedule, is one that has an eighth of all keys at or above it */

int32_t sn_kll_weight_class(double weight)
{
    int exponent;
    frexp(weight, &exponent);
    return (exponent - 1) >> 1;
}

int32_t sn_kll_variance_unit(const sn_kll_weighted *weighted)
{
    return weighted && weighted->weight < 0x1p-400 ? 600 : 0;
}

double sn_kll_in_unit(double variance, int32_t from, int32_t to)
{
    /* what vanishes weighs less than one part in 10^30 of the budget, but an error that is not 0 stays that */
    return from == to || variance == 0 ? variance : ldexp(variance, 2 * (to - from)) + 0x1p-1022;
}

/* ---- lists ---- */

sn_status sn_kll_reserve_lists(sn_kll_weighted *weighted, int64_t count)
{
    if (count <= weighted->list_capacity) {
        return SN_OK;
    }
    int64_t capacity = weighted->list_capacity * 2 > count ? weighted->list_capacity * 2 : count + 3;
    sn_kll_list *lists = realloc(weighted->lists, (size_t)capacity * sizeof *lists);
    if (!lists) {
        return SN_ERR_NOMEM;
    }
    weighted->lists = lists;
    weighted->list_capacity = capacity;
    return SN_OK;
}

void *sn_kll_copy_words(const void *words, int64_t n)
{
    void *copy = malloc((size_t)(n > 0 ? n : 1) * 8);
    if (copy && n > 0) {
        memcpy(copy, words, (size_t)n * 8);
    }
    return copy;
}

sn_status sn_kll_append_list(sn_kll_weighted *weighted, const int64_t *keys, const double *weights, double weight,
                             int64_t size)
{
    if (sn_kll_reserve_lists(weighted, weighted->count + 1) != SN_OK) {
        return SN_ERR_NOMEM;
    }
    sn_kll_list list = {weight, weight * (double)size, NULL, NULL, size, 0};
    list.class = sn_kll_weight_class(weights ? weights[0] : weight);
    list.keys = sn_kll_copy_words(keys, size);
    if (weights) {
        list.weights = sn_kll_copy_words(weights, size);
        list.weight = list.total = 0;
        for (int64_t i = 0; i < size; i++) {
            list.total += weights[i];
        }
    }
    if (!list.keys || (weights && !list.weights)) {
        free(list.keys);
        free(list.weights);
        return SN_ERR_NOMEM;
    }
    weighted->lists[weighted->count++] = list;
    return SN_OK;
}

void sn_kll_free_list(sn_kll_list *list)
{
    free(list->keys);
    free(list->weights);
}

static sn_keys keys_of(const sn_kll_list *list)
{
    return (sn_keys){list->keys, list->weights, list->weight, list->size};
}

double sn_kll_weighted_sum(const sn_kll_weighted *weighted)
{
    double sum, sum_lo, weight = weighted->weight, weight_lo = weighted->weight_lo;
    int64_t bad;
    sn_weights_sum(&sum, &sum_lo, &bad, weighted->weights, weighted->size);
    sn_weight_add(&weight, &weight_lo, sum, sum_lo);
    return weight;
}

/* ---- collapse ---- */

typedef struct {
    int32_t class;
    int within; /* the result stays in a class that was read */
    int64_t read, kept;
    double total;
    double proxy; /* what it costs now */
} collapse_plan;

typedef struct {
    double weight, offset;
} waiting_step;

/* The collapse out of `class` that waits for its partner; weight 0: there is none. */
static waiting_step waiting_for(const sn_kll_weighted *weighted, int32_t class)
{
    int slot = class & (SN_KLL_WAITING - 1);
    if (weighted->waiting[slot].class != class) {
        return (waiting_step){0, 0};
    }
    return (waiting_step){weighted->waiting[slot].weight, weighted->waiting[slot].offset};
}

/* The best of two collapses for each class: to the next class, and within its own. See kll_collapse.c for the price. */
static int plan_collapse(const sn_kll *kll, int64_t capacity, collapse_plan *best)
{
    const sn_kll_weighted *weighted = kll->weighted;
    double allowed = sn_kll_budget(kll) - kll->variance;
    int32_t unit = sn_kll_variance_unit(weighted);
    int64_t size[SN_KLL_WEIGHT_CLASSES] = {0}, held = 0;
    double total[SN_KLL_WEIGHT_CLASSES] = {0};
    int lowest = SN_KLL_WEIGHT_CLASSES, highest = 0;
    for (int64_t i = 0; i < weighted->count; i++) {
        int c = weighted->lists[i].class - SN_KLL_CLASS_MIN;
        size[c] += weighted->lists[i].size;
        total[c] += weighted->lists[i].total;
        held += weighted->lists[i].size;
        lowest = c < lowest ? c : lowest;
        highest = c > highest ? c : highest;
    }
    int top = highest;
    for (int64_t above = size[top]; above * TOP_SHARE < held; above += size[top]) {
        top--;
    }
    double best_price = INFINITY, sum = 0;
    int64_t read = 0;
    for (int c = lowest; c <= highest; c++) {
        read += size[c];
        sum += total[c];
        if (size[c] == 0 || (double)read < ldexp(COLLAPSE_LEAST * (double)capacity, c < top ? c - top : 0)) {
            continue;
        }
        for (int within = 0; within <= (c >= top); within++) {
            int64_t kept = within ? (int64_t)(KEPT_WITHIN * (double)read)
                                  : (int64_t)ldexp(sum, -2 * (c + SN_KLL_CLASS_MIN + 1));
            kept = kept > 0 ? kept : 1;
            if ((double)(read - kept) < COLLAPSE_USEFUL * (double)read) {
                continue;
            }
            double weight = sum / (double)kept;
            collapse_plan plan = {c + SN_KLL_CLASS_MIN, 0, read, kept, sum, 0};
            plan.within = sn_kll_weight_class(weight) <= plan.class;
            double paid = plan.within ? 0 : waiting_for(weighted, plan.class).weight;
            if (weight > paid) { /* and no less than the least, were the squares to vanish */
                double stride = ldexp(weight, unit), covered = ldexp(paid, unit);
                plan.proxy = (stride * stride - covered * covered) / 4 + 0x1p-1022;
            }
            double price = sqrt(plan.within ? 2 * weight : weight) / (double)(read - kept);
            if (price < best_price && plan.proxy <= allowed) {
                best_price = price;
                *best = plan;
            }
        }
    }
    return best_price < INFINITY;
}

/* The offset of a collapse, and the book of pairs. */
static double draw_offset(sn_kll *kll, const collapse_plan *plan)
{
    sn_kll_weighted *weighted = kll->weighted;
    double u = (double)(sn_kll_random(kll) >> 11) * 0x1p-53;
    int slot = plan->class & (SN_KLL_WAITING - 1);
    waiting_step first = waiting_for(weighted, plan->class);
    if (plan->within) {
        memset(weighted->waiting, 0, sizeof weighted->waiting);
    } else if (first.weight > 0) {
        u = 1 - 0x1p-53 - first.offset;
        weighted->waiting[slot].weight = weighted->waiting[slot].offset = 0;
    } else {
        weighted->waiting[slot].weight = plan->total / (double)plan->kept;
        weighted->waiting[slot].offset = u;
        weighted->waiting[slot].class = plan->class;
    }
    return u;
}

static sn_status collapse(sn_kll *kll, const collapse_plan *plan, sn_kll_scratch *scratch)
{
    sn_kll_weighted *weighted = kll->weighted;
    sn_keys *lists = malloc((size_t)(2 * weighted->count) * sizeof *lists);
    int64_t *kept = malloc((size_t)plan->kept * sizeof *kept), count = 0, *arena = NULL;
    for (int64_t i = 0; i < weighted->count && lists; i++) {
        if (weighted->lists[i].class <= plan->class) {
            lists[count++] = keys_of(&weighted->lists[i]);
        }
    }
    if (lists && kept) {
        arena = sn_kll_scratch_words(scratch, sn_keys_merge_space(lists, count) + 1);
    }
    if (!arena) {
        free(lists);
        free(kept);
        return SN_ERR_NOMEM;
    }
    sn_keys merged = sn_keys_merge_all(lists, count, arena);
    sn_keys_sample(kept, plan->kept, draw_offset(kll, plan), plan->total, &merged);
    free(lists);
    int64_t left = 0;
    for (int64_t i = 0; i < weighted->count; i++) {
        if (weighted->lists[i].class <= plan->class) {
            sn_kll_free_list(&weighted->lists[i]);
        } else {
            weighted->lists[left++] = weighted->lists[i];
        }
    }
    double weight = plan->total / (double)plan->kept;
    int32_t class = sn_kll_weight_class(weight);
    weighted->lists[left] = (sn_kll_list){weight, weight * (double)plan->kept, kept, NULL, plan->kept, class};
    weighted->count = left + 1;
    kll->variance += plan->proxy;
    kll->worst += weight;
    return SN_OK;
}

sn_status sn_kll_shrink_weighted(sn_kll *kll, sn_kll_scratch *scratch)
{
    const sn_kll_weighted *weighted = kll->weighted;
    int64_t capacity = sn_kll_capacity(kll->error, kll->count);
    for (;;) {
        int64_t held = 0;
        for (int64_t i = 0; i < weighted->count; i++) {
            held += weighted->lists[i].size;
        }
        collapse_plan plan;
        if (held <= capacity || !plan_collapse(kll, capacity, &plan)) {
            return SN_OK;
        }
        sn_status status = collapse(kll, &plan, scratch);
        if (status != SN_OK) {
            return status;
        }
    }
}
