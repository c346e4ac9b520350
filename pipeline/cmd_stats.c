/* sluice stats: what the files of one or several runs say about them. */
#include "pipeline/cmd.h"

#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/iterations.h"
#include "pipeline/stats/stats.h"


static const char usage[] =
    "usage: sluice stats RUNDIR... [OPTIONS]\n\n"
    "Reads the rollouts, rewards, advantages and metrics of runs, finished or not, and "
    "prints\n"
    "numbers of each side by side, then of each run: histograms of reward and status; "
    "per\n"
    "iteration reward, guard (reward.guard), groups, advantages, KL; per step of the "
    "chain\n"
    "log-density, KL, importance ratio of policy 0 and effective sample size; prompts; "
    "best\n"
    "and worst samples; and whether the reward rises while the guard falls (slopes "
    "over the\n"
    "iterations beyond two standard errors): over-optimisation.\n\n"
    "  groups     samples of one prompt in one iteration; constant: all rewards equal, "
    "so\n"
    "             no method learns from them\n"
    "  diversity  of the first and the last iteration: mean distance of two samples "
    "(of the\n"
    "             first 512), Frechet distance of the two iterations (of the numbers, "
    "up to\n"
    "             512 of them, taken as Gaussians; of the first 2048 samples)\n"
    "  policy_first, policy_other  mean reward of policy 0, or of --policy, estimated "
    "from\n"
    "             the stored chains by importance sampling: self-normalised with its "
    "standard\n"
    "             error, and plain; trust neither where effective_samples is small\n\n"
    "Reads shard after shard; needs memory for the numbers of one iteration.\n\n";

/* clang-format off */
static const struct config_key options[] = {
    {"json", CONFIG_TEXT, "", 0, 0, NULL, true, "JSON file to write"},
    {"hdf5", CONFIG_TEXT, "", 0, 0, NULL, true, "HDF5 file to write, of one run"},
    {"iterations", CONFIG_TEXT, ":", 0, 0, NULL, true, "A:B, both included; either may be absent"},
    {"data", CONFIG_TEXT, "", 0, 0, NULL, true, "data file: Frechet distance to it"},
    {"training", CONFIG_TEXT, "", 0, 0, NULL, true,
     "data file: distance of samples to the nearest of its samples"},
    {"policy", CONFIG_TEXT, "", 0, 0, NULL, true,
     "policy file or version whose reward is estimated (one network evaluation per step)"},
    {.key = NULL},
};
/* clang-format on */

struct words {
    struct config *options;
    char **dir; /* [n] */
    int n;
};

static int sort_words(int argc, char **argv, struct words *w)
{
    if (arguments_words(w->options, options, argc, argv, w->dir, &w->n) != 0)
        return -1;
    if (w->n == 0)
        return err_set(ERR_USAGE, "name a run directory; see `sluice stats --help`");
    if (w->n > 1 && arguments_text(w->options, "hdf5") != NULL)
        return err_set(ERR_USAGE, "--hdf5: name one run directory, not %d", w->n);
    return 0;
}

static int write_json(const struct words *w, const struct stats *s, const char *path)
{
    struct json_out *out = json_out_create();
    json_out_list(out, "runs");
    for (int64_t i = 0; i < w->n; i++) {
        json_out_map(out, NULL);
        json_out_text(out, "run", w->dir[i]);
        stats_put(&s[i], out);
        json_out_end(out);
    }
    json_out_end(out);
    return json_out_file(out, path);
}

static int work(const struct words *w)
{
    const struct config *c = w->options;
    struct stats_options o = {.data = arguments_text(c, "data"),
                              .training = arguments_text(c, "training"),
                              .policy = arguments_text(c, "policy")};
    struct stats *s = mem_alloc(w->n, sizeof *s);
    int64_t done = 0;
    int rc = iterations_parse("--iterations", config_text(c, "iterations"), &o.first,
                              &o.last);
    for (; done < w->n && rc == 0; done++) {
        o.dir = w->dir[done];
        if ((rc = stats_read(&o, &s[done])) != 0)
            break;
    }
    if (rc == 0)
        stats_print(w->dir, s, w->n);
    if (rc == 0 && arguments_text(c, "json") != NULL)
        rc = write_json(w, s, config_text(c, "json"));
    if (rc == 0 && arguments_text(c, "hdf5") != NULL)
        rc = stats_write(s, config_text(c, "hdf5"));
    for (int64_t i = 0; i < done; i++)
        stats_free(&s[i]);
    mem_free(s);
    return rc;
}

int cmd_stats(int argc, char **argv)
{
    struct words w = {.options = config_create(options),
                      .dir = mem_alloc(argc, sizeof *w.dir)};
    int code = 0;
    if (arguments_help(argc, argv, usage, options, NULL))
        goto done;
    if (sort_words(argc, argv, &w) != 0 || work(&w) != 0)
        code = cmd_fail("stats");
done:
    config_destroy(w.options);
    mem_free(w.dir);
    return code;
}
