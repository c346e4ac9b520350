/* Running statistics against closed forms, also where weights exceed a double. */
#include "stages/metric/sums.h"

#include "tests/tap.h"

#include <math.h>
#include <stddef.h>

static int near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(1, fabs(b));
}

static void test_moments(void)
{
    struct moments m = {0};
    tap_ok(isnan(moments_mean(&m)) && isnan(moments_std(&m)), "no values: NaN");
    for (int i = 1; i <= 4; i++)
        moments_add(&m, 1e9 + i);
    moments_add(&m, NAN);
    moments_add(&m, INFINITY);
    tap_ok(m.n == 4 && near(m.mean, 1e9 + 2.5) && near(moments_std(&m), sqrt(1.25)),
           "1 to 4 behind a large offset; what is not finite is left out");
    tap_ok(near(moments_error(&m), sqrt(5. / 3 / 4)) && m.max - m.min == 3,
           "standard error and range");
}

static void test_pairs(void)
{
    struct pairs p = {0};
    double error;
    tap_ok(isnan(pairs_correlation(&p)) && isnan(pairs_slope(&p, &error)), "no pairs: NaN");
    const double x[] = {0, 1, 2, 3}, y[] = {1, 3, 2, 4};
    for (int i = 0; i < 4; i++)
        pairs_add(&p, x[i], y[i]);
    tap_ok(near(pairs_correlation(&p), 0.8), "correlation 0.8");
    tap_ok(near(pairs_slope(&p, &error), 0.8) && near(error, sqrt(1.8 / 2 / 5)),
           "slope 0.8 and its error");
    pairs_add(&p, NAN, 1);
    tap_ok(p.n == 4, "a pair with a NaN is left out");
    p = (struct pairs){0};
    for (int i = 0; i < 4; i++)
        pairs_add(&p, i % 2 == 0 ? 0.3 : 0.1 + 0.2, y[i]);
    tap_ok(p.xx > 0 && isnan(pairs_correlation(&p)), "rounding is no variation");
}

static void test_weights(void)
{
    struct weights s = {0};
    double error;
    tap_ok(isnan(weights_size(&s)), "no weights: NaN");
    const double w[] = {1, 3, 2}, y[] = {1, 2, 6};
    for (int shift = 0; shift <= 2000; shift += 2000) {
        s = (struct weights){0};
        for (int i = 0; i < 3; i++)
            weights_add(&s, log(w[i]) - shift, y[i]);
        double mean = weights_mean(&s, &error);
        tap_ok(near(weights_size(&s), 36. / 14), "effective size 36/14 at e^-%d", shift);
        tap_ok(near(mean, 19. / 6), "mean 19/6 at e^-%d", shift);
        double want = 0;
        for (int i = 0; i < 3; i++)
            want += w[i] * w[i] * (y[i] - mean) * (y[i] - mean);
        tap_ok(near(error, sqrt(want) / 6), "its error at e^-%d", shift);
    }
    s = (struct weights){0};
    for (int i = 0; i < 3; i++)
        weights_add(&s, log(w[i]), y[i]);
    tap_ok(near(weights_plain(&s), 19. / 3), "plain estimate 19/3");
}

int main(void)
{
    test_moments();
    test_pairs();
    test_weights();
    return tap_done();
}
