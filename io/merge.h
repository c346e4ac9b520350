/* One file with the columns of many shards, for archives and for readers who want no
 * directory: laid out as index.h5, with the values in place of references to them. */
#ifndef SLUICE_IO_MERGE_H
#define SLUICE_IO_MERGE_H

#include <stdint.h>

struct merged {                    /* what was merged */
    int64_t files, bytes, samples; /* samples: of the kind with the most */
};

/* Writes the rollout, reward and advantage files of RUNDIR's iterations first to last
 * into the new file path, sealed. Every file's content digest is recomputed first.
 * ERR_INPUT: a damaged file, named, or no file at all; ERR_USAGE: path exists; ERR_IO.
 */
int merge_write(const char *rundir, const char *path, int64_t first, int64_t last,
                struct merged *out);

#endif
