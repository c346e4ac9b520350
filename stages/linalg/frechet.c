/* Frechet distance. (S1 S2)^(1/2) has the trace of (S1^(1/2) S2 S1^(1/2))^(1/2), whose
 * argument is symmetric: two symmetric eigenproblems, and eigenvalues that rounding made
 * negative count as 0. */
#include "stages/linalg/frechet.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/dense.h"
#include "stages/linalg/treesum.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEAF = 64 };

/* out <- sum over rows of (x - shift) [d], or of its outer products [d, d]. */
static int sum_rows(const struct comm *c, const double *x, int64_t n, int64_t d,
                    const double *shift, double *out)
{
    int64_t leaf, number, size = shift == NULL ? d : d * d;
    struct treesum *t = treesum_create(c, size, (n + LEAF - 1) / LEAF);
    treesum_leaves(t, &leaf, &number);
    for (int64_t end = leaf + number; leaf < end; leaf++) {
        double *v = treesum_leaf(t);
        int64_t last = (leaf + 1) * LEAF < n ? (leaf + 1) * LEAF : n;
        for (int64_t r = leaf * LEAF; r < last; r++) {
            const double *row = x + r * d;
            for (int64_t i = 0; i < d; i++) {
                if (shift == NULL) {
                    v[i] += row[i];
                    continue;
                }
                double f = row[i] - shift[i];
                for (int64_t j = 0; j < d; j++)
                    v[i * d + j] += f * (row[j] - shift[j]);
            }
        }
    }
    int rc = treesum_finish(t, out);
    treesum_destroy(t);
    return rc;
}

int frechet_moments(const struct comm *c, const double *x, int64_t n, int64_t d,
                    double *mean, double *covariance)
{
    if (n < 2)
        return err_set(ERR_INPUT, "a covariance needs at least 2 samples, not %lld",
                       (long long)n);
    if (sum_rows(c, x, n, d, NULL, mean) != 0)
        return -1;
    for (int64_t i = 0; i < d; i++)
        mean[i] /= (double)n;
    if (sum_rows(c, x, n, d, mean, covariance) != 0)
        return -1;
    for (int64_t i = 0; i < d * d; i++)
        covariance[i] /= (double)(n - 1);
    return 0;
}

/* root <- S^(1/2) = V^T sqrt(value) V, V having eigenvectors as rows. */
static int square_root(const struct comm *c, int64_t d, const double *s, double *root)
{
    double *value = mem_alloc(d, sizeof *value), *v = mem_alloc(d * d, sizeof *v);
    double *left = mem_alloc(d * d, sizeof *left);
    int rc = dense_eigen(c, d, s, value, v);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            left[j * d + i] = sqrt(fmax(value[i], 0)) * v[i * d + j];
    if (rc == 0)
        rc = dense_product(c, (int64_t[]){d, d, d}, left, v, root);
    mem_free(value);
    mem_free(v);
    mem_free(left);
    return rc;
}

int frechet_gaussians(const struct comm *c, int64_t d, struct frechet_gaussian a,
                      struct frechet_gaussian b, double *distance)
{
    const int64_t shape[3] = {d, d, d};
    double *root = mem_alloc(d * d, sizeof *root), *half = mem_alloc(d * d, sizeof *half);
    double *inner = mem_alloc(d * d, sizeof *inner), *value = mem_alloc(d, sizeof *value);
    double total = 0;
    char text[64];
    int rc = square_root(c, d, a.covariance, root);
    if (rc == 0)
        rc = dense_product(c, shape, b.covariance, root, half);
    if (rc == 0)
        rc = dense_product(c, shape, root, half, inner);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++)
            inner[i * d + j] = inner[j * d + i] =
                (inner[i * d + j] + inner[j * d + i]) / 2;
    if (rc == 0)
        rc = dense_eigen(c, d, inner, value, half);
    for (int64_t i = 0; i < d && rc == 0; i++) {
        double gap = a.mean[i] - b.mean[i];
        total += gap * gap;
        total += a.covariance[i * d + i] + b.covariance[i * d + i];
        total -= 2 * sqrt(fmax(value[i], 0));
    }
    if (rc == 0)
        rc = comm_bcast(c, &total, sizeof total, 0);
    snprintf(text, sizeof text, "%.11e", fmax(total, 0));
    *distance = strtod(text, NULL);
    mem_free(root);
    mem_free(half);
    mem_free(inner);
    mem_free(value);
    return rc;
}

int frechet_distance(const struct comm *c, const double *x, int64_t n, const double *y,
                     int64_t m, int64_t d, double *distance)
{
    double *mean = mem_alloc(2 * d, sizeof *mean);
    double *cov = mem_alloc(2 * d * d, sizeof *cov);
    int rc = frechet_moments(c, x, n, d, mean, cov);
    if (rc == 0)
        rc = frechet_moments(c, y, m, d, mean + d, cov + d * d);
    if (rc == 0)
        rc = frechet_gaussians(
            c, d, (struct frechet_gaussian){.mean = mean, .covariance = cov},
            (struct frechet_gaussian){.mean = mean + d, .covariance = cov + d * d},
            distance);
    mem_free(mean);
    mem_free(cov);
    return rc;
}
