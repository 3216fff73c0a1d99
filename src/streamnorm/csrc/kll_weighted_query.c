/* Questions to a quantile sketch of values with weights; see kll.h. */
#include "kll_weighted.h"

#include <stdlib.h>

size_t sn_kll_weighted_nbytes(const sn_kll_weighted *weighted)
{
    int64_t words = 2 * weighted->capacity;
    for (int64_t i = 0; i < weighted->count; i++) {
        words += weighted->lists[i].size * (weighted->lists[i].weights ? 2 : 1);
    }
    return sizeof *weighted + (size_t)weighted->list_capacity * sizeof *weighted->lists + 8 * (size_t)words;
}

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The block's pairs, sorted, as a list in fresh memory, which is the caller's. */
static sn_status list_block(sn_keys *list, int64_t **words, const sn_kll_weighted *weighted)
{
    int64_t n = weighted->size;
    int64_t *pairs = malloc((size_t)(2 * n + 1) * sizeof *pairs);
    *words = malloc((size_t)(2 * n + 1) * sizeof **words);
    if (!pairs || !*words) {
        free(pairs);
        return SN_ERR_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        pairs[2 * i] = weighted->keys[i];
        memcpy(&pairs[2 * i + 1], &weighted->weights[i], sizeof(double));
    }
    qsort(pairs, (size_t)n, 2 * sizeof *pairs, by_key);
    double *weights = (double *)(void *)(*words + n);
    for (int64_t i = 0; i < n; i++) {
        (*words)[i] = pairs[2 * i];
        memcpy(&weights[i], &pairs[2 * i + 1], sizeof(double));
    }
    free(pairs);
    *list = (sn_keys){*words, weights, 0, n};
    return SN_OK;
}

sn_status sn_kll_weighted_merge_everything(const sn_kll_weighted *weighted, sn_keys *merged, int64_t **block,
                                           int64_t **arena)
{
    *arena = NULL;
    *block = NULL;
    sn_keys *lists = malloc((size_t)(2 * (weighted->count + 1)) * sizeof *lists);
    if (lists && list_block(&lists[0], block, weighted) == SN_OK) {
        int64_t count = weighted->size > 0;
        for (int64_t i = 0; i < weighted->count; i++) {
            const sn_kll_list *list = &weighted->lists[i];
            lists[count++] = (sn_keys){list->keys, list->weights, list->weight, list->size};
        }
        *arena = malloc((size_t)(sn_keys_merge_space(lists, count) + 1) * sizeof **arena);
        if (*arena) {
            *merged = sn_keys_merge_all(lists, count, *arena);
        }
    }
    free(lists);
    return *arena ? SN_OK : SN_ERR_NOMEM;
}

int64_t sn_kll_first_part_reaching(const double *sums, int64_t n, double q)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (sums[mid] / sums[n - 1] >= q) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

double sn_kll_weighted_at_most(const sn_kll_weighted *weighted, int64_t key)
{
    double sum = 0;
    for (int64_t i = 0; i < weighted->size; i++) {
        sum += weighted->keys[i] <= key ? weighted->weights[i] : 0;
    }
    for (int64_t i = 0; i < weighted->count; i++) {
        const sn_kll_list *list = &weighted->lists[i];
        int64_t lo = 0, hi = list->size;
        while (lo < hi) {
            int64_t mid = lo + (hi - lo) / 2;
            if (list->keys[mid] <= key) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        if (!list->weights) {
            sum += (double)lo * list->weight;
        }
        for (int64_t j = 0; j < lo && list->weights; j++) {
            sum += list->weights[j];
        }
    }
    return sum;
}
