/* Which cores a rank runs on, and with how many threads. */
#ifndef SLUICE_PIPELINE_PLACEMENT_H
#define SLUICE_PIPELINE_PLACEMENT_H

#include "io/config.h"
#include "io/sys/text.h"
#include "scheduler/layout.h"

/* What one rank found of its node. Plain data, gathered by the caller. */
struct place {
    int node_first; /* lowest rank of the node */
    int node_ranks, node_cpus;
    int threads, cpu_count;
    char cpus[96]; /* the rank's own, as a list: "0-1,4" */
};

/* Starts this process anew with OMP_WAIT_POLICY=passive where `threads` per rank and the
 * launcher's ranks on this node exceed its cores: OpenMP's idle threads would otherwise
 * spin against the other ranks, and libgomp reads the variable when it is loaded. Does
 * nothing where the user chose (OMP_WAIT_POLICY, GOMP_SPINCOUNT) or the launcher is
 * unknown. Call before MPI_Init; argv as main got it. */
void placement_quiet_threads(const struct config *c, char **argv);

/* groups.threads=auto becomes a number: the cores that the rank may use, divided by the
 * ranks that may use them too; the least of all ranks, so that all compute alike.
 * Collective on MPI_COMM_WORLD. 0 or -1 (ERR_USAGE). */
int placement_threads(struct config *c, int rank);

/* split: the ranks of a node get disjoint cores, groups.threads each, where the node has
 * enough. shared: a mask that the launcher set too narrow for groups.threads is widened.
 * *place receives the result. Collective on MPI_COMM_WORLD. */
void placement_apply(const struct config *c, bool split, int rank, struct place *place);

/* One line per node, or per run of ranks with other cpus: "ranks 0-3  cpus 0-1 ...". */
void placement_describe(const struct place *place, int world, struct text *out);
/* The first trouble, with the key and the remedy; nothing is added if there is none: a rank
 * with fewer cpus than threads, or a group with more ranks x threads on a node than it has
 * cores (groups take turns, so their sum may be larger). */
void placement_advice(const struct place *place, const struct layout *l,
                      struct text *out);
/* Ranks that compute at the same time: all where groups own their cores (split); else, per
 * node, as many as its cores carry, and at least the largest group's. */
int placement_at_once(const struct place *place, const struct layout *l, bool split);
/* Cores of all nodes. */
int placement_cores(const struct place *place, int world);

#endif
