/* One row: the sums over its classes. It knows neither Python nor threads, nor what becomes of the sums.

   A row is read in chunks that stay in the nearest cache, three times: for the tops; for the normalisers, with which
   comes the Kullback-Leibler divergence; and for what else is asked. It is written in loops over a chunk that
   vectorise; a chunk's end is filled with classes that neither side has. The order of every sum is that of the
   classes in SUM_LANES lanes: the bits of a row depend on nothing but the row. */

#include "elementary.h"

enum { CHUNK = 128, MOST_SUMS = 16 };
#define FLOOR -800.0 /* exp of this is 0 in float64: below it x log x counts as 0 */
#define EACH for (int i = 0; i < size; i++)

typedef enum { FLOAT64, FLOAT32, BFLOAT16, FLOAT16 } Dtype;

typedef struct {
    const void *data;
    Dtype dtype;
    int is_log;
} Side;

/* What the terms are made of: large and small are max(p, q) and min(p, q). */
typedef struct {
    double p[CHUNK], q[CHUNK], log_p[CHUNK];
    double delta[CHUNK]; /* log(p / q) */
    double large[CHUNK], ratio[CHUNK], gap[CHUNK]; /* max(p, q); min(p, q) / large; 1 - ratio */
} Classes;

/* The sums there are, under the names of the table's terms. */
#define SUMS(ONE) \
    ONE(KL) ONE(LOG_MASS_P) ONE(LOG_MASS_Q) ONE(REVERSE_KL) ONE(JEFFREYS) ONE(JENSEN_SHANNON) ONE(TOTAL_VARIATION) \
    ONE(SQUARED_HELLINGER) ONE(SMALL_ENTROPY) ONE(SMALL_SHARE)
#define FIRST_OF_SECOND_PASS REVERSE_KL /* those before it come with the normalisers */
#define ITSELF(sum) sum,
typedef enum { SUMS(ITSELF) } Sum;

typedef struct {
    Sum sum;
    double parameter;
} Wanted;

INLINE float half_to_float(uint16_t half) {
    uint32_t magnitude = half & 0x7fff, sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t bits = (magnitude << 13) + (112 << 23) | (magnitude >= 0x7c00 ? 0x7f800000u : 0);
    float tiny = (float)(int32_t)magnitude * 0x1p-24f, x;
    memcpy(&x, &bits, sizeof x);
    x = magnitude < 0x400 ? tiny : x;
    memcpy(&bits, &x, sizeof bits);
    bits |= sign;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE float bfloat_to_float(uint16_t bfloat) {
    uint32_t bits = (uint32_t)bfloat << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The classes in a chunk: a power of two from eight on, no larger than a row of few classes needs. */
INLINE int size_of_chunks(int64_t classes) {
    int size = 8;
    while (size < classes && size < CHUNK) size *= 2;
    return size;
}

INLINE double as_it_is(double x) { return x; }

/* For a side's numbers from a class on, whatever their type: loop(type, value). */
#define BY_DTYPE(side, loop) \
    switch ((side).dtype) { \
    case FLOAT64: loop(double, as_it_is); break; \
    case FLOAT32: loop(float, as_it_is); break; \
    case BFLOAT16: loop(uint16_t, bfloat_to_float); break; \
    case FLOAT16: loop(uint16_t, half_to_float); break; \
    }

/* The log-weights of the chunk that starts at a class. */
INLINE void load(Side side, int64_t start, int64_t classes, int size, double *restrict x) {
    int given = classes - start < size ? (int)(classes - start) : size;
#define CONVERT(type, value) \
    for (int i = 0; i < given; i++) x[i] = value(((const type *)side.data)[start + i])
    BY_DTYPE(side, CONVERT)
    for (int i = given; i < size; i++) x[i] = side.is_log ? -INFINITY : 0;
    if (!side.is_log) EACH x[i] = log_any(x[i]);
}

/* The largest log-weight of a row. A NaN has no say: it will make the sum of the weights NaN. */
INLINE double top(Side side, int64_t classes) {
    double highest = -INFINITY;
#define HIGHEST(type, value) \
    _Pragma("omp simd reduction(max : highest)") \
    for (int64_t i = 0; i < classes; i++) { \
        double x = value(((const type *)side.data)[i]); \
        highest = x > highest ? x : highest; \
    }
    BY_DTYPE(side, HIGHEST)
    return side.is_log ? highest : log_any(highest);
}

/* The sum of a chunk, which is used up: halves are added. */
INLINE double sum(int size, double *x) {
    for (int half = size / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* 0 * inf, of a share too small for float64 and of none beside it, is inf. */
INLINE double infinite(double term) { return term != term ? INFINITY : term; }

/* 0 / 0, of a class without mass, is 0. */
INLINE double zero(double term) { return term != term ? 0 : term; }

INLINE double at_least(double low, double x) { return x < low ? low : x; }

typedef struct {
    double rate; /* 1 / temperature */
    double top_p, top_q;
    double log_p, log_q; /* the logarithms of the sums of weights, beyond the tops */
    double delta;        /* log_p - log_q, known to its last digits */
} Normalisers;

/* The normalisers of a row, and its Kullback-Leibler divergence, which is NaN where p or q is no distribution.

   With weights P and Q, e = log P / Q and sums over the classes:
   delta = log(sum P / sum Q) = -log1p(-sum(P - Q) / sum P),  D = sum(P e) / sum P - delta.
   The last difference loses digits where D is far below delta, as where only the tops differ: see sums_of_row. */
INLINE double normalise(Side p, Side q, int64_t classes, int size, Normalisers *n) {
    double a[CHUNK], b[CHUNK], of_p[CHUNK] = {0}, of_q[CHUNK] = {0}, of_both[CHUNK] = {0}, moments[CHUNK] = {0};
    n->top_p = top(p, classes), n->top_q = top(q, classes);
    for (int64_t start = 0; start < classes; start += size) {
        load(p, start, classes, size, a), load(q, start, classes, size, b);
        EACH {
            double u = a[i] - n->top_p, v = b[i] - n->top_q, e = (u == v ? 0 : u - v) * n->rate;
            double large = exp_of(power((u > v ? u : v) * n->rate));
            Power ratio = power(-fabs(e));
            double small = large * exp_of(ratio), weight = e > 0 ? large : small, other = e > 0 ? small : large;
            of_p[i] += weight;
            of_q[i] += other;
            of_both[i] += copysign(large * expm1_of(ratio), e);
            moments[i] += infinite(weight * at_least(FLOOR, e));
        }
    }
    double mass_p = sum(size, of_p), mass_q = sum(size, of_q);
    double share = sum(size, of_both) / mass_p; /* near 1, where q has little beyond its top, it has lost its digits */
    n->log_p = log_any(mass_p), n->log_q = log_any(mass_q);
    n->delta = share < 0.5 ? -log1p_of(-share) : n->log_p - n->log_q;
    double d = sum(size, moments) / mass_p - n->delta;
    return mass_p < INFINITY && mass_q < INFINITY ? at_least(0, d) : NAN;
}

/* From log-weights. */
INLINE void compare(const double *restrict a, const double *restrict b, Normalisers n, int size, Classes *restrict c) {
    EACH {
        double u = a[i] - n.top_p, v = b[i] - n.top_q;
        double delta = (u == v ? 0 : u - v) * n.rate - n.delta;
        double log_p = u * n.rate - n.log_p, log_q = v * n.rate - n.log_q;
        double large = exp_of(power(log_p > log_q ? log_p : log_q));
        Power ratio = power(-fabs(delta));
        double small = large * exp_of(ratio);
        c->p[i] = delta > 0 ? large : small;
        c->q[i] = delta > 0 ? small : large;
        c->log_p[i] = log_p;
        c->delta[i] = delta;
        c->large[i] = large;
        c->ratio[i] = exp_of(ratio);
        c->gap[i] = -expm1_of(ratio);
    }
}

/* Adds a chunk's terms; the table of divergences is where they are explained. */
INLINE void add(Wanted wanted, const Classes *restrict c, int size, double *restrict sums) {
    const double *p = c->p, *q = c->q, *log_p = c->log_p, *delta = c->delta;
    const double *large = c->large, *ratio = c->ratio, *gap = c->gap;
    double beta = wanted.parameter;
    switch (wanted.sum) {
    case KL:
        EACH sums[i] += infinite(p[i] * at_least(FLOOR, delta[i])) - copysign(large[i] * gap[i], delta[i]);
        break;
    case LOG_MASS_P:
    case LOG_MASS_Q: break;
    case REVERSE_KL:
        EACH sums[i] += infinite(q[i] * at_least(FLOOR, -delta[i])) + copysign(large[i] * gap[i], delta[i]);
        break;
    case JEFFREYS: EACH sums[i] += infinite(large[i] * gap[i] * fabs(delta[i])); break;
    case JENSEN_SHANNON:
        EACH {
            double of_large = delta[i] > 0 ? beta : 1 - beta, of_small = delta[i] > 0 ? 1 - beta : beta;
            double lack = of_small * gap[i], near = 1 - lack, rest = 1 - near - lack; /* m / large is 1 - lack */
            double m = lack > 0.5 ? of_large + of_small * ratio[i] : near;
            double over_large = log_normal(m, lack > 0.5 ? 0 : rest);
            double over_small = log1p_of(of_large * gap[i] / ratio[i]);
            sums[i] -= large[i] * (of_large * over_large + zero(of_small * ratio[i] * over_small));
        }
        break;
    case TOTAL_VARIATION: EACH sums[i] += large[i] * gap[i] / 2; break;
    case SQUARED_HELLINGER:
        EACH {
            double root = gap[i] / (1 + sqrt(ratio[i])); /* 1 - sqrt(ratio) */
            sums[i] += large[i] * root * root / 2;
        }
        break;
    case SMALL_ENTROPY: EACH sums[i] -= p[i] > 0.5 ? 0 : p[i] * at_least(FLOOR, log_p[i]); break;
    case SMALL_SHARE: EACH sums[i] += p[i] > 0.5 ? 0 : p[i]; break;
    }
}

/* The sums that are wanted of one row, to out[0], out[stride], ... */
INLINE void sums_of_row(
    Side p, Side q, int64_t classes, double rate, const Wanted *wanted, int count, double *out, int64_t stride
) {
    double a[CHUNK], b[CHUNK], sums[MOST_SUMS][CHUNK];
    Classes c;
    Normalisers n = {.rate = rate};
    int size = size_of_chunks(classes), more = 0;
    double kl = normalise(p, q, classes, size, &n), valid = kl == kl ? 0 : NAN;
    int lossy = kl < 1e-8 * fabs(n.delta); /* then it is better summed class by class */
    for (int k = 0; k < count; k++) {
        more |= wanted[k].sum >= FIRST_OF_SECOND_PASS || (wanted[k].sum == KL && lossy);
        EACH sums[k][i] = 0;
    }
    for (int64_t start = 0; more && start < classes; start += size) {
        load(p, start, classes, size, a), load(q, start, classes, size, b);
        compare(a, b, n, size, &c);
        for (int k = 0; k < count; k++) add(wanted[k], &c, size, sums[k]);
    }
    for (int k = 0; k < count; k++) {
        double value = at_least(0, sum(size, sums[k]));
        switch (wanted[k].sum) {
        case KL: value = lossy ? value : kl; break;
        case LOG_MASS_P: value = n.top_p * rate + n.log_p; break;
        case LOG_MASS_Q: value = n.top_q * rate + n.log_q; break;
        default: break;
        }
        out[k * stride] = value + valid;
    }
}
