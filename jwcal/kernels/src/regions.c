/* Regions of flagged pixels as runs of pixels, their extent and first moments, and the pixels of ellipses. */
#include "sort.h"

struct run {
    int32_t row, first, last;
};

struct region {
    int32_t top, left, bottom, right, first, runs;
    int64_t area, rows, columns;
};

INLINE int is_set(const uint8_t *flags, const uint8_t *except, ptrdiff_t x, uint8_t mask)
{
    return (flags[x] & mask) && !(except && (except[x] & mask));
}

INLINE int any_set(const uint8_t *flags, const uint8_t *except, uint8_t mask)
{
    uint8_t found = 0;
    if (except)
        for (int x = 0; x < 64; x++)
            found |= (uint8_t)(flags[x] & ~except[x]);
    else
        for (int x = 0; x < 64; x++)
            found |= flags[x];
    return found & mask;
}

INLINE int any_set_in_word(const uint8_t *flags, const uint8_t *except, uint8_t mask)
{
    uint64_t word, without = 0;
    memcpy(&word, flags, 8);
    if (except)
        memcpy(&without, except, 8);
    return (word & ~without & (0x0101010101010101u * mask)) != 0;
}

/* Runs of flagged pixels, row by row: their number; no more than `room` of them are put down. */
JW_API JW_WIDE ptrdiff_t jw_find_runs(const uint8_t *flags, const uint8_t *except, uint8_t mask, ptrdiff_t ny,
                                      ptrdiff_t nx, struct run *runs, ptrdiff_t room)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t y = 0; y < ny; y++) {
        const uint8_t *row = flags + y * nx, *without = except ? except + y * nx : NULL;
        ptrdiff_t x = 0;
        while (x < nx) {
            if (x % 64 == 0 && x + 64 <= nx && !any_set(row + x, without ? without + x : NULL, mask)) {
                x += 64;
                continue;
            }
            if (x % 8 == 0 && x + 8 <= nx && !any_set_in_word(row + x, without ? without + x : NULL, mask)) {
                x += 8;
                continue;
            }
            if (!is_set(row, without, x, mask)) {
                x++;
                continue;
            }
            ptrdiff_t first = x;
            while (x < nx && is_set(row, without, x, mask))
                x++;
            if (n < room)
                runs[n] = (struct run){(int32_t)y, (int32_t)first, (int32_t)x};
            n++;
        }
    }
    return n;
}

/* The parts of runs whose pixels are flagged still; their number, as above. */
JW_API ptrdiff_t jw_keep_runs(const struct run *from, ptrdiff_t count, const uint8_t *flags,
                              const uint8_t *except, uint8_t mask, ptrdiff_t nx, struct run *runs,
                              ptrdiff_t room)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t k = 0; k < count; k++) {
        const uint8_t *row = flags + from[k].row * nx, *without = except ? except + from[k].row * nx : NULL;
        ptrdiff_t x = from[k].first;
        while (x < from[k].last) {
            if (!is_set(row, without, x, mask)) {
                x++;
                continue;
            }
            ptrdiff_t first = x;
            while (x < from[k].last && is_set(row, without, x, mask))
                x++;
            if (n < room)
                runs[n] = (struct run){from[k].row, (int32_t)first, (int32_t)x};
            n++;
        }
    }
    return n;
}

/* Take a flag off the pixels of runs, but where `kept` is set. */
JW_API void jw_clear_runs(const struct run *runs, ptrdiff_t count, uint8_t *flags, uint8_t mask,
                          const uint8_t *kept, ptrdiff_t nx)
{
    for (ptrdiff_t k = 0; k < count; k++)
        for (ptrdiff_t p = runs[k].row * nx + runs[k].first; p < runs[k].row * nx + runs[k].last; p++)
            if (!kept[p])
                flags[p] &= (uint8_t)~mask;
}

INLINE int32_t root(int32_t *label, int32_t k)
{
    while (label[k] != k)
        k = label[k] = label[label[k]];
    return k;
}

/* Number the regions of runs, in the order of their first pixels; diagonal neighbours belong together. */
static int32_t connect(const struct run *runs, ptrdiff_t n, int32_t *label)
{
    ptrdiff_t above = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        label[k] = (int32_t)k;
        while (above < k && (runs[above].row < runs[k].row - 1 ||
                             (runs[above].row == runs[k].row - 1 && runs[above].last < runs[k].first)))
            above++;
        for (ptrdiff_t j = above; j < k && runs[j].row == runs[k].row - 1 && runs[j].first <= runs[k].last; j++) {
            int32_t a = root(label, (int32_t)j), b = root(label, (int32_t)k);
            if (a < b)
                label[b] = a;
            else
                label[a] = b;
        }
    }
    /* A root comes before all of its region, so numbers can take the place of links in one go. */
    int32_t count = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        label[k] = label[k] == k ? count++ : label[label[k]];
    return count;
}

/* Pixels a region encloses, from its runs relative to its corner; -1 without memory.  What is not a hole hangs
   together with a frame around it. */
static int64_t holes(const struct run *runs, const struct region *it)
{
    const int32_t height = it->bottom - it->top, width = it->right - it->left;
    const ptrdiff_t most = it->runs + height + 2;
    struct run *gap = malloc((size_t)most * (sizeof *gap + sizeof(int32_t)));
    if (!gap)
        return -1;
    int32_t *label = (int32_t *)(gap + most);
    ptrdiff_t n = 0, k = 0;
    gap[n++] = (struct run){-1, -1, width + 1};
    for (int32_t y = 0; y < height; y++) {
        int32_t from = -1;
        for (; k < it->runs && runs[k].row == y; k++) {
            if (runs[k].first > from)
                gap[n++] = (struct run){y, from, runs[k].first};
            from = runs[k].last;
        }
        gap[n++] = (struct run){y, from, width + 1};
    }
    gap[n++] = (struct run){height, -1, width + 1};
    connect(gap, n, label);
    int64_t enclosed = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        if (label[j])
            enclosed += gap[j].last - gap[j].first;
    free(gap);
    return enclosed;
}

/* Regions with `least` pixels or more, holes included, in the order of their first pixels: their number, -1
   without memory.  `places` gets the runs region by region, relative to the corner of the region. */
JW_API ptrdiff_t jw_find_regions(const struct run *runs, ptrdiff_t n, double least, struct run *places,
                                 struct region *regions)
{
    int32_t *label = malloc((size_t)n * sizeof *label);
    if (!label)
        return -1;
    const int32_t count = connect(runs, n, label);
    for (int32_t r = 0; r < count; r++)
        regions[r] = (struct region){INT32_MAX, INT32_MAX, 0, 0, 0, 0, 0, 0, 0};
    for (ptrdiff_t k = 0; k < n; k++) {
        struct region *it = regions + label[k];
        const int32_t first = runs[k].first, last = runs[k].last, row = runs[k].row;
        it->top = row < it->top ? row : it->top;
        it->left = first < it->left ? first : it->left;
        it->bottom = row + 1;
        it->right = last > it->right ? last : it->right;
        it->area += last - first;
        it->first++;
    }
    int32_t start = 0;
    for (int32_t r = 0; r < count; r++) {
        const int32_t here = regions[r].first;
        regions[r].first = start;
        start += here;
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        struct region *it = regions + label[k];
        struct run *to = places + it->first + it->runs++;
        *to = (struct run){runs[k].row - it->top, runs[k].first - it->left, runs[k].last - it->left};
        const int64_t length = to->last - to->first;
        it->rows += length * to->row;
        it->columns += length * (to->first + to->last - 1) / 2;
    }
    free(label);
    ptrdiff_t large = 0;
    for (int32_t r = 0; r < count; r++) {
        const struct region it = regions[r];
        double area = (double)it.area;
        if ((double)(it.bottom - it.top) * (double)(it.right - it.left) < least)
            continue;
        if (area < least) {
            const int64_t inside = holes(places + it.first, &it);
            if (inside < 0)
                return -1;
            area += (double)inside;
        }
        if (area >= least)
            regions[large++] = it;
    }
    return large;
}

INLINE ptrdiff_t bounded(double value, ptrdiff_t n)
{
    return value < 0.0 ? 0 : value > (double)(n - 1) ? n - 1 : (ptrdiff_t)value;
}

/* Set the pixels of a box that lie in an ellipse; the box is empty before. */
JW_API JW_WIDE void jw_ellipse(uint8_t *inside, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t cy, ptrdiff_t cx,
                               double along, double across, double cosine, double sine)
{
    const double high = fabs(along * cosine) + across * sine, wide = along * sine + fabs(across * cosine);
    const double top = ceil((double)cy - high), bottom = floor((double)cy + high);
    const double left = ceil((double)cx - wide), right = floor((double)cx + wide);
    if (bottom < 0.0 || right < 0.0 || top > (double)(ny - 1) || left > (double)(nx - 1) || top > bottom ||
        left > right)
        return;
    for (ptrdiff_t y = bounded(top, ny); y <= bounded(bottom, ny); y++) {
        const double dy = (double)(y - cy);
        for (ptrdiff_t x = bounded(left, nx); x <= bounded(right, nx); x++) {
            const double dx = (double)(x - cx);
            const double u = (dy * cosine + dx * sine) / along, v = (dy * sine - dx * cosine) / across;
            inside[y * nx + x] = u * u + v * v < 1.0;
        }
    }
}
