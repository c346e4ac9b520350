/* One pair of an update with random contents, for tests of methods' losses, and the
 * gradient of its loss by differences. */
#ifndef SLUICE_TESTS_SCENE_H
#define SLUICE_TESTS_SCENE_H

#include "io/sys/err.h"
#include "io/sys/rng.h"
#include "stages/algo/algo.h"
#include "tests/tap.h"

#define SCENE_D 48
#define SCENE_STEP 10

struct scene {
    struct schedule schedule;
    struct sampler sampler;
    float x[SCENE_D], o[SCENE_D], next[SCENE_D], reference[SCENE_D], behaviour[SCENE_D];
    float clean[SCENE_D], target[SCENE_D], work[2 * SCENE_D], grad[SCENE_D];
    double log_prob; /* of next */
    struct algo_pair pair;
};

/* A live step (10 of 20, the last one is masked) and, unless `chain`, a noised sample at
 * that step's timestep. Outputs of other versions lie near the network's. */
static inline void scene_open(struct scene *s, uint64_t key, bool chain)
{
    float z[SCENE_D], mu[SCENE_D];
    *s = (struct scene){0};
    if (schedule_read(&s->schedule, NULL) != 0 ||
        sampler_init(&s->sampler, &s->schedule,
                     &(struct sampler_options){
                         .steps = 20, .eta = 1, .spacing = -1, .clip_sample = 0}) != 0)
        ERR_BUG("%s", err_text());
    rng_normal(key, s->x, SCENE_D);
    rng_normal(key + 1, s->o, SCENE_D);
    rng_normal(key + 2, z, SCENE_D);
    rng_normal(key + 3, s->reference, SCENE_D);
    rng_normal(key + 4, s->behaviour, SCENE_D);
    rng_normal(key + 5, s->clean, SCENE_D);
    for (int j = 0; j < SCENE_D; j++) {
        s->reference[j] = s->o[j] + 0.2f * s->reference[j];
        s->behaviour[j] = s->o[j] + 0.2f * s->behaviour[j];
    }
    sampler_mean(&s->sampler, SCENE_STEP, SCENE_D, s->x, s->o, mu, NULL);
    sampler_advance(&s->sampler, SCENE_STEP, SCENE_D, mu, z, s->next);
    s->log_prob = sampler_log_prob(&s->sampler, SCENE_STEP, SCENE_D, mu, s->next);
    s->pair = (struct algo_pair){.sampler = &s->sampler,
                                 .step = SCENE_STEP,
                                 .d = SCENE_D,
                                 .x = s->x,
                                 .o = s->o,
                                 .reference = s->reference,
                                 .behaviour = s->behaviour,
                                 .work = s->work,
                                 .advantage = 1,
                                 .weight = 1};
    if (chain) {
        s->pair.next = s->next;
        s->pair.log_prob_old = s->log_prob;
        return;
    }
    int64_t t = s->sampler.step[SCENE_STEP].t;
    schedule_add_noise(&s->schedule, t, s->clean, z, s->x, s->target, SCENE_D);
    s->pair.clean = s->clean;
    s->pair.target = s->target;
    s->pair.alpha_bar = (double)s->schedule.alpha_bar[t];
}

static inline void scene_close(struct scene *s)
{
    sampler_free(&s->sampler);
    schedule_free(&s->schedule);
}

/* The stored log-probability that gives this ratio of means. */
static inline void scene_ratio(struct scene *s, double log_ratio_mean)
{
    s->pair.log_prob_old = s->log_prob - SCENE_D * log_ratio_mean;
}

static inline struct algo_result scene_loss(struct scene *s, const struct algo *a,
                                            const struct algo_options *o)
{
    struct algo_result r;
    if (a->loss(o, &s->pair, &r, s->grad) != 0)
        ERR_BUG("%s", err_text());
    return r;
}

static inline double scene_norm(const float *v)
{
    double sum = 0;
    for (int j = 0; j < SCENE_D; j++)
        sum += (double)v[j] * (double)v[j];
    return sqrt(sum);
}

/* Is grad the loss's derivative by o? Central differences, in double from the floats that
 * o takes on. */
static inline void scene_differences(struct scene *s, const struct algo *a,
                                     const struct algo_options *o, const char *what)
{
    float grad[SCENE_D];
    double worst = 0;
    scene_loss(s, a, o);
    memcpy(grad, s->grad, sizeof grad);
    for (int j = 0; j < SCENE_D; j++) {
        float keep = s->o[j], up = keep + 1e-3f, down = keep - 1e-3f;
        s->o[j] = up;
        double high = scene_loss(s, a, o).loss;
        s->o[j] = down;
        double low = scene_loss(s, a, o).loss;
        s->o[j] = keep;
        worst = fmax(worst, fabs((high - low) / (double)(up - down) - (double)grad[j]));
    }
    tap_ok(scene_norm(grad) > 0 && worst < 2e-3 * scene_norm(grad),
           "%s, %s: gradient %.3g, differences within %.3g", a->name, what,
           scene_norm(grad), worst);
}

#endif
