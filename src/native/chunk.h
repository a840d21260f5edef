/* Chunks: a row is processed in chunks of at most CHUNK classes, whose intermediate results stay in the L1 cache.

   Class j of a row belongs to lane j % lanes. Each lane has its own partial sum, and the partial sums of the lanes are
   added pairwise at the end. So the order of every summation, and with it every bit of a result, depends on the row
   alone, whatever the width of the vector registers and the number of threads. */

#ifndef TORCHDIVERGENCE_CHUNK_H
#define TORCHDIVERGENCE_CHUNK_H

#include <stdint.h>

#include "elementary.h"

enum { CHUNK = 128, MIN_LANES = 8 };

/* A loop that the compiler vectorizes, without code for a remainder; it needs the variable `lanes`. */
#define FOR_EACH_LANE for (int i = 0; i < (lanes & -MIN_LANES); i++)

/* x log(x) counts as 0 where log(x) is below this: exp of it is 0 in float64. */
#define MIN_LOG -800.0

/* The number of classes in a chunk: a power of two, and no larger than a short row needs. */
INLINE int lanes_for(int64_t classes) {
    int lanes = MIN_LANES;
    while (lanes < classes && lanes < CHUNK) lanes *= 2;
    return lanes;
}

/* The sum over the lanes, by repeated halving. Overwrites x. */
INLINE double sum_lanes(int lanes, double *x) {
    for (int half = lanes / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* The largest lane, by repeated halving. Overwrites x. */
INLINE double max_lane(int lanes, double *x) {
    for (int half = lanes / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) x[i] = at_least(x[i], x[i + half]);
    return x[0];
}

/* For products 0 * inf: a probability that underflows to 0, where the other distribution has no mass. */
INLINE double nan_to_inf(double term) { return term != term ? INFINITY : term; }

/* For quotients 0 / 0: a class where neither distribution has mass. */
INLINE double nan_to_zero(double term) { return term != term ? 0 : term; }

#endif
