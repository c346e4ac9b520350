/* Another policy on stored chains: its network on the stored states gives the density
 * of the stored transitions, by the same functions with which the update computes its
 * ratio. */
#include "pipeline/stats/stats_internal.h"

#include "io/config.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/settings.h"
#include "stages/companion.h"
#include "stages/policy.h"

#include <string.h>

struct stats_policy {
    struct config *config;
    struct task task;
    float *states, *x, *times; /* [B, steps + 1, d], [B, d], [B] */
    float *mean;               /* [d] */
    int64_t *label;            /* [B] */
};

void stats_policy_close(struct stats_policy *p)
{
    if (p == NULL)
        return;
    settings_close(&p->task);
    config_destroy(p->config);
    mem_free(p->states);
    mem_free(p->x);
    mem_free(p->times);
    mem_free(p->mean);
    mem_free(p->label);
    mem_free(p);
}

/* What only training needs must not stand in the way. */
static int settle(struct stats_policy *p)
{
    static const char *const words[] = {
        "algorithm.kl_weight=0",      "algorithm.kl_previous_weight=0",
        "algorithm.entropy_weight=0", "update.optimizer=adamw",
        "search.kind=none",           "run.kl_budget=0"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (config_override(p->config, words[i]) != 0)
            return -1;
    return settings_read(&p->task, p->config);
}

static int load(struct stats_policy *p, const char *dir, const char *which)
{
    struct task *t = &p->task;
    char rel[96];
    int64_t version, *have, n;
    if (settle(p) != 0 || rundir_policies(dir, &have, &n) != 0)
        return -1;
    int64_t any = n > 0 ? have[0] : -1;
    mem_free(have);
    if (any < 0)
        return err_set(ERR_INPUT, "%s: holds no policy", dir);
    if (settings_open_network(t, p->config, any, false) != 0)
        return -1;
    char *path = text_to_i64(which, &version)
                     ? rundir_path(dir, rundir_policy(rel, version))
                     : mem_text(which);
    struct policy *f = policy_open(path);
    int rc =
        f == NULL ? err_add("--policy") : policy_weights(f, t->model, POLICY_WEIGHTS);
    policy_close(f);
    mem_free(path);
    return rc;
}

struct stats_policy *stats_policy_open(const char *dir, const char *which)
{
    struct stats_policy *p = mem_alloc(1, sizeof *p);
    p->config = arguments_directory(dir, 0, NULL);
    if (p->config == NULL || load(p, dir, which) != 0) {
        stats_policy_close(p);
        return NULL;
    }
    const struct task *t = &p->task;
    int64_t b = t->micro_batch;
    p->states = mem_alloc(b * (t->sampler.steps + 1) * t->d, sizeof *p->states);
    p->x = mem_alloc(b * t->d, sizeof *p->x);
    p->times = mem_alloc(b, sizeof *p->times);
    p->mean = mem_alloc(t->d, sizeof *p->mean);
    p->label = mem_alloc(b, sizeof *p->label);
    return p;
}

/* m chains, log_prob[m, steps]. */
static int evaluate(struct stats_policy *p, int64_t m, double *log_prob)
{
    struct task *t = &p->task;
    const struct sampler *s = &t->sampler;
    const int64_t chain = (s->steps + 1) * t->d;
    for (int64_t k = 0; k < s->steps; k++) {
        for (int64_t i = 0; i < m; i++) {
            memcpy(p->x + i * t->d, p->states + i * chain + k * t->d,
                   (size_t)t->d * sizeof *p->x);
            p->times[i] = (float)s->step[k].t;
        }
        const struct model_input in = {.batch = m,
                                       .height = t->height,
                                       .width = t->width,
                                       .x = p->x,
                                       .timesteps = p->times,
                                       .labels = t->n_classes > 0 ? p->label : NULL};
        tape_begin(t->tape, false);
        const struct tensor *out = model_forward(t->model, t->tape, &in, NULL);
        if (out == NULL)
            return -1;
        for (int64_t i = 0; i < m; i++) {
            sampler_mean(s, k, t->d, p->x + i * t->d,
                         (const float *)out->data + i * t->d, p->mean, NULL);
            log_prob[i * s->steps + k] = sampler_log_prob(
                s, k, t->d, p->mean, p->states + i * chain + (k + 1) * t->d);
        }
    }
    return 0;
}

int stats_policy_log_prob(struct stats_policy *p, struct shard *rollout, int64_t first,
                          int64_t n, double *log_prob)
{
    const struct task *t = &p->task;
    enum column_type type;
    int nd, rc = 0;
    int64_t dim[SHARD_MAX_ND], b = t->micro_batch;
    if (!shard_has(rollout, "latents", &type, &nd, dim) || type != COLUMN_F32 ||
        nd != 5)
        return err_set(ERR_INPUT, "--policy: the run stores no trajectories (latents)");
    if (dim[1] != t->sampler.steps + 1 || dim[2] * dim[3] * dim[4] != t->d)
        return err_set(ERR_INPUT,
                       "--policy: the trajectories are not of this network and "
                       "sampler");
    for (int64_t at = 0; at < n && rc == 0; at += b) {
        int64_t m = n - at < b ? n - at : b;
        rc = shard_get_rows(rollout, "latents", COLUMN_F32, first + at, m, p->states);
        if (rc == 0)
            rc = shard_get_rows(rollout, "prompt_id", COLUMN_I64, first + at, m,
                                p->label);
        if (rc == 0)
            rc = evaluate(p, m, log_prob + at * t->sampler.steps);
    }
    return rc;
}
