/* The term sums of one pair of rows.

   A row is read up to four times: for its maximum; for its normalizers, which also give the Kullback-Leibler
   divergence; for the terms of the second pass, and for the overlap, if they are requested. */

#ifndef TORCHDIVERGENCE_ROW_H
#define TORCHDIVERGENCE_ROW_H

#include "overlap.h"
#include "terms.h"

/* Below this fraction of the log-ratio of the normalizers, the KL of the first pass has lost too many digits. */
#define KL_CANCELLED 1e-8

/* Writes the requested sums to out[0], out[stride], ...; NaN where p or q cannot be normalized. */
INLINE void row_term_sums(
    Operand p, Operand q, int64_t classes, double inv_temperature, const TermRequest *requests, int count, double *out,
    int64_t stride
) {
    double log_weights_p[CHUNK], log_weights_q[CHUNK], sums[MAX_TERMS][CHUNK];
    NormalizedPair pair;
    Normalizers n = {.inv_temperature = inv_temperature};
    int lanes = lanes_for(classes), needs_second_pass = 0;
    double kl = normalize(p, q, classes, lanes, &n), zero_or_nan = kl == kl ? 0 : NAN;
    int cancelled = kl < KL_CANCELLED * fabs(n.log_sum_ratio); /* then KL is summed class by class in the second pass */
    for (int k = 0; k < count; k++) {
        needs_second_pass |= is_second_pass_term(requests[k].term) || (requests[k].term == TERM_kl && cancelled);
        FOR_EACH_LANE sums[k][i] = 0;
    }
    for (int64_t start = 0; needs_second_pass && start < classes; start += lanes) {
        load_chunk(p, start, classes, lanes, log_weights_p);
        load_chunk(q, start, classes, lanes, log_weights_q);
        normalize_pair(log_weights_p, log_weights_q, n, lanes, &pair);
        for (int k = 0; k < count; k++) add_term(requests[k], &pair, lanes, sums[k]);
    }
    for (int k = 0; k < count; k++) {
        double value = at_least(0, sum_lanes(lanes, sums[k]));
        switch (requests[k].term) {
        case TERM_kl: value = cancelled ? value : kl; break;
        case TERM_log_mass_p: value = fma(n.max_p, inv_temperature, n.log_sum_p); break;
        case TERM_log_mass_q: value = fma(n.max_q, inv_temperature, n.log_sum_q); break;
        case TERM_mass_of_p: value = 1; break;
        case TERM_overlap: value = overlap(p, q, classes, lanes, n); break;
        case TERM_top_p: value = (double)top_class(p, classes, lanes, n.max_p); break;
        case TERM_top_q: value = (double)top_class(q, classes, lanes, n.max_q); break;
        default: break;
        }
        out[k * stride] = value + zero_or_nan;
    }
}

#endif
