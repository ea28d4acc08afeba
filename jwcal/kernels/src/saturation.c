/* Saturation and A/D floor flags. */
#include "jwcal.h"
#include <string.h>

#define AD_FLOOR 64u
#define AD_LIMIT 65535.0f

/* OR a bit of `from`, spread over a box of 2n+1 pixels, into `to`. `has` marks rows that hold the bit;
   `spread` takes one byte per pixel and `pad` nx+2n bytes. */
static inline __attribute__((always_inline)) void grow(const uint8_t *from, uint8_t *to, uint8_t bit,
                                                       ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t n,
                                                       const uint8_t *has, uint8_t *spread, uint8_t *pad)
{
    for (ptrdiff_t y = 0; y < ny; y++) {
        if (!has[y])
            continue;
        const uint8_t *restrict f = from + y * nx;
        uint8_t *restrict s = spread + y * nx;
        uint8_t *restrict q = pad + n;
        for (ptrdiff_t x = 0; x < nx; x++)
            q[x] = f[x] & bit;
        for (ptrdiff_t x = 0; x < nx; x++)
            s[x] = 0;
        for (ptrdiff_t d = 0; d <= 2 * n; d++) {
            const uint8_t *restrict r = pad + d;
            for (ptrdiff_t x = 0; x < nx; x++)
                s[x] |= r[x];
        }
    }
    for (ptrdiff_t y = 0; y < ny; y++) {
        const ptrdiff_t a = y - n < 0 ? 0 : y - n, b = y + n >= ny ? ny - 1 : y + n;
        uint8_t *restrict t = to + y * nx;
        for (ptrdiff_t v = a; v <= b; v++) {
            if (!has[v])
                continue;
            const uint8_t *restrict s = spread + v * nx;
            for (ptrdiff_t x = 0; x < nx; x++)
                t[x] |= s[x];
        }
    }
}

/* nframe 0 leaves out the tests for saturation in the last frames of an averaged group. The byte workspace
   holds 3*ny*nx + 2*ny + nx + 2*n. */
JW_API JW_WIDE void jw_saturation(const float *restrict sci, uint8_t *restrict gdq,
                                  uint32_t *restrict pixeldq, float *restrict zero, ptrdiff_t nint,
                                  ptrdiff_t ngroup, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t si, ptrdiff_t sg,
                                  ptrdiff_t gi, ptrdiff_t gg, ptrdiff_t zi, const float *restrict threshold,
                                  const uint32_t *restrict dq, uint32_t no_check, const float *restrict bias,
                                  ptrdiff_t nframe, ptrdiff_t n,
                                  float *restrict limit, uint8_t *restrict work)
{
    const ptrdiff_t npix = ny * nx;
    uint8_t *restrict tally = work, *restrict unchecked = work + npix, *restrict spread = work + 2 * npix;
    uint8_t *restrict has = work + 3 * npix, *restrict found = has + ny, *restrict pad = found + ny;
    memset(pad, 0, (size_t)(nx + 2 * n));
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
            uint8_t any = 0;
            for (ptrdiff_t y = 0; y < ny; y++) {
                const float *restrict s = sci + i * si + g * sg + y * nx;
                const float *restrict l = limit + y * nx;
                uint8_t *restrict q = gdq + i * gi + g * gg + y * nx;
                uint8_t *restrict t = tally + y * nx;
                uint8_t row = 0;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const float v = s[x];
                    const uint8_t high = v >= l[x] ? JW_SAT : 0u;
                    const uint8_t low = v <= 0.0f ? AD_FLOOR | JW_DNU : 0u;
                    t[x] |= high;
                    q[x] |= t[x] | low;
                    row |= q[x];
                }
                has[y] = row & JW_SAT;
                any |= has[y];
            }
            uint8_t *q = gdq + i * gi + g * gg;
            if (any && n > 0)
                grow(q, q, JW_SAT, ny, nx, n, has, spread, pad);
        }
        for (ptrdiff_t g = ngroup - 2; nframe > 1 && g >= 0; g--) {
            uint8_t *q = gdq + i * gi + g * gg;
            const uint8_t *next = q + gg;
            const double middle = (double)(g * nframe) + (double)(nframe + 1) / 2.0;
            const double diluted = middle / (double)((g + 1) * nframe);
            uint8_t any = 0;
            for (ptrdiff_t y = 0; y < ny; y++) {
                const float *restrict s = sci + i * si + g * sg + y * nx;
                uint8_t row = 0;
                for (ptrdiff_t x = 0; x < nx; x++)
                    row |= next[y * nx + x];
                found[y] = 0;
                if (!(row & JW_SAT))
                    continue;
                row = 0;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    const ptrdiff_t p = y * nx + x;
                    const double level = (double)limit[p] * (unchecked[p] ? 1.0 : diluted);
                    const uint8_t open = !(q[p] & (JW_SAT | JW_DNU)), full = (next[p] & JW_SAT) != 0;
                    const uint8_t hit = ((double)s[x] >= level) & open & full;
                    tally[p] = hit;
                    row |= hit;
                }
                found[y] = row;
                any |= row;
            }
            if (any)
                grow(tally, q, JW_DNU, ny, nx, n, found, spread, pad);
        }
        if (nframe > 0 && ngroup > 2) {
            const double mean = (double)(nframe + 1) / 2.0, end = (double)(3 * nframe);
            const float frames = (float)nframe;
            uint8_t *q2 = gdq + i * gi + gg;
            const uint8_t *q3 = q2 + gg;
            for (ptrdiff_t p = 0; p < npix; p++) {
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
                    const uint8_t high = z[p] >= limit[p] ? JW_SAT : 0u;
                    const uint8_t low = z[p] <= 0.0f ? JW_DNU : 0u;
                    tally[p] = high | low;
                    row |= high;
                }
                has[y] = row;
            }
            grow(tally, tally, JW_SAT, ny, nx, n, has, spread, pad);
            for (ptrdiff_t p = 0; p < npix; p++)
                z[p] = tally[p] ? 0.0f : z[p];
        }
    }
}
