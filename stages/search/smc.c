/* Sequential Monte Carlo. A group of particles are a shard's samples of one label. The
 * value of a state is the reward of the predicted clean sample; weights telescope to
 * exp(reward / alpha), and the last resampling leaves equal weights. Particle i's noise
 * is sample i's own, whoever its ancestors are. */
#include "stages/search/smc.h"

#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

struct cloud {
    const struct search_options *o;
    float *x, *out, *clean,
        *mean;            /* [n, d] states, the network's outputs, predictions */
    double *value, *last; /* [n] of the states at hand and of those before */
    double *log_weight;   /* [n] */
    int64_t *ancestor;    /* [n] */
    /* one group's */
    int64_t *member, *index;    /* [n] */
    double *of, *weight, *cost; /* [n] */
    float *copy;                /* [n, states, d] */
    double *log_prob;           /* [n, steps] */
};

/* The samples of one label, from sample `first` of it on; 0 where an earlier one is. */
static int64_t members(const struct draw *w, int64_t first, int64_t *member)
{
    int64_t n = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (w->label[i] != w->label[first])
            continue;
        if (i < first)
            return 0;
        member[n++] = i;
    }
    return n;
}

/* Histories up to state k move to their heirs. */
static void inherit(const struct chain *c, struct draw *w, struct cloud *e, int64_t n)
{
    int64_t row = w->states * c->d, steps = c->sampler->steps;
    for (int64_t g = 0; g < n; g++) {
        int64_t from = e->member[e->index[g]];
        memcpy(e->copy + g * row, chain_state(c, w, from, 0),
               (size_t)row * sizeof(float));
        memcpy(e->log_prob + g * steps, w->log_prob + from * steps,
               (size_t)steps * sizeof(double));
        e->cost[g] = w->cost[from] + log((double)n * e->weight[e->index[g]]);
    }
    for (int64_t g = 0; g < n; g++) {
        int64_t i = e->member[g];
        memcpy(chain_state(c, w, i, 0), e->copy + g * row, (size_t)row * sizeof(float));
        memcpy(w->log_prob + i * steps, e->log_prob + g * steps,
               (size_t)steps * sizeof(double));
        w->cost[i] = e->cost[g];
        e->ancestor[i] = e->member[e->index[g]];
    }
}

/* Resamples one group at state k where its weights are uneven (or it is the end). */
static void resample(struct chain *c, struct draw *w, struct cloud *e, int64_t n,
                     int64_t k)
{
    double square = 0;
    bool end = k == c->sampler->steps, known = false;
    for (int64_t g = 0; g < n; g++) {
        e->of[g] = e->log_weight[e->member[g]];
        known |= isfinite(e->of[g]);
    }
    for (int64_t g = 0; g < n && !known; g++) /* nothing to tell them apart */
        e->log_weight[e->member[g]] = 0;
    if (!known)
        return;
    search_weights(n, e->of, 1, e->weight);
    for (int64_t g = 0; g < n; g++)
        square += e->weight[g] * e->weight[g];
    if (!end && !(1 / square < e->o->resample * (double)n))
        return;
    search_systematic(n, e->weight, chain_uniform(c, w, e->member[0], k), e->index);
    inherit(c, w, e, n);
    for (int64_t g = 0; g < n; g++)
        e->log_weight[e->member[g]] = 0;
}

/* The weights of all groups at state k, whose values are known; then resampling. */
static void weigh(struct chain *c, struct draw *w, struct cloud *e, int64_t k)
{
    for (int64_t i = 0; i < w->n; i++) {
        double before = isfinite(e->last[i]) ? e->last[i] : 0;
        e->log_weight[i] += (e->value[i] - before) / e->o->alpha;
        e->ancestor[i] = i;
    }
    for (int64_t i = 0; i < w->n; i++) {
        int64_t n = members(w, i, e->member);
        if (n > 1)
            resample(c, w, e, n, k);
    }
    for (int64_t i = 0; i < w->n; i++)
        e->last[i] = e->value[e->ancestor[i]];
}

/* Outputs and values of the states k of all samples. */
static int look(struct chain *c, struct draw *w, struct cloud *e, int64_t k)
{
    for (int64_t at = 0; at < w->n; at += c->micro_batch) {
        int64_t m = w->n - at < c->micro_batch ? w->n - at : c->micro_batch;
        float *x = e->x + at * c->d, *out = e->out + at * c->d,
              *clean = e->clean + at * c->d, *mean = e->mean + at * c->d;
        for (int64_t b = 0; b < m; b++)
            memcpy(x + b * c->d, chain_state(c, w, at + b, k),
                   (size_t)c->d * sizeof *x);
        if (chain_output(c, w, at, m, k, x, out) != 0)
            return -1;
#pragma omp parallel for schedule(static)
        for (int64_t b = 0; b < m; b++)
            sampler_mean(c->sampler, k, c->d, x + b * c->d, out + b * c->d,
                         mean + b * c->d, clean + b * c->d);
        if (chain_score(c, w, at, m, clean, e->value + at, NULL) != 0)
            return -1;
    }
    return 0;
}

/* Scores of the final samples. */
static int look_last(struct chain *c, struct draw *w, struct cloud *e)
{
    for (int64_t i = 0; i < w->n; i++)
        memcpy(e->x + i * c->d, chain_state(c, w, i, c->sampler->steps),
               (size_t)c->d * sizeof *e->x);
    for (int64_t at = 0; at < w->n; at += c->micro_batch) {
        int64_t m = w->n - at < c->micro_batch ? w->n - at : c->micro_batch;
        if (chain_score(c, w, at, m, e->x + at * c->d, e->value + at, NULL) != 0)
            return -1;
    }
    return 0;
}

static int walk_cloud(struct chain *c, struct draw *w, struct cloud *e)
{
    int64_t steps = c->sampler->steps;
    for (int64_t i = 0; i < w->n; i++)
        chain_noise(c, w, i, 0, 0, chain_state(c, w, i, 0));
    for (int64_t k = 0; k < steps; k++) {
        if (look(c, w, e, k) != 0)
            return -1;
        weigh(c, w, e, k);
        for (int64_t i = 0; i < w->n; i++)
            chain_advance(c, w, i, k, e->out + e->ancestor[i] * c->d, 0);
    }
    if (look_last(c, w, e) != 0)
        return -1;
    weigh(c, w, e, steps);
    for (int64_t i = 0; i < w->n; i++)
        memcpy(w->sample + i * c->d, chain_state(c, w, i, steps),
               (size_t)c->d * sizeof *w->sample);
    return 0;
}

static int draw(struct chain *c, const struct search_options *o, struct draw *w)
{
    int64_t n = w->n, steps = c->sampler->steps;
    struct cloud e = {.o = o};
    e.x = mem_alloc(4 * n * c->d, sizeof *e.x);
    e.out = e.x + n * c->d;
    e.clean = e.out + n * c->d;
    e.mean = e.clean + n * c->d;
    e.value = mem_alloc(6 * n, sizeof *e.value);
    e.last = e.value + n;
    e.log_weight = e.last + n;
    e.of = e.log_weight + n;
    e.weight = e.of + n;
    e.cost = e.weight + n;
    e.ancestor = mem_alloc(3 * n, sizeof *e.ancestor);
    e.member = e.ancestor + n;
    e.index = e.member + n;
    e.copy = mem_alloc(n * w->states * c->d, sizeof *e.copy);
    e.log_prob = mem_alloc(n * steps, sizeof *e.log_prob);
    int rc = walk_cloud(c, w, &e);
    mem_free(e.x);
    mem_free(e.value);
    mem_free(e.ancestor);
    mem_free(e.copy);
    mem_free(e.log_prob);
    return rc;
}

const struct search smc = {
    .name = "smc",
    .help =
        "sequential Monte Carlo: samples of a prompt are resampled along the chain by "
        "exp(rise of the predicted sample's reward / search.alpha)",
    .needs = SEARCH_SCORES | SEARCH_GROUP | SEARCH_NOISE,
    .draw = draw,
};
