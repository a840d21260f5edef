/* The parallel job: the term sums of all rows of two tensors, distributed over threads. It knows nothing of Python. */

#ifndef TORCHDIVERGENCE_JOB_H
#define TORCHDIVERGENCE_JOB_H

#include <fenv.h>
#include <stdatomic.h>
#include <stdint.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#include "row.h"

enum {
    MAX_DIMS = 16,      /* batch dimensions */
    MAX_THREADS = 1024, /* a larger number asked for is reduced to this */
    MIN_GRAIN = 1 << 14 /* the classes for which waking a thread pays off */
};

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
    double temperature;
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

INLINE void rows_range(Job *job, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        Operand p = operand_of_row(&job->p, job, row), q = operand_of_row(&job->q, job, row);
        row_term_sums(
            p, q, job->classes, 1 / job->temperature, job->requests, job->count, job->out + row, job->rows
        );
    }
}

/* The C library's default mode leaves the flags of flush-to-zero and denormals-are-zero alone in glibc before 2.23. */
INLINE void keep_subnormals(void) {
#ifdef __x86_64__
    _mm_setcsr(_mm_getcsr() & ~0x8040u);
#endif
}

/* Takes rows until none is left. The thread computes in the default floating-point mode: rounding to nearest, and
   subnormal numbers are numbers, even if another library has told this thread to take them for 0. */
INLINE void take_rows(Job *job) {
    fenv_t mode;
    fegetenv(&mode);
    fesetenv(FE_DFL_ENV);
    keep_subnormals();
    int64_t first;
    while ((first = atomic_fetch_add(&job->next, job->grain_size)) < job->rows) {
        int64_t rest = job->rows - first;
        rows_range(job, first, first + (rest < job->grain_size ? rest : job->grain_size));
    }
    fesetenv(&mode);
}

FUSED static void worker(void *job) { take_rows(job); }

/* The parallel loop of an OpenMP runtime: GNU's, or another one, which then has this function too. It is called by name,
   without a runtime of our own: torch has loaded one, and shares its threads with us. Null if there is none. */
extern void GOMP_parallel(void (*function)(void *), void *argument, unsigned threads, unsigned flags)
    __attribute__((weak));

/* Runs a job on at most so many threads. */
static inline void parallel_rows(Job *job, int threads) {
    job->grain_size = 1 + MIN_GRAIN / job->classes;
    atomic_init(&job->next, 0);
    int64_t grains = (job->rows - 1) / job->grain_size + 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (grains < threads) threads = (int)grains;
    if (threads > 1 && GOMP_parallel)
        GOMP_parallel(worker, job, (unsigned)threads, 0);
    else
        worker(job);
}

#endif
