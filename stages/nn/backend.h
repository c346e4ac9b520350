/* The table of kernels behind ops.h: "reference" (plain loops, in reference.c) and
 * "onednn" (convolution and matmul through oneDNN, the rest by our own vector loops).
 * An accelerator would be a third table. */
#ifndef SLUICE_STAGES_NN_BACKEND_H
#define SLUICE_STAGES_NN_BACKEND_H

#include <stddef.h>

struct backend;

/* The process's back end of that name; NULL and ERR_ENV for an unknown one. threads: of
 * this rank, fixed from now on (results for float32 weight gradients may depend on it, so
 * it is recorded with the run). The first call fixes it. */
const struct backend *backend_get(const char *name, int threads);
const char *backend_name(const struct backend *b);
/* "oneDNN 2.6.3, cpu isa avx2" into buf. */
void backend_describe(const struct backend *b, char *buf, size_t size);

#endif
