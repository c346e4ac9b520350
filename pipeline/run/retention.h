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

/* Shards of iteration i serve the update that made version i + 1; after it they are only for
 * the analyst. The first iteration whose files a run with this newest version needs to go
 * on; those from there on must stay. */
int64_t retention_first_needed(int64_t newest);
/* Removes an iteration's files, shards 0 .. shards - 1. Whether anything was there. */
bool retention_drop_iteration(const char *dir, int64_t shards, int64_t iteration);

#endif
