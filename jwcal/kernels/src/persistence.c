/* Persistence: windows after saturation, and traps that fill with signal and release it later. */
#include "jwcal.h"
#include <math.h>

/* Flag the groups in a window of time after a pixel was first saturated or above a signal.
   `end` is the end of the window of every pixel, 0 for none. */
JW_API JW_WIDE void jw_flag_windows(const float *sci, uint8_t *gdq, ptrdiff_t nint, ptrdiff_t ngroup,
                                    ptrdiff_t npix, ptrdiff_t si, ptrdiff_t sg, ptrdiff_t qi, ptrdiff_t qg,
                                    const double *time, double length, float limit, uint8_t flag,
                                    double *restrict end, int32_t *restrict saturated)
{
    for (ptrdiff_t i = 0; i < nint; i++) {
        for (ptrdiff_t p = 0; p < npix; p++)
            saturated[p] = 0;
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            const float *restrict s = sci + i * si + g * sg;
            uint8_t *restrict q = gdq + i * qi + g * qg;
            const double now = time[i * ngroup + g], until = now + length;
            for (ptrdiff_t p = 0; p < npix; p++) {
                double e = end[p] < now ? 0.0 : end[p];
                saturated[p] += (q[p] & JW_SAT) != 0;
                e = saturated[p] == 1 ? until : e;
                e = (s[p] > limit) & !(e > 0.0) ? until : e;
                /* A window that begins later comes from a history that is not one. */
                e = (e != 0.0) & (e - until > 0.0) ? 0.0 : e;
                q[p] |= e > 0.0 ? flag : 0;
                end[p] = e;
            }
        }
    }
}

/* Fill and empty the traps during an integration whose signal grows at a constant rate. */
JW_API JW_WIDE void jw_fill_traps(float *restrict traps, ptrdiff_t nfamily, ptrdiff_t npix,
                                  const float *restrict rate, float full_well, const float *amplitude,
                                  const float *threshold, const float *release, const float *capture,
                                  const float *middle, ptrdiff_t nstep)
{
    for (ptrdiff_t k = 0; k < nfamily; k++) {
        float *restrict n = traps + k * npix;
        const float a = amplitude[k], least = threshold[k], out = release[k], in = capture[k];
        for (ptrdiff_t t = 0; t < nstep; t++) {
            const float time = middle[t];
            for (ptrdiff_t p = 0; p < npix; p++) {
                float q = rate[p] * time;
                q = q < full_well ? q : full_well;
                q = q - least;
                float full = a * (q > 0.0f ? q : 0.0f);
                n[p] = full + (n[p] - full) * (full > n[p] ? in : out);
            }
        }
    }
}

/* Charge released since the reset at every group of an integration, by family; the traps go on. */
JW_API JW_WIDE void jw_release_traps(float *restrict traps, ptrdiff_t nfamily, ptrdiff_t npix,
                                     const float *sci, ptrdiff_t sg, const uint8_t *gdq, ptrdiff_t qg,
                                     const float *restrict gain, ptrdiff_t ngroup, float full_well,
                                     const float *amplitude, const float *threshold, const float *release,
                                     const float *capture, float *out)
{
    for (ptrdiff_t k = 0; k < nfamily; k++) {
        float *restrict n = traps + k * npix;
        const float a = amplitude[k], least = threshold[k];
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            const float off = release[2 * k + (g > 0)], in = capture[2 * k + (g > 0)];
            const float *restrict s = sci + g * sg, *restrict before = sci + (g > 0 ? g - 1 : 0) * sg;
            const uint8_t *restrict q = gdq + g * qg;
            const float weight = g > 0 ? 0.5f : 0.0f;
            const float *last = out + (k * ngroup + (g > 0 ? g - 1 : 0)) * npix;
            float *to = out + (k * ngroup + g) * npix;
            for (ptrdiff_t p = 0; p < npix; p++) {
                float level = (0.5f * s[p] + weight * before[p]) * gain[p];
                level = level < full_well ? level : full_well;
                level = q[p] & JW_SAT ? full_well : level;
                level = level - least;
                float full = a * (level > 0.0f ? level : 0.0f);
                float next = full + (n[p] - full) * (full > n[p] ? in : off);
                float gone = n[p] - next;
                to[p] = (g > 0 ? last[p] : 0.0f) + (gone > 0.0f ? gone : 0.0f);
                n[p] = next;
            }
        }
    }
}
