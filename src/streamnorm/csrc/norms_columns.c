/* See norms.h: matrices whose columns have statistics, one or several adjacent columns together.
 *
 * Statistics over the batch are those of one matrix, samples and positions by channels (where planes are small: samples
 * by channels and positions); those of groups of channels are of a matrix for each sample. A matrix is cut into tiles
 * of columns, whose sums stay in the first-level cache, and into blocks of rows. Where rows are short, some are read as
 * one long row, and their sums are added up afterwards: vectors are full for any number of channels.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "norms.h"
#include "parallel.h"

#define TILE 512        /* columns of a tile, at most */
#define SHORT_ROW 128   /* shorter ones are taken several at a time, until a multiple of 8 and at least LONG_ROW */
#define LONG_ROW 64
#define MAX_ROW SN_COLUMNS /* 8 * SHORT_ROW */
#define BLOCK_ROWS 64   /* of a block, at least */

typedef struct {
    const sn_norms_kernels *kernels;
    const sn_norm *norm;
    char *out;
    const char *x, *dy;
    double *mean, *rstd, *variance;
    double *dweight, *dbias;
    int64_t matrices, rows, columns;
    int64_t group;        /* columns that share a statistic */
    int64_t statistics;   /* of a matrix: columns / group */
    int64_t per_channel;  /* columns that share a weight */
    int64_t merged;       /* rows read as one */
    int64_t tile, tiles, block_rows, blocks;
    double *sums;         /* matrices x blocks x 2 x columns */
    double *totals;       /* matrices x 2 x columns */
    double *shift;        /* matrices x statistics */
    int flags;
    unsigned char *again; /* one per matrix: a shift was a poor one */
    sn_norm_factors *factors; /* matrices x statistics */
} columns_job;

/* A piece of a matrix, as the kernels take it. */
typedef struct {
    int64_t matrix, block, first_column, columns;
    int64_t at; /* bytes from the beginning of x */
    int64_t rows, width, stride, rest;
} piece;

static piece piece_of(const columns_job *job, int64_t index) {
    piece p;
    int64_t tile = index % job->tiles, row;
    p.block = index / job->tiles % job->blocks;
    p.matrix = index / job->tiles / job->blocks;
    p.first_column = tile * job->tile;
    p.columns = job->columns - p.first_column < job->tile ? job->columns - p.first_column : job->tile;
    row = p.block * job->block_rows;
    p.rows = job->rows - row < job->block_rows ? job->rows - row : job->block_rows;
    p.at = ((p.matrix * job->rows + row) * job->columns + p.first_column) * job->kernels->width;
    p.width = p.columns * job->merged;
    p.stride = job->columns * job->merged;
    p.rest = p.rows % job->merged * p.columns;
    p.rows /= job->merged;
    return p;
}

/* Parameters for each column that a kernel sees, from those of a matrix's statistics. */
static void per_column(double *to, const double *of_statistic, const columns_job *job, const piece *p) {
    const double *from = of_statistic + p->matrix * job->statistics;
    if (job->group == 1) {
        memcpy(to, from + p->first_column, (size_t)p->columns * sizeof *to);
        return;
    }
    int64_t s = p->first_column / job->group, next = (s + 1) * job->group - p->first_column;
    for (int64_t j = 0; j < p->columns; j++) {
        if (j == next) {
            s++;
            next += job->group;
        }
        to[j] = from[s];
    }
}

/* The same from one parameter per channel. */
static void per_channel(double *to, const double *of_channel, const columns_job *job, const piece *p) {
    if (job->per_channel == 1)
        memcpy(to, of_channel + p->first_column, (size_t)p->columns * sizeof *to);
    else
        for (int64_t j = 0; j < p->columns; j++) to[j] = of_channel[(p->first_column + j) / job->per_channel];
}

static void repeat(double *to, int64_t columns, int64_t times) {
    for (int64_t k = 1; k < times; k++) memcpy(to + k * columns, to, (size_t)columns * sizeof(double));
}

static double *sums_of(const columns_job *job, const piece *p) {
    return job->sums + (p->matrix * job->blocks + p->block) * 2 * job->columns + p->first_column;
}

/* The sums of rows read as one, added up. */
static void fold(double *to, const double *from, int64_t columns, int64_t times) {
    memcpy(to, from, (size_t)columns * sizeof(double));
    for (int64_t k = 1; k < times; k++)
        for (int64_t j = 0; j < columns; j++) to[j] += from[k * columns + j];
}

/* ---- forward ---- */

static void sum_piece(columns_job *job, const piece *p) {
    _Alignas(64) double shift[MAX_ROW], s1[MAX_ROW], s2[MAX_ROW];
    per_column(shift, job->shift, job, p);
    repeat(shift, p->columns, job->merged);
    memset(s1, 0, (size_t)p->width * sizeof *s1);
    memset(s2, 0, (size_t)p->width * sizeof *s2);
    job->kernels->columns_stats(s1, s2, job->x + p->at, shift, p->rows, p->width, p->stride, p->rest);
    fold(sums_of(job, p), s1, p->columns, job->merged);
    fold(sums_of(job, p) + job->columns, s2, p->columns, job->merged);
}

static void normalize_piece(columns_job *job, const piece *p) {
    _Alignas(64) double mean[MAX_ROW], rstd[MAX_ROW], scale[MAX_ROW], bias[MAX_ROW];
    per_column(mean, job->mean, job, p);
    per_column(rstd, job->rstd, job, p);
    memcpy(scale, rstd, (size_t)p->columns * sizeof *scale);
    if (job->norm->weight != NULL) {
        per_channel(bias, job->norm->weight, job, p);
        for (int64_t j = 0; j < p->columns; j++) scale[j] *= bias[j];
    }
    if (job->norm->bias != NULL)
        per_channel(bias, job->norm->bias, job, p);
    else
        memset(bias, 0, (size_t)p->columns * sizeof *bias);
    repeat(mean, p->columns, job->merged);
    repeat(rstd, p->columns, job->merged);
    repeat(scale, p->columns, job->merged);
    repeat(bias, p->columns, job->merged);
    job->kernels->columns_normalize(job->out + p->at, job->x + p->at, mean, rstd, scale, bias, p->rows, p->width,
                                    p->stride, p->rest, job->flags);
}

static void add_blocks(columns_job *job, int64_t matrix) {
    int64_t n = 2 * job->columns;
    double *totals = job->totals + matrix * n;
    const double *sums = job->sums + matrix * job->blocks * n;
    memcpy(totals, sums, (size_t)n * sizeof *totals);
    for (int64_t block = 1; block < job->blocks; block++)
        for (int64_t j = 0; j < n; j++) totals[j] += sums[block * n + j];
}

static double value_at(const columns_job *job, int64_t matrix, int64_t row, int64_t column) {
    return job->kernels->value(job->x + ((matrix * job->rows + row) * job->columns + column) * job->kernels->width);
}

static double plain_mean(const columns_job *job, int64_t matrix, int64_t statistic) {
    double sum = 0.0;
    for (int64_t i = 0; i < job->rows; i++)
        for (int64_t j = statistic * job->group; j < (statistic + 1) * job->group; j++)
            sum += value_at(job, matrix, i, j);
    return sum / ((double)job->rows * (double)job->group);
}

static void start_matrix(columns_job *job, int64_t matrix) {
    for (int64_t s = 0; s < job->statistics; s++)
        job->shift[matrix * job->statistics + s] = value_at(job, matrix, 0, s * job->group);
}

/* The statistics of a matrix from its sums; true if some of these are wanted once more, from a better shift. */
static int finish_matrix(columns_job *job, int64_t matrix) {
    int again = 0;
    add_blocks(job, matrix);
    const double *total = job->totals + matrix * 2 * job->columns;
    double n = (double)job->rows * (double)job->group;
    if (job->group == 1) {
        int64_t first = matrix * job->statistics;
        memcpy(job->mean + first, job->shift + first, (size_t)job->statistics * sizeof(double));
        if (sn_statistics_from_sums(job->mean + first, job->rstd + first, job->variance + first, total,
                                    total + job->columns, job->statistics, n, job->norm->eps))
            return 0;
    }
    for (int64_t s = 0; s < job->statistics; s++) {
        double s1 = 0.0, s2 = 0.0, offset, variance;
        for (int64_t j = s * job->group; j < (s + 1) * job->group; j++) {
            s1 += total[j];
            s2 += total[job->columns + j];
        }
        int64_t at = matrix * job->statistics + s;
        int good = sn_variance(&variance, &offset, s1, s2, n);
        double mean = job->shift[at] + offset;
        if (!isfinite(mean)) { /* an infinity stays one, as the sum of the values is */
            mean = plain_mean(job, matrix, s);
            good = 1;
        } else {
            job->shift[at] = mean;
        }
        job->mean[at] = mean;
        job->rstd[at] = 1.0 / sqrt(variance + job->norm->eps);
        job->variance[at] = variance;
        if (!good) again = 1;
    }
    return again;
}

typedef void (*on_piece)(columns_job *job, const piece *p);

static int64_t pieces_of(const columns_job *job) { return job->matrices * job->blocks * job->tiles; }

static void for_pieces_of_matrix(columns_job *job, int64_t matrix, on_piece do_piece) {
    int64_t n = job->blocks * job->tiles;
    for (int64_t i = 0; i < n; i++) {
        piece p = piece_of(job, matrix * n + i);
        do_piece(job, &p);
    }
}

static void for_pieces_of_matrix_back(columns_job *job, int64_t matrix, on_piece do_piece) {
    int64_t n = job->blocks * job->tiles;
    for (int64_t i = n - 1; i >= 0; i--) {
        piece p = piece_of(job, matrix * n + i);
        do_piece(job, &p);
    }
}

static void forward_matrix_task(void *of, int64_t matrix) {
    columns_job *job = of;
    if (!job->norm->given) {
        start_matrix(job, matrix);
        for_pieces_of_matrix(job, matrix, sum_piece);
        if (finish_matrix(job, matrix)) {
            for_pieces_of_matrix(job, matrix, sum_piece);
            finish_matrix(job, matrix);
        }
    }
    for_pieces_of_matrix_back(job, matrix, normalize_piece);
}

static void sum_task(void *job, int64_t index) {
    piece p = piece_of(job, index);
    sum_piece(job, &p);
}

static void sum_again_task(void *of, int64_t index) {
    columns_job *job = of;
    piece p = piece_of(job, index);
    if (job->again[p.matrix]) sum_piece(job, &p);
}

/* The last ones first: of a matrix larger than the cache, these are still there. */
static void normalize_task(void *job, int64_t index) {
    piece p = piece_of(job, pieces_of(job) - 1 - index);
    normalize_piece(job, &p);
}

static void start_task(void *of, int64_t index) {
    (void)index;
    columns_job *job = of;
    for (int64_t matrix = 0; matrix < job->matrices; matrix++) start_matrix(job, matrix);
}

static void finish_matrices(void *of) {
    columns_job *job = of;
    for (int64_t m = 0; m < job->matrices; m++) job->again[m] = (unsigned char)finish_matrix(job, m);
}

static void finish_matrices_again(void *of) {
    columns_job *job = of;
    for (int64_t m = 0; m < job->matrices; m++)
        if (job->again[m]) finish_matrix(job, m);
}

/* ---- set-up ---- */

static int64_t rows_to_merge(int64_t rows, int64_t columns) {
    if (columns >= SHORT_ROW) return 1;
    int64_t merged = 1;
    while (merged * columns < LONG_ROW || merged * columns % 8 != 0) merged++;
    return merged < rows ? merged : rows;
}

static sn_status set_up(columns_job *job, const sn_norm *norm, int arrays) {
    int64_t planes = norm->layout == SN_NORM_PLANES; /* small ones, statistics over the batch */
    job->kernels = norm->kernels;
    job->norm = norm;
    job->matrices = norm->groups == 0 ? 1 : norm->samples;
    job->rows = planes ? norm->samples : norm->groups == 0 ? norm->samples * norm->positions : norm->positions;
    job->columns = planes ? norm->channels * norm->positions : norm->channels;
    job->per_channel = planes ? norm->positions : 1;
    job->group = planes ? norm->positions : norm->groups == 0 ? 1 : norm->channels / norm->groups;
    job->statistics = job->columns / job->group;
    job->merged = rows_to_merge(job->rows, job->columns);
    job->tile = job->columns < TILE ? job->columns : TILE;
    job->flags = sn_norm_streams(norm, arrays, job->tile * job->merged) ? SN_STREAM : 0;
    if (job->rows * job->group < SN_FEW) job->flags |= SN_IN_DOUBLE;
    job->tiles = (job->columns - 1) / job->tile + 1;
    int64_t rows = SN_RUN / job->tile, unit = job->merged * 4;
    if (rows < BLOCK_ROWS) rows = BLOCK_ROWS;
    job->block_rows = (rows - 1) / unit * unit + unit;
    job->blocks = (job->rows - 1) / job->block_rows + 1;
    size_t sums = (size_t)(job->matrices * job->blocks * 2 * job->columns);
    size_t totals = (size_t)(job->matrices * 2 * job->columns), statistics = (size_t)(job->matrices * job->statistics);
    job->sums = malloc((sums + totals + 2 * statistics) * sizeof(double) + statistics * sizeof(sn_norm_factors) +
                       (size_t)job->matrices);
    if (job->sums == NULL) return SN_ERR_NOMEM;
    job->totals = job->sums + sums;
    job->shift = job->totals + totals;
    if (job->variance == NULL) job->variance = job->shift + statistics;
    job->factors = (sn_norm_factors *)(job->shift + 2 * statistics);
    job->again = (unsigned char *)(job->factors + statistics);
    return SN_OK;
}

static int matrices_keep_busy(const columns_job *job, int threads) {
    return threads == 1 || job->matrices >= 8 * threads || (job->matrices > 1 && job->matrices % threads == 0);
}

sn_status sn_columns_forward(void *y, double *mean, double *rstd, double *variance, const void *x,
                             const sn_norm *norm) {
    columns_job job = {.out = y, .x = x, .mean = mean, .rstd = rstd, .variance = variance};
    sn_status status = set_up(&job, norm, 2);
    if (status != SN_OK) return status;
    int threads = sn_norm_threads(norm);
    int64_t pieces = pieces_of(&job);
    if (matrices_keep_busy(&job, threads)) {
        sn_phase phase = {forward_matrix_task, job.matrices, NULL};
        sn_phases_run(&phase, 1, &job, threads);
    } else {
        sn_phase phases[] = {
            {start_task, 1, NULL},
            {sum_task, pieces, finish_matrices},
            {sum_again_task, pieces, finish_matrices_again},
            {normalize_task, pieces, NULL},
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

static int all_finite(const double *values, int64_t n) {
    int finite = 1;
    for (int64_t j = 0; j < n; j++) finite &= isfinite(values[j]) != 0;
    return finite;
}

static void products_piece(columns_job *job, const piece *p) {
    _Alignas(64) double mean[MAX_ROW], rstd[MAX_ROW], sum_dy[MAX_ROW], sum_dy_x[MAX_ROW];
    per_column(mean, job->mean, job, p);
    per_column(rstd, job->rstd, job, p);
    repeat(mean, p->columns, job->merged);
    repeat(rstd, p->columns, job->merged);
    for (int flags = job->flags;; flags |= SN_IN_DOUBLE) {
        memset(sum_dy, 0, (size_t)p->width * sizeof *sum_dy);
        memset(sum_dy_x, 0, (size_t)p->width * sizeof *sum_dy_x);
        job->kernels->columns_products(sum_dy, sum_dy_x, job->dy + p->at, job->x + p->at, mean, rstd, p->rows,
                                       p->width, p->stride, p->rest, flags);
        /* Products that are too large for the type may not be for a double. */
        if (flags & SN_IN_DOUBLE || (all_finite(sum_dy, p->width) && all_finite(sum_dy_x, p->width))) break;
    }
    fold(sums_of(job, p), sum_dy, p->columns, job->merged);
    fold(sums_of(job, p) + job->columns, sum_dy_x, p->columns, job->merged);
}

static void gradient_piece(columns_job *job, const piece *p) {
    _Alignas(64) double mean[MAX_ROW], rstd[MAX_ROW], by_dy[MAX_ROW], by_x[MAX_ROW], constant[MAX_ROW];
    const double *weight = job->norm->weight;
    per_column(mean, job->mean, job, p);
    per_column(rstd, job->rstd, job, p);
    repeat(rstd, p->columns, job->merged);
    const sn_norm_factors *f = &job->factors[p->matrix * job->statistics + p->first_column / job->group];
    int64_t in_group = p->first_column % job->group;
    for (int64_t j = 0; j < p->columns; j++) {
        by_dy[j] = f->by_dy;
        by_x[j] = f->by_x;
        constant[j] = f->constant;
        if (++in_group == job->group) {
            in_group = 0;
            f++;
        }
    }
    if (weight != NULL) {
        double of_column[MAX_ROW];
        per_channel(of_column, weight, job, p);
        for (int64_t j = 0; j < p->columns; j++) by_dy[j] *= of_column[j];
    }
    if (job->norm->given) { /* x has no part in it, not even where it is infinite */
        memset(mean, 0, (size_t)p->columns * sizeof *mean);
        repeat(mean, p->columns, job->merged);
        repeat(by_dy, p->columns, job->merged);
        job->kernels->columns_normalize(job->out + p->at, job->dy + p->at, mean, rstd, by_dy, mean, p->rows, p->width,
                                        p->stride, p->rest, job->flags);
        return;
    }
    repeat(mean, p->columns, job->merged);
    repeat(by_dy, p->columns, job->merged);
    repeat(by_x, p->columns, job->merged);
    repeat(constant, p->columns, job->merged);
    job->kernels->columns_gradient(job->out + p->at, job->dy + p->at, job->x + p->at, mean, rstd, by_dy, by_x,
                                   constant, p->rows, p->width, p->stride, p->rest, job->flags);
}

static int wants_products(const columns_job *job) {
    return !job->norm->given || job->dweight != NULL || job->dbias != NULL;
}

static void find_factors(columns_job *job, int64_t matrix) {
    const double *weight = job->norm->weight, *total = job->totals + matrix * 2 * job->columns;
    double per_n = 1.0 / ((double)job->rows * (double)job->group);
    if (wants_products(job)) add_blocks(job, matrix);
    for (int64_t s = 0; s < job->statistics; s++) {
        double sum_g = 0.0, sum_g_d = 0.0;
        if (!job->norm->given)
            for (int64_t j = s * job->group; j < (s + 1) * job->group; j++) {
                double w = weight == NULL ? 1.0 : job->per_channel == 1 ? weight[j] : weight[j / job->per_channel];
                sum_g += w * total[j];
                sum_g_d += w * total[job->columns + j];
            }
        int64_t at = matrix * job->statistics + s;
        job->factors[at] = sn_norm_gradient_factors(job->rstd[at], sum_g, sum_g_d, per_n, job->norm->given);
    }
}

static void backward_matrix_task(void *of, int64_t matrix) {
    columns_job *job = of;
    if (wants_products(job)) for_pieces_of_matrix(job, matrix, products_piece);
    find_factors(job, matrix);
    for_pieces_of_matrix_back(job, matrix, gradient_piece);
}

static void products_task(void *job, int64_t index) {
    piece p = piece_of(job, index);
    if (wants_products(job)) products_piece(job, &p);
}

static void gradient_task(void *job, int64_t index) {
    piece p = piece_of(job, pieces_of(job) - 1 - index);
    gradient_piece(job, &p);
}

static void find_all_factors(void *of) {
    columns_job *job = of;
    for (int64_t matrix = 0; matrix < job->matrices; matrix++) find_factors(job, matrix);
}

static void add_parameters(columns_job *job) {
    int64_t channels = job->columns / job->per_channel;
    if (job->dweight != NULL) memset(job->dweight, 0, (size_t)channels * sizeof(double));
    if (job->dbias != NULL) memset(job->dbias, 0, (size_t)channels * sizeof(double));
    for (int64_t matrix = 0; matrix < job->matrices; matrix++) {
        const double *total = job->totals + matrix * 2 * job->columns;
        const double *rstd = job->rstd + matrix * job->statistics;
        if (job->per_channel == 1 && job->group == 1) {
            for (int64_t j = 0; j < job->columns && job->dbias != NULL; j++) job->dbias[j] += total[j];
            for (int64_t j = 0; j < job->columns && job->dweight != NULL; j++)
                job->dweight[j] += total[job->columns + j] * rstd[j];
            continue;
        }
        for (int64_t j = 0; j < job->columns; j++) {
            if (job->dbias != NULL) job->dbias[j / job->per_channel] += total[j];
            if (job->dweight != NULL)
                job->dweight[j / job->per_channel] += total[job->columns + j] * rstd[j / job->group];
        }
    }
}

sn_status sn_columns_backward(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                              const double *mean, const double *rstd, const sn_norm *norm) {
    columns_job job = {.out = dx, .x = x, .dy = dy, .dweight = dweight, .dbias = dbias};
    job.mean = (double *)mean; /* read only */
    job.rstd = (double *)rstd;
    sn_status status = set_up(&job, norm, 3);
    if (status != SN_OK) return status;
    int threads = sn_norm_threads(norm);
    int64_t pieces = pieces_of(&job);
    if (matrices_keep_busy(&job, threads)) {
        sn_phase phase = {backward_matrix_task, job.matrices, NULL};
        sn_phases_run(&phase, 1, &job, threads);
    } else {
        sn_phase phases[] = {
            {products_task, pieces, find_all_factors},
            {gradient_task, pieces, NULL},
        };
        sn_phases_run(phases, 2, &job, threads);
    }
    if (dweight != NULL || dbias != NULL) add_parameters(&job);
    free(job.sums);
    return SN_OK;
}
