/* Sequential Monte Carlo towards the tilted distribution. SEARCH.md has the equations.
 */
#ifndef SLUICE_STAGES_SEARCH_SMC_H
#define SLUICE_STAGES_SEARCH_SMC_H

#include "stages/search/search.h"

extern const struct search smc;

#endif
