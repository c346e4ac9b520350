/* Stop rules, and the particle entropy bonus against closed forms. */
#include "stages/particles.h"
#include "stages/watch.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/tap.h"

#include <math.h>
#include <string.h>

static bool ends(const struct watch *w, const double *m, const char *key)
{
    struct text why = {0};
    bool yes = watch_ends(w, m, &why);
    if (yes && strstr(why.s, key) == NULL)
        yes = false;
    text_free(&why);
    return yes;
}

static void test_watch(void)
{
    double m[METRICS];
    struct watch w = {0};
    for (int i = 0; i < METRICS; i++)
        m[i] = NAN;
    w = (struct watch){.kl_budget = 3, .guard_drop = 0.5, .guard_errors = 2};
    tap_ok(!ends(&w, m, ""), "metrics that are not known end nothing");
    m[METRIC_KL_PATH] = 3;
    tap_ok(!ends(&w, m, ""), "a budget that is met");
    m[METRIC_KL_PATH] = 3.01;
    tap_ok(ends(&w, m, "run.kl_budget"), "a budget that is exceeded");
    w.kl_budget = 0;
    m[METRIC_GUARD_FIRST] = 1;
    m[METRIC_GUARD_MEAN] = 0.6;
    m[METRIC_GUARD_FIRST_ERROR] = 0.3;
    m[METRIC_GUARD_ERROR] = 0.4; /* 0.5 for the difference */
    tap_ok(!ends(&w, m, ""), "a small fall");
    m[METRIC_GUARD_MEAN] = 0.4;
    tap_ok(ends(&w, m, "run.guard_drop"), "a fall in units");
    w.guard_drop = 0;
    tap_ok(!ends(&w, m, ""), "1.2 standard errors");
    m[METRIC_GUARD_MEAN] = -0.1;
    tap_ok(ends(&w, m, "run.guard_errors"), "2.2 standard errors");
    m[METRIC_GUARD_MEAN] = 5;
    tap_ok(!ends(&w, m, ""), "a rise");
}

static void test_particles(void)
{
    const float x[] = {0, 1, 3, 3};
    const int64_t label[] = {0, 0, 0, 1};
    struct entropy_options o = {.weight = 2, .neighbour = 1};
    const struct particles p = {4, 1, x, label};
    double b[4];
    particles_score(&p, &o, 0, 4, b);
    tap_ok(b[0] == 0 && b[1] == 0 && b[2] == 2 * log(1e-6) && b[3] == b[2],
           "nearest neighbours; twins have the floor");
    const float broken[] = {NAN, 0, 1, NAN, 4, NAN};
    const struct particles q = {6, 1, broken, label};
    double c[6];
    o.neighbour = 1;
    particles_score(&q, &o, 0, 6, c);
    tap_ok(c[1] == 0 && c[2] == 0 && c[4] == 2 * log(3) && c[0] == 0,
           "a sample that is not finite is nobody's neighbour");
    o.neighbour = 2;
    particles_score(&p, &o, 0, 4, b);
    tap_ok(b[0] == 2 * log(3) && b[1] == 2 * log(2), "second neighbours");
    o.by_prompt = true;
    particles_score(&p, &o, 0, 4, b);
    tap_ok(b[2] == 2 * log(3) && b[3] == 0, "of the same prompt; 0 where there are too few");
    o = (struct entropy_options){.weight = 1, .neighbour = 9};
    particles_score(&p, &o, 0, 4, b);
    tap_ok(b[0] == 0, "more neighbours than samples");
}

/* Kozachenko & Leonenko: H ~ mean log r + log 2 + log(n - 1) - psi(1) in one dimension; of
 * the standard normal H = log(2 pi e) / 2. */
static void test_entropy(void)
{
    enum { N = 3000 };
    const struct entropy_options o = {.weight = 1, .neighbour = 1};
    float *x = mem_alloc(N, sizeof *x);
    double *b = mem_alloc(N, sizeof *b), mean = 0;
    const struct particles p = {N, 1, x, NULL};
    rng_normal(rng_key(3, RNG_TEST, 0, 0, 0, 0), x, N);
    particles_score(&p, &o, 0, N, b);
    for (int64_t i = 0; i < N; i++)
        mean += b[i] / N;
    tap_near(mean + log(2) + log(N - 1) + 0.57721566490153286, 0.5 * log(2 * M_PI * M_E), 0.06,
             "entropy of the standard normal");
    mem_free(x);
    mem_free(b);
}

int main(void)
{
    test_watch();
    test_particles();
    test_entropy();
    return tap_done();
}
