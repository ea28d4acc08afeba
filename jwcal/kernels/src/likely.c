/* Slopes and jumps of ramps by likelihood: see likely.h for the fit of one set of differences.

   Pixels are done in chunks.  Every chunk is fitted, the pixels that may have jumps are gathered and
   searched, those in which something was left out again until nothing changes; then the whole chunk
   is fitted with the rates that were found. */
#include "likely_combine.h"
#include <stdlib.h>

#define CHUNK 1024
#define LEAST 3      /* with so few differences left nothing more is left out */
#define ROUNDING 1e-9
#define SHORT 16     /* up to so many differences chi-square alone tells most pixels without jumps */
#define NEARLY 0.999 /* of a limit: with less nothing is left out, whatever the rounding */

/* One chunk: `base` is its first pixel. */
struct chunk {
    const float *sci, *gain, *rnoise, *dark, *zero; /* of its first pixel; dark and zero may be NULL */
    const uint8_t *gdq;
    ptrdiff_t base, npix, integration;
};

/* Pixels of a block, counted from the first of the chunk: `count` of them, in a row or gathered. */
struct lanes {
    ptrdiff_t first, count, gathered;
    ptrdiff_t pixel[LIKELY_LANES];
};

struct search {
    struct likely_block k;
    likely_row *one, *two, *rate_one, *rate_two; /* [n]: chi-square gained, and rates */
    uint8_t *use;                                /* [n][CHUNK] */
    double rate[CHUNK], guess[CHUNK];
    ptrdiff_t again[CHUNK + 1];
};

INLINE void take_lanes(struct lanes *s, const ptrdiff_t *list, ptrdiff_t first, ptrdiff_t count)
{
    s->first = first;
    s->count = count < LIKELY_LANES ? count : LIKELY_LANES;
    s->gathered = list != NULL || s->count < LIKELY_LANES;
    FOR_LANES {
        ptrdiff_t m = l < s->count ? l : s->count - 1;
        s->pixel[l] = list ? list[m] : first + m;
    }
}

INLINE void fetch_floats(const struct lanes *s, const float *from, float *restrict to)
{
    if (s->gathered)
        FOR_LANES to[l] = from[s->pixel[l]];
    else
        memcpy(to, from + s->first, LIKELY_LANES * sizeof *to);
}

INLINE void fetch_doubles(const struct lanes *s, const double *from, double *restrict to)
{
    if (s->gathered)
        FOR_LANES to[l] = from[s->pixel[l]];
    else
        memcpy(to, from + s->first, LIKELY_LANES * sizeof *to);
}

INLINE void fetch_use(const struct lanes *s, const uint8_t *from, double *restrict to)
{
    if (s->gathered)
        FOR_LANES to[l] = from[s->pixel[l]];
    else
        FOR_LANES to[l] = from[s->first + l];
}

/* Differences per second of the resultants; the frame before the first group, where it counts, was part
   of that group's mean and is taken out of it. */
INLINE void load_differences(const struct likely_args *a, const struct chunk *c, const struct lanes *s,
                             likely_row *d)
{
    float last[LIKELY_LANES], now[LIKELY_LANES];
    ptrdiff_t row = 0;
    fetch_floats(s, c->sci, last);
    if (c->zero) {
        const float many = (float)a->nframes, rest = (float)(a->nframes - 1);
        const double step = a->times.step[0];
        float zero[LIKELY_LANES];
        fetch_floats(s, c->zero, zero);
        FOR_LANES last[l] = (last[l] * many - zero[l]) / rest;
        FOR_LANES d[0][l] = (double)(last[l] - zero[l]) / step;
        row = 1;
    }
    for (ptrdiff_t g = 1; g < a->ngroup; g++, row++) {
        const double step = a->times.step[row];
        double *to = d[row];
        fetch_floats(s, c->sci + g * a->sci_group, now);
        FOR_LANES {
            to[l] = (double)(now[l] - last[l]) / step;
            last[l] = now[l];
        }
    }
}

/* What may be used of a chunk: differences between two groups without a flag. */
STAGE void find_usable(const struct likely_args *a, const struct chunk *c, uint8_t *use)
{
    ptrdiff_t row = 0;
    if (c->zero) {
        for (ptrdiff_t p = 0; p < c->npix; p++)
            use[p] = c->gdq[p] == 0;
        row = 1;
    }
    for (ptrdiff_t g = 1; g < a->ngroup; g++, row++) {
        const uint8_t *before = c->gdq + (g - 1) * a->gdq_group, *flag = before + a->gdq_group;
        uint8_t *restrict to = use + row * CHUNK;
        for (ptrdiff_t p = 0; p < c->npix; p++)
            to[p] = (before[p] | flag[p]) == 0;
    }
}

/* Median of all differences, used or not; NaN if one of them is. */
STAGE void median_rate(const likely_row *d, likely_row *work, ptrdiff_t n, double *restrict rate)
{
    likely_row sum;
    FOR_LANES sum[l] = 0.0;
    for (ptrdiff_t i = 0; i < n; i++)
        FOR_LANES {
            work[i][l] = d[i][l];
            sum[l] = d[i][l] == d[i][l] ? sum[l] : NAN;
        }
    sort_doubles(work[0], n, LIKELY_LANES);
    FOR_LANES {
        double low = work[(n - 1) / 2][l], high = work[n / 2][l];
        double m = n % 2 ? low : middle(low, high);
        m = sum[l] == 0.0 ? m : sum[l];
        rate[l] = m * (m > 0.0 ? 1.0 : 0.0);
    }
}

STAGE void load_pixels(const struct likely_args *a, const struct chunk *c, struct search *w,
                        const struct lanes *s, double *restrict gain, double *restrict read2)
{
    float g[LIKELY_LANES], r[LIKELY_LANES];
    const double root = sqrt(2.0);
    load_differences(a, c, s, w->k.d);
    for (ptrdiff_t i = 0; i < a->times.n; i++)
        fetch_use(s, w->use + i * CHUNK, w->k.use[i]);
    fetch_floats(s, c->gain, g);
    fetch_floats(s, c->rnoise, r);
    FOR_LANES {
        double noise = (double)r[l] / root;
        gain[l] = g[l];
        read2[l] = noise * noise;
    }
}

INLINE double larger(double most, double x)
{
    return (x > most) | (x != x) ? x : most;
}

INLINE double is_true(int x)
{
    return x ? 1.0 : 0.0;
}

/* Gains in chi-square by leaving out a difference, the rates then, and the largest gain.  Where a
   difference is left out already, the fit without it is the fit itself. */
STAGE void try_one(const struct likely_args *a, struct search *w, const double *restrict rate,
                    const double *restrict chisq, double *restrict best)
{
    for (ptrdiff_t i = 0; i < a->times.n; i++) {
        double *x = w->one[i], *r = w->rate_one[i];
        const double *use = w->k.use[i];
        likely_omit_one(&w->k, i, r, x);
        FOR_LANES {
            double gained = chisq[l] - (use[l] == 0.0 ? chisq[l] : x[l]);
            r[l] = use[l] == 0.0 ? rate[l] : r[l];
            x[l] = gained;
            best[l] = i ? larger(best[l], gained) : gained;
        }
    }
}

/* The same for two neighbours; next to a difference that is left out it is the other one alone. */
STAGE void try_two(const struct likely_args *a, struct search *w, const double *restrict chisq,
                    double *restrict best)
{
    FOR_LANES best[l] = 0.0;
    for (ptrdiff_t i = 0; i < a->times.n - 1; i++) {
        double *x = w->two[i], *r = w->rate_two[i];
        const double *use = w->k.use[i], *next = w->k.use[i + 1], allowed = a->pair[i];
        const double *x0 = w->one[i], *x1 = w->one[i + 1], *r0 = w->rate_one[i], *r1 = w->rate_one[i + 1];
        likely_omit_two(&w->k, i, r, x);
        FOR_LANES {
            double rr = next[l] == 0.0 ? r0[l] : r[l];
            double gained = next[l] == 0.0 ? x0[l] : chisq[l] - x[l];
            r[l] = use[l] == 0.0 ? r1[l] : rr;
            x[l] = use[l] == 0.0 ? x1[l] : gained;
            best[l] = i ? larger(best[l], x[l] * allowed) : x[l] * allowed;
        }
    }
}

/* Whether leaving out two neighbours surely gives numbers for all lanes.  Where no pair may be left
   out together, only one that gives none matters: it keeps its pixel as it is.  The bounds leave room
   for the squares and products of the fit; the limit on the determinant is far above rounding. */
STAGE int pairs_are_numbers(const struct likely_args *a, const struct search *w)
{
    const struct likely_block *k = &w->k;
    const double least = 1e-12, most = 1e12, rounding = 1e-10;
    likely_row bad, w0, r0, w1, r1;
    double some = 0.0;
    FOR_LANES bad[l] = is_true(!((k->C[l] > least) & (k->C[l] < most) & (fabs(k->A[l]) < 1e100)));
    FOR_LANES bad[l] += is_true(!((fabs(k->B[l]) < most) & (k->scale[l] > 1e-50)));
    for (ptrdiff_t i = 0; i < a->times.n; i++) {
        const double *dC = k->dC[i], *dB = k->dB[i], *ci = k->diagonal[i], *one = w->one[i];
        FOR_LANES {
            w1[l] = dC[l] * dC[l] - k->C[l] * ci[l];
            r1[l] = k->B[l] * dC[l] - dB[l] * k->C[l];
            bad[l] += is_true(!((fabs(dC[l]) < most) & (ci[l] < most) & (fabs(one[l]) < 1e200)));
        }
        if (i > 0) {
            const double *dC0 = k->dC[i - 1], *co = k->neighbor[i - 1];
            const double *use = k->use[i - 1], *next = k->use[i];
            FOR_LANES {
                double q = dC0[l] * dC[l] - k->C[l] * co[l], qq = q * q, ww = w0[l] * w1[l];
                int fine = (fabs(q) > least) & (fabs(q) < most) & (fabs(co[l]) < most);
                fine &= (fabs(w0[l]) > least) & (fabs(w0[l]) < most) & (fabs(w1[l]) < most);
                fine &= (fabs(r0[l]) < most) & (fabs(r1[l]) < most);
                fine &= fabs(qq - ww) > rounding * (qq + fabs(ww));
                bad[l] += is_true(!fine) * use[l] * next[l];
            }
        }
        FOR_LANES {
            w0[l] = w1[l];
            r0[l] = r1[l];
        }
    }
    FOR_LANES some += bad[l];
    return some == 0.0;
}

/* Leave out what gains most.  Returns whether any lane lost something; `lost` tells which. */
STAGE int leave_out(const struct likely_args *a, struct search *w, const double *restrict best1,
                     const double *restrict best2, const int pairs, double *restrict rate,
                     double *restrict lost)
{
    const ptrdiff_t n = a->times.n;
    likely_row best, single, new1, new2, any1, any2;
    double some = 0.0;
    FOR_LANES {
        double is_one = is_true(best1[l] - a->limit_one > best2[l] - a->limit_two);
        double x = best1[l] * is_true(best1[l] > a->limit_one) * is_one;
        x += best2[l] * is_true(best2[l] > a->limit_two) * (1.0 - is_one);
        single[l] = is_one;
        best[l] = x == 0.0 ? NAN : x;
        lost[l] = is_true(best[l] == best[l]);
    }
    FOR_LANES some += lost[l];
    if (some == 0.0)
        return 0;
    FOR_LANES new1[l] = new2[l] = any1[l] = any2[l] = 0.0;
    for (ptrdiff_t i = 0; i < n; i++) {
        double *use = w->k.use[i];
        const double *one = w->one[i], *r = w->rate_one[i];
        FOR_LANES {
            double drop = is_true((one[l] == best[l]) & (single[l] == 1.0));
            new1[l] += r[l] * drop;
            any1[l] += drop;
            use[l] *= 1.0 - drop;
        }
    }
    for (ptrdiff_t i = 0; i < n - 1 && pairs; i++) {
        double *use = w->k.use[i], *next = w->k.use[i + 1];
        const double *two = w->two[i], *r = w->rate_two[i];
        FOR_LANES {
            double drop = is_true((two[l] == best[l]) & (single[l] == 0.0));
            new2[l] += r[l] * drop;
            any2[l] += drop;
            use[l] *= 1.0 - drop;
            next[l] *= 1.0 - drop;
        }
    }
    FOR_LANES {
        double fresh = any1[l] > 0.0 ? new1[l] : 0.0;
        fresh = any2[l] > 0.0 ? new2[l] : fresh;
        lost[l] = is_true(any1[l] + any2[l] > 0.0);
        rate[l] = rate[l] * (1.0 - lost[l]) + fresh;
    }
    return 1;
}

STAGE void exact_covariance(const struct likely_times *t, struct likely_block *k, const double *flux,
                            const double *read2)
{
    likely_covariance(t, k, flux, read2, 0);
}

STAGE void quick_covariance(const struct likely_times *t, struct likely_block *k, const double *flux,
                            const double *read2)
{
    likely_covariance(t, k, flux, read2, 1);
}

STAGE void solve_whole(const struct likely_times *t, struct likely_block *k, double *rate, double *chisq)
{
    likely_solve(t, k, LIKELY_A | LIKELY_DB | LIKELY_EXACT);
    likely_fit(k, rate, chisq);
}

STAGE void solve_chisq(const struct likely_times *t, struct likely_block *k, double *rate, double *chisq)
{
    likely_solve(t, k, LIKELY_A);
    likely_fit(k, rate, chisq);
}

STAGE void solve_omissions(const struct likely_times *t, struct likely_block *k, double *rate, double *chisq)
{
    likely_solve(t, k, LIKELY_DB);
    likely_fit(k, rate, chisq);
}

STAGE void solve_rate(const struct likely_times *t, struct likely_block *k, double *rate, double *chisq)
{
    likely_solve(t, k, 0);
    likely_fit(k, rate, chisq);
}

STAGE void invert(const struct likely_times *t, struct likely_block *k)
{
    likely_invert(t, k);
}

STAGE void find_errors(const struct likely_times *t, const struct likely_block *k, const double *flux,
                       const double *read2, double *error, double *poisson, double *read)
{
    likely_uncertainty(k, error);
    likely_variances(t, k, flux, read2, poisson, read);
}

/* No omission can gain more than the whole of chi-square. */
INLINE void screen_by_chisq(const struct likely_args *a, const struct search *w, const double *restrict chisq,
                            double *restrict wanted)
{
    const struct likely_block *k = &w->k;
    FOR_LANES wanted[l] = is_true(chisq[l] + ROUNDING * (k->A[l] / k->scale[l]) > a->limit_one);
}

/* The gains themselves, without divisions; those of a pixel with few differences are left to the search. */
STAGE void screen_by_gain(const struct likely_args *a, const struct search *w, double *restrict wanted)
{
    const struct likely_block *k = &w->k;
    const double *end = k->theta[a->times.n];
    likely_row rate, inverse, share, one, two, number, r0, m0;
    FOR_LANES {
        rate[l] = k->B[l] * (1.0 / k->C[l]);
        share[l] = 1.0 / k->C[l];
        inverse[l] = 1.0 / end[l];
        one[l] = NEARLY * a->limit_one * k->scale[l];
        two[l] = NEARLY * a->limit_two * k->scale[l];
        number[l] = wanted[l] = 0.0;
    }
    for (ptrdiff_t i = 0; i < a->times.n; i++) {
        const double *dB = k->dB[i], *dC = k->dC[i], *theta = k->theta[i], *phi = k->phi[i + 1];
        const double *use = k->use[i];
        likely_row r, m;
        FOR_LANES {
            r[l] = dB[l] - rate[l] * dC[l];
            m[l] = theta[l] * phi[l] * inverse[l] - dC[l] * dC[l] * share[l];
            wanted[l] += is_true(r[l] * r[l] > one[l] * m[l]) * use[l];
            number[l] += use[l];
        }
        if (i > 0 && a->pair[i - 1] > 0.0) {
            const double *dC0 = k->dC[i - 1], *before = k->use[i - 1], *beta = k->beta[i - 1];
            const double *theta0 = k->theta[i - 1];
            FOR_LANES {
                double x = -(beta[l] * theta0[l] * phi[l] * inverse[l]) - dC0[l] * dC[l] * share[l];
                double det = m0[l] * m[l] - x * x;
                double gain = r0[l] * r0[l] * m[l] - 2.0 * (r0[l] * r[l] * x) + r[l] * r[l] * m0[l];
                wanted[l] += is_true(gain > two[l] * det) * use[l] * before[l];
            }
        }
        FOR_LANES {
            r0[l] = r[l];
            m0[l] = m[l];
        }
    }
    FOR_LANES wanted[l] += is_true(number[l] <= LEAST);
}

/* First fit of a block, with nothing left out.  Only pixels that may gain enough by an omission, and those
   whose covariance is none, go to the list. */
INLINE void begin_block(const struct likely_args *a, const struct chunk *c, struct search *w,
                        const struct lanes *s, ptrdiff_t *nagain)
{
    struct likely_block *k = &w->k;
    likely_row gain, read2, flux, rate, chisq, wanted;
    load_pixels(a, c, w, s, gain, read2);
    median_rate(k->d, w->one, a->times.n, flux);
    for (ptrdiff_t l = 0; l < s->count; l++)
        w->guess[s->first + l] = flux[l];
    FOR_LANES flux[l] = flux[l] / gain[l];
    quick_covariance(&a->times, k, flux, read2);
    if (a->times.n <= SHORT) {
        solve_chisq(&a->times, k, rate, chisq);
        screen_by_chisq(a, w, chisq, wanted);
    } else {
        solve_omissions(&a->times, k, rate, chisq);
        screen_by_gain(a, w, wanted);
    }
    FOR_LANES wanted[l] += is_true(!((flux[l] >= 0.0) & (read2[l] > 0.0)));
    for (ptrdiff_t l = 0; l < s->count; l++) {
        w->rate[s->first + l] = rate[l];
        w->again[*nagain] = s->first + l;
        *nagain += wanted[l] > 0.0;
    }
}

/* Search one block of the list; pixels that lost something go to the next list. */
INLINE void search_block(const struct likely_args *a, const struct chunk *c, struct search *w,
                         const struct lanes *s, const int first, ptrdiff_t *nagain)
{
    const ptrdiff_t n = a->times.n;
    struct likely_block *k = &w->k;
    likely_row gain, read2, flux, rate, chisq, best1, best2, lost, left;
    int pairs;
    load_pixels(a, c, w, s, gain, read2);
    fetch_doubles(s, w->guess, flux);
    FOR_LANES flux[l] = flux[l] / gain[l];
    exact_covariance(&a->times, k, flux, read2);
    solve_whole(&a->times, k, rate, chisq);
    invert(&a->times, k);
    try_one(a, w, rate, chisq, best1);
    pairs = a->some_pair || !pairs_are_numbers(a, w);
    if (pairs)
        try_two(a, w, chisq, best2);
    else
        FOR_LANES best2[l] = 0.0;
    if (!first)
        fetch_doubles(s, w->rate, rate);
    if (leave_out(a, w, best1, best2, pairs, rate, lost)) {
        FOR_LANES left[l] = 0.0;
        for (ptrdiff_t i = 0; i < n; i++) {
            FOR_LANES left[l] += k->use[i][l];
            for (ptrdiff_t l = 0; l < s->count; l++)
                w->use[i * CHUNK + s->pixel[l]] = (uint8_t)k->use[i][l];
        }
        for (ptrdiff_t l = 0; l < s->count; l++)
            if (lost[l] > 0.0 && left[l] > LEAST)
                w->again[(*nagain)++] = s->pixel[l];
    }
    for (ptrdiff_t l = 0; l < s->count; l++)
        w->rate[s->pixel[l]] = rate[l];
}

INLINE void finish_block(const struct likely_args *a, const struct chunk *c, struct search *w,
                         const struct lanes *s)
{
    struct likely_block *k = &w->k;
    likely_row gain, read2, flux, out[PLANES];
    const int planes = a->ints[4] ? PLANES : PLANES - 1;
    load_pixels(a, c, w, s, gain, read2);
    fetch_doubles(s, w->rate, flux);
    FOR_LANES flux[l] = flux[l] * is_true(flux[l] > 0.0);
    if (c->dark) {
        float dark[LIKELY_LANES];
        fetch_floats(s, c->dark, dark);
        FOR_LANES flux[l] += (double)dark[l];
    }
    FOR_LANES flux[l] = flux[l] / gain[l];
    quick_covariance(&a->times, k, flux, read2);
    if (planes == PLANES)
        solve_chisq(&a->times, k, out[0], out[4]);
    else
        solve_rate(&a->times, k, out[0], out[4]);
    find_errors(&a->times, k, flux, read2, out[1], out[2], out[3]);
    for (int j = 0; j < planes; j++) {
        float *to = a->ints[j] + c->integration * a->npix + c->base + s->first;
        for (ptrdiff_t l = 0; l < s->count; l++)
            to[l] = (float)out[j][l];
    }
}

STAGE void flag_chunk(const struct likely_args *a, const struct chunk *c, const struct search *w)
{
    uint32_t *restrict dq = a->ints_dq + c->integration * a->npix + c->base;
    const uint32_t *pdq = a->pdq + c->base;
    uint8_t any[CHUNK] = {0}, all[CHUNK], lost[CHUNK] = {0};
    memset(all, JW_DNU, sizeof all);
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        const uint8_t *flag = c->gdq + g * a->gdq_group;
        for (ptrdiff_t p = 0; p < c->npix; p++) {
            any[p] |= flag[p];
            all[p] &= flag[p] & (JW_DNU | JW_SAT) ? JW_DNU : 0;
        }
    }
    for (ptrdiff_t i = 0; i < a->times.n; i++) {
        /* The zero frame has the flags of the first group. */
        const ptrdiff_t later = c->zero ? i : i + 1, earlier = later > 0 ? later - 1 : 0;
        const uint8_t *flag = c->gdq + later * a->gdq_group;
        const uint8_t *before = c->gdq + earlier * a->gdq_group, *use = w->use + i * CHUNK;
        const ptrdiff_t at = (c->integration * a->times.n + i) * a->npix + c->base;
        uint8_t *to = a->left_out ? a->left_out + at : NULL;
        for (ptrdiff_t p = 0; p < c->npix; p++)
            lost[p] |= ((before[p] | flag[p]) == 0) & (use[p] == 0);
        for (ptrdiff_t p = 0; p < c->npix && to; p++)
            to[p] = ((before[p] | flag[p]) == 0) & (use[p] == 0);
    }
    for (ptrdiff_t p = 0; p < c->npix; p++)
        dq[p] = pdq[p] | all[p] | (any[p] & (JW_SAT | JW_JUMP)) | (lost[p] ? JW_JUMP : 0);
}

INLINE void fit_chunk(const struct likely_args *a, struct search *w, ptrdiff_t base, ptrdiff_t npix,
                      ptrdiff_t i)
{
    struct lanes s;
    struct chunk c = {a->sci + i * a->sci_int + base, a->gain + base, a->rnoise + base,
                      a->dark ? a->dark + base : NULL, a->zero ? a->zero + i * a->zero_int + base : NULL,
                      a->gdq + i * a->gdq_int + base, base, npix, i};
    ptrdiff_t wanted = 0;
    find_usable(a, &c, w->use);
    for (ptrdiff_t p = 0; p < npix; p += LIKELY_LANES) {
        take_lanes(&s, NULL, p, npix - p);
        begin_block(a, &c, w, &s, &wanted);
    }
    for (ptrdiff_t pass = 0; pass < a->times.n && wanted > 0; pass++) {
        ptrdiff_t nagain = 0;
        /* The list is read before what is written to it: a block adds no more than it takes. */
        for (ptrdiff_t p = 0; p < wanted; p += LIKELY_LANES) {
            take_lanes(&s, w->again + p, p, wanted - p);
            search_block(a, &c, w, &s, pass == 0, &nagain);
        }
        wanted = nagain;
    }
    for (ptrdiff_t p = 0; p < npix; p += LIKELY_LANES) {
        take_lanes(&s, NULL, p, npix - p);
        finish_block(a, &c, w, &s);
    }
    flag_chunk(a, &c, w);
}

/* Fit the ramps of a tile.  Returns 0, or -1 when out of memory. */
JW_API JW_WIDE int jw_fit_likely(const struct likely_args *a)
{
    const ptrdiff_t n = a->times.n;
    const size_t rows = (size_t)(n + 2) * sizeof(likely_row);
    struct search *w = malloc(sizeof *w);
    char *space = malloc(likely_space(n) + 4 * rows + (size_t)n * CHUNK);
    int32_t *key = malloc((size_t)a->nint * LIKELY_LANES * sizeof *key);
    const int fits = w && space && key;
    if (fits) {
        likely_row **extra[4] = {&w->one, &w->two, &w->rate_one, &w->rate_two};
        likely_attach(&w->k, space, n);
        for (int j = 0; j < 4; j++)
            *extra[j] = (likely_row *)(space + likely_space(n) + (size_t)j * rows);
        w->use = (uint8_t *)(space + likely_space(n) + 4 * rows);
        for (ptrdiff_t i = 0; i < a->nint; i++)
            for (ptrdiff_t p = 0; p < a->npix; p += CHUNK)
                fit_chunk(a, w, p, a->npix - p < CHUNK ? a->npix - p : CHUNK, i);
        combine(a, key);
    }
    free(key);
    free(space);
    free(w);
    return fits ? 0 : -1;
}
