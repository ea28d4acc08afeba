/* The optimal fit of pixels whose neighbours tell of a hit: included by optimal.c alone. */
#ifndef JW_OPTIMAL_NEAR_H
#define JW_OPTIMAL_NEAR_H
#include "optimal_pixel.h"

/* Class of a jump by its size in standard deviations of a difference. */
static unsigned class_of(const struct tile *t, ptrdiff_t i, ptrdiff_t j, ptrdiff_t p, uint8_t code, double signal)
{
    double center, side, size = value_at(t, i, j + 1, p) - value_at(t, i, j, p) - signal, bound = 64.0;
    if (code > 1)
        size += value_at(t, i, j + 2, p) - value_at(t, i, j + 1, p) - signal;
    covariance(t->a, signal + t->dark[p], t->read[p], &center, &side);
    unsigned c = 1;
    for (; c < CLASSES - 2 && size * size > bound * center; c++)
        bound *= 4.0;
    return c;
}

/* The first of the next pixels, from p on, where a byte is not zero; npix for none. */
INLINE ptrdiff_t next_set(const uint8_t *x, ptrdiff_t p, ptrdiff_t npix)
{
    uint64_t eight;
    while (p + 8 <= npix && (memcpy(&eight, x + p, 8), eight == 0))
        p += 8;
    while (p < npix && !x[p])
        p++;
    return p;
}

/* Rows and columns of a pixel and its neighbours. */
struct box {
    ptrdiff_t y0, y1, x0, x1;
};

INLINE struct box around(const struct optimal_args *a, ptrdiff_t p)
{
    ptrdiff_t y = p / a->nx, x = p % a->nx;
    struct box b = {y > 0 ? y - 1 : 0, y + 1 < a->ny ? y + 2 : a->ny, x > 0 ? x - 1 : 0,
        x + 1 < a->nx ? x + 2 : a->nx};
    return b;
}

/* Mark neighbours that are below the limits each, but not together. */
static void mark_pairs(struct tile *t)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t npix = t->npix, m = t->m;
    for (ptrdiff_t i = 0; i < a->nint; i++)
        for (ptrdiff_t k = 0; k < a->nparts; k++)
            for (ptrdiff_t j = 0; j < m; j++) {
                const uint8_t *weak = t->weak + ((i * a->nparts + k) * m + j) * npix;
                uint8_t *close = t->close + (i * m + j) * npix, *any = t->any + i * npix;
                for (ptrdiff_t p = next_set(weak, 0, npix); p < npix; p = next_set(weak, p + 1, npix)) {
                    struct box b = around(a, p);
                    int other = 0;
                    for (ptrdiff_t y = b.y0; y < b.y1; y++)
                        for (ptrdiff_t x = b.x0; x < b.x1; x++) {
                            ptrdiff_t q = y * a->nx + x;
                            other = q != p && weak[q] > other ? weak[q] : other;
                        }
                    if (other && weak[p] + other >= a->pair) {
                        close[p] |= (uint8_t)(1u << k);
                        any[p] = 1;
                    }
                }
            }
}

/* Mark the neighbours of what was found. */
static void mark_near(struct tile *t)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t npix = t->npix, m = t->m;
    for (ptrdiff_t i = 0; i < a->nint; i++)
        for (ptrdiff_t j = 0; j < m; j++) {
            const uint8_t *event = t->event + (i * m + j) * npix;
            uint8_t *close = t->close + (i * m + j) * npix, *any = t->any + i * npix;
            for (ptrdiff_t p = next_set(event, 0, npix); p < npix; p = next_set(event, p + 1, npix)) {
                if (event[p] == NEGATIVE)
                    continue;
                double signal = t->signal[a->common ? p : i * npix + p];
                unsigned class = class_of(t, i, j, p, event[p], signal);
                struct box b = around(a, p);
                for (ptrdiff_t y = b.y0; y < b.y1; y++)
                    for (ptrdiff_t x = b.x0; x < b.x1; x++) {
                        ptrdiff_t q = y * a->nx + x;
                        if (q == p)
                            continue;
                        unsigned bits = close[q] & 15u, least = close[q] >> 4;
                        least = bits && least < class ? least : class;
                        close[q] = (uint8_t)(bits | 1u << (event[p] - 1) | least << 4);
                        any[q] = 1;
                    }
            }
        }
}

/* Look at what was marked. */
static void look_near(struct tile *t, struct item *x)
{
    const struct optimal_args *a = t->a;
    ptrdiff_t npix = t->npix, m = t->m;
    for (ptrdiff_t i = 0; i < a->nint; i++)
        for (ptrdiff_t p = next_set(t->any + i * npix, 0, npix); p < npix;
             p = next_set(t->any + i * npix, p + 1, npix)) {
            t->any[i * npix + p] = 0;
            double signal = t->signal[a->common ? p : i * npix + p];
            open_item(t, x, i, p);
            for (;;) {
                ptrdiff_t place = 0, number = leave(t, x->event, x->use, i, p);
                uint8_t code = 0;
                solve_item(t, &x->chain, x->use, x->diff, signal, p);
                if (!(best(t, x, number, i, p, 1, &place, &code) > 1.0))
                    break;
                x->event[place] = code;
                t->event[(i * m + place) * npix + p] = code;
            }
            if (a->common && !t->lone[i * npix + p]) {
                t->weight[i * npix + p] = x->chain.weight[0];
                t->sum[i * npix + p] = x->chain.sum[0];
            }
        }
}

#endif
