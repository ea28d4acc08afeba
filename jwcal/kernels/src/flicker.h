/* Medians of many values by counting. */
#ifndef JW_FLICKER_H
#define JW_FLICKER_H
#include "sort.h"
#include <float.h>
#include <stdlib.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "sums must be rounded as written"
#endif

JW_WIDE static ptrdiff_t not_above(const int32_t *key, ptrdiff_t n, int32_t limit)
{
    int32_t count = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        count += key[i] <= limit;
    return count;
}

JW_WIDE static void extremes(const int32_t *key, ptrdiff_t n, int32_t *least, int32_t *most)
{
    int32_t a = INT32_MAX, b = INT32_MIN;
    for (ptrdiff_t i = 0; i < n; i++) {
        a = key[i] < a ? key[i] : a;
        b = key[i] > b ? key[i] : b;
    }
    *least = a;
    *most = b;
}

JW_WIDE static int32_t next_above(const int32_t *key, ptrdiff_t n, int32_t limit)
{
    int32_t best = INT32_MAX;
    for (ptrdiff_t i = 0; i < n; i++) {
        const int32_t k = key[i] > limit ? key[i] : INT32_MAX;
        best = k < best ? k : best;
    }
    return best;
}

/* Median by bisection over the keys: every step is one counting pass without branches. */
static inline float key_median(const int32_t *key, ptrdiff_t n)
{
    if (n == 0)
        return 0.0f;
    const ptrdiff_t rank = (n - 1) / 2;
    int32_t low, high;
    extremes(key, n, &low, &high);
    while (low < high) {
        const int32_t mid = low + (int32_t)(((uint32_t)high - (uint32_t)low) / 2);
        if (not_above(key, n, mid) > rank)
            high = mid;
        else
            low = mid + 1;
    }
    int32_t upper = low;
    if (n % 2 == 0 && not_above(key, n, low) <= rank + 1)
        upper = next_above(key, n, low);
    return (key_value(low) + key_value(upper)) / 2.0f;
}

static inline float median_of(const float *v, ptrdiff_t n, int32_t *key)
{
    for (ptrdiff_t i = 0; i < n; i++)
        key[i] = value_key(v[i] + 0.0f);
    return key_median(key, n);
}

#endif
