/* Brings a run directory into a state from which the loop can go on: creates it, or finds
 * out exactly where an earlier job stopped. Only the coordinator's rank does this. */
#ifndef SLUICE_PIPELINE_PREPARE_H
#define SLUICE_PIPELINE_PREPARE_H

#include "io/config.h"
#include "io/origin.h"
#include "scheduler/ledger.h"
#include "stages/task.h"

struct prepared {
    int64_t version; /* newest sealed policy */
    bool resumed;    /* the directory held a run already */
    char run_id[48];
    bool replay; /* the directory is one of a replay */
};

/* Creates or enters a run directory: locks, then config.yaml, which must agree. Errors as
 * below. */
int prepare_directory(const char *dir, const struct config *c, const bool only[GROUPS],
                      bool *resumed);

/* only[g]: the groups that this job serves; their locks are taken and held until the
 * process ends. Errors: ERR_USAGE (the directory belongs to another configuration), ERR_ENV
 * (another job is at work there), ERR_INPUT (a damaged file, named), ERR_IO. */
int prepare_run(struct task *t, const struct config *c, const bool only[GROUPS],
                struct prepared *out);

/* Tells the ledger which work of the window is sealed, after checking each file wholly.
 * again: this job holds the reward and the advantage group, so reward files with samples
 * that failed or timed out, which no advantage has used, are removed, to be scored again. */
int prepare_ledger(const struct task *t, int64_t version, bool again, struct ledger *ledger);

/* A new run's id: the time, and what else tells runs apart. */
void prepare_run_id(char id[48], uint64_t seed);

#endif
