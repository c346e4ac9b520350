/* Configuration -> task. */
#include "pipeline/settings.h"

#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/compute.h"
#include "stages/companion.h"
#include "stages/policy.h"
#include "stages/reward/learned.h"
#include "stages/reward/scorer.h"
#include "stages/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void read_update(struct update_options *u, const struct config *c)
{
    *u = (struct update_options){
        .batch = config_is(c, "update.batch", "auto") ? 0 : config_int(c, "update.batch"),
        .inner_epochs = config_int(c, "update.inner_epochs"),
        .adamw = {.lr = config_real(c, "update.lr"),
                  .beta1 = config_real(c, "update.beta1"),
                  .beta2 = config_real(c, "update.beta2"),
                  .eps = config_real(c, "update.eps"),
                  .weight_decay = config_real(c, "update.weight_decay")},
        .embedding_lr = config_real(c, "update.embedding_lr"),
        .max_grad_norm = config_real(c, "update.max_grad_norm"),
        .ema_decay = config_real(c, "update.ema_decay"),
        .ema_warmup = config_bool(c, "update.ema_warmup"),
        .anchor = config_is(c, "algorithm.reference", "first") ? 0
                  : config_is(c, "algorithm.reference", "ema")
                      ? ANCHOR_AVERAGE
                      : config_int(c, "algorithm.reference"),
        .anchor_decay = config_real(c, "algorithm.reference_decay"),
        .optimizer = config_is(c, "update.optimizer", "natural") ? OPTIMIZER_NATURAL
                                                                 : OPTIMIZER_ADAMW,
        .kl_radius = config_real(c, "update.kl_radius"),
        .fisher_part = config_real(c, "update.fisher_part"),
        .cg_damping = config_real(c, "update.cg_damping"),
        .cg_iterations = config_int(c, "update.cg_iterations"),
    };
}

static void read_value(struct value_options *v, const struct config *c)
{
    *v = (struct value_options){
        .kind = (enum value_kind)config_choice(c, "value.kind"),
        .linear = config_int(c, "value.linear"),
        .features = config_int(c, "value.features"),
        .knots = config_int(c, "value.knots"),
        .folds = config_int(c, "value.folds"),
        .ridge = config_is(c, "value.ridge", "auto") ? -1 : config_real(c, "value.ridge"),
        .memory = config_real(c, "value.memory"),
        .hidden = config_int(c, "value.hidden"),
        .epochs = config_int(c, "value.epochs"),
        .lr = config_real(c, "value.lr"),
    };
}

/* Does the method go with the other settings? */
static int check_method(const struct task *t)
{
    if (t->algo_options.kl_previous_weight > 0 &&
        (!algo_on_chain(t->algo) || t->algo->pairs == PAIRS_LEAN))
        return err_set(ERR_USAGE,
                       "algorithm.kl_previous_weight: algorithm.name %s does not weigh the "
                       "steps of the chain: set it to 0, or use a method such as ddpo_is",
                       t->algo->name);
    if (t->update.optimizer == OPTIMIZER_NATURAL &&
        (!algo_on_chain(t->algo) || algo_walks(t->algo)))
        return err_set(ERR_USAGE,
                       "update.optimizer: natural needs a method whose pairs are steps of "
                       "the chain, and algorithm.name %s has others: use adamw or a method "
                       "such as ddpo_is",
                       t->algo->name);
    if (t->update.anchor != 0 && (t->algo->needs & NEEDS_REFERENCE) != 0)
        return err_set(ERR_USAGE,
                       "algorithm.reference: %s is defined against the first policy; set first",
                       t->algo->name);
    if (t->entropy.weight > 0 && algo_differentiates(t->algo))
        return err_set(ERR_USAGE,
                       "algorithm.entropy_weight: algorithm.name %s follows the reward's "
                       "gradient, which the bonus is no part of: set it to 0, or use a method "
                       "such as ddpo_is",
                       t->algo->name);
    int64_t batch = t->update.batch > 0 ? t->update.batch : t->samples;
    if (t->algo->on_policy_only &&
        (t->update.inner_epochs > 1 || batch < t->samples || t->max_staleness > 0))
        return err_set(ERR_USAGE,
                       "algorithm.name: %s has no importance ratio and takes one optimizer "
                       "step per iteration: set update.inner_epochs=1, update.batch=auto "
                       "and max_staleness=0, or use ddpo_is",
                       t->algo->name);
    return 0;
}

static int check_budget(const struct task *t, const struct config *c)
{
    int64_t budget = config_int(c, "reward.budget");
    if (budget > 0 && !config_is(c, "surrogate.kind", "none"))
        return err_set(ERR_USAGE,
                       "reward.budget: counts every sample, and surrogate.kind asks some: "
                       "set it to 0; surrogate.rounds times surrogate.queries is the budget");
    if (budget > 0 && search_acts(&t->search))
        return err_set(ERR_USAGE, "reward.budget: counts one answer for a sample, and "
                                  "search.kind %s asks more: set one of both to 0 or none",
                       t->search.kind->name);
    if (budget > 0 && budget < t->samples)
        return err_set(ERR_USAGE,
                       "reward.budget: %lld is less than one iteration's %lld samples: raise "
                       "it or lower rollout.samples",
                       (long long)budget, (long long)t->samples);
    return 0;
}

/* Statistics over the iteration are the advantage stage's. */
static int check_mixing(const struct task *t, bool learns)
{
    static const char *const word[] = {"reward", "normalised", "advantage"};
    if (t->mixing == MIXING_REWARD)
        return 0;
    if (strcmp(t->reward->name, mixture.name) != 0)
        return err_set(ERR_USAGE, "reward.mixing: %s needs reward.name=mixture and its "
                                  "components",
                       word[t->mixing]);
    if (learns || search_acts(&t->search) || algo_differentiates(t->algo))
        return err_set(ERR_USAGE,
                       "reward.mixing: %s is made after all samples are scored, and %s needs "
                       "the sum at once: set reward.mixing=reward",
                       word[t->mixing],
                       learns                      ? "surrogate.kind"
                       : search_acts(&t->search) ? "search.kind"
                                                   : t->algo->name);
    if (t->mixing == MIXING_ADVANTAGE && t->algo->signal == NULL)
        return err_set(ERR_USAGE,
                       "reward.mixing: algorithm.name %s has an advantage for each step, not "
                       "for each component: set reward.mixing=normalised",
                       t->algo->name);
    if (t->mixing == MIXING_ADVANTAGE && t->entropy.weight > 0)
        return err_set(ERR_USAGE,
                       "reward.mixing: advantage has no sum that algorithm.entropy_weight "
                       "could add to: set reward.mixing=normalised");
    return 0;
}

/* Does it go with where samples and rewards come from: a search, a learned reward, the
 * reward's gradient? */
static int check_reward(const struct task *t, const struct config *c)
{
    bool learns = !config_is(c, "surrogate.kind", "none");
    if (learns && t->max_staleness > 0)
        return err_set(ERR_USAGE, "surrogate.kind: a round needs the answers of the policy "
                                  "that it starts with: set max_staleness=0");
    if (check_budget(t, c) != 0 || check_mixing(t, learns) != 0)
        return -1;
    if (algo_differentiates(t->algo) && !t->reward->differentiable && !learns)
        return err_set(ERR_USAGE,
                       "algorithm.name: %s needs the reward's gradient, and reward.name %s "
                       "has none: use a differentiable reward or a method such as ddpo_is",
                       t->algo->name, t->reward->name);
    if (search_acts(&t->search) && !t->algo->any_samples)
        return err_set(ERR_USAGE,
                       "search.kind: what %s finds are not samples of the policy, which "
                       "algorithm.name %s learns from: use distil, rwr or rwr_sparse, or "
                       "search.kind=none",
                       t->search.kind->name, t->algo->name);
    if (search_acts(&t->search) && learns)
        return err_set(ERR_USAGE, "search.kind: %s asks the true reward again and again, "
                                  "which surrogate.kind is to save: set one of both to none",
                       t->search.kind->name);
    return 0;
}

/* reward.name and reward.guard, as the configuration makes them. */
static int read_rewards(struct task *t, const struct config *c)
{
    if (scorer_describe(c, NULL, &t->own_reward) != 0)
        return -1;
    t->reward = &t->own_reward;
    if (config_text(c, "reward.guard")[0] != '\0') {
        if (scorer_describe(c, config_text(c, "reward.guard"), &t->own_guard) != 0)
            return err_add("reward.guard");
        t->guard = &t->own_guard;
    }
    if (t->guard == NULL && (config_real(c, "run.guard_drop") > 0 ||
                             config_real(c, "run.guard_errors") > 0))
        return err_set(ERR_USAGE, "run.guard_drop, run.guard_errors: set reward.guard, the "
                                  "reward that they watch");
    return 0;
}

static int read_method(struct task *t, const struct config *c)
{
    t->algo = algo_find(config_text(c, "algorithm.name"));
    if (t->algo == NULL)
        return err_add("algorithm.name");
    algo_options_read(&t->algo_options, t->algo, c);
    read_value(&t->value, c);
    if (read_rewards(t, c) != 0)
        return -1;
    t->entropy = (struct entropy_options){
        .weight = config_real(c, "algorithm.entropy_weight"),
        .neighbour = config_int(c, "algorithm.entropy_neighbour"),
        .by_prompt = config_bool(c, "algorithm.entropy_by_prompt"),
    };
    t->max_failed_fraction = config_real(c, "reward.max_failed_fraction");
    t->on_failure = (enum failure_policy)config_choice(c, "reward.on_failure");
    t->mixing = (enum reward_mixing)config_choice(c, "reward.mixing");
    if (search_read(&t->search, c) != 0)
        return -1;
    if (check_method(t) != 0 || check_reward(t, c) != 0)
        return -1;
    if (config_real(c, "run.kl_budget") > 0) {
        if (search_acts(&t->search))
            return err_set(ERR_USAGE, "run.kl_budget: what search.kind finds are not chains "
                                      "of the policy; set search.kind=none");
        t->watched = *t->algo;
        t->watched.needs |= NEEDS_REFERENCE_DENSITY;
        t->algo = &t->watched;
    }
    return 0;
}

int64_t settings_iterations(const struct config *c)
{
    int64_t wanted = config_int(c, "run.iterations");
    int64_t budget = config_int(c, "reward.budget");
    int64_t paid = budget / config_int(c, "rollout.samples");
    return budget > 0 && paid < wanted ? paid : wanted;
}

/* All but run.dir. */
static int read_task(struct task *t, const struct config *c)
{
    *t = (struct task){
        .dir = config_text(c, "run.dir"),
        .seed = (uint64_t)config_int(c, "run.seed"),
        .samples = config_int(c, "rollout.samples"),
        .copies = config_int(c, "rollout.copies"),
        .shard_samples = config_int(c, "rollout.shard_samples"),
        .max_staleness = config_int(c, "max_staleness"),
        .micro_batch = config_int(c, "model.micro_batch"),
        .learned_as_of = -1,
        .round_iterations = config_int(c, "surrogate.period"),
        .rounds = config_int(c, "surrogate.rounds"),
        .loaded_version = -1,
        .used_version = -1,
        .appear_s = 60,
        .counters = {.version = -1},
    };
    t->shards = (t->samples + t->shard_samples - 1) / t->shard_samples;
    if (t->shards + 1 > SHARD_MAX_PARENTS)
        return err_set(ERR_USAGE,
                       "rollout.samples=%lld in shards of rollout.shard_samples=%lld gives "
                       "%lld shards per iteration, at most %d are possible: raise "
                       "rollout.shard_samples",
                       (long long)t->samples, (long long)t->shard_samples,
                       (long long)t->shards, SHARD_MAX_PARENTS - 1);
    t->n_classes = config_list(c, "rollout.classes", &t->classes);
    config_digest(c, t->config_digest);
    read_update(&t->update, c);
    return read_method(t, c);
}

int settings_read(struct task *t, const struct config *c)
{
    const char *dir = config_text(c, "run.dir");
    if (dir[0] == '\0')
        return err_set(ERR_USAGE, "run.dir is not set: name the run directory");
    if (strlen(dir) > 3900)
        return err_set(ERR_USAGE, "run.dir: the path is too long");
    return read_task(t, c);
}

int settings_layout(struct layout *l, const struct config *c, int world)
{
    int want[GROUPS];
    for (int g = 0; g < GROUPS; g++) {
        char key[32];
        snprintf(key, sizeof key, "groups.%s", group_name((enum group)g));
        want[g] = config_is(c, key, "auto") ? LAYOUT_AUTO : (int)config_int(c, key);
    }
    return layout_make(l, want, config_is(c, "groups.placement", "split"), world);
}

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
    int rc = read_task(&t, c);
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
