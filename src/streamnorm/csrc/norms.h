/* Normalization layers, forward and backward: one description for batch, layer, instance, group and RMS normalization.
 *
 *     y = (x - mean) * rstd * weight + bias,      rstd = 1 / sqrt(variance + eps)
 *
 * with the mean and the (biased) variance of the values that are normalized together: batch normalization (Ioffe and
 * Szegedy, 2015) takes those of a channel over all samples, layer normalization (Ba, Kiros and Hinton, 2016) those of a
 * row, instance normalization (Ulyanov, Vedaldi and Lempitsky, 2016) those of a channel of one sample, group
 * normalization (Wu and He, 2018) those of some channels of one sample; RMS normalization (Zhang and Sennrich, 2019)
 * leaves the mean out. Backward, with n values normalized together, d = x - mean and g = dy * weight:
 *
 *     dbias = sum(dy)     dweight = sum(dy * d) * rstd
 *     dx = rstd * g  -  rstd * sum(g) / n  -  d * rstd^3 * sum(g * d) / n
 *
 * Invariants: x, y, dy, dx are contiguous and do not overlap; statistics are doubles; results do not depend on the
 * number of threads. What a statistic is summed over is cut into runs of a fixed size, whose sums are added in order.
 */
#ifndef SN_NORMS_H
#define SN_NORMS_H

#include "norms_kernels.h"

typedef enum {
    SN_NORM_ROWS,    /* x is samples x positions: a row has its own statistics, a position its own parameters */
    SN_NORM_PLANES,  /* x is samples x channels x positions */
    SN_NORM_COLUMNS, /* x is samples x positions x channels */
} sn_norm_layout;

typedef struct {
    const sn_norms_kernels *kernels;
    sn_norm_layout layout;
    int64_t samples, channels, positions;
    int64_t groups;              /* of channels, in each sample; 0: statistics of a channel over all samples */
    int centered;                /* 0: RMS normalization (rows only) */
    int given;                   /* mean and rstd are given and constant, not computed from x */
    const double *weight, *bias; /* one per channel (of a row: per position); NULL: 1 and 0 */
    const void *own_weight, *own_bias; /* of rows, where they come in x's type, instead of those */
    double eps;
    int threads;         /* at most; 0: all processors */
    int64_t cache_bytes; /* results of arrays that take so much are stored past it */
} sn_norm;

/* Statistics: how many there are, and of how many values each is. */
int64_t sn_norm_statistics(const sn_norm *norm);
int64_t sn_norm_values(const sn_norm *norm);

/* y, and unless they are given mean, rstd and, where not NULL, the biased variance. SN_ERR_NOMEM: nothing was
 * written. */
sn_status sn_norm_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm);

/* dx, and where not NULL dweight and dbias, one per channel (per position). SN_ERR_NOMEM: nothing was written. */
sn_status sn_norm_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x, const double *mean,
                           const double *rstd, const sn_norm *norm);

/* ---- between the files of this family ---- */

/* A run is what one call of a kernel sums up, and about what a task takes at a time: it stays in the second-level
 * cache. */
#define SN_RUN 32768
#define SN_TASK 16384
/* Fewer values than this to a thread do not pay for starting one. */
#define SN_THREAD_VALUES (1 << 17)
/* Channels of fewer positions are normalized as rows or columns that take several at a time. */
#define SN_PLANE_POSITIONS 16

int sn_norm_threads(const sn_norm *norm);

/* Whether to stream a result in runs of so many values, `arrays` of x's size being read and written altogether. */
int sn_norm_streams(const sn_norm *norm, int arrays, int64_t run);

/* by_dy, by_x and constant for the values that one statistic is of (see sn_norms_kernels.gradient), but for the
 * channel's weight in by_dy; per_n is 1 / n. */
typedef struct {
    double by_dy, by_x, constant;
} sn_norm_factors;

SN_INLINE sn_norm_factors sn_norm_gradient_factors(double rstd, double sum_g, double sum_g_d, double per_n, int given) {
    sn_norm_factors f = {rstd, 0.0, 0.0};
    if (given) return f;
    f.by_x = -rstd * (rstd * rstd * (sum_g_d * per_n));
    f.constant = -rstd * (sum_g * per_n);
    return f;
}

sn_status sn_rows_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm);
sn_status sn_rows_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x, const double *mean,
                           const double *rstd, const sn_norm *norm);
sn_status sn_planes_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm);
sn_status sn_planes_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                             const double *mean, const double *rstd, const sn_norm *norm);
sn_status sn_columns_forward(void *y, double *mean, double *rstd, double *variance, const void *x,
                             const sn_norm *norm);
sn_status sn_columns_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                              const double *mean, const double *rstd, const sn_norm *norm);

#endif
