/* Scores of stored samples with any reward, after the fact: a sealed file for each shard of
 * rollouts (or block of given samples), made by whatever rank, once. */
#ifndef SLUICE_PIPELINE_SCORE_H
#define SLUICE_PIPELINE_SCORE_H

#include "io/config.h"
#include "io/sys/comm.h"
#include "stages/metric/summary.h"
#include "stages/reward/reward.h"

/* Texts NULL: not given. */
struct score_options {
    const char *source; /* run directory, folder of pictures, or data file (given.h) */
    const char *reward; /* reward, component or "mixture"; NULL: the configuration's */
    const char *labels; /* of given samples, FILE.csv:COLUMN */
    const char *out;    /* folder; NULL: SOURCE/score/REWARD of a run */
    const char *csv;    /* a row for each sample */
    const struct config *config;
    bool retry; /* shards with samples that failed or timed out are scored again */
};

struct score_result {
    char reward[64], units[64], out[4096];
    int64_t shards, scored; /* scored: by this call */
    int64_t samples, status[REWARD_NOT_ASKED + 1];
    struct summary summary; /* over those that are ok */
};

/* Collective on all. On success *r is known on rank 0. ERR_REWARD where the failures are
 * beyond the policy (reward.on_failure, reward.max_failed_fraction): *r is known then too.
 * ERR_USAGE: what lies in `out` is of other settings. ERR_STOPPED: by a signal. The same
 * call goes on. */
int score_run(const struct score_options *o, const struct comm *all,
              struct score_result *r);

#endif
