/* Counts for the quality table. */
#include "jwcal.h"

/* Pixels that have each of the 32 flags, of those without any flag in `without`; returns how many those are. */
JW_API JW_WIDE int64_t jw_count_flags(const uint32_t *restrict dq, ptrdiff_t n, uint32_t without,
                                      int64_t *restrict counts)
{
    enum { BLOCK = 4096 };
    uint32_t kept[BLOCK];
    int64_t total = 0;
    for (ptrdiff_t at = 0; at < n; at += BLOCK) {
        const ptrdiff_t m = n - at < BLOCK ? n - at : BLOCK;
        uint32_t any = 0, number = 0;
        for (ptrdiff_t k = 0; k < m; k++) {
            const uint32_t v = dq[at + k], in = (v & without) == 0;
            kept[k] = in ? v : 0;
            any |= kept[k];
            number += in;
        }
        total += number;
        for (int bit = 0; bit < 32; bit++) {
            uint32_t sum = 0;
            if (!(any >> bit & 1))
                continue;
            for (ptrdiff_t k = 0; k < m; k++)
                sum += kept[k] >> bit & 1;
            counts[bit] += sum;
        }
    }
    return total;
}
