/* Minimisation of a smooth function of a flat vector by PETSc/TAO, on this process
 * alone. The same function and start give the same bits. */
#ifndef SLUICE_STAGES_LINALG_MINIMISE_H
#define SLUICE_STAGES_LINALG_MINIMISE_H

#include <stdbool.h>
#include <stdint.h>

enum minimise_method {
    MINIMISE_LMVM,  /* limited-memory BFGS; no bounds */
    MINIMISE_BLMVM, /* the same, projected on bounds */
    MINIMISE_CG,    /* nonlinear conjugate gradients (bncg), with or without bounds */
};

struct minimise_options {
    enum minimise_method method;
    int64_t iterations;        /* most; each takes one evaluation and seldom more */
    double gradient_tolerance; /* stop at this |gradient| (projected on the bounds) */
    double relative_tolerance; /* or at this multiple of |value| (0: not) */
    const double *low, *high;  /* [n] bounds, infinite where there is none; or NULL */
};

struct minimise_result {
    double value, gradient_norm; /* at the point returned */
    int64_t iterations, evaluations;
    bool converged;     /* a tolerance was met */
    const char *reason; /* why it ended, for people; static text */
};

/* Value and gradient[n] at x[n]. -1 with a pending error ends the minimisation. */
typedef int (*minimise_f)(void *ctx, const double *x, double *value, double *gradient);

/* Lowers f from x[n] (in: start, out: the best point); r may be NULL. Running out of
 * iterations or of progress is no error: see r. ERR_NUMERIC: f or its gradient is not
 * finite; f's own error; ERR_ENV: MPI is not up. x is not touched on error. Begins the
 * PETSc session. Not collective. */
int minimise_run(const struct minimise_options *o, int64_t n, double *x, minimise_f f,
                 void *ctx, struct minimise_result *r);

#endif
