/* Where a command takes its network from: a diffusers folder, a policy file, or a run
 * directory (its newest policy, or one by version). */
#ifndef SLUICE_PIPELINE_SOURCE_H
#define SLUICE_PIPELINE_SOURCE_H

#include "stages/model/model.h"

#include <stdbool.h>
#include <stdint.h>

struct source {
    char *path;          /* of the folder or the policy file */
    bool policy;         /* it is a policy file */
    struct model *model; /* without gradients */
    char *scheduler; /* text of the scheduler's configuration; NULL: the folder has none
                      */
};

/* version: of a run directory's policy, -1 for the newest. ema: the averaged weights of
 * a policy in place of the weights. 0, or -1 with ERR_USAGE (an option that does not go
 * with what path is) or ERR_INPUT, and then nothing to close. */
int source_open(struct source *s, const char *path, int64_t version, bool ema);
void source_close(struct source *s);

#endif
