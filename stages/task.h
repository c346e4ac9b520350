/* What every stage knows about a run, and the stages themselves. The loop in pipeline/
 * fills a struct task from the configuration; stages see neither the configuration nor
 * the ledger. */
#ifndef SLUICE_STAGES_TASK_H
#define SLUICE_STAGES_TASK_H

#include "io/shard.h"
#include "io/sys/comm.h"
#include "io/sys/digest.h"
#include "stages/algo/algo.h"
#include "stages/diffusion/sampler.h"
#include "stages/model/model.h"
#include "stages/nn/backend.h"
#include "stages/nn/optim.h"
#include "stages/reward/reward.h"
#include "stages/search/search.h"

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
    METRIC_KL_REFERENCE, /* what kl_weight multiplies, mean over pairs; NaN without it */
    METRIC_QUERIES,     /* answers of the true reward so far; NaN where all are asked */
    METRIC_KL_PREVIOUS, /* what kl_previous_weight multiplies; NaN without it */
    METRIC_ANSWER_MEAN, /* of the iteration's answers; NaN where none was asked */
    METRIC_KL_PATH, /* KL of whole chains to policy 0, mean over samples; NaN: not stored */
    METRIC_GUARD_MEAN, /* of reward.guard over the samples that it scored; NaN: none */
    METRIC_GUARD_ERROR, /* standard error of that mean */
    METRIC_GUARD_FIRST, /* both of the run's first iteration */
    METRIC_GUARD_FIRST_ERROR,
    METRICS
};
const char *metric_name(enum metric m); /* "reward_mean", ... */

/* What an update did step by step: entry e of n holds some neighbouring steps of the chain
 * that have a density, one where there are at most UPDATE_STEPS of them: k * n / (their
 * number) of the k-th. Means over all pairs of all optimizer steps, NaN where an entry has
 * none. n is 0 where pairs are no steps of a chain. Doubles only: it travels in letters. */
enum { UPDATE_STEPS = 64 };
struct update_steps {
    double n, t[UPDATE_STEPS]; /* training timestep where the entry's first step starts */
    double approx_kl[UPDATE_STEPS], clip_fraction[UPDATE_STEPS];
};

enum optimizer { OPTIMIZER_ADAMW, OPTIMIZER_NATURAL };

/* How the components of a mixture come together. */
enum reward_mixing {
    MIXING_REWARD,     /* their weighted sum is the reward */
    MIXING_NORMALISED, /* the same of what has mean 0 and deviation 1 over the iteration */
    MIXING_ADVANTAGE,  /* the weighted sum of the method's advantages of each */
};

/* What becomes of a sample without a reward. */
enum failure_policy { FAILURE_DROP, FAILURE_DROP_GROUP, FAILURE_STOP };

struct update_options {
    int64_t batch; /* samples per optimizer step; 0: all of the iteration */
    int64_t inner_epochs;
    struct adamw adamw;
    double embedding_lr; /* of new labels' embeddings, a multiple of adamw.lr */
    double max_grad_norm;
    double ema_decay; /* 0: no EMA */
    bool ema_warmup;
    int64_t anchor; /* the policy that kl_weight refers to: a version, or ANCHOR_AVERAGE */
    double anchor_decay;
    enum optimizer optimizer;
    /* natural: mean KL of a transition that a step makes, in nat; of the solution */
    double kl_radius, cg_damping;
    double fisher_part; /* of the micro-batches, for products with the Fisher matrix */
    int64_t cg_iterations;
};
enum { ANCHOR_AVERAGE = -1 };

/* The bonus for samples that lie apart (stages/particles.h). */
struct entropy_options {
    double weight; /* 0: none */
    int64_t neighbour;
    bool by_prompt;
};

/* How the values of states are estimated (stages/value.h). */
enum value_kind { VALUE_RIDGE, VALUE_MLP, VALUE_NONE };
struct value_options {
    enum value_kind kind;
    int64_t linear, features, knots, folds;
    double ridge; /* < 0: chosen */
    double memory;
    int64_t hidden, epochs; /* mlp */
    double lr;
};

/* Counters that live in the policy file. */
struct policy_counters {
    int64_t version, optimizer_step, samples_total, ema_updates;
    int64_t best_version; /* policy whose rollouts had the highest mean reward */
    double best_reward;   /* meaningless while best_version < 0; with a guard its mean, of a
                             learned reward the answers' */
    double guard_first, guard_first_error; /* likewise; NaN without a guard */
};

/* Where the seconds of a stage's work go; the rest is the stage's own loops. */
enum task_time {
    TIME_NETWORK,       /* forward and backward evaluations */
    TIME_IO,            /* sealed files: open, read, digest, write, fsync */
    TIME_COMMUNICATION, /* letters, hand-over of weights, gathering */
    TIME_OPTIMIZER,     /* gradient sums, reduction, AdamW, spread of the weights */
    TIME_WAITING,       /* votes: for the slowest rank of the group */
    TASK_TIMES
};
const char *task_time_name(enum task_time k); /* "network", ... */

/* The longest stretches of I/O, communication and waiting since the caller set n to 0, in
 * no order; seconds of clock_s. All doubles: travels in letters. */
enum { TASK_SPANS = 6 };
struct task_spans {
    double n, last; /* last: index of the one that ended last */
    struct {
        double kind, from, to; /* enum task_time */
    } span[TASK_SPANS];
};

/* Where the weights of a version came from when this rank began to use it. */
enum weights_from { WEIGHTS_MEMORY, WEIGHTS_MESSAGE, WEIGHTS_FILE, WEIGHTS_FROM };
const char *weights_from_name(enum weights_from k);

/* How weights travel inside a job; the functions are NULL where they do not. */
struct task_handover {
    void *ctx;
    /* The network's values become policy `version`: passes them on (they are copied).
     * All update ranks call it. 0 or -1. */
    int (*offer)(void *ctx, int64_t version);
    /* The weights of a version, valid until the next call of a stage; NULL: read the
     * file. *from receives where they came from. */
    const float *(*find)(void *ctx, int64_t version, enum weights_from *from);
};

struct companion;
struct learned;
struct policy;
struct trainer;

/* Plain data; the pipeline owns what the pointers reach. */
struct task {
    const char *dir; /* run directory */
    char run_id[48], config_digest[DIGEST_HEX];
    bool replay; /* rollouts and rewards are another run's */
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
    int64_t used_version;               /* the last one that a stage asked for */
    int64_t weights_from[WEIGHTS_FROM]; /* versions, by where they came from */
    struct task_handover handover;
    /* The last policy file whose content digest is known: so it is sealed. */
    struct {
        int64_t version;
        char content[DIGEST_HEX]; /* "": not known */
    } policy;
    struct trainer *trainer;            /* update ranks only */
    /* Networks that the method compares with: version 0 (rollout and update), and the one
     * that made the samples (update). */
    struct companion *reference, *behaviour;
    struct companion *previous; /* the one that the round started with (update) */
    int64_t round_iterations, rounds; /* of a learned reward; later ones have no end */
    struct companion *anchor; /* what kl_weight refers to where it is not version 0 */
    struct policy_counters counters;    /* of the trainer's state */
    struct update_steps update_steps;   /* of the last update */

    struct schedule schedule;
    struct sampler sampler;
    const struct algo *algo;
    struct algo_options algo_options;
    int64_t pairs_each; /* of a sample and inner epoch */
    const struct reward *reward, *guard; /* guard: scored beside it, NULL: none; scorers */
    struct reward own_reward, own_guard; /* what they point to (scorer.h) */
    enum reward_mixing mixing;
    void *reward_ctx, *guard_ctx;
    char trouble[REWARD_TROUBLE]; /* of the shard that was scored last: what was said about
                                   * samples that failed or timed out, or "" */
    int64_t scorers; /* ranks that score; 0: one */
    struct algo watched; /* algo, where it needs more for the run's sake */
    struct learned *learned; /* NULL: the true reward is asked for every sample */
    int64_t learned_as_of;   /* iteration whose advantage file the model is from, or -1 */
    struct shard_parent learned_from; /* that file */
    struct search_options search; /* in rollouts */
    double max_failed_fraction;
    enum failure_policy on_failure;
    struct update_options update;
    struct entropy_options entropy;
    struct value_options value;

    /* Progress: a phase for people, and the hook that keeps the rank answering. */
    char phase[96];
    comm_idle_f idle;
    void *idle_ctx;
    bool (*stopping)(void); /* was the program told to end? NULL: it cannot be */
    /* reward_scene.leave, with idle_ctx; NULL: nobody is to leave. */
    double (*leave)(void *ctx);
    double spent[TASK_TIMES]; /* seconds since the caller reset them */
    struct task_spans spans;
    double ticked_s;          /* in the hook, ever */
    /* The caller ends what a rollout or reward left in `sealing`: until then its shard
     * is not sealed. Otherwise stages return when their file is durable. */
    bool seal_later;
    struct finish *sealing;
    double appear_s; /* a file that another node sealed may stay invisible so long */
};

/* Sets the phase and calls the hook. 0 or -1 (the job is lost). */
int task_progress(struct task *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where one piece of work may take hours: -1 with ERR_STOPPED also where the
 * program was told to end. What was begun is lost; the next job begins it again. */
int task_may_go_on(struct task *t, const char *what);
/* Seconds of a monotonic clock without those spent in the hook, which has its own
 * account. */
double task_now(const struct task *t);
/* Adds the time since `start`, a task_now, to the account; returns now. */
double task_spend(struct task *t, enum task_time k, double start);
/* "DIR/RELATIVE" in a buffer of the caller; returns buf. */
const char *task_path(const struct task *t, const char *relative, char buf[4096]);
/* Samples of a shard (the last one may be smaller). */
int64_t task_shard_size(const struct task *t, int64_t shard);
/* The policy version that makes the rollouts of an iteration. */
int64_t task_version(const struct task *t, int64_t iteration);

/* The policy version that the round of an iteration started with. */
int64_t task_round_start(const struct task *t, int64_t iteration);

/* Prompts of an iteration: label[samples] (0 where unconditional) and copy[samples], the
 * running number of each sample among those of the same prompt. Depends on seed and
 * iteration alone. */
void task_prompts(const struct task *t, int64_t iteration, int64_t *label, int64_t *copy);

/* The head of a file that a stage of this run makes (the caller adds parents). */
struct shard_head task_head(const struct task *t, enum shard_kind kind, int64_t iteration,
                            int64_t number, int64_t version);
/* Seals a stage's file, or begins to (seal_later). 0 or -1. */
int task_seal(struct task *t, struct shard_writer *w);
/* Opens a parent's sealed file, RELATIVE to the run directory. On a network file system a
 * file that another node has just sealed can be invisible for some seconds: waits up to
 * t->appear_s for it, calling the hook. NULL as shard_open says. */
struct shard *task_open(struct task *t, const char *relative, enum shard_kind kind);

/* Brings the weights of a policy version into the model unless they are there: from
 * memory, by message, or from the file. ERR_INPUT names the file. */
int task_load_weights(struct task *t, int64_t version);
/* Opens the policy file of a version; waits for it as task_open does. NULL: ERR_INPUT. */
struct policy *task_open_policy(struct task *t, int64_t version);
/* The content digest of a policy file: as the lease said, or from the file. */
int task_policy_content(struct task *t, int64_t version, char content[DIGEST_HEX]);

/* What sampling needs of t (stages/search/chain.h), for chain_open; it ticks through
 * task_progress. t outlives it. */
struct chain task_chain(struct task *t);

/* rollout: samples a shard of an iteration with a policy version; seals its file. */
int rollout_shard(struct task *t, int64_t iteration, int64_t shard);

/* reward: scores a shard; seals its file. Opens only final samples and labels. */
int reward_shard(struct task *t, int64_t iteration, int64_t shard);

/* Samples to score that need not lie in t->dir. Arrays are the caller's and stay as they are. */
struct reward_rows {
    int64_t n, iteration, number, version;
    float *sample;               /* [n, channels, height, width] */
    int64_t *label, *index;      /* [n]; label counts where t has classes */
    struct shard_parent *parent; /* one, or NULL */
    const char *source, *source_content; /* where there is none: attributes, or NULL */
    const char *identity; /* of the scorer (scorer_identity), an attribute; "" for none */
};
/* The same for them: seals `path`. Method, guard and learned reward are left out. */
int reward_rows(struct task *t, const struct reward_rows *r, const char *path);

/* Samples of a reward shard that failed or timed out, whose scores another try may give. -1:
 * ERR_INPUT. */
int64_t reward_unanswered(struct shard *s);

/* The same where another program scores, which leaves the rank free for other work: begin
 * reads the samples and starts a thread that asks and waits; once it is over, end seals the
 * file. One at a time: the scorer is the thread's until end. */
struct scoring;
/* Can this run's rewards be asked so? */
bool reward_aside(const struct task *t);
/* Can the shard's samples be seen yet? Begin does not wait for them. */
bool reward_visible(const struct task *t, int64_t iteration, int64_t shard);
/* NULL: an error, as of reward_shard. */
struct scoring *reward_begin(struct task *t, int64_t iteration, int64_t shard);
bool reward_over(const struct scoring *s);
/* Waits where it is not over, frees s. 0 or -1, as reward_shard. */
int reward_end(struct scoring *s);

/* advantage: signal of an iteration from all its reward shards; seals its file. ERR_REWARD
 * when more samples failed than the policy allows. Collective on c. */
int advantage_iteration(struct task *t, const struct comm *c, int64_t iteration);

/* update: optimizer steps of an iteration; seals policy iteration + 1. metric[METRICS]
 * receives the iteration's numbers. ERR_NUMERIC when the ratio before the first step is
 * not exactly 1 or anything is not finite. Collective on c. */
int update_iteration(struct task *t, const struct comm *c, int64_t iteration,
                     double metric[METRICS]);

#endif
