/* One-dimensional samples in numbers: moments, quantiles, distances. Sums run in double
 * precision in sample order, so results have the same bits wherever they are computed. */
#ifndef SLUICE_STAGES_METRIC_SUMMARY_H
#define SLUICE_STAGES_METRIC_SUMMARY_H

#include <stdint.h>

struct summary { /* plain data; all NaN where n is 0 */
    int64_t n;
    double mean, std; /* std: of the population */
    double error;     /* of the mean: std of the sample / sqrt(n); NaN for one value */
    double min, q05, q25, median, q75, q95, max;
};

/* Of x[n], finite values. */
struct summary summary_of(const double *x, int64_t n);

/* The quantile at p in [0, 1] of sorted x[n], n >= 1, linear between order statistics as
 * numpy's default. */
double summary_quantile(const double *x, int64_t n, double p);

/* 1-Wasserstein distance of two empirical distributions: the integral over u in [0, 1] of
 * |F^-1(u) - G^-1(u)|, exact for n != m too. x[n], y[m] sorted; n, m >= 1. */
double summary_wasserstein(const double *x, int64_t n, const double *y, int64_t m);

/* Sorts x[n] upwards. */
void summary_sort(double *x, int64_t n);

/* Autocorrelation at lag 1 of one series x[n] about its own mean, sum of
 * (x_t - m)(x_{t+1} - m) over sum of (x_t - m)^2; NaN for a constant series. */
double summary_lag1(const float *x, int64_t n);

#endif
