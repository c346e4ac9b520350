/* How a run's samples are coded. */
#ifndef SLUICE_PIPELINE_RUN_CODING_H
#define SLUICE_PIPELINE_RUN_CODING_H

#include "io/coding.h"

/* By the network's configuration in the newest policy file of the run directory; kind
 * none where there is no policy. ERR_INPUT. */
int run_coding(const char *dir, struct coding *coding);

#endif
