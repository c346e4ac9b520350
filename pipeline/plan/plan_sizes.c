/* Disk of `sluice plan`, and what memory and disk have in common. */
#include "pipeline/plan/plan_sizes.h"

#include "pipeline/settings.h"
#include "stages/task.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void plan_line(const char *name, const char *fmt, ...)
{
    va_list ap;
    printf("  %-28s ", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* "12.3 MiB" into buf, which is returned. */
static const char *size_text(char buf[32], double bytes)
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    int k = 0;
    for (bytes /= 1024; bytes >= 1000 && k < 4; k++)
        bytes /= 1024;
    snprintf(buf, 32, "%.3g %s", bytes, unit[k]);
    return buf;
}

int plan_companions(const struct plan *p)
{
    return ((p->needs & NEEDS_REFERENCE) != 0) + ((p->needs & NEEDS_BEHAVIOUR) != 0) +
           (config_real(p->c, "algorithm.kl_previous_weight") > 0);
}

int64_t plan_walked(const struct plan *p)
{
    if (!algo_walks(p->algo))
        return 1;
    int64_t last = config_int(p->c, "algorithm.draft_k");
    return strcmp(p->algo->name, "draft_k") == 0 && last < p->steps ? last : p->steps;
}

bool plan_refers(const struct plan *p)
{
    return (p->needs & NEEDS_REFERENCE_DENSITY) != 0;
}

double plan_searched(const struct plan *p)
{
    const char *key = "search.kind";
    if (plan_refers(p))
        return 2;
    if (config_is(p->c, key, "best_of") || config_is(p->c, key, "svdd"))
        return (double)config_int(p->c, "search.candidates");
    if (config_is(p->c, key, "dps"))
        return 4;
    return config_is(p->c, key, "noise")
               ? 1 + 4 * (double)config_int(p->c, "search.iterations")
               : 1;
}

/* Samples that a learned reward asks in the run. */
static int64_t answers(const struct plan *p)
{
    const struct config *c = p->c;
    int64_t each = config_is(c, "surrogate.queries", "auto")
                       ? p->samples
                       : config_int(c, "surrogate.queries");
    int64_t asking = plan_parts(config_int(c, "run.iterations"), config_int(c, "surrogate.period"));
    int64_t rounds = config_int(c, "surrogate.rounds");
    return p->features == 0 ? 0
                            : (each < p->samples ? each : p->samples) *
                                  (asking < rounds ? asking : rounds);
}

double plan_learned_bytes(const struct plan *p)
{
    double m = (double)p->features;
    return 8 * (m * (double)p->heads + (p->factor ? m * (m + 1) / 2 : 0)) +
           (double)answers(p) * (4 * (double)p->d + 24);
}

int64_t plan_value_base(const struct plan *p)
{
    int64_t linear = config_int(p->c, "value.linear"), classes = p->classes;
    if (p->algo->returns == NULL || config_is(p->c, "value.kind", "none"))
        return 0;
    return 2 + (p->d < linear ? p->d : linear) + (classes > 64 ? 0 : classes) +
           config_int(p->c, "value.features");
}

/* A data set of n values in a sealed file: chunks of at most 1 MiB, all of them whole. */
static double chunked(double bytes)
{
    const double chunk = 1 << 20;
    return bytes < chunk ? bytes : ceil(bytes / chunk) * chunk;
}

/* A file of so many data sets, axes included, without their values: its seal and head; object
 * headers with attributes. Measured. */
static double file_bytes(int sets)
{
    return 4096 + 950.0 * sets;
}

/* Checksum and index entry of a chunk; where a sample has one of its own. */
static const double chunk_bytes = 19;

double plan_policy_bytes(const struct plan *p)
{
    bool anchor = config_is(p->c, "algorithm.reference", "ema") &&
                  (p->needs & NEEDS_REFERENCE) != 0;
    double n = (double)p->parameters;
    /* weights, two moments and an EMA or the weights in its place; numbers of a short axis */
    return file_bytes(METRICS + 20) + (anchor ? 5 : 4) * chunked(4 * n) +
           (n <= 65536 ? 8 * n : 0);
}

/* Of one iteration: a row of a rollout, of a reward, and of the advantage file. */
static double row_bytes(const struct plan *p)
{
    double numbers = 8.0 * (double)p->steps; /* one per step */
    double state = 4.0 * (double)p->d;
    bool chain = (p->needs & NEEDS_TRAJECTORY) != 0;
    double row = state + chunk_bytes + numbers + 64;
    if (chain)
        row += state * (double)(p->steps + 1) + chunk_bytes;
    if (plan_refers(p))
        row += 2 * numbers;
    row += 33; /* reward */
    if ((p->needs & NEEDS_REWARD_GRADIENT) != 0 && p->features == 0)
        row += state + chunk_bytes;
    row += 58; /* advantage */
    if ((p->needs & NEEDS_STEP_ADVANTAGE) != 0)
        row += 3 * numbers;
    return row;
}

double plan_iteration_bytes(const struct plan *p)
{
    double base = (double)plan_value_base(p), knots = (double)config_int(p->c, "value.knots");
    double sums = base * base * (2 * knots - 1) + base * knots;
    double parents = 200; /* of each shard in the advantage file */
    return (double)p->shards * (file_bytes(16) + file_bytes(9) + parents) + file_bytes(14) +
           (double)p->samples * row_bytes(p) + plan_learned_bytes(p) + 16 * sums;
}

/* The index has some numbers of each sample, the shards by name. */
static double index_bytes(const struct plan *p)
{
    return 50 * (double)p->samples + 1400 * (double)p->shards;
}

void plan_disk(const struct plan *p)
{
    static const double report_bytes = 160 << 10; /* and the index of nothing */
    int64_t iterations = settings_iterations(p->c);
    int64_t keep = config_int(p->c, "run.keep_shards");
    int64_t policies = config_int(p->c, "run.keep_policies");
    int64_t every = config_int(p->c, "run.keep_every");
    double iteration = plan_iteration_bytes(p), policy = plan_policy_bytes(p);
    int64_t kept = keep == 0 || keep > iterations ? iterations : keep;
    int64_t files =
        policies == 0 || policies > iterations + 1 ? iterations + 1 : policies;
    if (policies != 0 && every > 0)
        files += iterations / every;
    files += policies != 0 && config_bool(p->c, "run.keep_best");
    double all = iteration * (double)kept + policy * (double)files;
    char one[32], sum[32];
    printf("disk\n");
    plan_line("shards", "%s per iteration, %s for %lld iteration(s) kept",
              size_text(one, iteration), size_text(sum, iteration * (double)kept),
              (long long)kept);
    if (p->features > 0)
        plan_line("", "a learned reward of %lld features and up to %lld answers, %s of it",
                  (long long)p->features, (long long)answers(p),
                  size_text(one, plan_learned_bytes(p)));
    plan_line("policies", "%s each, %s for up to %lld kept", size_text(one, policy),
              size_text(sum, policy * (double)files), (long long)files);
    plan_line("files", "about %lld", (long long)(kept * (2 * p->shards + 1) + files));
    plan_line("the run directory", "%s, with index and report",
              size_text(one, all + index_bytes(p) * (double)kept + report_bytes));
}
