/* Adjoint matching: regression of the chain's drift on the adjoint of the first policy
 * (Domingo-Enrich et al. 2024; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_ADJOINT_H
#define SLUICE_STAGES_ALGO_ADJOINT_H

#include "stages/algo/algo.h"

struct adjoint_options {
    double weight; /* lambda */
    bool same;     /* pairs a step with the adjoint at its start, else at its end */
    bool all;      /* every step, else four of them */
};

extern const struct algo adjoint_matching;

#endif
