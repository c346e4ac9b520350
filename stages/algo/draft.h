/* DRaFT: the reward's gradient through the last steps of the chain (Clark et al. 2023;
 * METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_DRAFT_H
#define SLUICE_STAGES_ALGO_DRAFT_H

#include "stages/algo/path.h"

struct draft_options {
    struct path_options path; /* first, so that both methods read it alike */
    int64_t k;                /* steps that keep their gradient */
};

extern const struct algo draft_k, draft_lv;

#endif
