/* exp, expm1 and log of float64, without a branch, so that a compiler makes vector code of a loop over them.

   Relative error: below 3e-16 for exp and expm1 of numbers <= 0, below 5e-16 for log and log1p. The polynomials are
   Chebyshev's, fitted with 40 digits to (exp(r) - 1 - r) / r**2 on |r| <= log(2) / 2, and to what log((1 + s) / (1 - s))
   has beyond 2 s, over s**3, as a function of s**2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1). */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefap-1 /* its last bits are zeros: a multiple of it is exact */
#define LN2_LOW 0x1.cf79abc9e3b3ap-40
#define TO_INTEGER 0x1.8p52 /* a float64 this large has no fraction, and its last bits are those of an integer */
#define SMALLEST_EXPONENT -708.0
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

typedef struct {
    double scale;  /* 2**k */
    double excess; /* exp(x - k log(2)) - 1 */
} Power;

/* exp(x) in two parts, for x <= 0; from SMALLEST_EXPONENT down it is 0. */
INLINE Power power(double x) {
    double clamped = x < SMALLEST_EXPONENT ? SMALLEST_EXPONENT : x;
    double shifted = clamped * LOG2E + (TO_INTEGER + 1023);
    double k = shifted - (TO_INTEGER + 1023);
    double r = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    double series = 2.5100375924709716851e-8;
    series = series * r + 2.7620075999810651055e-7;
    series = series * r + 2.755726848011633485e-6;
    series = series * r + 2.4801521322116824174e-5;
    series = series * r + 1.98412698630406699e-4;
    series = series * r + 1.388888891719688114e-3;
    series = series * r + 8.3333333333300644245e-3;
    series = series * r + 4.1666666666624161578e-2;
    series = series * r + 0.16666666666666667452;
    series = series * r + 0.50000000000000010211;
    double scale = from_bits(to_bits(shifted) << 52);
    return (Power){x <= SMALLEST_EXPONENT ? 0.0 : scale, r + r * r * series};
}

INLINE double exp_of(Power x) { return x.scale + x.scale * x.excess; }

INLINE double expm1_of(Power x) { return x.scale * x.excess + (x.scale - 1); }

/* log(x + rest) for a normal x > 0 and a rest that is lost beside it. */
INLINE double log_normal(double x, double rest) {
    uint64_t bits = to_bits(x), bias = 1024;
    uint64_t k = (bits - to_bits(SQRT_HALF) + (bias << 52)) >> 52; /* x = 2**(k - bias) m, m from sqrt(1/2) to sqrt(2) */
    double exponent = from_bits(k | to_bits(0x1p52)) - (0x1p52 + 1024);
    double f = from_bits(bits - ((k - bias) << 52)) - 1 + rest * from_bits((k < 2047 ? 2047 - k : 0) << 52);
    double s = f / (2 + f), z = s * s;
    double series = 0.14616450979552108635;
    series = series * z + 0.15331721495826012175;
    series = series * z + 0.18182889128412458405;
    series = series * z + 0.22222211134751835456;
    series = series * z + 0.28571428625975749835;
    series = series * z + 0.39999999999899503906;
    series = series * z + 0.66666666666666696862;
    return exponent * LN2_HIGH + (exponent * LN2_LOW + (2 * s + s * z * series));
}

/* log(x), NaN for x < 0. */
INLINE double log_any(double x) {
    int subnormal = x < 0x1p-1022;
    double log = log_normal(subnormal ? x * 0x1p54 : x, 0) - (subnormal ? 54 * (LN2_HIGH + LN2_LOW) : 0);
    double special = x == 0 ? -INFINITY : x < INFINITY ? NAN : x; /* 0; less; inf or NaN */
    return x > 0 && x < INFINITY ? log : special;
}

/* log(1 + x) for x > -1. */
INLINE double log1p_of(double x) {
    double sum = 1 + x;
    return log_normal(sum, x - (sum - 1));
}
