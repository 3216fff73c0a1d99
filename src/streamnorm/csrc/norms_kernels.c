/* See norms_kernels.h. The loops are written once, in norms_typed.h, and compiled for both types.
 *
 * Design: the float32 path computes in double too. A float32 mean would cost `randn * 0.01 + 100` four of its seven
 * digits, and one in double next to float arithmetic would need the mean as a pair and go wrong near the ends of the
 * range; converting is two instructions beside a load and a store, and hides behind memory.
 */
#include "norms_kernels.h"

#include <math.h>

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
#define AT(p) (*(const vector *)(p))
#define INTO(p) (*(vector *)(p))

/* In the order of sn_sum_lanes. */
#define SUM(v) ((((v)[0] + (v)[4]) + ((v)[2] + (v)[6])) + (((v)[1] + (v)[5]) + ((v)[3] + (v)[7])))

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(name) PASTE(name, SUFFIX)

#define REAL float
#define SUFFIX float32
#include "norms_typed.h"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX float64
#include "norms_typed.h"
