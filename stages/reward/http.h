/* The score that an HTTP service gives: REWARDS.md, "A service over HTTP". */
#ifndef SLUICE_STAGES_REWARD_HTTP_H
#define SLUICE_STAGES_REWARD_HTTP_H

#include "stages/reward/reward.h"

extern const struct reward reward_http;

#endif
