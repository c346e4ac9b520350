/* Best of several chains. SEARCH.md has the equation. */
#ifndef SLUICE_STAGES_SEARCH_BEST_OF_H
#define SLUICE_STAGES_SEARCH_BEST_OF_H

#include "stages/search/search.h"

extern const struct search best_of;

#endif
