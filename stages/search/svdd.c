/* At each step but the last, several candidates for the next state; the value of one is
 * the reward of the clean sample that the network predicts from it, and one is drawn by
 * the values' weights. The winner's output of the network is that of its next step, so
 * a step costs as many evaluations as there are candidates. */
#include "stages/search/svdd.h"

#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

struct beam {
    float *now;          /* [B, d] the network's output at the states at hand */
    float *state, *next; /* [M, B, d] candidates, and the network's outputs there */
    float *clean, *mean; /* [B, d] predictions; means that nobody looks at */
    double *value;       /* [M, B] */
    double *of, *weight; /* [M] one sample's */
};

/* Candidate j of the states that follow step k, and its values. */
static int propose(struct chain *c, struct draw *w, struct beam *e, int64_t at,
                   int64_t m, int64_t k, int64_t j)
{
    const struct sampler *s = c->sampler;
    float *state = e->state + j * m * c->d, *next = e->next + j * m * c->d;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < m; b++) {
        float *x = state + b * c->d, *z = e->clean + b * c->d;
        chain_noise(c, w, at + b, j, k + 1, z);
        sampler_mean(s, k, c->d, chain_state(c, w, at + b, k), e->now + b * c->d, x,
                     NULL);
        sampler_advance(s, k, c->d, x, z, x);
    }
    if (chain_output(c, w, at, m, k + 1, state, next) != 0)
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < m; b++)
        sampler_mean(s, k + 1, c->d, state + b * c->d, next + b * c->d,
                     e->mean + b * c->d, e->clean + b * c->d);
    return chain_score(c, w, at, m, e->clean, e->value + j * m, NULL);
}

/* One of the candidates becomes state k + 1 of sample at + b. */
static void choose(struct chain *c, const struct search_options *o, struct draw *w,
                   struct beam *e, int64_t at, int64_t m, int64_t k, int64_t b)
{
    int64_t i = at + b;
    for (int64_t j = 0; j < o->candidates; j++)
        e->of[j] = e->value[j * m + b];
    search_weights(o->candidates, e->of, o->alpha, e->weight);
    int64_t j = search_pick(o->candidates, e->weight, chain_uniform(c, w, i, k + 1));
    float *now = e->now + b * c->d;
    const int64_t from = (j * m + b) * c->d;
    chain_keep(c, w, i, k, now, e->state + from);
    memcpy(now, e->next + from, (size_t)c->d * sizeof *now);
    w->cost[i] += log((double)o->candidates * e->weight[j]);
}

static int draw_batch(struct chain *c, const struct search_options *o, struct draw *w,
                      struct beam *e, int64_t at, int64_t m)
{
    int64_t last = c->sampler->steps - 1;
    for (int64_t b = 0; b < m; b++) {
        chain_noise(c, w, at + b, 0, 0, chain_state(c, w, at + b, 0));
        memcpy(e->state + b * c->d, chain_state(c, w, at + b, 0),
               (size_t)c->d * sizeof *e->state);
    }
    int rc = chain_output(c, w, at, m, 0, e->state, e->now);
    for (int64_t k = 0; k < last && rc == 0; k++) {
        /* Candidates of a step without noise are all the same. */
        int64_t number = c->sampler->step[k].mask ? o->candidates : 1;
        for (int64_t j = 0; j < number && rc == 0; j++)
            rc = propose(c, w, e, at, m, k, j);
        struct search_options here = *o;
        here.candidates = number;
        for (int64_t b = 0; b < m && rc == 0; b++)
            choose(c, &here, w, e, at, m, k, b);
    }
    for (int64_t b = 0; b < m && rc == 0; b++) {
        chain_advance(c, w, at + b, last, e->now + b * c->d, 0);
        memcpy(w->sample + (at + b) * c->d, chain_state(c, w, at + b, last + 1),
               (size_t)c->d * sizeof *w->sample);
    }
    return rc;
}

static int draw(struct chain *c, const struct search_options *o, struct draw *w)
{
    int64_t size = w->n < c->micro_batch ? w->n : c->micro_batch;
    int64_t one = size * c->d, many = o->candidates * one;
    struct beam e = {.now = mem_alloc(one, sizeof(float)),
                     .state = mem_alloc(many, sizeof(float)),
                     .next = mem_alloc(many, sizeof(float)),
                     .clean = mem_alloc(one, sizeof(float)),
                     .mean = mem_alloc(one, sizeof(float)),
                     .value = mem_alloc(o->candidates * size, sizeof(double)),
                     .of = mem_alloc(2 * o->candidates, sizeof(double))};
    e.weight = e.of + o->candidates;
    int rc = 0;
    for (int64_t at = 0; at < w->n && rc == 0; at += size)
        rc = draw_batch(c, o, w, &e, at, w->n - at < size ? w->n - at : size);
    void *const all[] = {e.now, e.state, e.next, e.clean, e.mean, e.value, e.of};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    return rc;
}

const struct search svdd = {
    .name = "svdd",
    .help = "soft value-based decoding: of search.candidates next states one, by "
            "exp(reward of the predicted sample / search.alpha)",
    .needs = SEARCH_SCORES | SEARCH_NOISE,
    .draw = draw,
};
