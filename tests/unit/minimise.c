/* TAO behind minimise.h: known minima, bounds, failing and non-finite functions. */
#include "stages/linalg/minimise.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/petsc.h"
#include "tests/tap.h"

#include <mpi.h>
#include <signal.h>

/* Rosenbrock's function in pairs; minimum 0 at 1. */
static int rosenbrock(void *ctx, const double *x, double *value, double *g)
{
    int64_t n = *(int64_t *)ctx;
    *value = 0;
    for (int64_t i = 0; i < n; i += 2) {
        double a = 1 - x[i], b = x[i + 1] - x[i] * x[i];
        *value += a * a + 100 * b * b;
        g[i] = -2 * a - 400 * b * x[i];
        g[i + 1] = 200 * b;
    }
    return 0;
}

static void test_rosenbrock(enum minimise_method method, const char *name)
{
    enum { N = 10 };
    int64_t n = N;
    double x[2][N], far = 0;
    struct minimise_result r[2];
    const struct minimise_options o = {
        .method = method, .iterations = 500, .gradient_tolerance = 1e-8};
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < N; i++)
            x[k][i] = i % 2 ? 1 : -1.2;
        r[k] = (struct minimise_result){0};
        int rc = minimise_run(&o, n, x[k], rosenbrock, &n, &r[k]);
        tap_ok(rc == 0 && r[k].converged, "%s: %lld iterations, %lld evaluations: %s",
               name, (long long)r[k].iterations, (long long)r[k].evaluations,
               rc == 0 ? r[k].reason : err_text());
    }
    for (int i = 0; i < N; i++)
        far = fmax(far, fabs(x[0][i] - 1));
    tap_near(far, 0, 1e-6, "Rosenbrock's minimum");
    tap_ok(memcmp(x[0], x[1], sizeof x[0]) == 0 && r[0].value == r[1].value,
           "again: the same bits");
}

/* sum (i + 1) (x_i - 2)^2 / 2 - n, least at 2 where nothing forbids it. */
static int bowl(void *ctx, const double *x, double *value, double *g)
{
    int64_t n = *(int64_t *)ctx;
    *value = -(double)n;
    for (int64_t i = 0; i < n; i++) {
        g[i] = (double)(i + 1) * (x[i] - 2);
        *value += g[i] * (x[i] - 2) / 2;
    }
    return 0;
}

static void test_bounds(enum minimise_method method, const char *name)
{
    double x[4] = {0, 0, 0, 0}, low[4] = {-1, 3, -HUGE_VAL, 2},
           high[4] = {1, HUGE_VAL, HUGE_VAL, 2};
    const double want[4] = {1, 3, 2, 2};
    int64_t n = 4;
    struct minimise_result r;
    const struct minimise_options o = {.method = method,
                                       .iterations = 100,
                                       .gradient_tolerance = 1e-9,
                                       .low = low,
                                       .high = high};
    int rc = minimise_run(&o, n, x, bowl, &n, &r);
    double far = 0;
    for (int i = 0; i < 4; i++)
        far = fmax(far, fabs(x[i] - want[i]));
    tap_ok(rc == 0 && r.converged, "%s with bounds: %s", name,
           rc ? err_text() : r.reason);
    tap_near(far, 0, 1e-8, "the minimum within the bounds");
    tap_near(r.value, -4 + .5 + 1, 1e-8, "its value");
}

/* Fails at its third evaluation. */
static int failing(void *ctx, const double *x, double *value, double *g)
{
    int *calls = ctx;
    int64_t n = 2;
    if (++*calls == 3)
        return err_set(ERR_REWARD, "the third evaluation fails");
    return rosenbrock(&n, x, value, g);
}

/* Not a number left of -1.1. */
static int broken(void *ctx, const double *x, double *value, double *g)
{
    int64_t n = 2;
    (void)ctx;
    rosenbrock(&n, x, value, g);
    if (x[0] > -1.1)
        *value = (double)NAN;
    return 0;
}

static void test_errors(void)
{
    double x[2] = {-1.2, 1};
    int calls = 0;
    int64_t n = 2;
    struct minimise_result r;
    struct minimise_options o = {.iterations = 100, .gradient_tolerance = 1e-8};
    tap_ok(minimise_run(&o, 2, x, failing, &calls, &r) == -1 &&
               err_code() == ERR_REWARD && strstr(err_text(), "third") != NULL &&
               calls == 3,
           "an error of the function comes through: %s", err_text());
    tap_ok(x[0] == -1.2 && x[1] == 1, "the start is not touched");
    err_clear();
    tap_ok(minimise_run(&o, 2, x, broken, NULL, &r) == -1 && err_code() == ERR_NUMERIC,
           "not a number: %s", err_text());
    err_clear();
    tap_ok(minimise_run(&o, 2, x, rosenbrock, &n, NULL) == 0 && fabs(x[0] - 1) < 1e-6,
           "the next minimisation works");
    x[0] = -1.2;
    o.iterations = 2;
    int rc = minimise_run(&o, 2, x, rosenbrock, &n, &r);
    tap_ok(rc == 0 && !r.converged && r.iterations == 2, "a limit on iterations: %s",
           rc == 0 ? r.reason : err_text());
}

/* Signals and the environment stay ours. */
static void test_session(void)
{
    struct sigaction before, after;
    sigaction(SIGSEGV, NULL, &before);
    tap_ok(petsc_begin() == 0 && petsc_begin() == 0, "the session begins once");
    sigaction(SIGSEGV, NULL, &after);
    tap_ok(before.sa_handler == after.sa_handler, "signal handlers are left alone");
}

int main(void)
{
    double x = 0;
    int64_t n = 1;
    const struct minimise_options o = {.iterations = 1};
    setenv("PETSC_OPTIONS", "-tao_max_it 1 -tao_view -help", 1);
    tap_ok(minimise_run(&o, 1, &x, bowl, &n, NULL) == -1 && err_code() == ERR_ENV,
           "without MPI: %s", err_text());
    MPI_Init(NULL, NULL);
    test_session();
    test_rosenbrock(MINIMISE_LMVM, "lmvm");
    test_rosenbrock(MINIMISE_BLMVM, "blmvm");
    test_rosenbrock(MINIMISE_CG, "cg");
    test_bounds(MINIMISE_BLMVM, "blmvm");
    test_bounds(MINIMISE_CG, "cg");
    test_errors();
    tap_ok(mem_live() == 0, "no memory is left");
    petsc_end();
    MPI_Finalize();
    return tap_done();
}
