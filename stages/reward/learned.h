/* Rewards learned from few, noisy answers of the true one, with their uncertainty (SEIKO,
 * Uehara et al. 2024: feedback-efficient online fine-tuning). The model is a ridge
 * regression on features of the sample; its optimistic value is
 *
 *   greedy      the mean
 *   ucb         mean + C sqrt(phi^T (sum phi phi^T + lambda I)^-1 phi)
 *   bootstrap   the largest of several heads, each fit to a resample with replacement
 *   thompson    the value under one draw of the posterior, whose deviation is that of
 *               ucb; a new one whenever it is fit
 *
 * Answers enter less their mean, which is added again, so that lambda pulls towards it. */
#ifndef SLUICE_STAGES_REWARD_LEARNED_H
#define SLUICE_STAGES_REWARD_LEARNED_H

#include "io/sys/comm.h"
#include "stages/linalg/ridge.h"
#include "stages/reward/reward.h"

struct learned;

/* As section surrogate of the configuration says; *out stays NULL where surrogate.kind is
 * none. ERR_USAGE. */
int learned_open(const struct reward_scene *s, struct learned **out);
void learned_close(struct learned *l);

/* Whether the iteration asks the true reward, and how many of its samples, from the
 * first: all of n for auto. The number of the round that an iteration belongs to. */
bool learned_asks(const struct learned *l, int64_t iteration);
int64_t learned_asked(const struct learned *l, int64_t n);
int64_t learned_round(const struct learned *l, int64_t iteration);
/* What an answer is besides the score: noise of this sample of the iteration. */
double learned_noise(const struct learned *l, int64_t iteration, int64_t sample);

/* Fits to n answers; `round` keys what is random. The same on every rank: sample[n,
 * channels, height, width], answer[n]. Same bits for any number of ranks. ERR_NUMERIC,
 * ERR_REWARD where n is 0. Collective on c. */
struct learned_data {
    int64_t n;
    const float *sample;
    const double *answer;
};
int learned_fit(struct learned *l, const struct comm *c, int64_t round,
                const struct learned_data *data);

/* The model, for storing it, and its return: it takes r, whose size must be that of
 * learned_size. */
const struct ridge *learned_model(const struct learned *l, double *offset);
void learned_restore(struct learned *l, struct ridge *r, double offset);
void learned_size(const struct learned *l, int64_t *m, int64_t *k, bool *factor);

/* Value of x[channels, height, width]: returns mean + *bonus. gradient (or NULL) [channels,
 * height, width] <- d value / d x. There must be a model. */
double learned_value(const struct learned *l, const float *x, double *bonus,
                     float *gradient);

/* The same as a reward's score; mean and bonus [n] may be NULL. */
void learned_score(const struct learned *l, const struct reward_batch *b, double *mean,
                   double *bonus);

#endif
