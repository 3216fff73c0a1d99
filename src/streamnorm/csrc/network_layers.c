/* See network.h: dense layers, convolutions, pooling, embeddings and LSTM, each for a batch of samples.
 *
 * The same kernels with the same sizes as in the bindings of these layers, and so the same bits.
 */
#include <stdlib.h>

#include "network.h"

#define ALIGNMENT 64

/* ---- memory ---- */

void *sn_network_aligned(size_t bytes) {
    void *memory;
    if (bytes == 0) bytes = 1;
    return posix_memalign(&memory, ALIGNMENT, bytes) == 0 ? memory : NULL;
}

/* Room for so many bytes: what there is, if that is enough. */
static sn_status grow(char **memory, size_t *has, size_t bytes) {
    if (bytes <= *has) return SN_OK;
    void *more = sn_network_aligned(bytes);
    if (more == NULL) return SN_ERR_NOMEM;
    free(*memory);
    *memory = more;
    *has = bytes;
    return SN_OK;
}

/* What is kept from forward to backward: of pooling where each value came from, of LSTM what it says. */
static size_t kept_bytes(const sn_layer *layer, int64_t samples, size_t width) {
    if (layer->kind == SN_LAYER_POOL) return (size_t)(samples * layer->out) * sizeof(int32_t);
    if (layer->kind != SN_LAYER_LSTM) return 0;
    sn_lstm lstm = layer->lstm;
    lstm.samples = samples;
    return sn_lstm_kept(&lstm, width);
}

static size_t workspace_bytes(const sn_layer *layer, int64_t samples, size_t width, int backward) {
    if (layer->kind == SN_LAYER_CONV) {
        sn_conv conv = layer->conv;
        conv.samples = samples;
        return sn_conv_workspace(&conv, width, backward);
    }
    if (layer->kind == SN_LAYER_LSTM) {
        sn_lstm lstm = layer->lstm;
        lstm.samples = samples;
        return sn_lstm_workspace(&lstm, width, backward);
    }
    return 0;
}

/* Made the first time that a layer meets so many samples: predictions keep nothing. */
static sn_status make_room(sn_layer *layer, sn_network *network, int64_t samples, int backward) {
    size_t width = (size_t)network->kernels->width;
    sn_status status = SN_OK;
    if (backward) status = grow(&layer->kept, &layer->kept_bytes, kept_bytes(layer, samples, width));
    if (status != SN_OK) return status;
    size_t forward = workspace_bytes(layer, samples, width, 0);
    size_t back = backward ? workspace_bytes(layer, samples, width, 1) : 0;
    return grow(&network->workspace, &network->workspace_bytes, forward > back ? forward : back);
}

/* ---- dense ---- */

static sn_gemm product(const sn_layer *layer, int64_t m, int64_t n, int64_t k) {
    return (sn_gemm){.m = m, .n = n, .k = k, .c_row = n, .threads = layer->threads};
}

static sn_status multiply(sn_network *network, void *c, const void *a, const void *b, const sn_gemm *g) {
    size_t width = (size_t)network->kernels->width;
    /* More only the first time that a shape occurs. */
    sn_status status = grow(&network->workspace, &network->workspace_bytes, sn_gemm_workspace(g, width));
    if (status != SN_OK) return status;
    if (width == sizeof(float))
        sn_gemm_f32(c, a, b, g, network->workspace);
    else
        sn_gemm_f64(c, a, b, g, network->workspace);
    return SN_OK;
}

static sn_status dense_forward(sn_network *network, sn_layer *layer, int64_t samples) {
    sn_gemm g = product(layer, samples, layer->out, layer->in);
    g.a_row = layer->in;
    g.a_col = 1;
    g.b_row = 1;
    g.b_col = layer->in;
    g.bias = layer->bias == NULL ? NULL : layer->bias->values;
    return multiply(network, layer->y, layer->x, layer->weight->values, &g);
}

static sn_status dense_backward(sn_network *network, sn_layer *layer, void *dx, const void *dy, int64_t samples) {
    sn_gemm g = product(layer, layer->out, layer->in, samples);
    g.a_row = 1;
    g.a_col = layer->out;
    g.b_row = layer->in;
    g.b_col = 1;
    sn_status status = multiply(network, layer->weight->gradient, dy, layer->x, &g);
    if (status != SN_OK) return status;
    if (layer->bias != NULL) network->kernels->column_sums(layer->bias->gradient, dy, samples, layer->out);
    if (dx == NULL) return SN_OK;
    g = product(layer, samples, layer->in, layer->out);
    g.a_row = layer->out;
    g.a_col = 1;
    g.b_row = layer->in;
    g.b_col = 1;
    return multiply(network, dx, dy, layer->weight->values, &g);
}

/* ---- images ---- */

static void conv_forward(sn_network *network, sn_layer *layer) {
    const void *bias = layer->bias == NULL ? NULL : layer->bias->values;
    if (network->kernels->width == sizeof(float))
        sn_conv_forward_f32((float *)layer->y, (const float *)layer->x, layer->weight->values, bias, &layer->conv,
                            network->workspace);
    else
        sn_conv_forward_f64((double *)layer->y, (const double *)layer->x, layer->weight->values, bias, &layer->conv,
                            network->workspace);
}

static void conv_backward(sn_network *network, sn_layer *layer, void *dx, const void *dy) {
    void *dbias = layer->bias == NULL ? NULL : layer->bias->gradient;
    if (network->kernels->width == sizeof(float))
        sn_conv_backward_f32(dx, layer->weight->gradient, dbias, dy, (const float *)layer->x, layer->weight->values,
                             &layer->conv, network->workspace);
    else
        sn_conv_backward_f64(dx, layer->weight->gradient, dbias, dy, (const double *)layer->x, layer->weight->values,
                             &layer->conv, network->workspace);
}

static void pool_forward(sn_network *network, sn_layer *layer, int training) {
    int32_t *from = training ? (int32_t *)layer->kept : NULL;
    if (network->kernels->width == sizeof(float))
        sn_pool_forward_f32((float *)layer->y, from, (const float *)layer->x, &layer->pool);
    else
        sn_pool_forward_f64((double *)layer->y, from, (const double *)layer->x, &layer->pool);
}

static void pool_backward(sn_network *network, sn_layer *layer, void *dx, const void *dy) {
    const int32_t *from = (const int32_t *)layer->kept;
    if (network->kernels->width == sizeof(float))
        sn_pool_backward_f32(dx, dy, from, &layer->pool);
    else
        sn_pool_backward_f64(dx, dy, from, &layer->pool);
}

/* ---- series ---- */

static void lstm_forward(sn_network *network, sn_layer *layer, int training) {
    const sn_parameter *ih = layer->weight, *hh = layer->weight_hh, *bias = layer->bias;
    void *kept = training ? layer->kept : NULL;
    if (network->kernels->width == sizeof(float))
        sn_lstm_forward_f32((float *)layer->y, kept, (const float *)layer->x, ih->values, hh->values, bias->values,
                            &layer->lstm, network->workspace);
    else
        sn_lstm_forward_f64((double *)layer->y, kept, (const double *)layer->x, ih->values, hh->values, bias->values,
                            &layer->lstm, network->workspace);
}

static void lstm_backward(sn_network *network, sn_layer *layer, void *dx, const void *dy) {
    const sn_parameter *ih = layer->weight, *hh = layer->weight_hh, *bias = layer->bias;
    if (network->kernels->width == sizeof(float))
        sn_lstm_backward_f32(dx, ih->gradient, hh->gradient, bias->gradient, dy, layer->kept, (const float *)layer->x,
                             ih->values, hh->values, &layer->lstm, network->workspace);
    else
        sn_lstm_backward_f64(dx, ih->gradient, hh->gradient, bias->gradient, dy, layer->kept,
                             (const double *)layer->x, ih->values, hh->values, &layer->lstm, network->workspace);
}

/* ---- any of them ---- */

sn_status sn_layer_run(sn_layer *layer, sn_network *network, int64_t samples, int training) {
    const sn_network_kernels *kernels = network->kernels;
    int64_t rows = samples * layer->positions;
    layer->conv.samples = layer->pool.samples = layer->lstm.samples = samples;
    sn_status status = make_room(layer, network, samples, training);
    if (status != SN_OK) return status;
    switch (layer->kind) {
    case SN_LAYER_DENSE: return dense_forward(network, layer, samples);
    case SN_LAYER_EMBEDDING:
        kernels->embedding_forward(layer->y, layer->x, layer->weight->values, rows, layer->values, layer->columns,
                                   layer->buckets, layer->dim);
        break;
    case SN_LAYER_CONV: conv_forward(network, layer); break;
    case SN_LAYER_POOL: pool_forward(network, layer, training); break;
    case SN_LAYER_LSTM: lstm_forward(network, layer, training); break;
    default: return sn_layer_norm_run(layer, network, samples, training);
    }
    return SN_OK;
}

sn_status sn_layer_run_back(sn_layer *layer, sn_network *network, void *room, const void *dy, int wanted,
                            int64_t samples) {
    const sn_network_kernels *kernels = network->kernels;
    int64_t rows = samples * layer->positions;
    void *dx = wanted ? room : NULL;
    switch (layer->kind) {
    case SN_LAYER_DENSE: return dense_backward(network, layer, dx, dy, samples);
    case SN_LAYER_EMBEDDING:
        kernels->embedding_backward(dx, layer->weight->gradient, dy, layer->x, rows, layer->values, layer->columns,
                                    layer->buckets, layer->dim);
        break;
    case SN_LAYER_CONV: conv_backward(network, layer, dx, dy); break;
    case SN_LAYER_POOL: pool_backward(network, layer, dx, dy); break;
    case SN_LAYER_LSTM: lstm_backward(network, layer, dx, dy); break;
    default: return sn_layer_norm_run_back(layer, room, dy, network, samples);
    }
    return SN_OK;
}
