/* sluice stage: one stage as its own job over what the run directory holds. */
#include "io/sys/err.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/placement.h"
#include "pipeline/run/session.h"

#include <stdio.h>

static const char help[] =
    "usage: sluice stage rollout|reward|advantage|update RUNDIR [section.key=value ...]\n\n"
    "Does all work of one stage that the run directory allows now, with all ranks of this\n"
    "job, and ends. RUNDIR/config.yaml is the configuration. Stages run in turn, as jobs\n"
    "of their own and with any number of ranks, give the bits of `sluice run`.\n"
    "A RUNDIR that holds nothing but config.yaml is set up first. It stops like `sluice\n"
    "run`: SIGUSR1, a file STOP, run.max_walltime. Exit codes are those of `sluice run`;\n"
    "0 and \"waiting\" at the end: the rest is for other stages.\n";

int cmd_stage(int argc, char **argv)
{
    enum group g;
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    if (argc < 3 || !group_from_name(argv[1], &g)) {
        fputs(help, stderr);
        return ERR_USAGE;
    }
    struct config *c = arguments_directory(argv[2], argc - 3, argv + 3);
    if (c != NULL)
        placement_quiet_threads(c, argv - 1);
    int code = c == NULL ? cmd_fail("stage")
                         : session_run(&(struct session_options){.config = c,
                                                                 .single = true,
                                                                 .group = g,
                                                                 .argc = argc,
                                                                 .argv = argv});
    config_destroy(c);
    return code;
}
