/* Inside of the update stage: update.c has its steps and its file, update_pairs.c who
 * takes part and the loading of pairs, update_loss.c the leaves' gradients. */
#ifndef SLUICE_STAGES_UPDATE_INTERNAL_H
#define SLUICE_STAGES_UPDATE_INTERNAL_H

#include "stages/companion.h"
#include "stages/task.h"
#include "stages/trainer.h"

#include <string.h>

enum { STAT_LOG_RATIO2, STAT_RATIO, STAT_CLIPPED, STAT_LOSS, STAT_KL, STAT_KL_PREVIOUS, STATS };

/* Rollout files kept open: opening one checks it, which costs far more than a sample's
 * rows, and permuted samples come from all shards in turn. */
enum { SOURCES = 16 };
struct sources {
    struct shard *file[SOURCES]; /* shard s is in place s mod SOURCES, or NULL */
    int64_t number[SOURCES];
};

struct update {
    struct task *t;
    const struct comm *c;
    int64_t iteration;

    int64_t usable; /* samples that take part */
    int64_t *sample; /* [usable] their numbers in the iteration, ascending */
    double *advantage; /* [samples] */
    double *step_advantage; /* [samples, steps], or NULL */
    double *reward; /* [samples] */
    char (*scored_content)[DIGEST_HEX]; /* [shards] of the reward files, or NULL */
    struct shard_parent parent[4]; /* policy, advantage, versions compared with */
    int64_t parents;
    unsigned needs; /* of the method: enum algo_needs */
    bool chain; /* pairs are steps of the chain */
    struct companion *reference; /* what kl_weight refers to; NULL: not needed */
    bool on_policy; /* the samples are those of the policy that is updated */
    double metric[METRICS];

    /* the optimizer step at hand */
    int64_t epoch, batch_at, batch_n;        /* samples order[batch_at .. + batch_n) */
    int64_t *order;                          /* [usable] permuted positions */
    int64_t steps_each, live_n, *live; /* pairs per sample; their steps (or draws) */
    int64_t pairs, leaves, first, number;    /* of the step; own leaves */
    double *stat;                            /* [leaves * B * STATS] */
    int64_t stat_cap;
    int64_t *leaf_rows;                      /* [ranks] for gathering */

    /* one trajectory, and one micro-batch */
    struct sources rollout, scored;
    int64_t loaded; /* sample in `latents`, -1 none */
    float *latents; /* [steps + 1, d], or the final sample [d] */
    double *log_prob; /* [steps] */
    float *x, *next, *seed, *timesteps; /* [B, d] x 3, [B] */
    float *clean, *noise, *work; /* where noised: [B, d], [d]; losses: [B, 2, d] */
    int64_t *label, *all_label, *perm;  /* [B], [samples], [live_n] */
    int64_t perm_sample;                /* sample whose order is in perm, -1 none */
    struct algo_pair *pair;             /* [B] */
    const float *previous; /* [B, d] outputs of the round's first version, or NULL */
    struct ends *ends;                  /* where the method needs the scorer */
    struct natural *natural;            /* while such a step is made, else NULL */
    struct update_walk *walk;                  /* where whole chains are its pairs */
    struct steps *steps;                /* sums by step of the chain */
};

/* Reads the iteration's advantage file (parent[1]): who takes part, and the reward
 * metrics. 0 or -1. */
int update_pairs_load(struct update *u);

/* Which sample and step (or draw) pair number `pair` of the optimizer step is. */
void update_pairs_of(struct update *u, int64_t pair, int64_t *sample, int64_t *step);

/* Reads one sample's states and log-probabilities, or its final sample, into u->latents
 * and u->log_prob, unless they are there. 0 or -1. */
int update_pairs_trajectory(struct update *u, int64_t sample);

/* Reads d reward / d final sample of a sample, gradient[d]. 0 or -1. */
int update_pairs_gradient(struct update *u, int64_t sample, float *gradient);

/* Copies the pairs of a leaf into the micro-batch, u->pair included; *in receives what
 * networks take. 0 or -1. */
int update_pairs_batch(struct update *u, int64_t leaf, struct model_input *in);

/* trainer_leaf_f of a struct update: forward, loss and backward of one micro-batch. */
int update_loss_leaf(void *ctx, int64_t leaf);

/* The same where a leaf is a micro-batch of whole chains, and what it works with. */
int update_walk_leaf(void *ctx, int64_t leaf);
struct update_walk *update_walk_create(const struct task *t);
void update_walk_destroy(struct update_walk *w);

/* One optimizer step along the natural gradient; *grad_norm as trainer_step. 0 or -1.
 * Collective. update_natural_keep remembers the transitions of the pairs [from, from + m)
 * of the gradient's pass, from the network's outputs predicted[m, d]. */
int update_natural_step(struct update *u, double ema_decay, double *grad_norm);
void update_natural_keep(struct update *u, int64_t from, int64_t m, const float *predicted);

/* Final samples that the update makes and scores itself, from the network's outputs
 * predicted[m, d] for the pairs of the micro-batch that starts at pair `from`; fills
 * end_reward and end_gradient of the pairs. 0 or -1. */
int update_ends_score(struct update *u, int64_t from, int64_t m, const float *predicted);
struct ends *update_ends_create(const struct task *t);
void update_ends_destroy(struct ends *e);

/* Sums of the pairs' statistics by step of the chain. create: after the pairs and their
 * steps are known; add: the pairs of the optimizer step at hand, whose statistics are
 * there; mean: what came together. */
struct steps *update_steps_create(const struct update *u);
void update_steps_destroy(struct steps *s);
void update_steps_add(struct update *u);
void update_steps_mean(const struct update *u, struct update_steps *out);

#endif
