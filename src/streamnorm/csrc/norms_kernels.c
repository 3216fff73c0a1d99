/* See norms_kernels.h. The loops are written once, in norms_typed.h, and compiled for both types.
 *
 * Design: the float32 path computes in double too. A float32 mean would cost `randn * 0.01 + 100` four of its seven
 * digits, and one in double next to float arithmetic would need the mean as a pair and go wrong near the ends of the
 * range; converting is two instructions beside a load and a store, and hides behind memory.
 */
#include "norms_kernels.h"

#include <math.h>

#include "lanes.h"

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
