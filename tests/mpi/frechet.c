/* ranks: 1 2 3 5 8 */
/* The Frechet distance against closed forms: diagonal, commuting and 2x2 Gaussians, and a
 * set against itself shifted. Rank 0 prints. */
#include "stages/linalg/frechet.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/ranks.h"

static double distance(const struct comm *c, int64_t d, const double *m1, const double *s1,
                       const double *m2, const double *s2)
{
    double got = NAN;
    struct frechet_gaussian a = {m1, s1}, b = {m2, s2};
    if (frechet_gaussians(c, d, a, b, &got) != 0)
        ERR_BUG("%s", err_text());
    return got;
}

static void near(const struct comm *c, double got, double want, double tol,
                 const char *what)
{
    if (c->rank == 0)
        tap_near(got, want, tol * fmax(1, fabs(want)), what);
}

/* Sums of squares of differences of means and of standard deviations. */
static void commuting(const struct comm *c, int64_t d, int rotate)
{
    double *s1 = mem_alloc(d * d, sizeof *s1), *s2 = mem_alloc(d * d, sizeof *s2);
    double *m = mem_alloc(2 * d, sizeof *m), want = 0;
    double *axis = mem_alloc(d, sizeof *axis), norm = 0;
    for (int64_t i = 0; i < d; i++) {
        axis[i] = rng_uniform(3, i) - 0.5;
        norm += axis[i] * axis[i];
    }
    for (int64_t k = 0; k < d; k++) {
        double a = 0.1 + (double)(k % 7), b = k == 1 ? 0 : 2.0 / (double)(k + 1);
        m[k] = rng_uniform(1, k);
        m[d + k] = rng_uniform(2, k);
        want += (m[k] - m[d + k]) * (m[k] - m[d + k]);
        want += (sqrt(a) - sqrt(b)) * (sqrt(a) - sqrt(b));
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) { /* column k of the reflection I - 2 v v^T */
                double p = (i == k) - (rotate ? 2 * axis[i] * axis[k] / norm : 0);
                double q = (j == k) - (rotate ? 2 * axis[j] * axis[k] / norm : 0);
                s1[i * d + j] += a * p * q;
                s2[i * d + j] += b * p * q;
            }
    }
    near(c, distance(c, d, m, s1, m + d, s2), want, 1e-7,
         rotate ? "commuting covariances" : "diagonal covariances");
    mem_free(s1);
    mem_free(s2);
    mem_free(m);
    mem_free(axis);
}

/* tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 det S2)) in two dimensions. */
static void two(const struct comm *c, uint64_t key)
{
    double s[2][4], m[4] = {0}, trace = 0, product = 0;
    for (int i = 0; i < 2; i++) {
        double a = rng_uniform(key, 4 * i), b = rng_uniform(key, 4 * i + 1) - 0.5;
        double e = rng_uniform(key, 4 * i + 2);
        s[i][0] = a * a + 0.01;
        s[i][1] = s[i][2] = a * b;
        s[i][3] = b * b + e * e + 0.01;
        trace += s[i][0] + s[i][3];
    }
    for (int i = 0; i < 4; i++)
        product += s[0][i] * s[1][i];
    double det = (s[0][0] * s[0][3] - s[0][1] * s[0][1]) *
                 (s[1][0] * s[1][3] - s[1][1] * s[1][1]);
    near(c, distance(c, 2, m, s[0], m + 2, s[1]),
         trace - 2 * sqrt(product + 2 * sqrt(det)), 1e-9, "two dimensions");
}

/* A set and the set moved and stretched: S2 = f^2 S1, so |m1 - m2|^2 + (1-f)^2 tr S1. */
static void samples(const struct comm *c)
{
    enum { N = 300, D = 40 };
    double *x = mem_alloc(N * D, sizeof *x), *y = mem_alloc(N * D, sizeof *y);
    double mean[D], *cov = mem_alloc(D * D, sizeof *cov), got, want = 0, alone;
    struct comm self = comm_self();
    for (int64_t i = 0; i < N * D; i++) {
        x[i] = rng_uniform(8, i) * (double)(1 + i % D);
        y[i] = 3 * x[i] + 1;
    }
    int rc = frechet_distance(c, x, N, y, N, D, &got);
    rc += frechet_distance(&self, x, N, y, N, D, &alone);
    rc += frechet_moments(c, x, N, D, mean, cov);
    for (int i = 0; i < D; i++)
        want += (2 * mean[i] + 1) * (2 * mean[i] + 1) + 4 * cov[i * D + i];
    near(c, rc == 0 ? got : NAN, want, 1e-9, "a set moved and stretched");
    near(c, got, alone, 1e-10, "as in one process");
    rc = frechet_distance(c, x, 1, y, N, D, &got);
    if (c->rank == 0)
        tap_ok(rc != 0 && err_code() == ERR_INPUT, "one sample: %s", err_text());
    mem_free(x);
    mem_free(y);
    mem_free(cov);
}

int main(int argc, char **argv)
{
    struct comm c = ranks_begin(&argc, &argv);
    commuting(&c, 1, 0);
    commuting(&c, 6, 0);
    commuting(&c, 70, 1);
    for (uint64_t key = 0; key < 5; key++)
        two(&c, key);
    samples(&c);
    return ranks_end(&c);
}
