/* See norms.h: what is normalized together lies together, and is short enough to stay in cache between its passes. */
#include <stdlib.h>
#include <string.h>

#include "norms.h"
#include "parallel.h"

/* Chunks of rows whose gradients of weight and bias are summed on their own: at most, and values in each at least. */
#define CHUNKS 32
#define CHUNK_VALUES (1 << 17)
#define CHUNK_SUMS (1 << 20) /* in all of them, at most */

typedef struct {
    const sn_norms_kernels *kernels;
    sn_rows_spec spec;
    char *out;
    const char *x, *dy;
    int64_t rows, rows_per_task, chunks;
    int64_t parameters;     /* periods * length */
    double *dweight, *dbias; /* chunks x parameters, or NULL */
} rows_job;

/* One parameter of each channel, in the type of the kernels, as often as the channel has positions. */
static void spread(char *to, const double *from, int64_t n, int64_t times, const sn_norms_kernels *kernels) {
    int64_t width = kernels->width;
    if (times == 1) {
        kernels->narrow(to, from, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        kernels->narrow(to, from + i, 1);
        for (int64_t k = 1; k < times; k++) memcpy(to + k * width, to, (size_t)width);
        to += times * width;
    }
}

/* False if memory ran out. `parameters` is the caller's to free. */
static int describe(rows_job *job, char **parameters, const sn_norm *norm) {
    int64_t times = norm->layout == SN_NORM_ROWS ? 1 : norm->positions;
    int64_t groups = norm->layout == SN_NORM_ROWS ? 1 : norm->groups;
    int64_t channels = norm->layout == SN_NORM_ROWS ? norm->positions : norm->channels;
    job->kernels = norm->kernels;
    job->parameters = channels * times;
    job->rows = norm->samples * groups;
    job->spec.length = job->parameters / groups;
    job->spec.periods = groups;
    job->spec.eps = norm->eps;
    job->spec.given = norm->given;
    job->rows_per_task = SN_TASK / job->spec.length + 1;
    *parameters = NULL;
    job->spec.weight = norm->own_weight;
    job->spec.bias = norm->own_bias;
    if (norm->weight == NULL && norm->bias == NULL) return 1;
    int64_t bytes = job->parameters * job->kernels->width;
    *parameters = malloc(2 * (size_t)bytes);
    if (*parameters == NULL) return 0;
    if (norm->weight != NULL) {
        spread(*parameters, norm->weight, channels, times, job->kernels);
        job->spec.weight = *parameters;
    }
    if (norm->bias != NULL) {
        spread(*parameters + bytes, norm->bias, channels, times, job->kernels);
        job->spec.bias = *parameters + bytes;
    }
    return 1;
}

static void forward_task(void *of, int64_t index) {
    rows_job *job = of;
    int64_t first = index * job->rows_per_task, count = job->rows - first;
    if (count > job->rows_per_task) count = job->rows_per_task;
    int64_t at = first * job->spec.length * job->kernels->width;
    job->kernels->rows_forward(job->out + at, job->x + at, &job->spec, first, count);
}

sn_status sn_rows_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm) {
    rows_job job = {.out = y, .x = x};
    char *parameters;
    if (!describe(&job, &parameters, norm)) return SN_ERR_NOMEM;
    job.spec.mean = norm->centered ? mean : NULL;
    job.spec.rstd = rstd;
    job.spec.variance = variance;
    job.spec.stream = sn_norm_streams(norm, 2, job.spec.length);
    sn_phase phase = {forward_task, (job.rows - 1) / job.rows_per_task + 1, NULL};
    sn_phases_run(&phase, 1, &job, sn_norm_threads(norm));
    free(parameters);
    return SN_OK;
}

static int64_t chunk_start(const rows_job *job, int64_t chunk) { return job->rows * chunk / job->chunks; }

static void backward_task(void *of, int64_t chunk) {
    rows_job *job = of;
    int64_t first = chunk_start(job, chunk), count = chunk_start(job, chunk + 1) - first;
    int64_t at = first * job->spec.length * job->kernels->width;
    double *dweight = job->dweight == NULL ? NULL : job->dweight + chunk * job->parameters;
    double *dbias = job->dbias == NULL ? NULL : job->dbias + chunk * job->parameters;
    job->kernels->rows_backward(job->out + at, dweight, dbias, job->dy + at, job->x + at, &job->spec, first, count);
}

/* The sums of the chunks, in order, into those of the first. */
static void add_chunks(void *of) {
    rows_job *job = of;
    if (job->dweight == NULL) return;
    for (int64_t chunk = 1; chunk < job->chunks; chunk++) {
        const double *dweight = job->dweight + chunk * job->parameters;
        for (int64_t i = 0; i < job->parameters; i++) job->dweight[i] += dweight[i];
        if (job->dbias == NULL) continue;
        const double *dbias = job->dbias + chunk * job->parameters;
        for (int64_t i = 0; i < job->parameters; i++) job->dbias[i] += dbias[i];
    }
}

static void gather(double *to, const double *from, int64_t n, int64_t times) {
    for (int64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < times; k++) sum += from[i * times + k];
        to[i] = sum;
    }
}

static int64_t chunks_for(const rows_job *job) {
    int64_t chunks = job->rows * job->spec.length / CHUNK_VALUES;
    if (chunks > CHUNKS) chunks = CHUNKS;
    if (chunks > CHUNK_SUMS / job->parameters) chunks = CHUNK_SUMS / job->parameters;
    if (chunks > job->rows) chunks = job->rows;
    return chunks < 1 ? 1 : chunks;
}

sn_status sn_rows_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x, const double *mean,
                           const double *rstd, const sn_norm *norm) {
    rows_job job = {.out = dx, .x = x, .dy = dy};
    double *sums = NULL;
    char *parameters;
    if (!describe(&job, &parameters, norm)) return SN_ERR_NOMEM;
    job.spec.mean = norm->centered ? (double *)mean : NULL; /* read only */
    job.spec.rstd = (double *)rstd;
    job.spec.stream = sn_norm_streams(norm, 3, job.spec.length);
    int64_t times = norm->layout == SN_NORM_ROWS ? 1 : norm->positions, channels = job.parameters / times;
    job.chunks = chunks_for(&job);
    if (dweight != NULL || dbias != NULL) {
        /* Both are summed up, wanted or not: one loop less to have, and dy and x are at hand anyway. */
        sums = calloc(2 * (size_t)(job.chunks * job.parameters), sizeof(double));
        if (sums == NULL) {
            free(parameters);
            return SN_ERR_NOMEM;
        }
        job.dweight = sums;
        job.dbias = norm->centered ? sums + job.chunks * job.parameters : NULL;
    }
    sn_phase phase = {backward_task, job.chunks, add_chunks};
    sn_phases_run(&phase, 1, &job, sn_norm_threads(norm));
    if (dweight != NULL) gather(dweight, job.dweight, channels, times);
    if (dbias != NULL) gather(dbias, job.dbias, channels, times);
    free(sums);
    free(parameters);
    return SN_OK;
}
