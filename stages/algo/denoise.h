/* Regression on final samples that are noised again: what the losses that need no
 * trajectory share. */
#ifndef SLUICE_STAGES_ALGO_DENOISE_H
#define SLUICE_STAGES_ALGO_DENOISE_H

#include "stages/algo/algo.h"

/* loss += scale * mean over elements of (o - goal)^2; grad[d] += its gradient. Returns
 * the mean. Sums in double, in order of the elements. */
double denoise_square(int64_t d, const float *o, const float *goal, double scale,
                      double *loss, float *grad);

/* 0, or ERR_NUMERIC where the loss or the gradient is not finite. */
int denoise_check(const struct algo_pair *p, double loss, const float *grad);

#endif
