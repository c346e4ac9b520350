/* A reward from a shared object behind a C interface (sluice_reward.h): plugin.path and
 * plugin.options. Flags and units are the object's (traits). */
#ifndef SLUICE_STAGES_REWARD_PLUGIN_H
#define SLUICE_STAGES_REWARD_PLUGIN_H

#include "stages/reward/reward.h"

extern const struct reward plugin;

#endif
