/* How far a sample x is from what the network was trained on: the root mean square d
 * over its elements of the difference to the nearest row r of reward.reference, at most
 * reward.distance_cap, beyond which there is nothing to gain. Differentiable where the
 * nearest row is one: the gradient is (x - r) / (elements d), and 0 beyond the cap. */
#ifndef SLUICE_STAGES_REWARD_MEMORISATION_H
#define SLUICE_STAGES_REWARD_MEMORISATION_H

#include "stages/reward/reward.h"

extern const struct reward memorisation;

#endif
