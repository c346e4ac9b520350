/* Disk of `sluice plan`, and what memory and disk have in common. */
#include "pipeline/plan/plan_sizes.h"

#include "pipeline/settings.h"

#include <stdarg.h>
#include <stdio.h>

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

double plan_policy_bytes(const struct plan *p)
{
    bool anchor = config_is(p->c, "algorithm.reference", "ema") &&
                  (p->needs & NEEDS_REFERENCE) != 0;
    return (double)p->parameters * (anchor ? 20 : 16); /* without an EMA weights stand there */
}

void plan_disk(const struct plan *p)
{
    int64_t iterations = settings_iterations(p->c);
    int64_t keep = config_int(p->c, "run.keep_shards");
    int64_t policies = config_int(p->c, "run.keep_policies");
    int64_t every = config_int(p->c, "run.keep_every");
    int64_t states = (p->needs & NEEDS_TRAJECTORY) != 0 ? p->steps + 2 : 1;
    double numbers = 8.0 * (double)p->steps; /* one per step */
    double sample = (double)p->d * 4 * (double)states + numbers + 64;
    if (plan_refers(p))
        sample += 2 * numbers;
    if ((p->needs & NEEDS_STEP_ADVANTAGE) != 0)
        sample += 3 * numbers;
    if ((p->needs & NEEDS_REWARD_GRADIENT) != 0 && p->features == 0)
        sample += 4 * (double)p->d;
    double iteration = (double)p->samples * sample + plan_learned_bytes(p);
    double policy = plan_policy_bytes(p);
    int64_t kept = keep == 0 || keep > iterations ? iterations : keep;
    int64_t files =
        policies == 0 || policies > iterations + 1 ? iterations + 1 : policies;
    if (policies != 0 && every > 0)
        files += iterations / every;
    files += policies != 0 && config_bool(p->c, "run.keep_best");
    char one[32], all[32];
    printf("disk\n");
    plan_line("shards", "%s per iteration, %s for %lld iteration(s) kept",
         size_text(one, iteration), size_text(all, iteration * (double)kept),
         (long long)kept);
    if (p->features > 0)
        plan_line("", "a learned reward of %lld features and up to %lld answers, %s of it",
             (long long)p->features, (long long)answers(p),
             size_text(one, plan_learned_bytes(p)));
    plan_line("policies", "%s each, %s for up to %lld kept", size_text(one, policy),
         size_text(all, policy * (double)files), (long long)files);
    plan_line("files", "about %lld", (long long)(kept * (2 * p->shards + 1) + files));
}
