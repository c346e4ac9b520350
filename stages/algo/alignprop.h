/* AlignProp: the reward's gradient through a random part of the chain (Prabhudesai et
 * al. 2023; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_ALIGNPROP_H
#define SLUICE_STAGES_ALGO_ALIGNPROP_H

#include "stages/algo/path.h"

enum truncation {
    TRUNCATION_GAUSSIAN,
    TRUNCATION_UNIFORM,
    TRUNCATION_FIXED,
    TRUNCATION_PER_STEP,
};

struct alignprop_options {
    struct path_options path;
    enum truncation truncation;
    double mean,
        deviation; /* of the first step that keeps its gradient, as parts of all */
};

extern const struct algo alignprop;

#endif
