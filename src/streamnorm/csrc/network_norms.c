/* See network.h: normalization as a layer, with its running statistics.
 *
 * The same steps as in the bindings of norms.h, in the same arithmetic: parameters become doubles, running statistics
 * follow in double and are rounded once.
 */
#include <math.h>
#include <string.h>

#include "network.h"

static sn_norm norm_of(const sn_layer *layer, int64_t samples) {
    sn_norm norm = layer->norm;
    if (layer->positions_by_rows)
        norm.positions *= samples;
    else
        norm.samples *= samples;
    return norm;
}

int64_t sn_layer_norm_statistics(const sn_layer *layer, int64_t samples) {
    sn_norm norm = norm_of(layer, samples);
    int64_t own = sn_norm_statistics(&norm);
    return own > norm.channels ? own : norm.channels; /* as many as there are running ones */
}

int64_t sn_layer_norm_channels(const sn_layer *layer) {
    return layer->norm.layout == SN_NORM_ROWS ? layer->norm.positions : layer->norm.channels;
}

static const double *as_doubles(double *room, const sn_parameter *parameter, int64_t width) {
    if (parameter == NULL) return NULL;
    if (width == sizeof(double)) return parameter->values;
    const float *values = parameter->values;
    for (int64_t i = 0; i < parameter->size; i++) room[i] = values[i];
    return room;
}

/* running = (1 - momentum) * running + momentum * factor * batch, in doubles, rounded once. */
static void follow(void *running, const double *batch, int64_t n, double momentum, double factor, int64_t width) {
    double *doubles = running;
    float *floats = running;
    if (width == sizeof(double))
        for (int64_t i = 0; i < n; i++) doubles[i] = (1.0 - momentum) * doubles[i] + momentum * factor * batch[i];
    else
        for (int64_t i = 0; i < n; i++)
            floats[i] = (float)((1.0 - momentum) * floats[i] + momentum * factor * batch[i]);
}

static double value_at(const void *values, int64_t i, int64_t width) {
    return width == sizeof(double) ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* The means over samples, into those of the first. */
static void average(double *averages, const double *values, int64_t samples, int64_t n) {
    for (int64_t j = 0; j < n; j++) {
        double total = 0.0;
        for (int64_t i = 0; i < samples; i++) total += values[i * n + j];
        averages[j] = total / (double)samples;
    }
}

static void follow_batch(sn_layer *layer, const sn_norm *norm, double *room, const double *mean,
                         const double *variance, int64_t width) {
    int64_t n = sn_norm_values(norm), channels = norm->channels;
    double momentum = layer->cumulative ? 1.0 / (double)(*layer->count + 1) : layer->momentum;
    double factor = (double)n / (double)(n - 1);
    if (norm->groups == 0) {
        follow(layer->running_mean, mean, channels, momentum, 1.0, width);
        follow(layer->running_var, variance, channels, momentum, factor, width);
        return;
    }
    average(room, mean, norm->samples, channels);
    follow(layer->running_mean, room, channels, momentum, 1.0, width);
    average(room, variance, norm->samples, channels);
    follow(layer->running_var, room, channels, momentum, factor, width);
}

sn_status sn_layer_norm_run(sn_layer *layer, const sn_network *network, int64_t samples, int training) {
    int64_t width = network->kernels->width, channels = sn_layer_norm_channels(layer);
    sn_norm norm = norm_of(layer, samples);
    int64_t each = sn_layer_norm_statistics(layer, network->rows);
    double *mean = layer->statistics, *rstd = mean + each, *variance = NULL;
    if (norm.layout == SN_NORM_ROWS) {
        norm.own_weight = layer->weight == NULL ? NULL : layer->weight->values;
        norm.own_bias = layer->bias == NULL ? NULL : layer->bias->values;
    } else {
        norm.weight = as_doubles(layer->doubles, layer->weight, width);
        norm.bias = as_doubles(layer->doubles + channels, layer->bias, width);
    }
    if (layer->running_mean != NULL) {
        if (training)
            variance = rstd + each;
        else { /* statistics of the channels, the same for all samples */
            norm.given = 1;
            norm.groups = 0;
            for (int64_t j = 0; j < channels; j++) {
                mean[j] = value_at(layer->running_mean, j, width);
                rstd[j] = 1.0 / sqrt(value_at(layer->running_var, j, width) + norm.eps);
            }
        }
    }
    sn_status status = sn_norm_forward(layer->y, norm.centered ? mean : NULL, rstd, variance, layer->x, &norm);
    if (status != SN_OK || !training) return status;
    if (variance != NULL) follow_batch(layer, &norm, layer->doubles + 2 * channels, mean, variance, width);
    if (layer->count != NULL) *layer->count += 1;
    return SN_OK;
}

sn_status sn_layer_norm_run_back(sn_layer *layer, void *dx, const void *dy, const sn_network *network,
                                 int64_t samples) {
    int64_t width = network->kernels->width, channels = sn_layer_norm_channels(layer);
    sn_norm norm = norm_of(layer, samples);
    double *mean = layer->statistics, *rstd = mean + sn_layer_norm_statistics(layer, network->rows);
    double *dweight = layer->doubles + 2 * channels, *dbias = dweight + channels;
    if (norm.layout == SN_NORM_ROWS)
        norm.own_weight = layer->weight == NULL ? NULL : layer->weight->values;
    else
        norm.weight = as_doubles(layer->doubles, layer->weight, width);
    sn_status status = sn_norm_backward(dx, layer->weight == NULL ? NULL : dweight, layer->bias == NULL ? NULL : dbias,
                                        dy, layer->x, norm.centered ? mean : NULL, rstd, &norm);
    if (status != SN_OK) return status;
    if (layer->weight != NULL) norm.kernels->narrow(layer->weight->gradient, dweight, channels);
    if (layer->bias != NULL) norm.kernels->narrow(layer->bias->gradient, dbias, channels);
    return SN_OK;
}
