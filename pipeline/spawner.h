/* Decides whether a job needs the helper that starts programs (io/spawn.h). */
#ifndef SLUICE_PIPELINE_SPAWNER_H
#define SLUICE_PIPELINE_SPAWNER_H

#include "io/config.h"

/* Forks the helper where exec.command is set, for the run or for a component; spawn_end
 * ends it. Call before MPI_Init. 0, or -1 with ERR_ENV. */
int spawner_begin(const struct config *c);

#endif
