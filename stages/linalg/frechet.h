/* The Frechet distance of two sets of samples, taken as Gaussians:
 * |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (as FID, there of Inception features). */
#ifndef SLUICE_STAGES_LINALG_FRECHET_H
#define SLUICE_STAGES_LINALG_FRECHET_H

#include "io/sys/comm.h"

/* x[n, d] and y[m, d]: rows of features, whole on every rank; n, m >= 2. Means and
 * covariances (divided by n - 1) are the same bits for any number of ranks; *distance,
 * the same on every rank, is rounded to 12 significant digits, because the eigenvalues'
 * last bits do depend on it. ERR_NUMERIC where features are not finite, ERR_INPUT for
 * fewer than two rows. Collective on c. */
int frechet_distance(const struct comm *c, const double *x, int64_t n, const double *y,
                     int64_t m, int64_t d, double *distance);

/* mean[d] and covariance[d, d] of x[n, d]; n >= 2. Collective on c. */
int frechet_moments(const struct comm *c, const double *x, int64_t n, int64_t d,
                    double *mean, double *covariance);

/* The distance of two Gaussians. Collective on c. */
struct frechet_gaussian {
    const double *mean, *covariance; /* [d], [d, d] */
};
int frechet_gaussians(const struct comm *c, int64_t d, struct frechet_gaussian a,
                      struct frechet_gaussian b, double *distance);

#endif
