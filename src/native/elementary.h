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
#define MIN_EXP_ARGUMENT -708.0
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

/* exp(x) = scale * (1 + expm1_r), where x = k log(2) + r. Both exp(x) and expm1(x) follow without cancellation. */
typedef struct {
    double scale;   /* 2**k, or 0 where exp(x) is flushed to 0 */
    double expm1_r; /* exp(r) - 1 */
} ScaledExp;

/* exp(x) in scaled form for x <= 0. From MIN_EXP_ARGUMENT down it is 0. */
INLINE ScaledExp scaled_exp(double x) {
    double clamped = x < MIN_EXP_ARGUMENT ? MIN_EXP_ARGUMENT : x;
    double shifted = fma(clamped, LOG2E, ROUND_TO_INTEGER + 1023);
    double k = shifted - (ROUND_TO_INTEGER + 1023);
    double r = fma(-k, LN2_LOW, fma(-k, LN2_HIGH, clamped));
    double series = 2.5100375924709716851e-8;
    series = fma(series, r, 2.7620075999810651055e-7);
    series = fma(series, r, 2.755726848011633485e-6);
    series = fma(series, r, 2.4801521322116824174e-5);
    series = fma(series, r, 1.98412698630406699e-4);
    series = fma(series, r, 1.388888891719688114e-3);
    series = fma(series, r, 8.3333333333300644245e-3);
    series = fma(series, r, 4.1666666666624161578e-2);
    series = fma(series, r, 0.16666666666666667452);
    series = fma(series, r, 0.50000000000000010211);
    double scale = from_bits(to_bits(shifted) << 52);
    return (ScaledExp){x <= MIN_EXP_ARGUMENT ? 0.0 : scale, fma(r * r, series, r)};
}

INLINE double exp_of(ScaledExp e) { return fma(e.scale, e.expm1_r, e.scale); }

INLINE double expm1_of(ScaledExp e) { return fma(e.scale, e.expm1_r, e.scale - 1); }

/* log(x + tail) for a normal x > 0 and a tail below the rounding error of x. */
INLINE double log_normal(double x, double tail) {
    uint64_t bits = to_bits(x), bias = 1024;
    uint64_t k = (bits - to_bits(SQRT_HALF) + (bias << 52)) >> 52; /* x = 2**(k - bias) m, sqrt(1/2) <= m < sqrt(2) */
    double exponent = from_bits(k | to_bits(0x1p52)) - (0x1p52 + 1024);
    double f = fma(tail, from_bits((k < 2047 ? 2047 - k : 0) << 52), from_bits(bits - ((k - bias) << 52)) - 1);
    double s = f / (2 + f), z = s * s;
    double series = 0.14616450979552108635;
    series = fma(series, z, 0.15331721495826012175);
    series = fma(series, z, 0.18182889128412458405);
    series = fma(series, z, 0.22222211134751835456);
    series = fma(series, z, 0.28571428625975749835);
    series = fma(series, z, 0.39999999999899503906);
    series = fma(series, z, 0.66666666666666696862);
    return fma(exponent, LN2_HIGH, fma(exponent, LN2_LOW, fma(s * z, series, 2 * s)));
}

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
