/* What old files go: never the newest policy, one that an unfinished iteration needs, the
 * best, or a pinned one. */
#ifndef SLUICE_PIPELINE_RETENTION_H
#define SLUICE_PIPELINE_RETENTION_H

#include "io/config.h"
#include "stages/task.h"

/* Removes policies and shards that section `run` of the configuration does not keep.
 * newest: the newest sealed version. ERR_IO. */
int retention_apply(const struct task *t, const struct config *c, int64_t newest);

/* Keeps a version for ever (an empty file policy/vNNNNNN.pin marks it). */
int retention_pin(const struct task *t, int64_t version);

#endif
