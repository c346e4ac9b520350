/* How fast the parts of an iteration are: measured by an earlier run's accounts, or by
 * one micro-batch here. */
#ifndef SLUICE_PIPELINE_PLAN_RATES_H
#define SLUICE_PIPELINE_PLAN_RATES_H

#include "pipeline/plan/plan_warn.h"

/* Seconds of one rank. Plain data. */
struct plan_rates {
    double evaluation_s; /* network, of a sample and forward pass of a rollout */
    double pair_s;       /* network, of a pair of the update, with its backward pass */
    double pair_rest_s;  /* what else the update does for a pair, reading it included */
    double rollout_sample_s, rollout_shard_s; /* beside the network; the files */
    double reward_sample_s, reward_shard_s; /* asked: the other program's time */
    double advantage_s, advantage_seal_s, advantage_shard_s; /* a rank; the file; a shard */
    double update_s, update_seal_s; /* of an iteration: a rank; the policy's file */
    double update_sample_s; /* its row of the advantage file, read by every rank */
    double leaf_s;          /* a micro-batch's gradient: cleared, summed */
    double step_s;          /* an optimizer step on one rank; divided over ranks */
    /* Not measured: messages of the optimizer and of weights, the coordinator's letters. */
    double latency_s, bandwidth, letter_s;
    int64_t iterations; /* that were measured; 0: a micro-batch */
    int64_t ranks, cores, threads; /* of the run that was measured; cores 0: not known */
};

/* From metrics.jsonl (medians over iterations, the first left out where there are three)
 * and accounting.json of a run directory, whose plan is `run`. ERR_INPUT. */
int plan_rates_read(struct plan_rates *r, const char *dir, const struct plan *run);

/* From the method and guidance of the run that was measured to those of p, which may evaluate
 * other networks beside the trained one, or more steps for a pair. */
void plan_rates_convert(struct plan_rates *r, const struct plan *run, const struct plan *p);

/* Evaluates one micro-batch as the rollout does, one as the update does, and scores one,
 * unless another program does; files at stated rates. Takes as long as that. */
int plan_rates_calibrate(struct plan_rates *r, const struct plan *p);

/* Bytes of a sample's rows in a rollout shard. */
double plan_sample_bytes(const struct plan *p);

#endif
