/* update: the optimizer steps of one iteration.
 *
 * The unit of work is a pair: (sample, step of its chain), or (sample, draw) where the
 * method trains on final samples that are noised again. An optimizer step takes a batch of samples;
 * its pairs are ordered sample by sample (samples permuted per inner epoch, the steps of
 * each sample permuted on their own), cut into micro-batches (the last one of its real
 * size), and each micro-batch is one leaf of the canonical gradient tree. The loss is the mean over the step's pairs, so the order
 * matters to no result beyond rounding, and the rounding is the same for any layout. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/companion.h"
#include "stages/model/label.h"
#include "stages/policy.h"
#include "stages/renoise.h"
#include "stages/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STAT_LOG_RATIO2, STAT_RATIO, STAT_CLIPPED, STAT_LOSS, STAT_KL, STATS };

/* Rollout files kept open: opening one checks it, which costs far more than a sample's
 * rows, and permuted samples come from all shards in turn. */
enum { SOURCES = 16 };

struct update {
    struct task *t;
    const struct comm *c;
    int64_t iteration;

    int64_t usable; /* samples that take part */
    int64_t *sample; /* [usable] their numbers in the iteration, ascending */
    double *advantage; /* [samples] */
    struct shard_parent parent[3]; /* policy, advantage, version 0 if compared with */
    int64_t parents;
    bool chain; /* pairs are steps of the chain */
    double metric[METRICS];

    /* the optimizer step at hand */
    int64_t epoch, batch_at, batch_n;        /* samples order[batch_at .. + batch_n) */
    int64_t *order;                          /* [usable] permuted positions */
    int64_t steps_each, live_n, *live; /* pairs per sample; their steps (or draws) */
    int64_t pairs, leaves, first, number;    /* of the step; own leaves */
    double *stat;                            /* [leaves * B * STATS] */
    int64_t stat_cap;
    int64_t *leaf_rows;                      /* [ranks] for gathering */

    /* one trajectory, and one micro-batch */
    struct shard *source[SOURCES]; /* shard s is in place s mod SOURCES, or NULL */
    int64_t source_of[SOURCES];
    int64_t loaded; /* sample in `latents`, -1 none */
    float *latents; /* [steps + 1, d], or the final sample [d] */
    double *log_prob; /* [steps] */
    float *x, *next, *seed, *timesteps; /* [B, d] x 3, [B] */
    float *clean, *noise, *work; /* where noised: [B, d], [d]; losses: [B, 2, d] */
    int64_t *label, *all_label, *perm;  /* [B], [samples], [live_n] */
    int64_t perm_sample;                /* sample whose order is in perm, -1 none */
    struct algo_pair *pair;             /* [B] */
};

static void update_free(struct update *u)
{
    void *const all[] = {u->sample,  u->advantage, u->order,     u->live,      u->stat,
                         u->leaf_rows, u->latents, u->log_prob,  u->x,         u->next,
                         u->seed,    u->timesteps, u->label,     u->all_label, u->perm,
                         u->pair,    u->clean,     u->noise,     u->work};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    for (int i = 0; i < SOURCES; i++)
        shard_close(u->source[i]);
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

/* Reads the advantage file: who takes part, and the reward metrics. */
static int load_advantage(struct update *u)
{
    struct task *t = u->t;
    int64_t n = t->samples, expect[1] = {n};
    rundir_advantage(u->parent[1].path, u->iteration);
    struct shard *in = task_open(t, u->parent[1].path, SHARD_ADVANTAGE);
    if (in == NULL)
        return -1;
    snprintf(u->parent[1].content, DIGEST_HEX, "%s", shard_content(in));
    u->advantage = shard_get(in, "advantage", COLUMN_F64, 1, expect, NULL);
    double *reward = shard_get(in, "reward", COLUMN_F64, 1, expect, NULL);
    uint8_t *usable = shard_get(in, "usable", COLUMN_U8, 1, expect, NULL);
    u->all_label = shard_get(in, "prompt_id", COLUMN_I64, 1, expect, NULL);
    shard_close(in);
    int rc = -1;
    if (u->advantage == NULL || reward == NULL || usable == NULL || u->all_label == NULL)
        goto done;
    u->sample = mem_alloc(n, sizeof *u->sample);
    double sum = 0, low = INFINITY, high = -INFINITY, dev = 0;
    for (int64_t i = 0; i < n; i++)
        if (usable[i]) {
            u->sample[u->usable++] = i;
            sum += reward[i];
            low = fmin(low, reward[i]);
            high = fmax(high, reward[i]);
        }
    if (u->usable == 0) {
        err_set(ERR_REWARD, "%s: no sample is usable", u->parent[1].path);
        goto done;
    }
    double mean = sum / (double)u->usable;
    for (int64_t k = 0; k < u->usable; k++)
        dev += (reward[u->sample[k]] - mean) * (reward[u->sample[k]] - mean);
    u->metric[METRIC_REWARD_MEAN] = mean;
    u->metric[METRIC_REWARD_STD] = sqrt(dev / (double)u->usable);
    u->metric[METRIC_REWARD_MIN] = low;
    u->metric[METRIC_REWARD_MAX] = high;
    u->metric[METRIC_SAMPLES] = (double)n;
    u->metric[METRIC_FAILED] = (double)(n - u->usable);
    int64_t kept = 0;
    for (int64_t k = 0; k < u->usable; k++)
        if (!t->algo->drops_zero || u->advantage[u->sample[k]] != 0)
            u->sample[kept++] = u->sample[k];
    u->usable = kept;
    rc = kept > 0 ? 0 : err_set(ERR_NUMERIC, "%s: every weight is 0", u->parent[1].path);
done:
    mem_free(reward);
    mem_free(usable);
    return rc;
}

static int update_init(struct update *u)
{
    struct task *t = u->t;
    int64_t b = t->micro_batch, steps = t->sampler.steps;
    u->loaded = u->perm_sample = -1;
    u->order = mem_alloc(u->usable, sizeof *u->order);
    u->steps_each = t->pairs_each;
    int64_t most = t->algo->pairs == PAIRS_NOISED ? u->steps_each : steps;
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
    return 0;
}

/* The checked rollout file of a shard, open until its place is needed. */
static struct shard *source_of(struct update *u, int64_t shard)
{
    struct task *t = u->t;
    char rel[96];
    enum column_type type;
    int nd, nd_p, at = (int)(shard % SOURCES);
    int64_t dim[SHARD_MAX_ND], dim_p[SHARD_MAX_ND];
    if (u->source[at] != NULL && u->source_of[at] == shard)
        return u->source[at];
    shard_close(u->source[at]);
    struct shard *in =
        task_open(t, rundir_rollout(rel, u->iteration, shard), SHARD_ROLLOUT);
    if (in != NULL && u->chain &&
        (!shard_has(in, "latents", &type, &nd, dim) || type != COLUMN_F32 || nd != 5 ||
         dim[1] != t->sampler.steps + 1 || dim[2] * dim[3] * dim[4] != t->d ||
         dim[0] != task_shard_size(t, shard) ||
         !shard_has(in, "log_prob", NULL, &nd_p, dim_p) || nd_p != 2 ||
         dim_p[1] != t->sampler.steps)) {
        err_set(ERR_INPUT,
                "%s/%s: 'latents' or 'log_prob' is missing or of another shape", t->dir,
                rel);
        shard_close(in);
        in = NULL;
    }
    u->source[at] = in;
    u->source_of[at] = shard;
    return in;
}

/* Reads one sample's trajectory. */
static int load_trajectory(struct update *u, int64_t sample)
{
    struct task *t = u->t;
    int64_t row = sample % t->shard_samples;
    if (u->loaded == sample)
        return 0;
    double start = task_now(t);
    struct shard *in = source_of(u, sample / t->shard_samples);
    int rc = -1;
    if (in != NULL && !u->chain)
        rc = shard_get_rows(in, "final_sample", COLUMN_F32, row, 1, u->latents);
    else if (in != NULL &&
             shard_get_rows(in, "latents", COLUMN_F32, row, 1, u->latents) == 0 &&
             shard_get_rows(in, "log_prob", COLUMN_F64, row, 1, u->log_prob) == 0)
        rc = 0;
    u->loaded = rc == 0 ? sample : -1;
    task_spend(t, TIME_IO, start);
    return rc;
}

/* Which sample and step (or draw) pair number `pair` of the optimizer step is. */
static void pair_of(struct update *u, int64_t pair, int64_t *sample, int64_t *step)
{
    struct task *t = u->t;
    *sample = u->sample[u->order[u->batch_at + pair / u->steps_each]];
    if (u->perm_sample != *sample) {
        rng_permutation(
            rng_key(t->seed, RNG_STEPS, u->iteration, u->epoch, *sample, 0), u->perm,
            u->live_n);
        u->perm_sample = *sample;
    }
    int64_t at = pair % u->steps_each;
    *step = u->live[t->algo->pairs == PAIRS_FIRST_STEPS ? at : u->perm[at]];
}

/* The part of fill_slot that noises u->latents, the final sample. */
static void fill_noised(struct update *u, int64_t sample, int64_t b, struct algo_pair *p)
{
    struct task *t = u->t;
    struct renoise r = {.iteration = u->iteration,
                        .epoch = u->epoch,
                        .sample = sample,
                        .draw = p->step,
                        .time = -1};
    if (t->algo->pairs == PAIRS_NOISED_GRID)
        r.time = t->sampler.step[p->step].t;
    float *clean = u->clean + b * t->d, *target = u->next + b * t->d;
    memcpy(clean, u->latents, (size_t)t->d * sizeof *clean);
    r.time = renoise_pair(t, &r, clean, u->noise, u->x + b * t->d, target);
    u->timesteps[b] = (float)r.time;
    p->clean = clean;
    p->target = target;
    p->alpha_bar = (double)t->schedule.alpha_bar[r.time];
}

/* Copies pair into slot b of the micro-batch. */
static int fill_slot(struct update *u, int64_t pair, int64_t b, int64_t *step,
                     struct algo_pair *p)
{
    struct task *t = u->t;
    int64_t sample;
    pair_of(u, pair, &sample, step);
    if (load_trajectory(u, sample) != 0)
        return -1;
    u->label[b] = u->all_label[sample];
    *p = (struct algo_pair){.sampler = &t->sampler,
                            .step = *step,
                            .d = t->d,
                            .x = u->x + b * t->d,
                            .work = u->work + 2 * b * t->d,
                            .advantage = u->advantage[sample],
                            .weight = 1.0 / (double)u->pairs};
    if (!u->chain) {
        fill_noised(u, sample, b, p);
        return 0;
    }
    memcpy(u->x + b * t->d, u->latents + *step * t->d, (size_t)t->d * sizeof *u->x);
    memcpy(u->next + b * t->d, u->latents + (*step + 1) * t->d,
           (size_t)t->d * sizeof *u->next);
    u->timesteps[b] = (float)t->sampler.step[*step].t;
    p->next = u->next + b * t->d;
    p->log_prob_old = u->log_prob[*step];
    return 0;
}

/* The loss of pair k of a micro-batch that starts at pair `from`; its gradient. */
static int pair_loss(struct update *u, int64_t from, int64_t k, const float *predicted)
{
    struct task *t = u->t;
    struct algo_result r = {0};
    u->pair[k].o = predicted + k * t->d;
    int rc = t->algo->loss(&t->algo_options, &u->pair[k], &r, u->seed + k * t->d);
    double *s = u->stat + (from + k) * STATS;
    s[STAT_LOG_RATIO2] = r.approx_kl;
    s[STAT_RATIO] = r.ratio;
    s[STAT_CLIPPED] = r.clipped;
    s[STAT_LOSS] = r.loss;
    s[STAT_KL] = r.kl;
    return rc;
}

/* The loss of every pair [from, from + m). An error stays with the thread that met it, so
 * the first pair that fails is looked at again by this one. */
static int batch_loss(struct update *u, int64_t from, int64_t m, const float *predicted)
{
    int64_t failed = m;
#pragma omp parallel for schedule(static) reduction(min : failed)
    for (int64_t k = 0; k < m; k++)
        if (pair_loss(u, from, k, predicted) != 0) {
            err_clear();
            failed = k < failed ? k : failed;
        }
    return failed < m ? pair_loss(u, from, failed, predicted) : 0;
}

/* trainer_leaf_f: forward, loss and backward of one micro-batch. */
static int leaf_gradient(void *ctx, int64_t leaf)
{
    struct update *u = ctx;
    struct task *t = u->t;
    int64_t b = t->micro_batch, from = leaf * b, step;
    int64_t m = u->pairs - from < b ? u->pairs - from : b;
    int rc = task_progress(t, "update iteration %lld micro-batch %lld of %lld",
                           (long long)u->iteration, (long long)leaf,
                           (long long)u->leaves);
    for (int64_t k = 0; k < m && rc == 0; k++)
        rc = fill_slot(u, from + k, k, &step, &u->pair[k]);
    struct model_input in = {.batch = m,
                             .height = t->height,
                             .width = t->width,
                             .x = u->x,
                             .timesteps = u->timesteps,
                             .labels = t->n_classes > 0 ? u->label : NULL};
    const float *reference = NULL, *behaviour = NULL;
    if (rc == 0)
        rc = companion_forward(t->reference, t, &in, &reference);
    if (rc == 0)
        rc = companion_forward(t->behaviour, t, &in, &behaviour);
    double start = task_now(t);
    tape_begin(t->tape, true);
    struct tensor *out = rc == 0 ? model_forward(t->model, t->tape, &in, NULL) : NULL;
    if (out == NULL)
        rc = -1;
    task_spend(t, TIME_NETWORK, start);
    for (int64_t k = 0; k < m && rc == 0; k++) {
        u->pair[k].reference = reference != NULL ? reference + k * t->d : NULL;
        u->pair[k].behaviour = behaviour != NULL ? behaviour + k * t->d : NULL;
    }
    if (rc == 0)
        rc = batch_loss(u, from, m, out->data);
    start = task_now(t);
    if (rc == 0)
        rc = tape_backward(t->tape, out, u->seed);
    task_spend(t, TIME_NETWORK, start);
    return rc;
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
    if (worst == 0 || task_version(u->t, u->iteration) != u->iteration)
        return 0;
    int64_t sample, step;
    pair_of(u, at, &sample, &step);
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
    int rc = trainer_step(t->trainer, &o, k->optimizer_step + 1, leaf_gradient, u, &norm);
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
    double kl = 0, clipped = 0, loss = 0, distance = 0;
    for (int64_t i = 0; i < u->pairs; i++) {
        kl += u->stat[i * STATS + STAT_LOG_RATIO2];
        clipped += u->stat[i * STATS + STAT_CLIPPED];
        loss += u->stat[i * STATS + STAT_LOSS];
        distance += u->stat[i * STATS + STAT_KL];
    }
    u->metric[METRIC_APPROX_KL] += kl / (double)u->pairs;
    u->metric[METRIC_CLIP_FRACTION] += clipped / (double)u->pairs;
    u->metric[METRIC_LOSS] += loss;
    u->metric[METRIC_GRAD_NORM] += norm;
    u->metric[METRIC_KL_REFERENCE] += t->reference != NULL ? distance / (double)u->pairs : NAN;
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
                                          METRIC_KL_REFERENCE};
    for (int i = 0; i < 5; i++)
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
    float *whole = mem_alloc(n * (ema ? 3 : 2), sizeof *whole);
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
    if (rc == 0 && u->c->rank == 0) {
        struct policy_content content = {
            .vector = {param_values(model_params(t->model)), whole, whole + n,
                       ema ? whole + 2 * n : NULL},
            .counters = *counters,
            .parent = u->parent,
            .parents = u->parents,
        };
        memcpy(content.metric, u->metric, sizeof content.metric);
        rc = policy_write(t, &content, t->policy.content);
        t->policy.version = rc == 0 ? counters->version : -1;
    }
    mem_free(whole);
    start = task_spend(t, TIME_IO, start);
    rc = comm_agree(u->c, rc);
    task_spend(t, TIME_WAITING, start);
    return rc;
}

/* Networks that the method compares with. */
static int load_companions(struct update *u)
{
    struct task *t = u->t;
    unsigned needs = algo_needs(t->algo, &t->algo_options);
    if ((needs & NEEDS_BEHAVIOUR) != 0 &&
        companion_load(&t->behaviour, t, task_version(t, u->iteration)) != 0)
        return -1;
    if ((needs & NEEDS_REFERENCE) == 0)
        return 0;
    if (companion_load(&t->reference, t, 0) != 0)
        return -1;
    if (u->iteration > 0) { /* else it is a parent already */
        struct shard_parent *p = &u->parent[u->parents++];
        rundir_policy(p->path, 0);
        memcpy(p->content, companion_content(t->reference), DIGEST_HEX);
    }
    return 0;
}

static int prepare(struct update *u)
{
    struct task *t = u->t;
    u->parents = 2;
    u->chain = algo_on_chain(t->algo);
    rundir_policy(u->parent[0].path, u->iteration);
    if (task_policy_content(t, u->iteration, u->parent[0].content) != 0)
        return -1;
    double start = task_now(t);
    int rc = load_advantage(u);
    task_spend(t, TIME_IO, start);
    return rc != 0 || load_companions(u) != 0 ? -1 : update_init(u);
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
        if (k.best_version < 0 || u.metric[METRIC_REWARD_MEAN] > k.best_reward) {
            k.best_version = made_by;
            k.best_reward = u.metric[METRIC_REWARD_MEAN];
        }
        u.metric[METRIC_SAMPLES_TOTAL] = (double)k.samples_total;
        rc = seal(&u, &k);
        if (rc == 0) {
            t->counters = k;
            t->loaded_version = k.version;
            memcpy(metric, u.metric, sizeof u.metric);
        }
    }
    update_free(&u);
    return rc;
}
