/* Final samples that are noised again: the pairs of methods that need no trajectory.
 * Timestep and noise are keyed by (seed, iteration, inner epoch, sample, draw), so a
 * pair's bits depend on nothing else. */
#ifndef SLUICE_STAGES_RENOISE_H
#define SLUICE_STAGES_RENOISE_H

#include "stages/task.h"

struct renoise {
    int64_t iteration, epoch, sample, draw;
    int64_t time; /* training timestep; -1: drawn uniformly from all of them */
};

/* x[d] = x0 noised to the timestep, which is returned, and target[d] = what the network
 * should say there (epsilon, sample or v, as the schedule predicts). noise: [d] scratch. */
int64_t renoise_pair(const struct task *t, const struct renoise *r, const float *x0,
                     float *noise, float *x, float *target);

#endif
