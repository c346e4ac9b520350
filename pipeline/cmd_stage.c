/* sluice stage: one stage as its own job over what the run directory holds. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/cmd.h"
#include "pipeline/placement.h"
#include "pipeline/schema.h"
#include "pipeline/session.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice stage rollout|reward|advantage|update RUNDIR [section.key=value ...]\n\n"
    "Does all work of one stage that the run directory allows now, with all ranks of this\n"
    "job, and ends. RUNDIR/config.yaml is the configuration. Stages run in turn, as jobs\n"
    "of their own and with any number of ranks, give the bits of `sluice run`.\n"
    "A RUNDIR that holds nothing but config.yaml is set up first. It stops like `sluice\n"
    "run`: SIGUSR1, a file STOP, run.max_walltime. Exit codes are those of `sluice run`;\n"
    "0 and \"waiting\" at the end: the rest is for other stages.\n";

static struct config *load(const char *dir, int n, char **overrides)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.yaml", dir) >= (int)sizeof path ||
        !file_exists(path)) {
        err_set(ERR_INPUT, "%s: has no config.yaml: this is no run directory", dir);
        return NULL;
    }
    struct config *c = config_create(schema);
    struct text t = {0};
    int rc = config_read(c, path);
    text_add(&t, "run.dir=%s", dir);
    if (rc == 0)
        rc = config_override(c, t.s);
    if (rc == 0) /* the limit of the job that wrote the file is not this job's */
        rc = config_override(c, "run.max_walltime=0");
    for (int i = 0; i < n && rc == 0; i++)
        rc = config_override(c, overrides[i]);
    text_free(&t);
    if (rc == 0)
        return c;
    config_destroy(c);
    return NULL;
}

int cmd_stage(int argc, char **argv)
{
    enum group g;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    if (argc < 3 || !group_from_name(argv[1], &g)) {
        fputs(help, stderr);
        return ERR_USAGE;
    }
    struct config *c = load(argv[2], argc - 3, argv + 3);
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
