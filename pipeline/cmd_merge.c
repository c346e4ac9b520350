/* sluice merge: shards of a run as one file. */
#include "pipeline/cmd.h"

#include "io/config.h"
#include "io/merge.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/iterations.h"

#include <stdio.h>

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
    int64_t first, last;
    struct merged m;
    if (arguments_help(argc, argv, usage, options, NULL))
        return 0;
    struct config *c = config_create(options);
    char **word = mem_alloc(argc, sizeof *word);
    int words, rc = arguments_words(c, options, argc, argv, word, &words);
    if (rc == 0 && words > 2)
        rc = err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", word[2]);
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
    mem_free(word);
    return rc == 0 ? 0 : cmd_fail("merge");
}
