/* Products of dense matrices: c = a b + bias, or c += a b, in float32 and float64, for matrices of any strides.
 *
 * Element (i, j) of c starts as its old value or as bias[j], if there is one, and the sums of a[i][p] b[p][j] over
 * blocks of SN_GEMM_BLOCK values of p are added to it in order; a block's sum is a chain of fused multiply-adds in the
 * order of p that starts at zero. So an element's bits depend on its row of a and its column of b alone: not on the
 * number of threads, on how many other rows there are or on how wide the processor's vectors are. (An x86 processor
 * without fused multiply-add rounds twice, and has other bits.) NaN and infinities go the way of IEEE 754; no zero is
 * skipped.
 */
#ifndef SN_GEMM_H
#define SN_GEMM_H

#include "sn_common.h"

#define SN_GEMM_BLOCK 256

/* Element (i, p) of a is a[i * a_row + p * a_col]; the same for b. c is row-major, c_row from row to row. */
typedef struct {
    int64_t m, n, k; /* c is m x n, a is m x k, b is k x n; each may be 0 */
    int64_t a_row, a_col, b_row, b_col, c_row;
    int add;          /* c += a b instead of c = a b + bias */
    const void *bias; /* n values of the type, or NULL; only without add */
    int threads;      /* at most; 1: none but the caller's */
} sn_gemm;

/* Bytes of scratch, aligned to 64, that a product of values of `width` bytes wants; 0 for small ones. */
size_t sn_gemm_workspace(const sn_gemm *g, size_t width);

/* c must not overlap a, b or the bias. `workspace` is the caller's, and free for other uses after the call. */
void sn_gemm_f32(float *c, const float *a, const float *b, const sn_gemm *g, void *workspace);
void sn_gemm_f64(double *c, const double *a, const double *b, const sn_gemm *g, void *workspace);

/* The instruction sets that there is code for. */
typedef enum { SN_GEMM_PORTABLE = 0, SN_GEMM_AVX2 = 1, SN_GEMM_AVX512 = 2 } sn_gemm_level;

/* The widest one that this processor has. */
sn_gemm_level sn_gemm_best_level(void);

/* The same products by the code for one instruction set, which must not be above the best. */
void sn_gemm_at_level_f32(
    float *c, const float *a, const float *b, const sn_gemm *g, void *workspace, sn_gemm_level level);
void sn_gemm_at_level_f64(
    double *c, const double *a, const double *b, const sn_gemm *g, void *workspace, sn_gemm_level level);

#endif
