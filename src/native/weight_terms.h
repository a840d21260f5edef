/* The terms that follow from sums of unnormalized weights, after the first pass. */

#ifndef TORCHDIVERGENCE_WEIGHT_TERMS_H
#define TORCHDIVERGENCE_WEIGHT_TERMS_H

#include "terms.h"

/* A value below this fraction of what is subtracted has lost too many digits, and is summed class by class. */
#define MIN_REMAINDER 1e-5

/* A difference that cannot be negative; NaN if it has cancelled. */
INLINE double remainder_of(double x, double subtracted) {
    double remainder = x - subtracted;
    return remainder < MIN_REMAINDER * fabs(subtracted) ? NAN : remainder;
}

/* KL(p || q) = sum(P e) / sum P - log(sum P / sum Q). */
INLINE double kl_of_weights(const Normalizers *n, const WeightSums *sums) {
    return remainder_of(sums->p_log_ratio / n->sum_p, n->log_sum_ratio);
}

INLINE double reverse_kl_of_weights(const Normalizers *n, const WeightSums *sums) {
    return remainder_of(sums->q_log_ratio / n->sum_q, -n->log_sum_ratio);
}

/* (sum (sqrt(P) - sqrt(Q))**2 - (sqrt(sum P) - sqrt(sum Q))**2) / (2 sqrt(sum P sum Q)). */
INLINE double squared_hellinger_of_weights(const Normalizers *n, const WeightSums *sums) {
    double root_p = sqrt(n->sum_p), root_q = sqrt(n->sum_q), root_diff = n->sum_diff / (root_p + root_q);
    return remainder_of(sums->squared_hellinger, root_diff * root_diff) / (2 * root_p * root_q);
}

/* The entropy without the class with p > 1/2, if there is one: that is the largest one, and its weight is 1. */
INLINE double small_entropy_of_weights(const Normalizers *n, const WeightSums *sums) {
    double small_weight = n->sum_p < 2 ? sums->below_top : n->sum_p;
    return fma(small_weight, n->log_sum_p, sums->minus_p_log_p) / n->sum_p;
}

/* The value of a term after the first pass; NaN if it takes another one. */
INLINE double weight_term(Term term, const Normalizers *n, const WeightSums *sums) {
    switch (term) {
    case TERM_kl: return kl_of_weights(n, sums);
    case TERM_log_mass_p: return fma(n->max_p, n->inv_temperature, n->log_sum_p);
    case TERM_log_mass_q: return fma(n->max_q, n->inv_temperature, n->log_sum_q);
    case TERM_mass_of_p: return 1;
    case TERM_top_p: return 0; /* found later */
    case TERM_top_q: return 0;
    case TERM_reverse_kl: return reverse_kl_of_weights(n, sums);
    case TERM_jeffreys: return kl_of_weights(n, sums) + reverse_kl_of_weights(n, sums);
    case TERM_squared_hellinger: return squared_hellinger_of_weights(n, sums);
    case TERM_small_entropy: return small_entropy_of_weights(n, sums);
    case TERM_small_share: return n->sum_p < 2 ? sums->below_top / n->sum_p : 1;
    default: return NAN;
    }
}

#endif
