/* Sums of rewards along the chain: what each of its states was worth, in double precision
 * and in order of the steps. Costs are per step, [n, steps]; masked steps, and samples
 * that are not usable, take no part and get 0. */
#ifndef SLUICE_STAGES_ALGO_RETURNS_H
#define SLUICE_STAGES_ALGO_RETURNS_H

#include "stages/algo/algo.h"

/* 0, or ERR_NUMERIC naming the first usable sample whose reward is not finite. */
int returns_check(const struct algo_steps *s);

/* out_i = -cost_i + gamma out_{i+1}, and -cost + reward at the last step. */
void returns_to_go(const struct algo_steps *s, double gamma, const double *cost,
                   double *out);

/* Generalised advantages (Schulman et al. 2016) of s->value, to s->advantage:
 *
 *     delta_i = R_i + gamma V_{i+1} - V_i,  A_i = delta_i + gamma lambda A_{i+1}
 *
 * with R_i = -cost_i, plus the reward at the last step, after which V and A are 0. */
struct returns_gae {
    double gamma, lambda;
    const double *cost;
};
void returns_gae(const struct algo_steps *s, const struct returns_gae *g);

/* s->advantage <- (A - mean) / (std + 1e-8) over all usable samples' live steps. */
void returns_normalise(const struct algo_steps *s);

/* The state-independent value: s->value_i <- mean of s->target_i over the other samples
 * (of the prompt, where it has others; 0 where there are none), which does not depend on
 * the sample itself. */
void returns_baseline(const struct algo_steps *s, bool by_prompt);

/* Estimates may remember other policies and other levels. s->value becomes
 *
 *     mean G + share (V - mean V),   G: target, means over the other samples at the step,
 *
 * with the share in [0, 1] that is best for the samples of the other folds (sample number
 * mod folds): where V says nothing of the samples' differences, the mean is left. */
void returns_calibrate(const struct algo_steps *s, int64_t folds);

/* Share of the targets' squared distance from the mean of the other samples that
 * s->value explains; 0 where there is none. */
double returns_explained(const struct algo_steps *s);

#endif
