/* Reward-weighted regression: samples with high rewards are trained on as if they were
 * data (Lee et al. 2023; RWR and RWR-sparse as in Black et al. 2023; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_RWR_H
#define SLUICE_STAGES_ALGO_RWR_H

#include "stages/algo/algo.h"

struct rwr_options {
    double beta;       /* rwr: weight exp(beta * reward) */
    double percentile; /* rwr_sparse: rewards from here on count */
    bool per_prompt;   /* both: among the samples of a prompt */
};

extern const struct algo rwr, rwr_sparse, distil;

#endif
