/* KSPCG behind one call. Vectors are nests of pieces short enough that BLAS sums each
 * of them in one thread, and their sums are added in order: so the bits do not depend
 * on the number of threads. The pieces wrap one array of the caller or of PETSc's
 * making. */
#include "stages/linalg/krylov.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/petsc.h"
#include "stages/linalg/petsc_internal.h"

#include <math.h>
#include <petscksp.h>
#include <stdbool.h>
#include <string.h>

enum { PIECE = 8192 };

struct job {
    const struct krylov_options *o;
    int64_t n;
    double *in, *out; /* [n] of the operator */
    krylov_f f;
    void *ctx;
    Mat a;
    Vec b, x;
    KSP ksp;
    KSPConvergedReason reason;
};

/* A vector over v[n]. */
static PetscErrorCode wrap(double *v, int64_t n, Vec *out)
{
    int64_t pieces = (n + PIECE - 1) / PIECE;
    Vec *piece = mem_alloc(pieces, sizeof *piece);
    PetscFunctionBegin;
    for (int64_t i = 0; i < pieces; i++) {
        int64_t len = n - i * PIECE < PIECE ? n - i * PIECE : PIECE;
        PetscCall(VecCreateSeqWithArray(PETSC_COMM_SELF, 1, petsc_int(len),
                                        v + i * PIECE, &piece[i]));
    }
    PetscCall(VecCreateNest(PETSC_COMM_SELF, petsc_int(pieces), NULL, piece, out));
    for (int64_t i = 0; i < pieces; i++)
        PetscCall(VecDestroy(&piece[i]));
    mem_free(piece);
    PetscFunctionReturn(0);
}

/* Copies a nest to v[n], or v to it. */
static PetscErrorCode copy(Vec nest, double *v, bool to_nest)
{
    PetscInt pieces, len;
    Vec *piece;
    double *data;
    PetscFunctionBegin;
    PetscCall(VecNestGetSubVecs(nest, &pieces, &piece));
    for (PetscInt i = 0; i < pieces; i++) {
        PetscCall(VecGetLocalSize(piece[i], &len));
        PetscCall(VecGetArray(piece[i], &data));
        if (to_nest)
            memcpy(data, v + (int64_t)i * PIECE, (size_t)len * sizeof *v);
        else
            memcpy(v + (int64_t)i * PIECE, data, (size_t)len * sizeof *v);
        PetscCall(VecRestoreArray(piece[i], &data));
    }
    PetscFunctionReturn(0);
}

static PetscErrorCode multiply(Mat a, Vec in, Vec out)
{
    struct job *j;
    PetscFunctionBegin;
    PetscCall(MatShellGetContext(a, &j));
    PetscCall(copy(in, j->in, false));
    if (j->f(j->ctx, j->in, j->out) != 0)
        PetscFunctionReturn(PETSC_ERR_USER);
    PetscCall(copy(out, j->out, true));
    PetscFunctionReturn(0);
}

static PetscErrorCode solve(struct job *j, double *b, double *x)
{
    PC pc;
    PetscInt n = petsc_int(j->n);
    PetscFunctionBegin;
    PetscCall(wrap(b, j->n, &j->b));
    PetscCall(wrap(x, j->n, &j->x));
    PetscCall(MatCreateShell(PETSC_COMM_SELF, n, n, n, n, j, &j->a));
    PetscCall(MatShellSetOperation(j->a, MATOP_MULT, (void (*)(void))multiply));
    PetscCall(MatSetOption(j->a, MAT_SPD, PETSC_TRUE));
    PetscCall(KSPCreate(PETSC_COMM_SELF, &j->ksp));
    PetscCall(KSPSetType(j->ksp, KSPCG));
    PetscCall(KSPSetNormType(j->ksp, KSP_NORM_UNPRECONDITIONED));
    PetscCall(KSPGetPC(j->ksp, &pc));
    PetscCall(PCSetType(pc, PCNONE));
    PetscCall(KSPSetOperators(j->ksp, j->a, j->a));
    PetscCall(KSPSetTolerances(j->ksp, j->o->tolerance, 0, 1e50,
                               petsc_int(j->o->iterations)));
    PetscCall(KSPSolve(j->ksp, j->b, j->x));
    PetscCall(KSPGetConvergedReason(j->ksp, &j->reason));
    PetscFunctionReturn(0);
}

static PetscErrorCode report(struct job *j, struct krylov_result *r)
{
    PetscInt iterations;
    PetscFunctionBegin;
    PetscCall(KSPGetIterationNumber(j->ksp, &iterations));
    PetscCall(KSPGetResidualNorm(j->ksp, &r->residual));
    r->iterations = iterations;
    PetscFunctionReturn(0);
}

int krylov_solve(const struct krylov_options *o, int64_t n, const double *b, double *x,
                 krylov_f f, void *ctx, struct krylov_result *r)
{
    struct krylov_result unused;
    ERR_BUG_IF(n < 1 || o->iterations < 1);
    if (petsc_begin() != 0)
        return -1;
    struct job j = {.o = o, .n = n, .f = f, .ctx = ctx};
    double *right = mem_alloc(4 * n, sizeof *right), *solution = right + n;
    j.in = right + 2 * n;
    j.out = right + 3 * n;
    memcpy(right, b, (size_t)n * sizeof *b);
    err_clear();
    int rc = petsc_result(solve(&j, right, solution));
    double along = 0; /* x' A x = x' b where b lies in the space that x is from */
    for (int64_t i = 0; i < n; i++)
        along += solution[i] * b[i];
    if (rc == 0 && ((j.reason < 0 && j.reason != KSP_DIVERGED_ITS) || !(along >= 0)))
        rc =
            err_set(ERR_NUMERIC,
                    "conjugate gradients: the operator is not positive definite or not "
                    "finite (%s): raise the damping",
                    KSPConvergedReasons[j.reason]);
    if (rc == 0)
        rc = petsc_result(report(&j, r != NULL ? r : &unused));
    KSPDestroy(&j.ksp);
    MatDestroy(&j.a);
    VecDestroy(&j.b);
    VecDestroy(&j.x);
    if (rc == 0)
        memcpy(x, solution, (size_t)n * sizeof *x);
    mem_free(right);
    return rc;
}
