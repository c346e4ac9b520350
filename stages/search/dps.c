/* At each step, with x0 = a x + b o the predicted clean sample (a and b are numbers where
 * nothing is clipped) and g = dr / dx0, the slope of the reward by the state is
 * a g + (d o / d x)' b g. The noise prediction moves by -weight sqrt(1 - abar) times it,
 * which moves x0 by weight (1 - abar) / sqrt(abar), and o by that over b. */
#include "stages/search/dps.h"

#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

struct guide {
    float *x, *o;        /* [B, d] states and the network's outputs there */
    float *clean, *mean; /* [B, d] predicted samples, then scratch; unguided means */
    float *slope, *seed; /* [B, d] d reward / d state; scratch */
    double *score;       /* [B] */
};

/* d x0 / d x and d x0 / d o. */
static void clean_slopes(const struct sampler *s, int64_t k, float *a, float *b)
{
    const float one = 1, zero = 0;
    float mean;
    sampler_mean(s, k, 1, &one, &zero, &mean, a);
    sampler_mean(s, k, 1, &zero, &one, &mean, b);
}

/* g->slope <- d r / d x at the states g->x, o unguided in g->o. */
static int find_slope(struct chain *c, const struct draw *w, struct guide *g, int64_t at,
                      int64_t m, int64_t k)
{
    float a, b;
    clean_slopes(c->sampler, k, &a, &b);
    if (chain_output(c, w, at, m, k, g->x, g->o) != 0)
        return -1;
    for (int64_t i = 0; i < m; i++)
        sampler_mean(c->sampler, k, c->d, g->x + i * c->d, g->o + i * c->d,
                     g->mean + i * c->d, g->clean + i * c->d);
    if (chain_score(c, w, at, m, g->clean, g->score, g->seed) != 0)
        return -1;
    for (int64_t j = 0; j < m * c->d; j++) {
        g->clean[j] = g->seed[j]; /* now the reward's gradient */
        g->seed[j] *= b;
    }
    if (chain_output_back(c, w, at, m, k, g->x, g->seed, g->slope) != 0)
        return -1;
    for (int64_t j = 0; j < m * c->d; j++)
        g->slope[j] += a * g->clean[j];
    return 0;
}

/* Sample at + i goes on from state k along the guided output. */
static void advance(const struct chain *c, double weight, struct draw *w, struct guide *g,
                    int64_t at, int64_t i, int64_t k)
{
    const struct sampler_step *step = &c->sampler->step[k];
    const double abar = (double)step->abar;
    float a, b, *x = g->x + i * c->d, *o = g->o + i * c->d, *clean = g->clean + i * c->d;
    float *plain = g->mean + i * c->d, *bent = g->seed + i * c->d;
    clean_slopes(c->sampler, k, &a, &b);
    const double move = weight * (1 - abar) / sqrt(abar) / (double)b;
    for (int64_t j = 0; j < c->d; j++)
        bent[j] = (float)((double)o[j] + move * (double)g->slope[i * c->d + j]);
    sampler_mean(c->sampler, k, c->d, x, bent, clean, NULL); /* clean: the guided mean */
    w->cost[at + i] += sampler_kl(c->sampler, k, c->d, clean, plain);
    chain_noise(c, w, at + i, 0, k + 1, bent);
    sampler_advance(c->sampler, k, c->d, clean, bent, x);
    chain_keep(c, w, at + i, k, o, x);
}

static int draw_batch(struct chain *c, double weight, struct draw *w, struct guide *g,
                      int64_t at, int64_t m)
{
    const int64_t steps = c->sampler->steps;
    int rc = 0;
    for (int64_t i = 0; i < m; i++) {
        chain_noise(c, w, at + i, 0, 0, g->x + i * c->d);
        memcpy(chain_state(c, w, at + i, 0), g->x + i * c->d,
               (size_t)c->d * sizeof *g->x);
    }
    for (int64_t k = 0; k < steps && rc == 0; k++) {
        rc = find_slope(c, w, g, at, m, k);
        for (int64_t i = 0; i < m && rc == 0; i++)
            advance(c, weight, w, g, at, i, k);
    }
    if (rc == 0)
        memcpy(w->sample + at * c->d, g->x, (size_t)(m * c->d) * sizeof *g->x);
    return rc;
}

static int draw(struct chain *c, const struct search_options *o, struct draw *w)
{
    const int64_t size = w->n < c->micro_batch ? w->n : c->micro_batch, n = size * c->d;
    float *all = mem_alloc(6 * n, sizeof *all);
    struct guide g = {.x = all,
                      .o = all + n,
                      .clean = all + 2 * n,
                      .mean = all + 3 * n,
                      .slope = all + 4 * n,
                      .seed = all + 5 * n,
                      .score = mem_alloc(size, sizeof(double))};
    int rc = 0;
    for (int64_t at = 0; at < w->n && rc == 0; at += size)
        rc = draw_batch(c, o->weight, w, &g, at, w->n - at < size ? w->n - at : size);
    mem_free(all);
    mem_free(g.score);
    return rc;
}

const struct search dps = {
    .name = "dps",
    .help = "reconstruction (classifier) guidance: each step bent by search.weight times the "
            "reward's gradient through the predicted sample",
    .needs = SEARCH_SCORES | SEARCH_GRADIENT,
    .draw = draw,
};
