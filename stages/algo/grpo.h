/* Group-relative policy optimisation on the denoising chain: advantages against the
 * samples of the same prompt, no critic (Shao et al. 2024; Flow-GRPO, Liu et al. 2025;
 * DanceGRPO, Xue et al. 2025; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_GRPO_H
#define SLUICE_STAGES_ALGO_GRPO_H

#include "stages/algo/algo.h"

struct grpo_options {
    bool batch_std; /* deviation of all rewards of the iteration instead of the group's */
};

/* (r - mean) / (std + eps) against the usable samples of the same prompt. */
struct grpo_norm {
    bool batch_std;
    int64_t ddof; /* 0: population, 1: sample deviation */
    double eps;
};

/* Advantages by prompt; 0 in groups of equal rewards (one sample is such a group) and for
 * unusable samples. 0 or -1 (ERR_NUMERIC: a reward is not finite). */
int grpo_normalise(const struct grpo_norm *n, const struct algo_signal *s);

extern const struct algo flow_grpo, dance_grpo;

#endif
