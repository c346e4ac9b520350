/* sluice run: the whole pipeline as one job; the same command resumes. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/cmd.h"
#include "pipeline/schema.h"
#include "pipeline/session.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice run CONFIG [section.key=value ...] [--max-walltime TIME]\n"
    "       mpirun -np N sluice run ...      srun --mpi=pmix sluice run ...\n\n"
    "Runs rollout, reward, advantage and update until run.iterations policies exist in\n"
    "run.dir. The same command continues an interrupted run exactly where it was, with\n"
    "any number of ranks, and ends with the same bits.\n\n"
    "  --max-walltime TIME   stop cleanly before TIME (90, 15m, 1:30:00, 1-00:00:00)\n\n"
    "SIGUSR1, SIGTERM, SIGINT, a file STOP in the run directory, the time limit: work in\n"
    "progress is finished, then exit 75. A file CHECKPOINT keeps the newest policy.\n"
    "`sluice config` explains all keys.\n\n"
    "exit codes: 0 done, 2 usage or configuration, 3 bad input, 4 environment, 5 I/O,\n"
    "6 numerical invariant broken, 7 too many samples without a score, 8 stall, 75 stopped\n"
    "early\n";

int cmd_run(int argc, char **argv)
{
    char **rest = mem_alloc(argc, sizeof *rest), *limit = NULL;
    int n = 0, rc = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            mem_free(rest);
            return 0;
        }
        if (strcmp(argv[i], "--max-walltime") == 0 && i + 1 < argc)
            limit = argv[++i];
        else if (strncmp(argv[i], "--max-walltime=", 15) == 0)
            limit = argv[i] + 15;
        else if (strcmp(argv[i], "--max-walltime") == 0)
            rc = err_set(ERR_USAGE, "--max-walltime wants a time: 90, 15m, 1:30:00");
        else if (argv[i][0] == '-')
            rc = err_set(ERR_USAGE, "unknown option '%s'; see `sluice run --help`", argv[i]);
        else
            rest[n++] = argv[i];
    }
    if (rc == 0 && n == 0)
        rc = err_set(ERR_USAGE, "name a configuration file; see `sluice run --help`");
    struct config *c = rc == 0 ? schema_load(n, rest) : NULL;
    if (c != NULL && limit != NULL) {
        struct text t = {0};
        text_add(&t, "run.max_walltime=%s", limit);
        rc = config_override(c, t.s);
        text_free(&t);
    }
    if (c != NULL && rc == 0 && config_text(c, "run.dir")[0] == '\0')
        rc = err_set(ERR_USAGE, "run.dir is not set: name the run directory");
    int code = c == NULL || rc != 0
                   ? cmd_fail("run")
                   : session_run(&(struct session_options){
                         .config = c, .argc = argc, .argv = argv});
    config_destroy(c);
    mem_free(rest);
    return code;
}
