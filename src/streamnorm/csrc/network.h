/* A network as a list of layers, its loss and its optimizer, trained by batches.
 *
 * The caller owns everything that a layer points to: parameters, their gradients and the optimizer's state, running
 * statistics and counts. The network owns its buffers, which sn_network_reserve makes for so many rows a batch; the first
 * step with so many rows makes what layers keep for the way back and their scratch. Further ones ask for no memory but
 * what the drivers of norms.h ask for.
 *
 * A sample is what the first axis of an array counts. A row of `in` values becomes one of `out` values in each layer.
 * For the bits of a step: each layer does what its functions do when they are called one by one, in the same order.
 */
#ifndef SN_NETWORK_H
#define SN_NETWORK_H

#include "conv.h"
#include "gemm.h"
#include "lstm.h"
#include "network_kernels.h"
#include "norms.h"
#include "pool.h"

typedef enum {
    SN_LAYER_DENSE,
    SN_LAYER_RELU,
    SN_LAYER_TANH,
    SN_LAYER_SIGMOID,
    SN_LAYER_DROPOUT,
    SN_LAYER_EMBEDDING,
    SN_LAYER_NORM,
    SN_LAYER_CONV,
    SN_LAYER_POOL,
    SN_LAYER_LSTM
} sn_layer_kind;

/* A parameter: its values, their gradients, and the optimizer's arrays, all of the network's type and one size. */
typedef struct {
    void *values, *gradient;
    void *state[2]; /* velocity, or the first and the second moment; NULL where the optimizer has none */
    int64_t size;
} sn_parameter;

typedef struct {
    sn_layer_kind kind;
    int64_t in, out;            /* values of a sample */
    sn_parameter *weight, *bias; /* NULL: none */
    sn_parameter *weight_hh;    /* LSTM: its second weight */

    int threads;                /* dense: at most */
    sn_conv conv;               /* complete but for the samples, as the next two */
    sn_pool pool;
    sn_lstm lstm;

    double p;                   /* dropout */
    uint64_t seed;
    int64_t *steps;             /* trained so far */

    int64_t positions;          /* embedding: rows of a sample, 1 for other layers */
    int64_t values, columns;    /* embedding: columns of a row that pass, and columns of codes behind them */
    int64_t buckets, dim;       /* embedding: the size of its tables */

    sn_norm norm;               /* samples and positions are those of one sample; the rest is complete */
    int positions_by_rows;      /* samples are more positions (batch normalization, channels last) */
    void *running_mean, *running_var; /* of the network's type, or NULL */
    int64_t *count;             /* of batches, or NULL: none is counted */
    double momentum;
    int cumulative;             /* momentum is 1 / count instead */

    /* The network's own. */
    char *y;                    /* rows x out, its own or that of the layer before, where it works in place */
    const char *x;              /* of the last forward pass */
    uint64_t key;               /* of the last dropout */
    char *kept;                 /* from forward to backward */
    size_t kept_bytes;
    double *statistics;         /* mean, rstd and variance */
    double *doubles;            /* weight, bias and their gradients */
} sn_layer;

typedef enum { SN_OPTIMIZER_SGD, SN_OPTIMIZER_ADAM } sn_optimizer_kind;

typedef struct {
    sn_optimizer_kind kind;
    sn_sgd sgd;
    sn_adam adam;
    double clip_norm, clip_value; /* of all gradients together, of each; 0: no limit */
} sn_optimizer;

typedef struct {
    const sn_network_kernels *kernels;
    int64_t n_layers, n_parameters;
    sn_layer *layers;
    sn_parameter *parameters;
    int64_t in, out;            /* values of a sample */
    sn_loss loss;
    double loss_parameter;
    int64_t targets;            /* values of a sample's target */
    int accuracy;               /* whether classes that are right are counted */
    sn_optimizer optimizer;

    int64_t rows;               /* of a batch, at most */
    char *x, *y, *weights;      /* a batch, gathered */
    char *gradients[2];         /* of what is between two layers */
    char *workspace;
    size_t workspace_bytes;
} sn_network;

/* Buffers for batches of up to so many rows, instead of those that there are. SN_ERR_NOMEM: there may be none. */
sn_status sn_network_reserve(sn_network *network, int64_t rows);
void sn_network_free(sn_network *network); /* the buffers */

/* Of samples, weighted: their losses, the weights, and how many of them are right; each divided by values of a target. */
typedef struct {
    double loss, weight, right;
} sn_sums;

/* One epoch, or a part of it: samples order[0], order[1], ... (0, 1, ... for NULL) of the arrays in batches. */
typedef struct {
    const void *x, *targets, *weights; /* weights: one a sample, or NULL */
    const int64_t *order;
    int64_t samples, batch; /* of an epoch, of a batch */
    const double *rates;    /* one a batch */
    int64_t n_batches, next; /* batches, and which comes next */
    sn_sums sums;
} sn_epoch;

/* A last batch of one sample joins the one before it. */
SN_INLINE int64_t sn_epoch_batches(int64_t samples, int64_t batch) {
    int64_t whole = samples / batch, rest = samples % batch;
    return whole + (rest > 1 || (rest == 1 && whole == 0));
}

/* Batches from epoch->next on, until all are done or so many nanoseconds have passed. SN_ERR_NOMEM: a batch was not
 * finished, its parameters are as they were. */
sn_status sn_network_train(sn_network *network, sn_epoch *epoch, int64_t nanoseconds);

/* In evaluation mode, so many samples, at most those reserved. */
sn_status sn_network_forward(sn_network *network, void *out, const void *x, int64_t samples);
sn_status sn_network_evaluate(sn_network *network, sn_sums *sums, const void *x, const void *targets,
                              const void *weights, int64_t samples);

/* ---- between the files of this family ---- */

sn_status sn_network_run(sn_network *network, const char **prediction, const char *x, int64_t samples, int training);
sn_status sn_network_run_back(sn_network *network, int64_t samples);
void sn_network_update(sn_network *network, double rate);

/* A layer that is no activation, from its x to its y, and back; `room` is for dx, which may be wanted or not. */
sn_status sn_layer_run(sn_layer *layer, sn_network *network, int64_t samples, int training);
sn_status sn_layer_run_back(sn_layer *layer, sn_network *network, void *room, const void *dy, int wanted,
                            int64_t samples);
void *sn_network_aligned(size_t bytes); /* for any values; NULL if there is none */

sn_status sn_layer_norm_run(sn_layer *layer, const sn_network *network, int64_t samples, int training);
sn_status sn_layer_norm_run_back(sn_layer *layer, void *dx, const void *dy, const sn_network *network,
                                 int64_t samples);
int64_t sn_layer_norm_statistics(const sn_layer *layer, int64_t samples);
int64_t sn_layer_norm_channels(const sn_layer *layer);

#endif
