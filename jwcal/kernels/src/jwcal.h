/* Shared by all kernels: export marker and run-time dispatch to wider vector units. */
#ifndef JWCAL_H
#define JWCAL_H
#include <stddef.h>
#include <stdint.h>

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

#define JW_DNU 1u
#define JW_SAT 2u
#define JW_JUMP 4u

#endif
