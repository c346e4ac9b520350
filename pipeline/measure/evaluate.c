/* Samples to be measured. Each rank rolls out a contiguous part of the shards in a folder
 * of its own, so no file system needs to be shared; what a rollout does, guided sampling
 * included, happens here too. */
#include "pipeline/measure/evaluate.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/given.h"
#include "pipeline/settings.h"
#include "pipeline/source.h"
#include "pipeline/run/worker.h"
#include "stages/companion.h"
#include "stages/policy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Draws and trains on nothing. */
static const struct algo draw_final = {.name = "evaluate", .pairs = PAIRS_NOISED};
static const struct algo draw_chain = {
    .name = "evaluate", .pairs = PAIRS_NOISED, .needs = NEEDS_TRAJECTORY};
static const struct reward no_reward = {.name = "none", .units = "1"};

static int override(struct config *c, const char *key, int64_t value)
{
    char *a = text_new("%s=%lld", key, (long long)value);
    int rc = config_override(c, a);
    mem_free(a);
    return rc;
}

static int override_text(struct config *c, const char *key, const char *value)
{
    char *a = text_new("%s=%s", key, value);
    int rc = config_override(c, a);
    mem_free(a);
    return rc;
}

/* Whether a search works on several samples of a prompt. An unknown one is refused later. */
static bool in_groups(const struct config *c)
{
    const struct search *s = search_find(config_text(c, "search.kind"));
    if (s == NULL)
        err_clear();
    return s != NULL && (s->needs & SEARCH_GROUP) != 0;
}

/* No component's noise either. */
static int still_components(struct config *c)
{
    const char *name;
    int rc = 0;
    for (int64_t i = 0; i < config_parts(c) && rc == 0; i++) {
        if (!config_part_sets(config_part(c, i, &name), "reward.noise"))
            continue;
        char *key = text_new("components.%s.noise", name);
        rc = override(c, key, 0);
        mem_free(key);
    }
    return rc;
}

/* What a run's configuration says about training has no meaning here. */
static int settle_config(struct evaluation *e, const struct source *s)
{
    struct config *c = e->o.config;
    if (override_text(c, "run.dir", e->scratch.path) != 0 ||
        override(c, "rollout.samples", e->o.n) != 0 ||
        (!in_groups(c) && override(c, "rollout.copies", 1) != 0) ||
        override(c, "max_staleness", 0) != 0 ||
        override_text(c, "algorithm.name", "rwr") != 0 ||
        override_text(c, "algorithm.kl_weight", "0") != 0 ||
        override_text(c, "algorithm.kl_previous_weight", "0") != 0 ||
        override_text(c, "update.optimizer", "adamw") != 0 ||
        override_text(c, "surrogate.kind", "none") != 0 ||
        override(c, "run.kl_budget", 0) != 0 || override(c, "reward.noise", 0) != 0 ||
        override(c, "reward.budget", 0) != 0 || still_components(c) != 0 ||
        override_text(c, "algorithm.entropy_weight", "0") != 0 ||
        (!s->policy && override_text(c, "model.path", e->o.source) != 0))
        return -1;
    return settings_read(&e->task, c);
}

/* "RUN/policy/v000003.h5" -> "RUN/policy/v000000.h5", to be freed; NULL: not there. */
static char *first_policy(const char *path)
{
    char rel[96];
    const char *slash = strrchr(path, '/');
    const char *name = rundir_policy(rel, 0);
    char *first = slash == NULL
                      ? mem_text(strrchr(name, '/') + 1)
                      : text_new("%.*s%s", (int)(slash - path), path, strrchr(name, '/'));
    if (file_exists(first))
        return first;
    mem_free(first);
    return NULL;
}

/* The network's policy file, and for a KL policy 0 beside it. */
static int place_policies(struct evaluation *e, const struct source *s)
{
    char rel[96], path[4096];
    struct task *t = &e->task;
    if (!s->policy)
        return settings_first_policy(t, e->o.config);
    struct policy *p = policy_open(s->path);
    if (p == NULL)
        return -1;
    e->version = policy_head(p)->policy_version;
    policy_close(p);
    char *first = e->version > 0 ? first_policy(s->path) : NULL;
    int rc = file_link(s->path, task_path(t, rundir_policy(rel, 0), path));
    if (rc == 0 && first != NULL) {
        t->algo = &draw_chain;
        rc = file_link(first, task_path(t, "first.h5", path));
    }
    mem_free(first);
    return rc;
}

static int open_policies(struct evaluation *e)
{
    struct task *t = &e->task;
    char path[4096], rel[96];
    if (settings_open_network(t, e->o.config, 0, false) != 0)
        return -1;
    if (e->o.ema) {
        struct policy *p = policy_open(task_path(t, rundir_policy(rel, 0), path));
        int rc = p == NULL ? -1 : policy_weights(p, t->model, POLICY_EMA);
        policy_close(p);
        if (rc != 0)
            return -1;
    }
    return t->algo == &draw_chain ? companion_load_file(&t->reference, t, "first.h5", 0) : 0;
}

static int open_network(struct evaluation *e)
{
    struct source s;
    struct task *t = &e->task;
    worker_catch_signals();
    if (scratch_create(&e->scratch, "evaluate") != 0 ||
        source_open(&s, e->o.source, e->o.version, e->o.ema) != 0)
        return -1;
    int rc = rundir_create(e->scratch.path) != 0 || settle_config(e, &s) != 0 ? -1 : 0;
    if (rc == 0) {
        snprintf(t->run_id, sizeof t->run_id, "evaluate");
        t->algo = &draw_final;
        /* only guided sampling asks the reward, and a default one may not fit */
        if (strcmp(config_origin(e->o.config, "reward.name"), "default") == 0)
            t->reward = &no_reward;
        rc = place_policies(e, &s);
    }
    if (rc == 0)
        rc = open_policies(e);
    source_close(&s);
    return rc;
}

/* Sum over the steps of the exact KL of the network's transitions to policy 0's, along
 * each of m trajectories latents [m, steps + 1, d]. */
static int path_kl(struct evaluation *e, const float *latents, const int64_t *label,
                   int64_t m, double *kl)
{
    struct task *t = &e->task;
    const struct sampler *s = &t->sampler;
    int rc = 0;
    float *x = mem_alloc(m * t->d, sizeof *x), *time = mem_alloc(m, sizeof *time);
    float *mu = mem_alloc(2 * t->d, sizeof *mu);
    for (int64_t i = 0; i < m; i++)
        kl[i] = 0;
    for (int64_t k = 0; k < s->steps && rc == 0; k++) {
        const float *first;
        for (int64_t i = 0; i < m; i++) {
            memcpy(x + i * t->d, latents + (i * (s->steps + 1) + k) * t->d,
                   (size_t)t->d * sizeof *x);
            time[i] = (float)s->step[k].t;
        }
        const struct model_input in = {.batch = m,
                                       .height = t->height,
                                       .width = t->width,
                                       .x = x,
                                       .timesteps = time,
                                       .labels = t->n_classes > 0 ? label : NULL};
        rc = companion_forward(t->reference, t, &in, &first);
        tape_begin(t->tape, false);
        const struct tensor *out =
            rc == 0 ? model_forward(t->model, t->tape, &in, NULL) : NULL;
        rc = out == NULL ? -1 : 0;
        for (int64_t i = 0; i < m && rc == 0; i++) {
            const float *at = x + i * t->d;
            sampler_mean(s, k, t->d, at, (const float *)out->data + i * t->d, mu, NULL);
            sampler_mean(s, k, t->d, at, first + i * t->d, mu + t->d, NULL);
            kl[i] += sampler_kl(s, k, t->d, mu, mu + t->d);
        }
    }
    mem_free(x);
    mem_free(time);
    mem_free(mu);
    return rc;
}

static int read_shard(struct evaluation *e, int64_t shard, const char *path)
{
    struct task *t = &e->task;
    struct evaluate_set *set = &e->set;
    int64_t n = task_shard_size(t, shard), at = shard * t->shard_samples;
    int64_t states = (t->sampler.steps + 1) * t->d, b = t->micro_batch;
    struct shard *s = shard_open(path, SHARD_ROLLOUT);
    if (s == NULL)
        return -1;
    int rc = shard_get_rows(s, "final_sample", COLUMN_F32, 0, n, set->x + at * set->d);
    if (rc == 0)
        rc = shard_get_rows(s, "prompt_id", COLUMN_I64, 0, n, set->label + at);
    if (rc == 0 && set->cost != NULL)
        rc = shard_get_rows(s, "search_cost", COLUMN_F64, 0, n, set->cost + at);
    float *latents = mem_alloc(set->kl != NULL ? b * states : 0, sizeof *latents);
    for (int64_t i = 0; i < n && rc == 0 && set->kl != NULL; i += b) {
        int64_t m = n - i < b ? n - i : b;
        rc = shard_get_rows(s, "latents", COLUMN_F32, i, m, latents);
        if (rc == 0)
            rc = path_kl(e, latents, set->label + at + i, m, set->kl + at + i);
    }
    mem_free(latents);
    shard_close(s);
    return rc;
}

/* comm_idle_f: the scratch folder must go first. */
static int look_for_signal(void *ctx)
{
    (void)ctx;
    return worker_signal_caught() ? err_set(ERR_STOPPED, "stopped by a signal") : 0;
}

static int roll_out(struct evaluation *e, int64_t first, int64_t last)
{
    struct task *t = &e->task;
    char rel[96], path[4096];
    int rc = 0;
    t->idle = look_for_signal;
    for (int64_t s = first; s < last && rc == 0; s++) {
        task_path(t, rundir_rollout(rel, 0, s), path);
        rc = rollout_shard(t, 0, s);
        if (rc == 0)
            rc = read_shard(e, s, path);
        unlink(path);
    }
    t->idle = NULL;
    return rc == 0 ? look_for_signal(NULL) : -1;
}

static void set_alloc(struct evaluate_set *s, int64_t n, const int64_t shape[3], bool kl)
{
    s->n = n;
    s->channels = shape[0];
    s->height = shape[1];
    s->width = shape[2];
    s->d = shape[0] * shape[1] * shape[2];
    s->x = mem_alloc(n * s->d, sizeof *s->x);
    s->label = mem_alloc(n, sizeof *s->label);
    s->kl = kl ? mem_alloc(n, sizeof *s->kl) : NULL;
}

/* From here on signals end the program as usual. */
static void remove_scratch(struct evaluation *e)
{
    if (e->scratch.path[0] == '\0')
        return;
    scratch_remove(&e->scratch);
    worker_free_signals();
}

int evaluate_draw(struct evaluation *e)
{
    struct task *t = &e->task;
    struct evaluate_set *set = &e->set;
    const struct comm *c = &e->comm;
    if (comm_agree(c, open_network(e)) != 0)
        return -1;
    set_alloc(set, t->samples, (int64_t[]){t->channels, t->height, t->width},
              t->reference != NULL);
    if (search_acts(&t->search))
        set->cost = mem_alloc(set->n, sizeof *set->cost);
    set->coding = *model_coding(t->model);
    set->labelled = t->n_classes > 0;
    int64_t *rows = mem_alloc(c->size, sizeof *rows), mine = 0;
    for (int r = 0; r < c->size; r++) {
        int64_t a = t->shards * r / c->size, b = t->shards * (r + 1) / c->size;
        int64_t from = a * t->shard_samples, to = b * t->shard_samples;
        from = from < set->n ? from : set->n;
        rows[r] = (to < set->n ? to : set->n) - from;
        mine = r == c->rank ? from : mine;
    }
    int rc = comm_agree(c, roll_out(e, t->shards * c->rank / c->size,
                                    t->shards * (c->rank + 1) / c->size));
    remove_scratch(e);
    if (rc == 0)
        rc = comm_gather_all(c, set->x + mine * set->d, rows,
                             (size_t)set->d * sizeof *set->x, set->x);
    if (rc == 0)
        rc = comm_gather_all(c, set->label + mine, rows, sizeof *set->label, set->label);
    if (rc == 0 && set->kl != NULL)
        rc = comm_gather_all(c, set->kl + mine, rows, sizeof *set->kl, set->kl);
    if (rc == 0 && set->cost != NULL)
        rc = comm_gather_all(c, set->cost + mine, rows, sizeof *set->cost, set->cost);
    mem_free(rows);
    return rc;
}

/* How given samples are coded: as the network of the configuration says, if it names one.
 * A series is in the units of its data. */
static int read_local(struct evaluation *e)
{
    struct given g;
    if (given_open(&g, e->o.source, NULL, e->o.config) != 0)
        return -1;
    int64_t n = e->o.n > 0 && e->o.n < g.n ? e->o.n : g.n;
    set_alloc(&e->set, n, (int64_t[]){g.channels, g.height, g.width}, false);
    int rc = given_rows(&g, 0, n, e->set.x);
    e->set.coding = g.coding;
    e->version = -1;
    given_close(&g);
    return rc;
}

int evaluate_read(struct evaluation *e)
{
    return comm_agree(&e->comm, read_local(e));
}

void evaluate_close(struct evaluation *e)
{
    settings_close(&e->task);
    remove_scratch(e);
    mem_free(e->set.x);
    mem_free(e->set.label);
    mem_free(e->set.kl);
    mem_free(e->set.cost);
}
