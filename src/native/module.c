/* The rows of two tensors, shared out among threads; exact sums; and the door to Python for both. */

#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>

#include "row.h"
#include "exact.h"

enum { MOST_DIMS = 16, LEAST_WORK = 1 << 14 /* numbers for which a thread is worth its start */ };

/* One binary for every x86-64: the loader picks the code with the widest vectors that the machine has. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define WIDEST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST
#endif

typedef struct {
    Side side; /* of the first row */
    int64_t strides[MOST_DIMS], item;
} Rows;

typedef struct {
    Rows p, q;
    int64_t batch[MOST_DIMS], rows, classes, share; /* rows that a thread takes at a time */
    int dims, count;
    double rate; /* 1 / temperature */
    Wanted wanted[MOST_SUMS];
    double *out; /* [count, rows] */
    atomic_llong next;
} Work;

static Side side_of_row(const Rows *rows, const Work *work, int64_t row) {
    int64_t offset = 0;
    for (int dim = work->dims - 1; dim >= 0; dim--) {
        offset += row % work->batch[dim] * rows->strides[dim];
        row /= work->batch[dim];
    }
    Side side = rows->side;
    side.data = (const char *)side.data + offset * rows->item;
    return side;
}

WIDEST static void some_rows(Work *work, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        Side p = side_of_row(&work->p, work, row), q = side_of_row(&work->q, work, row);
        double *out = work->out + row;
        if (work->rate == 1) /* a constant saves the multiplications */
            sums_of_row(p, q, work->classes, 1, work->wanted, work->count, out, work->rows);
        else
            sums_of_row(p, q, work->classes, work->rate, work->wanted, work->count, out, work->rows);
    }
}

static void take_rows(Work *work) {
    int64_t first;
    while ((first = atomic_fetch_add(&work->next, work->share)) < work->rows)
        some_rows(work, first, first + work->share < work->rows ? first + work->share : work->rows);
}

/* The threads are those that torch's own operations run on, if both use one OpenMP library, as builds with gcc do. */
static void all_rows(Work *work, int threads) {
    int64_t shares = (work->rows + work->share - 1) / work->share;
    if (shares < threads) threads = (int)shares;
    if (threads < 2) {
        take_rows(work);
        return;
    }
#pragma omp parallel num_threads(threads)
    take_rows(work);
}

static int integers(PyObject *tuple, int64_t *numbers) {
    int size = (int)PyTuple_Size(tuple);
    for (int k = 0; k < size && k < MOST_DIMS; k++) numbers[k] = PyLong_AsLongLong(PyTuple_GetItem(tuple, k));
    return size;
}

/* From (address, dtype, whether it holds logarithms, strides of the batch dimensions in numbers). */
static int take_side(PyObject *tuple, int dims, Rows *rows) {
    static const int64_t items[] = {[FLOAT64] = 8, [FLOAT32] = 4, [BFLOAT16] = 2, [FLOAT16] = 2};
    unsigned long long address;
    PyObject *strides;
    int dtype;
    if (!PyArg_ParseTuple(tuple, "KipO!", &address, &dtype, &rows->side.is_log, &PyTuple_Type, &strides)) return 0;
    rows->side.data = (const void *)(uintptr_t)address;
    if (!address) return 0;
    rows->side.dtype = (Dtype)dtype;
    rows->item = items[dtype];
    return integers(strides, rows->strides) == dims;
}

static PyObject *python_sums(PyObject *Py_UNUSED(module), PyObject *args) {
    Work work = {.rows = 1};
    PyObject *p, *q, *batch, *wanted;
    unsigned long long out;
    double temperature;
    int threads;
    if (!PyArg_ParseTuple(
            args, "O!O!O!LdO!Ki", &PyTuple_Type, &p, &PyTuple_Type, &q, &PyTuple_Type, &batch, &work.classes,
            &temperature, &PyTuple_Type, &wanted, &out, &threads
        ))
        return NULL;
    work.dims = integers(batch, work.batch);
    work.count = (int)PyTuple_Size(wanted);
    int fits = work.dims <= MOST_DIMS && work.count <= MOST_SUMS;
    if (!fits || !take_side(p, work.dims, &work.p) || !take_side(q, work.dims, &work.q))
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no memory, too many dimensions or sums, or strides that do not fit");
    for (int k = 0; k < work.count; k++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(wanted, k), "id", &work.wanted[k].sum, &work.wanted[k].parameter))
            return NULL;
    for (int dim = 0; dim < work.dims; dim++) work.rows *= work.batch[dim];
    work.out = (double *)(uintptr_t)out;
    work.rate = 1 / temperature;
    work.share = 1 + LEAST_WORK / work.classes;
    Py_BEGIN_ALLOW_THREADS
    all_rows(&work, threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *python_add(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long numbers, banks;
    long long count, height;
    if (!PyArg_ParseTuple(args, "KLLK", &numbers, &height, &count, &banks)) return NULL;
    const double *x = (const double *)(uintptr_t)numbers;
    int64_t *bank = (int64_t *)(uintptr_t)banks;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t k = 0; k < height; k++) add_exactly(x + k * count, count, bank + k * BANK);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static int add_constants(PyObject *module) {
#define NAME(sum) #sum,
    static const char *const names[] = {SUMS(NAME)};
    int count = sizeof names / sizeof *names;
    PyObject *tuple = PyTuple_New(count);
    for (int k = 0; tuple && k < count; k++) PyTuple_SetItem(tuple, k, PyUnicode_FromString(names[k]));
    int failed = !tuple || PyModule_AddObjectRef(module, "SUMS", tuple);
    Py_XDECREF(tuple);
    return failed || PyModule_AddIntConstant(module, "MOST_SUMS", MOST_SUMS) ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"sums", python_sums, METH_VARARGS, "sums(p, q, batch, classes, temperature, wanted, out, threads): see _rows/native.py."},
    {"add", python_add, METH_VARARGS, "add(numbers, height, count, banks): see _accumulators.py."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_constants}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = 0, .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
