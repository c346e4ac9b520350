/* What is in a file: shapes and statistics of its columns or tensors. */
#ifndef SLUICE_PIPELINE_INSPECT_H
#define SLUICE_PIPELINE_INSPECT_H

#include "io/sys/digest.h"

#include <stdbool.h>
#include <stdint.h>

#define INSPECT_MAX_ND 8

/* Over the values that are not NaN; all NaN where there are none. std: of the
 * population. */
struct inspect_stats {
    double min, max, mean, std;
    int64_t nan;
    int64_t distinct; /* text columns only, else -1 */
};

struct inspect_column {
    char *name, *units, *long_name; /* the last two may be NULL */
    const char *type;
    int nd;
    int64_t dim[INSPECT_MAX_ND];
    struct inspect_stats stats;
};

struct inspect_attribute {
    char *name, *value;
};

/* Plain data; freed with inspect_free. */
struct inspect_file {
    const char *kind; /* "rollout", ..., "safetensors" */
    struct inspect_attribute *attribute;
    struct inspect_column *column;
    int64_t attributes, columns;
    char content[DIGEST_HEX]; /* recomputed from the values */
    char stored[DIGEST_HEX];  /* "" where the format stores none */
};

/* Reads every value of an .h5 file of ours or a .safetensors file. ERR_INPUT. */
int inspect_read(const char *path, struct inspect_file *out);
void inspect_free(struct inspect_file *f);

#endif
