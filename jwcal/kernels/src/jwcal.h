/* Shared by all kernels: export marker and run-time dispatch to wider vector units. */
#ifndef JWCAL_H
#define JWCAL_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#define JW_API __declspec(dllexport)
#else
#define JW_API __attribute__((visibility("default")))
#endif

/* The clones differ only in vector width: contraction is off and no sum is reordered,
   so every clone gives the same bits. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(JW_NO_CLONES)
#define JW_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define JW_WIDE
#endif

/* Memory for vectors, to be freed as usual: one that lies across two cache lines costs twice. */
static inline void *jw_vectors(size_t nbytes)
{
#if defined(_WIN32)
    return malloc(nbytes);
#else
    return aligned_alloc(64, (nbytes + 63) / 64 * 64);
#endif
}

/* The next block of a ramp lies in as many places as there are groups, which the processor does not foresee. */
#if defined(__GNUC__)
#define JW_PREFETCH(address) __builtin_prefetch((address), 0, 2)
#else
#define JW_PREFETCH(address) ((void)(address))
#endif

#define JW_DNU 1u
#define JW_SAT 2u
#define JW_JUMP 4u

#endif
