/* The Python module _native: term sums of rows, accumulation in states, and the layout that both share with Python. */

#include "arguments.h"
#include "job.h"
#include "state_functions.h"
#include "tokens.h"

enum { INTERFACE = 4 }; /* raised whenever a signature, a code or a layout below changes */

static int read_job(PyObject *args, Job *job, int64_t *threads) {
    static const char owner[] = "term_sums";
    PyObject *p, *q, *batch, *classes, *temperature, *requests, *out, *thread_count;
    if (!PyArg_UnpackTuple(args, owner, 8, 8, &p, &q, &batch, &classes, &temperature, &requests, &out, &thread_count))
        return 0;
    if (!read_integers(batch, owner, "batch", 0, MAX_DIMS, &job->dims, job->batch)) return 0;
    if (!multiply(job->batch, job->dims, owner, "the sizes of the batch", &job->rows)) return 0;
    if (!read_integer(classes, owner, "classes", 1, INT64_MAX, &job->classes)) return 0;
    if (!read_temperature(temperature, owner, &job->temperature)) return 0;
    if (!read_integer(thread_count, owner, "threads", 1, INT64_MAX, threads)) return 0;
    if (!read_tuple_size(requests, owner, "requests", 0, MAX_TERMS, &job->count)) return 0;
    for (int k = 0; k < job->count; k++)
        if (!read_request(PyTuple_GetItem(requests, k), job->requests + k)) return 0;

    int64_t bytes, sizes[] = {job->rows, job->count, sizeof(double)};
    char *address;
    if (!multiply(sizes, 3, owner, "the sizes of the result", &bytes)) return 0;
    if (!read_address(out, "out", bytes, sizeof(double), &address)) return 0;
    job->out = (double *)address;
    return read_tensor(p, "p", job, &job->p) && read_tensor(q, "q", job, &job->q);
}

static PyObject *py_term_sums(PyObject *Py_UNUSED(module), PyObject *args) {
    Job job;
    int64_t threads;
    if (!read_job(args, &job, &threads)) return NULL;
    if (job.rows && job.count) {
        Py_BEGIN_ALLOW_THREADS
        parallel_rows(&job, threads < MAX_THREADS ? (int)threads : MAX_THREADS);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

/* What is known of p or of q, from (weights, logarithms of the normalizers, most likely classes, whether the weights are
   logarithmic). */
static int read_token_side(PyObject *tuple, const char *owner, int64_t rows, TokenSide *side) {
    int size;
    char *columns[3];
    if (!read_tuple_size(tuple, owner, "the side", 4, 4, &size)) return 0;
    for (int k = 0; k < 3; k++)
        if (!read_array(PyTuple_GetItem(tuple, k), owner, rows, columns + k)) return 0;
    side->weight = (double *)columns[0];
    side->log_mass = (double *)columns[1];
    side->top = (double *)columns[2];
    side->is_log = PyObject_IsTrue(PyTuple_GetItem(tuple, 3));
    return side->is_log >= 0;
}

static PyObject *py_token_columns(PyObject *Py_UNUSED(module), PyObject *args) {
    static const char owner[] = "token_columns";
    PyObject *p, *q, *target, *count, *temperature, *out;
    TokenRows rows;
    int64_t elements, sizes[2] = {TOKEN_COLUMN_COUNT};
    char *of_target, *of_out;
    if (!PyArg_UnpackTuple(args, owner, 6, 6, &p, &q, &target, &count, &temperature, &out)) return NULL;
    if (!read_integer(count, owner, "count", 0, INT64_MAX, &rows.rows)) return NULL;
    if (!read_temperature(temperature, owner, &rows.temperature)) return NULL;
    if (!read_token_side(p, "p", rows.rows, &rows.p) || !read_token_side(q, "q", rows.rows, &rows.q)) return NULL;
    if (!read_array(target, "target", rows.rows, &of_target)) return NULL;
    sizes[1] = rows.rows;
    if (!multiply(sizes, 2, owner, "the sizes of the result", &elements)) return NULL;
    if (!read_array(out, "out", elements, &of_out)) return NULL;
    rows.target = (double *)of_target;
    Py_BEGIN_ALLOW_THREADS
    write_tokens(&rows, (double *)of_out);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *new_dtypes(void) {
#define DTYPE_NAME(name, type, convert) #name,
    static const char *const names[] = {DTYPES(DTYPE_NAME)};
#undef DTYPE_NAME
    PyObject *dict = PyDict_New();
    for (int code = 0; dict && code < DTYPE_COUNT; code++) {
        PyObject *number = PyLong_FromLong(code);
        if (!number || PyDict_SetItemString(dict, names[code], number)) Py_CLEAR(dict);
        Py_XDECREF(number);
    }
    return dict;
}

static PyObject *new_names(const char *const *names, int count) {
    PyObject *tuple = PyTuple_New(count);
    for (int code = 0; tuple && code < count; code++) {
        PyObject *name = PyUnicode_FromString(names[code]);
        if (!name || PyTuple_SetItem(tuple, code, name)) Py_CLEAR(tuple);
    }
    return tuple;
}

static int check_machine(PyObject *Py_UNUSED(module)) {
    if (is_supported_machine()) return 0;
    PyErr_SetString(PyExc_ImportError, "this processor has no AVX2 and FMA instructions");
    return -1;
}

static int add_layout(PyObject *module) {
#define NAME(name) #name,
    static const char *const terms[] = {TERMS(NAME)}, *const columns[] = {TOKEN_COLUMNS(NAME)};
#undef NAME
    PyObject *layout = Py_BuildValue(
        "{s:i,s:i,s:i,s:i,s:(iiii),s:(ii),s:i,s:N,s:N,s:i,s:i,s:N}", "interface", INTERFACE, "limb_bits", LIMB_BITS, "limbs",
        LIMBS, "width", WIDTH, "octaves", MIN_OCTAVE, FINE_OCTAVE, COARSE_OCTAVE, MAX_OCTAVE, "bin_bits", COARSE_BITS,
        FINE_BITS, "bins", BINS, "dtypes", new_dtypes(), "columns", new_names(columns, TOKEN_COLUMN_COUNT), "max_dims", MAX_DIMS,
        "max_terms", MAX_TERMS, "terms", new_names(terms, TERM_COUNT)
    );
    int failed = PyModule_AddObjectRef(module, "LAYOUT", layout); /* passes on the exception of a missing layout */
    Py_XDECREF(layout);
    return failed;
}

static PyMethodDef methods[] = {
    {"term_sums", py_term_sums, METH_VARARGS,
     "term_sums(p, q, batch, classes, temperature, requests, out, threads, /)\n--\n\n"
     "Write the requested term sums of every row, float64 [requests, *batch], to the address `out`."},
    {"token_columns", py_token_columns, METH_VARARGS,
     "token_columns(p, q, target, count, temperature, out, /)\n--\n\n"
     "Write the columns of rows with a target, float64 [columns, count], to the address `out`."},
    {"accumulate", py_accumulate, METH_VARARGS,
     "accumulate(values, height, count, accumulators, /)\n--\n\n"
     "Add float64 values [height, count] at an address to int64 accumulators [height, width] at another."},
    {"accumulate_moments", py_accumulate_moments, METH_VARARGS,
     "accumulate_moments(values, weights, sizes, ends, is_signed, states, /)\n--\n\n"
     "Add the moments of weighted columns, float64 [columns, clusters, blocks, positions], to a state for each range."},
    {"accumulate_histogram", py_accumulate_histogram, METH_VARARGS,
     "accumulate_histogram(numbers, weights, count, is_signed, state, /)\n--\n\n"
     "Count float64 numbers of positive weight in the bins of a histogram, and keep their extrema."},
    {"accumulate_contingency", py_accumulate_contingency, METH_VARARGS,
     "accumulate_contingency(first, second, weights, count, state, /)\n--\n\n"
     "Count rows of positive weight by the signs of two columns."},
    {NULL, NULL, 0, NULL},
};

/* ISO C has no conversion of a function pointer to void *, which the type of a slot requires. */
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, __extension__(void *) check_machine},
    {Py_mod_exec, __extension__(void *) add_layout},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = 0, .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
