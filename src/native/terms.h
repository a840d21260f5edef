/* The terms: the functions of p and q whose sums over the classes the divergences are made of.

   Each has the name of a Term in src/torchdivergence/_divergences, which defines it. */

#ifndef TORCHDIVERGENCE_TERMS_H
#define TORCHDIVERGENCE_TERMS_H

#include "summands.h"

enum { MAX_TERMS = 24 }; /* in one request */

/* The terms of the first two groups are known after the first pass, those of the second if it adds all its sums. The
   terms of the third need another pass. overlap has a pass of its own, and log_powers may need one. */
#define NORMALIZER_TERMS(X) X(kl) X(log_mass_p) X(log_mass_q) X(mass_of_p) X(top_p) X(top_q)
#define WEIGHT_SUM_TERMS(X) X(reverse_kl) X(jeffreys) X(squared_hellinger) X(small_entropy) X(small_share)
#define PAIR_TERMS(X) X(jensen_shannon) X(total_variation) X(chi_squared) X(alpha) X(log_powers)
#define TERMS(X) NORMALIZER_TERMS(X) WEIGHT_SUM_TERMS(X) PAIR_TERMS(X) X(overlap)

#define TERM_CODE(name) TERM_##name,
typedef enum { TERMS(TERM_CODE) TERM_COUNT } Term;
#undef TERM_CODE

typedef struct {
    Term term;
    double parameter; /* of jensen_shannon the weight of p in the mixture, of alpha and log_powers alpha */
} TermRequest;

INLINE int is_weight_sum_term(Term term) {
#define IS_TERM(name) || term == TERM_##name
    return 0 WEIGHT_SUM_TERMS(IS_TERM);
#undef IS_TERM
}

/* The exponent of p in the powers that are summed. */
INLINE double alpha_of(TermRequest request) { return request.term == TERM_chi_squared ? 2 : request.parameter; }

/* The powers are those of w and v. If w is p, they are w**a v**(1 - a) for a = alpha, and else for a = 1 - alpha. */
INLINE int powers_start_from_p(double alpha) { return alpha > 0.5; }

INLINE double exponent_of_base(double alpha) { return powers_start_from_p(alpha) ? alpha : 1 - alpha; }

INLINE void add_powers(double alpha, const NormalizedPair *restrict pair, int lanes, double *restrict sums) {
    double sign = powers_start_from_p(alpha) ? 1 : -1, rate = powers_start_from_p(alpha) ? alpha - 1 : -alpha;
    double inv_rate = 1 / rate;
    FOR_EACH_LANE sums[i] += power_summand(pair, i, sign * pair->log_ratio[i], rate, inv_rate);
}

INLINE void add_jensen_shannon(double beta, const NormalizedPair *restrict pair, int lanes, double *restrict sums) {
    int is_balanced = fabs(beta - 0.5) < 0.4375; /* the smaller weight is above 1/16 */
    if (is_balanced)
        FOR_EACH_LANE sums[i] += balanced_jensen_shannon(pair, i, beta);
    else
        FOR_EACH_LANE sums[i] += jensen_shannon(pair, i, beta);
}

INLINE void add_squared_hellinger(const NormalizedPair *restrict pair, int lanes, double *restrict sums) {
    FOR_EACH_LANE {
        /* 1 - sqrt(ratio) without cancellation */
        double root_diff = pair->rel_abs_diff[i] / (1 + sqrt(pair->ratio[i]));
        sums[i] += pair->larger[i] * root_diff * root_diff / 2;
    }
}

/* Adds one term of a chunk to the partial sums of the lanes. */
INLINE void add_term(TermRequest request, const NormalizedPair *restrict pair, int lanes, double *restrict sums) {
    const double *log_ratio = pair->log_ratio, *larger = pair->larger, *rel_abs_diff = pair->rel_abs_diff;
    switch (request.term) {
    case TERM_kl: FOR_EACH_LANE sums[i] += excess_weight(pair, i, log_ratio[i]); break;
    case TERM_reverse_kl: FOR_EACH_LANE sums[i] += excess_weight(pair, i, -log_ratio[i]); break;
    case TERM_jeffreys: FOR_EACH_LANE sums[i] += nan_to_inf(larger[i] * rel_abs_diff[i] * fabs(log_ratio[i])); break;
    case TERM_squared_hellinger: add_squared_hellinger(pair, lanes, sums); break;
    case TERM_jensen_shannon: add_jensen_shannon(request.parameter, pair, lanes, sums); break;
    case TERM_total_variation: FOR_EACH_LANE sums[i] += larger[i] * rel_abs_diff[i] / 2; break;
    case TERM_chi_squared:
    case TERM_alpha:
    case TERM_log_powers: add_powers(alpha_of(request), pair, lanes, sums); break;
    default: break; /* not a sum of the second pass */
    }
}

#endif
