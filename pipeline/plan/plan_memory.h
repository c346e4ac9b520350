/* Memory of a run before it is started. */
#ifndef SLUICE_PIPELINE_PLAN_MEMORY_H
#define SLUICE_PIPELINE_PLAN_MEMORY_H

#include "pipeline/plan/plan.h"
#include "scheduler/layout.h"

/* Bytes of resident memory at its highest, as getrusage counts it (accounting.json:
 * rss_group_bytes): pages of libraries count in every rank. Files that the system keeps in
 * its cache, and programs that score, are not in it. Plain data. */
struct plan_memory {
    double program;       /* a rank before its work: program, libraries, MPI */
    double group[GROUPS]; /* a rank that has this role alone, program included */
    double rank;          /* the rank with most of the layout */
    double node;          /* the node with most, all its ranks */
};

/* Ranks stand on nodes in blocks of plan_parts(ranks, nodes), as mpirun and srun fill them.
 * p: by plan_derive. Prints nothing. */
void plan_memory(const struct plan *p, const struct layout *l, int64_t nodes,
                 struct plan_memory *out);

/* The same from a configuration with model.path, for its section `groups` on so many ranks:
 * for who has no plan at hand (`submit --mem`). Evaluates the network once, which takes
 * less than a second; needs no MPI. 0, or -1: ERR_USAGE, ERR_INPUT, ERR_ENV as `sluice run`
 * would say, or ERR_USAGE where model.path is empty. */
int plan_memory_of(const struct config *c, int64_t ranks, int64_t nodes,
                   struct plan_memory *out);

/* Prints memory by group, and what of it can be spared. */
void plan_memory_print(const struct plan *p, const struct layout *l,
                       const struct plan_memory *m);

#endif
