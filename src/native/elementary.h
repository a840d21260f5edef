/* exp, expm1, log and log1p of float64, written without branches so that the compiler can vectorize loops over them.

   Relative error: below 3e-16 for exp and expm1 of x <= 0, below 5e-16 for log and log1p. The polynomials are Chebyshev
   approximations, fitted with 40 digits. That of exp approximates (exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2.
   That of log approximates (log((1 + s) / (1 - s)) - 2 s) / s**3 as a function of s**2, for
   |s| <= (sqrt(2) - 1) / (sqrt(2) + 1). */

#ifndef TORCHDIVERGENCE_ELEMENTARY_H
#define TORCHDIVERGENCE_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefap-1 /* ends in zero bits, so that small integer multiples of it are exact */
#define LN2_LOW 0x1.cf79abc9e3b3ap-40
#define ROUND_TO_INTEGER 0x1.8p52 /* x + 0x1.8p52 is rounded to an integer, which is found in the low mantissa bits */
#define MIN_EXP_ARGUMENT -0x1.628b76e3a7b61p+9 /* -1023 log(2): its exponential is flushed to 0 */
#define MAX_EXP_ARGUMENT 710.0 /* its exponential is inf */
#define SQRT_HALF 0x1.6a09e667f3bcdp-1

INLINE uint64_t to_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* max(low, x) and min(high, x), and NaN for x = NaN. */
INLINE double at_least(double low, double x) { return low > x ? low : x; }
INLINE double at_most(double high, double x) { return high < x ? high : x; }

/* exp(x) = scale * exp(r), where x = k log(2) + r and exp(r) - 1 = r + r**2 series. exp(x), exp(x) - 1 and
   exp(x) - 1 - x follow without cancellation. */
typedef struct {
    double scale; /* 2**k, or 0 where exp(x) is flushed to 0 */
    double r, square, series;
} ScaledExp;

/* 2**-halvings exp(x) in scaled form. */
INLINE ScaledExp scaled_exp_of_clamped(double x, uint64_t halvings) {
    double shifted = fma(x, LOG2E, ROUND_TO_INTEGER + 1023); /* its low bits are k + 1023 */
    double k = shifted - (ROUND_TO_INTEGER + 1023);
    double r = fma(-k, LN2_LOW, fma(-k, LN2_HIGH, x)), square = r * r, fourth = square * square;
    double c0 = fma(0.16666666666666667452, r, 0.50000000000000010211);
    double c2 = fma(8.3333333333300644245e-3, r, 4.1666666666624161578e-2);
    double c4 = fma(1.98412698630406699e-4, r, 1.388888891719688114e-3);
    double c6 = fma(2.755726848011633485e-6, r, 2.4801521322116824174e-5);
    double c8 = fma(2.5100375924709716851e-8, r, 2.7620075999810651055e-7);
    double series = fma(fma(c8, fourth, fma(c6, square, c4)), fourth, fma(c2, square, c0));
    return (ScaledExp){from_bits((to_bits(shifted) - halvings) << 52), r, square, series};
}

/* exp(x) in scaled form for x <= 0. Below the logarithm of the smallest normal number it is 0, and NaN for NaN. */
INLINE ScaledExp scaled_exp(double x) { return scaled_exp_of_clamped(at_least(MIN_EXP_ARGUMENT, x), 0); }

/* exp(x) / 2 in scaled form for every x, so that the scale is finite where exp(x) is. It is 0 for NaN. */
INLINE ScaledExp scaled_half_exp(double x) {
    double least = MIN_EXP_ARGUMENT + LN2_HIGH;
    return scaled_exp_of_clamped(at_most(MAX_EXP_ARGUMENT, x > least ? x : least), 1);
}

/* exp(r) - 1. */
INLINE double expm1_of_reduced(ScaledExp e) { return fma(e.square, e.series, e.r); }

INLINE double exp_of(ScaledExp e) { return fma(e.scale, expm1_of_reduced(e), e.scale); }

INLINE double expm1_of(ScaledExp e) { return fma(e.scale, expm1_of_reduced(e), e.scale - 1); }

/* exp(x) - 1 - x >= 0. */
INLINE double excess_of(ScaledExp e, double x) { return e.scale == 1 ? e.square * e.series : expm1_of(e) - x; }

/* log(x) = exponent log(2) + log(1 + f), where log(1 + f) = 2 s + s**3 series and s = f / (2 + f). */
typedef struct {
    double exponent, f, s, series;
} ScaledLog;

/* log(x + tail) in scaled form for a normal x > 0 and a tail below the rounding error of x. */
INLINE ScaledLog scaled_log(double x, double tail) {
    uint64_t bits = to_bits(x), bias = 1024;
    uint64_t k = (bits - to_bits(SQRT_HALF) + (bias << 52)) >> 52; /* x = 2**(k - bias) m, sqrt(1/2) <= m < sqrt(2) */
    double exponent = from_bits(k | to_bits(0x1p52)) - (0x1p52 + 1024);
    double f = fma(tail, from_bits((k < 2047 ? 2047 - k : 0) << 52), from_bits(bits - ((k - bias) << 52)) - 1);
    double s = f / (2 + f), z = s * s, fourth = z * z;
    double c0 = fma(0.39999999999899503906, z, 0.66666666666666696862);
    double c2 = fma(0.22222211134751835456, z, 0.28571428625975749835);
    double c4 = fma(0.15331721495826012175, z, 0.18182889128412458405);
    double series = fma(fma(fma(0.14616450979552108635, fourth, c4), fourth, c2), fourth, c0);
    return (ScaledLog){exponent, f, s, series};
}

INLINE double log_of(ScaledLog l) {
    double z = l.s * l.s;
    return fma(l.exponent, LN2_HIGH, fma(l.exponent, LN2_LOW, fma(l.s * z, l.series, 2 * l.s)));
}

/* log(x + tail) for a normal x > 0 and a tail below the rounding error of x. */
INLINE double log_normal(double x, double tail) { return log_of(scaled_log(x, tail)); }

/* log(x) for every x: -inf at 0, NaN below 0, and inf and NaN for themselves. */
INLINE double log_any(double x) {
    int subnormal = x < 0x1p-1022;
    double log = log_normal(subnormal ? x * 0x1p54 : x, 0) - (subnormal ? 54 * (LN2_HIGH + LN2_LOW) : 0);
    double special = x == 0 ? -INFINITY : x < INFINITY ? NAN : x; /* x is 0; negative; inf or NaN */
    return x > 0 && x < INFINITY ? log : special;
}

/* log(1 + x) for x > -1. */
INLINE double log1p_of(double x) {
    double sum = 1 + x;
    return log_normal(sum, x - (sum - 1));
}

#endif
