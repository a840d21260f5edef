/* Conversion of Python arguments, with every check that can be made without reading memory.

   Each function returns 1, or sets a Python exception and returns 0. The exception is a TypeError for an object of the
   wrong type, else a ValueError. `owner` is the argument or function that a message begins with. */

#ifndef TORCHDIVERGENCE_ARGUMENTS_H
#define TORCHDIVERGENCE_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#include "job.h"

static inline int read_integer(
    PyObject *object, const char *owner, const char *name, int64_t min, int64_t max, int64_t *value
) {
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (*value == -1 && PyErr_Occurred()) return 0;
    if (!overflow && *value >= min && *value <= max) return 1;
    PyErr_Format(
        PyExc_ValueError, "%s: %s must be from %lld to %lld, got %R", owner, name, (long long)min, (long long)max,
        object
    );
    return 0;
}

static inline int read_double(PyObject *object, double *value) {
    *value = PyFloat_AsDouble(object);
    return !(*value == -1 && PyErr_Occurred());
}

static inline int read_temperature(PyObject *object, const char *owner, double *value) {
    if (!read_double(object, value)) return 0;
    if (*value > 0 && 1 / *value < INFINITY) return 1;
    PyErr_Format(PyExc_ValueError, "%s: temperature and its inverse must be positive, got %R", owner, object);
    return 0;
}

/* Between min and max items. */
static inline int read_tuple_size(PyObject *object, const char *owner, const char *name, int min, int max, int *size) {
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: %s must be a tuple, got %R", owner, name, object);
        return 0;
    }
    Py_ssize_t found = PyTuple_Size(object);
    if (found >= min && found <= max) {
        *size = (int)found;
        return 1;
    }
    if (min == max)
        PyErr_Format(PyExc_ValueError, "%s: %s must have %d items, got %zd", owner, name, min, found);
    else
        PyErr_Format(PyExc_ValueError, "%s: %s must have %d to %d items, got %zd", owner, name, min, max, found);
    return 0;
}

/* A tuple of non-negative integers. */
static inline int read_integers(
    PyObject *tuple, const char *owner, const char *name, int min, int max, int *size, int64_t *values
) {
    if (!read_tuple_size(tuple, owner, name, min, max, size)) return 0;
    for (int k = 0; k < *size; k++)
        if (!read_integer(PyTuple_GetItem(tuple, k), owner, name, 0, INT64_MAX, values + k)) return 0;
    return 1;
}

/* The address of so many bytes. It may be null only if there are none. */
static inline int read_address(PyObject *object, const char *owner, int64_t bytes, int64_t alignment, char **address) {
    unsigned long long number = PyLong_AsUnsignedLongLong(object);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return 0;
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s: the address must be an unsigned 64-bit integer, got %R", owner, object);
        return 0;
    }
    *address = (char *)(uintptr_t)number;
    const char *problem = NULL;
    if (!number && bytes) problem = "the address is null";
    if (number % (uint64_t)alignment) problem = "the address is not aligned";
    if (number > UINTPTR_MAX || UINTPTR_MAX - number < (uint64_t)bytes) problem = "the data exceed the address space";
    if (!problem) return 1;
    PyErr_Format(PyExc_ValueError, "%s: %s, got %R for %lld bytes", owner, problem, object, (long long)bytes);
    return 0;
}

/* The product of sizes >= 0. */
static inline int multiply(const int64_t *sizes, int count, const char *owner, const char *name, int64_t *product) {
    *product = 1;
    for (int k = 0; k < count; k++)
        if (sizes[k] == 0) {
            *product = 0;
            return 1;
        }
    for (int k = 0; k < count; k++)
        if (__builtin_mul_overflow(*product, sizes[k], product)) {
            PyErr_Format(PyExc_ValueError, "%s: %s overflow 64 bits", owner, name);
            return 0;
        }
    return 1;
}

/* A tensor of the job's shape, from (address, dtype code, whether it is logarithmic, strides of the batch dimensions in
   elements). */
static inline int read_tensor(PyObject *tuple, const char *owner, const Job *job, Tensor *tensor) {
#define ITEMSIZE(name, type, convert) sizeof(type),
    static const int64_t itemsizes[] = {DTYPES(ITEMSIZE)};
#undef ITEMSIZE
    int size, dims = job->dims;
    int64_t dtype;
    if (!read_tuple_size(tuple, owner, "the tensor", 4, 4, &size)) return 0;
    if (!read_integer(PyTuple_GetItem(tuple, 1), owner, "dtype", 0, DTYPE_COUNT - 1, &dtype)) return 0;
    tensor->first_row.dtype = (Dtype)dtype;
    tensor->itemsize = itemsizes[dtype];
    tensor->first_row.is_log = PyObject_IsTrue(PyTuple_GetItem(tuple, 2));
    if (tensor->first_row.is_log < 0) return 0;
    if (!read_integers(PyTuple_GetItem(tuple, 3), owner, "strides", dims, dims, &dims, tensor->strides)) return 0;

    /* From the first element to the last one of the row farthest away. */
    int64_t elements = job->rows && job->count ? job->classes : 0, bytes;
    int overflow = 0;
    for (int dim = 0; dim < dims && elements; dim++) {
        int64_t reach;
        overflow |= __builtin_mul_overflow(job->batch[dim] - 1, tensor->strides[dim], &reach);
        overflow |= __builtin_add_overflow(elements, reach, &elements);
    }
    overflow |= __builtin_mul_overflow(elements, tensor->itemsize, &bytes);
    if (overflow) {
        PyErr_Format(PyExc_ValueError, "%s: shape and strides overflow 64 bits", owner);
        return 0;
    }
    char *address;
    if (!read_address(PyTuple_GetItem(tuple, 0), owner, bytes, 1, &address)) return 0;
    tensor->first_row.data = address;
    return 1;
}

/* One request from (term code, parameter). */
static inline int read_request(PyObject *tuple, TermRequest *request) {
    int size;
    int64_t term;
    if (!read_tuple_size(tuple, "requests", "a request", 2, 2, &size)) return 0;
    if (!read_integer(PyTuple_GetItem(tuple, 0), "requests", "term", 0, TERM_COUNT - 1, &term)) return 0;
    request->term = (Term)term;
    return read_double(PyTuple_GetItem(tuple, 1), &request->parameter);
}

#endif
