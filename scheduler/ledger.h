/* The ledger: which work exists, what it waits for, who may start it. Pure data: no MPI,
 * no clock, no files. scheduler/PROTOCOL.md describes the rules.
 *
 * Work of iteration i: rollout shards 0..S-1 (policy version max(0, i - k), k the maximum
 * staleness), reward shards 0..S-1 (each after its rollout), advantage (after all rollouts
 * and rewards of i and advantage i-1), update (after all of these and advantage i, with
 * version i; it makes i+1). */
#ifndef SLUICE_SCHEDULER_LEDGER_H
#define SLUICE_SCHEDULER_LEDGER_H

#include "scheduler/layout.h"

#include <stdbool.h>
#include <stdint.h>

/* The right to do one piece of work. shard is -1 for advantage and update. */
struct lease {
    enum group group;
    int64_t iteration, shard, version;
};

struct ledger_options {
    int64_t iterations, shards, max_staleness;
    int64_t version; /* the newest sealed policy at the start */
    bool only[GROUPS]; /* groups that this job serves */
    bool stored; /* all rollouts and rewards exist (a replay) */
};

struct ledger;

struct ledger *ledger_create(const struct ledger_options *o);
void ledger_destroy(struct ledger *l);

/* Says that this work exists on disk already (restart). Iterations outside of version ..
 * version + max_staleness are ignored. */
void ledger_found(struct ledger *l, enum group g, int64_t iteration, int64_t shard);

/* The next piece of work for a group; false when nothing can start now (or draining).
 * Lower iterations and lower shards first. The work is leased from then on. */
bool ledger_next(struct ledger *l, enum group g, struct lease *out);
/* Shards that ledger_next would give to a group (rollout or reward) one after another. */
int64_t ledger_ready(const struct ledger *l, enum group g);
/* The work is sealed. An update raises the version. */
void ledger_done(struct ledger *l, const struct lease *lease);
/* Given back undone: can be leased again. */
void ledger_return(struct ledger *l, const struct lease *lease);

/* No new leases from now on. */
void ledger_drain(struct ledger *l);
bool ledger_draining(const struct ledger *l);
int64_t ledger_outstanding(const struct ledger *l); /* leases not yet done */
int64_t ledger_version(const struct ledger *l);
/* Everything that this job can do is done. */
bool ledger_finished(const struct ledger *l);
/* Shards of an iteration in the window that are sealed, by group (progress lines). */
int64_t ledger_sealed(const struct ledger *l, enum group g, int64_t iteration);

#endif
