/* TAO behind one call. Vectors wrap the caller's memory; the function sees the arrays.
 */
#include "stages/linalg/minimise.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/petsc.h"
#include "stages/linalg/petsc_internal.h"

#include <math.h>
#include <petsctao.h>
#include <string.h>

struct job {
    const struct minimise_options *o;
    int64_t n, evaluations;
    minimise_f f;
    void *ctx;
    double *x; /* [n] */
    Vec solution, low, high;
    Tao tao;
};

static PetscErrorCode evaluate(Tao tao, Vec at, PetscReal *value, Vec slope, void *ctx)
{
    struct job *j = ctx;
    const PetscScalar *x;
    PetscScalar *g;
    (void)tao;
    PetscFunctionBegin;
    PetscCall(VecGetArrayRead(at, &x));
    PetscCall(VecGetArrayWrite(slope, &g));
    int rc = j->f(j->ctx, x, value, g);
    bool finite = rc != 0 || isfinite(*value);
    for (int64_t i = 0; i < j->n && rc == 0 && finite; i++)
        finite = isfinite(g[i]);
    if (!finite)
        rc = err_set(
            ERR_NUMERIC,
            "evaluation %lld of a minimisation: value %g or its gradient is not "
            "finite",
            (long long)j->evaluations, *value);
    j->evaluations++;
    PetscCall(VecRestoreArrayRead(at, &x));
    PetscCall(VecRestoreArrayWrite(slope, &g));
    PetscFunctionReturn(rc == 0 ? 0 : PETSC_ERR_USER);
}

static PetscErrorCode wrap(const double *v, int64_t n, Vec *out)
{
    PetscFunctionBegin;
    /* Bounds are only read; PETSc has no const here. */
    PetscCall(VecCreateSeqWithArray(PETSC_COMM_SELF, 1, petsc_int(n), v, out));
    PetscFunctionReturn(0);
}

static PetscErrorCode solve(struct job *j)
{
    static const char *const type[] = {TAOLMVM, TAOBLMVM, TAOBNCG};
    const struct minimise_options *o = j->o;
    PetscFunctionBegin;
    PetscCall(TaoCreate(PETSC_COMM_SELF, &j->tao));
    PetscCall(TaoSetType(j->tao, type[o->method]));
    PetscCall(wrap(j->x, j->n, &j->solution));
    PetscCall(TaoSetSolution(j->tao, j->solution));
    PetscCall(TaoSetObjectiveAndGradient(j->tao, NULL, evaluate, j));
    if (o->low != NULL) {
        PetscCall(wrap(o->low, j->n, &j->low));
        PetscCall(wrap(o->high, j->n, &j->high));
        PetscCall(TaoSetVariableBounds(j->tao, j->low, j->high));
    }
    PetscCall(
        TaoSetTolerances(j->tao, o->gradient_tolerance, o->relative_tolerance, 0));
    PetscCall(TaoSetMaximumIterations(j->tao, petsc_int(o->iterations)));
    PetscCall(TaoSetMaximumFunctionEvaluations(j->tao, PETSC_MAX_INT));
    PetscCall(TaoSolve(j->tao));
    PetscFunctionReturn(0);
}

static const char *reason_text(TaoConvergedReason r)
{
    switch (r) {
    case TAO_CONVERGED_GATOL:
    case TAO_CONVERGED_GRTOL:
    case TAO_CONVERGED_GTTOL:
        return "gradient within the tolerance";
    case TAO_CONVERGED_STEPTOL:
        return "no step changes the point";
    case TAO_CONVERGED_MINF:
        return "value below its limit";
    case TAO_DIVERGED_MAXITS:
        return "all iterations used";
    case TAO_DIVERGED_LS_FAILURE:
        return "the line search finds nothing lower";
    default:
        return "no progress";
    }
}

static PetscErrorCode report(struct job *j, struct minimise_result *r)
{
    PetscInt iterations;
    TaoConvergedReason reason;
    PetscFunctionBegin;
    PetscCall(TaoGetSolutionStatus(j->tao, &iterations, &r->value, &r->gradient_norm,
                                   NULL, NULL, &reason));
    r->iterations = iterations;
    r->evaluations = j->evaluations;
    r->converged = reason > 0;
    r->reason = reason_text(reason);
    PetscFunctionReturn(0);
}

int minimise_run(const struct minimise_options *o, int64_t n, double *x, minimise_f f,
                 void *ctx, struct minimise_result *r)
{
    struct minimise_result unused;
    ERR_BUG_IF(n < 1 || o->iterations < 0 || (o->low != NULL) != (o->high != NULL) ||
               (o->low != NULL && o->method == MINIMISE_LMVM));
    if (petsc_begin() != 0)
        return -1;
    struct job j = {.o = o, .n = n, .f = f, .ctx = ctx};
    j.x = mem_alloc(n, sizeof *j.x);
    memcpy(j.x, x, (size_t)n * sizeof *x);
    err_clear();
    int rc = petsc_result(solve(&j));
    if (rc == 0)
        rc = petsc_result(report(&j, r != NULL ? r : &unused));
    if (rc == 0)
        memcpy(x, j.x, (size_t)n * sizeof *x);
    TaoDestroy(&j.tao);
    VecDestroy(&j.solution);
    VecDestroy(&j.low);
    VecDestroy(&j.high);
    mem_free(j.x);
    return rc;
}
