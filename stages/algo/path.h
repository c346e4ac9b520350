/* What methods share that follow the reward's gradient back into the network: the loss
 * of a final sample, -r or |r - target|, and its slope. */
#ifndef SLUICE_STAGES_ALGO_PATH_H
#define SLUICE_STAGES_ALGO_PATH_H

#include "stages/algo/algo.h"

struct path_options {
    double target; /* NaN: the loss is -r */
};

/* Reads algorithm.reward_target. */
void path_read(struct path_options *p, const struct config *c);

/* The loss of a sample with this reward; *slope receives d loss / d reward (0 at the
 * target). */
double path_loss(const struct path_options *p, double reward, double *slope);

/* advantage = -slope of usable samples: what the reward's gradient is multiplied by
 * where it is climbed. Otherwise as algo.signal. */
int path_signal(const struct path_options *p, const struct algo_signal *s);

/* The loss of a chain's final sample, times weight, and cotangent[d], its gradient. */
double path_start(const struct path_options *p, const struct algo_walk *w,
                  float *cotangent);

#endif
