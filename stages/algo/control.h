/* Continuous-state RL: the entropy-regularised control of the chain by its policy gradient
 * (Dvijotham et al. 2023, in words; the KL as in Fan et al. 2023; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_CONTROL_H
#define SLUICE_STAGES_ALGO_CONTROL_H

#include "stages/algo/algo.h"

struct control_options {
    double alpha;  /* of the summed KL to version 0, in units of the reward */
    double lambda; /* of the advantages */
};

extern const struct algo control;

#endif
