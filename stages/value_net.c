/* The value network. A sample is a leaf of the canonical gradient tree (stages/trainer.h),
 * so its training gives the same bits for any number of ranks. */
#include "stages/value_net.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/model/dense.h"
#include "stages/trainer.h"

#include <math.h>
#include <string.h>

enum { WAVES = 4, LAYERS = 3 };

struct value_net {
    struct task *t;
    const struct comm *c;
    const struct value_features *features;
    struct param_set *params;
    struct dense layer[LAYERS];
    struct trainer *trainer;
    int64_t steps, base, inputs;
    double state[3]; /* mean and deviation of targets; optimizer steps */
    float *moment;   /* [2, params] whole, after value_net_collect */
    /* the batch at hand */
    value_lesson_f fill;
    void *ctx;
    double weight; /* of a row */
};

struct value_net *value_net_create(struct task *t, const struct comm *c,
                                   const struct value_features *f)
{
    struct value_net *v = mem_alloc(1, sizeof *v);
    int64_t hidden = t->value.hidden;
    v->t = t;
    v->c = c;
    v->features = f;
    v->steps = t->sampler.steps;
    v->base = value_features_base(f);
    v->inputs = v->base + 1 + 2 * WAVES;
    v->params = param_create();
    v->layer[0] = dense_declare(v->params, v->inputs, hidden, "value.0");
    v->layer[1] = dense_declare(v->params, hidden, hidden, "value.1");
    v->layer[2] = dense_declare(v->params, hidden, 1, "value.2");
    param_allocate(v->params, true);
    for (int i = 0; i < LAYERS - 1; i++) { /* the last one starts from 0 */
        struct param *p = param_at(v->params, v->layer[i].weight);
        rng_detinit(p->name, t->seed, 2, p->t.dim, p->t.data);
    }
    param_touch(v->params);
    v->state[1] = 1;
    v->trainer = trainer_create(c, v->params, false);
    v->moment = mem_alloc(2 * param_total(v->params), sizeof *v->moment);
    return v;
}

void value_net_destroy(struct value_net *v)
{
    if (v == NULL)
        return;
    trainer_destroy(v->trainer);
    param_destroy(v->params);
    mem_free(v->moment);
    mem_free(v);
}

/* Rank 0's part of loading. */
static int read_state(struct value_net *v, struct shard *in)
{
    static const char *const name[] = {"value_weights", "value_adam_m", "value_adam_v"};
    int64_t n = param_total(v->params), dim[SHARD_MAX_ND];
    float *const to[] = {param_values(v->params), v->moment, v->moment + n};
    int nd;
    if (in == NULL || !shard_has(in, name[0], NULL, &nd, dim) || nd != 1 || dim[0] != n)
        return 0;
    for (int i = 0; i < 3; i++) {
        float *got = shard_get(in, name[i], COLUMN_F32, 1, &n, NULL);
        if (got == NULL)
            return -1;
        memcpy(to[i], got, (size_t)n * sizeof *got);
        mem_free(got);
    }
    double *got = shard_get(in, "value_state", COLUMN_F64, 1, (int64_t[]){3}, NULL);
    if (got == NULL)
        return -1;
    memcpy(v->state, got, sizeof v->state);
    mem_free(got);
    return 0;
}

int value_net_load(struct value_net *v, struct shard *in)
{
    int64_t n = param_total(v->params), at, len;
    int rc = comm_agree(v->c, v->c->rank == 0 ? read_state(v, in) : 0);
    if (rc == 0)
        rc = comm_bcast(v->c, param_values(v->params), n * 4, 0);
    if (rc == 0)
        rc = comm_bcast(v->c, v->moment, 2 * n * 4, 0);
    if (rc == 0)
        rc = comm_bcast(v->c, v->state, sizeof v->state, 0);
    param_touch(v->params);
    trainer_slice(v->trainer, &at, &len);
    memcpy(trainer_m(v->trainer), v->moment + at, (size_t)len * sizeof(float));
    memcpy(trainer_v(v->trainer), v->moment + n + at, (size_t)len * sizeof(float));
    return rc;
}

int value_net_collect(struct value_net *v)
{
    if (trainer_whole(v->trainer, trainer_m(v->trainer), v->moment) != 0)
        return -1;
    return trainer_whole(v->trainer, trainer_v(v->trainer),
                         v->moment + param_total(v->params));
}

int value_net_put(const struct value_net *v, struct shard_writer *w)
{
    int64_t n = param_total(v->params);
    const struct column col[] = {
        {.name = "value_weights", .type = COLUMN_F32, .data = param_values(v->params),
         .dim = {n}, .axis = {"value_parameter"},
         .long_name = "parameters of the value network, layer after layer"},
        {.name = "value_adam_m", .type = COLUMN_F32, .data = v->moment, .dim = {n},
         .axis = {"value_parameter"}, .long_name = "AdamW's mean gradient"},
        {.name = "value_adam_v", .type = COLUMN_F32, .data = v->moment + n, .dim = {n},
         .axis = {"value_parameter"}, .long_name = "AdamW's mean squared gradient"},
        {.name = "value_state", .type = COLUMN_F64, .data = v->state, .dim = {3},
         .axis = {"value_number"},
         .long_name = "mean and deviation of its first targets; optimizer steps so far"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++) {
        struct column c = col[i];
        c.nd = 1;
        c.units = "1";
        rc = shard_put(w, &c);
    }
    return rc;
}

void value_net_scale(struct value_net *v, double mean, double deviation)
{
    if (v->state[2] > 0)
        return;
    v->state[0] = mean;
    v->state[1] = deviation > 0 ? deviation : 1;
}

/* Evaluates rows [rows] of steps `step` on features z; [rows, 1]. */
static struct tensor *forward(struct value_net *v, const double *z, const int64_t *step,
                              int64_t rows)
{
    struct tape *t = v->t->tape;
    const int64_t dim[2] = {rows, v->inputs};
    struct tensor *x = tape_tensor(t, 2, dim, false);
    for (int64_t i = 0; i < rows; i++) {
        float *to = x->data + i * v->inputs;
        double at = (double)step[i] / (double)v->steps;
        for (int64_t l = 0; l < v->base; l++)
            *to++ = (float)z[step[i] * v->base + l];
        *to++ = (float)at;
        for (int k = 1; k <= WAVES; k++) {
            *to++ = (float)sin(M_PI * k * at);
            *to++ = (float)cos(M_PI * k * at);
        }
    }
    for (int i = 0; i < LAYERS; i++) {
        x = dense_run(t, v->params, v->layer[i], x);
        if (i < LAYERS - 1)
            x = op_silu(t, x);
    }
    return x;
}

int value_net_at(struct value_net *v, const double *z, double *value)
{
    int64_t *step = mem_alloc(v->steps, sizeof *step);
    enum dtype type = tape_dtype(v->t->tape);
    int rc = 0;
    for (int64_t k = 0; k < v->steps; k++)
        step[k] = k;
    tape_set_dtype(v->t->tape, DTYPE_F32);
    tape_begin(v->t->tape, false);
    struct tensor *y = forward(v, z, step, v->steps);
    for (int64_t k = 0; k < v->steps && rc == 0; k++) {
        value[k] = v->state[0] + v->state[1] * (double)y->data[k];
        if (!isfinite(value[k]))
            rc = err_set(ERR_NUMERIC, "the value network's output is not finite: lower "
                                      "value.lr");
    }
    tape_set_dtype(v->t->tape, type);
    mem_free(step);
    return rc;
}

/* trainer_leaf_f: one sample. */
static int leaf(void *ctx, int64_t k)
{
    struct value_net *v = ctx;
    struct value_lesson l;
    if (v->fill(v->ctx, k, &l) != 0)
        return -1;
    int64_t *step = mem_alloc(v->steps, sizeof *step), rows = 0;
    for (int64_t i = 0; i < v->steps; i++)
        if (l.live[i])
            step[rows++] = i;
    tape_begin(v->t->tape, true);
    struct tensor *y = forward(v, l.z, step, rows);
    float *seed = tape_keepsake(v->t->tape, rows, sizeof *seed);
    for (int64_t i = 0; i < rows; i++) {
        double want = (l.y[step[i]] - v->state[0]) / v->state[1];
        seed[i] = (float)(2 * v->weight * ((double)y->data[i] - want));
    }
    mem_free(step);
    return tape_backward(v->t->tape, y, seed);
}

int value_net_train(struct value_net *v, int64_t n, value_lesson_f fill, void *ctx)
{
    struct trainer_options o = {
        .adamw = {.lr = v->t->value.lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        .max_grad_norm = 1};
    int64_t first, number, live = 0;
    double norm;
    enum dtype type = tape_dtype(v->t->tape);
    for (int64_t k = 0; k < v->steps; k++)
        live += v->t->sampler.step[k].mask != 0;
    v->fill = fill;
    v->ctx = ctx;
    v->weight = 1 / (double)(n * (live > 0 ? live : 1));
    tape_set_dtype(v->t->tape, DTYPE_F32);
    trainer_plan(v->trainer, n, &first, &number);
    int rc = trainer_step(v->trainer, &o, (int64_t)v->state[2] + 1, leaf, v, &norm);
    v->state[2] += rc == 0;
    tape_set_dtype(v->t->tape, type);
    return rc == 0 ? 0 : err_add("value network");
}
