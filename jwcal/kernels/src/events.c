/* Large events: connected regions of flagged pixels, the median difference of a pixel, and where the mean of
   a ring around a pixel exceeds a limit. */
#include "sort.h"
#include <stdlib.h>

#define LANES 64
/* Up to this many differences, sorting a whole block at once stays in the first-level cache. */
#define WIDE_LIMIT 96

struct run {
    int32_t row, first, last, label;
};

INLINE int is_set(const uint8_t *flags, const uint8_t *except, ptrdiff_t x, uint8_t mask)
{
    return (flags[x] & mask) && !(except && (except[x] & mask));
}

/* Runs of flagged pixels, row by row; `runs` may be NULL to count them. */
INLINE ptrdiff_t scan(const uint8_t *flags, const uint8_t *except, uint8_t mask, ptrdiff_t ny, ptrdiff_t nx,
                      struct run *runs)
{
    const uint64_t wide = 0x0101010101010101u * mask;
    ptrdiff_t n = 0;
    for (ptrdiff_t y = 0; y < ny; y++) {
        const uint8_t *row = flags + y * nx, *without = except ? except + y * nx : NULL;
        ptrdiff_t x = 0;
        while (x < nx) {
            uint64_t word;
            if (x + 8 <= nx) {
                memcpy(&word, row + x, 8);
                if (!(word & wide)) {
                    x += 8;
                    continue;
                }
            }
            if (!is_set(row, without, x, mask)) {
                x++;
                continue;
            }
            ptrdiff_t first = x;
            while (x < nx && is_set(row, without, x, mask))
                x++;
            if (runs)
                runs[n] = (struct run){(int32_t)y, (int32_t)first, (int32_t)x, (int32_t)n};
            n++;
        }
    }
    return n;
}

JW_API ptrdiff_t jw_count_runs(const uint8_t *flags, const uint8_t *except, uint8_t mask, ptrdiff_t ny,
                               ptrdiff_t nx)
{
    return scan(flags, except, mask, ny, nx, NULL);
}

INLINE int32_t root(struct run *runs, int32_t k)
{
    while (runs[k].label != k)
        k = runs[k].label = runs[runs[k].label].label;
    return k;
}

/* Fill the runs and number the regions they form, in the order of their first pixels. */
JW_API void jw_label_runs(const uint8_t *flags, const uint8_t *except, uint8_t mask, ptrdiff_t ny, ptrdiff_t nx,
                          struct run *runs)
{
    const ptrdiff_t n = scan(flags, except, mask, ny, nx, runs);
    ptrdiff_t above = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        while (above < k && (runs[above].row < runs[k].row - 1 ||
                             (runs[above].row == runs[k].row - 1 && runs[above].last < runs[k].first)))
            above++;
        for (ptrdiff_t j = above; j < k && runs[j].row == runs[k].row - 1 && runs[j].first <= runs[k].last; j++) {
            int32_t a = root(runs, (int32_t)j), b = root(runs, (int32_t)k);
            if (a < b)
                runs[b].label = a;
            else
                runs[a].label = b;
        }
    }
    /* A root comes before all of its region, so numbers can take the place of links in one go. */
    int32_t count = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        runs[k].label = runs[k].label == k ? count++ : runs[runs[k].label].label;
}

/* Median of the differences of successive groups in electrons, over all integrations; a difference counts
   unless one of its groups has flags of 1 to 5. */
JW_API JW_WIDE int jw_median_differences(const float *sci, const uint8_t *gdq, const float *gain,
                                         ptrdiff_t sci_int, ptrdiff_t sci_group, ptrdiff_t gdq_int,
                                         ptrdiff_t gdq_group, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t npix,
                                         float *out)
{
    const ptrdiff_t n = nint * (ngroup - 1), width = n <= WIDE_LIMIT ? LANES : 16;
    int32_t *key = malloc((size_t)(n * LANES) * sizeof *key);
    if (!key)
        return -1;
    for (ptrdiff_t p0 = 0; p0 < npix; p0 += width) {
        const ptrdiff_t here = npix - p0 < width ? npix - p0 : width;
        int32_t count[LANES] = {0};
        float last[LANES] = {0};
        for (ptrdiff_t i = 0; i < nint; i++)
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                const float *s = sci + i * sci_int + g * sci_group + p0;
                const uint8_t *q = gdq + i * gdq_int + g * gdq_group + p0;
                int32_t *to = key + (i * (ngroup - 1) + g - 1) * width;
                for (ptrdiff_t l = 0; l < here; l++) {
                    float now = s[l] * gain[p0 + l];
                    now = (uint8_t)(q[l] - 1) < 5 ? NAN : now;
                    if (g) {
                        float d = now - last[l];
                        count[l] += d == d;
                        to[l] = value_key(d);
                    }
                    last[l] = now;
                }
                for (ptrdiff_t l = here; g && l < width; l++)
                    to[l] = 0;
            }
        if (width == LANES)
            sort_keys(key, n, LANES);
        else
            sort_keys(key, n, 16);
        for (ptrdiff_t l = 0; l < here; l++) {
            ptrdiff_t c = count[l];
            if (!c)
                out[p0 + l] = NAN;
            else if (c % 2)
                out[p0 + l] = key_value(key[(c / 2) * width + l]);
            else
                out[p0 + l] =
                    (key_value(key[(c / 2 - 1) * width + l]) + key_value(key[(c / 2) * width + l])) / 2.0f;
        }
    }
    free(key);
    return 0;
}

/* Where the mean of the finite pixels at the offsets around a finite pixel exceeds a limit.  Pixels beyond the
   frame count as zeros.  `work` holds 2 * nx values. */
JW_API JW_WIDE void jw_ring_exceeds(const float *restrict value, ptrdiff_t ny, ptrdiff_t nx,
                                    const int32_t *offsets, ptrdiff_t taps, double limit, double *restrict work,
                                    uint8_t *restrict out)
{
    double *restrict sum = work, *restrict missing = work + nx;
    for (ptrdiff_t y = 0; y < ny; y++) {
        memset(work, 0, (size_t)(2 * nx) * sizeof *work);
        for (ptrdiff_t t = 0; t < taps; t++) {
            const ptrdiff_t from = y + offsets[2 * t], dx = offsets[2 * t + 1];
            if (from < 0 || from >= ny)
                continue;
            const float *restrict row = value + from * nx + dx;
            const ptrdiff_t x0 = dx < 0 ? -dx : 0, x1 = dx > 0 ? nx - dx : nx;
            for (ptrdiff_t x = x0; x < x1; x++) {
                float v = row[x];
                int good = fabsf(v) <= 3.40282347e38f;
                sum[x] += good ? (double)v : 0.0;
                missing[x] += good ? 0.0 : 1.0;
            }
        }
        for (ptrdiff_t x = 0; x < nx; x++) {
            double n = (double)taps - missing[x];
            int good = (fabsf(value[y * nx + x]) <= 3.40282347e38f) & (n > 0.0);
            out[y * nx + x] = (uint8_t)(good & (sum[x] / n > limit));
        }
    }
}
