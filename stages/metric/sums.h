/* Statistics of values that come one at a time and are not kept. */
#ifndef SLUICE_STAGES_METRIC_SUMS_H
#define SLUICE_STAGES_METRIC_SUMS_H

#include <stdint.h>

/* All zero: of no values. Values that are not finite are left out. */
struct moments {
    int64_t n;
    double mean, square, min, max; /* square: sum of squared distances from the mean */
};
void moments_add(struct moments *m, double v);
/* Standard deviation of the population, and the standard error of the mean (of the
 * sample's deviation); NaN where there are too few values. */
double moments_std(const struct moments *m);
double moments_error(const struct moments *m);
/* NaN where there is no value. */
double moments_mean(const struct moments *m);

/* Pairs; their correlation after Pearson and the slope of y over x by least squares. */
struct pairs {
    int64_t n;
    double x, y, xx, yy, xy; /* means, and sums of products of distances from them */
};
void pairs_add(struct pairs *p, double x, double y);
/* In [-1, 1]; NaN where it has no meaning: fewer than two pairs, or no variance beyond the
 * rounding of equal numbers. */
double pairs_correlation(const struct pairs *p);
/* *error receives the slope's standard error, NaN for fewer than three pairs. */
double pairs_slope(const struct pairs *p, double *error);

/* Importance weights exp(log_weight) of values y, scaled by the largest one so far,
 * which drops out of all results but weights_plain. All zero: none. */
struct weights {
    int64_t n;
    double top, w, ww, wy, wwy, wwyy;
};
void weights_add(struct weights *s, double log_weight, double y);
/* Effective sample size (sum w)^2 / sum w^2 (Kong 1992). */
double weights_size(const struct weights *s);
/* Self-normalised estimate sum w y / sum w, and its standard error by the delta method
 * (Owen, Monte Carlo theory, 9.9). */
double weights_mean(const struct weights *s, double *error);
/* Unbiased estimate (1 / n) sum w y; infinite where the weights exceed a double. */
double weights_plain(const struct weights *s);

#endif
