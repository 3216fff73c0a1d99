/* The loops of network layers, losses and optimizers over float32 and float64, and the two tables in which the plan and
 * the bindings find them. Products of matrices are in gemm.h, normalization is in norms.h.
 *
 * Every instruction set gives the same bits. NaN goes through. Activations and dropout may work in place.
 */
#ifndef SN_NETWORK_KERNELS_H
#define SN_NETWORK_KERNELS_H

#include "sn_common.h"

typedef enum {
    SN_LOSS_SQUARED,  /* (p - t)^2 */
    SN_LOSS_ABSOLUTE, /* |p - t| */
    SN_LOSS_HUBER,    /* d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond: Huber, 1964 */
    SN_LOSS_QUANTILE, /* max(q e, (q - 1) e), e = t - p: Koenker and Bassett, 1978 */
    SN_LOSS_BINARY,   /* cross-entropy of logits against targets from 0 to 1 */
    SN_LOSS_SOFTMAX   /* cross-entropy of rows of logits against numbers of classes, one a row */
} sn_loss;

/* Dropout keeps value i of a call if word i, of 32 bits, is at least p 2^32. The words are those of a SplitMix64
 * sequence (Steele, Lea and Flood, 2014), the lower half of each before the upper one: mix(key + (i / 2 + 1) G), where
 * G = 0x9e3779b97f4a7c15 and key = mix(mix(seed) + (step + 1) G), modulo 2^64. */
SN_INLINE uint64_t sn_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#define SN_GOLDEN UINT64_C(0x9e3779b97f4a7c15)

SN_INLINE uint64_t sn_dropout_key(uint64_t seed, uint64_t step) {
    return sn_mix(sn_mix(seed) + (step + 1) * SN_GOLDEN);
}

typedef struct {
    double lr, momentum, weight_decay;
    int nesterov;
} sn_sgd;

typedef struct {
    int64_t step; /* from 1: the number of this step */
    double lr, beta1, beta2, eps, weight_decay;
    int decoupled; /* AdamW (Loshchilov and Hutter, 2019) */
} sn_adam;

typedef struct {
    int64_t width; /* bytes of a value */

    void (*relu_forward)(void *y, const void *x, int64_t n);
    void (*relu_backward)(void *dx, const void *dy, const void *y, int64_t n);
    void (*tanh_forward)(void *y, const void *x, int64_t n);
    void (*tanh_backward)(void *dx, const void *dy, const void *y, int64_t n);
    void (*sigmoid_forward)(void *y, const void *x, int64_t n);
    void (*sigmoid_backward)(void *dx, const void *dy, const void *y, int64_t n);
    /* y = kept ? x / (1 - p) : 0; forward and backward alike. 0 <= p <= 1 */
    void (*dropout)(void *y, const void *x, int64_t n, double p, uint64_t key);

    /* x has rows of d + k values, the last k of which are codes below `buckets`; weight is k x buckets x dim, y has
     * rows of d + k dim. Codes are valid. dweight is overwritten, dx may be NULL. */
    void (*embedding_forward)(void *y, const void *x, const void *weight, int64_t rows, int64_t d, int64_t k,
                              int64_t buckets, int64_t dim);
    void (*embedding_backward)(void *dx, void *dweight, const void *dy, const void *x, int64_t rows, int64_t d,
                               int64_t k, int64_t buckets, int64_t dim);
    /* The first of `rows` rows of `count` values, `stride` apart, with a value that is no whole number from 0 to
     * below limit; -1 if there is none. */
    int64_t (*bad_code)(const void *values, int64_t rows, int64_t count, int64_t stride, int64_t limit);

    /* One step of long short-term memory. gates is rows x 4 hidden: the sums z of lstm.h, which the gates overwrite;
     * c, tanh_c and before, the c of the step before, which c may be, are rows x hidden; h has rows h_row apart. */
    void (*lstm_cell)(void *gates, void *c, void *tanh_c, void *h, const void *before, int64_t rows, int64_t hidden,
                      int64_t h_row);
    /* The gradient by z overwrites the gates, and that by `before` the one by c, to which that by h adds. */
    void (*lstm_cell_backward)(void *gates, void *dc, const void *dh, const void *tanh_c, const void *before,
                               int64_t rows, int64_t hidden);
    /* y, columns x rows, from x, rows x columns. */
    void (*transpose)(void *y, const void *x, int64_t rows, int64_t columns);

    /* sums[j] = the sum of column j, in double for every few rows. */
    void (*column_sums)(void *sums, const void *x, int64_t rows, int64_t columns);

    /* The sum over all elements (softmax: rows) of weight x loss, in double; weights are one a row or NULL. Where
     * gradient is not NULL, it gets the derivatives times weight times factor. */
    double (*loss)(void *gradient, const void *prediction, const void *target, const void *weights, int64_t rows,
                   int64_t columns, sn_loss kind, double parameter, double factor);
    /* The sum of the weights of rows whose class a prediction names: its first largest logit (softmax); for binary, of
     * each value whose logit is above 0 where the target is at least 1/2 or not above it where it is not. NaN is no
     * class. */
    double (*right)(const void *prediction, const void *target, const void *weights, int64_t rows, int64_t columns,
                    sn_loss kind);
    double (*sum)(const void *x, int64_t n);

    /* Gradients are multiplied by `scale`. velocity is NULL without momentum. */
    void (*sgd)(void *parameter, void *velocity, const void *gradient, int64_t n, const sn_sgd *sgd, double scale);
    void (*adam)(void *parameter, void *m, void *v, const void *gradient, int64_t n, const sn_adam *adam,
                 double scale);
    double (*square_norm)(const void *x, int64_t n);
    void (*clip)(void *x, int64_t n, double most);
} sn_network_kernels;

extern const sn_network_kernels sn_network_float32, sn_network_float64;

#endif
