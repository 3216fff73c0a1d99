/* A quantile sketch to bytes and back; see kll.h.
 *
 * Layout of version 1, little-endian, words of 8 bytes: the head (4 bytes "SNKL", the version as 4 bytes),
 * the fields of `fields` below, a weight and an offset for each of `pairs` classes, a total and a size for
 * each run, then keys as float64: raw, picked, strided, runs in order; last a checksum of all words before
 * it. The checksum tells accidents from states; what passes it is still checked for everything that the code
 * relies on. Version 2 is that of sketches with weights, see kll_weighted_bytes.c.
 */
#include "kll_state.h"
#include "kll_weighted.h"
#include "kll_words.h"

#include <math.h>
#include <stdlib.h>

#define VERSION 1

enum fields {
    HEAD, ERROR, SEED, RANDOM, COUNT, MIN, MAX, VARIANCE, WORST, LANES, PICK, STRIDE, PAIRS,
    RAW, PICKED, STRIDED, RUNS,
    FIELDS /* how many */
};

static int64_t used_pairs(const sn_kll *kll)
{
    int64_t pairs = SN_KLL_CLASSES;
    while (pairs > 0 && kll->pair_weight[pairs - 1] == 0) {
        pairs--;
    }
    return pairs;
}

static int64_t words_of(const sn_kll *kll)
{
    int64_t words = FIELDS + 2 * used_pairs(kll) + 2 * kll->run_count + 1;
    words += kll->raw.size + kll->picked.size + kll->strided.size;
    for (int64_t i = 0; i < kll->run_count; i++) {
        words += kll->runs[i].size;
    }
    return words;
}

size_t sn_kll_serialized_size(const sn_kll *kll)
{
    if (kll->weighted) {
        return sn_kll_weighted_serialized_size(kll);
    }
    return 8 * (size_t)words_of(kll);
}

static int64_t put_keys(unsigned char *out, int64_t at, const int64_t *keys, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        put(out, at + i, (uint64_t)sn_key_from_bits(keys[i]));
    }
    return at + n;
}

void sn_kll_serialize(unsigned char *out, const sn_kll *kll)
{
    if (kll->weighted) {
        sn_kll_weighted_serialize(out, kll);
        return;
    }
    int64_t pairs = used_pairs(kll), at = FIELDS;
    put_head(out, VERSION);
    put_double(out, ERROR, kll->error);
    put(out, SEED, kll->seed);
    put(out, RANDOM, kll->random);
    put(out, COUNT, (uint64_t)kll->count);
    put(out, MIN, (uint64_t)sn_key_from_bits(kll->min));
    put(out, MAX, (uint64_t)sn_key_from_bits(kll->max));
    put_double(out, VARIANCE, kll->variance);
    put_double(out, WORST, kll->worst);
    put(out, LANES, (uint64_t)kll->lanes);
    put(out, PICK, (uint64_t)kll->pick_log2);
    put(out, STRIDE, (uint64_t)kll->stride_log2);
    put(out, PAIRS, (uint64_t)pairs);
    put(out, RAW, (uint64_t)kll->raw.size);
    put(out, PICKED, (uint64_t)kll->picked.size);
    put(out, STRIDED, (uint64_t)kll->strided.size);
    put(out, RUNS, (uint64_t)kll->run_count);
    for (int64_t c = 0; c < pairs; c++) {
        put_double(out, at++, kll->pair_weight[c]);
        put_double(out, at++, kll->pair_offset[c]);
    }
    for (int64_t i = 0; i < kll->run_count; i++) {
        put(out, at++, (uint64_t)kll->runs[i].total);
        put(out, at++, (uint64_t)kll->runs[i].size);
    }
    at = put_keys(out, at, kll->raw.keys, kll->raw.size);
    at = put_keys(out, at, kll->picked.keys, kll->picked.size);
    at = put_keys(out, at, kll->strided.keys, kll->strided.size);
    for (int64_t i = 0; i < kll->run_count; i++) {
        at = put_keys(out, at, kll->runs[i].keys, kll->runs[i].size);
    }
    put(out, at, checksum(out, at));
}

/* ---- reading: nothing is believed ---- */

typedef struct {
    const unsigned char *data;
    int64_t words, at; /* words before the checksum, and where the next one is read */
    int64_t missing;   /* values not yet accounted for, of `count` */
} reader;

/* `n` keys of `weight` values each (total, for a run) into fresh memory at *keys; each within min and max. */
static sn_status read_keys(reader *in, const sn_kll *kll, int64_t **keys, int64_t n, int64_t total)
{
    if (n > in->words - in->at || total < n || total > in->missing) {
        return SN_ERR_CORRUPT;
    }
    *keys = malloc((size_t)(n > 0 ? n : 1) * sizeof **keys);
    if (!*keys) {
        return SN_ERR_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t key = get_key(in->data, in->at + i);
        if (key < kll->min || key > kll->max) {
            return SN_ERR_CORRUPT;
        }
        (*keys)[i] = key;
    }
    in->at += n;
    in->missing -= total;
    return SN_OK;
}

static sn_status read_buffer(reader *in, const sn_kll *kll, sn_kll_buffer *buffer, int field, int log2_weight)
{
    uint64_t size = get(in->data, field);
    if (size > (uint64_t)sn_kll_block(kll)) {
        return SN_ERR_CORRUPT;
    }
    if (size == 0) {
        return SN_OK;
    }
    buffer->size = buffer->capacity = (int64_t)size;
    return read_keys(in, kll, &buffer->keys, buffer->size, buffer->size << log2_weight);
}

static int ascending(const int64_t *keys, int64_t n)
{
    int64_t i = 1;
    while (i < n && keys[i - 1] <= keys[i]) {
        i++;
    }
    return i >= n;
}

/* The strided buffer holds whole stretches of rows, each in order in every column. */
static int strides_in_order(const sn_kll *kll)
{
    int64_t rows = SN_KLL_ROWS >> kll->stride_log2, lanes = kll->lanes;
    const sn_kll_buffer *buffer = &kll->strided;
    if (buffer->size % (rows * lanes) != 0 || (buffer->size > 0 && kll->stride_log2 == 0)) {
        return 0;
    }
    for (int64_t i = lanes; i < buffer->size; i++) {
        if (i / lanes % rows != 0 && buffer->keys[i - lanes] > buffer->keys[i]) {
            return 0;
        }
    }
    return 1;
}

static int read_fields(sn_kll *kll, const unsigned char *data)
{
    kll->error = get_double(data, ERROR);
    kll->seed = get(data, SEED);
    kll->random = get(data, RANDOM);
    kll->count = (int64_t)get(data, COUNT);
    kll->min = get_key(data, MIN);
    kll->max = get_key(data, MAX);
    kll->variance = get_double(data, VARIANCE);
    kll->worst = get_double(data, WORST);
    uint64_t lanes = get(data, LANES), pick = get(data, PICK), stride = get(data, STRIDE);
    if (!(kll->error >= SN_KLL_MIN_ERROR && kll->error <= SN_KLL_MAX_ERROR)) {
        return 0;
    }
    if (kll->count < 0 || kll->count > SN_KLL_MAX_COUNT || (lanes != 8 && lanes != 32)) {
        return 0;
    }
    if (pick > SN_KLL_MAX_PICK || stride > SN_KLL_MAX_STRIDE || get(data, PAIRS) > SN_KLL_CLASSES) {
        return 0;
    }
    if (!(kll->variance >= 0 && kll->worst >= 0 && isfinite(kll->variance) && isfinite(kll->worst))) {
        return 0;
    }
    kll->lanes = (int32_t)lanes;
    kll->pick_log2 = (int32_t)pick;
    kll->stride_log2 = (int32_t)stride;
    if (kll->count == 0) {
        return kll->min == INT64_MAX && kll->max == INT64_MIN;
    }
    return kll->min >= SN_KEY_NEG_INF && kll->min <= kll->max && kll->max <= SN_KEY_POS_INF;
}

static sn_status read_runs(reader *in, sn_kll *kll, int64_t count)
{
    int64_t at = in->at;
    in->at += 2 * count;
    kll->runs = calloc((size_t)(count > 0 ? count : 1), sizeof *kll->runs);
    if (!kll->runs) {
        return SN_ERR_NOMEM;
    }
    kll->run_capacity = count > 0 ? count : 1;
    sn_status status = read_buffer(in, kll, &kll->raw, RAW, 0);
    if (status == SN_OK) {
        status = read_buffer(in, kll, &kll->picked, PICKED, kll->pick_log2);
    }
    if (status == SN_OK) {
        status = read_buffer(in, kll, &kll->strided, STRIDED, kll->pick_log2 + kll->stride_log2);
    }
    for (int64_t i = 0; i < count && status == SN_OK; i++) {
        uint64_t total = get(in->data, at + 2 * i), size = get(in->data, at + 2 * i + 1);
        if (total > (uint64_t)SN_KLL_MAX_COUNT || size > total || size == 0) {
            return SN_ERR_CORRUPT;
        }
        sn_kll_run *run = &kll->runs[kll->run_count++];
        *run = (sn_kll_run){(int64_t)total, (int64_t)size, NULL};
        status = read_keys(in, kll, &run->keys, run->size, run->total);
        if (status == SN_OK && !ascending(run->keys, run->size)) {
            return SN_ERR_CORRUPT;
        }
        if (status == SN_OK && run->total != run->size && kll->worst == 0) {
            return SN_ERR_CORRUPT; /* it would pass for exact */
        }
    }
    return status;
}

static sn_status read_all(sn_kll *kll, const unsigned char *data, int64_t words)
{
    reader in = {data, words, FIELDS, 0};
    if (!read_fields(kll, data)) {
        return SN_ERR_CORRUPT;
    }
    in.missing = kll->count;
    int64_t pairs = (int64_t)get(data, PAIRS);
    uint64_t runs = get(data, RUNS);
    if (2 * pairs > words - in.at || runs > (uint64_t)(words - in.at - 2 * pairs) / 2) {
        return SN_ERR_CORRUPT;
    }
    for (int64_t c = 0; c < pairs; c++) {
        double weight = get_double(data, in.at++), offset = get_double(data, in.at++);
        if (!(weight >= 0 && weight <= (double)SN_KLL_MAX_COUNT && offset >= 0 && offset < 1)) {
            return SN_ERR_CORRUPT;
        }
        kll->pair_weight[c] = weight;
        kll->pair_offset[c] = offset;
    }
    sn_status status = read_runs(&in, kll, (int64_t)runs);
    if (status != SN_OK) {
        return status;
    }
    int inexact = (kll->picked.size > 0 && kll->pick_log2 > 0) || kll->strided.size > 0;
    if (in.missing != 0 || in.at != in.words || !strides_in_order(kll) || (inexact && kll->worst == 0)) {
        return SN_ERR_CORRUPT;
    }
    return SN_OK;
}

sn_status sn_kll_deserialize(sn_kll **out, const unsigned char *data, size_t size)
{
    *out = NULL;
    int64_t version = intact_version(data, size);
    int64_t words = (int64_t)(size / 8) - 1;
    if (!(version == VERSION && words >= FIELDS) && version != SN_KLL_WEIGHTED_VERSION) {
        return SN_ERR_CORRUPT;
    }
    sn_kll *kll = calloc(1, sizeof *kll);
    if (!kll) {
        return SN_ERR_NOMEM;
    }
    sn_status status = version == VERSION ? read_all(kll, data, words) : sn_kll_weighted_read(kll, data, words);
    if (status != SN_OK) {
        sn_kll_free(kll);
        return status;
    }
    *out = kll;
    return SN_OK;
}
