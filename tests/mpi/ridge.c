/* ranks: 1 2 3 5 8 */
/* Ridge regression over a group: the bits of one process at every rank count, the
 * residual of the normal equations, and the worked example of SEIKO's bonus. Rank 0
 * prints. */
#include "stages/linalg/ridge.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/linalg/dense.h"
#include "tests/ranks.h"

struct data {
    int64_t m, k;
    double spread; /* the last feature is the first one and this much noise */
};

static int fill(void *ctx, int64_t first, int64_t n, double *phi, double *y,
                double *weight)
{
    const struct data *d = ctx;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = rng_key(5, RNG_TEST, first + i, d->m, d->k, 0);
        double *row = phi + i * d->m;
        for (int64_t j = 0; j < d->m; j++)
            row[j] = rng_uniform(key, j) - 0.5;
        if (d->spread > 0)
            row[d->m - 1] = row[0] + d->spread * row[d->m - 1];
        for (int64_t j = 0; j < d->k; j++)
            y[i * d->k + j] = row[j % d->m] + rng_uniform(key, d->m + j);
        weight[i] = (double)((first + i + 1) % 3);
    }
    return 0;
}

/* |A W - b| against |b|, from the rows themselves. */
static double normal_residual(const struct ridge_problem *p, struct data *d,
                              const struct ridge *r)
{
    double *out = mem_alloc(p->m, sizeof *out), *phi = mem_alloc(p->m, sizeof *phi);
    double *y = mem_alloc(p->k, sizeof *y), worst = 0, size = 0;
    for (int64_t j = 0; j < p->m; j++)
        out[j] = p->lambda * r->w[j];
    for (int64_t i = 0; i < p->rows; i++) {
        double weight = 1;
        fill(d, i, 1, phi, y, &weight);
        double error = weight * (ridge_mean(r, 0, phi) - y[0]);
        for (int64_t j = 0; j < p->m; j++) {
            out[j] += error * phi[j];
            size = fmax(size, fabs(weight * y[0] * phi[j]));
        }
    }
    for (int64_t j = 0; j < p->m; j++)
        worst = fmax(worst, fabs(out[j]));
    mem_free(out);
    mem_free(phi);
    mem_free(y);
    return worst / size;
}

static void one_size(const struct comm *c, int64_t rows, struct data d, double lambda)
{
    struct ridge_problem p = {.rows = rows, .m = d.m, .k = d.k, .lambda = lambda,
                              .factor = true, .fill = fill, .ctx = &d};
    struct comm self = comm_self();
    struct ridge *r = ridge_fit(c, &p), *one = ridge_fit(&self, &p);
    int64_t wrong = r == NULL || one == NULL;
    double residual = 0;
    if (!wrong) {
        wrong += memcmp(r->w, one->w, (size_t)(d.m * d.k) * sizeof(double)) != 0;
        wrong += memcmp(r->factor, one->factor,
                        (size_t)dense_packed(d.m) * sizeof(double)) != 0;
        residual = normal_residual(&p, &d, r);
    }
    ridge_destroy(r);
    ridge_destroy(one);
    if (comm_sum_i64(c, &wrong, 1) != 0)
        ERR_BUG("%s", err_text());
    if (c->rank == 0)
        tap_ok(wrong == 0 && residual < 1e-11,
               "%lld rows, %lld features, %lld targets, lambda %g: the bits of one rank, "
               "residual %.1e%s",
               (long long)rows, (long long)d.m, (long long)d.k, lambda, residual,
               wrong ? err_text() : "");
}

static int golden_rows(void *ctx, int64_t first, int64_t n, double *phi, double *y,
                       double *weight)
{
    static const double row[3][2] = {{1, 0}, {.5, .5}, {0, .2}};
    (void)ctx;
    (void)weight;
    memcpy(phi, row[first], (size_t)n * sizeof row[0]);
    memset(y, 0, (size_t)n * sizeof *y);
    return 0;
}

static void golden(const struct comm *c)
{
    static const double query[3][2] = {{1, 0}, {0, 1}, {2, 2}};
    static const double want[3] = {.982366, 2.036833, 3.717840};
    struct ridge_problem p = {.rows = 3, .m = 2, .k = 1, .lambda = 1e-3, .factor = true,
                              .fill = golden_rows};
    struct ridge *r = ridge_fit(c, &p);
    double work[2], grad[2];
    for (int i = 0; i < 3 && c->rank == 0; i++) {
        double std = ridge_std(r, query[i], work);
        tap_near(std, want[i], 5e-7, "deviation of the worked example");
        ridge_std_gradient(r, std, work, grad);
        tap_near(grad[0] * query[i][0] + grad[1] * query[i][1], std, 1e-12,
                 "its gradient (it is homogeneous of degree 1)");
    }
    ridge_destroy(r);
}

static int bad_rows(void *ctx, int64_t first, int64_t n, double *phi, double *y,
                    double *weight)
{
    int rc = fill(ctx, first, n, phi, y, weight);
    return first == 64 ? err_set(ERR_INPUT, "row 64 is damaged") : rc;
}

static void errors(const struct comm *c)
{
    struct data d = {.m = 3, .k = 1};
    struct ridge_problem p = {.rows = 300, .m = 3, .k = 1, .lambda = 1, .fill = bad_rows,
                              .ctx = &d};
    struct ridge *r = ridge_fit(c, &p);
    int64_t wrong = r != NULL || err_code() != ERR_INPUT;
    double bad[4] = {1, 2, 2, 1}, b[2] = {1, 1}, x[2];
    wrong += dense_solve(c, 2, 1, bad, b, x) == 0 || err_code() != ERR_NUMERIC;
    p.rows = 0;
    r = ridge_fit(c, &p);
    wrong += r == NULL || r->w[0] != 0 || r->w[2] != 0 || r->factor != NULL;
    ridge_destroy(r);
    if (comm_sum_i64(c, &wrong, 1) != 0)
        ERR_BUG("%s", err_text());
    if (c->rank == 0)
        tap_ok(wrong == 0, "all ranks see one rank's error, an indefinite matrix, no rows");
}

int main(int argc, char **argv)
{
    struct comm c = ranks_begin(&argc, &argv);
    golden(&c);
    errors(&c);
    one_size(&c, 1, (struct data){.m = 3, .k = 1}, 1);
    one_size(&c, 64, (struct data){.m = 17, .k = 2}, 1e-3);
    one_size(&c, 1000, (struct data){.m = 65, .k = 3, .spread = 1e-4}, 1e-9);
    one_size(&c, 700, (struct data){.m = 200, .k = 40}, 1e-2);
    one_size(&c, 500, (struct data){.m = 300, .k = 1}, 1e-3);
    return ranks_end(&c);
}
