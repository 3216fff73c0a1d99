/* A column whose rows have weights; see column.h.
 *
 * A weight of zero makes its row one without a value: the loaders are shown a validity bitmap in which its bit is
 * cleared, so that null, NaN, infinity, whatever stands there is not looked at, by exact integer extrema neither. The
 * stream is cut into blocks by row position as in column.c, always, because sums of weights are rounded, too.
 *
 * A column that gets its first weights gives the rows before them weight 1: their moments already say so, and the open
 * block goes on with ones.
 */
#include "column.h"
#include "weighted_moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int reserve_block(double **block) {
    if (*block == NULL) *block = malloc(SN_BLOCK * sizeof(double));
    return *block != NULL;
}

sn_status sn_column_copy_weights(sn_column *to, const sn_column *from) {
    if (!from->weights.used || from->pending == 0) return SN_OK;
    if (!reserve_block(&to->weights.block)) return SN_ERR_NOMEM;
    memcpy(to->weights.block, from->weights.block, (size_t)from->pending * sizeof(double));
    return SN_OK;
}

static sn_status start_weights(sn_column *column) {
    sn_column_weights *weights = &column->weights;
    if (column->exact != NULL) return SN_ERR_INCOMPATIBLE; /* sums of values that all weigh the same */
    if (weights->used) return SN_OK;
    if (column->pending > 0) {
        if (!reserve_block(&weights->block)) return SN_ERR_NOMEM;
        for (int64_t i = 0; i < column->pending; i++) weights->block[i] = 1.0;
    }
    if (column->sketch != NULL && sn_kll_update_weighted(column->sketch, NULL, NULL, 0) != SN_OK) return SN_ERR_NOMEM;
    weights->weight = (double)(column->rows - column->pending - column->no_value);
    weights->weight_lo = 0.0;
    weights->left_out = 0;
    weights->used = 1;
    return SN_OK;
}

static void add_block(sn_column *column, const double *x, const double *w, int64_t n) {
    sn_block_extrema extrema;
    double weight, weight_lo;
    sn_moments_update_block_weighted(column->has_moments ? &column->moments : NULL, &extrema, &weight, &weight_lo, x,
                                     w, n);
    sn_weight_add(&column->weights.weight, &column->weights.weight_lo, weight, weight_lo);
    column->no_value += extrema.nans;
    column->infinities += extrema.infinities;
    column->min = extrema.min < column->min ? extrema.min : column->min;
    column->max = extrema.max > column->max ? extrema.max : column->max;
}

void sn_column_close_weighted(sn_column *column) {
    if (column->pending > 0) add_block(column, column->block, column->weights.block, column->pending);
}

double sn_column_weight(const sn_column *column) {
    if (column->weights.used) return column->weights.weight;
    return (double)(column->rows - column->pending - column->no_value);
}

/* As sn_load_block, for rows of which some have weight 0; *left_out says how many. Returns the number of nulls among
 * the others. */
static int64_t load_weighted(double *out, sn_int_extrema *extrema, int64_t *left_out, const sn_array *array,
                             const double *w, int64_t start, int64_t n) {
    int64_t zeros = sn_weights_zeros(w, n);
    *left_out = zeros;
    if (zeros == 0) return sn_load_block(out, extrema, array, start, n);
    int exact = sn_type_is_decimal(array->type) || array->type == SN_INT64 || array->type == SN_UINT64;
    if (array->validity == NULL && !exact) { /* no null to tell from a row left out, no extrema to keep it from */
        sn_load_block(out, extrema, array, start, n);
        sn_weights_blank(out, w, n);
        return 0;
    }
    /* The part of the array by itself, because its bitmap begins at the first byte of this one. */
    uint8_t bitmap[SN_BLOCK / 8 + 16] = {0};
    int64_t bit = array->offset + start, phase = bit & 7;
    for (int64_t i = 0; i < n; i++) {
        int valid = w[i] > 0.0 && (array->validity == NULL || sn_bit(array->validity, bit + i));
        bitmap[(phase + i) >> 3] |= (uint8_t)(valid << ((phase + i) & 7));
    }
    sn_array part = *array;
    part.values = (const char *)array->values + (array->type == SN_BOOL ? bit >> 3 : start * array->stride);
    part.validity = bitmap;
    part.offset = phase;
    part.length = n;
    return sn_load_block(out, extrema, &part, 0, n) - zeros;
}

static sn_status update(sn_column *column, const sn_array *array, const double *weights) {
    sn_status status = sn_column_make_room(column, array);
    if (status != SN_OK) return status;
    _Alignas(64) double loaded[SN_BLOCK];
    _Alignas(64) double ones[SN_BLOCK];
    int in_place = array->type == SN_FLOAT64 && array->validity == NULL && array->stride == sizeof(double) &&
                   (uintptr_t)array->values % sizeof(double) == 0 && !column->skips_infinities;
    if (weights == NULL)
        for (int64_t i = 0; i < SN_BLOCK; i++) ones[i] = 1.0;
    for (int64_t i = 0, n = array->length; i < n;) {
        int64_t take = SN_BLOCK - column->pending < n - i ? SN_BLOCK - column->pending : n - i, left_out;
        const double *w = weights == NULL ? ones : weights + i, *x = loaded;
        int64_t nulls = 0;
        if (take == SN_BLOCK && in_place && sn_weights_zeros(w, take) == 0) {
            x = (const double *)array->values + i;
            left_out = 0;
        } else if (take == SN_BLOCK) {
            nulls = load_weighted(loaded, &column->integer, &left_out, array, w, i, take);
            if (column->skips_infinities) column->infinities += sn_blank_infinities(loaded, take);
        } else {
            if (!reserve_block(&column->block) || !reserve_block(&column->weights.block)) return SN_ERR_NOMEM;
            double *to = column->block + column->pending;
            memcpy(column->weights.block + column->pending, w, (size_t)take * sizeof *w);
            nulls = load_weighted(to, &column->integer, &left_out, array, w, i, take);
            if (column->skips_infinities) column->infinities += sn_blank_infinities(to, take);
            x = to;
        }
        if (column->sketch != NULL) {
            status = sn_kll_update_weighted(column->sketch, x, w, take);
            if (status != SN_OK) return status;
        }
        if (take == SN_BLOCK) {
            add_block(column, x, w, take);
        } else {
            column->pending += take;
            if (column->pending == SN_BLOCK) {
                add_block(column, column->block, column->weights.block, SN_BLOCK);
                column->pending = 0;
            }
        }
        column->rows += take;
        column->nulls += nulls;
        column->weights.left_out += left_out;
        i += take;
    }
    return SN_OK;
}

sn_status sn_column_update_by_ones(sn_column *column, const sn_array *array) { return update(column, array, NULL); }

/* Whether a column may take weights of this sum. The open block's count with their sum, too. */
static int has_room(const sn_column *column, double total) {
    double sum = sn_column_weight(column) + total;
    for (int64_t i = 0; column->weights.used && i < column->pending; i++) sum += column->weights.block[i];
    return sum <= SN_MAX_WEIGHT;
}

sn_status sn_column_update_weighted(sn_column *column, const sn_array *array, const double *weights, double total) {
    if (!has_room(column, total)) return SN_ERR_WEIGHTS;
    sn_status status = start_weights(column);
    return status == SN_OK ? update(column, array, weights) : status;
}

sn_status sn_column_update_matrix_weighted(sn_column *const *columns, const sn_array *first, int64_t column_stride,
                                           int64_t n_columns, const double *weights, double total) {
    for (int64_t j = 0; j < n_columns; j++)
        if (!has_room(columns[j], total)) return SN_ERR_WEIGHTS;
    for (int64_t row = 0; row < first->length; row += SN_BLOCK) {
        sn_array part = *first;
        part.length = first->length - row < SN_BLOCK ? first->length - row : SN_BLOCK;
        for (int64_t j = 0; j < n_columns; j++) {
            part.values = (const char *)first->values + row * first->stride + j * column_stride;
            sn_status status = start_weights(columns[j]);
            if (status == SN_OK) status = update(columns[j], &part, weights + row);
            if (status != SN_OK) return status;
        }
    }
    return SN_OK;
}

sn_status sn_column_update_nulls_weighted(sn_column *column, const double *weights, int64_t n) {
    sn_status status = start_weights(column);
    if (status != SN_OK) return status;
    sn_column_update_nulls(column, n);
    for (int64_t i = 0; i < n; i++) {
        if (weights[i] != 0.0) continue;
        column->weights.left_out++;
        column->nulls--;
    }
    return SN_OK;
}

sn_status sn_column_merge_weights(sn_column *into, const sn_column *from) {
    if (!into->weights.used && !from->weights.used) return SN_OK;
    if (!(sn_column_weight(into) + sn_column_weight(from) <= SN_MAX_WEIGHT)) return SN_ERR_WEIGHTS;
    sn_status status = start_weights(into);
    if (status != SN_OK) return status;
    sn_weight_add(&into->weights.weight, &into->weights.weight_lo, sn_column_weight(from),
                  from->weights.used ? from->weights.weight_lo : 0.0);
    into->weights.left_out += from->weights.left_out;
    return SN_OK;
}
