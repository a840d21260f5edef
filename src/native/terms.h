/* The terms: the functions of p and q whose sums over the classes the divergences are made of.

   Each has the name of a Term in src/torchdivergence/_divergences, which defines it. */

#ifndef TORCHDIVERGENCE_TERMS_H
#define TORCHDIVERGENCE_TERMS_H

#include "pair.h"

enum { MAX_TERMS = 16 }; /* in one request */

/* The terms of the first group are known once a row is normalized; those of the second need another pass; overlap has
   a pass of its own. */
#define FIRST_PASS_TERMS(X) X(kl) X(log_mass_p) X(log_mass_q) X(mass_of_p) X(top_p) X(top_q)
#define SECOND_PASS_TERMS(X) \
    X(reverse_kl) X(jeffreys) X(jensen_shannon) X(total_variation) X(squared_hellinger) X(small_entropy) X(small_share)
#define TERMS(X) FIRST_PASS_TERMS(X) SECOND_PASS_TERMS(X) X(overlap)

#define TERM_CODE(name) TERM_##name,
typedef enum { TERMS(TERM_CODE) TERM_COUNT } Term;
#undef TERM_CODE

typedef struct {
    Term term;
    double parameter; /* of jensen_shannon: the weight of p in the mixture; unused by the others */
} TermRequest;

INLINE int is_second_pass_term(Term term) {
#define IS_TERM(name) || term == TERM_##name
    return 0 SECOND_PASS_TERMS(IS_TERM);
#undef IS_TERM
}

/* Adds one term of a chunk to the partial sums of the lanes. */
INLINE void add_term(TermRequest request, const NormalizedPair *restrict pair, int lanes, double *restrict sums) {
    const double *p = pair->p, *q = pair->q, *log_p = pair->log_p, *log_ratio = pair->log_ratio;
    const double *larger = pair->larger, *ratio = pair->ratio, *rel_abs_diff = pair->rel_abs_diff;
    double beta = request.parameter;
    switch (request.term) {
    case TERM_kl:
        FOR_EACH_LANE {
            double diff = copysign(larger[i] * rel_abs_diff[i], log_ratio[i]);
            sums[i] += nan_to_inf(p[i] * at_least(MIN_LOG, log_ratio[i])) - diff;
        }
        break;
    case TERM_reverse_kl:
        FOR_EACH_LANE {
            double diff = copysign(larger[i] * rel_abs_diff[i], log_ratio[i]);
            sums[i] += nan_to_inf(q[i] * at_least(MIN_LOG, -log_ratio[i])) + diff;
        }
        break;
    case TERM_jeffreys: FOR_EACH_LANE sums[i] += nan_to_inf(larger[i] * rel_abs_diff[i] * fabs(log_ratio[i])); break;
    case TERM_jensen_shannon:
        FOR_EACH_LANE {
            double weight_larger = log_ratio[i] > 0 ? beta : 1 - beta;
            double weight_smaller = log_ratio[i] > 0 ? 1 - beta : beta;
            /* mixture / larger = 1 - deficit, as a rounded sum and its rounding error */
            double deficit = weight_smaller * rel_abs_diff[i], rounded = 1 - deficit, tail = 1 - rounded - deficit;
            double mixture = deficit > 0.5 ? fma(weight_smaller, ratio[i], weight_larger) : rounded;
            double log_over_larger = log_normal(mixture, deficit > 0.5 ? 0 : tail);
            double log_over_smaller = log1p_of(weight_larger * rel_abs_diff[i] / ratio[i]);
            double term_smaller = nan_to_zero(weight_smaller * ratio[i] * log_over_smaller);
            sums[i] = fma(-larger[i], fma(weight_larger, log_over_larger, term_smaller), sums[i]);
        }
        break;
    case TERM_total_variation: FOR_EACH_LANE sums[i] += larger[i] * rel_abs_diff[i] / 2; break;
    case TERM_squared_hellinger:
        FOR_EACH_LANE {
            double root_diff = rel_abs_diff[i] / (1 + sqrt(ratio[i])); /* 1 - sqrt(ratio) without cancellation */
            sums[i] += larger[i] * root_diff * root_diff / 2;
        }
        break;
    case TERM_small_entropy: FOR_EACH_LANE sums[i] -= p[i] > 0.5 ? 0 : p[i] * at_least(MIN_LOG, log_p[i]); break;
    case TERM_small_share: FOR_EACH_LANE sums[i] += p[i] > 0.5 ? 0 : p[i]; break;
    case TERM_log_mass_p: /* these are not sums of the second pass */
    case TERM_log_mass_q:
    case TERM_mass_of_p:
    case TERM_overlap:
    case TERM_top_p:
    case TERM_top_q:
    case TERM_COUNT: break;
    }
}

#endif
