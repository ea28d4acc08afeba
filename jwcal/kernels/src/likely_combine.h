/* What a likelihood fit of a tile is given and gives, and the mean of its integrations. */
#ifndef JW_LIKELY_COMBINE_H
#define JW_LIKELY_COMBINE_H
#include "likely.h"

#define PLANES 5 /* slope, error, Poisson variance, read variance, chi-square (NULL: not wanted) */
/* Parts of the work that stay functions of their own: in one piece they would outgrow the registers. */
#define STAGE JW_WIDE static __attribute__((noinline))

struct likely_args {
    const float *sci;
    const uint8_t *gdq;
    const uint32_t *pdq;
    const float *gain, *rnoise, *dark, *zero; /* zero: NULL unless it is a resultant of its own */
    float *rate[PLANES];
    uint32_t *rate_dq;
    float *ints[PLANES];
    uint32_t *ints_dq;
    uint8_t *left_out; /* [nint][n][npix], or NULL */
    ptrdiff_t sci_int, sci_group, gdq_int, gdq_group, zero_int;
    ptrdiff_t nint, ngroup, npix, nframes;
    struct likely_times times;
    const double *pair; /* [n - 1]: 1 where two neighbouring differences may be left out together */
    double limit_one, limit_two;
    int32_t some_pair; /* whether `pair` has a 1 */
};

INLINE float plain_ratio(float slope, float rate)
{
    float x = slope / rate;
    return (x - x == 0.0f) & !(x < 0.0f) ? x : 0.0f;
}

/* Sum of what is a number, NaN if nothing is. */
struct sum {
    float total[LIKELY_LANES], number[LIKELY_LANES];
};

INLINE void add(struct sum *s, ptrdiff_t l, float x)
{
    s->total[l] += x == x ? x : 0.0f;
    s->number[l] = x == x ? 1.0f : s->number[l];
}

INLINE float known(const struct sum *s, ptrdiff_t l)
{
    return s->number[l] > 0.0f ? s->total[l] : NAN;
}

/* Mean of the integrations: each is weighted by the variance it would have with the common rate. */
INLINE void combine_block(const struct likely_args *a, int32_t *key, ptrdiff_t p0, ptrdiff_t npix)
{
    float slope[LIKELY_LANES], total[LIKELY_LANES], out[PLANES][LIKELY_LANES];
    uint32_t dq[LIKELY_LANES] = {0}, all[LIKELY_LANES];
    ptrdiff_t at[LIKELY_LANES], number[LIKELY_LANES] = {0};
    struct sum sums[3];
    FOR_LANES at[l] = p0 + (l < npix ? l : npix - 1);
    FOR_LANES all[l] = JW_DNU;
    FOR_LANES out[4][l] = 0.0f;
    for (ptrdiff_t i = 0; i < a->nint; i++) {
        const float *rate = a->ints[0] + i * a->npix;
        const float *chisq = a->ints[4] ? a->ints[4] + i * a->npix : rate;
        const uint32_t *flag = a->ints_dq + i * a->npix;
        FOR_LANES {
            float x = rate[at[l]];
            key[i * LIKELY_LANES + l] = value_key(x);
            number[l] += x == x;
            dq[l] |= flag[at[l]];
            all[l] &= flag[at[l]];
            out[4][l] = i ? out[4][l] + chisq[at[l]] : chisq[at[l]];
        }
    }
    sort_keys(key, a->nint, LIKELY_LANES);
    FOR_LANES {
        ptrdiff_t m = number[l];
        float low = m ? key_value(key[(m - 1) / 2 * LIKELY_LANES + l]) : NAN;
        float high = m ? key_value(key[m / 2 * LIKELY_LANES + l]) : NAN;
        slope[l] = (low + high) / 2.0f;
    }
    for (int round = 0; round < 2; round++) {
        memset(sums, 0, sizeof sums);
        FOR_LANES total[l] = 0.0f;
        for (int part = 0; part < 2; part++)
            for (ptrdiff_t i = 0; i < a->nint; i++) {
                const float *rate = a->ints[0] + i * a->npix;
                const float *vp = a->ints[2] + i * a->npix, *vr = a->ints[3] + i * a->npix;
                FOR_LANES {
                    float x = rate[at[l]], poisson = vp[at[l]] * plain_ratio(slope[l], x);
                    float weight = 1.0f / (poisson + vr[at[l]]);
                    if (part == 0) {
                        total[l] += weight == weight ? weight : 0.0f;
                    } else {
                        weight /= total[l];
                        add(&sums[0], l, x * weight);
                        add(&sums[1], l, poisson * (weight * weight));
                        add(&sums[2], l, vr[at[l]] * (weight * weight));
                    }
                }
            }
        FOR_LANES slope[l] = known(&sums[0], l);
    }
    FOR_LANES {
        out[0][l] = slope[l];
        out[2][l] = known(&sums[1], l);
        out[3][l] = known(&sums[2], l);
        out[1][l] = sqrtf(out[2][l] + out[3][l]);
        dq[l] = (dq[l] & ~JW_DNU) | all[l];
    }
    for (int j = 0; j < PLANES; j++)
        if (a->rate[j])
            memcpy(a->rate[j] + p0, out[j], (size_t)npix * sizeof(float));
    memcpy(a->rate_dq + p0, dq, (size_t)npix * sizeof *dq);
}

STAGE void combine(const struct likely_args *a, int32_t *key)
{
    if (a->nint > 1) {
        for (ptrdiff_t p = 0; p < a->npix; p += LIKELY_LANES)
            combine_block(a, key, p, a->npix - p < LIKELY_LANES ? a->npix - p : LIKELY_LANES);
        return;
    }
    for (int j = 0; j < PLANES; j++)
        if (a->rate[j])
            memcpy(a->rate[j], a->ints[j], (size_t)a->npix * sizeof(float));
    memcpy(a->rate_dq, a->ints_dq, (size_t)a->npix * sizeof *a->rate_dq);
}

#endif
