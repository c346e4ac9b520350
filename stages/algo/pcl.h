/* Path consistency learning (Nachum et al. 2017; Uehara et al. 2024 for diffusion) and its
 * form over whole chains, trajectory balance (Malkin et al. 2022; METHODS.md). Both use
 * log-densities summed over the elements, whatever algorithm.logprob says. */
#ifndef SLUICE_STAGES_ALGO_PCL_H
#define SLUICE_STAGES_ALGO_PCL_H

#include "stages/algo/algo.h"

struct pcl_options {
    double alpha; /* of the KL to version 0, in units of the reward */
};

extern const struct algo pcl, trajectory_balance;

#endif
