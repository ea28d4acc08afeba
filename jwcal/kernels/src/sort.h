/* Sorting many short columns at once: sortable keys, and a network whose comparators run across columns. */
#ifndef JW_SORT_H
#define JW_SORT_H
#if defined(__GNUC__) && !defined(__clang__)
/* No kernel looks at floating-point exceptions, and loops with selections are vectorised only without them.
 */
#pragma GCC optimize("no-trapping-math")
#endif
#include "jwcal.h"
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

INLINE uint32_t as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Order by absolute value with the sign as the last bit; NaN comes last. */
INLINE int32_t magnitude_key(float x)
{
    uint32_t u = as_bits(x);
    uint32_t r = ((u << 1) | (u >> 31)) ^ 0x80000000u;
    return (int32_t)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : r);
}

INLINE float magnitude_value(int32_t key)
{
    return as_float((((uint32_t)key ^ 0x80000000u) >> 1));
}

INLINE int magnitude_negative(int32_t key)
{
    return (int)((uint32_t)key & 1u);
}

/* Order by value; NaN comes last. */
INLINE int32_t value_key(float x)
{
    int32_t u = (int32_t)as_bits(x);
    int32_t r = u ^ (int32_t)((uint32_t)(u >> 31) & 0x7fffffffu);
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : r;
}

INLINE float key_value(int32_t key)
{
    return as_float((uint32_t)(key ^ (int32_t)((uint32_t)(key >> 31) & 0x7fffffffu)));
}

/* Order of doubles, none of them NaN; GCC compares doubles with branches and integers without. */
#define NO_WIDE_KEY INT64_MAX

INLINE int64_t wide_key(double x)
{
    int64_t u;
    memcpy(&u, &x, 8);
    return u ^ (int64_t)((uint64_t)(u >> 63) & 0x7fffffffffffffffu);
}

INLINE double wide_value(int64_t key)
{
    double x;
    key ^= (int64_t)((uint64_t)(key >> 63) & 0x7fffffffffffffffu);
    memcpy(&x, &key, 8);
    return x;
}

/* Batcher's merge exchange (Knuth 5.2.2, Algorithm M): calls COMPARE(i, j) for every comparator of n items.
 */
#define MERGE_EXCHANGE(n, COMPARE)                                                                           \
    do {                                                                                                     \
        ptrdiff_t top_ = 1;                                                                                  \
        while (2 * top_ < (n))                                                                               \
            top_ *= 2;                                                                                       \
        for (ptrdiff_t p_ = (n) > 1 ? top_ : 0; p_ > 0; p_ /= 2) {                                           \
            ptrdiff_t q_ = top_, r_ = 0, d_ = p_;                                                            \
            for (;;) {                                                                                       \
                for (ptrdiff_t base_ = r_; base_ < (n) - d_; base_ += 2 * p_) {                              \
                    ptrdiff_t end_ = base_ + p_ < (n) - d_ ? base_ + p_ : (n) - d_;                          \
                    for (ptrdiff_t i_ = base_; i_ < end_; i_++)                                              \
                        COMPARE(i_, i_ + d_);                                                                \
                }                                                                                            \
                if (q_ == p_)                                                                                \
                    break;                                                                                   \
                d_ = q_ - p_;                                                                                \
                q_ /= 2;                                                                                     \
                r_ = p_;                                                                                     \
            }                                                                                                \
        }                                                                                                    \
    } while (0)

INLINE void exchange_keys(int32_t *restrict a, int32_t *restrict b, const ptrdiff_t width)
{
    for (ptrdiff_t l = 0; l < width; l++) {
        int32_t x = a[l], y = b[l];
        a[l] = x < y ? x : y;
        b[l] = x < y ? y : x;
    }
}

INLINE void exchange_doubles(double *restrict a, double *restrict b, const ptrdiff_t width)
{
    for (ptrdiff_t l = 0; l < width; l++) {
        double x = a[l], y = b[l];
        a[l] = x < y ? x : y;
        b[l] = x < y ? y : x;
    }
}

INLINE void exchange_wide_keys(int64_t *restrict a, int64_t *restrict b, const ptrdiff_t width)
{
    for (ptrdiff_t l = 0; l < width; l++) {
        int64_t x = a[l], y = b[l];
        a[l] = x < y ? x : y;
        b[l] = x < y ? y : x;
    }
}

/* Sort n rows of `width` columns, each column on its own, ascending. */
INLINE void sort_keys(int32_t *key, ptrdiff_t n, const ptrdiff_t width)
{
#define COMPARE_KEYS(i, j) exchange_keys(key + (i) * width, key + (j) * width, width)
    MERGE_EXCHANGE(n, COMPARE_KEYS);
#undef COMPARE_KEYS
}

/* The same for doubles, none of them NaN. */
INLINE void sort_doubles(double *value, ptrdiff_t n, const ptrdiff_t width)
{
#define COMPARE_DOUBLES(i, j) exchange_doubles(value + (i) * width, value + (j) * width, width)
    MERGE_EXCHANGE(n, COMPARE_DOUBLES);
#undef COMPARE_DOUBLES
}

/* The same for the keys of doubles. */
INLINE void sort_wide_keys(int64_t *key, ptrdiff_t n, const ptrdiff_t width)
{
#define COMPARE_WIDE(i, j) exchange_wide_keys(key + (i) * width, key + (j) * width, width)
    MERGE_EXCHANGE(n, COMPARE_WIDE);
#undef COMPARE_WIDE
}

INLINE double middle(double a, double b)
{
    return (a + b) / 2.0;
}

/* Median of the signed values of one column sorted by magnitude. */
INLINE double signed_median(const int32_t *key, ptrdiff_t width, ptrdiff_t n)
{
    ptrdiff_t negative = 0;
    double got[2] = {NAN, NAN};
    if (n < 1)
        return NAN;
    for (ptrdiff_t k = 0; k < n; k++)
        negative += magnitude_negative(key[k * width]);
    for (int j = 0; j < 2; j++) {
        ptrdiff_t rank = j ? n / 2 : (n - 1) / 2;
        int wanted = rank < negative;
        ptrdiff_t left = wanted ? negative - 1 - rank : rank - negative;
        for (ptrdiff_t k = 0; k < n; k++)
            if (magnitude_negative(key[k * width]) == wanted && left-- == 0) {
                double v = magnitude_value(key[k * width]);
                got[j] = wanted ? -v : v;
                break;
            }
    }
    return middle(got[0], got[1]);
}

#endif
