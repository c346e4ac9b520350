/* Trajectory optimisation: the noise of a chain, chosen by TAO (after Dvijotham et al.
 * 2023). SEARCH.md has the equations. */
#ifndef SLUICE_STAGES_SEARCH_NOISE_H
#define SLUICE_STAGES_SEARCH_NOISE_H

#include "stages/search/search.h"

extern const struct search search_noise;

#endif
