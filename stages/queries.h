/* A learned reward between the stages (stages/reward/learned.h has the model). Where
 * t->learned is set, the first iteration of a round asks the true reward: the reward stage
 * seals the answers, the advantage stage adds them to all earlier ones, fits the model and
 * gives every sample of the iteration its optimistic value. In the other iterations the
 * reward stage scores with the model.
 *
 * Answers and model travel from advantage file to advantage file, as the tracker does, so
 * the newest one has everything and older iterations may go. */
#ifndef SLUICE_STAGES_QUERIES_H
#define SLUICE_STAGES_QUERIES_H

#include "stages/task.h"

/* Brings the model of an iteration's advantage file into t->learned unless it is there;
 * *parent (or NULL) receives the file. 0 or -1 (ERR_INPUT). */
int queries_load(struct task *t, int64_t iteration, struct shard_parent *parent);

/* The model's score of a batch, with or without gradients: as a reward's. mean and bonus
 * [n] may be NULL. */
void queries_score(struct task *t, const struct reward_batch *b, double *mean,
                   double *bonus);

/* The true reward of a batch in an iteration that asks: only of the samples that are asked,
 * with the noise of answers. 0 or -1. */
int queries_ask(struct task *t, const struct reward_batch *b);

/* What the advantage stage knows of an iteration's samples, [samples]: in an iteration
 * that asks, reward and status say the answers, and receive the optimistic value and ok
 * where there is no failure; bonus receives its part of the value. */
struct queries_samples {
    double *reward, *bonus;
    uint8_t *status;
};

struct queries;

/* Everything up to this iteration. The arrays of s are the same on every rank, before and
 * after. NULL: an error, on all ranks. Collective on c. */
struct queries *queries_learn(struct task *t, const struct comm *c, int64_t iteration,
                              const struct queries_samples *s);
void queries_destroy(struct queries *q);

/* Puts the columns of the advantage file (io/FORMAT.md). */
int queries_put(const struct queries *q, const struct task *t, struct shard_writer *w);

/* How many answers an advantage file has, and the mean of those of its own iteration (NaN
 * without any). 0 or -1. */
int queries_count(struct shard *advantage, int64_t iteration, double *number,
                  double *mean);

#endif
