/* How samples compare with data, and with each other, coordinate by coordinate and by
 * Euclidean distance. Arrays are [n, d]. */
#ifndef SLUICE_STAGES_METRIC_FIDELITY_H
#define SLUICE_STAGES_METRIC_FIDELITY_H

#include <stdint.h>

struct fidelity_marginal {
    double mean_gap, std_gap; /* mean over coordinates of |difference| of mean and of std */
    double wasserstein; /* mean over coordinates of the 1-Wasserstein distance */
};

/* Samples x [n, d] against data y [m, d]: the coordinates first .. last - 1, one struct
 * with `mean over` replaced by the value of each, out [last - first]. */
void fidelity_marginals(const float *x, int64_t n, const float *y, int64_t m, int64_t d,
                        int64_t first, int64_t last, struct fidelity_marginal *out);
/* The means over coordinates, in their order. */
struct fidelity_marginal fidelity_mean(const struct fidelity_marginal *each, int64_t d);

/* Mean lag-1 autocorrelation of the rows of width w in x[n]; rows without variance are
 * left out, NaN where all are. */
double fidelity_lag1(const float *x, int64_t rows, int64_t w);

/* Root of |a - b|^2 / d. */
double fidelity_distance(const float *a, const float *b, int64_t d);

/* out[i - first] = sum over j > i of the distance of samples i and j, for samples i in
 * [first, last). Their total over n (n - 1) / 2 is the mean pairwise distance. */
void fidelity_pairs(const float *x, int64_t n, int64_t d, int64_t first, int64_t last,
                    double *out);

#endif
