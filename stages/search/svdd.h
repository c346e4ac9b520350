/* Soft value-based decoding with the posterior mean (Li et al. 2024). SEARCH.md has the
 * equations. */
#ifndef SLUICE_STAGES_SEARCH_SVDD_H
#define SLUICE_STAGES_SEARCH_SVDD_H

#include "stages/search/search.h"

extern const struct search svdd;

#endif
