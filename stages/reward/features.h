/* Features of samples, on which rewards are learned:
 *
 *   linear         1 and every element of the sample
 *   onehot_pairs   text of A characters and length T: 1, every u, and every product of
 *                  u at two different places; u = (x + 1) / 2 is 1 for the character that
 *                  is there and 0 for the others. 1 + T A + T (T - 1) / 2 A^2 features.
 *   fourier        1 and sqrt(2 / F) cos(w_i . x / length + b_i), F of them, w_i standard
 *                  normal, b_i uniform: inner products approach the Gaussian kernel
 *                  exp(-|x - x'|^2 / (2 length^2)) (Rahimi & Recht 2007)
 */
#ifndef SLUICE_STAGES_REWARD_FEATURES_H
#define SLUICE_STAGES_REWARD_FEATURES_H

#include "stages/reward/reward.h"

struct features;

/* As surrogate.feature_kind, surrogate.features and surrogate.length say. NULL: ERR_USAGE,
 * the kind does not fit the samples, or there are too many. */
struct features *features_create(const struct reward_scene *s);
void features_destroy(struct features *f);

/* Length of phi. */
int64_t features_count(const struct features *f);

/* phi[features_count] of x[channels, height, width]. */
void features_of(const struct features *f, const float *x, double *phi);

/* dx[channels, height, width] <- sum_i g[i] d phi_i / d x. */
void features_pull(const struct features *f, const float *x, const double *g, float *dx);

#endif
