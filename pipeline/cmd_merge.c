/* sluice merge: shards of a run as one file. */
#include "pipeline/cmd.h"

#include "io/config.h"
#include "io/merge.h"
#include "io/sys/err.h"
#include "pipeline/arguments.h"
#include "pipeline/iterations.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: sluice merge RUNDIR OUT.h5 [--iterations A:B]\n\n"
    "Copies the rollout, reward and advantage files of the iterations into one new "
    "file with\n"
    "the layout of index.h5 (io/FORMAT.md): groups rollout, reward and advantage with "
    "the\n"
    "same columns, one row per sample, and sources/ with the path and the content "
    "digest of\n"
    "every file. Each file's digest is recomputed first. The run stays as it is.\n\n";

/* clang-format off */
static const struct config_key options[] = {
    {"iterations", CONFIG_TEXT, ":", 0, 0, NULL, true, "A:B, both included; either may be absent"},
    {.key = NULL},
};
/* clang-format on */

int cmd_merge(int argc, char **argv)
{
    struct config *c = config_create(options);
    const char *word[2] = {NULL, NULL};
    int words = 0, rc = 0;
    int64_t first, last;
    struct merged m;
    for (int i = 1; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            arguments_option_help(options);
            config_destroy(c);
            return 0;
        }
        if (strncmp(argv[i], "--", 2) == 0)
            rc = arguments_option(c, options, argc, argv, &i);
        else if (words < 2)
            word[words++] = argv[i];
        else
            rc =
                err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", argv[i]);
    }
    if (rc == 0 && words < 2)
        rc = err_set(ERR_USAGE,
                     "name a run directory and the file to write; see --help");
    if (rc == 0)
        rc = iterations_parse("--iterations", config_text(c, "iterations"), &first,
                              &last);
    if (rc == 0)
        rc = merge_write(word[0], word[1], first, last, &m);
    if (rc == 0)
        printf("%s: %lld samples of %lld files, %.1f MB\n", word[1],
               (long long)m.samples, (long long)m.files, (double)m.bytes / 1e6);
    config_destroy(c);
    return rc == 0 ? 0 : cmd_fail("merge");
}
