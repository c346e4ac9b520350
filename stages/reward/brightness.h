/* Mean of all elements of a sample, for samples of any shape: the plainest reward,
 * whose policy gradient is known in closed form for Gaussian data
 * (tests/unit/gaussian.c). */
#ifndef SLUICE_STAGES_REWARD_BRIGHTNESS_H
#define SLUICE_STAGES_REWARD_BRIGHTNESS_H

#include "stages/reward/reward.h"

extern const struct reward brightness;

#endif
