/* Saturation and A/D floor flags. */
#include "jwcal.h"
#include <string.h>

#define AD_FLOOR 64u
#define AD_LIMIT 65535.0f
#define INLINE static inline __attribute__((always_inline))

struct growth {
    ptrdiff_t nx, n; /* pixels in a row, and neighbours on each side */
    uint8_t *spread; /* workspace of one byte per pixel, for n rows more than there are */
    uint8_t *pad;    /* nx+2n bytes, zero at both ends */
    uint8_t *has;    /* which rows hold the bit, with n more in front */
};

INLINE uint8_t row_or(const uint8_t *restrict row, ptrdiff_t nx)
{
    uint8_t any = 0;
    for (ptrdiff_t x = 0; x < nx; x++)
        any |= row[x];
    return any;
}

/* Move n rows down by `step` rows, of which those from below come from `from`, masked by a bit. */
INLINE void remember(uint8_t *above, const uint8_t *from, uint8_t bit, ptrdiff_t step, const struct growth *w)
{
    const ptrdiff_t stay = step < w->n ? w->n - step : 0;
    memmove(above, above + (w->n - stay) * w->nx, (size_t)(stay * w->nx));
    for (ptrdiff_t y = stay; y < w->n; y++) {
        const uint8_t *restrict f = from + (step - w->n + y) * w->nx;
        uint8_t *restrict t = above + y * w->nx;
        for (ptrdiff_t x = 0; x < w->nx; x++)
            t[x] = f[x] & bit;
    }
}

/* OR a bit of `from`, of `rows` rows, spread over a box of 2n+1 pixels, into the first `done` rows of `to`.
   `above` are the n rows before, or null; it becomes those before the first that is not done. w->has
   must tell which rows hold the bit. */
INLINE void grow(const uint8_t *from, uint8_t *above, uint8_t *to, uint8_t bit, ptrdiff_t rows,
                 ptrdiff_t done, const struct growth *w)
{
    const ptrdiff_t nx = w->nx, n = w->n;
    uint8_t any = 0;
    for (ptrdiff_t y = 0; y < n; y++)
        any |= w->has[y] = above ? row_or(above + y * nx, nx) & bit : 0;
    for (ptrdiff_t y = n; y < n + rows; y++)
        any |= w->has[y];
    if (!any)
        return;
    for (ptrdiff_t y = 0; y < n + rows; y++) {
        if (!w->has[y])
            continue;
        const uint8_t *restrict f = y < n ? above + y * nx : from + (y - n) * nx;
        uint8_t *restrict s = w->spread + y * nx;
        uint8_t *restrict q = w->pad + n;
        for (ptrdiff_t x = 0; x < nx; x++)
            q[x] = f[x] & bit;
        for (ptrdiff_t x = 0; x < nx; x++)
            s[x] = 0;
        for (ptrdiff_t d = 0; d <= 2 * n; d++) {
            const uint8_t *restrict r = w->pad + d;
            for (ptrdiff_t x = 0; x < nx; x++)
                s[x] |= r[x];
        }
    }
    if (above)
        remember(above, from, bit, done, w);
    for (ptrdiff_t y = 0; y < done; y++) {
        uint8_t *restrict t = to + y * nx;
        for (ptrdiff_t v = y; v <= y + 2 * n && v < rows + n; v++) {
            if (!w->has[v])
                continue;
            const uint8_t *restrict s = w->spread + v * nx;
            for (ptrdiff_t x = 0; x < nx; x++)
                t[x] |= s[x];
        }
    }
}

/* nframe 0 leaves out the tests for saturation in the last frames of an averaged group. Rows before `fresh`
   have been looked at in the calls before; the first `ready` rows get all they will get. What is known
   of the n rows above is in `sat` and `hits` (nint, ngroup, n, nx) and `high` (nint, n, nx), or null.
   The byte workspace holds 3*ny*nx + ny + n + n*nx + nx + 2*n. */
JW_API JW_WIDE void jw_saturation(const float *restrict sci, uint8_t *restrict gdq,
                                  uint32_t *restrict pixeldq, float *restrict zero, ptrdiff_t nint,
                                  ptrdiff_t ngroup, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t si, ptrdiff_t sg,
                                  ptrdiff_t gi, ptrdiff_t gg, ptrdiff_t zi, const float *restrict threshold,
                                  const uint32_t *restrict dq, uint32_t no_check, const float *restrict bias,
                                  ptrdiff_t nframe, ptrdiff_t n, ptrdiff_t fresh, ptrdiff_t ready,
                                  uint8_t *sat, uint8_t *hits, uint8_t *high,
                                  float *restrict limit, uint8_t *restrict work)
{
    const ptrdiff_t npix = ny * nx;
    uint8_t *restrict tally = work, *restrict unchecked = work + npix;
    const struct growth w = {nx, n, work + 2 * npix, work + 3 * npix + n * nx,
                             work + 3 * npix + n * nx + nx + 2 * n};
    uint8_t *has = w.has + n;
    /* Rows that get their neighbours' saturation now; flags for averaged groups spread from them only. */
    const ptrdiff_t first = fresh < n ? 0 : fresh - n;
    const ptrdiff_t last = ready == ny ? ny : ny - n < first ? first : ny - n;
    memset(w.pad, 0, (size_t)(nx + 2 * n));
    for (ptrdiff_t p = 0; p < npix; p++) {
        const float t = threshold[p];
        const uint32_t off = t == t ? dq[p] & no_check : no_check;
        pixeldq[p] |= dq[p] | off;
        unchecked[p] = off != 0;
        limit[p] = off ? AD_LIMIT + 1.0f : t;
    }
    for (ptrdiff_t i = 0; i < nint; i++) {
        memset(tally, 0, (size_t)npix);
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            uint8_t *q = gdq + i * gi + g * gg;
            for (ptrdiff_t y = fresh; y < ny; y++) {
                const float *restrict s = sci + i * si + g * sg + y * nx;
                const float *restrict l = limit + y * nx;
                uint8_t *restrict f = q + y * nx;
                uint8_t *restrict t = tally + y * nx;
                uint8_t row = 0;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const float v = s[x];
                    const uint8_t full = v >= l[x] ? JW_SAT : 0u;
                    const uint8_t low = v <= 0.0f ? AD_FLOOR | JW_DNU : 0u;
                    t[x] |= full;
                    f[x] |= t[x] | low;
                    row |= f[x];
                }
                has[y - first] = row & JW_SAT;
            }
            for (ptrdiff_t y = first; y < fresh; y++)
                has[y - first] = row_or(q + y * nx, nx) & JW_SAT;
            if (n > 0)
                grow(q + first * nx, sat ? sat + (i * ngroup + g) * n * nx : NULL, q + first * nx, JW_SAT,
                     ny - first, last - first, &w);
        }
        for (ptrdiff_t g = ngroup - 2; nframe > 1 && g >= 0; g--) {
            uint8_t *q = gdq + i * gi + g * gg;
            const uint8_t *next = q + gg;
            const double middle = (double)(g * nframe) + (double)(nframe + 1) / 2.0;
            const double diluted = middle / (double)((g + 1) * nframe);
            for (ptrdiff_t y = 0; y < last; y++) {
                const float *restrict s = sci + i * si + g * sg + y * nx;
                uint8_t row = 0;
                has[y] = 0;
                if (!(row_or(next + y * nx, nx) & JW_SAT)) {
                    memset(tally + y * nx, 0, (size_t)nx);
                    continue;
                }
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const ptrdiff_t p = y * nx + x;
                    const double level = (double)limit[p] * (unchecked[p] ? 1.0 : diluted);
                    const uint8_t open = !(q[p] & (JW_SAT | JW_DNU)), full = (next[p] & JW_SAT) != 0;
                    const uint8_t hit = ((double)s[x] >= level) & open & full;
                    tally[p] = hit;
                    row |= hit;
                }
                has[y] = row;
            }
            grow(tally, hits ? hits + (i * ngroup + g) * n * nx : NULL, q, JW_DNU, last, ready, &w);
        }
        if (nframe > 0 && ngroup > 2) {
            const double mean = (double)(nframe + 1) / 2.0, end = (double)(3 * nframe);
            const float frames = (float)nframe;
            uint8_t *q2 = gdq + i * gi + gg;
            const uint8_t *q3 = q2 + gg;
            for (ptrdiff_t p = 0; p < ready * nx; p++) {
                if (!(q3[p] & JW_SAT) || (q2[p] & JW_SAT))
                    continue;
                const float s1 = sci[i * si + p], s2 = sci[i * si + sg + p], b = bias ? bias[p] : 0.0f;
                const double third = ((double)(s1 - b) / mean) * end + (double)b;
                if (third < (double)limit[p] && s2 - s1 > (limit[p] - s1) / frames)
                    q2[p] |= JW_DNU;
            }
        }
        if (zero) {
            float *restrict z = zero + i * zi;
            for (ptrdiff_t y = 0; y < ny; y++) {
                uint8_t row = 0;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const ptrdiff_t p = y * nx + x;
                    const uint8_t full = z[p] >= limit[p] ? JW_SAT : 0u;
                    const uint8_t low = z[p] <= 0.0f ? JW_DNU : 0u;
                    tally[p] = full | low;
                    row |= full;
                }
                has[y] = row;
            }
            grow(tally, high ? high + i * n * nx : NULL, tally, JW_SAT, ny, ready, &w);
            for (ptrdiff_t p = 0; p < ready * nx; p++)
                z[p] = tally[p] ? 0.0f : z[p];
        }
    }
}
