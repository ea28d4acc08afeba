/* FITS big-endian buffers to native arrays and back, checksums, one box of many planes in a file. */
#define _POSIX_C_SOURCE 200809L
#include "jwcal.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

typedef uint16_t u16_any __attribute__((aligned(1), may_alias));
typedef uint32_t u32_any __attribute__((aligned(1), may_alias));
typedef uint64_t u64_any __attribute__((aligned(1), may_alias));
typedef float f32_any __attribute__((aligned(1), may_alias));

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BE16(v) (v)
#define BE32(v) (v)
#define BE64(v) (v)
#else
#define BE16(v) __builtin_bswap16(v)
#define BE32(v) __builtin_bswap32(v)
#define BE64(v) __builtin_bswap64(v)
#endif

/* `flip` is the sign bit of the native value: adding BZERO = 2^(n-1) is the same as flipping it.
   Swapping and flipping commute only when the flip is moved along, hence two entries. */
JW_API JW_WIDE void jw_decode2(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u16_any *s = src;
    u16_any *d = dst;
    const uint16_t f = (uint16_t)flip;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE16(d[i]) ^ f;
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE16(s[i]) ^ f;
}

JW_API JW_WIDE void jw_decode4(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u32_any *s = src;
    u32_any *d = dst;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE32(d[i]) ^ flip;
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE32(s[i]) ^ flip;
}

JW_API JW_WIDE void jw_decode8(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u64_any *s = src;
    u64_any *d = dst;
    const uint64_t f = (uint64_t)flip << 32;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE64(d[i]) ^ f;
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE64(s[i]) ^ f;
}

JW_API JW_WIDE void jw_encode2(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u16_any *s = src;
    u16_any *d = dst;
    const uint16_t f = (uint16_t)flip;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE16((uint16_t)(d[i] ^ f));
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE16((uint16_t)(s[i] ^ f));
}

JW_API JW_WIDE void jw_encode4(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u32_any *s = src;
    u32_any *d = dst;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE32(d[i] ^ flip);
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE32(s[i] ^ flip);
}

JW_API JW_WIDE void jw_encode8(const void *src, void *dst, ptrdiff_t n, uint32_t flip)
{
    const u64_any *s = src;
    u64_any *d = dst;
    const uint64_t f = (uint64_t)flip << 32;
    if (src == dst) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = BE64(d[i] ^ f);
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        d[i] = BE64(s[i] ^ f);
}

JW_API JW_WIDE void jw_decode_i2f4(const void *src, void *dst, ptrdiff_t n, uint32_t is_unsigned)
{
    const u16_any *restrict s = src;
    f32_any *restrict d = dst;
    if (is_unsigned) {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = (float)(int32_t)(uint16_t)(BE16(s[i]) ^ 0x8000u);
    } else {
        for (ptrdiff_t i = 0; i < n; i++)
            d[i] = (float)(int32_t)(int16_t)BE16(s[i]);
    }
}

/* Carries are folded every 2^24 words, long before a 64-bit sum can overflow. */
JW_API JW_WIDE uint32_t jw_datasum(const void *src, ptrdiff_t nbytes, uint32_t start)
{
    const u32_any *s = src;
    const ptrdiff_t n = nbytes / 4;
    uint64_t sum = start;
    for (ptrdiff_t i = 0; i < n;) {
        const ptrdiff_t stop = n - i > (1 << 24) ? i + (1 << 24) : n;
        uint64_t part = 0;
        for (; i < stop; i++)
            part += BE32(s[i]);
        sum += part;
        sum = (sum & 0xffffffffu) + (sum >> 32);
    }
    if (nbytes % 4) {
        uint32_t tail = 0;
        memcpy(&tail, (const char *)src + 4 * n, (size_t)(nbytes % 4));
        sum += BE32(tail);
    }
    while (sum >> 32)
        sum = (sum & 0xffffffffu) + (sum >> 32);
    return (uint32_t)sum;
}

static ptrdiff_t read_fully(int fd, char *out, size_t count, off_t offset)
{
    size_t done = 0;
    while (done < count) {
        const ssize_t got = pread(fd, out + done, count - done, offset + (off_t)done);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -(ptrdiff_t)errno;
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ptrdiff_t)done;
}

/* Bytes of a file mapped at a time, so that resident memory stays small. */
#define MAPPED (1 << 21)

/* A narrow box costs one system call a row, far more than its bytes; mapped pages do not.  Gives 0 when the file
   cannot be mapped or ends too early: the caller then reads row by row. */
static ptrdiff_t copy_narrow(int fd, int64_t start, ptrdiff_t row, ptrdiff_t nrows, ptrdiff_t nplanes,
                             int64_t plane_stride, size_t chunk, char *o)
{
    struct stat info;
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t span = (nrows - 1) * row + (int64_t)chunk;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        start + (nplanes - 1) * plane_stride + span > (int64_t)info.st_size)
        return 0;
    const ptrdiff_t most = row < MAPPED ? MAPPED / row : 1;
    for (ptrdiff_t p = 0; p < nplanes; p++)
        for (ptrdiff_t k0 = 0; k0 < nrows; k0 += most) {
            const ptrdiff_t here = nrows - k0 < most ? nrows - k0 : most;
            const int64_t first = start + p * plane_stride + k0 * row, shift = first % page;
            const size_t length = (size_t)((here - 1) * row + (int64_t)chunk + shift);
            char *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)(first - shift));
            if (map == MAP_FAILED)
                return 0;
            for (ptrdiff_t k = 0; k < here; k++, o += chunk)
                memcpy(o, map + shift + k * row, chunk);
            munmap(map, length);
        }
    return nplanes * nrows * (ptrdiff_t)chunk;
}

/* Pack rows y0..y1, columns x0..x1 of every plane. Gives the bytes read, fewer at end of file, or -errno. */
JW_API ptrdiff_t jw_read_box(int fd, int64_t offset, ptrdiff_t plane_nx, ptrdiff_t itemsize,
                             ptrdiff_t nplanes, int64_t plane_stride, ptrdiff_t y0, ptrdiff_t y1,
                             ptrdiff_t x0, ptrdiff_t x1, void *out)
{
    char *o = out;
    const ptrdiff_t row = plane_nx * itemsize;
    const int whole_rows = x0 == 0 && x1 == plane_nx;
    const size_t chunk = (size_t)((x1 - x0) * itemsize) * (size_t)(whole_rows ? y1 - y0 : 1);
    const ptrdiff_t nchunks = whole_rows ? 1 : y1 - y0;
    ptrdiff_t total = 0;
    if (chunk <= 256 && nchunks > 64) {
        const int64_t start = offset + (int64_t)y0 * row + (int64_t)x0 * itemsize;
        total = copy_narrow(fd, start, row, nchunks, nplanes, plane_stride, chunk, o);
        if (total > 0)
            return total;
    }
    for (ptrdiff_t p = 0; p < nplanes; p++) {
        const int64_t base = offset + p * plane_stride + (int64_t)y0 * row + (int64_t)x0 * itemsize;
        for (ptrdiff_t k = 0; k < nchunks; k++) {
            const ptrdiff_t got = read_fully(fd, o, chunk, (off_t)(base + k * row));
            if (got < 0)
                return got;
            total += got;
            if ((size_t)got < chunk)
                return total;
            o += chunk;
        }
    }
    return total;
}

static ptrdiff_t write_fully(int fd, const char *in, size_t count, off_t offset)
{
    size_t done = 0;
    while (done < count) {
        const ssize_t put = pwrite(fd, in + done, count - done, offset + (off_t)done);
        if (put < 0) {
            if (errno == EINTR)
                continue;
            return -(ptrdiff_t)errno;
        }
        done += (size_t)put;
    }
    return (ptrdiff_t)done;
}

/* Values per piece: what is read and decoded, or encoded and written, at once stays in the cache. */
#define PIECE 65536

static void decode_any(const void *src, void *dst, ptrdiff_t n, ptrdiff_t itemsize, uint32_t flip, int to_float)
{
    if (to_float)
        jw_decode_i2f4(src, dst, n, flip != 0);
    else if (itemsize == 2)
        jw_decode2(src, dst, n, flip);
    else if (itemsize == 4)
        jw_decode4(src, dst, n, flip);
    else if (itemsize == 8)
        jw_decode8(src, dst, n, flip);
}

/* Read and decode the same run of pixels of many planes into planes that lie apart. `to_float` makes float32 of
   16-bit integers; otherwise the stored and the native item have one size. Gives the bytes read, fewer at end of
   file, or -errno. */
JW_API ptrdiff_t jw_read_planes(int fd, int64_t offset, ptrdiff_t npix, ptrdiff_t itemsize, ptrdiff_t nplanes,
                                int64_t plane_stride, uint32_t flip, int to_float, void *out, ptrdiff_t out_stride)
{
    uint16_t raw[PIECE];
    const ptrdiff_t size = to_float ? 4 : itemsize;
    ptrdiff_t total = 0;
    for (ptrdiff_t p = 0; p < nplanes; p++)
        for (ptrdiff_t start = 0; start < npix; start += PIECE) {
            const ptrdiff_t n = npix - start < PIECE ? npix - start : PIECE;
            char *to = (char *)out + p * out_stride + start * size;
            char *from = to_float ? (char *)raw : to;
            const ptrdiff_t got = read_fully(fd, from, (size_t)(n * itemsize),
                                             (off_t)(offset + p * plane_stride + start * itemsize));
            if (got < 0)
                return got;
            total += got;
            if (got < n * itemsize)
                return total;
            decode_any(from, to, n, itemsize, flip, to_float);
        }
    return total;
}

/* Encode and write a box of many planes. `buffer` holds PIECE items, or one row if that is more. Gives 0 or
   -errno. */
JW_API ptrdiff_t jw_write_planes(int fd, int64_t offset, ptrdiff_t plane_nx, ptrdiff_t itemsize, ptrdiff_t nplanes,
                                 int64_t plane_stride, ptrdiff_t y0, ptrdiff_t y1, ptrdiff_t x0, ptrdiff_t x1,
                                 uint32_t flip, const void *in, ptrdiff_t in_plane, ptrdiff_t in_row, void *buffer)
{
    const ptrdiff_t nx = x1 - x0, whole = nx == plane_nx;
    const ptrdiff_t step = nx < PIECE ? PIECE / nx : 1;
    for (ptrdiff_t p = 0; p < nplanes; p++)
        for (ptrdiff_t y = y0; y < y1; y += step) {
            const ptrdiff_t rows = y1 - y < step ? y1 - y : step;
            const char *from = (const char *)in + p * in_plane + (y - y0) * in_row, *ready = buffer;
            /* Bytes that need no change and lie together. */
            const int plain = itemsize == 1 && !flip && in_row == nx;
            for (ptrdiff_t k = 0; k < rows && !plain; k++, from += in_row) {
                char *to = (char *)buffer + k * nx * itemsize;
                if (itemsize == 1)
                    for (ptrdiff_t x = 0; x < nx; x++)
                        to[x] = (char)((uint8_t)from[x] ^ flip);
                else if (itemsize == 2)
                    jw_encode2(from, to, nx, flip);
                else if (itemsize == 4)
                    jw_encode4(from, to, nx, flip);
                else
                    jw_encode8(from, to, nx, flip);
            }
            if (plain)
                ready = from;
            const ptrdiff_t pieces = whole ? 1 : rows, count = (whole ? rows : 1) * nx * itemsize;
            for (ptrdiff_t k = 0; k < pieces; k++) {
                const int64_t at = offset + p * plane_stride + ((y + k) * plane_nx + x0) * itemsize;
                const ptrdiff_t put = write_fully(fd, ready + k * count, (size_t)count, (off_t)at);
                if (put < 0)
                    return put;
            }
        }
    return 0;
}
