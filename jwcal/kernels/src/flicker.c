/* Flicker noise: differences of groups, clipped statistics of sorted values, medians along lines. */
#include "flicker.h"

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
