/* See norms.h: x is samples x channels x positions, and a plane, the positions of a channel in a sample, lies together.
 *
 * A statistic is that of a group of planes: one channel's in all samples, or some channels' of one sample. Where there
 * are groups enough for the threads, a task takes whole groups, whose values are then in cache for the second pass;
 * where there are few, all threads take runs of a group, pass by pass. Either way a run's sums are those of the run,
 * and are added up in the same order.
 */
#include <math.h>
#include <stdlib.h>

#include "norms.h"
#include "parallel.h"

#define SEQUENCE (1 << 16)   /* bytes that are worth reading in a row */
#define TASK_BYTES (1 << 22) /* of the groups of a task, which share a cache with other threads' */
#define GROUP_BYTES (1 << 23)
#define TASKS_PER_THREAD 4

typedef struct {
    const sn_norms_kernels *kernels;
    const sn_norm *norm;
    char *out;
    const char *x, *dy;
    double *mean, *rstd, *variance;
    double *dweight, *dbias;
    int64_t groups, planes;       /* planes: of a group */
    int64_t to_group, to_plane;   /* from one group's first plane to the next one's, from one of its planes on */
    int64_t runs;                 /* of a plane */
    int64_t groups_per_task, runs_per_task;
    double *sums;                 /* planes x runs x 2 */
    double *shift;                /* one per group */
    int stream;
    unsigned char *again;         /* one per group: the shift was a poor one */
    sn_norm_factors *factors;     /* one per group */
} planes_job;

static int64_t plane_of(const planes_job *job, int64_t group, int64_t k) {
    return group * job->to_group + k * job->to_plane;
}

static int64_t group_of(const planes_job *job, int64_t plane) {
    return job->norm->groups == 0 ? plane % job->groups : plane / job->planes;
}

typedef struct {
    int64_t plane, at, length; /* at: bytes from the beginning of x */
} run;

static run run_of(const planes_job *job, int64_t index) {
    int64_t plane = index / job->runs, start = index % job->runs * SN_RUN, positions = job->norm->positions;
    int64_t left = positions - start;
    return (run){plane, (plane * positions + start) * job->kernels->width, left < SN_RUN ? left : SN_RUN};
}

/* ---- forward ---- */

static void sum_run(planes_job *job, int64_t index) {
    run r = run_of(job, index);
    double *sums = job->sums + 2 * index;
    job->kernels->stats(&sums[0], &sums[1], job->x + r.at, r.length, job->shift[group_of(job, r.plane)]);
}

static void normalize_run(planes_job *job, int64_t index) {
    run r = run_of(job, index);
    const sn_norm *norm = job->norm;
    int64_t group = group_of(job, r.plane), channel = r.plane % norm->channels;
    double scale = norm->weight == NULL ? job->rstd[group] : job->rstd[group] * norm->weight[channel];
    job->kernels->normalize(job->out + r.at, job->x + r.at, r.length, job->mean[group], job->rstd[group], scale,
                            norm->bias == NULL ? 0.0 : norm->bias[channel], job->stream);
}

static void add_runs(double *s1, double *s2, const planes_job *job, int64_t group) {
    *s1 = *s2 = 0.0;
    for (int64_t k = 0; k < job->planes; k++) {
        const double *sums = job->sums + 2 * job->runs * plane_of(job, group, k);
        for (int64_t i = 0; i < job->runs; i++) {
            *s1 += sums[2 * i];
            *s2 += sums[2 * i + 1];
        }
    }
}

/* The statistics of a group from the sums of its runs; true if these are wanted once more, from a better shift. */
static int finish_group(planes_job *job, int64_t group) {
    double s1, s2, offset, variance;
    add_runs(&s1, &s2, job, group);
    int good = sn_variance(&variance, &offset, s1, s2, (double)sn_norm_values(job->norm));
    double mean = job->shift[group] + offset;
    if (!isfinite(mean)) { /* an infinity stays one, as the sum of the values is */
        mean = 0.0;
        for (int64_t k = 0; k < job->planes; k++) {
            int64_t at = plane_of(job, group, k) * job->norm->positions * job->kernels->width;
            mean += job->kernels->sum(job->x + at, job->norm->positions);
        }
        mean /= (double)sn_norm_values(job->norm);
        good = 1;
    }
    job->mean[group] = mean;
    job->rstd[group] = 1.0 / sqrt(variance + job->norm->eps);
    if (job->variance != NULL) job->variance[group] = variance;
    if (!good) job->shift[group] = mean;
    return !good;
}

static void start_group(planes_job *job, int64_t group) {
    int64_t at = plane_of(job, group, 0) * job->norm->positions * job->kernels->width;
    job->shift[group] = job->kernels->value(job->x + at);
}

typedef void (*on_run)(planes_job *job, int64_t index);

static void for_runs_of_plane(planes_job *job, int64_t plane, on_run do_run) {
    for (int64_t i = 0; i < job->runs; i++) do_run(job, plane * job->runs + i);
}

/* Groups [first, last), which lie side by side where their planes are apart: plane by plane. */
static void for_runs_of_groups(planes_job *job, int64_t first, int64_t last, on_run do_run) {
    for (int64_t k = 0; k < job->planes; k++)
        for (int64_t group = first; group < last; group++) for_runs_of_plane(job, plane_of(job, group, k), do_run);
}

/* The last ones first: of groups larger than the cache, these are still there. */
static void for_runs_of_groups_back(planes_job *job, int64_t first, int64_t last, on_run do_run) {
    for (int64_t k = job->planes - 1; k >= 0; k--)
        for (int64_t group = last - 1; group >= first; group--)
            for_runs_of_plane(job, plane_of(job, group, k), do_run);
}

static void for_groups_of_task(planes_job *job, int64_t index,
                               void (*do_groups)(planes_job *job, int64_t first, int64_t last)) {
    int64_t first = index * job->groups_per_task, last = first + job->groups_per_task;
    if (last > job->groups) last = job->groups;
    if (job->norm->groups == 0)
        do_groups(job, first, last);
    else
        for (; first < last; first++) do_groups(job, first, first + 1);
}

static int64_t all_runs(const planes_job *job) { return job->norm->samples * job->norm->channels * job->runs; }

static void for_runs_of_task(planes_job *job, int64_t index, on_run do_run) {
    int64_t first = index * job->runs_per_task, last = first + job->runs_per_task, all = all_runs(job);
    for (int64_t i = first; i < last && i < all; i++) do_run(job, i);
}

static void forward_groups(planes_job *job, int64_t first, int64_t last) {
    for (int64_t group = first; group < last; group++) start_group(job, group);
    for_runs_of_groups(job, first, last, sum_run);
    for (int64_t group = first; group < last; group++)
        if (finish_group(job, group)) {
            for_runs_of_groups(job, group, group + 1, sum_run);
            finish_group(job, group);
        }
    for_runs_of_groups_back(job, first, last, normalize_run);
}

static void sum_run_again(planes_job *job, int64_t index) {
    if (job->again[group_of(job, index / job->runs)]) sum_run(job, index);
}

static int64_t last_task(const planes_job *job) { return (all_runs(job) - 1) / job->runs_per_task; }

static void forward_groups_task(void *job, int64_t index) { for_groups_of_task(job, index, forward_groups); }
static void sum_task(void *job, int64_t index) { for_runs_of_task(job, index, sum_run); }
static void sum_again_task(void *job, int64_t index) { for_runs_of_task(job, index, sum_run_again); }
static void normalize_task(void *job, int64_t index) { for_runs_of_task(job, last_task(job) - index, normalize_run); }

static void start_task(void *of, int64_t index) {
    (void)index;
    planes_job *job = of;
    for (int64_t group = 0; group < job->groups; group++) start_group(job, group);
}

static void finish_groups(void *of) {
    planes_job *job = of;
    for (int64_t group = 0; group < job->groups; group++) job->again[group] = (unsigned char)finish_group(job, group);
}

static void finish_groups_again(void *of) {
    planes_job *job = of;
    for (int64_t group = 0; group < job->groups; group++)
        if (job->again[group]) finish_group(job, group);
}

/* ---- set-up ---- */

/* Groups of one task: of the batch's channels so many that what is read in a row is long enough for the processor to
 * read ahead, and that they are in cache for the second pass. */
static int64_t groups_to_take(const planes_job *job, int threads) {
    const sn_norm *norm = job->norm;
    int64_t group = job->planes * norm->positions, take = SN_TASK / group + 1;
    if (norm->groups == 0) {
        int64_t plane_bytes = norm->positions * job->kernels->width, group_bytes = group * job->kernels->width;
        int64_t wanted = SEQUENCE / plane_bytes + 1, fitting = TASK_BYTES / group_bytes;
        if (wanted > fitting) wanted = fitting;
        if (take < wanted) take = wanted;
    }
    int64_t share = job->groups / (TASKS_PER_THREAD * threads);
    return take <= share ? take : share < 1 ? 1 : share;
}

static sn_status set_up(planes_job *job, const sn_norm *norm, int threads) {
    job->kernels = norm->kernels;
    job->norm = norm;
    job->groups = sn_norm_statistics(norm);
    job->planes = norm->samples * norm->channels / job->groups;
    job->to_group = norm->groups == 0 ? 1 : job->planes;
    job->to_plane = norm->groups == 0 ? norm->channels : 1;
    job->runs = (norm->positions - 1) / SN_RUN + 1;
    job->groups_per_task = groups_to_take(job, threads);
    job->runs_per_task = job->runs > 1 ? 1 : SN_RUN / norm->positions + 1;
    size_t sums = 2 * (size_t)(norm->samples * norm->channels * job->runs), groups = (size_t)job->groups;
    job->sums = malloc((sums + groups) * sizeof(double) + groups * sizeof(sn_norm_factors) + groups);
    if (job->sums == NULL) return SN_ERR_NOMEM;
    job->shift = job->sums + sums;
    job->factors = (sn_norm_factors *)(job->shift + groups);
    job->again = (unsigned char *)(job->factors + groups);
    return SN_OK;
}

static int64_t tasks(int64_t count, int64_t per_task) { return (count - 1) / per_task + 1; }

/* Whether to go group by group: they fit the cache between two passes, and there are enough of them. */
static int by_groups(const planes_job *job, int threads) {
    int64_t count = tasks(job->groups, job->groups_per_task);
    if (job->planes > 1 && job->planes * job->norm->positions * job->kernels->width > GROUP_BYTES) return 0;
    return threads == 1 || count >= TASKS_PER_THREAD * threads || count % threads == 0;
}

sn_status sn_planes_forward(void *y, double *mean, double *rstd, double *variance, const void *x, const sn_norm *norm) {
    planes_job job = {.out = y, .x = x, .mean = mean, .rstd = rstd, .variance = variance};
    job.stream = sn_norm_streams(norm, 2, norm->positions);
    int threads = sn_norm_threads(norm);
    sn_status status = set_up(&job, norm, threads);
    if (status != SN_OK) return status;
    int64_t run_tasks = last_task(&job) + 1;
    if (!norm->given && by_groups(&job, threads)) {
        sn_phase phase = {forward_groups_task, tasks(job.groups, job.groups_per_task), NULL};
        sn_phases_run(&phase, 1, &job, threads);
    } else {
        sn_phase phases[] = {
            {start_task, 1, NULL},
            {sum_task, run_tasks, finish_groups},
            {sum_again_task, run_tasks, finish_groups_again},
            {normalize_task, run_tasks, NULL},
        };
        if (norm->given)
            sn_phases_run(phases + 3, 1, &job, threads);
        else
            sn_phases_run(phases, 4, &job, threads);
    }
    free(job.sums);
    return SN_OK;
}

/* ---- backward ---- */

static void products_run(planes_job *job, int64_t index) {
    run r = run_of(job, index);
    int64_t group = group_of(job, r.plane);
    double *sums = job->sums + 2 * index;
    job->kernels->products(&sums[0], &sums[1], job->dy + r.at, job->x + r.at, r.length,
                           job->mean[group], job->rstd[group]);
}

static void gradient_run(planes_job *job, int64_t index) {
    run r = run_of(job, index);
    int64_t group = group_of(job, r.plane), channel = r.plane % job->norm->channels;
    const sn_norm_factors *f = &job->factors[group];
    double by_dy = job->norm->weight == NULL ? f->by_dy : f->by_dy * job->norm->weight[channel];
    if (job->norm->given) /* x has no part in it, not even where it is infinite */
        job->kernels->normalize(job->out + r.at, job->dy + r.at, r.length, 0.0, 1.0, by_dy, 0.0, job->stream);
    else
        job->kernels->gradient(job->out + r.at, job->dy + r.at, job->x + r.at, r.length, job->mean[group],
                               job->rstd[group], by_dy,
                               f->by_x, f->constant, job->stream);
}

static void find_factors(planes_job *job, int64_t group) {
    double sum_g = 0.0, sum_g_d = 0.0;
    if (!job->norm->given)
        for (int64_t k = 0; k < job->planes; k++) {
            int64_t plane = plane_of(job, group, k);
            const double *sums = job->sums + 2 * job->runs * plane;
            double weight = job->norm->weight == NULL ? 1.0 : job->norm->weight[plane % job->norm->channels];
            for (int64_t i = 0; i < job->runs; i++) {
                sum_g += weight * sums[2 * i];
                sum_g_d += weight * sums[2 * i + 1];
            }
        }
    double per_n = 1.0 / (double)sn_norm_values(job->norm);
    job->factors[group] = sn_norm_gradient_factors(job->rstd[group], sum_g, sum_g_d, per_n, job->norm->given);
}

static int wants_products(const planes_job *job) {
    return !job->norm->given || job->dweight != NULL || job->dbias != NULL;
}

static void backward_groups(planes_job *job, int64_t first, int64_t last) {
    if (wants_products(job)) for_runs_of_groups(job, first, last, products_run);
    for (int64_t group = first; group < last; group++) find_factors(job, group);
    for_runs_of_groups_back(job, first, last, gradient_run);
}

static void backward_groups_task(void *job, int64_t index) { for_groups_of_task(job, index, backward_groups); }
static void products_task(void *job, int64_t index) {
    if (wants_products(job)) for_runs_of_task(job, index, products_run);
}
static void gradient_task(void *job, int64_t index) { for_runs_of_task(job, last_task(job) - index, gradient_run); }

static void find_all_factors(void *of) {
    planes_job *job = of;
    for (int64_t group = 0; group < job->groups; group++) find_factors(job, group);
}

static void add_parameters(planes_job *job) {
    if (job->dweight == NULL && job->dbias == NULL) return;
    for (int64_t channel = 0; channel < job->norm->channels; channel++) {
        double dweight = 0.0, dbias = 0.0;
        for (int64_t plane = channel; plane < job->norm->samples * job->norm->channels; plane += job->norm->channels) {
            const double *sums = job->sums + 2 * job->runs * plane;
            double sum_dy_x = 0.0;
            for (int64_t i = 0; i < job->runs; i++) {
                dbias += sums[2 * i];
                sum_dy_x += sums[2 * i + 1];
            }
            dweight += sum_dy_x * job->rstd[group_of(job, plane)];
        }
        if (job->dweight != NULL) job->dweight[channel] = dweight;
        if (job->dbias != NULL) job->dbias[channel] = dbias;
    }
}

sn_status sn_planes_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                             const double *mean, const double *rstd, const sn_norm *norm) {
    planes_job job = {.out = dx, .x = x, .dy = dy, .dweight = dweight, .dbias = dbias};
    job.mean = (double *)mean; /* read only */
    job.rstd = (double *)rstd;
    job.stream = sn_norm_streams(norm, 3, norm->positions);
    int threads = sn_norm_threads(norm);
    sn_status status = set_up(&job, norm, threads);
    if (status != SN_OK) return status;
    int64_t run_tasks = last_task(&job) + 1;
    if (by_groups(&job, threads)) {
        sn_phase phase = {backward_groups_task, tasks(job.groups, job.groups_per_task), NULL};
        sn_phases_run(&phase, 1, &job, threads);
    } else {
        sn_phase phases[] = {
            {products_task, run_tasks, find_all_factors},
            {gradient_task, run_tasks, NULL},
        };
        sn_phases_run(phases, 2, &job, threads);
    }
    add_parameters(&job);
    free(job.sums);
    return SN_OK;
}
