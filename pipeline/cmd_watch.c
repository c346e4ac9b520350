/* sluice watch: a live view of runs. */
#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/watch/watch.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice watch RUNDIR|SWEEPDIR ... [OPTIONS]\n\n"
    "Shows how runs get on, from their files alone: state, iteration, reward and its "
    "curve,\n"
    "KL, clipping, samples/s, time to go, memory, where the iteration is, where the "
    "ranks'\n"
    "time goes, warnings, and when there was a last sign of life. It needs no "
    "connection to\n"
    "the job and changes nothing, so it works on any machine that sees the directory, "
    "while\n"
    "the job runs and afterwards. Several runs, or a sweep: a line each.\n\n"
    "On a terminal the picture is renewed until all runs have finished or failed; q or "
    "Ctrl-C\n"
    "ends it, the runs go on. Where standard output is no terminal, or TERM is dumb, "
    "one\n"
    "picture is printed. NO_COLOR=1: no colours. COLUMNS: width where there is no "
    "terminal.\n\n";

/* clang-format off */
static const struct config_key options[] = {
    {"interval", CONFIG_DURATION, "2", 0.1, 86400, NULL, false,
     "time between two looks at the files"},
    {"once", CONFIG_BOOL, "false", 0, 0, NULL, false, "print one plain picture"},
    {"wait", CONFIG_BOOL, "false", 0, 0, NULL, false,
     "wait for directories that are not there yet"},
    {.key = NULL},
};
/* clang-format on */

static int watch(int argc, char **argv, struct config *c)
{
    char **dir = mem_alloc(argc, sizeof *dir);
    struct watch_options o = {.dir = dir};
    int rc = 0;
    for (int i = 1; i < argc && rc == 0; i++) {
        if (strncmp(argv[i], "--", 2) == 0)
            rc = arguments_option(c, options, argc, argv, &i);
        else if (argv[i][0] == '-')
            rc = err_set(ERR_USAGE, "unknown option '%.100s'; see --help", argv[i]);
        else
            dir[o.dirs++] = argv[i];
    }
    if (rc == 0 && o.dirs == 0)
        rc = err_set(ERR_USAGE, "which run directory? See `sluice watch --help`");
    o.interval_s = config_real(c, "interval");
    o.once = config_bool(c, "once");
    o.wait = config_bool(c, "wait");
    if (rc == 0)
        rc = watch_runs(&o);
    mem_free(dir);
    return rc;
}

int cmd_watch(int argc, char **argv)
{
    if (arguments_help(argc, argv, help, options, NULL))
        return 0;
    struct config *c = config_create(options);
    const int rc = watch(argc, argv, c);
    config_destroy(c);
    return rc == 0 ? 0 : cmd_fail("watch");
}
