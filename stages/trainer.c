/* Sharded AdamW over the canonical gradient tree (nn/reduce.h). */
#include "stages/trainer.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/reduce.h"
#include "stages/task.h"

#include <math.h>
#include <string.h>

struct trainer {
    const struct comm *c;
    struct param_set *params;
    int64_t at, len, leaves;
    float *m, *v, *ema, *grad, *theta; /* [len] */
    float *room;                       /* [rooms, param_total] */
    int64_t rooms;
    struct reduce *reduce;             /* for `leaves` micro-batches */
    int64_t tail; /* parameters from here on have tail_rate times the learning rate */
    double tail_rate;
    double optimizer_s, waiting_s;
};

static void set_leaves(struct trainer *t, int64_t leaves)
{
    if (t->reduce != NULL && t->leaves == leaves)
        return;
    reduce_destroy(t->reduce);
    t->reduce = reduce_create(t->c, param_total(t->params), leaves);
    t->leaves = leaves;
}

struct trainer *trainer_create(const struct comm *c, struct param_set *params, bool ema)
{
    struct trainer *t = mem_alloc(1, sizeof *t);
    t->c = c;
    t->params = params;
    t->tail = param_total(params);
    t->tail_rate = 1;
    set_leaves(t, 1);
    reduce_slice(t->reduce, &t->at, &t->len);
    t->m = mem_alloc(t->len, sizeof *t->m);
    t->v = mem_alloc(t->len, sizeof *t->v);
    t->grad = mem_alloc(t->len, sizeof *t->grad);
    t->theta = mem_alloc(t->len, sizeof *t->theta);
    if (ema)
        t->ema = mem_alloc(t->len, sizeof *t->ema);
    return t;
}

void trainer_destroy(struct trainer *t)
{
    if (t == NULL)
        return;
    reduce_destroy(t->reduce);
    mem_free(t->m);
    mem_free(t->v);
    mem_free(t->ema);
    mem_free(t->grad);
    mem_free(t->theta);
    mem_free(t->room);
    mem_free(t);
}

void trainer_slice(const struct trainer *t, int64_t *at, int64_t *len)
{
    *at = t->at;
    *len = t->len;
}

float *trainer_m(struct trainer *t)
{
    return t->m;
}

float *trainer_v(struct trainer *t)
{
    return t->v;
}

float *trainer_ema(struct trainer *t)
{
    return t->ema;
}

void trainer_plan(struct trainer *t, int64_t leaves, int64_t *first, int64_t *number)
{
    set_leaves(t, leaves);
    reduce_leaves(t->reduce, first, number);
}

void trainer_tail_rate(struct trainer *t, int64_t at, double times)
{
    t->tail = at;
    t->tail_rate = times;
}

/* AdamW on this rank's slice. */
static void apply(struct trainer *t, const struct adamw *o, int64_t step, double scale)
{
    int64_t n = t->tail - t->at < t->len ? t->tail - t->at : t->len;
    n = n < 0 ? 0 : n;
    struct adamw tail = *o;
    tail.lr *= t->tail_rate;
    optim_adamw(o, step, scale, t->grad, t->theta, t->m, t->v, n);
    optim_adamw(&tail, step, scale, t->grad + n, t->theta + n, t->m + n, t->v + n,
                t->len - n);
}

/* In parallel, as what adds to it will be. */
static void clear(float *v, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        v[i] = 0;
}

/* The local part: gradients of this rank's micro-batches. */
static int add_leaves(struct trainer *t, trainer_leaf_f leaf, void *ctx)
{
    int64_t first, number;
    float *g = param_grads(t->params);
    reduce_leaves(t->reduce, &first, &number);
    for (int64_t i = 0; i < number; i++) {
        double start = clock_s();
        clear(g, param_total(t->params));
        t->optimizer_s += clock_s() - start;
        if (leaf(ctx, first + i) != 0)
            return -1;
        start = clock_s();
        reduce_add(t->reduce, g);
        t->optimizer_s += clock_s() - start;
    }
    return 0;
}

/* Weights and moments after the step: a squared gradient may overflow where the gradient
 * does not. Local. */
static int check_state(const struct trainer *t, int64_t step)
{
    float worst = 0;
    for (int64_t i = 0; i < t->len; i++)
        worst += (t->theta[i] + t->v[i]) * 0.0f; /* NaN from any infinity or NaN */
    return worst == 0 ? 0
                      : err_set(ERR_NUMERIC,
                                "weights or moments after optimizer step %lld are not "
                                "finite; the last policy is kept; lower the learning "
                                "rate, raise update.eps or set update.max_grad_norm",
                                (long long)step);
}

static int vote(struct trainer *t, int rc)
{
    double start = clock_s();
    rc = comm_agree(t->c, rc);
    t->waiting_s += clock_s() - start;
    return rc;
}

/* t->grad: this rank's slice of the gradient over the planned micro-batches. */
static int make_gradient(struct trainer *t, trainer_leaf_f leaf, void *ctx,
                         double *grad_norm)
{
    double norm2 = 0;
    int rc = add_leaves(t, leaf, ctx);
    if (vote(t, rc) != 0)
        return -1;
    double start = clock_s();
    if (reduce_finish(t->reduce, t->grad) != 0 ||
        reduce_norm2(t->reduce, t->grad, &norm2) != 0)
        return -1;
    t->optimizer_s += clock_s() - start;
    *grad_norm = sqrt(norm2);
    return isfinite(norm2) ? 0
                           : err_set(ERR_NUMERIC,
                                     "the gradient of an optimizer step is not finite; the "
                                     "weights before it are kept; lower update.lr or look "
                                     "at the rewards");
}

int trainer_step(struct trainer *t, const struct trainer_options *o, int64_t step,
                 trainer_leaf_f leaf, void *ctx, double *grad_norm)
{
    if (make_gradient(t, leaf, ctx, grad_norm) != 0)
        return -1;
    double start = clock_s();
    float *values = param_values(t->params);
    memcpy(t->theta, values + t->at, (size_t)t->len * sizeof *t->theta);
    apply(t, &o->adamw, step, optim_clip_scale(o->max_grad_norm, *grad_norm));
    if (t->ema != NULL)
        optim_ema(o->ema_decay, t->theta, t->ema, t->len);
    int rc = check_state(t, step);
    t->optimizer_s += clock_s() - start;
    if (vote(t, rc) != 0)
        return -1;
    start = clock_s();
    rc = reduce_spread(t->reduce, t->theta, values);
    t->optimizer_s += clock_s() - start;
    if (rc == 0)
        param_touch(t->params);
    return rc;
}

int trainer_gradient(struct trainer *t, trainer_leaf_f leaf, void *ctx, float *whole,
                     double *grad_norm)
{
    if (make_gradient(t, leaf, ctx, grad_norm) != 0)
        return -1;
    double start = clock_s();
    int rc = reduce_spread(t->reduce, t->grad, whole);
    t->optimizer_s += clock_s() - start;
    return rc;
}

int trainer_changed(struct trainer *t, double ema_decay)
{
    const float *values = param_values(t->params);
    float worst = 0;
    for (int64_t i = 0; i < param_total(t->params); i++)
        worst += values[i] * 0.0f; /* NaN from any infinity or NaN */
    param_touch(t->params);
    if (worst != 0)
        return err_set(ERR_NUMERIC, "weights after an optimizer step are not finite; the "
                                    "last policy is kept");
    if (t->ema != NULL)
        optim_ema(ema_decay, values + t->at, t->ema, t->len);
    return 0;
}

void trainer_times(struct trainer *t, double *optimizer_s, double *waiting_s)
{
    *optimizer_s = t->optimizer_s;
    *waiting_s = t->waiting_s;
    t->optimizer_s = t->waiting_s = 0;
}

float *trainer_room(struct trainer *t, int64_t arrays)
{
    if (t->rooms < arrays) {
        mem_free(t->room);
        t->room = mem_alloc(arrays * param_total(t->params), sizeof *t->room);
        t->rooms = arrays;
    }
    return t->room;
}

int trainer_whole(struct trainer *t, const float *slice, float *whole)
{
    return reduce_spread(t->reduce, slice, whole);
}
