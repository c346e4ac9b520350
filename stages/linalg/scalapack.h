/* Prototypes of BLACS, ScaLAPACK and LAPACK, which come without C headers; for
 * stages/linalg/dense.c alone. Fortran takes the lengths of its strings at the end. */
#ifndef SLUICE_STAGES_LINALG_SCALAPACK_H
#define SLUICE_STAGES_LINALG_SCALAPACK_H

#include "io/sys/comm.h"

#include <stddef.h>

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int columns);
void Cblacs_gridexit(int context);

void descinit_(int *desc, const int *m, const int *n, const int *mb, const int *nb,
               const int *row, const int *column, const int *context, const int *ld,
               int *info);
void pdpotrf_(const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desc, int *info, size_t uplo_len);
void pdpotrs_(const char *uplo, const int *n, const int *k, const double *a,
              const int *ia, const int *ja, const int *desc_a, double *b, const int *ib,
              const int *jb, const int *desc_b, int *info, size_t uplo_len);
void pdsyev_(const char *job, const char *uplo, const int *n, double *a, const int *ia,
             const int *ja, const int *desc_a, double *values, double *z, const int *iz,
             const int *jz, const int *desc_z, double *work, const int *work_n, int *info,
             size_t job_len, size_t uplo_len);
void dsyev_(const char *job, const char *uplo, const int *n, double *a, const int *ld,
            double *values, double *work, const int *work_n, int *info, size_t job_len,
            size_t uplo_len);

#endif
