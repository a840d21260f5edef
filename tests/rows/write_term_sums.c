/* Writes the term sums of rows to standard output, as the extension computes them: for tests/rows/test_compilers.py.

   Arguments: the code of the dtype, whether the numbers are logarithmic, rows, classes, temperature. Standard input: the
   numbers of p, then those of q. */

#include <stdio.h>
#include <stdlib.h>

#include "job.h"

int main(int argc, char **argv) {
    static const int64_t itemsizes[] = {8, 4, 2, 2};
    if (argc != 6) return 1;
    Dtype dtype = (Dtype)atoi(argv[1]);
    int is_log = atoi(argv[2]);
    int64_t rows = atoll(argv[3]), classes = atoll(argv[4]), itemsize = itemsizes[dtype];
    size_t bytes = (size_t)(rows * classes * itemsize), sums = (size_t)(rows * TERM_COUNT);
    char *p = malloc(bytes), *q = malloc(bytes);
    double *out = malloc(sums * sizeof *out);
    if (!p || !q || !out || fread(p, 1, bytes, stdin) != bytes || fread(q, 1, bytes, stdin) != bytes) return 1;

    Job job = {
        .p = {{p, dtype, is_log}, {classes}, itemsize}, .q = {{q, dtype, is_log}, {classes}, itemsize},
        .batch = {rows}, .rows = rows, .classes = classes, .dims = 1, .temperature = atof(argv[5]),
        .count = TERM_COUNT, .out = out,
    };
    for (int k = 0; k < TERM_COUNT; k++) job.requests[k] = (TermRequest){(Term)k, 0.3};
    parallel_rows(&job, 1);
    return fwrite(out, sizeof *out, sums, stdout) != sums;
}
