/* Conjugate gradients behind krylov.h: a known solution, limits, failing operators. */
#include "stages/linalg/krylov.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/petsc.h"
#include "tests/tap.h"

#include <mpi.h>

/* The second difference plus 1, on n points: positive definite. */
struct operator
{
    int64_t n, calls, fail;
    double sign;
};

static int multiply(void *ctx, const double *v, double *av)
{
    struct operator* a = ctx;
    if (++a->calls == a->fail)
        return err_set(ERR_INPUT, "the operator gave up");
    for (int64_t i = 0; i < a->n; i++)
        av[i] = a->sign *
                (3 * v[i] - (i > 0 ? v[i - 1] : 0) - (i + 1 < a->n ? v[i + 1] : 0));
    return 0;
}

int main(int argc, char **argv)
{
    enum { N = 20000 }; /* three pieces */
    MPI_Init(&argc, &argv);
    struct operator a = {.n = N, .sign = 1};
    double *v = mem_alloc(4 * N, sizeof *v), *want = v, *b = v + N, *x = v + 2 * N,
           *again = v + 3 * N, far = 0;
    for (int64_t i = 0; i < N; i++)
        want[i] = sin(0.01 * (double)i) + (double)(i % 7);
    multiply(&a, want, b);
    struct krylov_result r = {0};
    int rc =
        krylov_solve(&(struct krylov_options){.iterations = 100, .tolerance = 1e-12}, N,
                     b, x, multiply, &a, &r);
    for (int64_t i = 0; i < N; i++)
        far = fmax(far, fabs(x[i] - want[i]));
    tap_ok(rc == 0 && far < 1e-9, "a known solution within %.2g after %lld iterations",
           far, (long long)r.iterations);
    rc = krylov_solve(&(struct krylov_options){.iterations = 3}, N, b, x, multiply, &a,
                      &r);
    tap_ok(rc == 0 && r.iterations == 3, "at most three iterations");
    rc = krylov_solve(&(struct krylov_options){.iterations = 3}, N, b, again, multiply,
                      &a, NULL);
    tap_ok(rc == 0 && memcmp(x, again, N * sizeof *x) == 0, "the same bits again");
    a.calls = 0;
    a.fail = 2;
    rc = krylov_solve(&(struct krylov_options){.iterations = 9}, N, b, x, multiply, &a,
                      NULL);
    tap_ok(rc != 0 && err_code() == ERR_INPUT, "a failing operator: %s", err_text());
    err_clear();
    a = (struct operator){.n = N, .sign = -1};
    rc = krylov_solve(&(struct krylov_options){.iterations = 9}, N, b, x, multiply, &a,
                      NULL);
    tap_ok(rc != 0 && err_code() == ERR_NUMERIC, "a negative one: %s", err_text());
    a.sign = (double)NAN;
    rc = krylov_solve(&(struct krylov_options){.iterations = 9}, N, b, x, multiply, &a,
                      NULL);
    tap_ok(rc != 0 && err_code() == ERR_NUMERIC, "one that is not finite: %s",
           err_text());
    mem_free(v);
    tap_ok(mem_live() == 0, "no memory is left");
    petsc_end();
    MPI_Finalize();
    return tap_done();
}
