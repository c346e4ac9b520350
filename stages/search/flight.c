/* States are kept on the way forward; on the way back the network is evaluated again at
 * each. */
#include "stages/search/flight.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/search/typical.h"

#include <math.h>
#include <string.h>

/* A value above the best by so many times its size is of no use to a line search. */
#define FAR 10

struct flight {
    struct chain *c;
    const struct search_options *o;
    const struct draw *w;
    int64_t i;                    /* the sample */
    int64_t controls, *step;      /* [controls] the states they lead to, ascending */
    float *plain, *noise, *state; /* [N + 1, d] zbar, z, x */
    float *out, *seed, *adjoint, *back; /* [d] each */
    struct typical *typical;            /* NULL: the path's KL */
    double *z, *pull; /* [controls, d] the numbers; gradient of the cost */
    double reward;    /* of the point at hand */
    struct flight_best best;
};

struct flight *flight_create(struct chain *c, const struct search_options *o,
                             const struct draw *w)
{
    struct flight *f = mem_alloc(1, sizeof *f);
    int64_t d = c->d, steps = c->sampler->steps, rows = (steps + 1) * d;
    *f = (struct flight){.c = c, .o = o, .w = w};
    f->step = mem_alloc(steps + 1, sizeof *f->step);
    for (int64_t k = 0; k <= steps; k++)
        if (k == 0 ? o->start : c->sampler->step[k - 1].mask != 0)
            f->step[f->controls++] = k;
    f->plain = mem_alloc(3 * rows + 4 * d, sizeof *f->plain);
    f->noise = f->plain + rows;
    f->state = f->noise + rows;
    f->out = f->state + rows;
    f->seed = f->out + d;
    f->adjoint = f->seed + d;
    f->back = f->adjoint + d;
    f->best.u = mem_alloc(3 * f->controls * d, sizeof *f->best.u);
    f->z = f->best.u + f->controls * d;
    f->pull = f->z + f->controls * d;
    if (o->typical)
        f->typical = typical_create(f->controls * d, c->seed);
    return f;
}

void flight_destroy(struct flight *f)
{
    if (f == NULL)
        return;
    typical_destroy(f->typical);
    mem_free(f->step);
    mem_free(f->plain);
    mem_free(f->best.u);
    mem_free(f);
}

int64_t flight_aim(struct flight *f, int64_t i)
{
    int64_t d = f->c->d, steps = f->c->sampler->steps, n = f->controls * d;
    f->i = i;
    f->best.value = INFINITY;
    f->best.plain = (double)NAN;
    f->best.lost = false;
    memset(f->best.u, 0, (size_t)n * sizeof *f->best.u);
    for (int64_t k = 0; k <= steps; k++)
        chain_noise(f->c, f->w, i, 0, k, f->plain + k * d);
    memcpy(f->noise, f->plain, (size_t)((steps + 1) * d) * sizeof *f->noise);
    return n;
}

const struct flight_best *flight_best(const struct flight *f)
{
    return &f->best;
}

/* noise <- plain + u. */
static void steer(struct flight *f, const double *u)
{
    int64_t d = f->c->d;
    for (int64_t a = 0; a < f->controls; a++) {
        int64_t at = f->step[a] * d;
        for (int64_t j = 0; j < d; j++)
            f->noise[at + j] = (float)((double)f->plain[at + j] + u[a * d + j]);
    }
}

/* State k + 1 from state k, x, and the noise; out is the network's output at x. */
static int advance(struct flight *f, int64_t k, const float *x, float *next)
{
    const struct sampler *s = f->c->sampler;
    int64_t d = f->c->d;
    if (chain_output(f->c, f->w, f->i, 1, k, x, f->out) != 0)
        return -1;
    sampler_mean(s, k, d, x, f->out, next, NULL);
    sampler_advance(s, k, d, next, f->noise + (k + 1) * d, next);
    return 0;
}

/* The whole chain; reward and, in adjoint, its gradient. */
static int fly(struct flight *f)
{
    int64_t d = f->c->d, steps = f->c->sampler->steps;
    memcpy(f->state, f->noise, (size_t)d * sizeof *f->state);
    for (int64_t k = 0; k < steps; k++)
        if (advance(f, k, f->state + k * d, f->state + (k + 1) * d) != 0)
            return -1;
    return chain_score(f->c, f->w, f->i, 1, f->state + steps * d, &f->reward,
                       f->adjoint);
}

/* adjoint: from d J / d x_N back along the chain; on the way gradient <- its parts by
 * the controls. */
static int fly_back(struct flight *f, double *gradient)
{
    struct chain *c = f->c;
    int64_t d = c->d, a = f->controls;
    for (int64_t k = c->sampler->steps; k >= 0; k--) {
        double by = k == 0 ? 1 : (double)c->sampler->step[k - 1].sigma;
        float by_x, by_o;
        if (a > 0 && f->step[a - 1] == k) {
            a--;
            for (int64_t j = 0; j < d; j++)
                gradient[a * d + j] = by * (double)f->adjoint[j];
        }
        if (a == 0)
            break;
        sampler_slopes(c->sampler, k - 1, &by_x, &by_o);
        for (int64_t j = 0; j < d; j++)
            f->seed[j] = by_o * f->adjoint[j];
        if (chain_output_back(c, f->w, f->i, 1, k - 1, f->state + (k - 1) * d, f->seed,
                              f->back) != 0)
            return -1;
        for (int64_t j = 0; j < d; j++)
            f->adjoint[j] = by_x * f->adjoint[j] + f->back[j];
    }
    return 0;
}

/* What the controls cost; pull[controls, d] (unless NULL) <- its gradient. */
static double cost_of(struct flight *f, const double *u, double *pull)
{
    int64_t d = f->c->d, n = f->controls * d;
    double sum = 0;
    if (f->typical != NULL) {
        for (int64_t j = 0; j < n; j++)
            f->z[j] = (double)f->plain[f->step[j / d] * d + j % d] + u[j];
        return typical_penalty(f->typical, f->z, pull);
    }
    for (int64_t j = 0; j < n; j++)
        sum += u[j] * u[j];
    if (pull != NULL)
        memcpy(pull, u, (size_t)n * sizeof *u);
    return sum / 2;
}

/* Value and gradient at u itself; infinite where there is no score. */
static int look(struct flight *f, const double *u, double *value, double *gradient)
{
    int64_t n = f->controls * f->c->d;
    steer(f, u);
    if (fly(f) != 0)
        return -1;
    *value = -f->o->weight * f->reward + cost_of(f, u, f->pull);
    if (!isfinite(f->reward) || !isfinite(*value)) {
        *value = INFINITY;
        return 0;
    }
    for (int64_t j = 0; j < f->c->d; j++)
        f->adjoint[j] = (float)(-f->o->weight * (double)f->adjoint[j]);
    if (fly_back(f, gradient) != 0)
        return -1;
    for (int64_t j = 0; j < n; j++) {
        gradient[j] += f->pull[j];
        if (!isfinite(gradient[j]))
            *value = INFINITY;
    }
    return 0;
}

/* Stands for a point that a line search cannot use, so that it turns back: a parabola
 * around the best point. No such point is ever accepted. */
static void wall(const struct flight *f, const double *u, double *value,
                 double *gradient)
{
    const struct flight_best *best = &f->best;
    int64_t n = f->controls * f->c->d;
    double square = 0, rise = FAR * (1 + fabs(best->value));
    for (int64_t j = 0; j < n; j++)
        square += (u[j] - best->u[j]) * (u[j] - best->u[j]);
    for (int64_t j = 0; j < n; j++)
        gradient[j] = 2 * rise * (u[j] - best->u[j]) / square;
    *value = best->value + rise;
}

int flight_cost(void *ctx, const double *u, double *value, double *gradient)
{
    struct flight *f = ctx;
    struct flight_best *best = &f->best;
    bool first = !isfinite(best->value);
    if (look(f, u, value, gradient) != 0)
        return -1;
    best->lost = first && !isfinite(*value);
    if (best->lost)
        return err_set(ERR_NUMERIC, "sample %lld has no score or no gradient",
                       (long long)f->i);
    if (first)
        best->plain = f->reward;
    if (!first && !(*value < best->value + FAR * (1 + fabs(best->value))))
        wall(f, u, value, gradient);
    if (*value < best->value) {
        best->value = *value;
        memcpy(best->u, u, (size_t)(f->controls * f->c->d) * sizeof *u);
    }
    return 0;
}

int flight_land(struct flight *f, struct draw *w, const double *u)
{
    struct chain *c = f->c;
    int64_t i = f->i, d = c->d, steps = c->sampler->steps;
    steer(f, u);
    memcpy(chain_state(c, w, i, 0), f->noise, (size_t)d * sizeof(float));
    for (int64_t k = 0; k < steps; k++) {
        if (advance(f, k, chain_state(c, w, i, k), f->state) != 0)
            return -1;
        chain_keep(c, w, i, k, f->out, f->state);
    }
    memcpy(w->sample + i * d, chain_state(c, w, i, steps), (size_t)d * sizeof(float));
    w->cost[i] = cost_of(f, u, NULL);
    return 0;
}
