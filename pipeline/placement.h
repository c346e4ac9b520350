/* Which cores a rank runs on. */
#ifndef SLUICE_PIPELINE_PLACEMENT_H
#define SLUICE_PIPELINE_PLACEMENT_H

#include "io/config.h"
#include "scheduler/layout.h"

/* split: the ranks of a node get disjoint cores, groups.threads each, where the node has
 * enough. shared: a mask that the launcher set too narrow for groups.threads is widened.
 * Logs the result and warns when ranks x threads exceed the cores of a split placement.
 * Collective on MPI_COMM_WORLD. */
void placement_apply(const struct config *c, const struct layout *l, int rank);

#endif
