/* Replays: the run directory of a run's stored rollouts and rewards under another method or
 * other settings, in which advantage and update then work as ever. */
#ifndef SLUICE_PIPELINE_REPLAY_H
#define SLUICE_PIPELINE_REPLAY_H

#include "io/config.h"

#include <stdint.h>

struct replay {
    const char *source;      /* run directory that is replayed */
    const char *out;         /* NULL: SOURCE-replay-N */
    const struct config *was; /* its configuration */
    const struct config *now; /* and the replay's */
};

/* What needs no file: refuses changed keys that only new rollouts or rewards could
 * follow. ERR_USAGE names the key. */
int replay_check_keys(const struct replay *r);

/* Chooses and fills the run directory: *iterations of sealed rollouts and rewards (all
 * that SOURCE holds, or now's run.iterations where that is less) and policy 0. What is
 * there already stays. For struct session_options; ctx is a struct replay. ERR_INPUT:
 * SOURCE lacks a shard, a policy or a column that the method needs, named; ERR_USAGE. */
int replay_begin(void *ctx, char dir[4096], int64_t *iterations);

#endif
