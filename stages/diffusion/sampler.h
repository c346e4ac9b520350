/* Samplers as Markov chains: explicit (t, p) pairs, the transition's mean, its standard
 * deviation, and its density. After Song et al. 2021
 * (DDIM), Ho et al. 2020 (DDPM ancestral).
 *
 * Arrays hold one sample of d elements. Means are float arithmetic in the peer's order
 * of operations. Log-densities are sums in double in one fixed order, which depends on
 * d alone: element j goes to lane j mod 8, lanes are summed pairwise. All functions of
 * a step are pure, so the same sample has the same bits in rollout and update. */
#ifndef SLUICE_STAGES_DIFFUSION_SAMPLER_H
#define SLUICE_STAGES_DIFFUSION_SAMPLER_H

#include "stages/diffusion/schedule.h"

enum sampler_kind { SAMPLER_DDIM, SAMPLER_DDPM };

struct sampler_options {
    enum sampler_kind kind;
    int64_t steps;
    double eta;       /* DDIM only: 0 deterministic .. 1 */
    double sigma_min; /* steps with sigma <= this are made deterministic: masked */
    /* Land a step that would pass the end on p = 0 (the DDPO family's clamp).
     * Without it DDIM lands on diffusers' final_alpha_cumprod and DDPM on 1. A
     * DDPM step from t = 0 always goes to the clean sample. */
    bool clamp_last;
    int spacing;     /* -1: the schedule's, else enum schedule_spacing */
    int clip_sample; /* -1: the schedule's, else 0 or 1 */
};

/* One step; the table is stored in every rollout shard. Plain data. */
struct sampler_step {
    int64_t t, p;       /* from timestep t to p; p may be negative at the last step */
    float abar, abar_p; /* alpha-bar at t and at p */
    float sigma;        /* standard deviation of the transition; 0 where masked */
    int mask;           /* 1: has a density and takes part in log-prob, loss, KL */
    float kl_weight; /* S: KL of one step = S * |d o|^2, o the network's output, where
                      * nothing is clipped (0 where masked) */
};

struct sampler {
    enum sampler_kind kind;
    enum schedule_prediction prediction;
    bool clip_sample, thresholding;
    float clip_range, threshold_ratio, sample_max;
    int64_t steps;
    struct sampler_step *step; /* [steps] */
    int64_t live_steps;        /* with mask 1 */
};

/* 0 or -1 (ERR_USAGE: steps out of range, a combination that has no meaning such as
 * epsilon prediction at abar = 0, named). */
int sampler_init(struct sampler *s, const struct schedule *schedule,
                 const struct sampler_options *o);
void sampler_free(struct sampler *s);

/* mu[d] of step i from state x[d] and network output o[d]; x0[d] (may be NULL) receives
 * the predicted clean sample. */
void sampler_mean(const struct sampler *s, int64_t i, int64_t d, const float *x,
                  const float *o, float *mu, float *x0);

/* next = mu + sigma z (next = mu where masked). */
void sampler_advance(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                     const float *z, float *next);

/* log N(next; mu, sigma^2 I) summed over the d elements, in double; 0 where masked. */
double sampler_log_prob(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                        const float *next);

/* KL of two transitions with these means, |mu - other|^2 / (2 sigma^2), summed over the d
 * elements in double, in nats; 0 where masked. */
double sampler_kl(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                  const float *other);

/* d mu / d x at fixed o and d mu / d o at fixed x of step i, in *by_x and *by_o: the same
 * numbers for all elements, and each element by itself, where nothing is clipped (a bug
 * of the caller elsewhere: see sampler_clips). */
void sampler_slopes(const struct sampler *s, int64_t i, float *by_x, float *by_o);

/* Whether the predicted clean sample is clipped or thresholded. */
bool sampler_clips(const struct sampler *s);

/* grad[d] = scale * d log_prob_sum / d o, for the mean as sampler_mean computes it
 * (clipped elements lose the x0 path); 0 where masked. */
void sampler_log_prob_grad(const struct sampler *s, int64_t i, int64_t d,
                           const float *x, const float *o, const float *next,
                           double scale, float *grad);

#endif
