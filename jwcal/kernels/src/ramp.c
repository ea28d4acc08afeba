/* Slopes of ramps by least squares with weights chosen from the signal-to-noise ratio, a block of
   pixels at a time.

   A ramp is cut into segments at flagged groups.  Ramps in one piece, nearly all of them, are
   fitted across the pixels of a block; the others one by one, with the same operations in the
   same order, so that both paths give the same bits. */
#include "ramp.h"

INLINE void load_pixels(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t p0, ptrdiff_t npix)
{
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t p = p0 + (l < npix ? l : npix - 1);
        b->gain[l] = a->gain[p];
        b->noise[l] = (float)((double)a->rnoise[p] * ((double)a->gain[p] / a->noise_scale));
        b->dark[l] = a->dark ? a->dark[p] : 0.0f;
        b->median[l] = 0.0;
    }
}

INLINE void find_odd(const struct ramp_args *a, struct ramp_block *b)
{
    uint8_t seen[LANES] = {0}, odd[LANES] = {0};
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        const uint8_t *restrict flag = b->flag + g * b->flag_group;
        if (g >= b->start && g < b->end)
            for (ptrdiff_t l = 0; l < LANES; l++)
                odd[l] |= flag[l];
        else
            for (ptrdiff_t l = 0; l < LANES; l++)
                odd[l] |= (flag[l] & (JW_SAT | JW_DNU)) == 0;
        for (ptrdiff_t l = 0; l < LANES; l++)
            seen[l] |= flag[l];
    }
    for (ptrdiff_t l = 0; l < LANES && a->unjump_first; l++)
        odd[l] |= b->flag[l] & JW_JUMP;
    memcpy(b->seen, seen, sizeof seen);
    memcpy(b->odd, odd, sizeof odd);
}

INLINE ptrdiff_t regular_lanes(const struct ramp_block *b)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t l = 0; l < LANES; l++)
        n += b->odd[l] == 0;
    return n;
}

INLINE void fetch_next(const struct ramp_args *a, ptrdiff_t i, ptrdiff_t p0)
{
    if (p0 + 2 * LANES > a->npix)
        return;
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        const float *sci = a->sci + i * a->sci_int + g * a->sci_group + p0 + LANES;
        for (ptrdiff_t l = 0; l < LANES; l += 16)
            JW_PREFETCH(sci + l);
        JW_PREFETCH(a->gdq + i * a->gdq_int + g * a->gdq_group + p0 + LANES);
    }
}

/* Point to an integration and find its regular lanes. */
INLINE void load_integration(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t i, ptrdiff_t p0,
                             ptrdiff_t npix)
{
    ptrdiff_t *guess = b->guess + 2 * i;
    b->sci = a->sci + i * a->sci_int + p0;
    b->flag = a->gdq + i * a->gdq_int + p0;
    b->sci_group = a->sci_group;
    b->flag_group = a->gdq_group;
    if (npix < LANES) {
        for (ptrdiff_t g = 0; g < a->ngroup; g++)
            for (ptrdiff_t l = 0; l < LANES; l++) {
                ptrdiff_t m = l < npix ? l : npix - 1;
                b->sci_copy[g * LANES + l] = b->sci[g * a->sci_group + m];
                b->flag_copy[g * LANES + l] = b->flag[g * a->gdq_group + m];
            }
        b->sci = b->sci_copy;
        b->flag = b->flag_copy;
        b->sci_group = b->flag_group = LANES;
    }
    b->start = guess[0];
    b->end = guess[1];
    find_odd(a, b);
    if (regular_lanes(b) < LANES / 2) {
        ptrdiff_t lane = 0, start = 0, end;
        while (lane < LANES - 1 && !b->odd[lane])
            lane++;
        while (start < a->ngroup && b->flag[start * b->flag_group + lane])
            start++;
        for (end = start; end < a->ngroup && !b->flag[end * b->flag_group + lane];)
            end++;
        if (end - start > 2) {
            b->start = guess[0] = start;
            b->end = guess[1] = end;
            find_odd(a, b);
        }
    }
    if (b->end - b->start < 3)
        memset(b->odd, 1, sizeof b->odd);
}

/* Median rates of a block of regular lanes; 0 if a difference of one of them is NaN. */
INLINE int regular_medians(const struct ramp_args *a, const struct ramp_block *b, double *rate)
{
    double last[LANES], sum[LANES];
    const ptrdiff_t n = b->end - b->start - 1;
    const double time = a->group_time;
    const float *first = b->sci + b->start * b->sci_group;
    int finite = 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        last[l] = (double)first[l] / time;
        sum[l] = 0.0;
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        const float *restrict sci = first + (k + 1) * b->sci_group;
        int64_t *restrict key = b->key + k * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double v = (double)sci[l] / time, d = v - last[l];
            last[l] = v;
            sum[l] += d;
            key[l] = wide_key(d);
        }
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        finite &= sum[l] == sum[l];
    if (!finite)
        return 0;
    sort_wide_keys(b->key, n, LANES);
    const int64_t *restrict low = b->key + (n / 2 - 1 + n % 2) * LANES, *restrict high = b->key + n / 2 * LANES;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        double up = wide_value(high[l]), down = wide_value(low[l]);
        rate[l] = n % 2 ? up : (up + down) / 2.0;
    }
    return 1;
}

/* Median rates of any lanes whose groups have no special times: differences that cannot be used sort last. */
INLINE void masked_medians(const struct ramp_args *a, const struct ramp_block *b, double *rate)
{
    double last[LANES], first[LANES];
    int32_t used[LANES], clean[LANES];
    const double time = a->group_time;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        uint8_t flag = b->flag[l];
        double v = (double)b->sci[l] / time;
        first[l] = last[l] = flag & (JW_DNU | JW_SAT) ? NAN : v;
        clean[l] = (flag & ~JW_PERS) == 0;
        used[l] = 0;
    }
    for (ptrdiff_t g = 1; g < a->ngroup; g++) {
        const float *restrict sci = b->sci + g * b->sci_group;
        const uint8_t *restrict flag = b->flag + g * b->flag_group;
        int64_t *restrict key = b->key + (g - 1) * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double v = (double)sci[l] / time;
            int64_t unusable;
            v = flag[l] & (JW_DNU | JW_SAT) ? NAN : v;
            key[l] = wide_key(v - last[l]);
            unusable = (v - last[l] != v - last[l]) | ((flag[l] & JW_JUMP) != 0);
            key[l] = unusable ? NO_WIDE_KEY : key[l];
            used[l] += !unusable;
            last[l] = v;
        }
        for (ptrdiff_t l = 0; l < LANES; l++)
            clean[l] += (flag[l] & ~JW_PERS) == 0;
    }
    sort_wide_keys(b->key, a->ngroup - 1, LANES);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t n = used[l];
        double r = first[l];
        if (n > 0)
            r = wide_value(b->key[n / 2 * LANES + l]);
        if (n > 0 && n % 2 == 0)
            r = (r + wide_value(b->key[(n / 2 - 1) * LANES + l])) / 2.0;
        /* A lonely good group is not used. */
        rate[l] = r == r && clean[l] != 1 ? r : 0.0;
    }
}

/* Add the median rates of one integration to those of the block. */
INLINE void median_rates(const struct ramp_args *a, struct ramp_block *b, struct ramp_lane *r, ptrdiff_t i,
                         ptrdiff_t p0, ptrdiff_t npix)
{
    double rate[LANES];
    if (regular_lanes(b) < LANES || !regular_medians(a, b, rate)) {
        if (a->suppress)
            masked_medians(a, b, rate);
        else
            for (ptrdiff_t l = 0; l < LANES; l++) {
                rate[l] = 0.0;
                if (l < npix) {
                    load_lane(a, b, l, i, p0 + l, r);
                    rate[l] = lane_median(a, r, (double *)b->key);
                }
            }
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        b->median[l] += rate[l];
}

/* weight[l] = table[class[l]]; the table holds eight values. */
INLINE void pick_weights(const float *table, const int32_t *class, float *weight)
{
#if defined(__GNUC__) && !defined(__clang__)
    typedef float floats __attribute__((vector_size(32)));
    typedef int32_t ints __attribute__((vector_size(32)));
    floats all, some;
    ints index;
    memcpy(&all, table, sizeof all);
    for (ptrdiff_t l = 0; l < LANES; l += 8) {
        memcpy(&index, class + l, sizeof index);
        some = __builtin_shuffle(all, index);
        memcpy(weight + l, &some, sizeof some);
    }
#else
    for (ptrdiff_t l = 0; l < LANES; l++)
        weight[l] = table[class[l]];
#endif
}

/* All regular lanes at once. */
INLINE void fit_regular(const struct ramp_args *a, const struct ramp_block *b, double *slope, double *poisson,
                        double *read, double *total)
{
    const ptrdiff_t n = b->end - b->start;
    const double time = a->group_time;
    const float *table = a->weights + CLASSES * (n * (n - 1) / 2);
    const float *first = b->sci + b->start * b->sci_group, *last = first + (n - 1) * b->sci_group;
    double sw[LANES], sx[LANES], sxx[LANES], sy[LANES], sxy[LANES], inv[LANES];
    int32_t class[LANES];
    float weight[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) {
        class[l] = weight_class((double)last[l] - (double)first[l], b->noise[l], b->gain[l]);
        inv[l] = 1.0 / (b->noise[l] * b->noise[l]);
        sw[l] = sx[l] = sxx[l] = sy[l] = sxy[l] = 0.0;
    }
    for (ptrdiff_t g = 0; g < n; g++) {
        const float *restrict sci = first + g * b->sci_group;
        const double x = (double)(b->start + g);
        pick_weights(table + g * CLASSES, class, weight);
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double w = (double)weight[l] * inv[l];
            double y = sci[l];
            double xw = x * w;
            y = y == y ? y : 0.0;
            sw[l] += w;
            sx[l] += xw;
            sxx[l] += x * xw;
            sy[l] += y * w;
            sxy[l] += y * xw;
        }
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        double den = sw[l] * sxx[l] - sx[l] * sx[l];
        double rate = (sw[l] * sxy[l] - sx[l] * sy[l]) * (1.0 / den) / time;
        double vp = poisson_variance(b->median[l], b->dark[l], time * b->gain[l] * ((double)n - 1.0));
        double vr = read_variance(b->noise[l], b->gain[l], time, (double)n);
        vr = b->gain[l] > 0.0 ? vr : 0.0;
        slope[l] = rate / vr;
        read[l] = 1.0 / vr;
        poisson[l] = vp > 0.0 ? 1.0 / vp : 0.0;
        total[l] = 1.0 / (vp + vr);
    }
}

INLINE double reasonable(double variance)
{
    return variance >= HUGE_VARIANCE ? 0.0 : variance;
}

struct totals {
    double slope[LANES], poisson[LANES], read[LANES], kept[LANES], without[LANES];
    int32_t unusable[LANES], saturated[LANES], partial[LANES], loss[LANES];
    uint32_t dq[LANES], base[LANES];
};

INLINE void finish_integration(const struct ramp_args *a, struct ramp_block *b, struct ramp_lane *r,
                               struct totals *t, ptrdiff_t i, ptrdiff_t p0, ptrdiff_t npix, int loss)
{
    double slope[LANES], poisson[LANES], read[LANES], total[LANES], out[4][LANES];
    int32_t fitted[LANES], partial[LANES];
    uint32_t dq[LANES];
    const ptrdiff_t n = a->ngroup;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        fitted[l] = b->odd[l] == 0;
        partial[l] = (b->seen[l] & JW_SAT) != 0;
        dq[l] = t->base[l] | (b->seen[l] & (JW_JUMP | JW_PERS));
    }
    if (regular_lanes(b))
        fit_regular(a, b, slope, poisson, read, total);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        struct sums s = {0};
        if (fitted[l])
            continue;
        if (l < npix) {
            load_lane(a, b, l, i, p0 + l, r);
            dq[l] = t->base[l] | (r->seen & (JW_JUMP | JW_PERS));
            if (r->flag[0] & JW_SAT)
                dq[l] |= JW_DNU | JW_SAT;
            if (r->unusable == n)
                dq[l] |= JW_DNU | (r->saturated == n ? JW_SAT : 0);
            else if (!(r->flag[0] & JW_SAT))
                fit_pieces(a, b, r, l, &s);
            partial[l] = r->saturated > 0;
            if (loss && (r->seen & JW_LOSS))
                t->without[l] = read_without_loss(a, b, r, l);
        }
        fitted[l] = s.fitted;
        slope[l] = s.slope;
        poisson[l] = s.poisson;
        read[l] = s.read;
        total[l] = s.total;
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        int bad = (dq[l] & (JW_DNU | JW_SAT)) != 0, use = fitted[l] & !bad;
        double vp = poisson[l] > 0.0 ? 1.0 / poisson[l] : 0.0;
        double vr = 1.0 / read[l], ve = 1.0 / total[l];
        vp = reasonable(vp);
        vr = reasonable(vr);
        ve = ve > HUGE_VARIANCE ? 0.0 : sqrt(ve);
        out[0][l] = bad ? NAN : use ? slope[l] * vr : 0.0;
        out[1][l] = use ? ve : 0.0;
        out[2][l] = use ? vp : 0.0;
        out[3][l] = use ? vr : 0.0;
        t->poisson[l] += (fitted[l] != 0) & (poisson[l] > 0.0) ? poisson[l] : 0.0;
        t->read[l] += fitted[l] ? read[l] : 0.0;
        t->slope[l] += fitted[l] ? slope[l] : 0.0;
        t->unusable[l] += (dq[l] & JW_DNU) != 0;
        t->saturated[l] += (dq[l] & JW_SAT) != 0;
        t->partial[l] |= partial[l];
        t->dq[l] |= dq[l] & (JW_JUMP | JW_PERS);
        dq[l] |= partial[l] ? JW_SAT : 0;
    }
    for (ptrdiff_t l = 0; l < npix && loss; l++)
        if (b->seen[l] & JW_LOSS) {
            if (b->odd[l] == 0) {
                r->time = a->group_time;
                t->without[l] = read_without_loss(a, b, r, l);
            }
            out[3][l] = reasonable(1.0 / t->without[l]);
            t->kept[l] += t->without[l];
            t->loss[l] = 1;
        } else if (out[3][l] > 0.0) {
            t->kept[l] += 1.0 / out[3][l];
        }
    for (int j = 0; j < 4; j++) {
        float *to = a->ints[j] + i * a->npix + p0;
        for (ptrdiff_t l = 0; l < npix; l++)
            to[l] = (float)out[j][l];
    }
    memcpy(a->ints_dq + i * a->npix + p0, dq, (size_t)npix * sizeof *dq);
}

INLINE void finish_pixels(const struct ramp_args *a, const struct totals *t, ptrdiff_t p0, ptrdiff_t npix)
{
    double out[4][LANES];
    uint32_t dq[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) {
        dq[l] =
            t->dq[l] | (t->unusable[l] == a->nint ? JW_DNU : 0) | (t->saturated[l] == a->nint ? JW_SAT : 0);
        int bad = (dq[l] & (JW_DNU | JW_SAT)) != 0;
        double vp = t->poisson[l] > 0.0 ? 1.0 / t->poisson[l] : t->poisson[l];
        double vr = t->read[l] > 0.0 ? 1.0 / t->read[l] : t->read[l];
        vp = (vp >= HUGE_VARIANCE) | (vp < 0.0) ? 0.0 : vp;
        vr = reasonable(vr);
        out[0][l] = bad ? NAN : t->slope[l] * vr;
        out[1][l] = bad ? 0.0 : sqrt(vp + vr);
        out[2][l] = bad ? 0.0 : vp;
        out[3][l] = bad ? 0.0 : vr;
        if (t->loss[l]) {
            out[3][l] = t->kept[l] > 0.0 ? 1.0 / t->kept[l] : out[3][l];
            out[3][l] = reasonable(out[3][l]);
        }
        dq[l] |= t->partial[l] ? JW_SAT : 0;
    }
    for (int j = 0; j < 4; j++) {
        float *to = a->rate[j] + p0;
        for (ptrdiff_t l = 0; l < npix; l++)
            to[l] = (float)out[j][l];
    }
    memcpy(a->rate_dq + p0, dq, (size_t)npix * sizeof *dq);
}

INLINE void fit_block(const struct ramp_args *a, struct ramp_block *b, struct ramp_lane *r, ptrdiff_t p0,
                      ptrdiff_t npix)
{
    struct totals t;
    uint32_t seen = 0;
    memset(&t, 0, sizeof t);
    load_pixels(a, b, p0, npix);
    for (ptrdiff_t l = 0; l < LANES; l++)
        t.base[l] = t.dq[l] =
            a->pdq[p0 + (l < npix ? l : npix - 1)] | (b->gain[l] > 0.0 ? 0 : a->no_gain | JW_DNU);
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        fetch_next(a, i, p0);
        load_integration(a, b, i, p0, npix);
        if (a->ngroup > 1)
            median_rates(a, b, r, i, p0, npix);
        else
            for (ptrdiff_t l = 0; l < npix; l++) {
                load_lane(a, b, l, i, p0 + l, r);
                b->median[l] += r->data[0] / a->one_group_time;
            }
        for (ptrdiff_t l = 0; l < LANES; l++)
            seen |= b->seen[l];
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        b->median[l] /= (double)a->nint;
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        if (a->nint > 1)
            load_integration(a, b, i, p0, npix);
        finish_integration(a, b, r, &t, i, p0, npix, (seen & JW_LOSS) != 0);
    }
    finish_pixels(a, &t, p0, npix);
}

/* Fit the ramps of a tile.  Returns 0, or -1 when out of memory. */
JW_API JW_WIDE int jw_fit_ramps(const struct ramp_args *a)
{
    struct ramp_block b = {0};
    struct ramp_lane r = {0};
    size_t n = (size_t)a->ngroup, block = n * LANES, nint = (size_t)a->nint;
    b.key = jw_vectors(block * (sizeof *b.key + sizeof *b.sci_copy + 1) + n * (sizeof *r.data + 1) +
                       2 * nint * sizeof *b.guess);
    if (!b.key)
        return -1;
    r.data = (double *)(b.key + block);
    b.guess = (ptrdiff_t *)(r.data + n);
    b.sci_copy = (float *)(b.guess + 2 * nint);
    b.flag_copy = (uint8_t *)(b.sci_copy + block);
    r.flag = b.flag_copy + block;
    for (size_t i = 0; i < nint; i++) {
        b.guess[2 * i] = 0;
        b.guess[2 * i + 1] = a->ngroup;
    }
    for (ptrdiff_t p0 = 0; p0 < a->npix; p0 += LANES)
        fit_block(a, &b, &r, p0, a->npix - p0 < LANES ? a->npix - p0 : LANES);
    free(b.key);
    return 0;
}
