/* The first pass: the normalizers of a pair of rows, and the sums of unnormalized weights that come with them.

   With the log-weights a and b of a row and T the temperature, P = exp((a - max a) / T) and Q = exp((b - max b) / T)
   are unnormalized probabilities, and e = log(P / Q). */

#ifndef TORCHDIVERGENCE_NORMALIZERS_H
#define TORCHDIVERGENCE_NORMALIZERS_H

#include <stddef.h>

#include "operand.h"

typedef struct {
    double inv_temperature;
    double max_p, max_q;         /* the largest log-weights, before the temperature */
    double sum_p, sum_q;         /* sum P, sum Q */
    double sum_diff;             /* sum(P - Q), accurate to the last digits also where it is tiny */
    double log_sum_p, log_sum_q; /* log(sum P), log(sum Q) */
    double log_sum_ratio;        /* log(sum P / sum Q), as accurate */
} Normalizers;

/* Sums over the classes. All but the first are left at 0 if only that is wanted. */
typedef struct {
    double p_log_ratio;       /* P e */
    double q_log_ratio;       /* Q * -e */
    double minus_p_log_p;     /* P * -log(P) */
    double below_top;         /* P, of the classes below the largest one */
    double squared_hellinger; /* (sqrt(P) - sqrt(Q))**2 */
} WeightSums;

/* The same for each lane. */
typedef struct {
    double p[CHUNK], q[CHUNK], diff[CHUNK], p_log_ratio[CHUNK];
    double q_log_ratio[CHUNK], minus_p_log_p[CHUNK], below_top[CHUNK], squared_hellinger[CHUNK];
} LaneSums;

/* A pair of rows. */
typedef struct {
    Operand p, q;
    int64_t classes;
    int lanes;
    Normalizers normalizers;
} Row;

/* The difference of two log-weights, each minus its maximum: -inf - -inf is 0, for a class without mass in either. */
INLINE double difference_of(double shifted_p, double shifted_q) {
    return shifted_p == shifted_q ? 0 : shifted_p - shifted_q;
}

/* sum + weight * log, where the product counts as 0 far below 0. It is NaN for 0 * inf. */
INLINE double add_weighted_log(double sum, double weight, double log) {
    return fma(weight, at_least(MIN_LOG, log), sum);
}

/* Adds a chunk of log-weights to the sums of the lanes. */
INLINE void add_weights(
    const double *restrict log_weights_p, const double *restrict log_weights_q, double inv_temperature, double max_p,
    double max_q, int lanes, int wants_all, LaneSums *restrict sums
) {
    FOR_EACH_LANE {
        double shifted_p = log_weights_p[i] - max_p, shifted_q = log_weights_q[i] - max_q;
        double log_ratio = difference_of(shifted_p, shifted_q) * inv_temperature;
        double larger = exp_of(scaled_exp((shifted_p > shifted_q ? shifted_p : shifted_q) * inv_temperature));
        ScaledExp scaled_ratio = scaled_exp(-fabs(log_ratio)); /* smaller / larger */
        double ratio = exp_of(scaled_ratio), smaller = larger * ratio;
        double weight_p = log_ratio > 0 ? larger : smaller, weight_q = log_ratio > 0 ? smaller : larger;
        sums->p[i] += weight_p;
        sums->q[i] += weight_q;
        sums->diff[i] += copysign(larger * expm1_of(scaled_ratio), log_ratio);
        sums->p_log_ratio[i] = add_weighted_log(sums->p_log_ratio[i], weight_p, log_ratio);
        if (wants_all) {
            double root_diff = expm1_of(scaled_ratio) / (1 + sqrt(ratio)); /* sqrt(ratio) - 1 without cancellation */
            sums->q_log_ratio[i] = add_weighted_log(sums->q_log_ratio[i], weight_q, -log_ratio);
            sums->minus_p_log_p[i] = add_weighted_log(sums->minus_p_log_p[i], -weight_p, shifted_p * inv_temperature);
            sums->below_top[i] += shifted_p < 0 ? weight_p : 0;
            sums->squared_hellinger[i] = fma(larger * root_diff, root_diff, sums->squared_hellinger[i]);
        }
    }
}

INLINE void sum_weights(const Row *row, double inv_temperature, int wants_all, LaneSums *restrict sums) {
    const Normalizers *n = &row->normalizers;
    double log_weights_p[CHUNK], log_weights_q[CHUNK];
    int lanes = row->lanes;
    for (int64_t start = 0; start < row->classes; start += lanes) {
        load_chunk(row->p, start, row->classes, lanes, log_weights_p);
        load_chunk(row->q, start, row->classes, lanes, log_weights_q);
        add_weights(log_weights_p, log_weights_q, inv_temperature, n->max_p, n->max_q, lanes, wants_all, sums);
    }
}

/* Computes the normalizers of a row, and the sums. Returns whether p and q can be normalized. */
INLINE int normalize(Row *row, int wants_all, WeightSums *weight_sums) {
    Normalizers *n = &row->normalizers;
    int lanes = row->lanes;
    LaneSums sums;
    memset(&sums, 0, wants_all ? sizeof sums : offsetof(LaneSums, q_log_ratio));
    n->max_p = max_log_weight(row->p, row->classes, lanes);
    n->max_q = max_log_weight(row->q, row->classes, lanes);
    if (n->inv_temperature == 1) /* as a constant, it saves the multiplications */
        sum_weights(row, 1, wants_all, &sums);
    else
        sum_weights(row, n->inv_temperature, wants_all, &sums);
    n->sum_p = sum_lanes(lanes, sums.p);
    n->sum_q = sum_lanes(lanes, sums.q);
    n->sum_diff = sum_lanes(lanes, sums.diff);
    n->log_sum_p = log_any(n->sum_p);
    n->log_sum_q = log_any(n->sum_q);
    double relative_diff = n->sum_diff / n->sum_p;
    /* A relative difference near 1 has lost its digits: q has little mass beside its maximum. */
    n->log_sum_ratio = relative_diff < 0.5 ? -log1p_of(-relative_diff) : n->log_sum_p - n->log_sum_q;
    weight_sums->p_log_ratio = nan_to_inf(sum_lanes(lanes, sums.p_log_ratio));
    if (wants_all) {
        weight_sums->q_log_ratio = nan_to_inf(sum_lanes(lanes, sums.q_log_ratio));
        weight_sums->minus_p_log_p = sum_lanes(lanes, sums.minus_p_log_p);
        weight_sums->below_top = sum_lanes(lanes, sums.below_top);
        weight_sums->squared_hellinger = sum_lanes(lanes, sums.squared_hellinger);
    }
    return n->sum_p < INFINITY && n->sum_q < INFINITY;
}

INLINE int normalize_kl(Row *row, WeightSums *sums) { return normalize(row, 0, sums); }
INLINE int normalize_all(Row *row, WeightSums *sums) { return normalize(row, 1, sums); }
DEFINE_PASS(int, normalize_kl, (Row *row, WeightSums *sums), (row, sums))
DEFINE_PASS(int, normalize_all, (Row *row, WeightSums *sums), (row, sums))

#endif
