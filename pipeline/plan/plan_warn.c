/* Warnings of `sluice plan`: settings that are allowed and unlikely to be meant. */
#include "pipeline/plan/plan_warn.h"

#include <stdarg.h>
#include <stdio.h>

static void warn(int64_t *count, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void warn(int64_t *count, const char *fmt, ...)
{
    va_list ap;
    if ((*count)++ == 0)
        printf("\nwarnings\n");
    printf("  ! ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static void warn_update(const struct plan *p, int64_t *count)
{
    double clip = config_real(p->c, "algorithm.clip_range");
    double sum =
        config_is(p->c, "algorithm.logprob", "mean") ? clip * (double)p->d : clip;
    double unit = config_is(p->c, "algorithm.logprob", "mean") ? (double)p->d : 1;
    if (p->trained == 0)
        warn(count,
             "no step has a likelihood (sampler.eta = %g): nothing can be trained; set "
             "sampler.eta=1",
             config_real(p->c, "sampler.eta"));
    bool clips = p->d > 0 && algo_on_chain(p->algo) && !algo_walks(p->algo);
    if (clips && sum < 0.02)
        warn(count,
             "algorithm.clip_range %.3g is %.3g on the summed log-probability: it "
             "freezes learning at %lld elements; %.2g matches the usual 0.2",
             clip, sum, (long long)p->d, 0.2 / unit);
    if (clips && sum > 10)
        warn(
            count,
            "algorithm.clip_range %.3g is %.3g on the summed log-probability: it never "
            "clips; %.2g matches the usual 0.2",
            clip, sum, 0.2 / unit);
    if (p->samples % p->batch != 0)
        warn(count,
             "update.batch %lld does not divide rollout.samples %lld: the last "
             "optimizer "
             "step of a pass has %lld samples",
             (long long)p->batch, (long long)p->samples,
             (long long)(p->samples % p->batch));
    if (!config_is(p->c, "update.batch", "auto") &&
        config_int(p->c, "update.batch") > p->samples)
        warn(
            count,
            "update.batch %lld exceeds rollout.samples %lld: one optimizer step of all "
            "samples",
            (long long)config_int(p->c, "update.batch"), (long long)p->samples);
    if (config_real(p->c, "update.lr") == 0)
        warn(count, "update.lr is 0: the policy does not change");
}

/* Samples of a prompt: copies of a draw, and draws that hit the same class. */
static void warn_groups(const struct plan *p, int64_t *count)
{
    int64_t draws = plan_parts(p->samples, p->copies), classes = p->classes;
    const int64_t *listed;
    int64_t some = config_list(p->c, "rollout.classes", &listed);
    classes = some > 0 ? some : classes;
    int64_t each = p->samples / (draws < classes || classes == 0 ? draws : classes);
    if (p->algo->by_prompt && classes > 1 && each < 4)
        warn(count,
             "%s compares samples of the same prompt, but there are about %lld of each: "
             "raise rollout.copies or rollout.samples",
             p->algo->name, (long long)each);
}

static void warn_shape(const struct plan *p, int64_t *count)
{
    int64_t rollout = config_is(p->c, "groups.rollout", "auto")
                          ? p->ranks
                          : config_int(p->c, "groups.rollout");
    if (p->shard < p->micro && p->shard < p->samples)
        warn(
            count,
            "rollout.shard_samples %lld is below model.micro_batch %lld: micro-batches "
            "end at shard ends, so the rollout runs %lld samples at a time",
            (long long)p->shard, (long long)p->micro, (long long)p->shard);
    if (p->samples % p->copies != 0)
        warn(
            count,
            "rollout.copies %lld does not divide rollout.samples %lld: the last prompt "
            "has fewer",
            (long long)p->copies, (long long)p->samples);
    if (rollout > p->shards)
        warn(count,
             "%lld rollout ranks but %lld shards per iteration: some have no work; "
             "lower "
             "rollout.shard_samples",
             (long long)rollout, (long long)p->shards);
    if (p->update_ranks > plan_parts(p->pairs, p->micro) && p->pairs > 0)
        warn(
            count,
            "%lld update ranks but %lld micro-batches per optimizer step: some have no "
            "work; lower model.micro_batch",
            (long long)p->update_ranks, (long long)plan_parts(p->pairs, p->micro));
    if (p->threads > 1)
        warn(count,
             "groups.threads %lld: a rank per core is usually faster than threads; "
             "mpirun "
             "binds one or two ranks to one core each, so start it with --bind-to none "
             "or "
             "--map-by slot:PE=%lld",
             (long long)p->threads, (long long)p->threads);
    if (p->model == NULL)
        warn(count, "model.path is empty: nothing is known about sizes and time");
    if (config_text(p->c, "run.dir")[0] == '\0')
        warn(count, "run.dir is empty: `sluice run` needs it");
}

void plan_warn(const struct plan *p)
{
    int64_t count = 0;
    warn_update(p, &count);
    if (p->model != NULL)
        warn_groups(p, &count);
    warn_shape(p, &count);
}
