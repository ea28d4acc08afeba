/* Polynomials that make ramps straight lines: sums of the normal equations, and what is left over. */
#include "jwcal.h"
#include <math.h>

#define BLOCK 64
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    ptrdiff_t ngroup;
    const double *kept;
    double centre[BLOCK], count[BLOCK], square[BLOCK];
} line_t;

/* Values, whether they count (1 or 0), and the moments of the times of those that do. */
INLINE void load(const float *restrict ramp, ptrdiff_t ngroup, ptrdiff_t npixel, ptrdiff_t m, double unit,
                 double *restrict x, double *restrict kept, line_t *restrict t)
{
    t->ngroup = ngroup;
    t->kept = kept;
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        t->centre[l] = t->count[l] = t->square[l] = 0.0;
    for (ptrdiff_t g = 0; g < ngroup; g++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const float value = l < m ? ramp[g * npixel + l] : NAN;
            const int fine = fabsf(value) <= 3.402823466e38f;
            x[g * BLOCK + l] = fine ? (double)value / unit : 0.0;
            kept[g * BLOCK + l] = fine ? 1.0 : 0.0;
            t->count[l] += fine ? 1.0 : 0.0;
            t->centre[l] += fine ? (double)g : 0.0;
        }
    for (ptrdiff_t l = 0; l < BLOCK; l++) {
        t->count[l] = t->count[l] > 1.0 ? t->count[l] : 1.0;
        t->centre[l] /= t->count[l];
    }
    for (ptrdiff_t g = 0; g < ngroup; g++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double d = (double)g - t->centre[l];
            t->square[l] += kept[g * BLOCK + l] > 0.0 ? d * d : 0.0;
        }
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        t->square[l] = t->square[l] > 1e-30 ? t->square[l] : 1e-30;
}

/* Line through y; `rest`: replace y by what is left when the line is taken out, else by the line itself. */
INLINE void line(const line_t *restrict t, double *restrict y, int rest)
{
    double mean[BLOCK], slope[BLOCK];
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        mean[l] = slope[l] = 0.0;
    for (ptrdiff_t g = 0; g < t->ngroup; g++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double v = t->kept[g * BLOCK + l] > 0.0 ? y[g * BLOCK + l] : 0.0;
            mean[l] += v;
            slope[l] += v * ((double)g - t->centre[l]);
        }
    for (ptrdiff_t l = 0; l < BLOCK; l++) {
        mean[l] /= t->count[l];
        slope[l] /= t->square[l];
    }
    for (ptrdiff_t g = 0; g < t->ngroup; g++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double on = mean[l] + slope[l] * ((double)g - t->centre[l]);
            const double v = rest ? y[g * BLOCK + l] - on : on;
            y[g * BLOCK + l] = t->kept[g * BLOCK + l] > 0.0 ? v : 0.0;
        }
}

INLINE void polynomial(const double *restrict x, const double *restrict c, ptrdiff_t order, double *restrict out)
{
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        out[l] = 0.0;
    for (ptrdiff_t j = order - 1; j >= 0; j--)
        for (ptrdiff_t l = 0; l < BLOCK; l++)
            out[l] = (out[l] + c[j * BLOCK + l]) * x[l];
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        out[l] = (out[l] + 1.0) * x[l];
}

/* One step towards the x whose polynomial is `wanted`. */
INLINE void newton(double *restrict x, const double *restrict wanted, const double *restrict c, ptrdiff_t order)
{
    double value[BLOCK], slope[BLOCK];
    polynomial(x, c, order, value);
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        slope[l] = 0.0;
    for (ptrdiff_t j = order - 1; j >= 0; j--)
        for (ptrdiff_t l = 0; l < BLOCK; l++)
            slope[l] = (slope[l] + (double)(j + 2) * c[j * BLOCK + l]) * x[l];
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        x[l] -= (value[l] - wanted[l]) / (slope[l] + 1.0);
}

INLINE void gather(const double *restrict c, ptrdiff_t order, ptrdiff_t npixel, ptrdiff_t m, double *restrict out)
{
    for (ptrdiff_t j = 0; j < order; j++)
        for (ptrdiff_t l = 0; l < BLOCK; l++)
            out[j * BLOCK + l] = l < m ? c[j * npixel + l] : 0.0;
}

/* Powers x, x^2 ... of every group without their lines, one after the other. */
INLINE void powers(const line_t *restrict t, const double *restrict x, ptrdiff_t first, ptrdiff_t last,
                   double *restrict out)
{
    const ptrdiff_t size = t->ngroup * BLOCK;
    for (ptrdiff_t i = 0; i < size; i++) {
        double v = x[i];
        for (ptrdiff_t j = 2; j <= first; j++)
            v *= x[i];
        out[i] = v;
    }
    for (ptrdiff_t j = first + 1; j <= last; j++)
        for (ptrdiff_t i = 0; i < size; i++)
            out[(j - first) * size + i] = out[(j - first - 1) * size + i] * x[i];
    for (ptrdiff_t j = first; j <= last; j++)
        line(t, out + (j - first) * size, 1);
}

/* Add the normal equations of one ramp; `work` has room for (2 order + 4) ngroup BLOCK values. */
JW_API JW_WIDE void jw_straight_sums(const float *restrict ramp, ptrdiff_t ngroup, ptrdiff_t npixel, double unit,
                                     const double *restrict c, ptrdiff_t order, const uint8_t *restrict used,
                                     double *restrict normal, double *restrict right, double *restrict work)
{
    const ptrdiff_t size = ngroup * BLOCK;
    double *x = work, *kept = work + size, *power = work + 2 * size, *tool = power + (order + 1) * size;
    for (ptrdiff_t first = 0; first < npixel; first += BLOCK) {
        const ptrdiff_t m = npixel - first < BLOCK ? npixel - first : BLOCK;
        line_t t;
        load(ramp + first, ngroup, npixel, m, unit, x, kept, &t);
        powers(&t, x, 1, order + 1, power);
        const double *with = power + size;
        if (c != NULL) {
            double own[16 * BLOCK];
            gather(c + first, order, npixel, m, own);
            double *model = tool + order * size;
            for (ptrdiff_t g = 0; g < ngroup; g++)
                polynomial(x + g * BLOCK, own, order, model + g * BLOCK);
            line(&t, model, 0);
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                double *at = x + g * BLOCK;
                for (int k = 0; k < 4; k++)
                    newton(at, model + g * BLOCK, own, order);
                for (ptrdiff_t l = 0; l < BLOCK; l++)
                    at[l] = (kept[g * BLOCK + l] > 0.0) & (fabs(at[l]) <= 1e6) ? at[l] : 0.0;
            }
            powers(&t, x, 2, order + 1, tool);
            with = tool;
        }
        for (ptrdiff_t a = 0; a < order; a++)
            for (ptrdiff_t b = 0; b <= order; b++) {
                double sum[BLOCK];
                for (ptrdiff_t l = 0; l < BLOCK; l++)
                    sum[l] = 0.0;
                for (ptrdiff_t g = 0; g < ngroup; g++)
                    for (ptrdiff_t l = 0; l < BLOCK; l++)
                        sum[l] += with[a * size + g * BLOCK + l] * power[b * size + g * BLOCK + l];
                double *out = b ? normal + (a * order + b - 1) * npixel + first : right + a * npixel + first;
                for (ptrdiff_t l = 0; l < m; l++)
                    out[l] += used[first + l] ? (b ? sum[l] : -sum[l]) : 0.0;
            }
    }
}

/* Root mean square of what is left of a corrected ramp without its line; NaN without values to spare. */
JW_API JW_WIDE void jw_straight_rest(const float *restrict ramp, ptrdiff_t ngroup, ptrdiff_t npixel, double unit,
                                     const double *restrict c, ptrdiff_t order, double *restrict out,
                                     double *restrict work)
{
    const ptrdiff_t size = ngroup * BLOCK;
    double *x = work, *kept = work + size, *y = work + 2 * size;
    for (ptrdiff_t first = 0; first < npixel; first += BLOCK) {
        const ptrdiff_t m = npixel - first < BLOCK ? npixel - first : BLOCK;
        line_t t;
        double own[16 * BLOCK], sum[BLOCK], count[BLOCK];
        load(ramp + first, ngroup, npixel, m, unit, x, kept, &t);
        gather(c + first, order, npixel, m, own);
        for (ptrdiff_t g = 0; g < ngroup; g++)
            polynomial(x + g * BLOCK, own, order, y + g * BLOCK);
        line(&t, y, 1);
        for (ptrdiff_t l = 0; l < BLOCK; l++)
            sum[l] = count[l] = 0.0;
        for (ptrdiff_t g = 0; g < ngroup; g++)
            for (ptrdiff_t l = 0; l < BLOCK; l++) {
                sum[l] += y[g * BLOCK + l] * y[g * BLOCK + l];
                count[l] += kept[g * BLOCK + l];
            }
        for (ptrdiff_t l = 0; l < m; l++)
            out[first + l] = count[l] > 2.0 ? sqrt(sum[l] / (count[l] - 2.0)) : NAN;
    }
}
