/* exec: a user's program, in any language, as long-lived workers that answer requests over
 * pipes. stages/reward/EXEC.md is the protocol. */
#ifndef SLUICE_STAGES_REWARD_EXEC_H
#define SLUICE_STAGES_REWARD_EXEC_H

#include "stages/reward/reward.h"

extern const struct reward reward_exec;

#endif
