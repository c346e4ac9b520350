/* What every stage knows about a run, and the stages themselves. The loop in pipeline/
 * fills a struct task from the configuration; stages see neither the configuration nor
 * the ledger. */
#ifndef SLUICE_STAGES_TASK_H
#define SLUICE_STAGES_TASK_H

#include "io/sys/comm.h"
#include "io/sys/digest.h"
#include "stages/algo/algo.h"
#include "stages/diffusion/sampler.h"
#include "stages/model/model.h"
#include "stages/nn/backend.h"
#include "stages/nn/optim.h"
#include "stages/reward/reward.h"

#include <stdbool.h>
#include <stdint.h>

/* What one iteration did; stored in the policy file that it made (metric_*). */
enum metric {
    METRIC_REWARD_MEAN,
    METRIC_REWARD_STD,
    METRIC_REWARD_MIN,
    METRIC_REWARD_MAX,
    METRIC_RATIO_ABSDEV_MAX,
    METRIC_APPROX_KL,
    METRIC_CLIP_FRACTION,
    METRIC_LOSS,
    METRIC_GRAD_NORM,
    METRIC_SAMPLES,
    METRIC_FAILED,
    METRIC_SAMPLES_TOTAL,
    METRICS
};
const char *metric_name(enum metric m); /* "reward_mean", ... */

struct update_options {
    int64_t batch; /* samples per optimizer step; 0: all of the iteration */
    int64_t inner_epochs;
    double timestep_fraction;
    struct adamw adamw;
    double max_grad_norm;
    double ema_decay; /* 0: no EMA */
    bool ema_warmup;
};

/* Counters that live in the policy file. */
struct policy_counters {
    int64_t version, optimizer_step, samples_total, ema_updates;
    int64_t best_version; /* policy whose rollouts had the highest mean reward */
    double best_reward;   /* meaningless while best_version < 0 */
};

struct trainer;

/* Plain data; the pipeline owns what the pointers reach. */
struct task {
    const char *dir; /* run directory */
    char run_id[48], config_digest[DIGEST_HEX];
    uint64_t seed;

    int64_t samples, copies, shard_samples, shards; /* per iteration */
    const int64_t *classes; /* labels to draw from, [n_classes]; none: unconditional */
    int64_t *own_classes;   /* where the list is not the configuration's; freed with it */
    int64_t n_classes;
    int64_t max_staleness;

    const struct backend *backend;
    struct model *model;
    struct tape *tape;
    int64_t micro_batch;
    int64_t channels, height, width, d; /* d = channels * height * width */
    int64_t loaded_version;             /* of the weights in model; -1 none */
    struct trainer *trainer;            /* update ranks only */
    struct policy_counters counters;    /* of the trainer's state */

    struct schedule schedule;
    struct sampler sampler;
    const struct algo *algo;
    struct algo_options algo_options;
    const struct reward *reward;
    void *reward_ctx;
    double max_failed_fraction;
    bool stop_on_failure;
    struct update_options update;

    /* Progress: a phase for people, and the hook that keeps the rank answering. */
    char phase[96];
    comm_idle_f idle;
    void *idle_ctx;
    double io_s; /* seconds spent in shard files since the caller reset it */
};

/* Sets the phase and calls the hook. 0 or -1 (the job is lost). */
int task_progress(struct task *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Seconds of a monotonic clock. */
double task_clock(void);
/* "DIR/RELATIVE" in a buffer of the caller; returns buf. */
const char *task_path(const struct task *t, const char *relative, char buf[4096]);
/* Samples of a shard (the last one may be smaller). */
int64_t task_shard_size(const struct task *t, int64_t shard);
/* The policy version that makes the rollouts of an iteration. */
int64_t task_version(const struct task *t, int64_t iteration);

/* Prompts of an iteration: label[samples] (0 where unconditional) and copy[samples], the
 * running number of each sample among those of the same prompt. Depends on seed and
 * iteration alone. */
void task_prompts(const struct task *t, int64_t iteration, int64_t *label, int64_t *copy);

/* Loads the weights of a policy version into the model unless they are there. ERR_INPUT
 * names the file. */
int task_load_weights(struct task *t, int64_t version);

/* rollout: samples a shard of an iteration with a policy version; seals its file. */
int rollout_shard(struct task *t, int64_t iteration, int64_t shard);

/* reward: scores a shard; seals its file. Opens only final samples and labels. */
int reward_shard(struct task *t, int64_t iteration, int64_t shard);

/* advantage: signal of an iteration from all its reward shards; seals its file. ERR_REWARD
 * when more samples failed than the policy allows. Collective on c. */
int advantage_iteration(struct task *t, const struct comm *c, int64_t iteration);

/* update: optimizer steps of an iteration; seals policy iteration + 1. metric[METRICS]
 * receives the iteration's numbers. ERR_NUMERIC when the ratio before the first step is
 * not exactly 1 or anything is not finite. Collective on c. */
int update_iteration(struct task *t, const struct comm *c, int64_t iteration,
                     double metric[METRICS]);

#endif
