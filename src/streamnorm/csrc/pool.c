/* See pool.h. The loops are written once, in pool_typed.h, and compiled for both types. */
#include "pool.h"

#include <string.h>

#include "parallel.h"

#define WIDE 8 /* channels that are worth vectors */
#define WORTH_A_THREAD 100000 /* values of x */

/* The part of a window that is inside of the image. */
typedef struct {
    int64_t top, bottom, left, right;
} window;

typedef struct {
    const sn_pool *p;
    void *y, *dx;
    int32_t *from;
    const void *x, *dy;
    const int32_t *read;
    int64_t values, out_values; /* of one sample */
} job;

int64_t sn_pool_out_height(const sn_pool *p) {
    return (p->height + p->top + p->bottom - p->pool_height) / p->stride_height + 1;
}

int64_t sn_pool_out_width(const sn_pool *p) {
    return (p->width + p->left + p->right - p->pool_width) / p->stride_width + 1;
}

SN_INLINE window window_at(const sn_pool *p, int64_t row, int64_t column) {
    int64_t top = row * p->stride_height - p->top, left = column * p->stride_width - p->left;
    int64_t bottom = top + p->pool_height, right = left + p->pool_width;
    return (window){top < 0 ? 0 : top, bottom < p->height ? bottom : p->height,
                    left < 0 ? 0 : left, right < p->width ? right : p->width};
}

static job job_of(const sn_pool *p) {
    return (job){.p = p, .values = p->height * p->width * p->channels,
                 .out_values = sn_pool_out_height(p) * sn_pool_out_width(p) * p->channels};
}

static void run(void (*task)(void *, int64_t), job *j) {
    int64_t worth = j->p->samples * j->values / WORTH_A_THREAD;
    sn_phase phase = {task, j->p->samples, NULL};
    sn_phases_run(&phase, 1, j, j->p->threads < worth ? j->p->threads : worth < 1 ? 1 : (int)worth);
}

#define T float
#define NAME(x) x##_f32
#include "pool_typed.h"
#undef T
#undef NAME

#define T double
#define NAME(x) x##_f64
#include "pool_typed.h"

#define TYPED(T, type)                                                                   \
    void sn_pool_forward_##type(T *y, int32_t *from, const T *x, const sn_pool *p) {     \
        job j = job_of(p);                                                               \
        j.y = y;                                                                         \
        j.from = from;                                                                   \
        j.x = x;                                                                         \
        run(forward_task_##type, &j);                                                    \
    }                                                                                    \
    void sn_pool_backward_##type(T *dx, const T *dy, const int32_t *from, const sn_pool *p) { \
        job j = job_of(p);                                                               \
        j.dx = dx;                                                                       \
        j.dy = dy;                                                                       \
        j.read = from;                                                                   \
        run(backward_task_##type, &j);                                                   \
    }

TYPED(float, f32)
TYPED(double, f64)
