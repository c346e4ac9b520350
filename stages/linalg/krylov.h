/* Conjugate gradients by PETSc on this process alone (Hestenes & Stiefel 1952). The
 * same operator and right-hand side give the same bits, whatever BLAS's threads. */
#ifndef SLUICE_STAGES_LINALG_KRYLOV_H
#define SLUICE_STAGES_LINALG_KRYLOV_H

#include <stdint.h>

struct krylov_options {
    int64_t iterations; /* most; using all of them is no error */
    double tolerance;   /* stop at this multiple of |b| in the residual */
};

struct krylov_result {
    int64_t iterations;
    double residual; /* |b - A x| as the recursion has it */
};

/* av[n] = A v[n], A symmetric and positive definite. -1 with a pending error ends the
 * solution. */
typedef int (*krylov_f)(void *ctx, const double *v, double *av);

/* x[n] (in: anything, out: the solution from x = 0) with A x = b[n]; r may be NULL.
 * ERR_NUMERIC: A is not positive definite or something is not finite; f's own error;
 * ERR_ENV: MPI is not up. Begins the PETSc session. Not collective. */
int krylov_solve(const struct krylov_options *o, int64_t n, const double *b, double *x,
                 krylov_f f, void *ctx, struct krylov_result *r);

#endif
