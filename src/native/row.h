/* The term sums of one pair of rows.

   A row is read up to five times: for its maximum; for its normalizers, with which come the sums that need no
   normalized probabilities; for the terms that do; and for the overlap and for powers beyond the range of float64. */

#ifndef TORCHDIVERGENCE_ROW_H
#define TORCHDIVERGENCE_ROW_H

#include "log_powers.h"
#include "overlap.h"
#include "weight_terms.h"

/* The request whose sum serves request k: of powers, an earlier one for the same alpha. */
INLINE int source_of(const TermRequest *requests, int k) {
    for (int j = 0; j < k && requests[k].term == TERM_log_powers; j++)
        if (requests[j].term == TERM_alpha && requests[j].parameter == requests[k].parameter) return j;
    return k;
}

/* Sums the terms whose value is NaN, if the second pass has them. Returns how many. */
INLINE int sum_pair_terms(const Row *row, const TermRequest *requests, int count, double *values) {
    double log_weights_p[CHUNK], log_weights_q[CHUNK], sums[MAX_TERMS][CHUNK];
    NormalizedPair pair;
    int lanes = row->lanes, pending[MAX_TERMS], pending_count = 0;
    for (int k = 0; k < count; k++)
        if (values[k] != values[k] && requests[k].term != TERM_overlap && source_of(requests, k) == k) {
            FOR_EACH_LANE sums[k][i] = 0;
            pending[pending_count++] = k;
        }
    for (int64_t start = 0; start < row->classes && pending_count; start += lanes) {
        load_chunk(row->p, start, row->classes, lanes, log_weights_p);
        load_chunk(row->q, start, row->classes, lanes, log_weights_q);
        normalize_pair(log_weights_p, log_weights_q, row->normalizers, lanes, &pair);
        for (int j = 0; j < pending_count; j++) add_term(requests[pending[j]], &pair, lanes, sums[pending[j]]);
    }
    for (int j = 0; j < pending_count; j++) values[pending[j]] = at_least(0, sum_lanes(lanes, sums[pending[j]]));
    return pending_count;
}
DEFINE_PASS(
    int, sum_pair_terms, (const Row *row, const TermRequest *requests, int count, double *values),
    (row, requests, count, values)
)

/* From the sum of powers to the logarithm of sum(p**alpha q**(1 - alpha)). */
INLINE double log_powers(const Row *row, double alpha, double sum) {
    double excess = (sum / exponent_of_base(alpha)) * alpha * (alpha - 1);
    if (excess > -0.5 && excess < INFINITY) return log1p_of(excess);
    return run_log_sum_of_powers(row, alpha);
}

/* The value of a term from its sum. */
INLINE double finish_term(const Row *row, TermRequest request, double value, double source) {
    switch (request.term) {
    case TERM_alpha: return value / exponent_of_base(request.parameter);
    case TERM_log_powers: return log_powers(row, request.parameter, source);
    case TERM_overlap: return run_overlap(row);
    case TERM_top_p: return (double)run_top_class(row->p, row->classes, row->lanes, row->normalizers.max_p);
    case TERM_top_q: return (double)run_top_class(row->q, row->classes, row->lanes, row->normalizers.max_q);
    default: return value;
    }
}

/* Writes the requested sums to out[0], out[stride], ...; NaN where p or q cannot be normalized. */
INLINE void row_term_sums(
    Operand p, Operand q, int64_t classes, double inv_temperature, const TermRequest *requests, int count, double *out,
    int64_t stride
) {
    Row row = {p, q, classes, lanes_for(classes), {.inv_temperature = inv_temperature}};
    WeightSums sums = {0};
    double values[MAX_TERMS];
    int wants_all = 0;
    for (int k = 0; k < count; k++) wants_all |= is_weight_sum_term(requests[k].term);
    int is_valid = wants_all ? run_normalize_all(&row, &sums) : run_normalize_kl(&row, &sums);
    for (int k = 0; k < count; k++) values[k] = weight_term(requests[k].term, &row.normalizers, &sums);
    if (is_valid) run_sum_pair_terms(&row, requests, count, values);
    for (int k = 0; k < count; k++)
        out[k * stride] = is_valid ? finish_term(&row, requests[k], values[k], values[source_of(requests, k)]) : NAN;
}

#endif
