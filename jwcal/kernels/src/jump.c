/* Cosmic-ray jumps by two-point differences, a block of pixels at a time.

   The differences of a block are sorted by a merge-exchange network whose comparators run
   across the pixels, so no branch depends on the data.  Everything the tests need (extremes,
   medians with or without the largest values, windows left after clipping) is then a look-up in
   the sorted columns; only pixels that fail the first test are treated one by one. */
#include "sort.h"
#include <stdlib.h>

#define LANES 64
/* Up to this many differences, sorting a whole block at once stays in the first-level cache. */
#define WIDE_LIMIT 96
enum { ITERATIVE = 0, SINGLE_PASS = 1, CLIP_INTS = 2, CLIP_ALL = 3, NO_SEARCH = 4 };

struct jump_args {
    const float *sci;
    uint8_t *gdq;
    uint32_t *pdq;
    const float *gain, *rnoise;
    ptrdiff_t sci_int, sci_group, gdq_int, gdq_group;
    ptrdiff_t nint, ngroup, ny, nx;
    ptrdiff_t core[4];
    ptrdiff_t fresh, ready; /* first row to search, rows to finish */
    uint8_t *strong;        /* [ndiff][nx] or null: jumps that spread of the row before `fresh`, then of the last */
    int32_t method, neighbours;
    double nframes, limit, limit_four, limit_three, min_ratio, max_ratio;
    double after1, after2;
    ptrdiff_t after_n1, after_n2;
    uint32_t no_gain;
    int64_t primary;
};

struct scratch {
    float *diff;  /* [ndiff][LANES] differences in electrons, NaN where a group is unusable */
    int32_t *key; /* [ndiff][width] sortable copies */
    int32_t count[LANES];
    double median[LANES], sigma[LANES], rn2[LANES];
};

struct events {
    size_t used, room;
    uint64_t *at; /* offset of the flag in units of planes and pixels */
};

INLINE double noise(double median, double rn2, double nframes)
{
    double s = sqrt(fabs(median) + rn2 / nframes);
    return s == 0.0 ? NAN : s;
}

/* A bound for a first look in single precision: slightly too small, so that nothing is lost. */
INLINE float first_cut(double limit, double median, double sigma)
{
    return (float)(limit * sigma * (1.0 - 1e-6) - 1e-6 * fabs(median));
}

INLINE int in_core(const struct jump_args *a, ptrdiff_t pixel)
{
    ptrdiff_t y = pixel / a->nx, x = pixel % a->nx;
    return y >= a->core[0] && y < a->core[1] && x >= a->core[2] && x < a->core[3];
}

/* Read one block and make its differences; the first time also drop contradictory flags and tell
   whether there are jumps already. */
INLINE int load_block(struct jump_args *a, struct scratch *s, ptrdiff_t p0, ptrdiff_t npix, int first)
{
    float gain[LANES], last[LANES], now[LANES];
    int64_t primary = 0;
    uint32_t flagged = 0;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t p = p0 + (l < npix ? l : npix - 1);
        float rn = a->rnoise[p] * a->gain[p];
        gain[l] = a->gain[p];
        s->rn2[l] = (double)(float)(rn * rn);
        s->count[l] = 0;
    }
    if (first)
        for (ptrdiff_t l = 0; l < npix; l++)
            if (!(gain[l] > 0.0f))
                a->pdq[p0 + l] |= a->no_gain | JW_DNU;
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        for (ptrdiff_t g = 0; g < a->ngroup; g++) {
            const float *sci = a->sci + i * a->sci_int + g * a->sci_group + p0;
            uint8_t *dq = a->gdq + i * a->gdq_int + g * a->gdq_group + p0;
            uint32_t seen = 0;
            if (npix == LANES) {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    float v = sci[l] * gain[l];
                    now[l] = dq[l] & (JW_DNU | JW_SAT) ? NAN : v;
                }
                for (ptrdiff_t l = 0; l < LANES; l++)
                    seen |= dq[l];
            } else {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    ptrdiff_t m = l < npix ? l : npix - 1;
                    now[l] = dq[m] & (JW_DNU | JW_SAT) ? NAN : sci[m] * gain[l];
                    seen |= dq[m];
                }
            }
            flagged |= seen & JW_JUMP;
            if (first && (seen & JW_JUMP))
                for (ptrdiff_t l = 0; l < npix; l++)
                    if (dq[l] & JW_JUMP) {
                        primary += in_core(a, p0 + l);
                        if (dq[l] & (JW_DNU | JW_SAT))
                            dq[l] &= (uint8_t)~JW_JUMP;
                    }
            if (g > 0) {
                float *restrict d = s->diff + (i * (a->ngroup - 1) + g - 1) * LANES;
                for (ptrdiff_t l = 0; l < LANES; l++)
                    d[l] = now[l] - last[l];
                for (ptrdiff_t l = 0; l < LANES; l++)
                    s->count[l] += d[l] == d[l];
            }
            memcpy(last, now, sizeof last);
        }
    }
    a->primary += primary;
    return flagged != 0;
}

INLINE void make_keys(const struct scratch *s, ptrdiff_t start, ptrdiff_t step, ptrdiff_t n, ptrdiff_t lane0,
                      int by_magnitude, const ptrdiff_t width)
{
    for (ptrdiff_t k = 0; k < n; k++) {
        const float *restrict d = s->diff + (start + k * step) * LANES + lane0;
        int32_t *restrict key = s->key + k * width;
        if (by_magnitude)
            for (ptrdiff_t l = 0; l < width; l++)
                key[l] = magnitude_key(d[l]);
        else
            for (ptrdiff_t l = 0; l < width; l++)
                key[l] = value_key(d[l]);
    }
    sort_keys(s->key, n, width);
}

INLINE uint8_t *flag_at(const struct jump_args *a, ptrdiff_t k, ptrdiff_t pixel)
{
    ptrdiff_t i = k / (a->ngroup - 1), g = k % (a->ngroup - 1) + 1;
    return a->gdq + i * a->gdq_int + g * a->gdq_group + pixel;
}

INLINE void set_jump(struct jump_args *a, uint8_t *dq, int core)
{
    a->primary += core && !(*dq & JW_JUMP);
    *dq |= JW_JUMP;
}

/* Clip one pixel's worst differences until none is left; its differences are sorted by magnitude. */
static void clip_pixel(struct jump_args *a, const struct scratch *s, const int32_t *key, ptrdiff_t width,
                       ptrdiff_t lane, ptrdiff_t pixel)
{
    ptrdiff_t lo = 0, hi = s->count[lane], ndiff = a->nint * (a->ngroup - 1);
    int pass = 0;
    for (; hi - lo >= 2; pass++) {
        ptrdiff_t n = hi - lo, t = hi;
        double m, limit, sigma, up, down, worst;
        if (n >= 4) {
            float largest = magnitude_value(key[(hi - 1) * width]);
            while (t > lo && magnitude_value(key[(t - 1) * width]) == largest)
                t--;
            if (t == lo)
                break;
            m = middle(magnitude_value(key[(lo + (t - lo - 1) / 2) * width]),
                       magnitude_value(key[(lo + (t - lo) / 2) * width]));
            limit = a->limit;
        } else if (n == 3) {
            m = magnitude_value(key[(lo + 1) * width]);
            limit = a->limit_four;
        } else {
            m = magnitude_value(key[lo * width]);
            limit = a->limit_three;
        }
        if (pass)
            m = (double)(float)m;
        sigma = noise(m, s->rn2[lane], a->nframes);
        up = fabs((double)(float)(magnitude_value(key[(hi - 1) * width]) - m));
        down = fabs((double)(float)(magnitude_value(key[lo * width]) - m));
        worst = up > down ? up : down;
        if (!(worst / sigma > limit))
            break;
        while (lo < hi && fabs((double)(float)(magnitude_value(key[lo * width]) - m)) == worst)
            lo++;
        while (hi > lo && fabs((double)(float)(magnitude_value(key[(hi - 1) * width]) - m)) == worst)
            hi--;
    }
    if (pass == 0)
        return;
    int core = in_core(a, pixel);
    float least = lo < hi ? magnitude_value(key[lo * width]) : INFINITY;
    float most = lo < hi ? magnitude_value(key[(hi - 1) * width]) : -INFINITY;
    for (ptrdiff_t k = 0; k < ndiff; k++) {
        float v = fabsf(s->diff[k * LANES + lane]);
        if (v < least || v > most)
            set_jump(a, flag_at(a, k, pixel), core);
    }
}

/* First round of the iterative search for a group of sorted columns; marks those with a jump. */
INLINE int first_round(const struct jump_args *a, const struct scratch *s, ptrdiff_t lane0, uint8_t *hit,
                       const ptrdiff_t width)
{
    float low[LANES], high[LANES], first[LANES], largest[LANES];
    double limit[LANES];
    ptrdiff_t ndiff = a->nint * (a->ngroup - 1);
    int full = 1, any = 0;
    for (ptrdiff_t l = 0; l < width; l++) {
        full &= s->count[lane0 + l] == ndiff;
        hit[l] = 0;
    }
    if (full && ndiff >= 4) {
        const int32_t *restrict k0 = s->key, *restrict k3 = s->key + (ndiff - 1) * width;
        const int32_t *restrict k1 = s->key + (ndiff - 2) / 2 * width;
        const int32_t *restrict k2 = s->key + (ndiff - 1) / 2 * width;
        const int32_t *restrict k4 = s->key + (ndiff - 2) * width;
        for (ptrdiff_t l = 0; l < width; l++) {
            first[l] = magnitude_value(k0[l]);
            largest[l] = magnitude_value(k3[l]);
            low[l] = magnitude_value(k1[l]);
            high[l] = magnitude_value(k2[l]);
            limit[l] = a->limit;
            hit[l] = magnitude_value(k4[l]) == largest[l];
        }
    } else {
        for (ptrdiff_t l = 0; l < width; l++) {
            ptrdiff_t n = s->count[lane0 + l], j1, j2;
            if (n < 2) {
                first[l] = largest[l] = low[l] = high[l] = 0.0f;
                limit[l] = INFINITY;
                continue;
            }
            j1 = n >= 4 ? (n - 2) / 2 : n == 3;
            j2 = n >= 4 ? (n - 1) / 2 : n == 3;
            first[l] = magnitude_value(s->key[l]);
            largest[l] = magnitude_value(s->key[(n - 1) * width + l]);
            low[l] = magnitude_value(s->key[j1 * width + l]);
            high[l] = magnitude_value(s->key[j2 * width + l]);
            limit[l] = n >= 4 ? a->limit : n == 3 ? a->limit_four : a->limit_three;
            hit[l] = n >= 4 && magnitude_value(s->key[(n - 2) * width + l]) == largest[l];
        }
    }
    for (ptrdiff_t l = 0; l < width; l++) {
        double m = middle(low[l], high[l]);
        double sigma = noise(m, s->rn2[lane0 + l], a->nframes);
        double up = fabs((double)(float)(largest[l] - m));
        double down = fabs((double)(float)(first[l] - m));
        double worst = up > down ? up : down;
        hit[l] |= worst / sigma > limit[l];
    }
    for (ptrdiff_t l = 0; l < width; l++)
        any |= hit[l];
    return any;
}

static int add_event(struct events *e, uint64_t at)
{
    if (e->used == e->room) {
        size_t room = e->room ? 2 * e->room : 1024;
        uint64_t *more = realloc(e->at, room * sizeof *more);
        if (!more)
            return -1;
        e->at = more;
        e->room = room;
    }
    e->at[e->used++] = at;
    return 0;
}

/* Remember the flagged differences of a pixel that are strong enough to spread to its neighbours. */
static int spread(const struct jump_args *a, const struct scratch *s, ptrdiff_t lane, ptrdiff_t pixel,
                  struct events *e)
{
    ptrdiff_t ndiff = a->nint * (a->ngroup - 1), npix = a->ny * a->nx;
    float centre = (float)s->median[lane], cut = first_cut(a->min_ratio, s->median[lane], s->sigma[lane]);
    for (ptrdiff_t k = 0; k < ndiff; k++) {
        float d = s->diff[k * LANES + lane];
        if (!(fabsf(d - centre) >= cut))
            continue;
        double ratio = fabs((double)d - s->median[lane]) / s->sigma[lane];
        if (ratio < a->max_ratio && ratio > a->min_ratio && (*flag_at(a, k, pixel) & JW_JUMP) &&
            add_event(e, (uint64_t)(k * npix + pixel)))
            return -1;
    }
    return 0;
}

INLINE void mark(uint8_t *dq)
{
    if (!(*dq & (JW_DNU | JW_SAT)))
        *dq |= JW_JUMP;
}

static void flag_neighbours(const struct jump_args *a, const struct events *e)
{
    ptrdiff_t npix = a->ny * a->nx, ndiff = a->nint * (a->ngroup - 1);
    if (a->strong && a->fresh > 0)
        for (ptrdiff_t k = 0; k < ndiff; k++) {
            const uint8_t *from = a->strong + k * a->nx;
            uint8_t *dq = flag_at(a, k, a->fresh * a->nx);
            for (ptrdiff_t x = 0; x < a->nx; x++)
                if (from[x])
                    mark(dq + x);
        }
    if (a->strong)
        memset(a->strong, 0, (size_t)(ndiff * a->nx));
    for (size_t n = 0; n < e->used; n++) {
        ptrdiff_t k = (ptrdiff_t)(e->at[n] / (uint64_t)npix), pixel = (ptrdiff_t)(e->at[n] % (uint64_t)npix);
        ptrdiff_t y = pixel / a->nx, x = pixel % a->nx;
        uint8_t *dq = flag_at(a, k, pixel);
        mark(dq);
        if (x > 0)
            mark(dq - 1);
        if (x < a->nx - 1)
            mark(dq + 1);
        if (y > 0)
            mark(dq - a->nx);
        if (y < a->ny - 1)
            mark(dq + a->nx);
        else if (a->strong)
            a->strong[k * a->nx + x] = 1;
    }
}

/* Which pixels of a block carry a jump flag after the first group. */
static int jumps_in_block(const struct jump_args *a, ptrdiff_t p0, ptrdiff_t npix, uint8_t *has)
{
    uint32_t any = 0;
    memset(has, 0, LANES);
    for (ptrdiff_t i = 0; i < a->nint; i++)
        for (ptrdiff_t g = 1; g < a->ngroup; g++) {
            const uint8_t *dq = a->gdq + i * a->gdq_int + g * a->gdq_group + p0;
            for (ptrdiff_t l = 0; l < npix; l++)
                has[l] |= dq[l] & JW_JUMP;
        }
    for (ptrdiff_t l = 0; l < npix; l++)
        any |= has[l];
    return any != 0;
}

INLINE void iterate_columns(struct jump_args *a, struct scratch *s, ptrdiff_t p0, ptrdiff_t npix,
                            ptrdiff_t lane0, uint8_t *has, const ptrdiff_t width)
{
    uint8_t hit[LANES];
    make_keys(s, 0, 1, a->nint * (a->ngroup - 1), lane0, 1, width);
    if (first_round(a, s, lane0, hit, width))
        for (ptrdiff_t l = 0; l < width && lane0 + l < npix; l++)
            if (hit[l]) {
                clip_pixel(a, s, s->key + l, width, lane0 + l, p0 + lane0 + l);
                has[lane0 + l] = 1;
            }
    if (a->neighbours)
        for (ptrdiff_t l = 0; l < width && lane0 + l < npix; l++)
            if (has[lane0 + l]) {
                s->median[lane0 + l] = signed_median(s->key + l, width, s->count[lane0 + l]);
                s->sigma[lane0 + l] = noise(s->median[lane0 + l], s->rn2[lane0 + l], a->nframes);
            }
}

/* Medians and noise of all pixels of a group of columns. */
INLINE void median_columns(struct jump_args *a, struct scratch *s, ptrdiff_t lane0, const ptrdiff_t width)
{
    make_keys(s, 0, 1, a->nint * (a->ngroup - 1), lane0, 0, width);
    for (ptrdiff_t l = 0; l < width; l++) {
        ptrdiff_t n = s->count[lane0 + l];
        s->median[lane0 + l] =
            n ? middle(key_value(s->key[(n - 1) / 2 * width + l]), key_value(s->key[n / 2 * width + l]))
              : NAN;
    }
    for (ptrdiff_t l = 0; l < width; l++)
        s->sigma[lane0 + l] = noise(s->median[lane0 + l], s->rn2[lane0 + l], a->nframes);
}

INLINE void single_pass(struct jump_args *a, struct scratch *s, ptrdiff_t p0, ptrdiff_t npix, uint8_t *has)
{
    float centre[LANES], cut[LANES];
    uint8_t hit[LANES] = {0};
    ptrdiff_t ndiff = a->nint * (a->ngroup - 1);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        centre[l] = (float)s->median[l];
        cut[l] = first_cut(a->limit, s->median[l], s->sigma[l]);
    }
    for (ptrdiff_t k = 0; k < ndiff; k++) {
        const float *restrict d = s->diff + k * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++)
            hit[l] |= fabsf(d[l] - centre[l]) >= cut[l];
    }
    for (ptrdiff_t l = 0; l < npix; l++) {
        if (!hit[l])
            continue;
        int core = in_core(a, p0 + l);
        for (ptrdiff_t k = 0; k < ndiff; k++) {
            float d = s->diff[k * LANES + l];
            if (!(fabsf(d - centre[l]) >= cut[l]) || !isfinite(d))
                continue;
            if (fabs((double)d - s->median[l]) / s->sigma[l] > a->limit) {
                set_jump(a, flag_at(a, k, p0 + l), core);
                has[l] = 1;
            }
        }
    }
}

/* Clip sorted columns about their median, at most five times, and flag what lies outside the last bounds. */
INLINE void clip_columns(struct jump_args *a, struct scratch *s, ptrdiff_t p0, ptrdiff_t npix,
                         ptrdiff_t lane0, ptrdiff_t start, ptrdiff_t step, ptrdiff_t n, uint8_t *has,
                         const ptrdiff_t width)
{
    int32_t lo[LANES], hi[LANES], open[LANES];
    double mean[LANES], var[LANES], low[LANES], high[LANES];
    make_keys(s, start, step, n, lane0, 0, width);
    for (ptrdiff_t l = 0; l < width; l++) {
        lo[l] = hi[l] = 0;
        low[l] = high[l] = NAN;
    }
    /* Infinite values are left out of the statistics and are never flagged. */
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t l = 0; l < width; l++) {
            float v = key_value(s->key[k * width + l]);
            lo[l] += v == -INFINITY;
            hi[l] += v < INFINITY;
        }
    for (ptrdiff_t l = 0; l < width; l++)
        open[l] = hi[l] > lo[l];
    for (int pass = 0; pass < 5; pass++) {
        int any = 0;
        for (ptrdiff_t l = 0; l < width; l++)
            mean[l] = var[l] = 0.0;
        for (ptrdiff_t k = 0; k < n; k++)
            for (ptrdiff_t l = 0; l < width; l++) {
                double v = key_value(s->key[k * width + l]);
                mean[l] += k >= lo[l] && k < hi[l] ? v : 0.0;
            }
        for (ptrdiff_t l = 0; l < width; l++)
            mean[l] /= (double)(hi[l] - lo[l]);
        for (ptrdiff_t k = 0; k < n; k++)
            for (ptrdiff_t l = 0; l < width; l++) {
                double v = key_value(s->key[k * width + l]) - mean[l];
                var[l] += k >= lo[l] && k < hi[l] ? v * v : 0.0;
            }
        for (ptrdiff_t l = 0; l < width; l++) {
            ptrdiff_t m = hi[l] - lo[l];
            if (!open[l])
                continue;
            double std = sqrt(var[l] / (double)m);
            double centre = 0.5 * ((double)key_value(s->key[(lo[l] + (m - 1) / 2) * width + l]) +
                                   (double)key_value(s->key[(lo[l] + m / 2) * width + l]));
            low[l] = centre - a->limit * std;
            high[l] = centre + a->limit * std;
            ptrdiff_t from = lo[l], to = hi[l];
            while (from < to && !((double)key_value(s->key[from * width + l]) >= low[l]))
                from++;
            while (to > from && !((double)key_value(s->key[(to - 1) * width + l]) <= high[l]))
                to--;
            if (to - from == m || to == from) {
                open[l] = 0;
            } else {
                lo[l] = (int32_t)from;
                hi[l] = (int32_t)to;
                any = 1;
            }
        }
        if (!any)
            break;
    }
    for (ptrdiff_t l = 0; l < width && lane0 + l < npix; l++) {
        ptrdiff_t pixel = p0 + lane0 + l;
        int core = in_core(a, pixel);
        for (ptrdiff_t k = 0; k < n; k++) {
            float d = s->diff[(start + k * step) * LANES + lane0 + l];
            if (isfinite(d) && ((double)d < low[l] || (double)d > high[l])) {
                set_jump(a, flag_at(a, start + k * step, pixel), core);
                has[lane0 + l] = 1;
            }
        }
    }
}

/* Flag the groups after strong jumps, from the flags as they stand. */
static void flag_after(const struct jump_args *a, const struct scratch *s, ptrdiff_t lane, ptrdiff_t pixel)
{
    double bound[2] = {a->after1, a->after2};
    ptrdiff_t reach[2] = {a->after_n1, a->after_n2};
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        ptrdiff_t until = 0;
        uint8_t *ramp = a->gdq + i * a->gdq_int + pixel;
        for (ptrdiff_t g = 1; g < a->ngroup; g++) {
            uint8_t *dq = ramp + g * a->gdq_group;
            if (*dq & JW_JUMP) {
                double size = (double)s->diff[(i * (a->ngroup - 1) + g - 1) * LANES + lane] - s->median[lane];
                for (int j = 0; j < 2; j++)
                    if (size >= bound[j] && g + reach[j] > until)
                        until = g + reach[j];
            }
            s->key[g] = g <= until;
        }
        for (ptrdiff_t g = 1; g < a->ngroup; g++)
            if (s->key[g])
                mark(ramp + g * a->gdq_group);
    }
}

static int scratch_make(struct scratch *s, const struct jump_args *a)
{
    size_t n = (size_t)(a->nint * (a->ngroup - 1));
    size_t keys = (n > WIDE_LIMIT ? 16 : LANES) * n;
    if (keys < (size_t)a->ngroup)
        keys = (size_t)a->ngroup;
    s->diff = jw_vectors((n + 1) * LANES * sizeof *s->diff);
    s->key = jw_vectors((keys + 16) * sizeof *s->key);
    return s->diff && s->key ? 0 : -1;
}

static void scratch_free(struct scratch *s)
{
    free(s->diff);
    free(s->key);
}

INLINE void find_medians(struct jump_args *a, struct scratch *s, const uint8_t *has)
{
    if (a->nint * (a->ngroup - 1) <= WIDE_LIMIT) {
        median_columns(a, s, 0, LANES);
        return;
    }
    for (ptrdiff_t lane0 = 0; lane0 < LANES; lane0 += 16) {
        uint32_t any = !has;
        for (ptrdiff_t l = 0; has && l < 16; l++)
            any |= has[lane0 + l];
        if (any)
            median_columns(a, s, lane0, 16);
    }
}

INLINE void search_block(struct jump_args *a, struct scratch *s, ptrdiff_t p0, ptrdiff_t npix, uint8_t *has)
{
    ptrdiff_t ndiff = a->nint * (a->ngroup - 1);
    if (a->method == ITERATIVE) {
        if (ndiff > WIDE_LIMIT)
            for (ptrdiff_t lane0 = 0; lane0 < npix; lane0 += 16)
                iterate_columns(a, s, p0, npix, lane0, has, 16);
        else
            iterate_columns(a, s, p0, npix, 0, has, LANES);
        return;
    }
    if (a->method == SINGLE_PASS) {
        find_medians(a, s, NULL);
        single_pass(a, s, p0, npix, has);
        return;
    }
    ptrdiff_t sets = a->method == CLIP_INTS ? a->ngroup - 1 : 1;
    ptrdiff_t n = ndiff / sets;
    for (ptrdiff_t set = 0; set < sets; set++)
        for (ptrdiff_t lane0 = 0; lane0 < npix; lane0 += 16)
            clip_columns(a, s, p0, npix, lane0, set, sets, n, has, 16);
    if (a->neighbours)
        find_medians(a, s, has);
}

/* Flag jumps in a tile: search its fresh rows, and finish those that are ready.  Returns 0, or -1 when out
   of memory. */
JW_API JW_WIDE int jw_jump(struct jump_args *a)
{
    struct scratch s = {0};
    struct events e = {0};
    ptrdiff_t total = a->ny * a->nx, ready = a->ready * a->nx;
    uint8_t has[LANES];
    int failed = scratch_make(&s, a);
    a->primary = 0;
    for (ptrdiff_t p0 = a->fresh * a->nx; p0 < total && !failed; p0 += LANES) {
        ptrdiff_t npix = total - p0 < LANES ? total - p0 : LANES;
        memset(has, 0, sizeof has);
        if (load_block(a, &s, p0, npix, 1))
            jumps_in_block(a, p0, npix, has);
        if (a->method == NO_SEARCH)
            continue;
        search_block(a, &s, p0, npix, has);
        if (a->neighbours)
            for (ptrdiff_t l = 0; l < npix && !failed; l++)
                if (has[l])
                    failed = spread(a, &s, l, p0 + l, &e);
    }
    if (!failed)
        flag_neighbours(a, &e);
    if (!failed && a->method != NO_SEARCH && (a->after_n1 > 0 || a->after_n2 > 0))
        for (ptrdiff_t p0 = 0; p0 < ready; p0 += LANES) {
            ptrdiff_t npix = ready - p0 < LANES ? ready - p0 : LANES;
            if (!jumps_in_block(a, p0, npix, has))
                continue;
            load_block(a, &s, p0, npix, 0);
            find_medians(a, &s, has);
            for (ptrdiff_t l = 0; l < npix; l++)
                if (has[l])
                    flag_after(a, &s, l, p0 + l);
        }
    free(e.at);
    scratch_free(&s);
    return failed;
}
