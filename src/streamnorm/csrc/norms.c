/* See norms.h. Which of the three ways through memory a layer takes. */
#include "norms.h"

#include "parallel.h"

/* A line of which one part is streamed and another is not costs more than either. So runs are streamed that have no
 * other part, where they are begun at a multiple of 16 bytes, or that are so long that their ends do not count. */
#define WHOLE_STORES 32
#define LONG_RUN 4096

typedef enum { BY_ROWS, BY_PLANES, BY_COLUMNS } way;

/* Planes too small for vectors: samples of a group are short rows with the group's parameters, statistics over the
 * batch are columns of which some are added up. */
static way way_of(const sn_norm *norm) {
    if (norm->layout == SN_NORM_ROWS) return BY_ROWS;
    if (norm->layout == SN_NORM_PLANES && norm->positions >= SN_PLANE_POSITIONS) return BY_PLANES;
    if (norm->groups == 0) return BY_COLUMNS;
    return norm->layout == SN_NORM_PLANES || norm->positions == 1 ? BY_ROWS : BY_COLUMNS;
}

int64_t sn_norm_statistics(const sn_norm *norm) {
    if (norm->layout == SN_NORM_ROWS) return norm->samples;
    return norm->groups == 0 ? norm->channels : norm->samples * norm->groups;
}

int64_t sn_norm_values(const sn_norm *norm) {
    if (norm->layout == SN_NORM_ROWS) return norm->positions;
    if (norm->groups == 0) return norm->samples * norm->positions;
    return norm->channels / norm->groups * norm->positions;
}

int sn_norm_threads(const sn_norm *norm) {
    int64_t values = norm->samples * norm->channels * norm->positions;
    int64_t useful = values / SN_THREAD_VALUES;
    int64_t threads = norm->threads > 0 ? norm->threads : useful > 1 ? sn_processors() : 1;
    if (threads > useful) threads = useful;
    return threads < 1 ? 1 : threads > SN_MAX_THREADS ? SN_MAX_THREADS : (int)threads;
}

int sn_norm_streams(const sn_norm *norm, int arrays, int64_t run) {
    int64_t bytes = norm->samples * norm->channels * norm->positions * norm->kernels->width;
    int64_t run_bytes = run * norm->kernels->width;
    return arrays * bytes >= norm->cache_bytes && (run_bytes >= LONG_RUN || run_bytes % WHOLE_STORES == 0);
}

sn_status sn_norm_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm) {
    switch (way_of(norm)) {
    case BY_ROWS: return sn_rows_forward(y, mean, rstd, variance, x, norm);
    case BY_PLANES: return sn_planes_forward(y, mean, rstd, variance, x, norm);
    default: return sn_columns_forward(y, mean, rstd, variance, x, norm);
    }
}

sn_status sn_norm_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x, const double *mean,
                           const double *rstd, const sn_norm *norm) {
    switch (way_of(norm)) {
    case BY_ROWS: return sn_rows_backward(dx, dweight, dbias, dy, x, mean, rstd, norm);
    case BY_PLANES: return sn_planes_backward(dx, dweight, dbias, dy, x, mean, rstd, norm);
    default: return sn_columns_backward(dx, dweight, dbias, dy, x, mean, rstd, norm);
    }
}
