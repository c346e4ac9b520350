/* PETSc's start and end, and its errors as ours. The first message of a failure is kept
 * as the pending error (unless a call-back left one) and nothing is printed. */
#include "stages/linalg/petsc.h"

#include "io/sys/err.h"
#include "stages/linalg/petsc_internal.h"

#include <stdlib.h>

static PetscErrorCode on_error(MPI_Comm comm, int line, const char *function,
                               const char *file, PetscErrorCode code,
                               PetscErrorType type, const char *message, void *ctx)
{
    (void)comm;
    (void)line;
    (void)file;
    (void)ctx;
    if (type == PETSC_ERROR_INITIAL && err_code() == ERR_NONE)
        err_set(ERR_NUMERIC, "PETSc error %d in %s: %s", (int)code, function,
                message != NULL ? message : "");
    return code;
}

int petsc_result(PetscErrorCode code)
{
    if (code == 0)
        return 0;
    if (err_code() == ERR_NONE)
        err_set(ERR_NUMERIC, "PETSc error %d", (int)code);
    return -1;
}

PetscInt petsc_int(int64_t n)
{
    ERR_BUG_IF(n < 0 || n > PETSC_MAX_INT);
    return (PetscInt)n;
}

int petsc_begin(void)
{
    PetscBool there = PETSC_FALSE;
    char *words[] = {"sluice", "-no_signal_handler", "-skip_petscrc", NULL},
         **argv = words;
    int argc = 3, mpi = 0;
    PetscInitialized(&there);
    if (there)
        return 0;
    MPI_Initialized(&mpi);
    if (!mpi)
        return err_set(ERR_ENV, "PETSc needs MPI, which has not been initialised");
    unsetenv("PETSC_OPTIONS");
    unsetenv("PETSC_OPTIONS_YAML");
    PETSC_COMM_WORLD = MPI_COMM_SELF;
    if (PetscInitialize(&argc, &argv, NULL, NULL) != 0 ||
        PetscPushErrorHandler(on_error, NULL) != 0)
        return err_set(ERR_ENV, "PETSc does not start");
    return 0;
}

void petsc_end(void)
{
    PetscBool there = PETSC_FALSE;
    PetscInitialized(&there);
    if (!there)
        return;
    PetscPopErrorHandler();
    PetscFinalize();
}
