/* The fit by normal equations. With interpolation between knots the matrix is block
 * tridiagonal: 2 knots - 1 blocks [base, base] (knot a with itself, a with a + 1, ...).
 * Ranks share the rows of the blocks, every row is summed over samples and steps in their
 * order, so the sums have the same bits for any number of ranks. */
#include "stages/value_fit.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

struct value_fit {
    const struct value_features *features;
    int64_t base, knots, blocks, folds, steps;
    double penalty, memory_weight, used_penalty, explained;
    /* Sums of a fold: products [base, blocks, base], moments [knots, base], squares and
     * weights of the targets [1], [1]. */
    int64_t size, rows; /* of a fold's sums; of one row of products */
    double *fold;       /* [folds, size] */
    double *memory;     /* [size] of previous iterations */
    double *part;       /* [base] one row's products of a step */
    double *beta;       /* [folds, knots, base] */
    bool *seen;         /* [folds] whether the others have data */
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

/* In place: lower Cholesky factor of m[n, n], then x[n] <- its solution. -1: not positive
 * definite. */
static int cholesky(int64_t n, double *m, double *x)
{
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = j; i < n; i++) {
            double s = m[i * n + j];
            for (int64_t k = 0; k < j; k++)
                s -= m[i * n + k] * m[j * n + k];
            if (i == j && !(s > 0 && isfinite(s)))
                return -1;
            m[i * n + j] = i == j ? sqrt(s) : s / m[j * n + j];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            x[i] -= m[i * n + k] * x[k];
        x[i] /= m[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++)
            x[i] -= m[k * n + i] * x[k];
        x[i] /= m[i * n + i];
    }
    return 0;
}

/* Coefficients for the sums `rest`; the constants bear next to no penalty. */
static int solve(const struct value_fit *v, const double *rest, double penalty,
                 double *beta)
{
    int64_t n = v->knots * v->base;
    const double *moment = rest + v->base * v->rows, weight = moment[n + 1];
    if (weight <= 0) {
        memset(beta, 0, (size_t)n * sizeof *beta);
        return 0;
    }
    double *m = mem_alloc(n * n, sizeof *m);
    for (int64_t a = 0; a < v->knots; a++)
        for (int64_t b = 0; b <= a; b++)
            for (int64_t j = 0; j < v->base; j++)
                for (int64_t l = 0; l < v->base; l++)
                    m[(a * v->base + j) * n + b * v->base + l] =
                        product(v, rest, a, j, b, l);
    for (int64_t i = 0; i < n; i++)
        m[i * n + i] += weight * (i % v->base == 0 ? 1e-12 : penalty);
    memcpy(beta, moment, (size_t)n * sizeof *beta);
    int rc = cholesky(n, m, beta);
    mem_free(m);
    return rc == 0 ? 0
                   : err_set(ERR_NUMERIC, "the value function's normal equations cannot be "
                                          "solved: states or rewards are not finite, or "
                                          "value.ridge is too small");
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

/* Fits every fold with a penalty; *error: of the values of what was left out. */
static int fit_folds(struct value_fit *v, const double *all, double penalty, double *beta,
                     double *error)
{
    double *rest = mem_alloc(v->size, sizeof *rest);
    int rc = 0;
    *error = 0;
    for (int64_t k = 0; k < v->folds && rc == 0; k++) {
        const double *own = v->fold + k * v->size;
        for (int64_t i = 0; i < v->size; i++)
            rest[i] = all[i] - own[i];
        rc = solve(v, rest, penalty, beta + k * v->knots * v->base);
        *error += error_of(v, own, beta + k * v->knots * v->base);
    }
    mem_free(rest);
    return rc;
}

/* From a hardly penalised fit to the mean at each knot. */
static const double penalties[] = {1e6, 1, 1e-1, 1e-2, 1e-3, 1e-4};

int value_fit_solve(struct value_fit *v, const struct comm *c)
{
    int64_t n = v->folds * v->knots * v->base;
    double *beta = mem_alloc(n, sizeof *beta), best = INFINITY, error, level = 0;
    int rc = gather(v, c), some = v->penalty < 0;
    for (int64_t i = 0; i < v->size; i++) {
        v->memory[i] *= v->memory_weight;
        for (int64_t k = 0; k < v->folds; k++)
            v->memory[i] += v->fold[k * v->size + i];
    }
    for (size_t i = 0; i < (some ? sizeof penalties / sizeof *penalties : 1) && rc == 0;
         i++) {
        double penalty = some ? penalties[i] : v->penalty;
        rc = fit_folds(v, v->memory, penalty, beta, &error);
        if (i == 0)
            level = error;
        if (rc == 0 && error < best) {
            best = error;
            v->used_penalty = penalty;
            memcpy(v->beta, beta, (size_t)n * sizeof *beta);
        }
    }
    v->explained = level > 0 ? 1 - best / level : 0;
    mem_free(beta);
    return rc;
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

double value_fit_explained(const struct value_fit *v)
{
    return v->explained;
}
