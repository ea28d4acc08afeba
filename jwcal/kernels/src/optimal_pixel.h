/* The optimal fit of one pixel at a time, where jumps come and go: included by optimal.c alone. */
#ifndef JW_OPTIMAL_PIXEL_H
#define JW_OPTIMAL_PIXEL_H
#include "optimal.h"

#define ENOUGH 64 /* differences for a median */

/* Space of one call. */
struct tile {
    const struct optimal_args *a;
    ptrdiff_t m, npix;
    uint8_t *use, *event;         /* [nint][m][npix] */
    uint8_t *close;               /* the same: bits of templates to look closer for, and class << 4 */
    uint8_t *weak;                /* [nint][nparts][m][npix]: what is below the limits, or NULL */
    uint8_t *lone, *any;          /* [nint][npix] */
    uint8_t *good;                /* [2][npix] */
    double *gain, *read, *single, *reset, *dark;
    double *signal;         /* [nint][npix], or [npix] when it is common */
    double *trust, *belief; /* [nint][npix] or NULL: weight of what the other integrations say,
        and times it */
    double *weight, *sum;   /* [nint][npix] or NULL */
    double *sorted;         /* [nint * m] */
    double *middle;         /* [npix]: median of the differences, NaN before it is asked for */
};

/* Rows of a block of pixels. */
struct block {
    double *use, *diff; /* [m][LANES] */
    double center[LANES], side[LANES], signal[LANES];
    struct chain chain;
};

/* One integration of one pixel. */
struct item {
    double *use, *diff, *trial;
    uint8_t *event;
    struct chain chain, other;
    double signal;
};

INLINE double value_at(const struct tile *t, ptrdiff_t i, ptrdiff_t g, ptrdiff_t p)
{
    const struct optimal_args *a = t->a;
    return (double)a->sci[i * a->sci_int + g * a->sci_group + p] * t->gain[p];
}

INLINE int finite(double x)
{
    return fabs(x) <= 1.7976931348623157e308;
}

INLINE void level(const struct tile *t, double weight, double sum, ptrdiff_t i, ptrdiff_t p, double *slope,
                  double *over)
{
    double trust = t->trust ? t->trust[i * t->npix + p] : 0.0;
    double belief = t->trust ? t->belief[i * t->npix + p] : 0.0;
    *over = 1.0 / (weight + trust);
    *slope = (sum + belief) * *over;
}

INLINE double scale_of(const struct optimal_args *a, ptrdiff_t k, double u)
{
    return u > 0.0 ? (k ? a->scale_split : a->scale_up) : k ? 0.0 : a->scale_down;
}

/* The k-th smallest of n values, none of them NaN; those before it are not larger. */
static double select_value(double *x, ptrdiff_t n, ptrdiff_t k)
{
    ptrdiff_t low = 0, high = n - 1;
    while (high - low > 16) {
        ptrdiff_t i = low, j = high;
        double a = x[low], b = x[low + (high - low) / 2], c = x[high];
        double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i <= j) {
                double swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            return x[k];
    }
    for (ptrdiff_t i = low + 1; i <= high; i++) {
        double value = x[i];
        ptrdiff_t j = i;
        for (; j > low && x[j - 1] > value; j--)
            x[j] = x[j - 1];
        x[j] = value;
    }
    return x[k];
}

/* Median of the differences of the first integrations of a pixel; NaN for none. */
static double middle_of(const struct tile *t, ptrdiff_t p)
{
    ptrdiff_t count = 0;
    if (t->middle[p] == t->middle[p])
        return t->middle[p];
    for (ptrdiff_t i = 0; i < t->a->nint && i * t->m < ENOUGH; i++) {
        double before = value_at(t, i, 0, p);
        for (ptrdiff_t j = 0; j < t->m; j++) {
            double now = value_at(t, i, j + 1, p);
            if (t->use[(i * t->m + j) * t->npix + p])
                t->sorted[count++] = now - before;
            before = now;
        }
    }
    if (!count)
        return NAN;
    double high = select_value(t->sorted, count, count / 2), low = high;
    if (count % 2 == 0) {
        low = t->sorted[0];
        for (ptrdiff_t k = 1; k < count / 2; k++)
            low = t->sorted[k] > low ? t->sorted[k] : low;
    }
    return t->middle[p] = (low + high) * 0.5;
}

static void open_item(const struct tile *t, struct item *x, ptrdiff_t i, ptrdiff_t p)
{
    for (ptrdiff_t j = 0; j < t->m; j++) {
        ptrdiff_t at = (i * t->m + j) * t->npix + p;
        x->diff[j] = t->use[at] ? value_at(t, i, j + 1, p) - value_at(t, i, j, p) : 0.0;
        x->event[j] = t->event[at];
    }
}

/* Differences left to use; returns their number. */
static ptrdiff_t leave(const struct tile *t, const uint8_t *event, double *use, ptrdiff_t i, ptrdiff_t p)
{
    ptrdiff_t number = 0;
    for (ptrdiff_t j = 0; j < t->m; j++) {
        int gone = (event[j] != 0) | (j && event[j - 1] > 1 && event[j - 1] != NEGATIVE);
        use[j] = t->use[(i * t->m + j) * t->npix + p] && !gone ? 1.0 : 0.0;
        number += use[j] > 0.0;
    }
    return number;
}

static void solve_item(const struct tile *t, struct chain *c, const double *use, const double *diff,
                       double signal, ptrdiff_t p)
{
    double center, side;
    covariance(t->a, signal + t->dark[p], t->read[p], &center, &side);
    solve(c, t->m, 1, use, diff, &center, &side);
}

/* Most significant jump that is not in yet: its squared significance in limits, place and code. */
static double best(const struct tile *t, const struct item *x, ptrdiff_t number, ptrdiff_t i, ptrdiff_t p,
                   int near,
                   ptrdiff_t *place, uint8_t *code)
{
    const struct optimal_args *a = t->a;
    double most = 0.0, slope, over;
    level(t, x->chain.weight[0], x->chain.sum[0], i, p, &slope, &over);
    for (ptrdiff_t j = 0; j < t->m; j++)
        for (ptrdiff_t k = 0; k < (j + 1 < t->m ? a->nparts : 1); k++) {
            double u, know;
            int fits;
            if (!a->common && number <= 1 + (k > 0))
                continue;
            unsigned close = near ? t->close[(i * t->m + j) * t->npix + p] : 0u;
            if (near && !(close >> k & 1u))
                continue;
            hit(&x->chain, j, 0, 1, a->parts[k], k == 0, x->use, slope, over, &u, &know, &fits);
            double up = near ? (u > 0.0 ? a->scale_near[close >> 4] : 0.0) : scale_of(a, k, u);
            double score = fits ? u * u * up / know : 0.0;
            if (score > most) {
                most = score;
                *place = j;
                *code = u > 0.0 ? (uint8_t)(k + 1) : (uint8_t)NEGATIVE;
            }
        }
    return most;
}

/* Drop the least significant jump if it is below its limit. */
static int drop(const struct tile *t, struct item *x, ptrdiff_t i, ptrdiff_t p)
{
    const struct optimal_args *a = t->a;
    double least = INFINITY;
    ptrdiff_t place = 0;
    for (ptrdiff_t j = 0; j < t->m; j++) {
        uint8_t code = x->event[j];
        if (!code)
            continue;
        double slope, over, u, know, score = 0.0;
        int fits;
        x->event[j] = 0;
        leave(t, x->event, x->trial, i, p);
        x->event[j] = code;
        solve_item(t, &x->other, x->trial, x->diff, x->signal, p);
        level(t, x->other.weight[0], x->other.sum[0], i, p, &slope, &over);
        ptrdiff_t k = code == NEGATIVE ? 0 : code - 1;
        hit(&x->other, j, 0, 1, a->parts[k], k == 0, x->trial, slope, over, &u, &know, &fits);
        if (fits)
            score = u * u * scale_of(a, k, u) / know;
        if (score < least) {
            least = score;
            place = j;
        }
    }
    if (least < 1.0) {
        x->event[place] = 0;
        return 1;
    }
    return 0;
}

/* Make two jumps in a row one that averaging has split. */
static void join(const struct tile *t, struct item *x)
{
    const struct optimal_args *a = t->a;
    for (ptrdiff_t j = 0; j + 1 < t->m && a->nparts > 1; j++) {
        if (x->event[j] != 1 || x->event[j + 1] != 1)
            continue;
        double here = x->diff[j] - x->signal, then = x->diff[j + 1] - x->signal;
        double share = here / (here + then), away = INFINITY;
        uint8_t code = 1;
        for (ptrdiff_t k = 1; k < a->nparts; k++) {
            double far = fabs(share - a->parts[k]);
            if (far < away) {
                away = far;
                code = (uint8_t)(k + 1);
            }
        }
        x->event[j] = code;
        if (code > 1)
            x->event[j + 1] = 0;
    }
}

/* Add and drop jumps of one pixel until none is left to add, and none to drop. */
static double settle(const struct tile *t, struct item *x, ptrdiff_t i, ptrdiff_t p, double signal, int own)
{
    const struct optimal_args *a = t->a;
    double middle = middle_of(t, p), center, side, low = INFINITY;
    ptrdiff_t least = 0, number = 0;
    open_item(t, x, i, p);
    middle = middle == middle ? middle : signal;
    x->signal = own ? (middle > 0.0 ? middle : 0.0) : signal;
    covariance(a, x->signal + t->dark[p], t->read[p], &center, &side);
    double reach = a->limit * sqrt(center);
    for (ptrdiff_t j = 0; j < t->m; j++) {
        int usable = t->use[(i * t->m + j) * t->npix + p];
        x->event[j] = usable && x->diff[j] - middle > reach;
        number += usable && !x->event[j];
        if (usable && x->diff[j] < low) {
            low = x->diff[j];
            least = j;
        }
    }
    /* Other integrations can tell that nothing of this one is to be believed. */
    if (!number && !a->common)
        x->event[least] = 0;
    for (ptrdiff_t round = 0; round < 2 * t->m + 8; round++) {
        ptrdiff_t place = 0;
        uint8_t code = 0;
        number = leave(t, x->event, x->use, i, p);
        solve_item(t, &x->chain, x->use, x->diff, x->signal, p);
        if (own) {
            x->signal = renewed(x->chain.weight[0], x->chain.sum[0], x->signal);
            solve_item(t, &x->chain, x->use, x->diff, x->signal, p);
        }
        if (drop(t, x, i, p))
            continue;
        if (!(best(t, x, number, i, p, 0, &place, &code) > 1.0))
            break;
        x->event[place] = code;
    }
    join(t, x);
    for (ptrdiff_t j = 0; j < t->m; j++)
        t->event[(i * t->m + j) * t->npix + p] = x->event[j];
    return x->signal;
}

/* What is left below the limits of one pixel with jumps. */
static void weigh(const struct tile *t, struct item *x, ptrdiff_t i, ptrdiff_t p, double signal)
{
    const struct optimal_args *a = t->a;
    double slope, over;
    leave(t, x->event, x->use, i, p);
    solve_item(t, &x->chain, x->use, x->diff, signal, p);
    level(t, x->chain.weight[0], x->chain.sum[0], i, p, &slope, &over);
    for (ptrdiff_t k = 0; k < a->nparts; k++)
        for (ptrdiff_t j = 0; j + (k > 0) < t->m; j++) {
            double u, know;
            int fits;
            hit(&x->chain, j, 0, 1, a->parts[k], k == 0, x->use, slope, over, &u, &know, &fits);
            t->weak[((i * a->nparts + k) * t->m + j) * t->npix + p]
                = (uint8_t)(int32_t)weakness(fits & (u > 0.0) ? u * u : 0.0, know);
        }
}

/* Slope of a single reading, its variance, and the Poisson and read parts of that. */
static double lonely(const struct tile *t, ptrdiff_t i, ptrdiff_t p, const double *signal, double *variance,
                     double *spread, double *read)
{
    const struct optimal_args *a = t->a;
    int first = t->lone[i * t->npix + p] == 1;
    double time = first ? a->first_time : a->frame_time;
    double square = time * time;
    double value = first ? value_at(t, i, 0, p) : (double)a->zero[i * a->zero_int + p] * t->gain[p];
    double slope = value / time;
    double level_ = signal ? *signal : slope > 0.0 ? slope : 0.0;
    *spread = (first ? a->first_variance : time) / square;
    *read = ((first ? t->read[p] : t->single[p]) + t->reset[p]) / square;
    *variance = (level_ + t->dark[p]) * *spread + *read;
    return slope;
}

/* Common signal; `others`: what the other integrations say to each. */
static double agree(const struct tile *t, ptrdiff_t p, int others)
{
    double weight = 0.0, product = 0.0, square = 0.0, number = 0.0, chi2 = 0.0;
    for (ptrdiff_t i = 0; i < t->a->nint; i++) {
        double w = t->weight[i * t->npix + p];
        weight += w;
        product += t->sum[i * t->npix + p];
        square += w * w;
        number += w > 0.0 ? 1.0 : 0.0;
    }
    double mean = product / weight;
    if (others) {
        for (ptrdiff_t i = 0; i < t->a->nint; i++) {
            double w = t->weight[i * t->npix + p], away = t->sum[i * t->npix + p] / w - mean;
            chi2 = w > 0.0 ? chi2 + w * away * away : chi2;
        }
        double vary = (chi2 - (number - 1.0)) / (weight - square / weight);
        vary = vary > 0.0 ? vary : 0.0;
        for (ptrdiff_t i = 0; i < t->a->nint; i++) {
            ptrdiff_t at = i * t->npix + p;
            double w = t->weight[at], rest = weight - w;
            int ok = (number - (w > 0.0 ? 1.0 : 0.0) > 0.0) & (rest > 0.0);
            t->trust[at] = ok ? 1.0 / (vary + 1.0 / rest) : 0.0;
            t->belief[at] = ok ? t->trust[at] * ((product - t->sum[at]) / rest) : 0.0;
        }
    }
    return mean > 0.0 ? mean : 0.0;
}

static void prepare(struct tile *t)
{
    const struct optimal_args *a = t->a;
    for (ptrdiff_t p = 0; p < t->npix; p++) {
        double gain = a->gain[p], noise = (double)a->rnoise[p] * gain, square = gain * gain;
        t->gain[p] = gain;
        t->single[p] = noise * noise * 0.5 * a->noise_factor;
        t->read[p] = t->single[p] / a->nframes + a->rounding * square * a->noise_factor;
        t->reset[p] = a->reset_noise * a->reset_noise * square;
        t->middle[p] = NAN;
        t->dark[p] = a->dark ? (double)a->dark[p] * a->group_time : 0.0;
    }
}

INLINE int no_gain(const struct tile *t, ptrdiff_t p)
{
    return !(t->gain[p] > 0.0) | !finite(t->gain[p]);
}

INLINE int no_noise(const struct tile *t, ptrdiff_t p)
{
    return !(t->read[p] >= 0.0) | !finite(t->read[p]);
}

#endif
