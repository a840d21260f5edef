/* The parallel job: the term sums of all rows of two tensors, distributed over threads. It knows nothing of Python. */

#ifndef TORCHDIVERGENCE_JOB_H
#define TORCHDIVERGENCE_JOB_H

#include <stdatomic.h>
#include <stdint.h>

#include "row.h"

enum {
    MAX_DIMS = 16,      /* batch dimensions */
    MAX_THREADS = 1024, /* a larger number asked for is reduced to this */
    MIN_GRAIN = 1 << 14 /* the classes for which waking a thread pays off */
};

/* One binary for every x86-64: the loader picks the code for the widest vectors that the machine has. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(__SANITIZE_ADDRESS__)
#define MULTIVERSIONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MULTIVERSIONED
#endif

/* A tensor [*batch, classes] whose classes are adjacent. */
typedef struct {
    Operand first_row;
    int64_t strides[MAX_DIMS]; /* of the batch dimensions, in elements */
    int64_t itemsize;
} Tensor;

typedef struct {
    Tensor p, q;
    int64_t batch[MAX_DIMS], rows, classes;
    int dims;
    double inv_temperature;
    TermRequest requests[MAX_TERMS];
    int count;          /* of the requests */
    double *out;        /* [count, rows] */
    int64_t grain_size; /* the rows that a thread takes at a time */
    atomic_llong next;  /* the first row that no thread has taken */
} Job;

INLINE Operand operand_of_row(const Tensor *tensor, const Job *job, int64_t row) {
    int64_t offset = 0;
    for (int dim = job->dims - 1; dim >= 0; dim--) {
        offset += row % job->batch[dim] * tensor->strides[dim];
        row /= job->batch[dim];
    }
    Operand operand = tensor->first_row;
    operand.data += offset * tensor->itemsize;
    return operand;
}

MULTIVERSIONED static void rows_range(Job *job, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        Operand p = operand_of_row(&job->p, job, row), q = operand_of_row(&job->q, job, row);
        double *out = job->out + row;
        if (job->inv_temperature == 1) /* as a constant, it saves the multiplications */
            row_term_sums(p, q, job->classes, 1, job->requests, job->count, out, job->rows);
        else
            row_term_sums(p, q, job->classes, job->inv_temperature, job->requests, job->count, out, job->rows);
    }
}

static inline void worker(Job *job) {
    int64_t first;
    while ((first = atomic_fetch_add(&job->next, job->grain_size)) < job->rows) {
        int64_t rest = job->rows - first;
        rows_range(job, first, first + (rest < job->grain_size ? rest : job->grain_size));
    }
}

/* Runs a job on at most so many threads. The OpenMP pool is that of torch, if both use the same OpenMP library. */
static inline void parallel_rows(Job *job, int threads) {
    job->grain_size = 1 + MIN_GRAIN / job->classes;
    atomic_init(&job->next, 0);
    int64_t grains = (job->rows - 1) / job->grain_size + 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (grains < threads) threads = (int)grains;
    if (threads < 2) {
        worker(job);
        return;
    }
#pragma omp parallel num_threads(threads)
    worker(job);
}

#endif
