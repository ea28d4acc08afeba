/* Detector corrections that treat every pixel alone: flags, bias, dark. */
#include "jwcal.h"

JW_API JW_WIDE void jw_initialise_dq(uint32_t *restrict pixeldq, uint8_t *restrict gdq,
                                     const uint32_t *restrict mask, ptrdiff_t nint, ptrdiff_t ngroup,
                                     ptrdiff_t npix, ptrdiff_t gi, ptrdiff_t gg)
{
    enum { BLOCK = 1024 };
    uint8_t bad[BLOCK];
    for (ptrdiff_t p = 0; p < npix; p += BLOCK) {
        const ptrdiff_t n = npix - p < BLOCK ? npix - p : BLOCK;
        for (ptrdiff_t k = 0; k < n; k++) {
            pixeldq[p + k] |= mask[p + k];
            bad[k] = (uint8_t)(mask[p + k] & JW_DNU);
        }
        for (ptrdiff_t i = 0; i < nint; i++)
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                uint8_t *restrict q = gdq + i * gi + g * gg + p;
                for (ptrdiff_t k = 0; k < n; k++)
                    q[k] |= bad[k];
            }
    }
}

JW_API JW_WIDE void jw_subtract_bias(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t npix,
                                     ptrdiff_t si, ptrdiff_t sg, float *restrict zero, ptrdiff_t zi,
                                     uint32_t *restrict pixeldq, const float *restrict bias,
                                     const uint32_t *restrict dq)
{
    enum { BLOCK = 512 };
    float level[BLOCK];
    for (ptrdiff_t p = 0; p < npix; p += BLOCK) {
        const ptrdiff_t n = npix - p < BLOCK ? npix - p : BLOCK;
        for (ptrdiff_t k = 0; k < n; k++) {
            const float b = bias[p + k];
            level[k] = b == b ? b : 0.0f;
            pixeldq[p + k] |= dq[p + k];
        }
        for (ptrdiff_t i = 0; i < nint; i++) {
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                float *restrict s = sci + i * si + g * sg + p;
                for (ptrdiff_t k = 0; k < n; k++)
                    s[k] -= level[k];
            }
            if (zero) {
                float *restrict z = zero + i * zi + p;
                for (ptrdiff_t k = 0; k < n; k++) {
                    const float v = z[k];
                    z[k] = v == 0.0f ? 0.0f : v - level[k];
                }
            }
        }
    }
}

/* The mean of frames in single precision, first to last, with NaN counted as zero. */
JW_API JW_WIDE void jw_average_frames(const float *restrict frames, ptrdiff_t nframe, ptrdiff_t stride,
                                      ptrdiff_t npix, float *restrict out)
{
    const float count = (float)nframe;
    for (ptrdiff_t k = 0; k < npix; k++) {
        const float v = frames[k];
        out[k] = v == v ? v : 0.0f;
    }
    for (ptrdiff_t f = 1; f < nframe; f++) {
        const float *restrict s = frames + f * stride;
        for (ptrdiff_t k = 0; k < npix; k++) {
            const float v = s[k];
            out[k] += v == v ? v : 0.0f;
        }
    }
    for (ptrdiff_t k = 0; k < npix; k++)
        out[k] /= count;
}

JW_API JW_WIDE void jw_subtract_dark(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t npix,
                                     ptrdiff_t si, ptrdiff_t sg, const float *restrict dark, ptrdiff_t di,
                                     ptrdiff_t dg, const int32_t *restrict which)
{
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            float *restrict s = sci + i * si + g * sg;
            const float *restrict d = dark + which[i] * di + g * dg;
            for (ptrdiff_t k = 0; k < npix; k++) {
                const float v = d[k];
                s[k] -= v == v ? v : 0.0f;
            }
        }
}

JW_API JW_WIDE void jw_subtract_dark64(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t npix,
                                       ptrdiff_t si, ptrdiff_t sg, const double *restrict dark, ptrdiff_t di,
                                       ptrdiff_t dg, const int32_t *restrict which)
{
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            float *restrict s = sci + i * si + g * sg;
            const double *restrict d = dark + which[i] * di + g * dg;
            for (ptrdiff_t k = 0; k < npix; k++) {
                const double v = d[k];
                s[k] = (float)((double)s[k] - (v == v ? v : 0.0));
            }
        }
}
