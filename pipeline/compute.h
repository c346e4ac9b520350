/* How a rank evaluates networks: kernels, dtype, threads. */
#ifndef SLUICE_PIPELINE_COMPUTE_H
#define SLUICE_PIPELINE_COMPUTE_H

#include "io/config.h"
#include "io/sys/comm.h"
#include "stages/nn/backend.h"
#include "stages/nn/tape.h"

/* The words of model.dtype and of --dtype. */
#define COMPUTE_DTYPES "f32|bf16|bf16-emulated"

struct compute {
    const char *backend; /* as in backend.h */
    const char *dtype;   /* f32; bf16: by the processor's instructions; bf16-emulated */
    int threads;
    bool gradient_checkpointing;
};

/* From the keys of a run's configuration. */
struct compute compute_of(const struct config *c);

/* Whether this processor can; never false for what is not "bf16". */
bool compute_available(const struct compute *o);

/* model.dtype=bf16 becomes f32, with a warning, where a processor of the job lacks
 * bfloat16. Collective on all; 0 or -1. */
int compute_settle(struct config *c, const struct comm *all);

/* A tape; fixes the threads of this process. "bf16" that is not available is float32,
 * with a warning. NULL: ERR_ENV. *backend, where wanted, receives the kernels. */
struct tape *compute_open(const struct compute *o, const struct backend **backend);

#endif
