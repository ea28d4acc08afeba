/* Periodic interference in MIRI ramps: scatter of pixels, sums by phase, and subtraction of a waveform.
   A line of four neighbouring columns, one of each output, is read at the same time. */
#include "jwcal.h"
#include <math.h>

#define BLOCK 64

/* Standard deviation over the groups, in single precision, groups added in order. */
JW_API JW_WIDE void jw_emi_scatter(const float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t n,
                                   ptrdiff_t si, ptrdiff_t sg, float *restrict out)
{
    const float count = (float)ngroup;
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t first = 0; first < n; first += BLOCK) {
            const ptrdiff_t m = n - first < BLOCK ? n - first : BLOCK;
            const float *ramp = sci + i * si + first;
            float mean[BLOCK], sum[BLOCK];
            for (ptrdiff_t x = 0; x < m; x++)
                mean[x] = ramp[x];
            for (ptrdiff_t g = 1; g < ngroup; g++)
                for (ptrdiff_t x = 0; x < m; x++)
                    mean[x] += ramp[g * sg + x];
            for (ptrdiff_t x = 0; x < m; x++) {
                mean[x] /= count;
                const float d = ramp[x] - mean[x];
                sum[x] = d * d;
            }
            for (ptrdiff_t g = 1; g < ngroup; g++)
                for (ptrdiff_t x = 0; x < m; x++) {
                    const float d = ramp[g * sg + x] - mean[x];
                    sum[x] += d * d;
                }
            for (ptrdiff_t x = 0; x < m; x++)
                out[i * n + first + x] = sqrtf(sum[x] / count);
        }
}

/* Standard deviation of the groups about a straight line, in double precision; x*x summed over groups is `moment`,
   x being the group less the mean group. */
JW_API JW_WIDE void jw_emi_roughness(const float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t n,
                                     ptrdiff_t si, ptrdiff_t sg, double moment, float *restrict out)
{
    const double count = (double)ngroup, middle = 0.5 * (double)(ngroup - 1);
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t first = 0; first < n; first += BLOCK) {
            const ptrdiff_t m = n - first < BLOCK ? n - first : BLOCK;
            const float *ramp = sci + i * si + first;
            double mean[BLOCK], slope[BLOCK], sum[BLOCK];
            for (ptrdiff_t x = 0; x < m; x++)
                mean[x] = slope[x] = sum[x] = 0;
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                const double t = (double)g - middle;
                for (ptrdiff_t x = 0; x < m; x++) {
                    const double v = (double)ramp[g * sg + x];
                    mean[x] += v;
                    slope[x] += t * v;
                }
            }
            for (ptrdiff_t x = 0; x < m; x++) {
                mean[x] /= count;
                slope[x] /= moment;
            }
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                const double t = (double)g - middle;
                for (ptrdiff_t x = 0; x < m; x++) {
                    const double d = (double)ramp[g * sg + x] - mean[x] - t * slope[x];
                    sum[x] += d * d;
                }
            }
            for (ptrdiff_t x = 0; x < m; x++)
                out[i * n + first + x] = (float)sqrt(sum[x] / (count - 2));
        }
}

/* Add pixels whose scatter is below `limit` to sums[int][group][phase] (units of 2^-20 DN, so that the order
   does not matter) and counts[int][phase]; `bin` is the phase of a pixel, negative for one never used. */
JW_API void jw_emi_fold(const float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t n, ptrdiff_t si,
                        ptrdiff_t sg, const float *restrict scatter, const int32_t *restrict bin, float limit,
                        ptrdiff_t nphase, int64_t *restrict sums, int64_t *restrict counts)
{
    for (ptrdiff_t i = 0; i < nint; i++) {
        const float *s = scatter + i * n;
        for (ptrdiff_t x = 0; x < n; x++)
            if (bin[x] >= 0 && s[x] < limit)
                counts[i * nphase + bin[x]]++;
        for (ptrdiff_t g = 0; g < ngroup; g++) {
            const float *group = sci + i * si + g * sg;
            int64_t *to = sums + (i * ngroup + g) * nphase;
            for (ptrdiff_t x = 0; x < n; x++)
                if (bin[x] >= 0 && s[x] < limit)
                    to[bin[x]] += (int64_t)rint((double)group[x] * 1048576.0);
        }
    }
}

static inline double wave_at(double phase, const double *restrict cubic, double n)
{
    const double at = phase * n + 0.5;
    ptrdiff_t piece = (ptrdiff_t)at;
    const double t = at - (double)piece;
    const double *c = cubic + 4 * piece;
    return c[0] + t * (c[1] + t * (c[2] + t * c[3]));
}

static inline double fraction(double x)
{
    return x - floor(x);
}

/* Value of a waveform of n samples (n + 1 cubic pieces) at phases from 0 to 1. */
JW_API void jw_emi_wave(const double *restrict phase, ptrdiff_t count, const double *restrict cubic, ptrdiff_t n,
                        double *restrict out)
{
    for (ptrdiff_t x = 0; x < count; x++)
        out[x] = wave_at(phase[x], cubic, (double)n);
}

/* Subtract amplitude[int] * wave(phase + step[group] + shift[int]); `phase` is that of each line of four columns
   in the first group, `x0` the column of the detector frame at which the arrays begin. */
JW_API void jw_emi_subtract_wave(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t ny, ptrdiff_t nx,
                                 ptrdiff_t si, ptrdiff_t sg, ptrdiff_t x0, const double *restrict phase,
                                 ptrdiff_t nline, const double *restrict step, const double *restrict shift,
                                 const double *restrict amplitude, const double *restrict cubic, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t g = 0; g < ngroup; g++)
            for (ptrdiff_t y = 0; y < ny; y++) {
                float *row = sci + i * si + g * sg + y * nx;
                for (ptrdiff_t x = 0; x < nx;) {
                    const ptrdiff_t line = (x0 + x) / 4, end = 4 * (line + 1) - x0 < nx ? 4 * (line + 1) - x0 : nx;
                    const double at = fraction(phase[y * nline + line] + step[g] + shift[i]);
                    const double noise = amplitude[i] * wave_at(at, cubic, (double)n);
                    for (; x < end; x++)
                        row[x] = (float)((double)row[x] - noise);
                }
            }
}

/* Subtract the entry of a look-up table of one period; start[int][group][row] is the time of the first line. */
JW_API void jw_emi_subtract_table(float *restrict sci, ptrdiff_t nint, ptrdiff_t ngroup, ptrdiff_t ny,
                                  ptrdiff_t nx, ptrdiff_t si, ptrdiff_t sg, ptrdiff_t x0,
                                  const double *restrict start, double samples, double last, ptrdiff_t nline,
                                  double period, const double *restrict table, ptrdiff_t size)
{
    for (ptrdiff_t i = 0; i < nint; i++)
        for (ptrdiff_t g = 0; g < ngroup; g++)
            for (ptrdiff_t y = 0; y < ny; y++) {
                float *row = sci + i * si + g * sg + y * nx;
                const double begin = start[(i * ngroup + g) * ny + y];
                for (ptrdiff_t x = 0; x < nx;) {
                    const ptrdiff_t line = (x0 + x) / 4, end = 4 * (line + 1) - x0 < nx ? 4 * (line + 1) - x0 : nx;
                    const double time = begin + (double)line * samples + (line == nline - 1 ? last : 0);
                    ptrdiff_t entry = (ptrdiff_t)(fraction(time / period) * period);
                    entry = entry < size ? entry : size - 1;
                    for (; x < end; x++)
                        row[x] = (float)((double)row[x] - table[entry]);
                }
            }
}
