/* See lstm.h. The loops over the values of one step are in lstm_typed.h, among the kernels of a network.
 *
 * Design: what is kept is ordered by steps, and a row of it has the step's x beside h of the step before: so one
 * product makes all of a step's gates, one makes each weight's gradient, and nothing is packed within the loop over
 * steps, for which the weights are transposed once. Turned down: the products of x for all steps ahead, which write the
 * gates to memory to read them again, where a step's gates stay in the cache.
 *
 * Design: threads share samples, and each goes through all steps by itself. Turned down: threads within a step, which
 * would wait for each other at every one of them.
 *
 * Design: weights lie in panels of a few columns, one after the other, as the products read them: as rows of a large
 * matrix, their columns are so far apart that they drive each other out of the cache. The products of a step are made
 * panel by panel, each of them small enough for gemm.c to pack nothing.
 */
#include "lstm.h"

#include <string.h>

#include "gemm.h"
#include "network_kernels.h"
#include "parallel.h"

#define MOST_ROWS 64   /* samples that go through the steps together: what they need of a step stays in the cache */
#define ROWS_OF_PART 8 /* a part's rows are multiples of it, as tiles of products are */
#define PANEL 64       /* columns */
#define PANEL_OF_ONE 128 /* for a single sample: gemm.c has a quick way for one row that is as wide */
#define WORTH_A_THREAD 2e6 /* multiply-adds */

/* Where arrays of all steps begin, in bytes; in evaluation they hold one step of a part's rows, again and again. */
typedef struct {
    size_t gates, cell, tanh_cell, bytes; /* inputs begin at 0 */
} layout;

typedef struct {
    const sn_lstm *lstm;
    const sn_network_kernels *kernels;
    int64_t part_rows;
    layout at;
    char *y, *dx, *kept;
    const char *x, *dy, *bias;
    const char *weight_ih, *weight_hh; /* backward: in panels */
    char *weights;                     /* both, forward transposed, in panels */
    char *zeros;                       /* MOST_ROWS x hidden */
    char *room;                        /* of the first part */
    size_t part_bytes, product_bytes;
} job;

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t panel_of(const sn_lstm *s) { return s->samples == 1 ? PANEL_OF_ONE : PANEL; }

static layout layout_of(const sn_lstm *s, int64_t rows, size_t width) {
    layout at;
    at.gates = whole_lines((size_t)(rows * (s->in + s->hidden)) * width);
    at.cell = at.gates + whole_lines((size_t)(rows * 4 * s->hidden) * width);
    at.tanh_cell = at.cell + whole_lines((size_t)(rows * s->hidden) * width);
    at.bytes = at.tanh_cell + whole_lines((size_t)(rows * s->hidden) * width);
    return at;
}

/* Samples of a part: some for every thread that is worth it. */
static int64_t part_rows_of(const sn_lstm *s) {
    double work = 4.0 * (double)s->samples * (double)s->steps * (double)s->hidden * (double)(s->in + s->hidden);
    int64_t parts = least(s->threads, SN_MAX_THREADS);
    if (work / WORTH_A_THREAD < (double)parts) parts = (int64_t)(work / WORTH_A_THREAD);
    if (parts < 1) parts = 1;
    int64_t rows = (s->samples + parts - 1) / parts;
    rows = (rows + ROWS_OF_PART - 1) / ROWS_OF_PART * ROWS_OF_PART;
    return rows < 1 ? 1 : rows;
}

static int64_t parts_of(const sn_lstm *s) {
    int64_t rows = part_rows_of(s);
    return (s->samples + rows - 1) / rows;
}

/* The products of a step, from panels: its gates from x and h, and back from the gates' gradients to h, and to x. */
static sn_gemm gates_product(const sn_lstm *s, int64_t rows) {
    int64_t k = s->in + s->hidden;
    return (sn_gemm){.m = rows, .n = 4 * s->hidden, .k = k, .a_row = k, .a_col = 1, .b_col = 1,
                     .c_row = 4 * s->hidden, .threads = 1};
}

static sn_gemm back_product(const sn_lstm *s, int64_t rows, int64_t columns) {
    return (sn_gemm){.m = rows, .n = columns, .k = 4 * s->hidden, .a_row = 4 * s->hidden, .a_col = 1, .b_col = 1,
                     .c_row = columns, .threads = 1};
}

/* A weight's gradient: the sum over rows of a gate's gradient times what the weight was multiplied by. */
static sn_gemm weight_product(const sn_lstm *s, int64_t rows, int64_t columns) {
    return (sn_gemm){.m = 4 * s->hidden, .n = columns, .k = rows, .a_row = 1, .a_col = 4 * s->hidden,
                     .b_row = s->in + s->hidden, .b_col = 1, .c_row = columns, .threads = s->threads};
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* What the product of one panel wants: none but of very long rows. */
static size_t product_bytes(const sn_lstm *s, size_t width, int backward) {
    sn_gemm g = backward ? back_product(s, MOST_ROWS, PANEL) : gates_product(s, MOST_ROWS);
    g.n = PANEL; /* a single sample wants no room */
    return whole_lines(sn_gemm_workspace(&g, width));
}

/* Of a part: gradients of h and c, or one step in evaluation; and room for products. */
static size_t part_bytes(const sn_lstm *s, size_t width, int backward) {
    int64_t rows = least(part_rows_of(s), MOST_ROWS);
    size_t own = backward ? 2 * whole_lines((size_t)(rows * s->hidden) * width) : layout_of(s, rows, width).bytes;
    return own + product_bytes(s, width, backward);
}

static size_t weights_bytes(const sn_lstm *s, size_t width) {
    return whole_lines((size_t)(s->in * 4 * s->hidden) * width) +
           whole_lines((size_t)(s->hidden * 4 * s->hidden) * width);
}

static size_t zeros_bytes(const sn_lstm *s, size_t width) {
    return whole_lines((size_t)(MOST_ROWS * s->hidden) * width);
}

size_t sn_lstm_kept(const sn_lstm *s, size_t width) { return layout_of(s, s->samples * s->steps, width).bytes; }

size_t sn_lstm_workspace(const sn_lstm *s, size_t width, int backward) {
    size_t parts = weights_bytes(s, width) + zeros_bytes(s, width) +
                   (size_t)parts_of(s) * part_bytes(s, width, backward);
    if (!backward) return parts;
    sn_gemm of_h = weight_product(s, (s->steps - 1) * s->samples, s->hidden);
    sn_gemm of_x = weight_product(s, s->steps * s->samples, s->in);
    return larger(parts, larger(sn_gemm_workspace(&of_h, width), sn_gemm_workspace(&of_x, width)));
}

static void multiply(const job *j, void *c, const void *a, const void *b, const sn_gemm *g, void *room) {
    if (j->kernels->width == sizeof(float))
        sn_gemm_f32(c, a, b, g, room);
    else
        sn_gemm_f64(c, a, b, g, room);
}

/* The same with b in panels of `rows` rows, of which the first g->k are wanted. */
static void multiply_panels(
    const job *j, char *c, const char *a, const char *b, int64_t rows, const sn_gemm *g, void *room) {
    const size_t width = (size_t)j->kernels->width;
    const int64_t panel = panel_of(j->lstm);
    sn_gemm part = *g;
    for (int64_t column = 0; column < g->n; column += panel) {
        const size_t at = (size_t)column * width;
        part.n = part.b_row = least(g->n - column, panel);
        if (g->bias != NULL) part.bias = (const char *)g->bias + at;
        multiply(j, c + at, a, b + at * (size_t)rows, &part, room);
    }
}

static void copy_rows(char *to, size_t to_row, const char *from, size_t from_row, int64_t rows, size_t bytes) {
    for (int64_t i = 0; i < rows; i++) memcpy(to + (size_t)i * to_row, from + (size_t)i * from_row, bytes);
}

/* Samples first to first + rows through all steps. */
static void forward_rows(const job *j, int64_t first, int64_t rows, char *room) {
    const sn_lstm *s = j->lstm;
    const int64_t H = s->hidden, T = s->steps, K = s->in + H;
    const size_t width = (size_t)j->kernels->width;
    const size_t x_row = (size_t)s->in * width, h_row = (size_t)H * width, row = x_row + h_row;
    /* What is kept has the rows of all samples at each step. */
    const size_t step = j->kept != NULL ? (size_t)s->samples : 0, begin = j->kept != NULL ? (size_t)first : 0;
    char *arrays = j->kept != NULL ? j->kept : room;
    char *inputs = arrays + begin * row, *gates = arrays + j->at.gates + begin * 4 * h_row;
    char *cell = arrays + j->at.cell + begin * h_row, *tanh_cell = arrays + j->at.tanh_cell + begin * h_row;
    void *product_room = room + (j->part_bytes - j->product_bytes);
    const char *before = j->zeros;
    sn_gemm g = gates_product(s, rows);
    g.bias = j->bias;
    for (int64_t t = 0; t < T; t++) {
        char *next = inputs + step * row, *h = next + x_row, *y = NULL;
        int64_t next_row = K, y_row = s->sequences ? T * H : H;
        if (s->sequences || t == T - 1)
            y = j->y + (size_t)first * (size_t)y_row * width + (s->sequences ? (size_t)t * h_row : 0);
        if (t == T - 1) h = y, next_row = y_row, y = NULL;
        copy_rows(inputs, row, j->x + ((size_t)first * (size_t)T + (size_t)t) * x_row, (size_t)T * x_row, rows, x_row);
        g.k = t > 0 ? K : s->in; /* h before the first step is zero */
        multiply_panels(j, gates, inputs, j->weights, K, &g, product_room);
        j->kernels->lstm_cell(gates, cell, tanh_cell, h, before, rows, H, next_row);
        if (y != NULL) copy_rows(y, (size_t)y_row * width, h, row, rows, h_row);
        before = cell;
        inputs = next;
        gates += step * 4 * h_row;
        cell += step * h_row;
        tanh_cell += step * h_row;
    }
}

/* Gradients of samples first to first + rows: of the gates, in their place, and of x. */
static void backward_rows(const job *j, int64_t first, int64_t rows, char *room) {
    const sn_lstm *s = j->lstm;
    const int64_t H = s->hidden, T = s->steps;
    const size_t width = (size_t)j->kernels->width, h_row = (size_t)H * width, x_row = (size_t)s->in * width;
    char *dh = room, *dc = room + whole_lines((size_t)rows * h_row);
    void *product_room = room + (j->part_bytes - j->product_bytes);
    sn_gemm of_h = back_product(s, rows, H), of_x = back_product(s, rows, s->in);
    of_h.add = s->sequences;
    of_x.c_row = T * s->in;
    memset(dc, 0, (size_t)rows * h_row);
    for (int64_t t = T - 1; t >= 0; t--) {
        const size_t at = (size_t)(t * s->samples + first);
        char *gates = j->kept + j->at.gates + at * 4 * h_row;
        const char *cell = j->kept + j->at.cell + at * h_row, *tanh_cell = j->kept + j->at.tanh_cell + at * h_row;
        const char *before = t > 0 ? cell - (size_t)s->samples * h_row : j->zeros;
        if (s->sequences)
            copy_rows(dh, h_row, j->dy + (size_t)(first * T + t) * h_row, (size_t)T * h_row, rows, h_row);
        else if (t == T - 1)
            copy_rows(dh, h_row, j->dy + (size_t)first * h_row, h_row, rows, h_row);
        if (t < T - 1)
            multiply_panels(j, dh, gates + (size_t)s->samples * 4 * h_row, j->weight_hh, 4 * H, &of_h, product_room);
        j->kernels->lstm_cell_backward(gates, dc, dh, tanh_cell, before, rows, H);
        if (j->dx != NULL)
            multiply_panels(j, j->dx + (size_t)(first * T + t) * x_row, gates, j->weight_ih, 4 * H, &of_x,
                            product_room);
    }
}

static void run_part(const job *j, int64_t index, void (*run)(const job *, int64_t, int64_t, char *)) {
    int64_t first = index * j->part_rows, end = least(first + j->part_rows, j->lstm->samples);
    for (; first < end; first += MOST_ROWS)
        run(j, first, least(end - first, MOST_ROWS), j->room + (size_t)index * j->part_bytes);
}

static void forward_part(void *state, int64_t index) { run_part(state, index, forward_rows); }

static void backward_part(void *state, int64_t index) { run_part(state, index, backward_rows); }

/* Both weights, transposed and one above the other. */
static void turn_weights(job *j) {
    const size_t width = (size_t)j->kernels->width;
    const int64_t in = j->lstm->in, H = j->lstm->hidden, panel = panel_of(j->lstm);
    char *to = j->weights;
    for (int64_t row = 0; row < 4 * H; row += panel) {
        int64_t columns = least(4 * H - row, panel);
        j->kernels->transpose(to, j->weight_ih + (size_t)(row * in) * width, columns, in);
        to += (size_t)(columns * in) * width;
        j->kernels->transpose(to, j->weight_hh + (size_t)(row * H) * width, columns, H);
        to += (size_t)(columns * H) * width;
    }
}

/* A weight in panels, which it is by itself if it is narrow. */
static const char *panels_of(const job *j, char *to, const char *weight, int64_t columns) {
    const size_t width = (size_t)j->kernels->width;
    const int64_t rows = 4 * j->lstm->hidden, panel = panel_of(j->lstm);
    if (columns <= panel) return weight;
    for (int64_t column = 0; column < columns; column += panel) {
        const size_t bytes = (size_t)least(columns - column, panel) * width, at = (size_t)column * width;
        copy_rows(to + at * (size_t)rows, bytes, weight + at, (size_t)columns * width, rows, bytes);
    }
    return to;
}

static void forward(job *j, void *workspace) {
    const sn_lstm *s = j->lstm;
    const size_t width = (size_t)j->kernels->width;
    j->part_rows = part_rows_of(s);
    j->at = layout_of(s, j->kept != NULL ? s->samples * s->steps : least(j->part_rows, MOST_ROWS), width);
    j->weights = workspace;
    j->zeros = j->weights + weights_bytes(s, width);
    j->room = j->zeros + zeros_bytes(s, width);
    j->product_bytes = product_bytes(s, width, 0);
    j->part_bytes = part_bytes(s, width, 0);
    turn_weights(j);
    memset(j->zeros, 0, zeros_bytes(s, width));
    sn_phase phase = {forward_part, parts_of(s), NULL};
    sn_phases_run(&phase, 1, j, s->threads);
}

static void backward(job *j, void *dweight_ih, void *dweight_hh, void *dbias, void *workspace) {
    const sn_lstm *s = j->lstm;
    const size_t width = (size_t)j->kernels->width;
    const int64_t all = s->samples * s->steps;
    j->part_rows = part_rows_of(s);
    j->at = layout_of(s, all, width);
    j->weights = workspace;
    j->zeros = j->weights + weights_bytes(s, width);
    j->room = j->zeros + zeros_bytes(s, width);
    j->weight_hh = panels_of(j, j->weights, j->weight_hh, s->hidden);
    char *behind = j->weights + whole_lines((size_t)(s->hidden * 4 * s->hidden) * width);
    if (j->dx != NULL) j->weight_ih = panels_of(j, behind, j->weight_ih, s->in);
    j->product_bytes = product_bytes(s, width, 1);
    j->part_bytes = part_bytes(s, width, 1);
    memset(j->zeros, 0, zeros_bytes(s, width));
    sn_phase phase = {backward_part, parts_of(s), NULL};
    sn_phases_run(&phase, 1, j, s->threads);
    const char *gates = j->kept + j->at.gates;
    const size_t inputs_row = (size_t)(s->in + s->hidden) * width, gates_row = 4 * (size_t)s->hidden * width;
    sn_gemm of_x = weight_product(s, all, s->in), of_h = weight_product(s, all - s->samples, s->hidden);
    multiply(j, dweight_ih, gates, j->kept, &of_x, workspace);
    multiply(j, dweight_hh, gates + (size_t)s->samples * gates_row,
             j->kept + (size_t)s->samples * inputs_row + (size_t)s->in * width, &of_h, workspace);
    j->kernels->column_sums(dbias, gates, all, 4 * s->hidden);
}

#define TYPED(T, type, values)                                                                                     \
    void sn_lstm_forward_##type(T *y, void *kept, const T *x, const T *weight_ih, const T *weight_hh,              \
                                const T *bias, const sn_lstm *lstm, void *workspace) {                             \
        job j = {.lstm = lstm, .kernels = &values, .y = (char *)y, .kept = kept, .x = (const char *)x,             \
                 .weight_ih = (const char *)weight_ih, .weight_hh = (const char *)weight_hh,                       \
                 .bias = (const char *)bias};                                                                      \
        forward(&j, workspace);                                                                                    \
    }                                                                                                              \
    void sn_lstm_backward_##type(T *dx, T *dweight_ih, T *dweight_hh, T *dbias, const T *dy, void *kept,           \
                                 const T *x, const T *weight_ih, const T *weight_hh, const sn_lstm *lstm,          \
                                 void *workspace) {                                                                \
        job j = {.lstm = lstm, .kernels = &values, .dx = (char *)dx, .kept = kept, .dy = (const char *)dy,         \
                 .x = (const char *)x, .weight_ih = (const char *)weight_ih,                                       \
                 .weight_hh = (const char *)weight_hh};                                                            \
        backward(&j, dweight_ih, dweight_hh, dbias, workspace);                                                    \
    }

TYPED(float, f32, sn_network_float32)
TYPED(double, f64, sn_network_float64)
