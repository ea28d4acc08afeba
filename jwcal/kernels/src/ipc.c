/* Convolution of the science pixels of each group with an inter-pixel capacitance kernel. */
#include "jwcal.h"
#include <string.h>

/* `kernel` holds ky*kx values (kstride 0) or ky*kx planes of ny*nx values (kstride ny*nx). `work` holds the
   science region with a zero border, (y1-y0+ky-1) * (x1-x0+kx-1) floats. The middle value, the largest, is
   added last. */
JW_API JW_WIDE void jw_convolve(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t nx,
                                ptrdiff_t si, ptrdiff_t sg, const float *restrict kernel, ptrdiff_t ky,
                                ptrdiff_t kx,
                                ptrdiff_t kstride, ptrdiff_t y0, ptrdiff_t y1, ptrdiff_t x0, ptrdiff_t x1,
                                float *restrict work)
{
    const ptrdiff_t h = y1 - y0, w = x1 - x0, wide = w + kx - 1, my = ky / 2, mx = kx / 2;
    memset(work, 0, (size_t)((h + ky - 1) * wide) * sizeof(float));
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            float *plane = sci + i * si + g * sg;
            for (ptrdiff_t y = 0; y < h; y++)
                memcpy(work + (y + my) * wide + mx, plane + (y0 + y) * nx + x0, (size_t)w * sizeof(float));
            for (ptrdiff_t y = 0; y < h; y++) {
                float *restrict out = plane + (y0 + y) * nx + x0;
                memset(out, 0, (size_t)w * sizeof(float));
                for (ptrdiff_t t = 0; t <= ky * kx; t++) {
                    const ptrdiff_t tap = t == ky * kx ? my * kx + mx : t;
                    if (t == my * kx + mx)
                        continue;
                    const float *restrict in = work + (y + ky - 1 - tap / kx) * wide + (kx - 1 - tap % kx);
                    if (kstride) {
                        const float *restrict k = kernel + tap * kstride + (y0 + y) * nx + x0;
                        for (ptrdiff_t x = 0; x < w; x++)
                            out[x] += k[x] * in[x];
                    } else {
                        const float k = kernel[tap];
                        for (ptrdiff_t x = 0; x < w; x++)
                            out[x] += k * in[x];
                    }
                }
            }
        }
}
