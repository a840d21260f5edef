/* The logarithm of the sum of powers of a normalized pair of rows, beyond the range of float64. */

#ifndef TORCHDIVERGENCE_LOG_POWERS_H
#define TORCHDIVERGENCE_LOG_POWERS_H

#include "pair.h"

/* A sum of exponentials in each lane: exp(max) sum. */
typedef struct {
    double max[CHUNK], sum[CHUNK];
} ScaledSums;

INLINE void add_exponential(ScaledSums *sums, int i, double log) {
    double max = sums->max[i], step = exp_of(scaled_exp(-fabs(difference_of(log, max))));
    sums->sum[i] = log > max ? fma(sums->sum[i], step, 1) : sums->sum[i] + step;
    sums->max[i] = log > max ? log : max;
}

INLINE double log_of_sums(ScaledSums *sums, int lanes) {
    double maxima[CHUNK];
    memcpy(maxima, sums->max, sizeof maxima);
    double max = max_lane(lanes, maxima);
    if (max - max != 0) return max; /* no power is positive, or one is infinite */
    FOR_EACH_LANE sums->sum[i] *= exp_of(scaled_exp(sums->max[i] - max));
    return max + log_any(sum_lanes(lanes, sums->sum));
}

/* log(sum of p**alpha q**(1 - alpha)) for alpha > 0. */
INLINE double log_sum_of_powers(const Row *row, double alpha) {
    double log_weights_p[CHUNK], log_weights_q[CHUNK];
    const Normalizers n = row->normalizers;
    int lanes = row->lanes;
    ScaledSums sums;
    FOR_EACH_LANE sums.max[i] = -INFINITY, sums.sum[i] = 0;
    for (int64_t start = 0; start < row->classes; start += lanes) {
        load_chunk(row->p, start, row->classes, lanes, log_weights_p);
        load_chunk(row->q, start, row->classes, lanes, log_weights_q);
        FOR_EACH_LANE {
            double shifted_p = log_weights_p[i] - n.max_p, shifted_q = log_weights_q[i] - n.max_q;
            double log_p = fma(shifted_p, n.inv_temperature, -n.log_sum_p);
            double log = fma(alpha - 1, log_ratio_of(shifted_p, shifted_q, n), log_p);
            add_exponential(&sums, i, log == log ? log : -INFINITY); /* NaN: p = 0 < q, and the power is 0 */
        }
    }
    return log_of_sums(&sums, lanes);
}
DEFINE_PASS(double, log_sum_of_powers, (const Row *row, double alpha), (row, alpha))

#endif
