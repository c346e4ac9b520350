/* The program: one executable, one table of subcommands. File tools never touch MPI. */
#include "pipeline/cmd.h"

#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/text.h"
#include "pipeline/child.h"
#include "pipeline/version.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"run", "run the pipeline; the same command resumes (MPI)", cmd_run},
    {"stage", "run one stage over a run directory (MPI)", cmd_stage},
    {"submit", "run the pipeline as Slurm jobs that requeue themselves", cmd_submit},
    {"replay", "advantage and update again over stored rollouts (MPI)", cmd_replay},
    {"evaluate", "measure samples: reward, fidelity, diversity, KL (MPI)", cmd_evaluate},
    {"score", "score stored samples with any reward (MPI)", cmd_score},
    {"reward-check", "ask every reward of a configuration for a sample", cmd_reward_check},
    {"front", "reward against fidelity as a curve: runs and evaluations", cmd_front},
    {"sweep", "many runs over a grid, random draws or a list; by halving", cmd_sweep},
    {"pretrain", "train a network on a data set by denoising (MPI)", cmd_pretrain},
    {"classifier", "train a classifier on labelled data, as a reward (MPI)", cmd_classifier},
    {"graft", "add labels to a trained network, for conditional control", cmd_graft},
    {"sample", "draw samples from a model or a policy", cmd_sample},
    {"forward", "evaluate a network once, with gradients", cmd_forward},
    {"plan", "derived numbers of a configuration: batches, memory, disk", cmd_plan},
    {"config", "explain or resolve the configuration", cmd_config},
    {"selftest", "try out what a run needs of this machine (MPI)", cmd_selftest},
    {"watch", "a live view of runs, from their files", cmd_watch},
    {"inspect", "what a sealed file or a run directory holds", cmd_inspect},
    {"verify", "check checksums, completeness and lineage", cmd_verify},
    {"stats", "rewards, groups, steps, diversity, over-optimisation of runs", cmd_stats},
    {"report", "write a run's report.html", cmd_report},
    {"merge", "shards of a run as one file", cmd_merge},
    {"prune", "remove shards of old iterations", cmd_prune},
    {"export", "a policy as a diffusers folder; a run as pictures, CSV, TensorBoard", cmd_export},
    {NULL, NULL, NULL},
};

int cmd_fail(const char *name)
{
    fprintf(stderr, "sluice %s: %s\n", name, err_text());
    return err_code() == ERR_NONE ? ERR_ENV : (int)err_code();
}

static void usage(FILE *f)
{
    fputs("usage: sluice COMMAND [ARGUMENTS]\n\n"
          "Reinforcement-learning fine-tuning of diffusion models as an HPC batch job.\n\n",
          f);
    for (const struct command *c = commands; c->name != NULL; c++)
        fprintf(f, "  %-12s %s\n", c->name, c->help);
    fputs("\n`sluice COMMAND --help` explains one command; `sluice --version` prints the "
          "version.\n",
          f);
}

int main(int argc, char **argv)
{
    const char *names[32];
    int64_t n = 0;
    shard_software(version_number(), version_commit());
    if (argc < 2) {
        usage(stderr);
        return ERR_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("sluice %s (%s)\n%s\n", version_number(), version_commit(),
               version_build());
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "child") == 0) /* for the program itself */
        return child_become(argc - 1, argv + 1);
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, argv[1]) == 0)
            return c->run(argc - 1, argv + 1);
        names[n++] = c->name;
    }
    const char *near = text_nearest(argv[1], names, n);
    fprintf(stderr, "sluice: unknown command '%s'%s%s%s; see `sluice --help`\n", argv[1],
            near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
            near != NULL ? "'" : "");
    return ERR_USAGE;
}
