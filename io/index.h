/* index.h5 of a run directory: one virtual data set per column over all sealed shards,
 * so that an analyst opens one file. It is derived: losing it loses nothing. A source
 * that is gone would read as fill values without any error, hence the check. */
#ifndef SLUICE_IO_INDEX_H
#define SLUICE_IO_INDEX_H

#include "io/sys/text.h"

#include <stdint.h>

/* Writes RUNDIR/index.h5 (atomically) over the rollout, reward and advantage files that
 * are there now. ERR_INPUT (a shard cannot be read), ERR_IO. */
int index_write(const char *rundir);

/* Compares the sources recorded in RUNDIR/index.h5 with the files that are there: adds
 * a line to problems (may be NULL) and counts in *bad for each that is missing or has
 * other content. 0 also where there is no index. ERR_INPUT when it cannot be read. */
int index_check(const char *rundir, struct text *problems, int64_t *bad);

#endif
