/* Clipped mean and scatter over many planes, pixel by pixel. */
#include "sort.h"

#define BLOCK 64

/* Mean, standard deviation and number of the values between the limits. */
INLINE void moments(const float *restrict value, ptrdiff_t n, const double *restrict low, const double *restrict high,
                    double *restrict mean, double *restrict scatter, double *restrict number)
{
    double sum[BLOCK];
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        sum[l] = scatter[l] = number[l] = 0.0;
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double x = value[k * BLOCK + l];
            const int kept = (x >= low[l]) & (x <= high[l]);
            sum[l] += kept ? x : 0.0;
            number[l] += kept ? 1.0 : 0.0;
        }
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        mean[l] = sum[l] / number[l];
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double x = value[k * BLOCK + l];
            const int kept = (x >= low[l]) & (x <= high[l]);
            const double d = x - mean[l], square = d * d;
            scatter[l] += kept ? square : 0.0;
        }
    for (ptrdiff_t l = 0; l < BLOCK; l++)
        scatter[l] = number[l] > 1.0 ? sqrt(scatter[l] / (number[l] - 1.0)) : NAN;
}

/* Value at the middle of every sorted column, of which only the first `number` are values. */
INLINE void medians(const int32_t *restrict key, const int32_t *restrict number, float *restrict out)
{
    for (ptrdiff_t l = 0; l < BLOCK; l++) {
        const ptrdiff_t m = number[l];
        const float a = m ? key_value(key[(m - 1) / 2 * BLOCK + l]) : NAN;
        const float b = m ? key_value(key[m / 2 * BLOCK + l]) : NAN;
        out[l] = (float)(((double)a + (double)b) / 2.0);
    }
}

/* `unit[m]`: what stands for a standard deviation of m values whose median absolute deviation is 1; `loss`:
   factor that makes up for clipped tails.  `value` and `key` have room for n times BLOCK. */
JW_API JW_WIDE void jw_clipped_mean(const float *restrict x, ptrdiff_t n, ptrdiff_t npixel, ptrdiff_t stride,
                                    double sigma, ptrdiff_t iterations, const double *restrict unit, double loss,
                                    float *restrict mean, float *restrict scatter, int32_t *restrict count,
                                    float *restrict value, int32_t *restrict key)
{
    for (ptrdiff_t first = 0; first < npixel; first += BLOCK) {
        const ptrdiff_t m = npixel - first < BLOCK ? npixel - first : BLOCK;
        int32_t number[BLOCK] = {0};
        float centre[BLOCK], deviation[BLOCK];
        double low[BLOCK], high[BLOCK], average[BLOCK], spread[BLOCK], kept[BLOCK];
        for (ptrdiff_t k = 0; k < n; k++) {
            float *restrict to = value + k * BLOCK;
            const float *restrict from = x + k * stride + first;
            for (ptrdiff_t l = 0; l < m; l++)
                to[l] = fabsf(from[l]) <= 3.402823466e38f ? from[l] : NAN;
            for (ptrdiff_t l = m; l < BLOCK; l++)
                to[l] = NAN;
            for (ptrdiff_t l = 0; l < BLOCK; l++) {
                key[k * BLOCK + l] = value_key(to[l]);
                number[l] += to[l] == to[l];
            }
        }
        sort_keys(key, n, BLOCK);
        medians(key, number, centre);
        for (ptrdiff_t k = 0; k < n; k++)
            for (ptrdiff_t l = 0; l < BLOCK; l++)
                key[k * BLOCK + l] = value_key(fabsf(value[k * BLOCK + l] - centre[l]));
        sort_keys(key, n, BLOCK);
        medians(key, number, deviation);
        for (ptrdiff_t l = 0; l < BLOCK; l++) {
            const double reach = sigma * (unit[number[l]] * (double)deviation[l]);
            low[l] = reach > 0.0 ? (double)centre[l] - reach : -INFINITY;
            high[l] = reach > 0.0 ? (double)centre[l] + reach : INFINITY;
        }
        for (ptrdiff_t i = 0; i < iterations; i++) {
            moments(value, n, low, high, average, spread, kept);
            for (ptrdiff_t l = 0; l < BLOCK; l++) {
                const double reach = sigma * (spread[l] * loss);
                low[l] = reach > 0.0 ? average[l] - reach : low[l];
                high[l] = reach > 0.0 ? average[l] + reach : high[l];
            }
        }
        moments(value, n, low, high, average, spread, kept);
        for (ptrdiff_t l = 0; l < m; l++) {
            mean[first + l] = (float)average[l];
            scatter[first + l] = (float)(spread[l] * loss);
            count[first + l] = (int32_t)kept[l];
        }
    }
}
