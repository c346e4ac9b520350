/* Memory and disk of `sluice plan`. */
#include "pipeline/plan/plan_sizes.h"

#include "pipeline/settings.h"

#include <stdarg.h>
#include <stdio.h>

#define MIB 1048576.0

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

/* Rollout evaluates version 0 beside the policy. */
static bool refers(const struct plan *p)
{
    return (p->needs & NEEDS_REFERENCE_DENSITY) != 0;
}

double plan_searched(const struct plan *p)
{
    const char *key = "search.kind";
    if (refers(p))
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

/* Bytes of a learned reward, as each advantage file has it. */
static double learned_bytes(const struct plan *p)
{
    double m = (double)p->features;
    return 8 * (m * (double)p->heads + (p->factor ? m * (m + 1) / 2 : 0)) +
           (double)answers(p) * (4 * (double)p->d + 24);
}

/* Bytes of packed filters: 16/9 of the weights per direction, at most (all of them 3 x
 * 3); large networks pack them anew while they train (stages/nn/fast_conv.c). */
static double filters(double n, bool trained)
{
    const double each = 4 * n * 16 / 9;
    if (n < (double)(16 << 20))
        return trained ? 2 * each : each;
    return trained ? 0 : each;
}

/* Bytes of the regression of values: sums of all folds and of the past, equations, and
 * one shard's features (stages/value_features.h). */
static double value_memory(const struct plan *p)
{
    if (p->algo->returns == NULL || config_is(p->c, "value.kind", "none"))
        return 0;
    int64_t classes = p->classes, linear = config_int(p->c, "value.linear");
    double knots = (double)config_int(p->c, "value.knots");
    double base = (double)(2 + (p->d < linear ? p->d : linear) + (classes > 64 ? 0 : classes) +
                           config_int(p->c, "value.features"));
    double sums = (double)config_int(p->c, "value.folds") + 3;
    return 8 * (sums * base * base * (2 * knots - 1) + 2 * knots * base * knots * base +
                2 * (double)(p->shard * p->steps) * base);
}

double plan_memory(const struct plan *p)
{
    double n = (double)p->parameters, micro = (double)p->micro, d = (double)p->d;
    const bool ema = config_real(p->c, "update.ema_decay") > 0;
    const bool checkpoints = config_bool(p->c, "model.gradient_checkpointing");
    const bool shared = config_is(p->c, "groups.placement", "shared");
    double trained = micro * p->probe.trained, less = micro * p->probe.checkpointed;
    double each = checkpoints ? less : trained;
    const bool chain = (p->needs & NEEDS_TRAJECTORY) != 0;
    double state = n * (ema ? 12 : 8) / (double)p->update_ranks;
    double slots = 4 * n * (double)(config_int(p->c, "max_staleness") + 1);
    double shard = (double)p->shard * d * 4 * (double)(chain ? p->steps + 1 : 2);
    double other = 8 * n + micro * d * 4, others = plan_companions(p) * other;
    double rollout = 4 * n + slots + filters(n, false) + micro * p->probe.forward +
                     p->probe.scratch + shard + (refers(p) ? other : 0);
    double update = 16 * n + state + (ema ? 12 : 8) * n + filters(n, true) + each +
                    p->probe.scratch + others + shard;
    double small = (double)p->shard * d * 4 * 2 + value_memory(p);
    if ((p->needs & NEEDS_STEP_ADVANTAGE) != 0)
        small += 48 * (double)(p->samples * p->steps);
    small += learned_bytes(p) + 8 * (double)p->features * (double)p->features;
    printf("memory per rank, estimate\n");
    plan_line(
        "rollout",
        "%.0f MiB: weights, the next ones %.0f, packed filters %.0f, micro-batch %.0f, "
        "one shard",
        rollout / MIB, slots / MIB, filters(n, false) / MIB,
        micro * p->probe.forward / MIB);
    if (refers(p))
        plan_line("", "version 0 of the weights, %.0f MiB of it", other / MIB);
    plan_line("reward, advantage", "%.0f MiB: samples and scores", small / MIB);
    plan_line(
        "update",
        "%.0f MiB: weights twice, gradients twice, AdamW%s over %lld rank(s) and whole "
        "while a policy is written, packed filters %.0f, micro-batch %.0f",
        update / MIB, ema ? " and EMA" : "", (long long)p->update_ranks,
        filters(n, true) / MIB, each / MIB);
    if (config_real(p->c, "algorithm.entropy_weight") > 0)
        plan_line("advantage", "%.0f MiB for a moment: final samples of an iteration, "
                          "algorithm.entropy_weight",
             4.0 * (double)p->samples * (double)p->d / MIB);
    if (plan_companions(p) > 0)
        plan_line("", "%d other version(s) of the weights, %.0f MiB of it", plan_companions(p),
             others / MIB);
    plan_line("", "model.gradient_checkpointing=%s: micro-batch %.0f instead of %.0f",
         checkpoints ? "false" : "true", (checkpoints ? trained : less) / MIB,
         each / MIB);
    double all = rollout + update - 4 * n - filters(n, false) - p->probe.scratch;
    if (shared)
        plan_line("a rank with all roles", "%.0f MiB", all / MIB);
    if (p->probe.trained == 0)
        plan_line("",
             "activations are not in these numbers: the trial evaluation is too large");
    return shared ? all : rollout > update ? rollout : update;
}

void plan_disk(const struct plan *p)
{
    bool ema = config_real(p->c, "update.ema_decay") > 0;
    int64_t iterations = settings_iterations(p->c);
    int64_t keep = config_int(p->c, "run.keep_shards");
    int64_t policies = config_int(p->c, "run.keep_policies");
    int64_t every = config_int(p->c, "run.keep_every");
    int64_t states = (p->needs & NEEDS_TRAJECTORY) != 0 ? p->steps + 2 : 1;
    double numbers = 8.0 * (double)p->steps; /* one per step */
    double sample = (double)p->d * 4 * (double)states + numbers + 64;
    if (refers(p))
        sample += 2 * numbers;
    if ((p->needs & NEEDS_STEP_ADVANTAGE) != 0)
        sample += 3 * numbers;
    if ((p->needs & NEEDS_REWARD_GRADIENT) != 0 && p->features == 0)
        sample += 4 * (double)p->d;
    double iteration = (double)p->samples * sample + learned_bytes(p);
    bool anchor = config_is(p->c, "algorithm.reference", "ema") &&
                  (p->needs & NEEDS_REFERENCE) != 0;
    double policy = (double)p->parameters * ((ema ? 16 : 12) + (anchor ? 4 : 0));
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
             size_text(one, learned_bytes(p)));
    plan_line("policies", "%s each, %s for up to %lld kept", size_text(one, policy),
         size_text(all, policy * (double)files), (long long)files);
    plan_line("files", "about %lld", (long long)(kept * (2 * p->shards + 1) + files));
}
