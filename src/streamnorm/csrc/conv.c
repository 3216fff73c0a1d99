/* See conv.h.
 *
 * Design: no image is unfolded into a matrix. In NHWC the values under one row of the kernel are side by side, and
 * those of the next position begin a stride later: the matrix that im2col would write is there already, its rows
 * overlapping, in one segment for each row of the kernel. So a row of positions is a product of such segments and the
 * weight as it lies; the gradient of the weight is the product of the segments, turned, and the gradient of the output;
 * and that of x is again the former, of dy with zeros beside its rows and the weight turned. With strides, every so
 * many positions of x are under the same part of the kernel, and each of these sets is a product of its own, without
 * zeros between dy's positions. Turned down: im2col, which moves kernel_height times kernel_width as much; Winograd's
 * filters, which have larger errors; and blocked layouts of channels, into which every array would have to be brought.
 *
 * Zeros to the left and right of an image are real, in copies of the few rows that are in use; rows above and below are
 * left out. The loops over values are those of conv_typed.h; here is what they are called for, the same for all types.
 */
#include "conv.h"

#include <string.h>

#include "parallel.h"

/* c = start + a b, see conv_typed.h. Pointers to values of the type; rows and strides in values. */
typedef struct {
    char *c;
    const char *start; /* NULL: zeros */
    const char *const *a;
    const char *b;
    int64_t c_row, start_row, offset /* bytes, of each pointer of a */, step, b_row, segments, k, m, columns;
} strip;

typedef struct {
    int64_t width, lanes, columns; /* of a value, in bytes; of a vector and a panel, in values */
    void (*across)(const strip *s);
    void (*along)(const strip *s);
    void (*panel)(void *panel, const void *source, int64_t row, int64_t column, int64_t k, int64_t columns);
    void (*add_rows)(double *sums, const void *x, int64_t rows, int64_t columns);
    void (*add_arrays)(void *to, const void *arrays, int64_t count, int64_t n, int64_t first, int64_t last);
    void (*round)(void *to, const double *values, int64_t n);
} kernels;

#define PRODUCTS "conv_typed.h"
#include "gemm_levels.h"

/* Positions, and those of sums over positions, that are computed together: a panel is read once for all of them. */
#define POSITIONS 128
#define SUMMED_POSITIONS 192
#define MANY_SUMMED_POSITIONS 768 /* where the sums themselves are more than a cache holds */
#define MANY_SUMS ((int64_t)1 << 19) /* bytes */
#define WORTH_A_THREAD 2e6 /* multiply-adds */
#define TASKS_PER_THREAD 4
#define FEW_POSITIONS 128 /* for which a weight is not packed, if it need not be */
#define CHUNK_BYTES ((int64_t)1 << 26) /* that the sums of all chunks may take */
#define MOST_LANES(width) (64 / (width))

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t sn_conv_out_height(const sn_conv *c) {
    return (c->height + c->top + c->bottom - c->kernel_height) / c->stride_height + 1;
}

int64_t sn_conv_out_width(const sn_conv *c) {
    return (c->width + c->left + c->right - c->kernel_width) / c->stride_width + 1;
}

/* ---- rows of images, between zeros where they want some ---- */

/* Rows are copied as they come to be used, and one takes the place of another that no longer is. */
typedef struct {
    const char *source;
    int64_t row_bytes, left_bytes, padded_bytes; /* of a row, before it in its copy, and of the copy */
    char *room;                                  /* NULL: rows are used as they lie */
    int64_t slots, next, next_slot;              /* of the room; the row that was not yet wanted, and its slot */
} rows_of;

static int64_t room_of(const rows_of *r) { return r->padded_bytes > r->row_bytes ? r->slots * r->padded_bytes : 0; }

/* The same with the room for copies, if any are to be made. */
static rows_of with_room(const rows_of *plan, char *room) {
    rows_of r = *plan;
    r.room = room_of(plan) > 0 ? room : NULL;
    if (r.room != NULL) memset(r.room, 0, (size_t)room_of(plan));
    return r;
}

/* Rows are asked for in order, each again only while fewer than `slots` others have been since. */
static const char *row(rows_of *r, int64_t index) {
    if (r->room == NULL) return r->source + index * r->row_bytes;
    if (index < r->next) return r->room + (r->next_slot + r->slots - (r->next - index)) % r->slots * r->padded_bytes;
    char *copy = r->room + r->next_slot * r->padded_bytes;
    memcpy(copy + r->left_bytes, r->source + index * r->row_bytes, (size_t)r->row_bytes);
    r->next = index + 1;
    r->next_slot = (r->next_slot + 1) % r->slots;
    return copy;
}

/* ---- one call ---- */

typedef struct {
    const sn_conv *c;
    const kernels *k;
    int64_t width, out_height, out_width;
    char *y, *dx, *dweight, *dbias;
    const char *x, *dy, *weight, *bias;
    /* Rows of the output, or of dx, in order over all samples: of a task, and of those that are computed together. */
    int64_t tasks, task_rows, together;
    /* The weight in panels, from which as many rows of the inner index as there are follow each other. */
    char *panels;
    int64_t pack_tasks;
    rows_of from; /* of x, or of dy */
    char *task_room;
    int64_t task_bytes, pointers_at /* in the room */;
    /* The gradient of the weight. */
    int64_t chunks, chunk_samples, parts, sum_together, weight_bytes;
    rows_of summed; /* of x */
    char *sums, *bias_sums, *chunk_room;
    int64_t chunk_bytes, chunk_pointers_at, chunk_panel_at, chunk_zeros_at;
} job;

static double multiply_adds(const job *j) {
    const sn_conv *c = j->c;
    return (double)c->samples * (double)(j->out_height * j->out_width) * (double)(c->kernel_height * c->kernel_width) *
           (double)(c->channels * c->filters);
}

static int threads_worth(const job *j) {
    double worth = multiply_adds(j) / WORTH_A_THREAD;
    int threads = j->c->threads < SN_MAX_THREADS ? j->c->threads : SN_MAX_THREADS;
    return threads < worth ? threads : worth < 1 ? 1 : (int)worth;
}

/* The values of every row of packed panels, whose last one ends with a whole vector. */
static int64_t panel_values(int64_t columns, int64_t width) {
    return over(columns, MOST_LANES(width)) * MOST_LANES(width);
}

static void cut_rows(job *j, int64_t rows, int64_t positions) {
    int threads = threads_worth(j);
    j->together = most(1, over(POSITIONS, positions));
    j->tasks = threads == 1 ? least(rows, 1) : least(rows, (int64_t)threads * TASKS_PER_THREAD);
    j->task_rows = j->tasks > 0 ? over(rows, j->tasks) : 0;
    j->tasks = j->tasks > 0 ? over(rows, j->task_rows) : 0;
}

/* Rows of the kernel whose values make a chain. */
static int64_t chained_rows(int64_t k) { return most(1, SN_CONV_CHAIN / k); }

/* ---- forward ---- */

static int packs(const job *j) {
    const sn_conv *c = j->c;
    return c->filters % MOST_LANES(j->width) != 0 || c->samples * j->out_height * j->out_width > FEW_POSITIONS;
}

static int64_t kernel_values(const job *j) { return j->c->kernel_height * j->c->kernel_width * j->c->channels; }

static void plan_forward(job *j) {
    const sn_conv *c = j->c;
    cut_rows(j, c->samples * j->out_height, j->out_width);
    j->from = (rows_of){.row_bytes = c->width * c->channels * j->width};
    j->from.left_bytes = c->left * c->channels * j->width;
    j->from.padded_bytes = (c->left + c->width + c->right) * c->channels * j->width;
    j->from.slots = j->together <= j->out_height
                        ? c->kernel_height + (j->together - 1) * c->stride_height : c->kernel_height * j->together;
    j->pointers_at = aligned(room_of(&j->from));
    j->task_bytes = j->pointers_at + aligned(j->together * c->kernel_height * (int64_t)sizeof(char *));
}

static void pack_forward(void *state, int64_t index) {
    const job *j = state;
    int64_t first = index * j->k->columns, values = kernel_values(j), filters = j->c->filters;
    j->k->panel(j->panels + first * values * j->width, j->weight + first * j->width, filters, 1, values,
                least(filters - first, j->k->columns));
}

/* Rows of the output from `first` on, all panels of them. */
static void forward_rows(const job *j, rows_of *from, const char **pointers, int64_t first, int64_t count) {
    const sn_conv *c = j->c;
    const int64_t k = c->kernel_width * c->channels, chained = chained_rows(k);
    int64_t begin[POSITIONS], end[POSITIONS]; /* rows of the kernel that are over the image */
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = (first + i) / j->out_height, at = (first + i) % j->out_height * c->stride_height - c->top;
        begin[i] = most(0, -at);
        end[i] = least(c->kernel_height, c->height - at);
        for (int64_t t = begin[i]; t < end[i]; t++)
            pointers[i * c->kernel_height + t] = row(from, sample * c->height + at + t);
    }
    for (int64_t column = 0; column < c->filters; column += j->k->columns) {
        const int64_t columns = least(c->filters - column, j->k->columns);
        strip s = {.offset = 0, .step = c->stride_width * c->channels, .k = k, .m = j->out_width, .columns = columns};
        s.c_row = c->filters;
        s.b_row = j->panels != NULL ? over(columns, j->k->lanes) * j->k->lanes : c->filters;
        const char *b = j->panels != NULL ? j->panels + column * kernel_values(j) * j->width
                                          : j->weight + column * j->width;
        for (int64_t i = 0; i < count; i++) {
            int64_t t = begin[i];
            s.c = j->y + ((first + i) * j->out_width * c->filters + column) * j->width;
            s.start = j->bias == NULL ? NULL : j->bias + column * j->width;
            s.start_row = 0;
            do {
                s.segments = most(0, least(chained, end[i] - t));
                s.a = pointers + i * c->kernel_height + t;
                s.b = b + t * k * s.b_row * j->width;
                j->k->across(&s);
                s.start = s.c;
                s.start_row = s.c_row;
            } while ((t += chained) < end[i]);
        }
    }
}

static void run_forward(void *state, int64_t index) {
    const job *j = state;
    char *room = j->task_room + index * j->task_bytes;
    rows_of from = with_room(&j->from, room);
    int64_t end = least((index + 1) * j->task_rows, j->c->samples * j->out_height);
    for (int64_t i = index * j->task_rows, count; i < end; i += count) {
        count = least(end - i, j->together);
        if (j->together <= j->out_height) count = least(count, j->out_height - i % j->out_height);
        forward_rows(j, &from, (const char **)(room + j->pointers_at), i, count);
    }
}

static void forward(job *j, char *workspace) {
    plan_forward(j);
    j->pack_tasks = packs(j) ? over(j->c->filters, j->k->columns) : 0;
    if (j->pack_tasks > 0) {
        j->panels = workspace;
        workspace += aligned(panel_values(j->c->filters, j->width) * kernel_values(j) * j->width);
    }
    j->task_room = workspace;
    j->from.source = j->x;
    sn_phase phases[] = {{pack_forward, j->pack_tasks, NULL}, {run_forward, j->tasks, NULL}};
    sn_phases_run(phases, 2, j, threads_worth(j));
}

/* ---- backward: dx ----
 *
 * Position i of x, counted from the first zero, is under rows k of the kernel with k % stride = i % stride, the `phase`
 * of both; row k of them then belongs to the output's position (i - k) / stride. So along its phase, x is what dy gives
 * under the rows of the phase in reverse, at every position. The same goes for columns.
 */

/* Rows of a kernel of so many that are of a phase, and that are of phases before it. */
static int64_t of_phase(int64_t size, int64_t stride, int64_t phase) {
    return phase < size ? (size - phase + stride - 1) / stride : 0;
}

static int64_t before_phase(int64_t size, int64_t stride, int64_t phase) {
    return size / stride * phase + least(size % stride, phase);
}

static void plan_dx(job *j) {
    const sn_conv *c = j->c;
    const int64_t position = c->filters * j->width;
    cut_rows(j, c->samples * c->height, c->width);
    int64_t kernel_rows = of_phase(c->kernel_height, c->stride_height, 0);
    int64_t right = (c->width - 1 + c->left) / c->stride_width + 1 - j->out_width;
    j->from = (rows_of){.row_bytes = j->out_width * position};
    j->from.left_bytes = (of_phase(c->kernel_width, c->stride_width, 0) - 1) * position;
    j->from.padded_bytes = j->from.left_bytes + j->from.row_bytes + most(0, right) * position;
    j->from.slots = j->together <= c->height ? kernel_rows + j->together - 1 : kernel_rows * j->together;
    j->pointers_at = aligned(room_of(&j->from));
    j->task_bytes = j->pointers_at + aligned(j->together * kernel_rows * (int64_t)sizeof(char *));
}

/* Where the part of the kernel for phases of rows and columns begins among the packed ones, in rows of the panel. */
static int64_t part_at(const sn_conv *c, int64_t phase, int64_t side) {
    int64_t before = before_phase(c->kernel_height, c->stride_height, phase) * c->kernel_width;
    int64_t rows = of_phase(c->kernel_height, c->stride_height, phase);
    return (before + rows * before_phase(c->kernel_width, c->stride_width, side)) * c->filters;
}

static void pack_dx(void *state, int64_t index) {
    const job *j = state;
    const sn_conv *c = j->c;
    const int64_t first = index * j->k->columns, columns = least(c->channels - first, j->k->columns);
    const int64_t padded = over(columns, j->k->lanes) * j->k->lanes;
    for (int64_t phase = 0; phase < least(c->stride_height, c->kernel_height); phase++)
        for (int64_t side = 0; side < least(c->stride_width, c->kernel_width); side++) {
            int64_t rows = of_phase(c->kernel_height, c->stride_height, phase);
            int64_t wide = of_phase(c->kernel_width, c->stride_width, side);
            int64_t at = part_at(c, phase, side) * panel_values(c->channels, j->width);
            at += first * rows * wide * c->filters;
            for (int64_t t = rows - 1; t >= 0; t--)
                for (int64_t u = wide - 1; u >= 0; u--, at += padded * c->filters) {
                    int64_t place = (phase + t * c->stride_height) * c->kernel_width + side + u * c->stride_width;
                    j->k->panel(j->panels + at * j->width,
                                j->weight + (place * c->channels + first) * c->filters * j->width, 1, c->filters,
                                c->filters, columns);
                }
        }
}

/* Rows of dx from `first` on. */
static void dx_rows(const job *j, rows_of *from, const char **pointers, int64_t first, int64_t count) {
    const sn_conv *c = j->c;
    const int64_t most_rows = of_phase(c->kernel_height, c->stride_height, 0);
    int64_t begin[POSITIONS], end[POSITIONS]; /* rows of the phase, in reverse, whose output is there */
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = (first + i) / c->height, at = (first + i) % c->height + c->top;
        int64_t rows = of_phase(c->kernel_height, c->stride_height, at % c->stride_height);
        int64_t top = at / c->stride_height - rows + 1;
        begin[i] = most(0, -top);
        end[i] = least(rows, j->out_height - top);
        for (int64_t t = begin[i]; t < end[i]; t++)
            pointers[i * most_rows + t] = row(from, sample * j->out_height + top + t);
    }
    for (int64_t column = 0; column < c->channels; column += j->k->columns)
        for (int64_t side = 0; side < c->stride_width; side++) {
            /* The first position of x that is of the phase, and that of dy that its values begin with. */
            const int64_t x0 = ((side - c->left) % c->stride_width + c->stride_width) % c->stride_width;
            const int64_t wide = of_phase(c->kernel_width, c->stride_width, side);
            const int64_t dy0 = (x0 + c->left) / c->stride_width - wide + of_phase(c->kernel_width, c->stride_width, 0);
            if (x0 >= c->width) continue;
            strip s = {.offset = dy0 * c->filters * j->width, .step = c->filters, .k = wide * c->filters};
            s.m = over(c->width - x0, c->stride_width);
            s.columns = least(c->channels - column, j->k->columns);
            s.c_row = s.start_row = c->stride_width * c->channels;
            s.b_row = over(s.columns, j->k->lanes) * j->k->lanes;
            const int64_t chained = s.k > 0 ? chained_rows(s.k) : 1;
            for (int64_t i = 0; i < count; i++) {
                int64_t t = begin[i], phase = ((first + i) % c->height + c->top) % c->stride_height;
                int64_t rows = of_phase(c->kernel_height, c->stride_height, phase);
                int64_t at = part_at(c, phase, side) * panel_values(c->channels, j->width) + column * rows * s.k;
                s.c = j->dx + (((first + i) * c->width + x0) * c->channels + column) * j->width;
                s.start = NULL;
                do {
                    s.segments = wide > 0 ? most(0, least(chained, end[i] - t)) : 0;
                    s.a = pointers + i * most_rows + t;
                    s.b = j->panels + (at + t * s.k * s.b_row) * j->width;
                    j->k->across(&s);
                    s.start = s.c;
                } while ((t += chained) < end[i]);
            }
        }
}

static void run_dx(const job *j, int64_t index) {
    char *room = j->task_room + index * j->task_bytes;
    rows_of from = with_room(&j->from, room);
    int64_t height = j->c->height, end = least((index + 1) * j->task_rows, j->c->samples * height);
    for (int64_t i = index * j->task_rows, count; i < end; i += count) {
        count = least(end - i, j->together);
        if (j->together <= height) count = least(count, height - i % height);
        dx_rows(j, &from, (const char **)(room + j->pointers_at), i, count);
    }
}

/* ---- backward: dweight and dbias ---- */

static void plan_sums(job *j) {
    const sn_conv *c = j->c;
    j->weight_bytes = kernel_values(j) * c->filters * j->width;
    const int many = j->weight_bytes > MANY_SUMS;
    const int64_t positions = many ? MANY_SUMMED_POSITIONS : SUMMED_POSITIONS;
    const int64_t image = j->out_height * j->out_width;
    j->chunks = least(SN_CONV_CHUNKS, CHUNK_BYTES / j->weight_bytes);
    if (many) j->chunks = least(j->chunks, c->samples * image / positions);
    j->chunks = most(1, least(c->samples, j->chunks));
    j->chunk_samples = over(c->samples, j->chunks);
    j->chunks = c->samples > 0 ? over(c->samples, j->chunk_samples) : 1;
    /* Where chunks are few, rows of the kernel are shared by threads, too. */
    j->parts = j->chunks < SN_CONV_CHUNKS / 2 ? c->kernel_height : 1;
    j->sum_together = most(1, least(positions / j->out_width, j->chunk_samples * j->out_height));
    j->summed = (rows_of){.row_bytes = c->width * c->channels * j->width};
    j->summed.left_bytes = c->left * c->channels * j->width;
    j->summed.padded_bytes = (c->left + c->width + c->right) * c->channels * j->width;
    j->summed.slots = j->sum_together <= j->out_height
                          ? c->kernel_height + (j->sum_together - 1) * c->stride_height
                          : c->kernel_height * j->sum_together;
    j->chunk_zeros_at = aligned(room_of(&j->summed));
    j->chunk_pointers_at = j->chunk_zeros_at + aligned(j->summed.padded_bytes);
    j->chunk_panel_at = j->chunk_pointers_at + aligned(c->kernel_height * j->sum_together * (int64_t)sizeof(char *));
    j->chunk_bytes = j->chunk_panel_at +
                     aligned(j->sum_together * j->out_width * 2 * MOST_LANES(j->width) * j->width + 64);
}

/* Adds what rows of dy from `first` on give; `sums` holds the chunk's sums. */
static void sum_rows(const job *j, rows_of *from, char *room, char *sums, int64_t first, int64_t count,
                     int64_t kernel_0, int64_t kernel_1) {
    const sn_conv *c = j->c;
    const char **pointers = (const char **)(room + j->chunk_pointers_at);
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = (first + i) / j->out_height, at = (first + i) % j->out_height * c->stride_height - c->top;
        for (int64_t t = kernel_0; t < kernel_1; t++)
            pointers[t * j->sum_together + i] = at + t >= 0 && at + t < c->height
                                                    ? row(from, sample * c->height + at + t) : room + j->chunk_zeros_at;
    }
    const int64_t values = c->kernel_width * c->channels;
    const char *dy = j->dy + first * j->out_width * c->filters * j->width;
    for (int64_t column = 0; column < c->filters; column += j->k->columns) {
        strip s = {.step = c->stride_width * c->channels, .segments = count, .k = j->out_width, .m = values};
        s.columns = least(c->filters - column, j->k->columns);
        s.c_row = s.start_row = s.b_row = c->filters;
        s.b = dy + column * j->width;
        if (s.columns % j->k->lanes != 0) {
            j->k->panel(room + j->chunk_panel_at, s.b, c->filters, 1, count * j->out_width, s.columns);
            s.b = room + j->chunk_panel_at;
            s.b_row = over(s.columns, j->k->lanes) * j->k->lanes;
        }
        for (int64_t t = kernel_0; t < kernel_1; t++) {
            s.a = pointers + t * j->sum_together;
            s.c = sums + (t * values * c->filters + column) * j->width;
            s.start = s.c;
            j->k->along(&s);
        }
    }
}

static void run_sums(const job *j, int64_t index) {
    const sn_conv *c = j->c;
    const int64_t chunk = index / j->parts, part = index % j->parts, rows = c->kernel_height / j->parts;
    char *room = j->chunk_room + index * j->chunk_bytes, *sums = j->sums + chunk * j->weight_bytes;
    double *bias_sums = (double *)j->bias_sums + chunk * c->filters;
    rows_of from = with_room(&j->summed, room);
    memset(room + j->chunk_zeros_at, 0, (size_t)j->summed.padded_bytes);
    memset(sums + part * rows * j->weight_bytes / c->kernel_height, 0,
           (size_t)(rows * j->weight_bytes / c->kernel_height));
    if (part == 0 && j->dbias != NULL) memset(bias_sums, 0, (size_t)c->filters * sizeof *bias_sums);
    int64_t end = least((chunk + 1) * j->chunk_samples, c->samples) * j->out_height;
    for (int64_t i = chunk * j->chunk_samples * j->out_height, count; i < end; i += count) {
        count = least(end - i, j->sum_together);
        if (j->sum_together <= j->out_height) count = least(count, j->out_height - i % j->out_height);
        sum_rows(j, &from, room, sums, i, count, part * rows, (part + 1) * rows);
        if (part == 0 && j->dbias != NULL)
            j->k->add_rows(bias_sums, j->dy + i * j->out_width * c->filters * j->width, count * j->out_width,
                           c->filters);
    }
}

static void run_backward(void *state, int64_t index) {
    const job *j = state;
    if (index < j->chunks * j->parts)
        run_sums(j, index);
    else
        run_dx(j, index - j->chunks * j->parts);
}

#define ADDED_VALUES 4096 /* at a time */

static void add_chunks(void *state, int64_t index) {
    const job *j = state;
    const int64_t n = kernel_values(j) * j->c->filters;
    j->k->add_arrays(j->dweight, j->sums, j->chunks, n, index * ADDED_VALUES, least(n, (index + 1) * ADDED_VALUES));
}

static void add_biases(void *state) {
    const job *j = state;
    double *sums = (double *)j->bias_sums;
    if (j->dbias == NULL) return;
    for (int64_t chunk = 1; chunk < j->chunks; chunk++)
        for (int64_t o = 0; o < j->c->filters; o++) sums[o] += sums[chunk * j->c->filters + o];
    j->k->round(j->dbias, sums, j->c->filters);
}

static void backward(job *j, char *workspace) {
    const sn_conv *c = j->c;
    plan_sums(j);
    j->sums = j->dweight;
    if (j->chunks > 1) {
        j->sums = workspace;
        workspace += aligned(j->chunks * j->weight_bytes);
    }
    j->bias_sums = workspace;
    workspace += aligned(j->chunks * c->filters * (int64_t)sizeof(double));
    j->chunk_room = workspace;
    workspace += j->chunks * j->parts * j->chunk_bytes;
    j->summed.source = j->x;
    if (j->dx != NULL) {
        plan_dx(j);
        j->panels = workspace;
        workspace += aligned((panel_values(c->channels, j->width) * c->kernel_height * c->kernel_width * c->filters +
                              MOST_LANES(j->width)) * j->width);
        j->task_room = workspace;
        j->pack_tasks = over(c->channels, j->k->columns);
        j->from.source = j->dy;
    }
    int64_t add_tasks = j->chunks > 1 ? over(kernel_values(j) * c->filters, ADDED_VALUES) : 0;
    sn_phase phases[] = {{pack_dx, j->pack_tasks, NULL},
                         {run_backward, j->chunks * j->parts + (j->dx != NULL ? j->tasks : 0), NULL},
                         {add_chunks, add_tasks, NULL}};
    sn_phases_run(phases, 3, j, threads_worth(j));
    add_biases(j);
}

/* ---- what is called ---- */

static job job_of(const sn_conv *c, int64_t width, const kernels *k) {
    return (job){.c = c, .k = k, .width = width, .out_height = sn_conv_out_height(c),
                 .out_width = sn_conv_out_width(c)};
}

size_t sn_conv_workspace(const sn_conv *c, size_t width, int backward) {
    job j = job_of(c, (int64_t)width, NULL);
    int64_t bytes = 64;
    if (!backward) {
        plan_forward(&j);
        if (packs(&j)) bytes += aligned(panel_values(c->filters, j.width) * kernel_values(&j) * j.width);
        return (size_t)(bytes + j.tasks * j.task_bytes);
    }
    plan_sums(&j);
    plan_dx(&j);
    bytes += (j.chunks > 1 ? aligned(j.chunks * j.weight_bytes) : 0) +
             aligned(j.chunks * c->filters * (int64_t)sizeof(double)) + j.chunks * j.parts * j.chunk_bytes;
    bytes += aligned((panel_values(c->channels, j.width) * c->kernel_height * c->kernel_width * c->filters +
                      MOST_LANES(j.width)) * j.width);
    return (size_t)(bytes + j.tasks * j.task_bytes);
}

#if defined(SN_GEMM_X86)
#define KERNELS(type, level)                                   \
    ((level) == SN_GEMM_AVX512 ? &avx512_##type##_kernels      \
     : (level) == SN_GEMM_AVX2 ? &avx2_##type##_kernels        \
                               : &portable_##type##_kernels)
#else
#define KERNELS(type, level) ((void)(level), &portable_##type##_kernels)
#endif

#define TYPED(T, type)                                                                                             \
    void sn_conv_forward_at_level_##type(T *y, const T *x, const T *weight, const T *bias, const sn_conv *c,       \
                                         void *workspace, sn_gemm_level level) {                                   \
        job j = job_of(c, sizeof(T), KERNELS(type, level));                                                        \
        j.y = (char *)y;                                                                                           \
        j.x = (const char *)x;                                                                                     \
        j.weight = (const char *)weight;                                                                           \
        j.bias = (const char *)bias;                                                                               \
        forward(&j, workspace);                                                                                    \
    }                                                                                                              \
    void sn_conv_backward_at_level_##type(T *dx, T *dweight, T *dbias, const T *dy, const T *x, const T *weight,   \
                                          const sn_conv *c, void *workspace, sn_gemm_level level) {                \
        job j = job_of(c, sizeof(T), KERNELS(type, level));                                                        \
        j.dx = (char *)dx;                                                                                         \
        j.dweight = (char *)dweight;                                                                               \
        j.dbias = (char *)dbias;                                                                                   \
        j.dy = (const char *)dy;                                                                                   \
        j.x = (const char *)x;                                                                                     \
        j.weight = (const char *)weight;                                                                           \
        backward(&j, workspace);                                                                                   \
    }                                                                                                              \
    void sn_conv_forward_##type(T *y, const T *x, const T *weight, const T *bias, const sn_conv *c,                \
                                void *workspace) {                                                                 \
        sn_conv_forward_at_level_##type(y, x, weight, bias, c, workspace, sn_gemm_best_level());                   \
    }                                                                                                              \
    void sn_conv_backward_##type(T *dx, T *dweight, T *dbias, const T *dy, const T *x, const T *weight,            \
                                 const sn_conv *c, void *workspace) {                                              \
        sn_conv_backward_at_level_##type(dx, dweight, dbias, dy, x, weight, c, workspace, sn_gemm_best_level());   \
    }

TYPED(float, f32)
TYPED(double, f64)
