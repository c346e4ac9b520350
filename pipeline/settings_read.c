/* What the configuration alone says, and whether it goes together. */
#include "pipeline/settings_internal.h"

#include "io/shard.h"
#include "io/sys/err.h"
#include "stages/reward/scorer.h"

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

int settings_read_task(struct task *t, const struct config *c)
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
    return settings_read_task(t, c);
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
