/* The chain's parts. Everything about one sample is keyed by (seed, iteration, label,
 * copy, step, candidate). */
#include "stages/search/chain.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void chain_open(struct chain *c)
{
    c->work = mem_alloc(c->micro_batch * 3 * c->d, sizeof *c->work);
    c->timesteps = mem_alloc(c->micro_batch, sizeof *c->timesteps);
    c->status = mem_alloc(c->micro_batch, sizeof *c->status);
}

void chain_close(struct chain *c)
{
    mem_free(c->work);
    mem_free(c->timesteps);
    mem_free(c->status);
}

/* A sample's own scratch among those of a batch, [3, d]. */
static float *work_of(const struct chain *c, int64_t i)
{
    return c->work + i % c->micro_batch * 3 * c->d;
}

float *chain_state(const struct chain *c, const struct draw *w, int64_t i, int64_t k)
{
    return w->latents + (i * w->states + k % w->states) * c->d;
}

void chain_noise(const struct chain *c, const struct draw *w, int64_t i,
                 int64_t candidate, int64_t step, float *z)
{
    uint64_t key =
        candidate == 0
            ? rng_key(c->seed, RNG_NOISE, w->iteration, w->label[i], w->copy[i], step)
            : rng_key(c->seed, RNG_SEARCH, w->iteration, w->label[i], w->copy[i],
                      candidate * (c->sampler->steps + 1) + step);
    rng_normal(key, z, c->d);
}

double chain_uniform(const struct chain *c, const struct draw *w, int64_t i,
                     int64_t step)
{
    return rng_uniform(
        rng_key(c->seed, RNG_SEARCH, w->iteration, w->label[i], w->copy[i], -1 - step),
        0);
}

/* One evaluation; with seed not NULL also backward, and dx. */
static int evaluate(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                    int64_t k, const float *x, float *o, const float *seed, float *dx)
{
    char phase[64];
    snprintf(phase, sizeof phase, "sample %lld step %lld", (long long)(w->first + at),
             (long long)k);
    if (c->tick != NULL && c->tick(c->tick_ctx, phase) != 0)
        return -1;
    ERR_BUG_IF(m < 1 || m > c->micro_batch);
    for (int64_t b = 0; b < m; b++)
        c->timesteps[b] = (float)c->sampler->step[k].t;
    const struct model_input in = {.batch = m,
                                   .height = c->height,
                                   .width = c->width,
                                   .x = x,
                                   .timesteps = c->timesteps,
                                   .labels = c->labelled ? w->label + at : NULL,
                                   .want_dx = seed != NULL};
    struct tensor *given = NULL;
    double start = clock_s();
    tape_begin(c->tape, seed != NULL);
    struct tensor *out =
        model_forward(c->model, c->tape, &in, seed != NULL ? &given : NULL);
    int rc = out == NULL ? -1 : 0;
    if (rc == 0 && seed != NULL)
        rc = tape_backward(c->tape, out, seed);
    c->network_s += clock_s() - start;
    if (rc == 0 && o != NULL)
        memcpy(o, out->data, (size_t)(m * c->d) * sizeof *o);
    if (rc == 0 && dx != NULL)
        model_dx(given, m, dx);
    return rc;
}

int chain_output(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                 int64_t k, const float *x, float *o)
{
    return evaluate(c, w, at, m, k, x, o, NULL, NULL);
}

int chain_output_back(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                      int64_t k, const float *x, const float *seed, float *dx)
{
    return evaluate(c, w, at, m, k, x, NULL, seed, dx);
}

/* chain_keep, where the transition's mean mu[d] is known. */
static void keep(const struct chain *c, const struct draw *w, int64_t i, int64_t k,
                 const float *mu, const float *next)
{
    memmove(chain_state(c, w, i, k + 1), next, (size_t)c->d * sizeof *next);
    w->log_prob[i * c->sampler->steps + k] =
        sampler_log_prob(c->sampler, k, c->d, mu, next);
}

void chain_keep(const struct chain *c, const struct draw *w, int64_t i, int64_t k,
                const float *o, const float *next)
{
    float *mu = work_of(c, i) + 2 * c->d;
    sampler_mean(c->sampler, k, c->d, chain_state(c, w, i, k), o, mu, NULL);
    keep(c, w, i, k, mu, next);
}

void chain_advance(const struct chain *c, const struct draw *w, int64_t i, int64_t k,
                   const float *o, int64_t candidate)
{
    float *z = work_of(c, i), *next = z + c->d, *mu = next + c->d;
    chain_noise(c, w, i, candidate, k + 1, z);
    sampler_mean(c->sampler, k, c->d, chain_state(c, w, i, k), o, mu, NULL);
    sampler_advance(c->sampler, k, c->d, mu, z, next);
    keep(c, w, i, k, mu, next);
}

int chain_walk(struct chain *c, struct draw *w, int64_t at, int64_t m,
               int64_t candidate)
{
    int64_t steps = c->sampler->steps;
    float *x = mem_alloc(2 * m * c->d, sizeof *x), *o = x + m * c->d;
    int rc = 0;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < m; b++)
        chain_noise(c, w, at + b, candidate, 0, chain_state(c, w, at + b, 0));
    for (int64_t k = 0; k < steps && rc == 0; k++) {
        for (int64_t b = 0; b < m; b++)
            memcpy(x + b * c->d, chain_state(c, w, at + b, k),
                   (size_t)c->d * sizeof *x);
        rc = chain_output(c, w, at, m, k, x, o);
#pragma omp parallel for schedule(static)
        for (int64_t b = 0; b < m; b++)
            if (rc == 0)
                chain_advance(c, w, at + b, k, o + b * c->d, candidate);
        if (rc == 0 && c->after != NULL)
            rc = c->after(c, w, at, m, k, x, o);
    }
    for (int64_t b = 0; b < m && rc == 0; b++)
        memcpy(w->sample + (at + b) * c->d, chain_state(c, w, at + b, steps),
               (size_t)c->d * sizeof *w->sample);
    mem_free(x);
    return rc;
}

int chain_score(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                const float *x, double *score, float *gradient)
{
    uint8_t *status = c->status;
    ERR_BUG_IF(m < 1 || m > c->micro_batch);
    for (int64_t b = 0; b < m; b++)
        score[b] = (double)NAN;
    const struct reward_batch batch = {.n = m,
                                       .channels = c->channels,
                                       .height = c->height,
                                       .width = c->width,
                                       .sample = x,
                                       .label = c->labelled ? w->label + at : NULL,
                                       .iteration = w->iteration,
                                       .first = w->first + at,
                                       .score = score,
                                       .status = status,
                                       .gradient = gradient};
    int rc = c->reward->score(c->reward_ctx, &batch);
    if (rc != 0)
        err_add("reward %s", c->reward->name);
    for (int64_t b = 0; b < m && rc == 0; b++) {
        if (status[b] == REWARD_OK && isfinite(score[b]))
            continue;
        score[b] = -INFINITY;
        if (gradient != NULL)
            memset(gradient + b * c->d, 0, (size_t)c->d * sizeof *gradient);
    }
    return rc;
}
