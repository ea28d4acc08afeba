/* Large events: the median difference of a pixel, and where the mean of a ring around a pixel exceeds a
   limit. */
#include "sort.h"
#include <stdlib.h>

#define LANES 64
/* Up to this many differences, sorting a whole block at once stays in the first-level cache. */
#define WIDE_LIMIT 96

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
