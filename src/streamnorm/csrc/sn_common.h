/* What every kernel shares: status codes, run-time choice of instruction set, and lane vectors.
 *
 * Nothing in csrc/ includes Python.h; pointers and sizes come in, a status goes out, and no loop allocates.
 *
 * Design: instruction sets are chosen at run time by function multiversioning (one source, one clone for AVX-512,
 * one for AVX2, one for the baseline, picked by the dynamic linker). The turned-down options are -march=native
 * (a wheel must run elsewhere) and intrinsics with hand-written dispatch (three copies of every loop). Lane counts
 * are fixed in the source and contraction to fused multiply-add is off, so every clone gives the same bits.
 */
#ifndef SN_COMMON_H
#define SN_COMMON_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    SN_OK = 0,
    SN_ERR_NOMEM = 1,     /* an allocation failed; the state is unchanged */
    SN_ERR_INVALID = 2,   /* an argument is out of its domain */
    SN_ERR_CORRUPT = 3,   /* a serialized state does not parse */
    SN_ERR_INCOMPATIBLE = 4, /* two states cannot be merged */
    SN_ERR_WEIGHTS = 5 /* the weights sum to more than SN_MAX_WEIGHT */
} sn_status;

/* Multiversioning needs ifunc: glibc on x86-64 with GCC, or with Clang 14 and later. Elsewhere (macOS, Arm, musl,
 * sanitizer builds, whose runtime is not up when the resolvers run) the baseline is compiled alone. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && !defined(SN_NO_CLONES) && \
    ((defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12))
#define SN_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SN_CLONES
#endif

/* The most that the weights of a stream may sum to, some 3e150: squares of it are still doubles. */
#define SN_MAX_WEIGHT 0x1p500

#define SN_INLINE static inline __attribute__((always_inline))
#define SN_LIKELY(x) __builtin_expect(!!(x), 1)
#define SN_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
