/* Where a replay came from: replay.json in its run directory. Its rollout and reward shards
 * and its policy 0 are those of another run, whose id and configuration they carry. */
#ifndef SLUICE_IO_ORIGIN_H
#define SLUICE_IO_ORIGIN_H

#include "io/sys/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct origin { /* plain data; run_id "": the directory is a run of its own */
    char source[3904]; /* the other run's directory, as it was named */
    char source_run_id[48], source_digest[DIGEST_HEX]; /* of its configuration */
    char run_id[48];                                   /* of the replay */
};

/* DIR/replay.json; all zero where there is none. ERR_INPUT: it is damaged. */
int origin_read(const char *dir, struct origin *o);
/* ERR_IO. */
int origin_write(const char *dir, const struct origin *o);

/* rundir_policy's path for a policy of the other run, "behaviour/v000005.h5". buf of at
 * least 96 bytes; returns buf. */
const char *origin_policy(char *buf, int64_t version);

#endif
