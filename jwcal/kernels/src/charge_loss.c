/* Groups from the first one above a signal on, in a pixel and its four neighbours. */
#include "jwcal.h"
#include <string.h>

#define LATE INT32_MAX

/* `first` holds (ny + 2) * (nx + 2) values. */
JW_API JW_WIDE void jw_flag_charge_loss(const float *restrict sci, uint8_t *restrict gdq, ptrdiff_t nint,
                                        ptrdiff_t ngroup, ptrdiff_t ny, ptrdiff_t nx, ptrdiff_t si, ptrdiff_t sg,
                                        ptrdiff_t qi, ptrdiff_t qg, float limit, uint8_t flag,
                                        int32_t *restrict first)
{
    const ptrdiff_t wide = nx + 2;
    for (ptrdiff_t i = 0; i < nint; i++) {
        int32_t earliest = LATE;
        for (ptrdiff_t p = 0; p < (ny + 2) * wide; p++)
            first[p] = LATE;
        for (ptrdiff_t g = ngroup - 1; g >= 0; g--)
            for (ptrdiff_t y = 0; y < ny; y++) {
                const float *restrict s = sci + i * si + g * sg + y * nx;
                const uint8_t *restrict q = gdq + i * qi + g * qg + y * nx;
                int32_t *restrict f = first + (y + 1) * wide + 1;
                int32_t any = 0;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    int32_t hit = (s[x] > limit) & (q[x] != JW_DNU);
                    f[x] = hit ? (int32_t)g : f[x];
                    any |= hit;
                }
                earliest = any ? (int32_t)g : earliest;
            }
        for (ptrdiff_t g = earliest; g < ngroup; g++)
            for (ptrdiff_t y = 0; y < ny; y++) {
                uint8_t *restrict q = gdq + i * qi + g * qg + y * nx;
                const int32_t *restrict f = first + (y + 1) * wide + 1;
                const int32_t *restrict up = f + wide, *restrict down = f - wide;
                for (ptrdiff_t x = 0; x < nx; x++) {
                    int32_t hit = (f[x] <= g) | (f[x - 1] <= g) | (f[x + 1] <= g) | (up[x] <= g) | (down[x] <= g);
                    q[x] |= hit ? flag : 0;
                }
            }
    }
}
