/* See network.h: forward and backward through the layers, the optimizer's step, and the loop over batches. */
#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIP_EPS 1e-6 /* torch.nn.utils.clip_grad_norm_ has it */

/* ---- buffers ---- */

/* Whether the layer may overwrite its input, the output of the layer before: that is no layer whose gradient is of its
 * output, and this one's gradient is not of its input. */
static int works_in_place(const sn_network *network, int64_t i) {
    if (i == 0) return 0;
    switch (network->layers[i].kind) {
    case SN_LAYER_RELU:
    case SN_LAYER_TANH:
    case SN_LAYER_SIGMOID:
    case SN_LAYER_DROPOUT: break;
    default: return 0;
    }
    switch (network->layers[i - 1].kind) {
    case SN_LAYER_DENSE:
    case SN_LAYER_NORM:
    case SN_LAYER_EMBEDDING:
    case SN_LAYER_CONV:
    case SN_LAYER_POOL:
    case SN_LAYER_LSTM:
    case SN_LAYER_DROPOUT: return 1;
    default: return 0;
    }
}

sn_status sn_network_reserve(sn_network *network, int64_t rows) {
    sn_network_free(network);
    size_t width = (size_t)network->kernels->width, n = (size_t)rows;
    int64_t widest = network->out;
    int failed = 0;
    network->rows = rows;
    for (int64_t i = 0; i < network->n_layers; i++) {
        sn_layer *layer = &network->layers[i];
        if (layer->in > widest) widest = layer->in;
        if (layer->out > widest) widest = layer->out;
        layer->y = works_in_place(network, i) ? layer[-1].y : sn_network_aligned(n * (size_t)layer->out * width);
        failed |= layer->y == NULL;
        if (layer->kind != SN_LAYER_NORM) continue;
        layer->statistics = sn_network_aligned(3 * (size_t)sn_layer_norm_statistics(layer, rows) * sizeof(double));
        layer->doubles = sn_network_aligned(4 * (size_t)sn_layer_norm_channels(layer) * sizeof(double));
        failed |= layer->statistics == NULL || layer->doubles == NULL;
    }
    network->x = sn_network_aligned(n * (size_t)network->in * width);
    network->y = sn_network_aligned(n * (size_t)network->targets * width);
    network->weights = sn_network_aligned(n * width);
    network->gradients[0] = sn_network_aligned(n * (size_t)widest * width);
    network->gradients[1] = sn_network_aligned(n * (size_t)widest * width);
    failed |= network->x == NULL || network->y == NULL || network->weights == NULL;
    failed |= network->gradients[0] == NULL || network->gradients[1] == NULL;
    return failed ? SN_ERR_NOMEM : SN_OK;
}

void sn_network_free(sn_network *network) {
    for (int64_t i = 0; i < network->n_layers; i++) {
        sn_layer *layer = &network->layers[i];
        if (!works_in_place(network, i)) free(layer->y);
        free(layer->statistics);
        free(layer->doubles);
        free(layer->kept);
        layer->y = layer->kept = NULL;
        layer->kept_bytes = 0;
        layer->statistics = layer->doubles = NULL;
    }
    char **buffers[] = {&network->x,            &network->y,            &network->weights, &network->gradients[0],
                        &network->gradients[1], &network->workspace};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        free(*buffers[i]);
        *buffers[i] = NULL;
    }
    network->workspace_bytes = 0;
    network->rows = 0;
}

/* ---- through the layers ---- */

sn_status sn_network_run(sn_network *network, const char **prediction, const char *x, int64_t samples, int training) {
    const sn_network_kernels *kernels = network->kernels;
    sn_status status = SN_OK;
    for (int64_t i = 0; i < network->n_layers && status == SN_OK; i++) {
        sn_layer *layer = &network->layers[i];
        int64_t n = samples * layer->out;
        layer->x = x;
        switch (layer->kind) {
        case SN_LAYER_RELU: kernels->relu_forward(layer->y, x, n); break;
        case SN_LAYER_TANH: kernels->tanh_forward(layer->y, x, n); break;
        case SN_LAYER_SIGMOID: kernels->sigmoid_forward(layer->y, x, n); break;
        case SN_LAYER_DROPOUT:
            if (!training) continue; /* the next layer has the same input */
            layer->key = sn_dropout_key(layer->seed, (uint64_t)*layer->steps);
            *layer->steps += 1;
            kernels->dropout(layer->y, x, n, layer->p, layer->key);
            break;
        default: status = sn_layer_run(layer, network, samples, training);
        }
        x = layer->y;
    }
    *prediction = x;
    return status;
}

/* From the gradient of the prediction in gradients[0] to those of the parameters. */
sn_status sn_network_run_back(sn_network *network, int64_t samples) {
    const sn_network_kernels *kernels = network->kernels;
    char *dy = network->gradients[0], *dx = network->gradients[1];
    int64_t first = 0;
    while (first < network->n_layers && network->layers[first].weight == NULL && network->layers[first].bias == NULL)
        first++; /* nothing before it wants a gradient */
    for (int64_t i = network->n_layers - 1; i >= first; i--) {
        sn_layer *layer = &network->layers[i];
        int64_t n = samples * layer->out;
        switch (layer->kind) {
        case SN_LAYER_RELU: kernels->relu_backward(dy, dy, layer->y, n); continue;
        case SN_LAYER_TANH: kernels->tanh_backward(dy, dy, layer->y, n); continue;
        case SN_LAYER_SIGMOID: kernels->sigmoid_backward(dy, dy, layer->y, n); continue;
        case SN_LAYER_DROPOUT: kernels->dropout(dy, dy, n, layer->p, layer->key); continue;
        default: break;
        }
        sn_status status = sn_layer_run_back(layer, network, dx, dy, i > first, samples);
        if (status != SN_OK) return status;
        char *swap = dy;
        dy = dx;
        dx = swap;
    }
    return SN_OK;
}

/* ---- the optimizer ---- */

void sn_network_update(sn_network *network, double rate) {
    const sn_network_kernels *kernels = network->kernels;
    sn_optimizer *optimizer = &network->optimizer;
    double scale = 1.0;
    if (optimizer->clip_value > 0.0)
        for (int64_t i = 0; i < network->n_parameters; i++)
            kernels->clip(network->parameters[i].gradient, network->parameters[i].size, optimizer->clip_value);
    if (optimizer->clip_norm > 0.0) {
        double square = 0.0;
        for (int64_t i = 0; i < network->n_parameters; i++)
            square += kernels->square_norm(network->parameters[i].gradient, network->parameters[i].size);
        double ratio = optimizer->clip_norm / (sqrt(square) + CLIP_EPS);
        if (ratio < 1.0) scale = ratio;
    }
    optimizer->sgd.lr = optimizer->adam.lr = rate;
    optimizer->adam.step++;
    for (int64_t i = 0; i < network->n_parameters; i++) {
        sn_parameter *p = &network->parameters[i];
        if (optimizer->kind == SN_OPTIMIZER_ADAM)
            kernels->adam(p->values, p->state[0], p->state[1], p->gradient, p->size, &optimizer->adam, scale);
        else
            kernels->sgd(p->values, p->state[0], p->gradient, p->size, &optimizer->sgd, scale);
    }
}

/* ---- batches ---- */

static int64_t nanoseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Rows of the order, one after the other in `to`; or where they are, if they are in order. */
static const char *rows_of(char *to, const void *from, const int64_t *order, int64_t start, int64_t rows,
                           int64_t bytes) {
    const char *values = from;
    if (values == NULL) return NULL;
    if (order == NULL) return values + start * bytes;
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + i * bytes, values + order[start + i] * bytes, (size_t)bytes);
    return to;
}

static double weight_of(const sn_network *network, const char *weights, int64_t rows) {
    return weights == NULL ? (double)rows : network->kernels->sum(weights, rows);
}

/* The loss of a batch, added up as weighted means over the values of a sample; its gradient, if that is wanted, is that
 * of the weighted mean over the batch. */
static void find_loss(sn_network *network, sn_sums *sums, void *gradient, const char *prediction, const char *targets,
                      const char *weights, int64_t rows) {
    double total = weight_of(network, weights, rows);
    double per_sample = network->loss == SN_LOSS_SOFTMAX ? 1.0 : (double)network->out;
    double factor = total == 0.0 ? 0.0 : 1.0 / (total * per_sample);
    sums->loss += network->kernels->loss(gradient, prediction, targets, weights, rows, network->out, network->loss,
                                         network->loss_parameter, factor) / per_sample;
    sums->weight += total;
    if (network->accuracy)
        sums->right += network->kernels->right(prediction, targets, weights, rows, network->out, network->loss) /
                       per_sample;
}

sn_status sn_network_train(sn_network *network, sn_epoch *epoch, int64_t nanoseconds) {
    int64_t width = network->kernels->width, end = nanoseconds_now() + nanoseconds;
    while (epoch->next < epoch->n_batches) {
        int64_t start = epoch->next * epoch->batch;
        int64_t rows = epoch->next + 1 < epoch->n_batches ? epoch->batch : epoch->samples - start;
        const char *x = rows_of(network->x, epoch->x, epoch->order, start, rows, network->in * width);
        const char *targets = rows_of(network->y, epoch->targets, epoch->order, start, rows, network->targets * width);
        const char *weights = rows_of(network->weights, epoch->weights, epoch->order, start, rows, width);
        const char *prediction;
        sn_status status = sn_network_run(network, &prediction, x, rows, 1);
        if (status != SN_OK) return status;
        find_loss(network, &epoch->sums, network->gradients[0], prediction, targets, weights, rows);
        status = sn_network_run_back(network, rows);
        if (status != SN_OK) return status;
        sn_network_update(network, epoch->rates[epoch->next]);
        epoch->next++;
        if (nanoseconds_now() >= end) break;
    }
    return SN_OK;
}

sn_status sn_network_forward(sn_network *network, void *out, const void *x, int64_t samples) {
    const char *prediction;
    sn_status status = sn_network_run(network, &prediction, x, samples, 0);
    if (status == SN_OK) memcpy(out, prediction, (size_t)(samples * network->out * network->kernels->width));
    return status;
}

sn_status sn_network_evaluate(sn_network *network, sn_sums *sums, const void *x, const void *targets,
                              const void *weights, int64_t samples) {
    const char *prediction;
    sn_status status = sn_network_run(network, &prediction, x, samples, 0);
    if (status == SN_OK) find_loss(network, sums, NULL, prediction, targets, weights, samples);
    return status;
}
