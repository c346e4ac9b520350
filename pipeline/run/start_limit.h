/* A limit on the start of MPI. A launcher such as srun leaves ranks alone that wait in
 * MPI_Init for one that ended before it, or that cannot be reached; they would wait
 * until the job's time limit. */
#ifndef SLUICE_PIPELINE_START_LIMIT_H
#define SLUICE_PIPELINE_START_LIMIT_H

#include "io/config.h"

/* From here on the process has run.start_timeout for MPI_Init: then it ends with
 * ERR_STALL. The first two ranks of each node say why. start_limit_end once the ranks have
 * heard of each other: connections are made by the first collective, not by MPI_Init. */
void start_limit_begin(const struct config *c);
void start_limit_end(void);

#endif
