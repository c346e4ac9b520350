/* Denoising diffusion policy optimisation (Black et al. 2023; equations in
 * METHODS.md): score function (one update per batch) and importance sampling (PPO's
 * clipped surrogate per sample and step). */
#ifndef SLUICE_STAGES_ALGO_DDPO_H
#define SLUICE_STAGES_ALGO_DDPO_H

#include "stages/algo/algo.h"

extern const struct algo ddpo_sf, ddpo_is;

#endif
