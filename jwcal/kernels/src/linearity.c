/* Polynomial non-linearity correction, of groups and of the single reads behind averaged groups. */
#include "jwcal.h"

enum { BLOCK = 256, MAX_COEFFS = 16 };

#define INLINE static inline __attribute__((always_inline))

/* Coefficients of unusable pixels become the identity, and the pixels are marked. */
INLINE void usable(const float *restrict coeffs, ptrdiff_t stride, int ncoeff, const uint32_t *restrict dq,
                   uint32_t no_correction, ptrdiff_t n, float *restrict out, uint32_t *restrict pixeldq)
{
    uint32_t bad[BLOCK];
    for (ptrdiff_t k = 0; k < n; k++)
        bad[k] = (dq[k] & no_correction) | (coeffs[stride + k] == 0.0f ? no_correction : 0u);
    for (int j = 0; j < ncoeff; j++)
        for (ptrdiff_t k = 0; k < n; k++) {
            const float c = coeffs[j * stride + k];
            bad[k] |= c == c ? 0u : no_correction;
        }
    for (int j = 0; j < ncoeff; j++) {
        const float identity = j == 1 ? 1.0f : 0.0f;
        for (ptrdiff_t k = 0; k < n; k++)
            out[j * BLOCK + k] = bad[k] ? identity : coeffs[j * stride + k];
    }
    for (ptrdiff_t k = 0; k < n; k++)
        pixeldq[k] |= dq[k] | bad[k];
}

INLINE float polynomial(const float *restrict c, int ncoeff, ptrdiff_t k, float v)
{
    float r = c[(ncoeff - 1) * BLOCK + k] * v;
    for (int j = ncoeff - 2; j > 0; j--)
        r = (r + c[j * BLOCK + k]) * v;
    return r + c[k];
}

INLINE double polynomial64(const float *restrict c, int ncoeff, ptrdiff_t k, double v)
{
    double r = (double)c[(ncoeff - 1) * BLOCK + k] * v;
    for (int j = ncoeff - 2; j > 0; j--)
        r = (r + (double)c[j * BLOCK + k]) * v;
    return r + (double)c[k];
}

INLINE void correct_groups(float *restrict s, const uint8_t *restrict q, const float *restrict c, int ncoeff,
                           ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < n; k++) {
        const float v = s[k];
        const float r = polynomial(c, ncoeff, k, v);
        s[k] = q[k] & JW_SAT ? v : r;
    }
}

INLINE void correct_zero(float *restrict z, const float *restrict c, int ncoeff, ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < n; k++) {
        const float v = z[k];
        const float r = polynomial(c, ncoeff, k, v);
        z[k] = v == 0.0f ? 0.0f : r;
    }
}

/* A constant number of coefficients lets the compiler keep the polynomial in registers. */
#define BY_NUMBER(call)                                                     \
    switch (ncoeff) {                                                       \
    case 2: call(2); break;                                                 \
    case 3: call(3); break;                                                 \
    case 4: call(4); break;                                                 \
    case 5: call(5); break;                                                 \
    case 6: call(6); break;                                                 \
    case 7: call(7); break;                                                 \
    default: call(ncoeff); break;                                           \
    }

JW_API JW_WIDE int jw_linearity(float *restrict sci, const uint8_t *restrict gdq, ptrdiff_t nint,
                                ptrdiff_t ngroup, ptrdiff_t npix, ptrdiff_t si, ptrdiff_t sg, ptrdiff_t gi,
                                ptrdiff_t gg,
                                float *restrict zero, ptrdiff_t zi, uint32_t *restrict pixeldq,
                                const float *restrict coeffs, ptrdiff_t ncoeff_, const uint32_t *restrict dq,
                                uint32_t no_correction)
{
    float c[MAX_COEFFS * BLOCK];
    const int ncoeff = (int)ncoeff_;
    if (ncoeff < 2 || ncoeff > MAX_COEFFS)
        return -1;
    for (ptrdiff_t p = 0; p < npix; p += BLOCK) {
        const ptrdiff_t n = npix - p < BLOCK ? npix - p : BLOCK;
        usable(coeffs + p, npix, ncoeff, dq + p, no_correction, n, c, pixeldq + p);
        for (ptrdiff_t i = 0; i < nint; i++) {
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                float *restrict s = sci + i * si + g * sg + p;
                const uint8_t *restrict q = gdq + i * gi + g * gg + p;
#define CALL(m) correct_groups(s, q, c, m, n)
                BY_NUMBER(CALL)
#undef CALL
            }
            if (zero)
                correct_zero(zero + i * zi + p, c, ncoeff, n);
        }
    }
    return 0;
}

/* The reads behind each averaged group are predicted from a straight line between the first and the last
   good group, sent back through the inverse polynomial, shifted to the measured mean, corrected and
   averaged again. */
JW_API JW_WIDE int jw_linearity_reads(float *restrict sci, const uint8_t *restrict gdq, ptrdiff_t nint,
                                      ptrdiff_t ngroup, ptrdiff_t npix, ptrdiff_t si, ptrdiff_t sg,
                                      ptrdiff_t gi, ptrdiff_t gg, float *restrict zero, ptrdiff_t zi,
                                      uint32_t *restrict pixeldq, const float *restrict coeffs,
                                      ptrdiff_t ncoeff_, const float *restrict inverse, ptrdiff_t ninverse_,
                                      const uint32_t *restrict dq, uint32_t no_correction, ptrdiff_t nframe,
                                      ptrdiff_t spacing)
{
    float c[MAX_COEFFS * BLOCK], inv[MAX_COEFFS * BLOCK], first[BLOCK];
    double rate[BLOCK], offset[BLOCK], total[BLOCK];
    int32_t last[BLOCK];
    const int ncoeff = (int)ncoeff_, ninverse = (int)ninverse_;
    if (ncoeff < 2 || ncoeff > MAX_COEFFS || ninverse < 2 || ninverse > MAX_COEFFS || ngroup < 2)
        return -1;
    const double middle = (double)(nframe + 1) / 2.0, frames = (double)nframe;
    for (ptrdiff_t p = 0; p < npix; p += BLOCK) {
        const ptrdiff_t n = npix - p < BLOCK ? npix - p : BLOCK;
        usable(coeffs + p, npix, ncoeff, dq + p, no_correction, n, c, pixeldq + p);
        usable(inverse + p, npix, ninverse, dq + p, no_correction, n, inv, pixeldq + p);
        for (ptrdiff_t i = 0; i < nint; i++) {
            float *restrict s0 = sci + i * si + p;
            const uint8_t *restrict q0 = gdq + i * gi + p;
            for (ptrdiff_t k = 0; k < n; k++)
                last[k] = 0;
            for (ptrdiff_t g = 0; g < ngroup; g++)
                for (ptrdiff_t k = 0; k < n; k++)
                    last[k] += !(q0[g * gg + k] & JW_SAT);
            for (ptrdiff_t k = 0; k < n; k++) {
                const int32_t g = last[k] - 2 > 1 ? last[k] - 2 : 1;
                const float v0 = s0[k], v1 = s0[g * sg + k];
                first[k] = q0[k] & JW_SAT ? v0 : polynomial(c, ncoeff, k, v0);
                const float end = q0[g * gg + k] & JW_SAT ? v1 : polynomial(c, ncoeff, k, v1);
                const double reads = ((double)g * (double)spacing + middle) - middle;
                rate[k] = (double)(end - first[k]) / reads;
            }
            for (ptrdiff_t g = 0; g < ngroup; g++) {
                float *restrict s = s0 + g * sg;
                const uint8_t *restrict q = q0 + g * gg;
                for (ptrdiff_t k = 0; k < n; k++)
                    total[k] = 0.0;
                for (ptrdiff_t f = 0; f < nframe; f++) {
                    const double since = (double)(g * spacing + f + 1) - middle;
                    for (ptrdiff_t k = 0; k < n; k++)
                        total[k] += polynomial64(inv, ninverse, k, (double)first[k] + rate[k] * since);
                }
                for (ptrdiff_t k = 0; k < n; k++) {
                    offset[k] = (double)s[k] - total[k] / frames;
                    total[k] = 0.0;
                }
                for (ptrdiff_t f = 0; f < nframe; f++) {
                    const double since = (double)(g * spacing + f + 1) - middle;
                    for (ptrdiff_t k = 0; k < n; k++) {
                        const double v = polynomial64(inv, ninverse, k, (double)first[k] + rate[k] * since);
                        total[k] += polynomial64(c, ncoeff, k, v + offset[k]);
                    }
                }
                for (ptrdiff_t k = 0; k < n; k++)
                    s[k] = q[k] & JW_SAT ? s[k] : (float)(total[k] / frames);
            }
            if (zero)
                correct_zero(zero + i * zi + p, c, ncoeff, n);
        }
    }
    return 0;
}
