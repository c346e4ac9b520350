/* Dense symmetric linear algebra: ScaLAPACK over the ranks of a group, and plain loops
 * for what must be evaluated anywhere. All matrices and results are whole on every rank.
 *
 * What ScaLAPACK gives depends on the grid: with blocks of 32 and 64, sizes 3..600 and
 * 1, 2, 3, 5 and 8 ranks, on row, column and square grids, the bits of pdpotrf's factor
 * differ between 1 rank and several (with OpenBLAS and with the reference BLAS), and with
 * OpenBLAS also among 2, 3 and 5 where the last block is ragged; those of pdpotrs differ
 * almost always. So ScaLAPACK only proposes here: a solution is refined with residuals in
 * 113 bits until it stands, far beyond a double, and is rounded once. It is then the
 * correctly rounded solution, whatever proposed it (but for ties closer than about
 * condition number * 2^-110). */
#ifndef SLUICE_STAGES_LINALG_DENSE_H
#define SLUICE_STAGES_LINALG_DENSE_H

#include "io/sys/comm.h"

/* x[k, m] <- A^-1 b for each of k right sides b[k, m]; a[m, m] symmetric positive
 * definite, b and a the same on every rank. Same bits for any number of ranks. A group of
 * one rank works without MPI. ERR_NUMERIC: A is not positive definite, or its condition
 * number is beyond about 1e15. Collective on c. */
int dense_solve(const struct comm *c, int64_t m, int64_t k, const double *a,
                const double *b, double *x);

/* value[n] ascending and vector[n, n] (row i belongs to value i) of the symmetric a[n, n].
 * Last bits may depend on the number of ranks. ERR_NUMERIC where it does not converge.
 * Collective on c. */
int dense_eigen(const struct comm *c, int64_t n, const double *a, double *value,
                double *vector);

/* c[n, p] = a[n, m] b[m, p], the rows shared by the ranks; same bits for any number of
 * them. Collective on c. */
int dense_product(const struct comm *c, const int64_t shape[3], const double *a,
                  const double *b, double *out);

/* u <- the factor of a[m, m] = U^T U, U upper triangular, its rows packed one after
 * another (row i has m - i values). Plain loops in a fixed order, m^3 / 3 operations.
 * ERR_NUMERIC where a is not positive definite. */
int dense_cholesky(int64_t m, const double *a, double *u);
int64_t dense_packed(int64_t m); /* length of u */

/* In place: v[m] <- U^-T v; v[m] <- U^-1 v. */
void dense_forward(int64_t m, const double *u, double *v);
void dense_backward(int64_t m, const double *u, double *v);

#endif
