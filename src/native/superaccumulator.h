/* Exact sums of non-negative float64 values in integers, by a superaccumulator.

   An accumulator is WIDTH int64: LIMBS limbs of LIMB_BITS bits, in units of 2**-1074 and without carries, then the
   numbers of finite, infinite and NaN values. Integer addition is associative, so that the result is independent of the
   order of the values. Python reads accumulators, and has the same code in torch for other devices. */

#ifndef TORCHDIVERGENCE_SUPERACCUMULATOR_H
#define TORCHDIVERGENCE_SUPERACCUMULATOR_H

#include <stdint.h>
#include <string.h>

enum { LIMB_BITS = 26, LIMBS = 81, SPECIAL_COUNTS = 3, WIDTH = LIMBS + SPECIAL_COUNTS };
enum { MANTISSA_BITS = 52 }; /* those that a float64 stores */

#define STORED_BITS ((UINT64_C(1) << MANTISSA_BITS) - 1)
#define INFINITY_BITS (UINT64_C(0x7ff) << MANTISSA_BITS) /* the bits of a NaN are larger */

/* The bits of a number without its sign: a NaN may have one. */
static inline uint64_t magnitude_bits(const void *number) {
    uint64_t bits;
    memcpy(&bits, number, sizeof bits);
    return bits & ~(UINT64_C(1) << 63);
}

/* Adds the bits of a finite number to the limbs, and leaves the counts alone.

   The int64 of the accumulator are accessed as unsigned, whose overflow is defined. */
static inline void add_to_limbs(uint64_t bits, uint64_t *accumulator) {
    const uint64_t limb_mask = (UINT64_C(1) << LIMB_BITS) - 1;
    uint64_t is_normal = bits >> MANTISSA_BITS > 0;
    uint64_t mantissa = (bits & STORED_BITS) | is_normal << MANTISSA_BITS;
    uint64_t exponent = (bits >> MANTISSA_BITS) - is_normal; /* the value is mantissa * 2**(exponent - 1074) */
    uint64_t *limb = accumulator + exponent / LIMB_BITS;
    int shift = (int)(exponent % LIMB_BITS);
    limb[0] += mantissa << shift & limb_mask;
    limb[1] += mantissa >> (LIMB_BITS - shift) & limb_mask;
    limb[2] += mantissa >> (2 * LIMB_BITS - shift);
}

/* Adds values, which need not be aligned. The sign bit is ignored. */
static inline void accumulate(const char *values, int64_t count, uint64_t *accumulator) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = magnitude_bits(values + i * (int64_t)sizeof bits);
        int special = (bits >= INFINITY_BITS) + (bits > INFINITY_BITS); /* 0 finite, 1 infinite, 2 NaN */
        accumulator[LIMBS + special]++;
        if (!special) add_to_limbs(bits, accumulator);
    }
}

#endif
