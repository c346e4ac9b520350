/* Which ranks belong to which group. A pure function of the sizes asked for, the
 * placement and the number of ranks; no MPI here. */
#ifndef SLUICE_SCHEDULER_LAYOUT_H
#define SLUICE_SCHEDULER_LAYOUT_H

#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

enum group { GROUP_ROLLOUT, GROUP_REWARD, GROUP_ADVANTAGE, GROUP_UPDATE, GROUPS };

const char *group_name(enum group g);
/* false for an unknown name. */
bool group_from_name(const char *name, enum group *g);

#define LAYOUT_AUTO (-1)

/* Group g owns ranks start[g] .. start[g] + size[g] - 1. Groups may overlap: then a rank
 * has several roles and takes turns. Plain data. */
struct layout {
    int world;
    int start[GROUPS], size[GROUPS];
    bool overlap; /* some rank has more than one role */
};

/* want[g]: number of ranks or LAYOUT_AUTO. split: groups own their ranks and cores;
 * otherwise they share the machine.
 *
 * One rank: all roles in it. Sizes that add up to world: one group after another.
 * Placement shared and fewer ranks than the sum (but as many as the largest group), or any
 * auto: groups overlap from rank 0, auto = all ranks. Placement split with auto: advantage
 * 1, reward one in sixteen, the rest shared by rollout and update.
 * ERR_ENV, naming the numbers, when the sizes do not fit the ranks. */
int layout_make(struct layout *l, const int want[GROUPS], bool split, int world);

/* All ranks in group g and nothing else (a stage run as its own job). */
void layout_single(struct layout *l, enum group g, int world);

bool layout_has(const struct layout *l, enum group g, int rank);
/* Has the rank another role beside g? */
bool layout_shares(const struct layout *l, enum group g, int rank);
/* The rank that keeps the ledger: the first of the advantage group (the idlest), or rank 0
 * where there is no such group. */
int layout_coordinator(const struct layout *l);
/* "rollout/1" or "rollout/0+update/0" for a rank. */
void layout_tag(const struct layout *l, int rank, struct text *out);

#endif
