/* The quantile sketch's upper part: runs, what they may hold, and the collapse that keeps them within it; see
 * kll.c.
 */
#include "kll_state.h"
#include "kll_weighted.h"

#include <math.h>
#include <stdlib.h>

#define WIDE_FROM 131072    /* values from which on a sketch works with wide blocks */
#define COLLAPSE_TOP 0.6    /* of a top class that is collapsed within itself, so much is kept */
#define COLLAPSE_USEFUL 0.1 /* a collapse frees at least this part of what it reads */
#define COLLAPSE_LEAST 0.5  /* and reads this part of the capacity in the top class, half as much one below */

/* ---- what the schedule depends on: counts alone, in arithmetic that is the same everywhere ---- */

/* log2, linear between powers of two: no libm, whose last bit differs from one system to the next */
static double rough_log2(double x)
{
    int exponent;
    double mantissa = frexp(x, &exponent); /* in [0.5, 1) */
    return exponent - 1 + (2 * mantissa - 1);
}

int64_t sn_kll_capacity(double error, int64_t count)
{
    /* 4.2 / error holds the budget up to 20 / error values; classes below the top one add some keys for each
     * factor of two. Fitted to what keeps V within its budget for n up to 1e12, see test_sketch.py. */
    double ratio = (double)count * error / 20;
    double growth = ratio > 1 ? 0.06 * rough_log2(ratio) : 0;
    return (int64_t)(4.2 / error * (1 + growth)) + 64;
}

int32_t sn_kll_lanes(double error, int64_t count)
{
    /* Wide blocks sort twice as fast; narrow ones hold back 4 kB at most, which counts while there is little
     * to hold. */
    return error < 0.004 && count >= WIDE_FROM ? 32 : 8;
}

double sn_kll_budget(const sn_kll *kll)
{
    double ranks = ldexp(kll->error * sn_kll_weight(kll), sn_kll_variance_unit(kll->weighted));
    return ranks * ranks / (2 * SN_KLL_LN_200);
}

/* Class of a weight: floor(log4(weight)). */
static int class_of(double weight)
{
    int exponent;
    frexp(weight, &exponent);
    return (exponent - 1) / 2;
}

static double class_weight(int class)
{
    return ldexp(1.0, 2 * class);
}

/* ---- coins ---- */

uint64_t sn_kll_scramble(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t sn_kll_random(sn_kll *kll)
{
    kll->random += UINT64_C(0x9e3779b97f4a7c15);
    return sn_kll_scramble(kll->random);
}

/* ---- memory ---- */

int64_t *sn_kll_scratch_words(sn_kll_scratch *scratch, int64_t words)
{
    if (words > scratch->capacity) {
        free(scratch->words);
        scratch->words = malloc((size_t)words * sizeof *scratch->words);
        scratch->capacity = scratch->words ? words : 0;
    }
    return scratch->words;
}

static sn_keys *scratch_lists(sn_kll_scratch *scratch, int64_t count)
{
    if (count > scratch->list_capacity) {
        free(scratch->lists);
        scratch->lists = malloc((size_t)count * sizeof *scratch->lists);
        scratch->list_capacity = scratch->lists ? count : 0;
    }
    return scratch->lists;
}

void sn_kll_scratch_free(sn_kll_scratch *scratch)
{
    free(scratch->words);
    free(scratch->lists);
}

static sn_status runs_reserve(sn_kll *kll, int64_t count)
{
    if (count <= kll->run_capacity) {
        return SN_OK;
    }
    int64_t capacity = kll->run_capacity * 2 > count ? kll->run_capacity * 2 : count + 3;
    sn_kll_run *runs = realloc(kll->runs, (size_t)capacity * sizeof *runs);
    if (!runs) {
        return SN_ERR_NOMEM;
    }
    kll->runs = runs;
    kll->run_capacity = capacity;
    return SN_OK;
}

sn_status sn_kll_append_run(sn_kll *kll, const int64_t *keys, int64_t size, int64_t total)
{
    int64_t *own = malloc((size_t)size * sizeof *own);
    if (!own || runs_reserve(kll, kll->run_count + 1) != SN_OK) {
        free(own);
        return SN_ERR_NOMEM;
    }
    memcpy(own, keys, (size_t)size * sizeof *own);
    kll->runs[kll->run_count++] = (sn_kll_run){total, size, own};
    return SN_OK;
}

/* ---- collapse ---- */

typedef struct {
    int class;
    int within_top;  /* the result stays in a class that was read */
    int64_t read, kept, total;
    double proxy;    /* what it costs now */
} collapse_plan;

/* The best collapse among those that the budget allows; 0 if there is none.
 *
 * In the long run a class that holds x keys of weight w costs proxy in proportion to w / x, so that the sum
 * is least for a given sum of the x where x grows as sqrt(w): by two from class to class. The price
 * sqrt(weight) / (keys freed) is equal for all classes just then. (Proxy for a key freed, the obvious price,
 * starves the lower classes: they collapse a few keys at a time, until the budget is gone. So does the wish
 * to collapse a little when the budget forbids more, hence COLLAPSE_LEAST.) */
static int plan_collapse(const sn_kll *kll, int64_t capacity, collapse_plan *best)
{
    double allowed = sn_kll_budget(kll) - kll->variance;
    int64_t size[SN_KLL_CLASSES] = {0}, total[SN_KLL_CLASSES] = {0};
    int top = 0;
    for (int64_t i = 0; i < kll->run_count; i++) {
        int class = class_of(sn_kll_run_weight(&kll->runs[i]));
        size[class] += kll->runs[i].size;
        total[class] += kll->runs[i].total;
        top = class > top ? class : top;
    }
    double best_price = INFINITY;
    int64_t read = 0, sum = 0;
    for (int class = 0; class <= top; class++) {
        read += size[class];
        sum += total[class];
        if (size[class] == 0 || (double)read < ldexp(COLLAPSE_LEAST * (double)capacity, class - top)) {
            continue;
        }
        int64_t kept = class == top ? (int64_t)(COLLAPSE_TOP * (double)read)
                                    : (int64_t)((double)sum / class_weight(class + 1));
        if (kept < 1 || (double)(read - kept) < COLLAPSE_USEFUL * (double)read) {
            continue;
        }
        double weight = (double)sum / (double)kept;
        int within_top = class_of(weight) <= class;
        double proxy = weight * weight / 4, price = sqrt(within_top ? 2 * weight : weight);
        if (!within_top && kll->pair_weight[class] > 0) {
            double paid = kll->pair_weight[class];
            proxy = weight > paid ? (weight * weight - paid * paid) / 4 : 0;
        }
        price /= (double)(read - kept);
        if (price < best_price && proxy <= allowed) {
            best_price = price;
            *best = (collapse_plan){class, within_top, read, kept, sum, proxy};
        }
    }
    return best_price < INFINITY;
}

/* The offset of a collapse, and the book of pairs. */
static double draw_pair_offset(sn_kll *kll, const collapse_plan *plan)
{
    double u = (double)(sn_kll_random(kll) >> 11) * 0x1p-53;
    if (plan->within_top) {
        memset(kll->pair_weight, 0, sizeof kll->pair_weight);
        memset(kll->pair_offset, 0, sizeof kll->pair_offset);
    } else if (kll->pair_weight[plan->class] > 0) {
        u = 1 - 0x1p-53 - kll->pair_offset[plan->class];
        kll->pair_weight[plan->class] = kll->pair_offset[plan->class] = 0;
    } else {
        kll->pair_weight[plan->class] = (double)plan->total / (double)plan->kept;
        kll->pair_offset[plan->class] = u;
    }
    return u;
}

static sn_status collapse(sn_kll *kll, const collapse_plan *plan, sn_kll_scratch *scratch)
{
    sn_keys *lists = scratch_lists(scratch, 2 * kll->run_count);
    int64_t *kept = malloc((size_t)plan->kept * sizeof *kept);
    if (!lists || !kept) {
        free(kept);
        return SN_ERR_NOMEM;
    }
    int64_t count = 0;
    for (int64_t i = 0; i < kll->run_count; i++) {
        const sn_kll_run *run = &kll->runs[i];
        if (class_of(sn_kll_run_weight(run)) <= plan->class) {
            lists[count++] = (sn_keys){run->keys, NULL, sn_kll_run_weight(run), run->size};
        }
    }
    int64_t *arena = sn_kll_scratch_words(scratch, sn_keys_merge_space(lists, count) + 1);
    if (!arena) {
        free(kept);
        return SN_ERR_NOMEM;
    }
    sn_keys merged = sn_keys_merge_all(lists, count, arena);
    sn_keys_sample(kept, plan->kept, draw_pair_offset(kll, plan), (double)plan->total, &merged);

    int64_t left = 0;
    for (int64_t i = 0; i < kll->run_count; i++) {
        if (class_of(sn_kll_run_weight(&kll->runs[i])) <= plan->class) {
            free(kll->runs[i].keys);
        } else {
            kll->runs[left++] = kll->runs[i];
        }
    }
    kll->runs[left] = (sn_kll_run){plan->total, plan->kept, kept};
    kll->run_count = left + 1;
    kll->variance += plan->proxy;
    kll->worst += (double)plan->total / (double)plan->kept;
    return SN_OK;
}

sn_status sn_kll_shrink(sn_kll *kll, sn_kll_scratch *scratch)
{
    int64_t capacity = sn_kll_capacity(kll->error, kll->count);
    for (;;) {
        int64_t held = 0;
        for (int64_t i = 0; i < kll->run_count; i++) {
            held += kll->runs[i].size;
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
