/* Ridge regression. Leaves of RIDGE_LEAF rows add to the upper triangle of the Gram
 * matrix and to the right sides, row after row; the leaves are added canonically. */
#include "stages/linalg/ridge.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/dense.h"
#include "stages/linalg/treesum.h"

#include <math.h>
#include <string.h>

struct ridge *ridge_create(int64_t m, int64_t k, bool factor)
{
    struct ridge *r = mem_alloc(1, sizeof *r);
    r->m = m;
    r->k = k;
    r->w = mem_alloc(k * m, sizeof *r->w);
    if (factor)
        r->factor = mem_alloc(dense_packed(m), sizeof *r->factor);
    return r;
}

void ridge_destroy(struct ridge *r)
{
    if (r == NULL)
        return;
    mem_free(r->w);
    mem_free(r->factor);
    mem_free(r);
}

/* sums: packed upper triangle [m (m + 1) / 2], then right sides [k, m]. */
static void add_row(const struct ridge_problem *p, const double *phi, const double *y,
                    double weight, double *sums)
{
    for (int64_t i = 0; i < p->m; i++) {
        double f = weight * phi[i];
        if (f != 0)
            for (int64_t j = i; j < p->m; j++)
                sums[j - i] += f * phi[j];
        sums += p->m - i;
    }
    for (int64_t t = 0; t < p->k; t++) {
        double f = weight * y[t];
        for (int64_t j = 0; j < p->m; j++)
            sums[j] += f * phi[j];
        sums += p->m;
    }
}

static int add_leaves(const struct ridge_problem *p, struct treesum *sum)
{
    double *phi = mem_alloc(RIDGE_LEAF * p->m, sizeof *phi);
    double *y = mem_alloc(RIDGE_LEAF * p->k, sizeof *y);
    double weight[RIDGE_LEAF];
    int64_t leaf, number;
    int rc = 0;
    treesum_leaves(sum, &leaf, &number);
    for (int64_t end = leaf + number; leaf < end && rc == 0; leaf++) {
        int64_t first = leaf * RIDGE_LEAF, n = p->rows - first;
        n = n < RIDGE_LEAF ? n : RIDGE_LEAF;
        double *v = treesum_leaf(sum);
        for (int64_t i = 0; i < n; i++)
            weight[i] = 1;
        rc = p->fill(p->ctx, first, n, phi, y, weight);
        for (int64_t i = 0; i < n && rc == 0; i++)
            add_row(p, phi + i * p->m, y + i * p->k, weight[i], v);
    }
    mem_free(phi);
    mem_free(y);
    return rc;
}

static int solve(const struct comm *c, const struct ridge_problem *p, const double *sums,
                 struct ridge *r)
{
    double *a = mem_alloc(p->m * p->m, sizeof *a);
    const double *row = sums;
    int rc = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = i; j < p->m; j++)
            a[i * p->m + j] = a[j * p->m + i] = row[j - i];
        a[i * p->m + i] += p->lambda;
        row += p->m - i;
    }
    if (r->factor != NULL)
        rc = dense_cholesky(p->m, a, r->factor);
    if (rc == 0)
        rc = dense_solve(c, p->m, p->k, a, row, r->w);
    mem_free(a);
    return rc;
}

struct ridge *ridge_fit(const struct comm *c, const struct ridge_problem *p)
{
    int64_t n = dense_packed(p->m) + p->k * p->m;
    int64_t leaves = (p->rows + RIDGE_LEAF - 1) / RIDGE_LEAF;
    struct treesum *sum = treesum_create(c, n, leaves);
    struct ridge *r = ridge_create(p->m, p->k, p->factor);
    double *total = mem_alloc(n, sizeof *total);
    ERR_BUG_IF(p->m < 1 || p->k < 1 || !(p->lambda > 0));
    int rc = comm_agree(c, add_leaves(p, sum));
    if (rc == 0)
        rc = treesum_finish(sum, total);
    for (int64_t i = 0; i < n && rc == 0; i++)
        if (!isfinite(total[i]))
            rc = err_set(ERR_NUMERIC, "ridge regression: features or targets of the %lld "
                                      "rows are not finite", (long long)p->rows);
    if (rc == 0)
        rc = solve(c, p, total, r);
    if (rc != 0) {
        ridge_destroy(r);
        r = NULL;
    }
    treesum_destroy(sum);
    mem_free(total);
    return r;
}

double ridge_mean(const struct ridge *r, int64_t j, const double *phi)
{
    const double *w = r->w + j * r->m;
    double s = 0;
    for (int64_t i = 0; i < r->m; i++)
        s += w[i] * phi[i];
    return s;
}

double ridge_std(const struct ridge *r, const double *phi, double *work)
{
    double s = 0;
    memcpy(work, phi, (size_t)r->m * sizeof *work);
    dense_forward(r->m, r->factor, work);
    for (int64_t i = 0; i < r->m; i++)
        s += work[i] * work[i];
    return sqrt(s);
}

void ridge_std_gradient(const struct ridge *r, double std, const double *work,
                        double *grad)
{
    memcpy(grad, work, (size_t)r->m * sizeof *grad);
    dense_backward(r->m, r->factor, grad);
    for (int64_t i = 0; i < r->m; i++)
        grad[i] = std > 0 ? grad[i] / std : 0;
}

void ridge_draw(const struct ridge *r, int64_t j, double noise, const double *z, double *w)
{
    memcpy(w, z, (size_t)r->m * sizeof *w);
    dense_backward(r->m, r->factor, w);
    for (int64_t i = 0; i < r->m; i++)
        w[i] = r->w[j * r->m + i] + noise * w[i];
}
