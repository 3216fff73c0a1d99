/* See norms_kernels.h. The loops are written once, in norms_typed.h, and compiled for both types.
 *
 * Design: the float32 path computes in double too. A float32 mean would cost `randn * 0.01 + 100` four of its seven
 * digits, and one in double next to float arithmetic would need the mean as a pair and go wrong near the ends of the
 * range; converting is two instructions beside a load and a store, and hides behind memory.
 */
#include "norms_kernels.h"

#include <math.h>
#include <string.h>

/* Eight doubles at any address of a double: one AVX-512 register, two of AVX2, four of the baseline. Compilers lower
 * them for each clone, which they do better than they find the same vectors in loops over lanes. */
#define WIDTH 8
typedef double vector __attribute__((vector_size(WIDTH * sizeof(double)), aligned(sizeof(double)), may_alias));

/* Macros, because what a vector is when it is passed to a function differs between instruction sets. */
#define WIDEN(p)                                                                                                      \
    __extension__({                                                                                                   \
        double lanes_[WIDTH];                                                                                         \
        for (int k_ = 0; k_ < WIDTH; k_++) lanes_[k_] = (double)(p)[k_];                                              \
        *(vector *)lanes_;                                                                                            \
    })
#define NARROW(p, v)                                                                                                  \
    do {                                                                                                              \
        vector v_ = (v);                                                                                              \
        for (int k_ = 0; k_ < WIDTH; k_++) (p)[k_] = (REAL)v_[k_];                                                    \
    } while (0)

/* STREAM: the same into aligned memory, past the caches. Sixteen bytes at a time, which every x86-64 has; the processor
 * puts lines together. */
#if defined(__SSE2__)
#include <emmintrin.h>
#define STREAM_float(p, v)                                                                                            \
    do {                                                                                                              \
        _Alignas(32) float out_[WIDTH];                                                                               \
        NARROW(out_, v);                                                                                              \
        _mm_stream_ps((p), _mm_load_ps(out_));                                                                        \
        _mm_stream_ps((p) + 4, _mm_load_ps(out_ + 4));                                                                \
    } while (0)
#define STREAM_double(p, v)                                                                                           \
    do {                                                                                                              \
        vector out_ = (v);                                                                                            \
        for (int k_ = 0; k_ < WIDTH; k_ += 2) _mm_stream_pd((p) + k_, (__m128d){out_[k_], out_[k_ + 1]});             \
    } while (0)
/* Streamed stores are not ordered with what comes after them, such as another thread's being told. */
#define STREAM_END() _mm_sfence()
#else
#define STREAM_float(p, v) NARROW(p, v)
#define STREAM_double(p, v) NARROW(p, v)
#define STREAM_END() (void)0
#endif
#define STREAM_ALIGNMENT 16

/* to[i] for all i from 0 to n, `vectors` and `value` being expressions of i for WIDTH of them and for one. */
#define FILL(to, n, stream, vectors, value)                                                                           \
    do {                                                                                                              \
        int64_t i = 0;                                                                                                \
        if (stream) {                                                                                                 \
            for (; i < (n) && (uintptr_t)((to) + i) % STREAM_ALIGNMENT != 0; i++) (to)[i] = (REAL)(value);                        \
            for (; i + WIDTH <= (n); i += WIDTH) STREAM((to) + i, vectors);                                           \
        }                                                                                                             \
        for (; i + WIDTH <= (n); i += WIDTH) NARROW((to) + i, vectors);                                               \
        for (; i < (n); i++) (to)[i] = (REAL)(value);                                                                 \
    } while (0)
#define AT(p) (*(const vector *)(p))
#define INTO(p) (*(vector *)(p))

/* In the order of sn_sum_lanes. */
#define SUM(v) ((((v)[0] + (v)[4]) + ((v)[2] + (v)[6])) + (((v)[1] + (v)[5]) + ((v)[3] + (v)[7])))

#define ROWS_BYTES 16384 /* see rows_together */
#define MAX_ROWS 16

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(name) PASTE(name, SUFFIX)
#define STREAM(p, v) PASTE(STREAM, REAL)(p, v)

#define REAL float
#define SUFFIX float32
#include "norms_typed.h"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX float64
#include "norms_typed.h"
