/* The normalizers of a pair of rows, and the Kullback-Leibler divergence that falls out of the same pass.

   With the log-weights a and b of a row and T the temperature, P = exp((a - max a) / T) and Q = exp((b - max b) / T)
   are unnormalized probabilities. */

#ifndef TORCHDIVERGENCE_NORMALIZERS_H
#define TORCHDIVERGENCE_NORMALIZERS_H

#include "operand.h"

typedef struct {
    double inv_temperature;
    double max_p, max_q;         /* the largest log-weights, before the temperature */
    double sum_p;                /* sum P */
    double log_sum_p, log_sum_q; /* log(sum P), log(sum Q) */
    double log_sum_ratio;        /* log(sum P / sum Q), accurate to the last digits also where it is tiny */
} Normalizers;

/* The difference of two log-weights, each minus its maximum: -inf - -inf is 0, for a class without mass in either. */
INLINE double difference_of(double shifted_p, double shifted_q) {
    return shifted_p == shifted_q ? 0 : shifted_p - shifted_q;
}

/* Computes the normalizers, given inv_temperature. Returns KL(p || q), and NaN where p or q cannot be normalized.

   With e = log(P / Q):  log(sum P / sum Q) = -log1p(-sum(P - Q) / sum P),  KL = sum(P e) / sum P - log(sum P / sum Q).
   This last difference cancels where KL is far smaller than log(sum P / sum Q), for instance where only the maxima
   differ. row_term_sums detects that. */
INLINE double normalize(Operand p, Operand q, int64_t classes, int lanes, Normalizers *n) {
    double log_weights_p[CHUNK], log_weights_q[CHUNK];
    double sums_p[CHUNK] = {0}, sums_q[CHUNK] = {0}, sums_diff[CHUNK] = {0}, sums_p_log_ratio[CHUNK] = {0};
    n->max_p = max_log_weight(p, classes, lanes);
    n->max_q = max_log_weight(q, classes, lanes);
    for (int64_t start = 0; start < classes; start += lanes) {
        load_chunk(p, start, classes, lanes, log_weights_p);
        load_chunk(q, start, classes, lanes, log_weights_q);
        FOR_EACH_LANE {
            double shifted_p = log_weights_p[i] - n->max_p, shifted_q = log_weights_q[i] - n->max_q;
            double log_ratio = difference_of(shifted_p, shifted_q) * n->inv_temperature;
            double larger = exp_of(scaled_exp((shifted_p > shifted_q ? shifted_p : shifted_q) * n->inv_temperature));
            ScaledExp ratio = scaled_exp(-fabs(log_ratio)); /* smaller / larger */
            double smaller = larger * exp_of(ratio);
            double weight_p = log_ratio > 0 ? larger : smaller, weight_q = log_ratio > 0 ? smaller : larger;
            sums_p[i] += weight_p;
            sums_q[i] += weight_q;
            sums_diff[i] += copysign(larger * expm1_of(ratio), log_ratio);
            sums_p_log_ratio[i] += nan_to_inf(weight_p * at_least(MIN_LOG, log_ratio));
        }
    }
    double sum_p = sum_lanes(lanes, sums_p), sum_q = sum_lanes(lanes, sums_q);
    double relative_diff = sum_lanes(lanes, sums_diff) / sum_p;
    n->sum_p = sum_p;
    n->log_sum_p = log_any(sum_p);
    n->log_sum_q = log_any(sum_q);
    /* A relative difference near 1 has lost its digits: q has little mass beside its maximum. */
    n->log_sum_ratio = relative_diff < 0.5 ? -log1p_of(-relative_diff) : n->log_sum_p - n->log_sum_q;
    double kl = sum_lanes(lanes, sums_p_log_ratio) / sum_p - n->log_sum_ratio;
    return sum_p < INFINITY && sum_q < INFINITY ? at_least(0, kl) : NAN;
}

#endif
