/* A quantile sketch of values with weights to bytes and back; see kll.h.
 *
 * Layout of version 2, little-endian, words of 8 bytes: the head (4 bytes "SNKL", the version as 4 bytes), the fields
 * of `fields` below; for each class that waits for its second collapse the class, a weight and an offset; for each list
 * a size and a weight, 0 where every key has its own; the block's keys as float64, then its weights; for each list its
 * keys and then, if they have them, their weights; last a checksum of all words before it.
 */
#include "kll_weighted.h"
#include "kll_words.h"

#include <math.h>
#include <stdlib.h>

#define ROUNDING 1e-9 /* of the sum of the weights */

enum fields {
    HEAD, ERROR, SEED, RANDOM, COUNT, MIN, MAX, VARIANCE, WORST, WEIGHT, WEIGHT_LO, WAITING, BLOCK, LISTS,
    FIELDS /* how many */
};

static int64_t waiting_count(const sn_kll_weighted *weighted)
{
    int64_t count = 0;
    for (int i = 0; i < SN_KLL_WAITING; i++) {
        count += weighted->waiting[i].weight > 0;
    }
    return count;
}

size_t sn_kll_weighted_serialized_size(const sn_kll *kll)
{
    const sn_kll_weighted *weighted = kll->weighted;
    int64_t words = FIELDS + 3 * waiting_count(weighted) + 2 * weighted->count + 2 * weighted->size + 1;
    for (int64_t i = 0; i < weighted->count; i++) {
        words += weighted->lists[i].size * (weighted->lists[i].weights ? 2 : 1);
    }
    return 8 * (size_t)words;
}

static int64_t put_pairs(unsigned char *out, int64_t at, const int64_t *keys, const double *weights, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        put(out, at + i, (uint64_t)sn_key_from_bits(keys[i]));
    }
    for (int64_t i = 0; i < n && weights; i++) {
        put_double(out, at + n + i, weights[i]);
    }
    return at + (weights ? 2 * n : n);
}

void sn_kll_weighted_serialize(unsigned char *out, const sn_kll *kll)
{
    const sn_kll_weighted *weighted = kll->weighted;
    int64_t at = FIELDS;
    put_head(out, SN_KLL_WEIGHTED_VERSION);
    put_double(out, ERROR, kll->error);
    put(out, SEED, kll->seed);
    put(out, RANDOM, kll->random);
    put(out, COUNT, (uint64_t)kll->count);
    put(out, MIN, (uint64_t)sn_key_from_bits(kll->min));
    put(out, MAX, (uint64_t)sn_key_from_bits(kll->max));
    put_double(out, VARIANCE, kll->variance);
    put_double(out, WORST, kll->worst);
    put_double(out, WEIGHT, weighted->weight);
    put_double(out, WEIGHT_LO, weighted->weight_lo);
    put(out, WAITING, (uint64_t)waiting_count(weighted));
    put(out, BLOCK, (uint64_t)weighted->size);
    put(out, LISTS, (uint64_t)weighted->count);
    for (int i = 0; i < SN_KLL_WAITING; i++) {
        if (weighted->waiting[i].weight > 0) {
            put(out, at++, (uint64_t)(int64_t)weighted->waiting[i].class);
            put_double(out, at++, weighted->waiting[i].weight);
            put_double(out, at++, weighted->waiting[i].offset);
        }
    }
    for (int64_t i = 0; i < weighted->count; i++) {
        put(out, at++, (uint64_t)weighted->lists[i].size);
        put_double(out, at++, weighted->lists[i].weights ? 0 : weighted->lists[i].weight);
    }
    at = put_pairs(out, at, weighted->keys, weighted->weights, weighted->size);
    for (int64_t i = 0; i < weighted->count; i++) {
        at = put_pairs(out, at, weighted->lists[i].keys, weighted->lists[i].weights, weighted->lists[i].size);
    }
    put(out, at, checksum(out, at));
}

/* ---- reading: nothing is believed ---- */

typedef struct {
    const unsigned char *data;
    int64_t words, at; /* words before the checksum, and where the next one is read */
    const sn_kll *kll;
} reader;

static int is_weight(double weight)
{
    return weight > 0 && weight <= SN_MAX_WEIGHT;
}

/* The next n keys, each within min and max. */
static sn_status read_keys(reader *in, int64_t **keys, int64_t n)
{
    if (n < 0 || n > in->words - in->at) {
        return SN_ERR_CORRUPT;
    }
    *keys = malloc((size_t)(n > 0 ? n : 1) * sizeof **keys);
    if (!*keys) {
        return SN_ERR_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        (*keys)[i] = get_key(in->data, in->at++);
        if ((*keys)[i] < in->kll->min || (*keys)[i] > in->kll->max) {
            return SN_ERR_CORRUPT;
        }
    }
    return SN_OK;
}

static sn_status read_weights(reader *in, double **weights, int64_t n)
{
    if (n < 0 || n > in->words - in->at) {
        return SN_ERR_CORRUPT;
    }
    *weights = malloc((size_t)(n > 0 ? n : 1) * sizeof **weights);
    if (!*weights) {
        return SN_ERR_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        (*weights)[i] = get_double(in->data, in->at++);
        if (!is_weight((*weights)[i])) {
            return SN_ERR_CORRUPT;
        }
    }
    return SN_OK;
}

static int read_fields(sn_kll *kll, const unsigned char *data)
{
    sn_kll_weighted *weighted = kll->weighted;
    kll->error = get_double(data, ERROR);
    kll->seed = get(data, SEED);
    kll->random = get(data, RANDOM);
    kll->count = (int64_t)get(data, COUNT);
    kll->min = get_key(data, MIN);
    kll->max = get_key(data, MAX);
    kll->variance = get_double(data, VARIANCE);
    kll->worst = get_double(data, WORST);
    weighted->weight = get_double(data, WEIGHT);
    weighted->weight_lo = get_double(data, WEIGHT_LO);
    if (!(kll->error >= SN_KLL_MIN_ERROR && kll->error <= SN_KLL_MAX_ERROR)) {
        return 0;
    }
    if (kll->count < 0 || kll->count > SN_KLL_MAX_COUNT || get(data, BLOCK) > SN_KLL_WEIGHTED_BLOCK) {
        return 0;
    }
    if (!(kll->variance >= 0 && kll->worst >= 0 && isfinite(kll->variance) && isfinite(kll->worst))) {
        return 0;
    }
    if (!(weighted->weight == 0 || is_weight(weighted->weight)) ||
        weighted->weight + weighted->weight_lo != weighted->weight) {
        return 0;
    }
    kll->lanes = sn_kll_lanes(kll->error, 0);
    if (kll->count == 0) {
        return kll->min == INT64_MAX && kll->max == INT64_MIN;
    }
    return kll->min >= SN_KEY_NEG_INF && kll->min <= kll->max && kll->max <= SN_KEY_POS_INF;
}

static int read_waiting(reader *in, sn_kll_weighted *weighted, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t class = (int64_t)get(in->data, in->at++);
        double weight = get_double(in->data, in->at++), offset = get_double(in->data, in->at++);
        int slot = (int)(class & (SN_KLL_WAITING - 1));
        if (class < -1024 || class > 1024 || !is_weight(weight) || !(offset >= 0 && offset < 1) ||
            weighted->waiting[slot].weight > 0) {
            return 0;
        }
        weighted->waiting[slot].weight = weight;
        weighted->waiting[slot].offset = offset;
        weighted->waiting[slot].class = (int32_t)class;
    }
    return 1;
}

/* Whether a list is one: keys in order, weights of one class. */
static int in_order(const sn_kll_list *list)
{
    for (int64_t i = 1; i < list->size; i++) {
        if (list->keys[i - 1] > list->keys[i]) {
            return 0;
        }
        if (list->weights && sn_kll_weight_class(list->weights[i]) != sn_kll_weight_class(list->weights[0])) {
            return 0;
        }
    }
    return 1;
}

static sn_status read_list(reader *in, sn_kll_weighted *weighted, int64_t head)
{
    sn_kll_list list = {get_double(in->data, head + 1), 0, NULL, NULL, (int64_t)get(in->data, head), 0};
    int own = list.weight == 0;
    if (list.size <= 0 || !(own || is_weight(list.weight))) {
        return SN_ERR_CORRUPT;
    }
    sn_status status = read_keys(in, &list.keys, list.size);
    if (status == SN_OK && own) {
        status = read_weights(in, &list.weights, list.size);
    }
    if (status == SN_OK) {
        status = in_order(&list) ? sn_kll_append_list(weighted, list.keys, list.weights, list.weight, list.size)
                                 : SN_ERR_CORRUPT;
    }
    free(list.keys);
    free(list.weights);
    return status;
}

static sn_status read_all(reader *in, sn_kll *kll)
{
    sn_kll_weighted *weighted = kll->weighted;
    const unsigned char *data = in->data;
    uint64_t waiting = get(data, WAITING), lists = get(data, LISTS);
    int64_t block = (int64_t)get(data, BLOCK), left = in->words - FIELDS;
    if (waiting > SN_KLL_WAITING || (int64_t)waiting * 3 > left) {
        return SN_ERR_CORRUPT;
    }
    if (lists > (uint64_t)(left - 3 * (int64_t)waiting) / 2) {
        return SN_ERR_CORRUPT;
    }
    if (!read_waiting(in, weighted, (int64_t)waiting)) {
        return SN_ERR_CORRUPT;
    }
    int64_t heads = in->at, held = block;
    in->at += 2 * (int64_t)lists;
    sn_status status = read_keys(in, &weighted->keys, block);
    if (status == SN_OK) {
        status = read_weights(in, &weighted->weights, block);
    }
    double total = 0;
    for (int64_t i = 0; i < (int64_t)lists && status == SN_OK; i++) {
        status = read_list(in, weighted, heads + 2 * i);
        if (status == SN_OK) {
            held += weighted->lists[i].size;
            total += weighted->lists[i].total;
        }
    }
    if (status != SN_OK) {
        return status;
    }
    weighted->size = weighted->capacity = block;
    int agree = fabs(total - weighted->weight) <= ROUNDING * weighted->weight;
    /* fewer keys than values, and no error: it would pass for exact; keys are never more than values */
    if (in->at != in->words || !agree || held > kll->count || (held < kll->count && kll->worst == 0) ||
        (held == 0) != (kll->count == 0)) {
        return SN_ERR_CORRUPT;
    }
    return sn_kll_weighted_sum(weighted) <= SN_MAX_WEIGHT ? SN_OK : SN_ERR_CORRUPT;
}

sn_status sn_kll_weighted_read(sn_kll *kll, const unsigned char *data, int64_t words)
{
    if (words < FIELDS) {
        return SN_ERR_CORRUPT;
    }
    kll->weighted = calloc(1, sizeof *kll->weighted);
    if (!kll->weighted) {
        return SN_ERR_NOMEM;
    }
    if (!read_fields(kll, data)) {
        return SN_ERR_CORRUPT;
    }
    reader in = {data, words, FIELDS, kll};
    return read_all(&in, kll);
}
