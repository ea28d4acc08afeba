/* Flicker noise: differences of groups, clipped statistics of sorted values, medians along lines. */
#include "sort.h"
#include <float.h>
#include <stdlib.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "the sums below must be rounded as written"
#endif

#define RADIX 11
#define BINS (1 << RADIX)
#define COLUMNS 16

enum { MASKED = 0, USABLE = 1, EMPTY = 2 };

/* Difference of two planes; NaN becomes 0 and EMPTY, what the scene or a flag hides MASKED. */
JW_API JW_WIDE void jw_flicker_difference(const float *now, const float *before, const float *flat,
                                          const uint8_t *scene, const uint8_t *flags, float *image,
                                          uint8_t *mask, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        image[i] = now[i] - before[i];
    if (flat != NULL)
        for (ptrdiff_t i = 0; i < n; i++)
            image[i] /= flat[i];
    if (flags != NULL)
        for (ptrdiff_t i = 0; i < n; i++)
            mask[i] = scene[i] & ((flags[i] & (JW_DNU | JW_JUMP)) == 0);
    else
        memcpy(mask, scene, (size_t)n);
    for (ptrdiff_t i = 0; i < n; i++) {
        const int empty = image[i] != image[i];
        mask[i] = empty ? EMPTY : mask[i];
        image[i] = empty ? 0.0f : image[i];
    }
}

JW_API JW_WIDE void jw_flicker_restrict(const float *image, uint8_t *mask, double low, double high,
                                        ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const double x = image[i];
        const uint8_t out = (x < low) | (x > high);
        mask[i] = (out & (mask[i] == USABLE)) ? MASKED : mask[i];
    }
}

/* Usable finite values, ascending.  Returns their number, or -1 when memory is lacking. */
JW_API ptrdiff_t jw_sorted_values(const float *image, const uint8_t *mask, ptrdiff_t n, float *sorted)
{
    uint32_t *work = malloc((size_t)(n + 1) * sizeof *work);
    ptrdiff_t(*count)[BINS] = calloc(3, sizeof *count);
    ptrdiff_t m = 0;
    if (work == NULL || count == NULL) {
        free(work);
        free(count);
        return -1;
    }
    uint32_t *key = (uint32_t *)sorted;
    for (ptrdiff_t i = 0; i < n; i++) {
        /* Minus zero counts as zero. */
        const float x = image[i] + 0.0f;
        key[m] = (uint32_t)value_key(x) ^ 0x80000000u;
        m += (mask[i] == USABLE) & (x - x == 0.0f);
    }
    for (ptrdiff_t i = 0; i < m; i++) {
        count[0][key[i] & (BINS - 1)]++;
        count[1][key[i] >> RADIX & (BINS - 1)]++;
        count[2][key[i] >> 2 * RADIX]++;
    }
    uint32_t *from = key, *to = work;
    for (int p = 0; p < 3; p++) {
        ptrdiff_t start = 0;
        for (int b = 0; b < BINS; b++) {
            const ptrdiff_t c = count[p][b];
            count[p][b] = start;
            start += c;
        }
        for (ptrdiff_t i = 0; i < m; i++)
            to[count[p][from[i] >> p * RADIX & (BINS - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    for (ptrdiff_t i = 0; i < m; i++)
        sorted[i] = key_value((int32_t)(from[i] ^ 0x80000000u));
    free(work);
    free(count);
    return m;
}

/* Element i of the values, or of their lower half (m values up to c) and its mirror image. */
#define PLAIN(i) ((double)v[i])
#define MIRRORED(i) ((i) < m ? ((double)v[i] - c) + c : (c - (double)v[2 * m - 1 - (i)]) + c)
#define ITSELF(x) (x)
#define SQUARED(x) (((x)-mean) * ((x)-mean))

/* Sums are pairwise over blocks of at most 128 with eight partial sums, the order of NumPy. */
#define PAIRWISE(NAME, ELEMENT, TERM)                                                            \
    static double NAME(const float *v, ptrdiff_t m, double c, double mean, ptrdiff_t at, ptrdiff_t n) \
    {                                                                                            \
        (void)m, (void)c, (void)mean;                                                            \
        if (n < 8) {                                                                             \
            double s = -0.0;                                                                     \
            for (ptrdiff_t i = at; i < at + n; i++)                                              \
                s += TERM(ELEMENT(i));                                                           \
            return s;                                                                            \
        }                                                                                        \
        if (n <= 128) {                                                                          \
            double r[8];                                                                         \
            ptrdiff_t i;                                                                         \
            for (int k = 0; k < 8; k++)                                                          \
                r[k] = TERM(ELEMENT(at + k));                                                    \
            for (i = 8; i < n - n % 8; i += 8)                                                   \
                for (int k = 0; k < 8; k++)                                                      \
                    r[k] += TERM(ELEMENT(at + i + k));                                           \
            double s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));        \
            for (; i < n; i++)                                                                   \
                s += TERM(ELEMENT(at + i));                                                      \
            return s;                                                                            \
        }                                                                                        \
        ptrdiff_t half = n / 2;                                                                  \
        half -= half % 8;                                                                        \
        return NAME(v, m, c, mean, at, half) + NAME(v, m, c, mean, at + half, n - half);         \
    }

PAIRWISE(sum_plain, PLAIN, ITSELF)
PAIRWISE(squares_plain, PLAIN, SQUARED)
PAIRWISE(sum_mirrored, MIRRORED, ITSELF)
PAIRWISE(squares_mirrored, MIRRORED, SQUARED)

static double element(const float *v, ptrdiff_t m, double c, int mirror, ptrdiff_t i)
{
    return mirror ? MIRRORED(i) : PLAIN(i);
}

/* Mean, median and standard deviation of ascending values after clipping around the median. */
JW_API void jw_clipped_stats(const float *v, ptrdiff_t m, int mirror, double c, double sigma, int32_t rounds,
                             double *stats)
{
    ptrdiff_t low = 0, high = mirror ? 2 * m : m;
    double mean = NAN, median = NAN, deviation = NAN;
    for (int32_t round = 0; high > low; round++) {
        const ptrdiff_t n = high - low;
        const double count = (double)n;
        const double a = element(v, m, c, mirror, low + (n - 1) / 2);
        const double b = element(v, m, c, mirror, low + n / 2);
        median = n % 2 ? b : (a + b) / 2.0;
        mean = (mirror ? sum_mirrored : sum_plain)(v, m, c, 0.0, low, n) / count;
        deviation = sqrt((mirror ? squares_mirrored : squares_plain)(v, m, c, mean, low, n) / count);
        if (round == rounds)
            break;
        const double floor = median - deviation * sigma, ceiling = median + deviation * sigma;
        ptrdiff_t l = low, h = high;
        for (ptrdiff_t end = high; l < end;) {
            const ptrdiff_t mid = l + (end - l) / 2;
            if (element(v, m, c, mirror, mid) < floor)
                l = mid + 1;
            else
                end = mid;
        }
        for (ptrdiff_t begin = l; begin < h;) {
            const ptrdiff_t mid = begin + (h - begin) / 2;
            if (element(v, m, c, mirror, mid) > ceiling)
                h = mid;
            else
                begin = mid + 1;
        }
        if (l == low && h == high)
            break;
        low = l;
        high = h;
    }
    stats[0] = mean;
    stats[1] = median;
    stats[2] = deviation;
}

JW_WIDE static ptrdiff_t not_above(const int32_t *key, ptrdiff_t n, int32_t limit)
{
    int32_t count = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        count += key[i] <= limit;
    return count;
}

JW_WIDE static void extremes(const int32_t *key, ptrdiff_t n, int32_t *least, int32_t *most)
{
    int32_t a = INT32_MAX, b = INT32_MIN;
    for (ptrdiff_t i = 0; i < n; i++) {
        a = key[i] < a ? key[i] : a;
        b = key[i] > b ? key[i] : b;
    }
    *least = a;
    *most = b;
}

JW_WIDE static int32_t next_above(const int32_t *key, ptrdiff_t n, int32_t limit)
{
    int32_t best = INT32_MAX;
    for (ptrdiff_t i = 0; i < n; i++) {
        const int32_t k = key[i] > limit ? key[i] : INT32_MAX;
        best = k < best ? k : best;
    }
    return best;
}

/* Median by bisection over the keys: every step is one counting pass without branches. */
static float key_median(const int32_t *key, ptrdiff_t n)
{
    if (n == 0)
        return 0.0f;
    const ptrdiff_t rank = (n - 1) / 2;
    int32_t low, high;
    extremes(key, n, &low, &high);
    while (low < high) {
        const int32_t mid = low + (int32_t)(((uint32_t)high - (uint32_t)low) / 2);
        if (not_above(key, n, mid) > rank)
            high = mid;
        else
            low = mid + 1;
    }
    int32_t upper = low;
    if (n % 2 == 0 && not_above(key, n, low) <= rank + 1)
        upper = next_above(key, n, low);
    return (key_value(low) + key_value(upper)) / 2.0f;
}

/* Medians of the usable pixels along rows (axis 1) or columns (axis 0), in `parts` equal parts of the line.
   Returns 0, or -1 when memory is lacking. */
JW_API int jw_line_medians(const float *image, const uint8_t *mask, ptrdiff_t ny, ptrdiff_t nx, int axis,
                           ptrdiff_t parts, float *medians)
{
    const ptrdiff_t length = (axis ? nx : ny) / parts, width = axis ? 1 : COLUMNS;
    int32_t *key = malloc((size_t)(length * width + 1) * sizeof *key);
    if (key == NULL)
        return -1;
    if (axis)
        for (ptrdiff_t y = 0; y < ny; y++)
            for (ptrdiff_t p = 0; p < parts; p++) {
                const float *v = image + y * nx + p * length;
                const uint8_t *use = mask + y * nx + p * length;
                ptrdiff_t n = 0;
                for (ptrdiff_t x = 0; x < length; x++) {
                    key[n] = value_key(v[x] + 0.0f);
                    n += use[x] == USABLE;
                }
                medians[y * parts + p] = key_median(key, n);
            }
    else
        for (ptrdiff_t p = 0; p < parts; p++)
            for (ptrdiff_t x0 = 0; x0 < nx; x0 += COLUMNS) {
                const ptrdiff_t columns = nx - x0 < COLUMNS ? nx - x0 : COLUMNS;
                ptrdiff_t n[COLUMNS] = {0};
                for (ptrdiff_t y = p * length; y < (p + 1) * length; y++)
                    for (ptrdiff_t x = 0; x < columns; x++) {
                        key[x * length + n[x]] = value_key(image[y * nx + x0 + x] + 0.0f);
                        n[x] += mask[y * nx + x0 + x] == USABLE;
                    }
                for (ptrdiff_t x = 0; x < columns; x++)
                    medians[p * nx + x0 + x] = key_median(key + x * length, n[x]);
            }
    free(key);
    return 0;
}

/* out = before + ((image - line) + background) * flat, NaN where the mask says EMPTY. */
JW_API JW_WIDE void jw_flicker_apply(const float *image, const uint8_t *mask, const float *medians, int axis,
                                     ptrdiff_t parts, const float *background, float level, const float *flat,
                                     const float *before, float *out, ptrdiff_t ny, ptrdiff_t nx)
{
    const ptrdiff_t length = (axis ? nx : ny) / parts;
    for (ptrdiff_t y = 0; y < ny; y++) {
        const ptrdiff_t at = y * nx;
        const ptrdiff_t last = axis ? parts : 1;
        for (ptrdiff_t p = 0; p < last; p++) {
            const ptrdiff_t x0 = axis ? p * length : 0, x1 = axis ? x0 + length : nx;
            const float *columns = axis ? NULL : medians + y / length * nx;
            const float line = axis ? medians[y * parts + p] : 0.0f;
            for (ptrdiff_t x = x0; x < x1; x++) {
                float value = image[at + x] - (columns ? columns[x] : line);
                value += background ? background[at + x] : level;
                if (flat)
                    value *= flat[at + x];
                value = mask[at + x] == EMPTY ? NAN : value;
                out[at + x] = before[at + x] + value;
            }
        }
    }
}

typedef struct {
    const float *sci;
    const uint8_t *flags;
    ptrdiff_t sci_int, sci_group, flags_int, flags_group, nint, ngroup, step, pixel, length;
    const double *weight;
    double bright;
    float *difference;
    uint8_t *use;
    int32_t *key;
    double *sum, *total;
} scene_work;

/* Mean difference of every pixel of a line, without the offsets found so far; NaN where nothing is usable. */
JW_WIDE static void line_scene(const scene_work *s, ptrdiff_t nd, const float *offset, float *scene)
{
    const ptrdiff_t n = s->length;
    for (ptrdiff_t x = 0; x < n; x++)
        s->sum[x] = s->total[x] = 0.0;
    for (ptrdiff_t d = 0; d < nd; d++) {
        const double w = s->weight[d];
        const float *v = s->difference + d * n, r = offset[d];
        const uint8_t *use = s->use + d * n;
        for (ptrdiff_t x = 0; x < n; x++) {
            const double wx = use[x] ? w : 0.0;
            s->sum[x] += wx * (double)(v[x] - r);
            s->total[x] += wx;
        }
    }
    for (ptrdiff_t x = 0; x < n; x++)
        scene[x] = s->total[x] > 0.0 ? (float)(s->sum[x] / s->total[x]) : NAN;
}

static float median_of(const float *v, ptrdiff_t n, int32_t *key)
{
    for (ptrdiff_t i = 0; i < n; i++)
        key[i] = value_key(v[i] + 0.0f);
    return key_median(key, n);
}

/* Offset of one difference from the scene: mean of what lies within four sigma of the median. */
static float line_offset(const scene_work *s, ptrdiff_t d, const float *scene, const uint8_t *good, float *work,
                         float *sigma, int32_t *count)
{
    const ptrdiff_t n = s->length;
    const float *v = s->difference + d * n;
    const uint8_t *use = s->use + d * n;
    float *rest = work + n;
    ptrdiff_t m = 0;
    for (ptrdiff_t x = 0; x < n; x++) {
        work[m] = v[x] - scene[x];
        m += use[x] & good[x];
    }
    const float median = median_of(work, m, s->key);
    for (ptrdiff_t i = 0; i < m; i++)
        rest[i] = fabsf(work[i] - median);
    const float spread = 1.4826f * median_of(rest, m, s->key);
    double sum = 0.0;
    int32_t kept = 0;
    for (ptrdiff_t i = 0; i < m; i++) {
        const int in = rest[i] <= 4.0f * spread;
        sum += in ? (double)work[i] : 0.0;
        kept += in;
    }
    *sigma = spread;
    *count = kept;
    return kept ? (float)(sum / (double)kept) : 0.0f;
}

/* Scene and offsets of one line.  `offset`, `sigma` and `count` hold one value per difference. */
static void one_line(const scene_work *s, float *scene, float *offset, float *sigma, int32_t *count,
                     float *work, uint8_t *good)
{
    const ptrdiff_t n = s->length, nd = s->nint * (s->ngroup - 1);
    for (ptrdiff_t i = 0; i < s->nint; i++)
        for (ptrdiff_t j = 0; j + 1 < s->ngroup; j++) {
            const ptrdiff_t d = i * (s->ngroup - 1) + j;
            const float *a = s->sci + i * s->sci_int + j * s->sci_group, *b = a + s->sci_group;
            const uint8_t *fa = s->flags + i * s->flags_int + j * s->flags_group, *fb = fa + s->flags_group;
            const uint8_t wanted = s->weight[d] > 0.0;
            float *v = s->difference + d * n;
            uint8_t *use = s->use + d * n;
            for (ptrdiff_t x = 0; x < n; x++) {
                const ptrdiff_t p = x * s->pixel;
                const float y = b[p] - a[p];
                const uint8_t clean = ((fa[p] & (JW_DNU | JW_SAT)) | (fb[p] & (JW_DNU | JW_SAT | JW_JUMP))) == 0;
                const uint8_t ok = wanted & clean & (y - y == 0.0f);
                use[x] = ok;
                v[x] = ok ? y : 0.0f;
            }
        }
    for (ptrdiff_t d = 0; d < nd; d++)
        offset[d] = 0.0f;
    line_scene(s, nd, offset, scene);
    ptrdiff_t m = 0;
    for (ptrdiff_t x = 0; x < n; x++) {
        good[x] = scene[x] == scene[x];
        work[m] = scene[x];
        m += good[x];
    }
    const float level = median_of(work, m, s->key);
    float *noise = work + 2 * n;
    for (int round = 0; round < 2; round++) {
        ptrdiff_t known = 0;
        for (ptrdiff_t d = 0; d < nd; d++) {
            offset[d] = line_offset(s, d, scene, good, work, sigma + d, count + d);
            noise[known] = sigma[d];
            known += count[d] > 0;
        }
        line_scene(s, nd, offset, scene);
        const float limit = (float)s->bright * median_of(noise, known, s->key);
        if (round == 0)
            for (ptrdiff_t x = 0; x < n; x++)
                good[x] = fabsf(scene[x] - level) <= limit;
    }
}

/* Split lines of all differences into a scene that stays and offsets that change.  Lines are rows (axis 1) or
   columns (axis 0), each in `parts`; piece k of line l is number l * parts + k.  Returns 0, or -1 when memory
   is lacking. */
JW_API int jw_line_scene(const float *sci, ptrdiff_t sci_int, ptrdiff_t sci_group, const uint8_t *flags,
                         ptrdiff_t flags_int, ptrdiff_t flags_group, ptrdiff_t nint, ptrdiff_t ngroup,
                         ptrdiff_t nx, int axis, ptrdiff_t length, ptrdiff_t parts, const double *weight,
                         double bright, ptrdiff_t first, ptrdiff_t last, float *scene, float *offset,
                         float *sigma, int32_t *count)
{
    const ptrdiff_t nd = nint * (ngroup - 1), most = length > nd ? length : nd;
    scene_work s = {.sci_int = sci_int, .sci_group = sci_group, .flags_int = flags_int,
                    .flags_group = flags_group, .nint = nint, .ngroup = ngroup, .step = axis ? nx : 1,
                    .pixel = axis ? 1 : nx, .length = length, .weight = weight, .bright = bright};
    s.difference = malloc((size_t)(nd * length + 1) * sizeof *s.difference);
    s.use = malloc((size_t)(nd * length + 1));
    s.key = malloc((size_t)(most + 1) * sizeof *s.key);
    s.sum = malloc((size_t)(2 * length + 1) * sizeof *s.sum);
    float *work = malloc((size_t)(2 * length + most + 1) * sizeof *work);
    float *line = malloc((size_t)(length + 1) * sizeof *line);
    uint8_t *good = malloc((size_t)length + 1);
    const int ready = s.difference && s.use && s.key && s.sum && work && line && good;
    s.total = s.sum + length;
    for (ptrdiff_t l = first; ready && l < last; l++)
        for (ptrdiff_t k = 0; k < parts; k++) {
            const ptrdiff_t at = l * s.step + k * length * s.pixel, out = (l * parts + k) * nd;
            s.sci = sci + at;
            s.flags = flags + at;
            one_line(&s, line, offset + out, sigma + out, count + out, work, good);
            for (ptrdiff_t x = 0; x < length; x++)
                scene[at + x * s.pixel] = line[x];
        }
    free(s.difference);
    free(s.use);
    free(s.key);
    free(s.sum);
    free(work);
    free(line);
    free(good);
    return ready ? 0 : -1;
}
