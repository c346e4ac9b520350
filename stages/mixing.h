/* Mixtures of rewards in the advantage stage (reward.mixing): the components' scores of an
 * iteration, and what the method makes of them. */
#ifndef SLUICE_STAGES_MIXING_H
#define SLUICE_STAGES_MIXING_H

#include "stages/task.h"

/* Components whose scores the advantage stage reads; 0 where the reward is no mixture or
 * is learned. */
int64_t mixing_parts(const struct task *t);

/* A reward shard's component scores, n samples: score [n, parts]. 0 or -1 (ERR_INPUT). */
int mixing_read(const struct task *t, struct shard *in, int64_t n, double *score);

/* MIXING_NORMALISED: total[i] = sum of weight * (score - mean) / deviation, both over the
 * usable samples; a component whose usable scores are all equal adds 0 (a deviation below
 * 1e-9 of the largest is none). What mixing otherwise says: total stays. score is
 * [samples, parts]. */
void mixing_total(const struct task *t, const double *score, const uint8_t *usable,
                  double *total);

/* MIXING_ADVANTAGE: the weighted sum of the advantages that the method gives to each
 * component's scores; its tracker has the statistics of each under "component/prompt".
 * Otherwise the method's signal of s. 0 or -1. */
int mixing_signal(const struct task *t, const double *score, struct tracker *tracker,
                  const struct algo_signal *s);

/* Puts columns component_NAME [samples]. 0 or -1. */
int mixing_put(const struct task *t, const double *score, struct shard_writer *w);

#endif
