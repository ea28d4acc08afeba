/* Generalised least squares of the differences of a ramp, for n pixels at a time.

   Arrays are [m][n] for m differences; `use` is 1 or 0.  The covariance has `center` on its diagonal
   and `side` next to it; a difference that is not used stands alone, so that its neighbours do not
   know of it. */
#ifndef JW_OPTIMAL_H
#define JW_OPTIMAL_H
#include "sort.h"
#include <stdlib.h>

#define LANES 64
#define DEGENERATE 1.0e-9
#define CHAIN_ROWS 8
#define MOST_PARTS 4
#define NEGATIVE 255u
#define CLASSES 16  /* of what a neighbour says: 0 for one of a pair, then by octaves of its size */
#define STEPS 8.0f  /* of a squared significance that is kept in a byte */
#define LEAST 32.0f /* the smallest that is kept, 2 sigma */
/* Lanes know nothing of each other, which the compiler cannot see from pointers alone. */
#if defined(__GNUC__) && !defined(__clang__)
#define LANEWISE _Pragma("GCC ivdep")
#else
#define LANEWISE
#endif
#define EACH_LANE LANEWISE for (ptrdiff_t l = 0; l < n; l++)

struct chain {
    double *inverse, *lower, *y, *t; /* of the decomposition */
    double *v, *w;                   /* covariance^-1 times the differences, and times 1 */
    double *g, *h;                   /* diagonal and off-diagonal of covariance^-1 */
    double weight[LANES], sum[LANES];
};

struct optimal_args {
    const float *sci;
    uint8_t *gdq;
    const uint32_t *pdq;
    const float *gain, *rnoise, *dark, *zero;
    float *rate[4]; /* slope, error, Poisson variance, read variance */
    uint32_t *rate_dq;
    float *ints[4];
    uint32_t *ints_dq;
    ptrdiff_t sci_int, sci_group, gdq_int, gdq_group, zero_int;
    ptrdiff_t nint, ngroup, ny, nx, nparts;
    double group_time, nframes, shared, rounding, noise_factor, reset_noise;
    double first_time, first_variance, frame_time;                 /* the last in group times */
    double limit, scale_up, scale_down, scale_split; /* 1 / limit^2 */
    double tail_up, tail_down, tail_split;
    double scale_near[CLASSES], tail_near[CLASSES];
    double parts[MOST_PARTS]; /* 1, and what averaging can leave of a jump in its first difference */
    int32_t common, suppress, unbiased, small_counts, near, pair; /* the last 0, or of two bytes */
    uint32_t no_gain;
};

INLINE void attach(struct chain *c, double *space, ptrdiff_t m, ptrdiff_t n)
{
    double **rows[CHAIN_ROWS] = {&c->inverse, &c->lower, &c->y, &c->t, &c->v, &c->w, &c->g, &c->h};
    for (ptrdiff_t k = 0; k < CHAIN_ROWS; k++)
        *rows[k] = space + k * m * n;
}

/* Poisson and read noise of a difference, and what two successive ones share. */
INLINE void covariance(const struct optimal_args *a, double signal, double read, double *center, double *side)
{
    *center = signal * (1.0 - 2.0 * a->shared) + 2.0 * read;
    *side = signal * a->shared - read;
}

INLINE void solve(struct chain *c, ptrdiff_t m, ptrdiff_t n, const double *use, const double *diff,
                  const double *center, const double *side)
{
    for (ptrdiff_t j = 0; j < m; j++) {
        const double *u = use + j * n, *d = diff + j * n, *u0 = j ? u - n : u;
        double *inverse = c->inverse + j * n, *lower = c->lower + j * n, *y = c->y + j * n, *t = c->t + j * n;
        if (j == 0) {
            EACH_LANE {
                y[l] = u[l] > 0.0 ? d[l] : 0.0;
                t[l] = u[l] > 0.0 ? 1.0 : 0.0;
                inverse[l] = 1.0 / (u[l] > 0.0 ? center[l] : 1.0);
            }
            continue;
        }
        /* lower[j - 1] joins j - 1 and j. */
        EACH_LANE {
            double both = u[l] * u0[l];
            double off = both > 0.0 ? side[l] : 0.0;
            double low = off * inverse[l - n];
            lower[l - n] = low;
            y[l] = (u[l] > 0.0 ? d[l] : 0.0) - low * y[l - n];
            t[l] = (u[l] > 0.0 ? 1.0 : 0.0) - low * t[l - n];
            inverse[l] = 1.0 / ((u[l] > 0.0 ? center[l] : 1.0) - off * low);
        }
    }
    for (ptrdiff_t j = m - 1; j >= 0; j--) {
        const double *inverse = c->inverse + j * n, *lower = c->lower + j * n, *y = c->y + j * n,
            *t = c->t + j * n;
        double *v = c->v + j * n, *w = c->w + j * n, *g = c->g + j * n, *h = c->h + j * n;
        if (j == m - 1) {
            EACH_LANE {
                v[l] = y[l] * inverse[l];
                w[l] = t[l] * inverse[l];
                g[l] = inverse[l];
            }
            continue;
        }
        EACH_LANE {
            double low = lower[l];
            h[l] = -low * g[l + n];
            v[l] = y[l] * inverse[l] - low * v[l + n];
            w[l] = t[l] * inverse[l] - low * w[l + n];
            g[l] = inverse[l] + low * low * g[l + n];
        }
    }
    EACH_LANE c->weight[l] = c->sum[l] = 0.0;
    for (ptrdiff_t j = 0; j < m; j++) {
        EACH_LANE {
            c->weight[l] += c->w[j * n + l];
            c->sum[l] += c->v[j * n + l];
        }
    }
}

/* Residual, information and use of a jump with a part of it in difference j, the rest in the next. */
INLINE void hit(const struct chain *c, ptrdiff_t j, ptrdiff_t l, ptrdiff_t n, double part, int whole,
                const double *use, double slope, double over, double *u, double *know, int *fits)
{
    ptrdiff_t p = j * n + l, q = p + n;
    double u0 = c->v[p] - slope * c->w[p];
    double know0 = c->g[p] - c->w[p] * c->w[p] * over;
    if (whole) {
        *u = u0;
        *know = know0;
        *fits = (use[p] > 0.0) & (know0 > DEGENERATE * c->g[p]);
        return;
    }
    double rest = 1.0 - part;
    double u1 = c->v[q] - slope * c->w[q];
    double know1 = c->g[q] - c->w[q] * c->w[q] * over;
    double mixed = c->h[p] - c->w[p] * c->w[q] * over;
    *u = part * u0 + rest * u1;
    *know = part * part * know0 + rest * rest * know1 + 2.0 * part * rest * mixed;
    *fits = (use[p] * use[q] > 0.0) & (*know > DEGENERATE * (c->g[p] + c->g[q]));
}

/* Squared significance of a rise, of which a byte is kept, 0 below the least; `square` is 0 for anything
   else. */
INLINE float weakness(double square, double know)
{
    float ratio = (float)square * STEPS / (float)know;
    ratio = ratio >= LEAST ? ratio : 0.0f;
    return ratio < 255.0f ? ratio : 255.0f;
}

INLINE double renewed(double weight, double sum, double signal)
{
    double slope = sum / weight;
    slope = slope > 0.0 ? slope : 0.0;
    return weight > 0.0 ? slope : signal;
}

#endif
