/* Slopes of ramps by generalised least squares, with a search for jumps; see optimal.py, its twin. */
#include "optimal_near.h"

#define CLOSER 0.8

JW_WIDE static void choose(struct tile *t)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t npix = t->npix;
    uint8_t *bad = t->any, *good = t->good;
    for (ptrdiff_t p = 0; p < npix; p++)
        bad[p] = (uint8_t)(no_gain(t, p) | no_noise(t, p));
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        uint8_t *before = good, *now = good + npix;
        for (ptrdiff_t g = 0; g <= t->m; g++) {
            const uint8_t *flag = a->gdq + i * a->gdq_int + g * a->gdq_group;
            const float *sci = a->sci + i * a->sci_int + g * a->sci_group;
            uint8_t *use = t->use + (i * t->m + (g ? g - 1 : 0)) * npix;
            for (ptrdiff_t p = 0; p < npix; p++)
                now[p] = (uint8_t)(((flag[p] & (uint8_t) ~(32u | JW_JUMP)) == 0) & ((as_bits(sci[p])
                    & 0x7f800000u) != 0x7f800000u)
                                   & (bad[p] == 0));
            if (g)
                for (ptrdiff_t p = 0; p < npix; p++)
                    use[p] = (uint8_t)(before[p] & now[p] & ((flag[p] & JW_JUMP) == 0));
            else if (!a->suppress)
                for (ptrdiff_t p = 0; p < npix; p++)
                    t->lone[i * npix + p] = now[p];
            uint8_t *swap = before;
            before = now;
            now = swap;
        }
        if (a->suppress)
            continue;
        uint8_t *lone = t->lone + i * npix;
        for (ptrdiff_t p = 0; p < npix; p++) {
            int none = 1;
            for (ptrdiff_t j = 0; j < t->m; j++)
                none &= t->use[(i * t->m + j) * npix + p] == 0;
            int frame = 0;
            if (none && !lone[p] && a->zero) {
                double zero = a->zero[i * a->zero_int + p];
                frame = (zero != 0.0) & finite(zero) & (bad[p] == 0)
                        & ((a->gdq[i * a->gdq_int + p] & JW_SAT) != 0);
            }
            lone[p] = (uint8_t)(none ? (lone[p] ? 1 : 2 * frame) : 0);
        }
    }
}

INLINE void fetch_lanes(const struct tile *t, struct block *b, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count,
                        int left)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t m = t->m, npix = t->npix;
    double before[LANES], now[LANES];
    for (ptrdiff_t g = 0; g <= m; g++) {
        const float *sci = a->sci + i * a->sci_int + g * a->sci_group + first;
        const double *gain = t->gain + first;
        LANEWISE for (ptrdiff_t l = 0; l < count; l++)
            now[l] = (double)sci[l] * gain[l];
        if (g) {
            double *diff = b->diff + (g - 1) * LANES, *use = b->use + (g - 1) * LANES;
            const uint8_t *ok = t->use + (i * m + g - 1) * npix + first;
            const uint8_t *event = t->event + (i * m + g - 1) * npix + first;
            LANEWISE for (ptrdiff_t l = 0; l < count; l++)
            {
                int32_t usable = ok[l];
                use[l] = (double)usable;
                diff[l] = use[l] > 0.0 ? now[l] - before[l] : 0.0;
            }
            if (left && g == 1)
                LANEWISE for (ptrdiff_t l = 0; l < count; l++)
                    use[l] = event[l] == 0 ? use[l] : 0.0;
            if (left && g > 1) {
                const uint8_t *split = event - npix;
                LANEWISE for (ptrdiff_t l = 0; l < count; l++)
                {
                    int32_t e = event[l], before_it = split[l];
                    int32_t left_over = (e == 0) & ((before_it < 2) | (before_it == (int32_t)NEGATIVE));
                    use[l] *= (double)left_over;
                }
            }
            for (ptrdiff_t l = count; l < LANES; l++)
                diff[l] = use[l] = 0.0;
        }
        memcpy(before, now, sizeof before);
    }
}

/* Usable differences of a block of one integration; jumps found are taken out when `left`. */
INLINE void fetch(const struct tile *t, struct block *b, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count,
                  int left)
{
    if (count == LANES)
        fetch_lanes(t, b, i, first, LANES, left);
    else
        fetch_lanes(t, b, i, first, count, left);
}

INLINE void solve_block(const struct tile *t, struct block *b, ptrdiff_t first, ptrdiff_t count)
{
    const double *dark = t->dark + first, *read = t->read + first;
    if (count == LANES)
        LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
            covariance(t->a, b->signal[l] + dark[l], read[l], &b->center[l], &b->side[l]);
    else
        for (ptrdiff_t l = 0; l < count; l++)
            covariance(t->a, b->signal[l] + dark[l], read[l], &b->center[l], &b->side[l]);
    solve(&b->chain, t->m, LANES, b->use, b->diff, b->center, b->side);
}

/* Mean of the differences without the extremes of each integration. */
INLINE void start(const struct tile *t, struct block *b, ptrdiff_t first, ptrdiff_t count)
{
    double total[LANES] = {0}, number[LANES] = {0};
    for (ptrdiff_t i = 0; i < t->a->nint; i++) {
        double n[LANES] = {0}, sum[LANES] = {0}, low[LANES], high[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) {
            low[l] = INFINITY;
            high[l] = -INFINITY;
        }
        fetch(t, b, i, first, count, 0);
        for (ptrdiff_t j = 0; j < t->m; j++)
            for (ptrdiff_t l = 0; l < LANES; l++) {
                double ok = b->use[j * LANES + l], d = b->diff[j * LANES + l];
                double least = ok > 0.0 ? d : INFINITY, most = ok > 0.0 ? d : -INFINITY;
                n[l] += ok;
                sum[l] += d;
                low[l] = least < low[l] ? least : low[l];
                high[l] = most > high[l] ? most : high[l];
            }
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double trimmed = n[l] > 2.0 ? sum[l] - high[l] - low[l] : low[l];
            total[l] = n[l] > 0.0 ? total[l] + trimmed : total[l];
            number[l] = n[l] > 0.0 ? number[l] + (n[l] > 2.0 ? n[l] - 2.0 : 1.0) : number[l];
        }
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        double mean = total[l] / number[l];
        b->signal[l] = mean > 0.0 ? mean : 0.0;
    }
}

INLINE void level_block(const struct tile *t, const struct block *b, ptrdiff_t i, ptrdiff_t first,
                        ptrdiff_t count,
                        double *slope, double *over)
{
    if (!t->trust)
        LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
        {
            over[l] = 1.0 / (b->chain.weight[l] + 0.0);
            slope[l] = (b->chain.sum[l] + 0.0) * over[l];
        }
    else
        for (ptrdiff_t l = 0; l < count; l++)
            level(t, b->chain.weight[l], b->chain.sum[l], i, first + l, &slope[l], &over[l]);
    for (ptrdiff_t l = count; l < LANES; l++)
        slope[l] = over[l] = 0.0;
}

INLINE void renew_block(struct block *b)
{
    for (ptrdiff_t l = 0; l < LANES; l++)
        b->signal[l] = renewed(b->chain.weight[l], b->chain.sum[l], b->signal[l]);
}

/* Marks lanes in which something may be found, and keeps what is below the limits. */
INLINE void suspect(const struct tile *t, struct block *b, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count,
                    double threshold, uint8_t *found)
{
    const struct optimal_args *a = t->a;
    double slope[LANES], over[LANES], mark[LANES] = {0};
    uint8_t weak[LANES];
    float ratio[LANES];
    double square[LANES], info[LANES];
    level_block(t, b, i, first, count, slope, over);
    for (ptrdiff_t j = 0; j < t->m; j++)
        for (ptrdiff_t k = 0; k < (j + 1 < t->m ? a->nparts : 1); k++) {
            double part = a->parts[k];
            if (k == 0) {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    double u, know;
                    int fits;
                    hit(&b->chain, j, l, LANES, 1.0, 1, b->use, slope[l], over[l], &u, &know, &fits);
                    double above = u * u * (u > 0.0 ? a->scale_up : a->scale_down);
                    mark[l] = fits & (above > threshold * know) ? 1.0 : mark[l];
                    square[l] = fits & (u > 0.0) ? u * u : 0.0;
                    info[l] = know;
                }
            } else {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    double u, know;
                    int fits;
                    hit(&b->chain, j, l, LANES, part, 0, b->use, slope[l], over[l], &u, &know, &fits);
                    double above = u * u * (u > 0.0 ? a->scale_split : 0.0);
                    mark[l] = fits & (above > threshold * know) ? 1.0 : mark[l];
                    square[l] = fits & (u > 0.0) ? u * u : 0.0;
                    info[l] = know;
                }
            }
            if (!t->weak)
                continue;
            /* Two loops, for vectors of one width each. */
            LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
                ratio[l] = weakness(square[l], info[l]);
            LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
                weak[l] = (uint8_t)(int32_t)ratio[l];
            memcpy(t->weak + ((i * a->nparts + k) * t->m + j) * t->npix + first, weak, (size_t)count);
        }
    for (ptrdiff_t l = 0; l < count; l++)
        found[l] = mark[l] > 0.0;
}

/* Keep the weight of an integration of a block and its weighted slope. */
INLINE void keep(const struct tile *t, const struct block *b, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count)
{
    for (ptrdiff_t l = 0; l < count; l++) {
        ptrdiff_t at = i * t->npix + first + l;
        t->weight[at] = b->chain.weight[l];
        t->sum[at] = b->chain.sum[l];
        if (t->lone[at]) {
            double variance, spread, read;
            double slope = lonely(t, i, first + l, &b->signal[l], &variance, &spread, &read);
            t->weight[at] = 1.0 / variance;
            t->sum[at] = slope * t->weight[at];
        }
    }
}

/* The same for one pixel whose jumps have changed. */
static void keep_item(const struct tile *t, struct item *x, ptrdiff_t i, ptrdiff_t p, double signal)
{
    leave(t, x->event, x->use, i, p);
    solve_item(t, &x->chain, x->use, x->diff, signal, p);
    t->weight[i * t->npix + p] = x->chain.weight[0];
    t->sum[i * t->npix + p] = x->chain.sum[0];
}

/* Look for jumps in one integration of a block.  With `own` b->signal becomes the signal behind its
   covariance; else it stays, and weight and slope are kept. */
INLINE void search(struct tile *t, struct block *b, struct item *x, ptrdiff_t i, ptrdiff_t first,
                   ptrdiff_t count, int own, double close)
{
    uint8_t found[LANES];
    for (ptrdiff_t j = 0; j < t->m; j++)
        memset(t->event + (i * t->m + j) * t->npix + first, 0, (size_t)count);
    fetch(t, b, i, first, count, 0);
    solve_block(t, b, first, count);
    if (own) {
        renew_block(b);
        solve_block(t, b, first, count);
    }
    suspect(t, b, i, first, count, close, found);
    if (own)
        renew_block(b);
    else
        keep(t, b, i, first, count);
    for (ptrdiff_t l = 0; l < count; l++) {
        if (!found[l])
            continue;
        b->signal[l] = settle(t, x, i, first + l, b->signal[l], own);
        if (t->weak)
            weigh(t, x, i, first + l, b->signal[l]);
        if (!own)
            keep_item(t, x, i, first + l, b->signal[l]);
    }
}

JW_WIDE static void find_own(struct tile *t, struct block *b, struct item *x)
{
    for (ptrdiff_t first = 0; first < t->npix; first += LANES) {
        ptrdiff_t count = t->npix - first < LANES ? t->npix - first : LANES;
        double guess[LANES];
        start(t, b, first, count);
        memcpy(guess, b->signal, sizeof guess);
        for (ptrdiff_t i = 0; i < t->a->nint; i++) {
            memcpy(b->signal, guess, sizeof guess);
            search(t, b, x, i, first, count, 1, CLOSER * CLOSER);
            memcpy(t->signal + i * t->npix + first, b->signal, (size_t)count * sizeof(double));
        }
    }
}

JW_WIDE static void find_common(struct tile *t, struct block *b, struct item *x)
{
    double *trust = t->trust;
    uint8_t *weak = t->weak;
    for (ptrdiff_t first = 0; first < t->npix; first += LANES) {
        ptrdiff_t count = t->npix - first < LANES ? t->npix - first : LANES;
        double guess[LANES];
        start(t, b, first, count);
        memcpy(guess, b->signal, sizeof guess);
        t->trust = NULL;
        t->weak = NULL;
        for (ptrdiff_t i = 0; i < t->a->nint; i++) {
            memcpy(b->signal, guess, sizeof guess);
            search(t, b, x, i, first, count, 0, CLOSER * CLOSER);
        }
        t->trust = trust;
        t->weak = weak;
        for (ptrdiff_t l = 0; l < count; l++)
            t->signal[first + l] = agree(t, first + l, 1);
        for (ptrdiff_t i = 0; i < t->a->nint; i++) {
            memcpy(b->signal, t->signal + first, (size_t)count * sizeof(double));
            search(t, b, x, i, first, count, 0, 1.0);
        }
    }
}

/* The signal of a single integration where jumps have changed it. */
static void renew(struct tile *t, struct item *x)
{
    ptrdiff_t npix = t->npix, m = t->m;
    for (ptrdiff_t i = 0; i < t->a->nint; i++) {
        uint8_t *any = t->any + i * npix;
        memset(any, 0, (size_t)npix);
        for (ptrdiff_t j = 0; j < m; j++)
            for (ptrdiff_t p = 0; p < npix; p++)
                any[p] |= t->event[(i * m + j) * npix + p];
        for (ptrdiff_t p = 0; p < npix; p++)
            if (any[p]) {
                double *signal = t->signal + i * npix + p;
                open_item(t, x, i, p);
                leave(t, x->event, x->use, i, p);
                solve_item(t, &x->chain, x->use, x->diff, *signal, p);
                *signal = renewed(x->chain.weight[0], x->chain.sum[0], *signal);
            }
    }
}

/* What the search takes from the slope of a ramp without jumps, on average. */
INLINE void taken(const struct tile *t, const struct block *b, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count,
                  double *total)
{
    const struct optimal_args *a = t->a;
    double slope[LANES], over[LANES];
    level_block(t, b, i, first, count, slope, over);
    for (ptrdiff_t l = 0; l < LANES; l++)
        total[l] = 0.0;
    for (ptrdiff_t j = 0; j < t->m; j++)
        for (ptrdiff_t k = 0; k < (j + 1 < t->m ? a->nparts : 1); k++) {
            double part = a->parts[k], rest = 1.0 - part;
            double far = k ? a->tail_split : a->tail_up, down = k ? 0.0 : a->tail_down, tail[LANES];
            const uint8_t *flags = t->close + (i * t->m + j) * t->npix + first;
            const double *w = b->chain.w + j * LANES;
            for (ptrdiff_t l = 0; l < LANES; l++)
                tail[l] = far - down;
            for (ptrdiff_t l = next_set(flags, 0, count); l < count; l = next_set(flags, l + 1, count))
                tail[l] = (flags[l] >> k & 1u && flags[l] >> 4 ? a->tail_near[flags[l] >> 4] : far) - down;
            if (k == 0)
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    double u, know;
                    int fits;
                    hit(&b->chain, j, l, LANES, 1.0, 1, b->use, 0.0, over[l], &u, &know, &fits);
                    float part_of = (float)w[l] / sqrtf((float)know);
                    total[l] = fits ? total[l] + tail[l] * (double)part_of : total[l];
                }
            else
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    double u, know;
                    int fits;
                    hit(&b->chain, j, l, LANES, part, 0, b->use, 0.0, over[l], &u, &know, &fits);
                    float part_of = (float)(part * w[l] + rest * w[l + LANES]) / sqrtf((float)know);
                    total[l] = fits ? total[l] + tail[l] * (double)part_of : total[l];
                }
        }
}

/* Flag the groups of jumps of one integration, and gather the flags of all groups. */
INLINE void flag_lanes(const struct tile *t, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count, uint8_t *seen)
{
    const struct optimal_args *a = t->a;
    memset(seen, 0, (size_t)count);
    for (ptrdiff_t g = 0; g <= t->m; g++) {
        uint8_t *flag = a->gdq + i * a->gdq_int + g * a->gdq_group + first;
        const uint8_t *event = t->event + (i * t->m + (g ? g - 1 : 0)) * t->npix + first;
        const uint8_t *split = g > 1 ? event - t->npix : event;
        if (g == 1)
            LANEWISE for (ptrdiff_t l = 0; l < count; l++)
                flag[l] |= event[l] ? (uint8_t)JW_JUMP : 0;
        if (g > 1)
            LANEWISE for (ptrdiff_t l = 0; l < count; l++)
                flag[l] |= (event[l] != 0) | ((split[l] > 1) & (split[l] != NEGATIVE)) ? (uint8_t)JW_JUMP : 0;
        LANEWISE for (ptrdiff_t l = 0; l < count; l++)
            seen[l] |= flag[l];
    }
}

INLINE void flag_groups(const struct tile *t, ptrdiff_t i, ptrdiff_t first, ptrdiff_t count, uint8_t *seen)
{
    if (count == LANES)
        flag_lanes(t, i, first, LANES, seen);
    else
        flag_lanes(t, i, first, count, seen);
}

/* Slopes and variances of a row of pixels, from electrons and group times to DN and seconds. */
INLINE void store(const struct tile *t, float *const *planes, ptrdiff_t first, ptrdiff_t at, ptrdiff_t count,
                  const double *ok, const double *slope, const double *poisson, const double *read)
{
    const double *gain = t->gain + first;
    double time = t->a->group_time;
    float *out = planes[0] + at, *err = planes[1] + at, *var_p = planes[2] + at, *var_r = planes[3] + at;
    LANEWISE for (ptrdiff_t l = 0; l < count; l++)
    {
        double unit = gain[l] * time, over = 1.0 / (unit * unit), p = poisson[l] * over, r = read[l] * over;
        out[l] = (float)(ok[l] > 0.0 ? slope[l] / unit : (double)NAN);
        err[l] = (float)(ok[l] > 0.0 ? sqrt(p + r) : 0.0);
        var_p[l] = (float)(ok[l] > 0.0 ? p : 0.0);
        var_r[l] = (float)(ok[l] > 0.0 ? r : 0.0);
    }
}

/* Rows [nint][LANES] of what an integration gives. */
struct results {
    double *weight, *slope, *spread, *read, *signal;
};

/* Slope of one integration of a block, and the forms of its variance. */
INLINE void measure(const struct tile *t, struct block *b, struct results *r, ptrdiff_t i, ptrdiff_t first,
                    ptrdiff_t count)
{
    const struct optimal_args *a = t->a;
    double gone[LANES] = {0}, square[LANES] = {0}, cross[LANES] = {0}, noise[LANES] = {0}, dark[LANES] = {0};
    double *weight = r->weight + i * LANES, *slope = r->slope + i * LANES, *spread = r->spread + i * LANES,
           *read = r->read + i * LANES, *signal = r->signal + i * LANES;
    memcpy(noise, t->read + first, (size_t)count * sizeof(double));
    memcpy(dark, t->dark + first, (size_t)count * sizeof(double));
    memcpy(b->signal, t->signal + (a->common ? 0 : i * t->npix) + first, (size_t)count * sizeof(double));
    fetch(t, b, i, first, count, 1);
    solve_block(t, b, first, count);
    if (a->unbiased)
        taken(t, b, i, first, count, gone);
    const double *w = b->chain.w;
    for (ptrdiff_t j = 0; j < t->m; j++)
        for (ptrdiff_t l = 0; l < LANES; l++)
            square[l] += w[j * LANES + l] * w[j * LANES + l];
    for (ptrdiff_t j = 0; j + 1 < t->m; j++)
        for (ptrdiff_t l = 0; l < LANES; l++)
            cross[l] += w[j * LANES + l] * w[(j + 1) * LANES + l];
    LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
    {
        double inverse = 1.0 / b->chain.weight[l], best = b->chain.sum[l] * inverse;
        weight[l] = b->chain.weight[l];
        slope[l] = a->unbiased ? best + gone[l] * inverse : best;
        spread[l] = ((1.0 - 2.0 * a->shared) * square[l] + 2.0 * a->shared * cross[l]) * inverse * inverse;
        read[l] = noise[l] * (2.0 * square[l] - 2.0 * cross[l]) * inverse * inverse;
        signal[l] = b->signal[l] + dark[l];
    }
    for (ptrdiff_t l = 0; l < count; l++) {
        if (!t->lone[i * t->npix + first + l])
            continue;
        double variance;
        slope[l] = lonely(t, i, first + l, a->common ? &b->signal[l] : NULL, &variance, &spread[l], &read[l]);
        weight[l] = 1.0 / variance;
        if (!a->common)
            signal[l] = (slope[l] > 0.0 ? slope[l] : 0.0) + dark[l];
    }
}

JW_WIDE static void products(struct tile *t, struct block *b, double *rows)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t nint = a->nint, npix = t->npix, size = nint * LANES;
    struct results r = {rows, rows + size, rows + 2 * size, rows + 3 * size, rows + 4 * size};
    for (ptrdiff_t first = 0; first < npix; first += LANES) {
        ptrdiff_t count = npix - first < LANES ? npix - first : LANES;
        double all[LANES] = {0}, product[LANES] = {0}, spreads[LANES] = {0}, reads[LANES] = {0},
            poissons[LANES] = {0};
        double may[LANES] = {0}, poisson[LANES], one[LANES];
        uint32_t dq[LANES] = {0}, base[LANES];
        uint8_t seen[LANES];
        for (ptrdiff_t l = 0; l < count; l++) {
            ptrdiff_t p = first + l;
            base[l] = a->pdq[p] | (no_gain(t, p) ? a->no_gain | JW_DNU : 0u) | (no_noise(t, p) ? JW_DNU : 0u);
            may[l] = base[l] & JW_DNU ? 0.0 : 1.0;
        }
        for (ptrdiff_t i = 0; i < nint; i++) {
            measure(t, b, &r, i, first, count);
            flag_groups(t, i, first, count, seen);
            double *weight = r.weight + i * LANES, *slope = r.slope + i * LANES,
                *spread = r.spread + i * LANES,
                   *read = r.read + i * LANES, *signal = r.signal + i * LANES;
            uint32_t *flags = a->ints_dq + i * npix + first;
            LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
            {
                double w = (may[l] > 0.0) & (weight[l] > 0.0) ? weight[l] : 0.0, part = w * w;
                weight[l] = w;
                all[l] = w > 0.0 ? all[l] + w : all[l];
                product[l] = w > 0.0 ? product[l] + w * slope[l] : product[l];
                spreads[l] = w > 0.0 ? spreads[l] + part * spread[l] : spreads[l];
                reads[l] = w > 0.0 ? reads[l] + part * read[l] : reads[l];
                poissons[l] = w > 0.0 ? poissons[l] + part * (signal[l] * spread[l]) : poissons[l];
            }
            for (ptrdiff_t l = 0; l < count; l++) {
                flags[l] = base[l] | (seen[l] & (JW_JUMP | 32u | JW_SAT));
                dq[l] |= flags[l];
                flags[l] |= weight[l] > 0.0 ? 0u : JW_DNU;
            }
        }
        for (ptrdiff_t i = 0; i < nint; i++) {
            const double *weight = r.weight + i * LANES, *spread = r.spread + i * LANES,
                *signal = r.signal + i * LANES;
            LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
            {
                double share = a->common ? weight[l] / all[l] : 1.0;
                double widen = a->small_counts ? spread[l] * spread[l] * (share + 1.75 * share * share) : 0.0;
                poisson[l] = signal[l] * spread[l] + widen;
            }
            store(t, a->ints, first, i * npix + first, count, weight, r.slope + i * LANES, poisson,
                r.read + i * LANES);
        }
        LANEWISE for (ptrdiff_t l = 0; l < LANES; l++)
        {
            double over = 1.0 / all[l], mean = spreads[l] * over * over;
            double widen = a->small_counts ? mean * mean * 2.75 : 0.0;
            one[l] = product[l] * over;
            poisson[l] = poissons[l] * over * over + widen;
            reads[l] = reads[l] * over * over;
        }
        store(t, a->rate, first, first, count, all, one, poisson, reads);
        for (ptrdiff_t l = 0; l < count; l++)
            a->rate_dq[first + l] = dq[l] | (all[l] > 0.0 ? 0u : JW_DNU);
    }
}

/* Fit a tile; returns 0, or 1 when there is no memory. */
JW_API int jw_fit_optimal(const struct optimal_args *a)
{
    size_t nint = (size_t)a->nint, m = (size_t)a->ngroup - 1, npix = (size_t)(a->ny * a->nx);
    size_t planes = 6 + (a->common ? 1 + 4 * nint : nint);
    size_t rows = (2 + CHAIN_ROWS) * LANES + 3 + 2 * CHAIN_ROWS;
    size_t doubles = planes * npix + nint * m + rows * m + 5 * nint * LANES;
    size_t bytes = ((3 + (a->pair ? (size_t)a->nparts : 0)) * m + 2) * nint * npix + 2 * npix + m;
    double *space = malloc(doubles * sizeof(double));
    uint8_t *flags = calloc(bytes, 1);
    if (!space || !flags) {
        free(space);
        free(flags);
        return 1;
    }
    struct tile t = {.a = a, .m = (ptrdiff_t)m, .npix = (ptrdiff_t)npix};
    double *next = space, **six[] = {&t.gain, &t.read, &t.single, &t.reset, &t.dark, &t.middle};
    for (int k = 0; k < 6; k++, next += npix)
        *six[k] = next;
    t.signal = next;
    next += a->common ? npix : nint * npix;
    if (a->common) {
        double **four[] = {&t.trust, &t.belief, &t.weight, &t.sum};
        for (int k = 0; k < 4; k++, next += nint * npix)
            *four[k] = next;
    }
    t.sorted = next;
    next += nint * m;
    struct block b;
    b.use = next;
    b.diff = next + m * LANES;
    next += 2 * m * LANES;
    attach(&b.chain, next, (ptrdiff_t)m, LANES);
    next += CHAIN_ROWS * m * LANES;
    struct item x = {.use = next, .diff = next + m, .trial = next + 2 * m};
    next += 3 * m;
    attach(&x.chain, next, (ptrdiff_t)m, 1);
    next += CHAIN_ROWS * m;
    attach(&x.other, next, (ptrdiff_t)m, 1);
    next += CHAIN_ROWS * m;
    t.use = flags;
    t.event = t.use + m * nint * npix;
    t.close = t.event + m * nint * npix;
    t.lone = t.close + m * nint * npix;
    t.any = t.lone + nint * npix;
    t.good = t.any + nint * npix;
    x.event = t.good + 2 * npix;
    if (a->pair)
        t.weak = x.event + m;
    for (size_t l = 0; l < LANES; l++)
        b.signal[l] = 0.0;
    prepare(&t);
    choose(&t);
    if (a->common)
        find_common(&t, &b, &x);
    else
        find_own(&t, &b, &x);
    memset(t.any, 0, nint * npix);
    if (a->pair) {
        mark_pairs(&t);
        look_near(&t, &x);
    }
    if (a->near) {
        mark_near(&t);
        look_near(&t, &x);
    }
    if (!a->common)
        renew(&t, &x);
    for (ptrdiff_t p = 0; a->common && p < t.npix; p++)
        t.signal[p] = agree(&t, p, 0);
    products(&t, &b, next);
    free(flags);
    free(space);
    return 0;
}
