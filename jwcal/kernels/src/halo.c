/* Profiles of the halos of snowballs in the difference of two groups. */
#include "sort.h"

#define LANES 64
#define LOST (JW_DNU | JW_SAT)

struct halo {
    double y, x, cosine, sine, ratio, semi;
    int32_t y0, y1, x0, x1, rings, first;
};

struct ramp {
    const float *sci;
    const uint8_t *gdq;
    ptrdiff_t sci_group, gdq_group, ngroup, nx, group;
};

/* Smallest but k of n keys, which are reordered (Hoare's quickselect). */
static int32_t select_key(int32_t *key, ptrdiff_t n, ptrdiff_t k)
{
    ptrdiff_t low = 0, high = n - 1;
    while (low < high) {
        const int32_t pivot = key[low + (high - low) / 2];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (key[i] < pivot)
                i++;
            while (key[j] > pivot)
                j--;
            if (i <= j) {
                int32_t swap = key[i];
                key[i++] = key[j];
                key[j--] = swap;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            break;
    }
    return key[k];
}

static float median(int32_t *key, ptrdiff_t n)
{
    const float low = key_value(select_key(key, n, (n - 1) / 2));
    return n % 2 ? low : (low + key_value(select_key(key, n, n / 2))) / 2.0f;
}

/* Difference of the group less the median of the usual ones of some pixels; NaN where it cannot be told. */
INLINE void excess_of(const struct ramp *r, const int32_t *pixel, ptrdiff_t here, int32_t *restrict key,
                      float *restrict out)
{
    const ptrdiff_t n = r->ngroup - 1;
    float last[LANES] = {0}, step[LANES] = {0};
    uint8_t gone[LANES] = {0};
    int32_t count[LANES] = {0};
    for (ptrdiff_t g = 0; g <= n; g++) {
        const float *s = r->sci + g * r->sci_group;
        const uint8_t *q = r->gdq + g * r->gdq_group;
        int32_t *restrict to = key + (g ? g - 1 : 0) * LANES;
        for (ptrdiff_t l = 0; l < here; l++) {
            const float now = s[pixel[l]];
            const uint8_t flag = q[pixel[l]], lost = flag & LOST;
            if (g) {
                float d = now - last[l];
                d = (lost | gone[l]) ? NAN : d;
                if (g == r->group)
                    step[l] = d;
                d = g == r->group || (flag & JW_JUMP) ? NAN : d;
                count[l] += d == d;
                to[l] = value_key(d);
            }
            last[l] = now;
            gone[l] = lost;
        }
        for (ptrdiff_t l = here; g && l < LANES; l++)
            to[l] = 0;
    }
    sort_keys(key, n, LANES);
    for (ptrdiff_t l = 0; l < here; l++) {
        const ptrdiff_t c = count[l];
        const float low = key_value(key[(c ? (c - 1) / 2 : 0) * LANES + l]);
        out[l] = step[l] - (low + key_value(key[c / 2 * LANES + l])) / 2.0f;
        if (!c)
            out[l] = NAN;
    }
}

/* The closest profile that does not rise outwards (pool adjacent violators); rings without pixels inside of
   the first one with some stay infinite. */
static void let_fall(double *value, const int32_t *size, ptrdiff_t rings, double *pool)
{
    double *level = pool, *weight = pool + rings;
    int32_t *begin = (int32_t *)(pool + 2 * rings), *end = begin + rings;
    ptrdiff_t n = 0;
    for (ptrdiff_t k = 0; k < rings; k++) {
        if (!size[k])
            continue;
        level[n] = value[k];
        weight[n] = size[k];
        begin[n] = (int32_t)k;
        end[n++] = (int32_t)k + 1;
        while (n > 1 && level[n - 1] > level[n - 2]) {
            const double total = weight[n - 2] + weight[n - 1];
            level[n - 2] = (level[n - 2] * weight[n - 2] + level[n - 1] * weight[n - 1]) / total;
            weight[n - 2] = total;
            end[n - 2] = end[n - 1];
            n--;
        }
    }
    for (ptrdiff_t k = 0; k < rings; k++)
        value[k] = INFINITY;
    for (ptrdiff_t j = 0; j < n; j++)
        for (ptrdiff_t k = begin[j]; k < end[j]; k++)
            value[k] = level[j];
}

/* One profile: the noise of a pixel, NaN where the data show no profile, and the level of every ring. */
INLINE void profile(const struct ramp *r, const struct halo *h, double inner, double outer, ptrdiff_t least,
                    char *work, float *noise, double *value)
{
    const ptrdiff_t width = h->x1 - h->x0, npix = (h->y1 - h->y0) * width, rings = h->rings;
    double *radius = (double *)work, *pool = radius + npix;
    float *excess = (float *)(pool + 3 * rings);
    int32_t *key = (int32_t *)(excess + npix), *ring = key + npix, *sorted = ring + npix;
    int32_t *size = sorted + (r->ngroup - 1) * LANES, *start = size + rings;
    int32_t pixel[LANES];
    *noise = NAN;
    for (ptrdiff_t p0 = 0; p0 < npix; p0 += LANES) {
        const ptrdiff_t here = npix - p0 < LANES ? npix - p0 : LANES;
        for (ptrdiff_t l = 0; l < here; l++)
            pixel[l] = (int32_t)((h->y0 + (p0 + l) / width) * r->nx + h->x0 + (p0 + l) % width);
        excess_of(r, pixel, here, sorted, excess + p0);
    }
    ptrdiff_t n = 0;
    for (ptrdiff_t p = 0; p < npix; p++) {
        const double dy = (double)(h->y0 + p / width) - h->y, dx = (double)(h->x0 + p % width) - h->x;
        const double along = dy * h->cosine + dx * h->sine, across = dy * h->sine - dx * h->cosine;
        radius[p] = hypot(along, across / h->ratio);
        if (isfinite(excess[p]) && radius[p] > inner * h->semi && radius[p] <= outer * h->semi)
            key[n++] = value_key(excess[p]);
    }
    if (n < least)
        return;
    const float zero = median(key, n);
    for (ptrdiff_t k = 0; k < n; k++)
        key[k] = value_key(fabsf(key_value(key[k]) - zero));
    const float level = 1.4826f * median(key, n);
    if (!(level > 0.0f))
        return;
    *noise = level;
    memset(size, 0, (size_t)rings * sizeof *size);
    for (ptrdiff_t p = 0; p < npix; p++) {
        ring[p] = -1;
        if (isfinite(excess[p]) && radius[p] < inner * h->semi) {
            const int32_t k = (int32_t)radius[p];
            ring[p] = k < rings ? k : (int32_t)rings - 1;
            size[ring[p]]++;
        }
    }
    int32_t at = 0;
    for (ptrdiff_t k = 0; k < rings; k++) {
        start[k] = at;
        at += size[k];
    }
    for (ptrdiff_t p = 0; p < npix; p++)
        if (ring[p] >= 0)
            key[start[ring[p]]++] = value_key(excess[p] - zero);
    for (ptrdiff_t k = 0; k < rings; k++)
        value[k] = size[k] ? (double)median(key + start[k] - size[k], size[k]) : 0.0;
    let_fall(value, size, rings, pool);
}

/* Profiles of some halos of one group; the rings of a halo begin at its `first` value.  -1 without memory. */
JW_API JW_WIDE int jw_halo_profiles(const float *sci, const uint8_t *gdq, ptrdiff_t sci_group,
                                    ptrdiff_t gdq_group, ptrdiff_t ngroup, ptrdiff_t nx, ptrdiff_t group,
                                    const struct halo *halos, ptrdiff_t count, double inner, double outer,
                                    ptrdiff_t least, float *noise, double *value)
{
    const struct ramp r = {sci, gdq, sci_group, gdq_group, ngroup, nx, group};
    size_t most = 0;
    for (ptrdiff_t k = 0; k < count; k++) {
        const struct halo *h = halos + k;
        const size_t npix = (size_t)(h->y1 - h->y0) * (size_t)(h->x1 - h->x0), rings = (size_t)h->rings;
        const size_t wanted = npix * (8 + 3 * 4) + rings * (3 * 8 + 2 * 4);
        most = wanted > most ? wanted : most;
    }
    char *work = jw_vectors(most + (size_t)(ngroup - 1) * LANES * sizeof(int32_t));
    if (!work)
        return -1;
    for (ptrdiff_t k = 0; k < count; k++)
        profile(&r, halos + k, inner, outer, least, work, noise + k, value + halos[k].first);
    free(work);
    return 0;
}
