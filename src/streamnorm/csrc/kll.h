/* A quantile sketch of doubles: small, mergeable, seeded, with a bound on its error that it computes itself.
 *
 * The rank of x is the fraction of values <= x. A single query of a sketch made with `error` is off by more
 * than `error` with probability at most 1 % over the seeds; sn_kll_rank_error says what holds for this very
 * sketch, which is 0 while it still has every value. Bits depend on the seed and on the values in their order
 * (their positions among the values that are not NaN), never on how a stream was cut into calls. The method
 * is told in kll.c.
 */
#ifndef SN_KLL_H
#define SN_KLL_H

#include "sn_common.h"

#define SN_KLL_MIN_ERROR 1e-6
#define SN_KLL_MAX_ERROR 0.5

typedef struct sn_kll sn_kll;

/* NULL: no memory, or `error` outside [SN_KLL_MIN_ERROR, SN_KLL_MAX_ERROR]. The caller owns what is returned.
 */
sn_kll *sn_kll_new(double error, uint64_t seed);
sn_kll *sn_kll_copy(const sn_kll *kll);
void sn_kll_free(sn_kll *kll);

/* Take n values; NaN is skipped. After SN_ERR_NOMEM the sketch is valid and holds a leading part of them. */
sn_status sn_kll_update(sn_kll *kll, const double *values, int64_t n);

/* The same with weights, which are finite and not negative; weights NULL: all are 1. A value of weight 0 is skipped.
 * From then on values that come without weights have weight 1, ranks are fractions of the sum of the weights, and
 * quantiles are those of the inverse of the distribution function, never interpolated. The caller sees to it that the
 * weights of a sketch sum to no more than SN_MAX_WEIGHT. */
sn_status sn_kll_update_weighted(sn_kll *kll, const double *values, const double *weights, int64_t n);

/* Take all that `from` has seen; `from` is unchanged and may be `into`. The larger error is kept. Merging a
 * sketch and its copy adds their errors as the equal things they are; other parts are taken for independent.
 * After SN_ERR_NOMEM, `into` is unchanged, and after SN_ERR_WEIGHTS (see sn_common.h), too. */
sn_status sn_kll_merge(sn_kll *into, const sn_kll *from);

double sn_kll_error(const sn_kll *kll);
uint64_t sn_kll_seed(const sn_kll *kll);
int64_t sn_kll_count(const sn_kll *kll);           /* values that were not NaN */
int sn_kll_is_weighted(const sn_kll *kll);
double sn_kll_weight(const sn_kll *kll);           /* sum of their weights */
double sn_kll_min(const sn_kll *kll);              /* NaN when empty, as are max, quantiles and rank */
double sn_kll_max(const sn_kll *kll);
double sn_kll_rank_error(const sn_kll *kll);       /* bound at 99 %, single query; 0: exact */
double sn_kll_rank_error_worst(const sn_kll *kll); /* bound that no seed can break */
size_t sn_kll_nbytes(const sn_kll *kll);           /* memory held now */

/* out[i] for q[i] in [0, 1], else SN_ERR_INVALID. With weights, see sn_kll_update_weighted. Without: while every value
 * is held, the linear interpolation of R.
 * J. Hyndman and Y. Fan (1996), type 7, in NumPy's arithmetic; then the smallest held value whose rank
 * reaches q. */
sn_status sn_kll_quantiles(const sn_kll *kll, double *out, const double *q, int64_t nq);
double sn_kll_rank(const sn_kll *kll, double x);   /* NaN for NaN */

/* What is sure about the answer to one q. Ranks are fractions of the count; all are NaN without values. */
typedef struct {
    double value;                 /* as sn_kll_quantiles gives it */
    double low, high;             /* low <= q <= high; the ranks of `value`, from the fraction of values below it to
                                     the fraction that it is at least, meet this interval */
    double value_low, value_high; /* between these lies the true quantile, interpolated or not */
} sn_kll_certificate;

/* out[i] for q[i] in [0, 1] and delta in [0, 1], else SN_ERR_INVALID. Each interval by itself fails with a
 * probability of at most delta over the seeds; for delta == 0, never. While every value is held, low == high == q
 * and value_low == value_high == value. */
sn_status sn_kll_certify(const sn_kll *kll, sn_kll_certificate *out, const double *q, double delta, int64_t nq);

/* Little-endian bytes of version 1, or 2 with weights: sn_kll_serialize fills sn_kll_serialized_size bytes. Reading
 * back gives a
 * sketch that goes on with the same bits; bytes that were cut, edited or are of another version are
 * SN_ERR_CORRUPT. */
size_t sn_kll_serialized_size(const sn_kll *kll);
void sn_kll_serialize(unsigned char *out, const sn_kll *kll);
sn_status sn_kll_deserialize(sn_kll **out, const unsigned char *data, size_t size);

#endif
