/* Who takes part in an update, and the loading of its pairs. */
#include "stages/update_internal.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/queries.h"
#include "stages/renoise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Which reward files the advantages were made from, where those are read too. */
static int keep_scored(struct update *u, const struct shard *advantage)
{
    const struct shard_head *h = shard_head(advantage);
    if ((u->needs & NEEDS_REWARD_GRADIENT) == 0 || u->t->learned != NULL)
        return 0;
    if (h->parents < u->t->shards)
        return err_set(ERR_INPUT, "%s: does not name its reward files",
                       u->parent[1].path);
    u->scored_content = mem_alloc(u->t->shards, sizeof *u->scored_content);
    for (int64_t s = 0; s < u->t->shards; s++)
        memcpy(u->scored_content[s], h->parent[s].content, DIGEST_HEX);
    return 0;
}

/* Mean and standard error of a column's finite values; NaN where there are none. */
static int mean_column(struct shard *in, const char *name, int64_t n, double *mean,
                       double *error)
{
    double sum = 0, dev = 0;
    int64_t k = 0;
    *mean = *error = NAN;
    if (!shard_has(in, name, NULL, NULL, NULL))
        return 0;
    double *v = shard_get(in, name, COLUMN_F64, 1, (int64_t[]){n}, NULL);
    if (v == NULL)
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) {
            sum += v[i];
            k++;
        }
    if (k > 0)
        *mean = sum / (double)k;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i]))
            dev += (v[i] - *mean) * (v[i] - *mean);
    if (k > 1)
        *error = sqrt(dev / (double)(k - 1) / (double)k);
    mem_free(v);
    return 0;
}

/* What stop rules look at. */
static int load_watched(struct update *u, struct shard *in)
{
    double unused, *m = u->metric;
    return mean_column(in, "kl_path", u->t->samples, &m[METRIC_KL_PATH], &unused) != 0
               ? -1
               : mean_column(in, "guard", u->t->samples, &m[METRIC_GUARD_MEAN],
                             &m[METRIC_GUARD_ERROR]);
}

/* Reads the advantage file: who takes part, and the reward metrics. */
int update_pairs_load(struct update *u)
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
    u->reward = reward;
    uint8_t *usable = shard_get(in, "usable", COLUMN_U8, 1, expect, NULL);
    u->all_label = shard_get(in, "prompt_id", COLUMN_I64, 1, expect, NULL);
    bool by_step = u->chain && (u->needs & NEEDS_STEP_ADVANTAGE) != 0;
    if (by_step)
        u->step_advantage = shard_get(in, "step_advantage", COLUMN_F64, 2,
                                      (int64_t[]){n, t->sampler.steps}, NULL);
    double *m = u->metric;
    m[METRIC_QUERIES] = m[METRIC_ANSWER_MEAN] = NAN;
    int rc = keep_scored(u, in);
    if (rc == 0)
        rc = load_watched(u, in);
    if (rc == 0 && t->learned != NULL)
        rc = queries_count(in, u->iteration, &m[METRIC_QUERIES], &m[METRIC_ANSWER_MEAN]);
    shard_close(in);
    if (rc != 0)
        goto done;
    rc = -1;
    if (u->advantage == NULL || (by_step && u->step_advantage == NULL) ||
        reward == NULL || usable == NULL || u->all_label == NULL)
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
    rc =
        kept > 0 ? 0 : err_set(ERR_NUMERIC, "%s: every weight is 0", u->parent[1].path);
done:
    mem_free(usable);
    return rc;
}

/* Does the file have what the update reads? */
static int check_rollout(struct update *u, struct shard *in, int64_t shard)
{
    struct task *t = u->t;
    enum column_type type;
    int nd, nd_p;
    int64_t dim[SHARD_MAX_ND], dim_p[SHARD_MAX_ND];
    if (!u->chain ||
        (shard_has(in, "latents", &type, &nd, dim) && type == COLUMN_F32 && nd == 5 &&
         dim[1] == t->sampler.steps + 1 && dim[2] * dim[3] * dim[4] == t->d &&
         dim[0] == task_shard_size(t, shard) &&
         shard_has(in, "log_prob", NULL, &nd_p, dim_p) && nd_p == 2 &&
         dim_p[1] == t->sampler.steps))
        return 0;
    return err_set(ERR_INPUT, "'latents' or 'log_prob' is missing or of another shape");
}

static int check_scored(struct update *u, struct shard *in, int64_t shard)
{
    struct task *t = u->t;
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    if (strcmp(shard_content(in), u->scored_content[shard]) != 0)
        return err_set(ERR_INPUT, "is not the file that the advantages were made from");
    if (!shard_has(in, "reward_gradient", &type, &nd, dim) || type != COLUMN_F32 ||
        nd != 4 || dim[1] * dim[2] * dim[3] != t->d || dim[0] != task_shard_size(t, shard))
        return err_set(ERR_INPUT, "'reward_gradient' is missing or of another shape");
    return 0;
}

/* The checked rollout or reward file of a shard, open until its place is needed. */
static struct shard *source_of(struct update *u, enum shard_kind kind, int64_t shard)
{
    struct sources *s = kind == SHARD_REWARD ? &u->scored : &u->rollout;
    char rel[96];
    int at = (int)(shard % SOURCES), rc = -1;
    if (s->file[at] != NULL && s->number[at] == shard)
        return s->file[at];
    shard_close(s->file[at]);
    if (kind == SHARD_REWARD)
        rundir_reward(rel, u->iteration, shard);
    else
        rundir_rollout(rel, u->iteration, shard);
    struct shard *in = task_open(u->t, rel, kind);
    if (in != NULL) {
        rc = kind == SHARD_REWARD ? check_scored(u, in, shard)
                                  : check_rollout(u, in, shard);
        if (rc != 0)
            err_add("%s/%s", u->t->dir, rel);
    }
    if (rc != 0) {
        shard_close(in);
        in = NULL;
    }
    s->file[at] = in;
    s->number[at] = shard;
    return in;
}

/* The learned reward's gradient, which has no file: from the sample itself. */
static int learned_gradient(struct update *u, int64_t sample, float *gradient)
{
    struct task *t = u->t;
    double score;
    uint8_t status;
    float *x = mem_alloc(t->d, sizeof *x);
    struct shard *in = source_of(u, SHARD_ROLLOUT, sample / t->shard_samples);
    int rc = in == NULL ? -1 : queries_load(t, u->iteration, NULL);
    if (rc == 0)
        rc = shard_get_rows(in, "final_sample", COLUMN_F32, sample % t->shard_samples, 1,
                            x);
    const struct reward_batch b = {
        .n = 1, .sample = x, .score = &score, .status = &status, .gradient = gradient};
    if (rc == 0)
        queries_score(t, &b, NULL, NULL);
    mem_free(x);
    return rc;
}

int update_pairs_gradient(struct update *u, int64_t sample, float *gradient)
{
    struct task *t = u->t;
    double start = task_now(t);
    struct shard *in = NULL;
    int rc = -1;
    if (t->learned != NULL)
        rc = learned_gradient(u, sample, gradient);
    else if ((in = source_of(u, SHARD_REWARD, sample / t->shard_samples)) != NULL)
        rc = shard_get_rows(in, "reward_gradient", COLUMN_F32, sample % t->shard_samples, 1,
                            gradient);
    task_spend(t, TIME_IO, start);
    return rc;
}

/* Reads one sample's trajectory. */
int update_pairs_trajectory(struct update *u, int64_t sample)
{
    struct task *t = u->t;
    int64_t row = sample % t->shard_samples;
    if (u->loaded == sample)
        return 0;
    double start = task_now(t);
    struct shard *in = source_of(u, SHARD_ROLLOUT, sample / t->shard_samples);
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
void update_pairs_of(struct update *u, int64_t pair, int64_t *sample, int64_t *step)
{
    struct task *t = u->t;
    *sample = u->sample[u->order[u->batch_at + pair / u->steps_each]];
    *step = -1;
    if (u->walk != NULL)
        return;
    if (u->perm_sample != *sample) {
        rng_permutation(rng_key(t->seed, RNG_STEPS, u->iteration, u->epoch, *sample, 0),
                        u->perm, u->live_n);
        u->perm_sample = *sample;
    }
    int64_t at = pair % u->steps_each;
    *step = u->live[t->algo->pairs == PAIRS_FIRST_STEPS ? at : u->perm[at]];
}

/* The part of update_pairs_fill that noises u->latents, the final sample. */
static void fill_noised(struct update *u, int64_t sample, int64_t b,
                        struct algo_pair *p)
{
    struct task *t = u->t;
    struct renoise r = {.iteration = u->iteration,
                        .epoch = u->epoch,
                        .sample = sample,
                        .draw = p->step,
                        .time = -1};
    if (t->algo->pairs == PAIRS_NOISED_GRID)
        r.time = t->sampler.step[p->step].t;
    else if (t->algo->pairs == PAIRS_NOISED_LAST)
        r.time = t->sampler.step[t->sampler.steps - 1].t;
    float *clean = u->clean + b * t->d, *target = u->next + b * t->d;
    memcpy(clean, u->latents, (size_t)t->d * sizeof *clean);
    r.time = renoise_pair(t, &r, clean, u->noise, u->x + b * t->d, target);
    u->timesteps[b] = (float)r.time;
    p->clean = clean;
    p->target = target;
    p->alpha_bar = (double)t->schedule.alpha_bar[r.time];
}

/* Copies pair into slot b of the micro-batch. */
static int fill_slot(struct update *u, int64_t pair, int64_t b)
{
    struct task *t = u->t;
    struct algo_pair *p = &u->pair[b];
    int64_t sample, step;
    update_pairs_of(u, pair, &sample, &step);
    if (update_pairs_trajectory(u, sample) != 0)
        return -1;
    u->label[b] = u->all_label[sample];
    *p = (struct algo_pair){.sampler = &t->sampler,
                            .step = step,
                            .d = t->d,
                            .x = u->x + b * t->d,
                            .work = u->work + 2 * b * t->d,
                            .advantage = u->advantage[sample],
                            .weight = 1.0 / (double)u->pairs};
    if (!u->chain) {
        fill_noised(u, sample, b, p);
        return 0;
    }
    memcpy(u->x + b * t->d, u->latents + step * t->d, (size_t)t->d * sizeof *u->x);
    memcpy(u->next + b * t->d, u->latents + (step + 1) * t->d,
           (size_t)t->d * sizeof *u->next);
    u->timesteps[b] = (float)t->sampler.step[step].t;
    p->next = u->next + b * t->d;
    p->log_prob_old = u->log_prob[step];
    if (u->step_advantage != NULL)
        p->advantage = u->step_advantage[sample * t->sampler.steps + step];
    return 0;
}

int update_pairs_batch(struct update *u, int64_t leaf, struct model_input *in)
{
    struct task *t = u->t;
    int64_t b = t->micro_batch, from = leaf * b;
    int64_t m = u->pairs - from < b ? u->pairs - from : b;
    int rc = task_progress(t, "update iteration %lld micro-batch %lld of %lld",
                           (long long)u->iteration, (long long)leaf,
                           (long long)u->leaves);
    for (int64_t k = 0; k < m && rc == 0; k++)
        rc = fill_slot(u, from + k, k);
    *in = (struct model_input){.batch = m,
                               .height = t->height,
                               .width = t->width,
                               .x = u->x,
                               .timesteps = u->timesteps,
                               .labels = t->n_classes > 0 ? u->label : NULL};
    return rc;
}
