/* DDPO. The ratio is exp of a difference of log-probabilities that are summed in one
 * fixed order, so it is exactly 1 while the policy is the one that sampled. */
#include "stages/algo/ddpo.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

static int check_rewards(const struct algo_signal *s)
{
    for (int64_t i = 0; i < s->n; i++)
        if (s->usable[i] && !isfinite(s->reward[i]))
            return err_set(ERR_NUMERIC,
                           "reward of sample %lld is not finite but its status is ok",
                           (long long)i);
    return 0;
}

/* Unusable samples enter no mean: the others are packed together first. */
static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    if (check_rewards(s) != 0)
        return -1;
    double *reward = mem_alloc(2 * s->n, sizeof *reward), *adv = reward + s->n;
    const char **prompt = mem_alloc(s->n, sizeof *prompt);
    int64_t used = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (s->usable[i]) {
            reward[used] = s->reward[i];
            prompt[used++] = o->baseline == BASELINE_TRACKER ? s->prompt[i] : NULL;
        }
    if (o->baseline == BASELINE_TRACKER)
        tracker_update(tracker, used, prompt, reward, adv);
    else
        tracker_batch(used, reward, adv);
    used = 0;
    for (int64_t i = 0; i < s->n; i++)
        s->advantage[i] = s->usable[i] ? adv[used++] : 0;
    mem_free(prompt);
    mem_free(reward);
    return 0;
}

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static int check_finite(const struct algo_pair *p, const struct algo_result *r,
                        const float *grad)
{
    float worst = 0;
    for (int64_t j = 0; j < p->d; j++)
        worst += grad[j] * 0.0f; /* NaN from any infinity or NaN */
    if (worst == 0 && isfinite(r->log_prob) && isfinite(r->ratio) && isfinite(r->loss))
        return 0;
    return err_set(ERR_NUMERIC,
                   "step %lld: log-probability %g (stored: %g), ratio %g, loss %g%s; the policy "
                   "moved too far in one iteration: lower update.lr or "
                   "update.inner_epochs, or use algorithm.logprob=mean",
                   (long long)p->step, r->log_prob, p->log_prob_old, r->ratio, r->loss,
                   worst == 0 ? "" : ", and a gradient that is not finite");
}

/* Pairs without a weight may hold anything (padding, samples without a reward), so they
 * are not looked at. */
static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   double range, struct algo_result *r, float *grad)
{
    const struct sampler *s = p->sampler;
    *r = (struct algo_result){.log_prob = p->log_prob_old, .ratio = 1};
    memset(grad, 0, (size_t)p->d * sizeof *grad);
    if (p->weight == 0)
        return 0;
    if (!s->step[p->step].mask) {
        r->log_prob = 0;
        return 0;
    }
    double share = o->logprob == LOGPROB_MEAN ? 1 / (double)p->d : 1;
    double a = clamp(p->advantage, -o->adv_clip, o->adv_clip);
    sampler_mean(s, p->step, p->d, p->x, p->o, grad, NULL);
    r->log_prob = sampler_log_prob(s, p->step, p->d, grad, p->next);
    double log_ratio = (r->log_prob - p->log_prob_old) * share;
    r->ratio = exp(log_ratio);
    r->approx_kl = 0.5 * log_ratio * log_ratio;
    r->clipped = fabs(r->ratio - 1) > range;
    double free_loss = -a * r->ratio;
    double held_loss = -a * clamp(r->ratio, 1 - range, 1 + range);
    bool held = held_loss > free_loss; /* then the ratio is constant in the loss */
    r->loss = p->weight * (held ? held_loss : free_loss);
    sampler_log_prob_grad(s, p->step, p->d, p->x, p->o, p->next,
                          held ? 0 : -p->weight * a * r->ratio * share, grad);
    return check_finite(p, r, grad);
}

static int loss_is(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    return loss_of(o, p, o->clip_range, r, grad);
}

static int loss_sf(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    return loss_of(o, p, INFINITY, r, grad);
}

const struct algo ddpo_sf = {
    .name = "ddpo_sf",
    .help = "DDPO, score function: one update per batch, strictly on policy",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .on_policy_only = 1,
    .signal = signal_of,
    .loss = loss_sf,
};

const struct algo ddpo_is = {
    .name = "ddpo_is",
    .help = "DDPO, importance sampling: clipped ratio, several updates per batch",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .signal = signal_of,
    .loss = loss_is,
};
