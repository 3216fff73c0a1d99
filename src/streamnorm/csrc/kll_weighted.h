/* The part of a quantile sketch that holds values with weights; see kll_weighted.c. */
#ifndef SN_KLL_WEIGHTED_H
#define SN_KLL_WEIGHTED_H

#include "kll_state.h"

#define SN_KLL_WEIGHTED_VERSION 2
#define SN_KLL_WEIGHTED_BLOCK 2048 /* pairs; 2^SN_KLL_WEIGHTED_BLOCK_LOG2 */
#define SN_KLL_WEIGHTED_BLOCK_LOG2 11
#define SN_KLL_WAITING 64 /* classes that may wait for the second collapse of a pair, by class modulo this */

/* Weights of 4^c .. 4^(c+1) are class c; the first one holds the smallest denormal, 2^-1074. */
#define SN_KLL_CLASS_MIN (-537)
#define SN_KLL_WEIGHT_CLASSES (537 + 512)

/* Sorted keys whose weights are all of one class, floor(log4(weight)). */
typedef struct {
    double weight;   /* of each key, if `weights` is NULL */
    double total;    /* of all of them */
    int64_t *keys;   /* (size,), owned */
    double *weights; /* (size,), owned, or NULL */
    int64_t size;
    int32_t class;
} sn_kll_list;

struct sn_kll_weighted {
    double weight, weight_lo; /* sum of the weights of all values but those in the block, as a pair */
    int64_t *keys;   /* (capacity,), the block: pairs in order of arrival; owned, as are `weights` and `lists` */
    double *weights; /* (capacity,) */
    int64_t size, capacity;
    sn_kll_list *lists;
    int64_t count, list_capacity;
    struct {
        double weight, offset; /* of the collapse that waits; weight 0: none does */
        int32_t class;
    } waiting[SN_KLL_WAITING];
};

int32_t sn_kll_weight_class(double weight);

/* The sketch's `variance` is in units of 4^-sn_kll_variance_unit: squares of strides of the tiniest weights vanish. */
int32_t sn_kll_variance_unit(const sn_kll_weighted *weighted);
double sn_kll_in_unit(double variance, int32_t from, int32_t to);
double sn_kll_weighted_sum(const sn_kll_weighted *weighted); /* of the weights of all values */

void *sn_kll_copy_words(const void *words, int64_t n); /* n words of 8 bytes in fresh memory, which may be no words */
sn_status sn_kll_reserve_lists(sn_kll_weighted *weighted, int64_t count);
void sn_kll_free_list(sn_kll_list *list);

/* Collapse until the lists are within the capacity, or the budget allows no more. */
sn_status sn_kll_shrink_weighted(sn_kll *kll, sn_kll_scratch *scratch);

/* A copy of sorted keys as a further list; `weights` as in sn_kll_list. */
sn_status sn_kll_append_list(sn_kll_weighted *weighted, const int64_t *keys, const double *weights, double weight,
                             int64_t size);
sn_status sn_kll_merge_weighted(sn_kll *into, const sn_kll *from); /* at least one of them has weights */
sn_kll_weighted *sn_kll_weighted_copy(const sn_kll_weighted *weighted);
void sn_kll_weighted_free(sn_kll_weighted *weighted); /* may be NULL */
size_t sn_kll_weighted_nbytes(const sn_kll_weighted *weighted);

/* As sn_kll_merge_everything. */
sn_status sn_kll_weighted_merge_everything(const sn_kll_weighted *weighted, sn_keys *merged, int64_t **block,
                                           int64_t **arena);
/* First of n ascending sums that is at least the part q of the last one. As numpy.quantile with weights and
 * method="inverted_cdf", in its arithmetic: each sum is divided by the last. */
int64_t sn_kll_first_part_reaching(const double *sums, int64_t n, double q);
double sn_kll_weighted_at_most(const sn_kll_weighted *weighted, int64_t key); /* weight of the keys up to this one */

size_t sn_kll_weighted_serialized_size(const sn_kll *kll);
void sn_kll_weighted_serialize(unsigned char *out, const sn_kll *kll);
/* Fills a sketch of zeros; what was allocated when it fails is freed with the sketch. */
sn_status sn_kll_weighted_read(sn_kll *kll, const unsigned char *data, int64_t words);

#endif
