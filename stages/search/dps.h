/* Reconstruction guidance (Chung et al. 2023): the reward's gradient at the predicted clean
 * sample bends the chain. SEARCH.md has the equations. */
#ifndef SLUICE_STAGES_SEARCH_DPS_H
#define SLUICE_STAGES_SEARCH_DPS_H

#include "stages/search/search.h"

extern const struct search dps;

#endif
