/* A run by discrete events: the ledger that the coordinator keeps hands out its leases to
 * the ranks of a layout, each lease takes the time that it is said to take. Pure: no MPI,
 * no clock, no files.
 *
 * What is simplified: a rank that goes on with work of the same group has it in hand already,
 * no network evaluation is in the coordinator's way, and ranks that want more cores than
 * there are all advance at the same part of their speed, whatever node they are on. */
#ifndef SLUICE_PIPELINE_PLAN_SIMULATE_H
#define SLUICE_PIPELINE_PLAN_SIMULATE_H

#include "scheduler/layout.h"

#include <stdbool.h>
#include <stdint.h>

/* Times are seconds of a rank that has its cores to itself. Plain data. */
struct simulate_options {
    const struct layout *layout;
    int64_t cores; /* ranks that can compute at the same time; 0: all */
    bool asked;    /* rewards are asked of other programs and need no core */
    bool aside;    /* and that beside a rank's other work */
    int64_t iterations, shards, max_staleness;
    double rollout_s, rollout_last_s; /* a shard, and the last one of an iteration */
    double reward_s, reward_last_s;
    double weights_s; /* on top, of the first rollout with a version that came by message */
    double advantage_s, advantage_shard_s; /* each rank; a shard, divided over ranks */
    double advantage_seal_s, update_seal_s; /* then the group's first rank, for its file */
    double update_s, step_s, leaf_s; /* each rank; an optimizer step; a micro-batch of one */
    /* Optimizer steps of an iteration with `leaves` micro-batches, and shorter ones. */
    int64_t steps, leaves, last_steps, last_leaves;
    double letter_s; /* of the coordinator, for each letter that it reads or writes */
    /* A rank without work looks for letters less and less often, a fifth of its time ago and
     * at most so many seconds (pipeline/run/worker.c); half of that it is late. */
    double poll_s;
};

/* Seconds of rank time. A rank waits while it has no lease and at votes of its group;
 * waiting of a rank with several roles counts for each of its groups, and once in the sums
 * of all ranks: working_all_s + waiting_all_s = ranks x total_s. */
struct simulate_result {
    double total_s;     /* from the start to the last update's end */
    double iteration_s; /* between updates' ends, without the first max_staleness + 1 */
    double working_s[GROUPS], waiting_s[GROUPS];
    double working_all_s, waiting_all_s;
};

/* Runs all iterations; *out receives where the time went. */
void simulate_run(const struct simulate_options *o, struct simulate_result *out);

#endif
