/* rollout: draws the samples of a shard (stages/search/chain.c walks the sampler's chain,
 * in micro-batches, the last one of its real size) and seals the trajectories.
 *
 * Noise is keyed by (seed, iteration, prompt, copy, step), and the network's result for an
 * item depends neither on the rest of its batch nor on the batch's size. So a shard's bits
 * depend on nothing but its number and the policy. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/mem.h"
#include "stages/companion.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_TEXT = 24 };

struct rollout {
    int64_t iteration, shard, version, first, n;
    int64_t states; /* kept of each sample: all, or two in turn */
    int64_t *label, *copy, *index, *version_of; /* [n] */
    char *prompt;                               /* [n, LABEL_TEXT] */
    float *latents;                             /* [n, states, d] */
    float *sample;                              /* [n, d] */
    double *log_prob;                           /* [n, steps] */
    double *cost, *plain;                       /* [n] of a search; else NULL */
    /* Under version 0, where the method needs it (else NULL); and does it differ from
     * the version at hand? */
    double *log_prob_reference, *kl_reference; /* [n, steps] */
    bool differs;
};

/* What the comparison with version 0 needs along the chain. */
struct refer {
    struct task *task;
    struct rollout *rollout;
    float *timesteps, *mu; /* [B], [B, 2, d] */
};

static void rollout_free(struct rollout *r)
{
    void *const all[] = {r->label,   r->copy,     r->index, r->version_of, r->prompt,
                         r->latents, r->sample,   r->log_prob, r->cost,    r->plain,
                         r->log_prob_reference, r->kl_reference};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
}

static void rollout_init(struct rollout *r, const struct task *t, int64_t iteration,
                         int64_t shard)
{
    int64_t n = task_shard_size(t, shard), steps = t->sampler.steps;
    *r = (struct rollout){.iteration = iteration,
                          .shard = shard,
                          .version = task_version(t, iteration),
                          .first = shard * t->shard_samples,
                          .n = n,
                          .states = (t->algo->needs & NEEDS_TRAJECTORY) != 0 ? steps + 1 : 2};
    r->label = mem_alloc(n, sizeof *r->label);
    r->copy = mem_alloc(n, sizeof *r->copy);
    r->index = mem_alloc(n, sizeof *r->index);
    r->version_of = mem_alloc(n, sizeof *r->version_of);
    r->prompt = mem_alloc(n * LABEL_TEXT, 1);
    r->latents = mem_alloc(n * r->states * t->d, sizeof *r->latents);
    r->sample = mem_alloc(n * t->d, sizeof *r->sample);
    r->log_prob = mem_alloc(n * steps, sizeof *r->log_prob);
    if ((t->algo->needs & NEEDS_REFERENCE_DENSITY) != 0) {
        r->differs = r->version != 0;
        r->log_prob_reference = mem_alloc(n * steps, sizeof *r->log_prob_reference);
        r->kl_reference = mem_alloc(n * steps, sizeof *r->kl_reference);
    }
    if (search_acts(&t->search)) {
        r->cost = mem_alloc(n, sizeof *r->cost);
        r->plain = mem_alloc(n, sizeof *r->plain);
    }

    int64_t *label = mem_alloc(t->samples, sizeof *label);
    int64_t *copy = mem_alloc(t->samples, sizeof *copy);
    task_prompts(t, iteration, label, copy);
    for (int64_t i = 0; i < n; i++) {
        r->label[i] = label[r->first + i];
        r->copy[i] = copy[r->first + i];
        r->index[i] = r->first + i;
        r->version_of[i] = r->version;
        snprintf(r->prompt + i * LABEL_TEXT, LABEL_TEXT, "%lld", (long long)r->label[i]);
    }
    mem_free(label);
    mem_free(copy);
}

/* chain_walk's `after`, where version 0 is compared: the density of each transition of
 * step k under it, and the KL of the mean at hand to its mean. o[m, d]: the output at
 * hand. */
static int refer(struct chain *c, const struct draw *w, int64_t at, int64_t m, int64_t k,
                 const float *x, const float *o)
{
    struct refer *f = c->after_ctx;
    struct task *t = f->task;
    struct rollout *r = f->rollout;
    const struct sampler *s = &t->sampler;
    const float *other = NULL;
    for (int64_t b = 0; b < m; b++)
        f->timesteps[b] = (float)s->step[k].t;
    const struct model_input in = {
        .batch = m,
        .height = t->height,
        .width = t->width,
        .x = x,
        .timesteps = f->timesteps,
        .labels = t->n_classes > 0 ? r->label + at : NULL,
    };
    if (r->differs && companion_forward(t->reference, t, &in, &other) != 0)
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < m; b++) {
        int64_t n = (at + b) * s->steps + k;
        float *mu = f->mu + b * 2 * t->d, *mu_0 = mu + t->d;
        r->log_prob_reference[n] = r->log_prob[n];
        if (other == NULL)
            continue;
        sampler_mean(s, k, t->d, x + b * t->d, o + b * t->d, mu, NULL);
        sampler_mean(s, k, t->d, x + b * t->d, other + b * t->d, mu_0, NULL);
        r->log_prob_reference[n] =
            sampler_log_prob(s, k, t->d, mu_0, chain_state(c, w, at + b, k + 1));
        r->kl_reference[n] = sampler_kl(s, k, t->d, mu, mu_0);
    }
    return 0;
}

/* Fills latents, sample and log_prob: plain samples, or those of a search. */
static int sample(struct task *t, struct rollout *r)
{
    struct chain c = task_chain(t);
    struct refer f = {.task = t, .rollout = r};
    if (r->log_prob_reference != NULL) {
        f.timesteps = mem_alloc(t->micro_batch, sizeof *f.timesteps);
        f.mu = mem_alloc(t->micro_batch * 2 * t->d, sizeof *f.mu);
        c.after = refer;
        c.after_ctx = &f;
    }
    struct draw w = {.iteration = r->iteration,
                     .first = r->first,
                     .n = r->n,
                     .label = r->label,
                     .copy = r->copy,
                     .states = r->states,
                     .latents = r->latents,
                     .sample = r->sample,
                     .log_prob = r->log_prob,
                     .cost = r->cost,
                     .plain = r->plain};
    chain_open(&c);
    int rc = search_draw(&t->search, &c, &w);
    t->spent[TIME_NETWORK] += c.network_s;
    chain_close(&c);
    mem_free(f.timesteps);
    mem_free(f.mu);
    return rc;
}

/* The sampler's table, one row per step. */
static int put_sampler(struct shard_writer *w, const struct sampler *s)
{
    int64_t n = s->steps;
    int64_t *tp = mem_alloc(2 * n, sizeof *tp);
    float *f = mem_alloc(4 * n, sizeof *f);
    uint8_t *mask = mem_alloc(n, 1);
    for (int64_t i = 0; i < n; i++) {
        tp[i] = s->step[i].t;
        tp[n + i] = s->step[i].p;
        f[i] = s->step[i].abar;
        f[n + i] = s->step[i].abar_p;
        f[2 * n + i] = s->step[i].sigma;
        f[3 * n + i] = s->step[i].kl_weight;
        mask[i] = (uint8_t)s->step[i].mask;
    }
    const struct column col[] = {
        {.name = "t", .type = COLUMN_I64, .units = "1", .data = tp,
         .long_name = "training timestep at which the step starts"},
        {.name = "p", .type = COLUMN_I64, .units = "1", .data = tp + n,
         .long_name = "training timestep on which the step lands (negative: clean)"},
        {.name = "alpha_bar", .type = COLUMN_F32, .units = "1", .data = f,
         .long_name = "cumulative signal level at t"},
        {.name = "alpha_bar_next", .type = COLUMN_F32, .units = "1", .data = f + n,
         .long_name = "cumulative signal level at p"},
        {.name = "sigma", .type = COLUMN_F32, .units = "1", .data = f + 2 * n,
         .long_name = "standard deviation of the transition"},
        {.name = "kl_weight", .type = COLUMN_F32, .units = "nat", .data = f + 3 * n,
         .long_name = "KL of the step per squared change of the predicted noise"},
        {.name = "mask", .type = COLUMN_U8, .units = "1", .data = mask,
         .long_name = "1 where the step has a density and takes part in the loss"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++) {
        struct column c = col[i];
        c.nd = 1;
        c.dim[0] = n;
        c.axis[0] = "step";
        rc = shard_put(w, &c);
    }
    mem_free(tp);
    mem_free(f);
    mem_free(mask);
    return rc;
}

static int put_samples(struct shard_writer *w, const struct task *t,
                       const struct rollout *r)
{
    int64_t n = r->n, steps = t->sampler.steps;
    const struct column col[] = {
        {.name = "final_sample", .type = COLUMN_F32, .nd = 4,
         .dim = {n, t->channels, t->height, t->width},
         .axis = {"sample", "channel", "height", "width"}, .units = "1",
         .long_name = "final sample x_0", .data = r->sample, .chunk_first = true},
        {.name = "latents", .type = COLUMN_F32, .nd = 5,
         .dim = {n, steps + 1, t->channels, t->height, t->width},
         .axis = {"sample", "state", "channel", "height", "width"}, .units = "1",
         .long_name = "states of the denoising chain, x_T first", .data = r->latents,
         .chunk_first = true},
        {.name = "log_prob", .type = COLUMN_F64, .nd = 2, .dim = {n, steps},
         .axis = {"sample", "step"}, .units = "nat", .data = r->log_prob,
         .long_name = "log-density of each transition under the policy that made it, "
                      "summed over elements"},
        {.name = "search_cost", .type = COLUMN_F64, .nd = 1, .dim = {n},
         .axis = {"sample"}, .units = "nat", .data = r->cost,
         .long_name = "how far the search went from the policy's own samples"},
        {.name = "search_reward_plain", .type = COLUMN_F64, .nd = 1, .dim = {n},
         .axis = {"sample"}, .units = t->reward->units, .data = r->plain,
         .long_name = "reward of the sample that the same noise gives without the search "
                      "(NaN where it is not known)"},
        {.name = "log_prob_reference", .type = COLUMN_F64, .nd = 2, .dim = {n, steps},
         .axis = {"sample", "step"}, .units = "nat", .data = r->log_prob_reference,
         .long_name = "log-density of each transition under policy version 0, summed over "
                      "elements"},
        {.name = "kl_reference", .type = COLUMN_F64, .nd = 2, .dim = {n, steps},
         .axis = {"sample", "step"}, .units = "nat", .data = r->kl_reference,
         .long_name = "KL of each transition of the policy that made it to that of version "
                      "0, summed over elements"},
        {.name = "prompt_id", .type = COLUMN_I64, .nd = 1, .dim = {n},
         .axis = {"sample"}, .units = "1", .data = r->label,
         .long_name = "class label (0 where unconditional)"},
        {.name = "prompt", .type = COLUMN_TEXT, .nd = 1, .dim = {n}, .axis = {"sample"},
         .units = "1", .long_name = "prompt", .data = r->prompt, .text_len = LABEL_TEXT},
        {.name = "copy", .type = COLUMN_I64, .nd = 1, .dim = {n}, .axis = {"sample"},
         .units = "1", .data = r->copy,
         .long_name = "running number among the iteration's samples of this prompt"},
        {.name = "sample_index", .type = COLUMN_I64, .nd = 1, .dim = {n},
         .axis = {"sample"}, .units = "1", .data = r->index,
         .long_name = "number of the sample in its iteration"},
        {.name = "policy_version", .type = COLUMN_I64, .nd = 1, .dim = {n},
         .axis = {"sample"}, .units = "1", .data = r->version_of,
         .long_name = "version of the policy that made the sample"},
    };
    bool trajectory = (t->algo->needs & NEEDS_TRAJECTORY) != 0;
    for (size_t i = 0; i < sizeof col / sizeof *col; i++) {
        if (col[i].data == NULL || (!trajectory && strcmp(col[i].name, "latents") == 0))
            continue;
        if (shard_put(w, &col[i]) != 0)
            return -1;
    }
    return put_sampler(w, &t->sampler);
}

static int seal(struct task *t, const struct rollout *r, struct shard_parent *policy,
                int64_t policies)
{
    char rel[96], path[4096];
    struct shard_head head =
        task_head(t, SHARD_ROLLOUT, r->iteration, r->shard, r->version);
    head.parent = policy;
    head.parents = policies;
    struct shard_writer *w = shard_create(
        task_path(t, rundir_rollout(rel, r->iteration, r->shard), path), &head);
    if (w == NULL)
        return -1;
    if (put_samples(w, t, r) != 0) {
        shard_abort(w);
        return -1;
    }
    return task_seal(t, w);
}

/* The weights of the version, and of version 0 beside it where they differ and are
 * needed; both become parents. */
static int load(struct task *t, int64_t version, struct shard_parent policy[2],
                int64_t *policies)
{
    *policies = 1;
    rundir_policy(policy[0].path, version);
    if (task_load_weights(t, version) != 0 ||
        task_policy_content(t, version, policy[0].content) != 0)
        return -1;
    if ((t->algo->needs & NEEDS_REFERENCE_DENSITY) == 0 || version == 0)
        return 0;
    if (companion_load(&t->reference, t, 0) != 0)
        return -1;
    *policies = 2;
    rundir_policy(policy[1].path, 0);
    memcpy(policy[1].content, companion_content(t->reference), DIGEST_HEX);
    return 0;
}

int rollout_shard(struct task *t, int64_t iteration, int64_t shard)
{
    struct rollout r;
    struct shard_parent policy[2];
    int64_t policies;
    if (load(t, task_version(t, iteration), policy, &policies) != 0)
        return -1;
    rollout_init(&r, t, iteration, shard);
    int rc = sample(t, &r);
    if (rc == 0) {
        double start = task_now(t);
        rc = seal(t, &r, policy, policies);
        task_spend(t, TIME_IO, start);
    }
    rollout_free(&r);
    return rc;
}
