/* Counts of rows: a histogram of a column with its extrema, and a 2 x 2 table of the signs of two columns.

   A row counts once if its weight is positive. Python reads these states, and has the same code in torch for other
   devices: torchdivergence/_states/bins.py, histogram.py and contingency.py. */

#ifndef TORCHDIVERGENCE_COUNTS_H
#define TORCHDIVERGENCE_COUNTS_H

#include <stdint.h>
#include <string.h>

#include "superaccumulator.h"

/* Bins are coarse from 2**MIN_OCTAVE, fine from 2**FINE_OCTAVE, and again coarse from 2**COARSE_OCTAVE to
   2**MAX_OCTAVE. */
enum { MIN_OCTAVE = -167, FINE_OCTAVE = -40, COARSE_OCTAVE = 8, MAX_OCTAVE = 136 };
enum { COARSE_BITS = 5, FINE_BITS = 9, BIN_RATIO = 1 << (FINE_BITS - COARSE_BITS) };
#define COARSE_BIN(octave) ((1023 + (octave)) * (1 << COARSE_BITS))
enum {
    FIRST_BIN = COARSE_BIN(MIN_OCTAVE) - 1, /* of all smaller numbers but 0, which has one of its own before it */
    LOW_BIN = COARSE_BIN(FINE_OCTAVE),
    HIGH_BIN = COARSE_BIN(COARSE_OCTAVE),
    LAST_BIN = COARSE_BIN(MAX_OCTAVE), /* of all larger numbers but infinity, which has one of its own after it */
    BINS = 1 + (LOW_BIN - FIRST_BIN) + BIN_RATIO * (HIGH_BIN - LOW_BIN) + (LAST_BIN + 1 - HIGH_BIN) + 1,
    EXTREMA = 2
};
#undef COARSE_BIN

static inline int64_t limited(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* The bin of the non-negative number with these bits. */
static inline int64_t bin_of(int64_t bits) {
    int64_t coarse = bits >> (MANTISSA_BITS - COARSE_BITS), fine = bits >> (MANTISSA_BITS - FINE_BITS);
    int64_t extra = limited(fine, BIN_RATIO * LOW_BIN, BIN_RATIO * HIGH_BIN) - limited(coarse, LOW_BIN, HIGH_BIN);
    int64_t bin = limited(coarse, FIRST_BIN, LAST_BIN) - FIRST_BIN + extra - (BIN_RATIO - 1) * (int64_t)LOW_BIN;
    return bin + (bits > 0) + (bits >= INT64_C(0x7ff) << MANTISSA_BITS);
}

/* Counts numbers in the bins, and keeps the extrema. With signs, the bins of the negative numbers come first, from the
   largest size on. A code of a number is an integer in the order of the numbers; that of the minimum is inverted. */
static inline void accumulate_histogram(
    const double *numbers, const double *weights, int64_t count, int is_signed, int64_t *state
) {
    int64_t *bins = state + (is_signed ? BINS : 0), *extrema = bins + BINS;
    for (int64_t i = 0; i < count; i++) {
        if (!(weights[i] > 0) || numbers[i] != numbers[i]) continue;
        int64_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        int64_t size = bits & INT64_MAX, bin = bin_of(size), is_negative = bits < 0 && size;
        int64_t code = is_negative ? ~size : size;
        bins[is_negative && is_signed ? -1 - bin : bin]++;
        if (~code > extrema[0]) extrema[0] = ~code;
        if (code > extrema[1]) extrema[1] = code;
    }
}

/* Counts rows where both columns are positive, only the first, only the second, and neither. */
static inline void accumulate_contingency(
    const double *first, const double *second, const double *weights, int64_t count, int64_t *state
) {
    for (int64_t i = 0; i < count; i++)
        if (weights[i] > 0) state[3 - 2 * (first[i] > 0) - (second[i] > 0)]++;
}

#endif
