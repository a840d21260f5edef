/* Exact sums of float64 numbers >= 0 in integers: the layout is that of _accumulators.py. */

enum { DIGIT = 26, DIGITS = 81, KINDS = 3, BANK = DIGITS + KINDS };

/* Adds numbers to a bank. A NaN may carry a sign. */
static void add_exactly(const double *numbers, int64_t count, int64_t *bank) {
    const uint64_t fraction = (UINT64_C(1) << 52) - 1, infinite = UINT64_C(0x7ff) << 52, mask = (1 << DIGIT) - 1;
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = to_bits(numbers[i]) & ~(UINT64_C(1) << 63);
        int kind = (bits >= infinite) + (bits > infinite);
        bank[DIGITS + kind]++;
        if (kind) continue;
        uint64_t normal = bits >> 52 > 0, mantissa = (bits & fraction) | normal << 52, exponent = (bits >> 52) - normal;
        int64_t *digit = bank + exponent / DIGIT;
        int shift = exponent % DIGIT;
        digit[0] += mantissa << shift & mask;
        digit[1] += mantissa >> (DIGIT - shift) & mask;
        digit[2] += mantissa >> (2 * DIGIT - shift);
    }
}
