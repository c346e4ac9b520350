/* The list of searches, their options, and the draws that they share. */
#include "stages/search/search.h"

#include "io/sys/err.h"
#include "io/sys/text.h"
#include "stages/search/best_of.h"
#include "stages/search/dps.h"
#include "stages/search/noise.h"
#include "stages/search/smc.h"
#include "stages/search/svdd.h"

#include <math.h>
#include <string.h>

static int draw_plain(struct chain *c, const struct search_options *o, struct draw *w)
{
    (void)o;
    for (int64_t at = 0; at < w->n; at += c->micro_batch) {
        int64_t m = w->n - at < c->micro_batch ? w->n - at : c->micro_batch;
        if (chain_walk(c, w, at, m, 0) != 0)
            return -1;
    }
    return 0;
}

static const struct search none = {
    .name = "none",
    .help = "samples of the policy",
    .draw = draw_plain,
};

static const struct search *const list[] = {&none, &best_of,      &svdd,
                                            &smc,  &search_noise, &dps, NULL};

const struct search *const *search_all(void)
{
    return list;
}

const struct search *search_find(const char *name)
{
    const char *names[sizeof list / sizeof *list];
    int64_t n = 0;
    for (; list[n] != NULL; n++) {
        if (strcmp(list[n]->name, name) == 0)
            return list[n];
        names[n] = list[n]->name;
    }
    text_unknown("search", name, names, n);
    return NULL;
}

int search_read(struct search_options *o, const struct config *c)
{
    *o = (struct search_options){
        .kind = search_find(config_text(c, "search.kind")),
        .candidates = config_int(c, "search.candidates"),
        .alpha = config_real(c, "search.alpha"),
        .resample = config_real(c, "search.resample"),
        .weight = config_real(c, "search.weight"),
        .iterations = config_int(c, "search.iterations"),
        .tolerance = config_real(c, "search.tolerance"),
        .method = config_is(c, "search.method", "cg") ? MINIMISE_CG : MINIMISE_LMVM,
        .typical = config_is(c, "search.fidelity", "typical"),
        .start = config_bool(c, "search.start"),
    };
    if (o->kind == NULL)
        return err_add("search.kind");
    if (o->kind == &smc && !(o->alpha > 0))
        return err_set(ERR_USAGE, "search.alpha: smc needs more than 0");
    return 0;
}

bool search_acts(const struct search_options *o)
{
    return o->kind != &none;
}

/* The part about the reward. */
static int check_reward(const struct search *s, const struct reward *r)
{
    if ((s->needs & SEARCH_SCORES) != 0 && r->score == NULL)
        return err_set(ERR_USAGE, "search.kind: %s needs a reward: set reward.name",
                       s->name);
    if ((s->needs & SEARCH_SCORES) != 0 && !r->deterministic)
        return err_set(
            ERR_USAGE,
            "search.kind: %s compares scores, and those of reward.name %s are "
            "noisy: use a deterministic reward",
            s->name, r->name);
    if ((s->needs & SEARCH_GRADIENT) != 0 && !r->differentiable)
        return err_set(
            ERR_USAGE,
            "search.kind: %s needs the reward's gradient, and reward.name %s "
            "has none: use a differentiable reward, or best_of, svdd or smc",
            s->name, r->name);
    return 0;
}

int search_check(const struct search_options *o, const struct chain *c, int64_t copies)
{
    const struct search *s = o->kind;
    if (check_reward(s, c->reward) != 0)
        return -1;
    if ((s->needs & SEARCH_GRADIENT) != 0 && sampler_clips(c->sampler))
        return err_set(
            ERR_USAGE,
            "search.kind: %s follows gradients through the sampler, which end "
            "where the predicted sample is clipped: set "
            "sampler.clip_sample=false (and no thresholding)",
            s->name);
    bool start = s == &search_noise && o->start;
    if ((s->needs & SEARCH_NOISE) != 0 && c->sampler->live_steps == 0 && !start)
        return err_set(
            ERR_USAGE,
            "search.kind: %s chooses the noise of steps, but no sampler step is "
            "random: set sampler.eta=1",
            s->name);
    if ((s->needs & SEARCH_GROUP) != 0 && copies < 2)
        return err_set(
            ERR_USAGE,
            "search.kind: %s resamples among the samples of one prompt in a "
            "shard: set rollout.copies to 2 or more and rollout.shard_samples "
            "and rollout.samples to multiples of it (without classes: a "
            "shard of 2 or more)",
            s->name);
    return 0;
}

int search_draw(const struct search_options *o, struct chain *c, struct draw *w)
{
    for (int64_t i = 0; i < w->n && w->cost != NULL; i++) {
        w->cost[i] = 0;
        w->plain[i] = (double)NAN;
    }
    int rc = o->kind->draw(c, o, w);
    return rc == 0 || !search_acts(o) ? rc : err_add("search %s", o->kind->name);
}

void search_weights(int64_t n, const double *v, double alpha, double *weight)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[best])
            best = i;
    bool flat = !isfinite(v[best]);
    for (int64_t i = 0; i < n; i++) {
        if (flat)
            weight[i] = 1;
        else
            weight[i] = alpha > 0 ? exp((v[i] - v[best]) / alpha) : (double)(i == best);
        sum += weight[i];
    }
    for (int64_t i = 0; i < n; i++)
        weight[i] /= sum;
}

int64_t search_pick(int64_t n, const double *weight, double u)
{
    double sum = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += weight[i];
        if (weight[i] > 0)
            last = i;
        if (u < sum)
            return i;
    }
    return last; /* the sum fell short of 1 by rounding */
}

void search_systematic(int64_t n, const double *weight, double u, int64_t *index)
{
    for (int64_t k = 0; k < n; k++)
        index[k] = search_pick(n, weight, ((double)k + u) / (double)n);
}
