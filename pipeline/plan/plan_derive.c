/* A plan from its configuration: the counts of an iteration, and the model's sizes. */
#include "pipeline/plan/plan_derive.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/settings.h"
#include "stages/nn/param.h"
#include "stages/reward/learned.h"
#include "stages/reward/scorer.h"

static int open_model(struct plan *p)
{
    const char *path = config_text(p->c, "model.path");
    const char *network = config_text(p->c, "pretrain.network");
    struct schedule schedule;
    if (path[0] == '\0' && network[0] == '\0')
        return 0;
    p->model = path[0] != '\0' ? model_open(path, -1, true) : model_new(network, 0);
    if (p->model == NULL)
        return -1;
    model_sample_shape(p->model, p->dim);
    p->d = p->dim[0] * p->dim[1] * p->dim[2];
    if (p->d < 1)
        return err_set(ERR_INPUT, "%s: the network's config.json names no sample_size",
                       path[0] != '\0' ? path : network);
    p->classes = model_classes(p->model);
    p->parameters = param_total(model_params(p->model));
    if (model_set_guidance(p->model, config_real(p->c, "sampler.guidance")) != 0)
        return err_add("sampler.guidance");
    p->flops = model_flops(p->model);
    char *file = path[0] != '\0' ? model_scheduler_path(path)
                                 : mem_text(config_text(p->c, "pretrain.scheduler"));
    int rc = schedule_read(&schedule, file[0] != '\0' ? file : NULL);
    if (rc == 0) {
        struct sampler_options o = {
            .kind =
                config_is(p->c, "sampler.kind", "ddpm") ? SAMPLER_DDPM : SAMPLER_DDIM,
            .steps = p->steps,
            .eta = config_real(p->c, "sampler.eta"),
            .sigma_min = config_real(p->c, "sampler.sigma_min"),
            .clamp_last = config_bool(p->c, "sampler.clamp_last"),
            .spacing = (int)config_choice(p->c, "sampler.spacing") - 1,
            .clip_sample = config_is(p->c, "sampler.clip_sample", "model")
                               ? -1
                               : config_is(p->c, "sampler.clip_sample", "true")};
        rc = sampler_init(&p->sampler, &schedule, &o);
        p->have_sampler = rc == 0;
        schedule_free(&schedule);
    }
    mem_free(file);
    return rc;
}

/* Opens the learned reward, and the reward itself where there is no model.path, so that
 * no run has opened it: both may refuse the network or their keys. */
static int open_rewards(struct plan *p)
{
    void *ctx = NULL;
    struct learned *learned = NULL;
    const struct reward_scene scene = {
        .channels = p->dim[0],
        .height = p->dim[1],
        .width = p->dim[2],
        .classes = p->classes,
        .coding = model_coding(p->model),
        .config = p->c,
    };
    if (config_text(p->c, "model.path")[0] == '\0') {
        if (p->reward.open(&scene, &ctx) != 0)
            return -1;
        p->reward.close(ctx);
    }
    if (learned_open(&scene, &learned) != 0)
        return -1;
    if (learned != NULL)
        learned_size(learned, &p->features, &p->heads, &p->factor);
    learned_close(learned);
    return 0;
}

int plan_derive(struct plan *p)
{
    const struct config *c = p->c;
    p->samples = config_int(c, "rollout.samples");
    p->copies = config_int(c, "rollout.copies");
    p->shard = config_int(c, "rollout.shard_samples");
    p->shards = plan_parts(p->samples, p->shard);
    p->micro = config_int(c, "model.micro_batch");
    p->batch = config_is(c, "update.batch", "auto") ? p->samples
                                                    : config_int(c, "update.batch");
    p->epochs = config_int(c, "update.inner_epochs");
    p->steps = config_int(c, "sampler.steps");
    p->threads =
        config_is(c, "groups.threads", "auto") ? 1 : config_int(c, "groups.threads");
    p->update_ranks = config_is(c, "groups.update", "auto")
                          ? p->ranks
                          : config_int(c, "groups.update");
    p->algo = algo_find(config_text(c, "algorithm.name"));
    if (p->algo == NULL || scorer_describe(c, NULL, &p->reward) != 0 ||
        open_model(p) != 0)
        return -1;
    const struct sampler all = {.steps = p->steps, .live_steps = p->steps};
    struct algo_options o;
    algo_options_read(&o, p->algo, c);
    p->needs = algo_needs(p->algo, &o);
    if (config_real(c, "run.kl_budget") > 0)
        p->needs |= NEEDS_REFERENCE_DENSITY;
    algo_options_free(&o);
    p->trained = algo_pairs_each(p->algo, c, p->have_sampler ? &p->sampler : &all);
    if (algo_on_chain(p->algo) && p->have_sampler && p->sampler.live_steps == 0)
        p->trained = 0;
    if (p->batch > p->samples)
        p->batch = p->samples;
    p->pairs = p->batch * p->trained;
    p->optimizer_steps = p->epochs * plan_parts(p->samples, p->batch);
    return 0;
}

int plan_derive_all(struct plan *p)
{
    struct layout layout;
    if (settings_layout(&layout, p->c, (int)p->ranks) != 0 ||
        plan_derive(p) != 0)
        return -1;
    if (p->model != NULL && open_rewards(p) != 0)
        return -1;
    if (p->model != NULL)
        probe_model(&p->probe, p->model, compute_of(p->c));
    if (!p->rate_given)
        p->rate = p->probe.rate;
    return 0;
}

void plan_close(struct plan *p)
{
    if (p->have_sampler)
        sampler_free(&p->sampler);
    model_destroy(p->model);
}
