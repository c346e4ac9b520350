/* Summaries and distances against closed forms. */
#include "stages/metric/fidelity.h"
#include "stages/metric/summary.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/tap.h"

#include <math.h>

static void test_summary(void)
{
    const double x[] = {4, 1, 3, 2, 5};
    struct summary s = summary_of(x, 5);
    tap_ok(s.mean == 3 && s.std == sqrt(2) && s.min == 1 && s.max == 5, "moments");
    tap_ok(fabs(s.error - sqrt(2.5 / 5)) < 1e-15, "standard error");
    tap_ok(s.median == 3 && s.q25 == 2 && fabs(s.q05 - 1.2) < 1e-15, "quantiles");
    tap_ok(isnan(summary_of(x, 1).error) && summary_of(x, 1).mean == 4, "one value");
    tap_ok(isnan(summary_of(x, 0).mean), "no value");
}

/* Normal numbers: quantiles of the standard normal; W1 of two normals of one width is the
 * distance of their means, and of two about one mean sqrt(2 / pi) |s - s'|. */
static void test_normal(void)
{
    enum { N = 20000 };
    float *z = mem_alloc(N, sizeof *z);
    double *x = mem_alloc(3 * N, sizeof *x), *y = x + N, *w = y + N;
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), z, N);
    for (int64_t i = 0; i < N; i++) {
        x[i] = (double)z[i];
        y[i] = (double)z[i] + 0.5;
        w[i] = 3 * (double)z[i];
    }
    struct summary s = summary_of(x, N);
    tap_ok(fabs(s.q05 + 1.644854) < 0.03 && fabs(s.q75 - 0.67449) < 0.02,
           "quantiles of normal numbers: %.4f, %.4f", s.q05, s.q75);
    summary_sort(x, N);
    summary_sort(y, N);
    summary_sort(w, N);
    tap_ok(fabs(summary_wasserstein(x, N, y, N) - 0.5) < 1e-12, "W1 of a shift");
    tap_ok(fabs(summary_wasserstein(x, N, w, N) - 2 * sqrt(2 / M_PI)) < 0.03,
           "W1 of two widths: %.4f", summary_wasserstein(x, N, w, N));
    tap_ok(summary_wasserstein(x, N, x, N) == 0, "W1 of a sample and itself");
    mem_free(z);
    mem_free(x);
}

static void test_wasserstein(void)
{
    const double x[] = {0, 1}, y[] = {0, 0, 3}, one[] = {2};
    tap_ok(fabs(summary_wasserstein(x, 2, one, 1) - 1.5) < 1e-15, "W1 to a point");
    /* F^-1: 0 up to 1/2, then 1; G^-1: 0 up to 2/3, then 3: 1/6 * 1 + 1/3 * 2 */
    tap_ok(fabs(summary_wasserstein(x, 2, y, 3) - 5.0 / 6) < 1e-15, "W1 of 2 and 3 values");
    tap_ok(summary_wasserstein(x, 2, y, 3) == summary_wasserstein(y, 3, x, 2), "symmetric");
}

/* AR(1): x_t = 0.8 x_{t-1} + e has lag-1 autocorrelation 0.8. */
static void test_lag1(void)
{
    enum { N = 40000 };
    float *e = mem_alloc(N, sizeof *e);
    const float flat[] = {2, 2, 2}, zig[] = {1, -1, 1, -1};
    rng_normal(rng_key(2, RNG_TEST, 0, 0, 0, 0), e, N);
    for (int64_t i = 1; i < N; i++)
        e[i] += 0.8f * e[i - 1];
    tap_ok(fabs(summary_lag1(e, N) - 0.8) < 0.015, "lag 1 of AR(1): %.4f",
           summary_lag1(e, N));
    tap_ok(summary_lag1(zig, 4) == -0.75 && isnan(summary_lag1(flat, 3)),
           "of a zigzag, of a constant");
    tap_ok(isnan(fidelity_lag1(flat, 1, 3)), "no row with variance");
    mem_free(e);
}

static void test_fidelity(void)
{
    const float x[] = {0, 0, 2, 2, 4, 4}, y[] = {1, 0, 3, 4, 5, 8};
    struct fidelity_marginal m[2], mean;
    double rows[3] = {0};
    fidelity_marginals(x, 3, y, 3, 2, 0, 2, m);
    tap_ok(m[0].mean_gap == 1 && m[0].std_gap == 0 && m[0].wasserstein == 1,
           "a shifted coordinate");
    tap_ok(m[1].mean_gap == 2 && fabs(m[1].wasserstein - 2) < 1e-15, "a stretched one");
    mean = fidelity_mean(m, 2);
    tap_ok(mean.mean_gap == 1.5 && mean.wasserstein == 1.5, "their mean");
    tap_ok(fidelity_distance(x, x + 4, 2) == 4, "distance of two samples");
    fidelity_pairs(x, 3, 2, 0, 3, rows);
    tap_ok(rows[0] == 6 && rows[1] == 2 && rows[2] == 0, "pairs, counted once");
}

int main(void)
{
    test_summary();
    test_normal();
    test_wasserstein();
    test_lag1();
    test_fidelity();
    return tap_done();
}
