/* Slopes of ramps by least squares with weights chosen from the signal-to-noise ratio, a block of
   pixels at a time.

   A ramp is cut into segments at flagged groups.  Ramps in one piece, nearly all of them, are
   fitted across the pixels of a block; the others one by one, with the same operations in the
   same order, so that both paths give the same bits. */
#include "sort.h"
#include <stdlib.h>

#define LANES 32
#define CLASSES 6
#define JW_PERS 32u
#define JW_LOSS 128u
#define HUGE_VARIANCE 1.0e6

struct ramp_args {
    const float *sci;
    const uint8_t *gdq;
    const uint32_t *pdq;
    const float *gain, *rnoise, *dark, *zero;
    const float *weights; /* for every length n: [n][CLASSES] from 6 n (n - 1) / 2 on */
    float *rate[4];       /* slope, error, Poisson variance, read variance */
    uint32_t *rate_dq;
    float *ints[4];
    uint32_t *ints_dq;
    ptrdiff_t sci_int, sci_group, gdq_int, gdq_group, zero_int;
    ptrdiff_t nint, ngroup, npix;
    double group_time, frame_time, one_group_time, noise_scale;
    int32_t suppress, unjump_first;
    uint32_t no_gain;
};

/* Flags and counts of one integration of a block. */
struct ramp_block {
    double *data;   /* [ngroup][LANES], NaN where saturated */
    double *work;   /* [ngroup][LANES] */
    uint8_t *flag;  /* [ngroup][LANES] */
    uint8_t *given; /* [ngroup][LANES] as on input */
    int32_t clean[LANES], good[LANES], sat[LANES], unusable[LANES];
    uint32_t seen[LANES];
    uint8_t zeroth[LANES], from_zero[LANES];
    double gain[LANES], noise[LANES], dark[LANES], median[LANES];
};

struct sums {
    double slope, poisson, read, total;
    int fitted;
};

static double timing(const struct ramp_args *a, const struct ramp_block *b, ptrdiff_t l)
{
    if (!a->suppress && b->zeroth[l])
        return a->one_group_time;
    if (!a->suppress && b->from_zero[l])
        return a->frame_time;
    return a->group_time;
}

INLINE void load_pixels(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t p0, ptrdiff_t npix)
{
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t p = p0 + (l < npix ? l : npix - 1);
        b->gain[l] = a->gain[p];
        b->noise[l] = (float)((double)a->rnoise[p] * ((double)a->gain[p] / a->noise_scale));
        b->dark[l] = a->dark ? a->dark[p] : 0.0f;
    }
}

/* A ramp with nothing but its first group, or with nothing at all but the frame before it. */
static void rescue(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t i, ptrdiff_t p0, ptrdiff_t npix)
{
    for (ptrdiff_t l = 0; l < LANES; l++) {
        float frame;
        if (b->good[l] == 1 && b->flag[l] == 0) {
            b->zeroth[l] = 1;
        } else if (b->good[l] == 0 && a->zero) {
            frame = a->zero[i * a->zero_int + p0 + (l < npix ? l : npix - 1)];
            if (frame == 0.0f)
                continue;
            b->data[l] = frame;
            b->flag[l] = 0;
            b->good[l] = 1;
            b->unusable[l]--;
            if (b->sat[l] == a->ngroup)
                b->sat[l]--;
            b->from_zero[l] = 1;
        }
    }
}

INLINE void load_integration(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t i, ptrdiff_t p0, ptrdiff_t npix)
{
    uint32_t lonely = 0;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        b->clean[l] = b->good[l] = b->sat[l] = b->unusable[l] = 0;
        b->seen[l] = 0;
        b->zeroth[l] = b->from_zero[l] = 0;
    }
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        const uint8_t *restrict dq = a->gdq + i * a->gdq_int + g * a->gdq_group + p0;
        const float *restrict sci = a->sci + i * a->sci_int + g * a->sci_group + p0;
        uint8_t *restrict flag = b->flag + g * LANES;
        double *restrict data = b->data + g * LANES;
        if (npix == LANES) {
            for (ptrdiff_t l = 0; l < LANES; l++)
                flag[l] = dq[l];
            for (ptrdiff_t l = 0; l < LANES; l++)
                data[l] = dq[l] & JW_SAT ? NAN : (double)sci[l];
        } else {
            for (ptrdiff_t l = 0; l < LANES; l++) {
                ptrdiff_t m = l < npix ? l : npix - 1;
                flag[l] = dq[m];
                data[l] = dq[m] & JW_SAT ? NAN : (double)sci[m];
            }
        }
        for (ptrdiff_t l = 0; l < LANES; l++) {
            b->clean[l] += (flag[l] & ~JW_PERS) == 0;
            b->good[l] += flag[l] == 0;
            b->sat[l] += (flag[l] & JW_SAT) != 0;
            b->unusable[l] += (flag[l] & (JW_SAT | JW_DNU)) != 0;
            b->seen[l] |= flag[l];
        }
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        lonely |= (b->clean[l] == 1) | ((b->seen[l] & JW_LOSS) != 0);
    if (lonely)
        memcpy(b->given, b->flag, (size_t)(a->ngroup * LANES));
    if (a->suppress && lonely)
        for (ptrdiff_t l = 0; l < LANES; l++) {
            if (b->clean[l] != 1)
                continue;
            for (ptrdiff_t g = 0; g < a->ngroup; g++)
                b->flag[g * LANES + l] |= JW_DNU;
            b->clean[l] = b->good[l] = 0;
            b->unusable[l] = (int32_t)a->ngroup;
            b->seen[l] |= JW_DNU;
        }
    if (a->unjump_first)
        for (ptrdiff_t l = 0; l < LANES; l++) {
            uint32_t others = 0;
            if (!(b->flag[l] & JW_JUMP))
                continue;
            b->flag[l] &= (uint8_t)~JW_JUMP;
            b->clean[l] += (b->flag[l] & ~JW_PERS) == 0;
            b->good[l] += b->flag[l] == 0;
            for (ptrdiff_t g = 0; g < a->ngroup; g++)
                others |= b->flag[g * LANES + l];
            b->seen[l] = others;
        }
    if (!a->suppress)
        rescue(a, b, i, p0, npix);
}

/* Median of the usable differences of one integration, per second; 0 where there are none. */
INLINE void median_rates(const struct ramp_args *a, struct ramp_block *b, double *sum)
{
    double last[LANES], start[LANES];
    int32_t count[LANES];
    ptrdiff_t n = a->ngroup - 1;
    int full = 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        double v = b->data[l] / a->group_time;
        last[l] = start[l] = b->flag[l] & JW_DNU ? NAN : v;
        count[l] = 0;
    }
    for (ptrdiff_t g = 1; g <= n; g++) {
        const double *restrict data = b->data + g * LANES;
        const uint8_t *restrict flag = b->flag + g * LANES;
        double *restrict work = b->work + (g - 1) * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double v = data[l] / a->group_time;
            v = flag[l] & JW_DNU ? NAN : v;
            double d = flag[l] & JW_JUMP ? NAN : v - last[l];
            last[l] = v;
            count[l] += d == d;
            work[l] = d == d ? d : INFINITY;
        }
    }
    sort_doubles(b->work, n, LANES);
    for (ptrdiff_t l = 0; l < LANES; l++)
        full &= count[l] == n;
    if (full) {
        const double *restrict low = b->work + (n - 1) / 2 * LANES, *restrict high = b->work + n / 2 * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++)
            last[l] = n & 1 ? high[l] : (high[l] + low[l]) / 2.0;
    } else {
        for (ptrdiff_t l = 0; l < LANES; l++) {
            ptrdiff_t c = count[l];
            if (c == 0)
                last[l] = start[l];
            else if (c & 1)
                last[l] = b->work[c / 2 * LANES + l];
            else
                last[l] = (b->work[c / 2 * LANES + l] + b->work[(c / 2 - 1) * LANES + l]) / 2.0;
        }
    }
    for (ptrdiff_t l = 0; l < LANES && !a->suppress; l++)
        if (b->zeroth[l] | b->from_zero[l])
            last[l] = b->data[l] / timing(a, b, l);
    for (ptrdiff_t l = 0; l < LANES; l++)
        sum[l] += last[l] == last[l] ? last[l] : 0.0;
}

INLINE double read_variance(double noise, double gain, double time, double length)
{
    double r = noise / time;
    return 12.0 * r * r / ((length * length * length - length) * gain * gain);
}

INLINE double poisson_variance(double median, double dark, double denominator)
{
    return (median > 0.0 ? median + dark : dark) / denominator;
}

INLINE int32_t weight_class(double rise, double noise, double gain)
{
    double den = noise * noise + rise * gain;
    double snr = rise * gain / sqrt(den);
    snr = snr < 0.0 ? 0.0 : snr;
    snr = (den <= 0.0) | (gain == 0.0) ? 0.0 : snr;
    return !(snr < 5.0) + !(snr < 10.0) + !(snr < 20.0) + !(snr < 50.0) + !(snr < 100.0);
}

/* Ramps in one piece, all lanes at once. */
INLINE void fit_whole(const struct ramp_args *a, const struct ramp_block *b, double *slope, double *poisson, double *read, double *total)
{
    const ptrdiff_t n = a->ngroup;
    const float *table = a->weights + CLASSES * (n * (n - 1) / 2);
    double sw[LANES], sx[LANES], sxx[LANES], sy[LANES], sxy[LANES], inv[LANES];
    int32_t class[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) {
        class[l] = weight_class(b->data[(n - 1) * LANES + l] - b->data[l], b->noise[l], b->gain[l]);
        inv[l] = 1.0 / (b->noise[l] * b->noise[l]);
        sw[l] = sx[l] = sxx[l] = sy[l] = sxy[l] = 0.0;
    }
    for (ptrdiff_t g = 0; g < n; g++) {
        const double *restrict data = b->data + g * LANES;
        const double x = (double)g;
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double w = (double)table[g * CLASSES + class[l]] * inv[l];
            double y = data[l] == data[l] ? data[l] : 0.0;
            double xw = x * w;
            sw[l] += w;
            sx[l] += xw;
            sxx[l] += x * xw;
            sy[l] += y * w;
            sxy[l] += y * xw;
        }
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        double den = sw[l] * sxx[l] - sx[l] * sx[l];
        double rate = (sw[l] * sxy[l] - sx[l] * sy[l]) * (1.0 / den) / a->group_time;
        double vp = poisson_variance(b->median[l], b->dark[l], a->group_time * b->gain[l] * ((double)n - 1.0));
        double vr = read_variance(b->noise[l], b->gain[l], a->group_time, (double)n);
        vr = b->gain[l] > 0.0 ? vr : 0.0;
        slope[l] = rate / vr;
        read[l] = 1.0 / vr;
        poisson[l] = vp > 0.0 ? 1.0 / vp : 0.0;
        total[l] = 1.0 / (vp + vr);
    }
}

static void fit_segment(const struct ramp_args *a, const struct ramp_block *b, ptrdiff_t l, ptrdiff_t start, ptrdiff_t n, struct sums *s)
{
    const double *data = b->data + start * LANES + l;
    double rate, time, denominator, vp, vr;
    if (n == 1) {
        time = timing(a, b, l);
        rate = data[0] / time;
        denominator = time * b->gain[l];
        vr = read_variance(b->noise[l], b->gain[l], time, 2.0);
    } else if (n == 2) {
        rate = (data[LANES] - data[0]) / a->group_time;
        denominator = a->group_time * b->gain[l];
        vr = read_variance(b->noise[l], b->gain[l], a->group_time, 2.0);
    } else {
        int32_t class = weight_class(data[(n - 1) * LANES] - data[0], b->noise[l], b->gain[l]);
        const float *table = a->weights + CLASSES * (n * (n - 1) / 2) + class;
        double inv = 1.0 / (b->noise[l] * b->noise[l]);
        double sw = 0.0, sx = 0.0, sxx = 0.0, sy = 0.0, sxy = 0.0;
        for (ptrdiff_t g = 0; g < n; g++) {
            double w = (double)table[g * CLASSES] * inv, x = (double)(start + g);
            double y = data[g * LANES];
            double xw = x * w;
            y = y == y ? y : 0.0;
            sw += w;
            sx += xw;
            sxx += x * xw;
            sy += y * w;
            sxy += y * xw;
        }
        rate = (sw * sxy - sx * sy) * (1.0 / (sw * sxx - sx * sx)) / a->group_time;
        denominator = a->group_time * b->gain[l] * ((double)n - 1.0);
        vr = b->gain[l] > 0.0 ? read_variance(b->noise[l], b->gain[l], a->group_time, (double)n) : 0.0;
    }
    vp = poisson_variance(b->median[l], b->dark[l], denominator);
    s->read += 1.0 / vr;
    if (vp > 0.0)
        s->poisson += 1.0 / vp;
    s->total += 1.0 / (vp + vr);
    s->slope += rate / vr;
    s->fitted = 1;
}

/* Next segment at or after `from`: good groups in a row, with the jump that starts them. */
static ptrdiff_t next_segment(const uint8_t *flag, ptrdiff_t from, ptrdiff_t ngroup, ptrdiff_t *start)
{
    ptrdiff_t g = from;
    while (g < ngroup && (flag[g * LANES] & ~JW_PERS))
        g++;
    if (g == ngroup)
        return -1;
    *start = g > 0 && (flag[(g - 1) * LANES] & ~JW_PERS) == JW_JUMP ? g - 1 : g;
    while (g < ngroup && !(flag[g * LANES] & ~JW_PERS))
        g++;
    return g;
}

/* Segments to use: the ones of two groups or more, otherwise the first of one group. */
static ptrdiff_t shortest_used(const uint8_t *flag, ptrdiff_t ngroup)
{
    ptrdiff_t start, end = 0, longest = 0;
    while ((end = next_segment(flag, end, ngroup, &start)) >= 0)
        if (end - start > longest)
            longest = end - start;
    return longest > 1 ? 2 : longest;
}

static void fit_pieces(const struct ramp_args *a, const struct ramp_block *b, ptrdiff_t l, struct sums *s)
{
    const uint8_t *flag = b->flag + l;
    ptrdiff_t start, end = 0, least = shortest_used(flag, a->ngroup);
    *s = (struct sums){0};
    if (least == 0)
        return;
    while ((end = next_segment(flag, end, a->ngroup, &start)) >= 0) {
        if (end - start < least)
            continue;
        fit_segment(a, b, l, start, end - start, s);
        if (least == 1)
            break;
    }
}

/* Inverse read variance as if groups left out for charge migration had been used. */
static double read_without_loss(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t l)
{
    uint8_t *flag = b->given + l;
    ptrdiff_t start, end = 0, least;
    double sum = 0.0;
    for (ptrdiff_t g = 0; g < a->ngroup; g++)
        if (flag[g * LANES] & JW_LOSS)
            flag[g * LANES] ^= JW_LOSS | JW_DNU;
    least = shortest_used(flag, a->ngroup);
    while (least > 0 && (end = next_segment(flag, end, a->ngroup, &start)) >= 0) {
        ptrdiff_t n = end - start;
        if (n < least)
            continue;
        double vr = n > 2 && !(b->gain[l] > 0.0)
                        ? 0.0
                        : read_variance(b->noise[l], b->gain[l], n == 1 ? timing(a, b, l) : a->group_time, n == 1 ? 2.0 : (double)n);
        if (vr > 0.0)
            sum += 1.0 / vr;
        if (least == 1)
            break;
    }
    return sum;
}

INLINE double reasonable(double variance)
{
    return variance >= HUGE_VARIANCE ? 0.0 : variance;
}

static int make_block(struct ramp_block *b, ptrdiff_t ngroup)
{
    size_t n = (size_t)ngroup * LANES;
    b->data = malloc(n * (2 * sizeof(double) + 2));
    if (!b->data)
        return -1;
    b->work = b->data + n;
    b->flag = (uint8_t *)(b->work + n);
    b->given = b->flag + n;
    return 0;
}

struct totals {
    double slope[LANES], poisson[LANES], read[LANES], kept[LANES];
    int32_t unusable[LANES], saturated[LANES], partial[LANES], loss[LANES];
    uint32_t dq[LANES], base[LANES];
};

INLINE void finish_integration(const struct ramp_args *a, struct ramp_block *b, struct totals *t, ptrdiff_t i, ptrdiff_t p0, ptrdiff_t npix,
                               int loss)
{
    double slope[LANES], poisson[LANES], read[LANES], total[LANES], out[4][LANES];
    int32_t fitted[LANES], whole = 0, pieces = 0;
    uint32_t dq[LANES];
    const ptrdiff_t n = a->ngroup;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        fitted[l] = (b->clean[l] == n) & (n > 2);
        whole |= fitted[l];
        pieces |= !fitted[l];
        dq[l] = t->base[l] | (b->seen[l] & (JW_JUMP | JW_PERS));
        t->dq[l] |= b->seen[l] & (JW_JUMP | JW_PERS);
    }
    if (whole)
        fit_whole(a, b, slope, poisson, read, total);
    if (pieces)
        for (ptrdiff_t l = 0; l < LANES; l++) {
            struct sums s = {0};
            if (fitted[l])
                continue;
            if (b->flag[l] & JW_SAT)
                dq[l] |= JW_DNU | JW_SAT;
            if (b->unusable[l] == n)
                dq[l] |= JW_DNU | (b->sat[l] == n ? JW_SAT : 0);
            else if (!(b->flag[l] & JW_SAT))
                fit_pieces(a, b, l, &s);
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
        t->partial[l] |= b->sat[l] > 0;
        dq[l] |= b->sat[l] > 0 ? JW_SAT : 0;
    }
    if (loss)
        for (ptrdiff_t l = 0; l < LANES; l++) {
            if (b->seen[l] & JW_LOSS) {
                double sum = read_without_loss(a, b, l);
                out[3][l] = reasonable(1.0 / sum);
                t->kept[l] += sum;
                t->loss[l] = 1;
            } else if (out[3][l] > 0.0) {
                t->kept[l] += 1.0 / out[3][l];
            }
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
        dq[l] = t->dq[l] | (t->unusable[l] == a->nint ? JW_DNU : 0) | (t->saturated[l] == a->nint ? JW_SAT : 0);
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

INLINE void fit_block(const struct ramp_args *a, struct ramp_block *b, ptrdiff_t p0, ptrdiff_t npix)
{
    struct totals t;
    uint32_t seen = 0;
    memset(&t, 0, sizeof t);
    load_pixels(a, b, p0, npix);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        t.base[l] = a->pdq[p0 + (l < npix ? l : npix - 1)] | (b->gain[l] > 0.0 ? 0 : a->no_gain | JW_DNU);
        t.dq[l] = t.base[l];
        b->median[l] = 0.0;
    }
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        load_integration(a, b, i, p0, npix);
        if (a->ngroup > 1)
            median_rates(a, b, b->median);
        else
            for (ptrdiff_t l = 0; l < LANES; l++)
                b->median[l] += b->data[l] / a->one_group_time;
        for (ptrdiff_t l = 0; l < LANES; l++)
            seen |= b->seen[l];
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        b->median[l] /= (double)a->nint;
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        if (a->nint > 1)
            load_integration(a, b, i, p0, npix);
        finish_integration(a, b, &t, i, p0, npix, (seen & JW_LOSS) != 0);
    }
    finish_pixels(a, &t, p0, npix);
}

/* Fit the ramps of a tile.  Returns 0, or -1 when out of memory. */
JW_API JW_WIDE int jw_fit_ramps(const struct ramp_args *a)
{
    struct ramp_block b;
    if (make_block(&b, a->ngroup))
        return -1;
    for (ptrdiff_t p0 = 0; p0 < a->npix; p0 += LANES)
        fit_block(a, &b, p0, a->npix - p0 < LANES ? a->npix - p0 : LANES);
    free(b.data);
    return 0;
}
