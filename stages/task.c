/* What the stages share: progress, paths, prompts, weights. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

const char *metric_name(enum metric m)
{
    static const char *const names[METRICS] = {
        "reward_mean",   "reward_std", "reward_min", "reward_max", "ratio_absdev_max",
        "approx_kl",     "clip_fraction", "loss",    "grad_norm",  "samples",
        "failed",        "samples_total",
    };
    return names[m];
}

int task_progress(struct task *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->phase, sizeof t->phase, fmt, ap);
    va_end(ap);
    return t->idle == NULL ? 0 : t->idle(t->idle_ctx);
}

double task_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

const char *task_path(const struct task *t, const char *relative, char buf[4096])
{
    int n = snprintf(buf, 4096, "%s/%s", t->dir, relative);
    ERR_BUG_IF(n < 0 || n >= 4096);
    return buf;
}

int64_t task_shard_size(const struct task *t, int64_t shard)
{
    int64_t left = t->samples - shard * t->shard_samples;
    return left < t->shard_samples ? left : t->shard_samples;
}

int64_t task_version(const struct task *t, int64_t iteration)
{
    return iteration > t->max_staleness ? iteration - t->max_staleness : 0;
}

void task_prompts(const struct task *t, int64_t iteration, int64_t *label, int64_t *copy)
{
    int64_t most = 0;
    uint64_t key = rng_key(t->seed, RNG_PROMPT, iteration, 0, 0, 0);
    for (int64_t i = 0; i < t->n_classes; i++)
        most = t->classes[i] > most ? t->classes[i] : most;
    int64_t *seen = mem_alloc(most + 1, sizeof *seen);
    for (int64_t s = 0; s < t->samples; s++) {
        int64_t draw = s / t->copies;
        label[s] = t->n_classes > 0 ? t->classes[rng_below(key, draw, t->n_classes)] : 0;
        copy[s] = seen[label[s]]++;
    }
    mem_free(seen);
}

int task_load_weights(struct task *t, int64_t version)
{
    char rel[96], path[4096];
    if (t->loaded_version == version)
        return 0;
    double start = task_clock();
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, version), path));
    int rc = p == NULL ? -1 : policy_weights(p, t->model, POLICY_WEIGHTS);
    policy_close(p);
    t->loaded_version = rc == 0 ? version : -1;
    t->io_s += task_clock() - start;
    return rc;
}
