/* The table of kernels behind ops.h:
 *
 * onednn     our own Winograd convolutions and vector loops, oneDNN for the rest;
 *            bfloat16 by oneDNN on processors that have it
 * emulated   the same, but bfloat16 is float32 arithmetic between bfloat16 ends: on any
 *            processor, though vector width and family may change last bits
 * reference  plain loops, slow, for comparison
 *
 * An accelerator would be one more table. */
#ifndef SLUICE_STAGES_NN_BACKEND_H
#define SLUICE_STAGES_NN_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

struct backend;

/* The process's back end of that name; NULL and ERR_ENV for an unknown one. threads: of
 * this rank, fixed by the first call; no result depends on it. */
const struct backend *backend_get(const char *name, int threads);
/* Frees what the tables keep by shape for the process; it is made again when needed. */
void backend_clear(void);
/* Whether this processor computes bfloat16 by the table of that name. */
bool backend_has_bf16(const char *name);
const char *backend_name(const struct backend *b);
/* "oneDNN 2.6.3, cpu isa avx2" into buf. */
void backend_describe(const struct backend *b, char *buf, size_t size);

#endif
