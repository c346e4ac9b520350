/* sluice score: any reward on stored samples. */
#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/job.h"
#include "pipeline/placement.h"
#include "pipeline/schema.h"
#include "pipeline/measure/score.h"
#include "pipeline/run/worker.h"

#include <math.h>
#include <stdio.h>

static const char usage[] = "usage: sluice score RUNDIR|FOLDER|FILE [CONFIG.yaml] "
                            "[section.key=value ...] [OPTIONS]\n"
                            "       mpirun -np N sluice score ...\n\n"
                            "Scores stored samples with a reward: the rollouts of a "
                            "run, by its configuration unless\n"
                            "another is named; a folder of .png, .jpg or .jpeg "
                            "pictures; or a data file (.npy, .csv,\n"
                            ".txt, FILE.csv:COLUMN of texts, FILE.h5:/NAME), coded as "
                            "model.path's network has it.\n\n"
                            "OUT receives a sealed file for each shard (given samples: "
                            "rollout.shard_samples of\n"
                            "them), with the columns of a run's reward files. The same "
                            "command goes on where it was\n"
                            "stopped, with any number of ranks, and gives the same "
                            "bits. What is there with other\n"
                            "settings or of other samples is refused.\n\n";

static const char codes[] =
    "\nexit codes: 0 done, 2 usage, 3 bad input, 5 I/O, 7 more samples failed than\n"
    "reward.on_failure and reward.max_failed_fraction allow, 75 stopped\n";

/* clang-format off */
static const struct config_key options[] = {
    {"reward", CONFIG_TEXT, "", 0, 0, NULL, true,
     "reward, component, or mixture; empty: reward.name"},
    {"out", CONFIG_TEXT, "", 0, 0, NULL, true, "folder; empty: RUNDIR/score/REWARD"},
    {"csv", CONFIG_TEXT, "", 0, 0, NULL, true, "also write a csv file, a line per sample"},
    {"labels", CONFIG_TEXT, "", 0, 0, NULL, true,
     "class labels of given samples, FILE.csv:COLUMN"},
    {"retry-failed", CONFIG_BOOL, "false", 0, 0, NULL, true,
     "score shards again that have samples which failed or timed out"},
    {"json", CONFIG_BOOL, "false", 0, 0, NULL, true, "the result as JSON"},
    {.key = NULL},
};
/* clang-format on */

struct asked {
    struct score_options score;
    bool json;
};

static void print_text(const struct score_result *r)
{
    printf("reward   %s\nfolder   %s\nshards   %lld, %lld scored now\nsamples  %lld:",
           r->reward, r->out, (long long)r->shards, (long long)r->scored,
           (long long)r->samples);
    for (int k = 0; k <= REWARD_NOT_ASKED; k++)
        if (r->status[k] > 0)
            printf(" %lld %s", (long long)r->status[k],
                   reward_status_name((enum reward_status)k));
    if (r->summary.n > 0)
        printf("\nscore    mean %.6g  std %.6g  min %.6g  median %.6g  max %.6g  (%s)",
               r->summary.mean, r->summary.std, r->summary.min, r->summary.median,
               r->summary.max, r->units);
    printf("\n");
}

static void print_json(const struct score_result *r)
{
    const struct {
        const char *name;
        double value;
    } line[] = {{"mean", r->summary.mean}, {"error", r->summary.error},
                {"std", r->summary.std},   {"min", r->summary.min},
                {"q05", r->summary.q05},   {"median", r->summary.median},
                {"q95", r->summary.q95},   {"max", r->summary.max}};
    struct json_out *o = json_out_create();
    json_out_text(o, "reward", r->reward);
    json_out_text(o, "units", r->units);
    json_out_text(o, "folder", r->out);
    json_out_i64(o, "shards", r->shards);
    json_out_i64(o, "scored", r->scored);
    json_out_i64(o, "samples", r->samples);
    json_out_map(o, "status");
    for (int k = 0; k <= REWARD_NOT_ASKED; k++)
        json_out_i64(o, reward_status_name((enum reward_status)k), r->status[k]);
    json_out_end(o);
    for (size_t i = 0; i < sizeof line / sizeof *line; i++)
        if (isfinite(line[i].value))
            json_out_f64(o, line[i].name, line[i].value);
    json_out_print(o);
}

static int work(void *ctx, const struct comm *all)
{
    const struct asked *a = ctx;
    struct score_result r;
    int rc = score_run(&a->score, all, &r);
    if (all->rank == 0 && r.shards > 0)
        a->json ? print_json(&r) : print_text(&r);
    return rc;
}

int cmd_score(int argc, char **argv)
{
    struct config *o = config_create(options), *c = NULL;
    char **rest = mem_alloc(argc, sizeof *rest);
    int n, code = 0;
    if (arguments_help(argc, argv, usage, options, codes))
        goto done;
    int rc = arguments_words(o, options, argc, argv, rest, &n);
    if (rc == 0 && n == 0)
        rc = err_set(ERR_USAGE, "name a run directory, a folder of pictures or a data "
                                "file; see `sluice score --help`");
    if (rc == 0) /* the source, then what the configuration is from */
        c = arguments_source(rest[0], n - 1, rest + 1);
    if (c == NULL) {
        code = cmd_fail("score");
        goto done;
    }
    struct asked a = {.score = {.source = rest[0],
                                .reward = arguments_text(o, "reward"),
                                .labels = arguments_text(o, "labels"),
                                .out = arguments_text(o, "out"),
                                .csv = arguments_text(o, "csv"),
                                .config = c,
                                .retry = config_bool(o, "retry-failed")},
                      .json = config_bool(o, "json")};
    placement_quiet_threads(c, argv - 1);
    worker_catch_signals();
    code = job_run("score", c, work, &a);
done:
    config_destroy(c);
    config_destroy(o);
    mem_free(rest);
    return code;
}
