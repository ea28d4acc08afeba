/* Reference-pixel signals and their subtraction: clipped means, running medians, one-pass application. */
#include "jwcal.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "the sums below must be rounded as written"
#endif

/* Sums are pairwise over blocks of at most 128 with eight partial sums: the order of NumPy,
   on which the official package's clipped means, and so its last bits, depend. */
#define CLIPPED(T, NAME, SQRT)                                                                   \
    static T sum_##NAME(const T *a, ptrdiff_t n)                                                 \
    {                                                                                            \
        if (n < 8) {                                                                             \
            T s = 0;                                                                             \
            for (ptrdiff_t i = 0; i < n; i++)                                                    \
                s += a[i];                                                                       \
            return s;                                                                            \
        }                                                                                        \
        if (n <= 128) {                                                                          \
            T r[8];                                                                              \
            ptrdiff_t i;                                                                         \
            for (int k = 0; k < 8; k++)                                                          \
                r[k] = a[k];                                                                     \
            for (i = 8; i < n - n % 8; i += 8)                                                   \
                for (int k = 0; k < 8; k++)                                                      \
                    r[k] += a[i + k];                                                            \
            T s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));             \
            for (; i < n; i++)                                                                   \
                s += a[i];                                                                       \
            return s;                                                                            \
        }                                                                                        \
        ptrdiff_t half = n / 2;                                                                  \
        half -= half % 8;                                                                        \
        return sum_##NAME(a, half) + sum_##NAME(a + half, n - half);                             \
    }                                                                                            \
                                                                                                 \
    static double clip_##NAME(T *c, T *d, ptrdiff_t n, double limit)                             \
    {                                                                                            \
        const T width = (T)limit;                                                                \
        for (;;) {                                                                               \
            const T mean = sum_##NAME(c, n) / (T)n;                                              \
            for (ptrdiff_t i = 0; i < n; i++) {                                                  \
                T x = c[i] - mean;                                                               \
                d[i] = x * x;                                                                    \
            }                                                                                    \
            const T reach = SQRT(sum_##NAME(d, n) / (T)n) * width;                               \
            const T low = mean - reach, high = mean + reach;                                     \
            ptrdiff_t kept = 0;                                                                  \
            for (ptrdiff_t i = 0; i < n; i++) {                                                  \
                const T x = c[i];                                                                \
                c[kept] = x;                                                                     \
                kept += (x >= low) & (x <= high);                                                \
            }                                                                                    \
            if (kept == n || kept == 0)                                                          \
                return (double)mean;                                                             \
            n = kept;                                                                            \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    static double mean_##NAME(const float *v, const int32_t *index, ptrdiff_t n, double limit,   \
                              T *work, ptrdiff_t nmax, uint8_t *uniform)                         \
    {                                                                                            \
        ptrdiff_t m = 0;                                                                         \
        for (ptrdiff_t i = 0; i < n; i++) {                                                      \
            const float x = v[index[i]];                                                         \
            work[m] = x;                                                                         \
            m += x == x;                                                                         \
        }                                                                                        \
        *uniform = 0;                                                                            \
        if (m == 0)                                                                              \
            return NAN;                                                                          \
        ptrdiff_t same = 1;                                                                      \
        while (same < m && work[same] == work[0])                                                \
            same++;                                                                              \
        if (same == m) {                                                                         \
            *uniform = 1;                                                                        \
            return (double)work[0];                                                              \
        }                                                                                        \
        return clip_##NAME(work, work + nmax, m, limit);                                         \
    }

CLIPPED(float, f32, sqrtf)
CLIPPED(double, f64, sqrt)

/* Returns 0, or -1 when memory is lacking. */
JW_API int jw_clipped_means(const float *values, ptrdiff_t ngroup, ptrdiff_t stride, const int32_t *index,
                            const ptrdiff_t *bounds, ptrdiff_t nset, double limit, const uint8_t *single,
                            double *means, uint8_t *uniform)
{
    ptrdiff_t nmax = 0;
    for (ptrdiff_t s = 0; s < nset; s++)
        if (bounds[s + 1] - bounds[s] > nmax)
            nmax = bounds[s + 1] - bounds[s];
    double *work = malloc((size_t)(2 * nmax + 1) * sizeof *work);
    if (work == NULL)
        return -1;
    for (ptrdiff_t g = 0; g < ngroup; g++)
        for (ptrdiff_t s = 0; s < nset; s++) {
            const float *v = values + g * stride;
            const int32_t *ix = index + bounds[s];
            const ptrdiff_t n = bounds[s + 1] - bounds[s], out = g * nset + s;
            means[out] = single[g] ? mean_f32(v, ix, n, limit, (float *)work, nmax, uniform + out)
                                   : mean_f64(v, ix, n, limit, work, nmax, uniform + out);
        }
    free(work);
    return 0;
}

static ptrdiff_t lower_bound(const double *w, ptrdiff_t n, double x)
{
    ptrdiff_t lo = 0;
    while (n > 0) {
        const ptrdiff_t half = n / 2;
        if (w[lo + half] < x) {
            lo += half + 1;
            n -= half + 1;
        } else
            n = half;
    }
    return lo;
}

/* The row that stands for row j of the whole detector when the window reaches over its ends;
   -1 where the readout holds no such row. */
static ptrdiff_t reflected(ptrdiff_t j, ptrdiff_t first, ptrdiff_t nrow, ptrdiff_t total)
{
    if (j < 0)
        j = -j;
    if (j >= total)
        j = 2 * (total - 1) - j;
    j -= first;
    return j >= 0 && j < nrow ? j : -1;
}

JW_API int jw_running_median(const double *values, const uint8_t *good, ptrdiff_t ngroup, ptrdiff_t nrow,
                             ptrdiff_t ncol, ptrdiff_t first, ptrdiff_t total, ptrdiff_t length,
                             const uint8_t *single, double *out)
{
    double *window = malloc((size_t)(length * ncol + 1) * sizeof *window);
    if (window == NULL)
        return -1;
    for (ptrdiff_t g = 0; g < ngroup; g++) {
        const double *v = values + g * nrow * ncol;
        ptrdiff_t n = 0;
        ptrdiff_t next = first - length / 2;
        for (ptrdiff_t i = 0; i < nrow; i++) {
            const ptrdiff_t start = first + i - length / 2;
            if (i > 0) {
                const ptrdiff_t gone = reflected(start - 1, first, nrow, total);
                for (ptrdiff_t k = 0; gone >= 0 && k < ncol; k++) {
                    const double x = v[gone * ncol + k];
                    if (good[gone * ncol + k] && x == x) {
                        const ptrdiff_t at = lower_bound(window, n, x);
                        memmove(window + at, window + at + 1, (size_t)(n - at - 1) * sizeof *window);
                        n--;
                    }
                }
            }
            for (; next < start + length; next++) {
                const ptrdiff_t come = reflected(next, first, nrow, total);
                for (ptrdiff_t k = 0; come >= 0 && k < ncol; k++) {
                    const double x = v[come * ncol + k];
                    if (good[come * ncol + k] && x == x) {
                        const ptrdiff_t at = lower_bound(window, n, x);
                        memmove(window + at + 1, window + at, (size_t)(n - at) * sizeof *window);
                        window[at] = x;
                        n++;
                    }
                }
            }
            double m = NAN;
            if (n % 2)
                m = window[n / 2];
            else if (n) {
                m = window[n / 2 - 1] + window[n / 2];
                if (single[g])
                    m = (double)(float)m;
                m /= 2;
            }
            out[g * nrow + i] = m;
        }
    }
    free(window);
    return 0;
}

/* Which profile goes first, and the rounding in between, decide the last bit. */
JW_API JW_WIDE void jw_subtract_profiles(float *sci, ptrdiff_t ngroup, ptrdiff_t stride, ptrdiff_t ny, ptrdiff_t nx,
                                         const double *along_x, ptrdiff_t xstride, const double *along_y,
                                         ptrdiff_t ystride, const uint8_t *round, int x_first, int keep_zero)
{
    for (ptrdiff_t g = 0; g < ngroup; g++)
        for (ptrdiff_t y = 0; y < ny; y++) {
            float *row = sci + g * stride + y * nx;
            const double *ax = along_x + g * xstride;
            const double ay = along_y[g * ystride + y];
            if (keep_zero) {
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const double in = row[x];
                    double t = in - (x_first ? ax[x] : ay);
                    t = round[g] ? (double)(float)t : t;
                    const float r = (float)(t - (x_first ? ay : ax[x]));
                    row[x] = in == 0 ? row[x] : r;
                }
            } else if (round[g]) {
                if (x_first)
                    for (ptrdiff_t x = 0; x < nx; x++)
                        row[x] = (float)((double)(float)((double)row[x] - ax[x]) - ay);
                else
                    for (ptrdiff_t x = 0; x < nx; x++)
                        row[x] = (float)((double)(float)((double)row[x] - ay) - ax[x]);
            } else {
                if (x_first)
                    for (ptrdiff_t x = 0; x < nx; x++)
                        row[x] = (float)(((double)row[x] - ax[x]) - ay);
                else
                    for (ptrdiff_t x = 0; x < nx; x++)
                        row[x] = (float)(((double)row[x] - ay) - ax[x]);
            }
        }
}

JW_API JW_WIDE void jw_subtract_row_parity(float *sci, ptrdiff_t ngroup, ptrdiff_t stride, ptrdiff_t ny, ptrdiff_t nx,
                                           const double *drift, ptrdiff_t gstride, ptrdiff_t pstride, ptrdiff_t y0)
{
    for (ptrdiff_t g = 1; g < ngroup; g++)
        for (ptrdiff_t y = 0; y < ny; y++) {
            const float *base = sci + y * nx;
            float *row = sci + g * stride + y * nx;
            const double *d = drift + g * gstride + ((y0 + y) & 1) * pstride;
            for (ptrdiff_t x = 0; x < nx; x++) {
                const float since = row[x] - base[x];
                row[x] = (float)((double)since - d[x]) + base[x];
            }
        }
}
