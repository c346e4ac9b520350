/* DDPO: advantages by algorithm.baseline, the shared surrogate. */
#include "stages/algo/ddpo.h"

#include "stages/algo/signal.h"
#include "stages/algo/surrogate.h"

static int loss_sf(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    double a = surrogate_limit(p->advantage, o->adv_clip);
    return surrogate_loss(o, CLIP_NONE, a, p, r, grad);
}

const struct algo ddpo_sf = {
    .name = "ddpo_sf",
    .help = "DDPO, score function: one update per batch, strictly on policy",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .on_policy_only = 1,
    .signal = signal_baseline,
    .loss = loss_sf,
};

const struct algo ddpo_is = {
    .name = "ddpo_is",
    .help = "DDPO, importance sampling: clipped ratio, several updates per batch",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .signal = signal_baseline,
    .loss = surrogate_pessimistic,
};
