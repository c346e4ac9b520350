/* Ratio, clipping, KL. The ratio is exp of a difference of log-probabilities that are
 * summed in one fixed order, so it is exactly 1 while the policy is the one that sampled;
 * the KL is exactly 0 while the policy is version 0. */
#include "stages/algo/surrogate.h"

#include "io/sys/err.h"

#include <math.h>
#include <string.h>

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

double surrogate_limit(double v, double limit)
{
    return clamp(v, -limit, limit);
}

int surrogate_check(const struct algo_pair *p, const struct algo_result *r,
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

/* mu is the step's mean. The KL's slope is that of the log-density of the reference's
 * mean, with the other sign. */
void surrogate_add_kl(const struct algo_options *o, const struct algo_pair *p,
                      struct algo_result *r, float *grad)
{
    const struct sampler *s = p->sampler;
    float *mu = p->work, *other = p->work + p->d;
    double share = o->logprob == LOGPROB_MEAN ? 1 / (double)p->d : 1;
    sampler_mean(s, p->step, p->d, p->x, p->o, mu, NULL);
    sampler_mean(s, p->step, p->d, p->x, p->reference, other, NULL);
    r->kl = share * sampler_kl(s, p->step, p->d, mu, other);
    r->loss += p->weight * o->kl_weight * r->kl;
    sampler_log_prob_grad(s, p->step, p->d, p->x, p->o, other,
                          -p->weight * o->kl_weight * share, mu);
    for (int64_t j = 0; j < p->d; j++)
        grad[j] += mu[j];
}

int surrogate_add_previous(const struct algo_options *o, const struct algo_pair *p,
                           const float *previous, struct algo_result *r, float *grad)
{
    struct algo_options held = *o;
    struct algo_pair to = *p;
    double kl = r->kl;
    if (p->weight == 0 || !p->sampler->step[p->step].mask)
        return 0;
    held.kl_weight = o->kl_previous_weight;
    to.reference = previous;
    surrogate_add_kl(&held, &to, r, grad);
    r->kl_previous = r->kl;
    r->kl = kl;
    return surrogate_check(p, r, grad);
}

int surrogate_loss(const struct algo_options *o, enum surrogate_clip clip, double a,
                   const struct algo_pair *p, struct algo_result *r, float *grad)
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
    double range = clip == CLIP_NONE ? INFINITY : o->clip_range;
    sampler_mean(s, p->step, p->d, p->x, p->o, grad, NULL);
    r->log_prob = sampler_log_prob(s, p->step, p->d, grad, p->next);
    double log_ratio = (r->log_prob - p->log_prob_old) * share;
    r->ratio = exp(log_ratio);
    r->approx_kl = 0.5 * log_ratio * log_ratio;
    r->clipped = fabs(r->ratio - 1) > range;
    double free_loss = -a * r->ratio;
    double held_loss = -a * clamp(r->ratio, 1 - range, 1 + range);
    /* where it is held, the ratio is constant in the loss */
    bool held = clip == CLIP_BOTH ? r->clipped : held_loss > free_loss;
    r->loss = p->weight * (held ? held_loss : free_loss);
    sampler_log_prob_grad(s, p->step, p->d, p->x, p->o, p->next,
                          held ? 0 : -p->weight * a * r->ratio * share, grad);
    if (o->kl_weight > 0)
        surrogate_add_kl(o, p, r, grad);
    return surrogate_check(p, r, grad);
}

int surrogate_pessimistic(const struct algo_options *o, const struct algo_pair *p,
                          struct algo_result *r, float *grad)
{
    double a = surrogate_limit(p->advantage, o->adv_clip);
    return surrogate_loss(o, CLIP_PESSIMISTIC, a, p, r, grad);
}
