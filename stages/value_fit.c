/* The fit by normal equations. With interpolation between knots the matrix is block
 * tridiagonal: 2 knots - 1 blocks [base, base] (knot a with itself, a with a + 1, ...).
 * Ranks share the rows of the blocks, every row is summed over samples and steps in their
 * order, so the sums have the same bits for any number of ranks. */
#include "stages/value_fit.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/dense.h"

#include <math.h>
#include <string.h>

struct value_fit {
    const struct value_features *features;
    int64_t base, knots, blocks, folds, steps;
    double penalty, memory_weight, used_penalty;
    /* Sums of a fold: products [base, blocks, base], moments [knots, base], squares and
     * weights of the targets [1], [1]. */
    int64_t size, rows; /* of a fold's sums; of one row of products */
    double *fold;       /* [folds, size] */
    double *memory;     /* [size] of previous iterations */
    double *part;       /* [base] one row's products of a step */
    double *beta;       /* [folds, knots, base] */
};

struct value_fit *value_fit_create(const struct task *t, const struct value_features *f)
{
    struct value_fit *v = mem_alloc(1, sizeof *v);
    v->features = f;
    v->base = value_features_base(f);
    v->knots = value_features_knots(f);
    v->blocks = 2 * v->knots - 1;
    v->folds = t->value.folds;
    v->steps = t->sampler.steps;
    v->penalty = t->value.ridge;
    v->memory_weight = t->value.memory;
    v->rows = v->blocks * v->base;
    v->size = v->base * v->rows + v->knots * v->base + 2;
    v->fold = mem_alloc(v->folds * v->size, sizeof *v->fold);
    v->memory = mem_alloc(v->size, sizeof *v->memory);
    v->part = mem_alloc(v->base, sizeof *v->part);
    v->beta = mem_alloc(v->folds * v->knots * v->base, sizeof *v->beta);
    return v;
}

void value_fit_destroy(struct value_fit *v)
{
    if (v == NULL)
        return;
    mem_free(v->fold);
    mem_free(v->memory);
    mem_free(v->part);
    mem_free(v->beta);
    mem_free(v);
}

double *value_fit_memory(struct value_fit *v, int64_t *n)
{
    *n = v->size;
    return v->memory;
}

static int64_t share(const struct value_fit *v, const struct comm *c, int64_t rank)
{
    return v->base * rank / c->size;
}

void value_fit_add(struct value_fit *v, const struct comm *c, const struct value_rows *r)
{
    double *sum = v->fold + r->sample % v->folds * v->size;
    double *moment = sum + v->base * v->rows, *square = moment + v->knots * v->base;
    int64_t from = share(v, c, c->rank), to = share(v, c, c->rank + 1), a;
    for (int64_t k = 0; k < v->steps; k++) {
        const double *z = r->z + k * v->base;
        double next, y = r->y[k];
        if (!r->live[k])
            continue;
        value_features_step(v->features, k, &a, &next);
        double w[3] = {(1 - next) * (1 - next), (1 - next) * next, next * next};
        int64_t n = v->knots > 1 ? 3 : 1;
#pragma omp parallel for schedule(static)
        for (int64_t j = from; j < to; j++)
            for (int64_t b = 0; b < n; b++) {
                double *to_row = sum + j * v->rows + (2 * a + b) * v->base;
                double by = w[b] * z[j];
                for (int64_t l = 0; l < v->base; l++)
                    to_row[l] += by * z[l];
            }
        for (int64_t l = 0; l < v->base; l++) {
            moment[a * v->base + l] += (1 - next) * y * z[l];
            if (n > 1)
                moment[(a + 1) * v->base + l] += next * y * z[l];
        }
        square[0] += y * y;
        square[1] += 1;
    }
}

/* Everyone gets all rows of every fold's products. Collective. */
static int gather(struct value_fit *v, const struct comm *c)
{
    int64_t *count = mem_alloc(c->size, sizeof *count);
    double *mine = mem_alloc(v->base * v->rows, sizeof *mine);
    int64_t from = share(v, c, c->rank);
    int rc = 0;
    for (int64_t r = 0; r < c->size; r++)
        count[r] = share(v, c, r + 1) - share(v, c, r);
    for (int64_t k = 0; k < v->folds && rc == 0; k++) {
        double *sum = v->fold + k * v->size;
        memcpy(mine, sum + from * v->rows,
               (size_t)(count[c->rank] * v->rows) * sizeof *mine);
        rc = comm_gather_all(c, mine, count, (size_t)v->rows * sizeof *mine, sum);
    }
    mem_free(count);
    mem_free(mine);
    return rc;
}

/* Element of the normal matrix for knots a, b and features j, l. */
static double product(const struct value_fit *v, const double *sum, int64_t a, int64_t j,
                      int64_t b, int64_t l)
{
    int64_t apart = b > a ? b - a : a - b, low = a < b ? a : b;
    return apart > 1 ? 0 : sum[j * v->rows + (2 * low + apart) * v->base + l];
}

/* The normal matrix [n, n] and right side of the sums `rest`; the constants bear next to
 * no penalty. */
static void equations(const struct value_fit *v, const double *rest, double penalty,
                      double *m, double *x)
{
    int64_t n = v->knots * v->base;
    const double *moment = rest + v->base * v->rows, weight = moment[n + 1];
    for (int64_t a = 0; a < v->knots; a++)
        for (int64_t b = 0; b < v->knots; b++)
            for (int64_t j = 0; j < v->base; j++)
                for (int64_t l = 0; l < v->base; l++)
                    m[(a * v->base + j) * n + b * v->base + l] =
                        product(v, rest, a, j, b, l);
    for (int64_t i = 0; i < n; i++)
        m[i * n + i] += weight * (i % v->base == 0 ? 1e-12 : penalty);
    memcpy(x, moment, (size_t)n * sizeof *x);
}

/* Squared error of beta on the sums of a fold. */
static double error_of(const struct value_fit *v, const double *sum, const double *beta)
{
    const double *moment = sum + v->base * v->rows;
    double error = moment[v->knots * v->base];
    for (int64_t a = 0; a < v->knots; a++)
        for (int64_t j = 0; j < v->base; j++) {
            double row = -2 * moment[a * v->base + j];
            for (int64_t b = a > 0 ? a - 1 : 0; b <= a + 1 && b < v->knots; b++)
                for (int64_t l = 0; l < v->base; l++)
                    row += product(v, sum, a, j, b, l) * beta[b * v->base + l];
            error += row * beta[a * v->base + j];
        }
    return error;
}

/* From the mean at each knot to a hardly penalised fit. */
static const double penalties[] = {1e6, 1, 1e-1, 1e-2, 1e-3, 1e-4};
enum { PENALTIES = sizeof penalties / sizeof *penalties };

/* Room for one fold's equations. */
struct work {
    double *rest, *matrix, *side, *factor; /* [size], [n, n], [n], packed */
};

static void work_free(struct work *w)
{
    mem_free(w->rest);
    mem_free(w->matrix);
    mem_free(w->side);
    mem_free(w->factor);
}

static struct work work_of(const struct value_fit *v)
{
    int64_t n = v->knots * v->base;
    return (struct work){.rest = mem_alloc(v->size, sizeof(double)),
                         .matrix = mem_alloc(n * n, sizeof(double)),
                         .side = mem_alloc(n, sizeof(double)),
                         .factor = mem_alloc(dense_packed(n), sizeof(double))};
}

/* Sets w up for a fold: the sums of all the others. False: there are none. */
static bool others(const struct value_fit *v, int64_t fold, double penalty, struct work *w)
{
    for (int64_t i = 0; i < v->size; i++)
        w->rest[i] = v->memory[i] - v->fold[fold * v->size + i];
    equations(v, w->rest, penalty, w->matrix, w->side);
    return w->rest[v->size - 1] > 0.5;
}

/* Squared error on each fold of the others' fit, for each penalty: error[PENALTIES,
 * folds], infinite where a penalty is too small to solve the equations. Ranks take turns.
 * Collective. */
static int try_penalties(const struct value_fit *v, const struct comm *c, struct work *w,
                         double *error)
{
    int64_t jobs = PENALTIES * v->folds, n = v->knots * v->base;
    for (int64_t j = 0; j < jobs; j++) {
        error[j] = -INFINITY;
        if (j % c->size != c->rank)
            continue;
        if (!others(v, j % v->folds, penalties[j / v->folds], w)) {
            memset(w->side, 0, (size_t)n * sizeof *w->side);
        } else if (dense_cholesky(n, w->matrix, w->factor) == 0) {
            dense_forward(n, w->factor, w->side);
            dense_backward(n, w->factor, w->side);
        } else {
            err_clear();
            error[j] = INFINITY;
            continue;
        }
        error[j] = error_of(v, v->fold + j % v->folds * v->size, w->side);
    }
    return comm_max_f64(c, error, jobs);
}

static int choose(struct value_fit *v, const struct comm *c, struct work *w)
{
    double *error = mem_alloc(PENALTIES * v->folds, sizeof *error), best = INFINITY;
    int rc = try_penalties(v, c, w, error);
    for (int64_t i = 0; i < PENALTIES && rc == 0; i++) {
        double sum = 0;
        for (int64_t k = 0; k < v->folds; k++)
            sum += error[i * v->folds + k];
        if (sum < best) {
            best = sum;
            v->used_penalty = penalties[i];
        }
    }
    mem_free(error);
    return rc != 0 || best < INFINITY
               ? rc
               : err_set(ERR_NUMERIC, "no penalty lets the values be fitted: returns or "
                                      "features of states are not finite");
}

int value_fit_solve(struct value_fit *v, const struct comm *c)
{
    int64_t n = v->knots * v->base;
    struct work w = work_of(v);
    int rc = gather(v, c);
    for (int64_t i = 0; i < v->size; i++) {
        v->memory[i] *= v->memory_weight;
        for (int64_t k = 0; k < v->folds; k++)
            v->memory[i] += v->fold[k * v->size + i];
    }
    v->used_penalty = v->penalty;
    if (rc == 0 && v->penalty < 0)
        rc = choose(v, c, &w);
    for (int64_t k = 0; k < v->folds && rc == 0; k++)
        if (others(v, k, v->used_penalty, &w))
            rc = dense_solve(c, n, 1, w.matrix, w.side, v->beta + k * n);
    work_free(&w);
    if (rc == 0)
        return 0;
    return v->penalty < 0 ? err_add("value function (value.ridge: auto)")
                          : err_add("value function (value.ridge is %g: raise it, or set "
                                    "auto)", v->penalty);
}

double value_fit_at(const struct value_fit *v, int64_t sample, int64_t step,
                    const double *z)
{
    int64_t a;
    double next, here = 0, there = 0;
    value_features_step(v->features, step, &a, &next);
    const double *beta = v->beta + (sample % v->folds * v->knots + a) * v->base;
    for (int64_t l = 0; l < v->base; l++) {
        here += beta[l] * z[l];
        there += v->knots > 1 ? beta[v->base + l] * z[l] : 0;
    }
    return (1 - next) * here + next * there;
}

double value_fit_penalty(const struct value_fit *v)
{
    return v->used_penalty;
}
