/* PPO with generalised advantages on the denoising chain (Schulman et al. 2017, 2016;
 * METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_PPO_H
#define SLUICE_STAGES_ALGO_PPO_H

#include "stages/algo/algo.h"

struct ppo_options {
    double gamma, lambda;
    double kl_reward; /* of a step's KL to version 0, subtracted from its reward */
};

extern const struct algo ppo;

#endif
