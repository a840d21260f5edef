/* The overlap of a normalized pair of rows: the sum of min(p, q). */

#ifndef TORCHDIVERGENCE_OVERLAP_H
#define TORCHDIVERGENCE_OVERLAP_H

#include "pair.h"

/* Takes one exponential per class, where the terms of a NormalizedPair take two. The weights are those of p, so that the
   sum over equal rows is sum_p to the last bit, and their overlap is 1. */
INLINE double overlap(const Row *row) {
    double log_weights_p[CHUNK], log_weights_q[CHUNK], sums[CHUNK] = {0};
    const Normalizers n = row->normalizers;
    int lanes = row->lanes;
    for (int64_t start = 0; start < row->classes; start += lanes) {
        load_chunk(row->p, start, row->classes, lanes, log_weights_p);
        load_chunk(row->q, start, row->classes, lanes, log_weights_q);
        FOR_EACH_LANE {
            double of_p = (log_weights_p[i] - n.max_p) * n.inv_temperature;
            double of_q = fma(log_weights_q[i] - n.max_q, n.inv_temperature, n.log_sum_ratio);
            sums[i] += exp_of(scaled_exp(of_p < of_q ? of_p : of_q));
        }
    }
    return sum_lanes(lanes, sums) / n.sum_p;
}
DEFINE_PASS(double, overlap, (const Row *row), (row))

#endif
