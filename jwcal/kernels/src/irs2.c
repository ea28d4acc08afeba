/* Interleaved readout (IRS2): image to time order and back, offsets and slopes, gaps. */
#include "jwcal.h"

#if defined(__FAST_MATH__)
#error "the values below must be rounded as written"
#endif

enum { BLOCK = 32 };

/* Image rows are samples of a line, image columns are lines: a transposition, done in blocks. */
JW_API JW_WIDE void jw_irs2_unfold(const float *image, const double *mean, ptrdiff_t nline,
                                   const ptrdiff_t *rows, const ptrdiff_t *slots, ptrdiff_t nsample,
                                   ptrdiff_t nslot, int reversed, float *series)
{
    for (ptrdiff_t k = 0; k < nline * nslot; k++)
        series[k] = 0.0f;
    for (ptrdiff_t n0 = 0; n0 < nline; n0 += BLOCK) {
        const ptrdiff_t width = nline - n0 < BLOCK ? nline - n0 : BLOCK;
        for (ptrdiff_t s0 = 0; s0 < nsample; s0 += BLOCK) {
            const ptrdiff_t height = nsample - s0 < BLOCK ? nsample - s0 : BLOCK;
            float block[BLOCK][BLOCK];
            for (ptrdiff_t s = 0; s < height; s++) {
                const ptrdiff_t x0 = reversed ? nline - n0 - width : n0;
                const float *from = image + rows[s0 + s] * nline + x0;
                const double *level = mean + rows[s0 + s] * nline + x0;
                for (ptrdiff_t n = 0; n < width; n++)
                    block[s][n] = (float)((double)from[n] - level[n]);
            }
            for (ptrdiff_t n = 0; n < width; n++) {
                float *to = series + (n0 + n) * nslot;
                const ptrdiff_t column = reversed ? width - 1 - n : n;
                for (ptrdiff_t s = 0; s < height; s++)
                    to[slots[s0 + s]] = block[s][column];
            }
        }
    }
}

JW_API JW_WIDE void jw_irs2_fold(const float *series, const float *correction, const double *mean,
                                 ptrdiff_t nline, const ptrdiff_t *from, const ptrdiff_t *to,
                                 const ptrdiff_t *slots, ptrdiff_t nsample, ptrdiff_t nslot,
                                 int reversed, float *image)
{
    for (ptrdiff_t n0 = 0; n0 < nline; n0 += BLOCK) {
        const ptrdiff_t width = nline - n0 < BLOCK ? nline - n0 : BLOCK;
        for (ptrdiff_t s0 = 0; s0 < nsample; s0 += BLOCK) {
            const ptrdiff_t height = nsample - s0 < BLOCK ? nsample - s0 : BLOCK;
            float block[BLOCK][BLOCK];
            for (ptrdiff_t n = 0; n < width; n++) {
                const ptrdiff_t line = (n0 + n) * nslot;
                const ptrdiff_t column = reversed ? width - 1 - n : n;
                for (ptrdiff_t s = 0; s < height; s++) {
                    const ptrdiff_t at = line + slots[s0 + s];
                    block[s][column] = correction ? series[at] - correction[at] : series[at];
                }
            }
            for (ptrdiff_t s = 0; s < height; s++) {
                const ptrdiff_t x0 = reversed ? nline - n0 - width : n0;
                float *out = image + to[s0 + s] * nline + x0;
                if (from[s0 + s] < 0) {
                    for (ptrdiff_t n = 0; n < width; n++)
                        out[n] = block[s][n];
                    continue;
                }
                const double *level = mean + from[s0 + s] * nline + x0;
                for (ptrdiff_t n = 0; n < width; n++)
                    out[n] = (float)((double)block[s][n] + level[n]);
            }
        }
    }
}

JW_API JW_WIDE void jw_irs2_detrend(float *series, ptrdiff_t count, float intercept, float slope)
{
    const double middle = (double)(count - 1) / 2;
    for (ptrdiff_t k = 0; k < count; k++) {
        const float time = (float)((double)(int32_t)k - middle);
        const float drift = intercept + time * slope;
        series[k] -= drift * (series[k] != 0.0f ? 1.0f : 0.0f);
    }
}

/* Weighted mean of the neighbours, the series being a ring, where a sample is exactly zero. */
JW_API void jw_irs2_bridge(const float *series, ptrdiff_t count, const double *weights, ptrdiff_t reach,
                           float *out)
{
    for (ptrdiff_t k = 0; k < count; k++) {
        out[k] = series[k];
        if (series[k] != 0.0f)
            continue;
        double sum = 0.0, total = 0.0;
        for (ptrdiff_t d = 0; d <= 2 * reach; d++) {
            /* The last comes first, as in the convolution of the official package. */
            const ptrdiff_t step = d == 0 ? reach : d - 1 - reach;
            ptrdiff_t at = k + step;
            at += at < 0 ? count : at >= count ? -count : 0;
            const double weight = weights[step + reach];
            sum += series[at] * weight;
            total += (series[at] != 0.0f ? 1.0 : 0.0) * weight;
        }
        const float upper = (float)sum, lower = (float)total;
        out[k] = series[k] + (lower == 0.0f ? 0.0f : upper / lower);
    }
}
