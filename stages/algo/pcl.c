/* Path consistency: at the optimum, alpha times the log-ratio of every transition to
 * version 0 is the difference of the values of its two states. */
#include "stages/algo/pcl.h"

#include "io/sys/mem.h"
#include "stages/algo/returns.h"
#include "stages/algo/signal.h"
#include "stages/algo/surrogate.h"

#include <math.h>
#include <string.h>

static void read_options(void *own, const struct config *c)
{
    *(struct pcl_options *)own =
        (struct pcl_options){.alpha = config_real(c, "algorithm.pcl_alpha")};
}

/* The reward less alpha times the log-ratios from each step on. */
static void to_go_of(const struct pcl_options *own, const struct algo_steps *s, double *out)
{
    double *cost = mem_alloc(s->n * s->steps, sizeof *cost);
    for (int64_t i = 0; i < s->n * s->steps; i++)
        cost[i] = own->alpha * (s->log_prob[i] - s->log_prob_reference[i]);
    returns_to_go(s, 1, cost, out);
    mem_free(cost);
}

/* Consistency summed to the end of the chain. */
static int returns_of(const struct algo_options *o, const struct algo_steps *s)
{
    const struct pcl_options *own = o->own;
    if (returns_check(s) != 0)
        return -1;
    to_go_of(own, s, s->target);
    return 0;
}

/* What alpha log p should be: V_{i+1} - V_i + alpha log p_0, with the reward as the value
 * of the final sample. */
static int steps_of(const struct algo_options *o, const struct algo_steps *s)
{
    const struct pcl_options *own = o->own;
    memset(s->advantage, 0, (size_t)(s->n * s->steps) * sizeof *s->advantage);
    for (int64_t n = 0; n < s->n; n++) {
        double after = s->reward[n];
        for (int64_t k = s->steps - 1; k >= 0 && s->usable[n]; k--) {
            int64_t at = n * s->steps + k;
            if (!s->live[k])
                continue;
            s->advantage[at] = after - s->value[at] + own->alpha * s->log_prob_reference[at];
            after = s->value[at];
        }
    }
    return 0;
}

/* weight (alpha log p - advantage)^2. The ratio is for the statistics alone. */
static int loss_pcl(const struct algo_options *o, const struct algo_pair *p,
                    struct algo_result *r, float *grad)
{
    const struct pcl_options *own = o->own;
    const struct sampler *s = p->sampler;
    struct algo_options sum = *o;
    sum.logprob = LOGPROB_SUM;
    *r = (struct algo_result){.log_prob = p->log_prob_old, .ratio = 1};
    memset(grad, 0, (size_t)p->d * sizeof *grad);
    if (p->weight == 0 || !s->step[p->step].mask)
        return 0;
    sampler_mean(s, p->step, p->d, p->x, p->o, grad, NULL);
    r->log_prob = sampler_log_prob(s, p->step, p->d, grad, p->next);
    double log_ratio = r->log_prob - p->log_prob_old;
    double rest = own->alpha * r->log_prob - p->advantage;
    r->ratio = exp(log_ratio);
    r->approx_kl = 0.5 * log_ratio * log_ratio;
    r->clipped = fabs(r->ratio - 1) > o->clip_range;
    r->loss = p->weight * rest * rest;
    sampler_log_prob_grad(s, p->step, p->d, p->x, p->o, p->next,
                          p->weight * 2 * own->alpha * rest, grad);
    if (o->kl_weight > 0)
        surrogate_add_kl(&sum, p, r, grad);
    return surrogate_check(p, r, grad);
}

/* (v + alpha sum of log-ratios - reward)^2 of a chain, with the v of each prompt that makes
 * its sum least, the mean of reward - alpha sum. So the derivative by log p of any of the
 * chain's steps is 2 alpha (that difference), to which v's own movement adds nothing. */
static int steps_tb(const struct algo_options *o, const struct algo_steps *s)
{
    const struct pcl_options *own = o->own;
    int64_t first = 0;
    if (returns_check(s) != 0)
        return -1;
    while (first < s->steps - 1 && !s->live[first])
        first++;
    double *rest = mem_alloc(2 * s->n, sizeof *rest), *unused = rest + s->n;
    double *to_go = mem_alloc(s->n * s->steps, sizeof *to_go);
    to_go_of(own, s, to_go);
    for (int64_t n = 0; n < s->n; n++)
        rest[n] = to_go[n * s->steps + first];
    struct signal_groups by;
    struct algo_signal samples = {.n = s->n,
                                  .reward = rest,
                                  .prompt = s->prompt,
                                  .usable = s->usable,
                                  .advantage = unused};
    signal_groups_make(&by, &samples, true);
    memset(s->advantage, 0, (size_t)(s->n * s->steps) * sizeof *s->advantage);
    memset(s->value, 0, (size_t)(s->n * s->steps) * sizeof *s->value);
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->steps && s->usable[n]; k++) {
            double v = by.group[by.of[n]].mean;
            s->value[n * s->steps + k] = v;
            if (s->live[k])
                s->advantage[n * s->steps + k] = 2 * own->alpha * (rest[n] - v);
        }
    signal_groups_free(&by);
    mem_free(rest);
    mem_free(to_go);
    return 0;
}

static int loss_tb(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    struct algo_options sum = *o;
    sum.logprob = LOGPROB_SUM;
    return surrogate_loss(&sum, CLIP_NONE, p->advantage, p, r, grad);
}

const struct algo pcl = {
    .name = "pcl",
    .help = "path consistency: squared mismatch of values and log-ratios of each step",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB | NEEDS_REFERENCE_DENSITY |
             NEEDS_STEP_ADVANTAGE,
    .own_size = sizeof(struct pcl_options),
    .read = read_options,
    .returns = returns_of,
    .steps = steps_of,
    .loss = loss_pcl,
};

const struct algo trajectory_balance = {
    .name = "trajectory_balance",
    .help = "path consistency of whole chains, a value per prompt; one update per batch",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB | NEEDS_REFERENCE_DENSITY |
             NEEDS_STEP_ADVANTAGE,
    .on_policy_only = 1,
    .by_prompt = 1,
    .own_size = sizeof(struct pcl_options),
    .read = read_options,
    .steps = steps_tb,
    .loss = loss_tb,
};
