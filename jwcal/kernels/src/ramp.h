/* Ramp fitting: what the block-wise and the pixel-wise path share, and the pixel-wise path. */
#ifndef JW_RAMP_H
#define JW_RAMP_H
#include "sort.h"
#include <stdlib.h>

#define LANES 64
#define CLASSES 6
#define JW_PERS 32u
#define JW_LOSS 128u
#define HUGE_VARIANCE 1.0e6

struct ramp_args {
    const float *sci;
    const uint8_t *gdq;
    const uint32_t *pdq;
    const float *gain, *rnoise, *dark, *zero;
    const float *weights; /* for every length n: [n][CLASSES] from 6 n (n - 1) / 2 on, and two spare values */
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

/* One integration of a block, and what is common to its integrations.  A lane is regular when its
   good groups are those from `start` to `end` and all others are unusable. */
struct ramp_block {
    const float *sci;
    const uint8_t *flag;
    ptrdiff_t sci_group, flag_group, start, end;
    uint8_t seen[LANES], odd[LANES];
    double gain[LANES], noise[LANES], dark[LANES], median[LANES];
    int64_t *key;    /* [ngroup][LANES] */
    float *sci_copy; /* [ngroup][LANES], for a block cut short by the end of the tile */
    uint8_t *flag_copy;
    ptrdiff_t *guess; /* [nint][2]: start and end found in the block before */
};

/* One integration of one pixel. */
struct ramp_lane {
    double *data;
    uint8_t *flag;
    double time; /* of a single group */
    ptrdiff_t saturated, unusable;
    uint32_t seen;
    int special;
};

struct sums {
    double slope, poisson, read, total;
    int fitted;
};

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

/* Fetch one pixel and treat lonely groups: a ramp with one good group may be dropped; otherwise one
   with nothing but its first group, or only the frame before it, is timed by that. */
static void load_lane(const struct ramp_args *a, const struct ramp_block *b, ptrdiff_t l, ptrdiff_t i,
                      ptrdiff_t pixel, struct ramp_lane *r)
{
    ptrdiff_t clean = 0, good = 0;
    r->saturated = r->unusable = 0;
    r->seen = 0;
    r->special = 0;
    r->time = a->group_time;
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        uint8_t flag = r->flag[g] = b->flag[g * b->flag_group + l];
        r->data[g] = flag & JW_SAT ? NAN : (double)b->sci[g * b->sci_group + l];
        clean += (flag & ~JW_PERS) == 0;
    }
    for (ptrdiff_t g = 0; g < a->ngroup && a->suppress && clean == 1; g++)
        r->flag[g] |= JW_DNU;
    if (a->unjump_first)
        r->flag[0] &= (uint8_t)~JW_JUMP;
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        good += r->flag[g] == 0;
        r->saturated += (r->flag[g] & JW_SAT) != 0;
        r->unusable += (r->flag[g] & (JW_SAT | JW_DNU)) != 0;
        r->seen |= r->flag[g];
    }
    if (a->suppress)
        return;
    if (good == 1 && r->flag[0] == 0) {
        r->special = 1;
        r->time = a->one_group_time;
    } else if (good == 0 && a->zero && a->zero[i * a->zero_int + pixel] != 0.0f) {
        r->data[0] = a->zero[i * a->zero_int + pixel];
        r->flag[0] = 0;
        r->unusable--;
        r->saturated -= r->saturated == a->ngroup;
        r->special = 1;
        r->time = a->frame_time;
    }
}

/* The element of rank k, with none larger before it and none smaller after. */
static double select_rank(double *v, ptrdiff_t n, ptrdiff_t k)
{
    ptrdiff_t lo = 0, hi = n - 1;
    while (lo < hi) {
        double pivot = v[k];
        ptrdiff_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                double t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (j < k)
            lo = i;
        if (i > k)
            hi = j;
    }
    return v[k];
}

/* Median of the usable differences of a pixel, per second; 0 where there is nothing. */
static double lane_median(const struct ramp_args *a, const struct ramp_lane *r, double *work)
{
    double last, rate, low;
    ptrdiff_t n = 0;
    if (r->special) {
        rate = r->data[0] / r->time;
        return rate == rate ? rate : 0.0;
    }
    last = rate = r->flag[0] & JW_DNU ? NAN : r->data[0] / a->group_time;
    for (ptrdiff_t g = 1; g < a->ngroup; g++) {
        double v = r->flag[g] & JW_DNU ? NAN : r->data[g] / a->group_time;
        double d = v - last;
        last = v;
        if (d == d && !(r->flag[g] & JW_JUMP))
            work[n++] = d;
    }
    if (n > 0)
        rate = select_rank(work, n, n / 2);
    if (n > 0 && n % 2 == 0) {
        low = work[0];
        for (ptrdiff_t k = 1; k < n / 2; k++)
            low = work[k] > low ? work[k] : low;
        rate = (rate + low) / 2.0;
    }
    return rate == rate ? rate : 0.0;
}

static void fit_segment(const struct ramp_args *a, const struct ramp_block *b, const struct ramp_lane *r,
                        ptrdiff_t l, ptrdiff_t start, ptrdiff_t n, struct sums *s)
{
    const double *data = r->data + start;
    double rate, denominator, vp, vr;
    if (n == 1) {
        rate = data[0] / r->time;
        denominator = r->time * b->gain[l];
        vr = read_variance(b->noise[l], b->gain[l], r->time, 2.0);
    } else if (n == 2) {
        rate = (data[1] - data[0]) / a->group_time;
        denominator = a->group_time * b->gain[l];
        vr = read_variance(b->noise[l], b->gain[l], a->group_time, 2.0);
    } else {
        int32_t class = weight_class(data[n - 1] - data[0], b->noise[l], b->gain[l]);
        const float *table = a->weights + CLASSES * (n * (n - 1) / 2) + class;
        double inv = 1.0 / (b->noise[l] * b->noise[l]);
        double sw = 0.0, sx = 0.0, sxx = 0.0, sy = 0.0, sxy = 0.0;
        for (ptrdiff_t g = 0; g < n; g++) {
            double w = (double)table[g * CLASSES] * inv, x = (double)(start + g);
            double y = data[g] == data[g] ? data[g] : 0.0;
            double xw = x * w;
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

/* Next segment at or after `from`: good groups in a row, with the jump that starts them.  Returns its end, or
 * -1. */
static ptrdiff_t next_segment(const uint8_t *flag, ptrdiff_t from, ptrdiff_t ngroup, ptrdiff_t *start)
{
    ptrdiff_t g = from;
    while (g < ngroup && (flag[g] & ~JW_PERS))
        g++;
    if (g == ngroup)
        return -1;
    *start = g > 0 && (flag[g - 1] & ~JW_PERS) == JW_JUMP ? g - 1 : g;
    while (g < ngroup && !(flag[g] & ~JW_PERS))
        g++;
    return g;
}

/* Length of the segments to use: two groups or more, otherwise the first of one group. */
static ptrdiff_t shortest_used(const uint8_t *flag, ptrdiff_t ngroup)
{
    ptrdiff_t start, end = 0, longest = 0;
    while (longest < 2 && (end = next_segment(flag, end, ngroup, &start)) >= 0)
        if (end - start > longest)
            longest = end - start;
    return longest > 1 ? 2 : longest;
}

static void fit_pieces(const struct ramp_args *a, const struct ramp_block *b, const struct ramp_lane *r,
                       ptrdiff_t l, struct sums *s)
{
    ptrdiff_t start, end = 0, least = shortest_used(r->flag, a->ngroup);
    while (least > 0 && (end = next_segment(r->flag, end, a->ngroup, &start)) >= 0) {
        if (end - start < least)
            continue;
        fit_segment(a, b, r, l, start, end - start, s);
        if (least == 1)
            break;
    }
}

/* Inverse read variance as if groups left out for charge migration had been used. */
static double read_without_loss(const struct ramp_args *a, const struct ramp_block *b, struct ramp_lane *r,
                                ptrdiff_t l)
{
    ptrdiff_t start, end = 0, least;
    double sum = 0.0;
    for (ptrdiff_t g = 0; g < a->ngroup; g++) {
        uint8_t flag = b->flag[g * b->flag_group + l];
        r->flag[g] = flag & JW_LOSS ? flag ^ (JW_LOSS | JW_DNU) : flag;
    }
    least = shortest_used(r->flag, a->ngroup);
    while (least > 0 && (end = next_segment(r->flag, end, a->ngroup, &start)) >= 0) {
        ptrdiff_t n = end - start;
        double vr = 0.0;
        if (n < least)
            continue;
        if (n < 3 || b->gain[l] > 0.0)
            vr = read_variance(b->noise[l], b->gain[l], n == 1 ? r->time : a->group_time,
                               n == 1 ? 2.0 : (double)n);
        if (vr > 0.0)
            sum += 1.0 / vr;
        if (least == 1)
            break;
    }
    return sum;
}

#endif
