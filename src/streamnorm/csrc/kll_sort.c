/* Sorting and merging of keys; see kll_sort.h.
 *
 * Method: Batcher's odd-even merge sort (K. E. Batcher, "Sorting networks and their applications", AFIPS
 * 1968) over the rows of a (64, lanes) block, all columns at once: the network's comparators are the same for
 * every column, so each is a vector minimum and maximum. Longer lists are merged from both ends by loops
 * without branches.
 */
#include "kll_sort.h"

SN_CLONES void sn_keys_load(int64_t *restrict keys, int64_t *min, int64_t *max, const double *restrict values,
                            int64_t n)
{
    typedef int64_t __attribute__((may_alias)) float_bits;
    const float_bits *bits = (const float_bits *)(const void *)values;
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    for (int64_t i = 0; i < n; i++) {
        int64_t key = sn_key_from_bits(bits[i]);
        keys[i] = key;
        lo = key < lo ? key : lo;
        hi = key > hi ? key : hi;
    }
    *min = lo;
    *max = hi;
}

int64_t sn_keys_load_valid(int64_t *restrict keys, int64_t *min, int64_t *max, const double *restrict values,
                           int64_t n)
{
    int64_t m = 0, lo = INT64_MAX, hi = INT64_MIN;
    for (int64_t i = 0; i < n; i++) {
        int64_t key = sn_key_from_double(values[i]);
        int valid = (key >= SN_KEY_NEG_INF) & (key <= SN_KEY_POS_INF);
        keys[m] = key; /* overwritten by the next one unless it counts */
        m += valid;
        lo = valid && key < lo ? key : lo;
        hi = valid && key > hi ? key : hi;
    }
    *min = lo;
    *max = hi;
    return m;
}

SN_CLONES uint64_t sn_keys_sum(const int64_t *keys, int64_t n)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (uint64_t)keys[i];
    }
    return sum;
}

/* ---- the network ---- */

SN_INLINE void compare_rows(int64_t *restrict x, int64_t *restrict y, int rows, int lanes)
{
    for (int r = 0; r < rows; r++) {
        for (int l = 0; l < lanes; l++) {
            int64_t a = x[r * lanes + l], b = y[r * lanes + l];
            x[r * lanes + l] = a < b ? a : b;
            y[r * lanes + l] = a < b ? b : a;
        }
    }
}

SN_INLINE void sort_columns(int64_t *keys, int lanes, int sorted)
{
    for (int p = sorted; p < SN_KLL_ROWS; p *= 2) {
        for (int k = p; k >= 1; k /= 2) {
            for (int j = k % p; j + k < SN_KLL_ROWS; j += 2 * k) {
                /* k divides p, so that rows j .. j + k - 1 lie in one stretch of 2p rows, or their partners
                 * do not */
                if (j / (2 * p) == (j + k) / (2 * p)) {
                    compare_rows(keys + j * lanes, keys + (j + k) * lanes, k, lanes);
                }
            }
        }
    }
}

SN_CLONES static void sort_columns_8(int64_t *keys, int sorted)
{
    sort_columns(keys, 8, sorted);
}

SN_CLONES static void sort_columns_32(int64_t *keys, int sorted)
{
    sort_columns(keys, 32, sorted);
}

void sn_keys_sort_columns(int64_t *keys, int lanes, int sorted)
{
    if (lanes == 32) {
        sort_columns_32(keys, sorted);
    } else {
        sort_columns_8(keys, sorted);
    }
}

/* ---- merging ---- */

/* From both ends at a time: two chains of dependent loads instead of one. */
void sn_keys_merge(int64_t *restrict out, const int64_t *a, int64_t na, const int64_t *b, int64_t nb)
{
    int64_t *end = out + na + nb;
    for (;;) {
        /* so many steps from both ends cannot run out of either list */
        int64_t steps = (na < nb ? na : nb) / 2;
        if (steps == 0) {
            break;
        }
        int64_t i = 0, j = 0; /* taken from the start of a, the end of b */
        const int64_t *a_end = a + na - 1, *b_end = b + nb - 1;
        for (int64_t s = 0; s < steps; s++) {
            int64_t x = a[i], y = b[s - i];
            out[s] = y < x ? y : x;
            i += y >= x;
            int64_t v = a_end[j - s], w = b_end[-j];
            end[-1 - s] = w < v ? v : w;
            j += w >= v;
        }
        a += i;
        b += steps - i;
        na -= i + (steps - j);
        nb -= (steps - i) + j;
        out += steps;
        end -= steps;
    }
    while (na > 0 && nb > 0) { /* one of them holds a single key */
        int64_t from_b = *b < *a;
        *out++ = from_b ? *b : *a;
        b += from_b;
        nb -= from_b;
        a += 1 - from_b;
        na -= 1 - from_b;
    }
    memcpy(out, a, (size_t)na * sizeof *out);
    memcpy(out + na, b, (size_t)nb * sizeof *out);
}

static void merge_weighted(int64_t *restrict out, double *restrict weights, const sn_keys *a,
                           const sn_keys *b)
{
    /* a step of 0 reads the one weight of a list over and over */
    const double *wa = a->weights ? a->weights : &a->weight, *wb = b->weights ? b->weights : &b->weight;
    int64_t sa = a->weights != NULL, sb = b->weights != NULL;
    int64_t i = 0, j = 0, k = 0;
    while (i < a->size && j < b->size) {
        int64_t left_a = a->size - i, left_b = b->size - j, steps = left_a < left_b ? left_a : left_b;
        for (; steps > 0; steps--, k++) {
            int64_t x = a->keys[i], y = b->keys[j], from_b = y < x;
            double u = wa[i * sa], v = wb[j * sb];
            out[k] = from_b ? y : x;
            weights[k] = from_b ? v : u;
            j += from_b;
            i += 1 - from_b;
        }
    }
    for (; i < a->size; i++, k++) {
        out[k] = a->keys[i];
        weights[k] = wa[i * sa];
    }
    for (; j < b->size; j++, k++) {
        out[k] = b->keys[j];
        weights[k] = wb[j * sb];
    }
}

/* Two pairs of lists, all `run` long and one after the other, each pair from both ends: four chains. With
 * equal lengths, `run` steps from an end cannot run out of a list, so that nothing is checked. */
static void merge_two_pairs(int64_t *restrict out, const int64_t *restrict in, int64_t run)
{
    const int64_t *a = in, *b = in + run, *c = b + run, *d = c + run;
    int64_t i = 0, j = 0, k = 0, m = 0; /* taken from the start of a, the end of b, of c and of d likewise */
    int64_t last = run - 1;
    for (int64_t step = 0; step < run; step++) {
        int64_t x = a[i], y = b[step - i];
        out[step] = y < x ? y : x;
        i += y >= x;
        int64_t v = a[last - step + j], w = b[last - j];
        out[2 * run - 1 - step] = w < v ? v : w;
        j += w >= v;
        int64_t x2 = c[k], y2 = d[step - k];
        out[2 * run + step] = y2 < x2 ? y2 : x2;
        k += y2 >= x2;
        int64_t v2 = c[last - step + m], w2 = d[last - m];
        out[4 * run - 1 - step] = w2 < v2 ? v2 : w2;
        m += w2 >= v2;
    }
}

void sn_keys_merge_columns(int64_t *keys, int64_t *tmp, int lanes)
{
    for (int l = 0; l < lanes; l++) {
        for (int r = 0; r < SN_KLL_ROWS; r++) {
            tmp[l * SN_KLL_ROWS + r] = keys[r * lanes + l];
        }
    }
    int64_t *from = tmp, *to = keys;
    int64_t n = (int64_t)SN_KLL_ROWS * lanes, run = SN_KLL_ROWS;
    for (; 2 * run < n; run *= 2) {
        for (int64_t at = 0; at < n; at += 4 * run) {
            merge_two_pairs(to + at, from + at, run);
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    sn_keys_merge(to, from, run, from + run, run);
    if (to != keys) {
        memcpy(keys, to, (size_t)n * sizeof *keys);
    }
}

int64_t sn_keys_sort_space(int64_t n)
{
    int64_t block = SN_KLL_ROWS * 8;
    return n + 2 * block;
}

void sn_keys_sort(int64_t *keys, int64_t n, int64_t *tmp)
{
    const int64_t block = SN_KLL_ROWS * 8;
    int64_t *pad = tmp + n;
    for (int64_t at = 0; at < n; at += block) {
        int64_t size = n - at < block ? n - at : block;
        memcpy(pad, keys + at, (size_t)size * sizeof *pad);
        for (int64_t i = size; i < block; i++) {
            pad[i] = SN_KEY_PAD;
        }
        sn_keys_sort_columns(pad, 8, 1);
        sn_keys_merge_columns(pad, pad + block, 8);
        memcpy(keys + at, pad, (size_t)size * sizeof *pad);
    }
    int64_t *from = keys, *to = tmp;
    for (int64_t run = block; run < n; run *= 2) {
        for (int64_t at = 0; at < n; at += 2 * run) {
            int64_t na = n - at < run ? n - at : run;
            int64_t nb = n - at - na < run ? n - at - na : run;
            sn_keys_merge(to + at, from + at, na, from + at + na, nb);
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) {
        memcpy(keys, from, (size_t)n * sizeof *keys);
    }
}

/* ---- many lists ---- */

/* Huffman's order, with two queues: the leaves, by size (0 .. count - 1), and the merged lists, which come
 * out by size (count .. *nodes - 1). Equal sizes keep their order, so the result depends on nothing else. */
typedef struct {
    int64_t leaf, leaves, node, nodes;
} merge_queue;

SN_INLINE const sn_keys *take_smallest(const sn_keys *lists, merge_queue *q)
{
    if (q->leaf < q->leaves && (q->node >= q->nodes || lists[q->leaf].size <= lists[q->node].size)) {
        return &lists[q->leaf++];
    }
    return &lists[q->node++];
}

int64_t sn_keys_merge_space(sn_keys *lists, int64_t count)
{
    for (int64_t i = 1; i < count; i++) { /* few lists: insertion sort, which is stable */
        sn_keys list = lists[i];
        int64_t j = i;
        for (; j > 0 && lists[j - 1].size > list.size; j--) {
            lists[j] = lists[j - 1];
        }
        lists[j] = list;
    }
    merge_queue q = {0, count, count, count};
    int64_t words = 0;
    for (int64_t merges = count - 1; merges > 0; merges--) {
        const sn_keys *a = take_smallest(lists, &q), *b = take_smallest(lists, &q);
        int64_t size = a->size + b->size;
        lists[q.nodes++].size = size;
        words += 2 * size; /* keys and, where they differ, weights */
    }
    return words;
}

sn_keys sn_keys_merge_all(sn_keys *lists, int64_t count, int64_t *arena)
{
    merge_queue q = {0, count, count, count};
    for (int64_t merges = count - 1; merges > 0; merges--) {
        const sn_keys *a = take_smallest(lists, &q), *b = take_smallest(lists, &q);
        sn_keys merged = {arena, NULL, a->weight, a->size + b->size};
        if (!a->weights && !b->weights && a->weight == b->weight) {
            sn_keys_merge(arena, a->keys, a->size, b->keys, b->size);
            arena += merged.size;
        } else {
            double *weights = (double *)(void *)(arena + merged.size);
            merge_weighted(arena, weights, a, b);
            merged.weights = weights;
            arena += 2 * merged.size;
        }
        lists[q.nodes++] = merged;
    }
    return lists[q.nodes > count ? q.nodes - 1 : 0];
}

void sn_keys_sample(int64_t *restrict out, int64_t n, double u, double total, const sn_keys *from)
{
    if (!from->weights) {
        double step = (double)from->size / (double)n;
        for (int64_t j = 0; j < n; j++) {
            int64_t at = (int64_t)(((double)j + u) * step);
            out[j] = from->keys[at < from->size ? at : from->size - 1];
        }
        return;
    }
    double step = total / (double)n, reached = 0, next = u * step;
    int64_t j = 0;
    for (int64_t i = 0; i < from->size && j < n; i++) {
        reached += from->weights[i];
        while (next < reached && j < n) {
            out[j++] = from->keys[i];
            next = ((double)j + u) * step;
        }
    }
    for (; j < n; j++) { /* the sum of the weights was rounded below the last target */
        out[j] = from->keys[from->size - 1];
    }
}
