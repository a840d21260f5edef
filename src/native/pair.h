/* The normalized probabilities of a chunk of classes, in the forms from which the terms are computed accurately. */

#ifndef TORCHDIVERGENCE_PAIR_H
#define TORCHDIVERGENCE_PAIR_H

#include "normalizers.h"

typedef struct {
    double p[CHUNK], q[CHUNK], log_p[CHUNK];
    double log_ratio[CHUNK];    /* log(p / q) */
    double larger[CHUNK];       /* max(p, q) */
    double ratio[CHUNK];        /* min(p, q) / max(p, q) */
    double rel_abs_diff[CHUNK]; /* |p - q| / max(p, q), which is 1 - ratio without cancellation */
} NormalizedPair;

/* A quotient by the temperature, plus another number: rounded once, and without the multiplication at temperature 1. */
INLINE double divide_and_add(double x, double inv_temperature, double y) {
    return inv_temperature == 1 ? x + y : fma(x, inv_temperature, y);
}

INLINE void normalize_pair(
    const double *restrict log_weights_p, const double *restrict log_weights_q, Normalizers n, int lanes,
    NormalizedPair *restrict pair
) {
    FOR_EACH_LANE {
        double shifted_p = log_weights_p[i] - n.max_p, shifted_q = log_weights_q[i] - n.max_q;
        double difference = difference_of(shifted_p, shifted_q);
        double log_ratio = divide_and_add(difference, n.inv_temperature, -n.log_sum_ratio);
        double log_p = divide_and_add(shifted_p, n.inv_temperature, -n.log_sum_p);
        double log_q = divide_and_add(shifted_q, n.inv_temperature, -n.log_sum_q);
        double larger = exp_of(scaled_exp(log_p > log_q ? log_p : log_q));
        ScaledExp ratio = scaled_exp(-fabs(log_ratio));
        double smaller = larger * exp_of(ratio);
        pair->p[i] = log_ratio > 0 ? larger : smaller;
        pair->q[i] = log_ratio > 0 ? smaller : larger;
        pair->log_p[i] = log_p;
        pair->log_ratio[i] = log_ratio;
        pair->larger[i] = larger;
        pair->ratio[i] = exp_of(ratio);
        pair->rel_abs_diff[i] = -expm1_of(ratio);
    }
}

#endif
