/* sluice run: the whole pipeline as one job; the same command resumes. */
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/placement.h"
#include "pipeline/run/session.h"

static const char help[] =
    "usage: sluice run CONFIG [section.key=value ...] [--max-walltime TIME] [--quiet]\n"
    "       mpirun -np N sluice run ...      srun --mpi=pmix sluice run ...\n\n"
    "Runs rollout, reward, advantage and update until run.iterations policies exist in\n"
    "run.dir. The same command continues an interrupted run exactly where it was, with\n"
    "any number of ranks, and ends with the same bits.\n\n"
    "  --max-walltime TIME   stop cleanly before TIME (90, 15m, 1:30:00, 1-00:00:00)\n"
    "  --quiet, -q           print warnings and the end only\n\n"
    "SIGUSR1, SIGTERM, SIGINT, a file STOP in the run directory, the time limit: work in\n"
    "progress is finished, then exit 75. A file CHECKPOINT keeps the newest policy.\n"
    "Standard output has a plain line per iteration, on a terminal and in a batch log alike;\n"
    "`sluice watch RUNDIR` shows the run live, from any machine that sees its files.\n"
    "`sluice config` explains all keys.\n\n"
    "exit codes: 0 done, 2 usage or configuration, 3 bad input, 4 environment, 5 I/O,\n"
    "6 numerical invariant broken, 7 too many samples without a score, 8 stall, 75 stopped\n"
    "early\n";

int cmd_run(int argc, char **argv)
{
    int code;
    struct config *c = arguments_job("run", help, argc, argv, &code);
    if (c == NULL)
        return code;
    placement_quiet_threads(c, argv - 1);
    code = session_run(
        &(struct session_options){.config = c, .argc = argc, .argv = argv});
    config_destroy(c);
    return code;
}
