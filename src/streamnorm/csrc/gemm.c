/* See gemm.h. The loops are those of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM
 * TOMS 34(3), 2008), around one small kernel, as in Van Zee and van de Geijn, "BLIS: a framework for rapidly
 * instantiating BLAS functionality" (ACM TOMS 41(3), 2015).
 *
 * Design: vectors are the compiler's own (they need no copy for each instruction set), but the multiply-add is written
 * as an intrinsic: contraction is off in this library, and the product is the one place where fusing doubles the speed.
 * The code for each instruction set is made by including one file with other widths, and chosen at each call from what
 * the processor says, which costs a load. Turned down: target_clones, as the best tile differs between instruction
 * sets, and a BLAS, which is another library to carry, with threads of its own.
 *
 * Design: threads share c by rows and columns, and each packs what it needs. Packing twice costs some percent where
 * threads are few; sharing the packed blocks would cost a barrier for each of them.
 */
#include "gemm.h"

#include "parallel.h"

#define PRODUCTS "gemm_typed.h"
#include "gemm_levels.h"

typedef void product(void *c, const void *a, const void *b, const sn_gemm *g, void *scratch);

/* Multiply-adds below which nothing is packed ahead, and those that are worth a thread. */
#define SMALL_PRODUCT (200.0 * 200 * 200)
#define WORTH_A_THREAD 2e6
/* What a part's rows and columns are multiples of: the largest tile's. */
#define ROWS_OF_PART 14
#define COLUMNS_OF_PART 32
/* Values of one thread's packed blocks, the most that any instruction set has. */
#define SCRATCH_F32 ((252 + 1024) * SN_GEMM_BLOCK + 256)
#define SCRATCH_F64 ((126 + 512) * SN_GEMM_BLOCK + 256)

typedef struct {
    const sn_gemm *g;
    product *run;
    char *c;
    const char *a, *b;
    char *scratch; /* NULL: no product is packed ahead */
    size_t width, scratch_bytes;
    int64_t rows, columns; /* of a part */
    int64_t parts_across;
} job;

static double multiply_adds(const sn_gemm *g) { return (double)g->m * (double)g->n * (double)g->k; }

static int is_small(const sn_gemm *g) { return g->m < 32 || g->n < 16 || multiply_adds(g) < SMALL_PRODUCT; }

static size_t scratch_bytes(size_t width) { return (width == 4 ? SCRATCH_F32 : SCRATCH_F64) * width; }

static int threads_worth(const sn_gemm *g) {
    double most = multiply_adds(g) / WORTH_A_THREAD;
    int threads = g->threads < SN_MAX_THREADS ? g->threads : SN_MAX_THREADS;
    return threads < most ? threads : most < 1 ? 1 : (int)most;
}

size_t sn_gemm_workspace(const sn_gemm *g, size_t width) {
    return is_small(g) ? 0 : (size_t)threads_worth(g) * scratch_bytes(width);
}

static int64_t part_of(int64_t size, int64_t parts, int64_t multiple) {
    int64_t part = (size + parts - 1) / parts;
    return (part + multiple - 1) / multiple * multiple;
}

/* Cuts c into at most `threads` parts, as near to squares as they will be: a part's a and b are packed by it. */
static void cut(job *j, int threads) {
    const sn_gemm *g = j->g;
    double least = -1;
    for (int across = 1; across <= threads; across++) {
        int64_t rows = part_of(g->m, threads / across, ROWS_OF_PART), columns = part_of(g->n, across, COLUMNS_OF_PART);
        if (threads == 1) rows = g->m, columns = g->n;
        double cost = (double)rows * (double)columns + 8 * (double)(rows + columns);
        if (least < 0 || cost < least) {
            least = cost;
            j->rows = rows;
            j->columns = columns;
        }
    }
    j->parts_across = (g->n + j->columns - 1) / j->columns;
}

static void run_part(void *state, int64_t index) {
    const job *j = state;
    sn_gemm g = *j->g;
    int64_t row = index / j->parts_across * j->rows, column = index % j->parts_across * j->columns;
    int64_t width = (int64_t)j->width;
    g.m = g.m - row < j->rows ? g.m - row : j->rows;
    g.n = g.n - column < j->columns ? g.n - column : j->columns;
    if (g.bias != NULL) g.bias = (const char *)g.bias + column * width;
    j->run(j->c + (row * g.c_row + column) * width, j->a + row * g.a_row * width, j->b + column * g.b_col * width, &g,
           j->scratch == NULL ? NULL : j->scratch + (size_t)index * j->scratch_bytes);
}

static void multiply(
    void *c, const void *a, const void *b, const sn_gemm *g, void *workspace, size_t width, product *run) {
    if (is_small(g) && threads_worth(g) == 1) {
        run(c, a, b, g, NULL);
        return;
    }
    job j = {.g = g, .run = run, .c = c, .a = a, .b = b, .width = width, .scratch_bytes = scratch_bytes(width)};
    j.scratch = is_small(g) ? NULL : workspace;
    int threads = threads_worth(g);
    cut(&j, threads);
    sn_phase phase = {run_part, (g->m + j.rows - 1) / j.rows * j.parts_across, NULL};
    sn_phases_run(&phase, 1, &j, threads);
}

sn_gemm_level sn_gemm_best_level(void) {
#if defined(SN_GEMM_X86)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) return SN_GEMM_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SN_GEMM_AVX2;
#endif
    return SN_GEMM_PORTABLE;
}

#if defined(SN_GEMM_X86)
#define PRODUCT(type, level)                                                                                       \
    ((level) == SN_GEMM_AVX512 ? avx512_##type##_product                                                           \
                               : (level) == SN_GEMM_AVX2 ? avx2_##type##_product : portable_##type##_product)
#else
#define PRODUCT(type, level) ((void)(level), portable_##type##_product)
#endif

/* What needs no multiplication, and columns as rows: a product of one column is that of b's one row, transposed. */
#define TYPED(T, type)                                                                                             \
    void sn_gemm_at_level_##type(                                                                                  \
        T *c, const T *a, const T *b, const sn_gemm *g, void *workspace, sn_gemm_level level) {                    \
        const T *bias = g->add ? NULL : g->bias;                                                                   \
        int column = g->n == 1 && g->c_row == 1 && g->m > 1;                                                       \
        if (g->m <= 0 || g->n <= 0) return;                                                                        \
        if (!g->add && (g->k <= 0 || (column && bias != NULL)))                                                    \
            for (int64_t i = 0; i < g->m; i++)                                                                     \
                for (int64_t j = 0; j < g->n; j++) c[i * g->c_row + j] = bias != NULL ? bias[j] : 0;               \
        if (g->k <= 0) return;                                                                                     \
        if (column) {                                                                                              \
            sn_gemm t = {.m = 1, .n = g->m, .k = g->k, .a_row = g->b_col, .a_col = g->b_row, .b_row = g->a_col,    \
                         .b_col = g->a_row, .c_row = g->m, .add = g->add || bias != NULL, .threads = g->threads};  \
            multiply(c, b, a, &t, workspace, sizeof(T), PRODUCT(type, level));                                     \
        } else {                                                                                                   \
            multiply(c, a, b, g, workspace, sizeof(T), PRODUCT(type, level));                                      \
        }                                                                                                          \
    }                                                                                                              \
    void sn_gemm_##type(T *c, const T *a, const T *b, const sn_gemm *g, void *workspace) {                         \
        sn_gemm_at_level_##type(c, a, b, g, workspace, sn_gemm_best_level());                                      \
    }

TYPED(float, f32)
TYPED(double, f64)
