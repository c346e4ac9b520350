/* Steps along the natural gradient (Amari 1998; with conjugate gradients and a trust
 * region as Schulman et al. 2015). With K(theta) the mean over the step's pairs of the
 * KL from the transitions now to those with theta, F its Hessian at the weights now,
 * and g the gradient of the loss:
 *
 *     (F + damping I) s = g,   theta <- theta - s sqrt(2 kl_radius / s' F s)
 *
 * F v is the central difference of K's exact gradient along v. Those gradients are sums
 * over leaves in the canonical tree, so every rank has the same bits; the solution runs
 * on the group's first rank, which asks the others for each product. */
#include "stages/update_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/krylov.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Length of the difference's step, as a part of 1 + |theta|: outputs are rounded to
 * 1e-7 and curve with its square. */
#define DIFFERENCE 2e-3

enum { END, MULTIPLY };

struct natural {
    struct update *u;
    int64_t n;        /* weights */
    float *mean;      /* [own pairs, d] of the transitions now */
    float *theta;     /* [n] */
    float *up, *down; /* [n] gradients of K */
    double length;    /* |theta| */
    double damping;
    int64_t pairs; /* over which K is the mean */
    int64_t products;
};

static double dot(int64_t n, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void update_natural_keep(struct update *u, int64_t from, int64_t m,
                         const float *predicted)
{
    struct task *t = u->t;
    float *mean = u->natural->mean + (from - u->first * t->micro_batch) * t->d;
    for (int64_t k = 0; k < m; k++)
        sampler_mean(&t->sampler, u->pair[k].step, t->d, u->pair[k].x,
                     predicted + k * t->d, mean + k * t->d, NULL);
}

/* Whether K has a leaf: the first one, and evenly spread ones. */
static bool takes_part(const struct update *u, int64_t leaf)
{
    double part = u->t->update.fisher_part;
    return ceil((double)(leaf + 1) * part) > ceil((double)leaf * part);
}

static int64_t pairs_of(const struct update *u)
{
    int64_t n = 0, b = u->t->micro_batch;
    for (int64_t leaf = 0; leaf < u->leaves; leaf++)
        if (takes_part(u, leaf))
            n += u->pairs - leaf * b < b ? u->pairs - leaf * b : b;
    return n;
}

/* trainer_leaf_f: the gradient of K. */
static int divergence_leaf(void *ctx, int64_t leaf)
{
    struct update *u = ctx;
    struct task *t = u->t;
    if (!takes_part(u, leaf))
        return 0;
    struct model_input in;
    int64_t from = leaf * t->micro_batch, m;
    if (update_pairs_batch(u, leaf, &in) != 0)
        return -1;
    m = in.batch;
    const float *mean = u->natural->mean + (from - u->first * t->micro_batch) * t->d;
    double start = task_now(t);
    tape_begin(t->tape, true);
    struct tensor *out = model_forward(t->model, t->tape, &in, NULL);
    for (int64_t k = 0; k < m && out != NULL; k++)
        sampler_log_prob_grad(&t->sampler, u->pair[k].step, t->d, u->pair[k].x,
                              out->data + k * t->d, mean + k * t->d,
                              -1.0 / (double)u->natural->pairs, u->seed + k * t->d);
    int rc = out != NULL ? tape_backward(t->tape, out, u->seed) : -1;
    task_spend(t, TIME_NETWORK, start);
    return rc;
}

/* The network's values become theta + by v. */
static void move(struct natural *a, const double *v, double by)
{
    float *values = param_values(model_params(a->u->t->model));
    for (int64_t i = 0; i < a->n; i++)
        values[i] = a->theta[i] + (float)(by * v[i]);
    param_touch(model_params(a->u->t->model));
}

/* fv[n] = F v[n]. Collective. */
static int fisher(struct natural *a, const double *v, double *fv)
{
    struct trainer *t = a->u->t->trainer;
    double length = sqrt(dot(a->n, v, v)), norm;
    double by = DIFFERENCE * (1 + a->length) / length;
    memset(fv, 0, (size_t)a->n * sizeof *fv);
    if (length == 0)
        return 0;
    move(a, v, by);
    int rc = trainer_gradient(t, divergence_leaf, a->u, a->up, &norm);
    if (rc == 0) {
        move(a, v, -by);
        rc = trainer_gradient(t, divergence_leaf, a->u, a->down, &norm);
    }
    move(a, v, 0);
    for (int64_t i = 0; i < a->n && rc == 0; i++)
        fv[i] = ((double)a->up[i] - (double)a->down[i]) / (2 * by);
    return rc;
}

/* krylov_f of the first rank: the others are asked to join. */
static int damped(void *ctx, const double *v, double *av)
{
    struct natural *a = ctx;
    const struct comm *c = a->u->c;
    char word = MULTIPLY, what[64];
    snprintf(what, sizeof what, "natural gradient, product %lld", (long long)++a->products);
    if (task_may_go_on(a->u->t, what) != 0)
        return -1; /* the others hear END */
    memcpy(av, v, (size_t)a->n * sizeof *v); /* what travels is not const */
    if (comm_bcast(c, &word, 1, 0) != 0 ||
        comm_bcast(c, av, a->n * (int64_t)sizeof *av, 0) != 0 || fisher(a, v, av) != 0)
        return -1;
    for (int64_t i = 0; i < a->n; i++)
        av[i] += a->damping * v[i];
    return 0;
}

/* The other ranks' part. A product that fails does so for all of them. */
static int serve(struct natural *a)
{
    const struct comm *c = a->u->c;
    double *v = mem_alloc(2 * a->n, sizeof *v);
    char word = MULTIPLY;
    int rc = 0;
    while (comm_bcast(c, &word, 1, 0) == 0 && word == MULTIPLY) {
        if (comm_bcast(c, v, a->n * (int64_t)sizeof *v, 0) != 0 ||
            fisher(a, v, v + a->n) != 0)
            rc = -1;
    }
    mem_free(v);
    return rc;
}

/* s[n] with (F + damping) s = g[n]. Collective. */
static int solve(struct natural *a, const double *g, double *s)
{
    const struct comm *c = a->u->c;
    char word = END;
    int rc;
    if (c->rank == 0) {
        const struct krylov_options o = {.iterations = a->u->t->update.cg_iterations,
                                         .tolerance = 1e-6};
        rc = krylov_solve(&o, a->n, g, s, damped, a, NULL);
        if (comm_bcast(c, &word, 1, 0) != 0)
            return -1;
    } else {
        rc = serve(a);
    }
    if (comm_agree(c, rc) != 0)
        return -1;
    return comm_bcast(c, s, a->n * (int64_t)sizeof *s, 0);
}

/* The step for gradient g[n], with work[2, n]. Collective. */
static int take_step(struct natural *a, const double *g, double *work)
{
    const struct update_options *o = &a->u->t->update;
    double *s = work, *fs = work + a->n, gg = dot(a->n, g, g);
    if (gg == 0)
        return 0;
    if (fisher(a, g, fs) != 0)
        return -1;
    a->damping = o->cg_damping * fabs(dot(a->n, g, fs)) / gg;
    if (solve(a, g, s) != 0 || fisher(a, s, fs) != 0)
        return -1;
    double along = dot(a->n, s, fs);
    if (!(along > 0) || !isfinite(along))
        return err_set(
            ERR_NUMERIC,
            "the natural gradient's curvature is %g: raise update.cg_damping", along);
    move(a, s, -sqrt(2 * o->kl_radius / along));
    return 0;
}

int update_natural_step(struct update *u, double ema_decay, double *grad_norm)
{
    struct task *t = u->t;
    struct param_set *set = model_params(t->model);
    struct natural a = {.u = u, .n = param_total(set), .pairs = pairs_of(u)};
    float *v = mem_alloc(4 * a.n, sizeof *v);
    double *g = mem_alloc(3 * a.n, sizeof *g);
    a.theta = v + a.n;
    a.up = v + 2 * a.n;
    a.down = v + 3 * a.n;
    a.mean = mem_alloc(u->number * t->micro_batch * t->d, sizeof *a.mean);
    u->natural = &a;
    int rc = trainer_gradient(t->trainer, update_loss_leaf, u, v, grad_norm);
    memcpy(a.theta, param_values(set), (size_t)a.n * sizeof *a.theta);
    for (int64_t i = 0; i < a.n; i++) {
        g[i] = (double)v[i];
        a.length += (double)a.theta[i] * (double)a.theta[i];
    }
    a.length = sqrt(a.length);
    if (rc == 0)
        rc = take_step(&a, g, g + a.n);
    if (rc == 0)
        rc = trainer_changed(t->trainer, ema_decay);
    u->natural = NULL;
    mem_free(a.mean);
    mem_free(g);
    mem_free(v);
    return rc;
}
