/* The network and all that has to fit it: sampler, classes, search, rewards. */
#include "pipeline/settings_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/compute.h"
#include "stages/companion.h"
#include "stages/policy.h"
#include "stages/reward/learned.h"
#include "stages/trainer.h"

#include <math.h>
#include <stdio.h>

int settings_sampler(struct sampler *s, const struct schedule *schedule,
                     const struct config *c)
{
    struct sampler_options o = {
        .kind = config_is(c, "sampler.kind", "ddpm") ? SAMPLER_DDPM : SAMPLER_DDIM,
        .steps = config_int(c, "sampler.steps"),
        .eta = config_real(c, "sampler.eta"),
        .sigma_min = config_real(c, "sampler.sigma_min"),
        .clamp_last = config_bool(c, "sampler.clamp_last"),
        .spacing = (int)config_choice(c, "sampler.spacing") - 1, /* model is -1 */
        .clip_sample = config_is(c, "sampler.clip_sample", "model")
                           ? -1
                           : config_is(c, "sampler.clip_sample", "true"),
    };
    return sampler_init(s, schedule, &o);
}

/* Unconditional networks take no classes; conditional ones default to all of theirs. */
static int fit_classes(struct task *t)
{
    int64_t k = model_classes(t->model);
    if (k == 0 && t->n_classes > 0)
        return err_set(ERR_USAGE, "rollout.classes: this network is unconditional");
    for (int64_t i = 0; i < t->n_classes; i++)
        if (t->classes[i] < 0 || t->classes[i] >= k)
            return err_set(ERR_USAGE,
                           "rollout.classes: %lld is no class of this network (0..%lld)",
                           (long long)t->classes[i], (long long)k - 1);
    if (k > 0 && t->n_classes == 0) {
        t->own_classes = mem_alloc(k, sizeof *t->own_classes);
        for (int64_t i = 0; i < k; i++)
            t->own_classes[i] = i;
        t->classes = t->own_classes;
        t->n_classes = k;
    }
    return 0;
}

/* Samples in a row of one label where every shard holds whole rows of them, else 0. */
static int64_t copies_together(const struct task *t)
{
    if (t->n_classes < 2)
        return t->samples < t->shard_samples ? t->samples : t->shard_samples;
    return t->shard_samples % t->copies == 0 && t->samples % t->copies == 0 ? t->copies : 0;
}

static int fit_search(const struct task *t)
{
    const struct chain chain = {.sampler = &t->sampler, .reward = t->reward};
    return search_check(&t->search, &chain, copies_together(t));
}

/* Whether the gradient of the reward goes into the network through the last step. */
static bool needs_last_step(const struct algo *a)
{
    return a->pairs == PAIRS_WALK || a->pairs == PAIRS_NOISED_LAST;
}

static bool last_step_moves(const struct sampler *s)
{
    const struct sampler_step *last = &s->step[s->steps - 1];
    return last->t != last->p;
}

static int idle(void *ctx)
{
    struct task *t = ctx;
    return t->idle == NULL ? 0 : t->idle(t->idle_ctx);
}

static double leave(void *ctx)
{
    const struct task *t = ctx;
    return t->leave == NULL ? (double)INFINITY : t->leave(t->idle_ctx);
}

static int open_rewards(struct task *t, const struct config *c)
{
    const char *cache = config_text(c, "reward.cache");
    char *memory = cache[0] != '\0' ? mem_text(cache) : text_new("%s/scores", t->dir);
    struct reward_scene scene = {
        .channels = t->channels,
        .height = t->height,
        .width = t->width,
        .classes = model_classes(t->model),
        .coding = model_coding(t->model),
        .config = c,
        .seed = t->seed,
        .scorers = t->scorers,
        .idle = idle,
        .leave = leave,
        .idle_ctx = t,
        .memory = memory,
    };
    int rc = 0;
    scene.name = config_text(c, "reward.guard");
    if (t->guard != NULL && t->guard->open(&scene, &t->guard_ctx) != 0)
        rc = err_add("reward.guard");
    scene.name = NULL;
    if (rc == 0)
        rc = learned_open(&scene, &t->learned);
    if (rc == 0 && t->reward->open != NULL)
        rc = t->reward->open(&scene, &t->reward_ctx);
    mem_free(memory);
    return rc;
}

/* Sampler, sample shape, classes and reward for t->model and t->schedule: do they fit
 * together and the method? */
static int fit_network(struct task *t, const struct config *c)
{
    int64_t dim[3];
    if (settings_sampler(&t->sampler, &t->schedule, c) != 0)
        return -1;
    model_sample_shape(t->model, dim);
    t->channels = dim[0];
    t->height = dim[1];
    t->width = dim[2];
    t->d = dim[0] * dim[1] * dim[2];
    if (fit_classes(t) != 0)
        return -1;
    if (t->on_failure == FAILURE_DROP_GROUP && t->n_classes < 2)
        return err_set(ERR_USAGE, "reward.on_failure: drop_group needs samples of several "
                                  "prompts; this run has one: set it to drop");
    if (model_set_guidance(t->model, config_real(c, "sampler.guidance")) != 0)
        return err_add("sampler.guidance");
    if ((t->algo->needs & NEEDS_LOG_PROB) != 0 && t->sampler.live_steps == 0)
        return err_set(ERR_USAGE,
                       "algorithm.name: %s needs log-probabilities, but no sampler step is "
                       "random (sampler.eta=%g); set sampler.eta=1",
                       t->algo->name, config_real(c, "sampler.eta"));
    if (algo_differentiates(t->algo) && sampler_clips(&t->sampler))
        return err_set(ERR_USAGE,
                       "algorithm.name: %s follows gradients through the sampler, which "
                       "stop where samples are clipped: set sampler.clip_sample=false and "
                       "use a schedule without thresholding",
                       t->algo->name);
    if (needs_last_step(t->algo) && !last_step_moves(&t->sampler))
        return err_set(ERR_USAGE,
                       "algorithm.name: %s follows gradients through the sampler's last step, "
                       "which lands where it starts and does not ask the network: set "
                       "sampler.clamp_last=false",
                       t->algo->name);
    if (fit_search(t) != 0)
        return -1;
    if (t->algo == &t->watched && t->sampler.live_steps == 0)
        return err_set(ERR_USAGE, "run.kl_budget: no sampler step is random, so there is no "
                                  "KL; set sampler.eta=1");
    t->pairs_each = algo_pairs_each(t->algo, c, &t->sampler);
    return open_rewards(t, c);
}

int settings_open_network(struct task *t, const struct config *c, int64_t version,
                          bool with_grad)
{
    char rel[64], path[4096];
    snprintf(rel, sizeof rel, "policy/v%06lld.h5", (long long)version);
    struct policy *p = policy_open(task_path(t, rel, path));
    if (p == NULL)
        return -1;
    int rc = -1;
    char *text = policy_scheduler(p);
    if (text != NULL && schedule_parse(&t->schedule, text, path) == 0 &&
        (t->model = policy_model(p, POLICY_WEIGHTS, with_grad)) != NULL)
        rc = 0;
    mem_free(text);
    t->policy.version = version;
    snprintf(t->policy.content, DIGEST_HEX, "%s", policy_content_digest(p));
    policy_close(p);
    if (rc != 0)
        return -1;
    t->loaded_version = t->used_version = version;
    const struct compute o = compute_of(c);
    t->tape = compute_open(&o, &t->backend);
    if (t->tape == NULL)
        return -1;
    return fit_network(t, c);
}

/* Opens model.path and what has to fit it. */
static int open_first(struct task *t, const struct config *c)
{
    const char *folder = config_text(c, "model.path");
    if (folder[0] == '\0')
        return err_set(ERR_USAGE, "model.path is not set: name a model folder");
    char *scheduler = model_scheduler_path(folder);
    t->model = model_open(folder, -1, false);
    int rc = -1;
    if (t->model != NULL &&
        schedule_read(&t->schedule, scheduler[0] != '\0' ? scheduler : NULL) == 0)
        rc = fit_network(t, c);
    mem_free(scheduler);
    return rc;
}

int settings_first_policy(const struct task *t, const struct config *c)
{
    struct task first = *t;
    first.algo_options.own = NULL; /* t's, which frees it */
    int rc = open_first(&first, c);
    if (rc == 0) {
        struct policy_content p = {
            .vector = {param_values(model_params(first.model)), NULL, NULL, NULL},
            .counters = {.best_version = -1},
        };
        for (int i = 0; i < METRICS; i++)
            p.metric[i] = NAN;
        rc = policy_write(&first, &p, NULL);
    }
    settings_close(&first);
    return rc;
}

int settings_check(const struct config *c)
{
    struct task t = {0};
    int rc = settings_read_task(&t, c);
    if (rc == 0 && config_text(c, "model.path")[0] != '\0')
        rc = open_first(&t, c);
    settings_close(&t);
    return rc;
}

void settings_close(struct task *t)
{
    if (t->reward != NULL && t->reward->close != NULL)
        t->reward->close(t->reward_ctx);
    if (t->guard != NULL && t->guard->close != NULL)
        t->guard->close(t->guard_ctx);
    learned_close(t->learned);
    trainer_destroy(t->trainer);
    companion_destroy(t->reference);
    companion_destroy(t->behaviour);
    companion_destroy(t->previous);
    companion_destroy(t->anchor);
    algo_options_free(&t->algo_options);
    if (t->tape != NULL)
        tape_destroy(t->tape);
    if (t->model != NULL)
        model_destroy(t->model);
    sampler_free(&t->sampler);
    schedule_free(&t->schedule);
    mem_free(t->own_classes);
    *t = (struct task){0};
}
