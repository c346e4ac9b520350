/* The table of keys, from pipeline/schema: name, type, default, range, words, whether results
 * depend on it, help. A file there holds the sections of one matter; the order of files and
 * keys is that of --help and of the saved configuration. Defaults named "paper" are those of
 * Black et al. 2023 (DDPO). */
#include "pipeline/schema.h"

#include "pipeline/compute.h"

#include "io/sys/err.h"
#include "io/sys/file.h"

#include <string.h>

#define ANY 0, 0
#define COUNT 1, 1e9
#define SECONDS 0, 1e9
#define YES true
#define NO false

const struct config_key schema[] = {
#include "pipeline/schema/run.def"
#include "pipeline/schema/sampling.def"
#include "pipeline/schema/reward.def"
#include "pipeline/schema/surrogate.def"
#include "pipeline/schema/learning.def"
#include "pipeline/schema/groups.def"
#include "pipeline/schema/pretrain.def"
#include "pipeline/schema/classifier.def"
    {.key = NULL},
};

struct config *schema_load(int argc, char **argv)
{
    struct config *c = config_create(schema);
    for (int i = 0; i < argc; i++) {
        int rc;
        if (argv[i][0] == '-')
            rc = err_set(ERR_USAGE, "unknown option '%.100s'; --help lists them", argv[i]);
        else if (i == 0 && (strchr(argv[i], '=') == NULL || file_exists(argv[i])))
            rc = config_read(c, argv[i]);
        else
            rc = config_override(c, argv[i]);
        if (rc != 0) {
            config_destroy(c);
            return NULL;
        }
    }
    return c;
}
