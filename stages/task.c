/* What the stages share: progress, paths, prompts, weights. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *metric_name(enum metric m)
{
    static const char *const names[METRICS] = {
        "reward_mean",   "reward_std", "reward_min", "reward_max", "ratio_absdev_max",
        "approx_kl",     "clip_fraction", "loss",    "grad_norm",  "samples",
        "failed",        "samples_total", "kl_reference", "queries", "kl_previous",
        "answer_mean",   "kl_path",    "guard_mean", "guard_error", "guard_first",
        "guard_first_error",
    };
    return names[m];
}

const char *task_time_name(enum task_time k)
{
    static const char *const names[TASK_TIMES] = {"network", "io", "communication",
                                                  "optimizer", "waiting"};
    return names[k];
}

const char *weights_from_name(enum weights_from k)
{
    static const char *const names[WEIGHTS_FROM] = {"memory", "message", "file"};
    return names[k];
}

int task_progress(struct task *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->phase, sizeof t->phase, fmt, ap);
    va_end(ap);
    if (t->idle == NULL)
        return 0;
    double start = clock_s();
    int rc = t->idle(t->idle_ctx);
    double ticked = clock_s() - start;
    t->ticked_s += ticked;
    t->spent[TIME_COMMUNICATION] += ticked;
    return rc;
}

int task_may_go_on(struct task *t, const char *what)
{
    if (task_progress(t, "%s", what) != 0)
        return -1;
    if (t->stopping == NULL || !t->stopping())
        return 0;
    return err_set(ERR_STOPPED, "%s: left, as the program was told to end", what);
}

double task_now(const struct task *t)
{
    return clock_s() - t->ticked_s;
}

/* Pieces that follow each other closely are one. Of too many the shortest goes. */
static void note_span(struct task_spans *s, enum task_time k, double seconds)
{
    const double close_s = 1e-3;
    double to = clock_s(), from = to - seconds;
    int n = (int)s->n, at = n, last = (int)s->last;
    if (n > 0 && s->span[last].kind == k && from - s->span[last].to < close_s) {
        s->span[last].to = to;
        return;
    }
    if (n == TASK_SPANS) {
        at = 0;
        for (int i = 1; i < n; i++)
            if (s->span[i].to - s->span[i].from < s->span[at].to - s->span[at].from)
                at = i;
        if (s->span[at].to - s->span[at].from >= seconds)
            return;
    } else {
        s->n++;
    }
    s->span[at].kind = k;
    s->span[at].from = from;
    s->span[at].to = to;
    s->last = at;
}

double task_spend(struct task *t, enum task_time k, double start)
{
    double now = task_now(t);
    t->spent[k] += now - start;
    if (k == TIME_IO || k == TIME_COMMUNICATION || k == TIME_WAITING)
        note_span(&t->spans, k, now - start);
    return now;
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

int64_t task_round_start(const struct task *t, int64_t iteration)
{
    int64_t round = iteration / t->round_iterations;
    if (t->learned != NULL && round >= t->rounds)
        round = t->rounds - 1;
    return task_version(t, round * t->round_iterations);
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

struct shard_head task_head(const struct task *t, enum shard_kind kind, int64_t iteration,
                            int64_t number, int64_t version)
{
    struct shard_head head = {.kind = kind,
                              .iteration = iteration,
                              .number = number,
                              .policy_version = version};
    snprintf(head.run_id, sizeof head.run_id, "%s", t->run_id);
    snprintf(head.config_digest, sizeof head.config_digest, "%s", t->config_digest);
    return head;
}

int task_seal(struct task *t, struct shard_writer *w)
{
    if (!t->seal_later)
        return shard_seal(w, NULL);
    ERR_BUG_IF(t->sealing != NULL);
    t->sealing = shard_seal_later(w, NULL);
    return t->sealing != NULL ? 0 : -1;
}

/* Returns when the file can be seen or the time is over. -1: the job is lost. */
static int await_file(struct task *t, const char *relative)
{
    char path[4096], phase[sizeof t->phase];
    double start = clock_s(), now = start;
    bool said = false;
    task_path(t, relative, path);
    snprintf(phase, sizeof phase, "%s", t->phase);
    while (!file_exists(path) && (now = clock_s()) - start < t->appear_s) {
        if (task_progress(t, "waits for %.80s", relative) != 0)
            return -1;
        if (!said && now - start > 2) {
            log_warn("%s: is sealed but not to be seen here yet; waiting up to %.0f s",
                     path, t->appear_s);
            said = true;
        }
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    snprintf(t->phase, sizeof t->phase, "%s", phase);
    return 0;
}

struct shard *task_open(struct task *t, const char *relative, enum shard_kind kind)
{
    char path[4096];
    return await_file(t, relative) != 0 ? NULL
                                        : shard_open(task_path(t, relative, path), (int)kind);
}

struct policy *task_open_policy(struct task *t, int64_t version)
{
    char rel[96], path[4096];
    return await_file(t, rundir_policy(rel, version)) != 0
               ? NULL
               : policy_open(task_path(t, rel, path));
}

static int tick(void *ctx, const char *phase)
{
    return task_progress(ctx, "rollout %s", phase);
}

struct chain task_chain(struct task *t)
{
    return (struct chain){.model = t->model,
                          .tape = t->tape,
                          .sampler = &t->sampler,
                          .reward = t->reward,
                          .reward_ctx = t->reward_ctx,
                          .seed = t->seed,
                          .channels = t->channels,
                          .height = t->height,
                          .width = t->width,
                          .d = t->d,
                          .micro_batch = t->micro_batch,
                          .labelled = t->n_classes > 0,
                          .tick = tick,
                          .tick_ctx = t};
}

static int load_from_file(struct task *t, int64_t version)
{
    double start = task_now(t);
    struct policy *p = task_open_policy(t, version);
    int rc = p == NULL ? -1 : policy_weights(p, t->model, POLICY_WEIGHTS);
    if (rc == 0) {
        t->policy.version = version;
        snprintf(t->policy.content, DIGEST_HEX, "%s", policy_content_digest(p));
    }
    policy_close(p);
    task_spend(t, TIME_IO, start);
    return rc;
}

int task_load_weights(struct task *t, int64_t version)
{
    struct param_set *s = model_params(t->model);
    enum weights_from from = WEIGHTS_MEMORY;
    const float *w = NULL;
    int rc = 0;
    if (t->loaded_version != version) {
        double start = task_now(t);
        if (t->handover.find != NULL)
            w = t->handover.find(t->handover.ctx, version, &from);
        if (w != NULL) {
            memcpy(param_values(s), w, (size_t)param_total(s) * sizeof *w);
            param_touch(s);
            task_spend(t, TIME_COMMUNICATION, start);
        } else {
            from = WEIGHTS_FILE;
            rc = load_from_file(t, version);
        }
    }
    t->loaded_version = rc == 0 ? version : -1;
    if (rc == 0 && version > t->used_version) { /* the first use of each version counts */
        t->weights_from[from]++;
        t->used_version = version;
    }
    return rc;
}

int task_policy_content(struct task *t, int64_t version, char content[DIGEST_HEX])
{
    if (t->policy.version != version || t->policy.content[0] == '\0') {
        double start = task_now(t);
        struct policy *p = task_open_policy(t, version);
        if (p == NULL)
            return -1;
        t->policy.version = version;
        snprintf(t->policy.content, DIGEST_HEX, "%s", policy_content_digest(p));
        policy_close(p);
        task_spend(t, TIME_IO, start);
    }
    memcpy(content, t->policy.content, DIGEST_HEX);
    return 0;
}
