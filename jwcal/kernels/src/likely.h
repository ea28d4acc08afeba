/* Likelihood of a ramp, for LIKELY_LANES pixels at a time (Brandt 2024, PASP 136, 045004 and 045005).

   A ramp of n + 1 resultants gives n differences d per second.  Their covariance for a given rate is
   tridiagonal, so that the best rate, chi-square, and what both become when one difference or two
   neighbouring ones are left out come from a few sums at a cost linear in n.

   All arrays are [row][lane]; `use` is 1 or 0, and a difference that is not used must have finite d.
     likely_space       bytes of workspace for n differences; likely_attach points a block at it
     likely_covariance  alpha, beta from flux (rate / gain) and read2 (read noise of one read, squared);
                        `quick` allows a scale that is a power of two, equal up to rounding
     likely_solve       dC and the sums B and C from d, use, alpha, beta, and what `parts` asks for: A, which
                        chi-square needs, and dB, which omissions need
     likely_fit         best rate B / C, and its chi-square
     likely_uncertainty standard error of the best rate
     likely_variances   parts of its variance by photon and read noise, for any flux and read2
     likely_invert      diagonal and off-diagonal of the inverse covariance; needed by the next two
     likely_omit_one    best rate and chi-square without difference i
     likely_omit_two    best rate and chi-square without differences i and i + 1
   The order of the operations is part of the definition: without `quick` the values are those of the
   public likelihood fit, bit for bit. */
#ifndef JW_LIKELY_H
#define JW_LIKELY_H
#include "sort.h"

#define LIKELY_LANES 32
#define LIKELY_ROWS 11
#define LIKELY_A 1
#define LIKELY_DB 2
#define LIKELY_EXACT 4 /* A to the bit, by divisions */
#if defined(__GNUC__) && !defined(__clang__)
#define LANES_APART _Pragma("GCC ivdep")
#else
#define LANES_APART
#endif
#define FOR_LANES LANES_APART for (ptrdiff_t l = 0; l < LIKELY_LANES; l++)

typedef double likely_row[LIKELY_LANES];

/* Times of the resultants, as factors of the covariance of the differences: [n] each, the
   off-diagonal ones [n - 1]. */
struct likely_times {
    ptrdiff_t n;
    const double *step;            /* between the mean times of neighbouring resultants, s */
    const double *photon, *read;   /* diagonal, per flux and per squared read noise */
    const double *photon2, *read2; /* off-diagonal */
    int32_t even; /* the factors are so alike that a power of two keeps all products within range */
};

struct likely_block {
    likely_row *d, *use;                      /* [n]: given by the caller */
    likely_row *alpha, *beta;                 /* [n]: covariance over `scale`; beta 0 where one is not used */
    likely_row *theta, *phi, *dB, *dC;        /* [n + 1] */
    likely_row *thetaD, *diagonal, *neighbor; /* [n + 1]; of the inverse covariance, over `scale` */
    double A[LIKELY_LANES], B[LIKELY_LANES], C[LIKELY_LANES];
    double scale[LIKELY_LANES]; /* n-th root of the determinant: keeps products within range */
};

INLINE size_t likely_space(ptrdiff_t n)
{
    return LIKELY_ROWS * (size_t)(n + 2) * sizeof(likely_row);
}

INLINE void likely_attach(struct likely_block *k, void *space, ptrdiff_t n)
{
    likely_row **rows[LIKELY_ROWS] = {&k->d,  &k->use, &k->alpha, &k->beta,   &k->theta,   &k->phi,
                                      &k->dB, &k->dC,  &k->thetaD, &k->diagonal, &k->neighbor};
    for (int j = 0; j < LIKELY_ROWS; j++)
        *rows[j] = (likely_row *)space + j * (n + 2);
}

/* The leading minors of the covariance, kept near 1 by a running scale: the powers follow the public fit. */
INLINE void likely_find_scale(const struct likely_times *t, struct likely_block *k)
{
    likely_row older, old, now, divisor;
    FOR_LANES {
        older[l] = 1.0;
        old[l] = k->alpha[0][l];
        divisor[l] = 1.0;
    }
    for (ptrdiff_t i = 2; i <= t->n; i++) {
        const double *restrict alpha = k->alpha[i - 1], *restrict beta = k->beta[i - 2];
        if (i <= 10)
            FOR_LANES now[l] = alpha[l] * old[l] - beta[l] * beta[l] * older[l];
        else
            FOR_LANES now[l] = alpha[l] / divisor[l] * old[l] -
                               beta[l] * beta[l] / (divisor[l] * divisor[l]) * older[l];
        if (i % 10 == 0 || i == t->n) {
            likely_row f;
            FOR_LANES f[l] = pow(now[l], 1.0 / (double)i);
            FOR_LANES {
                divisor[l] *= f[l];
                old[l] /= now[l] / f[l];
                now[l] = 1.0;
            }
        }
        memcpy(older, old, sizeof old);
        memcpy(old, now, sizeof now);
    }
    memcpy(k->scale, divisor, sizeof divisor);
}

/* The power of two below the first variance, for lanes of ordinary noise; 0 for the others, which the public
   scale may leave without a number.  Returns whether there are such. */
INLINE int likely_guess_scale(const struct likely_times *t, struct likely_block *k,
                              const double *restrict flux, const double *restrict read2)
{
    double odd = 0.0;
    likely_row lane;
    FOR_LANES {
        const double x = k->alpha[0][l];
        uint64_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits &= 0x7ff0000000000000u;
        memcpy(&k->scale[l], &bits, sizeof bits);
        lane[l] = (flux[l] >= 0.0) & (read2[l] > 0.0) & (x > 1e-100) & (x < 1e100) ? 0.0 : 1.0;
        k->scale[l] = lane[l] == 0.0 ? k->scale[l] : 0.0;
    }
    FOR_LANES odd += lane[l];
    return odd > 0.0 || !t->even;
}

INLINE void likely_covariance(const struct likely_times *t, struct likely_block *k,
                              const double *restrict flux, const double *restrict read2, const int quick)
{
    const ptrdiff_t n = t->n;
    int powers = 0;
    likely_row inverse;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double photon = t->photon[i], read = t->read[i];
        double *alpha = k->alpha[i];
        FOR_LANES alpha[l] = flux[l] * photon + read2[l] * read;
    }
    for (ptrdiff_t i = 0; i < n - 1; i++) {
        const double photon = t->photon2[i], read = t->read2[i];
        double *beta = k->beta[i];
        FOR_LANES beta[l] = flux[l] * photon + read2[l] * read;
    }
    if (!quick) {
        likely_find_scale(t, k);
    } else if (likely_guess_scale(t, k, flux, read2)) {
        likely_row guess;
        memcpy(guess, k->scale, sizeof guess);
        likely_find_scale(t, k);
        if (t->even)
            FOR_LANES k->scale[l] = guess[l] > 0.0 ? guess[l] : k->scale[l];
    } else {
        powers = 1;
    }
    FOR_LANES inverse[l] = 1.0 / k->scale[l];
    for (ptrdiff_t i = 0; i < n; i++) {
        double *alpha = k->alpha[i];
        if (powers)
            FOR_LANES alpha[l] *= inverse[l];
        else
            FOR_LANES alpha[l] = alpha[l] / k->scale[l];
    }
    for (ptrdiff_t i = 0; i < n - 1; i++) {
        const double *use = k->use[i], *next = k->use[i + 1];
        double *beta = k->beta[i];
        if (powers)
            FOR_LANES beta[l] = beta[l] * inverse[l] * next[l] * use[l];
        else
            FOR_LANES beta[l] = beta[l] / k->scale[l] * next[l] * use[l];
    }
}

/* Signs of the differences alternate, beginning with minus. */
INLINE double likely_sign(ptrdiff_t i)
{
    return i % 2 ? 1.0 : -1.0;
}

INLINE void likely_solve(const struct likely_times *t, struct likely_block *k, const int parts)
{
    const ptrdiff_t n = t->n;
    likely_row last, lastD, inverse, a1, a2;
    /* Forward: theta, Theta (in dC) and ThetaD, which lags one row behind. */
    FOR_LANES {
        k->theta[0][l] = 1.0;
        k->theta[1][l] = k->alpha[0][l];
        k->dC[0][l] = -1.0;
        k->thetaD[0][l] = 0.0;
        k->thetaD[1][l] = -(k->d[0][l] * k->use[0][l]);
    }
    for (ptrdiff_t i = 1; i < n; i++) {
        const double sign = likely_sign(i);
        const double *alpha = k->alpha[i], *beta = k->beta[i - 1], *d = k->d[i], *use = k->use[i];
        const double *t0 = k->theta[i - 1], *t1 = k->theta[i], *c0 = k->dC[i - 1], *d1 = k->thetaD[i];
        double *t2 = k->theta[i + 1], *c1 = k->dC[i], *d2 = k->thetaD[i + 1];
        FOR_LANES {
            t2[l] = alpha[l] * t1[l] - beta[l] * beta[l] * t0[l];
            c1[l] = c0[l] * beta[l] + sign * t1[l];
            if (parts)
                d2[l] = beta[l] * d1[l] + sign * (d[l] * use[l]) * t1[l];
        }
    }
    /* Backward: phi, and with Phi and PhiD of the row at once dC and dB. */
    FOR_LANES {
        k->phi[n][l] = 1.0;
        k->phi[n - 1][l] = k->alpha[n - 1][l];
        last[l] = lastD[l] = 0.0;
        inverse[l] = 1.0 / k->theta[n][l];
    }
    for (ptrdiff_t i = n - 1; i >= 0; i--) {
        const double sign = likely_sign(i);
        const double *use = k->use[i], *theta = k->theta[i], *p1 = k->phi[i + 1], *thetaD = k->thetaD[i + 1];
        double *dB = k->dB[i], *dC = k->dC[i];
        if (i < n - 1) {
            const double *alpha = k->alpha[i], *beta = k->beta[i], *p2 = k->phi[i + 2];
            const double *d = k->d[i + 1], *used = k->use[i + 1];
            double *p0 = k->phi[i];
            FOR_LANES {
                p0[l] = alpha[l] * p1[l] - beta[l] * beta[l] * p2[l];
                last[l] = last[l] * beta[l] - sign * beta[l] * p2[l];
                if (parts & LIKELY_DB)
                    lastD[l] = (lastD[l] - sign * (d[l] * used[l]) * p2[l]) * beta[l];
            }
        }
        FOR_LANES {
            dC[l] = sign * inverse[l] * (p1[l] * dC[l] + theta[l] * last[l]) * use[l];
            if (parts & LIKELY_DB)
                dB[l] = sign * inverse[l] * (p1[l] * thetaD[l] + theta[l] * lastD[l]);
        }
    }
    FOR_LANES {
        double dm = k->d[0][l] * k->use[0][l];
        double x = dm * dm * k->theta[0][l] * k->phi[1][l];
        a1[l] = 0.0;
        a2[l] = parts & LIKELY_EXACT ? x / k->theta[n][l] : x * inverse[l];
        k->B[l] = dm * k->dC[0][l];
        k->C[l] = k->dC[0][l];
    }
    for (ptrdiff_t i = 1; i < n; i++) {
        const double sign = likely_sign(i);
        const double *d = k->d[i], *use = k->use[i], *dC = k->dC[i], *beta = k->beta[i - 1];
        const double *theta = k->theta[i], *phi = k->phi[i + 1], *thetaD = k->thetaD[i], *end = k->theta[n];
        FOR_LANES {
            double dm = d[l] * use[l];
            if (parts & LIKELY_A) {
                double x1 = parts & LIKELY_EXACT ? dm * sign / end[l] : dm * sign * inverse[l];
                double x2 = dm * dm * theta[l] * phi[l];
                a1[l] += x1 * beta[l] * phi[l] * thetaD[l];
                a2[l] += parts & LIKELY_EXACT ? x2 / end[l] : x2 * inverse[l];
            }
            k->B[l] += dm * dC[l];
            k->C[l] += dC[l];
        }
    }
    if (parts & LIKELY_A)
        FOR_LANES k->A[l] = 2.0 * a1[l] + a2[l];
}

INLINE void likely_fit(const struct likely_block *k, double *restrict rate, double *restrict chisq)
{
    FOR_LANES {
        rate[l] = k->B[l] * (1.0 / k->C[l]);
        chisq[l] = (k->A[l] - k->B[l] * k->B[l] / k->C[l]) / k->scale[l];
    }
}

INLINE void likely_uncertainty(const struct likely_block *k, double *restrict error)
{
    FOR_LANES error[l] = sqrt(k->scale[l] / k->C[l]);
}

INLINE void likely_variances(const struct likely_times *t, const struct likely_block *k,
                             const double *restrict flux, const double *restrict read2,
                             double *restrict poisson, double *restrict read)
{
    const ptrdiff_t n = t->n;
    likely_row before, p2, r2;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double photon = t->photon[i], rn = t->read[i];
        const double photon2 = i ? t->photon2[i - 1] : 0.0, rn2 = i ? t->read2[i - 1] : 0.0;
        const double *restrict dC = k->dC[i];
        FOR_LANES {
            double w = dC[l] / k->C[l], square = w * w;
            double pair = i ? w * before[l] : 0.0;
            double xp = square * (flux[l] * photon), xr = square * (read2[l] * rn);
            double yp = pair * (flux[l] * photon2), yr = pair * (read2[l] * rn2);
            poisson[l] = i ? poisson[l] + xp : xp;
            read[l] = i ? read[l] + xr : xr;
            p2[l] = i > 1 ? p2[l] + yp : yp;
            r2[l] = i > 1 ? r2[l] + yr : yr;
            before[l] = w;
        }
    }
    FOR_LANES {
        poisson[l] += 2.0 * p2[l];
        read[l] += 2.0 * r2[l];
    }
}

INLINE void likely_invert(const struct likely_times *t, struct likely_block *k)
{
    const ptrdiff_t n = t->n;
    const double *restrict end = k->theta[n];
    for (ptrdiff_t i = 0; i < n; i++) {
        const double *restrict theta = k->theta[i], *restrict phi = k->phi[i + 1], *restrict use = k->use[i];
        double *restrict diagonal = k->diagonal[i];
        FOR_LANES diagonal[l] = theta[l] * phi[l] / end[l] * use[l];
    }
    for (ptrdiff_t i = 0; i < n - 1; i++) {
        const double *theta = k->theta[i], *phi = k->phi[i + 2], *beta = k->beta[i];
        double *restrict neighbor = k->neighbor[i];
        FOR_LANES neighbor[l] = -beta[l] * theta[l] * phi[l] / end[l];
    }
}

/* NaN where the rest does not determine a rate; what a difference that is not used gives means nothing. */
INLINE void likely_omit_one(const struct likely_block *k, ptrdiff_t i, double *restrict rate,
                            double *restrict chisq)
{
    const double *restrict dB = k->dB[i], *restrict dC = k->dC[i], *restrict ci = k->diagonal[i];
    FOR_LANES {
        double A = k->A[l], B = k->B[l], C = k->C[l];
        double a = (ci[l] * B - dB[l] * dC[l]) / (C * ci[l] - dC[l] * dC[l]);
        double b = (dB[l] - a * dC[l]) / ci[l];
        double x = A + a * a * C - 2.0 * a * B + b * b * ci[l] - 2.0 * b * dB[l] + 2.0 * a * b * dC[l];
        rate[l] = a;
        chisq[l] = x / k->scale[l];
    }
}

INLINE void likely_omit_two(const struct likely_block *k, ptrdiff_t i, double *restrict rate,
                            double *restrict chisq)
{
    const double *restrict dB0 = k->dB[i], *restrict dC0 = k->dC[i], *restrict ci0 = k->diagonal[i];
    const double *restrict dB1 = k->dB[i + 1], *restrict dC1 = k->dC[i + 1];
    const double *restrict ci1 = k->diagonal[i + 1];
    const double *restrict co = k->neighbor[i];
    FOR_LANES {
        double A = k->A[l], B = k->B[l], C = k->C[l];
        double cpj = dC0[l] * dC0[l] - C * ci0[l], cjck = dC0[l] * dC1[l] - C * co[l];
        double bcpj = B * dC0[l] - dB0[l] * C;
        double c = bcpj / cpj - (B * dC1[l] - dB1[l] * C) / cjck;
        c /= cjck / cpj - (dC1[l] * dC1[l] - C * ci1[l]) / cjck;
        double b = (bcpj - c * cjck) / cpj;
        double a = (B - b * dC0[l] - c * dC1[l]) / C;
        double x = A + a * a * C + b * b * ci0[l] + c * c * ci1[l];
        x -= 2.0 * a * B + 2.0 * b * dB0[l] + 2.0 * c * dB1[l];
        x += 2.0 * a * b * dC0[l] + 2.0 * a * c * dC1[l] + 2.0 * b * c * co[l];
        rate[l] = a;
        chisq[l] = x / k->scale[l];
    }
}

#endif
