/* sluice replay: advantage and update once more, over stored rollouts and rewards. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/placement.h"
#include "pipeline/run/replay.h"
#include "pipeline/run/session.h"

#include <string.h>

static const char help[] =
    "usage: sluice replay RUNDIR [section.key=value ...] [--out DIR]\n"
    "       mpirun -np N sluice replay ...\n\n"
    "Runs advantage and update once more over the rollouts and rewards that RUNDIR holds,\n"
    "with another method or other settings: no sampling, no scoring. DIR (default\n"
    "RUNDIR-replay-N) is a run directory of its own; its rollout and reward files are hard\n"
    "links to RUNDIR's, or copies. The same command continues an interrupted replay.\n\n"
    "With nothing changed every advantage and policy file has the bits of the run. With\n"
    "changes the policies go their own way from version 0 on; from then on the stored\n"
    "samples are those of other policies, and the importance ratio, by the stored\n"
    "log-probabilities, stands for the difference (METHODS.md, Replay).\n\n"
    "Keys that rollouts or rewards depend on are refused: sampler, rollout, reward, search,\n"
    "surrogate, classifier, model.path, model.dtype, model.backend, max_staleness.\n\n"
    "exit codes: those of `sluice run`\n";

struct words {
    const char *source, *out;
    char **rest;
    int n;
};

static int sort_words(int argc, char **argv, struct words *w)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--out") == 0 && i + 1 < argc)
            w->out = argv[++i];
        else if (strncmp(argv[i], "--out=", 6) == 0)
            w->out = argv[i] + 6;
        else if (argv[i][0] == '-')
            return err_set(ERR_USAGE,
                           "unknown option '%.100s' or no value; see `sluice replay --help`",
                           argv[i]);
        else if (w->source == NULL)
            w->source = argv[i];
        else
            w->rest[w->n++] = argv[i];
    }
    return w->source != NULL
               ? 0
               : err_set(ERR_USAGE, "name a run directory; see `sluice replay --help`");
}

/* A replay has no rollouts to wait for: all ranks share the work unless it is said how. */
static int spread_ranks(struct config *c)
{
    static const char *const words[] = {"groups.rollout=auto", "groups.reward=auto",
                                        "groups.advantage=auto", "groups.update=auto",
                                        "groups.placement=shared"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (config_override(c, words[i]) != 0)
            return -1;
    return 0;
}

int cmd_replay(int argc, char **argv)
{
    struct words w = {.rest = mem_alloc(argc, sizeof *w.rest)};
    struct config *was = NULL, *now = NULL;
    int rc, code = 0;
    if (arguments_help(argc, argv, help, NULL, NULL))
        goto done;
    rc = sort_words(argc, argv, &w);
    if (rc == 0)
        was = arguments_directory(w.source, 0, NULL);
    if (was != NULL)
        now = arguments_directory(w.source, 0, NULL);
    rc = now == NULL ? -1 : spread_ranks(now);
    for (int i = 0; i < w.n && rc == 0; i++)
        rc = config_override(now, w.rest[i]);
    struct replay r = {.source = w.source, .out = w.out, .was = was, .now = now};
    if (rc == 0)
        rc = replay_check_keys(&r);
    if (rc != 0) {
        code = cmd_fail("replay");
        goto done;
    }
    placement_quiet_threads(now, argv - 1);
    code = session_run(&(struct session_options){
        .config = now, .argc = argc, .argv = argv, .begin = replay_begin, .ctx = &r});
done:
    config_destroy(was);
    config_destroy(now);
    mem_free(w.rest);
    return code;
}
