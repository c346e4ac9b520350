/* A text sample's score by a table, reward.table = FILE.csv:KEY:SCORE. A text that is
 * not in the table is infeasible. reward.noise adds normal noise of that deviation, new
 * for every sample and iteration, as a measurement has it; after reward.budget samples
 * of the run there are no more answers (status failed). */
#ifndef SLUICE_STAGES_REWARD_TABLE_H
#define SLUICE_STAGES_REWARD_TABLE_H

#include "stages/reward/reward.h"

extern const struct reward table;

#endif
