/* One row of an input tensor: its dtype, and how its elements become log-weights in float64. */

#ifndef TORCHDIVERGENCE_OPERAND_H
#define TORCHDIVERGENCE_OPERAND_H

#include <stdint.h>
#include <string.h>

#include "chunk.h"
#include "elementary.h"
#include "machine.h"

/* name, storage type, conversion to a floating point number */
#define DTYPES(X) \
    X(float64, double, unchanged_double) \
    X(float32, float, unchanged_float) \
    X(bfloat16, uint16_t, bfloat16_to_float) \
    X(float16, uint16_t, float16_to_float)

#define DTYPE_CODE(name, type, convert) DTYPE_##name,
typedef enum { DTYPES(DTYPE_CODE) DTYPE_COUNT } Dtype;
#undef DTYPE_CODE

typedef struct {
    const char *data; /* the first class; the classes are adjacent, and need not be aligned */
    Dtype dtype;
    int is_log; /* whether the elements are logits or log-probabilities, otherwise probabilities or counts */
} Operand;

INLINE double unchanged_double(double x) { return x; }

INLINE float unchanged_float(float x) { return x; }

INLINE float float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE float bfloat16_to_float(uint16_t bfloat16) { return float_from_bits((uint32_t)bfloat16 << 16); }

INLINE float float16_to_float(uint16_t float16) {
    uint32_t magnitude = float16 & 0x7fff, sign = (uint32_t)(float16 & 0x8000) << 16;
    uint32_t normal = ((magnitude << 13) + (112 << 23)) | (magnitude >= 0x7c00 ? 0x7f800000u : 0);
    float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
    float absolute = magnitude < 0x400 ? subnormal : float_from_bits(normal);
    uint32_t bits;
    memcpy(&bits, &absolute, sizeof bits);
    return float_from_bits(bits | sign);
}

/* Element i of an array that need not be aligned, as float64. */
#define DEFINE_READ(name, type, convert) \
    INLINE double read_##name(const char *data, int64_t i) { \
        type element; \
        memcpy(&element, data + i * (int64_t)sizeof element, sizeof element); \
        return convert(element); \
    }
DTYPES(DEFINE_READ)
#undef DEFINE_READ

/* Writes the log-weights of the chunk that begins at class `start`. Lanes past the last class get no mass. */
INLINE void load_chunk(Operand operand, int64_t start, int64_t classes, int lanes, double *restrict log_weights) {
    int given = classes - start < lanes ? (int)(classes - start) : lanes;
    double padding = operand.is_log ? -INFINITY : 0;
#define LOAD(name, type, convert) \
    case DTYPE_##name: \
        for (int i = 0; i < given; i++) log_weights[i] = read_##name(operand.data, start + i); \
        break;
    switch (operand.dtype) {
        DTYPES(LOAD)
    case DTYPE_COUNT: break;
    }
#undef LOAD
    for (int i = given; i < lanes; i++) log_weights[i] = padding;
    if (!operand.is_log) FOR_EACH_LANE log_weights[i] = log_any(log_weights[i]);
}

/* The largest element of a row. NaN is skipped here: it makes the sum of the weights NaN later. */
INLINE double max_element(Operand operand, int64_t classes, int lanes) {
    double largest[CHUNK];
    FOR_EACH_LANE largest[i] = -INFINITY;
#define FIND_LARGEST(name, type, convert) \
    case DTYPE_##name: \
        for (int64_t start = 0; start < classes; start += lanes) { \
            int given = classes - start < lanes ? (int)(classes - start) : lanes; \
            for (int i = 0; i < given; i++) { \
                double x = read_##name(operand.data, start + i); \
                largest[i] = x > largest[i] ? x : largest[i]; \
            } \
        } \
        break;
    switch (operand.dtype) {
        DTYPES(FIND_LARGEST)
    case DTYPE_COUNT: break;
    }
#undef FIND_LARGEST
    return max_lane(lanes, largest);
}

/* The largest log-weight of a row. */
INLINE double max_log_weight(Operand operand, int64_t classes, int lanes) {
    double max = max_element(operand, classes, lanes);
    return operand.is_log ? max : log_any(max);
}

/* The first class with the largest log-weight, which is passed. */
INLINE int64_t top_class(Operand operand, int64_t classes, int lanes, double max_log_weight) {
    double max = operand.is_log ? max_log_weight : max_element(operand, classes, lanes);
#define FIND_FIRST(name, type, convert) \
    case DTYPE_##name: \
        for (int64_t start = 0; start < classes; start += lanes) { \
            int given = classes - start < lanes ? (int)(classes - start) : lanes, is_here = 0; \
            for (int i = 0; i < given; i++) is_here |= read_##name(operand.data, start + i) == max; \
            for (int i = 0; i < given && is_here; i++) \
                if (read_##name(operand.data, start + i) == max) return start + i; \
        } \
        break;
    switch (operand.dtype) {
        DTYPES(FIND_FIRST)
    case DTYPE_COUNT: break;
    }
#undef FIND_FIRST
    return 0;
}
DEFINE_PASS(
    int64_t, top_class, (Operand operand, int64_t classes, int lanes, double max_log_weight),
    (operand, classes, lanes, max_log_weight)
)

#endif
