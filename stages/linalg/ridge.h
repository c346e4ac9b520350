/* Linear-Gaussian (Bayesian ridge) regression of y on features phi, with weights w:
 *
 *   A = sum_i w_i phi_i phi_i^T + lambda I      (a sum, neither centred nor divided by the
 *                                                number of rows: it grows with the data)
 *   mean: phi^T W, W = A^-1 sum_i w_i phi_i y_i
 *   standard deviation of the mean: sqrt(phi^T A^-1 phi), in units of the noise
 *
 * which is the posterior for a prior N(0, noise^2 / lambda I) on the weights; the bonus
 * of UCB (SEIKO, "sum form") is a multiple of that deviation. */
#ifndef SLUICE_STAGES_LINALG_RIDGE_H
#define SLUICE_STAGES_LINALG_RIDGE_H

#include "io/sys/comm.h"

#include <stdbool.h>

enum { RIDGE_LEAF = 64 }; /* rows of one call of ridge_rows_f at most */

/* Fills rows first..first+n-1: phi[n, m], y[n, k], weight[n] (1 on entry). Which rows a
 * rank is asked for depends on the group; what a row holds must not. 0 or -1. */
typedef int (*ridge_rows_f)(void *ctx, int64_t first, int64_t n, double *phi, double *y,
                            double *weight);

struct ridge_problem {
    int64_t rows, m, k;
    double lambda;
    bool factor; /* also what ridge_std, ridge_std_gradient and ridge_draw need */
    ridge_rows_f fill;
    void *ctx;
};

/* Plain data, so that it can be stored and read back. */
struct ridge {
    int64_t m, k;
    double *w;      /* [k, m] */
    double *factor; /* dense_packed(m): A = U^T U as dense_cholesky gives it; or NULL */
};

/* The same bits on every rank and for any number of ranks. lambda > 0; no rows: W = 0.
 * NULL: ERR_NUMERIC where the features are not finite or, for this lambda, dependent;
 * or what fill said. Collective on c. */
struct ridge *ridge_fit(const struct comm *c, const struct ridge_problem *p);
/* Room for results of this size, zeros. */
struct ridge *ridge_create(int64_t m, int64_t k, bool factor);
void ridge_destroy(struct ridge *r);

/* phi^T W for target j. */
double ridge_mean(const struct ridge *r, int64_t j, const double *phi);

/* sqrt(phi^T A^-1 phi). work[m]: receives U^-T phi. */
double ridge_std(const struct ridge *r, const double *phi, double *work);

/* grad[m] <- d ridge_std / d phi = A^-1 phi / std; work as ridge_std left it, `std` its
 * result. 0 where std is 0. */
void ridge_std_gradient(const struct ridge *r, double std, const double *work,
                        double *grad);

/* w[m] <- a draw of target j's weights: W_j + noise A^-1/2 z, z[m] standard normals. */
void ridge_draw(const struct ridge *r, int64_t j, double noise, const double *z,
                double *w);

#endif
