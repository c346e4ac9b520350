/* What the users of PETSc in this folder share. Functions that call PETSc return its
 * error code (PetscCall); petsc_result turns it into ours. */
#ifndef SLUICE_STAGES_LINALG_PETSC_INTERNAL_H
#define SLUICE_STAGES_LINALG_PETSC_INTERNAL_H

#include <petscsys.h>

/* 0 where code is 0, else -1; the pending error is that of the failed call-back, or of
 * the PETSc function that failed first (ERR_NUMERIC). Callers clear the pending error
 * before they enter PETSc. */
int petsc_result(PetscErrorCode code);

/* A count as PETSc's integer; aborts where it does not fit. */
PetscInt petsc_int(int64_t n);

#endif
