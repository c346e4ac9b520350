/* How the values of states are learned from the iteration's targets: a regression, or a
 * small network. States are read shard by shard, each once for its features. */
#include "stages/value_internal.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

/* Whether (sample, step) number i takes part. */
static bool counts(const struct value *v, int64_t i)
{
    return v->samples->usable[i / v->s.steps] && v->live[i % v->s.steps];
}

/* A shard's file with states of the right shape. NULL: ERR_INPUT. */
static struct shard *open_states(struct value *v, int64_t shard)
{
    struct task *t = v->t;
    char rel[96];
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    double start = task_now(t);
    struct shard *in =
        task_open(t, rundir_rollout(rel, v->iteration, shard), SHARD_ROLLOUT);
    if (in != NULL &&
        (!shard_has(in, "latents", &type, &nd, dim) || type != COLUMN_F32 || nd != 5 ||
         dim[0] != task_shard_size(t, shard) || dim[1] != v->s.steps + 1 ||
         dim[2] * dim[3] * dim[4] != t->d)) {
        err_set(ERR_INPUT, "%s/%s: 'latents' is missing or of another shape", t->dir,
                rel);
        shard_close(in);
        in = NULL;
    }
    task_spend(t, TIME_IO, start);
    return in;
}

/* z[steps, base] of a sample, which lies in the open shard. */
static int features_of(struct value *v, struct shard *in, int64_t sample, double *z)
{
    struct task *t = v->t;
    int64_t base = value_features_base(v->features);
    double start = task_now(t);
    int rc =
        shard_get_rows(in, "latents", COLUMN_F32, sample % t->shard_samples, 1, v->x);
    task_spend(t, TIME_IO, start);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < v->s.steps; k++)
        value_features_of(v->features, v->x + k * t->d, v->samples->label[sample],
                          z + k * base);
    return rc;
}

/* z[samples of the shard, steps, base] of a shard's states. */
static int features_of_all(struct value *v, int64_t shard, double *z)
{
    int64_t n = task_shard_size(v->t, shard);
    int64_t row = v->s.steps * value_features_base(v->features);
    struct shard *in = open_states(v, shard);
    int rc = in != NULL ? 0 : -1;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = features_of(v, in, shard * v->t->shard_samples + i, z + i * row);
    shard_close(in);
    return rc;
}

/* Adds the samples of `shards` shards from `first` on, whose features are in z. */
static void add_rows(struct value *v, int64_t first, int64_t shards, const double *z)
{
    struct task *t = v->t;
    int64_t from = first * t->shard_samples, to = (first + shards) * t->shard_samples;
    int64_t row = v->s.steps * value_features_base(v->features);
    to = to < t->samples ? to : t->samples;
    for (int64_t i = from; i < to; i++) {
        struct value_rows r = {.sample = i,
                               .z = z + (i - from) * row,
                               .y = v->s.target + i * v->s.steps,
                               .live = v->live};
        if (v->s.usable[i])
            value_fit_add(v->fit, v->c, &r);
    }
}

/* As many shards at a time as there are ranks: each reads one, all get the features, so
 * that rows are added in the order of the samples. Collective. */
static int add_all(struct value *v)
{
    struct task *t = v->t;
    int64_t ranks = v->c->size, row = v->s.steps * value_features_base(v->features);
    int64_t *count = mem_alloc(ranks, sizeof *count);
    double *z = mem_alloc(t->shard_samples * row, sizeof *z);
    double *all = mem_alloc(ranks * t->shard_samples * row, sizeof *all);
    int rc = 0;
    for (int64_t first = 0; first < t->shards && rc == 0; first += ranks) {
        int64_t shards = t->shards - first < ranks ? t->shards - first : ranks;
        if (v->c->rank < shards)
            rc = features_of_all(v, first + v->c->rank, z);
        if (rc == 0)
            rc = task_progress(t, "advantage iteration %lld fits values, shard %lld",
                               (long long)v->iteration, (long long)first);
        double start = task_now(t);
        rc = comm_agree(v->c, rc);
        for (int64_t r = 0; r < ranks; r++)
            count[r] = r < shards ? task_shard_size(t, first + r) : 0;
        if (rc == 0)
            rc = comm_gather_all(v->c, z, count, (size_t)row * sizeof *z, all);
        task_spend(t, TIME_COMMUNICATION, start);
        if (rc == 0)
            add_rows(v, first, shards, all);
    }
    mem_free(count);
    mem_free(z);
    mem_free(all);
    return rc;
}

/* Takes over the previous iteration's sums. Rank 0's part. */
static int read_memory(struct value *v, struct shard *in)
{
    int64_t n, dim[SHARD_MAX_ND];
    int nd;
    double *memory = value_fit_memory(v->fit, &n);
    if (in == NULL || !shard_has(in, "value_memory", NULL, &nd, dim) || nd != 1 ||
        dim[0] != n)
        return 0;
    double *got = shard_get(in, "value_memory", COLUMN_F64, 1, &n, NULL);
    if (got == NULL)
        return -1;
    memcpy(memory, got, (size_t)n * sizeof *memory);
    mem_free(got);
    return 0;
}

/* What the previous iteration left, where it fits: a run may have changed its method.
 * Rank 0 reads. Collective. */
static int load_past(struct value *v)
{
    struct task *t = v->t;
    char rel[96];
    int64_t n;
    struct shard *in = NULL;
    double start = task_now(t);
    int rc = 0;
    if (v->c->rank == 0 && v->iteration > 0) {
        in = task_open(t, rundir_advantage(rel, v->iteration - 1), SHARD_ADVANTAGE);
        rc = in != NULL ? 0 : -1;
    }
    if (rc == 0 && v->fit != NULL)
        rc = read_memory(v, in);
    start = task_spend(t, TIME_IO, start);
    rc = comm_agree(v->c, rc);
    if (rc == 0 && v->fit != NULL) {
        double *memory = value_fit_memory(v->fit, &n);
        rc = comm_bcast(v->c, memory, n * (int64_t)sizeof *memory, 0);
    } else if (rc == 0) {
        rc = value_net_load(v->net, in);
    }
    shard_close(in);
    task_spend(t, TIME_COMMUNICATION, start);
    return rc;
}

/* Values of the samples of this rank's shards. */
static int predict_own(struct value *v)
{
    struct task *t = v->t;
    int64_t first, last, base = value_features_base(v->features), steps = v->s.steps;
    double *z = mem_alloc(steps * base, sizeof *z);
    int rc = 0;
    value_share(v, v->c->rank, &first, &last);
    for (int64_t s = first; s < last && rc == 0; s++) {
        struct shard *in = open_states(v, s);
        rc = in != NULL ? 0 : -1;
        for (int64_t i = 0; i < task_shard_size(t, s) && rc == 0; i++) {
            int64_t sample = s * t->shard_samples + i;
            double *value = v->s.value + sample * steps;
            if (!v->samples->usable[sample])
                continue;
            rc = features_of(v, in, sample, z);
            if (rc == 0 && v->net != NULL)
                rc = value_net_at(v->net, z, value);
            for (int64_t k = 0; k < steps && rc == 0 && v->fit != NULL; k++)
                value[k] = value_fit_at(v->fit, sample, k, z + k * base);
        }
        shard_close(in);
    }
    mem_free(z);
    return rc;
}

/* Collective. */
static int predict(struct value *v)
{
    int rc = comm_agree(v->c, predict_own(v));
    return rc == 0 ? value_gather(v, 4) : -1;
}

int value_learn_ridge(struct value *v)
{
    v->fit = value_fit_create(v->t, v->features);
    int rc = load_past(v);
    if (rc == 0)
        rc = add_all(v);
    if (rc == 0)
        rc = comm_agree(v->c, value_fit_solve(v->fit, v->c));
    return rc == 0 ? predict(v) : -1;
}

/* A shard's samples as lessons. */
struct lessons {
    struct value *v;
    struct shard *in;
    int64_t *sample; /* the usable ones */
    double *z;       /* [steps, base] */
};

static int lesson(void *ctx, int64_t k, struct value_lesson *l)
{
    struct lessons *from = ctx;
    struct value *v = from->v;
    *l = (struct value_lesson){
        .z = from->z, .y = v->s.target + from->sample[k] * v->s.steps, .live = v->live};
    return features_of(v, from->in, from->sample[k], from->z);
}

/* An optimizer step on a shard. Collective. */
static int teach(struct value *v, int64_t shard, struct lessons *l)
{
    struct task *t = v->t;
    int64_t n = 0, first = shard * t->shard_samples;
    for (int64_t i = 0; i < task_shard_size(t, shard); i++)
        if (v->samples->usable[first + i])
            l->sample[n++] = first + i;
    if (n == 0)
        return 0;
    l->in = open_states(v, shard);
    int rc = comm_agree(v->c, l->in != NULL ? 0 : -1);
    if (rc == 0)
        rc = value_net_train(v->net, n, lesson, l);
    shard_close(l->in);
    return rc;
}

/* Passes over all shards, in an order that differs. Collective. */
static int train(struct value *v)
{
    struct task *t = v->t;
    struct lessons l = {
        .v = v,
        .sample = mem_alloc(t->shard_samples, sizeof *l.sample),
        .z = mem_alloc(v->s.steps * value_features_base(v->features), sizeof *l.z)};
    int64_t *order = mem_alloc(t->shards, sizeof *order);
    int rc = 0;
    for (int64_t e = 0; e < t->value.epochs && rc == 0; e++) {
        rng_permutation(rng_key(t->seed, RNG_FEATURES, 3, v->iteration, e, 0), order,
                        t->shards);
        for (int64_t s = 0; s < t->shards && rc == 0; s++) {
            rc = comm_agree(v->c,
                            task_progress(t, "advantage iteration %lld, epoch %lld",
                                          (long long)v->iteration, (long long)e));
            if (rc == 0)
                rc = teach(v, order[s], &l);
        }
    }
    mem_free(order);
    mem_free(l.sample);
    mem_free(l.z);
    return rc == 0 ? value_net_collect(v->net) : -1;
}

int value_learn_net(struct value *v)
{
    double mean = 0, square = 0, count = 0;
    v->net = value_net_create(v->t, v->c, v->features);
    int rc = load_past(v);
    if (rc == 0)
        rc = predict(v);
    for (int64_t i = 0; i < v->s.n * v->s.steps; i++)
        if (counts(v, i)) {
            mean += v->s.target[i];
            square += v->s.target[i] * v->s.target[i];
            count++;
        }
    mean /= fmax(count, 1);
    value_net_scale(v->net, mean, sqrt(fmax(0, square / fmax(count, 1) - mean * mean)));
    return rc == 0 ? train(v) : -1;
}
