/* Data to compare samples with, as the network sees them. */
#ifndef SLUICE_STAGES_REWARD_REFERENCE_H
#define SLUICE_STAGES_REWARD_REFERENCE_H

#include "io/dataset.h"
#include "stages/reward/reward.h"

/* path: a file of pictures or numbers (io/dataset.h), or, for texts, FILE.csv:COLUMN;
 * coded as the scene's coding says, the first `rows` samples of it (0: all). `key`
 * names the setting, for errors. The caller frees *d. -1: ERR_USAGE (no path; samples
 * of another shape), ERR_INPUT. */
int reference_read(const struct reward_scene *s, const char *key, const char *path,
                   int64_t rows, struct dataset *d);

#endif
