/* The functions of the module that add rows to states: their arguments are checked, then read without the GIL. */

#ifndef TORCHDIVERGENCE_STATE_FUNCTIONS_H
#define TORCHDIVERGENCE_STATE_FUNCTIONS_H

#include "arguments.h"
#include "counts.h"
#include "moments.h"

enum { MAX_RANGES = 128 };

static PyObject *py_accumulate(PyObject *Py_UNUSED(module), PyObject *args) {
    static const char owner[] = "accumulate";
    PyObject *values, *rows, *columns, *accumulators;
    int64_t height, count, elements, value_bytes, accumulator_bytes;
    char *from, *to;
    if (!PyArg_UnpackTuple(args, owner, 4, 4, &values, &rows, &columns, &accumulators)) return NULL;
    if (!read_integer(rows, owner, "height", 0, INT64_MAX, &height)) return NULL;
    if (!read_integer(columns, owner, "count", 0, INT64_MAX, &count)) return NULL;
    int64_t value_sizes[] = {height, count, sizeof(double)};
    int64_t accumulator_sizes[] = {height, count ? WIDTH : 0, sizeof(int64_t)};
    if (!multiply(value_sizes, 2, owner, "height and count", &elements)) return NULL;
    if (!multiply(value_sizes, 3, owner, "height and count", &value_bytes)) return NULL;
    if (!multiply(accumulator_sizes, 3, owner, "the sizes of the accumulators", &accumulator_bytes)) return NULL;
    if (!read_address(values, "values", value_bytes, 1, &from)) return NULL;
    if (!read_address(accumulators, "accumulators", accumulator_bytes, sizeof(int64_t), &to)) return NULL;
    if (elements) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t k = 0; k < height; k++)
            accumulate(from + k * count * (int64_t)sizeof(double), count, (uint64_t *)to + k * WIDTH);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

/* The address of an array of so many float64 or int64. */
static inline int read_array(PyObject *object, const char *owner, int64_t count, char **address) {
    int64_t bytes, sizes[] = {count, sizeof(int64_t)};
    return multiply(sizes, 2, owner, "the sizes", &bytes) && read_address(object, owner, bytes, sizeof(int64_t), address);
}

/* Ranges of positions from their ends, which ascend. */
static inline int read_ranges(PyObject *tuple, const char *owner, int64_t positions, int *count, PositionRange *ranges) {
    int64_t ends[MAX_RANGES], first = 0;
    if (!read_integers(tuple, owner, "ends", 0, MAX_RANGES, count, ends)) return 0;
    for (int k = 0; k < *count; first = ends[k++]) {
        ranges[k] = (PositionRange){first, ends[k]};
        if (ends[k] >= first && ends[k] <= positions) continue;
        PyErr_Format(PyExc_ValueError, "%s: ends must ascend to the number of positions, got %R", owner, tuple);
        return 0;
    }
    return 1;
}

static PyObject *py_accumulate_moments(PyObject *Py_UNUSED(module), PyObject *args) {
    static const char owner[] = "accumulate_moments";
    PyObject *values, *weights, *shape, *ends, *is_signed, *states;
    int size, count;
    int64_t sizes[4], elements, rows, state_sizes[3], state_elements;
    char *of_values, *of_weights, *of_states;
    WeightedColumns x;
    PositionRange ranges[MAX_RANGES];
    if (!PyArg_UnpackTuple(args, owner, 6, 6, &values, &weights, &shape, &ends, &is_signed, &states)) return NULL;
    if (!read_integers(shape, owner, "sizes", 4, 4, &size, sizes)) return NULL;
    if (!multiply(sizes, 4, owner, "the sizes", &elements)) return NULL;
    if (!multiply(sizes + 1, 3, owner, "the sizes", &rows)) return NULL;
    if (!read_array(values, "values", elements, &of_values)) return NULL;
    if (!read_array(weights, "weights", rows, &of_weights)) return NULL;
    x = (WeightedColumns){(double *)of_values, (double *)of_weights, sizes[0], sizes[1], sizes[2], sizes[3], 0};
    if ((x.is_signed = PyObject_IsTrue(is_signed)) < 0) return NULL;
    if (!read_ranges(ends, owner, x.positions, &count, ranges)) return NULL;
    if (x.columns > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: there must be fewer columns, got %R", owner, shape);
        return NULL;
    }
    state_sizes[0] = count, state_sizes[1] = moments_size(&x);
    if (!multiply(state_sizes, 2, owner, "the sizes of the states", &state_elements)) return NULL;
    if (!read_array(states, "states", state_elements, &of_states)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (int k = 0; k < count; k++) accumulate_moments(&x, ranges[k], (uint64_t *)of_states + k * state_sizes[1]);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_accumulate_histogram(PyObject *Py_UNUSED(module), PyObject *args) {
    static const char owner[] = "accumulate_histogram";
    PyObject *numbers, *weights, *rows, *is_signed, *state;
    int64_t count;
    int both_signs;
    char *of_numbers, *of_weights, *of_state;
    if (!PyArg_UnpackTuple(args, owner, 5, 5, &numbers, &weights, &rows, &is_signed, &state)) return NULL;
    if (!read_integer(rows, owner, "count", 0, INT64_MAX, &count)) return NULL;
    if (!read_array(numbers, "numbers", count, &of_numbers)) return NULL;
    if (!read_array(weights, "weights", count, &of_weights)) return NULL;
    if ((both_signs = PyObject_IsTrue(is_signed)) < 0) return NULL;
    if (!read_array(state, "state", (both_signs ? 2 : 1) * BINS + EXTREMA, &of_state)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    accumulate_histogram((double *)of_numbers, (double *)of_weights, count, both_signs, (int64_t *)of_state);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_accumulate_contingency(PyObject *Py_UNUSED(module), PyObject *args) {
    static const char owner[] = "accumulate_contingency";
    PyObject *first, *second, *weights, *rows, *state;
    int64_t count;
    char *of_first, *of_second, *of_weights, *of_state;
    if (!PyArg_UnpackTuple(args, owner, 5, 5, &first, &second, &weights, &rows, &state)) return NULL;
    if (!read_integer(rows, owner, "count", 0, INT64_MAX, &count)) return NULL;
    if (!read_array(first, "first", count, &of_first)) return NULL;
    if (!read_array(second, "second", count, &of_second)) return NULL;
    if (!read_array(weights, "weights", count, &of_weights)) return NULL;
    if (!read_array(state, "state", 4, &of_state)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    accumulate_contingency(
        (double *)of_first, (double *)of_second, (double *)of_weights, count, (int64_t *)of_state
    );
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

#endif
