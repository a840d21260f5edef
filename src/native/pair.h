/* The normalized probabilities of a chunk of classes, in the forms from which the terms are computed accurately. */

#ifndef TORCHDIVERGENCE_PAIR_H
#define TORCHDIVERGENCE_PAIR_H

#include "normalizers.h"

typedef struct {
    double log_ratio[CHUNK];    /* log(p / q) */
    double larger[CHUNK];       /* max(p, q) */
    double log_larger[CHUNK];   /* its logarithm */
    double ratio[CHUNK];        /* r = min(p, q) / max(p, q) */
    double rel_abs_diff[CHUNK]; /* |p - q| / max(p, q), which is 1 - r without cancellation */
    double excess[CHUNK];       /* r - 1 - log(r) >= 0, without cancellation */
} NormalizedPair;

/* log(p / q) of a class. */
INLINE double log_ratio_of(double shifted_p, double shifted_q, Normalizers n) {
    return fma(difference_of(shifted_p, shifted_q), n.inv_temperature, -n.log_sum_ratio);
}

INLINE void normalize_pair(
    const double *restrict log_weights_p, const double *restrict log_weights_q, Normalizers n, int lanes,
    NormalizedPair *restrict pair
) {
    FOR_EACH_LANE {
        double shifted_p = log_weights_p[i] - n.max_p, shifted_q = log_weights_q[i] - n.max_q;
        double log_ratio = log_ratio_of(shifted_p, shifted_q, n), distance = fabs(log_ratio);
        double log_p = fma(shifted_p, n.inv_temperature, -n.log_sum_p);
        double log_q = fma(shifted_q, n.inv_temperature, -n.log_sum_q);
        double log_larger = log_p > log_q ? log_p : log_q;
        ScaledExp ratio = scaled_exp(-distance);
        pair->log_ratio[i] = log_ratio;
        pair->larger[i] = exp_of(scaled_exp(log_larger));
        pair->log_larger[i] = log_larger;
        pair->ratio[i] = exp_of(ratio);
        pair->rel_abs_diff[i] = -expm1_of(ratio);
        pair->excess[i] = excess_of(ratio, -distance);
    }
}

#endif
