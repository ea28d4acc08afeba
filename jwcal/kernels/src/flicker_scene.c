/* Flicker noise against the mean scene: offsets of lines, smooth background, segments of lines. */
#include "flicker.h"

#define LANES 16
#define SAMPLE 128
#define LEAST_SAMPLE 16
#define BOX 4
#define CELLS 16

typedef struct {
    const float *sci;
    const uint8_t *flags;
    ptrdiff_t sci_int, sci_group, flags_int, flags_group, nint, ngroup, step, pixel, length;
    const double *weight;
    double bright;
    float *difference, *sum, *total, *rest;
    uint8_t *use;
    int32_t *key;
} scene_work;

/* Mean difference of every pixel of a line, without the offsets found so far; NaN where nothing is usable. */
JW_WIDE static void line_scene(const scene_work *s, ptrdiff_t nd, const float *offset, float *scene)
{
    const ptrdiff_t n = s->length;
    float *restrict sum = s->sum, *restrict total = s->total;
    for (ptrdiff_t x = 0; x < n; x++)
        sum[x] = total[x] = 0.0f;
    for (ptrdiff_t d = 0; d < nd; d++) {
        const float w = (float)s->weight[d], r = offset[d];
        const float *v = s->difference + d * n;
        const uint8_t *use = s->use + d * n;
        for (ptrdiff_t x = 0; x < n; x++) {
            const float wx = use[x] ? w : 0.0f;
            sum[x] += wx * (v[x] - r);
            total[x] += wx;
        }
    }
    for (ptrdiff_t x = 0; x < n; x++)
        scene[x] = total[x] > 0.0f ? sum[x] / total[x] : NAN;
}

/* Every `step`th usable deviation from the scene. */
static ptrdiff_t deviations(const float *v, const float *scene, const uint8_t *use, const uint8_t *good,
                            ptrdiff_t n, ptrdiff_t step, float *rest)
{
    ptrdiff_t m = 0;
    for (ptrdiff_t x = 0; x < n; x += step) {
        rest[m] = v[x] - scene[x];
        m += use[x] & good[x];
    }
    return m;
}

/* Mean of the usable deviations from the scene within some limit of a centre. */
JW_WIDE static float clipped_mean(const float *v, const float *scene, const uint8_t *use, const uint8_t *good,
                                  ptrdiff_t n, float centre, float limit, int32_t *count)
{
    float sum[LANES] = {0};
    int32_t kept[LANES] = {0};
    const ptrdiff_t whole = n - n % LANES;
    for (ptrdiff_t x = 0; x < whole; x += LANES)
        for (int k = 0; k < LANES; k++) {
            const float r = v[x + k] - scene[x + k];
            const int32_t in = (use[x + k] & good[x + k]) & (fabsf(r - centre) <= limit);
            sum[k] += in ? r : 0.0f;
            kept[k] += in;
        }
    for (ptrdiff_t x = whole; x < n; x++) {
        const float r = v[x] - scene[x];
        const int32_t in = (use[x] & good[x]) & (fabsf(r - centre) <= limit);
        sum[x - whole] += in ? r : 0.0f;
        kept[x - whole] += in;
    }
    double total = 0.0;
    *count = 0;
    for (int k = 0; k < LANES; k++) {
        total += (double)sum[k];
        *count += kept[k];
    }
    return *count ? (float)(total / (double)*count) : 0.0f;
}

JW_WIDE static void line_differences(const scene_work *s)
{
    const ptrdiff_t n = s->length;
    const uint8_t before = JW_DNU | JW_SAT, after = JW_DNU | JW_SAT | JW_JUMP;
    for (ptrdiff_t i = 0; i < s->nint; i++)
        for (ptrdiff_t j = 0; j + 1 < s->ngroup; j++) {
            const ptrdiff_t d = i * (s->ngroup - 1) + j;
            const float *a = s->sci + i * s->sci_int + j * s->sci_group, *b = a + s->sci_group;
            const uint8_t *fa = s->flags + i * s->flags_int + j * s->flags_group, *fb = fa + s->flags_group;
            const uint8_t wanted = s->weight[d] > 0.0;
            float *restrict v = s->difference + d * n;
            uint8_t *restrict use = s->use + d * n;
            if (s->pixel == 1)
                for (ptrdiff_t x = 0; x < n; x++) {
                    const float y = b[x] - a[x];
                    const uint8_t flagged = (fa[x] & before) | (fb[x] & after);
                    const uint8_t ok = wanted & (flagged == 0) & (y - y == 0.0f);
                    use[x] = ok;
                    v[x] = ok ? y : 0.0f;
                }
            else
                for (ptrdiff_t x = 0; x < n; x++) {
                    const ptrdiff_t p = x * s->pixel;
                    const float y = b[p] - a[p];
                    const uint8_t flagged = (fa[p] & before) | (fb[p] & after);
                    const uint8_t ok = wanted & (flagged == 0) & (y - y == 0.0f);
                    use[x] = ok;
                    v[x] = ok ? y : 0.0f;
                }
        }
}

/* Scene and offsets of one line.  `offset`, `sigma` and `count` hold one value per difference. */
static void one_line(const scene_work *s, float *scene, float *offset, float *sigma, int32_t *count,
                     float *noise, uint8_t *good)
{
    const ptrdiff_t n = s->length, nd = s->nint * (s->ngroup - 1), step = n > SAMPLE ? n / SAMPLE : 1;
    line_differences(s);
    for (ptrdiff_t d = 0; d < nd; d++)
        offset[d] = 0.0f;
    line_scene(s, nd, offset, scene);
    ptrdiff_t m = 0, known = 0;
    for (ptrdiff_t x = 0; x < n; x++) {
        good[x] = scene[x] == scene[x];
        s->rest[m] = scene[x];
        m += good[x];
    }
    const float level = median_of(s->rest, m, s->key);
    for (ptrdiff_t d = 0; d < nd; d++) {
        const float *v = s->difference + d * n;
        const uint8_t *use = s->use + d * n;
        m = deviations(v, scene, use, good, n, step, s->rest);
        if (m < LEAST_SAMPLE && step > 1)
            m = deviations(v, scene, use, good, n, 1, s->rest);
        const float median = median_of(s->rest, m, s->key);
        for (ptrdiff_t i = 0; i < m; i++)
            s->rest[i] = fabsf(s->rest[i] - median);
        sigma[d] = 1.4826f * median_of(s->rest, m, s->key);
        offset[d] = clipped_mean(v, scene, use, good, n, median, 4.0f * sigma[d], count + d);
        noise[known] = sigma[d];
        known += count[d] > 0;
    }
    line_scene(s, nd, offset, scene);
    const float limit = (float)s->bright * median_of(noise, known, s->key);
    for (ptrdiff_t x = 0; x < n; x++)
        good[x] = fabsf(scene[x] - level) <= limit;
    for (ptrdiff_t d = 0; d < nd; d++)
        offset[d] = clipped_mean(s->difference + d * n, scene, s->use + d * n, good, n, offset[d],
                                 4.0f * sigma[d], count + d);
    line_scene(s, nd, offset, scene);
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
    s.difference = jw_vectors((size_t)(nd * length + 1) * sizeof *s.difference);
    s.use = jw_vectors((size_t)(nd * length + 1));
    s.key = jw_vectors((size_t)(most + 1) * sizeof *s.key);
    s.sum = jw_vectors((size_t)(5 * length + nd + 1) * sizeof *s.sum);
    uint8_t *good = jw_vectors((size_t)length + 1);
    const int ready = s.difference && s.use && s.key && s.sum && good;
    for (ptrdiff_t l = first; ready && l < last; l++)
        for (ptrdiff_t k = 0; k < parts; k++) {
            const ptrdiff_t at = l * s.step + k * length * s.pixel, out = (l * parts + k) * nd;
            s.total = s.sum + length;
            s.rest = s.sum + 2 * length;
            float *line = s.sum + 3 * length + 1, *noise = line + length;
            s.sci = sci + at;
            s.flags = flags + at;
            one_line(&s, line, offset + out, sigma + out, count + out, noise, good);
            for (ptrdiff_t x = 0; x < length; x++)
                scene[at + x * s.pixel] = line[x];
        }
    free(s.difference);
    free(s.use);
    free(s.key);
    free(s.sum);
    free(good);
    return ready ? 0 : -1;
}

/* Median of |difference of neighbours| in square cells, from every fourth row, as a standard deviation. */
JW_API int jw_cell_noise(const float *image, const uint8_t *use, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t size,
                         ptrdiff_t first, ptrdiff_t last, float *sigma)
{
    const ptrdiff_t nc = (nx + size - 1) / size;
    int32_t *key = jw_vectors((size_t)(size * size + 1) * sizeof *key);
    for (ptrdiff_t i = first; key != NULL && i < last; i++)
        for (ptrdiff_t j = 0; j < nc; j++) {
            const ptrdiff_t y1 = (i + 1) * size < ny ? (i + 1) * size : ny;
            const ptrdiff_t x1 = (j + 1) * size < nx ? (j + 1) * size : nx;
            ptrdiff_t n = 0, all = 0;
            for (ptrdiff_t y = i * size; y < y1; y += BOX) {
                const float *v = image + y * nx;
                const uint8_t *u = use + y * nx;
                for (ptrdiff_t x = j * size; x + 1 < x1; x++) {
                    key[n] = value_key(fabsf(v[x + 1] - v[x]) + 0.0f);
                    n += u[x] & u[x + 1];
                    all++;
                }
            }
            const float scale = (float)(1.4826 / 1.4142135623730951);
            sigma[i * nc + j] = 4 * n >= all && n > 0 ? scale * key_median(key, n) : NAN;
        }
    free(key);
    return key == NULL ? -1 : 0;
}

/* Medians of up to CELLS neighbouring square cells; the rows y0 to y1, the columns from x0 on. */
JW_WIDE static void median_cells(const float *image, const uint8_t *use, const uint8_t *hide,
                                 const float *shift, ptrdiff_t nx, ptrdiff_t parts, ptrdiff_t size,
                                 ptrdiff_t y0, ptrdiff_t y1, ptrdiff_t x0, ptrdiff_t cells, int32_t *key,
                                 float *medians)
{
    const ptrdiff_t nb = (nx + BOX - 1) / BOX, length = nx / parts;
    ptrdiff_t n[CELLS] = {0};
    for (ptrdiff_t i = 0; i < size * size * CELLS; i++)
        key[i] = INT32_MAX;
    for (ptrdiff_t y = y0; y < y1; y++) {
        const float *v = image + y * nx;
        const uint8_t *u = use + y * nx, *h = hide + y / BOX * nb;
        for (ptrdiff_t c = 0; c < cells; c++) {
            const ptrdiff_t first = x0 + c * size, end = first + size < nx ? first + size : nx;
            const float away = shift[y * parts + first / length];
            int32_t *column = key + (y - y0) * size * CELLS + c;
            for (ptrdiff_t x = first; x < end; x++) {
                const int32_t k = value_key(v[x] - away + 0.0f), ok = u[x] & (h[x / BOX] == 0);
                column[(x - first) * CELLS] = ok ? k : INT32_MAX;
                n[c] += ok;
            }
        }
    }
    sort_keys(key, size * size, CELLS);
    for (ptrdiff_t c = 0; c < cells; c++) {
        const ptrdiff_t first = x0 + c * size, end = first + size < nx ? first + size : nx;
        const int known = n[c] > 0 && 4 * n[c] >= (y1 - y0) * (end - first);
        const int32_t *column = key + c;
        const ptrdiff_t below = known ? (n[c] - 1) / 2 : 0, above = known ? n[c] / 2 : 0;
        const int32_t low = column[below * CELLS], high = column[above * CELLS];
        medians[c] = known ? (key_value(low) + key_value(high)) / 2.0f : NAN;
    }
}

/* Medians of square cells of an image less the offsets of its lines; NaN where fewer than a quarter of the
   pixels may be used.  `hide` hides boxes. */
JW_API int jw_cell_medians(const float *image, const uint8_t *use, const uint8_t *hide, const float *shift,
                           ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t parts, ptrdiff_t size, ptrdiff_t first,
                           ptrdiff_t last, float *medians)
{
    const ptrdiff_t nc = (nx + size - 1) / size;
    int32_t *key = jw_vectors((size_t)(size * size * CELLS) * sizeof *key);
    for (ptrdiff_t i = first; key != NULL && i < last; i++)
        for (ptrdiff_t j = 0; j < nc; j += CELLS)
            median_cells(image, use, hide, shift, nx, parts, size, i * size,
                         (i + 1) * size < ny ? (i + 1) * size : ny, j * size, nc - j < CELLS ? nc - j : CELLS,
                         key, medians + i * nc + j);
    free(key);
    return key == NULL ? -1 : 0;
}

typedef struct {
    const float *cells, *noise;
    ptrdiff_t ny, nx, size, noise_size, rows, columns, noise_columns;
    float *row, *slope, *base, *sigma, *along;
    int32_t *left;
} field;

/* Between the centres of cells values change linearly, beyond the outermost as between the last two. */
static ptrdiff_t cell_before(ptrdiff_t x, ptrdiff_t size, ptrdiff_t n, float *along)
{
    ptrdiff_t left = x < size / 2 ? 0 : (x - size / 2) / size;
    const ptrdiff_t most = n > 1 ? n - 2 : 0;
    left = left < most ? left : most;
    *along = ((float)x + 0.5f) / (float)size - 0.5f - (float)left;
    return left;
}

static int field_open(field *f, const float *cells, const float *noise, ptrdiff_t ny, ptrdiff_t nx,
                      ptrdiff_t size, ptrdiff_t noise_size)
{
    const size_t n = (size_t)nx + 64;
    *f = (field){.cells = cells, .noise = noise, .ny = ny, .nx = nx, .size = size, .noise_size = noise_size,
                 .rows = (ny + size - 1) / size, .columns = (nx + size - 1) / size,
                 .noise_columns = (nx + noise_size - 1) / noise_size};
    f->row = jw_vectors(5 * n * sizeof *f->row);
    f->left = jw_vectors(n * sizeof *f->left);
    if (f->row == NULL || f->left == NULL)
        return -1;
    f->slope = f->row + n;
    f->base = f->slope + n;
    f->sigma = f->base + n;
    f->along = f->sigma + n;
    for (ptrdiff_t x = 0; x < nx; x++)
        f->left[x] = (int32_t)cell_before(x, size, f->columns, f->along + x);
    return 0;
}

/* Background and noise of the pixels of a row. */
JW_WIDE static void field_row(const field *f, ptrdiff_t y)
{
    float t;
    const ptrdiff_t top = cell_before(y, f->size, f->rows, &t), n = f->columns;
    const float *a = f->cells + top * n, *b = f->rows > 1 ? a + n : a;
    for (ptrdiff_t j = 0; j < n; j++)
        f->row[j] = a[j] + (b[j] - a[j]) * t;
    for (ptrdiff_t j = 0; j < n; j++)
        f->slope[j] = j + 1 < n ? f->row[j + 1] - f->row[j] : 0.0f;
    for (ptrdiff_t x = 0; x < f->nx; x++)
        f->base[x] = f->row[f->left[x]] + f->slope[f->left[x]] * f->along[x];
    const float *noise = f->noise + y / f->noise_size * f->noise_columns;
    for (ptrdiff_t j = 0; j < f->noise_columns; j++) {
        const ptrdiff_t x1 = (j + 1) * f->noise_size < f->nx ? (j + 1) * f->noise_size : f->nx;
        for (ptrdiff_t x = j * f->noise_size; x < x1; x++)
            f->sigma[x] = noise[j];
    }
}

static void field_close(field *f)
{
    free(f->row);
    free(f->left);
}

JW_WIDE static void mask_row(const field *f, const float *v, const float *shift, ptrdiff_t parts,
                             float threshold, uint8_t *use, float *rest)
{
    const ptrdiff_t length = f->nx / parts;
    for (ptrdiff_t p = 0; p < parts; p++)
        for (ptrdiff_t x = p * length; x < (p + 1) * length; x++) {
            const float away = v[x] - f->base[x] - shift[p];
            const int near = (fabsf(away) <= threshold * f->sigma[x]) & (f->sigma[x] > 0.0f);
            const uint8_t ok = near & (v[x] != 0.0f);
            use[x] = ok;
            rest[x] = ok ? away / f->sigma[x] : 0.0f;
        }
}

/* Medians of lines over the background, pixels that are near them, and sums over boxes.  Rows `first` to
   `last`; `first` is the first row of a box. */
JW_API int jw_scene_rest(const float *image, const uint8_t *hide, const float *cells, const float *noise,
                         ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t parts, ptrdiff_t size, ptrdiff_t noise_size,
                         float limit, float threshold, ptrdiff_t first, ptrdiff_t last, uint8_t *use,
                         float *shift, int32_t *number, float *total)
{
    const ptrdiff_t nb = (nx + BOX - 1) / BOX, length = nx / parts;
    field f;
    int32_t *key = jw_vectors((size_t)(length + 1) * sizeof *key);
    float *rest = jw_vectors((size_t)(nb * BOX + 1) * sizeof *rest);
    const int ready = field_open(&f, cells, noise, ny, nx, size, noise_size) == 0 && key && rest;
    for (ptrdiff_t y = first; ready && y < last; y++) {
        const float *v = image + y * nx;
        const uint8_t *h = hide + y / BOX * nb;
        uint8_t *u = use + y * nx;
        float *sums = total + y / BOX * nb;
        int32_t *counts = number + y / BOX * nb;
        field_row(&f, y);
        for (ptrdiff_t p = 0; p < parts; p++) {
            ptrdiff_t n = 0;
            for (ptrdiff_t x = p * length; x < (p + 1) * length; x++) {
                key[n] = value_key(v[x] - f.base[x] + 0.0f);
                n += u[x] & (h[x / BOX] == 0);
            }
            const float median = key_median(key, n);
            const float most = median < limit ? median : limit;
            shift[y * parts + p] = most > -limit ? most : -limit;
        }
        for (ptrdiff_t x = nx; x < nb * BOX; x++)
            rest[x] = 0.0f;
        mask_row(&f, v, shift + y * parts, parts, threshold, u, rest);
        for (ptrdiff_t b = 0; b < nb; b++) {
            const float *r = rest + b * BOX;
            const ptrdiff_t x1 = (b + 1) * BOX < nx ? (b + 1) * BOX : nx;
            int32_t n = 0;
            for (ptrdiff_t x = b * BOX; x < x1; x++)
                n += u[x];
            sums[b] = (y % BOX ? sums[b] : 0.0f) + ((r[0] + r[1]) + (r[2] + r[3]));
            counts[b] = (y % BOX ? counts[b] : 0) + n;
        }
    }
    field_close(&f);
    free(key);
    free(rest);
    return ready ? 0 : -1;
}

/* Means of segments of lines, what is masked filled with the background, and their weights. */
JW_API int jw_segment_means(const float *image, const uint8_t *use, const uint8_t *hide, const float *cells,
                            const float *noise, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t parts, ptrdiff_t size,
                            ptrdiff_t noise_size, ptrdiff_t width, ptrdiff_t first, ptrdiff_t last,
                            double *mean, double *weight)
{
    const ptrdiff_t nb = (nx + BOX - 1) / BOX, length = nx / parts, each = length / width;
    field f;
    const int ready = field_open(&f, cells, noise, ny, nx, size, noise_size) == 0;
    for (ptrdiff_t y = first; ready && y < last; y++) {
        const float *v = image + y * nx;
        const uint8_t *u = use + y * nx, *h = hide + y / BOX * nb;
        field_row(&f, y);
        for (ptrdiff_t k = 0; k < parts * each; k++) {
            const ptrdiff_t x0 = k / each * length + k % each * width, out = y * parts * each + k;
            double sum = 0.0, base = 0.0, variance = 0.0;
            int32_t n = 0;
            for (ptrdiff_t x = x0; x < x0 + width; x++) {
                const int ok = u[x] & (h[x / BOX] == 0);
                sum += ok ? (double)(v[x] - f.base[x]) : 0.0;
                variance += ok ? (double)f.sigma[x] * (double)f.sigma[x] : 0.0;
                base += (double)f.base[x];
                n += ok;
            }
            const int known = 4 * n >= width && variance > 0.0;
            mean[out] = known ? sum / (double)n + base / (double)width : 0.0;
            weight[out] = known ? (double)n * (double)n / variance : 0.0;
        }
    }
    field_close(&f);
    return ready ? 0 : -1;
}

/* Factors of diag(weight) + D' diag(stiff) D for every column, D taking second differences of rows. */
JW_API JW_WIDE void jw_spline_factor(const double *weight, const double *stiff, ptrdiff_t n, ptrdiff_t nk,
                                     double *pivot, double *first, double *second)
{
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t k = 0; k < nk; k++) {
            const ptrdiff_t at = i * nk + k;
            /* stiff[i] belongs to the difference centred on row i; there is none on the first and last. */
            const double here = i > 0 && i + 1 < n ? stiff[at] : 0.0, next = i + 2 < n ? stiff[at + nk] : 0.0;
            const double last = i > 1 ? stiff[at - nk] : 0.0;
            double d = weight[at] + last + 4.0 * here + next;
            double b = -2.0 * (here + next);
            if (i > 0) {
                d -= first[at - nk] * first[at - nk] * pivot[at - nk];
                b -= pivot[at - nk] * second[at - nk] * first[at - nk];
            }
            if (i > 1)
                d -= second[at - 2 * nk] * second[at - 2 * nk] * pivot[at - 2 * nk];
            pivot[at] = d;
            first[at] = b / d;
            second[at] = next / d;
        }
}

/* Solve the factored systems in place. */
JW_API JW_WIDE void jw_spline_solve(const double *pivot, const double *first, const double *second,
                                    ptrdiff_t n, ptrdiff_t nk, double *values)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double *restrict z = values + i * nk;
        const double *one = first + (i - 1) * nk, *two = second + (i - 2) * nk;
        if (i > 0)
            for (ptrdiff_t k = 0; k < nk; k++)
                z[k] -= one[k] * values[(i - 1) * nk + k];
        if (i > 1)
            for (ptrdiff_t k = 0; k < nk; k++)
                z[k] -= two[k] * values[(i - 2) * nk + k];
    }
    for (ptrdiff_t i = 0; i < n * nk; i++)
        values[i] /= pivot[i];
    for (ptrdiff_t i = n - 2; i >= 0; i--) {
        double *restrict z = values + i * nk;
        const double *one = first + i * nk, *two = second + i * nk;
        for (ptrdiff_t k = 0; k < nk; k++)
            z[k] -= one[k] * values[(i + 1) * nk + k];
        if (i + 2 < n)
            for (ptrdiff_t k = 0; k < nk; k++)
                z[k] -= two[k] * values[(i + 2) * nk + k];
    }
}
