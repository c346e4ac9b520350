/* Learned rewards. Heads: greedy and ucb have one, the posterior's mean; thompson has the
 * draw beside it; bootstrap has its resamples'. */
#include "stages/reward/learned.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/linalg/dense.h"
#include "stages/reward/features.h"

#include <math.h>
#include <string.h>

enum kind { GREEDY, UCB, BOOTSTRAP, THOMPSON };

struct learned {
    enum kind kind;
    uint64_t seed;
    int64_t d, period, rounds, queries; /* queries 0: all */
    double noise, lambda, bonus;
    int64_t heads;
    struct features *features;
    struct ridge *model;
    double offset;
    double *phi, *work, *g; /* [m] */
};

int learned_open(const struct reward_scene *s, struct learned **out)
{
    static const char *const kinds[] = {"greedy", "ucb", "bootstrap", "thompson"};
    const struct config *c = s->config;
    *out = NULL;
    if (config_is(c, "surrogate.kind", "none"))
        return 0;
    struct learned *l = mem_alloc(1, sizeof *l);
    while (!config_is(c, "surrogate.kind", kinds[l->kind]))
        l->kind++;
    l->seed = s->seed;
    l->d = s->channels * s->height * s->width;
    l->period = config_int(c, "surrogate.period");
    l->rounds = config_int(c, "surrogate.rounds");
    l->queries = config_is(c, "surrogate.queries", "auto")
                     ? 0
                     : config_int(c, "surrogate.queries");
    l->noise = config_real(c, "surrogate.noise");
    l->lambda = config_real(c, "surrogate.lambda");
    l->bonus = config_real(c, "surrogate.bonus");
    l->heads = l->kind == BOOTSTRAP  ? config_int(c, "surrogate.heads")
               : l->kind == THOMPSON ? 2
                                     : 1;
    l->features = features_create(s);
    if (l->features == NULL) {
        learned_close(l);
        return -1;
    }
    int64_t m = features_count(l->features);
    l->phi = mem_alloc(m, sizeof *l->phi);
    l->work = mem_alloc(m, sizeof *l->work);
    l->g = mem_alloc(m, sizeof *l->g);
    *out = l;
    return 0;
}

void learned_close(struct learned *l)
{
    if (l == NULL)
        return;
    features_destroy(l->features);
    ridge_destroy(l->model);
    mem_free(l->phi);
    mem_free(l->work);
    mem_free(l->g);
    mem_free(l);
}

bool learned_asks(const struct learned *l, int64_t iteration)
{
    return iteration % l->period == 0 && iteration / l->period < l->rounds;
}

int64_t learned_asked(const struct learned *l, int64_t n)
{
    return l->queries > 0 && l->queries < n ? l->queries : n;
}

int64_t learned_round(const struct learned *l, int64_t iteration)
{
    int64_t round = iteration / l->period;
    return round < l->rounds ? round : l->rounds - 1;
}

double learned_noise(const struct learned *l, int64_t iteration, int64_t sample)
{
    float z;
    rng_normal(rng_key(l->seed, RNG_QUERY, iteration, sample, 0, 1), &z, 1);
    return l->noise > 0 ? l->noise * (double)z : 0;
}

void learned_size(const struct learned *l, int64_t *m, int64_t *k, bool *factor)
{
    *m = features_count(l->features);
    *k = l->heads;
    *factor = l->kind == UCB;
}

/* ridge_rows_f's ctx: rows with weights (NULL: 1). */
struct rows {
    const struct learned *l;
    const struct learned_data *data;
    double offset;
    const int64_t *times;
};

static int fill(void *ctx, int64_t first, int64_t n, double *phi, double *y,
                double *weight)
{
    const struct rows *r = ctx;
    int64_t m = features_count(r->l->features);
    for (int64_t i = 0; i < n; i++) {
        features_of(r->l->features, r->data->sample + (first + i) * r->l->d, phi + i * m);
        y[i] = r->data->answer[first + i] - r->offset;
        if (r->times != NULL)
            weight[i] = (double)r->times[first + i];
    }
    return 0;
}

static struct ridge *fit_rows(const struct comm *c, struct rows *rows, bool factor)
{
    const struct ridge_problem p = {
        .rows = rows->data->n,
        .m = features_count(rows->l->features),
        .k = 1,
        .lambda = rows->l->lambda,
        .factor = factor,
        .fill = fill,
        .ctx = rows,
    };
    return ridge_fit(c, &p);
}

static int fit_heads(struct learned *l, const struct comm *c, int64_t round,
                     struct rows *rows, struct ridge *out)
{
    int64_t n = rows->data->n;
    int64_t *times = mem_alloc(n, sizeof *times);
    int rc = 0;
    rows->times = times;
    for (int64_t h = 0; h < l->heads && rc == 0; h++) {
        uint64_t key = rng_key(l->seed, RNG_FEATURES, 2, round, h, 0);
        memset(times, 0, (size_t)n * sizeof *times);
        for (int64_t i = 0; i < n; i++)
            times[rng_below(key, i, n)]++;
        struct ridge *r = fit_rows(c, rows, false);
        if (r == NULL)
            rc = -1;
        else
            memcpy(out->w + h * out->m, r->w, (size_t)out->m * sizeof *r->w);
        ridge_destroy(r);
    }
    mem_free(times);
    return rc;
}

static int fit_one(struct learned *l, const struct comm *c, int64_t round,
                   struct rows *rows, struct ridge *out)
{
    struct ridge *r = fit_rows(c, rows, l->kind != GREEDY);
    if (r == NULL)
        return -1;
    memcpy(out->w, r->w, (size_t)out->m * sizeof *r->w);
    if (out->factor != NULL)
        memcpy(out->factor, r->factor, (size_t)dense_packed(out->m) * sizeof *r->factor);
    if (l->kind == THOMPSON) {
        float *z = mem_alloc(out->m, sizeof *z);
        rng_normal(rng_key(l->seed, RNG_FEATURES, 3, round, 0, 0), z, out->m);
        for (int64_t i = 0; i < out->m; i++)
            l->g[i] = (double)z[i];
        ridge_draw(r, 0, l->bonus, l->g, out->w + out->m);
        mem_free(z);
    }
    ridge_destroy(r);
    return 0;
}

int learned_fit(struct learned *l, const struct comm *c, int64_t round,
                const struct learned_data *data)
{
    int64_t m, k;
    bool factor;
    double sum = 0;
    if (data->n == 0)
        return err_set(ERR_REWARD, "surrogate: not one answer of the reward to learn from");
    learned_size(l, &m, &k, &factor);
    for (int64_t i = 0; i < data->n; i++)
        sum += data->answer[i];
    struct rows rows = {.l = l, .data = data, .offset = sum / (double)data->n};
    struct ridge *r = ridge_create(m, k, factor);
    int rc = l->kind == BOOTSTRAP ? fit_heads(l, c, round, &rows, r)
                                  : fit_one(l, c, round, &rows, r);
    if (rc != 0) {
        ridge_destroy(r);
        return err_add("surrogate: fit to %lld answers", (long long)data->n);
    }
    learned_restore(l, r, rows.offset);
    return 0;
}

const struct ridge *learned_model(const struct learned *l, double *offset)
{
    *offset = l->offset;
    return l->model;
}

void learned_restore(struct learned *l, struct ridge *r, double offset)
{
    ridge_destroy(l->model);
    l->model = r;
    l->offset = offset;
}

/* Which head is the optimistic one, its value and the mean's. */
static int64_t best_head(const struct learned *l, double *value, double *mean)
{
    int64_t best = l->kind == THOMPSON ? 1 : 0;
    double sum = 0;
    *value = ridge_mean(l->model, best, l->phi);
    *mean = l->kind == THOMPSON ? ridge_mean(l->model, 0, l->phi) : *value;
    if (l->kind != BOOTSTRAP)
        return best;
    for (int64_t h = 0; h < l->heads; h++) {
        double v = ridge_mean(l->model, h, l->phi);
        sum += v;
        if (v > *value) {
            *value = v;
            best = h;
        }
    }
    *mean = sum / (double)l->heads;
    return best;
}

double learned_value(const struct learned *l, const float *x, double *bonus,
                     float *gradient)
{
    int64_t m = l->model->m;
    double value, mean, std = 0;
    features_of(l->features, x, l->phi);
    int64_t head = best_head(l, &value, &mean);
    *bonus = value - mean;
    if (l->kind == UCB) {
        std = ridge_std(l->model, l->phi, l->work);
        *bonus = l->bonus * std;
        value = mean + *bonus;
    }
    if (gradient == NULL)
        return value + l->offset;
    if (l->kind == UCB)
        ridge_std_gradient(l->model, std, l->work, l->g);
    for (int64_t i = 0; i < m; i++)
        l->g[i] = l->model->w[head * m + i] + (l->kind == UCB ? l->bonus * l->g[i] : 0);
    features_pull(l->features, x, l->g, gradient);
    return value + l->offset;
}

void learned_score(const struct learned *l, const struct reward_batch *b, double *mean,
                   double *bonus)
{
    for (int64_t i = 0; i < b->n; i++) {
        double extra, v = learned_value(l, b->sample + i * l->d, &extra,
                                        b->gradient != NULL ? b->gradient + i * l->d : NULL);
        b->score[i] = v;
        b->status[i] = isfinite(v) ? REWARD_OK : REWARD_NON_FINITE;
        if (mean != NULL)
            mean[i] = v - extra;
        if (bonus != NULL)
            bonus[i] = extra;
    }
}
