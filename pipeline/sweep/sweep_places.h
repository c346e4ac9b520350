/* Where a sweep's members find room. */
#ifndef SLUICE_PIPELINE_SWEEP_PLACES_H
#define SLUICE_PIPELINE_SWEEP_PLACES_H

#include "pipeline/sweep/sweep.h"

enum {
    SWEEP_SPREAD = 3
}; /* most members per core, of one thread and started by no launcher */

/* Words before a member's program into out[len], by sweep.launch: auto means none for
 * one rank on one node, else the launcher ("": srun --mpi=pmix inside a Slurm job, else
 * mpirun) with the member's ranks. ERR_USAGE for several nodes without srun. */
int sweep_launch(const struct sweep *s, const char *launcher, char *out, size_t len);

/* Members that fit the tasks of the Slurm job, or the cores of this machine; at
 * least 1. */
int64_t sweep_places(const struct sweep *s);

#endif
