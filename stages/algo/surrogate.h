/* The loss that policy-gradient methods share: a likelihood ratio times an advantage,
 * clipped in one of the usual ways, plus a closed-form KL to policy version 0. */
#ifndef SLUICE_STAGES_ALGO_SURROGATE_H
#define SLUICE_STAGES_ALGO_SURROGATE_H

#include "stages/algo/algo.h"

enum surrogate_clip {
    CLIP_NONE,        /* -A rho */
    CLIP_PESSIMISTIC, /* max(-A rho, -A clamp(rho)): Schulman et al. 2017 */
    CLIP_BOTH,        /* -A clamp(rho): no gradient outside the range on either side */
};

/* Loss of one step of the chain with advantage a instead of p->advantage:
 *
 *     weight (clipped(-a rho) + kl_weight KL),  KL = |mu - mu_ref|^2 / (2 sigma^2)
 *
 * rho and KL are reduced as o->logprob says (mean: the log-ratio and the KL are divided
 * by d). Masked steps and pairs without a weight give loss 0 and ratio 1; pairs without
 * a weight are not looked at, so they may hold anything. Otherwise as algo.loss. */
int surrogate_loss(const struct algo_options *o, enum surrogate_clip clip, double a,
                   const struct algo_pair *p, struct algo_result *r, float *grad);

/* algo.loss of most: the pessimistic one with the advantage within algorithm.adv_clip. */
int surrogate_pessimistic(const struct algo_options *o, const struct algo_pair *p,
                          struct algo_result *r, float *grad);

/* Adds weight kl_weight KL to r->loss and its gradient to grad[d]; r->kl receives the KL.
 * For a live step of a pair that has a reference. */
void surrogate_add_kl(const struct algo_options *o, const struct algo_pair *p,
                      struct algo_result *r, float *grad);

/* The same with kl_previous_weight, towards the network whose output is previous[d], for
 * any step of the chain: r->kl_previous receives the KL, 0 where there is none. 0 or -1. */
int surrogate_add_previous(const struct algo_options *o, const struct algo_pair *p,
                           const float *previous, struct algo_result *r, float *grad);

/* 0, or ERR_NUMERIC where the result or the gradient is not finite. */
int surrogate_check(const struct algo_pair *p, const struct algo_result *r,
                    const float *grad);

/* v within [-limit, limit]. */
double surrogate_limit(double v, double limit);

#endif
