/* One job: wires MPI, groups, run directory, coordinator and worker together, and takes
 * them apart in reverse. */
#ifndef SLUICE_PIPELINE_SESSION_H
#define SLUICE_PIPELINE_SESSION_H

#include "io/config.h"
#include "scheduler/layout.h"

#include <stdbool.h>

struct session_options {
    struct config *config; /* run.dir set; groups.threads=auto is settled */
    bool single;                 /* serve one group only (sluice stage) */
    enum group group;
    int argc; /* command line, for the provenance */
    char **argv;
    /* Before the run: makes the run directory and settles run.dir and what follows from
     * it, on one rank; all get dir and iterations. NULL-able. */
    int (*begin)(void *ctx, char dir[4096], int64_t *iterations);
    void *ctx;
};

/* Initialises and finalises MPI. Returns the process's exit code; messages are printed.
 * Collective on MPI_COMM_WORLD. */
int session_run(const struct session_options *o);

#endif
