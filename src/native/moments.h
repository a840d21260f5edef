/* First and second moments of weighted columns, over rows and over clusters, in superaccumulators.

   The state of a range of positions is, for c columns x and with products s = x * weight:
   - the sums of the weights, of the positive s and of the negative s;
   - over rows, the sums of weight * weight, of s * s, and of s * weight where s is positive and where it is not;
   - over clusters, the same of their sums of weights and of s;
   - how many rows and how many clusters have a positive weight.
   Without signs no s is negative, and the sums of the negative ones are left out. Python reads the state, and has the
   same code in torch for other devices: torchdivergence/_states/moments.py. */

#ifndef TORCHDIVERGENCE_MOMENTS_H
#define TORCHDIVERGENCE_MOMENTS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "superaccumulator.h"

/* Rows [clusters, blocks, positions] with their weights >= 0, and columns of values for them. */
typedef struct {
    const double *values; /* [columns, clusters, blocks, positions] */
    const double *weights;
    int64_t columns, clusters, blocks, positions;
    int is_signed;
} WeightedColumns;

typedef struct {
    int64_t first, end;
} PositionRange;

static inline int64_t second_moments(const WeightedColumns *x) { return 1 + (x->is_signed ? 3 : 2) * x->columns; }

/* The int64 in the state of a range. */
static inline int64_t moments_size(const WeightedColumns *x) {
    int64_t first_moments = 1 + (x->is_signed ? 2 : 1) * x->columns;
    return (first_moments + 2 * second_moments(x)) * WIDTH + 2;
}

/* A sum by pairs of neighbors, then by pairs of these sums, and so on. partial[k] is the sum of 2**k numbers. */
typedef struct {
    double partial[64];
    uint64_t count;
} PairwiseSum;

static inline void add_to_pairwise(PairwiseSum *sum, double x) {
    int level = 0;
    for (uint64_t full = sum->count++; full & 1; full >>= 1) x = sum->partial[level++] + x;
    sum->partial[level] = x;
}

static inline double pairwise_total(const PairwiseSum *sum) {
    double total = 0;
    for (int level = 0; level < 64 && sum->count >> level; level++)
        if (sum->count >> level & 1) total = sum->partial[level] + total;
    return total;
}

/* The upper half of the bits of a number. */
static inline double high_half(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= ~((UINT64_C(1) << 27) - 1);
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Four numbers whose sum is the product of two, up to 2**-106 of it. */
typedef struct {
    double parts[4];
} Product;

static inline Product exact_product(double x, double y) {
    double x_high = high_half(x), x_low = x - x_high, y_high = high_half(y), y_low = y - y_high;
    return (Product){{x_high * y_high, x_high * y_low, x_low * y_high, x_low * y_low}};
}

/* Adds the parts of a product, each times a factor of 0 or 1. Most are finite, and many are 0. */
static inline void accumulate_product(Product product, double factor, uint64_t *accumulator) {
    double parts[4];
    uint64_t bits[4], largest = 0;
    for (int k = 0; k < 4; k++) {
        parts[k] = product.parts[k] * factor;
        bits[k] = magnitude_bits(parts + k);
        largest = bits[k] > largest ? bits[k] : largest;
    }
    if (largest >= INFINITY_BITS) {
        accumulate((const char *)parts, 4, accumulator);
        return;
    }
    accumulator[LIMBS] += 4;
    for (int k = 0; k < 4 && largest; k++)
        if (bits[k]) add_to_limbs(bits[k], accumulator);
}

/* Adds the products of one unit, a row or a cluster, in one column. */
static inline void accumulate_unit(
    const WeightedColumns *x, int64_t column, double product, double weight, uint64_t *second
) {
    double size = fabs(product), is_positive = product > 0;
    accumulate_product(exact_product(size, size), 1, second + (1 + column) * WIDTH);
    uint64_t *with_weight = second + (1 + x->columns + column) * WIDTH;
    Product weighted = exact_product(size, weight);
    accumulate_product(weighted, x->is_signed ? is_positive : 1, with_weight);
    if (x->is_signed) accumulate_product(weighted, 1 - is_positive, with_weight + x->columns * WIDTH);
}

/* A loop over the rows of a cluster in a range of positions, with the index of the row as `row`. */
#define FOR_EACH_ROW(x, cluster, range) \
    for (int64_t block = 0; block < (x)->blocks; block++) \
        for (int64_t row = ((cluster) * (x)->blocks + block) * (x)->positions + (range).first, \
                     last = row + (range).end - (range).first; \
             row < last; row++)

/* Adds the weights of a cluster, and returns their sum. */
static inline double accumulate_weights(
    const WeightedColumns *x, int64_t cluster, PositionRange range, uint64_t *first, uint64_t *second, uint64_t *counts
) {
    PairwiseSum sum;
    sum.count = 0;
    FOR_EACH_ROW(x, cluster, range) {
        double weight = x->weights[row];
        accumulate((const char *)&weight, 1, first);
        accumulate_product(exact_product(weight, weight), 1, second);
        counts[0] += weight > 0;
        if (weight != 0) add_to_pairwise(&sum, weight);
    }
    return pairwise_total(&sum);
}

/* Adds one column of a cluster, and returns the sum of its products. */
static inline double accumulate_column(
    const WeightedColumns *x, int64_t column, int64_t cluster, PositionRange range, uint64_t *first, uint64_t *second
) {
    PairwiseSum sum;
    sum.count = 0;
    const double *values = x->values + column * x->clusters * x->blocks * x->positions;
    uint64_t *positive = first + (1 + column) * WIDTH, *negative = positive + x->columns * WIDTH;
    FOR_EACH_ROW(x, cluster, range) {
        double weight = x->weights[row], product = weight == 0 ? 0 : values[row] * weight;
        double above = product < 0 ? 0 : product, below = product > 0 ? 0 : product;
        accumulate((const char *)&above, 1, positive);
        if (x->is_signed) accumulate((const char *)&below, 1, negative);
        accumulate_unit(x, column, product, weight, second);
        if (weight != 0) add_to_pairwise(&sum, product);
    }
    return pairwise_total(&sum);
}

#undef FOR_EACH_ROW

/* Adds the rows in a range of positions to its state. */
static inline void accumulate_moments(const WeightedColumns *x, PositionRange range, uint64_t *state) {
    uint64_t *of_rows = state + (1 + (x->is_signed ? 2 : 1) * x->columns) * WIDTH;
    uint64_t *of_clusters = of_rows + second_moments(x) * WIDTH, *counts = of_clusters + second_moments(x) * WIDTH;
    for (int64_t cluster = 0; cluster < x->clusters; cluster++) {
        double weight = accumulate_weights(x, cluster, range, state, of_rows, counts);
        accumulate_product(exact_product(weight, weight), 1, of_clusters);
        counts[1] += weight > 0;
        for (int64_t column = 0; column < x->columns; column++) {
            double product = accumulate_column(x, column, cluster, range, state, of_rows);
            accumulate_unit(x, column, product, weight, of_clusters);
        }
    }
}

#endif
