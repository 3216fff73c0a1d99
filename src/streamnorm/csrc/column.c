/* See column.h. */
#include "column.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sn_int_extrema NO_EXTREMA = {
    .min = (sn_int128)(((sn_uint128)1 << 127) - 1),
    .max = -(sn_int128)(((sn_uint128)1 << 127) - 1) - 1,
};

void sn_column_init(sn_column *column, int has_moments, sn_kll *sketch) {
    memset(column, 0, sizeof *column);
    sn_moments_init(&column->moments);
    column->min = INFINITY;
    column->max = -INFINITY;
    column->integer = NO_EXTREMA;
    column->kind = SN_KIND_NONE;
    column->has_moments = has_moments;
    column->sketch = sketch;
}

sn_status sn_column_make_exact(sn_column *column) {
    column->exact = malloc(sizeof *column->exact);
    if (column->exact == NULL) return SN_ERR_NOMEM;
    sn_exact_init(column->exact);
    column->has_moments = 0;
    return SN_OK;
}

void sn_column_release(sn_column *column) {
    free(column->block);
    free(column->weights.block);
    column->block = column->weights.block = NULL;
    free(column->exact);
    column->exact = NULL;
    if (column->sketch != NULL) sn_kll_free(column->sketch);
    column->sketch = NULL;
}

sn_status sn_column_copy(sn_column *to, const sn_column *from) {
    *to = *from;
    to->block = to->weights.block = NULL;
    to->sketch = NULL;
    to->exact = NULL;
    if (sn_column_copy_weights(to, from) != SN_OK) goto failed;
    if (from->pending > 0) {
        to->block = malloc(SN_BLOCK * sizeof(double));
        if (to->block == NULL) goto failed;
        memcpy(to->block, from->block, (size_t)from->pending * sizeof(double));
    }
    if (from->sketch != NULL) {
        to->sketch = sn_kll_copy(from->sketch);
        if (to->sketch == NULL) goto failed;
    }
    if (from->exact != NULL) {
        to->exact = malloc(sizeof *to->exact);
        if (to->exact == NULL) goto failed;
        *to->exact = *from->exact;
    }
    return SN_OK;
failed:
    sn_column_release(to);
    return SN_ERR_NOMEM;
}

static void count_block(sn_column *column, const sn_block_extrema *extrema) {
    column->no_value += extrema->nans;
    column->infinities += extrema->infinities;
    column->min = extrema->min < column->min ? extrema->min : column->min;
    column->max = extrema->max > column->max ? extrema->max : column->max;
}

static void add_block(sn_column *column, const double *x, int64_t n) {
    sn_block_extrema extrema;
    sn_moments_update_block(column->has_moments ? &column->moments : NULL, &extrema, x, n);
    count_block(column, &extrema);
}

/* The sums of rows [start, start + n) of the array, which are the n doubles of x as well, as far as doubles go. */
static void add_block_exactly(sn_column *column, const double *x, const sn_array *array, int64_t start, int64_t n) {
    sn_block_extrema extrema;
    sn_block_extrema_scan(&extrema, x, n);
    count_block(column, &extrema);
    int wide = array->type == SN_INT64 || array->type == SN_UINT64;
    if (sn_type_is_decimal(array->type) || (wide && (extrema.min <= -0x1p53 || extrema.max >= 0x1p53)))
        sn_exact_add_integers(column->exact, array, start, n);
    else
        sn_exact_add_block(column->exact, x, n, extrema.min, extrema.max);
}

void sn_column_close(sn_column *column) {
    if (column->weights.used) sn_column_close_weighted(column);
    else if (column->pending > 0) add_block(column, column->block, column->pending);
    column->pending = 0;
}

SN_CLONES int64_t sn_blank_infinities(double *x, int64_t n) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        int infinite = fabs(x[i]) > DBL_MAX;
        found += infinite;
        x[i] = infinite ? NAN : x[i];
    }
    return found;
}

/* Makes room in `column` for values of the given kind; integers become floats where floats join them. */
static sn_status widen_kind(sn_column *column, sn_kind kind, int32_t scale) {
    if (kind == SN_KIND_NONE || (column->kind == kind && column->scale == scale)) return SN_OK;
    if (column->kind == SN_KIND_NONE) {
        column->kind = kind;
        column->scale = scale;
        return SN_OK;
    }
    if (column->kind == SN_KIND_DECIMAL || kind == SN_KIND_DECIMAL) return SN_ERR_INCOMPATIBLE;
    column->kind = SN_KIND_FLOAT; /* min and max hold the doubles of the integers, too */
    return SN_OK;
}

static sn_kind kind_of(sn_type type) {
    if (sn_type_is_decimal(type)) return SN_KIND_DECIMAL;
    return sn_type_is_integer(type) ? SN_KIND_INTEGER : SN_KIND_FLOAT;
}

sn_status sn_column_make_room(sn_column *column, const sn_array *array) {
    sn_kind kind = kind_of(array->type);
    return widen_kind(column, kind, kind == SN_KIND_DECIMAL ? array->scale : 0);
}

sn_status sn_column_update(sn_column *column, const sn_array *array) {
    if (column->weights.used) return sn_column_update_by_ones(column, array);
    sn_status status = sn_column_make_room(column, array);
    if (status != SN_OK) return status;
    int in_place = array->type == SN_FLOAT64 && array->validity == NULL && array->stride == sizeof(double) &&
                   (uintptr_t)array->values % sizeof(double) == 0 && !column->skips_infinities;
    sn_int_extrema exact = NO_EXTREMA;
    _Alignas(64) double loaded[SN_BLOCK];
    int64_t i = 0, n = array->length;
    while (i < n) {
        int64_t take = SN_BLOCK - column->pending < n - i ? SN_BLOCK - column->pending : n - i;
        const double *x;
        int64_t nulls = 0;
        if (take == SN_BLOCK && in_place) {
            x = (const double *)array->values + i;
        } else {
            double *to = loaded;
            if (take < SN_BLOCK && column->has_moments) {
                if (column->block == NULL) column->block = malloc(SN_BLOCK * sizeof(double));
                if (column->block == NULL) return SN_ERR_NOMEM;
                to = column->block + column->pending;
            }
            nulls = sn_load_block(to, &exact, array, i, take);
            if (column->skips_infinities) column->infinities += sn_blank_infinities(to, take);
            x = to;
        }
        if (column->sketch != NULL) {
            status = sn_kll_update(column->sketch, x, take);
            if (status != SN_OK) return status;
        }
        if (column->exact != NULL) {
            add_block_exactly(column, x, array, i, take);
        } else if (take == SN_BLOCK || !column->has_moments) {
            add_block(column, x, take); /* extrema alone need no cut by position */
        } else {
            column->pending += take;
            if (column->pending == SN_BLOCK) {
                add_block(column, column->block, SN_BLOCK);
                column->pending = 0;
            }
        }
        column->rows += take;
        column->nulls += nulls;
        i += take;
    }
    if (exact.min < column->integer.min) column->integer.min = exact.min;
    if (exact.max > column->integer.max) column->integer.max = exact.max;
    return SN_OK;
}

sn_status sn_column_merge(sn_column *into, const sn_column *from) {
    if ((into->sketch == NULL) != (from->sketch == NULL) || (into->exact == NULL) != (from->exact == NULL) ||
        into->has_moments != from->has_moments || into->skips_infinities != from->skips_infinities)
        return SN_ERR_INCOMPATIBLE;
    sn_column b;
    sn_status status = sn_column_copy(&b, from);
    if (status != SN_OK) return status;
    sn_column_close(into);
    sn_column_close(&b);
    status = widen_kind(into, b.kind, b.scale);
    if (status == SN_OK && into->sketch != NULL) status = sn_kll_merge(into->sketch, b.sketch);
    if (status == SN_OK) status = sn_column_merge_weights(into, &b);
    if (status == SN_OK) {
        into->rows += b.rows;
        into->nulls += b.nulls;
        into->no_value += b.no_value;
        into->nans_unknown |= b.nans_unknown;
        into->infinities += b.infinities;
        sn_moments_merge(&into->moments, &b.moments);
        if (into->exact != NULL) sn_exact_merge(into->exact, b.exact);
        into->extrema_unknown |= b.extrema_unknown;
        if (b.min < into->min) into->min = b.min;
        if (b.max > into->max) into->max = b.max;
        if (b.integer.min < into->integer.min) into->integer.min = b.integer.min;
        if (b.integer.max > into->integer.max) into->integer.max = b.integer.max;
    }
    sn_column_release(&b);
    return status;
}

sn_status sn_column_update_matrix(sn_column *const *columns, const sn_array *first, int64_t column_stride,
                                  int64_t n_columns) {
    for (int64_t row = 0; row < first->length; row += SN_BLOCK) {
        sn_array part = *first;
        part.length = first->length - row < SN_BLOCK ? first->length - row : SN_BLOCK;
        for (int64_t j = 0; j < n_columns; j++) {
            part.values = (const char *)first->values + row * first->stride + j * column_stride;
            sn_status status = sn_column_update(columns[j], &part);
            if (status != SN_OK) return status;
        }
    }
    return SN_OK;
}

void sn_column_update_nulls(sn_column *column, int64_t n) {
    column->rows += n;
    column->nulls += n;
    column->no_value += n;
}

/* A double below 2^53 in magnitude is the integer itself; beyond, the loaders kept the exact one. */
static sn_int128 exact_integer(double rounded, sn_int128 exact) {
    return fabs(rounded) < 0x1p53 ? (sn_int128)rounded : exact;
}

int sn_column_integer_extrema(const sn_column *column, int64_t *high, uint64_t *low) {
    if (!(column->min <= column->max)) return 0;
    sn_int128 bounds[2] = {column->integer.min, column->integer.max};
    if (column->kind == SN_KIND_INTEGER) {
        bounds[0] = exact_integer(column->min, bounds[0]);
        bounds[1] = exact_integer(column->max, bounds[1]);
    }
    for (int i = 0; i < 2; i++) {
        high[i] = (int64_t)(bounds[i] >> 64);
        low[i] = (uint64_t)bounds[i];
    }
    return 1;
}

void sn_column_set_integer_extrema(sn_column *column, const int64_t *high, const uint64_t *low) {
    sn_int128 bounds[2];
    for (int i = 0; i < 2; i++)
        bounds[i] = (sn_int128)(((sn_uint128)(uint64_t)high[i] << 64) | low[i]);
    column->integer.min = bounds[0];
    column->integer.max = bounds[1];
}
