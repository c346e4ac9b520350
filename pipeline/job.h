/* A command that all ranks do together, without groups and stages. */
#ifndef SLUICE_PIPELINE_JOB_H
#define SLUICE_PIPELINE_JOB_H

#include "io/config.h"
#include "io/sys/comm.h"

/* Initialises MPI, settles threads, cores and model.dtype in c, calls work on every rank
 * and finalises. work returns 0 or -1 alike on all ranks, which rank 0 then reports as
 * `sluice NAME: ...`. Returns the process's exit code. Collective on MPI_COMM_WORLD. */
int job_run(const char *name, struct config *c,
            int (*work)(void *ctx, const struct comm *all), void *ctx);

#endif
