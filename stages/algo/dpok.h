/* KL-regularised online policy gradient (Fan et al. 2023, DPOK; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_DPOK_H
#define SLUICE_STAGES_ALGO_DPOK_H

#include "stages/algo/algo.h"

struct dpok_options {
    double reward_weight; /* of the reward term, in 1 / (unit of the reward) */
};

extern const struct algo dpok;

#endif
