/* Values and advantages of steps. Every rank computes what it needs from the same gathered
 * numbers in the same order, so all have the same bits. */
#include "stages/value_internal.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/algo/returns.h"

#include <math.h>
#include <string.h>

void value_destroy(struct value *v)
{
    if (v == NULL)
        return;
    value_fit_destroy(v->fit);
    value_net_destroy(v->net);
    value_features_destroy(v->features);
    mem_free(v->number);
    mem_free(v->live);
    mem_free(v->x);
    mem_free(v);
}

static struct value *create(struct task *t, const struct comm *c, int64_t iteration,
                            const struct value_samples *s)
{
    struct value *v = mem_alloc(1, sizeof *v);
    int64_t n = t->samples, steps = t->sampler.steps, size = n * steps;
    v->t = t;
    v->c = c;
    v->iteration = iteration;
    v->samples = s;
    v->number = mem_alloc(6 * size, sizeof *v->number);
    v->live = mem_alloc(steps, 1);
    v->x = mem_alloc((steps + 1) * t->d, sizeof *v->x);
    for (int64_t k = 0; k < steps; k++)
        v->live[k] = t->sampler.step[k].mask != 0;
    v->s = (struct algo_steps){.n = n,
                               .steps = steps,
                               .reward = s->reward,
                               .prompt = s->prompt,
                               .usable = s->usable,
                               .live = v->live,
                               .log_prob = v->number,
                               .log_prob_reference = v->number + size,
                               .kl_reference = v->number + 2 * size,
                               .target = v->number + 3 * size,
                               .value = v->number + 4 * size,
                               .advantage = v->number + 5 * size};
    return v;
}

void value_share(const struct value *v, int64_t rank, int64_t *first, int64_t *last)
{
    *first = v->t->shards * rank / v->c->size;
    *last = v->t->shards * (rank + 1) / v->c->size;
}

int value_gather(struct value *v, int which)
{
    struct task *t = v->t;
    int64_t steps = v->s.steps, first, last, at = 0;
    int64_t *count = mem_alloc(v->c->size, sizeof *count);
    for (int64_t r = 0; r < v->c->size; r++) {
        value_share(v, r, &first, &last);
        if (r == v->c->rank)
            at = first * t->shard_samples;
        for (int64_t s = first; s < last; s++)
            count[r] += task_shard_size(t, s);
    }
    double *all = v->number + which * v->s.n * steps;
    double *mine = mem_alloc(count[v->c->rank] * steps, sizeof *mine);
    memcpy(mine, all + at * steps, (size_t)(count[v->c->rank] * steps) * sizeof *mine);
    double start = task_now(t);
    int rc = comm_gather_all(v->c, mine, count, (size_t)steps * sizeof *all, all);
    task_spend(t, TIME_COMMUNICATION, start);
    mem_free(mine);
    mem_free(count);
    return rc;
}

/* The densities of a shard's steps. */
static int read_densities(struct value *v, int64_t shard)
{
    static const char *const name[] = {"log_prob", "log_prob_reference", "kl_reference"};
    struct task *t = v->t;
    char rel[96];
    int64_t n = task_shard_size(t, shard), steps = v->s.steps, dim[SHARD_MAX_ND];
    int nd;
    struct shard *in = task_open(t, rundir_rollout(rel, v->iteration, shard), SHARD_ROLLOUT);
    int rc = in != NULL ? 0 : -1;
    if (rc == 0 && !shard_has(in, name[1], NULL, &nd, dim))
        rc = err_set(ERR_INPUT,
                     "%s/%s: has no '%s': it was sampled for a method that needs none; %s "
                     "needs rollouts of its own",
                     t->dir, rel, name[1], t->algo->name);
    for (int i = 0; i < 3 && rc == 0; i++) {
        double *got = shard_get(in, name[i], COLUMN_F64, 2, (int64_t[]){n, steps}, NULL);
        double *to = v->number + (i * v->s.n + shard * t->shard_samples) * steps;
        if (got != NULL)
            memcpy(to, got, (size_t)(n * steps) * sizeof *to);
        else
            rc = -1;
        mem_free(got);
    }
    shard_close(in);
    return rc;
}

/* Collective. */
static int load_densities(struct value *v)
{
    int64_t first, last;
    int rc = 0;
    double start = task_now(v->t);
    value_share(v, v->c->rank, &first, &last);
    for (int64_t s = first; s < last && rc == 0; s++)
        rc = read_densities(v, s);
    start = task_spend(v->t, TIME_IO, start);
    rc = comm_agree(v->c, rc);
    task_spend(v->t, TIME_WAITING, start);
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = value_gather(v, i);
    return rc;
}

static void means(const struct value *v, double *advantage)
{
    for (int64_t i = 0; i < v->s.n; i++) {
        double sum = 0, live = 0;
        for (int64_t k = 0; k < v->s.steps; k++) {
            sum += v->s.advantage[i * v->s.steps + k];
            live += v->live[k];
        }
        advantage[i] = live > 0 ? sum / live : 0;
    }
}

struct value *value_estimate(struct task *t, const struct comm *c, int64_t iteration,
                             const struct value_samples *s, double *advantage)
{
    struct value *v = create(t, c, iteration, s);
    int rc = load_densities(v);
    if (rc == 0 && t->algo->returns != NULL) {
        rc = comm_agree(c, t->algo->returns(&t->algo_options, &v->s));
        if (rc == 0 && t->value.kind == VALUE_NONE)
            returns_baseline(&v->s, true);
        else if (rc == 0) {
            v->features = value_features_create(t);
            rc = t->value.kind == VALUE_MLP ? value_learn_net(v) : value_learn_ridge(v);
            if (rc == 0)
                returns_calibrate(&v->s, t->value.folds);
        }
    }
    if (rc == 0 && t->algo->returns != NULL)
        v->explained = returns_explained(&v->s);
    if (rc == 0)
        rc = comm_agree(c, t->algo->steps(&t->algo_options, &v->s));
    if (rc == 0) {
        means(v, advantage);
        return v;
    }
    value_destroy(v);
    return NULL;
}

static int put_fit(const struct value *v, struct shard_writer *w)
{
    int64_t n;
    const double *memory = value_fit_memory(v->fit, &n);
    const double penalty = value_fit_penalty(v->fit);
    const struct column col[] = {
        {.name = "value_memory", .type = COLUMN_F64, .nd = 1, .units = "1", .data = memory,
         .dim = {n}, .axis = {"value_sum"},
         .long_name = "sums of the regression, from which the next iteration's starts"},
        {.name = "value_penalty", .type = COLUMN_F64, .nd = 1, .units = "1",
         .data = &penalty, .dim = {1}, .axis = {"one"},
         .long_name = "penalty of the regression"},
    };
    return shard_put(w, &col[0]) != 0 ? -1 : shard_put(w, &col[1]);
}

int value_put(const struct value *v, struct shard_writer *w)
{
    int64_t m = v->s.n, steps = v->s.steps;
    const struct column col[] = {
        {.name = "step_advantage", .data = v->s.advantage, .units = "1",
         .long_name = "what the method gives each step to the update"},
        {.name = "value", .data = v->s.value, .units = v->t->reward->units,
         .long_name = "estimated value of the state from which the step starts"},
        {.name = "value_target", .data = v->s.target, .units = v->t->reward->units,
         .long_name = "what followed that state, to which the values are fitted"},
    };
    for (size_t i = 0; i < sizeof col / sizeof *col; i++) {
        struct column c = col[i];
        c.type = COLUMN_F64;
        c.nd = 2;
        c.dim[0] = m;
        c.dim[1] = steps;
        c.axis[0] = "sample";
        c.axis[1] = "step";
        if (shard_put(w, &c) != 0)
            return -1;
    }
    const struct column share = {
        .name = "value_explained", .type = COLUMN_F64, .nd = 1, .units = "1", .dim = {1},
        .axis = {"one"}, .data = &v->explained,
        .long_name = "share of the squared distance of the targets from the mean of the "
                     "other samples that the values explain"};
    if (v->t->algo->returns != NULL && shard_put(w, &share) != 0)
        return -1;
    if (v->net != NULL)
        return value_net_put(v->net, w);
    return v->fit != NULL ? put_fit(v, w) : 0;
}
