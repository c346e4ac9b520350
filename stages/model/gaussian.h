/* GaussianDenoiser: the exact noise predictor of data whose elements are independent
 * N(mean, variance), plus one learned number:
 *
 *   eps(x, t) = sqrt(1 - abar)(x - sqrt(abar) mean) / (abar variance + 1 - abar) +
 * shift
 *
 * It is the network for checking methods: everything that sampling and policy gradients
 * should give is known in closed form, and an evaluation costs next to nothing.
 * config.json has mean, variance (of the data), channels, sample_size (a number or
 * [height, width]) and the noise schedule's beta_start, beta_end, beta_schedule,
 * num_train_timesteps, which must be those of the sampler; the weights file has "shift"
 * [1]. */
#ifndef SLUICE_STAGES_MODEL_GAUSSIAN_H
#define SLUICE_STAGES_MODEL_GAUSSIAN_H

#include "stages/model/kind.h"

extern const struct model_kind gaussian_kind;

#endif
