/* update: the optimizer steps of one iteration.
 *
 * The unit of work is a pair: (sample, step of its chain), or (sample, draw) where the
 * method trains on final samples that are noised again. An optimizer step takes a batch of samples;
 * its pairs are ordered sample by sample (samples permuted per inner epoch, the steps of
 * each sample permuted on their own), cut into micro-batches (the last one of its real
 * size), and each micro-batch is one leaf of the canonical gradient tree. The loss is the mean over the step's pairs, so the order
 * matters to no result beyond rounding, and the rounding is the same for any layout. */
#include "stages/task.h"
#include "stages/update_internal.h"

#include "io/origin.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/companion.h"
#include "stages/model/label.h"
#include "stages/policy.h"

#include <math.h>
#include <string.h>

static void update_free(struct update *u)
{
    void *const all[] = {u->sample,  u->advantage, u->step_advantage, u->reward, u->scored_content, u->order,     u->live,      u->stat,
                         u->leaf_rows, u->latents, u->log_prob,  u->x,         u->next,
                         u->seed,    u->timesteps, u->label,     u->all_label, u->perm,
                         u->pair,    u->clean,     u->noise,     u->work};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    for (int i = 0; i < SOURCES; i++) {
        shard_close(u->rollout.file[i]);
        shard_close(u->scored.file[i]);
    }
    update_walk_destroy(u->walk);
    update_ends_destroy(u->ends);
    update_steps_destroy(u->steps);
}

/* Optimizer state of version `version`: from the file unless it is here already. */
static int load_state(struct task *t, const struct comm *c, int64_t version)
{
    char rel[96], path[4096];
    int64_t at, len;
    if (task_load_weights(t, version) != 0)
        return -1;
    if (t->trainer != NULL && t->counters.version == version)
        return 0;
    if (t->trainer == NULL)
        t->trainer =
            trainer_create(c, model_params(t->model), t->update.ema_decay > 0);
    const struct param *table = param_find(model_params(t->model), LABEL_TABLE);
    if (table != NULL) /* it is the last parameter */
        trainer_tail_rate(t->trainer, table->offset, t->update.embedding_lr);
    trainer_slice(t->trainer, &at, &len);
    double start = task_now(t);
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, version), path));
    int rc = -1;
    if (p != NULL && policy_counters(p, &t->counters) == 0 &&
        policy_slice(p, POLICY_ADAM_M, at, len, trainer_m(t->trainer)) == 0 &&
        policy_slice(p, POLICY_ADAM_V, at, len, trainer_v(t->trainer)) == 0 &&
        (trainer_ema(t->trainer) == NULL ||
         policy_slice(p, POLICY_EMA, at, len, trainer_ema(t->trainer)) == 0))
        rc = 0;
    if (rc != 0)
        t->counters.version = -1;
    policy_close(p);
    task_spend(t, TIME_IO, start);
    return rc;
}

static int update_init(struct update *u)
{
    struct task *t = u->t;
    int64_t b = t->micro_batch, steps = t->sampler.steps;
    u->loaded = u->perm_sample = -1;
    u->order = mem_alloc(u->usable, sizeof *u->order);
    u->steps_each = t->pairs_each;
    int64_t most = u->chain || t->algo->pairs == PAIRS_NOISED_GRID ? steps : u->steps_each;
    u->live = mem_alloc(most, sizeof *u->live);
    for (int64_t i = 0; i < most; i++)
        if (!u->chain || t->sampler.step[i].mask)
            u->live[u->live_n++] = i;
    u->leaf_rows = mem_alloc(u->c->size, sizeof *u->leaf_rows);
    u->latents = mem_alloc((steps + 1) * t->d, sizeof *u->latents);
    u->log_prob = mem_alloc(steps, sizeof *u->log_prob);
    u->x = mem_alloc(b * t->d, sizeof *u->x);
    u->next = mem_alloc(b * t->d, sizeof *u->next);
    u->seed = mem_alloc(b * t->d, sizeof *u->seed);
    u->timesteps = mem_alloc(b, sizeof *u->timesteps);
    u->label = mem_alloc(b, sizeof *u->label);
    u->pair = mem_alloc(b, sizeof *u->pair);
    u->clean = mem_alloc(u->chain ? 0 : b * t->d, sizeof *u->clean);
    u->noise = mem_alloc(u->chain ? 0 : t->d, sizeof *u->noise);
    u->work = mem_alloc(2 * b * t->d, sizeof *u->work);
    u->perm = mem_alloc(u->live_n, sizeof *u->perm);
    if (algo_walks(t->algo))
        u->walk = update_walk_create(t);
    if ((u->needs & NEEDS_SCORER) != 0)
        u->ends = update_ends_create(t);
    u->steps = update_steps_create(u);
    return 0;
}

/* Before the first optimizer step the recomputed log-probabilities must equal the stored
 * ones bit for bit, if the samples come from the very version that is updated. */
static int check_ratio(struct update *u)
{
    double worst = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < u->pairs; i++) {
        double dev = fabs(u->stat[i * STATS + STAT_RATIO] - 1.0);
        if (!(dev <= worst)) {
            worst = dev;
            at = i;
        }
    }
    u->metric[METRIC_RATIO_ABSDEV_MAX] = worst;
    if (worst == 0 || !u->on_policy)
        return 0;
    int64_t sample, step;
    update_pairs_of(u, at, &sample, &step);
    return err_set(ERR_NUMERIC,
                   "iteration %lld: the ratio before the first optimizer step is not "
                   "exactly 1 (max |ratio - 1| = %.3g, sample %lld step %lld): rollout "
                   "and update do not compute the same numbers; do both groups run the "
                   "same binary on the same kind of processor with the same threads?",
                   (long long)u->iteration, worst, (long long)sample, (long long)step);
}

/* Everyone gets every leaf's statistics. Collective. */
static int gather_stats(struct update *u)
{
    int64_t item = u->t->micro_batch * STATS;
    for (int64_t r = 0; r < u->c->size; r++)
        u->leaf_rows[r] = 0;
    u->leaf_rows[u->c->rank] = u->number;
    if (comm_sum_i64(u->c, u->leaf_rows, u->c->size) != 0)
        return -1;
    return comm_gather_all(u->c, u->stat + u->first * item, u->leaf_rows,
                           (size_t)item * sizeof *u->stat, u->stat);
}

/* One optimizer step over samples order[batch_at ..]. Collective. */
static int optimizer_step(struct update *u, int64_t *done)
{
    struct task *t = u->t;
    double norm = 0;
    struct policy_counters *k = &t->counters;
    u->pairs = u->batch_n * u->steps_each;
    u->leaves = (u->pairs + t->micro_batch - 1) / t->micro_batch;
    int64_t need = u->leaves * t->micro_batch * STATS;
    if (need > u->stat_cap) {
        u->stat = mem_resize(u->stat, 0, need, sizeof *u->stat);
        u->stat_cap = need;
    }
    trainer_plan(t->trainer, u->leaves, &u->first, &u->number);
    struct trainer_options o = {.adamw = t->update.adamw,
                                .max_grad_norm = t->update.max_grad_norm};
    if (t->update.ema_decay > 0)
        o.ema_decay =
            optim_ema_decay(t->update.ema_decay, k->ema_updates + 1, t->update.ema_warmup);
    t->counters.version = t->loaded_version = -1; /* in between two versions */
    int rc = t->update.optimizer == OPTIMIZER_NATURAL
                 ? update_natural_step(u, o.ema_decay, &norm)
                 : trainer_step(t->trainer, &o, k->optimizer_step + 1,
                                u->walk != NULL ? update_walk_leaf : update_loss_leaf, u,
                                &norm);
    double optimizer_s, waiting_s, start = task_now(t);
    trainer_times(t->trainer, &optimizer_s, &waiting_s);
    t->spent[TIME_OPTIMIZER] += optimizer_s;
    t->spent[TIME_WAITING] += waiting_s;
    if (rc != 0 || gather_stats(u) != 0)
        return -1;
    task_spend(t, TIME_COMMUNICATION, start);
    k->optimizer_step++;
    k->ema_updates += t->update.ema_decay > 0;
    if (*done == 0 && check_ratio(u) != 0)
        return -1;
    double kl = 0, clipped = 0, loss = 0, distance = 0, previous = 0;
    for (int64_t i = 0; i < u->pairs; i++) {
        kl += u->stat[i * STATS + STAT_LOG_RATIO2];
        clipped += u->stat[i * STATS + STAT_CLIPPED];
        loss += u->stat[i * STATS + STAT_LOSS];
        distance += u->stat[i * STATS + STAT_KL];
        previous += u->stat[i * STATS + STAT_KL_PREVIOUS];
    }
    update_steps_add(u);
    u->metric[METRIC_APPROX_KL] += kl / (double)u->pairs;
    u->metric[METRIC_CLIP_FRACTION] += clipped / (double)u->pairs;
    u->metric[METRIC_LOSS] += loss;
    u->metric[METRIC_GRAD_NORM] += norm;
    u->metric[METRIC_KL_REFERENCE] +=
        (u->needs & NEEDS_REFERENCE) != 0 ? distance / (double)u->pairs : NAN;
    u->metric[METRIC_KL_PREVIOUS] +=
        t->previous != NULL ? previous / (double)u->pairs : NAN;
    ++*done;
    return 0;
}

static int optimize(struct update *u)
{
    struct task *t = u->t;
    int64_t done = 0, batch = t->update.batch > 0 ? t->update.batch : u->usable;
    for (u->epoch = 0; u->epoch < t->update.inner_epochs; u->epoch++) {
        rng_permutation(rng_key(t->seed, RNG_SHUFFLE, u->iteration, u->epoch, 0, 0),
                        u->order, u->usable);
        u->perm_sample = -1;
        for (u->batch_at = 0; u->batch_at < u->usable; u->batch_at += batch) {
            int64_t left = u->usable - u->batch_at;
            u->batch_n = left < batch ? left : batch;
            if (optimizer_step(u, &done) != 0)
                return -1;
        }
    }
    static const enum metric mean_of[] = {METRIC_APPROX_KL, METRIC_CLIP_FRACTION,
                                          METRIC_LOSS, METRIC_GRAD_NORM,
                                          METRIC_KL_REFERENCE, METRIC_KL_PREVIOUS};
    for (size_t i = 0; i < sizeof mean_of / sizeof *mean_of; i++)
        u->metric[mean_of[i]] /= (double)done;
    return 0;
}

/* Passes the weights on, brings the sharded state together and seals the new version, in
 * this order: the weights travel while the file is written. Collective. */
static int seal(struct update *u, struct policy_counters *counters)
{
    struct task *t = u->t;
    int64_t n = param_total(model_params(t->model));
    bool ema = trainer_ema(t->trainer) != NULL;
    float *whole = trainer_room(t->trainer, ema ? 3 : 2);
    double start = task_now(t);
    int rc = 0;
    if (t->handover.offer != NULL)
        rc = comm_agree(u->c, t->handover.offer(t->handover.ctx, counters->version));
    if (rc == 0)
        rc = trainer_whole(t->trainer, trainer_m(t->trainer), whole);
    if (rc == 0)
        rc = trainer_whole(t->trainer, trainer_v(t->trainer), whole + n);
    if (rc == 0 && ema)
        rc = trainer_whole(t->trainer, trainer_ema(t->trainer), whole + 2 * n);
    start = task_spend(t, TIME_COMMUNICATION, start);
    bool anchor = t->update.anchor == ANCHOR_AVERAGE && u->reference != NULL;
    if (anchor)
        companion_average(t->anchor, t, t->update.anchor_decay, counters->version);
    if (rc == 0 && u->c->rank == 0) {
        struct policy_content content = {
            .vector = {param_values(model_params(t->model)), whole, whole + n,
                       ema ? whole + 2 * n : NULL,
                       anchor ? companion_values(t->anchor) : NULL},
            .counters = *counters,
            .parent = u->parent,
            .parents = u->parents,
        };
        memcpy(content.metric, u->metric, sizeof content.metric);
        rc = policy_write(t, &content, t->policy.content);
        t->policy.version = rc == 0 ? counters->version : -1;
    }
    start = task_spend(t, TIME_IO, start);
    rc = comm_agree(u->c, rc);
    task_spend(t, TIME_WAITING, start);
    return rc;
}

/* Do the samples come from the very policy that is updated? In a replay they do where the
 * policy that made them has its content. */
static int settle_origin(struct update *u)
{
    struct task *t = u->t;
    char rel[96];
    u->on_policy = task_version(t, u->iteration) == u->iteration;
    if (!t->replay || !u->on_policy)
        return 0;
    struct shard *s = task_open(t, rundir_rollout(rel, u->iteration, 0), SHARD_ROLLOUT);
    if (s == NULL)
        return -1;
    const struct shard_head *h = shard_head(s);
    u->on_policy =
        h->parents > 0 && strcmp(h->parent[0].content, u->parent[0].content) == 0;
    shard_close(s);
    return 0;
}

/* The policy that made the samples. */
static int load_behaviour(struct task *t, int64_t version)
{
    char rel[96];
    return t->replay ? companion_load_file(&t->behaviour, t, origin_policy(rel, version),
                                           version)
                     : companion_load(&t->behaviour, t, version);
}

/* A version that is compared with, unless it is a parent already. */
static void add_parent(struct update *u, int64_t version, const struct companion *c)
{
    struct shard_parent *p = &u->parent[u->parents];
    rundir_policy(p->path, version);
    for (int64_t i = 0; i < u->parents; i++)
        if (strcmp(u->parent[i].path, p->path) == 0)
            return;
    memcpy(p->content, companion_content(c), DIGEST_HEX);
    u->parents++;
}

/* The policy that kl_weight refers to. */
static int load_anchor(struct update *u)
{
    struct task *t = u->t;
    const int64_t anchor = t->update.anchor;
    struct companion **c = anchor == 0 ? &t->reference : &t->anchor;
    if (anchor == ANCHOR_AVERAGE) { /* it comes with the policy that is updated */
        int rc = companion_load_average(c, t, u->iteration);
        u->reference = *c;
        return rc;
    }
    int64_t version = anchor > 0 && u->iteration >= anchor ? anchor : 0;
    if (companion_load(c, t, version) != 0)
        return -1;
    u->reference = *c;
    add_parent(u, version, *c);
    return 0;
}

/* Networks that the method compares with. */
static int load_companions(struct update *u)
{
    struct task *t = u->t;
    if ((u->needs & NEEDS_BEHAVIOUR) != 0 &&
        load_behaviour(t, task_version(t, u->iteration)) != 0)
        return -1;
    if ((u->needs & NEEDS_REFERENCE) != 0 && load_anchor(u) != 0)
        return -1;
    if (t->algo_options.kl_previous_weight > 0) {
        int64_t start = task_round_start(t, u->iteration);
        if (companion_load(&t->previous, t, start) != 0)
            return -1;
        add_parent(u, start, t->previous);
    }
    return 0;
}

static int prepare(struct update *u)
{
    struct task *t = u->t;
    u->parents = 2;
    u->chain = algo_on_chain(t->algo);
    u->needs = algo_needs(t->algo, &t->algo_options);
    rundir_policy(u->parent[0].path, u->iteration);
    if (task_policy_content(t, u->iteration, u->parent[0].content) != 0 ||
        settle_origin(u) != 0)
        return -1;
    double start = task_now(t);
    int rc = update_pairs_load(u);
    task_spend(t, TIME_IO, start);
    return rc != 0 || load_companions(u) != 0 ? -1 : update_init(u);
}

/* What tells versions apart: the guard where there is one; of a learned reward, whose
 * optimistic values fall as it learns, the true answers (NaN where none was asked). */
static double merit_of(const struct task *t, const double *m)
{
    return m[t->guard != NULL     ? METRIC_GUARD_MEAN
             : t->learned != NULL ? METRIC_ANSWER_MEAN
                                  : METRIC_REWARD_MEAN];
}

/* The best version so far and the guard's first mean. */
static void count_iteration(struct update *u, struct policy_counters *k, int64_t made_by)
{
    double *m = u->metric;
    double merit = merit_of(u->t, m);
    if (k->best_version < 0 || isnan(k->guard_first)) { /* NaN: it scored none so far */
        k->guard_first = m[METRIC_GUARD_MEAN];
        k->guard_first_error = m[METRIC_GUARD_ERROR];
    }
    m[METRIC_GUARD_FIRST] = k->guard_first;
    m[METRIC_GUARD_FIRST_ERROR] = k->guard_first_error;
    if (k->best_version < 0 || isnan(k->best_reward) || merit > k->best_reward) {
        k->best_version = made_by;
        k->best_reward = merit;
    }
}

int update_iteration(struct task *t, const struct comm *c, int64_t iteration,
                     double metric[METRICS])
{
    struct update u = {.t = t, .c = c, .iteration = iteration};
    int rc = task_progress(t, "update iteration %lld loads", (long long)iteration);
    if (rc == 0)
        rc = load_state(t, c, iteration);
    if (rc == 0)
        rc = prepare(&u);
    double start = task_now(t);
    rc = comm_agree(c, rc);
    task_spend(t, TIME_WAITING, start);
    if (rc == 0)
        rc = optimize(&u);
    if (rc == 0) {
        struct policy_counters k = t->counters;
        int64_t made_by = task_version(t, iteration);
        k.version = iteration + 1;
        k.samples_total += t->samples;
        count_iteration(&u, &k, made_by);
        u.metric[METRIC_SAMPLES_TOTAL] = (double)k.samples_total;
        rc = seal(&u, &k);
        if (rc == 0) {
            t->counters = k;
            t->loaded_version = k.version;
            memcpy(metric, u.metric, sizeof u.metric);
            update_steps_mean(&u, &t->update_steps);
        }
    }
    update_free(&u);
    return rc;
}
