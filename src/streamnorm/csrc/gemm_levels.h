/* The file PRODUCTS for both types and every instruction set that the compiler can make code for. gemm.c includes this
 * with gemm_typed.h, conv.c with conv_typed.h. */
#if defined(__x86_64__) && defined(__GNUC__)
#define SN_GEMM_X86
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* In front of a loop of known length: all of it, so that arrays of vectors become registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Values of two vectors by their indexes in both. GCC has shufflevector from release 12 on; what it had before takes
 * the indexes as a vector of integers that are as wide as the values. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (NAME(indexes)){__VA_ARGS__})
#endif

#define LIST_2(x) {x, x}
#define LIST_4(x) {x, x, x, x}
#define LIST_8(x) {x, x, x, x, x, x, x, x}
#define LIST_16(x) {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}
#define LOW_2 0, 2
#define LOW_4 0, 4, 1, 5
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_2 1, 3
#define HIGH_4 2, 6, 3, 7
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* Sizes of blocks: a's, MC x SN_GEMM_BLOCK values, shall take a quarter of the second cache, b's a share of the third.
 * MC is a multiple of the tile's ROWS, and NC of its columns. */

/* ---- 128 bits: what every x86-64 and Arm processor has ---- */
#define TARGET
#if defined(__aarch64__)
#define ROWS 8
#define VECTORS 3
#else
#define ROWS 4
#define VECTORS 2
#endif
#define NC (960 * 4 / (int64_t)sizeof(T))
#define MC (192 * 4 / (int64_t)sizeof(T))

#define T float
#define NAME(x) portable_f32_##x
#define LANES 4
#define SPLAT(x) LIST_4(x)
#define LOW LOW_4
#define HIGH HIGH_4
#if defined(__aarch64__)
#define FMA(x, y, z) ((NAME(vec))vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y)))
#else
#define FMA(x, y, z) ((x) * (y) + (z))
#endif
#include PRODUCTS
#include "gemm_end_of_type.h"

#define T double
#define NAME(x) portable_f64_##x
#define LANES 2
#define SPLAT(x) LIST_2(x)
#define LOW LOW_2
#define HIGH HIGH_2
#if defined(__aarch64__)
#define FMA(x, y, z) ((NAME(vec))vfmaq_f64((float64x2_t)(z), (float64x2_t)(x), (float64x2_t)(y)))
#else
#define FMA(x, y, z) ((x) * (y) + (z))
#endif
#include PRODUCTS
#include "gemm_end_of_type.h"

#undef TARGET
#undef ROWS
#undef VECTORS
#undef MC
#undef NC

#if defined(SN_GEMM_X86)
/* ---- 256 bits: AVX2 with fused multiply-add ---- */
#define TARGET __attribute__((target("avx2,fma")))
#define ROWS 6
#define VECTORS 2
#define MC (192 * 4 / (int64_t)sizeof(T))
#define NC (1024 * 4 / (int64_t)sizeof(T))

#define T float
#define NAME(x) avx2_f32_##x
#define LANES 8
#define SPLAT(x) LIST_8(x)
#define LOW LOW_8
#define HIGH HIGH_8
#define FMA(x, y, z) ((NAME(vec))_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#include PRODUCTS
#include "gemm_end_of_type.h"

#define T double
#define NAME(x) avx2_f64_##x
#define LANES 4
#define SPLAT(x) LIST_4(x)
#define LOW LOW_4
#define HIGH HIGH_4
#define FMA(x, y, z) ((NAME(vec))_mm256_fmadd_pd((__m256d)(x), (__m256d)(y), (__m256d)(z)))
#include PRODUCTS
#include "gemm_end_of_type.h"

#undef TARGET
#undef ROWS
#undef VECTORS
#undef MC

/* ---- 512 bits ---- */
#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define ROWS 14
#define VECTORS 2
#define MC (252 * 4 / (int64_t)sizeof(T))

#define T float
#define NAME(x) avx512_f32_##x
#define LANES 16
#define SPLAT(x) LIST_16(x)
#define LOW LOW_16
#define HIGH HIGH_16
#define FMA(x, y, z) ((NAME(vec))_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z)))
#define LOAD_PART(p, count) ((NAME(vec))_mm512_maskz_loadu_ps((__mmask16)((1u << (count)) - 1), (p)))
#define STORE_PART(p, v, count) _mm512_mask_storeu_ps((p), (__mmask16)((1u << (count)) - 1), (__m512)(v))
#include PRODUCTS
#include "gemm_end_of_type.h"

#define T double
#define NAME(x) avx512_f64_##x
#define LANES 8
#define SPLAT(x) LIST_8(x)
#define LOW LOW_8
#define HIGH HIGH_8
#define FMA(x, y, z) ((NAME(vec))_mm512_fmadd_pd((__m512d)(x), (__m512d)(y), (__m512d)(z)))
#define LOAD_PART(p, count) ((NAME(vec))_mm512_maskz_loadu_pd((__mmask8)((1u << (count)) - 1), (p)))
#define STORE_PART(p, v, count) _mm512_mask_storeu_pd((p), (__mmask8)((1u << (count)) - 1), (__m512d)(v))
#include PRODUCTS
#include "gemm_end_of_type.h"

#undef TARGET
#undef ROWS
#undef VECTORS
#undef MC
#undef NC
#endif
